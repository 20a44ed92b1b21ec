/* Weight and bias gradients of a convolution, by one of three plans, chosen by shape alone:
 *
 *  outer  output maps of a few pixels (fully connected and the last layers of deep nets): dy is
 *         transposed once, then sums run over images; tasks own ranges of weights
 *  slots  few weights: every block of images (or band of its rows) sums its own copy of dw, the
 *         copies are folded in order, in double
 *  owned  many weights: tasks own ranges of channels and walk over all images; no copies
 *
 * Taps that fall into the padding are left out exactly: pixels are cut into boxes in which a tap is
 * valid everywhere. */
#include "backends/native/conv.h"

#include <string.h>

#define OUTER_PIXELS ((size_t)8)     /* output maps smaller than this are `outer` */
#define OUTER_BLOCKS ((size_t)64)    /* the kernel's limit */
#define OUTER_FLOATS ((size_t)32768) /* weights of a task, in its scratch */
/* from which on tasks may own them: a copy of fewer fits an L2 cache */
#define OWNED_WEIGHTS ((size_t)98304)
/* weights of an owning task at most, if that is not too few: its scratch, in L2 */
#define OWNED_FLOATS ((size_t)40960)
/* weights of a task by slots that stay in L2 from strip to strip */
#define SLOT_FLOATS ((size_t)32768)
#define WGRAD_TASKS ((size_t)64) /* enough for the threads we expect */
/* pixels of a kernel call whose taps read the same rows: they and dy fit L1 */
#define SHARED_PIXELS ((size_t)192)
#define TAP_PIXELS ((size_t)64) /* of one whose pointers are as many channels */
/* pixels where all taps are valid, from which on they are taken together */
#define INTERIOR ((size_t)256)
#define FEW_CHANNELS ((size_t)2)    /* fill the kernel's tile with their taps only */
#define ROW_LIMIT ((size_t)1024)    /* the kernel's limit */
#define BIAS_PIXELS ((size_t)256)   /* of a kernel call of the bias gradient's */
#define BAND_FLOATS ((size_t)65536) /* of x in a block's band: they fit L2 */
#define BAND_PIXELS ((size_t)32)
#define BAND_CHANNELS ((size_t)4)
/* input channels of a call: whole tiles of every table, and TAP_PIXELS of them fit L1 */
#define CALL_CHANNELS ((size_t)12)

/* A box of output pixels and the taps (ky * kernel width + kx) that are valid in all of it. */
struct box {
    struct native_range rows, cols;
    size_t n_taps;
    const size_t *tap;
};

struct wgrad_arg {
    const struct native *native;
    struct native_conv conv;
    int dw, db;
    /* slots, owned */
    struct box *box;
    size_t n_box;
    const ptrdiff_t *tap_x; /* by tap: from the source of the kernel's corner, in floats */
    size_t strip;           /* rows that are finished before the next are begun */
    size_t parts, bands;    /* slots: tasks of a block: bands of rows x ranges of channels */
    int slots;
    size_t slot; /* floats of a slot: dw, db */
    size_t fold_tasks;
    size_t o_step, i_step, o_ranges, i_ranges; /* owned, outer: a task's channels, their number */
    /* outer */
    int dyt;
    size_t dyt_group, dyt_n; /* padded channels of a group, of all */
};

static size_t min(size_t a, size_t b) { return a < b ? a : b; }

static size_t n_weights(const struct native_conv *c) { return c->groups * c->oc * c->ic * c->taps; }

/* ---------------------------------------------------------------------------------------- boxes */

/* Output rows (columns) for which tap k lies inside the map. */
static struct native_range tap_range(const struct native_conv *c, int dim, size_t k)
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
    const struct native_conv *conv;
    struct box *box;
    size_t n, *tap, n_taps; /* tap: where the lists of taps are written, one behind the other */
};

/* Adds rows x cols with taps [ky, ky_end) x [kx, kx_end). */
static void add(struct boxes *b, struct native_range rows, struct native_range cols,
                struct native_range ky, struct native_range kx)
{
    if (rows.begin >= rows.end || cols.begin >= cols.end) return;
    struct box *box = &b->box[b->n++];
    *box = (struct box){ rows, cols, 0, b->tap + b->n_taps };
    for (size_t y = ky.begin; y < ky.end; y++)
        for (size_t x = kx.begin; x < kx.end; x++)
            b->tap[b->n_taps + box->n_taps++] = y * b->conv->kernel[1] + x;
    b->n_taps += box->n_taps;
}

