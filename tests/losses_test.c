/* Losses: against PyTorch's values and gradients (tests/golden/torch_losses.txt, which
 * make_torch_losses.py made) as operators and through a trainer, against finite differences, the
 * same bits whatever the threads and the instruction set, and what is refused. */
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

enum { MOST = 512 };

struct golden {
    cvy_loss_desc desc;
    cvy_shape shape;
    size_t size, rows;
    float x[MOST], targets[MOST];
    int32_t labels[MOST];
    double weights[8], loss, dx[MOST];
};

/* As in the script. */
static size_t value(size_t i, size_t n) { return (i * 7919 + 5) % n; }

static bool read_golden(FILE *f, struct golden *g)
{
    char kind[32];
    double smoothing, margin, temperature;
    int weighted, soft, ignored;
    cvy_shape s;
    memset(g, 0, sizeof *g);
    if (fscanf(f, "%31s %zu %zu %zu %zu %lf %lf %lf %d %d %d", kind, &s.n, &s.c, &s.h, &s.w,
               &smoothing, &margin, &temperature, &weighted, &soft, &ignored) != 11)
        return false;
    g->shape = s;
    g->rows = s.n * s.h * s.w;
    g->size = g->rows * s.c;
    assert_true(g->size <= MOST && s.c <= 8);
    g->desc = (cvy_loss_desc){ .label_smoothing = smoothing,
                               .margin = margin,
                               .temperature = temperature,
                               .class_weights = weighted ? g->weights : NULL,
                               .soft_targets = soft,
                               .per_pixel = s.h * s.w > 1,
                               .ignore = ignored,
                               .ignore_index = ignored == 1 ? 1 : -100 };
    assert_true(cvy_loss_from_name(kind, &g->desc.kind));
    for (size_t i = 0; i < g->size; i++) {
        g->x[i] = (float)value(i, 31) / 4 - 3.75f;
        g->targets[i] = (float)value(i, 7) / 8;
    }
    for (size_t i = 0; i < g->rows; i++)
        g->labels[i] = ignored == 2 && i % 3 == 2 ? -100 : (int32_t)(value(i, 23) % s.c);
    for (size_t k = 0; k < s.c; k++) g->weights[k] = (double)(k % 3) + 0.5;
    assert_int_equal(fscanf(f, "%lf", &g->loss), 1);
    for (size_t i = 0; i < g->size; i++) assert_int_equal(fscanf(f, "%lf", &g->dx[i]), 1);
    return true;
}

static const char *describe(const struct golden *g)
{
    static char text[160];
    snprintf(text, sizeof text,
             "%s of %zu x %zu x %zu x %zu, smoothing %g, margin %g, temperature %g%s%s%s",
             cvy_loss_name(g->desc.kind), g->shape.n, g->shape.c, g->shape.h, g->shape.w,
             g->desc.label_smoothing, g->desc.margin, g->desc.temperature,
             g->desc.class_weights ? ", weighted" : "", g->desc.soft_targets ? ", soft" : "",
             g->desc.ignore ? ", some ignored" : "");
    return text;
}

/* Of oneDNN's fast exponentials: 1e-5. */
static double tolerance;

static void near(const struct golden *g, const char *what, size_t i, double got, double want)
{
    if (!(fabs(got - want) <= tolerance * fmax(fabs(want), 0.1)))
        fail_msg("%s: %s[%zu] is %.12g, PyTorch's %.12g", describe(g), what, i, got, want);
}

static bool open_context(cvy_context **ctx, const cvy_context_options *options)
{
    if (cvy_context_create(options, ctx) == CVY_OK) return true;
    cvy_context_destroy(ctx);
    return false;
}

static void as_operator(cvy_context *ctx, const struct golden *g)
{
    cvy_op *op;
    double loss;
    float dx[MOST];
    if (cvy_op_loss(ctx, &g->desc, g->shape, &op)) fail_msg("%s", cvy_message(ctx));
    const cvy_op_args args = { .src = g->x,
                               .labels = g->desc.soft_targets ? NULL : g->labels,
                               .targets = g->desc.soft_targets ? g->targets : NULL,
                               .loss = &loss,
                               .diff_src = dx };
    if (cvy_op_run(op, &args)) fail_msg("%s", cvy_message(ctx));
    near(g, "loss", 0, loss, g->loss);
    for (size_t i = 0; i < g->size; i++) near(g, "dx", i, (double)dx[i], g->dx[i]);
    cvy_op_destroy(&op);
}

