/* The options of `convoy train`. */
#include "cli/train.h"

#include <stdlib.h>
#include <string.h>

enum {
    KEY_SEED = 's',
    KEY_OUT = 'o',
    KEY_RESUME = 'r',
    KEY_QUIET = 'q',
    KEY_POOL = 0x1000,
    KEY_BN_VAR,
    KEY_API,
    KEY_AS_DOCUMENTED,
    KEY_AS_EXECUTED,
    KEY_EVAL_EVERY,
    KEY_SAVE_EVERY,
    KEY_SNAPSHOT_EVERY,
    KEY_PROBE,
    KEY_SAMPLING,
    KEY_INIT,
    KEY_INIT_BIASES,
    KEY_INIT_OF,
    KEY_FREEZE,
    KEY_LR_FACTOR,
    KEY_DECAY_FACTOR,
    KEY_MAX_NORM_OF,
    KEY_TENSORBOARD,
    KEY_NUMBER = 0x1100 /* and on: MODEL_NUMBERS without a letter */
};

/* Of MODEL_NUMBERS: what is true or false needs no argument. */
enum { SIZE_FLAGS = 0, BYTES_FLAGS = 0, REAL_FLAGS = 0, BOOL_FLAGS = OPTION_ARG_OPTIONAL };
static const struct argp_option options[] = {
    { .doc = "What to train, and on what:" },
    CLI_DATA("the model's own"),
    { "pool", KEY_POOL, "KIND", 0, "max or avg: the kind of every pool larger than 1x1", 0 },
    { "bn-var", KEY_BN_VAR, "RULE", 0,
      "biased or unbiased: which variance the running statistics keep", 0 },
    { "api", KEY_API, "NAME", 0,
      "one of the model's variants, its \"apis\": v0 or v1, d2l's settings of that version, of "
      "lenet and lenet-bn",
      0 },
    { "as-documented", KEY_AS_DOCUMENTED, NULL, 0,
      "the model as its authors describe it (the default)", 0 },
    { "as-executed", KEY_AS_EXECUTED, NULL, 0,
      "the variant \"executed\": what their program does instead, where that is known to differ, "
      "as "
      "of yann's models",
      0 },
    { .doc = "How:" },
#define NUMBER_KEY(member, letter) ((letter) ? (letter) : KEY_NUMBER + MODEL_AT_##member)
#define NUMBER_OPTION(member, kind, key, least, most, usual, late, name, letter, word, help) \
    { name, NUMBER_KEY(member, letter), word, kind##_FLAGS, help, 0 },
    /* clang-format off */
    MODEL_NUMBERS(NUMBER_OPTION)
    /* clang-format on */
    { "seed", KEY_SEED, "N", 0,
      "of the first weights, the order of the images and dropout (default 1)", 0 },
    { "sampling", KEY_SAMPLING, "KIND", 0,
      "which images an epoch is of: shuffled (default), fixed, in the order of the data set, "
      "buffered (drawn from a buffer that the data set fills), or replacement (each drawn from "
      "all)",
      0 },
    { "init", KEY_INIT, "KIND[:X]", 0,
      "how weights start: xavier_uniform (default), kaiming_normal, torch_default, zero, constant, "
      "normal, truncated_normal, orthogonal, kaiming_normal_fan_out; X: the constant, the standard "
      "deviation, or the length of a row (1)",
      0 },
    { "init-biases", KEY_INIT_BIASES, "KIND[:X]", 0, "the same of biases (default torch_default)",
      0 },
    { "init-of", KEY_INIT_OF, "PATTERN=KIND[:X]", 0,
      "the same of these parameters alone, e.g. 'fc.weight=normal:0.01'; counts more than --init; "
      "may be repeated, as the next",
      0 },
    { "freeze", KEY_FREEZE, "PATTERN", 0,
      "parameters that stay as they are, e.g. 'conv1.*' or '*.bias'", 0 },
    { "lr-factor", KEY_LR_FACTOR, "PATTERN=X", 0,
      "these parameters' learning rate is multiplied by X", 0 },
    { "decay-factor", KEY_DECAY_FACTOR, "PATTERN=X", 0, "the same of their weight decay; 0: none",
      0 },
    { "max-norm-of", KEY_MAX_NORM_OF, "PATTERN=X", 0,
      "these parameters' own --max-norm; of a convolution each output channel's weights, of "
      "biases, "
      "gamma and beta each number by itself",
      0 },
    { .doc = "The run:" },
    { "out", KEY_OUT, "DIR", 0, "the run's directory (default: runs/TIME-MODEL)", 0 },
    { "resume", KEY_RESUME, "RUN", OPTION_ARG_OPTIONAL,
      "go on with the run in RUN (or in --out), bit for bit as if it had never "
      "stopped; only --epochs, --steps, --data, --eval-every, --eval-steps, --eval-images, "
      "--save-every, --snapshot-every, --probe, --memory-limit and the engine's options may change",
      0 },
    { "eval-every", KEY_EVAL_EVERY, "EPOCHS", 0,
      "evaluate on the test images every so many epochs, and at the end (default 1)", 0 },
    { "save-every", KEY_SAVE_EVERY, "STEPS", 0,
      "also save a checkpoint every so many steps (default 0: only after every epoch)", 0 },
    { "snapshot-every", KEY_SNAPSHOT_EVERY, "EPOCHS", 0,
      "keep the weights of every so many epochs, and the first ones, in DIR/params, for `convoy "
      "visualise --epoch` (default 0: none)",
      0 },
    { "tensorboard", KEY_TENSORBOARD, "DIR", 0,
      "write what TensorBoard shows, too: numbers, histograms of parameters, pictures", 0 },
    { "probe", KEY_PROBE, "LAYER[:UNIT]", 0,
      "with every evaluation write percentiles (15, 50, 85), mean and variance of what that layer, "
      "or its unit or channel, gives for the first 1000 test images to metrics.jsonl",
      0 },
    { "quiet", KEY_QUIET, NULL, 0, "nothing about each epoch on standard error", 0 },
    { 0 }
};

static void parse_sampling(const struct argp_state *state, const char *option, const char *arg,
                           struct cli_train_options *o)
{
    const char *names[SAMPLING_KINDS + 1] = { NULL };
    for (int k = 0; k < SAMPLING_KINDS; k++) names[k] = sampling_name(k);
    o->sampled = sampling_from_name(cli_choice(state, option, arg, names), &o->sampling);
}

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

/* Said by --api, --as-executed or --as-documented (none), but by one of them. */
static void change_api(const struct argp_state *state, struct cli_train_options *o,
                       const char *option, const char *api)
{
    if (o->api_by && strcmp(o->api_by, option))
        cli_refuse(state, "expected one of --%s and --%s, found both", o->api_by, option);
    o->api_by = option;
    o->change.api = api;
}

/* "conv1.*" or, with a factor in [lo, 1e6], "conv1.*=0.1", behind what was said before. */
static void parse_setting(const struct argp_state *state, const char *option, const char *arg,
                          int key, struct model_settings *params)
{
    struct model_setting s = { .is.frozen = key == KEY_FREEZE };
    const char *equals = key == KEY_FREEZE ? NULL : strrchr(arg, '=');
    size_t length = equals ? (size_t)(equals - arg) : strlen(arg);
    if (key != KEY_FREEZE && !equals)
        cli_refuse(state, "--%s: expected PATTERN=%s, found '%.60s'", option,
                   key == KEY_INIT_OF ? "KIND[:X]" : "X", arg);
    if (!length || length >= sizeof s.match)
        cli_refuse(state, "--%s: expected a pattern of 1 to %zu characters, found '%.60s'", option,
                   sizeof s.match - 1, arg);
    memcpy(s.match, arg, length);
    if (key == KEY_INIT_OF) parse_init(state, option, equals + 1, &s.is.init, &s.is.init_value);
    if (key == KEY_LR_FACTOR) {
        s.is.lr_factor = cli_real(state, option, equals + 1, 0, 1e6);
        if (s.is.lr_factor == 0)
            cli_refuse(state,
                       "--lr-factor: expected more than 0, found '%.60s' (--freeze keeps "
                       "parameters as they are)",
                       arg);
    }
    if (key == KEY_DECAY_FACTOR) {
        s.is.decay_factor = cli_real(state, option, equals + 1, 0, 1e6);
        s.is.no_decay = s.is.decay_factor == 0;
    }
    if (key == KEY_MAX_NORM_OF) {
        s.is.max_norm = cli_real(state, option, equals + 1, 0, 1e30);
        s.is.no_max_norm = s.is.max_norm == 0;
    }
    if (!model_settings_add(params, &s))
        cli_refuse(state, "--%s: more than %d patterns", option, MODEL_SETTINGS);
}

/* What can be said of all options only: which run is resumed, and that it keeps its settings. */
static void finish(const struct argp_state *state, struct cli_train_options *o)
{
    if (!o->fixed) o->fixed = o->optimizer.given;
    if (!o->fixed) o->fixed = o->loss.given;
    if (!o->fixed && o->schedule.given) o->fixed = "schedule";
    if (!o->fixed && o->change.input[0]) o->fixed = "input";
    if (!o->fixed && o->change.classes) o->fixed = "classes";
    if (!o->resuming) return;
    /* --resume RUN: a run keeps its model, so this word is the run */
    if (!o->resume && o->model) {
        o->resume = o->model;
        o->model = NULL;
    }
    if (!o->resume) o->resume = o->out;
    if (!o->resume) cli_refuse(state, "--resume needs the run's directory: --resume=DIR");
    if (o->out && strcmp(o->out, o->resume))
        cli_refuse(state, "--out and --resume name two directories");
    if (o->model)
        cli_refuse(state, "a run that is resumed keeps its model: leave out '%.60s'", o->model);
    if (o->fixed)
        cli_refuse(state, "a run that is resumed keeps its settings: leave out --%s", o->fixed);
}

/* Options of which a run that is resumed may have others. */
static error_t parse_run(int key, char *arg, const struct argp_state *state,
                         struct cli_train_options *o)
{
    switch (key) {
    case CLI_KEY_DATA: o->data = arg; return 0;
    case KEY_EVAL_EVERY:
        o->eval_every = cli_integer(state, "eval-every", arg, 1, 1 << 20);
        return 0;
    case KEY_SAVE_EVERY:
        o->save_every = cli_integer(state, "save-every", arg, 0, 1 << 30) + 1;
        return 0;
    case KEY_SNAPSHOT_EVERY:
        o->snapshot_every = cli_integer(state, "snapshot-every", arg, 0, 1 << 20) + 1;
        return 0;
    case KEY_PROBE:
        if (strlen(arg) >= TRAIN_PROBE)
            cli_refuse(state, "--probe: expected at most %d characters", TRAIN_PROBE - 1);
        o->probe = arg;
        return 0;
    case KEY_QUIET: o->quiet = true; return 0;
    case KEY_TENSORBOARD: o->tensorboard = arg; return 0;
    case KEY_OUT: o->out = arg; return 0;
    case KEY_RESUME:
        o->resuming = true;
        o->resume = arg ? arg : o->resume;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* Numbers of which a run that is resumed may have others: how long it is, how it is watched, and
 * what it may take. */
static bool may_change(size_t at)
{
    return at == MODEL_AT_epochs || at == MODEL_AT_steps || at == MODEL_AT_eval_steps ||
           at == MODEL_AT_eval_images || at == MODEL_AT_memory_limit;
}

/* An option without a number: it is given, or, where the model says it, taken back. */
static double is_wanted(const struct argp_state *state, const char *option, const char *arg,
                        double least, double most)
{
    static const char *const answers[] = { "yes", "no", NULL };
    return !arg || !strcmp(cli_choice(state, option, arg, answers), "yes") ? most : least;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    static const char *const pools[] = { "max", "avg", NULL }, *const vars[] = { "biased",
                                                                                 "unbiased", NULL };
    struct cli_train_options *o = state->input;
    const char *fixed = NULL;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->optimizer;
        state->child_inputs[1] = &o->loss;
        state->child_inputs[2] = &o->schedule;
        state->child_inputs[3] = &o->engine;
        state->child_inputs[4] = &o->change;
        return 0;
#define SIZE(...) (double)cli_integer(__VA_ARGS__)
#define BYTES(state, name, arg, least, most) (double)cli_size(state, name, arg, most)
#define REAL(...) cli_real(__VA_ARGS__)
#define BOOL(...) is_wanted(__VA_ARGS__)
#define NUMBER_CASE(member, kind, key, least, most, usual, late, name, letter, word, help) \
    case NUMBER_KEY(member, letter):                                                       \
        o->number[MODEL_AT_##member] = kind(state, name, arg, least, most);                \
        o->numbered[MODEL_AT_##member] = true;                                             \
        if (!may_change(MODEL_AT_##member)) fixed = name;                                  \
        break;
        MODEL_NUMBERS(NUMBER_CASE)
    case KEY_SEED:
        o->seed = cli_integer(state, fixed = "seed", arg, 0, UINT64_MAX);
        o->seeded = true;
        break;
    case KEY_SAMPLING: parse_sampling(state, fixed = "sampling", arg, o); break;
    case KEY_INIT:
        parse_init(state, fixed = "init", arg, &o->init.weights, &o->init.weights_value);
        break;
    case KEY_INIT_BIASES:
        parse_init(state, fixed = "init-biases", arg, &o->init.biases, &o->init.biases_value);
        break;
    case KEY_INIT_OF: parse_setting(state, fixed = "init-of", arg, key, &o->params); break;
    case KEY_FREEZE: parse_setting(state, fixed = "freeze", arg, key, &o->params); break;
    case KEY_LR_FACTOR: parse_setting(state, fixed = "lr-factor", arg, key, &o->params); break;
    case KEY_DECAY_FACTOR:
        parse_setting(state, fixed = "decay-factor", arg, key, &o->params);
        break;
    case KEY_MAX_NORM_OF: parse_setting(state, fixed = "max-norm-of", arg, key, &o->params); break;
    case KEY_POOL: o->change.pool = cli_choice(state, fixed = "pool", arg, pools); break;
    case KEY_BN_VAR: o->change.bn_var = cli_choice(state, fixed = "bn-var", arg, vars); break;
    case KEY_API: change_api(state, o, fixed = "api", arg); break;
    case KEY_AS_DOCUMENTED: change_api(state, o, fixed = "as-documented", NULL); break;
    case KEY_AS_EXECUTED: change_api(state, o, fixed = "as-executed", "executed"); break;
    case ARGP_KEY_ARG:
        if (o->model) cli_refuse(state, "expected one model, found '%.60s' too", arg);
        o->model = arg;
        break;
    case ARGP_KEY_END: finish(state, o); break;
    default: return parse_run(key, arg, state, o);
    }
    if (fixed) o->fixed = fixed;
    return 0;
}

static const struct argp_child children[] = {
    { &cli_optimizer_argp, 0, NULL, 6 }, { &cli_loss_argp, 0, NULL, 7 },
    { &cli_schedule_argp, 0, NULL, 8 },  { &cli_engine_argp, 0, NULL, 9 },
    { &cli_shape_argp, 0, NULL, 1 },     { 0 }
};
const struct argp cli_train_argp = {
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
           "  convoy train resnet18 -d cifar10 --input 3x32x32 --classes 10\n"
           "  convoy train --resume=run -e 40\n"
           "  convoy train my.json -d ~/data/fashion -t 4\n"
           "  convoy train -e 1 -d synthetic:train=6000,test=1000\n"
};
