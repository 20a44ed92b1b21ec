/* Images in: bytes or floats of shuffled images are gathered through the batch's index, laid side
 * by side and scaled, one fma each. Also the entry of the family that changes layouts
 * (reorder.c). */
#include "backends/native/rows.h"

/* A task has a block and a range of channels; where those are few, a band of pixels of all channels
 * of a block. */
struct ingest {
    const struct cvyi_lanes_kernels *k;
    struct native_grid grid;
    struct native_lanes x;
    struct native_cut bands; /* no bands: the grid's cells */
};

static void run_ingest(const void *arg, const struct cvy_run *run, size_t task,
                       struct cvy_worker *worker)
{
    const struct ingest *a = arg;
    size_t pixels = a->x.h * a->x.w, p0 = 0, p1 = pixels, first[CVYI_LANES];
    struct native_cell cell = { 0, 0, 0, a->x.c };
    if (a->bands.bands) {
        struct native_task t = native_task(a->bands, task);
        struct native_range p = native_share(pixels, t.band, a->bands.bands);
        cell.block = t.block;
        p0 = p.begin;
        p1 = p.end;
    } else {
        cell = native_cell(a->grid, a->x.c, task);
    }
    size_t images = native_images(run, cell.block);
    (void)worker;
    if (!images) return;
    for (size_t l = 0; l < images; l++) {
        size_t i = cell.block * NATIVE_LANES + l;
        first[l] = (run->index ? (size_t)run->index[i] : i) * a->x.c * pixels + p0;
    }
    for (size_t c = cell.c0; c < cell.c1; c++) {
        float *x = native_at(run, &a->x, cell.block, c) + p0 * NATIVE_LANES;
        float scale = run->in_scale ? run->in_scale[c] : 1,
              shift = run->in_shift ? run->in_shift[c] : 0;
        if (run->dtype == CVY_U8) {
            const uint8_t *src[CVYI_LANES] = { 0 };
            for (size_t l = 0; l < images; l++)
                src[l] = (const uint8_t *)run->images + first[l] + c * pixels;
            a->k->ingest_u8(x, src, p1 - p0, (unsigned)images, scale, shift);
        } else {
            const float *src[CVYI_LANES] = { 0 };
            for (size_t l = 0; l < images; l++)
                src[l] = (const float *)run->images + first[l] + c * pixels;
            a->k->ingest_f32(x, src, p1 - p0, (unsigned)images, scale, shift);
        }
    }
}

static int take(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    (void)native, (void)n;
    return ops[0].kind == CVY_OP_INGEST ? 1 : cvyi_reorder_take(plan, &ops[0]);
}

static enum cvy_status plan_ingest(struct native *native, struct cvy_plan *plan,
                                   const struct cvy_op_desc *ops, int n, size_t first)
{
    (void)n, (void)first;
    if (ops[0].kind == CVY_OP_REORDER) return cvyi_reorder_plan(native, plan, &ops[0]);
    struct ingest *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    a->k = native->kernels->lanes;
    a->x = native_lanes(plan, ops[0].out[CVY_INGEST_X]);
    a->grid = native_grid(native, a->x.c, 0);
    size_t pixels = a->x.h * a->x.w, cells = a->grid.blocks * a->grid.parts;
    struct native_work work = { .blocks = native->blocks,
                                .regions = pixels,
                                .wanted = native_parts(native) };
    if (native_chose(plan, CHOICE_INGEST_BANDS, cells < NATIVE_TASKS / 2))
        a->bands = cvyi_native_cut(&work);
    struct cvy_phase_desc phase = { .name = ops[0].name,
                                    .run = run_ingest,
                                    .arg = a,
                                    .blocks = a->bands.bands ? 0 : a->grid.blocks,
                                    .parts =
                                        a->bands.bands ? native_tasks(a->bands) : a->grid.parts };
    native_access(&phase, a->x.id, a->bands.bands ? CVY_WRITE_ALL : CVY_WRITE_CELL);
    return cvy_plan_phase(plan, &phase);
}

NATIVE_FAMILY(ingest, take, plan_ingest);
NATIVE_FAMILY(reorder, take, plan_ingest);
