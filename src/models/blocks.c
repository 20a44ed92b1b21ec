/* Blocks: layers that a model names once and uses in several places, with settings, or several
 * times in a row. They become layers before anything else is read: all that follows, and every
 * run's model.json, knows layers alone. */
#include "models/fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEEPEST 8

/* The layers that came of blocks so far, in order. */
struct expansion {
    struct model_reader *r;
    const json_t *blocks;
    json_t *layers, *used;        /* used: names of blocks */
    char reads[MODEL_NAME_LIMIT]; /* what the next layer reads if it says nothing; "": the last */
};

/* One use of a block, or the model itself. */
struct scope {
    const char *block; /* NULL: the model */
    size_t depth;
    char prefix[MODEL_NAME_LIMIT]; /* of names in it: "layer1.0." */
    char input[MODEL_NAME_LIMIT];  /* what "input" is in the net; "": a layer without a name */
    const json_t *settings;        /* "$key" is what has this key here */
    json_t *asked;                 /* those keys that were asked for */
    json_t *names;                 /* names in here -> names in the net */
};

static enum model_status no_memory(const struct expansion *x)
{
    return model_fail(x->r, MODEL_NOMEM, "out of memory");
}

/* Sets key to a value, which may be NULL for want of memory and is taken over. */
static enum model_status set(const struct expansion *x, json_t *object, const char *key,
                             json_t *value)
{
    return json_object_set_new(object, key, value) ? no_memory(x) : MODEL_OK;
}

/* ------------------------------------------------------------------------------------- settings */

static enum model_status fill_one(const struct expansion *x, const struct scope *s, json_t *value,
                                  json_t **out)
{
    const char *text = json_string_value(value);
    *out = json_incref(value);
    if (!text || *text != '$' || !s->block) return MODEL_OK;
    json_t *setting = json_object_get(s->settings, text + 1);
    json_decref(value);
    *out = NULL;
    if (!setting)
        return model_fail(x->r, MODEL_BAD, "\"%.60s\": the block is used without a \"%.60s\"", text,
                          text + 1);
    *out = json_incref(setting);
    return set(x, s->asked, text + 1, json_true());
}

/* A value with settings in their places, in an array, too. */
static enum model_status fill(const struct expansion *x, const struct scope *s, json_t *value,
                              json_t **out)
{
    if (!model_is(value, JSON_ARRAY) || json_array_size(value) > MODEL_CONCAT_LIMIT)
        return fill_one(x, s, value, out);
    json_t *array = json_array(), *element, *filled;
    enum model_status status = array ? MODEL_OK : no_memory(x);
    for (size_t i = 0; !status && (element = json_array_get(value, i)); i++) {
        filled = NULL;
        status = fill_one(x, s, element, &filled);
        if (status) json_decref(filled);
        else if (json_array_append_new(array, filled)) status = no_memory(x);
    }
    *out = array;
    return status;
}

/* A layer or a use of a block, with settings in their places; what is no object as it is, for the
 * reader of layers to refuse. *out is the caller's, also where it fails. */
static enum model_status fill_object(const struct expansion *x, const struct scope *s,
                                     json_t *object, json_t **out)
{
    const char *key;
    json_t *value, *filled;
    *out = model_is(object, JSON_OBJECT) ? json_object() : json_incref(object);
    if (!*out) return no_memory(x);
    enum model_status status = MODEL_OK;
    json_object_foreach (object, key, value) { /* GCOVR_EXCL_BR_LINE: it has a value */
        filled = NULL;
        status = fill(x, s, value, &filled);
        if (status) json_decref(filled);
        else status = set(x, *out, key, filled);
        if (status) break;
    }
    return status;
}

/* ---------------------------------------------------------------------------------------- names */

/* Puts what is called `local` in the scope where it can be found. */
static enum model_status remember(const struct expansion *x, const struct scope *s,
                                  const char *local, const char *name)
{
    const char *other = json_string_value(json_object_get(s->names, local));
    if (other && strcmp(other, name))
        return model_fail(x->r, MODEL_BAD, "the name \"%.60s\" is taken already", local);
    return set(x, s->names, local, json_string(name));
}

