/* Nets that several tests train: built-in ones at any size, and a motley one that meets most
 * operators.
 *
 * Header only, so that a test program is one file. Failures end the cmocka test that asked. */
#ifndef CVYI_TESTS_NETS_H
#define CVYI_TESTS_NETS_H

#include <stddef.h>

#include "convoy/convoy.h"
#include "models/models.h"

enum { NET_CLASSES = 10 };

/* Builds into a new net; returns its logits. */
typedef cvy_tensor (*build_net)(cvy_context *ctx, cvy_net **net);

static inline void die(const cvy_context *ctx, const char *what)
{
    fail_msg("%s: %s", what, cvy_message(ctx));
}

/* On images of side x side pixels. */
static inline cvy_tensor built_in(const char *name, size_t side, cvy_context *ctx, cvy_net **net)
{
    struct model *model;
    cvy_tensor logits = CVY_NO_TENSOR;
    char error[512];
    if (model_load(name, NULL, &model, error, sizeof error)) fail_msg("%s", error);
    model->input[1] = model->input[2] = side;
    if (model_build(model, ctx, net, &logits, error, sizeof error)) fail_msg("%s", error);
    model_free(&model);
    return logits;
}
static inline cvy_tensor lenet_bn(cvy_context *ctx, cvy_net **net)
{
    return built_in("lenet-bn", 28, ctx, net);
}
static inline cvy_tensor resnet20(cvy_context *ctx, cvy_net **net)
{
    return built_in("resnet20", 32, ctx, net);
}
static inline cvy_tensor small_resnet20(cvy_context *ctx, cvy_net **net)
{
    return built_in("resnet20", 8, ctx, net);
}

static inline cvy_tensor conv3(cvy_net *net, cvy_tensor x, const char *name, size_t channels,
                               size_t stride)
{
    return cvy_conv2d(net, x, name,
                      &(cvy_conv2d_desc){ .out_channels = channels,
                                          .kernel = { 3, 3 },
                                          .no_bias = true,
                                          .stride = { stride, stride },
                                          .pad = { 1, 1, 1, 1 } });
}

/* Two residual blocks, the second with a projection; concat, dropout, groups, every kind of
 * pooling; then maps of one pixel, which are cut by channels, behind and before ones that are cut
 * by images. 250 channels: as many parts either way. */
static inline cvy_tensor motley(cvy_context *ctx, cvy_net **made)
{
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = cvy_input(net, 1, 28, 28), y, z;
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kind = CVY_POOL_AVG, .kernel = { 2, 2 } });
    x = cvy_relu(net, cvy_batch_norm(net, conv3(net, x, "stem", 8, 1), "stem.bn", NULL));
    y = cvy_relu(net, cvy_batch_norm(net, conv3(net, x, "a1", 8, 1), "a1.bn", NULL));
    y = cvy_batch_norm(net, conv3(net, y, "a2", 8, 1), "a2.bn", NULL);
    x = cvy_relu(net, cvy_add(net, x, y, NULL));
    y = cvy_relu(net, cvy_batch_norm(net, conv3(net, x, "b1", 16, 2), "b1.bn", NULL));
    y = cvy_batch_norm(net, conv3(net, y, "b2", 16, 1), "b2.bn", NULL);
    z = cvy_conv2d(
        net, x, "b0",
        &(cvy_conv2d_desc){ .out_channels = 16, .kernel = { 1, 1 }, .stride = { 2, 2 } });
    x = cvy_relu(net, cvy_add(net, y, z, NULL));
    y = cvy_conv2d(net, x, "c",
                   &(cvy_conv2d_desc){ .out_channels = 16, .kernel = { 3, 3 }, .groups = 16 });
    z = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 3, 3 }, .stride = { 1, 1 } });
    x = cvy_concat(net,
                   (cvy_tensor[]){ y, cvy_dropout(net, z, NULL, &(cvy_dropout_desc){ .p = 0.3 }) },
                   2, NULL);
    x = cvy_relu(net, cvy_conv2d(net, x, "d",
                                 &(cvy_conv2d_desc){ .out_channels = 250, .kernel = { 1, 1 } }));
    x = cvy_flatten(net, cvy_global_avg_pool(net, x, NULL));
    y = cvy_sigmoid(net, cvy_linear(net, x, "e", &(cvy_linear_desc){ .out_features = 250 }));
    x = cvy_dropout(net, cvy_add(net, x, y, NULL), NULL, &(cvy_dropout_desc){ .p = 0.2 });
    return cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

