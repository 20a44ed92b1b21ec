/* Messages, standard output, files, and the opening of things for the sub-commands. */
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sha2.h>
#include <signal.h>
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
    static const int codes[] = { CLI_OK, CLI_BAD, CLI_BAD, CLI_IO, CLI_NOMEM };
    return codes[status];
}

int cli_code_train(enum train_status status)
{
    static const int codes[] = { CLI_OK, CLI_BAD, CLI_IO, CLI_NOMEM, CLI_NUMERIC, CLI_BAD, CLI_OK };
    return codes[status];
}

int cli_code_data(enum data_status status)
{
    static const int codes[] = { CLI_OK, CLI_BAD, CLI_BAD, CLI_IO, CLI_NOMEM };
    return codes[status];
}

/* ------------------------------------------------------------------------------ standard output */

/* Whether nobody will ever read it: the other end of the pipe is closed. */
static bool reader_left(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    return poll(&p, 1, 0) == 1 && p.revents & POLLERR; /* GCOVR_EXCL_BR_LINE: as below */
}

static void check_stdout(void)
{
    bool failed = ferror(stdout);
    /* GCOVR_EXCL_BR_LINE: a process that ends by _exit() counts nothing */
    if (!fflush(stdout) && !failed) return;
    int reason = errno;
    /* `| head` has seen enough: no word about that; GCOVR_EXCL_BR_LINE: as above */
    if (!reader_left(STDOUT_FILENO))
        fprintf(stderr, "convoy: standard output: cannot write: %s\n", strerror(reason));
    _exit(CLI_IO);
}

int cli_watch_stdout(void)
{
    signal(SIGPIPE, SIG_IGN);
    return atexit(check_stdout) ? cli_fail(CLI_NOMEM, "out of memory") : CLI_OK;
}

/* -------------------------------------------------------------------------------------- signals */

/* A handler can reach nothing but a static object. */
volatile sig_atomic_t cli_stop_signal;

static void on_signal(int number)
{
    /* GCOVR_EXCL_BR_LINE: a process that ends here counts nothing */
    if (cli_stop_signal) _exit(128 + number);
    cli_stop_signal = number;
}

void cli_catch_signals(void)
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

/* ---------------------------------------------------------------------------------------- files */

