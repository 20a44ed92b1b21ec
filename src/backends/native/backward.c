/* Backward chains: [POOL_BWD] [ADD] [ACT_BWD] [BN_BWD_REDUCE] [BN_BWD_DATA [ADD]], any of them
 * absent, as at most two phases: one pass that unpools, adds gradients, goes through the activation
 * and sums for the batch norm a segment at a time; then the batch norm's data gradient, which is
 * bn_backward.c's. A gradient that comes through an activation and goes to the batch norm alone is
 * not stored: both passes form it anew, which moves less than to write and to read it. Nor is what
 * it is formed from, if its maker has left how (native_made). */
#include <string.h>

#include "backends/native/rows.h"

/* ---------------------------------------------------------------------------------- to the sums */

struct backward {
    const struct cvyi_kernels *k;
    struct native_grid grid;
    size_t pixels;
    /* pooled: max pooling's input; saved: the activation's; x: BN's */
    struct native_lanes dy, pooled, other, saved, x;
    /* results; the last one made is g, others absent if not kept */
    struct native_lanes unpooled, summed, g;
    bool pool, add, act, reduce, added_first;
    bool flat; /* no padding between channels: several are one run */
    size_t segment;
    const struct native_argmax *argmax; /* nothing is unpooled */
    const struct native_made *made;     /* dy is not there */
    struct native_anew anew;            /* g is not stored, but summed */
    struct native_bn bn;
    cvyi_act_bwd_fn *act_fn;
    cvyi_act_bwd_reduce_fn *act_reduce_fn;
    float alpha;
    struct native_pool window;
};

struct channel {
    const float *dy, *pooled, *other, *saved, *x; /* dy: what the segments start from, … */
    size_t first;                                 /* … from this pixel on */
    float *unpooled, *summed, *g, m;
    struct cvyi_act_norm norm;
    double s1[CVYI_LANES], s2[CVYI_LANES];
};

/* The sum of gradients and, unless `summing` does it with the sums, the activation of pixels [p, p
 * + pixels); answers where their result is. */
static const float *through(const struct backward *b, const struct channel *ch, size_t p,
                            size_t pixels, bool summing)
{
    size_t n = pixels * NATIVE_LANES, at = p * NATIVE_LANES;
    const float *src = ch->dy + (p - ch->first) * NATIVE_LANES;
    if (b->add) {
        float *to = (ch->summed ? ch->summed : ch->g) + at;
        const float *other = ch->other + at;
        b->k->rows->add(to, b->added_first ? src : other, b->added_first ? other : src, n);
        src = to;
    }
    if (!b->act || summing) return src;
    b->act_fn(ch->g + at, src, ch->saved + at, n, b->alpha);
    return ch->g + at;
}

/* Everything after unpooling for pixels [p, p + pixels), which lie in one segment. */
static void segment(const struct backward *b, struct channel *ch, size_t p, size_t pixels)
{
    size_t n = pixels * NATIVE_LANES, at = p * NATIVE_LANES;
    const float *src = through(b, ch, p, pixels, b->reduce);
    float s1[CVYI_LANES], s2[CVYI_LANES];
    if (!b->reduce) return;
    if (b->anew.on)
        b->anew.reduce(src, ch->saved ? ch->saved + at : NULL, ch->x + at, n, &ch->norm, ch->m, s1,
                       s2);
    else if (b->act)
        b->act_reduce_fn(ch->g + at, src, ch->saved + at, ch->x + at, n, b->alpha, ch->m, s1, s2);
    else b->k->norm->bn_reduce(src, ch->x + at, n, ch->m, s1, s2);
    for (size_t l = 0; l < NATIVE_LANES; l++) {
        ch->s1[l] += (double)s1[l];
        ch->s2[l] += (double)s2[l];
    }
}

/* Lanes in four chains, joined as (0+1)+(2+3). */
static double fold_lanes(const double *s)
{
    double t[4] = { 0 };
    for (size_t l = 0; l < NATIVE_LANES; l += 4)
        for (size_t i = 0; i < 4; i++) t[i] += s[l + i];
    return (t[0] + t[1]) + (t[2] + t[3]);
}

