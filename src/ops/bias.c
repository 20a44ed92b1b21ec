/* bias: a number of its own added to every channel, where a convolution's or a linear layer's does
 * not stand: behind a pooling. */
#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    (void)ctx;
    node->out = in[0];
    return CVY_OK;
}

static size_t parameters(const struct cvyi_node *node, const cvy_shape *in)
{
    (void)node;
    return in[0].c;
}

static void params(struct cvyi_list *list, const struct cvyi_node *node, const cvy_shape *in,
                   struct cvyi_lowered *low)
{
    low->bias = cvyi_list_value(list, CVY_ROLE_WEIGHT, (cvy_shape){ 1, in[0].c, 1, 1 }, "%s.bias",
                                node->name);
}

static double start(const struct cvyi_node *node, const char *parameter, size_t element)
{
    (void)element;
    (void)node, (void)parameter;
    return 0;
}

int cvyi_bias_forward(struct cvyi_list *list, const char *name, int x, int bias)
{
    int y = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, x), "%s", name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_BIAS, "%s", name);
    op->in[CVY_BIAS_X] = x;
    op->in[CVY_BIAS_B] = bias;
    op->out[CVY_BIAS_Y] = y;
    return y;
}

void cvyi_bias_backward(struct cvyi_list *list, const char *name, int dy, int d_bias)
{
    if (d_bias < 0) return;
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_BIAS_BWD, "%s.db", name);
    op->in[CVY_BIAS_BWD_DY] = dy;
    op->out[CVY_BIAS_BWD_DB] = d_bias;
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    (void)n, (void)training;
    low->y = cvyi_bias_forward(list, node->name, low->x[0], low->bias);
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    cvyi_bias_backward(list, node->name, dy, low->d_bias);
    if (want_dx[0]) dx[0] = dy;
}

const struct cvyi_operator cvyi_operator_bias = {
    .type = "bias",
    .named = true,
    .infer = infer,
    .parameters = parameters,
    .params = params,
    .start = start,
    .forward = forward,
    .backward = backward,
};
