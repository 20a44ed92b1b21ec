/* Graphs and their linearisation: shapes, parameter counts, the sentence for every bad descriptor,
 * and the order and completeness of the list of ops. No arithmetic on data. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "acts.h"
#include "convoy/convoy.h"
#include "net/net.h"

static cvy_context *ctx;

static int setup(void **state)
{
    (void)state;
    return cvy_context_create(NULL, &ctx) != CVY_OK;
}

static int teardown(void **state)
{
    (void)state;
    cvy_context_destroy(&ctx);
    return 0;
}

static cvy_net *new_net(void)
{
    cvy_net *net;
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    return net;
}

static cvy_tensor block(cvy_net *net, cvy_tensor x, bool bn, const char *name)
{
    if (bn) x = cvy_batch_norm(net, x, name, NULL);
    return cvy_sigmoid(net, x);
}

static cvy_tensor lenet(cvy_net *net, bool bn)
{
    cvy_pool2d_desc pool = { .kind = bn ? CVY_POOL_MAX : CVY_POOL_AVG, .kernel = { 2, 2 } };
    cvy_conv2d_desc conv1 = { .out_channels = 6, .kernel = { 5, 5 } };
    if (!bn) conv1.pad[0] = conv1.pad[1] = conv1.pad[2] = conv1.pad[3] = 2;
    cvy_tensor x = cvy_input(net, 1, 28, 28);
    x = block(net, cvy_conv2d(net, x, "conv1", &conv1), bn, "bn1");
    x = cvy_pool2d(net, x, NULL, &pool);
    x = block(
        net,
        cvy_conv2d(net, x, "conv2", &(cvy_conv2d_desc){ .out_channels = 16, .kernel = { 5, 5 } }),
        bn, "bn2");
    x = cvy_flatten(net, cvy_pool2d(net, x, NULL, &pool));
    x = block(net, cvy_linear(net, x, "fc1", &(cvy_linear_desc){ .out_features = 120 }), bn, "bn3");
    x = block(net, cvy_linear(net, x, "fc2", &(cvy_linear_desc){ .out_features = 84 }), bn, "bn4");
    return cvy_linear(net, x, "fc3", &(cvy_linear_desc){ .out_features = 10 });
}

static cvy_tensor conv3x3(cvy_net *net, cvy_tensor x, const char *name, size_t channels,
                          size_t stride)
{
    char bn[64];
    snprintf(bn, sizeof bn, "%s.bn", name);
    x = cvy_conv2d(net, x, name,
                   &(cvy_conv2d_desc){ .out_channels = channels,
                                       .kernel = { 3, 3 },
                                       .stride = { stride, stride },
                                       .pad = { 1, 1, 1, 1 },
                                       .no_bias = true });
    return cvy_batch_norm(net, x, bn, NULL);
}

static cvy_tensor resnet20(cvy_net *net, bool option_b)
{
    cvy_tensor x = cvy_relu(net, conv3x3(net, cvy_input(net, 3, 32, 32), "conv1", 16, 1));
    for (size_t stage = 0; stage < 3; stage++)
        for (size_t i = 0; i < 3; i++) {
            char a[32], b[32], down[32], down_bn[40];
            snprintf(a, sizeof a, "s%zu.%zu.conv1", stage, i);
            snprintf(b, sizeof b, "s%zu.%zu.conv2", stage, i);
            snprintf(down, sizeof down, "s%zu.down", stage);
            snprintf(down_bn, sizeof down_bn, "s%zu.down.bn", stage);
            size_t channels = (size_t)16 << stage, stride = stage && !i ? 2 : 1;
            cvy_tensor shortcut = x;
            cvy_tensor y =
                conv3x3(net, cvy_relu(net, conv3x3(net, x, a, channels, stride)), b, channels, 1);
            if (stride == 2 && option_b) {
                shortcut = cvy_conv2d(net, x, down,
                                      &(cvy_conv2d_desc){ .out_channels = channels,
                                                          .kernel = { 1, 1 },
                                                          .stride = { 2, 2 },
                                                          .no_bias = true });
                shortcut = cvy_batch_norm(net, shortcut, down_bn, NULL);
            } else if (stride == 2) {
                shortcut = cvy_pool2d(net, x, NULL,
                                      &(cvy_pool2d_desc){ .kernel = { 1, 1 }, .stride = { 2, 2 } });
                shortcut = cvy_pad_channels(net, shortcut, channels / 4, channels / 4, NULL);
            }
            x = cvy_relu(net, cvy_add(net, y, shortcut, NULL));
        }
    return cvy_linear(net, cvy_global_avg_pool(net, x, NULL), "fc",
                      &(cvy_linear_desc){ .out_features = 10 });
}

static void totals(const cvy_net *net, size_t *parameters, double *forward, double *backward)
{
    *parameters = 0;
    *forward = *backward = 0;
    for (size_t i = 0; i < cvy_net_nodes(net); i++) {
        cvy_node_info info;
        assert_int_equal(cvy_net_node(net, i, &info), CVY_OK);
        *parameters += info.parameters;
        *forward += info.flops_forward;
        *backward += info.flops_backward;
    }
}

static void assert_shape(cvy_shape s, size_t c, size_t h, size_t w)
{
    assert_int_equal(s.n, 1);
    assert_int_equal(s.c, c);
    assert_int_equal(s.h, h);
    assert_int_equal(s.w, w);
}

static void known_nets_have_their_known_sizes(void **state)
{
    (void)state;
    size_t parameters;
    double forward, backward;
    cvy_net *net = new_net();
    cvy_tensor y = lenet(net, true);
    assert_int_equal(cvy_net_status(net), CVY_OK);
    assert_shape(cvy_tensor_shape(net, cvy_net_tensor(net, 1)), 6, 24, 24);
    assert_shape(cvy_tensor_shape(net, cvy_net_tensor(net, 4)), 6, 12, 12);
    assert_shape(cvy_tensor_shape(net, cvy_net_tensor(net, 5)), 16, 8, 8);
    assert_shape(cvy_tensor_shape(net, cvy_net_tensor(net, 9)), 256, 1, 1);
    assert_shape(cvy_tensor_shape(net, y), 10, 1, 1);
    totals(net, &parameters, &forward, &backward);
    assert_int_equal(parameters, 44878);
    assert_true(forward == 563280);
    assert_true(backward == 2 * 563280 - 172800); /* no data gradient of the first layer */
    cvy_node_info info;
    assert_int_equal(cvy_net_node(net, 3, &info), CVY_OK);
    assert_string_equal(info.name, "sigmoid3");
    assert_string_equal(info.type, "activation");
    assert_int_equal(info.inputs[0], 2);
    assert_int_equal(info.n_inputs, 1);
    assert_int_equal(cvy_net_node(net, 10, &info), CVY_OK);
    assert_string_equal(info.type, "linear");
    assert_int_equal(info.inputs[0],
                     9); /* the user's graph, though the program skips the flatten */
    assert_int_equal(cvy_net_node(net, 100, &info), CVY_E_ARG);
    assert_int_equal(cvy_tensor_shape(net, cvy_net_tensor(net, 100)).n, 0);
    cvy_net_destroy(&net);
    assert_null(net);

    net = new_net();
    lenet(net, false);
    totals(net, &parameters, &forward, &backward);
    assert_int_equal(parameters, 61706);
    assert_true(forward == 833040);
    cvy_net_destroy(&net);

    for (int b = 0; b < 2; b++) {
        net = new_net();
        y = resnet20(net, b);
        assert_int_equal(cvy_net_status(net), CVY_OK);
        assert_shape(cvy_tensor_shape(net, y), 10, 1, 1);
        totals(net, &parameters, &forward, &backward);
        assert_int_equal(parameters, b ? 272474 : 269722);
        cvy_net_destroy(&net);
    }
}

