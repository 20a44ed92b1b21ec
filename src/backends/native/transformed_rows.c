/* Kernels of five columns by F(4, 5) along the rows, of three by F(4, 3): four results of a row of
 * the kernel from eight products instead of twenty, from six instead of twelve; the rows of the
 * kernel are taps of the products at each point.
 * A task takes bands of rows through all three steps. The data gradient is the exact adjoint: dy is
 * spread out to the points, and where the tiles of dx overlap, they are added. Gradients of weights
 * are in transformed_wgrad.c. */
#include "backends/native/transformed.h"

#define CHUNK ((size_t)256)             /* products of a chain, as in mac.c */
#define BAND_BYTES ((size_t)256 * 1024) /* of a band's points and sums */
#define BAND_ROWS ((size_t)8)           /* no band smaller, … */
#define BAND_TILES ((size_t)192)        /* … and no more tiles */
#define MOST_TAPS ((size_t)16)          /* rows of a kernel */
#define PART ((size_t)128)              /* channels of a task, at least: it transforms for all */

/* As in transformed.c. */
#define TO_POINTS 17.0
#define TO_RESULTS 17.0
#define PRODUCT_OF_3 1.5 /* a product where the kernel has three columns, … */
#define PRODUCT_OF_5 1.1 /* … or five */
#define REFRESH 21.0

struct rows {
    const struct native *native;
    struct native_lanes src, dst;
    bool transposed;
    size_t src_group, dst_group, chunk, kernel_rows;
    size_t points, kernel; /* which of the transforms */
    int bias;
    struct native_transformed_weights weights;
    struct native_axis axis;      /* rows of dst */
    size_t tiles;                 /* of a row */
    size_t n_bands, band, source; /* rows of a band, of its source, at most */
    ptrdiff_t first;              /* column of x that a row's first tile begins at */
    /* v[point][row][tile][channel], m the same: a tile's channels are one run for mac */
    size_t v_point, m_point, v_tile, m_tile;
    size_t held; /* tiles of weights that sum before they are transformed back */
    struct native_cut cut;
};

/* -------------------------------------------------------------------------------------- running */

/* A band's rows of dst and of src, and the channels of one group that a task has. */
struct band {
    size_t block, group;
    struct native_range rows, source;
    const struct native_tile *tiles;
    size_t n_tiles;
    float *v, *m;
};

/* Rows of the source that rows of dst read. */
static struct native_range source_of(const struct native_axis *axis, struct native_range rows)
{
    struct native_range source = { SIZE_MAX, 0 };
    for (size_t r = rows.begin; r < rows.end; r++) {
        const struct native_border *taps = &axis->border[axis->at[r].border];
        if (!taps->count) continue;
        ptrdiff_t step = axis->source_step * (ptrdiff_t)(taps->count - 1);
        size_t from = axis->at[r].source, to = (size_t)((ptrdiff_t)from + step);
        struct native_range read = { native_min(from, to), (from < to ? to : from) + 1 };
        if (read.begin < source.begin) source.begin = read.begin;
        if (read.end > source.end) source.end = read.end;
    }
    return source.end ? source : (struct native_range){ 0, 0 };
}

static void transform(const struct rows *a, const struct cvy_run *run, const struct band *b,
                      struct native_range channels)
{
    const struct cvyi_winograd_kernels *k = a->native->kernels->winograd;
    const float *x = native_at(run, &a->src, b->block, b->group * a->src_group + channels.begin);
    struct cvyi_winograd_row g = { .n = channels.end - channels.begin,
                                   .tiles = a->tiles,
                                   .first = a->first,
                                   .width = (ptrdiff_t)a->src.w,
                                   .x_channel = (ptrdiff_t)(a->src.plane * NATIVE_LANES),
                                   .v_point = a->v_point,
                                   .v_tile = a->v_tile,
                                   .v_channel = NATIVE_LANES };
    for (size_t r = b->source.begin; r < b->source.end; r++) {
        float *v = b->v + (r - b->source.begin) * a->tiles * a->v_tile;
        if (a->transposed) k->row_grad[a->kernel](&g, x + r * a->src.w * NATIVE_LANES, v);
        else k->row_in[a->kernel](&g, x + r * a->src.w * NATIVE_LANES, v);
    }
}

