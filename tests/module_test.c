/* Backends in modules: one that a third party could have written computes, and each way of being no
 * module, or not the one that was asked for, has its sentence. With oneDNN's module, whole nets on
 * it follow native.
 *
 *   module_test MODULES   MODULES: the directory with the modules of tests/modules */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convoy/backend.h"
#include "convoy/convoy.h"
#include "models/models.h"

static const char *modules;

static void refused(const char *backends, enum cvy_status status, const char *a, const char *b)
{
    cvy_context *ctx;
    assert_int_equal(
        cvy_context_create(&(cvy_context_options){ .backends = backends, .backend_path = modules },
                           &ctx),
        status);
    if (!strstr(cvy_message(ctx), a) || !strstr(cvy_message(ctx), b))
        fail_msg("\"%s\" says neither \"%s\" nor \"%s\"", cvy_message(ctx), a, b);
    assert_null(strchr(cvy_message(ctx), '\n'));
    cvy_context_destroy(&ctx);
}

static void what_is_no_module_is_refused(void **state)
{
    (void)state;
    refused("nowhere", CVY_E_ARG, "unknown backend \"nowhere\"", modules);
    refused("native,nowhere", CVY_E_ARG, "convoy-nowhere.so", "CVY_BACKEND_PATH");
    refused("../adder", CVY_E_ARG, "unknown backend \"../adder\"", "native, reference");
    refused("", CVY_E_ARG, "1 to", "characters");
    refused("broken", CVY_E_BACKEND, "backend \"broken\" cannot be loaded", "convoy-broken.so");
    refused("alien", CVY_E_BACKEND, "is not a module", "cvy_module");
    refused("params", CVY_E_BACKEND, "backend params wants parameters in layout 3 (opaque)",
            "plain or plain64");
    refused("lacks", CVY_E_BACKEND, "backend lacks lacks a function", "take");
    refused("liar", CVY_E_BACKEND, "holds backend \"adder\"", "not \"liar\"");
    refused("adder,adder", CVY_E_ARG, "\"adder\"", "twice");
}

/* However many directories were looked into, the message says so in the room that it has. */
static void long_searches_are_told(void **state)
{
    (void)state;
    char path[16 * 63 + 1] = "";
    for (int i = 0; i < 16; i++) snprintf(path + 63 * i, 64, "%s/%061d", i ? ":" : "/", i);
    cvy_context *ctx;
    assert_int_equal(
        cvy_context_create(&(cvy_context_options){ .backends = "nowhere", .backend_path = path },
                           &ctx),
        CVY_E_ARG);
    char want[512];
    snprintf(want, sizeof want,
             "convoy-nowhere.so in //%061d, /%061d, /%061d, ...; CVY_BACKEND_PATH names further "
             "directories",
             0, 1, 2);
    if (!strstr(cvy_message(ctx), want)) fail_msg("\"%s\"", cvy_message(ctx));
    cvy_context_destroy(&ctx);
}

/* Nothing of a module of another version is believed but the number; one may call what this library
 * does not have. */
static void other_versions_are_refused(void **state)
{
    (void)state;
    char newer[32], older[32];
    snprintf(newer, sizeof newer, "the newer version %d", CVY_BACKEND_ABI);
    snprintf(older, sizeof older, "the older version %d", CVY_BACKEND_ABI);
    refused("old", CVY_E_BACKEND, "version 1 of the contract", newer);
    refused("new", CVY_E_BACKEND, "version 1000 of the contract", older);
    refused("newer", CVY_E_BACKEND, "version 1000 of the contract", "convoy-newer.so");
    refused("hybrid", CVY_E_BACKEND, "cvy_plan_of_tomorrow", "build the two from one release");
}

