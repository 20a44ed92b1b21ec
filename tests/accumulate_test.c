/* Accumulation: an update by the mean gradient of several steps is what a hand calculates, what one
 * large batch gives, and the same bits on any number of threads, every table, and where training
 * was stopped between two updates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convoy/convoy.h"
#include "ways.h"

enum { BATCH = 20, SIDE = 8, CLASSES = 4, MOST = 32768 };

static float images[BATCH * SIDE * SIDE];
static uint8_t labels[BATCH];

/* All weights start as 0, so that both classes have p = 1/2: dW = (p - onehot) x^T. */
static void by_hand(void **state)
{
    static const char *const backends[] = { "native", "reference", "onednn" };
    static const float x[2][2] = { { 3, 4 }, { 1, 0 } };
    static const uint8_t label[2] = { 0, 1 };
    static const double first[4] = { -1.5, -2, 1.5, 2 }, mean[4] = { -0.5, -1, 0.5, 1 };
    (void)state;
    for (size_t b = 0; b < 3; b++) {
        cvy_context *ctx;
        cvy_net *net;
        cvy_trainer *t;
        if (cvy_context_create(&(cvy_context_options){ .backends = backends[b] }, &ctx)) {
            assert_int_equal(b, 2); /* it was not built */
            continue;
        }
        OK(cvy_net_create(ctx, &net));
        cvy_tensor y = cvy_linear(net, cvy_input(net, 2, 1, 1), "fc",
                                  &(cvy_linear_desc){ .out_features = 2, .no_bias = true });
        const cvy_trainer_options o = {
            .batch = 1, .sgd.lr = 2, .init.weights = CVY_INIT_ZERO, .accumulate = 2
        };
        OK(cvy_trainer_create(net, y, &o, &t));
        for (int s = 0; s < 2; s++) {
            float g[4], sum[4], w[4];
            const cvy_batch batch = {
                .images = x[s], .dtype = CVY_F32, .labels8 = &label[s], .n = 1
            };
            OK(cvy_trainer_step(t, &batch, NULL));
            OK(cvy_trainer_get(t, CVY_PARAM_GRADIENT, "fc.weight", g, 4));
            OK(cvy_trainer_get(t, CVY_PARAM_SUM, "fc.weight", sum, 4));
            OK(cvy_trainer_get(t, CVY_PARAM_WEIGHT, "fc.weight", w, 4));
            for (int i = 0; i < 4; i++) {
                const double want = s ? mean[i] : first[i];
                if (fabs((double)g[i] - want) > 1e-5 ||
                    fabs((double)sum[i] - want * (s + 1)) > 1e-5 ||
                    fabs((double)w[i] - (s ? -2 * mean[i] : 0)) > 1e-5)
                    fail_msg("%s, step %d, number %d: gradient %.9g, sum %.9g, weight %.9g",
                             backends[b], s, i, (double)g[i], (double)sum[i], (double)w[i]);
            }
        }
        cvy_trainer_destroy(&t);
        cvy_net_destroy(&net);
        cvy_context_destroy(&ctx);
    }
}

/* mixes: with what sees images of one step together, or goes by the number of steps. */
static cvy_tensor build(cvy_net *net, bool mixes)
{
    cvy_tensor x = cvy_input(net, 1, SIDE, SIDE);
    x = cvy_conv2d(net, x, "c1", &(cvy_conv2d_desc){ .out_channels = 9, .kernel = { 3, 3 } });
    if (mixes) x = cvy_batch_norm(net, x, "b1", NULL);
    x = cvy_relu(net, x);
    if (mixes) x = cvy_dropout(net, x, "d1", &(cvy_dropout_desc){ .p = 0.3 });
    x = cvy_sigmoid(net, cvy_linear(net, x, "f1", &(cvy_linear_desc){ .out_features = 11 }));
    return cvy_linear(net, x, "f2", &(cvy_linear_desc){ .out_features = CLASSES });
}

struct side {
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
};

/* False: there is no such context here. */
static bool open_side(struct side *s, const cvy_context_options *options,
                      const cvy_trainer_options *o, bool mixes)
{
    if (cvy_context_create(options, &s->ctx)) return false;
    cvy_context *ctx = s->ctx;
    OK(cvy_net_create(ctx, &s->net));
    OK(cvy_trainer_create(s->net, build(s->net, mixes), o, &s->t));
    return true;
}

