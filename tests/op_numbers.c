/* Operators of op.h one by one against numbers worked out from the formulas of types.h without the
 * library: every pass and every option, on the reference, native and oneDNN's module. The other
 * tests of single operators build both of their sides through op.c; what it gets wrong for both
 * shows here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "acts.h"
#include "convoy/convoy.h"

enum { MOST = 64 };
static cvy_context *ctx;

#define IN(...) ((const float[]){ __VA_ARGS__ })
#define WANT(got, ...)                                   \
    near_all(#got, got, (const double[]){ __VA_ARGS__ }, \
             sizeof(double[]){ __VA_ARGS__ } / sizeof(double))

static void near_all(const char *what, const float *got, const double *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= 4e-6 * (1 + fabs(want[i]))))
            fail_msg("%s[%zu] is %.9g, expected %.9g", what, i, (double)got[i], want[i]);
    if (n < MOST) assert_true(got[n] == 77); /* nothing behind it */
}

static void ok(enum cvy_status status)
{
    if (status != CVY_OK) fail_msg("%s", cvy_message(ctx));
}

/* Runs it twice, in memory of its own and in the caller's; what it writes is equal. */
static void run_it(cvy_op **op, cvy_op_args args)
{
    float first[MOST], *out = args.diff_weights;
    if (args.diff_src) out = args.diff_src;
    if (args.dst) out = args.dst;
    float *const update[2] = { args.running_mean, args.running_var };
    float kept[2][2] = { { 0 } };
    for (int i = 0; i < 2; i++)
        if (update[i]) memcpy(kept[i], update[i], sizeof kept[i]);
    ok(cvy_op_run(*op, &args));
    if (out) memcpy(first, out, sizeof first);
    for (int i = 0; i < 2; i++)
        if (update[i]) memcpy(update[i], kept[i], sizeof kept[i]);
    size_t bytes = (cvy_op_workspace(*op) + 63) / 64 * 64;
    char *memory = aligned_alloc(64, bytes + 64);
    assert_non_null(memory);
    memset(memory, 0x5a, bytes + 64);
    args.workspace = memory;
    ok(cvy_op_run(*op, &args));
    if (out) assert_memory_equal(first, out, sizeof first);
    for (size_t i = bytes; i < bytes + 64; i++) assert_int_equal(memory[i], 0x5a);
    free(memory);
    cvy_op_destroy(op);
}

static float *blank(float *x)
{
    for (size_t i = 0; i < MOST; i++) x[i] = 77;
    return x;
}
#define BLANK(name) float name##_[MOST], *name = blank(name##_)

/* ---------------------------------------------------------------------------------- convolution */

static void conv_case(const cvy_conv2d_desc *d, cvy_shape s, const float *x, const float *w,
                      const float *b, const float *dy, float *out[4])
{
    cvy_op *op;
    for (int pass = CVY_FORWARD; pass <= CVY_FORWARD_INFER; pass++) {
        ok(cvy_op_conv2d(ctx, d, s, (enum cvy_pass)pass, &op));
        run_it(&op, (cvy_op_args){ .src = x, .weights = w, .bias = b, .dst = blank(out[0]) });
    }
    ok(cvy_op_conv2d(ctx, d, s, CVY_BACKWARD_DATA, &op));
    run_it(&op, (cvy_op_args){ .diff_dst = dy, .weights = w, .diff_src = out[1] });
    ok(cvy_op_conv2d(ctx, d, s, CVY_BACKWARD_WEIGHTS, &op));
    run_it(&op,
           (cvy_op_args){
               .src = x, .diff_dst = dy, .diff_weights = out[2], .diff_bias = b ? out[3] : NULL });
}

static void convolutions(void **state)
{
    (void)state;
    BLANK(y);
    BLANK(dx);
    BLANK(dw);
    BLANK(db);
    /* strides and padding of each side's own */
    conv_case(
        &(cvy_conv2d_desc){
            .out_channels = 2, .kernel = { 2, 2 }, .stride = { 1, 2 }, .pad = { 1, 0, 0, 1 } },
        (cvy_shape){ 2, 2, 3, 3 },
        IN(-3, 2, 0, -2, 3, 1, -1, -3, 2, 0, -2, 3, 1, -1, -3, 2, 0, -2, 3, 1, -1, -3, 2, 0, -2, 3,
           1, -1, -3, 2, 0, -2, 3, 1, -1, -3),
        IN(-2, 1, -1, 2, 0, -2, 1, -1, 2, 0, -2, 1, -1, 2, 0, -2), IN(10, -20),
        IN(1, -1, 2, 0, 3, -2, 1, 1, -1, 2, 0, 3, -2, 1, 1, -1, 2, 0, 3, -2, 1, 1, -1, 2),
        (float *[]){ y, dx, dw, db });
    WANT(y, 19, 13, 32, 6, 16, 4, -8, -20, -21, -25, -28, -19, 11, 13, 20, 15, 32, 6, -19, -18, -7,
         -24, -21, -25);
    WANT(dx, -9, 5, 3, -6, 6, 6, -3, 6, -4, 2, -9, -3, 2, -6, -3, 3, -3, -2, -4, 0, 7, -9, 5, 3, 0,
         3, -4, -3, -4, 0, 2, -9, -3, 2, 0, 0);
    WANT(dw, -16, 18, -28, 5, 6, -14, 12, -2, 11, -3, 19, 1, 4, 1, -21, -11);
    WANT(db, 4, 10);
    /* groups, dilation, a turned kernel, no bias */
    blank(dx);
    blank(dw);
    conv_case(&(cvy_conv2d_desc){ .out_channels = 4,
                                  .kernel = { 2, 1 },
                                  .stride = { 1, 1 },
                                  .dilation = { 2, 1 },
                                  .groups = 2,
                                  .no_bias = true,
                                  .flip = true },
              (cvy_shape){ 1, 2, 4, 3 },
              IN(-2, 1, 4, 0, 3, -1, 2, -2, 1, 4, 0, 3, -1, 2, -2, 1, 4, 0, 3, -1, 2, -2, 1, 4),
              IN(1, -2, 3, 4, -1, 2, 5, -3), NULL,
              IN(1, 2, -1, 0, 1, 1, 2, -1, 0, 1, 1, 2, -1, 0, 1, 1, 2, -1, 0, 1, 1, 2, -1, 0),
              (float *[]){ y, dx, dw, NULL });
    WANT(y, 6, -4, -7, 4, -6, 5, -2, -2, 19, 12, 12, 5, -5, 5, -6, 4, 7, -4, 18, -11, 16, -13, -7,
         20);
    WANT(dx, 6, -8, 2, 4, 2, 6, 7, -1, -1, 3, 4, 7, -2, -3, -1, -4, 7, -2, 1, 5, 4, 9, -7, 1);
    WANT(dw, 0, -2, 16, -4, -5, 8, -4, -2);
    cvy_op *op; /* 0 means 1 */
    ok(cvy_op_conv2d(ctx, &(cvy_conv2d_desc){ .out_channels = 1, .kernel = { 1, 2 } },
                     (cvy_shape){ 1, 1, 1, 3 }, CVY_FORWARD, &op));
    assert_int_equal(cvy_op_dst_shape(op).w, 2);
    run_it(&op,
           (cvy_op_args){
               .src = IN(1, 10, 100), .weights = IN(2, 3), .bias = IN(0.5f), .dst = blank(y) });
    WANT(y, 32.5, 320.5);
}

