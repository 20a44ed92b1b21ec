/* Who computes what: the chain of ops that starts at each place is offered to the backends in
 * order, and each says how many it takes. */
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
