/* Gradients of weights by regions (wgrad.c): a task transposes one map, a region of pixels at a
 * time, so that its channels lie side by side, and multiplies that panel by the numbers of the
 * other map, tap by tap. Nothing is folded between pixels, and a register tile is 32 x 12 weights,
 * so that caches bring a quarter of what they bring where images lie in the lanes. */
#include <string.h>

#include "backends/native/wgrad.h"

#define REGION_LANES ((size_t)64)  /* pixels of a call: as many numbers as a chain may have */
#define RANGE ((size_t)32)         /* channels that are transposed, cut no finer */
#define LAID_LEAST ((size_t)32)    /* of a map that is worth transposing */
#define OTHER_LEAST ((size_t)16)   /* of the other */
#define LAID_MOST ((size_t)128)    /* that a task transposes: the panels of a region fit L2, … */
#define SUM_FLOATS ((size_t)65536) /* … beside a task's weights */
#define REGION_TASKS ((size_t)32)
#define LAY_AHEAD ((size_t)4) /* pixels from that which is transposed to that which is asked for */
/* What a float costs, in floats that a task reads: that it transposes, that waits in a slot. */
#define LAY 3.0
#define SLOT 4.0

/* -------------------------------------------------------------------------------------- running */

/* What a task adds up. */
struct sums {
    size_t block, group;
    struct native_range o, i;
    float *sum, *panel; /* [other][tap][laid, padded] */
    float *made;        /* of a few channels of x, a region of what they are normalised to */
    ptrdiff_t ask;      /* from what a call reads to what the next one will; 0: nothing */
};
struct region {
    struct native_range rows, cols;
};

static struct region region_of(const struct native_wgrad *a, size_t r)
{
    return (struct region){ native_share(a->map[0], r / a->col_parts, a->row_parts),
                            native_share(a->map[1], r % a->col_parts, a->col_parts) };
}

static struct native_range pixels_of(const struct native_wgrad *a, struct region r)
{
    size_t begin = r.rows.begin * a->map[1] + r.cols.begin;
    return (struct native_range){ begin, begin + (r.rows.end - r.rows.begin) *
                                                     (r.cols.end - r.cols.begin) };
}

/* Channels that are transposed, and the others. */
static struct native_range laid(const struct native_wgrad *a, const struct sums *s)
{
    return a->across ? s->i : s->o;
}
static struct native_range others(const struct native_wgrad *a, const struct sums *s)
{
    return a->across ? s->o : s->i;
}
static size_t other_plane(const struct native_wgrad *a)
{
    return (a->across ? a->conv.y.plane : a->conv.x.plane) * NATIVE_LANES;
}
static size_t padded(struct native_range channels)
{
    return ceil_div(channels.end - channels.begin, NATIVE_LANES) * NATIVE_LANES;
}

/* Where pixel p of y is found in the map that is transposed. */
static size_t place_of(const struct native_wgrad *a, size_t p)
{
    const struct native_geometry *c = &a->conv;
    if (!a->across || c->stride[0] * c->stride[1] == 1) return p;
    return p / c->y.w * c->stride[0] * c->x.w + p % c->y.w * c->stride[1];
}

/* Pixels of n channels of x from `channel` on, normalised, to s->made, one channel behind the
 * other. */
static void make(const struct native_wgrad *a, const struct cvy_run *run, const struct sums *s,
                 size_t channel, size_t n, struct native_range pixels)
{
    const struct native_norm *norm = a->conv.norm;
    const struct native_lanes *x = &a->conv.x;
    const struct cvyi_affine *affine = run->buf[norm->affine];
    size_t floats = (pixels.end - pixels.begin) * NATIVE_LANES, c = s->group * a->conv.ic + channel;
    for (size_t k = 0; k < n; k++)
        a->native->kernels->act->norm_act[norm->act](
            s->made + k * floats, native_at(run, x, s->block, c + k) + pixels.begin * NATIVE_LANES,
            floats, &affine[c + k], norm->alpha);
}

