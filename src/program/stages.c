/* Cuts a program's phases into stages (a barrier after each) and strands (phases that follow each
 * other inside one task), from what they say they read and write. Each phase goes to the earliest
 * stage that its conflicts allow. Knows access lists and grids, nothing of what phases do. A gate
 * is placed before a stage, not in one. */
#include "program/compile.h"

#include <stdlib.h>

struct access {
    size_t phase;
    int value;
    enum cvy_access access;
    long next; /* earlier access to the same buffer; -1 */
};

struct stages {
    struct access *access;
    long *head;      /* by root value: its latest access */
    size_t *mark;    /* by phase: p + 1 if it conflicts with the phase p that is being placed */
    bool *cell;      /* by phase: … and only through cells of the same grid */
    size_t *touched; /* phases with a mark */
    bool *alone;     /* by stage */
};

static bool same_grid(const struct cvyi_phase *a, const struct cvyi_phase *b)
{
    return a->desc.blocks > 0 && a->desc.blocks == b->desc.blocks &&
           a->desc.parts == b->desc.parts && a->backend == b->backend && !a->desc.alone &&
           !b->desc.alone;
}

/* An alias (flatten, a view) has other channels: part p of it need not be part p of the value. */
static bool same_parts(const struct cvy_plan *plan, const struct cvyi_phase *phase, int a, int b)
{
    const struct cvy_value *v = cvy_plan_value(plan, a), *w = cvy_plan_value(plan, b);
    return a == b || phase->desc.parts == 1 ||
           (v->shape.c == w->shape.c && v->view.c0 == w->view.c0);
}

/* Every earlier phase that conflicts with phase p into touched; answers how many. */
static size_t conflicts(const struct cvy_plan *plan, struct stages *s, size_t p)
{
    const struct cvyi_phase *phase = &plan->phase[p];
    size_t n = 0;
    for (int a = 0; a < phase->desc.n_access; a++) {
        int value = phase->desc.access[a].value;
        enum cvy_access access = phase->desc.access[a].access;
        for (long h = s->head[cvyi_program_root(plan, value)]; h >= 0; h = s->access[h].next) {
            const struct access *other = &s->access[h];
            size_t q = other->phase;
            if (!cvyi_writes(access) && !cvyi_writes(other->access)) continue;
            if (cvyi_program_apart(plan, value, other->value)) continue;
            if (s->mark[q] != p + 1) {
                s->mark[q] = p + 1;
                s->cell[q] = !plan->ctx->options.no_fusion && same_grid(&plan->phase[q], phase);
                s->touched[n++] = q;
            }
            if (!cvyi_is_cell(access) || !cvyi_is_cell(other->access) ||
                !same_parts(plan, phase, value, other->value))
                s->cell[q] = false;
        }
    }
    return n;
}

/* Time, in moments: a stage's gate, then what is in the stage. */
enum part { GATE, INSIDE, PARTS };

static size_t moment(size_t stage, enum part part) { return stage * PARTS + part; }

static size_t moment_of(const struct cvyi_phase *phase)
{
    return moment(phase->stage, phase->desc.gate ? GATE : INSIDE);
}

/* The first moment that a conflict with the earlier phase q leaves to a phase. */
static size_t moment_after(const struct cvy_plan *plan, const struct stages *s, size_t q, bool gate)
{
    const struct cvyi_phase *earlier = &plan->phase[q];
    const bool in_order = gate && earlier->desc.gate; /* one thread, in program order */
    return moment_of(earlier) + (in_order || s->cell[q] ? 0 : 1);
}

/* The first stage whose gate, or whose inside, is not before a moment. */
static size_t stage_from(size_t earliest, bool gate)
{
    size_t stage = earliest / PARTS;
    return gate && earliest > moment(stage, GATE) ? stage + 1 : stage;
}

