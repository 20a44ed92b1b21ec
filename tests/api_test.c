/* The public API misused: NULL, wrong order, wrong sizes, wrong labels. Every call answers with a
 * status and a sentence, changes nothing, and the objects stay usable. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xmmintrin.h>
#include <cmocka.h>

#include "convoy/convoy.h"

static cvy_context *ctx;

static int open_context(void **state)
{
    (void)state;
    return cvy_context_create(NULL, &ctx);
}
static int close_context(void **state)
{
    (void)state;
    cvy_context_destroy(&ctx);
    return 0;
}

static cvy_net *small_net(cvy_tensor *logits)
{
    cvy_net *net;
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor x = cvy_input(net, 1, 6, 6);
    x = cvy_conv2d(net, x, "conv", &(cvy_conv2d_desc){ .out_channels = 3, .kernel = { 3, 3 } });
    x = cvy_batch_norm(net, x, "bn", NULL);
    x = cvy_sigmoid(net, x);
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 } });
    *logits = cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = 4 });
    assert_int_equal(cvy_net_status(net), CVY_OK);
    return net;
}

static cvy_trainer *small_trainer(cvy_net *net, cvy_tensor logits)
{
    cvy_trainer *t;
    assert_int_equal(
        cvy_trainer_create(
            net, logits,
            &(cvy_trainer_options){ .batch = 20, .sgd = { .lr = 0.1, .momentum = 0.9 } }, &t),
        CVY_OK);
    return t;
}

#define FAILS(expr, want)                          \
    do {                                           \
        enum cvy_status got_ = (expr);             \
        assert_int_equal(got_, want);              \
        assert_true(strlen(cvy_message(ctx)) > 8); \
    } while (0)

static void null_is_answered(void **state)
{
    (void)state;
    cvy_net *net = NULL;
    cvy_trainer *t = NULL;
    cvy_predictor *p = NULL;
    cvy_op *op = NULL;
    cvy_step_result r;
    float f;
    assert_int_equal(cvy_net_create(NULL, &net), CVY_E_ARG);
    assert_int_equal(cvy_net_create(ctx, NULL), CVY_E_ARG);
    assert_int_equal(cvy_trainer_create(NULL, 0, NULL, &t), CVY_E_ARG);
    assert_int_equal(cvy_predictor_create(NULL, 0, 1, NULL, NULL, &p), CVY_E_ARG);
    assert_int_equal(cvy_trainer_step(NULL, NULL, &r), CVY_E_ARG);
    assert_int_equal(cvy_predictor_run(NULL, NULL, &f), CVY_E_ARG);
    assert_int_equal(cvy_op_conv2d(NULL, NULL, (cvy_shape){ 1, 1, 1, 1 }, CVY_FORWARD, &op),
                     CVY_E_ARG);
    FAILS(cvy_op_conv2d(ctx, NULL, (cvy_shape){ 1, 1, 1, 1 }, CVY_FORWARD, &op), CVY_E_ARG);
    assert_int_equal(cvy_op_run(NULL, NULL), CVY_E_ARG);
    assert_int_equal(cvy_tensor_shape(NULL, 0).c, 0);
    assert_int_equal(cvy_net_nodes(NULL), 0);
    assert_int_equal(cvy_input(NULL, 1, 1, 1), CVY_NO_TENSOR);
    assert_int_equal(cvy_trainer_params(NULL, CVY_PARAM_WEIGHT), 0);
    cvy_net_destroy(NULL);
    cvy_trainer_destroy(NULL);
    cvy_predictor_destroy(NULL);
    cvy_op_destroy(NULL);
    cvy_net_destroy(&net);
    cvy_trainer_destroy(&t);
    cvy_predictor_destroy(&p);
    cvy_op_destroy(&op);
}

static void operators_say_what_is_wrong(void **state)
{
    (void)state;
    cvy_op *op = NULL;
    const cvy_shape parts[] = { { 2, 3, 4, 4 }, { 2, 5, 4, 4 }, { 2, 1, 4, 5 } };
    assert_int_equal(cvy_op_concat(NULL, parts, 2, CVY_FORWARD, &op), CVY_E_ARG);
    FAILS(cvy_op_concat(ctx, parts, 0, CVY_FORWARD, &op), CVY_E_ARG);
    FAILS(cvy_op_concat(ctx, parts, 65, CVY_FORWARD, &op), CVY_E_ARG);
    FAILS(cvy_op_concat(ctx, NULL, 2, CVY_FORWARD, &op), CVY_E_ARG);
    FAILS(cvy_op_concat(ctx, parts, 2, CVY_BACKWARD_WEIGHTS, &op), CVY_E_ARG);
    FAILS(cvy_op_concat(ctx, parts, 3, CVY_FORWARD, &op), CVY_E_SHAPE);
    assert_string_equal(
        cvy_message(ctx),
        "concat: tensor 2 is [2][1][4][5], tensor 0 [2][3][4][4]: only c may differ");
    assert_null(op);
    assert_int_equal(cvy_op_concat(ctx, parts, 2, CVY_FORWARD, &op), CVY_OK);
    assert_int_equal(cvy_op_dst_shape(op).c, 8);
    static float one[2 * 8 * 4 * 4], other[2 * 8 * 4 * 4];
    FAILS(cvy_op_run(op, &(cvy_op_args){ .dst = other }), CVY_E_ARG);
    FAILS(
        cvy_op_run(op, &(cvy_op_args){ .srcs = (const float *const[]){ one, NULL }, .dst = other }),
        CVY_E_ARG);
    assert_string_equal(cvy_message(ctx), "the operator needs `srcs`");
    assert_int_equal(
        cvy_op_run(op, &(cvy_op_args){ .srcs = (const float *const[]){ one, one }, .dst = other }),
        CVY_OK);
    cvy_op_destroy(&op);
}

static void trainers_say_what_is_wrong(void **state)
{
    (void)state;
    cvy_tensor logits;
    cvy_net *net = small_net(&logits);
    cvy_trainer *t = NULL;
    FAILS(cvy_trainer_create(net, logits, NULL, &t), CVY_E_ARG);
    assert_null(t);
    FAILS(cvy_trainer_create(net, 99, &(cvy_trainer_options){ .batch = 4, .sgd.lr = 1 }, &t),
          CVY_E_ARG);
    FAILS(cvy_trainer_create(net, logits, &(cvy_trainer_options){ .batch = 0, .sgd.lr = 1 }, &t),
          CVY_E_ARG);
    static const cvy_sgd_desc bad[] = { { .lr = -1 },
                                        { .lr = NAN },
                                        { .lr = INFINITY },
                                        { .lr = 1, .momentum = -0.1 },
                                        { .lr = 1, .momentum = 1.5 },
                                        { .lr = 1, .weight_decay = -1 },
                                        { .lr = 1, .nesterov = true } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(cvy_trainer_create(net, logits, &(cvy_trainer_options){ .batch = 4, .sgd = bad[i] },
                                 &t),
              CVY_E_ARG);
        assert_null(t);
    }
    static const struct {
        cvy_trainer_options options;
        const char *says;
    } wrong[] = {
        { { .batch = 4, .sgd.lr = 1, .optimizer.lr = 1 }, "both sgd and optimizer" },
        { { .batch = 4, .optimizer.kind = CVY_OPTIMIZER_KINDS }, "enum cvy_optimizer_kind" },
        { { .batch = 4, .optimizer = { .lr = -1 } }, "lr is -1, expected 0 or more" },
        { { .batch = 4, .optimizer = { .momentum = 1 } }, "momentum is 1, expected 0 to below 1" },
        { { .batch = 4, .optimizer = { .nesterov = true } }, "nesterov needs a momentum" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        FAILS(cvy_trainer_create(net, logits, &wrong[i].options, &t), CVY_E_ARG);
        if (!strstr(cvy_message(ctx), wrong[i].says))
            fail_msg("'%s' does not say '%s'", cvy_message(ctx), wrong[i].says);
    }
    FAILS(cvy_trainer_create(
              net, logits,
              &(cvy_trainer_options){ .batch = 4, .sgd.lr = 1, .loss.label_smoothing = 1.5 }, &t),
          CVY_E_ARG);
    FAILS(cvy_trainer_create(net, logits,
                             &(cvy_trainer_options){ .batch = SIZE_MAX / 2, .sgd.lr = 1 }, &t),
          CVY_E_ARG);
    cvy_net_destroy(&net);
}

static void calls_say_what_is_wrong(void **state)
{
    (void)state;
    cvy_tensor logits;
    cvy_net *net = small_net(&logits);
    cvy_predictor *p = NULL;
    FAILS(cvy_predictor_create(net, logits, 0, NULL, NULL, &p), CVY_E_ARG);
    assert_null(p);
    cvy_trainer *t = small_trainer(net, logits);
    cvy_step_result r;
    float f;
    FAILS(cvy_trainer_step(t, NULL, &r), CVY_E_ARG);
    FAILS(cvy_trainer_step(t, &(cvy_batch){ .n = 2 }, &r), CVY_E_ARG);
    FAILS(cvy_trainer_set_lr(t, NAN), CVY_E_ARG);
    FAILS(cvy_trainer_set_hyper(t, NULL, 1), CVY_E_ARG);
    FAILS(cvy_trainer_set_hyper(t, "beta1", 0.5), CVY_E_ARG);
    assert_non_null(strstr(cvy_message(ctx), "sgd has no number 'beta1'"));
    FAILS(cvy_trainer_set_hyper(t, "weight_decay", -1), CVY_E_ARG);
    assert_non_null(strstr(cvy_message(ctx), "weight_decay is -1, expected 0 or more"));
    FAILS(cvy_trainer_set_hyper(t, "momentum", 0), CVY_E_STATE);
    assert_non_null(strstr(cvy_message(ctx), "momentum was 0.9 when the trainer was created: it"));
    assert_int_equal(cvy_trainer_set_hyper(NULL, "lr", 1), CVY_E_ARG);
    FAILS(cvy_trainer_get(t, CVY_PARAM_WEIGHT, "nonsense", &f, 1), CVY_E_ARG);
    assert_non_null(strstr(cvy_message(ctx), "nonsense"));
    FAILS(cvy_trainer_get(t, CVY_PARAM_WEIGHT, "fc.bias", &f, 1), CVY_E_SHAPE);
    FAILS(cvy_trainer_set(t, CVY_PARAM_WEIGHT, NULL, &f, 1), CVY_E_ARG);
    FAILS(cvy_trainer_get(t, CVY_PARAM_WEIGHT, "fc.bias", NULL, 4), CVY_E_ARG);
    cvy_param_info info;
    FAILS(cvy_trainer_param(t, CVY_PARAM_WEIGHT, 1000, &info), CVY_E_ARG);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
}

static void a_bad_batch_changes_nothing(void **state)
{
    (void)state;
    cvy_tensor logits;
    cvy_net *net = small_net(&logits);
    cvy_trainer *t = small_trainer(net, logits);
    float images[21 * 36], before[27], after[27];
    uint8_t labels[21] = { 0 };
    int32_t labels32[21] = { 0 };
    cvy_step_result r;
    for (size_t i = 0; i < 21 * 36; i++) images[i] = sinf((float)i);
    assert_int_equal(cvy_trainer_get(t, CVY_PARAM_WEIGHT, "conv.weight", before, 27), CVY_OK);
    cvy_batch b = { .images = images, .dtype = CVY_F32, .labels8 = labels, .n = 21 };
    FAILS(cvy_trainer_step(t, &b, &r), CVY_E_ARG); /* larger than compiled */
    b.n = 0;
    FAILS(cvy_trainer_step(t, &b, &r), CVY_E_ARG);
    b.n = 20;
    labels[13] = 4;
    FAILS(cvy_trainer_step(t, &b, &r), CVY_E_ARG);
    assert_non_null(strstr(cvy_message(ctx), "13"));
    labels[13] = 0;
    b.labels8 = NULL;
    b.labels32 = labels32;
    labels32[7] = -1;
    FAILS(cvy_trainer_step(t, &b, &r), CVY_E_ARG);
    labels32[7] = 0;
    b.labels8 = labels; /* both */
    FAILS(cvy_trainer_step(t, &b, &r), CVY_E_ARG);
    b.labels32 = NULL;
    b.dtype = CVY_I32;
    FAILS(cvy_trainer_step(t, &b, &r), CVY_E_ARG);
    b.dtype = CVY_F32;
    assert_int_equal(cvy_trainer_get(t, CVY_PARAM_WEIGHT, "conv.weight", after, 27), CVY_OK);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(cvy_trainer_steps(t), 0);
    assert_int_equal(cvy_trainer_step(t, &b, &r), CVY_OK);
    assert_int_equal(r.n, 20);
    assert_int_equal(cvy_trainer_steps(t), 1);
    images[5] = NAN;
    FAILS(cvy_trainer_step(t, &b, &r), CVY_E_NUMERIC);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
}

