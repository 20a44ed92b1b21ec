/* How a part of a model file is read: a table says which keys there are and what each may be; the
 * checks and their sentences are written once, here. For the readers of src/models only. */
#ifndef MODELS_FIELDS_H
#define MODELS_FIELDS_H

#include "models/models.h"

/* of one number in a layer; products are checked by the library */
#define MODEL_SIZE_LIMIT 16777216
#define MODEL_LAYER_LIMIT 100000
#define MODEL_CONCAT_LIMIT 64

/* Whose text is read, where in it, and where a sentence goes. */
struct model_reader {
    const char *where;
    char place[MODEL_NAME_LIMIT + 64]; /* "layer 3 ('conv1')", "defaults" */
    char *error;
    size_t error_size;
};

/* Writes the sentence "where: place: ..." and answers with status. */
enum model_status model_fail(const struct model_reader *r, enum model_status status,
                             const char *format, ...) __attribute__((format(printf, 3, 4)));
/* "key": expected ..., found ...; found NULL: it is missing. */
enum model_status model_wrong(const struct model_reader *r, const char *key, const char *expected,
                              const json_t *found);
enum model_status model_unknown_key(const struct model_reader *r, const char *key);

/* Whether the value is there and of the type. jansson's own tests are macros that read their
 * argument twice. */
static inline bool model_is(const json_t *value, json_type type)
{
    return value && json_typeof(value) == type;
}
static inline bool model_is_number(const json_t *value)
{
    return model_is(value, JSON_INTEGER) || model_is(value, JSON_REAL);
}

/* REAL_OVER: the lower end is excluded */
enum model_field_kind { SIZE, BYTES, SIZE2, PAD, REAL, REAL_OVER, BOOL, NOT, CHOICE, WIDE_CHOICE };

struct model_field {
    const char *key;
    enum model_field_kind kind;
    bool required;
    size_t offset;
    double lo, hi;
    const char *const *choices;
};

/* Reads a value to where its field lies from base on. */
enum model_status model_field_read(const struct model_reader *r, const struct model_field *f,
                                   const json_t *value, void *base);
/* The field of that key in a list that a NULL key ends; NULL: none. */
const struct model_field *model_field_find(const struct model_field *fields, const char *key);
/* An integer in the field's range. */
bool model_size_read(const json_t *value, const struct model_field *f, size_t *out);
/* Letters, digits, '.', '_', '-', fewer than limit. */
bool model_name_good(const json_t *name, size_t limit);
/* A string that fits; none: nothing is read. */
enum model_status model_text_read(const struct model_reader *r, const json_t *value,
                                  const char *key, char *out, size_t size);

/* blocks.c: puts into the model's JSON, in the place of every use of a block, its layers, and takes
 * "blocks" out. */
enum model_status model_blocks_expand(struct model_reader *r, json_t *root);
/* layers.c: the array "layers" into the model, and the net of them. */
enum model_status model_layers_read(struct model_reader *r, const json_t *json,
                                    struct model *model);
void model_layers_free(struct model *model);
/* Builds the layers behind tensor out[0], each into the next of out; a failure is the net's. */
void model_layers_build(const struct model *model, struct model_reader *r, cvy_net *net,
                        cvy_tensor *out);
/* The spellings of two fields that options may change, "unbiased" and "max" first. */
extern const char *const model_var_names[], *const model_pool_names[];
/* defaults.c: the object "defaults". */
enum model_status model_defaults_read(struct model_reader *r, const json_t *json,
                                      struct model_defaults *d);

/* zca.c: the layer behind the input, and that it is not trained (false: there is no room). */
cvy_tensor model_zca_layer(const struct model *model, cvy_net *net, cvy_tensor x);
bool model_zca_freeze(struct model_settings *settings);

#endif
