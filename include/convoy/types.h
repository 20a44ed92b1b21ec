/* Types shared by every part of the public API: status codes, shapes, operator descriptors.
 *
 * In every descriptor a field left at zero means the documented default, so that designated
 * initialisers read well: (cvy_conv2d_desc){ .out_channels = 6, .kernel = {5, 5} }.
 * A descriptor is read during the call that it is given to and may go then, with what it points to.
 *
 * Structs grow, their sizes do not: each ends in `reserved`, of which a later version takes its new
 * members. In what the library reads these words must be zero, or the call is refused; in what it
 * fills they are zero. So a program is right with any library of its soname, older or newer
 * (docs/abi.md). Clear a struct as a whole, by an initialiser or memset, before you set members.
 * Only cvy_shape stays as it is for ever.
 *
 * Shapes are [n][c][h][w] (images, channels, rows, columns); sizes count elements unless a name
 * ends in _bytes. What becomes of NaN, infinities and -0 in each operator: docs/numerics.md,
 * "Special values". */
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

/* What kind of thing went wrong; the sentence that says what exactly is cvy_message(ctx). */
enum cvy_status {
    CVY_OK = 0,
    CVY_E_ARG,         /* an argument is out of its documented range, NULL, or unknown */
    CVY_E_SHAPE,       /* shapes do not fit together */
    CVY_E_NOMEM,       /* an allocation failed */
    CVY_E_UNSUPPORTED, /* this CPU, build or backend cannot do it */
    CVY_E_BACKEND,     /* a backend failed or could not be opened */
    CVY_E_NUMERIC,     /* a step's loss is not finite */
    CVY_E_STATE        /* called at the wrong time (a step of a trainer made for a dry run) */
};

enum cvy_dtype { CVY_F32 = 0, CVY_U8, CVY_F64, CVY_I32 };

/* Instruction sets a context may use. AUTO: the best that runs here. PAIR: the AVX-512 table's
 * geometry on AVX2 hardware, for tests only (never chosen by AUTO; absent from builds without
 * -Dpair=true). */
enum cvy_isa { CVY_ISA_AUTO = 0, CVY_ISA_SCALAR, CVY_ISA_AVX2, CVY_ISA_AVX512, CVY_ISA_PAIR };

/* How a convolution is computed. DIRECT: every product of the definition, maps read where they lie;
 * PANELS: the same sums, of a 1x1 convolution, from maps that are first laid side by side;
 * DEPTHWISE: groups of one input channel, plane by plane; TRANSFORMED (Lavin and Gray, arXiv
 * 1509.09308), of stride 1: a quarter of the products of a 3x3 kernel, by F(4x4, 3x3), half of
 * those of another kernel of three columns, two fifths of one of five, by F(4, 3) and F(4, 5) along
 * the rows, with sums that are others than DIRECT's, by what docs/numerics.md says; values that are
 * not finite spread over a tile, in weights over all. AUTO: the cheapest, as far as its shape
 * tells. Another: wherever it can be used, AUTO elsewhere. It is the native backend that has
 * these. */
#define CVY_ALGORITHMS(X) \
    X(DIRECT, direct)     \
    X(PANELS, panels)     \
    X(DEPTHWISE, depthwise) X(TRANSFORMED, transformed)
#define CVY_ALGORITHM_ENUM(NAME, name) CVY_ALGORITHM_##NAME,
enum cvy_algorithm { CVY_ALGORITHM_AUTO = 0, CVY_ALGORITHMS(CVY_ALGORITHM_ENUM) };

typedef struct cvy_shape {
    size_t n, c, h, w;
} cvy_shape;

/* Spatial padding is {top, left, bottom, right}, each >= 0. */

/* y[n][o][oy][ox] = bias[o] + sum over i, ky, kx of
 *     w[o][i][ky][kx] * x[n][g*ic/groups + i][oy*stride[0] - pad[0] + ky*dilation[0]][...]
 * (cross-correlation); with `flip` the kernel is rotated by 180 degrees (true convolution).
 * Taps that fall into the padding are skipped, never multiplied. */
typedef struct cvy_conv2d_desc {
    size_t out_channels; /* required */
    size_t kernel[2];    /* rows, columns; required */
    size_t stride[2];    /* 0 means 1 */
    size_t pad[4];       /* top, left, bottom, right */
    size_t dilation[2];  /* 0 means 1 (dense) */
    size_t groups;       /* 0 means 1; must divide both channel counts */
    bool no_bias;
    bool flip;
    /* an enum cvy_algorithm, of its three passes, where it can be used; what the context asks for
     * goes before it */
    uint64_t algorithm;
    uint64_t reserved[7];
} cvy_conv2d_desc;

