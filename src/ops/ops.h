/* What each operator IS: shapes, parameters, lowering to program ops, gradient rule, FLOPs, name.
 * No arithmetic on data, no knowledge of backends. One file an operator; a node of the user's graph
 * has one operator. */
#ifndef CVYI_OPS_H
#define CVYI_OPS_H

#include "base/context.h"
#include "base/whiten.h"
#include "convoy/backend.h"
#include "convoy/net.h"

/* --------------------------------------------------------------------------------- the linear list
 * The program before planning: values and ops over them. Owned by the context's allocator. */
struct cvyi_list {
    struct cvy_context *ctx;
    /* id = index; layout, plane, bytes are the compiler's to fill in; name owned */
    struct cvy_value *value;
    size_t n_values, cap_values;
    struct cvy_op_desc *op; /* name owned */
    size_t n_ops, cap_ops;
    /* sticks: out of memory, a size that overflows, a layer that cannot be trained */
    enum cvy_status status;
    struct cvy_op_desc scratch; /* what cvyi_list_op hands out after a failure */
};
void cvyi_list_init(struct cvyi_list *list, struct cvy_context *ctx);
void cvyi_list_free(struct cvyi_list *list);
/* The same values, under the same numbers, and no ops; then an op of another list, or of this one,
 * with a name of its own. Both answer for the status of `to`. */
enum cvy_status cvyi_list_copy_values(const struct cvyi_list *from, struct cvyi_list *to);
struct cvy_op_desc *cvyi_list_copy_op(struct cvyi_list *to, const struct cvy_op_desc *op,
                                      const char *suffix);
/* New value, alias -1; name is copied, formatted. Returns its id, -1 once status is set. */
int cvyi_list_value(struct cvyi_list *list, enum cvy_role role, cvy_shape shape, const char *format,
                    ...) __attribute__((format(printf, 4, 5)));
/* Statistics `id` are in double, not in float. Returns id. */
int cvyi_list_double(struct cvyi_list *list, int id);
/* The same numbers under another shape: a new value, its name NAME and SUFFIX, that shares value
 * id's buffer. */
int cvyi_list_reshape(struct cvyi_list *list, int id, cvy_shape shape, const char *name,
                      const char *suffix);
/* The shape of value id; zeros once the list has failed. */
static inline cvy_shape cvyi_shape_of(const struct cvyi_list *list, int id)
{
    return id >= 0 && (size_t)id < list->n_values ? list->value[id].shape
                                                  : (cvy_shape){ 0, 0, 0, 0 };
}
static inline cvy_shape cvyi_with_n(cvy_shape shape, size_t n)
{
    shape.n = n;
    return shape;
}
/* Appends an op with a formatted name, zeroed and with its operands absent (-1), those of CVY_MANY
 * not counted; returns it for filling in (op->in[CVY_CONV2D_X] = …; valid until the next append),
 * or a scratch op that is not in the list once status is set. */
struct cvy_op_desc *cvyi_list_op(struct cvyi_list *list, enum cvy_op_kind kind, const char *format,
                                 ...) __attribute__((format(printf, 3, 4)));
void cvyi_list_drop_ops(struct cvyi_list *list, size_t first, size_t n); /* the values stay */
void cvyi_list_rename(struct cvyi_list *list, int id, const char *name);
/* One more of an input of which there are many. */
void cvyi_op_append(struct cvy_op_desc *op, int id);

/* What is known of a kind of op (kinds.c), from the list of convoy/backend.h. */
struct cvyi_operand {
    const char *name; /* "X"; NULL behind the last */
    unsigned use;     /* of CVY_OPTIONAL, CVY_UPDATED, CVY_MANY */
};
struct cvyi_op_kind {
    const char *name; /* "conv2d.dw" */
    int n_in, n_out;  /* as listed: CVY_MANY is one */
    const struct cvyi_operand *in, *out;
};
const struct cvyi_op_kind *cvyi_op_kind(enum cvy_op_kind kind); /* "unknown" if there is none */
/* How an op uses its k-th input; whether it changes it in place. */
unsigned cvyi_op_in_use(const struct cvy_op_desc *op, int k);
bool cvyi_op_updates(const struct cvy_op_desc *op, int k);
/* Whether its result, the first one, can be made a second time in a step, from the same operands:
 * the same bits for little more than reading them. Others are absent then. */
