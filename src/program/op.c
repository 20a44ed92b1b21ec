/* Single operators on the host's own NCHW buffers: each is a program of one operator whose values
 * are the caller's, bound anew in every run; layouts are changed by the compiler's ordinary
 * reorders. Knows the op lists' conventions. */
#include <stdint.h>
#include <string.h>

#include "convoy/op.h"
#include "program/model.h"

#define MAX_ARGS (CVY_MAX_IN + 1)

/* Which member of cvy_op_args a value is bound to; at: which pointer of a member that holds many,
 * else -1. */
struct argument {
    int id, at;
    size_t offset;
    const char *name;
};
/* Small per-channel float arrays of the caller that live in the program in its own layout: copied
 * before and after. */
struct channel_arg {
    int id;
    size_t first, offset;
    bool in, out, optional;
    const char *name;
};

struct cvy_op {
    struct cvy_context *ctx;
    struct cvy_plan *program;
    struct argument arg[MAX_ARGS];
    size_t n_args;
    struct channel_arg channel[4];
    size_t n_channels;
    size_t channels;
    cvy_shape src, dst;
    struct cvyi_loss loss;
    int loss_value; /* -1: not a loss */
    const char *backend;
};

/* A one-op list being written. */
struct build {
    struct cvy_op *op;
    struct cvyi_list list;
    int keep[4];
    size_t n_keep;
};

#define ARG(member) offsetof(cvy_op_args, member), #member

static int external(struct build *b, enum cvy_role role, cvy_shape shape, size_t offset,
                    const char *name)
{
    int id = cvyi_list_value(&b->list, role, shape, "%s", name);
    if (id < 0) return -1;
    b->list.value[id].external = true;
    b->list.value[id].layout = CVY_LAYOUT_PLAIN;
    b->op->arg[b->op->n_args++] = (struct argument){ id, -1, offset, name };
    return id;
}
#define EXTERNAL(b, role, shape, member) external(b, role, shape, ARG(member))

/* A value of the program that stays between runs. */
static int kept(struct build *b, enum cvy_role role, cvy_shape shape, const char *name)
{
    int id = cvyi_list_value(&b->list, role, shape, "%s", name);
    if (id >= 0) b->keep[b->n_keep++] = id;
    return id;
}

static void channel(struct build *b, int id, size_t first, bool in, bool out, bool optional,
                    size_t offset, const char *name)
{
    b->op->channel[b->op->n_channels++] =
        (struct channel_arg){ id, first, offset, in, out, optional, name };
}

static enum cvy_status begin(struct build *b, cvy_context *ctx, cvy_shape src, cvy_op **out)
{
    if (out) *out = NULL;
    if (!ctx || !out) return cvyi_fail(ctx, CVY_E_ARG, "an operator needs a context and a place");
    if (src.n < 1) return cvyi_fail(ctx, CVY_E_SHAPE, "an operator needs at least one image");
    CVYI_TRY(cvyi_shape_check(ctx, "src", "op", src));
    memset(b, 0, sizeof *b);
    b->op = cvyi_alloc(ctx, sizeof *b->op);
    if (!b->op) return CVY_E_NOMEM;
    b->op->ctx = ctx;
    b->op->src = b->op->dst = src;
    b->op->channels = src.c;
    b->op->loss_value = -1;
    cvyi_list_init(&b->list, ctx);
    return CVY_OK;
}

static struct cvy_op_desc *add(struct build *b, enum cvy_op_kind kind)
{
    return cvyi_list_op(&b->list, kind, "%s", cvyi_op_kind_name(kind));
}
static void in3(struct cvy_op_desc *op, int x, int y, int z)
{
    cvyi_op_in(op, x);
    cvyi_op_in(op, y);
    cvyi_op_in(op, z);
}

static enum cvy_status abandon(struct build *b, enum cvy_status status)
{
    cvyi_list_free(&b->list);
    cvy_op_destroy(&b->op);
    return status;
}

