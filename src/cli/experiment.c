/* `convoy sweep` and `convoy ablate`: settles which experiment, plans its runs and looks at all of
 * them before the first one begins, trains them, prints the table, and says what was found. */
#include "cli/experiment.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/screen.h"
#include "cli/train.h"
#include "report/text.h"

enum {
    KEY_EPOCHS = 'e',
    KEY_JOBS = 'j',
    KEY_OUT = 'o',
    KEY_QUIET = 'q',
    KEY_SEED = 's',
    KEY_SEEDS = 0x1000,
    KEY_QUICK,
    KEY_VALUES
};

/* ---------------------------------------------------------------------------------- the options */

static const struct argp_option options[] = {
    CLI_DATA("each model's own"),
    { "epochs", KEY_EPOCHS, "N", 0, "of each run (default: the model's own; with --quick few)", 0 },
    { "values", KEY_VALUES, "LIST", 0,
      "the values to try, with commas between, where an experiment has such (default: its own)",
      0 },
    { "seed", KEY_SEED, "N", 0, "of the first run of each row (default 1)", 0 },
    { "seeds", KEY_SEEDS, "N", 0,
      "train every row so many times, with one seed after the other, and print means and standard "
      "deviations (default 1)",
      0 },
    { "quick", KEY_QUICK, NULL, 0, "fewer values and epochs: an impression in about a minute", 0 },
    { "out", KEY_OUT, "DIR", 0,
      "the experiment's directory (default: runs/TIME-NAME); one that was interrupted goes on "
      "there",
      0 },
    { "jobs", KEY_JOBS, "N", 0,
      "runs at a time (default: as many as CPUs, each with one thread; --threads is of each run)",
      0 },
    { "quiet", KEY_QUIET, NULL, 0, "no progress on standard error", 0 },
    { 0 }
};

/* "lr, init" */
static const char *names_of(const char *command, char *out, size_t size)
{
    size_t used = 0;
    *out = '\0';
    for (size_t i = 0; experiments[i]; i++)
        if (!strcmp(experiments[i]->command, command) && used < size)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "",
                                     experiments[i]->name);
    return out;
}

static void choose(const struct argp_state *state, const char *word, struct experiment_options *o)
{
    const char *names[32];
    char list[200], hint[CLI_HINT];
    size_t n = 0;
    for (size_t i = 0; experiments[i]; i++) {
        if (strcmp(experiments[i]->command, o->command)) continue;
        if (!strcmp(experiments[i]->name, word)) o->experiment = experiments[i];
        names[n++] = experiments[i]->name;
    }
    names[n] = NULL;
    if (!o->experiment)
        cli_refuse(state, "expected one of %s, found '%.60s'%s",
                   names_of(o->command, list, sizeof list), word,
                   cli_hint(word, "", names, NULL, hint));
}

