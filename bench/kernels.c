/* Every kernel of every table, one thread: the multiply kernels at the shapes of real layers, each
 * register tile, in GFLOP/s and percent of the FMA peak measured in the same half second; the
 * others in GB/s on operands that lie in L1 and in L2. A kernel that kernels.h lists and this file
 * lacks does not compile. */
#include <stdlib.h>
#include <string.h>

#include "backends/native/kernels/kernels.h"
#include "bench.h"
#include "ops/ops.h"

enum { MAX_N = 16 * 1024, CLASSES = 10, SLOTS = 16 };

/* A convolution of one block of sixteen images: ih x iw inputs (already padded), stride 1. A linear
 * layer is a 1x1 convolution whose pixels are blocks. */
struct layer {
    const char *name;
    size_t ic, oc, k, ih, iw;
};

static const struct layer layers[] = {
    { "conv1 1-6 5x5 28", 1, 6, 5, 28, 28 },      { "conv2 6-16 5x5 12", 6, 16, 5, 12, 12 },
    { "conv2 dx 16-6 5x5 12", 16, 6, 5, 12, 12 }, { "fc 256-120 x16", 256, 120, 1, 16, 1 },
    { "fc 120-84 x16", 120, 84, 1, 16, 1 },       { "fc 84-10 x16", 84, 10, 1, 16, 1 },
    { "fc 256-120 x1", 256, 120, 1, 1, 1 },       { "16-16 3x3 32", 16, 16, 3, 34, 34 },
    { "64-64 3x3 14", 64, 64, 3, 16, 16 },        { "64-64 3x3 56", 64, 64, 3, 58, 58 },
    { "64-64 1x1 28", 64, 64, 1, 28, 28 },        { "depthwise 3x3 56", 1, 1, 3, 58, 58 },
    { "depthwise 3x3 28", 1, 1, 3, 30, 30 },      { "depthwise 3x3 14", 1, 1, 3, 16, 16 },
    { "depthwise 3x3 7", 1, 1, 3, 9, 9 },
};
enum { LAYERS = sizeof layers / sizeof *layers };

struct transform;

struct kernel {
    struct bench *b;
    enum cvy_isa isa;
    const struct cvyi_kernels *k;
    void (*call)(struct kernel *c);
    struct bench_work work;
    size_t n;  /* row kernels: floats; transforms: taps */
    int index; /* activation, tile or transform */
    float *x, *y, *z, *w;
    const struct layer *layer; /* multiply kernels */
    const struct transform *map;
    int32_t *pix, *tap;
    const float **xp;
    ptrdiff_t *dw_i;
    uint8_t *bytes;
};

/* ----------------------------------------------------------------------------- multiply kernels */

static size_t oh(const struct layer *l) { return l->ih - l->k + 1; }
static size_t ow(const struct layer *l) { return l->iw - l->k + 1; }

static void call_mac(struct kernel *c)
{
    const struct layer *l = c->layer;
    const struct cvyi_mac_tile *t = &c->k->mac->tile[c->index];
    const size_t mo = (size_t)t->mo, n_pix = oh(l) * ow(l), n_taps = l->k * l->k;
    struct cvyi_mac m = {
        .n_pix = n_pix,
        .x_pix = c->pix,
        .y_pix = c->pix + n_pix,
        .n_taps = n_taps,
        .x_tap = c->tap,
        .w_tap = c->tap + n_taps,
        .n_ic = l->ic,
        .x_ic = l->ih * l->iw * 16,
        .w_ic = n_taps * mo,
        .y_oc = n_pix * 16,
    };
    for (size_t o = 0; o < l->oc; o += mo) {
        m.n_oc = l->oc - o < mo ? l->oc - o : mo;
        t->fn(&m, c->x, c->w + o / mo * l->ic * m.w_ic, NULL, c->y + o * m.y_oc);
    }
}

