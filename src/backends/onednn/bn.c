/* Batch normalization. oneDNN has statistics and normalization in one primitive, and all three
 * gradients in another, each with a ReLU behind it if wanted: so pairs of ops are taken together.
 * One that comes alone (fusion off) is computed by the same primitive, and what it did not ask for
 * is thrown away. Running statistics are ours. */
#include <string.h>

#include "backends/onednn/onednn.h"

/* A phase: the primitive and what goes between its floats and the program's doubles. */
struct bn {
    struct onednn *o;
    struct onednn_prim *prim;
    size_t c, pixels;
    int mean, var;           /* buffers; c floats each */
    int stats_in, stats_out; /* values [2][c] double, -1: none */
    int running_mean, running_var;
    cvy_batch_norm_desc desc;
    int sums, dgamma, dbeta; /* backward: sums [2][c] double from the two gradients */
};

/* -------------------------------------------------------------------------------------- running */

static void update_running(const struct bn *b, const struct cvy_run *run, const float *mean,
                           const float *var)
{
    const double m = (double)(run->n * b->pixels);
    float *rm = b->running_mean < 0 ? NULL : run->buf[b->running_mean];
    float *rv = b->running_var < 0 ? NULL : run->buf[b->running_var];
    for (size_t c = 0; c < b->c; c++) {
        if (rm) rm[c] = (float)cvy_run_bn_mean(run, &b->desc, (double)rm[c], (double)mean[c]);
        if (rv) rv[c] = (float)cvy_run_bn_var(run, &b->desc, (double)rv[c], (double)var[c], m);
    }
}

/* Statistics that were just made and are not finite tell of a special value that no mark told
 * of. */
static bool heed_statistics(const struct bn *b, const struct cvy_run *run, const float *mean,
                            const float *var)
{
    struct onednn_prim *p = b->prim;
    if (b->stats_out < 0 || onednn_is_special(b->o, p->arg[1].id)) return true;
    if (!onednn_has_special(mean, b->c) && !onednn_has_special(var, b->c)) return true;
    onednn_mark(b->o, p->arg[1].id, true);
    return !p->care || p->arg[0].id == p->arg[1].id || p->care(p, run);
}

static void run_bn(const void *arg, const struct cvy_run *run, size_t task,
                   struct cvy_worker *worker)
{
    (void)task, (void)worker;
    const struct bn *b = arg;
    float *mean = b->mean < 0 ? NULL : run->buf[b->mean],
          *var = b->var < 0 ? NULL : run->buf[b->var];
    for (size_t c = 0; b->stats_in >= 0 && c < b->c; c++) {
        mean[c] = (float)((const double *)run->buf[b->stats_in])[c];
        var[c] = (float)((const double *)run->buf[b->stats_in])[b->c + c];
    }
    if (!onednn_execute(b->prim, run) || !heed_statistics(b, run, mean, var)) return;
    for (size_t c = 0; b->stats_out >= 0 && c < b->c; c++) {
        ((double *)run->buf[b->stats_out])[c] = (double)mean[c];
        ((double *)run->buf[b->stats_out])[b->c + c] = (double)var[c];
    }
    if (b->stats_out >= 0) update_running(b, run, mean, var);
    for (size_t c = 0; b->sums >= 0 && c < b->c; c++) {
        ((double *)run->buf[b->sums])[c] = (double)((const float *)run->buf[b->dbeta])[c];
        ((double *)run->buf[b->sums])[b->c + c] = (double)((const float *)run->buf[b->dgamma])[c];
    }
}

static struct bn *new_bn(struct onednn *o, const struct cvy_plan *plan, struct onednn_prim *p,
                         const cvy_batch_norm_desc *d, int x)
{
    cvy_shape s = cvy_plan_value(plan, x)->shape;
    struct bn *b = onednn_alloc(o, sizeof *b);
    if (!b) return NULL;
    *b = (struct bn){ .o = o,
                      .prim = p,
                      .c = s.c,
                      .pixels = s.h * s.w,
                      .mean = -1,
                      .var = -1,
                      .stats_in = -1,
                      .stats_out = -1,
                      .running_mean = -1,
                      .running_var = -1,
                      .desc = *d,
                      .sums = -1,
                      .dgamma = -1,
                      .dbeta = -1 };
    return b;
}

