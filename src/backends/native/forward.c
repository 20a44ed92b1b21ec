/* Forward chains: [BN_STATS] [BN_APPLY | BN_INFER] [ADD] [ACT] [POOL], any of them absent, as at
 * most two phases: the statistics' slots, then one pass that normalises, adds, activates and pools
 * a few rows at a time. Results in between reach memory only if someone else reads them. What a
 * batch norm computes is in bn.c. */
#include <string.h>

#include "backends/native/rows.h"

/* ------------------------------------------------------------------------------------- the pass */

struct forward {
    const struct cvyi_kernels *k;
    struct native_grid grid;
    struct native_lanes x, other; /* other: ADD's other operand */
    /* results: of the norm, of the sum, of the last of norm, sum and activation, of pooling; absent
     * where not kept */
    struct native_lanes normed, summed, rows, y;
    bool norm, add, act, pool, added_first;
    bool absent; /* nothing is made: who reads the result makes it */
    bool flat;   /* no padding between channels: several are one run */
    int affine;  /* buffer of struct cvyi_affine [c] */
    cvyi_act_fn *act_fn;
    cvyi_norm_act_fn *norm_act_fn;
    float alpha;
    struct native_pool window;
    size_t ring; /* floats of scratch for rows that are not kept */
    /* pooling remembers where its maxima are, and normalises as it goes */
    const struct native_argmax *argmax;
};

struct channel {
    const float *x, *other;
    float *normed, *summed, *rows, *y, *picked;
    uint8_t *at;
    struct cvyi_affine affine;
};

/* The sum and the activation of pixels [p, p + pixels), from src to dst. */
static void finish(const struct forward *f, const struct channel *ch, const float *src, size_t p,
                   size_t pixels, float *dst)
{
    size_t n = pixels * NATIVE_LANES, at = p * NATIVE_LANES;
    if (f->add) {
        float *to = ch->summed ? ch->summed + at : dst;
        const float *other = ch->other + at;
        f->k->rows->add(to, f->added_first ? src : other, f->added_first ? other : src, n);
        src = to;
    }
    if (f->act) f->act_fn(dst, src, n, f->alpha);
}

/* Pixels [p, p + pixels) of everything before pooling, to dst. */
static void make(const struct forward *f, const struct channel *ch, size_t p, size_t pixels,
                 float *dst)
{
    size_t n = pixels * NATIVE_LANES, at = p * NATIVE_LANES;
    const float *src = ch->x + at;
    if (f->norm && f->act && !f->add && !ch->normed) {
        f->norm_act_fn(dst, src, n, &ch->affine, f->alpha);
        return;
    }
    if (f->norm) {
        float *to = ch->normed ? ch->normed + at : dst;
        f->k->norm->norm(to, src, n, &ch->affine);
        src = to;
    }
    finish(f, ch, src, p, pixels, dst);
}

/* Rows [from, to) to where pooling finds them: the kept plane, or a ring that holds one window. */
static void make_rows(const struct forward *f, const struct channel *ch, size_t from, size_t to,
                      float *ring)
{
    const struct native_pool *p = &f->window;
    size_t row = p->row.iw * NATIVE_LANES;
    while (from < to) {
        size_t slot = from % p->held,
               end = ch->rows || to - from <= p->held - slot ? to : from + p->held - slot;
        make(f, ch, from * p->row.iw, (end - from) * p->row.iw,
             ch->rows ? ch->rows + from * row : ring + slot * row);
        from = end;
    }
}

static void pool_plane(const struct forward *f, const struct channel *ch, float *ring,
                       const float **rows)
{
    const struct native_pool *p = &f->window;
    size_t row = p->row.iw * NATIVE_LANES, made = 0;
    bool chained = !f->argmax && (f->norm || f->add || f->act),
         all = ch->rows || ch->normed || ch->summed;
    for (size_t oy = 0; oy < p->oh; oy++) {
        size_t begin, end;
        native_pool_rows(p, oy, &begin, &end);
        if (chained) {
            if (!all && made < begin) made = begin;
            make_rows(f, ch, made, end, ring);
            if (made < end) made = end;
        }
        for (size_t r = begin; r < end; r++) {
            if (!chained) rows[r - begin] = ch->x + r * row;
            else if (ch->rows) rows[r - begin] = ch->rows + r * row;
            else rows[r - begin] = ring + r % p->held * row;
        }
        size_t o = oy * p->row.ow * NATIVE_LANES;
        float *y = ch->y + o;
        if (f->argmax)
            f->k->pool->pool_argmax(&p->row, y, ch->at + o, ch->picked ? ch->picked + o : NULL,
                                    rows, f->norm ? &ch->affine : NULL, end - begin);
        else if (p->max) f->k->pool->pool_max(&p->row, y, rows, end - begin);
        else f->k->pool->pool_avg(&p->row, y, rows, end - begin, cvyi_pool_inv(p, oy));
    }
    if (chained && all) make_rows(f, ch, made, p->ih, ring);
}

