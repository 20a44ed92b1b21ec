/* Building a net: nodes, handles, the first mistake, names, and walking it. What a node means is
 * its operator's matter; nothing here knows programs or backends. */
#include "net/net.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define MAX_NAME 128

static atomic_uint nets; /* made in this process */

enum cvy_status cvy_net_create(cvy_context *ctx, cvy_net **net)
{
    if (net) *net = NULL;
    if (!ctx || !net) return cvyi_fail(ctx, CVY_E_ARG, "a net needs a context and a place");
    struct cvy_net *made = cvyi_alloc(ctx, sizeof *made);
    if (!made) return CVY_E_NOMEM;
    made->ctx = ctx;
    made->tag = 1 + atomic_fetch_add_explicit(&nets, 1, memory_order_relaxed) % CVYI_NET_TAGS;
    *net = made;
    return CVY_OK;
}

void cvy_net_destroy(cvy_net **net)
{
    if (!net || !*net) return;
    struct cvy_context *ctx = (*net)->ctx;
    for (size_t i = 0; i < (*net)->n_nodes; i++) {
        cvyi_free(ctx, (*net)->node[i].name);
        cvyi_free(ctx, (*net)->node[i].in);
    }
    cvyi_free(ctx, (*net)->node);
    cvyi_free(ctx, (*net)->named);
    cvyi_free(ctx, *net);
    *net = NULL;
}

enum cvy_status cvy_net_status(const cvy_net *net)
{
    if (!net) return CVY_E_ARG;
    if (net->status != CVY_OK) cvyi_fail(net->ctx, net->status, "%s", net->message);
    return net->status;
}

__attribute__((format(printf, 3, 4))) static cvy_tensor fail(struct cvy_net *net,
                                                             enum cvy_status status,
                                                             const char *format, ...)
{
    if (net->status != CVY_OK) return CVY_NO_TENSOR;
    va_list args;
    va_start(args, format);
    vsnprintf(net->message, sizeof net->message, format, args);
    va_end(args);
    net->status = cvyi_fail(net->ctx, status, "%s", net->message);
    return CVY_NO_TENSOR;
}

/* The place of a name in net->named: the node's, or a free one. FNV-1a. */
static uint32_t *place_of(const struct cvy_net *net, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = name; *c; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    for (size_t i = hash;; i++) {
        uint32_t *place = &net->named[i & (net->n_named - 1)];
        if (!*place || !strcmp(net->node[*place - 1].name, name)) return place;
    }
}

static bool name_used(const struct cvy_net *net, const char *name)
{
    return net->n_named && *place_of(net, name);
}

/* Places for one node more. False: out of memory, and nothing has changed. */
static bool make_places(struct cvy_net *net)
{
    size_t n = net->n_named ? net->n_named : 16;
    if (net->n_named && 2 * (net->n_nodes + 1) <= n) return true;
    while (n < 2 * (net->n_nodes + 1)) n *= 2;
    uint32_t *made = cvyi_alloc_array(net->ctx, n, sizeof *made);
    if (!made) return false;
    cvyi_free(net->ctx, net->named);
    net->named = made;
    net->n_named = n;
    for (size_t i = 0; i < net->n_nodes; i++) *place_of(net, net->node[i].name) = (uint32_t)i + 1;
    return true;
}

/* A copy of the user's name, or PREFIX and a number. NULL: the net has failed. */
static char *choose_name(struct cvy_net *net, const char *type, const char *prefix,
                         const char *name, bool required)
{
    char made[MAX_NAME];
    if (!name) {
        if (required) {
            fail(net, CVY_E_ARG, "%s: a layer with parameters needs a name", type);
            return NULL;
        }
        size_t number = net->n_nodes > net->generated ? net->n_nodes : net->generated;
        do snprintf(made, sizeof made, "%s%zu", prefix, number++);
        while (name_used(net, made));
        if (number > net->n_nodes + 1) net->generated = number;
        name = made;
    } else {
        size_t length = strnlen(name, MAX_NAME + 1);
        if (length < 1 || length > MAX_NAME) {
            fail(net, CVY_E_ARG, "%s '%.40s%s': a name must have 1 to %d bytes", type, name,
                 length ? "…" : "", MAX_NAME);
            return NULL;
        }
        for (const char *c = name; *c; c++)
            if ((unsigned char)*c < 0x20 || *c == 0x7f) {
                fail(net, CVY_E_ARG, "%s: a name must not contain control characters", type);
                return NULL;
            }
        if (name_used(net, name)) {
            fail(net, CVY_E_ARG, "%s '%s': another layer has this name", type, name);
            return NULL;
        }
    }
    char *copy = cvyi_strdup(net->ctx, name);
    if (!copy) fail(net, CVY_E_NOMEM, "out of memory while building the net");
    return copy;
}