static void shapes_of_hard_windows(void **state)
{
    (void)state;
    cvy_net *net = new_net();
    cvy_tensor x = cvy_input(net, 4, 7, 9);
    cvy_tensor y = cvy_conv2d(net, x, "a",
                              &(cvy_conv2d_desc){ .out_channels = 6,
                                                  .kernel = { 1, 1 },
                                                  .stride = { 2, 2 },
                                                  .pad = { 3, 3, 3, 3 },
                                                  .groups = 2 });
    assert_shape(cvy_tensor_shape(net, y), 6, 7, 8);
    y = cvy_conv2d(
        net, x, "b",
        &(cvy_conv2d_desc){
            .out_channels = 1, .kernel = { 3, 2 }, .dilation = { 4, 1 }, .pad = { 2, 0, 0, 1 } });
    assert_shape(cvy_tensor_shape(net, y), 1, 1, 9);
    cvy_pool2d_desc pool = { .kernel = { 3, 3 }, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 } };
    assert_shape(cvy_tensor_shape(net, cvy_pool2d(net, x, NULL, &pool)), 4, 4, 5);
    pool.ceil_mode = true;
    assert_shape(cvy_tensor_shape(net, cvy_pool2d(net, x, NULL, &pool)), 4, 4, 5);
    /* rounding up gives 2 and 3 windows where it can, and drops one that starts in the end padding
     */
    pool = (cvy_pool2d_desc){
        .kernel = { 2, 2 }, .stride = { 6, 4 }, .pad = { 0, 0, 1, 1 }, .ceil_mode = true
    };
    assert_shape(cvy_tensor_shape(net, cvy_pool2d(net, x, NULL, &pool)), 4, 2, 3);
    pool = (cvy_pool2d_desc){
        .kernel = { 2, 2 }, .stride = { 7, 9 }, .pad = { 1, 1, 1, 1 }, .ceil_mode = true
    };
    assert_shape(cvy_tensor_shape(net, cvy_pool2d(net, x, NULL, &pool)), 4, 2, 2);
    pool = (cvy_pool2d_desc){
        .kernel = { 2, 2 }, .stride = { 7, 9 }, .pad = { 0, 0, 1, 1 }, .ceil_mode = true
    };
    assert_shape(cvy_tensor_shape(net, cvy_pool2d(net, x, NULL, &pool)), 4, 1, 1);
    assert_shape(cvy_tensor_shape(net, cvy_concat(net, (cvy_tensor[]){ x, x, x }, 3, NULL)), 12, 7,
                 9);
    cvy_tensor many[40], wide;
    cvy_node_info info;
    for (int i = 0; i < 40; i++) many[i] = cvy_relu(net, x);
    wide = cvy_concat(net, many, 40, NULL);
    size_t last = cvy_net_nodes(net) - 1;
    assert_int_equal(wide, cvy_net_tensor(net, last));
    assert_int_equal(cvy_net_node(net, last, &info), CVY_OK);
    assert_int_equal(info.n_inputs, 40);
    for (int i = 0; i < 40; i++)
        assert_int_equal(cvy_net_tensor(net, (size_t)info.inputs[i]), many[i]);
    assert_shape(cvy_tensor_shape(net, cvy_flatten(net, x)), 252, 1, 1);
    assert_shape(cvy_tensor_shape(net, cvy_global_avg_pool(net, x, "gap")), 4, 1, 1);
    assert_shape(cvy_tensor_shape(net, cvy_softmax(net, x, NULL)), 4, 7, 9);
    assert_int_equal(cvy_net_status(net), CVY_OK);
    cvy_net_destroy(&net);
}

/* One mistake on a fresh net whose input, node 0, is 4 x 8 x 8 and whose node 1 is conv "c" of 6
 * channels. */
static cvy_net *bad;

/* Node n of it, 0 or 1. */
static cvy_tensor at(size_t n) { return cvy_net_tensor(bad, n); }

static void expected(cvy_tensor got, enum cvy_status status, const char *part)
{
    assert_int_equal(got, CVY_NO_TENSOR);
    assert_int_equal(cvy_net_status(bad), status);
    if (!strstr(cvy_message(ctx), part)) fail_msg("'%s' lacks '%s'", cvy_message(ctx), part);
    assert_int_equal(cvy_relu(bad, at(0)), CVY_NO_TENSOR); /* the first mistake sticks … */
    cvy_conv2d(bad, at(0), "other", NULL);
    cvyi_fail(ctx, CVY_E_ARG, "something else");
    assert_int_equal(cvy_net_status(bad), status); /* … and its sentence too */
    if (!strstr(cvy_message(ctx), part)) fail_msg("'%s' lacks '%s'", cvy_message(ctx), part);
    cvy_net_destroy(&bad);
}

static cvy_net *fresh(void)
{
    bad = new_net();
    cvy_input(bad, 4, 8, 8);
    cvy_conv2d(bad, at(0), "c", &(cvy_conv2d_desc){ .out_channels = 6, .kernel = { 3, 3 } });
    assert_int_equal(cvy_net_status(bad), CVY_OK);
    return bad;
}

#define expect(call, ...)            \
    do {                             \
        fresh();                     \
        expected(call, __VA_ARGS__); \
    } while (0)
#define CONV(...) cvy_conv2d(bad, at(0), "c2", &(cvy_conv2d_desc){ __VA_ARGS__ })
#define POOL(...) cvy_pool2d(bad, at(0), "p", &(cvy_pool2d_desc){ __VA_ARGS__ })
#define BN(...) cvy_batch_norm(bad, at(0), "b", &(cvy_batch_norm_desc){ __VA_ARGS__ })
#define ACT(...) cvy_activation(bad, at(0), "a", &(cvy_act_desc){ __VA_ARGS__ })
#define DROP(...) cvy_dropout(bad, at(0), "d", &(cvy_dropout_desc){ __VA_ARGS__ })

static void mistakes_of_convolutions(void **state)
{
    (void)state;
    const size_t minus = (size_t)-1, huge = (size_t)1 << 31;
    expect(CONV(.kernel = { 3, 3 }), CVY_E_ARG, "conv2d 'c2': out_channels is 0, expected 1 to");
    expect(CONV(.out_channels = 8, .kernel = { 3, 3 }, .algorithm = 99), CVY_E_ARG,
           "conv2d 'c2': algorithm 99 is not one of enum cvy_algorithm");
    expect(CONV(.out_channels = minus, .kernel = { 3, 3 }), CVY_E_ARG, "out_channels is -1");
    expect(CONV(.out_channels = 8), CVY_E_ARG, "kernel rows is 0");
    expect(CONV(.out_channels = 8, .kernel = { 1, huge }), CVY_E_ARG,
           "kernel columns is 2147483648");
    expect(CONV(.out_channels = 8, .kernel = { 3, 3 }, .stride = { minus, 1 }), CVY_E_ARG,
           "row stride is -1");
    expect(CONV(.out_channels = 8, .kernel = { 3, 3 }, .dilation = { 1, minus }), CVY_E_ARG,
           "column dilation is -1");
    expect(CONV(.out_channels = 8, .kernel = { 3, 3 }, .pad = { 0, 0, minus }), CVY_E_ARG,
           "bottom padding is -1");
    expect(CONV(.out_channels = 8, .kernel = { 3, 3 }, .groups = minus), CVY_E_ARG, "groups is -1");
    expect(CONV(.out_channels = 9, .kernel = { 3, 3 }, .groups = 3), CVY_E_SHAPE,
           "groups 3 does not divide 4 input channels");
    expect(CONV(.out_channels = 9, .kernel = { 3, 3 }, .groups = 2), CVY_E_SHAPE,
           "groups 2 does not divide 9 output channels");
    expect(CONV(.out_channels = 8, .kernel = { 9, 3 }), CVY_E_SHAPE,
           "a kernel of 9 rows (dilation included) does not fit into 8");
    expect(CONV(.out_channels = 8, .kernel = { 3, 3 }, .dilation = { 1, 6 }, .pad = { 0, 1, 0, 1 }),
           CVY_E_SHAPE, "a kernel of 13 columns (dilation included) does not fit into 10 columns");
    expect(CONV(.out_channels = huge - 1, .kernel = { 1, 1 }, .pad = { huge - 1, huge - 1, 0, 0 }),
           CVY_E_SHAPE, "too large");
    expect(CONV(.out_channels = huge - 1, .kernel = { huge - 1, huge - 1 },
                .pad = { huge - 9, huge - 9, 0, 0 }),
           CVY_E_SHAPE, "weights are more than");
}

