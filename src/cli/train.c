/* `convoy train`: settles what to train (options over the model's defaults, or a run to go on
 * with), opens it, makes the run directory, trains, and prints d2l's lines. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cli/screen.h"
#include "train/train.h"

extern char **environ;

/* -------------------------------------------------------------------------------------- options */

enum {
    KEY_DATA = 'd',
    KEY_SEED = 's',
    KEY_OUT = 'o',
    KEY_RESUME = 'r',
    KEY_QUIET = 'q',
    KEY_POOL = 0x1000,
    KEY_BN_VAR,
    KEY_API,
    KEY_EVAL_EVERY,
    KEY_SAVE_EVERY,
    KEY_INIT,
    KEY_INIT_BIASES,
    KEY_FREEZE,
    KEY_LR_FACTOR,
    KEY_DECAY_FACTOR,
    KEY_NUMBER = 0x1100 /* and on: MODEL_NUMBERS without a letter */
};

struct options {
    cvy_context_options engine;
    struct model_options change;
    const char *model, *data, *out, *resume;
    bool resuming, quiet;
    size_t eval_every, save_every; /* 0: not given; save_every counts one up */
    double number[MODEL_N_NUMBERS];
    bool numbered[MODEL_N_NUMBERS]; /* given */
    struct cli_optimizer optimizer;
    struct cli_loss loss;
    cvy_init_desc init; /* of what is not DEFAULT */
    struct model_settings params;
    bool seeded;
    uint64_t seed;
    /* an option given that a resumed run cannot change */
    const char *fixed;
};

static const struct argp_option options[] = {
    { .doc = "What to train, and on what:" },
    { "data", KEY_DATA, "DATA", 0,
      "a data set's name, a directory with its files, or synthetic[:seed=S,train=N,test=N] "
      "(default: the model's own)",
      0 },
    { "pool", KEY_POOL, "KIND", 0, "max or avg: the kind of every pool larger than 1x1", 0 },
    { "bn-var", KEY_BN_VAR, "RULE", 0,
      "biased or unbiased: which variance the running statistics keep", 0 },
    { "api", KEY_API, "VERSION", 0,
      "v0 or v1: d2l's settings of that version, for models that have both", 0 },
    { .doc = "How:" },
#define NUMBER_KEY(member, letter) ((letter) ? (letter) : KEY_NUMBER + MODEL_AT_##member)
#define NUMBER_OPTION(member, kind, key, least, most, usual, late, name, letter, word, help) \
    { name, NUMBER_KEY(member, letter), word, 0, help, 0 },
#define NUMBER_NOTHING(...)
    /* clang-format off */
    MODEL_NUMBERS(NUMBER_OPTION, NUMBER_NOTHING)
    /* clang-format on */
    { "seed", KEY_SEED, "N", 0,
      "of the first weights, the order of the images and dropout (default 1)", 0 },
    { "init", KEY_INIT, "KIND[:X]", 0,
      "how weights start: xavier_uniform (default), kaiming_normal, torch_default, zero, constant, "
      "normal, truncated_normal, orthogonal; X: the constant, the standard deviation, or the "
      "length "
      "of a row (1)",
      0 },
    { "init-biases", KEY_INIT_BIASES, "KIND[:X]", 0, "the same of biases (default torch_default)",
      0 },
    { "freeze", KEY_FREEZE, "PATTERN", 0,
      "parameters that stay as they are, e.g. 'conv1.*' or '*.bias'; may be repeated, as the next",
      0 },
    { "lr-factor", KEY_LR_FACTOR, "PATTERN=X", 0,
      "these parameters' learning rate is multiplied by X", 0 },
    { "decay-factor", KEY_DECAY_FACTOR, "PATTERN=X", 0, "the same of their weight decay; 0: none",
      0 },
    { .doc = "The run:" },
    { "out", KEY_OUT, "DIR", 0, "the run's directory (default: runs/TIME-MODEL)", 0 },
    { "resume", KEY_RESUME, "RUN", OPTION_ARG_OPTIONAL,
      "go on with the run in RUN (or in --out), bit for bit as if it had never "
      "stopped; only --epochs, --data, --eval-every, --save-every and the engine's options may "
      "change",
      0 },
    { "eval-every", KEY_EVAL_EVERY, "EPOCHS", 0,
      "evaluate on the test images every so many epochs, and at the end (default 1)", 0 },
    { "save-every", KEY_SAVE_EVERY, "STEPS", 0,
      "also save a checkpoint every so many steps (default 0: only after every epoch)", 0 },
    { "quiet", KEY_QUIET, NULL, 0, "nothing about each epoch on standard error", 0 },
    { 0 }
};

