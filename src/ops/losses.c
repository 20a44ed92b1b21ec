/* The losses: one record each. What a loss is, of one row of outputs in double, and what is checked
 * of its descriptor; whole batches are the backends' affair. Adding one:
 * docs/adding-an-operator.md. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "convoy/op.h"
#include "ops/ops.h"

double cvyi_loss_smoothed(const cvy_loss_desc *desc, size_t classes, size_t label, size_t k)
{
    const double *w = desc->class_weights;
    double share = desc->label_smoothing / (double)classes;
    if (w && desc->kind == CVY_CROSS_ENTROPY && w[label] > 0) share *= w[k] / w[label];
    return share;
}

/* The target of output k. */
static double target(const struct cvyi_loss_row *r, size_t k)
{
    double t = k == r->label ? 1 : 0;
    if (r->target) t = (double)r->target[k * r->step];
    return (1 - r->desc->label_smoothing) * t +
           cvyi_loss_smoothed(r->desc, r->classes, r->label, k);
}

static double at(const struct cvyi_loss_row *r, size_t k)
{
    return r->x ? r->x[k * r->step] : (double)r->x32[k * r->step];
}

/* Relative to the maximum, so that no finite output overflows. */
static double cross_entropy(const struct cvyi_loss_row *r, double *dx)
{
    double max = at(r, 0), sum = 0, loss = 0, all = 0, t = r->desc->temperature;
    for (size_t k = 1; k < r->classes; k++)
        if (at(r, k) > max) max = at(r, k);
    for (size_t k = 0; k < r->classes; k++) {
        sum += exp((at(r, k) - max) / t);
        all += target(r, k);
    }
    double log_sum = log(sum);
    for (size_t k = 0; k < r->classes; k++) {
        double log_p = (at(r, k) - max) / t - log_sum, q = target(r, k);
        if (q != 0) loss -= q * log_p; /* 0 * -inf is no loss */
        if (dx) dx[k * r->step] = (exp(log_p) * all - q) / t;
    }
    return loss;
}

static double mse(const struct cvyi_loss_row *r, double *dx)
{
    double loss = 0, classes = (double)r->classes;
    for (size_t k = 0; k < r->classes; k++) {
        double d = at(r, k) - target(r, k);
        loss += d * d;
        if (dx) dx[k * r->step] = 2 * d / classes;
    }
    return loss / classes;
}

static double bce(const struct cvyi_loss_row *r, double *dx)
{
    double loss = 0, classes = (double)r->classes;
    for (size_t k = 0; k < r->classes; k++) {
        double x = at(r, k), q = target(r, k), e = exp(-fabs(x));
        loss += (x > 0 ? x : 0) - q * x + log1p(e);
        if (dx) dx[k * r->step] = ((x > 0 ? 1 : e) / (1 + e) - q) / classes;
    }
    return loss / classes;
}

/* A NaN is larger than any margin. */
static double hinge(const struct cvyi_loss_row *r, double *dx)
{
    double loss = 0, y = at(r, r->label), others = 0;
    for (size_t k = 0; k < r->classes; k++) {
        double m = at(r, k) - y + r->desc->margin;
        bool over = k != r->label && !(m <= 0);
        if (over) {
            loss += m;
            others++;
        }
        if (dx) dx[k * r->step] = over;
    }
    if (dx) dx[r->label * r->step] = -others;
    return loss;
}

static const struct {
    const char *name;
    double (*row)(const struct cvyi_loss_row *r, double *dx);
    bool margin, onehot; /* has a margin; has neither soft targets nor smoothing */
    bool temperature;    /* has one */
} losses[] = {
    [CVY_CROSS_ENTROPY] = { "cross_entropy", cross_entropy, false, false, true },
    [CVY_MSE] = { "mse", mse, false, false, false },
    [CVY_BCE] = { "bce", bce, false, false, false },
    [CVY_HINGE] = { "hinge", hinge, true, true, false },
};
_Static_assert(sizeof losses / sizeof *losses == CVY_LOSS_KINDS, "losses: a record a kind");

double cvyi_loss_row(const struct cvyi_loss_row *r, double *dx)
{
    return losses[r->desc->kind].row(r, dx);
}

bool cvyi_loss_correct(const struct cvyi_loss_row *r)
{
    size_t best = 0;
    bool nan = false;
    for (size_t k = 0; k < r->classes; k++) {
        nan |= isnan(at(r, k));
        if (at(r, k) > at(r, best)) best = k;
    }
    return best == r->label && !nan && isfinite(at(r, best));
}

size_t cvyi_loss_target(const float *target, size_t classes, size_t step)
{
    size_t best = 0;
    for (size_t k = 1; k < classes; k++)
        if (target[k * step] > target[best * step]) best = k;
    return best;
}

