/* Per-parameter settings: steps worked out in double with factors of the learning rate and of the
 * decay; what is frozen stays, and the rest learns as if the gradients of what is frozen had been
 * thrown away; the same bits in every way; the sentence for every mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convoy/convoy.h"
#include "ways.h"

enum { BATCH = 18, SIDE = 8, CLASSES = 4, MOST = 8192, STEPS = 3 };

static float images[BATCH * SIDE * SIDE];
static uint8_t labels[BATCH];

/* -------------------------------------------------------------------------------------- by hand */

/* w and b of one linear layer, two inputs and two classes: {w, b}. */
enum { N = 6 };
static const double pixel[2] = { 3, 4 };

struct rates {
    double lr, decay;
};

static void gradients(const double *x, double *g)
{
    double y[2], largest, sum;
    for (int k = 0; k < 2; k++) y[k] = x[2 * k] * pixel[0] + x[2 * k + 1] * pixel[1] + x[4 + k];
    largest = fmax(y[0], y[1]);
    sum = exp(y[0] - largest) + exp(y[1] - largest);
    for (int k = 0; k < 2; k++) {
        double d = exp(y[k] - largest) / sum - (k == 0);
        g[2 * k] = d * pixel[0];
        g[2 * k + 1] = d * pixel[1];
        g[4 + k] = d;
    }
}

/* SGD with momentum 0.9, or AdamW with its usual betas, by the formulas at cvy_optimizer_desc. */
static void expect(bool adamw, const struct rates *rates, double *x)
{
    double g[N], m[N] = { 0 }, v[N] = { 0 };
    for (int t = 1; t <= STEPS; t++) {
        gradients(x, g);
        for (int i = 0; i < N; i++) {
            const struct rates r = rates[i / 4];
            if (!adamw) {
                m[i] = 0.9 * m[i] + g[i] + r.decay * x[i];
                x[i] -= r.lr * m[i];
                continue;
            }
            m[i] = 0.9 * m[i] + 0.1 * g[i];
            v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
            x[i] -= r.lr * r.decay * x[i] +
                    r.lr / (1 - pow(0.9, t)) * m[i] / (sqrt(v[i] / (1 - pow(0.999, t))) + 1e-8);
        }
    }
}

static const struct {
    bool adamw, decay_all;
    cvy_param_setting setting[3];
    size_t n;
    struct rates weight, bias; /* what 0.01 and 0.5 become */
} by_hand_cases[] = {
    { .weight = { 0.01, 0.5 }, .bias = { 0.01, 0 } },
    { .setting = { { .match = "fc.*", .lr_factor = 3 } },
      .n = 1,
      .weight = { 0.03, 0.5 },
      .bias = { 0.03, 0 } },
    { .setting = { { .match = "*.weight", .decay_factor = 0.25 },
                   { .match = "fc.bias", .lr_factor = 2 } },
      .n = 2,
      .weight = { 0.01, 0.125 },
      .bias = { 0.02, 0 } },
    /* each member by the last that says it; a bias decays only where biases do */
    { .setting = { { .match = "*", .lr_factor = 7, .decay_factor = 2 },
                   { .match = "fc.????", .lr_factor = 2 },
                   { .match = "fc.w*", .no_decay = true } },
      .n = 3,
      .weight = { 0.07, 0 },
      .bias = { 0.02, 0 } },
    { .decay_all = true,
      .setting = { { .match = "*", .no_decay = true }, { .match = "*.bias", .decay_factor = 2 } },
      .n = 2,
      .weight = { 0.01, 0 },
      .bias = { 0.01, 1 } },
    { .adamw = true,
      .setting = { { .match = "*.weight", .lr_factor = 5, .decay_factor = 3 },
                   { .match = "*.[ab]ias", .lr_factor = 0.5 } },
      .n = 2,
      .weight = { 0.05, 1.5 },
      .bias = { 0.005, 0 } },
    { .setting = { { .match = "*", .frozen = true }, { .match = "*.bias", .trained = true } },
      .n = 2,
      .weight = { 0, 0 },
      .bias = { 0.01, 0 } },
    { .adamw = true,
      .setting = { { .match = "fc.bias", .frozen = true } },
      .n = 1,
      .weight = { 0.01, 0.5 },
      .bias = { 0, 0 } },
};

