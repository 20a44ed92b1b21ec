/* The reader of model files: JSON text -> a model, checked (blocks.c, layers.c, defaults.c,
 * settings.c read its parts) -> a net through the public API. */
#include "models/fields.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "models/builtin.h"

#define FILE_LIMIT ((off_t)16 << 20)
#define MODEL_MEAN_LIMIT 0x1p30

/* One number a channel; with `positive` above 0. */
static enum model_status read_channels(struct model_reader *r, const json_t *array, const char *key,
                                       bool positive, const struct model *model, double *out)
{
    const json_t *found = array;
    size_t n = json_array_size(array);
    bool good = n == model->input[0] && n <= MODEL_CHANNELS;
    for (size_t i = 0; good && i < n; i++) {
        found = json_array_get(array, i);
        out[i] = json_number_value(found);
        good = model_is_number(found) && (!positive || out[i] > 0);
    }
    if (good) return MODEL_OK;
    char expected[96];
    snprintf(expected, sizeof expected, "%zu numbers%s, one for each input channel (at most %d)",
             model->input[0], positive ? " above 0" : "", MODEL_CHANNELS);
    return model_wrong(r, key, expected, found);
}

/* true and false; false is as if it was not there. */
static enum model_status read_switch(struct model_reader *r, const json_t *json, const char *key,
                                     bool *on)
{
    const json_t *value = json_object_get(json, key);
    *on = json_is_true(value);
    return !value || json_is_boolean(value) ? MODEL_OK
                                            : model_wrong(r, key, "true or false", value);
}

static enum model_status read_means(struct model_reader *r, const json_t *json, struct model *model)
{
    const json_t *mean = json_object_get(json, "mean"), *std = json_object_get(json, "std");
    bool image, centred;
    enum model_status status = read_switch(r, json, "mean_image", &image);
    if (!status) status = read_switch(r, json, "zero_mean", &centred);
    if (status) return status;
    const bool whitened = model->zca > 0; /* which subtracts the mean image */
    if (centred && (mean || std || image || json_object_get(json, "scale")))
        return model_fail(r, MODEL_BAD,
                          "\"zero_mean\" says all of \"mean\", \"std\", \"mean_image\" and "
                          "\"scale\": expected none of them beside it");
    if (centred && model->input[0] > MODEL_CHANNELS)
        return model_fail(r, MODEL_BAD,
                          "\"zero_mean\": expected at most %d input channels, found %zu",
                          MODEL_CHANNELS, model->input[0]);
    for (size_t c = 0; centred && c < model->input[0]; c++) model->mean[c] = model->std[c] = 0.5;
    model->normalized = centred;
    image |= whitened;
    if (image && mean)
        return model_fail(r, MODEL_BAD, "\"mean\" and \"%s\": expected one of them",
                          whitened ? "zca" : "mean_image");
    if (!image && (mean || std || !json_object_size(json)))
        status = read_channels(r, mean, "mean", false, model, model->mean);
    if (!status && (mean || std)) {
        model->normalized = true;
        status = read_channels(r, std, "std", true, model, model->std);
    }
    if (status || !image) return status;
    /* of at most 2^72 numbers, which are not to wrap around */
    const double size = (double)model->input[0] * (double)model->input[1] * (double)model->input[2];
    if (size <= MODEL_MEAN_LIMIT) model->mean_image = calloc((size_t)size, sizeof(double));
    return model->mean_image ? MODEL_OK : model_fail(r, MODEL_NOMEM, "out of memory");
}

static enum model_status read_zca(struct model_reader *r, const json_t *json, struct model *model)
{
    const struct model_field eps = { "zca", REAL, false, 0, 1e-30, 1e30, NULL };
    const json_t *value = json_object_get(json, "zca");
    const double size = /* of at most 2^72 numbers */
        (double)model->input[0] * (double)model->input[1] * (double)model->input[2];
    if (value && size > MODEL_ZCA_LIMIT)
        return model_fail(r, MODEL_BAD,
                          "\"zca\": expected an input of at most %d numbers, found %.0f",
                          MODEL_ZCA_LIMIT, size);
    return value ? model_field_read(r, &eps, value, &model->zca) : MODEL_OK;
}

