/* lenet-bn, resnet20, a motley net, nets of norms, one that decodes and one of gates against
 * PyTorch, the last by SGD, by Adam, by RMSProp, Adagrad and Adadelta, and by AdamW with frozen
 * parameters, factors of rate and decay by pattern and clipped gradients: losses, logits,
 * gradients, weights, the optimiser's state and running statistics after one step and after ten.
 * The golden files are PyTorch's in double (tests/golden/make_torch.py made them), so the reference
 * backend must agree to about 1e-9, the native one to float's rounding: each tolerance is a few
 * times what PyTorch's own float differs from its double (the head of each file). Knows the public
 * API only.
 *
 * resnet20's gradients, and lenet-bn after ten steps, are held loosely on native: three million
 * ReLUs of random data always have one so near zero that rounding decides its derivative. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convoy/convoy.h"
#include "golden_hash.h"

#define SAMPLES 16
#define MAX_IMAGES 32

static bool ends(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);
    return n >= e && !strcmp(name + n - e, end);
}

static double start_value(const cvy_param_info *info, size_t i)
{
    double u = signed_at(info->name, i);
    if (info->rank > 1) return u * weight_bound((double)(info->count / info->dims[0]));
    return strstr(info->name, "bn") && ends(info->name, "weight") ? 1 + u / 2 : u / 4;
}

/* ------------------------------------------------------------------------------------- the nets */

static cvy_tensor conv(cvy_net *net, cvy_tensor x, const char *name, size_t channels, size_t kernel,
                       size_t stride, size_t pad, bool no_bias)
{
    return cvy_conv2d(net, x, name,
                      &(cvy_conv2d_desc){ .out_channels = channels,
                                          .kernel = { kernel, kernel },
                                          .stride = { stride, stride },
                                          .pad = { pad, pad, pad, pad },
                                          .no_bias = no_bias });
}

static cvy_tensor lenet_bn(cvy_net *net)
{
    const cvy_pool2d_desc pool = { .kernel = { 2, 2 } };
    cvy_tensor x = cvy_input(net, 1, 28, 28);
    x = cvy_sigmoid(net,
                    cvy_batch_norm(net, conv(net, x, "conv1", 6, 5, 1, 0, false), "bn1", NULL));
    x = cvy_pool2d(net, x, NULL, &pool);
    x = cvy_sigmoid(net,
                    cvy_batch_norm(net, conv(net, x, "conv2", 16, 5, 1, 0, false), "bn2", NULL));
    x = cvy_flatten(net, cvy_pool2d(net, x, NULL, &pool));
    x = cvy_linear(net, x, "fc1", &(cvy_linear_desc){ .out_features = 120 });
    x = cvy_sigmoid(net, cvy_batch_norm(net, x, "bn3", NULL));
    x = cvy_linear(net, x, "fc2", &(cvy_linear_desc){ .out_features = 84 });
    x = cvy_sigmoid(net, cvy_batch_norm(net, x, "bn4", NULL));
    return cvy_linear(net, x, "fc3", &(cvy_linear_desc){ .out_features = 10 });
}

/* He et al. 2015, section 4.2, n = 3, shortcut option A. */
static cvy_tensor resnet20(cvy_net *net)
{
    cvy_tensor x = conv(net, cvy_input(net, 3, 32, 32), "conv1", 16, 3, 1, 1, true);
    x = cvy_relu(net, cvy_batch_norm(net, x, "bn1", NULL));
    for (int stage = 1; stage <= 3; stage++)
        for (int block = 0; block < 3; block++) {
            size_t width = (size_t)8 << stage, stride = stage > 1 && block == 0 ? 2 : 1;
            char name[4][48];
            for (int k = 0; k < 4; k++)
                snprintf(name[k], sizeof name[k], "layer%d.%d.%s%d", stage, block,
                         k % 2 ? "bn" : "conv", 1 + k / 2);
            cvy_tensor y = conv(net, x, name[0], width, 3, stride, 1, true);
            y = cvy_relu(net, cvy_batch_norm(net, y, name[1], NULL));
            y = cvy_batch_norm(net, conv(net, y, name[2], width, 3, 1, 1, true), name[3], NULL);
            if (stride == 2) {
                x = cvy_pool2d(net, x, NULL,
                               &(cvy_pool2d_desc){ .kernel = { 1, 1 }, .stride = { 2, 2 } });
                x = cvy_pad_channels(net, x, width / 4, width / 4, NULL);
            }
            x = cvy_relu(net, cvy_add(net, y, x, NULL));
        }
    return cvy_linear(net, cvy_global_avg_pool(net, x, NULL), "fc",
                      &(cvy_linear_desc){ .out_features = 10 });
}

