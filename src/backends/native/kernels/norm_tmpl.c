/* Batch norm's kernels over rows of pixels: statistics, the normalisation, the sums of its gradient
 * and the gradient itself; the same for maps of one pixel, whose every pixel is a channel; and for
 * group norm, whose every lane is an image with numbers of its own. */
#include <assert.h>
#include <math.h>

#include "sums_tmpl.h"

static void bn_stats(const float *x, size_t n, float k[16], float s[16], float q[16])
{
    assert(n % 16 == 0 && n > 0 && n <= 16 * 1024);
    struct cvyi_sums t = { 0 };
    const size_t step = n / 64 * 16;
    for (size_t l = 0; l < 16; l += VL) {
        const float *p = x + l;
        vf x0 = v_load(p), d1 = v_sub(v_load(p + step), x0), d2 = v_sub(v_load(p + 2 * step), x0);
        vf d3 = v_sub(v_load(p + 3 * step), x0);
        /* the two in the middle of 0, d1, d2 and d3 */
        vf a = v_max(v_min(v_zero(), d1), v_min(d2, d3)),
           b = v_min(v_max(v_zero(), d1), v_max(d2, d3));
        v_store(k + l, v_fma(v_add(a, b), v_set1(0.5f), x0));
    }
#define STEP(i, l, a, b)                               \
    do {                                               \
        sum_ask(x, i, l);                              \
        vf d_ = v_sub(v_load(x + (i)), v_load(k + l)); \
        a = v_add(a, d_);                              \
        b = v_fma(d_, d_, b);                          \
    } while (0)
    SUM_ROW(n, &t, STEP)
#undef STEP
    sums_fold(&t, s, q);
}

static void norm(float *y, const float *x, size_t n, const struct cvyi_affine *c)
{
    assert(n % 16 == 0);
    vf m = v_set1(c->m), a = v_set1(c->a), b = v_set1(c->b);
    for (size_t i = 0; i < n; i += 16) {
        V_ASK(y + i + V_AHEAD);
        V_EACH (V_PARTS) v_store(y + i + j * VL, v_fma(a, v_sub(v_load(x + i + j * VL), m), b));
    }
}

static void bn_reduce(const float *g, const float *x, size_t n, float m, float s1[16], float s2[16])
{
    assert(n % 16 == 0 && n <= 16 * 1024);
    struct cvyi_sums t = { 0 };
    vf mean = v_set1(m);
#define STEP(i, l, a, b)                                \
    do {                                                \
        sum_ask(g, i, l);                               \
        sum_ask(x, i, l);                               \
        vf g_ = v_load(g + (i));                        \
        a = v_add(a, g_);                               \
        b = v_fma(g_, v_sub(v_load(x + (i)), mean), b); \
    } while (0)
    SUM_ROW(n, &t, STEP)
#undef STEP
    sums_fold(&t, s1, s2);
}

static void bn_dx(float *dx, const float *g, const float *x, size_t n, const struct cvyi_bn_dx *c,
                  unsigned n_lanes)
{
    assert(n % 16 == 0 && n_lanes <= 16);
    vf m = v_set1(c->m), a = v_set1(c->a), b = v_set1(c->b), cc = v_set1(c->c);
    vm keep[V_PARTS];
    for (int j = 0; j < V_PARTS; j++) keep[j] = v_lane_mask(j * VL, (int)n_lanes);
    for (size_t i = 0; i < n; i += 16) {
        V_ASK(dx + i + V_AHEAD);
        V_EACH (V_PARTS) {
            size_t o = i + (size_t)j * VL;
            vf t = v_fma(b, v_sub(v_load(x + o), m), cc);
            v_store(dx + o, v_maskz(keep[j], v_fma(a, v_load(g + o), t)));
        }
    }
}

/* ---------------------------------------------------------------------------- maps of one pixel */

/* Sixteen pixels are transposed, so that a pixel is a lane and its sum runs down a column. */
V_FN void columns_add(vd s[4], const float *t, unsigned n_lanes)
{
    _Pragma("GCC unroll 16") for (unsigned l = 0; l < 16; l++) if (l < n_lanes) s[l & 3] =
        vd_add(s[l & 3], vd_from(v_load(t + l * 16)));
}

V_FN vd join(const vd s[4]) { return vd_add(vd_add(s[0], s[1]), vd_add(s[2], s[3])); }

/* n <= 16 pixels; rows of the transposed beyond them are zero. */
V_FN void columns(float t[256], const float *x, size_t n)
{
    float padded[256];
    if (n < 16) {
        memset(padded, 0, sizeof padded);
        memcpy(padded, x, n * 16 * sizeof *x);
        x = padded;
    }
    v_transpose16(t, 16, x, 16);
}