enum cvy_status cvy_loss_row(cvy_context *ctx, const cvy_loss_desc *desc, size_t classes,
                             const float *outputs, int32_t label, const float *target,
                             cvy_loss_result *result)
{
    CVYI_OWN_FLOATS(ctx);
    cvy_loss_desc d = desc ? *desc : (cvy_loss_desc){ 0 };
    if (!classes || !outputs || !result || (d.soft_targets && !target))
        return cvyi_fail(ctx, CVY_E_ARG, "a row of a loss needs outputs, a target and a place");
    CVYI_TRY(cvyi_loss_check(ctx, &d));
    bool ignored = !d.soft_targets && d.ignore && label == d.ignore_index;
    if (!d.soft_targets && !ignored && (label < 0 || (size_t)label >= classes))
        return cvyi_fail(ctx, CVY_E_ARG, "label %ld; there are %zu classes", (long)label, classes);
    *result = (cvy_loss_result){ 0 };
    if (ignored) return CVY_OK;
    struct cvyi_loss_row row = { .desc = &d, .classes = classes, .step = 1, .x32 = outputs };
    row.target = d.soft_targets ? target : NULL;
    row.label = row.target ? cvyi_loss_target(target, classes, 1) : (size_t)label;
    result->weight = row.target ? 1 : cvyi_loss_weight(&d, label);
    result->loss = cvyi_loss_row(&row, NULL);
    result->correct = cvyi_loss_correct(&row);
    return CVY_OK;
}

const char *cvy_loss_name(enum cvy_loss_kind kind)
{
    return (unsigned)kind < CVY_LOSS_KINDS ? losses[kind].name : NULL;
}

bool cvy_loss_from_name(const char *name, enum cvy_loss_kind *kind)
{
    for (int k = 0; name && k < CVY_LOSS_KINDS; k++) {
        if (strcmp(losses[k].name, name)) continue;
        *kind = (enum cvy_loss_kind)k;
        return true;
    }
    return false;
}

enum cvy_status cvyi_loss_check(struct cvy_context *ctx, cvy_loss_desc *d)
{
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_loss_desc, d));
    if ((unsigned)d->kind >= CVY_LOSS_KINDS)
        return cvyi_fail(ctx, CVY_E_ARG, "loss %d is not one of enum cvy_loss_kind", (int)d->kind);
    const char *name = losses[d->kind].name;
    if (!(d->label_smoothing >= 0 && d->label_smoothing < 1))
        return cvyi_fail(ctx, CVY_E_ARG, "label smoothing is %g, expected 0 to below 1",
                         d->label_smoothing);
    if (losses[d->kind].onehot && (d->label_smoothing > 0 || d->soft_targets))
        return cvyi_fail(ctx, CVY_E_ARG, "the loss %s has no %s", name,
                         d->soft_targets ? "soft targets" : "label smoothing");
    if (!losses[d->kind].margin && d->margin != 0)
        return cvyi_fail(ctx, CVY_E_ARG, "the loss %s has no margin", name);
    if (!(d->margin >= 0 && isfinite(d->margin)))
        return cvyi_fail(ctx, CVY_E_ARG, "margin is %g, expected more than 0 and finite (0: 1)",
                         d->margin);
    if (d->temperature == 0) d->temperature = 1;
    if (!losses[d->kind].temperature && d->temperature != 1)
        return cvyi_fail(ctx, CVY_E_ARG, "the loss %s has no temperature", name);
    if (!(d->temperature >= (double)FLT_MIN && d->temperature <= (double)FLT_MAX))
        return cvyi_fail(ctx, CVY_E_ARG,
                         "temperature is %g, expected a positive finite number (0: 1)",
                         d->temperature);
    if (d->soft_targets && (d->class_weights || d->ignore))
        return cvyi_fail(ctx, CVY_E_ARG, "soft targets have no %s",
                         d->class_weights ? "class weights" : "ignore_index");
    if (losses[d->kind].margin && d->margin == 0) d->margin = 1;
    return CVY_OK;
}

double cvyi_loss_weight(const cvy_loss_desc *desc, long label)
{
    if (desc->ignore && label == desc->ignore_index) return 0;
    return desc->class_weights ? desc->class_weights[label] : 1;
}

void cvyi_loss_forward(struct cvyi_list *list, const cvy_loss_desc *desc, int x, bool want_dx,
                       int *stats, int *dx)
{
    *stats = cvyi_list_double(
        list, cvyi_list_value(list, CVY_ROLE_STATS, (cvy_shape){ 2, 1, 1, 1 }, "loss"));
    *dx = want_dx ? cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, x), "loss.dx")
                  : -1;
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_LOSS, "loss");
    op->u.loss = *desc;
    op->in[CVY_LOSS_X] = x;
    op->out[CVY_LOSS_STATS] = *stats;
    op->out[CVY_LOSS_DX] = *dx;
}
