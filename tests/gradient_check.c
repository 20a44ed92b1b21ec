/* Gradients against central differences in double, through the public trainer on the reference
 * backend: every operator between a convolution below (so that its input's gradient is seen) and a
 * linear layer above, and composite nets. Random shapes and descriptors; CVYI_TEST_SEED repeats a
 * run. Knows the public API only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "check.h"
#include "convoy/convoy.h"

#define CONFIGS 20 /* random configurations of every operator and net */
#define ELEMENTS 8 /* checked elements of every parameter */

/* A net being built; names are copied by the library. */
struct build {
    cvy_net *net;
    struct check_rng *r;
    int names;
    char name[16];
};

static const char *name_of(struct build *b)
{
    snprintf(b->name, sizeof b->name, "layer%d", b->names++);
    return b->name;
}
static size_t between(struct build *b, size_t lo, size_t hi)
{
    return lo + check_below(b->r, hi - lo + 1);
}
static bool maybe(struct build *b) { return check_below(b->r, 2); }

typedef cvy_tensor build_fn(struct build *b, cvy_tensor x);

/* --------------------------------------------------------------------------------------- layers */

static cvy_tensor conv(struct build *b, cvy_tensor x, size_t channels, size_t kernel, size_t stride)
{
    size_t p = kernel / 2;
    return cvy_conv2d(b->net, x, name_of(b),
                      &(cvy_conv2d_desc){ .out_channels = channels,
                                          .kernel = { kernel, kernel },
                                          .stride = { stride, stride },
                                          .pad = { p, p, p, p },
                                          .no_bias = maybe(b) });
}

static cvy_tensor linear(struct build *b, cvy_tensor x, size_t features)
{
    return cvy_linear(b->net, x, name_of(b),
                      &(cvy_linear_desc){ .out_features = features, .no_bias = maybe(b) });
}

static cvy_tensor bn(struct build *b, cvy_tensor x)
{
    static const double eps[] = { 0, 1e-3, 0.1, 1 };
    return cvy_batch_norm(b->net, x, name_of(b),
                          &(cvy_batch_norm_desc){ .eps = eps[between(b, 0, 3)] });
}

static cvy_tensor act(struct build *b, cvy_tensor x, enum cvy_act_kind kind)
{
    bool other = maybe(b);
    return cvy_activation(b->net, x, NULL,
                          &(cvy_act_desc){ .kind = kind,
                                           .alpha = other ? 0.3 : 0,
                                           .relu_grad_at_zero = other ? 0.5 : 0 });
}

static cvy_tensor pool(struct build *b, cvy_tensor x, enum cvy_pool_kind kind, size_t kernel,
                       size_t stride)
{
    return cvy_pool2d(b->net, x, NULL,
                      &(cvy_pool2d_desc){ .kind = kind,
                                          .kernel = { kernel, kernel },
                                          .stride = { stride, stride } });
}

/* ------------------------------------------------------------------------------------ operators */

static cvy_tensor op_conv2d(struct build *b, cvy_tensor x)
{
    cvy_shape s = cvy_tensor_shape(b->net, x);
    cvy_conv2d_desc d = { .out_channels = between(b, 1, 4), .no_bias = maybe(b), .flip = maybe(b) };
    for (int i = 0; i < 2; i++) {
        d.kernel[i] = between(b, 1, 3);
        d.stride[i] = between(b, 0, 3);
        d.dilation[i] = between(b, 0, 2);
        d.pad[i] = between(b, 0, 3);
        d.pad[i + 2] = between(b, 0, 3);
    }
    if (maybe(b)) { /* groups; depthwise if that is every channel */
        d.groups = s.c;
        d.out_channels = s.c * between(b, 1, 2);
    }
    return cvy_conv2d(b->net, x, name_of(b), &d);
}

static cvy_tensor op_conv_transpose2d(struct build *b, cvy_tensor x)
{
    cvy_shape s = cvy_tensor_shape(b->net, x);
    cvy_conv_transpose2d_desc d = { .out_channels = between(b, 1, 4),
                                    .no_bias = maybe(b),
                                    .flip = maybe(b) };
    for (int i = 0; i < 2; i++) {
        d.kernel[i] = between(b, 1, 3);
        d.stride[i] = between(b, 1, 3);
        d.dilation[i] = between(b, 1, 2);
        d.output_pad[i] =
            between(b, 0, (d.stride[i] > d.dilation[i] ? d.stride[i] : d.dilation[i]) - 1);
        d.pad[i] = between(b, 0, 2);
        d.pad[i + 2] = between(b, 0, 2);
    }
    if (maybe(b)) {
        d.groups = s.c;
        d.out_channels = s.c * between(b, 1, 2);
    }
    return cvy_conv_transpose2d(b->net, x, name_of(b), &d);
}

