/* maxout: pooling over channels. Adjacent channels lie one behind another, so that they are rows of
 * a map with h * w columns, and a window over them is `size` rows high and one column wide. */
#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    const cvy_maxout_desc *d = &node->u.maxout;
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_maxout_desc, d));
    if ((unsigned)d->kind > CVY_MAXOUT_MIXED)
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
                                enum cvy_op_kind kind, enum cvy_pool_kind of, const char *suffix)
{
    const cvy_maxout_desc *d = &node->u.maxout;
    struct cvy_op_desc *op = cvyi_list_op(list, kind, "%s%s", node->name, suffix);
    op->u.pool = (cvy_pool2d_desc){
        .kind = of, .kernel = { d->size, 1 }, .stride = { d->size, 1 }, .tie = d->tie
    };
    return op;
}

static int pooled(struct cvyi_list *list, const struct cvyi_node *node, int x,
                  enum cvy_pool_kind of)
{
    const char *suffix = of == CVY_POOL_MAX ? ".max" : ".mean";
    int y = cvyi_list_value(list, CVY_ROLE_ACTIVATION, as_rows(node, cvyi_shape_of(list, x).n, 1),
                            "%s%s", node->name, suffix);
    struct cvy_op_desc *op = pool(list, node, CVY_OP_POOL, of, suffix);
    op->in[CVY_POOL_X] = x;
    op->out[CVY_POOL_Y] = y;
    return y;
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    enum cvy_maxout_kind kind = node->u.maxout.kind;
    int x = cvyi_list_reshape(list, low->x[0], as_rows(node, n, node->u.maxout.size), node->name,
                              ".rows");
    int y = kind == CVY_MAXOUT_MEAN ? -1 : pooled(list, node, x, CVY_POOL_MAX);
    int mean = kind == CVY_MAXOUT_MAX ? -1 : pooled(list, node, x, CVY_POOL_AVG);
    if (kind == CVY_MAXOUT_MEAN) y = mean;
    if (kind == CVY_MAXOUT_MIXED) {
        struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_MIX, "%s.mix", node->name);
        op->u.mix.stream = node->index;
        op->u.mix.infer = !training;
        op->in[CVY_MIX_A] = y;
        op->in[CVY_MIX_B] = mean;
        y = cvyi_list_value(list, CVY_ROLE_ACTIVATION, as_rows(node, n, 1), "%s.mix", node->name);
        op->out[CVY_MIX_Y] = y;
    }
    low->y = cvyi_list_reshape(list, y, cvyi_with_n(node->out, n), node->name, "");
}

/* The gradient of a pool's input; a maximum's is told by it, rows x. */
static int unpooled(struct cvyi_list *list, const struct cvyi_node *node, int x, int dy,
                    enum cvy_pool_kind of)
{
    const char *suffix = of == CVY_POOL_MAX ? ".max.dx" : ".mean.dx";
    cvy_shape rows = as_rows(node, cvyi_shape_of(list, dy).n, node->u.maxout.size);
    int dx = cvyi_list_value(list, CVY_ROLE_ACTIVATION, rows, "%s%s", node->name, suffix);
    struct cvy_op_desc *op = pool(list, node, CVY_OP_POOL_BWD, of, suffix);
    op->in[CVY_POOL_BWD_DY] = dy;
    op->in[CVY_POOL_BWD_X] = x;
    op->out[CVY_POOL_BWD_DX] = dx;
    return dx;
}

/* The gradients of the maximum and of the average, meeting in that of x. */
static int unmixed(struct cvyi_list *list, const struct cvyi_node *node, int x, int dy)
{
    cvy_shape row = cvyi_shape_of(list, dy);
    int da = cvyi_list_value(list, CVY_ROLE_ACTIVATION, row, "%s.da", node->name);
    int db = cvyi_list_value(list, CVY_ROLE_ACTIVATION, row, "%s.db", node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_MIX_BWD, "%s.mix.dx", node->name);
    op->u.mix.stream = node->index;
    op->in[CVY_MIX_BWD_DY] = dy;
    op->out[CVY_MIX_BWD_DA] = da;
    op->out[CVY_MIX_BWD_DB] = db;
    int a = unpooled(list, node, x, da, CVY_POOL_MAX),
        b = unpooled(list, node, -1, db, CVY_POOL_AVG);
    int sum =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, a), "%s.sum.dx", node->name);
    op = cvyi_list_op(list, CVY_OP_ADD, "%s.sum.dx", node->name);
    op->in[CVY_ADD_A] = a;
    op->in[CVY_ADD_B] = b;
    op->out[CVY_ADD_Y] = sum;
    return sum;
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    if (!want_dx[0]) return;
    cvy_shape shape = cvyi_shape_of(list, low->x[0]);
    int row = cvyi_list_reshape(list, dy, as_rows(node, shape.n, 1), node->name, ".dy");
    int x = -1, made = -1;
    if (node->u.maxout.kind != CVY_MAXOUT_MEAN)
        x = cvyi_list_reshape(list, low->x[0], as_rows(node, shape.n, node->u.maxout.size),
                              node->name, ".rows.again");
    switch (node->u.maxout.kind) {
    case CVY_MAXOUT_MAX: made = unpooled(list, node, x, row, CVY_POOL_MAX); break;
    case CVY_MAXOUT_MEAN: made = unpooled(list, node, -1, row, CVY_POOL_AVG); break;
    case CVY_MAXOUT_MIXED: made = unmixed(list, node, x, row); break;
    }
    dx[0] = cvyi_list_reshape(list, made, shape, node->name, ".dx");
}

const struct cvyi_operator cvyi_operator_maxout = {
    .type = "maxout", .infer = infer, .forward = forward, .backward = backward
};
