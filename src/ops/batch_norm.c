/* batch_norm: statistics and normalisation are two ops in training, and where inference has those
 * of its batch; one in other inference and while frozen. */
#include <float.h>
#include <string.h>

#include "ops/operators.h"

enum cvy_status cvyi_batch_norm_check(struct cvy_context *ctx, const char *name,
                                      cvy_batch_norm_desc *d, cvy_shape x)
{
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_batch_norm_desc, d));
    if (!name) name = "op";
    if (d->eps == 0) d->eps = 1e-5;
    if (d->cumulative && d->momentum != 0)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "batch_norm '%s': momentum is %g, but cumulative statistics have none",
                         name, d->momentum);
    if (d->momentum == 0) d->momentum = 0.1;
    if (d->no_affine) d->no_gamma = d->no_beta = true;
    d->no_affine = d->no_gamma && d->no_beta;
    CVYI_TRY(cvyi_shape_check(ctx, "batch_norm", name, x));
    /* below FLT_MIN a channel without variance would be divided by zero */
    if (!(d->eps >= (double)FLT_MIN && d->eps <= (double)FLT_MAX))
        return cvyi_fail(ctx, CVY_E_ARG,
                         "batch_norm '%s': eps is %g, expected a positive finite number (0: 1e-5)",
                         name, d->eps);
    if (!(d->momentum > 0 && d->momentum <= 1))
        return cvyi_fail(
            ctx, CVY_E_ARG,
            "batch_norm '%s': momentum is %g, expected more than 0 and at most 1 (0: 0.1)", name,
            d->momentum);
    if (d->frozen && d->batch_statistics)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "batch_norm '%s' is both frozen and of batch_statistics, expected one",
                         name);
    if (!(d->running_var_offset >= 0 && d->running_var_offset <= (double)FLT_MAX))
        return cvyi_fail(ctx, CVY_E_ARG,
                         "batch_norm '%s': running_var_offset is %g, expected 0 or more", name,
                         d->running_var_offset);
    if ((unsigned)d->running_var > CVY_BN_VAR_BIASED)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "batch_norm '%s': running_var is %d, expected CVY_BN_VAR_UNBIASED or "
                         "CVY_BN_VAR_BIASED",
                         name, (int)d->running_var);
    if ((unsigned)d->statistics > CVY_BN_STATISTICS_VARIANCE)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "batch_norm '%s': statistics is %d, expected CVY_BN_STATISTICS_BOTH, "
                         "_MEAN or _VARIANCE",
                         name, (int)d->statistics);
    return CVY_OK;
}

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    node->out = in[0];
    return cvyi_batch_norm_check(ctx, node->name, &node->u.bn, in[0]);
}

static size_t parameters(const struct cvyi_node *node, const cvy_shape *in)
{
    return ((size_t)!node->u.bn.no_gamma + (size_t)!node->u.bn.no_beta) * in[0].c;
}

static void params(struct cvyi_list *list, const struct cvyi_node *node, const cvy_shape *in,
                   struct cvyi_lowered *low)
{
    cvy_shape c = { 1, in[0].c, 1, 1 };
    if (!node->u.bn.no_gamma)
        low->weight = cvyi_list_value(list, CVY_ROLE_WEIGHT, c, "%s.weight", node->name);
    if (!node->u.bn.no_beta)
        low->bias = cvyi_list_value(list, CVY_ROLE_WEIGHT, c, "%s.bias", node->name);
    if (node->u.bn.statistics != CVY_BN_STATISTICS_VARIANCE)
        low->running_mean =
            cvyi_list_value(list, CVY_ROLE_RUNNING, c, "%s.running_mean", node->name);
    if (node->u.bn.statistics != CVY_BN_STATISTICS_MEAN)
        low->running_var = cvyi_list_value(list, CVY_ROLE_RUNNING, c, "%s.running_var", node->name);
}

static double start(const struct cvyi_node *node, const char *parameter, size_t element)
{
    (void)element;
    if (!strcmp(parameter, "running_var")) return node->u.bn.zero_init ? 0 : 1;
    return !strcmp(parameter, "weight") ? 1 : 0;
}

static struct cvy_op_desc *add_op(struct cvyi_list *list, const struct cvyi_node *node,
                                  enum cvy_op_kind kind, const char *suffix)
{
    struct cvy_op_desc *op = cvyi_list_op(list, kind, "%s%s", node->name, suffix);
    op->u.bn = node->u.bn;
    return op;
}

