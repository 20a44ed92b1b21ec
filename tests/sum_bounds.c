/* How far sums may be from exact: |error| <= n u sum|terms|, u = 2^-24, with the n that
 * docs/numerics.md promises for every input, looked for where it is worst: equal terms, growing and
 * shrinking ones, one sign, signs that alternate, one huge term, and what a climb from these finds.
 * Convolutions, forward, for data and for weights, in one test (and the typical figure of random
 * terms, which is much smaller); the sums of pooling, biases, batch norm and the loss in the
 * other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "check.h"
#include "convoy/convoy.h"

#define U 0x1p-24

/* ---------------------------------------------------------------------------------------- terms */

enum pattern {
    MIXED,
    POSITIVE,
    EQUAL,
    EQUAL2,
    GROWING,
    SHRINKING,
    ALTERNATING,
    SPIKE,
    FAR,
    PATTERNS
};
static const char *const pattern_names[PATTERNS] = { "mixed",       "positive", "equal",
                                                     "equal 0.529", "growing",  "shrinking",
                                                     "alternating", "spike",    "far from 0" };

/* Term i of n. */
static float term(struct check_rng *r, enum pattern p, size_t i, size_t n)
{
    switch (p) {
    case MIXED: return check_uniform(r, -1, 1);
    case POSITIVE: return check_uniform(r, 0, 1);
    case EQUAL: return 0.1f;
    case EQUAL2: return 0.528964996f;
    case GROWING: return (float)(i + 1) * 1.1f;
    case SHRINKING: return 1.7f / (float)(i + 1);
    case ALTERNATING: return (i % 2 ? -0.7f : 0.7000003f);
    case SPIKE: return i == n / 3 ? 300.3f : 0.0123f;
    case FAR: return 1000 + check_uniform(r, -1, 1);
    case PATTERNS: break;
    }
    return 0;
}

static cvy_context *native(void)
{
    cvy_context *ctx;
    if (cvy_context_create(
            &(cvy_context_options){ .backends = "native", .strict = true, .threads = 1 }, &ctx))
        fail_msg("%s", cvy_message(ctx));
    return ctx;
}

static float *floats(size_t n)
{
    float *p = malloc(n * sizeof *p);
    assert_non_null(p);
    return p;
}

/* --------------------------------------------------------------------------------- convolutions */

/* 1x1 kernels on one pixel, so that K is what is asked for: channels forward and for data, images
 * for weights; and `spatial`: all of it in pixels of a kernel, or of a map for weights. */
static const size_t ks[] = { 2, 4, 9, 16, 25, 33, 64, 128, 256, 512, 1024, 4608, 25088 };
enum { SIDE = 16, KS = sizeof ks / sizeof *ks };

struct sum {
    cvy_context *ctx;
    enum cvy_pass pass;
    size_t k, side; /* products of a sum; sums are side x side */
    float *x, *w, *y;
    cvy_op *op;
};

static struct sum sum_of(cvy_context *ctx, enum cvy_pass pass, size_t k)
{
    struct sum s = { .ctx = ctx, .pass = pass, .k = k, .side = SIDE };
    const bool weights = pass == CVY_BACKWARD_WEIGHTS, data = pass == CVY_BACKWARD_DATA;
    size_t n = weights ? k : SIDE, ic = pass == CVY_FORWARD ? k : SIDE, oc = data ? k : SIDE;
    s.x = floats(n * ic);
    s.w = floats(oc * ic);
    s.y = floats(n * oc);
    cvy_conv2d_desc d = { .out_channels = oc, .kernel = { 1, 1 }, .no_bias = true };
    if (cvy_op_conv2d(ctx, &d, (cvy_shape){ n, ic, 1, 1 }, pass, &s.op))
        fail_msg("%s", cvy_message(ctx));
    return s;
}

/* Factor a or b of product s of sum (i, j): a belongs to i, b to j. */
static float *factor(const struct sum *m, bool b, size_t index, size_t s)
{
    if (m->pass == CVY_FORWARD) return b ? &m->w[index * m->k + s] : &m->x[index * m->k + s];
    if (m->pass == CVY_BACKWARD_DATA)
        return b ? &m->w[s * m->side + index] : &m->y[index * m->k + s];
    return b ? &m->x[s * m->side + index] : &m->y[s * m->side + index];
}

