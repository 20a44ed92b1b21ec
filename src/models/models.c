/* The reader of model files: JSON text -> checked layers -> a net through the public API.
 * Every layer type is one row of a table that lists its keys; the checks and their messages are
 * written once. */
#include "models/models.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "models/builtin.h"

#define FILE_LIMIT ((off_t)16 << 20)
#define LAYER_LIMIT 100000
#define NAME_LIMIT 128
#define CONCAT_LIMIT 64
#define SIZE_LIMIT 16777216 /* of one number in a layer; products are checked by the library */

union desc {
    cvy_conv2d_desc conv2d;
    cvy_linear_desc linear;
    cvy_batch_norm_desc batch_norm;
    cvy_act_desc act;
    cvy_prelu_desc prelu;
    cvy_pool2d_desc pool2d;
    cvy_dropout_desc dropout;
    struct {
        size_t before, after;
    } pad_channels;
};

struct model_layer {
    const struct layer_type *type;
    char name[NAME_LIMIT]; /* "" if the file gives none */
    size_t n_inputs;
    int *inputs; /* layer numbers; -1 is the image */
    union desc desc;
};

/* ----------------------------------------------------------------------------------- the tables */

/* REAL_OVER: the lower end is excluded */
enum kind { SIZE, SIZE2, PAD, REAL, REAL_OVER, BOOL, NOT, CHOICE };

struct field {
    const char *key;
    enum kind kind;
    bool required;
    size_t offset;
    double lo, hi;
    const char *const *choices;
};

struct layer_type {
    const char *name;
    const struct field *fields; /* ended by a NULL key; NULL: none */
    int act;                    /* enum cvy_act_kind, or -1 */
    size_t min_inputs, max_inputs;
    bool named; /* has parameters and so needs a name */
    cvy_tensor (*build)(cvy_net *net, const cvy_tensor *x, size_t n, const char *name,
                        const union desc *desc);
};

static const char *const var_names[] = { "unbiased", "biased", NULL };
static const char *const pool_names[] = { "max", "avg", NULL };
static const char *const tie_names[] = { "first", "all", "split", NULL };