static enum cvy_status finish(struct build *b, bool training, cvy_op **out)
{
    struct cvy_op *op = b->op;
    if (b->list.status != CVY_OK) return abandon(b, b->list.status);
    enum cvy_op_kind kind = b->list.op[b->list.n_ops - 1].kind;
    struct cvyi_program_options options = {
        .capacity = op->src.n, .training = training, .keep = b->keep, .n_keep = b->n_keep
    };
    enum cvy_status status = cvyi_program_compile(op->ctx, &b->list, &options, &op->program);
    if (status != CVY_OK) return abandon(b, status);
    for (size_t i = 0; i < op->program->list.n_ops; i++)
        if (op->program->list.op[i].kind == kind)
            op->backend = op->program->backend[op->program->assign[i]]->name;
    *out = op;
    return CVY_OK;
}

static enum cvy_status bad_pass(struct build *b, const char *type, enum cvy_pass pass)
{
    return abandon(b, cvyi_fail(b->op->ctx, CVY_E_ARG, "%s has no pass %d", type, (int)pass));
}

/* ------------------------------------------------------------------------------------ operators */

enum cvy_status cvy_op_conv2d(cvy_context *ctx, const cvy_conv2d_desc *desc, cvy_shape src,
                              enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct build b;
    CVYI_TRY(begin(&b, ctx, src, out));
    if (!desc) return abandon(&b, cvyi_fail(ctx, CVY_E_ARG, "conv2d needs a descriptor"));
    cvy_conv2d_desc d = *desc;
    enum cvy_status status = cvyi_conv2d_out(ctx, NULL, &d, src, &b.op->dst);
    if (status != CVY_OK) return abandon(&b, status);
    b.op->dst.n = src.n;
    cvy_shape ws = { d.out_channels, src.c / d.groups, d.kernel[0], d.kernel[1] },
              bs = { 1, d.out_channels, 1, 1 };
    struct cvy_op_desc *op;
    if (pass == CVY_FORWARD || pass == CVY_FORWARD_INFER) {
        int x = EXTERNAL(&b, CVY_ROLE_ACTIVATION, src, src),
            w = EXTERNAL(&b, CVY_ROLE_WEIGHT, ws, weights);
        int bias = d.no_bias ? -1 : EXTERNAL(&b, CVY_ROLE_WEIGHT, bs, bias);
        int y = EXTERNAL(&b, CVY_ROLE_ACTIVATION, b.op->dst, dst);
        op = add(&b, CVY_OP_CONV2D);
        in3(op, x, w, bias);
        cvyi_op_out(op, y);
    } else if (pass == CVY_BACKWARD_DATA) {
        int dy = EXTERNAL(&b, CVY_ROLE_ACTIVATION, b.op->dst, diff_dst),
            w = EXTERNAL(&b, CVY_ROLE_WEIGHT, ws, weights);
        int dx = EXTERNAL(&b, CVY_ROLE_ACTIVATION, src, diff_src);
        op = add(&b, CVY_OP_CONV2D_BWD_DATA);
        cvyi_op_in(op, dy);
        cvyi_op_in(op, w);
        cvyi_op_out(op, dx);
    } else if (pass == CVY_BACKWARD_WEIGHTS) {
        int x = EXTERNAL(&b, CVY_ROLE_ACTIVATION, src, src),
            dy = EXTERNAL(&b, CVY_ROLE_ACTIVATION, b.op->dst, diff_dst);
        int dw = EXTERNAL(&b, CVY_ROLE_WEIGHT_GRAD, ws, diff_weights);
        int db = d.no_bias ? -1 : EXTERNAL(&b, CVY_ROLE_WEIGHT_GRAD, bs, diff_bias);
        op = add(&b, CVY_OP_CONV2D_BWD_WEIGHTS);
        cvyi_op_in(op, x);
        cvyi_op_in(op, dy);
        cvyi_op_out(op, dw);
        cvyi_op_out(op, db);
    } else {
        return bad_pass(&b, "conv2d", pass);
    }
    op->u.conv = d;
    return finish(&b, pass != CVY_FORWARD_INFER, out);
}