/* Whole segments of [done, ready), and what is left once everything is ready. */
static size_t segments(const struct backward *b, struct channel *ch, size_t done, size_t ready)
{
    while (done < ready && (ready == b->pixels || ready - done >= b->segment)) {
        size_t m = ready - done < b->segment ? ready - done : b->segment;
        segment(b, ch, done, m);
        done += m;
    }
    return done;
}

/* A channel of a dy that is not there, a band at a time. */
static void make_plane(const struct backward *b, const struct cvy_run *run, size_t block, size_t c,
                       struct channel *ch, float *band)
{
    const size_t w = b->dy.w, step = NATIVE_MADE * b->segment;
    ch->dy = band;
    for (size_t end; ch->first < b->pixels; ch->first = end) {
        end = native_min(ch->first + step, b->pixels);
        b->made->rows(b->made->arg, run, block, c, (struct native_range){ ch->first / w, end / w },
                      band);
        segments(b, ch, ch->first, end);
    }
}

/* What a task has for unpooling, in its scratch. */
struct unpool {
    void **dx; /* the rows of a window: of the plane, or of the ring */
    const float **rows;
    double *ring; /* rows that windows share by many, while they do */
};

static struct unpool unpool_scratch(const struct backward *b, void *scratch)
{
    size_t held = b->window.held,
           bytes = ceil_div(2 * held * sizeof(void *), (size_t)64) * (size_t)64;
    return (struct unpool){ scratch, (const float **)((void **)scratch + held),
                            (void *)((char *)scratch + bytes) };
}

static size_t unpool_scratch_bytes(const struct native_pool *p)
{
    size_t ring = p->crowded ? p->held * p->row.iw * NATIVE_LANES * sizeof(double) : 0;
    return ceil_div(2 * p->held * sizeof(void *), (size_t)64) * (size_t)64 + ring;
}

/* Output row oy of the gradient to the input rows of its windows. */
static void unpool_row(const struct backward *b, const struct unpool *u, const float *g, size_t oy,
                       size_t n_rows)
{
    const struct native_pool *p = &b->window;
    if (p->max && p->crowded)
        b->k->pool->pool_max_bwd_wide(&p->row, (double *const *)u->dx, g, u->rows, n_rows, p->tie);
    else if (p->max)
        b->k->pool->pool_max_bwd(&p->row, (float *const *)u->dx, g, u->rows, n_rows, p->tie);
    else if (p->crowded)
        b->k->pool->pool_avg_bwd_wide(&p->row, (double *const *)u->dx, g, n_rows,
                                      cvyi_pool_inv(p, oy));
    else b->k->pool->pool_avg_bwd(&p->row, (float *const *)u->dx, g, n_rows, cvyi_pool_inv(p, oy));
}

/* Rows [from, to) of the ring to the plane; those from `made` on no window has touched. */
static void leave_ring(const struct backward *b, const struct unpool *u, size_t from, size_t to,
                       size_t made, float *plane)
{
    size_t row = b->window.row.iw * NATIVE_LANES;
    for (size_t r = from; r < to; r++) {
        if (r < made) b->k->rows->narrow(plane + r * row, u->ring + r % b->window.held * row, row);
        else memset(plane + r * row, 0, row * sizeof *plane);
    }
}

/* Unpools row by row; a row is ready when no later window touches it. Rows are cleared before the
 * first does: those of the plane itself, or, where windows are many, those of a ring that they
 * leave for the plane when they are ready. */
static void unpool_plane(const struct backward *b, struct channel *ch, const float *dy,
                         const struct unpool *u)
{
    const struct native_pool *p = &b->window;
    size_t row = p->row.iw * NATIVE_LANES, cleared = 0, left = 0, done = 0;
    float *to = ch->unpooled ? ch->unpooled : ch->g;
    ch->dy = to;
    for (size_t oy = 0; oy < p->oh; oy++) {
        size_t begin, end, next, unused;
        native_pool_rows(p, oy, &begin, &end);
        if (oy + 1 < p->oh) native_pool_rows(p, oy + 1, &next, &unused);
        else next = p->ih;
        if (next > p->ih) next = p->ih;
        size_t clear = next > end && !p->crowded ? next : end;
        for (; cleared < clear; cleared++) {
            if (p->crowded) memset(u->ring + cleared % p->held * row, 0, row * sizeof *u->ring);
            else memset(to + cleared * row, 0, row * sizeof *to);
        }
        for (size_t r = begin; r < end; r++) {
            u->dx[r - begin] = p->crowded ? (void *)(u->ring + r % p->held * row) : to + r * row;
            if (ch->pooled) u->rows[r - begin] = ch->pooled + r * row;
        }
        unpool_row(b, u, dy + oy * p->row.ow * NATIVE_LANES, oy, end - begin);
        if (p->crowded) {
            leave_ring(b, u, left, next, end, to);
            left = next;
        }
        if (b->add || b->act || b->reduce) done = segments(b, ch, done, next * p->row.iw);
    }
}

