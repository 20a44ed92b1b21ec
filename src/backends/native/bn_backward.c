/* Batch normalisation's gradient. Of g, the gradient behind the layer, two sums a channel come
 * first, sum g and sum g (x - m): the chain that makes g adds them up on its way (backward.c;
 * argmax.c where only maxima have any). Here: what is made of them (the gradients of gamma and
 * beta, and the coefficients of dx), the data gradient itself, and frozen layers. Ioffe & Szegedy
 * 2015 (arXiv:1502.03167), section 3, in closed form:
 *
 *   xhat = (x - mean) s,  s = 1 / sqrt(var + eps),  M images times pixels
 *   dbeta = sum g,  dgamma = sum g xhat
 *   dx = gamma s (g - dbeta / M - xhat dgamma / M)
 *
 * By the mean alone s is 1 and the last term is left out; by the variance alone xhat = x s, and dx
 * is gamma s (g - (x - mean) s dgamma / M). */
#include <math.h>
#include <string.h>

#include "backends/native/rows.h"

/* ----------------------------------------------------------------------------------------- sums */

/* Sum g, sum g*xhat and 1 / sqrt(var + eps) of channels [c0, c0 + n). */
static void gradient_sums(const struct native_bn *bn, const struct cvy_run *run, size_t c0,
                          size_t n, double *g, double *gx, double *scale)
{
    const double *stats = native_buf(run, bn->stats);
    const float *rm = native_buf(run, bn->running_mean), *rv = native_buf(run, bn->running_var);
    for (size_t c = 0; c < n; c++)
        scale[c] = stats ? stats[bn->c + c0 + c] : (double)native_or(rv, c0 + c, 1);
    cvyi_bn_scales(bn, n, scale);
    if (bn->source == NATIVE_BN_VALUE) {
        const double *sums = run->buf[bn->sums];
        memcpy(g, sums + c0, n * sizeof *g);
        memcpy(gx, sums + bn->c + c0, n * sizeof *gx);
        return;
    }
    const double *slot = (const double *)run->buf[bn->slots] + c0;
    size_t blocks = native_blocks_in_use(run);
    memset(g, 0, n * sizeof *g);
    memset(gx, 0, n * sizeof *gx);
    for (size_t b = 0; b < blocks; b++, slot += 2 * bn->c)
        for (size_t c = 0; c < n; c++) {
            g[c] += slot[c];
            gx[c] += slot[bn->c + c];
        }
    /* The slots hold sum g (x - m) with m the float nearest to the mean. */
    for (size_t c = 0; c < n; c++) {
        double mean = stats ? stats[c0 + c] : (double)native_or(rm, c0 + c, 0);
        double centre = native_bn_centres(&bn->desc) ? mean : 0;
        gx[c] = (gx[c] - (centre - (double)(float)mean) * g[c]) * scale[c];
    }
}

/* To the sums' value and the parameters' gradients. */
static void publish_sums(const struct native_bn *bn, const struct cvy_run *run, size_t c0, size_t n,
                         const double *g, const double *gx)
{
    double *sums = native_buf(run, bn->sums);
    float *dgamma = native_buf(run, bn->dgamma), *dbeta = native_buf(run, bn->dbeta);
    for (size_t i = 0, c = c0; i < n; i++, c++) {
        if (sums) {
            sums[c] = g[i];
            sums[bn->c + c] = gx[i];
        }
        if (dgamma) dgamma[c] = (float)gx[i];
        if (dbeta) dbeta[c] = (float)g[i];
    }
}

/* dx = gamma/s (g - sum g / M - xhat sum g xhat / M), gathered by g, x - m and 1. */
static void run_dx(const void *arg, const struct cvy_run *run, size_t task,
                   struct cvy_worker *worker)
{
    const struct native_bn *bn = arg;
    struct native_cell cell = native_cell(bn->grid, bn->c, task);
    size_t c0 = cell.c0, n = cell.c1 - c0;
    double *g = worker->scratch, *gx = g + n, *scale = gx + n,
           share = 1 / (double)(run->n * bn->pixels);
    const double *mean = native_buf(run, bn->stats);
    const float *gamma = native_buf(run, bn->gamma);
    struct cvyi_bn_dx *dx = native_buf(run, bn->coefficients);
    gradient_sums(bn, run, c0, n, g, gx, scale);
    if (bn->source != NATIVE_BN_VALUE) publish_sums(bn, run, c0, n, g, gx);
    for (size_t i = 0, c = c0; dx && i < n; i++, c++) {
        double a = (double)native_or(gamma, c, 1) * scale[i], b = 0, shift = 0;
        float m = (float)mean[c];
        if (native_bn_divides(&bn->desc)) b = -a * scale[i] * gx[i] * share;
        if (native_bn_centres(&bn->desc)) shift = -a * g[i] * share;
        dx[c] = (struct cvyi_bn_dx){ m, (float)a, (float)b,
                                     (float)(shift - b * (mean[c] - (double)m)) };
    }
}

