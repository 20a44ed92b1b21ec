/* The training loop: epochs over sampled batches, evaluation, metrics, checkpoints, resuming bit
 * for bit. Uses the public API only and is told what to train and on what; knows neither models'
 * JSON nor data files nor the command line.
 *
 * A run directory holds config.json, model.json, env.json (written by the caller through
 * train_open), metrics.jsonl and checkpoint.safetensors. The loop's whole state is in the
 * checkpoint: parameters, the optimiser's states, and the position below. The order of the images
 * is a function of (seed, epoch) alone, dropout of (seed, step), so nothing else needs saving. */
#ifndef TRAIN_TRAIN_H
#define TRAIN_TRAIN_H

#include <convoy/convoy.h>
#include <jansson.h>
#include <signal.h>

#include "train/checkpoint.h"
#include "train/files.h"
#include "train/layer_probe.h"
#include "train/sampling.h"
#include "train/schedule.h"

#define TRAIN_CHECKPOINT "checkpoint.safetensors"
#define TRAIN_METRICS "metrics.jsonl"
#define TRAIN_PARAMS "params" /* of snapshots */

struct train_split {
    const uint8_t *images, *labels;
    size_t n;
    const uint32_t *index; /* image i is the index[i]-th; NULL: i */
};

/* What the checkpoint keeps besides tensors. */
struct train_position {
    uint64_t epoch, batch; /* the next step: batch of epoch, both from 0 */
    uint64_t steps;        /* taken so far */
    /* of this epoch so far: what took part weighs `weight` in all, and is `counted` of `seen` */
    double loss_sum, weight;
    uint64_t correct, counted, seen;
    /* of all epochs, with the seconds inside steps and all seconds */
    uint64_t examples;
    double step_seconds, wall_seconds;
    uint64_t metrics_bytes; /* length of metrics.jsonl */
    double loss, train_acc; /* the last whole epoch's */
    /* the last evaluation's; test_epoch 0: none yet, else the epochs trained before it */
    double test_loss, test_acc;
    uint64_t test_epoch;
    /* of the validation images: the last evaluation, and the epochs trained before the best one (0:
     * none yet) with how many were right there */
    double valid_loss, valid_acc;
    uint64_t best_epoch, best_correct;
    uint64_t recoveries; /* how often the rate was divided by 10 */
    uint64_t ended;      /* the best parameters were taken at the end */
    /* steps behind which the run ended within an epoch, evaluated and logged; and those behind
     * which all was done that is done once, at a run's end (0: not yet) */
    uint64_t cut_steps, end_steps;
};

struct train_progress {
    size_t epoch, epochs, batch, batches; /* epoch from 1; batch: done in this epoch */
    uint64_t step, steps;                 /* done, of a run that counts them (else steps is 0) */
    bool evaluating;
    double loss, acc; /* of the epoch so far */
    /* examples a second of the time inside steps, this process's in this epoch */
    double rate;
    /* seconds to the end, by the wall clock since this process began to step */
    double eta;
};

/* An epoch that is over, or as much of it as the run's steps left. */
struct train_epoch {
    size_t epoch, epochs; /* epoch from 1 */
    uint64_t step;        /* steps done */
    bool evaluated;
    bool validated, drawn;
    double loss, train_acc, test_loss, test_acc, valid_acc, drawn_acc;
    /* as above; wall clock with evaluation, both of this process's part */
    double rate, seconds;
};

/* A step that was taken, and what was evaluated before it, at the weights that its batch met. */
struct train_step {
    uint64_t step, steps; /* this one's number, from 1; of a run that counts them, else 0 */
    bool validated;
    double loss; /* of its batch */
    double test_loss, test_acc, valid_acc;
};

struct train_job {
    cvy_context *ctx;
    cvy_trainer *trainer;
    cvy_predictor *predictor; /* shares the trainer's parameters; gives logits [n][classes] */
    cvy_loss_desc eval_loss;  /* of an evaluation: without label smoothing */
    size_t eval_batch, classes;
    /* Losses, and the accuracies of evaluations, are means over batches of the batches' means: what
     * is in a smaller last batch counts for more. false: each image counts alike */
    bool batch_means;
    size_t image_size; /* c*h*w */
    /* subtracted by trainer and predictor, for the checkpoint */
    struct checkpoint_mean mean;
    struct train_split train, test;
    struct train_split valid; /* n 0: none */