static struct channel channel_at(const struct backward *b, const struct cvy_run *run, size_t block,
                                 size_t c)
{
    return (struct channel){
        .dy = native_at_or_null(run, &b->dy, block, c),
        .pooled = native_at_or_null(run, &b->pooled, block, c),
        .other = native_at_or_null(run, &b->other, block, c),
        .saved = native_at_or_null(run, &b->saved, block, c),
        .x = native_at_or_null(run, &b->x, block, c),
        .unpooled = native_at_or_null(run, &b->unpooled, block, c),
        .summed = native_at_or_null(run, &b->summed, block, c),
        .g = native_at_or_null(run, &b->g, block, c),
    };
}

/* A cell without padding between its channels: several of them, or of one pixel each, at once. */
static void run_flat(const struct backward *b, const struct cvy_run *run, struct native_cell cell,
                     double *slot)
{
    struct channel ch = channel_at(b, run, cell.block, cell.c0);
    const double *stats = native_buf(run, b->bn.stats);
    size_t pixels = (cell.c1 - cell.c0) * b->pixels;
    for (size_t p = 0, m; p < pixels; p += m) {
        m = pixels - p < NATIVE_SEGMENT ? pixels - p : NATIVE_SEGMENT;
        const float *g = through(b, &ch, p, m, false);
        size_t c = cell.c0 + p;
        if (b->reduce)
            b->k->norm->each_reduce(g, ch.x + p * NATIVE_LANES, m, stats + c, slot + c,
                                    slot + b->bn.c + c);
    }
}

/* Sums over the maxima alone, or what becomes of the gradient on the whole plane. */
static void run_argmax(const struct backward *b, const struct cvy_run *run, struct native_cell cell,
                       double *slot)
{
    const double *stats = native_buf(run, b->bn.stats);
    for (size_t c = cell.c0; c < cell.c1; c++) {
        const float *g = native_at(run, &b->dy, cell.block, c);
        const uint8_t *at = cvyi_argmax_at(b->argmax, run, cell.block, c);
        if (b->reduce) {
            double s1[CVYI_LANES] = { 0 }, s2[CVYI_LANES] = { 0 };
            const float *x = native_at(run, &b->argmax->x, cell.block, c);
            cvyi_argmax_sums(b->argmax, b->k, at, x, g, (float)stats[c], s1, s2);
            slot[c] = fold_lanes(s1);
            slot[b->bn.c + c] = fold_lanes(s2);
        } else {
            cvyi_argmax_bwd(b->argmax, b->k, at, native_at(run, &b->g, cell.block, c), g);
        }
    }
}

static void run_cell(const struct backward *b, const struct cvy_run *run, struct native_cell cell,
                     void *scratch)
{
    const double *stats = native_buf(run, b->bn.stats);
    double *slot = b->reduce ? (double *)run->buf[b->bn.slots] + cell.block * 2 * b->bn.c : NULL;
    const struct unpool u = unpool_scratch(b, scratch);
    if (b->argmax) {
        run_argmax(b, run, cell, slot);
        return;
    }
    if (b->flat) {
        run_flat(b, run, cell, slot);
        return;
    }
    for (size_t c = cell.c0; c < cell.c1; c++) {
        struct channel ch = channel_at(b, run, cell.block, c);
        if (b->reduce) ch.m = (float)stats[c];
        ch.norm = native_act_norm(&b->anew, run, c);
        if (b->pool) unpool_plane(b, &ch, ch.dy, &u);
        else if (b->made) make_plane(b, run, cell.block, c, &ch, scratch);
        else segments(b, &ch, 0, b->pixels);
        if (b->reduce) {
            slot[c] = fold_lanes(ch.s1);
            slot[b->bn.c + c] = fold_lanes(ch.s2);
        }
    }
}

