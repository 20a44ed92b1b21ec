/* pool2d: maximum and average over windows. A global average is the window that covers the map. */
#include "ops/operators.h"

/* The size of the output along axis i of {rows, columns}, the input's being `size`. */
static enum cvy_status extent(struct cvy_context *ctx, const char *name, const cvy_pool2d_desc *d,
                              int i, size_t size, size_t *out)
{
    const char *axis = i == 0 ? "rows" : "columns";
    const size_t kernel = d->kernel[i], stride = d->stride[i], before = d->pad[i];
    uint64_t padded = (uint64_t)size + before + d->pad[i + 2]; /* terms below 2^31 */
    uint64_t overhang = d->ceil_mode ? stride - 1 : 0;         /* that the first window may have */
    uint64_t room = padded + overhang;
    if (kernel > room)
        return cvyi_fail(
            ctx, CVY_E_SHAPE,
            "pool2d '%s': a window of %zu %s does not fit into %llu %s (padding included)", name,
            kernel, axis, (unsigned long long)padded, axis);
    uint64_t n = (room - kernel) / stride + 1;
    if (d->ceil_mode && (n - 1) * stride >= (uint64_t)size + before)
        n--; /* it would start in the end padding */
    *out = (size_t)n;
    return CVY_OK;
}

enum cvy_status cvyi_pool2d_out(struct cvy_context *ctx, const char *name, cvy_pool2d_desc *d,
                                cvy_shape x, cvy_shape *y)
{
    static const char *const kernel[2] = { "kernel rows", "kernel columns" },
                             *const stride[2] = { "row stride", "column stride" },
                             *const pad[4] = { "top padding", "left padding", "bottom padding",
                                               "right padding" };
    if (!name) name = "op";
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_pool2d_desc, d));
    CVYI_TRY(cvyi_shape_check(ctx, "pool2d", name, x));
    if ((unsigned)d->kind > CVY_POOL_AVG)
        return cvyi_fail(ctx, CVY_E_ARG, "pool2d '%s': kind %d is not one of enum cvy_pool_kind",
                         name, (int)d->kind);
    if ((unsigned)d->tie > CVY_TIE_SPLIT)
        return cvyi_fail(ctx, CVY_E_ARG, "pool2d '%s': tie %d is not one of enum cvy_pool_tie",
                         name, (int)d->tie);
    for (int i = 0; i < 2; i++) {
        CVYI_TRY(cvyi_size_check(ctx, "pool2d", name, kernel[i], d->kernel[i], 1));
        if (!d->stride[i]) d->stride[i] = d->kernel[i];
        CVYI_TRY(cvyi_size_check(ctx, "pool2d", name, stride[i], d->stride[i], 1));
    }
    for (int i = 0; i < 4; i++)
        if (d->pad[i] >= d->kernel[i % 2]) /* else a window could lie wholly in the padding */
            return cvyi_fail(ctx, CVY_E_ARG,
                             "pool2d '%s': %s %lld is not smaller than the kernel's %zu", name,
                             pad[i], (long long)d->pad[i], d->kernel[i % 2]);
    cvy_shape out = { x.n, x.c, 0, 0 };
    CVYI_TRY(extent(ctx, name, d, 0, x.h, &out.h));
    CVYI_TRY(extent(ctx, name, d, 1, x.w, &out.w));
    *y = out;
    return cvyi_shape_check(ctx, "pool2d", name, out);
}

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    return cvyi_pool2d_out(ctx, node->name, &node->u.pool, in[0], &node->out);
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    (void)training;
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_POOL, "%s", node->name);
    op->u.pool = node->u.pool;
    op->in[CVY_POOL_X] = low->x[0];
    op->out[CVY_POOL_Y] = low->y;
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    if (!want_dx[0]) return;
    dx[0] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s.dx",
                            node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_POOL_BWD, "%s.dx", node->name);
    op->u.pool = node->u.pool;
    op->in[CVY_POOL_BWD_DY] = dy;
    op->in[CVY_POOL_BWD_X] = node->u.pool.kind == CVY_POOL_MAX ? low->x[0] : -1;
    op->out[CVY_POOL_BWD_DX] = dx[0];
}

const struct cvyi_operator cvyi_operator_pool2d = {
    .type = "pool2d", .infer = infer, .forward = forward, .backward = backward
};
