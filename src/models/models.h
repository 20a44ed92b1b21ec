/* Models as JSON: built-in ones and users' files. Reads and checks the text, applies the few
 * overrides that the program offers, and builds a net through the public API. Knows JSON and nets;
 * not data sets, training or the command line.
 *
 *     { "name": "lenet-bn", "input": [1, 28, 28], "data": "fashion-mnist",
 *       "normalize": {"mean": [0.5], "std": [0.25], "scale": 1, "threshold": 0.5, "zca": 0.1},
 *       "defaults": {"batch": 256, "lr": 1.0, "epochs": 10, ...},
 *       "apis": {"v0": {}, "v1": {"batch": 128, "lr": 0.1, "pool": "avg"}},
 *       "layers": [ {"type": "conv2d", "name": "conv1", "out_channels": 6, "kernel": [5, 5]},
 *                   ... ] }
 *
 * Defaults are those of struct model_defaults; apis are named variants: changes of them, "pool" for
 * all pools, and "layers", which take the place of the model's. "normalize", "defaults" and "apis"
 * are optional.
 *
 * A layer reads the one before it, or the layer named by "input" ("input" itself is the image); add
 * and concat read "inputs". The last layer gives the logits. The table of types and keys is at the
 * top of layers.c; docs/models.md tells it to users. Unknown keys, missing keys and values of the
 * wrong kind are errors that say where. */
#ifndef MODELS_MODELS_H
#define MODELS_MODELS_H

#include <convoy/convoy.h>
#include <jansson.h>

#include "train/sampling.h"
#include "train/schedule.h"

#define MODEL_CHANNELS 64
#define MODEL_CLASSES 256
#define MODEL_SETTINGS 32
#define MODEL_ZCA_LIMIT 4096      /* numbers of an image */
#define MODEL_ZCA_IMAGES 8388608u /* whose sums are below 2^63 */

enum model_status { MODEL_OK = 0, MODEL_UNKNOWN, MODEL_BAD, MODEL_IO, MODEL_NOMEM };

/* The settings that are one number each: member, SIZE, BYTES, REAL or BOOL, key in files of models
 * and runs, least, most, usual, whether runs of an older convoy do not say it, and the option of
 * `convoy train`, its letter (0: none), what its help calls the number, and the help. */
