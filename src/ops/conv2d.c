/* conv2d, and linear as the convolution whose kernel is the whole map. */
#include "ops/operators.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

/* The size of the output along axis i of {rows, columns}, the input's being `size`. */
static enum cvy_status extent(struct cvy_context *ctx, const char *name, const cvy_conv2d_desc *d,
                              int i, size_t size, size_t *out)
{
    const char *axis = i == 0 ? "rows" : "columns";
    /* every term is below 2^31 (checked by the caller), so nothing overflows 64 bits */
    uint64_t padded = (uint64_t)size + d->pad[i] + d->pad[i + 2],
             reach = (uint64_t)d->dilation[i] * (d->kernel[i] - 1) + 1;
    if (reach > padded)
        return cvyi_fail(
            ctx, CVY_E_SHAPE,
            "conv2d '%s': a kernel of %llu %s (dilation included) does not fit into %llu "
            "%s (padding included)",
            name, (unsigned long long)reach, axis, (unsigned long long)padded, axis);
    *out = (size_t)((padded - reach) / d->stride[i] + 1);
    return CVY_OK;
}

enum cvy_status cvyi_conv2d_out(struct cvy_context *ctx, const char *name, cvy_conv2d_desc *d,
                                cvy_shape x, cvy_shape *y)
{
    static const char *const kernel[2] = { "kernel rows", "kernel columns" },
                             *const stride[2] = { "row stride", "column stride" },
                             *const dilation[2] = { "row dilation", "column dilation" },
                             *const pad[4] = { "top padding", "left padding", "bottom padding",
                                               "right padding" };
    if (!name) name = "op";
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_conv2d_desc, d));
    if (d->algorithm > INT_MAX ||
        !strcmp(cvy_algorithm_name((enum cvy_algorithm)d->algorithm), "unknown"))
        return cvyi_fail(ctx, CVY_E_ARG,
                         "conv2d '%s': algorithm %" PRIu64 " is not one of enum cvy_algorithm",
                         name, d->algorithm);
    if (!d->groups) d->groups = 1;
    CVYI_TRY(cvyi_shape_check(ctx, "conv2d", name, x));
    CVYI_TRY(cvyi_size_check(ctx, "conv2d", name, "out_channels", d->out_channels, 1));
    CVYI_TRY(cvyi_size_check(ctx, "conv2d", name, "groups", d->groups, 1));
    for (int i = 0; i < 2; i++) {
        if (!d->stride[i]) d->stride[i] = 1;
        if (!d->dilation[i]) d->dilation[i] = 1;
        CVYI_TRY(cvyi_size_check(ctx, "conv2d", name, kernel[i], d->kernel[i], 1));
        CVYI_TRY(cvyi_size_check(ctx, "conv2d", name, stride[i], d->stride[i], 1));
        CVYI_TRY(cvyi_size_check(ctx, "conv2d", name, dilation[i], d->dilation[i], 1));
    }
    for (int i = 0; i < 4; i++)
        CVYI_TRY(cvyi_size_check(ctx, "conv2d", name, pad[i], d->pad[i], 0));
    if (x.c % d->groups)
        return cvyi_fail(ctx, CVY_E_SHAPE,
                         "conv2d '%s': groups %zu does not divide %zu input channels", name,
                         d->groups, x.c);
    if (d->out_channels % d->groups)
        return cvyi_fail(ctx, CVY_E_SHAPE,
                         "conv2d '%s': groups %zu does not divide %zu output channels", name,
                         d->groups, d->out_channels);
    cvy_shape out = { x.n, d->out_channels, 0, 0 };
    CVYI_TRY(extent(ctx, name, d, 0, x.h, &out.h));
    CVYI_TRY(extent(ctx, name, d, 1, x.w, &out.w));
    CVYI_TRY(cvyi_shape_check(ctx, "conv2d", name, out));
    size_t weights = 16 * sizeof(double);
    if (!cvyi_mul(weights, d->out_channels, &weights) ||
        !cvyi_mul(weights, x.c / d->groups, &weights) ||
        !cvyi_mul(weights, d->kernel[0], &weights) || !cvyi_mul(weights, d->kernel[1], &weights))
        return cvyi_fail(
            ctx, CVY_E_SHAPE,
            "conv2d '%s': %zu x %zu x %zu x %zu weights are more than this machine can address",
            name, d->out_channels, x.c / d->groups, d->kernel[0], d->kernel[1]);
    *y = out;
    return CVY_OK;
}

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    if (node->linear) {
        CVYI_TRY(cvyi_size_check(ctx, "linear", node->name, "out_features",
                                 node->u.conv.out_channels, 1));
        node->u.conv.kernel[0] = in[0].h;
        node->u.conv.kernel[1] = in[0].w;
    }
    return cvyi_conv2d_out(ctx, node->name, &node->u.conv, in[0], &node->out);
}