static struct channel channel_at(const struct forward *f, const struct cvy_run *run, size_t block,
                                 size_t c)
{
    return (struct channel){
        .x = native_at(run, &f->x, block, c),
        .other = native_at_or_null(run, &f->other, block, c),
        .normed = native_at_or_null(run, &f->normed, block, c),
        .summed = native_at_or_null(run, &f->summed, block, c),
        .rows = native_at_or_null(run, &f->rows, block, c),
        .y = native_at_or_null(run, &f->y, block, c),
        .picked = f->argmax ? native_at_or_null(run, &f->argmax->x, block, c) : NULL,
        .at = f->argmax ? cvyi_argmax_at(f->argmax, run, block, c) : NULL,
    };
}

/* Channels [c0, c1) of one block. */
static void run_cell(const struct forward *f, const struct cvy_run *run, struct native_cell cell,
                     float *ring)
{
    const float **rows = (void *)(ring + f->ring);
    size_t channels = cell.c1 - cell.c0, pixels = f->x.h * f->x.w;
    const struct cvyi_affine *affine = native_buf(run, f->affine);
    /* fully connected: one vector a channel is too little for a call */
    if (f->flat && (!f->norm || pixels == 1)) {
        struct channel ch = channel_at(f, run, cell.block, cell.c0);
        for (size_t p = 0, m; p < channels * pixels; p += m) {
            m = channels * pixels - p < NATIVE_SEGMENT ? channels * pixels - p : NATIVE_SEGMENT;
            const float *src = ch.x + p * NATIVE_LANES;
            float *dst = ch.rows + p * NATIVE_LANES,
                  *to = ch.normed ? ch.normed + p * NATIVE_LANES : dst;
            if (f->norm) f->k->norm->each_norm(to, src, m, affine + cell.c0 + p);
            finish(f, &ch, f->norm ? to : src, p, m, dst);
        }
        return;
    }
    for (size_t c = cell.c0; c < cell.c1; c++) {
        struct channel ch = channel_at(f, run, cell.block, c);
        if (f->norm) ch.affine = affine[c];
        if (f->pool) {
            pool_plane(f, &ch, ring, rows);
            continue;
        }
        for (size_t p = 0; p < pixels; p += NATIVE_SEGMENT)
            make(f, &ch, p, pixels - p < NATIVE_SEGMENT ? pixels - p : NATIVE_SEGMENT,
                 ch.rows + p * NATIVE_LANES);
    }
}

static void run_forward(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    const struct forward *f = arg;
    struct native_cell cell = native_cell(f->grid, f->x.c, task);
    NATIVE_BLOCKS (cell, run) run_cell(f, run, cell, worker->scratch);
}

/* ------------------------------------------------------------------------------------- planning */

/* The result of an op of the chain, absent if nobody reads it after the piece: `end` is the piece's
 * last op. */
static struct native_lanes kept(const struct cvy_plan *plan, const struct cvy_op_desc *op,
                                const struct cvy_op_desc *end, size_t last)
{
    bool needed = op && (op == end || cvy_plan_needed_after(plan, op->out[CHAIN_Y], last));
    return native_lanes(plan, needed ? op->out[CHAIN_Y] : -1);
}

static int take(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    (void)native, (void)plan;
    return cvyi_forward_parse(ops, n).n;
}

/* Statistics into slots; bn is where they are. */
static enum cvy_status plan_stats(struct native *native, struct cvy_plan *plan,
                                  const struct cvy_op_desc *stats, struct native_bn *bn)
{
    *bn = cvyi_bn_of(native, plan, stats);
    NATIVE_TRY(cvyi_bn_stats_phase(native, plan, stats->name, bn, stats->in[CVY_BN_STATS_X]));
    bn->source = NATIVE_BN_SLOTS;
    return CVY_OK;
}

/* Whether value y, that the chain makes of its norm's x, is read by nobody but convolutions that
 * can normalise on their way, and gradients that do not need it. */
