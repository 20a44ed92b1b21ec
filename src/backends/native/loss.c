/* Softmax and the losses. Channels meet here, so a task is an image block with all its
 * channels. A block's loss is summed over its lanes in double, blocks are folded in order. */
#include <string.h>

#include "backends/native/rows.h"
#include "ops/ops.h"

struct softmax {
    const struct cvyi_kernels *k;
    struct native_lanes x, y;
    float factor; /* 1 / temperature */
};

/* All channels of a pixel, times a factor, one behind another. A factor of 1 changes no bit. */
static void fetch(const struct cvyi_kernels *k, float *to, const float *x, size_t n_c, size_t ld,
                  float factor)
{
    for (size_t c = 0; c < n_c; c++)
        k->rows->scale(to + c * NATIVE_LANES, x + c * ld, NATIVE_LANES, factor);
}

static void run_softmax(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    const struct softmax *a = arg;
    /* the kernel has one stride, and the planes of x and y may differ */
    float *pixel = worker->scratch;
    size_t pixels = a->x.h * a->x.w, bytes = NATIVE_LANES * sizeof(float);
    if (!native_images(run, task)) return;
    const float *x = native_at(run, &a->x, task, 0);
    float *y = native_at(run, &a->y, task, 0);
    size_t x_ld = a->x.plane * NATIVE_LANES, y_ld = a->y.plane * NATIVE_LANES;
    for (size_t p = 0; p < pixels; p++, x += NATIVE_LANES, y += NATIVE_LANES) {
        if (x_ld == y_ld && a->factor == 1) {
            a->k->loss->softmax(y, x, a->x.c, x_ld);
            continue;
        }
        fetch(a->k, pixel, x, a->x.c, x_ld, a->factor);
        a->k->loss->softmax(pixel, pixel, a->x.c, NATIVE_LANES);
        for (size_t c = 0; c < a->x.c; c++) memcpy(y + c * y_ld, pixel + c * NATIVE_LANES, bytes);
    }
}

static enum cvy_status plan_softmax(struct native *native, struct cvy_plan *plan,
                                    const struct cvy_op_desc *op)
{
    struct softmax *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    a->k = native->kernels;
    a->factor = (float)(1 / op->u.softmax.temperature);
    a->x = native_lanes(plan, op->in[CVY_SOFTMAX_X]);
    a->y = native_lanes(plan, op->out[CVY_SOFTMAX_Y]);
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_softmax,
                                    .arg = a,
                                    .blocks = native->blocks,
                                    .parts = 1,
                                    .scratch_bytes = a->x.c * NATIVE_LANES * sizeof(float) };
    native_access(&phase, a->x.id, CVY_READ_CELL);
    native_access(&phase, a->y.id, CVY_WRITE_CELL);
    return cvy_plan_phase(plan, &phase);
}

/* ----------------------------------------------------------------------------------------- loss */

struct loss {
    const struct cvyi_kernels *k;
    cvy_loss_desc d;
    float factor;              /* of the logits: 1 / temperature */
    struct native_lanes x, dx; /* one plane stride for both: the kernel's */
    int slots, stats;          /* double [block][2]: sum of losses, number correct */
};

static size_t image_of(const struct cvy_run *run, size_t i)
{
    return run->index ? run->index[i] : i;
}

/* Smoothing that goes by the classes' weights: a target for each output, already smoothed. */
static void weigh(const struct loss *a, size_t images, float *target, struct cvyi_loss_rows *rows)
{
    for (size_t l = 0; l < images; l++) {
        if (!(rows->weight[l] > 0)) continue;
        size_t label = (size_t)rows->label[l];
        for (size_t c = 0; c < a->x.c; c++)
            target[c * NATIVE_LANES + l] = (float)((c == label ? 1 - a->d.label_smoothing : 0) +
                                                   cvyi_loss_smoothed(&a->d, a->x.c, label, c));
    }
    rows->smoothing = 0;
}

/* Labels, or targets into `target`, and weights of pixel p of `images` images from `first` on. */
static void gather(const struct loss *a, const struct cvy_run *run, size_t first, size_t images,
                   size_t p, float *target, struct cvyi_loss_rows *rows)
{
    size_t pixels = a->x.h * a->x.w;
    *rows = (struct cvyi_loss_rows){ .smoothing = (float)a->d.label_smoothing,
                                     .margin = (float)a->d.margin };
    for (size_t l = 0; l < images; l++) {
        size_t at = image_of(run, first + l) * pixels;
        double w = 1;
        if (!a->d.soft_targets) {
            rows->label[l] = run->labels8 ? (int32_t)run->labels8[at + p] : run->labels32[at + p];
            w = cvyi_loss_weight(&a->d, rows->label[l]);
        }
        rows->weight[l] = (float)w;
        rows->scale[l] = w > 0 ? (float)(w / run->loss_weight / a->d.temperature) : 0;
    }
    bool weighted =
        a->d.class_weights && a->d.label_smoothing > 0 && a->d.kind == CVY_CROSS_ENTROPY;
    if (!a->d.soft_targets && !weighted) return;
    rows->target = target;
    memset(target, 0, a->x.c * NATIVE_LANES * sizeof *target);
    if (weighted) weigh(a, images, target, rows);
    for (size_t l = 0; l < images && !weighted; l++) {
        const float *t = run->targets + image_of(run, first + l) * a->x.c * pixels + p;
        for (size_t c = 0; c < a->x.c; c++) {
            target[c * NATIVE_LANES + l] = t[c * pixels];
            if (t[c * pixels] > t[(size_t)rows->label[l] * pixels]) rows->label[l] = (int32_t)c;
        }
    }
}

