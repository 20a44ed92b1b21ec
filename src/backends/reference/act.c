/* Activations in double. NaN stays NaN. Gradients from the output, or from the input where it is
 * given (ReLU whose derivative at 0 is not 0). */
#include "reference.h"

#include <math.h>

static double act(const cvy_act_desc *d, double x)
{
    switch (d->kind) {
    case CVY_SIGMOID: return 1.0 / (1.0 + exp(-x));
    case CVY_TANH: return tanh(x);
    case CVY_RELU: return x < 0 ? 0.0 : x;
    case CVY_LEAKY_RELU: return x < 0 ? d->alpha * x : x;
    case CVY_ELU: return x < 0 ? d->alpha * expm1(x) : x;
    case CVY_SOFTPLUS: return (x > 0 ? x : 0.0) + log1p(exp(-fabs(x)));
    }
    return NAN;
}

/* dy through a ReLU: passed on or not, never multiplied by 0 (an infinite dy is no NaN where the
 * ReLU is off). A NaN is larger than any number. */
static double through_relu(const cvy_act_desc *d, double x, double dy)
{
    if (x == 0 && d->relu_grad_at_zero != 0) return d->relu_grad_at_zero * dy;
    return x <= 0 ? 0 : dy;
}

/* dy times the derivative; x is 0 or has the sign of y (alpha is positive) and is used for ReLU
 * only. */
static double through(const cvy_act_desc *d, double x, double y, double dy)
{
    switch (d->kind) {
    case CVY_SIGMOID: return dy * (y * (1.0 - y));
    case CVY_TANH: return dy * (1.0 - y * y);
    case CVY_RELU: return through_relu(d, x, dy);
    case CVY_LEAKY_RELU: return y <= 0 ? d->alpha * dy : dy;
    case CVY_ELU: return y <= 0 ? dy * (y + d->alpha) : dy;
    case CVY_SOFTPLUS: return dy * -expm1(-y);
    }
    return NAN;
}

void cvyi_ref_act(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const double *x = cvyi_ref_in(r, run, 0);
    double *y = cvyi_ref_out(r, run, 0);
    for (size_t i = 0; i < run->n * cvyi_ref_image(r->in[0].shape); i++)
        y[i] = act(&r->op.u.act, x[i]);
}

void cvyi_ref_act_bwd(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const double *dy = cvyi_ref_in(r, run, 0), *x = cvyi_ref_in(r, run, 1),
                 *y = cvyi_ref_in(r, run, 2);
    double *dx = cvyi_ref_out(r, run, 0);
    for (size_t i = 0; i < run->n * cvyi_ref_image(r->in[0].shape); i++) {
        double yi = y ? y[i] : act(&r->op.u.act, x[i]);
        dx[i] = through(&r->op.u.act, x ? x[i] : yi, yi, dy[i]);
    }
}
