/* Which kinds of nodes and of ops a test has met, of the lists that the library has of them: so
 * that a kind that is appended there and forgotten here is an error. The test is linked with
 * --wrap, for these to take the places of the library's functions. */
#ifndef KINDS_MET_H
#define KINDS_MET_H

#include "ops/ops.h"
#include "program/program.h"

static bool node_kinds_met[CVYI_NODE_KINDS], op_kinds_met[CVY_OP_KINDS];

const struct cvyi_operator *__real_cvyi_operator(enum cvyi_node_kind kind);
const struct cvyi_operator *__wrap_cvyi_operator(enum cvyi_node_kind kind);
const struct cvyi_operator *__wrap_cvyi_operator(enum cvyi_node_kind kind)
{
    node_kinds_met[kind] = true;
    return __real_cvyi_operator(kind);
}

enum cvy_status __real_cvyi_program_run(struct cvy_plan *plan, struct cvy_run *run);
enum cvy_status __wrap_cvyi_program_run(struct cvy_plan *plan, struct cvy_run *run);
enum cvy_status __wrap_cvyi_program_run(struct cvy_plan *plan, struct cvy_run *run)
{
    for (size_t i = 0; i < plan->list.n_ops; i++) op_kinds_met[plan->list.op[i].kind] = true;
    return __real_cvyi_program_run(plan, run);
}

/* Prints those that are missing; returns how many. */
static inline size_t kinds_missing(void)
{
    size_t missing = 0;
    for (int kind = 0; kind < CVYI_NODE_KINDS; kind++) {
        if (node_kinds_met[kind]) continue;
        print_message("no case has a %s\n", __real_cvyi_operator((enum cvyi_node_kind)kind)->type);
        missing++;
    }
    for (int kind = 0; kind < CVY_OP_KINDS; kind++) {
        if (op_kinds_met[kind]) continue;
        print_message("no case runs the op %s\n", cvyi_op_kind((enum cvy_op_kind)kind)->name);
        missing++;
    }
    return missing;
}

#endif
