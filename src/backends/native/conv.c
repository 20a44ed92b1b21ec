/* Convolutions: which algorithm does which, by what it costs. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backends/native/algorithm.h"
#include "backends/native/wgrad.h"

#define ALGORITHM_AT(NAME, name) [CVY_ALGORITHM_##NAME] = &cvyi_native_##name,
static const struct native_algorithm *const algorithms[] = { CVY_ALGORITHMS(ALGORITHM_AT) };

#define ACCOUNT ((size_t)200) /* bytes of what is told of a choice */

struct operands {
    int x, y, weight, bias;
};

static struct operands operands(const struct cvy_op_desc *op)
{
    switch (op->kind) {
    case CVY_OP_CONV2D:
        return (struct operands){ op->in[CVY_CONV2D_X], op->out[CVY_CONV2D_Y], op->in[CVY_CONV2D_W],
                                  op->in[CVY_CONV2D_B] };
    case CVY_OP_CONV2D_BWD_DATA:
        return (struct operands){ op->out[CVY_CONV2D_BWD_DATA_DX], op->in[CVY_CONV2D_BWD_DATA_DY],
                                  op->in[CVY_CONV2D_BWD_DATA_W], -1 };
    default:
        return (struct operands){ op->in[CVY_CONV2D_BWD_WEIGHTS_X],
                                  op->in[CVY_CONV2D_BWD_WEIGHTS_DY],
                                  op->out[CVY_CONV2D_BWD_WEIGHTS_DW],
                                  op->out[CVY_CONV2D_BWD_WEIGHTS_DB] };
    }
}

static struct native_conv open_conv(const struct native *native, const struct cvy_plan *plan,
                                    const struct cvy_op_desc *op, const struct native_norm *norm)
{
    struct operands o = operands(op);
    struct native_conv conv = { .name = op->name, .weight = o.weight, .bias = o.bias };
    switch (op->kind) {
    case CVY_OP_CONV2D: conv.pass = NATIVE_FORWARD; break;
    case CVY_OP_CONV2D_BWD_DATA: conv.pass = NATIVE_DATA; break;
    default: conv.pass = NATIVE_WEIGHTS;
    }
    if (!norm || conv.pass == NATIVE_DATA) norm = NULL;
    conv.geometry = cvyi_native_geometry(native, plan, &op->u.conv, norm ? norm->x : o.x, o.y);
    conv.geometry.norm = norm;
    return conv;
}

/* What is told of a choice: the algorithm, and what all that can do it cost. */
struct account {
    char *text;
    size_t used, size;
};

static void __attribute__((format(printf, 2, 3)))
tell(struct account *account, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (account->text && account->used < account->size)
        account->used += (size_t)vsnprintf(account->text + account->used,
                                           account->size - account->used, format, args);
    va_end(args);
}

static enum cvy_algorithm asked_for(const struct cvy_plan *plan, const struct cvy_op_desc *op)
{
    enum cvy_algorithm asked = cvy_plan_algorithm(plan);
    return asked == CVY_ALGORITHM_AUTO ? (enum cvy_algorithm)op->u.conv.algorithm : asked;
}

enum { N_ALGORITHMS = sizeof algorithms / sizeof *algorithms };

/* What is asked for where it can do the pass, otherwise the cheapest; cost: of each that can, if
 * they were compared. */
static enum cvy_algorithm choose(const struct native *native, const struct native_conv *conv,
                                 enum cvy_algorithm asked, double cost[N_ALGORITHMS])
{
    enum cvy_algorithm best = CVY_ALGORITHM_DIRECT; /* does everything */
    if (asked != CVY_ALGORITHM_AUTO && algorithms[asked]->supports(conv)) return asked;
    for (int i = CVY_ALGORITHM_AUTO + 1; i < N_ALGORITHMS; i++) {
        if (!algorithms[i]->supports(conv)) continue;
        cost[i] = algorithms[i]->cost(native, conv);
        if (cost[i] < cost[best]) best = (enum cvy_algorithm)i;
    }
    return best;
}

