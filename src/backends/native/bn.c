/* Batch normalisation forward: statistics, their finalising, coefficients; what backward needs of
 * them, too. The gradient is bn_backward.c's. All sums leave the kernels as fp32 lanes over at
 * most 1024 pixels and are merged in double, in the order lanes, segments, blocks, so the result
 * depends on the shape and the batch only. Normalising runs in forward.c, with what stands behind
 * it. */
#include <math.h>
#include <string.h>

#include "backends/native/rows.h"

/* pixels in one fp32 sum for each image: 1024, the kernel's limit, in a full block. Few images are
 * few chains, whose roundings average out less */
#define STATS_SEGMENT ((size_t)64)

/* Which values the op reads and writes. */
static void take_values(struct native_bn *bn, const struct cvy_op_desc *op)
{
    switch (op->kind) {
    case CVY_OP_BN_STATS:
        bn->running_mean = op->in[CVY_BN_STATS_MEAN];
        bn->running_var = op->in[CVY_BN_STATS_VAR];
        bn->stats = op->out[CVY_BN_STATS_STATS];
        break;
    case CVY_OP_BN_APPLY:
        bn->stats = op->in[CVY_BN_APPLY_STATS];
        bn->gamma = op->in[CVY_BN_APPLY_GAMMA];
        bn->beta = op->in[CVY_BN_APPLY_BETA];
        break;
    case CVY_OP_BN_INFER:
        bn->source = NATIVE_BN_RUNNING;
        bn->running_mean = op->in[CVY_BN_INFER_MEAN];
        bn->running_var = op->in[CVY_BN_INFER_VAR];
        bn->gamma = op->in[CVY_BN_INFER_GAMMA];
        bn->beta = op->in[CVY_BN_INFER_BETA];
        break;
    case CVY_OP_BN_BWD_REDUCE:
        bn->stats = op->in[CVY_BN_BWD_REDUCE_STATS];
        bn->sums = op->out[CVY_BN_BWD_REDUCE_SUMS];
        bn->dgamma = op->out[CVY_BN_BWD_REDUCE_DGAMMA];
        bn->dbeta = op->out[CVY_BN_BWD_REDUCE_DBETA];
        break;
    case CVY_OP_BN_BWD_DATA:
        bn->stats = op->in[CVY_BN_BWD_DATA_STATS];
        bn->sums = op->in[CVY_BN_BWD_DATA_SUMS];
        bn->gamma = op->in[CVY_BN_BWD_DATA_GAMMA];
        break;
    case CVY_OP_BN_INFER_BWD:
        bn->source = NATIVE_BN_RUNNING;
        bn->running_mean = op->in[CVY_BN_INFER_BWD_MEAN];
        bn->running_var = op->in[CVY_BN_INFER_BWD_VAR];
        bn->gamma = op->in[CVY_BN_INFER_BWD_GAMMA];
        bn->dgamma = op->out[CVY_BN_INFER_BWD_DGAMMA];
        bn->dbeta = op->out[CVY_BN_INFER_BWD_DBETA];
        break;
    default: break;
    }
}

struct native_bn cvyi_bn_of(const struct native *native, const struct cvy_plan *plan,
                            const struct cvy_op_desc *op)
{
    const struct cvy_value *x = cvy_plan_value(plan, op->in[CHAIN_X]);
    const cvy_batch_norm_desc *d = &op->u.bn;
    struct native_bn bn = {
        .source = NATIVE_BN_VALUE,
        .c = x->shape.c,
        .pixels = x->shape.h * x->shape.w,
        .desc = *d,
        .slots = -1,
        .slot_channels = x->shape.c,
        .stats = -1,
        .sums = -1,
        .running_mean = -1,
        .running_var = -1,
        .gamma = -1,
        .beta = -1,
        .dgamma = -1,
        .dbeta = -1,
        .coefficients = -1,
    };
    bn.grid = native_grid(native, bn.c, bn.pixels);
    native_chose(plan, CHOICE_BN_WIDE, bn.grid.unit);
    if (!bn.grid.unit) bn.grid = (struct native_grid){ 0, 1, 0 };
    take_values(&bn, op);
    return bn;
}

int cvyi_bn_slots(const struct native *native, struct cvy_plan *plan, const struct native_bn *bn,
                  const char *name)
{
    size_t bytes = native->blocks * 2 * bn->slot_channels * sizeof(double);
    return cvy_plan_buffer(plan, name, bytes, false);
}

/* ----------------------------------------------------------------------------------- statistics */

/* Chan's formula: (mean, m2) of na elements takes in (mb, qb) of nb. */
static void merge(double *mean, double *m2, double na, double mb, double qb, double nb)
{
    double d = mb - *mean, w = nb / (na + nb);
    *mean += d * w;
    *m2 += qb + d * d * (na * w);
}

