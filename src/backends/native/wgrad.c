/* Weight and bias gradients of a convolution, by one of three plans, chosen by shape alone:
 *
 *  outer  output maps of a few pixels (fully connected and the last layers of deep nets): dy is transposed once, then
 *         sums run over images; tasks own ranges of weights
 *  slots  few weights: every block of images (or band of its rows) sums its own copy of dw, the copies are folded in
 *         order, in double
 *  owned  many weights: tasks own ranges of channels and walk over all images; no copies
 *
 * Taps that fall into the padding are left out exactly: pixels are cut into boxes in which a tap is valid everywhere. */
#include "backends/native/conv.h"

#include <string.h>

#define OUTER_PIXELS ((size_t)8)     /* output maps smaller than this are `outer` */
#define OUTER_BLOCKS ((size_t)64)    /* the kernel's limit */
#define OUTER_FLOATS ((size_t)32768) /* weights of a task, in its scratch */
#define OWNED_WEIGHTS ((size_t)98304) /* from which on tasks own them: a copy of fewer fits an L2 cache */
#define OWNED_TASKS ((size_t)48)
#define SHARED_PIXELS ((size_t)192)   /* pixels of a kernel call whose taps read the same rows: they and dy fit L1 */
#define TAP_PIXELS ((size_t)64)       /* of one whose pointers are as many channels */
#define INTERIOR ((size_t)256)        /* pixels where all taps are valid, from which on they are taken together */
#define ROW_LIMIT ((size_t)1024)     /* the kernel's limit */
#define BAND_PIXELS ((size_t)32)
#define BAND_CHANNELS ((size_t)4)

static const float ones[CVYI_LANES] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };

/* A box of output pixels with the taps that are valid in all of it. dy: its first pixel; x[t], dw[t] for tap t; all
 * offsets in floats. */
struct box {
    size_t n_rows, n_cols, n_taps;
    size_t dy;
    const size_t *x, *dw;
};

struct wgrad_arg {
    const struct native *native;
    struct native_conv conv;
    int dw, db;
    /* slots, owned */
    struct box *box;         /* dw; then one list of boxes without taps that covers the map, for db */
    size_t n_box, n_cover;
    size_t parts, bands;     /* slots: tasks of a block: ranges of channels x ranges of boxes */
    size_t *band_box;        /* boxes of band i: band_box[i] … ; n_box.. likewise for the cover */
    size_t *band_cover;
    int slots;
    size_t slot;             /* floats of a slot: dw, db */
    size_t fold_tasks;
    size_t o_step, i_step, o_ranges, i_ranges; /* owned, outer: a task's channels, their number */
    /* outer */
    int dyt;
    size_t dyt_group, dyt_n; /* padded channels of a group, of all */
};

static size_t min(size_t a, size_t b) { return a < b ? a : b; }

static size_t n_weights(const struct native_conv *c) { return c->groups * c->oc * c->ic * c->taps; }

/* ------------------------------------------------------------------------------------------------ boxes */

/* Output rows (columns) for which tap k lies inside the map. */
static struct native_range tap_range(const struct native_conv *c, int dim, size_t k)
{
    size_t n = dim ? c->y.w : c->y.h, n_source = dim ? c->x.w : c->x.h;
    struct native_range r = { 0, 0 };
    for (size_t p = 0; p < n; p++) {
        ptrdiff_t s = native_conv_source(c, dim, p, k);
        if (s < 0 || (size_t)s >= n_source) continue;
        if (r.begin == r.end) r.begin = p;
        r.end = p + 1;
    }
    return r;
}

/* A growing list of boxes; with boxes NULL it only counts. */
struct boxes {
    struct cvy_plan *plan;
    const struct native_conv *conv;
    struct box *box;
    size_t n, rows;   /* rows: the most that a box may have */
    bool failed;
};