int cli_writable(const char *path)
{
    struct stat st;
    if (!path) return CLI_OK;
    errno = 0;
    if (!*path) {
        errno = ENOENT;
    } else if (!stat(path, &st)) {
        if (S_ISDIR(st.st_mode)) errno = EISDIR;
        else (void)access(path, W_OK);
    } else if (errno == ENOENT) {
        char dir[PATH_MAX];
        snprintf(dir, sizeof dir, "%s", path); /* longer ones have failed with ENAMETOOLONG */
        char *slash = strrchr(dir, '/');
        if (slash) slash[slash == dir] = '\0';
        if (path[strlen(path) - 1] == '/')
            return cli_fail(CLI_IO, "%s: cannot write: expected a file's name, found a directory's",
                            path);
        errno = 0;
        if (access(slash ? dir : ".", W_OK) && errno == ENOENT)
            return cli_fail(CLI_IO, "%s: cannot write: there is no directory '%s'", path, dir);
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

/* -------------------------------------------------------------------------------------- opening */

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
    return cli_fail(status == CVY_E_NOMEM ? CLI_NOMEM : CLI_USAGE, "%s", cvy_message(NULL));
}

static const char *data_hint(const char *word, const char *before, char hint[CLI_HINT])
{
    const char *names[32];
    const struct data_known *known;
    size_t n = data_known_sets(&known), used = 0;
    static const struct cli_alias aliases[] = { { "fmnist", "fashion-mnist" },
                                                { "fashion", "fashion-mnist" },
                                                { "fake", "synthetic" },
                                                { "random", "synthetic" },
                                                { NULL, NULL } };
    while (used < n && used < 30) {
        names[used] = known[used].name;
        used++;
    }
    names[used++] = "synthetic";
    names[used] = NULL;
    return cli_hint(word, before, names, aliases, hint);
}

int cli_fail_data(enum data_status status, const char *spec, const char *error)
{
    char hint[CLI_HINT] = "";
    /* no path, no DIR behind a ':' */
    if (status == DATA_NOT_FOUND && !strpbrk(spec, ":/")) data_hint(spec, "", hint);
    return cli_fail(cli_code_data(status), "%s%s", error, hint);
}

/* Whether it is what `convoy train` leaves. */
static bool is_run(const char *path)
{
    char file[PATH_MAX];
    struct stat st;
    return (size_t)snprintf(file, sizeof file, "%s/" TRAIN_CHECKPOINT, path) < sizeof file &&
           !stat(file, &st);
}

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* What a word that is no model may be: another spelling, a run, weights, a data set. */
static const char *model_hint(const char *which, char hint[CLI_HINT])
{
    const char *names[64];
    const struct data_known *known;
    size_t n = 0, sets = data_known_sets(&known);
    while (n < 63 && model_builtin_at(n, &names[n])) n++;
    names[n] = NULL;
    *hint = '\0';
    if (is_run(which))
        snprintf(hint, CLI_HINT,
                 "; it is a run: --resume=%.60s goes on with it, %.60s/model.json is its model",
                 which, which);
    else if (ends_in(which, ".safetensors"))
        snprintf(hint, CLI_HINT,
                 "; a .safetensors file holds weights: see `convoy eval` and `convoy predict`");
    for (size_t i = 0; !*hint && i < sets; i++)
        if (!strcmp(which, known[i].name))
            snprintf(hint, CLI_HINT, "; it is a data set: --data=%s", which);
    if (!*hint) cli_hint(which, "", names, NULL, hint);
    return *hint ? hint : data_hint(which, "--data=", hint);
}

int cli_open_model(struct cli_session *s, const char *which, const struct model_options *options)
{
    char error[CLI_ERROR], hint[CLI_HINT] = "";
    enum model_status status = model_load(which, options, &s->model, error, sizeof error);
    if (!status) return CLI_OK;
    if (status == MODEL_UNKNOWN || is_run(which) || ends_in(which, ".safetensors"))
        model_hint(which, hint);
    return cli_fail(cli_code_model(status), "%s%s", error, hint);
}

int cli_open_net(struct cli_session *s)
{
    char error[CLI_ERROR];
    enum model_status status =
        model_build(s->model, s->ctx, &s->net, &s->logits, error, sizeof error);
    if (status) return cli_fail(cli_code_model(status), "%s", error);
    cvy_shape out = cvy_tensor_shape(s->net, s->logits);
    if (out.h != 1 || out.w != 1 || out.c < 2)
        return cli_fail(CLI_BAD,
                        "%s: the last layer must give one number for each of at least 2 classes, "
                        "found %zux%zux%zu",
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
    if (status) return cli_fail_data(status, spec, error);
    struct data_set *d = s->data;
    const size_t *in = s->model->input;
    if (*d->note) cli_fail(0, "note: %s", d->note);
    if (s->model->grayscale && d->c == 3) data_make_grey(d);
    const bool new_run = !s->checkpoint; /* --input and --classes can still be said */
    if (d->c != in[0] || d->h != in[1] || d->w != in[2])
        return cli_fail(CLI_BAD,
                        "%s: the model's input is %zux%zux%zu, the images of %s are %zux%zux%zu%s",
                        s->model->where, in[0], in[1], in[2], d->name, d->c, d->h, d->w,
                        new_run ? " (`convoy train --input` makes it another)" : "");
    size_t classes = s->net ? cvy_tensor_shape(s->net, s->logits).c : d->classes;
    if (d->open_classes ? classes < d->classes : classes != d->classes)
        return cli_fail(CLI_BAD, "%s: the model tells %zu classes apart, %s has %s%zu%s",
                        s->model->where, classes, d->name, d->open_classes ? "labels up to " : "",
                        d->classes - d->open_classes,
                        new_run ? " (see `convoy train --classes`)" : "");
    d->classes = classes;
    model_prepare(s->model, d->train.images, d->train.n);
    model_prepare(s->model, d->test.images, d->test.n);
    return CLI_OK;
}

int cli_open_run_data(struct cli_session *s, const char *spec)
{
    const char *text = checkpoint_text(s->checkpoint, "convoy.config");
    json_t *config = text ? json_loads(text, 0, NULL) : NULL;
    int code = cli_open_data(s, spec ? spec : json_string_value(json_object_get(config, "data")));
    json_decref(config);
    return code;
}

int cli_utf8(const char *text, const char *what)
{
    json_t *json = json_string(text);
    bool good = json != NULL, ascii = true;
    json_decref(json);
    for (const char *p = text; *p; p++) ascii &= (unsigned char)*p < 0x80;
    if (good) return CLI_OK;
    if (ascii) return cli_fail(CLI_NOMEM, "out of memory");
    return cli_fail(CLI_USAGE,
                    "%s: %s is not UTF-8, and the run's files could not name it: rename it", text,
                    what);
}

/* What a word that is no run may be, or where one is. */
static const char *run_hint(const char *word, char hint[CLI_HINT])
{
    const char *model;
    struct dirent **runs = NULL;
    *hint = '\0';
    for (size_t i = 0; model_builtin_at(i, &model); i++)
        if (!strcmp(word, model))
            snprintf(hint, CLI_HINT, "; it is a model: `convoy train %s` makes a run of it", model);
    /* their names begin with the time */
    int n = *hint ? 0 : scandir("runs", &runs, NULL, alphasort);
    for (int i = n - 1; i >= 0; i--) {
        char path[300];
        snprintf(path, sizeof path, "runs/%s", runs[i]->d_name);
        if (!*hint && runs[i]->d_name[0] != '.' && is_run(path))
            snprintf(hint, CLI_HINT, "; the newest run here is %.150s", path);
        free(runs[i]);
    }
    free(runs);
    return hint;
}

struct checkpoint_mean cli_mean(const struct model *model)
{
    const size_t *in = model->input;
    return (struct checkpoint_mean){ model->mean_image, { in[0], in[1], in[2] } };
}

/* `model`, or what the checkpoint carries. */
static int open_model_of(struct cli_session *s, const char *path, const char *model)
{
    char error[CLI_ERROR];
    const char *text = checkpoint_text(s->checkpoint, "convoy.model");
    if (model) return cli_open_model(s, model, NULL);
    if (!text)
        return cli_fail(CLI_USAGE, "%s does not say which model it belongs to: use --model", path);
    enum model_status parsed =
        model_parse(path, text, strlen(text), NULL, &s->model, error, sizeof error);
    return parsed ? cli_fail(cli_code_model(parsed), "%s", error) : CLI_OK;
}

int cli_open_checkpoint(struct cli_session *s, const char *run, const char *model)
{
    char path[PATH_MAX], error[CLI_ERROR];
    struct stat st;
    bool there = !stat(run, &st), directory = there && S_ISDIR(st.st_mode);
    char hint[CLI_HINT];
    if (!there && errno == ENOENT)
        return cli_fail(CLI_IO, "%s: cannot open: No such file or directory%s", run,
                        run_hint(run, hint));
    if ((size_t)snprintf(path, sizeof path, "%s%s", run, directory ? "/" TRAIN_CHECKPOINT : "") >=
        sizeof path)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", run);
    if (directory && stat(path, &st) && errno == ENOENT)
        return cli_fail(CLI_IO, "%s: expected a run: there is no " TRAIN_CHECKPOINT " in it%s", run,
                        run_hint(run, hint));
    enum train_status status = checkpoint_read(path, &s->checkpoint, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    int code = open_model_of(s, path, model);
    if (code || !s->model->mean_image) return code;
    const struct checkpoint_mean mean = cli_mean(s->model);
    status = checkpoint_mean(s->checkpoint, &mean, error, sizeof error);
    return status ? cli_fail(cli_code_train(status), "%s", error) : CLI_OK;
}

int cli_open_predictor(struct cli_session *s, size_t batch)
{
    char error[CLI_ERROR];
    int code = cli_open_net(s);
    if (code) return code;
    const cvy_input_desc input = model_input(s->model);
    enum cvy_status status =
        cvy_predictor_create(s->net, s->logits, batch, &input, NULL, &s->predictor);
    if (status)
        return cli_fail(cli_code_cvy(status), "%s: %s", s->model->where, cvy_message(s->ctx));
    enum train_status loaded =
        checkpoint_load_predictor(s->checkpoint, s->predictor, s->ctx, error, sizeof error);
    if (loaded) return cli_fail(cli_code_train(loaded), "%s", error);
    if (s->checkpoint->wrapped)
        cli_fail(0,
                 "note: %s: names are taken without the module. or _orig_mod. that PyTorch's "
                 "wrappers put in front of them",
                 s->checkpoint->where);
    return CLI_OK;
}

enum cvy_status cli_copy_params(const cvy_predictor *from, cvy_predictor *to)
{
    cvy_param_info info;
    enum cvy_status status = CVY_OK;
    for (int k = CVY_PARAM_WEIGHT; k <= CVY_PARAM_RUNNING && !status; k++) {
        const enum cvy_param_kind kind = (enum cvy_param_kind)k;
        for (size_t i = 0; !status && !cvy_predictor_param(to, kind, i, &info); i++) {
            float *values = malloc((info.count + 1) * sizeof *values);
            status =
                values ? cvy_predictor_get(from, kind, info.name, values, info.count) : CVY_E_NOMEM;
            if (!status) status = cvy_predictor_set(to, kind, info.name, values, info.count);
            free(values);
        }
    }
    return status;
}

void cli_close(struct cli_session *s)
{
    cvy_predictor_destroy(&s->probe);
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