static size_t row_of(const struct golden *g, size_t image, size_t pixel)
{
    return image * g->shape.h * g->shape.w + pixel;
}

/* What takes part, and how many of them have their first maximum where they should. */
static void count(const struct golden *g, size_t *counted, size_t *correct)
{
    size_t pixels = g->shape.h * g->shape.w;
    *counted = *correct = 0;
    for (size_t n = 0; n < g->shape.n; n++)
        for (size_t p = 0; p < pixels; p++) {
            const float *x = g->x + n * g->shape.c * pixels + p,
                        *t = g->targets + n * g->shape.c * pixels + p;
            size_t best = 0, y = 0;
            for (size_t c = 1; c < g->shape.c; c++) {
                if (x[c * pixels] > x[best * pixels]) best = c;
                if (t[c * pixels] > t[y * pixels]) y = c;
            }
            int32_t label = g->labels[row_of(g, n, p)];
            if (!g->desc.soft_targets && g->desc.ignore && label == g->desc.ignore_index) continue;
            ++*counted;
            *correct += g->desc.soft_targets ? best == y : (int32_t)best == label;
        }
}

/* The net is a convolution by the identity; the images are in another order than the batch. */
static void as_trainer(cvy_context *ctx, const struct golden *g)
{
    static const size_t stride = 7; /* relatively prime to n */
    cvy_net *net;
    cvy_trainer *t;
    cvy_step_result r;
    double w[64] = { 0 }, want[64] = { 0 }, got[64];
    uint32_t index[32];
    float x[MOST], targets[MOST];
    int32_t labels[MOST];
    size_t c = g->shape.c, pixels = g->shape.h * g->shape.w, counted, correct;
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor y = cvy_conv2d(net, cvy_input(net, c, g->shape.h, g->shape.w), "conv",
                              &(cvy_conv2d_desc){ .out_channels = c, .kernel = { 1, 1 } });
    const cvy_trainer_options o = { .batch = 32, .loss = g->desc, .sgd.lr = 1 };
    if (cvy_trainer_create(net, y, &o, &t)) fail_msg("%s: %s", describe(g), cvy_message(ctx));
    for (size_t k = 0; k < c; k++) w[k * c + k] = 1;
    assert_int_equal(cvy_trainer_set64(t, CVY_PARAM_WEIGHT, "conv.weight", w, c * c), CVY_OK);
    assert_int_equal(cvy_trainer_set64(t, CVY_PARAM_WEIGHT, "conv.bias", want, c), CVY_OK);
    for (size_t i = 0; i < g->shape.n; i++) {
        size_t at = i * stride % g->shape.n;
        index[i] = (uint32_t)at;
        memcpy(x + at * c * pixels, g->x + i * c * pixels, c * pixels * sizeof *x);
        memcpy(targets + at * c * pixels, g->targets + i * c * pixels, c * pixels * sizeof *x);
        memcpy(labels + at * pixels, g->labels + i * pixels, pixels * sizeof *labels);
    }
    const cvy_batch batch = { .images = x,
                              .dtype = CVY_F32,
                              .labels32 = g->desc.soft_targets ? NULL : labels,
                              .targets = g->desc.soft_targets ? targets : NULL,
                              .index = index,
                              .n = g->shape.n };
    if (cvy_trainer_step(t, &batch, &r)) fail_msg("%s", cvy_message(ctx));
    near(g, "mean loss of a step", 0, r.loss_sum / r.weight, g->loss);
    count(g, &counted, &correct);
    assert_int_equal(r.counted, counted);
    assert_int_equal(r.correct, correct);
    for (size_t i = 0; i < g->size; i++) want[i / pixels % c] += g->dx[i]; /* of the bias */
    assert_int_equal(cvy_trainer_get64(t, CVY_PARAM_GRADIENT, "conv.bias", got, c), CVY_OK);
    for (size_t k = 0; k < c; k++) near(g, "bias gradient", k, got[k], want[k]);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
}

static void all_goldens(const char *backends, double off)
{
    static struct golden g;
    cvy_context *ctx;
    char line[128];
    size_t number = 0;
    tolerance = off;
    if (!open_context(&ctx, &(cvy_context_options){ .threads = 2, .backends = backends }))
        skip(); /* this build has no such module */
    FILE *f = fopen("tests/golden/torch_losses.txt", "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    while (read_golden(f, &g)) {
        as_operator(ctx, &g);
        as_trainer(ctx, &g);
        number++;
    }
    assert_true(feof(f) && number >= 60);
    fclose(f);
    cvy_context_destroy(&ctx);
}