static void by_hand(void **state)
{
    static const char *const backends[] = { "native", "reference", "onednn,native" };
    static const float start[N] = { 0.25F, -0.5F, 0.125F, 0.0625F, 0.5F, -1 };
    (void)state;
    for (size_t k = 0; k < sizeof by_hand_cases / sizeof *by_hand_cases; k++)
        for (size_t b = 0; b < 3; b++) {
            cvy_context *ctx;
            cvy_net *net;
            cvy_trainer *t;
            if (cvy_context_create(&(cvy_context_options){ .backends = backends[b] }, &ctx)) {
                assert_int_equal(b, 2); /* it was not built */
                continue;
            }
            OK(cvy_net_create(ctx, &net));
            cvy_tensor y = cvy_linear(net, cvy_input(net, 2, 1, 1), "fc",
                                      &(cvy_linear_desc){ .out_features = 2 });
            cvy_trainer_options o = { .batch = 1,
                                      .optimizer = { .kind = by_hand_cases[k].adamw ? CVY_ADAMW
                                                                                    : CVY_SGD,
                                                     .lr = 0.01,
                                                     .momentum = by_hand_cases[k].adamw ? 0 : 0.9,
                                                     .weight_decay = 0.5,
                                                     .decay_all = by_hand_cases[k].decay_all },
                                      .settings = by_hand_cases[k].setting,
                                      .n_settings = by_hand_cases[k].n };
            OK(cvy_trainer_create(net, y, &o, &t));
            OK(cvy_trainer_set(t, CVY_PARAM_WEIGHT, "fc.weight", start, 4));
            OK(cvy_trainer_set(t, CVY_PARAM_WEIGHT, "fc.bias", start + 4, 2));
            const cvy_batch batch = { .images = (float[]){ (float)pixel[0], (float)pixel[1] },
                                      .dtype = CVY_F32,
                                      .labels8 = (uint8_t[]){ 0 },
                                      .n = 1 };
            for (int s = 0; s < STEPS; s++) OK(cvy_trainer_step(t, &batch, NULL));
            float got[N];
            double want[N];
            for (int i = 0; i < N; i++) want[i] = (double)start[i];
            expect(by_hand_cases[k].adamw,
                   (const struct rates[]){ by_hand_cases[k].weight, by_hand_cases[k].bias }, want);
            OK(cvy_trainer_get(t, CVY_PARAM_WEIGHT, "fc.weight", got, 4));
            OK(cvy_trainer_get(t, CVY_PARAM_WEIGHT, "fc.bias", got + 4, 2));
            for (int i = 0; i < N; i++)
                if (!(fabs((double)got[i] - want[i]) <= 1e-5))
                    fail_msg("case %zu, %s: parameter %d is %.9g, expected %.9g", k, backends[b], i,
                             (double)got[i], want[i]);
            cvy_trainer_destroy(&t);
            cvy_net_destroy(&net);
            cvy_context_destroy(&ctx);
        }
}

/* --------------------------------------------------------------------------------------- frozen */

static cvy_tensor build(cvy_net *net)
{
    cvy_tensor x = cvy_input(net, 1, SIDE, SIDE);
    x = cvy_conv2d(net, x, "c1", &(cvy_conv2d_desc){ .out_channels = 9, .kernel = { 3, 3 } });
    x = cvy_relu(net, cvy_batch_norm(net, x, "b1", NULL));
    cvy_tensor shortcut = x;
    x = cvy_conv2d(
        net, x, "c2",
        &(cvy_conv2d_desc){ .out_channels = 9, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 } });
    x = cvy_batch_norm(net, cvy_prelu(net, x, "p1", NULL), "b2", NULL);
    x = cvy_add(net, x, shortcut, NULL);
    x = cvy_batch_norm(net, x, "b3", &(cvy_batch_norm_desc){ .frozen = true });
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 } });
    x = cvy_sigmoid(net, cvy_linear(net, x, "f1", &(cvy_linear_desc){ .out_features = 11 }));
    return cvy_linear(net, x, "f2", &(cvy_linear_desc){ .out_features = CLASSES });
}

struct result {
    float x[MOST]; /* weights, then running statistics */
    size_t n;
    size_t ops;
};

static void collect(cvy_context *ctx, const cvy_trainer *t, enum cvy_param_kind kind,
                    struct result *r)
{
    for (size_t i = 0; i < cvy_trainer_params(t, kind); i++) {
        cvy_param_info info;
        OK(cvy_trainer_param(t, kind, i, &info));
        assert_true(r->n + info.count <= MOST);
        OK(cvy_trainer_get(t, kind, info.name, r->x + r->n, info.count));
        r->n += info.count;
    }
}