static cvy_tensor op_bias(struct build *b, cvy_tensor x)
{
    x = cvy_bias(b->net, pool(b, x, CVY_POOL_MAX, 2, 2), name_of(b));
    return maybe(b) ? bn(b, x) : cvy_relu(b->net, x);
}
static cvy_tensor op_bias_features(struct build *b, cvy_tensor x)
{
    x = linear(b, x, between(b, 1, 5));
    return cvy_bias(b->net, x, name_of(b));
}

static cvy_tensor op_upsample(struct build *b, cvy_tensor x)
{
    cvy_upsample_desc d = { .kind = (enum cvy_upsample_kind)maybe(b) };
    d.align_corners = d.kind == CVY_UPSAMPLE_BILINEAR && maybe(b);
    bool scaled = maybe(b);
    for (int i = 0; i < 2; i++)
        *(scaled ? &d.scale[i] : &d.size[i]) = between(b, 1, scaled ? 3 : 12);
    return cvy_upsample(b->net, x, NULL, &d);
}
static cvy_tensor op_mean_subtract(struct build *b, cvy_tensor x)
{
    x = cvy_mean_subtract(b->net, x, NULL,
                          &(cvy_mean_subtract_desc){ .over = (enum cvy_mean_over)maybe(b) });
    return act(b, x, CVY_TANH);
}

static cvy_tensor op_linear(struct build *b, cvy_tensor x)
{
    return linear(b, x, between(b, 1, 5));
}

static enum cvy_bn_statistics statistics_of(struct build *b)
{
    return (enum cvy_bn_statistics)between(b, 0, 2);
}
static cvy_tensor op_batch_norm(struct build *b, cvy_tensor x)
{
    return cvy_batch_norm(b->net, x, name_of(b),
                          &(cvy_batch_norm_desc){ .eps = maybe(b) ? 1e-12 : 0.05,
                                                  .momentum = maybe(b) ? 0.4 : 0,
                                                  .running_var = maybe(b) ? CVY_BN_VAR_BIASED : 0,
                                                  .statistics = statistics_of(b),
                                                  .no_gamma = check_below(b->r, 4) == 0,
                                                  .no_beta = check_below(b->r, 4) == 0 });
}
static cvy_tensor op_batch_norm_features(struct build *b, cvy_tensor x)
{
    return bn(b, linear(b, x, 3));
}
static cvy_tensor op_batch_norm_frozen(struct build *b, cvy_tensor x)
{
    return cvy_batch_norm(b->net, x, name_of(b),
                          &(cvy_batch_norm_desc){ .frozen = true,
                                                  .statistics = statistics_of(b),
                                                  .no_gamma = maybe(b),
                                                  .no_beta = maybe(b) });
}

/* Groups of any size, layer norm and instance norm among them; a group has two values at least. */
static cvy_tensor group_norm(struct build *b, cvy_tensor x)
{
    cvy_shape s = cvy_tensor_shape(b->net, x);
    size_t groups = between(b, 1, s.c);
    while (s.c % groups || s.c / groups * s.h * s.w == 1) groups--;
    return cvy_group_norm(b->net, x, name_of(b),
                          &(cvy_group_norm_desc){ .groups = groups,
                                                  .eps = maybe(b) ? 1e-3 : 0.05,
                                                  .no_gamma = check_below(b->r, 4) == 0,
                                                  .no_beta = check_below(b->r, 4) == 0,
                                                  .elementwise = maybe(b) });
}
static cvy_tensor op_group_norm(struct build *b, cvy_tensor x)
{
    cvy_shape s = cvy_tensor_shape(b->net, x);
    return group_norm(b, s.c * s.h * s.w > 1 ? x : conv(b, x, 4, 1, 1));
}
/* Of any size, not so ill-conditioned that central differences end. */
static cvy_tensor whitening(struct build *b, cvy_tensor x, enum cvy_whitening_kind kind)
{
    size_t c = cvy_tensor_shape(b->net, x).c, channels = between(b, 1, c);
    while (c % channels) channels--;
    return cvy_whitening(b->net, x, name_of(b),
                         &(cvy_whitening_desc){ .kind = kind,
                                                .channels = channels,
                                                .steps = kind ? between(b, 1, 6) : 0,
                                                .eps = 0.1,
                                                .shared = maybe(b),
                                                .no_gamma = check_below(b->r, 4) == 0,
                                                .no_beta = check_below(b->r, 4) == 0 });
}
static cvy_tensor op_zca(struct build *b, cvy_tensor x)
{
    return whitening(b, x, CVY_WHITENING_ZCA);
}
static cvy_tensor op_newton(struct build *b, cvy_tensor x)
{
    return whitening(b, x, CVY_WHITENING_NEWTON);
}
static cvy_tensor op_whitening_features(struct build *b, cvy_tensor x)
{
    return whitening(b, linear(b, x, 6), (enum cvy_whitening_kind)maybe(b));
}

