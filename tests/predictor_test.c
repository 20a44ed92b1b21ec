/* Predictors with parameters of their own: listed, read and set by name, they give exactly what a
 * predictor gives that shares a trainer's, on every list of backends, in whatever order they are
 * set: what a backend packs or folds of several parameters follows each of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convoy/convoy.h"
#include "ways.h"

enum { BATCH = 18, SIDE = 8, CLASSES = 5, PIXELS = 2 * SIDE * SIDE, MOST = 64 };

static cvy_context *ctx;
static float images[BATCH * PIXELS];
static uint8_t labels[BATCH];

static void make_batch(void)
{
    uint32_t state = 7;
    for (size_t i = 0; i < BATCH * PIXELS; i++) {
        state = state * 1664525u + 1013904223u;
        images[i] = (float)(state >> 8) * 0x1p-24f;
    }
    for (size_t i = 0; i < BATCH; i++) labels[i] = (uint8_t)(i * 3 % CLASSES);
}

/* Convolutions that batch norms fold into, with and without bias, affine or not, shared or not. */
static cvy_tensor build(cvy_net *net, cvy_tensor *inner)
{
    const cvy_conv2d_desc conv = { .out_channels = 8, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 } };
    const cvy_conv2d_desc grouped = {
        .out_channels = 8, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 }, .groups = 4, .no_bias = true
    };
    cvy_tensor x = cvy_input(net, 2, SIDE, SIDE);
    x = cvy_conv2d(net, x, "c1", &conv);
    x = cvy_relu(net, cvy_batch_norm(net, x, "b1", NULL));
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 } });
    *inner = x;
    cvy_tensor y = cvy_conv2d(net, x, "c2", &grouped);
    y = cvy_batch_norm(net, y, "b2", &(cvy_batch_norm_desc){ .no_affine = true });
    x = cvy_activation(net, cvy_add(net, x, y, NULL), NULL,
                       &(cvy_act_desc){ .kind = CVY_LEAKY_RELU });
    x = cvy_batch_norm(net, cvy_conv2d(net, x, "c3", &conv), "b3", NULL);
    x = cvy_sigmoid(net, cvy_linear(net, x, "f1", &(cvy_linear_desc){ .out_features = 17 }));
    return cvy_linear(net, x, "f2", &(cvy_linear_desc){ .out_features = CLASSES, .no_bias = true });
}

struct model {
    cvy_net *net;
    cvy_tensor logits, inner;
    cvy_trainer *trainer;
    cvy_predictor *shared, *alone;
};

static void open_model(struct model *m, int steps)
{
    OK(cvy_net_create(ctx, &m->net));
    m->logits = build(m->net, &m->inner);
    const cvy_trainer_options o = { .batch = BATCH, .sgd = { .lr = 0.1, .momentum = 0.5 } };
    OK(cvy_trainer_create(m->net, m->logits, &o, &m->trainer));
    const cvy_batch batch = { .images = images, .dtype = CVY_F32, .labels8 = labels, .n = BATCH };
    for (int i = 0; i < steps; i++) {
        cvy_step_result r;
        OK(cvy_trainer_step(m->trainer, &batch, &r));
    }
    OK(cvy_predictor_create(m->net, m->logits, BATCH, NULL, m->trainer, &m->shared));
    OK(cvy_predictor_create(m->net, m->logits, BATCH, NULL, NULL, &m->alone));
}

static void close_model(struct model *m)
{
    cvy_predictor_destroy(&m->shared);
    cvy_predictor_destroy(&m->alone);
    cvy_trainer_destroy(&m->trainer);
    cvy_net_destroy(&m->net);
}

static void run(cvy_predictor *p, float *out)
{
    const cvy_batch batch = { .images = images, .dtype = CVY_F32, .n = BATCH };
    OK(cvy_predictor_run(p, &batch, out));
}

/* What the trainer lists, of the two kinds that predictors have. */
static size_t list_params(const struct model *m, cvy_param_info *info)
{
    size_t n = 0;
    for (int kind = CVY_PARAM_WEIGHT; kind <= CVY_PARAM_RUNNING; kind++)
        for (size_t i = 0; i < cvy_trainer_params(m->trainer, (enum cvy_param_kind)kind); i++)
            OK(cvy_trainer_param(m->trainer, (enum cvy_param_kind)kind, i, &info[n++]));
    assert_int_equal(n, 8 + 4 + 6); /* weights and biases, gammas and betas, statistics */
    return n;
}

