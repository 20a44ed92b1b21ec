/* Batch norms that inference can do without: which of a model's may become part of the layer before
 * them, and the model without these. The numbers are the caller's business. */
#include "models/fields.h"

#include <stdlib.h>
#include <string.h>

/* A model's layers as JSON has them. */
struct graph {
    json_t *layers;
    size_t n;
    size_t *readers; /* how often each layer is read, the last one by the user, too */
};

static const char *text_of(const struct graph *g, size_t i, const char *key)
{
    const char *text = json_string_value(json_object_get(json_array_get(g->layers, i), key));
    return text ? text : "";
}

/* The number of the layer that is called so; -1: the image. */
static int named(const struct graph *g, const char *name)
{
    for (size_t i = 0; i < g->n; i++)
        if (*name && !strcmp(text_of(g, i, "name"), name)) return (int)i;
    return -1;
}

/* What layer i of one input reads. */
static int input_of(const struct graph *g, size_t i)
{
    const json_t *input = json_object_get(json_array_get(g->layers, i), "input");
    return input ? named(g, json_string_value(input)) : (int)i - 1;
}

static void count_readers(const struct graph *g)
{
    size_t k;
    json_t *name;
    for (size_t i = 0; i < g->n; i++) {
        const json_t *inputs = json_object_get(json_array_get(g->layers, i), "inputs");
        int from = inputs ? -1 : input_of(g, i);
        if (from >= 0) g->readers[from]++;
        json_array_foreach (inputs, k, name) { /* GCOVR_EXCL_BR_LINE: an array has elements */
            from = named(g, json_string_value(name));
            if (from >= 0) g->readers[from]++;
        }
    }
    g->readers[g->n - 1]++;
}

/* Why batch norm i stays; NULL: it goes into the layer *into. */
static const char *why_not(const struct graph *g, size_t i, int *into)
{
    *into = input_of(g, i);
    if (*into < 0) return "it reads the image";
    const char *type = text_of(g, (size_t)*into, "type");
    if (strcmp(type, "conv2d") && strcmp(type, "linear"))
        return "no convolution or linear layer is before it";
    if (g->readers[*into] != 1) return "others read the layer before it, too";
    if (json_is_true(json_object_get(json_array_get(g->layers, i), "batch_statistics")))
        return "it normalises by the statistics of the batch";
    if (i + 1 == g->n && *into != (int)i - 1) return "it is the last, and not behind its layer";
    return NULL;
}

static bool rename_in(json_t *layer, const char *old, const char *name)
{
    json_t *input = json_object_get(layer, "input"), *inputs = json_object_get(layer, "inputs"),
           *one;
    size_t k;
    if (input && !strcmp(json_string_value(input), old) &&
        json_object_set_new(layer, "input", json_string(name)))
        return false;
    json_array_foreach (inputs, k, one) { /* GCOVR_EXCL_BR_LINE: as above */
        if (!strcmp(json_string_value(one), old) &&
            json_array_set_new(inputs, k, json_string(name)))
            return false;
    }
    return true;
}

/* Takes batch norm i out: whoever read it reads layer `into`, which has a bias. */
static bool take_out(struct graph *g, size_t i, int into)
{
    char norm[MODEL_NAME_LIMIT], name[MODEL_NAME_LIMIT];
    strcpy(norm, text_of(g, i, "name"));
    strcpy(name, text_of(g, (size_t)into, "name"));
    json_object_del(json_array_get(g->layers, (size_t)into), "bias");
    json_t *next = json_array_get(g->layers, i + 1);
    if (next && into != (int)i - 1 && !json_object_get(next, "input") &&
        !json_object_get(next, "inputs") && json_object_set_new(next, "input", json_string(norm)))
        return false;
    for (size_t k = i + 1; k < g->n; k++)
        if (!rename_in(json_array_get(g->layers, k), norm, name)) return false;
    if (json_array_remove(g->layers, i)) return false;
    g->n--;
    return true;
}

static bool fold_all(struct graph *g, struct model_fold *folds, size_t *n)
{
    bool good = true;
    count_readers(g);
    for (size_t i = g->n; good && i--;) { /* the last first: numbers before it stay */
        if (strcmp(text_of(g, i, "type"), "batch_norm")) continue;
        struct model_fold *f = &folds[(*n)++];
        const json_t *eps = json_object_get(json_array_get(g->layers, i), "eps");
        int into;
        *f = (struct model_fold){ .eps = eps ? json_number_value(eps) : 1e-5 };
        f->why_not = why_not(g, i, &into);
        strcpy(f->norm, text_of(g, i, "name"));
        if (into >= 0) strcpy(f->layer, text_of(g, (size_t)into, "name"));
        good = f->why_not || take_out(g, i, into);
    }
    for (size_t i = 0; i < *n / 2; i++) {
        struct model_fold last = folds[*n - 1 - i];
        folds[*n - 1 - i] = folds[i];
        folds[i] = last;
    }
    return good;
}

enum model_status model_fold(const struct model *model, struct model_fold **folds, size_t *n,
                             struct model **out, char *error, size_t error_size)
{
    json_t *root = json_loads(model->json, 0, NULL);
    struct graph g = { .layers = json_object_get(root, "layers") };
    char *text = NULL;
    g.n = json_array_size(g.layers);
    g.readers = calloc(g.n + 1, sizeof *g.readers);
    *folds = calloc(g.n + 1, sizeof **folds);
    *out = NULL;
    *n = 0;
    if (root && g.readers && *folds && fold_all(&g, *folds, n)) text = model_dump(root);
    const struct model_reader r = { model->where, "", error, error_size };
    enum model_status status =
        text ? model_parse(model->where, text, strlen(text), NULL, out, error, error_size)
             : model_fail(&r, MODEL_NOMEM, "out of memory");
    if (!status && model->mean_image) {
        const size_t *in = model->input;
        memcpy((*out)->mean_image, model->mean_image,
               in[0] * in[1] * in[2] * sizeof *model->mean_image);
    }
    if (status) {
        free(*folds);
        *folds = NULL;
    }
    free(text);
    free(g.readers);
    json_decref(root);
    return status;
}
