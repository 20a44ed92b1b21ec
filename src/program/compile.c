/* The compiler: gives every op to a backend, settles layouts (inserting reorders), lets backends
 * plan their pieces into phases, and has stages cut and memory placed. Also the backends' side of a
 * program, cvy_plan_*. Knows op lists and vtables; must not know nets or what any op computes. */
#include "program/program.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CHAIN 6 /* longest chain that is offered */

/* --------------------------------------------------------------------------------------- values */

size_t cvyi_program_values(const struct cvy_plan *plan)
{
    return plan->list.n_values + plan->n_extra;
}

const struct cvy_value *cvy_plan_value(const struct cvy_plan *plan, int id)
{
    if (id < 0 || (size_t)id >= cvyi_program_values(plan)) return NULL;
    size_t i = (size_t)id;
    return i < plan->list.n_values ? &plan->list.value[i]
                                   : &plan->extra[i - plan->list.n_values]->value;
}

int cvyi_program_root(const struct cvy_plan *plan, int id)
{
    while ((size_t)id < plan->list.n_values && plan->list.value[id].alias >= 0)
        id = plan->list.value[id].alias;
    return id;
}

int cvyi_program_find(const struct cvy_plan *plan, enum cvy_role role, const char *name)
{
    for (size_t i = 0; i < plan->list.n_values; i++)
        if (plan->list.value[i].role == role && strcmp(plan->list.value[i].name, name) == 0)
            return (int)i;
    return -1;
}

static bool is_master(enum cvy_role role)
{
    return role == CVY_ROLE_WEIGHT || role == CVY_ROLE_RUNNING || role == CVY_ROLE_STATE;
}
static bool is_param(enum cvy_role role) { return is_master(role) || role == CVY_ROLE_WEIGHT_GRAD; }

bool cvyi_program_persistent(const struct cvy_plan *plan, int id)
{
    size_t i = (size_t)cvyi_program_root(plan, id);
    if (i >= plan->list.n_values) return plan->extra[i - plan->list.n_values]->persistent;
    return plan->info[i].keep || is_param(plan->list.value[i].role);
}

/* ----------------------------------------------------------------------------------- cvy_plan_* */

size_t cvy_plan_capacity(const struct cvy_plan *plan) { return plan->options.capacity; }
size_t cvy_plan_threads(const struct cvy_plan *plan) { return plan->ctx->options.threads; }
bool cvy_plan_training(const struct cvy_plan *plan) { return plan->options.training; }
enum cvy_isa cvy_plan_isa(const struct cvy_plan *plan) { return plan->ctx->options.isa; }
enum cvy_algorithm cvy_plan_algorithm(const struct cvy_plan *plan)
{
    return plan->ctx->options.algorithm;
}

bool cvy_plan_needed_after(const struct cvy_plan *plan, int id, size_t last)
{
    if (id < 0 || (size_t)id >= plan->list.n_values) return false;
    size_t root = (size_t)cvyi_program_root(plan, id);
    return plan->list.value[root].external || cvyi_program_persistent(plan, (int)root) ||
           plan->info[root].last_read > (long)last;
}

double cvy_plan_flops(const struct cvy_plan *plan, const struct cvy_op_desc *op)
{
    return cvyi_op_flops(&plan->list, op);
}

int cvy_plan_buffer(struct cvy_plan *plan, const char *name, size_t bytes, bool persistent)
{
    struct cvy_context *ctx = plan->ctx;
    if (cvyi_claims_buffer(plan, name, bytes) != CVY_OK) return -1;
    size_t length = strlen(name) + 1;
    if (!cvyi_grow(ctx, (void **)&plan->extra, &plan->cap_extra, plan->n_extra + 1,
                   sizeof *plan->extra))
        return -1;
    struct cvyi_private *p = cvyi_alloc(ctx, sizeof *p + length);
    if (!p) return -1;
    p->value = (struct cvy_value){ .name = memcpy(p + 1, name, length),
                                   .role = CVY_ROLE_PRIVATE,
                                   .layout = CVY_LAYOUT_OPAQUE,
                                   .bytes = bytes,
                                   .alias = -1,
                                   .owner = plan->backend[plan->current] };
    p->persistent = persistent;
    plan->extra[plan->n_extra++] = p;
    return (int)cvyi_program_values(plan) - 1;
}

