/* Numerics of the native batch norm against sums in long double: means up to a million standard
 * deviations, 2 to 2^20 values a channel, constant channels, values around 1e30, a NaN in one
 * channel, gradients and their identities, and that evaluating an image does not depend on its
 * neighbours. Bounds are relative to u = 2^-24, half an ulp of 1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "check.h"
#include "convoy/convoy.h"

#define U 0x1p-24

static void require(cvy_context *ctx, enum cvy_status status)
{
    if (status != CVY_OK) fail_msg("%s", cvy_message(ctx));
}

static cvy_context *native(void)
{
    cvy_context *ctx;
    require(NULL, cvy_context_create(&(cvy_context_options){ .backends = "native", .strict = true },
                                     &ctx));
    return ctx;
}

static float *array(size_t n)
{
    float *x = calloc(n ? n : 1, sizeof *x);
    assert_non_null(x);
    return x;
}

static size_t elements(cvy_shape s) { return s.n * s.c * s.h * s.w; }

/* Element i of channel c's n*h*w values. */
static size_t at(cvy_shape s, size_t c, size_t i)
{
    size_t plane = s.h * s.w;
    return (i / plane * s.c + c) * plane + i % plane;
}

static void run_bn(cvy_context *ctx, const cvy_batch_norm_desc *desc, cvy_shape s,
                   enum cvy_pass pass, const cvy_op_args *args)
{
    cvy_op *op;
    require(ctx, cvy_op_batch_norm(ctx, desc, s, pass, &op));
    require(ctx, cvy_op_run(op, args));
    cvy_op_destroy(&op);
}

/* What forward made of x: results and exact statistics. */
struct bn {
    cvy_shape s;
    size_t m;
    float *x, *y, *mean, *var, *gamma, *beta;
    long double *true_mean, *true_var;
};

static struct bn bn_new(cvy_shape s)
{
    struct bn b = { s,
                    s.n * s.h * s.w,
                    array(elements(s)),
                    array(elements(s)),
                    array(s.c),
                    array(s.c),
                    array(s.c),
                    array(s.c),
                    calloc(s.c, sizeof(long double)),
                    calloc(s.c, sizeof(long double)) };
    assert_true(b.true_mean && b.true_var);
    for (size_t c = 0; c < s.c; c++) b.gamma[c] = 1;
    return b;
}

static void bn_free(struct bn *b)
{
    free(b->x);
    free(b->y);
    free(b->mean);
    free(b->var);
    free(b->gamma);
    free(b->beta);
    free(b->true_mean);
    free(b->true_var);
}

static void bn_forward(struct bn *b, cvy_context *ctx, const cvy_batch_norm_desc *desc)
{
    run_bn(ctx, desc, b->s, CVY_FORWARD,
           &(cvy_op_args){ .src = b->x,
                           .weights = b->gamma,
                           .bias = b->beta,
                           .dst = b->y,
                           .mean = b->mean,
                           .var = b->var });
    for (size_t c = 0; c < b->s.c; c++) {
        long double sum = 0, squares = 0;
        for (size_t i = 0; i < b->m; i++) sum += (long double)b->x[at(b->s, c, i)];
        b->true_mean[c] = sum / (long double)b->m;
        for (size_t i = 0; i < b->m; i++) {
            long double e = (long double)b->x[at(b->s, c, i)] - b->true_mean[c];
            squares += e * e;
        }
        b->true_var[c] = squares / (long double)b->m;
    }
}

/* ----------------------------------------------------------------------------------- huge means */

/* mean / standard deviation: channel c's */
static const double ratios[8] = { 0, 1, 10, 1e2, 1e3, 1e4, 1e5, 1e6 };

struct bn_gradient {
    float *dy, *dx, *dgamma, *dbeta;
};

