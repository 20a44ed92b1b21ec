/* Reorders: the same numbers in another layout, plain or lanes (plain double is for its owner).
 * Activations go by image block and channel, as every other phase does, and only the batch's
 * images; parameters go as flat runs. */
#include <string.h>

#include "backends/native/rows.h"

#define FLAT_TASK ((size_t)16384) /* elements of a parameter per task */

struct reorder {
    const struct cvyi_lanes_kernels *k;
    struct native_grid grid;
    struct native_lanes src, dst;
    bool lanes;      /* that is what it becomes */
    size_t elements; /* of a parameter */
};

/* Channels [c, c + channels) of one block: one run of pixels on either side. */
static void run_channels(const struct reorder *a, const struct cvy_run *run, size_t block, size_t c,
                         size_t channels)
{
    const struct native_lanes *lanes = a->lanes ? &a->dst : &a->src;
    const struct native_lanes *plain = a->lanes ? &a->src : &a->dst;
    size_t images = native_images(run, block), plane = plain->h * plain->w,
           image = plain->c * plane;
    float *first = (float *)run->buf[plain->id] + block * NATIVE_LANES * image + c * plane;
    float *rows = native_at(run, lanes, block, c), *image_rows[CVYI_LANES] = { 0 };
    for (size_t l = 0; l < images; l++) image_rows[l] = first + l * image;
    if (a->lanes)
        a->k->to_lanes(rows, (const float *const *)image_rows, channels * plane, (unsigned)images);
    else a->k->from_lanes(image_rows, rows, channels * plane, (unsigned)images);
}

static void run_reorder(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    const struct reorder *a = arg;
    struct native_cell cell = native_cell(a->grid, a->dst.c, task);
    size_t channels = native_dense(a->lanes ? &a->dst : &a->src) ? cell.c1 - cell.c0 : 1;
    (void)worker;
    NATIVE_BLOCKS (cell, run)
        for (size_t c = cell.c0; c < cell.c1; c += channels)
            run_channels(a, run, cell.block, c, channels);
}

static void run_flat(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct reorder *a = arg;
    size_t at = task * FLAT_TASK, n = a->elements - at < FLAT_TASK ? a->elements - at : FLAT_TASK;
    (void)worker;
    memcpy((float *)run->buf[a->dst.id] + at, (const float *)run->buf[a->src.id] + at,
           n * sizeof(float));
}

int cvyi_reorder_take(const struct cvy_plan *plan, const struct cvy_op_desc *op)
{
    const struct cvy_value *src = cvy_plan_value(plan, op->in[CVY_REORDER_X]),
                           *dst = cvy_plan_value(plan, op->out[CVY_REORDER_Y]);
    bool batch = dst->role == CVY_ROLE_ACTIVATION && src->role == CVY_ROLE_ACTIVATION;
    enum cvy_layout from = src->layout, to = dst->layout;
    if (batch && from == CVY_LAYOUT_PLAIN) return to == CVY_LAYOUT_LANES;
    return to == CVY_LAYOUT_PLAIN && from == (batch ? CVY_LAYOUT_LANES : CVY_LAYOUT_PLAIN);
}

enum cvy_status cvyi_reorder_plan(struct native *native, struct cvy_plan *plan,
                                  const struct cvy_op_desc *op)
{
    const struct cvy_value *src = cvy_plan_value(plan, op->in[CVY_REORDER_X]),
                           *dst = cvy_plan_value(plan, op->out[CVY_REORDER_Y]);
    bool batch = dst->role == CVY_ROLE_ACTIVATION && src->role == CVY_ROLE_ACTIVATION;
    struct reorder *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    *a = (struct reorder){ .k = native->kernels->lanes,
                           .src = native_lanes(plan, op->in[CVY_REORDER_X]),
                           .dst = native_lanes(plan, op->out[CVY_REORDER_Y]),
                           .lanes = dst->layout == CVY_LAYOUT_LANES,
                           .elements = dst->shape.n * dst->shape.c * dst->shape.h * dst->shape.w };
    if (!batch) native_chose(plan, CHOICE_FLAT_TASKS, a->elements > FLAT_TASK);
    a->grid = batch ? native_grid_of(native, &a->dst)
                    : (struct native_grid){ 0, (a->elements + FLAT_TASK - 1) / FLAT_TASK, 0 };
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = batch ? run_reorder : run_flat,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts };
    native_access(&phase, op->in[CVY_REORDER_X], batch ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, op->out[CVY_REORDER_Y], batch ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}