/* "normal:0.01" */
static void parse_init(const struct argp_state *state, const char *option, const char *arg,
                       enum cvy_init *init, double *value)
{
    const char *names[CVY_INITS] = { NULL }, *colon = strchr(arg, ':');
    char word[64];
    for (int k = 1; k < CVY_INITS; k++) names[k - 1] = cvy_init_name((enum cvy_init)k);
    snprintf(word, sizeof word, "%.*s", colon ? (int)(colon - arg) : 63, arg);
    *value = colon ? cli_real(state, option, colon + 1, -1e30, 1e30) : 0;
    (void)cvy_init_from_name(cli_choice(state, option, word, names), init);
}

/* "conv1.*" or, with a factor in [lo, 1e6], "conv1.*=0.1", behind what was said before. */
static void parse_setting(const struct argp_state *state, const char *option, const char *arg,
                          int key, struct model_settings *params)
{
    struct model_setting s = { .is.frozen = key == KEY_FREEZE };
    const char *equals = key == KEY_FREEZE ? NULL : strrchr(arg, '=');
    size_t length = equals ? (size_t)(equals - arg) : strlen(arg);
    if (key != KEY_FREEZE && !equals)
        argp_error(state, "--%s: expected PATTERN=X, found '%.60s'", option, arg);
    if (!length || length >= sizeof s.match)
        argp_error(state, "--%s: expected a pattern of 1 to %zu characters, found '%.60s'", option,
                   sizeof s.match - 1, arg);
    memcpy(s.match, arg, length);
    if (key == KEY_LR_FACTOR) {
        s.is.lr_factor = cli_real(state, option, equals + 1, 0, 1e6);
        if (s.is.lr_factor == 0)
            argp_error(state,
                       "--lr-factor: expected more than 0, found '%.60s' (--freeze keeps "
                       "parameters as they are)",
                       arg);
    }
    if (key == KEY_DECAY_FACTOR) {
        s.is.decay_factor = cli_real(state, option, equals + 1, 0, 1e6);
        s.is.no_decay = s.is.decay_factor == 0;
    }
    if (!model_settings_add(params, &s))
        argp_error(state, "--%s: more than %d patterns", option, MODEL_SETTINGS);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    static const char *const pools[] = { "max", "avg", NULL },
                             *const vars[] = { "biased", "unbiased", NULL },
                             *const apis[] = { "v0", "v1", NULL };
    struct options *o = state->input;
    const char *fixed = NULL;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->optimizer;
        state->child_inputs[1] = &o->loss;
        state->child_inputs[2] = &o->engine;
        return 0;
    case KEY_DATA: o->data = arg; break;
#define SIZE(...) (double)cli_integer(__VA_ARGS__)
#define REAL(...) cli_real(__VA_ARGS__)
#define NUMBER_CASE(member, kind, key, least, most, usual, late, name, letter, word, help)    \
    case NUMBER_KEY(member, letter):                                                          \
        o->number[MODEL_AT_##member] = kind(state, name, arg, least, most);                   \
        o->numbered[MODEL_AT_##member] = true;                                                \
        if (MODEL_AT_##member != MODEL_AT_epochs) fixed = name; /* a run may become longer */ \
        break;
        MODEL_NUMBERS(NUMBER_CASE, NUMBER_NOTHING)
    case KEY_EVAL_EVERY: o->eval_every = cli_integer(state, "eval-every", arg, 1, 1 << 20); break;
    case KEY_SAVE_EVERY:
        o->save_every = cli_integer(state, "save-every", arg, 0, 1 << 30) + 1;
        break;
    case KEY_QUIET: o->quiet = true; break;
    case KEY_OUT: o->out = arg; break;
    case KEY_RESUME:
        o->resuming = true;
        o->resume = arg ? arg : o->resume;
        break;
    case KEY_SEED:
        o->seed = cli_integer(state, fixed = "seed", arg, 0, UINT64_MAX);
        o->seeded = true;
        break;
    case KEY_INIT:
        parse_init(state, fixed = "init", arg, &o->init.weights, &o->init.weights_value);
        break;
    case KEY_INIT_BIASES:
        parse_init(state, fixed = "init-biases", arg, &o->init.biases, &o->init.biases_value);
        break;
    case KEY_FREEZE: parse_setting(state, fixed = "freeze", arg, key, &o->params); break;
    case KEY_LR_FACTOR: parse_setting(state, fixed = "lr-factor", arg, key, &o->params); break;
    case KEY_DECAY_FACTOR:
        parse_setting(state, fixed = "decay-factor", arg, key, &o->params);
        break;
    case KEY_POOL: o->change.pool = cli_choice(state, fixed = "pool", arg, pools); break;
    case KEY_BN_VAR: o->change.bn_var = cli_choice(state, fixed = "bn-var", arg, vars); break;
    case KEY_API: o->change.api = cli_choice(state, fixed = "api", arg, apis); break;
    case ARGP_KEY_ARG:
        if (o->model) argp_error(state, "expected one model, found '%.60s' too", arg);
        o->model = arg;
        break;
    case ARGP_KEY_END:
        /* --resume RUN: a run keeps its model, so this word is the run */
        if (o->resuming && !o->resume && o->model) {
            o->resume = o->model;
            o->model = NULL;
        }
        if (o->resuming && !o->resume) o->resume = o->out;
        if (o->resuming && !o->resume)
            argp_error(state, "--resume needs the run's directory: --resume=DIR");
        if (o->resuming && o->out && strcmp(o->out, o->resume))
            argp_error(state, "--out and --resume name two directories");
        if (o->resuming && o->model)
            argp_error(state, "a run that is resumed keeps its model: leave out '%.60s'", o->model);
        if (!o->fixed) o->fixed = o->optimizer.given;
        if (!o->fixed) o->fixed = o->loss.given;
        if (o->resuming && o->fixed)
            argp_error(state, "a run that is resumed keeps its settings: leave out --%s", o->fixed);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    if (fixed) o->fixed = fixed;
    return 0;
}

static const struct argp_child children[] = { { &cli_optimizer_argp, 0, "Optimizer:", 8 },
                                              { &cli_loss_argp, 0, "Loss:", 8 },
                                              { &cli_engine_argp, 0, "Engine:", 9 },
                                              { 0 } };
static const struct argp argp = {
    .options = options,
    .parser = parse,
    .children = children,
    .args_doc = "[MODEL]",
    .doc = "Trains a model: a built-in one (lenet-bn by default; `convoy info` lists them) or a "
           "JSON file."
           "\vSettings that are not given come from the model. Ctrl-C finishes the step, saves the "
           "run and ends with 130; "
           "`convoy train --resume=RUN` goes on. At the end it prints the last epoch's loss and "
           "accuracies, and the rate as "
           "d2l.ai counts it: all examples by the summed time of the steps, which leaves out "
           "loading and evaluation. What "
           "standard error tells of every epoch is left out by --quiet.\n\n"
           "Examples:\n"
           "  convoy train\n"
           "  convoy train resnet20 -d cifar10 -e 20 -b 128 -l 0.1 -o run\n"
           "  convoy train --resume=run -e 40\n"
           "  convoy train my.json -d ~/data/fashion -t 4\n"
           "  convoy train -e 1 -d synthetic:train=6000,test=1000\n"
};

/* ------------------------------------------------------------------------------------- settings */

/* All that a run is, besides the model: what config.json says. */
struct config {
    char data[4096 + 64];
    struct model_defaults d;
    uint64_t seed;
    size_t eval_every, save_every;
    /* of the data; a run of an older convoy knows the labels' alone: digest "" */
    char digest[65], labels[65];
};

static json_t *config_json(const struct config *c, const struct cli_session *s)
{
    char seed[24];
    /* 64 bits do not fit JSON's integers */
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)c->seed);
    const struct model_defaults *d = &c->d;
    json_t *drops = json_array();
    for (size_t i = 0; i < d->drops; i++)
        json_array_append_new(drops, json_integer((json_int_t)d->drop_epochs[i]));
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:s, s:I, s:I}", "model", s->model->name,
                  "data", c->data, "data_sha256", c->digest, "data_labels_sha256", c->labels,
                  "train_images", (json_int_t)s->data->train.n, "test_images",
                  (json_int_t)s->data->test.n, "lr_drop_epochs", drops, "seed", seed, "eval_every",
                  (json_int_t)c->eval_every, "save_every", (json_int_t)c->save_every);
    model_numbers_write(d, json);
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
    static const bool late[] = { MODEL_NUMBERS(LATE, LATE) };
    MODEL_NUMBERS(USUAL, USUAL)
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
static int config_restore(struct config *c, const struct cli_session *s)
{
    const char *text = checkpoint_text(s->checkpoint, "convoy.config"), *data, *sum = "", *labels,
               *seed;
    json_t *json = json_loads(text ? text : "", JSON_REJECT_DUPLICATES, NULL), *drops;
    json_int_t eval_every, save_every;
    struct model_defaults *d = &c->d;
    bool good =
        json &&
        !json_unpack(json, "{s:s, s?s, s:s, s:o, s:s, s:I, s:I}", "data", &data, "data_sha256",
                     &sum, "data_labels_sha256", &labels, "lr_drop_epochs", &drops, "seed", &seed,
                     "eval_every", &eval_every, "save_every", &save_every) &&
        numbers_restore(d, json) && cli_optimizer_restore(&d->optimizer, json) &&
        cli_loss_restore(d, json) && init_restore(&d->init, json) &&
        params_restore(&d->params, json);
    good = good && eval_every > 0 && save_every >= 0 && strlen(sum) <= 64 && strlen(labels) == 64 &&
           strlen(data) < sizeof c->data && model_drops(drops, d) && seed_from(seed, &c->seed);
    if (good) {
        c->eval_every = (size_t)eval_every;
        c->save_every = (size_t)save_every;
        strcpy(c->data, data);
        strcpy(c->digest, sum);
        strcpy(c->labels, labels);
    }
    json_decref(json);
    return good ? CLI_OK
                : cli_fail(CLI_BAD, "%s: it was not written by convoy train: it cannot be resumed",
                           s->checkpoint->where);
}

