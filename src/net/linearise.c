/* From a graph to the linear list of one step: ingest, forward, loss, gradients in reverse mode,
 * updates. Walks nodes and lets their operators speak; knows no backend, no layout, no memory. */
#include <fnmatch.h>
#include <string.h>

#include "net/net.h"

struct walk {
    struct cvy_net *net;
    const struct cvyi_linear_options *options;
    struct cvyi_list *list;
    unsigned char *used; /* by node: output depends on it */
    bool *trained; /* by node: it or something that it depends on has parameters that are trained */
    const struct cvyi_node **node; /* what is done in a node's place */
    struct cvyi_lowered *low;      /* by node */
    /* Gradients that meet: a list a node, in node order of their consumers, because those are
     * visited downwards. */
    int *first;        /* by node: edge or -1 */
    int *next, *value; /* by edge */
    size_t n_edges;
};

static enum cvy_status allocate(struct walk *w)
{
    struct cvy_context *ctx = w->net->ctx;
    size_t nodes = w->net->n_nodes, edges = 0;
    for (size_t i = 0; i < nodes; i++) edges += w->net->node[i].n_in;
    edges++; /* the loss */
    w->used = cvyi_alloc_array(ctx, nodes, sizeof *w->used);
    w->trained = cvyi_alloc_array(ctx, nodes, sizeof *w->trained);
    w->node = cvyi_alloc_array(ctx, nodes, sizeof *w->node);
    w->low = cvyi_alloc_array(ctx, nodes, sizeof *w->low);
    w->first = cvyi_alloc_array(ctx, nodes, sizeof *w->first);
    w->next = cvyi_alloc_array(ctx, edges, sizeof *w->next);
    w->value = cvyi_alloc_array(ctx, edges, sizeof *w->value);
    if (!w->used || !w->trained || !w->node || !w->low || !w->first || !w->next || !w->value)
        return CVY_E_NOMEM;
    for (size_t i = 0; i < nodes; i++) {
        struct cvyi_lowered *low = &w->low[i];
        w->node[i] = &w->net->node[i];
        w->first[i] = -1;
        memset(low->x, -1, sizeof low->x);
        low->y = low->weight = low->bias = low->running_mean = low->running_var = -1;
        low->d_weight = low->d_bias = low->stats = low->sums = -1;
    }
    return CVY_OK;
}

static void mark(struct walk *w, int output)
{
    w->used[output] = 1;
    for (size_t i = (size_t)output + 1; i-- > 0;)
        if (w->used[i])
            for (size_t k = 0; k < w->net->node[i].n_in; k++)
                w->used[cvyi_net_source(w->net, &w->net->node[i], k)] = 1;
}

/* Whether max(f(x)) is f(max(x)), gradients included: not unless the list of activations says that
 * f never decreases. A tie of f(x) alone, by rounding or where f is flat, may then go to another
 * pixel; a rule that shares it out among all is a matter of f(x). */
static bool commute(const struct cvyi_node *act, const struct cvyi_node *pool)
{
    return act->kind == CVYI_NODE_ACT && pool->kind == CVYI_NODE_POOL &&
           pool->u.pool.kind == CVY_POOL_MAX && pool->u.pool.tie == CVY_TIE_FIRST &&
           cvyi_act_commutes(&act->u.act);
}

/* A maximum of activations is the activation of the maximum, which is computed once a window, not
 * once a pixel: the two change places if nobody else reads the activations
 * (docs/decisions/0007). */
static void pool_first(struct walk *w, int output)
{
    struct cvy_net *net = w->net;
    for (size_t j = 0; j <= (size_t)output; j++) {
        const struct cvyi_node *pool = &net->node[j];
        if (!w->used[j] || pool->kind != CVYI_NODE_POOL) continue;
        size_t i = (size_t)cvyi_net_source(net, pool, 0), readers = 0;
        if (i == (size_t)output || !commute(&net->node[i], pool)) continue;
        for (size_t k = 0; k <= (size_t)output; k++)
            for (size_t e = 0; w->used[k] && e < net->node[k].n_in; e++)
                readers += (size_t)cvyi_net_source(net, &net->node[k], e) == i;
        if (readers != 1) continue;
        w->node[j] = &net->node[i];
        w->node[i] = pool;
    }
}

static void make_params(struct walk *w, size_t i)
{
    const struct cvyi_node *node = &w->net->node[i];
    const struct cvyi_operator *rule = cvyi_operator(node->kind);
    cvy_shape from[CVY_MAX_IN];
    if (!rule->params) return;
    for (size_t k = 0; k < node->n_in; k++)
        from[k] = w->net->node[cvyi_net_source(w->net, node, k)].out;
    rule->params(w->list, node, from, &w->low[i]);
}

