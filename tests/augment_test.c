/* Augmentation and the mean image: what a step's net sees, against a plain computation from the
 * recipe of docs/numerics.md; on all backends, tables and thread counts, bytes and floats, whole
 * blocks of images and tails; that every place is drawn, and equally often; that predictors see
 * images as they are; what is refused. (Stopped and resumed runs: resume_test.c.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <Random123/philox.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convoy/convoy.h"
#include "ways.h"

enum { BATCH = 18, IMAGES = 40, MOST = 2 * 12 * 40, SEED = 77 };

static uint8_t bytes[IMAGES * MOST], labels[IMAGES];
static float floats[IMAGES * MOST];
static const double mean[] = { 0.5, 0.25, -1 }, deviation[] = { 0.5, 2, 0.125 };
static double image[MOST]; /* a mean image */
static bool by_pixel;      /* it is taken, not mean */

/* Images larger than what is moved at a time, and ones of odd sides; the second's maps are few
 * enough to be cut into bands. */
static const cvy_shape shapes[] = { { 0, 3, 9, 13 }, { 0, 2, 12, 40 }, { 0, 1, 40, 12 } };
static const cvy_augment_desc augments[] = { { .crop = 4 },
                                             { .flip = true },
                                             { .cutout = 5 },
                                             { .crop = 8, .flip = true, .cutout = 6 },
                                             { .crop = 1, .flip = true },
                                             { 0 } };

struct side {
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    cvy_predictor *p;
};

/* The first layer hands on what it gets. */
static bool open_side(struct side *s, const cvy_context_options *options, cvy_shape shape,
                      const cvy_augment_desc *augment)
{
    static float w[9];
    *s = (struct side){ 0 };
    if (cvy_context_create(options, &s->ctx)) return false;
    cvy_context *ctx = s->ctx;
    const cvy_conv2d_desc same = { .out_channels = shape.c, .kernel = { 1, 1 }, .no_bias = true };
    const cvy_input_desc input = { .mean = by_pixel ? NULL : mean,
                                   .mean_image = by_pixel ? image : NULL,
                                   .std = deviation };
    const cvy_trainer_options o = {
        .batch = BATCH, .seed = SEED, .keep_tensors = true, .input = input, .augment = *augment
    };
    OK(cvy_net_create(ctx, &s->net));
    cvy_tensor x = cvy_input(s->net, shape.c, shape.h, shape.w);
    cvy_tensor seen = x = cvy_conv2d(s->net, x, "same", &same);
    x = cvy_linear(s->net, x, "f", &(cvy_linear_desc){ .out_features = 3 });
    OK(cvy_trainer_create(s->net, x, &o, &s->t));
    for (size_t c = 0; c < shape.c * shape.c; c++) w[c] = c % (shape.c + 1) == 0;
    OK(cvy_trainer_set(s->t, CVY_PARAM_WEIGHT, "same.weight", w, shape.c * shape.c));
    OK(cvy_predictor_create(s->net, seen, BATCH, NULL, s->t, &s->p));
    return true;
}

static void close_side(struct side *s)
{
    cvy_predictor_destroy(&s->p);
    cvy_trainer_destroy(&s->t);
    cvy_net_destroy(&s->net);
    cvy_context_destroy(&s->ctx);
}

/* What the step sees of its images. */
static const double *step(const struct side *s, const cvy_batch *batch, size_t count)
{
    static double seen[BATCH * MOST];
    cvy_context *ctx = s->ctx;
    OK(cvy_trainer_step(s->t, batch, NULL));
    for (size_t i = 0; i < cvy_trainer_tensors(s->t); i++) {
        cvy_tensor_info info;
        OK(cvy_trainer_tensor(s->t, i, &info));
        if (strcmp(info.name, "same")) continue;
        OK(cvy_trainer_tensor_get(s->t, i, seen, count));
        return seen;
    }
    fail_msg("no tensor 'same'");
    return NULL;
}

static size_t below(uint32_t word, size_t n)
{
    return (size_t)((double)word / 4294967296 * (double)n);
}