static int config_apply(struct config *c, const struct options *o)
{
    struct model_defaults *d = &c->d;
    for (size_t i = 0; i < MODEL_N_NUMBERS; i++)
        if (o->numbered[i]) model_number_set(d, i, o->number[i]);
    if (o->seeded) c->seed = o->seed;
    if (o->eval_every) c->eval_every = o->eval_every;
    if (o->save_every) c->save_every = o->save_every - 1;
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
    return cli_optimizer_apply(&o->optimizer, &d->optimizer);
}

/* -------------------------------------------------------------------------------------- signals */

/* A handler can reach nothing but a static object. */
static volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
    /* GCOVR_EXCL_BR_LINE: a process that ends here counts nothing */
    if (stop_signal) _exit(128 + number);
    stop_signal = number;
}

static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, old;
    const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    sigemptyset(&action.sa_mask);
    /* what the parent ignores (nohup, a background job) stays ignored */
    for (size_t i = 0; i < 3; i++) {
        if (!sigaction(numbers[i], NULL, &old) && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

/* ----------------------------------------------------------------------------------- the screen */

struct view {
    struct cli_screen screen;
    bool quiet;
};

static void show_progress(void *user, const struct train_progress *p)
{
    struct view *view = user;
    char epoch[64], batch[64], loss[32], acc[32], eta[64], rate[64], number[CLI_NUMBER];
    if (view->quiet || (!cli_screen_due(&view->screen) && !p->evaluating)) return;
    snprintf(epoch, sizeof epoch, "epoch %zu/%zu", p->epoch, p->epochs);
    snprintf(batch, sizeof batch, "batch %zu/%zu", p->batch, p->batches);
    snprintf(loss, sizeof loss, "loss %.3f", p->loss);
    snprintf(acc, sizeof acc, "acc %.3f", p->acc);
    snprintf(rate, sizeof rate, "%s ex/s", cli_count(p->rate, number));
    if (p->eta < 100) snprintf(eta, sizeof eta, "ETA %.0f s", p->eta);
    else snprintf(eta, sizeof eta, "ETA %s", cli_time(p->eta, number));
    const char *const parts[] = { epoch, p->evaluating ? "evaluating" : batch, loss, acc, eta, rate,
                                  NULL };
    cli_screen_show(&view->screen, p->batches ? (double)p->batch / (double)p->batches : 1, parts);
}

static void print_epoch(void *user, const struct train_epoch *e)
{
    struct view *view = user;
    char rate[CLI_NUMBER], seconds[CLI_NUMBER], acc[CLI_NUMBER] = "-", all[CLI_NUMBER];
    if (view->quiet) return;
    if (e->evaluated) snprintf(acc, sizeof acc, "%.3f", e->test_acc);
    int width = snprintf(all, sizeof all, "%zu", e->epochs); /* one under the other */
    fprintf(stderr, "%sepoch %*zu/%s  loss %.3f  train acc %.3f  test acc %-5s  %6s ex/s  %7s\n",
            cli_screen_erase(&view->screen), width, e->epoch, all, e->loss, e->train_acc, acc,
            cli_count(e->rate, rate), cli_time(e->seconds, seconds));
}

static void print_vector(const struct cli_session *s, const char *layer, const char *what,
                         const char *call)
{
    char name[256];
    snprintf(name, sizeof name, "%s.%s", layer, what);
    for (size_t i = 0; i < cvy_trainer_params(s->trainer, CVY_PARAM_WEIGHT); i++) {
        cvy_param_info info;
        if (cvy_trainer_param(s->trainer, CVY_PARAM_WEIGHT, i, &info) || strcmp(info.name, name))
            continue;
        float *values = malloc(info.count * sizeof *values);
        if (values && !cvy_trainer_get(s->trainer, CVY_PARAM_WEIGHT, name, values, info.count)) {
            printf("%s of %s: [", call, layer);
            for (size_t k = 0; k < info.count && k < 16; k++)
                printf("%s%.4f", k ? ", " : "", (double)values[k]);
            printf("%s]\n", info.count > 16 ? ", ..." : "");
        }
        free(values);
    }
}

/* gamma and beta of the first batch norm, as d2l's page shows them after training. */
static void print_batch_norm(const struct cli_session *s)
{
    cvy_node_info node;
    for (size_t i = 0; i < cvy_net_nodes(s->net); i++) {
        if (cvy_net_node(s->net, i, &node) || strcmp(node.type, "batch_norm")) continue;
        print_vector(s, node.name, "weight", "gamma");
        print_vector(s, node.name, "bias", "beta");
        return;
    }
}

static void print_result(const struct train_job *job)
{
    const struct train_position *p = &job->position;
    printf("loss %.3f, train acc %.3f, test acc %.3f\n", p->loss, p->train_acc, p->test_acc);
    printf("%.1f examples/sec on cpu\n",
           p->step_seconds > 0 ? (double)p->examples / p->step_seconds : 0);
    printf("%.1f examples/sec by the wall clock (%.1f s, with loading and evaluation)\n",
           p->wall_seconds > 0 ? (double)p->examples / p->wall_seconds : 0, p->wall_seconds);
}

/* ---------------------------------------------------------------------------- the run directory */

/* runs/20260131-235959-lenet-bn, with -2, -3, ... if it is taken; made with mkdir, so two runs
 * never share one. */
static int make_default_directory(char *out, size_t size, const char *model)
{
    char stamp[32], error[CLI_ERROR];
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &tm);
    enum train_status status = files_make_directory("runs", error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    bool taken = true;
    for (int i = 1; taken && i < 1000; i++) {
        if (i == 1) snprintf(out, size, "runs/%s-%s", stamp, model);
        else snprintf(out, size, "runs/%s-%s-%d", stamp, model, i);
        status = files_new_directory(out, &taken, error, sizeof error);
        if (!status) return CLI_OK;
    }
    return cli_fail(cli_code_train(status), "%s", error);
}

static int lock_directory(const char *path, struct files_lock *lock)
{
    char error[CLI_ERROR];
    enum train_status status = files_lock(path, lock, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    if (!lock->held)
        cli_fail(0,
                 "note: the file system of %s has no locks: see to it that no other process trains "
                 "there",
                 path);
    return CLI_OK;
}

/* What a file of the directory is: its length, 0 if there is none. */
static int file_length(const char *directory, const char *name, off_t *length)
{
    char file[PATH_MAX];
    struct stat st;
    *length = 0;
    if ((size_t)snprintf(file, sizeof file, "%s/%s", directory, name) >= sizeof file)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", directory);
    if (!lstat(file, &st)) *length = st.st_size;
    else if (errno != ENOENT)
        return cli_fail(CLI_IO, "%s: cannot look at it: %s", file, strerror(errno));
    return CLI_OK;
}

/* A directory for a new run, locked. A run that was killed before its first checkpoint has trained
 * nothing: its directory may be taken again. */
static int make_directory(const char *path, struct files_lock *lock)
{
    char error[CLI_ERROR];
    off_t checkpoint, metrics;
    enum train_status status = files_make_directory(path, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    int code = lock_directory(path, lock);
    if (!code) code = file_length(path, TRAIN_CHECKPOINT, &checkpoint);
    if (!code) code = file_length(path, TRAIN_METRICS, &metrics);
    if (code) return code;
    if (checkpoint)
        return cli_fail(CLI_USAGE,
                        "%s holds a run already (" TRAIN_CHECKPOINT
                        "): use --resume=%s to go on with it, or another "
                        "--out",
                        path, path);
    if (metrics)
        return cli_fail(CLI_USAGE,
                        "%s holds the " TRAIN_METRICS
                        " of a run whose checkpoint is gone: remove it, or use another "
                        "--out",
                        path);
    return CLI_OK;
}

/* The run that --resume means, locked: its directory, or its checkpoint's. A place that is no
 * directory is left to the reader of checkpoints, which says what it is. */
static int find_run(struct options *o, char *directory, struct files_lock *lock)
{
    struct stat st;
    const char *slash = strrchr(o->resume, '/'), *base = slash ? slash + 1 : o->resume;
    if (!stat(o->resume, &st) && S_ISREG(st.st_mode)) {
        if (strcmp(base, TRAIN_CHECKPOINT))
            return cli_fail(CLI_USAGE,
                            "%s: expected a run's directory or its " TRAIN_CHECKPOINT
                            "; weights alone are no run",
                            o->resume);
        size_t length = slash ? (size_t)(slash - o->resume) : 1;
        /* stat() takes no longer one */
        snprintf(directory, PATH_MAX, "%.*s", (int)(length ? length : 1), slash ? o->resume : ".");
        o->resume = directory;
    }
    off_t checkpoint = 0, config = 0;
    if (stat(o->resume, &st) || !S_ISDIR(st.st_mode)) return CLI_OK;
    int code = lock_directory(o->resume, lock);
    if (!code) code = file_length(o->resume, TRAIN_CHECKPOINT, &checkpoint);
    if (!code) code = file_length(o->resume, "config.json", &config);
    if (!code && !checkpoint && config)
        code = cli_fail(CLI_BAD,
                        "%s: the run was stopped before its first checkpoint, nothing was trained: "
                        "start it again with "
                        "--out=%s",
                        o->resume, o->resume);
    return code;
}

static int write_text(const char *directory, const char *name, const char *text)
{
    char path[PATH_MAX], error[CLI_ERROR];
    /* GCOVR_EXCL_BR_LINE: the checkpoint's fits */
    if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, name) >= sizeof path)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", directory); /* GCOVR_EXCL_LINE */
    char *line = NULL;
    if (asprintf(&line, "%s\n", text) < 0) return cli_fail(CLI_NOMEM, "%s: out of memory", path);
    enum train_status status = files_write(path, line, strlen(line), error, sizeof error);
    free(line);
    return status ? cli_fail(cli_code_train(status), "%s", error) : CLI_OK;
}

static char *env_text(const cvy_context *ctx)
{
    cvy_machine m;
    struct utsname os;
    cvy_machine_describe(&m);
    if (uname(&os)) memset(&os, 0, sizeof os); /* GCOVR_EXCL_BR_LINE: it cannot fail */
    json_t *variables = json_object();
    for (char **e = environ; *e; e++) {
        const char *equals = strchr(*e, '=');
        char key[64];
        if (!equals || (strncmp(*e, "OMP_", 4) && strncmp(*e, "GOMP_", 5) &&
                        strncmp(*e, "KMP_", 4) && strncmp(*e, "CVY_", 4)))
            continue;
        snprintf(key, sizeof key, "%.*s", (int)(equals - *e), *e);
        json_t *value = json_string(equals + 1); /* NULL if it is not UTF-8 */
        json_object_set_new(variables, key, value ? value : json_null());
    }
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s*, s:s, s:I, s:s, s:I, s:I, s:f, s:I, s:I, s:I, s:o}", "convoy",
        cvy_version(), "compiler", __VERSION__, "system", os.sysname, "release", os.release,
        "machine", os.machine, "threads", (json_int_t)cvy_context_threads(ctx), "isa",
        cvy_isa_name(cvy_context_isa(ctx)), "cpus_online", (json_int_t)m.cpus_online,
        "cpus_allowed", (json_int_t)m.cpus_allowed, "cgroup_quota", m.cgroup_quota, "l1d_bytes",
        (json_int_t)m.l1d_bytes, "l2_bytes", (json_int_t)m.l2_bytes, "l3_bytes",
        (json_int_t)m.l3_bytes, "variables", variables);
    json_object_set_new(json, "cpu", json_string(m.cpu)); /* of NULL, jansson makes NULL */
    json_object_set_new(json, "backends", json_string(cvy_context_backends(ctx)));
    json_object_set_new(json, "started", json_integer((json_int_t)time(NULL)));
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    json_decref(json);
    return text;
}