/* Labels outside the classes are named with the place in the batch, and images that the index does
 * not reach are not looked at. */
static void labels_are_classes(void **state)
{
    (void)state;
    cvy_tensor logits;
    cvy_net *net = small_net(&logits);
    cvy_trainer *t = small_trainer(net, logits);
    float images[20 * 36], before[27], after[27];
    for (size_t i = 0; i < 20 * 36; i++) images[i] = cosf((float)i);
    assert_int_equal(cvy_trainer_get(t, CVY_PARAM_WEIGHT, "conv.weight", before, 27), CVY_OK);
    uint32_t index[20];
    for (uint32_t i = 0; i < 20; i++) index[i] = 19 - i;
    cvy_step_result r;
    /* bytes or int32, with an index or without; 4 is the number of classes */
    for (int way = 0; way < 10; way++) {
        static const int wrong[] = { 4, 255, 4, -1, INT32_MIN };
        bool wide = way % 5 > 1, indexed = way >= 5;
        uint8_t labels[20] = { 0 };
        int32_t labels32[20] = { 0 };
        char want[64];
        labels[12] = (uint8_t)wrong[way % 5];
        labels32[12] = wrong[way % 5];
        cvy_batch b = { .images = images,
                        .dtype = CVY_F32,
                        .labels8 = wide ? NULL : labels,
                        .labels32 = wide ? labels32 : NULL,
                        .index = indexed ? index : NULL,
                        .n = 20 };
        FAILS(cvy_trainer_step(t, &b, &r), CVY_E_ARG);
        snprintf(want, sizeof want, "label %d ", wrong[way % 5]);
        if (!strstr(cvy_message(ctx), want)) fail_msg("way %d: %s", way, cvy_message(ctx));
        if (!strstr(cvy_message(ctx), indexed ? " 7" : " 12"))
            fail_msg("way %d: %s", way, cvy_message(ctx));
    }
    assert_int_equal(cvy_trainer_get(t, CVY_PARAM_WEIGHT, "conv.weight", after, 27), CVY_OK);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(cvy_trainer_steps(t), 0);
    uint8_t labels[20] = { 3, 0, 3 };
    labels[19] = 4;
    cvy_batch b = { .images = images,
                    .dtype = CVY_F32,
                    .labels8 = labels,
                    .index = (uint32_t[]){ 0, 1, 2, 0 },
                    .n = 4 };
    assert_int_equal(cvy_trainer_step(t, &b, &r), CVY_OK);
    b.index = index; /* now the wrong one is the first */
    FAILS(cvy_trainer_step(t, &b, &r), CVY_E_ARG);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    cvy_op *op;
    float x[6] = { 1, 2, 3, 4, 5, 6 }, dx[6] = { 0 };
    assert_int_equal(cvy_op_loss(ctx, NULL, (cvy_shape){ 2, 3, 1, 1 }, &op), CVY_OK);
    for (int32_t wrong = -1; wrong <= 3; wrong += 4) {
        FAILS(
            cvy_op_run(
                op, &(cvy_op_args){ .src = x, .diff_src = dx, .labels = (int32_t[]){ 2, wrong } }),
            CVY_E_ARG);
        char want[80];
        snprintf(want, sizeof want,
                 "label %d at position 1 of the batch (image 1); there are 3 classes", (int)wrong);
        assert_string_equal(cvy_message(ctx), want);
    }
    FAILS(cvy_op_run(op, &(cvy_op_args){ .src = x, .diff_src = dx }), CVY_E_ARG);
    for (size_t i = 0; i < 6; i++) assert_true(dx[i] == 0);
    assert_int_equal(
        cvy_op_run(op, &(cvy_op_args){ .src = x, .diff_src = dx, .labels = (int32_t[]){ 2, 0 } }),
        CVY_OK);
    cvy_op_destroy(&op);
}