static void reference(void **state)
{
    (void)state;
    all_goldens("reference", 1e-6);
}
static void native(void **state)
{
    (void)state;
    all_goldens("native", 2e-6);
}
static void module(void **state)
{
    (void)state;
    all_goldens("onednn,native", 2e-5);
}

/* --------------------------------------------------------------------------- finite differences */

static double loss_at(cvy_op *op, const cvy_op_args *args)
{
    assert_int_equal(cvy_op_run(op, args), CVY_OK);
    return *args->loss;
}

/* On the reference: a step of 1/64 in floats is exact, its error is of third order. */
static void differences(void **state)
{
    (void)state;
    enum { N = 3, K = 4 };
    const float h = 1.0f / 64;
    static const double weights[K] = { 1, 0.5, 2, 0 };
    static const int32_t labels[N] = { 2, 0, 1 };
    cvy_context *ctx;
    assert_true(
        open_context(&ctx, &(cvy_context_options){ .threads = 1, .backends = "reference" }));
    for (int kind = 0; kind < CVY_LOSS_KINDS; kind++)
        for (int variant = 0; variant < 3; variant++) {
            const bool plain = kind == CVY_HINGE;
            if (plain && variant == 2) continue;
            const cvy_loss_desc desc = { .kind = (enum cvy_loss_kind)kind,
                                         .label_smoothing = plain ? 0 : 0.2,
                                         .class_weights = variant == 1 ? weights : NULL,
                                         .soft_targets = variant == 2 };
            float x[N * K], t[N * K], dx[N * K], other[N * K];
            double loss;
            cvy_op *op;
            for (size_t i = 0; i < N * K; i++) {
                x[i] = (float)value(i, 13) / 4.3f - 1.4f;
                t[i] = (float)value(i, 7) / 8;
            }
            cvy_op_args args = { .src = x,
                                 .labels = variant == 2 ? NULL : labels,
                                 .targets = variant == 2 ? t : NULL,
                                 .loss = &loss,
                                 .diff_src = dx };
            assert_int_equal(cvy_op_loss(ctx, &desc, (cvy_shape){ N, K, 1, 1 }, &op), CVY_OK);
            loss_at(op, &args);
            args.diff_src = other;
            for (size_t i = 0; i < N * K; i++) {
                float old = x[i];
                x[i] = old + h;
                double more = loss_at(op, &args), width = (double)x[i];
                x[i] = old - h;
                double less = loss_at(op, &args);
                width -= (double)x[i];
                x[i] = old;
                if (!(fabs((more - less) / width - (double)dx[i]) <= 1e-4))
                    fail_msg("%s, variant %d: dx[%zu] is %g, by differences %g",
                             cvy_loss_name(desc.kind), variant, i, (double)dx[i],
                             (more - less) / width);
            }
            cvy_op_destroy(&op);
        }
    cvy_context_destroy(&ctx);
}

/* -------------------------------------------------------------------------------- the same bits */

enum { BATCH = 20, SIDE = 9, CLASSES = 5, STEPS = 3, BITS = 1 << 12 };

static void fill_batch(uint8_t *images, uint8_t *labels, float *targets)
{
    uint32_t s = 1;
    for (size_t i = 0; i < BATCH * SIDE * SIDE; i++) {
        images[i] = (uint8_t)((s = s * 1664525u + 1013904223u) >> 24);
        labels[i] = (uint8_t)((s = s * 1664525u + 1013904223u) >> 24) % (CLASSES + 1);
    }
    for (size_t i = 0; i < BATCH * SIDE * SIDE * CLASSES; i++)
        targets[i] = (float)((s = s * 1664525u + 1013904223u) >> 24) / 256;
}