/* A sum whose operands native has written, and whose result it reads. */
static enum cvy_status compile_sum(cvy_context *ctx)
{
    cvy_net *net;
    cvy_trainer *trainer = NULL;
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor x = cvy_input(net, 3, 6, 6), y;
    x = cvy_conv2d(
        net, x, "c1",
        &(cvy_conv2d_desc){ .out_channels = 4, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 } });
    y = cvy_sigmoid(
        net, cvy_conv2d(net, x, "c2", &(cvy_conv2d_desc){ .out_channels = 4, .kernel = { 1, 1 } }));
    x = cvy_linear(net, cvy_add(net, x, y, "sum"), "fc", &(cvy_linear_desc){ .out_features = 3 });
    enum cvy_status status =
        cvy_trainer_create(net, x, &(cvy_trainer_options){ .batch = 20, .sgd.lr = 0.1 }, &trainer);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    return status;
}

/* What a backend claims is checked, and what is false is told with the backend's name. */
static void false_claims_are_refused(void **state)
{
    static const struct {
        const char *lie, *told;
    } lies[] = {
        { "opens", "backend false fails at opening with status 5 and does not say why" },
        { "buffer while opening", "backend false makes buffer early outside of its plan" },
        { "phase while asked", "phase early of backend false is appended outside of its plan" },
        { "takes more", "backend false takes 5 ops from sum on and was offered 4" },
        { "takes less", "backend false takes -1 ops from sum on" },
        { "declines later", "backend false took sum and then declined it" },
        { "reorder", ".reorder, between its own layout and plain" },
        { "silent", "backend false fails at sum with status 5 and does not say why" },
        { "no phases", "phase sum.reorder of backend false reads sum, which nothing has written" },
        { "reorder writes nothing", ".reorder and no phase of it writes " },
        { "lays out an operand", ", which is no result of sum" },
        { "lays out nothing", "backend false lays out sum in 0 bytes" },
        { "lays out what is none",
          "backend false lays out value 999 (none), which is not its own" },
        { "refreshes an activation", "(sum), which is no parameter" },
        { "a buffer too large", "backend false makes buffer huge of " },
        { "no tasks", "phase sum of backend false has no tasks" },
        { "no function", "phase sum of backend false has no tasks" },
        { "too many tasks",
          "phase sum of backend false has 17179869184 tasks, and 2^32 - 1 is the most" },
        { "tasks overflow", "phase sum of backend false has no tasks" },
        { "gate alone", "phase sum of backend false is a gate and alone" },
        { "gate with blocks", "phase sum of backend false is a gate and has blocks" },
        { "cell without blocks", "by cells, and has no grid of blocks" },
        { "scratch", "bytes of scratch for every worker" },
        { "flops", "phase sum of backend false has -1 FLOPs" },
        { "too many accesses", "phase sum of backend false has 1000 accesses, and 72 is the most" },
        { "unknown value", "phase sum of backend false names value 12345, which is none" },
        { "negative value", "phase sum of backend false names value -1, which is none" },
        { "unknown access", "in way 9, which is none" },
        { "written twice", "phase sum of backend false names sum twice as what it writes" },
        { "reads lanes", "which lies in a layout that is not its own: lanes" },
        { "writes a weight",
          "phase sum of backend false writes fc.bias, which is no result of sum" },
        { "in place of nothing",
          "phase sum of backend false would write in place value -7, which is none" },
        { "nothing in place",
          "phase sum of backend false would write in place value 54321, which is none" },
        { "in place by all", "and does not read it by cells" },
        { "in place of what else is read", "and does not read it by cells" },
        { "in place by writing all",
          "phase sum of backend false would write sum in place and does not write it by cells" },
        { "in place of less",
          "phase sum of backend false would write sum, 11584 bytes, in place of " },
        { "", "" },
    };
    cvy_context_options o = { .backends = "false,native", .backend_path = modules, .threads = 2 };
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        cvy_context *ctx;
        setenv("CVYI_LIE", lies[i].lie, 1);
        assert_int_equal(cvy_context_create(&o, &ctx), CVY_OK);
        enum cvy_status status = compile_sum(ctx);
        if (status != (*lies[i].told ? CVY_E_BACKEND : CVY_OK) ||
            !strstr(cvy_message(ctx), lies[i].told))
            fail_msg("%s: status %d, \"%s\", expected \"%s\"", lies[i].lie, (int)status,
                     cvy_message(ctx), lies[i].told);
        cvy_context_destroy(&ctx);
    }
    unsetenv("CVYI_LIE");
}

