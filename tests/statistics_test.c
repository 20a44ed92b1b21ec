/* What batch norms do with statistics, and where inference has them from: population statistics are
 * the averages of what single batches have, and nothing else moves; batch norms that normalise by
 * the batch they are given, in inference, too; what is added to running variances; dropouts of
 * training or inference alone; a bias in front of a mean that is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "convoy/convoy.h"
#include "ways.h"

enum { IMAGES = 40, BATCH = 12, SIDE = 6, CLASSES = 4, MOST = 8192, STEPS = 3, BATCHES = 5 };

static float images[IMAGES * SIDE * SIDE];
static uint8_t labels[IMAGES];
static const char *const backends[] = { "native", "reference", "onednn,native",
                                        "onednn,reference" };

/* Maps and features behind a batch norm each, and masks that depend on the step. */
static cvy_tensor build(cvy_net *net, const cvy_batch_norm_desc *bn)
{
    cvy_tensor x = cvy_input(net, 1, SIDE, SIDE);
    x = cvy_conv2d(net, x, "c1", &(cvy_conv2d_desc){ .out_channels = 5, .kernel = { 3, 3 } });
    x = cvy_dropout(net, cvy_relu(net, cvy_batch_norm(net, x, "b1", bn)), NULL,
                    &(cvy_dropout_desc){ .p = 0.25 });
    x = cvy_linear(net, x, "f1", &(cvy_linear_desc){ .out_features = 19 });
    x = cvy_sigmoid(net, cvy_batch_norm(net, x, "b2", bn));
    return cvy_linear(net, x, "f2", &(cvy_linear_desc){ .out_features = CLASSES });
}

struct opened {
    cvy_context *ctx;
    cvy_net *net;
    cvy_tensor y;
    cvy_trainer *t;
};

static bool open_trainer(const cvy_context_options *way, const cvy_batch_norm_desc *bn,
                         const cvy_trainer_options *o, struct opened *x)
{
    cvy_trainer_options options = *o;
    *x = (struct opened){ 0 };
    if (cvy_context_create(way, &x->ctx)) return false;
    cvy_context *ctx = x->ctx;
    OK(cvy_net_create(ctx, &x->net));
    options.batch = BATCH;
    options.seed = options.init.seed = 4;
    x->y = build(x->net, bn);
    OK(cvy_trainer_create(x->net, x->y, &options, &x->t));
    return true;
}

static void close_trainer(struct opened *x)
{
    cvy_trainer_destroy(&x->t);
    cvy_net_destroy(&x->net);
    cvy_context_destroy(&x->ctx);
}

static cvy_batch batch_of(size_t k)
{
    const size_t first = k * 7 % (IMAGES - BATCH), n = k % 3 == 2 ? BATCH - 5 : BATCH;
    return (cvy_batch){
        .images = images + first * SIDE * SIDE, .dtype = CVY_F32, .labels8 = labels + first, .n = n
    };
}

/* All values of one kind, or (kind < 0) of all kinds but the running statistics. */
static size_t values(struct opened *x, int kind, double *out)
{
    size_t n = 0;
    cvy_context *ctx = x->ctx;
    for (int k = 0; k < CVY_PARAM_KINDS; k++) {
        if (kind < 0 ? k == CVY_PARAM_RUNNING : k != kind) continue;
        for (size_t i = 0; i < cvy_trainer_params(x->t, (enum cvy_param_kind)k); i++) {
            cvy_param_info info;
            OK(cvy_trainer_param(x->t, (enum cvy_param_kind)k, i, &info));
            assert_true(n + info.count <= MOST);
            OK(cvy_trainer_get64(x->t, info.kind, info.name, out + n, info.count));
            n += info.count;
        }
    }
    return n;
}

/* ----------------------------------------------------------------------- population statistics */

static const cvy_trainer_options learns = { .sgd = { .lr = 0.1, .momentum = 0.9 },
                                            .accumulate = 2,
                                            .augment = { .flip = true } };