static void copy_param(const struct model *m, const cvy_param_info *info, bool wide)
{
    float *f = malloc(info->count * sizeof *f);
    double *d = malloc(info->count * sizeof *d);
    if (wide) {
        OK(cvy_trainer_get64(m->trainer, info->kind, info->name, d, info->count));
        OK(cvy_predictor_set64(m->alone, info->kind, info->name, d, info->count));
    } else {
        OK(cvy_trainer_get(m->trainer, info->kind, info->name, f, info->count));
        OK(cvy_predictor_set(m->alone, info->kind, info->name, f, info->count));
    }
    free(f);
    free(d);
}

static void spoil_param(const struct model *m, const cvy_param_info *info)
{
    float *f = malloc(info->count * sizeof *f);
    for (size_t i = 0; i < info->count; i++) f[i] = 3 + (float)i;
    OK(cvy_predictor_set(m->alone, info->kind, info->name, f, info->count));
    free(f);
}

static bool open_context(const char *backends, bool no_fusion)
{
    const cvy_context_options o = { .backends = backends, .no_fusion = no_fusion };
    if (cvy_context_create(&o, &ctx) == CVY_OK) return true;
    assert_non_null(strstr(cvy_message(ctx), "onednn")); /* it was not built */
    cvy_context_destroy(&ctx);
    return false;
}

/* Values are moved exactly: float is enough but for weights in double. */
static void same_as_shared(const char *backends, bool no_fusion)
{
    struct model m;
    cvy_param_info info[MOST];
    static float want[BATCH * CLASSES], got[BATCH * CLASSES];
    if (!open_context(backends, no_fusion)) return;
    open_model(&m, 2);
    size_t n = list_params(&m, info);
    run(m.shared, want);
    run(m.alone, got); /* with its own first weights: what is packed of them must go */
    assert_memory_not_equal(want, got, sizeof got);
    for (size_t i = 0; i < n; i++) copy_param(&m, &info[i], true);
    run(m.alone, got);
    assert_memory_equal(want, got, sizeof got);
    for (size_t i = 0; i < n; i++) { /* one of them wrong, and right again */
        spoil_param(&m, &info[i]);
        run(m.alone, got);
        if (!memcmp(want, got, sizeof got))
            fail_msg("%s: %s has no effect", backends, info[i].name);
        copy_param(&m, &info[i], true);
        run(m.alone, got);
        if (memcmp(want, got, sizeof got)) fail_msg("%s: %s set alone", backends, info[i].name);
    }
    for (size_t i = 0; i < n; i++) spoil_param(&m, &info[i]);
    for (size_t i = n; i-- > 0;) copy_param(&m, &info[i], true);
    run(m.alone, got);
    assert_memory_equal(want, got, sizeof got);
    close_model(&m);
    cvy_context_destroy(&ctx);
}

static void on_every_backend(void **state)
{
    static const char *const lists[] = {
        "native",        "reference",        "native,reference",       "reference,native",
        "onednn,native", "onednn,reference", "onednn,native,reference"
    };
    (void)state;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (int fused = 0; fused < 2; fused++) same_as_shared(lists[i], !fused);
}

/* Names, kinds and shapes are the trainer's, in its order; values read are the values set. */
static void listed_and_read(void **state)
{
    struct model m;
    cvy_param_info info[MOST], other;
    float f[8 * 8 * 9], got[8 * 8 * 9];
    double d[8 * 8 * 9];
    (void)state;
    assert_true(open_context("native,reference", false));
    open_model(&m, 1);
    size_t n = list_params(&m, info);
    for (size_t i = 0, of_kind = 0; i < n; i++) {
        of_kind = i && info[i].kind == info[i - 1].kind ? of_kind + 1 : 0;
        const cvy_predictor *const both[] = { m.shared, m.alone };
        for (int p = 0; p < 2; p++) {
            OK(cvy_predictor_param(both[p], info[i].kind, of_kind, &other));
            assert_string_equal(other.name, info[i].name);
            assert_int_equal(other.kind, info[i].kind);
            assert_int_equal(other.rank, info[i].rank);
            assert_memory_equal(other.dims, info[i].dims, sizeof other.dims);
            assert_int_equal(other.count, info[i].count);
        }
        if (info[i].count > sizeof f / sizeof *f) continue;
        OK(cvy_trainer_get(m.trainer, info[i].kind, info[i].name, f, info[i].count));
        OK(cvy_predictor_get(m.shared, info[i].kind, info[i].name, got, info[i].count));
        assert_memory_equal(f, got, info[i].count * sizeof *f);
        OK(cvy_predictor_set(m.alone, info[i].kind, info[i].name, f, info[i].count));
        OK(cvy_predictor_get64(m.alone, info[i].kind, info[i].name, d, info[i].count));
        for (size_t e = 0; e < info[i].count; e++) assert_true(d[e] == (double)f[e]);
    }
    for (int kind = CVY_PARAM_WEIGHT; kind < CVY_PARAM_KINDS; kind++)
        assert_int_equal(cvy_predictor_params(m.alone, (enum cvy_param_kind)kind),
                         kind <= CVY_PARAM_RUNNING
                             ? cvy_trainer_params(m.trainer, (enum cvy_param_kind)kind)
                             : 0);
    close_model(&m);
    cvy_context_destroy(&ctx);
}

