/* Trainers and predictors: a net compiled for training or for inference. Everything is allocated at
 * creation; a step allocates nothing, takes no lock and opens no file. They need their context
 * until they are destroyed, the net only to be made. */
#ifndef CONVOY_TRAIN_H
#define CONVOY_TRAIN_H

#include "net.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cvy_trainer;
struct cvy_predictor;
typedef struct cvy_trainer cvy_trainer;
typedef struct cvy_predictor cvy_predictor;

/* A batch where it lies, read during the call only: image i is images + index[i] * image_size
 * (index NULL: i), image_size = c*h*w elements of dtype U8 or F32 in [c][h][w] order. Labels are
 * taken through the same index. A U8 pixel becomes value * scale. For a loss per_pixel an image has
 * h*w labels, or targets [classes][h][w]. */
typedef struct cvy_batch {
    const void *images;
    enum cvy_dtype dtype;
    /* class of each image; exactly one of labels8 and labels32 (neither for prediction, nor with
     * soft targets) */
    const uint8_t *labels8;
    const int32_t *labels32;
    const uint32_t *index;
    size_t n;             /* 1 .. the compiled batch */
    const float *targets; /* for a loss with soft_targets: [image][classes] */
    /* the pass over the images that the batch is of, from 0: for cvy_augment_desc */
    uint64_t epoch;
    uint64_t reserved[15];
} cvy_batch;

/* x' = (x * scale - mean[c]) / std[c], one mean and std a channel; NULL mean: 0, NULL std: 1; scale
 * 0 means 1/255 for U8 and 1 for F32. mean_image, [c][h][w], instead of mean: a mean a pixel, of
 * the pixel's place after augmentation. The arrays are copied at creation. */
typedef struct cvy_input_desc {
    double scale;
    const double *mean, *std;
    const double *mean_image;
    uint64_t reserved[7];
} cvy_input_desc;

/* What holds for some parameters: all whose name ("conv1.weight", "bn1.bias") matches the pattern,
 * in which * stands for any characters, ? for one, [12] for one of those. Of several entries that
 * match, each member goes by the last one that says something of it. A pattern that no parameter
 * of the net matches is an error.
 *  frozen: the parameter stays as it is. It has no gradient, takes no part in clipping and has no
 *          state of the optimiser; below the first layer that is trained no gradients are computed.
 *          Running statistics of batch norms go on (cvy_batch_norm_desc.frozen stops them)
 *  trained: undoes `frozen` of the entries before
 *  max_norm: as cvy_trainer_options.max_norm, for these; of a convolution each output channel's
 *          weights, of what has one number a channel each number by itself
 *  init:   how these start, in the place of what cvy_trainer_options.init says; what is no weight
 *          or bias of a convolution or linear layer has no fan and starts as ZERO, CONSTANT, NORMAL
 *          or TRUNCATED_NORMAL */
typedef struct cvy_param_setting {
    const char *match; /* required; read by cvy_trainer_create only */
    bool frozen, trained;
    bool no_decay;       /* weight decay, l1 and l2 are 0 */
    double lr_factor;    /* of the learning rate; more than 0, at most 1e6; 0: not said */
    double decay_factor; /* of weight decay, l1 and l2, of what decays (decay_all); likewise */
    double max_norm;     /* more than 0 and finite; 0: not said */
    bool no_max_norm;
    double init_value;  /* of init, 0 for kinds that have none */
    enum cvy_init init; /* DEFAULT: not said */
    uint64_t reserved[4];
} cvy_param_setting;

