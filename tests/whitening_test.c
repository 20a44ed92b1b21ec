/* What whitening is for, on native and on the reference: a batch that is normalised by its own
 * statistics has the identity for its covariance; Newton's iteration comes to the same as
 * eigenvectors; groups of one channel are batch normalisation; ZCA turns as its input is turned; a
 * matrix that groups share whitens what they have together. Seen through a predictor whose running
 * statistics are those of the batch (momentum 1). Knows the public API only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convoy/convoy.h"

enum { N = 37, C = 12, H = 5, W = 3, PIXELS = H * W, IMAGE = C * PIXELS, VALUES = N * PIXELS };
static const char *const backends[] = { "native", "reference" };

static void require(cvy_context *ctx, enum cvy_status status)
{
    if (status != CVY_OK) fail_msg("%s", cvy_message(ctx));
}

static double noise(uint64_t *s) /* in [-1, 1) */
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (double)(*s >> 40) * 0x1p-23 - 1;
}

/* Channels that hang together, each with a mean and a size of its own. */
static void make_images(float *x)
{
    uint64_t s = 88172645463325252u;
    double mix[C][C], size[C], mean[C];
    for (int i = 0; i < C; i++) {
        size[i] = exp(2 * noise(&s));
        mean[i] = 3 * noise(&s);
        for (int j = 0; j < C; j++) mix[i][j] = noise(&s);
    }
    for (int n = 0; n < N; n++)
        for (int p = 0; p < PIXELS; p++) {
            double source[C];
            for (int i = 0; i < C; i++) source[i] = noise(&s);
            for (int i = 0; i < C; i++) {
                double sum = mean[i];
                for (int j = 0; j < C; j++) sum += size[i] * mix[i][j] * source[j];
                x[n * IMAGE + i * PIXELS + p] = (float)sum;
            }
        }
}

