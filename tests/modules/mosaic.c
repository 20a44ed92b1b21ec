/* A backend with layouts of its own that nobody could guess, for tests of how values are handed
 * from one backend to another. It computes in double, one plain loop an op, and of the ops that it
 * has it takes a part, chosen by their names and by CVYI_MOSAIC (0: all that it can): so every net
 * is cut in other places by every number.
 *
 * A value that it writes lies behind a few floats of NaN, its images in reverse order, in blocks of
 * three channels or with channels innermost, the odd ones negated; it lies in its own buffer, or in
 * that of an operand that nobody needs any more. A value that was plain before may stay where it
 * is. Weights of convolutions are packed (in reverse order, in a buffer that is refreshed).
 * Reorders cut their grid as native cuts its own, and then deal the parts from the other end.
 *
 * While it plans, in phases that are alone and when copies are refreshed it may use threads of its
 * own: it makes them every time, and they must compute in the library's floating-point state. */
#include <convoy/backend.h>

#include "base/floats.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PROLOGUE ((size_t)16)
#define BLOCK ((size_t)3)

extern const struct cvy_backend cvy_module;

enum form { PLAIN, BLOCKED, INNERMOST };

/* How a value lies: in which buffer, and what it looks like there. */
struct place {
    int buffer;
    enum form form;
    bool borrowed;
    size_t n, c, pixels;
};

struct packing {
    struct packing *next;
    const struct mosaic *m;
    int weight, buffer;
    size_t count;
};

struct mosaic {
    size_t capacity, blocks, threads;
    unsigned long mix;
    bool alone; /* a phase is */
    struct packing *packings;
};

/* -------------------------------------------------------------------------------------- threads */

/* Whether all threads of a region of its own round, flush and trap as the library's. */
static bool in_state(const struct mosaic *m)
{
    atomic_bool good = true;
#ifdef _OPENMP
#pragma omp parallel num_threads((int)m->threads)
#endif
    if ((_mm_getcsr() & ~0x3fu) != CVYI_MXCSR) good = false;
    (void)m;
    return good;
}

/* --------------------------------------------------------------------------------------- places */

static unsigned long hash(const char *name, unsigned long seed)
{
    unsigned long h = 1469598103934665603u ^ seed * 0x9e3779b97f4a7c15u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 1099511628211u;
    h ^= h >> 29;
    return h * 0xbf58476d1ce4e5b9u >> 33;
}

static int root(const struct cvy_plan *plan, int id)
{
    while (cvy_plan_value(plan, id)->alias >= 0) id = cvy_plan_value(plan, id)->alias;
    return id;
}

static size_t room(const struct place *p)
{
    return (PROLOGUE + p->n * ((p->c + BLOCK - 1) / BLOCK * BLOCK) * p->pixels) * sizeof(float);
}

/* Element e of image n, in the order of plain; *negative: with the other sign. */
static size_t at(const struct place *p, size_t n, size_t e, bool *negative)
{
    size_t c = e / p->pixels, i = e % p->pixels, image = p->n - 1 - n;
    *negative = false;
    if (p->form == PLAIN) return n * p->c * p->pixels + e;
    *negative = (n + e) % 2;
    if (p->form == INNERMOST) return PROLOGUE + (image * p->pixels + i) * p->c + c;
    return PROLOGUE + ((c / BLOCK * p->n + image) * p->pixels + i) * BLOCK + c % BLOCK;
}

static double load(const struct place *p, const struct cvy_run *run, size_t n, size_t e)
{
    bool negative;
    float x = ((const float *)run->buf[p->buffer])[at(p, n, e, &negative)];
    return (double)(negative ? -x : x);
}

static void store(const struct place *p, const struct cvy_run *run, size_t n, size_t e, double x)
{
    bool negative;
    size_t k = at(p, n, e, &negative);
    ((float *)run->buf[p->buffer])[k] = negative ? -(float)x : (float)x;
}

static size_t image(const struct place *p) { return p->c * p->pixels; }