/* Adds rows x cols with the taps listed, cut into boxes the kernel can take. */
static void add(struct boxes *b, struct native_range rows, struct native_range cols, const size_t (*tap)[2], size_t n_taps)
{
    const struct native_conv *c = b->conv;
    if (rows.begin >= rows.end || cols.begin >= cols.end) return;
    size_t width = min(cols.end - cols.begin, ROW_LIMIT);
    size_t pixels = n_taps == 1 ? TAP_PIXELS : SHARED_PIXELS, height = pixels / width ? pixels / width : 1;
    if (height > b->rows) height = b->rows;
    for (size_t y = rows.begin; y < rows.end; y += height)
        for (size_t x = cols.begin; x < cols.end; x += width, b->n++) {
            if (!b->box) continue;
            size_t *offset = cvy_plan_alloc(b->plan, (2 * n_taps + 1) * sizeof *offset);
            if (!offset) {
                b->failed = true;
                return;
            }
            for (size_t t = 0; t < n_taps; t++) {
                size_t sy = (size_t)native_conv_source(c, 0, y, tap[t][0]);
                size_t sx = (size_t)native_conv_source(c, 1, x, tap[t][1]);
                offset[t] = (sy * c->x.w + sx) * NATIVE_LANES;
                offset[n_taps + t] = native_conv_tap(c, tap[t][0], tap[t][1]);
            }
            b->box[b->n] = (struct box){ .n_rows = min(height, rows.end - y), .n_cols = min(width, cols.end - x),
                                         .n_taps = n_taps, .dy = (y * c->y.w + x) * NATIVE_LANES,
                                         .x = offset, .dw = offset + n_taps };
        }
}

static struct native_range meet(struct native_range a, struct native_range b)
{
    return (struct native_range){ a.begin > b.begin ? a.begin : b.begin, min(a.end, b.end) };
}

/* All (pixel, tap) pairs. Either taps with the same ranges share boxes; or all taps share the pixels where all are valid,
 * and each has the remaining strips for itself. The latter reads the same rows for several taps and fills the kernel's
 * tile where there are one or two input channels, but sums the strips one by one, so small maps are better off without. */
static void add_all(struct boxes *b, const struct native_range *row, const struct native_range *col, size_t (*tap)[2])
{
    const struct native_conv *c = b->conv;
    size_t kh = c->kernel[0], kw = c->kernel[1];
    struct native_range rows = row[0], cols = col[0];
    for (size_t k = 0; k < kh; k++) rows = meet(rows, row[k]);
    for (size_t k = 0; k < kw; k++) cols = meet(cols, col[k]);
    bool interior = rows.begin < rows.end && cols.begin < cols.end;
    if (interior && (c->ic <= 2 || (rows.end - rows.begin) * (cols.end - cols.begin) >= INTERIOR)) {
        for (size_t t = 0; t < c->taps; t++) tap[t][0] = t / kw, tap[t][1] = t % kw;
        add(b, rows, cols, (const size_t (*)[2])tap, c->taps);
        for (size_t t = 0; t < c->taps; t++) {
            const size_t (*one)[2] = (const size_t (*)[2])&tap[t];
            struct native_range r = row[t / kw], q = col[t % kw];
            add(b, (struct native_range){ r.begin, rows.begin }, q, one, 1);
            add(b, (struct native_range){ rows.end, r.end }, q, one, 1);
            add(b, rows, (struct native_range){ q.begin, cols.begin }, one, 1);
            add(b, rows, (struct native_range){ cols.end, q.end }, one, 1);
        }
        return;
    }
    for (size_t ky = 0; ky < kh; ky++)
        for (size_t kx = 0; kx < kw; kx++) {
            /* The first tap of its kind stands for all. */
            size_t n = 0;
            for (size_t t = 0; t < c->taps; t++) {
                struct native_range r = row[t / kw], q = col[t % kw];
                if (r.begin != row[ky].begin || r.end != row[ky].end || q.begin != col[kx].begin ||
                    q.end != col[kx].end)
                    continue;
                tap[n][0] = t / kw, tap[n][1] = t % kw;
                n++;
            }
            if (tap[0][0] == ky && tap[0][1] == kx) add(b, row[ky], col[kx], (const size_t (*)[2])tap, n);
        }
}

/* Boxes, sorted by first row, and the first box of every band. */
static bool band_starts(struct cvy_plan *plan, const struct wgrad_arg *a, struct box *box, size_t n, size_t **starts)
{
    size_t *first = *starts = cvy_plan_alloc(plan, (a->bands + 1) * sizeof *first);
    if (!first) return false;
    size_t row_floats = a->conv.y.w * NATIVE_LANES, i = 0;
    for (size_t k = 1; k < n; k++) /* insertion: nearly sorted, and stable */
        for (size_t j = k; j > 0 && box[j - 1].dy / row_floats > box[j].dy / row_floats; j--) {
            struct box swap = box[j];
            box[j] = box[j - 1];
            box[j - 1] = swap;
        }
    for (size_t band = 0; band < a->bands; band++) {
        while (i < n && box[i].dy / row_floats < a->conv.y.h * band / a->bands) i++;
        first[band] = i;
    }
    first[a->bands] = n;
    return true;
}

