/* The module's vtable: opens oneDNN with the context's instruction set and threads, and says which
 * ops it takes. What oneDNN lacks (dropout, flipped kernels, ties and ReLU'(0) by other rules than
 * its own) is left to the backends behind it. Everything runs alone on the calling thread: oneDNN
 * brings its own threads. */
#include <pthread.h>
#include <string.h>

#include "backends/onednn/onednn.h"

static const struct family {
    onednn_take *take;
    onednn_plan *plan;
} families[CVY_OP_KINDS] = {
    [CVY_OP_INGEST] = { NULL, onednn_move_plan },
    [CVY_OP_REORDER] = { onednn_move_take, onednn_move_plan },
    [CVY_OP_CONV2D] = { onednn_conv_take, onednn_conv_plan },
    [CVY_OP_CONV2D_BWD_DATA] = { onednn_conv_take, onednn_conv_plan },
    [CVY_OP_CONV2D_BWD_WEIGHTS] = { onednn_conv_take, onednn_conv_plan },
    [CVY_OP_BN_STATS] = { onednn_bn_take, onednn_bn_plan },
    [CVY_OP_BN_APPLY] = { onednn_bn_take, onednn_bn_plan },
    [CVY_OP_BN_INFER] = { onednn_bn_take, onednn_bn_plan },
    [CVY_OP_BN_BWD_REDUCE] = { onednn_bn_take, onednn_bn_plan },
    [CVY_OP_BN_BWD_DATA] = { onednn_bn_take, onednn_bn_plan },
    [CVY_OP_BN_INFER_BWD] = { onednn_bn_take, onednn_bn_plan },
    [CVY_OP_ACT] = { onednn_act_take, onednn_act_plan },
    [CVY_OP_ACT_BWD] = { onednn_act_take, onednn_act_plan },
    [CVY_OP_ADD] = { onednn_add_take, onednn_add_plan },
    [CVY_OP_POOL] = { onednn_pool_take, onednn_pool_plan },
    [CVY_OP_POOL_BWD] = { onednn_pool_take, onednn_pool_plan },
    [CVY_OP_CONCAT] = { NULL, onednn_move_plan },
    [CVY_OP_SLICE] = { NULL, onednn_move_plan },
    [CVY_OP_PAD] = { NULL, onednn_move_plan },
    [CVY_OP_SOFTMAX] = { onednn_loss_take, onednn_loss_plan },
    [CVY_OP_LOSS] = { onednn_loss_take, onednn_loss_plan },
    [CVY_OP_UPDATE] = { onednn_update_take, onednn_update_plan },
};

void *onednn_alloc(struct onednn *o, size_t bytes)
{
    void **block = bytes > SIZE_MAX - 64 ? NULL : calloc(1, bytes + 64);
    if (!block) return NULL;
    *block = o->blocks;
    o->blocks = block;
    return (char *)block + 64;
}

/* oneDNN takes its instruction set once a process, before anything else. */
static enum cvy_status cap_isa(struct cvy_plan *plan)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static enum cvy_isa capped = CVY_ISA_AUTO; /* not yet */
    enum cvy_isa isa = cvy_plan_isa(plan) == CVY_ISA_PAIR ? CVY_ISA_AVX2 : cvy_plan_isa(plan);
    enum cvy_status status = CVY_OK;
    pthread_mutex_lock(&lock);
    if (capped == CVY_ISA_AUTO) {
        dnnl_cpu_isa_t cap = (dnnl_cpu_isa_t)0;              /* all */
        if (isa == CVY_ISA_SCALAR) cap = dnnl_cpu_isa_sse41; /* its least */
        if (isa == CVY_ISA_AVX2) cap = dnnl_cpu_isa_avx2;
        if (dnnl_set_max_cpu_isa(cap) == dnnl_success) {
            capped = isa;
        } else { /* the host has used oneDNN itself: good enough if it is within the cap */
            unsigned in_use = (unsigned)dnnl_get_effective_cpu_isa();
            if (cap && (in_use & ~(unsigned)cap))
                status = cvy_plan_fail(plan, CVY_E_UNSUPPORTED,
                                       "onednn: this process has used oneDNN before with a larger"
                                       " instruction set than %s, and it takes it once a process",
                                       cvy_isa_name(isa));
            else capped = isa;
        }
    } else if (capped != isa) {
        status =
            cvy_plan_fail(plan, CVY_E_UNSUPPORTED,
                          "onednn: oneDNN takes its instruction set once a process, and it is %s"
                          " since the first context with it; %s needs a process of its own",
                          cvy_isa_name(capped), cvy_isa_name(isa));
    }
    pthread_mutex_unlock(&lock);
    return status;
}

