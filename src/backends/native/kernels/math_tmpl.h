/* exp, sigmoid, tanh, ELU's expm1, softplus and log over vector registers: one source, the same
 * bits on every ISA.
 *
 * Everything is built on exp(-a) for a >= 0, where nothing overflows. The functions work on N
 * registers at a time, one step of the algorithm for all before the next, because one chain is some
 * fifty cycles long and a scheduler does not look far enough ahead. Errors are at most 2 ulp over
 * all floats (measured: tests/math_check.c), but a result below FLT_MIN may come out as 0: workers
 * flush denormals anyway. NaN gives NaN. No libm, no estimates of reciprocals. */
#ifndef CVYI_MATH_TMPL_H
#define CVYI_MATH_TMPL_H

#include "vec.h"

#define V_MAX_N 4

/* a = n ln2 + r, |r| <= ln2/2: s = 2^-n, h = 1 - exp(-r) with a relative error of 1 ulp, and so
 * exp(-a) = s - s h. Beyond 88 n is 127 and s is 0. -n + 127 is rounded by adding it to 1.5 * 2^23,
 * which leaves it in the low bits. */
V_FN void v_exp_parts(int N, const vf *a, vf *s, vf *r, vf *w)
{
    const vf magic = v_set1(0x1.8p23f + 127), top = v_set1(88);
    const vf log2e = v_set1(0x1.715476p0f), ln2_hi = v_set1(0x1.62e43p-1f),
             ln2_lo = v_set1(-0x1.05c61p-29f);
    vf n[V_MAX_N], t[V_MAX_N];
    V_EACH (N) t[j] = v_min(top, a[j]); /* in this order a NaN stays */
    V_EACH (N) s[j] = v_fnma(t[j], log2e, magic);
    V_EACH (N) n[j] = v_sub(s[j], magic);
    V_EACH (N) r[j] = v_fma(n[j], ln2_hi, t[j]);
    V_EACH (N) r[j] = v_fma(n[j], ln2_lo, r[j]);
    /* exp(-r) = 1 - r - r^2 w(r), minimax on |r| <= ln2/2 for the relative error of r + r^2 w: 0.3
     * * 2^-24. */
    V_EACH (N) w[j] = v_fma(v_set1(-0x1.6bebc6p-10f), r[j], v_set1(0x1.122914p-7f));
    V_EACH (N) w[j] = v_fma(w[j], r[j], v_set1(-0x1.555676p-5f));
    V_EACH (N) w[j] = v_fma(w[j], r[j], v_set1(0x1.5554aep-3f));
    V_EACH (N) w[j] = v_fma(w[j], r[j], v_set1(-0x1.fffffep-2f));
    V_EACH (N) s[j] = v_cast_vi(vi_sll23(vi_cast_v(s[j])));
}

/* e = exp(-a), a >= 0 */
V_FN void v_exp_neg(int N, vf *e, const vf *a)
{
    const vf one = v_set1(1);
    vf s[V_MAX_N], r[V_MAX_N], w[V_MAX_N];
    v_exp_parts(N, a, s, r, w);
    V_EACH (N) w[j] = v_fma(w[j], r[j], one);
    V_EACH (N) w[j] = v_fnma(w[j], r[j], one);
    V_EACH (N) e[j] = v_mul(w[j], s[j]);
}

/* m = 1 - exp(-a), a >= 0, without cancellation for small a */
V_FN void v_one_minus_exp_neg(int N, vf *m, const vf *a)
{
    vf s[V_MAX_N], r[V_MAX_N], w[V_MAX_N];
    v_exp_parts(N, a, s, r, w);
    V_EACH (N) w[j] = v_fma(v_mul(r[j], r[j]), w[j], r[j]);
    V_EACH (N) m[j] = v_fma(s[j], w[j], v_sub(v_set1(1), s[j]));
}

/* y = sigmoid(z) and q = sigmoid(-|z|), of which q (1 - q) is the derivative, from e = exp(-|z|);
 * x has the sign of z. x < 0: e - e q, else 1 - q. (q itself is sigmoid(-|z|), but where e is just
 * above a power of two and q just below, the rounding of e counts double: 2.4 ulp.) */
V_FN void v_sigmoid_of(int N, vf *y, vf *q, const vf *e, const vf *x)
{
    const vf one = v_set1(1);
    V_EACH (N) q[j] = v_div(e[j], v_add(one, e[j]));
    V_EACH (N) y[j] = v_select(v_gt(v_zero(), x[j]), e[j], one);
    V_EACH (N) y[j] = v_fnma(y[j], q[j], y[j]);
}

