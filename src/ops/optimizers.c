/* The optimisers: one record each. Names, states and hyper-parameters as checkpoints, model files
 * and options call them, and the coefficients of a step; how they are applied to weights is the
 * backends' affair. Adding one: docs/adding-an-operator.md. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ops/ops.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define AT(member) .name = #member, .offset = offsetof(cvy_optimizer_desc, member)
#define ANY 1e30 /* no upper end */

#define LR(x)                                                    \
    {                                                            \
        AT(lr), .help = "learning rate", .usual = x, .most = ANY \
    }
#define WEIGHT_DECAY(x, words)                                   \
    {                                                            \
        AT(weight_decay), .help = words, .usual = x, .most = ANY \
    }
#define DECAY_WORDS                                                                          \
    "L2 penalty's factor on the weights of convolutions and linear layers (adamw: how fast " \
    "they shrink by themselves, times lr)"
#define PENALTIES                                                                           \
    { AT(l1), .help = "factor of a penalty, the sum of these weights' absolute values",     \
      .most = ANY },                                                                        \
    {                                                                                       \
        AT(l2),                                                                             \
            .help = "factor of a penalty, the sum of their squares (weight decay: of half " \
                    "that sum)",                                                            \
            .most = ANY                                                                     \
    }
#define DECAY_ALL                                                                        \
    {                                                                                    \
        AT(decay_all), .help = "weight decay, l1 and l2 of biases, gamma and beta, too", \
                       .most = 1, .flag = true                                           \
    }
#define BETA(member, x, words)                                                                 \
    {                                                                                          \
        AT(member), .help = words, .usual = x, .most = 1, .below = true, .zero_is_usual = true \
    }
#define EPS(words)                                                                \
    {                                                                             \
        AT(eps), .help = words, .usual = 1e-8, .most = ANY, .zero_is_usual = true \
    }
#define MOMENTUM                                                                          \
    {                                                                                     \
        AT(momentum), .help = "momentum of the step, in [0, 1)", .most = 1, .below = true \
    }
#define NESTEROV                                                                                  \
    {                                                                                             \
        AT(nesterov), .help = "Nesterov's momentum", .most = 1, .flag = true, .needs = "momentum" \
    }
#define RHO(x)                                                                                    \
    {                                                                                             \
        AT(rho), .help = "RMSProp, Adadelta: how much of the mean of squares is kept, in [0, 1)", \
                 .usual = x, .most = 1, .below = true, .zero_is_usual = true                      \
    }
#define EPS_INSIDE                                                                              \
    {                                                                                           \
        AT(eps_inside), .help = "RMSProp, Adagrad: eps under the root", .most = 1, .flag = true \
    }
#define EPSILON_HAT                                                                           \
    {                                                                                         \
        AT(epsilon_hat), .help = "Adam: eps before the first steps are corrected", .most = 1, \
                         .flag = true                                                         \
    }
#define INFO(a_name, hypers, states)                                                           \
    {                                                                                          \
        .name = a_name, .n_hypers = COUNT(hypers), .n_states = COUNT(states), .hyper = hypers, \
        .state = states                                                                        \
    }

/* ----------------------------------------------------------------------------------------- SGD */

static const char *const sgd_states[] = { "momentum" };
static const cvy_hyper_info sgd_hypers[] = {
    LR(0.1), MOMENTUM, WEIGHT_DECAY(0, DECAY_WORDS), PENALTIES, NESTEROV, DECAY_ALL,
};

static size_t sgd_keeps(const cvy_optimizer_desc *d) { return d->momentum != 0; }

static void sgd_coefficients(const cvy_optimizer_desc *d, uint64_t step, double coef[CVY_COEFS])
{
    (void)step;
    coef[CVY_SGD_LR] = d->lr;
    coef[CVY_SGD_MOMENTUM] = d->momentum;
    coef[CVY_SGD_DECAY] = d->weight_decay + 2 * d->l2;
    coef[CVY_SGD_L1] = d->l1;
    coef[CVY_SGD_NESTEROV] = d->nesterov;
}

/* ------------------------------------------------------------------------------- Adam and AdamW */

