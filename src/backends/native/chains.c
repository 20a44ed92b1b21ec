/* The patterns of row-wise fusion: which ops in a row are one chain, forward and backward. How a
 * chain runs is in forward.c and backward.c; argmax.c looks ahead with the same pattern that
 * backward.c will find. */
#include <string.h>

#include "backends/native/rows.h"

/* -------------------------------------------------------------------------------------- forward */

/* Ops follow each other in a chain if their places here ascend. */
static int forward_place(enum cvy_op_kind kind)
{
    switch (kind) {
    case CVY_OP_BN_STATS: return 1;
    case CVY_OP_BN_APPLY:
    case CVY_OP_BN_INFER: return 2;
    case CVY_OP_ADD: return 3;
    case CVY_OP_ACT: return 4;
    case CVY_OP_POOL: return 5;
    default: return 0;
    }
}

struct native_forward cvyi_forward_parse(const struct cvy_op_desc *ops, int n)
{
    struct native_forward f = { .added_first = true };
    for (; f.n < n; f.n++) {
        const struct cvy_op_desc *op = &ops[f.n], *last = f.n ? op - 1 : NULL;
        if (last) {
            int fed = last->out[CHAIN_Y];
            if (op->fence || fed < 0 || forward_place(op->kind) <= forward_place(last->kind)) break;
            if (last->kind == CVY_OP_BN_STATS) {
                if (op->kind != CVY_OP_BN_APPLY ||
                    op->in[CVY_BN_APPLY_X] != last->in[CVY_BN_STATS_X] ||
                    op->in[CVY_BN_APPLY_STATS] != fed)
                    break;
            } else if (op->kind == CVY_OP_ADD) {
                if ((op->in[CVY_ADD_A] == fed) == (op->in[CVY_ADD_B] == fed)) break;
                f.added_first = op->in[CVY_ADD_A] == fed;
            } else if (op->in[CHAIN_X] != fed) {
                break;
            }
        }
        switch (forward_place(op->kind)) {
        case 1: f.stats = op; break;
        case 2: f.norm = op; break;
        case 3: f.add = op; break;
        case 4: f.act = op; break;
        case 5: f.pool = op; break;
        default: return f;
        }
    }
    return f;
}

/* ------------------------------------------------------------------------------------- backward */

static int backward_place(enum cvy_op_kind kind)
{
    switch (kind) {
    case CVY_OP_POOL_BWD: return 1;
    case CVY_OP_ADD: return 2;
    case CVY_OP_ACT_BWD: return 3;
    case CVY_OP_BN_BWD_REDUCE: return 4;
    case CVY_OP_BN_BWD_DATA: return 5;
    default: return 0;
    }
}

/* A batch norm's gradient is joined by what else comes back to its input. */
static bool joins(const struct cvy_op_desc *last, const struct cvy_op_desc *op)
{
    return last->kind == CVY_OP_BN_BWD_DATA && op->kind == CVY_OP_ADD;
}

static bool follows(const struct cvy_op_desc *last, const struct cvy_op_desc *op)
{
    int fed = last->out[CHAIN_Y];
    if (joins(last, op) && !op->fence)
        return (op->in[CVY_ADD_A] == fed) != (op->in[CVY_ADD_B] == fed);
    if (op->fence || fed < 0 || backward_place(op->kind) <= backward_place(last->kind))
        return false;
    switch (op->kind) {
    case CVY_OP_ADD: return (op->in[CVY_ADD_A] == fed) != (op->in[CVY_ADD_B] == fed);
    case CVY_OP_ACT_BWD: return op->in[CVY_ACT_BWD_DY] == fed;
    case CVY_OP_BN_BWD_REDUCE:
        return op->in[CVY_BN_BWD_REDUCE_DY] == fed && op->in[CVY_BN_BWD_REDUCE_X] != fed;
    case CVY_OP_BN_BWD_DATA:
        return last->kind == CVY_OP_BN_BWD_REDUCE &&
               op->in[CVY_BN_BWD_DATA_X] == last->in[CVY_BN_BWD_REDUCE_X] &&
               op->in[CVY_BN_BWD_DATA_DY] == last->in[CVY_BN_BWD_REDUCE_DY] &&
               op->in[CVY_BN_BWD_DATA_STATS] == last->in[CVY_BN_BWD_REDUCE_STATS] &&
               op->in[CVY_BN_BWD_DATA_SUMS] == fed;
    default: return false;
    }
}

struct native_backward cvyi_backward_parse(const struct cvy_op_desc *ops, int n)
{
    struct native_backward b = { .added_first = true };
    for (; b.n < n; b.n++) {
        const struct cvy_op_desc *op = &ops[b.n];
        if (b.n && (b.join || !follows(op - 1, op))) break;
        if (b.n && joins(op - 1, op)) {
            b.join = op;
            b.joined_first = op->in[CVY_ADD_A] == op[-1].out[CHAIN_Y];
            continue;
        }
        switch (backward_place(op->kind)) {
        case 1: b.pool = op; break;
        case 2:
            b.add = op;
            if (b.n) b.added_first = op->in[CVY_ADD_A] == op[-1].out[CHAIN_Y];
            break;
        case 3: b.act = op; break;
        case 4: b.reduce = op; break;
        case 5: b.data = op; break;
        default: return b;
        }
    }
    return b;
}

/* ---------------------------------------------------------------------------------------- names */

const char *cvyi_rows_name(struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    size_t bytes = 1;
    for (int i = 0; i < n; i++) bytes += strlen(ops[i].name) + 3;
    char *name = cvy_plan_alloc(plan, bytes), *end = name;
    if (!name) return NULL;
    for (int i = 0; i < n; i++) {
        if (i) end = stpcpy(end, " + ");
        end = stpcpy(end, ops[i].name);
    }
    return name;
}