/* ----------------------------------------------------------------------------------- batch norm */

static const cvy_shape BN = { 2, 2, 1, 2 }; /* means 4 and 1, variances 5 and 5 */
#define BN_X IN(1, 3, -2, 0, 5, 7, 2, 4)
#define BN_DY IN(1, 0, 2, -1, 3, 2, 0, 1)

static void bn_forward(const cvy_batch_norm_desc *d, enum cvy_pass pass, cvy_op_args args)
{
    cvy_op *op;
    ok(cvy_op_batch_norm(ctx, d, BN, pass, &op));
    args.src = BN_X;
    blank(args.dst);
    run_it(&op, args);
}

static void batch_norm_forward(void **state)
{
    (void)state;
    BLANK(y);
    float mean[2] = { 0 }, var[2] = { 0 }, rm[2] = { 8, -2 }, rv[2] = { 1, 2 };
    const float *const gamma = IN(3, 6), *const beta = IN(1, -1);
    const cvy_op_args all = { .weights = gamma,
                              .bias = beta,
                              .dst = y,
                              .mean = mean,
                              .var = var,
                              .running_mean = rm,
                              .running_var = rv };
#define PAIR(got, a, b) \
    assert_true(fabs((double)(got)[0] - (a)) < 2e-6 && fabs((double)(got)[1] - (b)) < 2e-6)
    bn_forward(&(cvy_batch_norm_desc){ .eps = 4, .momentum = 0.5 }, CVY_FORWARD, all);
    WANT(y, -2, 0, -7, -3, 2, 4, 1, 5);
    PAIR(mean, 4, 1);
    PAIR(var, 5, 5);
    PAIR(rm, 6, -0.5);
    PAIR(rv, 0.5 + 10. / 3, 1 + 10. / 3); /* 20/3 is the unbiased variance */
    rm[0] = 8;
    rm[1] = -2;
    rv[0] = 1;
    rv[1] = 2;
    /* eps 1e-5, momentum 0.1 */
    bn_forward(&(cvy_batch_norm_desc){ .running_var = CVY_BN_VAR_BIASED }, CVY_FORWARD, all);
    WANT(y, -3.02491833, -0.341639445, -9.04983667, -3.68327889, 2.34163944, 5.02491833, 1.68327889,
         7.04983667);
    PAIR(rm, 7.6, -1.7);
    PAIR(rv, 1.4, 2.3);
    /* statistics that nobody wants */
    bn_forward(NULL, CVY_FORWARD, (cvy_op_args){ .weights = gamma, .bias = beta, .dst = y });
    WANT(y, -3.02491833, -0.341639445, -9.04983667, -3.68327889, 2.34163944, 5.02491833, 1.68327889,
         7.04983667);
    bn_forward(&(cvy_batch_norm_desc){ .eps = 4, .no_affine = true }, CVY_FORWARD,
               (cvy_op_args){ .dst = y });
    WANT(y, -1, -1. / 3, -1, -1. / 3, 1. / 3, 1, 1. / 3, 1);
    /* one of the two alone */
    bn_forward(&(cvy_batch_norm_desc){ .eps = 4, .no_beta = true }, CVY_FORWARD,
               (cvy_op_args){ .weights = gamma, .dst = y });
    WANT(y, -3, -1, -6, -2, 1, 3, 2, 6);
    bn_forward(&(cvy_batch_norm_desc){ .eps = 4, .no_gamma = true }, CVY_FORWARD,
               (cvy_op_args){ .bias = beta, .dst = y });
    WANT(y, 0, 2. / 3, -2, -4. / 3, 4. / 3, 2, -2. / 3, 0);
    /* cumulative: the first batch is all there is, the fourth a quarter */
    for (uint64_t step = 0; step < 4; step += 3) {
        rm[0] = 8;
        rm[1] = -2;
        rv[0] = 1;
        rv[1] = 2;
        cvy_op_args at = all;
        at.step = step;
        bn_forward(&(cvy_batch_norm_desc){ .cumulative = true }, CVY_FORWARD, at);
        if (step == 0) {
            PAIR(rm, 4, 1);
            PAIR(rv, 20. / 3, 20. / 3);
        } else {
            PAIR(rm, 7, -1.25);
            PAIR(rv, 0.75 + 5. / 3, 1.5 + 5. / 3);
        }
    }
    /* by the running statistics, which stay */
    for (int frozen = 0; frozen < 2; frozen++) {
        rm[0] = 2;
        rm[1] = 1;
        rv[0] = 5;
        rv[1] = 12;
        mean[0] = var[0] = 99;
        enum cvy_pass pass = frozen ? CVY_FORWARD : CVY_FORWARD_INFER;
        bn_forward(&(cvy_batch_norm_desc){ .eps = 4, .momentum = 0.5, .frozen = frozen }, pass,
                   all);
        WANT(y, 0, 2, -5.5, -2.5, 4, 6, 0.5, 3.5);
        bn_forward(&(cvy_batch_norm_desc){ .eps = 4, .no_affine = true, .frozen = frozen }, pass,
                   (cvy_op_args){ .dst = y, .running_mean = rm, .running_var = rv });
        WANT(y, -1. / 3, 1. / 3, -0.75, -0.25, 1, 5. / 3, 0.25, 0.75);
        assert_true(rm[0] == 2 && rm[1] == 1 && rv[0] == 5 && rv[1] == 12 && mean[0] == 99 &&
                    var[0] == 99);
    }
}

/* By one of the two alone: the other's running statistic is nobody's. */
static void batch_norm_lite(void **state)
{
    (void)state;
    BLANK(y);
    const cvy_batch_norm_desc by_mean = { .eps = 4, .momentum = 0.5, .statistics = 1 },
                              by_var = { .eps = 4, .momentum = 0.5, .statistics = 2 };
    float mean[2] = { 0 }, var[2] = { 0 }, rm[2] = { 8, -2 }, rv[2] = { 1, 2 };
    const cvy_op_args all = { .weights = IN(3, 6),
                              .bias = IN(1, -1),
                              .dst = y,
                              .mean = mean,
                              .var = var,
                              .running_mean = rm,
                              .running_var = rv };
    bn_forward(&by_mean, CVY_FORWARD, all);
    WANT(y, -8, -2, -19, -7, 4, 10, 5, 17);
    PAIR(mean, 4, 1);
    PAIR(rm, 6, -0.5);
    PAIR(rv, 1, 2);
    rm[0] = 2;
    rm[1] = 1;
    bn_forward(&by_var, CVY_FORWARD, all);
    WANT(y, 2, 4, -5, -1, 6, 8, 3, 7);
    PAIR(var, 5, 5);
    PAIR(rm, 2, 1);
    PAIR(rv, 0.5 + 10. / 3, 1 + 10. / 3);
    rv[0] = 5;
    rv[1] = 12;
    bn_forward(&by_mean, CVY_FORWARD_INFER, all);
    WANT(y, -2, 4, -19, -7, 10, 16, 5, 17);
    bn_forward(&by_var, CVY_FORWARD_INFER, all);
    WANT(y, 2, 4, -4, -1, 6, 8, 2, 5);
}

