/* Convolutions, forward and both gradients; as inner products where the kernel is the whole map.
 * Every layout is oneDNN's choice. A bias and an activation behind a convolution are computed with
 * it; in a predictor a batch norm too, whose factors go into weights and bias when one of them has
 * changed. */
#include <math.h>

#include "backends/onednn/onednn.h"

/* One layer as oneDNN sees it. */
struct layer {
    const cvy_conv2d_desc *d;
    cvy_shape x, y, w;
    bool linear;
    double flops;
};

static bool is_linear(const cvy_conv2d_desc *d, cvy_shape x)
{
    return d->groups == 1 && d->kernel[0] == x.h && d->kernel[1] == x.w && !d->pad[0] &&
           !d->pad[1] && !d->pad[2] && !d->pad[3] && (x.h == 1 || d->dilation[0] == 1) &&
           (x.w == 1 || d->dilation[1] == 1);
}

/* A flattened map is seen as the map, so that no flattening ever has to be done. */
static struct layer layer_of(const struct cvy_plan *plan, const struct cvy_op_desc *op, int x,
                             int y, int w)
{
    struct layer l = { .d = &op->u.conv,
                       .x = cvy_plan_value(plan, x)->shape,
                       .y = cvy_plan_value(plan, y)->shape,
                       .w = cvy_plan_value(plan, w)->shape };
    l.linear = is_linear(l.d, l.x);
    if (l.linear) {
        l.x = onednn_shape(plan, x);
        l.w = (cvy_shape){ l.w.n, l.x.c, l.x.h, l.x.w };
    }
    l.flops = cvy_plan_flops(plan, op);
    return l;
}

static struct onednn_conv geometry(const struct layer *l)
{
    struct onednn_conv c = { .stride = { 0 } };
    for (int i = 0; i < 2; i++) {
        c.stride[i] = (dnnl_dim_t)l->d->stride[i];
        c.dilation[i] = (dnnl_dim_t)l->d->dilation[i] - 1;
        c.pad_l[i] = (dnnl_dim_t)l->d->pad[i];
        c.pad_r[i] = (dnnl_dim_t)l->d->pad[i + 2];
    }
    return c;
}

static bool is_padded(const struct layer *l)
{
    return !l->linear && (l->d->pad[0] || l->d->pad[1] || l->d->pad[2] || l->d->pad[3]);
}

static onednn_md any_map(struct onednn *o, const struct layer *l, cvy_shape s)
{
    return l->linear ? onednn_any(o, s) : onednn_any4(o, s);
}

static onednn_md any_weights(struct onednn *o, const struct layer *l)
{
    dnnl_dim_t g = (dnnl_dim_t)l->d->groups;
    if (l->linear || g == 1) return any_map(o, l, l->w);
    dnnl_dims_t dims = { g, (dnnl_dim_t)l->w.n / g, (dnnl_dim_t)l->w.c, (dnnl_dim_t)l->w.h,
                         (dnnl_dim_t)l->w.w };
    return onednn_tagged(o, 5, dims, dnnl_format_tag_any);
}

static onednn_md bias_md(struct onednn *o, const struct layer *l, int bias)
{
    return bias < 0 ? NULL : onednn_tagged(o, 1, (dnnl_dims_t){ (dnnl_dim_t)l->w.n }, dnnl_a);
}

/* --------------------------------------------------------------------------------------- making */

static dnnl_status_t conv_fwd(const struct onednn_prim *p, struct onednn_with with,
                              const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    return onednn_conv_fwd(pd, with, p->prop, &p->u.conv, md[0], md[1], md[2], md[3]);
}
static dnnl_status_t linear_fwd(const struct onednn_prim *p, struct onednn_with with,
                                const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    return onednn_linear_fwd(pd, with, p->prop, md[0], md[1], md[2], md[3]);
}
static dnnl_status_t conv_bwd_data(const struct onednn_prim *p, struct onednn_with with,
                                   const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    return onednn_conv_bwd_data(pd, with, &p->u.conv, md[0], md[1], md[2]);
}
static dnnl_status_t linear_bwd_data(const struct onednn_prim *p, struct onednn_with with,
                                     const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    (void)p;
    return onednn_linear_bwd_data(pd, with, md[0], md[1], md[2]);
}
static dnnl_status_t conv_bwd_weights(const struct onednn_prim *p, struct onednn_with with,
                                      const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    return onednn_conv_bwd_weights(pd, with, &p->u.conv, md[0], md[1], md[2], md[3]);
}
static dnnl_status_t linear_bwd_weights(const struct onednn_prim *p, struct onednn_with with,
                                        const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    (void)p;
    return onednn_linear_bwd_weights(pd, with, md[0], md[1], md[2], md[3]);
}

