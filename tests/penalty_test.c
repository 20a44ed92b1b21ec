/* Penalties on weights and max-norm: what a step with them makes of weights, worked out from one
 * without; what they add to the loss; the same bits in every way; the sentence for every
 * mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "convoy/convoy.h"
#include "ways.h"

enum { BATCH = 18, SIDE = 8, CLASSES = 4, MOST = 16384, STEPS = 4 };

static float images[BATCH * SIDE * SIDE];
static uint8_t labels[BATCH];
static const char *const backends[] = { "native", "reference", "onednn,native",
                                        "onednn,reference" };

/* A convolution that is packed, a batch norm, a PReLU, linear layers, one of a single output. */
static cvy_tensor build(cvy_net *net)
{
    cvy_tensor x = cvy_input(net, 1, SIDE, SIDE);
    x = cvy_conv2d(net, x, "c1", &(cvy_conv2d_desc){ .out_channels = 9, .kernel = { 3, 3 } });
    x = cvy_prelu(net, cvy_batch_norm(net, x, "b1", NULL), "p1", NULL);
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 } });
    x = cvy_sigmoid(net, cvy_linear(net, x, "f1", &(cvy_linear_desc){ .out_features = 21 }));
    cvy_tensor one = cvy_linear(net, x, "one", &(cvy_linear_desc){ .out_features = 1 }),
               two = cvy_linear(net, x, "two", &(cvy_linear_desc){ .out_features = CLASSES - 1 });
    return cvy_concat(net, (const cvy_tensor[]){ one, two }, 2, NULL);
}

struct opened {
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
};

static bool open_trainer(const cvy_context_options *way, const cvy_trainer_options *o,
                         struct opened *x)
{
    cvy_trainer_options options = *o;
    *x = (struct opened){ 0 };
    if (cvy_context_create(way, &x->ctx)) return false;
    cvy_context *ctx = x->ctx;
    OK(cvy_net_create(ctx, &x->net));
    options.batch = BATCH;
    options.init.seed = 4;
    OK(cvy_trainer_create(x->net, build(x->net), &options, &x->t));
    return true;
}

static void close_trainer(struct opened *x)
{
    cvy_trainer_destroy(&x->t);
    cvy_net_destroy(&x->net);
    cvy_context_destroy(&x->ctx);
}

static double step(struct opened *x)
{
    const cvy_batch batch = { .images = images, .dtype = CVY_F32, .labels8 = labels, .n = BATCH };
    cvy_context *ctx = x->ctx;
    cvy_step_result r;
    OK(cvy_trainer_step(x->t, &batch, &r));
    return r.loss_sum / r.weight;
}

/* Every weight, one after the other. */
static size_t weights(struct opened *x, double *out)
{
    size_t n = 0;
    cvy_context *ctx = x->ctx;
    for (size_t i = 0; i < cvy_trainer_params(x->t, CVY_PARAM_WEIGHT); i++) {
        cvy_param_info info;
        OK(cvy_trainer_param(x->t, CVY_PARAM_WEIGHT, i, &info));
        assert_true(n + info.count <= MOST);
        OK(cvy_trainer_get64(x->t, CVY_PARAM_WEIGHT, info.name, out + n, info.count));
        n += info.count;
    }
    return n;
}

/* What a parameter is: its name, its rows, and whether it is a kernel. */
static void about(struct opened *x, size_t i, cvy_param_info *info, size_t *rows, bool *kernel)
{
    cvy_context *ctx = x->ctx;
    OK(cvy_trainer_param(x->t, CVY_PARAM_WEIGHT, i, info));
    *kernel = info->rank > 1;
    *rows = *kernel ? info->dims[0] : info->count;
}

/* ------------------------------------------------------------------------------------ penalties */

static const cvy_param_setting factors[] = { { .match = "f1.*", .decay_factor = 2 },
                                             { .match = "two.weight", .no_decay = true } };
enum { LR_INVERSE = 16 };