#define AT(member) offsetof(union desc, member)
static const struct field conv2d_fields[] = {
    { "out_channels", SIZE, true, AT(conv2d.out_channels), 1, SIZE_LIMIT, NULL },
    { "kernel", SIZE2, true, AT(conv2d.kernel), 1, SIZE_LIMIT, NULL },
    { "stride", SIZE2, false, AT(conv2d.stride), 1, SIZE_LIMIT, NULL },
    { "pad", PAD, false, AT(conv2d.pad), 0, SIZE_LIMIT, NULL },
    { "dilation", SIZE2, false, AT(conv2d.dilation), 1, SIZE_LIMIT, NULL },
    { "groups", SIZE, false, AT(conv2d.groups), 1, SIZE_LIMIT, NULL },
    { "bias", NOT, false, AT(conv2d.no_bias), 0, 0, NULL },
    { "flip", BOOL, false, AT(conv2d.flip), 0, 0, NULL },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct field linear_fields[] = {
    { "out_features", SIZE, true, AT(linear.out_features), 1, SIZE_LIMIT, NULL },
    { "bias", NOT, false, AT(linear.no_bias), 0, 0, NULL },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct field batch_norm_fields[] = {
    { "eps", REAL_OVER, false, AT(batch_norm.eps), 0, 1e30, NULL },
    { "momentum", REAL_OVER, false, AT(batch_norm.momentum), 0, 1, NULL },
    { "running_var", CHOICE, false, AT(batch_norm.running_var), 0, 0, var_names },
    { "affine", NOT, false, AT(batch_norm.no_affine), 0, 0, NULL },
    { "gamma", NOT, false, AT(batch_norm.no_gamma), 0, 0, NULL },
    { "beta", NOT, false, AT(batch_norm.no_beta), 0, 0, NULL },
    { "cumulative", BOOL, false, AT(batch_norm.cumulative), 0, 0, NULL },
    { "frozen", BOOL, false, AT(batch_norm.frozen), 0, 0, NULL },
    { "zero_init", BOOL, false, AT(batch_norm.zero_init), 0, 0, NULL },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
/* What CVY_ACTIVATIONS calls the settings of a kind. */
static const struct field none_fields[] = { { NULL, SIZE, false, 0, 0, 0, NULL } };
static const struct field at_zero_fields[] = { { "grad_at_zero", REAL, false,
                                                 AT(act.relu_grad_at_zero), 0, 1, NULL },
                                               { NULL, SIZE, false, 0, 0, 0, NULL } };
static const struct field alpha_fields[] = { { "alpha", REAL_OVER, false, AT(act.alpha), 0, 1e30,
                                               NULL },
                                             { NULL, SIZE, false, 0, 0, 0, NULL } };
static const struct field prelu_fields[] = { { "init", REAL_OVER, false, AT(prelu.init), 0, 1e30,
                                               NULL },
                                             { NULL, SIZE, false, 0, 0, 0, NULL } };
static const struct field pool2d_fields[] = {
    { "kind", CHOICE, true, AT(pool2d.kind), 0, 0, pool_names },
    { "kernel", SIZE2, true, AT(pool2d.kernel), 1, SIZE_LIMIT, NULL },
    { "stride", SIZE2, false, AT(pool2d.stride), 1, SIZE_LIMIT, NULL },
    { "pad", PAD, false, AT(pool2d.pad), 0, SIZE_LIMIT, NULL },
    { "ceil_mode", BOOL, false, AT(pool2d.ceil_mode), 0, 0, NULL },
    { "exclude_pad", BOOL, false, AT(pool2d.exclude_pad), 0, 0, NULL },
    { "tie", CHOICE, false, AT(pool2d.tie), 0, 0, tie_names },
    { NULL, SIZE, false, 0, 0, 0, NULL }
};
static const struct field dropout_fields[] = { { "p", REAL, true, AT(dropout.p), 0, 1, NULL },
                                               { "unscaled", BOOL, false, AT(dropout.unscaled), 0,
                                                 0, NULL },
                                               { NULL, SIZE, false, 0, 0, 0, NULL } };
static const struct field pad_channels_fields[] = {
    { "before", SIZE, true, AT(pad_channels.before), 0, SIZE_LIMIT, NULL },
    { "after", SIZE, true, AT(pad_channels.after), 0, SIZE_LIMIT, NULL },
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
BUILD(global_avg_pool)
{
    (void)n;
    (void)desc;
    return cvy_global_avg_pool(net, x[0], name);
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
    { "linear", linear_fields, -1, 1, 1, true, build_linear },
    { "batch_norm", batch_norm_fields, -1, 1, 1, true, build_batch_norm },
#define ACTIVATION(NAME, name, settings, ...) \
    { #name, settings##_fields, CVY_##NAME, 1, 1, false, build_act },
    CVY_ACTIVATIONS(ACTIVATION){ "prelu", prelu_fields, -1, 1, 1, true, build_prelu },
    { "pool2d", pool2d_fields, -1, 1, 1, false, build_pool2d },
    { "global_avg_pool", NULL, -1, 1, 1, false, build_global_avg_pool },
    { "dropout", dropout_fields, -1, 1, 1, false, build_dropout },
    { "flatten", NULL, -1, 1, 1, false, build_flatten },
    { "add", NULL, -1, 2, 2, false, build_add },
    { "concat", NULL, -1, 2, CONCAT_LIMIT, false, build_concat },
    { "pad_channels", pad_channels_fields, -1, 1, 1, false, build_pad_channels }
};
#define N_TYPES (sizeof layer_types / sizeof *layer_types)

#define DAT(member) offsetof(struct model_defaults, member)
#define NUMBER_FIELD(member, kind, key, least, most, ...) \
    { key, kind, false, DAT(member), least, most, NULL },
static const struct field default_fields[] = { MODEL_NUMBERS(NUMBER_FIELD, NUMBER_FIELD){
    NULL, SIZE, false, 0, 0, 0, NULL } };

/* ------------------------------------------------------------------------------------- messages */

struct reader {
    const char *where;
    char place[NAME_LIMIT + 64]; /* "layer 3 ('conv1')", "defaults" */
    char *error;
    size_t error_size;
};

static enum model_status fail(const struct reader *r, enum model_status status, const char *format,
                              ...) __attribute__((format(printf, 3, 4)));
static enum model_status fail(const struct reader *r, enum model_status status, const char *format,
                              ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(r->error, r->error_size, "%s: %s%s%s", r->where, r->place, *r->place ? ": " : "",
             text);
    return status;
}

/* Whether the value is there and of the type. jansson's own tests are macros that read their
 * argument twice. */
static bool is(const json_t *value, json_type type) { return value && json_typeof(value) == type; }
static bool is_number(const json_t *value)
{
    return is(value, JSON_INTEGER) || is(value, JSON_REAL);
}

/* A value as a reader of the message would call it, cut short. */
static const char *show(const json_t *value, char *out, size_t size)
{
    if (is(value, JSON_OBJECT)) snprintf(out, size, "an object of %zu", json_object_size(value));
    else if (is(value, JSON_ARRAY)) snprintf(out, size, "an array of %zu", json_array_size(value));
    else if (is(value, JSON_STRING)) snprintf(out, size, "\"%.40s\"", json_string_value(value));
    else if (is(value, JSON_INTEGER))
        snprintf(out, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (is(value, JSON_REAL)) snprintf(out, size, "%g", json_real_value(value));
    else if (is(value, JSON_TRUE)) snprintf(out, size, "true");
    else if (is(value, JSON_FALSE)) snprintf(out, size, "false");
    else snprintf(out, size, "null");
    return out;
}

static enum model_status wrong(const struct reader *r, const char *key, const char *expected,
                               const json_t *found)
{
    char text[64];
    if (!found) return fail(r, MODEL_BAD, "\"%s\" is missing: expected %s", key, expected);
    return fail(r, MODEL_BAD, "\"%s\": expected %s, found %s", key, expected,
                show(found, text, sizeof text));
}

static enum model_status unknown_key(const struct reader *r, const char *key)
{
    return fail(r, MODEL_BAD, "unknown key \"%.60s\"", key);
}

/* -------------------------------------------------------------------------------------- reading */

static bool get_size(const json_t *value, const struct field *f, size_t *out)
{
    if (!is(value, JSON_INTEGER) || (double)json_integer_value(value) < f->lo ||
        (double)json_integer_value(value) > f->hi)
        return false;
    *out = (size_t)json_integer_value(value);
    return true;
}

/* Accepts one number for all, or an array with one of the allowed lengths. */
static bool get_sizes(const json_t *value, const struct field *f, size_t *out, size_t count)
{
    if (is(value, JSON_INTEGER)) {
        if (!get_size(value, f, out)) return false;
        for (size_t i = 1; i < count; i++) out[i] = out[0];
        return true;
    }
    size_t n = json_array_size(value);
    if (n != count && !(count == 4 && n == 2)) return false;
    for (size_t i = 0; i < n; i++)
        if (!get_size(json_array_get(value, i), f, out + i)) return false;
    /* {rows, columns}, the same on both sides */
    if (n < count) {
        out[2] = out[0];
        out[3] = out[1];
    }
    return true;
}

static enum model_status read_field(const struct reader *r, const struct field *f,
                                    const json_t *value, void *base)
{
    char *at = (char *)base + f->offset;
    char expected[160];
    switch (f->kind) { /* GCOVR_EXCL_BR_LINE: there is no other kind */
    case SIZE:
        if (get_size(value, f, (size_t *)(void *)at)) return MODEL_OK;
        snprintf(expected, sizeof expected, "an integer from %.0f to %.0f", f->lo, f->hi);
        break;
    case SIZE2:
        if (get_sizes(value, f, (size_t *)(void *)at, 2)) return MODEL_OK;
        snprintf(expected, sizeof expected, "an integer or [rows, columns], each from %.0f to %.0f",
                 f->lo, f->hi);
        break;
    case PAD:
        if (get_sizes(value, f, (size_t *)(void *)at, 4)) return MODEL_OK;
        snprintf(expected, sizeof expected,
                 "an integer, [rows, columns] or [top, left, bottom, right], each from 0 to %.0f",
                 f->hi);
        break;
    case REAL:
    case REAL_OVER: {
        double number = json_number_value(value);
        if (is_number(value) && number <= f->hi &&
            (f->kind == REAL ? number >= f->lo : number > f->lo)) {
            *(double *)(void *)at = number;
            return MODEL_OK;
        }
        snprintf(expected, sizeof expected, "a number %s %g and at most %g",
                 f->kind == REAL ? "of at least" : "above", f->lo, f->hi);
        break;
    }
    case BOOL:
    case NOT:
        if (is(value, JSON_TRUE) || is(value, JSON_FALSE)) {
            *(bool *)at = is(value, JSON_TRUE) == (f->kind == BOOL);
            return MODEL_OK;
        }
        snprintf(expected, sizeof expected, "true or false");
        break;
    case CHOICE: {
        size_t used = (size_t)snprintf(expected, sizeof expected, "one of");
        for (int i = 0; f->choices[i]; i++) {
            if (is(value, JSON_STRING) && !strcmp(json_string_value(value), f->choices[i])) {
                memcpy(at, &i, sizeof i); /* every enum of the public API is an int */
                return MODEL_OK;
            }
            used +=
                (size_t)snprintf(expected + used, sizeof expected - used, " \"%s\"", f->choices[i]);
        }
        break;
    }
    }
    return wrong(r, f->key, expected, value);
}

static const struct field *find_field(const struct field *fields, const char *key)
{
    for (; fields && fields->key; fields++)
        if (!strcmp(fields->key, key)) return fields;
    return NULL;
}

static bool good_name(const json_t *name, size_t limit)
{
    size_t n = json_string_length(name); /* 0 for what is no string */
    return n > 0 && n < limit &&
           n == strspn(json_string_value(name),
                       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
}

static enum model_status read_text(const struct reader *r, const json_t *value, const char *key,
                                   char *out, size_t size)
{
    if (!value) return MODEL_OK;
    if (!is(value, JSON_STRING) || json_string_length(value) >= size) {
        char expected[64];
        snprintf(expected, sizeof expected, "a string of at most %zu bytes", size - 1);
        return wrong(r, key, expected, value);
    }
    strcpy(out, json_string_value(value));
    return MODEL_OK;
}

/* A layer that an "input" names: its number, -1 for the image, -2 if there is none before `end`. */
static int find_layer(const json_t *numbers, const char *name)
{
    if (!strcmp(name, "input")) return -1;
    const json_t *number = json_object_get(numbers, name);
    return number ? (int)json_integer_value(number) : -2;
}

static enum model_status read_inputs(const struct reader *r, const json_t *json,
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
        return wrong(r, key, expected, value);
    }
    layer->inputs = calloc(n, sizeof *layer->inputs);
    if (!layer->inputs) return fail(r, MODEL_NOMEM, "out of memory");
    layer->n_inputs = n;
    layer->inputs[0] = (int)index - 1;
    for (size_t i = 0; value && i < n; i++) {
        const json_t *name = type->max_inputs > 1 ? json_array_get(value, i) : value;
        if (!is(name, JSON_STRING))
            return wrong(r, key, "the name of an earlier layer, or \"input\"", name);
        layer->inputs[i] = find_layer(numbers, json_string_value(name));
        if (layer->inputs[i] == -2)
            return fail(r, MODEL_BAD, "\"%s\": no earlier layer is named \"%.60s\"", key,
                        json_string_value(name));
    }
    return MODEL_OK;
}

static enum model_status read_layer(struct reader *r, const json_t *json, json_t *numbers,
                                    size_t index, struct model_layer *layer)
{
    snprintf(r->place, sizeof r->place, "layer %zu", index);
    if (!is(json, JSON_OBJECT)) return fail(r, MODEL_BAD, "expected an object {\"type\": ...}");
    const json_t *type = json_object_get(json, "type"), *name = json_object_get(json, "name");
    if (name) {
        if (!good_name(name, sizeof layer->name))
            return wrong(r, "name", "1 to 127 letters, digits, '.', '_' or '-'", name);
        strcpy(layer->name, json_string_value(name));
        snprintf(r->place, sizeof r->place, "layer %zu ('%s')", index, layer->name);
        if (find_layer(numbers, layer->name) != -2)
            return fail(r, MODEL_BAD, "the name is taken already");
    }
    for (size_t i = 0; i < N_TYPES; i++)
        if (is(type, JSON_STRING) && !strcmp(json_string_value(type), layer_types[i].name))
            layer->type = &layer_types[i];
    if (!layer->type) {
        char known[300];
        size_t used = 0;
        for (size_t i = 0; i < N_TYPES; i++)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s",
                                     i ? ", " : "one of ", layer_types[i].name);
        return wrong(r, "type", known, type);
    }
    if (layer->type->named && !name)
        return fail(r, MODEL_BAD, "a %s has parameters and needs a \"name\"", layer->type->name);
    enum model_status status = read_inputs(r, json, numbers, index, layer);
    if (status) return status;
    if (layer->type->act >= 0) layer->desc.act.kind = (enum cvy_act_kind)layer->type->act;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)json, key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        const struct field *f = find_field(layer->type->fields, key);
        if (f && (status = read_field(r, f, value, &layer->desc))) return status;
        if (!f && strcmp(key, "type") && strcmp(key, "name") &&
            strcmp(key, layer->type->max_inputs > 1 ? "inputs" : "input"))
            return unknown_key(r, key);
    }
    for (const struct field *f = layer->type->fields; f && f->key; f++)
        if (f->required && !json_object_get(json, f->key))
            return fail(r, MODEL_BAD, "a %s needs \"%s\"", layer->type->name, f->key);
    /* Only now, so that a layer cannot read itself. */
    if (name && json_object_set_new(numbers, layer->name, json_integer((json_int_t)index)))
        return fail(r, MODEL_NOMEM, "out of memory");
    return MODEL_OK;
}

static enum model_status read_layers(struct reader *r, const json_t *json, struct model *model)
{
    size_t n = json_array_size(json);
    if (n < 1 || n > LAYER_LIMIT) {
        char expected[64];
        snprintf(expected, sizeof expected, "an array of 1 to %d layers", LAYER_LIMIT);
        return wrong(r, "layers", expected, json);
    }
    json_t *numbers = json_object();
    model->layers = calloc(n, sizeof *model->layers);
    model->n_layers = model->layers ? n : 0;
    enum model_status status =
        numbers && model->layers ? MODEL_OK : fail(r, MODEL_NOMEM, "out of memory");
    for (size_t i = 0; i < n && !status; i++)
        status = read_layer(r, json_array_get(json, i), numbers, i, &model->layers[i]);
    json_decref(numbers);
    *r->place = 0;
    return status;
}

const char *model_number_key(size_t at) { return default_fields[at].key; }

void model_number_set(struct model_defaults *d, size_t at, double number)
{
    void *to = (char *)d + default_fields[at].offset;
    if (default_fields[at].kind == SIZE) *(size_t *)to = (size_t)number;
    else *(double *)to = number;
}

bool model_number_read(struct model_defaults *d, size_t at, const json_t *value)
{
    char error[256], place[] = "";
    const struct reader r = { .where = place, .error = error, .error_size = sizeof error };
    return read_field(&r, &default_fields[at], value, d) == MODEL_OK;
}

void model_numbers_write(const struct model_defaults *d, json_t *json)
{
    for (size_t i = 0; i < MODEL_N_NUMBERS; i++) {
        const void *from = (const char *)d + default_fields[i].offset;
        json_object_set_new(json, model_number_key(i),
                            default_fields[i].kind == SIZE
                                ? json_integer((json_int_t) * (const size_t *)from)
                                : json_real(*(const double *)from));
    }
}

bool model_drops(const json_t *value, struct model_defaults *d)
{
    d->drops = json_array_size(value);
    bool good = is(value, JSON_ARRAY) && d->drops <= MODEL_DROPS;
    json_int_t last = 0;
    for (size_t i = 0; good && i < d->drops; i++) {
        /* 0 for what is no integer */
        const json_int_t epoch = json_integer_value(json_array_get(value, i));
        good = epoch > last && epoch <= 1 << 20;
        d->drop_epochs[i] = (size_t)(last = epoch);
    }
    return good;
}

cvy_loss_desc model_loss(const struct model_defaults *d)
{
    cvy_loss_desc loss = d->loss;
    loss.class_weights = d->n_class_weights ? d->class_weights : NULL;
    return loss;
}

/* one of "a" "b" …, of a list that ends with NULL. */
static const char *one_of(const char *(*name)(int k))
{
    static char text[256];
    strcpy(text, "one of");
    for (int k = 0; name(k); k++)
        snprintf(text + strlen(text), sizeof text - strlen(text), " \"%s\"", name(k));
    return text;
}
static const char *optimizer_name(int k)
{
    const cvy_optimizer_info *info = cvy_optimizer_describe((enum cvy_optimizer_kind)k);
    return info ? info->name : NULL;
}
static const char *loss_name(int k) { return cvy_loss_name((enum cvy_loss_kind)k); }
static const char *init_name(int k) { return cvy_init_name((enum cvy_init)k); }

cvy_loss_desc model_eval_loss(const struct model_defaults *d)
{
    cvy_loss_desc loss = model_loss(d);
    loss.label_smoothing = 0;
    return loss;
}

static bool read_class_weights(struct model_defaults *d, const json_t *value)
{
    size_t n = json_array_size(value);
    bool good = is(value, JSON_ARRAY) && n >= 1 && n <= MODEL_CLASSES;
    for (size_t i = 0; good && i < n; i++) {
        const json_t *weight = json_array_get(value, i);
        d->class_weights[i] = json_number_value(weight);
        good = is_number(weight) && d->class_weights[i] >= 0 && d->class_weights[i] <= 1e30;
    }
    if (good) d->n_class_weights = n;
    return good;
}

const char *model_loss_read(struct model_defaults *d, const char *key, const json_t *value)
{
    double number = json_number_value(value);
    if (!strcmp(key, "loss")) {
        if (cvy_loss_from_name(json_string_value(value), &d->loss.kind)) return NULL;
        return one_of(loss_name);
    }
    if (!strcmp(key, "label_smoothing")) {
        d->loss.label_smoothing = number;
        return is_number(value) && number >= 0 && number < 1 ? NULL : "a number from 0 to below 1";
    }
    if (!strcmp(key, "margin")) {
        d->loss.margin = number;
        return is_number(value) && number > 0 && number <= 1e30 ? NULL : "a number above 0";
    }
    if (!strcmp(key, "class_weights"))
        return read_class_weights(d, value) ? NULL : "an array of numbers, 0 or more, one a class";
    if (!strcmp(key, "ignore_index")) {
        json_int_t index = json_integer_value(value);
        d->loss.ignore = true;
        d->loss.ignore_index = (int32_t)index;
        return is(value, JSON_INTEGER) && index == (int32_t)index ? NULL : "a class's number";
    }
    return "";
}

void model_loss_write(const struct model_defaults *d, json_t *json)
{
    json_object_set_new(json, "loss", json_string(cvy_loss_name(d->loss.kind)));
    json_object_set_new(json, "label_smoothing", json_real(d->loss.label_smoothing));
    if (d->loss.margin != 0) json_object_set_new(json, "margin", json_real(d->loss.margin));
    if (d->loss.ignore)
        json_object_set_new(json, "ignore_index", json_integer(d->loss.ignore_index));
    if (!d->n_class_weights) return;
    json_t *weights = json_array();
    for (size_t i = 0; i < d->n_class_weights; i++)
        json_array_append_new(weights, json_real(d->class_weights[i]));
    json_object_set_new(json, "class_weights", weights);
}

/* Which optimiser; its hyper-parameters at what is usual. */
static enum model_status read_optimizer(const struct reader *r, const json_t *name,
                                        cvy_optimizer_desc *desc)
{
    enum cvy_optimizer_kind kind = CVY_SGD;
    if (name && !cvy_optimizer_from_name(json_string_value(name), &kind))
        return wrong(r, "optimizer", one_of(optimizer_name), name);
    cvy_optimizer_usual(kind, desc);
    return MODEL_OK;
}

static enum model_status read_hyper(const struct reader *r, const cvy_hyper_info *h,
                                    const json_t *value, cvy_optimizer_desc *desc)
{
    double number = 0;
    bool flag = false;
    const struct field f = { h->name, h->flag ? BOOL : REAL, false, 0, h->least, h->most, NULL };
    enum model_status status = read_field(r, &f, value, h->flag ? (void *)&flag : &number);
    if (!status && h->below && number >= h->most)
        status = fail(r, MODEL_BAD, "\"%s\": expected less than %g", h->name, h->most);
    if (!status) cvy_hyper_set(h, desc, h->flag ? flag : number);
    return status;
}

/* Reads a key of "init". As model_loss_read. */
static const char *init_read(cvy_init_desc *init, const char *key, const json_t *value)
{
    const bool biases = !strncmp(key, "biases", 6);
    if (!strcmp(key, "weights") || !strcmp(key, "biases")) {
        if (cvy_init_from_name(json_string_value(value), biases ? &init->biases : &init->weights))
            return NULL;
        return one_of(init_name);
    }
    if (!strcmp(key, "weights_value") || !strcmp(key, "biases_value")) {
        *(biases ? &init->biases_value : &init->weights_value) = json_number_value(value);
        return is_number(value) ? NULL : "a number";
    }
    return "";
}

/* Reads all keys of "init"; what was expected of *key, or NULL. */
static const char *init_read_all(cvy_init_desc *init, const json_t *json, const char **key)
{
    json_t *value;
    json_object_foreach ((json_t *)json, *key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        const char *expected = init_read(init, *key, value);
        if (expected) return expected;
    }
    return NULL;
}

bool model_init_read(cvy_init_desc *init, const json_t *json)
{
    const char *key;
    return is(json, JSON_OBJECT) && !init_read_all(init, json, &key);
}

void model_init_write(const cvy_init_desc *init, json_t *json)
{
    json_object_set_new(json, "init",
                        json_pack("{s:s, s:f, s:s, s:f}", "weights", cvy_init_name(init->weights),
                                  "weights_value", init->weights_value, "biases",
                                  cvy_init_name(init->biases), "biases_value", init->biases_value));
}

static enum model_status read_init(const struct reader *r, const json_t *json, cvy_init_desc *init)
{
    const char *key;
    if (!is(json, JSON_OBJECT)) return wrong(r, "init", "an object", json);
    const char *expected = init_read_all(init, json, &key);
    if (!expected) return MODEL_OK;
    return *expected ? wrong(r, key, expected, json_object_get(json, key)) : unknown_key(r, key);
}

static enum model_status read_defaults(struct reader *r, const json_t *json,
                                       struct model_defaults *d)
{
#define USUAL(member, kind, key, least, most, usual, ...) .member = (usual),
    *d = (struct model_defaults){ MODEL_NUMBERS(USUAL, USUAL) };
    if (json && !is(json, JSON_OBJECT)) return wrong(r, "defaults", "an object", json);
    strcpy(r->place, "defaults");
    enum model_status optimizer =
        read_optimizer(r, json_object_get(json, "optimizer"), &d->optimizer);
    if (optimizer) return optimizer;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)json, key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        const struct field *f = find_field(default_fields, key);
        const cvy_hyper_info *hyper =
            cvy_hyper_find(cvy_optimizer_describe(d->optimizer.kind), key);
        const char *expected = model_loss_read(d, key, value);
        enum model_status status = MODEL_OK;
        if (!expected || !strcmp(key, "optimizer")) { /* it is read, or was before the others */
        } else if (*expected) {
            status = wrong(r, key, expected, value);
        } else if (f) {
            status = read_field(r, f, value, d);
        } else if (hyper) {
            status = read_hyper(r, hyper, value, &d->optimizer);
        } else if (!strcmp(key, "lr_drop_epochs")) {
            if (!model_drops(value, d))
                return wrong(r, key, "at most 16 increasing epoch numbers from 1 to 1048576",
                             value);
        } else if (!strcmp(key, "init")) {
            status = read_init(r, value, &d->init);
        } else if (!strcmp(key, "params")) {
            expected = model_settings_read(&d->params, value);
            if (expected) return wrong(r, key, expected, value);
        } else {
            status = unknown_key(r, key);
        }
        if (status) return status;
    }
    *r->place = 0;
    return MODEL_OK;
}

static enum model_status read_normalize(struct reader *r, const json_t *json, struct model *model)
{
    if (!json) return MODEL_OK;
    if (!is(json, JSON_OBJECT))
        return wrong(r, "normalize", "an object {\"mean\": [...], \"std\": [...]}", json);
    strcpy(r->place, "normalize");
    static const char *const keys[2] = { "mean", "std" };
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)json, key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        if (strcmp(key, keys[0]) && strcmp(key, keys[1])) return unknown_key(r, key);
    }
    for (int k = 0; k < 2; k++) {
        const json_t *array = json_object_get(json, keys[k]), *found = array;
        size_t n = json_array_size(array);
        double *out = k ? model->std : model->mean;
        bool good = n == model->input[0] && n <= MODEL_CHANNELS;
        for (size_t i = 0; good && i < n; i++) {
            found = json_array_get(array, i);
            out[i] = json_number_value(found);
            good = is_number(found) && (k == 0 || out[i] > 0);
        }
        if (!good) {
            char expected[96];
            snprintf(expected, sizeof expected,
                     "%zu numbers%s, one for each input channel (at most %d)", model->input[0],
                     k ? " above 0" : "", MODEL_CHANNELS);
            return wrong(r, keys[k], expected, found);
        }
    }
    *r->place = 0;
    model->normalized = true;
    return MODEL_OK;
}