/* A segment whose squares overflow float (or that holds a NaN). */
static void segment_in_double(const float *x, size_t pixels, size_t images, double *mean,
                              double *m2)
{
    double sum = 0, squares = 0;
    for (size_t p = 0; p < pixels; p++)
        for (size_t l = 0; l < images; l++) sum += (double)x[p * NATIVE_LANES + l];
    *mean = sum / (double)(pixels * images);
    for (size_t p = 0; p < pixels; p++)
        for (size_t l = 0; l < images; l++) {
            double d = (double)x[p * NATIVE_LANES + l] - *mean;
            squares += d * d;
        }
    *m2 = squares;
}

/* Of m pixels of `images` lanes from what the kernel left of them: mean and M2 over the lanes. Four
 * chains, joined as (0+1)+(2+3): one chain of sixteen is all latency. */
static inline __attribute__((always_inline)) void fold_lanes(const float *pivot, const float *s,
                                                             const float *q, size_t images,
                                                             double m, double *mean, double *m2)
{
    double lane_mean[CVYI_LANES], sum[4] = { 0 }, part[4] = { 0 }, inv = 1.0 / m;
    for (size_t l = 0; l < images; l++) {
        lane_mean[l] = (double)pivot[l] + (double)s[l] * inv;
        sum[l & 3] += lane_mean[l];
    }
    double all = ((sum[0] + sum[1]) + (sum[2] + sum[3])) / (double)images;
    for (size_t l = 0; l < images; l++) {
        double d = lane_mean[l] - all, v = (double)q[l] - (double)s[l] * (double)s[l] * inv;
        part[l & 3] += (v < 0 ? 0 : v) + m * (d * d); /* NaN is kept */
    }
    *mean = all;
    *m2 = (part[0] + part[1]) + (part[2] + part[3]);
}

void cvyi_bn_moments(const struct cvyi_kernels *k, const float *x, size_t pixels, size_t images,
                     double *mean, double *m2)
{
    double lanes = (double)images;
    size_t segment = STATS_SEGMENT * images;
    for (size_t p = 0; p < pixels; p += segment) {
        size_t m = pixels - p < segment ? pixels - p : segment;
        float pivot[CVYI_LANES], s[CVYI_LANES] = { 0 }, q[CVYI_LANES] = { 0 };
        double part_mean, part;
        k->norm->bn_stats(x + p * NATIVE_LANES, m * NATIVE_LANES, pivot, s, q);
        /* The same function twice: with all lanes in use it becomes straight vector code. */
        if (images == NATIVE_LANES)
            fold_lanes(pivot, s, q, NATIVE_LANES, (double)m, &part_mean, &part);
        else fold_lanes(pivot, s, q, images, (double)m, &part_mean, &part);
        if (!isfinite(part)) segment_in_double(x + p * NATIVE_LANES, m, images, &part_mean, &part);
        if (p == 0) {
            *mean = part_mean;
            *m2 = part;
        } else merge(mean, m2, (double)p * lanes, part_mean, part, (double)m * lanes);
    }
}

struct stats_phase {
    const struct cvyi_kernels *k;
    struct native_grid grid;
    struct native_lanes x;
    size_t c0, n; /* channels of x */
    int slots;
    size_t slot_channels, slot_c0;
};

/* Statistics of a buffer's channels, by the value that has it. Concatenations that grow, as in a
 * DenseNet, are normalised one by one, and have most of their channels in common. */
struct stats {
    struct native_saved saved;
    int slots;
    struct native_range known;
};

static void run_stats(const void *arg, const struct cvy_run *run, size_t task,
                      struct cvy_worker *worker)
{
    const struct stats_phase *a = arg;
    struct native_cell cell = native_cell(a->grid, a->n, task);
    (void)worker;
    NATIVE_BLOCKS (cell, run) {
        size_t images = native_images(run, cell.block), c0 = a->c0 + cell.c0, c1 = a->c0 + cell.c1;
        double *mean =
                   (double *)run->buf[a->slots] + cell.block * 2 * a->slot_channels + a->slot_c0,
               *m2 = mean + a->slot_channels;
        if (a->x.plane == 1) {
            a->k->norm->each_stats(native_at(run, &a->x, cell.block, c0), c1 - c0, (unsigned)images,
                                   mean + c0, m2 + c0);
            continue;
        }
        for (size_t c = c0; c < c1; c++)
            cvyi_bn_moments(a->k, native_at(run, &a->x, cell.block, c), a->x.h * a->x.w, images,
                            &mean[c], &m2[c]);
    }
}

/* The slots of the buffer that has x, and which channels of x nobody has filled yet: all, but where
 * those that somebody has are the first ones. */
