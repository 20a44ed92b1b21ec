/* Activations over vector registers, two functions a kind of CVY_ACTIVATIONS:
 *
 *  value_NAME(N, v, alpha)       v = f(v), N registers at a time (math_tmpl.h says why)
 *  through_NAME(dy, s, alpha)    dy times f' in one register; s is y, or x where the list says so
 *
 * alpha is the kind's setting, in all lanes. Compared so that a NaN is on the side of the positive:
 * it is the largest value there is. Piecewise ones select, and never multiply by 0 what they leave
 * out. */
#ifndef CVYI_ACT_TMPL_H
#define CVYI_ACT_TMPL_H

#include "math_tmpl.h"

V_FN void value_sigmoid(int N, vf *v, vf alpha)
{
    (void)alpha;
    v_sigmoid(N, v, v);
}
V_FN vf through_sigmoid(vf dy, vf y, vf alpha)
{
    (void)alpha;
    return v_mul(dy, v_mul(y, v_sub(v_set1(1), y)));
}

V_FN void value_tanh(int N, vf *v, vf alpha)
{
    (void)alpha;
    v_tanh(N, v, v);
}
V_FN vf through_tanh(vf dy, vf y, vf alpha)
{
    (void)alpha;
    return v_mul(dy, v_fnma(y, y, v_set1(1)));
}

/* A NaN stays: compared, no v_max. A compiler may still make a maximum of it, which flushes a
 * denormal, or not: + 0 always does. */
V_FN void value_relu(int N, vf *v, vf alpha)
{
    (void)alpha;
    V_EACH (N) v[j] = v_add(v_select(v_gt(v_zero(), v[j]), v_zero(), v[j]), v_zero());
}
V_FN vf through_relu(vf dy, vf y, vf alpha)
{
    (void)alpha;
    return v_select(v_ge(v_zero(), y), v_zero(), dy);
}
/* ReLU told by its input; alpha is the derivative at 0. */
V_FN vf through_relu_x(vf dy, vf x, vf alpha)
{
    return v_select(v_ge(v_zero(), x), v_maskz(v_eq(x, v_zero()), v_mul(alpha, dy)), dy);
}

V_FN void value_leaky_relu(int N, vf *v, vf alpha)
{
    V_EACH (N) v[j] = v_select(v_gt(v[j], v_zero()), v[j], v_mul(alpha, v[j]));
}
V_FN vf through_leaky_relu(vf dy, vf y, vf alpha)
{
    return v_select(v_ge(v_zero(), y), v_mul(alpha, dy), dy);
}

V_FN void value_elu(int N, vf *v, vf alpha) { v_elu(N, v, v, alpha); }
V_FN vf through_elu(vf dy, vf y, vf alpha)
{
    return v_select(v_ge(v_zero(), y), v_mul(dy, v_add(y, alpha)), dy);
}

V_FN void value_softplus(int N, vf *v, vf alpha)
{
    (void)alpha;
    v_softplus(N, v, v);
}
V_FN vf through_softplus(vf dy, vf y, vf alpha)
{
    vf m;
    (void)alpha;
    v_one_minus_exp_neg(1, &m, &y);
    return v_mul(dy, m);
}

/* e = exp(-(a + lo)), a >= 0, lo what the rounding of a has lost */
V_FN void exp_neg_sum(int N, vf *e, const vf *a, const vf *lo)
{
    const vf one = v_set1(1);
    vf s[V_MAX_N], r[V_MAX_N], w[V_MAX_N];
    v_exp_parts(N, a, s, r, w);
    V_EACH (N) r[j] = v_add(r[j], lo[j]);
    V_EACH (N) w[j] = v_fma(w[j], r[j], one);
    V_EACH (N) w[j] = v_fnma(w[j], r[j], one);
    V_EACH (N) e[j] = v_mul(w[j], s[j]);
}

