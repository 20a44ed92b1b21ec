/* Messages, numbers, suggestions and the opening of things for the sub-commands. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <sha2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train/train.h"

int cli_fail(int code, const char *format, ...)
{
    va_list args;
    fflush(stdout);
    fputs("convoy: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return code;
}

int cli_code_cvy(enum cvy_status status)
{
    switch (status) {
    case CVY_OK: return CLI_OK;
    case CVY_E_NOMEM: return CLI_NOMEM;
    case CVY_E_NUMERIC: return CLI_NUMERIC;
    case CVY_E_ARG:
    case CVY_E_UNSUPPORTED:
    case CVY_E_BACKEND: return CLI_USAGE; /* an option asked for what cannot be had */
    default: return CLI_BAD;
    }
}

int cli_code_model(enum model_status status)
{
    static const int codes[] = {CLI_OK, CLI_BAD, CLI_BAD, CLI_IO, CLI_NOMEM};
    return codes[status];
}

int cli_code_train(enum train_status status)
{
    static const int codes[] = {CLI_OK, CLI_BAD, CLI_IO, CLI_NOMEM, CLI_NUMERIC, CLI_BAD, CLI_OK};
    return codes[status];
}

int cli_code_data(enum data_status status)
{
    static const int codes[] = {CLI_OK, CLI_BAD, CLI_BAD, CLI_IO, CLI_NOMEM};
    return codes[status];
}

/* ----------------------------------------------------------------------------------------------- suggestions */

/* Levenshtein distance of words of at most 39 bytes; longer ones are far from everything. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), row[40];
    if (n > 39 || m > 39) return 99;
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

const char *cli_nearest(const char *word, const char *const *list)
{
    const char *nearest = NULL;
    size_t best = strlen(word) / 3 + 2;
    for (; *list; list++) {
        size_t d = distance(word, *list);
        if (d < best) {
            best = d;
            nearest = *list;
        }
    }
    return nearest;
}

/* All long options of a parser and its children, into names (at most max); the number. */
static size_t option_names(const struct argp *argp, const struct argp_option **options, size_t max)
{
    size_t n = 0;
    for (const struct argp_option *o = argp->options; o && (o->name || o->doc) && n < max; o++)
        if (o->name) options[n++] = o;
    for (const struct argp_child *c = argp->children; c && c->argp; c++) n += option_names(c->argp, options + n, max - n);
    return n;
}

/* An empty value is a shell variable that was never set, and never what was meant. */
static void refuse_empty(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *equals = strncmp(argv[i], "--", 2) ? NULL : strchr(argv[i], '=');
        if (*argv[i] && (!equals || equals[1])) continue;
        fprintf(stderr, "%s: ", argv[0]);
        if (equals) fprintf(stderr, "%.*s: expected a value, found nothing", (int)(equals - argv[i]), argv[i]);
        else if (i > 1 && *argv[i - 1] == '-') fprintf(stderr, "%s: expected a value, found ''", argv[i - 1]);
        else fprintf(stderr, "an argument is empty");
        fprintf(stderr, "\nTry '%s --help'.\n", argv[0]);
        exit(CLI_USAGE);
    }
}

void cli_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    static const struct argp_option own[] = {{.name = "help"}, {.name = "usage"}, {.name = "version"}};
    const struct argp_option *options[64];
    const char *names[64];
    size_t n = option_names(argp, options, 60);
    for (size_t i = 0; i < 3; i++) options[n++] = &own[i];
    for (size_t i = 0; i < n; i++) names[i] = options[i]->name;
    names[n] = NULL;
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (strncmp(argv[i], "--", 2)) continue;
        size_t length = strcspn(argv[i] + 2, "="), known = n;
        for (size_t k = 0; k < n; k++) /* any beginning of a name is left to argp, which knows what is ambiguous */
            if (!strncmp(names[k], argv[i] + 2, length) && (known == n || !names[k][length])) known = k;
        if (known < n) {
            bool value = options[known]->arg && !(options[known]->flags & OPTION_ARG_OPTIONAL);
            i += value && argv[i][2 + length] != '=';
            continue;
        }
        char word[64];
        snprintf(word, sizeof word, "%.*s", length < 60 ? (int)length : 60, argv[i] + 2);
        const char *nearest = cli_nearest(word, names);
        fprintf(stderr, "%s: unknown option --%s%s%s%s\nTry '%s --help'.\n", argv[0], word, nearest ? "; did you mean --" : "",
                nearest ? nearest : "", nearest ? "?" : "", argv[0]);
        exit(CLI_USAGE);
    }
    refuse_empty(argc, argv);
    argp_err_exit_status = CLI_USAGE;
    int error = argp_parse(argp, argc, argv, 0, NULL, input);
    if (error) exit(cli_fail(error == ENOMEM ? CLI_NOMEM : CLI_USAGE, "%s", strerror(error)));
}

