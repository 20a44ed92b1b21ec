/* First values of parameters: range, mean and variance of every initialiser against its formula,
 * written here once more; what starts at a constant; which seeds and layers must differ, and which
 * runs must not. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "convoy/convoy.h"
#include "models/models.h"

enum { IC = 24, OC = 96, K = 3, FEATURES = 200, CONV = OC * IC * K * K, PIXELS = 6 * 5 };

static cvy_context *ctx;
static int open_context(void **state)
{
    (void)state;
    return cvy_context_create(&(cvy_context_options){ .threads = 1, .backends = "native" }, &ctx);
}
static int close_context(void **state)
{
    (void)state;
    cvy_context_destroy(&ctx);
    return 0;
}

/* conv 24 -> 96 of 3 x 3, twice the same; batch norms; PReLU; linear 200. */
static enum cvy_status try_start(const cvy_init_desc *init, const cvy_param_setting *settings,
                                 size_t n_settings, cvy_net **net, cvy_trainer **trainer)
{
    assert_int_equal(cvy_net_create(ctx, net), CVY_OK);
    cvy_tensor x = cvy_input(*net, IC, 6, 5), y;
    const cvy_conv2d_desc desc = { .out_channels = OC, .kernel = { K, K }, .pad = { 1, 1, 1, 1 } };
    y = cvy_batch_norm(*net, cvy_conv2d(*net, x, "a", &desc), "bn", NULL);
    x = cvy_batch_norm(*net, cvy_conv2d(*net, x, "b", &desc), "zero",
                       &(cvy_batch_norm_desc){ .zero_init = true });
    x = cvy_prelu(*net, cvy_add(*net, x, y, NULL), "quarter", NULL);
    x = cvy_prelu(*net, x, "half", &(cvy_prelu_desc){ .init = -0.5 });
    x = cvy_linear(*net, x, "fc", &(cvy_linear_desc){ .out_features = FEATURES });
    const cvy_trainer_options o = { .batch = 2,
                                    .init = *init,
                                    .settings = settings,
                                    .n_settings = n_settings,
                                    .sgd = { .lr = 0.1, .momentum = 0.9 } };
    return cvy_trainer_create(*net, x, &o, trainer);
}

static cvy_trainer *start(const cvy_init_desc *init, cvy_net **net)
{
    cvy_trainer *trainer;
    if (try_start(init, NULL, 0, net, &trainer)) fail_msg("%s", cvy_message(ctx));
    return trainer;
}

static float *get(const cvy_trainer *trainer, enum cvy_param_kind kind, const char *name, size_t n)
{
    float *x = malloc(n * sizeof *x);
    if (cvy_trainer_get(trainer, kind, name, x, n)) fail_msg("%s", cvy_message(ctx));
    return x;
}

struct moments {
    double mean, variance, fourth, least, most;
};

static struct moments moments(const float *x, size_t n)
{
    struct moments m = { .least = x[0], .most = x[0] };
    for (size_t i = 0; i < n; i++) m.mean += (double)x[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - m.mean;
        m.variance += d * d / (double)n;
        m.fourth += d * d * d * d / (double)n;
        m.least = fmin(m.least, (double)x[i]);
        m.most = fmax(m.most, (double)x[i]);
    }
    return m;
}

/* Within five standard errors of the mean and of the variance. */
static void resembles(const cvy_trainer *trainer, const char *name, size_t n, double variance,
                      double kurtosis)
{
    float *x = get(trainer, CVY_PARAM_WEIGHT, name, n);
    struct moments m = moments(x, n);
    double root = sqrt((double)n);
    if (!(fabs(m.mean) <= 5 * sqrt(variance) / root)) fail_msg("%s: mean %g", name, m.mean);
    if (!(fabs(m.variance / variance - 1) <= 5 * sqrt(kurtosis - 1) / root))
        fail_msg("%s: variance %g, expected %g", name, m.variance, variance);
    if (!(fabs(m.fourth / (variance * variance) / kurtosis - 1) <= 60 / root))
        fail_msg("%s: kurtosis %g, expected %g", name, m.fourth / (variance * variance), kurtosis);
    if (kurtosis < 2) { /* uniform: bounded, and the bound is come near to */
        double bound = sqrt(3 * variance);
        if (!(m.most <= bound * (1 + 1e-6) && m.least >= -bound * (1 + 1e-6)))
            fail_msg("%s is beyond %g", name, bound);
        if (!(m.most > bound * (1 - 30 / (double)n) && m.least < -bound * (1 - 30 / (double)n)))
            fail_msg("%s: %g … %g, expected to come near %g", name, m.least, m.most, bound);
    } else if (kurtosis > 2.9 && n > 10000 &&
               !(m.most > 3 * sqrt(variance) && m.least < -3 * sqrt(variance))) {
        fail_msg("%s has no tails: %g … %g", name, m.least, m.most);
    }
    free(x);
}

