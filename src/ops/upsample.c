/* upsample: maps of another size, from the nearest pixel or between the four around. */
#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    cvy_upsample_desc *d = &node->u.upsample;
    const char *name = node->name;
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_upsample_desc, d));
    if ((unsigned)d->kind > CVY_UPSAMPLE_BILINEAR)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "upsample '%s': kind %d is not one of enum cvy_upsample_kind", name,
                         (int)d->kind);
    if (d->align_corners && d->kind != CVY_UPSAMPLE_BILINEAR)
        return cvyi_fail(ctx, CVY_E_ARG, "upsample '%s': only bilinear can align corners", name);
    bool scaled = d->scale[0] || d->scale[1], sized = d->size[0] || d->size[1];
    if (scaled == sized)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "upsample '%s': %s, expected one of scale and size, rows and columns",
                         name, scaled ? "both are given" : "nothing is said of the size");
    const char *const field[2] = { scaled ? "scale rows" : "size rows",
                                   scaled ? "scale columns" : "size columns" };
    for (int i = 0; i < 2; i++) {
        size_t from = i ? in[0].w : in[0].h, given = scaled ? d->scale[i] : d->size[i];
        CVYI_TRY(cvyi_size_check(ctx, "upsample", name, field[i], given, 1));
        if (scaled) d->size[i] = given * from; /* both below 2^31 */
        d->scale[i] = 0;
    }
    node->out = (cvy_shape){ 1, in[0].c, d->size[0], d->size[1] };
    return cvyi_shape_check(ctx, "upsample", name, node->out);
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    (void)training;
    low->y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_with_n(node->out, n), "%s", node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_UPSAMPLE, "%s", node->name);
    op->u.upsample = node->u.upsample;
    op->in[CVY_UPSAMPLE_X] = low->x[0];
    op->out[CVY_UPSAMPLE_Y] = low->y;
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    if (!want_dx[0]) return;
    dx[0] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, low->x[0]), "%s.dx",
                            node->name);
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_UPSAMPLE_BWD, "%s.dx", node->name);
    op->u.upsample = node->u.upsample;
    op->in[CVY_UPSAMPLE_BWD_DY] = dy;
    op->out[CVY_UPSAMPLE_BWD_DX] = dx[0];
}

const struct cvyi_operator cvyi_operator_upsample = {
    .type = "upsample", .infer = infer, .forward = forward, .backward = backward
};
