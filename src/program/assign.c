/* Who computes what: the chain of ops that starts at each place is offered to the backends in
 * order, and each says how many it takes; reorders go to who works in their layout. */
#include "program/compile.h"

#include <stdio.h>
#include <string.h>

static bool feeds(const struct cvy_plan *plan, const struct cvy_op_desc *a,
                  const struct cvy_op_desc *b)
{
    for (int o = 0; o < a->n_out; o++)
        for (int i = 0; i < b->n_in; i++)
            if (a->out[o] >= 0 && b->in[i] >= 0 &&
                cvyi_program_root(plan, a->out[o]) == cvyi_program_root(plan, b->in[i]))
                return true;
    return false;
}

int cvyi_assign_chain(const struct cvy_plan *plan, size_t first, const int *assign)
{
    const struct cvy_op_desc *op = plan->list.op;
    size_t n = 1;
    if (plan->ctx->options.no_fusion || op[first].kind == CVY_OP_REORDER) return 1;
    while (n < CVYI_CHAIN && first + n < plan->list.n_ops) {
        const struct cvy_op_desc *next = &op[first + n];
        if (next->fence || next->kind == CVY_OP_REORDER ||
            (assign && assign[first + n] != assign[first]) || !feeds(plan, next - 1, next))
            break;
        n++;
    }
    return (int)n;
}

const struct cvy_op_desc *cvy_plan_chain(const struct cvy_plan *plan, size_t i, int *n)
{
    *n = 0;
    if (i >= plan->list.n_ops) return NULL;
    if (plan->n_planned && plan->assign[i] == plan->current)
        *n = cvyi_assign_chain(plan, i, plan->assign);
    return &plan->list.op[i];
}

static enum cvy_status declined(struct cvy_plan *plan, const struct cvy_op_desc *op)
{
    char names[128] = "";
    size_t n = plan->ctx->options.strict ? 1 : plan->n_backends;
    for (size_t b = 0; b < n; b++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", b ? ", " : "",
                 plan->backend[b]->name);
    return cvyi_fail(plan->ctx, CVY_E_UNSUPPORTED, "%s (%s) is not supported by %s%s", op->name,
                     cvyi_op_kind(op->kind)->name, names,
                     plan->ctx->options.strict ? ", and strict is set" : "");
}

/* Backends are asked as if everything were laid out as they like it: differences will be
 * reordered. */
static enum cvy_status suppose(struct cvy_plan *plan, int backend)
{
    for (size_t i = 0; i < plan->list.n_values; i++)
        cvyi_layout_set(plan, &plan->list.value[i], backend);
    return cvyi_layouts_measure(plan);
}

enum cvy_status cvyi_assign_ask(struct cvy_plan *plan, int backend, size_t op, int n, int *taken)
{
    const struct cvy_backend *b = plan->backend[backend];
    plan->current = backend;
    *taken = b->take(plan->state[backend], plan, &plan->list.op[op], n);
    if (plan->denied) return plan->denied;
    if (*taken < 0 || *taken > n)
        return cvyi_fail(plan->ctx, CVY_E_BACKEND,
                         "backend %s takes %d ops from %s on and was offered %d", b->name, *taken,
                         plan->list.op[op].name, n);
    return CVY_OK;
}

enum cvy_status cvyi_assign_ops(struct cvy_plan *plan)
{
    if (!cvyi_grow(plan->ctx, (void **)&plan->assign, &plan->cap_assign, plan->list.n_ops,
                   sizeof *plan->assign) ||
        !cvyi_grow(plan->ctx, (void **)&plan->piece, &plan->cap_piece, plan->list.n_ops,
                   sizeof *plan->piece))
        return CVY_E_NOMEM;
    size_t asked = plan->ctx->options.strict ? 1 : plan->n_backends, supposed = SIZE_MAX;
    for (size_t i = 0; i < plan->list.n_ops;) {
        int n = cvyi_assign_chain(plan, i, NULL), taken = 0;
        size_t b = 0;
        for (; b < asked; b++) {
            if (b != supposed) CVYI_TRY(suppose(plan, (int)b));
            supposed = b;
            CVYI_TRY(cvyi_assign_ask(plan, (int)b, i, n, &taken));
            if (taken > 0) break;
        }
        if (taken <= 0) return declined(plan, &plan->list.op[i]);
        plan->piece[i] = taken;
        for (int k = 0; k < taken; k++) plan->assign[i++] = (int)b;
    }
    return CVY_OK;
}

/* A reorder is between PLAIN and another layout, and goes to a backend that works in that one: its
 * reader, else the first in the list. An OPAQUE layout is its owner's to convert, who may not
 * decline. */
static enum cvy_status pick_reorder(struct cvy_plan *plan, size_t i)
{
    const struct cvy_op_desc *op = &plan->list.op[i];
    const struct cvy_value *from = &plan->list.value[op->in[CVY_REORDER_X]],
                           *to = &plan->list.value[op->out[CVY_REORDER_Y]];
    const struct cvy_backend *owner = from->owner ? from->owner : to->owner;
    for (size_t k = 0; k <= plan->n_backends; k++) {
        int b = k ? (int)k - 1 : plan->assign[i], taken = 0;
        if (!cvyi_claims_knows(plan->backend[b], from) || !cvyi_claims_knows(plan->backend[b], to))
            continue;
        CVYI_TRY(cvyi_assign_ask(plan, b, i, 1, &taken));
        if (taken) {
            plan->assign[i] = b;
            return CVY_OK;
        }
    }
    if (owner)
        return cvyi_fail(plan->ctx, CVY_E_BACKEND,
                         "backend %s does not take %s, between its own layout and plain",
                         owner->name, op->name);
    return cvyi_fail(plan->ctx, CVY_E_UNSUPPORTED, "no backend converts %s between its layouts",
                     op->name);
}

enum cvy_status cvyi_assign_reorders(struct cvy_plan *plan)
{
    for (size_t i = 0; i < plan->list.n_ops; i++)
        if (plan->list.op[i].kind == CVY_OP_REORDER) CVYI_TRY(pick_reorder(plan, i));
    return CVY_OK;
}