static const char *const adam_states[] = { "exp_avg", "exp_avg_sq", "momentum" };
#define EPS_WORDS "all but SGD: added to the root of the mean or sum of squares"
#define ADAM_HYPERS(decay)                                                                     \
    LR(0.001), BETA(beta1, 0.9, "Adam: how much of the mean of gradients is kept, in [0, 1)"), \
        BETA(beta2, 0.999, "Adam: how much of the mean of squares is kept, in [0, 1)"),        \
        EPS(EPS_WORDS), EPSILON_HAT, MOMENTUM, NESTEROV, WEIGHT_DECAY(decay, DECAY_WORDS),     \
        PENALTIES, DECAY_ALL
static const cvy_hyper_info adam_hypers[] = { ADAM_HYPERS(0) };
static const cvy_hyper_info adamw_hypers[] = { ADAM_HYPERS(0.01) };

static size_t adam_keeps(const cvy_optimizer_desc *d) { return d->momentum != 0 ? 3 : 2; }

/* x^n by squaring: off by about n roundings, which matter as long as x^n does. */
static double power(double x, uint64_t n)
{
    double y = 1;
    for (; n; n >>= 1) {
        if (n & 1) y *= x;
        x *= x;
    }
    return y;
}

/* sqrt(v / c) + eps is (sqrt(v) + sqrt(c) * eps) / sqrt(c): the textbook's form is epsilon-hat's
 * with another epsilon. */
static void adam_coefficients(const cvy_optimizer_desc *d, uint64_t step, double coef[CVY_COEFS])
{
    double correct1 = 1 - power(d->beta1, step + 1), root2 = sqrt(1 - power(d->beta2, step + 1));
    coef[CVY_ADAM_STEP] = d->lr * root2 / correct1;
    coef[CVY_ADAM_EPS] = d->epsilon_hat ? d->eps : d->eps * root2;
    coef[CVY_ADAM_BETA1] = d->beta1;
    coef[CVY_ADAM_NEW1] = 1 - d->beta1;
    coef[CVY_ADAM_BETA2] = d->beta2;
    coef[CVY_ADAM_NEW2] = 1 - d->beta2;
    coef[CVY_ADAM_DECAY] = 2 * d->l2;
    if (d->kind == CVY_ADAM) coef[CVY_ADAM_DECAY] += d->weight_decay;
    else coef[CVY_ADAM_SHRINK] = d->lr * d->weight_decay;
    coef[CVY_ADAM_L1] = d->l1;
    coef[CVY_ADAM_MOMENTUM] = d->momentum;
    coef[CVY_ADAM_NESTEROV] = d->nesterov;
}

/* ------------------------------------------------------------------ RMSProp, Adagrad, Adadelta */

static const char *const rmsprop_states[] = { "square_avg", "momentum" },
                         *const adagrad_states[] = { "sum", "momentum" },
                         *const adadelta_states[] = { "square_avg", "acc_delta", "momentum" };
static const cvy_hyper_info rmsprop_hypers[] = {
    LR(0.01),
    RHO(0.9),
    EPS(EPS_WORDS),
    EPS_INSIDE,
    MOMENTUM,
    NESTEROV,
    WEIGHT_DECAY(0, DECAY_WORDS),
    PENALTIES,
    DECAY_ALL,
};
static const cvy_hyper_info adagrad_hypers[] = {
    LR(0.01),  EPS(EPS_WORDS), EPS_INSIDE, MOMENTUM, NESTEROV, WEIGHT_DECAY(0, DECAY_WORDS),
    PENALTIES, DECAY_ALL,
};
static const cvy_hyper_info adadelta_hypers[] = {
    LR(1),     RHO(0.95), EPS(EPS_WORDS), MOMENTUM, NESTEROV, WEIGHT_DECAY(0, DECAY_WORDS),
    PENALTIES, DECAY_ALL,
};

static size_t root_keeps(const cvy_optimizer_desc *d)
{
    const size_t moves = d->momentum != 0;
    return moves + (d->kind == CVY_ADADELTA ? 2 : 1);
}