int cli_writable(const char *path)
{
    struct stat st;
    char dir[PATH_MAX];
    if (!path) return CLI_OK;
    errno = 0;
    if (!stat(path, &st)) {
        if (S_ISDIR(st.st_mode)) errno = EISDIR;
        else (void)access(path, W_OK);
    } else if (errno == ENOENT) {
        snprintf(dir, sizeof dir, "%s", path);
        char *slash = strrchr(dir, '/');
        if (slash) slash[slash == dir] = '\0';
        errno = 0;
        (void)access(slash ? dir : ".", W_OK);
    }
    return errno ? cli_fail(CLI_IO, "%s: cannot write: %s", path, strerror(errno)) : CLI_OK;
}

int cli_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    bool good = f && fprintf(f, "%s\n", text) > 0;
    if (f) good &= !fclose(f);
    return good ? CLI_OK : cli_fail(CLI_IO, "%s: cannot write: %s", path, strerror(errno));
}

/* --------------------------------------------------------------------------------------------------- numbers */

uint64_t cli_integer(const struct argp_state *state, const char *option, const char *text, uint64_t lo, uint64_t hi)
{
    size_t length = strlen(text);
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (!length || strspn(text, "0123456789") != length || errno || value < lo || value > hi)
        argp_error(state, "--%s: expected an integer from %llu to %llu, found '%.60s'", option, (unsigned long long)lo,
                   (unsigned long long)hi, text);
    return value;
}

double cli_real(const struct argp_state *state, const char *option, const char *text, double lo, double hi)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    /* Only decimal notation: no hex, no nan, no inf, no blanks. */
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text) || *end || (errno && value != 0) || !(value >= lo) ||
        !(value <= hi))
        argp_error(state, "--%s: expected a number from %g to %g, found '%.60s'", option, lo, hi, text);
    return value;
}

const char *cli_choice(const struct argp_state *state, const char *option, const char *text, const char *const *words)
{
    char list[200] = "";
    for (size_t i = 0, used = 0; words[i]; i++) {
        if (!strcmp(text, words[i])) return words[i];
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", words[i]);
    }
    argp_error(state, "--%s: expected one of %s, found '%.60s'", option, list, text);
    return words[0];
}

/* ---------------------------------------------------------------------------------------------------- engine */

enum { KEY_THREADS = 0x2000, KEY_ISA, KEY_BACKEND, KEY_NO_FUSION };

static const struct argp_option engine_options[] = {
    {"threads", KEY_THREADS, "N", 0, "worker threads (default: the CPUs this process may use, capped by its cgroup's quota)", 0},
    {"isa", KEY_ISA, "NAME", 0, "instruction set: scalar, avx2 or avx512 (default: the best that runs here)", 0},
    {"backend", KEY_BACKEND, "LIST", 0, "backends in order of preference, e.g. native,reference (the default)", 0},
    {"no-fusion", KEY_NO_FUSION, NULL, 0, "run every operator alone; the results are the same bits", 0},
    {0}};