static double factor_of(const char *name, bool kernel, bool all)
{
    if (!kernel && !all) return 0;
    if (!strncmp(name, "f1.", 3)) return 2;
    return strcmp(name, "two.weight") ? 1 : 0;
}

/* Some weights are 0, whose sign is 0. */
static void with_zeros(struct opened *x)
{
    float w[9 * 9];
    cvy_context *ctx = x->ctx;
    OK(cvy_trainer_get(x->t, CVY_PARAM_WEIGHT, "c1.weight", w, 81));
    w[5] = 0;
    w[80] = -0.0F;
    OK(cvy_trainer_set(x->t, CVY_PARAM_WEIGHT, "c1.weight", w, 81));
}

static void one_case(const char *list, bool all, double l1, double l2, double decay)
{
    static double start[MOST], plain[MOST], got[MOST];
    const cvy_context_options way = { .threads = 1, .backends = list };
    const cvy_trainer_options without = { .optimizer.lr = 1.0 / LR_INVERSE };
    cvy_trainer_options with = { .optimizer = { .lr = 1.0 / LR_INVERSE,
                                                .l1 = l1,
                                                .l2 = l2,
                                                .weight_decay = decay,
                                                .decay_all = all },
                                 .settings = factors,
                                 .n_settings = 2 };
    struct opened x;
    if (!open_trainer(&way, &without, &x)) return; /* it was not built */
    with_zeros(&x);
    weights(&x, start);
    const double loss = step(&x);
    weights(&x, plain);
    assert_true(cvy_trainer_penalty(x.t) == 0);
    close_trainer(&x);
    open_trainer(&way, &with, &x);
    with_zeros(&x);
    double penalty = 0;
    const double told = cvy_trainer_penalty(x.t);
    assert_true(step(&x) == loss);
    const size_t n = weights(&x, got);
    for (size_t i = 0, at = 0; at < n; i++) {
        cvy_param_info info;
        size_t rows;
        bool kernel;
        about(&x, i, &info, &rows, &kernel);
        const double f = factor_of(info.name, kernel, all);
        for (size_t k = at; k < at + info.count; k++) {
            const double w = start[k], sign = (w > 0) - (w < 0);
            penalty += f * (l1 * fabs(w) + (l2 + decay / 2) * w * w);
            const double want = plain[k] - f * (l1 * sign + (2 * l2 + decay) * w) / LR_INVERSE;
            if (!(fabs(got[k] - want) <= 3e-7))
                fail_msg("%s, l1 %g, l2 %g, %s %zu: %.9g, expected %.9g", list, l1, l2, info.name,
                         k - at, got[k], want);
        }
        at += info.count;
    }
    assert_true(penalty > 0 && fabs(told - penalty) <= 1e-12 * penalty);
    close_trainer(&x);
}

static void as_their_gradients_say(void **state)
{
    (void)state;
    for (size_t b = 0; b < sizeof backends / sizeof *backends; b++)
        for (int all = 0; all < 2; all++) {
            one_case(backends[b], all, 0.5, 0, 0);
            one_case(backends[b], all, 0, 0.25, 0);
            one_case(backends[b], all, 0, 0, 0.5);
            one_case(backends[b], all, 0.125, 0.25, 0.5);
        }
}

