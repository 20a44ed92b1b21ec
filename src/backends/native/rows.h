/* What the row families share: chains of row-wise ops that run as one piece, a batch norm layer's
 * numbers, pooling windows. Included by the row families only; convolutions do not know it.
 *
 * A chain is fused by calling the same kernels on the same runs of pixels as its ops would alone,
 * so fusing changes no bit. What may differ between a fused and a single op (order within a sum) is
 * fixed by NATIVE_SEGMENT and the map. */
#ifndef CVYI_NATIVE_ROWS_H
#define CVYI_NATIVE_ROWS_H

#include "backends/native/native.h"

/* Pixels that a chain passes from op to op at once, at most: 16 KB, they stay in L1. */
#define NATIVE_SEGMENT ((size_t)256)
/* The same in whole rows, where a row is not longer. The sums of a backward batch norm are cut at
 * its multiples, so it is part of the numbers' definition. */
static inline size_t native_segment(size_t w)
{
    return w < NATIVE_SEGMENT ? NATIVE_SEGMENT / w * w : NATIVE_SEGMENT;
}

/* ------------------------------------------------------------------------------------- chains.c */

/* What flows through a chain is the first operand of each of its ops, but for a batch norm's
 * gradients, and its result the first one. */
enum { CHAIN_X = 0, CHAIN_Y = 0 };
_Static_assert((int)CVY_BN_STATS_X == CHAIN_X && (int)CVY_BN_APPLY_X == CHAIN_X &&
                   (int)CVY_BN_INFER_X == CHAIN_X && (int)CVY_ADD_A == CHAIN_X &&
                   (int)CVY_ACT_X == CHAIN_X && (int)CVY_POOL_X == CHAIN_X &&
                   (int)CVY_BN_STATS_STATS == CHAIN_Y && (int)CVY_BN_APPLY_Y == CHAIN_Y &&
                   (int)CVY_BN_INFER_Y == CHAIN_Y && (int)CVY_ADD_Y == CHAIN_Y &&
                   (int)CVY_ACT_Y == CHAIN_Y && (int)CVY_POOL_Y == CHAIN_Y,
               "forward chains");
_Static_assert((int)CVY_POOL_BWD_DY == CHAIN_X && (int)CVY_ACT_BWD_DY == CHAIN_X &&
                   (int)CVY_POOL_BWD_DX == CHAIN_Y && (int)CVY_ACT_BWD_DX == CHAIN_Y &&
                   (int)CVY_BN_BWD_REDUCE_SUMS == CHAIN_Y && (int)CVY_BN_BWD_DATA_DX == CHAIN_Y,
               "backward chains");

/* The ops of a chain, absent ones NULL; n of them. Forward: [BN_STATS] [BN_APPLY | BN_INFER] [ADD]
 * [ACT] [POOL]. */
struct native_forward {
    const struct cvy_op_desc *stats, *norm, *add, *act, *pool;
    int n;
    bool added_first; /* the chain's value is ADD's first operand */
};
struct native_forward cvyi_forward_parse(const struct cvy_op_desc *ops, int n);
/* Backward: [POOL_BWD] [ADD] [ACT_BWD] [BN_BWD_REDUCE] [BN_BWD_DATA [ADD]]; join: the ADD behind
 * the batch norm's gradient. */
struct native_backward {
    const struct cvy_op_desc *pool, *add, *act, *reduce, *data, *join;
    int n;
    bool added_first, joined_first;
};
struct native_backward cvyi_backward_parse(const struct cvy_op_desc *ops, int n);
/* "bn1 + relu1", from the program's memory; NULL if short. */
const char *cvyi_rows_name(struct cvy_plan *plan, const struct cvy_op_desc *ops, int n);

/* reorder.c */
int cvyi_reorder_take(const struct cvy_plan *plan, const struct cvy_op_desc *op);
enum cvy_status cvyi_reorder_plan(struct native *native, struct cvy_plan *plan,
                                  const struct cvy_op_desc *op);

/* --------------------------------------------------------------------------------------- fold.c */

/* Slots for a sum a channel of `map`, double [block][c], which tasks of its grid write by CELL;
 * negative: out of memory. */
int cvyi_channel_slots(const struct native *native, struct cvy_plan *plan, const char *name,
                       const struct native_lanes *map);
/* Appends the phase that folds them into parameter-like `sum`. */
enum cvy_status cvyi_channel_fold(const struct native *native, struct cvy_plan *plan,
                                  const char *name, const struct native_lanes *map, int slots,
                                  int sum);

/* ----------------------------------------------------------------------------------- batch norm */