/* The gradients of channel c against the formula, by the statistics that were given: floats. */
static void check_gradient(const struct bn *b, const struct bn_gradient *g, size_t c, double eps)
{
    double mean = (double)b->mean[c], scale = 1 / sqrt((double)b->var[c] + eps), m = (double)b->m;
    double s1 = 0, s2 = 0, a1 = 0, a2 = 0, norm = 0, error = 0, terms = 0, sum = 0, sum_xhat = 0,
           magnitude = 0;
    for (size_t i = 0; i < b->m; i++) {
        double d = (double)g->dy[at(b->s, c, i)],
               xhat = ((double)b->x[at(b->s, c, i)] - mean) * scale;
        s1 += d;
        s2 += d * xhat;
        a1 += fabs(d);
        a2 += fabs(d * xhat);
    }
    for (size_t i = 0; i < b->m; i++) {
        double d = (double)g->dy[at(b->s, c, i)],
               xhat = ((double)b->x[at(b->s, c, i)] - mean) * scale;
        double factor = (double)b->gamma[c] * scale, want = factor * (d - s1 / m - xhat * s2 / m);
        double got = (double)g->dx[at(b->s, c, i)],
               t = fabs(factor) * (fabs(d) + fabs(s1) / m + fabs(xhat * s2) / m);
        error += (got - want) * (got - want);
        norm += want * want;
        terms += t * t;
        sum += got;
        sum_xhat += got * xhat;
        magnitude += fabs(got);
    }
    /* A few values a channel leave little of the three terms: then the bound is relative to
     * them. */
    if (!(sqrt(error) <= 6e-7 * (b->m >= 100 ? sqrt(norm) : sqrt(terms))))
        fail_msg("m = %zu, mean/std %g: dx is off by %.3g, relative to its norm", b->m, ratios[c],
                 sqrt(error / norm));
    if (!(fabs((double)g->dgamma[c] - s2) <= 1e-6 * a2))
        fail_msg("m = %zu: dgamma %.9g, exactly %.12g", b->m, (double)g->dgamma[c], s2);
    if (!(fabs((double)g->dbeta[c] - s1) <= 1e-6 * a1))
        fail_msg("m = %zu: dbeta %.9g, exactly %.12g", b->m, (double)g->dbeta[c], s1);
    if (b->gamma[c] == 0 && magnitude != 0) fail_msg("m = %zu: gamma is 0, dx is not", b->m);
    /* The rounding of a float mean makes Σ x̂ differ from 0 by this much, and eps Σ x̂²
     * from m by that much. */
    double off = U * fabs(mean) * scale,
           less = fabs((double)b->gamma[c] * scale * s2) * eps / ((double)b->var[c] + eps);
    if (b->m >= 100 && !(fabs(sum) <= (1e-5 + off) * magnitude &&
                         fabs(sum_xhat) <= (1e-5 + off) * magnitude + less))
        fail_msg("m = %zu, mean/std %g: sums of dx are %.3g and %.3g of %.3g", b->m, ratios[c], sum,
                 sum_xhat, magnitude);
}

/* The gradients of all channels, of which the last has a gamma of 0. */
static void check_gradients(cvy_context *ctx, struct check_rng *r, struct bn *b, double eps)
{
    size_t size = elements(b->s), c = b->s.c;
    const struct bn_gradient g = { array(size), array(size), array(c), array(c) };
    for (size_t i = 0; i < size; i++) g.dy[i] = check_normal(r);
    b->gamma[c - 1] = 0;
    run_bn(ctx, &(cvy_batch_norm_desc){ .eps = eps }, b->s, CVY_BACKWARD_DATA,
           &(cvy_op_args){ .src = b->x,
                           .diff_dst = g.dy,
                           .weights = b->gamma,
                           .mean = b->mean,
                           .var = b->var,
                           .diff_src = g.dx,
                           .diff_weights = g.dgamma,
                           .diff_bias = g.dbeta });
    for (size_t k = 0; k < c; k++) check_gradient(b, &g, k, eps);
    free(g.dy);
    free(g.dx);
    free(g.dgamma);
    free(g.dbeta);
}

/* Statistics, output and gradients of one shape, every ratio in a channel of its own. Returns the
 * variance's worst relative error. */
static double check_shape(cvy_context *ctx, struct check_rng *r, cvy_shape s, double eps,
                          bool gradients)
{
    struct bn b = bn_new(s);
    double worst_var = 0;
    for (size_t c = 0; c < s.c; c++) {
        float std = check_uniform(r, 0.5f, 2);
        for (size_t i = 0; i < b.m; i++)
            b.x[at(s, c, i)] = std * (float)ratios[c] + std * check_normal(r);
        b.gamma[c] = check_normal(r);
        b.beta[c] = check_normal(r);
    }
    bn_forward(&b, ctx, &(cvy_batch_norm_desc){ .eps = eps });
    for (size_t c = 0; c < s.c; c++) {
        double mean = (double)b.true_mean[c], var = (double)b.true_var[c],
               rms = sqrt(var + mean * mean), sigma = sqrt(var + eps);
        if (!(fabs((double)b.mean[c] - mean) <= 2 * U * fmax(fabs(mean), rms)))
            fail_msg("m = %zu, mean/std %g: mean %.9g, exactly %.12g", b.m, ratios[c],
                     (double)b.mean[c], mean);
        double error = var ? fabs((double)b.var[c] / var - 1) : (double)b.var[c];
        worst_var = fmax(worst_var, error);
        if (!(b.var[c] >= 0 && error <= 1e-6))
            fail_msg("m = %zu, mean/std %g: variance %.9g, exactly %.12g", b.m, ratios[c],
                     (double)b.var[c], var);
        for (size_t i = 0; i < b.m; i++) {
            double xhat = ((double)b.x[at(s, c, i)] - mean) / sigma, g = (double)b.gamma[c],
                   y = g * xhat + (double)b.beta[c];
            double allowed = fabs(g) * (4e-7 * fmax(1, fabs(xhat)) + 2 * U * fabs(mean) / sigma) +
                             2 * U * (fabs(y) + fabs((double)b.beta[c]));
            if (!(fabs((double)b.y[at(s, c, i)] - y) <= allowed))
                fail_msg("m = %zu, mean/std %g: y %.9g, exactly %.12g, allowed error %.3g", b.m,
                         ratios[c], (double)b.y[at(s, c, i)], y, allowed);
        }
    }
    if (gradients) check_gradients(ctx, r, &b, eps);
    bn_free(&b);
    return worst_var;
}