static enum cvy_status stats_slots(struct native *native, struct cvy_plan *plan, const char *name,
                                   struct native_bn *bn, int x, struct native_range *left)
{
    const struct cvy_value *v = cvy_plan_value(plan, x);
    int whole = v->view.c ? native_root(plan, x) : x;
    struct stats *s = (struct stats *)native_saved(native, NATIVE_SAVED_STATS, whole);
    struct native_range own = { v->view.c0, v->view.c0 + bn->c };
    *left = (struct native_range){ 0, bn->c };
    bn->slot_channels = cvy_plan_value(plan, whole)->shape.c;
    bn->slot_c0 = own.begin;
    if (native_chose(plan, CHOICE_BN_KNOWN, s && s->known.begin == own.begin)) {
        left->begin = native_min(s->known.end - own.begin, bn->c);
        s->known.end = own.end > s->known.end ? own.end : s->known.end;
        bn->slots = s->slots;
        return CVY_OK;
    }
    bn->slots = cvyi_bn_slots(native, plan, bn, name);
    s = cvy_plan_alloc(plan, sizeof *s);
    if (bn->slots < 0 || !s) return CVY_E_NOMEM;
    *s = (struct stats){ { .kind = NATIVE_SAVED_STATS, .value = whole }, bn->slots, own };
    native_save(native, &s->saved);
    return CVY_OK;
}

