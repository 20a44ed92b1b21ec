/* Activations: which kernel, which saved value, and the family's entry. They run in forward.c and backward.c, where an
 * activation may be part of a chain. */
#include "backends/native/rows.h"

/* ReLU with a gradient at zero asks the input where zero was; everything else is told by the output. */
struct native_act_bwd cvyi_act_bwd_of(const struct cvy_op_desc *op)
{
    const cvy_act_desc *d = &op->u.act;
    if (d->kind == CVY_RELU && d->relu_grad_at_zero != 0)
        return (struct native_act_bwd){ CVYI_RELU_X, native_in(op, 1), (float)d->relu_grad_at_zero };
    return (struct native_act_bwd){ (int)d->kind, native_in(op, 2), (float)d->alpha };
}

static int take(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    (void)native, (void)plan;
    return ops[0].kind == CVY_OP_ACT ? cvyi_forward_take(ops, n) : cvyi_backward_take(ops, n);
}

static enum cvy_status plan_act(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n,
                                size_t first)
{
    return ops[0].kind == CVY_OP_ACT ? cvyi_forward_plan(native, plan, ops, n, first)
                                     : cvyi_backward_plan(native, plan, ops, n, first);
}

const struct native_family cvyi_native_act = { take, plan_act };