/* With a = |x|: e = exp(-a^2/2), and the normal distribution Phi(-a) = e R(a). R, Mills' ratio over
 * sqrt(2 pi), is smooth and falls slowly: in t = 1 / (1 + 0.3 a) it is t Q(t), Q minimax of a
 * relative error of 0.2 * 2^-24 for a < 13.4; beyond, it underflows. What rounding takes from a^2
 * would be multiplied by it, so it is kept. */
V_FN void normal_tail(int N, vf *tail, vf *e, const vf *x)
{
    const vf top = v_set1(14), one = v_set1(1);
    vf a[V_MAX_N], t[V_MAX_N], q[V_MAX_N], lo[V_MAX_N];
    V_EACH (N) a[j] = v_min(top, v_abs(x[j])); /* in this order a NaN stays */
    V_EACH (N) q[j] = v_mul(a[j], a[j]);
    V_EACH (N) lo[j] = v_mul(v_set1(0.5f), v_fma(a[j], a[j], v_neg(q[j])));
    V_EACH (N) q[j] = v_mul(v_set1(0.5f), q[j]);
    exp_neg_sum(N, e, q, lo);
    V_EACH (N) t[j] = v_div(one, v_fma(v_set1(0.3f), a[j], one));
    V_EACH (N) q[j] = v_fma(v_set1(-0x1.515802p-6f), t[j], v_set1(0x1.cbc2c4p-4f));
    V_EACH (N) q[j] = v_fma(q[j], t[j], v_set1(-0x1.d26f16p-3f));
    V_EACH (N) q[j] = v_fma(q[j], t[j], v_set1(0x1.877530p-3f));
    V_EACH (N) q[j] = v_fma(q[j], t[j], v_set1(-0x1.430758p-4f));
    V_EACH (N) q[j] = v_fma(q[j], t[j], v_set1(0x1.8891d0p-4f));
    V_EACH (N) q[j] = v_fma(q[j], t[j], v_set1(0x1.418d70p-4f));
    V_EACH (N) q[j] = v_fma(q[j], t[j], v_set1(0x1.c36b22p-4f));
    V_EACH (N) q[j] = v_fma(q[j], t[j], v_set1(0x1.e9c796p-4f));
    V_EACH (N) q[j] = v_fma(q[j], t[j], v_set1(0x1.ea3c68p-4f));
    V_EACH (N) q[j] = v_mul(q[j], t[j]);
    /* t (1 + lo / t) is t before it was rounded; R goes with its 1.2th to 2.7th power */
    V_EACH (N) lo[j] = v_fnma(v_mul(v_set1(0.3f), t[j]), a[j], v_sub(one, t[j]));
    V_EACH (N) q[j] = v_fma(v_mul(v_set1(1.75f), lo[j]), q[j], q[j]);
    V_EACH (N) tail[j] = v_mul(e[j], q[j]);
}

/* Phi(x) */
V_FN void value_normal_cdf(int N, vf *v, vf alpha)
{
    vf p[V_MAX_N], e[V_MAX_N];
    (void)alpha;
    normal_tail(N, p, e, v);
    V_EACH (N) v[j] = v_select(v_gt(v[j], v_zero()), v_sub(v_set1(1), p[j]), p[j]);
}
/* exp(-x^2/2) / sqrt(2 pi) */
V_FN vf through_normal_cdf(vf dy, vf x, vf alpha)
{
    vf p, e;
    (void)alpha;
    normal_tail(1, &p, &e, &x);
    return v_mul(dy, v_mul(v_set1(0x1.988454p-2f), e));
}

