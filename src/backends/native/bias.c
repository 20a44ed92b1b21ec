/* A number added to every channel, and its gradient: sums in fp32 lanes over a segment, then in
 * double in the order segments, lanes, blocks. */
#include "backends/native/rows.h"

struct bias {
    const struct cvyi_kernels *k;
    struct native_grid grid;
    struct native_lanes x, y; /* x: backward the gradient */
    int bias, slots;
};

static void run_forward(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    const struct bias *a = arg;
    struct native_cell cell = native_cell(a->grid, a->x.c, task);
    const float *bias = run->buf[a->bias];
    (void)worker;
    NATIVE_BLOCKS (cell, run)
        for (size_t c = cell.c0; c < cell.c1; c++)
            a->k->norm->norm(native_at(run, &a->y, cell.block, c),
                             native_at(run, &a->x, cell.block, c), a->x.h * a->x.w * NATIVE_LANES,
                             &(struct cvyi_affine){ .a = 1, .b = bias[c] });
}

static double sum_of(const struct bias *a, const float *dy)
{
    size_t pixels = a->x.h * a->x.w;
    double sum = 0;
    for (size_t p = 0; p < pixels; p += NATIVE_SEGMENT) {
        float s1[CVYI_LANES], s2[CVYI_LANES];
        const float *at = dy + p * NATIVE_LANES;
        size_t n = native_min(pixels - p, NATIVE_SEGMENT) * NATIVE_LANES;
        a->k->norm->bn_reduce(at, at, n, 0, s1, s2);
        for (size_t l = 0; l < NATIVE_LANES; l++) sum += (double)s1[l];
    }
    return sum;
}

static void run_backward(const void *arg, const struct cvy_run *run, size_t task,
                         struct cvy_worker *worker)
{
    const struct bias *a = arg;
    struct native_cell cell = native_cell(a->grid, a->x.c, task);
    (void)worker;
    NATIVE_BLOCKS (cell, run) {
        double *slot = (double *)run->buf[a->slots] + cell.block * a->x.c;
        for (size_t c = cell.c0; c < cell.c1; c++)
            slot[c] = sum_of(a, native_at(run, &a->x, cell.block, c));
    }
}

static enum cvy_status plan_forward(struct cvy_plan *plan, const struct cvy_op_desc *op,
                                    struct bias *a)
{
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_forward,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts };
    a->bias = op->in[CVY_BIAS_B];
    a->y = native_lanes(plan, op->out[CVY_BIAS_Y]);
    native_access(&phase, a->x.id, CVY_READ_CELL);
    native_access(&phase, a->bias, native_read(a->grid));
    native_access(&phase, a->y.id, CVY_WRITE_CELL);
    native_in_place(&phase, &a->x, &a->y);
    return cvy_plan_phase(plan, &phase);
}

static enum cvy_status plan_backward(struct native *native, struct cvy_plan *plan,
                                     const struct cvy_op_desc *op, struct bias *a)
{
    a->slots = cvyi_channel_slots(native, plan, op->name, &a->x);
    if (a->slots < 0) return CVY_E_NOMEM;
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_backward,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts };
    native_access(&phase, a->x.id, CVY_READ_CELL);
    native_access(&phase, a->slots, CVY_WRITE_CELL);
    NATIVE_TRY(cvy_plan_phase(plan, &phase));
    return cvyi_channel_fold(native, plan, op->name, &a->x, a->slots, op->out[CVY_BIAS_BWD_DB]);
}

static enum cvy_status plan(struct native *native, struct cvy_plan *plan,
                            const struct cvy_op_desc *op, int n, size_t first)
{
    (void)n, (void)first;
    struct bias *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    bool backward = op->kind == CVY_OP_BIAS_BWD;
    a->k = native->kernels;
    a->x = native_lanes(plan, op->in[backward ? CVY_BIAS_BWD_DY : CVY_BIAS_X]);
    a->grid = native_grid_of(native, &a->x);
    return backward ? plan_backward(native, plan, op, a) : plan_forward(plan, op, a);
}

NATIVE_FAMILY(bias, NULL, plan);
NATIVE_FAMILY(bias_bwd, NULL, plan);