static enum cvy_status append(struct cvy_plan *plan, struct bn *b)
{
    struct cvy_phase_desc phase;
    ONEDNN_CVY(onednn_phase(b->prim, plan, 0, &phase));
    phase.run = run_bn;
    phase.arg = b;
    onednn_access(&phase, b->stats_in, CVY_READ_ALL);
    if (b->stats_in >= 0) { /* converted into the primitive's inputs */
        onednn_access(&phase, b->mean, CVY_WRITE_ALL);
        onednn_access(&phase, b->var, CVY_WRITE_ALL);
    }
    onednn_access(&phase, b->stats_out, CVY_WRITE_ALL);
    onednn_access(&phase, b->sums, CVY_WRITE_ALL);
    for (int i = 0; i < 2; i++) {
        onednn_access(&phase, i ? b->running_var : b->running_mean, CVY_READ_ALL);
        onednn_access(&phase, i ? b->running_var : b->running_mean, CVY_WRITE_ALL);
    }
    return cvy_plan_phase(plan, &phase);
}

/* --------------------------------------------------------------------------------------- making */

dnnl_status_t onednn_bn_fwd_make(const struct onednn_prim *p, struct onednn_with with,
                                 const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    return onednn_bn_fwd(pd, with, p->prop, md[0], p->u.bn.eps, p->u.bn.flags);
}

static dnnl_status_t bn_bwd(const struct onednn_prim *p, struct onednn_with with,
                            const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    return onednn_bn_bwd(pd, with, p->prop, md[0], md[1], p->u.bn.eps, p->u.bn.flags);
}

/* In inference it would not tell the statistics that it computes. */
static struct onednn_prim *new_forward(struct onednn *o, const struct cvy_op_desc *op, onednn_md md,
                                       unsigned flags)
{
    struct onednn_prim *p = onednn_prim(o, op->name, onednn_bn_fwd_make);
    if (!p) return NULL;
    p->u.bn.eps = (float)op->u.bn.eps;
    p->u.bn.flags = flags;
    bool tells = o->training || op->kind != CVY_OP_BN_INFER;
    p->prop = tells ? dnnl_forward_training : dnnl_forward_inference;
    onednn_give(p, DNNL_ARG_SRC, md, true);
    onednn_give(p, DNNL_ARG_DST, md, true);
    return p;
}

/* -------------------------------------------------------------------------------------- forward */

/* These stand at the same place in all ops of a batch norm that have them. */
enum { BN_X = 0, BN_DY = 1, BN_Y = 0 };
_Static_assert((int)CVY_BN_STATS_X == BN_X && (int)CVY_BN_APPLY_X == BN_X &&
                   (int)CVY_BN_INFER_X == BN_X && (int)CVY_BN_BWD_REDUCE_X == BN_X &&
                   (int)CVY_BN_BWD_DATA_X == BN_X && (int)CVY_BN_INFER_BWD_X == BN_X &&
                   (int)CVY_BN_BWD_REDUCE_DY == BN_DY && (int)CVY_BN_BWD_DATA_DY == BN_DY &&
                   (int)CVY_BN_INFER_BWD_DY == BN_DY && (int)CVY_BN_APPLY_Y == BN_Y &&
                   (int)CVY_BN_INFER_Y == BN_Y && (int)CVY_BN_BWD_DATA_DX == BN_Y &&
                   (int)CVY_BN_INFER_BWD_DX == BN_Y &&
                   (int)CVY_BN_BWD_DATA_STATS == (int)CVY_BN_BWD_REDUCE_STATS &&
                   (int)CVY_BN_BWD_DATA_GAMMA == (int)CVY_BN_INFER_BWD_GAMMA,
               "operands of batch norm");