static void moments_are_those_of_the_formula(void **state)
{
    (void)state;
    const double in = IC * K * K, out = OC * K * K, fc_in = OC * PIXELS, uniform = 1.8, normal = 3;
    cvy_net *net;
    cvy_trainer *t = start(&(cvy_init_desc){ .weights = CVY_INIT_XAVIER_UNIFORM, .seed = 1 }, &net);
    /* U(±√(6/(in + out))) has variance 6/(in + out)/3 */
    resembles(t, "a.weight", CONV, 2 / (in + out), uniform);
    resembles(t, "fc.weight", FEATURES * OC * PIXELS, 2 / (fc_in + FEATURES), uniform);
    resembles(t, "fc.bias", FEATURES, 1 / fc_in / 3, uniform); /* a bias by its weight's fan */
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    t = start(&(cvy_init_desc){ .weights = CVY_INIT_KAIMING_NORMAL,
                                .biases = CVY_INIT_KAIMING_NORMAL,
                                .seed = 2 },
              &net);
    resembles(t, "a.weight", CONV, 2 / in, normal);
    resembles(t, "fc.weight", FEATURES * OC * PIXELS, 2 / fc_in, normal);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    t = start(&(cvy_init_desc){ .weights = CVY_INIT_TORCH_DEFAULT,
                                .biases = CVY_INIT_TORCH_DEFAULT,
                                .seed = 3 },
              &net);
    resembles(t, "a.weight", CONV, 1 / in / 3, uniform);
    resembles(t, "b.bias", OC, 1 / in / 3, uniform);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    t = start(&(cvy_init_desc){ .weights = CVY_INIT_KAIMING_NORMAL_FAN_OUT, .seed = 8 }, &net);
    resembles(t, "a.weight", CONV, 2 / out, normal);
    resembles(t, "fc.weight", FEATURES * OC * PIXELS, 2.0 / FEATURES, normal);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
}

/* Numbers beyond two of them are drawn again: variance 1 - 4 phi(2) / (2 Phi(2) - 1) = 0.7737,
 * kurtosis 2.366. */
static void normal_ones(void **state)
{
    (void)state;
    cvy_net *net;
    cvy_trainer *t = start(&(cvy_init_desc){ .weights = CVY_INIT_NORMAL,
                                             .weights_value = 0.02,
                                             .biases = CVY_INIT_TRUNCATED_NORMAL,
                                             .seed = 4 },
                           &net);
    resembles(t, "a.weight", CONV, 0.02 * 0.02, 3);
    resembles(t, "fc.bias", FEATURES, 0.7737, 2.366);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    t = start(&(cvy_init_desc){ .weights = CVY_INIT_TRUNCATED_NORMAL,
                                .weights_value = 0.5,
                                .biases = CVY_INIT_NORMAL },
              &net);
    resembles(t, "a.weight", CONV, 0.25 * 0.7737, 2.366);
    resembles(t, "fc.bias", FEATURES, 1, 3);
    float *x = get(t, CVY_PARAM_WEIGHT, "fc.weight", FEATURES * OC * PIXELS);
    struct moments m = moments(x, FEATURES * OC * PIXELS);
    assert_true(m.least >= -1 && m.least < -0.99 && m.most <= 1 && m.most > 0.99);
    free(x);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
}

