/* The mean of the batch or of each image, subtracted from it. Images lie in lanes: tasks sum the
 * lanes of each channel in double, one thread folds channels, lanes and blocks in this order, and
 * tasks subtract. An image's own mean depends on nothing but the image. */
#include "backends/native/rows.h"

struct mean_subtract {
    const struct cvyi_norm_kernels *k;
    struct native_grid grid;
    struct native_lanes x, y;
    enum cvy_mean_over over;
    int slots; /* double [block][c][16] */
    int means; /* struct cvyi_lane_norm [block]; idle lanes have a mean of 0 */
};

static const float one = 1, zero = 0;
static const struct cvyi_lane_affine identity = { &one, &zero, 0, 0 };

static void run_sums(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    static const float origin[CVYI_LANES] = { 0 };
    const struct mean_subtract *a = arg;
    struct native_cell cell = native_cell(a->grid, a->x.c, task);
    (void)worker;
    NATIVE_BLOCKS (cell, run) {
        double *slot = (double *)run->buf[a->slots] + cell.block * a->x.c * NATIVE_LANES;
        for (size_t c = cell.c0; c < cell.c1; c++) {
            const float *x = native_at(run, &a->x, cell.block, c);
            double *sum = slot + c * NATIVE_LANES, squares[CVYI_LANES] = { 0 };
            for (size_t l = 0; l < NATIVE_LANES; l++) sum[l] = 0;
            a->k->lane_reduce(x, x, a->x.h * a->x.w * NATIVE_LANES, origin, &identity, sum,
                              squares);
        }
    }
}

static void put_mean(struct cvyi_lane_norm *to, size_t lane, double mean)
{
    to->m[lane] = (float)mean;
    to->r[lane] = (float)((double)to->m[lane] - mean); /* what its rounding lost */
}

static void run_fold(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct mean_subtract *a = arg;
    struct cvyi_lane_norm *means = run->buf[a->means];
    size_t size = a->x.c * a->x.h * a->x.w, blocks = native_blocks_in_use(run);
    double total = 0;
    (void)task, (void)worker;
    for (size_t b = 0; b < blocks; b++) {
        const double *slot = (const double *)run->buf[a->slots] + b * a->x.c * NATIVE_LANES;
        double sum[CVYI_LANES] = { 0 };
        for (size_t c = 0; c < a->x.c; c++)
            for (size_t l = 0; l < NATIVE_LANES; l++) sum[l] += slot[c * NATIVE_LANES + l];
        for (size_t l = 0; l < NATIVE_LANES; l++) {
            bool idle = l >= native_images(run, b);
            means[b].s[l] = 1;
            put_mean(&means[b], l, idle ? 0 : sum[l] / (double)size);
            if (!idle) total += sum[l];
        }
    }
    for (size_t b = 0; a->over == CVY_MEAN_OF_BATCH && b < blocks; b++)
        for (size_t l = 0; l < native_images(run, b); l++)
            put_mean(&means[b], l, total / ((double)run->n * (double)size));
}

static void run_subtract(const void *arg, const struct cvy_run *run, size_t task,
                         struct cvy_worker *worker)
{
    const struct mean_subtract *a = arg;
    struct native_cell cell = native_cell(a->grid, a->x.c, task);
    (void)worker;
    NATIVE_BLOCKS (cell, run) {
        const struct cvyi_lane_norm *mean =
            (const struct cvyi_lane_norm *)run->buf[a->means] + cell.block;
        for (size_t c = cell.c0; c < cell.c1; c++)
            a->k->lane_norm(native_at(run, &a->y, cell.block, c),
                            native_at(run, &a->x, cell.block, c), a->x.h * a->x.w * NATIVE_LANES,
                            mean, &identity);
    }
}

static enum cvy_status plan_mean_subtract(struct native *native, struct cvy_plan *plan,
                                          const struct cvy_op_desc *op, int n, size_t first)
{
    (void)n, (void)first;
    struct mean_subtract *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    *a = (struct mean_subtract){ .k = native->kernels->norm,
                                 .x = native_lanes(plan, op->in[CVY_MEAN_SUBTRACT_X]),
                                 .y = native_lanes(plan, op->out[CVY_MEAN_SUBTRACT_Y]),
                                 .over = op->u.mean.over };
    a->grid = native_grid_of(native, &a->x);
    a->slots = cvy_plan_buffer(plan, op->name,
                               native->blocks * a->x.c * NATIVE_LANES * sizeof(double), false);
    a->means =
        cvy_plan_buffer(plan, op->name, native->blocks * sizeof(struct cvyi_lane_norm), false);
    if (a->slots < 0 || a->means < 0) return CVY_E_NOMEM;
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_sums,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts };
    struct cvy_phase_desc sums = phase, fold = {
        .name = op->name, .run = run_fold, .arg = a, .parts = 1, .gate = true
    };
    native_access(&sums, a->x.id, CVY_READ_CELL);
    native_access(&sums, a->slots, CVY_WRITE_CELL);
    NATIVE_TRY(cvy_plan_phase(plan, &sums));
    native_access(&fold, a->slots, CVY_READ_ALL);
    native_access(&fold, a->means, CVY_WRITE_ALL);
    NATIVE_TRY(cvy_plan_phase(plan, &fold));
    phase.run = run_subtract;
    native_access(&phase, a->x.id, CVY_READ_CELL);
    native_access(&phase, a->means, CVY_READ_ALL);
    native_access(&phase, a->y.id, CVY_WRITE_CELL);
    native_in_place(&phase, &a->x, &a->y);
    return cvy_plan_phase(plan, &phase);
}

NATIVE_FAMILY(mean_subtract, NULL, plan_mean_subtract);