bool cvyi_op_repeats(const struct cvy_op_desc *op);
/* FLOPs of an op at its shapes; 0 for rows. */
double cvyi_op_flops(const struct cvyi_list *list, const struct cvy_op_desc *op);

/* ---------------------------------------------------------------------------------------- nodes */

/* Every kind of node, once: OP(KIND, key); cvyi_operator_KEY is its operator. */
#define CVYI_OPERATORS(OP)                 \
    OP(INPUT, input)                       \
    OP(CONV2D, conv2d)                     \
    OP(BATCH_NORM, batch_norm)             \
    OP(ACT, act)                           \
    OP(POOL, pool2d)                       \
    OP(ADD, add)                           \
    OP(CONCAT, concat)                     \
    OP(DROPOUT, dropout)                   \
    OP(FLATTEN, flatten)                   \
    OP(SOFTMAX, softmax)                   \
    OP(PAD_CHANNELS, pad_channels)         \
    OP(PRELU, prelu)                       \
    OP(MAXOUT, maxout)                     \
    OP(MULTIPLY, multiply)                 \
    OP(GROUP_NORM, group_norm)             \
    OP(BIAS, bias)                         \
    OP(CONV_TRANSPOSE2D, conv_transpose2d) \
    OP(WHITENING, whitening)               \
    OP(UPSAMPLE, upsample)                 \
    OP(MEAN_SUBTRACT, mean_subtract)       \
    OP(RANK, rank)
#define CVYI_NODE_KIND(KIND, key) CVYI_NODE_##KIND,
enum cvyi_node_kind { CVYI_OPERATORS(CVYI_NODE_KIND) CVYI_NODE_KINDS };
struct cvyi_node {
    enum cvyi_node_kind kind;
    bool linear;    /* CONV2D made by cvy_linear: weights are shown as [out][in] */
    char *name;     /* owned */
    uint32_t index; /* its own number: dropout's random stream */
    int *in;
    size_t n_in;   /* node numbers; owned */
    cvy_shape out; /* n = 1 */
    bool trained;  /* it or something that it depends on has trainable parameters */
    union {
        cvy_conv2d_desc conv;
        cvy_conv_transpose2d_desc deconv;
        cvy_batch_norm_desc bn;
        cvy_group_norm_desc gn;
        cvy_whitening_desc whitening;
        cvy_act_desc act;
        cvy_prelu_desc prelu;
        cvy_pool2d_desc pool;
        cvy_maxout_desc maxout;
        cvy_dropout_desc dropout;
        cvy_upsample_desc upsample;
        cvy_mean_subtract_desc mean;
        cvy_rank_desc rank;
        double temperature; /* of softmax */
        struct {
            size_t before, after;
        } pad;
    } u; /* defaults resolved by infer */
};

/* Where lowering leaves what the gradient rule needs; one per node while a net is linearised. */
struct cvyi_lowered {
    int x[CVY_MAX_IN], y; /* values */
    /* parameters, -1: none. running_var: a whitening's matrix, quantiles of ranks */
    int weight, bias, running_mean, running_var;
    int d_weight, d_bias; /* their gradients */
    int stats, sums;
};

