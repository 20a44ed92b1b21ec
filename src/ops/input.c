/* input: the one source of a net. The linearisation makes its ingest op; there is nothing to
 * differentiate. */
#include "ops/operators.h"

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    node->out = cvyi_with_n(in[0], 1);
    return cvyi_shape_check(ctx, "input", node->name, node->out);
}

const struct cvyi_operator cvyi_operator_input = { .type = "input", .infer = infer };
