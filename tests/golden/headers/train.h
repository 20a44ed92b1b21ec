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
typedef struct cvy_batch {
    const void *images;
    enum cvy_dtype dtype;
    const uint8_t *labels8;
    const int32_t *labels32;
    const uint32_t *index;
    size_t n;
    const float *targets;
    uint64_t epoch;
    uint64_t reserved[15];
} cvy_batch;
typedef struct cvy_input_desc {
    double scale;
    const double *mean, *std;
    const double *mean_image;
    uint64_t reserved[7];
} cvy_input_desc;
typedef struct cvy_param_setting {
    const char *match;
    bool frozen, trained;
    bool no_decay;
    double lr_factor;
    double decay_factor;
    double max_norm;
    bool no_max_norm;
    uint64_t reserved[6];
} cvy_param_setting;
typedef struct cvy_trainer_options {
    size_t batch;
    cvy_sgd_desc sgd;
    cvy_optimizer_desc optimizer;
    cvy_loss_desc loss;
    cvy_init_desc init;
    cvy_input_desc input;
    uint64_t seed;
    bool keep_tensors;
    bool dry_run;
    double clip_norm;
    size_t accumulate;
    bool input_gradient;
    const cvy_param_setting *settings;
    size_t n_settings;
    cvy_augment_desc augment;
    double max_norm;
    uint64_t reserved[22];
} cvy_trainer_options;
typedef struct cvy_step_result {
    double loss_sum;
    double weight;
    size_t correct;
    size_t counted;
    size_t n;
    double seconds;
    uint64_t reserved[8];
} cvy_step_result;
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_create(cvy_net *net, cvy_tensor logits,
                                                         const cvy_trainer_options *options,
                                                         cvy_trainer **trainer);
CVY_API void cvy_trainer_destroy(cvy_trainer **trainer);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_step(cvy_trainer *trainer, const cvy_batch *batch,
                                                       cvy_step_result *result);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_set_lr(cvy_trainer *trainer, double lr);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_set_hyper(cvy_trainer *trainer, const char *name,
                                                            double value);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_population(cvy_trainer *trainer,
                                                             const cvy_batch *batch,
                                                             uint64_t index);
CVY_API double cvy_trainer_penalty(const cvy_trainer *trainer);
CVY_API double cvy_trainer_gradient_norm(const cvy_trainer *trainer);
CVY_API uint64_t cvy_trainer_steps(const cvy_trainer *trainer);
CVY_API void cvy_trainer_set_steps(cvy_trainer *trainer, uint64_t steps);
CVY_API CVY_NODISCARD enum cvy_status cvy_predictor_create(cvy_net *net, cvy_tensor output,
                                                           size_t batch,
                                                           const cvy_input_desc *input,
                                                           cvy_trainer *trainer,
                                                           cvy_predictor **predictor);
CVY_API void cvy_predictor_destroy(cvy_predictor **predictor);
CVY_API CVY_NODISCARD enum cvy_status cvy_predictor_run(cvy_predictor *predictor,
                                                        const cvy_batch *batch, float *out);
enum cvy_param_kind {
    CVY_PARAM_WEIGHT = 0,
    CVY_PARAM_RUNNING,
    CVY_PARAM_GRADIENT,
    CVY_PARAM_STATE,
    CVY_PARAM_MOMENTUM = CVY_PARAM_STATE,
    CVY_PARAM_SUM = CVY_PARAM_STATE + CVY_OPTIMIZER_STATES,
    CVY_PARAM_KINDS
};
typedef struct cvy_param_info {
    const char *name;
    enum cvy_param_kind kind;
    size_t rank, dims[4], count;
    uint64_t reserved[8];
} cvy_param_info;
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
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_get64(const cvy_trainer *trainer,
                                                        enum cvy_param_kind kind, const char *name,
                                                        double *out, size_t count);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_set64(cvy_trainer *trainer,
                                                        enum cvy_param_kind kind, const char *name,
                                                        const double *in, size_t count);
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
typedef struct cvy_plan_info {
    size_t ops, phases, stages, tensors;
    size_t arena_bytes, parameter_bytes, scratch_bytes;
    uint64_t reserved[16];
} cvy_plan_info;
CVY_API void cvy_trainer_plan(const cvy_trainer *trainer, cvy_plan_info *info);
CVY_API void cvy_predictor_plan(const cvy_predictor *predictor, cvy_plan_info *info);
CVY_API size_t cvy_trainer_phases(const cvy_trainer *trainer);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_phase(const cvy_trainer *trainer, size_t index,
                                                        cvy_phase_info *info);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_profile(cvy_trainer *trainer, bool on);
CVY_API size_t cvy_trainer_ops(const cvy_trainer *trainer);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_op(const cvy_trainer *trainer, size_t index,
                                                     cvy_op_info *info);
typedef struct cvy_tensor_info {
    const char *name;
    cvy_shape shape;
    uint64_t reserved[8];
} cvy_tensor_info;
CVY_API size_t cvy_trainer_tensors(const cvy_trainer *trainer);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_tensor(const cvy_trainer *trainer, size_t index,
                                                         cvy_tensor_info *info);
CVY_API CVY_NODISCARD enum cvy_status cvy_trainer_tensor_get(const cvy_trainer *trainer,
                                                             size_t index, double *out,
                                                             size_t count);
#ifdef __cplusplus
}
#endif
#endif