static bool read_by_convolutions(struct native *native, const struct cvy_plan *plan,
                                 const struct native_forward *chain, size_t last)
{
    const struct cvy_op_desc *op, *act = chain->act;
    int n, x = chain->norm->in[CHAIN_X], y = act->out[CHAIN_Y];
    if (!native_is_cheap((int)act->u.act.kind) || cvy_plan_needed_after(plan, y, SIZE_MAX / 2))
        return false;
    for (size_t i = last + 1; (op = cvy_plan_chain(plan, i, &n)); i++) {
        if (!native_reads(plan, op, y)) continue;
        bool conv = op->kind == CVY_OP_CONV2D && op->in[CVY_CONV2D_X] == y,
             dw = op->kind == CVY_OP_CONV2D_BWD_WEIGHTS && op->in[CVY_CONV2D_BWD_WEIGHTS_X] == y,
             back = op->kind == CVY_OP_ACT_BWD && op->in[CVY_ACT_BWD_Y] == y;
        if (!n || !(conv || dw || back)) return false;
        if (back && !cvyi_backward_recalls(plan, i, x, y)) return false;
        if (!back && !cvyi_native_conv_normalises(native, plan, op, x)) return false;
    }
    return true;
}

/* For gradients, and for convolutions if they normalise: how the norm's result, and what the
 * activation made of it, came about. */
static enum cvy_status remember(struct native *native, struct cvy_plan *plan,
                                const struct native_forward *chain, const struct forward *f)
{
    const struct cvy_op_desc *made[] = { chain->norm, chain->add ? NULL : chain->act };
    bool recalled = native->training && chain->norm->kind == CVY_OP_BN_APPLY;
    for (int i = 0; i < 2; i++) {
        if (!made[i] || !(recalled || f->absent)) continue;
        struct native_norm *norm = cvy_plan_alloc(plan, sizeof *norm);
        if (!norm) return CVY_E_NOMEM;
        *norm = (struct native_norm){ .saved = { .kind = NATIVE_SAVED_NORM,
                                                 .value = made[i]->out[CHAIN_Y] },
                                      .x = chain->norm->in[CHAIN_X],
                                      .affine = f->affine,
                                      .act = i ? (int)made[i]->u.act.kind : -1,
                                      .alpha = f->alpha,
                                      .absent = i && f->absent };
        native_save(native, &norm->saved);
    }
    return CVY_OK;
}

/* Coefficients of the norm, from the chain's statistics if it has any. */
static enum cvy_status plan_norm(struct native *native, struct cvy_plan *plan,
                                 const struct native_forward *chain, const struct native_bn *stats,
                                 struct forward *f)
{
    struct native_bn apply = cvyi_bn_of(native, plan, chain->norm);
    if (chain->stats) {
        apply.source = NATIVE_BN_SLOTS;
        apply.slots = stats->slots;
        apply.slot_channels = stats->slot_channels;
        apply.slot_c0 = stats->slot_c0;
        apply.desc = stats->desc;
        apply.running_mean = stats->running_mean;
        apply.running_var = stats->running_var;
    }
    f->affine = apply.coefficients =
        cvyi_bn_coefficients(plan, &apply, chain->norm->name, sizeof(struct cvyi_affine));
    if (f->affine < 0) return CVY_E_NOMEM;
    NATIVE_TRY(remember(native, plan, chain, f));
    return cvyi_bn_affine_gate(plan, chain->norm->name, &apply);
}

/* The window, and what is held of the rows that it reaches. Behind a norm alone its maxima may
 * remember their places: then the rows are not kept. */
static enum cvy_status plan_pool(struct native *native, struct cvy_plan *plan,
                                 const struct native_forward *chain, size_t last, struct forward *f)
{
    const struct cvy_op_desc *pool = chain->pool;
    struct native_argmax *argmax = NULL;
    cvy_shape in = cvy_plan_value(plan, pool->in[CVY_POOL_X])->shape,
              out = cvy_plan_value(plan, pool->out[CVY_POOL_Y])->shape;
    NATIVE_TRY(cvyi_pool_make(plan, &pool->u.pool, in, out, &f->window));
    bool made = f->norm || f->add || f->act;
    if (f->norm && !f->add && !f->act)
        NATIVE_TRY(cvyi_argmax_plan(native, plan, pool, chain->norm->in[CHAIN_X], last, &argmax));
    f->argmax = argmax;
    if (argmax) f->rows.id = -1;
    else if (made && f->rows.id < 0) f->ring = f->window.held * f->window.row.iw * NATIVE_LANES;
    return CVY_OK;
}

static void log_choices(const struct cvy_plan *plan, const struct forward *f)
{
    native_chose(plan, CHOICE_FLAT, f->flat);
    native_chose(plan, CHOICE_ARGMAX, f->argmax);
    native_chose(plan, CHOICE_ARGMAX_SUMS, f->argmax && f->argmax->x.id >= 0);
    native_chose(plan, CHOICE_KEPT, f->normed.id >= 0 || f->summed.id >= 0);
    native_chose(plan, CHOICE_SEGMENTS, f->x.h * f->x.w > NATIVE_SEGMENT);
}

