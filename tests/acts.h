/* What activations are, in double, by their formulas: the tests' own list, which knows nothing of
 * the library's. It does not compile without two functions for every kind of CVY_ACTIVATIONS:
 *
 *  want_NAME(x, alpha)           f(x)
 *  want_through_NAME(dy, s, alpha)   dy times f', told by y, or by x where the list says so
 */
#ifndef CVYI_TESTS_ACTS_H
#define CVYI_TESTS_ACTS_H

#include <math.h>
#include <stdbool.h>

#include "convoy/types.h"

static inline double want_sigmoid(double x, double alpha)
{
    (void)alpha;
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}
static inline double want_through_sigmoid(double dy, double y, double alpha)
{
    (void)alpha;
    return dy * (y * (1 - y));
}

static inline double want_tanh(double x, double alpha)
{
    (void)alpha;
    return tanh(x);
}
static inline double want_through_tanh(double dy, double y, double alpha)
{
    (void)alpha;
    return dy * (1 - y * y);
}

static inline double want_relu(double x, double alpha)
{
    (void)alpha;
    return x < 0 ? 0 : x;
}
static inline double want_through_relu(double dy, double y, double alpha)
{
    (void)alpha;
    return y <= 0 ? 0 : dy;
}

static inline double want_leaky_relu(double x, double alpha) { return x < 0 ? alpha * x : x; }
static inline double want_through_leaky_relu(double dy, double y, double alpha)
{
    return y <= 0 ? alpha * dy : dy;
}

static inline double want_elu(double x, double alpha) { return x < 0 ? alpha * expm1(x) : x; }
static inline double want_through_elu(double dy, double y, double alpha)
{
    return y <= 0 ? dy * (y + alpha) : dy;
}

static inline double want_softplus(double x, double alpha)
{
    (void)alpha;
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}
static inline double want_through_softplus(double dy, double y, double alpha)
{
    (void)alpha;
    return dy * -expm1(-y);
}

static inline double want_gelu(double x, double alpha)
{
    (void)alpha;
    return x * (erfc(-x * sqrt(0.5)) / 2);
}
static inline double want_through_gelu(double dy, double x, double alpha)
{
    (void)alpha;
    return dy * (erfc(-x * sqrt(0.5)) / 2 + x * exp(-x * x / 2) * 0.39894228040143267794);
}

static inline double want_gelu_tanh(double x, double alpha)
{
    (void)alpha;
    double a = fmin(fabs(x), 100), z = 1.5957691216057307117 * a * (1 + 0.044715 * a * a);
    if (isnan(x)) return x;
    return x / (1 + exp(x < 0 ? z : -z));
}
static inline double want_through_gelu_tanh(double dy, double x, double alpha)
{
    (void)alpha;
    double a = fmin(fabs(x), 100), z = 1.5957691216057307117 * a * (1 + 0.044715 * a * a);
    double e = exp(-z), slope = 1.5957691216057307117 * (1 + 3 * 0.044715 * a * a);
    if (isnan(x)) return x;
    return dy * ((x < 0 ? e : 1) / (1 + e) + x * slope * e / ((1 + e) * (1 + e)));
}

static inline double want_silu(double x, double alpha)
{
    (void)alpha;
    return x / (1 + exp(-x));
}
static inline double want_through_silu(double dy, double x, double alpha)
{
    (void)alpha;
    double e = exp(-fabs(x));
    return dy * ((x < 0 ? e : 1) / (1 + e) + x * e / ((1 + e) * (1 + e)));
}

static inline double want_mish(double x, double alpha)
{
    (void)alpha;
    return x * tanh(log1p(exp(x)));
}
static inline double want_through_mish(double dy, double x, double alpha)
{
    (void)alpha;
    double t = tanh(log1p(exp(x)));
    return dy * (t + x * (1 - t * t) / (1 + exp(-x)));
}

