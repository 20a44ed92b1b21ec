/* whitening (norm.c says which ops it becomes). What the statistics of a group hold is said in
 * ops.h. */
#include <float.h>
#include <string.h>

#include "ops/operators.h"

/* Of a group; its matrices are made by one thread. */
#define MOST_CHANNELS ((size_t)1024)
#define MOST_STEPS ((size_t)100)

static enum cvy_status check_channels(struct cvy_context *ctx, const char *name,
                                      cvy_whitening_desc *d, size_t c)
{
    if (d->channels == 0) {
        d->channels = d->kind == CVY_WHITENING_ZCA ? 32 : 64;
        if (d->channels > c) d->channels = c;
        while (c % d->channels) d->channels--;
    }
    if (d->channels > c || c % d->channels != 0)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "whitening '%s': groups of %zu channels, which do not divide the %zu",
                         name, d->channels, c);
    if (d->channels > MOST_CHANNELS)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "whitening '%s': groups of %zu channels, expected at most %zu", name,
                         d->channels, MOST_CHANNELS);
    return CVY_OK;
}

static enum cvy_status infer(struct cvy_context *ctx, struct cvyi_node *node, const cvy_shape *in)
{
    cvy_whitening_desc *d = &node->u.whitening;
    const char *name = node->name;
    node->out = in[0];
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_whitening_desc, d));
    if ((unsigned)d->kind > CVY_WHITENING_NEWTON)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "whitening '%s': kind is %d, expected CVY_WHITENING_ZCA or _NEWTON", name,
                         (int)d->kind);
    if (d->kind == CVY_WHITENING_ZCA && d->steps != 0)
        return cvyi_fail(ctx, CVY_E_ARG, "whitening '%s': steps is %zu, but ZCA has none", name,
                         d->steps);
    if (d->kind == CVY_WHITENING_NEWTON && d->steps == 0) d->steps = 5;
    if (d->eps == 0) d->eps = 1e-5;
    if (d->momentum == 0) d->momentum = 0.1;
    if (d->no_affine) d->no_gamma = d->no_beta = true;
    d->no_affine = d->no_gamma && d->no_beta;
    if (d->steps > MOST_STEPS)
        return cvyi_fail(ctx, CVY_E_ARG, "whitening '%s': steps is %zu, expected at most %zu", name,
                         d->steps, MOST_STEPS);
    if (!(d->eps >= (double)FLT_MIN && d->eps <= (double)FLT_MAX))
        return cvyi_fail(ctx, CVY_E_ARG,
                         "whitening '%s': eps is %g, expected a positive finite number (0: 1e-5)",
                         name, d->eps);
    if (!(d->momentum > 0 && d->momentum <= 1))
        return cvyi_fail(
            ctx, CVY_E_ARG,
            "whitening '%s': momentum is %g, expected more than 0 and at most 1 (0: 0.1)", name,
            d->momentum);
    return check_channels(ctx, name, d, in[0].c);
}

static size_t parameters(const struct cvyi_node *node, const cvy_shape *in)
{
    return ((size_t)!node->u.whitening.no_gamma + (size_t)!node->u.whitening.no_beta) * in[0].c;
}

static void params(struct cvyi_list *list, const struct cvyi_node *node, const cvy_shape *in,
                   struct cvyi_lowered *low)
{
    const cvy_whitening_desc *d = &node->u.whitening;
    cvy_shape c = { 1, in[0].c, 1, 1 };
    size_t matrices = d->shared ? 1 : in[0].c / d->channels;
    if (!d->no_gamma)
        low->weight = cvyi_list_value(list, CVY_ROLE_WEIGHT, c, "%s.weight", node->name);
    if (!d->no_beta) low->bias = cvyi_list_value(list, CVY_ROLE_WEIGHT, c, "%s.bias", node->name);
    c.c = matrices * d->channels;
    low->running_mean = cvyi_list_value(list, CVY_ROLE_RUNNING, c, "%s.running_mean", node->name);
    cvy_shape matrix = { 1, matrices, d->channels, d->channels };
    low->running_var =
        cvyi_list_value(list, CVY_ROLE_RUNNING, matrix, "%s.running_matrix", node->name);
}

static double start(const struct cvyi_node *node, const char *parameter, size_t e)
{
    size_t n = node->u.whitening.channels;
    if (!strcmp(parameter, "running_matrix")) return e % (n * n) % (n + 1) == 0 ? 1 : 0;
    return !strcmp(parameter, "weight") ? 1 : 0;
}

static void describe(struct cvy_op_desc *op, const struct cvyi_node *node)
{
    op->u.whitening = node->u.whitening;
}

static struct cvyi_norm norm_of(const struct cvyi_node *node)
{
    struct cvyi_whitening w = cvyi_whitening_of(&node->u.whitening, node->out);
    return (struct cvyi_norm){ .stats = CVY_OP_WHITEN_STATS,
                               .apply = CVY_OP_WHITEN_APPLY,
                               .infer = CVY_OP_WHITEN_INFER,
                               .infer_bwd = CVY_OP_WHITEN_INFER_BWD,
                               .reduce = CVY_OP_WHITEN_BWD_REDUCE,
                               .data = CVY_OP_WHITEN_BWD_DATA,
                               .describe = describe,
                               .stats_shape = { 1, w.matrices * w.stats, 1, 1 },
                               .sums_shape = { 1, w.matrices * w.sums + node->out.c, 1, 1 },
                               .frozen = node->u.whitening.frozen };
}

static void forward(struct cvyi_list *list, const struct cvyi_node *node, size_t n, bool training,
                    struct cvyi_lowered *low)
{
    struct cvyi_norm norm = norm_of(node);
    cvyi_norm_forward(list, node, &norm, n, training, low);
}

static void backward(struct cvyi_list *list, const struct cvyi_node *node, struct cvyi_lowered *low,
                     int dy, const bool *want_dx, int *dx)
{
    struct cvyi_norm norm = norm_of(node);
    int made = cvyi_norm_backward(list, node, &norm, low, dy, want_dx[0]);
    if (want_dx[0]) dx[0] = made;
}

struct cvyi_whitening cvyi_whitening_of(const cvy_whitening_desc *d, cvy_shape x)
{
    struct cvyi_whitening w = { .of = { .newton = d->kind == CVY_WHITENING_NEWTON,
                                        .n = d->channels,
                                        .steps = d->steps,
                                        .eps = d->eps },
                                .groups = x.c / d->channels };
    size_t n = w.of.n;
    w.matrices = d->shared ? 1 : w.groups;
    w.folds = w.groups / w.matrices;
    w.stats = n + n * n + cvyi_whiten_state(&w.of);
    w.sums = n * n + cvyi_whiten_work(&w.of);
    return w;
}

const struct cvyi_operator cvyi_operator_whitening = {
    .type = "whitening",
    .named = true,
    .own_stats = true,
    .infer = infer,
    .parameters = parameters,
    .params = params,
    .start = start,
    .forward = forward,
    .backward = backward,
};