/* Constant statistics: those of the start, or what steps have made of them. */
static cvy_tensor op_whitening_frozen(struct build *b, cvy_tensor x)
{
    x = conv(b, x, 6, 1, 1);
    return cvy_whitening(b->net, x, name_of(b),
                         &(cvy_whitening_desc){ .channels = 3,
                                                .shared = maybe(b),
                                                .frozen = true,
                                                .no_gamma = maybe(b),
                                                .no_beta = maybe(b) });
}

static cvy_tensor op_group_norm_features(struct build *b, cvy_tensor x)
{
    return group_norm(b, linear(b, x, 6));
}

#define OP_ACT(NAME, name, ...) \
    static cvy_tensor op_##name(struct build *b, cvy_tensor x) { return act(b, x, CVY_##NAME); }
CVY_ACTIVATIONS(OP_ACT)

static cvy_tensor op_prelu(struct build *b, cvy_tensor x)
{
    return cvy_prelu(b->net, x, name_of(b), &(cvy_prelu_desc){ .init = maybe(b) ? 0 : -0.7 });
}

static cvy_tensor op_maxout(struct build *b, cvy_tensor x)
{
    size_t size = between(b, 1, 4);
    x = conv(b, x, size * between(b, 1, 3), 1, 1);
    return cvy_maxout(
        b->net, x, NULL,
        &(cvy_maxout_desc){ .size = size,
                            .kind = (enum cvy_maxout_kind)between(b, 0, CVY_MAXOUT_MIXED),
                            .tie = (enum cvy_pool_tie)between(b, 0, 2) });
}

static cvy_tensor random_pool(struct build *b, cvy_tensor x, enum cvy_pool_kind kind)
{
    cvy_pool2d_desc d = { .kind = kind,
                          .ceil_mode = maybe(b),
                          .exclude_pad = maybe(b),
                          .tie = (enum cvy_pool_tie)between(b, 0, 2) };
    for (int i = 0; i < 2; i++) {
        d.kernel[i] = between(b, 1, 4);
        d.stride[i] = between(b, 0, 3);
        d.pad[i] = between(b, 0, d.kernel[i] - 1);
        d.pad[i + 2] = between(b, 0, d.kernel[i] - 1);
    }
    return cvy_pool2d(b->net, x, NULL, &d);
}
static cvy_tensor op_max_pool(struct build *b, cvy_tensor x)
{
    return random_pool(b, x, CVY_POOL_MAX);
}
static cvy_tensor op_avg_pool(struct build *b, cvy_tensor x)
{
    return random_pool(b, x, CVY_POOL_AVG);
}
static cvy_tensor op_global_avg_pool(struct build *b, cvy_tensor x)
{
    return cvy_global_avg_pool(b->net, x, NULL);
}

