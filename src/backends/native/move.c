/* Moving channels: CONCAT, SLICE, PAD. */
#include <string.h>

#include "backends/native/rows.h"

/* Channels of several maps to one, or some channels of one map to another, as `n` runs of channels;
 * what no run covers is zero. */
struct copy_run {
    struct native_lanes src;
    size_t src_c0, dst_c0;
};
struct copy {
    struct native_grid grid;
    struct native_lanes dst;
    size_t n;
    struct copy_run run[];
};

static void run_copy(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct copy *a = arg;
    struct native_cell cell = native_cell(a->grid, a->dst.c, task);
    size_t bytes = a->dst.h * a->dst.w * NATIVE_LANES * sizeof(float), i = 0;
    (void)worker;
    for (size_t c = cell.c0; c < cell.c1; c++) {
        while (i + 1 < a->n && a->run[i + 1].dst_c0 <= c) i++;
        const struct copy_run *r = &a->run[i];
        size_t from = c - r->dst_c0 + r->src_c0;
        struct native_cell at = cell;
        NATIVE_BLOCKS (at, run) {
            float *dst = native_at(run, &a->dst, at.block, c);
            if (c < r->dst_c0 || from >= r->src.c) memset(dst, 0, bytes);
            else memcpy(dst, native_at(run, &r->src, at.block, from), bytes);
        }
    }
}

_Static_assert((int)CVY_CONCAT_Y == (int)CVY_SLICE_Y && (int)CVY_SLICE_Y == (int)CVY_PAD_Y,
               "copies");

static enum cvy_status plan_copy(struct native *native, struct cvy_plan *plan,
                                 const struct cvy_op_desc *op, int n_ops, size_t first)
{
    (void)n_ops, (void)first;
    size_t n = (size_t)op->n_in, c = 0;
    struct copy *a = cvy_plan_alloc(plan, sizeof *a + n * sizeof a->run[0]);
    if (!a) return CVY_E_NOMEM;
    a->dst = native_lanes(plan, op->out[CVY_CONCAT_Y]);
    a->n = n;
    a->grid = native_grid_of(native, &a->dst);
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_copy,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts };
    for (size_t i = 0; i < n; i++) {
        a->run[i].src = native_lanes(plan, op->in[i]);
        a->run[i].dst_c0 = op->kind == CVY_OP_PAD ? op->u.slice.c0 : c;
        a->run[i].src_c0 = op->kind == CVY_OP_SLICE ? op->u.slice.c0 : 0;
        c += a->run[i].src.c;
        /* A part's channels here are not its channels there, unless it has them all. */
        native_access(&phase, op->in[i], a->grid.parts == 1 ? CVY_READ_CELL : CVY_READ_ALL);
    }
    native_access(&phase, a->dst.id, CVY_WRITE_CELL);
    return cvy_plan_phase(plan, &phase);
}

NATIVE_FAMILY(concat, NULL, plan_copy);
NATIVE_FAMILY(slice, NULL, plan_copy);
NATIVE_FAMILY(pad, NULL, plan_copy);
