/* The contract between the compiler (src/program) and whoever computes (src/backends, or a third
 * party's module).
 *
 * A program is a linear list of ops over values. For each place in the list the compiler offers the
 * chain of ops that starts there to the backends in order; a backend says how many of them it takes
 * in one piece (0: none, more than one: a fusion) and plans them: it appends phases to the program.
 * A phase is a grid of independent tasks; the executor cuts the phases into stages with a barrier
 * between stages, from what each phase says it reads and writes.
 *
 * What a backend claims is checked when the program is compiled (src/program/claims.c): a claim
 * that contradicts this file is CVY_E_BACKEND, and the message names the backend, the phase or
 * value, and what is wrong with it.
 *
 * Addresses do not exist while planning: phases name buffers by id and resolve them when they run,
 * run->buf[id]. Everything here is plain C and versioned by CVY_BACKEND_ABI.
 * docs/adding-a-backend.md walks through it.
 *
 * A module is a shared object convoy-NAME.so that exports one object, `const struct cvy_backend
 * cvy_module`. It is opened when a context names it, and stays open. */
#ifndef CONVOY_BACKEND_H
#define CONVOY_BACKEND_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CVY_BACKEND_ABI 15

/* --------------------------------------------------------------------------------------- values */

/* How a value lies in memory.
 *  PLAIN   float, C order, no padding: [n][c][h][w] for activations, the user's layout for
 *          parameters
 *  PLAIN64 the same in double (the reference backend)
 *  LANES   float [ceil(n/16)][c][plane][16]: sixteen images side by side; plane >= h*w vectors from
 *          one channel to the next (rows are contiguous), just h*w of a map that is flattened or
 *          lies under a kernel of its own size. Unused lanes of the last block: gradients hold
 *          zero, activations something finite
 *  OPAQUE  a backend's own (`owner`), as its writer said with cvy_plan_lay_out. Nobody else reads
 *          or writes it: the compiler has the owner convert it to and from PLAIN, and others from
 *          there
 * A backend reads and writes PLAIN, the layouts that it says it works in, and its own OPAQUE
 * values. */
enum cvy_layout { CVY_LAYOUT_PLAIN = 0, CVY_LAYOUT_PLAIN64, CVY_LAYOUT_LANES, CVY_LAYOUT_OPAQUE };

struct cvy_backend;
enum cvy_role {
    CVY_ROLE_ACTIVATION = 0, /* lives from its first to its last use in a step */
    CVY_ROLE_INPUT,          /* the batch as the caller holds it (struct cvy_run), no buffer */
    CVY_ROLE_WEIGHT,         /* parameters: live as long as the program */
    CVY_ROLE_RUNNING,        /* running statistics: likewise */
    CVY_ROLE_STATE,          /* optimiser state: likewise */
    CVY_ROLE_WEIGHT_GRAD,    /* kept after the step, so that it can be read by name */
    /* statistics, of the shape and in the layout, PLAIN or PLAIN64, that its operator gave it,
     * whoever computes it; CVY_OPS says what they are */
    CVY_ROLE_STATS,
    CVY_ROLE_PRIVATE /* made by a backend with cvy_plan_buffer */
};

struct cvy_value {
    const char *name; /* "conv1.weight", "bn1", … */
    enum cvy_role role;
    enum cvy_layout layout;
    /* parameters: conv {oc, ic/groups, kh, kw}, per-channel ones {1, c, 1, 1}, those of each
     * element {1, c, h, w} */
    cvy_shape shape;
    size_t plane; /* LANES: vectors from one channel to the next */
    size_t bytes;
    const struct cvy_backend *owner; /* OPAQUE: whose */
    const void *opaque;              /* OPAQUE: what its writer said of it; NULL: nothing yet */
    int state;                       /* STATE: which of the optimiser's, from 0 */
    int alias;                       /* >= 0: shares the buffer of that value; else -1 */
    /* bound by the caller of the program (operator API), not in the arena */
    bool external;
    /* An alias that is channels [c0, c0 + shape.c) of a value in LANES that has c of them, so that
     * its blocks lie c planes apart; its own buf[id] is the first of its channels. c 0: an alias of
     * all (flatten), or none */
    struct {
        size_t c0, c;
    } view;
};

/* ------------------------------------------------------------------------------------------ ops */

#define CVY_MAX_IN 64
#define CVY_MAX_OUT 3

/* How an op uses an operand. */
enum {
    CVY_OPTIONAL = 1, /* may be absent: id -1 */
    CVY_UPDATED = 2,  /* an input that is changed in place */
    CVY_MANY = 4      /* the last: any number of it, also none where it is optional */
};

