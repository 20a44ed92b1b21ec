/* Convolutions: which algorithm does which, by what it costs. */
#include <limits.h>
#include <string.h>

#include "backends/native/algorithm.h"

#define ALGORITHM_AT(NAME, name) [CVY_ALGORITHM_##NAME] = &cvyi_native_##name,
static const struct native_algorithm *const algorithms[] = { CVY_ALGORITHMS(ALGORITHM_AT) };

static struct native_conv open_conv(const struct native *native, const struct cvy_plan *plan,
                                    const struct cvy_op_desc *op)
{
    struct native_conv conv = { .name = op->name, .weight = op->in[1], .bias = -1 };
    int x = op->in[0], y = op->out[0];
    switch (op->kind) {
    case CVY_OP_CONV2D:
        conv.pass = NATIVE_FORWARD;
        conv.bias = native_in(op, 2);
        break;
    case CVY_OP_CONV2D_BWD_DATA:
        conv.pass = NATIVE_DATA;
        x = op->out[0];
        y = op->in[0];
        break;
    default:
        conv.pass = NATIVE_WEIGHTS;
        y = op->in[1];
        conv.weight = op->out[0];
        conv.bias = native_out(op, 1);
    }
    conv.geometry = cvyi_native_geometry(native, plan, &op->u.conv, x, y);
    return conv;
}

static const struct native_algorithm *choose(const struct native *native,
                                             const struct cvy_plan *plan,
                                             const struct native_conv *conv)
{
    const struct native_algorithm *asked = algorithms[cvy_plan_algorithm(plan)], *best = NULL;
    double least = 0;
    if (asked && asked->supports(conv)) return asked;
    for (size_t i = CVY_ALGORITHM_AUTO + 1; i < sizeof algorithms / sizeof *algorithms; i++) {
        if (!algorithms[i]->supports(conv)) continue;
        double cost = algorithms[i]->cost(native, conv);
        if (best && cost >= least) continue;
        best = algorithms[i];
        least = cost;
    }
    native_chose(plan, CHOICE_PANELS, best == &cvyi_native_panels);
    return best;
}

/* Offsets inside a channel, and of taps in a packed tile, are 32 bits. */
static int take(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    (void)native, (void)n;
    int last = ops->kind == CVY_OP_CONV2D_BWD_WEIGHTS ? ops->in[1] : ops->out[0];
    const struct cvy_value *v[2] = { cvy_plan_value(plan, ops->in[0]), cvy_plan_value(plan, last) };
    for (int i = 0; i < 2; i++)
        if (v[i]->plane > INT_MAX / 4 / NATIVE_LANES || v[i]->shape.h * v[i]->shape.w > v[i]->plane)
            return 0;
    return ops->u.conv.kernel[0] * ops->u.conv.kernel[1] > INT_MAX / 64 ? 0 : 1;
}

static enum cvy_status plan_conv(struct native *native, struct cvy_plan *plan,
                                 const struct cvy_op_desc *ops, int n, size_t first)
{
    (void)n, (void)first;
    struct native_conv conv = open_conv(native, plan, ops);
    return choose(native, plan, &conv)->plan(native, plan, &conv);
}

const struct native_family cvyi_native_conv = { take, plan_conv };