/* What is transposed soon is asked for. */
static void ask_ahead(const struct native_wgrad *a, const float *from, size_t step, size_t n,
                      size_t pixel)
{
    if (pixel + LAY_AHEAD >= a->map[0] * a->map[1]) return;
    native_ask(from + place_of(a, pixel + LAY_AHEAD) * NATIVE_LANES, n, step);
}

/* panel[channel / outer_n][pixel][lane][channel % outer_n] */
static void lay(const struct native_wgrad *a, const struct cvy_run *run, const struct sums *s,
                struct native_range pixels)
{
    const struct native_lanes *map = a->across ? &a->conv.x : &a->conv.y;
    struct native_range c = laid(a, s);
    const float *from =
        native_at(run, map, s->block, s->group * (a->across ? a->conv.ic : a->conv.oc) + c.begin);
    const bool made = a->across && a->conv.norm;
    const size_t plane = map->plane * NATIVE_LANES, n = c.end - c.begin, n_pad = padded(c),
                 step = made ? (pixels.end - pixels.begin) * NATIVE_LANES : plane;
    const size_t outer_n = a->native->kernels->wgrad->outer_n;
    float *to = s->panel;
    for (size_t k = 0; k < n_pad; k += outer_n) {
        size_t width = native_min(n_pad - k, outer_n), first = native_min(n - k, width);
        const float *at = from + k * plane;
        if (made) make(a, run, s, c.begin + k, first, pixels);
        for (size_t p = pixels.begin; p < pixels.end; p++, to += NATIVE_LANES * width) {
            size_t place = made ? p - pixels.begin : place_of(a, p);
            if (!made) ask_ahead(a, at, plane, first, p);
            a->native->kernels->lanes->transpose(
                to, width, (made ? s->made : at) + place * NATIVE_LANES, step, first, width);
        }
    }
}

/* The first pixel of the map that is not transposed that belongs to this one of y. */
static const float *other_at(const struct native_wgrad *a, const struct cvy_run *run,
                             const struct sums *s, size_t channel, size_t row, size_t col,
                             size_t tap)
{
    const struct native_geometry *c = &a->conv;
    if (a->across)
        return native_at(run, &c->y, s->block, s->group * c->oc + channel) + col * NATIVE_LANES;
    ptrdiff_t y = native_source(c, 0, row, tap / c->kernel[1]),
              x = native_source(c, 1, col, tap % c->kernel[1]);
    return native_at(run, &c->x, s->block, s->group * c->ic + channel) +
           (y * (ptrdiff_t)c->x.w + x) * CVYI_LANES;
}

/* Adds the products of a region by one tap: channels `other` by those of one panel. */
static void add_tap(const struct native_wgrad *a, const struct cvy_run *run, const struct sums *s,
                    struct region r, struct native_range other, size_t k, size_t tap)
{
    const struct native_geometry *c = &a->conv;
    const size_t n_pad = padded(laid(a, s)), n_cols = r.cols.end - r.cols.begin,
                 pixels = n_cols * (r.rows.end - r.rows.begin);
    struct native_range rows = native_meet(r.rows, a->tap_rows[tap / c->kernel[1]]),
                        cols = native_meet(r.cols, a->tap_cols[tap % c->kernel[1]]);
    if (rows.begin >= rows.end || cols.begin >= cols.end) return;
    struct cvyi_outer g = { .n_oc = native_min(n_pad - k, a->native->kernels->wgrad->outer_n),
                            .n_i = other.end - other.begin,
                            .n_images = (cols.end - cols.begin) * NATIVE_LANES,
                            .x_block = (a->across ? 1 : c->stride[1]) * NATIVE_LANES,
                            .x_i = other_plane(a),
                            .ask_i = other_plane(a),
                            .dw_i = c->taps * n_pad,
                            .accumulate = true };
    const bool made = !a->across && c->norm;
    if (made) g.x_i = pixels * NATIVE_LANES;
    g.dyt_n = g.n_oc;
    const float *panel = s->panel + k * pixels * NATIVE_LANES;
    size_t to = (other.begin - others(a, s).begin) * c->taps +
                native_tap(c, tap / c->kernel[1], tap % c->kernel[1]);
    for (size_t row = rows.begin; row < rows.end; row++) {
        size_t at = (row - r.rows.begin) * n_cols + cols.begin - r.cols.begin;
        const float *x = other_at(a, run, s, other.begin, row, cols.begin, tap);
        g.ask = s->ask && tap == 0 ? x + s->ask : NULL;
        if (made) x = s->made;
        a->native->kernels->wgrad->outer(&g, panel + at * NATIVE_LANES * g.dyt_n, x,
                                         s->sum + to * n_pad + k);
    }
}