static enum model_status read_model(struct reader *r, const json_t *root, struct model *model)
{
    static const char *const keys[] = { "name",      "description", "input", "data",
                                        "normalize", "defaults",    "apis",  "layers" };
    const char *key;
    json_t *value;
    if (!is(root, JSON_OBJECT))
        return fail(r, MODEL_BAD, "expected a JSON object {\"name\": ..., \"layers\": [...]}");
    json_object_foreach ((json_t *)root, key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        size_t i = 0;
        while (i < sizeof keys / sizeof *keys && strcmp(key, keys[i])) i++;
        if (i == sizeof keys / sizeof *keys) return unknown_key(r, key);
    }
    const json_t *name = json_object_get(root, "name"), *input = json_object_get(root, "input");
    if (!good_name(name, sizeof model->name))
        return wrong(r, "name", "1 to 63 letters, digits, '.', '_' or '-'", name);
    strcpy(model->name, json_string_value(name));
    const struct field size = { "input", SIZE, true, 0, 1, SIZE_LIMIT, NULL };
    for (size_t i = 0; i < 3; i++)
        if (json_array_size(input) != 3 ||
            !get_size(json_array_get(input, i), &size, &model->input[i])) {
            char expected[80];
            snprintf(expected, sizeof expected, "[channels, rows, columns], each from 1 to %d",
                     SIZE_LIMIT);
            return wrong(r, "input", expected, input);
        }
    enum model_status status;
    if ((status = read_text(r, json_object_get(root, "description"), "description",
                            model->description, sizeof model->description)) ||
        (status = read_text(r, json_object_get(root, "data"), "data", model->data,
                            sizeof model->data)) ||
        (status = read_normalize(r, json_object_get(root, "normalize"), model)) ||
        (status = read_defaults(r, json_object_get(root, "defaults"), &model->defaults)) ||
        (status = read_layers(r, json_object_get(root, "layers"), model)))
        return status;
    return MODEL_OK;
}

