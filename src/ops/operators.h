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

#endif