/* AdamW's decay is none of the loss; l2 is, and weights that are frozen have no part in it. */
static void what_is_no_penalty(void **state)
{
    (void)state;
    static const cvy_param_setting frozen = { .match = "*", .frozen = true },
                                   one = { .match = "one.weight", .trained = true };
    const cvy_param_setting settings[] = { frozen, one };
    const cvy_context_options way = { .threads = 1 };
    cvy_trainer_options o = { .optimizer = { .kind = CVY_ADAMW, .lr = 0.1, .weight_decay = 3 } };
    struct opened x;
    assert_true(open_trainer(&way, &o, &x));
    assert_true(cvy_trainer_penalty(x.t) == 0);
    close_trainer(&x);
    o.optimizer.l2 = 0.5;
    o.settings = settings;
    o.n_settings = 2;
    assert_true(open_trainer(&way, &o, &x));
    double w[21], squares = 0;
    cvy_context *ctx = x.ctx;
    OK(cvy_trainer_get64(x.t, CVY_PARAM_WEIGHT, "one.weight", w, 21));
    for (size_t i = 0; i < 21; i++) squares += w[i] * w[i];
    assert_true(fabs(cvy_trainer_penalty(x.t) - 0.5 * squares) <= 1e-12 * squares);
    close_trainer(&x);
    o.dry_run = true;
    assert_true(open_trainer(&way, &o, &x));
    assert_true(cvy_trainer_penalty(x.t) == 0 && cvy_trainer_penalty(NULL) == 0);
    close_trainer(&x);
}

/* ------------------------------------------------------------------------------------- max-norm */

static const cvy_param_setting norms[] = { { .match = "c1.weight", .max_norm = 0.5 },
                                           { .match = "b1.*", .max_norm = 0.75 },
                                           { .match = "two.*", .no_max_norm = true } };

/* By `norms`, else 0.625 of the linear layers. */
static double most_of(const char *name)
{
    if (!strcmp(name, "c1.weight")) return 0.5;
    if (!strncmp(name, "b1.", 3)) return 0.75;
    return !strcmp(name, "f1.weight") || !strcmp(name, "one.weight") ? 0.625 : 0;
}

static void as_the_formula_says(void **state)
{
    (void)state;
    static double plain[MOST], got[MOST];
    for (size_t b = 0; b < sizeof backends / sizeof *backends; b++) {
        const cvy_context_options way = { .threads = 1, .backends = backends[b] };
        cvy_trainer_options o = { .optimizer = { .lr = 0.25, .l1 = 1e-3 } };
        struct opened x;
        size_t shortened = 0, kept = 0;
        if (!open_trainer(&way, &o, &x)) continue;
        step(&x);
        weights(&x, plain);
        close_trainer(&x);
        o.max_norm = 0.625;
        o.settings = norms;
        o.n_settings = 3;
        open_trainer(&way, &o, &x);
        step(&x);
        const size_t n = weights(&x, got);
        for (size_t i = 0, at = 0; at < n; i++) {
            cvy_param_info info;
            size_t rows;
            bool kernel;
            about(&x, i, &info, &rows, &kernel);
            const size_t row = info.count / rows;
            const double most = most_of(info.name);
            for (size_t r = 0; r < rows; r++, at += row) {
                double squares = 0, factor = 1;
                for (size_t k = at; k < at + row; k++) squares += plain[k] * plain[k];
                if (most > 0) factor = fmin(sqrt(squares), most) / (sqrt(squares) + 1e-8);
                shortened += most > 0 && sqrt(squares) > most;
                kept += most > 0 && sqrt(squares) < most;
                for (size_t k = at; k < at + row; k++)
                    if (!(fabs(got[k] - plain[k] * factor) <= 3e-7))
                        fail_msg("%s, %s %zu: %.9g, expected %.9g", backends[b], info.name,
                                 k - at + r * row, got[k], plain[k] * factor);
            }
        }
        assert_true(shortened > 9 && kept > 0); /* gamma is 1, so its nine are */
        close_trainer(&x);
    }
}

/* ----------------------------------------------------------------------------------- both */

static bool train(const cvy_context_options *way, enum cvy_optimizer_kind kind, size_t accumulate,
                  double *out, size_t *n)
{
    const cvy_trainer_options o = { .optimizer = { .kind = kind,
                                                   .lr = 0.05,
                                                   .eps = kind == CVY_SGD ? 0 : 0.1,
                                                   .l1 = 0.03,
                                                   .l2 = 0.02,
                                                   .decay_all = kind == CVY_ADAM },
                                    .accumulate = accumulate,
                                    .max_norm = 0.625,
                                    .settings = norms,
                                    .n_settings = 3 };
    struct opened x;
    if (!open_trainer(way, &o, &x)) return false;
    for (int i = 0; i < STEPS; i++) step(&x);
    *n = weights(&x, out);
    out[*n] = cvy_trainer_penalty(x.t);
    ++*n;
    close_trainer(&x);
    return true;
}