/* What batches have one by one: a batch norm of momentum 1 keeps its last batch's. */
static size_t averages(const cvy_context_options *way, struct opened *from, double *out)
{
    static double weights[MOST], one[MOST];
    const cvy_batch_norm_desc last = { .momentum = 1 };
    cvy_trainer_options still = learns;
    struct opened x;
    size_t n = 0;
    still.sgd = (cvy_sgd_desc){ .lr = 0 };
    assert_true(open_trainer(way, &last, &still, &x));
    cvy_context *ctx = x.ctx;
    for (size_t i = 0; i < cvy_trainer_params(x.t, CVY_PARAM_WEIGHT); i++) {
        cvy_param_info info;
        OK(cvy_trainer_param(x.t, CVY_PARAM_WEIGHT, i, &info));
        OK(cvy_trainer_get64(from->t, CVY_PARAM_WEIGHT, info.name, weights, info.count));
        OK(cvy_trainer_set64(x.t, CVY_PARAM_WEIGHT, info.name, weights, info.count));
    }
    for (size_t k = 0; k < BATCHES; k++) {
        const cvy_batch batch = batch_of(k);
        cvy_trainer_set_steps(x.t, cvy_trainer_steps(from->t) + k);
        OK(cvy_trainer_step(x.t, &batch, NULL));
        n = values(&x, CVY_PARAM_RUNNING, one);
        for (size_t i = 0; i < n; i++) out[i] = (k ? out[i] : 0) + one[i] / BATCHES;
    }
    close_trainer(&x);
    return n;
}

static bool populate(const cvy_context_options *way, bool biased, struct opened *x)
{
    const cvy_batch_norm_desc bn = { .running_var =
                                         biased ? CVY_BN_VAR_BIASED : CVY_BN_VAR_UNBIASED };
    if (!open_trainer(way, &bn, &learns, x)) return false;
    cvy_context *ctx = x->ctx;
    for (size_t k = 0; k < STEPS; k++) { /* the last begins a round */
        const cvy_batch batch = batch_of(k + 3);
        OK(cvy_trainer_step(x->t, &batch, NULL));
    }
    return true;
}

static void the_average_of_batches(void **state)
{
    (void)state;
    static double want[MOST], got[MOST], before[MOST], after[MOST];
    for (size_t b = 0; b < 4; b++)
        for (int biased = 0; biased < 2; biased++) {
            const cvy_context_options way = { .threads = 1, .backends = backends[b] };
            struct opened x;
            if (!populate(&way, biased, &x)) continue; /* it was not built */
            cvy_context *ctx = x.ctx;
            const size_t n = values(&x, -1, before), m = averages(&way, &x, want);
            for (size_t k = 0; k < BATCHES; k++) {
                const cvy_batch batch = batch_of(k);
                OK(cvy_trainer_population(x.t, &batch, k));
            }
            assert_int_equal(values(&x, CVY_PARAM_RUNNING, got), m);
            for (size_t i = 0; i < m; i++)
                if (!(fabs(got[i] - want[i]) <= 2e-6 * fmax(1, fabs(want[i]))))
                    fail_msg("%s, number %zu: %.9g, expected %.9g", backends[b], i, got[i],
                             want[i]);
            assert_int_equal(values(&x, -1, after), n);
            assert_memory_equal(before, after, n * sizeof *after);
            assert_int_equal(cvy_trainer_steps(x.t), STEPS);
            close_trainer(&x);
        }
}

/* Nothing that comes later is different for it, but the running statistics; and a predictor that
 * shares them follows. */
