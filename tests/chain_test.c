/* Chains of ops that a backend takes in one piece, while somebody else reads a result inside: every
 * chain of up to four layers x a second reader at every place in it; pairs that are fused x 1 to 33
 * channels, in place and not, because layouts pad channels; every layer x every size of a partial
 * batch. In training and in prediction, on native and oneDNN's module, fused and op by op, against
 * the reference and against numbers found by hand.
 *
 *   chain_test [--all]     without it, the long sweeps take a part of their cases (CVYI_TEST_SEED:
 *                          which) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "acts.h"
#include "check.h"
#include "convoy/convoy.h"

enum { DEPTH = 4, CLASSES = 3, BATCH = 6, MOST_PARAMS = 40000, ACTS = CHECK_ACTS, SHARE = 64 };

static bool all; /* --all */

/* ------------------------------------------------------------------------------------- backends */

/* Native, fused and not; oneDNN's module, where there is one. */
static const struct who {
    const char *name, *backends;
    bool no_fusion;
    double tolerance;
} whos[] = {
    { "native", "native", false, 3e-6 },
    { "native, op by op", "native", true, 3e-6 },
    { "onednn", "onednn,native", false, 3e-5 },
    { "onednn, op by op", "onednn,native", true, 3e-5 },
};
enum { WHOS = sizeof whos / sizeof *whos };

static cvy_context *reference, *contexts[WHOS]; /* NULL: this build has no such module */

static int open_contexts(void **state)
{
    (void)state;
    cvy_context_options o = { .threads = 1, .backends = "reference" };
    if (cvy_context_create(&o, &reference) != CVY_OK) return -1;
    for (int w = 0; w < WHOS; w++) {
        o = (cvy_context_options){ .threads = 2,
                                   .backends = whos[w].backends,
                                   .no_fusion = whos[w].no_fusion };
        if (cvy_context_create(&o, &contexts[w]) == CVY_OK) continue;
        if (!strstr(cvy_message(contexts[w]), "convoy-onednn.so in")) {
            fprintf(stderr, "%s\n", cvy_message(contexts[w]));
            return -1;
        }
        cvy_context_destroy(&contexts[w]);
    }
    return 0;
}

static int close_contexts(void **state)
{
    (void)state;
    for (int w = 0; w < WHOS; w++) cvy_context_destroy(&contexts[w]);
    cvy_context_destroy(&reference);
    return 0;
}

/* ----------------------------------------------------------------------------------------- nets */

/* A convolution, then layers by their letters: c conv2d, g one of groups, k one with strides and
 * dilation, l linear, b batch_norm, f frozen batch_norm, r frozen rank, z frozen whitening,
 * a activation, m max_pool, w one with windows that overlap, v average pool, e one that leaves out
 * the padding, + add (of a convolution of the input), o concat (with one), p pad_channels. reader:
 * who else reads place `at` (0: the first convolution). */
struct chain {
    char layers[DEPTH + 1];
    size_t at;
    char reader;  /* a letter; 0: nobody */
    bool first;   /* the chain is the first operand of its adds */
    bool softmax; /* predictions are probabilities */
    cvy_act_desc act;
    size_t channels, size, kernel;
};

static const char *describe(const struct chain *c)
{
    static char text[256];
    snprintf(text, sizeof text,
             "%s of %s (alpha %g), %zu channels, %zu x %zu, kernel %zu, read at %zu by '%c'%s",
             c->layers, check_acts[c->act.kind].name, c->act.alpha, c->channels, c->size, c->size,
             c->kernel, c->at, c->reader ? c->reader : '-', c->first ? ", first" : "");
    return text;
}

struct build {
    cvy_net *net;
    const struct chain *c;
    cvy_tensor input;
    int names;
    char name[16];
};

static const char *name_of(struct build *b, const char *type)
{
    snprintf(b->name, sizeof b->name, "%s%d", type, b->names++);
    return b->name;
}

static cvy_tensor conv(struct build *b, cvy_tensor x, size_t kernel, size_t stride)
{
    size_t p = kernel / 2;
    return cvy_conv2d(b->net, x, name_of(b, "conv"),
                      &(cvy_conv2d_desc){ .out_channels = b->c->channels,
                                          .kernel = { kernel, kernel },
                                          .stride = { stride, stride },
                                          .pad = { p, p, p, p } });
}

