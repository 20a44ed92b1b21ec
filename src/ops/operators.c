/* The table of operators, and the checks that they share. */
#include "ops/operators.h"

const struct cvyi_operator *cvyi_operator(enum cvyi_node_kind kind)
{
#define ENTRY(KIND, key) [CVYI_NODE_##KIND] = &cvyi_operator_##key,
    static const struct cvyi_operator *const table[CVYI_NODE_KINDS] = { CVYI_OPERATORS(ENTRY) };
    return table[kind];
}

enum cvy_status cvyi_size_check(struct cvy_context *ctx, const char *type, const char *name,
                                const char *field, size_t v, size_t least)
{
    if (v >= least && v <= CVYI_MAX_DIM) return CVY_OK;
    return cvyi_fail(ctx, CVY_E_ARG, "%s '%s': %s is %lld, expected %zu to %zu", type, name, field,
                     (long long)v, least, CVYI_MAX_DIM);
}

enum cvy_status cvyi_same_shape(struct cvy_context *ctx, const char *type, const char *name,
                                const cvy_shape *in)
{
    if (in[0].c == in[1].c && in[0].h == in[1].h && in[0].w == in[1].w) return CVY_OK;
    return cvyi_fail(ctx, CVY_E_SHAPE,
                     "%s '%s': the shapes %zu x %zu x %zu and %zu x %zu x %zu differ", type, name,
                     in[0].c, in[0].h, in[0].w, in[1].c, in[1].h, in[1].w);
}

enum cvy_status cvyi_shape_check(struct cvy_context *ctx, const char *type, const char *name,
                                 cvy_shape s)
{
    size_t n = (size_t)16 * 4 *
               sizeof(double); /* a block of images in double, with room for padded planes */
    if (s.c >= 1 && s.h >= 1 && s.w >= 1 && s.c <= CVYI_MAX_DIM && s.h <= CVYI_MAX_DIM &&
        s.w <= CVYI_MAX_DIM && cvyi_mul(n, s.c, &n) && cvyi_mul(n, s.h, &n) && cvyi_mul(n, s.w, &n))
        return CVY_OK;
    return cvyi_fail(
        ctx, CVY_E_SHAPE,
        "%s '%s': shape %lld x %lld x %lld (channels, rows, columns) is empty or too large", type,
        name, (long long)s.c, (long long)s.h, (long long)s.w);
}

size_t cvyi_kernel_parameters(cvy_shape w, size_t biases) { return w.n * w.c * w.h * w.w + biases; }

void cvyi_kernel_params(struct cvyi_list *list, const struct cvyi_node *node, cvy_shape weight,
                        size_t biases, struct cvyi_lowered *low)
{
    low->weight = cvyi_list_value(list, CVY_ROLE_WEIGHT, weight, "%s.weight", node->name);
    if (biases)
        low->bias = cvyi_list_value(list, CVY_ROLE_WEIGHT, (cvy_shape){ 1, biases, 1, 1 },
                                    "%s.bias", node->name);
}
