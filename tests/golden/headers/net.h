#ifndef CONVOY_NET_H
#define CONVOY_NET_H
#include "context.h"
#ifdef __cplusplus
extern "C" {
#endif
struct cvy_net;
typedef struct cvy_net cvy_net;
typedef int cvy_tensor;
#define CVY_NO_TENSOR (-1)
CVY_API CVY_NODISCARD enum cvy_status cvy_net_create(cvy_context *ctx, cvy_net **net);
CVY_API void cvy_net_destroy(cvy_net **net);
CVY_API enum cvy_status cvy_net_status(const cvy_net *net);
CVY_API cvy_tensor cvy_input(cvy_net *net, size_t c, size_t h, size_t w);
CVY_API cvy_tensor cvy_conv2d(cvy_net *net, cvy_tensor x, const char *name,
                              const cvy_conv2d_desc *desc);
CVY_API cvy_tensor cvy_linear(cvy_net *net, cvy_tensor x, const char *name,
                              const cvy_linear_desc *desc);
CVY_API cvy_tensor cvy_conv_transpose2d(cvy_net *net, cvy_tensor x, const char *name,
                                        const cvy_conv_transpose2d_desc *desc);
CVY_API cvy_tensor cvy_bias(cvy_net *net, cvy_tensor x, const char *name);
CVY_API cvy_tensor cvy_batch_norm(cvy_net *net, cvy_tensor x, const char *name,
                                  const cvy_batch_norm_desc *desc);
CVY_API cvy_tensor cvy_group_norm(cvy_net *net, cvy_tensor x, const char *name,
                                  const cvy_group_norm_desc *desc);
CVY_API cvy_tensor cvy_whitening(cvy_net *net, cvy_tensor x, const char *name,
                                 const cvy_whitening_desc *desc);
CVY_API cvy_tensor cvy_rank(cvy_net *net, cvy_tensor x, const char *name,
                            const cvy_rank_desc *desc);
CVY_API cvy_tensor cvy_activation(cvy_net *net, cvy_tensor x, const char *name,
                                  const cvy_act_desc *desc);
CVY_API cvy_tensor cvy_prelu(cvy_net *net, cvy_tensor x, const char *name,
                             const cvy_prelu_desc *desc);
CVY_API cvy_tensor cvy_sigmoid(cvy_net *net, cvy_tensor x);
CVY_API cvy_tensor cvy_relu(cvy_net *net, cvy_tensor x);
CVY_API cvy_tensor cvy_pool2d(cvy_net *net, cvy_tensor x, const char *name,
                              const cvy_pool2d_desc *desc);
CVY_API cvy_tensor cvy_maxout(cvy_net *net, cvy_tensor x, const char *name,
                              const cvy_maxout_desc *desc);
CVY_API cvy_tensor cvy_global_avg_pool(cvy_net *net, cvy_tensor x, const char *name);
CVY_API cvy_tensor cvy_add(cvy_net *net, cvy_tensor a, cvy_tensor b, const char *name);
CVY_API cvy_tensor cvy_multiply(cvy_net *net, cvy_tensor a, cvy_tensor b, const char *name);
CVY_API cvy_tensor cvy_concat(cvy_net *net, const cvy_tensor *x, size_t n, const char *name);
CVY_API cvy_tensor cvy_pad_channels(cvy_net *net, cvy_tensor x, size_t before, size_t after,
                                    const char *name);
CVY_API cvy_tensor cvy_dropout(cvy_net *net, cvy_tensor x, const char *name,
                               const cvy_dropout_desc *desc);
CVY_API cvy_tensor cvy_flatten(cvy_net *net, cvy_tensor x);
CVY_API cvy_tensor cvy_upsample(cvy_net *net, cvy_tensor x, const char *name,
                                const cvy_upsample_desc *desc);
CVY_API cvy_tensor cvy_mean_subtract(cvy_net *net, cvy_tensor x, const char *name,
                                     const cvy_mean_subtract_desc *desc);
CVY_API cvy_tensor cvy_softmax(cvy_net *net, cvy_tensor x, const char *name);
CVY_API cvy_tensor cvy_tempered_softmax(cvy_net *net, cvy_tensor x, const char *name,
                                        double temperature);
CVY_API cvy_shape cvy_tensor_shape(const cvy_net *net, cvy_tensor x);
typedef struct cvy_node_info {
    const char *name, *type;
    cvy_shape out;
    size_t parameters;
    double flops_forward, flops_backward;
    size_t n_inputs;
    const int *inputs;
    uint64_t reserved[16];
} cvy_node_info;
CVY_API size_t cvy_net_nodes(const cvy_net *net);
CVY_API CVY_NODISCARD enum cvy_status cvy_net_node(const cvy_net *net, size_t index,
                                                   cvy_node_info *info);
CVY_API cvy_tensor cvy_net_tensor(const cvy_net *net, size_t index);
enum cvy_init {
    CVY_INIT_DEFAULT = 0,
    CVY_INIT_XAVIER_UNIFORM,
    CVY_INIT_KAIMING_NORMAL,
    CVY_INIT_TORCH_DEFAULT,
    CVY_INIT_ZERO,
    CVY_INIT_CONSTANT,
    CVY_INIT_NORMAL,
    CVY_INIT_TRUNCATED_NORMAL,
    CVY_INIT_ORTHOGONAL,
    CVY_INITS
};
typedef struct cvy_init_desc {
    enum cvy_init weights, biases;
    uint64_t seed;
    double weights_value, biases_value;
    uint64_t reserved[8];
} cvy_init_desc;
CVY_API const char *cvy_init_name(enum cvy_init init);
CVY_API bool cvy_init_from_name(const char *name, enum cvy_init *init);
#ifdef __cplusplus
}
#endif
#endif