static bool build_boxes(struct cvy_plan *plan, struct wgrad_arg *a)
{
    const struct native_conv *c = &a->conv;
    struct native_range *row = cvy_plan_alloc(plan, c->kernel[0] * sizeof *row);
    struct native_range *col = cvy_plan_alloc(plan, c->kernel[1] * sizeof *col);
    size_t (*tap)[2] = cvy_plan_alloc(plan, c->taps * sizeof *tap);
    if (!row || !col || !tap) return false;
    for (size_t k = 0; k < c->kernel[0]; k++) row[k] = tap_range(c, 0, k);
    for (size_t k = 0; k < c->kernel[1]; k++) col[k] = tap_range(c, 1, k);
    struct native_range all[2] = { { 0, c->y.h }, { 0, c->y.w } };
    struct boxes b = { .plan = plan, .conv = c, .rows = ceil_div(c->y.h, a->bands) };
    add_all(&b, row, col, tap);
    a->n_box = b.n;
    add(&b, all[0], all[1], NULL, 0);
    a->n_cover = b.n - a->n_box;
    b.box = a->box = cvy_plan_alloc(plan, b.n * sizeof *a->box);
    if (!b.box) return false;
    b.n = 0;
    add_all(&b, row, col, tap);
    add(&b, all[0], all[1], NULL, 0);
    return !b.failed && band_starts(plan, a, a->box, a->n_box, &a->band_box) &&
           band_starts(plan, a, a->box + a->n_box, a->n_cover, &a->band_cover);
}

/* ------------------------------------------------------------------------------------------------ by pixels */

/* Adds the boxes of a band, for channels [o0, o1) x [i0, i1) of a group, to dw and db (NULL: not wanted), whose first
 * elements are those of the whole layer. */
static void accumulate(const struct wgrad_arg *a, const struct cvy_run *run, size_t block, size_t band, size_t group,
                       struct native_range o, struct native_range i, float *dw, float *db, void *scratch)
{
    const struct native_conv *c = &a->conv;
    size_t n = (i.end - i.begin) * c->taps, out = group * c->oc + o.begin;
    const float **x = scratch;
    ptrdiff_t *dw_i = (ptrdiff_t *)(x + n);
    const float *x0 = native_at(run, &c->x, block, group * c->ic), *dy = native_at(run, &c->y, block, out);
    struct cvyi_wgrad g = {
        .n_oc = o.end - o.begin, .dy_oc = (ptrdiff_t)(c->y.plane * NATIVE_LANES),
        .dy_row = (ptrdiff_t)(c->y.w * NATIVE_LANES), .dy_col = CVYI_LANES,
        .x_row = (ptrdiff_t)(c->stride[0] * c->x.w * NATIVE_LANES), .x_col = (ptrdiff_t)(c->stride[1] * NATIVE_LANES),
        .dw_oc = (ptrdiff_t)(c->ic * c->taps), .accumulate = true,
    };
    for (size_t k = a->band_box[band]; k < a->band_box[band + 1]; k++) {
        const struct box *box = &a->box[k];
        size_t m = 0;
        for (size_t q = i.begin; q < i.end; q++)
            for (size_t t = 0; t < box->n_taps; t++, m++) {
                x[m] = x0 + q * c->x.plane * NATIVE_LANES + box->x[t];
                dw_i[m] = (ptrdiff_t)(q * c->taps + box->dw[t]);
            }
        g.n_i = m;
        g.n_rows = box->n_rows;
        g.n_cols = box->n_cols;
        a->native->kernels->wgrad->wgrad(&g, dy + box->dy, x, dw_i, dw + out * c->ic * c->taps);
    }
    if (!db) return;
    x[0] = ones;
    dw_i[0] = 0;
    g.n_i = 1;
    g.x_row = g.x_col = 0;
    g.dw_oc = 1;
    for (size_t k = a->band_cover[band]; k < a->band_cover[band + 1]; k++) {
        const struct box *box = &a->box[a->n_box + k];
        g.n_rows = box->n_rows;
        g.n_cols = box->n_cols;
        a->native->kernels->wgrad->wgrad(&g, dy + box->dy, x, dw_i, db + out);
    }
}