static void run_backward(const void *arg, const struct cvy_run *run, size_t task,
                         struct cvy_worker *worker)
{
    const struct backward *b = arg;
    struct native_cell cell = native_cell(b->grid, b->dy.c, task);
    NATIVE_BLOCKS (cell, run) run_cell(b, run, cell, worker->scratch);
}

/* ------------------------------------------------------------------------------------- planning */

/* Which act_bwd of the table, which saved value it reads, and its constant. */
struct act_bwd {
    int index, saved;
    float alpha;
};

/* Of input and output the op has the one that its kind asks. A ReLU that has the input is told by
 * it where zero was. */
static struct act_bwd act_bwd_of(const struct cvy_op_desc *op)
{
    const cvy_act_desc *d = &op->u.act;
    int x = op->in[CVY_ACT_BWD_X], saved = x >= 0 ? x : op->in[CVY_ACT_BWD_Y];
    if (d->kind == CVY_RELU && x >= 0)
        return (struct act_bwd){ CVYI_RELU_X, saved, (float)d->relu_grad_at_zero };
    return (struct act_bwd){ (int)d->kind, saved, (float)d->alpha };
}

static int take(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    (void)native, (void)plan;
    return cvyi_backward_parse(ops, n).n;
}

/* Which values the pass reads, and which results are kept: the last one made, g, is. */
static void open_backward(const struct cvy_plan *plan, const struct native_backward *chain,
                          const struct cvy_op_desc *ops, size_t last, struct backward *b)
{
    const struct cvy_op_desc *pool = chain->pool, *add = chain->add, *act = chain->act,
                             *reduce = chain->reduce, *made = pool;
    if (add) made = add;
    if (act) made = act;
    bool keep_pool =
        pool && pool != made && cvy_plan_needed_after(plan, pool->out[CVY_POOL_BWD_DX], last);
    bool keep_sum = add && add != made && cvy_plan_needed_after(plan, add->out[CVY_ADD_Y], last);
    int dy = reduce == &ops[0] ? reduce->in[CVY_BN_BWD_REDUCE_DY] : ops[0].in[CHAIN_X], other = -1;
    if (add) other = add->in[chain->added_first ? CVY_ADD_B : CVY_ADD_A];
    b->dy = native_lanes(plan, dy);
    b->other = native_lanes(plan, other);
    b->saved.id = b->pooled.id = -1;
    b->x = native_lanes(plan, reduce ? reduce->in[CVY_BN_BWD_REDUCE_X] : -1);
    b->unpooled = native_lanes(plan, keep_pool ? pool->out[CVY_POOL_BWD_DX] : -1);
    b->summed = native_lanes(plan, keep_sum ? add->out[CVY_ADD_Y] : -1);
    b->g = native_lanes(plan, made ? made->out[CHAIN_Y] : -1);
    b->pool = pool;
    b->add = add;
    b->act = act;
    b->reduce = reduce;
    b->added_first = chain->added_first;
    b->bn.slots = b->bn.stats = b->anew.affine = b->anew.saved.id = -1;
}

/* The window. Where its maxima remembered their places the plane is not needed, and with sums
 * nothing is made before dx. */
static enum cvy_status plan_unpool(const struct native *native, struct cvy_plan *plan,
                                   const struct cvy_op_desc *pool, struct backward *b)
{
    cvy_shape in = cvy_plan_value(plan, pool->out[CVY_POOL_BWD_DX])->shape,
              out = cvy_plan_value(plan, b->dy.id)->shape;
    NATIVE_TRY(cvyi_pool_make(plan, &pool->u.pool, in, out, &b->window));
    if (b->window.max) b->pooled = native_lanes(plan, pool->in[CVY_POOL_BWD_X]);
    b->argmax = cvyi_argmax_of(native, b->pooled.id);
    if (!b->argmax) return CVY_OK;
    b->pooled.id = -1;
    if (b->reduce) b->x.id = b->g.id = -1;
    return CVY_OK;
}

/* Whether the gradient that comes through the chain's activation goes to its batch norm alone. */
static bool formed_anew(const struct cvy_plan *plan, const struct native_backward *chain,
                        size_t last)
{
    if (!chain->act || !chain->data || chain->pool || chain->add) return false;
    int g = chain->act->out[CHAIN_Y];
    const struct cvy_value *v = cvy_plan_value(plan, g);
    return v->shape.h * v->shape.w > 1 && !cvy_plan_needed_after(plan, g, last);
}

