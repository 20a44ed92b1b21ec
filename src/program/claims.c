/* What backends claim while they are asked and plan, checked before it is believed: what is false
 * here would be a race, a wrong number or a crash later, far from its cause. Knows the contract
 * (convoy/backend.h) and nothing of any backend. Every refusal is CVY_E_BACKEND and names the
 * backend, the phase or value, and what is wrong with it; it ends compiling, whatever the backend
 * makes of it. */
#include "program/program.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_ACCESS                                      \
    ((int)(sizeof((struct cvy_phase_desc *)0)->access / \
           sizeof((struct cvy_phase_desc *)0)->access[0]))

static const struct cvy_backend *planner(const struct cvy_plan *plan)
{
    return plan->backend[plan->current];
}

static bool is_builtin(const struct cvy_backend *backend)
{
    return cvyi_registry_find(backend->name) == backend;
}

static const char *layout_name(enum cvy_layout layout)
{
    static const char *const names[] = { "plain", "plain64", "lanes", "opaque" };
    return (unsigned)layout < sizeof names / sizeof *names ? names[layout] : "unknown";
}

/* ------------------------------------------------------------------------------------- backends */

enum cvy_status cvyi_claims_backend(struct cvy_context *ctx, const struct cvy_backend *b)
{
    if (b->abi != CVY_BACKEND_ABI)
        return cvyi_fail(ctx, CVY_E_BACKEND,
                         "backend %s speaks version %d of the contract, this library %d", b->name,
                         b->abi, CVY_BACKEND_ABI);
    if (!b->open || !b->close || !b->take || !b->plan)
        return cvyi_fail(ctx, CVY_E_BACKEND,
                         "backend %s lacks a function: it needs open, close, take and plan",
                         b->name);
    if ((unsigned)b->layout > CVY_LAYOUT_OPAQUE)
        return cvyi_fail(ctx, CVY_E_BACKEND, "backend %s works in layout %d, which is none",
                         b->name, (int)b->layout);
    if (b->param_layout != CVY_LAYOUT_PLAIN && b->param_layout != CVY_LAYOUT_PLAIN64)
        return cvyi_fail(
            ctx, CVY_E_BACKEND,
            "backend %s wants parameters in layout %d (%s), and they are plain or plain64", b->name,
            (int)b->param_layout, layout_name(b->param_layout));
    return CVY_OK;
}

bool cvyi_claims_knows(const struct cvy_backend *b, const struct cvy_value *v)
{
    if (v->layout == CVY_LAYOUT_OPAQUE) return v->owner == b;
    return v->layout == CVY_LAYOUT_PLAIN || v->layout == b->layout ||
           v->layout == b->param_layout || is_builtin(b);
}

/* --------------------------------------------------------------------------------------- values */