static void what_is_available_is_listed(void **state)
{
    (void)state;
    cvy_context *ctx;
    char names[256], again[256];
    assert_int_equal(
        cvy_context_create(
            &(cvy_context_options){ .backends = "reference", .backend_path = modules }, &ctx),
        CVY_OK);
    assert_int_equal(cvy_context_available(ctx, names, sizeof names), CVY_OK);
    assert_int_equal(strncmp(names, "native,reference,", 17), 0);
    assert_non_null(strstr(names, ",adder"));
    assert_null(strstr(names, "alien"));
    assert_string_equal(cvy_message(ctx), ""); /* those that cannot be opened are no error */
    assert_int_equal(cvy_context_available(ctx, again, strlen(names) + 1), CVY_OK);
    assert_string_equal(names, again);
    for (size_t size = strlen(names); size > 0; size--) {
        memset(again, 'x', sizeof again);
        assert_int_equal(cvy_context_available(ctx, again, size), CVY_E_ARG);
        assert_true(strlen(again) < size && again[size] == 'x');
    }
    assert_int_equal(cvy_context_available(ctx, again, 0), CVY_E_ARG);
    assert_int_equal(cvy_context_available(NULL, again, sizeof again), CVY_E_ARG);
    cvy_context_destroy(&ctx);
}

/* Strings of the options may go as soon as there is a context: modules are opened later, too. */
static void options_are_copied(void **state)
{
    (void)state;
    char path[1024], backends[] = "adder,native";
    snprintf(path, sizeof path, "%s", modules);
    cvy_context *ctx;
    cvy_op *op;
    assert_int_equal(
        cvy_context_create(&(cvy_context_options){ .backends = backends, .backend_path = path },
                           &ctx),
        CVY_OK);
    memset(path, 'x', sizeof path - 1);
    memset(backends, 'x', sizeof backends - 1);
    assert_string_equal(cvy_context_backends(ctx), "adder,native");
    if (cvy_op_add(ctx, (cvy_shape){ 1, 1, 2, 2 }, &op)) fail_msg("%s", cvy_message(ctx));
    assert_string_equal(cvy_op_backend(op), "adder");
    cvy_op_destroy(&op);
    cvy_context_destroy(&ctx);
}

static void a_module_computes(void **state)
{
    (void)state;
    cvy_context *ctx;
    cvy_op *op;
    enum { N = 5 * 3 * 20 * 20 };
    static float a[N], b[N], y[N];
    for (size_t i = 0; i < N; i++) {
        a[i] = (float)i;
        b[i] = (float)(2 * i);
    }
    cvy_context_options o = { .backends = "adder,native", .backend_path = modules, .threads = 2 };
    assert_int_equal(cvy_context_create(&o, &ctx), CVY_OK);
    assert_int_equal(cvy_op_add(ctx, (cvy_shape){ 5, 3, 20, 20 }, &op), CVY_OK);
    assert_string_equal(cvy_op_backend(op), "adder");
    assert_int_equal(cvy_op_run(op, &(cvy_op_args){ .src = a, .src2 = b, .dst = y }), CVY_OK);
    for (size_t i = 0; i < N; i++) assert_true(y[i] == 3 * (float)i);
    cvy_op_destroy(&op);
    assert_int_equal(cvy_op_softmax(ctx, (cvy_shape){ 5, 3, 20, 20 }, &op), CVY_OK);
    assert_string_equal(cvy_op_backend(op), "native"); /* what it declines falls through */
    cvy_op_destroy(&op);
    cvy_context_destroy(&ctx);
    o.strict = true;
    assert_int_equal(cvy_context_create(&o, &ctx), CVY_OK);
    assert_int_equal(cvy_op_softmax(ctx, (cvy_shape){ 5, 3, 20, 20 }, &op), CVY_E_UNSUPPORTED);
    assert_non_null(strstr(cvy_message(ctx), "adder, and strict is set"));
    cvy_context_destroy(&ctx);
}