/* One pixel of a block. Where the planes of x and dx differ, or there is a factor, it is copied, as
 * for softmax. */
static void loss_pixel(const struct loss *a, const float *x, float *dx, float *copy,
                       const struct cvyi_loss_rows *rows, double slot[2])
{
    size_t ld = a->x.plane * NATIVE_LANES, dx_ld = a->dx.plane * NATIVE_LANES;
    float loss[NATIVE_LANES], *out = dx;
    uint8_t correct[NATIVE_LANES];
    if ((dx && dx_ld != ld) || a->factor != 1) {
        fetch(a->k, copy, x, a->x.c, ld, a->factor);
        x = copy;
        out = dx ? copy : NULL;
        ld = NATIVE_LANES;
    }
    a->k->loss->loss[a->d.kind](out, x, a->x.c, ld, rows, loss, correct);
    for (size_t c = 0; out != dx && c < a->x.c; c++)
        memcpy(dx + c * dx_ld, out + c * NATIVE_LANES, NATIVE_LANES * sizeof *dx);
    for (size_t l = 0; l < NATIVE_LANES; l++) {
        slot[0] += (double)loss[l];
        slot[1] += correct[l];
    }
}

static void run_loss(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct loss *a = arg;
    size_t images = native_images(run, task);
    if (!images) return;
    float *target = worker->scratch, *copy = target + a->x.c * NATIVE_LANES;
    const float *x = native_at(run, &a->x, task, 0);
    float *dx = a->dx.id < 0 ? NULL : native_at(run, &a->dx, task, 0);
    double *slot = (double *)run->buf[a->slots] + 2 * task;
    struct cvyi_loss_rows rows;
    slot[0] = slot[1] = 0;
    for (size_t p = 0; p < a->x.h * a->x.w; p++) {
        gather(a, run, task * NATIVE_LANES, images, p, target, &rows);
        loss_pixel(a, x + p * NATIVE_LANES, dx ? dx + p * NATIVE_LANES : NULL, copy, &rows, slot);
    }
}

static void run_fold(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct loss *a = arg;
    const double *slot = run->buf[a->slots];
    double *stats = run->buf[a->stats], sum = 0, correct = 0;
    (void)task, (void)worker;
    for (size_t b = 0; b < native_blocks_in_use(run); b++) {
        sum += slot[2 * b];
        correct += slot[2 * b + 1];
    }
    stats[0] = sum;
    stats[1] = correct;
}

static enum cvy_status plan_loss(struct native *native, struct cvy_plan *plan,
                                 const struct cvy_op_desc *op)
{
    struct loss *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    *a = (struct loss){ .k = native->kernels,
                        .d = op->u.loss,
                        .factor = (float)(1 / op->u.loss.temperature),
                        .x = native_lanes(plan, op->in[CVY_LOSS_X]),
                        .dx = native_lanes(plan, op->out[CVY_LOSS_DX]),
                        .stats = op->out[CVY_LOSS_STATS] };
    a->slots = cvy_plan_buffer(plan, op->name, native->blocks * 2 * sizeof(double), false);
    if (a->slots < 0) return CVY_E_NOMEM;
    struct cvy_phase_desc blocks = { .name = op->name,
                                     .run = run_loss,
                                     .arg = a,
                                     .blocks = native->blocks,
                                     .parts = 1,
                                     .scratch_bytes = 2 * a->x.c * NATIVE_LANES * sizeof(float) };
    native_access(&blocks, a->x.id, CVY_READ_CELL);
    native_access(&blocks, a->dx.id, CVY_WRITE_CELL);
    native_access(&blocks, a->slots, CVY_WRITE_CELL);
    NATIVE_TRY(cvy_plan_phase(plan, &blocks));
    struct cvy_phase_desc fold = { .name = op->name, .run = run_fold, .arg = a, .parts = 1 };
    native_access(&fold, a->slots, CVY_READ_ALL);
    native_access(&fold, a->stats, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &fold);
}

static int take(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    (void)plan, (void)n;
    return ops[0].kind == CVY_OP_SOFTMAX || native->kernels->loss->loss[ops[0].u.loss.kind];
}

static enum cvy_status plan_family(struct native *native, struct cvy_plan *plan,
                                   const struct cvy_op_desc *ops, int n, size_t first)
{
    (void)n, (void)first;
    return ops[0].kind == CVY_OP_SOFTMAX ? plan_softmax(native, plan, &ops[0])
                                         : plan_loss(native, plan, &ops[0]);
}

NATIVE_FAMILY(softmax, take, plan_family);
NATIVE_FAMILY(loss, take, plan_family);