static void batch_norm_forward(struct build *b, const cvy_batch_norm_desc *d, bool infer)
{
    cvy_shape cs = { 1, b->op->src.c, 1, 1 };
    int x = EXTERNAL(b, CVY_ROLE_ACTIVATION, b->op->src, src);
    int gamma = d->no_gamma ? -1 : EXTERNAL(b, CVY_ROLE_WEIGHT, cs, weights);
    int beta = d->no_beta ? -1 : EXTERNAL(b, CVY_ROLE_WEIGHT, cs, bias);
    int y = EXTERNAL(b, CVY_ROLE_ACTIVATION, b->op->dst, dst);
    int rm = kept(b, CVY_ROLE_RUNNING, cs, "running_mean"),
        rv = kept(b, CVY_ROLE_RUNNING, cs, "running_var");
    channel(b, rm, 0, true, !infer, !infer, ARG(running_mean));
    channel(b, rv, 0, true, !infer, !infer, ARG(running_var));
    int stats = -1;
    if (!infer) {
        stats = kept(b, CVY_ROLE_STATS, (cvy_shape){ 2, cs.c, 1, 1 }, "stats");
        channel(b, stats, 0, false, true, true, ARG(mean));
        channel(b, stats, cs.c, false, true, true, ARG(var));
        struct cvy_op_desc *op = add(b, CVY_OP_BN_STATS);
        op->u.bn = *d;
        in3(op, x, rm, rv);
        cvyi_op_out(op, stats);
    }
    struct cvy_op_desc *op = add(b, infer ? CVY_OP_BN_INFER : CVY_OP_BN_APPLY);
    op->u.bn = *d;
    if (infer) in3(op, x, rm, rv);
    else cvyi_op_in(op, x), cvyi_op_in(op, stats);
    cvyi_op_in(op, gamma);
    cvyi_op_in(op, beta);
    cvyi_op_out(op, y);
}

static void batch_norm_backward(struct build *b, const cvy_batch_norm_desc *d)
{
    cvy_shape cs = { 1, b->op->src.c, 1, 1 }, ss = { 2, b->op->src.c, 1, 1 };
    int x = EXTERNAL(b, CVY_ROLE_ACTIVATION, b->op->src, src),
        dy = EXTERNAL(b, CVY_ROLE_ACTIVATION, b->op->dst, diff_dst);
    int gamma = d->no_gamma ? -1 : EXTERNAL(b, CVY_ROLE_WEIGHT, cs, weights);
    int dgamma = d->no_gamma ? -1 : EXTERNAL(b, CVY_ROLE_WEIGHT_GRAD, cs, diff_weights);
    int dbeta = d->no_beta ? -1 : EXTERNAL(b, CVY_ROLE_WEIGHT_GRAD, cs, diff_bias);
    int dx = EXTERNAL(b, CVY_ROLE_ACTIVATION, b->op->src, diff_src);
    struct cvy_op_desc *op;
    if (d->frozen) { /* mean and var are the running ones that the forward pass used */
        int rm = kept(b, CVY_ROLE_RUNNING, cs, "running_mean"),
            rv = kept(b, CVY_ROLE_RUNNING, cs, "running_var");
        channel(b, rm, 0, true, false, false, ARG(mean));
        channel(b, rv, 0, true, false, false, ARG(var));
        op = add(b, CVY_OP_BN_INFER_BWD);
        op->u.bn = *d;
        cvyi_op_in(op, x);
        in3(op, dy, rm, rv);
        cvyi_op_in(op, gamma);
        cvyi_op_out(op, dx);
        cvyi_op_out(op, dgamma);
        cvyi_op_out(op, dbeta);
        return;
    }
    int stats = kept(b, CVY_ROLE_STATS, ss, "stats");
    channel(b, stats, 0, true, false, false, ARG(mean));
    channel(b, stats, cs.c, true, false, false, ARG(var));
    int sums = cvyi_list_value(&b->list, CVY_ROLE_STATS, ss, "sums");
    op = add(b, CVY_OP_BN_BWD_REDUCE);
    op->u.bn = *d;
    in3(op, x, dy, stats);
    cvyi_op_out(op, sums);
    cvyi_op_out(op, dgamma);
    cvyi_op_out(op, dbeta);
    op = add(b, CVY_OP_BN_BWD_DATA);
    op->u.bn = *d;
    in3(op, x, dy, stats);
    cvyi_op_in(op, sums);
    cvyi_op_in(op, gamma);
    cvyi_op_out(op, dx);
}