/* --------------------------------------------------------------------------------------- oneDNN */

static void skip_onednn(void)
{
    print_message("left out: the oneDNN module: not built (Debian: libdnnl-dev)\n");
    skip();
}

/* A context on oneDNN alone; NULL: this build has no module. */
static cvy_context *onednn(const char *backends, enum cvy_isa isa, bool no_fusion)
{
    cvy_context *ctx;
    cvy_context_options o = {
        .backends = backends, .threads = 2, .isa = isa, .no_fusion = no_fusion
    };
    enum cvy_status status = cvy_context_create(&o, &ctx);
    if (status == CVY_OK) return ctx;
    assert_non_null(strstr(cvy_message(ctx), "convoy-onednn.so in"));
    cvy_context_destroy(&ctx);
    return NULL;
}

struct net {
    cvy_context *ctx;
    struct model *model;
    cvy_net *net;
    cvy_tensor logits;
    cvy_trainer *trainer;
};

static void open_net(struct net *n, cvy_context *ctx, const char *name, size_t batch, double lr,
                     double momentum)
{
    char error[512];
    *n = (struct net){ .ctx = ctx };
    assert_int_equal(model_load(name, NULL, &n->model, error, sizeof error), MODEL_OK);
    assert_int_equal(model_build(n->model, ctx, &n->net, &n->logits, error, sizeof error),
                     MODEL_OK);
    cvy_trainer_options o = { .batch = batch,
                              .sgd = { .lr = lr, .momentum = momentum, .weight_decay = 1e-4 },
                              .init = { .weights = CVY_INIT_XAVIER_UNIFORM } };
    if (cvy_trainer_create(n->net, n->logits, &o, &n->trainer))
        fail_msg("%s: %s", name, cvy_message(ctx));
}

static void close_net(struct net *n)
{
    cvy_trainer_destroy(&n->trainer);
    cvy_net_destroy(&n->net);
    model_free(&n->model);
    cvy_context_destroy(&n->ctx);
}

static uint32_t state32 = 1;
static uint32_t any(void) { return (state32 = state32 * 1664525u + 1013904223u) >> 8; }

/* Steps of both on the same batches, a short one now and then; the mean losses must stay within
 * `bound`. */
static void follow(const char *name, size_t batch, size_t steps, double lr, double momentum,
                   bool no_fusion, double bound)
{
    enum { IMAGES = 512 };
    cvy_context *ctx = onednn("onednn,native", CVY_ISA_AUTO, no_fusion), *native;
    if (!ctx) skip_onednn();
    /* transformed sums are others from the start, and two trainings of a resnet part from there */
    const cvy_context_options direct = { .threads = 2,
                                         .backends = "native",
                                         .algorithm = CVY_ALGORITHM_DIRECT };
    assert_int_equal(cvy_context_create(&direct, &native), CVY_OK);
    struct net a, b;
    open_net(&a, ctx, name, batch, lr, momentum);
    open_net(&b, native, name, batch, lr, momentum);
    size_t size = a.model->input[0] * a.model->input[1] * a.model->input[2];
    uint8_t *images = malloc(IMAGES * size), labels[IMAGES];
    uint32_t index[IMAGES];
    assert_non_null(images);
    for (size_t i = 0; i < IMAGES; i++) { /* ten patterns and noise: there is something to learn */
        labels[i] = (uint8_t)(any() % 10);
        for (size_t k = 0; k < size; k++)
            images[i * size + k] = (uint8_t)((k * (labels[i] + 3u) % 97u) + any() % 128);
    }
    double worst = 0, last = 0;
    for (size_t s = 0; s < steps; s++) {
        cvy_step_result ra, rb;
        size_t n = s % 5 == 4 ? batch / 3 + 1 : batch;
        for (size_t i = 0; i < n; i++) index[i] = any() % IMAGES;
        const cvy_batch step = {
            .images = images, .dtype = CVY_U8, .labels8 = labels, .index = index, .n = n
        };
        if (cvy_trainer_step(a.trainer, &step, &ra)) fail_msg("%s", cvy_message(ctx));
        assert_int_equal(cvy_trainer_step(b.trainer, &step, &rb), CVY_OK);
        double error = fabs(ra.loss_sum - rb.loss_sum) / (double)n;
        if (error > worst) worst = error;
        last = rb.loss_sum / (double)n;
        if (!(error <= bound))
            fail_msg("%s, step %zu: loss %.9g, native's %.9g", name, s, ra.loss_sum / (double)n,
                     last);
    }
    print_message("  %s, %zu steps: losses differ by %.2g at most, the last is %.3g\n", name, steps,
                  worst, last);
    free(images);
    close_net(&a);
    close_net(&b);
}