/* Where region r of a block begins in the map that is not transposed. */
static const float *start_of(const struct native_wgrad *a, const struct cvy_run *run,
                             const struct sums *s, size_t block, size_t r)
{
    struct region first = region_of(a, r);
    struct sums at = *s;
    at.block = block;
    return other_at(a, run, &at, others(a, s).begin, first.rows.begin, first.cols.begin, 0);
}

/* What a few of the other map's channels read stays in L1 while all panels take turns. Behind it
 * comes what is at `next` (NULL: nothing does). */
static void add_region(const struct native_wgrad *a, const struct cvy_run *run, struct sums *s,
                       size_t region, const float *next)
{
    const struct region r = region_of(a, region);
    const size_t plane = other_plane(a), outer_n = a->native->kernels->wgrad->outer_n;
    struct native_range all = others(a, s);
    size_t n = all.end - all.begin, calls = ceil_div(n, CALL_CHANNELS), n_pad = padded(laid(a, s));
    const float *start = start_of(a, run, s, s->block, region);
    lay(a, run, s, pixels_of(a, r));
    for (size_t q = 0; q < calls; q++) {
        struct native_range other = native_share(n, q, calls);
        s->ask = 0;
        if (q + 1 < calls) s->ask = (ptrdiff_t)((other.end - other.begin) * plane);
        else if (next) s->ask = next - (start + other.begin * plane);
        other.begin += all.begin;
        other.end += all.begin;
        if (!a->across && a->conv.norm)
            make(a, run, s, other.begin, other.end - other.begin, pixels_of(a, r));
        for (size_t k = 0; k < n_pad; k += outer_n)
            for (size_t tap = 0; tap < a->conv.taps; tap++) add_tap(a, run, s, r, other, k, tap);
    }
}

/* Floats of a task's sums, of its panels, and how many biases it sums. */
static size_t sum_floats(const struct native_wgrad *a)
{
    const struct native_rectangles *own = &a->own;
    size_t side = a->across ? own->i_step : own->o_step,
           other = a->across ? own->o_step : own->i_step;
    return ceil_div(side, NATIVE_LANES) * NATIVE_LANES * other * a->conv.taps;
}
static size_t panel_floats(const struct native_wgrad *a)
{
    size_t side = a->across ? a->own.i_step : a->own.o_step;
    return ceil_div(side, NATIVE_LANES) * NATIVE_LANES * REGION_LANES * NATIVE_LANES;
}

static size_t made_floats(const struct native_wgrad *a)
{
    return a->conv.norm ? CVYI_OUTER_N * REGION_LANES * NATIVE_LANES : 0;
}

static void store(const struct native_wgrad *a, const struct sums *s, float *dw)
{
    const struct native_geometry *c = &a->conv;
    const size_t row = c->ic * c->taps, rows = s->o.end - s->o.begin,
                 columns = (s->i.end - s->i.begin) * c->taps, n_pad = padded(laid(a, s));
    dw += (s->group * c->oc + s->o.begin) * row + s->i.begin * c->taps;
    if (!a->across) {
        cvyi_native_wgrad_store(a, dw, row, s->sum, n_pad, rows, columns);
        return;
    }
    for (size_t k = 0; k < rows; k++)
        memcpy(dw + k * row, s->sum + k * n_pad, columns * sizeof *dw);
}

