/* group_norm: layer and instance normalisation are settings of it. The same op in training and
 * inference: in training it leaves its statistics for the gradient. */
#include <float.h>
#include <string.h>

#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    cvy_group_norm_desc *d = &node->u.gn;
    cvy_shape x = node->out = in[0];
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_group_norm_desc, d));
    if (d->groups == 0) d->groups = 1;
    if (d->eps == 0) d->eps = 1e-5;
    if (d->no_affine) d->no_gamma = d->no_beta = true;
    d->no_affine = d->no_gamma && d->no_beta;
    /* below FLT_MIN a group without variance would be divided by zero */
    if (!(d->eps >= (double)FLT_MIN && d->eps <= (double)FLT_MAX))
        return cvyi_fail(ctx, CVY_E_ARG,
                         "group_norm '%s': eps is %g, expected a positive finite number (0: 1e-5)",
                         node->name, d->eps);
    if (d->groups > x.c || x.c % d->groups != 0)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "group_norm '%s': groups is %zu, which does not divide the %zu channels",
                         node->name, d->groups, x.c);
    if (x.c / d->groups * x.h * x.w == 1)
        return cvyi_fail(ctx, CVY_E_SHAPE,
                         "group_norm '%s': a group needs more than one value, but it has one "
                         "channel and the map is of size 1",
                         node->name);
    return CVY_OK;
}

/* Of gamma and of beta. */
static cvy_shape affine_shape(const struct cvyi_node *node, cvy_shape x)
{
    bool each = node->u.gn.elementwise;
    return (cvy_shape){ 1, x.c, each ? x.h : 1, each ? x.w : 1 };
}

static size_t parameters(const struct cvyi_node *node, const cvy_shape *in)
{
    cvy_shape s = affine_shape(node, in[0]);
    return ((size_t)!node->u.gn.no_gamma + (size_t)!node->u.gn.no_beta) * s.c * s.h * s.w;
}

static void params(struct cvyi_list *list, const struct cvyi_node *node, const cvy_shape *in,
                   struct cvyi_lowered *low)
{
    cvy_shape s = affine_shape(node, in[0]);
    if (!node->u.gn.no_gamma)
        low->weight = cvyi_list_value(list, CVY_ROLE_WEIGHT, s, "%s.weight", node->name);
    if (!node->u.gn.no_beta)
        low->bias = cvyi_list_value(list, CVY_ROLE_WEIGHT, s, "%s.bias", node->name);
}

static double start(const struct cvyi_node *node, const char *parameter, size_t element)
{
    (void)element;
    (void)node;
    return !strcmp(parameter, "weight") ? 1 : 0;
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    cvy_shape stats = { 2, n * node->u.gn.groups, 1, 1 };
    if (training)
        low->stats = cvyi_list_double(
            list, cvyi_list_value(list, CVY_ROLE_STATS, stats, "%s.stats", node->name));
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_GROUP_NORM, "%s", node->name);
    op->u.gn = node->u.gn;
    op->in[CVY_GROUP_NORM_X] = low->x[0];
    op->in[CVY_GROUP_NORM_GAMMA] = low->weight;
    op->in[CVY_GROUP_NORM_BETA] = low->bias;
    op->out[CVY_GROUP_NORM_Y] = low->y;
    op->out[CVY_GROUP_NORM_STATS] = low->stats;
}

/* One op makes all gradients, so dx is there whether it is wanted or not. */
static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    int made = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s.dx",
                               node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_GROUP_NORM_BWD, "%s.dx", node->name);
    op->u.gn = node->u.gn;
    op->in[CVY_GROUP_NORM_BWD_X] = low->x[0];
    op->in[CVY_GROUP_NORM_BWD_DY] = dy;
    op->in[CVY_GROUP_NORM_BWD_STATS] = low->stats;
    op->in[CVY_GROUP_NORM_BWD_GAMMA] = low->weight;
    op->out[CVY_GROUP_NORM_BWD_DX] = made;
    op->out[CVY_GROUP_NORM_BWD_DGAMMA] = low->d_weight;
    op->out[CVY_GROUP_NORM_BWD_DBETA] = low->d_bias;
    if (want_dx[0]) dx[0] = made;
}

const struct cvyi_operator cvyi_operator_group_norm = {
    .type = "group_norm",
    .infer = infer,
    .parameters = parameters,
    .params = params,
    .start = start,
    .forward = forward,
    .backward = backward,
};