static void test_huge_means(void **state)
{
    (void)state;
    static const cvy_shape shapes[] = {
        { 2, 8, 1, 1 },    { 1, 8, 2, 1 },     { 3, 8, 1, 1 },      { 1, 8, 3, 1 },
        { 7, 8, 1, 1 },    { 32, 8, 1, 1 },    { 2, 8, 4, 4 },      { 40, 8, 5, 5 },
        { 1000, 8, 1, 1 }, { 1, 8, 8, 125 },   { 33, 8, 7, 9 },     { 64, 8, 32, 32 },
        { 17, 8, 61, 63 }, { 1, 8, 256, 256 }, { 64, 8, 128, 128 },
    };
    static const double eps[] = { 1e-5, 1e-12, 1 };
    struct check_rng r = { check_seed() };
    cvy_context *ctx = native();
    double worst = 0;
    print_message("seed %llu\n", (unsigned long long)r.s);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        bool large = elements(shapes[i]) > 1u << 20;
        for (size_t e = 0; e < (large ? 1 : 3); e++)
            worst = fmax(worst, check_shape(ctx, &r, shapes[i], eps[e], !large));
    }
    print_message("worst relative error of a variance: %.2g\n", worst);
    cvy_context_destroy(&ctx);
}

/* ----------------------------------------------------------------------------- awkward channels */

static void test_constant(void **state)
{
    (void)state;
    static const float values[] = { 0, 1, 100, -0.1f, 1e30f, -3.3e38f, 1e-30f, 16777215 };
    static const cvy_shape shapes[] = {
        { 1, 8, 3, 3 }, { 2, 8, 1, 1 }, { 33, 8, 5, 7 }, { 16, 8, 64, 64 }
    };
    struct check_rng r = { check_seed() };
    cvy_context *ctx = native();
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        cvy_shape s = shapes[k];
        struct bn b = bn_new(s);
        float running_mean[8] = { 0 }, running_var[8] = { 0 };
        float *dy = array(elements(s)), *dx = array(elements(s)), dgamma[8], dbeta[8];
        for (size_t c = 0; c < s.c; c++) {
            b.gamma[c] = check_normal(&r);
            b.beta[c] = check_normal(&r);
            for (size_t i = 0; i < b.m; i++) {
                b.x[at(s, c, i)] = values[c];
                dy[at(s, c, i)] = check_normal(&r);
            }
        }
        run_bn(ctx, &(cvy_batch_norm_desc){ .momentum = 1 }, s, CVY_FORWARD,
               &(cvy_op_args){ .src = b.x,
                               .weights = b.gamma,
                               .bias = b.beta,
                               .dst = b.y,
                               .mean = b.mean,
                               .var = b.var,
                               .running_mean = running_mean,
                               .running_var = running_var });
        run_bn(ctx, NULL, s, CVY_BACKWARD_DATA,
               &(cvy_op_args){ .src = b.x,
                               .diff_dst = dy,
                               .weights = b.gamma,
                               .mean = b.mean,
                               .var = b.var,
                               .diff_src = dx,
                               .diff_weights = dgamma,
                               .diff_bias = dbeta });
        for (size_t c = 0; c < s.c; c++) {
            if (b.var[c] != 0 || running_var[c] != 0)
                fail_msg("%zu times %g: variance %g, running %g", b.m, (double)values[c],
                         (double)b.var[c], (double)running_var[c]);
            assert_true(b.mean[c] == values[c] && running_mean[c] == values[c]);
            for (size_t i = 0; i < b.m; i++) {
                if (b.y[at(s, c, i)] != b.beta[c])
                    fail_msg("%zu times %g: y %.9g, beta %.9g", b.m, (double)values[c],
                             (double)b.y[at(s, c, i)], (double)b.beta[c]);
                assert_true(isfinite(dx[at(s, c, i)]));
            }
            assert_true(isfinite(dgamma[c]) && isfinite(dbeta[c]));
        }
        free(dy);
        free(dx);
        bn_free(&b);
    }
    cvy_context_destroy(&ctx);
}