/* Losses of the steps and weights after them; returns how many, 0: not here. */
static size_t train(const cvy_context_options *options, const cvy_loss_desc *desc, double *out)
{
    static uint8_t images[BATCH * SIDE * SIDE], labels[BATCH * SIDE * SIDE];
    static float targets[BATCH * SIDE * SIDE * CLASSES];
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    size_t n = 0;
    if (!open_context(&ctx, options)) return 0;
    fill_batch(images, labels, targets);
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    const cvy_conv2d_desc conv = { .out_channels = CLASSES,
                                   .kernel = { 3, 3 },
                                   .pad = { 1, 1, 1, 1 } };
    cvy_tensor x = cvy_conv2d(net, cvy_input(net, 1, SIDE, SIDE), "conv1", &conv);
    x = cvy_conv2d(net, cvy_relu(net, cvy_batch_norm(net, x, "bn", NULL)), "conv2", &conv);
    const cvy_trainer_options o = {
        .batch = BATCH, .loss = *desc, .sgd = { .lr = 0.1, .momentum = 0.9 }, .init.seed = 2
    };
    if (cvy_trainer_create(net, x, &o, &t)) fail_msg("%s", cvy_message(ctx));
    for (size_t i = 0; i < STEPS; i++) {
        cvy_step_result r;
        const cvy_batch batch = { .images = images,
                                  .dtype = CVY_U8,
                                  .labels8 = desc->soft_targets ? NULL : labels,
                                  .targets = desc->soft_targets ? targets : NULL,
                                  .n = BATCH - i };
        if (cvy_trainer_step(t, &batch, &r)) fail_msg("%s", cvy_message(ctx));
        out[n++] = r.loss_sum;
        out[n++] = (double)r.correct;
    }
    for (size_t i = 0; i < cvy_trainer_params(t, CVY_PARAM_WEIGHT); i++) {
        cvy_param_info info;
        assert_int_equal(cvy_trainer_param(t, CVY_PARAM_WEIGHT, i, &info), CVY_OK);
        assert_true(n + info.count <= BITS);
        assert_int_equal(cvy_trainer_get64(t, info.kind, info.name, out + n, info.count), CVY_OK);
        n += info.count;
    }
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    return n;
}

static void the_same_bits(void **state)
{
    (void)state;
    static double want[BITS], got[BITS];
    static const double weights[CLASSES] = { 1, 0.5, 2, 0, 0.3 };
    cvy_context_options o = { .threads = 1 };
    for (int kind = 0; kind < CVY_LOSS_KINDS; kind++)
        for (int soft = 0; soft < (kind == CVY_HINGE ? 1 : 2); soft++) {
            const cvy_loss_desc desc = { .kind = (enum cvy_loss_kind)kind,
                                         .per_pixel = true,
                                         .label_smoothing = kind == CVY_HINGE ? 0 : 0.1,
                                         .class_weights = soft ? NULL : weights,
                                         .soft_targets = soft,
                                         .ignore = !soft,
                                         .ignore_index = CLASSES };
            size_t n = train(&(cvy_context_options){ .threads = 1 }, &desc, want);
            assert_true(n > 0);
            for (size_t i = 0; i < n; i++) assert_true(isfinite(want[i]));
            for (size_t k = 0; some_way(k, &o); k++) {
                if (!train(&o, &desc, got)) continue; /* not this instruction set */
                for (size_t i = 0; i < n; i++)
                    if (memcmp(&want[i], &got[i], sizeof *got))
                        fail_msg("%s%s, way %zu: number %zu is %.17g, expected %.17g",
                                 cvy_loss_name(desc.kind), soft ? ", soft" : "", k, i, got[i],
                                 want[i]);
            }
        }
}

/* ------------------------------------------------------------------------------------ refusals */

