/* The native backend's vtable: lanes layout, a table from op kind to the family that plans it.
 * Knows no operator. */
#include "backends/native/native.h"

#define CHOICE_MEANING(name, meaning) meaning,
const char *const cvyi_native_choices[NATIVE_N_CHOICES] = { NATIVE_CHOICES(CHOICE_MEANING) };

#define FAMILY(KIND, key, ...) [CVY_OP_##KIND] = &cvyi_native_##key,
static const struct native_family *const families[CVY_OP_KINDS] = { CVY_OPS(FAMILY, CVY_LIST_NONE,
                                                                            CVY_LIST_NONE) };

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
    if (n < 1 || (unsigned)ops[0].kind >= CVY_OP_KINDS) return 0;
    const struct native_family *family = families[ops[0].kind];
    return family->take ? family->take(state, plan, ops, n) : 1;
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
    .views = true,
};
