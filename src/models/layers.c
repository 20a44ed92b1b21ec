/* The layers of a model file: every type is one row of a table that lists its keys. */
#include "models/fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

union desc {
    cvy_conv2d_desc conv2d;
    cvy_conv_transpose2d_desc deconv;
    cvy_linear_desc linear;
    cvy_batch_norm_desc batch_norm;
    struct {
        cvy_group_norm_desc desc;
        bool affine; /* of an instance norm, which has none unless it is said */
    } norm;
    cvy_whitening_desc whitening;
    struct {
        cvy_batch_norm_desc norm;
        int form; /* of pit_names */
        cvy_rank_desc rank;
    } pit;
    cvy_act_desc act;
    cvy_prelu_desc prelu;
    cvy_pool2d_desc pool2d;
    cvy_maxout_desc maxout;
    cvy_dropout_desc dropout;
    cvy_upsample_desc upsample;
    cvy_mean_subtract_desc mean;
    struct {
        size_t before, after;
    } pad_channels;
};

struct model_layer {
    const struct layer_type *type;
    char name[MODEL_NAME_LIMIT]; /* "" if the file gives none */
    size_t n_inputs;
    int *inputs; /* layer numbers; -1 is the image */
    union desc desc;
};

/* ----------------------------------------------------------------------------------- the tables */

struct layer_type {
    const char *name;
    const struct model_field *fields; /* ended by a NULL key; NULL: none */
    int act;                          /* enum cvy_act_kind, or -1 */
    size_t min_inputs, max_inputs;
    bool named; /* has parameters and so needs a name */
    cvy_tensor (*build)(cvy_net *net, const cvy_tensor *x, size_t n, const char *name,
                        const union desc *desc);
};

const char *const model_var_names[] = { "unbiased", "biased", NULL };
static const char *const statistics_names[] = { "both", "mean", "variance", NULL };
const char *const model_pool_names[] = { "max", "avg", NULL };
static const char *const maxout_names[] = { "max", "mean", "mixed", NULL };
static const char *const pit_names[] = { "parametric", "empirical", NULL };
static const char *const when_names[] = { "always", "training", "inference", NULL };
static const char *const upsample_names[] = { "nearest", "bilinear", NULL };
static const char *const mean_names[] = { "batch", "image", NULL };
static const char *const tie_names[] = { "first", "all", "split", NULL };
#define ALGORITHM_NAME(NAME, name) #name,
static const char *const algorithm_names[] = { "auto", CVY_ALGORITHMS(ALGORITHM_NAME) NULL };

