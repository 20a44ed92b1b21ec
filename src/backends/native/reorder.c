/* Reorders: the same numbers in another layout, any of plain, plain double and lanes. Activations
 * go by image block and channel, as every other phase does, and only the batch's images; parameters
 * go as flat runs. */
#include <string.h>

#include "backends/native/rows.h"

#define FLAT_TASK ((size_t)16384) /* elements of a parameter per task */

struct reorder {
    const struct cvyi_lanes_kernels *k;
    struct native_grid grid;
    struct native_lanes src, dst;
    enum cvy_layout from, to;
    size_t elements; /* of a parameter */
};

/* n elements from element `at` on, between the plain layouts. */
static void convert(const struct reorder *a, const struct cvy_run *run, size_t at, size_t n)
{
    size_t from = a->from == CVY_LAYOUT_PLAIN64 ? sizeof(double) : sizeof(float);
    size_t to = a->to == CVY_LAYOUT_PLAIN64 ? sizeof(double) : sizeof(float);
    void *dst = (char *)run->buf[a->dst.id] + at * to;
    const void *src = (char *)run->buf[a->src.id] + at * from;
    if (from == to) memcpy(dst, src, n * to);
    else if (a->to == CVY_LAYOUT_PLAIN64)
        for (size_t i = 0; i < n; i++) ((double *)dst)[i] = (double)((const float *)src)[i];
    else
        for (size_t i = 0; i < n; i++) ((float *)dst)[i] = (float)((const double *)src)[i];
}

/* Element offset of channel c of image i in a plain activation. */
static size_t plain_at(const struct native_lanes *v, size_t i, size_t c)
{
    return (i * v->c + c) * v->h * v->w;
}

static void to_lanes(const struct reorder *a, const struct cvy_run *run, size_t block,
                     size_t images, size_t c)
{
    size_t pixels = a->dst.h * a->dst.w, first = block * NATIVE_LANES;
    float *dst = native_at(run, &a->dst, block, c);
    if (a->from == CVY_LAYOUT_PLAIN) {
        const float *src[CVYI_LANES] = { 0 };
        for (size_t l = 0; l < images; l++)
            src[l] = (const float *)run->buf[a->src.id] + plain_at(&a->src, first + l, c);
        a->k->to_lanes(dst, src, pixels, (unsigned)images);
        return;
    }
    memset(dst, 0, pixels * NATIVE_LANES * sizeof *dst);
    for (size_t l = 0; l < images; l++) {
        const double *src = (const double *)run->buf[a->src.id] + plain_at(&a->src, first + l, c);
        for (size_t p = 0; p < pixels; p++) dst[p * NATIVE_LANES + l] = (float)src[p];
    }
}

static void from_lanes(const struct reorder *a, const struct cvy_run *run, size_t block,
                       size_t images, size_t c)
{
    size_t pixels = a->src.h * a->src.w, first = block * NATIVE_LANES;
    const float *src = native_at(run, &a->src, block, c);
    if (a->to == CVY_LAYOUT_LANES) {
        memcpy(native_at(run, &a->dst, block, c), src, pixels * NATIVE_LANES * sizeof *src);
    } else if (a->to == CVY_LAYOUT_PLAIN) {
        float *dst[CVYI_LANES] = { 0 };
        for (size_t l = 0; l < images; l++)
            dst[l] = (float *)run->buf[a->dst.id] + plain_at(&a->dst, first + l, c);
        a->k->from_lanes(dst, src, pixels, (unsigned)images);
    } else {
        for (size_t l = 0; l < images; l++) {
            double *dst = (double *)run->buf[a->dst.id] + plain_at(&a->dst, first + l, c);
            for (size_t p = 0; p < pixels; p++) dst[p] = (double)src[p * NATIVE_LANES + l];
        }
    }
}

static void run_reorder(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    const struct reorder *a = arg;
    struct native_cell cell = native_cell(a->grid, a->dst.c, task);
    (void)worker;
    NATIVE_BLOCKS(cell, run)
    {
        size_t images = native_images(run, cell.block), first = cell.block * NATIVE_LANES,
               pixels = a->dst.h * a->dst.w;
        for (size_t c = cell.c0; c < cell.c1; c++) {
            if (a->from == CVY_LAYOUT_LANES) from_lanes(a, run, cell.block, images, c);
            else if (a->to == CVY_LAYOUT_LANES) to_lanes(a, run, cell.block, images, c);
            else
                for (size_t l = 0; l < images; l++)
                    convert(a, run, plain_at(&a->dst, first + l, c), pixels);
        }
    }
}

static void run_flat(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct reorder *a = arg;
    size_t at = task * FLAT_TASK, n = a->elements - at < FLAT_TASK ? a->elements - at : FLAT_TASK;
    (void)worker;
    convert(a, run, at, n);
}

int cvyi_reorder_take(const struct cvy_plan *plan, const struct cvy_op_desc *op)
{
    const struct cvy_value *src = cvy_plan_value(plan, op->in[0]),
                           *dst = cvy_plan_value(plan, op->out[0]);
    bool batch = dst->role == CVY_ROLE_ACTIVATION && src->role == CVY_ROLE_ACTIVATION;
    if (src->layout == CVY_LAYOUT_OPAQUE || dst->layout == CVY_LAYOUT_OPAQUE) return 0;
    return batch || (src->layout != CVY_LAYOUT_LANES && dst->layout != CVY_LAYOUT_LANES);
}

enum cvy_status cvyi_reorder_plan(struct native *native, struct cvy_plan *plan,
                                  const struct cvy_op_desc *op)
{
    const struct cvy_value *src = cvy_plan_value(plan, op->in[0]),
                           *dst = cvy_plan_value(plan, op->out[0]);
    bool batch = dst->role == CVY_ROLE_ACTIVATION && src->role == CVY_ROLE_ACTIVATION;
    struct reorder *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    *a = (struct reorder){ .k = native->kernels->lanes,
                           .src = native_lanes(plan, op->in[0]),
                           .dst = native_lanes(plan, op->out[0]),
                           .from = src->layout,
                           .to = dst->layout,
                           .elements = dst->shape.n * dst->shape.c * dst->shape.h * dst->shape.w };
    if (!batch) native_chose(plan, CHOICE_FLAT_TASKS, a->elements > FLAT_TASK);
    a->grid = batch ? native_grid_of(native, &a->dst)
                    : (struct native_grid){ 0, (a->elements + FLAT_TASK - 1) / FLAT_TASK, 0 };
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = batch ? run_reorder : run_flat,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts };
    native_access(&phase, op->in[0], batch ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, op->out[0], batch ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}