/* What a forward chain consists of. */
struct fwd_chain {
    const struct cvy_op_desc *ops;
    int n;                                          /* that one primitive computes */
    size_t last;                                    /* the number of the last of them */
    const struct cvy_op_desc *stats, *apply, *relu; /* NULL: absent; one of the former is there */
    const struct cvy_op_desc *op;                   /* apply if there is one: names, x, epsilon */
    bool infer;                                     /* apply takes the running statistics */
    int gamma, beta, y;                             /* -1: absent */
    struct onednn_place x;
};

/* A ReLU whose input somebody else wants is not taken. */
static struct fwd_chain read_forward(const struct cvy_plan *plan, const struct cvy_op_desc *ops,
                                     int n, size_t first)
{
    struct fwd_chain c = { .ops = ops, .n = n, .last = first + (size_t)n - 1 };
    c.gamma = c.beta = c.y = -1;
    if (ops[0].kind == CVY_OP_BN_STATS) c.stats = &ops[0];
    if (!c.stats || n > 1) c.apply = &ops[c.stats ? 1 : 0];
    c.op = c.apply ? c.apply : c.stats;
    if (!c.apply) return c;
    c.infer = c.apply->kind == CVY_OP_BN_INFER;
    c.gamma = c.apply->in[c.infer ? CVY_BN_INFER_GAMMA : CVY_BN_APPLY_GAMMA];
    c.beta = c.apply->in[c.infer ? CVY_BN_INFER_BETA : CVY_BN_APPLY_BETA];
    c.y = c.apply->out[BN_Y];
    const struct cvy_op_desc *relu = &ops[n - 1];
    if (relu == c.apply) return c;
    if (cvy_plan_needed_after(plan, c.y, c.last)) {
        c.n--;
        c.last--;
    } else {
        c.relu = relu;
        c.y = relu->out[CVY_ACT_Y];
    }
    return c;
}

static unsigned forward_flags(const struct fwd_chain *c)
{
    unsigned flags = c->gamma >= 0 ? dnnl_use_scale | dnnl_use_shift : 0;
    if (!c->stats) flags |= dnnl_use_global_stats;
    if (c->relu) flags |= dnnl_fuse_norm_relu;
    return flags;
}

static enum cvy_status make_forward(struct onednn *o, struct cvy_plan *plan,
                                    const struct fwd_chain *c, struct bn **b)
{
    struct onednn_prim *p = new_forward(o, c->op, c->x.md, forward_flags(c));
    *b = p ? new_bn(o, plan, p, &c->op->u.bn, c->op->in[BN_X]) : NULL;
    if (!*b) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", c->op->name);
    p->name = onednn_joined_name(o, c->ops, c->n);
    return onednn_create(p, plan);
}

/* Argument i of the primitive is value id in buffer in_place, or (-1) in its own; a value that
 * nobody asked for (-1) is written all the same. */
static enum cvy_status bind_result(const struct bn *b, struct cvy_plan *plan, int i, int id,
                                   int in_place)
{
    struct onednn_prim *p = b->prim;
    if (id < 0) return onednn_bind_private(p, plan, p->arg[i].arg, &p->arg[i].id);
    ONEDNN_CVY(onednn_lay_out(b->o, plan, id, p->arg[i].md, in_place));
    p->arg[i].id = in_place < 0 ? onednn_root(plan, id) : in_place;
    return CVY_OK;
}

static enum cvy_status bind_forward_maps(const struct bn *b, struct cvy_plan *plan,
                                         const struct fwd_chain *c)
{
    int in_place = -1;
    if (c->y >= 0 && !c->x.borrowed &&
        onednn_reuse(b->o, plan, c->op->in[BN_X], c->last) == c->x.id)
        in_place = c->x.id;
    b->prim->arg[0].id = c->x.id;
    return bind_result(b, plan, 1, c->y, in_place);
}

/* Our statistics are doubles, oneDNN's are floats: these lie between them. */
static enum cvy_status bind_floats(struct bn *b, struct cvy_plan *plan)
{
    ONEDNN_CVY(onednn_bind_private(b->prim, plan, DNNL_ARG_MEAN, &b->mean));
    return onednn_bind_private(b->prim, plan, DNNL_ARG_VARIANCE, &b->var);
}