static struct onednn_prim *new_forward(struct onednn *o, const char *name, const struct layer *l,
                                       int bias)
{
    struct onednn_prim *p = onednn_prim(o, name, l->linear ? linear_fwd : conv_fwd);
    if (!p) return NULL;
    p->u.conv = geometry(l);
    p->prop = o->training ? dnnl_forward_training : dnnl_forward_inference;
    onednn_give(p, DNNL_ARG_SRC, any_map(o, l, l->x), true);
    onednn_give(p, DNNL_ARG_WEIGHTS, any_weights(o, l), false);
    onednn_give(p, DNNL_ARG_BIAS, bias_md(o, l, bias), false);
    onednn_give(p, DNNL_ARG_DST, any_map(o, l, l->y), true);
    return p;
}

/* A backward primitive descriptor asks for a forward one; any will do, it is never executed. */
static enum cvy_status hint(struct onednn *o, struct cvy_plan *plan, const struct cvy_op_desc *op,
                            const struct layer *l, int bias, struct onednn_prim **out)
{
    *out = new_forward(o, op->name, l, bias);
    if (!*out) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    (*out)->prop = dnnl_forward_training;
    return onednn_create(*out, plan);
}

onednn_md onednn_conv_wants(struct onednn *o, struct cvy_plan *plan, int id, size_t first)
{
    const struct cvy_op_desc *op;
    int n;
    for (size_t i = first + 1; (op = cvy_plan_chain(plan, i, &n)); i++) {
        if (op->kind != CVY_OP_CONV2D || !n || op->in[CVY_CONV2D_X] != id) continue;
        struct layer l = layer_of(plan, op, id, op->out[CVY_CONV2D_Y], op->in[CVY_CONV2D_W]);
        struct onednn_prim *p = new_forward(o, op->name, &l, op->in[CVY_CONV2D_B]);
        return p && onednn_create(p, plan) == CVY_OK ? p->arg[0].md : NULL;
    }
    return NULL;
}

/* -------------------------------------------------------------------------------------- folding */

/* Convolution and batch norm with running statistics as one convolution: w' = scale * w, bias' =
 * (bias - mean) * scale + beta. */
struct fold {
    struct onednn *o;
    size_t oc, taps;                     /* taps: numbers of an output channel's weight */
    int w, bias, mean, var, gamma, beta; /* what they are made of; bias, gamma, beta -1: absent */
    double eps;
    float *scale;
    int to_w, to_bias;        /* buffers: the results, in C order */
    struct onednn_prim *pack; /* from to_w into the primitive's format; NULL: it is C order */
};

/* bias', and whether a scale is another than before. */
static bool find_factors(const struct fold *f, const struct cvy_run *run)
{
    const float *mean = run->buf[f->mean], *var = run->buf[f->var],
                *bias = f->bias < 0 ? NULL : run->buf[f->bias];
    const float *gamma = f->gamma < 0 ? NULL : run->buf[f->gamma],
                *beta = f->beta < 0 ? NULL : run->buf[f->beta];
    float *out = run->buf[f->to_bias];
    bool changed = false;
    for (size_t c = 0; c < f->oc; c++) {
        double s = (gamma ? (double)gamma[c] : 1) / sqrt((double)var[c] + f->eps);
        out[c] = (float)(((bias ? (double)bias[c] : 0) - (double)mean[c]) * s +
                         (beta ? (double)beta[c] : 0));
        changed = changed || f->scale[c] != (float)s;
        f->scale[c] = (float)s;
    }
    bool special = onednn_is_special(f->o, f->w) || onednn_has_special(f->scale, f->oc) ||
                   onednn_has_special(out, f->oc);
    onednn_mark(f->o, f->to_w, special);
    onednn_mark(f->o, f->to_bias, special);
    return changed;
}

