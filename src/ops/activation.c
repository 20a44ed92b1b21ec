/* activation: functions of single elements. What is known of each is the list of types.h; here it
 * becomes a table. */
#include <math.h>

#include "ops/operators.h"

enum { none, alpha, at_zero }; /* what the list calls settings */

#define RECORD(NAME, key, settings, default_alpha, from_x, increases) \
    { .name = #key,                                                   \
      .has_alpha = (settings) == alpha,                               \
      .has_at_zero = (settings) == at_zero,                           \
      .alpha = (default_alpha),                                       \
      .by_x = (from_x),                                               \
      .monotone = (increases) },
static const struct cvyi_activation kinds[] = { CVY_ACTIVATIONS(RECORD) };

/* The list has the order of the enum. */
#define PLACE(NAME, ...) PLACE_##NAME,
enum { CVY_ACTIVATIONS(PLACE) };
#define IN_PLACE(NAME, ...) \
    _Static_assert((int)PLACE_##NAME == (int)CVY_##NAME, "CVY_ACTIVATIONS: CVY_" #NAME);
CVY_ACTIVATIONS(IN_PLACE)

const struct cvyi_activation *cvyi_activation(enum cvy_act_kind kind)
{
    return (unsigned)kind < sizeof kinds / sizeof *kinds ? &kinds[kind] : NULL;
}

static bool splits_at_zero(const cvy_act_desc *d)
{
    return kinds[d->kind].has_at_zero && d->relu_grad_at_zero != 0;
}

bool cvyi_act_by_x(const cvy_act_desc *d) { return kinds[d->kind].by_x || splits_at_zero(d); }

/* A ReLU with a gradient at zero: of a window's zeros and negative numbers, all zero behind it, the
 * first gets the gradient, which may be the one or the other. */
bool cvyi_act_commutes(const cvy_act_desc *d)
{
    return kinds[d->kind].monotone && !splits_at_zero(d);
}

enum cvy_status cvyi_act_check(struct cvy_context *ctx, const char *name, cvy_act_desc *d)
{
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_act_desc, d));
    if (!name) name = "op";
    const struct cvyi_activation *kind = cvyi_activation(d->kind);
    if (!kind)
        return cvyi_fail(ctx, CVY_E_ARG, "activation '%s': kind %d is not one of enum cvy_act_kind",
                         name, (int)d->kind);
    if (d->alpha == 0) d->alpha = kind->alpha;
    /* the gradient tells the sides of zero apart by y, whose sign is x's only where alpha is
     * positive */
    if (kind->has_alpha && !(d->alpha > 0 && isfinite(d->alpha)))
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
    op->in[CVY_ACT_X] = low->x[0];
    op->out[CVY_ACT_Y] = low->y;
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    if (!want_dx[0]) return;
    bool by_x = cvyi_act_by_x(&node->u.act);
    dx[0] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s.dx",
                            node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_ACT_BWD, "%s.dx", node->name);
    op->u.act = node->u.act;
    op->in[CVY_ACT_BWD_DY] = dy;
    op->in[CVY_ACT_BWD_X] = by_x ? low->x[0] : -1;
    op->in[CVY_ACT_BWD_Y] = by_x ? -1 : low->y;
    op->out[CVY_ACT_BWD_DX] = dx[0];
}

const struct cvyi_operator cvyi_operator_act = {
    .type = "activation", .infer = infer, .forward = forward, .backward = backward
};