static void mistakes_of_names_and_inputs(void **state)
{
    (void)state;
    const size_t huge = (size_t)1 << 31;
    expect(cvy_conv2d(bad, at(0), NULL, &(cvy_conv2d_desc){ 0 }), CVY_E_ARG, "needs a name");
    expect(cvy_conv2d(bad, at(0), "", &(cvy_conv2d_desc){ 0 }), CVY_E_ARG, "1 to 128 bytes");
    expect(cvy_conv2d(bad, at(0), "a\nb", &(cvy_conv2d_desc){ 0 }), CVY_E_ARG,
           "control characters");
    expect(cvy_conv2d(bad, at(0), "c", &(cvy_conv2d_desc){ 0 }), CVY_E_ARG,
           "conv2d 'c': another layer has this name");
    expect(cvy_conv2d(bad, at(0), "c2", NULL), CVY_E_ARG, "the descriptor is NULL");
    expect(cvy_conv2d(bad, 7, "c2", &(cvy_conv2d_desc){ 0 }), CVY_E_ARG,
           "input 0 is 7, which is no tensor of this net");
    expect(cvy_relu(bad, CVY_NO_TENSOR), CVY_E_ARG, "input 0 is -1");
    expect(cvy_linear(bad, at(0), "f", &(cvy_linear_desc){ 0 }), CVY_E_ARG,
           "linear 'f': out_features is 0");
    expect(cvy_linear(bad, at(0), "f", NULL), CVY_E_ARG, "linear 'f': the descriptor is NULL");
    expect(cvy_input(bad, 1, 1, 1), CVY_E_STATE, "only input");
    bad = new_net();
    expected(cvy_input(bad, 3, 0, 32), CVY_E_SHAPE, "input 'input': shape 3 x 0 x 32");
    bad = new_net();
    expected(cvy_input(bad, huge - 1, huge - 1, huge - 1), CVY_E_SHAPE, "too large");
    bad = new_net();
    expected(cvy_relu(bad, 0), CVY_E_ARG, "no tensor of this net");
    assert_int_equal(cvy_input(NULL, 1, 1, 1), CVY_NO_TENSOR);
    assert_int_equal(cvy_net_status(NULL), CVY_E_ARG);
}

#define TURNED(...) \
    cvy_conv_transpose2d(bad, at(0), "t", &(cvy_conv_transpose2d_desc){ __VA_ARGS__ })
static void mistakes_of_transposed_convolutions(void **state)
{
    (void)state;
    const size_t minus = (size_t)-1, huge = (size_t)1 << 31;
    expect(cvy_conv_transpose2d(bad, at(0), "t", NULL), CVY_E_ARG,
           "conv_transpose2d 't': the descriptor is NULL");
    expect(cvy_conv_transpose2d(bad, at(0), NULL, &(cvy_conv_transpose2d_desc){ 0 }), CVY_E_ARG,
           "conv_transpose2d: a layer with parameters needs a name");
    expect(TURNED(.kernel = { 3, 3 }), CVY_E_ARG, "conv_transpose2d 't': out_channels is 0");
    expect(TURNED(.out_channels = 8), CVY_E_ARG, "kernel rows is 0");
    expect(TURNED(.out_channels = 8, .kernel = { 1, huge }), CVY_E_ARG, "kernel columns is 21");
    expect(TURNED(.out_channels = 8, .kernel = { 1, 1 }, .stride = { 1, minus }), CVY_E_ARG,
           "column stride is -1");
    expect(TURNED(.out_channels = 8, .kernel = { 1, 1 }, .dilation = { minus, 1 }), CVY_E_ARG,
           "row dilation is -1");
    expect(TURNED(.out_channels = 8, .kernel = { 1, 1 }, .pad = { 0, 0, 0, minus }), CVY_E_ARG,
           "right padding is -1");
    expect(TURNED(.out_channels = 8, .kernel = { 1, 1 }, .output_pad = { minus, 0 }), CVY_E_ARG,
           "output_pad rows is -1");
    expect(TURNED(.out_channels = 8, .kernel = { 1, 1 }, .output_pad = { 0, 2 }, .stride = { 3, 2 },
                  .dilation = { 1, 2 }),
           CVY_E_ARG,
           "output_pad is 2 columns, expected less than the stride or the dilation, 2 and 2");
    expect(TURNED(.out_channels = 9, .kernel = { 1, 1 }, .groups = 3), CVY_E_SHAPE,
           "groups 3 does not divide 4 input channels");
    expect(TURNED(.out_channels = 9, .kernel = { 1, 1 }, .groups = 2), CVY_E_SHAPE,
           "groups 2 does not divide 9 output channels");
    expect(TURNED(.out_channels = 8, .kernel = { 3, 3 }, .pad = { 5, 0, 5, 0 }), CVY_E_SHAPE,
           "the padding cuts 10 rows off, and there are 10");
    expect(TURNED(.out_channels = 8, .kernel = { huge - 1, 1 }, .stride = { huge - 1, 1 }),
           CVY_E_SHAPE, "too large");
    expect(TURNED(.out_channels = huge - 1, .kernel = { huge - 1, huge - 1 },
                  .pad = { huge - 1, huge - 1, 6, 6 }),
           CVY_E_SHAPE, "weights are more than this machine can address");
    expect(cvy_bias(bad, at(0), NULL), CVY_E_ARG, "bias: a layer with parameters needs a name");
    assert_int_equal(cvy_bias(NULL, 0, "b"), CVY_NO_TENSOR);
    assert_int_equal(cvy_conv_transpose2d(NULL, 0, "t", NULL), CVY_NO_TENSOR);
}

#define UP(...) cvy_upsample(bad, at(0), "u", &(cvy_upsample_desc){ __VA_ARGS__ })
static void mistakes_of_sizes_and_means(void **state)
{
    (void)state;
    const size_t minus = (size_t)-1, huge = (size_t)1 << 31;
    expect(cvy_upsample(bad, at(0), "u", NULL), CVY_E_ARG, "upsample 'u': the descriptor is NULL");
    expect(UP(.kind = (enum cvy_upsample_kind)2, .scale = { 2, 2 }), CVY_E_ARG,
           "upsample 'u': kind 2 is not one of enum cvy_upsample_kind");
    expect(UP(.align_corners = true, .scale = { 2, 2 }), CVY_E_ARG, "only bilinear can align");
    expect(UP(.scale = { 2, 2 }, .size = { 3, 0 }), CVY_E_ARG,
           "both are given, expected one of scale and size");
    expect(UP(.kind = CVY_UPSAMPLE_BILINEAR), CVY_E_ARG, "nothing is said of the size");
    expect(UP(.scale = { 0, 2 }), CVY_E_ARG, "scale rows is 0, expected 1 to");
    expect(UP(.size = { 2, minus }), CVY_E_ARG, "size columns is -1");
    expect(UP(.size = { huge - 1, huge - 1 }), CVY_E_SHAPE, "too large");
    expect(UP(.scale = { huge - 1, 1 }), CVY_E_SHAPE, "too large");
    expect(cvy_mean_subtract(bad, at(0), "m",
                             &(cvy_mean_subtract_desc){ .over = (enum cvy_mean_over)2 }),
           CVY_E_ARG, "mean_subtract 'm': over is 2, which is not one of enum cvy_mean_over");
    expect(cvy_tempered_softmax(bad, at(0), "s", -1), CVY_E_ARG,
           "softmax 's': temperature is -1, expected a positive finite number (0: 1)");
    expect(cvy_tempered_softmax(bad, at(0), "s", NAN), CVY_E_ARG, "temperature is nan");
    assert_int_equal(cvy_upsample(NULL, 0, "u", NULL), CVY_NO_TENSOR);
    assert_int_equal(cvy_mean_subtract(NULL, 0, "m", NULL), CVY_NO_TENSOR);
    assert_int_equal(cvy_tempered_softmax(NULL, 0, "s", 1), CVY_NO_TENSOR);
    cvy_net *net = new_net();
    cvy_tensor x = cvy_input(net, 4, 8, 6);
    assert_shape(cvy_tensor_shape(
                     net, cvy_upsample(net, x, NULL, &(cvy_upsample_desc){ .scale = { 2, 3 } })),
                 4, 16, 18);
    assert_shape(
        cvy_tensor_shape(net, cvy_upsample(net, x, NULL, &(cvy_upsample_desc){ .size = { 5, 1 } })),
        4, 5, 1);
    cvy_net_destroy(&net);
}

