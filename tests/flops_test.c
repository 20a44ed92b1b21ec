/* How much a net has to do, in every place where the library says it: nodes, the ops of a compiled
 * program, its phases. One net with every operator, and its counts from formulas that are written
 * here once more; on the reference, on native fused and unfused, and on oneDNN's module where it is
 * there. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "convoy/convoy.h"
#include "models/models.h"
#include "ops/ops.h"

enum { BATCH = 20 };

static void need(bool good, const char *what, const char *name, double got, double want)
{
    if (!good) fail_msg("%s of %s: %.17g, expected %.17g", what, name, got, want);
}

/* A layer that multiplies: its multiply-adds an image, and its weights; trained: something before
 * it wants a gradient. */
struct layer {
    const char *name;
    double multiplies, weights;
    bool trained, bias;
    double in, out, channels;
};

static const struct layer layers[] = {
    /* 3 x 12 x 10 -> 8 channels of 3x2, stride 2 and 1, one row above and one column right: 6 x 10
     * outputs */
    { "first", 8. * 6 * 10 * (3 * 3 * 2), 8 * 3 * 3 * 2, false, true, 3 * 12 * 10, 8 * 6 * 10, 8 },
    /* 8 -> 12 in 4 groups of 2 -> 3, 3x3 dilated by 2, padded by 2: 6 x 10 */
    { "grouped", 12. * 6 * 10 * (2 * 9), 12 * 2 * 9, true, false, 8 * 6 * 10, 12 * 6 * 10, 12 },
    /* depthwise, 2x2, stride 2: 3 x 5 */
    { "deep", 12. * 3 * 5 * 4, 12 * 4, true, true, 12 * 6 * 10, 12 * 3 * 5, 12 },
    /* two branches of 12 and 14 channels, pooled to 2 x 4, joined by twos and doubled: 13 x 4 x 8
     * -> 5 channels of 3x2, stride 2 and 1: 9 x 9 */
    { "decon", 13. * 4 * 8 * (5 * 3 * 2), 13 * 5 * 3 * 2, true, false, 13 * 4 * 8, 5 * 9 * 9, 5 },
    { "fc", 7. * (5 * 9 * 9), 7 * 5 * 9 * 9, true, true, 5 * 9 * 9, 7, 7 },
};
enum { LAYERS = sizeof layers / sizeof *layers };

/* What others train; those that are named nowhere train nothing. */
static const struct {
    const char *name;
    size_t parameters;
} others[] = {
    { "norm", 2 * 8 }, { "slopes", 12 }, { "groups", 2 * 26 }, { "white", 2 * 26 }, { "shift", 26 },
};

static cvy_net *every_operator(cvy_context *ctx, cvy_tensor *logits)
{
    cvy_net *net;
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor x = cvy_input(net, 3, 12, 10);
    x = cvy_conv2d(
        net, x, "first",
        &(cvy_conv2d_desc){
            .out_channels = 8, .kernel = { 3, 2 }, .stride = { 2, 1 }, .pad = { 1, 0, 0, 1 } });
    x = cvy_batch_norm(net, x, "norm", NULL);
    x = cvy_activation(net, x, "act", &(cvy_act_desc){ .kind = CVY_TANH });
    x = cvy_conv2d(net, x, "grouped",
                   &(cvy_conv2d_desc){ .out_channels = 12,
                                       .kernel = { 3, 3 },
                                       .pad = { 2, 2, 2, 2 },
                                       .dilation = { 2, 2 },
                                       .groups = 4,
                                       .no_bias = true });
    x = cvy_prelu(net, cvy_relu(net, x), "slopes", NULL);
    x = cvy_conv2d(net, x, "deep",
                   &(cvy_conv2d_desc){
                       .out_channels = 12, .kernel = { 2, 2 }, .stride = { 2, 2 }, .groups = 12 });
    cvy_tensor sum = cvy_add(net, x, cvy_sigmoid(net, x), "sum");
    cvy_tensor padded = cvy_pad_channels(net, x, 1, 1, "padded");
    cvy_tensor both[] = { sum, padded };
    x = cvy_concat(net, both, 2, "both");
    x = cvy_pool2d(
        net, x, "pool",
        &(cvy_pool2d_desc){ .kind = CVY_POOL_MAX, .kernel = { 2, 2 }, .stride = { 1, 1 } });
    x = cvy_dropout(net, x, "drop", &(cvy_dropout_desc){ .p = 0.25 });
    x = cvy_group_norm(net, x, "groups", &(cvy_group_norm_desc){ .groups = 2 });
    x = cvy_whitening(net, x, "white", &(cvy_whitening_desc){ .channels = 2, .eps = 0.1 });
    x = cvy_rank(net, cvy_bias(net, x, "shift"), "rank", NULL);
    x = cvy_multiply(net, x, cvy_sigmoid(net, x), "product");
    x = cvy_maxout(net, x, "most", &(cvy_maxout_desc){ .size = 2, .kind = CVY_MAXOUT_MIXED });
    x = cvy_upsample(net, cvy_mean_subtract(net, x, "centred", NULL), "doubled",
                     &(cvy_upsample_desc){ .scale = { 2, 2 } });
    x = cvy_conv_transpose2d(
        net, x, "decon",
        &(cvy_conv_transpose2d_desc){
            .out_channels = 5, .kernel = { 3, 2 }, .stride = { 2, 1 }, .no_bias = true });
    x = cvy_flatten(net, x);
    *logits = cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = 7 });
    (void)cvy_tempered_softmax(net, *logits, "chances", 2);
    assert_int_equal(cvy_net_status(net), CVY_OK);
    return net;
}

