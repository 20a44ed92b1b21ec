/* The product of two maps, row by row. */
#include "backends/native/rows.h"

struct multiply {
    const struct cvyi_kernels *k;
    struct native_grid grid;
    struct native_lanes a, b, y;
};

static void run_mul(const void *arg, const struct cvy_run *run, size_t task,
                    struct cvy_worker *worker)
{
    const struct multiply *m = arg;
    struct native_cell cell = native_cell(m->grid, m->y.c, task);
    (void)worker;
    NATIVE_BLOCKS (cell, run)
        for (size_t c = cell.c0; c < cell.c1; c++)
            m->k->rows->mul(native_at(run, &m->y, cell.block, c),
                            native_at(run, &m->a, cell.block, c),
                            native_at(run, &m->b, cell.block, c), m->y.h * m->y.w * NATIVE_LANES);
}

static enum cvy_status plan_mul(struct native *native, struct cvy_plan *plan,
                                const struct cvy_op_desc *ops, int n, size_t first)
{
    (void)n, (void)first;
    struct multiply *m = cvy_plan_alloc(plan, sizeof *m);
    if (!m) return CVY_E_NOMEM;
    *m = (struct multiply){ .k = native->kernels,
                            .a = native_lanes(plan, ops->in[CVY_MUL_A]),
                            .b = native_lanes(plan, ops->in[CVY_MUL_B]),
                            .y = native_lanes(plan, ops->out[CVY_MUL_Y]) };
    m->grid = native_grid_of(native, &m->y);
    struct cvy_phase_desc phase = { .name = ops->name,
                                    .run = run_mul,
                                    .arg = m,
                                    .blocks = m->grid.blocks,
                                    .parts = m->grid.parts };
    native_access(&phase, m->a.id, CVY_READ_CELL);
    if (m->b.id != m->a.id) native_access(&phase, m->b.id, CVY_READ_CELL);
    native_access(&phase, m->y.id, CVY_WRITE_CELL);
    native_in_place(&phase, &m->a, &m->y);
    return cvy_plan_phase(plan, &phase);
}

NATIVE_FAMILY(mul, NULL, plan_mul);