/* clang-format off */
#define MODEL_NUMBERS(OPTION)                                                                      \
    OPTION(epochs, SIZE, "epochs", 1, 1 << 20, 10, false, "epochs", 'e', "N",                      \
           "passes over the training images")                                                     \
    OPTION(steps, SIZE, "steps", 0, 1 << 30, 0, true, "steps", 0, "N",                             \
           "instead of --epochs: end behind N steps, wherever in an epoch that is")               \
    OPTION(batch, SIZE, "batch", 1, 1 << 20, 64, false, "batch", 'b', "N",                         \
           "images in a step; the last batch of an epoch may be smaller")                         \
    OPTION(clip_norm, REAL, "clip_norm", 0, 1e30, 0, true, "clip-norm", 0, "X",                    \
           "make all gradients together at most this long before each update (0: off)")           \
    OPTION(max_norm, REAL, "max_norm", 0, 1e30, 0, true, "max-norm", 0, "X",                       \
           "after each update make the weights to each output of a linear layer at most this "    \
           "long (0: off)")                                                                       \
    OPTION(report_penalty, BOOL, "report_penalty", 0, 1, false, true, "report-penalty", 0, "no",   \
           "tell losses of training with the penalties on weights: l1, l2, weight decay")         \
    OPTION(accumulate, SIZE, "accumulate", 1, 1 << 20, 1, true, "accumulate", 0, "N",              \
           "steps to an update, which is by the mean of their gradients (default 1); rounds "    \
           "of N go on over epochs, and one that the run's end cuts off changes no weights")      \
    OPTION(memory_limit, BYTES, "memory_limit", 0, 1LL << 50, 0, true, "memory-limit", 0, "SIZE",  \
           "bytes that a step's plan may take, or 500M, 1.5G, in powers of 1024: where it takes "  \
           "more, buffers lie closer, and results that are cheap to make are made again for "      \
           "gradients instead of being kept; the same bits, in more time (0: no limit)")           \
    OPTION(crop, SIZE, "crop", 0, 1 << 16, 0, true, "crop", 0, "P",                                \
           "augment: P rows and columns of zeros around each training image, then a part of "     \
           "the old size, at random (0: off)")                                                    \
    OPTION(flip, BOOL, "flip", 0, 1, false, true, "flip", 0, "no",                                 \
           "augment: mirror every second training image, at random")                              \
    OPTION(cutout, SIZE, "cutout", 0, 1 << 16, 0, true, "cutout", 0, "S",                          \
           "augment: a square of S x S pixels of each training image, at random, is 0 (0: off)")  \
    OPTION(sampling_buffer, SIZE, "sampling_buffer", 1, 1 << 30, 10000, true, "sampling-buffer",   \
           0, "N", "images in the buffer of --sampling=buffered (default 10000)")                  \
    OPTION(validation, REAL, "validation", 0, 1e9, 0, true, "validation", 0, "X",                  \
           "the last X training images, below 1 that share of them, are not trained on but "      \
           "tell after every epoch how good it is (0: none)")                                     \
    OPTION(eval_steps, SIZE, "eval_steps", 0, 1 << 30, 0, true, "eval-steps", 0, "N",              \
           "before the first step and every N steps evaluate on the test images, and on those "   \
           "for validation, too (0: at the ends of epochs alone)")                                \
    OPTION(eval_images, SIZE, "eval_images", 0, 1 << 30, 0, true, "eval-images", 0, "N",           \
           "how many of them: each time the next N, the first again behind the last (0: all)")    \
    OPTION(train_limit, SIZE, "train_limit", 0, 1 << 30, 0, true, "train-images", 0, "N",          \
           "train on the first N training images alone (0: all that do not validate)")            \
    OPTION(test_limit, SIZE, "test_limit", 0, 1 << 30, 0, true, "test-images", 0, "N",             \
           "evaluate on no more than the first N test images (0: all)")                            \
    OPTION(eval_train, SIZE, "eval_train", 0, 1 << 30, 0, true, "eval-train", 0, "N",              \
           "after every epoch evaluate, as the test images are, N training images, too, drawn "   \
           "anew each time; all where there are no more (0: none)")                               \
    OPTION(patience, SIZE, "patience", 0, 1 << 20, 0, true, "patience", 0, "N",                    \
           "stop after N epochs without a better validation accuracy (0: never)")                 \
    OPTION(keep_best, BOOL, "keep_best", 0, 1, false, true, "keep-best", 0, "no",                  \
           "end with the parameters of the epoch that had the best validation accuracy, the "     \
           "first of equals")                                                                     \
    OPTION(keep_running, BOOL, "keep_running", 0, 1, false, true, "keep-running", 0, "no",         \
           "of --keep-best: running statistics stay the last epoch's")                            \
    OPTION(population, SIZE, "population", 0, 1 << 30, 0, true, "population", 0, "N",              \
           "at the end make the running statistics of batch norms the averages over N batches of " \
           "training images (0: leave them)")                                                     \
    OPTION(eval_batch, SIZE, "eval_batch", 1, 1 << 20, 256, true, "eval-batch", 0, "N",            \
           "images that are evaluated at once; it matters to batch norms of batch_statistics")    \
    OPTION(batch_means, BOOL, "batch_means", 0, 1, false, true, "batch-means", 0, "no",            \
           "losses, and accuracies of evaluations, are means over batches of the batches' means: " \
           "a smaller last one counts as much as each other")                                      \
    OPTION(recover, SIZE, "recover", 0, 100, 0, true, "recover", 0, "N",                           \
           "up to N times, where a loss or a parameter is not finite, begin the epoch again "     \
           "from the best parameters (without validation: the last epoch's) with a tenth of "     \
           "the rate, instead of ending (default 0)")
/* clang-format on */
#define MODEL_NUMBER_AT(member, ...) MODEL_AT_##member,
enum { MODEL_NUMBERS(MODEL_NUMBER_AT) MODEL_N_NUMBERS };

/* What holds for the parameters that `match` matches; is.match is not used. */
struct model_setting {
    char match[128];
    cvy_param_setting is;
};
struct model_settings {
    size_t n;
    struct model_setting at[MODEL_SETTINGS];
};