static const struct layer *layer_of(const char *name)
{
    for (size_t i = 0; i < LAYERS; i++) {
        const size_t n = strlen(layers[i].name);
        if (!strncmp(name, layers[i].name, n) && (!name[n] || name[n] == '.')) return &layers[i];
    }
    return NULL;
}

static size_t trained_by(const char *name)
{
    const struct layer *l = layer_of(name);
    if (l) return (size_t)(l->weights + (l->bias ? l->channels : 0));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(others[i].name, name)) return others[i].parameters;
    return 0;
}

/* The net above has every kind of node that there is. */
static void check_kinds(const cvy_net *net)
{
    for (int kind = 0; kind < CVYI_NODE_KINDS; kind++) {
        const char *type = cvyi_operator((enum cvyi_node_kind)kind)->type;
        size_t met = 0;
        for (size_t i = 0; i < cvy_net_nodes(net); i++) {
            cvy_node_info node;
            assert_int_equal(cvy_net_node(net, i, &node), CVY_OK);
            met += !strcmp(node.type, type);
        }
        if (!met) fail_msg("no %s is in the net whose operations are counted", type);
    }
}

static void check_nodes(const cvy_net *net)
{
    size_t found = 0;
    for (size_t i = 0; i < cvy_net_nodes(net); i++) {
        cvy_node_info node;
        assert_int_equal(cvy_net_node(net, i, &node), CVY_OK);
        const struct layer *l = layer_of(node.name);
        const double want = l ? 2 * l->multiplies : 0, back = l && !l->trained ? want : 2 * want;
        need(node.flops_forward == want, "operations forward", node.name, node.flops_forward, want);
        need(node.flops_backward == back, "operations backward", node.name, node.flops_backward,
             back);
        found += l != NULL;
        need(node.parameters == trained_by(node.name), "parameters", node.name,
             (double)node.parameters, (double)trained_by(node.name));
    }
    assert_int_equal(found, LAYERS);
}

/* An op's operations, and its bytes as floats that lie in each operand and result once. */
static void check_op(const cvy_op_info *op, bool seen[LAYERS][3])
{
    static const char *const kinds[] = { "conv2d", "conv2d.dx", "conv2d.dw" };
    const struct layer *l = layer_of(op->name);
    size_t kind = 0;
    while (kind < 3 && strcmp(op->type, kinds[kind])) kind++;
    if (kind == 3 || !l) {
        need(op->flops == 0, "operations", op->name, op->flops, 0);
        return;
    }
    const double floats =
        BATCH * (l->in + l->out) + l->weights + (l->bias && kind != 1 ? l->channels : 0);
    need(op->flops == 2 * BATCH * l->multiplies, "operations", op->name, op->flops,
         2 * BATCH * l->multiplies);
    need(op->bytes == 4 * floats, "bytes", op->name, op->bytes, 4 * floats);
    seen[l - layers][kind] = true;
}

/* A phase that is all of one convolution has to move that op's operands and results, in floats or
 * doubles; whatever it is a part of, it does not have to move more. */
