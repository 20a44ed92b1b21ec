/* Activation kernels over rows of pixels: values and gradients of act_tmpl.h, alone, behind a batch
 * norm, and with the sums of its gradient. */
#include <assert.h>

#include "act_tmpl.h"
#include "sums_tmpl.h"

/* A kind's two functions. They are arguments of the functions below, as constants, not cases of a
 * switch there: a compiler puts all cases into every copy before it finds that one is left. */
typedef void value_fn(int N, vf *v, vf alpha);
typedef vf through_fn(vf dy, vf s, vf alpha);

/* Registers in flight: enough to cover the latency of the exponential's chain. */
#define ACT_N 4

V_FN void act_block(value_fn *value, bool norm, int N, float *y, const float *x, vf m, vf a, vf b,
                    vf alpha)
{
    vf v[ACT_N];
    V_EACH (N) v[j] = v_load(x + j * VL);
    if (norm)
        V_EACH (N) v[j] = v_fma(a, v_sub(v[j], m), b);
    value(N, v, alpha);
    V_EACH (N) v_store(y + j * VL, v[j]);
}

V_FN void act_row(value_fn *value, bool norm, float *y, const float *x, size_t n,
                  const struct cvyi_affine *c, float alpha)
{
    assert(n % 16 == 0);
    vf m = v_set1(norm ? c->m : 0), a = v_set1(norm ? c->a : 1), b = v_set1(norm ? c->b : 0),
       al = v_set1(alpha);
    size_t i = 0;
    for (; i + ACT_N * VL <= n; i += ACT_N * VL) {
        for (size_t j = i + V_AHEAD; j < i + V_AHEAD + ACT_N * VL; j += 16) {
            V_ASK(x + j);
            V_ASK(y + j);
        }
        act_block(value, norm, ACT_N, y + i, x + i, m, a, b, al);
    }
    for (; i < n; i += VL) act_block(value, norm, 1, y + i, x + i, m, a, b, al);
}