/* Workspaces are on a line of the cache, wherever in it the caller's would begin otherwise. */
static void workspaces_are_aligned(void **state)
{
    (void)state;
    static float x[2 * 3 * 64], w[4 * 3 * 9], y[2 * 4 * 64], want[2 * 4 * 64];
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = sinf((float)i);
    for (size_t i = 0; i < sizeof w / sizeof *w; i++) w[i] = cosf((float)i);
    cvy_conv2d_desc d = {
        .out_channels = 4, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 }, .no_bias = true
    };
    cvy_op *op;
    assert_int_equal(cvy_op_conv2d(ctx, &d, (cvy_shape){ 2, 3, 8, 8 }, CVY_FORWARD, &op), CVY_OK);
    cvy_op_args args = { .src = x, .weights = w, .dst = want };
    assert_int_equal(cvy_op_run(op, &args), CVY_OK);
    args.dst = y;
    size_t bytes = cvy_op_workspace(op);
    assert_true(bytes > 0);
    char *memory = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    assert_non_null(memory);
    for (size_t off = 1; off < 64; off++) {
        args.workspace = memory + off;
        FAILS(cvy_op_run(op, &args), CVY_E_ARG);
        assert_string_equal(cvy_message(ctx), "`workspace` is not 64-byte aligned");
    }
    for (size_t i = 0; i < sizeof y / sizeof *y; i++) assert_true(y[i] == 0);
    for (int i = 0; i < 3; i++) { /* the caller's, elsewhere, its own again */
        memset(y, 0, sizeof y);
        args.workspace = i < 2 ? memory + 64 * i : NULL;
        assert_int_equal(cvy_op_run(op, &args), CVY_OK);
        assert_memory_equal(y, want, sizeof y);
    }
    free(memory);
    cvy_op_destroy(&op);
}