static inline cvy_tensor conv1(cvy_net *net, cvy_tensor x, const char *name, size_t channels)
{
    return cvy_conv2d(
        net, x, name,
        &(cvy_conv2d_desc){ .out_channels = channels, .kernel = { 1, 1 }, .no_bias = true });
}

/* A DenseNet's block and what comes behind it: ever longer concatenations, normalised before 1x1
 * convolutions of more and of fewer channels than they have, and just enough of both for panels;
 * with activations that cost little, and one that does not. Then a result that is read by others,
 * too, and one of which a convolution reads a single pixel, for a wide map. */
static inline cvy_tensor dense(cvy_context *ctx, cvy_net **made)
{
    static const enum cvy_act_kind kinds[] = { CVY_RELU, CVY_RELU6, CVY_LEAKY_RELU, CVY_SIGMOID };
    static const size_t channels[] = { 80, 64, 56, 24 };
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = conv3(net, cvy_input(net, 1, 28, 28), "stem", 44, 2), y, z;
    for (int i = 0; i < 4; i++) {
        const char digit = (char)('0' + i), n1[] = { 'n', digit, 0 }, n2[] = { 'm', digit, 0 },
                   c1[] = { 'a', digit, 0 }, c2[] = { 'b', digit, 0 };
        y = cvy_batch_norm(net, x, n1, NULL);
        y = cvy_activation(net, y, NULL, &(cvy_act_desc){ .kind = kinds[i], .alpha = 0.1 });
        y = conv1(net, y, c1, channels[i]);
        y = cvy_relu(net, cvy_batch_norm(net, y, n2, NULL));
        x = cvy_concat(net, (cvy_tensor[]){ x, conv3(net, y, c2, 8, 1) }, 2, NULL);
    }
    y = conv1(net, cvy_relu(net, cvy_batch_norm(net, x, "n4", NULL)), "t", 48);
    y = cvy_pool2d(net, y, NULL, &(cvy_pool2d_desc){ .kind = CVY_POOL_AVG, .kernel = { 2, 2 } });
    y = cvy_relu(net, cvy_batch_norm(net, y, "n5", NULL));
    y = cvy_add(net, conv1(net, y, "u", 48), y, NULL);
    z = cvy_conv2d(
        net, cvy_relu(net, cvy_batch_norm(net, y, "n6", NULL)), "w",
        &(cvy_conv2d_desc){ .out_channels = 80, .kernel = { 1, 1 }, .stride = { 7, 7 } });
    x = cvy_concat(net, (cvy_tensor[]){ cvy_global_avg_pool(net, y, NULL), z }, 2, NULL);
    return cvy_linear(net, cvy_flatten(net, x), "fc",
                      &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* Depthwise convolutions that read what a batch norm and an activation make: of maps of several
 * bands of rows, with strides, dilation, padding on one side, none at all, a kernel turned round;
 * with an activation that costs too much, and another reader. */
static inline cvy_tensor separable(cvy_context *ctx, cvy_net **made)
{
    static const struct {
        cvy_conv2d_desc conv;
        cvy_act_desc act;
    } layer[] = {
        { { .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 } }, { .kind = CVY_RELU6 } },
        { { .kernel = { 5, 3 }, .stride = { 2, 1 }, .pad = { 2, 0, 1, 2 }, .flip = true },
          { .kind = CVY_LEAKY_RELU, .alpha = 0.1 } },
        { { .kernel = { 3, 3 }, .dilation = { 3, 2 }, .pad = { 3, 2, 3, 2 } },
          { .kind = CVY_RELU } },
        { { .kernel = { 2, 4 }, .stride = { 1, 3 } }, { .kind = CVY_SIGMOID } },
        { { .kernel = { 3, 1 } }, { .kind = CVY_HARDTANH } },
        { { .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 } }, { .kind = CVY_RELU } },
    };
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = cvy_input(net, 3, 28, 28), y = x;
    x = conv1(net, cvy_upsample(net, x, NULL, &(cvy_upsample_desc){ .scale = { 2, 2 } }), "in", 12);
    for (size_t i = 0; i < sizeof layer / sizeof *layer; i++) {
        const char digit = (char)('0' + i), norm[] = { 'n', digit, 0 }, conv[] = { 'd', digit, 0 };
        cvy_conv2d_desc d = layer[i].conv;
        d.groups = d.out_channels = cvy_tensor_shape(net, x).c;
        y = cvy_activation(net, cvy_batch_norm(net, x, norm, NULL), NULL, &layer[i].act);
        x = cvy_conv2d(net, y, conv, &d);
    }
    x = cvy_concat(
        net, (cvy_tensor[]){ cvy_global_avg_pool(net, x, NULL), cvy_global_avg_pool(net, y, NULL) },
        2, NULL);
    return cvy_linear(net, cvy_flatten(net, x), "fc",
                      &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* A net for each way to sum weight gradients: by tasks that own weights (b: 98 496 of them, on maps
 * of 3x3 pixels), by slots of more weights than are owned elsewhere (a), by images on maps of 2x2
 * (c), and of wide maps in several ranges of input channels (fc1), with enough weights for the
 * update to have all the tasks it may have. */
static inline cvy_tensor weighty(cvy_context *ctx, cvy_net **made)
{
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = cvy_input(net, 1, 28, 28);
    x = cvy_relu(net, cvy_batch_norm(net, conv3(net, x, "stem", 96, 4), "stem.bn", NULL));
    x = cvy_relu(net, conv3(net, x, "a", 116, 1));
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 } });
    x = cvy_relu(net, conv3(net, x, "b", 96, 1));
    x = cvy_relu(net, conv3(net, x, "c", 530, 2));
    x = cvy_relu(net, cvy_batch_norm(net,
                                     cvy_linear(net, cvy_flatten(net, x), "fc1",
                                                &(cvy_linear_desc){ .out_features = 130 }),
                                     "fc1.bn", NULL));
    return cvy_linear(net, x, "fc2", &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* Every kind of CVY_ACTIVATIONS: on maps, behind a batch norm or a convolution and before a maximum
 * or none, by turns; behind a sum; and on maps of one pixel. And PReLU, on a wide map, too. */
static inline cvy_tensor every_activation(cvy_context *ctx, cvy_net **made)
{
#define ONE_OF(NAME, ...) CVY_##NAME,
    static const enum cvy_act_kind kinds[] = { CVY_ACTIVATIONS(ONE_OF) };
#undef ONE_OF
    enum { KINDS = sizeof kinds / sizeof *kinds };
    cvy_net *net;
    cvy_tensor maps[KINDS];
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = cvy_input(net, 1, 28, 28), y;
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kind = CVY_POOL_AVG, .kernel = { 2, 2 } });
    x = cvy_batch_norm(net, conv3(net, x, "stem", 6, 1), "stem.bn", NULL);
    for (int k = 0; k < KINDS; k++) {
        const cvy_act_desc act = { .kind = kinds[k] };
        char name[2][16];
        snprintf(name[0], sizeof name[0], "map%d", k);
        snprintf(name[1], sizeof name[1], "map%d.bn", k);
        y = conv3(net, x, name[0], 3, k % 3 == 2 ? 2 : 1);
        if (k % 2) y = cvy_batch_norm(net, y, name[1], NULL);
        y = cvy_activation(net, y, NULL, &act);
        if (k % 3 < 2) y = cvy_pool2d(net, y, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 } });
        maps[k] = y;
    }
    x = cvy_prelu(net, cvy_concat(net, maps, KINDS, NULL), "map.prelu", NULL);
    x = cvy_conv2d(net, x, "mixed", &(cvy_conv2d_desc){ .out_channels = 8, .kernel = { 1, 1 } });
    for (int k = 0; k < KINDS; k++) {
        char name[16];
        snprintf(name, sizeof name, "sum%d", k);
        y = cvy_conv2d(net, x, name, &(cvy_conv2d_desc){ .out_channels = 8, .kernel = { 1, 1 } });
        x = cvy_activation(net, cvy_add(net, x, y, NULL), NULL,
                           &(cvy_act_desc){ .kind = kinds[k] });
        if (k % 4 == 3) { /* saturated ones would leave nothing to tell apart */
            snprintf(name, sizeof name, "sum%d.bn", k);
            x = cvy_batch_norm(net, x, name, NULL);
        }
    }
    x = cvy_flatten(net, cvy_global_avg_pool(net, x, NULL));
    for (int k = 0; k < KINDS; k++) {
        char name[2][16];
        snprintf(name[0], sizeof name[0], "pixel%d", k);
        snprintf(name[1], sizeof name[1], "pixel%d.bn", k);
        x = cvy_linear(net, x, name[0], &(cvy_linear_desc){ .out_features = 18 });
        if (k % 2 == 0) x = cvy_batch_norm(net, x, name[1], NULL);
        x = cvy_activation(net, x, NULL, &(cvy_act_desc){ .kind = kinds[k] });
    }
    x = cvy_maxout(net, x, NULL, &(cvy_maxout_desc){ .size = 3 });
    x = cvy_linear(net, x, "wide", &(cvy_linear_desc){ .out_features = 250 });
    x = cvy_prelu(net, x, "wide.prelu", &(cvy_prelu_desc){ .init = 0.75 });
    return cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* Whitening of both kinds: of maps in one group and in several, with a matrix each or a shared one,
 * with more pixels than a task holds at once; of features, wide and not. And batch norms by the
 * mean and by the variance alone. */