/* What the other two do not use: every layer of it once, with options that are not the default. */
static cvy_tensor motley(cvy_net *net)
{
    cvy_tensor x = conv(net, cvy_input(net, 3, 13, 15), "conv1", 8, 3, 2, 1, false), y, z;
    x = cvy_batch_norm(net, x, "bn1", &(cvy_batch_norm_desc){ .eps = 1e-3, .momentum = 0.2 });
    x = cvy_activation(net, x, NULL, &(cvy_act_desc){ .kind = CVY_LEAKY_RELU, .alpha = 0.1 });
    x = cvy_pool2d(
        net, x, NULL,
        &(cvy_pool2d_desc){ .kernel = { 3, 3 }, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 } });
    y = cvy_conv2d(net, x, "conv2",
                   &(cvy_conv2d_desc){ .out_channels = 8,
                                       .kernel = { 3, 1 },
                                       .dilation = { 2, 1 },
                                       .pad = { 2, 0, 2, 0 },
                                       .groups = 4,
                                       .no_bias = true });
    y = cvy_batch_norm(net, y, "bn2", &(cvy_batch_norm_desc){ .no_affine = true });
    y = cvy_activation(net, y, NULL, &(cvy_act_desc){ .kind = CVY_ELU });
    y = cvy_add(net, y, x, NULL);
    z = cvy_activation(net, conv(net, x, "conv3", 6, 1, 1, 0, false), NULL,
                       &(cvy_act_desc){ .kind = CVY_TANH });
    x = cvy_concat(net, (cvy_tensor[]){ y, z }, 2, NULL);
    x = cvy_pool2d(net, x, NULL,
                   &(cvy_pool2d_desc){ .kind = CVY_POOL_AVG,
                                       .kernel = { 2, 2 },
                                       .stride = { 1, 1 },
                                       .pad = { 1, 1, 1, 1 },
                                       .exclude_pad = true });
    /* node 13: the number of its masks */
    x = cvy_dropout(net, x, NULL, &(cvy_dropout_desc){ .p = 0.3 });
    x = cvy_linear(net, x, "fc1", &(cvy_linear_desc){ .out_features = 24 });
    x = cvy_activation(net, x, NULL, &(cvy_act_desc){ .kind = CVY_SOFTPLUS });
    return cvy_linear(net, x, "fc2", &(cvy_linear_desc){ .out_features = 10 });
}

static cvy_tensor of_kind(cvy_net *net, cvy_tensor x, enum cvy_act_kind kind)
{
    return cvy_activation(net, x, NULL, &(cvy_act_desc){ .kind = kind });
}

/* The activations that the others do not use; one that is not monotone before a maximum. */
static cvy_tensor gates(cvy_net *net)
{
    cvy_tensor x = conv(net, cvy_input(net, 3, 13, 15), "conv1", 8, 3, 2, 1, false), y;
    x = of_kind(net, cvy_batch_norm(net, x, "bn1", NULL), CVY_GELU);
    x = cvy_pool2d(
        net, x, NULL,
        &(cvy_pool2d_desc){ .kernel = { 3, 3 }, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 } });
    y = of_kind(net, conv(net, x, "conv2", 8, 3, 1, 1, false), CVY_SILU);
    x = cvy_add(net, x, y, NULL);
    y = cvy_batch_norm(net, conv(net, x, "conv3", 8, 1, 1, 0, false), "bn3", NULL);
    x = cvy_add(net, x, of_kind(net, y, CVY_HARDSWISH), NULL);
    y = of_kind(net, conv(net, x, "conv4", 8, 1, 1, 0, false), CVY_MISH);
    x = of_kind(net, cvy_add(net, x, y, NULL), CVY_RELU6);
    y = cvy_prelu(net, conv(net, x, "conv5", 8, 1, 1, 0, false), "prelu", NULL);
    x = cvy_add(net, x, y, NULL);
    x = cvy_activation(net, x, NULL, &(cvy_act_desc){ .kind = CVY_HARDTANH, .alpha = 0.75 });
    x = cvy_linear(net, x, "fc1", &(cvy_linear_desc){ .out_features = 24 });
    x = of_kind(net, x, CVY_GELU_TANH);
    return cvy_linear(net, x, "fc2", &(cvy_linear_desc){ .out_features = 10 });
}

/* Group, instance and layer norm, the last over maps and over features. */
static cvy_tensor norms(cvy_net *net)
{
    const cvy_group_norm_desc group = { .groups = 3 },
                              instance = { .groups = 8, .no_affine = true },
                              layer = { .groups = 1, .elementwise = true };
    cvy_tensor x = conv(net, cvy_input(net, 3, 13, 15), "conv1", 12, 3, 2, 1, false);
    x = of_kind(net, cvy_group_norm(net, x, "gn1", &group), CVY_SOFTPLUS);
    x = conv(net, x, "conv2", 8, 3, 1, 1, false);
    x = of_kind(net, cvy_group_norm(net, x, "in2", &instance), CVY_TANH);
    x = conv(net, x, "conv3", 6, 3, 1, 1, false);
    x = of_kind(net, cvy_group_norm(net, x, "ln3", &layer), CVY_SOFTPLUS);
    x = cvy_linear(net, x, "fc1", &(cvy_linear_desc){ .out_features = 24 });
    x = of_kind(net, cvy_group_norm(net, x, "ln4", &layer), CVY_TANH);
    return cvy_linear(net, x, "fc2", &(cvy_linear_desc){ .out_features = 10 });
}

