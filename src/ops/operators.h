/* What the operators' files share: one object a node kind, cvyi_operator_KEY, and checks. */
#ifndef CVYI_OPERATORS_H
#define CVYI_OPERATORS_H

#include "ops/ops.h"

#define CVYI_DECLARE_OPERATOR(KIND, key) extern const struct cvyi_operator cvyi_operator_##key;
CVYI_OPERATORS(CVYI_DECLARE_OPERATOR)

/* Sizes in descriptors stay below this, so that sums and products of two of them cannot
 * overflow. */
#define CVYI_MAX_DIM ((size_t)INT32_MAX)
/* Is v in least … CVYI_MAX_DIM? If not: "type 'name': field is …". */
enum cvy_status cvyi_size_check(struct cvy_context *ctx, const char *type, const char *name,
                                const char *field, size_t v, size_t least);

/* What a bias is lowered to: x plus it, a value of that name; and its gradient, if it is wanted
 * (d_bias >= 0). */
int cvyi_bias_forward(struct cvyi_list *list, const char *name, int x, int bias);
void cvyi_bias_backward(struct cvyi_list *list, const char *name, int dy, int d_bias);

/* Normalisation by statistics over images, batch norm's and whitening's: they name their kinds of
 * ops, whose operands are in the same places, and the number of doubles in statistics and sums.
 * Frozen, or in inference, there is one op, by the running statistics; else there are two, and
 * likewise backward. */
struct cvyi_norm {
    enum cvy_op_kind stats, apply, infer, infer_bwd, reduce, data;
    /* of its ops */
    void (*describe)(struct cvy_op_desc *op, const struct cvyi_node *node);
    cvy_shape stats_shape, sums_shape;
    bool frozen, batch_statistics;
};
void cvyi_norm_forward(struct cvyi_list *list, const struct cvyi_node *node,
                       const struct cvyi_norm *norm, size_t n, bool training,
                       struct cvyi_lowered *low);
/* The gradient of the one input is made where it is wanted; returns it, -1: not made. */
int cvyi_norm_backward(struct cvyi_list *list, const struct cvyi_node *node,
                       const struct cvyi_norm *norm, struct cvyi_lowered *low, int dy, bool want);

/* Weights and bias of a convolution, either way: n * c * h * w and `biases` of them, 0: none. */
size_t cvyi_kernel_parameters(cvy_shape weight, size_t biases);
void cvyi_kernel_params(struct cvyi_list *list, const struct cvyi_node *node, cvy_shape weight,
                        size_t biases, struct cvyi_lowered *low);

#endif