static void slots_run(const void *arg, const struct cvy_run *run, size_t task, struct cvy_worker *worker)
{
    const struct wgrad_arg *a = arg;
    const struct native_conv *c = &a->conv;
    size_t band = task % a->bands, part = task / a->bands % a->parts, block = task / a->bands / a->parts;
    if (block >= native_blocks_in_use(run)) return;
    size_t channels = c->groups * c->oc, row = c->ic * c->taps;
    size_t o0 = channels * part / a->parts, o1 = channels * (part + 1) / a->parts;
    float *dw = (float *)run->buf[a->slots] + (block * a->bands + band) * a->slot;
    float *db = a->db < 0 ? NULL : dw + channels * row;
    memset(dw + o0 * row, 0, (o1 - o0) * row * sizeof(float));
    if (db) memset(db + o0, 0, (o1 - o0) * sizeof(float));
    for (size_t o = o0; o < o1;) {
        size_t group = o / c->oc, end = min((group + 1) * c->oc, o1);
        accumulate(a, run, block, band, group, (struct native_range){ o - group * c->oc, end - group * c->oc },
                   (struct native_range){ 0, c->ic }, dw, db, worker->scratch);
        o = end;
    }
}

/* Elements [begin, end) of dw and db, taken as one array. */
static void fold_run(const void *arg, const struct cvy_run *run, size_t task, struct cvy_worker *worker)
{
    const struct wgrad_arg *a = arg;
    (void)worker;
    size_t weights = n_weights(&a->conv), vectors = a->slot / NATIVE_LANES;
    size_t total = weights + (a->db < 0 ? 0 : a->conv.groups * a->conv.oc);
    size_t begin = vectors * task / a->fold_tasks * NATIVE_LANES;
    size_t end = min(vectors * (task + 1) / a->fold_tasks * NATIVE_LANES, total), middle = min(end, weights);
    size_t n = native_blocks_in_use(run) * a->bands;
    const float *slots = run->buf[a->slots];
    cvyi_fold_fn *fold = a->native->kernels->update->fold;
    if (begin < middle) fold((float *)run->buf[a->dw] + begin, slots + begin, n, a->slot, middle - begin);
    if (begin < middle) begin = middle;
    if (begin < end) fold((float *)run->buf[a->db] + (begin - weights), slots + begin, n, a->slot, end - begin);
}

/* What an owning task (owned, outer) owns: channels o x i of a group. */
static size_t own(const struct wgrad_arg *a, size_t task, struct native_range *o, struct native_range *i)
{
    size_t oi = task / a->i_ranges % a->o_ranges, ii = task % a->i_ranges;
    *o = (struct native_range){ oi * a->o_step, min((oi + 1) * a->o_step, a->conv.oc) };
    *i = (struct native_range){ ii * a->i_step, min((ii + 1) * a->i_step, a->conv.ic) };
    return task / a->i_ranges / a->o_ranges;
}

static void owned_run(const void *arg, const struct cvy_run *run, size_t task, struct cvy_worker *worker)
{
    const struct wgrad_arg *a = arg;
    const struct native_conv *c = &a->conv;
    struct native_range o, i;
    size_t group = own(a, task, &o, &i), out = group * c->oc;
    float *dw = run->buf[a->dw], *db = i.begin ? NULL : native_buf(run, a->db);
    for (size_t k = o.begin; k < o.end; k++)
        memset(dw + ((out + k) * c->ic + i.begin) * c->taps, 0, (i.end - i.begin) * c->taps * sizeof(float));
    if (db) memset(db + out + o.begin, 0, (o.end - o.begin) * sizeof(float));
    size_t blocks = native_blocks_in_use(run);
    for (size_t block = 0; block < blocks; block++)
        accumulate(a, run, block, 0, group, o, i, dw, db, worker->scratch);
}

/* ------------------------------------------------------------------------------------------------ outer */

/* dyt[pixel][image][channel, groups padded to 16] of one block, `n` output channels from `o` on in each group. */
static void transpose_block(const struct wgrad_arg *a, const struct cvy_run *run, size_t block, size_t o, size_t n,
                            float *dyt)
{
    const struct native_conv *c = &a->conv;
    for (size_t pixel = 0; pixel < c->y.h * c->y.w; pixel++)
        for (size_t group = 0; group < c->groups; group++) {
            float *dst = dyt + group * a->dyt_group + (pixel * a->native->blocks + block) * NATIVE_LANES * a->dyt_n;
            const float *src = native_at(run, &c->y, block, group * c->oc + o) + pixel * NATIVE_LANES;
            a->native->kernels->lanes->transpose(dst, a->dyt_n, src, c->y.plane * NATIVE_LANES, n, a->dyt_group);
        }
}

