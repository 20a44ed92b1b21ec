/* Activation kernels over rows of pixels: values and gradients of act_tmpl.h, alone, behind a batch
 * norm, and with the sums of its gradient. */
#include <assert.h>

#include "act_tmpl.h"
#include "sums_tmpl.h"

#define K_ENUM(NAME, name, ...) A_##name,
enum { CVY_ACTIVATIONS(K_ENUM) A_relu_x };

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

/* ------------------------------------------------------------------------------------ gradients */

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

V_FN void reduce_row(int kind, float *g, const float *dy, const float *saved, const float *x,
                     size_t n, float alpha, float m, float s1[16], float s2[16])
{
    assert(n % 16 == 0 && n <= 16 * 1024);
    struct cvyi_sums t = { 0 };
    vf al = v_set1(alpha), mean = v_set1(m);
#define STEP(i, l, a, b)                                                   \
    do {                                                                   \
        vf g_ = act_grad(kind, v_load(dy + (i)), v_load(saved + (i)), al); \
        v_store(g + (i), g_);                                              \
        a = v_add(a, g_);                                                  \
        b = v_fma(g_, v_sub(v_load(x + (i)), mean), b);                    \
    } while (0)
    SUM_ROW(n, &t, STEP)
#undef STEP
    sums_fold(&t, s1, s2);
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

/* ------------------------------------------------------------------------------------ the table */

#define K_ACT_PTR(NAME, name, ...) act_##name,
#define K_NORM_PTR(NAME, name, ...) norm_act_##name,
#define K_BWD_PTR(NAME, name, ...) act_bwd_##name,
#define K_RED_PTR(NAME, name, ...) act_bwd_reduce_##name,

extern const struct cvyi_act_kernels KFN(act);
const struct cvyi_act_kernels KFN(act) = {
    .act = { CVY_ACTIVATIONS(K_ACT_PTR) },
    .norm_act = { CVY_ACTIVATIONS(K_NORM_PTR) },
    .act_bwd = { CVY_ACTIVATIONS(K_BWD_PTR) act_bwd_relu_x },
    .act_bwd_reduce = { CVY_ACTIVATIONS(K_RED_PTR) act_bwd_reduce_relu_x },
};