static cvy_tensor op_add(struct build *b, cvy_tensor x)
{
    return cvy_add(b->net, x, maybe(b) ? x : conv(b, x, cvy_tensor_shape(b->net, x).c, 3, 1), NULL);
}
static cvy_tensor op_multiply(struct build *b, cvy_tensor x)
{
    return cvy_multiply(b->net, x, maybe(b) ? x : conv(b, x, cvy_tensor_shape(b->net, x).c, 3, 1),
                        NULL);
}
static cvy_tensor op_concat(struct build *b, cvy_tensor x)
{
    cvy_tensor parts[4] = { x, conv(b, x, between(b, 1, 3), 1, 1), cvy_sigmoid(b->net, x), x };
    return cvy_concat(b->net, parts, between(b, 1, 4), NULL);
}
static cvy_tensor op_pad_channels(struct build *b, cvy_tensor x)
{
    return cvy_pad_channels(b->net, x, between(b, 0, 2), between(b, 1, 2), NULL);
}
static cvy_tensor op_dropout(struct build *b, cvy_tensor x)
{
    return cvy_dropout(
        b->net, x, NULL,
        &(cvy_dropout_desc){ .p = 0.1 * (double)between(b, 0, 8), .unscaled = maybe(b) });
}
static cvy_tensor op_flatten(struct build *b, cvy_tensor x) { return cvy_flatten(b->net, x); }

/* ------------------------------------------------------------------------------- composite nets */