static enum cvy_status bind_forward_statistics(struct bn *b, struct cvy_plan *plan,
                                               const struct fwd_chain *c)
{
    if (c->infer) {
        onednn_bind(b->prim, DNNL_ARG_MEAN, c->apply->in[CVY_BN_INFER_MEAN]);
        onednn_bind(b->prim, DNNL_ARG_VARIANCE, c->apply->in[CVY_BN_INFER_VAR]);
        return CVY_OK;
    }
    if (c->stats) {
        b->stats_out = c->stats->out[CVY_BN_STATS_STATS];
        b->running_mean = c->stats->in[CVY_BN_STATS_MEAN];
        b->running_var = c->stats->in[CVY_BN_STATS_VAR];
    } else {
        b->stats_in = c->apply->in[CVY_BN_APPLY_STATS];
    }
    return bind_floats(b, plan);
}

/* gamma and beta, in predictors the running statistics too */
static enum cvy_status watch_parameters(struct onednn *o, struct cvy_plan *plan,
                                        const struct fwd_chain *c)
{
    if (!c->apply) return CVY_OK;
    for (int k = c->infer ? CVY_BN_INFER_MEAN : CVY_BN_APPLY_GAMMA; k < c->apply->n_in; k++)
        ONEDNN_CVY(onednn_watch_parameter(o, plan, c->apply->in[k]));
    return CVY_OK;
}

/* The workspace holds which numbers a fused ReLU let through. */
static enum cvy_status remember(const struct bn *b, struct cvy_plan *plan,
                                const struct fwd_chain *c, int workspace)
{
    struct onednn_forward *f =
        onednn_remember(b->o, c->infer ? CVY_OP_BN_INFER : CVY_OP_BN_APPLY, b->prim);
    if (!f) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", c->op->name);
    f->x = onednn_root(plan, c->op->in[BN_X]);
    f->y = c->relu ? onednn_root(plan, c->y) : -1;
    f->workspace = workspace;
    return CVY_OK;
}

/* [BN_STATS] [BN_APPLY] [ACT], or BN_INFER [ACT] */
static enum cvy_status plan_forward(struct onednn *o, struct cvy_plan *plan,
                                    const struct cvy_op_desc *ops, int *n, size_t first)
{
    struct fwd_chain c = read_forward(plan, ops, *n, first);
    struct bn *b;
    int workspace;
    *n = c.n;
    ONEDNN_CVY(onednn_seen(o, plan, c.op->in[BN_X], &c.x));
    ONEDNN_CVY(make_forward(o, plan, &c, &b));
    ONEDNN_CVY(bind_forward_maps(b, plan, &c));
    onednn_bind(b->prim, DNNL_ARG_SCALE, c.gamma);
    onednn_bind(b->prim, DNNL_ARG_SHIFT, c.beta);
    if (c.relu && !onednn_fused(b->prim, c.relu, 1))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", c.op->name);
    ONEDNN_CVY(watch_parameters(o, plan, &c));
    ONEDNN_CVY(bind_forward_statistics(b, plan, &c));
    ONEDNN_CVY(onednn_bind_private(b->prim, plan, DNNL_ARG_WORKSPACE, &workspace));
    if (c.apply && o->training) ONEDNN_CVY(remember(b, plan, &c, workspace));
    return append(plan, b);
}

/* ------------------------------------------------------------------------------------- backward */

/* What a backward chain consists of. */
struct bwd_chain {
    const struct cvy_op_desc *ops;
    int n;
    size_t last;                                    /* the number of the last of them */
    const struct cvy_op_desc *relu, *reduce, *data; /* NULL: absent; one of the latter is there */
    const struct cvy_op_desc *op; /* the first behind relu: names, x, statistics, epsilon */
    bool infer;                   /* data takes the running statistics */
    bool affine;
    int gamma, dy; /* -1: absent; dy: of the whole chain */
    struct onednn_place x;
    struct onednn_forward *fused; /* what ran with that ReLU fused */
};