/* Predictors refuse what trainers refuse of a batch, and write nothing then. */
static void predictors_check_batches(void **state)
{
    (void)state;
    cvy_tensor logits;
    cvy_net *net = small_net(&logits);
    cvy_predictor *p;
    float images[4 * 36] = { 1, 2, 3 }, out[5 * 4];
    for (size_t i = 0; i < 20; i++) out[i] = 77;
    assert_int_equal(cvy_predictor_create(net, logits, 4, NULL, NULL, &p), CVY_OK);
    cvy_batch b = { .images = images, .dtype = CVY_F32, .n = 0 };
    FAILS(cvy_predictor_run(p, &b, out), CVY_E_ARG);
    assert_string_equal(cvy_message(ctx), "the batch has 0 images, expected 1 to 4");
    b.n = 5;
    FAILS(cvy_predictor_run(p, &b, out), CVY_E_ARG);
    assert_string_equal(cvy_message(ctx), "the batch has 5 images, expected 1 to 4");
    b.n = SIZE_MAX;
    FAILS(cvy_predictor_run(p, &b, out), CVY_E_ARG);
    b.n = 4;
    FAILS(cvy_predictor_run(p, &b, NULL), CVY_E_ARG);
    FAILS(cvy_predictor_run(p, NULL, out), CVY_E_ARG);
    FAILS(cvy_predictor_run(p, &(cvy_batch){ .dtype = CVY_F32, .n = 4 }, out), CVY_E_ARG);
    b.dtype = CVY_F64;
    FAILS(cvy_predictor_run(p, &b, out), CVY_E_ARG);
    for (size_t i = 0; i < 20; i++) assert_true(out[i] == 77);
    b.dtype = CVY_F32;
    for (b.n = 1; b.n <= 4; b.n++) {
        for (size_t i = 0; i < 20; i++) out[i] = 77;
        assert_int_equal(cvy_predictor_run(p, &b, out), CVY_OK);
        for (size_t i = 0; i < 20; i++) assert_true((out[i] == 77) == (i >= b.n * 4));
    }
    const cvy_input_desc bad[] = { { .scale = NAN },
                                   { .scale = INFINITY },
                                   { .mean = (double[]){ NAN } },
                                   { .mean = (double[]){ INFINITY } },
                                   { .mean = (double[36]){ 0 }, .mean_image = (double[36]){ 0 } },
                                   { .mean_image = (double[36]){ [35] = NAN } },
                                   { .std = (double[]){ 0 } },
                                   { .std = (double[]){ -1 } },
                                   { .std = (double[]){ NAN } },
                                   { .std = (double[]){ INFINITY } } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cvy_predictor *none;
        FAILS(cvy_predictor_create(net, logits, 4, &bad[i], NULL, &none), CVY_E_ARG);
        assert_null(none);
    }
    cvy_predictor_destroy(&p);
    cvy_net_destroy(&net);
}