typedef struct cvy_trainer_options {
    size_t batch; /* largest batch of a step; required */
    /* one of the two: plain SGD in short, or any optimiser; both zero: SGD with lr 0, which learns
     * nothing until cvy_trainer_set_lr */
    cvy_sgd_desc sgd;
    cvy_optimizer_desc optimizer;
    cvy_loss_desc loss;
    cvy_init_desc init;
    cvy_input_desc input;
    uint64_t seed; /* dropout, augmentation */
    /* for looking inside: every activation, and every gradient of one, can be read after a step;
     * takes the memory of all of them at once, and the time of writing what is else skipped */
    bool keep_tensors;
    /* plan only: sizes can be asked for, nothing large is allocated, steps fail */
    bool dry_run;
    /* Clipping by norm, as PyTorch's clip_grad_norm_: where the Euclidean norm of all parameters'
     * gradients together, in double, is larger, every gradient is multiplied by clip_norm / (norm +
     * 1e-6) before the update, so that CVY_PARAM_GRADIENT tells what was used. Weight decay is not
     * part of it. Finite; 0: off */
    double clip_norm;
    /* Steps to an update: in each of them gradients are computed and added to a sum; the last of
     * them updates by their mean, as if each one's loss were divided by `accumulate`, however many
     * images it had. Only updates count for what an optimiser makes of their number; dropout and
     * batch norms' running statistics go by steps, and a batch norm sees the images of its step
     * alone. Steps since the last update are cvy_trainer_steps % accumulate: whoever stops while
     * that is not 0 has weights that these steps did not change. 0: 1 */
    size_t accumulate;
    /* The gradient of the mean loss by the input, as the net sees it (x' of cvy_input_desc), is
     * kept as CVY_PARAM_GRADIENT "input", [batch][c][h][w]: of the last step's images, what is
     * behind them means nothing. Costs the data gradients down to the input */
    bool input_gradient;
    const cvy_param_setting *settings; /* n_settings of them */
    size_t n_settings;
    /* Of steps only: predictors see images as they are. Not for a loss per_pixel, whose labels
     * would stay where they are (CVY_E_ARG) */
    cvy_augment_desc augment;
    /* Max-norm: behind each update, where the Euclidean norm n of the weights that lead to one
     * output of a linear layer is larger, they are made as short: w <- w * min(n, max_norm) / (n +
     * 1e-8), n in double (Srebro & Shraibman 2005; Srivastava et al. 2014, section 5.1; in the form
     * of Keras and yann, which shortens what is short already by 1e-8, too). Finite; 0: off. For
     * other parameters: cvy_param_setting */
    double max_norm;
    /* Bytes of memory that the plan may take, all that cvy_plan_info tells; 0: what it takes at
     * its fastest. Where that is more, buffers are packed closer, then results of the forward pass
     * that are cheap to make are made again for their gradients instead of being kept: batch norms
     * with what follows them, sums, poolings; the fewest and cheapest. The same bits, in more time.
     * What cannot be that small is CVY_E_NOMEM, and the message says what can */
    size_t memory_limit;
    uint64_t reserved[21];
} cvy_trainer_options;

typedef struct cvy_step_result {
    double loss_sum; /* sum over the batch of w times the examples' losses, before the update */
    double weight;   /* sum of w: the mean loss is loss_sum / weight */
    size_t correct;  /* the first maximum is at the label, or at the target's first maximum */
    size_t counted;  /* images, or pixels, that took part */
    size_t n;
    double seconds; /* this call */
    uint64_t reserved[8];
} cvy_step_result;

/* Compiles net for training with `logits` ([n][classes][1][1]) into a softmax cross-entropy,
 * initialises parameters. */
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_create(cvy_net *net, cvy_tensor logits,
                                                         const cvy_trainer_options *options,
                                                         cvy_trainer **trainer);
CVY_API void cvy_trainer_destroy(cvy_trainer **trainer);
/* One step: forward, loss, backward, update; result may be NULL. A label outside the classes is
 * CVY_E_ARG naming the index, one value per channel in a batch norm CVY_E_SHAPE: nothing is changed
 * then. A loss that is not finite is CVY_E_NUMERIC; the parameters may then be spoilt. */
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_step(cvy_trainer *trainer, const cvy_batch *batch,
                                                       cvy_step_result *result);
/* The learning rate from the next step on, 0 or more. */
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_set_lr(cvy_trainer *trainer, double lr);
/* Any hyper-parameter of the optimizer that is a number, by its name ("momentum"), from the next
 * step on. One that the kind has not, or out of its range, is CVY_E_ARG. A momentum has a state: to
 * begin one, or to end one with 0, is CVY_E_STATE. */
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_set_hyper(cvy_trainer *trainer, const char *name,
                                                            double value);
