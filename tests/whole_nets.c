/* Whole nets on every backend, and on every ordered list of backends, against the reference: random
 * nets of five layers and more are trained for three steps (a full batch and two partial ones),
 * from running statistics that are not the batch's, and then predict. Losses, gradients, weights,
 * momenta, running statistics and outputs must be the reference's within bounds near what is
 * measured (docs/numerics.md). What one backend hands to another is in every one of them.
 *
 *   whole_nets MODULES [--seed S] [--cases N] [--case I]     a failure prints the line that repeats
 *   it
 *
 * MODULES: the directory with the modules of tests/modules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "acts.h"
#include "check.h"
#include "convoy/convoy.h"
#include "ways.h"

#define MOST_NUMBERS ((size_t)6 << 20)
#define NUDGE 1e-6   /* relative, of weights, for conditioning */
#define FURTHER 3e-4 /* … to pass a maximum or a ReLU that is just changing */
#define MOST_MAGNIFIED 10.0
#define LEAPS 300.0       /* a conditioning that no smooth net has */
#define NATIVE_SLACK 2e-6 /* of the largest number of an array (a gradient's: of all gradients) */
#define MODULE_SLACK 1e-5

enum { IMAGES = 80, MOST_CLASSES = 11, MOST_BACKENDS = 4, MOST_LISTS = 64, KINDS = 6 };

static const char *modules;
static char path[4096]; /* … and oneDNN's module */
static uint64_t seed;
static size_t n_cases = 0, only_case = SIZE_MAX;

/* ----------------------------------------------------------------------------------------- nets */

/* What a case is made of, all of it drawn from its seed. */
struct recipe {
    uint64_t net; /* seed of its layers */
    size_t c, h, w, classes, batch, n[3];
    bool wide, small;
    cvy_trainer_options options;
    bool limited; /* to the least memory */
    double mean[8], std[8], mean_image[512];
    bool by_pixel;
    enum cvy_dtype dtype;
    bool shuffled, wide_labels;
    void *images;
    uint8_t labels8[IMAGES];
    double class_weights[MOST_CLASSES];
    float targets[IMAGES * MOST_CLASSES];
    int32_t labels32[IMAGES];
    uint32_t index[IMAGES];
};

struct builder {
    struct check_rng r;
    cvy_net *net;
    int layer;
    bool small;
};

static bool chance(struct check_rng *r, size_t percent) { return check_below(r, 100) < percent; }
static size_t between(struct check_rng *r, size_t a, size_t b)
{
    return a + check_below(r, b - a + 1);
}

static const char *name(struct builder *b, const char *what)
{
    static char text[32];
    snprintf(text, sizeof text, "%s%d", what, b->layer++);
    return text;
}

static cvy_tensor maxout(struct builder *b, cvy_tensor x)
{
    size_t c = cvy_tensor_shape(b->net, x).c, size = between(&b->r, 1, 4);
    while (c % size) size--;
    return cvy_maxout(b->net, x, name(b, "maxout"),
                      &(cvy_maxout_desc){ .size = size,
                                          .kind = (enum cvy_maxout_kind)check_below(&b->r, 3),
                                          .tie = (enum cvy_pool_tie)check_below(&b->r, 3) });
}

static cvy_tensor activation(struct builder *b, cvy_tensor x)
{
    if (chance(&b->r, 8)) return maxout(b, x);
    if (chance(&b->r, 8)) return cvy_prelu(b->net, x, name(b, "prelu"), NULL);
    size_t kind = check_below(&b->r, CHECK_ACTS + 2); /* ReLU three times as often */
    cvy_act_desc d = { .kind = kind < CHECK_ACTS ? (enum cvy_act_kind)kind : CVY_RELU };
    if (d.kind == CVY_LEAKY_RELU) d.alpha = 0.1;
    if (d.kind == CVY_RELU && chance(&b->r, 15)) d.relu_grad_at_zero = 0.5;
    return cvy_activation(b->net, x, name(b, "act"), &d);
}

