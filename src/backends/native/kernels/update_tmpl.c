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

/* The gradient g with those of the penalties on weights x: g = decays ? fma(decay, x, g) : g; g =
 * signs ? g + l1 * sign(x) : g, without a product. */
struct penalty {
    bool decays, signs; /* decay and l1 are not 0 */
    vf decay, l1;
};
V_FN vf penalised(const struct penalty *p, vf g, vf x)
{
    if (p->decays) g = v_fma(p->decay, x, g);
    if (p->signs)
        g = v_add(g, v_sub(v_maskz(v_gt(x, v_zero()), p->l1), v_maskz(v_gt(v_zero(), x), p->l1)));
    return g;
}

struct step {
    enum momentum kind;
    struct penalty penalty;
    vf nlr, mu;
};

V_FN void sgd_step(struct step s, float *w, const float *dw, float *v, size_t n, bool part)
{
    vf x = load_n(w, n, part), g = load_n(dw, n, part);
    g = penalised(&s.penalty, g, x);
    vf step = g;
    if (s.kind != NONE) step = v_fma(s.mu, load_n(v, n, part), g);
    if (v) store_n(v, step, n, part);
    if (s.kind == NESTEROV) step = v_fma(s.mu, step, g);
    store_n(w, v_fma(s.nlr, step, x), n, part);
}

V_FN void sgd_row(enum momentum kind, bool decays, bool signs, float *w, const float *dw, float *v,
                  size_t n, const float *coef)
{
    const struct step step = { kind,
                               { decays, signs, v_set1(coef[CVY_SGD_DECAY]),
                                 v_set1(coef[CVY_SGD_L1]) },
                               v_set1(-coef[CVY_SGD_LR]),
                               v_set1(coef[CVY_SGD_MOMENTUM]) };
    size_t i = 0;
    for (; i + VL <= n; i += VL) sgd_step(step, w + i, dw + i, v ? v + i : NULL, VL, false);
    if (i < n) sgd_step(step, w + i, dw + i, v ? v + i : NULL, n - i, true);
}

/* g = penalised(dw);  v = momentum ? fma(momentum, v, g) : g;
 * w = fma(-lr, momentum && nesterov ? fma(momentum, v, g) : v, w); state v (NULL: momentum 0).
 * A rate of 0 takes no part: without momentum what v holds must not matter, without decay not what
 * w holds, not even a NaN or an infinity. */
#define K_SGD(kind)                                                                       \
    do {                                                                                  \
        if (coef[CVY_SGD_L1] != 0)                                                        \
            sgd_row(kind, coef[CVY_SGD_DECAY] != 0, true, w, dw, v, n, coef);             \
        else if (coef[CVY_SGD_DECAY] != 0) sgd_row(kind, true, false, w, dw, v, n, coef); \
        else sgd_row(kind, false, false, w, dw, v, n, coef);                              \
    } while (0)
static void sgd(float *w, const float *dw, float *const *state, size_t n, const float *coef)
{
    float *v = state[0];
    assert(v || coef[CVY_SGD_MOMENTUM] == 0);
    if (coef[CVY_SGD_MOMENTUM] == 0) K_SGD(NONE);
    else if (coef[CVY_SGD_NESTEROV] != 0) K_SGD(NESTEROV);
    else K_SGD(PLAIN);
}

/* What the step d becomes by momentum: v = fma(mu, v, d), then v, or fma(mu, v, d). v NULL: d. */
struct push {
    vf mu;
    bool nesterov;
};
V_FN vf pushed(const struct push *p, vf d, float *v, size_t n, bool part)
{
    if (!v) return d;
    vf moved = v_fma(p->mu, load_n(v, n, part), d);
    store_n(v, moved, n, part);
    return p->nesterov ? v_fma(p->mu, moved, d) : moved;
}

struct adam {
    vf step, eps, beta1, new1, beta2, new2, shrink;
    struct penalty penalty;
    struct push push;
};

