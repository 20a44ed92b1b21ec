/* ADD, which runs as a chain: of activations (forward.c), or of gradients (backward.c). */
#include "backends/native/rows.h"

static bool adds_gradients(const struct cvy_op_desc *ops, int n)
{
    return n > 1 && (ops[1].kind == CVY_OP_ACT_BWD || ops[1].kind == CVY_OP_BN_BWD_REDUCE);
}

static const struct native_family *adder(const struct cvy_op_desc *ops, int n)
{
    return adds_gradients(ops, n) ? &cvyi_native_act_bwd : &cvyi_native_act;
}

static int take_add(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops,
                    int n)
{
    return adder(ops, n)->take(native, plan, ops, n);
}

static enum cvy_status plan_add(struct native *native, struct cvy_plan *plan,
                                const struct cvy_op_desc *ops, int n, size_t first)
{
    return adder(ops, n)->plan(native, plan, ops, n, first);
}

NATIVE_FAMILY(add, take_add, plan_add);
