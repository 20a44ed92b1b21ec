/* Where values lie: as their backends want it, with reorders where a reader wants another layout
 * than the writer left; and the bytes of each. Knows layouts and ops' operands, not what any op
 * computes. */
#include "program/compile.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------------ what is known before */

static enum cvy_status grow_info(struct cvy_plan *plan)
{
    return cvyi_grow(plan->ctx, (void **)&plan->info, &plan->cap_info, plan->list.n_values,
                     sizeof *plan->info)
               ? CVY_OK
               : CVY_E_NOMEM;
}

static enum cvy_layout wanted(const struct cvy_plan *plan, const struct cvy_value *v, int backend)
{
    const struct cvy_backend *b = plan->backend[backend];
    if (v->role == CVY_ROLE_STATS) return v->layout;
    return cvyi_is_param(v->role) ? b->param_layout : b->layout;
}

void cvyi_layout_set(const struct cvy_plan *plan, struct cvy_value *v, int backend)
{
    v->layout = wanted(plan, v, backend);
    v->owner = v->layout == CVY_LAYOUT_OPAQUE ? plan->backend[backend] : NULL;
}

static bool lies_as_wanted(const struct cvy_plan *plan, const struct cvy_value *v, int backend)
{
    return v->layout == wanted(plan, v, backend) &&
           (v->layout != CVY_LAYOUT_OPAQUE || v->owner == plan->backend[backend]);
}

/* A map under a kernel of its own size (a fully connected layer) is read as one row of channels,
 * like a flattened one. */
static void mark_rows(struct cvy_plan *plan, const struct cvy_op_desc *op)
{
    int x;
    switch (op->kind) {
    case CVY_OP_CONV2D: x = op->in[CVY_CONV2D_X]; break;
    case CVY_OP_CONV2D_BWD_DATA: x = op->out[CVY_CONV2D_BWD_DATA_DX]; break;
    case CVY_OP_CONV2D_BWD_WEIGHTS: x = op->in[CVY_CONV2D_BWD_WEIGHTS_X]; break;
    default: return;
    }
    const struct cvy_shape *map = &plan->list.value[x].shape;
    if (op->u.conv.kernel[0] == map->h && op->u.conv.kernel[1] == map->w)
        plan->info[cvyi_program_root(plan, x)].dense = true;
}

enum cvy_status cvyi_layouts_describe(struct cvy_plan *plan)
{
    const struct cvyi_program_options *o = &plan->options;
    CVYI_TRY(grow_info(plan));
    for (size_t i = 0; i < plan->list.n_values; i++) {
        struct cvy_value *v = &plan->list.value[i];
        struct cvyi_value_info *info = &plan->info[i];
        info->fixed = v->external;
        if (v->alias >= 0) plan->info[cvyi_program_root(plan, (int)i)].dense = true;
        if (!v->external) cvyi_layout_set(plan, v, 0); /* until cvyi_layouts_settle() knows */
        if (v->external || !o->share || (v->role != CVY_ROLE_WEIGHT && v->role != CVY_ROLE_RUNNING))
            continue;
        int master = cvyi_program_find(o->share, v->role, v->name);
        const struct cvy_value *m = master < 0 ? NULL : cvy_plan_value(o->share, master);
        if (!m || memcmp(&m->shape, &v->shape, sizeof v->shape) != 0)
            return cvyi_fail(plan->ctx, CVY_E_ARG,
                             "the trainer has no parameter %s of this shape to share", v->name);
        info->layout = m->layout;
        info->fixed = info->shared = true;
    }
    for (size_t i = 0; i < o->n_keep; i++)
        plan->info[cvyi_program_root(plan, o->keep[i])].keep = true;
    for (size_t i = 0; i < plan->list.n_ops; i++) mark_rows(plan, &plan->list.op[i]);
    return CVY_OK;
}

void cvyi_layouts_last_reads(struct cvy_plan *plan)
{
    for (size_t i = 0; i < plan->list.n_values; i++) plan->info[i].last_read = -1;
    for (size_t i = 0; i < plan->list.n_ops; i++)
        for (int k = 0; k < plan->list.op[i].n_in; k++)
            if (plan->list.op[i].in[k] >= 0)
                plan->info[cvyi_program_root(plan, plan->list.op[i].in[k])].last_read = (long)i;
}

/* Planes are one vector longer where their distance would otherwise be a multiple of 4 KiB, but
 * those of dense values. */
