/* Models of experiments: JSON of others with a few edits. Nothing here can fail for want of memory:
 * the program's JSON ends the process then (main.c). */
#include "cli/experiment.h"

#include <stdarg.h>
#include <string.h>

json_t *experiment_model(const char *which)
{
    struct cli_session s = { 0 };
    if (cli_open_model(&s, which, NULL)) return NULL;
    json_t *json = json_loads(s.model->json, 0, NULL);
    cli_close(&s);
    return json;
}

/* The place of a layer of that name; SIZE_MAX: there is none. */
static size_t find(const json_t *model, const char *name)
{
    const json_t *layers = json_object_get(model, "layers");
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const char *found = json_string_value(json_object_get(json_array_get(layers, i), "name"));
        if (found && !strcmp(found, name)) return i;
    }
    return SIZE_MAX;
}

json_t *edit_layer(json_t *model, const char *name)
{
    return json_array_get(json_object_get(model, "layers"), find(model, name));
}

void edit_default(json_t *model, const char *key, json_t *value)
{
    json_t *defaults = json_object_get(model, "defaults");
    if (!defaults) {
        defaults = json_object();
        json_object_set_new(model, "defaults", defaults);
    }
    json_object_set_new(defaults, key, value);
}

void edit_name(json_t *model, const char *format, ...)
{
    char name[EXPERIMENT_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    for (char *c = name; *c; c++)
        if (*c == ' ') *c = '_';
    json_object_set_new(model, "name", json_string(name));
    json_object_del(model, "description");
}

void edit_remove(json_t *model, const char *name)
{
    json_array_remove(json_object_get(model, "layers"), find(model, name));
}

void edit_insert(json_t *model, const char *name, size_t behind, json_t *layer)
{
    json_array_insert_new(json_object_get(model, "layers"), find(model, name) + behind, layer);
}

void edit_order(json_t *model, const char *name, const char *order)
{
    json_t *layers = json_object_get(model, "layers"), *moved[8];
    const size_t first = find(model, name) + 1, n = strlen(order);
    for (size_t i = 0; i < n; i++)
        moved[i] = json_incref(json_array_get(layers, first + (size_t)(order[i] - '0')));
    for (size_t i = 0; i < n; i++) json_array_set_new(layers, first + i, moved[i]);
}

json_t *experiment_mlp(const struct experiment_mlp *o)
{
    /* bytes less the mean image, as the assignment has them */
    json_t *model = json_pack(
        "{s:s, s:[i, i, i], s:s, s:{s:i, s:b}, s:{s:s, s:f, s:i, s:i, s:s, s:{s:s, s:f, s:s}}, "
        "s:[{s:s}]}",
        "name", o->name, "input", 3, 32, 32, "data", "cifar10", "normalize", "scale", 1,
        "mean_image", 1, "defaults", "optimizer", "adam", "lr", 1e-3, "batch", 50, "epochs", 10,
        "sampling", "replacement", "init", "weights", "normal", "weights_value", o->scale, "biases",
        "zero", "layers", "type", "flatten");
    json_t *layers = json_object_get(model, "layers");
    for (size_t i = 1; i <= o->depth; i++) {
        char name[32];
        snprintf(name, sizeof name, "fc%zu", i);
        json_array_append_new(layers, json_pack("{s:s, s:s, s:I}", "type", "linear", "name", name,
                                                "out_features", (json_int_t)o->width));
        if (o->norm) {
            json_t *norm = json_deep_copy(o->norm);
            snprintf(name, sizeof name, "norm%zu", i);
            json_object_set_new(norm, "name", json_string(name));
            json_array_append_new(layers, norm);
        }
        json_array_append_new(layers, json_pack("{s:s}", "type", o->activation));
    }
    json_array_append_new(
        layers, json_pack("{s:s, s:s, s:i}", "type", "linear", "name", "out", "out_features", 10));
    json_decref(o->norm);
    return model;
}