/* The least n that would do for each of the sums, and for all. */
static double needed(const struct sum *m, double *each)
{
    cvy_op_args args = { 0 };
    const float *got = m->y;
    if (m->pass == CVY_BACKWARD_DATA) got = m->x;
    if (m->pass == CVY_BACKWARD_WEIGHTS) got = m->w;
    if (m->pass != CVY_BACKWARD_DATA) args.src = m->x;
    if (m->pass != CVY_BACKWARD_WEIGHTS) args.weights = m->w;
    if (m->pass == CVY_FORWARD) args.dst = m->y;
    else args.diff_dst = m->y;
    if (m->pass == CVY_BACKWARD_DATA) args.diff_src = m->x;
    if (m->pass == CVY_BACKWARD_WEIGHTS) args.diff_weights = m->w;
    if (cvy_op_run(m->op, &args)) fail_msg("%s", cvy_message(m->ctx));
    double worst = 0;
    for (size_t i = 0; i < m->side; i++)
        for (size_t j = 0; j < m->side; j++) {
            double sum = 0, magnitude = 0;
            for (size_t s = 0; s < m->k; s++) {
                double t = (double)*factor(m, false, i, s) * (double)*factor(m, true, j, s);
                sum += t;
                magnitude += fabs(t);
            }
            double n = fabs((double)got[i * m->side + j] - sum) / (magnitude * U);
            if (each) each[i * m->side + j] = n;
            worst = fmax(worst, n);
        }
    return worst;
}

static void sum_free(struct sum *m)
{
    cvy_op_destroy(&m->op);
    free(m->x);
    free(m->w);
    free(m->y);
}

/* Chains of at most 256 products (for weights 1 024), whose results are added. */
static double promised(size_t k, enum cvy_pass pass)
{
    double chain = pass == CVY_BACKWARD_WEIGHTS ? 1024 : 256;
    return fmin((double)k, chain) + ceil((double)k / chain) + 1;
}

/* Random terms: their roundings do not add up in one direction. */
static double typical(size_t k, bool one_sign, enum cvy_pass pass)
{
    double length = 16;
    if (one_sign) length = pass == CVY_BACKWARD_WEIGHTS ? 1024 : 256;
    return 4 + sqrt((double)k) / 16 + sqrt(fmin((double)k, length));
}

static void fill_sum(const struct sum *m, enum pattern p, struct check_rng *r)
{
    for (int b = 0; b < 2; b++)
        for (size_t i = 0; i < m->side; i++)
            for (size_t s = 0; s < m->k; s++) {
                float v = term(r, p, s, m->k);
                if (b && p >= EQUAL) v = 1; /* the terms themselves, scaled anew in every sum */
                else if (p >= EQUAL && i) v *= check_uniform(&(struct check_rng){ i }, 0.5f, 1);
                *factor(m, b, i, s) = v;
            }
}

/* Makes the sums worse: each row of factors in turn is a stretch of the worst row's with some of it
 * changed. */
static double climb(const struct sum *m, struct check_rng *r, int rounds)
{
    double each[SIDE * SIDE], best = 0;
    float *row = floats(m->k);
    for (int k = 0; k < rounds; k++) {
        size_t at = 0;
        needed(m, each);
        for (size_t i = 0; i < m->side; i++)
            if (each[i * m->side] > each[at * m->side]) at = i;
        best = fmax(best, each[at * m->side]);
        for (size_t s = 0; s < m->k; s++) row[s] = *factor(m, false, at, s);
        for (size_t i = 0; i < m->side; i++) {
            if (i == at) continue;
            float scale = check_below(r, 2) ? check_uniform(r, 0.5f, 2) : 1;
            size_t from = check_below(r, m->k), to = from + check_below(r, m->k - from + 1);
            float bend = check_uniform(r, 0.9f, 1.1f);
            for (size_t s = 0; s < m->k; s++)
                *factor(m, false, i, s) = row[s] * (s >= from && s < to ? scale * bend : scale);
        }
    }
    free(row);
    return best;
}

