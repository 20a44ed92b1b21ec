/* Dropout and its gradient. The mask is a function of (seed, step, layer, element, image) and is
 * made again in the backward pass. */
#include <string.h>

#include "backends/native/rows.h"
#include "base/random.h"

struct dropout {
    const struct cvyi_kernels *k;
    struct native_grid grid;
    struct native_lanes x, y;
    uint64_t threshold;
    uint32_t stream;
    float scale;
    bool infer;
};

static void make_mask(const struct dropout *a, const struct cvy_run *run, size_t block, size_t e,
                      size_t n, uint16_t *mask)
{
    for (size_t p = 0; p < n; p++) {
        unsigned bits = 0;
        for (unsigned half = 0; half < 2; half++) {
            uint32_t word[8];
            cvyi_dropout_words(run->seed, run->step, a->stream, e + p, block * 2 + half, word);
            for (unsigned i = 0; i < 8; i++)
                bits |= (unsigned)(word[i] >= a->threshold) << (8 * half + i);
        }
        mask[p] = (uint16_t)bits;
    }
}

static void run_dropout(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    const struct dropout *a = arg;
    struct native_cell cell = native_cell(a->grid, a->x.c, task);
    size_t pixels = a->x.h * a->x.w;
    uint16_t *mask = worker->scratch;
    NATIVE_BLOCKS (cell, run) {
        const float *x = native_at(run, &a->x, cell.block, cell.c0);
        float *y = native_at(run, &a->y, cell.block, cell.c0);
        for (size_t c = cell.c0; c < cell.c1;
             c++, x += a->x.plane * NATIVE_LANES, y += a->y.plane * NATIVE_LANES) {
            if (a->infer) {
                if (a->scale != 1) a->k->rows->scale(y, x, pixels * NATIVE_LANES, a->scale);
                else if (x != y) memcpy(y, x, pixels * NATIVE_LANES * sizeof *y);
                continue;
            }
            for (size_t p = 0; p < pixels; p += NATIVE_SEGMENT) {
                size_t m = pixels - p < NATIVE_SEGMENT ? pixels - p : NATIVE_SEGMENT;
                make_mask(a, run, cell.block, c * pixels + p, m, mask);
                a->k->rows->mask_scale(y + p * NATIVE_LANES, x + p * NATIVE_LANES, mask,
                                       m * NATIVE_LANES, a->scale);
            }
        }
    }
}

_Static_assert((int)CVY_DROPOUT_X == (int)CVY_DROPOUT_BWD_DY &&
                   (int)CVY_DROPOUT_Y == (int)CVY_DROPOUT_BWD_DX,
               "dropout and its gradient");

static enum cvy_status plan_dropout(struct native *native, struct cvy_plan *plan,
                                    const struct cvy_op_desc *ops, int n, size_t first)
{
    const struct cvy_op_desc *op = &ops[0];
    const cvy_dropout_desc *d = &op->u.dropout.desc;
    (void)n, (void)first;
    struct dropout *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    *a = (struct dropout){ .k = native->kernels,
                           .x = native_lanes(plan, op->in[CVY_DROPOUT_X]),
                           .y = native_lanes(plan, op->out[CVY_DROPOUT_Y]),
                           .threshold = cvyi_dropout_threshold(d->p),
                           .stream = op->u.dropout.stream,
                           .infer = op->u.dropout.infer };
    a->grid = native_grid_of(native, &a->x);
    if (a->infer) a->scale = d->unscaled ? (float)(1 - d->p) : 1;
    /* p = 1 keeps nothing to scale */
    else a->scale = d->unscaled || d->p >= 1 ? 1 : (float)(1 / (1 - d->p));
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_dropout,
                                    .arg = a,
                                    .blocks = a->grid.blocks,
                                    .parts = a->grid.parts,
                                    .scratch_bytes = NATIVE_SEGMENT * sizeof(uint16_t) };
    native_access(&phase, a->x.id, CVY_READ_CELL);
    native_access(&phase, a->y.id, CVY_WRITE_CELL);
    return cvy_plan_phase(plan, &phase);
}

NATIVE_FAMILY(dropout, NULL, plan_dropout);
NATIVE_FAMILY(dropout_bwd, NULL, plan_dropout);