/* ------------------------------------------------------------------------------------ overrides */

/* Sets key = text in every layer of a type; the number of layers changed, or -1 if memory was
 * short. */
static int override_layers(json_t *root, const char *type, const char *key, const char *text)
{
    int changed = 0;
    size_t i;
    json_t *layer;
    json_array_foreach (json_object_get(root, "layers"), i, layer) { /* GCOVR_EXCL_BR_LINE */
        const json_t *t = json_object_get(layer, "type"),
                     *kernel = json_object_get(layer, "kernel");
        if (!is(t, JSON_STRING) || strcmp(json_string_value(t), type)) continue;
        /* A pool of 1x1 only subsamples; both kinds do the same there. */
        const json_t *k0 = is(kernel, JSON_ARRAY) ? json_array_get(kernel, 0) : kernel;
        const json_t *k1 = is(kernel, JSON_ARRAY) ? json_array_get(kernel, 1) : kernel;
        if (!strcmp(key, "kind") && json_integer_value(k0) == 1 && json_integer_value(k1) == 1)
            continue;
        if (json_object_set_new(layer, key, json_string(text))) return -1;
        changed++;
    }
    return changed;
}

static enum model_status override_one(const struct reader *r, json_t *root, const char *option,
                                      const char *const *choices, const char *type, const char *key,
                                      const char *text)
{
    if (!text) return MODEL_OK;
    if (strcmp(text, choices[0]) && strcmp(text, choices[1]))
        return fail(r, MODEL_BAD, "%s: expected \"%s\" or \"%s\", found \"%.40s\"", option,
                    choices[0], choices[1], text);
    int changed = override_layers(root, type, key, text);
    if (changed < 0) return fail(r, MODEL_NOMEM, "out of memory");
    return changed ? MODEL_OK
                   : fail(r, MODEL_BAD, "%s=%s changes nothing: the model has no such layer",
                          option, text);
}