static void mistakes_of_other_layers(void **state)
{
    (void)state;
    const size_t minus = (size_t)-1, huge = (size_t)1 << 31;
    expect(BN(.eps = -1e-5), CVY_E_ARG, "batch_norm 'b': eps is -1e-05");
    expect(BN(.eps = NAN), CVY_E_ARG, "eps is nan");
    expect(BN(.eps = INFINITY), CVY_E_ARG, "eps is inf");
    expect(BN(.eps = 1e-300), CVY_E_ARG, "eps is 1e-300");
    expect(BN(.momentum = -0.1), CVY_E_ARG, "momentum is -0.1");
    expect(BN(.momentum = 1.1), CVY_E_ARG, "momentum is 1.1");
    expect(BN(.momentum = NAN), CVY_E_ARG, "momentum is nan");
    expect(BN(.running_var = (enum cvy_bn_var)7), CVY_E_ARG, "running_var is 7");
    expect(BN(.statistics = (enum cvy_bn_statistics)3), CVY_E_ARG, "statistics is 3");
    expect(cvy_batch_norm(bad, at(0), NULL, NULL), CVY_E_ARG, "needs a name");
#define WH(...) cvy_whitening(bad, at(0), "w", &(cvy_whitening_desc){ __VA_ARGS__ })
    expect(WH(.kind = (enum cvy_whitening_kind)2), CVY_E_ARG, "whitening 'w': kind is 2");
    expect(WH(.channels = 3), CVY_E_ARG, "whitening 'w': groups of 3 channels, which do not");
    expect(WH(.steps = 3), CVY_E_ARG, "whitening 'w': steps is 3, but ZCA has none");
    expect(WH(.kind = CVY_WHITENING_NEWTON, .steps = 101), CVY_E_ARG, "steps is 101");
    expect(WH(.eps = -1), CVY_E_ARG, "whitening 'w': eps is -1");
    expect(WH(.momentum = 2), CVY_E_ARG, "whitening 'w': momentum is 2");
    expect(cvy_rank(bad, at(0), "r", &(cvy_rank_desc){ .quantiles = 1 }), CVY_E_ARG,
           "rank 'r': quantiles is 1, expected 2 to 65536");
    expect(cvy_rank(bad, at(0), "r", &(cvy_rank_desc){ .momentum = 2 }), CVY_E_ARG,
           "rank 'r': momentum is 2");
#undef WH
#define GN(...) cvy_group_norm(bad, at(0), "g", &(cvy_group_norm_desc){ __VA_ARGS__ })
    expect(GN(.eps = -1e-5), CVY_E_ARG, "group_norm 'g': eps is -1e-05");
    expect(GN(.eps = NAN), CVY_E_ARG, "eps is nan");
    expect(GN(.eps = 1e-300), CVY_E_ARG, "eps is 1e-300");
    expect(GN(.groups = 1000), CVY_E_ARG, "groups is 1000, which does not divide the");
    expect(GN(.groups = huge), CVY_E_ARG, "groups is 2147483648, which does not divide");
    bad = new_net();
    expected(
        cvy_group_norm(bad, cvy_input(bad, 3, 1, 1), "g", &(cvy_group_norm_desc){ .groups = 3 }),
        CVY_E_SHAPE, "group_norm 'g': a group needs more than one value");
    char unknown[64];
    snprintf(unknown, sizeof unknown, "activation 'a': kind %d is not", CHECK_ACTS);
    expect(ACT(.kind = (enum cvy_act_kind)CHECK_ACTS), CVY_E_ARG, unknown);
    expect(ACT(.kind = CVY_ELU, .alpha = -1), CVY_E_ARG, "alpha is -1");
    expect(ACT(.kind = CVY_LEAKY_RELU, .alpha = NAN), CVY_E_ARG, "alpha is nan");
    expect(ACT(.kind = CVY_RELU, .relu_grad_at_zero = 2), CVY_E_ARG, "relu_grad_at_zero is 2");
    expect(POOL(.kernel = { 0, 2 }), CVY_E_ARG, "pool2d 'p': kernel rows is 0");
    expect(POOL(.kernel = { 2, 2 }, .stride = { 1, minus }), CVY_E_ARG, "column stride is -1");
    expect(POOL(.kernel = { 2, 2 }, .pad = { 0, 2 }), CVY_E_ARG,
           "left padding 2 is not smaller than the kernel's 2");
    expect(POOL(.kernel = { 2, 2 }, .pad = { minus }), CVY_E_ARG, "top padding -1");
    expect(POOL(.kernel = { 9, 2 }), CVY_E_SHAPE, "a window of 9 rows does not fit into 8 rows");
    expect(POOL(.kernel = { 2, 2 }, .kind = (enum cvy_pool_kind)2), CVY_E_ARG, "kind 2");
    expect(POOL(.kernel = { 2, 2 }, .tie = (enum cvy_pool_tie)3), CVY_E_ARG, "tie 3");
    expect(DROP(.p = -0.1), CVY_E_ARG, "dropout 'd': p is -0.1, expected 0 to 1");
    expect(DROP(.p = 1.5), CVY_E_ARG, "p is 1.5");
    expect(DROP(.p = NAN), CVY_E_ARG, "p is nan");
    expect(cvy_add(bad, at(0), at(1), "s"), CVY_E_SHAPE,
           "add 's': the shapes 4 x 8 x 8 and 6 x 6 x 6 differ");
    expect(cvy_concat(bad, ((cvy_tensor[]){ at(0), at(1) }), 2, "k"), CVY_E_SHAPE,
           "input 1 has a 6 x 6 map, input 0 8 x 8");
    expect(cvy_concat(bad, NULL, 2, "k"), CVY_E_ARG, "0 inputs");
    expect(cvy_concat(bad, (cvy_tensor[]){ at(0) }, 65, "k"), CVY_E_ARG,
           "65 inputs, expected 1 to 64");
    expect(cvy_pad_channels(bad, at(0), minus, 0, "z"), CVY_E_ARG,
           "pad_channels 'z': before is -1");
    expect(cvy_pad_channels(bad, at(0), 0, huge - 1, "z"), CVY_E_SHAPE,
           "pad_channels 'z': shape 2147483651");
}

static int find_op(const struct cvyi_list *list, enum cvy_op_kind kind, const char *name)
{
    for (size_t i = 0; i < list->n_ops; i++)
        if (list->op[i].kind == kind && !strcmp(list->op[i].name, name)) return (int)i;
    return -1;
}

static int find_value(const struct cvyi_list *list, enum cvy_role role, const char *name)
{
    for (size_t i = 0; i < list->n_values; i++)
        if (list->value[i].role == role && !strcmp(list->value[i].name, name)) return (int)i;
    return -1;
}

static bool persistent(const struct cvy_value *v)
{
    return v->role == CVY_ROLE_WEIGHT || v->role == CVY_ROLE_RUNNING || v->role == CVY_ROLE_STATE;
}

/* Ops have the operands that CVY_OPS lists: those that may not be absent are there. */
static void check_operands(const struct cvyi_list *list)
{
    for (size_t i = 0; i < list->n_ops; i++) {
        const struct cvy_op_desc *op = &list->op[i];
        const struct cvyi_op_kind *kind = cvyi_op_kind(op->kind);
        bool many = kind->n_in && (kind->in[kind->n_in - 1].use & CVY_MANY);
        assert_true(many ? op->n_in >= kind->n_in - 1 : op->n_in == kind->n_in);
        assert_int_equal(op->n_out, kind->n_out);
        for (int k = 0; k < op->n_in; k++) {
            if (!(cvyi_op_in_use(op, k) & CVY_OPTIONAL)) assert_true(op->in[k] >= 0);
            if (cvyi_op_updates(op, k) && op->in[k] >= 0)
                assert_true(persistent(&list->value[op->in[k]]));
        }
        for (int k = 0; k < op->n_out; k++)
            if (!(kind->out[k].use & CVY_OPTIONAL)) assert_true(op->out[k] >= 0);
    }
}

/* Every operand is made before it is used, by one op; every gradient exists once; updates come
 * last, in order. */
