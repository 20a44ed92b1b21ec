/* Checkpoints: all of a trainer's parameters in one safetensors file under PyTorch's state_dict
 * names (conv1.weight, bn1.running_mean), its optimiser's states as optimizer.STATE.NAME (STATE as
 * cvy_trainer_state calls it: momentum), and strings that say where training stood. Knows trainers,
 * predictors and safetensors; what the strings mean is train.c's and the program's business. */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include <convoy/convoy.h>

#include "train/safetensors.h"

#define CHECKPOINT_FORMAT "1"

struct checkpoint {
    char *where;
    unsigned char *bytes;
    struct safetensors *file;
    bool wrapped; /* set by checkpoint_load */
    bool mean;    /* checkpoint_mean has asked for the mean image */
};

/* The mean image that training images had subtracted, "input.mean" in the file: [c][h][w], of
 * numbers that are floats; NULL: there was none. */
struct checkpoint_mean {
    double *pixels;
    size_t shape[3];
};

/* Reads and checks a whole file. A file without our metadata (e.g. one that PyTorch's safetensors
 * wrote) is fine; one of a later format is TRAIN_BAD. On failure *checkpoint is NULL. */
enum train_status checkpoint_read(const char *path, struct checkpoint **checkpoint, char *error,
                                  size_t error_size);
void checkpoint_free(struct checkpoint **checkpoint);
/* A string of the metadata ("convoy.model"), NULL if the file has none. */
const char *checkpoint_text(const struct checkpoint *checkpoint, const char *key);

/* Sets weights and running statistics, with `states` also the optimiser's. All or nothing: the
 * trainer changes only if every tensor is there with the right shape, finite, and nothing is left
 * over. Names with `module.` or `_orig_mod.` in front, or in front of a part, as PyTorch's wrappers
 * save them, are taken without; then `wrapped` is set. */
enum train_status checkpoint_load(struct checkpoint *checkpoint, cvy_trainer *trainer,
                                  cvy_context *ctx, bool states, char *error, size_t error_size);
/* The same for a predictor that has parameters of its own, which are all that it has. */
enum train_status checkpoint_load_predictor(struct checkpoint *checkpoint, cvy_predictor *predictor,
                                            cvy_context *ctx, char *error, size_t error_size);
/* The second set of parameters in the file, best.NAME: weights and running statistics one behind
 * the other, as checkpoint_save was given them. TRAIN_BAD: there is none, or it does not fit. */
enum train_status checkpoint_best(const struct checkpoint *checkpoint, const cvy_trainer *trainer,
                                  float *out, char *error, size_t error_size);
/* Reads the mean image to mean->pixels. TRAIN_BAD: there is none of that shape. A file that has one
 * that nobody asked for does not load. */
enum train_status checkpoint_mean(struct checkpoint *checkpoint, const struct checkpoint_mean *mean,
                                  char *error, size_t error_size);
/* What is kept besides a trainer's own, each may be NULL; or less of it. */
struct checkpoint_also {
    const float *best;
    struct checkpoint_mean mean;
    bool weights_only; /* and running statistics: nothing of the optimiser's */
};
/* Writes atomically (files_write). metadata: an object of strings, changed. A parameter that is not
 * finite is TRAIN_NUMERIC and nothing is written. */
enum train_status checkpoint_save(const char *path, const cvy_trainer *trainer,
                                  const struct checkpoint_also *also, json_t *metadata, char *error,
                                  size_t error_size);
/* The same of a predictor's parameters, without states. */
enum train_status checkpoint_save_predictor(const char *path, cvy_predictor *predictor,
                                            const struct checkpoint_also *also, json_t *metadata,
                                            char *error, size_t error_size);

#endif
