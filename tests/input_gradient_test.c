/* The gradient by the input: central differences of the loss on the reference, and the reference on
 * every other list of backends; the same bits on any number of threads; nothing else changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "convoy/convoy.h"
#include "ways.h"

enum { BATCH = 18, CHANNELS = 2, SIDE = 8, CLASSES = 4, SIZE = BATCH * CHANNELS * SIDE * SIDE };

static float images[SIZE];
static uint8_t labels[BATCH];
static const double mean[CHANNELS] = { 0.5, 0.25 }, deviation[CHANNELS] = { 0.5, 2 };

struct side {
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
};

/* first: a layer without parameters stands below all that have some, and two read the input. */
static bool open_side(struct side *s, const cvy_context_options *options, bool first, bool keep)
{
    if (cvy_context_create(options, &s->ctx)) return false;
    cvy_context *ctx = s->ctx;
    const cvy_conv2d_desc conv = { .out_channels = 5, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 } };
    OK(cvy_net_create(ctx, &s->net));
    cvy_tensor x = cvy_input(s->net, CHANNELS, SIDE, SIDE), y = x;
    if (first) {
        const cvy_pool2d_desc pool = {
            .kind = CVY_POOL_AVG, .kernel = { 3, 3 }, .stride = { 1, 1 }, .pad = { 1, 1, 1, 1 }
        };
        x = cvy_add(s->net, x, cvy_pool2d(s->net, y, NULL, &pool), NULL);
    }
    x = cvy_batch_norm(s->net, cvy_conv2d(s->net, x, "c", &conv), "b", NULL);
    x = cvy_sigmoid(s->net, x);
    x = cvy_linear(s->net, x, "f", &(cvy_linear_desc){ .out_features = CLASSES });
    const cvy_trainer_options o = { .batch = BATCH,
                                    .input = { .mean = mean, .std = deviation },
                                    .input_gradient = keep };
    OK(cvy_trainer_create(s->net, x, &o, &s->t));
    return true;
}

static void close_side(struct side *s)
{
    cvy_trainer_destroy(&s->t);
    cvy_net_destroy(&s->net);
    cvy_context_destroy(&s->ctx);
}

/* The mean loss. */
static double step(const struct side *s, size_t n)
{
    cvy_context *ctx = s->ctx;
    cvy_step_result r;
    const cvy_batch batch = { .images = images, .dtype = CVY_F32, .labels8 = labels, .n = n };
    OK(cvy_trainer_step(s->t, &batch, &r));
    return r.loss_sum / (double)r.n;
}

static void gradient(const struct side *s, float *out)
{
    cvy_context *ctx = s->ctx;
    OK(cvy_trainer_get(s->t, CVY_PARAM_GRADIENT, "input", out, SIZE));
}

static void central_differences(void **state)
{
    static float g[SIZE];
    (void)state;
    for (int first = 0; first < 2; first++)
        for (size_t n = BATCH; n > 0; n = n == BATCH ? 5 : 0) {
            struct side s;
            size_t used = n * CHANNELS * SIDE * SIDE;
            assert_true(
                open_side(&s, &(cvy_context_options){ .backends = "reference" }, first, true));
            (void)step(&s, n);
            gradient(&s, g);
            double largest = 0;
            for (size_t e = 0; e < used; e++) largest = fmax(largest, fabs((double)g[e]));
            assert_true(largest > 1e-4);
            for (size_t e = 3; e < used; e += 61) {
                const float x = images[e], h = 0x1p-8f;
                images[e] = x + h;
                double above = step(&s, n);
                images[e] = x - h;
                double below = step(&s, n);
                double want = (above - below) / ((double)(x + h) - (double)(x - h)) *
                              deviation[e / (SIDE * SIDE) % CHANNELS];
                images[e] = x;
                if (fabs((double)g[e] - want) > 1e-3 * largest)
                    fail_msg("number %zu is %.9g, expected %.9g", e, (double)g[e], want);
            }
            close_side(&s);
        }
}

