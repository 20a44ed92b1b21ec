/* Gradients of weights by sums over images: `outer` (wgrad.c), for output maps of a few pixels. dy
 * is transposed, so that output channels lie side by side. */
#include <string.h>

#include "backends/native/wgrad.h"

#define OUTER_IMAGES ((size_t)1024)  /* the kernel's limit */
#define OUTER_FLOATS ((size_t)32768) /* weights of a task, in its scratch */

/* dyt[pixel][image][channel, groups padded to 16] of one block, `n` output channels from `o` on in
 * each group. */
static void transpose_block(const struct native_wgrad *a, const struct cvy_run *run, size_t block,
                            size_t o, size_t n, float *dyt)
{
    const struct native_geometry *c = &a->conv;
    for (size_t pixel = 0; pixel < c->y.h * c->y.w; pixel++)
        for (size_t group = 0; group < c->groups; group++) {
            float *dst = dyt + group * a->dyt_group +
                         (pixel * a->native->blocks + block) * NATIVE_LANES * a->dyt_n;
            const float *src =
                native_at(run, &c->y, block, group * c->oc + o) + pixel * NATIVE_LANES;
            a->native->kernels->lanes->transpose(dst, a->dyt_n, src, c->y.plane * NATIVE_LANES, n,
                                                 ceil_div(n, NATIVE_LANES) * NATIVE_LANES);
        }
}

static void transpose_run(const void *arg, const struct cvy_run *run, size_t task,
                          struct cvy_worker *worker)
{
    const struct native_wgrad *a = arg;
    (void)worker;
    if (task < native_blocks_in_use(run))
        transpose_block(a, run, task, 0, a->conv.oc, run->buf[a->dyt]);
}

/* The same by the cells of a wide y. */
static void transpose_wide(const void *arg, const struct cvy_run *run, size_t task,
                           struct cvy_worker *worker)
{
    const struct native_wgrad *a = arg;
    struct native_cell cell = native_cell(a->conv.wide, a->conv.oc, task);
    (void)worker;
    for (size_t b = 0; b < native_blocks_in_use(run); b++)
        transpose_block(a, run, b, cell.c0, cell.c1 - cell.c0, (float *)run->buf[a->dyt] + cell.c0);
}

/* sums += over all images, for one (pixel, tap) */
static void outer_pixel(const struct native_wgrad *a, const struct cvy_run *run, const float *dyt,
                        const float *x, struct cvyi_outer g, float *sums)
{
    for (size_t m = 0; m < run->n; m += OUTER_IMAGES) {
        g.n_images = native_min(run->n - m, OUTER_IMAGES);
        g.accumulate |= m > 0;
        a->native->kernels->wgrad->outer(&g, dyt + m * a->dyt_n, x + m / NATIVE_LANES * g.x_block,
                                         sums);
    }
}

void cvyi_native_wgrad_store(const struct native_wgrad *a, float *dw, size_t row, const float *sums,
                             size_t n_oc, size_t rows, size_t n)
{
    for (size_t k = 0; k < rows; k += NATIVE_LANES) {
        size_t end = native_min(k + NATIVE_LANES, rows),
               whole = end - k == NATIVE_LANES ? n / NATIVE_LANES * NATIVE_LANES : 0;
        if (whole)
            a->native->kernels->lanes->transpose(dw + k * row, row, sums + k, n_oc, whole, whole);
        for (size_t j = k; j < end; j++)
            for (size_t q = whole; q < n; q++) dw[j * row + q] = sums[q * n_oc + j];
    }
}