static void training_goes_on(void **state)
{
    (void)state;
    static double want[MOST], got[MOST];
    const cvy_context_options way = { .threads = 2 };
    struct opened x, y;
    assert_true(populate(&way, false, &x) && populate(&way, false, &y));
    cvy_context *ctx = x.ctx;
    cvy_predictor *p;
    const cvy_batch batch = batch_of(0);
    float before[BATCH * CLASSES], after[BATCH * CLASSES];
    OK(cvy_predictor_create(x.net, x.y, BATCH, NULL, x.t, &p));
    OK(cvy_predictor_run(p, &batch, before));
    OK(cvy_trainer_population(x.t, &batch, 0));
    OK(cvy_predictor_run(p, &batch, after));
    assert_memory_not_equal(before, after, sizeof after);
    for (size_t k = 0; k < STEPS; k++) {
        const cvy_batch next = batch_of(k);
        OK(cvy_trainer_step(x.t, &next, NULL));
        assert_int_equal(cvy_trainer_step(y.t, &next, NULL), CVY_OK);
    }
    const size_t n = values(&x, -1, got);
    assert_int_equal(values(&y, -1, want), n);
    assert_memory_equal(want, got, n * sizeof *got);
    cvy_predictor_destroy(&p);
    close_trainer(&x);
    close_trainer(&y);
}

static void the_same_bits(void **state)
{
    (void)state;
    static double want[MOST], got[MOST];
    cvy_context_options way = { .threads = 1 };
    size_t n = 0;
    for (size_t i = 0; i == 0 || some_way(i - 1, &way); i++) {
        struct opened x;
        if (!populate(&way, false, &x)) continue; /* not this instruction set */
        cvy_context *ctx = x.ctx;
        for (size_t k = 0; k < BATCHES; k++) {
            const cvy_batch batch = batch_of(k);
            OK(cvy_trainer_population(x.t, &batch, k));
        }
        n = values(&x, CVY_PARAM_RUNNING, i ? got : want);
        if (i && memcmp(want, got, n * sizeof *got)) fail_msg("way %zu differs", i - 1);
        close_trainer(&x);
    }
    assert_true(n > 0);
}

static void mistakes_change_nothing(void **state)
{
    (void)state;
    static double before[MOST], after[MOST];
    struct opened x;
    assert_true(populate(&(cvy_context_options){ .threads = 1 }, false, &x));
    cvy_context *ctx = x.ctx;
    const size_t n = values(&x, CVY_PARAM_RUNNING, before);
    cvy_batch batch = batch_of(0);
    assert_int_equal(cvy_trainer_population(NULL, &batch, 0), CVY_E_ARG);
    assert_int_equal(cvy_trainer_population(x.t, NULL, 0), CVY_E_ARG);
    batch.n = 1;
    assert_int_equal(cvy_trainer_population(x.t, &batch, 0), CVY_E_SHAPE);
    assert_non_null(strstr(cvy_message(ctx), "b2: batch norm needs more than one value"));
    batch.n = BATCH + 1;
    assert_int_equal(cvy_trainer_population(x.t, &batch, 0), CVY_E_ARG);
    values(&x, CVY_PARAM_RUNNING, after);
    assert_memory_equal(before, after, n * sizeof *after);
    close_trainer(&x);
    cvy_trainer_options dry = learns;
    dry.dry_run = true;
    assert_true(open_trainer(NULL, NULL, &dry, &x));
    batch = batch_of(0);
    assert_int_equal(cvy_trainer_population(x.t, &batch, 0), CVY_E_STATE);
    close_trainer(&x);
}

/* ----------------------------------------------------------------------------- batch statistics */

/* Logits of inference are those of training without dropout, which no running statistics matter
 * to. */