/* One pixel as the recipe says it, the plainest way: pad, cut, mirror, scale, blank. */
static float pixel(const cvy_augment_desc *a, cvy_shape s, const cvy_batch *b, size_t i, size_t at)
{
    const size_t c = at / (s.h * s.w), y = at / s.w % s.h, x = at % s.w,
                 number = b->index ? b->index[i] : i, p = a->crop;
    const philox4x64_key_t key = { { SEED, (uint64_t)4 << 32 } };
    const philox4x64_ctr_t ctr = { { b->epoch, number, 0, 0 } }, r = philox4x64(ctr, key);
    const size_t top = below((uint32_t)r.v[0], 2 * p + 1),
                 left = below((uint32_t)(r.v[0] >> 32), 2 * p + 1),
                 middle_y = below((uint32_t)r.v[2], s.h),
                 middle_x = below((uint32_t)(r.v[2] >> 32), s.w);
    const bool flipped = a->flip && r.v[1] >= (uint64_t)1 << 63;
    const size_t py = y + top, px = (flipped ? s.w - 1 - x : x) + left; /* of the padded image */
    float value = 0;
    if (py >= p && py < p + s.h && px >= p && px < p + s.w) {
        size_t from = ((number * s.c + c) * s.h + py - p) * s.w + px - p;
        value = b->dtype == CVY_U8 ? (float)bytes[from] : floats[from];
    }
    double scale = b->dtype == CVY_U8 ? 1.0 / 255 : 1;
    const double middle = by_pixel ? image[at] : mean[c];
    value = fmaf(value, (float)(scale / deviation[c]), (float)(-middle / deviation[c]));
    long dy = (long)y - (long)middle_y, dx = (long)x - (long)middle_x, half = (long)a->cutout / 2,
         rest = (long)a->cutout - half;
    return dy >= -half && dy < rest && dx >= -half && dx < rest ? 0 : value;
}

static void compare(const struct side *s, const cvy_augment_desc *a, cvy_shape shape,
                    const cvy_batch *batch, const char *what)
{
    const size_t size = shape.c * shape.h * shape.w;
    const double *seen = step(s, batch, batch->n * size);
    for (size_t k = 0; k < batch->n * size; k++) {
        double want = (double)pixel(a, shape, batch, k / size, k % size);
        if (seen[k] != want)
            fail_msg("%s, crop %zu, flip %d, cutout %zu, type %d, %zu images of %zux%zux%zu: number"
                     " %zu is %.9g, expected %.9g",
                     what, a->crop, a->flip, a->cutout, (int)batch->dtype, batch->n, shape.c,
                     shape.h, shape.w, k, seen[k], want);
    }
}

/* Both types, whole and tail, two epochs, through an index and without. */
static void every_batch(const cvy_context_options *o, cvy_shape shape, const cvy_augment_desc *a,
                        const char *what)
{
    static const size_t counts[] = { BATCH, 16, 5 };
    uint32_t index[BATCH];
    struct side s;
    if (!open_side(&s, o, shape, a)) return;
    for (size_t i = 0; i < BATCH; i++) index[i] = (uint32_t)(i * 7 % IMAGES);
    for (size_t i = 0; i < 6; i++) {
        const cvy_batch batch = { .images = i % 2 ? (const void *)floats : bytes,
                                  .dtype = i % 2 ? CVY_F32 : CVY_U8,
                                  .labels8 = labels,
                                  .index = i % 3 ? index : NULL,
                                  .epoch = i / 3 * ((uint64_t)1 << 40),
                                  .n = counts[i % 3] };
        compare(&s, a, shape, &batch, what);
    }
    close_side(&s);
}

#define N(array) (sizeof(array) / sizeof *(array))

static void every_table_and_thread_count(void **state)
{
    cvy_context_options o = { .backends = "native" };
    (void)state;
    for (size_t way = 0; every_way(way, &o); way++)
        for (size_t i = 0; i < N(shapes); i++) {
            every_batch(&o, shapes[i], &augments[3], cvy_isa_name(o.isa));
            by_pixel = true;
            every_batch(&o, shapes[i], &augments[way % N(augments)], cvy_isa_name(o.isa));
            every_batch(&o, shapes[i], &augments[N(augments) - 1], cvy_isa_name(o.isa));
            by_pixel = false;
        }
}

static void every_backend(void **state)
{
    static const char *const lists[] = { "reference", "native,reference", "onednn,native" };
    (void)state;
    for (size_t l = 0; l < N(lists); l++)
        for (size_t i = 0; i < N(shapes); i++)
            for (size_t k = 0; k < 2 * N(augments); k++) {
                by_pixel = k % 2;
                every_batch(&(cvy_context_options){ .backends = lists[l], .threads = 2 }, shapes[i],
                            &augments[k / 2], lists[l]);
            }
    by_pixel = false;
}