static void convolutions(void **state)
{
    (void)state;
    static const enum cvy_pass passes[] = { CVY_FORWARD, CVY_BACKWARD_DATA, CVY_BACKWARD_WEIGHTS };
    static const char *const names[] = { "forward", "data", "weights" };
    cvy_context *ctx = native();
    struct check_rng r = { check_seed() };
    double found = 0;
    for (int p = 0; p < 3; p++)
        for (size_t i = 0; i < KS; i++) {
            struct sum m = sum_of(ctx, passes[p], ks[i]);
            double worst = 0, random[2] = { 0, 0 };
            enum pattern where = MIXED;
            for (int f = 0; f < PATTERNS; f++) {
                double n = 0;
                for (size_t seen = 0; seen < (f < 2 ? 100000 : 1); seen += ks[i] * SIDE) {
                    fill_sum(&m, (enum pattern)f, &r);
                    n = fmax(n, needed(&m, NULL));
                }
                if (f < 2) random[f] = n;
                if (f == EQUAL2 && ks[i] <= 1024) n = fmax(n, climb(&m, &r, 60));
                if (n > worst) {
                    worst = n;
                    where = (enum pattern)f;
                }
            }
            if (passes[p] == CVY_FORWARD && ks[i] == 256) found = worst;
            print_message("%-8s K %6zu: worst %6.1f of %6.0f (%s), random %5.1f of %5.1f, positive "
                          "%5.1f of %5.1f\n",
                          names[p], ks[i], worst, promised(ks[i], passes[p]), pattern_names[where],
                          random[0], typical(ks[i], false, passes[p]), random[1],
                          typical(ks[i], true, passes[p]));
            if (!(worst <= promised(ks[i], passes[p])))
                fail_msg("%s, K %zu, %s: %.1f, promised %.0f", names[p], ks[i],
                         pattern_names[where], worst, promised(ks[i], passes[p]));
            for (int f = 0; f < 2; f++)
                if (!(random[f] <= typical(ks[i], f, passes[p])))
                    fail_msg("%s, K %zu, %s: %.2f, typical %.2f", names[p], ks[i], pattern_names[f],
                             random[f], typical(ks[i], f, passes[p]));
            sum_free(&m);
        }
    /* equal terms are known to need 64: the search looks where it is bad */
    assert_true(found > 60);
    cvy_context_destroy(&ctx);
}

/* ------------------------------------------------------------------------------ everything else */

/* The worst so far of one kind of sum. */
struct worst {
    double n;
    enum pattern where;
};

static void note(struct worst *w, enum pattern p, double error, double magnitude)
{
    double n = error / (magnitude * U);
    if (n > w->n) *w = (struct worst){ n, p };
}

static void held(const char *what, const struct worst *w, double most)
{
    print_message("%-28s worst %6.1f of %4.0f (%s)\n", what, w->n, most, pattern_names[w->where]);
    if (!(w->n <= most))
        fail_msg("%s: %.1f, promised %.0f (%s)", what, w->n, most, pattern_names[w->where]);
}

/* One image, one channel: the terms of a window are the map. */
static void averages(cvy_context *ctx, struct check_rng *r)
{
    static const size_t sides[][2] = { { 2, 2 },  { 3, 3 },  { 4, 4 },   { 5, 5 },    { 7, 7 },
                                       { 1, 40 }, { 40, 1 }, { 33, 50 }, { 224, 224 } };
    struct worst w = { 0 };
    for (size_t k = 0; k < sizeof sides / sizeof *sides; k++)
        for (int p = 0; p < PATTERNS; p++) {
            size_t n = sides[k][0] * sides[k][1];
            cvy_pool2d_desc d = { .kind = CVY_POOL_AVG, .kernel = { sides[k][0], sides[k][1] } };
            float *x = floats(n), y;
            double sum = 0, magnitude = 0;
            cvy_op *op;
            for (size_t i = 0; i < n; i++) {
                x[i] = term(r, (enum pattern)p, i, n);
                sum += (double)x[i];
                magnitude += fabs((double)x[i]);
            }
            if (cvy_op_pool2d(ctx, &d, (cvy_shape){ 1, 1, sides[k][0], sides[k][1] }, CVY_FORWARD,
                              &op) ||
                cvy_op_run(op, &(cvy_op_args){ .src = x, .dst = &y }))
                fail_msg("%s", cvy_message(ctx));
            note(&w, (enum pattern)p, fabs((double)y - sum / (double)n), magnitude / (double)n);
            cvy_op_destroy(&op);
            free(x);
        }
    held("average pool", &w, 18);
}

/* Windows of k x k, stride 1: a pixel in the middle has k^2 shares. Constant maps make every one go
 * to the last pixel of its window for maxima that grow. */