static void as_the_reference(void **state)
{
    static const char *const lists[] = { "native", "onednn,native", "onednn,reference" };
    static float want[SIZE], got[SIZE];
    (void)state;
    for (int first = 0; first < 2; first++) {
        struct side s;
        assert_true(open_side(&s, &(cvy_context_options){ .backends = "reference" }, first, true));
        (void)step(&s, BATCH);
        gradient(&s, want);
        close_side(&s);
        for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
            double largest = 0;
            if (!open_side(&s, &(cvy_context_options){ .backends = lists[i] }, first, true))
                continue;
            (void)step(&s, BATCH);
            gradient(&s, got);
            for (size_t e = 0; e < SIZE; e++) largest = fmax(largest, fabs((double)want[e]));
            for (size_t e = 0; e < SIZE; e++)
                if (fabs((double)got[e] - (double)want[e]) > 1e-5 * largest)
                    fail_msg("%s: number %zu is %.9g, expected %.9g", lists[i], e, (double)got[e],
                             (double)want[e]);
            close_side(&s);
        }
    }
}

static void same_bits(void **state)
{
    static float want[SIZE], got[SIZE];
    cvy_context_options o = { .threads = 1, .backends = "native", .isa = CVY_ISA_SCALAR };
    struct side s;
    (void)state;
    assert_true(open_side(&s, &o, true, true));
    (void)step(&s, BATCH);
    gradient(&s, want);
    close_side(&s);
    for (size_t way = 0; every_way(way, &o); way++) {
        if (!open_side(&s, &o, true, true)) continue;
        (void)step(&s, BATCH);
        gradient(&s, got);
        if (memcmp(want, got, sizeof got))
            fail_msg("%s, %zu threads, fusion %d", cvy_isa_name(o.isa), o.threads, !o.no_fusion);
        close_side(&s);
    }
}

/* The other gradients are the same bits with it and without; it is listed last of them, or not. */
static void only_where_asked_for(void **state)
{
    struct side with, without;
    static float a[4096], b[4096];
    (void)state;
    assert_true(open_side(&with, &(cvy_context_options){ .backends = "native" }, true, true));
    assert_true(open_side(&without, &(cvy_context_options){ .backends = "native" }, true, false));
    (void)step(&with, BATCH);
    (void)step(&without, BATCH);
    size_t n = cvy_trainer_params(without.t, CVY_PARAM_GRADIENT);
    assert_int_equal(cvy_trainer_params(with.t, CVY_PARAM_GRADIENT), n + 1);
    cvy_param_info info;
    for (size_t i = 0; i < n; i++) {
        cvy_context *ctx = with.ctx;
        OK(cvy_trainer_param(with.t, CVY_PARAM_GRADIENT, i, &info));
        OK(cvy_trainer_get(with.t, CVY_PARAM_GRADIENT, info.name, a, info.count));
        ctx = without.ctx;
        OK(cvy_trainer_get(without.t, CVY_PARAM_GRADIENT, info.name, b, info.count));
        assert_memory_equal(a, b, info.count * sizeof *a);
    }
    assert_int_equal(cvy_trainer_param(with.t, CVY_PARAM_GRADIENT, n, &info), CVY_OK);
    assert_string_equal(info.name, "input");
    assert_int_equal(info.rank, 4);
    assert_true(info.dims[0] == BATCH && info.dims[1] == CHANNELS && info.dims[2] == SIDE &&
                info.dims[3] == SIDE && info.count == SIZE);
    assert_int_equal(cvy_trainer_get(without.t, CVY_PARAM_GRADIENT, "input", a, SIZE), CVY_E_ARG);
    close_side(&with);
    close_side(&without);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(central_differences),
                                        cmocka_unit_test(as_the_reference),
                                        cmocka_unit_test(same_bits),
                                        cmocka_unit_test(only_where_asked_for) };
    uint32_t random = 5;
    for (size_t i = 0; i < SIZE; i++) {
        random = random * 1664525u + 1013904223u;
        images[i] = (float)(random >> 8) * 0x1p-24f;
    }
    for (size_t i = 0; i < BATCH; i++) labels[i] = (uint8_t)(i * i % CLASSES);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