V_FN void v_sigmoid_parts(int N, vf *y, vf *q, const vf *x)
{
    vf e[V_MAX_N];
    V_EACH (N) e[j] = v_abs(x[j]);
    v_exp_neg(N, e, e);
    v_sigmoid_of(N, y, q, e, x);
}

V_FN void v_sigmoid(int N, vf *y, const vf *x)
{
    vf q[V_MAX_N];
    v_sigmoid_parts(N, y, q, x);
}

/* (1 - e) / (1 + e) with e = exp(-2|x|) = s - s h, both sides rounded once, and the sign of x: odd
 * to the bit */
V_FN void v_tanh(int N, vf *y, const vf *x)
{
    const vi sign = vi_set1(INT32_MIN);
    const vf one = v_set1(1);
    vf s[V_MAX_N], h[V_MAX_N], r[V_MAX_N];
    V_EACH (N) r[j] = v_abs(v_add(x[j], x[j]));
    v_exp_parts(N, r, s, r, h);
    V_EACH (N) h[j] = v_fma(v_mul(r[j], r[j]), h[j], r[j]);
    V_EACH (N)
        r[j] = v_div(v_fma(s[j], h[j], v_sub(one, s[j])), v_fnma(s[j], h[j], v_add(one, s[j])));
    V_EACH (N) y[j] = v_cast_vi(vi_or(vi_cast_v(v_abs(r[j])), vi_and(vi_cast_v(x[j]), sign)));
}

/* x > 0 ? x : alpha * (exp(x) - 1) */
V_FN void v_elu(int N, vf *y, const vf *x, vf alpha)
{
    vf m[V_MAX_N];
    V_EACH (N) m[j] = v_abs(x[j]);
    v_one_minus_exp_neg(N, m, m);
    V_EACH (N) y[j] = v_select(v_gt(x[j], v_zero()), x[j], v_mul(v_neg(alpha), m[j]));
}

/* k ln2 + log(1 + f), -0.2935 <= f <= 0.5, k integral: f + f^2 q(f) by a minimax q of relative
 * error 0.25 * 2^-24 */
V_FN vf v_log_poly(vf k, vf f)
{
    vf q = v_fma(v_set1(-0x1.ca880ap-5f), f, v_set1(0x1.e2ef44p-4f));
    q = v_fma(q, f, v_set1(-0x1.155bbp-3f));
    q = v_fma(q, f, v_set1(0x1.2694c6p-3f));
    q = v_fma(q, f, v_set1(-0x1.53e3ep-3f));
    q = v_fma(q, f, v_set1(0x1.9968eep-3f));
    q = v_fma(q, f, v_set1(-0x1.000492p-2f));
    q = v_fma(q, f, v_set1(0x1.5555cap-2f));
    q = v_fma(q, f, v_set1(-0x1.fffff8p-2f));
    vf l = v_fma(v_mul(f, f), q, v_fma(k, v_set1(-0x1.05c61p-29f), f));
    return v_fma(k, v_set1(0x1.62e43p-1f), l);
}

/* max(x, 0) + log(1 + exp(-|x|)); 1 + e = 2 (1 + (e - 1) / 2) where e is large */
V_FN void v_softplus(int N, vf *y, const vf *x)
{
    const vf half = v_set1(0.5f);
    vf e[V_MAX_N];
    V_EACH (N) e[j] = v_abs(x[j]);
    v_exp_neg(N, e, e);
    V_EACH (N) {
        vm big = v_gt(e[j], half);
        vf f = v_select(big, v_fma(e[j], half, v_neg(half)), e[j]);
        y[j] = v_add(v_max(x[j], v_zero()), v_log_poly(v_maskz(big, v_set1(1)), f));
    }
}

/* log(x): x = 2^k m with m in [sqrt(1/2), sqrt 2). Negative: NaN, zero: -Inf. */
V_FN vf v_log(vf x)
{
    const vi one = vi_set1(0x3f800000);
    vm tiny = v_gt(v_set1(0x1p-126f), x);
    vi bits = vi_cast_v(v_select(tiny, v_mul(x, v_set1(0x1p24f)), x));
    vi k = vi_srl23(vi_add(bits, vi_sub(one, vi_set1(0x3f3504f3))));
    vf m = v_cast_vi(vi_sub(vi_add(bits, one), vi_sll23(k)));
    vf kf = v_sub(v_from_int(k), v_select(tiny, v_set1(127 + 24), v_set1(127)));
    vf l = v_log_poly(kf, v_sub(m, v_set1(1)));
    l = v_select(v_ge(v_set1(0x1.fffffep127f), x), l, x);
    l = v_select(v_gt(v_zero(), x), v_set1(__builtin_nanf("")), l);
    return v_select(v_eq(x, v_zero()), v_set1(-__builtin_inff()), l);
}

#endif
