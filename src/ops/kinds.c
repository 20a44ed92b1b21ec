/* What is known of each kind of program op: the list of convoy/backend.h as a table, and FLOPs. */
#include "ops/operators.h"

#define OPERAND(KIND, OPERAND, use) { #OPERAND, (use) },
#define RECORD(KIND, key, kind_name, inputs, outputs)                             \
    [CVY_OP_##KIND] = { .name = (kind_name),                                      \
                        .n_in = CVY_##KIND##_INS,                                 \
                        .n_out = CVY_##KIND##_OUTS,                               \
                        .in = (const struct cvyi_operand[]){ inputs{ NULL, 0 } }, \
                        .out = (const struct cvyi_operand[]){ outputs{ NULL, 0 } } },
static const struct cvyi_op_kind kinds[CVY_OP_KINDS] = { CVY_OPS(RECORD, OPERAND, OPERAND) };

/* More operands than an op has places for would be lost. */
#define FITS(KIND, ...)                                                                          \
    _Static_assert((int)CVY_##KIND##_INS <= CVY_MAX_IN && (int)CVY_##KIND##_OUTS <= CVY_MAX_OUT, \
                   "CVY_OPS: operands of " #KIND);
CVY_OPS(FITS, CVY_LIST_NONE, CVY_LIST_NONE)

const struct cvyi_op_kind *cvyi_op_kind(enum cvy_op_kind kind)
{
    static const struct cvyi_operand none = { NULL, 0 };
    static const struct cvyi_op_kind unknown = { "unknown", 0, 0, &none, &none };
    return (unsigned)kind < CVY_OP_KINDS ? &kinds[kind] : &unknown;
}

/* The last operand of a list may stand for many. */
static unsigned use_of(const struct cvyi_operand *list, int n, int k)
{
    int last = n - 1;
    if (k < 0 || last < 0 || (k > last && !(list[last].use & CVY_MANY))) return 0;
    return list[k < last ? k : last].use;
}

unsigned cvyi_op_in_use(const struct cvy_op_desc *op, int k)
{
    const struct cvyi_op_kind *kind = cvyi_op_kind(op->kind);
    return use_of(kind->in, kind->n_in, k);
}

bool cvyi_op_updates(const struct cvy_op_desc *op, int k)
{
    return (cvyi_op_in_use(op, k) & CVY_UPDATED) != 0;
}

bool cvyi_op_repeats(const struct cvy_op_desc *op)
{
    switch (op->kind) {
    case CVY_OP_INGEST:
    case CVY_OP_BN_APPLY:
    case CVY_OP_BN_INFER:
    case CVY_OP_GROUP_NORM:
    case CVY_OP_MEAN_SUBTRACT:
    case CVY_OP_BIAS:
    case CVY_OP_ACT:
    case CVY_OP_PRELU:
    case CVY_OP_POOL:
    case CVY_OP_UPSAMPLE:
    case CVY_OP_ADD:
    case CVY_OP_MUL:
    case CVY_OP_MIX:
    case CVY_OP_DROPOUT:
    case CVY_OP_CONCAT:
    case CVY_OP_SLICE:
    case CVY_OP_PAD: return true;
    default: return false;
    }
}

/* A pass of a convolution multiplies each weight with each output pixel of its channel. */
static double conv_flops(cvy_shape w, cvy_shape y)
{
    return 2.0 * (double)y.n * (double)y.c * (double)y.h * (double)y.w * (double)w.c * (double)w.h *
           (double)w.w;
}

double cvyi_op_flops(const struct cvyi_list *list, const struct cvy_op_desc *op)
{
    int w, y;
    switch (op->kind) {
    case CVY_OP_CONV2D:
        w = op->in[CVY_CONV2D_W];
        y = op->out[CVY_CONV2D_Y];
        break;
    case CVY_OP_CONV2D_BWD_DATA:
        w = op->in[CVY_CONV2D_BWD_DATA_W];
        y = op->in[CVY_CONV2D_BWD_DATA_DY];
        break;
    case CVY_OP_CONV2D_BWD_WEIGHTS:
        w = op->out[CVY_CONV2D_BWD_WEIGHTS_DW];
        y = op->in[CVY_CONV2D_BWD_WEIGHTS_DY];
        break;
    default: return 0; /* rows */
    }
    return conv_flops(cvyi_shape_of(list, w), cvyi_shape_of(list, y));
}
