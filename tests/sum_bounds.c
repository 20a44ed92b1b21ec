/* How far the sums of a convolution may be from exact: |error| <= c u sum|x||w|, u = 2^-24, over K products. The least c
 * that would do is measured over K, direction and the products' signs, and held against what docs/numerics.md promises.
 * 1x1 kernels on one pixel, so that K is what is asked for: channels forward and for data, images for weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "check.h"
#include "convoy/convoy.h"

static const size_t ks[] = { 2, 4, 9, 16, 25, 33, 64, 128, 256, 512, 1024, 4608, 25088 };
enum { SIDE = 64, SUMS = 2000000 }; /* products looked at for one figure */

/* A chain of fused multiply-adds is 256 long at most, one over images 1 024; partial sums that change their sign stay small. */
static double promised(size_t k, bool one_sign, enum cvy_pass pass)
{
    double length = !one_sign ? 16 : pass == CVY_BACKWARD_WEIGHTS ? 1024 : 256;
    return 4 + sqrt((double)k) / 16 + sqrt(fmin((double)k, length));
}

static void fill(struct check_rng *r, float *x, size_t n, bool one_sign)
{
    for (size_t i = 0; i < n; i++) x[i] = check_uniform(r, one_sign ? 0 : -1, 1);
}

static double needed(cvy_context *ctx, size_t k, bool one_sign, enum cvy_pass pass, struct check_rng *r)
{
    const bool weights = pass == CVY_BACKWARD_WEIGHTS, data = pass == CVY_BACKWARD_DATA;
    const size_t side = k > 1024 ? 16 : SIDE, n = weights ? k : side, ic = pass == CVY_FORWARD ? k : side;
    const size_t oc = data ? k : side;
    float *x = malloc(n * ic * sizeof *x), *w = malloc(oc * ic * sizeof *w), *y = malloc(n * oc * sizeof *y);
    cvy_op *op;
    cvy_conv2d_desc d = { .out_channels = oc, .kernel = { 1, 1 }, .no_bias = true };
    if (!x || !w || !y || cvy_op_conv2d(ctx, &d, (cvy_shape){ n, ic, 1, 1 }, pass, &op)) fail_msg("%s", cvy_message(ctx));
    double worst = 0;
    for (size_t seen = 0; seen < SUMS; seen += k * side * side) {
        fill(r, x, n * ic, one_sign);
        fill(r, w, oc * ic, one_sign);
        fill(r, y, n * oc, one_sign);
        float *const keep = data ? x : weights ? w : y;
        cvy_op_args args = { 0 };
        if (!data) args.src = x;
        if (!weights) args.weights = w;
        if (data) args.diff_dst = y, args.diff_src = x;
        else if (weights) args.diff_dst = y, args.diff_weights = w;
        else args.dst = y;
        if (cvy_op_run(op, &args)) fail_msg("%s", cvy_message(ctx));
        for (size_t i = 0; i < side; i++)
            for (size_t j = 0; j < side; j++) {
                double sum = 0, magnitude = 0;
                for (size_t s = 0; s < k; s++) {
                    double term = data ? (double)y[i * oc + s] * (double)w[s * ic + j]
                                  : weights ? (double)y[s * oc + i] * (double)x[s * ic + j]
                                            : (double)x[i * ic + s] * (double)w[j * ic + s];
                    sum += term;
                    magnitude += fabs(term);
                }
                worst = fmax(worst, fabs((double)keep[i * side + j] - sum) / (magnitude * 0x1p-24));
            }
    }
    cvy_op_destroy(&op);
    free(x), free(w), free(y);
    return worst;
}

static void sums_are_within_what_is_promised(void **state)
{
    (void)state;
    cvy_context *ctx;
    struct check_rng r = { check_seed() };
    if (cvy_context_create(&(cvy_context_options){ .backends = "native", .strict = true }, &ctx)) fail_msg("%s", cvy_message(ctx));
    static const enum cvy_pass passes[] = { CVY_FORWARD, CVY_BACKWARD_DATA, CVY_BACKWARD_WEIGHTS };
    static const char *const names[] = { "forward", "data", "weights" };
    print_message("least c, seed %llu      forward    data  weights   (promised)\n", (unsigned long long)check_seed());
    for (int one_sign = 0; one_sign < 2; one_sign++)
        for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
            double c[3];
            for (int p = 0; p < 3; p++) c[p] = needed(ctx, ks[i], one_sign, passes[p], &r);
            print_message("%s signs, K %6zu   %7.2f %7.2f  %7.2f   (%.2f, weights %.2f)\n", one_sign ? "equal" : "mixed", ks[i],
                          c[0], c[1], c[2], promised(ks[i], one_sign, CVY_FORWARD),
                          promised(ks[i], one_sign, CVY_BACKWARD_WEIGHTS));
            for (int p = 0; p < 3; p++)
                if (!(c[p] <= promised(ks[i], one_sign, passes[p])))
                    fail_msg("%s, K %zu: c %.2f, promised %.2f", names[p], ks[i], c[p], promised(ks[i], one_sign, passes[p]));
        }
    cvy_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(sums_are_within_what_is_promised) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