static void root_coefficients(const cvy_optimizer_desc *d, uint64_t step, double coef[CVY_COEFS])
{
    const bool sums = d->kind == CVY_ADAGRAD;
    (void)step;
    coef[CVY_ROOT_LR] = d->lr;
    coef[CVY_ROOT_EPS] = d->eps;
    coef[CVY_ROOT_RHO] = sums ? 1 : d->rho;
    coef[CVY_ROOT_NEW] = sums ? 1 : 1 - d->rho;
    coef[CVY_ROOT_DECAY] = d->weight_decay + 2 * d->l2;
    coef[CVY_ROOT_L1] = d->l1;
    coef[CVY_ROOT_INSIDE] = d->eps_inside;
    coef[CVY_ROOT_MOMENTUM] = d->momentum;
    coef[CVY_ROOT_NESTEROV] = d->nesterov;
}

/* ---------------------------------------------------------------------------------------- all */

static const struct cvyi_optimizer optimizers[] = {
    [CVY_SGD] = { INFO("sgd", sgd_hypers, sgd_states), sgd_keeps, sgd_coefficients },
    [CVY_ADAM] = { INFO("adam", adam_hypers, adam_states), adam_keeps, adam_coefficients },
    [CVY_ADAMW] = { INFO("adamw", adamw_hypers, adam_states), adam_keeps, adam_coefficients },
    [CVY_RMSPROP] = { INFO("rmsprop", rmsprop_hypers, rmsprop_states), root_keeps,
                      root_coefficients },
    [CVY_ADAGRAD] = { INFO("adagrad", adagrad_hypers, adagrad_states), root_keeps,
                      root_coefficients },
    [CVY_ADADELTA] = { INFO("adadelta", adadelta_hypers, adadelta_states), root_keeps,
                       root_coefficients },
};
_Static_assert(sizeof optimizers / sizeof *optimizers == CVY_OPTIMIZER_KINDS,
               "optimisers: a record a kind");

const struct cvyi_optimizer *cvyi_optimizer(enum cvy_optimizer_kind kind)
{
    return &optimizers[kind];
}

const cvy_optimizer_info *cvy_optimizer_describe(enum cvy_optimizer_kind kind)
{
    return (unsigned)kind < CVY_OPTIMIZER_KINDS ? &optimizers[kind].info : NULL;
}

bool cvy_optimizer_from_name(const char *name, enum cvy_optimizer_kind *kind)
{
    for (size_t k = 0; name && kind && k < CVY_OPTIMIZER_KINDS; k++)
        if (!strcmp(name, optimizers[k].info.name)) {
            *kind = (enum cvy_optimizer_kind)k;
            return true;
        }
    return false;
}

/* The member as it stands. */
static double read(const cvy_hyper_info *h, const cvy_optimizer_desc *desc)
{
    const char *at = (const char *)desc + h->offset;
    return h->flag ? *(const bool *)at : *(const double *)(const void *)at;
}

static double meant(const cvy_hyper_info *h, const cvy_optimizer_desc *desc)
{
    double value = read(h, desc);
    if (!h->zero_is_usual) return value;
    if (value == 0) return h->usual;
    return value == DBL_MIN ? 0 : value;
}

double cvy_hyper_get(const cvy_hyper_info *hyper, const cvy_optimizer_desc *desc)
{
    CVYI_OWN_FLOATS(NULL);
    return meant(hyper, desc);
}

static void write(const cvy_hyper_info *h, cvy_optimizer_desc *desc, double value)
{
    char *at = (char *)desc + h->offset;
    if (h->flag) *(bool *)at = value != 0;
    else *(double *)(void *)at = value == 0 && h->zero_is_usual ? DBL_MIN : value;
}

void cvy_optimizer_usual(enum cvy_optimizer_kind kind, cvy_optimizer_desc *desc)
{
    CVYI_OWN_FLOATS(NULL);
    const cvy_optimizer_info *info = cvy_optimizer_describe(kind);
    *desc = (cvy_optimizer_desc){ .kind = kind };
    for (size_t i = 0; info && i < info->n_hypers; i++)
        write(&info->hyper[i], desc, info->hyper[i].usual);
}

void cvy_hyper_set(const cvy_hyper_info *hyper, cvy_optimizer_desc *desc, double value)
{
    CVYI_OWN_FLOATS(NULL);
    write(hyper, desc, value);
}