/* Values whose squares overflow in float: the variance as a float is infinite, what it is used for
 * is not. */
static void test_large_values(void **state)
{
    (void)state;
    cvy_shape s = { 19, 3, 6, 5 };
    struct bn b = bn_new(s);
    struct check_rng r = { check_seed() };
    cvy_context *ctx = native();
    static const float scale[3] = { 1e18f, 1e30f, 0x1p126f };
    for (size_t c = 0; c < s.c; c++)
        for (size_t i = 0; i < b.m; i++) b.x[at(s, c, i)] = scale[c] * check_uniform(&r, -0.5f, 1);
    bn_forward(&b, ctx, NULL);
    for (size_t c = 0; c < s.c; c++) {
        double mean = (double)b.true_mean[c], sigma = sqrt((double)b.true_var[c]);
        assert_true(fabs((double)b.mean[c] - mean) <= 2 * U * sqrt(mean * mean + sigma * sigma));
        if (c == 0) assert_true(fabs((double)b.var[c] / (sigma * sigma) - 1) <= 1e-6);
        else assert_true(b.var[c] > 0 && !isnan(b.var[c]));
        for (size_t i = 0; i < b.m; i++) {
            double want = ((double)b.x[at(s, c, i)] - mean) / sigma;
            if (!(fabs((double)b.y[at(s, c, i)] - want) <=
                  4e-7 * fmax(1, fabs(want)) + 2 * U * fabs(mean) / sigma))
                fail_msg("scale %g: y %.9g, exactly %.12g", (double)scale[c],
                         (double)b.y[at(s, c, i)], want);
        }
    }
    bn_free(&b);
    cvy_context_destroy(&ctx);
}

/* A NaN or infinity poisons its channel and not a bit of another. */
static void test_poison(void **state)
{
    (void)state;
    static const float poisons[] = { NAN, INFINITY, -INFINITY };
    cvy_shape s = { 21, 5, 4, 3 };
    struct bn clean = bn_new(s), b = bn_new(s);
    struct check_rng r = { check_seed() };
    cvy_context *ctx = native();
    for (size_t i = 0; i < elements(s); i++) clean.x[i] = check_normal(&r);
    bn_forward(&clean, ctx, NULL);
    for (size_t k = 0; k < 3; k++) {
        memcpy(b.x, clean.x, elements(s) * sizeof *b.x);
        b.x[at(s, 2, check_below(&r, b.m))] = poisons[k];
        bn_forward(&b, ctx, NULL);
        for (size_t c = 0; c < s.c; c++)
            for (size_t i = 0; i < b.m; i++) {
                float y = b.y[at(s, c, i)];
                if (c == 2 ? !isnan(y) : check_bits(y) != check_bits(clean.y[at(s, c, i)]))
                    fail_msg("%g in channel 2: channel %zu is %.9g, was %.9g", (double)poisons[k],
                             c, (double)y, (double)clean.y[at(s, c, i)]);
            }
        assert_true(isnan(b.var[2]) && b.var[1] == clean.var[1] && b.mean[3] == clean.mean[3]);
    }
    bn_free(&clean);
    bn_free(&b);
    cvy_context_destroy(&ctx);
}

static void test_one_value(void **state)
{
    (void)state;
    cvy_context *ctx = native();
    cvy_op *op = NULL;
    assert_int_equal(cvy_op_batch_norm(ctx, NULL, (cvy_shape){ 1, 3, 1, 1 }, CVY_FORWARD, &op),
                     CVY_E_SHAPE);
    assert_null(op);
    assert_true(strstr(cvy_message(ctx), "more than one value") != NULL);
    require(ctx, cvy_op_batch_norm(ctx, NULL, (cvy_shape){ 1, 3, 1, 1 }, CVY_FORWARD_INFER, &op));
    cvy_op_destroy(&op);
    cvy_context_destroy(&ctx);
}

/* ----------------------------------------------------------------------------------- evaluation */