/* Rows [from, to) of the band, which have their taps in common. */
static void multiply_rows(const struct rows *a, const struct cvy_run *run, const struct band *b,
                          struct native_range channels, struct native_range rows)
{
    const struct native_border *taps = &a->axis.border[a->axis.at[rows.begin].border];
    int32_t x_pix[BAND_TILES], y_pix[BAND_TILES], x_tap[MOST_TAPS], w_tap[MOST_TAPS];
    size_t n = 0;
    for (size_t t = 0; t < a->tiles; t++)
        for (size_t r = rows.begin; r < rows.end; r++, n++) {
            size_t source = taps->count ? a->axis.at[r].source - b->source.begin : 0;
            x_pix[n] = (int32_t)((source * a->tiles + t) * a->v_tile);
            y_pix[n] = (int32_t)(((r - b->rows.begin) * a->tiles + t) * a->m_tile);
        }
    for (size_t t = 0; t < taps->count; t++) {
        x_tap[t] = (int32_t)(a->axis.source_step * (ptrdiff_t)(t * a->tiles * a->v_tile));
        w_tap[t] = (int32_t)((taps->first + t * a->axis.tap_step) * a->weights.mo);
    }
    struct cvyi_mac m = { .n_pix = n,
                          .x_pix = x_pix,
                          .y_pix = y_pix,
                          .n_taps = taps->count,
                          .x_tap = x_tap,
                          .w_tap = w_tap,
                          .n_ic = channels.end - channels.begin,
                          .x_ic = NATIVE_LANES,
                          .w_ic = a->kernel_rows * a->weights.mo,
                          .y_oc = NATIVE_LANES,
                          .accumulate = channels.begin > 0 };
    const struct native_point_products p = { &a->weights,
                                             b->tiles,
                                             b->n_tiles,
                                             a->points,
                                             native_packed(&a->weights, run, b->tiles,
                                                           channels.begin * m.w_ic),
                                             b->v,
                                             a->v_point,
                                             b->m,
                                             a->m_point };
    native_multiply_points(&p, &m);
}

static void multiply(const struct rows *a, const struct cvy_run *run, const struct band *b,
                     struct native_range channels)
{
    for (size_t r = b->rows.begin, end; r < b->rows.end; r = end) {
        for (end = r + 1; end < b->rows.end; end++)
            if (a->axis.at[end].border != a->axis.at[r].border) break;
        multiply_rows(a, run, b, channels, (struct native_range){ r, end });
    }
}

static void transform_back(const struct rows *a, const struct cvy_run *run, const struct band *b)
{
    const struct cvyi_winograd_kernels *k = a->native->kernels->winograd;
    const struct native_tile *last = &b->tiles[b->n_tiles - 1];
    const size_t channel = b->group * a->dst_group + b->tiles->c0;
    const float *bias = native_buf(run, a->bias);
    float *y = native_at(run, &a->dst, b->block, channel);
    struct cvyi_winograd_row g = { .n = last->c0 + last->n - b->tiles->c0,
                                   .tiles = a->tiles,
                                   .first = a->first,
                                   .width = (ptrdiff_t)a->dst.w,
                                   .x_channel = (ptrdiff_t)(a->dst.plane * NATIVE_LANES),
                                   .v_point = a->m_point,
                                   .v_tile = a->m_tile,
                                   .v_channel = NATIVE_LANES };
    for (size_t r = b->rows.begin; r < b->rows.end; r++) {
        const float *m = b->m + (r - b->rows.begin) * a->tiles * a->m_tile;
        float *to = y + r * a->dst.w * NATIVE_LANES;
        if (a->transposed) k->row_data[a->kernel](&g, m, to);
        else k->row_out[a->kernel](&g, m, bias ? bias + channel : NULL, to);
    }
}

static void rows_run(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct rows *a = arg;
    struct native_task t = native_task(a->cut, task);
    if (t.block >= native_blocks_in_use(run)) return;
    struct native_range tiles = native_share(a->weights.n_tiles, t.part, a->cut.parts),
                        bands = native_share(a->n_bands, t.band, a->cut.bands);
    struct band b = { .block = t.block, .v = worker->scratch };
    b.m = b.v + a->points * a->v_point;
    for (size_t i = bands.begin; i < bands.end; i++) {
        b.rows = native_share(a->dst.h, i, a->n_bands);
        b.source = source_of(&a->axis, b.rows);
        for (size_t begin = tiles.begin, end; begin < tiles.end; begin = end) {
            b.group = a->weights.tiles[begin].group;
            end = native_group_end(&a->weights, begin, tiles.end);
            for (size_t first = begin; first < end; first += a->held) {
                b.tiles = a->weights.tiles + first;
                b.n_tiles = native_min(a->held, end - first);
                for (size_t c = 0; c < a->src_group; c += a->chunk) {
                    struct native_range chunk = { c, native_min(c + a->chunk, a->src_group) };
                    if (first == begin) transform(a, run, &b, chunk);
                    multiply(a, run, &b, chunk);
                }
                transform_back(a, run, &b);
            }
        }
    }
}

/* ------------------------------------------------------------------------------------- planning */