enum cvy_status cvy_op_batch_norm(cvy_context *ctx, const cvy_batch_norm_desc *desc, cvy_shape src,
                                  enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct build b;
    cvy_batch_norm_desc d = desc ? *desc : (cvy_batch_norm_desc){ 0 };
    CVYI_TRY(begin(&b, ctx, src, out));
    enum cvy_status status = cvyi_batch_norm_check(ctx, NULL, &d, src);
    if (status != CVY_OK) return abandon(&b, status);
    if (pass != CVY_FORWARD && pass != CVY_FORWARD_INFER && pass != CVY_BACKWARD_DATA)
        return bad_pass(&b, "batch_norm", pass);
    bool infer = pass == CVY_FORWARD_INFER || d.frozen;
    if (!infer && src.n * src.h * src.w == 1)
        return abandon(&b, cvyi_fail(ctx, CVY_E_SHAPE,
                                     "batch_norm: training needs more than one value per channel"));
    if (pass == CVY_BACKWARD_DATA) batch_norm_backward(&b, &d);
    else batch_norm_forward(&b, &d, infer);
    return finish(&b, pass != CVY_FORWARD_INFER, out);
}

/* What activation, pool2d, dropout and softmax share: one value in, one out; and the gradient from
 * dy and x or y. */
static struct cvy_op_desc *unary(struct build *b, enum cvy_pass pass, enum cvy_op_kind forward,
                                 enum cvy_op_kind backward, bool by_x, bool by_y)
{
    struct cvy_op *o = b->op;
    struct cvy_op_desc *op;
    if (pass != CVY_BACKWARD_DATA) {
        int x = EXTERNAL(b, CVY_ROLE_ACTIVATION, o->src, src),
            y = EXTERNAL(b, CVY_ROLE_ACTIVATION, o->dst, dst);
        op = add(b, forward);
        cvyi_op_in(op, x);
        cvyi_op_out(op, y);
        return op;
    }
    int dy = EXTERNAL(b, CVY_ROLE_ACTIVATION, o->dst, diff_dst);
    int x = by_x ? EXTERNAL(b, CVY_ROLE_ACTIVATION, o->src, src) : -1;
    int y = by_y ? EXTERNAL(b, CVY_ROLE_ACTIVATION, o->dst, dst_in) : -1;
    int dx = EXTERNAL(b, CVY_ROLE_ACTIVATION, o->src, diff_src);
    op = add(b, backward);
    if (backward == CVY_OP_ACT_BWD) in3(op, dy, x, y);
    else cvyi_op_in(op, dy);
    if (backward == CVY_OP_POOL_BWD) cvyi_op_in(op, x);
    cvyi_op_out(op, dx);
    return op;
}

enum cvy_status cvy_op_activation(cvy_context *ctx, const cvy_act_desc *desc, cvy_shape src,
                                  enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct build b;
    cvy_act_desc d = desc ? *desc : (cvy_act_desc){ 0 };
    CVYI_TRY(begin(&b, ctx, src, out));
    enum cvy_status status = cvyi_act_check(ctx, NULL, &d);
    if (status != CVY_OK) return abandon(&b, status);
    if ((unsigned)pass > CVY_BACKWARD_DATA) return bad_pass(&b, "activation", pass);
    bool by_x = cvyi_act_by_x(&d);
    unary(&b, pass, CVY_OP_ACT, CVY_OP_ACT_BWD, by_x, !by_x)->u.act = d;
    return finish(&b, pass != CVY_FORWARD_INFER, out);
}