/* Where mean and variance, or the two sums of the gradient, come from: slots of the phase before,
 * the published value, or the running statistics. A gate (one thread, while the others wait) folds
 * slots, publishes what came of them, and makes the coefficients that the phase after it reads. For
 * wide maps, whose tasks have all images, it is no gate but a phase of their cells. */
enum native_bn_source { NATIVE_BN_SLOTS, NATIVE_BN_VALUE, NATIVE_BN_RUNNING };

struct native_bn {
    enum native_bn_source source;
    struct native_grid grid;  /* of folding: one task, but for wide maps */
    size_t c, pixels;         /* channels, h*w */
    cvy_batch_norm_desc desc; /* of the op whose statistics these are */
    /* double [block][2][slot_channels], from slot_c0 on: mean and M2, or sum g and sum g (x - m) */
    int slots;
    size_t slot_channels, slot_c0;
    int stats, sums; /* double [2][c] */
    int running_mean, running_var, gamma, beta, dgamma, dbeta;
    /* struct cvyi_affine or struct cvyi_bn_dx [c]; -1: only publish */
    int coefficients;
};

/* Fills in everything but source, slots and sums from an op; ids it does not have become -1. */
struct native_bn cvyi_bn_of(const struct native *native, const struct cvy_plan *plan,
                            const struct cvy_op_desc *op);
/* The slots' buffer; negative: out of memory. */
int cvyi_bn_slots(const struct native *native, struct cvy_plan *plan, const struct native_bn *bn,
                  const char *name);
/* The buffer of the coefficients, `each` bytes a channel; negative: out of memory. */
int cvyi_bn_coefficients(struct cvy_plan *plan, const struct native_bn *bn, const char *name,
                         size_t each);
/* Whether a mean is subtracted; what is not is 0, and what does not divide is 1. */
static inline bool native_bn_centres(const cvy_batch_norm_desc *desc)
{
    return desc->statistics != CVY_BN_STATISTICS_VARIANCE;
}
static inline bool native_bn_divides(const cvy_batch_norm_desc *desc)
{
    return desc->statistics != CVY_BN_STATISTICS_MEAN;
}
/* bn.c: mean and M2 of one channel of one block. */
void cvyi_bn_moments(const struct cvyi_kernels *k, const float *x, size_t pixels, size_t images,
                     double *mean, double *m2);
/* Of n channels, var becomes 1 / sqrt(var + eps), or 1. */
void cvyi_bn_scales(const struct native_bn *bn, size_t n, double *var);
/* gamma or beta, or what stands for one that the layer has not */
static inline float native_or(const float *p, size_t c, float absent) { return p ? p[c] : absent; }
/* Appends the phase that folds slots; sums: of the gradient, else statistics. */
enum cvy_status cvyi_bn_gate(struct cvy_plan *plan, const char *name, const struct native_bn *bn,
                             cvy_phase_fn run, bool sums);
/* bn.c: finds or makes the slots for the statistics of x, and appends the phase that fills those of
 * its channels that nobody has filled; the gate behind it. */
enum cvy_status cvyi_bn_stats_phase(struct native *native, struct cvy_plan *plan, const char *name,
                                    struct native_bn *bn, int x);
enum cvy_status cvyi_bn_affine_gate(struct cvy_plan *plan, const char *name,
                                    const struct native_bn *bn);
/* bn_backward.c: the gate behind slots of sums. */
enum cvy_status cvyi_bn_dx_gate(struct cvy_plan *plan, const char *name,
                                const struct native_bn *bn);

/* Segments of a gradient that is not there (native_made) which are made at once. */
#define NATIVE_MADE ((size_t)4)
static inline size_t native_made_floats(const struct native_made *made, size_t w)
{
    return made ? NATIVE_MADE * native_segment(w) * NATIVE_LANES : 0;
}

/* backward.c: whether the piece that begins with op number i, which goes through the activation of
 * y, an op's result that comes of x by a batch norm, can do without y. */
bool cvyi_backward_recalls(const struct cvy_plan *plan, size_t i, int x, int y);

/* Kinds whose output is made from the input in no time: reading it takes longer. */
static inline bool native_is_cheap(int act)
{
#define NATIVE_IS_ACT(NAME, name) || act == CVYI_ACT_##NAME
    return false CVYI_CHEAP_ACTS(NATIVE_IS_ACT);
}

/* A gradient g that is not stored but formed where it is read: from dy, through an activation by
 * what that saved, or by what makes it again. */
