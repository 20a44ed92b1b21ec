/* The reference backend's side of the contract: every op is one piece of one phase, alone on the
 * calling thread. Knows which function computes which op kind and nothing about what they
 * compute. */
#include "reference.h"

#include <stdlib.h>

/* The function of each kind; dropout's gradient is dropout itself, applied to dy. */
static cvyi_ref_fn *const functions[CVY_OP_KINDS] = {
    [CVY_OP_INGEST] = cvyi_ref_ingest,
    [CVY_OP_REORDER] = cvyi_ref_reorder,
    [CVY_OP_CONV2D] = cvyi_ref_conv2d,
    [CVY_OP_CONV2D_BWD_DATA] = cvyi_ref_conv2d_bwd_data,
    [CVY_OP_CONV2D_BWD_WEIGHTS] = cvyi_ref_conv2d_bwd_weights,
    [CVY_OP_BN_STATS] = cvyi_ref_bn_stats,
    [CVY_OP_BN_APPLY] = cvyi_ref_bn_apply,
    [CVY_OP_BN_INFER] = cvyi_ref_bn_infer,
    [CVY_OP_BN_BWD_REDUCE] = cvyi_ref_bn_bwd_reduce,
    [CVY_OP_BN_BWD_DATA] = cvyi_ref_bn_bwd_data,
    [CVY_OP_BN_INFER_BWD] = cvyi_ref_bn_infer_bwd,
    [CVY_OP_ACT] = cvyi_ref_act,
    [CVY_OP_ACT_BWD] = cvyi_ref_act_bwd,
    [CVY_OP_PRELU] = cvyi_ref_prelu,
    [CVY_OP_PRELU_BWD] = cvyi_ref_prelu_bwd,
    [CVY_OP_POOL] = cvyi_ref_pool,
    [CVY_OP_POOL_BWD] = cvyi_ref_pool_bwd,
    [CVY_OP_ADD] = cvyi_ref_add,
    [CVY_OP_CONCAT] = cvyi_ref_concat,
    [CVY_OP_SLICE] = cvyi_ref_slice,
    [CVY_OP_DROPOUT] = cvyi_ref_dropout,
    [CVY_OP_DROPOUT_BWD] = cvyi_ref_dropout,
    [CVY_OP_SOFTMAX] = cvyi_ref_softmax,
    [CVY_OP_LOSS] = cvyi_ref_loss,
    [CVY_OP_UPDATE] = cvyi_ref_update,
    [CVY_OP_PAD] = cvyi_ref_pad,
};

static enum cvy_status ref_open(struct cvy_plan *plan, void **state)
{
    (void)plan;
    *state = NULL;
    return CVY_OK;
}

static void ref_close(void *state) { (void)state; }

static int ref_take(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    (void)state;
    if (n < 1 || (unsigned)ops[0].kind >= CVY_OP_KINDS || !functions[ops[0].kind]) return 0;
    if (ops[0].kind != CVY_OP_REORDER) return 1;
    return cvy_plan_value(plan, ops[0].in[0])->layout != CVY_LAYOUT_OPAQUE &&
           cvy_plan_value(plan, ops[0].out[0])->layout != CVY_LAYOUT_OPAQUE;
}

static void run_phase(const void *arg, const struct cvy_run *run, size_t task,
                      struct cvy_worker *worker)
{
    (void)task, (void)worker;
    const struct cvyi_ref *r = arg;
    functions[r->op.kind](r, run);
}

static struct cvyi_ref_value describe(const struct cvy_plan *plan, int id)
{
    if (id < 0) return (struct cvyi_ref_value){ .id = -1 };
    const struct cvy_value *v = cvy_plan_value(plan, id);
    return (struct cvyi_ref_value){ id, v->role, v->layout, v->shape, v->plane };
}

static void access_value(struct cvy_phase_desc *phase, const struct cvyi_ref_value *v,
                         enum cvy_access access)
{
    if (v->id < 0 || v->role == CVY_ROLE_INPUT) return; /* the caller's batch has no buffer */
    phase->access[phase->n_access].value = v->id;
    phase->access[phase->n_access++].access = access;
}

/* Which inputs are updated in place. */
static bool in_place(const struct cvyi_ref *r, int k)
{
    return (r->op.kind == CVY_OP_BN_STATS && k >= 1) || (r->op.kind == CVY_OP_UPDATE && k != 1);
}

static double conv_flops(const struct cvyi_ref *r)
{
    /* Every pass multiplies each weight once with each output pixel of its channel. */
    const struct cvyi_ref_value *w = &r->in[1], *y = &r->out[0];
    if (r->op.kind == CVY_OP_CONV2D_BWD_DATA) y = &r->in[0];
    else if (r->op.kind == CVY_OP_CONV2D_BWD_WEIGHTS) w = &r->out[0], y = &r->in[1];
    else if (r->op.kind != CVY_OP_CONV2D) return 0;
    return 2.0 * (double)(w->shape.n * cvyi_ref_image(w->shape)) *
           (double)(y->shape.n * y->shape.h * y->shape.w);
}

static enum cvy_status ref_plan(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops,
                                int n, size_t first)
{
    (void)state, (void)n, (void)first;
    const struct cvy_op_desc *op = &ops[0];
    struct cvyi_ref *r = cvy_plan_alloc(plan, sizeof *r + (size_t)op->n_in * sizeof r->in[0]);
    if (!r) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    r->op = *op;
    for (int k = 0; k < op->n_in; k++) r->in[k] = describe(plan, op->in[k]);
    for (int k = 0; k < op->n_out; k++) r->out[k] = describe(plan, op->out[k]);

    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_phase,
                                    .arg = r,
                                    .parts = 1,
                                    .alone = true,
                                    .flops = conv_flops(r) };
    for (int k = 0; k < op->n_in; k++) {
        access_value(&phase, &r->in[k], CVY_READ_ALL);
        if (in_place(r, k)) access_value(&phase, &r->in[k], CVY_WRITE_ALL);
    }
    for (int k = 0; k < op->n_out; k++) access_value(&phase, &r->out[k], CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

const struct cvy_backend cvyi_reference_backend = {
    .abi = CVY_BACKEND_ABI,
    .name = "reference",
    .layout = CVY_LAYOUT_PLAIN64,
    .param_layout = CVY_LAYOUT_PLAIN64,
    .open = ref_open,
    .close = ref_close,
    .take = ref_take,
    .plan = ref_plan,
};