static void scale_weights(const struct fold *f, const struct cvy_run *run)
{
    const float *w = run->buf[f->w];
    float *out = run->buf[f->to_w];
    for (size_t c = 0; c < f->oc; c++)
        for (size_t k = 0; k < f->taps; k++)
            out[c * f->taps + k] = w[c * f->taps + k] * f->scale[c];
    if (f->pack) (void)onednn_execute(f->pack, run);
}

static void refresh_weights(const void *arg, const struct cvy_run *run)
{
    (void)find_factors(arg, run);
    scale_weights(arg, run);
}

/* Six parameters are refreshed one after the other: the weights have been scaled with all of them
 * before. */
static void refresh_factors(const void *arg, const struct cvy_run *run)
{
    if (find_factors(arg, run)) scale_weights(arg, run);
}

/* The arguments WEIGHTS and BIAS of p, a convolution that does the work of ops[1] as well. */
static enum cvy_status plan_fold(struct onednn *o, struct cvy_plan *plan,
                                 const struct cvy_op_desc *ops, struct onednn_prim *p)
{
    const struct cvy_op_desc *bn = &ops[1];
    const cvy_shape w = cvy_plan_value(plan, ops[0].in[CVY_CONV2D_W])->shape;
    struct fold *f = onednn_alloc(o, sizeof *f);
    float *scale = onednn_alloc(o, w.n * sizeof *scale);
    onednn_md md = p->arg[1].md, plain = onednn_dense(o, md);
    if (!f || !scale || !plain)
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", p->name);
    *f = (struct fold){ .o = o,
                        .oc = w.n,
                        .taps = w.c * w.h * w.w,
                        .w = ops[0].in[CVY_CONV2D_W],
                        .bias = ops[0].in[CVY_CONV2D_B],
                        .mean = bn->in[CVY_BN_INFER_MEAN],
                        .var = bn->in[CVY_BN_INFER_VAR],
                        .gamma = bn->in[CVY_BN_INFER_GAMMA],
                        .beta = bn->in[CVY_BN_INFER_BETA],
                        .eps = bn->u.bn.eps,
                        .scale = scale,
                        .to_w = cvy_plan_buffer(plan, p->name, onednn_md_bytes(plain), true),
                        .to_bias = cvy_plan_buffer(plan, p->name, w.n * sizeof(float), true) };
    if (f->to_w < 0 || f->to_bias < 0 || !onednn_reach_marks(o, f->to_bias)) return CVY_E_NOMEM;
    ONEDNN_CVY(onednn_watch_parameter(o, plan, f->w));
    p->arg[1].id = f->to_w;
    p->arg[2].id = f->to_bias;
    if (!onednn_md_equal(plain, md)) {
        struct cvy_phase_desc unused;
        p->arg[1].id = cvy_plan_buffer(plan, p->name, onednn_md_bytes(md), true);
        if (p->arg[1].id < 0) return CVY_E_NOMEM;
        const struct onednn_move move = { f->to_w, plain, p->arg[1].id, md, false };
        ONEDNN_CVY(onednn_reordering(o, plan, p->name, &move, &f->pack, &unused));
    }
    ONEDNN_CVY(cvy_plan_refresh(plan, f->w, refresh_weights, f));
    const int factors[] = { f->bias, f->mean, f->var, f->gamma, f->beta };
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++)
        if (factors[i] >= 0) ONEDNN_CVY(cvy_plan_refresh(plan, factors[i], refresh_factors, f));
    return CVY_OK;
}

/* ------------------------------------------------------------------------------------- planning */

/* ops: a convolution, a batch norm in predictors, an activation; the latter two may be absent. */
_Static_assert((int)CVY_BN_INFER_Y == (int)CVY_CONV2D_Y && (int)CVY_ACT_Y == (int)CVY_CONV2D_Y,
               "results of fused ops");

