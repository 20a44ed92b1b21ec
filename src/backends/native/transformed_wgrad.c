/* Gradients of weights by F(4x4, 3x3) and, by rows, F(4, 3) and F(4, 5), the adjoints of
 * transformed.c and transformed_rows.c: dU = D V at each point, D = A dy At, V = Bt x B, summed
 * over tiles and images (by rows for each row of the kernel); once all are summed, dw = Gt dU G. As
 * in wgrad_regions.c, channels of D lie side by side, and are multiplied by the numbers of V: dy is
 * transposed on the way to D, which has more points than dy has pixels. */
#include <string.h>

#include "backends/native/transformed.h"
#include "backends/native/wgrad.h"

#define REGION ((size_t)4)  /* tiles at a time; half as many if they and the sums would leave L2 */
#define BAND ((size_t)8)    /* tiles of a slot, at least */
#define SIDE_O ((size_t)64) /* weights of a task: output and … */
#define SIDE_I ((size_t)64) /* … input channels, at most */
#define TASKS ((size_t)16)  /* … of which there are enough then */
/* floats of an image's tile of dy */
enum { TURNED = TILE_SIDE * TILE_SIDE * CVYI_LANES };

struct transformed_wgrad {
    struct native_wgrad wgrad;  /* maps, cut, slots, own */
    bool rows;                  /* by rows: a region is some of them, else some tiles */
    size_t points, units, taps; /* a kernel is `units` times `taps` */
    size_t n_regions, region;   /* tiles of a region, at most */
    /* F(4x4, 3x3) */
    size_t n_places;
    const struct native_place *place;
    /* by rows */
    size_t tiles;                        /* of a row */
    const struct native_range *tap_rows; /* of y, by row of the kernel */
    size_t v_point, d_point, u_point;    /* floats of a point */
    size_t v_tile;                       /* of a tile: its channels lie side by side */
};

/* -------------------------------------------------------------------------------------- running */

struct sums {
    size_t block, group;
    struct native_range o, i;
    float *u, *v;  /* u[point][i][unit][o, padded] */
    float *d;      /* [point][o / outer_n][tile][lane][o % outer_n] */
    float *turned; /* a tile of dy: [lane][pixel][sixteen channels] */
};

static size_t padded(size_t channels) { return ceil_div(channels, NATIVE_LANES) * NATIVE_LANES; }

/* A tile of dy, so many rows and columns of it, to D, sixteen channels at a time: they are turned
 * into the lanes, sixteen pixels an image, and each image is transformed as a channel else is. */
static void transform_dy(const struct transformed_wgrad *a, const struct sums *s, size_t tile,
                         const float *dy, size_t height, size_t width)
{
    const struct cvyi_kernels *k = a->wgrad.native->kernels;
    const struct native_lanes *y = &a->wgrad.conv.y;
    const size_t n = s->o.end - s->o.begin, n_pad = padded(n), row = y->w * NATIVE_LANES,
                 channel = y->plane * NATIVE_LANES;
    for (size_t c = 0; c < n; c += NATIVE_LANES, dy += NATIVE_LANES * channel) {
        const size_t more =
            c + NATIVE_LANES < n ? native_min(n - c - NATIVE_LANES, NATIVE_LANES) : 0;
        for (size_t i = 0; i < height; i++)
            for (size_t j = 0; j < width; j++) {
                const float *pixel = dy + i * row + j * NATIVE_LANES;
                native_ask(pixel + NATIVE_LANES * channel, more, channel);
                k->lanes->transpose(s->turned + (i * TILE_SIDE + j) * NATIVE_LANES, TURNED, pixel,
                                    channel, native_min(n - c, NATIVE_LANES), NATIVE_LANES);
            }
        const size_t first = c / k->wgrad->outer_n * k->wgrad->outer_n,
                     columns = native_min(k->wgrad->outer_n, n_pad - first);
        float *d = s->d + (first * a->region + tile * columns) * NATIVE_LANES + (c - first);
        if (a->rows) {
            const struct cvyi_winograd_row g = { .n = NATIVE_LANES,
                                                 .tiles = 1,
                                                 .width = (ptrdiff_t)width,
                                                 .x_channel = TURNED,
                                                 .v_point = a->d_point,
                                                 .v_channel = columns };
            k->winograd->row_grad[native_row_kernel(&a->wgrad.conv)](&g, s->turned, d);
        } else {
            const struct cvyi_winograd g = { .n = NATIVE_LANES,
                                             .x_row = TILE_SIDE * CVYI_LANES,
                                             .x_channel = TURNED,
                                             .v_point = a->d_point,
                                             .v_channel = columns,
                                             .rows = { 0, height },
                                             .cols = { 0, width } };
            k->winograd->grad(&g, s->turned, d);
        }
    }
}