/* Where value id lies. Its numbers have one order in all of its shapes (flatten). */
static struct place seen(const struct cvy_plan *plan, int id)
{
    const struct cvy_value *v = cvy_plan_value(plan, root(plan, id));
    if (v->opaque) return *(const struct place *)v->opaque;
    return (struct place){ root(plan, id), PLAIN,      true,
                           v->shape.n,     v->shape.c, v->shape.h * v->shape.w };
}

/* Where value id is going to lie; over: an operand that may be overwritten if nobody needs it
 * behind op `last`, -1: none. */
static struct place *lay_out(struct mosaic *m, struct cvy_plan *plan, int id, int over, size_t last)
{
    int r = root(plan, id);
    const struct cvy_value *v = cvy_plan_value(plan, r);
    unsigned long h = hash(v->name, m->mix + 1);
    struct place *p = cvy_plan_alloc(plan, sizeof *p), old;
    if (!p) return NULL;
    *p = (struct place){ r,          h % 2 ? BLOCKED : INNERMOST, false, v->shape.n,
                         v->shape.c, v->shape.h * v->shape.w };
    if (over >= 0 && !cvy_plan_needed_after(plan, over, last)) {
        old = seen(plan, over);
        if (!old.borrowed && image(&old) == image(p)) *p = old;
    }
    return cvy_plan_lay_out(plan, r, room(p), p) == CVY_OK ? p : NULL;
}

static void access_value(struct cvy_phase_desc *phase, int id, enum cvy_access access)
{
    for (int a = 0; a < phase->n_access; a++)
        if (phase->access[a].value == id && phase->access[a].access == access) return;
    if (id < 0) return;
    phase->access[phase->n_access].value = id;
    phase->access[phase->n_access++].access = access;
}

/* ------------------------------------------------------------------------------------------ ops */

/* A planned op. in, out: places of activations; param: ids of everything else, in the op's
 * order. */
struct piece {
    struct mosaic *m;
    struct cvy_op_desc op;
    cvy_shape xs, ys;             /* of the first operand and the first result */
    struct place in[4], mid, out; /* mid: what the first of two fused ops leaves to others */
    const struct place *of;       /* concat: all of its operands */
    bool keep_mid, fused, alone;
    cvy_act_desc act; /* of the second op */
    int weight, packed, bias, stats, aux, extra;
};

static double *doubles(const struct cvy_run *run, int id) { return id < 0 ? NULL : run->buf[id]; }
static float *floats(const struct cvy_run *run, int id) { return id < 0 ? NULL : run->buf[id]; }

static double activate(const cvy_act_desc *d, double x)
{
    if (d->kind == CVY_SIGMOID) return 1 / (1 + exp(-x));
    if (d->kind == CVY_TANH) return tanh(x);
    if (x > 0) return x;
    return d->kind == CVY_RELU ? x * 0 : d->alpha * x;
}

/* Its slope where the result was y. */
static double activate_slope(const cvy_act_desc *d, double y)
{
    if (d->kind == CVY_SIGMOID) return y * (1 - y);
    if (d->kind == CVY_TANH) return 1 - y * y;
    if (y > 0) return 1;
    return d->kind == CVY_RELU ? 0 : d->alpha;
}

/* What the op left at element (n, e), which may have an activation behind it. */
static void finish(const struct piece *p, const struct cvy_run *run, size_t n, size_t e, double y)
{
    if (p->keep_mid) store(&p->mid, run, n, e, y);
    store(&p->out, run, n, e, p->fused ? activate(&p->act, y) : y);
}

static void run_ingest(const struct piece *p, const struct cvy_run *run)
{
    size_t size = image(&p->out), pixels = p->ys.h * p->ys.w;
    for (size_t n = 0; n < run->n; n++) {
        struct cvy_move move;
        cvy_run_move(run, p->ys, n, &move);
        for (size_t e = 0; e < size; e++) {
            uint8_t byte;
            float x;
            void *to = run->dtype == CVY_U8 ? (void *)&byte : &x;
            cvy_run_pixels(run, &move, e / pixels, e % pixels, e % pixels + 1, to);
            if (run->dtype == CVY_U8) x = (float)byte;
            x = fmaf(x, run->in_scale[e / pixels], run->in_shift[e]);
            cvy_move_blank(&move, e % pixels, e % pixels + 1, &x, 1);
            store(&p->out, run, n, e, (double)x);
        }
    }
}