static enum cvy_status plan_forward(struct onednn *o, struct cvy_plan *plan,
                                    const struct cvy_op_desc *ops, int *n, size_t first)
{
    const struct cvy_op_desc *op = &ops[0];
    int fused = 1; /* as long as nobody else wants what is skipped */
    while (fused < *n &&
           !cvy_plan_needed_after(plan, ops[fused - 1].out[CVY_CONV2D_Y], first + (size_t)fused))
        fused++;
    bool fold = fused > 1 && ops[1].kind == CVY_OP_BN_INFER;
    const struct cvy_op_desc *act = ops[fused - 1].kind == CVY_OP_ACT ? &ops[fused - 1] : NULL;
    struct layer l =
        layer_of(plan, op, op->in[CVY_CONV2D_X], op->out[CVY_CONV2D_Y], op->in[CVY_CONV2D_W]);
    struct onednn_prim *p =
        new_forward(o, onednn_joined_name(o, ops, fused), &l, fold ? 0 : op->in[CVY_CONV2D_B]);
    if (!p || (act && !onednn_fuse(p, act)))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    ONEDNN_CVY(onednn_create(p, plan));
    ONEDNN_CVY(onednn_read(o, plan, op->in[CVY_CONV2D_X], p->arg[0].md, &p->arg[0].id));
    if (fold) {
        ONEDNN_CVY(plan_fold(o, plan, ops, p));
    } else {
        ONEDNN_CVY(onednn_watch_parameter(o, plan, op->in[CVY_CONV2D_B]));
        if (is_padded(&l)) ONEDNN_CVY(onednn_watch_weights(o, plan, op->in[CVY_CONV2D_W]));
        ONEDNN_CVY(onednn_weights(o, plan, op->in[CVY_CONV2D_W], p->arg[1].md, &p->arg[1].id));
        p->arg[2].id = op->in[CVY_CONV2D_B];
    }
    int y = ops[fused - 1].out[CVY_CONV2D_Y];
    p->arg[3].id = onednn_root(plan, y);
    ONEDNN_CVY(onednn_lay_out(o, plan, y, p->arg[3].md, -1));
    if (is_padded(&l)) onednn_be_careful(p, onednn_care_padding);
    if (act && !onednn_fused(p, act, 3))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    *n = fused;
    return onednn_append(p, plan, l.flops);
}

static enum cvy_status plan_bwd_data(struct onednn *o, struct cvy_plan *plan,
                                     const struct cvy_op_desc *op)
{
    struct layer l = layer_of(plan, op, op->out[CVY_CONV2D_BWD_DATA_DX],
                              op->in[CVY_CONV2D_BWD_DATA_DY], op->in[CVY_CONV2D_BWD_DATA_W]);
    struct onednn_prim *p = onednn_prim(o, op->name, l.linear ? linear_bwd_data : conv_bwd_data);
    if (!p) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    p->u.conv = geometry(&l);
    p->prop = dnnl_backward_data;
    ONEDNN_CVY(hint(o, plan, op, &l, -1, &p->hint));
    onednn_give(p, DNNL_ARG_DIFF_SRC, any_map(o, &l, l.x), true);
    onednn_give(p, DNNL_ARG_WEIGHTS, any_weights(o, &l), false);
    onednn_give(p, DNNL_ARG_DIFF_DST, any_map(o, &l, l.y), true);
    ONEDNN_CVY(onednn_create(p, plan));
    ONEDNN_CVY(onednn_weights(o, plan, op->in[CVY_CONV2D_BWD_DATA_W], p->arg[1].md, &p->arg[1].id));
    ONEDNN_CVY(onednn_read(o, plan, op->in[CVY_CONV2D_BWD_DATA_DY], p->arg[2].md, &p->arg[2].id));
    p->arg[0].id = onednn_root(plan, op->out[CVY_CONV2D_BWD_DATA_DX]);
    ONEDNN_CVY(onednn_lay_out(o, plan, op->out[CVY_CONV2D_BWD_DATA_DX], p->arg[0].md, -1));
    return onednn_append(p, plan, l.flops);
}