static struct bwd_chain read_backward(const struct cvy_op_desc *ops, int n, size_t first)
{
    struct bwd_chain c = { .ops = ops, .n = n, .last = first + (size_t)n - 1, .gamma = -1 };
    int k = 0;
    if (ops[0].kind == CVY_OP_ACT_BWD) c.relu = &ops[k++];
    c.op = &ops[k];
    for (; k < n; k++) {
        if (ops[k].kind == CVY_OP_BN_BWD_REDUCE) c.reduce = &ops[k];
        else c.data = &ops[k];
    }
    c.infer = c.op->kind == CVY_OP_BN_INFER_BWD;
    if (c.data) c.gamma = c.data->in[CVY_BN_BWD_DATA_GAMMA];
    c.affine = c.data ? c.gamma >= 0 : !c.reduce->u.bn.no_affine;
    c.dy = c.relu ? c.relu->in[CVY_ACT_BWD_DY] : c.op->in[BN_DY];
    return c;
}

static struct onednn_forward *find(struct onednn *o, enum cvy_op_kind kind, int x)
{
    struct onednn_forward *f = o->forwards;
    while (f && (f->kind != kind || f->x != x)) f = f->next;
    return f;
}

/* The forward primitive that the chain's ReLU was fused with; NULL: it was not, or somebody else
 * wants the gradient between them. */
static struct onednn_forward *find_fused(struct onednn *o, const struct cvy_plan *plan,
                                         const struct bwd_chain *c)
{
    struct onednn_forward *f =
        find(o, c->infer ? CVY_OP_BN_INFER : CVY_OP_BN_APPLY, onednn_root(plan, c->op->in[BN_X]));
    if (!f || f->y < 0 || f->y != onednn_root(plan, c->relu->in[CVY_ACT_BWD_Y])) return NULL;
    return cvy_plan_needed_after(plan, c->relu->out[CVY_ACT_BWD_DX], c->last) ? NULL : f;
}

static unsigned backward_flags(const struct bwd_chain *c)
{
    unsigned flags = c->affine ? dnnl_use_scale | dnnl_use_shift : 0;
    if (c->infer) flags |= dnnl_use_global_stats;
    if (c->fused) flags |= dnnl_fuse_norm_relu;
    return flags;
}

/* The forward primitive of this gradient: the one that left its workspace, or one that never
 * runs. */
static enum cvy_status hint(struct onednn *o, struct cvy_plan *plan, const struct bwd_chain *c,
                            struct onednn_prim **prim)
{
    if (c->fused) {
        *prim = c->fused->prim;
        return CVY_OK;
    }
    *prim = new_forward(o, c->op, c->x.md, backward_flags(c));
    if (!*prim) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", c->op->name);
    (*prim)->prop = dnnl_forward_training;
    return onednn_create(*prim, plan);
}

static enum cvy_status make_backward(struct onednn *o, struct cvy_plan *plan,
                                     const struct bwd_chain *c, struct bn **b)
{
    struct onednn_prim *p = onednn_prim(o, c->op->name, bn_bwd);
    *b = p ? new_bn(o, plan, p, &c->op->u.bn, c->op->in[BN_X]) : NULL;
    if (!*b) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", c->op->name);
    p->name = onednn_joined_name(o, c->ops, c->n);
    p->u.bn.eps = (float)c->op->u.bn.eps;
    p->u.bn.flags = backward_flags(c);
    p->prop = c->affine ? dnnl_backward : dnnl_backward_data;
    ONEDNN_CVY(hint(o, plan, c, &p->hint));
    onednn_give(p, DNNL_ARG_DIFF_SRC, c->x.md, true);
    onednn_give(p, DNNL_ARG_SRC, c->x.md, true);
    onednn_give(p, DNNL_ARG_DIFF_DST, c->x.md, true);
    return onednn_create(p, plan);
}

