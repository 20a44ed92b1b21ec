/* Single operators on the host's own NCHW buffers: each is a net of one node, lowered by its
 * operator (src/ops) to the ops of one pass. Its values are the caller's, bound anew in every run;
 * layouts are changed by the compiler's ordinary reorders. */
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
/* Small float arrays of the caller, statistics of channels or groups, that live in the program in
 * its own layout: copied before and after. */
struct channel_arg {
    int id;
    size_t first, n, offset;
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
    cvy_shape src, dst;
    struct cvyi_loss loss;
    int loss_value; /* -1: not a loss */
    const char *backend;
};

/* One pass of one node, being written. */
struct build {
    struct cvy_op *op;
    struct cvyi_list list;
    struct cvyi_lowered low;
    int dy, dx[CVY_MAX_IN];
    int keep[4];
    size_t n_keep;
};

/* ------------------------------------------------------------------------------------ arguments */

static bool is_touched(const struct cvyi_list *list, int id, bool written)
{
    for (size_t i = 0; i < list->n_ops; i++) {
        const struct cvy_op_desc *op = &list->op[i];
        for (int k = 0; k < op->n_out; k++)
            if (op->out[k] == id) return true;
        for (int k = 0; k < op->n_in; k++)
            if (op->in[k] == id && (!written || cvyi_op_updates(op, k))) return true;
    }
    return false;
}

#define ARG(member) offsetof(cvy_op_args, member), #member

/* The caller's buffer, if the pass has it. */
static void bind(struct build *b, int id, int at, size_t offset, const char *name)
{
    if (id < 0 || !is_touched(&b->list, id, false)) return;
    cvyi_list_rename(&b->list, id, name);
    b->list.value[id].external = true;
    b->list.value[id].layout = CVY_LAYOUT_PLAIN;
    b->op->arg[b->op->n_args++] = (struct argument){ id, at, offset, name };
}

/* A value of the program that stays between runs, and of it the numbers of one of its rows: copied
 * in, and out where an op writes them, which the caller need not want. */
static void channels(struct build *b, int id, size_t row, size_t offset, const char *name)
{
    if (id < 0 || !is_touched(&b->list, id, false)) return;
    bool out = is_touched(&b->list, id, true);
    bool in = !out || b->list.value[id].role == CVY_ROLE_RUNNING;
    b->keep[b->n_keep++] = id;
    cvy_shape s = b->list.value[id].shape;
    size_t n = s.c * s.h * s.w;
    b->op->channel[b->op->n_channels++] =
        (struct channel_arg){ id, row * n, n, offset, in, out, out, name };
}

/* What cvy_op_args calls the values of a pass. */
static void bind_all(struct build *b, const struct cvyi_node *node, bool backward)
{
    const struct cvyi_lowered *low = &b->low;
    if (node->kind == CVYI_NODE_CONCAT) {
        for (size_t i = 0; i < node->n_in; i++) {
            bind(b, low->x[i], (int)i, ARG(srcs));
            bind(b, b->dx[i], (int)i, ARG(diff_srcs));
        }
    } else {
        bind(b, low->x[0], -1, ARG(src));
        bind(b, low->x[1], -1, ARG(src2));
        bind(b, b->dx[0], -1, ARG(diff_src));
    }
    bind(b, b->dy, -1, ARG(diff_dst));
    bind(b, low->weight, -1, ARG(weights));
    bind(b, low->bias, -1, ARG(bias));
    if (backward) bind(b, low->y, -1, ARG(dst_in));
    else bind(b, low->y, -1, ARG(dst));
    bind(b, low->d_weight, -1, ARG(diff_weights));
    bind(b, low->d_bias, -1, ARG(diff_bias));
    if (node->kind == CVYI_NODE_RANK) channels(b, low->running_var, 0, ARG(running_quantiles));
    else if (node->kind == CVYI_NODE_WHITENING) {
        channels(b, low->running_mean, 0, ARG(running_mean));
        channels(b, low->running_var, 0, ARG(running_matrix));
    } else if (backward) { /* of a frozen one: those that the forward pass used */
        channels(b, low->running_mean, 0, ARG(mean));
        channels(b, low->running_var, 0, ARG(var));
    } else {
        channels(b, low->running_mean, 0, ARG(running_mean));
        channels(b, low->running_var, 0, ARG(running_var));
    }
    if (!cvyi_operator(node->kind)->own_stats) {
        channels(b, low->stats, 0, ARG(mean));
        channels(b, low->stats, 1, ARG(var));
    }
    for (size_t i = 0; i < b->list.n_values; i++) /* nobody's: without a place */
        if (!is_touched(&b->list, (int)i, false)) b->list.value[i].external = true;
}

