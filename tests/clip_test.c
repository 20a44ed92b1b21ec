/* Clipping by norm: what a hand calculates, what the reference finds, one number on any number of
 * threads and every table, and nothing at all where gradients are short enough. */
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

enum { BATCH = 20, SIDE = 8, CLASSES = 4, MOST = 8192 };

static float images[BATCH * SIDE * SIDE];
static uint8_t labels[BATCH];

/* All weights start as 0, so that both classes have p = 1/2: dW = (p - onehot) x^T. */
static void by_hand(void **state)
{
    static const char *const backends[] = { "native", "reference", "onednn" };
    static const double most[] = { 0, 10, 1 };
    const double norm = sqrt(2 * 0.25 * (9 + 16));
    (void)state;
    for (size_t b = 0; b < 3; b++)
        for (size_t k = 0; k < 3; k++) {
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
                .batch = 1, .sgd.lr = 2, .init.weights = CVY_INIT_ZERO, .clip_norm = most[k]
            };
            OK(cvy_trainer_create(net, y, &o, &t));
            const cvy_batch batch = {
                .images = (float[]){ 3, 4 }, .dtype = CVY_F32, .labels8 = (uint8_t[]){ 0 }, .n = 1
            };
            OK(cvy_trainer_step(t, &batch, NULL));
            const double factor = most[k] == 1 ? 1 / (norm + 1e-6) : 1,
                         want[4] = { -1.5, -2, 1.5, 2 };
            float g[4], w[4];
            OK(cvy_trainer_get(t, CVY_PARAM_GRADIENT, "fc.weight", g, 4));
            OK(cvy_trainer_get(t, CVY_PARAM_WEIGHT, "fc.weight", w, 4));
            if (fabs(cvy_trainer_gradient_norm(t) - (k ? norm : 0)) > 1e-5)
                fail_msg("%s: norm %.9g", backends[b], cvy_trainer_gradient_norm(t));
            for (int i = 0; i < 4; i++) {
                if (fabs((double)g[i] - factor * want[i]) > 1e-5)
                    fail_msg("%s, at most %g: gradient %d is %.9g, expected %.9g", backends[b],
                             most[k], i, (double)g[i], factor * want[i]);
                if (fabs((double)w[i] + 2 * factor * want[i]) > 1e-5)
                    fail_msg("%s, at most %g: weight %d is %.9g", backends[b], most[k], i,
                             (double)w[i]);
            }
            cvy_trainer_destroy(&t);
            cvy_net_destroy(&net);
            cvy_context_destroy(&ctx);
        }
}

static cvy_tensor build(cvy_net *net)
{
    cvy_tensor x = cvy_input(net, 1, SIDE, SIDE);
    x = cvy_conv2d(net, x, "c1", &(cvy_conv2d_desc){ .out_channels = 9, .kernel = { 3, 3 } });
    x = cvy_relu(net, cvy_batch_norm(net, x, "b1", NULL));
    x = cvy_sigmoid(net, cvy_linear(net, x, "f1", &(cvy_linear_desc){ .out_features = 11 }));
    return cvy_linear(net, x, "f2", &(cvy_linear_desc){ .out_features = CLASSES });
}

struct result {
    double norm[3];
    float gradient[MOST], weight[MOST];
    size_t n; /* elements of either */
};

static void collect(cvy_context *ctx, const cvy_trainer *t, enum cvy_param_kind kind, float *out,
                    size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < cvy_trainer_params(t, kind); i++) {
        cvy_param_info info;
        OK(cvy_trainer_param(t, kind, i, &info));
        assert_true(*n + info.count <= MOST);
        OK(cvy_trainer_get(t, kind, info.name, out + *n, info.count));
        *n += info.count;
    }
}

/* Three steps. False: there is no such context here. */
static bool train(const cvy_context_options *options, double most, struct result *r)
{
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    size_t n;
    if (cvy_context_create(options, &ctx)) return false;
    OK(cvy_net_create(ctx, &net));
    const cvy_trainer_options o = { .batch = BATCH,
                                    .sgd = { .lr = 0.5, .momentum = 0.9, .weight_decay = 0.01 },
                                    .clip_norm = most };
    OK(cvy_trainer_create(net, build(net), &o, &t));
    for (size_t s = 0; s < 3; s++) {
        const cvy_batch batch = {
            .images = images, .dtype = CVY_F32, .labels8 = labels, .n = BATCH - 3 * (s == 1)
        };
        OK(cvy_trainer_step(t, &batch, NULL));
        r->norm[s] = cvy_trainer_gradient_norm(t);
    }
    collect(ctx, t, CVY_PARAM_GRADIENT, r->gradient, &r->n);
    collect(ctx, t, CVY_PARAM_WEIGHT, r->weight, &n);
    assert_int_equal(n, r->n);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    return true;
}

