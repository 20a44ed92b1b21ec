/* Planning is linear, and so is building a net: extreme shapes of every operator are planned by a
 * copy of the library that was compiled to count the basic blocks it executes (so a loop cannot be
 * forgotten, and a slow machine does not matter), and the count stays under
 *
 *     4 (100000 + 30 (pixels of both maps + taps + channels) + 6 taps * min(columns of both maps,
 *     columns of the kernel))
 *
 * The parenthesis is what GCC's release build executes at most; other compilers and sanitizers cut
 * code into more blocks, and what is superlinear is off by hundreds. The last term is the lists of
 * taps, one for each set of columns that reaches into the map. With --all every count is printed
 * beside its bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "convoy/convoy.h"

void __sanitizer_cov_trace_pc(void);
static uint64_t executed;
static bool print;

void __sanitizer_cov_trace_pc(void) { __atomic_fetch_add(&executed, 1, __ATOMIC_RELAXED); }

enum what { CONV, BN, ACT, POOL, DROPOUT, ADD, CONCAT, SOFTMAX, LOSS };
struct plan_case {
    enum what what; /* the operator */
    cvy_shape src;
    cvy_conv2d_desc conv;
    cvy_pool2d_desc pool;
};

#define C(...) .conv = { __VA_ARGS__ }
static const struct plan_case cases[] = {
    { .what = CONV,
      .src = { 16, 1, 56, 56 },
      C(.out_channels = 1, .kernel = { 51, 51 }, .pad = { 25, 25, 25, 25 }) },
    { .what = CONV,
      .src = { 16, 1, 128, 128 },
      C(.out_channels = 1, .kernel = { 61, 61 }, .pad = { 30, 30, 30, 30 }) },
    { .what = CONV,
      .src = { 16, 4, 96, 96 },
      C(.out_channels = 4, .kernel = { 95, 95 }, .pad = { 94, 94, 94, 94 }) },
    { .what = CONV,
      .src = { 1, 1, 1, 3000 },
      C(.out_channels = 1, .kernel = { 1, 2999 }, .pad = { 0, 1500, 0, 1500 }) },
    { .what = CONV,
      .src = { 1, 1, 3000, 1 },
      C(.out_channels = 1, .kernel = { 2999, 1 }, .pad = { 1500, 0, 1500, 0 }) },
    { .what = CONV,
      .src = { 1, 1, 500, 500 },
      C(.out_channels = 1, .kernel = { 3, 3 }, .stride = { 100, 100 }) },
    { .what = CONV,
      .src = { 1, 1, 1000, 1000 },
      C(.out_channels = 1, .kernel = { 3, 3 }, .stride = { 1, 1 }, .dilation = { 400, 400 },
        .pad = { 300, 300, 300, 300 }) },
    { .what = CONV,
      .src = { 1, 1, 600, 600 },
      C(.out_channels = 1, .kernel = { 40, 40 }, .stride = { 7, 11 }, .dilation = { 10, 12 },
        .pad = { 99, 99, 9, 9 }) },
    { .what = CONV,
      .src = { 1, 1, 1, 200000 },
      C(.out_channels = 1, .kernel = { 1, 1001 }, .stride = { 1, 1000 }) },
    { .what = CONV,
      .src = { 1, 1, 200000, 1 },
      C(.out_channels = 1, .kernel = { 1001, 1 }, .stride = { 1000, 1 }) },
    { .what = CONV,
      .src = { 1, 1, 2, 2 },
      C(.out_channels = 1, .kernel = { 2, 2 }, .pad = { 400, 400, 400, 400 }) },
    { .what = CONV,
      .src = { 1, 1, 2, 2 },
      C(.out_channels = 1, .kernel = { 2, 2 }, .stride = { 1000000, 1000000 }) },
    { .what = CONV,
      .src = { 16, 3, 512, 512 },
      C(.out_channels = 8, .kernel = { 7, 7 }, .pad = { 3, 3, 3, 3 }) },
    { .what = CONV, .src = { 16, 20000, 1, 1 }, C(.out_channels = 20000, .kernel = { 1, 1 }) },
    { .what = CONV,
      .src = { 1, 20000, 3, 3 },
      C(.out_channels = 20000, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 }, .groups = 20000) },
    { .what = CONV,
      .src = { 2000, 16, 4, 4 },
      C(.out_channels = 16, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 }) },
    { .what = POOL,
      .src = { 1, 1, 2000, 3 },
      .pool = { .kernel = { 1999, 3 }, .stride = { 1, 1 }, .pad = { 1998, 1, 1998, 1 } } },
    { .what = POOL,
      .src = { 1, 1, 2, 700 },
      .pool = { .kind = CVY_POOL_AVG,
                .kernel = { 700, 2 },
                .stride = { 1, 1 },
                .pad = { 699, 1, 699, 1 } } },
    { .what = POOL,
      .src = { 1, 1, 2, 3000 },
      .pool = { .kind = CVY_POOL_AVG,
                .kernel = { 3000, 2 },
                .stride = { 3000, 1 },
                .pad = { 2999, 1, 0, 1 } } },
    { .what = POOL,
      .src = { 1, 1, 1000, 1000 },
      .pool = { .kind = CVY_POOL_AVG, .kernel = { 1000, 1000 } } },
    { .what = BN, .src = { 16, 50000, 1, 1 } },
    { .what = BN, .src = { 16, 1, 300, 300 } },
    { .what = BN, .src = { 5000, 3, 2, 2 } },
    { .what = ACT, .src = { 16, 50000, 1, 1 } },
    { .what = ACT, .src = { 16, 1, 300, 300 } },
    { .what = DROPOUT, .src = { 16, 50000, 1, 1 } },
    { .what = ADD, .src = { 16, 1, 300, 300 } },
    { .what = ADD, .src = { 16, 50000, 1, 1 } },
    { .what = CONCAT, .src = { 16, 500, 3, 3 } },
    { .what = SOFTMAX, .src = { 16, 50000, 1, 1 } },
    { .what = LOSS, .src = { 5000, 1000, 1, 1 } },
};