/* Whether a piece begins with op number i, an activation whose gradient it forms anew. */
static bool begins_anew(const struct cvy_plan *plan, size_t i, struct native_backward *chain)
{
    int n, before;
    const struct cvy_op_desc *ops = cvy_plan_chain(plan, i, &n),
                             *last = i ? cvy_plan_chain(plan, i - 1, &before) : NULL;
    *chain = cvyi_backward_parse(ops, n);
    /* nothing that a piece could begin with */
    bool begins =
        last && (last->kind == CVY_OP_CONV2D_BWD_DATA || last->kind == CVY_OP_CONV2D_BWD_WEIGHTS);
    return begins && formed_anew(plan, chain, i + (size_t)chain->n - 1) && chain->act == ops;
}

bool cvyi_backward_makes(const struct cvy_plan *plan, int dx)
{
    const struct cvy_value *v = cvy_plan_value(plan, dx);
    const struct cvy_op_desc *op;
    struct native_backward chain;
    size_t readers = 0;
    int n;
    if (v->view.c || v->shape.w > NATIVE_SEGMENT) return false;
    for (size_t i = 0; (op = cvy_plan_chain(plan, i, &n)); i++) {
        if (!native_reads(plan, op, dx)) continue;
        if (!n || op->kind != CVY_OP_ACT_BWD || op->in[CVY_ACT_BWD_DY] != dx ||
            !begins_anew(plan, i, &chain))
            return false;
        readers++;
    }
    return readers == 1 && !cvy_plan_needed_after(plan, dx, SIZE_MAX / 2);
}

bool cvyi_backward_recalls(const struct cvy_plan *plan, size_t i, int x, int y)
{
    struct native_backward chain;
    if (!begins_anew(plan, i, &chain)) return false;
    const struct cvy_op_desc *ops = chain.act;
    return ops->in[CVY_ACT_BWD_X] < 0 && ops->in[CVY_ACT_BWD_Y] == y &&
           chain.reduce->in[CVY_BN_BWD_REDUCE_X] == x && native_is_cheap((int)ops->u.act.kind);
}

/* Whether g can do without memory, and then how it is formed. */
static void plan_anew(const struct native *native, const struct cvy_plan *plan,
                      const struct native_backward *chain, const struct act_bwd *act, size_t last,
                      struct backward *b)
{
    struct native_anew *a = &b->anew;
    const struct native_norm *norm = native_norm_of(native, act->saved);
    bool by_input = chain->act->in[CVY_ACT_BWD_X] >= 0, again;
    a->on = formed_anew(plan, chain, last);
    if (!native_chose(plan, CHOICE_ANEW, a->on)) return;
    again = norm && norm->x == b->x.id && (by_input || native_is_cheap(act->index));
    if (native_chose(plan, CHOICE_RECALLED, again)) {
        a->affine = norm->affine;
        b->saved.id = -1;
    }
    a->dy = b->dy;
    a->saved = b->saved;
    a->reduce = b->k->act->act_reduce[act->index];
    a->bn_dx = b->k->act->act_bn_dx[act->index];
    a->alpha = act->alpha;
    b->g.id = -1;
}

/* g may lie where what is read last was: the gradient that came, or the one that was added. */
static void place_g(const struct backward *b, const struct cvy_plan *plan, size_t last,
                    struct cvy_phase_desc *phase)
{
    if (b->pool || b->g.id < 0 || !(b->act || b->add)) return;
    bool dead = !cvy_plan_needed_after(plan, b->dy.id, last);
    native_in_place(phase, b->add && !dead ? &b->other : &b->dy, &b->g);
}

