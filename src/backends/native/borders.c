/* Borders: the pixels of a convolution's destination grouped by the set of taps that reach into the
 * source, so that edges are exact and no loop over taps has a test in it. The data gradient is the
 * same with other sources: its taps are those that stride and dilation let through. Knows geometry
 * only, no weights and no kernels. */
#include "backends/native/geometry.h"

/* of the source; a half to a quarter of the L2 caches we know */
#define REGION_BYTES ((size_t)256 * 1024)
#define REGION_PIXELS ((size_t)24) /* no region smaller: tiles run along pixels */

static size_t gcd(size_t a, size_t b)
{
    while (b) {
        size_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* The x for which x * a leaves the remainder 1 when divided by m, which has no factor in common
 * with a. */
static size_t inverse(size_t a, size_t m)
{
    int64_t r0 = (int64_t)m, r1 = (int64_t)(a % m), x0 = 0, x1 = 1;
    while (r1 > 1) {
        int64_t q = r0 / r1, r = r0 - q * r1, x = x0 - q * x1;
        r0 = r1;
        r1 = r;
        x0 = x1;
        x1 = x;
    }
    if (m == 1) return 0;
    return (size_t)(x1 < 0 ? x1 + (int64_t)m : x1);
}

/* The taps of position p, and what the first of them reads. In the forward pass these are
 * neighbours. In the data gradient a tap k reads (p + pad - k * dilation) / stride, if that is
 * whole: every tap_step-th one, `turn` telling from which on. */
static struct native_border taps_of(const struct native_geometry *g, const struct native_axis *axis,
                                    bool transposed, int dim, size_t turn, size_t p, size_t *source)
{
    size_t dilation = g->dilation[dim], stride = g->stride[dim], pad = g->pad[dim],
           n = axis->n_source, first, end;
    size_t up = transposed ? p + pad : p * stride;
    if (transposed) {
        size_t common = stride / axis->tap_step,
               from = up < n * stride ? 0 : (up - n * stride) / dilation + 1;
        if (up % common) return (struct native_border){ 0, 0 };
        /* one tap that reads something whole */
        size_t k = up / common % axis->tap_step * turn % axis->tap_step;
        first = from + (k + axis->tap_step - from % axis->tap_step) % axis->tap_step;
        end = up / dilation + 1;
    } else {
        first = up < pad ? ceil_div(pad - up, dilation) : 0;
        end = up < n + pad ? (n + pad - up - 1) / dilation + 1 : 0;
    }
    if (end > axis->n_taps) end = axis->n_taps;
    if (first >= end) return (struct native_border){ 0, 0 };
    *source = transposed ? (up - first * dilation) / stride : up + first * dilation - pad;
    return (struct native_border){ first, (end - first - 1) / axis->tap_step + 1 };
}

/* As p grows, the taps that hit the source move one way; in the data gradient they do so for every
 * `stride`-th position, and those in between have other taps. So a border is a run of such
 * positions, but for the border without taps. */
bool cvyi_native_axis(struct cvy_plan *plan, const struct native_geometry *g, bool transposed,
                      int dim, struct native_axis *axis)
{
    size_t x = dim ? g->x.w : g->x.h, y = dim ? g->y.w : g->y.h,
           common = gcd(g->stride[dim], g->dilation[dim]);
    size_t none = SIZE_MAX;
    *axis = (struct native_axis){ .n = transposed ? x : y,
                                  .n_source = transposed ? y : x,
                                  .n_taps = g->kernel[dim],
                                  .period = transposed ? g->stride[dim] : 1,
                                  .tap_step = transposed ? g->stride[dim] / common : 1 };
    axis->source_step =
        transposed ? -(ptrdiff_t)(g->dilation[dim] / common) : (ptrdiff_t)g->dilation[dim];
    size_t turn = inverse(g->dilation[dim] / common, axis->tap_step);
    axis->at = cvy_plan_alloc(plan, axis->n * sizeof *axis->at);
    axis->border = cvy_plan_alloc(plan, axis->n * sizeof *axis->border);
    if (!axis->at || !axis->border) return false;
    for (size_t p = 0; p < axis->n; p++) {
        struct native_border k = taps_of(g, axis, transposed, dim, turn, p, &axis->at[p].source);
        size_t i = p < axis->period ? SIZE_MAX : axis->at[p - axis->period].border;
        if (!k.count) i = none;
        if (i == SIZE_MAX || axis->border[i].first != k.first || axis->border[i].count != k.count)
            axis->border[i = axis->n_borders++] = k;
        if (!k.count) none = i;
        axis->at[p].border = i;
        if (k.count > axis->most) axis->most = k.count;
    }
    return true;
}

/* ----------------------------------------------------------------------------------------- taps */

/* Lists of tap offsets that borders share. Sources depend on the numbers of taps alone, so that a
 * border of fewer rows reads the beginning of a list of more; places in the weight go by rows in
 * the order of their residues (the rows of one border are neighbours in it). Where sources
 * descend, both lists run backwards: in the order of ascending sources, since read the other way a
 * large map costs the data gradient a third of its speed. */
struct taps {
    const struct native_axis *row, *col;
    bool back;
    /* of a row's taps in the lists of weights: place[r] rows from the beginning */
    size_t *place;
    int32_t **source; /* by the number of columns, [row->most rows][columns] */
    int32_t **weight; /* by border of columns, [all rows][columns] */
};

static void place_rows(const struct native_axis *row, bool back, size_t *place)
{
    size_t n = 0;
    for (size_t residue = 0; residue < row->tap_step && residue < row->n_taps; residue++) {
        size_t rows = (row->n_taps - residue - 1) / row->tap_step + 1;
        for (size_t j = 0; j < rows; j++)
            place[residue + j * row->tap_step] = n + (back ? rows - 1 - j : j);
        n += rows;
    }
}

static bool build_sources(struct cvy_plan *plan, struct taps *t, size_t columns)
{
    size_t n = t->row->most * columns;
    if (t->source[columns]) return true;
    int32_t *list = t->source[columns] = cvy_plan_alloc(plan, n * sizeof *list);
    if (!list) return false;
    for (size_t k = 0; k < n; k++) {
        ptrdiff_t source =
            (ptrdiff_t)(k / columns) * t->row->source_step * (ptrdiff_t)t->col->n_source +
            (ptrdiff_t)(k % columns) * t->col->source_step;
        list[t->back ? n - 1 - k : k] = (int32_t)(source * CVYI_LANES);
    }
    return true;
}

static bool build_weights(struct cvy_plan *plan, const struct native_geometry *g, struct taps *t,
                          size_t border, size_t mo)
{
    struct native_border q = t->col->border[border];
    int32_t *list = t->weight[border] =
        cvy_plan_alloc(plan, t->row->n_taps * q.count * sizeof *list);
    if (!list) return false;
    for (size_t r = 0; r < t->row->n_taps; r++)
        for (size_t i = 0; i < q.count; i++) {
            size_t tap = native_tap(g, r, q.first + i * t->col->tap_step);
            list[t->place[r] * q.count + (t->back ? q.count - 1 - i : i)] = (int32_t)(tap * mo);
        }
    return true;
}

static bool taps_build(struct cvy_plan *plan, const struct native_geometry *g, struct taps *t,
                       size_t mo)
{
    t->back = t->row->source_step < 0;
    t->place = cvy_plan_alloc(plan, t->row->n_taps * sizeof *t->place);
    t->source = cvy_plan_alloc(plan, (t->col->most + 1) * sizeof *t->source);
    t->weight = cvy_plan_alloc(plan, t->col->n_borders * sizeof *t->weight);
    if (!t->place || !t->source || !t->weight) return false;
    place_rows(t->row, t->back, t->place);
    for (size_t q = 0; q < t->col->n_borders; q++)
        if (!build_sources(plan, t, t->col->border[q].count) || !build_weights(plan, g, t, q, mo))
            return false;
    return true;
}

/* The taps of row border i and column border j. */
static void taps_of_pair(const struct taps *t, size_t i, size_t j, struct cvyi_mac *mac)
{
    struct native_border r = t->row->border[i];
    size_t columns = t->col->border[j].count;
    mac->n_taps = r.count * columns;
    if (!mac->n_taps) return;
    size_t first = t->place[t->back ? r.first + (r.count - 1) * t->row->tap_step : r.first];
    mac->x_tap = t->source[columns] + (t->back ? (t->row->most - r.count) * columns : 0);
    mac->w_tap = t->weight[j] + first * columns;
}

/* -------------------------------------------------------------------------------------- regions */

/* How many of n_source rows (columns) `size` neighbouring positions read. */
static size_t reach(const struct native_geometry *g, bool transposed, int dim, size_t n_source,
                    size_t size)
{
    size_t span = (g->kernel[dim] - 1) * g->dilation[dim];
    size_t n =
        transposed ? (size + span) / g->stride[dim] + 1 : (size - 1) * g->stride[dim] + span + 1;
    return n < n_source ? n : n_source;
}

/* Halves the region until its sources fit and there are enough of them. Rows first: they are what
 * lies apart. */
static void region_size(const struct native_geometry *g, bool transposed,
                        const struct native_axis *row, const struct native_axis *col, size_t chunk,
                        size_t regions, size_t *rows, size_t *cols)
{
    size_t h = row->n, w = col->n;
    while (h * w > REGION_PIXELS) {
        size_t bytes = reach(g, transposed, 0, row->n_source, h) *
                       reach(g, transposed, 1, col->n_source, w) * chunk * CVYI_LANES *
                       sizeof(float);
        if (bytes <= REGION_BYTES && ceil_div(row->n, h) * ceil_div(col->n, w) >= regions) break;
        if (h > 4 || w == 1) h = (h + 1) / 2;
        else w = (w + 1) / 2;
    }
    *rows = h;
    *cols = w;
}

size_t cvyi_native_regions(const struct native_lanes *source, size_t chunk)
{
    return ceil_div(source->h * source->w * chunk * CVYI_LANES * sizeof(float), REGION_BYTES);
}

/* The positions of an axis, band after band of `size`, inside a band by border: runs of positions
 * of one border. */
struct run {
    size_t border, begin, end;
}; /* of at[] */
struct bands {
    size_t n, *first, n_runs; /* runs first[b] … first[b + 1] of band b */
    struct run *run;
    size_t *at;
};

static bool bands_build(struct cvy_plan *plan, const struct native_axis *axis, size_t size,
                        struct bands *b)
{
    /* 1 + the border's run in this band; 0: none */
    size_t *open = cvy_plan_alloc(plan, axis->n_borders * sizeof *open);
    *b = (struct bands){ .n = ceil_div(axis->n, size) };
    b->first = cvy_plan_alloc(plan, (b->n + 1) * sizeof *b->first);
    b->run = cvy_plan_alloc(plan, axis->n * sizeof *b->run);
    b->at = cvy_plan_alloc(plan, axis->n * sizeof *b->at);
    if (!open || !b->first || !b->run || !b->at) return false;
    for (size_t k = 0; k < b->n; k++) {
        size_t p0 = k * size, p1 = p0 + size < axis->n ? p0 + size : axis->n, at = p0;
        b->first[k] = b->n_runs;
        for (size_t p = p0; p < p1; p++) {
            size_t border = axis->at[p].border;
            if (!open[border]) {
                b->run[b->n_runs++] = (struct run){ .border = border };
                open[border] = b->n_runs;
            }
            b->run[open[border] - 1].end++; /* their number, for now */
        }
        for (size_t r = b->first[k]; r < b->n_runs; r++) {
            size_t n = b->run[r].end;
            b->run[r].begin = b->run[r].end = at;
            at += n;
        }
        for (size_t p = p0; p < p1; p++) b->at[b->run[open[axis->at[p].border] - 1].end++] = p;
        for (size_t r = b->first[k]; r < b->n_runs; r++) open[b->run[r].border] = 0;
    }
    b->first[b->n] = b->n_runs;
    return true;
}

/* Offsets of the pixels where a run of rows meets a run of columns. */
static size_t pixels(const struct taps *t, const struct bands *down, struct run r,
                     const struct bands *across, struct run q, int32_t *x_pix, int32_t *y_pix)
{
    size_t n = 0;
    for (size_t i = r.begin; i < r.end; i++)
        for (size_t j = q.begin; j < q.end; j++, n++) {
            size_t y = down->at[i], x = across->at[j];
            x_pix[n] = (int32_t)((t->row->at[y].source * t->col->n_source + t->col->at[x].source) *
                                 CVYI_LANES);
            y_pix[n] = (int32_t)((y * t->col->n + x) * CVYI_LANES);
        }
    return n;
}

/* The borders of a region's pixels, appended to mac. */
static size_t region(const struct taps *t, const struct bands *down, size_t i,
                     const struct bands *across, size_t j, int32_t **x_pix, int32_t **y_pix,
                     struct cvyi_mac *mac)
{
    size_t n = 0;
    for (size_t r = down->first[i]; r < down->first[i + 1]; r++)
        for (size_t q = across->first[j]; q < across->first[j + 1]; q++, n++) {
            mac[n] = (struct cvyi_mac){ .x_pix = *x_pix, .y_pix = *y_pix };
            taps_of_pair(t, down->run[r].border, across->run[q].border, &mac[n]);
            mac[n].n_pix = pixels(t, down, down->run[r], across, across->run[q], *x_pix, *y_pix);
            *x_pix += mac[n].n_pix;
            *y_pix += mac[n].n_pix;
        }
    return n;
}

enum cvy_status cvyi_native_borders(struct cvy_plan *plan, const struct native_geometry *g,
                                    bool transposed, size_t mo, size_t chunk, size_t regions,
                                    struct native_borders *borders)
{
    struct native_axis row, col;
    struct taps taps = { .row = &row, .col = &col };
    struct bands down, across;
    size_t rows, cols, n = 0;
    if (!cvyi_native_axis(plan, g, transposed, 0, &row) ||
        !cvyi_native_axis(plan, g, transposed, 1, &col) || !taps_build(plan, g, &taps, mo))
        goto out_of_memory;
    region_size(g, transposed, &row, &col, chunk, regions, &rows, &cols);
    native_chose(plan, CHOICE_REGIONS, rows < row.n || cols < col.n);
    native_chose(plan, CHOICE_NARROW, cols < col.n);
    if (!bands_build(plan, &row, rows, &down) || !bands_build(plan, &col, cols, &across))
        goto out_of_memory;
    int32_t *x_pix = cvy_plan_alloc(plan, row.n * col.n * sizeof *x_pix);
    int32_t *y_pix = cvy_plan_alloc(plan, row.n * col.n * sizeof *y_pix);
    borders->n_regions = down.n * across.n;
    borders->first = cvy_plan_alloc(plan, (borders->n_regions + 1) * sizeof *borders->first);
    borders->mac = cvy_plan_alloc(plan, down.n_runs * across.n_runs * sizeof *borders->mac);
    if (!x_pix || !y_pix || !borders->first || !borders->mac) goto out_of_memory;
    for (size_t r = 0; r < borders->n_regions; r++) {
        borders->first[r] = n;
        n += region(&taps, &down, r / across.n, &across, r % across.n, &x_pix, &y_pix,
                    borders->mac + n);
    }
    borders->first[borders->n_regions] = n;
    return CVY_OK;
out_of_memory:
    return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
}

enum cvy_status cvyi_native_borders_split(struct cvy_plan *plan, struct native_borders *borders,
                                          size_t pixels)
{
    const size_t threes = pixels / 3, n = borders->first[borders->n_regions];
    size_t regions = 0, r = 0, n_mac = 0, filled = 0;
    for (size_t k = 0; k < n; k++) regions += ceil_div(ceil_div(borders->mac[k].n_pix, 3), threes);
    size_t *first = cvy_plan_alloc(plan, (regions + 1) * sizeof *first);
    struct cvyi_mac *mac = cvy_plan_alloc(plan, regions * sizeof *mac);
    if (!first || !mac) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    for (size_t k = 0; k < n; k++) {
        const struct cvyi_mac *whole = &borders->mac[k];
        size_t units = ceil_div(whole->n_pix, 3), pieces = ceil_div(units, threes);
        for (size_t i = 0; i < pieces; i++, n_mac++) {
            struct native_range unit = native_share(units, i, pieces);
            size_t end = native_min(unit.end * 3, whole->n_pix);
            mac[n_mac] = *whole;
            mac[n_mac].x_pix += unit.begin * 3;
            mac[n_mac].y_pix += unit.begin * 3;
            mac[n_mac].n_pix = end - unit.begin * 3;
            if (!r || filled + mac[n_mac].n_pix > pixels) {
                first[r++] = n_mac;
                filled = 0;
            }
            filled += mac[n_mac].n_pix;
        }
    }
    first[r] = n_mac;
    *borders = (struct native_borders){ r, first, mac };
    return CVY_OK;
}