static cvy_tensor unusual_conv(struct build *b, cvy_tensor x, bool groups)
{
    cvy_conv2d_desc d = { .out_channels = b->c->channels,
                          .kernel = { 3, 3 },
                          .pad = { 1, 1, 1, 1 } };
    if (groups) d.groups = cvy_tensor_shape(b->net, x).c;
    else
        d.stride[0] = d.stride[1] = d.dilation[0] = d.dilation[1] = d.pad[0] = d.pad[1] = d.pad[2] =
            d.pad[3] = 2;
    return cvy_conv2d(b->net, x, name_of(b, "conv"), &d);
}

static cvy_tensor pool(struct build *b, cvy_tensor x, char letter)
{
    cvy_pool2d_desc d = { .kind = letter == 'v' || letter == 'e' ? CVY_POOL_AVG : CVY_POOL_MAX,
                          .kernel = { 2, 2 } };
    if (letter == 'w' || letter == 'e')
        d = (cvy_pool2d_desc){ .kind = d.kind,
                               .kernel = { 3, 3 },
                               .stride = { 2, 2 },
                               .pad = { 1, 1, 1, 1 },
                               .exclude_pad = true };
    return cvy_pool2d(b->net, x, NULL, &d);
}

static cvy_tensor layer(struct build *b, cvy_tensor x, char letter)
{
    size_t stride = b->c->size / cvy_tensor_shape(b->net, x).h;
    cvy_tensor other;
    switch (letter) {
    case 'c': return conv(b, x, b->c->kernel, 1);
    case 'g':
    case 'k': return unusual_conv(b, x, letter == 'g');
    case 'l':
        return cvy_linear(b->net, x, name_of(b, "linear"),
                          &(cvy_linear_desc){ .out_features = b->c->channels });
    case 'b':
    case 'f':
        return cvy_batch_norm(b->net, x, name_of(b, "bn"),
                              &(cvy_batch_norm_desc){ .frozen = letter == 'f', .eps = 0.1 });
    case 'r': return cvy_rank(b->net, x, name_of(b, "rank"), &(cvy_rank_desc){ .frozen = true });
    case 'z':
        return cvy_whitening(b->net, x, name_of(b, "white"),
                             &(cvy_whitening_desc){ .frozen = true });
    case 'a': return cvy_activation(b->net, x, NULL, &b->c->act);
    case 'p': return cvy_pad_channels(b->net, x, 1, 2, NULL);
    case 'm':
    case 'w':
    case 'v':
    case 'e': return pool(b, x, letter);
    case '+':
    case 'o':
        other = conv(b, b->input, 1, stride);
        if (letter == 'o') return cvy_concat(b->net, (cvy_tensor[]){ other, x, other }, 3, NULL);
        return b->c->first ? cvy_add(b->net, x, other, NULL) : cvy_add(b->net, other, x, NULL);
    default: return CVY_NO_TENSOR;
    }
}

/* The last map and what the second reader makes of its own go to the classes pixel by pixel. */
static cvy_tensor joined(struct build *b, cvy_tensor x, cvy_tensor y)
{
    cvy_shape sx = cvy_tensor_shape(b->net, x), sy = cvy_tensor_shape(b->net, y);
    if (y < 0) return cvy_linear(b->net, x, "head", &(cvy_linear_desc){ .out_features = CLASSES });
    if (b->c->reader == '+' && sx.h == sy.h)
        return joined(b, cvy_add(b->net, x, y, NULL), CVY_NO_TENSOR);
    if (b->c->reader == 'o' && sx.h == sy.h)
        return joined(b, cvy_concat(b->net, (cvy_tensor[]){ y, x }, 2, NULL), CVY_NO_TENSOR);
    cvy_tensor parts[2] = { cvy_flatten(b->net, x), cvy_flatten(b->net, y) };
    return joined(b, cvy_concat(b->net, parts, 2, NULL), CVY_NO_TENSOR);
}

static cvy_tensor chain_net(struct build *b)
{
    const struct chain *c = b->c;
    b->input = cvy_input(b->net, 2, c->size, c->size);
    cvy_tensor x = conv(b, b->input, c->kernel, 1), y = c->at == 0 ? x : CVY_NO_TENSOR;
    for (size_t i = 0; c->layers[i]; i++) {
        x = layer(b, x, c->layers[i]);
        if (i + 1 == c->at) y = x;
    }
    if (!c->reader) y = CVY_NO_TENSOR;
    else if (c->reader != '+' && c->reader != 'o') y = layer(b, y, c->reader);
    return joined(b, x, y);
}