static enum model_status override_api(const struct reader *r, json_t *root, const char *api,
                                      const char **pool)
{
    json_t *apis = json_object_get(root, "apis"), *changes, *value;
    const char *key;
    if (apis && !is(apis, JSON_OBJECT)) return wrong(r, "apis", "an object", apis);
    if (!api) return MODEL_OK;
    changes = json_object_get(apis, api);
    if (!is(changes, JSON_OBJECT))
        return fail(r, MODEL_BAD, "api=%.40s: the model has no such entry in \"apis\"", api);
    json_t *defaults = json_object_get(root, "defaults");
    if (!defaults) {
        defaults = json_object();
        if (json_object_set_new(root, "defaults", defaults))
            return fail(r, MODEL_NOMEM, "out of memory");
    }
    if (!is(defaults, JSON_OBJECT)) return wrong(r, "defaults", "an object", defaults);
    json_object_foreach (changes, key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        if (!strcmp(key, "pool")) {
            if (!is(value, JSON_STRING)) return wrong(r, "pool", "\"max\" or \"avg\"", value);
            /* an explicit choice of the caller goes first */
            if (!*pool) *pool = json_string_value(value);
        } else if (json_object_set(defaults, key, value)) {
            return fail(r, MODEL_NOMEM, "out of memory");
        }
    }
    return MODEL_OK;
}