enum cvy_status cvy_plan_lay_out(struct cvy_plan *plan, int id, size_t bytes, const void *opaque)
{
    CVYI_TRY(cvyi_claims_lay_out(plan, id, bytes));
    for (size_t i = 0; i < plan->list.n_values; i++) /* and its aliases */
        if (cvyi_program_root(plan, (int)i) == cvyi_program_root(plan, id)) {
            plan->list.value[i].bytes = bytes;
            plan->list.value[i].opaque = opaque;
        }
    return CVY_OK;
}

static enum cvy_status append_phase(struct cvy_plan *plan, const struct cvy_phase_desc *phase)
{
    struct cvy_context *ctx = plan->ctx;
    if (!cvyi_grow(ctx, (void **)&plan->phase, &plan->cap_phases, plan->n_phases + 1,
                   sizeof *plan->phase))
        return CVY_E_NOMEM;
    char *name = cvyi_strdup(ctx, phase->name ? phase->name : "");
    if (!name) return CVY_E_NOMEM;
    struct cvyi_phase *p = &plan->phase[plan->n_phases++];
    *p =
        (struct cvyi_phase){ .desc = *phase,
                             .backend = plan->current,
                             .tasks = phase->blocks ? phase->blocks * phase->parts : phase->parts };
    p->desc.name = name;
    return CVY_OK;
}

enum cvy_status cvy_plan_phase(struct cvy_plan *plan, const struct cvy_phase_desc *phase)
{
    CVYI_TRY(cvyi_claims_phase(plan, phase));
    return append_phase(plan, phase);
}

enum cvy_status cvy_plan_refresh(struct cvy_plan *plan, int id, cvy_refresh_fn fn, const void *arg)
{
    CVYI_TRY(cvyi_claims_refresh(plan, id, fn));
    if (!cvyi_grow(plan->ctx, (void **)&plan->refresh, &plan->cap_refresh, plan->n_refresh + 1,
                   sizeof *plan->refresh))
        return CVY_E_NOMEM;
    plan->refresh[plan->n_refresh++] = (struct cvyi_refresh){ id, plan->current, fn, arg, false };
    return CVY_OK;
}

void *cvy_plan_alloc(struct cvy_plan *plan, size_t bytes)
{
    /* the link keeps 64-byte alignment */
    void **block = bytes > SIZE_MAX - 64 ? NULL : cvyi_alloc(plan->ctx, bytes + 64);
    if (!block) return NULL;
    *block = plan->blocks;
    plan->blocks = block;
    return (char *)block + 64;
}

void cvy_plan_log(const struct cvy_plan *plan, int level, const char *format, ...)
{
    char line[512];
    va_list args;
    if (plan->ctx->options.verbose < level) return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    cvyi_log(plan->ctx, level, "%s", line);
}

enum cvy_status cvy_plan_fail(struct cvy_plan *plan, enum cvy_status status, const char *format,
                              ...)
{
    char text[sizeof plan->ctx->message];
    va_list args;
    if (plan->denied) return plan->denied; /* why it fails has been said */
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return cvyi_fail(plan->ctx, status, "%s", text);
}

/* What a backend answered with; a failure has a sentence, its own or this one. */
static enum cvy_status told(struct cvy_plan *plan, enum cvy_status status, const char *what)
{
    if (plan->denied) return plan->denied;
    if (status == CVY_OK || *plan->ctx->message) return status;
    return cvyi_fail(plan->ctx, CVY_E_BACKEND,
                     "backend %s fails at %s with status %d and does not say why",
                     plan->backend[plan->current]->name, what, (int)status);
}

/* ------------------------------------------------------------------------------------ preparing */

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
    return is_param(v->role) ? b->param_layout : b->layout;
}

/* As `backend` wants it. */
static void set_layout(const struct cvy_plan *plan, struct cvy_value *v, int backend)
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

