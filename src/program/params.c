/* Parameters by name: their shapes as users see them, how they start, reading and writing them.
 * Knows the net's layers by name and the two plain layouts that parameters have; must not know how
 * they are used. */
#include <fnmatch.h>
#include <string.h>

#include "program/model.h"

static bool is_of_kind(const struct cvy_value *v, int kind)
{
    switch (kind) {
    case CVY_PARAM_WEIGHT: return v->role == CVY_ROLE_WEIGHT;
    case CVY_PARAM_RUNNING: return v->role == CVY_ROLE_RUNNING;
    case CVY_PARAM_GRADIENT: return v->role == CVY_ROLE_WEIGHT_GRAD && v->state != CVYI_NOBODYS;
    default: return v->role == CVY_ROLE_STATE && v->state == kind - CVY_PARAM_STATE;
    }
}

/* "conv1.weight": the node conv1. */
static const struct cvyi_node *node_of(const struct cvy_net *net, const char *param)
{
    const char *dot = strrchr(param, '.');
    size_t length = dot ? (size_t)(dot - param) : strlen(param);
    for (size_t i = 0; i < net->n_nodes; i++)
        if (strlen(net->node[i].name) == length && memcmp(net->node[i].name, param, length) == 0)
            return &net->node[i];
    return NULL;
}

static bool has_suffix(const char *name, const char *suffix)
{
    const char *dot = strrchr(name, '.');
    return dot && strcmp(dot + 1, suffix) == 0;
}

static struct cvyi_param describe(const struct cvy_plan *plan, const struct cvy_net *net, int id)
{
    const struct cvy_value *v = cvy_plan_value(plan, id);
    const struct cvyi_node *node = node_of(net, v->name);
    cvy_shape s = v->shape;
    struct cvyi_param p = { .id = id, .name = v->name, .count = s.n * s.c * s.h * s.w };
    if (!node || !cvyi_operator(node->kind)->kernels || !has_suffix(v->name, "weight")) {
        bool map = s.h * s.w > 1; /* a number for each element of one */
        p.rank = map ? 3 : 1;
        p.dims[0] = s.c;
        p.dims[1] = s.h;
        p.dims[2] = s.w;
    } else if (node->linear) {
        p.rank = 2;
        p.dims[0] = s.n;
        p.dims[1] = s.c * s.h * s.w;
    } else {
        p.rank = 4;
        p.dims[0] = s.n;
        p.dims[1] = s.c;
        p.dims[2] = s.h;
        p.dims[3] = s.w;
    }
    return p;
}

/* The gradient of the input, whatever the value is called that came out as it. */
static struct cvyi_param describe_input(const struct cvy_plan *plan, int id)
{
    cvy_shape s = cvy_plan_value(plan, id)->shape;
    return (struct cvyi_param){ .id = id,
                                .name = "input",
                                .rank = 4,
                                .dims = { s.n, s.c, s.h, s.w },
                                .count = s.n * s.c * s.h * s.w };
}

enum cvy_status cvyi_params_create(struct cvyi_params *params, struct cvy_plan *plan,
                                   const struct cvy_net *net)
{
    size_t n = 0, n_values = plan->list.n_values;
    params->plan = plan;
    params->param = cvyi_alloc_array(plan->ctx, n_values + 1, sizeof *params->param);
    if (!params->param) return CVY_E_NOMEM;
    for (int kind = 0; kind < CVY_PARAM_KINDS; kind++) {
        params->first[kind] = n;
        for (size_t i = 0; i < n_values; i++)
            if (is_of_kind(&plan->list.value[i], kind))
                params->param[n++] = describe(plan, net, (int)i);
        if (kind == CVY_PARAM_GRADIENT && plan->options.training && plan->fetch >= 0)
            params->param[n++] = describe_input(plan, plan->fetch);
        params->n[kind] = n - params->first[kind];
    }
    return CVY_OK;
}

void cvyi_params_destroy(struct cvyi_params *params)
{
    if (params->plan) cvyi_free(params->plan->ctx, params->param);
}

/* --------------------------------------------------------------------------------- first values */

static void put(const struct cvy_plan *plan, int id, size_t e, double x)
{
    if (cvy_plan_value(plan, id)->layout == CVY_LAYOUT_PLAIN64)
        ((double *)plan->buf[id])[e] = (float)x;
    /* so that every backend starts from the same numbers */
    else ((float *)plan->buf[id])[e] = (float)x;
}