static void check_structure(const struct cvyi_list *list, const struct cvyi_linear_result *r,
                            bool training)
{
    int writers[4096] = { 0 };
    assert_true(list->n_values < 4096);
    check_operands(list);
    for (size_t i = 0; i < list->n_ops; i++) {
        const struct cvy_op_desc *op = &list->op[i];
        for (int k = 0; k < op->n_in; k++) {
            if (op->in[k] < 0) continue;
            assert_true((size_t)op->in[k] < list->n_values);
            const struct cvy_value *v = &list->value[op->in[k]];
            int buffer = v->alias >= 0 ? v->alias : op->in[k];
            if (v->alias >= 0) {
                const struct cvy_value *base = &list->value[v->alias];
                assert_int_equal(base->alias, -1);
                assert_int_equal(base->shape.n * base->shape.c * base->shape.h * base->shape.w,
                                 v->shape.n * v->shape.c * v->shape.h * v->shape.w);
            }
            if (!persistent(v)) assert_int_equal(writers[buffer], 1);
        }
        for (int k = 0; k < op->n_out; k++)
            if (op->out[k] >= 0) assert_int_equal(++writers[op->out[k]], 1);
    }
    size_t weights = 0, gradients = 0, updates = 0;
    for (size_t i = 0; i < list->n_values; i++) {
        const struct cvy_value *v = &list->value[i];
        if (v->role == CVY_ROLE_WEIGHT_GRAD) assert_int_equal(writers[i], 1);
        if (!persistent(v) && v->alias < 0) assert_int_equal(writers[i], 1);
        gradients += v->role == CVY_ROLE_WEIGHT_GRAD;
        if (v->role != CVY_ROLE_WEIGHT) continue;
        weights++;
        if (!training) continue;
        int g = find_value(list, CVY_ROLE_WEIGHT_GRAD, v->name);
        assert_true(g >= 0 && !memcmp(&list->value[g].shape, &v->shape, sizeof v->shape));
    }
    assert_int_equal(gradients, training ? weights : 0);
    int last = -1;
    for (size_t i = 0; i < list->n_ops; i++) {
        const struct cvy_op_desc *op = &list->op[i];
        if (op->kind != CVY_OP_UPDATE) {
            assert_int_equal(updates, 0);
            continue;
        }
        assert_true(op->in[0] > last);
        last = op->in[0];
        assert_string_equal(list->value[op->in[0]].name, list->value[op->in[1]].name);
        updates++;
    }
    assert_int_equal(updates, training ? weights : 0);
    assert_int_equal(list->op[0].kind, CVY_OP_INGEST);
    assert_int_equal(list->op[0].out[0], r->input);
    if (training) assert_int_equal(list->op[r->first_backward_op - 1].kind, CVY_OP_LOSS);
}

static void linearise(cvy_net *net, cvy_tensor y, bool training, size_t batch, double momentum,
                      struct cvyi_list *list, struct cvyi_linear_result *r)
{
    cvyi_list_init(list, ctx);
    struct cvyi_linear_options o = { .training = training,
                                     .batch = batch,
                                     .optimizer = { .lr = 1, .momentum = momentum } };
    if (cvyi_net_linearise(net, y, &o, list, r) != CVY_OK) fail_msg("%s", cvy_message(ctx));
    check_structure(list, r, training);
}

/* Which comes first in the list for this activation and pooling; `read`: someone else reads the
 * activations. */
static bool pools_first(cvy_act_desc act, cvy_pool2d_desc pool, bool read)
{
    cvy_net *net = fresh();
    struct cvyi_list list;
    struct cvyi_linear_result r;
    pool.kernel[0] = pool.kernel[1] = 1;
    cvy_tensor x =
        cvy_conv2d(net, at(0), "conv", &(cvy_conv2d_desc){ .out_channels = 3, .kernel = { 1, 1 } });
    cvy_tensor a = cvy_activation(net, x, "act", &act), p = cvy_pool2d(net, a, "pool", &pool);
    linearise(net,
              cvy_linear(net, read ? cvy_add(net, a, p, NULL) : p, "fc",
                         &(cvy_linear_desc){ .out_features = 2 }),
              true, 4, 0, &list, &r);
    bool first = find_op(&list, CVY_OP_POOL, "pool") < find_op(&list, CVY_OP_ACT, "act");
    assert_int_equal(first, find_op(&list, CVY_OP_ACT_BWD, "act.dx") <
                                find_op(&list, CVY_OP_POOL_BWD, "pool.dx"));
    cvyi_list_free(&list);
    cvy_net_destroy(&bad);
    return first;
}

static void maxima_come_before_activations(void **state)
{
    (void)state;
    const cvy_pool2d_desc max = { .kind = CVY_POOL_MAX };
    for (int kind = 0; kind < CHECK_ACTS; kind++)
        assert_int_equal(
            pools_first((cvy_act_desc){ .kind = (enum cvy_act_kind)kind, .alpha = 0.1 }, max,
                        false),
            check_acts[kind].monotone);
    assert_false(pools_first((cvy_act_desc){ .kind = CVY_RELU }, max, true));
    assert_false(pools_first((cvy_act_desc){ .kind = CVY_RELU },
                             (cvy_pool2d_desc){ .kind = CVY_POOL_AVG }, false));
    assert_false(pools_first((cvy_act_desc){ .kind = CVY_RELU },
                             (cvy_pool2d_desc){ .tie = CVY_TIE_ALL }, false));
    assert_false(pools_first((cvy_act_desc){ .kind = CVY_RELU },
                             (cvy_pool2d_desc){ .tie = CVY_TIE_SPLIT }, false));
    assert_false(
        pools_first((cvy_act_desc){ .kind = CVY_RELU, .relu_grad_at_zero = 0.5 }, max, false));
}

static void lenet_becomes_the_expected_list(void **state)
{
    (void)state;
    cvy_net *net = new_net();
    cvy_tensor y = lenet(net, true);
    struct cvyi_list list;
    struct cvyi_linear_result r;
    linearise(net, y, true, 256, 0, &list, &r);
    static const enum cvy_op_kind expected[] = {
        CVY_OP_INGEST,
        CVY_OP_CONV2D,
        CVY_OP_BN_STATS,
        CVY_OP_BN_APPLY,
        CVY_OP_POOL, /* changed places with the sigmoid */
        CVY_OP_ACT,
        CVY_OP_CONV2D,
        CVY_OP_BN_STATS,
        CVY_OP_BN_APPLY,
        CVY_OP_POOL,
        CVY_OP_ACT,
        CVY_OP_CONV2D,
        CVY_OP_BN_STATS,
        CVY_OP_BN_APPLY,
        CVY_OP_ACT,
        CVY_OP_CONV2D,
        CVY_OP_BN_STATS,
        CVY_OP_BN_APPLY,
        CVY_OP_ACT,
        CVY_OP_CONV2D,
        CVY_OP_LOSS,
        CVY_OP_CONV2D_BWD_DATA,
        CVY_OP_CONV2D_BWD_WEIGHTS,
        CVY_OP_ACT_BWD,
        CVY_OP_BN_BWD_REDUCE,
        CVY_OP_BN_BWD_DATA,
        CVY_OP_CONV2D_BWD_DATA,
        CVY_OP_CONV2D_BWD_WEIGHTS,
        CVY_OP_ACT_BWD,
        CVY_OP_BN_BWD_REDUCE,
        CVY_OP_BN_BWD_DATA,
        CVY_OP_CONV2D_BWD_DATA,
        CVY_OP_CONV2D_BWD_WEIGHTS,
        CVY_OP_ACT_BWD,
        CVY_OP_POOL_BWD,
        CVY_OP_BN_BWD_REDUCE,
        CVY_OP_BN_BWD_DATA,
        CVY_OP_CONV2D_BWD_DATA,
        CVY_OP_CONV2D_BWD_WEIGHTS,
        CVY_OP_ACT_BWD,
        CVY_OP_POOL_BWD,
        CVY_OP_BN_BWD_REDUCE,
        CVY_OP_BN_BWD_DATA,
        CVY_OP_CONV2D_BWD_WEIGHTS,
    };
    size_t n = sizeof expected / sizeof *expected;
    assert_int_equal(list.n_ops, n + 18);
    for (size_t i = 0; i < n; i++) assert_int_equal(list.op[i].kind, expected[i]);
    /* a fully connected layer on a map: the kernel is the map, and the flatten is not there */
    const struct cvy_op_desc *fc1 = &list.op[find_op(&list, CVY_OP_CONV2D, "fc1")];
    cvy_shape w = list.value[fc1->in[1]].shape;
    assert_true(w.n == 120 && w.c == 16 && w.h == 4 && w.w == 4);
    assert_true(fc1->u.conv.kernel[0] == 4 && fc1->u.conv.stride[1] == 1 &&
                fc1->u.conv.groups == 1);
    assert_int_equal(list.value[fc1->in[0]].shape.h, 4);
    double forward = 0, backward = 0;
    for (size_t i = 0; i < list.n_ops; i++)
        *(i < r.first_backward_op ? &forward : &backward) += cvyi_op_flops(&list, &list.op[i]);
    assert_true(forward == 256 * 563280.0 && backward == 256 * (2 * 563280.0 - 172800.0));
    assert_int_equal(find_value(&list, CVY_ROLE_STATE, "conv1.weight"), -1);
    assert_int_equal(list.op[find_op(&list, CVY_OP_UPDATE, "fc1.weight.sgd")].u.update.group,
                     CVYI_GROUP_DECAYS);
    assert_int_equal(list.op[find_op(&list, CVY_OP_UPDATE, "fc1.bias.sgd")].u.update.group,
                     CVYI_GROUP_PLAIN);
    assert_int_equal(list.op[find_op(&list, CVY_OP_UPDATE, "bn1.weight.sgd")].u.update.group,
                     CVYI_GROUP_PLAIN);
    /* operands by position */
    const struct cvy_op_desc *op = &list.op[find_op(&list, CVY_OP_ACT_BWD, "sigmoid3.dx")];
    assert_true(op->n_in == 3 && op->in[0] >= 0 && op->in[1] == -1 && op->in[2] >= 0);
    op = &list.op[find_op(&list, CVY_OP_BN_BWD_REDUCE, "bn1.sums")];
    assert_int_equal(op->in[2], find_value(&list, CVY_ROLE_STATS, "bn1.stats"));
    assert_int_equal(op->out[0], find_value(&list, CVY_ROLE_STATS, "bn1.sums"));
    assert_int_equal(op->out[1], find_value(&list, CVY_ROLE_WEIGHT_GRAD, "bn1.weight"));
    assert_int_equal(op->out[2], find_value(&list, CVY_ROLE_WEIGHT_GRAD, "bn1.bias"));
    cvyi_list_free(&list);

    linearise(net, y, false, 16, 0, &list, &r);
    assert_int_equal(list.n_ops, 1 + 5 + 4 + 4 + 2); /* ingest, convolutions, bn.infer, act, pool */
    assert_int_equal(r.loss, -1);
    assert_int_equal(list.value[r.output].shape.c, 10);
    cvyi_list_free(&list);
    cvy_net_destroy(&net);
}