/* The transposed convolution (deconvolution): the data gradient of the convolution from its output
 * to its input, PyTorch's ConvTranspose2d. Every x[n][i][iy][ix] adds w[i][o][ky][kx] times itself
 * to y[n][g*oc/groups + o][iy*stride[0] - pad[0] + ky*dilation[0]][...], where that is inside; y
 * starts as bias[o]. It has
 *     (rows - 1) * stride[0] - pad[0] - pad[2] + dilation[0] * (kernel[0] - 1) + 1 +
 *         output_pad[0]
 * rows, an error if that is less than 1. Weights are [ic][oc/groups][kh][kw]; with `flip` the
 * kernel is rotated by 180 degrees. */
typedef struct cvy_conv_transpose2d_desc {
    size_t out_channels; /* required */
    size_t kernel[2];    /* rows, columns; required */
    size_t stride[2];    /* 0 means 1 */
    size_t pad[4];       /* top, left, bottom, right: so much is cut off */
    /* rows at the bottom and columns at the right that come on top: less than the stride or less
     * than the dilation */
    size_t output_pad[2];
    size_t dilation[2]; /* 0 means 1 (dense) */
    size_t groups;      /* 0 means 1; must divide both channel counts */
    bool no_bias;
    bool flip;
    uint64_t reserved[8];
} cvy_conv_transpose2d_desc;

/* y[n][o] = bias[o] + sum_i w[o][i] * x[n][i], x flattened in c, h, w order. */
typedef struct cvy_linear_desc {
    size_t out_features; /* required */
    bool no_bias;
    uint64_t reserved[4];
} cvy_linear_desc;

/* Ioffe & Szegedy 2015 (arXiv:1502.03167), Algorithm 1: per channel over (n, h, w); for a 1x1 map
 * that is over n. Normalises with the biased variance. running = (1 - momentum) * running +
 * momentum * batch. */
enum cvy_bn_var { CVY_BN_VAR_UNBIASED = 0, CVY_BN_VAR_BIASED };
/* By which statistics a batch norm normalises; M images times pixels, g = dy gamma. It keeps the
 * running ones of these alone.
 *  BOTH      xhat = (x - mean) / sqrt(var + eps)
 *  MEAN      xhat = x - mean (Salimans & Kingma 2016, arXiv:1602.07868, section 3)
 *            dx = g - sum g / M
 *  VARIANCE  xhat = s x, s = 1 / sqrt(var + eps), var about the mean as ever
 *            dx = s (g - s (x - mean) sum g xhat / M) */
enum cvy_bn_statistics {
    CVY_BN_STATISTICS_BOTH = 0,
    CVY_BN_STATISTICS_MEAN,
    CVY_BN_STATISTICS_VARIANCE
};
typedef struct cvy_batch_norm_desc {
    double eps;                  /* inside the root, FLT_MIN or more; 0 means 1e-5 */
    double momentum;             /* weight of the NEW batch, in (0, 1]; 0 means 0.1 */
    enum cvy_bn_var running_var; /* which variance the running statistics store; m/(m-1) or 1 */
    bool no_affine;              /* neither gamma nor beta */
    bool no_gamma, no_beta;      /* gamma = 1, beta = 0, not trained */
    /* running statistics are the average over all batches: the batch of step t (from 0) weighs
     * 1 / (t + 1); PyTorch's momentum None. No momentum then */
    bool cumulative;
    bool frozen;    /* training uses and keeps the running statistics */
    bool zero_init; /* running_var starts at 0 instead of 1 */
    /* inference, too, normalises by the statistics of its batch, which needs more than one value a
     * channel, as training does; the running ones are only kept. Not with frozen */
    bool batch_statistics;
    /* is added to running_var at every update, behind the momentum, 0 or more: yann's 1e-6 */
    double running_var_offset;
    enum cvy_bn_statistics statistics;
    uint64_t reserved[6];
} cvy_batch_norm_desc;