struct side {
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *trainer;
    cvy_predictor *predictor;
};

static bool open_side(struct side *s, cvy_context *ctx, const struct chain *c, uint64_t seed)
{
    static const cvy_optimizer_desc optimizers[] = {
        { .kind = CVY_SGD, .lr = 0.02, .momentum = 0.5 },
        { .kind = CVY_ADAM, .lr = 0.01, .beta2 = 0.9, .eps = 0.1, .weight_decay = 0.01 },
        { .kind = CVY_ADAMW, .lr = 0.01, .eps = 0.1, .weight_decay = 0.1, .epsilon_hat = true },
        { .kind = CVY_RMSPROP, .lr = 0.01, .eps = 0.1, .momentum = 0.5, .nesterov = true },
        { .kind = CVY_ADAGRAD, .lr = 0.01, .eps = 0.1, .eps_inside = true },
        { .kind = CVY_ADADELTA, .lr = 0.1, .eps = 0.1, .weight_decay = 0.01, .momentum = 0.5 },
    };
    _Static_assert(sizeof optimizers / sizeof *optimizers == CVY_OPTIMIZER_KINDS, "one a kind");
    *s = (struct side){ .ctx = ctx };
    if (cvy_net_create(ctx, &s->net) != CVY_OK) return false;
    struct build b = { .net = s->net, .c = c };
    cvy_tensor logits = chain_net(&b);
    cvy_tensor output = c->softmax ? cvy_softmax(s->net, logits, NULL) : logits;
    cvy_trainer_options o = { .batch = BATCH, .optimizer = optimizers[seed % CVY_OPTIMIZER_KINDS] };
    return cvy_trainer_create(s->net, logits, &o, &s->trainer) == CVY_OK &&
           cvy_predictor_create(s->net, output, BATCH, NULL, s->trainer, &s->predictor) == CVY_OK;
}

static void close_side(struct side *s)
{
    cvy_predictor_destroy(&s->predictor);
    cvy_trainer_destroy(&s->trainer);
    cvy_net_destroy(&s->net);
}

/* ------------------------------------------------------------------------------------ comparing */

/* The largest difference, in units of the largest number (at least 1). NaN counts as infinite. */
static double distance(const float *a, const float *b, size_t n)
{
    double worst = 0, scale = 1;
    for (size_t i = 0; i < n; i++) scale = fmax(scale, fabs((double)b[i]));
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]) / scale;
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    return worst;
}

static double worst[WHOS]; /* of the running test, in tolerances */
static size_t failures;

static void check(double d, double tolerance, const struct who *who, const struct chain *c,
                  const char *what)
{
    worst[who - whos] = fmax(worst[who - whos], d / tolerance);
    if (d <= tolerance) return;
    if (failures++ < 10)
        print_message("%s: %s: %s differs by %.3g\n", who->name, describe(c), what, d);
}

static void begin(void)
{
    failures = 0;
    memset(worst, 0, sizeof worst);
}

static void end(size_t cases)
{
    print_message("  %zu cases", cases);
    for (int w = 0; w < WHOS; w++)
        if (contexts[w])
            print_message("%s%s %.2f", w ? ", " : "; largest error, in bounds: ", whos[w].name,
                          worst[w]);
    print_message("\n");
    assert_int_equal(failures, 0);
}

static void compare_params(struct side *s, const struct side *right, const struct who *who,
                           const struct chain *c, size_t step)
{
    static float a[MOST_PARAMS], b[MOST_PARAMS];
    for (int kind = CVY_PARAM_WEIGHT; kind <= CVY_PARAM_GRADIENT; kind++)
        for (size_t i = 0; i < cvy_trainer_params(s->trainer, (enum cvy_param_kind)kind); i++) {
            char what[96];
            cvy_param_info info;
            assert_int_equal(cvy_trainer_param(s->trainer, (enum cvy_param_kind)kind, i, &info),
                             CVY_OK);
            assert_true(info.count <= MOST_PARAMS);
            assert_int_equal(cvy_trainer_get(s->trainer, info.kind, info.name, a, info.count),
                             CVY_OK);
            assert_int_equal(cvy_trainer_get(right->trainer, info.kind, info.name, b, info.count),
                             CVY_OK);
            snprintf(what, sizeof what, "%s (kind %d) after step %zu", info.name, kind, step);
            check(distance(a, b, info.count), who->tolerance, who, c, what);
        }
}