/* In double, two a channel: mean and variance, or the sums of the gradient. */
static int statistics(struct cvyi_list *list, const struct cvyi_node *node, const char *what)
{
    return cvyi_list_double(list, cvyi_list_value(list, CVY_ROLE_STATS,
                                                  (cvy_shape){ 2, node->out.c, 1, 1 }, "%s.%s",
                                                  node->name, what));
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    bool batch = (training || node->u.bn.batch_statistics) && !node->u.bn.frozen;
    if (batch && n * node->out.h * node->out.w == 1 && list->status == CVY_OK)
        list->status = cvyi_fail(list->ctx, CVY_E_SHAPE,
                                 "batch_norm '%s': %s needs more than one value per channel, "
                                 "but the batch and the map are both of size 1",
                                 node->name, training ? "training" : "batch_statistics");
    struct cvy_op_desc *op;
    if (batch) {
        low->stats = statistics(list, node, "stats");
        op = add_op(list, node, CVY_OP_BN_STATS, ".stats");
        op->in[CVY_BN_STATS_X] = low->x[0];
        if (training) op->in[CVY_BN_STATS_MEAN] = low->running_mean;
        if (training) op->in[CVY_BN_STATS_VAR] = low->running_var;
        op->out[CVY_BN_STATS_STATS] = low->stats;
    }
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    op = add_op(list, node, batch ? CVY_OP_BN_APPLY : CVY_OP_BN_INFER, "");
    if (batch) {
        op->in[CVY_BN_APPLY_X] = low->x[0];
        op->in[CVY_BN_APPLY_STATS] = low->stats;
        op->in[CVY_BN_APPLY_GAMMA] = low->weight;
        op->in[CVY_BN_APPLY_BETA] = low->bias;
        op->out[CVY_BN_APPLY_Y] = low->y;
    } else {
        op->in[CVY_BN_INFER_X] = low->x[0];
        op->in[CVY_BN_INFER_MEAN] = low->running_mean;
        op->in[CVY_BN_INFER_VAR] = low->running_var;
        op->in[CVY_BN_INFER_GAMMA] = low->weight;
        op->in[CVY_BN_INFER_BETA] = low->bias;
        op->out[CVY_BN_INFER_Y] = low->y;
    }
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    cvy_shape shape = cvyi_shape_of(list, low->x[0]);
    if (node->u.bn.frozen) {
        /* one op makes all three gradients, so dx is there whether it is wanted or not */
        int made = cvyi_list_value(list, CVY_ROLE_ACTIVATION, shape, "%s.dx", node->name);
        struct cvy_op_desc *op = add_op(list, node, CVY_OP_BN_INFER_BWD, ".dx");
        op->in[CVY_BN_INFER_BWD_X] = low->x[0];
        op->in[CVY_BN_INFER_BWD_DY] = dy;
        op->in[CVY_BN_INFER_BWD_MEAN] = low->running_mean;
        op->in[CVY_BN_INFER_BWD_VAR] = low->running_var;
        op->in[CVY_BN_INFER_BWD_GAMMA] = low->weight;
        op->out[CVY_BN_INFER_BWD_DX] = made;
        op->out[CVY_BN_INFER_BWD_DGAMMA] = low->d_weight;
        op->out[CVY_BN_INFER_BWD_DBETA] = low->d_bias;
        if (want_dx[0]) dx[0] = made;
        return;
    }
    low->sums = statistics(list, node, "sums");
    struct cvy_op_desc *op = add_op(list, node, CVY_OP_BN_BWD_REDUCE, ".sums");
    op->in[CVY_BN_BWD_REDUCE_X] = low->x[0];
    op->in[CVY_BN_BWD_REDUCE_DY] = dy;
    op->in[CVY_BN_BWD_REDUCE_STATS] = low->stats;
    op->out[CVY_BN_BWD_REDUCE_SUMS] = low->sums;
    op->out[CVY_BN_BWD_REDUCE_DGAMMA] = low->d_weight;
    op->out[CVY_BN_BWD_REDUCE_DBETA] = low->d_bias;
    if (!want_dx[0]) return;
    dx[0] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, shape, "%s.dx", node->name);
    op = add_op(list, node, CVY_OP_BN_BWD_DATA, ".dx");
    op->in[CVY_BN_BWD_DATA_X] = low->x[0];
    op->in[CVY_BN_BWD_DATA_DY] = dy;
    op->in[CVY_BN_BWD_DATA_STATS] = low->stats;
    op->in[CVY_BN_BWD_DATA_SUMS] = low->sums;
    op->in[CVY_BN_BWD_DATA_GAMMA] = low->weight;
    op->out[CVY_BN_BWD_DATA_DX] = dx[0];
}

const struct cvyi_operator cvyi_operator_batch_norm = {
    .type = "batch_norm",
    .named = true,
    .infer = infer,
    .parameters = parameters,
    .params = params,
    .start = start,
    .forward = forward,
    .backward = backward,
};
