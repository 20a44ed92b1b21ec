/* The optimisers' steps in double, as written at struct cvy_optimizer_desc; a rate or a
 * decay of 0 takes no part. */
#include <math.h>

#include "reference.h"

static void sgd(double *w, const double *dw, double *const *state, size_t n, const double *c)
{
    double *v = state[0], momentum = c[CVY_SGD_MOMENTUM];
    for (size_t i = 0; i < n; i++) {
        double g = dw[i];
        if (c[CVY_SGD_DECAY] != 0) g += c[CVY_SGD_DECAY] * w[i];
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
        double g = dw[i];
        if (c[CVY_ADAM_DECAY] != 0) g += c[CVY_ADAM_DECAY] * w[i];
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
        double g = dw[i], eps = c[CVY_ROOT_EPS];
        if (c[CVY_ROOT_DECAY] != 0) g += c[CVY_ROOT_DECAY] * w[i];
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
        double g = dw[i];
        if (c[CVY_ROOT_DECAY] != 0) g += c[CVY_ROOT_DECAY] * w[i];
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

void cvyi_ref_update(const struct cvyi_ref *r, const struct cvy_run *run)
{
    double *state[CVY_OPTIMIZER_STATES];
    for (int i = 0; i < CVY_OPTIMIZER_STATES; i++)
        state[i] = (double *)cvyi_ref_in(r, run, CVY_UPDATE_S + i);
    cvy_shape s = r->in[CVY_UPDATE_W].shape;
    steps[r->op.u.update.kind]((double *)cvyi_ref_in(r, run, CVY_UPDATE_W),
                               cvyi_ref_in(r, run, CVY_UPDATE_DW), state, s.n * cvyi_ref_image(s),
                               run->coef[r->op.u.update.group]);
}
