/* softmax over the channels of every pixel, for inference: in training the loss contains it. */
#include <float.h>

#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    double *t = &node->u.temperature;
    node->out = in[0];
    if (*t == 0) *t = 1;
    if (*t >= (double)FLT_MIN && *t <= (double)FLT_MAX) return CVY_OK;
    return cvyi_fail(ctx, CVY_E_ARG,
                     "softmax '%s': temperature is %g, expected a positive finite number (0: 1)",
                     node->name, *t);
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    if (training && list->status == CVY_OK)
        list->status = cvyi_fail(list->ctx, CVY_E_UNSUPPORTED,
                                 "softmax '%s': a net cannot be trained through a softmax layer; "
                                 "the loss applies softmax itself, give the trainer the logits",
                                 node->name);
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_SOFTMAX, "%s", node->name);
    op->u.softmax.temperature = node->u.temperature;
    op->in[CVY_SOFTMAX_X] = low->x[0];
    op->out[CVY_SOFTMAX_Y] = low->y;
}

const struct cvyi_operator cvyi_operator_softmax = { .type = "softmax",
                                                     .infer = infer,
                                                     .forward = forward };