static error_t parse_engine(int key, char *arg, struct argp_state *state)
{
    cvy_context_options *options = state->input;
    switch (key) {
    case KEY_THREADS: options->threads = cli_integer(state, "threads", arg, 1, 1024); return 0;
    case KEY_ISA:
        if (!cvy_isa_from_name(arg, &options->isa))
            argp_error(state, "--isa: expected scalar, avx2, avx512 or auto, found '%.60s'", arg);
        return 0;
    case KEY_BACKEND: options->backends = arg; return 0;
    case KEY_NO_FUSION: options->no_fusion = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}
const struct argp cli_engine_argp = {.options = engine_options, .parser = parse_engine};

/* --------------------------------------------------------------------------------------------------- opening */

static void log_line(void *user, int level, const char *line)
{
    (void)user;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

int cli_open_context(struct cli_session *s, const cvy_context_options *options)
{
    cvy_context_options o = *options;
    o.log = log_line; /* CVY_VERBOSE speaks on stderr */
    enum cvy_status status = cvy_context_create(&o, &s->ctx);
    if (!status) return CLI_OK;
    /* What was asked for by options or CVY_* variables is no choice here. */
    return cli_fail(status == CVY_E_NOMEM ? CLI_NOMEM : CLI_USAGE, "%s",
                    s->ctx ? cvy_message(s->ctx) : "out of memory");
}

int cli_open_model(struct cli_session *s, const char *which, const struct model_options *options)
{
    char error[CLI_ERROR];
    enum model_status status = model_load(which, options, &s->model, error, sizeof error);
    if (!status) return CLI_OK;
    const char *names[64], *nearest = NULL;
    size_t n = 0;
    while (n < 63 && model_builtin_at(n, &names[n])) n++;
    names[n] = NULL;
    if (status == MODEL_UNKNOWN) nearest = cli_nearest(which, names);
    return cli_fail(cli_code_model(status), "%s%s%s%s", error, nearest ? "; did you mean " : "", nearest ? nearest : "",
                    nearest ? "?" : "");
}

int cli_open_net(struct cli_session *s)
{
    char error[CLI_ERROR];
    enum model_status status = model_build(s->model, s->ctx, &s->net, &s->logits, error, sizeof error);
    if (status) return cli_fail(cli_code_model(status), "%s", error);
    cvy_shape out = cvy_tensor_shape(s->net, s->logits);
    if (out.h != 1 || out.w != 1 || out.c < 2)
        return cli_fail(CLI_BAD, "%s: the last layer must give one number for each of at least 2 classes, found %zux%zux%zu",
                        s->model->where, out.c, out.h, out.w);
    return CLI_OK;
}

int cli_open_data(struct cli_session *s, const char *spec)
{
    char error[CLI_ERROR];
    const char *like = *s->model->data ? s->model->data : NULL;
    if (!spec) spec = like;
    if (!spec) return cli_fail(CLI_USAGE, "%s names no data set: use --data", s->model->where);
    enum data_status status = data_open(spec, like, false, &s->data, error, sizeof error);
    if (status) return cli_fail(cli_code_data(status), "%s", error);
    struct data_set *d = s->data;
    const size_t *in = s->model->input;
    if (*d->note) cli_fail(0, "note: %s", d->note);
    if (d->c != in[0] || d->h != in[1] || d->w != in[2])
        return cli_fail(CLI_BAD, "%s: the model's input is %zux%zux%zu, the images of %s are %zux%zux%zu", s->model->where,
                        in[0], in[1], in[2], d->name, d->c, d->h, d->w);
    size_t classes = s->net ? cvy_tensor_shape(s->net, s->logits).c : d->classes;
    if (d->open_classes ? classes < d->classes : classes != d->classes)
        return cli_fail(CLI_BAD, "%s: the model tells %zu classes apart, %s has %s%zu", s->model->where, classes, d->name,
                        d->open_classes ? "labels up to " : "", d->classes - d->open_classes);
    d->classes = classes;
    return CLI_OK;
}

int cli_utf8(const char *text, const char *what)
{
    json_t *json = json_string(text);
    bool good = json != NULL, ascii = true;
    json_decref(json);
    for (const char *p = text; *p; p++) ascii &= (unsigned char)*p < 0x80;
    if (good) return CLI_OK;
    if (ascii) return cli_fail(CLI_NOMEM, "out of memory");
    return cli_fail(CLI_USAGE, "%s: %s is not UTF-8, and the run's files could not name it: rename it", text, what);
}

int cli_open_checkpoint(struct cli_session *s, const char *run, const char *model)
{
    char path[PATH_MAX], error[CLI_ERROR];
    struct stat st;
    bool directory = !stat(run, &st) && S_ISDIR(st.st_mode);
    if ((size_t)snprintf(path, sizeof path, "%s%s", run, directory ? "/" TRAIN_CHECKPOINT : "") >= sizeof path)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", run);
    enum train_status status = checkpoint_read(path, &s->checkpoint, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    if (model) return cli_open_model(s, model, NULL);
    const char *text = checkpoint_text(s->checkpoint, "convoy.model");
    if (!text) return cli_fail(CLI_USAGE, "%s does not say which model it belongs to: use --model", path);
    enum model_status parsed = model_parse(path, text, strlen(text), NULL, &s->model, error, sizeof error);
    return parsed ? cli_fail(cli_code_model(parsed), "%s", error) : CLI_OK;
}

int cli_open_predictor(struct cli_session *s, size_t batch)
{
    char error[CLI_ERROR];
    int code = cli_open_net(s);
    if (code) return code;
    /* The trainer holds the parameters by name; one block of images is the least that it can be made for. */
    const cvy_trainer_options options = {.batch = 16, .input = model_input(s->model)};
    enum cvy_status status = cvy_trainer_create(s->net, s->logits, &options, &s->trainer);
    const cvy_input_desc input = model_input(s->model);
    if (!status) status = cvy_predictor_create(s->net, s->logits, batch, &input, s->trainer, &s->predictor);
    if (status) return cli_fail(cli_code_cvy(status), "%s: %s", s->model->where, cvy_message(s->ctx));
    enum train_status loaded = checkpoint_load(s->checkpoint, s->trainer, s->ctx, false, error, sizeof error);
    return loaded ? cli_fail(cli_code_train(loaded), "%s", error) : CLI_OK;
}

void cli_close(struct cli_session *s)
{
    cvy_predictor_destroy(&s->predictor);
    cvy_trainer_destroy(&s->trainer);
    cvy_net_destroy(&s->net);
    model_free(&s->model);
    checkpoint_free(&s->checkpoint);
    data_close(&s->data);
    cvy_context_destroy(&s->ctx);
}

void cli_labels_sum(const struct data_set *data, char out[65])
{
    SHA2_CTX ctx;
    SHA256Init(&ctx);
    SHA256Update(&ctx, data->train.labels, data->train.n);
    SHA256Update(&ctx, data->test.labels, data->test.n);
    SHA256End(&ctx, out);
}
