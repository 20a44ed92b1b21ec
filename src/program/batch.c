/* A batch on its way into a run: what is checked of it, and how pixels are scaled. Knows no net. */
#include <math.h>
#include <string.h>

#include "program/model.h"

static enum cvy_status allocate(struct cvy_context *ctx, struct cvyi_input *input, size_t channels)
{
    input->channels = channels;
    input->scale_u8 = cvyi_alloc_array(ctx, channels, 3 * sizeof(float));
    if (!input->scale_u8) return CVY_E_NOMEM;
    input->scale_f32 = input->scale_u8 + channels;
    input->shift = input->scale_f32 + channels;
    return CVY_OK;
}

enum cvy_status cvyi_input_create(struct cvy_context *ctx, struct cvyi_input *input,
                                  const cvy_input_desc *desc, size_t channels)
{
    CVYI_TRY(allocate(ctx, input, channels));
    for (size_t c = 0; c < channels; c++) {
        double mean = desc->mean ? desc->mean[c] : 0, std = desc->std ? desc->std[c] : 1;
        if (!isfinite(mean) || !(std > 0) || !isfinite(std) || !isfinite(desc->scale))
            return cvyi_fail(
                ctx, CVY_E_ARG,
                "input channel %zu: mean %g, std %g, scale %g; expected finite numbers and"
                " std > 0",
                c, mean, std, desc->scale);
        input->scale_u8[c] = (float)((desc->scale != 0 ? desc->scale : 1.0 / 255) / std);
        input->scale_f32[c] = (float)((desc->scale != 0 ? desc->scale : 1.0) / std);
        input->shift[c] = (float)(-mean / std);
    }
    return CVY_OK;
}

enum cvy_status cvyi_input_copy(struct cvy_context *ctx, struct cvyi_input *input,
                                const struct cvyi_input *from)
{
    CVYI_TRY(allocate(ctx, input, from->channels));
    memcpy(input->scale_u8, from->scale_u8, from->channels * 3 * sizeof(float));
    return CVY_OK;
}

enum cvy_status cvyi_batch_bind(struct cvy_context *ctx, const struct cvyi_input *input,
                                const cvy_batch *batch, size_t capacity, struct cvy_run *run)
{
    if (!batch || !batch->images) return cvyi_fail(ctx, CVY_E_ARG, "the batch has no images");
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
    run->labels8 = batch->labels8;
    run->labels32 = batch->labels32;
    run->in_scale = batch->dtype == CVY_U8 ? input->scale_u8 : input->scale_f32;
    run->in_shift = input->shift;
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
                             .scratch_bytes = plan->scratch_bytes };
}