static enum model_status read_normalize(struct model_reader *r, const json_t *json,
                                        struct model *model)
{
    static const char *const keys[] = { "mean",  "std",       "mean_image", "zero_mean",
                                        "scale", "threshold", "grayscale",  "zca" };
    const struct model_field scale = { "scale", REAL, false, 0, 1e-30, 1e30, NULL };
    const char *key;
    json_t *value;
    if (!json) return MODEL_OK;
    if (!model_is(json, JSON_OBJECT))
        return model_wrong(r, "normalize", "an object {\"mean\": [...], \"std\": [...]}", json);
    strcpy(r->place, "normalize");
    json_object_foreach ((json_t *)json, key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        size_t i = 0;
        while (i < sizeof keys / sizeof *keys && strcmp(key, keys[i])) i++;
        if (i == sizeof keys / sizeof *keys) return model_unknown_key(r, key);
    }
    const json_t *threshold = json_object_get(json, "threshold");
    model->threshold = json_number_value(threshold);
    if (threshold && !(model_is_number(threshold) && model->threshold > 0 && model->threshold <= 1))
        return model_wrong(r, "threshold", "a number above 0 and at most 1", threshold);
    enum model_status status = read_switch(r, json, "grayscale", &model->grayscale);
    if (!status && model->grayscale && model->input[0] != 1)
        status =
            model_fail(r, MODEL_BAD, "\"grayscale\": expected an input of 1 channel, found %zu",
                       model->input[0]);
    if (!status) status = read_zca(r, json, model);
    if (!status) status = read_means(r, json, model);
    if (!status && (value = json_object_get(json, "scale")))
        status = model_field_read(r, &scale, value, &model->scale);
    *r->place = 0;
    return status;
}

static enum model_status read_model(struct model_reader *r, const json_t *root, struct model *model)
{
    static const char *const keys[] = { "name",      "description", "input", "data",
                                        "normalize", "defaults",    "apis",  "layers" };
    const char *key;
    json_t *value;
    if (!model_is(root, JSON_OBJECT))
        return model_fail(r, MODEL_BAD,
                          "expected a JSON object {\"name\": ..., \"layers\": [...]}");
    json_object_foreach ((json_t *)root, key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        size_t i = 0;
        while (i < sizeof keys / sizeof *keys && strcmp(key, keys[i])) i++;
        if (i == sizeof keys / sizeof *keys) return model_unknown_key(r, key);
    }
    const json_t *name = json_object_get(root, "name"), *input = json_object_get(root, "input");
    if (!model_name_good(name, sizeof model->name))
        return model_wrong(r, "name", "1 to 63 letters, digits, '.', '_' or '-'", name);
    strcpy(model->name, json_string_value(name));
    const struct model_field size = { "input", SIZE, true, 0, 1, MODEL_SIZE_LIMIT, NULL };
    for (size_t i = 0; i < 3; i++)
        if (json_array_size(input) != 3 ||
            !model_size_read(json_array_get(input, i), &size, &model->input[i])) {
            char expected[80];
            snprintf(expected, sizeof expected, "[channels, rows, columns], each from 1 to %d",
                     MODEL_SIZE_LIMIT);
            return model_wrong(r, "input", expected, input);
        }
    enum model_status status;
    if ((status = model_text_read(r, json_object_get(root, "description"), "description",
                                  model->description, sizeof model->description)) ||
        (status = model_text_read(r, json_object_get(root, "data"), "data", model->data,
                                  sizeof model->data)) ||
        (status = read_normalize(r, json_object_get(root, "normalize"), model)) ||
        (status = model_defaults_read(r, json_object_get(root, "defaults"), &model->defaults)) ||
        (status = model_layers_read(r, json_object_get(root, "layers"), model)))
        return status;
    return !(model->zca > 0) || model_zca_freeze(&model->defaults.params)
               ? MODEL_OK
               : model_fail(r, MODEL_BAD,
                            "\"zca\" needs an entry of \"params\", of which there "
                            "are %d",
                            MODEL_SETTINGS);
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
        if (!model_is(t, JSON_STRING) || strcmp(json_string_value(t), type)) continue;
        /* A pool of 1x1 only subsamples; both kinds do the same there. */
        const json_t *k0 = model_is(kernel, JSON_ARRAY) ? json_array_get(kernel, 0) : kernel;
        const json_t *k1 = model_is(kernel, JSON_ARRAY) ? json_array_get(kernel, 1) : kernel;
        if (!strcmp(key, "kind") && json_integer_value(k0) == 1 && json_integer_value(k1) == 1)
            continue;
        if (json_object_set_new(layer, key, json_string(text))) return -1;
        changed++;
    }
    return changed;
}

static enum model_status override_one(const struct model_reader *r, json_t *root,
                                      const char *option, const char *const *choices,
                                      const char *type, const char *key, const char *text)
{
    if (!text) return MODEL_OK;
    if (strcmp(text, choices[0]) && strcmp(text, choices[1]))
        return model_fail(r, MODEL_BAD, "%s: expected \"%s\" or \"%s\", found \"%.40s\"", option,
                          choices[0], choices[1], text);
    int changed = override_layers(root, type, key, text);
    if (changed < 0) return model_fail(r, MODEL_NOMEM, "out of memory");
    return changed ? MODEL_OK
                   : model_fail(r, MODEL_BAD, "%s=%s changes nothing: the model has no such layer",
                                option, text);
}