#define K_ACT(NAME, name, ...)                                                                   \
    static void act_##name(float *y, const float *x, size_t n, float alpha)                      \
    {                                                                                            \
        act_row(value_##name, false, y, x, n, NULL, alpha);                                      \
    }                                                                                            \
    static void norm_act_##name(float *y, const float *x, size_t n, const struct cvyi_affine *c, \
                                float alpha)                                                     \
    {                                                                                            \
        act_row(value_##name, true, y, x, n, c, alpha);                                          \
    }
CVY_ACTIVATIONS(K_ACT)

/* ------------------------------------------------------------------------------------ gradients */

V_FN void reduce_row(through_fn *through, float *g, const float *dy, const float *saved,
                     const float *x, size_t n, float alpha, float m, float s1[16], float s2[16])
{
    assert(n % 16 == 0 && n <= 16 * 1024);
    struct cvyi_sums t = { 0 };
    vf al = v_set1(alpha), mean = v_set1(m);
#define STEP(i, l, a, b)                                            \
    do {                                                            \
        sum_ask(g, i, l);                                           \
        sum_ask(dy, i, l);                                          \
        sum_ask(saved, i, l);                                       \
        sum_ask(x, i, l);                                           \
        vf g_ = through(v_load(dy + (i)), v_load(saved + (i)), al); \
        v_store(g + (i), g_);                                       \
        a = v_add(a, g_);                                           \
        b = v_fma(g_, v_sub(v_load(x + (i)), mean), b);             \
    } while (0)
    SUM_ROW(n, &t, STEP)
#undef STEP
    sums_fold(&t, s1, s2);
}

/* What the forward pass saved, or would have: made from x again. */
struct act_saved {
    const float *saved, *x;
    vf m, a, b, alpha;
};

V_FN struct act_saved act_saved(const float *saved, const float *x, const struct cvyi_act_norm *a)
{
    return (struct act_saved){ saved,           x, v_set1(a->c.m), v_set1(a->c.a), v_set1(a->c.b),
                               v_set1(a->alpha) };
}

/* value: NULL where it is the input that is saved. */
V_FN vf act_saved_at(value_fn *value, bool again, const struct act_saved *s, size_t i)
{
    if (!again) return v_load(s->saved + i);
    vf z = v_fma(s->a, v_sub(v_load(s->x + i), s->m), s->b);
    if (value) value(1, &z, s->alpha);
    return z;
}

V_FN void sums_row(through_fn *through, value_fn *value, bool again, const float *dy,
                   const struct act_saved *saved, size_t n, float m, float s1[16], float s2[16])
{
    assert(n % 16 == 0 && n <= 16 * 1024);
    struct cvyi_sums t = { 0 };
    const vf mean = v_set1(m);
#define STEP(i, l, a, b)                                                                       \
    do {                                                                                       \
        sum_ask(dy, i, l);                                                                     \
        sum_ask(saved->x, i, l);                                                               \
        if (!again) sum_ask(saved->saved, i, l);                                               \
        vf g_ = through(v_load(dy + (i)), act_saved_at(value, again, saved, i), saved->alpha); \
        a = v_add(a, g_);                                                                      \
        b = v_fma(g_, v_sub(v_load(saved->x + (i)), mean), b);                                 \
    } while (0)
    SUM_ROW(n, &t, STEP)
#undef STEP
    sums_fold(&t, s1, s2);
}

V_FN void dx_row(through_fn *through, value_fn *value, bool again, float *dx, const float *dy,
                 const struct act_saved *saved, size_t n, const struct cvyi_bn_dx *c,
                 unsigned n_lanes)
{
    assert(n % 16 == 0 && n_lanes <= 16);
    const vf m = v_set1(c->m), a = v_set1(c->a), b = v_set1(c->b), cc = v_set1(c->c);
    vm keep[V_PARTS];
    for (int j = 0; j < V_PARTS; j++) keep[j] = v_lane_mask(j * VL, (int)n_lanes);
    for (size_t i = 0; i < n; i += 16) {
        V_ASK(dx + i + V_AHEAD);
        V_ASK(dy + i + V_AHEAD);
        V_ASK(saved->x + i + V_AHEAD);
        V_EACH (V_PARTS) {
            size_t o = i + (size_t)j * VL;
            vf g = through(v_load(dy + o), act_saved_at(value, again, saved, o), saved->alpha);
            vf t = v_fma(b, v_sub(v_load(saved->x + o), m), cc);
            v_store(dx + o, v_maskz(keep[j], v_fma(a, g, t)));
        }
    }
}

#define K_ACT_BWD(name, value)                                                                   \
    static void act_bwd_##name(float *g, const float *dy, const float *saved, size_t n,          \
                               float alpha)                                                      \
    {                                                                                            \
        assert(n % 16 == 0);                                                                     \
        vf al = v_set1(alpha);                                                                   \
        for (size_t i = 0; i < n; i += VL)                                                       \
            v_store(g + i, through_##name(v_load(dy + i), v_load(saved + i), al));               \
    }                                                                                            \
    static void act_bwd_reduce_##name(float *g, const float *dy, const float *saved,             \
                                      const float *x, size_t n, float alpha, float m,            \
                                      float s1[16], float s2[16])                                \
    {                                                                                            \
        reduce_row(through_##name, g, dy, saved, x, n, alpha, m, s1, s2);                        \
    }                                                                                            \
    static void act_reduce_##name(const float *dy, const float *saved, const float *x, size_t n, \
                                  const struct cvyi_act_norm *a, float m, float s1[16],          \
                                  float s2[16])                                                  \
    {                                                                                            \
        const struct act_saved s = act_saved(saved, x, a);                                       \
        if (saved) sums_row(through_##name, value, false, dy, &s, n, m, s1, s2);                 \
        else sums_row(through_##name, value, true, dy, &s, n, m, s1, s2);                        \
    }                                                                                            \
    static void act_bn_dx_##name(float *dx, const float *dy, const float *saved, const float *x, \
                                 size_t n, const struct cvyi_act_norm *a,                        \
                                 const struct cvyi_bn_dx *c, unsigned n_lanes)                   \
    {                                                                                            \
        const struct act_saved s = act_saved(saved, x, a);                                       \
        if (saved) dx_row(through_##name, value, false, dx, dy, &s, n, c, n_lanes);              \
        else dx_row(through_##name, value, true, dx, dy, &s, n, c, n_lanes);                     \
    }
#define K_BACKWARD(NAME, name, constant, initial, by_input, ...) \
    K_ACT_BWD(name, by_input ? NULL : value_##name)
CVY_ACTIVATIONS(K_BACKWARD)
K_ACT_BWD(relu_x, NULL)

/* ------------------------------------------------------------------------------------ the table */

#define K_ACT_PTR(NAME, name, ...) act_##name,
#define K_NORM_PTR(NAME, name, ...) norm_act_##name,
#define K_BWD_PTR(NAME, name, ...) act_bwd_##name,
#define K_RED_PTR(NAME, name, ...) act_bwd_reduce_##name,
#define K_SUM_PTR(NAME, name, ...) act_reduce_##name,
#define K_DX_PTR(NAME, name, ...) act_bn_dx_##name,

extern const struct cvyi_act_kernels KFN(act);
const struct cvyi_act_kernels KFN(act) = {
    .act = { CVY_ACTIVATIONS(K_ACT_PTR) },
    .norm_act = { CVY_ACTIVATIONS(K_NORM_PTR) },
    .act_bwd = { CVY_ACTIVATIONS(K_BWD_PTR) act_bwd_relu_x },
    .act_bwd_reduce = { CVY_ACTIVATIONS(K_RED_PTR) act_bwd_reduce_relu_x },
    .act_reduce = { CVY_ACTIVATIONS(K_SUM_PTR) act_reduce_relu_x },
    .act_bn_dx = { CVY_ACTIVATIONS(K_DX_PTR) act_bn_dx_relu_x },
};
