/* Softmax, and softmax cross-entropy as log-softmax with the sums over labels around it: oneDNN has
 * no loss. Rows of classes are small, so one thread takes them. */
#include <math.h>
#include <string.h>

#include "backends/onednn/onednn.h"

static dnnl_status_t softmax_fwd(const struct onednn_prim *p, struct onednn_with with,
                                 const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    return onednn_softmax_fwd(pd, with, p->prop, p->u.act.alg, md[0], md[1]);
}

static dnnl_status_t softmax_bwd(const struct onednn_prim *p, struct onednn_with with,
                                 const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    return onednn_softmax_bwd(pd, with, p->u.act.alg, md[0], md[1], md[2]);
}

static struct onednn_prim *new_softmax(struct onednn *o, const char *name, dnnl_alg_kind_t alg,
                                       onednn_md md)
{
    struct onednn_prim *p = md ? onednn_prim(o, name, softmax_fwd) : NULL;
    if (!p) return NULL;
    p->u.act.alg = alg;
    p->prop = o->training ? dnnl_forward_training : dnnl_forward_inference;
    onednn_give(p, DNNL_ARG_SRC, md, true);
    onednn_give(p, DNNL_ARG_DST, md, true);
    return p;
}

static enum cvy_status plan_softmax(struct onednn *o, struct cvy_plan *plan,
                                    const struct cvy_op_desc *op)
{
    struct onednn_place x;
    ONEDNN_CVY(onednn_seen(o, plan, op->in[CVY_SOFTMAX_X], &x));
    struct onednn_prim *p = new_softmax(o, op->name, dnnl_softmax_accurate, x.md);
    if (!p) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    ONEDNN_CVY(onednn_create(p, plan));
    p->arg[0].id = x.id;
    p->arg[1].id = onednn_root(plan, op->out[CVY_SOFTMAX_Y]);
    onednn_be_careful(p, onednn_care_softmax);
    ONEDNN_CVY(onednn_lay_out(o, plan, op->out[CVY_SOFTMAX_Y], p->arg[1].md, -1));
    return onednn_append(p, plan, 0);
}

/* ----------------------------------------------------------------------------------------- loss */

struct loss {
    cvy_loss_desc d;
    struct onednn_prim *backward;
    size_t classes;
    /* q: -(label distribution) / n, the gradient of the loss by log p */
    int x, log_p, q, loss, dx;
};

static size_t first_maximum(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t k = 1; k < n; k++)
        if (x[k] > x[best]) best = k;
    return best;
}

static size_t label_of(const struct cvy_run *run, size_t i)
{
    size_t image = run->index ? run->index[i] : i;
    return run->labels8 ? run->labels8[image] : (size_t)run->labels32[image];
}

/* The loss of a row with NaN or infinities, of which oneDNN makes numbers. A class of probability 0
 * takes no part. */
static double special_loss(const struct loss *a, const float *x, size_t label)
{
    double sum = onednn_log_sum(x, a->classes, 1), s = a->d.label_smoothing,
           loss = (1 - s) * (sum - (double)x[label]);
    for (size_t k = 0; s > 0 && k < a->classes; k++)
        loss += s / (double)a->classes * (sum - (double)x[k]);
    return loss;
}

static void run_loss(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct loss *a = arg;
    const float *x = run->buf[a->x], *log_p = run->buf[a->log_p];
    float *q = a->q < 0 ? NULL : run->buf[a->q];
    double *out = run->buf[a->loss], s = a->d.label_smoothing, rest = s / (double)a->classes;
    (void)task, (void)worker;
    out[0] = out[1] = 0;
    for (size_t i = 0; i < run->n; i++, x += a->classes, log_p += a->classes) {
        size_t label = label_of(run, i);
        double loss = -(1 - s) * (double)log_p[label];
        for (size_t k = 0; s > 0 && k < a->classes; k++) loss -= rest * (double)log_p[k];
        if (onednn_has_special(x, a->classes)) loss = special_loss(a, x, label);
        out[0] += loss;
        out[1] += first_maximum(x, a->classes) == label && !isnan(loss);
        for (size_t k = 0; q && k < a->classes; k++)
            *q++ = (float)(-((k == label ? 1 - s : 0) + rest) / (double)run->n);
    }
}