/* Batch norms by one statistic alone, of maps and of features, with what is fused around them. */
static cvy_tensor lite(cvy_net *net)
{
    const cvy_batch_norm_desc mean = { .statistics = CVY_BN_STATISTICS_MEAN },
                              var = { .statistics = CVY_BN_STATISTICS_VARIANCE },
                              var2 = { .statistics = CVY_BN_STATISTICS_VARIANCE, .eps = 1e-3 };
    cvy_tensor x = conv(net, cvy_input(net, 3, 13, 15), "conv1", 12, 3, 2, 1, false);
    x = of_kind(net, cvy_batch_norm(net, x, "bn1", &mean), CVY_SOFTPLUS);
    x = conv(net, x, "conv2", 8, 3, 1, 1, false);
    x = of_kind(net, cvy_batch_norm(net, x, "bn2", &var2), CVY_TANH);
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 }, .ceil_mode = true });
    x = cvy_linear(net, x, "fc1", &(cvy_linear_desc){ .out_features = 24 });
    x = of_kind(net, cvy_batch_norm(net, x, "bn3", &var), CVY_TANH);
    x = cvy_linear(net, x, "fc2", &(cvy_linear_desc){ .out_features = 24 });
    x = of_kind(net, cvy_batch_norm(net, x, "bn4", &mean), CVY_TANH);
    return cvy_linear(net, x, "fc3", &(cvy_linear_desc){ .out_features = 10 });
}

/* Whitening of both kinds, of maps and of features, a matrix a group and a shared one. */
static cvy_tensor whitened(cvy_net *net)
{
    const cvy_whitening_desc d[] = {
        { .channels = 4, .eps = 1e-3 },
        { .kind = CVY_WHITENING_NEWTON, .channels = 8, .eps = 1e-3 },
        { .kind = CVY_WHITENING_NEWTON, .channels = 3, .steps = 3, .eps = 1e-3, .shared = true },
        { .channels = 6, .eps = 1e-2, .shared = true }
    };
    cvy_tensor x = conv(net, cvy_input(net, 3, 13, 15), "conv1", 12, 3, 2, 1, false);
    x = of_kind(net, cvy_whitening(net, x, "bn1", &d[0]), CVY_SOFTPLUS);
    x = of_kind(net, cvy_whitening(net, conv(net, x, "conv2", 8, 3, 1, 1, false), "bn2", &d[1]),
                CVY_TANH);
    x = of_kind(net, cvy_whitening(net, conv(net, x, "conv3", 6, 3, 1, 1, false), "bn3", &d[2]),
                CVY_SOFTPLUS);
    x = cvy_linear(net, x, "fc1", &(cvy_linear_desc){ .out_features = 24 });
    x = of_kind(net, cvy_whitening(net, x, "bn4", &d[3]), CVY_TANH);
    return cvy_linear(net, x, "fc2", &(cvy_linear_desc){ .out_features = 10 });
}

static cvy_tensor ranks(cvy_net *net, cvy_tensor x, const char *bn, const char *name, size_t k,
                        bool normal)
{
    x = cvy_batch_norm(net, x, bn, &(cvy_batch_norm_desc){ .no_affine = true });
    return cvy_rank(net, x, name, &(cvy_rank_desc){ .quantiles = k, .normal = normal });
}

/* Ranks of maps and of features, even and normal. */
static cvy_tensor ranked(cvy_net *net)
{
    cvy_tensor x = conv(net, cvy_input(net, 3, 13, 15), "conv1", 6, 5, 3, 0, false);
    x = ranks(net, x, "bn1", "rank1", 0, false);
    x = ranks(net, conv(net, x, "conv2", 8, 3, 1, 0, false), "bn2", "rank2", 5, true);
    x = cvy_linear(net, x, "fc1", &(cvy_linear_desc){ .out_features = 12 });
    x = ranks(net, x, "bn3", "rank3", 60, false);
    return cvy_linear(net, x, "fc2", &(cvy_linear_desc){ .out_features = 10 });
}

static cvy_tensor maxout(cvy_net *net, cvy_tensor x, enum cvy_maxout_kind kind)
{
    return cvy_maxout(net, x, NULL, &(cvy_maxout_desc){ .kind = kind, .size = 2 });
}

static cvy_tensor centred(cvy_net *net, cvy_tensor x, enum cvy_mean_over over)
{
    return cvy_mean_subtract(net, x, NULL, &(cvy_mean_subtract_desc){ .over = over });
}

/* Maps that become larger, means that are subtracted, and channels that are joined, in every
 * way. */
