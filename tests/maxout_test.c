/* Maxout and meanout by hand: outputs and gradients, ties, in front of and behind what may share or
 * split its buffers, on every backend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "convoy/convoy.h"
#include "ways.h"

enum { BATCH = 2, C = 6, H = 1, W = 2, SIZE = 3, OUT = C / SIZE, IN_ALL = C * H * W };

/* Two images of six channels and two pixels; in the second image's second group all are equal. */
static const float images[BATCH * IN_ALL] = {
    1,  5, 3,  4,    2,  6, /* channels 0 to 2 */
    -1, 0, -2, -0.5, -3, -7, 2, 2, 1, 1, 0, 0, 4, 4, 4, 4, 4, 4,
};
static const uint8_t labels[BATCH] = { 0, 1 };

static const char *const backends[] = { "native", "reference", "onednn,reference" };

static bool context(size_t b, cvy_context **ctx)
{
    if (b == 3) return false;
    if (cvy_context_create(&(cvy_context_options){ .backends = backends[b] }, ctx)) *ctx = NULL;
    return true;
}

/* The gradient of the input of loss(mean over pixels(maxout(x))), and what came out. */
static void run(cvy_context *ctx, const cvy_maxout_desc *desc, float y[BATCH * OUT * W],
                float dx[BATCH * IN_ALL])
{
    cvy_net *net;
    cvy_trainer *t;
    cvy_predictor *p;
    OK(cvy_net_create(ctx, &net));
    cvy_tensor x = cvy_maxout(net, cvy_input(net, C, H, W), "m", desc);
    cvy_tensor logits = cvy_flatten(net, cvy_global_avg_pool(net, x, NULL));
    OK(cvy_predictor_create(net, x, BATCH, NULL, NULL, &p));
    const cvy_batch batch = { .images = images, .dtype = CVY_F32, .labels8 = labels, .n = BATCH };
    OK(cvy_predictor_run(p, &batch, y));
    cvy_predictor_destroy(&p);
    OK(cvy_trainer_create(
        net, logits, &(cvy_trainer_options){ .batch = BATCH, .sgd.lr = 1, .input_gradient = true },
        &t));
    OK(cvy_trainer_step(t, &batch, NULL));
    OK(cvy_trainer_get(t, CVY_PARAM_GRADIENT, "input", dx, BATCH * IN_ALL));
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
}

static void near(const char *what, size_t b, size_t i, double found, double expected)
{
    if (fabs(found - expected) > 1e-6)
        fail_msg("%s: %s %zu is %.9g, expected %.9g", backends[b], what, i, found, expected);
}

/* What the loss hands to a pixel of output k: (softmax - onehot) / images / pixels. */
static double handed(const double logit[OUT], size_t label, size_t k)
{
    double other = exp(logit[1 - k] - logit[k]);
    return (1 / (1 + other) - (k == label)) / BATCH / W;
}

static const double most[BATCH][OUT][W] = { { { 3, 6 }, { -1, 0 } }, { { 2, 2 }, { 4, 4 } } },
                    mean[BATCH][OUT][W] = { { { 2, 5 }, { -2, -2.5 } }, { { 1, 1 }, { 4, 4 } } };

/* The part of its output's gradient that element i gets. */
static double share(const cvy_maxout_desc *d, size_t i)
{
    size_t n = i / IN_ALL, c = i % IN_ALL / W, k = c / SIZE;
    if (d->kind == CVY_MAXOUT_MEAN) return 1. / SIZE;
    if (n == 0 || k == 0) return (double)images[i] == most[n][k][i % W];
    if (d->tie == CVY_TIE_FIRST) return c % SIZE == 0;
    return d->tie == CVY_TIE_ALL ? 1 : 1. / SIZE;
}

static void check(cvy_context *ctx, size_t b, const cvy_maxout_desc *d)
{
    const double(*want)[OUT][W] = d->kind == CVY_MAXOUT_MAX ? most : mean;
    float y[BATCH * OUT * W], dx[BATCH * IN_ALL];
    run(ctx, d, y, dx);
    for (size_t i = 0; i < BATCH * OUT * W; i++)
        near("output", b, i, (double)y[i], want[i / (OUT * W)][i / W % OUT][i % W]);
    for (size_t i = 0; i < BATCH * IN_ALL; i++) {
        size_t n = i / IN_ALL, k = i % IN_ALL / W / SIZE;
        const double logit[OUT] = { (want[n][0][0] + want[n][0][1]) / W,
                                    (want[n][1][0] + want[n][1][1]) / W };
        near("gradient", b, i, (double)dx[i], share(d, i) * handed(logit, labels[n], k));
    }
}

static void by_hand(void **state)
{
    cvy_context *ctx;
    (void)state;
    for (size_t b = 0; context(b, &ctx); b++) {
        for (int i = 0; ctx && i < 6; i++)
            check(ctx, b,
                  &(cvy_maxout_desc){ .kind = i % 2 ? CVY_MAXOUT_MEAN : CVY_MAXOUT_MAX,
                                      .size = SIZE,
                                      .tie = (enum cvy_pool_tie)(i / 2) });
        cvy_context_destroy(&ctx);
    }
}

static void mistakes(void **state)
{
    static const struct {
        cvy_maxout_desc desc;
        enum cvy_status status;
        const char *message;
    } wrong[] = {
        { { .size = 0 }, CVY_E_ARG, "maxout 'm': size is 0, expected 1 to" },
        { { .size = 4 }, CVY_E_SHAPE, "maxout 'm': 6 channels are no multiple of size 4" },
        { { .size = 7 }, CVY_E_SHAPE, "maxout 'm': 6 channels are no multiple of size 7" },
        { { .size = 2, .kind = (enum cvy_maxout_kind)2 }, CVY_E_ARG, "kind 2 is not one of" },
        { { .size = 2, .tie = (enum cvy_pool_tie)3 }, CVY_E_ARG, "tie 3 is not one of" },
    };
    cvy_context *ctx;
    cvy_net *net;
    (void)state;
    OK(cvy_context_create(NULL, &ctx));
    for (size_t i = 0; i <= sizeof wrong / sizeof *wrong; i++) {
        bool none = i == sizeof wrong / sizeof *wrong;
        OK(cvy_net_create(ctx, &net));
        cvy_maxout(net, cvy_input(net, C, H, W), "m", none ? NULL : &wrong[i].desc);
        assert_int_equal(cvy_net_status(net), none ? CVY_E_ARG : wrong[i].status);
        assert_non_null(
            strstr(cvy_message(ctx), none ? "the descriptor is NULL" : wrong[i].message));
        cvy_net_destroy(&net);
    }
    assert_int_equal(cvy_maxout(NULL, 0, "m", NULL), CVY_NO_TENSOR);
    cvy_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(by_hand), cmocka_unit_test(mistakes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
