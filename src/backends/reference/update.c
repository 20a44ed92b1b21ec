/* The optimisers' steps in double, as written at struct cvy_optimizer_desc; a rate or a
 * decay of 0 takes no part. */
#include <math.h>

#include "reference.h"

/* The gradient with that of the penalties. */
static double penalised(double g, double w, double decay, double l1)
{
    if (decay != 0) g += decay * w;
    if (l1 != 0) g += l1 * ((w > 0) - (w < 0));
    return g;
}

static void sgd(double *w, const double *dw, double *const *state, size_t n, const double *c)
{
    double *v = state[0], momentum = c[CVY_SGD_MOMENTUM];
    for (size_t i = 0; i < n; i++) {
        double g = penalised(dw[i], w[i], c[CVY_SGD_DECAY], c[CVY_SGD_L1]);
        if (v) {
            v[i] = momentum != 0 ? momentum * v[i] + g : g;
            g = c[CVY_SGD_NESTEROV] != 0 ? g + momentum * v[i] : v[i];
        }
        w[i] -= c[CVY_SGD_LR] * g;
    }
}

/* What a step d becomes by momentum; v NULL: itself. */
static double pushed(double d, double *v, double momentum, double nesterov)
{
    if (!v) return d;
    *v = momentum * *v + d;
    return nesterov != 0 ? d + momentum * *v : *v;
}

/* Adam and AdamW: what differs is in the coefficients. */
static void adam(double *w, const double *dw, double *const *state, size_t n, const double *c)
{
    double *m = state[0], *v = state[1], *moved = state[2];
    for (size_t i = 0; i < n; i++) {
        double g = penalised(dw[i], w[i], c[CVY_ADAM_DECAY], c[CVY_ADAM_L1]);
        m[i] = c[CVY_ADAM_BETA1] * m[i] + c[CVY_ADAM_NEW1] * g;
        v[i] = c[CVY_ADAM_BETA2] * v[i] + c[CVY_ADAM_NEW2] * g * g;
        double step = c[CVY_ADAM_STEP] * m[i] / (sqrt(v[i]) + c[CVY_ADAM_EPS]);
        step = pushed(step, moved ? &moved[i] : NULL, c[CVY_ADAM_MOMENTUM], c[CVY_ADAM_NESTEROV]);
        if (c[CVY_ADAM_SHRINK] != 0) step += c[CVY_ADAM_SHRINK] * w[i];
        w[i] -= step;
    }
}

/* RMSProp and Adagrad: a gradient over the root of its squares' mean or sum. */
static void rmsprop(double *w, const double *dw, double *const *state, size_t n, const double *c)
{
    double *s = state[0], *moved = state[1];
    for (size_t i = 0; i < n; i++) {
        double g = penalised(dw[i], w[i], c[CVY_ROOT_DECAY], c[CVY_ROOT_L1]), eps = c[CVY_ROOT_EPS];
        s[i] = c[CVY_ROOT_RHO] * s[i] + c[CVY_ROOT_NEW] * g * g;
        double root = c[CVY_ROOT_INSIDE] != 0 ? sqrt(s[i] + eps) : sqrt(s[i]) + eps;
        w[i] -= pushed(c[CVY_ROOT_LR] * g / root, moved ? &moved[i] : NULL, c[CVY_ROOT_MOMENTUM],
                       c[CVY_ROOT_NESTEROV]);
    }
}
static void adadelta(double *w, const double *dw, double *const *state, size_t n, const double *c)
{
    double *s = state[0], *a = state[1], *moved = state[2], eps = c[CVY_ROOT_EPS];
    for (size_t i = 0; i < n; i++) {
        double g = penalised(dw[i], w[i], c[CVY_ROOT_DECAY], c[CVY_ROOT_L1]);
        s[i] = c[CVY_ROOT_RHO] * s[i] + c[CVY_ROOT_NEW] * g * g;
        double u = sqrt(a[i] + eps) / sqrt(s[i] + eps) * g;
        a[i] = c[CVY_ROOT_RHO] * a[i] + c[CVY_ROOT_NEW] * u * u;
        w[i] -= pushed(c[CVY_ROOT_LR] * u, moved ? &moved[i] : NULL, c[CVY_ROOT_MOMENTUM],
                       c[CVY_ROOT_NESTEROV]);
    }
}

typedef void step_fn(double *w, const double *dw, double *const *state, size_t n, const double *c);
static step_fn *const steps[] = {
    [CVY_SGD] = sgd,         [CVY_ADAM] = adam,       [CVY_ADAMW] = adam,
    [CVY_RMSPROP] = rmsprop, [CVY_ADAGRAD] = rmsprop, [CVY_ADADELTA] = adadelta,
};
_Static_assert(sizeof steps / sizeof *steps == CVY_OPTIMIZER_KINDS,
               "steps: a function a kind of optimiser");

/* Rows that are longer than max_norm are made as short. */
static void shorten(double *w, size_t rows, size_t row, double most)
{
    for (size_t r = 0; r < rows; r++, w += row) {
        double squares = 0;
        for (size_t i = 0; i < row; i++) squares += w[i] * w[i];
        double norm = sqrt(squares), factor = (norm < most ? norm : most) / (norm + 1e-8);
        for (size_t i = 0; i < row; i++) w[i] *= factor;
    }
}

void cvyi_ref_update(const struct cvyi_ref *r, const struct cvy_run *run)
{
    double *state[CVY_OPTIMIZER_STATES];
    for (int i = 0; i < CVY_OPTIMIZER_STATES; i++)
        state[i] = (double *)cvyi_ref_in(r, run, CVY_UPDATE_S + i);
    cvy_shape s = r->in[CVY_UPDATE_W].shape;
    double *w = (double *)cvyi_ref_in(r, run, CVY_UPDATE_W);
    size_t n = s.n * cvyi_ref_image(s), row = r->op.u.update.row;
    steps[r->op.u.update.kind](w, cvyi_ref_in(r, run, CVY_UPDATE_DW), state, n,
                               run->coef[r->op.u.update.group]);
    if (r->op.u.update.max_norm > 0) shorten(w, n / row, row, r->op.u.update.max_norm);
}