static void transpose_run(const void *arg, const struct cvy_run *run, size_t task, struct cvy_worker *worker)
{
    const struct wgrad_arg *a = arg;
    (void)worker;
    if (task < native_blocks_in_use(run)) transpose_block(a, run, task, 0, a->conv.oc, run->buf[a->dyt]);
}

/* sums += over all images, for one (pixel, tap) */
static void outer_pixel(const struct wgrad_arg *a, const struct cvy_run *run, const float *dyt, const float *x,
                        struct cvyi_outer g, float *sums)
{
    size_t blocks = native_blocks_in_use(run);
    for (size_t b = 0; b < blocks; b += OUTER_BLOCKS) {
        g.n_blocks = min(blocks - b, OUTER_BLOCKS);
        g.accumulate |= b > 0;
        a->native->kernels->wgrad->outer(&g, dyt + b * NATIVE_LANES * a->dyt_n, x + b * g.x_block, sums);
    }
}

/* sums[q][n_oc] to row k of dw at q, k < rows, q < n. */
static void outer_store(const struct wgrad_arg *a, float *dw, size_t row, const float *sums, size_t n_oc, size_t rows,
                        size_t n)
{
    for (size_t k = 0; k < rows; k += NATIVE_LANES) {
        size_t end = min(k + NATIVE_LANES, rows), whole = end - k == NATIVE_LANES ? n / NATIVE_LANES * NATIVE_LANES : 0;
        if (whole) a->native->kernels->lanes->transpose(dw + k * row, row, sums + k, n_oc, whole, whole);
        for (size_t j = k; j < end; j++)
            for (size_t q = whole; q < n; q++) dw[j * row + q] = sums[q * n_oc + j];
    }
}

/* Weights o x i of a group; dyt: from channel o.begin of that group on. */
static void outer_range(const struct wgrad_arg *a, const struct cvy_run *run, size_t group, struct native_range o,
                        struct native_range i, const float *dyt, float *sums)
{
    const struct native_conv *c = &a->conv;
    size_t n_oc = ceil_div(o.end - o.begin, NATIVE_LANES) * NATIVE_LANES;
    size_t n = (i.end - i.begin) * c->taps, out = group * c->oc + o.begin, pixels = c->y.h * c->y.w;
    size_t pixel_floats = a->native->blocks * NATIVE_LANES * a->dyt_n;
    struct cvyi_outer g = { .n_oc = n_oc, .n_i = i.end - i.begin, .dyt_n = a->dyt_n,
                            .x_block = c->x.c * c->x.plane * NATIVE_LANES, .x_i = c->x.plane * NATIVE_LANES,
                            .dw_i = c->taps * n_oc, .accumulate = c->taps * pixels > 1 || c->pad[0] || c->pad[1] };
    if (g.accumulate) memset(sums, 0, n * n_oc * sizeof *sums);
    for (size_t tap = 0; tap < c->taps; tap++)
        for (size_t pixel = 0; pixel < pixels; pixel++) {
            ptrdiff_t y = native_conv_source(c, 0, pixel / c->y.w, tap / c->kernel[1]);
            ptrdiff_t x = native_conv_source(c, 1, pixel % c->y.w, tap % c->kernel[1]);
            if (y < 0 || x < 0 || (size_t)y >= c->x.h || (size_t)x >= c->x.w) continue;
            const float *src = native_at(run, &c->x, 0, group * c->ic + i.begin) +
                               ((size_t)y * c->x.w + (size_t)x) * NATIVE_LANES;
            outer_pixel(a, run, dyt + pixel * pixel_floats, src, g,
                        sums + native_conv_tap(c, tap / c->kernel[1], tap % c->kernel[1]) * n_oc);
        }
    outer_store(a, (float *)run->buf[a->dw] + (out * c->ic + i.begin) * c->taps, c->ic * c->taps, sums, n_oc,
                o.end - o.begin, n);
    if (a->db < 0 || i.begin) return;
    g.n_i = 1;
    g.x_block = g.x_i = 0;
    g.accumulate = true;
    memset(sums, 0, n_oc * sizeof *sums);
    for (size_t pixel = 0; pixel < pixels; pixel++) outer_pixel(a, run, dyt + pixel * pixel_floats, ones, g, sums);
    memcpy((float *)run->buf[a->db] + out, sums, (o.end - o.begin) * sizeof *sums);
}