/* Its passes are those of the convolution from its output to its input, exchanged. */
static void transposed_convolutions(void **state)
{
    (void)state;
    cvy_net *net = new_net();
    struct cvyi_list list;
    struct cvyi_linear_result r;
    cvy_node_info info;
    cvy_tensor x = cvy_input(net, 4, 5, 7);
    x = cvy_bias(net, x, "shift");
    x = cvy_conv_transpose2d(net, x, "up",
                             &(cvy_conv_transpose2d_desc){ .out_channels = 6,
                                                           .kernel = { 3, 4 },
                                                           .stride = { 2, 3 },
                                                           .pad = { 1, 0, 2, 1 },
                                                           .output_pad = { 1, 2 },
                                                           .dilation = { 2, 1 },
                                                           .groups = 2 });
    assert_shape(cvy_tensor_shape(net, x), 6, 11, 23);
    assert_int_equal(cvy_net_node(net, 2, &info), CVY_OK);
    assert_int_equal(info.parameters, 4 * 3 * 3 * 4 + 6);
    assert_true(info.flops_forward == 2.0 * 4 * 5 * 7 * 3 * 3 * 4);
    assert_true(info.flops_backward == 2 * info.flops_forward);
    x = cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = 3 });
    linearise(net, x, true, 8, 0, &list, &r);
    static const enum cvy_op_kind expected[] = { CVY_OP_INGEST, CVY_OP_BIAS, CVY_OP_CONV2D_BWD_DATA,
                                                 CVY_OP_BIAS, CVY_OP_CONV2D, CVY_OP_LOSS,
                                                 /* fc */
                                                 CVY_OP_CONV2D_BWD_DATA, CVY_OP_CONV2D_BWD_WEIGHTS,
                                                 /* up */
                                                 CVY_OP_CONV2D, CVY_OP_CONV2D_BWD_WEIGHTS,
                                                 CVY_OP_BIAS_BWD,
                                                 /* shift */
                                                 CVY_OP_BIAS_BWD };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(list.op[i].kind, expected[i]);
    double forward = 0, backward = 0;
    for (size_t i = 0; i < list.n_ops; i++)
        *(i < r.first_backward_op ? &forward : &backward) += cvyi_op_flops(&list, &list.op[i]);
    double fc = 2.0 * 3 * 6 * 11 * 23;
    assert_true(forward == 8 * (info.flops_forward + fc));
    assert_true(backward == 8 * (info.flops_backward + 2 * fc));
    const struct cvy_op_desc *op = &list.op[2];
    assert_int_equal(op->u.conv.out_channels, 4);
    cvy_shape w = list.value[op->in[CVY_CONV2D_BWD_DATA_W]].shape;
    assert_true(w.n == 4 && w.c == 3 && w.h == 3 && w.w == 4);
    cvyi_list_free(&list);
    cvy_net_destroy(&net);
}

static void gradients_that_meet_are_added_in_node_order(void **state)
{
    (void)state;
    cvy_net *net = new_net();
    cvy_tensor y = resnet20(net, false);
    struct cvyi_list list;
    struct cvyi_linear_result r;
    linearise(net, y, true, 32, 0.9, &list, &r);
    assert_true(find_value(&list, CVY_ROLE_STATE, "s0.0.conv1.weight") >= 0);
    size_t pads = 0, slices = 0;
    for (size_t i = 0; i < list.n_ops; i++) {
        pads += list.op[i].kind == CVY_OP_PAD;
        slices += list.op[i].kind == CVY_OP_SLICE && list.op[i].u.slice.c0 % 8 == 0;
    }
    assert_true(pads == 2 && slices == 2);
    cvyi_list_free(&list);
    cvy_net_destroy(&net);

    net = new_net();
    cvy_tensor x = cvy_input(net, 2, 4, 4), dead;
    x = cvy_conv2d(net, x, "c", &(cvy_conv2d_desc){ .out_channels = 3, .kernel = { 1, 1 } });
    cvy_tensor a = cvy_relu(net, x), b = cvy_sigmoid(net, x), c = cvy_add(net, x, x, "twice");
    dead = cvy_conv2d(net, a, "dead", &(cvy_conv2d_desc){ .out_channels = 3, .kernel = { 1, 1 } });
    (void)dead;
    x = cvy_concat(net, (cvy_tensor[]){ a, b, c }, 3, "side");
    x = cvy_linear(net, cvy_dropout(net, x, "drop", &(cvy_dropout_desc){ .p = 0.5 }), "fc",
                   &(cvy_linear_desc){ .out_features = 5 });
    linearise(net, x, true, 3, 0, &list, &r);
    assert_int_equal(find_value(&list, CVY_ROLE_WEIGHT, "dead.weight"), -1);
    /* relu, sigmoid, and twice the gradient of the doubled sum, in this order */
    int sums[3], n = 0;
    for (size_t i = r.first_backward_op; i < list.n_ops; i++)
        if (list.op[i].kind == CVY_OP_ADD) sums[n++] = (int)i;
    assert_int_equal(n, 3);
    assert_string_equal(list.value[list.op[sums[0]].in[0]].name, "relu2.dx");
    assert_string_equal(list.value[list.op[sums[0]].in[1]].name, "sigmoid3.dx");
    assert_string_equal(list.value[list.op[sums[1]].in[1]].name, "side.dx2");
    assert_int_equal(list.op[sums[2]].in[0], list.op[sums[1]].out[0]);
    assert_int_equal(list.op[sums[2]].in[1], list.op[sums[1]].in[1]);
    const struct cvy_op_desc *slice = &list.op[find_op(&list, CVY_OP_SLICE, "side.dx2")];
    assert_int_equal(slice->u.slice.c0, 6);
    assert_int_equal(list.op[find_op(&list, CVY_OP_DROPOUT, "drop")].u.dropout.stream, 7);
    assert_int_equal(find_op(&list, CVY_OP_CONV2D_BWD_DATA, "c.dx"), -1);
    cvyi_list_free(&list);
    linearise(net, x, false, 3, 0, &list, &r);
    assert_int_equal(find_op(&list, CVY_OP_DROPOUT, "drop"), -1);
    cvyi_list_free(&list);
    cvy_net_destroy(&net);
}