/* --------------------------------------------------------------------------------------- passes */

static enum cvy_status begin(struct build *b, cvy_context *ctx, cvy_shape src, cvy_op **out)
{
    if (out) *out = NULL;
    if (!ctx || !out) return cvyi_fail(ctx, CVY_E_ARG, "an operator needs a context and a place");
    if (src.n < 1) return cvyi_fail(ctx, CVY_E_SHAPE, "an operator needs at least one image");
    CVYI_TRY(cvyi_shape_check(ctx, "src", "op", src));
    memset(b, 0, sizeof *b);
    memset(&b->low, -1, sizeof b->low); /* no values */
    memset(b->dx, -1, sizeof b->dx);
    b->dy = -1;
    b->op = cvyi_alloc(ctx, sizeof *b->op);
    if (!b->op) return CVY_E_NOMEM;
    b->op->ctx = ctx;
    b->op->src = b->op->dst = src;
    b->op->loss_value = -1;
    cvyi_list_init(&b->list, ctx);
    return CVY_OK;
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

/* Whether an op makes nothing but gradients of parameters. */
static bool is_weights_pass(const struct build *b, const struct cvy_op_desc *op)
{
    for (int k = 0; k < op->n_out; k++)
        if (op->out[k] >= 0 && op->out[k] != b->low.d_weight && op->out[k] != b->low.d_bias)
            return false;
    return true;
}

/* A value for the gradient of parameter id. */
static int gradient_of(struct cvyi_list *list, int id)
{
    return id < 0 ? -1
                  : cvyi_list_value(list, CVY_ROLE_WEIGHT_GRAD, cvyi_shape_of(list, id), "%s.grad",
                                    list->value[id].name);
}

/* Drops the forward ops. Who makes statistics that nobody can hand in stays, but updates nothing
 * else. */
static void keep_statistics(struct build *b, const struct cvyi_operator *rule)
{
    struct cvyi_list *list = &b->list;
    for (size_t i = list->n_ops; i-- > 0;) {
        struct cvy_op_desc *op = &list->op[i];
        bool stays = false;
        for (int k = 0; rule->own_stats && k < op->n_out; k++)
            stays = stays || (op->out[k] >= 0 && op->out[k] == b->low.stats);
        for (int k = 0; stays && k < op->n_in; k++)
            if (cvyi_op_updates(op, k)) op->in[k] = -1;
        if (!stays) cvyi_list_drop_ops(list, i, 1);
    }
}

/* Behind the forward ops, which made the values that the gradient rule reads: now it alone. */
static void lower_backward(struct build *b, const struct cvyi_node *node, bool weights)
{
    struct cvyi_list *list = &b->list;
    const struct cvyi_operator *rule = cvyi_operator(node->kind);
    bool want[CVY_MAX_IN];
    keep_statistics(b, rule);
    if (!rule->backward || list->status != CVY_OK) return;
    for (size_t i = 0; i < node->n_in; i++) want[i] = !weights;
    b->low.d_weight = gradient_of(list, b->low.weight);
    b->low.d_bias = gradient_of(list, b->low.bias);
    b->dy = cvyi_list_value(list, CVY_ROLE_ACTIVATION, cvyi_shape_of(list, b->low.y), "dy");
    rule->backward(list, node, &b->low, b->dy, want, b->dx);
    for (size_t i = list->n_ops; i-- > 0;)
        if (is_weights_pass(b, &list->op[i]) != weights) cvyi_list_drop_ops(list, i, 1);
}

/* False if the node has no such pass. */
static bool lower(struct build *b, const struct cvyi_node *node, const cvy_shape *src,
                  enum cvy_pass pass)
{
    const struct cvyi_operator *rule = cvyi_operator(node->kind);
    struct cvyi_list *list = &b->list;
    if ((unsigned)pass > CVY_BACKWARD_WEIGHTS) return false;
    for (size_t i = 0; i < node->n_in; i++)
        b->low.x[i] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, src[i], "src");
    if (rule->params) rule->params(list, node, src, &b->low);
    /* in a net dropout vanishes from inference; here the caller wants dst */
    bool training = pass != CVY_FORWARD_INFER || node->kind == CVYI_NODE_DROPOUT;
    rule->forward(list, node, b->op->src.n, training, &b->low);
    if (pass == CVY_BACKWARD_DATA || pass == CVY_BACKWARD_WEIGHTS)
        lower_backward(b, node, pass == CVY_BACKWARD_WEIGHTS);
    return list->n_ops > 0 || list->status != CVY_OK;
}