static enum model_status override_all(const struct reader *r, json_t *root,
                                      const struct model_options *options)
{
    const char *pool = options->pool;
    enum model_status status = override_api(r, root, options->api, &pool);
    if (!status) status = override_one(r, root, "pool", pool_names, "pool2d", "kind", pool);
    if (!status)
        status = override_one(r, root, "bn-var", var_names, "batch_norm", "running_var",
                              options->bn_var);
    return status;
}

/* 15 digits do for most numbers, 17 for all. */
char *model_dump(const json_t *root)
{
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_t *again = text ? json_loads(text, 0, NULL) : NULL;
    if (!again || !json_equal(root, again)) {
        free(text);
        text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    }
    json_decref(again);
    return text;
}

/* ----------------------------------------------------------------------------------- the public */

enum model_status model_parse(const char *where, const char *text, size_t size,
                              const struct model_options *options, struct model **out, char *error,
                              size_t error_size)
{
    struct reader r = { where, "", error, error_size };
    json_error_t at;
    *out = NULL;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &at);
    if (!root)
        return fail(&r, MODEL_BAD, "line %d, column %d: %s (a model is a JSON file)", at.line,
                    at.column, at.text);
    struct model *model = calloc(1, sizeof *model);
    enum model_status status =
        model && (model->where = strdup(where)) ? MODEL_OK : fail(&r, MODEL_NOMEM, "out of memory");
    if (!status)
        status =
            override_all(&r, root, options ? options : &(struct model_options){ NULL, NULL, NULL });
    if (!status) status = read_model(&r, root, model);
    if (!status && !(model->json = model_dump(root)))
        status = fail(&r, MODEL_NOMEM, "out of memory");
    json_decref(root);
    if (status) model_free(&model);
    else *out = model;
    return status;
}

