/* Published numbers of Stanford's cs231n, assignment 2 (batch norm, convolution, max pooling, two
 * initial losses): the reference backend's functions in double reproduce the printed digits, the
 * native backend agrees within float's rounding. Inputs come from NumPy's legacy RandomState(231),
 * rebuilt here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "backends/reference/reference.h"
#include "convoy/convoy.h"

/* ---------------------------------------------------------------------------- NumPy's generator */

struct mt {
    uint32_t s[624];
    int i;
    bool kept;
    double keep;
};

static void mt_seed(struct mt *m, uint32_t seed)
{
    *m = (struct mt){ .i = 624 };
    m->s[0] = seed;
    for (uint32_t i = 1; i < 624; i++)
        m->s[i] = 1812433253u * (m->s[i - 1] ^ m->s[i - 1] >> 30) + i;
}

/* MT19937 (Matsumoto & Nishimura 1998) */
static uint32_t mt_next(struct mt *m)
{
    if (m->i == 624) {
        for (int k = 0; k < 624; k++) {
            uint32_t y = (m->s[k] & 0x80000000u) | (m->s[(k + 1) % 624] & 0x7fffffffu);
            m->s[k] = m->s[(k + 397) % 624] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        m->i = 0;
    }
    uint32_t y = m->s[m->i++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

static double mt_uniform(struct mt *m)
{
    uint32_t a = mt_next(m) >> 5, b = mt_next(m) >> 6;
    return (a * 67108864.0 + b) / 9007199254740992.0;
}

/* Marsaglia's polar method, two at a time. */
static double mt_normal(struct mt *m)
{
    if (m->kept) {
        m->kept = false;
        return m->keep;
    }
    double x1, x2, r2;
    do {
        x1 = 2 * mt_uniform(m) - 1;
        x2 = 2 * mt_uniform(m) - 1;
        r2 = x1 * x1 + x2 * x2;
    } while (r2 >= 1 || r2 == 0);
    double f = sqrt(-2 * log(r2) / r2);
    m->keep = f * x1;
    m->kept = true;
    return f * x2;
}

static int32_t mt_below10(struct mt *m)
{
    uint32_t v;
    do v = mt_next(m) & 15;
    while (v > 9);
    return (int32_t)v;
}

static double *normals(struct mt *m, size_t n, double scale, double shift)
{
    double *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = scale * mt_normal(m) + shift;
    return x;
}

static double *linspace(double from, double to, size_t n)
{
    double *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = from + (double)i * ((to - from) / (double)(n - 1));
    x[n - 1] = to;
    return x;
}

/* --------------------------------------------------------------------------- calling the oracle */

struct operand {
    const void *p;
    cvy_shape s;
};

/* Runs one reference op on plain double arrays: up to five inputs, three outputs (NULL: absent). */
static void oracle(cvyi_ref_fn *fn, struct cvy_op_desc op, size_t n, const struct operand in[5],
                   const struct operand out[3], const int32_t *labels)
{
    _Alignas(
        struct cvyi_ref) char bytes[sizeof(struct cvyi_ref) + 5 * sizeof(struct cvyi_ref_value)] = {
        0
    };
    struct cvyi_ref *r = (void *)bytes;
    void *buf[8];
    r->op = op;
    r->op.n_in = 5;
    r->op.n_out = 3;
    for (int k = 0; k < 8; k++) {
        const struct operand *o = k < 5 ? &in[k] : &out[k - 5];
        struct cvyi_ref_value *v = k < 5 ? &r->in[k] : &r->out[k - 5];
        v->id = o->p ? k : -1;
        v->shape = o->s;
        buf[k] = (void *)(uintptr_t)o->p;
    }
    struct cvy_run run = { .buf = buf, .n = n, .labels32 = labels };
    fn(r, &run);
}

static struct cvy_op_desc bn_op(double eps)
{
    return (struct cvy_op_desc){
        .u.bn = { .eps = eps, .momentum = 0.1, .running_var = CVY_BN_VAR_BIASED }
    };
}

/* A batch norm in training, and what is kept from step to step (NULL: nothing). */
struct bn {
    const double *gamma, *beta;
    double *running_mean, *running_var;
    enum cvy_bn_var kind;
};

/* y = batch_norm(x), stats[2][c] */
static void oracle_bn(const struct bn *bn, const double *x, cvy_shape s, double *stats, double *y)
{
    cvy_shape c = { 1, s.c, 1, 1 };
    struct cvy_op_desc op = bn_op(1e-5);
    op.u.bn.running_var = bn->kind;
    oracle(cvyi_ref_bn_stats, op, s.n,
           (struct operand[5]){ { x, s }, { bn->running_mean, c }, { bn->running_var, c } },
           (struct operand[3]){ { stats, c } }, NULL);
    oracle(cvyi_ref_bn_apply, op, s.n,
           (struct operand[5]){ { x, s }, { stats, c }, { bn->gamma, c }, { bn->beta, c } },
           (struct operand[3]){ { y, s } }, NULL);
}

/* y[n][m] = x[n][k] w[k][m]: cs231n keeps weights as [in][out]. */
static double *matmul(const double *x, const double *w, size_t n, size_t k, size_t m)
{
    double *y = calloc(n * m, sizeof *y);
    assert_non_null(y);
    for (size_t i = 0; i < n; i++)
        for (size_t a = 0; a < k; a++)
            for (size_t j = 0; j < m; j++) y[i * m + j] += x[i * k + a] * w[a * m + j];
    return y;
}

static void relu(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = x[i] > 0 ? x[i] : 0;
}

/* max(0, x w1) w2: cs231n's "two-layer input" */
static double *two_layers(const double *x, const double *w1, const double *w2, size_t n)
{
    double *h = matmul(x, w1, n, 50, 60);
    relu(h, n * 60);
    double *y = matmul(h, w2, n, 60, 3);
    free(h);
    return y;
}

/* Mean and population standard deviation of every channel. */
static void moments(const double *x, cvy_shape s, double *mean, double *std)
{
    double *stats = calloc(2 * s.c, sizeof *stats);
    assert_non_null(stats);
    oracle(cvyi_ref_bn_stats, bn_op(0), s.n, (struct operand[5]){ { x, s } },
           (struct operand[3]){ { stats, s } }, NULL);
    for (size_t c = 0; c < s.c; c++) {
        mean[c] = stats[c];
        std[c] = sqrt(stats[s.c + c]);
    }
    free(stats);
}

static void close_to(const char *what, const double *got, const double *want, size_t n,
                     double tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= tolerance))
            fail_msg("%s[%zu]: %.17g, published %.17g", what, i, got[i], want[i]);
}
#define CLOSE(what, got, tolerance, ...)                 \
    close_to(what, got, (const double[]){ __VA_ARGS__ }, \
             sizeof((double[]){ __VA_ARGS__ }) / sizeof(double), tolerance)

/* ------------------------------------------------------------------------------ the native side */

static float *floats(const double *x, size_t n)
{
    float *y = malloc((n ? n : 1) * sizeof *y);
    assert_non_null(y);
    for (size_t i = 0; i < n; i++) y[i] = (float)x[i];
    return y;
}

static cvy_context *native(void)
{
    cvy_context *ctx;
    assert_int_equal(
        cvy_context_create(&(cvy_context_options){ .backends = "native", .strict = true }, &ctx),
        CVY_OK);
    return ctx;
}

static void run_op(cvy_context *ctx, enum cvy_status created, cvy_op **op, const cvy_op_args *args)
{
    if (created != CVY_OK) fail_msg("%s", cvy_message(ctx));
    if (cvy_op_run(*op, args) != CVY_OK) fail_msg("%s", cvy_message(ctx));
    cvy_op_destroy(op);
}

static void near(const char *what, const float *got, const double *want, size_t n, double tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance * fmax(1, fabs(want[i]))))
            fail_msg("native %s[%zu]: %.9g, reference %.17g", what, i, (double)got[i], want[i]);
}

