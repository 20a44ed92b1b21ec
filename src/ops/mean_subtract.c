/* mean_subtract: one number less, the mean of the batch or of the image. The gradient of it is the
 * same: what is subtracted is a projection, and symmetric. */
#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    const cvy_mean_subtract_desc *d = &node->u.mean;
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_mean_subtract_desc, d));
    node->out = in[0];
    if ((unsigned)d->over > CVY_MEAN_OF_IMAGE)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "mean_subtract '%s': over is %d, which is not one of enum cvy_mean_over",
                         node->name, (int)d->over);
    return CVY_OK;
}

static int centred(struct cvyi_list *list, const struct cvyi_node *node, int x, const char *suffix)
{
    int y = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, x), "%s%s", node->name,
                            suffix);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_MEAN_SUBTRACT, "%s%s", node->name, suffix);
    op->u.mean = node->u.mean;
    op->in[CVY_MEAN_SUBTRACT_X] = x;
    op->out[CVY_MEAN_SUBTRACT_Y] = y;
    return y;
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    (void)n, (void)training;
    low->y = centred(list, node, low->x[0], "");
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    (void)low;
    if (want_dx[0]) dx[0] = centred(list, node, dy, ".dx");
}

const struct cvyi_operator cvyi_operator_mean_subtract = {
    .type = "mean_subtract", .infer = infer, .forward = forward, .backward = backward
};
