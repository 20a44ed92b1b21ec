/* Where a step's time goes, and what each phase could take at the least: its multiplications at the
 * FMA peak, its traffic at the bandwidth of the cache or memory that its working set needs. What of
 * both takes longer is its floor. Times of phases are summed over threads, floors likewise: a
 * thread has its share of what all of them reach together. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "report/text.h"

struct rates {
    enum cvy_isa isa;
    size_t threads;
    double gbs[BENCH_LEVELS][PROBE_COPY + 1]; /* of all threads; a working set in L1 counts as L2 */
};

struct part {
    double us, multiplies, traffic, floor; /* microseconds, summed over threads */
    enum bench_level level;
};
struct group {
    char name[160];
    struct part sum;
};
struct table {
    struct part *phase, sum;
    struct group *group;
    size_t n, n_groups;
};

/* Measured once a process: memory does not change as clocks do. */
static const struct rates *rates_of(const struct bench *b, enum cvy_isa isa, size_t threads)
{
    static struct rates known[16];
    static size_t next;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].threads == threads && known[i].isa == isa) return &known[i];
    struct rates *r = &known[next++ % (sizeof known / sizeof *known)];
    r->isa = isa;
    r->threads = threads;
    for (enum bench_level level = BENCH_L2; level < BENCH_LEVELS; level++)
        for (enum probe_traffic traffic = PROBE_READ; traffic <= PROBE_COPY; traffic++)
            r->gbs[level][traffic] =
                probe_bandwidth(isa, traffic, bench_level_bytes(level, threads) / 2 / threads,
                                threads, bench_options(b)->once ? 0 : 0.1);
    return r;
}

/* Seconds of all threads together: what is both read and written as a copy, the rest as it is. */
static double moving(const double gbs[PROBE_COPY + 1], double read, double written)
{
    const double both = read < written ? read : written;
    return (2 * both / gbs[PROBE_COPY] + (read - both) / gbs[PROBE_READ] +
            (written - both) / gbs[PROBE_WRITE]) *
           1e-9;
}

/* The smallest level that holds a working set, of which each of so many threads has its share. */
static enum bench_level level_of(double bytes, size_t threads)
{
    if (bytes / (double)threads <= (double)bench_cache_bytes(BENCH_L2)) return BENCH_L2;
    return bytes <= (double)bench_cache_bytes(BENCH_L3) ? BENCH_L3 : BENCH_DRAM;
}

static struct part part_of(const cvy_phase_info *info, const struct rates *r, double gflops,
                           double us)
{
    const double thread_us = 1e6 * (double)r->threads,
                 bytes = info->bytes_read + info->bytes_written;
    const enum bench_level near = level_of(bytes / (double)info->tasks, 1);
    struct part p = { .us = us, .level = level_of(bytes, info->threads) };
    p.multiplies = info->flops / gflops * 1e-9 * thread_us;
    p.traffic =
        (moving(r->gbs[p.level], info->bytes_read - info->near_read,
                info->bytes_written - info->near_written) +
         moving(r->gbs[near < p.level ? near : p.level], info->near_read, info->near_written)) *
        thread_us;
    p.floor = fmax(p.multiplies, p.traffic);
    return p;
}

static void add_part(struct part *sum, const struct part *p)
{
    sum->us += p->us;
    sum->multiplies += p->multiplies;
    sum->traffic += p->traffic;
    sum->floor += p->floor;
}

/* ------------------------------------------------------------------------------------ summaries */

/* "conv2d.dw 3x3 stride 2", "linear.dx", "batch_norm" */
static void name_kind(const cvy_op_info *op, char *out, size_t size)
{
    const cvy_shape *k = &op->kernel;
    static const char conv[] = "conv2d";
    char stride[48] = "";
    const char *few = k->c == 1 ? " depthwise" : " grouped";
    const bool grouped = op->groups > 1;
    if (!k->h) snprintf(out, size, "%s", op->type);
    else if (op->whole_map && !grouped) snprintf(out, size, "linear%s", op->type + sizeof conv - 1);
    else {
        if (op->stride[0] > 1 || op->stride[1] > 1)
            snprintf(stride, sizeof stride, " stride %zu", op->stride[0]);
        snprintf(out, size, "%s %zux%zu%s%s", op->type, k->h, k->w, stride, grouped ? few : "");
    }
}

/* A phase's kind: those of the ops it is made of, one name for all that come several times in a
 * row. */
static void name_group(const cvy_trainer *t, const cvy_phase_info *info, char *out, size_t size)
{
    char kind[96], last[96] = "";
    size_t used = 0;
    snprintf(out, size, "%s", info->reorder ? "reorder" : info->name);
    if (info->reorder) return;
    for (size_t i = 0; i < info->ops && used < size; i++) {
        cvy_op_info op;
        if (cvy_trainer_op(t, info->first_op + i, &op)) continue;
        name_kind(&op, kind, sizeof kind);
        if (!strcmp(kind, last)) continue;
        used += (size_t)snprintf(out + used, size - used, "%s%s", used ? " + " : "", kind);
        snprintf(last, sizeof last, "%s", kind);
    }
}

static void add_to_group(struct table *t, const char *name, const struct part *p)
{
    struct group *g = t->group;
    while (g < t->group + t->n_groups && strcmp(g->name, name)) g++;
    if (g == t->group + t->n_groups) {
        *g = (struct group){ .name = "" };
        snprintf(g->name, sizeof g->name, "%s", name);
        t->n_groups++;
    }
    add_part(&g->sum, p);
}

static int by_gap(const void *a, const void *b)
{
    const struct part *x = &((const struct group *)a)->sum, *y = &((const struct group *)b)->sum;
    const double of_x = x->us - x->floor, of_y = y->us - y->floor;
    return (of_x < of_y) - (of_x > of_y);
}

