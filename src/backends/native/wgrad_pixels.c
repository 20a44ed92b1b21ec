/* Gradients of weights by sums over pixels: `slots` and `owned` (wgrad.c). */
#include <string.h>

#include "backends/native/wgrad.h"

#define TAP_PIXELS ((size_t)64)   /* of a call of one tap, whose pointers are as many channels */
#define BIAS_PIXELS ((size_t)256) /* of a call for the bias */

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

static struct cvyi_wgrad call_of(const struct native_wgrad *a, const struct sums *s)
{
    const struct native_geometry *c = &a->conv;
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
static void add_pixels(const struct native_wgrad *a, const struct cvy_run *run,
                       const struct sums *s, const struct native_box *box, struct native_range i,
                       struct cvyi_wgrad *g, size_t y, size_t x)
{
    const struct native_geometry *c = &a->conv;
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
static void add_box(const struct native_wgrad *a, const struct cvy_run *run, const struct sums *s,
                    const struct native_box *box, struct native_range i, struct native_range rows,
                    struct native_range strip)
{
    struct native_range r = native_meet(box->rows, rows);
    size_t width = native_min(box->cols.end - box->cols.begin, ROW_LIMIT),
           pixels = box->n_taps == 1 ? TAP_PIXELS : SHARED_PIXELS;
    size_t height = pixels / width ? pixels / width : 1;
    if (r.begin >= r.end || r.begin >= strip.end) return;
    struct cvyi_wgrad g = call_of(a, s);
    size_t y = r.begin < strip.begin ? r.begin + ceil_div(strip.begin - r.begin, height) * height
                                     : r.begin;
    for (; y < r.end && y < strip.end; y += height)
        for (size_t x = box->cols.begin; x < box->cols.end; x += width) {
            g.n_rows = native_min(height, r.end - y);
            g.n_cols = native_min(width, box->cols.end - x);
            add_pixels(a, run, s, box, i, &g, y, x);
        }
}

void cvyi_native_wgrad_bias(const struct native_wgrad *a, const struct cvy_run *run, size_t block,
                            size_t channel, size_t n, struct native_range pixels, double *db)
{
    for (size_t o = 0; o < n; o++) {
        const float *dy = native_at(run, &a->conv.y, block, channel + o);
        for (size_t p = pixels.begin, end; p < pixels.end; p = end) {
            float sum[CVYI_LANES], unused[CVYI_LANES];
            end = native_min(p + BIAS_PIXELS, pixels.end);
            a->native->kernels->norm->bn_reduce(dy + p * NATIVE_LANES, dy + p * NATIVE_LANES,
                                                (end - p) * NATIVE_LANES, 0, sum, unused);
            for (size_t l = 0; l < NATIVE_LANES; l++) db[o] += (double)sum[l];
        }
    }
}

/* Adds rows `rows` of a block. Strips of pixels are outermost, so that what the channels read stays
 * in the cache. */
static void accumulate(const struct native_wgrad *a, const struct cvy_run *run,
                       const struct sums *s, struct native_range rows)
{
    size_t calls = ceil_div(s->i.end - s->i.begin, CALL_CHANNELS),
           step = ceil_div(s->i.end - s->i.begin, calls);
    for (size_t y = rows.begin; y < rows.end; y += a->strip) {
        struct native_range strip = { y, native_min(y + a->strip, rows.end) };
        if (s->db)
            cvyi_native_wgrad_bias(
                a, run, s->block, s->group * a->conv.oc + s->o.begin, s->o.end - s->o.begin,
                (struct native_range){ y * a->conv.y.w, strip.end * a->conv.y.w }, s->db);
        for (size_t i = s->i.begin; i < s->i.end; i += step) {
            struct native_range channels = { i, native_min(i + step, s->i.end) };
            for (size_t k = 0; k < a->n_box; k++)
                add_box(a, run, s, &a->box[k], channels, rows, strip);
        }
    }
}

/* A task's scratch: the pointers of a call, and the biases of `channels`; answers what lies behind
 * them. */
static size_t scratch_bytes(const struct native_wgrad *a, size_t channels)
{
    return CALL_CHANNELS * a->conv.taps * (sizeof(const float *) + sizeof(ptrdiff_t)) +
           channels * sizeof(double);
}

static void *scratch_at(const struct native_wgrad *a, void *scratch, size_t channels, bool bias,
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
    const struct native_wgrad *a = arg;
    const struct native_geometry *c = &a->conv;
    struct native_task t = native_task(a->cut, task);
    if (t.block >= native_blocks_in_use(run)) return;
    size_t channels = c->groups * c->oc, row = c->ic * c->taps;
    struct native_range mine = native_share(channels, t.part, a->cut.parts),
                        rows = native_share(c->y.h, t.band, a->cut.bands);
    float *dw = (float *)run->buf[a->slots] + (t.block * a->cut.bands + t.band) * a->slot;
    float *db = a->db < 0 ? NULL : dw + channels * row;
    memset(dw + mine.begin * row, 0, (mine.end - mine.begin) * row * sizeof(float));
    struct sums s = { .block = t.block, .i = { 0, c->ic }, .row = row };
    for (size_t o = mine.begin, end; o < mine.end; o = end) {
        s.group = o / c->oc;
        end = native_min((s.group + 1) * c->oc, mine.end);
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
    const struct native_wgrad *a = arg;
    (void)worker;
    size_t weights = native_n_weights(&a->conv), vectors = a->slot / NATIVE_LANES;
    size_t total = weights + (a->db < 0 ? 0 : a->conv.groups * a->conv.oc);
    size_t begin = vectors * task / a->fold_tasks * NATIVE_LANES;
    size_t end = native_min(vectors * (task + 1) / a->fold_tasks * NATIVE_LANES, total),
           middle = native_min(end, weights);
    size_t n = native_blocks_in_use(run) * a->cut.bands;
    const float *slots = run->buf[a->slots];
    cvyi_fold_fn *fold = a->native->kernels->update->fold;
    if (begin < middle)
        fold((float *)run->buf[a->dw] + begin, slots + begin, n, a->slot, middle - begin);
    if (begin < middle) begin = middle;
    if (begin < end)
        fold((float *)run->buf[a->db] + (begin - weights), slots + begin, n, a->slot, end - begin);
}

static void owned_run(const void *arg, const struct cvy_run *run, size_t task,
                      struct cvy_worker *worker)
{
    const struct native_wgrad *a = arg;
    const struct native_geometry *c = &a->conv;
    struct sums s = { .row = a->own.i_step * c->taps };
    s.group = native_own(a, task, &s.o, &s.i);
    size_t out = s.group * c->oc + s.o.begin, n = s.o.end - s.o.begin,
           columns = (s.i.end - s.i.begin) * c->taps;
    float *dw = (float *)run->buf[a->dw] + (out * c->ic + s.i.begin) * c->taps;
    s.dw = scratch_at(a, worker->scratch, a->own.o_step, a->db >= 0 && !s.i.begin, &s);
    memset(s.dw, 0, n * s.row * sizeof(float));
    size_t blocks = native_blocks_in_use(run);
    const struct native_range rows = { 0, c->y.h };
    for (s.block = 0; s.block < blocks; s.block++) accumulate(a, run, &s, rows);
    for (size_t k = 0; s.db && k < n; k++) ((float *)run->buf[a->db])[out + k] = (float)s.db[k];
    for (size_t k = 0; k < n; k++)
        memcpy(dw + k * c->ic * c->taps, s.dw + k * s.row, columns * sizeof(float));
}

/* ------------------------------------------------------------------------------------- planning */

enum cvy_status cvyi_native_wgrad_owned(struct cvy_plan *plan, struct native_wgrad *a)
{
    const struct native_geometry *c = &a->conv;
    const struct native_rectangles *own = &a->own;
    native_chose(plan, CHOICE_OWNED_SMALL, own->o_step <= 4 && own->i_step <= 2);
    if (!cvyi_native_wgrad_boxes(plan, a))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    struct cvy_phase_desc phase = { .name = a->name,
                                    .run = owned_run,
                                    .arg = a,
                                    .parts = c->groups * own->o_ranges * own->i_ranges,
                                    .scratch_bytes =
                                        scratch_bytes(a, own->o_step) +
                                        own->o_step * own->i_step * c->taps * sizeof(float),
                                    .flops = native_conv_flops(a->native, c) };
    native_access(&phase, c->x.id, CVY_READ_ALL);
    native_access(&phase, c->y.id, CVY_READ_ALL);
    native_access(&phase, a->dw, CVY_WRITE_ALL);
    native_access(&phase, a->db, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

enum cvy_status cvyi_native_wgrad_slot_buffer(struct cvy_plan *plan, struct native_wgrad *a)
{
    const struct native_geometry *c = &a->conv;
    size_t total = native_n_weights(c) + (a->db < 0 ? 0 : c->groups * c->oc);
    a->slot = ceil_div(total, NATIVE_LANES) * NATIVE_LANES;
    a->slots = cvy_plan_buffer(plan, "dw.slots",
                               a->cut.blocks * a->cut.bands * a->slot * sizeof(float), false);
    if (a->slots < 0) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    return CVY_OK;
}

enum cvy_status cvyi_native_wgrad_fold(struct cvy_plan *plan, struct native_wgrad *a)
{
    struct native_work work = { .blocks = 1,
                                .tiles = ceil_div(a->slot, (size_t)256),
                                .wanted = NATIVE_TASKS };
    a->fold_tasks = cvyi_native_cut(&work).parts;
    struct cvy_phase_desc fold = {
        .name = a->name, .run = fold_run, .arg = a, .parts = a->fold_tasks
    };
    native_access(&fold, a->slots, CVY_READ_ALL);
    native_access(&fold, a->dw, CVY_WRITE_ALL);
    native_access(&fold, a->db, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &fold);
}

enum cvy_status cvyi_native_wgrad_slots(struct cvy_plan *plan, struct native_wgrad *a)
{
    const struct native_geometry *c = &a->conv;
    if (!cvyi_native_wgrad_boxes(plan, a))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    native_chose(plan, CHOICE_SLOT_BANDS, a->cut.bands > 1);
    native_chose(plan, CHOICE_SLOT_PARTS, a->cut.parts > 1);
    NATIVE_TRY(cvyi_native_wgrad_slot_buffer(plan, a));
    bool cells = native_parts(a->native) == 1;
    struct cvy_phase_desc phase = { .name = a->name,
                                    .run = slots_run,
                                    .arg = a,
                                    .blocks = cells ? a->cut.blocks : 0,
                                    .parts = cells ? 1 : native_tasks(a->cut),
                                    .scratch_bytes = scratch_bytes(a, c->oc),
                                    .flops = native_conv_flops(a->native, c) };
    native_access(&phase, c->x.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, c->y.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, a->slots, cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    NATIVE_TRY(cvy_plan_phase(plan, &phase));
    return cvyi_native_wgrad_fold(plan, a);
}
