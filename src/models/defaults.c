/* The settings of training that a model file gives, its "defaults", and their parts that files of
 * runs have too: numbers, loss, optimiser, first weights. */
#include "models/fields.h"

#include <stdio.h>
#include <string.h>

#define DAT(member) offsetof(struct model_defaults, member)
#define NUMBER_FIELD(member, kind, key, least, most, ...) \
    { key, kind, false, DAT(member), least, most, NULL },
static const struct model_field default_fields[] = { MODEL_NUMBERS(NUMBER_FIELD){ NULL, SIZE, false,
                                                                                  0, 0, 0, NULL } };

const char *model_number_key(size_t at) { return default_fields[at].key; }

static bool is_size(const struct model_field *f) { return f->kind == SIZE || f->kind == BYTES; }

void model_number_set(struct model_defaults *d, size_t at, double number)
{
    void *to = (char *)d + default_fields[at].offset;
    if (is_size(&default_fields[at])) *(size_t *)to = (size_t)number;
    else if (default_fields[at].kind == BOOL) *(bool *)to = number != 0;
    else *(double *)to = number;
}

bool model_number_read(struct model_defaults *d, size_t at, const json_t *value)
{
    char error[256], place[] = "";
    const struct model_reader r = { .where = place, .error = error, .error_size = sizeof error };
    return model_field_read(&r, &default_fields[at], value, d) == MODEL_OK;
}

static json_t *number_json(const struct model_defaults *d, const struct model_field *f)
{
    const void *from = (const char *)d + f->offset;
    if (is_size(f)) return json_integer((json_int_t) * (const size_t *)from);
    if (f->kind == BOOL) return json_boolean(*(const bool *)from);
    return json_real(*(const double *)from);
}

void model_numbers_write(const struct model_defaults *d, json_t *json)
{
    for (size_t i = 0; i < MODEL_N_NUMBERS; i++)
        json_object_set_new(json, model_number_key(i), number_json(d, &default_fields[i]));
}

/* The epochs as a schedule's text has them; false: they are none. */
static bool read_drops(const json_t *value, char text[SCHEDULE_TEXT])
{
    size_t n = json_array_size(value);
    bool good = model_is(value, JSON_ARRAY) && n <= SCHEDULE_LIST;
    json_int_t last = 0;
    strcpy(text, n ? "milestones:epochs=" : "constant");
    for (size_t i = 0; good && i < n; i++) {
        /* 0 for what is no integer */
        const json_int_t epoch = json_integer_value(json_array_get(value, i));
        good = epoch > last && epoch <= 1 << 20;
        sprintf(text + strlen(text), "%s%lld", i ? "/" : "", (long long)(last = epoch));
    }
    return good;
}

static enum model_status read_schedule(const struct model_reader *r, const json_t *json,
                                       struct schedule *schedule)
{
    static const struct model_field factors = { "lr_drop_factor", REAL, false, 0, 0, 1e30, NULL };
    const json_t *whole = json_object_get(json, "schedule"),
                 *epochs = json_object_get(json, "lr_drop_epochs"),
                 *factor = json_object_get(json, "lr_drop_factor");
    struct schedule_fault fault;
    char text[SCHEDULE_TEXT] = "constant";
    if (whole && (epochs || factor))
        return model_fail(r, MODEL_BAD, "\"schedule\" and \"%s\": expected one of them",
                          epochs ? "lr_drop_epochs" : factors.key);
    if (whole && !model_is(whole, JSON_STRING))
        return model_wrong(r, "schedule", "a text, as \"cosine:floor=0.001\"", whole);
    if (epochs && !read_drops(epochs, text))
        return model_wrong(r, "lr_drop_epochs",
                           "at most 16 increasing epoch numbers from 1 to 1048576", epochs);
    if (!schedule_parse(whole ? json_string_value(whole) : text, schedule, &fault))
        return model_fail(r, MODEL_BAD, "\"schedule\": %s", fault.text);
    return factor ? model_field_read(r, &factors, factor, &schedule->factor) : MODEL_OK;
}

static bool is_schedule(const char *key)
{
    return !strcmp(key, "schedule") || !strcmp(key, "lr_drop_epochs") ||
           !strcmp(key, "lr_drop_factor");
}

bool model_schedule_read(struct schedule *schedule, const json_t *json)
{
    char error[SCHEDULE_TEXT], place[] = "";
    const struct model_reader r = { .where = place, .error = error, .error_size = sizeof error };
    return read_schedule(&r, json, schedule) == MODEL_OK;
}

void model_schedule_write(const struct schedule *schedule, json_t *json)
{
    char text[SCHEDULE_TEXT];
    json_object_set_new(json, "schedule", json_string(schedule_text(schedule, text)));
}

bool model_sampling_read(enum sampling_kind *kind, const json_t *json)
{
    const json_t *found = json_object_get(json, "sampling");
    *kind = SAMPLING_SHUFFLED;
    return !found || sampling_from_name(json_string_value(found), kind);
}

void model_sampling_write(enum sampling_kind kind, json_t *json)
{
    json_object_set_new(json, "sampling", json_string(sampling_name((int)kind)));
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
    bool good = model_is(value, JSON_ARRAY) && n >= 1 && n <= MODEL_CLASSES;
    for (size_t i = 0; good && i < n; i++) {
        const json_t *weight = json_array_get(value, i);
        d->class_weights[i] = json_number_value(weight);
        good = model_is_number(weight) && d->class_weights[i] >= 0 && d->class_weights[i] <= 1e30;
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
        return model_is_number(value) && number >= 0 && number < 1 ? NULL
                                                                   : "a number from 0 to below 1";
    }
    if (!strcmp(key, "margin")) {
        d->loss.margin = number;
        return model_is_number(value) && number > 0 && number <= 1e30
                   ? NULL
                   : "a number above 0 and at most 1e+30";
    }
    if (!strcmp(key, "temperature")) {
        d->loss.temperature = number;
        return model_is_number(value) && number >= 1e-30 && number <= 1e30
                   ? NULL
                   : "a number from 1e-30 to 1e+30";
    }
    if (!strcmp(key, "class_weights"))
        return read_class_weights(d, value) ? NULL : "an array of numbers, 0 or more, one a class";
    if (!strcmp(key, "ignore_index")) {
        json_int_t index = json_integer_value(value);
        d->loss.ignore = true;
        d->loss.ignore_index = (int32_t)index;
        return model_is(value, JSON_INTEGER) && index == (int32_t)index ? NULL : "a class's number";
    }
    return "";
}