static cvy_tensor decoder(cvy_net *net)
{
    const cvy_pool2d_desc pool = { .kernel = { 2, 2 } };
    const cvy_conv_transpose2d_desc up1 = { .out_channels = 8,
                                            .kernel = { 3, 3 },
                                            .stride = { 2, 2 },
                                            .pad = { 1, 1, 1, 1 },
                                            .output_pad = { 1, 0 },
                                            .groups = 2 },
                                    up2 = { .out_channels = 4,
                                            .kernel = { 2, 3 },
                                            .dilation = { 2, 1 },
                                            .no_bias = true };
    const cvy_upsample_desc nearest = { .scale = { 2, 2 } },
                            bilinear = { .kind = CVY_UPSAMPLE_BILINEAR, .scale = { 2, 2 } },
                            corners = { .kind = CVY_UPSAMPLE_BILINEAR,
                                        .size = { 5, 9 },
                                        .align_corners = true };
    cvy_tensor x = centred(net, cvy_input(net, 3, 13, 15), CVY_MEAN_OF_IMAGE), y, z;
    x = maxout(net, conv(net, x, "conv1", 12, 3, 2, 1, false), CVY_MAXOUT_MAX);
    x = of_kind(net, cvy_bias(net, cvy_pool2d(net, x, NULL, &pool), "shift"), CVY_TANH);
    x = of_kind(net, cvy_conv_transpose2d(net, x, "up1", &up1), CVY_SOFTPLUS);
    x = centred(net, maxout(net, x, CVY_MAXOUT_MEAN), CVY_MEAN_OF_BATCH);
    x = cvy_conv_transpose2d(net, x, "up2", &up2);
    y = cvy_upsample(net, x, NULL, &nearest);
    z = cvy_sigmoid(net, cvy_upsample(net, x, NULL, &bilinear));
    x = cvy_upsample(net, cvy_multiply(net, y, z, NULL), NULL, &corners);
    /* node 17: the number of its shares */
    x = maxout(net, x, CVY_MAXOUT_MIXED);
    return cvy_linear(net, x, "fc1", &(cvy_linear_desc){ .out_features = 10 });
}

/* ------------------------------------------------------------------------------ the golden file */

struct golden_line {
    char what[64];
    size_t count;
    double number[3 + SAMPLES];
};
struct golden {
    struct golden_line *line;
    size_t n, compared;
};

static void golden_read(struct golden *g, const char *path)
{
    char text[1024], *rest;
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("%s: cannot be opened (tests run in the source root)", path);
    *g = (struct golden){ .line = calloc(512, sizeof *g->line) };
    assert_non_null(g->line);
    while (fgets(text, sizeof text, f)) {
        if (*text == '#') continue;
        assert_true(g->n < 512);
        struct golden_line *l = &g->line[g->n++];
        char *space = strchr(text, ' ');
        assert_true(space && space - text < (ptrdiff_t)sizeof l->what);
        memcpy(l->what, text, (size_t)(space - text));
        l->count = strtoull(space, &rest, 10);
        for (size_t i = 0; i < 3 + (l->count < SAMPLES ? l->count : SAMPLES); i++) {
            char *end;
            l->number[i] = strtod(rest, &end);
            assert_true(end > rest);
            rest = end;
        }
    }
    fclose(f);
}

/* x against the line `what`: samples within tolerance * rms, checksums within what such errors can
 * add up to. */
static void compare(struct golden *g, const char *what, const double *x, size_t n, double tolerance)
{
    const struct golden_line *l = g->line;
    while (l < g->line + g->n && strcmp(l->what, what)) l++;
    if (l == g->line + g->n) fail_msg("%s is not in the golden file", what);
    if (l->count != n) fail_msg("%s has %zu elements, PyTorch's %zu", what, n, l->count);
    double rms = sqrt(l->number[1] / (double)n), scale = fmax(rms, 0.01), sums[3] = { 0 };
    for (size_t i = 0; i < n; i++) {
        sums[0] += x[i];
        sums[1] += x[i] * x[i];
        sums[2] += x[i] * signed_at("checksum", i);
    }
    size_t samples = n < SAMPLES ? n : SAMPLES;
    for (size_t i = 0; i < samples; i++) {
        double error = fabs(x[i * n / samples] - l->number[3 + i]) / scale;
        if (!(error <= tolerance))
            fail_msg("%s[%zu]: %.10g, PyTorch %.10g (%.2g of rms, allowed %.2g)", what,
                     i * n / samples, x[i * n / samples], l->number[3 + i], error, tolerance);
    }
    const double allowed[3] = { tolerance * scale * (double)n,
                                2 * tolerance * scale * scale * (double)n,
                                tolerance * scale * (double)n };
    for (int i = 0; i < 3; i++)
        if (!(fabs(sums[i] - l->number[i]) <= allowed[i]))
            fail_msg("%s: checksum %d is %.10g, PyTorch's %.10g (allowed difference %.2g)", what, i,
                     sums[i], l->number[i], allowed[i]);
    g->compared++;
}