static void bn_backward(const cvy_batch_norm_desc *d, float mean[2], float var[2], float *dx,
                        float *dg, float *db)
{
    cvy_op *op;
    ok(cvy_op_batch_norm(ctx, d, BN, CVY_BACKWARD_DATA, &op));
    run_it(&op, (cvy_op_args){ .src = BN_X,
                               .diff_dst = BN_DY,
                               .weights = d->no_affine || d->no_gamma ? NULL : IN(3, 6),
                               .mean = mean,
                               .var = var,
                               .diff_src = blank(dx),
                               .diff_weights = dg ? blank(dg) : NULL,
                               .diff_bias = db ? blank(db) : NULL });
}

static void batch_norm_backward(void **state)
{
    (void)state;
    BLANK(dx);
    BLANK(dg);
    BLANK(db);
    float mean[2] = { 4, 1 }, var[2] = { 5, 5 }, rm[2] = { 2, 1 }, rv[2] = { 5, 12 };
    bn_backward(&(cvy_batch_norm_desc){ .eps = 4 }, mean, var, dx, dg, db);
    WANT(dx, 0, -4. / 3, 8. / 3, -28. / 9, 4. / 3, 0, -8. / 9, 4. / 3);
    WANT(dg, 2, -2. / 3);
    WANT(db, 6, 2);
    bn_backward(&(cvy_batch_norm_desc){ 0 }, mean, var, dx, dg, db);
    WANT(dx, 0.536653363, -1.60996814, 3.21993628, -4.29324569, 1.60996814, -0.536653363,
         -1.07331209, 2.1466215);
    bn_backward(&(cvy_batch_norm_desc){ .eps = 4, .no_affine = true }, mean, var, dx, NULL, NULL);
    WANT(dx, 0, -4. / 9, 4. / 9, -14. / 27, 4. / 9, 0, -4. / 27, 2. / 9);
    bn_backward(&(cvy_batch_norm_desc){ .eps = 4, .no_beta = true }, mean, var, dx, dg, NULL);
    WANT(dx, 0, -4. / 3, 8. / 3, -28. / 9, 4. / 3, 0, -8. / 9, 4. / 3);
    WANT(dg, 2, -2. / 3);
    bn_backward(&(cvy_batch_norm_desc){ .eps = 4, .no_gamma = true }, mean, var, dx, NULL, db);
    WANT(dx, 0, -4. / 9, 4. / 9, -14. / 27, 4. / 9, 0, -4. / 27, 2. / 9);
    WANT(db, 6, 2);
    bn_backward(&(cvy_batch_norm_desc){ .eps = 4, .frozen = true }, rm, rv, dx, dg, db);
    WANT(dx, 1, 0, 3, -1.5, 3, 2, 0, 1.5);
    WANT(dg, 6, -0.5);
    WANT(db, 6, 2);
    bn_backward(&(cvy_batch_norm_desc){ .eps = 4, .frozen = true, .no_affine = true }, rm, rv, dx,
                NULL, NULL);
    WANT(dx, 1. / 3, 0, 0.5, -0.25, 1, 2. / 3, 0, 0.25);
    /* by the mean, by the variance alone */
    bn_backward(&(cvy_batch_norm_desc){ .eps = 4, .statistics = 1 }, mean, var, dx, dg, db);
    WANT(dx, -1.5, -4.5, 9, -9, 4.5, 1.5, -3, 3);
    WANT(dg, 6, -2);
    WANT(db, 6, 2);
    bn_backward(&(cvy_batch_norm_desc){ .eps = 4, .statistics = 2 }, mean, var, dx, dg, db);
    WANT(dx, 3.5, 5. / 6, 4, -2, 13. / 6, -0.5, 0, 2);
    WANT(dg, 10, 0);
    WANT(db, 6, 2);
    bn_backward(&(cvy_batch_norm_desc){ .eps = 4, .frozen = true, .statistics = 1 }, rm, rv, dx, dg,
                db);
    WANT(dx, 3, 0, 12, -6, 9, 6, 0, 6);
    WANT(dg, 18, -2);
    bn_backward(&(cvy_batch_norm_desc){ .eps = 4, .frozen = true, .statistics = 2 }, rm, rv, dx, dg,
                db);
    WANT(dx, 1, 0, 3, -1.5, 3, 2, 0, 1.5);
    WANT(dg, 10, 0);
}

/* ---------------------------------------------------------------------------------- activations */

static void activations(void **state)
{
    (void)state;
    static const float x[5] = { -2, -0.5f, 0, 0.5f, 3 }, dy[5] = { 1, 2, 3, 4, 5 };
    static const struct {
        cvy_act_desc d;
        double y[5], dx[5];
    } known[] = {
        /* from GELU on of PyTorch 2.15, in double */
        { { .kind = CVY_SIGMOID },
          { 0.119202922, 0.377540669, 0.5, 0.622459331, 0.952574127 },
          { 0.104993585, 0.470007424, 0.75, 0.940014849, 0.225883299 } },
        { { .kind = CVY_TANH },
          { -0.96402758, -0.462117157, 0, 0.462117157, 0.995054754 },
          { 0.0706508249, 1.57289547, 3, 3.14579093, 0.0493301858 } },
        { { .kind = CVY_RELU }, { 0, 0, 0, 0.5, 3 }, { 0, 0, 0, 4, 5 } },
        { { .kind = CVY_RELU, .relu_grad_at_zero = 0.5 },
          { 0, 0, 0, 0.5, 3 },
          { 0, 0, 1.5, 4, 5 } },
        { { .kind = CVY_LEAKY_RELU }, { -0.02, -0.005, 0, 0.5, 3 }, { 0.01, 0.02, 0.03, 4, 5 } },
        { { .kind = CVY_LEAKY_RELU, .alpha = 0.25 },
          { -0.5, -0.125, 0, 0.5, 3 },
          { 0.25, 0.5, 0.75, 4, 5 } },
        { { .kind = CVY_ELU },
          { -0.864664717, -0.39346934, 0, 0.5, 3 },
          { 0.135335283, 1.21306132, 3, 4, 5 } },
        { { .kind = CVY_ELU, .alpha = 2 },
          { -1.72932943, -0.786938681, 0, 0.5, 3 },
          { 0.270670566, 2.42612264, 6, 4, 5 } },
        { { .kind = CVY_SOFTPLUS },
          { 0.126928011, 0.474076984, 0.693147181, 0.974076984, 3.04858735 },
          { 0.119202922, 0.755081338, 1.5, 2.48983732, 4.76287063 } },
        { { .kind = CVY_GELU },
          { -0.0455002639, -0.154268769, 0, 0.345731231, 2.99595031 },
          { -0.0852318011, 0.265009751, 1.5, 3.4699805, 5.05972824 } },
        { { .kind = CVY_GELU_TANH },
          { -0.0454023059, -0.15428599, 0, 0.34571401, 2.99636261 },
          { -0.0860992566, 0.265260193, 1.5, 3.46947961, 5.05792083 } },
        { { .kind = CVY_SILU },
          { -0.238405844, -0.188770334, 0, 0.311229666, 2.85772238 },
          { -0.0907842488, 0.520077625, 1.5, 2.95984475, 5.44052053 } },
        { { .kind = CVY_MISH },
          { -0.252501483, -0.220743775, 0, 0.375245211, 2.986535 },
          { -0.108355092, 0.579021356, 1.8, 3.5456975, 5.10553455 } },
        { { .kind = CVY_HARDSWISH },
          { -0.333333333, -0.208333333, 0, 0.291666667, 3 },
          { -0.166666667, 0.666666667, 1.5, 2.66666667, 5 } },
        { { .kind = CVY_RELU6 }, { 0, 0, 0, 0.5, 3 }, { 0, 0, 0, 4, 5 } },
        { { .kind = CVY_NORMAL_CDF },
          { 0.0227501319, 0.308537539, 0.5, 0.691462461, 0.998650102 },
          { 0.0539909665, 0.704130653, 1.19682684, 1.40826131, 0.0221592421 } },
        { { .kind = CVY_HARDTANH }, { -1, -0.5, 0, 0.5, 1 }, { 0, 2, 3, 4, 0 } },
    };
    bool tried[CHECK_ACTS] = { false };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        tried[known[i].d.kind] = true;
        BLANK(y);
        BLANK(dx);
        cvy_op *op;
        for (int pass = CVY_FORWARD; pass <= CVY_FORWARD_INFER; pass++) {
            ok(cvy_op_activation(ctx, &known[i].d, (cvy_shape){ 1, 5, 1, 1 }, (enum cvy_pass)pass,
                                 &op));
            run_it(&op, (cvy_op_args){ .src = x, .dst = blank(y) });
            near_all("y", y, known[i].y, 5);
        }
        ok(cvy_op_activation(ctx, &known[i].d, (cvy_shape){ 1, 5, 1, 1 }, CVY_BACKWARD_DATA, &op));
        /* the other is not looked at */
        bool from_x = check_acts[known[i].d.kind].by_x || known[i].d.relu_grad_at_zero != 0;
        if (!from_x)
            assert_int_equal(
                cvy_op_run(op, &(cvy_op_args){ .src = x, .diff_dst = dy, .diff_src = dx }),
                CVY_E_ARG);
        run_it(&op, (cvy_op_args){ .src = from_x ? x : NULL,
                                   .dst_in = from_x ? NULL : y,
                                   .diff_dst = dy,
                                   .diff_src = dx });
        near_all("dx", dx, known[i].dx, 5);
    }
    for (int kind = 0; kind < CHECK_ACTS; kind++) assert_true(tried[kind]);
}