int cvyi_net_source(const struct cvy_net *net, const struct cvyi_node *node, size_t i)
{
    int source = node->in[i];
    while (node->linear && net->node[source].kind == CVYI_NODE_FLATTEN)
        source = net->node[source].in[0];
    return source;
}

int cvyi_net_number(const struct cvy_net *net, cvy_tensor x)
{
    size_t number = (size_t)x & ((1u << CVYI_NODE_BITS) - 1);
    bool ours = x >= 0 && (unsigned)x >> CVYI_NODE_BITS == net->tag && number < net->n_nodes;
    return ours ? (int)number : -1;
}

static cvy_tensor handle(const struct cvy_net *net, size_t number)
{
    return (cvy_tensor)(net->tag << CVYI_NODE_BITS | (unsigned)number);
}

/* Numbers of the handles in[n]; false: the net has failed. */
static bool find_inputs(struct cvy_net *net, const char *what, const cvy_tensor *in, size_t n,
                        int *number)
{
    for (size_t i = 0; i < n; i++) {
        number[i] = cvyi_net_number(net, in[i]);
        if (number[i] >= 0) continue;
        if (cvyi_net_foreign(net, in[i]))
            fail(net, CVY_E_ARG, "%s: input %zu is a tensor of another net", what, i);
        else
            fail(net, CVY_E_ARG, "%s: input %zu is %d, which is no tensor of this net", what, i,
                 in[i]);
        return false;
    }
    return true;
}

static void source_shapes(const struct cvy_net *net, const struct cvyi_node *node, cvy_shape *shape)
{
    for (size_t i = 0; i < node->n_in; i++) shape[i] = net->node[cvyi_net_source(net, node, i)].out;
}

static size_t node_parameters(const struct cvy_net *net, const struct cvyi_node *node)
{
    const struct cvyi_operator *rule = cvyi_operator(node->kind);
    cvy_shape from[CVY_MAX_IN];
    if (!rule->parameters) return 0;
    source_shapes(net, node, from);
    return rule->parameters(node, from);
}

/* Takes a node whose descriptor is filled in; shape: of the input node, which has no inputs. */
static cvy_tensor add_node(struct cvy_net *net, struct cvyi_node node, const char *prefix,
                           const char *name, const cvy_tensor *in, size_t n_in,
                           const cvy_shape *shape)
{
    struct cvy_context *ctx = net->ctx;
    CVYI_OWN_FLOATS(ctx);
    const struct cvyi_operator *rule = cvyi_operator(node.kind);
    const char *type = node.linear ? "linear" : rule->type;
    if (net->status != CVY_OK) return CVY_NO_TENSOR;
    int number[CVY_MAX_IN];
    char what[2 * MAX_NAME];
    snprintf(what, sizeof what, "%s '%.*s'", type, MAX_NAME, name ? name : prefix);
    if (!find_inputs(net, what, in, n_in, number)) return CVY_NO_TENSOR;
    if (net->n_nodes >> CVYI_NODE_BITS)
        return fail(net, CVY_E_ARG, "%s: a net has at most %d layers", what, 1 << CVYI_NODE_BITS);
    node.name = choose_name(net, type, prefix, name, rule->named);
    if (!node.name) return CVY_NO_TENSOR;
    node.index = (uint32_t)net->n_nodes;
    node.n_in = n_in;
    node.in = cvyi_alloc_array(ctx, n_in, sizeof *node.in);
    void *grown = net->node;
    enum cvy_status status = CVY_E_NOMEM;
    if (node.in && cvyi_grow(ctx, &grown, &net->cap_nodes, net->n_nodes + 1, sizeof node))
        net->node = grown;
    else grown = NULL;
    if (grown && make_places(net)) {
        if (n_in) memcpy(node.in, number, n_in * sizeof *number);
        cvy_shape from[CVY_MAX_IN];
        if (shape) from[0] = *shape;
        source_shapes(net, &node, from);
        status = rule->infer(ctx, &node, from);
    }
    if (status != CVY_OK) {
        fail(net, status, "%s", ctx->message);
        cvyi_free(ctx, node.name);
        cvyi_free(ctx, node.in);
        return CVY_NO_TENSOR;
    }
    node.trained = node_parameters(net, &node) > 0;
    for (size_t i = 0; i < n_in; i++)
        node.trained |= net->node[cvyi_net_source(net, &node, i)].trained;
    net->node[net->n_nodes] = node;
    *place_of(net, node.name) = (uint32_t)net->n_nodes + 1;
    return handle(net, net->n_nodes++);
}