/* LeNet with batch norm (models.md B), small. */
static cvy_tensor net_lenet_bn(struct build *b, cvy_tensor x)
{
    x = pool(b, cvy_sigmoid(b->net, bn(b, conv(b, x, 3, 3, 1))),
             maybe(b) ? CVY_POOL_MAX : CVY_POOL_AVG, 2, 2);
    x = cvy_sigmoid(b->net, bn(b, conv(b, x, 4, 3, 1)));
    return cvy_sigmoid(b->net, bn(b, linear(b, cvy_flatten(b->net, x), 6)));
}
static cvy_tensor net_mlp_bn(struct build *b, cvy_tensor x)
{
    for (int i = 0; i < 3; i++) x = cvy_relu(b->net, bn(b, linear(b, x, between(b, 3, 6))));
    return x;
}
static cvy_tensor net_mlp(struct build *b, cvy_tensor x)
{
    x = act(b, linear(b, x, 5), CVY_TANH);
    return act(b, linear(b, x, 4), CVY_SOFTPLUS);
}
static cvy_tensor residual(struct build *b, cvy_tensor x, size_t channels, size_t stride,
                           bool option_a)
{
    cvy_tensor y = cvy_relu(b->net, bn(b, conv(b, x, channels, 3, stride)));
    y = bn(b, conv(b, y, channels, 3, 1));
    size_t c = cvy_tensor_shape(b->net, x).c;
    if (option_a) {
        if (stride > 1) x = pool(b, x, CVY_POOL_AVG, 1, stride);
        if (channels > c)
            x = cvy_pad_channels(b->net, x, (channels - c) / 2, channels - c - (channels - c) / 2,
                                 NULL);
    } else if (stride > 1 || channels != c) {
        x = bn(b, conv(b, x, channels, 1, stride));
    }
    return cvy_relu(b->net, cvy_add(b->net, y, x, NULL));
}
static cvy_tensor net_resnet_a(struct build *b, cvy_tensor x)
{
    size_t c = cvy_tensor_shape(b->net, x).c;
    x = residual(b, x, c, 1, true);
    return cvy_global_avg_pool(b->net, residual(b, x, c + 2, 2, true), NULL);
}
static cvy_tensor net_resnet_b(struct build *b, cvy_tensor x)
{
    x = residual(b, x, 3, 2, false);
    return cvy_global_avg_pool(b->net, residual(b, x, 3, 1, false), NULL);
}
static cvy_tensor net_preactivation(struct build *b, cvy_tensor x)
{
    cvy_tensor y = conv(b, cvy_relu(b->net, bn(b, x)), 3, 3, 1);
    y = conv(b, cvy_relu(b->net, bn(b, y)), cvy_tensor_shape(b->net, x).c, 3, 1);
    return cvy_add(b->net, x, y, NULL);
}
static cvy_tensor net_bottleneck(struct build *b, cvy_tensor x)
{
    size_t c = cvy_tensor_shape(b->net, x).c;
    cvy_tensor y = cvy_relu(b->net, bn(b, conv(b, x, 2, 1, 1)));
    y = cvy_relu(b->net, bn(b, conv(b, y, 2, 3, 1)));
    return cvy_relu(b->net, cvy_add(b->net, bn(b, conv(b, y, c, 1, 1)), x, NULL));
}
static cvy_tensor net_dense_block(struct build *b, cvy_tensor x)
{
    for (int i = 0; i < 3; i++) {
        cvy_tensor parts[2] = { x, conv(b, cvy_relu(b->net, bn(b, x)), 2, 3, 1) };
        x = cvy_concat(b->net, parts, 2, NULL);
    }
    return pool(b, conv(b, x, 2, 1, 1), CVY_POOL_AVG, 2, 2);
}
static cvy_tensor net_inception(struct build *b, cvy_tensor x)
{
    cvy_tensor p = cvy_pool2d(
        b->net, x, NULL,
        &(cvy_pool2d_desc){ .kernel = { 3, 3 }, .stride = { 1, 1 }, .pad = { 1, 1, 1, 1 } });
    cvy_tensor parts[4] = { conv(b, x, 2, 1, 1), conv(b, conv(b, x, 2, 1, 1), 2, 3, 1),
                            conv(b, conv(b, x, 1, 1, 1), 1, 5, 1), conv(b, p, 1, 1, 1) };
    return cvy_relu(b->net, bn(b, cvy_concat(b->net, parts, 4, NULL)));
}
static cvy_tensor net_vgg(struct build *b, cvy_tensor x)
{
    for (size_t c = 2; c < 4; c++)
        x = pool(b, cvy_relu(b->net, conv(b, cvy_relu(b->net, conv(b, x, c, 3, 1)), c, 3, 1)),
                 CVY_POOL_MAX, 2, 2);
    return cvy_dropout(b->net, cvy_relu(b->net, linear(b, x, 5)), NULL,
                       &(cvy_dropout_desc){ .p = 0.5 });
}
static cvy_tensor net_separable(struct build *b, cvy_tensor x)
{
    for (int i = 0; i < 2; i++) {
        size_t c = cvy_tensor_shape(b->net, x).c;
        x = cvy_conv2d(b->net, x, name_of(b),
                       &(cvy_conv2d_desc){ .out_channels = c,
                                           .kernel = { 3, 3 },
                                           .stride = { 1 + (size_t)i, 1 + (size_t)i },
                                           .pad = { 1, 1, 1, 1 },
                                           .groups = c,
                                           .no_bias = true });
        x = act(b, bn(b, x), CVY_RELU);
        x = act(b, bn(b, conv(b, x, 4, 1, 1)), CVY_ELU);
    }
    return x;
}
/* One value read by many, gradients meeting at every level. */
static cvy_tensor net_diamond(struct build *b, cvy_tensor x)
{
    size_t c = cvy_tensor_shape(b->net, x).c;
    cvy_tensor l = act(b, x, CVY_TANH), r = conv(b, x, c, 3, 1), m = cvy_sigmoid(b->net, x);
    cvy_tensor y = cvy_add(b->net, cvy_add(b->net, l, r, NULL), cvy_add(b->net, m, x, NULL), NULL);
    return cvy_add(b->net, cvy_add(b->net, y, l, NULL), bn(b, y), NULL);
}
static cvy_tensor net_dilated(struct build *b, cvy_tensor x)
{
    for (size_t d = 1; d <= 3; d++)
        x = act(b,
                bn(b, cvy_conv2d(b->net, x, name_of(b),
                                 &(cvy_conv2d_desc){ .out_channels = 2,
                                                     .kernel = { 3, 3 },
                                                     .pad = { d, d, d, d },
                                                     .dilation = { d, d } })),
                CVY_LEAKY_RELU);
    return x;
}
/* Linear layers stacked on maps of several shapes, without a flatten between. */
static cvy_tensor net_fully_convolutional(struct build *b, cvy_tensor x)
{
    cvy_shape s = cvy_tensor_shape(b->net, x);
    x = cvy_conv2d(b->net, x, name_of(b),
                   &(cvy_conv2d_desc){ .out_channels = 5, .kernel = { s.h, s.w }, .flip = true });
    return cvy_relu(b->net, bn(b, linear(b, cvy_relu(b->net, x), 4)));
}

/* ------------------------------------------------------------------------------------ the check */

struct trial {
    const char *what;
    int config;
    uint64_t seed;
    cvy_trainer *trainer;
    cvy_batch batch;
};

static double loss_at(const struct trial *t)
{
    cvy_step_result result;
    cvy_trainer_set_steps(t->trainer, 7); /* the same dropout mask every time */
    if (cvy_trainer_step(t->trainer, &t->batch, &result) != CVY_OK) return NAN;
    return result.loss_sum / (double)result.n;
}