enum cvy_status cvyi_bn_dx_gate(struct cvy_plan *plan, const char *name, const struct native_bn *bn)
{
    return cvyi_bn_gate(plan, name, bn, run_dx, true);
}

/* ----------------------------------------------------------------------------------------- data */

struct data_phase {
    const struct cvyi_kernels *k;
    struct native_grid grid;
    struct native_lanes x, g, dx;
    const struct native_argmax *argmax; /* g is the gradient of the pooled */
    struct native_anew anew;            /* g is not there */
    const struct native_made *made;     /* nor is what it comes from */
    struct native_lanes other, sum;     /* what joins dx; dx is absent if only the sum is kept */
    bool added_first;
    int coefficients; /* struct cvyi_bn_dx [c] */
};

/* n floats of sum from dx and other, which begin at the same place. */
static void join(const struct data_phase *a, float *sum, const float *dx, const float *other,
                 size_t n)
{
    a->k->rows->add(sum, a->added_first ? dx : other, a->added_first ? other : dx, n);
}

/* One channel: its gradient to dx, and the sum, a segment at a time. */
static void run_channel(const struct data_phase *a, const struct cvy_run *run, size_t block,
                        size_t c, float *band)
{
    const struct cvyi_bn_dx *k = (const struct cvyi_bn_dx *)run->buf[a->coefficients] + c;
    unsigned images = (unsigned)native_images(run, block);
    const float *g = native_at_or_null(run, &a->g, block, c), *x = native_at(run, &a->x, block, c),
                *saved = native_at_or_null(run, &a->anew.saved, block, c),
                *other = native_at_or_null(run, &a->other, block, c);
    float *sum = native_at_or_null(run, &a->sum, block, c),
          *dx = a->dx.id >= 0 ? native_at(run, &a->dx, block, c) : sum;
    size_t pixels = a->x.h * a->x.w, n = pixels * NATIVE_LANES, segment = n;
    if (a->argmax)
        cvyi_argmax_bn_dx(a->argmax, a->k, cvyi_argmax_at(a->argmax, run, block, c), dx, x, g, k,
                          images);
    else if (a->made) segment = native_made_floats(a->made, a->x.w);
    else if (sum) segment = NATIVE_SEGMENT * NATIVE_LANES;
    struct cvyi_act_norm norm = native_act_norm(&a->anew, run, c);
    for (size_t i = 0, m; i < n; i += m) {
        m = native_min(segment, n - i);
        const float *from = a->made ? band : g + i;
        if (a->made) {
            const size_t row = a->x.w * NATIVE_LANES;
            a->made->rows(a->made->arg, run, block, c,
                          (struct native_range){ i / row, (i + m) / row }, band);
        }
        if (a->anew.on)
            a->anew.bn_dx(dx + i, from, saved ? saved + i : NULL, x + i, m, &norm, k, images);
        else if (!a->argmax) a->k->norm->bn_dx(dx + i, from, x + i, m, k, images);
        if (sum) join(a, sum + i, dx + i, other + i, m);
    }
}

static void run_data(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct data_phase *a = arg;
    struct native_cell cell = native_cell(a->grid, a->x.c, task);
    const struct cvyi_bn_dx *k = run->buf[a->coefficients];
    size_t channels = cell.c1 - cell.c0;
    NATIVE_BLOCKS (cell, run) {
        if (a->x.h * a->x.w == 1 && !a->argmax) { /* unpadded planes of one pixel */
            const struct native_lanes *to = a->dx.id >= 0 ? &a->dx : &a->sum;
            float *dx = native_at(run, to, cell.block, cell.c0);
            a->k->norm->each_bn_dx(dx, native_at(run, &a->g, cell.block, cell.c0),
                                   native_at(run, &a->x, cell.block, cell.c0), channels,
                                   k + cell.c0, (unsigned)native_images(run, cell.block));
            if (a->sum.id >= 0)
                join(a, native_at(run, &a->sum, cell.block, cell.c0), dx,
                     native_at(run, &a->other, cell.block, cell.c0), channels * NATIVE_LANES);
            continue;
        }
        for (size_t c = cell.c0; c < cell.c1; c++)
            run_channel(a, run, cell.block, c, worker->scratch);
    }
}