/* Native batch norm of x against the reference's y and stats. */
static void native_bn(const struct bn *bn, const double *x, cvy_shape s, const double *stats,
                      const double *y)
{
    cvy_context *ctx = native();
    size_t size = s.n * s.c * s.h * s.w;
    float *fx = floats(x, size), *fg = floats(bn->gamma, s.c), *fb = floats(bn->beta, s.c),
          *fy = floats(x, size);
    float *mean = floats(x, s.c), *var = floats(x, s.c);
    cvy_op *op;
    run_op(ctx, cvy_op_batch_norm(ctx, NULL, s, CVY_FORWARD, &op), &op,
           &(cvy_op_args){
               .src = fx, .weights = fg, .bias = fb, .dst = fy, .mean = mean, .var = var });
    near("batch norm", fy, y, size, 2e-6);
    near("mean", mean, stats, s.c, 1e-6);
    near("variance", var, stats + s.c, s.c, 1e-6);
    free(fx);
    free(fg);
    free(fb);
    free(fy);
    free(mean);
    free(var);
    cvy_context_destroy(&ctx);
}

/* ---------------------------------------------------------------------------------- the numbers */

static void test_generator(void **state)
{
    (void)state;
    struct mt m;
    mt_seed(&m, 231);
    double x[4];
    for (int i = 0; i < 4; i++) x[i] = mt_normal(&m);
    CLOSE("randn", x, 5e-9, 0.41794341, 1.39710028, -1.78590431, -0.70882773);
}