static void inference_by_the_batch(void **state)
{
    (void)state;
    for (size_t b = 0; b < 4; b++) {
        cvy_context *ctx;
        const cvy_context_options way = { .threads = 2, .backends = backends[b] };
        if (cvy_context_create(&way, &ctx)) continue;
        cvy_net *net;
        cvy_trainer *t;
        cvy_predictor *p;
        const cvy_batch_norm_desc bn = { .batch_statistics = true },
                                  last = { .momentum = 1, .running_var = CVY_BN_VAR_BIASED };
        OK(cvy_net_create(ctx, &net));
        cvy_tensor x = cvy_input(net, 1, SIDE, SIDE);
        x = cvy_conv2d(net, x, "c1", &(cvy_conv2d_desc){ .out_channels = 5, .kernel = { 3, 3 } });
        x = cvy_batch_norm(net, cvy_relu(net, cvy_batch_norm(net, x, "b1", &bn)), "b2", &last);
        x = cvy_linear(net, x, "f1", &(cvy_linear_desc){ .out_features = 9 });
        x = cvy_sigmoid(net, cvy_batch_norm(net, x, "b3", &bn));
        x = cvy_linear(net, x, "f2", &(cvy_linear_desc){ .out_features = CLASSES });
        /* of b2 the running statistics are the batch's */
        OK(cvy_trainer_create(net, x,
                              &(cvy_trainer_options){ .batch = BATCH, .keep_tensors = true }, &t));
        OK(cvy_predictor_create(net, x, BATCH, NULL, t, &p));
        for (size_t k = 0; k < 3; k++) {
            const size_t n = (const size_t[]){ BATCH, 7, 2 }[k];
            const cvy_batch batch = {
                .images = images, .dtype = CVY_F32, .labels8 = labels, .n = n
            };
            double want[BATCH * CLASSES];
            float got[BATCH * CLASSES];
            OK(cvy_trainer_step(t, &batch, NULL));
            for (size_t i = 0; i < cvy_trainer_tensors(t); i++) {
                cvy_tensor_info info;
                OK(cvy_trainer_tensor(t, i, &info));
                if (!strcmp(info.name, "f2")) OK(cvy_trainer_tensor_get(t, i, want, n * CLASSES));
            }
            OK(cvy_predictor_run(p, &batch, got));
            for (size_t i = 0; i < n * CLASSES; i++)
                if (!(fabs((double)got[i] - want[i]) <= 1e-4))
                    fail_msg("%s, %zu images, logit %zu: %.9g, expected %.9g", backends[b], n, i,
                             (double)got[i], want[i]);
        }
        cvy_predictor_destroy(&p);
        cvy_trainer_destroy(&t);
        cvy_net_destroy(&net);
        cvy_context_destroy(&ctx);
    }
}

/* One batch norm: what it gives has mean 0 and variance 1 in every batch; of one image, 0. */
static void by_hand(void **state)
{
    (void)state;
    static float first[BATCH * SIDE * SIDE];
    for (size_t b = 0; b < 4; b++)
        for (size_t k = 0, way_no = 0;
             b == 0 ? some_way(way_no, &(cvy_context_options){ 0 }) : k < 1; k++, way_no++) {
            cvy_context *ctx;
            cvy_context_options way = { .threads = 1, .backends = backends[b] };
            if (b == 0) some_way(way_no, &way);
            if (cvy_context_create(&way, &ctx)) continue;
            cvy_net *net;
            cvy_predictor *p;
            OK(cvy_net_create(ctx, &net));
            cvy_tensor x = cvy_batch_norm(net, cvy_input(net, 1, SIDE, SIDE), "b",
                                          &(cvy_batch_norm_desc){ .batch_statistics = true });
            OK(cvy_predictor_create(net, x, BATCH, NULL, NULL, &p));
            for (size_t s = 0; s < 3; s++) {
                const size_t n = (const size_t[]){ BATCH, 6, 1 }[s];
                static float got[BATCH * SIDE * SIDE];
                const cvy_batch batch = { .images = images, .dtype = CVY_F32, .n = n };
                const size_t m = n * SIDE * SIDE;
                double mean = 0, var = 0;
                OK(cvy_predictor_run(p, &batch, got));
                for (size_t i = 0; i < m; i++) mean += (double)images[i] / (double)m;
                for (size_t i = 0; i < m; i++)
                    var += ((double)images[i] - mean) * ((double)images[i] - mean) / (double)m;
                for (size_t i = 0; i < m; i++) {
                    const double want = ((double)images[i] - mean) / sqrt(var + 1e-5);
                    if (!(fabs((double)got[i] - want) <= 2e-5))
                        fail_msg("%s, %zu images, %zu: %.9g, expected %.9g", backends[b], n, i,
                                 (double)got[i], want);
                }
                if (n != BATCH || b) continue;
                if (k == 0) memcpy(first, got, sizeof got);
                assert_memory_equal(first, got, sizeof got);
            }
            cvy_predictor_destroy(&p);
            cvy_net_destroy(&net);
            cvy_context_destroy(&ctx);
        }
}