static void pool_gradients(cvy_context *ctx, struct check_rng *r, enum cvy_pool_kind kind)
{
    static const size_t kernels[] = { 2, 3, 4, 5, 9, 31 };
    struct worst w = { 0 };
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++)
        for (int p = 0; p < PATTERNS; p++) {
            size_t kernel = kernels[k], side = kernel + 8, out = side + kernel - 1,
                   pad = kernel - 1;
            cvy_pool2d_desc d = { .kind = kind,
                                  .kernel = { kernel, kernel },
                                  .stride = { 1, 1 },
                                  .pad = { pad, pad, pad, pad } };
            float *x = floats(side * side), *dy = floats(out * out), *dx = floats(side * side);
            double *sum = calloc(2 * side * side, sizeof *sum), *magnitude = sum + side * side;
            assert_non_null(sum);
            /* takes all that see it */
            for (size_t i = 0; i < side * side; i++) x[i] = i == side * side / 2 + side / 2 ? 1 : 0;
            for (size_t i = 0; i < out * out; i++) dy[i] = term(r, (enum pattern)p, i, out * out);
            for (size_t i = 0; i < out * out; i++) {
                size_t oy = i / out, ox = i % out, y0 = oy < pad ? 0 : oy - pad,
                       x0 = ox < pad ? 0 : ox - pad;
                size_t y1 = oy < side ? oy : side - 1, x1 = ox < side ? ox : side - 1,
                       best = y0 * side + x0;
                for (size_t y = y0; y <= y1; y++)
                    for (size_t c = x0; c <= x1; c++) {
                        double share = (double)dy[i] / (double)(kernel * kernel);
                        if (x[y * side + c] > x[best]) best = y * side + c;
                        if (kind == CVY_POOL_AVG) {
                            sum[y * side + c] += share;
                            magnitude[y * side + c] += fabs(share);
                        }
                    }
                if (kind == CVY_POOL_MAX) {
                    sum[best] += (double)dy[i];
                    magnitude[best] += fabs((double)dy[i]);
                }
            }
            cvy_op *op;
            if (cvy_op_pool2d(ctx, &d, (cvy_shape){ 1, 1, side, side }, CVY_BACKWARD_DATA, &op) ||
                cvy_op_run(op, &(cvy_op_args){ .src = x, .diff_dst = dy, .diff_src = dx }))
                fail_msg("%s", cvy_message(ctx));
            for (size_t i = 0; i < side * side; i++)
                if (magnitude[i] > 0)
                    note(&w, (enum pattern)p, fabs((double)dx[i] - sum[i]), magnitude[i]);
            cvy_op_destroy(&op);
            free(x);
            free(dy);
            free(dx);
            free(sum);
        }
    held(kind == CVY_POOL_AVG ? "average pool, gradient" : "max pool, gradient", &w, 18);
}

/* The bias gradient by each plan: few pixels, small layers, many weights, a wide map. */
static void biases(cvy_context *ctx, struct check_rng *r)
{
    static const struct {
        size_t n, ic, oc, side;
    } layers[] = {
        { 3000, 1, 16, 1 },  { 40, 2, 5, 2 },     { 3, 2, 5, 100 },
        { 2, 320, 320, 30 }, { 1200, 1, 130, 1 },
    };
    struct worst w = { 0 };
    for (size_t k = 0; k < sizeof layers / sizeof *layers; k++)
        for (int p = 0; p < PATTERNS; p++) {
            size_t side = layers[k].side, pixels = side * side, oc = layers[k].oc,
                   ic = layers[k].ic, n = layers[k].n;
            cvy_conv2d_desc d = { .out_channels = oc, .kernel = { 1, 1 } };
            float *x = floats(n * ic * pixels), *dy = floats(n * oc * pixels),
                  *dw = floats(oc * ic), *db = floats(oc);
            double *sum = calloc(2 * oc, sizeof *sum);
            cvy_op *op;
            assert_non_null(sum);
            memset(x, 0, n * ic * pixels * sizeof *x);
            for (size_t i = 0; i < n * oc * pixels; i++) {
                size_t o = i / pixels % oc;
                dy[i] = term(r, (enum pattern)p, i / pixels / oc * pixels + i % pixels, n * pixels);
                sum[o] += (double)dy[i];
                sum[oc + o] += fabs((double)dy[i]);
            }
            if (cvy_op_conv2d(ctx, &d, (cvy_shape){ n, ic, side, side }, CVY_BACKWARD_WEIGHTS,
                              &op) ||
                cvy_op_run(op, &(cvy_op_args){
                                   .src = x, .diff_dst = dy, .diff_weights = dw, .diff_bias = db }))
                fail_msg("%s", cvy_message(ctx));
            for (size_t o = 0; o < oc; o++)
                note(&w, (enum pattern)p, fabs((double)db[o] - sum[o]), sum[oc + o]);
            cvy_op_destroy(&op);
            free(x);
            free(dy);
            free(dw);
            free(db);
            free(sum);
        }
    held("gradient of a bias", &w, 22);
}

/* One channel: beta's gradient sums dy, gamma's dy times xhat, the variance squares of
 * differences. */
