/* Pooling. The gradient of a maximum goes by the workspace that its forward pass left: where its
 * windows' first maxima are, which is our default for ties. */
#include <string.h>

#include "backends/onednn/onednn.h"

/* oneDNN sums an average in one chain of floats: 0.1 over 224 x 224 pixels comes out as 0.10005.
 * Longer ones than this are left to others (docs/numerics.md). */
#define LONGEST_AVERAGE 256

/* The padding that makes a window end where ours does: ceil_mode may overhang, floor may leave
 * pixels over. */
static struct onednn_pool geometry(const cvy_pool2d_desc *d, cvy_shape x, cvy_shape y)
{
    const size_t in[2] = { x.h, x.w }, out[2] = { y.h, y.w };
    struct onednn_pool p = { .alg = dnnl_pooling_avg_include_padding };
    if (d->exclude_pad) p.alg = dnnl_pooling_avg_exclude_padding;
    if (d->kind == CVY_POOL_MAX) p.alg = dnnl_pooling_max;
    for (int i = 0; i < 2; i++) {
        p.stride[i] = (dnnl_dim_t)d->stride[i];
        p.kernel[i] = (dnnl_dim_t)d->kernel[i];
        p.pad_l[i] = (dnnl_dim_t)d->pad[i];
        dnnl_dim_t reach = ((dnnl_dim_t)out[i] - 1) * p.stride[i] + p.kernel[i],
                   have = (dnnl_dim_t)in[i] + p.pad_l[i];
        p.pad_r[i] = reach > have ? reach - have : 0;
        if (reach < have && !d->ceil_mode) p.pad_r[i] = (dnnl_dim_t)d->pad[i + 2];
    }
    return p;
}

static dnnl_status_t pool_fwd(const struct onednn_prim *p, struct onednn_with with,
                              const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    return onednn_pool_fwd(pd, with, p->prop, &p->u.pool, md[0], md[1]);
}

static dnnl_status_t pool_bwd(const struct onednn_prim *p, struct onednn_with with,
                              const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    return onednn_pool_bwd(pd, with, &p->u.pool, md[0], md[1]);
}

static struct onednn_prim *new_forward(struct onednn *o, const struct cvy_op_desc *op, onednn_md x,
                                       cvy_shape xs, cvy_shape ys)
{
    struct onednn_prim *p = onednn_prim(o, op->name, pool_fwd);
    if (!p) return NULL;
    p->u.pool = geometry(&op->u.pool, xs, ys);
    p->prop = o->training ? dnnl_forward_training : dnnl_forward_inference;
    onednn_give(p, DNNL_ARG_SRC, x, true);
    onednn_give(p, DNNL_ARG_DST, onednn_any4(o, ys), true);
    if (p->u.pool.alg == dnnl_pooling_max) onednn_be_careful(p, onednn_care_max);
    return p;
}

/* Value id in rank 4, as pooling wants it. */
static enum cvy_status in_rank_4(struct onednn *o, struct cvy_plan *plan, int id, onednn_md *md,
                                 int *buffer)
{
    struct onednn_place x;
    ONEDNN_CVY(onednn_seen(o, plan, id, &x));
    *md = x.md;
    *buffer = x.id;
    if (onednn_md_rank(x.md) == 4) return CVY_OK;
    *md = onednn_plain4(o, cvy_plan_value(plan, id)->shape);
    return onednn_read(o, plan, id, *md, buffer);
}

static enum cvy_status plan_forward(struct onednn *o, struct cvy_plan *plan,
                                    const struct cvy_op_desc *op)
{
    cvy_shape xs = cvy_plan_value(plan, op->in[CVY_POOL_X])->shape,
              ys = cvy_plan_value(plan, op->out[CVY_POOL_Y])->shape;
    onednn_md x;
    int from, workspace;
    ONEDNN_CVY(in_rank_4(o, plan, op->in[CVY_POOL_X], &x, &from));
    struct onednn_prim *p = new_forward(o, op, x, xs, ys);
    if (!p) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    ONEDNN_CVY(onednn_create(p, plan));
    p->arg[0].id = from;
    p->arg[1].id = onednn_root(plan, op->out[CVY_POOL_Y]);
    ONEDNN_CVY(onednn_lay_out(o, plan, op->out[CVY_POOL_Y], p->arg[1].md, -1));
    ONEDNN_CVY(onednn_bind_private(p, plan, DNNL_ARG_WORKSPACE, &workspace));
    struct onednn_forward *f = onednn_remember(o, CVY_OP_POOL, p);
    if (!f) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    f->x = onednn_root(plan, op->in[CVY_POOL_X]);
    f->workspace = workspace;
    return onednn_append(p, plan, 0);
}

/* The forward primitive of this gradient. A maximum's is the one that ran on x; an average's has no
 * memory, so any of that shape will do. */
