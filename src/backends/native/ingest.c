/* Images in: bytes or floats of shuffled images are gathered through the batch's index, laid side
 * by side and scaled, one fma each; augmented ones by way of a few pixels of each in scratch. Also
 * the entry of the family that changes layouts (reorder.c). */
#include "backends/native/rows.h"

/* A task has a block and a range of channels; where those are few, a band of pixels of all channels
 * of a block. */
struct ingest {
    const struct cvyi_lanes_kernels *k;
    struct native_grid grid;
    struct native_lanes x;
    struct native_cut bands; /* no bands: the grid's cells */
};

/* Pixels of channel c of a block's images, from pixel p0 at src[image] on, to x. */
struct gather {
    const struct ingest *a;
    const struct cvy_run *run;
    size_t c, p0, pixels, images;
};
static void gather(const struct gather *g, const void *const src[CVYI_LANES], float *x)
{
    const struct cvy_run *run = g->run;
    const struct cvyi_lanes_kernels *k = g->a->k;
    const float scale = run->in_scale[g->c],
                *shift = run->in_shift + g->c * g->a->x.h * g->a->x.w + g->p0;
    if (run->dtype == CVY_U8)
        k->ingest_u8(x, (const uint8_t *const *)src, g->pixels, (unsigned)g->images, scale, shift);
    else k->ingest_f32(x, (const float *const *)src, g->pixels, (unsigned)g->images, scale, shift);
}

enum { MOVED = 256 }; /* pixels of an image at a time */

/* Pixels p of the cell's channels, where each image is moved. */
static void run_moved(const struct ingest *a, const struct cvy_run *run, struct native_cell cell,
                      struct native_range p, void *scratch)
{
    struct gather g = { a, run, 0, 0, 0, native_images(run, cell.block) };
    struct cvy_move move[CVYI_LANES];
    void *moved[CVYI_LANES] = { 0 };
    const void *src[CVYI_LANES] = { 0 };
    const size_t first = cell.block * NATIVE_LANES;
    for (size_t l = 0; l < g.images; l++) {
        cvy_run_move(run, (cvy_shape){ 0, a->x.c, a->x.h, a->x.w }, first + l, &move[l]);
        src[l] = moved[l] = (char *)scratch + l * MOVED * sizeof(float);
    }
    for (g.c = cell.c0; g.c < cell.c1; g.c++)
        for (size_t p0 = p.begin, p1; p0 < p.end; p0 = p1) {
            float *x = native_at(run, &a->x, cell.block, g.c) + p0 * NATIVE_LANES;
            p1 = p0 + MOVED < p.end ? p0 + MOVED : p.end;
            g.p0 = p0;
            g.pixels = p1 - p0;
            for (size_t l = 0; l < g.images; l++)
                cvy_run_pixels(run, &move[l], g.c, p0, p1, moved[l]);
            gather(&g, src, x);
            for (size_t l = 0; l < g.images; l++)
                cvy_move_blank(&move[l], p0, p1, x + l, NATIVE_LANES);
        }
}

static void run_ingest(const void *arg, const struct cvy_run *run, size_t task,
                       struct cvy_worker *worker)
{
    const struct ingest *a = arg;
    const size_t pixels = a->x.h * a->x.w;
    struct native_range p = { 0, pixels };
    struct native_cell cell = { 0, 0, 0, a->x.c };
    if (a->bands.bands) {
        struct native_task t = native_task(a->bands, task);
        p = native_share(pixels, t.band, a->bands.bands);
        cell.block = t.block;
    } else {
        cell = native_cell(a->grid, a->x.c, task);
    }
    struct gather g = { a, run, 0, p.begin, p.end - p.begin, native_images(run, cell.block) };
    if (!g.images) return;
    if (cvy_run_moves(run)) {
        run_moved(a, run, cell, p, worker->scratch);
        return;
    }
    const size_t element = run->dtype == CVY_U8 ? 1 : sizeof(float);
    for (g.c = cell.c0; g.c < cell.c1; g.c++) {
        const void *src[CVYI_LANES] = { 0 };
        for (size_t l = 0; l < g.images; l++) {
            size_t i = cell.block * NATIVE_LANES + l, image = run->index ? run->index[i] : i;
            src[l] =
                (const char *)run->images + ((image * a->x.c + g.c) * pixels + p.begin) * element;
        }
        gather(&g, src, native_at(run, &a->x, cell.block, g.c) + p.begin * NATIVE_LANES);
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
                                    .scratch_bytes = CVYI_LANES * MOVED * sizeof(float),
                                    .blocks = a->bands.bands ? 0 : a->grid.blocks,
                                    .parts =
                                        a->bands.bands ? native_tasks(a->bands) : a->grid.parts };
    native_access(&phase, a->x.id, a->bands.bands ? CVY_WRITE_ALL : CVY_WRITE_CELL);
    return cvy_plan_phase(plan, &phase);
}

NATIVE_FAMILY(ingest, take, plan_ingest);
NATIVE_FAMILY(reorder, take, plan_ingest);