static enum cvy_status create(cvy_context *ctx, const struct plan_case *c, enum cvy_pass pass,
                              cvy_op **op)
{
    cvy_shape part[64];
    for (size_t i = 0; i < 64; i++) part[i] = c->src;
    switch (c->what) {
    case CONV: return cvy_op_conv2d(ctx, &c->conv, c->src, pass, op);
    case BN: return cvy_op_batch_norm(ctx, NULL, c->src, pass, op);
    case ACT: return cvy_op_activation(ctx, &(cvy_act_desc){ .kind = CVY_TANH }, c->src, pass, op);
    case POOL: return cvy_op_pool2d(ctx, &c->pool, c->src, pass, op);
    case DROPOUT: return cvy_op_dropout(ctx, NULL, c->src, pass, op);
    case ADD: return cvy_op_add(ctx, c->src, op);
    case CONCAT: return cvy_op_concat(ctx, part, 64, pass, op);
    case SOFTMAX: return cvy_op_softmax(ctx, c->src, op);
    case LOSS: return cvy_op_loss(ctx, NULL, c->src, op);
    }
    return CVY_E_ARG;
}

static double least(double a, double b) { return a < b ? a : b; }

static double bound(const struct plan_case *c, cvy_shape dst)
{
    const size_t *kernel = c->what == POOL ? c->pool.kernel : c->conv.kernel;
    double pixels = (double)(c->src.h * c->src.w) + (double)(dst.h * dst.w),
           taps = (double)(kernel[0] * kernel[1]);
    double columns = (double)(c->src.w + dst.w);
    return 4 * (1e5 + 30 * (pixels + taps + (double)(c->src.c + dst.c)) +
                6 * taps * least(columns, (double)kernel[1]));
}

static void planning_is_linear(void **state)
{
    (void)state;
    cvy_context *ctx;
    size_t slow = 0;
    assert_int_equal(
        cvy_context_create(
            &(cvy_context_options){ .threads = 1, .backends = "native", .strict = true }, &ctx),
        CVY_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (enum cvy_pass pass = CVY_FORWARD; pass <= CVY_BACKWARD_WEIGHTS; pass++) {
            cvy_op *op;
            if (cases[i].what >= ADD && pass != CVY_FORWARD && cases[i].what != CONCAT) continue;
            if (pass == CVY_BACKWARD_WEIGHTS && cases[i].what != CONV) continue;
            executed = 0;
            enum cvy_status status = create(ctx, &cases[i], pass, &op);
            double n = (double)executed;
            if (status) fail_msg("case %zu, pass %d: %s", i, (int)pass, cvy_message(ctx));
            double most = bound(&cases[i], cvy_op_dst_shape(op));
            if (print) print_message("case %zu, pass %d: %.0f of %.0f\n", i, (int)pass, n, most);
            if (n < 100) fail_msg("nothing was counted");
            if (n > most) {
                slow++;
                print_message("case %zu, pass %d: planned in %.0f steps, at most %.0f\n", i,
                              (int)pass, n, most);
            }
            cvy_op_destroy(&op);
        }
    cvy_context_destroy(&ctx);
    assert_int_equal(slow, 0);
}

/* Layers whose names are the user's and those that the net makes for others, which avoid them; all
 * of them are different. 250 blocks a layer are executed, of a list that is searched 30000 would be
 * several thousands. */
static void nets_are_built_in_linear_time(void **state)
{
    enum { LAYERS = 30000 };
    (void)state;
    cvy_context *ctx;
    cvy_net *net;
    char name[32];
    assert_int_equal(
        cvy_context_create(&(cvy_context_options){ .threads = 1, .backends = "native" }, &ctx),
        CVY_OK);
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor x = cvy_input(net, 1, 1, 1);
    const uint64_t before = executed;
    for (int i = 0; i < LAYERS; i++) {
        snprintf(name, sizeof name, "relu%d", LAYERS / 2 + i);
        x = cvy_activation(net, x, i < LAYERS / 2 ? name : NULL,
                           &(cvy_act_desc){ .kind = CVY_RELU });
    }
    const uint64_t each = (executed - before) / LAYERS;
    assert_int_equal(cvy_net_status(net), CVY_OK);
    cvy_node_info node;
    assert_int_equal(cvy_net_node(net, LAYERS / 2 + 1, &node), CVY_OK); /* the first without one */
    assert_string_equal(node.name, "relu30000");
    if (print) print_message("a layer of many: %llu blocks\n", (unsigned long long)each);
    assert_true(each > 0 && each < 1500);
    assert_int_equal(cvy_activation(net, x, "relu15007", &(cvy_act_desc){ .kind = CVY_RELU }),
                     CVY_NO_TENSOR);
    assert_non_null(strstr(cvy_message(ctx), "another layer has this name"));
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

int main(int argc, char **argv)
{
    print = argc > 1 && !strcmp(argv[1], "--all");
    const struct CMUnitTest tests[] = { cmocka_unit_test(planning_is_linear),
                                        cmocka_unit_test(nets_are_built_in_linear_time) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