static void place(struct cvy_plan *plan, struct stages *s, size_t p, size_t floor)
{
    struct cvyi_phase *phase = &plan->phase[p];
    bool gate = phase->desc.gate;
    size_t n = conflicts(plan, s, p), earliest = moment(floor, GATE);
    for (size_t i = 0; i < n; i++) {
        size_t after = moment_after(plan, s, s->touched[i], gate);
        if (after > earliest) earliest = after;
    }
    size_t stage = stage_from(earliest, gate);
    if (phase->desc.alone) stage = plan->n_stages;
    while (!gate && stage < plan->n_stages && s->alone[stage]) stage++;
    if (stage == plan->n_stages) s->alone[plan->n_stages++] = phase->desc.alone;
    phase->stage = stage;
    phase->strand = p;
    /* Conflicts inside the stage are all through cells: their strands, which have this grid too,
     * become one. */
    for (size_t i = 0; i < n; i++) {
        const struct cvyi_phase *other = &plan->phase[s->touched[i]];
        size_t strand = other->strand;
        if (gate || other->desc.gate || other->stage != stage || strand == phase->strand) continue;
        for (size_t q = 0; q <= p; q++)
            if (plan->phase[q].strand == strand) plan->phase[q].strand = phase->strand;
    }
}

/* What a strand costs a task; the larger ones of a stage start first, so that the end of the stage
 * is even. */
static double task_flops(const struct cvy_plan *plan, const struct cvyi_strand *strand)
{
    double flops = 0;
    for (size_t i = 0; i < strand->n; i++)
        flops += plan->phase[plan->order[strand->first + i]].desc.flops;
    return flops / (double)strand->tasks;
}

/* The strands of stage t, its gate's or the others, behind those that are there. */
static void tabulate_strands(struct cvy_plan *plan, size_t t, bool gate, size_t *n_strands,
                             size_t *n_order)
{
    size_t first = *n_strands;
    /* a strand's tasks come from any of its phases: equal grids */
    for (size_t p = 0; p < plan->n_phases; p++) {
        if (plan->phase[p].stage != t || plan->phase[p].desc.gate != gate) continue;
        bool seen = false;
        for (size_t q = 0; q < p && !seen; q++)
            seen = plan->phase[q].stage == t && plan->phase[q].strand == plan->phase[p].strand;
        if (seen) continue;
        struct cvyi_strand strand = { .tasks = plan->phase[p].tasks, .first = *n_order };
        for (size_t q = p; q < plan->n_phases; q++)
            if (plan->phase[q].stage == t && plan->phase[q].strand == plan->phase[p].strand)
                plan->order[(*n_order)++] = q;
        strand.n = *n_order - strand.first;
        double flops = task_flops(plan, &strand);
        size_t k = (*n_strands)++;
        for (; !gate && k > first && task_flops(plan, &plan->strand[k - 1]) < flops; k--)
            plan->strand[k] = plan->strand[k - 1];
        plan->strand[k] = strand;
    }
}

/* Deals the tasks of strands [first, end), which begin at *turn, to every thread its part of each
 * strand. */
static void deal(struct cvy_plan *plan, size_t first, size_t end, size_t threads, uint32_t *begin,
                 size_t *turn)
{
    size_t start = *turn;
    for (size_t t = 0; t < threads; t++) {
        if (begin) begin[t] = (uint32_t)(*turn - start);
        for (size_t k = first; k < end; k++) {
            size_t tasks = plan->strand[k].tasks;
            for (size_t i = tasks * t / threads; i < tasks * (t + 1) / threads; i++)
                plan->turn[(*turn)++] = (struct cvyi_turn){ (uint32_t)k, (uint32_t)i };
        }
    }
    if (begin) begin[threads] = (uint32_t)(*turn - start);
}

/* Stage and strand numbers into the executor's tables. */
static void tabulate(struct cvy_plan *plan, const bool *alone)
{
    size_t n_strands = 0, n_order = 0, turn = 0, threads = plan->ctx->options.threads;
    for (size_t t = 0; t < plan->n_stages; t++) {
        size_t first = n_strands, start = turn;
        uint32_t *begin = plan->begin + t * (threads + 1);
        tabulate_strands(plan, t, true, &n_strands, &n_order);
        deal(plan, first, n_strands, 1, NULL, &turn);
        size_t gates = n_strands, behind = turn;
        tabulate_strands(plan, t, false, &n_strands, &n_order);
        deal(plan, gates, n_strands, alone[t] ? 1 : threads, alone[t] ? NULL : begin, &turn);
        plan->work[t] = (struct cvyi_stage_work){ behind - start, turn - behind, begin };
        plan->stage[t] = (struct cvyi_stage){ first, n_strands - first, alone[t], start };
    }
}

