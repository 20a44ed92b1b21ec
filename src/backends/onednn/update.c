/* SGD on plain weights, then their packings: oneDNN has no optimisers. */
#include "backends/onednn/onednn.h"

#define SGD_TASK ((size_t)4096) /* elements */

struct sgd { int w, dw, v; size_t n; bool decay; };

static void run_sgd(const void *arg, const struct cvy_run *run, size_t task, struct cvy_worker *worker)
{
    const struct sgd *a = arg;
    size_t at = task * SGD_TASK, n = a->n - at < SGD_TASK ? a->n - at : SGD_TASK;
    float *restrict w = (float *)run->buf[a->w] + at;
    const float *restrict dw = (const float *)run->buf[a->dw] + at;
    float *restrict v = a->v < 0 ? NULL : (float *)run->buf[a->v] + at;
    float lr = (float)run->lr, momentum = (float)run->momentum, decay = a->decay ? (float)run->weight_decay : 0;
    (void)worker;
    if (!v) {
        for (size_t i = 0; i < n; i++) w[i] -= lr * (dw[i] + decay * w[i]);
        return;
    }
    float ahead = run->nesterov ? 1 : 0, along = run->nesterov ? momentum : 1;
    for (size_t i = 0; i < n; i++) {
        float g = dw[i] + decay * w[i];
        v[i] = momentum * v[i] + g;
        w[i] -= lr * (ahead * g + along * v[i]);
    }
}

enum cvy_status onednn_sgd_plan(struct onednn *o, struct cvy_plan *plan, const struct cvy_op_desc *ops, int *n, size_t first)
{
    const struct cvy_op_desc *op = &ops[0];
    const cvy_shape s = cvy_plan_value(plan, op->in[0])->shape;
    struct sgd *a = onednn_alloc(o, sizeof *a);
    (void)n, (void)first;
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    *a = (struct sgd){ op->in[0], op->in[1], onednn_in(op, 2), s.n * s.c * s.h * s.w, op->u.sgd.decay };
    struct cvy_phase_desc phase = { .name = op->name, .run = run_sgd, .arg = a, .parts = (a->n + SGD_TASK - 1) / SGD_TASK };
    onednn_access(&phase, a->dw, CVY_READ_ALL);
    for (int i = 0; i < 2; i++) {
        onednn_access(&phase, i ? a->v : a->w, CVY_READ_ALL);
        onednn_access(&phase, i ? a->v : a->w, CVY_WRITE_ALL);
    }
    ONEDNN_CVY(cvy_plan_phase(plan, &phase));
    return onednn_repack(o, plan, op->in[0]);
}