/* The products of one output pixel: calls with element of x, index of the weight. */
#define TAPS(p, n, oc, oy, ox)                                                                    \
    for (size_t i = 0; i < (p)->icg; i++)                                                         \
        for (size_t ky = 0; ky < (p)->d->kernel[0]; ky++)                                         \
            for (size_t kx = 0; kx < (p)->d->kernel[1]; kx++) {                                   \
                size_t iy = (oy) * (p)->d->stride[0] + ky * (p)->d->dilation[0] - (p)->d->pad[0]; \
                size_t ix = (ox) * (p)->d->stride[1] + kx * (p)->d->dilation[1] - (p)->d->pad[1]; \
                if (iy >= (p)->xs.h || ix >= (p)->xs.w) continue; /* below zero is far above */   \
                size_t xe = (((oc) / (p)->ocg * (p)->icg + i) * (p)->xs.h + iy) * (p)->xs.w + ix; \
                size_t we =                                                                       \
                    (((oc) * (p)->icg + i) * (p)->d->kernel[0] + ky) * (p)->d->kernel[1] + kx;

struct taps {
    const cvy_conv2d_desc *d;
    cvy_shape xs, ys;
    size_t icg, ocg;
};

static struct taps taps_of(const struct piece *p, cvy_shape xs, cvy_shape ys)
{
    const cvy_conv2d_desc *d = &p->op.u.conv;
    return (struct taps){ d, xs, ys, xs.c / d->groups, ys.c / d->groups };
}

/* Weight we, through the packed copy if there is one. */
static double weight(const struct piece *p, const struct cvy_run *run, size_t count, size_t we)
{
    return (double)(p->packed >= 0 ? floats(run, p->packed)[count - 1 - we]
                                   : floats(run, p->weight)[we]);
}

static void run_conv(const struct piece *p, const struct cvy_run *run)
{
    const struct taps t = taps_of(p, p->xs, p->ys);
    const float *bias = floats(run, p->bias);
    size_t count = p->ys.c * t.icg * t.d->kernel[0] * t.d->kernel[1];
    for (size_t n = 0; n < run->n; n++)
        for (size_t oc = 0; oc < p->ys.c; oc++)
            for (size_t o = 0; o < p->ys.h * p->ys.w; o++) {
                double y = bias ? (double)bias[oc] : 0;
                TAPS(&t, n, oc, o / p->ys.w, o % p->ys.w)
                y += weight(p, run, count, we) * load(&p->in[CVY_CONV2D_X], run, n, xe);
            }
    finish(p, run, n, oc * p->ys.h * p->ys.w + o, y);
}
}

static void run_conv_data(const struct piece *p, const struct cvy_run *run)
{
    const struct taps t = taps_of(p, p->ys, p->xs); /* x is what it writes */
    size_t size = image(&p->out), count = p->xs.c * t.icg * t.d->kernel[0] * t.d->kernel[1];
    double *dx = malloc(size * sizeof *dx);
    if (!dx) abort();
    for (size_t n = 0; n < run->n; n++) {
        memset(dx, 0, size * sizeof *dx);
        for (size_t oc = 0; oc < p->xs.c; oc++)
            for (size_t o = 0; o < p->xs.h * p->xs.w; o++) {
                double dy =
                    load(&p->in[CVY_CONV2D_BWD_DATA_DY], run, n, oc * p->xs.h * p->xs.w + o);
                TAPS(&t, n, oc, o / p->xs.w, o % p->xs.w)
                dx[xe] += weight(p, run, count, we) * dy;
            }
    }
    for (size_t e = 0; e < size; e++) store(&p->out, run, n, e, dx[e]);
}
free(dx);
}

