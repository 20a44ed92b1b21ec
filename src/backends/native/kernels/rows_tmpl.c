/* Row kernels: activations, batch normalization, element-wise steps and pooling over rows of
 * pixels.
 *
 * Written once over vec.h; each ISA's object exports one table, KFN(rows). A register covers a part
 * of a pixel (V_PARTS of them), so all lanes of a column are treated alike. Knows nothing of
 * images, nets or threads. */
#include "kernels.h"
#include "act_tmpl.h"

#include <assert.h>

#define K_ENUM(NAME, name, ...) A_##name,
enum { CVY_ACTIVATIONS(K_ENUM) A_relu_x, A_none };

/* ---------------------------------------------------------------------------------- activations */

/* Registers in flight: enough to cover the latency of the exponential's chain. */
#define ACT_N 4

V_FN void act_eval(int kind, int N, vf *v, vf alpha)
{
#define K_VALUE(NAME, name, ...) \
    case A_##name: value_##name(N, v, alpha); break;
    switch (kind) {
        CVY_ACTIVATIONS(K_VALUE)
    default: break;
    }
}

V_FN void act_block(int kind, bool norm, int N, float *y, const float *x, vf m, vf a, vf b,
                    vf alpha)
{
    vf v[ACT_N];
    V_EACH (N) v[j] = v_load(x + j * VL);
    if (norm)
        V_EACH (N) v[j] = v_fma(a, v_sub(v[j], m), b);
    act_eval(kind, N, v, alpha);
    V_EACH (N) v_store(y + j * VL, v[j]);
}

V_FN void act_row(int kind, bool norm, float *y, const float *x, size_t n,
                  const struct cvyi_affine *c, float alpha)
{
    assert(n % 16 == 0);
    vf m = v_set1(norm ? c->m : 0), a = v_set1(norm ? c->a : 1), b = v_set1(norm ? c->b : 0),
       al = v_set1(alpha);
    size_t i = 0;
    for (; i + ACT_N * VL <= n; i += ACT_N * VL)
        act_block(kind, norm, ACT_N, y + i, x + i, m, a, b, al);
    for (; i < n; i += VL) act_block(kind, norm, 1, y + i, x + i, m, a, b, al);
}