enum cvy_status cvyi_bn_stats_phase(struct native *native, struct cvy_plan *plan, const char *name,
                                    struct native_bn *bn, int x)
{
    struct stats_phase *a = cvy_plan_alloc(plan, sizeof *a);
    struct native_range left;
    if (!a) return CVY_E_NOMEM;
    NATIVE_TRY(stats_slots(native, plan, name, bn, x, &left));
    size_t n = left.end - left.begin;
    if (!n) return CVY_OK;
    *a = (struct stats_phase){ .k = native->kernels,
                               .grid = native_grid(native, n, bn->pixels),
                               .x = native_lanes(plan, x),
                               .c0 = left.begin,
                               .n = n,
                               .slots = bn->slots,
                               .slot_channels = bn->slot_channels,
                               .slot_c0 = bn->slot_c0 };
    native_chose(plan, CHOICE_BN_SEGMENTS, bn->pixels > STATS_SEGMENT * NATIVE_LANES);
    /* some channels of x, or of the slots: a cell that is cut by channels has others */
    bool cells = a->grid.parts == 1 || (n == bn->c && n == bn->slot_channels);
    struct cvy_phase_desc phase = { .name = name,
                                    .run = run_stats,
                                    .arg = a,
                                    .blocks = cells ? a->grid.blocks : 0,
                                    .parts = a->grid.parts * (cells ? 1 : a->grid.blocks) };
    native_access(&phase, x, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, bn->slots, cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

/* Mean and variance of channels [c0, c0 + n). */
static void moments(const struct native_bn *bn, const struct cvy_run *run, size_t c0, size_t n,
                    double *mean, double *var)
{
    if (bn->source == NATIVE_BN_RUNNING) {
        const float *m = native_buf(run, bn->running_mean), *v = native_buf(run, bn->running_var);
        for (size_t c = 0; c < n; c++) {
            mean[c] = (double)native_or(m, c0 + c, 0);
            var[c] = (double)native_or(v, c0 + c, 1);
        }
        return;
    }
    if (bn->source == NATIVE_BN_VALUE) {
        const double *stats = run->buf[bn->stats];
        memcpy(mean, stats + c0, n * sizeof *mean);
        memcpy(var, stats + bn->c + c0, n * sizeof *var);
        return;
    }
    /* Blocks outside, channels inside: the channels' chains are independent. */
    const size_t step = 2 * bn->slot_channels;
    const double *slot = (const double *)run->buf[bn->slots] + bn->slot_c0 + c0,
                 *m2 = slot + bn->slot_channels;
    size_t blocks = native_blocks_in_use(run);
    double na = 0;
    for (size_t b = 0; b < blocks; b++, slot += step, m2 += step) {
        double nb = (double)(native_images(run, b) * bn->pixels), w = nb / (na + nb), naw = na * w;
        if (b == 0) {
            memcpy(mean, slot, n * sizeof *mean);
            memcpy(var, m2, n * sizeof *var);
        } else {
            for (size_t c = 0; c < n; c++) {
                double d = slot[c] - mean[c];
                mean[c] += d * w;
                var[c] += m2[c] + d * d * naw;
            }
        }
        na += nb;
    }
    for (size_t c = 0; c < n; c++) var[c] /= na;
}

/* To the statistics' value and into the running statistics. */
static void publish_moments(const struct native_bn *bn, const struct cvy_run *run, size_t c0,
                            size_t n, const double *mean, const double *var)
{
    double *stats = native_buf(run, bn->stats), m = (double)(run->n * bn->pixels);
    float *running_mean = native_buf(run, bn->running_mean),
          *running_var = native_buf(run, bn->running_var);
    for (size_t i = 0, c = c0; i < n; i++, c++) {
        double u = mean[i], v = var[i];
        if (stats) {
            stats[c] = u;
            stats[bn->c + c] = v;
        }
        if (running_mean)
            running_mean[c] = (float)cvy_run_bn_mean(run, &bn->desc, (double)running_mean[c], u);
        if (running_var)
            running_var[c] = (float)cvy_run_bn_var(run, &bn->desc, (double)running_var[c], v, m);
    }
}

void cvyi_bn_scales(const struct native_bn *bn, size_t n, double *var)
{
    bool divides = native_bn_divides(&bn->desc);
    for (size_t c = 0; c < n; c++) var[c] = divides ? 1 / sqrt(var[c] + bn->desc.eps) : 1;
}

/* y = a (x - m) + b with m rounded to float and what that lost put into b: exact differences at
 * huge means. */
static void run_affine(const void *arg, const struct cvy_run *run, size_t task,
                       struct cvy_worker *worker)
{
    const struct native_bn *bn = arg;
    struct native_cell cell = native_cell(bn->grid, bn->c, task);
    size_t c0 = cell.c0, n = cell.c1 - c0;
    double *mean = worker->scratch, *scale = mean + n;
    struct cvyi_affine *affine = native_buf(run, bn->coefficients);
    const float *gamma = native_buf(run, bn->gamma), *beta = native_buf(run, bn->beta);
    moments(bn, run, c0, n, mean, scale);
    if (bn->source == NATIVE_BN_SLOTS) publish_moments(bn, run, c0, n, mean, scale);
    if (!affine) return;
    cvyi_bn_scales(bn, n, scale);
    if (!native_bn_centres(&bn->desc)) memset(mean, 0, n * sizeof *mean);
    for (size_t i = 0, c = c0; i < n; i++, c++) {
        double a = (double)native_or(gamma, c, 1) * scale[i];
        float m = (float)mean[i], b = native_or(beta, c, 0);
        /* nothing to correct: no Inf - Inf, no Inf * 0 */
        double lost = isfinite(m) ? mean[i] - (double)m : 0;
        if (lost != 0) b = (float)((double)b - a * lost);
        affine[c] = (struct cvyi_affine){ m, (float)a, b };
    }
}

/* ---------------------------------------------------------------------------------------- gates */

enum cvy_status cvyi_bn_gate(struct cvy_plan *plan, const char *name, const struct native_bn *bn,
                             cvy_phase_fn run, bool sums)
{
    struct native_bn *own = cvy_plan_alloc(plan, sizeof *own);
    if (!own) return CVY_E_NOMEM;
    *own = *bn;
    bool fold = bn->source == NATIVE_BN_SLOTS, frozen = sums && bn->stats < 0;
    enum cvy_access read = native_read(bn->grid), write = native_write(bn->grid);
    enum cvy_access moments_access = fold && !sums ? write : read;
    struct cvy_phase_desc phase = { .name = name,
                                    .run = run,
                                    .arg = own,
                                    .blocks = bn->grid.blocks,
                                    .parts = bn->grid.parts,
                                    .gate = !bn->grid.unit,
                                    .scratch_bytes = 3 * bn->c * sizeof(double) };
    native_access(&phase, fold || frozen ? bn->slots : -1, read);
    native_access(&phase, bn->stats, moments_access);
    native_access(&phase, bn->running_mean, moments_access);
    native_access(&phase, bn->running_var, moments_access);
    native_access(&phase, bn->sums, bn->source == NATIVE_BN_VALUE ? read : write);
    native_access(&phase, bn->coefficients < 0 ? -1 : bn->gamma, read);
    native_access(&phase, bn->coefficients < 0 ? -1 : bn->beta, read);
    native_access(&phase, bn->dgamma, write);
    native_access(&phase, bn->dbeta, write);
    native_access(&phase, bn->coefficients, write);
    return cvy_plan_phase(plan, &phase);
}

int cvyi_bn_coefficients(struct cvy_plan *plan, const struct native_bn *bn, const char *name,
                         size_t each)
{
    return cvy_plan_buffer(plan, name, bn->c * each, false);
}

enum cvy_status cvyi_bn_affine_gate(struct cvy_plan *plan, const char *name,
                                    const struct native_bn *bn)
{
    return cvyi_bn_gate(plan, name, bn, run_affine, false);
}