static void run_conv_weights(const struct piece *p, const struct cvy_run *run)
{
    const struct taps t = taps_of(p, p->xs, p->ys);
    size_t count = p->ys.c * t.icg * t.d->kernel[0] * t.d->kernel[1];
    double *dw = calloc(count + p->ys.c, sizeof *dw), *db = dw + count;
    if (!dw) abort();
    for (size_t n = 0; n < run->n; n++)
        for (size_t oc = 0; oc < p->ys.c; oc++)
            for (size_t o = 0; o < p->ys.h * p->ys.w; o++) {
                double dy =
                    load(&p->in[CVY_CONV2D_BWD_WEIGHTS_DY], run, n, oc * p->ys.h * p->ys.w + o);
                db[oc] += dy;
                TAPS(&t, n, oc, o / p->ys.w, o % p->ys.w)
                dw[we] += dy * load(&p->in[CVY_CONV2D_BWD_WEIGHTS_X], run, n, xe);
            }
}
for (size_t i = 0; i < count; i++) floats(run, p->weight)[i] = (float)dw[i];
for (size_t c = 0; p->bias >= 0 && c < p->ys.c; c++) floats(run, p->bias)[c] = (float)db[c];
free(dw);
}

static void run_act(const struct piece *p, const struct cvy_run *run)
{
    for (size_t n = 0; n < run->n; n++)
        for (size_t e = 0; e < image(&p->out); e++)
            store(&p->out, run, n, e, activate(&p->op.u.act, load(&p->in[CVY_ACT_X], run, n, e)));
}

static void run_act_bwd(const struct piece *p, const struct cvy_run *run)
{
    const cvy_act_desc *d = &p->op.u.act;
    for (size_t n = 0; n < run->n; n++)
        for (size_t e = 0; e < image(&p->out); e++) {
            double slope = activate_slope(d, load(&p->in[CVY_ACT_BWD_Y], run, n, e));
            store(&p->out, run, n, e, slope * load(&p->in[CVY_ACT_BWD_DY], run, n, e));
        }
}

static void run_add(const struct piece *p, const struct cvy_run *run)
{
    for (size_t n = 0; n < run->n; n++)
        for (size_t e = 0; e < image(&p->out); e++)
            finish(p, run, n, e,
                   load(&p->in[CVY_ADD_A], run, n, e) + load(&p->in[CVY_ADD_B], run, n, e));
}

static void run_concat(const struct piece *p, const struct cvy_run *run)
{
    for (size_t n = 0; n < run->n; n++) {
        size_t done = 0;
        for (int k = 0; k < p->op.n_in; done += image(&p->of[k++]))
            for (size_t e = 0; e < image(&p->of[k]); e++)
                store(&p->out, run, n, done + e, load(&p->of[k], run, n, e));
    }
}

/* SLICE: what lies in the operand from c0 on; PAD: the other way round. */
static void run_part(const struct piece *p, const struct cvy_run *run)
{
    bool pad = p->op.kind == CVY_OP_PAD;
    const struct place *x = &p->in[pad ? CVY_PAD_X : CVY_SLICE_X];
    size_t skip = p->op.u.slice.c0 * p->xs.h * p->xs.w, size = image(x);
    for (size_t n = 0; n < run->n; n++)
        for (size_t e = 0; e < image(&p->out); e++) {
            size_t from = pad ? e - skip : e + skip;
            store(&p->out, run, n, e, from < size ? load(x, run, n, from) : 0);
        }
}

static void run_stats(const struct piece *p, const struct cvy_run *run)
{
    size_t pixels = p->xs.h * p->xs.w, c = p->xs.c;
    double m = (double)(run->n * pixels), *stats = doubles(run, p->stats);
    float *mean_r = floats(run, p->aux), *var_r = floats(run, p->extra);
    for (size_t k = 0; k < c; k++) {
        double mean = 0, var = 0;
        for (size_t i = 0; i < run->n * pixels; i++)
            mean += load(&p->in[CVY_BN_STATS_X], run, i / pixels, k * pixels + i % pixels) / m;
        for (size_t i = 0; i < run->n * pixels; i++) {
            double e =
                load(&p->in[CVY_BN_STATS_X], run, i / pixels, k * pixels + i % pixels) - mean;
            var += e * e / m;
        }
        stats[k] = mean;
        stats[c + k] = var;
        const cvy_batch_norm_desc *d = &p->op.u.bn;
        if (mean_r) mean_r[k] = (float)cvy_run_bn_mean(run, d, (double)mean_r[k], mean);
        if (var_r) var_r[k] = (float)cvy_run_bn_var(run, d, (double)var_r[k], var, m);
    }
}

