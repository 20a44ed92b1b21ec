#ifndef CONVOY_TYPES_H
#define CONVOY_TYPES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "version.h"
#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#define CVY_API __attribute__((visibility("default")))
#define CVY_NODISCARD __attribute__((warn_unused_result))
#else
#define CVY_API
#define CVY_NODISCARD
#endif
enum cvy_status {
    CVY_OK = 0,
    CVY_E_ARG,
    CVY_E_SHAPE,
    CVY_E_NOMEM,
    CVY_E_UNSUPPORTED,
    CVY_E_BACKEND,
    CVY_E_NUMERIC,
    CVY_E_STATE
};
enum cvy_dtype { CVY_F32 = 0, CVY_U8, CVY_F64, CVY_I32 };
enum cvy_isa { CVY_ISA_AUTO = 0, CVY_ISA_SCALAR, CVY_ISA_AVX2, CVY_ISA_AVX512, CVY_ISA_PAIR };
#define CVY_ALGORITHMS(X) X(DIRECT, direct) X(PANELS, panels) X(DEPTHWISE, depthwise)
#define CVY_ALGORITHM_ENUM(NAME, name) CVY_ALGORITHM_##NAME,
enum cvy_algorithm { CVY_ALGORITHM_AUTO = 0, CVY_ALGORITHMS(CVY_ALGORITHM_ENUM) };
typedef struct cvy_shape {
    size_t n, c, h, w;
} cvy_shape;
typedef struct cvy_conv2d_desc {
    size_t out_channels;
    size_t kernel[2];
    size_t stride[2];
    size_t pad[4];
    size_t dilation[2];
    size_t groups;
    bool no_bias;
    bool flip;
    uint64_t reserved[8];
} cvy_conv2d_desc;
typedef struct cvy_conv_transpose2d_desc {
    size_t out_channels;
    size_t kernel[2];
    size_t stride[2];
    size_t pad[4];
    size_t output_pad[2];
    size_t dilation[2];
    size_t groups;
    bool no_bias;
    bool flip;
    uint64_t reserved[8];
} cvy_conv_transpose2d_desc;
typedef struct cvy_linear_desc {
    size_t out_features;
    bool no_bias;
    uint64_t reserved[4];
} cvy_linear_desc;
enum cvy_bn_var { CVY_BN_VAR_UNBIASED = 0, CVY_BN_VAR_BIASED };
enum cvy_bn_statistics {
    CVY_BN_STATISTICS_BOTH = 0,
    CVY_BN_STATISTICS_MEAN,
    CVY_BN_STATISTICS_VARIANCE
};
typedef struct cvy_batch_norm_desc {
    double eps;
    double momentum;
    enum cvy_bn_var running_var;
    bool no_affine;
    bool no_gamma, no_beta;
    bool cumulative;
    bool frozen;
    bool zero_init;
    bool batch_statistics;
    double running_var_offset;
    enum cvy_bn_statistics statistics;
    uint64_t reserved[6];
} cvy_batch_norm_desc;
typedef struct cvy_group_norm_desc {
    size_t groups;
    double eps;
    bool no_affine;
    bool no_gamma, no_beta;
    bool elementwise;
    uint64_t reserved[8];
} cvy_group_norm_desc;
enum cvy_whitening_kind { CVY_WHITENING_ZCA = 0, CVY_WHITENING_NEWTON };
typedef struct cvy_whitening_desc {
    enum cvy_whitening_kind kind;
    size_t channels;
    size_t steps;
    double eps;
    double momentum;
    bool shared;
    bool no_affine;
    bool no_gamma, no_beta;
    bool frozen;
    uint64_t reserved[8];
} cvy_whitening_desc;
typedef struct cvy_rank_desc {
    size_t quantiles;
    double momentum;
    bool normal;
    bool frozen;
    uint64_t reserved[8];
} cvy_rank_desc;
enum cvy_act_kind {
    CVY_SIGMOID = 0,
    CVY_TANH,
    CVY_RELU,
    CVY_LEAKY_RELU,
    CVY_ELU,
    CVY_SOFTPLUS,
    CVY_GELU,
    CVY_GELU_TANH,
    CVY_SILU,
    CVY_MISH,
    CVY_HARDSWISH,
    CVY_RELU6,
    CVY_HARDTANH,
    CVY_NORMAL_CDF
};
#define CVY_ACTIVATIONS(X)                              \
    X(SIGMOID, sigmoid, none, 0, false, true)           \
    X(TANH, tanh, none, 0, false, true)                 \
    X(RELU, relu, at_zero, 0, false, true)              \
    X(LEAKY_RELU, leaky_relu, alpha, 0.01, false, true) \
    X(ELU, elu, alpha, 1, false, true)                  \
    X(SOFTPLUS, softplus, none, 0, false, true)         \
    X(GELU, gelu, none, 0, true, false)                 \
    X(GELU_TANH, gelu_tanh, none, 0, true, false)       \
    X(SILU, silu, none, 0, true, false)                 \
    X(MISH, mish, none, 0, true, false)                 \
    X(HARDSWISH, hardswish, none, 0, true, false)       \
    X(RELU6, relu6, none, 0, false, true)               \
    X(HARDTANH, hardtanh, alpha, 1, false, true)        \
    X(NORMAL_CDF, normal_cdf, none, 0, true, false)