static void fill(const struct cvyi_params *params, const struct cvyi_param *p,
                 const struct cvyi_node *node, const char *parameter)
{
    for (size_t e = 0; e < p->count; e++)
        put(params->plan, p->id, e, cvyi_operator(node->kind)->start(node, parameter, e));
}

/* The last setting of a parameter's start; NULL: none. */
static const cvy_param_setting *start_of(const cvy_trainer_options *options, const char *name)
{
    for (size_t i = options->n_settings; i-- > 0;)
        if (options->settings[i].init && !fnmatch(options->settings[i].match, name, 0))
            return &options->settings[i];
    return NULL;
}

static enum cvy_status draw(const struct cvyi_params *params, const struct cvyi_param *p,
                            struct cvyi_start *s)
{
    CVYI_TRY(cvyi_start_open(params->plan->ctx, s));
    for (size_t e = 0; e < p->count; e++) put(params->plan, p->id, e, cvyi_start_element(s, e));
    cvyi_start_close(params->plan->ctx, s);
    return CVY_OK;
}

/* Of a convolution or linear layer. */
static enum cvy_status init_kernels(const struct cvyi_params *params, const struct cvyi_param *p,
                                    const struct cvyi_node *node,
                                    const cvy_trainer_options *options, uint32_t stream)
{
    const cvy_init_desc *init = &options->init;
    const struct cvy_value *v = cvy_plan_value(params->plan, p->id);
    const cvy_param_setting *said = start_of(options, v->name);
    char weight[256];
    const struct cvy_value *w = v;
    if (!has_suffix(v->name, "weight") && strlen(node->name) + sizeof ".weight" <= sizeof weight) {
        strcat(strcpy(weight, node->name), ".weight"); /* a bias goes by its weight's fan */
        int id = cvyi_program_find(params->plan, CVY_ROLE_WEIGHT, weight);
        if (id >= 0) w = cvy_plan_value(params->plan, id);
    }
    struct cvyi_start s = { .init = w == v ? init->weights : init->biases,
                            .value = w == v ? init->weights_value : init->biases_value,
                            .seed = init->seed,
                            .stream = stream };
    if (said) {
        s.init = said->init;
        s.value = said->init_value;
    }
    if (s.init == CVY_INIT_DEFAULT)
        s.init = w == v ? CVY_INIT_XAVIER_UNIFORM : CVY_INIT_TORCH_DEFAULT;
    s.rows = v->shape.n;
    s.cols = s.rows ? p->count / s.rows : 0;
    s.fan_in = (double)w->shape.c * (double)w->shape.h * (double)w->shape.w;
    s.fan_out = (double)w->shape.n * (node->linear ? 1.0 : (double)w->shape.h * (double)w->shape.w);
    CVYI_TRY(cvyi_init_check_kind(params->plan->ctx, s.init, v->name, w == v, true));
    return draw(params, p, &s);
}

/* Of any other layer: as a setting says, else as its operator does. */
static enum cvy_status init_others(const struct cvyi_params *params, const struct cvyi_param *p,
                                   const struct cvyi_node *node, const cvy_trainer_options *options,
                                   uint32_t stream)
{
    const struct cvy_value *v = cvy_plan_value(params->plan, p->id);
    const cvy_param_setting *said = v->role == CVY_ROLE_WEIGHT ? start_of(options, v->name) : NULL;
    if (!said) {
        fill(params, p, node, v->name + strlen(node->name) + 1);
        return CVY_OK;
    }
    struct cvyi_start s = {
        .init = said->init, .value = said->init_value, .seed = options->init.seed, .stream = stream
    };
    CVYI_TRY(cvyi_init_check_kind(params->plan->ctx, s.init, v->name, false, false));
    return draw(params, p, &s);
}

enum cvy_status cvyi_params_init(const struct cvyi_params *params, const struct cvy_net *net,
                                 const cvy_trainer_options *options)
{
    CVYI_TRY(cvyi_init_check(params->plan->ctx, &options->init));
    for (int kind = CVY_PARAM_WEIGHT; kind <= CVY_PARAM_RUNNING; kind++)
        for (size_t i = 0; i < params->n[kind]; i++) {
            const struct cvyi_param *p = &params->param[params->first[kind] + i];
            const char *name = cvy_plan_value(params->plan, p->id)->name;
            const struct cvyi_node *node = node_of(net, name);
            if (!node) continue;
            if (cvyi_operator(node->kind)->kernels)
                CVYI_TRY(init_kernels(params, p, node, options, (uint32_t)i));
            else CVYI_TRY(init_others(params, p, node, options, (uint32_t)i));
        }
    return cvyi_program_refresh(params->plan, -1);
}

