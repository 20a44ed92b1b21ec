/* pad_channels: channels of zeros before and after; its gradient is the slice in between. */
#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    CVYI_TRY(cvyi_size_check(ctx, "pad_channels", node->name, "before", node->u.pad.before, 0));
    CVYI_TRY(cvyi_size_check(ctx, "pad_channels", node->name, "after", node->u.pad.after, 0));
    node->out = in[0];
    node->out.c += node->u.pad.before + node->u.pad.after; /* terms below 2^31 */
    return cvyi_shape_check(ctx, "pad_channels", node->name, node->out);
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    (void)training;
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_PAD, "%s", node->name);
    op->u.slice.c0 = node->u.pad.before;
    op->in[CVY_PAD_X] = low->x[0];
    op->out[CVY_PAD_Y] = low->y;
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    if (!want_dx[0]) return;
    dx[0] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s.dx",
                            node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_SLICE, "%s.dx", node->name);
    op->u.slice.c0 = node->u.pad.before;
    op->in[CVY_SLICE_X] = dy;
    op->out[CVY_SLICE_Y] = dx[0];
}

const struct cvyi_operator cvyi_operator_pad_channels = {
    .type = "pad_channels", .infer = infer, .forward = forward, .backward = backward
};