/* A value like parameter id, with its name, in another role. */
static int companion(struct cvyi_list *list, int id, enum cvy_role role)
{
    if (id < 0 || list->status != CVY_OK) return -1;
    return cvyi_list_value(list, role, list->value[id].shape, "%s", list->value[id].name);
}

/* What the settings make of a parameter. */
struct setting {
    bool frozen;
    struct cvyi_group factor;
};

static struct setting setting_of(const struct walk *w, int id)
{
    struct setting s = { false, { 1, 1 } };
    for (size_t i = 0; i < w->options->n_settings && id >= 0; i++) {
        const cvy_param_setting *p = &w->options->settings[i];
        if (fnmatch(p->match, w->list->value[id].name, 0)) continue;
        if (p->frozen || p->trained) s.frozen = p->frozen;
        if (p->lr_factor != 0) s.factor.lr = p->lr_factor;
        if (p->decay_factor != 0 || p->no_decay) s.factor.decay = p->decay_factor;
    }
    return s;
}

/* The longest that the parts of a parameter may be that lead to one output; 0: they have no end.
 * `linear`: it is a linear layer's weight. */
static double max_norm_of(const struct walk *w, int id, bool linear)
{
    double most = linear ? w->options->max_norm : 0;
    for (size_t i = 0; i < w->options->n_settings; i++) {
        const cvy_param_setting *p = &w->options->settings[i];
        if ((p->max_norm != 0 || p->no_max_norm) && !fnmatch(p->match, w->list->value[id].name, 0))
            most = p->max_norm;
    }
    return most;
}

/* Every pattern must match a parameter: one that does not is a slip of the pen. */
static enum cvy_status check_patterns(const struct walk *w)
{
    const struct cvyi_list *list = w->list;
    for (size_t i = 0; i < w->options->n_settings; i++) {
        const char *match = w->options->settings[i].match;
        char names[256] = "";
        bool found = false, whole = true;
        for (size_t v = 0; v < list->n_values; v++) {
            const char *name = list->value[v].name;
            if (list->value[v].role != CVY_ROLE_WEIGHT) continue;
            found |= !fnmatch(match, name, 0);
            whole = whole && strlen(names) + strlen(name) + sizeof ", …" < sizeof names;
            if (whole) strcat(strcat(names, *names ? ", " : ""), name);
        }
        if (!found)
            return cvyi_fail(list->ctx, CVY_E_ARG,
                             "no parameter's name matches '%.128s'; there are %s%s", match,
                             *names ? names : "none", whole ? "" : ", …");
    }
    return CVY_OK;
}

/* Gradients of what is not frozen. An op that makes a bias' makes the weight's, too. */
static void make_gradients(struct walk *w, size_t i)
{
    struct cvyi_list *list = w->list;
    struct cvyi_lowered *low = &w->low[i];
    const struct cvyi_node *node = &w->net->node[i];
    bool weight = low->weight >= 0 && !setting_of(w, low->weight).frozen,
         bias = low->bias >= 0 && !setting_of(w, low->bias).frozen;
    w->trained[i] = weight || bias;
    for (size_t k = 0; k < node->n_in; k++)
        w->trained[i] |= w->trained[cvyi_net_source(w->net, node, k)];
    if (weight || (bias && cvyi_operator(node->kind)->kernels))
        low->d_weight = companion(list, low->weight, CVY_ROLE_WEIGHT_GRAD);
    if (!weight && low->d_weight >= 0) list->value[low->d_weight].state = CVYI_NOBODYS;
    if (bias) low->d_bias = companion(list, low->bias, CVY_ROLE_WEIGHT_GRAD);
}

static int forward(struct walk *w, int output)
{
    struct cvyi_list *list = w->list;
    size_t n = w->options->batch;
    bool training = w->options->training;
    for (size_t i = 0; i <= (size_t)output; i++)
        if (w->used[i]) make_params(w, i);
    if (training && list->status == CVY_OK) list->status = check_patterns(w);
    for (size_t i = 0; training && list->status == CVY_OK && i <= (size_t)output; i++)
        make_gradients(w, i);
    for (size_t i = 0; i <= (size_t)output && list->status == CVY_OK; i++) {
        if (!w->used[i]) continue;
        const struct cvyi_node *node = &w->net->node[i];
        struct cvyi_lowered *low = &w->low[i];
        if (node->kind == CVYI_NODE_INPUT) {
            cvy_shape shape = node->out;
            shape.n = n;
            low->y = cvyi_list_value(list, CVY_ROLE_ACTIVATION, shape, "%s", node->name);
            cvyi_list_op(list, CVY_OP_INGEST, "ingest")->out[CVY_INGEST_X] = low->y;
            continue;
        }
        for (size_t k = 0; k < node->n_in; k++)
            low->x[k] = w->low[cvyi_net_source(w->net, node, k)].y;
        cvyi_operator(w->node[i]->kind)->forward(list, w->node[i], n, training, low);
    }
    return w->low[output].y;
}