/* Wu & He 2018 (arXiv:1803.08494): per image and group, over its c / groups neighbouring channels
 * and all their pixels, with the biased variance; the same in training and inference. With groups 1
 * and elementwise it is layer normalisation over [c][h][w] (Ba et al., arXiv:1607.06450); with as
 * many groups as channels instance normalisation (Ulyanov et al., arXiv:1607.08022), without
 * gamma and beta as PyTorch has it. A group of one value is an error: it would always be 0. */
typedef struct cvy_group_norm_desc {
    size_t groups;          /* divides the channels; 0 means 1 */
    double eps;             /* inside the root, FLT_MIN or more; 0 means 1e-5 */
    bool no_affine;         /* neither gamma nor beta */
    bool no_gamma, no_beta; /* gamma = 1, beta = 0, not trained */
    /* a gamma and a beta for each element, [c][h][w], as PyTorch's LayerNorm; else one a channel */
    bool elementwise;
    uint64_t reserved[8];
} cvy_group_norm_desc;

/* Groups of neighbouring channels become uncorrelated and of variance 1, over images and pixels:
 *     y = gamma W (x - mean) + beta,  W nearly C^(-1/2),  C = cov(x) + eps I
 * with the biased covariance; gamma and beta are a channel's. Running: mean and W, as a batch
 * norm's, W starting as I.
 *  ZCA     W = U diag(lambda)^(-1/2) U' of C's eigenvectors and eigenvalues: Huang et al. 2018,
 *          Decorrelated Batch Normalization (arXiv:1804.08450)
 *  NEWTON  W = P / sqrt(tr C) after `steps` of P' = (3 P - P^3 C / tr C) / 2 from P = I: Huang et
 *          al. 2019, IterNorm (arXiv:1904.03441). More steps come nearer to ZCA */
enum cvy_whitening_kind { CVY_WHITENING_ZCA = 0, CVY_WHITENING_NEWTON };
typedef struct cvy_whitening_desc {
    enum cvy_whitening_kind kind;
    /* of a group, 1024 at most; divides the channels. 0: the most up to 32 (NEWTON 64) that do */
    size_t channels;
    size_t steps;           /* of NEWTON, 100 at most; 0 means 5 */
    double eps;             /* FLT_MIN or more; 0 means 1e-5 */
    double momentum;        /* weight of the NEW batch, in (0, 1]; 0 means 0.1 */
    bool shared;            /* one mean and W for all groups, over the values of all of them */
    bool no_affine;         /* neither gamma nor beta */
    bool no_gamma, no_beta; /* gamma = 1, beta = 0, not trained */
    bool frozen;            /* training uses and keeps the running statistics */
    uint64_t reserved[8];
} cvy_whitening_desc;

/* Ranks in the batch, the empirical probability integral transform: of a channel's M numbers, over
 * images and pixels, the smallest has rank 1, equal ones share the mean of theirs, and
 *     u = (rank - 1/2) / M,  y = u  or, normal,  y = Phi^-1(u), of the normal distribution
 * Inference has a channel's running quantiles, K of them, for (k + 1/2) / K with k = 0 ... K - 1:
 * u is linear between two of them and constant beyond the last ones; what equals several has their
 * middle. A batch's quantiles are linear between its numbers in order, of which the i-th is that
 * for (i - 1/2) / M (Hyndman & Fan 1996, definition 5); running = (1 - momentum) * running +
 * momentum * batch, from those of a normal distribution.
 * Ranks have no gradient of their own: that of Phi, which they stand for where x is standardised,
 * is passed straight through (after Bengio et al. 2013, arXiv:1308.3432): dx = dy phi(x), and of a
 * normal one dx = dy. So it belongs behind a batch norm without gamma and beta. */
typedef struct cvy_rank_desc {
    size_t quantiles; /* K, 2 to 65536; 0 means 128 */
    double momentum;  /* weight of the NEW batch, in (0, 1]; 0 means 0.1 */
    bool normal;
    bool frozen; /* training uses and keeps the running quantiles */
    uint64_t reserved[8];
} cvy_rank_desc;