static void outer_run(const void *arg, const struct cvy_run *run, size_t task, struct cvy_worker *worker)
{
    const struct wgrad_arg *a = arg;
    struct native_range o, i;
    size_t group = own(a, task, &o, &i);
    outer_range(a, run, group, o, i, (const float *)run->buf[a->dyt] + group * a->dyt_group + o.begin, worker->scratch);
}

/* The same for a cell of a wide y, which the task transposes for itself. */
static void wide_run(const void *arg, const struct cvy_run *run, size_t task, struct cvy_worker *worker)
{
    const struct wgrad_arg *a = arg;
    struct native_range o, i;
    float *dyt = worker->scratch, *sums = dyt + a->native->blocks * NATIVE_LANES * a->dyt_n;
    size_t blocks = native_blocks_in_use(run), first = task * a->i_ranges;
    own(a, first, &o, &i);
    for (size_t b = 0; b < blocks; b++) transpose_block(a, run, b, o.begin, o.end - o.begin, dyt);
    for (size_t k = 0; k < a->i_ranges; k++) {
        own(a, first + k, &o, &i);
        outer_range(a, run, 0, o, i, dyt, sums);
    }
}

/* ------------------------------------------------------------------------------------------------ planning */

/* Halves the ranges of a task's channels until there are enough tasks; no further than least. */
static size_t divide(struct wgrad_arg *a, size_t o_step, size_t i_step, size_t o_least, size_t i_least, size_t tasks)
{
    const struct native_conv *c = &a->conv;
    for (;;) {
        a->o_step = min(o_step, ceil_div(c->oc, o_least) * o_least);
        a->i_step = min(i_step, c->ic);
        a->o_ranges = ceil_div(c->oc, a->o_step);
        a->i_ranges = ceil_div(c->ic, a->i_step);
        size_t n = c->groups * a->o_ranges * a->i_ranges;
        bool o = a->o_step > o_least, i = a->i_step > i_least;
        if (n >= tasks || (!o && !i)) return n;
        if (i && (!o || a->i_step * c->taps >= a->o_step)) i_step = ceil_div(a->i_step / 2, i_least) * i_least;
        else o_step = ceil_div(a->o_step / o_least, 2) * o_least;
    }
}

/* dy of a task's channels stays with it, from the batch norm's gradient to the update. */
static enum cvy_status plan_wide(struct native *native, struct cvy_plan *plan, struct wgrad_arg *a, const char *name)
{
    const struct native_conv *c = &a->conv;
    a->o_step = a->dyt_group = a->dyt_n = c->wide.unit;
    a->o_ranges = c->wide.parts;
    a->i_step = min(c->ic, ceil_div(OUTER_FLOATS, a->o_step * c->taps));
    a->i_ranges = ceil_div(c->ic, a->i_step);
    size_t floats = (native->blocks * NATIVE_LANES + a->i_step * c->taps) * a->o_step;
    struct cvy_phase_desc phase = { .name = name, .run = wide_run, .arg = a, .blocks = c->wide.blocks,
                                    .parts = c->wide.parts, .scratch_bytes = floats * sizeof(float),
                                    .flops = native_conv_flops(native, c) };
    native_access(&phase, c->y.id, CVY_READ_CELL);
    native_access(&phase, c->x.id, CVY_READ_ALL);
    native_access(&phase, a->dw, CVY_WRITE_CELL);
    native_access(&phase, a->db, CVY_WRITE_CELL);
    return cvy_plan_phase(plan, &phase);
}