static enum cvy_status plan_to_sums(const struct native *native, struct cvy_plan *plan,
                                    const char *name, size_t last, const struct backward *b)
{
    struct cvy_phase_desc phase = { .name = name,
                                    .run = run_backward,
                                    .arg = b,
                                    .blocks = b->grid.blocks,
                                    .parts = b->grid.parts,
                                    .scratch_bytes = b->pool
                                                         ? unpool_scratch_bytes(&b->window)
                                                         : native_made_floats(b->made, b->dy.w) *
                                                               sizeof(float) };
    place_g(b, plan, last, &phase);
    if (b->made) {
        phase.flops = b->made->flops;
        b->made->reads(native, b->made->arg, &phase);
    }
    native_cell_access(&phase, native, &b->dy, b->grid, false);
    native_access(&phase, b->pooled.id, CVY_READ_CELL);
    native_access(&phase, b->other.id, CVY_READ_CELL);
    native_access(&phase, b->saved.id, CVY_READ_CELL);
    native_access(&phase, b->x.id, CVY_READ_CELL);
    native_access(&phase, b->anew.affine, native_read(b->grid));
    native_access(&phase, b->bn.stats, native_read(b->grid));
    native_access(&phase, b->unpooled.id, CVY_WRITE_CELL);
    native_access(&phase, b->summed.id, CVY_WRITE_CELL);
    native_access(&phase, b->g.id, CVY_WRITE_CELL);
    native_access(&phase, b->argmax ? b->argmax->at : -1, CVY_READ_CELL);
    native_access(&phase, b->argmax ? b->argmax->x.id : -1, CVY_READ_CELL);
    native_access(&phase, b->bn.slots, CVY_WRITE_CELL);
    return cvy_plan_phase(plan, &phase);
}

static enum cvy_status plan_backward(struct native *native, struct cvy_plan *plan,
                                     const struct cvy_op_desc *ops, int n, size_t first)
{
    struct native_backward chain = cvyi_backward_parse(ops, n);
    size_t last = first + (size_t)n - 1;
    if (chain.data == &ops[0])
        return cvyi_bn_dx_phase(native, plan, &chain, last, &(struct native_bn_g){ 0 });

    const struct cvy_op_desc *reduce = chain.reduce;
    struct backward *b = cvy_plan_alloc(plan, sizeof *b);
    const char *name = cvyi_rows_name(plan, ops, chain.data ? (int)(chain.data - ops) : n);
    if (!b || !name) return CVY_E_NOMEM;
    b->k = native->kernels;
    open_backward(plan, &chain, ops, last, b);
    /* unpooled: the larger map */
    const struct native_lanes *map = b->g.id >= 0 ? &b->g : &b->dy;
    b->grid = native_grid_of(native, map);
    native_chose(plan, CHOICE_SPLIT_ROWS, map->w > NATIVE_SEGMENT);
    b->segment = native_segment(map->w);
    b->pixels = map->h * map->w;
    b->made = native_made_of(native, b->dy.id);
    if (b->made) {
        b->dy.id = -1;
        native_chose(plan, CHOICE_MADE_BANDS, b->pixels > NATIVE_MADE * b->segment);
    }
    if (chain.act) {
        struct act_bwd a = act_bwd_of(chain.act);
        b->saved = native_lanes(plan, a.saved);
        b->act_fn = b->k->act->act_bwd[a.index];
        b->act_reduce_fn = b->k->act->act_bwd_reduce[a.index];
        b->alpha = a.alpha;
        plan_anew(native, plan, &chain, &a, last, b);
    }
    if (chain.pool) NATIVE_TRY(plan_unpool(native, plan, chain.pool, b));
    if (reduce) {
        b->bn = cvyi_bn_of(native, plan, reduce);
        b->bn.slots = cvyi_bn_slots(native, plan, &b->bn, reduce->name);
        if (b->bn.slots < 0) return CVY_E_NOMEM;
    }
    b->flat = !b->pool && (!reduce || b->pixels == 1) && native_dense(&b->dy) &&
              native_dense(&b->other) && native_dense(&b->saved) && native_dense(&b->x) &&
              native_dense(&b->summed) && native_dense(&b->g);
    NATIVE_TRY(plan_to_sums(native, plan, name, last, b));
    if (!reduce) return CVY_OK;
    b->bn.source = NATIVE_BN_SLOTS;
    if (!chain.data) return cvyi_bn_dx_gate(plan, reduce->name, &b->bn);
    struct native_bn_g from = { &b->bn, b->argmax, b->dy, &b->anew, b->made };
    return cvyi_bn_dx_phase(native, plan, &chain, last, &from);
}

NATIVE_FAMILY(pool_bwd, take, plan_backward);
NATIVE_FAMILY(act_bwd, take, plan_backward);
NATIVE_FAMILY(bn_bwd_reduce, take, plan_backward);
NATIVE_FAMILY(bn_bwd_data, take, plan_backward);