static bool open(struct native *native, struct cvy_plan *plan, const struct native_conv *conv,
                 struct rows *a)
{
    const struct native_geometry *g = &conv->geometry;
    const bool transposed = conv->pass == NATIVE_DATA;
    *a = (struct rows){ .native = native,
                        .transposed = transposed,
                        .src = transposed ? g->y : g->x,
                        .dst = transposed ? g->x : g->y,
                        .src_group = transposed ? g->oc : g->ic,
                        .dst_group = transposed ? g->ic : g->oc,
                        .kernel_rows = g->kernel[0],
                        .points = native_row_points(g),
                        .kernel = native_row_kernel(g),
                        .bias = conv->bias,
                        .tiles = ceil_div(g->y.w, TILE_SIDE),
                        .first = -(ptrdiff_t)g->pad[1] };
    a->chunk = ceil_div(a->src_group, ceil_div(a->src_group * g->kernel[0], CHUNK));
    size_t row = a->points * a->tiles * (a->chunk + a->dst_group) * NATIVE_LANES * sizeof(float),
           rows = BAND_BYTES / row;
    if (rows < BAND_ROWS) rows = BAND_ROWS;
    rows = native_min(rows, BAND_TILES / a->tiles);
    a->n_bands = ceil_div(a->dst.h, rows);
    a->band = ceil_div(a->dst.h, a->n_bands);
    if (!cvyi_native_axis(plan, g, transposed, 0, &a->axis)) return false;
    for (size_t i = 0; i < a->n_bands; i++) {
        struct native_range s = source_of(&a->axis, native_share(a->dst.h, i, a->n_bands));
        if (s.end - s.begin > a->source) a->source = s.end - s.begin;
    }
    return true;
}

/* What a block streams: every band all weights, every part the source. */
static double streams(const void *arg, size_t bands, size_t parts)
{
    const struct rows *a = arg;
    return (double)(a->points * a->weights.plane * bands) +
           2.0 * (double)(a->src.c * a->src.h * a->src.w * NATIVE_LANES * parts);
}

enum cvy_status cvyi_native_transformed_rows(struct native *native, struct cvy_plan *plan,
                                             const struct native_conv *conv)
{
    struct rows *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a || !open(native, plan, conv, a))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    NATIVE_TRY(
        cvyi_native_transformed_pack(native, plan, conv, a->band * a->tiles, 0, &a->weights));
    struct native_work work = { .blocks = native->blocks,
                                .regions = a->n_bands,
                                .tiles = conv->geometry.groups * ceil_div(a->dst_group, PART),
                                .wanted = native_parts(native),
                                .streams = streams,
                                .arg = a };
    a->cut = cvyi_native_cut(&work);
    native_chose(plan, CHOICE_ROW_BANDS, a->n_bands > 1);
    native_chose(plan, CHOICE_TRANSFORMED_PARTS, a->cut.parts > conv->geometry.groups);
    native_chose(plan, CHOICE_TRANSFORMED_CHUNKS, a->chunk < a->src_group);
    a->v_point = native_point(a->chunk * a->source, a->tiles);
    a->held = native_held(plan, &a->weights, a->cut.parts, a->chunk == a->src_group,
                          a->points * a->v_point);
    const size_t channels = native_min(a->dst_group, a->held * a->weights.mo);
    a->m_point = native_point(channels * a->band, a->tiles);
    a->v_tile = a->chunk * NATIVE_LANES;
    a->m_tile = channels * NATIVE_LANES;
    const bool cells = native_parts(native) == 1 && native_tasks(a->cut) == a->cut.blocks;
    struct cvy_phase_desc phase = {
        .name = conv->name,
        .run = rows_run,
        .arg = a,
        .blocks = cells ? a->cut.blocks : 0,
        .parts = cells ? 1 : native_tasks(a->cut),
        .scratch_bytes = a->points * (a->v_point + a->m_point) * sizeof(float),
        .flops = native_conv_flops(native, &conv->geometry),
    };
    native_access(&phase, a->src.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, a->weights.packed, CVY_READ_ALL);
    native_access(&phase, a->bias, CVY_READ_ALL);
    native_access(&phase, a->dst.id, cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

bool cvyi_native_rows_can(const struct native_conv *conv)
{
    const struct native_geometry *g = &conv->geometry;
    const size_t tiles = ceil_div(g->y.w, TILE_SIDE);
    if (conv->pass == NATIVE_WEIGHTS) return tiles <= ROW_REGION;
    return g->kernel[0] <= MOST_TAPS && tiles <= BAND_TILES;
}

double cvyi_native_transformed_rows_cost(const struct native_conv *conv)
{
    const struct native_geometry *g = &conv->geometry;
    const bool transposed = conv->pass == NATIVE_DATA;
    const struct native_lanes *src = transposed ? &g->y : &g->x, *dst = transposed ? &g->x : &g->y;
    const double kernels = (double)(g->groups * g->oc * g->ic),
                 points = (double)(native_row_points(g) * ceil_div(g->y.w, TILE_SIDE)),
                 product = g->kernel[1] == 3 ? PRODUCT_OF_3 : PRODUCT_OF_5;
    return points *
               (product * 2.0 * (double)(g->y.h * g->kernel[0]) * kernels +
                TO_POINTS * (double)(src->h * src->c) + TO_RESULTS * (double)(dst->h * dst->c)) +
           REFRESH * (double)g->kernel[0] * kernels;
}