static enum cvy_status plan_outer(struct native *native, struct cvy_plan *plan, struct wgrad_arg *a, const char *name)
{
    const struct native_conv *c = &a->conv;
    bool cells = native_parts(native) == 1;
    a->dyt_group = ceil_div(c->oc, NATIVE_LANES) * NATIVE_LANES;
    a->dyt_n = c->groups * a->dyt_group;
    size_t images = native->blocks * NATIVE_LANES;
    a->dyt = cvy_plan_buffer(plan, "dy.transposed", c->y.h * c->y.w * images * a->dyt_n * sizeof(float), false);
    if (a->dyt < 0) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    struct cvy_phase_desc t = { .name = name, .run = transpose_run, .arg = a, .blocks = native->blocks, .parts = 1 };
    native_access(&t, c->y.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&t, a->dyt, cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    NATIVE_TRY(cvy_plan_phase(plan, &t));

    size_t i_step = OUTER_FLOATS / (min(a->dyt_group, 256) * c->taps);
    size_t tasks = divide(a, 256, i_step ? i_step : 1, 16, 16, NATIVE_TASKS);
    struct cvy_phase_desc phase = { .name = name, .run = outer_run, .arg = a, .parts = tasks,
                                    .scratch_bytes = a->i_step * c->taps * a->o_step * sizeof(float),
                                    .flops = native_conv_flops(native, c) };
    native_access(&phase, a->dyt, CVY_READ_ALL);
    native_access(&phase, c->x.id, CVY_READ_ALL);
    native_access(&phase, a->dw, CVY_WRITE_ALL);
    native_access(&phase, a->db, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

static size_t pointers_bytes(const struct native_conv *c, size_t ic)
{
    return ic * c->taps * (sizeof(const float *) + sizeof(ptrdiff_t));
}

static enum cvy_status plan_owned(struct native *native, struct cvy_plan *plan, struct wgrad_arg *a, const char *name)
{
    const struct native_conv *c = &a->conv;
    a->bands = 1;
    if (!build_boxes(plan, a)) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    size_t tasks = divide(a, 16, 16, 4, 2, OWNED_TASKS);
    struct cvy_phase_desc phase = { .name = name, .run = owned_run, .arg = a, .parts = tasks,
                                    .scratch_bytes = pointers_bytes(c, a->i_step),
                                    .flops = native_conv_flops(native, c) };
    native_access(&phase, c->x.id, CVY_READ_ALL);
    native_access(&phase, c->y.id, CVY_READ_ALL);
    native_access(&phase, a->dw, CVY_WRITE_ALL);
    native_access(&phase, a->db, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

static enum cvy_status plan_slots(struct native *native, struct cvy_plan *plan, struct wgrad_arg *a, const char *name)
{
    const struct native_conv *c = &a->conv;
    size_t wanted = native_parts(native), channels = c->groups * c->oc;
    a->parts = min(ceil_div(channels, BAND_CHANNELS), wanted);
    a->bands = min(min(ceil_div(wanted, a->parts), ceil_div(c->y.h * c->y.w, BAND_PIXELS)), c->y.h);
    if (!build_boxes(plan, a)) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    size_t total = n_weights(c) + (a->db < 0 ? 0 : channels);
    a->slot = ceil_div(total, NATIVE_LANES) * NATIVE_LANES;
    a->fold_tasks = min(ceil_div(a->slot, 256), NATIVE_TASKS);
    a->slots = cvy_plan_buffer(plan, "dw.slots", native->blocks * a->bands * a->slot * sizeof(float), false);
    if (a->slots < 0) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");

    bool cells = wanted == 1;
    struct cvy_phase_desc phase = { .name = name, .run = slots_run, .arg = a, .blocks = cells ? native->blocks : 0,
                                    .parts = cells ? 1 : native->blocks * a->parts * a->bands,
                                    .scratch_bytes = pointers_bytes(c, c->ic), .flops = native_conv_flops(native, c) };
    native_access(&phase, c->x.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, c->y.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, a->slots, cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    NATIVE_TRY(cvy_plan_phase(plan, &phase));
    struct cvy_phase_desc fold = { .name = name, .run = fold_run, .arg = a, .parts = a->fold_tasks };
    native_access(&fold, a->slots, CVY_READ_ALL);
    native_access(&fold, a->dw, CVY_WRITE_ALL);
    native_access(&fold, a->db, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &fold);
}

enum cvy_status cvyi_native_wgrad_plan(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *op)
{
    struct wgrad_arg *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    a->native = native;
    a->conv = cvyi_native_conv_geometry(native, plan, &op->u.conv, op->in[0], op->in[1]);
    a->dw = op->out[0];
    a->db = native_out(op, 1);
    const struct native_conv *c = &a->conv;
    if (c->wide.unit) return plan_wide(native, plan, a, op->name);
    if (c->y.h * c->y.w < OUTER_PIXELS && c->oc >= 4) return plan_outer(native, plan, a, op->name);
    if (n_weights(c) >= OWNED_WEIGHTS) return plan_owned(native, plan, a, op->name);
    return plan_slots(native, plan, a, op->name);
}