/* ---------------------------------------------------------------------------------- the command */

/* Whether batches of training have statistics there: those that are frozen have none. */
static bool has_statistics(const cvy_trainer *trainer, const char *layer)
{
    cvy_op_info op;
    size_t n = strlen(layer);
    for (size_t i = 0; i < cvy_trainer_ops(trainer); i++)
        if (!cvy_trainer_op(trainer, i, &op) && !strcmp(op.type, "batch_norm.stats") &&
            !strncmp(op.name, layer, n) && !strcmp(op.name + n, ".stats"))
            return true;
    return false;
}

/* A batch of one image has one value per channel behind a linear layer: no variance. Better now
 * than an epoch later. (If all batches are so, the trainer itself has refused.) */
static int check_last_batch(const struct cli_session *s, const struct config *c)
{
    cvy_node_info node;
    if (s->data->train.n % c->d.batch != 1) return CLI_OK;
    for (size_t i = 0; i < cvy_net_nodes(s->net); i++)
        if (!cvy_net_node(s->net, i, &node) && node.out.h * node.out.w == 1 &&
            has_statistics(s->trainer, node.name))
            return cli_fail(CLI_BAD,
                            "batch norm %s needs at least two images in a batch, but %zu images in "
                            "batches of %zu leave "
                            "one alone: use another --batch",
                            node.name, s->data->train.n, c->d.batch);
    return CLI_OK;
}

