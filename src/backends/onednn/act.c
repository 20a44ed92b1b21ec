/* Activations. What nobody needs any more is overwritten in place. */
#include <string.h>

#include "backends/onednn/onednn.h"

/* Gradients that are told by x are left to the next backend. */
bool onednn_eltwise(const cvy_act_desc *act, bool backward, struct onednn_act *e)
{
    float alpha = (float)act->alpha;
    switch (act->kind) {
    case CVY_SIGMOID:
        *e = (struct onednn_act){ dnnl_eltwise_logistic_use_dst_for_bwd, 0, 0 };
        break;
    case CVY_TANH: *e = (struct onednn_act){ dnnl_eltwise_tanh_use_dst_for_bwd, 0, 0 }; break;
    case CVY_RELU:
        *e = (struct onednn_act){ dnnl_eltwise_relu_use_dst_for_bwd, 0, 0 };
        return !backward || act->relu_grad_at_zero == 0;
    case CVY_LEAKY_RELU:
        *e = (struct onednn_act){ dnnl_eltwise_relu_use_dst_for_bwd, alpha, 0 };
        break;
    case CVY_ELU: *e = (struct onednn_act){ dnnl_eltwise_elu_use_dst_for_bwd, alpha, 0 }; break;
    case CVY_SOFTPLUS: *e = (struct onednn_act){ dnnl_eltwise_soft_relu, 1, 0 }; return !backward;
    case CVY_GELU: *e = (struct onednn_act){ dnnl_eltwise_gelu_erf, 0, 0 }; return !backward;
    case CVY_GELU_TANH: *e = (struct onednn_act){ dnnl_eltwise_gelu_tanh, 0, 0 }; return !backward;
    case CVY_SILU: *e = (struct onednn_act){ dnnl_eltwise_swish, 1, 0 }; return !backward;
    case CVY_MISH: *e = (struct onednn_act){ dnnl_eltwise_mish, 0, 0 }; return !backward;
    case CVY_HARDSWISH: /* x min(max(alpha x + beta, 0), 1); 2.6 has these numbers fixed */
        *e = (struct onednn_act){ dnnl_eltwise_hardswish, 1.0f / 6, 0.5f };
        return !backward;
    case CVY_RELU6: *e = (struct onednn_act){ dnnl_eltwise_clip_v2_use_dst_for_bwd, 0, 6 }; break;
    case CVY_HARDTANH:
        *e = (struct onednn_act){ dnnl_eltwise_clip_v2_use_dst_for_bwd, -alpha, alpha };
        break;
    default: return false;
    }
    return true;
}

static dnnl_primitive_attr_t attr_with(const cvy_act_desc *act)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    struct onednn_act e;
    bool ok =
        onednn_eltwise(act, false, &e) && dnnl_post_ops_create(&ops) == dnnl_success &&
        onednn_append_eltwise(ops, e.alg, e.alpha, e.beta) == dnnl_success &&
        dnnl_primitive_attr_create(&attr) == dnnl_success &&
        dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success &&
        dnnl_primitive_attr_set_post_ops(attr, ops) == dnnl_success;
    if (ops) dnnl_post_ops_destroy(ops);
    if (!ok && attr) dnnl_primitive_attr_destroy(attr);
    return ok ? attr : NULL;
}

enum { RESULT = 0 };
_Static_assert((int)CVY_CONV2D_Y == RESULT && (int)CVY_BN_APPLY_Y == RESULT &&
                   (int)CVY_BN_INFER_Y == RESULT && (int)CVY_ADD_Y == RESULT,
               "what comes before an activation");

bool onednn_activates(const struct cvy_op_desc *ops, int n, int k)
{
    struct onednn_act e;
    return k < n && ops[k].kind == CVY_OP_ACT && ops[k].in[CVY_ACT_X] == ops[k - 1].out[RESULT] &&
           onednn_eltwise(&ops[k].u.act, false, &e);
}

/* ---------------------------------------------------------------------------------- activations */

