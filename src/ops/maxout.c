/* maxout: pooling over channels. Adjacent channels lie one behind another, so that they are rows of
 * a map with h * w columns, and a window over them is `size` rows high and one column wide. */
#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    const cvy_maxout_desc *d = &node->u.maxout;
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_maxout_desc, d));
    if ((unsigned)d->kind > CVY_MAXOUT_MEAN)
        return cvyi_fail(ctx, CVY_E_ARG, "maxout '%s': kind %d is not one of enum cvy_maxout_kind",
                         node->name, (int)d->kind);
    if ((unsigned)d->tie > CVY_TIE_SPLIT)
        return cvyi_fail(ctx, CVY_E_ARG, "maxout '%s': tie %d is not one of enum cvy_pool_tie",
                         node->name, (int)d->tie);
    CVYI_TRY(cvyi_size_check(ctx, "maxout", node->name, "size", d->size, 1));
    if (in[0].c % d->size)
        return cvyi_fail(ctx, CVY_E_SHAPE, "maxout '%s': %zu channels are no multiple of size %zu",
                         node->name, in[0].c, d->size);
    node->out = (cvy_shape){ 1, in[0].c / d->size, in[0].h, in[0].w };
    /* as a map: a row a channel */
    return cvyi_shape_check(ctx, "maxout", node->name,
                            (cvy_shape){ 1, node->out.c, d->size, in[0].h * in[0].w });
}

static cvy_shape as_rows(const struct cvyi_node *node, size_t n, size_t rows)
{
    return (cvy_shape){ n, node->out.c, rows, node->out.h * node->out.w };
}

static struct cvy_op_desc *pool(struct cvyi_list *list, const struct cvyi_node *node,
                                enum cvy_op_kind kind, const char *suffix)
{
    const cvy_maxout_desc *d = &node->u.maxout;
    struct cvy_op_desc *op = cvyi_list_op(list, kind, "%s%s", node->name, suffix);
    op->u.pool = (cvy_pool2d_desc){ .kind = d->kind == CVY_MAXOUT_MAX ? CVY_POOL_MAX : CVY_POOL_AVG,
                                    .kernel = { d->size, 1 },
                                    .stride = { d->size, 1 },
                                    .tie = d->tie };
    return op;
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    (void)training;
    int x = cvyi_list_reshape(list, low->x[0], as_rows(node, n, node->u.maxout.size), node->name,
                              ".rows");
    int y = cvyi_list_value(list, CVY_ROLE_ACTIVATION, as_rows(node, n, 1), "%s.row", node->name);
    struct cvy_op_desc *op = pool(list, node, CVY_OP_POOL, "");
    op->in[CVY_POOL_X] = x;
    op->out[CVY_POOL_Y] = y;
    low->y = cvyi_list_reshape(list, y, cvyi_with_n(node->out, n), node->name, "");
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    if (!want_dx[0]) return;
    cvy_shape x = cvyi_shape_of(list, low->x[0]);
    cvy_shape rows = as_rows(node, x.n, node->u.maxout.size);
    int made = cvyi_list_value(list, CVY_ROLE_ACTIVATION, rows, "%s.rows.dx", node->name);
    int dy_row = cvyi_list_reshape(list, dy, as_rows(node, x.n, 1), node->name, ".row.dx");
    int x_rows = node->u.maxout.kind == CVY_MAXOUT_MAX
                     ? cvyi_list_reshape(list, low->x[0], rows, node->name, ".rows.again")
                     : -1;
    struct cvy_op_desc *op = pool(list, node, CVY_OP_POOL_BWD, ".dx");
    op->in[CVY_POOL_BWD_DY] = dy_row;
    op->in[CVY_POOL_BWD_X] = x_rows;
    op->out[CVY_POOL_BWD_DX] = made;
    dx[0] = cvyi_list_reshape(list, made, x, node->name, ".dx");
}

const struct cvyi_operator cvyi_operator_maxout = {
    .type = "maxout", .infer = infer, .forward = forward, .backward = backward
};