struct model_defaults {
    size_t batch, epochs, steps;    /* "batch"; "epochs", or "steps" where that is not 0 */
    size_t eval_steps, eval_images; /* "eval_steps", "eval_images" */
    /* "optimizer": its name (sgd), and its hyper-parameters by their names: "lr", "momentum" … */
    cvy_optimizer_desc optimizer;
    /* "loss": its name (cross_entropy); "label_smoothing", "margin", "temperature",
     * "ignore_index". Whole by model_loss */
    cvy_loss_desc loss;
    double class_weights[MODEL_CLASSES]; /* "class_weights": a number a class; 0 of them: none */
    size_t n_class_weights;
    double clip_norm;    /* "clip_norm" */
    double max_norm;     /* "max_norm" */
    bool report_penalty; /* "report_penalty" */
    size_t accumulate;   /* "accumulate" */
    size_t memory_limit; /* "memory_limit" */
    size_t crop, cutout; /* "crop", "flip", "cutout": of cvy_augment_desc */
    bool flip;
    enum sampling_kind sampling; /* "sampling" */
    size_t sampling_buffer;      /* "sampling_buffer" */
    double validation;           /* "validation": images, or a share below 1 */
    size_t patience;             /* "patience" */
    bool keep_best;              /* "keep_best" */
    bool keep_running;           /* "keep_running" */
    /* "train_limit", "test_limit", "eval_train": images, 0: all, all, none */
    size_t train_limit, test_limit, eval_train;
    size_t population; /* "population" */
    size_t eval_batch; /* "eval_batch" */
    bool batch_means;  /* "batch_means" */
    size_t recover;    /* "recover" */
    /* "schedule": its text; "lr_drop_epochs" and "lr_drop_factor" say milestones */
    struct schedule schedule;
    /* "init": {"weights": "normal", "weights_value": 0.01, "biases": "zero"}; without a seed */
    cvy_init_desc init;
    /* "params": [{"match": "conv1.*", "frozen": true, "lr_factor": 0.1, "decay_factor": 0,
     * "max_norm": 3, "init": "normal", "init_value": 0.01}, ...] */
    struct model_settings params;
};

/* Overrides; NULL and 0 leave the model as it is. */
struct model_options {
    const char *api;    /* one of the model's "apis" */
    const char *pool;   /* "max" or "avg": every pool larger than 1x1 */
    const char *bn_var; /* "biased" or "unbiased": every batch norm's running variance */
    size_t input[3];    /* channels, rows, columns: its "input", or all 0 */
    size_t classes;     /* outputs of its last layer, which is a linear one */
};

struct model_layer;
struct model {
    /* data: the data set to train on by default, "" if the file has none */
    char name[64], description[200], data[64];
    size_t input[3]; /* c, h, w */
    bool normalized;
    double mean[MODEL_CHANNELS], std[MODEL_CHANNELS];
    double scale; /* of a pixel, before mean and std; 0: 1/255 */
    /* [c][h][w], a mean a pixel, as floats hold it: zeros until model_set_mean, or until it is read
     * from where it was kept; NULL: the model has none */
    double *mean_image;
    double zca;       /* what is added to the covariance; 0: images are not whitened */
    bool grayscale;   /* images of three channels are made grey */
    double threshold; /* images of two values, model_prepare; 0: as they are */
    struct model_defaults defaults;
    size_t n_layers;
    struct model_layer *layers;
    /* what messages call the text: the file or "built-in model NAME" */
    char *where;
    /* the model with its overrides applied, as indented JSON */
    char *json;
};

/* which: the name of a built-in model, or a path (it contains '/' or ends in ".json"). options may
 * be NULL. On failure *model is NULL and error holds one sentence. */
enum model_status model_load(const char *which, const struct model_options *options,
                             struct model **model, char *error, size_t error_size);
/* The same from text that lies in memory; `where` names it in messages. */
enum model_status model_parse(const char *where, const char *text, size_t size,
                              const struct model_options *options, struct model **model,
                              char *error, size_t error_size);
void model_free(struct model **model);

/* Builds the net. MODEL_BAD names the layer that does not fit. On failure *net is NULL. */
enum model_status model_build(const struct model *model, cvy_context *ctx, cvy_net **net,
                              cvy_tensor *logits, char *error, size_t error_size);