/* -------------------------------------------------------------------------------------- by name */

enum cvy_status cvyi_params_info(const struct cvyi_params *params, enum cvy_param_kind kind,
                                 size_t index, cvy_param_info *info)
{
    struct cvy_context *ctx = params->plan->ctx;
    if (!info || (unsigned)kind >= CVY_PARAM_KINDS)
        return cvyi_fail(ctx, CVY_E_ARG, "no such kind of parameter");
    if (index >= params->n[kind])
        return cvyi_fail(ctx, CVY_E_ARG, "parameter %zu of %zu was asked for", index,
                         params->n[kind]);
    const struct cvyi_param *p = &params->param[params->first[kind] + index];
    *info = (cvy_param_info){ .name = p->name, .kind = kind, .rank = p->rank, .count = p->count };
    memcpy(info->dims, p->dims, sizeof info->dims);
    return CVY_OK;
}

static enum cvy_status find(const struct cvyi_params *params, enum cvy_param_kind kind,
                            const char *name, size_t count, bool have_array,
                            const struct cvyi_param **found)
{
    static const char *const kinds[] = { "weight", "running statistic", "gradient",
                                         "optimizer state", "sum of gradients" };
    struct cvy_context *ctx = params->plan->ctx;
    if (!name || !have_array || (unsigned)kind >= CVY_PARAM_KINDS)
        return cvyi_fail(ctx, CVY_E_ARG, "a parameter needs a kind, a name and an array");
    for (size_t i = 0; i < params->n[kind]; i++) {
        const struct cvyi_param *p = &params->param[params->first[kind] + i];
        if (strcmp(p->name, name) != 0) continue;
        if (p->count != count)
            return cvyi_fail(ctx, CVY_E_SHAPE, "%s has %zu elements, the array %zu", name, p->count,
                             count);
        if (!params->plan->buf[p->id])
            return cvyi_fail(ctx, CVY_E_STATE, "%s: a dry run has no parameters", name);
        *found = p;
        return CVY_OK;
    }
    int word = kind < CVY_PARAM_STATE ? (int)kind : CVY_PARAM_STATE; /* states share one */
    if (kind == CVY_PARAM_SUM) word++;
    return cvyi_fail(ctx, CVY_E_ARG, "there is no %s named %s", kinds[word], name);
}

enum cvy_status cvyi_params_get(const struct cvyi_params *params, enum cvy_param_kind kind,
                                const char *name, float *f, double *d, size_t count)
{
    const struct cvyi_param *p;
    CVYI_TRY(find(params, kind, name, count, f || d, &p));
    const void *buf = params->plan->buf[p->id];
    bool wide = cvy_plan_value(params->plan, p->id)->layout == CVY_LAYOUT_PLAIN64;
    if (wide && d) memcpy(d, buf, count * sizeof *d);
    else if (!wide && f) memcpy(f, buf, count * sizeof *f); /* every bit, of denormals too */
    for (size_t e = 0; e < count && wide && f; e++) f[e] = (float)((const double *)buf)[e];
    for (size_t e = 0; e < count && !wide && d; e++) d[e] = (double)((const float *)buf)[e];
    return CVY_OK;
}

enum cvy_status cvyi_params_set(const struct cvyi_params *params, enum cvy_param_kind kind,
                                const char *name, const float *f, const double *d, size_t count)
{
    const struct cvyi_param *p;
    CVYI_TRY(find(params, kind, name, count, f || d, &p));
    void *buf = params->plan->buf[p->id];
    bool wide = cvy_plan_value(params->plan, p->id)->layout == CVY_LAYOUT_PLAIN64;
    if (wide && d) memcpy(buf, d, count * sizeof *d);
    else if (!wide && f) memcpy(buf, f, count * sizeof *f);
    for (size_t e = 0; e < count && wide && f; e++) ((double *)buf)[e] = (double)f[e];
    for (size_t e = 0; e < count && !wide && d; e++) ((float *)buf)[e] = (float)d[e];
    return cvyi_program_refresh(params->plan, p->id);
}
