/* Depthwise convolutions: groups of one input channel. There is nothing to share between channels,
 * so a task takes its planes one by one, in rectangles of pixels to which the same taps apply
 * (geometry.h), weights as the parameter lies. Where all groups have one output channel its cells
 * are those of the maps, and it runs in one strand with the row-wise ops around it.
 *
 * Forward and for data the sums are the direct algorithm's, to the bit. The weights' gradient keeps
 * lanes apart for a band of rows, then folds them; bands are added in double, blocks folded in
 * double. A source that a batch norm and its activation make is made a band at a time; a gradient
 * of the data that only a batch norm's gradient reads, behind an activation, is made there. */
#include <string.h>

#include "backends/native/algorithm.h"
#include "backends/native/wgrad.h"

#define BAND_PIXELS ((size_t)1024) /* of a chain of the weights' gradient, of a pass over a plane */
#define MOST_PRODUCTS ((size_t)256) /* products of the direct algorithm's longest chain (mac.c) */
/* What a product costs of what it costs `direct`, whose tile of one channel gathers its pixels; and
 * for every further output channel of a group, which direct multiplies with the same pixels: from
 * docs/benchmarks.md */
static const struct {
    double first, further;
} costs[] = {
    [NATIVE_FORWARD] = { 0.7, 0.9 }, [NATIVE_DATA] = { 0.65, 0.25 }, [NATIVE_WEIGHTS] = { 0.4, 0.1 }
};

/* ----------------------------------------------------------------------------------- rectangles */

/* Positions begin + i * period, i < n, of a dimension that have the same taps; the first reads
 * source by tap. Taps in the order of ascending sources. */
struct run {
    size_t begin, n, taps, source, tap;
};
struct runs {
    size_t n, period, advance; /* advance: of the source, from position to position of a run */
    ptrdiff_t source_step, tap_step;
    struct run *run;
};

struct depthwise {
    const struct native *native;
    struct native_geometry conv;
    struct native_lanes src, dst; /* of the weights' gradient x and y */
    struct native_grid grid;      /* of dst, by which work is cut */
    struct runs rows, cols;
    size_t band; /* rows */
    size_t made; /* floats of scratch for the rows that a band reads, if they are not there */
    bool transposed;
    int weight, bias;
    struct native_wgrad wgrad; /* of the weights: its slots; in the scratch all sums of a channel */
};

static bool find_runs(struct cvy_plan *plan, const struct native_geometry *g, bool transposed,
                      int dim, struct runs *runs)
{
    struct native_axis axis;
    if (!cvyi_native_axis(plan, g, transposed, dim, &axis)) return false;
    bool back = axis.source_step < 0;
    *runs = (struct runs){ .period = axis.period,
                           .advance = transposed ? 1 : g->stride[dim],
                           .source_step = back ? -axis.source_step : axis.source_step,
                           .tap_step = back ? -(ptrdiff_t)axis.tap_step : (ptrdiff_t)axis.tap_step,
                           .run = cvy_plan_alloc(plan, axis.n * sizeof *runs->run) };
    if (!runs->run) return false;
    for (size_t c = 0; c < axis.period; c++)
        for (size_t p = c, border = SIZE_MAX; p < axis.n; p += axis.period) {
            struct native_border b = axis.border[axis.at[p].border];
            if (axis.at[p].border != border) {
                size_t last = back && b.count ? b.count - 1 : 0;
                runs->run[runs->n++] = (struct run){ .begin = p, .taps = b.count };
                if (b.count) {
                    struct run *run = &runs->run[runs->n - 1];
                    run->source = axis.at[p].source - last * (size_t)runs->source_step;
                    run->tap = b.first + last * axis.tap_step;
                }
            }
            border = axis.at[p].border;
            runs->run[runs->n - 1].n++;
        }
    return true;
}