static enum model_status read_file(const struct reader *r, char **text, size_t *size)
{
    /* NONBLOCK: a FIFO must not hang us */
    int fd = open(r->where, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fail(r, MODEL_IO, "cannot open: %s", strerror(errno));
    struct stat st;
    enum model_status status = MODEL_OK;
    if (fstat(fd, &st)) status = fail(r, MODEL_IO, "cannot read: %s", strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = fail(r, MODEL_IO, "expected a file, found %s",
                      S_ISDIR(st.st_mode) ? "a directory" : "a special file");
    else if (st.st_size > FILE_LIMIT)
        status = fail(r, MODEL_BAD, "expected at most 16 MiB of JSON, found %jd bytes",
                      (intmax_t)st.st_size);
    else if (!(*text = malloc((size_t)st.st_size + 1)))
        status = fail(r, MODEL_NOMEM, "out of memory");
    size_t have = 0;
    while (!status && have < (size_t)st.st_size) {
        ssize_t got = read(fd, *text + have, (size_t)st.st_size - have);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = fail(r, MODEL_IO, "cannot read: %s", strerror(errno));
        if (got <= 0) break;
        have += (size_t)got;
    }
    close(fd);
    *size = have;
    return status;
}

enum model_status model_load(const char *which, const struct model_options *options,
                             struct model **model, char *error, size_t error_size)
{
    *model = NULL;
    size_t length = strlen(which);
    if (strchr(which, '/') || (length > 5 && !strcmp(which + length - 5, ".json"))) {
        struct reader r = { which, "", error, error_size };
        char *text = NULL;
        size_t size = 0;
        enum model_status status = read_file(&r, &text, &size);
        if (!status) status = model_parse(which, text, size, options, model, error, error_size);
        free(text);
        return status;
    }
    size_t used = (size_t)snprintf(
        error, error_size, "unknown model '%.60s': expected a path that ends in .json, or one of",
        which);
    for (const struct model_builtin *b = model_builtins; b->name; b++) {
        if (!strcmp(b->name, which)) {
            char where[96];
            snprintf(where, sizeof where, "model %s", which);
            *error = 0;
            return model_parse(where, b->text, b->size, options, model, error, error_size);
        }
        if (used < error_size)
            used += (size_t)snprintf(error + used, error_size - used, "%s %s",
                                     b == model_builtins ? "" : ",", b->name);
    }
    return MODEL_UNKNOWN;
}

void model_free(struct model **model)
{
    if (!*model) return;
    for (size_t i = 0; i < (*model)->n_layers; i++) free((*model)->layers[i].inputs);
    free((*model)->layers);
    free((*model)->where);
    free((*model)->json);
    free(*model);
    *model = NULL;
}

enum model_status model_build(const struct model *model, cvy_context *ctx, cvy_net **net,
                              cvy_tensor *logits, char *error, size_t error_size)
{
    struct reader r = { model->where, "", error, error_size };
    *net = NULL;
    cvy_tensor *out = calloc(model->n_layers + 1, sizeof *out); /* out[0] is the image */
    if (!out) return fail(&r, MODEL_NOMEM, "out of memory");
    enum cvy_status made = cvy_net_create(ctx, net);
    if (!made) out[0] = cvy_input(*net, model->input[0], model->input[1], model->input[2]);
    for (size_t i = 0; i < model->n_layers && !made && !(made = cvy_net_status(*net)); i++) {
        const struct model_layer *layer = &model->layers[i];
        cvy_tensor x[CONCAT_LIMIT];
        for (size_t k = 0; k < layer->n_inputs; k++) x[k] = out[layer->inputs[k] + 1];
        snprintf(r.place, sizeof r.place, "layer %zu (%s%s%s)", i, layer->type->name,
                 *layer->name ? " " : "", layer->name);
        out[i + 1] = layer->type->build(*net, x, layer->n_inputs, *layer->name ? layer->name : NULL,
                                        &layer->desc);
    }
    if (!made) made = cvy_net_status(*net);
    enum model_status status = MODEL_OK;
    if (made) {
        status = fail(&r, made == CVY_E_NOMEM ? MODEL_NOMEM : MODEL_BAD, "%s", cvy_message(ctx));
        cvy_net_destroy(net);
    } else {
        *logits = out[model->n_layers];
    }
    free(out);
    return status;
}

cvy_input_desc model_input(const struct model *model)
{
    return (cvy_input_desc){ .mean = model->normalized ? model->mean : NULL,
                             .std = model->normalized ? model->std : NULL };
}

bool model_builtin_at(size_t index, const char **name)
{
    for (size_t i = 0; i <= index; i++)
        if (!model_builtins[i].name) return false;
    *name = model_builtins[index].name;
    return true;
}