#define K_ACT(NAME, name, ...)                                                                   \
    static void act_##name(float *y, const float *x, size_t n, float alpha)                      \
    {                                                                                            \
        act_row(A_##name, false, y, x, n, NULL, alpha);                                          \
    }                                                                                            \
    static void norm_act_##name(float *y, const float *x, size_t n, const struct cvyi_affine *c, \
                                float alpha)                                                     \
    {                                                                                            \
        act_row(A_##name, true, y, x, n, c, alpha);                                              \
    }
CVY_ACTIVATIONS(K_ACT)

static void norm(float *y, const float *x, size_t n, const struct cvyi_affine *c, float alpha)
{
    act_row(A_none, true, y, x, n, c, alpha);
}

/* The gradient through the activation; `s` is what the forward pass saved. */
V_FN vf act_grad(int kind, vf dy, vf s, vf alpha)
{
#define K_THROUGH(NAME, name, ...) \
    case A_##name: return through_##name(dy, s, alpha);
    switch (kind) {
        CVY_ACTIVATIONS(K_THROUGH)
    default: return through_relu_x(dy, s, alpha);
    }
}

/* ----------------------------------------------------------------------------- sums over pixels */

/* Four chains a lane, pixel p to chain p % 4, so that additions do not wait for each other, begun
 * anew every CVYI_SUM_BLOCK pixels, so that none is long. Two sums of four chains fill half the
 * registers, so one part of the pixel is summed at a time; a few pixels only, that the next part
 * finds them in L1. */
V_FN void sums_fold(const struct cvyi_sums *t, float a[16], float b[16])
{
    for (int l = 0; l < 16; l += VL) {
        vf a01 = v_add(v_load(t->s1[0] + l), v_load(t->s1[1] + l)),
           a23 = v_add(v_load(t->s1[2] + l), v_load(t->s1[3] + l));
        vf b01 = v_add(v_load(t->s2[0] + l), v_load(t->s2[1] + l)),
           b23 = v_add(v_load(t->s2[2] + l), v_load(t->s2[3] + l));
        v_store(a + l, v_add(a01, a23));
        v_store(b + l, v_add(b01, b23));
    }
}

V_FN void add_to(float *p, vf a) { v_store(p, v_add(v_load(p), a)); }

/* STEP(i, a, b) adds the register at float i to the chains a and b. */
#define SUM_ROW(n, t, STEP)                                                                  \
    for (size_t i0 = 0; i0 < (n); i0 += 16 * CVYI_SUM_BLOCK) {                               \
        size_t i1 = (n)-i0 < 16 * CVYI_SUM_BLOCK ? (n) : i0 + 16 * CVYI_SUM_BLOCK;           \
        for (size_t l = 0; l < 16; l += VL) {                                                \
            vf a0 = v_zero(), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0; \
            size_t i = i0 + l;                                                               \
            for (; i + 48 < i1; i += 64) {                                                   \
                STEP(i, a0, b0);                                                             \
                STEP(i + 16, a1, b1);                                                        \
                STEP(i + 32, a2, b2);                                                        \
                STEP(i + 48, a3, b3);                                                        \
            }                                                                                \
            if (i < i1) STEP(i, a0, b0);                                                     \
            if (i + 16 < i1) STEP(i + 16, a1, b1);                                           \
            if (i + 32 < i1) STEP(i + 32, a2, b2);                                           \
            add_to((t)->s1[0] + l, a0), add_to((t)->s1[1] + l, a1);                          \
            add_to((t)->s1[2] + l, a2), add_to((t)->s1[3] + l, a3);                          \
            add_to((t)->s2[0] + l, b0), add_to((t)->s2[1] + l, b1);                          \
            add_to((t)->s2[2] + l, b2), add_to((t)->s2[3] + l, b3);                          \
        }                                                                                    \
    }

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
#define STEP(i, a, b)                                  \
    do {                                               \
        vf d_ = v_sub(v_load(x + (i)), v_load(k + l)); \
        a = v_add(a, d_);                              \
        b = v_fma(d_, d_, b);                          \
    } while (0)
    SUM_ROW(n, &t, STEP)
#undef STEP
    sums_fold(&t, s, q);
}

V_FN void reduce_row(int kind, float *g, const float *dy, const float *saved, const float *x,
                     size_t n, float alpha, float m, float s1[16], float s2[16])
{
    assert(n % 16 == 0 && n <= 16 * 1024);
    struct cvyi_sums t = { 0 };
    vf al = v_set1(alpha), mean = v_set1(m);
#define STEP(i, a, b)                                         \
    do {                                                      \
        vf g_ = v_load(dy + (i));                             \
        if (kind != A_none) {                                 \
            g_ = act_grad(kind, g_, v_load(saved + (i)), al); \
            v_store(g + (i), g_);                             \
        }                                                     \
        a = v_add(a, g_);                                     \
        b = v_fma(g_, v_sub(v_load(x + (i)), mean), b);       \
    } while (0)
    SUM_ROW(n, &t, STEP)
#undef STEP
    sums_fold(&t, s1, s2);
}

static void bn_reduce(const float *g, const float *x, size_t n, float m, float s1[16], float s2[16])
{
    reduce_row(A_none, NULL, g, NULL, x, n, 0, m, s1, s2);
}

