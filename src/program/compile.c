/* The compiler: has ops given to backends (assign.c) and layouts settled (layouts.c), lets backends
 * plan their pieces into phases, and has stages cut and memory placed. Knows op lists and vtables;
 * must not know nets or what any op computes. */
#include "program/compile.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------------------------ planning */

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
    CVYI_TRY(cvyi_plan_append(
        plan, &(struct cvy_phase_desc){
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
    CVYI_TRY(plan_barrier(plan, "gradients", cvyi_gradients_run, &plan->gradients));
    plan->phase[plan->n_phases - 1].backward = true;
    return CVY_OK;
}

/* Whether op number i comes behind the loss. */
static bool is_behind_loss(const struct cvy_plan *plan, size_t i)
{
    while (i-- > 0)
        if (plan->list.op[i].kind == CVY_OP_LOSS) return true;
    return false;
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
    CVYI_TRY(
        cvyi_assign_ask(plan, plan->assign[i], i, cvyi_assign_chain(plan, i, plan->assign), n));
    if (!*n)
        return cvyi_fail(plan->ctx, CVY_E_BACKEND, "backend %s took %s and then declined it",
                         backend->name, plan->list.op[i].name);
    if (plan->ctx->options.verbose >= 1) log_piece(plan, i, *n);
    plan->planned = i;
    plan->n_planned = (size_t)*n;
    plan->kernel = NULL;
    *plan->ctx->message = 0;
    enum cvy_status status = cvyi_plan_told(
        plan, backend->plan(plan->state[plan->current], plan, &plan->list.op[i], *n, i),
        plan->list.op[i].name);
    if (status == CVY_OK) status = cvyi_claims_piece(plan, first);
    plan->n_planned = 0;
    for (size_t p = first; p < plan->n_phases; p++) {
        plan->phase[p].first_op = i;
        plan->phase[p].n_ops = (size_t)*n;
        if (!plan->phase[p].desc.kernel) plan->phase[p].desc.kernel = plan->kernel;
        plan->phase[p].updates = plan->list.op[i].kind == CVY_OP_UPDATE;
        plan->phase[p].backward = is_behind_loss(plan, i);
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
        CVYI_TRY(cvyi_plan_told(plan, plan->backend[b]->open(plan, &plan->state[b]), "opening"));
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
    CVYI_TRY(cvyi_layouts_describe(plan));
    cvyi_layouts_last_reads(plan);
    CVYI_TRY(cvyi_assign_ops(plan));
    cvyi_layouts_settle(plan);
    CVYI_TRY(cvyi_layouts_reorder(plan, &n_head));
    CVYI_TRY(cvyi_layouts_fetch(plan, n_values));
    CVYI_TRY(cvyi_layouts_measure(plan));
    if (!plan->ctx->options.no_fusion && !plan->options.keep_tensors)
        CVYI_TRY(cvyi_views_find(plan));
    cvyi_layouts_last_reads(plan);
    CVYI_TRY(cvyi_assign_reorders(plan));
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

enum cvy_status cvyi_compile(struct cvy_context *ctx, struct cvyi_list *list,
                             const struct cvyi_program_options *options, struct cvy_plan **out)
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
    plan->again_end = list->n_values;
    cvyi_list_init(list, ctx);
    enum cvy_status status = compile(plan);
    plan->options.keep = NULL;
    plan->options.backends = NULL;
    if (status != CVY_OK) cvyi_program_destroy(&plan);
    *out = plan;
    return status;
}

enum cvy_status cvyi_program_compile(struct cvy_context *ctx, struct cvyi_list *list,
                                     const struct cvyi_program_options *options,
                                     struct cvy_plan **plan)
{
    enum cvy_status status = options->memory_limit ? cvyi_recompute(ctx, list, options, plan)
                                                   : cvyi_compile(ctx, list, options, plan);
    if (status == CVY_OK) status = cvyi_memory_allocate(*plan);
    if (status != CVY_OK) cvyi_program_destroy(plan);
    return status;
}

size_t cvyi_program_bytes(const struct cvy_plan *plan)
{
    size_t bytes;
    if (!cvyi_mul(plan->scratch_bytes, plan->ctx->options.threads, &bytes) ||
        __builtin_add_overflow(bytes, plan->arena_bytes, &bytes) ||
        __builtin_add_overflow(bytes, plan->fixed_bytes, &bytes))
        return SIZE_MAX;
    return bytes;
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