enum cvy_status cvyi_layouts_measure(struct cvy_plan *plan)
{
    for (size_t i = 0; i < plan->list.n_values; i++) {
        struct cvy_value *v = &plan->list.value[i];
        size_t root = (size_t)cvyi_program_root(plan, (int)i), n = v->shape.n,
               element = sizeof(float);
        bool ok = cvyi_mul(v->shape.h, v->shape.w, &v->plane);
        if (v->layout == CVY_LAYOUT_LANES && !cvyi_is_param(v->role) && v->role != CVY_ROLE_STATS) {
            if (!plan->info[root].dense && v->plane % 64 == 0) v->plane++;
            n = n / 16 + (n % 16 != 0);
            element = 64;
        } else if (v->layout == CVY_LAYOUT_PLAIN64) {
            element = sizeof(double);
        }
        ok = ok && cvyi_mul(n, v->shape.c, &v->bytes) && cvyi_mul(v->bytes, v->plane, &v->bytes) &&
             cvyi_mul(v->bytes, element, &v->bytes);
        if (v->role == CVY_ROLE_INPUT) v->bytes = 0;
        else if (!ok || v->bytes > PTRDIFF_MAX)
            return cvyi_fail(plan->ctx, CVY_E_NOMEM,
                             "%s [%zu][%zu][%zu][%zu] does not fit into the address space", v->name,
                             v->shape.n, v->shape.c, v->shape.h, v->shape.w);
    }
    return CVY_OK;
}

/* ------------------------------------------------------------------------------------ settling */

/* The layouts of values as their writers leave them. Parameters: as whoever updates them in place
 * wants it, else as their first reader does. */
void cvyi_layouts_settle(struct cvy_plan *plan)
{
    struct cvy_value *value = plan->list.value;
    for (size_t i = 0; i < plan->list.n_values; i++)
        if (plan->info[i].fixed) {
            value[i].layout = plan->info[i].layout;
            value[i].owner = NULL;
        }
    for (size_t i = plan->list.n_ops; i-- > 0;) { /* from behind: the first reader wins */
        const struct cvy_op_desc *op = &plan->list.op[i];
        for (int k = 0; k < op->n_in; k++) {
            int id = op->in[k] < 0 ? -1 : cvyi_program_root(plan, op->in[k]);
            if (id >= 0 && !plan->info[id].fixed &&
                (cvyi_is_master(value[id].role) || value[id].role == CVY_ROLE_STATS))
                cvyi_layout_set(plan, &value[id], plan->assign[i]);
        }
    }
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < plan->list.n_ops; i++) {
            const struct cvy_op_desc *op = &plan->list.op[i];
            for (int k = 0; k < (pass ? op->n_out : op->n_in); k++) {
                int id = pass ? op->out[k] : op->in[k];
                if (id < 0 || (!pass && !cvyi_op_updates(op, k))) continue;
                id = cvyi_program_root(plan, id);
                if (!plan->info[id].fixed) cvyi_layout_set(plan, &value[id], plan->assign[i]);
            }
        }
    for (size_t i = 0; i < plan->list.n_values; i++) {
        const struct cvy_value *root = &value[cvyi_program_root(plan, (int)i)];
        value[i].layout = root->layout;
        value[i].owner = root->owner;
    }
}

/* ------------------------------------------------------------------------------------ reorders */

/* Copies of values in other layouts, while the list is rewritten. */
struct copies {
    struct copy {
        int from, to;
    } * copy;
    size_t n, cap;
};

static enum cvy_status append(struct cvy_plan *plan, const struct cvy_op_desc *op, int backend)
{
    struct cvy_op_desc *new = cvyi_list_op(&plan->list, op->kind, "%s", op->name);
    if (plan->list.status) return plan->list.status;
    const char *name = new->name;
    *new = *op;
    new->name = name;
    if (!cvyi_grow(plan->ctx, (void **)&plan->assign, &plan->cap_assign, plan->list.n_ops,
                   sizeof *plan->assign))
        return CVY_E_NOMEM;
    plan->assign[plan->list.n_ops - 1] = backend;
    return CVY_OK;
}

/* A new value like `id` in another layout; owner: OPAQUE only. */
static int clone(struct cvy_plan *plan, int id, enum cvy_role role, enum cvy_layout layout,
                 const struct cvy_backend *owner)
{
    cvy_shape shape = plan->list.value[id].shape;
    char name[256];
    snprintf(name, sizeof name, "%s", plan->list.value[id].name); /* the array may move */
    int copy = cvyi_list_value(&plan->list, role, shape, "%s", name);
    if (copy < 0 || grow_info(plan) != CVY_OK) return -1;
    plan->list.value[copy].layout = layout;
    plan->list.value[copy].owner = layout == CVY_LAYOUT_OPAQUE ? owner : NULL;
    plan->list.value[copy].alias = -1;
    plan->info[copy].dense = plan->info[cvyi_program_root(plan, id)].dense;
    return copy;
}