static cvy_tensor group_norm(struct builder *b, cvy_tensor x)
{
    cvy_shape s = cvy_tensor_shape(b->net, x);
    cvy_group_norm_desc d = { .groups = between(&b->r, 1, s.c),
                              .eps = chance(&b->r, 30) ? 1e-3 : 0,
                              .no_gamma = chance(&b->r, 20),
                              .no_beta = chance(&b->r, 20),
                              .elementwise = chance(&b->r, 40) };
    while (s.c % d.groups || (d.groups > 1 && s.c / d.groups * s.h * s.w < 4)) d.groups--;
    /* over a handful of numbers the variance may be next to nothing */
    if (s.c / d.groups * s.h * s.w < 64) d.eps = 0.1;
    return s.c * s.h * s.w < 4 ? x : cvy_group_norm(b->net, x, name(b, "gn"), &d);
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static cvy_tensor whitening(struct builder *b, cvy_tensor x)
{
    size_t c = cvy_tensor_shape(b->net, x).c;
    cvy_whitening_desc d = { .kind = (enum cvy_whitening_kind)between(&b->r, 0, 1),
                             .channels = between(&b->r, 1, smaller(c, 20)),
                             .eps = 0.1, /* few values hang together closely */
                             .shared = chance(&b->r, 30),
                             .frozen = chance(&b->r, 20),
                             .no_gamma = chance(&b->r, 20),
                             .no_beta = chance(&b->r, 20) };
    while (c % d.channels) d.channels--;
    return cvy_whitening(b->net, x, name(b, "wh"), &d);
}

/* Ranks leap where two numbers are all but the same. So they are frozen, by quantiles that are
 * given and with what is linear between them; those of a batch are of the images' bytes alone. */
static cvy_tensor rank(struct builder *b, cvy_tensor x, bool frozen)
{
    return cvy_rank(b->net, x, name(b, "rank"),
                    &(cvy_rank_desc){ .quantiles = between(&b->r, 2, 40),
                                      .momentum = chance(&b->r, 30) ? 0.3 : 0,
                                      .normal = chance(&b->r, 40),
                                      .frozen = frozen });
}

static cvy_tensor norm(struct builder *b, cvy_tensor x)
{
    if (chance(&b->r, 15)) return whitening(b, x);
    if (chance(&b->r, 10)) return rank(b, x, true);
    if (chance(&b->r, 30)) return group_norm(b, x);
    cvy_shape s = cvy_tensor_shape(b->net, x);
    cvy_batch_norm_desc d = { .no_gamma = chance(&b->r, 20),
                              .no_beta = chance(&b->r, 20),
                              .frozen = chance(&b->r, 15),
                              .running_var =
                                  chance(&b->r, 30) ? CVY_BN_VAR_BIASED : CVY_BN_VAR_UNBIASED,
                              .eps = chance(&b->r, 30) ? 1e-3 : 0,
                              .momentum = chance(&b->r, 30) ? 0.3 : 0 };
    if (chance(&b->r, 20)) d.statistics = (enum cvy_bn_statistics)between(&b->r, 1, 2);
    d.cumulative = d.momentum == 0 && chance(&b->r, 30);
    d.batch_statistics = !d.frozen && chance(&b->r, 15);
    d.running_var_offset = chance(&b->r, 15) ? 1e-2 : 0;
    /* over a handful of numbers the variance may be next to nothing */
    if (s.h * s.w < 4) d.eps = b->small ? 0.1 : 1e-2;
    return cvy_batch_norm(b->net, x, name(b, "bn"), &d);
}

static cvy_tensor conv(struct builder *b, cvy_tensor x, size_t channels, size_t kernel,
                       size_t stride, size_t pad)
{
    cvy_conv2d_desc d = { .out_channels = channels,
                          .kernel = { kernel, kernel },
                          .stride = { stride, stride },
                          .pad = { pad, pad, pad, pad },
                          .no_bias = chance(&b->r, 25),
                          .flip = chance(&b->r, 10) };
    return cvy_conv2d(b->net, x, name(b, "conv"), &d);
}

static cvy_tensor any_conv(struct builder *b, cvy_tensor x)
{
    cvy_shape s = cvy_tensor_shape(b->net, x);
    size_t kernel = between(&b->r, 1, smaller(5, smaller(s.h, s.w))),
           pad = kernel / 2 * check_below(&b->r, 2);
    size_t channels = between(&b->r, 1, b->small ? 6 : 10);
    if (chance(&b->r, 15) && s.c % 2 == 0) { /* groups, and another shape in every direction */
        cvy_conv2d_desc d = { .out_channels = 2 * ((channels + 1) / 2),
                              .kernel = { kernel, between(&b->r, 1, kernel) },
                              .stride = { 1, between(&b->r, 1, 2) },
                              .pad = { pad, 0, 0, pad },
                              .groups = 2 };
        return cvy_conv2d(b->net, x, name(b, "group"), &d);
    }
    return conv(b, x, channels, kernel, chance(&b->r, 20) ? 2 : 1, pad);
}

static cvy_tensor pool(struct builder *b, cvy_tensor x, enum cvy_pool_kind kind)
{
    cvy_shape s = cvy_tensor_shape(b->net, x);
    size_t most = smaller(4, smaller(s.h, s.w)), kernel = most < 2 ? 1 : between(&b->r, 2, most);
    size_t stride = between(&b->r, 1, kernel), pad = kernel > 1 && chance(&b->r, 50) ? 1 : 0;
    cvy_pool2d_desc d = { .kind = kind,
                          .kernel = { kernel, kernel },
                          .stride = { stride, stride },
                          .pad = { pad, pad, pad, pad },
                          .exclude_pad = chance(&b->r, 30),
                          .ceil_mode = chance(&b->r, 20) && !pad,
                          .tie = chance(&b->r, 20) ? (enum cvy_pool_tie)between(&b->r, 1, 2)
                                                   : CVY_TIE_FIRST };
    return cvy_pool2d(b->net, x, name(b, "pool"), &d);
}

/* Of small maps, which it makes larger; others become smaller before. */
static cvy_tensor conv_transpose(struct builder *b, cvy_tensor x)
{
    cvy_shape s = cvy_tensor_shape(b->net, x);
    if (s.h * s.w > 36) x = conv(b, x, between(&b->r, 1, 6), 2, 2, 0);
    s = cvy_tensor_shape(b->net, x);
    size_t stride = between(&b->r, 1, 2), kernel = between(&b->r, stride, 4),
           pad = check_below(&b->r, 2);
    cvy_conv_transpose2d_desc d = { .out_channels = between(&b->r, 1, 8),
                                    .kernel = { kernel, kernel },
                                    .stride = { stride, 2 },
                                    .output_pad = { check_below(&b->r, stride), 1 },
                                    .no_bias = chance(&b->r, 40),
                                    .flip = chance(&b->r, 10) };
    if (s.h > 1 && s.w > 1) d.pad[0] = d.pad[1] = d.pad[2] = pad;
    if (chance(&b->r, 20)) d.groups = d.out_channels = s.c;
    return cvy_conv_transpose2d(b->net, x, name(b, "deconv"), &d);
}

/* To another size, not much larger. */
static cvy_tensor upsample(struct builder *b, cvy_tensor x)
{
    cvy_shape s = cvy_tensor_shape(b->net, x);
    cvy_upsample_desc d = { .kind = (enum cvy_upsample_kind)chance(&b->r, 60) };
    d.align_corners = d.kind == CVY_UPSAMPLE_BILINEAR && chance(&b->r, 40);
    bool small = s.h * s.w <= 30 && chance(&b->r, 60);
    for (int i = 0; i < 2; i++) {
        if (small) d.scale[i] = between(&b->r, 1, 2);
        else d.size[i] = between(&b->r, 2, 10);
    }
    return cvy_upsample(b->net, x, name(b, "up"), &d);
}

static cvy_tensor mean_subtract(struct builder *b, cvy_tensor x)
{
    return cvy_mean_subtract(
        b->net, x, name(b, "mean"),
        &(cvy_mean_subtract_desc){ .over = (enum cvy_mean_over)check_below(&b->r, 2) });
}

/* conv, batch norm, activation, pooling: what nets are mostly made of, with parts left out. */
static cvy_tensor usual(struct builder *b, cvy_tensor x)
{
    bool pooled = chance(&b->r, 15); /* as yann has it */
    x = any_conv(b, x);
    if (pooled) {
        x = pool(b, x, CVY_POOL_MAX);
        x = cvy_bias(b->net, x, name(b, "shift"));
        /* maxima of windows that overlap are all but the same */
        cvy_batch_norm_desc d = { .eps = b->small ? 0.1 : 1e-2 };
        if (chance(&b->r, 60)) x = cvy_batch_norm(b->net, x, name(b, "bn"), &d);
        return activation(b, x);
    }
    if (chance(&b->r, 60)) x = norm(b, x);
    if (chance(&b->r, 75)) x = activation(b, x);
    if (chance(&b->r, 40)) x = pool(b, x, chance(&b->r, 60) ? CVY_POOL_MAX : CVY_POOL_AVG);
    return x;
}

static cvy_tensor residual(struct builder *b, cvy_tensor x)
{
    cvy_shape s = cvy_tensor_shape(b->net, x);
    cvy_tensor y = conv(b, x, s.c, 3, 1, 1);
    if (chance(&b->r, 60)) y = norm(b, y);
    if (chance(&b->r, 30)) y = conv(b, activation(b, y), s.c, 1, 1, 0);
    if (chance(&b->r, 15)) return cvy_multiply(b->net, x, cvy_sigmoid(b->net, y), name(b, "gated"));
    y = chance(&b->r, 50) ? cvy_add(b->net, y, x, name(b, "sum"))
                          : cvy_add(b->net, x, y, name(b, "sum"));
    return chance(&b->r, 70) ? activation(b, y) : y;
}

static cvy_tensor branches(struct builder *b, cvy_tensor x)
{
    cvy_tensor y[3] = { conv(b, x, between(&b->r, 1, 9), 3, 1, 1),
                        conv(b, x, between(&b->r, 1, 9), 1, 1, 0), x };
    if (chance(&b->r, 50)) y[0] = activation(b, y[0]);
    if (chance(&b->r, 30)) y[1] = norm(b, y[1]);
    return cvy_concat(b->net, y, between(&b->r, 2, 3), name(b, "cat"));
}

static cvy_tensor dropout(struct builder *b, cvy_tensor x)
{
    cvy_dropout_desc d = { .p = chance(&b->r, 30) ? 0 : 0.25, .unscaled = chance(&b->r, 30) };
    if (chance(&b->r, 30)) d.when = d.unscaled ? CVY_DROPOUT_INFERENCE : CVY_DROPOUT_TRAINING;
    return cvy_dropout(b->net, x, name(b, "drop"), &d);
}

static cvy_tensor layer(struct builder *b, cvy_tensor x)
{
    cvy_shape s = cvy_tensor_shape(b->net, x);
    switch (check_below(&b->r, 12)) {
    case 0: return residual(b, x);
    case 1: return branches(b, x);
    case 2: return conv(b, x, between(&b->r, 1, 12), 1, 2, 0); /* reads a quarter of the pixels */
    case 3: return pool(b, activation(b, x), CVY_POOL_AVG);
    case 4: return pool(b, x, CVY_POOL_MAX);
    case 5: return dropout(b, x);
    case 6:
        return s.c > 12 ? norm(b, x)
                        : cvy_pad_channels(b->net, x, check_below(&b->r, 3), between(&b->r, 1, 4),
                                           name(b, "pad"));
    case 7: return conv_transpose(b, x);
    case 8: return chance(&b->r, 70) ? upsample(b, x) : mean_subtract(b, x);
    default: return usual(b, x);
    }
}

static cvy_tensor build(const struct recipe *k, cvy_context *ctx, cvy_net **net)
{
    struct builder b = { .r = { k->net }, .small = k->small };
    if (cvy_net_create(ctx, &b.net)) fail_msg("%s", cvy_message(ctx));
    *net = b.net;
    cvy_tensor x = cvy_input(b.net, k->c, k->h, k->w);
    if (chance(&b.r, 25)) x = pool(&b, x, CVY_POOL_MAX); /* of bytes: ties */
    if (chance(&b.r, 15) && !k->by_pixel) x = rank(&b, x, false);
    if (chance(&b.r, 20)) x = norm(&b, x);
    if (chance(&b.r, 10)) x = mean_subtract(&b, x);
    for (int i = 0; i < 5; i++) x = layer(&b, x);
    if (k->wide) { /* a hundred thousand weights and more */
        cvy_shape s = cvy_tensor_shape(b.net, x);
        x = cvy_linear(b.net, x, name(&b, "wide"),
                       &(cvy_linear_desc){ .out_features = 100000 / (s.c * s.h * s.w) + 16 });
        if (chance(&b.r, 60)) x = norm(&b, x);
        if (chance(&b.r, 80)) x = activation(&b, x);
    } else if (chance(&b.r, 30)) {
        x = cvy_global_avg_pool(b.net, x, name(&b, "gap"));
    } else if (chance(&b.r, 50)) {
        x = cvy_linear(b.net, cvy_flatten(b.net, x), name(&b, "fc"),
                       &(cvy_linear_desc){ .out_features = between(&b.r, 3, 40) });
        x = activation(&b, chance(&b.r, 50) ? norm(&b, x) : x);
    }
    if (chance(&b.r, 30)) x = cvy_flatten(b.net, x);
    x = cvy_linear(b.net, x, "logits", &(cvy_linear_desc){ .out_features = k->classes });
    if (cvy_net_status(b.net)) fail_msg("%s", cvy_message(ctx));
    return x;
}

/* Other optimizers than SGD, of every form; an eps that is no smaller than rounding, since what
 * divides by the size of a gradient magnifies its noise. */
static void choose_optimizer(struct recipe *k, struct check_rng *r)
{
    if (!chance(r, 50)) return;
    cvy_optimizer_desc desc = { .kind = (enum cvy_optimizer_kind)(
                                    1 + check_below(r, CVY_OPTIMIZER_KINDS - 1)),
                                .lr = 0.01,
                                .eps = 0.1,
                                .weight_decay = chance(r, 60) ? 1e-2 : 0,
                                .decay_all = chance(r, 40),
                                .momentum = chance(r, 50) ? 0.5 : 0 };
    desc.nesterov = desc.momentum > 0 && chance(r, 50);
    if (desc.kind == CVY_ADAM || desc.kind == CVY_ADAMW) {
        desc.beta1 = chance(r, 50) ? 0.5 : 0;
        desc.beta2 = chance(r, 50) ? 0.9 : 0;
        desc.epsilon_hat = chance(r, 50);
    } else {
        desc.rho = desc.kind != CVY_ADAGRAD && chance(r, 50) ? 0.5 : 0;
        desc.eps_inside = desc.kind != CVY_ADADELTA && chance(r, 50);
    }
    desc.l2 = chance(r, 30) ? 1e-2 : 0;
    k->options.optimizer = desc;
    k->options.sgd = (cvy_sgd_desc){ .lr = 0 };
}

/* Any loss but the plain one. A hinge's kink is not at a rounding's distance from any output. */
static void choose_loss(struct recipe *k, struct check_rng *r)
{
    if (!chance(r, 50)) return;
    cvy_loss_desc *loss = &k->options.loss;
    loss->kind = (enum cvy_loss_kind)check_below(r, CVY_LOSS_KINDS);
    if (loss->kind == CVY_HINGE) loss->label_smoothing = 0;
    if (loss->kind == CVY_CROSS_ENTROPY && chance(r, 40)) loss->temperature = 2;
    loss->soft_targets = loss->kind != CVY_HINGE && chance(r, 30);
    for (size_t e = 0; e < MOST_CLASSES; e++) k->class_weights[e] = (double)check_uniform(r, 0, 2);
    for (size_t e = 0; e < IMAGES * MOST_CLASSES; e++) k->targets[e] = check_uniform(r, 0, 1);
    if (loss->soft_targets) return;
    loss->class_weights = chance(r, 50) ? k->class_weights : NULL;
    loss->ignore = chance(r, 50);
    loss->ignore_index = 1;
}

/* Case number `i`. small: for many lists of backends. */
static void draw(struct recipe *k, size_t i, bool small)
{
    struct check_rng r = { seed + 1000003 * i + 1 };
    memset(k, 0, sizeof *k);
    k->net = check_u64(&r);
    k->small = small;
    k->wide = !small && i % 3 == 2;
    k->c = between(&r, 1, small ? 3 : 5);
    k->h = between(&r, 5, small ? 8 : 10);
    k->w = between(&r, 5, small ? 8 : 10);
    if (chance(&r, 20)) { /* tall: rings of rows come round */
        k->h = small ? 14 : 24;
        k->w = 3;
    }
    k->classes = between(&r, 2, MOST_CLASSES);
    k->batch = small ? between(&r, 4, 20) : 70;
    k->n[0] = k->batch;
    k->n[1] = small ? k->batch / 2 + 1 : 37;
    k->n[2] = small ? 3 : 9;
    k->options = (cvy_trainer_options){ .batch = k->batch,
                                        .seed = check_u64(&r),
                                        .init.seed = check_u64(&r),
                                        .sgd = { .lr = 0.05,
                                                 .momentum = chance(&r, 70) ? 0.9 : 0,
                                                 .weight_decay = chance(&r, 60) ? 1e-2 : 0,
                                                 .nesterov = chance(&r, 50),
                                                 .decay_all = chance(&r, 40) },
                                        .loss.label_smoothing = chance(&r, 50) ? 0.1 : 0 };
    if (k->options.sgd.momentum == 0) k->options.sgd.nesterov = false;
    choose_optimizer(k, &r);
    if (chance(&r, 30)) k->options.max_norm = 0.5;
    choose_loss(k, &r);
    k->dtype = chance(&r, 50) ? CVY_U8 : CVY_F32;
    for (size_t c = 0; c < 8; c++) {
        k->mean[c] = (double)check_uniform(&r, 0, 0.6f);
        k->std[c] = (double)check_uniform(&r, 0.2f, 0.5f);
    }
    k->shuffled = chance(&r, 70);
    k->wide_labels = chance(&r, 50);
    size_t n = IMAGES * k->c * k->h * k->w, levels = chance(&r, 30) ? 4 : 256;
    k->images = malloc(n * (k->dtype == CVY_U8 ? 1 : sizeof(float)));
    assert_non_null(k->images);
    for (size_t e = 0; e < n; e++) {
        size_t pixel = check_below(&r, levels) * (levels == 4 ? 80 : 1);
        if (k->dtype == CVY_U8) ((uint8_t *)k->images)[e] = (uint8_t)pixel;
        else ((float *)k->images)[e] = (float)pixel / 255;
    }
    for (size_t e = 0; e < IMAGES; e++) {
        k->index[e] = (uint32_t)check_below(&r, IMAGES);
        k->labels8[e] = (uint8_t)check_below(&r, k->classes);
        k->labels32[e] = k->labels8[e];
    }
    if (chance(&r, 30)) k->options.clip_norm = chance(&r, 70) ? 0.1 : 100;
    if (chance(&r, 25)) k->options.accumulate = 2;
    k->by_pixel = chance(&r, 25);
    assert_true(k->c * k->h * k->w <= sizeof k->mean_image / sizeof *k->mean_image);
    for (size_t e = 0; e < k->c * k->h * k->w; e++)
        k->mean_image[e] = (double)check_uniform(&r, 0, 0.6f);
}

/* ----------------------------------------------------------------------------------------- runs */

/* Everything that a run leaves behind, a list of named groups of numbers; scale: of what they are
 * compared with. */
struct group {
    char name[48];
    size_t first, n;
    double scale;
};
struct result {
    double *x;
    size_t n, n_groups;
    struct group group[768];
};

static double *room(struct result *r, const char *what, const char *of, size_t n)
{
    assert_true(r->n + n <= MOST_NUMBERS && r->n_groups < sizeof r->group / sizeof *r->group);
    struct group *g = &r->group[r->n_groups++];
    snprintf(g->name, sizeof g->name, "%s %s", what, of);
    g->first = r->n;
    g->n = n;
    r->n += n;
    return r->x + g->first;
}

static const char *const param_kinds[CVY_PARAM_KINDS] = { "weight",  "statistic", "gradient",
                                                          "state",   "state 2",   "state 3",
                                                          "state 4", "sum" };

/* In front of a batch norm a bias has no gradient: in double 1e-16 of the others, in float what
 * rounding leaves of a sum over all images and pixels, which other gradients do not tell. */
enum { OF_NOTHING = 10 };
static bool is_nothing(const struct result *r, const struct group *g, double largest)
{
    for (size_t e = g->first; e < g->first + g->n; e++)
        if (fabs(r->x[e]) > 1e-10 * largest) return false;
    return true;
}

static void collect(struct result *r, cvy_context *ctx, const cvy_trainer *t,
                    enum cvy_param_kind kind)
{
    size_t first = r->n_groups;
    double largest = 0;
    for (size_t i = 0; i < cvy_trainer_params(t, kind); i++) {
        cvy_param_info info;
        assert_int_equal(cvy_trainer_param(t, kind, i, &info), CVY_OK);
        double *x = room(r, param_kinds[kind], info.name, info.count);
        if (cvy_trainer_get64(t, kind, info.name, x, info.count)) fail_msg("%s", cvy_message(ctx));
        for (size_t e = 0; e < info.count; e++) largest = fmax(largest, fabs(x[e]));
    }
    for (size_t g = first; g < r->n_groups; g++) {
        struct group *k = &r->group[g];
        /* a mean behind a batch norm without beta, or the cumulative variance of a constant
         * channel, is 0 but for rounding */
        k->scale = kind == CVY_PARAM_RUNNING ? 0.03 : largest;
        if (kind == CVY_PARAM_GRADIENT && is_nothing(r, k, largest)) k->scale *= OF_NOTHING;
    }
}

/* Weights nudged; running statistics from anywhere. The same numbers for every backend. */
static void start(const struct recipe *k, cvy_context *ctx, cvy_trainer *t, double nudge)
{
    struct check_rng r = { k->net + 99 };
    for (int kind = CVY_PARAM_WEIGHT; kind <= CVY_PARAM_RUNNING; kind++)
        for (size_t i = 0; i < cvy_trainer_params(t, (enum cvy_param_kind)kind); i++) {
            cvy_param_info info;
            assert_int_equal(cvy_trainer_param(t, (enum cvy_param_kind)kind, i, &info), CVY_OK);
            float *x = malloc(info.count * sizeof *x);
            double *wide = malloc(info.count * sizeof *wide);
            assert_true(x && wide);
            if (cvy_trainer_get(t, info.kind, info.name, x, info.count))
                fail_msg("%s", cvy_message(ctx));
            for (size_t e = 0; e < info.count; e++) {
                float u = check_uniform(&r, -1, 1);
                if (strstr(info.name, "quantiles")) x[e] = 0.6f * x[e] + 0.1f; /* in order */
                else if (kind == CVY_PARAM_RUNNING)
                    x[e] = strstr(info.name, "var") ? 1.2f + 0.7f * u : 0.5f * u;
                else if (info.rank == 1) x[e] += 0.2f * u; /* gamma and beta are not 1 and 0 */
                wide[e] = (double)x[e] * (1 + nudge * (double)check_uniform(&r, -1, 1));
            }
            if (cvy_trainer_set64(t, info.kind, info.name, wide, info.count))
                fail_msg("%s", cvy_message(ctx));
            free(x);
            free(wide);
        }
}

static cvy_batch batch_of(const struct recipe *k, size_t n, bool labels)
{
    cvy_batch b = {
        .images = k->images, .dtype = k->dtype, .index = k->shuffled ? k->index : NULL, .n = n
    };
    if (labels && k->options.loss.soft_targets) b.targets = k->targets;
    else if (labels && k->wide_labels) b.labels32 = k->labels32;
    else if (labels) b.labels8 = k->labels8;
    return b;
}

static void predict(const struct recipe *k, struct result *r, cvy_context *ctx, cvy_predictor *p,
                    size_t n, const char *what)
{
    float y[70 * 11];
    cvy_batch b = batch_of(k, n, false);
    if (cvy_predictor_run(p, &b, y)) fail_msg("%s", cvy_message(ctx));
    double *x = room(r, "output", what, n * k->classes);
    for (size_t e = 0; e < n * k->classes; e++) x[e] = (double)y[e];
}

/* Which backends had a phase of the trainer, by name, into `seen`. */
static void who_computes(const cvy_trainer *t, const char *const *names, size_t n, size_t *seen)
{
    for (size_t i = 0; i < cvy_trainer_phases(t); i++) {
        cvy_phase_info info;
        assert_int_equal(cvy_trainer_phase(t, i, &info), CVY_OK);
        for (size_t b = 0; b < n; b++) seen[b] += !strcmp(info.backend, names[b]) && !info.reorder;
    }
}

static const char *const backend_names[MOST_BACKENDS] = { "native", "reference", "mosaic",
                                                          "onednn" };
static size_t worked[MOST_BACKENDS]; /* phases in all */

/* False: the list declines an op. */
static bool run(const struct recipe *k, const char *backends, bool no_fusion, double nudge,
                struct result *r)
{
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *trainer;
    cvy_predictor *predictor;
    cvy_context_options o = { .backends = backends, .backend_path = path, .no_fusion = no_fusion };
    if (cvy_context_create(&o, &ctx)) fail_msg("%s: %s", backends, cvy_message(ctx));
    cvy_tensor logits = build(k, ctx, &net);
    cvy_trainer_options t = k->options;
    t.input = (cvy_input_desc){ .mean = k->by_pixel ? NULL : k->mean,
                                .mean_image = k->by_pixel ? k->mean_image : NULL,
                                .std = k->std };
    r->n = r->n_groups = 0;
    if (k->limited) t.memory_limit = least_memory(ctx, net, logits, t);
    enum cvy_status status = cvy_trainer_create(net, logits, &t, &trainer);
    if (status == CVY_E_UNSUPPORTED && strstr(cvy_message(ctx), "is not supported by")) {
        cvy_net_destroy(&net);
        cvy_context_destroy(&ctx);
        return false;
    }
    if (status) fail_msg("%s: %s", backends, cvy_message(ctx));
    who_computes(trainer, backend_names, MOST_BACKENDS, worked);
    start(k, ctx, trainer, nudge);
    double *loss = room(r, "loss", "of steps", 3);
    for (int s = 0; s < 3; s++) {
        cvy_batch b = batch_of(k, k->n[s], true);
        cvy_step_result step;
        if (cvy_trainer_step(trainer, &b, &step)) fail_msg("%s: %s", backends, cvy_message(ctx));
        loss[s] = step.loss_sum / (double)step.n;
        collect(r, ctx, trainer, CVY_PARAM_GRADIENT);
    }
    for (int kind = CVY_PARAM_WEIGHT; kind < CVY_PARAM_KINDS; kind++)
        collect(r, ctx, trainer, (enum cvy_param_kind)kind);
    if (cvy_predictor_create(net, logits, k->batch, NULL, trainer, &predictor))
        fail_msg("%s: %s", backends, cvy_message(ctx));
    predict(k, r, ctx, predictor, k->batch, "of a full batch");
    predict(k, r, ctx, predictor, k->n[2], "of a partial batch");
    cvy_predictor_destroy(&predictor);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    return true;
}

/* The largest difference of a group, by the largest number in it (or the group's own scale). */
static double distance(const struct result *a, const struct result *want, const char **where)
{
    double worst = 0;
    assert_int_equal(a->n_groups, want->n_groups);
    for (size_t g = 0; g < want->n_groups; g++) {
        const struct group *k = &want->group[g];
        double scale = k->scale, error = 0;
        assert_string_equal(k->name, a->group[g].name);
        for (size_t e = k->first; e < k->first + k->n; e++) {
            scale = fmax(scale, fabs(want->x[e]));
            error = isnan(a->x[e]) ? INFINITY : fmax(error, fabs(a->x[e] - want->x[e]));
        }
        if (error / scale > worst) {
            worst = error / scale;
            *where = k->name;
        }
    }
    return worst;
}

/* ----------------------------------------------------------------------------------- the sweeps */

static struct result want, moved, got;

struct sweep {
    double worst;
    size_t runs;
};

/* The reference's own movement, where every weight moves by the rounding of a few products. */
static double conditioning(const struct recipe *k)
{
    const char *where;
    assert_true(run(k, "reference", false, NUDGE, &moved));
    return distance(&moved, &want, &where) / NUDGE;
}

/* Case number `i`, another net in its place where the reference itself leaps: where maxima tie and
 * rounding alone decides between them, no two programs need agree. */
static void choose(struct recipe *k, size_t i, bool small)
{
    for (size_t turn = 0;; turn++) {
        assert_true(turn < 5);
        draw(k, i + 1000 * turn, small);
        assert_true(run(k, "reference", false, 0, &want));
        if (conditioning(k) < LEAPS) return;
        free(k->images);
    }
}

/* In the least memory it is the same bits, whoever computes. */
static void compare_limited(const struct recipe *k, size_t i, const char *backends, bool no_fusion,
                            double away)
{
    struct recipe limited = *k;
    limited.limited = true;
    assert_true(run(&limited, backends, no_fusion, away, &moved));
    assert_int_equal(moved.n, got.n);
    for (size_t e = 0; e < got.n; e++)
        if (memcmp(&moved.x[e], &got.x[e], sizeof(double)) != 0)
            fail_msg("%s%s in the least memory: number %zu is %.17g, expected %.17g\n  repeat: "
                     "whole_nets MODULES --seed %llu --case %zu",
                     backends, no_fusion ? " without fusion" : "", e, moved.x[e], got.x[e],
                     (unsigned long long)seed, i);
}

/* Only where the bound is missed is the net itself looked at. Rounding may fall on the other side
 * of a maximum or a ReLU: then it does not from other weights, a little further on. And a net may
 * magnify every rounding, the reference's too. */
static void compare(const struct recipe *k, size_t i, const char *backends, bool no_fusion,
                    double slack, struct sweep *sweep)
{
    const char *where = "";
    double error = INFINITY, allowed = slack;
    int attempts = -1;
    while (!(error <= allowed) && attempts < 3) {
        double away = ++attempts * FURTHER;
        if (attempts) assert_true(run(k, "reference", false, away, &want));
        if (!run(k, backends, no_fusion, away, &got)) return;
        error = distance(&got, &want, &where);
        if (!attempts && i % 3 == 1) compare_limited(k, i, backends, no_fusion, away);
        if (error > slack) allowed = slack * fmin(MOST_MAGNIFIED, fmax(1, conditioning(k) / 4));
    }
    if (attempts > 0) assert_true(run(k, "reference", false, 0, &want)); /* for the next */
    sweep->runs++;
    sweep->worst = fmax(sweep->worst, error);
    if (!(error <= allowed))
        fail_msg("%s%s: %s is off by %.3g (%.2g are allowed)\n  repeat: whole_nets MODULES --seed "
                 "%llu --case %zu",
                 backends, no_fusion ? " without fusion" : "", where, error, allowed,
                 (unsigned long long)seed, i);
}

static bool have_onednn(void)
{
    cvy_context *ctx;
    enum cvy_status status = cvy_context_create(
        &(cvy_context_options){ .backends = "onednn", .backend_path = path }, &ctx);
    if (status != CVY_OK && !strstr(cvy_message(ctx), "there is no convoy-onednn.so"))
        fail_msg("%s", cvy_message(ctx));
    cvy_context_destroy(&ctx);
    return status == CVY_OK;
}

static void mix(size_t i)
{
    char text[24];
    snprintf(text, sizeof text, "%zu", i);
    setenv("CVYI_MOSAIC", text, 1);
}

static size_t cases(size_t usual) { return n_cases ? n_cases : check_cases(usual); }

/* Each backend by itself, with what it declines left to native. */
static void every_backend(void **state)
{
    static const struct {
        const char *list;
        bool no_fusion;
        double slack;
    } side[] = { { "native", false, NATIVE_SLACK },
                 { "native", true, NATIVE_SLACK },
                 { "mosaic,reference", false, NATIVE_SLACK },
                 { "onednn,native", false, MODULE_SLACK },
                 { "onednn,reference", true, MODULE_SLACK } };
    struct sweep sweep[5] = { { 0, 0 } };
    bool onednn = have_onednn();
    (void)state;
    for (size_t i = 0; i < cases(9); i++) {
        struct recipe k;
        if (only_case != SIZE_MAX && i != only_case) continue;
        choose(&k, i, false);
        for (size_t s = 0; s < (onednn ? 5 : 3); s++) {
            if (s == 2 && i % 3 == 2) continue; /* wide weights take it a minute */
            mix(i);
            compare(&k, i, side[s].list, side[s].no_fusion, side[s].slack, &sweep[s]);
        }
        free(k.images);
    }
    for (size_t s = 0; s < (onednn ? 5 : 3); s++)
        print_message("  %s%s: %zu nets, off by %.2g at most\n", side[s].list,
                      side[s].no_fusion ? " without fusion" : "", sweep[s].runs, sweep[s].worst);
}

/* Every ordered list of the n backends: as text, and whether oneDNN is in it. */
struct list {
    char text[48];
    bool module;
};

static size_t extend(struct list *list, size_t n_lists, const char *text, unsigned used, size_t n)
{
    for (size_t b = 0; b < n; b++) {
        if (used & 1u << b) continue;
        struct list *l = &list[n_lists++];
        snprintf(l->text, sizeof l->text, "%s%s%s", text, *text ? "," : "", backend_names[b]);
        l->module = strstr(l->text, "onednn") != NULL;
        char longer[48];
        memcpy(longer, l->text, sizeof longer);
        n_lists = extend(list, n_lists, longer, used | 1u << b, n);
    }
    return n_lists;
}

static void every_list_of_backends(void **state)
{
    struct list list[MOST_LISTS];
    struct sweep sweep[2] = { { 0, 0 }, { 0, 0 } };
    size_t n_backends = have_onednn() ? 4 : 3, n = extend(list, 0, "", 0, n_backends), stride = 4;
    (void)state;
    for (size_t i = 0; i < cases(12); i++) { /* four nets go once round */
        struct recipe k;
        if (only_case != SIZE_MAX && i != only_case) continue;
        choose(&k, i, true);
        for (size_t l = only_case == SIZE_MAX ? i % stride : 0; l < n;
             l += only_case == SIZE_MAX ? stride : 1) {
            mix(i / stride * 3 + l % 3);
            compare(&k, i, list[l].text, i / stride % 3 == 2,
                    list[l].module ? MODULE_SLACK : NATIVE_SLACK, &sweep[list[l].module]);
        }
        free(k.images);
    }
    print_message("  %zu lists: %zu runs, off by %.2g at most; %zu with oneDNN, by %.2g\n", n,
                  sweep[0].runs, sweep[0].worst, sweep[1].runs, sweep[1].worst);
    for (size_t b = 0; b < n_backends && only_case == SIZE_MAX; b++) assert_true(worked[b] > 0);
}

/* The smallest net in which one backend leaves a blocked map to another that declines nothing: a
 * dropout of nothing behind a convolution. The loss of three steps rose to more than twice what it
 * is. */
static double small_loss(const char *backends)
{
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *trainer;
    cvy_step_result step = { .n = 1 };
    float images[4 * 2 * 6 * 6];
    const uint8_t labels[4] = { 0, 1, 2, 1 };
    struct check_rng r = { 7 };
    for (size_t e = 0; e < sizeof images / sizeof *images; e++)
        images[e] = check_uniform(&r, -1, 1);
    if (cvy_context_create(&(cvy_context_options){ .backends = backends, .backend_path = path },
                           &ctx))
        fail_msg("%s", cvy_message(ctx));
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor x = cvy_conv2d(
        net, cvy_input(net, 2, 6, 6), "c",
        &(cvy_conv2d_desc){ .out_channels = 4, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 } });
    x = cvy_linear(net, cvy_dropout(net, x, NULL, &(cvy_dropout_desc){ .p = 0 }), "fc",
                   &(cvy_linear_desc){ .out_features = 3 });
    if (cvy_trainer_create(net, x, &(cvy_trainer_options){ .batch = 4, .sgd.lr = 0.1 }, &trainer))
        fail_msg("%s", cvy_message(ctx));
    for (int s = 0; s < 3; s++)
        if (cvy_trainer_step(trainer, &(cvy_batch){ .images = images, .labels8 = labels, .n = 4 },
                             &step))
            fail_msg("%s", cvy_message(ctx));
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    return step.loss_sum / 4;
}

