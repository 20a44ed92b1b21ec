/* The sum of two maps, with an activation behind it where the version can. */
#include "backends/onednn/onednn.h"

static dnnl_status_t add(const struct onednn_prim *p, struct onednn_with with, const onednn_md *md,
                         dnnl_primitive_desc_t *pd)
{
    (void)p;
    return onednn_add(pd, with, md[0], md[1], md[2]);
}

/* Whether a sum in this layout may have an activation behind it. Where channels are padded, 2.6 is
 * wrong: of relu, leaky relu, elu and tanh x 1 to 33 channels x maps of 1, 9 and 25 pixels, its
 * jit:uni gave other sums in place in aBcd8b for every padded count, and in aBcd16b in place and
 * not for most. 3.2 is right in all of them; what is between is not known. */
static bool sums_with_activation(onednn_md md)
{
    const dnnl_version_t *v = dnnl_version();
    return v->major > 3 || (v->major == 3 && v->minor >= 2) || !onednn_padded(md);
}

int onednn_add_take(const struct onednn *o, const struct cvy_plan *plan,
                    const struct cvy_op_desc *ops, int n)
{
    (void)o, (void)plan;
    return onednn_activates(ops, n, 1) ? 2 : 1;
}

enum cvy_status onednn_add_plan(struct onednn *o, struct cvy_plan *plan,
                                const struct cvy_op_desc *ops, int *n, size_t first)
{
    const struct cvy_op_desc *op = &ops[0];
    struct onednn_place a;
    ONEDNN_CVY(onednn_seen(o, plan, op->in[CVY_ADD_A], &a));
    struct onednn_prim *p = onednn_prim(o, op->name, add);
    bool fused = *n == 2 && sums_with_activation(a.md) &&
                 !cvy_plan_needed_after(plan, op->out[CVY_ADD_Y], first + 1);
    if (!p || (fused && !onednn_fuse(p, &ops[1])))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    p->name = onednn_joined_name(o, ops, fused ? 2 : 1);
    onednn_give(p, DNNL_ARG_SRC_0, a.md, true);
    onednn_give(p, DNNL_ARG_SRC_1, a.md, true);
    onednn_give(p, DNNL_ARG_DST, a.md, true);
    ONEDNN_CVY(onednn_create(p, plan));
    p->arg[0].id = a.id;
    ONEDNN_CVY(onednn_read(o, plan, op->in[CVY_ADD_B], a.md, &p->arg[1].id));
    int y = fused ? ops[1].out[CVY_ACT_Y] : op->out[CVY_ADD_Y];
    size_t last = first + (fused ? 1 : 0);
    int in_place = a.borrowed ? -1 : onednn_reuse(o, plan, op->in[CVY_ADD_A], last);
    if (in_place != a.id || op->in[CVY_ADD_A] == op->in[CVY_ADD_B]) in_place = -1;
    ONEDNN_CVY(onednn_lay_out(o, plan, y, a.md, in_place));
    p->arg[2].id = in_place < 0 ? onednn_root(plan, y) : in_place;
    if (fused && !onednn_fused(p, &ops[1], 2))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    *n = fused ? 2 : 1;
    return onednn_append(p, plan, 0);
}