/* Whether one of the patterns, "c1.weight" or all of one layer, "c1." is the name's. */
static bool is_frozen(const char *const *frozen, const char *name)
{
    for (; *frozen; frozen++)
        if (!strncmp(*frozen, name, strlen(*frozen))) return true;
    return false;
}

/* What is frozen: put back after each step, by who ignores its gradients. */
static void put_back(cvy_context *ctx, cvy_trainer *t, const char *const *frozen, const float *from)
{
    for (size_t i = 0, n = 0; i < cvy_trainer_params(t, CVY_PARAM_WEIGHT); i++) {
        cvy_param_info info;
        OK(cvy_trainer_param(t, CVY_PARAM_WEIGHT, i, &info));
        if (is_frozen(frozen, info.name))
            OK(cvy_trainer_set(t, CVY_PARAM_WEIGHT, info.name, from + n, info.count));
        n += info.count;
    }
}

enum { MOST_FROZEN = 8 };

/* Some steps with these frozen, by settings or by hand. False: there is no such context here. */
static bool train(const cvy_context_options *options, const char *const *frozen, bool by_settings,
                  struct result *r)
{
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    static struct result start;
    cvy_param_setting settings[MOST_FROZEN] = { { 0 } };
    char match[MOST_FROZEN][32];
    size_t n = 0;
    if (cvy_context_create(options, &ctx)) return false;
    for (; frozen[n]; n++) {
        snprintf(match[n], sizeof match[n], "%s*", frozen[n]);
        settings[n] = (cvy_param_setting){ .match = match[n], .frozen = true };
    }
    OK(cvy_net_create(ctx, &net));
    const cvy_trainer_options o = { .batch = BATCH,
                                    .sgd = { .lr = 0.1, .momentum = 0.9, .weight_decay = 0.01 },
                                    .settings = settings,
                                    .n_settings = by_settings ? n : 0 };
    OK(cvy_trainer_create(net, build(net), &o, &t));
    memset(match, 0, sizeof match); /* they are not kept */
    start.n = r->n = 0;
    collect(ctx, t, CVY_PARAM_WEIGHT, &start);
    for (size_t s = 0; s < STEPS; s++) {
        const cvy_batch batch = {
            .images = images, .dtype = CVY_F32, .labels8 = labels, .n = BATCH - 3 * (s == 1)
        };
        OK(cvy_trainer_step(t, &batch, NULL));
        if (!by_settings) put_back(ctx, t, frozen, start.x);
    }
    collect(ctx, t, CVY_PARAM_WEIGHT, r);
    for (size_t i = 0, at = 0; i < cvy_trainer_params(t, CVY_PARAM_WEIGHT); i++) {
        cvy_param_info info;
        OK(cvy_trainer_param(t, CVY_PARAM_WEIGHT, i, &info));
        bool stays = !memcmp(r->x + at, start.x + at, info.count * sizeof *r->x);
        /* the batch norm behind it takes a bias off again: its gradient is rounding, or 0 */
        const bool idle = !strcmp(info.name, "c1.bias") && !is_frozen(frozen, info.name);
        if (idle) stays = false;
        if (stays != is_frozen(frozen, info.name))
            fail_msg("%s %s", info.name, stays ? "learns nothing" : "is frozen, and changed");
        float *g = malloc(info.count * sizeof *g);
        bool has = cvy_trainer_get(t, CVY_PARAM_GRADIENT, info.name, g, info.count) == CVY_OK,
             state = cvy_trainer_get(t, CVY_PARAM_STATE, info.name, g, info.count) == CVY_OK;
        free(g);
        assert_int_equal(has, !(by_settings && stays));
        assert_int_equal(state, has);
        at += info.count;
    }
    collect(ctx, t, CVY_PARAM_RUNNING, r);
    r->ops = cvy_trainer_ops(t);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    return true;
}

/* Layers below, in the middle and above, and parts of layers, so that every op that makes
 * gradients is asked for each of them alone, and for none. */
static const char *const freezes[][MOST_FROZEN] = {
    { "c1.", "b1.", "p1." },
    { "c1.", "b1.", "p1.", "c2.", "b2.", "b3.", "f1." },
    { "c2.", "b2.", "b3." },
    { "p1." },
    { "c1.weight", "b1.weight", "c2.bias", "b2.bias", "b3.weight", "f1.weight" },
    { "c1.bias", "b1.bias", "c2.weight", "b2.weight", "b3.bias", "f2.bias" },
    { "f1.", "f2." },
};