/* Population statistics (Ioffe & Szegedy 2015, Algorithm 2, step 10), when training is done: the
 * batch goes forward as in a training step, dropout and augmentation included, and nothing is
 * learnt; then each batch norm's running statistics are the averages over the batches of the calls
 * with index 0, 1, ... to this one: of their means, and of m / (m - 1) times their biased variances
 * of m values, whatever running_var says. Frozen ones stay. The batch is as of a step; errors too,
 * but the loss is not looked at. */
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_population(cvy_trainer *trainer,
                                                             const cvy_batch *batch,
                                                             uint64_t index);
/* What the optimizer's l1, l2 and, but for ADAMW, weight_decay add to the loss that is minimised:
 * the sum over the trained weights as they are, each with its decay_factor, in double and in one
 * order. The losses of steps are without it. */
CVY_API double cvy_trainer_penalty(const cvy_trainer *trainer);
/* With clip_norm: the norm of the last update's gradients before they were clipped; else 0. */
CVY_API double cvy_trainer_gradient_norm(const cvy_trainer *trainer);
/* Steps taken, and setting them after loading a checkpoint (dropout masks depend on them, and
 * optimisers may). */
CVY_API uint64_t cvy_trainer_steps(const cvy_trainer *trainer);
CVY_API void cvy_trainer_set_steps(cvy_trainer *trainer, uint64_t steps);

/* Compiles net for inference: batch norm uses running statistics, dropout is off. `trainer` NULL:
 * with parameters of its own, which start as a trainer's with an all-zero cvy_init_desc and are set
 * by name. Else it shares that trainer's, by reference; the trainer must outlive the predictor and
 * not step while it runs. input NULL: the trainer's, or without one the defaults. */
CVY_API CVY_NODISCARD enum cvy_status cvy_predictor_create(cvy_net *net, cvy_tensor output,
                                                           size_t batch,
                                                           const cvy_input_desc *input,
                                                           cvy_trainer *trainer,
                                                           cvy_predictor **predictor);
CVY_API void cvy_predictor_destroy(cvy_predictor **predictor);
/* out: [n][c*h*w] of the output tensor, n the batch's; it must not overlap the images. One value
 * per channel in a batch norm of batch_statistics is CVY_E_SHAPE. */
CVY_API CVY_NODISCARD enum cvy_status cvy_predictor_run(cvy_predictor *predictor,
                                                        const cvy_batch *batch, float *out);

/* Parameters and state by name, in the user's layout (conv [oc][ic/groups][kh][kw], linear
 * [out][in], others [c]). Kinds: trainable weights; running statistics; gradients of the last step
 * (names as the weights'); the optimiser's state (names as the weights'), its i-th tensor is
 * CVY_PARAM_STATE + i and starts as zeros. SGD's is the momentum, only there if that is not 0. A
 * predictor has the first two, of the layers that its output depends on. */
enum cvy_param_kind {
    CVY_PARAM_WEIGHT = 0,
    CVY_PARAM_RUNNING,
    CVY_PARAM_GRADIENT,
    CVY_PARAM_STATE,
    CVY_PARAM_MOMENTUM = CVY_PARAM_STATE,
    /* with accumulate: the sum of gradients since the last update, to be kept with the number of
     * steps; an update leaves it behind, and the next step overwrites it */
    CVY_PARAM_SUM = CVY_PARAM_STATE + CVY_OPTIMIZER_STATES,
    CVY_PARAM_KINDS
};
typedef struct cvy_param_info {
    const char *name; /* lives as long as the trainer or predictor */
    enum cvy_param_kind kind;
    size_t rank, dims[4], count; /* dims from rank on are 0 */
    uint64_t reserved[8];
} cvy_param_info;
/* What the i-th tensor of this trainer's optimiser state is, "momentum"; NULL past the last. */
CVY_API const char *cvy_trainer_state(const cvy_trainer *trainer, size_t index);
CVY_API size_t cvy_trainer_params(const cvy_trainer *trainer, enum cvy_param_kind kind);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_param(const cvy_trainer *trainer,
                                                        enum cvy_param_kind kind, size_t index,
                                                        cvy_param_info *info);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_get(const cvy_trainer *trainer,
                                                      enum cvy_param_kind kind, const char *name,
                                                      float *out, size_t count);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_set(cvy_trainer *trainer,
                                                      enum cvy_param_kind kind, const char *name,
                                                      const float *in, size_t count);
