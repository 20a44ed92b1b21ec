/* Kernels of the parameter update: folding partial gradients and the optimisers' steps.
 *
 * Written once over vec.h; each ISA's object exports one table, KFN(update). Knows nothing of
 * parameters' shapes or of the schedule. The order of operations of a step is part of the contract
 * and stands here, so that an optimiser is one place. */
#include "kernels.h"
#include "vec.h"

#include <assert.h>

/* Part: n floats are left, fewer than a register. */
V_FN vf load_n(const float *p, size_t n, bool part)
{
    return part ? v_load_part(p, (int)n) : v_load(p);
}

V_FN void store_n(float *p, vf a, size_t n, bool part)
{
    if (part) v_store_part(p, a, (int)n);
    else v_store(p, a);
}

enum momentum { NONE, PLAIN, NESTEROV };

/* What one kind of step needs; `decay`: wd is not 0. */
struct step {
    enum momentum kind;
    bool decay;
    vf nlr, mu, wd;
};

V_FN void sgd_step(struct step s, float *w, const float *dw, float *v, size_t n, bool part)
{
    vf x = load_n(w, n, part), g = load_n(dw, n, part);
    if (s.decay) g = v_fma(s.wd, x, g);
    vf step = g;
    if (s.kind != NONE) step = v_fma(s.mu, load_n(v, n, part), g);
    if (v) store_n(v, step, n, part);
    if (s.kind == NESTEROV) step = v_fma(s.mu, step, g);
    store_n(w, v_fma(s.nlr, step, x), n, part);
}

V_FN void sgd_row(enum momentum kind, bool decay, float *w, const float *dw, float *v, size_t n,
                  const float *coef)
{
    const struct step step = { kind, decay, v_set1(-coef[CVY_SGD_LR]),
                               v_set1(coef[CVY_SGD_MOMENTUM]), v_set1(coef[CVY_SGD_DECAY]) };
    size_t i = 0;
    for (; i + VL <= n; i += VL) sgd_step(step, w + i, dw + i, v ? v + i : NULL, VL, false);
    if (i < n) sgd_step(step, w + i, dw + i, v ? v + i : NULL, n - i, true);
}

/* g = decay ? fma(decay, w, dw) : dw;  v = momentum ? fma(momentum, v, g) : g;
 * w = fma(-lr, momentum && nesterov ? fma(momentum, v, g) : v, w); state v (NULL: momentum 0).
 * A rate of 0 takes no part: without momentum what v holds must not matter, without decay not what
 * w holds, not even a NaN or an infinity. */
#define K_SGD(kind)                                                    \
    (coef[CVY_SGD_DECAY] != 0 ? sgd_row(kind, true, w, dw, v, n, coef) \
                              : sgd_row(kind, false, w, dw, v, n, coef))
static void sgd(float *w, const float *dw, float *const *state, size_t n, const float *coef)
{
    float *v = state[0];
    assert(v || coef[CVY_SGD_MOMENTUM] == 0);
    if (coef[CVY_SGD_MOMENTUM] == 0) K_SGD(NONE);
    else if (coef[CVY_SGD_NESTEROV] != 0) K_SGD(NESTEROV);
    else K_SGD(PLAIN);
}

static void fold(float *dst, const float *src, size_t n_slots, size_t stride, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        double sum[16] = { 0 };
        size_t w = n - i < 16 ? n - i : 16;
        for (size_t s = 0; s < n_slots; s++) {
            const float *p = src + s * stride + i;
            if (w == 16)
                for (size_t j = 0; j < 16; j++) sum[j] += p[j];
            else
                for (size_t j = 0; j < w; j++) sum[j] += p[j];
        }
        for (size_t j = 0; j < w; j++) dst[i + j] = (float)sum[j];
    }
}

static void fold_lanes(float *dst, const float *src, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) v_fold4(dst + i, src + i * 16);
    for (; i < n; i++) {
        vf parts[V_PARTS];
        for (int j = 0; j < V_PARTS; j++) parts[j] = v_load(src + i * 16 + j * VL);
        dst[i] = fold16(parts);
    }
}

extern const struct cvyi_update_kernels KFN(update);
const struct cvyi_update_kernels KFN(update) = {
    .step = { [CVY_SGD] = sgd },
    .fold = fold,
    .fold_lanes = fold_lanes,
};