/* Which of a run's positions lie in the band. */
static struct native_range within(const struct runs *rows, const struct run *r,
                                  struct native_range band)
{
    size_t skip = band.begin > r->begin ? ceil_div(band.begin - r->begin, rows->period) : 0;
    size_t end = band.end > r->begin ? ceil_div(band.end - r->begin, rows->period) : 0;
    return (struct native_range){ skip, native_min(end, r->n) };
}

/* The source rows that the band reads. */
static struct native_range source_rows(const struct runs *rows, struct native_range band)
{
    struct native_range all = { SIZE_MAX, 0 };
    for (size_t i = 0; i < rows->n; i++) {
        const struct run *r = &rows->run[i];
        struct native_range p = within(rows, r, band);
        if (!r->taps || p.begin >= p.end) continue;
        size_t reach = (r->taps - 1) * (size_t)rows->source_step + 1;
        all.begin = native_min(all.begin, r->source + p.begin * rows->advance);
        size_t end = r->source + (p.end - 1) * rows->advance + reach;
        if (all.end < end) all.end = end;
    }
    return all.end ? all : (struct native_range){ 0, 0 };
}

/* Where a rectangle begins, in floats of its maps and of the kernel. */
struct corner {
    ptrdiff_t src, dst, weight;
};

/* The part of r x q whose rows lie in `band`; false: none. */
static bool rectangle(const struct depthwise *a, const struct run *r, const struct run *q,
                      struct native_range band, struct cvyi_depthwise *d, struct corner *at)
{
    const struct native_geometry *g = &a->conv;
    const struct runs *rows = &a->rows, *cols = &a->cols;
    struct native_range p = within(rows, r, band);
    if (p.begin >= p.end) return false;
    ptrdiff_t src_row = (ptrdiff_t)(a->src.w * NATIVE_LANES),
              dst_row = (ptrdiff_t)(a->dst.w * NATIVE_LANES), sign = g->flip ? -1 : 1;
    bool none = !r->taps || !q->taps;
    *d = (struct cvyi_depthwise){ .height = p.end - p.begin,
                                  .width = q->n,
                                  .n_rows = none ? 0 : r->taps,
                                  .n_taps = none ? 0 : q->taps,
                                  .y_row = (ptrdiff_t)rows->period * dst_row,
                                  .y_col = (ptrdiff_t)(cols->period * NATIVE_LANES),
                                  .x_row = (ptrdiff_t)rows->advance * src_row,
                                  .x_col = (ptrdiff_t)(cols->advance * NATIVE_LANES),
                                  .tap_row = rows->source_step * src_row,
                                  .tap_col = cols->source_step * CVYI_LANES,
                                  .w_row = sign * rows->tap_step * (ptrdiff_t)g->kernel[1],
                                  .w_tap = sign * cols->tap_step };
    *at = (struct corner){ .dst = (ptrdiff_t)(r->begin + p.begin * rows->period) * dst_row +
                                  (ptrdiff_t)(q->begin * NATIVE_LANES) };
    if (none) return true;
    at->src = (ptrdiff_t)(r->source + p.begin * rows->advance) * src_row +
              (ptrdiff_t)(q->source * NATIVE_LANES);
    at->weight = (ptrdiff_t)native_tap(g, r->tap, q->tap);
    return true;
}

/* -------------------------------------------------------------------------------------- sources */

/* A plane that is read, or from which what is read is made, in `rows` of the scratch. */
struct source {
    const float *plane;
    const struct cvyi_affine *affine; /* NULL: it is there */
    float *rows;
};

static struct source source_of(const struct depthwise *a, const struct cvy_run *run,
                               const struct native_lanes *v, size_t block, size_t c, float *rows)
{
    const struct native_norm *norm = a->conv.norm;
    const struct cvyi_affine *affine = norm ? run->buf[norm->affine] : NULL;
    return (struct source){ native_at(run, v, block, c), affine ? affine + c : NULL, rows };
}

