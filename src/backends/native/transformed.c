/* 3x3 convolutions of stride 1 by F(4x4, 3x3): sixteen results from 36 products instead of 144. A
 * task takes a region of tiles through all three steps: it transforms the source channels, a chunk
 * at a time, multiplies them point by point by the transformed weights (as 1x1 convolutions, by the
 * mac kernel) and transforms the sums back. The data gradient is the same with the kernel turned
 * round; gradients of weights are in transformed_wgrad.c. */
#include "backends/native/transformed.h"

#define REGION_BYTES ((size_t)512 * 1024) /* a region's sums and a chunk's points, … */
#define REGION_LEAST ((size_t)4)          /* … but no fewer tiles, */
#define REGION_MOST ((size_t)12)          /* … and no more */
#define CHUNK ((size_t)256)               /* products of a chain, as in mac.c */
#define PART ((size_t)128)                /* channels of a task, at least: it transforms for all */
/* Large weights that a step would read so few times are not copied: tasks transform them. So many
 * source channels at a time, whose points stay in L2 while all tiles of weights take turns, and so
 * many channels a task, whose sums do, too. */
#define MADE_TIMES ((size_t)2)
#define MADE_CHUNK ((size_t)128)
#define MADE_PART ((size_t)64)

/* What a vector costs in floating-point operations an image (measured: docs/benchmarks.md): to
 * transform a source tile's, a result's. */
#define TO_POINTS 40.0
#define TO_RESULTS 27.0
#define PRODUCT 1.1    /* a product, of a direct one */
#define PRODUCT_DW 1.5 /* of the gradient of weights, … */
#define REFRESH 94.0   /* a kernel's share of transforming it, of 64 images a step */

struct transformed {
    const struct native *native;
    struct native_lanes src, dst;
    size_t src_group, dst_group, chunk;
    int weight, bias;
    struct native_transformed_weights weights;
    size_t n_places, n_regions, region; /* tiles of a region, at most */
    const struct native_place *place;
    /* v[point][tile][channel], m the same: a tile's channels are one run for mac */
    size_t v_point, m_point, m_channels;
    size_t held; /* tiles of weights that sum before they are transformed back */
    const int32_t *v_tile, *m_tile;
    struct native_cut cut;
};

/* -------------------------------------------------------------------------------------- running */

/* The tiles of a region, and the channels of one group that a task has. */
struct region {
    size_t block, group;
    const struct native_place *place;
    size_t n;
    const struct native_tile *tiles;
    size_t n_tiles;
    float *v, *m, *u;
};

static void transform(const struct transformed *a, const struct cvy_run *run,
                      const struct region *r, struct native_range channels)
{
    const float *x = native_at(run, &a->src, r->block, r->group * a->src_group + channels.begin);
    struct cvyi_winograd g = { .n = channels.end - channels.begin,
                               .x_row = (ptrdiff_t)(a->src.w * NATIVE_LANES),
                               .x_channel = (ptrdiff_t)(a->src.plane * NATIVE_LANES),
                               .v_point = a->v_point,
                               .v_channel = NATIVE_LANES };
    for (size_t t = 0; t < r->n; t++) {
        const struct native_place *p = &r->place[t];
        for (int i = 0; i < 2; i++) {
            g.rows[i] = p->rows[i];
            g.cols[i] = p->cols[i];
        }
        a->native->kernels->winograd->in(&g, x + p->at, r->v + a->v_tile[t]);
    }
}