/* NULL: out of memory. */
static const struct native_algorithm *choose_aloud(const struct native *native,
                                                   struct cvy_plan *plan,
                                                   const struct native_conv *conv,
                                                   enum cvy_algorithm asked)
{
    struct account account = { .text = cvy_plan_alloc(plan, ACCOUNT), .size = ACCOUNT };
    double cost[N_ALGORITHMS] = { 0 };
    if (!account.text) return NULL;
    cvy_plan_kernel(plan, account.text);
    enum cvy_algorithm best = choose(native, conv, asked, cost);
    tell(&account, "%s", cvy_algorithm_name(best));
    if (!cost[CVY_ALGORITHM_DIRECT]) {
        tell(&account, ", as asked");
        return algorithms[best];
    }
    for (int i = CVY_ALGORITHM_AUTO + 1; i < N_ALGORITHMS; i++)
        if (i != (int)best && cost[i] > 0)
            tell(&account, "; %s would cost %.2f times as much",
                 cvy_algorithm_name((enum cvy_algorithm)i), cost[i] / cost[best]);
    native_chose(plan, CHOICE_PANELS, best == CVY_ALGORITHM_PANELS);
    native_chose(plan, CHOICE_DEPTHWISE, best == CVY_ALGORITHM_DEPTHWISE);
    native_chose(plan, CHOICE_TRANSFORMED, best == CVY_ALGORITHM_TRANSFORMED);
    return algorithms[best];
}

bool cvyi_native_conv_normalises(struct native *native, const struct cvy_plan *plan,
                                 const struct cvy_op_desc *op, int x)
{
    const struct native_norm norm = { .x = x };
    struct native_conv conv = open_conv(native, plan, op, &norm);
    double cost[N_ALGORITHMS] = { 0 };
    const struct native_algorithm *chosen =
        algorithms[choose(native, &conv, asked_for(plan, op), cost)];
    return conv.pass != NATIVE_DATA && chosen->normalises && chosen->normalises(&conv);
}

/* Offsets inside a channel, and of taps in a packed tile, are 32 bits. */
static int take(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    (void)native, (void)n;
    struct operands o = operands(ops);
    const struct cvy_value *v[2] = { cvy_plan_value(plan, o.x), cvy_plan_value(plan, o.y) };
    for (int i = 0; i < 2; i++)
        if (v[i]->plane > INT_MAX / 4 / NATIVE_LANES || v[i]->shape.h * v[i]->shape.w > v[i]->plane)
            return 0;
    return ops->u.conv.kernel[0] * ops->u.conv.kernel[1] > INT_MAX / 64 ? 0 : 1;
}

/* The gradient of a bias that has none. */
struct no_sum {
    int bias;
    size_t c;
};

static void run_no_sum(const void *arg, const struct cvy_run *run, size_t task,
                       struct cvy_worker *worker)
{
    const struct no_sum *a = arg;
    (void)task, (void)worker;
    memset(run->buf[a->bias], 0, a->c * sizeof(float));
}

static enum cvy_status plan_no_sum(struct cvy_plan *plan, const char *name, int bias, size_t c)
{
    struct no_sum *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    *a = (struct no_sum){ bias, c };
    struct cvy_phase_desc phase = { .name = name, .run = run_no_sum, .arg = a, .parts = 1 };
    native_access(&phase, bias, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

static enum cvy_status plan_conv(struct native *native, struct cvy_plan *plan,
                                 const struct cvy_op_desc *ops, int n, size_t first)
{
    (void)n, (void)first;
    const struct native_norm *norm = native_norm_of(native, operands(ops).x);
    struct native_conv conv = open_conv(native, plan, ops, norm && norm->absent ? norm : NULL);
    if (conv.pass == NATIVE_WEIGHTS && conv.bias >= 0 &&
        cvyi_bn_dx_has_no_sum(plan, operands(ops).y)) {
        NATIVE_TRY(
            plan_no_sum(plan, ops->name, conv.bias, conv.geometry.groups * conv.geometry.oc));
        conv.bias = -1;
    }
    const struct native_algorithm *chosen = choose_aloud(native, plan, &conv, asked_for(plan, ops));
    if (!chosen) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    return chosen->plan(native, plan, &conv);
}

NATIVE_FAMILY(conv2d, take, plan_conv);
NATIVE_FAMILY(conv2d_bwd_data, take, plan_conv);
NATIVE_FAMILY(conv2d_bwd_weights, take, plan_conv);