/* Two parts of a name as one. It may be no good, which the reader of layers will say. */
static enum model_status join(const struct expansion *x, const char *first, const char *second,
                              char out[MODEL_NAME_LIMIT])
{
    size_t length = strlen(first) + strlen(second);
    if (length >= MODEL_NAME_LIMIT)
        return model_fail(x->r, MODEL_BAD,
                          "\"name\": expected at most %d letters, with those of the blocks around "
                          "it, found %zu",
                          MODEL_NAME_LIMIT - 1, length);
    strcpy(stpcpy(out, first), second);
    return MODEL_OK;
}

/* What a use is called in its scope: NAME, and of several NAME.0, NAME.1 …, or NAME with the number
 * in the place of '#'. */
static enum model_status number_name(const struct expansion *x, const char *name, bool numbered,
                                     size_t number, char out[MODEL_NAME_LIMIT])
{
    const char *mark = strchr(name, '#');
    char first[MODEL_NAME_LIMIT], digits[MODEL_NAME_LIMIT];
    *out = 0;
    if (!*name) return MODEL_OK;
    if (!numbered) return join(x, name, "", out);
    if (strlen(name) >= MODEL_NAME_LIMIT) return join(x, name, ".0", out);
    snprintf(first, sizeof first, "%.*s", (int)(mark ? mark - name : (ptrdiff_t)strlen(name)),
             name);
    snprintf(digits, sizeof digits, "%s%zu%.*s", mark ? "" : ".", number, MODEL_NAME_LIMIT / 2,
             mark ? mark + 1 : "");
    return join(x, first, digits, out);
}

/* Makes a name of the scope one of the net. What is unknown in the model is left as it is. */
static enum model_status resolve(const struct expansion *x, const struct scope *s, const char *key,
                                 json_t **name)
{
    const char *local = json_string_value(*name);
    if (!local) return MODEL_OK;
    const char *known =
        strcmp(local, "input") ? json_string_value(json_object_get(s->names, local)) : s->input;
    if (!known && !s->block) return MODEL_OK;
    if (!known)
        return model_fail(x->r, MODEL_BAD,
                          "\"%s\": no earlier layer of the block is named \"%.60s\"", key, local);
    if (!*known)
        return model_fail(x->r, MODEL_BAD,
                          "\"%s\": the layer before the block has no name by which its \"input\" "
                          "could be read",
                          key);
    json_t *resolved = json_string(known);
    json_decref(*name);
    *name = resolved;
    return resolved ? MODEL_OK : no_memory(x);
}

/* The same of the names that a layer or use reads. */
static enum model_status resolve_inputs(const struct expansion *x, const struct scope *s,
                                        json_t *layer)
{
    json_t *input = json_object_get(layer, "input"), *inputs = json_object_get(layer, "inputs"),
           *name;
    enum model_status status = MODEL_OK;
    if (input) {
        json_incref(input);
        status = resolve(x, s, "input", &input);
        if (status) json_decref(input);
        else status = set(x, layer, "input", input);
    }
    if (json_array_size(inputs) > MODEL_CONCAT_LIMIT) return status;
    for (size_t i = 0; !status && (name = json_array_get(inputs, i)); i++) {
        json_incref(name);
        status = resolve(x, s, "inputs", &name);
        if (status) json_decref(name);
        else if (json_array_set_new(inputs, i, name)) status = no_memory(x);
    }
    return status;
}

/* ------------------------------------------------------------------------------------ expanding */

static const char *name_of(const json_t *layer)
{
    const char *name = json_string_value(json_object_get(layer, "name"));
    return name ? name : "";
}

static json_t *last_layer(const struct expansion *x)
{
    return json_array_get(x->layers, json_array_size(x->layers) - 1);
}

/* Takes `layer` over. */
static enum model_status add_layer(struct expansion *x, const struct scope *s, json_t *layer)
{
    char local[MODEL_NAME_LIMIT], name[MODEL_NAME_LIMIT];
    enum model_status status = resolve_inputs(x, s, layer);
    const bool reads = json_object_get(layer, "input") || json_object_get(layer, "inputs"),
               named = *name_of(layer) && (s->block || strlen(name_of(layer)) < MODEL_NAME_LIMIT);
    if (!status && *x->reads && !reads) status = set(x, layer, "input", json_string(x->reads));
    *x->reads = 0;
    if (!status && named) {
        status = join(x, "", name_of(layer), local);
        if (!status) status = join(x, s->prefix, local, name);
        if (!status) status = set(x, layer, "name", json_string(name));
        if (!status) status = remember(x, s, local, name);
    }
    if (!status && s->block && json_array_size(x->layers) >= MODEL_LAYER_LIMIT)
        status = model_fail(x->r, MODEL_BAD, "expected at most %d layers with those of blocks",
                            MODEL_LAYER_LIMIT);
    if (status) json_decref(layer);
    else if (json_array_append_new(x->layers, layer)) status = no_memory(x);
    return status;
}

