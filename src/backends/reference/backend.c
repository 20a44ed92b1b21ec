/* The reference backend's side of the contract: every op is one piece of one phase, alone on the
 * calling thread: kind KEY is computed by cvyi_ref_KEY. Knows nothing of what they compute. */
#include "reference.h"

#include "ops/ops.h"

#define FUNCTION(KIND, key, ...) [CVY_OP_##KIND] = cvyi_ref_##key,
static cvyi_ref_fn *const functions[CVY_OP_KINDS] = { CVY_OPS(FUNCTION, CVY_LIST_NONE,
                                                              CVY_LIST_NONE) };

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
    if (n < 1 || (unsigned)ops[0].kind >= CVY_OP_KINDS) return 0;
    if (ops[0].kind != CVY_OP_REORDER) return 1;
    return cvy_plan_value(plan, ops[0].in[CVY_REORDER_X])->layout != CVY_LAYOUT_OPAQUE &&
           cvy_plan_value(plan, ops[0].out[CVY_REORDER_Y])->layout != CVY_LAYOUT_OPAQUE;
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

static enum cvy_status ref_plan(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops,
                                int n, size_t first)
{
    (void)state, (void)n, (void)first;
    const struct cvy_op_desc *op = &ops[0];
    struct cvyi_ref *r = cvy_plan_alloc(plan, sizeof *r + (size_t)op->n_in * sizeof *r->in);
    if (!r) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    r->op = *op;
    for (int k = 0; k < op->n_in; k++) r->in[k] = describe(plan, op->in[k]);
    for (int k = 0; k < op->n_out; k++) r->out[k] = describe(plan, op->out[k]);

    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_phase,
                                    .arg = r,
                                    .parts = 1,
                                    .alone = true,
                                    .flops = cvy_plan_flops(plan, op) };
    for (int k = 0; k < op->n_in; k++) {
        access_value(&phase, &r->in[k], CVY_READ_ALL);
        if (cvyi_op_updates(op, k)) access_value(&phase, &r->in[k], CVY_WRITE_ALL);
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