static void transform(const struct transformed_wgrad *a, const struct cvy_run *run,
                      const struct sums *s, const struct native_place *place, size_t n)
{
    const struct native_geometry *c = &a->wgrad.conv;
    const float *x = native_at(run, &c->x, s->block, s->group * c->ic + s->i.begin),
                *dy = native_at(run, &c->y, s->block, s->group * c->oc + s->o.begin);
    struct cvyi_winograd in = { .n = s->i.end - s->i.begin,
                                .x_row = (ptrdiff_t)(c->x.w * NATIVE_LANES),
                                .x_channel = (ptrdiff_t)(c->x.plane * NATIVE_LANES),
                                .v_point = a->v_point,
                                .v_channel = NATIVE_LANES };
    for (size_t t = 0; t < n; t++) {
        const struct native_place *p = &place[t];
        for (int i = 0; i < 2; i++) {
            in.rows[i] = p->rows[i];
            in.cols[i] = p->cols[i];
        }
        a->wgrad.native->kernels->winograd->in(&in, x + p->at, s->v + t * a->v_tile);
        transform_dy(a, s, t, dy + p->to, p->height, p->width);
    }
}

/* Rows of x that rows of y read. */
static struct native_range source_of(const struct native_geometry *c, struct native_range rows)
{
    ptrdiff_t begin = native_source(c, 0, rows.begin, 0),
              end = native_source(c, 0, rows.end - 1, c->kernel[0] - 1) + 1;
    if (begin < 0) begin = 0;
    if (end > (ptrdiff_t)c->x.h) end = (ptrdiff_t)c->x.h;
    if (begin >= end) return (struct native_range){ 0, 0 };
    return (struct native_range){ (size_t)begin, (size_t)end };
}

static void transform_rows(const struct transformed_wgrad *a, const struct cvy_run *run,
                           const struct sums *s, struct native_range rows)
{
    const struct native_geometry *c = &a->wgrad.conv;
    const struct cvyi_winograd_kernels *k = a->wgrad.native->kernels->winograd;
    const float *x = native_at(run, &c->x, s->block, s->group * c->ic + s->i.begin),
                *dy = native_at(run, &c->y, s->block, s->group * c->oc + s->o.begin);
    const size_t kernel = native_row_kernel(c);
    struct native_range source = source_of(c, rows);
    struct cvyi_winograd_row in = { .n = s->i.end - s->i.begin,
                                    .tiles = a->tiles,
                                    .first = -(ptrdiff_t)c->pad[1],
                                    .width = (ptrdiff_t)c->x.w,
                                    .x_channel = (ptrdiff_t)(c->x.plane * NATIVE_LANES),
                                    .v_point = a->v_point,
                                    .v_tile = a->v_tile,
                                    .v_channel = NATIVE_LANES };
    for (size_t r = source.begin; r < source.end; r++)
        k->row_in[kernel](&in, x + r * c->x.w * NATIVE_LANES,
                          s->v + (r - source.begin) * a->tiles * a->v_tile);
    for (size_t r = rows.begin, tile = 0; r < rows.end; r++)
        for (size_t col = 0; col < c->y.w; col += TILE_SIDE, tile++)
            transform_dy(a, s, tile, dy + (r * c->y.w + col) * NATIVE_LANES, 1,
                         native_min(TILE_SIDE, c->y.w - col));
}

/* Adds the products of n tiles at one point. */
static void add_point(const struct transformed_wgrad *a, const struct sums *s, size_t point,
                      size_t n, struct native_range rows)
{
    const struct cvyi_kernels *k = a->wgrad.native->kernels;
    const size_t n_pad = padded(s->o.end - s->o.begin);
    const float *v = s->v + point * a->v_point;
    struct native_range source = { 0, 0 };
    if (a->rows) source = source_of(&a->wgrad.conv, rows);
    struct cvyi_outer g = { .n_i = s->i.end - s->i.begin,
                            .n_images = n * NATIVE_LANES,
                            .x_block = a->v_tile,
                            .x_i = NATIVE_LANES,
                            .dw_i = a->units * n_pad,
                            .accumulate = true };
    for (size_t o = 0; o < n_pad; o += k->wgrad->outer_n) {
        g.n_oc = g.dyt_n = native_min(k->wgrad->outer_n, n_pad - o);
        const float *d = s->d + point * a->d_point + o * a->region * NATIVE_LANES;
        float *u = s->u + point * a->u_point + o;
        if (!a->rows) k->wgrad->outer(&g, d, v, u);
        for (size_t unit = 0; a->rows && unit < a->units; unit++) {
            struct native_range r = native_meet(rows, a->tap_rows[unit]);
            if (r.begin >= r.end) continue;
            size_t from = (size_t)native_source(&a->wgrad.conv, 0, r.begin, unit) - source.begin;
            g.n_images = (r.end - r.begin) * a->tiles * NATIVE_LANES;
            k->wgrad->outer(&g, d + (r.begin - rows.begin) * a->tiles * NATIVE_LANES * g.dyt_n,
                            v + from * a->tiles * a->v_tile, u + unit * n_pad);
        }
    }
}