static void odd_layers_keep_the_rules(void **state)
{
    (void)state;
    cvy_net *net = new_net();
    cvy_tensor x = cvy_input(net, 2, 4, 4);
    x = cvy_batch_norm(net, x, "frozen", &(cvy_batch_norm_desc){ .frozen = true });
    x = cvy_activation(net, x, "half",
                       &(cvy_act_desc){ .kind = CVY_RELU, .relu_grad_at_zero = 0.5 });
    x = cvy_flatten(net, cvy_flatten(net, cvy_pool2d(net, x, NULL,
                                                     &(cvy_pool2d_desc){ .kind = CVY_POOL_AVG,
                                                                         .kernel = { 2, 2 } })));
    x = cvy_batch_norm(net, x, "plain", &(cvy_batch_norm_desc){ .no_affine = true });
    x = cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = 3, .no_bias = true });
    struct cvyi_list list;
    struct cvyi_linear_result r;
    linearise(net, x, true, 5, 0, &list, &r);
    const struct cvy_op_desc *op = &list.op[find_op(&list, CVY_OP_BN_INFER_BWD, "frozen.dx")];
    assert_true(op->n_in == 5 && op->n_out == 3 && op->out[0] >= 0 && op->out[1] >= 0 &&
                op->out[2] >= 0);
    assert_int_equal(find_op(&list, CVY_OP_BN_STATS, "frozen.stats"), -1);
    op = &list.op[find_op(&list, CVY_OP_ACT_BWD, "half.dx")];
    assert_true(op->in[1] >= 0 && op->in[2] == -1);
    op = &list.op[find_op(&list, CVY_OP_POOL_BWD, "avg_pool3.dx")];
    assert_true(op->n_in == 2 && op->in[1] == -1);
    op = &list.op[find_op(&list, CVY_OP_BN_BWD_REDUCE, "plain.sums")];
    assert_true(op->out[1] == -1 && op->out[2] == -1);
    cvyi_list_free(&list);
    cvy_net_destroy(&net);
}

static void what_cannot_be_trained_is_refused(void **state)
{
    (void)state;
    cvy_net *net = new_net();
    cvy_tensor x =
        cvy_linear(net, cvy_input(net, 3, 1, 1), "fc", &(cvy_linear_desc){ .out_features = 4 });
    cvy_tensor bn = cvy_batch_norm(net, x, "bn", NULL), soft = cvy_softmax(net, bn, "soft");
    struct cvyi_list list;
    struct cvyi_linear_result r;
    static const struct {
        int which;
        size_t batch;
        enum cvy_status status;
        const char *part;
    } cases[] = {
        { 2, 4, CVY_E_UNSUPPORTED, "softmax 'soft'" },
        { 1, 1, CVY_E_SHAPE, "batch_norm 'bn': training needs more than one value" },
        { 1, 0, CVY_E_ARG, "batch is 0" },
        { 3, 4, CVY_E_ARG, "output -1 is no tensor" },
        { 0, 4, CVY_E_SHAPE, "expected classes x 1 x 1" },
    };
    cvy_net *wide = new_net();
    cvy_tensor map = cvy_conv2d(wide, cvy_input(wide, 1, 2, 2), "c",
                                &(cvy_conv2d_desc){ .out_channels = 1, .kernel = { 1, 1 } });
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cvyi_linear_options o = { .training = true,
                                         .batch = cases[i].batch,
                                         .optimizer.lr = 1 };
        cvyi_list_init(&list, ctx);
        cvy_tensor y = (cvy_tensor[]){ map, bn, soft, CVY_NO_TENSOR }[cases[i].which];
        assert_int_equal(cvyi_net_linearise(cases[i].which ? net : wide, y, &o, &list, &r),
                         cases[i].status);
        if (!strstr(cvy_message(ctx), cases[i].part))
            fail_msg("'%s' lacks '%s'", cvy_message(ctx), cases[i].part);
        cvyi_list_free(&list);
    }
    linearise(net, soft, false, 1, 0, &list, &r); /* inference may */
    cvyi_list_free(&list);
    cvy_net_destroy(&net);
    cvy_net_destroy(&wide);
}

/* Tensors of net a are none of net b, whatever layer of b or output they are given for. */
static void tensors_of_another_net(void **state)
{
    (void)state;
    cvy_net *other = new_net();
    cvy_tensor theirs = cvy_input(other, 4, 8, 8);
    theirs =
        cvy_conv2d(other, theirs, "c", &(cvy_conv2d_desc){ .out_channels = 4, .kernel = { 8, 8 } });
    expect(cvy_conv2d(bad, theirs, "x", &(cvy_conv2d_desc){ 0 }), CVY_E_ARG,
           "conv2d 'x': input 0 is a tensor of another net");
    expect(cvy_linear(bad, theirs, "x", &(cvy_linear_desc){ 0 }), CVY_E_ARG,
           "linear 'x': input 0 is a tensor of another net");
    expect(cvy_batch_norm(bad, theirs, "x", NULL), CVY_E_ARG, "is a tensor of another net");
    expect(cvy_relu(bad, theirs), CVY_E_ARG,
           "activation 'relu': input 0 is a tensor of another net");
    expect(cvy_pool2d(bad, theirs, "x", &(cvy_pool2d_desc){ 0 }), CVY_E_ARG, "of another net");
    expect(cvy_global_avg_pool(bad, theirs, "x"), CVY_E_ARG, "input 0 is a tensor of another net");
    expect(cvy_add(bad, at(0), theirs, "x"), CVY_E_ARG, "input 1 is a tensor of another net");
    expect(cvy_concat(bad, ((cvy_tensor[]){ at(0), at(1), theirs }), 3, "x"), CVY_E_ARG,
           "input 2 is a tensor of another net");
    expect(cvy_pad_channels(bad, theirs, 1, 1, "x"), CVY_E_ARG, "of another net");
    expect(cvy_dropout(bad, theirs, "x", &(cvy_dropout_desc){ 0 }), CVY_E_ARG, "of another net");
    expect(cvy_flatten(bad, theirs), CVY_E_ARG, "of another net");
    expect(cvy_softmax(bad, theirs, "x"), CVY_E_ARG, "of another net");
    cvy_trainer *trainer;
    cvy_predictor *predictor;
    fresh();
    assert_int_equal(cvy_tensor_shape(bad, theirs).n, 0);
    assert_int_equal(
        cvy_trainer_create(bad, theirs, &(cvy_trainer_options){ .batch = 2 }, &trainer), CVY_E_ARG);
    assert_string_equal(cvy_message(ctx), "the output is a tensor of another net");
    assert_int_equal(cvy_predictor_create(bad, theirs, 2, NULL, NULL, &predictor), CVY_E_ARG);
    assert_string_equal(cvy_message(ctx), "the output is a tensor of another net");
    cvy_net_destroy(&bad);
    cvy_net_destroy(&other);
    for (int i = 0; i < 3 * CVYI_NET_TAGS; i++) { /* tags come round, and are never none */
        cvy_net *net = new_net();
        cvy_tensor x = cvy_input(net, 1, 1, 1);
        assert_true(x > 7 && cvy_net_tensor(net, 0) == x && cvy_tensor_shape(net, x).n == 1);
        cvy_net_destroy(&net);
    }
    assert_int_equal(cvy_net_tensor(NULL, 0), CVY_NO_TENSOR);
}

static void names_of_op_kinds_differ(void **state)
{
    (void)state;
    for (int a = 0; a < CVY_OP_KINDS; a++)
        for (int b = 0; b < a; b++)
            assert_string_not_equal(cvyi_op_kind(a)->name, cvyi_op_kind(b)->name);
}

/* Every allocation of building and linearising fails once: a status, no crash, no leak (the
 * sanitizer's matter). */
static long left;
static void *failing_alloc(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    return left-- > 0 ? aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment)
                      : NULL;
}
static void plain_free(void *user, void *p)
{
    (void)user;
    free(p);
}