/* The shorter sides are at right angles and of length v. */
static void is_orthogonal(const cvy_trainer *t, const char *name, size_t rows, size_t cols,
                          double v)
{
    float *x = get(t, CVY_PARAM_WEIGHT, name, rows * cols);
    const bool wide = rows <= cols;
    const size_t n = wide ? rows : cols, length = wide ? cols : rows;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k <= i; k++) {
            double dot = 0;
            for (size_t c = 0; c < length; c++)
                dot += wide ? (double)x[i * cols + c] * (double)x[k * cols + c]
                            : (double)x[c * cols + i] * (double)x[c * cols + k];
            if (!(fabs(dot - (i == k) * v * v) <= 1e-6 * v * v))
                fail_msg("%s: %zu times %zu is %g", name, i, k, dot);
        }
    free(x);
}

static void orthogonal_ones(void **state)
{
    (void)state;
    cvy_net *net;
    cvy_trainer *t = start(
        &(cvy_init_desc){ .weights = CVY_INIT_ORTHOGONAL, .biases = CVY_INIT_ZERO, .seed = 5 },
        &net);
    is_orthogonal(t, "a.weight", OC, IC * K * K, 1);
    is_orthogonal(t, "fc.weight", FEATURES, OC * PIXELS, 1);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    cvy_tensor x;
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    x = cvy_linear(net, cvy_input(net, 5, 1, 1), "tall", &(cvy_linear_desc){ .out_features = 30 });
    x = cvy_linear(net, x, "square", &(cvy_linear_desc){ .out_features = 30 });
    const cvy_trainer_options o = {
        .batch = 2, .init = { .weights = CVY_INIT_ORTHOGONAL, .weights_value = 1.5, .seed = 6 }
    };
    if (cvy_trainer_create(net, x, &o, &t)) fail_msg("%s", cvy_message(ctx));
    is_orthogonal(t, "tall.weight", 30, 5, 1.5);
    is_orthogonal(t, "square.weight", 30, 30, 1.5);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
}

/* Zero means the default, and each kind is what is asked for, of biases, too. */
static void zero_is_the_default(void **state)
{
    (void)state;
    cvy_net *net[2];
    cvy_trainer *t[2];
    t[0] = start(&(cvy_init_desc){ .seed = 9 }, &net[0]);
    t[1] = start(&(cvy_init_desc){ CVY_INIT_XAVIER_UNIFORM, CVY_INIT_TORCH_DEFAULT, .seed = 9 },
                 &net[1]);
    static const struct {
        const char *name;
        size_t n;
    } all[] = { { "a.weight", CONV }, { "a.bias", OC }, { "fc.bias", FEATURES } };
    for (size_t i = 0; i < 3; i++) {
        float *a = get(t[0], CVY_PARAM_WEIGHT, all[i].name, all[i].n),
              *b = get(t[1], CVY_PARAM_WEIGHT, all[i].name, all[i].n);
        assert_memory_equal(a, b, all[i].n * sizeof *a);
        free(a);
        free(b);
    }
    for (int k = 0; k < 2; k++) {
        cvy_trainer_destroy(&t[k]);
        cvy_net_destroy(&net[k]);
    }
    t[0] = start(&(cvy_init_desc){ .biases = CVY_INIT_XAVIER_UNIFORM, .seed = 9 }, &net[0]);
    resembles(t[0], "fc.bias", FEATURES, 2 / (double)(OC * PIXELS + FEATURES), 1.8);
    cvy_trainer_destroy(&t[0]);
    cvy_net_destroy(&net[0]);
    enum cvy_init found = CVY_INIT_ZERO;
    for (int k = 0; k < CVY_INITS; k++) {
        assert_true(cvy_init_from_name(cvy_init_name((enum cvy_init)k), &found));
        assert_int_equal(found, k);
    }
    assert_null(cvy_init_name(CVY_INITS));
    assert_false(cvy_init_from_name("xavier", &found) || cvy_init_from_name(NULL, &found));
}