/* As many numbers as were asked for. */
static void tensors_come_in_parts(void **state)
{
    (void)state;
    cvy_tensor logits;
    cvy_net *net = small_net(&logits);
    cvy_trainer *t;
    cvy_trainer_options o = { .batch = 3, .sgd.lr = 0.1, .keep_tensors = true };
    assert_int_equal(cvy_trainer_create(net, logits, &o, &t), CVY_OK);
    float images[3 * 36];
    for (size_t i = 0; i < 3 * 36; i++) images[i] = sinf((float)i);
    cvy_step_result r;
    cvy_batch b = { .images = images, .dtype = CVY_F32, .labels8 = (uint8_t[]){ 0, 1, 2 }, .n = 3 };
    assert_int_equal(cvy_trainer_step(t, &b, &r), CVY_OK);
    assert_true(cvy_trainer_tensors(t) > 4);
    for (size_t i = 0; i < cvy_trainer_tensors(t); i++) {
        cvy_tensor_info info;
        assert_int_equal(cvy_trainer_tensor(t, i, &info), CVY_OK);
        size_t n = info.shape.n * info.shape.c * info.shape.h * info.shape.w;
        double *all = malloc((n + 1) * sizeof *all), *part = malloc((n + 1) * sizeof *part);
        all[n] = 77;
        for (size_t k = 0; k < n; k++) part[k] = 77;
        assert_int_equal(cvy_trainer_tensor_get(t, i, all, n), CVY_OK);
        assert_true(all[n] == 77);
        assert_int_equal(cvy_trainer_tensor_get(t, i, part, n / 2), CVY_OK);
        for (size_t k = 0; k < n; k++) assert_true(part[k] == (k < n / 2 ? all[k] : 77));
        FAILS(cvy_trainer_tensor_get(t, i, all, n + 1), CVY_E_SHAPE);
        FAILS(cvy_trainer_tensor_get(t, i, NULL, n), CVY_E_SHAPE);
        free(all);
        free(part);
    }
    FAILS(cvy_trainer_tensor(t, cvy_trainer_tensors(t), NULL), CVY_E_ARG);
    cvy_trainer_destroy(&t);
    o.dry_run = true;
    assert_int_equal(cvy_trainer_create(net, logits, &o, &t), CVY_OK);
    double one;
    FAILS(cvy_trainer_tensor_get(t, 0, &one, 1), CVY_E_STATE);
    FAILS(cvy_trainer_step(t, &b, &r), CVY_E_STATE);
    cvy_predictor *p;
    FAILS(cvy_predictor_create(net, logits, 3, NULL, t, &p), CVY_E_STATE);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
}