/* Weights o x i of a group; dyt: from channel o.begin of that group on. */
static void outer_range(const struct native_wgrad *a, const struct cvy_run *run, size_t group,
                        struct native_range o, struct native_range i, const float *dyt, float *sums)
{
    const struct native_geometry *c = &a->conv;
    size_t n_oc = ceil_div(o.end - o.begin, NATIVE_LANES) * NATIVE_LANES;
    size_t n = (i.end - i.begin) * c->taps, out = group * c->oc + o.begin, pixels = c->y.h * c->y.w;
    size_t pixel_floats = a->native->blocks * NATIVE_LANES * a->dyt_n;
    struct cvyi_outer g = { .n_oc = n_oc,
                            .n_i = i.end - i.begin,
                            .dyt_n = a->dyt_n,
                            .x_block = (c->x.c + c->x.rest) * c->x.plane * NATIVE_LANES,
                            .x_i = c->x.plane * NATIVE_LANES,
                            .dw_i = c->taps * n_oc,
                            .accumulate = c->taps * pixels > 1 || c->pad[0] || c->pad[1] };
    if (g.accumulate) memset(sums, 0, n * n_oc * sizeof *sums);
    for (size_t tap = 0; tap < c->taps; tap++)
        for (size_t pixel = 0; pixel < pixels; pixel++) {
            ptrdiff_t y = native_source(c, 0, pixel / c->y.w, tap / c->kernel[1]);
            ptrdiff_t x = native_source(c, 1, pixel % c->y.w, tap % c->kernel[1]);
            if (y < 0 || x < 0 || (size_t)y >= c->x.h || (size_t)x >= c->x.w) continue;
            const float *src = native_at(run, &c->x, 0, group * c->ic + i.begin) +
                               ((size_t)y * c->x.w + (size_t)x) * NATIVE_LANES;
            outer_pixel(a, run, dyt + pixel * pixel_floats, src, g,
                        sums + native_tap(c, tap / c->kernel[1], tap % c->kernel[1]) * n_oc);
        }
    cvyi_native_wgrad_store(a, (float *)run->buf[a->dw] + (out * c->ic + i.begin) * c->taps,
                            c->ic * c->taps, sums, n_oc, o.end - o.begin, n);
    if (a->db < 0 || i.begin) return;
    cvyi_fold_fn *fold = a->native->kernels->update->fold;
    for (size_t pixel = 0; pixel < pixels; pixel++)
        fold(sums + pixel * n_oc, dyt + pixel * pixel_floats,
             native_blocks_in_use(run) * NATIVE_LANES, a->dyt_n, n_oc);
    fold((float *)run->buf[a->db] + out, sums, pixels, n_oc, o.end - o.begin);
}

/* Floats of outer_range's sums: of a task's weights, or of its biases at every pixel. */
static size_t outer_sums(const struct native_wgrad *a)
{
    size_t rows = a->own.i_step * a->conv.taps, pixels = a->conv.y.h * a->conv.y.w;
    return (rows > pixels ? rows : pixels) * ceil_div(a->own.o_step, NATIVE_LANES) * NATIVE_LANES;
}

static void outer_run(const void *arg, const struct cvy_run *run, size_t task,
                      struct cvy_worker *worker)
{
    const struct native_wgrad *a = arg;
    struct native_range o, i;
    size_t group = native_own(a, task, &o, &i);
    outer_range(a, run, group, o, i,
                (const float *)run->buf[a->dyt] + group * a->dyt_group + o.begin, worker->scratch);
}

/* The same for a cell of a wide y, which the task transposes for itself. */
static void wide_run(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct native_wgrad *a = arg;
    struct native_range o, i;
    float *dyt = worker->scratch, *sums = dyt + a->native->blocks * NATIVE_LANES * a->dyt_n;
    size_t blocks = native_blocks_in_use(run), first = task * a->own.i_ranges;
    native_own(a, first, &o, &i);
    for (size_t b = 0; b < blocks; b++) transpose_block(a, run, b, o.begin, o.end - o.begin, dyt);
    for (size_t k = 0; k < a->own.i_ranges; k++) {
        native_own(a, first + k, &o, &i);
        outer_range(a, run, 0, o, i, dyt, sums);
    }
}

/* ------------------------------------------------------------------------------------- planning */