static inline cvy_tensor every_whitening(cvy_context *ctx, cvy_net **made)
{
    const cvy_whitening_desc newton = { .kind = CVY_WHITENING_NEWTON, .eps = 0.1 };
    const cvy_batch_norm_desc centred = { .statistics = CVY_BN_STATISTICS_MEAN },
                              scaled = { .statistics = CVY_BN_STATISTICS_VARIANCE };
    cvy_whitening_desc d = { .channels = 12, .eps = 0.1 };
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = cvy_input(net, 1, 28, 28);
    x = cvy_relu(net, cvy_whitening(net, conv3(net, x, "a", 12, 1), "a.dbn", &d));
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kind = CVY_POOL_AVG, .kernel = { 2, 2 } });
    d = newton;
    d.channels = 20;
    d.steps = 3;
    x = cvy_batch_norm(net, conv3(net, x, "b", 60, 1), "b.mean", &centred);
    x = cvy_relu(net, cvy_whitening(net, x, "b.in", &d));
    d = (cvy_whitening_desc){ .channels = 8, .shared = true, .no_beta = true, .eps = 0.1 };
    x = cvy_relu(net, cvy_whitening(net, conv3(net, x, "c", 24, 2), "c.dbn", &d));
    x = cvy_relu(net, cvy_batch_norm(net, conv3(net, x, "d", 24, 1), "d.var", &scaled));
    x = cvy_linear(net, x, "narrow", &(cvy_linear_desc){ .out_features = 30 });
    x = cvy_relu(net, cvy_whitening(net, x, "narrow.in", &newton));
    x = cvy_linear(net, x, "wide", &(cvy_linear_desc){ .out_features = 260 });
    d = newton;
    d.channels = 260;
    d.steps = 2;
    d.eps = 1;
    d.no_gamma = true;
    x = cvy_relu(net, cvy_whitening(net, x, "wide.in", &d));
    d = (cvy_whitening_desc){ .channels = 20, .frozen = true };
    x = cvy_whitening(net, x, "wide.frozen", &d);
    return cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* Ranks behind batch norms: of maps and of features, wide and not, even and normal, frozen. */