/* The same in double; exact when the net runs on the reference backend (float otherwise). For
 * gradient checks. */
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_get64(const cvy_trainer *trainer,
                                                        enum cvy_param_kind kind, const char *name,
                                                        double *out, size_t count);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_set64(cvy_trainer *trainer,
                                                        enum cvy_param_kind kind, const char *name,
                                                        const double *in, size_t count);
/* A predictor's, by the same rules. One that shares a trainer's tells the trainer's values, and
 * setting them is CVY_E_STATE: they are set there. */
CVY_API size_t cvy_predictor_params(const cvy_predictor *predictor, enum cvy_param_kind kind);
CVY_API CVY_NODISCARD enum cvy_status cvy_predictor_param(const cvy_predictor *predictor,
                                                          enum cvy_param_kind kind, size_t index,
                                                          cvy_param_info *info);
CVY_API CVY_NODISCARD enum cvy_status cvy_predictor_get(const cvy_predictor *predictor,
                                                        enum cvy_param_kind kind, const char *name,
                                                        float *out, size_t count);
CVY_API CVY_NODISCARD enum cvy_status cvy_predictor_set(cvy_predictor *predictor,
                                                        enum cvy_param_kind kind, const char *name,
                                                        const float *in, size_t count);
CVY_API CVY_NODISCARD enum cvy_status cvy_predictor_get64(const cvy_predictor *predictor,
                                                          enum cvy_param_kind kind,
                                                          const char *name, double *out,
                                                          size_t count);
CVY_API CVY_NODISCARD enum cvy_status cvy_predictor_set64(cvy_predictor *predictor,
                                                          enum cvy_param_kind kind,
                                                          const char *name, const double *in,
                                                          size_t count);

/* What the compiler made of the net. */
typedef struct cvy_plan_info {
    size_t ops, phases, stages, tensors;
    /* activations and gradients; weights and packings; per-thread */
    size_t arena_bytes, parameter_bytes, scratch_bytes;
    /* with memory_limit: ops that are computed a second time in a step (CVY_PART_RECOMPUTE), and
     * whether buffers were packed */
    size_t recomputed;
    bool packed;
    uint64_t reserved[14];
} cvy_plan_info;
CVY_API void cvy_trainer_plan(const cvy_trainer *trainer, cvy_plan_info *info);
CVY_API void cvy_predictor_plan(const cvy_predictor *predictor, cvy_plan_info *info);
/* The phases of a step. Measuring them (struct cvy_phase_info): on clears the clocks and starts
 * them, off stops them. The first time takes memory for them; without it (CVY_E_NOMEM) nothing
 * changes. */
CVY_API size_t cvy_trainer_phases(const cvy_trainer *trainer);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_phase(const cvy_trainer *trainer, size_t index,
                                                        cvy_phase_info *info);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_profile(cvy_trainer *trainer, bool on);
/* The ops of a step. */
CVY_API size_t cvy_trainer_ops(const cvy_trainer *trainer);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_op(const cvy_trainer *trainer, size_t index,
                                                     cvy_op_info *info);
/* With keep_tensors: activations ("conv1", "bn1") and their gradients ("conv1.dx") as the last step
 * left them. */
typedef struct cvy_tensor_info {
    const char *name; /* lives as long as the trainer */
    cvy_shape shape;  /* n: the compiled batch */
    uint64_t reserved[8];
} cvy_tensor_info;
CVY_API size_t cvy_trainer_tensors(const cvy_trainer *trainer);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_tensor(const cvy_trainer *trainer, size_t index,
                                                         cvy_tensor_info *info);
/* The first count elements in [n][c][h][w] order; exact on the reference backend, floats on
 * others. */
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_tensor_get(const cvy_trainer *trainer,
                                                             size_t index, double *out,
                                                             size_t count);

#ifdef __cplusplus
}
#endif
#endif