cvy_tensor cvy_input(cvy_net *net, size_t c, size_t h, size_t w)
{
    if (!net) return CVY_NO_TENSOR;
    if (net->n_nodes)
        return fail(net, CVY_E_STATE,
                    "input: it must be the first layer of a net, and the only input");
    return add_node(net, (struct cvyi_node){ .kind = CVYI_NODE_INPUT }, "input", "input", NULL, 0,
                    &(cvy_shape){ 1, c, h, w });
}

cvy_tensor cvy_conv2d(cvy_net *net, cvy_tensor x, const char *name, const cvy_conv2d_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    if (!desc) return fail(net, CVY_E_ARG, "conv2d '%s': the descriptor is NULL", name ? name : "");
    return add_node(net, (struct cvyi_node){ .kind = CVYI_NODE_CONV2D, .u.conv = *desc }, "conv2d",
                    name, &x, 1, NULL);
}

cvy_tensor cvy_linear(cvy_net *net, cvy_tensor x, const char *name, const cvy_linear_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    if (!desc) return fail(net, CVY_E_ARG, "linear '%s': the descriptor is NULL", name ? name : "");
    if (CVYI_CHECK_RESERVED(net->ctx, cvy_linear_desc, desc) != CVY_OK)
        return fail(net, CVY_E_ARG, "%s", net->ctx->message);
    struct cvyi_node node = { .kind = CVYI_NODE_CONV2D,
                              .linear = true,
                              .u.conv = { .out_channels = desc->out_features,
                                          .no_bias = desc->no_bias } };
    return add_node(net, node, "linear", name, &x, 1, NULL);
}

cvy_tensor cvy_conv_transpose2d(cvy_net *net, cvy_tensor x, const char *name,
                                const cvy_conv_transpose2d_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    if (!desc)
        return fail(net, CVY_E_ARG, "conv_transpose2d '%s': the descriptor is NULL",
                    name ? name : "");
    struct cvyi_node node = { .kind = CVYI_NODE_CONV_TRANSPOSE2D, .u.deconv = *desc };
    return add_node(net, node, "conv_transpose2d", name, &x, 1, NULL);
}

cvy_tensor cvy_bias(cvy_net *net, cvy_tensor x, const char *name)
{
    if (!net) return CVY_NO_TENSOR;
    return add_node(net, (struct cvyi_node){ .kind = CVYI_NODE_BIAS }, "bias", name, &x, 1, NULL);
}

cvy_tensor cvy_batch_norm(cvy_net *net, cvy_tensor x, const char *name,
                          const cvy_batch_norm_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    struct cvyi_node node = { .kind = CVYI_NODE_BATCH_NORM };
    if (desc) node.u.bn = *desc;
    return add_node(net, node, "batch_norm", name, &x, 1, NULL);
}

cvy_tensor cvy_group_norm(cvy_net *net, cvy_tensor x, const char *name,
                          const cvy_group_norm_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    struct cvyi_node node = { .kind = CVYI_NODE_GROUP_NORM };
    if (desc) node.u.gn = *desc;
    return add_node(net, node, "group_norm", name, &x, 1, NULL);
}

cvy_tensor cvy_whitening(cvy_net *net, cvy_tensor x, const char *name,
                         const cvy_whitening_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    struct cvyi_node node = { .kind = CVYI_NODE_WHITENING };
    if (desc) node.u.whitening = *desc;
    return add_node(net, node, "whitening", name, &x, 1, NULL);
}