/* A run that is resumed goes on with the very same images and labels; then what the run's config
 * says of them. */
static int check_same_data(const struct cli_session *s, const struct options *o, struct config *c)
{
    char labels[65];
    cli_labels_sum(s->data, labels);
    if (o->resuming &&
        strcmp(*c->digest ? s->data->digest : labels, *c->digest ? c->digest : c->labels))
        return cli_fail(CLI_BAD,
                        "%s: these are not the images and labels that the run was trained on",
                        s->data->source);
    if (o->resuming && !*c->digest)
        cli_fail(0, "note: the run was begun by an older convoy, which kept a hash of the labels "
                    "only: whether the images are "
                    "the same is not known");
    strcpy(c->digest, s->data->digest);
    strcpy(c->labels, labels);
    /* c->data is longer than PATH_MAX */
    if (s->data->synthetic || !realpath(s->data->source, c->data))
        snprintf(c->data, sizeof c->data, "%s", s->data->source);
    return cli_utf8(c->data, "the directory of the data");
}

static int open_all(struct cli_session *s, const struct options *o, struct config *c)
{
    int code;
    if (o->resuming) {
        if ((code = cli_open_checkpoint(s, o->resume, NULL))) return code;
        c->d = s->model->defaults;
        if ((code = config_restore(c, s))) return code;
    } else {
        if ((code = cli_open_model(s, o->model ? o->model : "lenet-bn", &o->change))) return code;
        c->d = s->model->defaults;
        c->seed = c->eval_every = 1;
    }
    if ((code = config_apply(c, o))) return code;
    const char *data = o->data;
    if (!data && o->resuming) data = c->data;
    if ((code = cli_open_context(s, &o->engine)) || (code = cli_open_net(s)) ||
        (code = cli_loss_check(&c->d, cvy_tensor_shape(s->net, s->logits).c)) ||
        (code = cli_open_data(s, data)))
        return code;
    cvy_param_setting settings[MODEL_SETTINGS];
    const cvy_trainer_options trainer = { .batch = c->d.batch,
                                          .seed = c->seed,
                                          .loss = model_loss(&c->d),
                                          .input = model_input(s->model),
                                          .optimizer = c->d.optimizer,
                                          .clip_norm = c->d.clip_norm,
                                          .accumulate = c->d.accumulate,
                                          .settings = model_settings(&c->d.params, settings),
                                          .n_settings = c->d.params.n,
                                          .init = model_init(&c->d, c->seed) };
    const cvy_input_desc input = model_input(s->model);
    enum cvy_status status = cvy_trainer_create(s->net, s->logits, &trainer, &s->trainer);
    if (!status)
        status = cvy_predictor_create(s->net, s->logits, 256, &input, s->trainer, &s->predictor);
    if (status)
        return cli_fail(cli_code_cvy(status), "%s: %s%s", s->model->where, cvy_message(s->ctx),
                        status == CVY_E_NOMEM
                            ? " (`convoy info MODEL --batch N` tells what a smaller batch takes)"
                            : "");
    code = check_last_batch(s, c);
    return code ? code : check_same_data(s, o, c);
}

