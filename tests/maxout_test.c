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

/* Of an even mixture, too, and nothing of it is drawn. */
static void a_mixture_is_even_in_inference(void **state)
{
    cvy_context *ctx;
    (void)state;
    for (size_t b = 0; context(b, &ctx); b++) {
        float y[BATCH * OUT * W], dx[BATCH * IN_ALL];
        if (ctx) run(ctx, &(cvy_maxout_desc){ .kind = CVY_MAXOUT_MIXED, .size = SIZE }, y, dx);
        for (size_t i = 0; ctx && i < BATCH * OUT * W; i++) {
            size_t n = i / (OUT * W), k = i / W % OUT;
            near("output", b, i, (double)y[i], (most[n][k][i % W] + mean[n][k][i % W]) / 2);
        }
        cvy_context_destroy(&ctx);
    }
}

/* Two channels a > b become r a + (1 - r) (a + b) / 2: of the gradient g they get g (1 + r) / 2 and
 * g (1 - r) / 2, which tell r. */
enum { MIXED = 40, PIXELS = 30, SHARES = MIXED * PIXELS };

static void shares_of_step(cvy_trainer *t, cvy_context *ctx, double r[SHARES])
{
    static float x[MIXED * 2 * PIXELS], dx[MIXED * 2 * PIXELS];
    static const uint8_t label[MIXED];
    for (size_t i = 0; i < MIXED * 2 * PIXELS; i++) x[i] = (float)(i / PIXELS % 2 == 0);
    const cvy_batch batch = { .images = x, .dtype = CVY_F32, .labels8 = label, .n = MIXED };
    OK(cvy_trainer_step(t, &batch, NULL));
    OK(cvy_trainer_get(t, CVY_PARAM_GRADIENT, "input", dx, MIXED * 2 * PIXELS));
    for (size_t i = 0; i < SHARES; i++) {
        const float *g = dx + i / PIXELS * 2 * PIXELS + i % PIXELS;
        r[i] = ((double)g[0] - (double)g[PIXELS]) / ((double)g[0] + (double)g[PIXELS]);
    }
}

static bool near_each_other(double a, double b) { return fabs(a - b) < 1e-4; }

static void check_shares(size_t b, const double r[SHARES], const double later[SHARES])
{
    double sum = 0, squares = 0;
    size_t same = 0;
    for (size_t i = 0; i < SHARES; i++) {
        if (!(r[i] > -1e-5 && r[i] < 1 + 1e-5)) fail_msg("%s: a share of %g", backends[b], r[i]);
        sum += r[i];
        squares += r[i] * r[i];
        same += near_each_other(r[i], later[i]);
        same += i >= 1 && near_each_other(r[i], r[i - 1]);
        same += i >= PIXELS && near_each_other(r[i], r[i - PIXELS]);
    }
    /* 1/2 and 1/3, within five of their deviations; of even ones 0.02 % of all pairs are as near */
    assert_true(fabs(sum / SHARES - 0.5) < 5 * 0.2887 / sqrt(SHARES));
    assert_true(fabs(squares / SHARES - 1. / 3) < 5 * 0.2981 / sqrt(SHARES));
    if (same > 10) fail_msg("%s: %zu equal shares", backends[b], same);
}

static void shares_are_even_and_everywhere_others(void **state)
{
    static double r[2][SHARES];
    cvy_context *ctx;
    (void)state;
    for (size_t b = 0; context(b, &ctx); b++) {
        cvy_net *net;
        cvy_trainer *t;
        if (!ctx) continue;
        OK(cvy_net_create(ctx, &net));
        cvy_tensor y = cvy_maxout(net, cvy_input(net, 2, 1, PIXELS), "m",
                                  &(cvy_maxout_desc){ .kind = CVY_MAXOUT_MIXED, .size = 2 });
        y = cvy_linear(net, y, "fc", &(cvy_linear_desc){ .out_features = 2 });
        OK(cvy_trainer_create(
            net, y, &(cvy_trainer_options){ .batch = MIXED, .input_gradient = true }, &t));
        shares_of_step(t, ctx, r[0]);
        shares_of_step(t, ctx, r[1]);
        check_shares(b, r[0], r[1]);
        cvy_trainer_destroy(&t);
        cvy_net_destroy(&net);
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
        { { .size = 2, .kind = (enum cvy_maxout_kind)3 }, CVY_E_ARG, "kind 3 is not one of" },
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
    const struct CMUnitTest tests[] = { cmocka_unit_test(by_hand),
                                        cmocka_unit_test(a_mixture_is_even_in_inference),
                                        cmocka_unit_test(shares_are_even_and_everywhere_others),
                                        cmocka_unit_test(mistakes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
