/* Values that are channels of another: what a concatenation puts side by side is written there at
 * once, and a slice is read where it lies, so neither copies anything. Only of a backend that can
 * work in such values, and where nobody else looks at them. Knows operands and who computes what,
 * not layouts' insides. */
#include "program/compile.h"

/* By root value: whether all ops that have it (or an alias) are one backend's; -1: not so. */
enum { NOBODY = -2, SEVERAL = -1 };

static void meet(int *who, int backend)
{
    if (*who == NOBODY) *who = backend;
    else if (*who != backend) *who = SEVERAL;
}

static void find_users(const struct cvy_plan *plan, int *who)
{
    for (size_t i = 0; i < plan->list.n_values; i++) who[i] = NOBODY;
    for (size_t i = 0; i < plan->list.n_ops; i++) {
        const struct cvy_op_desc *op = &plan->list.op[i];
        for (int k = 0; k < op->n_in; k++)
            if (op->in[k] >= 0) meet(&who[cvyi_program_root(plan, op->in[k])], plan->assign[i]);
        for (int k = 0; k < op->n_out; k++)
            if (op->out[k] >= 0) meet(&who[cvyi_program_root(plan, op->out[k])], plan->assign[i]);
    }
    /* a flattened one has other channels */
    for (size_t i = 0; i < plan->list.n_values; i++)
        if (plan->list.value[i].alias >= 0) who[cvyi_program_root(plan, (int)i)] = SEVERAL;
}

/* Maps of one pixel are cut by ranges of channels: those of a part are not those of the whole. */
static bool may_be(const struct cvy_plan *plan, const int *who, int id, int backend)
{
    const struct cvy_value *v = &plan->list.value[id];
    return v->role == CVY_ROLE_ACTIVATION && v->layout == CVY_LAYOUT_LANES && v->alias < 0 &&
           v->shape.h * v->shape.w > 1 && !v->external && !plan->info[id].dense &&
           !cvyi_program_persistent(plan, id) && who[id] == backend;
}

/* Value id becomes channels from c0 on of value `of`, if it is not yet those of another. */
static void make(struct cvy_plan *plan, const int *who, int id, int of, size_t c0)
{
    struct cvy_value *v = &plan->list.value[id], *whole = &plan->list.value[of];
    int backend = who[of];
    if (backend < 0 || !plan->backend[backend]->views || whole->plane != v->plane ||
        whole->layout != v->layout || !may_be(plan, who, id, backend))
        return;
    v->alias = of;
    v->view.c0 = c0;
    v->view.c = whole->shape.c;
}

/* Views of views: all of the value that has the buffer. */
static void settle(struct cvy_plan *plan)
{
    for (size_t i = 0; i < plan->list.n_values; i++) {
        struct cvy_value *v = &plan->list.value[i];
        while (v->view.c && plan->list.value[v->alias].alias >= 0) {
            const struct cvy_value *whole = &plan->list.value[v->alias];
            v->view.c0 += whole->view.c0;
            v->view.c = whole->view.c;
            v->alias = whole->alias;
        }
    }
}

enum cvy_status cvyi_views_find(struct cvy_plan *plan)
{
    int *who = cvyi_alloc_array(plan->ctx, plan->list.n_values, sizeof *who);
    if (!who) return CVY_E_NOMEM;
    find_users(plan, who);
    for (size_t i = 0; i < plan->list.n_ops; i++) {
        const struct cvy_op_desc *op = &plan->list.op[i];
        size_t c0 = 0;
        for (int k = 0; k < op->n_in && op->kind == CVY_OP_CONCAT; k++) {
            int whole = op->out[CVY_CONCAT_Y];
            if (may_be(plan, who, whole, plan->assign[i])) make(plan, who, op->in[k], whole, c0);
            c0 += plan->list.value[op->in[k]].shape.c;
        }
        if (op->kind == CVY_OP_SLICE && op->in[CVY_SLICE_X] >= 0)
            make(plan, who, op->out[CVY_SLICE_Y], op->in[CVY_SLICE_X], op->u.slice.c0);
    }
    settle(plan);
    cvyi_free(plan->ctx, who);
    return CVY_OK;
}