static void lenet_follows_native(void **state)
{
    (void)state;
    follow("lenet-bn", 64, 100, 0.1, 0, false, 2e-2);
}
static void resnet_follows_native(void **state)
{
    (void)state;
    follow("resnet20", 16, 8, 0.01, 0.9, false, 2e-2);
}
static void lenet_follows_native_without_fusion(void **state)
{
    (void)state;
    follow("lenet-bn", 32, 20, 0.1, 0, true, 2e-2);
}
static void vgg_takes_a_step(void **state)
{
    (void)state;
    follow("vgg11-bn", 8, 2, 0.1, 0.9, false, 2e-2);
}

/* A predictor of its own, small and with every kind of place for a batch norm. Phases: how many its
 * program has. */
static cvy_predictor *open_predictor(cvy_context *ctx, cvy_net **net, cvy_trainer **trainer,
                                     size_t *phases)
{
    assert_int_equal(cvy_net_create(ctx, net), CVY_OK);
    cvy_tensor a = cvy_conv2d(*net, cvy_input(*net, 3, 9, 9), "c1",
                              &(cvy_conv2d_desc){ .out_channels = 6, .kernel = { 3, 3 } });
    cvy_tensor b = cvy_relu(*net, cvy_batch_norm(*net, a, "b1", NULL)); /* folded, its ReLU too */
    b = cvy_conv2d(
        *net, b, "c2",
        &(cvy_conv2d_desc){ .out_channels = 6, .kernel = { 1, 1 }, .groups = 3, .no_bias = true });
    b = cvy_batch_norm(*net, b, "b2", &(cvy_batch_norm_desc){ .no_affine = true }); /* folded */
    a = cvy_conv2d(
        *net, b, "c3",
        &(cvy_conv2d_desc){ .out_channels = 6, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 } });
    /* not folded: the sum wants c3, too */
    b = cvy_add(*net, cvy_batch_norm(*net, a, "b3", NULL), a, NULL);
    b = cvy_linear(*net, b, "f1", &(cvy_linear_desc){ .out_features = 8 });
    b = cvy_sigmoid(*net, cvy_batch_norm(*net, b, "b4", NULL)); /* folded */
    b = cvy_linear(*net, b, "f2", &(cvy_linear_desc){ .out_features = 5 });
    cvy_predictor *p;
    cvy_plan_info info;
    if (trainer &&
        cvy_trainer_create(*net, b, &(cvy_trainer_options){ .batch = 16, .sgd = { .lr = 0.1 } },
                           trainer))
        fail_msg("%s", cvy_message(ctx));
    if (cvy_predictor_create(*net, b, 16, NULL, trainer ? *trainer : NULL, &p))
        fail_msg("%s", cvy_message(ctx));
    cvy_predictor_plan(p, &info);
    *phases = info.phases;
    return p;
}