static void close_side(struct side *s)
{
    cvy_trainer_destroy(&s->t);
    cvy_net_destroy(&s->net);
    cvy_context_destroy(&s->ctx);
}

static void step(const struct side *s, size_t first, size_t n)
{
    cvy_context *ctx = s->ctx;
    const cvy_batch batch = {
        .images = images + first * SIDE * SIDE, .dtype = CVY_F32, .labels8 = labels + first, .n = n
    };
    OK(cvy_trainer_step(s->t, &batch, NULL));
}

/* Everything that outlives a step, sums of gradients as well. */
static size_t collect(const struct side *s, float *out)
{
    cvy_context *ctx = s->ctx;
    size_t n = 0;
    for (int kind = CVY_PARAM_WEIGHT; kind < CVY_PARAM_KINDS; kind++)
        for (size_t i = 0; i < cvy_trainer_params(s->t, (enum cvy_param_kind)kind); i++) {
            cvy_param_info info;
            OK(cvy_trainer_param(s->t, (enum cvy_param_kind)kind, i, &info));
            assert_true(n + info.count <= MOST);
            OK(cvy_trainer_get(s->t, info.kind, info.name, out + n, info.count));
            n += info.count;
        }
    return n;
}

/* Weights come first. */
static size_t count_weights(const struct side *s)
{
    cvy_context *ctx = s->ctx;
    size_t n = 0;
    for (size_t i = 0; i < cvy_trainer_params(s->t, CVY_PARAM_WEIGHT); i++) {
        cvy_param_info info;
        OK(cvy_trainer_param(s->t, CVY_PARAM_WEIGHT, i, &info));
        n += info.count;
    }
    return n;
}

/* Two halves of a batch, and the batch. */
static void as_a_large_batch(void **state)
{
    static const char *const lists[] = { "native", "reference", "onednn,native",
                                         "onednn,reference" };
    static float want[MOST], got[MOST];
    cvy_trainer_options o = { .batch = BATCH, .sgd = { .lr = 0.5, .momentum = 0.9 } };
    (void)state;
    for (size_t b = 0; b < sizeof lists / sizeof *lists; b++) {
        struct side one, two;
        const cvy_context_options options = { .backends = lists[b] };
        o.accumulate = 0;
        if (!open_side(&one, &options, &o, false)) continue;
        o.accumulate = 2;
        assert_true(open_side(&two, &options, &o, false));
        for (int i = 0; i < 3; i++) {
            step(&one, 0, BATCH);
            step(&two, 0, BATCH / 2);
            step(&two, BATCH / 2, BATCH / 2);
        }
        (void)collect(&one, want);
        (void)collect(&two, got);
        size_t n = count_weights(&one);
        for (size_t e = 0; e < n; e++)
            if (fabs((double)got[e] - (double)want[e]) > 1e-5)
                fail_msg("%s: weight %zu is %.9g, expected %.9g", lists[b], e, (double)got[e],
                         (double)want[e]);
        close_side(&one);
        close_side(&two);
    }
}

/* The mean of two equal gradients is each of them, exactly: so twice the same step is one without
 * accumulation, to the last bit, also where an optimiser counts. */
static void twice_the_same(void **state)
{
    static float want[MOST], got[MOST];
    (void)state;
    for (int k = 0; k < 3; k++) {
        cvy_trainer_options o = { .batch = BATCH };
        if (k == 0) o.sgd = (cvy_sgd_desc){ .lr = 0.1, .momentum = 0.9, .weight_decay = 0.01 };
        if (k == 1) o.optimizer = (cvy_optimizer_desc){ .kind = CVY_ADAM, .lr = 0.01 };
        if (k == 2) o.optimizer = (cvy_optimizer_desc){ .kind = CVY_ADAMW, .lr = 0.01 };
        struct side one, two;
        assert_true(open_side(&one, &(cvy_context_options){ .backends = "native" }, &o, false));
        o.accumulate = 2;
        assert_true(open_side(&two, &(cvy_context_options){ .backends = "native" }, &o, false));
        for (size_t i = 0; i < 4; i++) {
            step(&one, 0, BATCH - i);
            step(&two, 0, BATCH - i);
            step(&two, 0, BATCH - i);
        }
        (void)collect(&one, want);
        (void)collect(&two, got);
        assert_memory_equal(want, got, count_weights(&one) * sizeof *got);
        close_side(&one);
        close_side(&two);
    }
}

