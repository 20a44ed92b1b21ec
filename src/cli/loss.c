/* The loss as options; its keys in files are the model's (models.h). */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { KEY_LOSS = 0x4000, KEY_SMOOTHING, KEY_MARGIN, KEY_TEMPERATURE, KEY_WEIGHTS, KEY_IGNORE };

static const struct argp_option options[] = {
    { .doc = "Loss:", .group = 7 },
    { "loss", KEY_LOSS, "NAME", 0,
      "how far outputs are from labels: cross_entropy (of the softmax), mse, bce (of each sigmoid) "
      "or hinge",
      0 },
    { "label-smoothing", KEY_SMOOTHING, "S", 0,
      "how much of a label all classes share, in [0, 1); not of hinge", 0 },
    { "margin", KEY_MARGIN, "X", 0, "of hinge (1)", 0 },
    { "temperature", KEY_TEMPERATURE, "T", 0,
      "of cross_entropy: its softmax is of the outputs divided by T (1)", 0 },
    { "class-weights", KEY_WEIGHTS, "LIST", 0,
      "how much an image of each class counts; with 0 it takes no part", 0 },
    { "ignore-index", KEY_IGNORE, "CLASS", 0, "images of this label take no part", 0 },
    { 0 }
};

static size_t parse_weights(const struct argp_state *state, const char *text, double *weights)
{
    size_t n = 0;
    for (const char *at = text;; at++) {
        char word[64], *end;
        size_t length = strcspn(at, ",");
        if (n == MODEL_CLASSES || !length || length >= sizeof word) break;
        memcpy(word, at, length);
        word[length] = '\0';
        weights[n] = strtod(word, &end);
        if (*end || !(weights[n] >= 0 && weights[n] <= 1e30)) break;
        n++;
        at += length;
        if (!*at) return n;
    }
    cli_refuse(state,
               "--class-weights: expected numbers, 0 or more, with commas between, found '%.60s'",
               text);
    return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct cli_loss *o = state->input;
    const char *names[CVY_LOSS_KINDS + 1] = { NULL };
    switch (key) {
    case KEY_LOSS:
        for (int k = 0; k < CVY_LOSS_KINDS; k++) names[k] = cvy_loss_name((enum cvy_loss_kind)k);
        o->chosen =
            cvy_loss_from_name(cli_choice(state, o->given = "loss", arg, names), &o->desc.kind);
        return 0;
    case KEY_SMOOTHING:
        o->desc.label_smoothing = cli_real(state, o->given = "label-smoothing", arg, 0, 1);
        if (o->desc.label_smoothing == 1)
            cli_refuse(state,
                       "--label-smoothing: expected a number from 0 to below 1, found '%.60s'",
                       arg);
        o->smooths = true;
        return 0;
    case KEY_MARGIN:
        o->desc.margin = cli_real(state, o->given = "margin", arg, 0, 1e30);
        if (o->desc.margin == 0)
            cli_refuse(state,
                       "--margin: expected a number above 0 and at most 1e+30, found '%.60s'", arg);
        return 0;
    case KEY_TEMPERATURE:
        o->desc.temperature = cli_real(state, o->given = "temperature", arg, 1e-30, 1e30);
        return 0;
    case KEY_WEIGHTS:
        o->given = "class-weights";
        o->n_weights = parse_weights(state, arg, o->weights);
        return 0;
    case KEY_IGNORE:
        o->desc.ignore_index = (int32_t)cli_integer(state, o->given = "ignore-index", arg, 0, 255);
        o->desc.ignore = true;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}
const struct argp cli_loss_argp = { .options = options, .parser = parse };

void cli_loss_apply(const struct cli_loss *o, struct model_defaults *d)
{
    if (o->chosen && o->desc.kind != d->loss.kind) /* what the model says is of its own loss */
        d->loss = (cvy_loss_desc){ .kind = o->desc.kind,
                                   .ignore = d->loss.ignore,
                                   .ignore_index = d->loss.ignore_index };
    if (o->smooths) d->loss.label_smoothing = o->desc.label_smoothing;
    if (o->desc.margin != 0) d->loss.margin = o->desc.margin;
    if (o->desc.temperature != 0) d->loss.temperature = o->desc.temperature;
    if (o->desc.ignore) {
        d->loss.ignore = true;
        d->loss.ignore_index = o->desc.ignore_index;
    }
    if (!o->n_weights) return;
    memcpy(d->class_weights, o->weights, sizeof d->class_weights);
    d->n_class_weights = o->n_weights;
}

int cli_loss_check(const struct model_defaults *d, size_t classes)
{
    if (!d->n_class_weights || d->n_class_weights == classes) return CLI_OK;
    return cli_fail(CLI_BAD, "%zu class weights for a model of %zu classes", d->n_class_weights,
                    classes);
}

bool cli_loss_restore(struct model_defaults *d, const json_t *json)
{
    const char *key;
    json_t *value;
    d->loss = (cvy_loss_desc){ 0 };
    d->n_class_weights = 0;
    json_object_foreach ((json_t *)json, key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        const char *expected = model_loss_read(d, key, value);
        if (expected && *expected) return false;
    }
    return true;
}

static bool trained_with(const struct cli_session *s, struct model_defaults *d)
{
    const char *text = s->checkpoint ? checkpoint_text(s->checkpoint, "convoy.config") : NULL;
    json_t *json = json_loads(text ? text : "", JSON_REJECT_DUPLICATES, NULL);
    bool good = !text || (json && cli_loss_restore(d, json));
    static const size_t told[] = { MODEL_AT_eval_batch, MODEL_AT_batch_means };
    for (size_t i = 0; i < sizeof told / sizeof *told && good; i++) {
        const json_t *value = json_object_get(json, model_number_key(told[i]));
        good = !value || model_number_read(d, told[i], value);
    }
    json_decref(json);
    return good;
}

int cli_settle(const struct cli_session *s, struct model_defaults *d)
{
    *d = s->model->defaults;
    return trained_with(s, d)
               ? CLI_OK
               : cli_fail(CLI_BAD, "%s: its settings were not written by convoy train",
                          s->checkpoint->where);
}
