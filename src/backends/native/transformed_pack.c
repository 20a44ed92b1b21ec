/* Transformed copies of weights: each kernel, or each row of one, at every point; refreshed like
 * all packings by the update and by whoever sets a weight. */
#include <string.h>

#include "backends/native/transformed.h"

#define COLUMNS ((size_t)256)          /* kernels that are transformed at a time, … */
#define WIDTH (COLUMNS + NATIVE_LANES) /* … and what a whole register reads behind them */
#define ASK_AHEAD ((size_t)4)

/* What is transformed together: so many taps, to so many points; so many of them make a kernel. */
struct form {
    cvyi_winograd_taps_fn *gather;
    cvyi_winograd_weights_fn *weights;
    cvyi_stream_fn *store;
    size_t points, taps, rows;
    bool transposed, turned; /* turned: the last tap first */
};

/* Kernels of channels x columns, at weight + c*channel + k*column. */
struct kernels {
    const float *weight;
    size_t channel, column, channels, columns;
};

/* Rows [row, row + n) of the kernels' columns, w[tap][row][column]. Rows that lie one behind the
 * other, and are not turned, go together. */
static void gather(float (*w)[WIDTH], const struct form *f, const struct kernels *from, size_t row,
                   size_t n, size_t mo)
{
    const bool one = !f->turned && from->channel == f->rows * f->taps;
    struct cvyi_winograd_taps g = { .rows = one ? n : 1,
                                    .taps = f->taps,
                                    .columns = from->columns,
                                    .column = from->column,
                                    .w_tap = f->turned ? -(ptrdiff_t)WIDTH : (ptrdiff_t)WIDTH,
                                    .w_row = (ptrdiff_t)mo };
    for (size_t r = 0; r < n; r += g.rows) {
        const size_t kernel = (row + r) / f->rows, line = (row + r) % f->rows;
        const float *at = from->weight + kernel * from->channel +
                          (f->turned ? f->rows - 1 - line : line) * f->taps;
        if (f->transposed && kernel + ASK_AHEAD < from->channels)
            native_ask(at + ASK_AHEAD * from->channel,
                       ceil_div((from->columns - 1) * from->column + f->taps, NATIVE_LANES),
                       NATIVE_LANES);
        f->gather(w[f->turned ? f->taps - 1 : 0] + r * mo, &g, at);
    }
}

static void store(float *dst, size_t dst_row, const float *src, size_t src_row, size_t rows,
                  size_t n)
{
    for (size_t r = 0; r < rows; r++) memcpy(dst + r * dst_row, src + r * src_row, n * sizeof *dst);
}

/* To packed[row*mo + column] at every point. */
static void fill_block(const struct form *f, float *packed, size_t plane, size_t mo,
                       const struct kernels *from)
{
    float w[TAPS][WIDTH], u[POINTS][WIDTH];
    const size_t step = COLUMNS / mo, rows = from->channels * f->rows;
    const bool whole = from->columns == mo;
    memset(w, 0, sizeof w);
    for (size_t row = 0; row < rows; row += step) {
        const size_t n = native_min(step, rows - row);
        gather(w, f, from, row, n, mo);
        f->weights(u[0], WIDTH, w[0], WIDTH, n * mo);
        for (size_t r = 0; r < (whole ? 1 : n); r++)
            f->store(packed + (row + r) * mo, plane, u[0] + r * mo, WIDTH, f->points,
                     whole ? n * mo : from->columns);
    }
}

/* Those of channels out x in of a group: what is summed over are the kernels' channels. */
static struct kernels kernels_of(const struct native_packing *p, const float *weight, size_t group,
                                 struct native_range out, struct native_range in)
{
    const struct form *f = p->arg;
    const size_t row = p->ic * p->taps, n_out = out.end - out.begin, n_in = in.end - in.begin;
    weight += (group * p->oc + out.begin) * row + in.begin * p->taps;
    return f->transposed ? (struct kernels){ weight, row, p->taps, n_out, n_in }
                         : (struct kernels){ weight, p->taps, row, n_in, n_out };
}

void cvyi_native_transformed_make(const struct native_transformed_weights *weights,
                                  const float *weight, const struct native_tile *t,
                                  struct native_range channels, float *u)
{
    const struct native_packing *p = weights->made;
    const struct form *f = p->arg;
    const struct native_range columns = { t->c0, t->c0 + t->n };
    const struct kernels from = f->transposed ? kernels_of(p, weight, t->group, channels, columns)
                                              : kernels_of(p, weight, t->group, columns, channels);
    const size_t mo = weights->mo, step = COLUMNS / mo, n = from.channels * f->rows;
    float w[TAPS][WIDTH];
    memset(w, 0, sizeof w);
    for (size_t k = 0; k < n; k += step) {
        const size_t rows = native_min(step, n - k);
        gather(w, f, &from, k, rows, mo);
        f->weights(u + k * mo, weights->plane, w[0], WIDTH, rows * mo);
    }
}

