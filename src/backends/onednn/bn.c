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
    double m = (double)(run->n * b->pixels),
           correct = b->desc.running_var == CVY_BN_VAR_UNBIASED && m > 1 ? m / (m - 1) : 1,
           weight = cvy_run_bn_weight(run, &b->desc);
    float *rm = b->running_mean < 0 ? NULL : run->buf[b->running_mean];
    float *rv = b->running_var < 0 ? NULL : run->buf[b->running_var];
    for (size_t c = 0; c < b->c; c++) {
        if (rm) rm[c] = (float)((1 - weight) * (double)rm[c] + weight * (double)mean[c]);
        if (rv) rv[c] = (float)((1 - weight) * (double)rv[c] + weight * ((double)var[c] * correct));
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

static struct onednn_prim *new_forward(struct onednn *o, const struct cvy_op_desc *op, onednn_md md,
                                       unsigned flags)
{
    struct onednn_prim *p = onednn_prim(o, op->name, onednn_bn_fwd_make);
    if (!p) return NULL;
    p->u.bn.eps = (float)op->u.bn.eps;
    p->u.bn.flags = flags;
    p->prop = o->training ? dnnl_forward_training : dnnl_forward_inference;
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

/* stats, apply, relu: any but all of them may be NULL. */
static enum cvy_status plan_forward(struct onednn *o, struct cvy_plan *plan,
                                    const struct cvy_op_desc *ops, int *n, size_t first)
{
    const struct cvy_op_desc *stats = ops[0].kind == CVY_OP_BN_STATS ? &ops[0] : NULL,
                             *apply = NULL, *relu = NULL;
    size_t last = first + (size_t)*n - 1;
    if (!stats || *n > 1) apply = &ops[stats ? 1 : 0];
    if (apply && &ops[*n - 1] != apply) relu = &ops[*n - 1];
    bool fused = relu && !cvy_plan_needed_after(plan, apply->out[BN_Y], last);
    if (relu && !fused) {
        --*n;
        --last;
    }
    bool infer = apply && apply->kind == CVY_OP_BN_INFER;
    const struct cvy_op_desc *op = apply ? apply : stats;
    int gamma = -1, beta = -1;
    if (apply) {
        gamma = apply->in[infer ? CVY_BN_INFER_GAMMA : CVY_BN_APPLY_GAMMA];
        beta = apply->in[infer ? CVY_BN_INFER_BETA : CVY_BN_APPLY_BETA];
    }
    unsigned flags = gamma >= 0 ? dnnl_use_scale | dnnl_use_shift : 0;
    if (!stats) flags |= dnnl_use_global_stats;
    if (fused) flags |= dnnl_fuse_norm_relu;

    struct onednn_place x;
    ONEDNN_CVY(onednn_seen(o, plan, op->in[BN_X], &x));
    struct onednn_prim *p = new_forward(o, op, x.md, flags);
    struct bn *b = p ? new_bn(o, plan, p, &op->u.bn, op->in[BN_X]) : NULL;
    if (!b) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    p->name = onednn_joined_name(o, ops, *n);
    ONEDNN_CVY(onednn_create(p, plan));
    p->arg[0].id = x.id;
    int y = apply ? apply->out[BN_Y] : -1;
    if (fused) y = relu->out[CVY_ACT_Y];
    if (y >= 0) {
        int in_place = x.borrowed || onednn_reuse(o, plan, op->in[BN_X], last) != x.id ? -1 : x.id;
        ONEDNN_CVY(onednn_lay_out(o, plan, y, p->arg[1].md, in_place));
        p->arg[1].id = in_place < 0 ? onednn_root(plan, y) : in_place;
    } else {
        ONEDNN_CVY(onednn_bind_private(p, plan, DNNL_ARG_DST, &p->arg[1].id));
    }
    onednn_bind(p, DNNL_ARG_SCALE, gamma);
    onednn_bind(p, DNNL_ARG_SHIFT, beta);
    if (fused && !onednn_fused(p, relu, 1))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    for (int k = infer ? CVY_BN_INFER_MEAN : CVY_BN_APPLY_GAMMA; apply && k < apply->n_in; k++)
        ONEDNN_CVY(onednn_watch_parameter(o, plan, apply->in[k]));
    if (infer) {
        onednn_bind(p, DNNL_ARG_MEAN, apply->in[CVY_BN_INFER_MEAN]);
        onednn_bind(p, DNNL_ARG_VARIANCE, apply->in[CVY_BN_INFER_VAR]);
    } else {
        ONEDNN_CVY(onednn_bind_private(p, plan, DNNL_ARG_MEAN, &b->mean));
        ONEDNN_CVY(onednn_bind_private(p, plan, DNNL_ARG_VARIANCE, &b->var));
    }
    if (stats) {
        b->stats_out = stats->out[CVY_BN_STATS_STATS];
        b->running_mean = stats->in[CVY_BN_STATS_MEAN];
        b->running_var = stats->in[CVY_BN_STATS_VAR];
    } else if (!infer) {
        b->stats_in = apply->in[CVY_BN_APPLY_STATS];
    }
    int workspace;
    ONEDNN_CVY(onednn_bind_private(p, plan, DNNL_ARG_WORKSPACE, &workspace));
    if (apply && o->training) {
        struct onednn_forward *f = onednn_remember(o, infer ? CVY_OP_BN_INFER : CVY_OP_BN_APPLY, p);
        if (!f) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
        f->x = onednn_root(plan, op->in[BN_X]);
        f->y = fused ? onednn_root(plan, y) : -1;
        f->workspace = workspace;
    }
    return append(plan, b);
}

/* ------------------------------------------------------------------------------------- backward */

static struct onednn_forward *find(struct onednn *o, enum cvy_op_kind kind, int x)
{
    struct onednn_forward *f = o->forwards;
    while (f && (f->kind != kind || f->x != x)) f = f->next;
    return f;
}

/* [ACT_BWD] [BN_BWD_REDUCE] [BN_BWD_DATA], or BN_INFER_BWD */
static enum cvy_status plan_backward(struct onednn *o, struct cvy_plan *plan,
                                     const struct cvy_op_desc *ops, int *n, size_t first)
{
    const struct cvy_op_desc *relu = ops[0].kind == CVY_OP_ACT_BWD ? &ops[0] : NULL, *reduce = NULL,
                             *data = NULL;
    const struct cvy_op_desc *op = &ops[relu ? 1 : 0];
    for (int k = relu ? 1 : 0; k < *n; k++) {
        if (ops[k].kind == CVY_OP_BN_BWD_REDUCE) reduce = &ops[k];
        else data = &ops[k];
    }
    bool infer = op->kind == CVY_OP_BN_INFER_BWD;
    size_t last = first + (size_t)*n - 1;
    int gamma = data ? data->in[CVY_BN_BWD_DATA_GAMMA] : -1;
    bool affine = infer || data ? gamma >= 0 : !reduce->u.bn.no_affine;
    unsigned flags = affine ? dnnl_use_scale | dnnl_use_shift : 0;
    if (infer) flags |= dnnl_use_global_stats;

    struct onednn_place x;
    ONEDNN_CVY(onednn_seen(o, plan, op->in[BN_X], &x));
    struct onednn_forward *f =
        find(o, infer ? CVY_OP_BN_INFER : CVY_OP_BN_APPLY, onednn_root(plan, op->in[BN_X]));
    bool fused = relu && f && f->y >= 0 && f->y == onednn_root(plan, relu->in[CVY_ACT_BWD_Y]) &&
                 !cvy_plan_needed_after(plan, relu->out[CVY_ACT_BWD_DX], last);
    if (relu && !fused) { /* then alone, and the rest as a chain of its own */
        *n = 1;
        return onednn_plan_ops(o, plan, relu, 1, first);
    }
    if (fused) flags |= dnnl_fuse_norm_relu;
    int dy = fused ? relu->in[CVY_ACT_BWD_DY] : op->in[BN_DY];

    struct onednn_prim *p = onednn_prim(o, op->name, bn_bwd);
    struct bn *b = p ? new_bn(o, plan, p, &op->u.bn, op->in[BN_X]) : NULL;
    if (!b) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    p->name = onednn_joined_name(o, ops, *n);
    p->u.bn.eps = (float)op->u.bn.eps;
    p->u.bn.flags = flags;
    p->prop = affine ? dnnl_backward : dnnl_backward_data;
    p->hint = fused ? f->prim : new_forward(o, op, x.md, flags);
    if (!p->hint) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    if (!fused) {
        p->hint->prop = dnnl_forward_training;
        ONEDNN_CVY(onednn_create(p->hint, plan));
    }
    onednn_give(p, DNNL_ARG_DIFF_SRC, x.md, true);
    onednn_give(p, DNNL_ARG_SRC, x.md, true);
    onednn_give(p, DNNL_ARG_DIFF_DST, x.md, true);
    ONEDNN_CVY(onednn_create(p, plan));
    p->arg[1].id = x.id;
    ONEDNN_CVY(onednn_read(o, plan, dy, x.md, &p->arg[2].id));
    if (data && data->out[BN_Y] >= 0) {
        int in_place = onednn_reuse(o, plan, dy, last);
        if (in_place != p->arg[2].id) in_place = -1;
        ONEDNN_CVY(onednn_lay_out(o, plan, data->out[BN_Y], x.md, in_place));
        p->arg[0].id = in_place < 0 ? onednn_root(plan, data->out[BN_Y]) : in_place;
    } else {
        ONEDNN_CVY(onednn_bind_private(p, plan, DNNL_ARG_DIFF_SRC, &p->arg[0].id));
    }
    if (fused) onednn_bind(p, DNNL_ARG_WORKSPACE, f->workspace);
    if (infer) {
        onednn_bind(p, DNNL_ARG_MEAN, data->in[CVY_BN_INFER_BWD_MEAN]);
        onednn_bind(p, DNNL_ARG_VARIANCE, data->in[CVY_BN_INFER_BWD_VAR]);
    } else {
        b->stats_in = op->in[CVY_BN_BWD_REDUCE_STATS];
        ONEDNN_CVY(onednn_bind_private(p, plan, DNNL_ARG_MEAN, &b->mean));
        ONEDNN_CVY(onednn_bind_private(p, plan, DNNL_ARG_VARIANCE, &b->var));
    }
    if (affine) {
        /* only dx depends on gamma, and nothing on beta, which 2.x asks for all the same: zeros
         * will do */
        int zeros = cvy_plan_buffer(plan, p->name, b->c * sizeof(float), true);
        if (zeros < 0) return CVY_E_NOMEM;
        onednn_bind(p, DNNL_ARG_SCALE, gamma < 0 ? zeros : gamma);
        if (ONEDNN_V2) onednn_bind(p, DNNL_ARG_SHIFT, zeros);
        b->dgamma = b->dbeta = -1;
        if (infer) {
            b->dgamma = data->out[CVY_BN_INFER_BWD_DGAMMA];
            b->dbeta = data->out[CVY_BN_INFER_BWD_DBETA];
        } else if (reduce) {
            b->dgamma = reduce->out[CVY_BN_BWD_REDUCE_DGAMMA];
            b->dbeta = reduce->out[CVY_BN_BWD_REDUCE_DBETA];
        }
        if (b->dgamma >= 0) onednn_bind(p, DNNL_ARG_DIFF_SCALE, b->dgamma);
        else ONEDNN_CVY(onednn_bind_private(p, plan, DNNL_ARG_DIFF_SCALE, &b->dgamma));
        if (b->dbeta >= 0) onednn_bind(p, DNNL_ARG_DIFF_SHIFT, b->dbeta);
        else ONEDNN_CVY(onednn_bind_private(p, plan, DNNL_ARG_DIFF_SHIFT, &b->dbeta));
    }
    if (reduce && cvy_plan_needed_after(plan, reduce->out[CVY_BN_BWD_REDUCE_SUMS], last))
        b->sums = reduce->out[CVY_BN_BWD_REDUCE_SUMS];
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

/* oneDNN's flags are for both, or (2.x) mean both. */
static bool one_alone(const struct cvy_op_desc *op)
{
    switch (op->kind) {
    case CVY_OP_BN_STATS:
    case CVY_OP_BN_APPLY:
    case CVY_OP_BN_INFER:
    case CVY_OP_BN_BWD_REDUCE:
    case CVY_OP_BN_BWD_DATA:
    case CVY_OP_BN_INFER_BWD: return op->u.bn.no_gamma != op->u.bn.no_beta;
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