/* What was compiled does not need the net, nor what the options pointed to. */
static void nets_may_go(void **state)
{
    (void)state;
    cvy_tensor logits;
    cvy_net *net = small_net(&logits);
    double *mean = malloc(sizeof *mean);
    *mean = 0.25;
    const cvy_trainer_options o = { .batch = 3, .sgd.lr = 0.1, .input.mean = mean };
    cvy_trainer *t;
    cvy_predictor *p;
    assert_int_equal(cvy_trainer_create(net, logits, &o, &t), CVY_OK);
    assert_int_equal(cvy_predictor_create(net, logits, 3, NULL, t, &p), CVY_OK);
    cvy_net_destroy(&net);
    free(mean);
    float images[3 * 36] = { 1 }, out[3 * 4];
    cvy_batch b = { .images = images, .dtype = CVY_F32, .labels8 = (uint8_t[]){ 0, 1, 2 }, .n = 3 };
    cvy_param_info info;
    cvy_phase_info phase;
    assert_int_equal(cvy_trainer_step(t, &b, NULL), CVY_OK);
    assert_int_equal(cvy_predictor_run(p, &b, out), CVY_OK);
    assert_int_equal(cvy_trainer_param(t, CVY_PARAM_WEIGHT, 0, &info), CVY_OK);
    assert_string_equal(info.name, "conv.weight");
    assert_int_equal(cvy_trainer_phase(t, 0, &phase), CVY_OK);
    assert_string_equal(phase.name, "ingest");
    cvy_predictor_destroy(&p);
    cvy_trainer_destroy(&t);
}

static void one_value_per_channel_is_an_error(void **state)
{
    (void)state;
    cvy_net *net;
    cvy_trainer *t;
    cvy_step_result r;
    float x[4 * 3] = { 0 };
    uint8_t labels[4] = { 0 };
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor y =
        cvy_linear(net, cvy_input(net, 3, 1, 1), "fc1", &(cvy_linear_desc){ .out_features = 5 });
    y = cvy_linear(net, cvy_batch_norm(net, y, "bn1", NULL), "fc2",
                   &(cvy_linear_desc){ .out_features = 2 });
    assert_int_equal(
        cvy_trainer_create(net, y, &(cvy_trainer_options){ .batch = 4, .sgd.lr = 1 }, &t), CVY_OK);
    cvy_batch b = { .images = x, .dtype = CVY_F32, .labels8 = labels, .n = 1 };
    FAILS(cvy_trainer_step(t, &b, &r), CVY_E_SHAPE);
    assert_non_null(strstr(cvy_message(ctx), "bn1"));
    b.n = 2;
    assert_int_equal(cvy_trainer_step(t, &b, &r), CVY_OK);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
}

static void the_first_mistake_sticks(void **state)
{
    (void)state;
    cvy_net *net;
    cvy_trainer *t;
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor x = cvy_input(net, 3, 8, 8);
    cvy_tensor bad =
        cvy_conv2d(net, x, "toolarge", &(cvy_conv2d_desc){ .out_channels = 4, .kernel = { 9, 9 } });
    assert_int_equal(bad, CVY_NO_TENSOR);
    bad =
        cvy_conv2d(net, bad, "later", &(cvy_conv2d_desc){ .out_channels = 4, .kernel = { 0, 9 } });
    assert_int_equal(bad, CVY_NO_TENSOR);
    FAILS(cvy_trainer_create(net, bad, &(cvy_trainer_options){ .batch = 4, .sgd.lr = 1 }, &t),
          CVY_E_SHAPE);
    assert_non_null(strstr(cvy_message(ctx), "toolarge"));
    cvy_net_destroy(&net);
}

static void unknown_backends_are_named(void **state)
{
    (void)state;
    cvy_context *other;
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .backends = "nativ" }, &other),
                     CVY_E_ARG);
    assert_null(other);
    assert_non_null(strstr(cvy_message(NULL), "\"nativ\""));
    assert_non_null(strstr(cvy_message(NULL), "reference"));
}

static void the_environment_of_the_caller_is_kept(void **state)
{
    (void)state;
    cvy_tensor logits;
    unsigned before = _mm_getcsr();
    cvy_net *net = small_net(&logits);
    cvy_trainer *t = small_trainer(net, logits);
    float images[20 * 36] = { 1, 2, 3 };
    uint8_t labels[20] = { 0, 1, 2, 3 };
    cvy_step_result r;
    assert_int_equal(
        cvy_trainer_step(
            t, &(cvy_batch){ .images = images, .dtype = CVY_F32, .labels8 = labels, .n = 20 }, &r),
        CVY_OK);
    assert_int_equal(_mm_getcsr(), before);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
}

