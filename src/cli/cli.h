/* What the sub-commands share: the command table's row, exit codes, messages, strict numbers, and
 * the objects most of them open. Each command is one file with its options, its run function, and
 * nothing else visible. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <argp.h>
#include <convoy/convoy.h>
#include <signal.h>

#include "data/data.h"
#include "models/models.h"
#include "train/checkpoint.h"

/* Also in help.c's table, which the man page is made from. Signals: 128 + number. */
enum {
    CLI_OK = 0,
    CLI_USAGE = 1,
    CLI_BAD = 2,
    CLI_IO = 3,
    CLI_NOMEM = 4,
    CLI_NUMERIC = 5,
    CLI_LIMIT = 6
};

#define CLI_ERROR 2048 /* bytes of a message */

/* What compiled the program; Clang says its name itself. */
#ifdef __clang__
#define CLI_COMPILER __VERSION__
#else
#define CLI_COMPILER "gcc " __VERSION__
#endif

struct cli_command {
    const char *name, *summary;
    /* options, arguments and text: --help and the man page both come from it */
    const struct argp *argp;
    int (*run)(int argc, char **argv); /* argv[0] is "convoy NAME" */
};
extern const struct cli_command cli_train, cli_eval, cli_predict, cli_infer, cli_visualise,
    cli_plot, cli_sweep, cli_ablate, cli_saturate, cli_norm, cli_bench, cli_compare, cli_info,
    cli_data, cli_help;
extern const struct cli_command *const cli_commands[]; /* ended by NULL */
/* The command of that name, or NULL after a message that says what may have been meant. */
const struct cli_command *cli_find_command(const char *name);

/* "convoy: SENTENCE" on stderr; returns code. */
int cli_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Exit codes for the statuses of the parts. */
int cli_code_cvy(enum cvy_status status);
int cli_code_model(enum model_status status);
int cli_code_train(enum train_status status);
int cli_code_data(enum data_status status);

/* Standard output that could not be written makes the process end with CLI_IO and a message,
 * silently where the reader went away (`| head`); but only at the end: files are written whatever
 * happens to the screen. */
int cli_watch_stdout(void);

/* The signal that asked the process to end, 0: none; a second one ends it at once. */
extern volatile sig_atomic_t cli_stop_signal;
/* From here on SIGINT, SIGTERM and SIGHUP only ask. */
void cli_catch_signals(void);

/* Whether what is written after hours of measuring can be written there (NULL: nothing is); else a
 * message and CLI_IO. Makes no file. */
int cli_writable(const char *path);
/* Writes text and a line's end there: CLI_OK, or CLI_IO after a message. */
int cli_write(const char *path, const char *text);

/* "convoy train: SENTENCE", where help is, and CLI_USAGE ends the process. Instead of argp_error(),
 * whose second line is longer. */