typedef struct cvy_prelu_desc {
    double init;
    uint64_t reserved[4];
} cvy_prelu_desc;
typedef struct cvy_act_desc {
    enum cvy_act_kind kind;
    double alpha;
    double relu_grad_at_zero;
    uint64_t reserved[4];
} cvy_act_desc;
enum cvy_pool_kind { CVY_POOL_MAX = 0, CVY_POOL_AVG };
enum cvy_pool_tie { CVY_TIE_FIRST = 0, CVY_TIE_ALL, CVY_TIE_SPLIT };
typedef struct cvy_pool2d_desc {
    enum cvy_pool_kind kind;
    size_t kernel[2];
    size_t stride[2];
    size_t pad[4];
    bool ceil_mode;
    bool exclude_pad;
    enum cvy_pool_tie tie;
    uint64_t reserved[8];
} cvy_pool2d_desc;
enum cvy_maxout_kind { CVY_MAXOUT_MAX = 0, CVY_MAXOUT_MEAN, CVY_MAXOUT_MIXED };
typedef struct cvy_maxout_desc {
    enum cvy_maxout_kind kind;
    size_t size;
    enum cvy_pool_tie tie;
    uint64_t reserved[8];
} cvy_maxout_desc;
enum cvy_upsample_kind { CVY_UPSAMPLE_NEAREST = 0, CVY_UPSAMPLE_BILINEAR };
typedef struct cvy_upsample_desc {
    enum cvy_upsample_kind kind;
    size_t scale[2];
    size_t size[2];
    bool align_corners;
    uint64_t reserved[8];
} cvy_upsample_desc;
enum cvy_mean_over { CVY_MEAN_OF_BATCH = 0, CVY_MEAN_OF_IMAGE };
typedef struct cvy_mean_subtract_desc {
    enum cvy_mean_over over;
    uint64_t reserved[4];
} cvy_mean_subtract_desc;
enum cvy_dropout_when { CVY_DROPOUT_ALWAYS = 0, CVY_DROPOUT_TRAINING, CVY_DROPOUT_INFERENCE };
typedef struct cvy_dropout_desc {
    double p;
    bool unscaled;
    enum cvy_dropout_when when;
    uint64_t reserved[4];
} cvy_dropout_desc;
enum cvy_loss_kind { CVY_CROSS_ENTROPY = 0, CVY_MSE, CVY_BCE, CVY_HINGE, CVY_LOSS_KINDS };
typedef struct cvy_loss_desc {
    enum cvy_loss_kind kind;
    double label_smoothing;
    double margin;
    const double *class_weights;
    bool soft_targets;
    bool per_pixel;
    bool ignore;
    int32_t ignore_index;
    double temperature;
    uint64_t reserved[15];
} cvy_loss_desc;
CVY_API const char *cvy_loss_name(enum cvy_loss_kind kind);
CVY_API bool cvy_loss_from_name(const char *name, enum cvy_loss_kind *kind);
enum cvy_optimizer_kind {
    CVY_SGD = 0,
    CVY_ADAM,
    CVY_ADAMW,
    CVY_RMSPROP,
    CVY_ADAGRAD,
    CVY_ADADELTA,
    CVY_OPTIMIZER_KINDS
};
typedef struct cvy_optimizer_desc {
    enum cvy_optimizer_kind kind;
    double lr;
    double momentum;
    double weight_decay;
    bool nesterov;
    bool decay_all;
    double beta1, beta2;
    double eps;
    bool epsilon_hat;
    bool eps_inside;
    double rho;
    double l1, l2;
    uint64_t reserved[13];
} cvy_optimizer_desc;
typedef struct cvy_sgd_desc {
    double lr, momentum, weight_decay;
    bool nesterov, decay_all;
    uint64_t reserved[4];
} cvy_sgd_desc;
#define CVY_OPTIMIZER_STATES 4
typedef struct cvy_hyper_info {
    const char *name;
    const char *help;
    size_t offset;
    double usual;
    double least, most;
    const char *needs;
    bool flag;
    bool below;
    bool zero_is_usual;
    uint64_t reserved[4];
} cvy_hyper_info;
typedef struct cvy_optimizer_info {
    const char *name;
    size_t n_hypers, n_states;
    const cvy_hyper_info *hyper;
    const char *const *state;
    uint64_t reserved[8];
} cvy_optimizer_info;
CVY_API const cvy_optimizer_info *cvy_optimizer_describe(enum cvy_optimizer_kind kind);
CVY_API bool cvy_optimizer_from_name(const char *name, enum cvy_optimizer_kind *kind);
CVY_API void cvy_optimizer_usual(enum cvy_optimizer_kind kind, cvy_optimizer_desc *desc);
CVY_API const cvy_hyper_info *cvy_hyper_find(const cvy_optimizer_info *info, const char *name);
CVY_API bool cvy_hyper_accepts(const cvy_hyper_info *hyper, double value);
CVY_API double cvy_hyper_get(const cvy_hyper_info *hyper, const cvy_optimizer_desc *desc);
CVY_API void cvy_hyper_set(const cvy_hyper_info *hyper, cvy_optimizer_desc *desc, double value);
typedef struct cvy_augment_desc {
    size_t crop;
    bool flip;
    size_t cutout;
    uint64_t reserved[4];
} cvy_augment_desc;
CVY_API const char *cvy_version(void);
CVY_API const char *cvy_status_name(enum cvy_status status);
CVY_API const char *cvy_isa_name(enum cvy_isa isa);
CVY_API bool cvy_isa_from_name(const char *name, enum cvy_isa *isa);
CVY_API const char *cvy_algorithm_name(enum cvy_algorithm algorithm);
CVY_API bool cvy_algorithm_from_name(const char *name, enum cvy_algorithm *algorithm);
#ifdef __cplusplus
}
#endif
#endif