static void regions_run(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    const struct native_wgrad *a = arg;
    const struct native_geometry *c = &a->conv;
    const bool slots = a->slots >= 0;
    struct native_task t = native_task(a->cut, task);
    size_t blocks = native_blocks_in_use(run);
    if (slots && t.block >= blocks) return;
    if (slots) blocks = t.block + 1;
    struct sums s = { 0 };
    s.group = native_own(a, t.part, &s.o, &s.i);
    double *db = worker->scratch;
    s.sum = (float *)(db + a->own.o_step);
    s.panel = s.sum + sum_floats(a);
    s.made = s.panel + panel_floats(a);
    const size_t out = s.group * c->oc + s.o.begin, n = s.o.end - s.o.begin;
    const bool bias = a->db >= 0 && !s.i.begin;
    memset(db, 0, n * sizeof *db);
    memset(s.sum, 0, sum_floats(a) * sizeof *s.sum);
    struct native_range regions = native_share(a->row_parts * a->col_parts, t.band, a->cut.bands);
    for (s.block = t.block; s.block < blocks; s.block++)
        for (size_t r = regions.begin; r < regions.end; r++) {
            const float *next = NULL;
            if (r + 1 < regions.end) next = start_of(a, run, &s, s.block, r + 1);
            else if (s.block + 1 < blocks) next = start_of(a, run, &s, s.block + 1, regions.begin);
            add_region(a, run, &s, r, next);
            if (bias)
                cvyi_native_wgrad_bias(a, run, s.block, out, n, pixels_of(a, region_of(a, r)), db);
        }
    float *dw = run->buf[a->dw], *to = bias ? run->buf[a->db] : NULL;
    if (slots) {
        dw = (float *)run->buf[a->slots] + (t.block * a->cut.bands + t.band) * a->slot;
        to = dw + native_n_weights(c);
    }
    store(a, &s, dw);
    for (size_t k = 0; bias && k < n; k++) to[out + k] = (float)db[k];
}

/* ------------------------------------------------------------------------------------- planning */

bool cvyi_native_wgrad_by_regions(const struct native_geometry *g)
{
    size_t most = g->ic > g->oc && g->taps == 1 ? g->ic : g->oc,
           least = most == g->oc ? g->ic : g->oc;
    return most >= LAID_LEAST && least >= OTHER_LEAST &&
           g->taps * RANGE * CALL_CHANNELS <= SUM_FLOATS;
}

/* How the map is seen: as one row of pixels where a pixel of y is one of x. */
static bool see_map(struct cvy_plan *plan, struct native_wgrad *a)
{
    struct native_geometry *c = &a->conv;
    struct native_range *rows = cvy_plan_alloc(plan, c->kernel[0] * sizeof *rows),
                        *cols = cvy_plan_alloc(plan, c->kernel[1] * sizeof *cols);
    if (!rows || !cols) return false;
    for (size_t k = 0; k < c->kernel[0]; k++) rows[k] = cvyi_native_tap_range(c, 0, k);
    for (size_t k = 0; k < c->kernel[1]; k++) cols[k] = cvyi_native_tap_range(c, 1, k);
    a->tap_rows = rows;
    a->tap_cols = cols;
    a->map[0] = c->y.h;
    a->map[1] = c->y.w;
    bool single =
        c->taps == 1 && !c->pad[0] && !c->pad[1] && rows->end == c->y.h && cols->end == c->y.w;
    a->across = native_chose(plan, CHOICE_ACROSS, single && c->ic < c->oc);
    if (single && (a->across || (c->stride[0] * c->stride[1] == 1 && c->x.w == c->y.w))) {
        a->map[0] = 1;
        a->map[1] = c->y.h * c->y.w;
        *rows = (struct native_range){ 0, 1 };
        *cols = (struct native_range){ 0, a->map[1] };
    }
    bool long_rows = native_chose(plan, CHOICE_REGION_COLS, a->map[1] > REGION_LANES);
    a->col_parts = ceil_div(a->map[1], REGION_LANES);
    a->row_parts = long_rows ? a->map[0] : ceil_div(a->map[0], REGION_LANES / a->map[1]);
    return true;
}