/* shrinks: that is not 0. */
V_FN void adam_step(const struct adam *a, bool shrinks, float *w, const float *dw,
                    float *const *state, size_t i, size_t n, bool part)
{
    float *m = state[0] + i, *v = state[1] + i, *moved = state[2] ? state[2] + i : NULL;
    w += i;
    dw += i;
    vf x = load_n(w, n, part), g = load_n(dw, n, part);
    g = penalised(&a->penalty, g, x);
    vf mean = v_fma(a->beta1, load_n(m, n, part), v_mul(a->new1, g));
    vf square = v_fma(a->beta2, load_n(v, n, part), v_mul(v_mul(a->new2, g), g));
    vf q = v_div(mean, v_add(v_sqrt(square), a->eps));
    store_n(m, mean, n, part);
    store_n(v, square, n, part);
    if (moved) {
        vf d = pushed(&a->push, v_mul(a->step, q), moved, n, part);
        x = v_sub(x, shrinks ? v_fma(a->shrink, x, d) : d);
    } else if (shrinks) x = v_sub(x, v_fma(a->shrink, x, v_mul(a->step, q)));
    else x = v_fnma(a->step, q, x);
    store_n(w, x, n, part);
}

/* g = penalised(dw);  m = fma(beta1, m, new1 * g);  v = fma(beta2, v, (new2 * g) *
 * g);  q = m / (sqrt(v) + eps);  w = shrink ? w - fma(shrink, w, step * q) : fma(-step, q, w);
 * with momentum d = pushed(step * q) and w = w - (shrink ? fma(shrink, w, d) : d) */
V_FN void adam_row(bool decays, bool signs, bool shrinks, float *w, const float *dw,
                   float *const *state, size_t n, const float *coef)
{
    const struct adam a = { v_set1(coef[CVY_ADAM_STEP]),
                            v_set1(coef[CVY_ADAM_EPS]),
                            v_set1(coef[CVY_ADAM_BETA1]),
                            v_set1(coef[CVY_ADAM_NEW1]),
                            v_set1(coef[CVY_ADAM_BETA2]),
                            v_set1(coef[CVY_ADAM_NEW2]),
                            v_set1(coef[CVY_ADAM_SHRINK]),
                            { decays, signs, v_set1(coef[CVY_ADAM_DECAY]),
                              v_set1(coef[CVY_ADAM_L1]) },
                            { v_set1(coef[CVY_ADAM_MOMENTUM]), coef[CVY_ADAM_NESTEROV] != 0 } };
    size_t i = 0;
    for (; i + VL <= n; i += VL) adam_step(&a, shrinks, w, dw, state, i, VL, false);
    if (i < n) adam_step(&a, shrinks, w, dw, state, i, n - i, true);
}

static void adam(float *w, const float *dw, float *const *state, size_t n, const float *coef)
{
    const bool decays = coef[CVY_ADAM_DECAY] != 0, shrinks = coef[CVY_ADAM_SHRINK] != 0;
    if (coef[CVY_ADAM_L1] != 0) adam_row(decays, true, shrinks, w, dw, state, n, coef);
    else if (decays && shrinks) adam_row(true, false, true, w, dw, state, n, coef);
    else if (decays) adam_row(true, false, false, w, dw, state, n, coef);
    else if (shrinks) adam_row(false, false, true, w, dw, state, n, coef);
    else adam_row(false, false, false, w, dw, state, n, coef);
}

struct root {
    vf lr, eps, rho, new;
    bool inside;
    struct penalty penalty;
    struct push push;
};

static struct root root_of(const float *coef)
{
    return (struct root){ v_set1(coef[CVY_ROOT_LR]),
                          v_set1(coef[CVY_ROOT_EPS]),
                          v_set1(coef[CVY_ROOT_RHO]),
                          v_set1(coef[CVY_ROOT_NEW]),
                          coef[CVY_ROOT_INSIDE] != 0,
                          { coef[CVY_ROOT_DECAY] != 0, coef[CVY_ROOT_L1] != 0,
                            v_set1(coef[CVY_ROOT_DECAY]), v_set1(coef[CVY_ROOT_L1]) },
                          { v_set1(coef[CVY_ROOT_MOMENTUM]), coef[CVY_ROOT_NESTEROV] != 0 } };
}

/* g = penalised(dw);  s = fma(rho, s, (new * g) * g) */
V_FN vf squares(const struct root *r, vf x, vf *g, float *s, size_t n, bool part)
{
    *g = penalised(&r->penalty, *g, x);
    vf square = v_fma(r->rho, load_n(s, n, part), v_mul(v_mul(r->new, *g), *g));
    store_n(s, square, n, part);
    return square;
}

