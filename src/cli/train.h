/* What the files of `convoy train` share: its options, and what a run's config.json says. */
#ifndef CLI_TRAIN_H
#define CLI_TRAIN_H

#include "cli/cli.h"
#include "train/train.h"

/* train_options.c: what the command line says. */
struct cli_train_options {
    cvy_context_options engine;
    struct model_options change;
    const char *api_by; /* the option that says change.api */
    const char *model, *data, *out, *resume, *probe, *tensorboard;
    bool resuming, quiet;
    /* 0: not given; the last two count one up */
    size_t eval_every, save_every, snapshot_every;
    double number[MODEL_N_NUMBERS];
    bool numbered[MODEL_N_NUMBERS]; /* given */
    struct cli_optimizer optimizer;
    struct cli_loss loss;
    struct cli_schedule schedule;
    cvy_init_desc init; /* of what is not DEFAULT */
    struct model_settings params;
    bool sampled;
    enum sampling_kind sampling; /* if sampled */
    bool seeded;
    uint64_t seed;
    /* an option given that a resumed run cannot change */
    const char *fixed;
};
/* Its input is a struct cli_train_options, zeroed. */
extern const struct argp cli_train_argp;

#define TRAIN_PROBE 160

/* train_config.c */
/* All that a run is, besides the model: what config.json says. */
struct cli_train_config {
    char data[4096 + 64];
    struct model_defaults d;
    uint64_t seed;
    size_t eval_every, save_every, snapshot_every;
    char probe[TRAIN_PROBE];  /* LAYER[:UNIT]; "": none */
    struct layer_probe layer; /* what becomes of that */
    /* images: so many are trained on, those from `valid` on validate */
    size_t trained, valid;
    /* of the data; a run of an older convoy knows the labels' alone: digest "" */
    char digest[65], labels[65];
};
/* As config.json has it; NULL: out of memory. The caller's. */
json_t *cli_train_config_json(const struct cli_train_config *c, const struct cli_session *s);
/* The settings of the run that is resumed, from its checkpoint; then what the options change. A
 * failure has been told: its exit code. */
int cli_train_config_restore(struct cli_train_config *c, const struct cli_session *s);
/* Which of so many images are trained on and validate, to c->trained and c->valid. */
int cli_train_config_split(struct cli_train_config *c, size_t images);
int cli_train_config_apply(struct cli_train_config *c, const struct cli_train_options *o);

/* train_probe.c: makes the predictor that c->probe asks for, and c->layer; nothing where it is
 * "". */
int cli_train_probe(struct cli_session *s, struct cli_train_config *c);

/* train_directory.c: the directory of a run; failures as above. */
/* Makes runs/20260131-235959-lenet-bn, or with -2, -3, ... what is not taken. */
int cli_train_default_directory(char *out, size_t size, const char *model);
/* A directory for a new run, locked. */
int cli_train_directory(const char *path, struct files_lock *lock);
/* The run that --resume means, locked: its directory, or its checkpoint's, which is then written
 * to `directory` of PATH_MAX bytes. */
int cli_train_find_run(struct cli_train_options *o, char *directory, struct files_lock *lock);
int cli_train_write_text(const char *directory, const char *name, const char *text);
/* The machine, the system and the variables, as env.json has them; the caller's, NULL: out of
 * memory. */
char *cli_train_env_text(const cvy_context *ctx);

/* train_events.c: --tensorboard. directory NULL: *out is NULL, with which the others do nothing.
 * The job is to begin where it stands. */
struct cli_train_events;
int cli_train_events_open(struct cli_train_events **out, const char *directory,
                          struct cli_session *s, const struct train_job *job);
void cli_train_events_epoch(struct cli_train_events *e, uint64_t step);
/* CLI_OK, or what could not be written has been told. */
int cli_train_events_close(struct cli_train_events *e);

#endif
