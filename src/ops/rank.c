/* rank: ranks in the batch, or by running quantiles. Its gradient is that of the normal
 * distribution function, an activation's; of a normal one it is dy itself. */
#include "base/probit.h"
#include "ops/operators.h"

#define MOST_QUANTILES ((size_t)65536)

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    cvy_rank_desc *d = &node->u.rank;
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_rank_desc, d));
    node->out = in[0];
    if (d->quantiles == 0) d->quantiles = 128;
    if (d->momentum == 0) d->momentum = 0.1;
    if (d->quantiles < 2 || d->quantiles > MOST_QUANTILES)
        return cvyi_fail(ctx, CVY_E_ARG, "rank '%s': quantiles is %zu, expected 2 to %zu",
                         node->name, d->quantiles, MOST_QUANTILES);
    if (!(d->momentum > 0 && d->momentum <= 1))
        return cvyi_fail(ctx, CVY_E_ARG,
                         "rank '%s': momentum is %g, expected more than 0 and at most 1 (0: 0.1)",
                         node->name, d->momentum);
    size_t bytes = sizeof(double);
    if (!cvyi_mul(bytes, in[0].c, &bytes) || !cvyi_mul(bytes, d->quantiles, &bytes))
        return cvyi_fail(ctx, CVY_E_SHAPE,
                         "rank '%s': %zu x %zu quantiles are more than this machine can address",
                         node->name, in[0].c, d->quantiles);
    return CVY_OK;
}

static void params(struct cvyi_list *list, const struct cvyi_node *node, const cvy_shape *in,
                   struct cvyi_lowered *low)
{
    cvy_shape table = { 1, in[0].c, 1, node->u.rank.quantiles };
    low->running_var =
        cvyi_list_value(list, CVY_ROLE_RUNNING, table, "%s.running_quantiles", node->name);
}

static double start(const struct cvyi_node *node, const char *parameter, size_t e)
{
    double k = (double)node->u.rank.quantiles;
    (void)parameter;
    return cvyi_probit(((double)(e % node->u.rank.quantiles) + 0.5) / k);
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    size_t values = n;
    bool fits = cvyi_mul(values, node->out.h, &values) && cvyi_mul(values, node->out.w, &values);
    if ((!fits || values > UINT32_MAX / 2) && list->status == CVY_OK)
        list->status = cvyi_fail(list->ctx, CVY_E_SHAPE,
                                 "rank '%s': a batch of %zu maps of %zu x %zu has more than 2^31 "
                                 "numbers a channel",
                                 node->name, n, node->out.h, node->out.w);
    bool batch = training && !node->u.rank.frozen;
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    struct cvy_op_desc *op =
        cvyi_list_op(list, batch ? CVY_OP_RANK : CVY_OP_RANK_INFER, "%s", node->name);
    op->u.rank = node->u.rank;
    op->in[CVY_RANK_X] = low->x[0];
    op->in[CVY_RANK_QUANTILES] = low->running_var;
    op->out[CVY_RANK_Y] = low->y;
}
_Static_assert((int)CVY_RANK_X == (int)CVY_RANK_INFER_X &&
                   (int)CVY_RANK_QUANTILES == (int)CVY_RANK_INFER_QUANTILES &&
                   (int)CVY_RANK_Y == (int)CVY_RANK_INFER_Y,
               "forward() makes both");

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    if (!want_dx[0]) return;
    dx[0] = dy;
    if (node->u.rank.normal) return;
    dx[0] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s.dx",
                            node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_ACT_BWD, "%s.dx", node->name);
    op->u.act.kind = CVY_NORMAL_CDF;
    op->in[CVY_ACT_BWD_DY] = dy;
    op->in[CVY_ACT_BWD_X] = low->x[0];
    op->out[CVY_ACT_BWD_DX] = dx[0];
}

const struct cvyi_operator cvyi_operator_rank = {
    .type = "rank",
    .named = true,
    .infer = infer,
    .params = params,
    .start = start,
    .forward = forward,
    .backward = backward,
};
