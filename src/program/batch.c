/* A batch on its way into a run: what is checked of it, and how pixels are scaled. Knows no net. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "program/model.h"

static size_t pixels_of(cvy_shape s) { return s.h * s.w; }

static enum cvy_status allocate(struct cvy_context *ctx, struct cvyi_input *input, cvy_shape image)
{
    input->image = image;
    input->scale_u8 = cvyi_alloc_array(ctx, image.c, (2 + pixels_of(image)) * sizeof(float));
    if (!input->scale_u8) return CVY_E_NOMEM;
    input->scale_f32 = input->scale_u8 + image.c;
    input->shift = input->scale_f32 + image.c;
    return CVY_OK;
}

/* The shifts of channel c, whose mean is one or an image. */
static enum cvy_status shift_channel(struct cvy_context *ctx, const struct cvyi_input *input,
                                     const cvy_input_desc *desc, size_t c, double std)
{
    const size_t pixels = pixels_of(input->image);
    for (size_t i = c * pixels; i < (c + 1) * pixels; i++) {
        double mean = desc->mean ? desc->mean[c] : 0;
        if (desc->mean_image) mean = desc->mean_image[i];
        if (!isfinite(mean))
            return cvyi_fail(ctx, CVY_E_ARG,
                             "the mean image's channel %zu, row %zu, column %zu is %g; expected a"
                             " finite number",
                             c, i % pixels / input->image.w, i % input->image.w, mean);
        input->shift[i] = (float)(-mean / std);
    }
    return CVY_OK;
}

enum cvy_status cvyi_input_create(struct cvy_context *ctx, struct cvyi_input *input,
                                  const cvy_input_desc *desc, cvy_shape image)
{
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_input_desc, desc));
    if (desc->mean && desc->mean_image)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "the input has a mean a channel and a mean image: expected one of them");
    CVYI_TRY(allocate(ctx, input, image));
    for (size_t c = 0; c < image.c; c++) {
        double mean = desc->mean ? desc->mean[c] : 0, std = desc->std ? desc->std[c] : 1;
        if (!isfinite(mean) || !(std > 0) || !isfinite(std) || !isfinite(desc->scale))
            return cvyi_fail(
                ctx, CVY_E_ARG,
                "input channel %zu: mean %g, std %g, scale %g; expected finite numbers and"
                " std > 0",
                c, mean, std, desc->scale);
        input->scale_u8[c] = (float)((desc->scale != 0 ? desc->scale : 1.0 / 255) / std);
        input->scale_f32[c] = (float)((desc->scale != 0 ? desc->scale : 1.0) / std);
        CVYI_TRY(shift_channel(ctx, input, desc, c, std));
    }
    return CVY_OK;
}

enum cvy_status cvyi_input_copy(struct cvy_context *ctx, struct cvyi_input *input,
                                const struct cvyi_input *from)
{
    CVYI_TRY(allocate(ctx, input, from->image));
    memcpy(input->scale_u8, from->scale_u8,
           from->image.c * (2 + pixels_of(from->image)) * sizeof(float));
    return CVY_OK;
}

enum cvy_status cvyi_batch_bind(struct cvy_context *ctx, const struct cvyi_input *input,
                                const cvy_batch *batch, size_t capacity, struct cvy_run *run)
{
    if (!batch || !batch->images) return cvyi_fail(ctx, CVY_E_ARG, "the batch has no images");
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_batch, batch));
    if (batch->n < 1 || batch->n > capacity)
        return cvyi_fail(ctx, CVY_E_ARG, "the batch has %zu images, expected 1 to %zu", batch->n,
                         capacity);
    if (batch->dtype != CVY_U8 && batch->dtype != CVY_F32)
        return cvyi_fail(ctx, CVY_E_ARG, "images of type %d, expected CVY_U8 or CVY_F32",
                         (int)batch->dtype);
    run->n = batch->n;
    run->images = batch->images;
    run->dtype = batch->dtype;
    run->index = batch->index;
    run->epoch = batch->epoch;
    run->in_scale = batch->dtype == CVY_U8 ? input->scale_u8 : input->scale_f32;
    run->in_shift = input->shift;
    return CVY_OK;
}

enum cvy_status cvyi_augment_check(struct cvy_context *ctx, const cvy_trainer_options *o,
                                   cvy_shape s)
{
    const cvy_augment_desc *a = &o->augment;
    size_t least = s.h < s.w ? s.h : s.w, most = s.h < s.w ? s.w : s.h;
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_augment_desc, a));
    if (a->crop >= least && a->crop)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "images of %zu x %zu with %zu zeros on each side: expected a crop of less"
                         " than %zu",
                         s.h, s.w, a->crop, least);
    if (a->cutout > most)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "a cutout of %zu in images of %zu x %zu: expected at most %zu", a->cutout,
                         s.h, s.w, most);
    if ((a->crop || a->flip || a->cutout) && o->loss.per_pixel)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "images cannot be augmented for a loss per pixel: its labels would stay"
                         " where they are");
    return CVY_OK;
}

