/* What holds for some parameters, by patterns of their names: models' and runs' files. */
#include <math.h>
#include <string.h>

#include "models/models.h"

static bool read_flag(bool *flag, const json_t *value)
{
    *flag = json_is_true(value);
    return json_is_boolean(value);
}

/* A key of an entry. A decay_factor of 0 is said as no_decay, a max_norm as no_max_norm: in the
 * library 0 says nothing. */
static bool read_key(struct model_setting *s, const char *key, const json_t *value)
{
    double number = json_number_value(value);
    bool factor = json_is_number(value) && number <= 1e6;
    if (!strcmp(key, "match")) {
        size_t length = json_string_length(value);
        if (!length || length >= sizeof s->match) return false;
        memcpy(s->match, json_string_value(value), length + 1);
        return true;
    }
    if (!strcmp(key, "init"))
        return cvy_init_from_name(json_string_value(value), &s->is.init) && s->is.init;
    if (!strcmp(key, "init_value")) {
        s->is.init_value = number;
        return json_is_number(value) && fabs(number) <= 1e30;
    }
    if (!strcmp(key, "frozen")) return read_flag(&s->is.frozen, value);
    if (!strcmp(key, "trained")) return read_flag(&s->is.trained, value);
    if (!strcmp(key, "lr_factor")) {
        s->is.lr_factor = number;
        return factor && number > 0;
    }
    if (!strcmp(key, "max_norm")) {
        s->is.max_norm = number;
        s->is.no_max_norm = number == 0;
        return json_is_number(value) && number >= 0 && number <= 1e30;
    }
    if (strcmp(key, "decay_factor") || !factor || number < 0) return false;
    s->is.decay_factor = number;
    s->is.no_decay = number == 0;
    return true;
}

const char *model_settings_read(struct model_settings *settings, const json_t *json)
{
    static const char expected[] =
        "an array of at most 32 {\"match\": \"conv1.*\", \"frozen\": true, \"trained\": true, "
        "\"lr_factor\": 0.1, \"decay_factor\": 0, \"max_norm\": 3, \"init\": \"normal\", "
        "\"init_value\": 0.01}, of which only match is needed";
    size_t n = json_array_size(json);
    if (!json_is_array(json) || n > MODEL_SETTINGS) return expected;
    settings->n = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = json_array_get(json, i);
        struct model_setting *s = &settings->at[i];
        const char *key;
        json_t *value;
        *s = (struct model_setting){ .match = "" };
        if (!json_is_object(entry)) return expected;
        json_object_foreach ((json_t *)entry, key, value) { /* GCOVR_EXCL_BR_LINE */
            if (!read_key(s, key, value)) return expected;
        }
        if (!*s->match) return expected;
    }
    settings->n = n;
    return NULL;
}

void model_settings_write(const struct model_settings *settings, json_t *json)
{
    if (!settings->n) return;
    json_t *all = json_array();
    for (size_t i = 0; i < settings->n; i++) {
        const struct model_setting *s = &settings->at[i];
        json_t *entry = json_pack("{s:s}", "match", s->match);
        if (s->is.frozen) json_object_set_new(entry, "frozen", json_true());
        if (s->is.trained) json_object_set_new(entry, "trained", json_true());
        if (s->is.lr_factor != 0)
            json_object_set_new(entry, "lr_factor", json_real(s->is.lr_factor));
        if (s->is.no_decay || s->is.decay_factor != 0)
            json_object_set_new(entry, "decay_factor", json_real(s->is.decay_factor));
        if (s->is.no_max_norm || s->is.max_norm != 0)
            json_object_set_new(entry, "max_norm", json_real(s->is.max_norm));
        if (s->is.init) json_object_set_new(entry, "init", json_string(cvy_init_name(s->is.init)));
        if (s->is.init_value != 0)
            json_object_set_new(entry, "init_value", json_real(s->is.init_value));
        json_array_append_new(all, entry);
    }
    json_object_set_new(json, "params", all);
}

bool model_settings_add(struct model_settings *settings, const struct model_setting *setting)
{
    if (settings->n == MODEL_SETTINGS) return false;
    settings->at[settings->n++] = *setting;
    return true;
}

const cvy_param_setting *model_settings(const struct model_settings *settings,
                                        cvy_param_setting out[MODEL_SETTINGS])
{
    for (size_t i = 0; i < settings->n; i++) {
        out[i] = settings->at[i].is;
        out[i].match = settings->at[i].match;
    }
    return out;
}
