/* Taps that fall into the padding are left out exactly: the output's pixels are cut into boxes in
 * which a tap is valid everywhere. */
#include "backends/native/wgrad.h"

/* pixels where all taps are valid, from which on they are taken together */
#define INTERIOR ((size_t)256)
#define FEW_CHANNELS ((size_t)2) /* fill the kernel's tile with their taps only */

/* ---------------------------------------------------------------------------------------- boxes */

struct native_range cvyi_native_tap_range(const struct native_geometry *c, int dim, size_t k)
{
    size_t n = dim ? c->y.w : c->y.h, n_source = dim ? c->x.w : c->x.h;
    size_t at = k * c->dilation[dim], pad = c->pad[dim], stride = c->stride[dim];
    size_t begin = at < pad ? ceil_div(pad - at, stride) : 0;
    size_t end = at < n_source + pad ? (n_source + pad - at - 1) / stride + 1 : 0;
    if (end > n) end = n;
    return begin < end ? (struct native_range){ begin, end } : (struct native_range){ 0, 0 };
}

/* Boxes as they are found; there is room for all that can be. */
struct boxes {
    const struct native_geometry *conv;
    struct native_box *box;
    size_t n, *tap, n_taps; /* tap: where the lists of taps are written, one behind the other */
};

/* Adds rows x cols with taps [ky, ky_end) x [kx, kx_end). */
static void add(struct boxes *b, struct native_range rows, struct native_range cols,
                struct native_range ky, struct native_range kx)
{
    if (rows.begin >= rows.end || cols.begin >= cols.end) return;
    struct native_box *box = &b->box[b->n++];
    *box = (struct native_box){ rows, cols, 0, b->tap + b->n_taps };
    for (size_t y = ky.begin; y < ky.end; y++)
        for (size_t x = kx.begin; x < kx.end; x++)
            b->tap[b->n_taps + box->n_taps++] = y * b->conv->kernel[1] + x;
    b->n_taps += box->n_taps;
}

/* The end of the taps with the range that tap k has. Ranges move one way, so these are
 * neighbours. */
static size_t alike(const struct native_range *range, size_t k, size_t n)
{
    size_t end = k + 1;
    while (end < n && range[end].begin == range[k].begin && range[end].end == range[k].end) end++;
    return end;
}

/* All (pixel, tap) pairs. Either taps with the same ranges share boxes; or all taps share the
 * pixels where all are valid, and each has the remaining strips for itself. The latter reads the
 * same rows for several taps and fills the kernel's tile where there are one or two input channels,
 * but sums the strips one by one, so small maps are better off without. */
static void add_all(struct boxes *b, const struct native_range *row, const struct native_range *col,
                    bool interior)
{
    const struct native_geometry *c = b->conv;
    size_t kh = c->kernel[0], kw = c->kernel[1];
    if (!interior) {
        for (size_t y = 0, y_end; y < kh; y = y_end) {
            y_end = alike(row, y, kh);
            for (size_t x = 0, x_end; x < kw; x = x_end) {
                x_end = alike(col, x, kw);
                add(b, row[y], col[x], (struct native_range){ y, y_end },
                    (struct native_range){ x, x_end });
            }
        }
        return;
    }
    struct native_range rows = row[0], cols = col[0];
    for (size_t k = 0; k < kh; k++) rows = native_meet(rows, row[k]);
    for (size_t k = 0; k < kw; k++) cols = native_meet(cols, col[k]);
    add(b, rows, cols, (struct native_range){ 0, kh }, (struct native_range){ 0, kw });
    for (size_t t = 0; t < c->taps; t++) {
        struct native_range r = row[t / kw], q = col[t % kw], ky = { t / kw, t / kw + 1 },
                            kx = { t % kw, t % kw + 1 };
        add(b, (struct native_range){ r.begin, rows.begin }, q, ky, kx);
        add(b, (struct native_range){ rows.end, r.end }, q, ky, kx);
        add(b, rows, (struct native_range){ q.begin, cols.begin }, ky, kx);
        add(b, rows, (struct native_range){ cols.end, q.end }, ky, kx);
    }
}

/* Whether taps share the pixels where all of them are valid. */
static bool has_interior(const struct native_geometry *c, const struct native_range *row,
                         const struct native_range *col)
{
    struct native_range rows = row[0], cols = col[0];
    for (size_t k = 0; k < c->kernel[0]; k++) rows = native_meet(rows, row[k]);
    for (size_t k = 0; k < c->kernel[1]; k++) cols = native_meet(cols, col[k]);
    if (rows.begin >= rows.end || cols.begin >= cols.end) return false;
    return c->ic <= FEW_CHANNELS || (rows.end - rows.begin) * (cols.end - cols.begin) >= INTERIOR;
}

static bool build_taps(struct cvy_plan *plan, struct native_wgrad *a)
{
    const struct native_geometry *c = &a->conv;
    ptrdiff_t *x = cvy_plan_alloc(plan, c->taps * sizeof *x);
    for (size_t t = 0; x && t < c->taps; t++) {
        ptrdiff_t row = (ptrdiff_t)(t / c->kernel[1] * c->dilation[0]) - (ptrdiff_t)c->pad[0];
        ptrdiff_t col = (ptrdiff_t)(t % c->kernel[1] * c->dilation[1]) - (ptrdiff_t)c->pad[1];
        x[t] = (row * (ptrdiff_t)c->x.w + col) * CVYI_LANES;
    }
    a->tap_x = x;
    return x;
}

bool cvyi_native_wgrad_boxes(struct cvy_plan *plan, struct native_wgrad *a)
{
    const struct native_geometry *c = &a->conv;
    struct native_range *row = cvy_plan_alloc(plan, c->kernel[0] * sizeof *row);
    struct native_range *col = cvy_plan_alloc(plan, c->kernel[1] * sizeof *col);
    if (!row || !col || !build_taps(plan, a)) return false;
    for (size_t k = 0; k < c->kernel[0]; k++) row[k] = cvyi_native_tap_range(c, 0, k);
    for (size_t k = 0; k < c->kernel[1]; k++) col[k] = cvyi_native_tap_range(c, 1, k);
    bool interior = native_chose(plan, CHOICE_INTERIOR, has_interior(c, row, col));
    size_t most = interior ? 4 * c->taps + 1 : c->taps;
    struct boxes b = { .conv = c,
                       .box = cvy_plan_alloc(plan, most * sizeof *b.box),
                       .tap = cvy_plan_alloc(plan, (interior ? 5 : 1) * c->taps * sizeof *b.tap) };
    if (!b.box || !b.tap) return false;
    add_all(&b, row, col, interior);
    a->box = b.box;
    a->n_box = b.n;

    size_t width = native_min(c->y.w, ROW_LIMIT);
    a->strip = SHARED_PIXELS / width ? SHARED_PIXELS / width : 1;
    native_chose(plan, CHOICE_CALLS, c->ic > CALL_CHANNELS);
    native_chose(plan, CHOICE_STRIP_ROWS, a->strip > 1);
    native_chose(plan, CHOICE_LONG_ROWS, c->y.w > ROW_LIMIT);
    return true;
}