static void check_traffic(const cvy_trainer *t, const cvy_phase_info *phase, double float_bytes)
{
    const double moved = phase->bytes_read + phase->bytes_written;
    need(phase->near_read <= phase->bytes_read, "near", phase->name, phase->near_read,
         phase->bytes_read);
    need(phase->near_written <= phase->bytes_written, "near", phase->name, phase->near_written,
         phase->bytes_written);
    cvy_op_info op;
    if (phase->ops != 1) return;
    assert_int_equal(cvy_trainer_op(t, phase->first_op, &op), CVY_OK);
    if (op.flops == 0 || strcmp(op.type, "conv2d.dw") == 0 || phase->flops != op.flops) return;
    need(moved == op.bytes * float_bytes / 4, "traffic", phase->name, moved,
         op.bytes * float_bytes / 4);
}

static void check_program(cvy_net *net, cvy_tensor logits, const char *backends)
{
    cvy_trainer *t;
    bool seen[LAYERS][3] = { { false } };
    double of_ops = 0, of_phases = 0;
    assert_int_equal(
        cvy_trainer_create(net, logits,
                           &(cvy_trainer_options){ .batch = BATCH, .sgd = { .lr = 0.1 } }, &t),
        CVY_OK);
    for (size_t i = 0; i < cvy_trainer_ops(t); i++) {
        cvy_op_info op;
        assert_int_equal(cvy_trainer_op(t, i, &op), CVY_OK);
        check_op(&op, seen);
        of_ops += op.flops;
    }
    for (size_t i = 0; i < LAYERS; i++)
        for (size_t kind = 0; kind < 3; kind++)
            assert_int_equal(seen[i][kind], kind != 1 || layers[i].trained);
    /* The phases share the same operations among them: one that is not a convolution's may say what
     * it likes. */
    for (size_t i = 0; i < cvy_trainer_phases(t); i++) {
        cvy_phase_info phase;
        assert_int_equal(cvy_trainer_phase(t, i, &phase), CVY_OK);
        bool multiplies = false;
        for (size_t k = 0; k < phase.ops; k++) {
            cvy_op_info op;
            assert_int_equal(cvy_trainer_op(t, phase.first_op + k, &op), CVY_OK);
            multiplies |= op.flops > 0;
        }
        if (multiplies) of_phases += phase.flops;
        check_traffic(t, &phase, strcmp(phase.backend, "reference") ? 4 : 8);
    }
    need(of_phases == of_ops, "operations of all phases", backends, of_phases, of_ops);
    cvy_trainer_destroy(&t);
}