static struct native_range meet(struct native_range a, struct native_range b)
{
    return (struct native_range){ a.begin > b.begin ? a.begin : b.begin, min(a.end, b.end) };
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
    const struct native_conv *c = b->conv;
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
    for (size_t k = 0; k < kh; k++) rows = meet(rows, row[k]);
    for (size_t k = 0; k < kw; k++) cols = meet(cols, col[k]);
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
static bool has_interior(const struct native_conv *c, const struct native_range *row,
                         const struct native_range *col)
{
    struct native_range rows = row[0], cols = col[0];
    for (size_t k = 0; k < c->kernel[0]; k++) rows = meet(rows, row[k]);
    for (size_t k = 0; k < c->kernel[1]; k++) cols = meet(cols, col[k]);
    if (rows.begin >= rows.end || cols.begin >= cols.end) return false;
    return c->ic <= FEW_CHANNELS || (rows.end - rows.begin) * (cols.end - cols.begin) >= INTERIOR;
}

static bool build_taps(struct cvy_plan *plan, struct wgrad_arg *a)
{
    const struct native_conv *c = &a->conv;
    ptrdiff_t *x = cvy_plan_alloc(plan, c->taps * sizeof *x);
    for (size_t t = 0; x && t < c->taps; t++) {
        ptrdiff_t row = (ptrdiff_t)(t / c->kernel[1] * c->dilation[0]) - (ptrdiff_t)c->pad[0];
        ptrdiff_t col = (ptrdiff_t)(t % c->kernel[1] * c->dilation[1]) - (ptrdiff_t)c->pad[1];
        x[t] = (row * (ptrdiff_t)c->x.w + col) * CVYI_LANES;
    }
    a->tap_x = x;
    return x;
}

static bool build_boxes(struct cvy_plan *plan, struct wgrad_arg *a)
{
    const struct native_conv *c = &a->conv;
    struct native_range *row = cvy_plan_alloc(plan, c->kernel[0] * sizeof *row);
    struct native_range *col = cvy_plan_alloc(plan, c->kernel[1] * sizeof *col);
    if (!row || !col || !build_taps(plan, a)) return false;
    for (size_t k = 0; k < c->kernel[0]; k++) row[k] = tap_range(c, 0, k);
    for (size_t k = 0; k < c->kernel[1]; k++) col[k] = tap_range(c, 1, k);
    bool interior = native_chose(plan, CHOICE_INTERIOR, has_interior(c, row, col));
    size_t most = interior ? 4 * c->taps + 1 : c->taps;
    struct boxes b = { .conv = c,
                       .box = cvy_plan_alloc(plan, most * sizeof *b.box),
                       .tap = cvy_plan_alloc(plan, (interior ? 5 : 1) * c->taps * sizeof *b.tap) };
    if (!b.box || !b.tap) return false;
    add_all(&b, row, col, interior);
    a->box = b.box, a->n_box = b.n;

    size_t width = min(c->y.w, ROW_LIMIT);
    a->strip = SHARED_PIXELS / width ? SHARED_PIXELS / width : 1;
    native_chose(plan, CHOICE_CALLS, c->ic > CALL_CHANNELS);
    native_chose(plan, CHOICE_STRIP_ROWS, a->strip > 1);
    native_chose(plan, CHOICE_LONG_ROWS, c->y.w > ROW_LIMIT);
    return true;
}

/* ------------------------------------------------------------------------------------ by pixels */

/* What a task adds up: channels o x i of a group, for rows of one block; dw[o * row + i * taps]
 * counts from o.begin and i.begin, db[o] from o.begin (NULL: another task's, or there is no bias).
 * x and dw_i: scratch for CALL_CHANNELS * taps each. */
struct sums {
    size_t block, group;
    struct native_range o, i;
    float *dw;
    double *db;
    size_t row;
    const float **x;
    ptrdiff_t *dw_i;
};

static struct cvyi_wgrad call_of(const struct wgrad_arg *a, const struct sums *s)
{
    const struct native_conv *c = &a->conv;
    return (struct cvyi_wgrad){
        .n_oc = s->o.end - s->o.begin,
        .dy_oc = (ptrdiff_t)(c->y.plane * NATIVE_LANES),
        .dy_row = (ptrdiff_t)(c->y.w * NATIVE_LANES),
        .dy_col = CVYI_LANES,
        .x_row = (ptrdiff_t)(c->stride[0] * c->x.w * NATIVE_LANES),
        .x_col = (ptrdiff_t)(c->stride[1] * NATIVE_LANES),
        .dw_oc = (ptrdiff_t)s->row,
        .accumulate = true,
    };
}

/* Channels i of a box's pixels [y, y + rows) x [x, x + cols). */
static void add_pixels(const struct wgrad_arg *a, const struct cvy_run *run, const struct sums *s,
                       const struct box *box, struct native_range i, struct cvyi_wgrad *g, size_t y,
                       size_t x)
{
    const struct native_conv *c = &a->conv;
    const float *dy = native_at(run, &c->y, s->block, s->group * c->oc + s->o.begin) +
                      (y * c->y.w + x) * NATIVE_LANES;
    const float *corner = native_at(run, &c->x, s->block, s->group * c->ic) +
                          (y * c->stride[0] * c->x.w + x * c->stride[1]) * NATIVE_LANES;
    size_t m = 0;
    for (size_t q = i.begin; q < i.end; q++)
        for (size_t t = 0; t < box->n_taps; t++, m++) {
            size_t tap = box->tap[t];
            s->x[m] = corner + (ptrdiff_t)(q * c->x.plane * NATIVE_LANES) + a->tap_x[tap];
            s->dw_i[m] =
                (ptrdiff_t)((q - s->i.begin) * c->taps + (c->flip ? c->taps - 1 - tap : tap));
        }
    g->n_i = m;
    a->native->kernels->wgrad->wgrad(g, dy, s->x, s->dw_i, s->dw);
}

/* The pieces of a box that begin in rows [strip.begin, strip.end) of band `rows`, as large as the
 * kernel takes them. */
static void add_box(const struct wgrad_arg *a, const struct cvy_run *run, const struct sums *s,
                    const struct box *box, struct native_range i, struct native_range rows,
                    struct native_range strip)
{
    struct native_range r = meet(box->rows, rows);
    size_t width = min(box->cols.end - box->cols.begin, ROW_LIMIT),
           pixels = box->n_taps == 1 ? TAP_PIXELS : SHARED_PIXELS;
    size_t height = pixels / width ? pixels / width : 1;
    if (r.begin >= r.end || r.begin >= strip.end) return;
    struct cvyi_wgrad g = call_of(a, s);
    size_t y = r.begin < strip.begin ? r.begin + ceil_div(strip.begin - r.begin, height) * height
                                     : r.begin;
    for (; y < r.end && y < strip.end; y += height)
        for (size_t x = box->cols.begin; x < box->cols.end; x += width) {
            g.n_rows = min(height, r.end - y);
            g.n_cols = min(width, box->cols.end - x);
            add_pixels(a, run, s, box, i, &g, y, x);
        }
}

/* Adds the sum of dy over rows of a block to each channel's share of db. (Unused lanes of a
 * gradient hold zero.) */
static void add_bias(const struct wgrad_arg *a, const struct cvy_run *run, const struct sums *s,
                     struct native_range rows)
{
    const struct native_conv *c = &a->conv;
    const size_t pixels = (rows.end - rows.begin) * c->y.w;
    for (size_t o = s->o.begin; o < s->o.end; o++) {
        const float *dy = native_at(run, &c->y, s->block, s->group * c->oc + o) +
                          rows.begin * c->y.w * NATIVE_LANES;
        for (size_t p = 0, n; p < pixels; p += n) {
            float sum[CVYI_LANES], unused[CVYI_LANES];
            n = min(pixels - p, BIAS_PIXELS);
            a->native->kernels->rows->bn_reduce(dy + p * NATIVE_LANES, dy + p * NATIVE_LANES,
                                                n * NATIVE_LANES, 0, sum, unused);
            for (size_t l = 0; l < NATIVE_LANES; l++) s->db[o - s->o.begin] += (double)sum[l];
        }
    }
}

/* Adds rows `rows` of a block. Strips of pixels are outermost, so that what the channels read stays
 * in the cache. */
static void accumulate(const struct wgrad_arg *a, const struct cvy_run *run, const struct sums *s,
                       struct native_range rows)
{
    size_t calls = ceil_div(s->i.end - s->i.begin, CALL_CHANNELS),
           step = ceil_div(s->i.end - s->i.begin, calls);
    for (size_t y = rows.begin; y < rows.end; y += a->strip) {
        struct native_range strip = { y, min(y + a->strip, rows.end) };
        if (s->db) add_bias(a, run, s, strip);
        for (size_t i = s->i.begin; i < s->i.end; i += step) {
            struct native_range channels = { i, min(i + step, s->i.end) };
            for (size_t k = 0; k < a->n_box; k++)
                add_box(a, run, s, &a->box[k], channels, rows, strip);
        }
    }
}

/* A task's scratch: the pointers of a call, and the biases of `channels`; answers what lies behind
 * them. */
static size_t scratch_bytes(const struct wgrad_arg *a, size_t channels)
{
    return CALL_CHANNELS * a->conv.taps * (sizeof(const float *) + sizeof(ptrdiff_t)) +
           channels * sizeof(double);
}

static void *scratch_at(const struct wgrad_arg *a, void *scratch, size_t channels, bool bias,
                        struct sums *s)
{
    s->x = scratch;
    s->dw_i = (ptrdiff_t *)(s->x + CALL_CHANNELS * a->conv.taps);
    double *db = (double *)(s->dw_i + CALL_CHANNELS * a->conv.taps);
    s->db = bias ? db : NULL;
    if (bias) memset(db, 0, channels * sizeof *db);
    return db + channels;
}

static void slots_run(const void *arg, const struct cvy_run *run, size_t task,
                      struct cvy_worker *worker)
{
    const struct wgrad_arg *a = arg;
    const struct native_conv *c = &a->conv;
    size_t part = task % a->parts, band = task / a->parts % a->bands,
           block = task / a->parts / a->bands;
    if (block >= native_blocks_in_use(run)) return;
    size_t channels = c->groups * c->oc, row = c->ic * c->taps;
    size_t o0 = channels * part / a->parts, o1 = channels * (part + 1) / a->parts;
    struct native_range rows = { c->y.h * band / a->bands, c->y.h * (band + 1) / a->bands };
    float *dw = (float *)run->buf[a->slots] + (block * a->bands + band) * a->slot;
    float *db = a->db < 0 ? NULL : dw + channels * row;
    memset(dw + o0 * row, 0, (o1 - o0) * row * sizeof(float));
    struct sums s = { .block = block, .i = { 0, c->ic }, .row = row };
    for (size_t o = o0, end; o < o1; o = end) {
        s.group = o / c->oc;
        end = min((s.group + 1) * c->oc, o1);
        s.o = (struct native_range){ o - s.group * c->oc, end - s.group * c->oc };
        s.dw = dw + o * row;
        scratch_at(a, worker->scratch, end - o, db, &s);
        accumulate(a, run, &s, rows);
        for (size_t k = 0; db && k < end - o; k++) db[o + k] = (float)s.db[k];
    }
}

/* Elements [begin, end) of dw and db, taken as one array. */
static void fold_run(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct wgrad_arg *a = arg;
    (void)worker;
    size_t weights = n_weights(&a->conv), vectors = a->slot / NATIVE_LANES;
    size_t total = weights + (a->db < 0 ? 0 : a->conv.groups * a->conv.oc);
    size_t begin = vectors * task / a->fold_tasks * NATIVE_LANES;
    size_t end = min(vectors * (task + 1) / a->fold_tasks * NATIVE_LANES, total),
           middle = min(end, weights);
    size_t n = native_blocks_in_use(run) * a->bands;
    const float *slots = run->buf[a->slots];
    cvyi_fold_fn *fold = a->native->kernels->update->fold;
    if (begin < middle)
        fold((float *)run->buf[a->dw] + begin, slots + begin, n, a->slot, middle - begin);
    if (begin < middle) begin = middle;
    if (begin < end)
        fold((float *)run->buf[a->db] + (begin - weights), slots + begin, n, a->slot, end - begin);
}

/* What an owning task (owned, outer) owns: channels o x i of a group. */
static size_t own(const struct wgrad_arg *a, size_t task, struct native_range *o,
                  struct native_range *i)
{
    size_t oi = task / a->i_ranges % a->o_ranges, ii = task % a->i_ranges;
    *o = (struct native_range){ oi * a->o_step, min((oi + 1) * a->o_step, a->conv.oc) };
    *i = (struct native_range){ ii * a->i_step, min((ii + 1) * a->i_step, a->conv.ic) };
    return task / a->i_ranges / a->o_ranges;
}

static void owned_run(const void *arg, const struct cvy_run *run, size_t task,
                      struct cvy_worker *worker)
{
    const struct wgrad_arg *a = arg;
    const struct native_conv *c = &a->conv;
    struct sums s = { .row = a->i_step * c->taps };
    s.group = own(a, task, &s.o, &s.i);
    size_t out = s.group * c->oc + s.o.begin, n = s.o.end - s.o.begin,
           columns = (s.i.end - s.i.begin) * c->taps;
    float *dw = (float *)run->buf[a->dw] + (out * c->ic + s.i.begin) * c->taps;
    s.dw = scratch_at(a, worker->scratch, a->o_step, a->db >= 0 && !s.i.begin, &s);
    memset(s.dw, 0, n * s.row * sizeof(float));
    size_t blocks = native_blocks_in_use(run);
    const struct native_range rows = { 0, c->y.h };
    for (s.block = 0; s.block < blocks; s.block++) accumulate(a, run, &s, rows);
    for (size_t k = 0; s.db && k < n; k++) ((float *)run->buf[a->db])[out + k] = (float)s.db[k];
    for (size_t k = 0; k < n; k++)
        memcpy(dw + k * c->ic * c->taps, s.dw + k * s.row, columns * sizeof(float));
}

/* ---------------------------------------------------------------------------------------- outer */

/* dyt[pixel][image][channel, groups padded to 16] of one block, `n` output channels from `o` on in
 * each group. */
static void transpose_block(const struct wgrad_arg *a, const struct cvy_run *run, size_t block,
                            size_t o, size_t n, float *dyt)
{
    const struct native_conv *c = &a->conv;
    for (size_t pixel = 0; pixel < c->y.h * c->y.w; pixel++)
        for (size_t group = 0; group < c->groups; group++) {
            float *dst = dyt + group * a->dyt_group +
                         (pixel * a->native->blocks + block) * NATIVE_LANES * a->dyt_n;
            const float *src =
                native_at(run, &c->y, block, group * c->oc + o) + pixel * NATIVE_LANES;
            a->native->kernels->lanes->transpose(dst, a->dyt_n, src, c->y.plane * NATIVE_LANES, n,
                                                 a->dyt_group);
        }
}

static void transpose_run(const void *arg, const struct cvy_run *run, size_t task,
                          struct cvy_worker *worker)
{
    const struct wgrad_arg *a = arg;
    (void)worker;
    if (task < native_blocks_in_use(run))
        transpose_block(a, run, task, 0, a->conv.oc, run->buf[a->dyt]);
}

/* sums += over all images, for one (pixel, tap) */
static void outer_pixel(const struct wgrad_arg *a, const struct cvy_run *run, const float *dyt,
                        const float *x, struct cvyi_outer g, float *sums)
{
    size_t blocks = native_blocks_in_use(run);
    for (size_t b = 0; b < blocks; b += OUTER_BLOCKS) {
        g.n_blocks = min(blocks - b, OUTER_BLOCKS);
        g.accumulate |= b > 0;
        a->native->kernels->wgrad->outer(&g, dyt + b * NATIVE_LANES * a->dyt_n, x + b * g.x_block,
                                         sums);
    }
}

/* sums[q][n_oc] to row k of dw at q, k < rows, q < n. */
static void outer_store(const struct wgrad_arg *a, float *dw, size_t row, const float *sums,
                        size_t n_oc, size_t rows, size_t n)
{
    for (size_t k = 0; k < rows; k += NATIVE_LANES) {
        size_t end = min(k + NATIVE_LANES, rows),
               whole = end - k == NATIVE_LANES ? n / NATIVE_LANES * NATIVE_LANES : 0;
        if (whole)
            a->native->kernels->lanes->transpose(dw + k * row, row, sums + k, n_oc, whole, whole);
        for (size_t j = k; j < end; j++)
            for (size_t q = whole; q < n; q++) dw[j * row + q] = sums[q * n_oc + j];
    }
}

/* Weights o x i of a group; dyt: from channel o.begin of that group on. */
static void outer_range(const struct wgrad_arg *a, const struct cvy_run *run, size_t group,
                        struct native_range o, struct native_range i, const float *dyt, float *sums)
{
    const struct native_conv *c = &a->conv;
    size_t n_oc = ceil_div(o.end - o.begin, NATIVE_LANES) * NATIVE_LANES;
    size_t n = (i.end - i.begin) * c->taps, out = group * c->oc + o.begin, pixels = c->y.h * c->y.w;
    size_t pixel_floats = a->native->blocks * NATIVE_LANES * a->dyt_n;
    struct cvyi_outer g = { .n_oc = n_oc,
                            .n_i = i.end - i.begin,
                            .dyt_n = a->dyt_n,
                            .x_block = c->x.c * c->x.plane * NATIVE_LANES,
                            .x_i = c->x.plane * NATIVE_LANES,
                            .dw_i = c->taps * n_oc,
                            .accumulate = c->taps * pixels > 1 || c->pad[0] || c->pad[1] };
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
    outer_store(a, (float *)run->buf[a->dw] + (out * c->ic + i.begin) * c->taps, c->ic * c->taps,
                sums, n_oc, o.end - o.begin, n);
    if (a->db < 0 || i.begin) return;
    cvyi_fold_fn *fold = a->native->kernels->update->fold;
    for (size_t pixel = 0; pixel < pixels; pixel++)
        fold(sums + pixel * n_oc, dyt + pixel * pixel_floats,
             native_blocks_in_use(run) * NATIVE_LANES, a->dyt_n, n_oc);
    fold((float *)run->buf[a->db] + out, sums, pixels, n_oc, o.end - o.begin);
}

/* Floats of outer_range's sums: of a task's weights, or of its biases at every pixel. */
static size_t outer_sums(const struct wgrad_arg *a)
{
    size_t rows = a->i_step * a->conv.taps, pixels = a->conv.y.h * a->conv.y.w;
    return (rows > pixels ? rows : pixels) * ceil_div(a->o_step, NATIVE_LANES) * NATIVE_LANES;
}

static void outer_run(const void *arg, const struct cvy_run *run, size_t task,
                      struct cvy_worker *worker)
{
    const struct wgrad_arg *a = arg;
    struct native_range o, i;
    size_t group = own(a, task, &o, &i);
    outer_range(a, run, group, o, i,
                (const float *)run->buf[a->dyt] + group * a->dyt_group + o.begin, worker->scratch);
}

/* The same for a cell of a wide y, which the task transposes for itself. */
static void wide_run(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
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

/* ------------------------------------------------------------------------------------- planning */

/* Halves the ranges of a task's channels until there are enough tasks; no further than least. */
static size_t divide(struct wgrad_arg *a, size_t o_step, size_t i_step, size_t o_least,
                     size_t i_least, size_t tasks)
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
        if (i && (!o || a->i_step * c->taps >= a->o_step))
            i_step = ceil_div(a->i_step / 2, i_least) * i_least;
        else o_step = ceil_div(a->o_step / o_least, 2) * o_least;
    }
}

