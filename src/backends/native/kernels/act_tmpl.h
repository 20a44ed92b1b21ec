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

/* A NaN stays; not v_max, which may flush a denormal where scalar code hands it on. */
V_FN void value_relu(int N, vf *v, vf alpha)
{
    (void)alpha;
    V_EACH (N) v[j] = v_select(v_gt(v_zero(), v[j]), v_zero(), v[j]);
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

#endif
