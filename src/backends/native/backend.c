/* The native backend's vtable: lanes layout, a table from op kind to the family that plans it.
 * Knows no operator. */
#include "backends/native/native.h"

#define CHOICE_MEANING(name, meaning) meaning,
const char *const cvyi_native_choices[NATIVE_N_CHOICES] = { NATIVE_CHOICES(CHOICE_MEANING) };

static const struct native_family *const families[CVY_OP_KINDS] = {
    [CVY_OP_INGEST] = &cvyi_native_ingest,
    [CVY_OP_REORDER] = &cvyi_native_ingest,
    [CVY_OP_CONV2D] = &cvyi_native_conv,
    [CVY_OP_CONV2D_BWD_DATA] = &cvyi_native_conv,
    [CVY_OP_CONV2D_BWD_WEIGHTS] = &cvyi_native_conv,
    [CVY_OP_BN_STATS] = &cvyi_native_forward,
    [CVY_OP_BN_APPLY] = &cvyi_native_forward,
    [CVY_OP_BN_INFER] = &cvyi_native_forward,
    [CVY_OP_BN_BWD_REDUCE] = &cvyi_native_backward,
    [CVY_OP_BN_BWD_DATA] = &cvyi_native_backward,
    [CVY_OP_BN_INFER_BWD] = &cvyi_native_frozen,
    [CVY_OP_ACT] = &cvyi_native_forward,
    [CVY_OP_ACT_BWD] = &cvyi_native_backward,
    [CVY_OP_POOL] = &cvyi_native_forward,
    [CVY_OP_POOL_BWD] = &cvyi_native_backward,
    [CVY_OP_PRELU] = &cvyi_native_prelu,
    [CVY_OP_PRELU_BWD] = &cvyi_native_prelu,
    [CVY_OP_ADD] = &cvyi_native_join,
    [CVY_OP_CONCAT] = &cvyi_native_join,
    [CVY_OP_SLICE] = &cvyi_native_join,
    [CVY_OP_PAD] = &cvyi_native_join,
    [CVY_OP_DROPOUT] = &cvyi_native_dropout,
    [CVY_OP_DROPOUT_BWD] = &cvyi_native_dropout,
    [CVY_OP_SOFTMAX] = &cvyi_native_loss,
    [CVY_OP_LOSS] = &cvyi_native_loss,
    [CVY_OP_UPDATE] = &cvyi_native_update,
};

static enum cvy_status native_open(struct cvy_plan *plan, void **state)
{
    const struct cvyi_kernels *kernels = cvyi_kernels_for((int)cvy_plan_isa(plan));
    if (!kernels)
        return cvy_plan_fail(plan, CVY_E_UNSUPPORTED, "native: this build has no kernels for %s",
                             cvy_isa_name(cvy_plan_isa(plan)));
    struct native *native = cvy_plan_alloc(plan, sizeof *native);
    if (!native) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    native->kernels = kernels;
    native->capacity = cvy_plan_capacity(plan);
    native->blocks = (native->capacity + NATIVE_LANES - 1) / NATIVE_LANES;
    native->training = cvy_plan_training(plan);
    native_chose(plan, CHOICE_BLOCKS, native->blocks >= NATIVE_TASKS);
    *state = native;
    return CVY_OK;
}

/* The state came from cvy_plan_alloc and dies with the program. */
static void native_close(void *state) { (void)state; }

static int native_take(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    if (n < 1 || (unsigned)ops[0].kind >= CVY_OP_KINDS || !families[ops[0].kind]) return 0;
    return families[ops[0].kind]->take(state, plan, ops, n);
}

static enum cvy_status native_plan(void *state, struct cvy_plan *plan,
                                   const struct cvy_op_desc *ops, int n, size_t first)
{
    return families[ops[0].kind]->plan(state, plan, ops, n, first);
}

const struct cvy_backend cvyi_native_backend = {
    .abi = CVY_BACKEND_ABI,
    .name = "native",
    .layout = CVY_LAYOUT_LANES,
    .param_layout = CVY_LAYOUT_PLAIN,
    .open = native_open,
    .close = native_close,
    .take = native_take,
    .plan = native_plan,
};