void model_loss_write(const struct model_defaults *d, json_t *json)
{
    json_object_set_new(json, "loss", json_string(cvy_loss_name(d->loss.kind)));
    json_object_set_new(json, "label_smoothing", json_real(d->loss.label_smoothing));
    if (d->loss.margin != 0) json_object_set_new(json, "margin", json_real(d->loss.margin));
    if (d->loss.temperature != 0)
        json_object_set_new(json, "temperature", json_real(d->loss.temperature));
    if (d->loss.ignore)
        json_object_set_new(json, "ignore_index", json_integer(d->loss.ignore_index));
    if (!d->n_class_weights) return;
    json_t *weights = json_array();
    for (size_t i = 0; i < d->n_class_weights; i++)
        json_array_append_new(weights, json_real(d->class_weights[i]));
    json_object_set_new(json, "class_weights", weights);
}

/* Which optimiser; its hyper-parameters at what is usual. */
static enum model_status read_optimizer(const struct model_reader *r, const json_t *name,
                                        cvy_optimizer_desc *desc)
{
    enum cvy_optimizer_kind kind = CVY_SGD;
    if (name && !cvy_optimizer_from_name(json_string_value(name), &kind))
        return model_wrong(r, "optimizer", one_of(optimizer_name), name);
    cvy_optimizer_usual(kind, desc);
    return MODEL_OK;
}

static enum model_status read_hyper(const struct model_reader *r, const cvy_hyper_info *h,
                                    const json_t *value, cvy_optimizer_desc *desc)
{
    double number = 0;
    bool flag = false;
    const struct model_field f = {
        h->name, h->flag ? BOOL : REAL, false, 0, h->least, h->most, NULL
    };
    enum model_status status = model_field_read(r, &f, value, h->flag ? (void *)&flag : &number);
    if (!status && h->below && number >= h->most)
        status = model_fail(r, MODEL_BAD,
                            "\"%s\": expected a number of at least %g and below %g, found %g",
                            h->name, h->least, h->most, number);
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
        return model_is_number(value) ? NULL : "a number";
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
    return model_is(json, JSON_OBJECT) && !init_read_all(init, json, &key);
}

void model_init_write(const cvy_init_desc *init, json_t *json)
{
    json_object_set_new(json, "init",
                        json_pack("{s:s, s:f, s:s, s:f}", "weights", cvy_init_name(init->weights),
                                  "weights_value", init->weights_value, "biases",
                                  cvy_init_name(init->biases), "biases_value", init->biases_value));
}

static enum model_status read_init(const struct model_reader *r, const json_t *json,
                                   cvy_init_desc *init)
{
    const char *key;
    if (!model_is(json, JSON_OBJECT)) return model_wrong(r, "init", "an object", json);
    const char *expected = init_read_all(init, json, &key);
    if (!expected) return MODEL_OK;
    return *expected ? model_wrong(r, key, expected, json_object_get(json, key))
                     : model_unknown_key(r, key);
}

enum model_status model_defaults_read(struct model_reader *r, const json_t *json,
                                      struct model_defaults *d)
{
#define USUAL(member, kind, key, least, most, usual, ...) .member = (usual),
    *d = (struct model_defaults){ MODEL_NUMBERS(USUAL) };
    if (json && !model_is(json, JSON_OBJECT)) return model_wrong(r, "defaults", "an object", json);
    strcpy(r->place, "defaults");
    enum model_status optimizer =
        read_optimizer(r, json_object_get(json, "optimizer"), &d->optimizer);
    if (optimizer) return optimizer;
    enum model_status schedule = read_schedule(r, json, &d->schedule);
    if (schedule) return schedule;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)json, key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        const struct model_field *f = model_field_find(default_fields, key);
        const cvy_hyper_info *hyper =
            cvy_hyper_find(cvy_optimizer_describe(d->optimizer.kind), key);
        const char *expected = model_loss_read(d, key, value);
        enum model_status status = MODEL_OK;
        if (!expected || !strcmp(key, "optimizer") || is_schedule(key)) {
            /* it is read, or was before the others */
        } else if (*expected) {
            status = model_wrong(r, key, expected, value);
        } else if (f) {
            status = model_field_read(r, f, value, d);
        } else if (hyper) {
            status = read_hyper(r, hyper, value, &d->optimizer);
        } else if (!strcmp(key, "sampling")) {
            if (!model_sampling_read(&d->sampling, json))
                status = model_wrong(r, key, one_of(sampling_name), value);
        } else if (!strcmp(key, "init")) {
            status = read_init(r, value, &d->init);
        } else if (!strcmp(key, "params")) {
            expected = model_settings_read(&d->params, value);
            if (expected) return model_wrong(r, key, expected, value);
        } else {
            status = model_unknown_key(r, key);
        }
        if (status) return status;
    }
    if (d->steps && json_object_get(json, "epochs"))
        return model_fail(r, MODEL_BAD, "\"epochs\" and \"steps\": expected one of them");
    *r->place = 0;
    return MODEL_OK;
}