static enum cvy_status data_accesses(const struct native *native, struct cvy_plan *plan,
                                     const char *name, const struct data_phase *a)
{
    struct cvy_phase_desc phase = {
        .name = name,
        .run = run_data,
        .arg = a,
        .blocks = a->grid.blocks,
        .parts = a->grid.parts,
        .scratch_bytes = native_made_floats(a->made, a->x.w) * sizeof(float),
    };
    if (a->made) a->made->reads(native, a->made->arg, &phase);
    native_access(&phase, a->x.id, CVY_READ_CELL);
    native_cell_access(&phase, native, &a->g, a->grid, false); /* pooled, with a argmax */
    native_access(&phase, a->argmax ? a->argmax->at : -1, CVY_READ_CELL);
    native_access(&phase, a->anew.saved.id, CVY_READ_CELL);
    native_access(&phase, a->anew.affine, native_read(a->grid));
    native_access(&phase, a->other.id, CVY_READ_CELL);
    native_access(&phase, a->coefficients, native_read(a->grid));
    native_access(&phase, a->dx.id, CVY_WRITE_CELL);
    native_access(&phase, a->sum.id, CVY_WRITE_CELL);
    const struct native_lanes *from = a->argmax || a->made ? &a->x : &a->g;
    /* what joins dx is read after dx is written: bn(x) + x has one gradient for both */
    if (native_root(plan, a->other.id) != native_root(plan, from->id))
        native_in_place(&phase, from, a->dx.id >= 0 ? &a->dx : &a->sum);
    return cvy_plan_phase(plan, &phase);
}

/* By the formula above: the sums of g - dbeta / M and of xhat are 0. */
bool cvyi_bn_dx_has_no_sum(const struct cvy_plan *plan, int dx)
{
    const struct cvy_op_desc *op;
    int n;
    for (size_t i = 0; (op = cvy_plan_chain(plan, i, &n)); i++)
        if (op->kind == CVY_OP_BN_BWD_DATA && op->out[CVY_BN_BWD_DATA_DX] == dx)
            return native_bn_centres(&op->u.bn);
    return false;
}

enum cvy_status cvyi_bn_dx_phase(struct native *native, struct cvy_plan *plan,
                                 const struct native_backward *chain, size_t last,
                                 const struct native_bn_g *from)
{
    const struct cvy_op_desc *op = chain->data, *sum = chain->join;
    struct data_phase *a = cvy_plan_alloc(plan, sizeof *a);
    const char *name = cvyi_rows_name(plan, op, sum ? 2 : 1);
    if (!a || !name) return CVY_E_NOMEM;
    struct native_bn bn = cvyi_bn_of(native, plan, op);
    if (from->sums) {
        bn.source = NATIVE_BN_SLOTS;
        bn.slots = from->sums->slots;
        bn.dgamma = from->sums->dgamma;
        bn.dbeta = from->sums->dbeta;
    }
    bn.coefficients = cvyi_bn_coefficients(plan, &bn, op->name, sizeof(struct cvyi_bn_dx));
    if (bn.coefficients < 0) return CVY_E_NOMEM;
    NATIVE_TRY(cvyi_bn_dx_gate(plan, op->name, &bn));
    int dx = op->out[CVY_BN_BWD_DATA_DX], other = -1;
    if (sum) other = sum->in[chain->joined_first ? CVY_ADD_B : CVY_ADD_A];
    *a = (struct data_phase){ .k = native->kernels,
                              .grid = native_grid(native, bn.c, bn.pixels),
                              .x = native_lanes(plan, op->in[CVY_BN_BWD_DATA_X]),
                              .g = native_lanes(plan, op->in[CVY_BN_BWD_DATA_DY]),
                              .dx = native_lanes(plan, dx),
                              .argmax = from->argmax,
                              .made = from->made,
                              .other = native_lanes(plan, other),
                              .sum = native_lanes(plan, sum ? sum->out[CVY_ADD_Y] : -1),
                              .added_first = chain->joined_first,
                              .coefficients = bn.coefficients };
    if (from->anew) a->anew = *from->anew;
    else a->anew.saved.id = a->anew.affine = -1;
    if (from->argmax) a->g = from->pooled;
    if (a->anew.on) a->g = a->anew.dy;
    if (sum && !cvy_plan_needed_after(plan, dx, last)) a->dx.id = -1;
    return data_accesses(native, plan, name, a);
}