enum cvy_status cvy_op_prelu(cvy_context *ctx, cvy_shape src, enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct build b;
    CVYI_TRY(begin(&b, ctx, src, out));
    if ((unsigned)pass > CVY_BACKWARD_DATA) return bad_pass(&b, "prelu", pass);
    bool backward = pass == CVY_BACKWARD_DATA;
    cvy_shape slopes = { 1, src.c, 1, 1 };
    int x = EXTERNAL(&b, CVY_ROLE_ACTIVATION, src, src),
        dy = backward ? EXTERNAL(&b, CVY_ROLE_ACTIVATION, src, diff_dst) : -1,
        slope = EXTERNAL(&b, CVY_ROLE_WEIGHT, slopes, weights);
    struct cvy_op_desc *op;
    if (backward) {
        int dx = EXTERNAL(&b, CVY_ROLE_ACTIVATION, src, diff_src),
            dslope = EXTERNAL(&b, CVY_ROLE_WEIGHT_GRAD, slopes, diff_weights);
        op = add(&b, CVY_OP_PRELU_BWD);
        in3(op, x, dy, slope);
        cvyi_op_out(op, dx);
        cvyi_op_out(op, dslope);
    } else {
        int y = EXTERNAL(&b, CVY_ROLE_ACTIVATION, src, dst);
        op = add(&b, CVY_OP_PRELU);
        cvyi_op_in(op, x);
        cvyi_op_in(op, slope);
        cvyi_op_out(op, y);
    }
    return finish(&b, pass != CVY_FORWARD_INFER, out);
}

enum cvy_status cvy_op_pool2d(cvy_context *ctx, const cvy_pool2d_desc *desc, cvy_shape src,
                              enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct build b;
    CVYI_TRY(begin(&b, ctx, src, out));
    if (!desc) return abandon(&b, cvyi_fail(ctx, CVY_E_ARG, "pool2d needs a descriptor"));
    cvy_pool2d_desc d = *desc;
    enum cvy_status status = cvyi_pool2d_out(ctx, NULL, &d, src, &b.op->dst);
    if (status != CVY_OK) return abandon(&b, status);
    b.op->dst.n = src.n;
    if ((unsigned)pass > CVY_BACKWARD_DATA) return bad_pass(&b, "pool2d", pass);
    unary(&b, pass, CVY_OP_POOL, CVY_OP_POOL_BWD, d.kind == CVY_POOL_MAX, false)->u.pool = d;
    return finish(&b, pass != CVY_FORWARD_INFER, out);
}

enum cvy_status cvy_op_dropout(cvy_context *ctx, const cvy_dropout_desc *desc, cvy_shape src,
                               enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct build b;
    cvy_dropout_desc d = desc ? *desc : (cvy_dropout_desc){ 0 };
    CVYI_TRY(begin(&b, ctx, src, out));
    enum cvy_status status = cvyi_dropout_check(ctx, NULL, &d);
    if (status != CVY_OK) return abandon(&b, status);
    if ((unsigned)pass > CVY_BACKWARD_DATA) return bad_pass(&b, "dropout", pass);
    struct cvy_op_desc *op = unary(&b, pass, CVY_OP_DROPOUT, CVY_OP_DROPOUT_BWD, false, false);
    op->u.dropout.desc = d;
    op->u.dropout.infer = pass == CVY_FORWARD_INFER;
    return finish(&b, pass != CVY_FORWARD_INFER, out);
}

enum cvy_status cvy_op_add(cvy_context *ctx, cvy_shape src, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct build b;
    CVYI_TRY(begin(&b, ctx, src, out));
    int x = EXTERNAL(&b, CVY_ROLE_ACTIVATION, src, src),
        x2 = EXTERNAL(&b, CVY_ROLE_ACTIVATION, src, src2);
    int y = EXTERNAL(&b, CVY_ROLE_ACTIVATION, src, dst);
    struct cvy_op_desc *op = add(&b, CVY_OP_ADD);
    cvyi_op_in(op, x);
    cvyi_op_in(op, x2);
    cvyi_op_out(op, y);
    return finish(&b, true, out);
}

