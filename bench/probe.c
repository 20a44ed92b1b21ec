/* The probes (of convoy-bench and of `convoy compare`): threads that start together, windows of
 * time, and the best of each thread's. */
#include "probe.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "probe_loops.h"

struct loops {
    probe_fma_fn *fma;
    probe_traffic_fn *traffic[3];
};

#define LOOPS(isa)                                                               \
    {                                                                            \
        cvyi_probe_fma_##isa,                                                    \
        {                                                                        \
            cvyi_probe_read_##isa, cvyi_probe_write_##isa, cvyi_probe_copy_##isa \
        }                                                                        \
    }

static const struct loops *loops_of(enum cvy_isa isa)
{
    static const struct loops scalar = LOOPS(scalar);
#ifdef __x86_64__
    static const struct loops avx2 = LOOPS(avx2), avx512 = LOOPS(avx512);
    if (isa == CVY_ISA_AVX2 || isa == CVY_ISA_PAIR) return &avx2;
    if (isa == CVY_ISA_AVX512) return &avx512;
#endif
    return &scalar;
}

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) exit(cli_fail(CLI_NOMEM, "out of memory"));
    return memset(p, 0, bytes);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    const struct loops *loops;
    enum probe_traffic traffic;
    size_t bytes; /* 0: multiply-adds */
    double seconds, rate;
};

static double fma_rate(const struct worker *w)
{
    float sink[16];
    size_t rounds = 100;
    double best = 0, t = 0, end;
    while (t < 5e-4) {
        rounds *= 2;
        t = bench_now();
        w->loops->fma(rounds, sink);
        t = bench_now() - t;
    }
    end = bench_now() + w->seconds;
    do {
        t = bench_now();
        double flops = w->loops->fma(rounds, sink);
        t = bench_now() - t;
        best = flops / t > best ? flops / t : best;
    } while (bench_now() < end);
    return best * 1e-9;
}

static double traffic_rate(const struct worker *w)
{
    probe_traffic_fn *fn = w->loops->traffic[w->traffic];
    size_t n = w->bytes / sizeof(float) / 128 * 128, passes = 1;
    if (w->traffic == PROBE_COPY) n = n / 256 * 128; /* half to read, half to write */
    float *x = room((w->traffic == PROBE_COPY ? 2 * n : n) * sizeof *x + 4096),
          *y = w->traffic == PROBE_COPY ? x + n : x;
    float sink[16];
    double best = 0, t, end, moved = (double)n * sizeof *x * (w->traffic == PROBE_COPY ? 2 : 1);
    memset(x, 0, (w->traffic == PROBE_COPY ? 2 * n : n) * sizeof *x);
    do {
        t = bench_now();
        for (size_t i = 0; i < passes; i++) fn(x, w->traffic == PROBE_READ ? sink : y, n);
        t = bench_now() - t;
        if (t < 1e-3) passes *= 2;
    } while (t < 1e-3);
    end = bench_now() + w->seconds;
    do {
        t = bench_now();
        for (size_t i = 0; i < passes; i++) fn(x, w->traffic == PROBE_READ ? sink : y, n);
        t = bench_now() - t;
        double rate = moved * (double)passes / t;
        best = rate > best ? rate : best;
    } while (bench_now() < end);
    free(x);
    return best * 1e-9;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    pthread_barrier_wait(w->start);
    w->rate = w->bytes ? traffic_rate(w) : fma_rate(w);
    return NULL;
}

static double on_all(const struct worker *job, size_t threads)
{
    struct worker *w = calloc(threads, sizeof *w);
    pthread_barrier_t start;
    double sum = 0;
    if (!w || pthread_barrier_init(&start, NULL, (unsigned)threads))
        exit(cli_fail(CLI_NOMEM, "out of memory"));
    for (size_t i = 0; i < threads; i++) {
        w[i] = *job;
        w[i].start = &start;
        if (i && pthread_create(&w[i].thread, NULL, work, &w[i]))
            exit(cli_fail(CLI_NOMEM, "cannot start %zu threads", threads));
    }
    work(&w[0]);
    for (size_t i = 0; i < threads; i++) {
        if (i) pthread_join(w[i].thread, NULL);
        sum += w[i].rate;
    }
    pthread_barrier_destroy(&start);
    free(w);
    return sum;
}

double probe_fma(enum cvy_isa isa, size_t threads, double seconds)
{
    return on_all(&(struct worker){ .loops = loops_of(isa), .seconds = seconds }, threads);
}

double probe_bandwidth(enum cvy_isa isa, enum probe_traffic traffic, size_t bytes, size_t threads,
                       double seconds)
{
    return on_all(
        &(struct worker){
            .loops = loops_of(isa), .traffic = traffic, .bytes = bytes, .seconds = seconds },
        threads);
}

/* ----------------------------------------------------------------------------------- round trip */

struct ball {
    _Alignas(128) atomic_uint turn;
    _Alignas(128) atomic_bool over;
};

static void *return_ball(void *arg)
{
    struct ball *b = arg;
    for (unsigned last = 0; !atomic_load_explicit(&b->over, memory_order_relaxed);) {
        unsigned turn = atomic_load_explicit(&b->turn, memory_order_acquire);
        if (turn % 2 && turn != last)
            atomic_store_explicit(&b->turn, (last = turn) + 1, memory_order_release);
    }
    return NULL;
}

double probe_round_trip(double seconds)
{
    enum { TRIPS = 200, MAX = 20000 };
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) || CPU_COUNT(&cpus) < 2) return 0;
    double *window = calloc(MAX, sizeof *window), end = bench_now() + seconds, median = 0;
    struct ball b = { 0 };
    pthread_t other;
    size_t n = 0;
    if (!window || pthread_create(&other, NULL, return_ball, &b))
        exit(cli_fail(CLI_NOMEM, "cannot start a thread"));
    do {
        double t = bench_now();
        for (int i = 0; i < TRIPS; i++) {
            unsigned turn = atomic_load_explicit(&b.turn, memory_order_relaxed) + 1;
            atomic_store_explicit(&b.turn, turn, memory_order_release);
            /* Two threads on one CPU would wait for the scheduler: give up and say so with a huge
             * figure. */
            while (atomic_load_explicit(&b.turn, memory_order_acquire) == turn)
                if (bench_now() - t > 0.1) break;
        }
        window[n++] = (bench_now() - t) / TRIPS * 1e9;
    } while (n < MAX && bench_now() < end);
    atomic_store(&b.over, true);
    pthread_join(other, NULL);
    qsort(window, n, sizeof *window, by_value);
    median = window[n / 2];
    free(window);
    return median;
}