/* -------------------------------------------------------------------------------- frozen layers */

struct frozen_phase {
    const struct cvyi_kernels *k;
    struct native_grid grid;
    struct native_bn bn;
    struct native_lanes x, dy, dx;
};

/* The statistics are constants: dx = gamma/s dy; the sums are only the parameters' gradients. */
static void run_frozen(const void *arg, const struct cvy_run *run, size_t task,
                       struct cvy_worker *worker)
{
    const struct frozen_phase *a = arg;
    const struct native_bn *bn = &a->bn;
    struct native_cell cell = native_cell(a->grid, bn->c, task);
    (void)worker;
    const float *mean = native_buf(run, bn->running_mean);
    size_t segment = native_segment(a->x.w);
    NATIVE_BLOCKS (cell, run)
        for (size_t c = cell.c0; c < cell.c1; c++) {
            const float *dy = native_at(run, &a->dy, cell.block, c);
            if (bn->slots >= 0) {
                const float *x = native_at(run, &a->x, cell.block, c);
                double *slot = (double *)run->buf[bn->slots] + cell.block * 2 * bn->c + c, g = 0,
                       gx = 0;
                for (size_t p = 0; p < bn->pixels; p += segment) {
                    size_t m = bn->pixels - p < segment ? bn->pixels - p : segment;
                    float s1[CVYI_LANES], s2[CVYI_LANES];
                    a->k->norm->bn_reduce(dy + p * NATIVE_LANES, x + p * NATIVE_LANES,
                                          m * NATIVE_LANES, native_or(mean, c, 0), s1, s2);
                    for (size_t l = 0; l < NATIVE_LANES; l++) {
                        g += (double)s1[l];
                        gx += (double)s2[l];
                    }
                }
                slot[0] = g;
                slot[bn->c] = gx;
            }
            if (a->dx.id >= 0) {
                double scale = (double)native_or(native_buf(run, bn->running_var), c, 1);
                cvyi_bn_scales(bn, 1, &scale);
                scale *= (double)native_or(native_buf(run, bn->gamma), c, 1);
                a->k->rows->scale(native_at(run, &a->dx, cell.block, c), dy,
                                  bn->pixels * NATIVE_LANES, (float)scale);
            }
        }
}

static enum cvy_status plan_frozen(struct native *native, struct cvy_plan *plan,
                                   const struct cvy_op_desc *op, int n, size_t first)
{
    (void)n, (void)first;
    struct frozen_phase *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    a->k = native->kernels;
    a->bn = cvyi_bn_of(native, plan, op);
    a->grid = native_grid(native, a->bn.c, a->bn.pixels);
    a->x = native_lanes(plan, op->in[CVY_BN_INFER_BWD_X]);
    a->dy = native_lanes(plan, op->in[CVY_BN_INFER_BWD_DY]);
    a->dx = native_lanes(plan, op->out[CVY_BN_INFER_BWD_DX]);
    bool trained = a->bn.dgamma >= 0 || a->bn.dbeta >= 0;
    if (trained && (a->bn.slots = cvyi_bn_slots(native, plan, &a->bn, op->name)) < 0)
        return CVY_E_NOMEM;
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_frozen,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts };
    native_access(&phase, a->x.id, CVY_READ_CELL);
    native_access(&phase, a->dy.id, CVY_READ_CELL);
    native_access(&phase, a->bn.running_mean, CVY_READ_ALL);
    native_access(&phase, a->bn.running_var, CVY_READ_ALL);
    native_access(&phase, a->bn.gamma, CVY_READ_ALL);
    native_access(&phase, a->dx.id, CVY_WRITE_CELL);
    native_access(&phase, a->bn.slots, CVY_WRITE_CELL);
    NATIVE_TRY(cvy_plan_phase(plan, &phase));
    return trained ? cvyi_bn_dx_gate(plan, op->name, &a->bn) : CVY_OK;
}

NATIVE_FAMILY(bn_infer_bwd, NULL, plan_frozen);