static void parameters_come_back_as_they_went_in(void **state)
{
    (void)state;
    cvy_tensor logits;
    cvy_net *net = small_net(&logits);
    cvy_trainer *t = small_trainer(net, logits);
    for (int kind = CVY_PARAM_WEIGHT; kind <= CVY_PARAM_STATE; kind++) {
        size_t n = cvy_trainer_params(t, (enum cvy_param_kind)kind);
        assert_true(n == (kind == CVY_PARAM_RUNNING ? 2u : 6u));
        for (size_t i = 0; i < n; i++) {
            cvy_param_info info;
            assert_int_equal(cvy_trainer_param(t, (enum cvy_param_kind)kind, i, &info), CVY_OK);
            float *in = malloc(info.count * sizeof *in), *out = malloc(info.count * sizeof *out);
            size_t product = 1;
            for (size_t d = 0; d < info.rank; d++) product *= info.dims[d];
            assert_int_equal(product, info.count);
            for (size_t k = 0; k < info.count; k++) in[k] = (float)k + 0.5f;
            enum cvy_status s =
                cvy_trainer_set(t, (enum cvy_param_kind)kind, info.name, in, info.count);
            if (kind != CVY_PARAM_GRADIENT) assert_int_equal(s, CVY_OK);
            if (s == CVY_OK) {
                assert_int_equal(
                    cvy_trainer_get(t, (enum cvy_param_kind)kind, info.name, out, info.count),
                    CVY_OK);
                assert_memory_equal(in, out, info.count * sizeof *in);
            }
            free(in);
            free(out);
        }
    }
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
}

/* ------------------------------------------------------------------------------- later versions */

/* What a later version keeps in `reserved` is refused, not left out silently. */
static void refused(enum cvy_status status, const char *type)
{
    assert_int_equal(status, CVY_E_ARG);
    const char *said = cvy_message(ctx);
    if (strncmp(said, type, strlen(type)) != 0) said = cvy_message(NULL);
    assert_memory_equal(said, type, strlen(type));
    assert_non_null(strstr(said, "reserved["));
}
#define LAST(desc) (desc).reserved[sizeof(desc).reserved / sizeof *(desc).reserved - 1] = 1