static enum cvy_status bind_backward_maps(const struct bn *b, struct cvy_plan *plan,
                                          const struct bwd_chain *c)
{
    struct onednn_prim *p = b->prim;
    int dx = c->data ? c->data->out[BN_Y] : -1, in_place = -1;
    p->arg[1].id = c->x.id;
    ONEDNN_CVY(onednn_read(b->o, plan, c->dy, c->x.md, &p->arg[2].id));
    if (dx >= 0 && onednn_reuse(b->o, plan, c->dy, c->last) == p->arg[2].id)
        in_place = p->arg[2].id;
    return bind_result(b, plan, 0, dx, in_place);
}

static enum cvy_status bind_backward_statistics(struct bn *b, struct cvy_plan *plan,
                                                const struct bwd_chain *c)
{
    if (c->infer) {
        onednn_bind(b->prim, DNNL_ARG_MEAN, c->data->in[CVY_BN_INFER_BWD_MEAN]);
        onednn_bind(b->prim, DNNL_ARG_VARIANCE, c->data->in[CVY_BN_INFER_BWD_VAR]);
        return CVY_OK;
    }
    b->stats_in = c->op->in[CVY_BN_BWD_REDUCE_STATS];
    return bind_floats(b, plan);
}

/* Only dx depends on gamma, and nothing on beta, which 2.x asks for all the same: zeros will do. */
static enum cvy_status bind_scale(const struct bn *b, struct cvy_plan *plan, int gamma)
{
    int zeros = cvy_plan_buffer(plan, b->prim->name, b->c * sizeof(float), true);
    if (zeros < 0) return CVY_E_NOMEM;
    onednn_bind(b->prim, DNNL_ARG_SCALE, gamma < 0 ? zeros : gamma);
    if (ONEDNN_V2) onednn_bind(b->prim, DNNL_ARG_SHIFT, zeros);
    return CVY_OK;
}

/* One that nobody asked for is written all the same: *id becomes where. */
static enum cvy_status bind_gradient(const struct bn *b, struct cvy_plan *plan, int arg, int *id)
{
    if (*id < 0) return onednn_bind_private(b->prim, plan, arg, id);
    onednn_bind(b->prim, arg, *id);
    return CVY_OK;
}

static enum cvy_status bind_gradients(struct bn *b, struct cvy_plan *plan,
                                      const struct bwd_chain *c)
{
    if (c->infer) {
        b->dgamma = c->data->out[CVY_BN_INFER_BWD_DGAMMA];
        b->dbeta = c->data->out[CVY_BN_INFER_BWD_DBETA];
    } else if (c->reduce) {
        b->dgamma = c->reduce->out[CVY_BN_BWD_REDUCE_DGAMMA];
        b->dbeta = c->reduce->out[CVY_BN_BWD_REDUCE_DBETA];
    }
    ONEDNN_CVY(bind_gradient(b, plan, DNNL_ARG_DIFF_SCALE, &b->dgamma));
    return bind_gradient(b, plan, DNNL_ARG_DIFF_SHIFT, &b->dbeta);
}

/* [ACT_BWD] [BN_BWD_REDUCE] [BN_BWD_DATA], or [ACT_BWD] BN_INFER_BWD */
static enum cvy_status plan_backward(struct onednn *o, struct cvy_plan *plan,
                                     const struct cvy_op_desc *ops, int *n, size_t first)
{
    struct bwd_chain c = read_backward(ops, *n, first);
    struct bn *b;
    ONEDNN_CVY(onednn_seen(o, plan, c.op->in[BN_X], &c.x));
    if (c.relu) c.fused = find_fused(o, plan, &c);
    if (c.relu && !c.fused) { /* then alone, and the rest as a chain of its own */
        *n = 1;
        return onednn_plan_ops(o, plan, c.relu, 1, first);
    }
    ONEDNN_CVY(make_backward(o, plan, &c, &b));
    ONEDNN_CVY(bind_backward_maps(b, plan, &c));
    if (c.fused) onednn_bind(b->prim, DNNL_ARG_WORKSPACE, c.fused->workspace);
    ONEDNN_CVY(bind_backward_statistics(b, plan, &c));
    if (c.affine) {
        ONEDNN_CVY(bind_scale(b, plan, c.gamma));
        ONEDNN_CVY(bind_gradients(b, plan, &c));
    }
    if (c.reduce && cvy_plan_needed_after(plan, c.reduce->out[CVY_BN_BWD_REDUCE_SUMS], c.last))
        b->sums = c.reduce->out[CVY_BN_BWD_REDUCE_SUMS];
    return append(plan, b);
}