/* params, parameters, flops: NULL means none. */
struct cvyi_operator {
    const char *type; /* "conv2d" */
    bool named;       /* a user must give it a name */
    /* its weight is {oc, ic/groups, kh, kw}, of a transposed convolution {ic, oc/groups, kh, kw}:
     * it decays and starts as cvy_init_desc says, with its bias. Other parameters are a row of
     * numbers */
    bool kernels;
    /* its low->stats are its backend's own: a gradient by itself makes them again */
    bool own_stats;
    /* Checks the descriptor against the input shapes, resolves its defaults, sets node->out. `in`
     * are n = 1 shapes. */
    enum cvy_status (*infer)(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in);
    /* Trainable elements; FLOPs per image. */
    size_t (*parameters)(const struct cvyi_node *node, const cvy_shape *in);
    double (*flops)(const struct cvyi_node *node, const cvy_shape *in, bool backward);
    /* Makes parameter values (roles WEIGHT and RUNNING), in PyTorch's state_dict order. */
    void (*params)(struct cvyi_list *list, const struct cvyi_node *node, const cvy_shape *in,
                   struct cvyi_lowered *low);
    /* What parameter "weight", "bias", "running_mean" … starts as, by element; NULL: kernels do. */
    double (*start)(const struct cvyi_node *node, const char *parameter, size_t element);
    /* Appends forward ops for batch n; low->x are set, sets low->y (and stats). */
    void (*forward)(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low);
    /* Appends gradient ops: dy is the gradient of low->y; dx[i] receives the id of the gradient of
     * input i, only where want_dx[i]; a new value, or dy itself where the gradient is passed on
     * unchanged (add). */
    void (*backward)(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx);
};
const struct cvyi_operator *cvyi_operator(enum cvyi_node_kind kind);

/* An optimiser (optimizers.c): what everybody may know of it, and how a step's coefficients come of
 * the hyper-parameters. */
struct cvyi_optimizer {
    cvy_optimizer_info info;
    /* How many of its states it keeps. */
    size_t (*states)(const cvy_optimizer_desc *desc);
    /* Of step number `step`, from 0; weights that do not decay have weight_decay 0. In double, and
     * the same bits on every machine: no libm but sqrt. */
    void (*coefficients)(const cvy_optimizer_desc *desc, uint64_t step, double coef[CVY_COEFS]);
};
const struct cvyi_optimizer *cvyi_optimizer(enum cvy_optimizer_kind kind); /* a valid one */
/* A STATE that is no optimiser's: the sum of a weight's gradients since the last update. */
enum { CVYI_SUM_STATE = CVY_OPTIMIZER_STATES };
/* The `state` of a WEIGHT_GRAD that nobody wants: its weight is frozen. */
enum { CVYI_NOBODYS = -1 };
/* Whether anything is said in a descriptor. */
bool cvyi_optimizer_given(const cvy_optimizer_desc *desc);
/* Checks a descriptor and resolves its defaults. */
enum cvy_status cvyi_optimizer_check(struct cvy_context *ctx, cvy_optimizer_desc *desc);
/* Weights that share a step's coefficients: factors of the learning rate and of the weight decay.
 * The first two are always there: those that decay, and those that do not. */
struct cvyi_group {
    double lr, decay;
};
enum { CVYI_GROUP_DECAYS = 0, CVYI_GROUP_PLAIN, CVYI_GROUPS };
extern const struct cvyi_group cvyi_groups[CVYI_GROUPS];
/* A step's coefficients of n groups. */
void cvyi_optimizer_coefficients(const cvy_optimizer_desc *desc, uint64_t step,
                                 const struct cvyi_group *group, size_t n,
                                 double (*coef)[CVY_COEFS]);

/* A row of outputs, of an image or of a pixel, and what it should be: x and target are `classes`
 * numbers, each `step` apart. */
struct cvyi_loss_row {
    const cvy_loss_desc *desc;
    size_t classes, step, label;
    const double *x; /* or, where it is NULL, */
    const float *x32;
    const float *target; /* NULL: 1 at the label */
};
/* Whether the first maximum is at the label. Where one is NaN, or it is infinite, there is none. */
bool cvyi_loss_correct(const struct cvyi_loss_row *row);
/* The first maximum of a target. */
size_t cvyi_loss_target(const float *target, size_t classes, size_t step);
/* Its loss, and the gradient by x into dx (or NULL), `step` apart. */
double cvyi_loss_row(const struct cvyi_loss_row *row, double *dx);
/* Appends a checked loss of the logits x: its sums, and the gradient of the mean if it is wanted,
 * else -1. */
void cvyi_loss_forward(struct cvyi_list *list, const cvy_loss_desc *desc, int x, bool want_dx,
                       int *stats, int *dx);