static void multiply(const struct transformed *a, const struct cvy_run *run, const struct region *r,
                     struct native_range channels)
{
    static const int32_t none;
    struct cvyi_mac m = { .n_pix = r->n,
                          .x_pix = a->v_tile,
                          .y_pix = a->m_tile,
                          .n_taps = 1,
                          .x_tap = &none,
                          .w_tap = &none,
                          .n_ic = channels.end - channels.begin,
                          .x_ic = NATIVE_LANES,
                          .w_ic = a->weights.mo,
                          .y_oc = NATIVE_LANES,
                          .accumulate = channels.begin > 0 };
    struct native_point_products p = { &a->weights, r->tiles,   r->n_tiles, POINTS,    r->u,
                                       r->v,        a->v_point, r->m,       a->m_point };
    if (!a->weights.made) {
        p.u = native_packed(&a->weights, run, r->tiles, channels.begin * m.w_ic);
        native_multiply_points(&p, &m);
        return;
    }
    p.n_tiles = 1;
    for (const struct native_tile *t = r->tiles; t < r->tiles + r->n_tiles; t++) {
        cvyi_native_transformed_make(&a->weights, run->buf[a->weight], t, channels, r->u);
        p.tiles = t;
        p.m = r->m + (t->c0 - r->tiles->c0) * NATIVE_LANES;
        native_multiply_points(&p, &m);
    }
}

static void transform_back(const struct transformed *a, const struct cvy_run *run,
                           const struct region *r)
{
    const struct native_tile *last = &r->tiles[r->n_tiles - 1];
    const size_t channel = r->group * a->dst_group + r->tiles->c0;
    const float *bias = native_buf(run, a->bias);
    float *y = native_at(run, &a->dst, r->block, channel);
    struct cvyi_winograd g = { .n = last->c0 + last->n - r->tiles->c0,
                               .x_row = (ptrdiff_t)(a->dst.w * NATIVE_LANES),
                               .x_channel = (ptrdiff_t)(a->dst.plane * NATIVE_LANES),
                               .v_point = a->m_point,
                               .v_channel = NATIVE_LANES };
    for (size_t t = 0; t < r->n; t++) {
        g.rows[1] = r->place[t].height;
        g.cols[1] = r->place[t].width;
        a->native->kernels->winograd->out(&g, r->m + a->m_tile[t], bias ? bias + channel : NULL,
                                          y + r->place[t].to);
    }
}

static void transformed_run(const void *arg, const struct cvy_run *run, size_t task,
                            struct cvy_worker *worker)
{
    const struct transformed *a = arg;
    struct native_task t = native_task(a->cut, task);
    if (t.block >= native_blocks_in_use(run)) return;
    struct native_range tiles = native_share(a->weights.n_tiles, t.part, a->cut.parts),
                        regions = native_share(a->n_regions, t.band, a->cut.bands);
    struct region r = { .block = t.block, .v = worker->scratch };
    r.m = r.v + POINTS * a->v_point;
    r.u = r.m + POINTS * a->m_point;
    for (size_t i = regions.begin; i < regions.end; i++) {
        struct native_range places = native_share(a->n_places, i, a->n_regions);
        r.place = a->place + places.begin;
        r.n = places.end - places.begin;
        for (size_t begin = tiles.begin, end; begin < tiles.end; begin = end) {
            r.group = a->weights.tiles[begin].group;
            end = native_group_end(&a->weights, begin, tiles.end);
            for (size_t first = begin; first < end; first += a->held) {
                r.tiles = a->weights.tiles + first;
                r.n_tiles = native_min(a->held, end - first);
                for (size_t c = 0; c < a->src_group; c += a->chunk) {
                    struct native_range chunk = { c, native_min(c + a->chunk, a->src_group) };
                    if (first == begin) transform(a, run, &r, chunk);
                    multiply(a, run, &r, chunk);
                }
                transform_back(a, run, &r);
            }
        }
    }
}

/* ------------------------------------------------------------------------------------- planning */