/* What is made again for a gradient reads nothing that was not there long before: it waits for what
 * else the gradient reads. The first stage of phase p of such a piece, 0 of others. */
static size_t first_stage(const struct cvy_plan *plan, const struct stages *s, size_t p)
{
    const struct cvyi_phase *phase = &plan->phase[p];
    size_t i = phase->first_op, first = 0;
    if (!phase->n_ops || !cvyi_recompute_is_again(plan, i)) return 0;
    while (i < plan->list.n_ops &&
           (plan->list.op[i].kind == CVY_OP_REORDER || cvyi_recompute_is_again(plan, i)))
        i++;
    for (int k = 0; i < plan->list.n_ops && k < plan->list.op[i].n_in; k++) {
        int id = plan->list.op[i].in[k];
        for (long h = id < 0 ? -1 : s->head[cvyi_program_root(plan, id)]; h >= 0;
             h = s->access[h].next) {
            size_t stage = plan->phase[s->access[h].phase].stage;
            if (cvyi_writes(s->access[h].access) && stage > first) first = stage;
        }
    }
    return first;
}

static void build(struct cvy_plan *plan, struct stages *s)
{
    size_t n_access = 0, floor = 0;
    for (size_t i = 0; i < cvyi_program_values(plan); i++) s->head[i] = -1;
    plan->n_stages = 0;
    for (size_t p = 0; p < plan->n_phases; p++) {
        const struct cvyi_phase *phase = &plan->phase[p];
        size_t first = first_stage(plan, s, p);
        place(plan, s, p, first > floor ? first : floor);
        if (phase->barrier) floor = phase->stage + 1;
        for (int a = 0; a < phase->desc.n_access; a++) {
            int value = phase->desc.access[a].value, root = cvyi_program_root(plan, value);
            if (cvy_plan_value(plan, root)->role == CVY_ROLE_INPUT) continue;
            s->access[n_access] =
                (struct access){ p, value, phase->desc.access[a].access, s->head[root] };
            s->head[root] = (long)n_access++;
        }
    }
}

enum cvy_status cvyi_stages_build(struct cvy_plan *plan)
{
    struct cvy_context *ctx = plan->ctx;
    size_t n = plan->n_phases, n_access = 0;
    for (size_t p = 0; p < n; p++) n_access += (size_t)plan->phase[p].desc.n_access;
    struct stages s = {
        .access = cvyi_alloc_array(ctx, n_access, sizeof *s.access),
        .head = cvyi_alloc_array(ctx, cvyi_program_values(plan), sizeof *s.head),
        .mark = cvyi_alloc_array(ctx, n, sizeof *s.mark),
        .cell = cvyi_alloc_array(ctx, n, sizeof *s.cell),
        .touched = cvyi_alloc_array(ctx, n, sizeof *s.touched),
        .alone = cvyi_alloc_array(ctx, n, sizeof *s.alone),
    };
    plan->stage = cvyi_alloc_array(ctx, n, sizeof *plan->stage);
    plan->work = cvyi_alloc_array(ctx, n, sizeof *plan->work);
    plan->strand = cvyi_alloc_array(ctx, n, sizeof *plan->strand);
    plan->order = cvyi_alloc_array(ctx, n, sizeof *plan->order);
    /* at most the addressable memory's worth: a task has a cell of a value, or the plan made it */
    size_t tasks = 0;
    for (size_t p = 0; p < n; p++) tasks += plan->phase[p].tasks;
    plan->turn = cvyi_alloc_array(ctx, tasks, sizeof *plan->turn);
    plan->begin = cvyi_alloc_array(ctx, n * (ctx->options.threads + 1), sizeof *plan->begin);
    bool ok = s.access && s.head && s.mark && s.cell && s.touched && s.alone && plan->stage &&
              plan->work && plan->turn && plan->begin && plan->strand && plan->order;
    if (ok) {
        build(plan, &s);
        tabulate(plan, s.alone);
    }
    cvyi_free(ctx, s.access);
    cvyi_free(ctx, s.head);
    cvyi_free(ctx, s.mark);
    cvyi_free(ctx, s.cell);
    cvyi_free(ctx, s.touched);
    cvyi_free(ctx, s.alone);
    return ok ? CVY_OK : CVY_E_NOMEM;
}