void cli_refuse(const struct argp_state *state, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

/* In an option's flags: its value is the name of a file that will be written. */
#define CLI_OUTPUT 0x10000
/* argp_parse after checks: unknown options are told with what was probably meant and ambiguous ones
 * with what they may be, values are not empty and stand where one is taken, no `~` is left from the
 * shell, outputs (CLI_OUTPUT) can be written; --version, -h. Completes names of options in argv.
 * Exits on a usage error. */
void cli_parse(const struct argp *argp, int argc, char **argv, void *input);
/* What cli_parse was given, as a shell would take it: "convoy plot run --title 'a b'". */
const char *cli_command_line(void);

/* What people type: word in lower case without '-' and '_', and the name that was meant, or a
 * sentence that tells. */
struct cli_alias {
    const char *word, *meant;
};
#define CLI_HINT 200
/* What was probably meant by a word that is none of the names (ended by NULL): "; did you mean
 * NAME?" with `before` before the name, "; SENTENCE", or "" in out, which is returned. aliases
 * (ended by a NULL word) may be NULL. */
const char *cli_hint(const char *word, const char *before, const char *const *names,
                     const struct cli_alias *aliases, char out[CLI_HINT]);
/* An option's argument as a number, the whole of it and inside [lo, hi]; else a usage error that
 * says so. */
uint64_t cli_integer(const struct argp_state *state, const char *option, const char *text,
                     uint64_t lo, uint64_t hi);
/* Bytes, at most hi: an integer, or a number and K, M, G or T, powers of 1024. */
uint64_t cli_size(const struct argp_state *state, const char *option, const char *text,
                  uint64_t hi);
double cli_real(const struct argp_state *state, const char *option, const char *text, double lo,
                double hi);
/* One of two or more words (NULL-ended). */
const char *cli_choice(const struct argp_state *state, const char *option, const char *text,
                       const char *const *words);

/* An option of a command that reads a data set (data_open); usual: what is taken without it. */
#define CLI_KEY_DATA 'd'
#define CLI_DATA(usual)                                                                        \
    {                                                                                          \
        "data", CLI_KEY_DATA, "DATA", 0,                                                       \
            "a data set's name, a directory with its files (PNG and JPEG, too: a directory a " \
            "class), an .npz file, or synthetic[:seed=S,train=N,test=N] (default: " usual ")", \
            0                                                                                  \
    }

/* --threads, --isa, --backend: a child parser whose input is a cvy_context_options. */
extern const struct argp cli_engine_argp;

/* RUN|WEIGHTS.safetensors and --model (trained.c): a child parser whose input is this. */
struct cli_trained {
    const char *run, *model; /* model NULL: the one that the file carries */
    bool more;               /* what else is expected the command says */
};
extern const struct argp cli_trained_argp;

/* --input, --classes (shape.c): a child parser whose input is a struct model_options. */
extern const struct argp cli_shape_argp;

/* The loss as options of a command (loss.c). */
struct cli_loss {
    cvy_loss_desc desc;
    double weights[MODEL_CLASSES];
    size_t n_weights;
    bool chosen, smooths;
    const char *given; /* the last option that was; NULL: none */
};
extern const struct argp cli_loss_argp; /* its input is a struct cli_loss */
void cli_loss_apply(const struct cli_loss *o, struct model_defaults *d);
/* CLI_OK if its class weights are for so many classes. */
int cli_loss_check(const struct model_defaults *d, size_t classes);
/* What model_loss_write wrote, among other keys; false: it did not. */
bool cli_loss_restore(struct model_defaults *d, const json_t *json);

/* The optimiser: what the command line says of it (optimizer.c). */
#define CLI_HYPERS 24
struct cli_optimizer {
    bool chosen;
    enum cvy_optimizer_kind kind; /* if chosen */
    bool has[CLI_HYPERS];
    double value[CLI_HYPERS];
    const char *given; /* an option that was given; NULL: none */
};
/* Makes the options; before anything else. */
void cli_optimizer_prepare(void);
extern const struct argp cli_optimizer_argp; /* its input is a struct cli_optimizer */
/* Over what the descriptor says. */
int cli_optimizer_apply(const struct cli_optimizer *o, cvy_optimizer_desc *desc);
/* "sgd: lr 0.1, momentum 0.9 …" */
const char *cli_optimizer_text(const cvy_optimizer_desc *desc, char *out, size_t size);
/* The keys of config.json; false: missing or wrong ones. Files without "optimizer" mean SGD. */
void cli_optimizer_save(const cvy_optimizer_desc *desc, json_t *json);
bool cli_optimizer_restore(cvy_optimizer_desc *desc, const json_t *json);

/* The schedule of the rate as an option (schedule.c). */
struct cli_schedule {
    bool given;
    struct schedule is;
};
/* Makes the option; before anything else. */
void cli_schedule_prepare(void);
extern const struct argp cli_schedule_argp; /* its input is a struct cli_schedule */

/* What a command has open; all NULL to begin with, closed by cli_close. */
struct cli_session {
    cvy_context *ctx;
    struct model *model;
    struct checkpoint *checkpoint;
    struct data_set *data;
    cvy_net *net;
    cvy_tensor logits;
    cvy_trainer *trainer;
    cvy_predictor *predictor;
    cvy_predictor *probe; /* of a layer's output */
};
/* Each returns an exit code after printing a message. */
int cli_open_context(struct cli_session *s, const cvy_context_options *options);
int cli_open_model(struct cli_session *s, const char *which, const struct model_options *options);
int cli_open_net(struct cli_session *s); /* needs ctx and model */
/* Opens the data and checks that images and classes fit the net (if there is one). spec NULL: the
 * model's own. */
int cli_open_data(struct cli_session *s, const char *spec);
/* The same; spec NULL: what the run of the open checkpoint was trained on, if that says it. */
int cli_open_run_data(struct cli_session *s, const char *spec);
/* An error of data_open(spec), with what may have been meant; the exit code. */
int cli_fail_data(enum data_status status, const char *spec, const char *error);
/* run: a run directory or a .safetensors file. model: NULL for the one that the file carries. */
int cli_open_checkpoint(struct cli_session *s, const char *run, const char *model);
/* The model's mean image, if it has one. */
struct checkpoint_mean cli_mean(const struct model *model);
/* How a session's weights were evaluated when they were trained, their loss first: what their run
 * says, else their model. */
int cli_settle(const struct cli_session *s, struct model_defaults *d);
/* A predictor of `batch` images with the checkpoint's parameters (opens net and predictor). */
int cli_open_predictor(struct cli_session *s, size_t batch);
void cli_close(struct cli_session *s);
/* To a predictor of a part of the net what it has of the whole one's parameters. */
enum cvy_status cli_copy_params(const cvy_predictor *from, cvy_predictor *to);

/* SHA-256 of all labels, in hex (65 bytes): what runs of an older convoy remember of their data. */
void cli_labels_sum(const struct data_set *data, char out[65]);
/* JSON, and so a run's files, cannot hold any other text: CLI_OK, or CLI_USAGE after a message that
 * says what the text is. */
int cli_utf8(const char *text, const char *what);

#endif