/* Beyond the well-known (docs/numerics.md says what becomes of special values):
 *  GELU       x Phi(x), Phi the normal distribution function: Hendrycks, Gimpel, arXiv:1606.08415
 *  GELU_TANH  its form x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2, of the same paper
 *  SILU       x sigmoid(x): the same paper; Swish in Ramachandran et al., arXiv:1710.05941
 *  MISH       x tanh(softplus(x)): Misra, arXiv:1908.08681
 *  HARDSWISH  x (x + 3) / 6 between -3 and 3, 0 below, x above: Howard et al., arXiv:1905.02244;
 *             its derivative at -3 is 0, at 3 is 1
 *  RELU6      min(max(x, 0), 6): Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10
 *  HARDTANH   min(max(x, -alpha), alpha); its derivative at -alpha and alpha is 0, as that of
 *             RELU6 is at 0 and 6 (both as in PyTorch)
 *  NORMAL_CDF Phi(x). Behind a batch norm without gamma and beta it is a probability integral
 *             transform, from what is distributed normally to what is even in (0, 1);
 *             cvy_rank is its empirical form */
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
/* What there is to know about a kind but its arithmetic, in the order of the enum:
 *  X(NAME, name in model files, settings, default alpha, gradient from x, monotone)
 * Settings are none, alpha (positive and finite) or at_zero (relu_grad_at_zero). The gradient is
 * told by the output, unless it needs the input. Monotone is f(a) <= f(b) wherever a <= b: only
 * then may a maximum behind it be taken first. False unless it is proven. */
/* clang-format off */
#define CVY_ACTIVATIONS(X)                                 \
    X(SIGMOID,    sigmoid,    none,    0,    false, true)  \
    X(TANH,       tanh,       none,    0,    false, true)  \
    X(RELU,       relu,       at_zero, 0,    false, true)  \
    X(LEAKY_RELU, leaky_relu, alpha,   0.01, false, true)  \
    X(ELU,        elu,        alpha,   1,    false, true)  \
    X(SOFTPLUS,   softplus,   none,    0,    false, true)  \
    X(GELU,       gelu,       none,    0,    true,  false) \
    X(GELU_TANH,  gelu_tanh,  none,    0,    true,  false) \
    X(SILU,       silu,       none,    0,    true,  false) \
    X(MISH,       mish,       none,    0,    true,  false) \
    X(HARDSWISH,  hardswish,  none,    0,    true,  false) \
    X(RELU6,      relu6,      none,    0,    false, true)  \
    X(HARDTANH,   hardtanh,   alpha,   1,    false, true) \
    X(NORMAL_CDF, normal_cdf, none,    0,    true,  false)
/* clang-format on */
/* PReLU, x > 0 ? x : slope * x, with a slope a channel that is learned: He et al.,
 * arXiv:1502.01852. */
typedef struct cvy_prelu_desc {
    double init; /* the slopes' first value; 0 means 0.25 */
    uint64_t reserved[4];
} cvy_prelu_desc;
typedef struct cvy_act_desc {
    enum cvy_act_kind kind;
    double alpha; /* leaky slope (0 means 0.01), ELU alpha, HARDTANH's limit (0 means 1) */
    /* derivative of ReLU at 0; 0 by default, 0.5 for Theano's convention */
    double relu_grad_at_zero;
    uint64_t reserved[4];
} cvy_act_desc;

enum cvy_pool_kind { CVY_POOL_MAX = 0, CVY_POOL_AVG };
/* who gets the gradient of equal maxima */
enum cvy_pool_tie { CVY_TIE_FIRST = 0, CVY_TIE_ALL, CVY_TIE_SPLIT };
/* The geometry of PyTorch's pooling, with padding of each side's own. Along an axis of `size`
 * pixels there are
 *     floor((before + size + after - kernel + (ceil_mode ? stride - 1 : 0)) / stride) + 1
 * windows (an error if that is less than 1), with ceil_mode less one if the last would start in the
 * end padding or past it: if (n - 1) * stride >= before + size. Window o begins at pixel o * stride
 * - before. A maximum is of its pixels inside the image; an average is their sum divided by the
 * number of its pixels inside the padded image (what overhangs is not counted), with exclude_pad
 * inside the image. */
typedef struct cvy_pool2d_desc {
    enum cvy_pool_kind kind;
    size_t kernel[2]; /* required */
    size_t stride[2]; /* 0 means the kernel */
    size_t pad[4];    /* top, left, bottom, right; each smaller than the kernel */
    bool ceil_mode;   /* round the number of windows up */
    /* average over the pixels inside the image only (not count_include_pad) */
    bool exclude_pad;
    enum cvy_pool_tie tie;
    uint64_t reserved[8];
} cvy_pool2d_desc;