/* --------------------------------------------------------------------------------------- taking */

static bool is_relu(const struct cvy_op_desc *op)
{
    return op->u.act.kind == CVY_RELU && op->u.act.relu_grad_at_zero == 0;
}

static int take_backward(const struct cvy_op_desc *ops, int n)
{
    int k = ops[0].kind == CVY_OP_ACT_BWD;
    if (k >= n) return 0;
    if (k && (!is_relu(&ops[0]) || ops[1].in[BN_DY] != ops[0].out[CVY_ACT_BWD_DX])) return 0;
    if (ops[k].kind == CVY_OP_BN_INFER_BWD) return k + 1;
    if (ops[k].kind == CVY_OP_BN_BWD_DATA) return k ? 0 : 1;
    if (ops[k].kind != CVY_OP_BN_BWD_REDUCE) return 0;
    if (k + 1 < n && ops[k + 1].kind == CVY_OP_BN_BWD_DATA &&
        ops[k + 1].in[BN_X] == ops[k].in[BN_X] &&
        ops[k + 1].in[CVY_BN_BWD_DATA_SUMS] == ops[k].out[CVY_BN_BWD_REDUCE_SUMS])
        return k + 2;
    /* its sums are the gradients of gamma and beta, which then are not computed */
    return ops[k].u.bn.no_affine ? 0 : k + 1;
}

/* oneDNN's flags are for gamma and beta, or (2.x) mean both; its statistics are both. */
static bool one_alone(const struct cvy_op_desc *op)
{
    switch (op->kind) {
    case CVY_OP_BN_STATS:
    case CVY_OP_BN_APPLY:
    case CVY_OP_BN_INFER:
    case CVY_OP_BN_BWD_REDUCE:
    case CVY_OP_BN_BWD_DATA:
    case CVY_OP_BN_INFER_BWD:
        return op->u.bn.no_gamma != op->u.bn.no_beta ||
               op->u.bn.statistics != CVY_BN_STATISTICS_BOTH;
    default: return false;
    }
}

int onednn_bn_take(const struct onednn *o, const struct cvy_plan *plan,
                   const struct cvy_op_desc *ops, int n)
{
    (void)o, (void)plan;
    int k = 1;
    if (one_alone(&ops[0]) || (n > 1 && ops[0].kind == CVY_OP_ACT_BWD && one_alone(&ops[1])))
        return 0;
    if (ops[0].kind == CVY_OP_ACT_BWD || ops[0].kind == CVY_OP_BN_BWD_REDUCE ||
        ops[0].kind == CVY_OP_BN_BWD_DATA || ops[0].kind == CVY_OP_BN_INFER_BWD)
        return take_backward(ops, n);
    if (ops[0].kind == CVY_OP_BN_STATS) {
        if (n < 2 || ops[1].kind != CVY_OP_BN_APPLY || ops[1].in[BN_X] != ops[0].in[BN_X] ||
            ops[1].in[CVY_BN_APPLY_STATS] != ops[0].out[CVY_BN_STATS_STATS])
            return 1;
        k = 2;
    }
    return onednn_activates(ops, n, k) && is_relu(&ops[k]) ? k + 1 : k;
}

enum cvy_status onednn_bn_plan(struct onednn *o, struct cvy_plan *plan,
                               const struct cvy_op_desc *ops, int *n, size_t first)
{
    if (ops[0].kind == CVY_OP_BN_STATS || ops[0].kind == CVY_OP_BN_APPLY ||
        ops[0].kind == CVY_OP_BN_INFER)
        return plan_forward(o, plan, ops, n, first);
    return plan_backward(o, plan, ops, n, first);
}