static void compare(const char *who, size_t k, const struct result *got, const struct result *want,
                    double tolerance)
{
    assert_int_equal(got->n, want->n);
    for (size_t i = 0; i < got->n; i++)
        if (!(fabs((double)got->x[i] - (double)want->x[i]) <= tolerance))
            fail_msg("%s, case %zu: element %zu is %.9g, expected %.9g", who, k, i,
                     (double)got->x[i], (double)want->x[i]);
}

static void frozen_is_as_ignored(void **state)
{
    static const char *const lists[] = { "native", "reference", "onednn,native",
                                         "onednn,reference" };
    static struct result exact, ignored, frozen;
    (void)state;
    for (size_t k = 0; k < sizeof freezes / sizeof *freezes; k++) {
        assert_true(
            train(&(cvy_context_options){ .backends = "reference" }, freezes[k], true, &exact));
        for (size_t b = 0; b < 4; b++) {
            const cvy_context_options o = { .backends = lists[b] };
            if (!train(&o, freezes[k], true, &frozen)) {
                assert_true(b >= 2); /* it was not built */
                continue;
            }
            assert_true(train(&o, freezes[k], false, &ignored));
            compare(lists[b], k, &frozen, &ignored, b < 2 ? 0 : 1e-5);
            compare(lists[b], k, &frozen, &exact, 2e-4);
            assert_true(frozen.ops < ignored.ops);
        }
    }
}

static void the_same_in_every_way(void **state)
{
    static struct result want, got;
    (void)state;
    for (size_t k = 0; k < sizeof freezes / sizeof *freezes; k++) {
        cvy_context_options o = { .backends = "native", .threads = 1 };
        assert_true(train(&o, freezes[k], true, &want));
        for (size_t i = 0; some_way(i, &o); i++)
            if (train(&o, freezes[k], true, &got)) compare("a way", k, &got, &want, 0);
    }
}

/* Below the first layer that is trained nothing is differentiated; above all is as it was. */
static void nothing_is_done_for_what_is_frozen(void **state)
{
    (void)state;
    static const cvy_param_setting settings[] = { { .match = "*", .frozen = true },
                                                  { .match = "f2.*", .trained = true } };
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    OK(cvy_context_create(NULL, &ctx));
    for (size_t n = 1; n <= 2; n++)
        for (int input = 0; input < 2; input++) {
            OK(cvy_net_create(ctx, &net));
            const cvy_trainer_options o = { .batch = BATCH,
                                            .sgd.lr = 0.1,
                                            .clip_norm = 1e9,
                                            .accumulate = 2,
                                            .input_gradient = input,
                                            .settings = settings,
                                            .n_settings = n };
            OK(cvy_trainer_create(net, build(net), &o, &t));
            size_t backward = 0;
            for (size_t i = 0; i < cvy_trainer_ops(t); i++) {
                cvy_op_info info;
                OK(cvy_trainer_op(t, i, &info));
                const char *dot = strrchr(info.name, '.');
                bool updates = dot && !strcmp(dot, ".sgd"), dw = dot && !strcmp(dot, ".dw");
                if ((updates || dw) && (n == 1 || strncmp(info.name, "f2.", 3)))
                    fail_msg("%s is there", info.name);
                backward += dot && !strcmp(dot, ".dx");
            }
            assert_int_equal(backward > 0, input);
            const cvy_batch batch = {
                .images = images, .dtype = CVY_F32, .labels8 = labels, .n = BATCH
            };
            cvy_step_result result;
            for (int s = 0; s < 2; s++) OK(cvy_trainer_step(t, &batch, &result));
            assert_true(result.loss_sum > 0);
            assert_int_equal(cvy_trainer_params(t, CVY_PARAM_GRADIENT),
                             (n == 1 ? 0 : 2) + (size_t)input);
            assert_int_equal(cvy_trainer_params(t, CVY_PARAM_SUM), n == 1 ? 0 : 2);
            cvy_trainer_destroy(&t);
            cvy_net_destroy(&net);
        }
    cvy_context_destroy(&ctx);
}