static double difference(cvy_predictor *a, cvy_predictor *b, const cvy_batch *batch)
{
    float ya[16 * 5], yb[16 * 5];
    double worst = 0;
    assert_int_equal(cvy_predictor_run(a, batch, ya), CVY_OK);
    assert_int_equal(cvy_predictor_run(b, batch, yb), CVY_OK);
    for (size_t i = 0; i < batch->n * 5; i++)
        worst = fmax(worst, fabs((double)ya[i] - (double)yb[i]) / (1 + fabs((double)yb[i])));
    return worst;
}

/* Batch norms are in the weights of the convolutions before them, whatever changes of either. */
static void predictors_fold_batch_norms(void **state)
{
    static const struct {
        enum cvy_param_kind kind;
        const char *name;
    } changed[] = {
        { CVY_PARAM_RUNNING, "b1.running_var" },  { CVY_PARAM_RUNNING, "b1.running_mean" },
        { CVY_PARAM_WEIGHT, "b1.weight" },        { CVY_PARAM_WEIGHT, "b1.bias" },
        { CVY_PARAM_WEIGHT, "c1.bias" },          { CVY_PARAM_RUNNING, "b2.running_var" },
        { CVY_PARAM_RUNNING, "b3.running_mean" },
    };
    float images[16 * 3 * 9 * 9], values[6];
    uint8_t labels[16];
    cvy_context *ctx[4] = { onednn("onednn,native", CVY_ISA_AUTO, false),
                            onednn("onednn,native", CVY_ISA_AUTO, true),
                            onednn("onednn,native", CVY_ISA_AUTO, false) };
    cvy_net *net[4];
    cvy_predictor *p[4];
    cvy_trainer *trainer = NULL;
    size_t phases[4];
    (void)state;
    if (!ctx[0]) skip_onednn();
    assert_int_equal(cvy_context_create(
                         &(cvy_context_options){ .threads = 2, .backends = "reference" }, &ctx[3]),
                     CVY_OK);
    for (int i = 0; i < 4; i++)
        p[i] = open_predictor(ctx[i], &net[i], i == 2 ? &trainer : NULL, &phases[i]);
    assert_int_equal(phases[1] - phases[0], 5); /* b1 and its ReLU, b2, b4 and its sigmoid */
    for (size_t i = 0; i < sizeof images / sizeof *images; i++)
        images[i] = (float)(any() % 200) / 100.0f - 1;
    for (size_t i = 0; i < 16; i++) labels[i] = (uint8_t)(any() % 5);
    cvy_batch batch = { .images = images, .dtype = CVY_F32, .labels8 = labels, .n = 16 };
    assert_true(difference(p[0], p[3], &batch) < 1e-5);
    for (size_t k = 0; k < sizeof changed / sizeof *changed; k++) {
        float before[16 * 5], after[16 * 5];
        assert_int_equal(cvy_predictor_run(p[0], &batch, before), CVY_OK);
        for (size_t c = 0; c < 6; c++) values[c] = 0.5f + (float)(any() % 100) / 50.0f;
        for (int i = 0; i < 4; i += 3)
            assert_int_equal(cvy_predictor_set(p[i], changed[k].kind, changed[k].name, values, 6),
                             CVY_OK);
        if (k == 4) batch.n = 7;
        assert_int_equal(cvy_predictor_run(p[0], &batch, after), CVY_OK);
        if (!memcmp(before, after, batch.n * 5 * sizeof *after))
            fail_msg("%s changes nothing", changed[k].name);
        double error = difference(p[0], p[3], &batch);
        if (!(error < 1e-5)) fail_msg("after a new %s: differs by %g", changed[k].name, error);
    }
    /* a trainer's: steps change weights and statistics, and nobody says so */
    batch.n = 16;
    for (int s = 0; s < 3; s++) {
        cvy_step_result r;
        assert_int_equal(cvy_trainer_step(trainer, &batch, &r), CVY_OK);
        for (int kind = CVY_PARAM_WEIGHT; kind <= CVY_PARAM_RUNNING; kind++)
            for (size_t i = 0; i < cvy_trainer_params(trainer, (enum cvy_param_kind)kind); i++) {
                cvy_param_info info;
                float array[8 * 6 * 7 * 7];
                assert_int_equal(cvy_trainer_param(trainer, (enum cvy_param_kind)kind, i, &info),
                                 CVY_OK);
                assert_true(info.count <= sizeof array / sizeof *array);
                assert_int_equal(cvy_trainer_get(trainer, info.kind, info.name, array, info.count),
                                 CVY_OK);
                assert_int_equal(cvy_predictor_set(p[3], info.kind, info.name, array, info.count),
                                 CVY_OK);
            }
        double error = difference(p[2], p[3], &batch);
        if (!(error < 1e-5)) fail_msg("after step %d: differs by %g", s, error);
    }
    for (int i = 0; i < 4; i++) {
        cvy_predictor_destroy(&p[i]);
        if (i == 2) cvy_trainer_destroy(&trainer);
        cvy_net_destroy(&net[i]);
        cvy_context_destroy(&ctx[i]);
    }
}

