/* Runs a compiled program: the team's stages in one parallel region, phases that must be alone
 * between regions on the calling thread. Allocates nothing, locks nothing, decides nothing. */
#include "program/program.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct segment {
    struct cvy_plan *plan;
    const struct cvy_run *run;
    size_t first_stage;
};

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void run_phase(struct cvy_plan *plan, const struct cvy_run *run, size_t p, size_t task,
                      size_t thread)
{
    const struct cvy_phase_desc *phase = &plan->phase[p].desc;
    if (plan->no_update && plan->phase[p].updates) return;
    if (plan->no_backward && plan->phase[p].backward) return;
    if (!plan->profiling) {
        phase->run(phase->arg, run, task, &plan->worker[thread]);
        return;
    }
    uint64_t start = now();
    phase->run(phase->arg, run, task, &plan->worker[thread]);
    plan->nanoseconds[thread * cvyi_clock_stride(plan) + p] += now() - start;
}

static void run_task(void *arg, size_t stage, size_t task, size_t thread)
{
    const struct segment *segment = arg;
    struct cvy_plan *plan = segment->plan;
    const struct cvyi_turn *turn =
        &plan->turn[plan->stage[segment->first_stage + stage].first_turn + task];
    const struct cvyi_strand *strand = &plan->strand[turn->strand];
    for (size_t i = 0; i < strand->n; i++)
        run_phase(plan, segment->run, plan->order[strand->first + i], turn->task, thread);
}

static void log_run(const struct cvy_plan *plan, const struct cvy_run *run)
{
    for (size_t p = 0; p < plan->n_phases; p++)
        cvyi_log(plan->ctx, 2, "step %llu: %s (%s), stage %zu, %zu tasks",
                 (unsigned long long)run->step, plan->phase[p].desc.name,
                 plan->backend[plan->phase[p].backend]->name, plan->phase[p].stage,
                 plan->phase[p].tasks);
}

static enum cvy_status run_stages(struct cvy_plan *plan, struct cvy_run *run)
{
    for (size_t s = 0; s < plan->n_stages;) {
        size_t end = s;
        if (plan->stage[s].alone) {
            struct segment segment = { plan, run, s };
            for (size_t task = 0; task < plan->work[s].gates + plan->work[s].tasks; task++)
                run_task(&segment, 0, task, 0);
            if (plan->failed) return plan->failed;
            s++;
            continue;
        }
        while (end < plan->n_stages && !plan->stage[end].alone) end++;
        struct segment segment = { plan, run, s };
        cvyi_team_run(plan->ctx->team, end - s, plan->work + s, run_task, &segment);
        s = end;
    }
    return CVY_OK;
}

enum cvy_status cvyi_program_run(struct cvy_plan *plan, struct cvy_run *run)
{
    run->buf = plan->buf;
    run->plan = plan;
    plan->failed = CVY_OK;
    if (plan->ctx->options.verbose >= 2) log_run(plan, run);
    if (plan->lends) cvyi_team_lend(plan->ctx->team, true);
    enum cvy_status status = run_stages(plan, run);
    if (plan->lends) cvyi_team_lend(plan->ctx->team, false);
    return status;
}

void cvy_run_fail(const struct cvy_run *run, enum cvy_status status, const char *format, ...)
{
    struct cvy_plan *plan = run->plan;
    char text[sizeof plan->ctx->message];
    va_list args;
    if (plan->failed) return; /* the first one says enough */
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    plan->failed = cvyi_fail(plan->ctx, status, "%s", text);
}

enum cvy_status cvyi_program_refresh(struct cvy_plan *plan, int id)
{
    struct cvy_run run = { .buf = plan->buf, .n = plan->options.capacity, .plan = plan };
    plan->failed = CVY_OK;
    if (plan->lends) cvyi_team_lend(plan->ctx->team, true);
    for (size_t i = 0; i < plan->n_refresh; i++) {
        const struct cvyi_refresh *r = &plan->refresh[i];
        if (!r->always && (id < 0 || r->id == id)) r->fn(r->arg, &run);
    }
    if (plan->lends) cvyi_team_lend(plan->ctx->team, false);
    return plan->failed;
}

enum cvy_status cvyi_program_profile(struct cvy_plan *plan, bool on)
{
    size_t n = plan->ctx->options.threads * cvyi_clock_stride(plan);
    if (on && !plan->nanoseconds) {
        plan->nanoseconds = cvyi_alloc_array(plan->ctx, n, sizeof *plan->nanoseconds);
        if (!plan->nanoseconds) return CVY_E_NOMEM;
    }
    if (on) memset(plan->nanoseconds, 0, n * sizeof *plan->nanoseconds);
    plan->profiling = on;
    return CVY_OK;
}