/* ------------------------------------------------------------------------------------- training */

struct tolerances {
    double loss, logits0, gradient, weight1, running1, logits1, weight10, running10, logits10;
};

struct subject {
    const char *file, *backend;
    cvy_tensor (*build)(cvy_net *net);
    size_t n, image;
    size_t n2, capacity; /* images of every second batch, room for images; 0: n */
    int steps;
    cvy_sgd_desc sgd;
    cvy_optimizer_desc optimizer; /* or this */
    const cvy_param_setting *settings;
    size_t n_settings;
    double clip_norm;
    const char *state[CVY_OPTIMIZER_STATES]; /* what the file calls the optimiser's state */
    double smoothing, temperature;
    uint64_t seed;
    const double *mean, *std;
    struct tolerances tolerance;
};

static void require(cvy_context *ctx, enum cvy_status status)
{
    if (status != CVY_OK) fail_msg("%s", cvy_message(ctx));
}

static void compare_params(cvy_context *ctx, struct golden *g, cvy_trainer *trainer,
                           enum cvy_param_kind kind, const char *group, double tolerance)
{
    for (size_t k = 0; k < cvy_trainer_params(trainer, kind); k++) {
        cvy_param_info info;
        char what[96];
        require(ctx, cvy_trainer_param(trainer, kind, k, &info));
        double *x = malloc(info.count * sizeof *x);
        assert_non_null(x);
        require(ctx, cvy_trainer_get64(trainer, kind, info.name, x, info.count));
        snprintf(what, sizeof what, "%s.%s", group, info.name);
        compare(g, what, x, info.count, tolerance);
        free(x);
    }
}

static void compare_state(cvy_context *ctx, struct golden *g, cvy_trainer *trainer,
                          const struct subject *s, int step)
{
    for (int i = 0; i < CVY_OPTIMIZER_STATES && s->state[i]; i++) {
        char group[32];
        snprintf(group, sizeof group, "%s.%d", s->state[i], step);
        compare_params(ctx, g, trainer, (enum cvy_param_kind)(CVY_PARAM_STATE + i), group,
                       s->tolerance.gradient);
    }
}

static void compare_logits(cvy_context *ctx, struct golden *g, cvy_predictor *predictor,
                           const cvy_batch *batch, const char *what, double tolerance)
{
    float out[MAX_IMAGES * 10];
    double x[MAX_IMAGES * 10];
    require(ctx, cvy_predictor_run(predictor, batch, out));
    for (size_t i = 0; i < batch->n * 10; i++) x[i] = (double)out[i];
    compare(g, what, x, batch->n * 10, tolerance);
}