static void wrong_ones_are_refused(void **state)
{
    (void)state;
    static const struct {
        cvy_init_desc init;
        const char *says;
    } wrong[] = {
        { { .weights = CVY_INITS }, "initialisation 10 of weights is not one of enum cvy_init" },
        { { .biases = CVY_INIT_ORTHOGONAL }, "biases are no matrix" },
        { { .weights = CVY_INIT_ZERO, .weights_value = 1 }, "of weights, zero, has no value" },
        { { .weights_value = 1 }, "of weights, default, has no value" },
        { { .weights = CVY_INIT_NORMAL, .weights_value = -1 }, "is -1, expected 0 or more" },
        { { .biases = CVY_INIT_CONSTANT, .biases_value = INFINITY }, "is inf, expected a number" },
    };
    cvy_net *net;
    cvy_trainer *t;
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor x =
        cvy_linear(net, cvy_input(net, 5, 1, 1), "fc", &(cvy_linear_desc){ .out_features = 3 });
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const cvy_trainer_options o = { .batch = 2, .init = wrong[i].init };
        assert_int_equal(cvy_trainer_create(net, x, &o, &t), CVY_E_ARG);
        if (!strstr(cvy_message(ctx), wrong[i].says)) fail_msg("'%s'", cvy_message(ctx));
    }
    cvy_net_destroy(&net);
}

static void is_constant(const cvy_trainer *t, enum cvy_param_kind kind, const char *name, size_t n,
                        float value)
{
    float *x = get(t, kind, name, n);
    for (size_t i = 0; i < n; i++)
        if (x[i] != value)
            fail_msg("%s[%zu] is %g, expected %g", name, i, (double)x[i], (double)value);
    free(x);
}

static void constants_are_constant(void **state)
{
    (void)state;
    cvy_net *net;
    cvy_trainer *t = start(
        &(cvy_init_desc){ .weights = CVY_INIT_ZERO, .biases = CVY_INIT_ZERO, .seed = 1 }, &net);
    is_constant(t, CVY_PARAM_WEIGHT, "a.weight", CONV, 0);
    is_constant(t, CVY_PARAM_WEIGHT, "fc.bias", FEATURES, 0);
    is_constant(t, CVY_PARAM_WEIGHT, "bn.weight", OC, 1);
    is_constant(t, CVY_PARAM_WEIGHT, "bn.bias", OC, 0);
    is_constant(t, CVY_PARAM_RUNNING, "bn.running_mean", OC, 0);
    is_constant(t, CVY_PARAM_RUNNING, "bn.running_var", OC, 1);
    is_constant(t, CVY_PARAM_RUNNING, "zero.running_mean", OC, 0);
    is_constant(t, CVY_PARAM_RUNNING, "zero.running_var", OC, 0);
    is_constant(t, CVY_PARAM_WEIGHT, "zero.weight", OC, 1);
    is_constant(t, CVY_PARAM_WEIGHT, "quarter.weight", OC, 0.25f);
    is_constant(t, CVY_PARAM_WEIGHT, "half.weight", OC, -0.5f);
    is_constant(t, CVY_PARAM_MOMENTUM, "a.weight", CONV, 0);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    t = start(&(cvy_init_desc){ .weights = CVY_INIT_CONSTANT,
                                .weights_value = -0.25,
                                .biases = CVY_INIT_CONSTANT,
                                .biases_value = 0.1 },
              &net);
    is_constant(t, CVY_PARAM_WEIGHT, "fc.weight", FEATURES * OC * PIXELS, -0.25f);
    is_constant(t, CVY_PARAM_WEIGHT, "b.bias", OC, 0.1f);
    is_constant(t, CVY_PARAM_WEIGHT, "bn.weight", OC, 1);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
}

