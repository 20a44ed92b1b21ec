/* The settings of a run, its config.json: written, read again, changed by options. */
#include "cli/train.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

json_t *cli_train_config_json(const struct cli_train_config *c, const struct cli_session *s)
{
    char seed[24];
    /* 64 bits do not fit JSON's integers */
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)c->seed);
    const struct model_defaults *d = &c->d;
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:I, s:I, s:I}", "model", s->model->name, "data",
        c->data, "data_sha256", c->digest, "data_labels_sha256", c->labels, "train_images",
        (json_int_t)s->data->train.n, "test_images", (json_int_t)s->data->test.n, "seed", seed,
        "eval_every", (json_int_t)c->eval_every, "save_every", (json_int_t)c->save_every,
        "snapshot_every", (json_int_t)c->snapshot_every);
    if (*c->probe) json_object_set_new(json, "probe", json_string(c->probe));
    model_numbers_write(d, json);
    model_schedule_write(&d->schedule, json);
    model_sampling_write(d->sampling, json);
    cli_optimizer_save(&d->optimizer, json);
    model_loss_write(d, json);
    model_init_write(&d->init, json);
    model_settings_write(&d->params, json);
    return json;
}

/* A decimal number of 64 bits and nothing else. */
static bool seed_from(const char *text, uint64_t *seed)
{
    char *end;
    errno = 0;
    *seed = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno;
}

/* What runs of an older convoy do not say is as usual: that was all there was. */
static bool numbers_restore(struct model_defaults *d, const json_t *json)
{
#define LATE(member, kind, key, least, most, usual, late, ...) [MODEL_AT_##member] = (late),
#define USUAL(member, kind, key, least, most, usual, ...) \
    if (!json_object_get(json, key)) d->member = (usual);
    static const bool late[] = { MODEL_NUMBERS(LATE) };
    MODEL_NUMBERS(USUAL)
    for (size_t i = 0; i < MODEL_N_NUMBERS; i++) {
        const json_t *value = json_object_get(json, model_number_key(i));
        if (value ? !model_number_read(d, i, value) : !late[i]) return false;
    }
    return true;
}

/* Runs from before it was written down have their model's. */
static bool init_restore(cvy_init_desc *init, const json_t *json)
{
    const json_t *found = json_object_get(json, "init");
    return !found || model_init_read(init, found);
}

/* Where none are written down there are none. */
static bool params_restore(struct model_settings *params, const json_t *json)
{
    const json_t *found = json_object_get(json, "params");
    params->n = 0;
    return !found || !model_settings_read(params, found);
}

/* The settings of the run that is resumed, from its checkpoint. */
int cli_train_config_restore(struct cli_train_config *c, const struct cli_session *s)
{
    const char *text = checkpoint_text(s->checkpoint, "convoy.config"), *data, *sum = "", *labels,
               *seed, *probe = "";
    json_t *json = json_loads(text ? text : "", JSON_REJECT_DUPLICATES, NULL);
    json_int_t eval_every, save_every, snapshot_every = 0;
    struct model_defaults *d = &c->d;
    bool good = json &&
                !json_unpack(json, "{s:s, s?s, s:s, s:s, s:I, s:I, s?I, s?s}", "data", &data,
                             "data_sha256", &sum, "data_labels_sha256", &labels, "seed", &seed,
                             "eval_every", &eval_every, "save_every", &save_every, "snapshot_every",
                             &snapshot_every, "probe", &probe) &&
                numbers_restore(d, json) && cli_optimizer_restore(&d->optimizer, json) &&
                cli_loss_restore(d, json) && init_restore(&d->init, json) &&
                params_restore(&d->params, json);
    good = good && eval_every > 0 && save_every >= 0 && snapshot_every >= 0 && strlen(sum) <= 64 &&
           strlen(labels) == 64 && strlen(data) < sizeof c->data &&
           strlen(probe) < sizeof c->probe && model_schedule_read(&d->schedule, json) &&
           model_sampling_read(&d->sampling, json) && seed_from(seed, &c->seed);
    if (good) {
        c->eval_every = (size_t)eval_every;
        c->save_every = (size_t)save_every;
        c->snapshot_every = (size_t)snapshot_every;
        strcpy(c->data, data);
        strcpy(c->probe, probe);
        strcpy(c->digest, sum);
        strcpy(c->labels, labels);
    }
    json_decref(json);
    return good ? CLI_OK
                : cli_fail(CLI_BAD, "%s: it was not written by convoy train: it cannot be resumed",
                           s->checkpoint->where);
}