static double length_of(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* On every list of backends, also where one makes the gradients and another updates. */
static void as_the_reference(void **state)
{
    static const char *const lists[] = { "native", "reference,native", "onednn,native",
                                         "onednn,reference" };
    static struct result want, got;
    (void)state;
    assert_true(train(&(cvy_context_options){ .backends = "reference" }, 0.125, &want));
    assert_true(want.norm[0] > 0.2 && want.norm[2] > 0.2); /* or nothing would be seen */
    assert_true(fabs(length_of(want.gradient, want.n) - 0.125) < 1e-5);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (!train(&(cvy_context_options){ .backends = lists[i] }, 0.125, &got)) continue;
        for (int s = 0; s < 3; s++)
            if (fabs(got.norm[s] / want.norm[s] - 1) > 1e-5)
                fail_msg("%s: norm %d is %.9g, expected %.9g", lists[i], s, got.norm[s],
                         want.norm[s]);
        for (size_t e = 0; e < want.n; e++)
            if (fabs((double)got.weight[e] - (double)want.weight[e]) > 1e-5 ||
                fabs((double)got.gradient[e] - (double)want.gradient[e]) > 1e-5)
                fail_msg("%s: number %zu of the parameters", lists[i], e);
    }
}

static bool same(const struct result *a, const struct result *b)
{
    return a->n == b->n && !memcmp(a->weight, b->weight, a->n * sizeof *a->weight) &&
           !memcmp(a->gradient, b->gradient, a->n * sizeof *a->gradient);
}

static void same_bits(void **state)
{
    static struct result want, got;
    (void)state;
    cvy_context_options o = { .threads = 1, .backends = "native", .isa = CVY_ISA_SCALAR };
    assert_true(train(&o, 0.125, &want));
    for (size_t way = 0; every_way(way, &o); way++) {
        if (!train(&o, 0.125, &got)) continue;
        if (!same(&want, &got) || memcmp(want.norm, got.norm, sizeof want.norm))
            fail_msg("%s, %zu threads, fusion %d", cvy_isa_name(o.isa), o.threads, !o.no_fusion);
    }
}

/* Gradients that are short enough are left alone, to the last bit. */
static void short_enough(void **state)
{
    static struct result off, on;
    static const char *const backends[] = { "native", "reference" };
    (void)state;
    for (size_t b = 0; b < 2; b++) {
        const cvy_context_options o = { .backends = backends[b] };
        assert_true(train(&o, 0, &off) && train(&o, 1e30, &on));
        assert_true(same(&off, &on));
        assert_true(off.norm[2] == 0 && on.norm[2] > 0);
        if (fabs(length_of(on.gradient, on.n) / on.norm[2] - 1) > 1e-5)
            fail_msg("%s: norm %.9g", backends[b], on.norm[2]);
    }
}

static void refusals(void **state)
{
    static const double bad[] = { -1, NAN, INFINITY };
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    (void)state;
    assert_int_equal(cvy_context_create(NULL, &ctx), CVY_OK);
    OK(cvy_net_create(ctx, &net));
    cvy_tensor y = build(net);
    for (size_t i = 0; i < 3; i++) {
        const cvy_trainer_options o = { .batch = 2, .sgd.lr = 1, .clip_norm = bad[i] };
        assert_int_equal(cvy_trainer_create(net, y, &o, &t), CVY_E_ARG);
        assert_non_null(strstr(cvy_message(ctx), "clip_norm is "));
    }
    assert_true(cvy_trainer_gradient_norm(NULL) == 0);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(by_hand),
                                        cmocka_unit_test(as_the_reference),
                                        cmocka_unit_test(same_bits), cmocka_unit_test(short_enough),
                                        cmocka_unit_test(refusals) };
    uint32_t random = 5;
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        random = random * 1664525u + 1013904223u;
        images[i] = (float)(random >> 8) * 0x1p-24f;
    }
    for (size_t i = 0; i < BATCH; i++) labels[i] = (uint8_t)(i * i % CLASSES);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