/* Groups of `size` adjacent channels become one, [n][c][h][w] -> [n][c / size][h][w]; size must
 * divide c. Channel k of the output is, pixel by pixel, of channels k * size to (k + 1) * size - 1
 *  MAX   the maximum (Goodfellow et al. 2013, "Maxout Networks", eq. 1 and its form for
 *        convolutions); equal maxima share the gradient as `tie` says
 *  MEAN  the average
 *  MIXED r times the maximum and 1 - r times the average, r drawn evenly from [0, 1) for every
 *        image, output channel, pixel and step, 1/2 in inference (after Yu et al. 2014, "Mixed
 *        Pooling", eq. 4, where r is 0 or 1) */
enum cvy_maxout_kind { CVY_MAXOUT_MAX = 0, CVY_MAXOUT_MEAN, CVY_MAXOUT_MIXED };
typedef struct cvy_maxout_desc {
    enum cvy_maxout_kind kind;
    size_t size; /* required */
    enum cvy_pool_tie tie;
    uint64_t reserved[8];
} cvy_maxout_desc;

/* Maps of another size, larger or smaller. Along an axis `size` pixels become `out`, and result o
 *  NEAREST   is x[o * size / out], rounded down, in whole numbers: PyTorch's "nearest" where sizes
 *            are multiples
 *  BILINEAR  lies at p = (o + 1/2) * size / out - 1/2, at least 0, or with align_corners at
 *            o * (size - 1) / (out - 1), 0 where out is 1: with i the whole number of p and f what
 *            is left it is (1 - f) * x[i] + f * x[min(i + 1, size - 1)], along columns of the same
 *            along rows. PyTorch's "bilinear". A pixel whose factor is 0 is not read
 * Gradients are the exact adjoints. */
enum cvy_upsample_kind { CVY_UPSAMPLE_NEAREST = 0, CVY_UPSAMPLE_BILINEAR };
typedef struct cvy_upsample_desc {
    enum cvy_upsample_kind kind;
    size_t scale[2];    /* rows and columns become so many times as many, */
    size_t size[2];     /* or so many: one of the two is given, whole */
    bool align_corners; /* of BILINEAR */
    uint64_t reserved[8];
} cvy_upsample_desc;

/* y = x - m, with m one number: the mean of all numbers of the batch (what yann's mean_subtract
 * computes), or of the image (what it is documented as). The batch is that at hand, in inference
 * too: what becomes of an image then depends on those beside it. */
enum cvy_mean_over { CVY_MEAN_OF_BATCH = 0, CVY_MEAN_OF_IMAGE };
typedef struct cvy_mean_subtract_desc {
    enum cvy_mean_over over;
    uint64_t reserved[4];
} cvy_mean_subtract_desc;

/* Where a dropout does something at all. INFERENCE, of an unscaled one, is a factor of 1 - p for
 * what another one drops elsewhere: in front of the layer whose outputs are dropped it scales that
 * layer's weights in inference, but not its bias. */
enum cvy_dropout_when { CVY_DROPOUT_ALWAYS = 0, CVY_DROPOUT_TRAINING, CVY_DROPOUT_INFERENCE };
typedef struct cvy_dropout_desc {
    double p; /* probability of dropping, in [0, 1]; 0 drops nothing */
    /* do not multiply by 1/(1-p) in training (evaluation then multiplies by 1-p) */
    bool unscaled;
    enum cvy_dropout_when when; /* of nets only: an operator does what its pass says */
    uint64_t reserved[4];
} cvy_dropout_desc;

/* How far the K outputs x of an image are from its target, q = (1 - s) t + s / K: t is 1 at the
 * image's label and 0 elsewhere, or any numbers (soft_targets). x_y is the output at the label.
 *  CROSS_ENTROPY  l = -sum_k q_k log softmax(x / temperature)_k; smoothing goes by class_weights w,
 *                 as PyTorch's: it adds s / K * w_k / w_y, instead of s / K, to q_k
 *  MSE            l = 1/K sum_k (x_k - q_k)^2
 *  BCE            l = 1/K sum_k (max(x_k, 0) - q_k x_k + log(1 + exp(-|x_k|))): the binary
 *                 cross-entropy of each sigmoid(x_k) with q_k
 *  HINGE          l = sum over k != y of max(0, x_k - x_y + margin) (Weston & Watkins 1999; K times
 *                 PyTorch's MultiMarginLoss). No soft targets, no smoothing
 * The loss of a batch is their mean, sum w l / sum w, with w = class_weights[label], else 1. What
 * has w 0, and what is labelled ignore_index, takes no part; without anything that does the loss
 * and its gradient are 0. */