static void test_bn_forward(void **state)
{
    (void)state;
    struct mt m;
    mt_seed(&m, 231);
    double *x = normals(&m, 200 * 50, 1, 0), *w1 = normals(&m, 50 * 60, 1, 0),
           *w2 = normals(&m, 60 * 3, 1, 0);
    double *a = two_layers(x, w1, w2, 200), mean[3], std[3], stats[6], y[600];
    cvy_shape s = { 200, 3, 1, 1 };
    moments(a, s, mean, std);
    CLOSE("input mean", mean, 5e-9, -2.3814598, -13.18038246, 1.91780462);
    CLOSE("input std", std, 5e-9, 27.18502186, 34.21455511, 37.68611762);
    const struct bn plain = { .gamma = (double[]){ 1, 1, 1 }, .beta = (double[]){ 0, 0, 0 } },
                    scaled = { .gamma = (double[]){ 1, 2, 3 }, .beta = (double[]){ 11, 12, 13 } };
    oracle_bn(&plain, a, s, stats, y);
    moments(y, s, mean, std);
    CLOSE("output mean", mean, 1e-14, 0, 0, 0);
    CLOSE("output std", std, 5e-9, 0.99999999, 1, 1);
    native_bn(&plain, a, s, stats, y);
    oracle_bn(&scaled, a, s, stats, y);
    moments(y, s, mean, std);
    CLOSE("scaled mean", mean, 1e-12, 11, 12, 13);
    CLOSE("scaled std", std, 2e-8, 0.99999999, 1.99999999, 2.99999999);
    native_bn(&scaled, a, s, stats, y);
    free(x);
    free(w1);
    free(w2);
    free(a);
}

/* Fifty training batches, then one in test mode. */
static void test_time(double start_var, enum cvy_bn_var kind, double *mean, double *std)
{
    struct mt m;
    mt_seed(&m, 231);
    double *w1 = normals(&m, 50 * 60, 1, 0), *w2 = normals(&m, 60 * 3, 1, 0), y[600];
    double running_mean[3] = { 0 }, running_var[3] = { start_var, start_var, start_var }, stats[6];
    const double one[3] = { 1, 1, 1 }, zero[3] = { 0 };
    const struct bn bn = { one, zero, running_mean, running_var, kind };
    cvy_shape s = { 200, 3, 1, 1 }, c = { 1, 3, 1, 1 };
    for (int i = 0; i <= 50; i++) {
        double *x = normals(&m, 200 * 50, 1, 0), *a = two_layers(x, w1, w2, 200);
        if (i < 50) oracle_bn(&bn, a, s, stats, y);
        else
            oracle(cvyi_ref_bn_infer, bn_op(1e-5), 200,
                   (struct operand[5]){
                       { a, s }, { running_mean, c }, { running_var, c }, { one, c }, { zero, c } },
                   (struct operand[3]){ { y, s } }, NULL);
        free(x);
        free(a);
    }
    moments(y, s, mean, std);
    free(w1);
    free(w2);
}

static void test_bn_test_time(void **state)
{
    (void)state;
    double mean[3], std[3];
    test_time(0, CVY_BN_VAR_BIASED, mean, std);
    CLOSE("test-time mean", mean, 5e-9, -0.03927354, -0.04349152, -0.10452688);
    CLOSE("test-time std", std, 5e-9, 1.01531428, 1.01238373, 0.97819988);
    test_time(1, CVY_BN_VAR_BIASED, mean, std);
    CLOSE("mean, variance from 1", mean, 5e-9, -0.03927346, -0.04349143, -0.10452668);
    CLOSE("std, variance from 1", std, 5e-9, 1.0153121, 1.01238164, 0.97819795);
    test_time(0, CVY_BN_VAR_UNBIASED, mean, std);
    CLOSE("mean, unbiased", mean, 5e-9, -0.03917523, -0.04338266, -0.10426524);
    CLOSE("std, unbiased", std, 5e-9, 1.01277281, 1.0098496, 0.97575131);
}

