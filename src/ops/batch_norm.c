/* batch_norm (norm.c says which ops it becomes). */
#include <float.h>
#include <string.h>

#include "ops/operators.h"

enum cvy_status cvyi_batch_norm_check(struct cvy_context *ctx, const char *name,
                                      cvy_batch_norm_desc *d, cvy_shape x)
{
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_batch_norm_desc, d));
    if (!name) name = "op";
    if (d->eps == 0) d->eps = 1e-5;
    if (d->cumulative && d->momentum != 0)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "batch_norm '%s': momentum is %g, but cumulative statistics have none",
                         name, d->momentum);
    if (d->momentum == 0) d->momentum = 0.1;
    if (d->no_affine) d->no_gamma = d->no_beta = true;
    d->no_affine = d->no_gamma && d->no_beta;
    CVYI_TRY(cvyi_shape_check(ctx, "batch_norm", name, x));
    /* below FLT_MIN a channel without variance would be divided by zero */
    if (!(d->eps >= (double)FLT_MIN && d->eps <= (double)FLT_MAX))
        return cvyi_fail(ctx, CVY_E_ARG,
                         "batch_norm '%s': eps is %g, expected a positive finite number (0: 1e-5)",
                         name, d->eps);
    if (!(d->momentum > 0 && d->momentum <= 1))
        return cvyi_fail(
            ctx, CVY_E_ARG,
            "batch_norm '%s': momentum is %g, expected more than 0 and at most 1 (0: 0.1)", name,
            d->momentum);
    if (d->frozen && d->batch_statistics)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "batch_norm '%s' is both frozen and of batch_statistics, expected one",
                         name);
    if (!(d->running_var_offset >= 0 && d->running_var_offset <= (double)FLT_MAX))
        return cvyi_fail(ctx, CVY_E_ARG,
                         "batch_norm '%s': running_var_offset is %g, expected 0 or more", name,
                         d->running_var_offset);
    if ((unsigned)d->running_var > CVY_BN_VAR_BIASED)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "batch_norm '%s': running_var is %d, expected CVY_BN_VAR_UNBIASED or "
                         "CVY_BN_VAR_BIASED",
                         name, (int)d->running_var);
    if ((unsigned)d->statistics > CVY_BN_STATISTICS_VARIANCE)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "batch_norm '%s': statistics is %d, expected CVY_BN_STATISTICS_BOTH, "
                         "_MEAN or _VARIANCE",
                         name, (int)d->statistics);
    return CVY_OK;
}

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    node->out = in[0];
    return cvyi_batch_norm_check(ctx, node->name, &node->u.bn, in[0]);
}

static size_t parameters(const struct cvyi_node *node, const cvy_shape *in)
{
    return ((size_t)!node->u.bn.no_gamma + (size_t)!node->u.bn.no_beta) * in[0].c;
}

static void params(struct cvyi_list *list, const struct cvyi_node *node, const cvy_shape *in,
                   struct cvyi_lowered *low)
{
    cvy_shape c = { 1, in[0].c, 1, 1 };
    if (!node->u.bn.no_gamma)
        low->weight = cvyi_list_value(list, CVY_ROLE_WEIGHT, c, "%s.weight", node->name);
    if (!node->u.bn.no_beta)
        low->bias = cvyi_list_value(list, CVY_ROLE_WEIGHT, c, "%s.bias", node->name);
    if (node->u.bn.statistics != CVY_BN_STATISTICS_VARIANCE)
        low->running_mean =
            cvyi_list_value(list, CVY_ROLE_RUNNING, c, "%s.running_mean", node->name);
    if (node->u.bn.statistics != CVY_BN_STATISTICS_MEAN)
        low->running_var = cvyi_list_value(list, CVY_ROLE_RUNNING, c, "%s.running_var", node->name);
}

static double start(const struct cvyi_node *node, const char *parameter, size_t element)
{
    (void)element;
    if (!strcmp(parameter, "running_var")) return node->u.bn.zero_init ? 0 : 1;
    return !strcmp(parameter, "weight") ? 1 : 0;
}

static void describe(struct cvy_op_desc *op, const struct cvyi_node *node)
{
    op->u.bn = node->u.bn;
}

/* Two a channel: mean and variance, or the sums of the gradient. */
static struct cvyi_norm norm_of(const struct cvyi_node *node)
{
    return (struct cvyi_norm){ .stats = CVY_OP_BN_STATS,
                               .apply = CVY_OP_BN_APPLY,
                               .infer = CVY_OP_BN_INFER,
                               .infer_bwd = CVY_OP_BN_INFER_BWD,
                               .reduce = CVY_OP_BN_BWD_REDUCE,
                               .data = CVY_OP_BN_BWD_DATA,
                               .describe = describe,
                               .stats_shape = { 2, node->out.c, 1, 1 },
                               .sums_shape = { 2, node->out.c, 1, 1 },
                               .frozen = node->u.bn.frozen,
                               .batch_statistics = node->u.bn.batch_statistics };
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    struct cvyi_norm norm = norm_of(node);
    cvyi_norm_forward(list, node, &norm, n, training, low);
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    struct cvyi_norm norm = norm_of(node);
    int made = cvyi_norm_backward(list, node, &norm, low, dy, want_dx[0]);
    if (want_dx[0]) dx[0] = made;
}

const struct cvyi_operator cvyi_operator_batch_norm = {
    .type = "batch_norm",
    .named = true,
    .infer = infer,
    .parameters = parameters,
    .params = params,
    .start = start,
    .forward = forward,
    .backward = backward,
};