    size_t epochs, batch;
    /* not 0: the run ends behind so many steps, wherever in an epoch that is, and `epochs` says
     * nothing */
    uint64_t steps;
    uint64_t seed;
    struct sampling sampling;
    double lr, momentum;      /* the optimizer's */
    struct schedule schedule; /* of both */
    /* epochs between evaluations (the last always); steps between saves (0: epoch ends) */
    size_t eval_every, save_every;
    /* Not 0: weights and running statistics of every so many epochs, and those before the first,
     * are kept as params/epoch_E.safetensors */
    size_t snapshot_every;
    /* Not 0: before the first step and every so many steps eval_images of the test images, and of
     * those for validation, are evaluated (0: all): those behind the last ones, the first again
     * behind the end. So it is a function of the number of steps which they are. It tells how the
     * run goes on and nothing else: the best epoch is found at the ends of epochs, and the run's */
    size_t eval_steps, eval_images;
    /* Validation images are evaluated after every epoch; the best is the one with the most of
     * them right, the first of equals. patience: so many epochs without a better one are the last
     * (0: never). keep_best: at the end weights and running statistics are the best epoch's. */
    size_t patience;
    bool keep_best;
    bool keep_running; /* but running statistics are the last epoch's */
    /* So many training images are evaluated after every epoch, too: all, or drawn as with
     * replacement, by seed and epoch (0: none) */
    size_t eval_train;
    /* So many times a loss or parameter that is not finite does not end the run: the epoch begins
     * again with the weights and running statistics of the best epoch (without validation images
     * the last; before the first those that the run began with), the optimizer's states at zero,
     * and a tenth of the rate from there on */
    size_t recover;
    struct layer_probe probe; /* asked with every evaluation on the test images */
    /* Not 0: at the run's end the running statistics become the averages over so many batches of
     * training images, full ones in the order of the epochs to come (cvy_trainer_population) */
    size_t population;
    bool penalty; /* losses of training are told with cvy_trainer_penalty */

    const char *directory;      /* of the run; NULL writes nothing */
    const char *model, *config; /* JSON texts that the checkpoint carries */
    /* train_now() when this process began its work, loading included */
    double wall_start;
    /* not 0: finish the step, save, return TRAIN_INTERRUPTED; may be NULL */
    const volatile sig_atomic_t *stop;
    /* may be NULL, as the next */
    void (*progress)(void *user, const struct train_progress *progress);
    void (*epoch_done)(void *user, const struct train_epoch *epoch);
    /* of steps with an evaluation */
    void (*step_done)(void *user, const struct train_step *step);
    /* a sentence on what is unusual */
    void (*note)(void *user, const char *sentence);
    void *user;

    /* zeros, or what train_restore found; then where the run stands */
    struct train_position position;
    float *best; /* the best epoch's parameters, the run's own; NULL to begin with */
};

/* Monotonic seconds. */
double train_now(void);

struct train_score {
    double loss, acc;          /* the mean loss and the share that is right */
    uint64_t correct, counted; /* of what took part in the loss */
};
/* Loss (mean) and accuracy of a split by the predictor. TRAIN_INTERRUPTED if *stop was set
 * meanwhile. */
enum train_status train_evaluate(const struct train_job *job, const struct train_split *split,
                                 struct train_score *score, char *error, size_t error_size);

/* The epochs that the run takes, the last one perhaps in part. */
size_t train_epochs(const struct train_job *job);

/* Loads the run's checkpoint into the trainer and the position, and cuts metrics.jsonl to the
 * length it then had. */
enum train_status train_restore(struct train_job *job, struct checkpoint *checkpoint, char *error,
                                size_t error_size);

/* Trains from the position to the end. A loss that is not finite: TRAIN_NUMERIC, the last
 * checkpoint stays. */
enum train_status train_run(struct train_job *job, char *error, size_t error_size);

#endif
