/* Activations in double, two functions a kind of CVY_ACTIVATIONS: the value at x, and dy times the
 * derivative; told by s, which is y, or x where the list says so. NaN stays NaN and is larger than
 * any number. */
#include "reference.h"

#include <math.h>

struct kind {
    double (*value)(const cvy_act_desc *d, double x);
    double (*through)(const cvy_act_desc *d, double s, double dy);
};

static double value_sigmoid(const cvy_act_desc *d, double x)
{
    (void)d;
    return 1.0 / (1.0 + exp(-x));
}
static double through_sigmoid(const cvy_act_desc *d, double y, double dy)
{
    (void)d;
    return dy * (y * (1.0 - y));
}

static double value_tanh(const cvy_act_desc *d, double x)
{
    (void)d;
    return tanh(x);
}
static double through_tanh(const cvy_act_desc *d, double y, double dy)
{
    (void)d;
    return dy * (1.0 - y * y);
}

static double value_relu(const cvy_act_desc *d, double x)
{
    (void)d;
    return x < 0 ? 0.0 : x;
}
/* Passed on or not, never multiplied by 0 (an infinite dy is no NaN where the ReLU is off). x is
 * given where zero has a derivative of its own, and has the sign of y. */
static double through_relu(const cvy_act_desc *d, double s, double dy)
{
    if (s == 0 && d->relu_grad_at_zero != 0) return d->relu_grad_at_zero * dy;
    return s <= 0 ? 0 : dy;
}

static double value_leaky_relu(const cvy_act_desc *d, double x) { return x < 0 ? d->alpha * x : x; }
static double through_leaky_relu(const cvy_act_desc *d, double y, double dy)
{
    return y <= 0 ? d->alpha * dy : dy;
}

static double value_elu(const cvy_act_desc *d, double x) { return x < 0 ? d->alpha * expm1(x) : x; }
static double through_elu(const cvy_act_desc *d, double y, double dy)
{
    return y <= 0 ? dy * (y + d->alpha) : dy;
}

static double value_softplus(const cvy_act_desc *d, double x)
{
    (void)d;
    return (x > 0 ? x : 0.0) + log1p(exp(-fabs(x)));
}
static double through_softplus(const cvy_act_desc *d, double y, double dy)
{
    (void)d;
    return dy * -expm1(-y);
}

/* The normal distribution function, exact in both tails. */
static double normal(double x) { return erfc(-x / sqrt(2)) / 2; }

static double value_normal_cdf(const cvy_act_desc *d, double x)
{
    (void)d;
    return normal(x);
}
static double through_normal_cdf(const cvy_act_desc *d, double x, double dy)
{
    (void)d;
    return dy * (exp(-x * x / 2) / sqrt(2 * 3.14159265358979323846));
}

static double value_gelu(const cvy_act_desc *d, double x)
{
    (void)d;
    return x * normal(x);
}
static double through_gelu(const cvy_act_desc *d, double x, double dy)
{
    (void)d;
    const double pi = 3.14159265358979323846;
    return dy * (normal(x) + x * exp(-x * x / 2) / sqrt(2 * pi));
}

/* (1 + tanh u) / 2 = 1 / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3); beyond 1e3, where it
 * is 0 or 1, infinities stay away from each other. */
static double bend(double x)
{
    if (x > 1e3) x = 1e3;
    if (x < -1e3) x = -1e3;
    return sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
}
static double bend_slope(double x)
{
    if (fabs(x) > 1e3) x = 1e3;
    return sqrt(2 / 3.14159265358979323846) * (1 + 3 * 0.044715 * x * x);
}

static double value_gelu_tanh(const cvy_act_desc *d, double x)
{
    (void)d;
    return x / (1 + exp(-2 * bend(x)));
}
static double through_gelu_tanh(const cvy_act_desc *d, double x, double dy)
{
    (void)d;
    double gate = 1 / (1 + exp(-2 * bend(x))), rest = 1 / (1 + exp(2 * bend(x)));
    return dy * (gate + x * 2 * bend_slope(x) * gate * rest);
}

static double value_silu(const cvy_act_desc *d, double x)
{
    (void)d;
    return x / (1 + exp(-x));
}
static double through_silu(const cvy_act_desc *d, double x, double dy)
{
    (void)d;
    double gate = 1 / (1 + exp(-x)), rest = 1 / (1 + exp(x));
    return dy * (gate + x * gate * rest);
}