static void check(const char *backends, bool no_fusion)
{
    cvy_context *ctx;
    cvy_tensor logits;
    const cvy_context_options options = { .backends = backends,
                                          .threads = 2,
                                          .no_fusion = no_fusion };
    if (cvy_context_create(&options, &ctx)) { /* no module: it was not built */
        const char *path = getenv("CVY_BACKEND_PATH");
        if (!strstr(backends, "onednn") || !path) fail_msg("%s", cvy_message(ctx));
        print_message("%s: left out: %s\n", backends, cvy_message(ctx));
        cvy_context_destroy(&ctx);
        return;
    }
    cvy_net *net = every_operator(ctx, &logits);
    check_kinds(net);
    check_nodes(net);
    check_program(net, logits, backends);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

static void reference(void **state)
{
    (void)state;
    check("reference", false);
}

static void native(void **state)
{
    (void)state;
    check("native", false);
    check("native", true);
}

static void onednn(void **state)
{
    (void)state;
    check("onednn,native,reference", false);
    check("onednn,native,reference", true);
}

/* The bytes that the phases of the piece which begins with op `name` read and write. */
static void moved_by(const cvy_trainer *t, const char *name, cvy_phase_info *sum)
{
    *sum = (cvy_phase_info){ .name = name };
    for (size_t i = 0; i < cvy_trainer_phases(t); i++) {
        cvy_phase_info phase;
        cvy_op_info op;
        assert_int_equal(cvy_trainer_phase(t, i, &phase), CVY_OK);
        if (!phase.ops) continue;
        assert_int_equal(cvy_trainer_op(t, phase.first_op, &op), CVY_OK);
        if (strcmp(op.name, name) != 0) continue;
        sum->bytes_read += phase.bytes_read;
        sum->bytes_written += phase.bytes_written;
    }
}

/* Pixels that lie between windows need not be read, and what a fusion leaves out is not moved. */
static void traffic(void **state)
{
    enum { N = 16, C = 4, MAP = 9 * 9, HALF = 5 * 5, WEIGHTS = C * C };
    static const struct {
        const char *name;
        double read, written;
    } want[] = {
        { "first", 4 * (N * C * MAP + WEIGHTS), 4 * N * C * MAP },
        { "act", 4 * N * C * MAP, 4 * N * C * MAP },
        { "half", 4 * (N * C * HALF + WEIGHTS), 4 * N * C * HALF },
        { "half.dx", 4 * (N * C * HALF + WEIGHTS), 4 * N * C * MAP },
        { "half.weight.sgd", 4 * (2 * WEIGHTS), 4 * WEIGHTS },
    };
    (void)state;
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .backends = "native" }, &ctx), 0);
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    const cvy_conv2d_desc same = { .out_channels = C, .kernel = { 1, 1 }, .no_bias = true },
                          half = { .out_channels = C,
                                   .kernel = { 1, 1 },
                                   .stride = { 2, 2 },
                                   .no_bias = true };
    cvy_tensor x = cvy_conv2d(net, cvy_input(net, C, 9, 9), "first", &same);
    x = cvy_conv2d(net, cvy_activation(net, x, "act", &(cvy_act_desc){ .kind = CVY_TANH }), "half",
                   &half);
    x = cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = 7 });
    assert_int_equal(
        cvy_trainer_create(net, x, &(cvy_trainer_options){ .batch = N, .sgd = { .lr = 0.1 } }, &t),
        CVY_OK);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        cvy_phase_info sum;
        moved_by(t, want[i].name, &sum);
        need(sum.bytes_read == want[i].read, "bytes read", want[i].name, sum.bytes_read,
             want[i].read);
        need(sum.bytes_written == want[i].written, "bytes written", want[i].name, sum.bytes_written,
             want[i].written);
    }
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

/* As published: of torchvision's nets by its list of pre-trained weights, billions of multiply-adds
 * of an image of 224 x 224 with three decimals; of the others by their systems' own text, millions
 * of operations. `digit` is the last one that is said. */
static const struct {
    const char *name;
    size_t parameters;
    double flops, digit;
} published[] = {
    { "resnet18", 11689512, 2 * 1.814e9, 2e6 },   { "resnet50", 25557032, 2 * 4.089e9, 2e6 },
    { "densenet121", 7978856, 2 * 2.834e9, 2e6 }, { "mobilenet-v2", 3504872, 2 * 0.301e9, 2e6 },
    { "lenet-bn", 44878, 0.563e6, 1e3 },          { "lenet", 61706, 0.833e6, 1e3 },
    { "yann-lenet5", 3149580, 8.65e6, 1e4 },      { "yann-bn-before", 3164430, 11.03e6, 1e4 },
    { "tfbook", 233450, 68.96e6, 1e4 },
};

static void built_in_models(void **state)
{
    (void)state;
    cvy_context *ctx;
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .backends = "native" }, &ctx), 0);
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        struct model *model;
        cvy_net *net;
        cvy_tensor logits;
        char error[500];
        size_t parameters = 0;
        double flops = 0;
        if (model_load(published[i].name, NULL, &model, error, sizeof error) != MODEL_OK ||
            model_build(model, ctx, &net, &logits, error, sizeof error) != MODEL_OK)
            fail_msg("%s: %s", published[i].name, error);
        for (size_t k = 0; k < cvy_net_nodes(net); k++) {
            cvy_node_info node;
            assert_int_equal(cvy_net_node(net, k, &node), CVY_OK);
            parameters += node.parameters;
            flops += node.flops_forward;
        }
        need(parameters == published[i].parameters, "parameters", published[i].name,
             (double)parameters, (double)published[i].parameters);
        need(fabs(flops - published[i].flops) <= published[i].digit / 2, "operations",
             published[i].name, flops, published[i].flops);
        cvy_net_destroy(&net);
        model_free(&model);
    }
    cvy_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(traffic),
                                        cmocka_unit_test(built_in_models),
                                        cmocka_unit_test(reference), cmocka_unit_test(native),
                                        cmocka_unit_test(onednn) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