static void run_apply(const struct piece *p, const struct cvy_run *run)
{
    size_t pixels = p->xs.h * p->xs.w;
    const double *stats = doubles(run, p->stats);
    const float *gamma = floats(run, p->weight), *beta = floats(run, p->bias);
    enum cvy_bn_statistics by = p->op.u.bn.statistics;
    for (size_t n = 0; n < run->n; n++)
        for (size_t e = 0; e < image(&p->out); e++) {
            size_t c = e / pixels;
            double x = load(&p->in[CVY_BN_APPLY_X], run, n, e);
            if (by != CVY_BN_STATISTICS_VARIANCE) x -= stats[c];
            if (by != CVY_BN_STATISTICS_MEAN) x /= sqrt(stats[p->xs.c + c] + p->op.u.bn.eps);
            store(&p->out, run, n, e,
                  (gamma ? (double)gamma[c] : 1) * x + (beta ? (double)beta[c] : 0));
        }
}

/* The first k < count of a packed weight are the last of the weight. */
static void pack(const struct packing *k, const struct cvy_run *run)
{
    for (size_t i = 0; i < k->count; i++)
        floats(run, k->buffer)[k->count - 1 - i] = floats(run, k->weight)[i];
}
static void refresh(const void *arg, const struct cvy_run *run)
{
    const struct packing *k = arg;
    pack(k, run);
    if (k->m->alone && !in_state(k->m)) /* else threads are not lent */
        cvy_run_fail(run, CVY_E_BACKEND, "a refresh has threads in another state");
}

static void run_sgd(const struct piece *p, const struct cvy_run *run)
{
    float *w = floats(run, p->weight), *v = floats(run, p->aux);
    const float *dw = floats(run, p->extra);
    const double *c = run->coef[p->op.u.update.group];
    for (size_t i = 0; i < p->xs.n * p->xs.c * p->xs.h * p->xs.w; i++) {
        double g = (double)dw[i] + c[CVY_SGD_DECAY] * (double)w[i] +
                   c[CVY_SGD_L1] * ((w[i] > 0) - (w[i] < 0));
        if (v) {
            double u = c[CVY_SGD_MOMENTUM] * (double)v[i] + g;
            v[i] = (float)u;
            g = c[CVY_SGD_NESTEROV] != 0 ? g + c[CVY_SGD_MOMENTUM] * u : u;
        }
        w[i] = (float)((double)w[i] - c[CVY_SGD_LR] * g);
    }
    for (const struct packing *k = p->m->packings; k; k = k->next)
        if (k->weight == p->weight) pack(k, run);
}

typedef void run_fn(const struct piece *p, const struct cvy_run *run);
enum { FIRST = 0 }; /* what an op mostly reads, and what it makes */

static run_fn *const functions[CVY_OP_KINDS] = {
    [CVY_OP_INGEST] = run_ingest,
    [CVY_OP_CONV2D] = run_conv,
    [CVY_OP_CONV2D_BWD_DATA] = run_conv_data,
    [CVY_OP_CONV2D_BWD_WEIGHTS] = run_conv_weights,
    [CVY_OP_ACT] = run_act,
    [CVY_OP_ACT_BWD] = run_act_bwd,
    [CVY_OP_ADD] = run_add,
    [CVY_OP_CONCAT] = run_concat,
    [CVY_OP_SLICE] = run_part,
    [CVY_OP_PAD] = run_part,
    [CVY_OP_BN_STATS] = run_stats,
    [CVY_OP_BN_APPLY] = run_apply,
    [CVY_OP_UPDATE] = run_sgd,
};

static void run_piece(const void *arg, const struct cvy_run *run, size_t task,
                      struct cvy_worker *worker)
{
    const struct piece *p = arg;
    (void)task, (void)worker;
    functions[p->op.kind](p, run);
    if (p->alone && !in_state(p->m))
        cvy_run_fail(run, CVY_E_BACKEND, "%s has threads in another state", p->op.name);
}