/* w = w - pushed(lr * (g / root)), root = inside ? sqrt(s + eps) : sqrt(s) + eps */
V_FN void rmsprop_step(const struct root *r, float *w, const float *dw, float *s, float *moved,
                       size_t n, bool part)
{
    vf x = load_n(w, n, part), g = load_n(dw, n, part);
    vf square = squares(r, x, &g, s, n, part);
    vf root = r->inside ? v_sqrt(v_add(square, r->eps)) : v_add(v_sqrt(square), r->eps);
    vf d = pushed(&r->push, v_mul(r->lr, v_div(g, root)), moved, n, part);
    store_n(w, v_sub(x, d), n, part);
}

static void rmsprop(float *w, const float *dw, float *const *state, size_t n, const float *coef)
{
    const struct root r = root_of(coef);
    float *s = state[0], *v = state[1];
    size_t i = 0;
    for (; i + VL <= n; i += VL)
        rmsprop_step(&r, w + i, dw + i, s + i, v ? v + i : NULL, VL, false);
    if (i < n) rmsprop_step(&r, w + i, dw + i, s + i, v ? v + i : NULL, n - i, true);
}

/* u = (sqrt(a + eps) / sqrt(s + eps)) * g;  a = fma(rho, a, (new * u) * u);  w = w - pushed(lr *
 * u) */
V_FN void adadelta_step(const struct root *r, float *w, const float *dw, float *const *state,
                        size_t i, size_t n, bool part)
{
    float *a = state[1] + i;
    vf x = load_n(w + i, n, part), g = load_n(dw + i, n, part);
    vf square = squares(r, x, &g, state[0] + i, n, part), old = load_n(a, n, part);
    vf u = v_mul(v_div(v_sqrt(v_add(old, r->eps)), v_sqrt(v_add(square, r->eps))), g);
    store_n(a, v_fma(r->rho, old, v_mul(v_mul(r->new, u), u)), n, part);
    vf d = pushed(&r->push, v_mul(r->lr, u), state[2] ? state[2] + i : NULL, n, part);
    store_n(w + i, v_sub(x, d), n, part);
}

static void adadelta(float *w, const float *dw, float *const *state, size_t n, const float *coef)
{
    const struct root r = root_of(coef);
    size_t i = 0;
    for (; i + VL <= n; i += VL) adadelta_step(&r, w, dw, state, i, VL, false);
    if (i < n) adadelta_step(&r, w, dw, state, i, n - i, true);
}

static void fold(float *dst, const float *src, size_t n_slots, size_t stride, size_t n)
{
    size_t i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        const float *p = src + i;
        vd a = vd_set1(0), b = a;
        for (size_t s = 0; s < n_slots; s++, p += stride) {
            a = vd_add(a, vd_from(v_load(p)));
            b = vd_add(b, vd_from(v_load(p + VL)));
        }
        v_store(dst + i, v_from_vd(a));
        v_store(dst + i + VL, v_from_vd(b));
    }
    for (; i < n; i += VL) {
        const size_t left = n - i < VL ? n - i : VL;
        const float *p = src + i;
        vd a = vd_set1(0);
        for (size_t s = 0; s < n_slots; s++, p += stride)
            a = vd_add(a, vd_from(load_n(p, left, left < VL)));
        store_n(dst + i, v_from_vd(a), left, left < VL);
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

/* Whole lines alone: of what is written in pieces the rest would be read first. */
static void stream_row(float *dst, const float *src, size_t n)
{
    size_t i = 0, before = (64 - (uintptr_t)dst % 64) % 64 / sizeof *dst;
    if (before > n) before = n;
    for (; i < before; i++) dst[i] = src[i];
    for (; i + 16 <= n; i += 16)
        for (size_t k = i; k < i + 16; k += VL) v_stream(dst + k, v_load(src + k));
    for (; i < n; i++) dst[i] = src[i];
}

static void stream(float *dst, size_t dst_row, const float *src, size_t src_row, size_t rows,
                   size_t n)
{
    for (size_t r = 0; r < rows; r++) stream_row(dst + r * dst_row, src + r * src_row, n);
    v_stream_end();
}

extern const struct cvyi_update_kernels KFN(update);
const struct cvyi_update_kernels KFN(update) = {
    .step = { [CVY_SGD] = sgd,
              [CVY_ADAM] = adam,
              [CVY_ADAMW] = adam,
              [CVY_RMSPROP] = rmsprop,
              [CVY_ADAGRAD] = rmsprop,
              [CVY_ADADELTA] = adadelta },
    .fold = fold,
    .fold_lanes = fold_lanes,
    .stream = stream,
};