/* dy of a task's channels stays with it, from the batch norm's gradient to the update. */
static enum cvy_status plan_wide(struct native *native, struct cvy_plan *plan, struct wgrad_arg *a,
                                 const char *name)
{
    const struct native_conv *c = &a->conv;
    a->o_step = a->dyt_group = a->dyt_n = c->wide.unit;
    a->o_ranges = c->wide.parts;
    a->i_step = min(c->ic, ceil_div(OUTER_FLOATS, a->o_step * c->taps));
    a->i_ranges = ceil_div(c->ic, a->i_step);
    native_chose(plan, CHOICE_OUTER_RANGES, a->i_ranges > 1);
    native_chose(plan, CHOICE_OUTER_BLOCKS, native->blocks > OUTER_BLOCKS);
    size_t floats = native->blocks * NATIVE_LANES * a->o_step + outer_sums(a);
    struct cvy_phase_desc phase = { .name = name,
                                    .run = wide_run,
                                    .arg = a,
                                    .blocks = c->wide.blocks,
                                    .parts = c->wide.parts,
                                    .scratch_bytes = floats * sizeof(float),
                                    .flops = native_conv_flops(native, c) };
    native_access(&phase, c->y.id, CVY_READ_CELL);
    native_access(&phase, c->x.id, CVY_READ_ALL);
    native_access(&phase, a->dw, CVY_WRITE_CELL);
    native_access(&phase, a->db, CVY_WRITE_CELL);
    return cvy_plan_phase(plan, &phase);
}