enum cvy_status cvy_op_concat(cvy_context *ctx, const cvy_shape *src, size_t n, enum cvy_pass pass,
                              cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct build b;
    if (out) *out = NULL;
    if (!src || n < 1 || n > CVY_MAX_IN)
        return cvyi_fail(ctx, CVY_E_ARG, "concat takes 1 to %d tensors, not %zu", CVY_MAX_IN,
                         src ? n : 0);
    CVYI_TRY(begin(&b, ctx, src[0], out));
    if (pass > CVY_BACKWARD_DATA) return bad_pass(&b, "concat", pass);
    for (size_t i = 1; i < n; i++) {
        enum cvy_status status = cvyi_shape_check(ctx, "src", "concat", src[i]);
        if (status == CVY_OK &&
            (src[i].n != src[0].n || src[i].h != src[0].h || src[i].w != src[0].w))
            status = cvyi_fail(ctx, CVY_E_SHAPE,
                               "concat: tensor %zu is [%zu][%zu][%zu][%zu], tensor 0 "
                               "[%zu][%zu][%zu][%zu]: only c may differ",
                               i, src[i].n, src[i].c, src[i].h, src[i].w, src[0].n, src[0].c,
                               src[0].h, src[0].w);
        if (status != CVY_OK) return abandon(&b, status);
        b.op->dst.c += src[i].c; /* at most CVY_MAX_IN terms below 2^31 */
    }
    enum cvy_status status = cvyi_shape_check(ctx, "dst", "concat", b.op->dst);
    if (status != CVY_OK) return abandon(&b, status);
    bool backward = pass == CVY_BACKWARD_DATA;
    int whole = backward ? EXTERNAL(&b, CVY_ROLE_ACTIVATION, b.op->dst, diff_dst)
                         : EXTERNAL(&b, CVY_ROLE_ACTIVATION, b.op->dst, dst);
    struct cvy_op_desc *op = backward ? NULL : add(&b, CVY_OP_CONCAT);
    for (size_t i = 0, c = 0; i < n; c += src[i++].c) {
        int part = backward ? EXTERNAL(&b, CVY_ROLE_ACTIVATION, src[i], diff_srcs)
                            : EXTERNAL(&b, CVY_ROLE_ACTIVATION, src[i], srcs);
        b.op->arg[b.op->n_args - 1].at = (int)i;
        if (backward) { /* a slice for each */
            op = add(&b, CVY_OP_SLICE);
            op->u.slice.c0 = c;
        }
        cvyi_op_in(op, backward ? whole : part);
        if (backward) cvyi_op_out(op, part);
    }
    if (!backward) cvyi_op_out(op, whole);
    return finish(&b, pass != CVY_FORWARD_INFER, out);
}

enum cvy_status cvy_op_softmax(cvy_context *ctx, cvy_shape src, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct build b;
    CVYI_TRY(begin(&b, ctx, src, out));
    unary(&b, CVY_FORWARD, CVY_OP_SOFTMAX, CVY_OP_SOFTMAX, false, false);
    return finish(&b, false, out);
}

enum cvy_status cvy_op_loss(cvy_context *ctx, const cvy_loss_desc *desc, cvy_shape src,
                            cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct build b;
    cvy_loss_desc d = desc ? *desc : (cvy_loss_desc){ 0 };
    CVYI_TRY(begin(&b, ctx, src, out));
    if ((src.h != 1 || src.w != 1) && !d.per_pixel)
        return abandon(
            &b, cvyi_fail(ctx, CVY_E_SHAPE, "a loss wants [n][classes][1][1], or to be per_pixel"));
    enum cvy_status status = cvyi_loss_check(ctx, &d);
    if (!status) status = cvyi_loss_create(ctx, &b.op->loss, &d, src);
    if (status) return abandon(&b, status);
    int x = EXTERNAL(&b, CVY_ROLE_ACTIVATION, src, src),
        dx = EXTERNAL(&b, CVY_ROLE_ACTIVATION, src, diff_src);
    b.op->loss_value = kept(&b, CVY_ROLE_STATS, (cvy_shape){ 2, 1, 1, 1 }, "loss");
    struct cvy_op_desc *op = add(&b, CVY_OP_LOSS);
    op->u.loss = b.op->loss.desc;
    cvyi_op_in(op, x);
    cvyi_op_out(op, b.op->loss_value);
    cvyi_op_out(op, dx);
    return finish(&b, true, out);
}

/* -------------------------------------------------------------------------------------- running */

static void *member(const cvy_op_args *args, size_t offset)
{
    return *(void *const *)(const void *)((const char *)args + offset);
}

static void *buffer_of(const cvy_op_args *args, const struct argument *a)
{
    void *p = member(args, a->offset);
    return p && a->at >= 0 ? ((void *const *)p)[a->at] : p;
}