/* Between two layouts, one of which is PLAIN. */
static enum cvy_status append_reorder(struct cvy_plan *plan, int from, int to, int backend)
{
    char name[256];
    snprintf(name, sizeof name, "%s.reorder", plan->list.value[from].name);
    struct cvy_op_desc op = {
        .kind = CVY_OP_REORDER, .name = name, .n_in = CVY_REORDER_INS, .n_out = CVY_REORDER_OUTS
    };
    op.in[CVY_REORDER_X] = from;
    op.out[CVY_REORDER_Y] = to;
    return append(plan, &op, backend); /* cvyi_layouts_pick() gives it to who can do it */
}

static enum cvy_status remember(struct cvy_plan *plan, struct copies *copies, int from, int to)
{
    if (!cvyi_grow(plan->ctx, (void **)&copies->copy, &copies->cap, copies->n + 1,
                   sizeof *copies->copy))
        return CVY_E_NOMEM;
    copies->copy[copies->n++] = (struct copy){ from, to };
    return CVY_OK;
}

/* The id under which value id can be read as `layout`, which is `backend`'s or PLAIN; makes a copy
 * if there is none yet. Whoever works in a layout converts it to and from PLAIN, and nobody else
 * needs to know it: between two others there is a PLAIN copy. */
static enum cvy_status copy_as(struct cvy_plan *plan, struct copies *copies, int *id,
                               enum cvy_layout layout, int backend)
{
    const struct cvy_value *v = &plan->list.value[*id];
    const struct cvy_backend *owner = layout == CVY_LAYOUT_OPAQUE ? plan->backend[backend] : NULL;
    int from = *id;
    if (v->layout == layout && v->owner == owner) return CVY_OK;
    for (size_t i = 0; i < copies->n; i++) {
        const struct cvy_value *copy = &plan->list.value[copies->copy[i].to];
        if (copies->copy[i].from != from || copy->layout != layout || copy->owner != owner)
            continue;
        *id = copies->copy[i].to;
        return CVY_OK;
    }
    enum cvy_role role = cvyi_is_param(v->role) ? CVY_ROLE_PRIVATE : v->role;
    bool master = cvyi_is_master(v->role);
    if (v->layout != CVY_LAYOUT_PLAIN && layout != CVY_LAYOUT_PLAIN)
        CVYI_TRY(copy_as(plan, copies, &from, CVY_LAYOUT_PLAIN, backend));
    int to = clone(plan, from, role, layout, owner);
    if (to < 0) return CVY_E_NOMEM;
    plan->info[to].keep = master; /* packings are made from it */
    CVYI_TRY(remember(plan, copies, *id, to));
    CVYI_TRY(append_reorder(plan, from, to, backend));
    *id = to;
    return CVY_OK;
}

/* The id under which `backend` can read value id. */
static enum cvy_status readable(struct cvy_plan *plan, struct copies *copies, int *id, int backend)
{
    const struct cvy_value *v = &plan->list.value[*id];
    if (v->role == CVY_ROLE_INPUT || v->role == CVY_ROLE_PRIVATE)
        return CVY_OK; /* PRIVATE: a copy */
    return copy_as(plan, copies, id, wanted(plan, v, backend), backend);
}

/* What the ops of a piece write in a layout that is fixed and not their backend's: they compute
 * beside it, in `inner`, and their own readers read that. */
struct fetched {
    int id, inner;
};

static enum cvy_status compute_beside(struct cvy_plan *plan, struct copies *copies,
                                      struct cvy_op_desc *op, int backend, struct fetched *fetched,
                                      size_t *n)
{
    for (int k = 0; k < op->n_out; k++) {
        const struct cvy_value *v = op->out[k] < 0 ? NULL : &plan->list.value[op->out[k]];
        if (!v || lies_as_wanted(plan, v, backend)) continue;
        struct fetched f = { op->out[k], clone(plan, op->out[k],
                                               cvyi_is_param(v->role) ? CVY_ROLE_PRIVATE : v->role,
                                               wanted(plan, v, backend), plan->backend[backend]) };
        if (f.inner < 0) return CVY_E_NOMEM;
        CVYI_TRY(remember(plan, copies, f.id, f.inner));
        op->out[k] = f.inner;
        fetched[(*n)++] = f;
    }
    return CVY_OK;
}

static bool writes(const struct cvy_plan *plan, const struct cvy_op_desc *op, int n, int id)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < op[i].n_out; k++)
            if (op[i].out[k] >= 0 &&
                cvyi_program_root(plan, op[i].out[k]) == cvyi_program_root(plan, id))
                return true;
    return false;
}

/* A piece of n ops stays in one piece: what it reads of others is reordered before it, what it
 * leaves to them behind it. */