/* Random images and labels. */
static void draw(struct check_rng *r, const struct chain *c, size_t n, float *x, uint8_t *labels)
{
    for (size_t i = 0; i < n * 2 * c->size * c->size; i++) x[i] = check_normal(r);
    for (size_t i = 0; i < n; i++) labels[i] = (uint8_t)check_below(r, CLASSES);
}

/* Steps with so many images each (0: no more), then predictions of as many. */
static void run_chain(const struct chain *c, const size_t *images, uint64_t seed)
{
    float x[BATCH * 2 * 64], ya[BATCH * CLASSES], yb[BATCH * CLASSES];
    uint8_t labels[BATCH];
    struct check_rng r = { seed };
    struct side right, side[WHOS];
    assert_true(c->size <= 8);
    if (!open_side(&right, reference, c, seed))
        fail_msg("reference: %s: %s", describe(c), cvy_message(reference));
    for (int w = 0; w < WHOS; w++)
        if (contexts[w] && !open_side(&side[w], contexts[w], c, seed))
            fail_msg("%s: %s: %s", whos[w].name, describe(c), cvy_message(contexts[w]));
    for (size_t step = 0; images[step]; step++) {
        cvy_step_result got, want;
        cvy_batch batch = { .images = x, .dtype = CVY_F32, .labels8 = labels, .n = images[step] };
        draw(&r, c, batch.n, x, labels);
        assert_int_equal(cvy_trainer_step(right.trainer, &batch, &want), CVY_OK);
        for (int w = 0; w < WHOS; w++) {
            if (!contexts[w]) continue;
            if (cvy_trainer_step(side[w].trainer, &batch, &got))
                fail_msg("%s: %s: %s", whos[w].name, describe(c), cvy_message(contexts[w]));
            check(fabs(got.loss_sum - want.loss_sum) / (1 + want.loss_sum), whos[w].tolerance,
                  &whos[w], c, "the loss");
            compare_params(&side[w], &right, &whos[w], c, step + 1);
        }
    }
    for (size_t k = 0; images[k]; k++) {
        cvy_batch batch = { .images = x, .dtype = CVY_F32, .n = images[k] };
        draw(&r, c, batch.n, x, labels);
        assert_int_equal(cvy_predictor_run(right.predictor, &batch, yb), CVY_OK);
        for (int w = 0; w < WHOS; w++) {
            if (!contexts[w]) continue;
            if (cvy_predictor_run(side[w].predictor, &batch, ya))
                fail_msg("%s: %s: %s", whos[w].name, describe(c), cvy_message(contexts[w]));
            check(distance(ya, yb, batch.n * CLASSES), whos[w].tolerance, &whos[w], c,
                  "the prediction");
        }
    }
    for (int w = 0; w < WHOS; w++)
        if (contexts[w]) close_side(&side[w]);
    close_side(&right);
}

/* ----------------------------------------------------------------------------------- all chains */

/* `code` in base 6, to letters; false: two of a kind next to each other, or maps too small to be
 * pooled. */
static bool decode(size_t code, size_t depth, char *layers, size_t *pools)
{
    *pools = 0;
    for (size_t i = 0; i < depth; i++, code /= 6) {
        layers[i] = "cba+mv"[code % 6];
        if (i && layers[i] == layers[i - 1]) return false;
        *pools += layers[i] == 'm' || layers[i] == 'v';
    }
    layers[depth] = 0;
    return *pools <= 2;
}

/* The activation, the reader and the shape go by chance: every chain is met with every place of the
 * reader. */