/* Central difference of one element. */
static double slope(const struct trial *t, const char *name, double *w, size_t count, size_t i,
                    double eps)
{
    double keep = w[i], side[2];
    for (int k = 0; k < 2; k++) {
        w[i] = k ? keep + eps : keep - eps;
        if (cvy_trainer_set64(t->trainer, CVY_PARAM_WEIGHT, name, w, count) != CVY_OK) return NAN;
        side[k] = loss_at(t);
    }
    w[i] = keep;
    if (cvy_trainer_set64(t->trainer, CVY_PARAM_WEIGHT, name, w, count) != CVY_OK) return NAN;
    return (side[1] - side[0]) / (2 * eps);
}

/* Checks some elements of every parameter; returns how many are wrong. `factor`: what the library's
 * convention makes of the true derivative. */
static int check_parameters(const struct trial *t, struct check_rng *r, double factor,
                            size_t *checked)
{
    int wrong = 0;
    for (size_t k = 0; k < cvy_trainer_params(t->trainer, CVY_PARAM_GRADIENT); k++) {
        cvy_param_info info;
        assert_int_equal(cvy_trainer_param(t->trainer, CVY_PARAM_GRADIENT, k, &info), CVY_OK);
        double *w = malloc(info.count * sizeof *w), *dw = malloc(info.count * sizeof *dw),
               scale = 1e-4;
        assert_true(w && dw);
        assert_int_equal(cvy_trainer_get64(t->trainer, CVY_PARAM_WEIGHT, info.name, w, info.count),
                         CVY_OK);
        loss_at(t);
        assert_int_equal(
            cvy_trainer_get64(t->trainer, CVY_PARAM_GRADIENT, info.name, dw, info.count), CVY_OK);
        for (size_t i = 0; i < info.count; i++) scale = fmax(scale, fabs(dw[i]));
        for (size_t e = 0; e < info.count && e < ELEMENTS; e++) {
            size_t i = info.count <= ELEMENTS ? e : check_below(r, info.count);
            /* A kink (ReLU, a maximum that changes) may lie within eps, but hardly within all
             * three. */
            static const double eps[] = { 1e-6, 1e-7, 3e-6 };
            double numeric = NAN;
            bool ok = false;
            for (int a = 0; a < 3 && !ok; a++) {
                numeric = factor * slope(t, info.name, w, info.count, i, eps[a]);
                ok = fabs(numeric - dw[i]) <= 1e-5 * scale + 1e-3 * fabs(numeric);
            }
            ++*checked;
            if (!ok && wrong++ < 5)
                print_message("%s, config %d (CVYI_TEST_SEED=%llu): %s[%zu]: gradient %.10g, "
                              "difference %.10g\n",
                              t->what, t->config, (unsigned long long)t->seed, info.name, i, dw[i],
                              numeric);
        }
        free(w);
        free(dw);
    }
    return wrong;
}

/* Random per-channel parameters (gamma 1, beta 0 hide mistakes), and statistics for frozen batch
 * norm. */
static void randomise(cvy_trainer *trainer, struct check_rng *r)
{
    static const enum cvy_param_kind kinds[] = { CVY_PARAM_WEIGHT, CVY_PARAM_RUNNING };
    for (int kind = 0; kind < 2; kind++)
        for (size_t k = 0; k < cvy_trainer_params(trainer, kinds[kind]); k++) {
            cvy_param_info info;
            double v[1024];
            assert_int_equal(cvy_trainer_param(trainer, kinds[kind], k, &info), CVY_OK);
            if (kind == 0 && info.rank > 1) continue;
            assert_true(info.count <= sizeof v / sizeof *v);
            for (size_t i = 0; i < info.count; i++)
                v[i] = kind ? (double)check_uniform(r, 0.5f, 1.5f) : 0.4 + (double)check_normal(r);
            assert_int_equal(cvy_trainer_set64(trainer, kinds[kind], info.name, v, info.count),
                             CVY_OK);
        }
}

struct subject {
    const char *name;
    build_fn *build;
};

/* The check of one subject, and what came out of all. */
struct check {
    cvy_context *ctx;
    const struct subject *subject;
    bool stem;
    uint64_t seed;
    struct check_rng r;
    int wrong;
    size_t checked;
};

/* True if it was checked (a random descriptor may not fit its input: then the caller draws
 * again). */