/* What is known of values before backends are asked. */
static enum cvy_status describe_values(struct cvy_plan *plan)
{
    const struct cvyi_program_options *o = &plan->options;
    CVYI_TRY(grow_info(plan));
    for (size_t i = 0; i < plan->list.n_values; i++) {
        struct cvy_value *v = &plan->list.value[i];
        struct cvyi_value_info *info = &plan->info[i];
        info->fixed = v->external;
        if (v->alias >= 0) plan->info[cvyi_program_root(plan, (int)i)].dense = true;
        if (!v->external) set_layout(plan, v, 0); /* until settle() knows */
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

static void find_last_reads(struct cvy_plan *plan)
{
    for (size_t i = 0; i < plan->list.n_values; i++) plan->info[i].last_read = -1;
    for (size_t i = 0; i < plan->list.n_ops; i++)
        for (int k = 0; k < plan->list.op[i].n_in; k++)
            if (plan->list.op[i].in[k] >= 0)
                plan->info[cvyi_program_root(plan, plan->list.op[i].in[k])].last_read = (long)i;
}

/* ------------------------------------------------------------------------------------ assigning */

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

/* Length of the chain that starts at op `first`; with `assign`, only through ops of the same
 * backend. */
static int chain(const struct cvy_plan *plan, size_t first, const int *assign)
{
    const struct cvy_op_desc *op = plan->list.op;
    size_t n = 1;
    if (plan->ctx->options.no_fusion || op[first].kind == CVY_OP_REORDER) return 1;
    while (n < CHAIN && first + n < plan->list.n_ops) {
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
    if (plan->n_planned && plan->assign[i] == plan->current) *n = chain(plan, i, plan->assign);
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

/* Planes are one vector longer where their distance would otherwise be a multiple of 4 KiB, but
 * those of dense values. */
static enum cvy_status measure(struct cvy_plan *plan)
{
    for (size_t i = 0; i < plan->list.n_values; i++) {
        struct cvy_value *v = &plan->list.value[i];
        size_t root = (size_t)cvyi_program_root(plan, (int)i), n = v->shape.n,
               element = sizeof(float);
        bool ok = cvyi_mul(v->shape.h, v->shape.w, &v->plane);
        if (v->layout == CVY_LAYOUT_LANES && !is_param(v->role) && v->role != CVY_ROLE_STATS) {
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

/* Backends are asked as if everything were laid out as they like it: differences will be
 * reordered. */
static enum cvy_status suppose(struct cvy_plan *plan, int backend)
{
    for (size_t i = 0; i < plan->list.n_values; i++)
        set_layout(plan, &plan->list.value[i], backend);
    return measure(plan);
}

/* How many of the n ops from number `op` on `backend` takes: *taken. */
static enum cvy_status ask(struct cvy_plan *plan, int backend, size_t op, int n, int *taken)
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

static enum cvy_status assign_ops(struct cvy_plan *plan)
{
    if (!cvyi_grow(plan->ctx, (void **)&plan->assign, &plan->cap_assign, plan->list.n_ops,
                   sizeof *plan->assign) ||
        !cvyi_grow(plan->ctx, (void **)&plan->piece, &plan->cap_piece, plan->list.n_ops,
                   sizeof *plan->piece))
        return CVY_E_NOMEM;
    size_t asked = plan->ctx->options.strict ? 1 : plan->n_backends, supposed = SIZE_MAX;
    for (size_t i = 0; i < plan->list.n_ops;) {
        int n = chain(plan, i, NULL), taken = 0;
        size_t b = 0;
        for (; b < asked; b++) {
            if (b != supposed) CVYI_TRY(suppose(plan, (int)b));
            supposed = b;
            CVYI_TRY(ask(plan, (int)b, i, n, &taken));
            if (taken > 0) break;
        }
        if (taken <= 0) return declined(plan, &plan->list.op[i]);
        plan->piece[i] = taken;
        for (int k = 0; k < taken; k++) plan->assign[i++] = (int)b;
    }
    return CVY_OK;
}

/* -------------------------------------------------------------------------------------- layouts */

/* Copies of values in other layouts, while the list is rewritten. */
struct copies {
    struct copy {
        int from, to;
    } * copy;
    size_t n, cap;
};

/* The layouts of values as their writers leave them. Parameters: as whoever updates them in place
 * wants it, else as their first reader does. */
static void settle(struct cvy_plan *plan)
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
                (is_master(value[id].role) || value[id].role == CVY_ROLE_STATS))
                set_layout(plan, &value[id], plan->assign[i]);
        }
    }
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < plan->list.n_ops; i++) {
            const struct cvy_op_desc *op = &plan->list.op[i];
            for (int k = 0; k < (pass ? op->n_out : op->n_in); k++) {
                int id = pass ? op->out[k] : op->in[k];
                if (id < 0 || (!pass && !cvyi_op_updates(op, k))) continue;
                id = cvyi_program_root(plan, id);
                if (!plan->info[id].fixed) set_layout(plan, &value[id], plan->assign[i]);
            }
        }
    for (size_t i = 0; i < plan->list.n_values; i++) {
        const struct cvy_value *root = &value[cvyi_program_root(plan, (int)i)];
        value[i].layout = root->layout;
        value[i].owner = root->owner;
    }
}

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
    return append(plan, &op, backend); /* pick_reorders() gives it to who can do it */
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
    enum cvy_role role = is_param(v->role) ? CVY_ROLE_PRIVATE : v->role;
    bool master = is_master(v->role);
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
        struct fetched f = { op->out[k],
                             clone(plan, op->out[k], is_param(v->role) ? CVY_ROLE_PRIVATE : v->role,
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
    struct fetched fetched[CHAIN * CVY_MAX_OUT];
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
            if (op[i].in[k] >= 0 && is_master(plan->list.value[op[i].in[k]].role))
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
static enum cvy_status insert_reorders(struct cvy_plan *plan, size_t *n_head)
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
static enum cvy_status append_fetches(struct cvy_plan *plan, size_t n_values)
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
        CVYI_TRY(ask(plan, b, i, 1, &taken));
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

static enum cvy_status pick_reorders(struct cvy_plan *plan)
{
    for (size_t i = 0; i < plan->list.n_ops; i++)
        if (plan->list.op[i].kind == CVY_OP_REORDER) CVYI_TRY(pick_reorder(plan, i));
    return CVY_OK;
}

/* ------------------------------------------------------------------------------------- planning */

static void run_barrier(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    (void)task, (void)worker;
    const struct cvy_plan *plan = arg;
    for (size_t i = 0; i < plan->n_refresh; i++)
        if (plan->refresh[i].always) plan->refresh[i].fn(plan->refresh[i].arg, run);
}

static enum cvy_status plan_barrier(struct cvy_plan *plan, const char *name, cvy_phase_fn fn,
                                    const void *arg)
{
    plan->current = 0;
    CVYI_TRY(
        append_phase(plan, &(struct cvy_phase_desc){
                               .name = name, .run = fn, .arg = arg, .parts = 1, .alone = true }));
    plan->phase[plan->n_phases - 1].barrier = true;
    return CVY_OK;
}

/* Before the first update, where gradients do not go there as they are. */
static enum cvy_status plan_gradients(struct cvy_plan *plan)
{
    const struct cvyi_program_options *o = &plan->options;
    if (o->clip_norm <= 0 && o->accumulate <= 1) return CVY_OK;
    CVYI_TRY(cvyi_gradients_build(plan));
    return plan_barrier(plan, "gradients", cvyi_gradients_run, &plan->gradients);
}

/* Weights that change without their packings' backend knowing: copies, the caller's own, updated by
 * another backend. */
static void settle_refreshes(struct cvy_plan *plan, size_t barrier)
{
    bool any = false;
    for (size_t i = 0; i < plan->n_refresh; i++) {
        struct cvyi_refresh *r = &plan->refresh[i];
        const struct cvy_value *v = cvy_plan_value(plan, r->id);
        r->always = v->external || v->role == CVY_ROLE_PRIVATE;
        for (size_t k = 0; k < plan->list.n_ops; k++)
            if (plan->list.op[k].kind == CVY_OP_UPDATE &&
                plan->list.op[k].in[CVY_UPDATE_W] == r->id && plan->assign[k] != r->backend)
                r->always = true;
        any = any || r->always;
    }
    if (any) return;
    cvyi_free(plan->ctx, (void *)plan->phase[barrier].desc.name);
    plan->n_phases--;
    memmove(&plan->phase[barrier], &plan->phase[barrier + 1],
            (plan->n_phases - barrier) * sizeof *plan->phase);
}

static void log_piece(const struct cvy_plan *plan, size_t first, int n)
{
    char names[512] = "";
    for (int k = 0; k < n; k++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", k ? " + " : "",
                 plan->list.op[first + (size_t)k].name);
    cvyi_log(plan->ctx, 1, "%s: %s", names, plan->backend[plan->assign[first]]->name);
}

/* Has the ops from number i on planned, *n of them. */
static enum cvy_status plan_piece(struct cvy_plan *plan, size_t i, int *n)
{
    const struct cvy_backend *backend = plan->backend[plan->assign[i]];
    size_t first = plan->n_phases;
    CVYI_TRY(ask(plan, plan->assign[i], i, chain(plan, i, plan->assign), n));
    if (!*n)
        return cvyi_fail(plan->ctx, CVY_E_BACKEND, "backend %s took %s and then declined it",
                         backend->name, plan->list.op[i].name);
    if (plan->ctx->options.verbose >= 1) log_piece(plan, i, *n);
    plan->planned = i;
    plan->n_planned = (size_t)*n;
    *plan->ctx->message = 0;
    enum cvy_status status =
        told(plan, backend->plan(plan->state[plan->current], plan, &plan->list.op[i], *n, i),
             plan->list.op[i].name);
    if (status == CVY_OK) status = cvyi_claims_piece(plan, first);
    plan->n_planned = 0;
    for (size_t p = first; p < plan->n_phases; p++) {
        plan->phase[p].first_op = i;
        plan->phase[p].n_ops = (size_t)*n;
        plan->phase[p].updates = plan->list.op[i].kind == CVY_OP_UPDATE;
    }
    return status;
}

static enum cvy_status plan_pieces(struct cvy_plan *plan, size_t n_head)
{
    size_t barrier = SIZE_MAX;
    int n;
    for (size_t i = 0; i <= plan->list.n_ops;) {
        if (i == n_head && barrier == SIZE_MAX) {
            barrier = plan->n_phases;
            CVYI_TRY(plan_barrier(plan, "refresh", run_barrier, plan));
        }
        if (i == plan->list.n_ops) break;
        if (i == plan->first_update) CVYI_TRY(plan_gradients(plan));
        CVYI_TRY(plan_piece(plan, i, &n));
        i += (size_t)n;
    }
    settle_refreshes(plan, barrier);
    return CVY_OK;
}

static enum cvy_status open_backends(struct cvy_plan *plan)
{
    const struct cvyi_program_options *o = &plan->options;
    if (o->backends) {
        plan->n_backends = o->n_backends;
        memcpy(plan->backend, o->backends, o->n_backends * sizeof *o->backends);
    } else {
        CVYI_TRY(cvyi_registry_parse(plan->ctx, plan->ctx->options.backends, plan->backend,
                                     &plan->n_backends));
    }
    for (size_t b = 0; b < plan->n_backends; b++) {
        CVYI_TRY(cvyi_claims_backend(plan->ctx, plan->backend[b]));
        plan->current = (int)b;
        *plan->ctx->message = 0;
        CVYI_TRY(told(plan, plan->backend[b]->open(plan, &plan->state[b]), "opening"));
        plan->n_open = b + 1;
    }
    return CVY_OK;
}

static bool lends(const struct cvy_plan *plan)
{
    for (size_t p = 0; p < plan->n_phases; p++)
        if (plan->phase[p].desc.alone && !plan->phase[p].barrier &&
            cvyi_registry_has_threads(plan->backend[plan->phase[p].backend]))
            return true;
    return false;
}

static enum cvy_status build(struct cvy_plan *plan)
{
    size_t n_head = 0, n_values = plan->list.n_values;
    CVYI_TRY(describe_values(plan));
    find_last_reads(plan);
    CVYI_TRY(assign_ops(plan));
    settle(plan);
    CVYI_TRY(insert_reorders(plan, &n_head));
    CVYI_TRY(append_fetches(plan, n_values));
    CVYI_TRY(measure(plan));
    find_last_reads(plan);
    CVYI_TRY(pick_reorders(plan));
    CVYI_TRY(plan_pieces(plan, n_head));
    CVYI_TRY(cvyi_stages_build(plan));
    CVYI_TRY(cvyi_memory_build(plan));
    cvyi_log(plan->ctx, 1, "%zu ops, %zu phases, %zu stages, arena %zu bytes, parameters %zu bytes",
             plan->list.n_ops, plan->n_phases, plan->n_stages, plan->arena_bytes,
             plan->fixed_bytes);
    plan->lends = lends(plan);
    return CVY_OK;
}

static enum cvy_status compile(struct cvy_plan *plan)
{
    bool threads = false;
    if (plan->list.status) return plan->list.status;
    CVYI_TRY(open_backends(plan));
    for (size_t b = 0; b < plan->n_backends; b++)
        threads |= cvyi_registry_has_threads(plan->backend[b]);
    if (!threads) return build(plan);
    cvyi_team_lend(plan->ctx->team, true); /* they may be used, and even made, while it plans */
    enum cvy_status status = build(plan);
    cvyi_team_lend(plan->ctx->team, false);
    return status;
}

enum cvy_status cvyi_program_compile(struct cvy_context *ctx, struct cvyi_list *list,
                                     const struct cvyi_program_options *options,
                                     struct cvy_plan **out)
{
    struct cvy_plan *plan = cvyi_alloc(ctx, sizeof *plan);
    *out = NULL;
    if (!plan) {
        cvyi_list_free(list);
        return CVY_E_NOMEM;
    }
    plan->ctx = ctx;
    plan->list = *list;
    plan->options = *options;
    cvyi_list_init(list, ctx);
    enum cvy_status status = compile(plan);
    plan->options.keep = NULL;
    plan->options.backends = NULL;
    if (status != CVY_OK) cvyi_program_destroy(&plan);
    *out = plan;
    return status;
}

void cvyi_program_destroy(struct cvy_plan **out)
{
    struct cvy_plan *plan = *out;
    if (!plan) return;
    struct cvy_context *ctx = plan->ctx;
    for (size_t b = 0; b < plan->n_open; b++) plan->backend[b]->close(plan->state[b]);
    cvyi_memory_free(plan);
    for (size_t p = 0; p < plan->n_phases; p++) cvyi_free(ctx, (void *)plan->phase[p].desc.name);
    for (size_t i = 0; i < plan->n_extra; i++) cvyi_free(ctx, plan->extra[i]);
    while (plan->blocks) {
        void *next = *(void **)plan->blocks;
        cvyi_free(ctx, plan->blocks);
        plan->blocks = next;
    }
    cvyi_list_free(&plan->list);
    cvyi_free(ctx, plan->info);
    cvyi_free(ctx, plan->extra);
    cvyi_free(ctx, plan->tensor);
    cvyi_free(ctx, plan->assign);
    cvyi_free(ctx, plan->piece);
    cvyi_free(ctx, plan->phase);
    cvyi_free(ctx, plan->refresh);
    cvyi_free(ctx, plan->stage);
    cvyi_free(ctx, plan->work);
    cvyi_free(ctx, plan->turn);
    cvyi_free(ctx, plan->begin);
    cvyi_free(ctx, plan->strand);
    cvyi_free(ctx, plan->order);
    cvyi_free(ctx, plan->nanoseconds);
    cvyi_free(ctx, plan);
    *out = NULL;
}