/* Every kind of op with its operands, in the order of in[] and out[]: OP(KIND, key, name, inputs,
 * outputs), made of IN and OUT(KIND, OPERAND, use). Positions have names: op->in[CVY_CONV2D_W].
 * Kinds, positions and the library's and the backends' tables come of this list. Kinds are
 * appended, never moved. Shapes of activations as in types.h.
 *  INGEST  bytes of gathered images (struct cvy_run), moved if cvy_run_moves, scaled
 *  REORDER the same numbers: one of the two is PLAIN, the other in a layout of whoever is asked.
 *          What is OPAQUE must be taken by its owner
 *  BN_STATS  mean and variance [2][c] of the batch in double, whichever it normalises by; MEAN and
 *          VAR are the running ones: of a mean alone, bn.statistics, there is no VAR, and so on
 *  BN_BWD_REDUCE  sums[2][c] in double: Σdy, Σdy·x̂
 *  BN_INFER, BN_INFER_BWD  also in training, of a frozen one
 *  ACT_BWD has x where CVY_ACTIVATIONS says so or relu_grad_at_zero != 0, else y; POOL_BWD x of a
 *          maximum only
 *  ADD     also sums gradients that meet
 *  CONCAT  along c; SLICE: channels [slice.c0, slice.c0 + c), also its gradient; PAD: channels
 *          [slice.c0, slice.c0 + c) are x, others 0
 *  DROPOUT mask = f(seed, step, dropout.stream, n, c, h, w)
 *  MIX     y = r a + (1 - r) b; r = f(seed, step, mix.stream, n, c, h, w), 1/2 in inference
 *  SOFTMAX over c at every pixel, of x / softmax.temperature
 *  LOSS    x are the logits, stats in double {Σ w loss, number correct}; dx of the mean loss,
 *          Σ w loss / loss_weight
 *  GROUP_NORM  gamma and beta are {1, c, 1, 1} or, of each element, {1, c, h, w}; stats in double,
 *          mean and variance [2][n * groups], are for the gradient
 *  BIAS    y = x + b, b of each channel; BIAS_BWD: the sum of dy over images and pixels
 *  WHITEN_STATS, _BWD_REDUCE  what they make is their backends' own, in double, and as long as the
 *          reference needs it (src/ops/ops.h, struct cvyi_whitening): a backend takes all of a
 *          layer's ops but WHITEN_INFER and WHITEN_INFER_BWD, or none
 *  WHITEN_INFER_BWD  of a frozen one
 *  RANK    QUANTILES, {1, c, 1, K}, are the running ones
 *  UPSAMPLE  sizes are those of the maps
 *  MEAN_SUBTRACT  also the gradient of one
 *  UPDATE  a kind has as many states s as it needs, in the order of its cvy_optimizer_info */