static enum cvy_status plan_pass(const struct native *native, struct cvy_plan *plan,
                                 const char *name, const struct forward *f)
{
    size_t rows = f->pool ? f->window.held * sizeof(float *) : 0;
    struct cvy_phase_desc phase = { .name = name,
                                    .run = run_forward,
                                    .arg = f,
                                    .blocks = f->grid.blocks,
                                    .parts = f->grid.parts,
                                    .scratch_bytes = f->ring * sizeof(float) + rows };
    native_access(&phase, f->x.id, CVY_READ_CELL);
    native_access(&phase, f->other.id, CVY_READ_CELL);
    native_access(&phase, f->normed.id, CVY_WRITE_CELL);
    native_access(&phase, f->summed.id, CVY_WRITE_CELL);
    native_access(&phase, f->rows.id, CVY_WRITE_CELL);
    native_cell_access(&phase, native, &f->y, f->grid, true);
    native_access(&phase, f->argmax ? f->argmax->at : -1, CVY_WRITE_CELL);
    native_access(&phase, f->argmax ? f->argmax->x.id : -1, CVY_WRITE_CELL);
    native_access(&phase, f->affine, native_read(f->grid));
    return cvy_plan_phase(plan, &phase);
}

/* Which values the pass reads, and which results are kept. */
static void open_forward(const struct cvy_plan *plan, const struct native_forward *chain,
                         const struct cvy_op_desc *begin, const struct cvy_op_desc *end,
                         size_t last, struct forward *f)
{
    const struct cvy_op_desc *norm = chain->norm, *add = chain->add, *act = chain->act;
    const struct cvy_op_desc *made = norm; /* the last before pooling */
    int other = -1;
    if (add) made = add;
    if (act) made = act;
    if (add) other = add->in[chain->added_first ? CVY_ADD_B : CVY_ADD_A];
    f->x = native_lanes(plan, begin->in[CHAIN_X]);
    f->other = native_lanes(plan, other);
    f->normed = kept(plan, norm == made ? NULL : norm, end, last);
    f->summed = kept(plan, add == made ? NULL : add, end, last);
    f->rows = kept(plan, made, end, last);
    f->y = native_lanes(plan, chain->pool ? chain->pool->out[CVY_POOL_Y] : -1);
    f->norm = norm;
    f->add = add;
    f->act = act;
    f->pool = chain->pool;
    f->added_first = chain->added_first;
    f->affine = -1;
}

static enum cvy_status plan_forward(struct native *native, struct cvy_plan *plan,
                                    const struct cvy_op_desc *ops, int n, size_t first)
{
    struct native_forward chain = cvyi_forward_parse(ops, n);
    const struct cvy_op_desc *end = &ops[n - 1], *act = chain.act;
    struct native_bn stats = { .slots = -1 };
    size_t last = first + (size_t)n - 1;
    if (chain.stats) NATIVE_TRY(plan_stats(native, plan, chain.stats, &stats));
    if (chain.stats && n == 1) return cvyi_bn_affine_gate(plan, chain.stats->name, &stats);

    struct forward *f = cvy_plan_alloc(plan, sizeof *f);
    const struct cvy_op_desc *begin = chain.stats ? &ops[1] : &ops[0];
    const char *name = cvyi_rows_name(plan, begin, (int)(end - begin) + 1);
    if (!f || !name) return CVY_E_NOMEM;
    f->k = native->kernels;
    open_forward(plan, &chain, begin, end, last, f);
    f->grid = native_grid_of(native, &f->x);
    if (chain.pool) NATIVE_TRY(plan_pool(native, plan, &chain, last, f));
    if (act) {
        f->act_fn = f->k->act->act[act->u.act.kind];
        f->norm_act_fn = f->k->act->norm_act[act->u.act.kind];
        f->alpha = (float)act->u.act.alpha;
    }
    bool alone = chain.norm && act && !chain.add && !chain.pool && f->normed.id < 0;
    f->absent = alone && read_by_convolutions(native, plan, &chain, last);
    if (chain.norm) NATIVE_TRY(plan_norm(native, plan, &chain, &stats, f));
    if (native_chose(plan, CHOICE_ABSENT, f->absent)) return CVY_OK;
    f->flat = !f->pool && native_dense(&f->x) && native_dense(&f->other) &&
              native_dense(&f->normed) && native_dense(&f->summed) && native_dense(&f->rows);
    log_choices(plan, f);
    return plan_pass(native, plan, name, f);
}

NATIVE_FAMILY(bn_stats, take, plan_forward);
NATIVE_FAMILY(bn_apply, take, plan_forward);
NATIVE_FAMILY(bn_infer, take, plan_forward);
NATIVE_FAMILY(act, take, plan_forward);
NATIVE_FAMILY(pool, take, plan_forward);
