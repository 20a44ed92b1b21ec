/* Experiments: many runs that differ in little, and what they say together. An experiment is one
 * record (experiment_list.c): it plans the rows of its table, each a model made from another one
 * by a few edits, and says in a sentence what was found. Every row is trained once a seed, by
 * `convoy train` as a child process in a directory of its own, so a run can be looked at, gone on
 * with and evaluated by all other commands; what is finished is never trained again. */
#ifndef CLI_EXPERIMENT_H
#define CLI_EXPERIMENT_H

#include "cli/cli.h"

#include <stdio.h>
#include <sys/types.h>

#define EXPERIMENT_VALUES 64
#define EXPERIMENT_MODELS 16
#define EXPERIMENT_TEXT 64
#define EXPERIMENT_SENTENCE 600

/* What is known of a run: key in files, heading, digits behind the point. */
#define EXPERIMENT_METRICS(X)                                                                     \
    X(LOSS, "train_loss", "loss", 3)                 /* of the last epoch */                      \
    X(TRAIN, "train_acc", "train acc", 3)            /* likewise */                               \
    X(TEST, "test_acc", "test acc", 3)               /* of the last evaluation */                 \
    X(VALID, "valid_acc", "val acc", 3)              /* likewise */                               \
    X(BEST_TRAIN, "best_train_acc", "best train", 3) /* of all epochs */                          \
    X(BEST_VALID, "best_valid_acc", "best val", 3)   /* of all evaluations */                     \
    X(LAST_LOSS, "last_100_losses", "last 100", 3)   /* mean of 100 last steps */                 \
    X(P15, "p15", "p15", 2)                          /* of what the probe asks for, at the end */ \
    X(P50, "p50", "p50", 2)                                                                       \
    X(P85, "p85", "p85", 2)                                                                       \
    X(SHIFT, "variance_shift", "shift", 2) /* experiment_shift */                                 \
    X(MOVED, "p50_moved", "p50 moved", 2)  /* largest less least of all asked */                  \
    X(PARAMETERS, "parameters", "parameters", 0)                                                  \
    X(SECONDS, "step_seconds", "seconds", 1)
#define EXPERIMENT_METRIC(NAME, ...) METRIC_##NAME,
enum experiment_metric { EXPERIMENT_METRICS(EXPERIMENT_METRIC) METRICS };

struct experiment_options {
    cvy_context_options engine;
    const char *command; /* "sweep" */
    const struct experiment *experiment;
    const char *data, *out, *values;
    size_t epochs, seeds, jobs; /* 0: not given */
    uint64_t seed;
    bool quick, quiet;
    double value[EXPERIMENT_VALUES];
    size_t n_values;
    const char *model[EXPERIMENT_MODELS];
    size_t n_models;
};

enum experiment_state { RUN_WAITS, RUN_TRAINS, RUN_DONE };
struct experiment_run {
    uint64_t seed;
    char name[160]; /* of its directory */
    enum experiment_state state;
    int code;                /* if done: the exit status of `convoy train` */
    bool resumed;            /* some of it was trained before this process began */
    double done, done_first; /* its share that is trained: now, and when this process began */
    pid_t pid;
    double metric[METRICS]; /* NaN: not known */
    size_t epochs;          /* that are over */
    char trouble[400];      /* what it said when it failed */
};

/* A row of the table: a model, trained once a seed. */
struct experiment_row {
    char group[EXPERIMENT_TEXT], value[EXPERIMENT_TEXT];
    double x; /* the value, or its number */
    json_t *model;
    char probe[EXPERIMENT_TEXT]; /* --probe; "": none */
    double chance;               /* the loss of a net that knows nothing: ln(classes) */
    double parameters;
    struct experiment_run *run; /* `seeds` of them */
};

struct experiment_plan {
    const struct experiment_options *o;
    const struct experiment *e;
    const char *directory;
    struct experiment_row *row;
    size_t n, seeds;
    size_t quick_epochs; /* of --quick; 0: as without it */
    bool printed_head;   /* of the table, and how many of its rows */
    size_t printed;
    bool began; /* to train, all that was there before is in order */
    int code;   /* of writing the files in between */
};