int cli_train_config_split(struct cli_train_config *c, size_t images)
{
    const double x = c->d.validation;
    if (x >= 1 && x != floor(x))
        return cli_fail(CLI_USAGE,
                        "--validation: expected a number of images, or a share below 1, "
                        "found %g",
                        x);
    double n = x < 1 ? floor(x * (double)images) : x;
    if (n >= (double)images)
        return cli_fail(CLI_USAGE, "--validation: %g of %zu training images leave none to train on",
                        n, images);
    if (x > 0 && n < 1)
        return cli_fail(CLI_USAGE, "--validation: %g of %zu training images are none", x, images);
    c->trained = c->valid = images - (size_t)n;
    if (c->d.train_limit > c->valid)
        return cli_fail(CLI_USAGE, "--train-images: expected at most the %zu there are, found %zu",
                        c->valid, c->d.train_limit);
    if (c->d.train_limit) c->trained = c->d.train_limit;
    return CLI_OK;
}

/* What has no meaning without something else. */
static int check_needs(const struct model_defaults *d)
{
    const char *needs = NULL;
    if (d->patience) needs = "--patience";
    if (d->keep_best) needs = "--keep-best";
    if (d->schedule.from_best) needs = "the schedule's from_best";
    if (needs && d->validation == 0)
        return cli_fail(CLI_USAGE, "%s needs images to validate with: use --validation", needs);
    if (d->keep_running && !d->keep_best)
        return cli_fail(CLI_USAGE, "--keep-running is of --keep-best: use both");
    if (d->schedule.momentum_to > 0 && d->optimizer.momentum == 0)
        return cli_fail(CLI_USAGE, "the schedule's momentum_to needs a momentum to start from: use "
                                   "--momentum");
    return CLI_OK;
}

int cli_train_config_apply(struct cli_train_config *c, const struct cli_train_options *o)
{
    struct model_defaults *d = &c->d;
    if (o->numbered[MODEL_AT_epochs] && o->numbered[MODEL_AT_steps] &&
        o->number[MODEL_AT_steps] != 0)
        return cli_fail(CLI_USAGE, "expected one of --epochs and --steps, found both");
    if (o->numbered[MODEL_AT_epochs]) d->steps = 0;
    for (size_t i = 0; i < MODEL_N_NUMBERS; i++)
        if (o->numbered[i]) model_number_set(d, i, o->number[i]);
    if (o->seeded) c->seed = o->seed;
    if (o->sampled) d->sampling = o->sampling;
    if (o->eval_every) c->eval_every = o->eval_every;
    if (o->probe) snprintf(c->probe, sizeof c->probe, "%s", o->probe);
    if (o->save_every) c->save_every = o->save_every - 1;
    if (o->snapshot_every) c->snapshot_every = o->snapshot_every - 1;
    if (o->init.weights) {
        d->init.weights = o->init.weights;
        d->init.weights_value = o->init.weights_value;
    }
    if (o->init.biases) {
        d->init.biases = o->init.biases;
        d->init.biases_value = o->init.biases_value;
    }
    for (size_t i = 0; i < o->params.n; i++)
        if (!model_settings_add(&d->params, &o->params.at[i]))
            return cli_fail(CLI_USAGE, "more than %d patterns of parameters, with the model's own",
                            MODEL_SETTINGS);
    cli_loss_apply(&o->loss, d);
    if (o->schedule.given) d->schedule = o->schedule.is;
    schedule_end(&d->schedule, d->epochs, d->steps);
    if (o->numbered[MODEL_AT_sampling_buffer] && d->sampling != SAMPLING_BUFFERED)
        return cli_fail(CLI_USAGE, "--sampling-buffer is of --sampling=buffered, but it is %s",
                        sampling_name((int)d->sampling));
    int code = cli_optimizer_apply(&o->optimizer, &d->optimizer);
    return code ? code : check_needs(d);
}