static dnnl_status_t act_fwd(const struct onednn_prim *p, struct onednn_with with,
                             const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    return onednn_eltwise_fwd(pd, with, p->prop, p->u.act.alg, md[0], p->u.act.alpha,
                              p->u.act.beta);
}

static dnnl_status_t act_bwd(const struct onednn_prim *p, struct onednn_with with,
                             const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    return onednn_eltwise_bwd(pd, with, p->u.act.alg, md[0], md[1], p->u.act.alpha, p->u.act.beta);
}

static struct onednn_prim *new_forward(struct onednn *o, const struct cvy_op_desc *op, onednn_md md)
{
    struct onednn_prim *p = onednn_prim(o, op->name, act_fwd);
    if (!p) return NULL;
    (void)onednn_eltwise(&op->u.act, false, &p->u.act);
    p->prop = o->training ? dnnl_forward_training : dnnl_forward_inference;
    onednn_give(p, DNNL_ARG_SRC, md, true);
    onednn_give(p, DNNL_ARG_DST, md, true);
    onednn_be_careful(p, onednn_care_act);
    return p;
}

bool onednn_fuse(struct onednn_prim *p, const struct cvy_op_desc *op)
{
    return (p->attr = attr_with(&op->u.act));
}

bool onednn_fused(struct onednn_prim *p, const struct cvy_op_desc *op, int dst)
{
    struct onednn_prim *after = p->after = new_forward(p->o, op, p->arg[dst].md);
    if (!after) return false;
    after->arg[0].id = after->arg[1].id = p->arg[dst].id;
    onednn_be_careful(p, onednn_care_fused);
    return true;
}

/* Whether it is one of oneDNN's plain loops. */
static bool is_slow(const struct onednn_prim *p) { return !strncmp(onednn_kernel(p), "ref", 3); }

static enum cvy_status plan_act(struct onednn *o, struct cvy_plan *plan,
                                const struct cvy_op_desc *op, size_t first)
{
    struct onednn_place x = onednn_at(o, plan, op->in[CVY_ACT_X]);
    struct onednn_prim *p = x.md ? new_forward(o, op, x.md) : NULL;
    if (!p) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    ONEDNN_CVY(onednn_create(p, plan));
    if (o->training) {
        struct onednn_forward *f = onednn_remember(o, CVY_OP_ACT, p);
        if (!f) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
        f->x = op->in[CVY_ACT_X];
        f->y = onednn_root(plan, op->out[CVY_ACT_Y]);
    }
    /* oneDNN has no fast kernel where channels are padded and f(0) is not 0: then without padding,
     * as a convolution behind it wants it or with the channels inside. */
    if (is_slow(p) && onednn_md_rank(x.md) == 4) {
        onednn_md dense = onednn_conv_wants(o, plan, op->out[CVY_ACT_Y], first);
        if (!dense || onednn_md_rank(dense) != 4 || onednn_padded(dense))
            dense = onednn_tagged(o, 4, onednn_md_dims(x.md), dnnl_acdb);
        if (!dense || !(p = new_forward(o, op, dense)))
            return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
        ONEDNN_CVY(onednn_create(p, plan));
        ONEDNN_CVY(onednn_read(o, plan, op->in[CVY_ACT_X], dense, &p->arg[0].id));
        p->arg[1].id = onednn_root(plan, op->out[CVY_ACT_Y]);
        ONEDNN_CVY(onednn_lay_out(o, plan, op->out[CVY_ACT_Y], dense, -1));
        return onednn_append(p, plan, 0);
    }
    int y = onednn_reuse(o, plan, op->in[CVY_ACT_X], first);
    ONEDNN_CVY(onednn_lay_out(o, plan, op->out[CVY_ACT_Y], x.md, y));
    p->arg[0].id = x.id;
    p->arg[1].id = y < 0 ? onednn_root(plan, op->out[CVY_ACT_Y]) : y;
    return onednn_append(p, plan, 0);
}