/* What the band reads; *skipped: floats of the plane that lie before it. */
static const float *band_source(const struct depthwise *a, const struct source *s,
                                struct native_range band, ptrdiff_t *skipped)
{
    const struct native_norm *norm = a->conv.norm;
    *skipped = 0;
    if (!s->affine) return s->plane;
    struct native_range rows = source_rows(&a->rows, band);
    size_t row = a->src.w * NATIVE_LANES;
    *skipped = (ptrdiff_t)(rows.begin * row);
    a->native->kernels->act->norm_act[norm->act](s->rows, s->plane + rows.begin * row,
                                                 (rows.end - rows.begin) * row, s->affine,
                                                 norm->alpha);
    return s->rows;
}

/* Floats of the most rows that a band reads, if they are to be made. */
static size_t made_floats(const struct depthwise *a)
{
    size_t most = 0;
    for (size_t row = 0; a->conv.norm && row < a->dst.h; row += a->band) {
        struct native_range band = { row, native_min(row + a->band, a->dst.h) };
        struct native_range rows = source_rows(&a->rows, band);
        if (most < rows.end - rows.begin) most = rows.end - rows.begin;
    }
    return most * a->src.w * NATIVE_LANES;
}

/* -------------------------------------------------------------------------------- forward, data */

/* A plane from `n` others, the weights of each behind those of the one before it. */
struct sum {
    struct source src;
    size_t n;
    const float *w, *bias;
};

static struct sum sum_of(const struct depthwise *a, const struct cvy_run *run, size_t block,
                         size_t c, float *rows)
{
    const float *w = run->buf[a->weight], *bias = native_buf(run, a->bias);
    size_t oc = a->conv.oc;
    if (a->transposed)
        return (struct sum){ source_of(a, run, &a->src, block, c * oc, rows), oc,
                             w + c * oc * a->conv.taps, NULL };
    return (struct sum){ source_of(a, run, &a->src, block, c / oc, rows), 1, w + c * a->conv.taps,
                         bias ? bias + c : NULL };
}

/* Rows of it, to dst. */
static void multiply_band(const struct depthwise *a, const struct sum *s, struct native_range band,
                          float *dst)
{
    ptrdiff_t skipped, before = (ptrdiff_t)(band.begin * a->dst.w * NATIVE_LANES);
    const float *from = band_source(a, &s->src, band, &skipped);
    for (size_t r = 0; r < a->rows.n; r++)
        for (size_t q = 0; q < a->cols.n; q++) {
            struct cvyi_depthwise d;
            struct corner at;
            if (!rectangle(a, &a->rows.run[r], &a->cols.run[q], band, &d, &at)) continue;
            for (size_t i = 0; i < s->n; i++, d.resume = true)
                a->native->kernels->depthwise->depthwise(
                    &d, from + i * a->src.plane * NATIVE_LANES + (at.src - skipped),
                    s->w + i * a->conv.taps + at.weight, s->bias, dst + (at.dst - before));
        }
}

static void multiply_run(const void *arg, const struct cvy_run *run, size_t task,
                         struct cvy_worker *worker)
{
    const struct depthwise *a = arg;
    struct native_cell cell = native_cell(a->grid, a->dst.c, task);
    NATIVE_BLOCKS (cell, run)
        for (size_t c = cell.c0; c < cell.c1; c++) {
            struct sum s = sum_of(a, run, cell.block, c, worker->scratch);
            float *dst = native_at(run, &a->dst, cell.block, c);
            for (size_t row = 0; row < a->dst.h; row += a->band) {
                struct native_range band = { row, native_min(row + a->band, a->dst.h) };
                multiply_band(a, &s, band, dst + row * a->dst.w * NATIVE_LANES);
            }
        }
}

/* Rows of the data's gradient for whoever reads it. */
static void make_rows(const void *arg, const struct cvy_run *run, size_t block, size_t c,
                      struct native_range rows, float *to)
{
    const struct depthwise *a = arg;
    struct sum s = sum_of(a, run, block, c, NULL);
    multiply_band(a, &s, rows, to);
}