/* Sticks: what the backend makes of the answer does not matter any more. */
static enum cvy_status deny(struct cvy_plan *plan, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static enum cvy_status deny(struct cvy_plan *plan, const char *format, ...)
{
    char text[sizeof plan->ctx->message];
    va_list args;
    if (plan->denied) return plan->denied; /* the first one says enough */
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return plan->denied = cvyi_fail(plan->ctx, CVY_E_BACKEND, "%s", text);
}

/* Whether value id, or an alias of it, is written by the ops that are being planned: a result, or
 * updated in place. */
static bool is_result(const struct cvy_plan *plan, int id)
{
    int root = cvyi_program_root(plan, id);
    for (size_t i = plan->planned; i < plan->planned + plan->n_planned; i++) {
        const struct cvy_op_desc *op = &plan->list.op[i];
        for (int k = 0; k < op->n_out; k++)
            if (op->out[k] >= 0 && cvyi_program_root(plan, op->out[k]) == root) return true;
        for (int k = 0; k < op->n_in; k++)
            if (cvyi_op_updates(op, k) && op->in[k] >= 0 &&
                cvyi_program_root(plan, op->in[k]) == root)
                return true;
    }
    return false;
}

/* Needed by an op behind those that are being planned, or by the user. */
static bool is_needed(const struct cvy_plan *plan, int id)
{
    return cvy_plan_needed_after(plan, id, plan->planned + plan->n_planned - 1);
}

/* A result; a buffer of the backend's own; or what an own OPAQUE value has left that nobody needs
 * any more. */
static bool may_write(const struct cvy_plan *plan, int id)
{
    const struct cvy_value *v = cvy_plan_value(plan, id);
    if (v->layout != CVY_LAYOUT_OPAQUE) return is_result(plan, id);
    return (size_t)id >= plan->list.n_values || is_result(plan, id) || !is_needed(plan, id);
}

enum cvy_status cvyi_claims_buffer(struct cvy_plan *plan, const char *name, size_t bytes)
{
    if (!plan->n_planned)
        return deny(plan, "backend %s makes buffer %s outside of its plan", planner(plan)->name,
                    name ? name : "without a name");
    if (!name) return deny(plan, "backend %s makes a buffer without a name", planner(plan)->name);
    if (bytes > PTRDIFF_MAX)
        return deny(plan, "backend %s makes buffer %s of %zu bytes", planner(plan)->name, name,
                    bytes);
    return CVY_OK;
}

enum cvy_status cvyi_claims_lay_out(struct cvy_plan *plan, int id, size_t bytes)
{
    const char *backend = planner(plan)->name;
    const struct cvy_value *v = cvy_plan_value(plan, id);
    const char *name = v ? v->name : "none";
    if (!v || v->role == CVY_ROLE_PRIVATE || v->layout != CVY_LAYOUT_OPAQUE ||
        v->owner != planner(plan))
        return deny(plan, "backend %s lays out value %d (%s), which is not its own", backend, id,
                    name);
    if (!is_result(plan, id))
        return deny(plan, "backend %s lays out value %d (%s), which is no result of %s", backend,
                    id, name, plan->n_planned ? plan->list.op[plan->planned].name : "a plan");
    if (bytes < 1 || bytes > PTRDIFF_MAX)
        return deny(plan, "backend %s lays out %s in %zu bytes", backend, name, bytes);
    return CVY_OK;
}

enum cvy_status cvyi_claims_refresh(struct cvy_plan *plan, int id, cvy_refresh_fn fn)
{
    const struct cvy_value *v = cvy_plan_value(plan, id);
    bool parameter = v && (v->role == CVY_ROLE_WEIGHT || v->role == CVY_ROLE_RUNNING ||
                           (v->role == CVY_ROLE_PRIVATE && (size_t)id < plan->list.n_values));
    const char *wrong = NULL;
    if (!plan->n_planned) wrong = " outside of its plan";
    if (!fn) wrong = " with no function";
    if (!parameter) wrong = ", which is no parameter";
    if (!wrong) return CVY_OK;
    return deny(plan, "backend %s wants to refresh value %d (%s)%s", planner(plan)->name, id,
                v ? v->name : "none", wrong);
}

/* --------------------------------------------------------------------------------------- phases */

static enum cvy_status refuse(struct cvy_plan *plan, const struct cvy_phase_desc *phase,
                              const char *format, ...) __attribute__((format(printf, 3, 4)));
static enum cvy_status refuse(struct cvy_plan *plan, const struct cvy_phase_desc *phase,
                              const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return deny(plan, "phase %s of backend %s %s", phase->name ? phase->name : "(no name)",
                planner(plan)->name, text);
}

static enum cvy_status check_grid(struct cvy_plan *plan, const struct cvy_phase_desc *phase)
{
    size_t tasks = phase->parts;
    if (!phase->run || (phase->blocks && !cvyi_mul(phase->blocks, phase->parts, &tasks)) || !tasks)
        return refuse(plan, phase, "has no tasks");
    if (tasks > UINT32_MAX)
        return refuse(plan, phase, "has %zu tasks, and 2^32 - 1 is the most", tasks);
    if (phase->gate && phase->alone)
        return refuse(plan, phase, "is a gate and alone, and can be one of them");
    if (phase->gate && phase->blocks)
        return refuse(plan, phase, "is a gate and has blocks, which gates have not");
    if (!(phase->flops >= 0) || phase->flops > 1e300)
        return refuse(plan, phase, "has %g FLOPs", phase->flops);
    if (phase->scratch_bytes >
        (PTRDIFF_MAX - 64) / plan->ctx->options.threads) /* rounded up to 64 */
        return refuse(plan, phase, "wants %zu bytes of scratch for every worker",
                      phase->scratch_bytes);
    return CVY_OK;
}

static enum cvy_status check_access(struct cvy_plan *plan, const struct cvy_phase_desc *phase,
                                    int a)
{
    int id = phase->access[a].value;
    enum cvy_access access = phase->access[a].access;
    const struct cvy_value *v = cvy_plan_value(plan, id);
    if (!v) return refuse(plan, phase, "names value %d, which is none", id);
    if ((unsigned)access > CVY_WRITE_ALL)
        return refuse(plan, phase, "accesses %s in way %d, which is none", v->name, (int)access);
    if (cvyi_is_cell(access) && !phase->blocks)
        return refuse(plan, phase, "accesses %s by cells, and has no grid of blocks", v->name);
    for (int b = 0; b < a && cvyi_writes(access); b++)
        if (phase->access[b].value == id && cvyi_writes(phase->access[b].access))
            return refuse(plan, phase, "names %s twice as what it writes", v->name);
    if (v->role != CVY_ROLE_INPUT && v->role != CVY_ROLE_STATS &&
        !cvyi_claims_knows(planner(plan), v))
        return refuse(
            plan, phase, "accesses %s, which lies in a layout that is not its own: %s%s%s", v->name,
            layout_name(v->layout), v->owner ? " of " : "", v->owner ? v->owner->name : "");
    if (cvyi_writes(access) && !may_write(plan, id))
        return refuse(plan, phase, "writes %s, which is no result of %s", v->name,
                      plan->list.op[plan->planned].name);
    return CVY_OK;
}

/* Whether the phase has value id as `access`, and as nothing else. */
static bool only(const struct cvy_phase_desc *phase, int id, enum cvy_access access)
{
    bool found = false;
    for (int a = 0; a < phase->n_access; a++) {
        if (phase->access[a].value != id) continue;
        if (phase->access[a].access != access) return false;
        found = true;
    }
    return found;
}

static enum cvy_status check_in_place(struct cvy_plan *plan, const struct cvy_phase_desc *phase)
{
    int from = phase->in_place.from, to = phase->in_place.to;
    const struct cvy_value *a = cvy_plan_value(plan, from), *b = cvy_plan_value(plan, to);
    if (from == to) return CVY_OK;
    if (!a || !b)
        return refuse(plan, phase, "would write in place value %d, which is none", a ? to : from);
    if (!only(phase, from, CVY_READ_CELL))
        return refuse(plan, phase, "would write over %s and does not read it by cells", a->name);
    if (!only(phase, to, CVY_WRITE_CELL))
        return refuse(plan, phase, "would write %s in place and does not write it by cells",
                      b->name);
    if (a->bytes != b->bytes)
        return refuse(plan, phase, "would write %s, %zu bytes, in place of %s, %zu bytes", b->name,
                      b->bytes, a->name, a->bytes);
    return CVY_OK;
}

enum cvy_status cvyi_claims_phase(struct cvy_plan *plan, const struct cvy_phase_desc *phase)
{
    if (!plan->n_planned) return refuse(plan, phase, "is appended outside of its plan");
    CVYI_TRY(check_grid(plan, phase));
    if (phase->n_access < 0 || phase->n_access > MAX_ACCESS)
        return refuse(plan, phase, "has %d accesses, and %d is the most", phase->n_access,
                      MAX_ACCESS);
    for (int a = 0; a < phase->n_access; a++) CVYI_TRY(check_access(plan, phase, a));
    return check_in_place(plan, phase);
}

/* --------------------------------------------------------------------------------------- pieces */

static bool is_written(const struct cvy_plan *plan, int id, size_t first)
{
    for (size_t p = first; p < plan->n_phases; p++) {
        const struct cvy_phase_desc *phase = &plan->phase[p].desc;
        for (int a = 0; a < phase->n_access; a++)
            if (cvyi_writes(phase->access[a].access) &&
                cvyi_program_root(plan, phase->access[a].value) == cvyi_program_root(plan, id))
                return true;
    }
    return false;
}

/* Read by the user, or later by another backend. What only its own backend reads it may keep in
 * another form. */
static bool is_awaited(const struct cvy_plan *plan, int id)
{
    int root = cvyi_program_root(plan, id);
    if (plan->list.value[root].external || cvyi_program_persistent(plan, root)) return true;
    for (size_t i = plan->planned + plan->n_planned; i < plan->list.n_ops; i++) {
        const struct cvy_op_desc *op = &plan->list.op[i];
        if (plan->assign[i] == plan->current) continue;
        for (int k = 0; k < op->n_in; k++)
            if (op->in[k] >= 0 && cvyi_program_root(plan, op->in[k]) == root) return true;
    }
    return false;
}

/* Results that others wait for are written, but for OPAQUE ones, which may lie anywhere: their
 * owner said where. */
enum cvy_status cvyi_claims_piece(struct cvy_plan *plan, size_t first)
{
    for (size_t i = plan->planned; i < plan->planned + plan->n_planned; i++) {
        const struct cvy_op_desc *op = &plan->list.op[i];
        for (int k = 0; k < op->n_in + op->n_out; k++) {
            bool in = k < op->n_in;
            int id = in ? op->in[k] : op->out[k - op->n_in];
            if (id < 0 || (in && !cvyi_op_updates(op, k))) continue;
            const struct cvy_value *v = cvy_plan_value(plan, id);
            if ((v->layout == CVY_LAYOUT_OPAQUE && v->opaque) || !is_awaited(plan, id) ||
                is_written(plan, id, first))
                continue;
            return deny(plan, "backend %s planned %s and no phase of it writes %s",
                        planner(plan)->name, op->name, v->name);
        }
    }
    return CVY_OK;
}
