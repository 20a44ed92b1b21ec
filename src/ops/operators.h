/* The operators, one object a node kind: what operators.c lists and the operator files define. */
#ifndef CVYI_OPERATORS_H
#define CVYI_OPERATORS_H

#include "ops/ops.h"

extern const struct cvyi_operator cvyi_operator_input, cvyi_operator_conv2d,
    cvyi_operator_batch_norm, cvyi_operator_act, cvyi_operator_pool2d, cvyi_operator_add,
    cvyi_operator_concat, cvyi_operator_dropout, cvyi_operator_flatten, cvyi_operator_softmax,
    cvyi_operator_pad_channels, cvyi_operator_prelu;

/* Sizes in descriptors stay below this, so that sums and products of two of them cannot
 * overflow. */
#define CVYI_MAX_DIM ((size_t)INT32_MAX)
/* Is v in least … CVYI_MAX_DIM? If not: "type 'name': field is …". */
enum cvy_status cvyi_size_check(struct cvy_context *ctx, const char *type, const char *name,
                                const char *field, size_t v, size_t least);

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

#endif