static void each_stats(const float *x, size_t n, unsigned n_lanes, double *mean, double *m2)
{
    const vd count = vd_set1(n_lanes), zero = vd_set1(0);
    for (size_t i = 0; i < n; i += 16) {
        size_t m = n - i < 16 ? n - i : 16;
        float t[256];
        double u[16], v[16];
        columns(t, x + i * 16, m);
        for (size_t c = 0; c < 16; c += VL) {
            vd s[4] = { zero, zero, zero, zero }, q[4] = { zero, zero, zero, zero };
            columns_add(s, t + c, n_lanes);
            vd mu = vd_div(join(s), count);
            _Pragma("GCC unroll 16") for (unsigned l = 0; l < 16; l++)
            {
                vd d = vd_sub(vd_from(v_load(t + l * 16 + c)), mu);
                if (l < n_lanes) q[l & 3] = vd_add(q[l & 3], vd_mul(d, d));
            }
            vd_store(u + c, mu);
            vd_store(v + c, join(q));
        }
        memcpy(mean + i, u, m * sizeof *u);
        memcpy(m2 + i, v, m * sizeof *v);
    }
}

static void each_norm(float *y, const float *x, size_t n, const struct cvyi_affine *c)
{
    for (size_t i = 0; i < n; i++) {
        const vf m = v_set1(c[i].m), a = v_set1(c[i].a), b = v_set1(c[i].b);
        for (size_t o = i * 16; o < i * 16 + 16; o += VL)
            v_store(y + o, v_fma(a, v_sub(v_load(x + o), m), b));
    }
}

/* The sum over all lanes of each of n <= 16 pixels. */
V_FN void column_sums(double sum[16], const float *x, size_t n)
{
    const vd zero = vd_set1(0);
    float t[256];
    columns(t, x, n);
    for (size_t c = 0; c < 16; c += VL) {
        vd s[4] = { zero, zero, zero, zero };
        columns_add(s, t + c, 16);
        vd_store(sum + c, join(s));
    }
}

static void each_reduce(const float *g, const float *x, size_t n, const double *mean, double *s1,
                        double *s2)
{
    for (size_t i = 0; i < n; i += 16) {
        size_t m = n - i < 16 ? n - i : 16;
        float product[256];
        double u[16], v[16];
        for (size_t k = 0; k < m; k++) {
            const vf mu = v_set1((float)mean[i + k]);
            for (size_t o = 0; o < 16; o += VL) {
                size_t from = (i + k) * 16 + o;
                v_store(product + k * 16 + o, v_mul(v_load(g + from), v_sub(v_load(x + from), mu)));
            }
        }
        column_sums(u, g + i * 16, m);
        column_sums(v, product, m);
        memcpy(s1 + i, u, m * sizeof *u);
        memcpy(s2 + i, v, m * sizeof *v);
    }
}

static void each_bn_dx(float *dx, const float *g, const float *x, size_t n,
                       const struct cvyi_bn_dx *c, unsigned n_lanes)
{
    for (size_t i = 0; i < n; i++) bn_dx(dx + i * 16, g + i * 16, x + i * 16, 16, &c[i], n_lanes);
}

/* ------------------------------------------------------------------- statistics of a lane's own */

/* A lane whose squares overflow float (or that holds a NaN). */
static void lane_in_double(const float *x, size_t pixels, double *mean, double *m2)
{
    double sum = 0, squares = 0;
    for (size_t p = 0; p < pixels; p++) sum += (double)x[p * 16];
    *mean = sum / (double)pixels;
    for (size_t p = 0; p < pixels; p++) {
        double d = (double)x[p * 16] - *mean;
        squares += d * d;
    }
    *m2 = squares;
}

static void lane_stats(const float *x, size_t n, double mean[16], double m2[16])
{
    const size_t part = 16 * CVYI_LANE_SUM;
    assert(n % 16 == 0 && n > 0);
    for (size_t l = 0; l < 16; l++) mean[l] = m2[l] = 0;
    for (size_t i = 0; i < n; i += part) {
        const size_t floats = n - i < part ? n - i : part, before = i / 16, pixels = floats / 16;
        const double na = (double)before, m = (double)pixels, inv = 1.0 / m, w = m / (na + m),
                     naw = na * w;
        float k[16], s[16], q[16];
        double u[16], v[16];
        bn_stats(x + i, floats, k, s, q);
        for (size_t l = 0; l < 16; l++) {
            double shift = (double)s[l] * inv, rest = (double)q[l] - (double)s[l] * shift;
            u[l] = (double)k[l] + shift;
            v[l] = rest < 0 ? 0 : rest; /* NaN is kept */
        }
        for (size_t l = 0; l < 16; l++)
            if (!isfinite(v[l])) lane_in_double(x + i + l, floats / 16, &u[l], &v[l]);
        for (size_t l = 0; l < 16; l++) {
            double d = u[l] - mean[l];
            mean[l] += d * w;
            m2[l] += v[l] + d * d * naw;
        }
    }
}

