/* Maps of another size. Along each axis every result is a few neighbouring pixels times weights,
 * and so is every pixel's gradient of results: the same two passes, rows into a scratch row and its
 * columns into the result, with the tables of either direction. Nobody adds to what another task
 * has written. */
#include <string.h>

#include "backends/native/rows.h"

struct upsample {
    const struct cvyi_rows_kernels *k;
    struct native_grid grid;
    struct native_lanes from, to;
    struct cvyi_taps rows, columns; /* by row and column of `to` */
};

static void run_upsample(const void *arg, const struct cvy_run *run, size_t task,
                         struct cvy_worker *worker)
{
    const struct upsample *a = arg;
    struct native_cell cell = native_cell(a->grid, a->to.c, task);
    size_t row = a->from.w * NATIVE_LANES;
    NATIVE_BLOCKS (cell, run)
        for (size_t c = cell.c0; c < cell.c1; c++) {
            const float *from = native_at(run, &a->from, cell.block, c), *x;
            float *to = native_at(run, &a->to, cell.block, c);
            for (size_t y = 0; y < a->to.h; y++, to += a->to.w * NATIVE_LANES) {
                size_t first = a->rows.start[y];
                if (a->rows.start[y + 1] - first == 1 && a->rows.weight[first] == 1) {
                    x = from + a->rows.first[y] * row;
                } else {
                    a->k->blend(worker->scratch, from, row, &a->rows, y, y + 1);
                    x = worker->scratch;
                }
                a->k->blend(to, x, NATIVE_LANES, &a->columns, 0, a->to.w);
            }
        }
}

/* --------------------------------------------------------------------------------------- tables */

/* The pixels that result o of `out` lies between: *first and the next, whose weight is answered. In
 * whole numbers, so that what lies on a pixel does so exactly. */
static double place_of(const cvy_upsample_desc *d, size_t size, size_t out, size_t o, size_t *first)
{
    *first = o * size / out;
    if (d->kind == CVY_UPSAMPLE_NEAREST) return 0;
    uint64_t position = (2 * (uint64_t)o + 1) * size, over = 2 * (uint64_t)out;
    position = position > out ? position - out : 0;
    if (d->align_corners) {
        position = out > 1 ? (uint64_t)o * (size - 1) : 0;
        over = out > 1 ? out - 1 : 1;
    }
    *first = (size_t)(position / over);
    return *first + 1 < size ? (double)(position % over) / (double)over : 0;
}

/* Of an axis of `size` pixels that becomes `out`: what each result is made of, or, back, who has a
 * share of each pixel. False: out of memory. */
static bool make_taps(struct cvy_plan *plan, const cvy_upsample_desc *d, size_t size, size_t out,
                      bool back, struct cvyi_taps *taps)
{
    size_t rows = back ? size : out;
    uint32_t *first = cvy_plan_alloc(plan, rows * sizeof *first),
             *start = cvy_plan_alloc(plan, (rows + 1) * sizeof *start);
    float *weight = cvy_plan_alloc(plan, 2 * out * sizeof *weight);
    if (!first || !start || !weight) return false;
    /* shares are counted, then placed: by result, and among a pixel's in the order of results */
    for (int pass = 0; pass < 2; pass++) {
        for (size_t o = 0; o < out; o++) {
            size_t at;
            double next = place_of(d, size, out, o, &at);
            for (size_t k = 0; k < (next > 0 ? 2u : 1u); k++) {
                size_t row = back ? at + k : o, source = back ? o : at + k;
                if (pass == 0) {
                    if (!start[row + 1]++) first[row] = (uint32_t)source;
                } else weight[start[row] + source - first[row]] = (float)(k ? next : 1 - next);
            }
        }
        for (size_t r = 0; pass == 0 && r < rows; r++) start[r + 1] += start[r];
    }
    *taps = (struct cvyi_taps){ first, start, weight };
    return true;
}

static enum cvy_status plan_upsample(struct native *native, struct cvy_plan *plan,
                                     const struct cvy_op_desc *op, int n, size_t first)
{
    (void)n, (void)first;
    bool back = op->kind == CVY_OP_UPSAMPLE_BWD;
    const cvy_upsample_desc *d = &op->u.upsample;
    struct upsample *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    a->k = native->kernels->rows;
    a->from = native_lanes(plan, op->in[back ? CVY_UPSAMPLE_BWD_DY : CVY_UPSAMPLE_X]);
    a->to = native_lanes(plan, op->out[back ? CVY_UPSAMPLE_BWD_DX : CVY_UPSAMPLE_Y]);
    a->grid = native_grid_of(native, &a->to);
    const struct native_lanes *small = back ? &a->to : &a->from, *large = back ? &a->from : &a->to;
    if (!make_taps(plan, d, small->h, large->h, back, &a->rows) ||
        !make_taps(plan, d, small->w, large->w, back, &a->columns))
        return CVY_E_NOMEM;
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_upsample,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts,
                                    .scratch_bytes = a->from.w * NATIVE_LANES * sizeof(float) };
    native_cell_access(&phase, native, &a->from, a->grid, false);
    native_access(&phase, a->to.id, CVY_WRITE_CELL);
    return cvy_plan_phase(plan, &phase);
}

NATIVE_FAMILY(upsample, NULL, plan_upsample);
NATIVE_FAMILY(upsample_bwd, NULL, plan_upsample);
