/* multiply: the product of two tensors of one shape, element by element. */
#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    node->out = in[0];
    return cvyi_same_shape(ctx, "multiply", node->name, in);
}

static void product(struct cvyi_list *list, const char *name, int a, int b, int y)
{
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_MUL, "%s", name);
    op->in[CVY_MUL_A] = a;
    op->in[CVY_MUL_B] = b;
    op->out[CVY_MUL_Y] = y;
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    (void)training;
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    product(list, node->name, low->x[0], low->x[1], low->y);
}

/* da = dy b, db = dy a. */
static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    for (int i = 0; i < 2; i++) {
        if (!want_dx[i]) continue;
        dx[i] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, dy), "%s.d%c",
                                node->name, "ab"[i]);
        if (dx[i] >= 0) product(list, list->value[dx[i]].name, dy, low->x[1 - i], dx[i]);
    }
}

const struct cvyi_operator cvyi_operator_multiply = {
    .type = "multiply", .infer = infer, .forward = forward, .backward = backward
};