#define K_ACT_BWD(NAME, name, ...)                                                      \
    static void act_bwd_##name(float *g, const float *dy, const float *saved, size_t n, \
                               float alpha)                                             \
    {                                                                                   \
        assert(n % 16 == 0);                                                            \
        vf al = v_set1(alpha);                                                          \
        for (size_t i = 0; i < n; i += VL)                                              \
            v_store(g + i, act_grad(A_##name, v_load(dy + i), v_load(saved + i), al));  \
    }                                                                                   \
    static void act_bwd_reduce_##name(float *g, const float *dy, const float *saved,    \
                                      const float *x, size_t n, float alpha, float m,   \
                                      float s1[16], float s2[16])                       \
    {                                                                                   \
        reduce_row(A_##name, g, dy, saved, x, n, alpha, m, s1, s2);                     \
    }
CVY_ACTIVATIONS(K_ACT_BWD)
K_ACT_BWD(RELU, relu_x)

/* --------------------------------------------------------------------------------- element-wise */

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

static void add(float *y, const float *a, const float *b, size_t n)
{
    assert(n % 16 == 0);
    for (size_t i = 0; i < n; i += VL) v_store(y + i, v_add(v_load(a + i), v_load(b + i)));
}

static void scale(float *y, const float *x, size_t n, float a)
{
    assert(n % 16 == 0);
    vf av = v_set1(a);
    for (size_t i = 0; i < n; i += VL) v_store(y + i, v_mul(v_load(x + i), av));
}

static void mask_scale(float *y, const float *x, const uint16_t *mask, size_t n, float a)
{
    assert(n % 16 == 0);
    vf av = v_set1(a);
    for (size_t i = 0; i < n; i += 16)
        V_EACH (V_PARTS) {
            size_t o = i + (size_t)j * VL;
            v_store(y + o, v_maskz(vm_from_bits((unsigned)mask[i / 16] >> j * VL),
                                   v_mul(v_load(x + o), av)));
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
            vd_store(u + c, mu), vd_store(v + c, join(q));
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

/* -------------------------------------------------------------------------------------- pooling */

/* Columns [q0, q1) have their whole window inside the row; the others are clipped. */
struct span {
    size_t q0, q1;
};

static struct span inner(const struct cvyi_pool *p)
{
    assert(p->kw > p->pl && p->sw > 0 && p->iw > 0);
    size_t q0 = (p->pl + p->sw - 1) / p->sw,
           q1 = p->iw + p->pl >= p->kw ? (p->iw + p->pl - p->kw) / p->sw + 1 : 0;
    q1 = q1 < p->ow ? q1 : p->ow;
    q0 = q0 < q1 ? q0 : q1;
    return (struct span){ q0, q1 };
}

/* The window of column q: input columns [c0, c0 + returned width). */
V_FN size_t window(const struct cvyi_pool *p, size_t q, size_t *c0)
{
    size_t lo = q * p->sw, hi = lo + p->kw - p->pl;
    *c0 = lo = lo > p->pl ? lo - p->pl : 0;
    assert(lo < p->iw);
    return (hi < p->iw ? hi : p->iw) - lo;
}

/* Runs CELL(q, c0, kw, n_rows) for every column; small windows inside the row get constant
 * sizes. */
#define POOL_COLUMNS(CELL)                                     \
    const struct span in = inner(p);                           \
    size_t q = 0, c0, w;                                       \
    for (; q < in.q0; q++) {                                   \
        w = window(p, q, &c0);                                 \
        CELL(q, c0, w, n_rows);                                \
    }                                                          \
    c0 = q * p->sw - p->pl;                                    \
    if (p->kw == 2 && n_rows == 2)                             \
        for (; q < in.q1; q++, c0 += p->sw) CELL(q, c0, 2, 2); \
    else if (p->kw == 3 && n_rows == 3)                        \
        for (; q < in.q1; q++, c0 += p->sw) CELL(q, c0, 3, 3); \
    for (; q < p->ow; q++) {                                   \
        w = window(p, q, &c0);                                 \
        CELL(q, c0, w, n_rows);                                \
    }

/* The same without them. */
#define POOL_CELLS(CELL)                     \
    for (size_t q = 0, c0; q < p->ow; q++) { \
        size_t w = window(p, q, &c0);        \
        CELL(q, c0, w, n_rows);              \
    }

/* The window's elements in scan order: r and the offset `o` into its row. */
#define WINDOW(c0, kw, n_rows)                                    \
    _Pragma("GCC unroll 4") for (size_t r = 0; r < (n_rows); r++) \
        _Pragma("GCC unroll 4") for (size_t o = (c0)*16 + l, e_ = o + (kw)*16; o < e_; o += 16)

/* A later equal value does not replace an earlier one, and the first NaN stays. */
V_FN vf max_first(vf m, vf x) { return v_select(vm_or(v_ge(m, x), v_unord(m, m)), m, x); }

V_FN vf window_max(const float *const *rows, size_t c0, size_t kw, size_t n_rows, size_t l)
{
    vf m = v_load(rows[0] + c0 * 16 + l);
    WINDOW(c0, kw, n_rows)
    m = max_first(m, v_load(rows[r] + o));
    return m;
}

static void pool_max(const struct cvyi_pool *p, float *y, const float *const *rows, size_t n_rows)
{
#define CELL(q, c0, kw, nr) \
    for (size_t l = 0; l < 16; l += VL) v_store(y + (q)*16 + l, window_max(rows, c0, kw, nr, l))
    POOL_COLUMNS(CELL)
#undef CELL
}

/* dx[r][o] += t, in double if `wide`. */
V_FN void give(bool wide, void *const *dx, size_t r, size_t o, vf t)
{
    if (wide) {
        double *p = (double *)dx[r] + o;
        vd_store(p, vd_add(vd_load(p), vd_from(t)));
    } else {
        add_to((float *)dx[r] + o, t);
    }
}

/* `l` is the first lane of the part. Without a NaN maximum no element is unordered; with one
 * nothing is equal. */
V_FN void max_bwd_cell(bool wide, void *const *dx, const float *dy, const float *const *rows,
                       size_t c0, size_t kw, size_t n_rows, int tie, size_t l)
{
    vf m = window_max(rows, c0, kw, n_rows, l), d = v_load(dy + l), count = v_zero();
    vm open = vm_from_bits(0xffff);
    if (tie == 2) {
        WINDOW(c0, kw, n_rows)
        {
            vf x = v_load(rows[r] + o);
            count = v_add(count, v_maskz(vm_or(v_eq(x, m), v_unord(x, x)), v_set1(1)));
        }
        d = v_div(d, count);
    }
    WINDOW(c0, kw, n_rows)
    {
        vf x = v_load(rows[r] + o);
        vm hit = vm_or(v_eq(x, m), v_unord(x, x));
        if (tie == 0) {
            hit = vm_and(hit, open);
            open = vm_andnot(hit, open);
        }
        give(wide, dx, r, o, v_maskz(hit, d));
    }
}

/* The common case by itself: the first maximum of windows without a NaN. Where windows do not
 * overlap (`alone`) each dx is written once, so what it held (zero) need not be read; it is added
 * all the same, or -0 would depend on it. */
V_FN void max_bwd_cell_first(float *const *dx, const float *dy, const float *const *rows, size_t c0,
                             size_t kw, size_t n_rows, bool alone, size_t l)
{
    vf m = v_load(rows[0] + c0 * 16 + l), d = v_load(dy + l);
    vm nan = vm_from_bits(0), open = vm_from_bits(0xffff);
    WINDOW(c0, kw, n_rows)
    {
        vf x = v_load(rows[r] + o);
        nan = vm_or(nan, v_unord(x, x));
        m = v_max(x, m);
    }
    if (__builtin_expect(vm_to_bits(nan) != 0, 0)) {
        max_bwd_cell(false, (void *const *)dx, dy, rows, c0, kw, n_rows, 0, l);
        return;
    }
    WINDOW(c0, kw, n_rows)
    {
        vm hit = vm_and(v_eq(v_load(rows[r] + o), m), open);
        vf g = v_maskz(hit, d);
        open = vm_andnot(hit, open);
        v_store(dx[r] + o, v_add(alone ? v_zero() : v_load(dx[r] + o), g));
    }
}

#define K_MAX_BWD(name, tie)                                                       \
    static void name(const struct cvyi_pool *p, float *const *dx, const float *dy, \
                     const float *const *rows, size_t n_rows)                      \
    {                                                                              \
        POOL_COLUMNS(CELL_##tie)                                                   \
    }
#define CELL_TIE(q, c0, kw, nr, tie)    \
    for (size_t l = 0; l < 16; l += VL) \
    max_bwd_cell(false, (void *const *)dx, dy + (q)*16, rows, c0, kw, nr, tie, l)
#define CELL_FIRST(q, c0, kw, nr, alone) \
    for (size_t l = 0; l < 16; l += VL)  \
    max_bwd_cell_first(dx, dy + (q)*16, rows, c0, kw, nr, alone, l)
#define CELL_ALONE(q, c0, kw, nr) CELL_FIRST(q, c0, kw, nr, true)
#define CELL_OVERLAP(q, c0, kw, nr) CELL_FIRST(q, c0, kw, nr, false)
#define CELL_1(q, c0, kw, nr) CELL_TIE(q, c0, kw, nr, 1)
#define CELL_2(q, c0, kw, nr) CELL_TIE(q, c0, kw, nr, 2)
K_MAX_BWD(max_bwd_alone, ALONE)
K_MAX_BWD(max_bwd_overlap, OVERLAP)
K_MAX_BWD(max_bwd_all, 1)
K_MAX_BWD(max_bwd_split, 2)

static void pool_max_bwd(const struct cvyi_pool *p, float *const *dx, const float *dy,
                         const float *const *rows, size_t n_rows, int tie)
{
    assert(tie >= 0 && tie <= 2);
    if (tie == 0) (p->apart ? max_bwd_alone : max_bwd_overlap)(p, dx, dy, rows, n_rows);
    else (tie == 1 ? max_bwd_all : max_bwd_split)(p, dx, dy, rows, n_rows);
}

static void pool_max_bwd_wide(const struct cvyi_pool *p, double *const *dx, const float *dy,
                              const float *const *rows, size_t n_rows, int tie)
{
    assert(tie >= 0 && tie <= 2);
#define CELL(q, c0, kw, nr)             \
    for (size_t l = 0; l < 16; l += VL) \
    max_bwd_cell(true, (void *const *)dx, dy + (q)*16, rows, c0, kw, nr, tie, l)
    POOL_CELLS(CELL)
#undef CELL
}

/* Where windows tile the plane: the maximum, its place and what was normalised there. `careful`:
 * with NaNs. */
V_FN vm argmax_cell(bool careful, float *y, uint8_t *at, float *picked, const float *const *rows,
                    const struct cvyi_affine *c, size_t c0, size_t kw, size_t n_rows, size_t width,
                    size_t l)
{
    vf m = v_zero(), place = v_zero(), beside = v_zero(), sum = v_zero();
    const vf mean = v_set1(c ? c->m : 0), a = v_set1(c ? c->a : 1), b = v_set1(c ? c->b : 0);
    bool first = true;
    WINDOW(c0, kw, n_rows)
    {
        vf x = v_load(rows[r] + o), z = c ? v_fma(a, v_sub(x, mean), b) : x;
        sum = v_add(sum, z);
        vm stays = v_ge(m, z);
        if (careful) stays = vm_or(stays, v_unord(m, m));
        m = first ? z : v_select(stays, m, z);
        place = first ? place
                      : v_select(stays, place, v_set1((float)(int)(r * width + (o - l) / 16 - c0)));
        beside = first ? x : v_select(stays, beside, x);
        first = false;
    }
    v_store(y + l, m);
    v_store_u8(at + l, place);
    if (picked) v_store(picked + l, beside);
    return v_unord(sum, sum);
}

V_FN void argmax_one(float *y, uint8_t *at, float *picked, const float *const *rows,
                     const struct cvyi_affine *c, size_t q, size_t c0, size_t kw, size_t n_rows,
                     size_t width, size_t l)
{
    float *to = picked ? picked + q * 16 : NULL;
    vm nan = argmax_cell(false, y + q * 16, at + q * 16, to, rows, c, c0, kw, n_rows, width, l);
    if (__builtin_expect(vm_to_bits(nan) != 0, 0))
        argmax_cell(true, y + q * 16, at + q * 16, to, rows, c, c0, kw, n_rows, width, l);
}

V_FN void argmax_row(const struct cvyi_pool *pool, float *y, uint8_t *at, float *picked,
                     const float *const *rows, const struct cvyi_affine *affine, size_t n_rows)
{
    const struct cvyi_pool own = *pool, *p = &own; /* `at` is bytes, and bytes may alias anything */
    const struct cvyi_affine held = affine ? *affine : (struct cvyi_affine){ 0 },
                             *c = affine ? &held : NULL;
#define CELL(q, c0, width, nr)          \
    for (size_t l = 0; l < 16; l += VL) \
    argmax_one(y, at, picked, rows, c, q, c0, width, nr, own.kw, l)
    POOL_COLUMNS(CELL)
#undef CELL
}

static void pool_argmax(const struct cvyi_pool *p, float *y, uint8_t *at, float *picked,
                        const float *const *rows, const struct cvyi_affine *c, size_t n_rows)
{
    assert(p->sw == p->kw && p->pl == 0 && n_rows * p->kw <= 256);
    if (c && picked) argmax_row(p, y, at, picked, rows, c, n_rows);
    else if (c) argmax_row(p, y, at, NULL, rows, c, n_rows);
    else if (picked) argmax_row(p, y, at, picked, rows, NULL, n_rows);
    else argmax_row(p, y, at, NULL, rows, NULL, n_rows);
}

/* What the gradient of window q is at its place number `place`. */
V_FN vf spread(const float *g, const uint8_t *at, size_t q, vi place, size_t l)
{
    return v_maskz(vi_eq(vi_from_u8(at + q * 16 + l), place), v_load(g + q * 16 + l));
}

/* Runs CELL(c, s): column c of the row has the gradient s. */
#define SPREAD_ROW(CELL)                                                                   \
    for (size_t l = 0; l < 16; l += VL) {                                                  \
        size_t c = 0;                                                                      \
        if (p->kw == 2) {                                                                  \
            const vi left = vi_set1((int)first), right = vi_set1((int)first + 1);          \
            for (size_t q = 0; q < p->ow && c + 1 < p->iw; q++, c += 2) {                  \
                vi place = vi_from_u8(at + q * 16 + l);                                    \
                vf d = v_load(g + q * 16 + l);                                             \
                CELL(c, v_maskz(vi_eq(place, left), d));                                   \
                CELL(c + 1, v_maskz(vi_eq(place, right), d));                              \
            }                                                                              \
        }                                                                                  \
        for (; c < p->iw; c++) {                                                           \
            size_t q = c / p->kw;                                                          \
            CELL(c, q < p->ow ? spread(g, at, q, vi_set1((int)(first + c - q * p->kw)), l) \
                              : v_zero());                                                 \
        }                                                                                  \
    }

static void argmax_bwd(const struct cvyi_pool *p, float *dx, const float *g, const uint8_t *at,
                       size_t first)
{
#define CELL(c, s) v_store(dx + (c)*16 + l, s)
    SPREAD_ROW(CELL)
#undef CELL
}

static void argmax_bn_dx(const struct cvyi_pool *p, float *dx, const float *x, const float *g,
                         const uint8_t *at, size_t first, const struct cvyi_bn_dx *k,
                         unsigned n_lanes)
{
    assert(n_lanes <= 16);
    const vf m = v_set1(k->m), a = v_set1(k->a), b = v_set1(k->b), cc = v_set1(k->c);
#define CELL(c, s)                                                      \
    v_store(dx + (c)*16 + l, v_maskz(v_lane_mask((int)l, (int)n_lanes), \
                                     v_fma(a, s, v_fma(b, v_sub(v_load(x + (c)*16 + l), m), cc))))
    SPREAD_ROW(CELL)
#undef CELL
}

/* Adds pixel number `pixel` of the segment, which window q has `place` in, to its chain. */
V_FN void argmax_pixel(struct cvyi_sums *t, size_t pixel, const float *g, const uint8_t *at,
                       const float *picked, size_t q, vi place, vf mean, size_t l)
{
    float *sa = t->s1[pixel & 3] + l, *sb = t->s2[pixel & 3] + l;
    vm hit = vi_eq(vi_from_u8(at + q * 16 + l), place);
    vf d = v_load(g + q * 16 + l);
    v_store(sa, v_add_if(hit, v_load(sa), d));
    v_store(sb, v_fma_if(hit, d, v_sub(v_load(picked + q * 16 + l), mean), v_load(sb)));
}

/* Two windows of two columns at a time, from column c on and before `end`; answers the column it
 * came to. Chain i of a register is chain (pixel + i) % 4 of the sums: the row's first pixel need
 * not be its segment's. */
V_FN size_t argmax_pairs(struct cvyi_sums *t, size_t start, size_t c, size_t end, const float *g,
                         const uint8_t *at, const float *picked, size_t first, vf mean, size_t l)
{
#define STEP(o, place, a, b)                                        \
    do {                                                            \
        vm hit_ = vi_eq(vi_from_u8(at + o), place);                 \
        vf g_ = v_load(g + o);                                      \
        a = v_add_if(hit_, a, g_);                                  \
        b = v_fma_if(hit_, g_, v_sub(v_load(picked + o), mean), b); \
    } while (0)
    const vi left = vi_set1((int)first), right = vi_set1((int)first + 1);
    float *pa[4], *pb[4];
    for (size_t i = 0; i < 4; i++)
        pa[i] = t->s1[(start + c + i) & 3] + l, pb[i] = t->s2[(start + c + i) & 3] + l;
    vf a0 = v_load(pa[0]), a1 = v_load(pa[1]), a2 = v_load(pa[2]), a3 = v_load(pa[3]);
    vf b0 = v_load(pb[0]), b1 = v_load(pb[1]), b2 = v_load(pb[2]), b3 = v_load(pb[3]);
    for (size_t o = c * 8 + l, stop = o + (end - c) / 4 * 32; o < stop; o += 32) {
        STEP(o, left, a0, b0);
        STEP(o, right, a1, b1);
        STEP(o + 16, left, a2, b2);
        STEP(o + 16, right, a3, b3);
    }
    v_store(pa[0], a0), v_store(pa[1], a1), v_store(pa[2], a2), v_store(pa[3], a3);
    v_store(pb[0], b0), v_store(pb[1], b1), v_store(pb[2], b2), v_store(pb[3], b3);
#undef STEP
    return c + (end - c) / 4 * 4;
}

/* A block is over: its chains go to the sums of those before. */
V_FN void end_block(struct cvyi_sums *t, size_t l)
{
    for (size_t i = 0; i < 4; i++) {
        add_to(t->before1[i] + l, v_load(t->s1[i] + l)), v_store(t->s1[i] + l, v_zero());
        add_to(t->before2[i] + l, v_load(t->s2[i] + l)), v_store(t->s2[i] + l, v_zero());
    }
}

static void argmax_reduce(const struct cvyi_pool *p, struct cvyi_sums *t, size_t start,
                          const float *g, const uint8_t *at, const float *picked, size_t first,
                          float m)
{
    const vf mean = v_set1(m);
    const size_t covered = p->ow * p->kw < p->iw ? p->ow * p->kw : p->iw;
    for (size_t l = 0; l < 16; l += VL)
        for (size_t c = 0; c < p->iw;) {
            size_t left = CVYI_SUM_BLOCK - (start + c) % CVYI_SUM_BLOCK,
                   end = p->iw - c < left ? p->iw : c + left;
            size_t stop = end < covered ? end : covered;
            if (p->kw == 2 && c % 2 == 0 && c + 4 <= stop)
                c = argmax_pairs(t, start, c, stop, g, at, picked, first, mean, l);
            for (; c < stop; c++)
                argmax_pixel(t, start + c, g, at, picked, c / p->kw,
                             vi_set1((int)(first + c % p->kw)), mean, l);
            c = end;
            if ((start + c) % CVYI_SUM_BLOCK == 0) end_block(t, l);
        }
}

V_FN vf window_sum(const float *const *rows, size_t c0, size_t kw, size_t n_rows, size_t l)
{
    vf s = v_zero();
    WINDOW(c0, kw, n_rows)
    s = v_add(s, v_load(rows[r] + o));
    return s;
}

/* A large window: chains of CVYI_POOL_CHAIN pixels of a row, added up in double. */
V_FN vf window_mean(const float *const *rows, size_t c0, size_t kw, size_t n_rows, float inv,
                    size_t l)
{
    vd sum = vd_set1(0);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = 0; c < kw; c += CVYI_POOL_CHAIN) {
            const float *x = rows[r] + (c0 + c) * 16 + l;
            vf s = v_zero();
            for (size_t i = 0, n = kw - c < CVYI_POOL_CHAIN ? kw - c : CVYI_POOL_CHAIN; i < n; i++)
                s = v_add(s, v_load(x + i * 16));
            sum = vd_add(sum, vd_from(s));
        }
    return v_from_vd(vd_mul(sum, vd_set1((double)inv)));
}

static void avg_large(const struct cvyi_pool *p, float *y, const float *const *rows, size_t n_rows,
                      const float *inv)
{
#define CELL(q, c0, kw, nr)             \
    for (size_t l = 0; l < 16; l += VL) \
    v_store(y + (q)*16 + l, window_mean(rows, c0, kw, nr, inv[q], l))
    POOL_CELLS(CELL)
#undef CELL
}

static void avg_small(const struct cvyi_pool *p, float *y, const float *const *rows, size_t n_rows,
                      const float *inv)
{
#define CELL(q, c0, kw, nr)             \
    for (size_t l = 0; l < 16; l += VL) \
    v_store(y + (q)*16 + l, v_mul(window_sum(rows, c0, kw, nr, l), v_set1(inv[q])))
    POOL_COLUMNS(CELL)
#undef CELL
}

static void pool_avg(const struct cvyi_pool *p, float *y, const float *const *rows, size_t n_rows,
                     const float *inv)
{
    (n_rows * p->kw > CVYI_POOL_CHAIN ? avg_large : avg_small)(p, y, rows, n_rows, inv);
}

V_FN void avg_bwd_cell(bool wide, void *const *dx, vf d, size_t c0, size_t kw, size_t n_rows,
                       size_t l)
{
    WINDOW(c0, kw, n_rows)
    give(wide, dx, r, o, d);
}

static void pool_avg_bwd(const struct cvyi_pool *p, float *const *dx, const float *dy,
                         size_t n_rows, const float *inv)
{
#define CELL(q, c0, kw, nr)                                                                        \
    for (size_t l = 0; l < 16; l += VL)                                                            \
    avg_bwd_cell(false, (void *const *)dx, v_mul(v_load(dy + (q)*16 + l), v_set1(inv[q])), c0, kw, \
                 nr, l)
    POOL_COLUMNS(CELL)
#undef CELL
}

static void pool_avg_bwd_wide(const struct cvyi_pool *p, double *const *dx, const float *dy,
                              size_t n_rows, const float *inv)
{
#define CELL(q, c0, kw, nr)                                                                       \
    for (size_t l = 0; l < 16; l += VL)                                                           \
    avg_bwd_cell(true, (void *const *)dx, v_mul(v_load(dy + (q)*16 + l), v_set1(inv[q])), c0, kw, \
                 nr, l)
    POOL_CELLS(CELL)
#undef CELL
}

static void narrow(float *y, const double *x, size_t n)
{
    assert(n % 16 == 0);
    for (size_t i = 0; i < n; i += VL) v_store(y + i, v_from_vd(vd_load(x + i)));
}

/* ------------------------------------------------------------------------------------ the table */

#define K_ACT_PTR(NAME, name, ...) act_##name,
#define K_NORM_PTR(NAME, name, ...) norm_act_##name,
#define K_BWD_PTR(NAME, name, ...) act_bwd_##name,
#define K_RED_PTR(NAME, name, ...) act_bwd_reduce_##name,

extern const struct cvyi_rows_kernels KFN(rows);
const struct cvyi_rows_kernels KFN(rows) = {
    .bn_stats = bn_stats,
    .norm = norm,
    .act = { CVY_ACTIVATIONS(K_ACT_PTR) },
    .norm_act = { CVY_ACTIVATIONS(K_NORM_PTR) },
    .act_bwd = { CVY_ACTIVATIONS(K_BWD_PTR) act_bwd_relu_x },
    .bn_reduce = bn_reduce,
    .act_bwd_reduce = { CVY_ACTIVATIONS(K_RED_PTR) act_bwd_reduce_relu_x },
    .bn_dx = bn_dx,
    .each_stats = each_stats,
    .each_norm = each_norm,
    .each_reduce = each_reduce,
    .each_bn_dx = each_bn_dx,
    .add = add,
    .scale = scale,
    .mask_scale = mask_scale,
    .pool_max = pool_max,
    .pool_max_bwd = pool_max_bwd,
    .pool_argmax = pool_argmax,
    .argmax_bwd = argmax_bwd,
    .argmax_reduce = argmax_reduce,
    .argmax_bn_dx = argmax_bn_dx,
    .pool_avg = pool_avg,
    .pool_avg_bwd = pool_avg_bwd,
    .pool_max_bwd_wide = pool_max_bwd_wide,
    .pool_avg_bwd_wide = pool_avg_bwd_wide,
    .narrow = narrow,
};