/* x Phi(x) */
V_FN void value_gelu(int N, vf *v, vf alpha)
{
    vf p[V_MAX_N], e[V_MAX_N];
    (void)alpha;
    normal_tail(N, p, e, v);
    V_EACH (N) p[j] = v_select(v_gt(v[j], v_zero()), v_sub(v_set1(1), p[j]), p[j]);
    V_EACH (N) v[j] = v_mul(v[j], p[j]);
}
/* Phi(x) + x exp(-x^2/2) / sqrt(2 pi) */
V_FN vf through_gelu(vf dy, vf x, vf alpha)
{
    vf p, e;
    (void)alpha;
    normal_tail(1, &p, &e, &x);
    p = v_select(v_gt(x, v_zero()), v_sub(v_set1(1), p), p);
    return v_mul(dy, v_fma(v_mul(x, v_set1(0x1.988454p-2f)), e, p));
}

/* y = sigmoid(z), z = k0 x + k1 x^3: (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2; slope is z' of
 * |x|. z is a sum of two floats, since exp multiplies its rounding by it; beyond |x| = 12 the
 * exponential is 0. */
V_FN void cubic_gate(int N, vf *y, vf *q, vf *slope, const vf *x)
{
    const vf top = v_set1(12), k0 = v_set1(0x1.988454p0f), k1 = v_set1(0x1.2444f2p-4f);
    vf a[V_MAX_N], z[V_MAX_N], p[V_MAX_N], m[V_MAX_N], lo[V_MAX_N], e[V_MAX_N];
    V_EACH (N) a[j] = v_min(top, v_abs(x[j])); /* in this order a NaN stays */
    V_EACH (N) z[j] = v_mul(a[j], a[j]);
    V_EACH (N) p[j] = v_mul(k1, z[j]);
    V_EACH (N) m[j] = v_add(k0, p[j]);
    /* lo: what is missing in m, of the product, the square, the constants and the sum */
    V_EACH (N) lo[j] = v_fma(k1, z[j], v_neg(p[j]));
    V_EACH (N) lo[j] = v_fma(k1, v_fma(a[j], a[j], v_neg(z[j])), lo[j]);
    V_EACH (N) lo[j] = v_add(lo[j], v_fma(z[j], v_set1(0x1.49b16ap-29f), v_set1(-0x1.857936p-25f)));
    V_EACH (N) slope[j] = v_fma(v_set1(3), p[j], k0);
    V_EACH (N) z[j] = v_sub(m[j], k0);
    V_EACH (N) lo[j] = v_add(lo[j], v_add(v_sub(k0, v_sub(m[j], z[j])), v_sub(p[j], z[j])));
    V_EACH (N) z[j] = v_mul(a[j], m[j]);
    V_EACH (N) lo[j] = v_fma(a[j], lo[j], v_fma(a[j], m[j], v_neg(z[j])));
    exp_neg_sum(N, e, z, lo);
    v_sigmoid_of(N, y, q, e, x);
}

/* x sigmoid(z(x)) */
V_FN void value_gelu_tanh(int N, vf *v, vf alpha)
{
    vf y[V_MAX_N], q[V_MAX_N], slope[V_MAX_N];
    (void)alpha;
    cubic_gate(N, y, q, slope, v);
    V_EACH (N) v[j] = v_mul(v[j], y[j]);
}
V_FN vf through_gelu_tanh(vf dy, vf x, vf alpha)
{
    vf y, q, slope;
    (void)alpha;
    cubic_gate(1, &y, &q, &slope, &x);
    return v_mul(dy, v_fma(v_mul(v_fnma(q, q, q), slope), x, y));
}

/* x sigmoid(x) */
V_FN void value_silu(int N, vf *v, vf alpha)
{
    vf y[V_MAX_N], q[V_MAX_N];
    (void)alpha;
    v_sigmoid_parts(N, y, q, v);
    V_EACH (N) v[j] = v_mul(v[j], y[j]);
}
V_FN vf through_silu(vf dy, vf x, vf alpha)
{
    vf y, q;
    (void)alpha;
    v_sigmoid_parts(1, &y, &q, &x);
    return v_mul(dy, v_fma(v_fnma(q, q, q), x, y));
}