static void test_bn_backward(void **state)
{
    (void)state;
    struct mt m;
    mt_seed(&m, 231);
    double *x = normals(&m, 20, 5, 12), *gamma = normals(&m, 5, 1, 0), *beta = normals(&m, 5, 1, 0);
    double *dy = normals(&m, 20, 1, 0), stats[10], y[20], sums[10], dgamma[5], dbeta[5], dx[20];
    cvy_shape s = { 4, 5, 1, 1 }, c = { 1, 5, 1, 1 };
    oracle_bn(&(struct bn){ .gamma = gamma, .beta = beta }, x, s, stats, y);
    oracle(cvyi_ref_bn_bwd_reduce, bn_op(1e-5), 4,
           (struct operand[5]){ { x, s }, { dy, s }, { stats, c } },
           (struct operand[3]){ { sums, c }, { dgamma, c }, { dbeta, c } }, NULL);
    oracle(cvyi_ref_bn_bwd_data, bn_op(1e-5), 4,
           (struct operand[5]){ { x, s }, { dy, s }, { stats, c }, { sums, c }, { gamma, c } },
           (struct operand[3]){ { dx, s } }, NULL);
    CLOSE("dgamma", dgamma, 5e-9, 2.29048278, 1.39248907, 2.93350569, 0.98234546, 2.08326113);
    CLOSE("dbeta", dbeta, 5e-9, 0.08461601, 0.59073617, 1.2668311, -1.75428014, -0.80317214);
    CLOSE("dx", dx, 5e-9, -0.00310319, 0.00305468, -0.00156246, 0.17251307, 0.01388029);

    cvy_context *ctx = native();
    float *fx = floats(x, 20), *fdy = floats(dy, 20), *fg = floats(gamma, 5),
          *mean = floats(stats, 5);
    float *var = floats(stats + 5, 5), fdx[20], fdg[5], fdb[5];
    cvy_op *op;
    run_op(ctx, cvy_op_batch_norm(ctx, NULL, s, CVY_BACKWARD_DATA, &op), &op,
           &(cvy_op_args){ .src = fx,
                           .diff_dst = fdy,
                           .weights = fg,
                           .mean = mean,
                           .var = var,
                           .diff_src = fdx,
                           .diff_weights = fdg,
                           .diff_bias = fdb });
    near("dx", fdx, dx, 20, 2e-6);
    near("dgamma", fdg, dgamma, 5, 2e-6);
    near("dbeta", fdb, dbeta, 5, 2e-6);
    free(fx);
    free(fdy);
    free(fg);
    free(mean);
    free(var);
    free(x);
    free(gamma);
    free(beta);
    free(dy);
    cvy_context_destroy(&ctx);
}