static enum cvy_status plan_bwd_weights(struct onednn *o, struct cvy_plan *plan,
                                        const struct cvy_op_desc *op)
{
    struct layer l =
        layer_of(plan, op, op->in[CVY_CONV2D_BWD_WEIGHTS_X], op->in[CVY_CONV2D_BWD_WEIGHTS_DY],
                 op->out[CVY_CONV2D_BWD_WEIGHTS_DW]);
    int dw = op->out[CVY_CONV2D_BWD_WEIGHTS_DW], db = op->out[CVY_CONV2D_BWD_WEIGHTS_DB];
    struct onednn_prim *p =
        onednn_prim(o, op->name, l.linear ? linear_bwd_weights : conv_bwd_weights);
    if (!p) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    p->u.conv = geometry(&l);
    p->prop = dnnl_backward_weights;
    ONEDNN_CVY(hint(o, plan, op, &l, db, &p->hint));
    onednn_give(p, DNNL_ARG_SRC, any_map(o, &l, l.x), true);
    onednn_give(p, DNNL_ARG_DIFF_WEIGHTS, any_weights(o, &l), false);
    onednn_give(p, DNNL_ARG_DIFF_BIAS, bias_md(o, &l, db), false);
    onednn_give(p, DNNL_ARG_DIFF_DST, any_map(o, &l, l.y), true);
    ONEDNN_CVY(onednn_create(p, plan));
    ONEDNN_CVY(onednn_read(o, plan, op->in[CVY_CONV2D_BWD_WEIGHTS_X], p->arg[0].md, &p->arg[0].id));
    ONEDNN_CVY(
        onednn_read(o, plan, op->in[CVY_CONV2D_BWD_WEIGHTS_DY], p->arg[3].md, &p->arg[3].id));
    p->arg[2].id = db;
    /* gradients are kept plain, as users and optimisers read them */
    onednn_md plain = onednn_dense(o, p->arg[1].md);
    p->arg[1].id = dw;
    bool direct = plain && onednn_md_equal(plain, p->arg[1].md);
    if (!direct) ONEDNN_CVY(onednn_bind_private(p, plan, DNNL_ARG_DIFF_WEIGHTS, &p->arg[1].id));
    if (is_padded(&l)) onednn_be_careful(p, onednn_care_padding_weights);
    ONEDNN_CVY(onednn_append(p, plan, l.flops));
    if (direct) return CVY_OK;
    const struct onednn_move move = { p->arg[1].id, p->arg[1].md, dw, plain, false };
    return onednn_reorder_phase(o, plan, onednn_reorder_name(o, op->name), &move);
}

/* Of a transposed convolution a window more may fit than y has: oneDNN says it does not. */
static bool has_whole_windows(const struct cvy_plan *plan, const struct cvy_op_desc *op)
{
    const cvy_conv2d_desc *d = &op->u.conv;
    int x = op->in[CVY_CONV2D_X], y = op->out[CVY_CONV2D_Y];
    if (op->kind == CVY_OP_CONV2D_BWD_DATA) {
        x = op->out[CVY_CONV2D_BWD_DATA_DX];
        y = op->in[CVY_CONV2D_BWD_DATA_DY];
    } else if (op->kind == CVY_OP_CONV2D_BWD_WEIGHTS) {
        x = op->in[CVY_CONV2D_BWD_WEIGHTS_X];
        y = op->in[CVY_CONV2D_BWD_WEIGHTS_DY];
    }
    cvy_shape from = cvy_plan_value(plan, x)->shape, to = cvy_plan_value(plan, y)->shape;
    size_t size[2] = { from.h, from.w }, windows[2] = { to.h, to.w };
    for (int i = 0; i < 2; i++) {
        size_t reach = d->dilation[i] * (d->kernel[i] - 1) + 1,
               room = size[i] + d->pad[i] + d->pad[i + 2] - reach;
        if (windows[i] != room / d->stride[i] + 1) return false;
    }
    return true;
}

int onednn_conv_take(const struct onednn *o, const struct cvy_plan *plan,
                     const struct cvy_op_desc *ops, int n)
{
    if (ops[0].u.conv.flip || !has_whole_windows(plan, &ops[0])) return 0; /* oneDNN correlates */
    if (ops[0].kind != CVY_OP_CONV2D) return 1;
    int k = !o->training && n > 1 && ops[1].kind == CVY_OP_BN_INFER &&
                    ops[1].u.bn.statistics == CVY_BN_STATISTICS_BOTH &&
                    ops[1].in[CVY_BN_INFER_X] == ops[0].out[CVY_CONV2D_Y]
                ? 2
                : 1;
    return onednn_activates(ops, n, k) ? k + 1 : k;
}

enum cvy_status onednn_conv_plan(struct onednn *o, struct cvy_plan *plan,
                                 const struct cvy_op_desc *ops, int *n, size_t first)
{
    switch (ops[0].kind) {
    case CVY_OP_CONV2D: return plan_forward(o, plan, ops, n, first);
    case CVY_OP_CONV2D_BWD_DATA: return plan_bwd_data(o, plan, &ops[0]);
    default: return plan_bwd_weights(o, plan, &ops[0]);
    }
}
