/* What outsiders are told of a compiled program: its ops, its phases and what they took, its kept
 * tensors. */
#include "program/compile.h"

static double seconds_of(const struct cvy_plan *plan, size_t phase)
{
    uint64_t sum = 0;
    for (size_t t = 0; plan->nanoseconds && t < plan->ctx->options.threads; t++)
        sum += plan->nanoseconds[t * cvyi_clock_stride(plan) + phase];
    return (double)sum * 1e-9;
}

enum cvy_status cvyi_program_phase(const struct cvy_plan *plan, size_t index, cvy_phase_info *info)
{
    if (!info || index >= plan->n_phases)
        return cvyi_fail(plan->ctx, CVY_E_ARG, "phase %zu of %zu was asked for", index,
                         plan->n_phases);
    const struct cvyi_phase *p = &plan->phase[index];
    size_t threads = plan->ctx->options.threads;
    bool reorder =
        p->desc.reorder || (p->n_ops == 1 && plan->list.op[p->first_op].kind == CVY_OP_REORDER);
    const size_t most = p->tasks < threads ? p->tasks : threads;
    *info = (cvy_phase_info){ .name = p->desc.name,
                              .backend = plan->backend[p->backend]->name,
                              .kernel = p->desc.kernel ? p->desc.kernel : "",
                              .stage = p->stage,
                              .tasks = p->tasks,
                              .threads = p->desc.alone || p->desc.gate ? 1 : most,
                              .first_op = p->first_op,
                              .ops = p->n_ops,
                              .reorder = reorder,
                              .seconds = seconds_of(plan, index),
                              .flops = p->desc.flops };
    cvyi_program_traffic(plan, index, info);
    return CVY_OK;
}

/* ------------------------------------------------------------------------------------------ ops */

static double bytes_of(const struct cvy_plan *plan, int id)
{
    const struct cvy_value *v = id < 0 ? NULL : cvy_plan_value(plan, id);
    if (!v || v->role == CVY_ROLE_STATS || v->role == CVY_ROLE_INPUT) return 0;
    return (double)sizeof(float) * (double)v->shape.n * (double)v->shape.c * (double)v->shape.h *
           (double)v->shape.w;
}

/* The loss divides a step; what adds gradients behind it has the kind of a forward op. */
enum cvy_part cvyi_program_part(const struct cvy_plan *plan, size_t index)
{
    const struct cvy_op_desc *op = &plan->list.op[index];
    if (op->kind == CVY_OP_REORDER) return CVY_PART_REORDER;
    if (op->kind == CVY_OP_UPDATE) return CVY_PART_UPDATE;
    if (cvyi_recompute_is_again(plan, index)) return CVY_PART_RECOMPUTE;
    for (size_t i = 0; i < index; i++)
        if (plan->list.op[i].kind == CVY_OP_LOSS) return CVY_PART_BACKWARD;
    return CVY_PART_FORWARD;
}

/* What the weights of a convolution, or of one of its gradients, are like. */
static void describe_conv(const struct cvyi_list *list, const struct cvy_op_desc *op,
                          cvy_op_info *info)
{
    int w, x;
    switch (op->kind) {
    case CVY_OP_CONV2D:
        w = op->in[CVY_CONV2D_W];
        x = op->in[CVY_CONV2D_X];
        break;
    case CVY_OP_CONV2D_BWD_DATA:
        w = op->in[CVY_CONV2D_BWD_DATA_W];
        x = op->out[CVY_CONV2D_BWD_DATA_DX];
        break;
    case CVY_OP_CONV2D_BWD_WEIGHTS:
        w = op->out[CVY_CONV2D_BWD_WEIGHTS_DW];
        x = op->in[CVY_CONV2D_BWD_WEIGHTS_X];
        break;
    default: return;
    }
    const cvy_shape map = cvyi_shape_of(list, x);
    info->kernel = cvyi_shape_of(list, w);
    info->groups = op->u.conv.groups;
    info->stride[0] = op->u.conv.stride[0];
    info->stride[1] = op->u.conv.stride[1];
    info->whole_map = map.h == info->kernel.h && map.w == info->kernel.w;
}

enum cvy_status cvyi_program_op(const struct cvy_plan *plan, size_t index, cvy_op_info *info)
{
    if (!info || index >= plan->list.n_ops)
        return cvyi_fail(plan->ctx, CVY_E_ARG, "op %zu of %zu was asked for", index,
                         plan->list.n_ops);
    const struct cvy_op_desc *op = &plan->list.op[index];
    *info = (cvy_op_info){ .name = op->name,
                           .type = cvyi_op_kind(op->kind)->name,
                           .part = cvyi_program_part(plan, index),
                           .flops = cvyi_op_flops(&plan->list, op) };
    for (int k = 0; k < op->n_in; k++) info->bytes += bytes_of(plan, op->in[k]);
    for (int k = 0; k < op->n_out; k++) info->bytes += bytes_of(plan, op->out[k]);
    for (int k = 0; k < op->n_out; k++)
        if (op->out[k] >= 0) info->out[info->n_out++] = cvy_plan_value(plan, op->out[k])->name;
    if (op->kind == CVY_OP_UPDATE)
        info->out[info->n_out++] = cvy_plan_value(plan, op->in[CVY_UPDATE_W])->name;
    describe_conv(&plan->list, op, info);
    return CVY_OK;
}

/* -------------------------------------------------------------------------------------- tensors */

static enum cvy_status tensor(const struct cvy_plan *plan, size_t index,
                              const struct cvyi_tensor **t)
{
    if (index >= plan->n_tensors)
        return cvyi_fail(plan->ctx, plan->n_tensors ? CVY_E_ARG : CVY_E_STATE,
                         plan->n_tensors
                             ? "tensor %zu of %zu was asked for"
                             : "tensor %zu was asked for, but keep_tensors was not set (%zu)",
                         index, plan->n_tensors);
    *t = &plan->tensor[index];
    return CVY_OK;
}

enum cvy_status cvyi_program_tensor(const struct cvy_plan *plan, size_t index,
                                    cvy_tensor_info *info)
{
    const struct cvyi_tensor *t = NULL;
    CVYI_TRY(tensor(plan, index, &t));
    const struct cvy_value *v = cvy_plan_value(plan, t->id);
    if (info) *info = (cvy_tensor_info){ .name = v->name, .shape = v->shape };
    return CVY_OK;
}

enum cvy_status cvyi_program_tensor_get(const struct cvy_plan *plan, size_t index, double *out,
                                        size_t count)
{
    const struct cvyi_tensor *t = NULL;
    CVYI_TRY(tensor(plan, index, &t));
    const struct cvy_value *v = cvy_plan_value(plan, t->fetched);
    size_t n = v->shape.n * v->shape.c * v->shape.h * v->shape.w;
    if (!out || count > n)
        return cvyi_fail(plan->ctx, CVY_E_SHAPE, "%s has %zu elements, not %zu", v->name, n, count);
    const void *from = plan->buf[t->fetched];
    if (!from) return cvyi_fail(plan->ctx, CVY_E_STATE, "%s: a dry run has no tensors", v->name);
    for (size_t i = 0; i < count; i++)
        out[i] = v->layout == CVY_LAYOUT_PLAIN64 ? ((const double *)from)[i]
                                                 : (double)((const float *)from)[i];
    return CVY_OK;
}
