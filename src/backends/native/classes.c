/* Edge classes: the pixels of a convolution's destination grouped by the set of taps that reach into the source, so that
 * borders are exact and no loop over taps has a test in it. The data gradient is the same with other sources: its taps
 * are those that stride and dilation let through. Knows geometry only, no weights and no kernels. */
#include "backends/native/conv.h"

#define REGION_BYTES ((size_t)256 * 1024) /* of the source; a half to a quarter of the L2 caches we know */
#define REGION_PIXELS ((size_t)24)        /* no region smaller: tiles run along pixels */

/* One dimension. Tap first + j * tap_step of position p reads source + j * source_step, j < count. Positions with equal
 * first and count are of one class. */
struct position { size_t class, source; };
struct class { size_t first, count; };
struct axis {
    size_t n, n_source, n_classes, tap_step;
    ptrdiff_t source_step;
    struct position *at;
    struct class *class;
};

static size_t gcd(size_t a, size_t b)
{
    while (b) {
        size_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* Source of tap k at position p; SIZE_MAX: none. */
static size_t source_of(const struct native_conv *c, bool mirror, int dim, size_t n_source, size_t p, size_t k)
{
    if (!mirror) {
        ptrdiff_t s = native_conv_source(c, dim, p, k);
        return s < 0 || (size_t)s >= n_source ? SIZE_MAX : (size_t)s;
    }
    size_t up = p + c->pad[dim], down = k * c->dilation[dim];
    if (up < down || (up - down) % c->stride[dim]) return SIZE_MAX;
    size_t s = (up - down) / c->stride[dim];
    return s >= n_source ? SIZE_MAX : s;
}

static bool axis_build(struct cvy_plan *plan, const struct native_conv *c, bool mirror, int dim, struct axis *axis)
{
    size_t x = dim ? c->x.w : c->x.h, y = dim ? c->y.w : c->y.h, common = gcd(c->stride[dim], c->dilation[dim]);
    *axis = (struct axis){ .n = mirror ? x : y, .n_source = mirror ? y : x,
                           .tap_step = mirror ? c->stride[dim] / common : 1 };
    axis->source_step = mirror ? -(ptrdiff_t)(c->dilation[dim] / common) : (ptrdiff_t)c->dilation[dim];
    axis->at = cvy_plan_alloc(plan, axis->n * sizeof *axis->at);
    axis->class = cvy_plan_alloc(plan, axis->n * sizeof *axis->class);
    if (!axis->at || !axis->class) return false;
    for (size_t p = 0; p < axis->n; p++) {
        struct class k = { 0, 0 };
        for (size_t tap = 0; tap < c->kernel[dim]; tap++) {
            size_t s = source_of(c, mirror, dim, axis->n_source, p, tap);
            if (s == SIZE_MAX) continue;
            if (!k.count++) {
                k.first = tap;
                axis->at[p].source = s;
            }
        }
        size_t i = 0;
        while (i < axis->n_classes && (axis->class[i].first != k.first || axis->class[i].count != k.count)) i++;
        if (i == axis->n_classes) axis->class[axis->n_classes++] = k;
        axis->at[p].class = i;
    }
    return true;
}

/* Tap offsets of a pair of classes, in the order of ascending sources: read backwards, a large map costs the data gradient
 * a third of its speed. */
static bool taps_build(struct cvy_plan *plan, const struct native_conv *c, const struct axis *row, const struct axis *col,
                       struct class r, struct class q, size_t mo, struct cvyi_mac *mac)
{
    size_t n = r.count * q.count, t = 0;
    int32_t *x_tap = cvy_plan_alloc(plan, (2 * n + 1) * sizeof *x_tap), *w_tap = x_tap + n;
    if (!x_tap) return false;
    for (size_t j = 0; j < r.count; j++)
        for (size_t i = 0; i < q.count; i++, t++) {
            ptrdiff_t source = (ptrdiff_t)j * row->source_step * (ptrdiff_t)col->n_source +
                               (ptrdiff_t)i * col->source_step;
            size_t at = row->source_step < 0 ? n - 1 - t : t;
            x_tap[at] = (int32_t)(source * CVYI_LANES);
            w_tap[at] = (int32_t)(native_conv_tap(c, r.first + j * row->tap_step, q.first + i * col->tap_step) * mo);
        }
    mac->n_taps = n;
    mac->x_tap = x_tap;
    mac->w_tap = w_tap;
    return true;
}

/* How many of n_source rows (columns) `size` neighbouring positions read. */
static size_t reach(const struct native_conv *c, bool mirror, int dim, size_t n_source, size_t size)
{
    size_t span = (c->kernel[dim] - 1) * c->dilation[dim];
    size_t n = mirror ? (size + span) / c->stride[dim] + 1 : (size - 1) * c->stride[dim] + span + 1;
    return n < n_source ? n : n_source;
}

/* Halves the region until its sources fit and there are enough of them. Rows first: they are what lies apart. */
static void region_size(const struct native_conv *c, bool mirror, const struct axis *row, const struct axis *col,
                        size_t chunk, size_t regions, size_t *rows, size_t *cols)
{
    size_t h = row->n, w = col->n;
    while (h * w > REGION_PIXELS) {
        size_t bytes = reach(c, mirror, 0, row->n_source, h) * reach(c, mirror, 1, col->n_source, w) * chunk *
                       CVYI_LANES * sizeof(float);
        if (bytes <= REGION_BYTES && ceil_div(row->n, h) * ceil_div(col->n, w) >= regions) break;
        if (h > 4 || w == 1) h = (h + 1) / 2;
        else w = (w + 1) / 2;
    }
    *rows = h;
    *cols = w;
}

/* The pixels of row class i and column class j inside [y0, y1) x [x0, x1), appended at *pix. */
static size_t pixels(const struct axis *row, const struct axis *col, size_t i, size_t j, const size_t box[4],
                     int32_t *x_pix, int32_t *y_pix)
{
    size_t n = 0;
    for (size_t y = box[0]; y < box[1]; y++) {
        if (row->at[y].class != i) continue;
        for (size_t x = box[2]; x < box[3]; x++) {
            if (col->at[x].class != j) continue;
            x_pix[n] = (int32_t)((row->at[y].source * col->n_source + col->at[x].source) * CVYI_LANES);
            y_pix[n++] = (int32_t)((y * col->n + x) * CVYI_LANES);
        }
    }
    return n;
}

enum cvy_status cvyi_native_classes(struct cvy_plan *plan, const struct native_conv *c, bool mirror, size_t mo,
                                    size_t chunk, size_t regions, struct native_classes *classes)
{
    struct axis row, col;
    if (!axis_build(plan, c, mirror, 0, &row) || !axis_build(plan, c, mirror, 1, &col)) goto out_of_memory;
    size_t pairs = row.n_classes * col.n_classes, rows, cols;
    region_size(c, mirror, &row, &col, chunk, regions, &rows, &cols);
    size_t down = ceil_div(row.n, rows), across = ceil_div(col.n, cols), n = 0;
    struct cvyi_mac *model = cvy_plan_alloc(plan, pairs * sizeof *model);
    int32_t *x_pix = cvy_plan_alloc(plan, row.n * col.n * sizeof *x_pix);
    int32_t *y_pix = cvy_plan_alloc(plan, row.n * col.n * sizeof *y_pix);
    classes->n_regions = down * across;
    classes->first = cvy_plan_alloc(plan, (classes->n_regions + 1) * sizeof *classes->first);
    classes->mac = cvy_plan_alloc(plan, classes->n_regions * pairs * sizeof *classes->mac);
    if (!model || !x_pix || !y_pix || !classes->first || !classes->mac) goto out_of_memory;
    for (size_t i = 0; i < pairs; i++)
        if (!taps_build(plan, c, &row, &col, row.class[i / col.n_classes], col.class[i % col.n_classes], mo, &model[i]))
            goto out_of_memory;
    for (size_t r = 0; r < classes->n_regions; r++) {
        size_t y0 = r / across * rows, x0 = r % across * cols;
        size_t box[4] = { y0, y0 + rows < row.n ? y0 + rows : row.n, x0, x0 + cols < col.n ? x0 + cols : col.n };
        classes->first[r] = n;
        for (size_t i = 0; i < pairs; i++) {
            struct cvyi_mac *mac = &classes->mac[n];
            *mac = model[i];
            mac->n_pix = pixels(&row, &col, i / col.n_classes, i % col.n_classes, box, x_pix, y_pix);
            if (!mac->n_pix) continue;
            mac->x_pix = x_pix;
            mac->y_pix = y_pix;
            x_pix += mac->n_pix;
            y_pix += mac->n_pix;
            n++;
        }
    }
    classes->first[classes->n_regions] = n;
    return CVY_OK;
out_of_memory:
    return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
}