static void run(const struct subject *s)
{
    struct golden g;
    golden_read(&g, s->file);
    cvy_context *ctx;
    require(NULL, cvy_context_create(
                      &(cvy_context_options){ .backends = s->backend, .strict = true }, &ctx));
    /* the scalar table computes a fused multiply-add in a function call: one step of the large
     * net */
    int steps = s->build == resnet20 && cvy_context_isa(ctx) == CVY_ISA_SCALAR ? 1 : s->steps;
    cvy_net *net;
    require(ctx, cvy_net_create(ctx, &net));
    cvy_tensor out = s->build(net);
    cvy_trainer *trainer;
    cvy_predictor *predictor;
    cvy_trainer_options options = { .batch = s->capacity ? s->capacity : s->n,
                                    .sgd = s->sgd,
                                    .optimizer = s->optimizer,
                                    .settings = s->settings,
                                    .n_settings = s->n_settings,
                                    .clip_norm = s->clip_norm,
                                    .seed = s->seed,
                                    .loss = { .label_smoothing = s->smoothing,
                                              .temperature = s->temperature },
                                    .input = { .mean = s->mean, .std = s->std } };
    require(ctx, cvy_trainer_create(net, out, &options, &trainer));
    require(ctx, cvy_predictor_create(net, out, options.batch, NULL, trainer, &predictor));
    for (size_t k = 0; k < cvy_trainer_params(trainer, CVY_PARAM_WEIGHT); k++) {
        cvy_param_info info;
        require(ctx, cvy_trainer_param(trainer, CVY_PARAM_WEIGHT, k, &info));
        double *w = malloc(info.count * sizeof *w);
        assert_non_null(w);
        for (size_t i = 0; i < info.count; i++) w[i] = start_value(&info, i);
        require(ctx, cvy_trainer_set64(trainer, CVY_PARAM_WEIGHT, info.name, w, info.count));
        free(w);
    }

    cvy_batch batch[2];
    float *images[2];
    int32_t labels[2][MAX_IMAGES];
    double losses[10], norms[10];
    for (int b = 0; b < 2; b++) {
        const char *name = b ? "images1" : "images0";
        images[b] = malloc(s->n * s->image * sizeof *images[b]);
        assert_non_null(images[b]);
        for (size_t i = 0; i < s->n * s->image; i++) images[b][i] = (float)signed_at(name, i);
        for (size_t i = 0; i < s->n; i++)
            labels[b][i] = (int32_t)(hash64(b ? "labels1" : "labels0", i) % 10);
        batch[b] = (cvy_batch){ .images = images[b],
                                .dtype = CVY_F32,
                                .labels32 = labels[b],
                                .n = b && s->n2 ? s->n2 : s->n };
    }

    const struct tolerances *t = &s->tolerance;
    compare_logits(ctx, &g, predictor, &batch[0], "logits.0", t->logits0);
    for (int step = 1; step <= steps; step++) {
        cvy_step_result result;
        require(ctx, cvy_trainer_step(trainer, &batch[(step - 1) % 2], &result));
        losses[step - 1] = result.loss_sum / (double)result.n;
        norms[step - 1] = cvy_trainer_gradient_norm(trainer);
        if (step == 1) {
            compare_params(ctx, &g, trainer, CVY_PARAM_GRADIENT, "gradient.1", t->gradient);
            compare_params(ctx, &g, trainer, CVY_PARAM_WEIGHT, "weight.1", t->weight1);
            compare_params(ctx, &g, trainer, CVY_PARAM_RUNNING, "running.1", t->running1);
            compare_state(ctx, &g, trainer, s, step);
            compare_logits(ctx, &g, predictor, &batch[0], "logits.1", t->logits1);
        }
        if (step == 10) {
            compare_params(ctx, &g, trainer, CVY_PARAM_WEIGHT, "weight.10", t->weight10);
            compare_params(ctx, &g, trainer, CVY_PARAM_RUNNING, "running.10", t->running10);
            compare_state(ctx, &g, trainer, s, step);
            compare_logits(ctx, &g, predictor, &batch[0], "logits.10", t->logits10);
        }
    }
    if (steps == 10) {
        compare(&g, "losses", losses, 10, t->loss);
        if (s->clip_norm > 0) compare(&g, "norms", norms, 10, t->gradient);
        assert_int_equal(g.compared, g.n);
    } else { /* g.line[0] are the losses */
        for (int i = 0; i < steps && i < SAMPLES; i++)
            assert_true(fabs(losses[i] - g.line[0].number[3 + i]) <= t->loss * fabs(losses[i]));
    }
    free(images[0]);
    free(images[1]);
    free(g.line);
    cvy_predictor_destroy(&predictor);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

#define LENET                                                                    \
    "tests/golden/torch_lenet-bn.txt", .build = lenet_bn, .n = 32, .image = 784, \
                                       .sgd = { .lr = 0.1 }
#define RESNET                                                                    \
    "tests/golden/torch_resnet20.txt", .build = resnet20, .n = 16, .image = 3072, \
                                       .sgd = { .lr = 0.001, .momentum = 0.9 }
static const double means[] = { 0.1, -0.2, 0.3 }, stds[] = { 0.5, 0.75, 1.25 };
#define MOTLEY                                                                                 \
    "tests/golden/torch_motley.txt",                                                           \
        .build = motley, .n = 32, .n2 = 13, .capacity = 40, .image = 3 * 13 * 15, .steps = 10, \
        .sgd = { .lr = 0.02, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true },        \
        .state = { "momentum" }, .smoothing = 0.1, .seed = 11, .mean = means, .std = stds
#define GATES_BY(how)                                                                    \
    "tests/golden/torch_" how ".txt", .build = gates, .n = 32, .n2 = 13, .capacity = 40, \
                                      .image = 3 * 13 * 15, .steps = 10
#define GATES GATES_BY("gates"), .sgd = { .lr = 0.02, .momentum = 0.9, .weight_decay = 0.01 }
#define ADAM                                           \
    GATES_BY("adam"), .state = { "m", "v" },           \
                      .optimizer = { .kind = CVY_ADAM, \
                                     .lr = 0.003,      \
                                     .beta1 = 0.8,     \
                                     .beta2 = 0.95,    \
                                     .eps = 1e-3,      \
                                     .weight_decay = 0.02 }
static const cvy_param_setting by_pattern[] = {
    { .match = "conv1.*", .frozen = true },    { .match = "bn1.*", .frozen = true },
    { .match = "conv4.bias", .frozen = true }, { .match = "*.bias", .lr_factor = 0.25 },
    { .match = "fc*", .lr_factor = 3 },        { .match = "conv*", .decay_factor = 2 },
    { .match = "fc2.*", .no_decay = true },
};
#define SETTINGS                                                                           \
    GATES_BY("settings"), .state = { "m", "v" }, .clip_norm = 0.5, .settings = by_pattern, \
                          .n_settings = sizeof by_pattern / sizeof by_pattern[0],          \
                          .optimizer = { .kind = CVY_ADAMW,                                \
                                         .lr = 0.01,                                       \
                                         .beta1 = 0.9,                                     \
                                         .beta2 = 0.99,                                    \
                                         .eps = 1e-3,                                      \
                                         .weight_decay = 0.1 }
/* The file has 13 digits; a predictor's logits are float. */
#define TIGHT                                                \
    {                                                        \
        1e-9, 1e-6, 1e-9, 1e-9, 1e-9, 1e-6, 1e-9, 1e-9, 1e-6 \
    }

static void test_lenet_reference(void **state)
{
    (void)state;
    run(&(struct subject){ LENET, .backend = "reference", .steps = 10, .tolerance = TIGHT });
}
static void test_lenet_native(void **state)
{
    (void)state;
    /* In the fourth step two pixels of a window of the second pool are nearly equal and rounding
     * decides which is the maximum: conv2's gradient then differs by a pixel's. The motley net has
     * no such step and stays tight for all ten. */
    run(&(struct subject){ LENET, .backend = "native", .steps = 10,
                           .tolerance = { 2e-4, 2e-6, 1e-4, 1e-6, 3e-6, 2e-6, 3e-2, 5e-3, 5e-3 } });
}
static void test_resnet_reference(void **state)
{
    (void)state;
    run(&(struct subject){ RESNET, .backend = "reference", .steps = 2, .tolerance = TIGHT });
}
static void test_resnet_native(void **state)
{
    (void)state;
    run(&(struct subject){ RESNET, .backend = "native", .steps = 10,
                           .tolerance = { 2e-4, 2e-6, 5e-2, 5e-5, 2e-6, 5e-6, 5e-3, 2e-3, 3e-3 } });
}

static void test_motley_reference(void **state)
{
    (void)state;
    /* Images are scaled in float on every backend. */
    run(&(struct subject){ MOTLEY, .backend = "reference",
                           .tolerance = { 1e-7, 1e-6, 3e-7, 1e-7, 1e-7, 1e-6, 1e-7, 1e-7, 1e-6 } });
}
static void test_motley_native(void **state)
{
    (void)state;
    run(&(struct subject){ MOTLEY, .backend = "native",
                           .tolerance = { 1e-6, 2e-6, 1e-4, 1e-6, 3e-6, 3e-6, 1e-5, 1e-5, 1e-5 } });
}

static void test_gates_reference(void **state)
{
    (void)state;
    run(&(struct subject){ GATES, .backend = "reference", .tolerance = TIGHT });
}
static void test_gates_native(void **state)
{
    (void)state;
    run(&(struct subject){ GATES, .backend = "native",
                           .tolerance = { 1e-6, 2e-6, 1e-4, 1e-6, 3e-6, 3e-6, 1e-5, 1e-5, 1e-5 } });
}

#define NORMS                                                                          \
    "tests/golden/torch_norms.txt", .build = norms, .n = 32, .n2 = 13, .capacity = 40, \
                                    .image = 3 * 13 * 15, .steps = 10,                 \
                                    .sgd = { .lr = 0.02, .momentum = 0.9 }
static void test_norms_reference(void **state)
{
    (void)state;
    run(&(struct subject){ NORMS, .backend = "reference", .tolerance = TIGHT });
}
static void test_norms_native(void **state)
{
    (void)state;
    run(&(struct subject){ NORMS, .backend = "native",
                           .tolerance = { 1e-6, 2e-6, 1e-5, 5e-7, 0, 2e-6, 3e-6, 0, 3e-6 } });
}

#define LITE                                                                         \
    "tests/golden/torch_lite.txt", .build = lite, .n = 32, .n2 = 13, .capacity = 40, \
                                   .image = 3 * 13 * 15, .steps = 10,                \
                                   .sgd = { .lr = 0.02, .momentum = 0.9 }
static void test_lite_reference(void **state)
{
    (void)state;
    run(&(struct subject){ LITE, .backend = "reference", .tolerance = TIGHT });
}
static void test_lite_native(void **state)
{
    (void)state;
    run(&(struct subject){ LITE, .backend = "native",
                           .tolerance = { 2e-6, 2e-6, 2e-5, 1e-6, 2e-6, 4e-6, 1e-4, 2e-5, 1e-4 } });
}

#define WHITENED                                                                             \
    "tests/golden/torch_whitened.txt", .build = whitened, .n = 32, .n2 = 13, .capacity = 40, \
                                       .image = 3 * 13 * 15, .steps = 10,                    \
                                       .sgd = { .lr = 0.02, .momentum = 0.9 }
static void test_whitened_reference(void **state)
{
    (void)state;
    run(&(struct subject){ WHITENED, .backend = "reference", .tolerance = TIGHT });
}
static void test_whitened_native(void **state)
{
    (void)state;
    run(&(struct subject){ WHITENED, .backend = "native",
                           .tolerance = { 2e-6, 4e-6, 1e-4, 4e-6, 1e-5, 1e-5, 1e-4, 1e-4, 1e-4 } });
}

#define RANKED                                                                           \
    "tests/golden/torch_ranked.txt", .build = ranked, .n = 32, .n2 = 13, .capacity = 40, \
                                     .image = 3 * 13 * 15, .steps = 10,                  \
                                     .sgd = { .lr = 0.02, .momentum = 0.9 }
static void test_ranked_reference(void **state)
{
    (void)state;
    run(&(struct subject){ RANKED, .backend = "reference", .tolerance = TIGHT });
}
/* Later numbers that are nearly equal may change their places. */
static void test_ranked_native(void **state)
{
    (void)state;
    run(&(struct subject){ RANKED, .backend = "native",
                           .tolerance = { 1e-2, 4e-6, 1e-4, 4e-6, 1e-5, 1e-2, 2e-2, 2e-2, 1e-1 } });
}

#define DECODER                                                                            \
    "tests/golden/torch_decoder.txt", .build = decoder, .n = 32, .n2 = 13, .capacity = 40, \
                                      .image = 3 * 13 * 15, .steps = 10, .seed = 11,       \
                                      .sgd = { .lr = 0.1, .momentum = 0.9 }, .temperature = 2
static void test_decoder_reference(void **state)
{
    (void)state;
    run(&(struct subject){ DECODER, .backend = "reference", .tolerance = TIGHT });
}
static void test_decoder_native(void **state)
{
    (void)state;
    run(&(struct subject){ DECODER, .backend = "native",
                           .tolerance = { 1e-6, 1e-6, 3e-6, 5e-7, 0, 1e-6, 3e-6, 0, 3e-6 } });
}

static void test_adam_reference(void **state)
{
    (void)state;
    run(&(struct subject){ ADAM, .backend = "reference", .tolerance = TIGHT });
}
static void test_adam_native(void **state)
{
    (void)state;
    run(&(struct subject){ ADAM, .backend = "native",
                           .tolerance = { 1e-6, 2e-6, 1e-4, 1e-6, 3e-6, 3e-6, 1e-5, 1e-5, 1e-5 } });
}

/* PyTorch's momentum of RMSProp has no learning rate in it: its state is not compared. */
static void roots(const char *backend, struct tolerances t)
{
    static const struct subject by[] = {
        { GATES_BY("rmsprop"), .state = { "square_avg" },
          .optimizer = { .kind = CVY_RMSPROP,
                         .lr = 0.002,
                         .momentum = 0.5,
                         .rho = 0.9,
                         .eps = 1e-3,
                         .weight_decay = 0.02 } },
        { GATES_BY("adagrad"), .state = { "sum" },
          .optimizer = { .kind = CVY_ADAGRAD, .lr = 0.01, .eps = 1e-3, .weight_decay = 0.02 } },
        { GATES_BY("adadelta"), .state = { "square_avg", "acc_delta" },
          .optimizer = { .kind = CVY_ADADELTA,
                         .lr = 0.5,
                         .rho = 0.9,
                         .eps = 1e-4,
                         .weight_decay = 0.02 } },
    };
    for (size_t i = 0; i < sizeof by / sizeof *by; i++) {
        struct subject s = by[i];
        s.backend = backend;
        s.tolerance = t;
        run(&s);
    }
}
static void test_roots_reference(void **state)
{
    (void)state;
    roots("reference", (struct tolerances)TIGHT);
}
static void test_roots_native(void **state)
{
    (void)state;
    roots("native", (struct tolerances){ 1e-6, 2e-6, 1e-4, 4e-6, 3e-6, 3e-6, 2e-5, 1e-5, 1e-5 });
}

static void test_settings_reference(void **state)
{
    (void)state;
    run(&(struct subject){ SETTINGS, .backend = "reference", .tolerance = TIGHT });
}
static void test_settings_native(void **state)
{
    (void)state;
    run(&(struct subject){ SETTINGS, .backend = "native",
                           .tolerance = { 1e-6, 2e-6, 1e-4, 1e-6, 3e-6, 3e-6, 1e-5, 1e-5, 1e-5 } });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lenet_reference),    cmocka_unit_test(test_lenet_native),
        cmocka_unit_test(test_motley_reference),   cmocka_unit_test(test_motley_native),
        cmocka_unit_test(test_gates_reference),    cmocka_unit_test(test_gates_native),
        cmocka_unit_test(test_norms_reference),    cmocka_unit_test(test_norms_native),
        cmocka_unit_test(test_lite_reference),     cmocka_unit_test(test_lite_native),
        cmocka_unit_test(test_ranked_reference),   cmocka_unit_test(test_ranked_native),
        cmocka_unit_test(test_whitened_reference), cmocka_unit_test(test_whitened_native),
        cmocka_unit_test(test_decoder_reference),  cmocka_unit_test(test_decoder_native),
        cmocka_unit_test(test_adam_reference),     cmocka_unit_test(test_adam_native),
        cmocka_unit_test(test_roots_reference),    cmocka_unit_test(test_roots_native),
        cmocka_unit_test(test_settings_reference), cmocka_unit_test(test_settings_native),
        cmocka_unit_test(test_resnet_reference),   cmocka_unit_test(test_resnet_native),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