/* r' = 0.9 r + 0.1 v + offset, and nothing else knows of it. */
static void offsets(void **state)
{
    (void)state;
    static double plain[MOST], got[MOST];
    for (size_t b = 0; b < 4; b++) {
        const cvy_context_options way = { .threads = 1, .backends = backends[b] };
        struct opened x;
        for (int with = 0; with < 2; with++) {
            const cvy_batch_norm_desc bn = { .running_var_offset = with ? 0.5 : 0 };
            if (!open_trainer(&way, &bn, &learns, &x)) break;
            cvy_context *ctx = x.ctx;
            for (size_t k = 0; k < STEPS; k++) {
                const cvy_batch batch = batch_of(k);
                OK(cvy_trainer_step(x.t, &batch, NULL));
            }
            const size_t n = values(&x, CVY_PARAM_RUNNING, with ? got : plain);
            if (with) /* 5 means, 5 variances, 19 means, 19 variances */
                for (size_t i = 0; i < n; i++) {
                    const bool var = i / 5 == 1 || i >= 29;
                    const double want = plain[i] + (var ? 0.5 * (1 + 0.9 + 0.81) : 0);
                    assert_true(n == 48 && fabs(got[i] - want) <= 1e-6);
                }
            close_trainer(&x);
        }
    }
}

/* -------------------------------------------------------------------------------------- dropout */

/* In front of a linear layer, of inference alone: half of its weights and all of its bias; of
 * training alone: nothing in inference. */
static void dropout_of_one_of_them(void **state)
{
    (void)state;
    for (size_t b = 0; b < 4; b++) {
        cvy_context *ctx;
        const cvy_context_options way = { .threads = 1, .backends = backends[b] };
        if (cvy_context_create(&way, &ctx)) continue;
        cvy_net *net;
        cvy_trainer *t;
        cvy_predictor *p;
        OK(cvy_net_create(ctx, &net));
        cvy_tensor x = cvy_input(net, 1, SIDE, SIDE);
        x = cvy_dropout(
            net, x, NULL,
            &(cvy_dropout_desc){ .p = 0.5, .unscaled = true, .when = CVY_DROPOUT_INFERENCE });
        cvy_tensor y = cvy_linear(net, x, "f", &(cvy_linear_desc){ .out_features = CLASSES });
        cvy_tensor z = cvy_dropout(
            net, y, NULL,
            &(cvy_dropout_desc){ .p = 0.5, .unscaled = true, .when = CVY_DROPOUT_TRAINING });
        OK(cvy_trainer_create(
            net, z, &(cvy_trainer_options){ .batch = BATCH, .keep_tensors = true, .seed = 3 }, &t));
        OK(cvy_predictor_create(net, z, BATCH, NULL, t, &p));
        const cvy_batch batch = batch_of(0);
        float w[CLASSES * SIDE * SIDE], bias[CLASSES], got[BATCH * CLASSES];
        double trained[BATCH * CLASSES];
        OK(cvy_trainer_get(t, CVY_PARAM_WEIGHT, "f.weight", w, CLASSES * SIDE * SIDE));
        OK(cvy_trainer_get(t, CVY_PARAM_WEIGHT, "f.bias", bias, CLASSES));
        OK(cvy_trainer_step(t, &batch, NULL));
        OK(cvy_predictor_run(p, &batch, got));
        for (size_t i = 0; i < cvy_trainer_tensors(t); i++) {
            cvy_tensor_info info;
            OK(cvy_trainer_tensor(t, i, &info));
            if (!strcmp(info.name, "f")) OK(cvy_trainer_tensor_get(t, i, trained, BATCH * CLASSES));
        }
        for (size_t i = 0; i < BATCH * CLASSES; i++) {
            const float *pixel = (const float *)batch.images + i / CLASSES * SIDE * SIDE;
            double sum = 0;
            for (size_t k = 0; k < SIDE * SIDE; k++)
                sum += (double)w[i % CLASSES * SIDE * SIDE + k] * (double)pixel[k];
            assert_true(fabs((double)got[i] - (0.5 * sum + (double)bias[i % CLASSES])) <= 1e-5);
            assert_true(fabs(trained[i] - (sum + (double)bias[i % CLASSES])) <= 1e-5);
        }
        cvy_predictor_destroy(&p);
        cvy_trainer_destroy(&t);
        cvy_net_destroy(&net);
        cvy_context_destroy(&ctx);
    }
}