/* The node has a kind and a descriptor, and as many inputs as there are shapes. */
static enum cvy_status create(cvy_context *ctx, struct cvyi_node *node, const cvy_shape *src,
                              enum cvy_pass pass, cvy_op **out)
{
    struct build b;
    cvy_shape one[CVY_MAX_IN];
    const struct cvyi_operator *rule = cvyi_operator(node->kind);
    char *type = node->linear ? "linear" : (char *)rule->type;
    CVYI_TRY(begin(&b, ctx, src[0], out));
    for (size_t i = 0; i < node->n_in; i++) one[i] = cvyi_with_n(src[i], 1);
    node->name = "op";
    enum cvy_status status = rule->infer(ctx, node, one);
    if (status != CVY_OK) return abandon(&b, status);
    b.op->dst = cvyi_with_n(node->out, src[0].n);
    node->name = type; /* of the ops */
    if (!lower(&b, node, src, pass))
        return abandon(&b, cvyi_fail(ctx, CVY_E_ARG, "%s has no pass %d", type, (int)pass));
    if (b.list.status != CVY_OK) return abandon(&b, b.list.status);
    if (node->kind == CVYI_NODE_DROPOUT && pass == CVY_FORWARD_INFER)
        b.list.op[0].u.dropout.infer = true;
    bind_all(&b, node, pass == CVY_BACKWARD_DATA || pass == CVY_BACKWARD_WEIGHTS);
    return finish(&b, pass != CVY_FORWARD_INFER, out);
}

static enum cvy_status undescribed(cvy_context *ctx, const char *type, cvy_op **out)
{
    if (out) *out = NULL;
    return cvyi_fail(ctx, CVY_E_ARG, "%s needs a descriptor", type);
}

/* ------------------------------------------------------------------------------------ operators */

enum cvy_status cvy_op_conv2d(cvy_context *ctx, const cvy_conv2d_desc *desc, cvy_shape src,
                              enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    if (!desc) return undescribed(ctx, "conv2d", out);
    struct cvyi_node node = { .kind = CVYI_NODE_CONV2D, .n_in = 1, .u.conv = *desc };
    return create(ctx, &node, &src, pass, out);
}

enum cvy_status cvy_op_conv_transpose2d(cvy_context *ctx, const cvy_conv_transpose2d_desc *desc,
                                        cvy_shape src, enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    if (!desc) return undescribed(ctx, "conv_transpose2d", out);
    struct cvyi_node node = { .kind = CVYI_NODE_CONV_TRANSPOSE2D, .n_in = 1, .u.deconv = *desc };
    return create(ctx, &node, &src, pass, out);
}