static enum cvy_status rewrite_piece(struct cvy_plan *plan, struct copies *copies,
                                     struct cvy_op_desc *op, int n, int backend)
{
    struct fetched fetched[CVYI_CHAIN * CVY_MAX_OUT];
    size_t n_fetched = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < op[i].n_in; k++)
            if (op[i].in[k] >= 0 && !writes(plan, op, i, op[i].in[k]))
                CVYI_TRY(readable(plan, copies, &op[i].in[k], backend));
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < op[i].n_in; k++)
            if (op[i].in[k] >= 0) CVYI_TRY(readable(plan, copies, &op[i].in[k], backend));
        CVYI_TRY(compute_beside(plan, copies, &op[i], backend, fetched, &n_fetched));
        CVYI_TRY(append(plan, &op[i], backend));
    }
    for (size_t i = 0; i < n_fetched; i++)
        CVYI_TRY(append_reorder(plan, fetched[i].inner, fetched[i].id, backend));
    return CVY_OK;
}

/* Masters are copied at the head of the program: backends pack what they need of the copies before
 * the rest begins. */
static enum cvy_status rewrite_ops(struct cvy_plan *plan, struct cvy_op_desc *op, const int *assign,
                                   size_t n, struct copies *copies, size_t *n_head)
{
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < op[i].n_in; k++)
            if (op[i].in[k] >= 0 && cvyi_is_master(plan->list.value[op[i].in[k]].role))
                CVYI_TRY(readable(plan, copies, &op[i].in[k], assign[i]));
    *n_head = plan->list.n_ops;
    plan->first_update = SIZE_MAX;
    for (size_t i = 0; i < n; i += (size_t)plan->piece[i]) {
        if (op[i].kind == CVY_OP_UPDATE && plan->first_update == SIZE_MAX)
            plan->first_update = plan->list.n_ops; /* reorders of its gradient included */
        CVYI_TRY(rewrite_piece(plan, copies, &op[i], plan->piece[i], assign[i]));
    }
    return CVY_OK;
}

/* The list again, with reorders between values and readers of different layouts. */
enum cvy_status cvyi_layouts_reorder(struct cvy_plan *plan, size_t *n_head)
{
    struct cvy_context *ctx = plan->ctx;
    struct cvy_op_desc *op = plan->list.op;
    int *assign = plan->assign;
    size_t n = plan->list.n_ops;
    struct copies copies = { NULL, 0, 0 };
    plan->list.op = NULL;
    plan->list.n_ops = plan->list.cap_ops = 0;
    plan->assign = NULL;
    plan->cap_assign = 0;
    enum cvy_status status = rewrite_ops(plan, op, assign, n, &copies, n_head);
    for (size_t i = 0; i < n; i++) cvyi_free(ctx, (void *)op[i].name);
    cvyi_free(ctx, op);
    cvyi_free(ctx, assign);
    cvyi_free(ctx, copies.copy);
    return status;
}

/* Leaves value id in a layout that outsiders can read, after a run: *fetched. */
static enum cvy_status append_fetch(struct cvy_plan *plan, int id, bool wide, int *fetched)
{
    enum cvy_layout layout = plan->list.value[id].layout;
    *fetched = id;
    if (layout != CVY_LAYOUT_PLAIN && !(wide && layout == CVY_LAYOUT_PLAIN64)) {
        *fetched = clone(plan, id, CVY_ROLE_ACTIVATION, CVY_LAYOUT_PLAIN, NULL);
        if (*fetched < 0) return CVY_E_NOMEM;
        CVYI_TRY(append_reorder(plan, id, *fetched, 0));
    }
    plan->info[cvyi_program_root(plan, *fetched)].keep = true;
    return CVY_OK;
}

/* The user's output, as plain float; or every activation and gradient of one, for those who compare
 * them. */
enum cvy_status cvyi_layouts_fetch(struct cvy_plan *plan, size_t n_values)
{
    plan->fetch = -1;
    if (plan->options.fetch)
        CVYI_TRY(append_fetch(plan, plan->options.output, plan->options.training, &plan->fetch));
    if (!plan->options.keep_tensors) return CVY_OK;
    plan->tensor = cvyi_alloc_array(plan->ctx, n_values, sizeof *plan->tensor);
    if (!plan->tensor) return CVY_E_NOMEM;
    for (size_t i = 0; i < n_values; i++) { /* what is inserted from here on is none of the net's */
        if (plan->list.value[i].role != CVY_ROLE_ACTIVATION || plan->list.value[i].alias >= 0)
            continue;
        struct cvyi_tensor *t = &plan->tensor[plan->n_tensors++];
        t->id = (int)i;
        CVYI_TRY(append_fetch(plan, t->id, true, &t->fetched));
    }
    return CVY_OK;
}