static enum model_status expand(struct expansion *x, struct scope *s, const json_t *layers);

/* The block's layers once; `local` is what the use is called in its scope, and its last layer if
 * that has no name. "": the layers are called as if they stood here. */
static enum model_status use_once(struct expansion *x, const struct scope *outer,
                                  struct scope *inner, const char *local)
{
    char name[MODEL_NAME_LIMIT] = "";
    enum model_status status = MODEL_OK;
    strcpy(inner->prefix, outer->prefix);
    if (*local) status = join(x, outer->prefix, local, name);
    if (!status && *local) status = join(x, name, ".", inner->prefix);
    if (status) return status;
    strcpy(inner->input, "input");
    if (*x->reads) strcpy(inner->input, x->reads);
    else if (json_array_size(x->layers)) status = join(x, "", name_of(last_layer(x)), inner->input);
    if (status) return status;
    inner->names = *local ? json_object() : json_incref(outer->names);
    if (!inner->names) return no_memory(x);
    status = expand(x, inner, json_object_get(x->blocks, inner->block));
    json_decref(inner->names);
    json_t *last = last_layer(x);
    if (!status && *local && !*name_of(last)) status = set(x, last, "name", json_string(name));
    return status;
}

/* What a use says of itself; all else is for the block. */
static const char *const use_keys[] = { "block", "name", "input", "repeat", "first" };

/* times: how often, and the first number. */
static enum model_status read_use(struct expansion *x, const json_t *use, struct scope *inner,
                                  size_t times[2])
{
    const struct model_field numbers[] = { { "repeat", SIZE, false, 0, 1, MODEL_LAYER_LIMIT, NULL },
                                           { "first", SIZE, false, sizeof *times, 0,
                                             MODEL_LAYER_LIMIT, NULL } };
    const json_t *block = json_object_get(use, "block"), *name = json_object_get(use, "name"),
                 *input = json_object_get(use, "input");
    enum model_status status = MODEL_OK;
    inner->block = json_string_value(block);
    if (!inner->block || !json_object_get(x->blocks, inner->block))
        return model_wrong(x->r, "block", "the name of one of the model's \"blocks\"", block);
    if (name && !json_string_length(name)) return model_wrong(x->r, "name", "a name", name);
    if (input && !json_string_length(input))
        return model_wrong(x->r, "input", "the name of an earlier layer, or \"input\"", input);
    if (json_object_get(use, "first") && !json_object_get(use, "repeat"))
        return model_fail(x->r, MODEL_BAD,
                          "\"first\" numbers what \"repeat\" makes, which is missing");
    if (inner->depth > DEEPEST)
        return model_fail(x->r, MODEL_BAD, "blocks are used in blocks more than %d deep", DEEPEST);
    for (size_t i = 0; !status && i < 2; i++) {
        const json_t *number = json_object_get(use, numbers[i].key);
        if (number) status = model_field_read(x->r, &numbers[i], number, times);
    }
    return status || !input ? status : join(x, "", json_string_value(input), x->reads);
}

/* All times of a use, from which it is found by its name: that is its last layer's. */
static enum model_status use_times(struct expansion *x, const struct scope *outer,
                                   struct scope *inner, const json_t *use, const size_t times[2])
{
    char local[MODEL_NAME_LIMIT], place[sizeof x->r->place];
    enum model_status status = MODEL_OK;
    strcpy(place, x->r->place);
    for (size_t i = 0; !status && i < times[0]; i++) {
        status = number_name(x, name_of(use), json_object_get(use, "repeat"), times[1] + i, local);
        if (!status) status = use_once(x, outer, inner, local);
        if (!status) strcpy(x->r->place, place);
        if (!status && *local) status = remember(x, outer, local, name_of(last_layer(x)));
    }
    return status;
}