/* Settings say more than the options, and the last of them most; gammas and slopes have no fan. */
static void settings_say_more(void **state)
{
    (void)state;
    const cvy_init_desc init = { .weights = CVY_INIT_ZERO, .biases = CVY_INIT_ZERO, .seed = 4 };
    const cvy_param_setting settings[] = {
        { .match = "*.weight", .init = CVY_INIT_NORMAL, .init_value = 0.01 },
        { .match = "b.*", .init = CVY_INIT_TORCH_DEFAULT },
        { .match = "fc.weight", .init = CVY_INIT_KAIMING_NORMAL_FAN_OUT },
        { .match = "fc.*", .lr_factor = 2 },
        { .match = "half.weight", .init = CVY_INIT_CONSTANT, .init_value = -3 },
        { .match = "bn.bias", .init = CVY_INIT_CONSTANT, .init_value = 5 },
        { .match = "zero.weight", .init = CVY_INIT_ZERO },
    };
    cvy_net *net;
    cvy_trainer *t;
    if (try_start(&init, settings, sizeof settings / sizeof *settings, &net, &t))
        fail_msg("%s", cvy_message(ctx));
    resembles(t, "a.weight", CONV, 1e-4, 3);
    is_constant(t, CVY_PARAM_WEIGHT, "a.bias", OC, 0);
    resembles(t, "b.weight", CONV, 1.0 / (IC * K * K) / 3, 1.8);
    resembles(t, "b.bias", OC, 1.0 / (IC * K * K) / 3, 1.8);
    resembles(t, "fc.weight", FEATURES * OC * PIXELS, 2.0 / FEATURES, 3);
    is_constant(t, CVY_PARAM_WEIGHT, "fc.bias", FEATURES, 0);
    resembles(t, "bn.weight", OC, 1e-4, 3);
    is_constant(t, CVY_PARAM_WEIGHT, "bn.bias", OC, 5);
    is_constant(t, CVY_PARAM_RUNNING, "bn.running_mean", OC, 0);
    is_constant(t, CVY_PARAM_WEIGHT, "zero.weight", OC, 0);
    is_constant(t, CVY_PARAM_RUNNING, "zero.running_mean", OC, 0);
    is_constant(t, CVY_PARAM_WEIGHT, "half.weight", OC, -3);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    static const struct {
        cvy_param_setting setting;
        const char *says;
    } wrong[] = {
        { { .match = "fc.bias", .init = CVY_INIT_ORTHOGONAL },
          "fc.bias is no matrix: it cannot start as orthogonal" },
        { { .match = "bn.weight", .init = CVY_INIT_ORTHOGONAL },
          "bn.weight is no matrix: it cannot start as orthogonal" },
        { { .match = "bn.weight", .init = CVY_INIT_XAVIER_UNIFORM },
          "bn.weight is no weight or bias of a convolution or linear layer: it cannot start as "
          "xavier_uniform" },
        { { .match = "a.weight", .init = CVY_INITS },
          "initialisation 10 of 'a.weight' is not one of enum cvy_init" },
        { { .match = "a.weight", .init_value = 1 },
          "the initialisation of 'a.weight', default, has no value" },
        { { .match = "a.weight", .init = CVY_INIT_NORMAL, .init_value = -1 },
          "the value of the initialisation of 'a.weight' is -1, expected 0 or more" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(try_start(&init, &wrong[i].setting, 1, &net, &t), CVY_E_ARG);
        if (!strstr(cvy_message(ctx), wrong[i].says)) fail_msg("'%s'", cvy_message(ctx));
        cvy_net_destroy(&net);
    }
}

/* The formulas of torchvision's constructors, for every weight and bias of its nets. */
static void nets_start_as_torchvision_s(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool fan_out;  /* of convolutions: kaiming_normal_(mode="fan_out") */
        double weight; /* the linear layer's deviation; 0: U(+-1/sqrt(fan_in)), the default */
        bool bias_by_default; /* likewise; else 0 */
    } nets[] = { { "resnet18", true, 0, true },
                 { "resnet50", true, 0, true },
                 { "densenet121", false, 0, false },
                 { "mobilenet-v2", true, 0.01, false } };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        char error[1024];
        struct model *model;
        cvy_net *net;
        cvy_tensor logits;
        cvy_trainer *t;
        cvy_param_info info;
        const struct model_options small = { .input = { 3, 32, 32 } };
        if (model_load(nets[i].name, &small, &model, error, sizeof error) ||
            model_build(model, ctx, &net, &logits, error, sizeof error))
            fail_msg("%s", error);
        cvy_param_setting settings[MODEL_SETTINGS];
        cvy_trainer_options o = model_trainer(model, &model->defaults, 1, settings);
        o.batch = 2;
        if (cvy_trainer_create(net, logits, &o, &t)) fail_msg("%s", cvy_message(ctx));
        double fan_in = 0;
        for (size_t k = 0; !cvy_trainer_param(t, CVY_PARAM_WEIGHT, k, &info); k++) {
            const size_t *d = info.dims, last = k + 1 == cvy_trainer_params(t, CVY_PARAM_WEIGHT);
            if (info.rank == 4) {
                const size_t fan = (nets[i].fan_out ? d[0] : d[1]) * d[2] * d[3];
                resembles(t, info.name, info.count, 2.0 / (double)fan, 3);
            } else if (info.rank == 2) {
                fan_in = (double)d[1];
                if (nets[i].weight > 0)
                    resembles(t, info.name, info.count, nets[i].weight * nets[i].weight, 3);
                else resembles(t, info.name, info.count, 1 / fan_in / 3, 1.8);
            } else if (last && nets[i].bias_by_default) {
                resembles(t, info.name, info.count, 1 / fan_in / 3, 1.8);
            } else {
                is_constant(t, CVY_PARAM_WEIGHT, info.name, info.count,
                            strstr(info.name, ".weight") ? 1 : 0);
            }
        }
        assert_true(fan_in > 0);
        cvy_trainer_destroy(&t);
        cvy_net_destroy(&net);
        model_free(&model);
    }
}