enum cvy_status cvy_op_bias(cvy_context *ctx, cvy_shape src, enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    return create(ctx, &(struct cvyi_node){ .kind = CVYI_NODE_BIAS, .n_in = 1 }, &src, pass, out);
}

enum cvy_status cvy_op_linear(cvy_context *ctx, const cvy_linear_desc *desc, cvy_shape src,
                              enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    if (!desc) return undescribed(ctx, "linear", out);
    if (out) *out = NULL;
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_linear_desc, desc));
    struct cvyi_node node = { .kind = CVYI_NODE_CONV2D,
                              .linear = true,
                              .n_in = 1,
                              .u.conv = { .out_channels = desc->out_features,
                                          .no_bias = desc->no_bias } };
    return create(ctx, &node, &src, pass, out);
}

enum cvy_status cvy_op_batch_norm(cvy_context *ctx, const cvy_batch_norm_desc *desc, cvy_shape src,
                                  enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct cvyi_node node = { .kind = CVYI_NODE_BATCH_NORM, .n_in = 1 };
    if (desc) node.u.bn = *desc;
    return create(ctx, &node, &src, pass, out);
}

enum cvy_status cvy_op_group_norm(cvy_context *ctx, const cvy_group_norm_desc *desc, cvy_shape src,
                                  enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct cvyi_node node = { .kind = CVYI_NODE_GROUP_NORM, .n_in = 1 };
    if (desc) node.u.gn = *desc;
    return create(ctx, &node, &src, pass, out);
}

enum cvy_status cvy_op_whitening(cvy_context *ctx, const cvy_whitening_desc *desc, cvy_shape src,
                                 enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct cvyi_node node = { .kind = CVYI_NODE_WHITENING, .n_in = 1 };
    if (desc) node.u.whitening = *desc;
    return create(ctx, &node, &src, pass, out);
}

enum cvy_status cvy_op_rank(cvy_context *ctx, const cvy_rank_desc *desc, cvy_shape src,
                            enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct cvyi_node node = { .kind = CVYI_NODE_RANK, .n_in = 1 };
    if (desc) node.u.rank = *desc;
    return create(ctx, &node, &src, pass, out);
}

enum cvy_status cvy_op_activation(cvy_context *ctx, const cvy_act_desc *desc, cvy_shape src,
                                  enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct cvyi_node node = { .kind = CVYI_NODE_ACT, .n_in = 1 };
    if (desc) node.u.act = *desc;
    return create(ctx, &node, &src, pass, out);
}

enum cvy_status cvy_op_prelu(cvy_context *ctx, cvy_shape src, enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    return create(ctx, &(struct cvyi_node){ .kind = CVYI_NODE_PRELU, .n_in = 1 }, &src, pass, out);
}

enum cvy_status cvy_op_pool2d(cvy_context *ctx, const cvy_pool2d_desc *desc, cvy_shape src,
                              enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    if (!desc) return undescribed(ctx, "pool2d", out);
    struct cvyi_node node = { .kind = CVYI_NODE_POOL, .n_in = 1, .u.pool = *desc };
    return create(ctx, &node, &src, pass, out);
}

enum cvy_status cvy_op_dropout(cvy_context *ctx, const cvy_dropout_desc *desc, cvy_shape src,
                               enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct cvyi_node node = { .kind = CVYI_NODE_DROPOUT, .n_in = 1 };
    if (desc) node.u.dropout = *desc;
    if (desc && desc->when != CVY_DROPOUT_ALWAYS) {
        if (out) *out = NULL;
        return cvyi_fail(ctx, CVY_E_ARG,
                         "a dropout operator does what its pass says: `when` is %d,"
                         " expected CVY_DROPOUT_ALWAYS",
                         (int)desc->when);
    }
    return create(ctx, &node, &src, pass, out);
}

enum cvy_status cvy_op_add(cvy_context *ctx, cvy_shape src, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct cvyi_node node = { .kind = CVYI_NODE_ADD, .n_in = 2 };
    return create(ctx, &node, (cvy_shape[]){ src, src }, CVY_FORWARD, out);
}