static void wrong_losses_are_refused(void **state)
{
    (void)state;
    static const double negative[3] = { 1, -1, 1 };
    static const struct {
        cvy_loss_desc desc;
        const char *says;
    } wrong[] = {
        { { .kind = CVY_LOSS_KINDS }, "is not one of enum cvy_loss_kind" },
        { { .label_smoothing = 1 }, "label smoothing is 1, expected 0 to below 1" },
        { { .margin = 1 }, "the loss cross_entropy has no margin" },
        { { .temperature = -1 }, "temperature is -1, expected a positive finite number (0: 1)" },
        { { .temperature = NAN }, "temperature is nan" },
        { { .kind = CVY_BCE, .temperature = 2 }, "the loss bce has no temperature" },
        { { .kind = CVY_HINGE, .margin = -1 },
          "margin is -1, expected more than 0 and finite (0: 1)" },
        { { .kind = CVY_HINGE, .label_smoothing = 0.1 }, "the loss hinge has no label smoothing" },
        { { .kind = CVY_HINGE, .soft_targets = true }, "the loss hinge has no soft targets" },
        { { .soft_targets = true, .class_weights = negative },
          "soft targets have no class weights" },
        { { .soft_targets = true, .ignore = true }, "soft targets have no ignore_index" },
        { { .class_weights = negative }, "the weight of class 1 is -1, expected 0 or more" },
    };
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    cvy_op *op;
    assert_true(open_context(&ctx, &(cvy_context_options){ .threads = 1 }));
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor map = cvy_conv2d(net, cvy_input(net, 1, 2, 2), "conv",
                                &(cvy_conv2d_desc){ .out_channels = 3, .kernel = { 1, 1 } });
    cvy_tensor y = cvy_linear(net, map, "fc", &(cvy_linear_desc){ .out_features = 3 });
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const cvy_trainer_options o = { .batch = 2, .loss = wrong[i].desc };
        assert_int_equal(cvy_trainer_create(net, y, &o, &t), CVY_E_ARG);
        if (!strstr(cvy_message(ctx), wrong[i].says)) fail_msg("'%s'", cvy_message(ctx));
        assert_int_equal(cvy_op_loss(ctx, &wrong[i].desc, (cvy_shape){ 2, 3, 1, 1 }, &op),
                         CVY_E_ARG);
        if (!strstr(cvy_message(ctx), wrong[i].says)) fail_msg("'%s'", cvy_message(ctx));
    }
    assert_int_equal(cvy_trainer_create(net, map, &(cvy_trainer_options){ .batch = 2 }, &t),
                     CVY_E_SHAPE);
    assert_non_null(strstr(cvy_message(ctx), "per_pixel"));
    assert_int_equal(cvy_op_loss(ctx, NULL, (cvy_shape){ 2, 3, 2, 1 }, &op), CVY_E_SHAPE);
    static const float images[8] = { 1 }, targets[6] = { 1 };
    static const int32_t labels[2] = { 2, 3 };
    const struct {
        cvy_loss_desc desc;
        cvy_batch batch;
        const char *says;
    } batches[] = {
        { { .kind = CVY_MSE }, { .targets = targets }, "the batch needs labels" },
        { { .soft_targets = true }, { .labels32 = labels }, "the batch needs targets" },
        { { .soft_targets = true }, { .labels32 = labels, .targets = targets }, "and no labels" },
        { { .kind = CVY_BCE }, { .labels32 = labels }, "label 3 at position 1 of the batch" },
        { { .ignore = true, .ignore_index = 4 }, { .labels32 = labels }, "there are 3 classes" },
    };
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        cvy_batch b = batches[i].batch;
        b.images = images;
        b.dtype = CVY_F32;
        b.n = 2;
        const cvy_trainer_options o = { .batch = 2, .loss = batches[i].desc };
        assert_int_equal(cvy_trainer_create(net, y, &o, &t), CVY_OK);
        assert_int_equal(cvy_trainer_step(t, &b, NULL), CVY_E_ARG);
        if (!strstr(cvy_message(ctx), batches[i].says)) fail_msg("'%s'", cvy_message(ctx));
        cvy_trainer_destroy(&t);
    }
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

/* Nothing takes part: no loss, no gradient, and no NaN. */
static void nothing_may_take_part(void **state)
{
    (void)state;
    static const int32_t labels[2] = { 7, 7 };
    static const float x[6] = { 1, 2, 3, NAN, 5, 6 };
    static const char *const backends[] = { "native", "reference" };
    for (size_t b = 0; b < 2; b++)
        for (int kind = 0; kind < CVY_LOSS_KINDS; kind++) {
            const cvy_loss_desc desc = { .kind = (enum cvy_loss_kind)kind,
                                         .ignore = true,
                                         .ignore_index = 7 };
            cvy_context *ctx;
            cvy_op *op;
            double loss = 1;
            float dx[6];
            assert_true(open_context(
                &ctx, &(cvy_context_options){ .threads = 1, .backends = backends[b] }));
            assert_int_equal(cvy_op_loss(ctx, &desc, (cvy_shape){ 2, 3, 1, 1 }, &op), CVY_OK);
            const cvy_op_args args = { .src = x, .labels = labels, .loss = &loss, .diff_src = dx };
            assert_int_equal(cvy_op_run(op, &args), CVY_OK);
            assert_true(loss == 0);
            for (size_t i = 0; i < 6; i++) assert_true(dx[i] == 0);
            cvy_op_destroy(&op);
            cvy_context_destroy(&ctx);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference),
        cmocka_unit_test(native),
        cmocka_unit_test(module),
        cmocka_unit_test(differences),
        cmocka_unit_test(the_same_bits),
        cmocka_unit_test(wrong_losses_are_refused),
        cmocka_unit_test(nothing_may_take_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