/* ----------------------------------------------------------------------------------------- rows */

static void row(struct bench *b, const char *head, const struct part *p, const char *level,
                double total)
{
    char ratio[32] = "-"; /* of what moves no tensor */
    if (p->floor > 0) snprintf(ratio, sizeof ratio, "%.2f", p->us / p->floor);
    bench_note(b, "%s %9.1f %5.1f %9.1f %9.1f %-4s %9.1f %6s", head, p->us, 100 * p->us / total,
               p->multiplies, p->traffic, level, p->us - p->floor, ratio);
}

#define PHASE_COLUMNS 29
#define GROUP_COLUMNS (PHASE_COLUMNS + 12)
static void print(struct bench *b, const cvy_trainer *t, const struct table *table)
{
    static const char *const levels[BENCH_LEVELS] = { "L1", "L2", "L3", "DRAM" };
    static const char heads[] = "       us     %  multiply   traffic from       gap  ratio";
    char head[256], name[256], clipped[4 * GROUP_COLUMNS + 1];
    cvy_phase_info info;
    bench_note(b, "stage %-*s tasks %s", PHASE_COLUMNS, "phase", heads);
    for (size_t i = 0; i < table->n; i++) {
        if (cvy_trainer_phase(t, i, &info)) continue;
        text_clip(text_short(info.name, name, sizeof name), PHASE_COLUMNS, clipped);
        snprintf(head, sizeof head, "%5zu %s%*s %5zu", info.stage, clipped,
                 (int)(PHASE_COLUMNS - text_width(clipped)), "", info.tasks);
        row(b, head, &table->phase[i], levels[table->phase[i].level], table->sum.us);
    }
    bench_note(b, "\n%-*s %s", GROUP_COLUMNS, "all phases of a kind, largest gap first", heads);
    for (size_t i = 0; i < table->n_groups; i++) {
        text_clip(table->group[i].name, GROUP_COLUMNS, clipped);
        snprintf(head, sizeof head, "%-*s", GROUP_COLUMNS, clipped);
        row(b, head, &table->group[i].sum, "", table->sum.us);
    }
}

static void count(gb_state *state, char *name, double value)
{
    gb_set_counter(state, name, value, GB_COUNTER);
    free(name);
}

static void set_counters(gb_state *state, const cvy_trainer *t, const struct table *table)
{
    cvy_phase_info info;
    for (size_t i = 0; i < table->n; i++)
        if (!cvy_trainer_phase(t, i, &info))
            count(state, bench_text("floor %03zu %s", i, info.name), table->phase[i].floor);
    for (size_t i = 0; i < table->n_groups; i++) {
        const struct group *g = &table->group[i];
        count(state, bench_text("group time %s", g->name), g->sum.us);
        count(state, bench_text("group floor %s", g->name), g->sum.floor);
    }
    count(state, bench_text("phases us"), table->sum.us);
    count(state, bench_text("phases floor us"), table->sum.floor);
    count(state, bench_text("phases multiply us"), table->sum.multiplies);
    count(state, bench_text("phases traffic us"), table->sum.traffic);
}

static void fill(struct table *table, const cvy_trainer *t, const struct rates *r, double gflops,
                 size_t steps)
{
    char name[160];
    cvy_phase_info info;
    for (size_t i = 0; i < table->n; i++) {
        if (cvy_trainer_phase(t, i, &info)) continue;
        table->phase[i] = part_of(&info, r, gflops, info.seconds / (double)steps * 1e6);
        add_part(&table->sum, &table->phase[i]);
        name_group(t, &info, name, sizeof name);
        add_to_group(table, name, &table->phase[i]);
    }
    qsort(table->group, table->n_groups, sizeof *table->group, by_gap);
}

void bench_phases(struct bench *b, gb_state *state, const struct bench_profile *profile)
{
    const cvy_trainer *t = profile->trainer;
    const struct rates *r = rates_of(b, profile->isa, profile->threads);
    const double gflops = bench_peak_now(b, profile->isa, profile->threads);
    struct table table = { .n = cvy_trainer_phases(t) };
    table.phase = bench_alloc((table.n + 1) * sizeof *table.phase);
    table.group = bench_alloc((table.n + 1) * sizeof *table.group);
    fill(&table, t, r, gflops, profile->steps);
    set_counters(state, t, &table);
    if (profile->title) {
        bench_note(b, "\nphases of %s; microseconds a step, summed over threads", profile->title);
        bench_note(b,
                   "multiply: at %.4g GFLOP/s; traffic: at read, write, copy L2 %.4g, %.4g, %.4g,"
                   "\nL3 %.4g, %.4g, %.4g, DRAM %.4g, %.4g, %.4g GB/s of all threads; the longer is"
                   "\nthe floor, gap: above it, ratio: time / floor\n",
                   gflops, r->gbs[BENCH_L2][0], r->gbs[BENCH_L2][1], r->gbs[BENCH_L2][2],
                   r->gbs[BENCH_L3][0], r->gbs[BENCH_L3][1], r->gbs[BENCH_L3][2],
                   r->gbs[BENCH_DRAM][0], r->gbs[BENCH_DRAM][1], r->gbs[BENCH_DRAM][2]);
        print(b, t, &table);
        bench_note(
            b,
            "\nall phases: %.1f us; their floors: %.1f us, %.2f times; multiplications alone:"
            " %.1f us\nthe step itself: %.1f us on %zu threads",
            table.sum.us, table.sum.floor, table.sum.us / table.sum.floor, table.sum.multiplies,
            profile->seconds * 1e6, profile->threads);
    }
    free(table.phase);
    free(table.group);
}