static enum cvy_status new_backward(struct onednn *o, struct cvy_plan *plan,
                                    const struct cvy_op_desc *op, onednn_md md,
                                    struct onednn_prim **out)
{
    struct onednn_prim *p = *out = onednn_prim(o, op->name, act_bwd);
    if (!p || !(p->hint = new_forward(o, op, md)))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    (void)onednn_eltwise(&op->u.act, true, &p->u.act);
    p->hint->prop = dnnl_forward_training;
    ONEDNN_CVY(onednn_create(p->hint, plan));
    p->prop = dnnl_backward_data;
    onednn_give(p, DNNL_ARG_DIFF_SRC, md, true);
    onednn_give(p, DNNL_ARG_DST, md, true);
    onednn_give(p, DNNL_ARG_DIFF_DST, md, true);
    if (op->u.act.kind == CVY_RELU) onednn_be_careful(p, onednn_care_relu_bwd);
    if (p->u.act.alg == dnnl_eltwise_clip_v2_use_dst_for_bwd)
        onednn_be_careful(p, onednn_care_clip_bwd);
    return onednn_create(p, plan);
}

/* y, dy and x, which dx will probably have to lie like, may have three formats: the gradient in
 * dy's format costs no more reorders than in y's. */
static bool better_as_dy(struct onednn *o, const struct cvy_plan *plan,
                         const struct cvy_op_desc *op, onednn_md y, onednn_md dy)
{
    const struct onednn_forward *f = o->forwards;
    while (f && (f->kind != CVY_OP_ACT || f->y != onednn_root(plan, op->in[CVY_ACT_BWD_Y])))
        f = f->next;
    onednn_md x = f ? onednn_at(o, plan, f->x).md : y;
    int as_y = 1 + (x && !onednn_md_equal(y, x)),
        as_dy =
            !onednn_has_copy(o, plan, op->in[CVY_ACT_BWD_Y], dy) + (x && !onednn_md_equal(dy, x));
    return onednn_md_rank(y) == onednn_md_rank(dy) && !onednn_md_equal(y, dy) && as_dy <= as_y;
}

static enum cvy_status plan_act_bwd(struct onednn *o, struct cvy_plan *plan,
                                    const struct cvy_op_desc *op, size_t first)
{
    struct onednn_place y = onednn_at(o, plan, op->in[CVY_ACT_BWD_Y]),
                        dy = onednn_at(o, plan, op->in[CVY_ACT_BWD_DY]);
    struct onednn_prim *p = NULL;
    if (!y.md || !dy.md) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    if (better_as_dy(o, plan, op, y.md, dy.md)) ONEDNN_CVY(new_backward(o, plan, op, dy.md, &p));
    if (p && is_slow(p)) p = NULL;
    if (!p) ONEDNN_CVY(new_backward(o, plan, op, y.md, &p));
    onednn_md md = p->arg[0].md;
    int dx = onednn_reuse(o, plan, op->in[CVY_ACT_BWD_DY], first);
    ONEDNN_CVY(onednn_read(o, plan, op->in[CVY_ACT_BWD_Y], md, &p->arg[1].id));
    ONEDNN_CVY(onednn_read(o, plan, op->in[CVY_ACT_BWD_DY], md, &p->arg[2].id));
    if (dx != p->arg[2].id) dx = -1; /* a copy: dx gets a place of its own */
    ONEDNN_CVY(onednn_lay_out(o, plan, op->out[CVY_ACT_BWD_DX], md, dx));
    p->arg[0].id = dx < 0 ? onednn_root(plan, op->out[CVY_ACT_BWD_DX]) : dx;
    return onednn_append(p, plan, 0);
}

int onednn_act_take(const struct onednn *o, const struct cvy_plan *plan,
                    const struct cvy_op_desc *ops, int n)
{
    (void)o, (void)plan, (void)n;
    struct onednn_act e;
    return onednn_eltwise(&ops[0].u.act, ops[0].kind == CVY_OP_ACT_BWD, &e);
}

enum cvy_status onednn_act_plan(struct onednn *o, struct cvy_plan *plan,
                                const struct cvy_op_desc *ops, int *n, size_t first)
{
    (void)n;
    if (ops[0].kind == CVY_OP_ACT) return plan_act(o, plan, &ops[0], first);
    return plan_act_bwd(o, plan, &ops[0], first);
}