/* The norm is that of the gradients that there are, not of one that was made on the way. */
static void norm_of_what_is_trained(void **state)
{
    (void)state;
    static const cvy_param_setting settings[] = { { .match = "*.weight", .frozen = true } };
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    OK(cvy_context_create(NULL, &ctx));
    OK(cvy_net_create(ctx, &net));
    const cvy_trainer_options o = {
        .batch = BATCH, .sgd.lr = 0.1, .clip_norm = 1e9, .settings = settings, .n_settings = 1
    };
    OK(cvy_trainer_create(net, build(net), &o, &t));
    const cvy_batch batch = { .images = images, .dtype = CVY_F32, .labels8 = labels, .n = BATCH };
    OK(cvy_trainer_step(t, &batch, NULL));
    static struct result gradient;
    gradient.n = 0;
    collect(ctx, t, CVY_PARAM_GRADIENT, &gradient);
    double sum = 0;
    for (size_t i = 0; i < gradient.n; i++) sum += (double)gradient.x[i] * (double)gradient.x[i];
    assert_int_equal(gradient.n, 9 * 5 + 11 + CLASSES);
    assert_true(fabs(cvy_trainer_gradient_norm(t) - sqrt(sum)) <= 1e-12 * sqrt(sum));
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

/* ------------------------------------------------------------------------------------- mistakes */

static void every_mistake_has_its_sentence(void **state)
{
    (void)state;
    static const struct {
        cvy_param_setting s;
        const char *part;
    } cases[] = {
        { { .match = "conv9.*" },
          "no parameter's name matches 'conv9.*'; there are c1.weight, c1.bias, b1.weight" },
        { { .match = "b1.running_mean" }, "no parameter's name matches" },
        { { .match = "" }, "no parameter's name matches ''" },
        { { .frozen = true }, "settings[0]: match is NULL" },
        { { .match = "*", .frozen = true, .trained = true }, "'*' is both frozen and trained" },
        { { .match = "*", .no_decay = true, .decay_factor = 1 }, "both no_decay and a decay" },
        { { .match = "*", .lr_factor = -1 }, "the lr_factor of '*' is -1, expected more than 0" },
        { { .match = "*", .lr_factor = (double)INFINITY }, "is inf, expected more than 0" },
        { { .match = "*", .decay_factor = (double)NAN }, "the decay_factor of '*' is nan" },
        { { .match = "*", .decay_factor = 2e6 }, "is 2e+06, expected more than 0 and at most 1e6" },
        { { .match = "*", .reserved = { 1 } }, "reserved" },
    };
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    OK(cvy_context_create(NULL, &ctx));
    OK(cvy_net_create(ctx, &net));
    cvy_tensor y = build(net);
    cvy_trainer_options o = { .batch = BATCH, .n_settings = 1 };
    assert_int_equal(cvy_trainer_create(net, y, &o, &t), CVY_E_ARG);
    assert_string_equal(cvy_message(ctx), "n_settings is 1, but settings is NULL");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o.settings = &cases[i].s;
        assert_int_equal(cvy_trainer_create(net, y, &o, &t), CVY_E_ARG);
        assert_null(t);
        if (!strstr(cvy_message(ctx), cases[i].part))
            fail_msg("'%s' lacks '%s'", cvy_message(ctx), cases[i].part);
    }
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

static long left;
static void *failing_alloc(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    return left-- > 0 ? aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment)
                      : NULL;
}
static void plain_free(void *user, void *p)
{
    (void)user;
    free(p);
}

static void short_memory_is_a_status(void **state)
{
    (void)state;
    static const cvy_param_setting settings[] = { { .match = "*", .lr_factor = 2 },
                                                  { .match = "f?.*", .decay_factor = 3 } };
    cvy_context *ctx;
    cvy_net *net;
    left = 1000000;
    cvy_context_options options = { .threads = 1,
                                    .allocator = { failing_alloc, plain_free, NULL } };
    assert_int_equal(cvy_context_create(&options, &ctx), CVY_OK);
    OK(cvy_net_create(ctx, &net));
    cvy_tensor y = build(net);
    enum cvy_status status = CVY_E_NOMEM;
    for (long n = 0; status != CVY_OK; n++) {
        cvy_trainer *t;
        assert_true(n < 10000);
        left = n;
        status = cvy_trainer_create(
            net, y, &(cvy_trainer_options){ .batch = 2, .settings = settings, .n_settings = 2 },
            &t);
        if (status != CVY_OK) assert_int_equal(status, CVY_E_NOMEM);
        cvy_trainer_destroy(&t);
    }
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

int main(void)
{
    for (size_t i = 0; i < BATCH * SIDE * SIDE; i++) images[i] = (float)(i * 7919 % 257) / 128 - 1;
    for (size_t i = 0; i < BATCH; i++) labels[i] = (uint8_t)(i % CLASSES);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(frozen_is_as_ignored),
        cmocka_unit_test(the_same_in_every_way),
        cmocka_unit_test(nothing_is_done_for_what_is_frozen),
        cmocka_unit_test(norm_of_what_is_trained),
        cmocka_unit_test(every_mistake_has_its_sentence),
        cmocka_unit_test(short_memory_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