static double value_mish(const cvy_act_desc *d, double x)
{
    (void)d;
    return x * tanh(log1p(exp(x)));
}
static double through_mish(const cvy_act_desc *d, double x, double dy)
{
    (void)d;
    double t = tanh(log1p(exp(x))), gate = 1 / (1 + exp(-x));
    return dy * (t + x * (1 - t * t) * gate);
}

static double value_hardswish(const cvy_act_desc *d, double x)
{
    (void)d;
    if (x <= -3) return 0;
    return x < 3 ? x * (x + 3) / 6 : x;
}
static double through_hardswish(const cvy_act_desc *d, double x, double dy)
{
    (void)d;
    if (x <= -3) return 0;
    return x < 3 ? dy * (x / 3 + 0.5) : dy;
}

static double value_relu6(const cvy_act_desc *d, double x)
{
    (void)d;
    if (x < 0) return 0;
    return x > 6 ? 6 : x;
}
static double through_relu6(const cvy_act_desc *d, double y, double dy)
{
    (void)d;
    return y <= 0 || y >= 6 ? 0 : dy;
}

/* The limit is a float, as y is that is compared with it. */
static double value_hardtanh(const cvy_act_desc *d, double x)
{
    double limit = (double)(float)d->alpha;
    if (x < -limit) return -limit;
    return x > limit ? limit : x;
}
static double through_hardtanh(const cvy_act_desc *d, double y, double dy)
{
    double limit = (double)(float)d->alpha;
    return y <= -limit || y >= limit ? 0 : dy;
}

#define KIND(NAME, name, ...) [CVY_##NAME] = { value_##name, through_##name },
static const struct kind kinds[] = { CVY_ACTIVATIONS(KIND) };

/* PReLU's slope is its channel's; a NaN is positive, but no channel's gradient is told without
 * it. */
void cvyi_ref_prelu(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_PRELU_X].shape;
    const double *x = cvyi_ref_in(r, run, CVY_PRELU_X),
                 *slope = cvyi_ref_in(r, run, CVY_PRELU_SLOPE);
    double *y = cvyi_ref_out(r, run, CVY_PRELU_Y);
    for (size_t i = 0; i < run->n * cvyi_ref_image(s); i++)
        y[i] = x[i] <= 0 ? slope[i / (s.h * s.w) % s.c] * x[i] : x[i];
}

void cvyi_ref_prelu_bwd(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_PRELU_BWD_X].shape;
    const double *x = cvyi_ref_in(r, run, CVY_PRELU_BWD_X),
                 *dy = cvyi_ref_in(r, run, CVY_PRELU_BWD_DY),
                 *slope = cvyi_ref_in(r, run, CVY_PRELU_BWD_SLOPE);
    double *dx = cvyi_ref_out(r, run, CVY_PRELU_BWD_DX),
           *dslope = cvyi_ref_out(r, run, CVY_PRELU_BWD_DSLOPE);
    for (size_t c = 0; dslope && c < s.c; c++) dslope[c] = 0;
    for (size_t i = 0; i < run->n * cvyi_ref_image(s); i++) {
        size_t c = i / (s.h * s.w) % s.c;
        dx[i] = x[i] <= 0 ? slope[c] * dy[i] : dy[i];
        if (dslope && !(x[i] >= 0)) dslope[c] += dy[i] * x[i];
    }
}

void cvyi_ref_act(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const double *x = cvyi_ref_in(r, run, CVY_ACT_X);
    double *y = cvyi_ref_out(r, run, CVY_ACT_Y);
    for (size_t i = 0; i < run->n * cvyi_ref_image(r->in[CVY_ACT_X].shape); i++)
        y[i] = kinds[r->op.u.act.kind].value(&r->op.u.act, x[i]);
}

void cvyi_ref_act_bwd(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const double *dy = cvyi_ref_in(r, run, CVY_ACT_BWD_DY), *x = cvyi_ref_in(r, run, CVY_ACT_BWD_X),
                 *y = cvyi_ref_in(r, run, CVY_ACT_BWD_Y);
    double *dx = cvyi_ref_out(r, run, CVY_ACT_BWD_DX);
    for (size_t i = 0; i < run->n * cvyi_ref_image(r->in[CVY_ACT_BWD_DY].shape); i++)
        dx[i] = kinds[r->op.u.act.kind].through(&r->op.u.act, x ? x[i] : y[i], dy[i]);
}