static void onednn_close(void *state)
{
    struct onednn *o = state;
    onednn_free_prims(o);
    onednn_free_mds(o);
    free(o->marks);
    if (o->attr) dnnl_primitive_attr_destroy(o->attr);
    if (o->stream) dnnl_stream_destroy(o->stream);
    if (o->engine) dnnl_engine_destroy(o->engine);
    while (o->blocks) {
        void *next = *(void **)o->blocks;
        free(o->blocks);
        o->blocks = next;
    }
    free(o);
}

static enum cvy_status onednn_open(struct cvy_plan *plan, void **state)
{
    const dnnl_version_t *version = dnnl_version();
    if (version->major != DNNL_VERSION_MAJOR)
        return cvy_plan_fail(plan, CVY_E_BACKEND, "onednn: built for oneDNN %d, found %d.%d.%d",
                             DNNL_VERSION_MAJOR, version->major, version->minor, version->patch);
    ONEDNN_CVY(cap_isa(plan));
    struct onednn *o = calloc(1, sizeof *o);
    if (!o) return cvy_plan_fail(plan, CVY_E_NOMEM, "onednn: out of memory");
    o->capacity = cvy_plan_capacity(plan);
    o->threads = cvy_plan_threads(plan);
    o->training = cvy_plan_training(plan);
    o->watched = -1;
    dnnl_status_t status = dnnl_engine_create(&o->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = dnnl_stream_create(&o->stream, o->engine, dnnl_stream_default_flags);
    if (status == dnnl_success) status = dnnl_primitive_attr_create(&o->attr);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(o->attr, dnnl_scratchpad_mode_user);
    if (status != dnnl_success) {
        onednn_close(o);
        return onednn_failed(plan, "opening", status);
    }
    cvy_plan_log(plan, 1, "oneDNN %d.%d.%d, %zu threads", version->major, version->minor,
                 version->patch, o->threads);
    *state = o;
    return CVY_OK;
}

static int take(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    if (n < 1 || (unsigned)ops[0].kind >= CVY_OP_KINDS || !families[ops[0].kind].plan) return 0;
    /* ReLU's mask and a batch norm's gradients in one */
    if (ops[0].kind == CVY_OP_ACT_BWD && n > 1) {
        int taken = onednn_bn_take(state, plan, ops, n);
        if (taken) return taken;
    }
    return families[ops[0].kind].take ? families[ops[0].kind].take(state, plan, ops, n) : 1;
}

enum cvy_status onednn_plan_ops(struct onednn *o, struct cvy_plan *plan,
                                const struct cvy_op_desc *ops, int n, size_t first)
{
    while (n > 0) {
        int taken = take(o, plan, ops, n);
        if (taken <= 0)
            return cvy_plan_fail(plan, CVY_E_BACKEND,
                                 "onednn: %s was taken in a chain and is not alone", ops[0].name);
        onednn_plan *family = ops[0].kind == CVY_OP_ACT_BWD && taken > 1
                                  ? onednn_bn_plan
                                  : families[ops[0].kind].plan;
        ONEDNN_CVY(family(o, plan, ops, &taken, first));
        ops += taken;
        n -= taken;
        first += (size_t)taken;
    }
    return CVY_OK;
}

static enum cvy_status plan(void *state, struct cvy_plan *program, const struct cvy_op_desc *ops,
                            int n, size_t first)
{
    return onednn_plan_ops(state, program, ops, n, first);
}

const struct cvy_backend cvy_module = {
    .abi = CVY_BACKEND_ABI,
    .name = "onednn",
    .layout = CVY_LAYOUT_OPAQUE,
    .param_layout = CVY_LAYOUT_PLAIN,
    .open = onednn_open,
    .close = onednn_close,
    .take = take,
    .plan = plan,
};