cvy_tensor cvy_rank(cvy_net *net, cvy_tensor x, const char *name, const cvy_rank_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    struct cvyi_node node = { .kind = CVYI_NODE_RANK };
    if (desc) node.u.rank = *desc;
    return add_node(net, node, "rank", name, &x, 1, NULL);
}

cvy_tensor cvy_activation(cvy_net *net, cvy_tensor x, const char *name, const cvy_act_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    if (!desc)
        return fail(net, CVY_E_ARG, "activation '%s': the descriptor is NULL", name ? name : "");
    const struct cvyi_activation *kind = cvyi_activation(desc->kind);
    return add_node(net, (struct cvyi_node){ .kind = CVYI_NODE_ACT, .u.act = *desc },
                    kind ? kind->name : "activation", name, &x, 1, NULL);
}

cvy_tensor cvy_prelu(cvy_net *net, cvy_tensor x, const char *name, const cvy_prelu_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    struct cvyi_node node = { .kind = CVYI_NODE_PRELU };
    if (desc) node.u.prelu = *desc;
    return add_node(net, node, "prelu", name, &x, 1, NULL);
}

cvy_tensor cvy_sigmoid(cvy_net *net, cvy_tensor x)
{
    return cvy_activation(net, x, NULL, &(cvy_act_desc){ .kind = CVY_SIGMOID });
}

cvy_tensor cvy_relu(cvy_net *net, cvy_tensor x)
{
    return cvy_activation(net, x, NULL, &(cvy_act_desc){ .kind = CVY_RELU });
}

cvy_tensor cvy_pool2d(cvy_net *net, cvy_tensor x, const char *name, const cvy_pool2d_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    if (!desc) return fail(net, CVY_E_ARG, "pool2d '%s': the descriptor is NULL", name ? name : "");
    return add_node(net, (struct cvyi_node){ .kind = CVYI_NODE_POOL, .u.pool = *desc },
                    desc->kind == CVY_POOL_AVG ? "avg_pool" : "max_pool", name, &x, 1, NULL);
}

cvy_tensor cvy_maxout(cvy_net *net, cvy_tensor x, const char *name, const cvy_maxout_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    if (!desc) return fail(net, CVY_E_ARG, "maxout '%s': the descriptor is NULL", name ? name : "");
    return add_node(net, (struct cvyi_node){ .kind = CVYI_NODE_MAXOUT, .u.maxout = *desc },
                    "maxout", name, &x, 1, NULL);
}

cvy_tensor cvy_global_avg_pool(cvy_net *net, cvy_tensor x, const char *name)
{
    cvy_shape s = cvy_tensor_shape(net, x);
    return cvy_pool2d(net, x, name,
                      &(cvy_pool2d_desc){ .kind = CVY_POOL_AVG, .kernel = { s.h, s.w } });
}

cvy_tensor cvy_add(cvy_net *net, cvy_tensor a, cvy_tensor b, const char *name)
{
    if (!net) return CVY_NO_TENSOR;
    return add_node(net, (struct cvyi_node){ .kind = CVYI_NODE_ADD }, "add", name,
                    (cvy_tensor[]){ a, b }, 2, NULL);
}

cvy_tensor cvy_multiply(cvy_net *net, cvy_tensor a, cvy_tensor b, const char *name)
{
    if (!net) return CVY_NO_TENSOR;
    return add_node(net, (struct cvyi_node){ .kind = CVYI_NODE_MULTIPLY }, "multiply", name,
                    (cvy_tensor[]){ a, b }, 2, NULL);
}

cvy_tensor cvy_concat(cvy_net *net, const cvy_tensor *x, size_t n, const char *name)
{
    if (!net) return CVY_NO_TENSOR;
    if (!x || n < 1 || n > CVY_MAX_IN)
        return fail(net, CVY_E_ARG, "concat '%s': %zu inputs, expected 1 to %d", name ? name : "",
                    x ? n : 0, CVY_MAX_IN);
    return add_node(net, (struct cvyi_node){ .kind = CVYI_NODE_CONCAT }, "concat", name, x, n,
                    NULL);
}