static bool try_config(struct check *k, int config)
{
    enum { MAX_N = 6, MAX_IMAGE = 3 * 8 * 8 };
    static const double smoothing[] = { 0, 0.1, 0.5 };
    float images[MAX_N * MAX_IMAGE];
    int32_t labels[MAX_N];
    uint32_t index[MAX_N];
    struct check_rng *r = &k->r;
    struct build b = { .r = r };
    assert_int_equal(cvy_net_create(k->ctx, &b.net), CVY_OK);
    size_t n = between(&b, 4, MAX_N), classes = between(&b, 2, 4);
    cvy_tensor x = cvy_input(b.net, between(&b, 1, 3), between(&b, 5, 8), between(&b, 5, 8));
    cvy_shape s = cvy_tensor_shape(b.net, x);
    for (size_t i = 0; i < n * s.c * s.h * s.w; i++) images[i] = check_normal(r);
    for (size_t i = 0; i < n; i++) {
        labels[i] = (int32_t)check_below(r, classes);
        index[i] = (uint32_t)((i * 5 + 2) % n);
    }
    if (k->stem) x = conv(&b, x, between(&b, 2, 3), 3, 1);
    x = linear(&b, k->subject->build(&b, x), classes);

    struct trial t = { .what = k->subject->name,
                       .config = config,
                       .seed = k->seed,
                       .batch = {
                           .images = images, .dtype = CVY_F32, .labels32 = labels, .n = n } };
    if (n != 5 && maybe(&b)) t.batch.index = index; /* 5 divides the stride of the permutation */
    bool fits = cvy_net_status(b.net) == CVY_OK;
    if (fits) {
        cvy_trainer_options options = { .batch = n + between(&b, 0, 2),
                                        .loss = { .label_smoothing = smoothing[between(&b, 0, 2)],
                                                  .temperature = maybe(&b) ? 0 : 2.5 },
                                        .init = { .seed = check_u64(r) },
                                        .seed = check_u64(r) };
        enum cvy_status status = cvy_trainer_create(b.net, x, &options, &t.trainer);
        if (status != CVY_OK) print_message("%s: %s\n", t.what, cvy_message(k->ctx));
        assert_int_equal(status, CVY_OK);
        randomise(t.trainer, r);
        k->wrong += check_parameters(&t, r, 1, &k->checked);
        cvy_trainer_destroy(&t.trainer);
    }
    cvy_net_destroy(&b.net);
    return fits;
}

static void check_all(const struct subject *subjects, size_t n, bool stem)
{
    struct check check = { .stem = stem, .seed = check_seed() };
    print_message("seed %llu\n", (unsigned long long)check.seed);
    assert_int_equal(
        cvy_context_create(&(cvy_context_options){ .threads = 1, .backends = "reference" },
                           &check.ctx),
        CVY_OK);
    for (size_t k = 0; k < n; k++) {
        check.subject = &subjects[k];
        check.r.s = check.seed * 1000003 + k;
        for (int config = 0, draws = 0; config < CONFIGS; draws++) {
            assert_true(draws < 100 * CONFIGS);
            config += try_config(&check, config);
        }
    }
    print_message("%zu subjects x %d configurations, %zu derivatives, %d wrong\n", n, CONFIGS,
                  check.checked, check.wrong);
    cvy_context_destroy(&check.ctx);
    assert_int_equal(check.wrong, 0);
}

static void test_operators(void **state)
{
    (void)state;
    static const struct subject subjects[] = {
        { "conv2d", op_conv2d },
        { "conv_transpose2d", op_conv_transpose2d },
        { "bias", op_bias },
        { "bias of features", op_bias_features },
        { "upsample", op_upsample },
        { "mean_subtract", op_mean_subtract },
        { "linear", op_linear },
        { "batch_norm", op_batch_norm },
        { "batch_norm over n", op_batch_norm_features },
        { "batch_norm frozen", op_batch_norm_frozen },
        { "group_norm", op_group_norm },
        { "group_norm of features", op_group_norm_features },
        { "whitening, zca", op_zca },
        { "whitening, newton", op_newton },
        { "whitening of features", op_whitening_features },
        { "whitening, frozen", op_whitening_frozen },
#define SUBJECT(NAME, name, ...) { #name, op_##name },
        CVY_ACTIVATIONS(SUBJECT){ "prelu", op_prelu },
        { "maxout", op_maxout },
        { "max pool", op_max_pool },
        { "average pool", op_avg_pool },
        { "global average pool", op_global_avg_pool },
        { "add", op_add },
        { "multiply", op_multiply },
        { "concat", op_concat },
        { "pad_channels", op_pad_channels },
        { "dropout", op_dropout },
        { "flatten", op_flatten },
    };
    check_all(subjects, sizeof subjects / sizeof *subjects, true);
}

