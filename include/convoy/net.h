/* Building a net: a directed acyclic graph of operators. Each call adds a node and returns a handle
 * of its output; the first mistake sticks (later calls return CVY_NO_TENSOR) and is reported by
 * trainer or predictor creation and by cvy_net_status. A net may be compiled many times; it must
 * not be changed after. What was compiled does not need it: it may be destroyed then. Names and
 * descriptors are copied. */
#ifndef CONVOY_NET_H
#define CONVOY_NET_H

#include "context.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cvy_net;
typedef struct cvy_net cvy_net;
typedef int cvy_tensor; /* of one net: others refuse it */
#define CVY_NO_TENSOR (-1)

CVY_API CVY_NODISCARD enum cvy_status cvy_net_create(cvy_context *ctx, cvy_net **net);
CVY_API void cvy_net_destroy(cvy_net **net);
/* The first mistake, or CVY_OK; its sentence is then cvy_message of the context. */
CVY_API enum cvy_status cvy_net_status(const cvy_net *net);

/* The one input: [n][c][h][w], n is chosen when the net is compiled. */
CVY_API cvy_tensor cvy_input(cvy_net *net, size_t c, size_t h, size_t w);
/* Layers with parameters need a unique name; parameters are then NAME.weight, NAME.bias (PyTorch's
 * state_dict names), for batch norm also NAME.running_mean, NAME.running_var. Others may pass NULL
 * and get a generated name. */
CVY_API cvy_tensor cvy_conv2d(cvy_net *net, cvy_tensor x, const char *name,
                              const cvy_conv2d_desc *desc);
CVY_API cvy_tensor cvy_linear(cvy_net *net, cvy_tensor x, const char *name,
                              const cvy_linear_desc *desc);
/* Starts as cvy_init_desc says, by its own layout of weights, as PyTorch's: fan_in is
 * oc/groups*kh*kw, fan_out ic*kh*kw. */
CVY_API cvy_tensor cvy_conv_transpose2d(cvy_net *net, cvy_tensor x, const char *name,
                                        const cvy_conv_transpose2d_desc *desc);
/* A number a channel that is learned, NAME.bias, from 0 on: y = x + b. Where the bias of a
 * convolution would stand, but anywhere: behind a pooling, say. */
CVY_API cvy_tensor cvy_bias(cvy_net *net, cvy_tensor x, const char *name);
CVY_API cvy_tensor cvy_batch_norm(cvy_net *net, cvy_tensor x, const char *name,
                                  const cvy_batch_norm_desc *desc);
/* Group, layer and instance normalisation, as the descriptor says. NULL: the defaults */
CVY_API cvy_tensor cvy_group_norm(cvy_net *net, cvy_tensor x, const char *name,
                                  const cvy_group_norm_desc *desc);
/* DBN and IterNorm. NULL: the defaults. Their running statistics are NAME.running_mean and
 * NAME.running_matrix, [groups][channels][channels] */
CVY_API cvy_tensor cvy_whitening(cvy_net *net, cvy_tensor x, const char *name,
                                 const cvy_whitening_desc *desc);
/* NULL: the defaults. Its running quantiles are NAME.running_quantiles, [c][1][quantiles] */
CVY_API cvy_tensor cvy_rank(cvy_net *net, cvy_tensor x, const char *name,
                            const cvy_rank_desc *desc);
CVY_API cvy_tensor cvy_activation(cvy_net *net, cvy_tensor x, const char *name,
                                  const cvy_act_desc *desc);
CVY_API cvy_tensor cvy_prelu(cvy_net *net, cvy_tensor x, const char *name,
                             const cvy_prelu_desc *desc); /* NULL: the defaults */
CVY_API cvy_tensor cvy_sigmoid(cvy_net *net, cvy_tensor x);
CVY_API cvy_tensor cvy_relu(cvy_net *net, cvy_tensor x);
CVY_API cvy_tensor cvy_pool2d(cvy_net *net, cvy_tensor x, const char *name,
                              const cvy_pool2d_desc *desc);
/* Over channels. As an operator it is cvy_op_pool2d on {n, c / size, size, h * w} with a window of
 * {size, 1}: the numbers lie as they must. */
CVY_API cvy_tensor cvy_maxout(cvy_net *net, cvy_tensor x, const char *name,
                              const cvy_maxout_desc *desc);
CVY_API cvy_tensor cvy_global_avg_pool(cvy_net *net, cvy_tensor x, const char *name);
CVY_API cvy_tensor cvy_add(cvy_net *net, cvy_tensor a, cvy_tensor b, const char *name);
/* The product, element by element, of two tensors of one shape. */
CVY_API cvy_tensor cvy_multiply(cvy_net *net, cvy_tensor a, cvy_tensor b, const char *name);
CVY_API cvy_tensor cvy_concat(cvy_net *net, const cvy_tensor *x, size_t n,
                              const char *name); /* along c */
