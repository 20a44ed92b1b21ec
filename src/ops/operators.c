/* The table of operators, the names of program ops, their FLOPs, and the checks that operators
 * share. */
#include "ops/operators.h"

const struct cvyi_operator *cvyi_operator(enum cvyi_node_kind kind)
{
    static const struct cvyi_operator *const table[CVYI_NODE_KINDS] = {
        [CVYI_NODE_INPUT] = &cvyi_operator_input,
        [CVYI_NODE_CONV2D] = &cvyi_operator_conv2d,
        [CVYI_NODE_BATCH_NORM] = &cvyi_operator_batch_norm,
        [CVYI_NODE_ACT] = &cvyi_operator_act,
        [CVYI_NODE_POOL] = &cvyi_operator_pool2d,
        [CVYI_NODE_ADD] = &cvyi_operator_add,
        [CVYI_NODE_CONCAT] = &cvyi_operator_concat,
        [CVYI_NODE_DROPOUT] = &cvyi_operator_dropout,
        [CVYI_NODE_FLATTEN] = &cvyi_operator_flatten,
        [CVYI_NODE_SOFTMAX] = &cvyi_operator_softmax,
        [CVYI_NODE_PAD_CHANNELS] = &cvyi_operator_pad_channels,
        [CVYI_NODE_PRELU] = &cvyi_operator_prelu,
    };
    return table[kind];
}

const char *cvyi_op_kind_name(enum cvy_op_kind kind)
{
    static const char *const name[CVY_OP_KINDS] = {
        [CVY_OP_INGEST] = "ingest",
        [CVY_OP_REORDER] = "reorder",
        [CVY_OP_CONV2D] = "conv2d",
        [CVY_OP_CONV2D_BWD_DATA] = "conv2d.dx",
        [CVY_OP_CONV2D_BWD_WEIGHTS] = "conv2d.dw",
        [CVY_OP_BN_STATS] = "batch_norm.stats",
        [CVY_OP_BN_APPLY] = "batch_norm",
        [CVY_OP_BN_INFER] = "batch_norm.infer",
        [CVY_OP_BN_BWD_REDUCE] = "batch_norm.sums",
        [CVY_OP_BN_BWD_DATA] = "batch_norm.dx",
        [CVY_OP_BN_INFER_BWD] = "batch_norm.infer.dx",
        [CVY_OP_ACT] = "activation",
        [CVY_OP_ACT_BWD] = "activation.dx",
        [CVY_OP_POOL] = "pool2d",
        [CVY_OP_POOL_BWD] = "pool2d.dx",
        [CVY_OP_ADD] = "add",
        [CVY_OP_CONCAT] = "concat",
        [CVY_OP_SLICE] = "slice",
        [CVY_OP_DROPOUT] = "dropout",
        [CVY_OP_DROPOUT_BWD] = "dropout.dx",
        [CVY_OP_SOFTMAX] = "softmax",
        [CVY_OP_LOSS] = "loss",
        [CVY_OP_UPDATE] = "update",
        [CVY_OP_PAD] = "pad_channels",
        [CVY_OP_PRELU] = "prelu",
        [CVY_OP_PRELU_BWD] = "prelu.dx",
    };
    return (unsigned)kind < CVY_OP_KINDS ? name[kind] : "unknown";
}

double cvyi_op_flops(const struct cvyi_list *list, const struct cvy_op_desc *op)
{
    int y, w;
    switch (op->kind) {
    case CVY_OP_CONV2D: y = op->out[0], w = op->in[1]; break;
    case CVY_OP_CONV2D_BWD_DATA: y = op->in[0], w = op->in[1]; break;
    case CVY_OP_CONV2D_BWD_WEIGHTS: y = op->in[1], w = op->out[0]; break;
    default: return 0;
    }
    cvy_shape sy = cvyi_shape_of(list, y), sw = cvyi_shape_of(list, w);
    return 2.0 * (double)sy.n * (double)sy.c * (double)sy.h * (double)sy.w * (double)sw.c *
           (double)sw.h * (double)sw.w;
}

enum cvy_status cvyi_size_check(struct cvy_context *ctx, const char *type, const char *name,
                                const char *field, size_t v, size_t least)
{
    if (v >= least && v <= CVYI_MAX_DIM) return CVY_OK;
    return cvyi_fail(ctx, CVY_E_ARG, "%s '%s': %s is %lld, expected %zu to %zu", type, name, field,
                     (long long)v, least, CVYI_MAX_DIM);
}

enum cvy_status cvyi_shape_check(struct cvy_context *ctx, const char *type, const char *name,
                                 cvy_shape s)
{
    size_t n =
        16 * 4 * sizeof(double); /* a block of images in double, with room for padded planes */
    if (s.c >= 1 && s.h >= 1 && s.w >= 1 && s.c <= CVYI_MAX_DIM && s.h <= CVYI_MAX_DIM &&
        s.w <= CVYI_MAX_DIM && cvyi_mul(n, s.c, &n) && cvyi_mul(n, s.h, &n) && cvyi_mul(n, s.w, &n))
        return CVY_OK;
    return cvyi_fail(
        ctx, CVY_E_SHAPE,
        "%s '%s': shape %lld x %lld x %lld (channels, rows, columns) is empty or too large", type,
        name, (long long)s.c, (long long)s.h, (long long)s.w);
}