static void test_spatial_bn(void **state)
{
    (void)state;
    struct mt m;
    mt_seed(&m, 231);
    double *x = normals(&m, 120, 4, 10), y[120], stats[6], mean[4], std[4];
    cvy_shape s = { 2, 3, 4, 5 };
    moments(x, s, mean, std);
    CLOSE("spatial input mean", mean, 5e-9, 9.33463814, 8.90909116, 9.11056338);
    CLOSE("spatial input std", std, 5e-9, 3.61447857, 3.19347686, 3.5168142);
    const struct bn plain = { .gamma = (double[]){ 1, 1, 1 }, .beta = (double[]){ 0, 0, 0 } },
                    scaled = { .gamma = (double[]){ 3, 4, 5 }, .beta = (double[]){ 6, 7, 8 } };
    oracle_bn(&plain, x, s, stats, y);
    moments(y, s, mean, std);
    CLOSE("spatial output std", std, 5e-9, 0.99999962, 0.99999951, 0.9999996);
    oracle_bn(&scaled, x, s, stats, y);
    native_bn(&scaled, x, s, stats, y);
    free(x);

    mt_seed(&m, 231);
    cvy_shape big = { 10, 4, 11, 12 }, c = { 1, 4, 1, 1 };
    const double one[4] = { 1, 1, 1, 1 }, zero[4] = { 0 };
    double running_mean[4] = { 0 }, running_var[4] = { 0 }, stats4[8],
           *out = calloc(5280, sizeof *out);
    const struct bn bn = { one, zero, running_mean, running_var, CVY_BN_VAR_BIASED };
    assert_non_null(out);
    for (int i = 0; i <= 50; i++) {
        double *b = normals(&m, 5280, 2.3, 13);
        if (i < 50) oracle_bn(&bn, b, big, stats4, out);
        else
            oracle(
                cvyi_ref_bn_infer, bn_op(1e-5), 10,
                (struct operand[5]){
                    { b, big }, { running_mean, c }, { running_var, c }, { one, c }, { zero, c } },
                (struct operand[3]){ { out, big } }, NULL);
        free(b);
    }
    moments(out, big, mean, std);
    CLOSE("spatial test-time mean", mean, 5e-9, -0.08034406, 0.07562881, 0.05716371, 0.04378383);
    CLOSE("spatial test-time std", std, 5e-9, 0.96718744, 1.0299714, 1.02887624, 1.00585577);
    free(out);
}

/* Group norm without gamma and beta, by the reference (whose results the interface rounds to float)
 * or native: mean and standard deviation of each image and group, and of what becomes of it. */
static void group_norm(const char *backend, const double *x, cvy_shape s, size_t groups,
                       double mean[2][4], double std[2][4])
{
    cvy_context *ctx;
    cvy_context_options o = { .backends = backend, .strict = true };
    assert_int_equal(cvy_context_create(&o, &ctx), CVY_OK);
    size_t n = s.n * s.c * s.h * s.w, rows = s.n * groups;
    float *in = floats(x, n), *y = floats(x, n), m[4], v[4];
    const cvy_group_norm_desc d = { .groups = groups, .no_affine = true };
    cvy_op *op;
    run_op(ctx, cvy_op_group_norm(ctx, &d, s, CVY_FORWARD, &op), &op,
           &(cvy_op_args){ .src = in, .dst = y, .mean = m, .var = v });
    for (size_t k = 0; k < rows; k++) {
        double sum = 0, squares = 0, size = (double)(n / rows);
        mean[0][k] = (double)m[k];
        std[0][k] = sqrt((double)v[k]);
        for (size_t i = k * (n / rows); i < (k + 1) * (n / rows); i++) {
            sum += (double)y[i] / size;
            squares += (double)y[i] * (double)y[i] / size;
        }
        mean[1][k] = sum;
        std[1][k] = sqrt(squares - sum * sum);
    }
    free(in);
    free(y);
    cvy_context_destroy(&ctx);
}

static void test_group_norm(void **state)
{
    (void)state;
    static const char *const backends[] = { "reference", "native" };
    double mean[2][4], std[2][4], zero[4] = { 0 };
    struct mt m;
    mt_seed(&m, 231);
    double *x = normals(&m, 240, 4, 10);
    for (int i = 0; i < 2; i++) {
        group_norm(backends[i], x, (cvy_shape){ 2, 6, 4, 5 }, 2, mean, std);
        CLOSE("group norm input mean", mean[0], 1e-6, 9.72505327, 8.51114185, 8.9147544,
              9.43448077);
        CLOSE("group norm input std", std[0], 5e-7, 3.67070958, 3.09892597, 4.27043622, 3.97521327);
        close_to("group norm output mean", mean[1], zero, 4, 1e-7);
        CLOSE("group norm output std", std[1], 1e-7, 0.99999963, 0.99999948, 0.99999973,
              0.99999968);
    }
    free(x);
    mt_seed(&m, 231);
    x = normals(&m, 200, 1, 0);
    double *w1 = normals(&m, 3000, 1, 0), *w2 = normals(&m, 180, 1, 0);
    double *a = two_layers(x, w1, w2, 4);
    for (int i = 0; i < 2; i++) {
        group_norm(backends[i], a, (cvy_shape){ 4, 3, 1, 1 }, 1, mean, std);
        CLOSE("layer norm input mean", mean[0], 5e-6, -59.06673243, -47.60782686, -43.31137368,
              -26.40991744);
        CLOSE("layer norm input std", std[0], 5e-6, 10.07429373, 28.39478981, 35.28360729,
              4.01831507);
        close_to("layer norm output mean", mean[1], zero, 4, 2e-7);
    }
    free(x);
    free(w1);
    free(w2);
    free(a);
}