static void every_chain_with_a_second_reader(void **state)
{
    (void)state;
    static const size_t channels[] = { 1, 2, 3, 4, 7, 8, 9, 13, 16, 17 };
    struct check_rng r = { check_seed() };
    size_t number = 0, ran = 0, skip_to = check_below(&r, SHARE);
    begin();
    for (size_t depth = 1, codes = 6; depth <= DEPTH; depth++, codes *= 6)
        for (size_t code = 0; code < codes; code++) {
            struct chain c = { .size = 4 };
            size_t pools;
            if (!decode(code, depth, c.layers, &pools)) continue;
            for (c.at = 0; c.at <= depth; c.at++) {
                uint64_t seed = check_u64(&r);
                struct check_rng own = { seed };
                if (!all && number++ % SHARE != skip_to) continue;
                c.reader = "+ocbamvrz"[check_below(&own, 9)];
                c.first = check_below(&own, 2);
                c.act = (cvy_act_desc){ .kind = (enum cvy_act_kind)check_below(&own, ACTS),
                                        .alpha = check_below(&own, 2) ? 0.3 : 0 };
                c.channels = channels[check_below(&own, sizeof channels / sizeof *channels)];
                c.kernel = check_below(&own, 2) ? 3 : 1;
                if (pools == 2 || check_below(&own, 4) == 0) c.size = 8;
                run_chain(&c, (const size_t[]){ BATCH, 3, BATCH, 0 }, seed);
                c.size = 4;
                ran++;
            }
        }
    end(ran);
}

/* ----------------------------------------------------------------------------- channels, images */

/* Pairs and triples that are fused, and sums in place and not: channels are padded to 8 or 16 in
 * oneDNN's layouts. */
static void fused_layers_with_any_number_of_channels(void **state)
{
    (void)state;
    static const struct {
        const char *layers;
        char reader;
        bool first;
        size_t at;
    } cases[] = {
        { "a", 0, false, 0 },    { "ba", 0, false, 0 },  { "fa", 0, false, 0 },
        { "+a", 0, true, 0 },    { "+a", 0, false, 0 },  { "+a", 'a', true, 0 },
        { "b+a", 0, true, 0 },   { "ma", 0, false, 0 },  { "mba", 0, false, 0 },
        { "ra", 0, false, 0 },   { "za", 'a', true, 0 }, { "ab", '+', false, 1 },
        { "bab", '+', true, 2 },
    };
    enum { CASES = sizeof cases / sizeof *cases };
    size_t ran = 0, skip_to = (size_t)check_seed() % 24;
    begin();
    for (size_t channels = 1; channels <= 33; channels++)
        for (size_t k = 0; k < CASES; k++)
            for (int act = 0; act < ACTS; act++) {
                if (!all && (channels * 7 + k * 5 + (size_t)act * 3) % 24 != skip_to) continue;
                struct chain c = { .reader = cases[k].reader,
                                   .first = cases[k].first,
                                   .at = cases[k].at,
                                   .act = { .kind = (enum cvy_act_kind)act },
                                   .channels = channels,
                                   .size = 4,
                                   .kernel = channels % 2 ? 1 : 3 };
                strcpy(c.layers, cases[k].layers);
                run_chain(&c, (const size_t[]){ BATCH, 0 }, channels);
                ran++;
            }
    end(ran);
}

/* A layer alone, with every number of images up to the batch: what was made for full batches is
 * made once more. */
static void every_layer_with_every_number_of_images(void **state)
{
    (void)state;
    static const char letters[] = "cgklbfamwve+oprz";
    size_t ran = 0;
    begin();
    for (const char *l = letters; *l; l++)
        for (int act = 0; act < (*l == 'a' ? ACTS : 1); act++, ran++) {
            struct chain c = { .layers = { *l },
                               .act = { .kind = (enum cvy_act_kind)act },
                               .channels = 5 + ran % 5,
                               .size = 4,
                               .kernel = 3,
                               .softmax = ran % 2 };
            if (*l == 'g') c.channels = 2 * c.channels; /* the first convolution has as many */
            run_chain(&c, (const size_t[]){ 1, 2, 3, 4, 5, BATCH, 1, 0 }, ran);
        }
    end(ran);
}

/* -------------------------------------------------------------------------------------- by hand */

static double act_of(const cvy_act_desc *d, double x)
{
    return check_acts[d->kind].value(x, check_acts[d->kind].alpha);
}

/* c is a convolution that changes nothing: c = x. */
enum form { NORM_ACT_ADD_C, ACT_ADD_C, ACT_OF_SUM, ACT_OF_SUM_TURNED, ACT_OF_SUM_AND_C, FORMS };
static const char *const form_names[FORMS] = { "act(bn(c)) + c", "act(c) + c", "act(c + x)",
                                               "act(x + c)", "act(c + x) + c" };

