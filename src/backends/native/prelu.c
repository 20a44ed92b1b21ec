/* PReLU: leaky ReLU's kernels, told by x, with the slope of the channel; and the slopes' gradient,
 * summed in fp32 lanes over a segment, then in double in the order lanes, segments, blocks. */
#include <math.h>
#include <string.h>

#include "backends/native/rows.h"

struct prelu {
    const struct cvyi_kernels *k;
    struct native_grid grid;
    struct native_lanes x, y, dy, dx;
    int slope, dslope, slots; /* double [block][c] */
};

static void run_forward(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    const struct prelu *a = arg;
    struct native_cell cell = native_cell(a->grid, a->x.c, task);
    const float *slope = run->buf[a->slope];
    (void)worker;
    NATIVE_BLOCKS (cell, run)
        for (size_t c = cell.c0; c < cell.c1; c++)
            a->k->act->act[CVYI_ACT_LEAKY_RELU](native_at(run, &a->y, cell.block, c),
                                                native_at(run, &a->x, cell.block, c),
                                                a->x.h * a->x.w * NATIVE_LANES, slope[c]);
}

/* Sum of dy x over negative x: with m = ReLU(-x), of m times ReLU's gradient at m, both of which
 * are 0 elsewhere, so that no infinity is multiplied by 0. A NaN is kept. */
static double sum_of(const struct prelu *a, const float *x, const float *dy, float *scratch)
{
    size_t pixels = a->x.h * a->x.w, segment = native_segment(a->x.w);
    float *minus = scratch, *g = scratch + NATIVE_SEGMENT * NATIVE_LANES;
    double sum = 0;
    if (segment > NATIVE_SEGMENT) segment = NATIVE_SEGMENT;
    for (size_t p = 0; p < pixels; p += segment) {
        size_t n = (pixels - p < segment ? pixels - p : segment) * NATIVE_LANES;
        float s1[CVYI_LANES], s2[CVYI_LANES];
        a->k->rows->scale(minus, x + p * NATIVE_LANES, n, -1);
        a->k->act->act[CVYI_ACT_RELU](minus, minus, n, 0);
        a->k->act->act_bwd[CVYI_ACT_RELU](g, dy + p * NATIVE_LANES, minus, n, 0);
        a->k->norm->bn_reduce(g, minus, n, 0, s1, s2);
        for (size_t l = 0; l < NATIVE_LANES; l++) sum -= (double)s2[l];
    }
    return sum;
}

static void run_backward(const void *arg, const struct cvy_run *run, size_t task,
                         struct cvy_worker *worker)
{
    const struct prelu *a = arg;
    struct native_cell cell = native_cell(a->grid, a->x.c, task);
    const float *slope = run->buf[a->slope];
    size_t pixels = a->x.h * a->x.w;
    NATIVE_BLOCKS (cell, run)
        for (size_t c = cell.c0; c < cell.c1; c++) {
            const float *x = native_at(run, &a->x, cell.block, c),
                        *dy = native_at(run, &a->dy, cell.block, c);
            float *dx = native_at(run, &a->dx, cell.block, c);
            if (a->slots >= 0)
                ((double *)run->buf[a->slots])[cell.block * a->x.c + c] =
                    sum_of(a, x, dy, worker->scratch);
            a->k->act->act_bwd[CVYI_ACT_LEAKY_RELU](dx, dy, x, pixels * NATIVE_LANES, slope[c]);
            if (isfinite(slope[c])) continue;
            for (size_t p = 0; p < pixels; p++) /* unused lanes of gradients are 0, not 0 * inf */
                for (size_t l = native_images(run, cell.block); l < NATIVE_LANES; l++)
                    dx[p * NATIVE_LANES + l] = 0;
        }
}

static enum cvy_status plan_forward(struct cvy_plan *plan, const struct cvy_op_desc *op,
                                    struct prelu *a)
{
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_forward,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts };
    a->slope = op->in[CVY_PRELU_SLOPE];
    a->y = native_lanes(plan, op->out[CVY_PRELU_Y]);
    native_access(&phase, a->x.id, CVY_READ_CELL);
    native_access(&phase, a->slope, CVY_READ_ALL);
    native_access(&phase, a->y.id, CVY_WRITE_CELL);
    native_in_place(&phase, &a->x, &a->y);
    return cvy_plan_phase(plan, &phase);
}

static enum cvy_status plan_backward(struct native *native, struct cvy_plan *plan,
                                     const struct cvy_op_desc *op, struct prelu *a)
{
    a->dy = native_lanes(plan, op->in[CVY_PRELU_BWD_DY]);
    a->slope = op->in[CVY_PRELU_BWD_SLOPE];
    a->dx = native_lanes(plan, op->out[CVY_PRELU_BWD_DX]);
    a->dslope = op->out[CVY_PRELU_BWD_DSLOPE];
    a->slots = -1;
    if (a->dslope >= 0 && (a->slots = cvyi_channel_slots(native, plan, op->name, &a->x)) < 0)
        return CVY_E_NOMEM;
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_backward,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts,
                                    .scratch_bytes =
                                        2 * NATIVE_SEGMENT * NATIVE_LANES * sizeof(float) };
    native_access(&phase, a->x.id, CVY_READ_CELL);
    native_access(&phase, a->dy.id, CVY_READ_CELL);
    native_access(&phase, a->slope, CVY_READ_ALL);
    native_access(&phase, a->dx.id, CVY_WRITE_CELL);
    native_access(&phase, a->slots, CVY_WRITE_CELL);
    native_in_place(&phase, &a->dy, &a->dx);
    NATIVE_TRY(cvy_plan_phase(plan, &phase));
    return a->dslope < 0 ? CVY_OK
                         : cvyi_channel_fold(native, plan, op->name, &a->x, a->slots, a->dslope);
}

static enum cvy_status plan(struct native *native, struct cvy_plan *plan,
                            const struct cvy_op_desc *op, int n, size_t first)
{
    (void)n, (void)first;
    struct prelu *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    a->k = native->kernels;
    bool backward = op->kind == CVY_OP_PRELU_BWD;
    a->x = native_lanes(plan, op->in[backward ? CVY_PRELU_BWD_X : CVY_PRELU_X]);
    a->grid = native_grid_of(native, &a->x);
    return backward ? plan_backward(native, plan, op, a) : plan_forward(plan, op, a);
}

NATIVE_FAMILY(prelu, NULL, plan);
NATIVE_FAMILY(prelu_bwd, NULL, plan);