static void one_instruction_set_a_process(void **state)
{
    (void)state;
    cvy_context *first = onednn("onednn", CVY_ISA_AUTO, false),
                *second = onednn("onednn", CVY_ISA_SCALAR, false);
    cvy_op *op;
    if (!first) skip_onednn();
    assert_int_equal(cvy_op_softmax(first, (cvy_shape){ 1, 3, 1, 1 }, &op), CVY_OK);
    cvy_op_destroy(&op);
    assert_int_equal(cvy_op_softmax(second, (cvy_shape){ 1, 3, 1, 1 }, &op), CVY_E_UNSUPPORTED);
    assert_non_null(strstr(cvy_message(second), "once a process"));
    cvy_context_destroy(&first);
    cvy_context_destroy(&second);
}

/* 0.1 over 224 x 224 pixels in one chain of floats would be 0.10005; over 7 x 7 oneDNN may do
 * it. */
static void long_averages_are_left_to_others(void **state)
{
    (void)state;
    static float x[224 * 224];
    static const struct {
        size_t side;
        const char *backend;
    } cases[] = { { 224, "native" }, { 7, "onednn" } };
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = 0.1f;
    for (int k = 0; k < 2; k++) {
        cvy_context *ctx = onednn("onednn,native", CVY_ISA_AUTO, false);
        if (!ctx) skip_onednn();
        size_t side = cases[k].side;
        float y = 0;
        cvy_op *op;
        const cvy_pool2d_desc desc = { .kind = CVY_POOL_AVG, .kernel = { side, side } };
        if (cvy_op_pool2d(ctx, &desc, (cvy_shape){ 1, 1, side, side }, CVY_FORWARD, &op))
            fail_msg("%s", cvy_message(ctx));
        assert_string_equal(cvy_op_backend(op), cases[k].backend);
        assert_int_equal(cvy_op_run(op, &(cvy_op_args){ .src = x, .dst = &y }), CVY_OK);
        assert_true(fabs((double)y / 0.1 - 1) < 50 * 0x1p-24);
        cvy_op_destroy(&op);
        cvy_context_destroy(&ctx);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODULES\n", argv[0]);
        return 2;
    }
    modules = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_module_is_refused),
        cmocka_unit_test(what_is_available_is_listed),
        cmocka_unit_test(options_are_copied),
        cmocka_unit_test(a_module_computes),
        cmocka_unit_test(other_versions_are_refused),
        cmocka_unit_test(long_searches_are_told),
        cmocka_unit_test(false_claims_are_refused),
        cmocka_unit_test(lenet_follows_native),
        cmocka_unit_test(lenet_follows_native_without_fusion),
        cmocka_unit_test(resnet_follows_native),
        cmocka_unit_test(vgg_takes_a_step),
        cmocka_unit_test(predictors_fold_batch_norms),
        cmocka_unit_test(long_averages_are_left_to_others),
        cmocka_unit_test(one_instruction_set_a_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
