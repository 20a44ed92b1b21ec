/* What trainer and predictor have in common: parameters by name, and the batch as it goes into a
 * run. */
#ifndef CVYI_MODEL_H
#define CVYI_MODEL_H

#include "convoy/train.h"
#include "net/net.h"
#include "program/program.h"

struct cvyi_param {
    int id;
    const char *name; /* the program's */
    size_t rank, dims[4], count;
};

struct cvyi_params {
    struct cvy_plan *plan;
    struct cvyi_param *param;
    size_t first[CVY_PARAM_KINDS], n[CVY_PARAM_KINDS]; /* param[first[kind] … + n[kind]) */
};

enum cvy_status cvyi_params_create(struct cvyi_params *params, struct cvy_plan *plan,
                                   const struct cvy_net *net);
void cvyi_params_destroy(struct cvyi_params *params);
/* First values of weights and running statistics, as the options' init and settings say; refreshes
 * packings. */
enum cvy_status cvyi_params_init(const struct cvyi_params *params, const struct cvy_net *net,
                                 const cvy_trainer_options *options);
enum cvy_status cvyi_params_info(const struct cvyi_params *params, enum cvy_param_kind kind,
                                 size_t index, cvy_param_info *info);
/* Exactly one of f and d; in the user's layout. */
enum cvy_status cvyi_params_get(const struct cvyi_params *params, enum cvy_param_kind kind,
                                const char *name, float *f, double *d, size_t count);
enum cvy_status cvyi_params_set(const struct cvyi_params *params, enum cvy_param_kind kind,
                                const char *name, const float *f, const double *d, size_t count);

struct cvyi_input {
    /* scales a channel, a shift a pixel of an image; one allocation */
    float *scale_u8, *scale_f32, *shift;
    cvy_shape image;
};
enum cvy_status cvyi_input_create(struct cvy_context *ctx, struct cvyi_input *input,
                                  const cvy_input_desc *desc, cvy_shape image);
enum cvy_status cvyi_input_copy(struct cvy_context *ctx, struct cvyi_input *input,
                                const struct cvyi_input *from);
/* Checks the batch and says in `run` where it lies. */
enum cvy_status cvyi_batch_bind(struct cvy_context *ctx, const struct cvyi_input *input,
                                const cvy_batch *batch, size_t capacity, struct cvy_run *run);
/* Whether a trainer's images, of that shape, can be augmented as its options want. */
enum cvy_status cvyi_augment_check(struct cvy_context *ctx, const cvy_trainer_options *options,
                                   cvy_shape s);
/* A loss of whole batches: its descriptor, checked, with class weights of its own. */
struct cvyi_loss {
    cvy_loss_desc desc;
    double *class_weights;
    size_t classes, pixels;
};
/* Of a checked descriptor, for outputs of that shape; frees nothing on failure
 * (cvyi_loss_destroy). */
enum cvy_status cvyi_loss_create(struct cvy_context *ctx, struct cvyi_loss *loss,
                                 const cvy_loss_desc *desc, cvy_shape outputs);
void cvyi_loss_destroy(struct cvy_context *ctx, struct cvyi_loss *loss);
/* Checks a batch's labels or targets and says in `run` where they lie and what they weigh.
 * *counted: how many take part. */
enum cvy_status cvyi_loss_bind(struct cvy_context *ctx, const struct cvyi_loss *loss,
                               const cvy_batch *batch, struct cvy_run *run, size_t *counted);
/* CVY_E_SHAPE where n images give a batch norm that has its statistics of them one value alone. */
enum cvy_status cvyi_batch_norms_check(const struct cvy_plan *plan, size_t n);
void cvyi_plan_describe(const struct cvy_plan *plan, cvy_plan_info *info);

struct cvy_trainer {
    struct cvy_context *ctx;
    struct cvy_plan *program;
    struct cvyi_params params;
    struct cvyi_input input;
    cvy_trainer_options options;  /* its arrays are not kept */
    cvy_optimizer_desc optimizer; /* checked, its defaults resolved */
    struct cvyi_group_list groups;
    double (*coef)[CVY_COEFS]; /* by group, of the step that runs */
    struct cvyi_loss loss;
    int loss_value; /* {Σ w loss, number correct} */
    uint64_t steps;
    uint64_t version; /* changes whenever a weight does */
};

#endif