/* dy of a task's channels stays with it, from the batch norm's gradient to the update. */
enum cvy_status cvyi_native_wgrad_wide(struct cvy_plan *plan, struct native_wgrad *a)
{
    const struct native *native = a->native;
    const struct native_geometry *c = &a->conv;
    size_t i_step = native_min(c->ic, ceil_div(OUTER_FLOATS, c->wide.unit * c->taps));
    a->dyt_group = a->dyt_n = c->wide.unit;
    a->own = (struct native_rectangles){ .groups = 1,
                                         .o = c->oc,
                                         .i = c->ic,
                                         .o_step = c->wide.unit,
                                         .i_step = i_step,
                                         .o_ranges = c->wide.parts,
                                         .i_ranges = ceil_div(c->ic, i_step) };
    native_chose(plan, CHOICE_OUTER_RANGES, a->own.i_ranges > 1);
    native_chose(plan, CHOICE_OUTER_BLOCKS, native->blocks > OUTER_IMAGES / NATIVE_LANES);
    size_t floats = native->blocks * NATIVE_LANES * a->own.o_step + outer_sums(a);
    struct cvy_phase_desc phase = { .name = a->name,
                                    .run = wide_run,
                                    .arg = a,
                                    .blocks = c->wide.blocks,
                                    .parts = c->wide.parts,
                                    .scratch_bytes = floats * sizeof(float),
                                    .flops = native_conv_flops(native, c) };
    native_access(&phase, c->y.id, CVY_READ_CELL);
    native_access(&phase, c->x.id, CVY_READ_ALL);
    native_access(&phase, a->dw, CVY_WRITE_CELL);
    native_access(&phase, a->db, CVY_WRITE_CELL);
    return cvy_plan_phase(plan, &phase);
}

/* By rectangles of weights, or where they are multiplied and updated by columns by those. */
static size_t cut_outer(const struct native_geometry *c, size_t columns,
                        struct native_rectangles *own)
{
    size_t i_step = OUTER_FLOATS / (native_min(columns, 256) * c->taps);
    *own = (struct native_rectangles){ .groups = c->groups,
                                       .o = c->oc,
                                       .i = c->ic,
                                       .i_weight = c->taps,
                                       .o_least = 16,
                                       .i_least = 16,
                                       .o_step = 256,
                                       .i_step = i_step ? i_step : 1 };
    if (!c->tall.unit) return cvyi_native_rectangles(own, NATIVE_TASKS);
    own->o_step = c->oc;
    own->i_step = c->tall.unit;
    own->o_ranges = 1;
    own->i_ranges = c->tall.parts;
    return c->tall.parts;
}

enum cvy_status cvyi_native_wgrad_outer(struct cvy_plan *plan, struct native_wgrad *a)
{
    const struct native *native = a->native;
    const struct native_geometry *c = &a->conv;
    bool cells = c->wide.unit || native_parts(native) == 1;
    a->dyt_group = ceil_div(c->oc, NATIVE_LANES) * NATIVE_LANES;
    a->dyt_n = c->groups * a->dyt_group;
    size_t images = native->blocks * NATIVE_LANES;
    a->dyt = cvy_plan_buffer(plan, "dy.transposed",
                             c->y.h * c->y.w * images * a->dyt_n * sizeof(float), false);
    if (a->dyt < 0) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    struct cvy_phase_desc t = { .name = a->name,
                                .run = c->wide.unit ? transpose_wide : transpose_run,
                                .arg = a,
                                .blocks = c->wide.unit ? c->wide.blocks : native->blocks,
                                .parts = c->wide.unit ? c->wide.parts : 1 };
    native_access(&t, c->y.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&t, a->dyt, cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    NATIVE_TRY(cvy_plan_phase(plan, &t));

    size_t tasks = cut_outer(c, a->dyt_group, &a->own);
    native_chose(plan, CHOICE_OUTER_RANGES, a->own.i_ranges > 1);
    native_chose(plan, CHOICE_OUTER_BLOCKS, native->blocks > OUTER_IMAGES / NATIVE_LANES);
    struct cvy_phase_desc phase = { .name = a->name,
                                    .run = outer_run,
                                    .arg = a,
                                    .blocks = c->tall.blocks,
                                    .parts = tasks,
                                    .scratch_bytes = outer_sums(a) * sizeof(float),
                                    .flops = native_conv_flops(native, c) };
    native_access(&phase, a->dyt, CVY_READ_ALL);
    native_access(&phase, c->x.id, CVY_READ_ALL);
    native_access(&phase, a->dw, native_write(c->tall));
    native_access(&phase, a->db, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}