static void print_head(const struct cli_session *s)
{
    cvy_machine m;
    cvy_machine_describe(&m);
    const struct data_set *d = s->data;
    bool own = strchr(d->name, ':') != NULL; /* such a name has the directory in it */
    printf("data: %s (", d->name);
    if (!own) printf("%s%s", d->source, d->synthetic ? ": " : ", ");
    printf("%s) %zu train / %zu test\n", d->remark, d->train.n, d->test.n);
    printf("cpu: %s, %s, %zu threads, backends %s\n", m.cpu, cvy_isa_name(cvy_context_isa(s->ctx)),
           cvy_context_threads(s->ctx), cvy_context_backends(s->ctx));
    printf("training on cpu\n");
    fflush(stdout);
}

/* Trains what is open in directory `out`. */
static int train(struct cli_session *s, const struct options *o, const struct config *c,
                 const char *out, const char *config, double start)
{
    char error[CLI_ERROR];
    struct view view = { .screen = cli_screen_open(), .quiet = o->quiet };
    struct train_job job = {
        .ctx = s->ctx,
        .trainer = s->trainer,
        .predictor = s->predictor,
        .eval_loss = model_eval_loss(&c->d),
        .eval_batch = 256,
        .classes = s->data->classes,
        .image_size = s->data->c * s->data->h * s->data->w,
        .train = { s->data->train.images, s->data->train.labels, s->data->train.n },
        .test = { s->data->test.images, s->data->test.labels, s->data->test.n },
        .epochs = c->d.epochs,
        .batch = c->d.batch,
        .seed = c->seed,
        .lr = c->d.optimizer.lr,
        .drop_factor = c->d.drop_factor,
        .drop_epochs = c->d.drop_epochs,
        .drops = c->d.drops,
        .eval_every = c->eval_every,
        .save_every = c->save_every,
        .directory = out,
        .model = s->model->json,
        .config = config,
        .wall_start = start,
        .stop = &stop_signal,
        .progress = show_progress,
        .epoch_done = print_epoch,
        .user = &view
    };
    enum train_status status = TRAIN_OK;
    if (o->resuming) status = train_restore(&job, s->checkpoint, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    catch_signals();
    print_head(s);
    if (o->resuming && job.position.epoch == job.epochs && !o->quiet)
        fprintf(stderr, "all %zu epochs are trained already; --epochs=%zu would go on\n",
                job.epochs, 2 * job.epochs);
    status = train_run(&job, error, sizeof error);
    cli_screen_clear(&view.screen);
    const struct train_position *p = &job.position;
    if (status == TRAIN_INTERRUPTED) {
        cli_fail(0,
                 "interrupted in epoch %llu after batch %llu; saved; go on with: convoy train "
                 "--resume=%s",
                 (unsigned long long)p->epoch + 1, (unsigned long long)p->batch, out);
        return 128 + (int)stop_signal;
    }
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    print_result(&job);
    print_batch_norm(s);
    printf("run: %s\n", out);
    return CLI_OK;
}

static int run(int argc, char **argv)
{
    double start = train_now();
    struct options o = { 0 };
    struct config c = { .seed = 1 };
    struct cli_session s = { 0 };
    struct files_lock lock = { .fd = -1 };
    char directory[PATH_MAX];
    cli_parse(&argp, argc, argv, &o);
    int code = o.resuming ? find_run(&o, directory, &lock) : CLI_OK;
    if (!code) code = open_all(&s, &o, &c);
    json_t *config = code ? NULL : config_json(&c, &s);
    char *text = config ? model_dump(config) : NULL;
    json_decref(config);
    char *env = code ? NULL : env_text(s.ctx);
    const char *out = o.resuming ? o.resume : o.out;
    if (!code && (!text || !env)) code = cli_fail(CLI_NOMEM, "out of memory");
    /* Nothing is created before all that can be wrong has been looked at. */
    if (!code && !out &&
        !(code = make_default_directory(directory, sizeof directory, s.model->name)))
        out = directory;
    if (!code && !o.resuming) code = make_directory(out, &lock);
    if (!code) code = write_text(out, "config.json", text);
    if (!code) code = write_text(out, "model.json", s.model->json);
    if (!code) code = write_text(out, "env.json", env);
    if (!code) code = train(&s, &o, &c, out, text, start);
    free(text);
    free(env);
    cli_close(&s);
    files_unlock(&lock);
    return code;
}

const struct cli_command cli_train = { "train", "train a model, or go on with a run", &argp, run };
