/* SGD on plain weights, then their packings: oneDNN has no optimisers. */
#include "backends/onednn/onednn.h"

#define SGD_TASK ONEDNN_LOOK /* elements */

struct sgd {
    struct onednn *o;
    int w, dw, v;
    size_t n;
    unsigned group;
};

struct rates {
    float lr, momentum, decay, l1;
};

/* Inlined with constants for the last three: a rate of 0 takes no part, not even of what is
 * infinite. */
static inline __attribute__((always_inline)) void descend(struct rates r, float *restrict w,
                                                          const float *restrict dw,
                                                          float *restrict v, size_t n, bool decays,
                                                          bool momentum, bool nesterov)
{
    for (size_t i = 0; i < n; i++) {
        float g = decays ? dw[i] + r.decay * w[i] : dw[i];
        if (r.l1 != 0) g += r.l1 * (float)((w[i] > 0) - (w[i] < 0));
        float step = momentum ? r.momentum * v[i] + g : g;
        if (v) v[i] = step;
        w[i] -= r.lr * (nesterov ? g + r.momentum * step : step);
    }
}

static void run_sgd(const void *arg, const struct cvy_run *run, size_t task,
                    struct cvy_worker *worker)
{
    const struct sgd *a = arg;
    size_t at = task * SGD_TASK, n = a->n - at < SGD_TASK ? a->n - at : SGD_TASK;
    float *w = (float *)run->buf[a->w] + at, *v = a->v < 0 ? NULL : (float *)run->buf[a->v] + at;
    const float *dw = (const float *)run->buf[a->dw] + at;
    const double *coef = run->coef[a->group];
    const struct rates r = { (float)coef[CVY_SGD_LR], (float)coef[CVY_SGD_MOMENTUM],
                             (float)coef[CVY_SGD_DECAY], (float)coef[CVY_SGD_L1] };
    (void)worker;
    switch ((r.decay != 0) + 2 * (v && r.momentum != 0) +
            4 * (v && r.momentum != 0 && coef[CVY_SGD_NESTEROV] != 0)) {
    case 0: descend(r, w, dw, v, n, false, false, false); break;
    case 1: descend(r, w, dw, v, n, true, false, false); break;
    case 2: descend(r, w, dw, v, n, false, true, false); break;
    case 3: descend(r, w, dw, v, n, true, true, false); break;
    case 6: descend(r, w, dw, v, n, false, true, true); break;
    default: descend(r, w, dw, v, n, true, true, true); break;
    }
    onednn_look(a->o, a->w, task, w, n);
}

int onednn_update_take(const struct onednn *o, const struct cvy_plan *plan,
                       const struct cvy_op_desc *ops, int n)
{
    (void)o, (void)plan, (void)n;
    /* others, and norms of rows, which its tasks cut: the next backend, and a repacking */
    return ops[0].u.update.kind == CVY_SGD && ops[0].u.update.max_norm == 0;
}

enum cvy_status onednn_update_plan(struct onednn *o, struct cvy_plan *plan,
                                   const struct cvy_op_desc *ops, int *n, size_t first)
{
    const struct cvy_op_desc *op = &ops[0];
    const cvy_shape s = cvy_plan_value(plan, op->in[CVY_UPDATE_W])->shape;
    struct sgd *a = onednn_alloc(o, sizeof *a);
    (void)n, (void)first;
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    *a = (struct sgd){ o,
                       op->in[CVY_UPDATE_W],
                       op->in[CVY_UPDATE_DW],
                       cvy_op_input(op, CVY_UPDATE_S),
                       s.n * s.c * s.h * s.w,
                       op->u.update.group };
    struct cvy_phase_desc phase = {
        .name = op->name, .run = run_sgd, .arg = a, .parts = (a->n + SGD_TASK - 1) / SGD_TASK
    };
    onednn_access(&phase, a->dw, CVY_READ_ALL);
    for (int i = 0; i < 2; i++) {
        onednn_access(&phase, i ? a->v : a->w, CVY_READ_ALL);
        onednn_access(&phase, i ? a->v : a->w, CVY_WRITE_ALL);
    }
    ONEDNN_CVY(cvy_plan_phase(plan, &phase));
    return onednn_repack(o, plan, op->in[CVY_UPDATE_W]);
}