static inline cvy_tensor every_rank(cvy_context *ctx, cvy_net **made)
{
    static const cvy_batch_norm_desc plain = { .no_affine = true };
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = conv3(net, cvy_input(net, 1, 28, 28), "a", 6, 2);
    x = cvy_rank(net, cvy_batch_norm(net, x, "a.bn", &plain), "a.rank", NULL);
    x = cvy_batch_norm(net, conv3(net, x, "b", 20, 2), "b.bn", &plain);
    x = cvy_rank(net, x, "b.rank", &(cvy_rank_desc){ .quantiles = 7, .normal = true });
    x = cvy_linear(net, x, "narrow", &(cvy_linear_desc){ .out_features = 30 });
    x = cvy_batch_norm(net, x, "narrow.bn", &plain);
    x = cvy_rank(net, x, "narrow.rank", &(cvy_rank_desc){ .quantiles = 500, .momentum = 1 });
    x = cvy_linear(net, x, "wide", &(cvy_linear_desc){ .out_features = 250 });
    x = cvy_batch_norm(net, x, "wide.bn", &plain);
    x = cvy_rank(net, x, "wide.rank", &(cvy_rank_desc){ .frozen = true, .normal = true });
    return cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* Group norm in all its forms: of the image itself, of maps whose planes are padded or not, of
 * small ones, of features, wide and not; as layer and as instance norm; with and without gamma and
 * beta. */
static inline cvy_tensor every_group_norm(cvy_context *ctx, cvy_net **made)
{
    const cvy_group_norm_desc instance = { .groups = 12, .no_affine = true };
    const cvy_group_norm_desc layer = { .groups = 1, .elementwise = true };
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = cvy_input(net, 1, 28, 28), y;
    x = cvy_group_norm(net, x, "image", &(cvy_group_norm_desc){ .no_affine = true });
    x = cvy_relu(net, cvy_group_norm(net, conv3(net, x, "a", 12, 1), "a.gn",
                                     &(cvy_group_norm_desc){ .groups = 3 }));
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kind = CVY_POOL_AVG, .kernel = { 2, 2 } });
    x = cvy_conv2d(net, x, "b", &(cvy_conv2d_desc){ .out_channels = 12, .kernel = { 7, 7 } });
    x = cvy_relu(net, cvy_group_norm(net, x, "b.in", &instance));
    y = cvy_group_norm(net, conv3(net, x, "c", 12, 1), "c.ln", &layer);
    x = cvy_relu(net, cvy_add(net, x, y, NULL));
    x = conv3(net, x, "d", 36, 2);
    x = cvy_group_norm(net, x, "d.gn", &(cvy_group_norm_desc){ .groups = 4, .no_beta = true });
    x = conv3(net, cvy_relu(net, x), "e", 36, 2);
    x = cvy_group_norm(net, x, "e.ln", &(cvy_group_norm_desc){ .elementwise = true, .eps = 1e-3 });
    x = cvy_linear(net, cvy_relu(net, x), "narrow", &(cvy_linear_desc){ .out_features = 30 });
    x = cvy_group_norm(net, x, "narrow.gn", &(cvy_group_norm_desc){ .groups = 5 });
    x = cvy_linear(net, cvy_relu(net, x), "wide", &(cvy_linear_desc){ .out_features = 250 });
    x = cvy_group_norm(net, x, "wide.gn", &(cvy_group_norm_desc){ .groups = 2, .no_gamma = true });
    return cvy_linear(net, cvy_relu(net, x), "fc",
                      &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* What makes maps larger, and what stands between layers: transposed convolutions, one from a wide
 * map of one pixel, with groups, padding and output padding; a bias behind a maximum and of a wide
 * map; other sizes from the nearest pixel and between pixels, also from and to a wide map; the
 * image's mean subtracted. */
static inline cvy_tensor decoder(cvy_context *ctx, cvy_net **made)
{
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = cvy_input(net, 1, 28, 28);
    x = cvy_mean_subtract(net, x, NULL, &(cvy_mean_subtract_desc){ .over = CVY_MEAN_OF_IMAGE });
    x = cvy_pool2d(net, conv3(net, x, "a", 8, 1), NULL, &(cvy_pool2d_desc){ .kernel = { 4, 4 } });
    x = cvy_relu(net, cvy_batch_norm(net, cvy_bias(net, x, "a.shift"), "a.bn", NULL));
    x = cvy_linear(net, x, "code", &(cvy_linear_desc){ .out_features = 250, .no_bias = true });
    x = cvy_relu(net, cvy_bias(net, x, "code.shift"));
    x = cvy_upsample(net, x, NULL, &(cvy_upsample_desc){ .scale = { 3, 2 } });
    x = cvy_upsample(net, x, NULL,
                     &(cvy_upsample_desc){ .kind = CVY_UPSAMPLE_BILINEAR, .size = { 1, 1 } });
    x = cvy_mean_subtract(net, x, NULL, &(cvy_mean_subtract_desc){ .over = CVY_MEAN_OF_IMAGE });
    x = cvy_conv_transpose2d(
        net, x, "b",
        &(cvy_conv_transpose2d_desc){ .out_channels = 12, .kernel = { 4, 4 }, .no_bias = true });
    x = cvy_relu(net, cvy_batch_norm(net, x, "b.bn", NULL));
    x = cvy_conv_transpose2d(net, x, "c",
                             &(cvy_conv_transpose2d_desc){ .out_channels = 8,
                                                           .kernel = { 3, 4 },
                                                           .stride = { 2, 2 },
                                                           .pad = { 1, 1, 1, 1 },
                                                           .output_pad = { 1, 0 },
                                                           .groups = 4 });
    x = cvy_upsample(net, cvy_relu(net, x), NULL,
                     &(cvy_upsample_desc){ .kind = CVY_UPSAMPLE_BILINEAR, .scale = { 2, 2 } });
    x = cvy_relu(net, cvy_batch_norm(net, conv3(net, x, "d", 6, 2), "d.bn", NULL));
    x = cvy_upsample(net, x, NULL,
                     &(cvy_upsample_desc){
                         .kind = CVY_UPSAMPLE_BILINEAR, .size = { 19, 5 }, .align_corners = true });
    return cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* The mean of the batch subtracted, from the images and from features. */
static inline cvy_tensor centred(cvy_context *ctx, cvy_net **made)
{
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = cvy_mean_subtract(net, cvy_input(net, 1, 28, 28), NULL, NULL);
    x = cvy_sigmoid(net, conv3(net, x, "a", 8, 1));
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 4, 4 } });
    x = cvy_linear(net, x, "wide", &(cvy_linear_desc){ .out_features = 250 });
    x = cvy_relu(net, cvy_mean_subtract(net, x, NULL, NULL));
    return cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* Fully connected layers of very many inputs: one on the images, one behind a convolution (so that
 * its data gradient is computed), of few outputs both. */
static inline cvy_tensor tall(cvy_context *ctx, cvy_net **made)
{
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor y = conv3(net, cvy_input(net, 3, 28, 28), "a", 3, 1);
    cvy_tensor x =
        cvy_linear(net, cvy_net_tensor(net, 0), "fc1", &(cvy_linear_desc){ .out_features = 70 });
    x = cvy_relu(net, cvy_batch_norm(net, x, "bn1", NULL));
    x = cvy_linear(net, x, "fc2", &(cvy_linear_desc){ .out_features = NET_CLASSES });
    y = cvy_linear(net, cvy_flatten(net, cvy_relu(net, y)), "fc3",
                   &(cvy_linear_desc){ .out_features = NET_CLASSES });
    return cvy_add(net, x, y, NULL);
}

#endif
