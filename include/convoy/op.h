/* One operator on the host's own NCHW float buffers, for hosts that bring their own graph: plan
 * once, run often, allocate nothing. An op is a program of one operator; it belongs to the thread
 * that its context belongs to, and needs the context until it is destroyed. */
#ifndef CONVOY_OP_H
#define CONVOY_OP_H

#include "context.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cvy_op;
typedef struct cvy_op cvy_op;

enum cvy_pass { CVY_FORWARD = 0, CVY_FORWARD_INFER, CVY_BACKWARD_DATA, CVY_BACKWARD_WEIGHTS };

/* Buffers of a run, borrowed for the call; those that the operator and pass do not use are ignored.
 * All [n][c][h][w] float, aligned as floats are. What is written must not overlap anything else.
 *  conv2d      forward: src weights [bias] -> dst
 *              backward data: diff_dst weights -> diff_src
 *              backward weights: src diff_dst -> diff_weights [diff_bias]
 *  conv_transpose2d  the same passes
 *  bias        forward: src bias -> dst
 *              backward weights: diff_dst -> diff_bias (diff_src is diff_dst)
 *  linear      like conv2d, src [n][c][h][w] as rows of c*h*w, weights [out][c*h*w]
 *  batch_norm  forward: src weights(gamma) bias(beta) -> dst mean var; running_mean and running_var
 *              are updated if not NULL
 *              forward infer: src weights bias running_mean running_var -> dst
 *              backward data: src diff_dst weights mean var -> diff_src diff_weights diff_bias
 *              frozen: both forward passes are forward infer; backward takes the running statistics
 *              as mean and var
 *  group_norm  forward: src weights(gamma) bias(beta) -> dst mean var, [n][groups] each
 *              forward infer: src weights bias -> dst
 *              backward data: src diff_dst weights mean var -> diff_src diff_weights diff_bias
 *  whitening   forward: src weights(gamma) bias(beta) -> dst; running_mean and running_matrix are
 *              updated if not NULL
 *              forward infer: src weights bias running_mean running_matrix -> dst
 *              backward data: src diff_dst weights -> diff_src diff_weights diff_bias (statistics
 *              are made of src again)
 *              frozen: both forward passes are forward infer; backward needs running_mean and
 *              running_matrix, too
 *  rank        forward: src -> dst; running_quantiles are updated if not NULL
 *              forward infer: src running_quantiles -> dst
 *              backward data: src diff_dst -> diff_src (of a normal one that is diff_dst: no pass)
 *  prelu       forward: src weights(slopes) -> dst
 *              backward data: src diff_dst weights -> diff_src diff_weights
 *  activation, pool2d, dropout
 *              forward: src -> dst
 *              backward data: src dst_in diff_dst -> diff_src
 *  add, multiply
 *              forward: src src2 -> dst (a product's gradients are products with diff_dst)
 *  upsample, mean_subtract
 *              forward: src -> dst
 *              backward data: diff_dst -> diff_src
 *  concat      forward: srcs -> dst
 *              backward data: diff_dst -> diff_srcs (n pointers each)
 *  pad_channels  forward: src -> dst, zeros before and behind its channels
 *              backward data: diff_dst -> diff_src
 *  softmax     forward: src -> dst
 *  loss        forward: src, labels (per_pixel: [n][h][w]) or, with soft_targets, targets -> loss
 *              (one double per call: the mean), diff_src */
typedef struct cvy_op_args {
    const float *src, *src2, *weights, *bias, *diff_dst;
    const float *const *srcs;
    float *const *diff_srcs;
    const float *dst_in; /* the forward output, for backward passes */
    float *dst, *diff_src, *diff_weights, *diff_bias;
    float *mean, *var; /* of the batch, or of groups (biased variance) */
    float *running_mean, *running_var;
    const int32_t *labels;
    const float *targets;
    double *loss;
    void *workspace;     /* cvy_op_workspace bytes, 64-byte aligned; NULL: the op's own */
    uint64_t seed, step; /* dropout */
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
/* n tensors, 1 to 64, side by side along c: everything but c is the same in all of them. */
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
/* One row by itself, in double, at once: what a loss says of `classes` outputs and a label, or with
 * soft targets a target of as many numbers; the other is not looked at. */
typedef struct cvy_loss_result {
    double loss;   /* not yet times the weight */
    double weight; /* 0: takes no part */
    bool correct;  /* the first maximum is at the label, or at the target's */
    uint64_t reserved[4];
} cvy_loss_result;
CVY_API CVY_NODISCARD enum cvy_status cvy_loss_row(cvy_context *ctx, const cvy_loss_desc *desc,
                                                   size_t classes, const float *outputs,
                                                   int32_t label, const float *target,
                                                   cvy_loss_result *result);
CVY_API cvy_shape cvy_op_dst_shape(const cvy_op *op);
CVY_API size_t cvy_op_workspace(const cvy_op *op);
CVY_API const char *cvy_op_backend(const cvy_op *op); /* who computes it */
CVY_API CVY_NODISCARD enum cvy_status cvy_op_run(cvy_op *op, const cvy_op_args *args);
CVY_API void cvy_op_destroy(cvy_op **op);
/* What the compiler made of it: the operator's own phases and, where a backend has layouts of its
 * own, one "reorder" for each buffer. */
CVY_API size_t cvy_op_phases(const cvy_op *op);
CVY_API CVY_NODISCARD enum cvy_status cvy_op_phase(const cvy_op *op, size_t index,
                                                   cvy_phase_info *info);
/* Starts or stops their clocks, as cvy_trainer_profile. */
CVY_API CVY_NODISCARD enum cvy_status cvy_op_profile(cvy_op *op, bool on);

#ifdef __cplusplus
}
#endif
#endif