static void test_conv(void **state)
{
    (void)state;
    double *x = linspace(-0.1, 0.5, 96), *w = linspace(-0.2, 0.3, 144), *b = linspace(-0.1, 0.2, 3),
           y[24];
    cvy_shape xs = { 2, 3, 4, 4 }, ws = { 3, 3, 4, 4 }, ys = { 2, 3, 2, 2 }, bs = { 1, 3, 1, 1 };
    cvy_conv2d_desc d = { .out_channels = 3,
                          .kernel = { 4, 4 },
                          .stride = { 2, 2 },
                          .pad = { 1, 1, 1, 1 },
                          .dilation = { 1, 1 },
                          .groups = 1 };
    oracle(cvyi_ref_conv2d, (struct cvy_op_desc){ .u.conv = d }, 2,
           (struct operand[5]){ { x, xs }, { w, ws }, { b, bs } }, (struct operand[3]){ { y, ys } },
           NULL);
    CLOSE("conv", y, 5e-9, -0.08759809, -0.10987781, -0.18387192, -0.2109216, 0.21027089,
          0.21661097);
    CLOSE("conv, last", y + 20, 5e-9, 2.36270298, 2.36904306, 2.38090835, 2.38247847);

    cvy_context *ctx = native();
    float *fx = floats(x, 96), *fw = floats(w, 144), *fb = floats(b, 3), fy[24];
    cvy_op *op;
    run_op(ctx, cvy_op_conv2d(ctx, &d, xs, CVY_FORWARD, &op), &op,
           &(cvy_op_args){ .src = fx, .weights = fw, .bias = fb, .dst = fy });
    near("conv", fy, y, 24, 1e-6);
    free(x);
    free(w);
    free(b);
    free(fx);
    free(fw);
    free(fb);
    cvy_context_destroy(&ctx);
}

static void test_max_pool(void **state)
{
    (void)state;
    double *x = linspace(-0.3, 0.4, 96), y[24];
    cvy_shape xs = { 2, 3, 4, 4 }, ys = { 2, 3, 2, 2 };
    cvy_pool2d_desc d = { .kernel = { 2, 2 }, .stride = { 2, 2 } };
    oracle(cvyi_ref_pool, (struct cvy_op_desc){ .u.pool = d }, 2, (struct operand[5]){ { x, xs } },
           (struct operand[3]){ { y, ys } }, NULL);
    CLOSE("max pool", y, 5e-9, -0.26315789, -0.24842105, -0.20421053, -0.18947368);
    CLOSE("max pool, last", y + 23, 5e-9, 0.4);

    cvy_context *ctx = native();
    float *fx = floats(x, 96), fy[24];
    cvy_op *op;
    run_op(ctx, cvy_op_pool2d(ctx, &d, xs, CVY_FORWARD, &op), &op,
           &(cvy_op_args){ .src = fx, .dst = fy });
    for (int i = 0; i < 24; i++) assert_true(fy[i] == (float)y[i]);
    free(x);
    free(fx);
    cvy_context_destroy(&ctx);
}

static double cross_entropy(const double *logits, size_t n, const int32_t *labels)
{
    double stats[2];
    cvy_shape s = { n, 10, 1, 1 };
    oracle(cvyi_ref_loss, (struct cvy_op_desc){ .u.loss.temperature = 1 }, n,
           (struct operand[5]){ { logits, s } }, (struct operand[3]){ { stats, s } }, labels);
    return stats[0] / (double)n;
}

