/* Sums of channels over all images, gradients of a number a channel: the slots of the blocks are
 * folded in their order, in double, by one thread or, of a wide map, by the tasks of its cells. */
#include "backends/native/rows.h"

struct fold {
    struct native_grid grid;
    size_t c;
    int slots, sum;
};

int cvyi_channel_slots(const struct native *native, struct cvy_plan *plan, const char *name,
                       const struct native_lanes *map)
{
    return cvy_plan_buffer(plan, name, native->blocks * map->c * sizeof(double), false);
}

static void run_fold(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct fold *a = arg;
    struct native_cell cell = native_cell(a->grid, a->c, task);
    const double *slots = run->buf[a->slots];
    float *sum = run->buf[a->sum];
    (void)worker;
    for (size_t c = cell.c0; c < cell.c1; c++) {
        double s = 0;
        for (size_t b = 0; b < native_blocks_in_use(run); b++) s += slots[b * a->c + c];
        sum[c] = (float)s;
    }
}

enum cvy_status cvyi_channel_fold(const struct native *native, struct cvy_plan *plan,
                                  const char *name, const struct native_lanes *map, int slots,
                                  int sum)
{
    struct fold *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    struct native_grid grid = native_grid_of(native, map);
    if (!grid.unit) grid = (struct native_grid){ 0, 1, 0 };
    *a = (struct fold){ grid, map->c, slots, sum };
    struct cvy_phase_desc phase = { .name = name,
                                    .run = run_fold,
                                    .arg = a,
                                    .blocks = grid.blocks,
                                    .parts = grid.parts,
                                    .gate = !grid.unit };
    native_access(&phase, slots, native_read(grid));
    native_access(&phase, sum, native_write(grid));
    return cvy_plan_phase(plan, &phase);
}