/* dw = Gt dU G, to where the weight has it. */
static void store(const struct transformed_wgrad *a, const struct sums *s, float *dw)
{
    const struct native_geometry *c = &a->wgrad.conv;
    const struct cvyi_winograd_kernels *k = a->wgrad.native->kernels->winograd;
    const size_t n_i = s->i.end - s->i.begin, n_o = s->o.end - s->o.begin, n_pad = padded(n_o),
                 row = c->ic * c->taps;
    cvyi_winograd_dw_fn *back = a->rows ? k->row_dw[native_row_kernel(c)] : k->dw;
    float *sums = s->v;
    for (size_t i = 0; i < n_i * a->units; i++) {
        size_t kernel = i / a->units * c->taps, tap = i % a->units * a->taps;
        if (c->flip) tap = c->taps - 1 - tap;
        back(sums + (kernel + tap) * n_pad, c->flip ? -(ptrdiff_t)n_pad : (ptrdiff_t)n_pad,
             s->u + i * n_pad, a->u_point, n_pad);
    }
    dw += (s->group * c->oc + s->o.begin) * row + s->i.begin * c->taps;
    cvyi_native_wgrad_store(&a->wgrad, dw, row, sums, n_pad, n_o, n_i * c->taps);
}

static void add_block(const struct transformed_wgrad *a, const struct cvy_run *run,
                      const struct sums *s, struct native_range regions)
{
    for (size_t r = regions.begin; r < regions.end; r++) {
        struct native_range p =
            native_share(a->rows ? a->wgrad.conv.y.h : a->n_places, r, a->n_regions);
        size_t n = (p.end - p.begin) * (a->rows ? a->tiles : 1);
        if (a->rows) transform_rows(a, run, s, p);
        else transform(a, run, s, a->place + p.begin, n);
        for (size_t k = 0; k < a->points; k++) add_point(a, s, k, n, p);
    }
}

static void wgrad_run(const void *arg, const struct cvy_run *run, size_t task,
                      struct cvy_worker *worker)
{
    const struct transformed_wgrad *a = arg;
    const struct native_wgrad *w = &a->wgrad;
    const struct native_geometry *c = &w->conv;
    const bool slots = w->slots >= 0;
    struct native_task t = native_task(w->cut, task);
    size_t blocks = native_blocks_in_use(run);
    if (slots && t.block >= blocks) return;
    if (slots) blocks = t.block + 1;
    struct sums s = { 0 };
    s.group = native_own(w, t.part, &s.o, &s.i);
    double *db = worker->scratch;
    s.u = (float *)(db + padded(w->own.o_step));
    s.turned = s.u + a->points * a->u_point;
    s.v = s.turned + TURNED * NATIVE_LANES;
    s.d = s.v + a->points * a->v_point;
    const size_t out = s.group * c->oc + s.o.begin, n = s.o.end - s.o.begin;
    const bool bias = w->db >= 0 && !s.i.begin;
    memset(db, 0, n * sizeof *db);
    memset(s.u, 0, a->points * a->u_point * sizeof *s.u);
    for (s.block = t.block; s.block < blocks; s.block++) {
        add_block(a, run, &s, native_share(a->n_regions, t.band, w->cut.bands));
        if (bias)
            cvyi_native_wgrad_bias(w, run, s.block, out, n,
                                   native_share(c->y.h * c->y.w, t.band, w->cut.bands), db);
    }
    float *dw = run->buf[w->dw], *to = bias ? run->buf[w->db] : NULL;
    if (slots) {
        dw = (float *)run->buf[w->slots] + (t.block * w->cut.bands + t.band) * w->slot;
        to = dw + native_n_weights(c);
    }
    store(a, &s, dw);
    for (size_t k = 0; bias && k < n; k++) to[out + k] = (float)db[k];
}

/* ------------------------------------------------------------------------------------- planning */

/* Output x input channels of a task. */
static void own(struct transformed_wgrad *a)
{
    struct native_wgrad *w = &a->wgrad;
    const struct native_geometry *c = &w->conv;
    const size_t o_ranges = ceil_div(c->oc, SIDE_O), i_ranges = ceil_div(c->ic, SIDE_I);
    w->own = (struct native_rectangles){ .groups = c->groups, .o = c->oc, .i = c->ic };
    w->own.o_step = native_min(c->oc, padded(ceil_div(c->oc, o_ranges)));
    w->own.i_step = ceil_div(c->ic, i_ranges);
    w->own.o_ranges = ceil_div(c->oc, w->own.o_step);
    w->own.i_ranges = ceil_div(c->ic, w->own.i_step);
}