static void lane_norm(float *y, const float *x, size_t n, const struct cvyi_lane_norm *c,
                      const struct cvyi_lane_affine *affine)
{
    const float *gamma = affine->gamma, *beta = affine->beta;
    assert(n % 16 == 0);
    for (size_t i = 0; i < n; i += 16, gamma += affine->gamma_step, beta += affine->beta_step) {
        const vf a = v_set1(*gamma), b = v_set1(*beta);
        V_EACH (V_PARTS) {
            size_t l = (size_t)j * VL;
            vf d = v_sub(v_load(x + i + l), v_load(c->m + l));
            v_store(y + i + l, v_fma(a, v_fma(v_load(c->s + l), d, v_load(c->r + l)), b));
        }
    }
}

static void lane_reduce(const float *g, const float *x, size_t n, const float m[16],
                        const struct cvyi_lane_affine *affine, double s1[16], double s2[16])
{
    const size_t part = 16 * CVYI_LANE_SUM, step = affine->gamma_step;
    const float *gamma = affine->gamma;
    assert(n % 16 == 0 && step <= 1);
    for (; n; g += part, x += part, gamma += step * CVYI_LANE_SUM) {
        const size_t floats = n < part ? n : part;
        struct cvyi_sums t = { 0 };
        float f1[16], f2[16];
#define STEP(i, l, a, b)                                                \
    do {                                                                \
        sum_ask(g, i, l);                                               \
        sum_ask(x, i, l);                                               \
        vf g_ = v_mul(v_set1(gamma[(i) / 16 * step]), v_load(g + (i))); \
        a = v_add(a, g_);                                               \
        b = v_fma(g_, v_sub(v_load(x + (i)), v_load(m + (l))), b);      \
    } while (0)
        SUM_ROW(floats, &t, STEP)
#undef STEP
        sums_fold(&t, f1, f2);
        for (size_t l = 0; l < 16; l++) {
            s1[l] += (double)f1[l];
            s2[l] += (double)f2[l];
        }
        n -= floats;
    }
}

static void lane_dx(float *dx, const float *g, const float *x, size_t n,
                    const struct cvyi_lane_dx *c, const struct cvyi_lane_affine *affine,
                    unsigned n_lanes)
{
    const float *gamma = affine->gamma;
    assert(n % 16 == 0 && n_lanes <= 16);
    vm keep[V_PARTS];
    for (int j = 0; j < V_PARTS; j++) keep[j] = v_lane_mask(j * VL, (int)n_lanes);
    for (size_t i = 0; i < n; i += 16, gamma += affine->gamma_step) {
        const vf factor = v_set1(*gamma);
        V_EACH (V_PARTS) {
            size_t l = (size_t)j * VL;
            vf d = v_sub(v_load(x + i + l), v_load(c->m + l)),
               t = v_fma(v_load(c->b + l), d, v_load(c->c + l));
            vf y = v_fma(v_load(c->a + l), v_mul(factor, v_load(g + i + l)), t);
            v_store(dx + i + l, v_maskz(keep[j], y));
        }
    }
}

static void lane_columns(const float *g, const float *x, size_t n, const struct cvyi_lane_norm *c,
                         double *s1, double *s2)
{
    for (size_t i = 0; i < n; i += 16) {
        size_t m = n - i < 16 ? n - i : 16;
        float product[256];
        double u[16], v[16];
        for (size_t o = 0; o < m * 16; o += VL) {
            size_t l = o % 16, from = i * 16 + o;
            vf d = v_sub(v_load(x + from), v_load(c->m + l)),
               xhat = v_fma(v_load(c->s + l), d, v_load(c->r + l));
            v_store(product + o, v_mul(v_load(g + from), xhat));
        }
        column_sums(u, g + i * 16, m);
        column_sums(v, product, m);
        for (size_t k = 0; k < m; k++) {
            s1[i + k] += u[k];
            s2[i + k] += v[k];
        }
    }
}

/* ------------------------------------------------------------------------------------ the table */

extern const struct cvyi_norm_kernels KFN(norm);
const struct cvyi_norm_kernels KFN(norm) = {
    .bn_stats = bn_stats,
    .norm = norm,
    .bn_reduce = bn_reduce,
    .bn_dx = bn_dx,
    .each_stats = each_stats,
    .each_norm = each_norm,
    .each_reduce = each_reduce,
    .each_bn_dx = each_bn_dx,
    .lane_stats = lane_stats,
    .lane_norm = lane_norm,
    .lane_reduce = lane_reduce,
    .lane_dx = lane_dx,
    .lane_columns = lane_columns,
};