static void batch_norms(cvy_context *ctx, struct check_rng *r)
{
    static const cvy_shape shapes[] = {
        { 1, 1, 16, 16 }, { 16, 1, 32, 32 }, { 3, 1, 90, 100 }, { 200, 1, 1, 1 }, { 20, 1, 7, 300 }
    };
    struct worst beta = { 0 }, gamma = { 0 }, var = { 0 };
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
        for (int p = 0; p < PATTERNS; p++) {
            cvy_shape s = shapes[k];
            size_t n = s.n * s.h * s.w;
            float *x = floats(n), *dy = floats(n), *dx = floats(n), dgamma, dbeta, mean, v, one = 1,
                  zero = 0;
            double m = 0, m2 = 0, sums[4] = { 0 };
            cvy_op *op;
            /* two values where terms are equal, so that all squares are the same */
            for (size_t i = 0; i < n; i++) {
                dy[i] = term(r, (enum pattern)p, i, n);
                bool turned = (p == EQUAL || p == EQUAL2) && i % 2 == 0;
                x[i] = turned ? -dy[i] : dy[i];
                m += (double)x[i];
            }
            m /= (double)n;
            for (size_t i = 0; i < n; i++) m2 += ((double)x[i] - m) * ((double)x[i] - m);
            if (cvy_op_batch_norm(ctx, NULL, s, CVY_FORWARD, &op) ||
                cvy_op_run(op, &(cvy_op_args){ .src = x,
                                               .weights = &one,
                                               .bias = &zero,
                                               .dst = dx,
                                               .mean = &mean,
                                               .var = &v }))
                fail_msg("%s", cvy_message(ctx));
            cvy_op_destroy(&op);
            note(&var, (enum pattern)p, fabs((double)v - m2 / (double)n), m2 / (double)n);
            double scale = 1 / sqrt((double)v + 1e-5);
            for (size_t i = 0; i < n; i++) {
                double t = (double)dy[i] * ((double)x[i] - (double)mean) * scale;
                sums[0] += (double)dy[i];
                sums[1] += fabs((double)dy[i]);
                sums[2] += t;
                sums[3] += fabs(t);
            }
            if (cvy_op_batch_norm(ctx, NULL, s, CVY_BACKWARD_DATA, &op) ||
                cvy_op_run(op, &(cvy_op_args){ .src = x,
                                               .weights = &one,
                                               .diff_dst = dy,
                                               .mean = &mean,
                                               .var = &v,
                                               .diff_src = dx,
                                               .diff_weights = &dgamma,
                                               .diff_bias = &dbeta }))
                fail_msg("%s", cvy_message(ctx));
            cvy_op_destroy(&op);
            note(&beta, (enum pattern)p, fabs((double)dbeta - sums[0]), sums[1]);
            note(&gamma, (enum pattern)p, fabs((double)dgamma - sums[2]), sums[3]);
            free(x);
            free(dy);
            free(dx);
        }
    held("gradient of beta", &beta, 21);
    held("gradient of gamma", &gamma, 23);
    held("variance", &var, 36);
}

/* A group norm's variance, which each image has by itself; and as sums over images beta's and
 * gamma's gradients, of a channel or of the elements. Terms as in batch_norms. */