static void a_blocked_map_is_not_read_as_plain(void **state)
{
    double right = small_loss("reference");
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        mix(i);
        assert_true(fabs(small_loss("mosaic,reference") - right) < 1e-5);
    }
    if (have_onednn()) assert_true(fabs(small_loss("onednn,reference") - right) < 1e-5);
    assert_true(fabs(small_loss("native") - right) < 1e-5);
}

static int allocate(void **state)
{
    (void)state;
    want.x = malloc(MOST_NUMBERS * sizeof(double));
    moved.x = malloc(MOST_NUMBERS * sizeof(double));
    got.x = malloc(MOST_NUMBERS * sizeof(double));
    return want.x && moved.x && got.x ? 0 : -1;
}
static int release(void **state)
{
    (void)state;
    free(want.x);
    free(moved.x);
    free(got.x);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc % 2) {
        fprintf(stderr, "usage: %s MODULES [--seed S] [--cases N] [--case I]\n", argv[0]);
        return 2;
    }
    modules = argv[1];
    const char *others = getenv("CVY_BACKEND_PATH");
    snprintf(path, sizeof path, "%s%s%s", modules, others ? ":" : "", others ? others : "");
    seed = check_seed();
    for (int i = 2; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 0);
        if (!strcmp(argv[i], "--seed")) seed = value;
        else if (!strcmp(argv[i], "--cases")) n_cases = (size_t)value;
        else if (!strcmp(argv[i], "--case")) {
            only_case = (size_t)value;
            n_cases = only_case + 1;
        } else {
            fprintf(stderr, "%s: unknown option %s\n", argv[0], argv[i]);
            return 2;
        }
    }
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_blocked_map_is_not_read_as_plain),
                                        cmocka_unit_test(every_list_of_backends),
                                        cmocka_unit_test(every_backend) };
    return cmocka_run_group_tests(tests, allocate, release);
}