enum cvy_loss_kind { CVY_CROSS_ENTROPY = 0, CVY_MSE, CVY_BCE, CVY_HINGE, CVY_LOSS_KINDS };
typedef struct cvy_loss_desc {
    enum cvy_loss_kind kind;
    double label_smoothing; /* s in [0, 1) */
    double margin;          /* HINGE: more than 0; 0 means 1 */
    /* [classes], finite, 0 or more; NULL: 1. Copied. Not with soft targets */
    const double *class_weights;
    /* the batches have targets, not labels */
    bool soft_targets;
    /* the outputs are a map [K][h][w], and each pixel has a label or targets of its own */
    bool per_pixel;
    bool ignore; /* there is an ignore_index; it may be outside the classes */
    int32_t ignore_index;
    double temperature; /* CROSS_ENTROPY: more than 0; 0 means 1 */
    uint64_t reserved[15];
} cvy_loss_desc;

/* The name of a kind, "cross_entropy", NULL past the last; and the kind of a name (false: unknown
 * name, *kind untouched). */
CVY_API const char *cvy_loss_name(enum cvy_loss_kind kind);
CVY_API bool cvy_loss_from_name(const char *name, enum cvy_loss_kind *kind);

/* How weights follow their gradients. Weight decay, l1 and l2 cover conv and linear weights only
 * (decay_all: biases, gamma and beta too). In all of these dw is the loss's gradient with that of
 * the penalty l1 * sum |w| + l2 * sum w^2: dw + l1 * sign(w) + 2 * l2 * w, where sign(0) and
 * sign(NaN) are 0. So weight_decay, but ADAMW's, is a penalty 1/2 * weight_decay * sum w^2.
 *  SGD    g = dw + weight_decay * w;  v = momentum * v + g;
 *         w -= lr * (nesterov ? g + momentum * v : v)
 *         (Sutskever et al. 2013 in PyTorch's form; momentum 0: w -= lr * g). State: momentum, v
 *  ADAM   g = dw + weight_decay * w;  m = beta1 * m + (1 - beta1) * g;
 *         v = beta2 * v + (1 - beta2) * g * g;  with t = 1, 2, ... the number of the step:
 *         w -= lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
 *         epsilon_hat: w -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)
 *         (Kingma & Ba 2015, Algorithm 1, as PyTorch has it, and the form before section 2.1, as
 *         TensorFlow has it). States: exp_avg, m, and exp_avg_sq, v
 *  ADAMW  the same with g = dw, and w -= lr * weight_decay * w (Loshchilov & Hutter 2019)
 *  RMSPROP  g = dw + weight_decay * w;  s = rho * s + (1 - rho) * g * g;
 *         d = lr * g / (sqrt(s) + eps); eps_inside: lr * g / sqrt(s + eps)
 *         (Tieleman & Hinton 2012, lecture 6.5). States: square_avg, s, and momentum, v
 *  ADAGRAD  the same with s = s + g * g (Duchi et al. 2011). States: sum, s, and momentum, v
 *  ADADELTA  s as RMSPROP's;  u = sqrt(a + eps) / sqrt(s + eps) * g;
 *         a = rho * a + (1 - rho) * u * u;  d = lr * u
 *         (Zeiler 2012, arXiv:1212.5701). States: square_avg, s, acc_delta, a, and momentum, v
 * All but SGD take a momentum over their step d (ADAMW's without its shrinking), 0: w -= d, else
 *         v = momentum * v + d;  w -= nesterov ? d + momentum * v : v
 * This v has the learning rate in it, SGD's has not: they differ where the rate changes.
 * Zeros: lr 0 learns nothing, the others at 0 are off, unless said otherwise. A
 * hyper-parameter that the kind does not have must be 0. */
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
    double lr;           /* 0 or more */
    double momentum;     /* in [0, 1) */
    double weight_decay; /* 0 or more */
    bool nesterov;       /* needs a momentum */
    bool decay_all;
    double beta1, beta2; /* in [0, 1); 0 means 0.9 and 0.999, DBL_MIN means 0 */
    double eps;          /* 0 or more; 0 means 1e-8, DBL_MIN means 0 */
    bool epsilon_hat;
    bool eps_inside; /* of RMSPROP and ADAGRAD: eps under the root */
    double rho;      /* in [0, 1); 0 means 0.9, ADADELTA 0.95, DBL_MIN means 0 */
    double l1, l2;   /* 0 or more */
    uint64_t reserved[13];
} cvy_optimizer_desc;