static void reads(const struct native *native, const void *arg, struct cvy_phase_desc *phase)
{
    const struct depthwise *a = arg;
    native_cell_access(phase, native, &a->src, a->grid, false);
    native_access(phase, a->weight, CVY_READ_ALL);
}

/* -------------------------------------------------------------------------------------- weights */

/* Adds a band of rows; sums: [taps][16], total: [taps]. */
static void add_band(const struct depthwise *a, struct native_range band, const struct source *x,
                     const float *dy, float *sums, double *total)
{
    const struct cvyi_kernels *k = a->native->kernels;
    size_t taps = a->conv.taps;
    ptrdiff_t skipped;
    const float *from = band_source(a, x, band, &skipped);
    float *folded = sums + taps * NATIVE_LANES;
    memset(sums, 0, taps * NATIVE_LANES * sizeof *sums);
    for (size_t r = 0; r < a->rows.n; r++)
        for (size_t q = 0; q < a->cols.n; q++) {
            struct cvyi_depthwise d;
            struct corner at;
            if (rectangle(a, &a->rows.run[r], &a->cols.run[q], band, &d, &at) && d.n_rows)
                k->depthwise->depthwise_dw(&d, dy + at.dst, from + (at.src - skipped),
                                           sums + at.weight * CVYI_LANES);
        }
    k->update->fold_lanes(folded, sums, taps);
    for (size_t t = 0; t < taps; t++) total[t] += (double)folded[t];
}

static void weights_run(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    const struct depthwise *a = arg;
    const struct native_geometry *g = &a->conv;
    struct native_cell cell = native_cell(a->grid, g->y.c, task);
    float *rows = worker->scratch, *sums;
    double *total = (double *)(rows + a->made);
    sums = (float *)(total + g->taps);
    NATIVE_BLOCKS (cell, run) {
        float *dw = (float *)run->buf[a->wgrad.slots] + cell.block * a->wgrad.slot,
              *db = a->bias < 0 ? NULL : dw + native_n_weights(g);
        for (size_t c = cell.c0; c < cell.c1; c++) {
            const struct source x = source_of(a, run, &g->x, cell.block, c / g->oc, rows);
            const float *dy = native_at(run, &g->y, cell.block, c);
            double bias = 0;
            for (size_t t = 0; t < g->taps; t++) total[t] = 0;
            for (size_t row = 0; row < g->y.h; row += a->band) {
                struct native_range band = { row, native_min(row + a->band, g->y.h) };
                add_band(a, band, &x, dy, sums, total);
                double sum = 0;
                if (db)
                    cvyi_native_wgrad_bias(&a->wgrad, run, cell.block, c, 1,
                                           (struct native_range){ row * g->y.w, band.end * g->y.w },
                                           &sum);
                bias += sum;
            }
            for (size_t t = 0; t < g->taps; t++) dw[c * g->taps + t] = (float)total[t];
            if (db) db[c] = (float)bias;
        }
    }
}

/* ------------------------------------------------------------------------------------- planning */

static enum cvy_status plan_weights(struct native *native, struct cvy_plan *plan,
                                    const struct native_conv *conv, struct depthwise *a)
{
    const struct native_geometry *g = &a->conv;
    a->wgrad = (struct native_wgrad){ .native = native,
                                      .name = conv->name,
                                      .conv = *g,
                                      .dw = a->weight,
                                      .db = a->bias,
                                      .cut = { native->blocks, 1, 1 } };
    NATIVE_TRY(cvyi_native_wgrad_slot_buffer(plan, &a->wgrad));
    struct cvy_phase_desc phase = { .name = conv->name,
                                    .run = weights_run,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts,
                                    .scratch_bytes = a->made * sizeof(float) +
                                                     g->taps * (sizeof(double) +
                                                                (NATIVE_LANES + 1) * sizeof(float)),
                                    .flops = native_conv_flops(native, g) };
    native_cell_access(&phase, native, &g->y, a->grid, false);
    if (g->oc == 1) native_cell_access(&phase, native, &g->x, a->grid, false);
    else native_access(&phase, g->x.id, CVY_READ_ALL);
    native_access(&phase, g->norm ? g->norm->affine : -1, native_read(a->grid));
    native_access(&phase, a->wgrad.slots, CVY_WRITE_CELL);
    NATIVE_TRY(cvy_plan_phase(plan, &phase));
    return cvyi_native_wgrad_fold(plan, &a->wgrad);
}