/* What becomes of a batch: of whitening, or of a batch norm where there is no descriptor. */
static void normalise(const char *backend, const cvy_whitening_desc *desc, const float *x, float *y)
{
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *trainer;
    cvy_predictor *predictor;
    int32_t labels[N] = { 0 };
    const cvy_batch_norm_desc bn = { .momentum = 1,
                                     .running_var = CVY_BN_VAR_BIASED,
                                     .no_affine = true };
    require(NULL, cvy_context_create(&(cvy_context_options){ .backends = backend, .strict = true },
                                     &ctx));
    require(ctx, cvy_net_create(ctx, &net));
    cvy_tensor t = cvy_input(net, C, H, W);
    t = desc ? cvy_whitening(net, t, "w", desc) : cvy_batch_norm(net, t, "w", &bn);
    cvy_tensor out = cvy_linear(net, t, "fc", &(cvy_linear_desc){ .out_features = 2 });
    require(ctx, cvy_trainer_create(net, out, &(cvy_trainer_options){ .batch = N }, &trainer));
    cvy_batch batch = { .images = x, .dtype = CVY_F32, .labels32 = labels, .n = N };
    require(ctx, cvy_trainer_step(trainer, &batch, NULL));
    require(ctx, cvy_predictor_create(net, t, N, NULL, trainer, &predictor));
    require(ctx, cvy_predictor_run(predictor, &batch, y));
    cvy_predictor_destroy(&predictor);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

static double difference(const float *a, const float *b)
{
    double most = 0;
    for (int i = 0; i < N * IMAGE; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* The covariance of channels i and j, which have the mean 0, over `folds` groups of n channels. */
static double covariance(const float *y, int i, int j, int n, int folds)
{
    double sum = 0;
    for (int k = 0; k < N; k++)
        for (int f = 0; f < folds; f++)
            for (int p = 0; p < PIXELS; p++) {
                const float *at = y + k * IMAGE + f * n * PIXELS + p;
                sum += (double)at[i * PIXELS] * (double)at[j * PIXELS];
            }
    return sum / (VALUES * folds);
}

static void whitened(const float *y, int first, int n, int folds, double tolerance)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double c = covariance(y + first * PIXELS, i, j, n, folds), want = i == j;
            if (!(fabs(c - want) < tolerance))
                fail_msg("the covariance of channels %d and %d is %.9g", first + i, first + j, c);
        }
}

static float x[N * IMAGE], y[N * IMAGE], z[N * IMAGE];

static const cvy_whitening_desc zca = { .momentum = 1, .eps = 1e-9, .no_affine = true };

static void covariance_is_the_identity(void **state)
{
    (void)state;
    static const int channels[] = { 12, 6, 4, 2 };
    make_images(x);
    for (int b = 0; b < 2; b++)
        for (int k = 0; k < 4; k++) {
            cvy_whitening_desc d = zca;
            d.channels = (size_t)channels[k];
            normalise(backends[b], &d, x, y);
            for (int c = 0; c < C; c += channels[k]) whitened(y, c, channels[k], 1, 2e-4);
        }
}

static void shared_is_of_all_groups(void **state)
{
    (void)state;
    make_images(x);
    for (int b = 0; b < 2; b++) {
        cvy_whitening_desc d = zca;
        d.channels = 4;
        d.shared = true;
        normalise(backends[b], &d, x, y);
        whitened(y, 0, 4, 3, 2e-4);
        double alone = covariance(y, 0, 1, 4, 1);
        assert_true(fabs(alone) > 1e-3); /* of one group it is not */
    }
}

/* However far apart eigenvalues are, and for any number of steps: rounding does not grow where the
 * iteration has arrived. */
static void newton_comes_to_zca(void **state)
{
    (void)state;
    static const size_t steps[] = { 1, 2, 5, 9, 20, 100 };
    cvy_whitening_desc d = zca;
    d.eps = 1e-5;
    make_images(x);
    for (int b = 0; b < 2; b++) {
        double before = INFINITY;
        d.kind = CVY_WHITENING_ZCA;
        d.channels = C;
        d.steps = 0;
        normalise(backends[b], &d, x, y);
        d.kind = CVY_WHITENING_NEWTON;
        for (int k = 0; k < 6; k++) {
            d.steps = steps[k];
            normalise(backends[b], &d, x, z);
            double now = difference(y, z);
            assert_true(now < before || now < 1e-4);
            before = now;
        }
        assert_true(before < 1e-4);
    }
}

/* Twelve maps of a convolution of three numbers: nine directions have no variance but eps. They
 * stay near 0, what has variance gets 1, and learning goes on. */
static void singular_is_finite(void **state)
{
    (void)state;
    make_images(x);
    for (int b = 0; b < 2; b++)
        for (int kind = 0; kind < 2; kind++) {
            const cvy_whitening_desc d = { .kind = (enum cvy_whitening_kind)kind,
                                           .channels = C,
                                           .steps = kind ? 100 : 0 };
            cvy_context *ctx;
            cvy_net *net;
            cvy_trainer *trainer;
            int32_t labels[N];
            float w[C * 3 * 2];
            for (int i = 0; i < N; i++) labels[i] = i % 2;
            require(NULL,
                    cvy_context_create(
                        &(cvy_context_options){ .backends = backends[b], .strict = true }, &ctx));
            require(ctx, cvy_net_create(ctx, &net));
            cvy_tensor t = cvy_conv2d(
                net, cvy_input(net, 3, C * H / 3, W), "conv",
                &(cvy_conv2d_desc){ .out_channels = C, .kernel = { 1, 1 }, .no_bias = true });
            t = cvy_relu(net, cvy_whitening(net, t, "w", &d));
            t = cvy_linear(net, t, "fc", &(cvy_linear_desc){ .out_features = 2 });
            require(ctx, cvy_trainer_create(
                             net, t, &(cvy_trainer_options){ .batch = N, .sgd = { .lr = 0.01 } },
                             &trainer));
            for (int step = 0; step < 10; step++) {
                cvy_batch batch = { .images = x, .dtype = CVY_F32, .labels32 = labels, .n = N };
                cvy_step_result result;
                require(ctx, cvy_trainer_step(trainer, &batch, &result));
                assert_true(isfinite(result.loss_sum));
            }
            require(ctx, cvy_trainer_get(trainer, CVY_PARAM_WEIGHT, "conv.weight", w, C * 3));
            for (int i = 0; i < C * 3; i++) assert_true(fabsf(w[i]) < 100);
            cvy_trainer_destroy(&trainer);
            cvy_net_destroy(&net);
            cvy_context_destroy(&ctx);
        }
}

static void groups_of_one_are_batch_norm(void **state)
{
    (void)state;
    make_images(x);
    for (int b = 0; b < 2; b++)
        for (int kind = 0; kind < 2; kind++) {
            const cvy_whitening_desc d = { .kind = (enum cvy_whitening_kind)kind,
                                           .channels = 1,
                                           .momentum = 1,
                                           .no_affine = true };
            normalise(backends[b], NULL, x, y);
            normalise(backends[b], &d, x, z);
            assert_true(difference(y, z) < 3e-6);
        }
}

/* Rotated by an angle in the plane of every two neighbours. */
static void turn(const float *from, float *to)
{
    memmove(to, from, sizeof x);
    for (int c = 0; c + 1 < C; c++)
        for (int n = 0; n < N; n++)
            for (int p = 0; p < PIXELS; p++) {
                float *at = to + n * IMAGE + c * PIXELS + p;
                double u = (double)at[0], v = (double)at[PIXELS], a = 0.3 + c;
                at[0] = (float)(cos(a) * u - sin(a) * v);
                at[PIXELS] = (float)(sin(a) * u + cos(a) * v);
            }
}

static void zca_turns_with_its_input(void **state)
{
    (void)state;
    static float turned[N * IMAGE];
    make_images(x);
    turn(x, turned);
    for (int b = 0; b < 2; b++) {
        normalise(backends[b], &zca, x, y);
        turn(y, y);
        normalise(backends[b], &zca, turned, z);
        assert_true(difference(y, z) < 1e-3);
        assert_true(difference(y, x) > 0.1);
    }
}

/* Kolmogorov and Smirnov's distance of n numbers to what is even in (0, 1). */
static int by_size(const void *a, const void *b)
{
    float p = *(const float *)a, q = *(const float *)b;
    return (p > q) - (p < q);
}
static double distance(float *u, int n)
{
    double most = 0;
    qsort(u, (size_t)n, sizeof *u, by_size);
    for (int i = 0; i < n; i++)
        most = fmax(most, fmax((double)u[i] - (double)i / n, (double)(i + 1) / n - (double)u[i]));
    return most;
}

/* What is distributed normally becomes even: batch norm, then the distribution function. */
static void integral_transform_is_even(void **state)
{
    (void)state;
    uint64_t s = 1234567;
    for (int i = 0; i < N * IMAGE; i++) { /* twelve of them, near enough */
        double sum = 0;
        for (int k = 0; k < 12; k++) sum += noise(&s) / 2;
        x[i] = (float)(3 + 5 * sum);
    }
    for (int b = 0; b < 2; b++) {
        normalise(backends[b], NULL, x, y);
        cvy_context *ctx;
        cvy_op *op;
        cvy_shape shape = { N, C, H, W };
        require(NULL, cvy_context_create(&(cvy_context_options){ .backends = backends[b] }, &ctx));
        require(ctx, cvy_op_activation(ctx, &(cvy_act_desc){ .kind = CVY_NORMAL_CDF }, shape,
                                       CVY_FORWARD, &op));
        require(ctx, cvy_op_run(op, &(cvy_op_args){ .src = y, .dst = z }));
        cvy_op_destroy(&op);
        cvy_context_destroy(&ctx);
        for (int c = 0; c < C; c++) {
            float u[VALUES];
            for (int i = 0; i < VALUES; i++) u[i] = z[i / PIXELS * IMAGE + c * PIXELS + i % PIXELS];
            /* 1.63 / sqrt(n) is exceeded by one in a hundred; the normalised ones are nearer */
            assert_true(distance(u, VALUES) < 1.63 / sqrt(VALUES));
            for (int i = 0; i < VALUES; i++) u[i] = y[i / PIXELS * IMAGE + c * PIXELS + i % PIXELS];
            assert_true(distance(u, VALUES) > 0.3); /* before it */
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(covariance_is_the_identity),   cmocka_unit_test(shared_is_of_all_groups),
        cmocka_unit_test(newton_comes_to_zca),          cmocka_unit_test(singular_is_finite),
        cmocka_unit_test(groups_of_one_are_batch_norm), cmocka_unit_test(zca_turns_with_its_input),
        cmocka_unit_test(integral_transform_is_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
