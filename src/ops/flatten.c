/* flatten: the same numbers under another shape; no op, a value that shares a buffer. */
#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    node->out = (cvy_shape){ 1, in[0].c * in[0].h * in[0].w, 1, 1 };
    return cvyi_shape_check(ctx, "flatten", node->name, node->out);
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    (void)training;
    low->y = cvyi_list_reshape(list, low->x[0], cvyi_with_n(node->out, n), node->name, "");
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    if (!want_dx[0]) return;
    dx[0] = cvyi_list_reshape(list, dy, cvyi_shape_of(list, low->x[0]), node->name, ".dx");
}

const struct cvyi_operator cvyi_operator_flatten = {
    .type = "flatten", .infer = infer, .forward = forward, .backward = backward
};