/* Rows in chunks of at most 1024 pixels, and few enough that a chunk's operands stay in L2. */
static void call_wgrad(struct kernel *c)
{
    const struct layer *l = c->layer;
    const size_t fit = 6000 / (ow(l) * (l->ic + l->oc)) + 1, n_taps = l->k * l->k;
    size_t rows = 1024 / ow(l);
    rows = rows < fit ? rows : fit;
    for (size_t r = 0; r < oh(l); r += rows) {
        struct cvyi_wgrad g = {
            .n_oc = l->oc,
            .n_i = l->ic * n_taps,
            .n_rows = oh(l) - r < rows ? oh(l) - r : rows,
            .n_cols = ow(l),
            .dy_oc = (ptrdiff_t)(oh(l) * ow(l) * 16),
            .dy_row = (ptrdiff_t)ow(l) * 16,
            .dy_col = 16,
            .x_row = (ptrdiff_t)l->iw * 16,
            .x_col = 16,
            .dw_oc = (ptrdiff_t)(l->ic * n_taps),
            .accumulate = r > 0,
        };
        for (size_t i = 0; i < g.n_i; i++)
            c->xp[i] = c->x + i / n_taps * l->ih * l->iw * 16 + (size_t)c->tap[i % n_taps] +
                       r * l->iw * 16;
        c->k->wgrad->wgrad(&g, c->y + r * ow(l) * 16, c->xp, c->dw_i, c->w);
    }
}

static void call_depthwise(struct kernel *c)
{
    const struct layer *l = c->layer;
    const ptrdiff_t k = (ptrdiff_t)l->k, x_row = (ptrdiff_t)l->iw * 16;
    const struct cvyi_depthwise g = { .height = oh(l),
                                      .width = ow(l),
                                      .n_rows = l->k,
                                      .n_taps = l->k,
                                      .y_row = (ptrdiff_t)ow(l) * 16,
                                      .y_col = 16,
                                      .x_row = x_row,
                                      .x_col = 16,
                                      .tap_row = x_row,
                                      .tap_col = 16,
                                      .w_row = k,
                                      .w_tap = 1 };
    if (c->index) c->k->depthwise->depthwise_dw(&g, c->y, c->x, c->w);
    else c->k->depthwise->depthwise(&g, c->x, c->w, NULL, c->y);
}

static void call_outer(struct kernel *c)
{
    const struct layer *l = c->layer;
    struct cvyi_outer g = { .n_oc = (l->oc + 15) / 16 * 16,
                            .n_i = l->ic,
                            .n_images = l->ih * 16,
                            .x_block = l->ic * 16,
                            .x_i = 16 };
    g.dyt_n = g.dw_i = g.n_oc;
    c->k->wgrad->outer(&g, c->z, c->x, c->w);
}

/* ----------------------------------------------------------------------------------- the others */

/* Channels of 24 pixels, for tiles of three. */
static void panel_each(struct kernel *c)
{
    int32_t pix[24], tap = 0;
    for (int32_t p = 0; p < 24; p++) pix[p] = p * 16;
    c->k->lanes->panel(c->y, c->x,
                       &(struct cvyi_panel){ .n_pix = 24,
                                             .np = 3,
                                             .x_pix = pix,
                                             .n_taps = 1,
                                             .x_tap = &tap,
                                             .n_ic = c->n / (16 * 24),
                                             .x_ic = 16 * 24 });
}

