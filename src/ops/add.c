/* add: the sum of two tensors of one shape; its gradient passes through unchanged. */
#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    node->out = in[0];
    return cvyi_same_shape(ctx, "add", node->name, in);
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    (void)training;
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_ADD, "%s", node->name);
    op->in[CVY_ADD_A] = low->x[0];
    op->in[CVY_ADD_B] = low->x[1];
    op->out[CVY_ADD_Y] = low->y;
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    (void)list, (void)node, (void)low;
    for (int i = 0; i < 2; i++)
        if (want_dx[i]) dx[i] = dy;
}

const struct cvyi_operator cvyi_operator_add = {
    .type = "add", .infer = infer, .forward = forward, .backward = backward
};