#define AT(member) offsetof(union desc, member)
static const struct model_field conv2d_fields[] = {
    { "out_channels", SIZE, true, AT(conv2d.out_channels), 1, MODEL_SIZE_LIMIT, NULL },
    { "kernel", SIZE2, true, AT(conv2d.kernel), 1, MODEL_SIZE_LIMIT, NULL },
    { "stride", SIZE2, false, AT(conv2d.stride), 1, MODEL_SIZE_LIMIT, NULL },
    { "pad", PAD, false, AT(conv2d.pad), 0, MODEL_SIZE_LIMIT, NULL },
    { "dilation", SIZE2, false, AT(conv2d.dilation), 1, MODEL_SIZE_LIMIT, NULL },
    { "groups", SIZE, false, AT(conv2d.groups), 1, MODEL_SIZE_LIMIT, NULL },
    { "bias", NOT, false, AT(conv2d.no_bias), 0, 0, NULL },
    { "flip", BOOL, false, AT(conv2d.flip), 0, 0, NULL },
    { "algorithm", WIDE_CHOICE, false, AT(conv2d.algorithm), 0, 0, algorithm_names },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct model_field conv_transpose2d_fields[] = {
    { "out_channels", SIZE, true, AT(deconv.out_channels), 1, MODEL_SIZE_LIMIT, NULL },
    { "kernel", SIZE2, true, AT(deconv.kernel), 1, MODEL_SIZE_LIMIT, NULL },
    { "stride", SIZE2, false, AT(deconv.stride), 1, MODEL_SIZE_LIMIT, NULL },
    { "pad", PAD, false, AT(deconv.pad), 0, MODEL_SIZE_LIMIT, NULL },
    { "output_pad", SIZE2, false, AT(deconv.output_pad), 0, MODEL_SIZE_LIMIT, NULL },
    { "dilation", SIZE2, false, AT(deconv.dilation), 1, MODEL_SIZE_LIMIT, NULL },
    { "groups", SIZE, false, AT(deconv.groups), 1, MODEL_SIZE_LIMIT, NULL },
    { "bias", NOT, false, AT(deconv.no_bias), 0, 0, NULL },
    { "flip", BOOL, false, AT(deconv.flip), 0, 0, NULL },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct model_field linear_fields[] = {
    { "out_features", SIZE, true, AT(linear.out_features), 1, MODEL_SIZE_LIMIT, NULL },
    { "bias", NOT, false, AT(linear.no_bias), 0, 0, NULL },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct model_field batch_norm_fields[] = {
    { "eps", REAL_OVER, false, AT(batch_norm.eps), 0, 1e30, NULL },
    { "momentum", REAL_OVER, false, AT(batch_norm.momentum), 0, 1, NULL },
    { "running_var", CHOICE, false, AT(batch_norm.running_var), 0, 0, model_var_names },
    { "statistics", CHOICE, false, AT(batch_norm.statistics), 0, 0, statistics_names },
    { "affine", NOT, false, AT(batch_norm.no_affine), 0, 0, NULL },
    { "gamma", NOT, false, AT(batch_norm.no_gamma), 0, 0, NULL },
    { "beta", NOT, false, AT(batch_norm.no_beta), 0, 0, NULL },
    { "cumulative", BOOL, false, AT(batch_norm.cumulative), 0, 0, NULL },
    { "frozen", BOOL, false, AT(batch_norm.frozen), 0, 0, NULL },
    { "zero_init", BOOL, false, AT(batch_norm.zero_init), 0, 0, NULL },
    { "batch_statistics", BOOL, false, AT(batch_norm.batch_statistics), 0, 0, NULL },
    { "running_var_offset", REAL, false, AT(batch_norm.running_var_offset), 0, 1e30, NULL },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct model_field pit_fields[] = {
    { "form", CHOICE, false, AT(pit.form), 0, 0, pit_names },
    { "normal", BOOL, false, AT(pit.rank.normal), 0, 0, NULL },
    { "quantiles", SIZE, false, AT(pit.rank.quantiles), 2, 65536, NULL },
    { "eps", REAL_OVER, false, AT(pit.norm.eps), 0, 1e30, NULL },
    { "momentum", REAL_OVER, false, AT(pit.norm.momentum), 0, 1, NULL },
    { "running_var", CHOICE, false, AT(pit.norm.running_var), 0, 0, model_var_names },
    { "frozen", BOOL, false, AT(pit.norm.frozen), 0, 0, NULL },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct model_field group_norm_fields[] = {
    { "groups", SIZE, true, AT(norm.desc.groups), 1, MODEL_SIZE_LIMIT, NULL },
    { "eps", REAL_OVER, false, AT(norm.desc.eps), 0, 1e30, NULL },
    { "affine", NOT, false, AT(norm.desc.no_affine), 0, 0, NULL },
    { "gamma", NOT, false, AT(norm.desc.no_gamma), 0, 0, NULL },
    { "beta", NOT, false, AT(norm.desc.no_beta), 0, 0, NULL },
    { "elementwise", BOOL, false, AT(norm.desc.elementwise), 0, 0, NULL },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct model_field layer_norm_fields[] = {
    { "eps", REAL_OVER, false, AT(norm.desc.eps), 0, 1e30, NULL },
    { "affine", NOT, false, AT(norm.desc.no_affine), 0, 0, NULL },
    { "gamma", NOT, false, AT(norm.desc.no_gamma), 0, 0, NULL },
    { "beta", NOT, false, AT(norm.desc.no_beta), 0, 0, NULL },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct model_field instance_norm_fields[] = {
    { "eps", REAL_OVER, false, AT(norm.desc.eps), 0, 1e30, NULL },
    { "affine", BOOL, false, AT(norm.affine), 0, 0, NULL },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
#define WHITENING_FIELDS                                                            \
    { "channels", SIZE, false, AT(whitening.channels), 1, MODEL_SIZE_LIMIT, NULL }, \
        { "eps", REAL_OVER, false, AT(whitening.eps), 0, 1e30, NULL },              \
        { "momentum", REAL_OVER, false, AT(whitening.momentum), 0, 1, NULL },       \
        { "shared", BOOL, false, AT(whitening.shared), 0, 0, NULL },                \
        { "affine", NOT, false, AT(whitening.no_affine), 0, 0, NULL },              \
        { "gamma", NOT, false, AT(whitening.no_gamma), 0, 0, NULL },                \
        { "beta", NOT, false, AT(whitening.no_beta), 0, 0, NULL },                  \
        { "frozen", BOOL, false, AT(whitening.frozen), 0, 0, NULL },
static const struct model_field dbn_fields[] = { WHITENING_FIELDS{ NULL, SIZE, false, 0, 0, 0,
                                                                   NULL } };
static const struct model_field iter_norm_fields[] = {
    WHITENING_FIELDS{ "steps", SIZE, false, AT(whitening.steps), 1, 100, NULL },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
/* What CVY_ACTIVATIONS calls the settings of a kind. */
static const struct model_field none_fields[] = { { NULL, SIZE, false, 0, 0, 0, NULL } };
static const struct model_field at_zero_fields[] = { { "grad_at_zero", REAL, false,
                                                       AT(act.relu_grad_at_zero), 0, 1, NULL },
                                                     { NULL, SIZE, false, 0, 0, 0, NULL } };
static const struct model_field alpha_fields[] = { { "alpha", REAL_OVER, false, AT(act.alpha), 0,
                                                     1e30, NULL },
                                                   { NULL, SIZE, false, 0, 0, 0, NULL } };
static const struct model_field prelu_fields[] = { { "init", REAL_OVER, false, AT(prelu.init), 0,
                                                     1e30, NULL },
                                                   { NULL, SIZE, false, 0, 0, 0, NULL } };
static const struct model_field pool2d_fields[] = {
    { "kind", CHOICE, true, AT(pool2d.kind), 0, 0, model_pool_names },
    { "kernel", SIZE2, true, AT(pool2d.kernel), 1, MODEL_SIZE_LIMIT, NULL },
    { "stride", SIZE2, false, AT(pool2d.stride), 1, MODEL_SIZE_LIMIT, NULL },
    { "pad", PAD, false, AT(pool2d.pad), 0, MODEL_SIZE_LIMIT, NULL },
    { "ceil_mode", BOOL, false, AT(pool2d.ceil_mode), 0, 0, NULL },
    { "exclude_pad", BOOL, false, AT(pool2d.exclude_pad), 0, 0, NULL },
    { "tie", CHOICE, false, AT(pool2d.tie), 0, 0, tie_names },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct model_field maxout_fields[] = {
    { "size", SIZE, true, AT(maxout.size), 1, MODEL_SIZE_LIMIT, NULL },
    { "kind", CHOICE, false, AT(maxout.kind), 0, 0, maxout_names },
    { "tie", CHOICE, false, AT(maxout.tie), 0, 0, tie_names },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct model_field upsample_fields[] = {
    { "kind", CHOICE, true, AT(upsample.kind), 0, 0, upsample_names },
    { "scale", SIZE2, false, AT(upsample.scale), 1, MODEL_SIZE_LIMIT, NULL },
    { "size", SIZE2, false, AT(upsample.size), 1, MODEL_SIZE_LIMIT, NULL },
    { "align_corners", BOOL, false, AT(upsample.align_corners), 0, 0, NULL },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct model_field mean_fields[] = {
    { "over", CHOICE, true, AT(mean.over), 0, 0, mean_names }, { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct model_field dropout_fields[] = {
    { "p", REAL, true, AT(dropout.p), 0, 1, NULL },
    { "unscaled", BOOL, false, AT(dropout.unscaled), 0, 0, NULL },
    { "when", CHOICE, false, AT(dropout.when), 0, 0, when_names },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct model_field pad_channels_fields[] = {
    { "before", SIZE, true, AT(pad_channels.before), 0, MODEL_SIZE_LIMIT, NULL },
    { "after", SIZE, true, AT(pad_channels.after), 0, MODEL_SIZE_LIMIT, NULL },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};

#define BUILD(type)                                                                               \
    static cvy_tensor build_##type(cvy_net *net, const cvy_tensor *x, size_t n, const char *name, \
                                   const union desc *desc)
BUILD(conv2d)
{
    (void)n;
    return cvy_conv2d(net, x[0], name, &desc->conv2d);
}
BUILD(conv_transpose2d)
{
    (void)n;
    return cvy_conv_transpose2d(net, x[0], name, &desc->deconv);
}
BUILD(bias)
{
    (void)n;
    (void)desc;
    return cvy_bias(net, x[0], name);
}
BUILD(linear)
{
    (void)n;
    return cvy_linear(net, x[0], name, &desc->linear);
}
BUILD(batch_norm)
{
    (void)n;
    return cvy_batch_norm(net, x[0], name, &desc->batch_norm);
}
/* The probability integral transform of what is standardised, by the normal distribution function
 * or by ranks. Phi^-1 behind Phi would be the identity, so there both are left out. */
BUILD(pit)
{
    (void)n;
    cvy_batch_norm_desc d = desc->pit.norm;
    d.no_affine = true;
    cvy_tensor standard = cvy_batch_norm(net, x[0], name, &d);
    if (desc->pit.form == 0 && desc->pit.rank.normal) return standard;
    if (desc->pit.form == 0)
        return cvy_activation(net, standard, NULL, &(cvy_act_desc){ .kind = CVY_NORMAL_CDF });
    cvy_rank_desc rank = desc->pit.rank;
    rank.momentum = d.momentum;
    rank.frozen = d.frozen;
    char ranks[MODEL_NAME_LIMIT + 8];
    snprintf(ranks, sizeof ranks, "%s.rank", name);
    return cvy_rank(net, standard, ranks, &rank);
}
BUILD(group_norm)
{
    (void)n;
    return cvy_group_norm(net, x[0], name, &desc->norm.desc);
}
BUILD(layer_norm)
{
    (void)n;
    cvy_group_norm_desc d = desc->norm.desc;
    d.groups = 1;
    d.elementwise = true;
    return cvy_group_norm(net, x[0], name, &d);
}
BUILD(instance_norm)
{
    (void)n;
    cvy_group_norm_desc d = desc->norm.desc;
    d.groups = cvy_tensor_shape(net, x[0]).c;
    d.no_affine = !desc->norm.affine;
    return cvy_group_norm(net, x[0], name, &d);
}
BUILD(dbn)
{
    (void)n;
    return cvy_whitening(net, x[0], name, &desc->whitening);
}
BUILD(iter_norm)
{
    (void)n;
    cvy_whitening_desc d = desc->whitening;
    d.kind = CVY_WHITENING_NEWTON;
    return cvy_whitening(net, x[0], name, &d);
}
BUILD(act)
{
    (void)n;
    return cvy_activation(net, x[0], name, &desc->act);
}
BUILD(prelu)
{
    (void)n;
    return cvy_prelu(net, x[0], name, &desc->prelu);
}
BUILD(pool2d)
{
    (void)n;
    return cvy_pool2d(net, x[0], name, &desc->pool2d);
}
BUILD(maxout)
{
    (void)n;
    return cvy_maxout(net, x[0], name, &desc->maxout);
}
BUILD(global_avg_pool)
{
    (void)n;
    (void)desc;
    return cvy_global_avg_pool(net, x[0], name);
}
BUILD(upsample)
{
    (void)n;
    return cvy_upsample(net, x[0], name, &desc->upsample);
}
BUILD(mean_subtract)
{
    (void)n;
    return cvy_mean_subtract(net, x[0], name, &desc->mean);
}
BUILD(dropout)
{
    (void)n;
    return cvy_dropout(net, x[0], name, &desc->dropout);
}
BUILD(flatten)
{
    (void)n;
    (void)desc;
    (void)name;
    return cvy_flatten(net, x[0]);
}
BUILD(add)
{
    (void)n;
    (void)desc;
    return cvy_add(net, x[0], x[1], name);
}
BUILD(multiply)
{
    (void)n;
    (void)desc;
    return cvy_multiply(net, x[0], x[1], name);
}
BUILD(concat)
{
    (void)desc;
    return cvy_concat(net, x, n, name);
}
BUILD(pad_channels)
{
    (void)n;
    return cvy_pad_channels(net, x[0], desc->pad_channels.before, desc->pad_channels.after, name);
}

static const struct layer_type layer_types[] = {
    { "conv2d", conv2d_fields, -1, 1, 1, true, build_conv2d },
    { "conv_transpose2d", conv_transpose2d_fields, -1, 1, 1, true, build_conv_transpose2d },
    { "bias", NULL, -1, 1, 1, true, build_bias },
    { "linear", linear_fields, -1, 1, 1, true, build_linear },
    { "batch_norm", batch_norm_fields, -1, 1, 1, true, build_batch_norm },
    { "group_norm", group_norm_fields, -1, 1, 1, true, build_group_norm },
    { "layer_norm", layer_norm_fields, -1, 1, 1, true, build_layer_norm },
    { "instance_norm", instance_norm_fields, -1, 1, 1, false, build_instance_norm },
    { "dbn", dbn_fields, -1, 1, 1, true, build_dbn },
    { "iter_norm", iter_norm_fields, -1, 1, 1, true, build_iter_norm },
    { "pit", pit_fields, -1, 1, 1, true, build_pit },
#define ACTIVATION(NAME, name, settings, ...) \
    { #name, settings##_fields, CVY_##NAME, 1, 1, false, build_act },
    CVY_ACTIVATIONS(ACTIVATION){ "prelu", prelu_fields, -1, 1, 1, true, build_prelu },
    { "pool2d", pool2d_fields, -1, 1, 1, false, build_pool2d },
    { "maxout", maxout_fields, -1, 1, 1, false, build_maxout },
    { "global_avg_pool", NULL, -1, 1, 1, false, build_global_avg_pool },
    { "upsample", upsample_fields, -1, 1, 1, false, build_upsample },
    { "mean_subtract", mean_fields, -1, 1, 1, false, build_mean_subtract },
    { "dropout", dropout_fields, -1, 1, 1, false, build_dropout },
    { "flatten", NULL, -1, 1, 1, false, build_flatten },
    { "add", NULL, -1, 2, 2, false, build_add },
    { "multiply", NULL, -1, 2, 2, false, build_multiply },
    { "concat", NULL, -1, 2, MODEL_CONCAT_LIMIT, false, build_concat },
    { "pad_channels", pad_channels_fields, -1, 1, 1, false, build_pad_channels }
};
#define N_TYPES (sizeof layer_types / sizeof *layer_types)

/* -------------------------------------------------------------------------------------- reading */

/* A layer that an "input" names: its number, -1 for the image, -2 if there is none before `end`. */
static int find_layer(const json_t *numbers, const char *name)
{
    if (!strcmp(name, "input")) return -1;
    const json_t *number = json_object_get(numbers, name);
    return number ? (int)json_integer_value(number) : -2;
}

static enum model_status read_inputs(const struct model_reader *r, const json_t *json,
                                     const json_t *numbers, size_t index, struct model_layer *layer)
{
    const struct layer_type *type = layer->type;
    const char *key = type->max_inputs > 1 ? "inputs" : "input";
    const json_t *value = json_object_get(json, key);
    size_t n = type->max_inputs > 1 ? json_array_size(value) : 1;
    if (type->max_inputs > 1 && (n < type->min_inputs || n > type->max_inputs)) {
        char expected[96];
        snprintf(expected, sizeof expected, "an array of %zu to %zu names of earlier layers",
                 type->min_inputs, type->max_inputs);
        return model_wrong(r, key, expected, value);
    }
    layer->inputs = calloc(n, sizeof *layer->inputs);
    if (!layer->inputs) return model_fail(r, MODEL_NOMEM, "out of memory");
    layer->n_inputs = n;
    layer->inputs[0] = (int)index - 1;
    for (size_t i = 0; value && i < n; i++) {
        const json_t *name = type->max_inputs > 1 ? json_array_get(value, i) : value;
        if (!model_is(name, JSON_STRING))
            return model_wrong(r, key, "the name of an earlier layer, or \"input\"", name);
        layer->inputs[i] = find_layer(numbers, json_string_value(name));
        if (layer->inputs[i] == -2)
            return model_fail(r, MODEL_BAD, "\"%s\": no earlier layer is named \"%.60s\"", key,
                              json_string_value(name));
    }
    return MODEL_OK;
}

static enum model_status read_layer(struct model_reader *r, const json_t *json, json_t *numbers,
                                    size_t index, struct model_layer *layer)
{
    snprintf(r->place, sizeof r->place, "layer %zu", index);
    if (!model_is(json, JSON_OBJECT))
        return model_fail(r, MODEL_BAD, "expected an object {\"type\": ...}");
    const json_t *type = json_object_get(json, "type"), *name = json_object_get(json, "name");
    if (name) {
        if (!model_name_good(name, sizeof layer->name))
            return model_wrong(r, "name", "1 to 127 letters, digits, '.', '_' or '-'", name);
        strcpy(layer->name, json_string_value(name));
        snprintf(r->place, sizeof r->place, "layer %zu ('%s')", index, layer->name);
        if (find_layer(numbers, layer->name) != -2)
            return model_fail(r, MODEL_BAD, "the name is taken already");
    }
    for (size_t i = 0; i < N_TYPES; i++)
        if (model_is(type, JSON_STRING) && !strcmp(json_string_value(type), layer_types[i].name))
            layer->type = &layer_types[i];
    if (!layer->type) {
        char known[600];
        size_t used = 0;
        for (size_t i = 0; i < N_TYPES; i++)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s",
                                     i ? ", " : "one of ", layer_types[i].name);
        return model_wrong(r, "type", known, type);
    }
    if (layer->type->named && !name)
        return model_fail(r, MODEL_BAD, "a %s has parameters and needs a \"name\"",
                          layer->type->name);
    enum model_status status = read_inputs(r, json, numbers, index, layer);
    if (status) return status;
    if (layer->type->act >= 0) layer->desc.act.kind = (enum cvy_act_kind)layer->type->act;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)json, key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        const struct model_field *f = model_field_find(layer->type->fields, key);
        if (f && (status = model_field_read(r, f, value, &layer->desc))) return status;
        if (!f && strcmp(key, "type") && strcmp(key, "name") &&
            strcmp(key, layer->type->max_inputs > 1 ? "inputs" : "input"))
            return model_unknown_key(r, key);
    }
    for (const struct model_field *f = layer->type->fields; f && f->key; f++)
        if (f->required && !json_object_get(json, f->key))
            return model_fail(r, MODEL_BAD, "a %s needs \"%s\"", layer->type->name, f->key);
    /* Only now, so that a layer cannot read itself. */
    if (name && json_object_set_new(numbers, layer->name, json_integer((json_int_t)index)))
        return model_fail(r, MODEL_NOMEM, "out of memory");
    return MODEL_OK;
}

enum model_status model_layers_read(struct model_reader *r, const json_t *json, struct model *model)
{
    size_t n = json_array_size(json);
    if (n < 1 || n > MODEL_LAYER_LIMIT) {
        char expected[64];
        snprintf(expected, sizeof expected, "an array of 1 to %d layers", MODEL_LAYER_LIMIT);
        return model_wrong(r, "layers", expected, json);
    }
    json_t *numbers = json_object();
    model->layers = calloc(n, sizeof *model->layers);
    model->n_layers = model->layers ? n : 0;
    enum model_status status =
        numbers && model->layers ? MODEL_OK : model_fail(r, MODEL_NOMEM, "out of memory");
    for (size_t i = 0; i < n && !status; i++)
        status = read_layer(r, json_array_get(json, i), numbers, i, &model->layers[i]);
    json_decref(numbers);
    *r->place = 0;
    return status;
}

void model_layers_free(struct model *model)
{
    for (size_t i = 0; i < model->n_layers; i++) free(model->layers[i].inputs);
    free(model->layers);
}

/* ------------------------------------------------------------------------------------ building */

void model_layers_build(const struct model *model, struct model_reader *r, cvy_net *net,
                        cvy_tensor *out)
{
    for (size_t i = 0; i < model->n_layers && !cvy_net_status(net); i++) {
        const struct model_layer *layer = &model->layers[i];
        cvy_tensor x[MODEL_CONCAT_LIMIT];
        for (size_t k = 0; k < layer->n_inputs; k++) x[k] = out[layer->inputs[k] + 1];
        snprintf(r->place, sizeof r->place, "layer %zu (%s%s%s)", i, layer->type->name,
                 *layer->name ? " " : "", layer->name);
        out[i + 1] = layer->type->build(net, x, layer->n_inputs, *layer->name ? layer->name : NULL,
                                        &layer->desc);
    }
}