static cvy_tensor form_net(cvy_net *net, enum form form, const cvy_act_desc *act, size_t channels,
                           size_t size)
{
    cvy_tensor x = cvy_input(net, channels, size, size);
    cvy_tensor c = cvy_conv2d(
        net, x, "c",
        &(cvy_conv2d_desc){ .out_channels = channels, .kernel = { 1, 1 }, .no_bias = true });
    switch (form) {
    case NORM_ACT_ADD_C:
        return cvy_add(net, cvy_activation(net, cvy_batch_norm(net, c, "bn", NULL), NULL, act), c,
                       NULL);
    case ACT_ADD_C: return cvy_add(net, cvy_activation(net, c, NULL, act), c, NULL);
    case ACT_OF_SUM: return cvy_activation(net, cvy_add(net, c, x, NULL), NULL, act);
    case ACT_OF_SUM_TURNED: return cvy_activation(net, cvy_add(net, x, c, NULL), NULL, act);
    default: return cvy_add(net, cvy_activation(net, cvy_add(net, c, x, NULL), NULL, act), c, NULL);
    }
}

static double form_value(enum form form, const cvy_act_desc *act, double x)
{
    switch (form) {
    case NORM_ACT_ADD_C: return act_of(act, x / sqrt(1 + 1e-5)) + x;
    case ACT_ADD_C: return act_of(act, x) + x;
    case ACT_OF_SUM_AND_C: return act_of(act, 2 * x) + x;
    default: return act_of(act, 2 * x);
    }
}

static void compute_form(int w, enum form form, const cvy_act_desc *act, size_t channels)
{
    enum { IMAGES = 2, SIZE = 3, MOST = 33 };
    static float x[IMAGES * MOST * SIZE * SIZE], y[IMAGES * MOST * SIZE * SIZE],
        weights[MOST * MOST];
    size_t n = IMAGES * channels * SIZE * SIZE;
    cvy_net *net;
    cvy_predictor *p;
    for (size_t i = 0; i < n; i++) x[i] = i ? (float)((i * 37 + channels) % 41) / 10 - 2 : -1;
    for (size_t i = 0; i < channels * channels; i++) weights[i] = i / channels == i % channels;
    assert_int_equal(cvy_net_create(contexts[w], &net), CVY_OK);
    cvy_batch b = { .images = x, .dtype = CVY_F32, .n = IMAGES };
    if (cvy_predictor_create(net, form_net(net, form, act, channels, SIZE), IMAGES, NULL, NULL,
                             &p) ||
        cvy_predictor_set(p, CVY_PARAM_WEIGHT, "c.weight", weights, channels * channels) ||
        cvy_predictor_run(p, &b, y))
        fail_msg("%s: %s", whos[w].name, cvy_message(contexts[w]));
    for (size_t i = 0; i < n; i++) {
        double want = form_value(form, act, (double)x[i]);
        if (!(fabs((double)y[i] - want) <= 4e-6))
            fail_msg("%s: %s, %s, %zu channels: %.9g of %g, not %.9g", whos[w].name,
                     form_names[form], check_acts[act->kind].name, channels, (double)y[i],
                     (double)x[i], want);
    }
    cvy_predictor_destroy(&p);
    cvy_net_destroy(&net);
}

static void results_that_were_wrong_once(void **state)
{
    (void)state;
    for (int w = 0; w < WHOS; w++)
        for (size_t channels = 1; contexts[w] && channels <= 33; channels++)
            for (int form = 0; form < FORMS; form++)
                for (int act = 0; act < ACTS; act++)
                    if (all || channels <= 2 || (channels + (size_t)form + (size_t)act) % 8 == 0)
                        compute_form(w, (enum form)form,
                                     &(cvy_act_desc){ .kind = (enum cvy_act_kind)act }, channels);
}

/* A convolution that changes nothing, an activation, the maximum of a window, a linear layer whose
 * logits are (v, -v), label 0: loss log(1 + exp(-2 v)), so dv = -2 / (1 + exp(2 v)). An activation
 * that is not monotone has its largest value where the window is not largest; were the maximum
 * taken first, forward and backward would go another way. The reference would too, so this is told
 * by hand. */
