/* dropout: a mask from a random stream that belongs to the node's place in the net. */
#include "ops/operators.h"

enum cvy_status cvyi_dropout_check(struct cvy_context *ctx, const char *name, cvy_dropout_desc *d)
{
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_dropout_desc, d));
    if ((unsigned)d->when > CVY_DROPOUT_INFERENCE)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "dropout '%s': when is %d, expected CVY_DROPOUT_ALWAYS, "
                         "_TRAINING or _INFERENCE",
                         name ? name : "op", (int)d->when);
    if (d->when == CVY_DROPOUT_INFERENCE && !d->unscaled)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "dropout '%s': of inference it would do nothing unless it is unscaled",
                         name ? name : "op");
    if (d->p >= 0 && d->p <= 1) return CVY_OK;
    return cvyi_fail(ctx, CVY_E_ARG, "dropout '%s': p is %g, expected 0 to 1", name ? name : "op",
                     d->p);
}

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    node->out = in[0];
    return cvyi_dropout_check(ctx, node->name, &node->u.dropout);
}

static void describe(struct cvy_op_desc *op, const struct cvyi_node *node, bool inference)
{
    op->u.dropout.desc = node->u.dropout;
    op->u.dropout.stream = node->index;
    op->u.dropout.infer = inference;
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    const enum cvy_dropout_when when = node->u.dropout.when;
    low->y = low->x[0];
    if (training ? when == CVY_DROPOUT_INFERENCE
                 : when == CVY_DROPOUT_TRAINING || !node->u.dropout.unscaled)
        return;
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_DROPOUT, "%s", node->name);
    describe(op, node, !training);
    op->in[CVY_DROPOUT_X] = low->x[0];
    op->out[CVY_DROPOUT_Y] = low->y;
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    if (!want_dx[0]) return;
    if (node->u.dropout.when == CVY_DROPOUT_INFERENCE) {
        dx[0] = dy;
        return;
    }
    dx[0] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s.dx",
                            node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_DROPOUT_BWD, "%s.dx", node->name);
    describe(op, node, false);
    op->in[CVY_DROPOUT_BWD_DY] = dy;
    op->out[CVY_DROPOUT_BWD_DX] = dx[0];
}

const struct cvyi_operator cvyi_operator_dropout = {
    .type = "dropout", .infer = infer, .forward = forward, .backward = backward
};