/* Between the caller's floats and the program's own channel values. */
static void exchange(const struct cvy_op *op, const struct channel_arg *c, const cvy_op_args *args,
                     bool in)
{
    float *user = member(args, c->offset);
    bool wide = cvy_plan_value(op->program, c->id)->layout == CVY_LAYOUT_PLAIN64;
    double *d = (double *)op->program->buf[c->id] + c->first;
    float *f = (float *)op->program->buf[c->id] + c->first;
    for (size_t k = 0; user && k < op->channels; k++) {
        if (in && wide) d[k] = (double)user[k];
        else if (in) f[k] = user[k];
        else user[k] = wide ? (float)d[k] : f[k];
    }
}

static enum cvy_status check_args(const struct cvy_op *op, const cvy_op_args *args)
{
    for (size_t i = 0; i < op->n_args; i++)
        if (!buffer_of(args, &op->arg[i]))
            return cvyi_fail(op->ctx, CVY_E_ARG, "the operator needs `%s`", op->arg[i].name);
    for (size_t i = 0; i < op->n_channels; i++)
        if (!op->channel[i].optional && !member(args, op->channel[i].offset))
            return cvyi_fail(op->ctx, CVY_E_ARG, "the operator needs `%s`", op->channel[i].name);
    if ((uintptr_t)args->workspace % 64)
        return cvyi_fail(op->ctx, CVY_E_ARG, "`workspace` is not 64-byte aligned");
    return CVY_OK;
}

enum cvy_status cvy_op_run(cvy_op *op, const cvy_op_args *args)
{
    if (!op) return CVY_E_ARG;
    CVYI_OWN_FLOATS(op->ctx);
    if (!args) return cvyi_fail(op->ctx, CVY_E_ARG, "the operator needs arguments");
    CVYI_TRY(CVYI_CHECK_RESERVED(op->ctx, cvy_op_args, args));
    CVYI_TRY(check_args(op, args));
    cvyi_program_bind_arena(op->program, args->workspace);
    for (size_t i = 0; i < op->n_args; i++)
        cvyi_program_bind(op->program, op->arg[i].id, buffer_of(args, &op->arg[i]));
    for (size_t i = 0; i < op->n_channels; i++)
        if (op->channel[i].in) exchange(op, &op->channel[i], args, true);
    struct cvy_run run = { .n = op->src.n, .seed = args->seed, .step = args->step };
    const cvy_batch batch = { .labels32 = args->labels, .targets = args->targets, .n = op->src.n };
    size_t counted;
    if (op->loss_value >= 0) CVYI_TRY(cvyi_loss_bind(op->ctx, &op->loss, &batch, &run, &counted));
    CVYI_TRY(cvyi_program_run(op->program, &run));
    for (size_t i = 0; i < op->n_channels; i++)
        if (op->channel[i].out) exchange(op, &op->channel[i], args, false);
    if (op->loss_value >= 0 && args->loss)
        *args->loss = run.loss_weight > 0
                          ? *(const double *)op->program->buf[op->loss_value] / run.loss_weight
                          : 0;
    return CVY_OK;
}

cvy_shape cvy_op_dst_shape(const cvy_op *op) { return op ? op->dst : (cvy_shape){ 0, 0, 0, 0 }; }
size_t cvy_op_workspace(const cvy_op *op) { return op ? op->program->arena_bytes : 0; }
const char *cvy_op_backend(const cvy_op *op) { return op ? op->backend : ""; }
size_t cvy_op_phases(const cvy_op *op) { return op ? op->program->n_phases : 0; }
enum cvy_status cvy_op_phase(const cvy_op *op, size_t index, cvy_phase_info *info)
{
    if (!op) return CVY_E_ARG;
    CVYI_OWN_FLOATS(op->ctx);
    return cvyi_program_phase(op->program, index, info);
}
void cvy_op_profile(cvy_op *op, bool on)
{
    if (op) (void)cvyi_program_profile(op->program, on);
}

void cvy_op_destroy(cvy_op **op)
{
    if (!op || !*op) return;
    struct cvy_context *ctx = (*op)->ctx;
    cvyi_program_destroy(&(*op)->program);
    cvyi_loss_destroy(ctx, &(*op)->loss);
    cvyi_free(ctx, *op);
    *op = NULL;
}