struct native_place *cvyi_native_places(struct cvy_plan *plan, const struct native_lanes *dst,
                                        const struct native_lanes *src, const ptrdiff_t pad[2])
{
    struct native_place *place = cvy_plan_alloc(plan, native_places(dst) * sizeof *place),
                        *p = place;
    const ptrdiff_t size[2] = { (ptrdiff_t)src->h, (ptrdiff_t)src->w };
    for (size_t row = 0; place && row < dst->h; row += TILE_SIDE)
        for (size_t col = 0; col < dst->w; col += TILE_SIDE, p++) {
            const ptrdiff_t at[2] = { (ptrdiff_t)row - pad[0], (ptrdiff_t)col - pad[1] };
            unsigned char *inside[2] = { p->rows, p->cols };
            for (int d = 0; d < 2; d++) {
                ptrdiff_t begin = at[d] < 0 ? -at[d] : 0, end = size[d] - at[d];
                if (end > TILE_SOURCE) end = TILE_SOURCE;
                if (begin >= end) begin = end = 0;
                inside[d][0] = (unsigned char)begin;
                inside[d][1] = (unsigned char)end;
            }
            p->at = (at[0] * size[1] + at[1]) * CVYI_LANES;
            p->to = (row * dst->w + col) * NATIVE_LANES;
            p->height = (unsigned char)native_min(TILE_SIDE, dst->h - row);
            p->width = (unsigned char)native_min(TILE_SIDE, dst->w - col);
        }
    return place;
}

/* Whether tasks are to transform the weights themselves. */
static bool open(struct native *native, struct cvy_plan *plan, const struct native_conv *conv,
                 struct transformed *a)
{
    const struct native_geometry *g = &conv->geometry;
    const bool transposed = conv->pass == NATIVE_DATA;
    *a = (struct transformed){ .native = native,
                               .src = transposed ? g->y : g->x,
                               .dst = transposed ? g->x : g->y,
                               .src_group = transposed ? g->oc : g->ic,
                               .dst_group = transposed ? g->ic : g->oc,
                               .weight = conv->weight,
                               .bias = conv->bias };
    a->chunk = ceil_div(a->src_group, ceil_div(a->src_group, CHUNK));
    size_t channels = a->chunk + a->dst_group;
    a->region = REGION_BYTES / (POINTS * channels * NATIVE_LANES * sizeof(float));
    if (a->region < REGION_LEAST) a->region = REGION_LEAST;
    if (a->region > REGION_MOST) a->region = REGION_MOST;
    a->n_places = native_places(&a->dst);
    a->n_regions = ceil_div(a->n_places, a->region);
    a->region = ceil_div(a->n_places, a->n_regions);
    const bool make =
        native_chose(plan, CHOICE_TRANSFORMED_MADE,
                     POINTS * g->groups * g->oc * g->ic * sizeof(float) > CACHED_BYTES &&
                         native->blocks * a->n_regions <= MADE_TIMES);
    if (make) a->chunk = ceil_div(a->src_group, ceil_div(a->src_group, MADE_CHUNK));
    return make;
}

/* What a block streams: every band all weights, every part the source. */
static double streams(const void *arg, size_t bands, size_t parts)
{
    const struct transformed *a = arg;
    const size_t weights =
        a->weights.made ? TAPS * a->dst.c * a->src_group : POINTS * a->weights.plane;
    return (double)(weights * bands) +
           2.0 * (double)(a->src.c * a->src.h * a->src.w * NATIVE_LANES * parts);
}

/* Where the tiles of a region lie, of so many channels each. */
static const int32_t *place_tiles(struct cvy_plan *plan, size_t region, size_t channels)
{
    int32_t *tile = cvy_plan_alloc(plan, region * sizeof *tile);
    for (size_t t = 0; tile && t < region; t++) tile[t] = (int32_t)(t * channels * NATIVE_LANES);
    return tile;
}

static bool find_places(struct cvy_plan *plan, const struct native_conv *conv,
                        struct transformed *a)
{
    const struct native_geometry *g = &conv->geometry;
    ptrdiff_t pad[2];
    for (int d = 0; d < 2; d++) {
        pad[d] = (ptrdiff_t)g->pad[d];
        if (conv->pass == NATIVE_DATA) pad[d] = (ptrdiff_t)g->kernel[d] - 1 - pad[d];
    }
    a->place = cvyi_native_places(plan, &a->dst, &a->src, pad);
    a->v_tile = place_tiles(plan, a->region, a->chunk);
    a->m_tile = place_tiles(plan, a->region, a->m_channels);
    return a->place && a->v_tile && a->m_tile;
}

