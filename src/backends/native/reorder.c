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

/* Element offset of channel c of image i in a plain activation. */
static size_t plain_at(const struct native_lanes *v, size_t i, size_t c)
{
    return (i * v->c + c) * v->h * v->w;
}

static void to_lanes(const struct reorder *a, const struct cvy_run *run, size_t block,
                     size_t images, size_t c)
{
    const float *src[CVYI_LANES] = { 0 };
    for (size_t l = 0; l < images; l++)
        src[l] =
            (const float *)run->buf[a->src.id] + plain_at(&a->src, block * NATIVE_LANES + l, c);
    a->k->to_lanes(native_at(run, &a->dst, block, c), src, a->dst.h * a->dst.w, (unsigned)images);
}

static void from_lanes(const struct reorder *a, const struct cvy_run *run, size_t block,
                       size_t images, size_t c)
{
    float *dst[CVYI_LANES] = { 0 };
    for (size_t l = 0; l < images; l++)
        dst[l] = (float *)run->buf[a->dst.id] + plain_at(&a->dst, block * NATIVE_LANES + l, c);
    a->k->from_lanes(dst, native_at(run, &a->src, block, c), a->src.h * a->src.w, (unsigned)images);
}

static void run_reorder(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    const struct reorder *a = arg;
    struct native_cell cell = native_cell(a->grid, a->dst.c, task);
    (void)worker;
    NATIVE_BLOCKS (cell, run) {
        size_t images = native_images(run, cell.block);
        for (size_t c = cell.c0; c < cell.c1; c++)
            if (a->lanes) to_lanes(a, run, cell.block, images, c);
            else from_lanes(a, run, cell.block, images, c);
    }
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
