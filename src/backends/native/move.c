/* Moving channels: CONCAT, SLICE, PAD. */
#include <string.h>

#include "backends/native/rows.h"

/* Channels of several maps to one, or some channels of one map to another, as `n` runs of channels;
 * what no run covers is zero. */
struct copy_run {
    struct native_lanes src;
    size_t src_c0, dst_c0;
    bool there; /* it lies in the result already */
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
        if (r->there && c >= r->dst_c0) continue;
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

/* Whether a value is channels from c0 on of another, in place. */
static bool lies_in(const struct cvy_plan *plan, int part, int whole, size_t c0)
{
    const struct cvy_value *p = cvy_plan_value(plan, part), *w = cvy_plan_value(plan, whole);
    return p->view.c && native_root(plan, part) == native_root(plan, whole) &&
           p->view.c0 == w->view.c0 + c0;
}

static enum cvy_status plan_copy(struct native *native, struct cvy_plan *plan,
                                 const struct cvy_op_desc *op, int n_ops, size_t first)
{
    (void)n_ops, (void)first;
    size_t n = (size_t)op->n_in, c = 0, there = 0;
    int y = op->out[CVY_CONCAT_Y];
    if (op->kind == CVY_OP_SLICE && lies_in(plan, y, op->in[CVY_SLICE_X], op->u.slice.c0)) {
        native_chose(plan, CHOICE_VIEWS, true);
        return CVY_OK;
    }
    struct copy *a = cvy_plan_alloc(plan, sizeof *a + n * sizeof a->run[0]);
    if (!a) return CVY_E_NOMEM;
    a->dst = native_lanes(plan, y);
    a->n = n;
    a->grid = native_grid_of(native, &a->dst);
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_copy,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts };
    for (size_t i = 0; i < n; i++) {
        struct copy_run *r = &a->run[i];
        r->src = native_lanes(plan, op->in[i]);
        r->dst_c0 = op->kind == CVY_OP_PAD ? op->u.slice.c0 : c;
        r->src_c0 = op->kind == CVY_OP_SLICE ? op->u.slice.c0 : 0;
        r->there = op->kind == CVY_OP_CONCAT && lies_in(plan, op->in[i], y, c);
        c += r->src.c;
        there += r->there;
        if (r->there) continue;
        /* A part's channels here are not its channels there, unless it has them all. */
        native_access(&phase, op->in[i], a->grid.parts == 1 ? CVY_READ_CELL : CVY_READ_ALL);
    }
    if (native_chose(plan, CHOICE_VIEWS, there == n)) return CVY_OK;
    native_access(&phase, a->dst.id, CVY_WRITE_CELL);
    return cvy_plan_phase(plan, &phase);
}

NATIVE_FAMILY(concat, NULL, plan_copy);
NATIVE_FAMILY(slice, NULL, plan_copy);
NATIVE_FAMILY(pad, NULL, plan_copy);