/* What a block costs, cut so: bands 0: no slots. */
static double cost_of(const struct native_wgrad *a, size_t bands, size_t laid_ranges,
                      size_t other_ranges)
{
    const struct native_geometry *c = &a->conv;
    double pixels = (double)(c->y.h * c->y.w * NATIVE_LANES * c->groups),
           x = (double)c->ic * pixels, y = (double)c->oc * pixels;
    if (!a->across) x *= (double)(c->stride[0] * c->stride[1]);
    return LAY * (a->across ? x : y) * (double)other_ranges +
           (a->across ? y : x) * (double)laid_ranges +
           SLOT * (double)bands * (double)native_n_weights(c);
}

/* Ranges of n channels, `step` of them each. */
static size_t step_of(size_t n, size_t ranges, size_t unit)
{
    return native_min(n, ceil_div(ceil_div(n, ranges), unit) * unit);
}

/* The cheapest with tasks enough, or else the one with most tasks. */
static void cut_regions(struct native_wgrad *a)
{
    const struct native_geometry *c = &a->conv;
    const size_t n_laid = a->across ? c->ic : c->oc, n_other = a->across ? c->oc : c->ic,
                 blocks = a->native->blocks, regions = a->row_parts * a->col_parts,
                 wanted = native_parts(a->native) == 1 ? NATIVE_TASKS : REGION_TASKS;
    size_t tasks = 0;
    double least = 0;
    for (size_t l = 1; l <= ceil_div(n_laid, RANGE); l *= 2)
        for (size_t q = 1; q <= ceil_div(n_other, CALL_CHANNELS); q *= 2) {
            size_t laid_step = step_of(n_laid, l, RANGE), step = step_of(n_other, q, CALL_CHANNELS),
                   ranges = ceil_div(n_laid, laid_step) * ceil_div(n_other, step) * c->groups;
            if (laid_step > LAID_MOST || laid_step * step * c->taps > SUM_FLOATS) continue;
            for (size_t bands = 0; bands <= native_min(regions, wanted); bands++) {
                size_t n = native_min(ranges * (bands ? bands * blocks : 1), wanted);
                double cost =
                    cost_of(a, bands, ceil_div(n_laid, laid_step), ceil_div(n_other, step));
                if (n < tasks || (n == tasks && cost >= least)) continue;
                tasks = n;
                least = cost;
                a->cut = (struct native_cut){ bands ? blocks : 1, bands ? bands : 1, ranges };
                a->slots = bands ? 0 : -1;
                a->own = (struct native_rectangles){ .groups = c->groups,
                                                     .o = c->oc,
                                                     .i = c->ic,
                                                     .o_step = a->across ? step : laid_step,
                                                     .i_step = a->across ? laid_step : step };
            }
        }
    a->own.o_ranges = ceil_div(c->oc, a->own.o_step);
    a->own.i_ranges = ceil_div(c->ic, a->own.i_step);
}

enum cvy_status cvyi_native_wgrad_regions(struct cvy_plan *plan, struct native_wgrad *a)
{
    const struct native_geometry *c = &a->conv;
    if (!see_map(plan, a)) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    cut_regions(a);
    const bool slots = native_chose(plan, CHOICE_REGION_SLOTS, a->slots >= 0),
               cells =
                   slots && native_parts(a->native) == 1 && native_tasks(a->cut) == a->cut.blocks;
    if (slots) NATIVE_TRY(cvyi_native_wgrad_slot_buffer(plan, a));
    struct cvy_phase_desc phase = {
        .name = a->name,
        .run = regions_run,
        .arg = a,
        .blocks = cells ? a->cut.blocks : 0,
        .parts = cells ? 1 : native_tasks(a->cut),
        .scratch_bytes = a->own.o_step * sizeof(double) +
                         (sum_floats(a) + panel_floats(a) + made_floats(a)) * sizeof(float),
        .flops = native_conv_flops(a->native, c)
    };
    native_access(&phase, c->x.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, c->y.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, c->norm ? c->norm->affine : -1, CVY_READ_ALL);
    if (slots) native_access(&phase, a->slots, cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    else {
        native_access(&phase, a->dw, CVY_WRITE_ALL);
        native_access(&phase, a->db, CVY_WRITE_ALL);
    }
    NATIVE_TRY(cvy_plan_phase(plan, &phase));
    return slots ? cvyi_native_wgrad_fold(plan, a) : CVY_OK;
}