static size_t equal_elements(const float *a, const float *b, size_t n)
{
    size_t equal = 0;
    for (size_t i = 0; i < n; i++) equal += a[i] == b[i];
    return equal;
}

/* Another seed or another layer: other numbers. The same seed: the same. Any one bit of the seed
 * counts. */
static void seeds_and_layers_differ(void **state)
{
    (void)state;
    cvy_net *net[2];
    const cvy_init_desc first = { .seed = 77 };
    cvy_trainer *t[2] = { start(&first, &net[0]), start(&first, &net[1]) };
    float *want = get(t[0], CVY_PARAM_WEIGHT, "a.weight", CONV),
          *other = get(t[1], CVY_PARAM_WEIGHT, "a.weight", CONV);
    float *b = get(t[0], CVY_PARAM_WEIGHT, "b.weight", CONV);
    assert_memory_equal(want, other, CONV * sizeof *want);
    assert_true(equal_elements(want, b, CONV) < CONV / 1000);
    free(other);
    free(b);
    for (int k = 0; k < 2; k++) {
        cvy_trainer_destroy(&t[k]);
        cvy_net_destroy(&net[k]);
    }
    for (int bit = 0; bit < 64; bit += 9) {
        t[0] = start(&(cvy_init_desc){ .seed = first.seed ^ (uint64_t)1 << bit }, &net[0]);
        other = get(t[0], CVY_PARAM_WEIGHT, "a.weight", CONV);
        if (equal_elements(want, other, CONV) >= CONV / 1000)
            fail_msg("bit %d of the seed counts for nothing", bit);
        free(other);
        cvy_trainer_destroy(&t[0]);
        cvy_net_destroy(&net[0]);
    }
    free(want);
}

/* What a seed means is not promised to later versions, but does not change unnoticed: a trainer's
 * first values by every initialiser that draws. */