/* The same of a trainer: losses of steps, and what the weight decay adds. Pixels are floats. */
static void initial_loss_of_trainer(bool with_bn, double decay, double *const *w, const double *x,
                                    const uint8_t *labels, double want)
{
    static const size_t size[4] = { 15, 20, 30, 10 };
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    cvy_step_result r;
    float pixels[30];
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .backends = "reference" }, &ctx),
                     CVY_OK);
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor h = cvy_input(net, 15, 1, 1);
    for (size_t l = 0; l < 3; l++) {
        const char name[] = { 'w', (char)('0' + l), 0 }, bn[] = { 'b', (char)('0' + l), 0 };
        h = cvy_linear(net, h, name, &(cvy_linear_desc){ .out_features = size[l + 1] });
        if (l < 2 && with_bn) h = cvy_batch_norm(net, h, bn, NULL);
        if (l < 2) h = cvy_relu(net, h);
    }
    const cvy_trainer_options o = { .batch = 2, .optimizer.weight_decay = decay };
    assert_int_equal(cvy_trainer_create(net, h, &o, &t), CVY_OK);
    for (size_t l = 0; l < 3; l++) {
        const char name[] = { 'w', (char)('0' + l), '.', 'w', 'e', 'i', 'g', 'h', 't', 0 },
                   bias[] = { 'w', (char)('0' + l), '.', 'b', 'i', 'a', 's', 0 };
        double turned[600], zeros[30] = { 0 }; /* cs231n has [in][out] */
        for (size_t i = 0; i < size[l]; i++)
            for (size_t k = 0; k < size[l + 1]; k++)
                turned[k * size[l] + i] = w[l][i * size[l + 1] + k];
        assert_int_equal(
            cvy_trainer_set64(t, CVY_PARAM_WEIGHT, name, turned, size[l] * size[l + 1]), CVY_OK);
        assert_int_equal(cvy_trainer_set64(t, CVY_PARAM_WEIGHT, bias, zeros, size[l + 1]), CVY_OK);
    }
    for (int i = 0; i < 30; i++) pixels[i] = (float)x[i];
    const double penalty = cvy_trainer_penalty(t);
    const cvy_batch batch = { .images = pixels, .dtype = CVY_F32, .labels8 = labels, .n = 2 };
    assert_int_equal(cvy_trainer_step(t, &batch, &r), CVY_OK);
    const double loss = r.loss_sum / r.weight + penalty;
    close_to("initial loss of a trainer", &loss, &want, 1, 1e-6);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

/* Initial loss of a fully connected net 15-20-30-10 with two images, biases zero. */
static void test_initial_losses(void **state)
{
    (void)state;
    static const double want[2][2] = { { 2.3004790897684924, 7.052114776533016 },
                                       { 2.2611955101340957, 6.996533220108303 } };
    static const size_t size[4] = { 15, 20, 30, 10 };
    for (int with_bn = 0; with_bn < 2; with_bn++) {
        struct mt m;
        mt_seed(&m, 231);
        double *x = normals(&m, 30, 1, 0), identity[225] = { 0 };
        for (int i = 0; i < 15; i++) identity[16 * i] = 1;
        int32_t labels[2];
        uint8_t labels8[2];
        for (int i = 0; i < 2; i++) labels8[i] = (uint8_t)(labels[i] = mt_below10(&m));
        for (int k = 0; k < 2; k++) {
            double squares = 0, *h = matmul(x, identity, 2, 15, 15), *kept[3];
            for (int l = 0; l < 3; l++) {
                double *w = normals(&m, size[l] * size[l + 1], 5e-2, 0),
                       *y = matmul(h, w, 2, size[l], size[l + 1]);
                for (size_t i = 0; i < size[l] * size[l + 1]; i++) squares += w[i] * w[i];
                free(h);
                kept[l] = w;
                h = y;
                if (l == 2) break;
                if (with_bn) {
                    double stats[60];
                    oracle_bn(&(struct bn){ 0 }, h, (cvy_shape){ 2, size[l + 1], 1, 1 }, stats, h);
                }
                relu(h, 2 * size[l + 1]);
            }
            double loss = cross_entropy(h, 2, labels) + (k ? 0.5 * 3.14 * squares : 0);
            close_to(with_bn ? "initial loss with batch norm" : "initial loss", &loss,
                     &want[with_bn][k], 1, 1e-12);
            initial_loss_of_trainer(with_bn, k ? 3.14 : 0, kept, x, labels8, want[with_bn][k]);
            for (int l = 0; l < 3; l++) free(kept[l]);
            free(h);
        }
        free(x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generator),      cmocka_unit_test(test_bn_forward),
        cmocka_unit_test(test_bn_test_time),   cmocka_unit_test(test_bn_backward),
        cmocka_unit_test(test_group_norm),     cmocka_unit_test(test_spatial_bn),
        cmocka_unit_test(test_conv),           cmocka_unit_test(test_max_pool),
        cmocka_unit_test(test_initial_losses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