enum cvy_status cvy_op_multiply(cvy_context *ctx, cvy_shape src, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct cvyi_node node = { .kind = CVYI_NODE_MULTIPLY, .n_in = 2 };
    return create(ctx, &node, (cvy_shape[]){ src, src }, CVY_FORWARD, out);
}

enum cvy_status cvy_op_concat(cvy_context *ctx, const cvy_shape *src, size_t n, enum cvy_pass pass,
                              cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    if (out) *out = NULL;
    if (!src || n < 1 || n > CVY_MAX_IN)
        return cvyi_fail(ctx, CVY_E_ARG, "concat takes 1 to %d tensors, not %zu", CVY_MAX_IN,
                         src ? n : 0);
    for (size_t i = 1; i < n; i++) {
        CVYI_TRY(cvyi_shape_check(ctx, "src", "concat", src[i]));
        if (src[i].n != src[0].n || src[i].h != src[0].h || src[i].w != src[0].w)
            return cvyi_fail(ctx, CVY_E_SHAPE,
                             "concat: tensor %zu is [%zu][%zu][%zu][%zu], tensor 0 "
                             "[%zu][%zu][%zu][%zu]: only c may differ",
                             i, src[i].n, src[i].c, src[i].h, src[i].w, src[0].n, src[0].c,
                             src[0].h, src[0].w);
    }
    return create(ctx, &(struct cvyi_node){ .kind = CVYI_NODE_CONCAT, .n_in = n }, src, pass, out);
}

enum cvy_status cvy_op_pad_channels(cvy_context *ctx, size_t before, size_t after, cvy_shape src,
                                    enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct cvyi_node node = { .kind = CVYI_NODE_PAD_CHANNELS,
                              .n_in = 1,
                              .u.pad = { before, after } };
    return create(ctx, &node, &src, pass, out);
}

enum cvy_status cvy_op_upsample(cvy_context *ctx, const cvy_upsample_desc *desc, cvy_shape src,
                                enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    if (!desc) return undescribed(ctx, "upsample", out);
    struct cvyi_node node = { .kind = CVYI_NODE_UPSAMPLE, .n_in = 1, .u.upsample = *desc };
    return create(ctx, &node, &src, pass, out);
}

enum cvy_status cvy_op_mean_subtract(cvy_context *ctx, const cvy_mean_subtract_desc *desc,
                                     cvy_shape src, enum cvy_pass pass, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct cvyi_node node = { .kind = CVYI_NODE_MEAN_SUBTRACT, .n_in = 1 };
    if (desc) node.u.mean = *desc;
    return create(ctx, &node, &src, pass, out);
}

enum cvy_status cvy_op_softmax(cvy_context *ctx, cvy_shape src, cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    return cvy_op_tempered_softmax(ctx, 1, src, out);
}

enum cvy_status cvy_op_tempered_softmax(cvy_context *ctx, double temperature, cvy_shape src,
                                        cvy_op **out)
{
    CVYI_OWN_FLOATS(ctx);
    struct cvyi_node node = { .kind = CVYI_NODE_SOFTMAX, .n_in = 1, .u.temperature = temperature };
    return create(ctx, &node, &src, CVY_FORWARD_INFER, out);
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
    int x = cvyi_list_value(&b.list, CVY_ROLE_ACTIVATION, src, "src");
    cvyi_loss_forward(&b.list, &b.op->loss.desc, x, true, &b.op->loss_value, &b.dx[0]);
    if (b.list.status != CVY_OK) return abandon(&b, b.list.status);
    bind(&b, x, -1, ARG(src));
    bind(&b, b.dx[0], -1, ARG(diff_src));
    b.keep[b.n_keep++] = b.op->loss_value;
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
    for (size_t k = 0; user && k < c->n; k++) {
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
enum cvy_status cvy_op_profile(cvy_op *op, bool on)
{
    return op ? cvyi_program_profile(op->program, on) : CVY_E_ARG;
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