static void test_composites(void **state)
{
    (void)state;
    static const struct subject subjects[] = {
        { "lenet-bn", net_lenet_bn },
        { "mlp-bn", net_mlp_bn },
        { "mlp", net_mlp },
        { "resnet, option A", net_resnet_a },
        { "resnet, option B", net_resnet_b },
        { "preactivation", net_preactivation },
        { "bottleneck", net_bottleneck },
        { "dense block", net_dense_block },
        { "inception", net_inception },
        { "vgg", net_vgg },
        { "separable", net_separable },
        { "diamond", net_diamond },
        { "dilated", net_dilated },
        { "fully convolutional", net_fully_convolutional },
    };
    check_all(subjects, sizeof subjects / sizeof *subjects, false);
}

/* Conventions at kinks, where central differences see the mean of both sides. A zero first layer
 * puts every ReLU at 0 (with derivative 0.5 the difference agrees); equal pixels tie in every
 * window (moving together, so `first` and `split` agree with the difference, and `all` counts each
 * of the four). */
static void test_conventions(void **state)
{
    (void)state;
    cvy_context *ctx;
    assert_int_equal(
        cvy_context_create(&(cvy_context_options){ .threads = 1, .backends = "reference" }, &ctx),
        CVY_OK);
    for (int k = 0; k < 4; k++) {
        struct check_rng r = { check_seed() };
        float images[3 * 16];
        int32_t labels[3] = { 0, 1, 1 };
        for (int i = 0; i < 3 * 16; i++) images[i] = k ? (float)(1 + i / 16) : check_normal(&r);
        cvy_net *net;
        assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
        cvy_tensor x = cvy_input(net, 1, 4, 4);
        x = cvy_conv2d(
            net, x, "conv",
            &(cvy_conv2d_desc){ .out_channels = 2, .kernel = { 1, 1 }, .no_bias = true });
        if (k == 0)
            x = cvy_activation(net, x, NULL,
                               &(cvy_act_desc){ .kind = CVY_RELU, .relu_grad_at_zero = 0.5 });
        else
            x = cvy_pool2d(
                net, x, NULL,
                &(cvy_pool2d_desc){ .kernel = { 2, 2 }, .tie = (enum cvy_pool_tie)(k - 1) });
        x = cvy_linear(net, x, "head", &(cvy_linear_desc){ .out_features = 2 });
        struct trial t = { "convention",
                           k,
                           check_seed(),
                           NULL,
                           { .images = images, .dtype = CVY_F32, .labels32 = labels, .n = 3 } };
        assert_int_equal(
            cvy_trainer_create(net, x, &(cvy_trainer_options){ .batch = 3 }, &t.trainer), CVY_OK);
        double zero[2] = { 0, 0 }, dw[2], w[2];
        if (k == 0)
            assert_int_equal(cvy_trainer_set64(t.trainer, CVY_PARAM_WEIGHT, "conv.weight", zero, 2),
                             CVY_OK);
        loss_at(&t);
        assert_int_equal(cvy_trainer_get64(t.trainer, CVY_PARAM_GRADIENT, "conv.weight", dw, 2),
                         CVY_OK);
        assert_int_equal(cvy_trainer_get64(t.trainer, CVY_PARAM_WEIGHT, "conv.weight", w, 2),
                         CVY_OK);
        double factor = k == 1 + CVY_TIE_ALL ? 4 : 1;
        for (size_t i = 0; i < 2; i++) {
            double numeric = factor * slope(&t, "conv.weight", w, 2, i, 1e-6);
            if (fabs(numeric - dw[i]) > 1e-5 + 1e-3 * fabs(numeric))
                fail_msg("convention %d: gradient %.10g, difference %.10g", k, dw[i], numeric);
        }
        cvy_trainer_destroy(&t.trainer);
        cvy_net_destroy(&net);
    }
    cvy_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operators),
        cmocka_unit_test(test_composites),
        cmocka_unit_test(test_conventions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