static void group_norms(cvy_context *ctx, struct check_rng *r, bool elementwise)
{
    static const cvy_shape shapes[] = {
        { 1, 1, 16, 16 }, { 16, 1, 32, 32 }, { 3, 1, 90, 100 }, { 40, 500, 1, 1 }, { 20, 5, 3, 2 }
    };
    const cvy_group_norm_desc d = { .groups = 1, .elementwise = elementwise };
    struct worst w[3] = { { .n = 0 } };
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
        for (int p = 0; p < PATTERNS; p++) {
            cvy_shape s = shapes[k];
            size_t image = s.c * s.h * s.w, n = s.n * image, share = elementwise ? 1 : s.h * s.w,
                   affine = image / share;
            float *x = floats(n), *dy = floats(n), *out = floats(n), *mean = floats(s.n),
                  *var = floats(s.n), *got = floats(2 * affine);
            double *sum = calloc(4 * affine, sizeof *sum);
            cvy_op *op;
            assert_non_null(sum);
            for (size_t i = 0; i < n; i++) {
                dy[i] = term(r, (enum pattern)p, i % image, image);
                x[i] = (p == EQUAL || p == EQUAL2) && i % 2 == 0 ? -dy[i] : dy[i];
            }
            cvy_op_args a = {
                .src = x, .dst = out, .mean = mean, .var = var, .diff_dst = dy, .diff_src = out
            };
            const cvy_group_norm_desc plain = { .groups = 1, .no_affine = true };
            if (cvy_op_group_norm(ctx, &plain, s, CVY_FORWARD, &op) || cvy_op_run(op, &a))
                fail_msg("%s", cvy_message(ctx));
            cvy_op_destroy(&op);
            for (size_t i = 0; i < s.n; i++) {
                double m = 0, m2 = 0, scale = 1 / sqrt((double)var[i] + 1e-5);
                for (size_t e = 0; e < image; e++) m += (double)x[i * image + e] / (double)image;
                for (size_t e = 0; e < image; e++) {
                    double u = (double)x[i * image + e], g = (double)dy[i * image + e],
                           t = g * (u - (double)mean[i]) * scale, *at = sum + 4 * (e / share);
                    m2 += (u - m) * (u - m);
                    at[0] += g;
                    at[1] += fabs(g);
                    at[2] += t;
                    at[3] += fabs(t);
                }
                m2 /= (double)image;
                note(&w[0], (enum pattern)p, fabs((double)var[i] - m2), m2);
            }
            float *ones = floats(affine);
            for (size_t e = 0; e < affine; e++) ones[e] = 1;
            a.weights = ones;
            a.diff_bias = got;
            a.diff_weights = got + affine;
            if (cvy_op_group_norm(ctx, &d, s, CVY_BACKWARD_DATA, &op) || cvy_op_run(op, &a))
                fail_msg("%s", cvy_message(ctx));
            cvy_op_destroy(&op);
            for (size_t e = 0; e < 2 * affine; e++) {
                size_t gamma = e / affine, at = 4 * (e % affine) + 2 * gamma;
                note(&w[1 + gamma], (enum pattern)p, fabs((double)got[e] - sum[at]), sum[at + 1]);
            }
            float *all[] = { x, dy, out, mean, var, got, ones };
            for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
            free(sum);
        }
    held("group norm: variance", &w[0], 26);
    held("group norm: gradient of beta", &w[1], elementwise ? 2 : 23);
    held("group norm: gradient of gamma", &w[2], elementwise ? 6 : 26);
}

/* What the sums of a whitened batch are exactly, of one group of c channels. */
struct whitened {
    size_t n, c, plane;
    float *x, *dy;
    double *mean;    /* [c] */
    double *product; /* [c][c] of x with x; of dy with x, with the absolutes behind */
    double *sum;     /* [c] of dy, with the absolutes behind */
};

static float *channel_of(const struct whitened *w, float *x, size_t image, size_t c)
{
    return x + (image * w->c + c) * w->plane;
}

/* Terms as in batch_norms; of each channel others, so that no two are the same. */
static struct whitened whitened_of(struct check_rng *r, enum pattern p, cvy_shape shape)
{
    struct whitened w = { shape.n, shape.c, shape.h * shape.w, NULL, NULL, NULL, NULL, NULL };
    const size_t n = w.n * w.plane;
    w.x = floats(n * w.c);
    w.dy = floats(n * w.c);
    w.mean = calloc(w.c * (3 + 3 * w.c), sizeof *w.mean);
    assert_non_null(w.mean);
    w.sum = w.mean + w.c;
    w.product = w.sum + 2 * w.c;
    for (size_t c = 0; c < w.c; c++)
        for (size_t i = 0; i < n; i++) {
            float *x = channel_of(&w, w.x, i / w.plane, c) + i % w.plane,
                  *dy = channel_of(&w, w.dy, i / w.plane, c) + i % w.plane;
            *dy = term(r, p, (i + c * 31) % n, n);
            *x = (p == EQUAL || p == EQUAL2) && i % (2 + c) == 0 ? -*dy : *dy;
            w.mean[c] += (double)*x / (double)n;
            w.sum[c] += (double)*dy;
            w.sum[w.c + c] += fabs((double)*dy);
        }
    return w;
}

/* The products of one pair of channels. */
static void whitened_products(struct whitened *w, size_t i, size_t j)
{
    const size_t cc = w->c * w->c;
    double *at = w->product + i * w->c + j;
    for (size_t image = 0; image < w->n; image++) {
        const float *xi = channel_of(w, w->x, image, i), *xj = channel_of(w, w->x, image, j),
                    *dy = channel_of(w, w->dy, image, i);
        for (size_t p = 0; p < w->plane; p++) {
            const double u = (double)xj[p] - w->mean[j], t = (double)dy[p] * u;
            at[0] += ((double)xi[p] - w->mean[i]) * u;
            at[cc] += t;
            at[2 * cc] += fabs(t);
        }
    }
}

