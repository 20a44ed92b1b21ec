/* The optimiser's step: one phase per parameter. A task owns rows of the weight: it updates the
 * master copy (the user's layout) and then writes every packed copy of those rows, so that no pass
 * over the weights is spent on packing. */
#include "backends/native/native.h"

#include <math.h>

#define TASK_FLOATS ((size_t)4096) /* a task's share: large enough to pay for its start */
/* fewer are not worth a task: biases, the first convolution of a small net */
#define GATE_FLOATS ((size_t)1024)

struct update_arg {
    const struct native *native;
    cvyi_update_fn *kernel;
    int weight, grad, state[CVY_OPTIMIZER_STATES]; /* no such state: negative */
    unsigned group;
    size_t rows, row, step; /* rows of `row` floats, so many a task */
    double max_norm;        /* of every `part` of them; 0: none */
    size_t part;
    size_t n_packings;
    const struct native_packing **packings;
};

static int update_take(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops,
                       int n)
{
    (void)n;
    if (!native->kernels->update->step[ops->u.update.kind]) return 0;
    return cvy_plan_value(plan, ops->in[CVY_UPDATE_W])->layout == CVY_LAYOUT_PLAIN ? 1 : 0;
}

/* Four chains in double, which meet in one order. */
static double squares(const float *p, size_t n)
{
    double s[4] = { 0 };
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (size_t k = 0; k < 4; k++) s[k] += (double)p[i + k] * (double)p[i + k];
    for (; i < n; i++) s[0] += (double)p[i] * (double)p[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

static void shorten(float *p, size_t parts, size_t part, double most)
{
    for (size_t r = 0; r < parts; r++, p += part) {
        double norm = sqrt(squares(p, part)), factor = (norm < most ? norm : most) / (norm + 1e-8);
        for (size_t i = 0; i < part; i++) p[i] = (float)((double)p[i] * factor);
    }
}

static void update_run(const void *arg, const struct cvy_run *run, size_t task,
                       struct cvy_worker *worker)
{
    const struct update_arg *a = arg;
    (void)worker;
    size_t r0 = task * a->step, r1 = r0 + a->step < a->rows ? r0 + a->step : a->rows,
           begin = r0 * a->row;
    float *w = run->buf[a->weight], *state[CVY_OPTIMIZER_STATES], coef[CVY_COEFS];
    for (size_t i = 0; i < CVY_OPTIMIZER_STATES; i++) {
        float *s = native_buf(run, a->state[i]);
        state[i] = s ? s + begin : NULL;
    }
    for (size_t i = 0; i < CVY_COEFS; i++) coef[i] = (float)run->coef[a->group][i];
    a->kernel(w + begin, (const float *)run->buf[a->grad] + begin, state, (r1 - r0) * a->row, coef);
    if (a->max_norm > 0) shorten(w + begin, (r1 - r0) * a->row / a->part, a->part, a->max_norm);
    for (size_t i = 0; i < a->n_packings; i++)
        a->packings[i]->fill(a->packings[i], w, run->buf[a->packings[i]->buffer], r0, r1);
}

static enum cvy_status update_plan(struct native *native, struct cvy_plan *plan,
                                   const struct cvy_op_desc *ops, int n, size_t first)
{
    (void)n, (void)first;
    struct update_arg *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    cvy_shape s = cvy_plan_value(plan, ops->in[CVY_UPDATE_W])->shape;
    size_t count = s.n * s.c * s.h * s.w, unit = 0;
    *a = (struct update_arg){ .native = native,
                              .kernel = native->kernels->update->step[ops->u.update.kind],
                              .weight = ops->in[CVY_UPDATE_W],
                              .grad = ops->in[CVY_UPDATE_DW],
                              .group = ops->u.update.group,
                              .max_norm = ops->u.update.max_norm,
                              .part = ops->u.update.row,
                              .n_packings = cvyi_native_packings(native, ops->in[CVY_UPDATE_W]) };
    for (int i = 0; i < CVY_OPTIMIZER_STATES; i++)
        a->state[i] = cvy_op_input(ops, CVY_UPDATE_S + i);
    for (size_t i = 0; i < a->n_packings && !unit; i++)
        unit = cvyi_native_packing(native, ops->in[CVY_UPDATE_W], i)->unit;
    /* per-channel parameters are {1, c, 1, 1} */
    const bool whole = a->n_packings || s.n > 1 || (a->max_norm > 0 && a->part > 1);
    a->rows = whole ? s.n : count;
    a->row = a->rows ? count / a->rows : 0;
    size_t wanted = ceil_div(count, TASK_FLOATS);
    if (native_chose(plan, CHOICE_UPDATE_MOST, wanted > 4 * NATIVE_TASKS))
        wanted = 4 * NATIVE_TASKS;
    struct native_work work = { .blocks = 1, .tiles = a->rows, .wanted = wanted };
    native_chose(plan, CHOICE_UPDATE_TASKS, count > TASK_FLOATS);
    native_chose(plan, CHOICE_UPDATE_CELLS, unit);
    /* as the wide map of this weight is cut, or evenly */
    a->step = unit ? unit : ceil_div(a->rows, cvyi_native_cut(&work).parts);
    if (!a->step) a->step = 1;
    struct native_grid grid = { unit ? 1 : 0, a->rows ? ceil_div(a->rows, a->step) : 1, unit };
    struct cvy_phase_desc phase = { .name = ops->name,
                                    .run = update_run,
                                    .arg = a,
                                    .blocks = grid.blocks,
                                    .parts = grid.parts,
                                    .gate = native_chose(plan, CHOICE_UPDATE_GATE,
                                                         !unit && count <= GATE_FLOATS),
                                    .flops = 4.0 * (double)count };
    native_access(&phase, a->weight, native_write(grid));
    native_access(&phase, a->grad, native_read(grid));
    for (size_t i = 0; i < CVY_OPTIMIZER_STATES; i++)
        native_access(&phase, a->state[i], native_write(grid));
    if (a->n_packings) {
        a->packings = cvy_plan_alloc(plan, a->n_packings * sizeof *a->packings);
        if (!a->packings) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
        for (size_t i = 0; i < a->n_packings; i++) {
            a->packings[i] = cvyi_native_packing(native, a->weight, i);
            native_access(&phase, a->packings[i]->buffer, CVY_WRITE_ALL);
        }
    }
    return cvy_plan_phase(plan, &phase);
}

NATIVE_FAMILY(update, update_take, update_plan);
