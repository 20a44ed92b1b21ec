/* What batch norm and whitening are lowered to: statistics and normalisation are two ops in
 * training, and where inference has those of its batch; one in other inference and while frozen.
 * Their ops' operands are called as batch norm's. */
#include "ops/operators.h"

#define SAME(KIND, OPERAND, OTHER)                                                     \
    _Static_assert((int)CVY_BN_##KIND##_##OPERAND == (int)CVY_WHITEN_##KIND##_##OTHER, \
                   "both are lowered here")
SAME(STATS, X, X);
SAME(STATS, MEAN, MEAN);
SAME(STATS, VAR, MATRIX);
SAME(STATS, STATS, STATS);
SAME(APPLY, X, X);
SAME(APPLY, STATS, STATS);
SAME(APPLY, GAMMA, GAMMA);
SAME(APPLY, BETA, BETA);
SAME(APPLY, Y, Y);
SAME(INFER, X, X);
SAME(INFER, MEAN, MEAN);
SAME(INFER, VAR, MATRIX);
SAME(INFER, GAMMA, GAMMA);
SAME(INFER, BETA, BETA);
SAME(INFER, Y, Y);
SAME(INFER_BWD, X, X);
SAME(INFER_BWD, DY, DY);
SAME(INFER_BWD, MEAN, MEAN);
SAME(INFER_BWD, VAR, MATRIX);
SAME(INFER_BWD, GAMMA, GAMMA);
SAME(INFER_BWD, DX, DX);
SAME(INFER_BWD, DGAMMA, DGAMMA);
SAME(INFER_BWD, DBETA, DBETA);
SAME(BWD_REDUCE, X, X);
SAME(BWD_REDUCE, DY, DY);
SAME(BWD_REDUCE, STATS, STATS);
SAME(BWD_REDUCE, SUMS, SUMS);
SAME(BWD_REDUCE, DGAMMA, DGAMMA);
SAME(BWD_REDUCE, DBETA, DBETA);
SAME(BWD_DATA, X, X);
SAME(BWD_DATA, DY, DY);
SAME(BWD_DATA, STATS, STATS);
SAME(BWD_DATA, SUMS, SUMS);
SAME(BWD_DATA, GAMMA, GAMMA);
SAME(BWD_DATA, DX, DX);

static struct cvy_op_desc *add_op(struct cvyi_list *list, const struct cvyi_node *node,
                                  const struct cvyi_norm *norm, enum cvy_op_kind kind,
                                  const char *suffix)
{
    struct cvy_op_desc *op = cvyi_list_op(list, kind, "%s%s", node->name, suffix);
    norm->describe(op, node);
    return op;
}

static int statistics(struct cvyi_list *list, const struct cvyi_node *node, cvy_shape shape,
                      const char *what)
{
    return cvyi_list_double(
        list, cvyi_list_value(list, CVY_ROLE_STATS, shape, "%s.%s", node->name, what));
}

static void check_values(struct cvyi_list *list, const struct cvyi_node *node, size_t n,
                         bool training)
{
    if (n * node->out.h * node->out.w != 1 || list->status != CVY_OK) return;
    list->status = cvyi_fail(list->ctx, CVY_E_SHAPE,
                             "%s '%s': %s needs more than one value per channel, "
                             "but the batch and the map are both of size 1",
                             cvyi_operator(node->kind)->type, node->name,
                             training ? "training" : "batch_statistics");
}

void cvyi_norm_forward(struct cvyi_list *list, const struct cvyi_node *node,
                       const struct cvyi_norm *norm, size_t n, bool training,
                       struct cvyi_lowered *low)
{
    bool batch = (training || norm->batch_statistics) && !norm->frozen;
    struct cvy_op_desc *op;
    if (batch) {
        check_values(list, node, n, training);
        low->stats = statistics(list, node, norm->stats_shape, "stats");
        op = add_op(list, node, norm, norm->stats, ".stats");
        op->in[CVY_BN_STATS_X] = low->x[0];
        if (training) op->in[CVY_BN_STATS_MEAN] = low->running_mean;
        if (training) op->in[CVY_BN_STATS_VAR] = low->running_var;
        op->out[CVY_BN_STATS_STATS] = low->stats;
    }
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    op = add_op(list, node, norm, batch ? norm->apply : norm->infer, "");
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

/* One op makes all three gradients, so dx is there whether it is wanted or not. */
static int backward_frozen(struct cvyi_list *list, const struct cvyi_node *node,
                           const struct cvyi_norm *norm, const struct cvyi_lowered *low, int dy)
{
    int dx = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s.dx",
                             node->name);
    struct cvy_op_desc *op = add_op(list, node, norm, norm->infer_bwd, ".dx");
    op->in[CVY_BN_INFER_BWD_X] = low->x[0];
    op->in[CVY_BN_INFER_BWD_DY] = dy;
    op->in[CVY_BN_INFER_BWD_MEAN] = low->running_mean;
    op->in[CVY_BN_INFER_BWD_VAR] = low->running_var;
    op->in[CVY_BN_INFER_BWD_GAMMA] = low->weight;
    op->out[CVY_BN_INFER_BWD_DX] = dx;
    op->out[CVY_BN_INFER_BWD_DGAMMA] = low->d_weight;
    op->out[CVY_BN_INFER_BWD_DBETA] = low->d_bias;
    return dx;
}

int cvyi_norm_backward(struct cvyi_list *list, const struct cvyi_node *node,
                       const struct cvyi_norm *norm, struct cvyi_lowered *low, int dy, bool want)
{
    if (norm->frozen) return backward_frozen(list, node, norm, low, dy);
    low->sums = statistics(list, node, norm->sums_shape, "sums");
    struct cvy_op_desc *op = add_op(list, node, norm, norm->reduce, ".sums");
    op->in[CVY_BN_BWD_REDUCE_X] = low->x[0];
    op->in[CVY_BN_BWD_REDUCE_DY] = dy;
    op->in[CVY_BN_BWD_REDUCE_STATS] = low->stats;
    if (norm->reduce == CVY_OP_WHITEN_BWD_REDUCE) op->in[CVY_WHITEN_BWD_REDUCE_GAMMA] = low->weight;
    op->out[CVY_BN_BWD_REDUCE_SUMS] = low->sums;
    op->out[CVY_BN_BWD_REDUCE_DGAMMA] = low->d_weight;
    op->out[CVY_BN_BWD_REDUCE_DBETA] = low->d_bias;
    if (!want) return -1;
    int dx = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s.dx",
                             node->name);
    op = add_op(list, node, norm, norm->data, ".dx");
    op->in[CVY_BN_BWD_DATA_X] = low->x[0];
    op->in[CVY_BN_BWD_DATA_DY] = dy;
    op->in[CVY_BN_BWD_DATA_STATS] = low->stats;
    op->in[CVY_BN_BWD_DATA_SUMS] = low->sums;
    op->in[CVY_BN_BWD_DATA_GAMMA] = low->weight;
    op->out[CVY_BN_BWD_DATA_DX] = dx;
    return dx;
}