/* ------------------------------------------------------------------------------------- reorders */

struct reorder {
    struct place from, to;
    size_t parts;
};

static void run_reorder(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    const struct reorder *r = arg;
    size_t block = task / r->parts, part = r->parts - 1 - task % r->parts, c = r->to.c,
           pixels = r->to.pixels;
    size_t n1 = (block + 1) * 16 < run->n ? (block + 1) * 16 : run->n;
    (void)worker;
    for (size_t n = block * 16; n < n1; n++)
        for (size_t e = c * part / r->parts * pixels; e < c * (part + 1) / r->parts * pixels; e++)
            store(&r->to, run, n, e, load(&r->from, run, n, e));
}

static enum cvy_status plan_reorder(struct mosaic *m, struct cvy_plan *plan,
                                    const struct cvy_op_desc *op)
{
    struct reorder *r = cvy_plan_alloc(plan, sizeof *r);
    if (!r) return CVY_E_NOMEM;
    bool leaves = cvy_plan_value(plan, op->out[CVY_REORDER_Y])->layout == CVY_LAYOUT_PLAIN;
    r->from = seen(plan, op->in[CVY_REORDER_X]);
    if (!leaves && hash(op->name, m->mix) % 2) { /* it can stay where it is */
        struct place *stays = cvy_plan_alloc(plan, sizeof *stays);
        if (!stays) return CVY_E_NOMEM;
        *stays = r->from;
        return cvy_plan_lay_out(plan, op->out[CVY_REORDER_Y], room(stays), stays);
    }
    struct place *to = leaves ? NULL : lay_out(m, plan, op->out[CVY_REORDER_Y], -1, 0);
    if (!leaves && !to) return CVY_E_NOMEM;
    r->to = leaves ? seen(plan, op->out[CVY_REORDER_Y]) : *to;
    r->parts = (15 + m->blocks) / m->blocks < r->to.c ? (15 + m->blocks) / m->blocks : r->to.c;
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_reorder,
                                    .arg = r,
                                    .blocks = m->blocks,
                                    .parts = r->parts,
                                    .reorder = true };
    access_value(&phase, r->from.buffer, r->from.borrowed ? CVY_READ_CELL : CVY_READ_ALL);
    access_value(&phase, r->to.buffer, leaves ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

/* ------------------------------------------------------------------------------------- planning */

static bool simple(const cvy_act_desc *d)
{
    return d->kind <= CVY_LEAKY_RELU && d->relu_grad_at_zero == 0;
}

static int mosaic_take(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    const struct mosaic *m = state;
    const struct cvy_op_desc *op = &ops[0];
    if (op->kind == CVY_OP_REORDER) {
        const struct cvy_value *from = cvy_plan_value(plan, op->in[CVY_REORDER_X]),
                               *to = cvy_plan_value(plan, op->out[CVY_REORDER_Y]);
        return from->owner == &cvy_module || to->owner == &cvy_module;
    }
    if ((unsigned)op->kind >= CVY_OP_KINDS || !functions[op->kind]) return 0;
    if (op->kind == CVY_OP_UPDATE && (op->u.update.kind != CVY_SGD || op->u.update.max_norm > 0))
        return 0;
    if (m->mix && hash(op->name, m->mix) % 100 >= 30 + m->mix % 3 * 25) return 0;
    bool conv = op->kind == CVY_OP_CONV2D || op->kind == CVY_OP_CONV2D_BWD_DATA ||
                op->kind == CVY_OP_CONV2D_BWD_WEIGHTS;
    if (conv && op->u.conv.flip) return 0;
    if ((op->kind == CVY_OP_ACT || op->kind == CVY_OP_ACT_BWD) && !simple(&op->u.act)) return 0;
    bool fuses = op->kind == CVY_OP_CONV2D || op->kind == CVY_OP_ADD;
    return fuses && n > 1 && ops[1].kind == CVY_OP_ACT && simple(&ops[1].u.act) &&
                   ops[1].in[CVY_ACT_X] == op->out[FIRST]
               ? 2
               : 1;
}

/* The packed copy of a weight, in half of the cases. */
static enum cvy_status plan_packing(struct piece *p, struct cvy_plan *plan)
{
    const struct cvy_value *v = cvy_plan_value(plan, p->weight);
    if (hash(p->op.name, p->m->mix + 2) % 2) return CVY_OK;
    struct packing *k = cvy_plan_alloc(plan, sizeof *k);
    if (!k) return CVY_E_NOMEM;
    *k = (struct packing){ p->m->packings, p->m, p->weight, -1,
                           v->shape.n * v->shape.c * v->shape.h * v->shape.w };
    k->buffer = p->packed = cvy_plan_buffer(plan, p->op.name, k->count * sizeof(float), true);
    if (p->packed < 0) return CVY_E_NOMEM;
    p->m->packings = k;
    return cvy_plan_refresh(plan, p->weight, refresh, k);
}

/* Which operands are what; activations' places are the planner's to fill in. */
static enum cvy_status operands(struct piece *p, struct cvy_plan *plan)
{
    const struct cvy_op_desc *op = &p->op;
    p->weight = p->packed = p->bias = p->stats = p->aux = p->extra = -1;
    switch (op->kind) {
    case CVY_OP_CONV2D:
        p->weight = op->in[CVY_CONV2D_W];
        p->bias = op->in[CVY_CONV2D_B];
        return plan_packing(p, plan);
    case CVY_OP_CONV2D_BWD_DATA:
        p->weight = op->in[CVY_CONV2D_BWD_DATA_W];
        return plan_packing(p, plan);
    case CVY_OP_CONV2D_BWD_WEIGHTS:
        p->weight = op->out[CVY_CONV2D_BWD_WEIGHTS_DW];
        p->bias = op->out[CVY_CONV2D_BWD_WEIGHTS_DB];
        return CVY_OK;
    case CVY_OP_BN_STATS:
        p->stats = op->out[CVY_BN_STATS_STATS];
        p->aux = op->in[CVY_BN_STATS_MEAN];
        p->extra = op->in[CVY_BN_STATS_VAR];
        return CVY_OK;
    case CVY_OP_BN_APPLY:
        p->stats = op->in[CVY_BN_APPLY_STATS];
        p->weight = op->in[CVY_BN_APPLY_GAMMA];
        p->bias = op->in[CVY_BN_APPLY_BETA];
        return CVY_OK;
    case CVY_OP_UPDATE:
        p->weight = op->in[CVY_UPDATE_W];
        p->extra = op->in[CVY_UPDATE_DW];
        p->aux = cvy_op_input(op, CVY_UPDATE_S);
        return CVY_OK;
    default: return CVY_OK;
    }
}

static bool is_activation(const struct cvy_plan *plan, int id)
{
    return id >= 0 && cvy_plan_value(plan, id)->role == CVY_ROLE_ACTIVATION;
}

/* What is not an activation: who is written, and then also read? */
static void access_params(const struct piece *p, struct cvy_phase_desc *phase)
{
    enum cvy_op_kind kind = p->op.kind;
    bool update = kind == CVY_OP_UPDATE, gradient = kind == CVY_OP_CONV2D_BWD_WEIGHTS,
         stats = kind == CVY_OP_BN_STATS;
    if (!gradient) {
        access_value(phase, p->weight, CVY_READ_ALL);
        access_value(phase, p->bias, CVY_READ_ALL);
    }
    if (gradient || update) {
        access_value(phase, p->weight, CVY_WRITE_ALL);
        access_value(phase, p->bias, CVY_WRITE_ALL);
    }
    access_value(phase, p->stats, stats ? CVY_WRITE_ALL : CVY_READ_ALL);
    access_value(phase, p->aux, CVY_READ_ALL);
    access_value(phase, p->extra, CVY_READ_ALL);
    if (update || stats) access_value(phase, p->aux, CVY_WRITE_ALL);
    if (stats) access_value(phase, p->extra, CVY_WRITE_ALL);
    access_value(phase, p->packed, CVY_READ_ALL);
    for (const struct packing *k = p->m->packings; update && k; k = k->next)
        if (k->weight == p->weight) access_value(phase, k->buffer, CVY_WRITE_ALL);
}

static enum cvy_status mosaic_plan(void *state, struct cvy_plan *plan,
                                   const struct cvy_op_desc *ops, int n, size_t first)
{
    struct mosaic *m = state;
    const struct cvy_op_desc *op = &ops[0];
    if (!in_state(m))
        return cvy_plan_fail(plan, CVY_E_BACKEND, "planning has threads in another state");
    if (op->kind == CVY_OP_REORDER) return plan_reorder(m, plan, op);
    struct piece *p = cvy_plan_alloc(plan, sizeof *p);
    struct place *of = cvy_plan_alloc(plan, (size_t)op->n_in * sizeof *of), *out;
    if (!p || !of) return CVY_E_NOMEM;
    *p = (struct piece){ .m = m, .op = *op, .of = of, .fused = n == 2 };
    if (n == 2) p->act = ops[1].u.act;
    p->alone = hash(op->name, m->mix + 3) % 2;
    m->alone |= p->alone;
    if (op->in[FIRST] >= 0) p->xs = cvy_plan_value(plan, op->in[FIRST])->shape;
    if (op->n_out && op->out[FIRST] >= 0) p->ys = cvy_plan_value(plan, op->out[FIRST])->shape;
    if (op->kind == CVY_OP_CONV2D_BWD_WEIGHTS)
        p->ys = cvy_plan_value(plan, op->in[CVY_CONV2D_BWD_WEIGHTS_DY])->shape;
    enum cvy_status status = operands(p, plan);
    if (status != CVY_OK) return status;
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_piece,
                                    .arg = p,
                                    .parts = 1,
                                    .alone = p->alone,
                                    .kernel = n == 2 ? "two" : "one" };
    for (int k = 0; k < op->n_in; k++) {
        if (!is_activation(plan, op->in[k])) continue;
        of[k] = seen(plan, op->in[k]);
        if (k < 4) p->in[k] = of[k];
        if (op->kind == CVY_OP_ACT_BWD && k == CVY_ACT_BWD_X) continue; /* y is enough */
        access_value(&phase, of[k].buffer, CVY_READ_ALL);
    }
    access_params(p, &phase);
    int y = ops[n - 1].n_out ? ops[n - 1].out[FIRST] : -1;
    if (is_activation(plan, y)) {
        p->keep_mid = n == 2 && cvy_plan_needed_after(plan, op->out[FIRST], first + 1);
        if (p->keep_mid) {
            if (!(out = lay_out(m, plan, op->out[FIRST], -1, 0))) return CVY_E_NOMEM;
            p->mid = *out;
            access_value(&phase, out->buffer, CVY_WRITE_ALL);
        }
        bool over = op->kind == CVY_OP_ACT || op->kind == CVY_OP_ADD ||
                    op->kind == CVY_OP_ACT_BWD || op->kind == CVY_OP_BN_APPLY;
        if (!(out = lay_out(m, plan, y, over ? op->in[FIRST] : -1, first + (size_t)n - 1)))
            return CVY_E_NOMEM;
        p->out = *out;
        access_value(&phase, out->buffer, CVY_WRITE_ALL);
    }
    return cvy_plan_phase(plan, &phase);
}

static enum cvy_status mosaic_open(struct cvy_plan *plan, void **state)
{
    struct mosaic *m = *state = cvy_plan_alloc(plan, sizeof *m);
    const char *mix = getenv("CVYI_MOSAIC");
    if (!m) return CVY_E_NOMEM;
    m->capacity = cvy_plan_capacity(plan);
    m->blocks = (m->capacity + 15) / 16;
    m->threads = cvy_plan_threads(plan);
    m->mix = mix ? strtoul(mix, NULL, 10) : 0;
    return CVY_OK;
}

static void mosaic_close(void *state) { (void)state; }

const struct cvy_backend cvy_module = {
    .abi = CVY_BACKEND_ABI,
    .name = "mosaic",
    .layout = CVY_LAYOUT_OPAQUE,
    .param_layout = CVY_LAYOUT_PLAIN,
    .open = mosaic_open,
    .close = mosaic_close,
    .take = mosaic_take,
    .plan = mosaic_plan,
};