/* One kernel on n floats; `moved` is how many floats it must read and write for each of them. */
#define ROW(name, moved, statement)  \
    enum { moved_##name = (moved) }; \
    static void call_##name(struct kernel *c) { statement; }

static const struct cvyi_affine affine = { 0.1f, 1.5f, 0.2f };
static const struct cvyi_bn_dx bn_dx = { 0.1f, 1.5f, 0.2f, 0.3f };
static float lane_sums[3][16];
static float moments[CVY_OPTIMIZER_STATES][MAX_N];
static double wide[MAX_N]; /* a gradient in double */

/* Pools see rows of 16 pixels' width; 2x2 windows of stride 2, as LeNet's. */
static size_t pool_rows(const struct kernel *c) { return c->n / ((size_t)2 * 32 * 16); }

static void pool_each(struct kernel *c, int which)
{
    static const struct cvyi_pool p = { .ow = 16, .iw = 32, .kw = 2, .sw = 2, .apart = true };
    static float inv[16];
    static struct cvyi_sums sums;
    for (size_t i = 0; i < 16; i++) inv[i] = 0.25f;
    for (size_t r = 0; r < pool_rows(c); r++) {
        const float *rows[2] = { c->x + 2 * r * 512, c->x + (2 * r + 1) * 512 };
        float *dx[2] = { c->y + 2 * r * 512, c->y + (2 * r + 1) * 512 };
        double *dx_wide[2] = { wide + 2 * r * 512, wide + (2 * r + 1) * 512 };
        switch (which) {
        case 0: c->k->pool->pool_max(&p, c->y + r * 256, rows, 2); break;
        case 1: c->k->pool->pool_max_bwd(&p, dx, c->z + r * 256, rows, 2, CVY_TIE_FIRST); break;
        case 2: c->k->pool->pool_avg(&p, c->y + r * 256, rows, 2, inv); break;
        case 3: c->k->pool->pool_avg_bwd(&p, dx, c->z + r * 256, 2, inv); break;
        case 8:
            c->k->pool->pool_max_bwd_wide(&p, dx_wide, c->z + r * 256, rows, 2, CVY_TIE_FIRST);
            break;
        case 9: c->k->pool->pool_avg_bwd_wide(&p, dx_wide, c->z + r * 256, 2, inv); break;
        case 4:
            c->k->pool->pool_argmax(&p, c->y + r * 256, c->bytes + r * 256, c->z + r * 256, rows,
                                    &affine, 2);
            break;
        default:
            for (size_t half = 0; half < 2; half++) { /* the two input rows of the window */
                const float *g = c->z + r * 256;
                const uint8_t *at = c->bytes + r * 256;
                if (which == 5) c->k->pool->argmax_bwd(&p, dx[half], g, at, 2 * half);
                else if (which == 6)
                    c->k->pool->argmax_reduce(&p, &sums, 0, g, at, c->w + r * 256, 2 * half, 0.1f);
                else
                    c->k->pool->argmax_bn_dx(&p, dx[half], rows[half], g, at, 2 * half, &bn_dx, 16);
            }
        }
    }
}

static void ingest_each(struct kernel *c, int which)
{
    const float *images[16];
    const uint8_t *bytes[16];
    float *out[16];
    const size_t n = c->n / 16;
    for (size_t l = 0; l < 16; l++) {
        images[l] = c->x + l * n;
        bytes[l] = c->bytes + l * n;
        out[l] = c->y + l * n;
    }
    switch (which) {
    case 0: c->k->lanes->ingest_u8(c->y, bytes, n, 16, 1 / 255.f, c->w); break;
    case 1: c->k->lanes->ingest_f32(c->y, images, n, 16, 0.5f, c->w); break;
    case 2: c->k->lanes->to_lanes(c->y, images, n, 16); break;
    default: c->k->lanes->from_lanes(out, c->x, n, 16);
    }
}

static void loss_each(struct kernel *c)
{
    struct cvyi_loss_rows rows = { .margin = 1 };
    uint8_t correct[16];
    for (int l = 0; l < 16; l++) {
        rows.label[l] = l % CLASSES;
        rows.weight[l] = 1;
        rows.scale[l] = 1 / 256.f;
    }
    for (size_t i = 0, step = (size_t)CLASSES * 16; i + step <= c->n; i += step)
        c->k->loss->loss[c->index](c->y + i, c->x + i, CLASSES, 16, &rows, lane_sums[0], correct);
}

/* Maps of one pixel: numbers of its own for each of the c->n / 16 channels. */
static void each(struct kernel *c, int which)
{
    static struct cvyi_affine affines[MAX_N / 16];
    static struct cvyi_bn_dx gradients[MAX_N / 16];
    static double mean[MAX_N / 16], sums[2][MAX_N / 16];
    const size_t n = c->n / 16;
    switch (which) {
    case 0: c->k->norm->each_stats(c->x, n, 16, mean, sums[0]); break;
    case 1: c->k->norm->each_norm(c->y, c->x, n, affines); break;
    case 2: c->k->norm->each_reduce(c->x, c->z, n, mean, sums[0], sums[1]); break;
    default: c->k->norm->each_bn_dx(c->y, c->x, c->z, n, gradients, 16);
    }
}

/* Images with statistics of their own; a gamma for each pixel, a beta for all. */
static void lane(struct kernel *c, int which)
{
    static struct cvyi_lane_norm norm;
    static struct cvyi_lane_dx gradient;
    static double sums[2][MAX_N / 16];
    static const float beta = 0.5f;
    const struct cvyi_lane_affine a = { c->w, &beta, 1, 0 };
    switch (which) {
    case 0: c->k->norm->lane_stats(c->x, c->n, sums[0], sums[1]); break;
    case 1: c->k->norm->lane_norm(c->y, c->x, c->n, &norm, &a); break;
    case 2: c->k->norm->lane_reduce(c->x, c->z, c->n, norm.m, &a, sums[0], sums[1]); break;
    case 3: c->k->norm->lane_dx(c->y, c->x, c->z, c->n, &gradient, &a, 16); break;
    default: c->k->norm->lane_columns(c->x, c->z, c->n / 16, &norm, sums[0], sums[1]);
    }
}

/* An optimiser's step with every hyper-parameter at work. */
static void step_each(struct kernel *c)
{
    const cvy_optimizer_info *info = cvy_optimizer_describe((enum cvy_optimizer_kind)c->index);
    cvy_optimizer_desc desc = { .kind = (enum cvy_optimizer_kind)c->index };
    double coefs[CVYI_GROUPS][CVY_COEFS];
    float coef[CVY_COEFS], *state[CVY_OPTIMIZER_STATES];
    for (size_t i = 0; i < info->n_hypers; i++) cvy_hyper_set(&info->hyper[i], &desc, 0.1);
    cvyi_optimizer_coefficients(&desc, 100, cvyi_groups, CVYI_GROUPS, coefs);
    for (size_t i = 0; i < CVY_COEFS; i++) coef[i] = (float)coefs[CVYI_GROUP_DECAYS][i];
    for (size_t i = 0; i < CVY_OPTIMIZER_STATES; i++) state[i] = moments[i];
    c->k->update->step[c->index](c->y, c->x, state, c->n, coef);
}

/* Pixels to twice as many, each between two. */
static void blend_each(struct kernel *c)
{
    enum { MOST = 1024 };
    static uint32_t first[MOST], start[MOST + 1];
    static float weight[2 * MOST];
    size_t pixels = c->n / 16, part = pixels < MOST ? pixels : MOST;
    for (size_t i = 0; start[MOST] == 0 && i < MOST; i++) {
        first[i] = (uint32_t)(i / 2);
        start[i + 1] = (uint32_t)(2 * i + 2);
        weight[2 * i] = 0.25f;
        weight[2 * i + 1] = 0.75f;
    }
    const struct cvyi_taps taps = { first, start, weight };
    for (size_t i = 0; i + part <= pixels; i += part)
        c->k->rows->blend(c->y + i * 16, c->x + i * 8, 16, &taps, 0, part);
}

ROW(bn_stats, 1, c->k->norm->bn_stats(c->x, c->n, lane_sums[0], lane_sums[1], lane_sums[2]))
ROW(norm, 2, c->k->norm->norm(c->y, c->x, c->n, &affine))
ROW(bn_reduce, 2, c->k->norm->bn_reduce(c->x, c->z, c->n, 0.1f, lane_sums[0], lane_sums[1]))
ROW(bn_dx, 3, c->k->norm->bn_dx(c->y, c->x, c->z, c->n, &bn_dx, 16))
ROW(each_stats, 1, each(c, 0))
ROW(each_norm, 2, each(c, 1))
ROW(each_reduce, 2, each(c, 2))
ROW(each_bn_dx, 3, each(c, 3))
ROW(lane_stats, 1, lane(c, 0))
ROW(lane_norm, 2, lane(c, 1))
ROW(lane_reduce, 2, lane(c, 2))
ROW(lane_dx, 3, lane(c, 3))
ROW(lane_columns, 2, lane(c, 4))
ROW(add, 3, c->k->rows->add(c->y, c->x, c->z, c->n))
ROW(mul, 3, c->k->rows->mul(c->y, c->x, c->z, c->n))
ROW(scale, 2, c->k->rows->scale(c->y, c->x, c->n, 1.5f))
ROW(mask_scale, 2, c->k->rows->mask_scale(c->y, c->x, (const void *)c->bytes, c->n, 2))
ROW(blend, 2, blend_each(c))
ROW(pool_max, 1, pool_each(c, 0))
ROW(pool_max_bwd, 2, pool_each(c, 1))
ROW(pool_argmax, 2, pool_each(c, 4))
ROW(argmax_bwd, 2, pool_each(c, 5))
ROW(argmax_reduce, 1, pool_each(c, 6))
ROW(argmax_bn_dx, 3, pool_each(c, 7))
ROW(pool_avg, 1, pool_each(c, 2))
ROW(pool_avg_bwd, 2, pool_each(c, 3))
ROW(pool_max_bwd_wide, 5, pool_each(c, 8))
ROW(pool_avg_bwd_wide, 4, pool_each(c, 9))
ROW(narrow, 3, c->k->rows->narrow(c->y, wide, c->n))
ROW(ingest_u8, 1, ingest_each(c, 0))
ROW(ingest_f32, 2, ingest_each(c, 1))
ROW(to_lanes, 2, ingest_each(c, 2))
ROW(from_lanes, 2, ingest_each(c, 3))
ROW(transpose, 2, c->k->lanes->transpose(c->y, c->n / 16, c->x, 16, c->n / 16, c->n / 16))
ROW(panel, 2, panel_each(c))
ROW(softmax, 2, c->k->loss->softmax(c->y, c->x, c->n / 16, 16))
ROW(loss, 2, loss_each(c))
ROW(step, 0, step_each(c))
ROW(fold, 1, c->k->update->fold(c->y, c->x, SLOTS, c->n / SLOTS, c->n / SLOTS))
ROW(fold_lanes, 1, c->k->update->fold_lanes(c->y, c->x, c->n / 16))
ROW(stream, 2, c->k->update->stream(c->y, c->n, c->x, c->n, 1, c->n))
ROW(act, 2, c->k->act->act[c->index](c->y, c->x, c->n, 0.1f))
ROW(norm_act, 2, c->k->act->norm_act[c->index](c->y, c->x, c->n, &affine, 0.1f))
ROW(act_bwd, 3, c->k->act->act_bwd[c->index](c->y, c->x, c->z, c->n, 0.1f))
ROW(act_bwd_reduce, 4,
    c->k->act->act_bwd_reduce[c->index](c->y, c->x, c->z, c->w, c->n, 0.1f, 0.1f, lane_sums[0],
                                        lane_sums[1]))

static const struct cvyi_act_norm act_norm = { { 0.1f, 1.5f, 0.2f }, 0.1f };
ROW(act_reduce, 2,
    c->k->act->act_reduce[c->index](c->x, NULL, c->w, c->n, &act_norm, 0.1f, lane_sums[0],
                                    lane_sums[1]))
ROW(act_bn_dx, 3,
    c->k->act->act_bn_dx[c->index](c->y, c->x, NULL, c->w, c->n, &act_norm, &bn_dx, 16))

/* counts: 1, or how many kinds of activation, loss or optimiser the kernel comes in. */
static const struct {
    const char *name;
    void (*call)(struct kernel *c);
    int moved;
    size_t counts;
} list[] = {
#define X(name, type, count)            \
    { #name, call_##name, moved_##name, \
      sizeof(struct { cvyi_##type##_fn *f count; }) / sizeof(void (*)(void)) },
    CVYI_ACT_KERNELS(X) CVYI_NORM_KERNELS(X) CVYI_POOL_KERNELS(X) CVYI_ROWS_KERNELS(X)
        CVYI_LANES_KERNELS(X) CVYI_LOSS_KERNELS(X) CVYI_UPDATE_KERNELS(X)
#undef X
};

static bool is_step(size_t i) { return list[i].call == call_step; }

static const char *const act_names[] = {
#define X(NAME, name, ...) #name,
    CVY_ACTIVATIONS(X)
#undef X
        "relu_x",
};

static const char *kind_of(size_t i, size_t kind)
{
    if (is_step(i)) return cvy_optimizer_describe((enum cvy_optimizer_kind)kind)->name;
    if (list[i].call == call_loss) return cvy_loss_name((enum cvy_loss_kind)kind);
    return list[i].counts > 1 ? act_names[kind] : "";
}

static int moved_by(size_t i, size_t kind) /* a step: gradient, weight and states, these twice */
{
    if (!is_step(i)) return list[i].moved;
    return 3 + 2 * (int)cvy_optimizer_describe((enum cvy_optimizer_kind)kind)->n_states;
}

/* ---------------------------------------------------------------------------------------- cases */

static void run(gb_state *state, void *user)
{
    struct kernel *c = user;
    c->call(c);
    double t = bench_now();
    GB_LOOP (state) c->call(c);
    t = (bench_now() - t) / (double)gb_iterations(state);
    bench_figures(c->b, state, t, &c->work, c->isa, 1);
}

static void finish(void *user)
{
    struct kernel *c = user;
    free(c->x);
    free(c->y);
    free(c->z);
    free(c->w);
    free(c->pix);
    free(c->tap);
    free(c->xp);
    free(c->dw_i);
    free(c->bytes);
    free(c);
}

static struct kernel *start(struct bench *b, enum cvy_isa isa)
{
    struct kernel *c = bench_alloc(sizeof *c);
    *c = (struct kernel){ .b = b, .isa = isa, .k = cvyi_kernels_for((int)isa) };
    return c;
}

static void add(struct kernel *c, enum gb_unit unit, char *name)
{
    bench_add(c->b, name, unit, BENCH_REAL_TIME, run, NULL, finish, c);
    free(name);
}

static struct kernel *start_layer(struct bench *b, enum cvy_isa isa, const struct layer *l, int mo)
{
    struct kernel *c = start(b, isa);
    const size_t n_taps = l->k * l->k, n_pix = oh(l) * ow(l), oc = (l->oc + 15) / 16 * 16;
    c->layer = l;
    c->work.flops = 2.0 * 16 * (double)(n_pix * n_taps * l->ic * l->oc);
    c->x = bench_floats(l->ic * l->ih * l->iw * 16);
    c->w = bench_floats((l->oc + 16) * l->ic * n_taps + 16); /* sums of a kernel's lanes, too */
    c->y = bench_floats(oc * n_pix * 16);
    c->z = bench_floats(oc * l->ih * 16);
    c->pix = bench_alloc(2 * n_pix * sizeof *c->pix);
    c->tap = bench_alloc(2 * n_taps * sizeof *c->tap);
    c->xp = bench_alloc(l->ic * n_taps * sizeof *c->xp);
    c->dw_i = bench_alloc(l->ic * n_taps * sizeof *c->dw_i);
    for (size_t p = 0; p < n_pix; p++) {
        c->pix[p] = (int32_t)((p / ow(l) * l->iw + p % ow(l)) * 16);
        c->pix[n_pix + p] = (int32_t)(p * 16);
    }
    for (size_t i = 0; i < l->ic * n_taps; i++) c->dw_i[i] = (ptrdiff_t)i;
    for (size_t t = 0; t < n_taps; t++) {
        c->tap[t] = (int32_t)((t / l->k * l->iw + t % l->k) * 16);
        c->tap[n_taps + t] = (int32_t)t * mo;
    }
    return c;
}

static void add_layers(struct bench *b, const enum cvy_isa *isas, const struct layer *l)
{
    for (const enum cvy_isa *isa = isas; *isa; isa++) {
        const struct cvyi_mac_tile *tile = cvyi_kernels_for((int)*isa)->mac->tile;
        for (int t = 0; t < CVYI_MAC_TILES && tile[t].mo; t++) {
            struct kernel *c = start_layer(b, *isa, l, tile[t].mo);
            c->call = call_mac;
            c->index = t;
            add(c, GB_US,
                bench_text("kernels/mac/%s/%s:%dx%d", l->name, cvy_isa_name(*isa), tile[t].mo,
                           tile[t].np));
        }
    }
    for (const enum cvy_isa *isa = isas; *isa; isa++) {
        struct kernel *c = start_layer(b, *isa, l, 1);
        c->call = call_wgrad;
        add(c, GB_US, bench_text("kernels/wgrad/%s/%s", l->name, cvy_isa_name(*isa)));
    }
    for (const enum cvy_isa *isa = isas; l->ic * l->oc == 1 && *isa; isa++)
        for (int dw = 0; dw < 2; dw++) {
            struct kernel *c = start_layer(b, *isa, l, 1);
            c->call = call_depthwise;
            c->index = dw;
            add(c, GB_US,
                bench_text("kernels/depthwise%s/%s/%s", dw ? "_dw" : "", l->name,
                           cvy_isa_name(*isa)));
        }
    for (const enum cvy_isa *isa = isas; l->k == 1 && *isa; isa++) {
        struct kernel *c = start_layer(b, *isa, l, 1);
        c->call = call_outer;
        const size_t columns = (l->oc + 15) / 16 * 16;
        c->work.flops = 2.0 * 16 * (double)(l->ih * l->ic * columns);
        add(c, GB_US, bench_text("kernels/outer/%s/%s", l->name, cvy_isa_name(*isa)));
    }
}

/* ------------------------------------------------------------------------------ transforms of maps
 * One block of sixteen images: the tiles of `side` x `side` pixels, of which the transforms of a
 * layer of so many channels have the points of a region at a time. */
struct transform {
    const char *name;
    size_t channels, side;
};
static const struct transform transforms[] = { { "16 channels 32", 16, 32 },
                                               { "64 channels 8", 64, 8 } };
enum { TRANSFORMS = sizeof transforms / sizeof *transforms, REGION_TILES = 4, TILE = 4 };

enum transform_kind { MAP_IN, MAP_OUT, MAP_GRAD, ROW_IN, ROW_OUT, ROW_GRAD, ROW_DATA, MAP_KINDS };
static const char *const transform_names[] = { "winograd_in", "winograd_out", "winograd_grad",
                                               "row_in",      "row_out",      "row_grad",
                                               "row_data" };

static size_t transform_points(const struct kernel *c)
{
    return c->index < ROW_IN ? 36 : (size_t)(c->n + TILE - 1);
}

/* All tiles of the map; the last ones are cut. */
static void call_tiles(struct kernel *c)
{
    const struct transform *l = c->map;
    const size_t tiles = l->side / TILE, plane = l->side * l->side * 16;
    const struct cvyi_winograd_kernels *k = c->k->winograd;
    struct cvyi_winograd g = { .n = l->channels,
                               .x_row = (ptrdiff_t)l->side * 16,
                               .x_channel = (ptrdiff_t)plane,
                               .v_channel = 16 };
    const size_t most = c->index == MAP_IN ? 6 : TILE;
    g.v_point = (l->channels * REGION_TILES | 1) * 16;
    for (size_t t = 0; t < tiles * tiles; t++) {
        const size_t row = t / tiles * TILE, col = t % tiles * TILE;
        float *x = c->x + (row * l->side + col) * 16,
              *v = c->y + t % REGION_TILES * l->channels * 16;
        g.rows[1] = l->side - row < most ? l->side - row : most;
        g.cols[1] = l->side - col < most ? l->side - col : most;
        if (c->index == MAP_IN) k->in(&g, x, v);
        else if (c->index == MAP_OUT) k->out(&g, v, NULL, x);
        else k->grad(&g, x, v);
    }
}

static void call_rows(struct kernel *c)
{
    const struct transform *l = c->map;
    const struct cvyi_winograd_kernels *k = c->k->winograd;
    const size_t form = c->n == 5;
    struct cvyi_winograd_row g = { .n = l->channels,
                                   .tiles = l->side / TILE,
                                   .width = (ptrdiff_t)l->side,
                                   .x_channel = (ptrdiff_t)(l->side * l->side * 16),
                                   .v_tile = l->channels * 16,
                                   .v_channel = 16 };
    if (c->index == ROW_IN || c->index == ROW_DATA) g.first = -(ptrdiff_t)(c->n / 2);
    g.v_point = (l->channels * g.tiles | 1) * 16;
    for (size_t r = 0; r < l->side; r++) {
        float *x = c->x + r * l->side * 16;
        if (c->index == ROW_IN) k->row_in[form](&g, x, c->y);
        else if (c->index == ROW_OUT) k->row_out[form](&g, c->y, NULL, x);
        else if (c->index == ROW_GRAD) k->row_grad[form](&g, x, c->y);
        else k->row_data[form](&g, c->y, x);
    }
}

/* Pixels and points are read or written once: of rows of three taps, and of five. */
static void add_transform(struct bench *b, enum cvy_isa isa, const struct transform *l, int kind,
                          size_t taps)
{
    struct kernel *c = start(b, isa);
    const size_t pixels = l->channels * l->side * l->side * 16,
                 tiles = kind < ROW_IN ? REGION_TILES : l->side / TILE;
    c->map = l;
    c->index = kind;
    c->n = taps;
    c->call = kind < ROW_IN ? call_tiles : call_rows;
    c->x = bench_floats(pixels);
    c->y = bench_floats(transform_points(c) * (l->channels * tiles + 1) * 16);
    c->work.bytes =
        (double)pixels * sizeof(float) *
        (kind < ROW_IN ? 1 + 36.0 / (TILE * TILE) : 1 + (double)transform_points(c) / TILE);
    const char *form = taps == 3 ? "F(4, 3)" : "F(4, 5)";
    if (kind < ROW_IN) form = "F(4x4, 3x3)";
    add(c, GB_US,
        bench_text("kernels/%s %s/%s/%s", transform_names[kind], form, l->name, cvy_isa_name(isa)));
}

static void add_transforms(struct bench *b, const enum cvy_isa *isas)
{
    for (size_t l = 0; l < TRANSFORMS; l++)
        for (int kind = 0; kind < MAP_KINDS; kind++)
            for (size_t taps = 3; taps <= (kind < ROW_IN ? 3 : 5); taps += 2)
                for (const enum cvy_isa *isa = isas; *isa; isa++)
                    add_transform(b, *isa, &transforms[l], kind, taps);
}

static void add_row(struct bench *b, const enum cvy_isa *isas, const char *name, const char *kind,
                    int index, void (*call)(struct kernel *c), int moved)
{
    static const size_t sizes[] = { 1024, MAX_N };
    for (size_t s = 0; s < 2; s++)
        for (const enum cvy_isa *isa = isas; *isa; isa++) {
            struct kernel *c = start(b, *isa);
            c->n = sizes[s];
            c->call = call;
            c->index = index;
            c->work.bytes = (double)moved * (double)c->n * sizeof(float);
            c->x = bench_floats(MAX_N);
            c->y = bench_floats(MAX_N);
            c->z = bench_floats(MAX_N);
            c->w = bench_floats(MAX_N);
            c->bytes = bench_alloc(MAX_N);
            for (size_t i = 0; i < MAX_N; i++)
                c->bytes[i] = (uint8_t)(i * 2654435761u >> 24 & 3); /* places in a window */
            add(c, GB_NS,
                bench_text("kernels/%s%s%s/n:%zu/%s", name, *kind ? " " : "", kind, c->n,
                           cvy_isa_name(*isa)));
        }
}

void bench_kernels(struct bench *b)
{
    const enum cvy_isa *isas = bench_isas(b);
    if (isas[0] == CVY_ISA_SCALAR && isas[1])
        isas++; /* the scalar table is there to be right: only if it is asked for */
    for (size_t l = 0; l < LAYERS; l++) add_layers(b, isas, &layers[l]);
    add_transforms(b, isas);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        for (size_t k = 0; k < list[i].counts; k++)
            add_row(b, isas, list[i].name, kind_of(i, k), (int)k, list[i].call, moved_by(i, k));
}