static enum cvy_status save_rows(struct native *native, struct cvy_plan *plan,
                                 const struct depthwise *a)
{
    struct native_made *made = cvy_plan_alloc(plan, sizeof *made);
    if (!made) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    *made = (struct native_made){ .saved = { .kind = NATIVE_SAVED_MADE, .value = a->dst.id },
                                  .arg = a,
                                  .rows = make_rows,
                                  .flops = native_conv_flops(native, &a->conv),
                                  .reads = reads };
    native_save(native, &made->saved);
    return CVY_OK;
}

static enum cvy_status plan(struct native *native, struct cvy_plan *plan,
                            const struct native_conv *conv)
{
    struct depthwise *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    const struct native_geometry *g = &conv->geometry;
    bool transposed = conv->pass == NATIVE_DATA;
    *a = (struct depthwise){ .native = native,
                             .conv = *g,
                             .src = transposed ? g->y : g->x,
                             .dst = transposed ? g->x : g->y,
                             .transposed = transposed,
                             .weight = conv->weight,
                             .bias = conv->bias };
    a->grid = native_grid_of(native, &a->dst);
    a->band = a->dst.w < BAND_PIXELS ? BAND_PIXELS / a->dst.w : 1;
    native_chose(plan, CHOICE_DEPTHWISE_BANDS, a->band < a->dst.h);
    if (!find_runs(plan, g, transposed, 0, &a->rows) ||
        !find_runs(plan, g, transposed, 1, &a->cols))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    a->made = made_floats(a);
    if (conv->pass == NATIVE_WEIGHTS) return plan_weights(native, plan, conv, a);
    bool made = transposed && g->oc == 1 && cvyi_backward_makes(plan, a->dst.id);
    if (native_chose(plan, CHOICE_MADE, made)) return save_rows(native, plan, a);
    struct cvy_phase_desc phase = { .name = conv->name,
                                    .run = multiply_run,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts,
                                    .scratch_bytes = a->made * sizeof(float),
                                    .flops = native_conv_flops(native, g) };
    if (g->oc == 1) native_cell_access(&phase, native, &a->src, a->grid, false);
    else native_access(&phase, a->src.id, CVY_READ_ALL);
    native_access(&phase, a->weight, CVY_READ_ALL);
    native_access(&phase, a->bias, CVY_READ_ALL);
    native_access(&phase, g->norm ? g->norm->affine : -1, native_read(a->grid));
    native_cell_access(&phase, native, &a->dst, a->grid, true);
    return cvy_plan_phase(plan, &phase);
}

static bool supports(const struct native_conv *conv)
{
    const struct native_geometry *g = &conv->geometry;
    if (g->groups < 2 || g->ic != 1) return false;
    if (conv->pass == NATIVE_DATA) return g->oc * g->taps <= MOST_PRODUCTS;
    return conv->pass == NATIVE_FORWARD || g->y.w <= BAND_PIXELS;
}

static double cost(const struct native *native, const struct native_conv *conv)
{
    const struct native_geometry *g = &conv->geometry;
    (void)native;
    return native_products(g) *
           (costs[conv->pass].first + costs[conv->pass].further * (double)(g->oc - 1));
}

/* Else each output channel of a group would make its source anew. */
static bool normalises(const struct native_conv *conv) { return conv->geometry.oc == 1; }

const struct native_algorithm cvyi_native_depthwise = { supports, normalises, cost, plan };
