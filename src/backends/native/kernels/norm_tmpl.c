/* Batch norm's kernels over rows of pixels: statistics, the normalisation, the sums of its gradient
 * and the gradient itself; and the same for maps of one pixel, whose every pixel is a channel. */
#include <assert.h>

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
    for (size_t i = 0; i < n; i += VL) v_store(y + i, v_fma(a, v_sub(v_load(x + i), m), b));
}

static void bn_reduce(const float *g, const float *x, size_t n, float m, float s1[16], float s2[16])
{
    assert(n % 16 == 0 && n <= 16 * 1024);
    struct cvyi_sums t = { 0 };
    vf mean = v_set1(m);
#define STEP(i, l, a, b)                                \
    do {                                                \
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
    for (size_t i = 0; i < n; i += 16)
        V_EACH (V_PARTS) {
            size_t o = i + (size_t)j * VL;
            vf t = v_fma(b, v_sub(v_load(x + o), m), cc);
            v_store(dx + o, v_maskz(keep[j], v_fma(a, v_load(g + o), t)));
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

static void each_reduce(const float *g, const float *x, size_t n, const double *mean, double *s1,
                        double *s2)
{
    const vd zero = vd_set1(0);
    for (size_t i = 0; i < n; i += 16) {
        size_t m = n - i < 16 ? n - i : 16;
        float t[256], product[256];
        double u[16], v[16];
        for (size_t k = 0; k < m; k++) {
            const vf mu = v_set1((float)mean[i + k]);
            for (size_t o = 0; o < 16; o += VL) {
                size_t from = (i + k) * 16 + o;
                v_store(product + k * 16 + o, v_mul(v_load(g + from), v_sub(v_load(x + from), mu)));
            }
        }
        columns(t, g + i * 16, m);
        for (size_t c = 0; c < 16; c += VL) {
            vd s[4] = { zero, zero, zero, zero };
            columns_add(s, t + c, 16);
            vd_store(u + c, join(s));
        }
        columns(t, product, m);
        for (size_t c = 0; c < 16; c += VL) {
            vd s[4] = { zero, zero, zero, zero };
            columns_add(s, t + c, 16);
            vd_store(v + c, join(s));
        }
        memcpy(s1 + i, u, m * sizeof *u);
        memcpy(s2 + i, v, m * sizeof *v);
    }
}

static void each_bn_dx(float *dx, const float *g, const float *x, size_t n,
                       const struct cvyi_bn_dx *c, unsigned n_lanes)
{
    for (size_t i = 0; i < n; i++) bn_dx(dx + i * 16, g + i * 16, x + i * 16, 16, &c[i], n_lanes);
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
};
