/* What the machine can do: multiply-adds for each instruction set and number of threads, bandwidth
 * of each level of memory, and the way from core to core. */
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"

/* What is read from memory, half of it at a time: several times any cache that a hypervisor may
 * hide, or tell only in part. */
#define DRAM_BYTES ((size_t)512 << 20)

struct peak {
    struct bench *b;
    enum cvy_isa isa;
    size_t threads, bytes; /* bytes: of each thread; 0: multiply-adds */
    enum probe_traffic traffic;
};

static double window(const struct peak *p) { return bench_options(p->b)->once ? 0 : 0.1; }

/* An iteration "takes" what a billion multiply-adds or bytes take at the rate measured. */
static void rate(gb_state *state, void *user)
{
    const struct peak *p = user;
    double sum = 0;
    GB_LOOP (state) {
        double r = p->bytes ? probe_bandwidth(p->isa, p->traffic, p->bytes, p->threads, window(p))
                            : probe_fma(p->isa, p->threads, window(p));
        gb_set_iteration_time(state, 1 / r);
        sum += r;
    }
    gb_set_counter(state, p->bytes ? "GB/s" : "GFLOP/s", sum / (double)gb_iterations(state),
                   GB_COUNTER);
}

static void round_trip(gb_state *state, void *user)
{
    const struct peak *p = user;
    GB_LOOP (state) {
        double ns = probe_round_trip(window(p));
        if (ns == 0) {
            bench_skip(p->b, state, true, "one CPU: there is no other core to send anything to");
            break;
        }
        gb_set_iteration_time(state, ns * 1e-9);
    }
}

static void add(struct bench *b, struct peak p, char *name, gb_fn *run)
{
    struct peak *user = bench_alloc(sizeof *user);
    *user = p;
    bench_add(b, name, p.threads ? GB_MS : GB_NS, BENCH_ONE_ITERATION, run, NULL, free, user);
    free(name);
}

/* Where memory is short, what is there is measured. */
static size_t dram_bytes(void)
{
    const size_t l3 = 8 * bench_cache_bytes(BENCH_L3), bytes = l3 > DRAM_BYTES ? l3 : DRAM_BYTES;
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    const size_t share = pages > 0 && page > 0 ? (size_t)pages / 4 * (size_t)page : bytes;
    return bytes < share ? bytes : share;
}

size_t bench_cache_bytes(enum bench_level level)
{
    cvy_machine m;
    cvy_machine_describe(&m);
    switch (level) {
    case BENCH_L1: return m.l1d_bytes ? m.l1d_bytes : 32 << 10;
    case BENCH_L2: return m.l2_bytes ? m.l2_bytes : 512 << 10;
    case BENCH_L3: return m.l3_bytes ? m.l3_bytes : 8 << 20;
    default: return dram_bytes();
    }
}

size_t bench_level_bytes(enum bench_level level, size_t threads)
{
    return bench_cache_bytes(level) * (level < BENCH_L3 ? threads : 1);
}

void bench_peak(struct bench *b)
{
    static const char *const traffics[] = { "read", "write", "copy" };
    const enum cvy_isa *isas = bench_isas(b);
    struct bench_numbers threads = bench_threads(b);
    enum cvy_isa best = CVY_ISA_SCALAR;
    for (const enum cvy_isa *isa = isas; *isa; isa++) {
        best = *isa;
        for (size_t t = 0; t < threads.n; t++)
            add(b, (struct peak){ .b = b, .isa = *isa, .threads = threads.value[t] },
                bench_text("peak/fma/threads:%zu/%s", threads.value[t], cvy_isa_name(*isa)), rate);
    }
    for (enum bench_level level = BENCH_L1; level < BENCH_LEVELS; level++)
        for (int traffic = PROBE_READ; traffic <= PROBE_COPY; traffic++)
            for (size_t t = 0; t < threads.n; t++) {
                static const char *const names[] = { "L1", "L2", "L3", "DRAM" };
                const size_t n = threads.value[t];
                add(b,
                    (struct peak){ .b = b,
                                   .isa = best,
                                   .threads = n,
                                   .bytes = bench_level_bytes(level, n) / 2 / n,
                                   .traffic = (enum probe_traffic)traffic },
                    bench_text("peak/%s/%s/threads:%zu/%s", traffics[traffic], names[level], n,
                               cvy_isa_name(best)),
                    rate);
            }
    add(b, (struct peak){ .b = b }, bench_text("peak/round trip/cores"), round_trip);
}
