/* A program as backends see it while it is compiled: values, and cvy_plan_*, by which they ask and
 * add phases and buffers. Knows what a program holds; what is decided about it is assign.c's,
 * layouts.c's and compile.c's. */
#include "program/compile.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

size_t cvyi_program_inside(const struct cvy_plan *plan, int id)
{
    const struct cvy_value *v = cvy_plan_value(plan, id);
    return v->view.c0 * v->plane * 16 * sizeof(float);
}

bool cvyi_program_apart(const struct cvy_plan *plan, int a, int b)
{
    const struct cvy_value *v = cvy_plan_value(plan, a), *w = cvy_plan_value(plan, b);
    if (!v->view.c || !w->view.c) return false;
    return v->view.c0 + v->shape.c <= w->view.c0 || w->view.c0 + w->shape.c <= v->view.c0;
}

int cvyi_program_find(const struct cvy_plan *plan, enum cvy_role role, const char *name)
{
    for (size_t i = 0; i < plan->list.n_values; i++)
        if (plan->list.value[i].role == role && strcmp(plan->list.value[i].name, name) == 0)
            return (int)i;
    return -1;
}

bool cvyi_program_persistent(const struct cvy_plan *plan, int id)
{
    size_t i = (size_t)cvyi_program_root(plan, id);
    if (i >= plan->list.n_values) return plan->extra[i - plan->list.n_values]->persistent;
    return plan->info[i].keep || cvyi_is_param(plan->list.value[i].role);
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

enum cvy_status cvyi_plan_append(struct cvy_plan *plan, const struct cvy_phase_desc *phase)
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
    return cvyi_plan_append(plan, phase);
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

void cvy_plan_kernel(struct cvy_plan *plan, const char *kernel) { plan->kernel = kernel; }

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

enum cvy_status cvyi_plan_told(struct cvy_plan *plan, enum cvy_status status, const char *what)
{
    if (plan->denied) return plan->denied;
    if (status == CVY_OK || *plan->ctx->message) return status;
    return cvyi_fail(plan->ctx, CVY_E_BACKEND,
                     "backend %s fails at %s with status %d and does not say why",
                     plan->backend[plan->current]->name, what, (int)status);
}