static void peak(int w, const cvy_act_desc *act, const float window[4], double want, double want_dw)
{
    static const uint8_t label[1] = { 0 };
    cvy_net *net;
    cvy_trainer *t;
    cvy_predictor *p;
    float logits[2], dw;
    const char *name = check_acts[act->kind].name;
    assert_int_equal(cvy_net_create(contexts[w], &net), CVY_OK);
    cvy_tensor x = cvy_input(net, 1, 2, 2);
    x = cvy_conv2d(net, x, "c",
                   &(cvy_conv2d_desc){ .out_channels = 1, .kernel = { 1, 1 }, .no_bias = true });
    x = cvy_activation(net, x, "act", act);
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 } });
    x = cvy_linear(net, cvy_flatten(net, x), "fc",
                   &(cvy_linear_desc){ .out_features = 2, .no_bias = true });
    cvy_trainer_options o = { .batch = 1, .sgd = { .lr = 0 } };
    cvy_batch b = { .images = window, .labels8 = label, .dtype = CVY_F32, .n = 1 };
    if (cvy_trainer_create(net, x, &o, &t) ||
        cvy_trainer_set(t, CVY_PARAM_WEIGHT, "c.weight", (float[]){ 1 }, 1) ||
        cvy_trainer_set(t, CVY_PARAM_WEIGHT, "fc.weight", (float[]){ 1, -1 }, 2) ||
        cvy_predictor_create(net, x, 1, NULL, t, &p) || cvy_predictor_run(p, &b, logits) ||
        cvy_trainer_step(t, &b, NULL) || cvy_trainer_get(t, CVY_PARAM_GRADIENT, "c.weight", &dw, 1))
        fail_msg("%s: %s", whos[w].name, cvy_message(contexts[w]));
    if (!(fabs((double)logits[0] - want) <= 2e-6))
        fail_msg("%s: %s: the maximum is %.9g, not %.9g", whos[w].name, name, (double)logits[0],
                 want);
    if (!(fabs((double)dw - want_dw) <= 5 * whos[w].tolerance)) /* the loss, too, is its own */
        fail_msg("%s: %s: the gradient is %.9g, not %.9g", whos[w].name, name, (double)dw, want_dw);
    cvy_predictor_destroy(&p);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
}

static void a_maximum_behind_an_activation(void **state)
{
    (void)state;
    static const float windows[][4] = { { -3, -0.1f, -0.8f, -2 }, /* both sides of the dip */
                                        { -1.1f, -2.5f, -2.9f, -0.9f },
                                        { 0.5f, -4, 2, 1.5f } };
    for (int w = 0; w < WHOS; w++) {
        if (!contexts[w]) continue;
        /* GELU(-3) = -3 Phi(-3) = -0.00404969, GELU(-0.1) = -0.0460; GELU'(-3) = Phi(-3) - 3 phi(3)
         * = 0.00134990 - 0.01329554 = -0.01194565, dv = -2 / (1 + exp(-0.00809939)) = -1.00404969,
         * dw = dv GELU'(-3) * -3 */
        peak(w, &(cvy_act_desc){ .kind = CVY_GELU }, windows[0], -0.00404969, -0.03598205);
        for (int kind = 0; kind < ACTS; kind++)
            for (size_t k = 0; k < sizeof windows / sizeof *windows; k++) {
                const struct check_act *a = &check_acts[kind];
                double best = -INFINITY, at = 0;
                for (int i = 0; i < 4; i++) {
                    double x = (double)windows[k][i], v = a->value(x, a->alpha);
                    if (v > best) {
                        best = v;
                        at = x;
                    }
                }
                double dv = -2 / (1 + exp(2 * best));
                peak(w, &(cvy_act_desc){ .kind = (enum cvy_act_kind)kind }, windows[k], best,
                     a->through(dv, a->by_x ? at : best, a->alpha) * at);
            }
    }
}

int main(int argc, char **argv)
{
    all = argc == 2 && !strcmp(argv[1], "--all");
    if (argc > 1 && !all) {
        fprintf(stderr, "usage: %s [--all]\n", argv[0]);
        return 2;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_that_were_wrong_once),
        cmocka_unit_test(a_maximum_behind_an_activation),
        cmocka_unit_test(every_chain_with_a_second_reader),
        cmocka_unit_test(fused_layers_with_any_number_of_channels),
        cmocka_unit_test(every_layer_with_every_number_of_images),
    };
    return cmocka_run_group_tests(tests, open_contexts, close_contexts);
}