static cvy_trainer_options mixed_options(void)
{
    return (cvy_trainer_options){ .batch = BATCH,
                                  .optimizer = { .kind = CVY_ADAM, .lr = 0.01 },
                                  .seed = 3,
                                  .clip_norm = 0.25,
                                  .accumulate = 3 };
}

static void mixed_step(const struct side *s, size_t i) { step(s, i % 4, BATCH - 4 - i % 3); }

static void same_bits(void **state)
{
    static float want[MOST], got[MOST];
    const cvy_trainer_options t = mixed_options();
    cvy_context_options o = { .threads = 1, .backends = "native", .isa = CVY_ISA_SCALAR };
    struct side s;
    (void)state;
    assert_true(open_side(&s, &o, &t, true));
    for (size_t i = 0; i < 7; i++) mixed_step(&s, i);
    size_t n = collect(&s, want);
    close_side(&s);
    for (size_t way = 0; every_way(way, &o); way++) {
        if (!open_side(&s, &o, &t, true)) continue;
        for (size_t i = 0; i < 7; i++) mixed_step(&s, i);
        assert_int_equal(collect(&s, got), n);
        if (memcmp(want, got, n * sizeof *got))
            fail_msg("%s, %zu threads, fusion %d", cvy_isa_name(o.isa), o.threads, !o.no_fusion);
        close_side(&s);
    }
}

/* Stopped after any number of steps: what is read by name, and the number of steps, is all. */
static void resumed(void **state)
{
    static float want[MOST], got[MOST];
    static const char *const backends[] = { "native", "reference" };
    const cvy_trainer_options t = mixed_options();
    (void)state;
    for (size_t b = 0; b < 2; b++)
        for (size_t stop = 0; stop < 8; stop++) {
            const cvy_context_options o = { .backends = backends[b] };
            struct side whole, part, rest;
            assert_true(open_side(&whole, &o, &t, true) && open_side(&part, &o, &t, true) &&
                        open_side(&rest, &o, &t, true));
            cvy_context *ctx = rest.ctx;
            for (size_t i = 0; i < 8; i++) mixed_step(&whole, i);
            for (size_t i = 0; i < stop; i++) mixed_step(&part, i);
            for (int kind = CVY_PARAM_WEIGHT; kind < CVY_PARAM_KINDS; kind++)
                for (size_t i = 0; i < cvy_trainer_params(part.t, (enum cvy_param_kind)kind); i++) {
                    cvy_param_info info;
                    static double x[MOST];
                    OK(cvy_trainer_param(part.t, (enum cvy_param_kind)kind, i, &info));
                    if (kind == CVY_PARAM_GRADIENT) continue;
                    OK(cvy_trainer_get64(part.t, info.kind, info.name, x, info.count));
                    OK(cvy_trainer_set64(rest.t, info.kind, info.name, x, info.count));
                }
            cvy_trainer_set_steps(rest.t, cvy_trainer_steps(part.t));
            for (size_t i = stop; i < 8; i++) mixed_step(&rest, i);
            size_t n = collect(&whole, want);
            assert_int_equal(collect(&rest, got), n);
            if (memcmp(want, got, n * sizeof *got))
                fail_msg("%s: stopped after %zu steps", backends[b], stop);
            close_side(&whole);
            close_side(&part);
            close_side(&rest);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(by_hand),
                                        cmocka_unit_test(as_a_large_batch),
                                        cmocka_unit_test(twice_the_same),
                                        cmocka_unit_test(same_bits), cmocka_unit_test(resumed) };
    uint32_t random = 5;
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        random = random * 1664525u + 1013904223u;
        images[i] = (float)(random >> 8) * 0x1p-24f;
    }
    for (size_t i = 0; i < BATCH; i++) labels[i] = (uint8_t)(i * i % CLASSES);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