/* A group norm's results at groups of 1 and 3, whose mean is 2 and variance 1, with an eps of 3:
 * xhat is half of what they are more than 2. */
static void group_norm_at(const cvy_group_norm_desc *d, cvy_shape s, const float *x,
                          const float *gamma, const float *beta, const double want_y[4])
{
    const double want_mean[] = { 2, 2 }, want_var[] = { 1, 1 };
    cvy_op *op;
    for (int pass = CVY_FORWARD; pass <= CVY_FORWARD_INFER; pass++) {
        BLANK(y);
        BLANK(mean);
        BLANK(var);
        ok(cvy_op_group_norm(ctx, d, s, (enum cvy_pass)pass, &op));
        run_it(&op,
               (cvy_op_args){
                   .src = x, .weights = gamma, .bias = beta, .dst = y, .mean = mean, .var = var });
        near_all("y", y, want_y, 4);
        if (pass == CVY_FORWARD_INFER) continue;
        near_all("mean", mean, want_mean, d->groups);
        near_all("variance", var, want_var, d->groups);
    }
}

static void group_norm_gradient_at(const cvy_group_norm_desc *d, cvy_shape s, const float *x,
                                   const float *gamma, const float *dy, const double want[3][4])
{
    const float mean[] = { 2, 2 }, var[] = { 1, 1 };
    size_t affine = d->elementwise ? 4 : 2;
    cvy_op *op;
    BLANK(dx);
    BLANK(dgamma);
    BLANK(dbeta);
    ok(cvy_op_group_norm(ctx, d, s, CVY_BACKWARD_DATA, &op));
    run_it(&op, (cvy_op_args){ .src = x,
                               .weights = gamma,
                               .mean = (float *)mean,
                               .var = (float *)var,
                               .diff_dst = dy,
                               .diff_src = dx,
                               .diff_weights = dgamma,
                               .diff_bias = dbeta });
    near_all("dx", dx, want[0], 4);
    near_all("dgamma", dgamma, want[1], affine);
    near_all("dbeta", dbeta, want[2], affine);
}

/* An image of two channels of two pixels; each a group, or one group with numbers of each element,
 * and the gradients by their formula. */
static void group_norm(void **state)
{
    (void)state;
    const cvy_shape s = { 1, 2, 1, 2 };
    const float x[] = { 1, 3, 3, 1 }, gamma[] = { 2, -4, 1, 0 }, beta[] = { 1, 0.5f, 0, 3 },
                dy[] = { 1, 2, 3, -1 }, dy_each[] = { 1, 2, -1, 4 };
    const cvy_group_norm_desc by_channel = { .groups = 2, .eps = 3 },
                              each = { .eps = 3, .groups = 1, .elementwise = true };
    group_norm_at(&by_channel, s, x, gamma, beta, (const double[4]){ 0, 2, -1.5, 2.5 });
    group_norm_at(&each, s, x, gamma, beta, (const double[4]){ 0, -1.5, 0.5, 3 });
    group_norm_gradient_at(&by_channel, s, x, gamma, dy,
                           (const double[3][4]){ { -0.375, 0.375, -3, 3 }, { 0.5, 2 }, { 3, 2 } });
    group_norm_gradient_at(&each, s, x, gamma, dy_each,
                           (const double[3][4]){ { 1.53125, -2.78125, 0.71875, 0.53125 },
                                                 { -0.5, 1, -0.5, -2 },
                                                 { 1, 2, -1, 4 } });
}

/* Two images of two channels of two pixels, slopes 0.5 and -2: slope * x where x is at most 0; the
 * slopes' gradients are the sums of dy * x there. */
static void prelu(void **state)
{
    (void)state;
    const cvy_shape s = { 2, 2, 1, 2 };
    const float x[] = { -2, 3, 4, -1, 0, -6, -0.5f, 2 }, dy[] = { 1, 2, 3, 4, 5, 6, 7, 8 },
                slope[] = { 0.5f, -2 };
    const double want[] = { -1, 3, 4, 2, 0, -3, 1, 2 },
                 want_dx[] = { 0.5, 2, 3, -8, 2.5, 3, -14, 8 }, want_dslope[] = { -38, -7.5 };
    cvy_op *op;
    for (int pass = CVY_FORWARD; pass <= CVY_FORWARD_INFER; pass++) {
        BLANK(y);
        ok(cvy_op_prelu(ctx, s, (enum cvy_pass)pass, &op));
        run_it(&op, (cvy_op_args){ .src = x, .weights = slope, .dst = y });
        near_all("y", y, want, 8);
    }
    BLANK(dx);
    BLANK(dslope);
    ok(cvy_op_prelu(ctx, s, CVY_BACKWARD_DATA, &op));
    run_it(
        &op,
        (cvy_op_args){
            .src = x, .weights = slope, .diff_dst = dy, .diff_src = dx, .diff_weights = dslope });
    near_all("dx", dx, want_dx, 8);
    near_all("dslope", dslope, want_dslope, 2);
    assert_int_equal(cvy_op_prelu(ctx, s, CVY_BACKWARD_WEIGHTS, &op), CVY_E_ARG);
}