struct native_anew {
    bool on;
    struct native_lanes dy, saved; /* saved absent: by affine */
    int affine;
    cvyi_act_reduce_fn *reduce;
    cvyi_act_bn_dx_fn *bn_dx;
    float alpha;
};
static inline struct cvyi_act_norm native_act_norm(const struct native_anew *anew,
                                                   const struct cvy_run *run, size_t c)
{
    struct cvyi_act_norm norm = { .alpha = anew->alpha };
    if (anew->affine >= 0) norm.c = ((const struct cvyi_affine *)run->buf[anew->affine])[c];
    return norm;
}

/* bn_backward.c: the gate with the phase behind it that makes dx of the chain's `data`, whose last
 * op is number `last`. sums: whose slots; NULL: the op's value has them. argmax, if the chain
 * remembers maxima: `pooled` is the pooled's gradient. anew: NULL, or how g is formed. */
struct native_argmax;
struct native_bn_g {
    const struct native_bn *sums;
    const struct native_argmax *argmax;
    struct native_lanes pooled;
    const struct native_anew *anew;
    const struct native_made *made; /* what g is formed from is not there */
};
enum cvy_status cvyi_bn_dx_phase(struct native *native, struct cvy_plan *plan,
                                 const struct native_backward *chain, size_t last,
                                 const struct native_bn_g *from);

/* -------------------------------------------------------------------------------------- pooling */

struct native_pool {
    struct cvyi_pool row;
    size_t ih, oh, kh, sh, pt, pb;
    size_t held; /* input rows a window can touch: min(kh, ih) */
    bool max, exclude_pad;
    /* so many windows share a pixel that its gradient is added up in double */
    bool crowded;
    int tie;
    bool inv_by_row;
    /* average: 1 / pixels counted, [rows counted - 1, or row of the result][ow] */
    const float *inv;
};
/* in, out: shapes of the pooled and the pooling's result. */
enum cvy_status cvyi_pool_make(struct cvy_plan *plan, const cvy_pool2d_desc *desc, cvy_shape in,
                               cvy_shape out, struct native_pool *pool);
/* Input rows [*begin, *end) of output row oy's windows. */
static inline void native_pool_rows(const struct native_pool *p, size_t oy, size_t *begin,
                                    size_t *end)
{
    size_t top = oy * p->sh;
    *begin = top > p->pt ? top - p->pt : 0;
    *end = top + p->kh - p->pt < p->ih ? top + p->kh - p->pt : p->ih;
}
/* The averages' divisors for output row oy. */
const float *cvyi_pool_inv(const struct native_pool *p, size_t oy);

/* ------------------------------------------------------------------------------------------
 * argmax.c A maximum pooling whose windows tile the plane passes a gradient on to one pixel of
 * each window. If the forward pass remembers its place, and batch norm's x there, the plane is not
 * kept and the plane of unpooled gradients never made. The bits are the same. */
struct native_argmax {
    struct native_saved saved; /* by the plane that is pooled */
    struct native_pool window;
    struct native_lanes x; /* x at the maximum, float; id -1: not asked for */
    int at;                /* the place, a byte, [block][c][oh*ow][16] */
};
/* For a forward piece that ends at op number `last` and pools value x (normalised or not):
 * remembers if whoever reads the pooled plane later can do with that. *argmax is NULL if not. */
enum cvy_status cvyi_argmax_plan(struct native *native, struct cvy_plan *plan,
                                 const struct cvy_op_desc *pool, int x, size_t last,
                                 struct native_argmax **argmax);
/* The argmax of a pooled plane; NULL: none. */
const struct native_argmax *cvyi_argmax_of(const struct native *native, int pooled);
uint8_t *cvyi_argmax_at(const struct native_argmax *argmax, const struct cvy_run *run, size_t block,
                        size_t c);
/* One channel: the sums of batch norm's gradient (their four chains folded, over lanes not), its
 * data gradient, and the unpooled gradient for whoever wants it; g is the gradient of the
 * pooled. */
void cvyi_argmax_sums(const struct native_argmax *argmax, const struct cvyi_kernels *k,
                      const uint8_t *at, const float *x, const float *g, float m,
                      double s1[CVYI_LANES], double s2[CVYI_LANES]);
void cvyi_argmax_bn_dx(const struct native_argmax *argmax, const struct cvyi_kernels *k,
                       const uint8_t *at, float *dx, const float *x, const float *g,
                       const struct cvyi_bn_dx *coefficients, unsigned n_lanes);
void cvyi_argmax_bwd(const struct native_argmax *argmax, const struct cvyi_kernels *k,
                     const uint8_t *at, float *dx, const float *g);

#endif