/* SGD by itself, short to write: .sgd = { .lr = 0.1, .momentum = 0.9 }. */
typedef struct cvy_sgd_desc {
    double lr, momentum, weight_decay;
    bool nesterov, decay_all;
    uint64_t reserved[4];
} cvy_sgd_desc;

/* What is known of a kind of optimiser: what a program needs to offer it by name. */
#define CVY_OPTIMIZER_STATES 4
typedef struct cvy_hyper_info {
    const char *name;   /* "weight_decay": the member of cvy_optimizer_desc, its key in files */
    const char *help;   /* a few words */
    size_t offset;      /* of the member, a double, or a bool if it is a flag */
    double usual;       /* a good first choice */
    double least, most; /* the range */
    const char *needs;  /* only with this one at more than 0; NULL: by itself */
    bool flag;          /* on or off */
    bool below;         /* less than `most`; else at most that */
    bool zero_is_usual; /* 0 in the descriptor means `usual`; 0 itself is written DBL_MIN */
    uint64_t reserved[4];
} cvy_hyper_info;
typedef struct cvy_optimizer_info {
    const char *name; /* "sgd" */
    size_t n_hypers, n_states;
    const cvy_hyper_info *hyper;
    const char *const *state; /* "momentum": tensors of a weight's shape */
    uint64_t reserved[8];
} cvy_optimizer_info;
/* NULL past the last kind; and the kind of a name (false: unknown name, *kind untouched). */
CVY_API const cvy_optimizer_info *cvy_optimizer_describe(enum cvy_optimizer_kind kind);
CVY_API bool cvy_optimizer_from_name(const char *name, enum cvy_optimizer_kind *kind);
/* A descriptor of that kind with each hyper-parameter at what is usual. */
CVY_API void cvy_optimizer_usual(enum cvy_optimizer_kind kind, cvy_optimizer_desc *desc);
/* The hyper-parameter of that name; NULL if the kind has none. */
CVY_API const cvy_hyper_info *cvy_hyper_find(const cvy_optimizer_info *info, const char *name);
/* Whether the value is in the range. NaN is in none. */
CVY_API bool cvy_hyper_accepts(const cvy_hyper_info *hyper, double value);
/* A hyper-parameter (a flag: 0 or 1) of a descriptor as it is meant; and writing it so that it
 * means `value`. */
CVY_API double cvy_hyper_get(const cvy_hyper_info *hyper, const cvy_optimizer_desc *desc);
CVY_API void cvy_hyper_set(const cvy_hyper_info *hyper, cvy_optimizer_desc *desc, double value);

/* How the images of a training step are changed, each by itself; zeros: not at all. What is drawn
 * is a function of the trainer's seed, cvy_batch.epoch and the image's number among the caller's
 * images (cvy_batch.index) alone: the same for any number of threads, on all backends, and after
 * any interruption. In this order:
 *  crop    the image gets so many rows and columns of zeros on each side, and a part of the old
 *          size is cut out at random: less than the image's rows and columns. The zeros are pixels,
 *          scaled as all others
 *  flip    every second image, at random, is mirrored left to right
 *  cutout  a square of that side, its middle (of an even side: the pixel right below it) anywhere
 *          in the image, is 0 as the net sees it, the mean of a normalised pixel; what would stand
 *          over the edge is left out. At most the larger of rows and columns */
typedef struct cvy_augment_desc {
    size_t crop;
    bool flip;
    size_t cutout;
    uint64_t reserved[4];
} cvy_augment_desc;

/* The version of the library that runs: CVY_VERSION_STRING of its headers. */
CVY_API const char *cvy_version(void);
/* A short constant name of a status, "shape" for CVY_E_SHAPE. */
CVY_API const char *cvy_status_name(enum cvy_status status);
/* "scalar", "avx2", "avx512", "pair", "auto"; and back (false: unknown name, *isa untouched). */
CVY_API const char *cvy_isa_name(enum cvy_isa isa);
CVY_API bool cvy_isa_from_name(const char *name, enum cvy_isa *isa);
/* "auto", "direct", "panels", "depthwise"; and back. */
CVY_API const char *cvy_algorithm_name(enum cvy_algorithm algorithm);
CVY_API bool cvy_algorithm_from_name(const char *name, enum cvy_algorithm *algorithm);

#ifdef __cplusplus
}
#endif
#endif