/* Whether somebody wants the gradient of node i's output. */
static bool wanted(const struct walk *w, size_t i)
{
    return w->options->input_gradient || w->trained[i];
}

static void contribute(struct walk *w, int node, int gradient)
{
    w->value[w->n_edges] = gradient;
    w->next[w->n_edges] = w->first[node];
    w->first[node] = (int)w->n_edges++;
}

/* The gradient of node i's output: its contributions, added in node order of the consumers. */
static int gather(struct walk *w, size_t i)
{
    struct cvyi_list *list = w->list;
    const char *name = w->node[i]->name;
    int edge = w->first[i], sum = w->value[edge];
    for (edge = w->next[edge]; edge >= 0; edge = w->next[edge]) {
        int a = sum;
        sum = cvyi_list_value(list, CVY_ROLE_ACTIVATION, list->value[w->low[i].y].shape, "%s.dy",
                              name);
        struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_ADD, "%s.dy", name);
        op->in[CVY_ADD_A] = a;
        op->in[CVY_ADD_B] = w->value[edge];
        op->out[CVY_ADD_Y] = sum;
    }
    return sum;
}

static void backward(struct walk *w, int output, struct cvyi_linear_result *result)
{
    for (size_t i = (size_t)output + 1; i-- > 0 && w->list->status == CVY_OK;) {
        const struct cvyi_node *node = &w->net->node[i];
        if (!w->used[i] || !wanted(w, i) || w->first[i] < 0) continue;
        bool want[CVY_MAX_IN];
        int dx[CVY_MAX_IN];
        for (size_t k = 0; k < node->n_in; k++) {
            want[k] = wanted(w, (size_t)cvyi_net_source(w->net, node, k));
            dx[k] = -1;
        }
        int dy = gather(w, i);
        if (w->list->status != CVY_OK) return;
        if (node->kind == CVYI_NODE_INPUT) result->input_gradient = dy;
        if (node->kind == CVYI_NODE_INPUT) continue;
        cvyi_operator(w->node[i]->kind)->backward(w->list, w->node[i], &w->low[i], dy, want, dx);
        for (size_t k = node->n_in; k-- > 0;)
            if (want[k]) contribute(w, cvyi_net_source(w->net, node, k), dx[k]);
    }
}

/* The number of the group with these factors. */
static unsigned group_of(struct walk *w, struct cvyi_group factor)
{
    struct cvyi_group_list *groups = w->options->groups;
    const struct cvyi_group *known = groups ? groups->group : cvyi_groups;
    size_t n = groups ? groups->n : CVYI_GROUPS;
    for (size_t i = 0; i < n; i++)
        if (known[i].lr == factor.lr && known[i].decay == factor.decay) return (unsigned)i;
    void *grown = groups->group;
    if (!cvyi_grow(w->net->ctx, &grown, &groups->cap, n + 1, sizeof *groups->group)) {
        w->list->status = CVY_E_NOMEM;
        return 0;
    }
    groups->group = grown;
    groups->group[groups->n++] = factor;
    return (unsigned)n;
}

static enum cvy_status start_groups(struct walk *w)
{
    if (!w->options->groups) return CVY_OK;
    for (size_t i = 0; i < CVYI_GROUPS; i++) (void)group_of(w, cvyi_groups[i]);
    return w->list->status;
}