/* "0.1,1,10" */
static void parse_values(const struct argp_state *state, struct experiment_options *o)
{
    char text[1024], *rest = text, *word;
    const struct experiment *e = o->experiment;
    if (!o->values) return;
    if (!e->takes_values)
        cli_refuse(state, "%s%s%s has no --values", e->command, *e->name ? " " : "", e->name);
    if ((size_t)snprintf(text, sizeof text, "%s", o->values) >= sizeof text)
        cli_refuse(state, "--values: too long");
    while ((word = strsep(&rest, ","))) {
        if (o->n_values == EXPERIMENT_VALUES)
            cli_refuse(state, "--values: expected at most %d", EXPERIMENT_VALUES);
        o->value[o->n_values] = cli_real(state, "values", word, e->least, e->most);
        if (e->whole && o->value[o->n_values] != floor(o->value[o->n_values]))
            cli_refuse(state, "--values: expected whole numbers, found '%.60s'", word);
        for (size_t i = 0; i < o->n_values; i++)
            if (o->value[i] == o->value[o->n_values])
                cli_refuse(state, "--values: %.60s is there twice", word);
        o->n_values++;
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct experiment_options *o = state->input;
    char list[200];
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &o->engine; return 0;
    case CLI_KEY_DATA: o->data = arg; return 0;
    case KEY_EPOCHS: o->epochs = cli_integer(state, "epochs", arg, 1, 1 << 20); return 0;
    case KEY_VALUES: o->values = arg; return 0;
    case KEY_SEED: o->seed = cli_integer(state, "seed", arg, 0, 1u << 31); return 0;
    case KEY_SEEDS: o->seeds = cli_integer(state, "seeds", arg, 1, 1000); return 0;
    case KEY_QUICK: o->quick = true; return 0;
    case KEY_OUT: o->out = arg; return 0;
    case KEY_JOBS: o->jobs = cli_integer(state, "jobs", arg, 1, 1024); return 0;
    case KEY_QUIET: o->quiet = true; return 0;
    case ARGP_KEY_ARG:
        if (!o->experiment) {
            choose(state, arg, o);
            return 0;
        }
        if (!o->experiment->takes_models)
            cli_refuse(state, "%s%s%s takes no model, found '%.60s'", o->command,
                       *o->experiment->name ? " " : "", o->experiment->name, arg);
        if (o->n_models == EXPERIMENT_MODELS)
            cli_refuse(state, "expected at most %d models", EXPERIMENT_MODELS);
        o->model[o->n_models++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->experiment)
            cli_refuse(state, "expected one of %s", names_of(o->command, list, sizeof list));
        parse_values(state, o);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* ------------------------------------------------------------------------------------- the plan */

int experiment_add(struct experiment_plan *p, const char *group, const char *value, double x,
                   json_t *model)
{
    if (!model) return CLI_BAD; /* it has been told */
    struct experiment_row *rows = realloc(p->row, (p->n + 1) * sizeof *rows);
    struct experiment_run *runs = calloc(p->seeds, sizeof *runs);
    if (rows) p->row = rows;
    if (!rows || !runs) {
        free(runs);
        json_decref(model);
        return cli_fail(CLI_NOMEM, "out of memory");
    }
    const size_t epochs = p->o->quick && !p->o->epochs ? p->quick_epochs : p->o->epochs;
    if (epochs) {
        edit_default(model, "epochs", json_integer((json_int_t)epochs));
        json_object_del(json_object_get(model, "defaults"), "steps");
    }
    struct experiment_row *row = &p->row[p->n++];
    *row = (struct experiment_row){ .x = x, .model = model, .run = runs };
    snprintf(row->group, sizeof row->group, "%s", group);
    snprintf(row->value, sizeof row->value, "%s", value);
    return CLI_OK;
}

/* Letters, digits, '.', '+' and '-' of the row's words: 1e+09 is not 1e-09. */
static void name_run(const struct experiment_row *row, struct experiment_run *run, uint64_t seed)
{
    char words[3 * EXPERIMENT_TEXT];
    size_t n = 0;
    snprintf(words, sizeof words, "%s %s", row->group, row->value);
    for (const char *c = words; *c && n < sizeof words - 1; c++) {
        const bool good = isalnum((unsigned char)*c) || strchr(".+", *c);
        if (good) run->name[n++] = *c;
        else if (n && run->name[n - 1] != '-') run->name[n++] = '-';
    }
    while (n && run->name[n - 1] == '-') n--;
    snprintf(run->name + n, sizeof run->name - n, "%ss%llu", n ? "-" : "",
             (unsigned long long)seed);
    run->seed = seed;
}

/* Whether the row's model and data are what `convoy train` will take; its numbers. */
static int check_row(const struct experiment_plan *p, struct experiment_row *row,
                     char checked[sizeof((struct model *)0)->data])
{
    char error[CLI_ERROR], *text = model_dump(row->model);
    struct cli_session s = { 0 };
    const cvy_context_options engine = { .threads = 1 };
    enum model_status parsed =
        model_parse(row->value, text, strlen(text), NULL, &s.model, error, sizeof error);
    int code = parsed ? cli_fail(cli_code_model(parsed), "%s", error) : CLI_OK;
    free(text);
    if (!code) code = cli_open_context(&s, &engine);
    if (!code) code = cli_open_net(&s);
    cvy_node_info node;
    for (size_t i = 0; !code && i < cvy_net_nodes(s.net); i++)
        if (!cvy_net_node(s.net, i, &node)) row->parameters += (double)node.parameters;
    if (!code) row->chance = log((double)cvy_tensor_shape(s.net, s.logits).c);
    if (!code && strcmp(checked, s.model->data)) {
        struct cli_train_config c = { .seed = 0 };
        strcpy(checked, s.model->data);
        code = cli_open_data(&s, p->o->data);
        if (!code) c.d = s.model->defaults;
        if (!code) code = cli_train_config_split(&c, s.data->train.n);
    }
    cli_close(&s);
    return code;
}

static int make_plan(struct experiment_plan *p)
{
    const struct experiment_options *o = p->o;
    char checked[sizeof((struct model *)0)->data] = "?";
    int code = p->e->plan(p);
    for (size_t i = 0; i < p->n && !code; i++) {
        for (size_t s = 0; s < p->seeds; s++) name_run(&p->row[i], &p->row[i].run[s], o->seed + s);
        code = check_row(p, &p->row[i], checked);
    }
    return code;
}

/* -------------------------------------------------------------------------------- the command */

static void changed(struct experiment_plan *p)
{
    if (p->code) return;
    experiment_print(p, false);
    p->code = experiment_write(p, NULL);
}

static size_t runs_over(const struct experiment_plan *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n * p->seeds; i++)
        n += p->row[i / p->seeds].run[i % p->seeds].state == RUN_DONE;
    return n;
}

static int carry_out(struct experiment_plan *p)
{
    char sentence[EXPERIMENT_SENTENCE] = "";
    const size_t columns = cli_columns(STDOUT_FILENO);
    int code = experiment_train(p, changed);
    if (!code) code = p->code;
    if (code > 128)
        return cli_fail(code,
                        "interrupted: %zu of %zu runs are over; the same command with "
                        "--out=%s goes on",
                        runs_over(p), p->n * p->seeds, p->directory);
    if (code && !p->began) return code;
    if (code)
        return cli_fail(code, "%zu of %zu runs are over; the same command with --out=%s goes on",
                        runs_over(p), p->n * p->seeds, p->directory);
    p->e->conclude(p, sentence);
    putchar('\n');
    text_wrap(stdout, sentence, 0, 0, columns < SCREEN ? columns - 1 : SCREEN);
    code = experiment_write(p, sentence);
    if (!code) code = experiment_draw(p, sentence);
    printf("experiment: %s\n", p->directory);
    return code;
}

static int open_directory(struct experiment_plan *p, char directory[PATH_MAX],
                          struct files_lock *lock)
{
    char name[64], error[CLI_ERROR];
    const char *out = p->o->out;
    snprintf(name, sizeof name, "%s%s%s", p->e->command, *p->e->name ? "-" : "", p->e->name);
    if (!out) {
        int code = cli_train_default_directory(directory, PATH_MAX, name);
        if (code) return code;
        out = directory;
    }
    enum train_status status = files_make_directory(out, error, sizeof error);
    if (!status) status = files_lock(out, lock, error, sizeof error);
    p->directory = out;
    return status ? cli_fail(cli_code_train(status), "%s", error) : CLI_OK;
}

static int run(struct experiment_options *o, const struct argp *argp, int argc, char **argv)
{
    char directory[PATH_MAX];
    struct files_lock lock = { .fd = -1 };
    o->seed = 1;
    for (size_t i = 0; experiments[i]; i++) /* a command of one experiment */
        if (!strcmp(experiments[i]->command, o->command) && !*experiments[i]->name)
            o->experiment = experiments[i];
    cli_parse(argp, argc, argv, o);
    struct experiment_plan p = { .o = o,
                                 .e = o->experiment,
                                 .seeds = o->seeds ? o->seeds : 1,
                                 .quick_epochs = o->experiment->quick_epochs };
    int code = make_plan(&p);
    if (!code) code = open_directory(&p, directory, &lock);
    if (!code) code = carry_out(&p);
    files_unlock(&lock);
    for (size_t i = 0; i < p.n; i++) {
        json_decref(p.row[i].model);
        free(p.row[i].run);
    }
    free(p.row);
    return code;
}

static const struct argp_child children[] = { { &cli_engine_argp, 0, NULL, 9 }, { 0 } };

#define AFTER                                                                                      \
    "Every row of the table is one run, or one a seed, of `convoy train` in a directory of its "   \
    "own "                                                                                         \
    "below --out; experiment.json and experiment.csv there have all numbers. Ctrl-C saves; the "   \
    "same command with the same --out goes on and trains nothing twice. A row whose loss becomes " \
    "no number is a result, not an error.\n\nExamples:\n"

static const struct argp sweep_argp = {
    .options = options,
    .parser = parse,
    .children = children,
    .args_doc = "lr|init [MODEL...]",
    .doc = "Trains models over a range of one setting, and tells where they learn: lr, the "
           "learning rate, of lenet-bn and lenet or of the models named; init, the scale of the "
           "first weights, of cs231n's seven layers of 50 with and without batch normalization."
           "\v" AFTER "  convoy sweep lr --quick\n"
           "  convoy sweep lr resnet20 -d cifar10 -e 2 --values 0.1,0.3,1,3\n"
           "  convoy sweep init --seeds 5 -o init\n"
};

static int run_sweep(int argc, char **argv)
{
    struct experiment_options o = { .command = "sweep" };
    return run(&o, &sweep_argp, argc, argv);
}
const struct cli_command cli_sweep = { "sweep",
                                       "train over a range of learning rates or first weights",
                                       &sweep_argp, run_sweep };

static const struct argp ablate_argp = {
    .options = options,
    .parser = parse,
    .children = children,
    .args_doc = "placement|bias|affine|lite|dropout|batch",
    .doc = "Trains nets with parts of batch normalization taken away, moved or replaced: "
           "placement, which layers have one, and where in them; bias, the biases in front of it; "
           "affine, its gamma and beta, and its statistics; lite, its mean or its variance alone; "
           "dropout, instead of it, with it and in "
           "front of it; batch, sizes of batches, with layer and group normalization, too."
           "\v" AFTER "  convoy ablate placement --quick\n"
           "  convoy ablate bias --seeds 3 -o bias\n"
           "  convoy ablate batch --values 2,5,10,50\n"
};

static int run_ablate(int argc, char **argv)
{
    struct experiment_options o = { .command = "ablate" };
    return run(&o, &ablate_argp, argc, argv);
}
const struct cli_command cli_ablate = { "ablate", "train without parts of batch normalization",
                                        &ablate_argp, run_ablate };

static const struct argp saturate_argp = {
    .options = options,
    .parser = parse,
    .children = children,
    .doc = "Trains nets of saturating activations on MNIST in black and white, with batch "
           "normalization and without: three layers of 100 sigmoids as Ioffe and Szegedy did, and "
           "ten of sigmoids and of tanh. Beside the accuracy it watches what one unit of the last "
           "hidden layer is given: the 15th, 50th and 85th percentile over test images."
           "\v" AFTER "  convoy saturate --quick\n"
           "  convoy saturate -o saturate\n"
};

static int run_saturate(int argc, char **argv)
{
    struct experiment_options o = { .command = "saturate" };
    return run(&o, &saturate_argp, argc, argv);
}
const struct cli_command cli_saturate = { "saturate",
                                          "train sigmoids and tanh, with and without batch norm",
                                          &saturate_argp, run_saturate };