struct experiment {
    const char *command, *name, *about;
    const char *axis, *groups;        /* headings; groups NULL: there are none */
    enum experiment_metric metric[8]; /* columns of the table, ended by METRICS */
    bool takes_models, takes_values;
    bool shifts;         /* rows tell experiment_shift */
    bool watches;        /* rows have a probe, and there are more than a few evaluations an epoch */
    bool chance;         /* a loss that is not below chance's is a failure */
    double least, most;  /* of values */
    bool whole;          /* they are whole numbers */
    size_t quick_epochs; /* with --quick */
    /* Adds the rows with experiment_add. */
    int (*plan)(struct experiment_plan *p);
    /* One sentence that says what was found. */
    void (*conclude)(const struct experiment_plan *p, char out[EXPERIMENT_SENTENCE]);
};
extern const struct experiment *const experiments[]; /* ended by NULL */

/* experiment_list.c uses: */
/* A row; the model becomes the plan's. Its epochs are those that the options ask for. */
int experiment_add(struct experiment_plan *p, const char *group, const char *value, double x,
                   json_t *model);
/* The mean over the seeds, NaN if a run has none; the standard deviation (0 of one seed). */
double experiment_mean(const struct experiment_plan *p, const struct experiment_row *row,
                       enum experiment_metric metric);
double experiment_deviation(const struct experiment_plan *p, const struct experiment_row *row,
                            enum experiment_metric metric);
/* Whether it did not train, with any seed: a loss that is no number, or, where that counts, not
 * below that of a net that knows nothing. */
bool experiment_fails(const struct experiment_plan *p, const struct experiment_row *row);
/* The row of that group and value's text (NULL: any); NULL: there is none. */
const struct experiment_row *experiment_find(const struct experiment_plan *p, const char *group,
                                             const char *value);

/* experiment_models.c: JSON of models, and edits of it. Failures have been told: NULL. */
json_t *experiment_model(const char *which);
/* A net of `depth` layers of `width` as cs231n's assignment has it: {affine - norm - activation} x
 * depth - affine, on CIFAR-10; norm: a layer without name ("batch_norm"), NULL: none. */
struct experiment_mlp {
    const char *name, *activation;
    size_t depth, width;
    json_t *norm; /* taken */
    double scale; /* standard deviation of the first weights */
};
json_t *experiment_mlp(const struct experiment_mlp *o);
json_t *edit_layer(json_t *model, const char *name);
void edit_default(json_t *model, const char *key, json_t *value); /* takes value */
/* Letters, digits, '.', '-'; blanks become '_'. */
void edit_name(json_t *model, const char *format, ...) __attribute__((format(printf, 2, 3)));
void edit_remove(json_t *model, const char *name);
/* Puts a layer (taken) so many places behind the named one: 1 is next to it. */
void edit_insert(json_t *model, const char *name, size_t behind, json_t *layer);
/* The layers behind the named one in another order, of at most eight digits: "10" swaps two. */
void edit_order(json_t *model, const char *name, const char *order);

/* experiment_runs.c: trains what is not trained yet, so many at a time; calls changed() whenever a
 * run is over. CLI_OK; the first failure of a run that is none of numbers; 128 + a signal. */
int experiment_train(struct experiment_plan *p, void (*changed)(struct experiment_plan *p));

/* experiment_results.c */
/* What the run's files say, to its metrics, epochs and share. */
void experiment_read(const struct experiment_plan *p, const struct experiment_row *row,
                     struct experiment_run *run);
/* Prints the rows that are complete and not printed yet; all: the others, too. */
void experiment_print(struct experiment_plan *p, bool all);
/* What experiment.json says of each run; the caller's to free. */
json_t *experiment_rows(const struct experiment_plan *p);
/* experiment.json and experiment.csv; sentence NULL: not finished. */
int experiment_write(const struct experiment_plan *p, const char *sentence);
const char *experiment_key(enum experiment_metric metric);
const char *experiment_heading(enum experiment_metric metric);

/* experiment_shift.c: the mean over the channels of the last batch norm of the variance that it is
 * given in inference by its running variance; NaN: there is none. */
double experiment_shift(const struct experiment_plan *p, const struct experiment_run *run);

/* experiment_figures.c: pictures as SVG and PNG, and a page of them, experiment.html. */
int experiment_draw(const struct experiment_plan *p, const char *sentence);

#endif
