#ifndef CONVOY_OP_H
#define CONVOY_OP_H
#include "context.h"
#ifdef __cplusplus
extern "C" {
#endif
struct cvy_op;
typedef struct cvy_op cvy_op;
enum cvy_pass { CVY_FORWARD = 0, CVY_FORWARD_INFER, CVY_BACKWARD_DATA, CVY_BACKWARD_WEIGHTS };
typedef struct cvy_op_args {
    const float *src, *src2, *weights, *bias, *diff_dst;
    const float *const *srcs;
    float *const *diff_srcs;
    const float *dst_in;
    float *dst, *diff_src, *diff_weights, *diff_bias;
    float *mean, *var;
    float *running_mean, *running_var;
    const int32_t *labels;
    const float *targets;
    double *loss;
    void *workspace;
    uint64_t seed, step;
    float *running_matrix, *running_quantiles;
    uint64_t reserved[14];
} cvy_op_args;
CVY_API CVY_NODISCARD enum cvy_status cvy_op_conv2d(cvy_context *ctx, const cvy_conv2d_desc *desc,
                                                    cvy_shape src, enum cvy_pass pass, cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_conv_transpose2d(cvy_context *ctx,
                                                              const cvy_conv_transpose2d_desc *desc,
                                                              cvy_shape src, enum cvy_pass pass,
                                                              cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_bias(cvy_context *ctx, cvy_shape src,
                                                  enum cvy_pass pass, cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_linear(cvy_context *ctx, const cvy_linear_desc *desc,
                                                    cvy_shape src, enum cvy_pass pass, cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_batch_norm(cvy_context *ctx,
                                                        const cvy_batch_norm_desc *desc,
                                                        cvy_shape src, enum cvy_pass pass,
                                                        cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_group_norm(cvy_context *ctx,
                                                        const cvy_group_norm_desc *desc,
                                                        cvy_shape src, enum cvy_pass pass,
                                                        cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_whitening(cvy_context *ctx,
                                                       const cvy_whitening_desc *desc,
                                                       cvy_shape src, enum cvy_pass pass,
                                                       cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_rank(cvy_context *ctx, const cvy_rank_desc *desc,
                                                  cvy_shape src, enum cvy_pass pass, cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_activation(cvy_context *ctx, const cvy_act_desc *desc,
                                                        cvy_shape src, enum cvy_pass pass,
                                                        cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_prelu(cvy_context *ctx, cvy_shape src,
                                                   enum cvy_pass pass, cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_pool2d(cvy_context *ctx, const cvy_pool2d_desc *desc,
                                                    cvy_shape src, enum cvy_pass pass, cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_dropout(cvy_context *ctx, const cvy_dropout_desc *desc,
                                                     cvy_shape src, enum cvy_pass pass,
                                                     cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_add(cvy_context *ctx, cvy_shape src, cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_multiply(cvy_context *ctx, cvy_shape src, cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_upsample(cvy_context *ctx,
                                                      const cvy_upsample_desc *desc, cvy_shape src,
                                                      enum cvy_pass pass, cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_mean_subtract(cvy_context *ctx,
                                                           const cvy_mean_subtract_desc *desc,
                                                           cvy_shape src, enum cvy_pass pass,
                                                           cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_concat(cvy_context *ctx, const cvy_shape *src,
                                                    size_t n, enum cvy_pass pass, cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_pad_channels(cvy_context *ctx, size_t before,
                                                          size_t after, cvy_shape src,
                                                          enum cvy_pass pass, cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_softmax(cvy_context *ctx, cvy_shape src, cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_tempered_softmax(cvy_context *ctx, double temperature,
                                                              cvy_shape src, cvy_op **op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_loss(cvy_context *ctx, const cvy_loss_desc *desc,
                                                  cvy_shape src, cvy_op **op);
typedef struct cvy_loss_result {
    double loss;
    double weight;
    bool correct;
    uint64_t reserved[4];
} cvy_loss_result;
CVY_API CVY_NODISCARD enum cvy_status cvy_loss_row(cvy_context *ctx, const cvy_loss_desc *desc,
                                                   size_t classes, const float *outputs,
                                                   int32_t label, const float *target,
                                                   cvy_loss_result *result);
CVY_API cvy_shape cvy_op_dst_shape(const cvy_op *op);
CVY_API size_t cvy_op_workspace(const cvy_op *op);
CVY_API const char *cvy_op_backend(const cvy_op *op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_run(cvy_op *op, const cvy_op_args *args);
CVY_API void cvy_op_destroy(cvy_op **op);
CVY_API size_t cvy_op_phases(const cvy_op *op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_phase(const cvy_op *op, size_t index,
                                                   cvy_phase_info *info);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_profile(cvy_op *op, bool on);
#ifdef __cplusplus
}
#endif
#endif