/* clang-format off */
#define CVY_OPS(OP, IN, OUT)                                                                       \
    OP(INGEST, ingest, "ingest", , OUT(INGEST, X, 0))                                              \
    OP(REORDER, reorder, "reorder", IN(REORDER, X, 0), OUT(REORDER, Y, 0))                         \
    OP(CONV2D, conv2d, "conv2d",                                                                   \
       IN(CONV2D, X, 0) IN(CONV2D, W, 0) IN(CONV2D, B, CVY_OPTIONAL),                              \
       OUT(CONV2D, Y, 0))                                                                          \
    OP(CONV2D_BWD_DATA, conv2d_bwd_data, "conv2d.dx",                                              \
       IN(CONV2D_BWD_DATA, DY, 0) IN(CONV2D_BWD_DATA, W, 0),                                       \
       OUT(CONV2D_BWD_DATA, DX, 0))                                                                \
    OP(CONV2D_BWD_WEIGHTS, conv2d_bwd_weights, "conv2d.dw",                                        \
       IN(CONV2D_BWD_WEIGHTS, X, 0) IN(CONV2D_BWD_WEIGHTS, DY, 0),                                 \
       OUT(CONV2D_BWD_WEIGHTS, DW, 0) OUT(CONV2D_BWD_WEIGHTS, DB, CVY_OPTIONAL))                   \
    OP(BN_STATS, bn_stats, "batch_norm.stats",                                                     \
       IN(BN_STATS, X, 0) IN(BN_STATS, MEAN, CVY_OPTIONAL | CVY_UPDATED)                           \
       IN(BN_STATS, VAR, CVY_OPTIONAL | CVY_UPDATED),                                              \
       OUT(BN_STATS, STATS, 0))                                                                    \
    OP(BN_APPLY, bn_apply, "batch_norm",                                                           \
       IN(BN_APPLY, X, 0) IN(BN_APPLY, STATS, 0) IN(BN_APPLY, GAMMA, CVY_OPTIONAL)                 \
       IN(BN_APPLY, BETA, CVY_OPTIONAL),                                                           \
       OUT(BN_APPLY, Y, 0))                                                                        \
    OP(BN_INFER, bn_infer, "batch_norm.infer",                                                     \
       IN(BN_INFER, X, 0) IN(BN_INFER, MEAN, CVY_OPTIONAL) IN(BN_INFER, VAR, CVY_OPTIONAL)         \
       IN(BN_INFER, GAMMA, CVY_OPTIONAL) IN(BN_INFER, BETA, CVY_OPTIONAL),                         \
       OUT(BN_INFER, Y, 0))                                                                        \
    OP(BN_BWD_REDUCE, bn_bwd_reduce, "batch_norm.sums",                                            \
       IN(BN_BWD_REDUCE, X, 0) IN(BN_BWD_REDUCE, DY, 0) IN(BN_BWD_REDUCE, STATS, 0),               \
       OUT(BN_BWD_REDUCE, SUMS, 0) OUT(BN_BWD_REDUCE, DGAMMA, CVY_OPTIONAL)                        \
       OUT(BN_BWD_REDUCE, DBETA, CVY_OPTIONAL))                                                    \
    OP(BN_BWD_DATA, bn_bwd_data, "batch_norm.dx",                                                  \
       IN(BN_BWD_DATA, X, 0) IN(BN_BWD_DATA, DY, 0) IN(BN_BWD_DATA, STATS, 0)                      \
       IN(BN_BWD_DATA, SUMS, 0) IN(BN_BWD_DATA, GAMMA, CVY_OPTIONAL),                              \
       OUT(BN_BWD_DATA, DX, 0))                                                                    \
    OP(BN_INFER_BWD, bn_infer_bwd, "batch_norm.infer.dx",                                          \
       IN(BN_INFER_BWD, X, 0) IN(BN_INFER_BWD, DY, 0) IN(BN_INFER_BWD, MEAN, CVY_OPTIONAL)         \
       IN(BN_INFER_BWD, VAR, CVY_OPTIONAL) IN(BN_INFER_BWD, GAMMA, CVY_OPTIONAL),                  \
       OUT(BN_INFER_BWD, DX, 0) OUT(BN_INFER_BWD, DGAMMA, CVY_OPTIONAL)                            \
       OUT(BN_INFER_BWD, DBETA, CVY_OPTIONAL))                                                     \
    OP(ACT, act, "activation", IN(ACT, X, 0), OUT(ACT, Y, 0))                                      \
    OP(ACT_BWD, act_bwd, "activation.dx",                                                          \
       IN(ACT_BWD, DY, 0) IN(ACT_BWD, X, CVY_OPTIONAL) IN(ACT_BWD, Y, CVY_OPTIONAL),               \
       OUT(ACT_BWD, DX, 0))                                                                        \
    OP(POOL, pool, "pool2d", IN(POOL, X, 0), OUT(POOL, Y, 0))                                      \
    OP(POOL_BWD, pool_bwd, "pool2d.dx",                                                            \
       IN(POOL_BWD, DY, 0) IN(POOL_BWD, X, CVY_OPTIONAL),                                          \
       OUT(POOL_BWD, DX, 0))                                                                       \
    OP(ADD, add, "add", IN(ADD, A, 0) IN(ADD, B, 0), OUT(ADD, Y, 0))                               \
    OP(CONCAT, concat, "concat", IN(CONCAT, X, CVY_MANY), OUT(CONCAT, Y, 0))                       \
    OP(SLICE, slice, "slice", IN(SLICE, X, 0), OUT(SLICE, Y, 0))                                   \
    OP(DROPOUT, dropout, "dropout", IN(DROPOUT, X, 0), OUT(DROPOUT, Y, 0))                         \
    OP(DROPOUT_BWD, dropout_bwd, "dropout.dx", IN(DROPOUT_BWD, DY, 0), OUT(DROPOUT_BWD, DX, 0))    \
    OP(SOFTMAX, softmax, "softmax", IN(SOFTMAX, X, 0), OUT(SOFTMAX, Y, 0))                         \
    OP(LOSS, loss, "loss", IN(LOSS, X, 0), OUT(LOSS, STATS, 0) OUT(LOSS, DX, CVY_OPTIONAL))        \
    OP(UPDATE, update, "update",                                                                   \
       IN(UPDATE, W, CVY_UPDATED) IN(UPDATE, DW, 0)                                                \
       IN(UPDATE, S, CVY_OPTIONAL | CVY_UPDATED | CVY_MANY), )                                     \
    OP(PAD, pad, "pad_channels", IN(PAD, X, 0), OUT(PAD, Y, 0))                                    \
    OP(PRELU, prelu, "prelu", IN(PRELU, X, 0) IN(PRELU, SLOPE, 0), OUT(PRELU, Y, 0))               \
    OP(PRELU_BWD, prelu_bwd, "prelu.dx",                                                           \
       IN(PRELU_BWD, X, 0) IN(PRELU_BWD, DY, 0) IN(PRELU_BWD, SLOPE, 0),                           \
       OUT(PRELU_BWD, DX, 0) OUT(PRELU_BWD, DSLOPE, CVY_OPTIONAL))                                 \
    OP(MUL, mul, "multiply", IN(MUL, A, 0) IN(MUL, B, 0), OUT(MUL, Y, 0))                          \
    OP(MIX, mix, "mix", IN(MIX, A, 0) IN(MIX, B, 0), OUT(MIX, Y, 0))                               \
    OP(MIX_BWD, mix_bwd, "mix.dx", IN(MIX_BWD, DY, 0), OUT(MIX_BWD, DA, 0) OUT(MIX_BWD, DB, 0))    \
    OP(GROUP_NORM, group_norm, "group_norm",                                                       \
       IN(GROUP_NORM, X, 0) IN(GROUP_NORM, GAMMA, CVY_OPTIONAL)                                    \
       IN(GROUP_NORM, BETA, CVY_OPTIONAL),                                                         \
       OUT(GROUP_NORM, Y, 0) OUT(GROUP_NORM, STATS, CVY_OPTIONAL))                                 \
    OP(GROUP_NORM_BWD, group_norm_bwd, "group_norm.dx",                                            \
       IN(GROUP_NORM_BWD, X, 0) IN(GROUP_NORM_BWD, DY, 0) IN(GROUP_NORM_BWD, STATS, 0)             \
       IN(GROUP_NORM_BWD, GAMMA, CVY_OPTIONAL),                                                    \
       OUT(GROUP_NORM_BWD, DX, 0) OUT(GROUP_NORM_BWD, DGAMMA, CVY_OPTIONAL)                        \
       OUT(GROUP_NORM_BWD, DBETA, CVY_OPTIONAL))                                                   \
    OP(BIAS, bias, "bias", IN(BIAS, X, 0) IN(BIAS, B, 0), OUT(BIAS, Y, 0))                         \
    OP(BIAS_BWD, bias_bwd, "bias.db", IN(BIAS_BWD, DY, 0), OUT(BIAS_BWD, DB, 0))                   \
    OP(WHITEN_STATS, whiten_stats, "whitening.stats",                                              \
       IN(WHITEN_STATS, X, 0) IN(WHITEN_STATS, MEAN, CVY_OPTIONAL | CVY_UPDATED)                   \
       IN(WHITEN_STATS, MATRIX, CVY_OPTIONAL | CVY_UPDATED),                                       \
       OUT(WHITEN_STATS, STATS, 0))                                                                \
    OP(WHITEN_APPLY, whiten_apply, "whitening",                                                    \
       IN(WHITEN_APPLY, X, 0) IN(WHITEN_APPLY, STATS, 0) IN(WHITEN_APPLY, GAMMA, CVY_OPTIONAL)     \
       IN(WHITEN_APPLY, BETA, CVY_OPTIONAL),                                                       \
       OUT(WHITEN_APPLY, Y, 0))                                                                    \
    OP(WHITEN_INFER, whiten_infer, "whitening.infer",                                              \
       IN(WHITEN_INFER, X, 0) IN(WHITEN_INFER, MEAN, 0) IN(WHITEN_INFER, MATRIX, 0)                \
       IN(WHITEN_INFER, GAMMA, CVY_OPTIONAL) IN(WHITEN_INFER, BETA, CVY_OPTIONAL),                 \
       OUT(WHITEN_INFER, Y, 0))                                                                    \
    OP(WHITEN_BWD_REDUCE, whiten_bwd_reduce, "whitening.sums",                                     \
       IN(WHITEN_BWD_REDUCE, X, 0) IN(WHITEN_BWD_REDUCE, DY, 0)                                    \
       IN(WHITEN_BWD_REDUCE, STATS, 0) IN(WHITEN_BWD_REDUCE, GAMMA, CVY_OPTIONAL),                 \
       OUT(WHITEN_BWD_REDUCE, SUMS, 0) OUT(WHITEN_BWD_REDUCE, DGAMMA, CVY_OPTIONAL)                \
       OUT(WHITEN_BWD_REDUCE, DBETA, CVY_OPTIONAL))                                                \
    OP(WHITEN_BWD_DATA, whiten_bwd_data, "whitening.dx",                                           \
       IN(WHITEN_BWD_DATA, X, 0) IN(WHITEN_BWD_DATA, DY, 0) IN(WHITEN_BWD_DATA, STATS, 0)          \
       IN(WHITEN_BWD_DATA, SUMS, 0) IN(WHITEN_BWD_DATA, GAMMA, CVY_OPTIONAL),                      \
       OUT(WHITEN_BWD_DATA, DX, 0))                                                                \
    OP(UPSAMPLE, upsample, "upsample", IN(UPSAMPLE, X, 0), OUT(UPSAMPLE, Y, 0))                    \
    OP(UPSAMPLE_BWD, upsample_bwd, "upsample.dx", IN(UPSAMPLE_BWD, DY, 0),                         \
       OUT(UPSAMPLE_BWD, DX, 0))                                                                   \
    OP(MEAN_SUBTRACT, mean_subtract, "mean_subtract", IN(MEAN_SUBTRACT, X, 0),                     \
       OUT(MEAN_SUBTRACT, Y, 0))                                                                   \
    OP(WHITEN_INFER_BWD, whiten_infer_bwd, "whitening.infer.dx",                                   \
       IN(WHITEN_INFER_BWD, X, 0) IN(WHITEN_INFER_BWD, DY, 0) IN(WHITEN_INFER_BWD, MEAN, 0)        \
       IN(WHITEN_INFER_BWD, MATRIX, 0) IN(WHITEN_INFER_BWD, GAMMA, CVY_OPTIONAL),                  \
       OUT(WHITEN_INFER_BWD, DX, 0) OUT(WHITEN_INFER_BWD, DGAMMA, CVY_OPTIONAL)                    \
       OUT(WHITEN_INFER_BWD, DBETA, CVY_OPTIONAL))                                                 \
    OP(RANK, rank, "rank", IN(RANK, X, 0) IN(RANK, QUANTILES, CVY_OPTIONAL | CVY_UPDATED),         \
       OUT(RANK, Y, 0))                                                                            \
    OP(RANK_INFER, rank_infer, "rank.infer", IN(RANK_INFER, X, 0) IN(RANK_INFER, QUANTILES, 0),    \
       OUT(RANK_INFER, Y, 0))