static struct onednn_forward *find(struct onednn *o, const struct cvy_plan *plan,
                                   const struct cvy_op_desc *op, int x)
{
    const struct onednn_pool want =
        geometry(&op->u.pool, cvy_plan_value(plan, op->out[CVY_POOL_BWD_DX])->shape,
                 cvy_plan_value(plan, op->in[CVY_POOL_BWD_DY])->shape);
    for (struct onednn_forward *f = o->forwards; f; f = f->next) {
        const struct onednn_pool *p = &f->prim->u.pool;
        if (f->kind != CVY_OP_POOL || p->alg != want.alg ||
            (x >= 0 && f->x != onednn_root(plan, x)))
            continue;
        bool same = true;
        for (int i = 0; i < 2; i++)
            same = same && p->stride[i] == want.stride[i] && p->kernel[i] == want.kernel[i] &&
                   p->pad_l[i] == want.pad_l[i] && p->pad_r[i] == want.pad_r[i];
        cvy_shape s = cvy_plan_value(plan, op->out[CVY_POOL_BWD_DX])->shape;
        const dnnl_dim_t *dims = onednn_md_dims(f->prim->arg[0].md);
        if (same && dims[1] == (dnnl_dim_t)s.c && dims[2] == (dnnl_dim_t)s.h &&
            dims[3] == (dnnl_dim_t)s.w)
            return f;
    }
    return NULL;
}

static enum cvy_status plan_backward(struct onednn *o, struct cvy_plan *plan,
                                     const struct cvy_op_desc *op)
{
    cvy_shape xs = cvy_plan_value(plan, op->out[CVY_POOL_BWD_DX])->shape,
              ys = cvy_plan_value(plan, op->in[CVY_POOL_BWD_DY])->shape;
    int x = op->u.pool.kind == CVY_POOL_MAX ? op->in[CVY_POOL_BWD_X] : -1, workspace = -1;
    struct onednn_forward *f = find(o, plan, op, x);
    struct onednn_prim *forward = f ? f->prim : NULL;
    if (f) workspace = f->workspace;
    /* a program of this one op: a maximum must look for itself where its maxima are */
    if (!forward) {
        onednn_md md = onednn_plain4(o, xs);
        int from = -1;
        if (x >= 0) ONEDNN_CVY(in_rank_4(o, plan, x, &md, &from));
        if (!(forward = new_forward(o, op, md, xs, ys)))
            return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
        forward->prop = dnnl_forward_training;
        ONEDNN_CVY(onednn_create(forward, plan));
        if (x >= 0) {
            int unused;
            forward->arg[0].id = from;
            ONEDNN_CVY(onednn_bind_private(forward, plan, DNNL_ARG_DST, &unused));
            ONEDNN_CVY(onednn_bind_private(forward, plan, DNNL_ARG_WORKSPACE, &workspace));
            ONEDNN_CVY(onednn_append(forward, plan, 0));
        }
    }
    struct onednn_prim *p = onednn_prim(o, op->name, pool_bwd);
    if (!p) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    p->u.pool = forward->u.pool;
    p->prop = dnnl_backward_data;
    p->hint = forward;
    onednn_give(p, DNNL_ARG_DIFF_SRC, forward->arg[0].md, true);
    onednn_give(p, DNNL_ARG_DIFF_DST, forward->arg[1].md, true);
    ONEDNN_CVY(onednn_create(p, plan));
    ONEDNN_CVY(onednn_read(o, plan, op->in[CVY_POOL_BWD_DY], p->arg[1].md, &p->arg[1].id));
    p->arg[0].id = onednn_root(plan, op->out[CVY_POOL_BWD_DX]);
    ONEDNN_CVY(onednn_lay_out(o, plan, op->out[CVY_POOL_BWD_DX], p->arg[0].md, -1));
    if (x >= 0) onednn_bind(p, DNNL_ARG_WORKSPACE, workspace);
    if (x >= 0) onednn_be_careful(p, onednn_care_max_bwd);
    return onednn_append(p, plan, 0);
}

int onednn_pool_take(const struct onednn *o, const struct cvy_plan *plan,
                     const struct cvy_op_desc *ops, int n)
{
    (void)o, (void)n;
    const cvy_pool2d_desc *d = &ops[0].u.pool;
    bool backward = ops[0].kind == CVY_OP_POOL_BWD;
    if (d->kind == CVY_POOL_MAX) return !backward || d->tie == CVY_TIE_FIRST;
    if (d->kernel[0] * d->kernel[1] > LONGEST_AVERAGE) return 0;
    if (d->exclude_pad || !d->ceil_mode) return 1;
    /* oneDNN divides by the whole window, also where ceil_mode lets it hang over */
    cvy_shape x =
        cvy_plan_value(plan, backward ? ops[0].out[CVY_POOL_BWD_DX] : ops[0].in[CVY_POOL_X])->shape;
    cvy_shape y =
        cvy_plan_value(plan, backward ? ops[0].in[CVY_POOL_BWD_DY] : ops[0].out[CVY_POOL_Y])->shape;
    struct onednn_pool p = geometry(d, x, y);
    return p.pad_r[0] <= (dnnl_dim_t)d->pad[2] && p.pad_r[1] <= (dnnl_dim_t)d->pad[3];
}

enum cvy_status onednn_pool_plan(struct onednn *o, struct cvy_plan *plan,
                                 const struct cvy_op_desc *ops, int *n, size_t first)
{
    (void)n, (void)first;
    return ops[0].kind == CVY_OP_POOL ? plan_forward(o, plan, &ops[0])
                                      : plan_backward(o, plan, &ops[0]);
}