/* From images that count their pixels: where their first pixel went. */
static void every_place_equally_often(void **state)
{
    enum { SIDE = 8, P = 2, PLACES = 2 * P + 1, EPOCHS = 400, TRIES = EPOCHS * BATCH };
    const cvy_shape shape = { 0, 1, SIDE, SIDE };
    size_t found[PLACES][PLACES] = { { 0 } }, mirrored = 0;
    static float count[BATCH * SIDE * SIDE];
    struct side s;
    (void)state;
    for (size_t i = 0; i < N(count); i++) count[i] = (float)(i % (SIDE * SIDE) + 1);
    assert_true(open_side(&s, &(cvy_context_options){ .threads = 1 }, shape,
                          &(cvy_augment_desc){ .crop = P, .flip = true }));
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        const cvy_batch batch = {
            .images = count, .dtype = CVY_F32, .labels8 = labels, .n = BATCH, .epoch = epoch
        };
        const double *seen = step(&s, &batch, BATCH * SIDE * SIDE);
        for (size_t i = 0; i < BATCH; i++) {
            const double *x = seen + (i * SIDE + 3) * SIDE; /* pixels 3 and 4 of row 3 are inside */
            bool flip = x[4] < x[3];
            size_t at = (size_t)((x[flip ? 4 : 3] * deviation[0] + mean[0]) - 1),
                   dy = at / SIDE + P - 3, dx = at % SIDE + P - 3;
            assert_true(dy < PLACES && dx < PLACES);
            found[dy][dx]++;
            mirrored += flip;
        }
    }
    close_side(&s);
    /* six standard deviations */
    assert_true(fabs((double)mirrored - TRIES / 2.0) < 6 * sqrt(TRIES / 4.0));
    for (size_t i = 0; i < (size_t)PLACES * PLACES; i++) {
        const double p = 1.0 / (PLACES * PLACES), n = (double)found[i / PLACES][i % PLACES];
        assert_true(fabs(n - TRIES * p) < 6 * sqrt(TRIES * p * (1 - p)));
    }
}

/* A predictor that shares the trainer's parameters and input. */
static void predictors_see_images_as_they_are(void **state)
{
    static float got[BATCH * MOST];
    static const cvy_augment_desc none = { 0 };
    static const char *const lists[] = { "native", "reference", "onednn,native" };
    (void)state;
    for (size_t l = 0; l < 2 * N(lists); l++) {
        struct side s;
        by_pixel = l % 2;
        if (!open_side(&s, &(cvy_context_options){ .backends = lists[l / 2] }, shapes[0],
                       &augments[3]))
            continue;
        cvy_context *ctx = s.ctx;
        const size_t size = shapes[0].c * shapes[0].h * shapes[0].w;
        cvy_batch batch = {
            .images = bytes, .dtype = CVY_U8, .n = BATCH, .epoch = 3, .labels8 = labels
        };
        OK(cvy_predictor_run(s.p, &batch, got));
        for (size_t k = 0; k < BATCH * size; k++)
            assert_true(got[k] == pixel(&none, shapes[0], &batch, k / size, k % size));
        close_side(&s);
    }
    by_pixel = false;
}

static void refuse(cvy_augment_desc a, const cvy_loss_desc *loss, const char *words)
{
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = 1 }, &ctx), CVY_OK);
    OK(cvy_net_create(ctx, &net));
    cvy_tensor x = cvy_input(net, 1, 6, 9);
    x = cvy_conv2d(net, x, "c", &(cvy_conv2d_desc){ .out_channels = 2, .kernel = { 1, 1 } });
    if (!loss->per_pixel) x = cvy_global_avg_pool(net, x, NULL);
    const cvy_trainer_options o = { .batch = 2, .augment = a, .loss = *loss };
    enum cvy_status status = cvy_trainer_create(net, x, &o, &t);
    assert_int_equal(status, words ? CVY_E_ARG : CVY_OK);
    if (words && !strstr(cvy_message(ctx), words))
        fail_msg("'%s' does not say '%s'", cvy_message(ctx), words);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

static void what_does_not_fit_is_refused(void **state)
{
    const cvy_loss_desc plain = { 0 }, pixels = { .per_pixel = true };
    (void)state;
    refuse((cvy_augment_desc){ .crop = 5, .cutout = 9 }, &plain, NULL);
    refuse((cvy_augment_desc){ .crop = 6 }, &plain,
           "images of 6 x 9 with 6 zeros on each side: expected a crop of less than 6");
    refuse((cvy_augment_desc){ .crop = SIZE_MAX }, &plain, "expected a crop of less than 6");
    refuse((cvy_augment_desc){ .cutout = 10 }, &plain,
           "a cutout of 10 in images of 6 x 9: expected at most 9");
    refuse((cvy_augment_desc){ .reserved = { 1 } }, &plain, "reserved");
    refuse((cvy_augment_desc){ 0 }, &pixels, NULL);
    refuse((cvy_augment_desc){ .flip = true }, &pixels, "loss per pixel");
    refuse((cvy_augment_desc){ .crop = 1 }, &pixels, "loss per pixel");
    refuse((cvy_augment_desc){ .cutout = 1 }, &pixels, "loss per pixel");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_table_and_thread_count),
        cmocka_unit_test(every_backend),
        cmocka_unit_test(every_place_equally_often),
        cmocka_unit_test(predictors_see_images_as_they_are),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    uint32_t random = 5;
    for (size_t i = 0; i < N(bytes); i++) {
        random = random * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(random >> 24);
        floats[i] = (float)(random >> 8) * 0x1p-22f - 1;
    }
    for (size_t i = 0; i < N(image); i++) image[i] = (double)(i * 37 % 101) / 64 - 0.7;
    for (size_t i = 0; i < IMAGES; i++) labels[i] = (uint8_t)(i % 3);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