static enum cvy_status plan_mac(struct native *native, struct cvy_plan *plan,
                                const struct native_conv *conv)
{
    struct transformed *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    const bool make = open(native, plan, conv, a);
    NATIVE_TRY(cvyi_native_transformed_pack(native, plan, conv, a->region, make ? a->chunk : 0,
                                            &a->weights));
    struct native_work work = { .blocks = native->blocks,
                                .regions = a->n_regions,
                                .tiles = conv->geometry.groups *
                                         ceil_div(a->dst_group, make ? MADE_PART : PART),
                                .wanted = native_parts(native),
                                .streams = streams,
                                .arg = a };
    a->cut = cvyi_native_cut(&work);
    native_chose(plan, CHOICE_TRANSFORMED_PARTS, a->cut.parts > conv->geometry.groups);
    native_chose(plan, CHOICE_TRANSFORMED_CHUNKS, a->chunk < a->src_group);
    a->v_point = native_point(a->chunk, a->region);
    a->held =
        native_held(plan, &a->weights, a->cut.parts, a->chunk == a->src_group, POINTS * a->v_point);
    a->m_channels = native_min(a->dst_group, a->held * a->weights.mo);
    a->m_point = native_point(a->m_channels, a->region);
    if (!find_places(plan, conv, a))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    const bool cells = native_parts(native) == 1 && a->cut.bands == 1 && a->cut.parts == 1;
    struct cvy_phase_desc phase = {
        .name = conv->name,
        .run = transformed_run,
        .arg = a,
        .blocks = cells ? a->cut.blocks : 0,
        .parts = cells ? a->cut.parts : native_tasks(a->cut),
        .scratch_bytes =
            POINTS * (a->v_point + a->m_point + (make ? a->weights.plane : 0)) * sizeof(float),
        .flops = native_conv_flops(native, &conv->geometry),
    };
    native_access(&phase, a->src.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, make ? a->weight : a->weights.packed, CVY_READ_ALL);
    native_access(&phase, a->bias, CVY_READ_ALL);
    native_access(&phase, a->dst.id, cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

/* ------------------------------------------------------------------------------------ algorithm */

static bool supports(const struct native_conv *conv)
{
    const struct native_geometry *g = &conv->geometry;
    for (int d = 0; d < 2; d++)
        if (g->stride[d] != 1 || g->dilation[d] != 1) return false;
    if (g->kernel[1] != 3 && g->kernel[1] != 5) return false;
    return !native_by_rows(conv) || cvyi_native_rows_can(conv);
}

static double cost(const struct native *native, const struct native_conv *conv)
{
    const struct native_geometry *g = &conv->geometry;
    (void)native;
    if (native_by_rows(conv)) return cvyi_native_transformed_rows_cost(conv);
    const bool transposed = conv->pass == NATIVE_DATA, dw = conv->pass == NATIVE_WEIGHTS;
    const struct native_lanes *src = transposed ? &g->y : &g->x, *dst = transposed ? &g->x : &g->y;
    const double points = (double)(POINTS * native_places(dst)),
                 kernels = (double)(g->groups * g->oc * g->ic);
    return points * ((dw ? PRODUCT_DW : PRODUCT) * 2.0 * kernels + TO_POINTS * (double)src->c +
                     TO_RESULTS * (double)dst->c) +
           REFRESH * kernels;
}

static enum cvy_status plan(struct native *native, struct cvy_plan *plan,
                            const struct native_conv *conv)
{
    if (conv->pass == NATIVE_WEIGHTS) return cvyi_native_transformed_wgrad(native, plan, conv);
    if (native_by_rows(conv)) return cvyi_native_transformed_rows(native, plan, conv);
    return plan_mac(native, plan, conv);
}

const struct native_algorithm cvyi_native_transformed = { supports, NULL, cost, plan };