/* The tiles of columns, and the rows, that rows o of the weight belong to. */
static void fill(const struct native_packing *p, const float *weight, float *packed,
                 struct native_range o, struct native_range k)
{
    const struct form *f = p->arg;
    const size_t mo = (size_t)p->mo, plane = p->n_tiles * p->k / f->points * mo;
    (void)k;
    for (size_t i = 0; i < p->n_tiles; i++) {
        const struct native_tile *t = &p->tiles[i];
        const size_t first = t->group * p->oc;
        struct native_range mine = { first, first + p->oc };
        if (!f->transposed) mine = (struct native_range){ first + t->c0, first + t->c0 + t->n };
        mine = native_meet(mine, o);
        if (mine.begin >= mine.end) continue;
        const struct native_range out = { mine.begin - first, mine.end - first };
        struct native_range in = { 0, p->ic };
        size_t to = out.begin - t->c0;
        if (f->transposed) {
            in = (struct native_range){ t->c0, t->c0 + t->n };
            to = out.begin * f->rows * mo;
        }
        const struct kernels from = kernels_of(p, weight, t->group, out, in);
        fill_block(f, packed + t->offset + to, plane, mo, &from);
    }
}

static struct native_tile *build_tiles(struct cvy_plan *plan, size_t groups, size_t dst_group,
                                       size_t mo, size_t products, size_t *n_tiles)
{
    const size_t per = ceil_div(dst_group, mo);
    struct native_tile *tiles = cvy_plan_alloc(plan, groups * per * sizeof *tiles);
    for (size_t i = 0; tiles && i < groups * per; i++) {
        size_t c0 = i % per * mo;
        tiles[i] =
            (struct native_tile){ i / per, c0, native_min(mo, dst_group - c0), i * products * mo };
    }
    *n_tiles = groups * per;
    return tiles;
}

enum cvy_status cvyi_native_transformed_pack(struct native *native, struct cvy_plan *plan,
                                             const struct native_conv *conv, size_t pixels,
                                             size_t make,
                                             struct native_transformed_weights *weights)
{
    const struct native_geometry *g = &conv->geometry;
    const struct cvyi_winograd_kernels *k = native->kernels->winograd;
    const bool transposed = conv->pass == NATIVE_DATA;
    const size_t src = transposed ? g->oc : g->ic, dst = transposed ? g->ic : g->oc;
    struct form *f = cvy_plan_alloc(plan, sizeof *f);
    if (!f) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    /* the data gradient by rows is an adjoint, that of F(4x4, 3x3) a convolution turned round */
    if (native_by_rows(conv))
        *f = (struct form){ .weights = k->row_weights[native_row_kernel(g)],
                            .points = native_row_points(g),
                            .taps = g->kernel[1],
                            .rows = g->kernel[0],
                            .transposed = transposed,
                            .turned = g->flip };
    else
        *f = (struct form){ .weights = k->weights,
                            .points = POINTS,
                            .taps = TAPS,
                            .rows = 1,
                            .transposed = transposed,
                            .turned = g->flip != transposed };
    f->gather = k->taps;
    const struct cvyi_mac_tile *tile = cvyi_native_mac_tile(native->kernels->mac, dst, pixels);
    weights->mac = tile->fn;
    weights->mo = (size_t)tile->mo;
    weights->tiles =
        build_tiles(plan, g->groups, dst, weights->mo, src * f->rows, &weights->n_tiles);
    if (!weights->tiles) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    weights->plane = weights->n_tiles * src * f->rows * weights->mo;
    const size_t bytes = f->points * weights->plane * sizeof(float);
    const bool streamed = native_chose(plan, CHOICE_STREAMED, bytes > CACHED_BYTES);
    f->store = streamed ? native->kernels->update->stream : store;
    struct native_packing packing = { .fill = fill,
                                      .mo = tile->mo,
                                      .groups = g->groups,
                                      .oc = g->oc,
                                      .ic = g->ic,
                                      .taps = g->taps,
                                      .k = src * f->rows * f->points,
                                      .n_tiles = weights->n_tiles,
                                      .tiles = weights->tiles,
                                      .arg = f };
    if (make) {
        struct native_packing *made = cvy_plan_alloc(plan, sizeof *made);
        if (!made) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
        *made = packing;
        weights->made = made;
        weights->packed = -1;
        weights->plane = native_point(ceil_div(make * f->rows * weights->mo, NATIVE_LANES) + 1, 1);
        return CVY_OK;
    }
    const char *name = transposed ? "transformed.transposed" : "transformed";
    NATIVE_TRY(cvyi_native_pack(native, plan, name, conv->weight, &packing));
    weights->packed = packing.buffer;
    return CVY_OK;
}