static enum model_status override_api(const struct model_reader *r, json_t *root, const char *api,
                                      const char **pool)
{
    json_t *apis = json_object_get(root, "apis"), *changes, *value;
    const char *key;
    if (apis && !model_is(apis, JSON_OBJECT)) return model_wrong(r, "apis", "an object", apis);
    if (!api) return MODEL_OK;
    changes = json_object_get(apis, api);
    if (!model_is(changes, JSON_OBJECT))
        return model_fail(r, MODEL_BAD, "api=%.40s: the model has no such entry in \"apis\"", api);
    json_t *defaults = json_object_get(root, "defaults");
    if (!defaults) {
        defaults = json_object();
        if (json_object_set_new(root, "defaults", defaults))
            return model_fail(r, MODEL_NOMEM, "out of memory");
    }
    if (!model_is(defaults, JSON_OBJECT)) return model_wrong(r, "defaults", "an object", defaults);
    json_object_foreach (changes, key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        if (!strcmp(key, "layers")) {
            if (json_object_set(root, key, value))
                return model_fail(r, MODEL_NOMEM, "out of memory");
        } else if (!strcmp(key, "pool")) {
            if (!model_is(value, JSON_STRING))
                return model_wrong(r, "pool", "\"max\" or \"avg\"", value);
            /* an explicit choice of the caller goes first */
            if (!*pool) *pool = json_string_value(value);
        } else if (json_object_set(defaults, key, value)) {
            return model_fail(r, MODEL_NOMEM, "out of memory");
        }
    }
    return MODEL_OK;
}

static enum model_status override_input(const struct model_reader *r, json_t *root,
                                        const size_t input[3])
{
    const json_t *normalize = json_object_get(root, "normalize"),
                 *mean = json_object_get(normalize, "mean");
    if (!input[0]) return MODEL_OK;
    if (mean && json_array_size(mean) != input[0])
        return model_fail(r, MODEL_BAD,
                          "input=%zux%zux%zu: the model normalizes images of %zu channels",
                          input[0], input[1], input[2], json_array_size(mean));
    json_t *size =
        json_pack("[I, I, I]", (json_int_t)input[0], (json_int_t)input[1], (json_int_t)input[2]);
    return json_object_set_new(root, "input", size) ? model_fail(r, MODEL_NOMEM, "out of memory")
                                                    : MODEL_OK;
}

static enum model_status override_classes(const struct model_reader *r, json_t *root,
                                          size_t classes)
{
    const json_t *layers = json_object_get(root, "layers");
    json_t *last = json_array_get(layers, json_array_size(layers) - 1);
    const char *type = json_string_value(json_object_get(last, "type"));
    if (!classes) return MODEL_OK;
    if (!type || strcmp(type, "linear"))
        return model_fail(r, MODEL_BAD,
                          "classes=%zu: expected \"linear\" as the type of the model's last layer, "
                          "found \"%.40s\"",
                          classes, type ? type : "");
    return json_object_set_new(last, "out_features", json_integer((json_int_t)classes))
               ? model_fail(r, MODEL_NOMEM, "out of memory")
               : MODEL_OK;
}

static enum model_status override_all(const struct model_reader *r, json_t *root,
                                      const struct model_options *options)
{
    const char *pool = options->pool;
    enum model_status status = override_api(r, root, options->api, &pool);
    if (!status) status = override_one(r, root, "pool", model_pool_names, "pool2d", "kind", pool);
    if (!status)
        status = override_one(r, root, "bn-var", model_var_names, "batch_norm", "running_var",
                              options->bn_var);
    if (!status) status = override_input(r, root, options->input);
    if (!status) status = override_classes(r, root, options->classes);
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
    struct model_reader r = { where, "", error, error_size };
    json_error_t at;
    *out = NULL;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &at);
    if (!root)
        return model_fail(&r, MODEL_BAD, "line %d, column %d: %s (a model is a JSON file)", at.line,
                          at.column, at.text);
    struct model *model = calloc(1, sizeof *model);
    enum model_status status = model && (model->where = strdup(where))
                                   ? MODEL_OK
                                   : model_fail(&r, MODEL_NOMEM, "out of memory");
    if (!status) status = model_blocks_expand(&r, root);
    if (!status)
        status = override_all(&r, root, options ? options : &(struct model_options){ .api = NULL });
    if (!status) status = read_model(&r, root, model);
    if (!status && !(model->json = model_dump(root)))
        status = model_fail(&r, MODEL_NOMEM, "out of memory");
    json_decref(root);
    if (status) model_free(&model);
    else *out = model;
    return status;
}

