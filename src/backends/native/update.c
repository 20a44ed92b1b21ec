/* The optimiser's step: one phase per parameter. A task owns rows of the weight, or columns: it
 * updates the master copy (the user's layout) and then writes every packed copy of those, so that
 * no pass over the weights is spent on packing. */
#include "backends/native/native.h"

#include <math.h>

#define TASK_FLOATS ((size_t)4096) /* a task's share: large enough to pay for its start */
/* What a task writes of packed copies should be whole tiles, and runs of some length: a multiple of
 * nearly all tiles' channels. */
#define PACKED_ROWS ((size_t)24)
/* fewer are not worth a task: biases, the first convolution of a small net */
#define GATE_FLOATS ((size_t)1024)

struct update_arg {
    const struct native *native;
    cvyi_update_fn *kernel;
    int weight, grad, state[CVY_OPTIMIZER_STATES]; /* no such state: negative */
    unsigned group;
    size_t rows, row, step; /* rows of `row` floats, so many a task */
    size_t columns;         /* of all rows so many a task; 0: whole rows */
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

/* n floats from `begin` on. */
static void update_run_of(const struct update_arg *a, const struct cvy_run *run, size_t begin,
                          size_t n, const float *coef)
{
    float *state[CVY_OPTIMIZER_STATES];
    for (size_t i = 0; i < CVY_OPTIMIZER_STATES; i++) {
        float *s = native_buf(run, a->state[i]);
        state[i] = s ? s + begin : NULL;
    }
    a->kernel((float *)run->buf[a->weight] + begin, (const float *)run->buf[a->grad] + begin, state,
              n, coef);
}

static void update_run(const void *arg, const struct cvy_run *run, size_t task,
                       struct cvy_worker *worker)
{
    const struct update_arg *a = arg;
    (void)worker;
    struct native_range rows = { 0, a->rows }, k = { 0, a->row };
    if (a->columns) k = native_piece(a->row, task, a->columns);
    else rows = native_piece(a->rows, task, a->step);
    float *w = run->buf[a->weight], coef[CVY_COEFS];
    for (size_t i = 0; i < CVY_COEFS; i++) coef[i] = (float)run->coef[a->group][i];
    /* whole rows lie one behind the other */
    size_t begin = rows.begin * a->row, n = (rows.end - rows.begin) * a->row;
    if (!a->columns) update_run_of(a, run, begin, n, coef);
    for (size_t r = rows.begin; a->columns && r < rows.end; r++)
        update_run_of(a, run, r * a->row + k.begin, k.end - k.begin, coef);
    if (a->max_norm > 0) shorten(w + begin, n / a->part, a->part, a->max_norm);
    for (size_t i = 0; i < a->n_packings; i++)
        a->packings[i]->fill(a->packings[i], w, run->buf[a->packings[i]->buffer], rows, k);
}

/* As what multiplies the weight is cut: by the cells of a wide map, or by its columns; or evenly.
 * A row's norm needs all of it. */
static struct native_grid cut_update(struct native *native, struct cvy_plan *plan,
                                     struct update_arg *a, size_t count)
{
    const struct native_packing *as = NULL;
    for (size_t i = 0; i < a->n_packings && !as; i++) {
        as = cvyi_native_packing(native, a->weight, i);
        if (!as->unit && !as->columns) as = NULL;
    }
    bool columns = native_chose(plan, CHOICE_UPDATE_COLUMNS, as && as->columns && !a->max_norm);
    size_t unit = as && !as->columns ? as->unit : 0, wanted = ceil_div(count, TASK_FLOATS);
    if (native_chose(plan, CHOICE_UPDATE_MOST, wanted > 4 * NATIVE_TASKS))
        wanted = 4 * NATIVE_TASKS;
    native_chose(plan, CHOICE_UPDATE_TASKS, count > TASK_FLOATS);
    native_chose(plan, CHOICE_UPDATE_CELLS, unit);
    if (columns) {
        a->columns = as->columns;
        return (struct native_grid){ 1, ceil_div(a->row, a->columns), a->columns };
    }
    struct native_work work = { .blocks = 1, .tiles = a->rows, .wanted = wanted };
    a->step = unit ? unit : ceil_div(a->rows, cvyi_native_cut(&work).parts);
    if (!a->step) a->step = 1;
    if (a->n_packings && !unit) a->step = ceil_div(a->step, PACKED_ROWS) * PACKED_ROWS;
    return (struct native_grid){ unit ? 1 : 0, a->rows ? ceil_div(a->rows, a->step) : 1, unit };
}

static enum cvy_status update_plan(struct native *native, struct cvy_plan *plan,
                                   const struct cvy_op_desc *ops, int n, size_t first)
{
    (void)n, (void)first;
    struct update_arg *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    cvy_shape s = cvy_plan_value(plan, ops->in[CVY_UPDATE_W])->shape;
    size_t count = s.n * s.c * s.h * s.w;
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
    /* per-channel parameters are {1, c, 1, 1} */
    const bool whole = a->n_packings || s.n > 1 || (a->max_norm > 0 && a->part > 1);
    a->rows = whole ? s.n : count;
    a->row = a->rows ? count / a->rows : 0;
    struct native_grid grid = cut_update(native, plan, a, count);
    struct cvy_phase_desc phase = { .name = ops->name,
                                    .run = update_run,
                                    .arg = a,
                                    .blocks = grid.blocks,
                                    .parts = grid.parts,
                                    .gate = native_chose(plan, CHOICE_UPDATE_GATE,
                                                         !grid.unit && count <= GATE_FLOATS),
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
