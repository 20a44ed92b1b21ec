/* conv_transpose2d: a convolution from its output to its input, whose passes change places. What
 * that convolution calls its data gradient is the result here, its result is the data gradient,
 * and its weights' gradient, which multiplies the two maps, is the same with them exchanged. */
#include "ops/operators.h"

/* The size of the output along axis i of {rows, columns}, the input's being `size`. */
static enum cvy_status extent(struct cvy_context *ctx, const char *name,
                              const cvy_conv_transpose2d_desc *d, int i, size_t size, size_t *out)
{
    const char *axis = i == 0 ? "rows" : "columns";
    size_t step = d->stride[i] > d->dilation[i] ? d->stride[i] : d->dilation[i];
    if (d->output_pad[i] >= step)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "conv_transpose2d '%s': output_pad is %zu %s, expected less than the "
                         "stride or the dilation, %zu and %zu",
                         name, d->output_pad[i], axis, d->stride[i], d->dilation[i]);
    /* every term is below 2^31 (checked by the caller), so nothing overflows 64 bits */
    uint64_t whole = ((uint64_t)size - 1) * d->stride[i] +
                     (uint64_t)d->dilation[i] * (d->kernel[i] - 1) + 1 + d->output_pad[i],
             cut = (uint64_t)d->pad[i] + d->pad[i + 2];
    if (whole <= cut)
        return cvyi_fail(ctx, CVY_E_SHAPE,
                         "conv_transpose2d '%s': the padding cuts %llu %s off, and there are %llu",
                         name, (unsigned long long)cut, axis, (unsigned long long)whole);
    *out = whole - cut;
    return CVY_OK;
}

static enum cvy_status check_sizes(struct cvy_context *ctx, const char *name,
                                   cvy_conv_transpose2d_desc *d)
{
    static const char *const type = "conv_transpose2d",
                             *const kernel[2] = { "kernel rows", "kernel columns" },
                             *const stride[2] = { "row stride", "column stride" },
                             *const dilation[2] = { "row dilation", "column dilation" },
                             *const more[2] = { "output_pad rows", "output_pad columns" },
                             *const pad[4] = { "top padding", "left padding", "bottom padding",
                                               "right padding" };
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_conv_transpose2d_desc, d));
    if (!d->groups) d->groups = 1;
    CVYI_TRY(cvyi_size_check(ctx, type, name, "out_channels", d->out_channels, 1));
    CVYI_TRY(cvyi_size_check(ctx, type, name, "groups", d->groups, 1));
    for (int i = 0; i < 2; i++) {
        if (!d->stride[i]) d->stride[i] = 1;
        if (!d->dilation[i]) d->dilation[i] = 1;
        CVYI_TRY(cvyi_size_check(ctx, type, name, kernel[i], d->kernel[i], 1));
        CVYI_TRY(cvyi_size_check(ctx, type, name, stride[i], d->stride[i], 1));
        CVYI_TRY(cvyi_size_check(ctx, type, name, dilation[i], d->dilation[i], 1));
        CVYI_TRY(cvyi_size_check(ctx, type, name, more[i], d->output_pad[i], 0));
    }
    for (int i = 0; i < 4; i++) CVYI_TRY(cvyi_size_check(ctx, type, name, pad[i], d->pad[i], 0));
    return CVY_OK;
}

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    cvy_conv_transpose2d_desc *d = &node->u.deconv;
    const char *name = node->name;
    cvy_shape x = in[0], y = { 1, d->out_channels, 0, 0 };
    CVYI_TRY(check_sizes(ctx, name, d));
    if (x.c % d->groups || y.c % d->groups)
        return cvyi_fail(
            ctx, CVY_E_SHAPE, "conv_transpose2d '%s': groups %zu does not divide %zu %s channels",
            name, d->groups, x.c % d->groups ? x.c : y.c, x.c % d->groups ? "input" : "output");
    CVYI_TRY(extent(ctx, name, d, 0, x.h, &y.h));
    CVYI_TRY(extent(ctx, name, d, 1, x.w, &y.w));
    CVYI_TRY(cvyi_shape_check(ctx, "conv_transpose2d", name, y));
    size_t weights = 16 * sizeof(double);
    if (!cvyi_mul(weights, x.c, &weights) || !cvyi_mul(weights, y.c / d->groups, &weights) ||
        !cvyi_mul(weights, d->kernel[0], &weights) || !cvyi_mul(weights, d->kernel[1], &weights))
        return cvyi_fail(ctx, CVY_E_SHAPE,
                         "conv_transpose2d '%s': %zu x %zu x %zu x %zu weights are more than this "
                         "machine can address",
                         name, x.c, y.c / d->groups, d->kernel[0], d->kernel[1]);
    node->out = y;
    return CVY_OK;
}