#define LAYER(type, filled, add)                             \
    do {                                                     \
        cvy_net *net;                                        \
        assert_int_equal(cvy_net_create(ctx, &net), CVY_OK); \
        cvy_tensor x = cvy_input(net, 2, 6, 6);              \
        type desc = filled;                                  \
        LAST(desc);                                          \
        assert_int_equal(add, CVY_NO_TENSOR);                \
        refused(cvy_net_status(net), #type);                 \
        cvy_net_destroy(&net);                               \
    } while (0)
#define D(...) __VA_ARGS__

static void members_of_later_versions_are_refused_in_layers(void **state)
{
    (void)state;
    LAYER(cvy_conv2d_desc, D({ .out_channels = 2, .kernel = { 1, 1 } }),
          cvy_conv2d(net, x, "a", &desc));
    LAYER(cvy_conv_transpose2d_desc, D({ .out_channels = 2, .kernel = { 1, 1 } }),
          cvy_conv_transpose2d(net, x, "a", &desc));
    LAYER(cvy_upsample_desc, D({ .scale = { 2, 2 } }), cvy_upsample(net, x, "a", &desc));
    LAYER(cvy_mean_subtract_desc, D({ 0 }), cvy_mean_subtract(net, x, "a", &desc));
    LAYER(cvy_linear_desc, D({ .out_features = 2 }), cvy_linear(net, x, "a", &desc));
    LAYER(cvy_batch_norm_desc, D({ 0 }), cvy_batch_norm(net, x, "a", &desc));
    LAYER(cvy_whitening_desc, D({ 0 }), cvy_whitening(net, x, "a", &desc));
    LAYER(cvy_rank_desc, D({ 0 }), cvy_rank(net, x, "a", &desc));
    LAYER(cvy_group_norm_desc, D({ 0 }), cvy_group_norm(net, x, "a", &desc));
    LAYER(cvy_prelu_desc, D({ 0 }), cvy_prelu(net, x, "a", &desc));
    LAYER(cvy_act_desc, D({ 0 }), cvy_activation(net, x, "a", &desc));
    LAYER(cvy_pool2d_desc, D({ .kernel = { 2, 2 } }), cvy_pool2d(net, x, "a", &desc));
    LAYER(cvy_maxout_desc, D({ .size = 2 }), cvy_maxout(net, x, "a", &desc));
    LAYER(cvy_dropout_desc, D({ 0 }), cvy_dropout(net, x, "a", &desc));
}

static void members_of_later_versions_are_refused_in_options(void **state)
{
    (void)state;
    cvy_context *other;
    cvy_context_options context = { .threads = 1 };
    LAST(context);
    refused(cvy_context_create(&context, &other), "cvy_context_options");
    context = (cvy_context_options){ .threads = 1 };
    LAST(context.allocator);
    refused(cvy_context_create(&context, &other), "cvy_allocator");

    cvy_tensor logits;
    cvy_net *net = small_net(&logits);
#define OPTIONS(member, type)                                                \
    do {                                                                     \
        cvy_trainer_options options = { .batch = 2 };                        \
        cvy_trainer *trainer;                                                \
        LAST(options member);                                                \
        refused(cvy_trainer_create(net, logits, &options, &trainer), #type); \
        assert_null(trainer);                                                \
    } while (0)
    OPTIONS(, cvy_trainer_options);
    OPTIONS(.sgd, cvy_sgd_desc);
    OPTIONS(.optimizer, cvy_optimizer_desc);
    OPTIONS(.loss, cvy_loss_desc);
    OPTIONS(.init, cvy_init_desc);
    OPTIONS(.input, cvy_input_desc);
#undef OPTIONS
    cvy_input_desc input = { 0 };
    LAST(input);
    cvy_predictor *predictor;
    refused(cvy_predictor_create(net, logits, 2, &input, NULL, &predictor), "cvy_input_desc");
    cvy_trainer *trainer;
    assert_int_equal(
        cvy_trainer_create(net, logits, &(cvy_trainer_options){ .batch = 2 }, &trainer), CVY_OK);
    assert_int_equal(cvy_predictor_create(net, logits, 2, NULL, trainer, &predictor), CVY_OK);
    static const float pixels[2 * 36];
    float out[8];
    cvy_batch batch = { .images = pixels, .labels8 = (const uint8_t[2]){ 0 }, .n = 2 };
    LAST(batch);
    refused(cvy_trainer_step(trainer, &batch, NULL), "cvy_batch");
    refused(cvy_predictor_run(predictor, &batch, out), "cvy_batch");
    cvy_predictor_destroy(&predictor);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
}

static void members_of_later_versions_are_refused_in_operators(void **state)
{
    (void)state;
    const cvy_shape shape = { 2, 2, 4, 4 };
    cvy_op *op;
#define OPERATOR(type, filled, make) \
    do {                             \
        type desc = filled;          \
        LAST(desc);                  \
        refused(make, #type);        \
        assert_null(op);             \
    } while (0)
    OPERATOR(cvy_conv2d_desc, D({ .out_channels = 2, .kernel = { 1, 1 } }),
             cvy_op_conv2d(ctx, &desc, shape, CVY_FORWARD, &op));
    OPERATOR(cvy_batch_norm_desc, D({ 0 }), cvy_op_batch_norm(ctx, &desc, shape, CVY_FORWARD, &op));
    OPERATOR(cvy_act_desc, D({ 0 }), cvy_op_activation(ctx, &desc, shape, CVY_FORWARD, &op));
    OPERATOR(cvy_pool2d_desc, D({ .kernel = { 2, 2 } }),
             cvy_op_pool2d(ctx, &desc, shape, CVY_FORWARD, &op));
    OPERATOR(cvy_dropout_desc, D({ 0 }), cvy_op_dropout(ctx, &desc, shape, CVY_FORWARD, &op));
    OPERATOR(cvy_loss_desc, D({ .per_pixel = true }), cvy_op_loss(ctx, &desc, shape, &op));
#undef OPERATOR
    static float numbers[2][64];
    assert_int_equal(cvy_op_softmax(ctx, shape, &op), CVY_OK);
    cvy_op_args args = { .src = numbers[0], .dst = numbers[1] };
    LAST(args);
    refused(cvy_op_run(op, &args), "cvy_op_args");
    cvy_op_destroy(&op);
    cvy_loss_desc loss = { 0 };
    LAST(loss);
    cvy_loss_result row;
    refused(cvy_loss_row(ctx, &loss, 3, numbers[0], 0, NULL, &row), "cvy_loss_desc");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_is_answered),
        cmocka_unit_test(operators_say_what_is_wrong),
        cmocka_unit_test(trainers_say_what_is_wrong),
        cmocka_unit_test(calls_say_what_is_wrong),
        cmocka_unit_test(a_bad_batch_changes_nothing),
        cmocka_unit_test(nets_may_go),
        cmocka_unit_test(one_value_per_channel_is_an_error),
        cmocka_unit_test(the_first_mistake_sticks),
        cmocka_unit_test(unknown_backends_are_named),
        cmocka_unit_test(the_environment_of_the_caller_is_kept),
        cmocka_unit_test(labels_are_classes),
        cmocka_unit_test(workspaces_are_aligned),
        cmocka_unit_test(predictors_check_batches),
        cmocka_unit_test(tensors_come_in_parts),
        cmocka_unit_test(parameters_come_back_as_they_went_in),
        cmocka_unit_test(members_of_later_versions_are_refused_in_layers),
        cmocka_unit_test(members_of_later_versions_are_refused_in_options),
        cmocka_unit_test(members_of_later_versions_are_refused_in_operators),
    };
    return cmocka_run_group_tests(tests, open_context, close_context);
}