/* Covariances are seen through the whitening matrix W, which the running one is: of one channel W =
 * 1/sqrt(var); of several by one of Newton's steps, W = (3 I - S / t) / (2 sqrt(t)) with t the
 * trace of S, so that t is known by W's trace and S by its other elements. S is made of sums about
 * means of parts of a batch, which may be larger than those about the mean of all: their bound is
 * the two variances. */
static void note_covariances(const struct whitened *w, enum pattern p, const float *matrix,
                             struct worst *worst)
{
    const double n = (double)(w->n * w->plane);
    double trace = 0;
    for (size_t i = 0; i < w->c; i++) trace += (double)matrix[i * w->c + i];
    const double root = (3 * (double)w->c - 1) / (2 * trace);
    for (size_t i = 0; i < w->c; i++)
        for (size_t j = 0; j < w->c; j++) {
            if (i == j && w->c > 1) continue;
            const double *exact = w->product, want = exact[i * w->c + j] / n,
                         bound = sqrt(exact[i * w->c + i] * exact[j * w->c + j]) / n;
            const double got =
                w->c == 1 ? root * root : -2 * (double)matrix[i * w->c + j] * root * root * root;
            note(worst, p, fabs(got - want), bound);
        }
}

/* One group of the shape's channels: covariances, if W tells them; beta's gradient sums dy, gamma's
 * are W's rows times the sums of dy with x. */
static void whitenings(cvy_context *ctx, struct check_rng *r, const cvy_whitening_desc *kind,
                       size_t channels, bool told)
{
    cvy_shape shapes[] = {
        { 1, 0, 16, 16 }, { 16, 0, 32, 32 }, { 3, 0, 90, 100 }, { 200, 0, 1, 1 }, { 20, 0, 7, 300 }
    };
    struct worst worst[3] = { { .n = 0 } };
    cvy_whitening_desc d = *kind;
    d.channels = channels;
    d.momentum = 1;
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
        for (int p = 0; p < PATTERNS; p++) {
            shapes[k].c = channels;
            struct whitened w = whitened_of(r, (enum pattern)p, shapes[k]);
            const size_t cc = channels * channels;
            float *out = floats(w.n * w.plane * channels), *small = floats(5 * channels + cc);
            float *gamma = small, *beta = gamma + channels, *dgamma = beta + channels,
                  *dbeta = dgamma + channels, *mean = dbeta + channels, *matrix = mean + channels;
            cvy_op *op;
            memset(small, 0, (5 * channels + cc) * sizeof *small);
            for (size_t c = 0; c < channels; c++) gamma[c] = 1;
            for (size_t e = 0; e < cc; e++) whitened_products(&w, e / channels, e % channels);
            cvy_op_args a = { .src = w.x,
                              .weights = gamma,
                              .bias = beta,
                              .dst = out,
                              .running_mean = mean,
                              .running_matrix = matrix,
                              .diff_dst = w.dy,
                              .diff_src = out,
                              .diff_weights = dgamma,
                              .diff_bias = dbeta };
            if (cvy_op_whitening(ctx, &d, shapes[k], CVY_FORWARD, &op) || cvy_op_run(op, &a))
                fail_msg("%s", cvy_message(ctx));
            cvy_op_destroy(&op);
            if (cvy_op_whitening(ctx, &d, shapes[k], CVY_BACKWARD_DATA, &op) || cvy_op_run(op, &a))
                fail_msg("%s", cvy_message(ctx));
            cvy_op_destroy(&op);
            if (told) note_covariances(&w, (enum pattern)p, matrix, &worst[0]);
            for (size_t c = 0; c < channels; c++) {
                double want = 0, magnitude = 0;
                for (size_t j = 0; j < channels; j++) {
                    const double f = (double)matrix[c * channels + j],
                                 *t = w.product + cc + c * channels + j;
                    want += f * t[0];
                    magnitude += fabs(f) * t[cc];
                }
                note(&worst[1], (enum pattern)p, fabs((double)dbeta[c] - w.sum[c]),
                     w.sum[channels + c]);
                note(&worst[2], (enum pattern)p, fabs((double)dgamma[c] - want), magnitude);
            }
            free(w.x);
            free(w.dy);
            free(w.mean);
            free(out);
            free(small);
        }
    if (told) held("whitening: covariances", &worst[0], 264);
    held("whitening: gradient of beta", &worst[1], 261);
    held("whitening: gradient of gamma", &worst[2], 264);
}