static void the_same_bits(void **state)
{
    (void)state;
    static double want[MOST + 1], got[MOST + 1], exact[MOST + 1];
    size_t n, m;
    for (int kind = 0; kind < CVY_OPTIMIZER_KINDS; kind++) {
        const size_t accumulate = kind == CVY_RMSPROP ? 2 : 1;
        const enum cvy_optimizer_kind k = (enum cvy_optimizer_kind)kind;
        cvy_context_options o = { .threads = 1 };
        assert_true(train(&o, k, accumulate, want, &n));
        for (size_t i = 0; some_way(i, &o); i++) {
            if (!train(&o, k, accumulate, got, &m)) continue; /* not this instruction set */
            if (memcmp(want, got, n * sizeof *got)) fail_msg("kind %d, way %zu differs", kind, i);
        }
        o = (cvy_context_options){ .threads = 1, .backends = "reference" };
        assert_true(train(&o, k, accumulate, exact, &m));
        for (size_t i = 0; i + 1 < n; i++) /* near 0 l1 may turn a weight the other way */
            if (!(fabs(want[i] - exact[i]) <= 2e-3))
                fail_msg("kind %d, number %zu: %.9g, expected %.9g", kind, i, want[i], exact[i]);
    }
}

static void mistakes_have_sentences(void **state)
{
    (void)state;
    static const struct {
        cvy_trainer_options o;
        cvy_param_setting s;
        const char *says;
    } wrong[] = {
        { { .max_norm = -1 }, { .match = "*" }, "max_norm is -1, expected 0 (off) or more" },
        { { .max_norm = INFINITY }, { .match = "*" }, "max_norm is inf, expected 0 (off)" },
        { { .max_norm = NAN }, { .match = "*" }, "max_norm is nan" },
        { { .batch = 1 }, { .match = "*", .max_norm = -1 }, "the max_norm of '*' is -1, expected" },
        { { .batch = 1 }, { .match = "*", .max_norm = INFINITY }, "the max_norm of '*' is inf" },
        { { .batch = 1 },
          { .match = "*", .max_norm = 1, .no_max_norm = true },
          "'*' has both no_max_norm and a max_norm" },
        { { .optimizer.l1 = -1 }, { .match = "*" }, "l1 is -1, expected 0 or more" },
        { { .optimizer.l2 = NAN }, { .match = "*" }, "l2 is nan, expected 0 or more" },
    };
    struct opened x;
    cvy_trainer *t;
    assert_true(open_trainer(NULL, &(cvy_trainer_options){ .batch = 1 }, &x));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cvy_net *net;
        cvy_context *ctx = x.ctx;
        OK(cvy_net_create(ctx, &net));
        cvy_trainer_options o = wrong[i].o;
        o.batch = 1;
        o.settings = &wrong[i].s;
        o.n_settings = 1;
        assert_int_equal(cvy_trainer_create(net, build(net), &o, &t), CVY_E_ARG);
        if (!strstr(cvy_message(ctx), wrong[i].says))
            fail_msg("'%s' does not say '%s'", cvy_message(ctx), wrong[i].says);
        cvy_net_destroy(&net);
    }
    close_trainer(&x);
}

int main(void)
{
    for (size_t i = 0; i < BATCH * SIDE * SIDE; i++) images[i] = (float)(i * 7919 % 257) / 128 - 1;
    for (size_t i = 0; i < BATCH; i++) labels[i] = (uint8_t)(i % CLASSES);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_their_gradients_say),  cmocka_unit_test(what_is_no_penalty),
        cmocka_unit_test(as_the_formula_says),     cmocka_unit_test(the_same_bits),
        cmocka_unit_test(mistakes_have_sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
