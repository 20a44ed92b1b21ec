/* Gradients of the weights of 3x3 convolutions by F(4x4, 3x3), the adjoint of transformed.c:
 * dU = D V at each point, D = A dy At, V = Bt x B, summed over tiles and images; once all are
 * summed, dw = Gt dU G. As in wgrad_regions.c, D is transposed so that its channels lie side by
 * side, and multiplied by the numbers of V. */
#include <string.h>

#include "backends/native/transformed.h"
#include "backends/native/wgrad.h"

#define REGION ((size_t)8)  /* tiles at a time */
#define PANEL ((size_t)32)  /* channels of dy side by side */
#define SIDE_O ((size_t)64) /* weights of a task: output and … */
#define SIDE_I ((size_t)64) /* … input channels, at most */
#define TASKS ((size_t)16)  /* … of which there are enough then */

struct transformed_wgrad {
    struct native_wgrad wgrad; /* maps, cut, slots, own */
    size_t n_places, n_regions, region;
    const struct native_place *place;
    size_t v_point, d_point, u_point; /* floats of a point */
};

/* -------------------------------------------------------------------------------------- running */

struct sums {
    size_t block, group;
    struct native_range o, i;
    float *u, *v, *d, *panel; /* u[point][i][o, padded] */
};

static size_t padded(size_t channels) { return ceil_div(channels, NATIVE_LANES) * NATIVE_LANES; }

static void transform(const struct transformed_wgrad *a, const struct cvy_run *run,
                      const struct sums *s, const struct native_place *place, size_t n)
{
    const struct native_geometry *c = &a->wgrad.conv;
    const struct cvyi_winograd_kernels *k = a->wgrad.native->kernels->winograd;
    const float *x = native_at(run, &c->x, s->block, s->group * c->ic + s->i.begin),
                *dy = native_at(run, &c->y, s->block, s->group * c->oc + s->o.begin);
    struct cvyi_winograd in = { .n = s->i.end - s->i.begin,
                                .x_row = (ptrdiff_t)(c->x.w * NATIVE_LANES),
                                .x_channel = (ptrdiff_t)(c->x.plane * NATIVE_LANES),
                                .v_point = a->v_point,
                                .v_channel = a->region * NATIVE_LANES },
                         grad = { .n = s->o.end - s->o.begin,
                                  .x_row = (ptrdiff_t)(c->y.w * NATIVE_LANES),
                                  .x_channel = (ptrdiff_t)(c->y.plane * NATIVE_LANES),
                                  .v_point = a->d_point,
                                  .v_channel = a->region * NATIVE_LANES };
    for (size_t t = 0; t < n; t++) {
        const struct native_place *p = &place[t];
        for (int i = 0; i < 2; i++) {
            in.rows[i] = p->rows[i];
            in.cols[i] = p->cols[i];
        }
        grad.rows[1] = p->height;
        grad.cols[1] = p->width;
        k->in(&in, x + p->at, s->v + t * NATIVE_LANES);
        k->grad(&grad, dy + p->to, s->d + t * NATIVE_LANES);
    }
}

/* Adds the products of n tiles at one point. */
static void add_point(const struct transformed_wgrad *a, const struct sums *s, size_t point,
                      size_t n)
{
    const struct cvyi_kernels *k = a->wgrad.native->kernels;
    const size_t n_o = s->o.end - s->o.begin, n_pad = padded(n_o), step = a->region * NATIVE_LANES;
    const float *d = s->d + point * a->d_point;
    struct cvyi_outer g = { .n_i = s->i.end - s->i.begin,
                            .n_images = n * NATIVE_LANES,
                            .x_block = NATIVE_LANES,
                            .x_i = step,
                            .dw_i = n_pad,
                            .accumulate = true };
    for (size_t o = 0; o < n_pad; o += PANEL) {
        g.n_oc = g.dyt_n = native_min(PANEL, n_pad - o);
        for (size_t t = 0; t < n; t++)
            k->lanes->transpose(s->panel + t * NATIVE_LANES * g.dyt_n, g.dyt_n,
                                d + o * step + t * NATIVE_LANES, step, native_min(n_o - o, g.n_oc),
                                g.n_oc);
        k->wgrad->outer(&g, s->panel, s->v + point * a->v_point, s->u + point * a->u_point + o);
    }
}

