/* The mixture of two maps and its gradient. Shares are a function of (seed, step, layer, element,
 * image) and are made again in the backward pass; they have 24 bits, so that what a share leaves of
 * one is exact. */
#include "backends/native/rows.h"
#include "base/random.h"

struct mix {
    const struct cvyi_kernels *k;
    struct native_grid grid;
    struct native_lanes a, b, y; /* of the gradient da, db and dy */
    uint32_t stream;
    bool infer;
};

enum { SEGMENT = 64, FLOATS = SEGMENT * NATIVE_LANES }; /* pixels whose shares lie in the scratch */

static void make_shares(const struct mix *m, const struct cvy_run *run, size_t block, size_t e,
                        size_t n, float *share, float *rest)
{
    for (size_t at = 0; at < n * NATIVE_LANES; at += 8) {
        if (!m->infer)
            cvyi_mix_shares(run->seed, run->step, m->stream, e + at / NATIVE_LANES,
                            block * 2 + at / 8 % 2, share + at);
        for (size_t i = at; i < at + 8; i++) {
            if (m->infer) share[i] = 0.5f;
            rest[i] = 1 - share[i];
        }
    }
}

/* y = share a + rest b over n floats; part has room for them. */
static void mix(const struct mix *m, float *y, const float *a, const float *b, const float *share,
                const float *rest, float *part, size_t n)
{
    m->k->rows->mul(part, a, share, n);
    m->k->rows->mul(y, b, rest, n);
    m->k->rows->add(y, part, y, n);
}

static void run(const struct mix *m, const struct cvy_run *run, size_t task, float *share,
                bool backward)
{
    struct native_cell cell = native_cell(m->grid, m->y.c, task);
    const size_t pixels = m->y.h * m->y.w;
    float *rest = share + FLOATS, *part = rest + FLOATS;
    NATIVE_BLOCKS (cell, run)
        for (size_t c = cell.c0; c < cell.c1; c++) {
            float *a = native_at(run, &m->a, cell.block, c),
                  *b = native_at(run, &m->b, cell.block, c),
                  *y = native_at(run, &m->y, cell.block, c);
            for (size_t p = 0; p < pixels; p += SEGMENT) {
                size_t n = pixels - p < SEGMENT ? pixels - p : SEGMENT, at = p * NATIVE_LANES;
                make_shares(m, run, cell.block, c * pixels + p, n, share, rest);
                if (!backward) mix(m, y + at, a + at, b + at, share, rest, part, n * NATIVE_LANES);
                else {
                    m->k->rows->mul(a + at, y + at, share, n * NATIVE_LANES);
                    m->k->rows->mul(b + at, y + at, rest, n * NATIVE_LANES);
                }
            }
        }
}

static void run_forward(const void *arg, const struct cvy_run *at, size_t task,
                        struct cvy_worker *worker)
{
    run(arg, at, task, worker->scratch, false);
}

static void run_backward(const void *arg, const struct cvy_run *at, size_t task,
                         struct cvy_worker *worker)
{
    run(arg, at, task, worker->scratch, true);
}

static enum cvy_status plan_mix(struct native *native, struct cvy_plan *plan,
                                const struct cvy_op_desc *op, int n, size_t first)
{
    bool backward = op->kind == CVY_OP_MIX_BWD;
    (void)n, (void)first;
    struct mix *m = cvy_plan_alloc(plan, sizeof *m);
    if (!m) return CVY_E_NOMEM;
    *m = (struct mix){
        .k = native->kernels,
        .a = native_lanes(plan, backward ? op->out[CVY_MIX_BWD_DA] : op->in[CVY_MIX_A]),
        .b = native_lanes(plan, backward ? op->out[CVY_MIX_BWD_DB] : op->in[CVY_MIX_B]),
        .y = native_lanes(plan, backward ? op->in[CVY_MIX_BWD_DY] : op->out[CVY_MIX_Y]),
        .stream = op->u.mix.stream,
        .infer = op->u.mix.infer
    };
    m->grid = native_grid_of(native, &m->y);
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = backward ? run_backward : run_forward,
                                    .arg = m,
                                    .blocks = m->grid.blocks,
                                    .parts = m->grid.parts,
                                    .scratch_bytes = 3 * FLOATS * sizeof(float) };
    native_access(&phase, m->a.id, backward ? CVY_WRITE_CELL : CVY_READ_CELL);
    native_access(&phase, m->b.id, backward ? CVY_WRITE_CELL : CVY_READ_CELL);
    native_access(&phase, m->y.id, backward ? CVY_READ_CELL : CVY_WRITE_CELL);
    return cvy_plan_phase(plan, &phase);
}

NATIVE_FAMILY(mix, NULL, plan_mix);
NATIVE_FAMILY(mix_bwd, NULL, plan_mix);