/* One channel: the slope's gradient sums dy times x where x is negative. */
static void slopes(cvy_context *ctx, struct check_rng *r)
{
    static const cvy_shape shapes[] = {
        { 1, 1, 16, 16 }, { 16, 1, 32, 32 }, { 3, 1, 90, 100 }, { 200, 1, 1, 1 }, { 20, 1, 7, 300 }
    };
    struct worst w = { 0 };
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
        for (int p = 0; p < PATTERNS; p++) {
            size_t n = shapes[k].n * shapes[k].h * shapes[k].w;
            float *x = floats(n), *dy = floats(n), *dx = floats(n), slope = 0.25f, dslope;
            double sum = 0, magnitude = 0;
            cvy_op *op;
            for (size_t i = 0; i < n; i++) {
                dy[i] = term(r, (enum pattern)p, i, n);
                x[i] = i % 97 == 96 ? 1.0f : -fabsf(dy[i]);
                if (x[i] > 0) continue;
                sum += (double)dy[i] * (double)x[i];
                magnitude += fabs((double)dy[i] * (double)x[i]);
            }
            if (cvy_op_prelu(ctx, shapes[k], CVY_BACKWARD_DATA, &op) ||
                cvy_op_run(op, &(cvy_op_args){ .src = x,
                                               .weights = &slope,
                                               .diff_dst = dy,
                                               .diff_src = dx,
                                               .diff_weights = &dslope }))
                fail_msg("%s", cvy_message(ctx));
            cvy_op_destroy(&op);
            note(&w, (enum pattern)p, fabs((double)dslope - sum), magnitude);
            free(x);
            free(dy);
            free(dx);
        }
    held("gradient of a slope", &w, 22);
}

/* Smoothing sums over all classes, none of them likely; and the mean over a batch. */
static void losses(cvy_context *ctx)
{
    enum { N = 3000, CLASSES = 5000 };
    for (int many = 0; many < 2; many++) {
        size_t n = many ? N : 2, classes = many ? 3 : CLASSES;
        float *x = floats(n * classes), *dx = floats(n * classes);
        int32_t *labels = calloc(n, sizeof *labels);
        double loss, want = 0, spread = 0;
        cvy_op *op;
        assert_non_null(labels);
        for (size_t i = 0; i < n * classes; i++) x[i] = i % classes ? -7.1f : 0;
        for (size_t c = 0; c < classes; c++) {
            want += exp((double)x[c]);
            spread -= (double)x[c];
        }
        want = log(want) + 0.5 * spread / (double)classes;
        if (cvy_op_loss(ctx, &(cvy_loss_desc){ .label_smoothing = 0.5 },
                        (cvy_shape){ n, classes, 1, 1 }, &op) ||
            cvy_op_run(op,
                       &(cvy_op_args){ .src = x, .labels = labels, .loss = &loss, .diff_src = dx }))
            fail_msg("%s", cvy_message(ctx));
        print_message("loss of %zu images, %zu classes: %.9g, exactly %.9g: %.1f u\n", n, classes,
                      loss, want, fabs(loss - want) / (want * U));
        if (!(fabs(loss - want) <= 4 * U * want))
            fail_msg("the loss is %.9g, exactly %.9g", loss, want);
        cvy_op_destroy(&op);
        free(x);
        free(dx);
        free(labels);
    }
}

static void other_sums(void **state)
{
    (void)state;
    cvy_context *ctx = native();
    struct check_rng r = { check_seed() };
    averages(ctx, &r);
    pool_gradients(ctx, &r, CVY_POOL_AVG);
    pool_gradients(ctx, &r, CVY_POOL_MAX);
    biases(ctx, &r);
    batch_norms(ctx, &r);
    group_norms(ctx, &r, false);
    group_norms(ctx, &r, true);
    const cvy_whitening_desc step = { .kind = CVY_WHITENING_NEWTON, .steps = 1, .eps = 1e-30 };
    const size_t groups[] = { 1, 3, 14 }; /* 14: more than a tile of products has rows */
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        const bool one = groups[i] == 1; /* of which each kind tells the variance */
        const double eps = one ? 1e-30 : 1e-3;
        whitenings(ctx, &r, &step, groups[i], true);
        for (int kind = CVY_WHITENING_ZCA; kind <= CVY_WHITENING_NEWTON; kind++) {
            const cvy_whitening_desc d = { .kind = (enum cvy_whitening_kind)kind, .eps = eps };
            whitenings(ctx, &r, &d, groups[i], one);
        }
    }
    slopes(ctx, &r);
    losses(ctx);
    cvy_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(convolutions),
                                        cmocka_unit_test(other_sums) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