static void short_memory_is_a_status(void **state)
{
    (void)state;
    cvy_context *poor;
    left = 1000000;
    cvy_context_options options = { .threads = 1,
                                    .allocator = { failing_alloc, plain_free, NULL } };
    assert_int_equal(cvy_context_create(&options, &poor), CVY_OK);
    bool done = false;
    for (long n = 0; !done; n++) {
        assert_true(n < 10000);
        cvy_net *net;
        left = n;
        if (cvy_net_create(poor, &net) != CVY_OK) continue;
        cvy_tensor y = lenet(net, true);
        struct cvyi_list list;
        struct cvyi_linear_result r;
        cvyi_list_init(&list, poor);
        struct cvyi_linear_options o = { .training = true,
                                         .batch = 32,
                                         .optimizer = { .lr = 1, .momentum = 0.9 } };
        enum cvy_status status = cvyi_net_linearise(net, y, &o, &list, &r);
        done = status == CVY_OK;
        if (!done) assert_int_equal(status, CVY_E_NOMEM);
        cvyi_list_free(&list);
        cvy_net_destroy(&net);
    }
    cvy_context_destroy(&poor);
}

/* Every operator of op.h, by number; CVY_E_ARG behind the last, and for a pass that it has not. */
static enum cvy_status make_op(cvy_context *on, int kind, enum cvy_pass pass, cvy_op **op)
{
    const cvy_shape s = { 2, 2, 4, 4 };
    switch (kind) {
    case 0:
        return cvy_op_conv2d(on, &(cvy_conv2d_desc){ .out_channels = 2, .kernel = { 3, 3 } }, s,
                             pass, op);
    case 1: return cvy_op_linear(on, &(cvy_linear_desc){ .out_features = 3 }, s, pass, op);
    case 2: return cvy_op_batch_norm(on, NULL, s, pass, op);
    case 3: return cvy_op_batch_norm(on, &(cvy_batch_norm_desc){ .frozen = true }, s, pass, op);
    case 4: return cvy_op_activation(on, &(cvy_act_desc){ .kind = CVY_GELU }, s, pass, op);
    case 5: return cvy_op_prelu(on, s, pass, op);
    case 6: return cvy_op_pool2d(on, &(cvy_pool2d_desc){ .kernel = { 2, 2 } }, s, pass, op);
    case 7: return cvy_op_dropout(on, NULL, s, pass, op);
    case 8: return cvy_op_concat(on, (cvy_shape[]){ s, s }, 2, pass, op);
    case 9: return cvy_op_pad_channels(on, 1, 2, s, pass, op);
    case 10: return pass ? CVY_E_ARG : cvy_op_add(on, s, op);
    case 11: return pass ? CVY_E_ARG : cvy_op_softmax(on, s, op);
    case 12: return cvy_op_group_norm(on, NULL, s, pass, op);
    case 13: return cvy_op_bias(on, s, pass, op);
    case 14:
        return cvy_op_conv_transpose2d(
            on, &(cvy_conv_transpose2d_desc){ .out_channels = 2, .kernel = { 3, 3 } }, s, pass, op);
    case 15: return cvy_op_upsample(on, &(cvy_upsample_desc){ .scale = { 2, 2 } }, s, pass, op);
    case 16: return cvy_op_mean_subtract(on, NULL, s, pass, op);
    case 17: return cvy_op_whitening(on, NULL, s, pass, op);
    case 18: return cvy_op_whitening(on, &(cvy_whitening_desc){ .frozen = true }, s, pass, op);
    case 19: return cvy_op_rank(on, NULL, s, pass, op);
    default: return CVY_E_ARG;
    }
}

static void operators_in_short_memory(void **state)
{
    (void)state;
    enum { OPERATORS = 20 };
    for (int kind = 0; kind < OPERATORS; kind++)
        for (int pass = CVY_FORWARD; pass <= CVY_BACKWARD_WEIGHTS; pass++) {
            cvy_context *poor;
            cvy_op *op;
            left = 1000000;
            cvy_context_options options = { .threads = 1,
                                            .allocator = { failing_alloc, plain_free, NULL } };
            assert_int_equal(cvy_context_create(&options, &poor), CVY_OK);
            enum cvy_status plenty = make_op(poor, kind, (enum cvy_pass)pass, &op);
            if (plenty == CVY_OK) cvy_op_destroy(&op);
            else assert_int_equal(plenty, CVY_E_ARG);
            bool needed = kind < 2 || kind == 14 ||
                          pass < (kind < 10 || kind == 12 || kind > 14 ? CVY_BACKWARD_WEIGHTS : 1);
            if (kind == 13) needed = pass != CVY_BACKWARD_DATA;
            assert_int_equal(plenty == CVY_OK, needed);
            enum cvy_status status = plenty ? CVY_OK : CVY_E_NOMEM;
            for (long n = 0; status != CVY_OK; n++) {
                left = n;
                status = make_op(poor, kind, (enum cvy_pass)pass, &op);
                if (status != CVY_OK) assert_int_equal(status, CVY_E_NOMEM);
                if (status != CVY_OK) assert_null(op);
            }
            if (plenty == CVY_OK) cvy_op_destroy(&op);
            cvy_context_destroy(&poor);
        }
}

/* Clocks that there is no memory for are a status with its sentence, and all goes on without
 * them. */
static void clocks_in_short_memory(void **state)
{
    (void)state;
    cvy_context *poor;
    cvy_op *op;
    cvy_trainer *trainer;
    cvy_phase_info phase;
    left = 1000000;
    cvy_context_options options = { .threads = 1,
                                    .allocator = { failing_alloc, plain_free, NULL } };
    assert_int_equal(cvy_context_create(&options, &poor), CVY_OK);
    cvy_net *net;
    assert_int_equal(cvy_net_create(poor, &net), CVY_OK);
    cvy_tensor y =
        cvy_linear(net, cvy_input(net, 3, 1, 1), "fc", &(cvy_linear_desc){ .out_features = 4 });
    const cvy_trainer_options o = { .batch = 2 };
    assert_int_equal(cvy_trainer_create(net, y, &o, &trainer), CVY_OK);
    assert_int_equal(make_op(poor, 0, CVY_FORWARD, &op), CVY_OK);
    const float images[6] = { 1, 2, 3, 4, 5, 6 };
    const cvy_batch batch = {
        .images = images, .dtype = CVY_F32, .labels32 = (const int32_t[]){ 0, 1 }, .n = 2
    };
    for (int memory = 0; memory < 2; memory++) {
        const enum cvy_status status = memory ? CVY_OK : CVY_E_NOMEM;
        left = memory ? 1000000 : 0;
        cvyi_fail(poor, CVY_E_ARG, "something else");
        assert_int_equal(cvy_trainer_profile(trainer, true), status);
        assert_true(memory || strstr(cvy_message(poor), "out of memory"));
        cvyi_fail(poor, CVY_E_ARG, "something else");
        assert_int_equal(cvy_op_profile(op, true), status);
        assert_true(memory || strstr(cvy_message(poor), "out of memory"));
        assert_int_equal(cvy_trainer_step(trainer, &batch, NULL), CVY_OK);
        assert_int_equal(cvy_trainer_phase(trainer, 0, &phase), CVY_OK);
        assert_true(memory || phase.seconds == 0);
        assert_int_equal(cvy_trainer_profile(trainer, false), CVY_OK);
        assert_int_equal(cvy_op_profile(op, false), CVY_OK);
    }
    assert_int_equal(cvy_trainer_profile(NULL, true), CVY_E_ARG);
    assert_int_equal(cvy_op_profile(NULL, true), CVY_E_ARG);
    cvy_op_destroy(&op);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    cvy_context_destroy(&poor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_nets_have_their_known_sizes),
        cmocka_unit_test(shapes_of_hard_windows),
        cmocka_unit_test(mistakes_of_convolutions),
        cmocka_unit_test(mistakes_of_names_and_inputs),
        cmocka_unit_test(mistakes_of_transposed_convolutions),
        cmocka_unit_test(transposed_convolutions),
        cmocka_unit_test(mistakes_of_sizes_and_means),
        cmocka_unit_test(mistakes_of_other_layers),
        cmocka_unit_test(lenet_becomes_the_expected_list),
        cmocka_unit_test(maxima_come_before_activations),
        cmocka_unit_test(gradients_that_meet_are_added_in_node_order),
        cmocka_unit_test(odd_layers_keep_the_rules),
        cmocka_unit_test(what_cannot_be_trained_is_refused),
        cmocka_unit_test(tensors_of_another_net),
        cmocka_unit_test(names_of_op_kinds_differ),
        cmocka_unit_test(short_memory_is_a_status),
        cmocka_unit_test(operators_in_short_memory),
        cmocka_unit_test(clocks_in_short_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
