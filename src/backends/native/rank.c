/* Ranks: a task orders a channel's numbers of all images, as keys of 32 bits with their place
 * behind them, by digits from the last one (radix sort), which is stable and needs no comparison.
 * What comes of them is worked out in double, once for numbers that are equal. */
#include <math.h>
#include <string.h>

#include "backends/native/rows.h"
#include "base/probit.h"

enum { DIGITS = 4 }; /* of a key, a byte each */

struct rank {
    struct native_grid grid;
    struct native_lanes x, y;
    size_t pixels, k; /* of a map; quantiles */
    double momentum;
    bool normal;
    int quantiles; /* float [c][k]; -1: none */
};

static float outcome(const struct rank *a, double u)
{
    return (float)(a->normal ? cvyi_probit(u) : u);
}

/* Keys are in the order of the floats that they are of; -0 and denormals are 0. */
static uint32_t key_of(float x)
{
    uint32_t bits;
    x += 0.0f;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static float of_key(uint32_t key)
{
    uint32_t bits = key >> 31 ? key & 0x7fffffffu : ~key;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The channel's numbers, a key and a place each: block, pixel, lane. False if one is NaN. */
static bool gather(const struct rank *a, const struct cvy_run *run, size_t c, uint64_t *to)
{
    bool good = true;
    for (size_t block = 0; block < native_blocks_in_use(run); block++) {
        const float *x = native_at(run, &a->x, block, c);
        for (size_t p = 0; p < a->pixels; p++)
            for (size_t l = 0; l < native_images(run, block); l++) {
                float v = x[p * NATIVE_LANES + l];
                uint64_t place = (block * a->pixels + p) * NATIVE_LANES + l;
                good = good && !isnan(v);
                *to++ = (uint64_t)key_of(v) << 32 | place;
            }
    }
    return good;
}

/* In order by keys, through `other`, of as many. */
static void sort(uint64_t *v, uint64_t *other, size_t m)
{
    for (int digit = 0; digit < DIGITS; digit++) {
        const int shift = 32 + 8 * digit;
        size_t first[256] = { 0 }, sum = 0;
        for (size_t i = 0; i < m; i++) first[v[i] >> shift & 255]++;
        for (size_t d = 0; d < 256; d++) {
            size_t count = first[d];
            first[d] = sum;
            sum += count;
        }
        for (size_t i = 0; i < m; i++) other[first[v[i] >> shift & 255]++] = v[i];
        uint64_t *swap = v;
        v = other;
        other = swap;
    }
}
_Static_assert(DIGITS % 2 == 0, "they end where they began");

static void put(const struct rank *a, const struct cvy_run *run, size_t c, uint64_t place, float y)
{
    size_t vector = (uint32_t)place / NATIVE_LANES;
    native_at(run, &a->y, vector / a->pixels,
              c)[vector % a->pixels * NATIVE_LANES + place % NATIVE_LANES] = y;
}

/* Of m numbers in order, that for (k + 1/2) / K: between those at (i + 1/2) / m. */
static double quantile(const struct rank *a, const uint64_t *v, size_t m, size_t k)
{
    uint64_t whole = 2 * a->k, place = (2 * (uint64_t)k + 1) * m;
    if (place <= a->k) return (double)of_key((uint32_t)(v[0] >> 32));
    place -= a->k;
    uint64_t i = place / whole;
    if (i >= m - 1) return (double)of_key((uint32_t)(v[m - 1] >> 32));
    double below = (double)of_key((uint32_t)(v[i] >> 32)),
           above = (double)of_key((uint32_t)(v[i + 1] >> 32)),
           f = (double)(place % whole) / (double)whole;
    return f == 0 || below == above ? below : below + f * (above - below);
}

static void run_rank(const void *arg, const struct cvy_run *run, size_t c,
                     struct cvy_worker *worker)
{
    const struct rank *a = arg;
    size_t m = run->n * a->pixels, last = native_blocks_in_use(run) - 1;
    uint64_t *v = worker->scratch;
    float *table = a->quantiles < 0 ? NULL : (float *)run->buf[a->quantiles] + c * a->k;
    double rho = cvy_run_weight(run, a->momentum);
    bool good = gather(a, run, c, v);
    sort(v, v + m, m);
    for (size_t k = 0; table && k < a->k; k++)
        table[k] = (float)((1 - rho) * (double)table[k] +
                           rho * (good ? quantile(a, v, m, k) : (double)NAN));
    for (size_t i = 0, end; i < m; i = end) {
        for (end = i + 1; end < m && v[end] >> 32 == v[i] >> 32; end++) {}
        /* ranks i + 1 ... end */
        float y = good ? outcome(a, (double)(i + end) / (2 * (double)m)) : NAN;
        for (size_t k = i; k < end; k++) put(a, run, c, v[k], y);
    }
    for (size_t p = 0; p < a->pixels; p++) /* idle lanes: anything finite */
        for (size_t l = native_images(run, last); l < NATIVE_LANES; l++)
            native_at(run, &a->y, last, c)[p * NATIVE_LANES + l] = 0;
}

/* How many of k ascending numbers are below v, or are at most v. */
static size_t count(const float *q, size_t k, float v, bool equal)
{
    size_t low = 0;
    while (low < k) {
        size_t middle = low + (k - low) / 2;
        if (q[middle] < v || (equal && q[middle] == v)) low = middle + 1;
        else k = middle;
    }
    return low;
}

static float by_quantiles(const struct rank *a, const float *q, float v)
{
    if (isnan(v)) return NAN;
    size_t less = count(q, a->k, v, false), most = count(q, a->k, v, true);
    double u = (double)less - 0.5;
    if (most > less) u = (double)(less + most) / 2;
    else if (less == 0) u = 0.5;
    else if (less < a->k)
        u += ((double)v - (double)q[less - 1]) / ((double)q[less] - (double)q[less - 1]);
    return outcome(a, u / (double)a->k);
}

static void run_infer(const void *arg, const struct cvy_run *run, size_t task,
                      struct cvy_worker *worker)
{
    const struct rank *a = arg;
    struct native_cell cell = native_cell(a->grid, a->x.c, task);
    (void)worker;
    NATIVE_BLOCKS (cell, run)
        for (size_t c = cell.c0; c < cell.c1; c++) {
            const float *q = (const float *)run->buf[a->quantiles] + c * a->k,
                        *x = native_at(run, &a->x, cell.block, c);
            float *y = native_at(run, &a->y, cell.block, c);
            size_t images = native_images(run, cell.block);
            bool good = true;
            for (size_t k = 0; k < a->k; k++) good = good && !isnan(q[k]);
            for (size_t i = 0; i < a->pixels * NATIVE_LANES; i++) {
                if (i % NATIVE_LANES >= images) y[i] = 0;
                else y[i] = good ? by_quantiles(a, q, x[i]) : NAN;
            }
        }
}

static enum cvy_status plan(struct native *native, struct cvy_plan *plan,
                            const struct cvy_op_desc *op, int n, size_t first)
{
    (void)n, (void)first;
    struct rank *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    *a = (struct rank){ .x = native_lanes(plan, op->in[CVY_RANK_X]),
                        .y = native_lanes(plan, op->out[CVY_RANK_Y]),
                        .k = op->u.rank.quantiles,
                        .momentum = op->u.rank.momentum,
                        .normal = op->u.rank.normal,
                        .quantiles = op->in[CVY_RANK_QUANTILES] };
    a->pixels = a->x.h * a->x.w;
    a->grid = native_grid_of(native, &a->x);
    struct cvy_phase_desc phase = { .name = op->name, .run = run_infer, .arg = a };
    if (op->kind == CVY_OP_RANK_INFER) {
        phase.blocks = a->grid.blocks;
        phase.parts = a->grid.parts;
        native_access(&phase, a->x.id, CVY_READ_CELL);
        native_access(&phase, a->quantiles, CVY_READ_ALL);
        native_access(&phase, a->y.id, CVY_WRITE_CELL);
        native_in_place(&phase, &a->x, &a->y);
        return cvy_plan_phase(plan, &phase);
    }
    phase.run = run_rank;
    phase.parts = a->x.c;
    phase.scratch_bytes = 2 * native->capacity * a->pixels * sizeof(uint64_t);
    native_access(&phase, a->x.id, CVY_READ_ALL);
    native_access(&phase, a->quantiles, CVY_READ_ALL);
    native_access(&phase, a->quantiles, CVY_WRITE_ALL);
    native_access(&phase, a->y.id, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

NATIVE_FAMILY(rank, NULL, plan);
NATIVE_FAMILY(rank_infer, NULL, plan);