/* Two rows and columns, spread two rows apart and one column; a row on top, which is the bias. */
static void conv_transpose2d(void **state)
{
    (void)state;
    const cvy_shape s = { 1, 1, 2, 2 };
    const cvy_conv_transpose2d_desc d = {
        .out_channels = 1, .kernel = { 2, 2 }, .stride = { 2, 1 }, .output_pad = { 1, 0 }
    };
    const float x[] = { 1, 2, 3, 4 }, w[] = { 1, 10, 100, 1000 }, b[] = { 0.5f },
                dy[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    cvy_op *op;
    for (int pass = CVY_FORWARD; pass <= CVY_FORWARD_INFER; pass++) {
        BLANK(y);
        ok(cvy_op_conv_transpose2d(ctx, &d, s, (enum cvy_pass)pass, &op));
        assert_int_equal(cvy_op_dst_shape(op).h, 5);
        run_it(&op, (cvy_op_args){ .src = x, .weights = w, .bias = b, .dst = y });
        WANT(y, 1.5, 12.5, 20.5, 100.5, 1200.5, 2000.5, 3.5, 34.5, 40.5, 300.5, 3400.5, 4000.5, 0.5,
             0.5, 0.5);
    }
    BLANK(dx);
    ok(cvy_op_conv_transpose2d(ctx, &d, s, CVY_BACKWARD_DATA, &op));
    run_it(&op, (cvy_op_args){ .weights = w, .diff_dst = dy, .diff_src = dx });
    WANT(dx, 5421, 6532, 12087, 13198);
    BLANK(dw);
    BLANK(db);
    ok(cvy_op_conv_transpose2d(ctx, &d, s, CVY_BACKWARD_WEIGHTS, &op));
    run_it(&op, (cvy_op_args){ .src = x, .diff_dst = dy, .diff_weights = dw, .diff_bias = db });
    WANT(dw, 58, 68, 88, 98);
    WANT(db, 120);
}

static void bias(void **state)
{
    (void)state;
    const cvy_shape s = { 2, 2, 1, 2 };
    const float x[] = { 1, 2, 3, 4, 5, 6, 7, 8 }, b[] = { 10, -10 };
    cvy_op *op;
    BLANK(y);
    ok(cvy_op_bias(ctx, s, CVY_FORWARD, &op));
    run_it(&op, (cvy_op_args){ .src = x, .bias = b, .dst = y });
    WANT(y, 11, 12, -7, -6, 15, 16, -3, -2);
    BLANK(db);
    ok(cvy_op_bias(ctx, s, CVY_BACKWARD_WEIGHTS, &op));
    run_it(&op, (cvy_op_args){ .diff_dst = x, .diff_bias = db });
    WANT(db, 14, 22);
    assert_int_equal(cvy_op_bias(ctx, s, CVY_BACKWARD_DATA, &op), CVY_E_ARG);
}

/* 2 x 2 pixels to 2 x 4, in each of the ways: [1 3] along columns becomes 1 1 3 3, 1 1.5 2.5 3, or
 * with corners 1 5/3 7/3 3; and each pixel's gradient is what it gave. */
static void upsample(void **state)
{
    (void)state;
    const cvy_shape s = { 1, 1, 2, 2 };
    static const struct {
        cvy_upsample_desc desc;
        double y[8], dx[4];
    } ways[] = {
        { { .scale = { 1, 2 } }, { 1, 1, 3, 3, 5, 5, 9, 9 }, { 3, 7, 11, 15 } },
        { { .kind = CVY_UPSAMPLE_BILINEAR, .size = { 2, 4 } },
          { 1, 1.5, 2.5, 3, 5, 6, 8, 9 },
          { 1 + 1.5 + 0.75, 0.5 + 2.25 + 4, 5 + 4.5 + 1.75, 1.5 + 5.25 + 8 } },
        { { .kind = CVY_UPSAMPLE_BILINEAR, .scale = { 1, 2 }, .align_corners = true },
          { 1, 5.0 / 3, 7.0 / 3, 3, 5, 19.0 / 3, 23.0 / 3, 9 },
          { 1 + 4.0 / 3 + 1, 2.0 / 3 + 2 + 4, 5 + 4 + 7.0 / 3, 2 + 14.0 / 3 + 8 } },
    };
    const float x[] = { 1, 3, 5, 9 }, dy[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    cvy_op *op;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        BLANK(y);
        BLANK(dx);
        ok(cvy_op_upsample(ctx, &ways[i].desc, s, CVY_FORWARD, &op));
        run_it(&op, (cvy_op_args){ .src = x, .dst = y });
        near_all("y", y, ways[i].y, 8);
        ok(cvy_op_upsample(ctx, &ways[i].desc, s, CVY_BACKWARD_DATA, &op));
        run_it(&op, (cvy_op_args){ .diff_dst = dy, .diff_src = dx });
        near_all("dx", dx, ways[i].dx, 4);
    }
    /* to fewer: what no result reads gets no gradient; and an infinity that has no part in it */
    const float row[] = { 1, INFINITY, 3, INFINITY, 5 };
    BLANK(y);
    BLANK(dx);
    const cvy_upsample_desc fewer = { .kind = CVY_UPSAMPLE_BILINEAR,
                                      .size = { 1, 3 },
                                      .align_corners = true };
    ok(cvy_op_upsample(ctx, &fewer, (cvy_shape){ 1, 1, 1, 5 }, CVY_FORWARD_INFER, &op));
    run_it(&op, (cvy_op_args){ .src = row, .dst = y });
    WANT(y, 1, 3, 5);
    ok(cvy_op_upsample(ctx, &fewer, (cvy_shape){ 1, 1, 1, 5 }, CVY_BACKWARD_DATA, &op));
    run_it(&op, (cvy_op_args){ .diff_dst = dy, .diff_src = dx });
    WANT(dx, 1, 0, 2, 0, 3);
}

static void mean_subtract(void **state)
{
    (void)state;
    const cvy_shape s = { 2, 2, 1, 2 };
    const float x[] = { 1, 2, 3, 6, 10, 20, 30, 0 };
    cvy_op *op;
    for (int pass = CVY_FORWARD; pass <= CVY_BACKWARD_DATA; pass++) {
        const bool back = pass == CVY_BACKWARD_DATA;
        BLANK(y);
        cvy_op_args args = { .src = x, .dst = y };
        if (back) args = (cvy_op_args){ .diff_dst = x, .diff_src = y };
        ok(cvy_op_mean_subtract(ctx, NULL, s, (enum cvy_pass)pass, &op));
        run_it(&op, args);
        WANT(y, -8, -7, -6, -3, 1, 11, 21, -9);
        ok(cvy_op_mean_subtract(ctx, &(cvy_mean_subtract_desc){ .over = CVY_MEAN_OF_IMAGE }, s,
                                (enum cvy_pass)pass, &op));
        run_it(&op, args);
        WANT(y, -2, -1, 0, 3, -5, 5, 15, -15);
    }
}

/* Two channels of four values, 2 and 1 about 3 and 0, uncorrelated: the covariance is diag(4, 1),
 * so with eps 0.1 W is diag(4.1, 1.1)^(-1/2); Newton's only step, with N = diag(4.1, 1.1) / 5.2,
 * has (3 - N) / 2 over the root of 5.2. */
static void whitening(void **state)
{
    (void)state;
    const cvy_shape s = { 2, 2, 1, 2 };
    const float x[] = { 5, 5, 1, -1, 1, 1, 1, -1 }, gamma[] = { 2, 1 }, beta[] = { 0, 3 };
    const double zca[2] = { 1 / sqrt(4.1), 1 / sqrt(1.1) },
                 newton[2] = { (3 - 4.1 / 5.2) / 2 / sqrt(5.2), (3 - 1.1 / 5.2) / 2 / sqrt(5.2) };
    cvy_op *op;
    for (int kind = 0; kind < 2; kind++) {
        const double *w = kind ? newton : zca;
        const cvy_whitening_desc d = { .kind = (enum cvy_whitening_kind)kind,
                                       .steps = kind ? 1 : 0,
                                       .channels = 2,
                                       .eps = 0.1,
                                       .momentum = 0.5 };
        float mean[MOST] = { 1, 2 }, matrix[MOST] = { 1, 0, 0, 1 };
        mean[2] = matrix[4] = 77;
        BLANK(y);
        ok(cvy_op_whitening(ctx, &d, s, CVY_FORWARD, &op));
        ok(cvy_op_run(op, &(cvy_op_args){ .src = x,
                                          .weights = gamma,
                                          .bias = beta,
                                          .dst = y,
                                          .running_mean = mean,
                                          .running_matrix = matrix }));
        cvy_op_destroy(&op);
        WANT(y, 4 * w[0], 4 * w[0], 3 + w[1], 3 - w[1], -4 * w[0], -4 * w[0], 3 + w[1], 3 - w[1]);
        WANT(mean, 2, 1);
        WANT(matrix, (1 + w[0]) / 2, 0, 0, (1 + w[1]) / 2);
    }
    /* by running statistics, and through them: y = gamma W (x - m), dx = W' gamma dy */
    cvy_whitening_desc d = { .channels = 2, .frozen = true };
    const float m[] = { 1, 0 }, w[] = { 1, 2, 3, 4 }, dy[] = { 1, 0, 0, 1, 2, 0, 0, 0 };
    for (int pass = CVY_FORWARD; pass <= CVY_FORWARD_INFER; pass++) {
        BLANK(y);
        ok(cvy_op_whitening(ctx, &d, s, (enum cvy_pass)pass, &op));
        run_it(&op, (cvy_op_args){ .src = x,
                                   .weights = gamma,
                                   .bias = beta,
                                   .running_mean = (float *)(uintptr_t)m,
                                   .running_matrix = (float *)(uintptr_t)w,
                                   .dst = y });
        WANT(y, 12, 4, 19, 11, 4, -4, 7, -1);
    }
    BLANK(dx);
    BLANK(dgamma);
    BLANK(dbeta);
    ok(cvy_op_whitening(ctx, &d, s, CVY_BACKWARD_DATA, &op));
    run_it(&op, (cvy_op_args){ .src = x,
                               .weights = gamma,
                               .running_mean = (float *)(uintptr_t)m,
                               .running_matrix = (float *)(uintptr_t)w,
                               .diff_dst = dy,
                               .diff_src = dx,
                               .diff_weights = dgamma,
                               .diff_bias = dbeta });
    WANT(dx, 2, 3, 4, 4, 4, 0, 8, 0);
    WANT(dgamma, 10, 8);
    WANT(dbeta, 3, 1);
}

/* Ranks 1, 2.5, 2.5 and 4 of four; then a table of three for 1/6, 1/2 and 5/6. */
static void rank(void **state)
{
    (void)state;
    const cvy_shape s = { 2, 1, 1, 2 };
    const double phi = 0.3989422804014327, z[] = { -1.1503493803760079, 0, 1.1503493803760079, 0 };
    cvy_op *op;
    for (int normal = 0; normal < 2; normal++) {
        const cvy_rank_desc d = { .quantiles = 3, .momentum = 0.5, .normal = normal };
        float q[MOST] = { 0, 0, 2 };
        q[3] = 77;
        BLANK(y);
        ok(cvy_op_rank(ctx, &d, s, CVY_FORWARD, &op));
        ok(cvy_op_run(op,
                      &(cvy_op_args){ .src = IN(-1, 3, 9, 3), .dst = y, .running_quantiles = q }));
        cvy_op_destroy(&op);
        if (normal) near_all("normal", y, z, 4);
        else WANT(y, 0.125, 0.5, 0.875, 0.5);
        /* of the batch: places 1/6, 3/2 and 17/6 */
        WANT(q, -1.0 / 6, 1.5, 5);
    }
    cvy_rank_desc d = { .quantiles = 3, .frozen = true };
    for (int pass = CVY_FORWARD; pass <= CVY_FORWARD_INFER; pass++) {
        BLANK(y);
        ok(cvy_op_rank(ctx, &d, (cvy_shape){ 2, 2, 1, 2 }, (enum cvy_pass)pass, &op));
        run_it(&op, (cvy_op_args){ .src = IN(-5, 1, 7, 8, 4, 3, 7, 6),
                                   .running_quantiles = (float *)(uintptr_t)IN(0, 2, 3, 7, 7, 9),
                                   .dst = y });
        WANT(y, 1.0 / 6, 1.0 / 3, 1.0 / 3, 2.0 / 3, 5.0 / 6, 5.0 / 6, 1.0 / 3, 1.0 / 6);
    }
    BLANK(dx);
    ok(cvy_op_rank(ctx, NULL, s, CVY_BACKWARD_DATA, &op));
    run_it(&op,
           (cvy_op_args){ .src = IN(0, 1, -1, 2), .diff_dst = IN(1, 2, 3, -4), .diff_src = dx });
    WANT(dx, phi, 2 * phi * exp(-0.5), 3 * phi * exp(-0.5), -4 * phi * exp(-2));
    d = (cvy_rank_desc){ .normal = true };
    assert_int_equal(cvy_op_rank(ctx, &d, s, CVY_BACKWARD_DATA, &op), CVY_E_ARG);
}

/* -------------------------------------------------------------------------------------- pooling */

static const float POOL_X[9] = { 1, 4, 4, 2, 4, -3, 0, 5, -6 };

static void pool_case(cvy_pool2d_desc d, float *y, float *dx)
{
    cvy_op *op;
    for (int pass = CVY_FORWARD; pass <= CVY_FORWARD_INFER; pass++) {
        ok(cvy_op_pool2d(ctx, &d, (cvy_shape){ 1, 1, 3, 3 }, (enum cvy_pass)pass, &op));
        run_it(&op, (cvy_op_args){ .src = POOL_X, .dst = blank(y) });
    }
    ok(cvy_op_pool2d(ctx, &d, (cvy_shape){ 1, 1, 3, 3 }, CVY_BACKWARD_DATA, &op));
    run_it(&op, (cvy_op_args){ .src = d.kind == CVY_POOL_MAX ? POOL_X : NULL,
                               .diff_dst = IN(6, 12, 24, 48),
                               .diff_src = blank(dx) });
}

static void pools(void **state)
{
    (void)state;
    BLANK(y);
    BLANK(dx);
    /* windows 1 4 2 4, 4 4 4 -3, 2 4 0 5, 4 -3 5 -6 */
    cvy_pool2d_desc d = { .kernel = { 2, 2 }, .stride = { 1, 1 } };
    pool_case(d, y, dx);
    WANT(y, 4, 4, 5, 5);
    WANT(dx, 0, 18, 0, 0, 0, 0, 0, 72, 0);
    d.tie = CVY_TIE_ALL;
    pool_case(d, y, dx);
    WANT(dx, 0, 18, 12, 0, 18, 0, 0, 72, 0);
    d.tie = CVY_TIE_SPLIT;
    pool_case(d, y, dx);
    WANT(dx, 0, 7, 4, 0, 7, 0, 0, 72, 0);
    d.kind = CVY_POOL_AVG;
    pool_case(d, y, dx);
    WANT(y, 2.75, 2.25, 2.75, 0);
    WANT(dx, 1.5, 4.5, 3, 7.5, 22.5, 15, 6, 18, 12);
    /* no stride: the kernel; padding at the top and on the right: windows of rows -1…0 and 1…2,
     * columns 0…1 and 2…3 */
    d = (cvy_pool2d_desc){ .kernel = { 2, 2 }, .pad = { 1, 0, 0, 1 }, .kind = CVY_POOL_AVG };
    pool_case(d, y, dx);
    WANT(y, 1.25, 1, 2.75, -2.25);
    WANT(dx, 1.5, 1.5, 3, 6, 6, 12, 6, 6, 12);
    d.exclude_pad = true;
    pool_case(d, y, dx);
    WANT(y, 2.5, 4, 2.75, -4.5);
    WANT(dx, 3, 3, 12, 6, 6, 24, 6, 6, 24);
    d.kind = CVY_POOL_MAX;
    pool_case(d, y, dx);
    WANT(y, 4, 4, 5, -3);
    WANT(dx, 0, 6, 12, 0, 0, 48, 0, 24, 0);
    /* rounded up: the last windows overhang, what does is not counted */
    d = (cvy_pool2d_desc){ .kernel = { 2, 2 }, .ceil_mode = true, .kind = CVY_POOL_AVG };
    pool_case(d, y, dx);
    WANT(y, 2.75, 0.5, 2.5, -6);
    WANT(dx, 1.5, 1.5, 6, 1.5, 1.5, 6, 12, 12, 48);
}

/* -------------------------------------------------------------------------------------- dropout */

static size_t dropped(const cvy_dropout_desc *d, enum cvy_pass pass, uint64_t seed, uint64_t step,
                      float kept)
{
    static const cvy_shape s = { 3, 4, 5, 5 };
    float x[300], y[300];
    size_t zeros = 0;
    cvy_op *op;
    for (size_t i = 0; i < 300; i++) x[i] = (float)i + 1;
    ok(cvy_op_dropout(ctx, d, s, pass, &op));
    cvy_op_args args = { .src = x, .dst = y, .seed = seed, .step = step };
    if (pass == CVY_BACKWARD_DATA)
        args = (cvy_op_args){ .diff_dst = x, .diff_src = y, .seed = seed, .step = step };
    ok(cvy_op_run(op, &args));
    cvy_op_destroy(&op);
    size_t digest = 0;
    for (size_t i = 0; i < 300; i++) {
        zeros += y[i] == 0;
        digest = digest * 31 + (y[i] == 0);
        if (y[i] != 0 && !(fabsf(y[i] - kept * x[i]) <= 1e-6f * y[i]))
            fail_msg("%g of %g, expected %g of it", (double)y[i], (double)x[i], (double)kept);
    }
    double spread = 5 * sqrt(300 * d->p * (1 - d->p));
    if (pass == CVY_FORWARD_INFER) assert_int_equal(zeros, 0);
    else assert_true(fabs((double)zeros - 300 * d->p) <= spread);
    return digest;
}

static void dropouts(void **state)
{
    (void)state;
    const cvy_dropout_desc d = { .p = 0.2 }, plain = { .p = 0.2, .unscaled = true };
    size_t first = dropped(&d, CVY_FORWARD, 1, 2, 1.25f);
    assert_true(dropped(&d, CVY_BACKWARD_DATA, 1, 2, 1.25f) == first); /* the same mask */
    assert_true(dropped(&d, CVY_FORWARD, 1, 3, 1.25f) != first);
    assert_true(dropped(&d, CVY_FORWARD, 2, 2, 1.25f) != first);
    assert_true(dropped(&d, CVY_FORWARD, 2, 1, 1.25f) != first);
    dropped(&d, CVY_FORWARD_INFER, 1, 2, 1);
    assert_true(dropped(&plain, CVY_FORWARD, 1, 2, 1) == first);
    assert_true(dropped(&plain, CVY_BACKWARD_DATA, 1, 2, 1) == first);
    dropped(&plain, CVY_FORWARD_INFER, 1, 2, 0.8f);
    dropped(&(cvy_dropout_desc){ .p = 0 }, CVY_FORWARD, 1, 2, 1);
}

/* -------------------------------------------------------------------------- sums, joins, losses */

static void joins(void **state)
{
    (void)state;
    BLANK(y);
    cvy_op *op;
    ok(cvy_op_add(ctx, (cvy_shape){ 1, 2, 1, 2 }, &op));
    run_it(&op, (cvy_op_args){ .src = IN(1, 2, 3, 4), .src2 = IN(10, 20, 30, -4), .dst = y });
    WANT(y, 11, 22, 33, 0);
    ok(cvy_op_multiply(ctx, (cvy_shape){ 1, 2, 1, 2 }, &op));
    run_it(&op, (cvy_op_args){ .src = IN(1, 2, 3, 4), .src2 = IN(10, 0.5, -3, 0), .dst = y });
    WANT(y, 10, 1, -9, 0);
    const cvy_shape part[] = { { 2, 1, 1, 2 }, { 2, 2, 1, 2 }, { 2, 1, 1, 2 } };
    const float *const in[] = { IN(1, 2, 3, 4), IN(5, 6, 7, 8, 9, 10, 11, 12), IN(13, 14, 15, 16) };
    for (int pass = CVY_FORWARD; pass <= CVY_FORWARD_INFER; pass++) {
        ok(cvy_op_concat(ctx, part, 3, (enum cvy_pass)pass, &op));
        run_it(&op, (cvy_op_args){ .srcs = in, .dst = blank(y) });
        WANT(y, 1, 2, 5, 6, 7, 8, 13, 14, 3, 4, 9, 10, 11, 12, 15, 16);
    }
    BLANK(a);
    BLANK(b);
    BLANK(c);
    ok(cvy_op_concat(ctx, part, 3, CVY_BACKWARD_DATA, &op));
    run_it(&op, (cvy_op_args){ .diff_dst = y, .diff_srcs = (float *const[]){ a, b, c } });
    WANT(a, 1, 2, 3, 4);
    WANT(b, 5, 6, 7, 8, 9, 10, 11, 12);
    WANT(c, 13, 14, 15, 16);
}

/* Two images of 1 x 1 x 2 between one channel of zeros and two. */
static void padding(void **state)
{
    (void)state;
    const cvy_shape s = { 2, 1, 1, 2 };
    cvy_op *op;
    for (int pass = CVY_FORWARD; pass <= CVY_FORWARD_INFER; pass++) {
        BLANK(y);
        ok(cvy_op_pad_channels(ctx, 1, 2, s, (enum cvy_pass)pass, &op));
        assert_int_equal(cvy_op_dst_shape(op).c, 4);
        run_it(&op, (cvy_op_args){ .src = IN(1, 2, 3, 4), .dst = y });
        WANT(y, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0);
    }
    BLANK(dx);
    ok(cvy_op_pad_channels(ctx, 1, 2, s, CVY_BACKWARD_DATA, &op));
    run_it(&op, (cvy_op_args){ .diff_dst = IN(9, 9, 1, 2, 9, 9, 9, 9, 9, 9, 3, 4, 9, 9, 9, 9),
                               .diff_src = dx });
    WANT(dx, 1, 2, 3, 4);
    assert_int_equal(cvy_op_pad_channels(ctx, 1, 2, s, CVY_BACKWARD_WEIGHTS, &op), CVY_E_ARG);
    assert_string_equal(cvy_message(ctx), "pad_channels has no pass 3");
    assert_int_equal(cvy_op_pad_channels(ctx, SIZE_MAX, 2, s, CVY_FORWARD, &op), CVY_E_ARG);
}

/* Two images of three numbers, however they lie: rows of w times x, and b. */
static void linear(void **state)
{
    (void)state;
    const cvy_shape shapes[] = { { 2, 3, 1, 1 }, { 2, 1, 3, 1 }, { 2, 1, 1, 3 } };
    const float x[] = { 1, 2, 3, 4, 5, 6 }, w[] = { 1, 0, -1, 2, 1, 0 }, b[] = { 10, 20 },
                dy[] = { 1, 2, 3, 4 };
    const cvy_linear_desc d = { .out_features = 2 };
    cvy_op *op;
    for (size_t i = 0; i < 3; i++) {
        for (int pass = CVY_FORWARD; pass <= CVY_FORWARD_INFER; pass++) {
            BLANK(y);
            ok(cvy_op_linear(ctx, &d, shapes[i], (enum cvy_pass)pass, &op));
            assert_int_equal(cvy_op_dst_shape(op).c, 2);
            run_it(&op, (cvy_op_args){ .src = x, .weights = w, .bias = b, .dst = y });
            WANT(y, 8, 24, 8, 33);
        }
        BLANK(dx);
        ok(cvy_op_linear(ctx, &d, shapes[i], CVY_BACKWARD_DATA, &op));
        run_it(&op, (cvy_op_args){ .diff_dst = dy, .weights = w, .diff_src = dx });
        WANT(dx, 5, 2, -1, 11, 4, -3);
        BLANK(dw);
        BLANK(db);
        ok(cvy_op_linear(ctx, &d, shapes[i], CVY_BACKWARD_WEIGHTS, &op));
        run_it(&op, (cvy_op_args){ .src = x, .diff_dst = dy, .diff_weights = dw, .diff_bias = db });
        WANT(dw, 13, 17, 21, 18, 24, 30);
        WANT(db, 4, 6);
    }
    assert_int_equal(cvy_op_linear(ctx, NULL, shapes[0], CVY_FORWARD, &op), CVY_E_ARG);
    assert_string_equal(cvy_message(ctx), "linear needs a descriptor");
    assert_int_equal(cvy_op_linear(ctx, &(cvy_linear_desc){ 0 }, shapes[0], CVY_FORWARD, &op),
                     CVY_E_ARG);
}

static void near_loss(double loss, double want)
{
    if (!(fabs(loss - want) <= 4e-6 * (1 + want)))
        fail_msg("the loss is %.9g, expected %.9g", loss, want);
}

static void losses(void **state)
{
    (void)state;
    static const cvy_shape s = { 2, 3, 1, 1 };
    const float *const x = IN(1, 2, 3, 0, 0, 0);
    BLANK(y);
    cvy_op *op;
    ok(cvy_op_softmax(ctx, s, &op));
    run_it(&op, (cvy_op_args){ .src = x, .dst = y });
    WANT(y, 0.0900305732, 0.244728471, 0.665240956, 1. / 3, 1. / 3, 1. / 3);
    const int32_t labels[] = { 2, 0 };
    double loss = 0;
    ok(cvy_op_loss(ctx, NULL, s, &op));
    run_it(&op, (cvy_op_args){ .src = x, .labels = labels, .loss = &loss, .diff_src = blank(y) });
    WANT(y, 0.0450152866, 0.122364236, -0.167379522, -1. / 3, 1. / 6, 1. / 6);
    near_loss(loss, 0.753109127);
    ok(cvy_op_loss(ctx, &(cvy_loss_desc){ .label_smoothing = 0.3 }, s, &op));
    run_it(&op, (cvy_op_args){ .src = x, .labels = labels, .loss = &loss, .diff_src = blank(y) });
    WANT(y, -0.00498471341, 0.0723642355, -0.0673795221, -0.7 / 3, 0.35 / 3, 0.35 / 3);
    near_loss(loss, 0.903109127);
    ok(cvy_op_loss(ctx, NULL, s, &op)); /* a gradient without the loss */
    run_it(&op, (cvy_op_args){ .src = x, .labels = labels, .diff_src = blank(y) });
    WANT(y, 0.0450152866, 0.122364236, -0.167379522, -1. / 3, 1. / 6, 1. / 6);
}

/* ----------------------------------------------------------------------------- on every backend */

static int open_context(void **state)
{
    return cvy_context_create(&(cvy_context_options){ .backends = *state, .threads = 2 }, &ctx) ==
                   CVY_OK
               ? 0
               : -1;
}
static int close_context(void **state)
{
    (void)state;
    cvy_context_destroy(&ctx);
    return 0;
}

int main(void)
{
    const char *const lists[] = { "reference", "native,reference", "onednn,native,reference" };
    int failed = 0;
    for (size_t i = 0; i < 3; i++) {
        enum cvy_status status =
            cvy_context_create(&(cvy_context_options){ .backends = lists[i] }, &ctx);
        bool absent = status != CVY_OK && strstr(cvy_message(ctx), "convoy-onednn.so in");
        cvy_context_destroy(&ctx);
        if (absent) {
            print_message("left out: the oneDNN module: not built (Debian: libdnnl-dev)\n");
            continue;
        }
#define EACH(f)                                                              \
    cmocka_unit_test_prestate_setup_teardown(f, open_context, close_context, \
                                             (void *)(uintptr_t)lists[i])
        const struct CMUnitTest tests[] = { EACH(convolutions),
                                            EACH(batch_norm_forward),
                                            EACH(batch_norm_lite),
                                            EACH(batch_norm_backward),
                                            EACH(activations),
                                            EACH(prelu),
                                            EACH(group_norm),
                                            EACH(conv_transpose2d),
                                            EACH(bias),
                                            EACH(upsample),
                                            EACH(mean_subtract),
                                            EACH(whitening),
                                            EACH(rank),
                                            EACH(pools),
                                            EACH(dropouts),
                                            EACH(padding),
                                            EACH(linear),
                                            EACH(joins),
                                            EACH(losses) };
        print_message("%s\n", lists[i]);
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    }
    return failed;
}