static enum model_status read_file(const struct model_reader *r, char **text, size_t *size)
{
    /* NONBLOCK: a FIFO must not hang us */
    int fd = open(r->where, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return model_fail(r, MODEL_IO, "cannot open: %s", strerror(errno));
    struct stat st;
    enum model_status status = MODEL_OK;
    if (fstat(fd, &st)) status = model_fail(r, MODEL_IO, "cannot read: %s", strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = model_fail(r, MODEL_IO, "expected a file, found %s",
                            S_ISDIR(st.st_mode) ? "a directory" : "a special file");
    else if (st.st_size > FILE_LIMIT)
        status = model_fail(r, MODEL_BAD, "expected at most 16 MiB of JSON, found %jd bytes",
                            (intmax_t)st.st_size);
    else if (!(*text = malloc((size_t)st.st_size + 1)))
        status = model_fail(r, MODEL_NOMEM, "out of memory");
    size_t have = 0;
    while (!status && have < (size_t)st.st_size) {
        ssize_t got = read(fd, *text + have, (size_t)st.st_size - have);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = model_fail(r, MODEL_IO, "cannot read: %s", strerror(errno));
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
        struct model_reader r = { which, "", error, error_size };
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
    model_layers_free(*model);
    free((*model)->mean_image);
    free((*model)->where);
    free((*model)->json);
    free(*model);
    *model = NULL;
}

enum model_status model_build(const struct model *model, cvy_context *ctx, cvy_net **net,
                              cvy_tensor *logits, char *error, size_t error_size)
{
    struct model_reader r = { model->where, "", error, error_size };
    *net = NULL;
    cvy_tensor *out = calloc(model->n_layers + 1, sizeof *out); /* out[0] is the image */
    if (!out) return model_fail(&r, MODEL_NOMEM, "out of memory");
    enum cvy_status made = cvy_net_create(ctx, net);
    if (!made) out[0] = cvy_input(*net, model->input[0], model->input[1], model->input[2]);
    if (!made && model->zca > 0) out[0] = model_zca_layer(model, *net, out[0]);
    if (!made) model_layers_build(model, &r, *net, out);
    if (!made) made = cvy_net_status(*net);
    enum model_status status = MODEL_OK;
    if (made) {
        status =
            model_fail(&r, made == CVY_E_NOMEM ? MODEL_NOMEM : MODEL_BAD, "%s", cvy_message(ctx));
        cvy_net_destroy(net);
    } else {
        *logits = out[model->n_layers];
    }
    free(out);
    return status;
}

cvy_input_desc model_input(const struct model *model)
{
    return (cvy_input_desc){ .scale = model->scale,
                             .mean = model->normalized && !model->mean_image ? model->mean : NULL,
                             .mean_image = model->mean_image,
                             .std = model->normalized ? model->std : NULL };
}

void model_set_mean(const struct model *model, const uint8_t *images, size_t n)
{
    const size_t size = model->input[0] * model->input[1] * model->input[2];
    const double scale = model->scale > 0 ? model->scale : 1.0 / 255;
    double *mean = model->mean_image;
    memset(mean, 0, size * sizeof *mean);
    for (size_t i = 0; i < n; i++) /* whole numbers below 2^53: no rounding, in any order */
        for (size_t p = 0; p < size; p++) mean[p] += images[i * size + p];
    for (size_t p = 0; p < size; p++) mean[p] = (double)(float)(mean[p] / (double)n * scale);
}

cvy_trainer_options model_trainer(const struct model *model, const struct model_defaults *d,
                                  uint64_t seed, cvy_param_setting params[MODEL_SETTINGS])
{
    return (cvy_trainer_options){ .batch = d->batch,
                                  .seed = seed,
                                  .loss = model_loss(d),
                                  .input = model_input(model),
                                  .optimizer = d->optimizer,
                                  .clip_norm = d->clip_norm,
                                  .max_norm = d->max_norm,
                                  .accumulate = d->accumulate,
                                  .memory_limit = d->memory_limit,
                                  .augment = { d->crop, d->flip, d->cutout, { 0 } },
                                  .settings = model_settings(&d->params, params),
                                  .n_settings = d->params.n,
                                  .init = model_init(d, seed) };
}

void model_prepare(const struct model *model, uint8_t *images, size_t n)
{
    const size_t size = n * model->input[0] * model->input[1] * model->input[2];
    for (size_t i = 0; model->threshold > 0 && i < size; i++)
        images[i] = images[i] / 255.0 >= model->threshold ? 255 : 0;
}

bool model_builtin_at(size_t index, const char **name)
{
    for (size_t i = 0; i <= index; i++)
        if (!model_builtins[i].name) return false;
    *name = model_builtins[index].name;
    return true;
}