static cvy_shape weight_shape(const struct cvyi_node *node, cvy_shape x)
{
    const cvy_conv_transpose2d_desc *d = &node->u.deconv;
    return (cvy_shape){ x.c, d->out_channels / d->groups, d->kernel[0], d->kernel[1] };
}

static size_t biases(const struct cvyi_node *node)
{
    return node->u.deconv.no_bias ? 0 : node->u.deconv.out_channels;
}

static size_t parameters(const struct cvyi_node *node, const cvy_shape *in)
{
    return cvyi_kernel_parameters(weight_shape(node, in[0]), biases(node));
}

static double flops(const struct cvyi_node *node, const cvy_shape *in, bool backward)
{
    cvy_shape w = weight_shape(node, in[0]), x = in[0];
    double forward =
        2.0 * (double)x.c * (double)x.h * (double)x.w * (double)w.c * (double)w.h * (double)w.w;
    return backward ? 2 * forward : forward; /* data and weight gradient */
}

static void params(struct cvyi_list *list, const struct cvyi_node *node, const cvy_shape *in,
                   struct cvyi_lowered *low)
{
    cvyi_kernel_params(list, node, weight_shape(node, in[0]), biases(node), low);
}

/* The convolution from y to x, whose result has `channels`. */
static cvy_conv2d_desc turned(const struct cvyi_node *node, size_t channels)
{
    const cvy_conv_transpose2d_desc *d = &node->u.deconv;
    return (cvy_conv2d_desc){ .out_channels = channels,
                              .kernel = { d->kernel[0], d->kernel[1] },
                              .stride = { d->stride[0], d->stride[1] },
                              .pad = { d->pad[0], d->pad[1], d->pad[2], d->pad[3] },
                              .dilation = { d->dilation[0], d->dilation[1] },
                              .groups = d->groups,
                              .no_bias = true,
                              .flip = d->flip };
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    bool biased = low->bias >= 0;
    (void)training;
    low->y = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s%s",
                             node->name, biased ? ".sums" : "");
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_CONV2D_BWD_DATA, "%s", node->name);
    op->u.conv = turned(node, cvyi_shape_of(list, low->x[0]).c);
    op->in[CVY_CONV2D_BWD_DATA_DY] = low->x[0];
    op->in[CVY_CONV2D_BWD_DATA_W] = low->weight;
    op->out[CVY_CONV2D_BWD_DATA_DX] = low->y;
    if (biased) low->y = cvyi_bias_forward(list, node->name, low->y, low->bias);
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    cvy_conv2d_desc conv = turned(node, cvyi_shape_of(list, low->x[0]).c);
    /* the data gradient first, as conv2d */
    if (want_dx[0]) {
        dx[0] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s.dx",
                                node->name);
        struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_CONV2D, "%s.dx", node->name);
        op->u.conv = conv;
        op->in[CVY_CONV2D_X] = dy;
        op->in[CVY_CONV2D_W] = low->weight;
        op->out[CVY_CONV2D_Y] = dx[0];
    }
    if (low->d_weight >= 0) {
        struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_CONV2D_BWD_WEIGHTS, "%s.dw", node->name);
        op->u.conv = conv;
        op->in[CVY_CONV2D_BWD_WEIGHTS_X] = dy;
        op->in[CVY_CONV2D_BWD_WEIGHTS_DY] = low->x[0];
        op->out[CVY_CONV2D_BWD_WEIGHTS_DW] = low->d_weight;
    }
    cvyi_bias_backward(list, node->name, dy, low->d_bias);
}

const struct cvyi_operator cvyi_operator_conv_transpose2d = {
    .type = "conv_transpose2d",
    .named = true,
    .kernels = true,
    .infer = infer,
    .parameters = parameters,
    .flops = flops,
    .params = params,
    .forward = forward,
    .backward = backward,
};