/* A predictor starts as a trainer with the default initialisers, and has no more parameters than
 * its output needs. */
static void first_values(void **state)
{
    struct model m;
    cvy_param_info info;
    cvy_predictor *inner;
    float want[BATCH * CLASSES], got[BATCH * CLASSES];
    (void)state;
    assert_true(open_context("native,reference", false));
    open_model(&m, 0);
    run(m.shared, want);
    run(m.alone, got);
    assert_memory_equal(want, got, sizeof got);
    OK(cvy_predictor_create(m.net, m.inner, 3, NULL, NULL, &inner));
    assert_int_equal(cvy_predictor_params(inner, CVY_PARAM_WEIGHT), 4); /* of c1 and b1 */
    assert_int_equal(cvy_predictor_params(inner, CVY_PARAM_RUNNING), 2);
    OK(cvy_predictor_param(inner, CVY_PARAM_RUNNING, 1, &info));
    assert_string_equal(info.name, "b1.running_var");
    cvy_predictor_destroy(&inner);
    close_model(&m);
    cvy_context_destroy(&ctx);
}

#define FAILS(call, want, message)                      \
    do {                                                \
        assert_int_equal(call, want);                   \
        assert_string_equal(cvy_message(ctx), message); \
    } while (0)

static void refusals(void **state)
{
    struct model m;
    cvy_param_info info;
    float x[8] = { 0 }, kept[8];
    double wide[8] = { 0 };
    (void)state;
    assert_true(open_context("native,reference", false));
    open_model(&m, 1);
    OK(cvy_trainer_get(m.trainer, CVY_PARAM_WEIGHT, "b1.bias", kept, 8));
    FAILS(cvy_predictor_set(m.shared, CVY_PARAM_WEIGHT, "b1.bias", x, 8), CVY_E_STATE,
          "b1.bias belongs to the trainer: set it there");
    FAILS(cvy_predictor_set64(m.shared, CVY_PARAM_WEIGHT, "b1.bias", wide, 8), CVY_E_STATE,
          "b1.bias belongs to the trainer: set it there");
    OK(cvy_predictor_get(m.shared, CVY_PARAM_WEIGHT, "b1.bias", x, 8));
    assert_memory_equal(x, kept, sizeof x);
    FAILS(cvy_predictor_set(m.alone, CVY_PARAM_WEIGHT, "b1.bias", x, 7), CVY_E_SHAPE,
          "b1.bias has 8 elements, the array 7");
    FAILS(cvy_predictor_get(m.alone, CVY_PARAM_WEIGHT, "b9.bias", x, 8), CVY_E_ARG,
          "there is no weight named b9.bias");
    FAILS(cvy_predictor_get(m.alone, CVY_PARAM_GRADIENT, "b1.bias", x, 8), CVY_E_ARG,
          "there is no gradient named b1.bias");
    FAILS(cvy_predictor_get64(m.alone, CVY_PARAM_RUNNING, "b1.running_mean", NULL, 8), CVY_E_ARG,
          "a parameter needs a kind, a name and an array");
    FAILS(cvy_predictor_param(m.alone, CVY_PARAM_RUNNING, 6, &info), CVY_E_ARG,
          "parameter 6 of 6 was asked for");
    assert_int_equal(cvy_predictor_params(NULL, CVY_PARAM_WEIGHT), 0);
    assert_int_equal(cvy_predictor_params(m.alone, CVY_PARAM_KINDS), 0);
    assert_int_equal(cvy_predictor_param(NULL, CVY_PARAM_WEIGHT, 0, &info), CVY_E_ARG);
    assert_int_equal(cvy_predictor_get(NULL, CVY_PARAM_WEIGHT, "b1.bias", x, 8), CVY_E_ARG);
    assert_int_equal(cvy_predictor_get64(NULL, CVY_PARAM_WEIGHT, "b1.bias", wide, 8), CVY_E_ARG);
    assert_int_equal(cvy_predictor_set(NULL, CVY_PARAM_WEIGHT, "b1.bias", x, 8), CVY_E_ARG);
    assert_int_equal(cvy_predictor_set64(NULL, CVY_PARAM_WEIGHT, "b1.bias", wide, 8), CVY_E_ARG);
    close_model(&m);
    cvy_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(on_every_backend),
                                        cmocka_unit_test(listed_and_read),
                                        cmocka_unit_test(first_values),
                                        cmocka_unit_test(refusals) };
    make_batch();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
