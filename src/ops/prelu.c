/* prelu: an activation with a slope a channel that is learned. */
#include <math.h>

#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    cvy_prelu_desc *d = &node->u.prelu;
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_prelu_desc, d));
    node->out = in[0];
    if (d->init == 0) d->init = 0.25;
    if (!isfinite((float)d->init))
        return cvyi_fail(ctx, CVY_E_ARG, "prelu '%s': init is %g, expected a finite number",
                         node->name, d->init);
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
    low->weight = cvyi_list_value(list, CVY_ROLE_WEIGHT, (cvy_shape){ 1, in[0].c, 1, 1 },
                                  "%s.weight", node->name);
}

static double start(const struct cvyi_node *node, const char *parameter, size_t element)
{
    (void)element;
    (void)parameter;
    return node->u.prelu.init;
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    (void)training;
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_PRELU, "%s", node->name);
    op->in[CVY_PRELU_X] = low->x[0];
    op->in[CVY_PRELU_SLOPE] = low->weight;
    op->out[CVY_PRELU_Y] = low->y;
}

/* One op makes both gradients, so dx is there whether it is wanted or not. */
static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    int made = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s.dx",
                               node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_PRELU_BWD, "%s.dx", node->name);
    op->in[CVY_PRELU_BWD_X] = low->x[0];
    op->in[CVY_PRELU_BWD_DY] = dy;
    op->in[CVY_PRELU_BWD_SLOPE] = low->weight;
    op->out[CVY_PRELU_BWD_DX] = made;
    op->out[CVY_PRELU_BWD_DSLOPE] = low->d_weight;
    if (want_dx[0]) dx[0] = made;
}

const struct cvyi_operator cvyi_operator_prelu = {
    .type = "prelu",
    .infer = infer,
    .parameters = parameters,
    .params = params,
    .start = start,
    .forward = forward,
    .backward = backward,
};