/* One image has no variance between features: refused, when it is known. */
static void one_image_alone(void **state)
{
    (void)state;
    cvy_context *ctx;
    cvy_net *net;
    cvy_predictor *p;
    float out[2 * SIDE * SIDE];
    OK(cvy_context_create(NULL, &ctx));
    OK(cvy_net_create(ctx, &net));
    cvy_tensor x = cvy_flatten(net, cvy_input(net, 1, SIDE, SIDE));
    x = cvy_batch_norm(net, x, "b", &(cvy_batch_norm_desc){ .batch_statistics = true });
    OK(cvy_predictor_create(net, x, 2, NULL, NULL, &p));
    cvy_batch batch = { .images = images, .dtype = CVY_F32, .n = 2 };
    OK(cvy_predictor_run(p, &batch, out));
    batch.n = 1;
    assert_int_equal(cvy_predictor_run(p, &batch, out), CVY_E_SHAPE);
    assert_non_null(
        strstr(cvy_message(ctx), "b: batch norm needs more than one value per channel"));
    cvy_predictor_destroy(&p);
    assert_int_equal(cvy_predictor_create(net, x, 1, NULL, NULL, &p), CVY_E_SHAPE);
    assert_non_null(strstr(cvy_message(ctx), "'b': batch_statistics needs more than one value"));
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

static void mistakes_have_sentences(void **state)
{
    (void)state;
    static const cvy_batch_norm_desc norms[] = {
        { .frozen = true, .batch_statistics = true },
        { .running_var_offset = -1 },
        { .running_var_offset = INFINITY },
    };
    static const cvy_dropout_desc dropouts[] = {
        { .p = 0.5, .when = (enum cvy_dropout_when)3 },
        { .p = 0.5, .when = CVY_DROPOUT_INFERENCE },
    };
    static const char *const says[] = { "'b' is both frozen and of batch_statistics",
                                        "'b': running_var_offset is -1, expected 0 or more",
                                        "'b': running_var_offset is inf, expected 0 or more",
                                        "when is 3, expected CVY_DROPOUT_ALWAYS",
                                        "of inference it would do nothing unless it is unscaled" };
    cvy_context *ctx;
    OK(cvy_context_create(NULL, &ctx));
    for (size_t i = 0; i < 5; i++) {
        cvy_net *net;
        OK(cvy_net_create(ctx, &net));
        cvy_tensor x = cvy_input(net, 1, SIDE, SIDE);
        if (i < 3) (void)cvy_batch_norm(net, x, "b", &norms[i]);
        else (void)cvy_dropout(net, x, "d", &dropouts[i - 3]);
        assert_int_equal(cvy_net_status(net), CVY_E_ARG);
        if (!strstr(cvy_message(ctx), says[i]))
            fail_msg("'%s' does not say '%s'", cvy_message(ctx), says[i]);
        cvy_net_destroy(&net);
    }
    cvy_op *op;
    const cvy_dropout_desc half = { .p = 0.5, .when = CVY_DROPOUT_TRAINING };
    assert_int_equal(cvy_op_dropout(ctx, &half, (cvy_shape){ 1, 1, 2, 2 }, CVY_FORWARD, &op),
                     CVY_E_ARG);
    assert_null(op);
    cvy_context_destroy(&ctx);
}

/* ------------------------------------------------------------------ a bias that changes nothing */

/* Largest gradient of c1's bias and of f2's, which has no batch norm behind it, after a step. */
static bool bias_gradients(const char *backend, unsigned threads, cvy_batch_norm_desc bn,
                           double *before_norm, double *behind)
{
    const cvy_context_options way = { .threads = threads, .backends = backend };
    double c1[5], f1[19], f2[CLASSES];
    struct opened x;
    if (!open_trainer(&way, &bn, &learns, &x)) return false;
    cvy_context *ctx = x.ctx;
    const cvy_batch batch = batch_of(2); /* fewer images than there is room for */
    OK(cvy_trainer_step(x.t, &batch, NULL));
    OK(cvy_trainer_get64(x.t, CVY_PARAM_GRADIENT, "c1.bias", c1, 5));
    OK(cvy_trainer_get64(x.t, CVY_PARAM_GRADIENT, "f1.bias", f1, 19));
    OK(cvy_trainer_get64(x.t, CVY_PARAM_GRADIENT, "f2.bias", f2, CLASSES));
    *before_norm = *behind = 0;
    for (size_t i = 0; i < 5; i++) *before_norm = fmax(*before_norm, fabs(c1[i]));
    for (size_t i = 0; i < 19; i++) *before_norm = fmax(*before_norm, fabs(f1[i]));
    for (size_t i = 0; i < CLASSES; i++) *behind = fmax(*behind, fabs(f2[i]));
    close_trainer(&x);
    return true;
}

/* It changes nothing behind it, so it has no gradient, of which others keep what rounding leaves;
 * where no mean is taken it has one. */
static void a_bias_that_changes_nothing(void **state)
{
    (void)state;
    for (uint64_t s = CVY_BN_STATISTICS_BOTH; s <= CVY_BN_STATISTICS_VARIANCE; s++)
        for (size_t b = 0; b < 4; b++)
            for (unsigned threads = 1; threads <= 3; threads += 2) {
                double none, some;
                if (!bias_gradients(backends[b], threads, (cvy_batch_norm_desc){ .statistics = s },
                                    &none, &some))
                    continue;
                assert_true(some > 1e-3);
                if (s == CVY_BN_STATISTICS_VARIANCE) assert_true(none > 1e-4);
                else if (!strcmp(backends[b], "native")) assert_true(none == 0);
                else assert_true(none <= 1e-5 * some);
            }
}

int main(void)
{
    uint32_t s = 7;
    for (size_t i = 0; i < IMAGES * SIDE * SIDE; i++)
        images[i] = (float)((s = s * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1;
    for (size_t i = 0; i < IMAGES; i++) labels[i] = (uint8_t)(i % CLASSES);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_average_of_batches),
        cmocka_unit_test(training_goes_on),
        cmocka_unit_test(the_same_bits),
        cmocka_unit_test(mistakes_change_nothing),
        cmocka_unit_test(inference_by_the_batch),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(offsets),
        cmocka_unit_test(dropout_of_one_of_them),
        cmocka_unit_test(mistakes_have_sentences),
        cmocka_unit_test(one_image_alone),
        cmocka_unit_test(a_bias_that_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