static inline double want_hardswish(double x, double alpha)
{
    (void)alpha;
    double up = x > 3 ? x : x * (x + 3) / 6;
    return x <= -3 ? 0 : up;
}
static inline double want_through_hardswish(double dy, double x, double alpha)
{
    (void)alpha;
    double up = x >= 3 ? dy : dy * (2 * x + 3) / 6;
    if (isnan(x)) return dy;
    return x <= -3 ? 0 : up;
}

static inline double want_relu6(double x, double alpha)
{
    (void)alpha;
    double up = x > 6 ? 6 : x;
    return x < 0 ? 0 : up;
}
static inline double want_through_relu6(double dy, double y, double alpha)
{
    (void)alpha;
    return y <= 0 || y >= 6 ? 0 : dy;
}

static inline double want_hardtanh(double x, double alpha)
{
    double up = x > alpha ? alpha : x;
    return x < -alpha ? -alpha : up;
}
static inline double want_through_hardtanh(double dy, double y, double alpha)
{
    return fabs(y) >= alpha ? 0 : dy;
}

static inline double want_normal_cdf(double x, double alpha)
{
    (void)alpha;
    return erfc(-x * sqrt(0.5)) / 2;
}
static inline double want_through_normal_cdf(double dy, double x, double alpha)
{
    (void)alpha;
    return dy * (exp(-x * x / 2) * 0.39894228040143267794);
}

struct check_act {
    const char *name;
    bool has_alpha;
    double alpha; /* the default */
    bool by_x, monotone;
    double (*value)(double x, double alpha);
    double (*through)(double dy, double s, double alpha);
};

static const struct check_act check_acts[] = {
#define none 0
#define alpha 1
#define at_zero 0
#define CHECK_ACT(NAME, name, settings, standard, by_x, monotone) \
    { #name, settings, standard, by_x, monotone, want_##name, want_through_##name },
    CVY_ACTIVATIONS(CHECK_ACT)
#undef CHECK_ACT
#undef none
#undef alpha
#undef at_zero
};
enum { CHECK_ACTS = sizeof check_acts / sizeof *check_acts };

/* How many ulp native's value may be off, by kind; what is not listed is rounded once. Of x times a
 * gate relative errors add up, and an ulp is 1 to 2 of the units u = 2^-24 in which they are
 * counted. GELU_TANH, with e = exp(-|z|): 1.84 of e, whose share is 1 / (1 + e); 2 of q = e / (1 +
 * e), whose share in y = e - e q is e; one each of y and x y: 4.92 at e = 1. In its tail there are
 * 3.84 and what is left of the error of z, a sum of two floats. Over all floats (math_check --all)
 * the worst were 6.54 of GELU and 4.89 of GELU_TANH, in their tails, 4.57 of MISH, 2.68 of SILU,
 * whose z is exact, and 1.91 of HARDSWISH. */
static inline double check_act_ulps(enum cvy_act_kind kind)
{
    static const double ulps[CHECK_ACTS] = {
        [CVY_SIGMOID] = 2,   [CVY_TANH] = 2,      [CVY_ELU] = 2,  [CVY_SOFTPLUS] = 2,
        [CVY_GELU] = 7,      [CVY_GELU_TANH] = 5, [CVY_SILU] = 3, [CVY_MISH] = 5,
        [CVY_HARDSWISH] = 2, [CVY_NORMAL_CDF] = 6
    };
    return ulps[kind];
}

/* Where a result so close to 0 may be 0: FLT_MIN, as workers flush; x times it for products of x
 * and a factor that may have been flushed. */
static inline double check_act_tiny(enum cvy_act_kind kind, double x)
{
    return 0x1p-126 * (check_acts[kind].by_x ? fmax(1, fabs(x)) : 1);
}

/* How far native's dy times f' may be off, where the kernels' contract leaves the order of
 * operations to the kind: relative, or absolute where f' itself passes through 0. */
static inline double check_act_through_error(enum cvy_act_kind kind, double dy, double want)
{
    if (!check_acts[kind].by_x) return fabs(want) < 0x1p-126 ? 0x1p-126 : 3 * 0x1p-23 * fabs(want);
    return 8 * 0x1p-24 * fabs(dy) + 0x1p-126;
}

#endif