static enum cvy_status plan_outer(struct native *native, struct cvy_plan *plan, struct wgrad_arg *a,
                                  const char *name)
{
    const struct native_conv *c = &a->conv;
    bool cells = native_parts(native) == 1;
    a->dyt_group = ceil_div(c->oc, NATIVE_LANES) * NATIVE_LANES;
    a->dyt_n = c->groups * a->dyt_group;
    size_t images = native->blocks * NATIVE_LANES;
    a->dyt = cvy_plan_buffer(plan, "dy.transposed",
                             c->y.h * c->y.w * images * a->dyt_n * sizeof(float), false);
    if (a->dyt < 0) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    struct cvy_phase_desc t = {
        .name = name, .run = transpose_run, .arg = a, .blocks = native->blocks, .parts = 1
    };
    native_access(&t, c->y.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&t, a->dyt, cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    NATIVE_TRY(cvy_plan_phase(plan, &t));

    size_t i_step = OUTER_FLOATS / (min(a->dyt_group, 256) * c->taps);
    size_t tasks = divide(a, 256, i_step ? i_step : 1, 16, 16, NATIVE_TASKS);
    native_chose(plan, CHOICE_OUTER_RANGES, a->i_ranges > 1);
    native_chose(plan, CHOICE_OUTER_BLOCKS, native->blocks > OUTER_BLOCKS);
    struct cvy_phase_desc phase = { .name = name,
                                    .run = outer_run,
                                    .arg = a,
                                    .parts = tasks,
                                    .scratch_bytes = outer_sums(a) * sizeof(float),
                                    .flops = native_conv_flops(native, c) };
    native_access(&phase, a->dyt, CVY_READ_ALL);
    native_access(&phase, c->x.id, CVY_READ_ALL);
    native_access(&phase, a->dw, CVY_WRITE_ALL);
    native_access(&phase, a->db, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

/* Halves the longer range of a task's channels until there are enough tasks and its weights fit the
 * scratch. */
static void divide_owned(struct wgrad_arg *a)
{
    const struct native_conv *c = &a->conv;
    a->o_step = c->oc, a->i_step = c->ic;
    for (;;) {
        a->o_ranges = ceil_div(c->oc, a->o_step);
        a->i_ranges = ceil_div(c->ic, a->i_step);
        size_t n = c->groups * a->o_ranges * a->i_ranges;
        bool o = a->o_step > 4, i = a->i_step > 2;
        if ((n >= WGRAD_TASKS && a->o_step * a->i_step * c->taps <= OWNED_FLOATS) || (!o && !i))
            return;
        if (i && (!o || a->i_step > a->o_step)) a->i_step = ceil_div(a->i_step, 2);
        else a->o_step = ceil_div(a->o_step, 2);
    }
}

static enum cvy_status plan_owned(struct native *native, struct cvy_plan *plan, struct wgrad_arg *a,
                                  const char *name)
{
    const struct native_conv *c = &a->conv;
    size_t tasks = c->groups * a->o_ranges * a->i_ranges;
    native_chose(plan, CHOICE_OWNED_SMALL, a->o_step <= 4 && a->i_step <= 2);
    if (!build_boxes(plan, a)) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    struct cvy_phase_desc phase = { .name = name,
                                    .run = owned_run,
                                    .arg = a,
                                    .parts = tasks,
                                    .scratch_bytes =
                                        scratch_bytes(a, a->o_step) +
                                        a->o_step * a->i_step * c->taps * sizeof(float),
                                    .flops = native_conv_flops(native, c) };
    native_access(&phase, c->x.id, CVY_READ_ALL);
    native_access(&phase, c->y.id, CVY_READ_ALL);
    native_access(&phase, a->dw, CVY_WRITE_ALL);
    native_access(&phase, a->db, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

/* Of a block. */
static size_t source_floats(const struct native_conv *c)
{
    return c->x.c * c->x.h * c->x.w * NATIVE_LANES;
}

/* Each range of channels reads all of a block's x again, and each band of rows has a copy of the
 * weights: so a block is cut into bands until its x fits L2, then into ranges of channels, and if
 * these are too few into more bands. */
static void divide_slots(const struct native *native, struct wgrad_arg *a)
{
    const struct native_conv *c = &a->conv;
    size_t wanted = native_parts(native), ranges = ceil_div(c->groups * c->oc, BAND_CHANNELS);
    size_t fit = ceil_div(source_floats(c), BAND_FLOATS),
           least = ceil_div(wanted, min(ranges, wanted));
    a->bands = min(min(wanted, fit > least ? fit : least),
                   min(ceil_div(c->y.h * c->y.w, BAND_PIXELS), c->y.h));
    a->parts = wanted == 1 ? 1 : min(ranges, ceil_div(WGRAD_TASKS, native->blocks * a->bands));
}

static enum cvy_status plan_slots(struct native *native, struct cvy_plan *plan, struct wgrad_arg *a,
                                  const char *name)
{
    const struct native_conv *c = &a->conv;
    size_t channels = c->groups * c->oc;
    if (!build_boxes(plan, a)) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    native_chose(plan, CHOICE_SLOT_FIT, source_floats(c) <= BAND_FLOATS);
    native_chose(plan, CHOICE_SLOT_BANDS, a->bands > 1);
    native_chose(plan, CHOICE_SLOT_PARTS, a->parts > 1);
    size_t total = n_weights(c) + (a->db < 0 ? 0 : channels);
    a->slot = ceil_div(total, NATIVE_LANES) * NATIVE_LANES;
    a->fold_tasks = min(ceil_div(a->slot, 256), NATIVE_TASKS);
    a->slots = cvy_plan_buffer(plan, "dw.slots",
                               native->blocks * a->bands * a->slot * sizeof(float), false);
    if (a->slots < 0) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");

    bool cells = native_parts(native) == 1;
    struct cvy_phase_desc phase = { .name = name,
                                    .run = slots_run,
                                    .arg = a,
                                    .blocks = cells ? native->blocks : 0,
                                    .parts = cells ? 1 : native->blocks * a->parts * a->bands,
                                    .scratch_bytes = scratch_bytes(a, c->oc),
                                    .flops = native_conv_flops(native, c) };
    native_access(&phase, c->x.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, c->y.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, a->slots, cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    NATIVE_TRY(cvy_plan_phase(plan, &phase));
    struct cvy_phase_desc fold = {
        .name = name, .run = fold_run, .arg = a, .parts = a->fold_tasks
    };
    native_access(&fold, a->slots, CVY_READ_ALL);
    native_access(&fold, a->dw, CVY_WRITE_ALL);
    native_access(&fold, a->db, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &fold);
}

/* What goes through caches, in floats: copies of the weights, each cleared, added to (two ways) and
 * folded, once if a task's fit L2 and else for every strip, and both maps once; or no copies, and
 * each map once for every range of the other's channels. */
static bool owning_is_cheaper(const struct native *native, const struct cvy_plan *plan,
                              const struct wgrad_arg *a)
{
    const struct native_conv *c = &a->conv;
    double x = (double)(native->capacity * c->x.c * c->x.h * c->x.w),
           y = (double)(native->capacity * c->y.c * c->y.h * c->y.w);
    size_t strips = ceil_div(c->y.h * c->y.w, SHARED_PIXELS);
    bool fits = native_chose(plan, CHOICE_SLOT_HELD, n_weights(c) / a->parts <= SLOT_FLOATS);
    double copies = (double)(native->blocks * (fits || strips < a->bands ? a->bands : strips));
    return x * (double)a->o_ranges + y * (double)a->i_ranges <=
           4 * copies * (double)n_weights(c) + x + y;
}

enum cvy_status cvyi_native_wgrad_plan(struct native *native, struct cvy_plan *plan,
                                       const struct cvy_op_desc *op)
{
    struct wgrad_arg *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    a->native = native;
    a->conv = cvyi_native_conv_geometry(native, plan, &op->u.conv, op->in[0], op->in[1]);
    a->dw = op->out[0];
    a->db = native_out(op, 1);
    const struct native_conv *c = &a->conv;
    if (c->wide.unit) return plan_wide(native, plan, a, op->name);
    if (native_chose(plan, CHOICE_OUTER, c->y.h * c->y.w < OUTER_PIXELS && c->oc >= 4))
        return plan_outer(native, plan, a, op->name);
    divide_slots(native, a);
    divide_owned(a);
    bool owned = native_chose(plan, CHOICE_OWNABLE, n_weights(c) >= OWNED_WEIGHTS) &&
                 owning_is_cheaper(native, plan, a);
    return native_chose(plan, CHOICE_OWNED, owned) ? plan_owned(native, plan, a, op->name)
                                                   : plan_slots(native, plan, a, op->name);
}