/* clang-format on */
#define CVY_LIST_KIND(KIND, key, name, inputs, outputs) CVY_OP_##KIND,
#define CVY_LIST_NONE(KIND, OPERAND, use)
#define CVY_LIST_POSITION(KIND, OPERAND, use) CVY_##KIND##_##OPERAND,
#define CVY_LIST_POSITIONS(KIND, key, name, inputs, outputs) \
    enum { inputs CVY_##KIND##_INS };                        \
    enum { outputs CVY_##KIND##_OUTS };
enum cvy_op_kind { CVY_OPS(CVY_LIST_KIND, CVY_LIST_NONE, CVY_LIST_NONE) CVY_OP_KINDS };
CVY_OPS(CVY_LIST_POSITIONS, CVY_LIST_POSITION, CVY_LIST_POSITION)

struct cvy_op_desc {
    enum cvy_op_kind kind;
    const char *name; /* "conv1", "bn1.stats", "conv1.dw" */
    bool fence;       /* a chain must not run past this op's beginning (fusion off) */
    int n_in, n_out;
    int in[CVY_MAX_IN], out[CVY_MAX_OUT];
    union {
        /* CONV2D*: all zeros resolved to their defaults. A linear layer is the conv whose kernel is
         * the whole map. Of a transposed convolution x may have rows and columns beyond the last
         * window's: y is as large as its shape says */
        cvy_conv2d_desc conv;
        cvy_batch_norm_desc bn;
        cvy_group_norm_desc gn;
        cvy_whitening_desc whitening;
        cvy_act_desc act;
        cvy_pool2d_desc pool;
        struct {
            cvy_dropout_desc desc;
            uint32_t stream;
            bool infer;
        } dropout;
        struct {
            uint32_t stream;
            bool infer;
        } mix;
        struct {
            double temperature;
        } softmax;
        cvy_upsample_desc upsample;
        cvy_mean_subtract_desc mean;
        cvy_rank_desc rank;
        cvy_loss_desc loss;
        struct {
            size_t c0;
        } slice;
        /* the coefficients are coef[group] of struct cvy_run. max_norm more than 0: then every
         * `row` neighbouring numbers p of W become p * min(|p|, max_norm) / (|p| + 1e-8), with the
         * Euclidean norm |p| in double; a row is {1, c, h, w} of weights {n, c, h, w}, or 1 */
        struct {
            enum cvy_optimizer_kind kind;
            unsigned group;
            double max_norm;
            size_t row;
        } update;
    } u;
};

/* Input k of an op, -1 if it is absent or there are not so many (CVY_MANY). */
static inline int cvy_op_input(const struct cvy_op_desc *op, int k)
{
    return k < op->n_in ? op->in[k] : -1;
}

/* -------------------------------------------------------------------------------------- running */

/* A step's coefficients of UPDATE, by kind: what comes of the hyper-parameters and the number of
 * the step. A group is weights that share them; without weight decay it is 0. A momentum or a
 * decay of 0 takes no part, the others are factors. The formula is in types.h.
 *  All     L1: wherever g = dw + DECAY * w, it is that + L1 * sign(w), and 0 takes no part
 *  SGD     rates; NESTEROV 0 or 1. Without the state, MOMENTUM is 0
 *  ADAM, ADAMW  w -= STEP * m / (sqrt(v) + EPS) + SHRINK * w, where g = dw + DECAY * w, m = BETA1 *
 *          m + NEW1 * g and v = BETA2 * v + NEW2 * g * g: both forms of epsilon, by STEP and EPS
 *  RMSPROP, ADAGRAD, ADADELTA  rates; s = RHO * s + NEW * g * g (RHO and NEW 1: a sum); INSIDE 0 or
 *          1
 *  MOMENTUM and NESTEROV (0 or 1) are of the step that is made by the rest. Without the state,
 *          MOMENTUM is 0 */
#define CVY_COEFS 12
enum { CVY_SGD_LR = 0, CVY_SGD_MOMENTUM, CVY_SGD_DECAY, CVY_SGD_NESTEROV, CVY_SGD_L1 };
enum {
    CVY_ADAM_STEP = 0,
    CVY_ADAM_EPS,
    CVY_ADAM_BETA1,
    CVY_ADAM_NEW1,
    CVY_ADAM_BETA2,
    CVY_ADAM_NEW2,
    CVY_ADAM_DECAY,
    CVY_ADAM_SHRINK,
    CVY_ADAM_MOMENTUM,
    CVY_ADAM_NESTEROV,
    CVY_ADAM_L1
};
enum {
    CVY_ROOT_LR = 0,
    CVY_ROOT_EPS,
    CVY_ROOT_RHO,
    CVY_ROOT_NEW,
    CVY_ROOT_DECAY,
    CVY_ROOT_INSIDE,
    CVY_ROOT_MOMENTUM,
    CVY_ROOT_NESTEROV,
    CVY_ROOT_L1
};

/* What the tasks of one step see. */
struct cvy_run {
    void *const *buf;   /* address of every value, by id */
    size_t n;           /* images in this batch, 1 … capacity */
    const void *images; /* INGEST: image i is images + index[i] * c*h*w elements of dtype */
    enum cvy_dtype dtype;
    const uint32_t *index;  /* NULL: i */
    const uint8_t *labels8; /* LOSS: through the same index; one of the two */
    const int32_t *labels32;
    const float *targets; /* LOSS with soft_targets: [image][classes][h][w], likewise */
    double loss_weight;   /* Σ w of what takes part; without weights their number */
    /* x = pixel * in_scale[c] + in_shift[place in the image, c*h*w of them], one fma */
    const float *in_scale, *in_shift;
    const double (*coef)[CVY_COEFS]; /* UPDATE: by group */
    uint64_t seed, step, epoch;
    /* not 0: running statistics become the averages over so many batches, this one and those of
     * the runs before */
    uint64_t population;
    cvy_augment_desc augment; /* INGEST, by the functions below */
    struct cvy_plan *plan;    /* whose run it is, for cvy_run_fail */
};
/* Whether INGEST has to move images; if so, each of its pixels is one of cvy_run_pixels, scaled,
 * and cvy_move_blank has the last word. */
static inline bool cvy_run_moves(const struct cvy_run *run)
{
    return run->augment.crop || run->augment.flip || run->augment.cutout;
}
/* How one image of the batch is moved. */
struct cvy_move {
    size_t image; /* of the caller's */
    cvy_shape s;  /* c, h, w of it */
    /* pixel (y, x) shows (y + dy, x + dx), or where flipped (y + dy, w - 1 - x + dx); 0 outside */
    ptrdiff_t dy, dx;
    bool flip;
    size_t y0, y1, x0, x1; /* x = 0 in these rows and columns */
};
/* That of image i of the batch. */
CVY_API void cvy_run_move(const struct cvy_run *run, cvy_shape s, size_t i, struct cvy_move *move);
/* Pixels p0 ... p1 of channel c, as they are read: p1 - p0 elements of run->dtype. */
CVY_API void cvy_run_pixels(const struct cvy_run *run, const struct cvy_move *move, size_t c,
                            size_t p0, size_t p1, void *out);
/* Writes the zeros that are cut out of x, where pixel p0 + k lies at x[k * stride], p0 + k < p1. */
CVY_API void cvy_move_blank(const struct cvy_move *move, size_t p0, size_t p1, float *x,
                            size_t stride);
/* How much the batch of this step weighs in running statistics of that momentum. */
static inline double cvy_run_weight(const struct cvy_run *run, double momentum)
{
    return run->population ? 1 / (double)run->population : momentum;
}
static inline double cvy_run_bn_weight(const struct cvy_run *run, const cvy_batch_norm_desc *desc)
{
    return cvy_run_weight(run, desc->cumulative ? 1 / ((double)run->step + 1) : desc->momentum);
}
/* What a running mean becomes by the mean of a batch, and a running variance by the biased one of m
 * values; one value has no unbiased variance: its 0 is kept. */
static inline double cvy_run_bn_mean(const struct cvy_run *run, const cvy_batch_norm_desc *desc,
                                     double running, double mean)
{
    const double weight = cvy_run_bn_weight(run, desc);
    return (1 - weight) * running + weight * mean;
}
static inline double cvy_run_bn_var(const struct cvy_run *run, const cvy_batch_norm_desc *desc,
                                    double running, double var, double m)
{
    const double weight = cvy_run_bn_weight(run, desc);
    const bool unbiased = run->population || desc->running_var == CVY_BN_VAR_UNBIASED;
    if (unbiased && m > 1) var *= m / (m - 1);
    return (1 - weight) * running + weight * var + (run->population ? 0 : desc->running_var_offset);
}
/* From a phase that is alone, or a refresh: the step ends with this status and message instead of
 * going on. */
CVY_API void cvy_run_fail(const struct cvy_run *run, enum cvy_status status, const char *format,
                          ...) __attribute__((format(printf, 3, 4)));

/* What a task may use of its worker. */
struct cvy_worker {
    size_t thread; /* 0 … threads-1 */
    /* scratch_bytes of the largest phase, 64-byte aligned, contents undefined */
    void *scratch;
};

typedef void (*cvy_phase_fn)(const void *arg, const struct cvy_run *run, size_t task,
                             struct cvy_worker *worker);

/* How the tasks of a phase touch a buffer. CELL: task t touches only what task t of another phase
 * with the same grid touches as CELL; two phases that conflict through CELLs only, on equal grids,
 * may run back to back in one task without a barrier. ALL: anything. */
enum cvy_access { CVY_READ_CELL = 0, CVY_WRITE_CELL, CVY_READ_ALL, CVY_WRITE_ALL };

/* Between the phases of one backend only: how it rounds is its own affair.
 * CELL means: the same image block(s) and channel range. A grid is blocks x parts: task = block *
 * parts + part, blocks = ceil(capacity / 16), part p of P owns channels [c*p/P, c*(p+1)/P) of a
 * buffer with c channels (rounded to the backend's liking, the same way for every phase). A phase
 * over anything else has blocks = 0, parts = tasks. */
struct cvy_phase_desc {
    const char *name;
    cvy_phase_fn run;
    const void *arg; /* owned by the piece, freed by its plan_free */
    size_t blocks, parts;
    /* on the calling thread, outside the parallel region, tasks in order */
    bool alone;
    /* small: one thread does its tasks, in order, while the others wait at the barrier before a
     * stage. Costs no barrier of its own. blocks = 0, and not alone */
    bool gate;
    size_t scratch_bytes; /* per worker */
    double flops;         /* at full capacity, for reports */
    bool reorder;         /* changes a layout and nothing else, for reports */
    /* what computes it, for reports; NULL: nothing to say. Owned by the piece */
    const char *kernel;
    /* Value `to` may lie where `from` lies: they have the same bytes, the phase reads `from` and
     * writes `to` by CELL and not otherwise, and a task is done with an element of `from` when it
     * writes that element of `to`. The compiler does so where nobody needs `from` any more. Equal:
     * nothing. */
    struct {
        int from, to;
    } in_place;
    /* Written may be: what the planned ops write or update, private buffers of the backend, and
     * OPAQUE values of the backend that nobody needs behind the planned ops (their successor lies
     * in their buffer). A value is written once in a list; one that is updated is in it twice, as
     * read and as written. By CELL only where there are blocks. */
    int n_access;
    struct {
        int value;
        enum cvy_access access;
    } access[CVY_MAX_IN + 8];
};

/* ------------------------------------------------------------------------------------- planning */

struct cvy_plan; /* the compiler's side of a program being planned */

/* The program, read only. */
CVY_API const struct cvy_value *cvy_plan_value(const struct cvy_plan *plan, int id);
CVY_API size_t cvy_plan_capacity(const struct cvy_plan *plan); /* images */
/* for `alone` phases with threads of their own; native must not let it influence anything */
CVY_API size_t cvy_plan_threads(const struct cvy_plan *plan);
CVY_API bool cvy_plan_training(const struct cvy_plan *plan);
CVY_API enum cvy_isa cvy_plan_isa(const struct cvy_plan *plan);
/* What the context asks for; a backend that has no such algorithm goes on without a word. */
CVY_API enum cvy_algorithm cvy_plan_algorithm(const struct cvy_plan *plan);
/* True if a later op (or the user) still reads value id after op number `last` of the program. */
CVY_API bool cvy_plan_needed_after(const struct cvy_plan *plan, int id, size_t last);
/* FLOPs of an op at its shapes, a multiply-add is two; 0 of what streams over rows. For reports. */
CVY_API double cvy_plan_flops(const struct cvy_plan *plan, const struct cvy_op_desc *op);
/* The chain that starts at op number i of the program, as it would be offered to the backend that
 * is planning: its ops, *n of them, 0 if they are another backend's, or nobody is planning. NULL
 * behind the last op. To see who will read a result. */
CVY_API const struct cvy_op_desc *cvy_plan_chain(const struct cvy_plan *plan, size_t i, int *n);
/* The functions from here to cvy_plan_refresh are for `plan`, and answer for the piece that is
 * being planned. */
/* How activation `id` lies, which an op of this backend's piece writes and whose layout is OPAQUE:
 * its bytes, and whatever later readers of the same backend need to know (kept as a pointer).
 * Unsaid: n*c*h*w floats. */
CVY_API enum cvy_status cvy_plan_lay_out(struct cvy_plan *plan, int id, size_t bytes,
                                         const void *opaque);
/* A private buffer; transient ones live from their first to their last access in a step and are not
 * cleared; persistent ones start as zero bytes. Negative: out of memory. */
CVY_API int cvy_plan_buffer(struct cvy_plan *plan, const char *name, size_t bytes, bool persistent);
/* Appends a phase (copied). */
CVY_API enum cvy_status cvy_plan_phase(struct cvy_plan *plan, const struct cvy_phase_desc *phase);
/* Registers fn(arg, run) to be called, single threaded, whenever the caller has changed weights by
 * name (and once after creation): here a backend refreshes packed copies of weight `id`. The UPDATE
 * piece of the same backend refreshes them in every step. */
typedef void (*cvy_refresh_fn)(const void *arg, const struct cvy_run *run);
CVY_API enum cvy_status cvy_plan_refresh(struct cvy_plan *plan, int id, cvy_refresh_fn fn,
                                         const void *arg);
/* What computes the piece, for reports: `kernel` of those of its phases that say nothing. */
CVY_API void cvy_plan_kernel(struct cvy_plan *plan, const char *kernel);
/* Memory that lives as long as the program, zeroed, for phase arguments; NULL if short. Never freed
 * singly. */
CVY_API void *cvy_plan_alloc(struct cvy_plan *plan, size_t bytes);
/* One line to the context's log if it is that verbose (1: choices). */
CVY_API void cvy_plan_log(const struct cvy_plan *plan, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Sets the context's message and returns status. */
CVY_API enum cvy_status cvy_plan_fail(struct cvy_plan *plan, enum cvy_status status,
                                      const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct cvy_backend {
    int abi;          /* CVY_BACKEND_ABI */
    const char *name; /* "native" */
    /* of activations it reads and writes (LANES, PLAIN, PLAIN64, OPAQUE) */
    enum cvy_layout layout;
    enum cvy_layout param_layout; /* of parameters and their gradients (PLAIN, PLAIN64) */
    /* Per program: open before planning, close when the program dies. */
    enum cvy_status (*open)(struct cvy_plan *plan, void **state);
    void (*close)(void *state);
    /* How many of the n ops at `ops` it takes in one piece; 0: none. Must not depend on the thread
     * count. Values lie as they will when the ops are planned. Asked again then: what was taken
     * must not be declined. */
    int (*take)(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n);
    /* Plans the first n ops (n as answered by take); `first` is the program's number of ops[0].
     * Results that another backend or the user reads are written by a phase of it; OPAQUE ones may
     * lie elsewhere, where the backend finds them. */
    enum cvy_status (*plan)(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops,
                            int n, size_t first);
    /* Works in values that are views. Then what nobody but it has anything to do with may be one:
     * an operand of CONCAT of its result, a SLICE of its operand. There is nothing to copy. */
    bool views;
};

#ifdef __cplusplus
}
#endif
#endif