static void test_neighbours(void **state)
{
    (void)state;
    cvy_shape s = { 64, 7, 5, 3 };
    struct check_rng r = { check_seed() };
    cvy_context *ctx = native();
    size_t image = s.c * s.h * s.w;
    float *x = array(elements(s)), *y = array(elements(s)), *alone = array(elements(s));
    float gamma[7], beta[7], mean[7], var[7];
    for (size_t c = 0; c < s.c; c++) {
        gamma[c] = check_normal(&r);
        beta[c] = check_normal(&r);
        mean[c] = 10 * check_normal(&r);
        var[c] = check_uniform(&r, 0.1f, 9);
    }
    for (size_t i = 0; i < elements(s); i++) x[i] = 10 * check_normal(&r);
    cvy_op_args args = {
        .src = x, .weights = gamma, .bias = beta, .running_mean = mean, .running_var = var, .dst = y
    };
    run_bn(ctx, NULL, s, CVY_FORWARD_INFER, &args);
    for (size_t n = 1; n < s.n; n = n * 3 / 2 + 1)
        for (size_t first = 0; first + n <= s.n; first += n) {
            args.src = x + first * image;
            args.dst = alone;
            run_bn(ctx, NULL, (cvy_shape){ n, s.c, s.h, s.w }, CVY_FORWARD_INFER, &args);
            assert_memory_equal(alone, y + first * image, n * image * sizeof *y);
        }
    free(x);
    free(y);
    free(alone);
    cvy_context_destroy(&ctx);
}

/* The same through a whole net: a predictor's answer for an image, alone and among others that hold
 * NaN. */
static void test_predictor_neighbours(void **state)
{
    (void)state;
    enum { N = 40, SIZE = 2 * 9 * 9 };
    static float images[N * SIZE];
    float out[N * 10], one[10];
    struct check_rng r = { check_seed() };
    cvy_context *ctx = native();
    cvy_net *net;
    require(ctx, cvy_net_create(ctx, &net));
    cvy_tensor x = cvy_conv2d(net, cvy_input(net, 2, 9, 9), "conv",
                              &(cvy_conv2d_desc){ .out_channels = 5, .kernel = { 3, 3 } });
    x = cvy_sigmoid(net, cvy_batch_norm(net, x, "bn1", NULL));
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 }, .ceil_mode = true });
    x = cvy_relu(net, cvy_batch_norm(
                          net, cvy_linear(net, x, "fc1", &(cvy_linear_desc){ .out_features = 33 }),
                          "bn2", NULL));
    x = cvy_softmax(net, cvy_linear(net, x, "fc2", &(cvy_linear_desc){ .out_features = 10 }), NULL);
    cvy_predictor *many, *single;
    require(ctx, cvy_predictor_create(net, x, N, NULL, NULL, &many));
    require(ctx, cvy_predictor_create(net, x, 1, NULL, NULL, &single));
    float fc1[33 * 5 * 16], fc2[330], conv[90];
    for (size_t i = 0; i < 33 * 5 * 16; i++) fc1[i] = 0.1f * check_normal(&r);
    for (size_t i = 0; i < 330; i++) fc2[i] = check_normal(&r);
    for (size_t i = 0; i < 90; i++) conv[i] = check_normal(&r);
    for (int k = 0; k < 2; k++) {
        cvy_predictor *p = k ? single : many;
        require(ctx, cvy_predictor_set(p, CVY_PARAM_WEIGHT, "fc1.weight", fc1, 33 * 5 * 16));
        require(ctx, cvy_predictor_set(p, CVY_PARAM_WEIGHT, "fc2.weight", fc2, 330));
        require(ctx, cvy_predictor_set(p, CVY_PARAM_WEIGHT, "conv.weight", conv, 90));
    }
    for (size_t i = 0; i < N * SIZE; i++) images[i] = i / SIZE == 7 ? NAN : check_normal(&r);
    require(ctx, cvy_predictor_run(many, &(cvy_batch){ .images = images, .dtype = CVY_F32, .n = N },
                                   out));
    for (size_t i = 0; i < N; i++) {
        require(ctx,
                cvy_predictor_run(
                    single, &(cvy_batch){ .images = images + i * SIZE, .dtype = CVY_F32, .n = 1 },
                    one));
        if (i == 7) assert_true(isnan(out[70]));
        else assert_memory_equal(one, out + i * 10, sizeof one);
    }
    cvy_predictor_destroy(&many);
    cvy_predictor_destroy(&single);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_huge_means),
        cmocka_unit_test(test_constant),
        cmocka_unit_test(test_large_values),
        cmocka_unit_test(test_poison),
        cmocka_unit_test(test_one_value),
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_predictor_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