enum cvy_status cvyi_loss_create(struct cvy_context *ctx, struct cvyi_loss *loss,
                                 const cvy_loss_desc *desc, cvy_shape outputs)
{
    *loss = (struct cvyi_loss){ *desc, NULL, outputs.c, outputs.h * outputs.w };
    if (!desc->class_weights) return CVY_OK;
    loss->class_weights = cvyi_alloc_array(ctx, outputs.c, sizeof *loss->class_weights);
    if (!loss->class_weights) return CVY_E_NOMEM;
    loss->desc.class_weights = loss->class_weights;
    for (size_t c = 0; c < outputs.c; c++) {
        double w = loss->class_weights[c] = desc->class_weights[c];
        if (!(w >= 0 && w <= FLT_MAX))
            return cvyi_fail(ctx, CVY_E_ARG, "the weight of class %zu is %g, expected 0 or more", c,
                             w);
    }
    return CVY_OK;
}

void cvyi_loss_destroy(struct cvy_context *ctx, struct cvyi_loss *loss)
{
    cvyi_free(ctx, loss->class_weights);
    loss->class_weights = NULL;
}

static enum cvy_status weigh_label(struct cvy_context *ctx, const struct cvyi_loss *loss,
                                   const cvy_batch *b, size_t i, double *weight)
{
    size_t image = b->index ? b->index[i / loss->pixels] : i / loss->pixels,
           at = image * loss->pixels + i % loss->pixels;
    long label = b->labels8 ? (long)b->labels8[at] : (long)b->labels32[at];
    bool ignored = loss->desc.ignore && label == loss->desc.ignore_index;
    if (!ignored && (label < 0 || (size_t)label >= loss->classes))
        return cvyi_fail(
            ctx, CVY_E_ARG,
            "label %ld at position %zu of the batch (image %zu); there are %zu classes", label, i,
            image, loss->classes);
    *weight = cvyi_loss_weight(&loss->desc, label);
    return CVY_OK;
}

enum cvy_status cvyi_loss_bind(struct cvy_context *ctx, const struct cvyi_loss *loss,
                               const cvy_batch *b, struct cvy_run *run, size_t *counted)
{
    size_t rows = b->n * loss->pixels;
    run->labels8 = b->labels8;
    run->labels32 = b->labels32;
    run->targets = b->targets;
    run->loss_weight = (double)rows;
    *counted = rows;
    if (loss->desc.soft_targets) {
        if (!b->targets || b->labels8 || b->labels32)
            return cvyi_fail(ctx, CVY_E_ARG,
                             "the loss has soft targets: the batch needs targets "
                             "and no labels");
        return CVY_OK;
    }
    if (!b->labels8 == !b->labels32 || b->targets)
        return cvyi_fail(ctx, CVY_E_ARG, "the batch needs labels, either labels8 or labels32%s",
                         b->targets ? ", and no targets" : "");
    run->loss_weight = 0;
    *counted = 0;
    for (size_t i = 0; i < rows; i++) {
        double weight = 0;
        CVYI_TRY(weigh_label(ctx, loss, b, i, &weight));
        run->loss_weight += weight;
        *counted += weight > 0;
    }
    return CVY_OK;
}

static int layer_length(const char *op) /* "layer1.bn.stats": the layer is layer1.bn */
{
    const char *dot = strrchr(op, '.');
    return dot ? (int)(dot - op) : (int)strlen(op);
}

_Static_assert((int)CVY_BN_STATS_X == (int)CVY_WHITEN_STATS_X, "one check reads both");
/* One value has no variance to normalise by. */
enum cvy_status cvyi_batch_norms_check(const struct cvy_plan *plan, size_t n)
{
    if (n > 1) return CVY_OK;
    for (size_t i = 0; i < plan->list.n_ops; i++) {
        const struct cvy_op_desc *op = &plan->list.op[i];
        if (op->kind != CVY_OP_BN_STATS && op->kind != CVY_OP_WHITEN_STATS) continue;
        cvy_shape s = plan->list.value[op->in[CVY_BN_STATS_X]].shape;
        if (s.h * s.w == 1)
            return cvyi_fail(plan->ctx, CVY_E_SHAPE,
                             "%.*s: %s needs more than one value per channel, the batch has"
                             " one image with a 1 x 1 map",
                             layer_length(op->name), op->name,
                             op->kind == CVY_OP_BN_STATS ? "batch norm" : "whitening");
    }
    return CVY_OK;
}

void cvyi_plan_describe(const struct cvy_plan *plan, cvy_plan_info *info)
{
    *info = (cvy_plan_info){ .ops = plan->list.n_ops,
                             .phases = plan->n_phases,
                             .stages = plan->n_stages,
                             .tensors = cvyi_program_values(plan),
                             .arena_bytes = plan->arena_bytes,
                             .parameter_bytes = plan->fixed_bytes,
                             .scratch_bytes = plan->scratch_bytes,
                             .packed = plan->options.packed };
    for (size_t i = 0; i < plan->list.n_ops; i++)
        info->recomputed += cvyi_program_part(plan, i) == CVY_PART_RECOMPUTE;
}