/* kernels: of the node that has one, its weight. */
static void update(struct walk *w, int weight, int gradient, const struct cvyi_node *kernels)
{
    if (weight < 0 || gradient < 0 || w->list->value[gradient].state == CVYI_NOBODYS) return;
    struct cvyi_list *list = w->list;
    const cvy_optimizer_desc *desc = &w->options->optimizer;
    const struct cvyi_optimizer *optimizer = cvyi_optimizer(desc->kind);
    int state[CVY_OPTIMIZER_STATES];
    size_t n = optimizer->states(desc);
    for (size_t i = 0; i < n; i++) {
        state[i] = companion(list, weight, CVY_ROLE_STATE);
        if (state[i] >= 0) list->value[state[i]].state = (int)i;
    }
    int sum = w->options->sums ? companion(list, weight, CVY_ROLE_STATE) : -1;
    if (sum >= 0) list->value[sum].state = CVYI_SUM_STATE;
    struct cvyi_group factor = setting_of(w, weight).factor;
    if (!kernels && !desc->decay_all) factor.decay = 0;
    unsigned group = group_of(w, factor);
    if (list->status != CVY_OK) return;
    struct cvy_op_desc *op =
        cvyi_list_op(list, CVY_OP_UPDATE, "%s.%s", list->value[weight].name, optimizer->info.name);
    op->fence = w->options->fence_updates;
    op->u.update.kind = desc->kind;
    op->u.update.group = group;
    op->u.update.max_norm = max_norm_of(w, weight, kernels && kernels->linear);
    const cvy_shape s = list->value[weight].shape;
    op->u.update.row = kernels ? s.c * s.h * s.w : 1;
    op->in[CVY_UPDATE_W] = weight;
    op->in[CVY_UPDATE_DW] = gradient;
    for (size_t i = 0; i < n; i++) cvyi_op_append(op, state[i]);
}

/* The trainer has checked the rates of loss and optimiser. */
static enum cvy_status check_options(struct cvy_net *net, cvy_tensor output,
                                     const struct cvyi_linear_options *o)
{
    struct cvy_context *ctx = net->ctx;
    int number = cvyi_net_number(net, output);
    if (number < 0 && cvyi_net_foreign(net, output))
        return cvyi_fail(ctx, CVY_E_ARG, "the output is a tensor of another net");
    if (number < 0)
        return cvyi_fail(ctx, CVY_E_ARG, "the output %d is no tensor of this net", output);
    if (o->batch < 1 || o->batch > INT32_MAX)
        return cvyi_fail(ctx, CVY_E_ARG, "batch is %lld, expected 1 to %d", (long long)o->batch,
                         INT32_MAX);
    if (!o->training) return CVY_OK;
    const struct cvyi_node *node = &net->node[number];
    if ((node->out.h != 1 || node->out.w != 1) && !o->loss.per_pixel)
        return cvyi_fail(
            ctx, CVY_E_SHAPE,
            "the logits, '%s', have the shape %zu x %zu x %zu, expected classes x 1 x 1 (or a loss "
            "per_pixel)",
            node->name, node->out.c, node->out.h, node->out.w);
    return CVY_OK;
}

static enum cvy_status run(struct walk *w, int output, struct cvyi_linear_result *result)
{
    struct cvyi_list *list = w->list;
    CVYI_TRY(allocate(w));
    CVYI_TRY(start_groups(w));
    mark(w, output);
    pool_first(w, output);
    result->output = forward(w, output);
    result->input = w->low[0].y;
    result->loss = -1;
    result->input_gradient = -1;
    if (w->options->training && list->status == CVY_OK) {
        bool trained = wanted(w, (size_t)output);
        int d_logits;
        result->loss_op = list->n_ops;
        cvyi_loss_forward(list, &w->options->loss, result->output, trained, &result->loss,
                          &d_logits);
        result->first_backward_op = list->n_ops;
        if (trained) contribute(w, output, d_logits);
        backward(w, output, result);
        for (size_t i = 0; i <= (size_t)output; i++) {
            const struct cvyi_node *node = &w->net->node[i];
            update(w, w->low[i].weight, w->low[i].d_weight,
                   cvyi_operator(node->kind)->kernels ? node : NULL);
            update(w, w->low[i].bias, w->low[i].d_bias, NULL);
        }
    }
    if (!w->options->training) result->first_backward_op = list->n_ops;
    return list->status;
}

enum cvy_status cvyi_net_linearise(struct cvy_net *net, cvy_tensor output,
                                   const struct cvyi_linear_options *options,
                                   struct cvyi_list *list, struct cvyi_linear_result *result)
{
    CVYI_TRY(cvy_net_status(net));
    CVYI_TRY(check_options(net, output, options));
    struct walk w = { .net = net, .options = options, .list = list };
    enum cvy_status status = run(&w, cvyi_net_number(net, output), result);
    cvyi_free(net->ctx, w.used);
    cvyi_free(net->ctx, w.trained);
    cvyi_free(net->ctx, w.node);
    cvyi_free(net->ctx, w.low);
    cvyi_free(net->ctx, w.first);
    cvyi_free(net->ctx, w.next);
    cvyi_free(net->ctx, w.value);
    return status;
}
