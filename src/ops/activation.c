/* activation: elementwise functions. Their gradients need y only, except ReLU's with a value at
 * zero of its own. */
#include <math.h>

#include "ops/operators.h"

enum cvy_status cvyi_act_check(struct cvy_context *ctx, const char *name, cvy_act_desc *d)
{
    if (!name) name = "op";
    if ((unsigned)d->kind > CVY_SOFTPLUS)
        return cvyi_fail(ctx, CVY_E_ARG, "activation '%s': kind %d is not one of enum cvy_act_kind",
                         name, (int)d->kind);
    if (d->alpha == 0) d->alpha = d->kind == CVY_LEAKY_RELU ? 0.01 : d->kind == CVY_ELU ? 1 : 0;
    /* the gradient tells the sides of zero apart by y, whose sign is x's only where alpha is
     * positive */
    if ((d->kind == CVY_LEAKY_RELU || d->kind == CVY_ELU) && !(d->alpha > 0 && isfinite(d->alpha)))
        return cvyi_fail(ctx, CVY_E_ARG,
                         "activation '%s': alpha is %g, expected a positive finite number", name,
                         d->alpha);
    if (!(d->relu_grad_at_zero >= 0 && d->relu_grad_at_zero <= 1))
        return cvyi_fail(ctx, CVY_E_ARG,
                         "activation '%s': relu_grad_at_zero is %g, expected 0 to 1", name,
                         d->relu_grad_at_zero);
    return CVY_OK;
}

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    node->out = in[0];
    return cvyi_act_check(ctx, node->name, &node->u.act);
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    (void)training;
    (void)n; /* of its operand: it may have moved behind a pooling */
    low->y = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s",
                             node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_ACT, "%s", node->name);
    op->u.act = node->u.act;
    cvyi_op_in(op, low->x[0]);
    cvyi_op_out(op, low->y);
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    if (!want_dx[0]) return;
    bool by_x = node->u.act.kind == CVY_RELU && node->u.act.relu_grad_at_zero != 0;
    dx[0] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s.dx",
                            node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_ACT_BWD, "%s.dx", node->name);
    op->u.act = node->u.act;
    cvyi_op_in(op, dy);
    cvyi_op_in(op, by_x ? low->x[0] : -1);
    cvyi_op_in(op, by_x ? -1 : low->y);
    cvyi_op_out(op, dx[0]);
}

const struct cvyi_operator cvyi_operator_act = {
    .type = "activation", .infer = infer, .forward = forward, .backward = backward
};