/* dw = Gt dU G, to where the weight has it. */
static void store(const struct transformed_wgrad *a, const struct sums *s, float *dw)
{
    const struct native_geometry *c = &a->wgrad.conv;
    const size_t n_i = s->i.end - s->i.begin, n_o = s->o.end - s->o.begin, n_pad = padded(n_o),
                 row = c->ic * TAPS;
    float *sums = s->v;
    for (size_t i = 0; i < n_i; i++) {
        float *to = sums + i * TAPS * n_pad;
        ptrdiff_t tap = (ptrdiff_t)n_pad;
        if (c->flip) {
            to += (TAPS - 1) * n_pad;
            tap = -tap;
        }
        a->wgrad.native->kernels->winograd->dw(to, tap, s->u + i * n_pad, a->u_point, n_pad);
    }
    dw += (s->group * c->oc + s->o.begin) * row + s->i.begin * TAPS;
    cvyi_native_wgrad_store(&a->wgrad, dw, row, sums, n_pad, n_o, n_i * TAPS);
}

static void add_block(const struct transformed_wgrad *a, const struct cvy_run *run,
                      const struct sums *s, struct native_range regions)
{
    for (size_t r = regions.begin; r < regions.end; r++) {
        struct native_range p = native_share(a->n_places, r, a->n_regions);
        transform(a, run, s, a->place + p.begin, p.end - p.begin);
        for (size_t k = 0; k < POINTS; k++) add_point(a, s, k, p.end - p.begin);
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
    s.v = s.u + POINTS * a->u_point;
    s.d = s.v + POINTS * a->v_point;
    s.panel = s.d + POINTS * a->d_point;
    const size_t out = s.group * c->oc + s.o.begin, n = s.o.end - s.o.begin;
    const bool bias = w->db >= 0 && !s.i.begin;
    memset(db, 0, n * sizeof *db);
    memset(s.u, 0, POINTS * a->u_point * sizeof *s.u);
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

/* Weights first: where there are enough of them, tasks own them and walk over all blocks. */
static void cut(struct transformed_wgrad *a)
{
    struct native_wgrad *w = &a->wgrad;
    const struct native_geometry *c = &w->conv;
    const size_t o_ranges = ceil_div(c->oc, SIDE_O), i_ranges = ceil_div(c->ic, SIDE_I);
    w->own = (struct native_rectangles){ .groups = c->groups, .o = c->oc, .i = c->ic };
    w->own.o_step = native_min(c->oc, padded(ceil_div(c->oc, o_ranges)));
    w->own.i_step = ceil_div(c->ic, i_ranges);
    w->own.o_ranges = ceil_div(c->oc, w->own.o_step);
    w->own.i_ranges = ceil_div(c->ic, w->own.i_step);
    const size_t ranges = c->groups * w->own.o_ranges * w->own.i_ranges;
    w->cut = (struct native_cut){ 1, 1, ranges };
    w->slots = -1;
    if (ranges >= TASKS) return;
    const size_t blocks = w->native->blocks, bands = ceil_div(TASKS, ranges * blocks);
    w->cut = (struct native_cut){ blocks, native_min(bands, a->n_regions), ranges };
    w->slots = 0;
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
    const ptrdiff_t pad[2] = { (ptrdiff_t)c->pad[0], (ptrdiff_t)c->pad[1] };
    a->place = cvyi_native_places(plan, &c->y, &c->x, pad);
    if (!a->place) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    a->n_places = native_places(&c->y);
    a->n_regions = ceil_div(a->n_places, REGION);
    a->region = ceil_div(a->n_places, a->n_regions);
    cut(a);
    const struct native_rectangles *own = &w->own;
    a->u_point = own->i_step * padded(own->o_step);
    a->v_point = native_point(own->i_step, a->region);
    a->d_point = native_point(own->o_step, a->region);
    const bool slots = native_chose(plan, CHOICE_TRANSFORMED_SLOTS, w->slots >= 0);
    if (slots) NATIVE_TRY(cvyi_native_wgrad_slot_buffer(plan, w));
    const bool cells = slots && native_parts(native) == 1 && native_tasks(w->cut) == w->cut.blocks;
    /* the gradients of the taps take the place of v and d */
    size_t floats = POINTS * (a->v_point + a->d_point), taps = TAPS * a->u_point;
    floats =
        (floats > taps ? floats : taps) + POINTS * a->u_point + a->region * NATIVE_LANES * PANEL;
    struct cvy_phase_desc phase = {
        .name = conv->name,
        .run = wgrad_run,
        .arg = a,
        .blocks = cells ? w->cut.blocks : 0,
        .parts = cells ? 1 : native_tasks(w->cut),
        .scratch_bytes = padded(own->o_step) * sizeof(double) + floats * sizeof(float),
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