/* tanh(log(1 + w)), w = exp(x), is n / d without cancellation: w (w + 2) / (w (w + 2) + 2), or with
 * e = 1 / w where x is positive (1 + 2 e) / (1 + 2 e + 2 e^2). f is e, positive x: e^2. */
V_FN void mish_parts(int N, vf *n, vf *d, vf *e, vf *f, const vf *x)
{
    const vf one = v_set1(1), two = v_set1(2);
    V_EACH (N) e[j] = v_abs(x[j]);
    v_exp_neg(N, e, e);
    V_EACH (N) {
        vm positive = v_gt(x[j], v_zero());
        vf square = v_mul(e[j], e[j]);
        n[j] = v_select(positive, v_fma(two, e[j], one), v_mul(e[j], v_add(e[j], two)));
        d[j] = v_fma(two, v_select(positive, square, one), n[j]);
        f[j] = v_select(positive, square, e[j]);
    }
}

/* x tanh(softplus(x)) */
V_FN void value_mish(int N, vf *v, vf alpha)
{
    vf n[V_MAX_N], d[V_MAX_N], e[V_MAX_N], f[V_MAX_N];
    (void)alpha;
    mish_parts(N, n, d, e, f, v);
    V_EACH (N) v[j] = v_mul(v[j], v_div(n[j], d[j]));
}
/* n / d + x 4 f (1 + e) / d^2 */
V_FN vf through_mish(vf dy, vf x, vf alpha)
{
    vf n, d, e, f;
    (void)alpha;
    mish_parts(1, &n, &d, &e, &f, &x);
    vf t = v_div(v_mul(v_mul(v_set1(4), f), v_add(v_set1(1), e)), v_mul(d, d));
    return v_mul(dy, v_fma(t, x, v_div(n, d)));
}

/* x (x + 3) / 6 between -3 and 3, 0 below, x above */
V_FN void value_hardswish(int N, vf *v, vf alpha)
{
    const vf three = v_set1(3), six = v_set1(6);
    (void)alpha;
    V_EACH (N) {
        vf y = v_div(v_mul(v[j], v_add(v[j], three)), six);
        y = v_select(v_gt(three, v[j]), y, v[j]);
        v[j] = v_select(v_ge(v_neg(three), v[j]), v_zero(), y);
    }
}
V_FN vf through_hardswish(vf dy, vf x, vf alpha)
{
    const vf three = v_set1(3);
    (void)alpha;
    vf dx = v_mul(dy, v_fma(x, v_set1(0x1.555556p-2f), v_set1(0.5f)));
    dx = v_select(v_gt(three, x), dx, dy);
    return v_select(v_ge(v_neg(three), x), v_zero(), dx);
}

/* As in ReLU: a NaN stays, + 0 flushes a denormal. */
V_FN void value_relu6(int N, vf *v, vf alpha)
{
    const vf six = v_set1(6);
    (void)alpha;
    V_EACH (N) {
        vf y = v_select(v_gt(v_zero(), v[j]), v_zero(), v[j]);
        v[j] = v_add(v_select(v_gt(y, six), six, y), v_zero());
    }
}
V_FN vf through_relu6(vf dy, vf y, vf alpha)
{
    (void)alpha;
    vf dx = v_select(v_ge(v_zero(), y), v_zero(), dy);
    return v_select(v_ge(y, v_set1(6)), v_zero(), dx);
}

/* + 0 as in ReLU */
V_FN void value_hardtanh(int N, vf *v, vf alpha)
{
    V_EACH (N) {
        vf y = v_select(v_gt(v_neg(alpha), v[j]), v_neg(alpha), v[j]);
        v[j] = v_add(v_select(v_gt(y, alpha), alpha, y), v_zero());
    }
}
V_FN vf through_hardtanh(vf dy, vf y, vf alpha)
{
    vf dx = v_select(v_ge(v_neg(alpha), y), v_zero(), dy);
    return v_select(v_ge(y, alpha), v_zero(), dx);
}

#endif