/* A batch norm of a model: it becomes part of the layer before it in inference, or why it stays. */
#define MODEL_NAME_LIMIT 128
struct model_fold {
    char norm[MODEL_NAME_LIMIT], layer[MODEL_NAME_LIMIT];
    double eps;
    const char *why_not; /* NULL: it goes */
};
/* The model without the batch norms that can go: those behind a convolution or linear layer that
 * nobody else reads, which then has a bias. *folds (the caller's) tells of all n batch norms, in
 * order. */
enum model_status model_fold(const struct model *model, struct model_fold **folds, size_t *n,
                             struct model **out, char *error, size_t error_size);
/* Makes n images what the model takes, once: with "threshold", pixels of that share of 255 and more
 * are 255 and the others 0. */
void model_prepare(const struct model *model, uint8_t *images, size_t n);
/* With "mean_image": makes it that of n images, 1 or more, already prepared. */
void model_set_mean(const struct model *model, const uint8_t *images, size_t n);
/* With "zca": gives the trainer's first layer, "zca", the matrix that whitens n images, already
 * prepared. */
enum model_status model_set_zca(const struct model *model, const uint8_t *images, size_t n,
                                cvy_trainer *trainer, char *error, size_t error_size);
/* How pixels enter: the model's normalisation. The arrays are the model's. */
cvy_input_desc model_input(const struct model *model);

/* The loss with its class weights, which lie in d. */
cvy_loss_desc model_loss(const struct model_defaults *d);
/* As it is evaluated: without label smoothing. */
cvy_loss_desc model_eval_loss(const struct model_defaults *d);
/* Reads a key of the loss into d. NULL: done; "": it is no key of a loss; else what was
 * expected. */
const char *model_loss_read(struct model_defaults *d, const char *key, const json_t *value);
/* settings.c: reads the value of "params"; NULL: done, else what was expected. Writes it, if there
 * is anything. Adds one (false: there is no room), and makes what trainers take. */
const char *model_settings_read(struct model_settings *settings, const json_t *json);
void model_settings_write(const struct model_settings *settings, json_t *json);
bool model_settings_add(struct model_settings *settings, const struct model_setting *setting);
const cvy_param_setting *model_settings(const struct model_settings *settings,
                                        cvy_param_setting out[MODEL_SETTINGS]);
/* Writes the loss under the same keys. */
void model_loss_write(const struct model_defaults *d, json_t *json);
/* A setting of MODEL_NUMBERS, by its place there: its key; makes it a number in its range; reads it
 * (false: not a number of its kind and range). */
const char *model_number_key(size_t at);
void model_number_set(struct model_defaults *d, size_t at, double number);
bool model_number_read(struct model_defaults *d, size_t at, const json_t *value);
/* Writes all under their keys. */
void model_numbers_write(const struct model_defaults *d, json_t *json);
/* How parameters start: reads the object "init"; writes it into json. */
bool model_init_read(cvy_init_desc *init, const json_t *json);
void model_init_write(const cvy_init_desc *init, json_t *json);
/* That with a seed. */
static inline cvy_init_desc model_init(const struct model_defaults *d, uint64_t seed)
{
    cvy_init_desc init = d->init;
    init.seed = seed;
    return init;
}
/* What a trainer of the model takes, with these settings of training; `params` is room that it
 * points into, as into model and d. */
cvy_trainer_options model_trainer(const struct model *model, const struct model_defaults *d,
                                  uint64_t seed, cvy_param_setting params[MODEL_SETTINGS]);
/* Reads "schedule" of an object, or in its place "lr_drop_epochs" and "lr_drop_factor" (false: they
 * are wrong; none of them: constant). Writes "schedule". */
bool model_schedule_read(struct schedule *schedule, const json_t *json);
void model_schedule_write(const struct schedule *schedule, json_t *json);

/* Reads and writes "sampling": its name; none is shuffled (false: it is no kind's). */
bool model_sampling_read(enum sampling_kind *kind, const json_t *json);
void model_sampling_write(enum sampling_kind kind, json_t *json);

/* Indented JSON text whose numbers read well ("0.1") and come back as they were; NULL if memory is
 * short. */
char *model_dump(const json_t *json);

/* The built-in models: name and description, index from 0; false past the end. */
bool model_builtin_at(size_t index, const char **name);

#endif