/* Checks a descriptor, all but class_weights, and resolves its defaults. */
enum cvy_status cvyi_loss_check(struct cvy_context *ctx, cvy_loss_desc *desc);
/* How much a label counts: 0: what it labels takes no part. */
double cvyi_loss_weight(const cvy_loss_desc *desc, long label);
/* What smoothing adds to the target of output k. `label` is one of the classes. */
double cvyi_loss_smoothed(const cvy_loss_desc *desc, size_t classes, size_t label, size_t k);

/* How a parameter starts (initializers.c): open, any elements in [0, rows * cols), close. */
struct cvyi_start {
    enum cvy_init init; /* not DEFAULT */
    double value, fan_in, fan_out;
    uint64_t seed;
    uint32_t stream;
    size_t rows, cols;
    double *matrix; /* its own */
};
enum cvy_status cvyi_init_check(struct cvy_context *ctx, const cvy_init_desc *desc);
/* A kind and its value; `of`: whose, in messages. And whether a parameter can start so that is a
 * matrix or not, and has a fan or not. */
enum cvy_status cvyi_init_check_one(struct cvy_context *ctx, enum cvy_init init, double value,
                                    const char *of);
enum cvy_status cvyi_init_check_kind(struct cvy_context *ctx, enum cvy_init init,
                                     const char *parameter, bool matrix, bool fan);
enum cvy_status cvyi_start_open(struct cvy_context *ctx, struct cvyi_start *start);
double cvyi_start_element(const struct cvyi_start *start, size_t e);
void cvyi_start_close(struct cvy_context *ctx, struct cvyi_start *start);

/* CVY_E_SHAPE unless two inputs have one shape. */
enum cvy_status cvyi_same_shape(struct cvy_context *ctx, const char *type, const char *name,
                                const cvy_shape *in);
/* CVY_E_SHAPE unless c, h, w are 1 … 2^31 - 1 and a block of 16 such images can be addressed. `type
 * 'name'` leads the message. */
enum cvy_status cvyi_shape_check(struct cvy_context *ctx, const char *type, const char *name,
                                 cvy_shape shape);
/* Shape rules that the operator API uses without a net. They resolve the descriptor's defaults; n
 * is passed through. */
enum cvy_status cvyi_conv2d_out(struct cvy_context *ctx, const char *name, cvy_conv2d_desc *desc,
                                cvy_shape x, cvy_shape *y);
enum cvy_status cvyi_pool2d_out(struct cvy_context *ctx, const char *name, cvy_pool2d_desc *desc,
                                cvy_shape x, cvy_shape *y);
enum cvy_status cvyi_batch_norm_check(struct cvy_context *ctx, const char *name,
                                      cvy_batch_norm_desc *desc, cvy_shape x);
/* Sizes of a checked whitening of maps like x. WHITEN_STATS leaves for each matrix `stats` doubles,
 * mean, matrix and the state that it came of; WHITEN_BWD_REDUCE the sums of dy, one a channel, and
 * for each matrix `sums`: the gradient of the covariance, times 2 / M, and what it was worked out
 * in. */
struct cvyi_whitening {
    struct cvyi_whitener of;
    size_t groups, matrices, folds; /* of channels; of them; groups that share one */
    size_t stats, sums;
};
struct cvyi_whitening cvyi_whitening_of(const cvy_whitening_desc *desc, cvy_shape x);
enum cvy_status cvyi_act_check(struct cvy_context *ctx, const char *name, cvy_act_desc *desc);
/* The record of a kind, made from the list of types.h; NULL if there is no such kind. */
struct cvyi_activation {
    const char *name; /* "leaky_relu" */
    bool has_alpha, has_at_zero;
    double alpha;  /* the default */
    bool by_x;     /* its gradient needs the input */
    bool monotone; /* never decreases */
};
const struct cvyi_activation *cvyi_activation(enum cvy_act_kind kind);
/* Of a checked descriptor: whether the gradient reads the input; whether max(f(x)) is f(max(x)),
 * gradients included. */
bool cvyi_act_by_x(const cvy_act_desc *desc);
bool cvyi_act_commutes(const cvy_act_desc *desc);
enum cvy_status cvyi_dropout_check(struct cvy_context *ctx, const char *name,
                                   cvy_dropout_desc *desc);

#endif