/* A use whose settings are in their places. */
static enum model_status use_block(struct expansion *x, const struct scope *outer, json_t *use)
{
    struct scope inner = { .depth = outer->depth + 1, .settings = use };
    size_t times[2] = { 1, 0 };
    const char *key;
    json_t *value;
    enum model_status status = resolve_inputs(x, outer, use);
    if (!status) status = read_use(x, use, &inner, times);
    if (!status) status = set(x, x->used, inner.block, json_true());
    if (status) return status;
    inner.asked = json_object();
    for (size_t i = 0; !status && i < sizeof use_keys / sizeof *use_keys; i++)
        status = set(x, inner.asked, use_keys[i], json_true());
    if (!status) status = use_times(x, outer, &inner, use, times);
    json_object_foreach (use, key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        if (!status && !json_object_get(inner.asked, key)) status = model_unknown_key(x->r, key);
    }
    json_decref(inner.asked);
    return status;
}

/* The layers of the model or of a block, behind those that there are. */
static enum model_status expand(struct expansion *x, struct scope *s, const json_t *layers)
{
    json_t *element;
    enum model_status status = MODEL_OK;
    for (size_t i = 0; !status && (element = json_array_get(layers, i)); i++) {
        json_t *filled = NULL;
        if (s->block)
            snprintf(x->r->place, sizeof x->r->place, "block \"%.60s\", layer %zu", s->block, i);
        else snprintf(x->r->place, sizeof x->r->place, "layer %zu", i);
        if (s->block && !model_is(element, JSON_OBJECT))
            return model_fail(x->r, MODEL_BAD, "expected an object {\"type\": ...}");
        status = fill_object(x, s, element, &filled);
        if (!status && json_object_get(filled, "block")) status = use_block(x, s, filled);
        else if (!status) status = add_layer(x, s, json_incref(filled));
        json_decref(filled);
    }
    return status;
}

/* ------------------------------------------------------------------------------------ the whole */

/* Puts into `object` in the place of "layers" what they are without blocks. */
static enum model_status expand_layers(struct expansion *x, json_t *object)
{
    struct scope model = { .input = "input" };
    enum model_status status = MODEL_OK;
    if (!json_array_size(json_object_get(object, "layers"))) return MODEL_OK;
    x->layers = json_array();
    model.names = json_object();
    *x->reads = 0;
    if (!x->layers || !model.names) status = no_memory(x);
    if (!status) status = expand(x, &model, json_object_get(object, "layers"));
    if (!status) status = set(x, object, "layers", json_incref(x->layers));
    json_decref(model.names);
    json_decref(x->layers);
    return status;
}

static enum model_status check_blocks(const struct expansion *x)
{
    const char *key;
    json_t *body;
    if (x->blocks && !model_is(x->blocks, JSON_OBJECT))
        return model_wrong(x->r, "blocks", "an object {NAME: [layers]}", x->blocks);
    json_object_foreach ((json_t *)x->blocks, key, body) { /* GCOVR_EXCL_BR_LINE: as above */
        snprintf(x->r->place, sizeof x->r->place, "block \"%.60s\"", key);
        if (!json_array_size(body))
            return model_fail(x->r, MODEL_BAD, "expected an array of one layer or more");
    }
    *x->r->place = 0;
    return MODEL_OK;
}

static enum model_status check_used(const struct expansion *x)
{
    const char *key;
    json_t *body;
    json_object_foreach ((json_t *)x->blocks, key, body) { /* GCOVR_EXCL_BR_LINE: as above */
        if (!json_object_get(x->used, key))
            return model_fail(x->r, MODEL_BAD, "block \"%.60s\" is used nowhere", key);
    }
    return MODEL_OK;
}

enum model_status model_blocks_expand(struct model_reader *r, json_t *root)
{
    struct expansion x = { .r = r, .blocks = json_object_get(root, "blocks") };
    const char *key;
    json_t *api;
    if (!model_is(root, JSON_OBJECT)) return MODEL_OK; /* the reader says it */
    enum model_status status = check_blocks(&x);
    if (status) return status;
    if (!(x.used = json_object())) return no_memory(&x);
    status = expand_layers(&x, root);
    json_object_foreach (json_object_get(root, "apis"), key, api) { /* GCOVR_EXCL_BR_LINE */
        if (!status && model_is(api, JSON_OBJECT)) status = expand_layers(&x, api);
    }
    if (!status) *r->place = 0;
    if (!status) status = check_used(&x);
    json_decref(x.used);
    json_object_del(root, "blocks");
    return status;
}