/* Weights first: where there are enough of them, tasks own them and walk over all blocks. */
static void cut(struct transformed_wgrad *a)
{
    struct native_wgrad *w = &a->wgrad;
    const size_t ranges = w->conv.groups * w->own.o_ranges * w->own.i_ranges,
                 blocks = w->native->blocks;
    w->cut = (struct native_cut){ 1, 1, ranges };
    w->slots = -1;
    if (ranges >= TASKS) return;
    const size_t bands = ceil_div(TASKS, ranges * blocks),
                 most = a->rows ? a->n_regions : ceil_div(a->n_places, BAND);
    w->cut = (struct native_cut){ blocks, native_min(bands, most), ranges };
    w->slots = 0;
}

/* Regions of tiles, or of rows; false: out of memory. */
static bool see_map(struct cvy_plan *plan, struct transformed_wgrad *a)
{
    const struct native_geometry *c = &a->wgrad.conv;
    if (!a->rows) {
        const ptrdiff_t pad[2] = { (ptrdiff_t)c->pad[0], (ptrdiff_t)c->pad[1] };
        a->points = POINTS;
        a->units = 1;
        a->taps = TAPS;
        a->place = cvyi_native_places(plan, &c->y, &c->x, pad);
        a->n_places = native_places(&c->y);
        const size_t o = padded(a->wgrad.own.o_step), i = a->wgrad.own.i_step,
                     floats = POINTS * (REGION * (o + i) * NATIVE_LANES + o * i);
        a->n_regions = ceil_div(a->n_places, floats > STAY_FLOATS ? REGION / 2 : REGION);
        a->region = ceil_div(a->n_places, a->n_regions);
        return a->place;
    }
    struct native_range *rows = cvy_plan_alloc(plan, c->kernel[0] * sizeof *rows);
    a->points = native_row_points(c);
    a->units = c->kernel[0];
    a->taps = c->kernel[1];
    a->tiles = ceil_div(c->y.w, TILE_SIDE);
    a->n_regions = ceil_div(c->y.h, ROW_REGION / a->tiles);
    a->region = ceil_div(c->y.h, a->n_regions) * a->tiles;
    for (size_t k = 0; rows && k < a->units; k++) rows[k] = cvyi_native_tap_range(c, 0, k);
    a->tap_rows = rows;
    return rows;
}

enum cvy_status cvyi_native_transformed_wgrad(struct native *native, struct cvy_plan *plan,
                                              const struct native_conv *conv)
{
    struct transformed_wgrad *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    struct native_wgrad *w = &a->wgrad;
    *w = (struct native_wgrad){ .native = native,
                                .name = conv->name,
                                .conv = conv->geometry,
                                .dw = conv->weight,
                                .db = conv->bias };
    const struct native_geometry *c = &w->conv;
    a->rows = native_by_rows(conv);
    own(a);
    if (!see_map(plan, a)) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    cut(a);
    const size_t o_step = w->own.o_step, i_step = w->own.i_step;
    const size_t source = a->region + (a->rows ? (a->units - 1) * a->tiles : 0);
    a->v_tile = i_step * NATIVE_LANES;
    a->u_point = i_step * a->units * padded(o_step);
    a->v_point = native_point(i_step, source);
    a->d_point = native_point(padded(o_step), a->region);
    const bool slots = native_chose(plan, CHOICE_TRANSFORMED_SLOTS, w->slots >= 0);
    if (slots) NATIVE_TRY(cvyi_native_wgrad_slot_buffer(plan, w));
    const bool cells = slots && native_parts(native) == 1 && native_tasks(w->cut) == w->cut.blocks;
    /* the gradients of the taps take the place of v and d */
    size_t floats = a->points * (a->v_point + a->d_point), taps = a->taps * a->u_point;
    floats = (floats > taps ? floats : taps) + a->points * a->u_point + TURNED * NATIVE_LANES;
    struct cvy_phase_desc phase = {
        .name = conv->name,
        .run = wgrad_run,
        .arg = a,
        .blocks = cells ? w->cut.blocks : 0,
        .parts = cells ? 1 : native_tasks(w->cut),
        .scratch_bytes = padded(o_step) * sizeof(double) + floats * sizeof(float),
        .flops = native_conv_flops(native, c),
    };
    native_access(&phase, c->x.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, c->y.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    const enum cvy_access write = cells ? CVY_WRITE_CELL : CVY_WRITE_ALL;
    if (slots) native_access(&phase, w->slots, write);
    else {
        native_access(&phase, w->dw, write);
        native_access(&phase, w->db, write);
    }
    NATIVE_TRY(cvy_plan_phase(plan, &phase));
    return slots ? cvyi_native_wgrad_fold(plan, w) : CVY_OK;
}