cvy_tensor cvy_pad_channels(cvy_net *net, cvy_tensor x, size_t before, size_t after,
                            const char *name)
{
    if (!net) return CVY_NO_TENSOR;
    struct cvyi_node node = { .kind = CVYI_NODE_PAD_CHANNELS, .u.pad = { before, after } };
    return add_node(net, node, "pad_channels", name, &x, 1, NULL);
}

cvy_tensor cvy_dropout(cvy_net *net, cvy_tensor x, const char *name, const cvy_dropout_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    if (!desc)
        return fail(net, CVY_E_ARG, "dropout '%s': the descriptor is NULL", name ? name : "");
    return add_node(net, (struct cvyi_node){ .kind = CVYI_NODE_DROPOUT, .u.dropout = *desc },
                    "dropout", name, &x, 1, NULL);
}

cvy_tensor cvy_flatten(cvy_net *net, cvy_tensor x)
{
    if (!net) return CVY_NO_TENSOR;
    return add_node(net, (struct cvyi_node){ .kind = CVYI_NODE_FLATTEN }, "flatten", NULL, &x, 1,
                    NULL);
}

cvy_tensor cvy_softmax(cvy_net *net, cvy_tensor x, const char *name)
{
    return cvy_tempered_softmax(net, x, name, 1);
}

cvy_tensor cvy_tempered_softmax(cvy_net *net, cvy_tensor x, const char *name, double temperature)
{
    if (!net) return CVY_NO_TENSOR;
    struct cvyi_node node = { .kind = CVYI_NODE_SOFTMAX, .u.temperature = temperature };
    return add_node(net, node, "softmax", name, &x, 1, NULL);
}

cvy_tensor cvy_upsample(cvy_net *net, cvy_tensor x, const char *name, const cvy_upsample_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    if (!desc)
        return fail(net, CVY_E_ARG, "upsample '%s': the descriptor is NULL", name ? name : "");
    return add_node(net, (struct cvyi_node){ .kind = CVYI_NODE_UPSAMPLE, .u.upsample = *desc },
                    "upsample", name, &x, 1, NULL);
}

cvy_tensor cvy_mean_subtract(cvy_net *net, cvy_tensor x, const char *name,
                             const cvy_mean_subtract_desc *desc)
{
    if (!net) return CVY_NO_TENSOR;
    struct cvyi_node node = { .kind = CVYI_NODE_MEAN_SUBTRACT };
    if (desc) node.u.mean = *desc;
    return add_node(net, node, "mean_subtract", name, &x, 1, NULL);
}

cvy_shape cvy_tensor_shape(const cvy_net *net, cvy_tensor x)
{
    int number = net ? cvyi_net_number(net, x) : -1;
    return number < 0 ? (cvy_shape){ 0, 0, 0, 0 } : net->node[number].out;
}

cvy_tensor cvy_net_tensor(const cvy_net *net, size_t index)
{
    return net && index < net->n_nodes ? handle(net, index) : CVY_NO_TENSOR;
}

size_t cvy_net_nodes(const cvy_net *net) { return net ? net->n_nodes : 0; }

enum cvy_status cvy_net_node(const cvy_net *net, size_t index, cvy_node_info *info)
{
    if (!net || !info) return CVY_E_ARG;
    CVYI_OWN_FLOATS(net->ctx);
    if (index >= net->n_nodes)
        return cvyi_fail(net->ctx, CVY_E_ARG,
                         "the net has %zu nodes, number %zu is not one of them", net->n_nodes,
                         index);
    const struct cvyi_node *node = &net->node[index];
    const struct cvyi_operator *rule = cvyi_operator(node->kind);
    cvy_shape from[CVY_MAX_IN];
    source_shapes(net, node, from);
    *info = (cvy_node_info){ .name = node->name,
                             .type = node->linear ? "linear" : rule->type,
                             .out = node->out,
                             .parameters = node_parameters(net, node),
                             .n_inputs = node->n_in,
                             .inputs = node->in };
    if (rule->flops) {
        info->flops_forward = rule->flops(node, from, false);
        info->flops_backward = rule->flops(node, from, true);
        /* nobody asks for the data gradient of a first layer */
        if (!net->node[cvyi_net_source(net, node, 0)].trained) info->flops_backward /= 2;
    }
    return CVY_OK;
}
