/* concat: tensors side by side along the channels; its gradient is a slice for each. */
#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    node->out = in[0];
    for (size_t i = 1; i < node->n_in; i++) {
        if (in[i].h != in[0].h || in[i].w != in[0].w)
            return cvyi_fail(ctx, CVY_E_SHAPE,
                             "concat '%s': input %zu has a %zu x %zu map, input 0 %zu x %zu",
                             node->name, i, in[i].h, in[i].w, in[0].h, in[0].w);
        node->out.c += in[i].c; /* at most CVY_MAX_IN terms below 2^31 */
    }
    return cvyi_shape_check(ctx, "concat", node->name, node->out);
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    (void)training;
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_CONCAT, "%s", node->name);
    for (size_t i = 0; i < node->n_in; i++) cvyi_op_append(op, low->x[i]);
    op->out[CVY_CONCAT_Y] = low->y;
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    for (size_t i = 0, c0 = 0; i < node->n_in; i++) {
        cvy_shape shape = cvyi_shape_of(list, low->x[i]);
        if (want_dx[i]) {
            dx[i] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, shape, "%s.dx%zu", node->name, i);
            struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_SLICE, "%s.dx%zu", node->name, i);
            op->u.slice.c0 = c0;
            op->in[CVY_SLICE_X] = dy;
            op->out[CVY_SLICE_Y] = dx[i];
        }
        c0 += shape.c;
    }
}

const struct cvyi_operator cvyi_operator_concat = {
    .type = "concat", .infer = infer, .forward = forward, .backward = backward
};