static void run_gradient(const void *arg, const struct cvy_run *run, size_t task,
                         struct cvy_worker *worker)
{
    const struct loss *a = arg;
    const float *x = run->buf[a->x];
    double s = a->d.label_smoothing;
    bool special = false;
    (void)task, (void)worker;
    if (!onednn_execute(a->backward, run)) return;
    float *dx = run->buf[a->dx];
    for (size_t i = 0; i < run->n; i++, x += a->classes, dx += a->classes) {
        if (!onednn_has_special(x, a->classes)) continue;
        double sum = onednn_log_sum(x, a->classes, 1);
        size_t label = label_of(run, i);
        for (size_t k = 0; k < a->classes; k++)
            dx[k] = (float)((exp((double)x[k] - sum) - (k == label ? 1 - s : 0) -
                             s / (double)a->classes) /
                            (double)run->n);
        special = true;
    }
    onednn_mark(a->backward->o, a->backward->arg[0].id, special);
}

static enum cvy_status plan_loss(struct onednn *o, struct cvy_plan *plan,
                                 const struct cvy_op_desc *op)
{
    cvy_shape s = cvy_plan_value(plan, op->in[CVY_LOSS_X])->shape;
    onednn_md md = onednn_plain(o, s);
    int dx = op->out[CVY_LOSS_DX];
    struct onednn_prim *p = new_softmax(o, op->name, dnnl_softmax_log, md);
    struct loss *a = onednn_alloc(o, sizeof *a);
    if (!p || !a) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    *a = (struct loss){ .d = op->u.loss, .classes = s.c, .q = -1, .loss = op->out[CVY_LOSS_STATS] };
    p->prop = dnnl_forward_training;
    ONEDNN_CVY(onednn_create(p, plan));
    ONEDNN_CVY(onednn_read(o, plan, op->in[CVY_LOSS_X], md, &a->x));
    p->arg[0].id = a->x;
    ONEDNN_CVY(onednn_bind_private(p, plan, DNNL_ARG_DST, &a->log_p));
    ONEDNN_CVY(onednn_append(p, plan, 0));
    if (dx >= 0 && (a->q = cvy_plan_buffer(plan, op->name, onednn_md_bytes(md), false)) < 0)
        return CVY_E_NOMEM;
    struct cvy_phase_desc phase = {
        .name = op->name, .run = run_loss, .arg = a, .parts = 1, .alone = true
    };
    onednn_access(&phase, a->x, CVY_READ_ALL);
    onednn_access(&phase, a->log_p, CVY_READ_ALL);
    onednn_access(&phase, a->q, CVY_WRITE_ALL);
    onednn_access(&phase, a->loss, CVY_WRITE_ALL);
    ONEDNN_CVY(cvy_plan_phase(plan, &phase));
    if (dx < 0) return CVY_OK;

    struct onednn_prim *b = onednn_prim(o, op->name, softmax_bwd);
    if (!b) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    b->u.act.alg = dnnl_softmax_log;
    b->prop = dnnl_backward_data;
    b->hint = p;
    onednn_give(b, DNNL_ARG_DIFF_SRC, md, true);
    onednn_give(b, DNNL_ARG_DIFF_DST, md, true);
    onednn_give(b, DNNL_ARG_DST, md, true);
    ONEDNN_CVY(onednn_create(b, plan));
    b->arg[0].id = onednn_root(plan, dx);
    b->arg[1].id = a->q;
    b->arg[2].id = a->log_p;
    a->backward = b;
    a->dx = b->arg[0].id;
    ONEDNN_CVY(onednn_lay_out(o, plan, dx, md, -1));
    ONEDNN_CVY(onednn_phase(b, plan, 0, &phase));
    phase.run = run_gradient;
    phase.arg = a;
    onednn_access(&phase, a->x, CVY_READ_ALL);
    return cvy_plan_phase(plan, &phase);
}

/* Cross-entropy of an image's label. */
int onednn_loss_take(const struct onednn *o, const struct cvy_plan *plan,
                     const struct cvy_op_desc *ops, int n)
{
    const cvy_loss_desc *d = &ops[0].u.loss;
    (void)o, (void)plan, (void)n;
    if (ops[0].kind == CVY_OP_SOFTMAX) return ops[0].u.softmax.temperature == 1;
    return d->kind == CVY_CROSS_ENTROPY && d->temperature == 1 && !d->soft_targets &&
           !d->per_pixel && !d->class_weights && !d->ignore;
}

enum cvy_status onednn_loss_plan(struct onednn *o, struct cvy_plan *plan,
                                 const struct cvy_op_desc *ops, int *n, size_t first)
{
    (void)n, (void)first;
    return ops[0].kind == CVY_OP_SOFTMAX ? plan_softmax(o, plan, &ops[0])
                                         : plan_loss(o, plan, &ops[0]);
}