static void seeds_keep_their_meaning(void **state)
{
    (void)state;
    static const struct {
        enum cvy_init init;
        double first[3]; /* elements 0, 1 and 20 735 of a.weight */
    } known[] = {
        { CVY_INIT_XAVIER_UNIFORM, { -0.0724527463, 0.0564784296, -0.0389510281 } },
        { CVY_INIT_KAIMING_NORMAL, { 0.264247328, -0.00177051232, -0.155566543 } },
        { CVY_INIT_TORCH_DEFAULT, { -0.0661400035, 0.0515575148, -0.0355572626 } },
        { CVY_INIT_NORMAL, { 2.74613881, -0.0183997042, -1.61669493 } },
        { CVY_INIT_TRUNCATED_NORMAL, { 0.341620654, -0.0183997042, -1.61669493 } },
        { CVY_INIT_ORTHOGONAL, { 0.179378793, -0.00120187528, -0.0826618969 } },
        { CVY_INIT_KAIMING_NORMAL_FAN_OUT, { 0.132123666, -0.000885256181, -0.0777832711 } },
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        cvy_net *net;
        const cvy_init_desc init = { .weights = known[k].init,
                                     .weights_value = known[k].init >= CVY_INIT_NORMAL &&
                                                      known[k].init <= CVY_INIT_ORTHOGONAL,
                                     .seed = 5 };
        cvy_trainer *t = start(&init, &net);
        float *x = get(t, CVY_PARAM_WEIGHT, "a.weight", CONV);
        for (int i = 0; i < 3; i++) {
            const double want = known[k].first[i], got = (double)x[i < 2 ? i : CONV - 1];
            if (!(fabs(got - want) <= 1e-6 * fabs(want)))
                fail_msg("%s, value %d: %.9g, was %.9g", cvy_init_name(known[k].init), i, got,
                         want);
        }
        free(x);
        cvy_trainer_destroy(&t);
        cvy_net_destroy(&net);
    }
}

/* Dropout: the mask of an image depends on seed, step and layer, each of them; p of it is dropped,
 * the rest scaled. */
static void masks_differ(void **state)
{
    (void)state;
    enum { N = 33, C = 7, SIZE = C * PIXELS, ALL = N * SIZE };
    const double p = 0.3;
    cvy_op *op;
    assert_int_equal(cvy_op_dropout(ctx, &(cvy_dropout_desc){ .p = p }, (cvy_shape){ N, C, 6, 5 },
                                    CVY_FORWARD, &op),
                     CVY_OK);
    float *x = malloc(ALL * sizeof *x), *y[3];
    for (size_t i = 0; i < ALL; i++) x[i] = 1;
    const struct {
        uint64_t seed, step;
    } at[3] = { { 5, 8 }, { 6, 8 }, { 5, 9 } };
    for (int k = 0; k < 3; k++) {
        y[k] = malloc(ALL * sizeof *y[k]);
        cvy_op_args args = { .src = x, .dst = y[k], .seed = at[k].seed, .step = at[k].step };
        if (cvy_op_run(op, &args)) fail_msg("%s", cvy_message(ctx));
        size_t kept = 0;
        for (size_t i = 0; i < ALL; i++) {
            assert_true(y[k][i] == 0 || fabs((double)y[k][i] * (1 - p) - 1) < 1e-6);
            kept += y[k][i] != 0;
        }
        assert_true(fabs((double)kept / ALL - (1 - p)) < 5 * sqrt(p * (1 - p) / ALL));
    }
    const double alike = p * p + (1 - p) * (1 - p); /* of independent masks */
    for (int k = 1; k < 3; k++)
        assert_true(fabs((double)equal_elements(y[0], y[k], ALL) / ALL - alike) <
                    5 * sqrt(alike * (1 - alike) / ALL));
    for (size_t n = 1; n < N; n++) /* nor are two images alike */
        assert_true(fabs((double)equal_elements(y[0], y[0] + n * SIZE, SIZE) / SIZE - alike) <
                    6 * sqrt(0.25 / SIZE));
    for (int k = 0; k < 3; k++) free(y[k]);
    free(x);
    cvy_op_destroy(&op);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_those_of_the_formula),
        cmocka_unit_test(constants_are_constant),
        cmocka_unit_test(normal_ones),
        cmocka_unit_test(orthogonal_ones),
        cmocka_unit_test(settings_say_more),
        cmocka_unit_test(nets_start_as_torchvision_s),
        cmocka_unit_test(zero_is_the_default),
        cmocka_unit_test(wrong_ones_are_refused),
        cmocka_unit_test(seeds_and_layers_differ),
        cmocka_unit_test(seeds_keep_their_meaning),
        cmocka_unit_test(masks_differ),
    };
    return cmocka_run_group_tests(tests, open_context, close_context);
}