/* Zero channels before and after (the parameter-free shortcut of He et al. 2015, option A, needs
 * it). */
CVY_API cvy_tensor cvy_pad_channels(cvy_net *net, cvy_tensor x, size_t before, size_t after,
                                    const char *name);
CVY_API cvy_tensor cvy_dropout(cvy_net *net, cvy_tensor x, const char *name,
                               const cvy_dropout_desc *desc);
CVY_API cvy_tensor cvy_flatten(cvy_net *net, cvy_tensor x); /* [n][c*h*w][1][1] */
/* Maps of another size */
CVY_API cvy_tensor cvy_upsample(cvy_net *net, cvy_tensor x, const char *name,
                                const cvy_upsample_desc *desc);
/* The mean of the batch, or as the descriptor says, subtracted. NULL: the batch's */
CVY_API cvy_tensor cvy_mean_subtract(cvy_net *net, cvy_tensor x, const char *name,
                                     const cvy_mean_subtract_desc *desc);
CVY_API cvy_tensor cvy_softmax(cvy_net *net, cvy_tensor x,
                               const char *name); /* over c, inference */
/* The same of x / temperature: more than 0, 0 means 1 */
CVY_API cvy_tensor cvy_tempered_softmax(cvy_net *net, cvy_tensor x, const char *name,
                                        double temperature);

/* Shape of a handle with n = 1 ({0,0,0,0} for one that is none of this net). */
CVY_API cvy_shape cvy_tensor_shape(const cvy_net *net, cvy_tensor x);

/* Walking a net, for tables: nodes are numbered in building order, the input is node 0. */
typedef struct cvy_node_info {
    const char *name, *type;              /* "conv1", "conv2d" */
    cvy_shape out;                        /* n = 1 */
    size_t parameters;                    /* trainable elements */
    double flops_forward, flops_backward; /* per image; a multiply-add is 2 */
    size_t n_inputs;
    /* numbers of the nodes that it reads; name, type and inputs are the net's and live as long,
     * inputs until a node is added */
    const int *inputs;
    uint64_t reserved[16];
} cvy_node_info;
CVY_API size_t cvy_net_nodes(const cvy_net *net);
CVY_API CVY_NODISCARD enum cvy_status cvy_net_node(const cvy_net *net, size_t index,
                                                   cvy_node_info *info);
/* The handle of a node's output; CVY_NO_TENSOR past the last. */
CVY_API cvy_tensor cvy_net_tensor(const cvy_net *net, size_t index);

/* How a net's parameters start. Weights by `weights`, biases by `biases`; gamma 1, beta 0, running
 * mean 0, var 1. fan_in is what an output sums over, ic/groups*kh*kw, fan_out oc*kh*kw, of a linear
 * layer its inputs and outputs; a bias goes by its weight's. v is the value; 0 means 1, but 0 for
 * CONSTANT. All of them are functions of the seed and of the parameter's place in the net. */
enum cvy_init {
    CVY_INIT_DEFAULT = 0,    /* XAVIER_UNIFORM for weights, TORCH_DEFAULT for biases */
    CVY_INIT_XAVIER_UNIFORM, /* U(+-sqrt(6 / (fan_in + fan_out))), Glorot & Bengio 2010 */
    CVY_INIT_KAIMING_NORMAL, /* N(0, 2 / fan_in), He et al. 2015 */
    CVY_INIT_TORCH_DEFAULT,  /* U(+-1 / sqrt(fan_in)) */
    CVY_INIT_ZERO,
    CVY_INIT_CONSTANT,         /* v */
    CVY_INIT_NORMAL,           /* N(0, v^2) */
    CVY_INIT_TRUNCATED_NORMAL, /* the same, drawn again where it is beyond 2 v */
    /* v times orthonormal rows of the matrix [oc][ic/groups*kh*kw], columns where it has more rows;
     * Saxe et al. 2014. Not for biases. Takes oc^2 * ic*kh*kw steps */
    CVY_INIT_ORTHOGONAL,
    CVY_INIT_KAIMING_NORMAL_FAN_OUT, /* N(0, 2 / fan_out) */
    CVY_INITS
};
typedef struct cvy_init_desc {
    enum cvy_init weights, biases;
    uint64_t seed;
    double weights_value, biases_value; /* 0 for kinds that have none */
    uint64_t reserved[8];
} cvy_init_desc;
/* The name of an initialiser, "xavier_uniform", NULL past the last; and the one of a name (false:
 * unknown name, *init untouched). */
CVY_API const char *cvy_init_name(enum cvy_init init);
CVY_API bool cvy_init_from_name(const char *name, enum cvy_init *init);

#ifdef __cplusplus
}
#endif
#endif