const cvy_hyper_info *cvy_hyper_find(const cvy_optimizer_info *info, const char *name)
{
    CVYI_OWN_FLOATS(NULL);
    for (size_t i = 0; i < info->n_hypers; i++)
        if (!strcmp(info->hyper[i].name, name)) return &info->hyper[i];
    return NULL;
}

bool cvy_hyper_accepts(const cvy_hyper_info *hyper, double value)
{
    CVYI_OWN_FLOATS(NULL);
    return value >= hyper->least && (hyper->below ? value < hyper->most : value <= hyper->most);
}

static enum cvy_status check_range(struct cvy_context *ctx, const cvy_hyper_info *h, double x)
{
    char most[32] = " or more";
    if (cvy_hyper_accepts(h, x)) return CVY_OK;
    if (h->most < ANY) snprintf(most, sizeof most, " to %s%g", h->below ? "below " : "", h->most);
    return cvyi_fail(ctx, CVY_E_ARG, "%s is %g, expected %g%s", h->name, x, h->least, most);
}

bool cvyi_optimizer_given(const cvy_optimizer_desc *desc)
{
    bool given = desc->kind != 0;
    for (size_t k = 0; k < CVY_OPTIMIZER_KINDS; k++)
        for (size_t i = 0; i < optimizers[k].info.n_hypers; i++)
            given = given || read(&optimizers[k].info.hyper[i], desc) != 0;
    return given;
}

/* A hyper-parameter of other kinds alone would have no effect. */
static enum cvy_status check_others(struct cvy_context *ctx, const cvy_optimizer_desc *desc)
{
    const cvy_optimizer_info *own = &optimizers[desc->kind].info;
    for (size_t k = 0; k < CVY_OPTIMIZER_KINDS; k++)
        for (size_t i = 0; i < optimizers[k].info.n_hypers; i++) {
            const cvy_hyper_info *h = &optimizers[k].info.hyper[i];
            if (read(h, desc) != 0 && !cvy_hyper_find(own, h->name))
                return cvyi_fail(ctx, CVY_E_ARG, "%s has no %s", own->name, h->name);
        }
    return CVY_OK;
}

enum cvy_status cvyi_optimizer_check(struct cvy_context *ctx, cvy_optimizer_desc *desc)
{
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_optimizer_desc, desc));
    if ((unsigned)desc->kind >= CVY_OPTIMIZER_KINDS)
        return cvyi_fail(ctx, CVY_E_ARG, "optimizer %d is not one of enum cvy_optimizer_kind",
                         (int)desc->kind);
    const cvy_optimizer_info *info = &optimizers[desc->kind].info;
    CVYI_TRY(check_others(ctx, desc));
    for (size_t i = 0; i < info->n_hypers; i++) {
        const cvy_hyper_info *h = &info->hyper[i];
        double value = meant(h, desc);
        CVYI_TRY(check_range(ctx, h, value));
        if (h->needs && value != 0 && meant(cvy_hyper_find(info, h->needs), desc) == 0)
            return cvyi_fail(ctx, CVY_E_ARG, "%s needs a %s", h->name, h->needs);
    }
    for (size_t i = 0; i < info->n_hypers; i++) {
        const cvy_hyper_info *h = &info->hyper[i];
        if (!h->flag) *(double *)(void *)((char *)desc + h->offset) = meant(h, desc);
    }
    return CVY_OK;
}

const struct cvyi_group cvyi_groups[CVYI_GROUPS] = {
    [CVYI_GROUP_DECAYS] = { 1, 1 }, [CVYI_GROUP_PLAIN] = { 1, 0 }
};

void cvyi_optimizer_coefficients(const cvy_optimizer_desc *desc, uint64_t step,
                                 const struct cvyi_group *group, size_t n,
                                 double (*coef)[CVY_COEFS])
{
    memset(coef, 0, n * sizeof *coef);
    for (size_t i = 0; i < n; i++) {
        cvy_optimizer_desc own = *desc;
        own.lr *= group[i].lr;
        own.weight_decay *= group[i].decay;
        own.l1 *= group[i].decay;
        own.l2 *= group[i].decay;
        optimizers[desc->kind].coefficients(&own, step, coef[i]);
    }
}