static cvy_shape weight_shape(const struct cvyi_node *node, cvy_shape x)
{
    const cvy_conv2d_desc *d = &node->u.conv;
    return (cvy_shape){ d->out_channels, x.c / d->groups, d->kernel[0], d->kernel[1] };
}

static size_t biases(const struct cvyi_node *node)
{
    return node->u.conv.no_bias ? 0 : node->u.conv.out_channels;
}

static size_t parameters(const struct cvyi_node *node, const cvy_shape *in)
{
    return cvyi_kernel_parameters(weight_shape(node, in[0]), biases(node));
}

static double flops(const struct cvyi_node *node, const cvy_shape *in, bool backward)
{
    cvy_shape w = weight_shape(node, in[0]), y = node->out;
    double forward =
        2.0 * (double)y.c * (double)y.h * (double)y.w * (double)w.c * (double)w.h * (double)w.w;
    return backward ? 2 * forward : forward; /* data and weight gradient */
}

static void params(struct cvyi_list *list, const struct cvyi_node *node, const cvy_shape *in,
                   struct cvyi_lowered *low)
{
    cvyi_kernel_params(list, node, weight_shape(node, in[0]), biases(node), low);
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    (void)training;
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_CONV2D, "%s", node->name);
    op->u.conv = node->u.conv;
    op->in[CVY_CONV2D_X] = low->x[0];
    op->in[CVY_CONV2D_W] = low->weight;
    op->in[CVY_CONV2D_B] = low->bias;
    op->out[CVY_CONV2D_Y] = low->y;
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    /* the data gradient first: the layers below wait for it, nobody but the update waits for dw */
    if (want_dx[0]) {
        dx[0] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s.dx",
                                node->name);
        struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_CONV2D_BWD_DATA, "%s.dx", node->name);
        op->u.conv = node->u.conv;
        op->in[CVY_CONV2D_BWD_DATA_DY] = dy;
        op->in[CVY_CONV2D_BWD_DATA_W] = low->weight;
        op->out[CVY_CONV2D_BWD_DATA_DX] = dx[0];
    }
    if (low->d_weight < 0) return;
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_CONV2D_BWD_WEIGHTS, "%s.dw", node->name);
    op->u.conv = node->u.conv;
    op->in[CVY_CONV2D_BWD_WEIGHTS_X] = low->x[0];
    op->in[CVY_CONV2D_BWD_WEIGHTS_DY] = dy;
    op->out[CVY_CONV2D_BWD_WEIGHTS_DW] = low->d_weight;
    op->out[CVY_CONV2D_BWD_WEIGHTS_DB] = low->d_bias;
}

const struct cvyi_operator cvyi_operator_conv2d = {
    .type = "conv2d",
    .named = true,
    .kernels = true,
    .infer = infer,
    .parameters = parameters,
    .flops = flops,
    .params = params,
    .forward = forward,
    .backward = backward,
};
