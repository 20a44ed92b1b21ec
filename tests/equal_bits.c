/* Same bits: training and evaluation are byte-identical for any number of threads, any instruction
 * set, with and without fusion, with the caller's threads, twice in a row, and in the presence of
 * other images.
 *
 * Twenty steps of lenet-bn and resnet20 each; CVYI_TEST_STEPS sets another number where a build
 * is slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "nets.h"

enum { IMAGES = 272, MOST_PIXELS = 3 * 32 * 32, CLASSES = NET_CLASSES };
enum { STEPS = 20, MOST_STEPS = 100 };
static uint8_t pixels[IMAGES * MOST_PIXELS], labels[IMAGES];
static size_t steps; /* of the long runs */

static int make_data(void **state)
{
    (void)state;
    uint64_t s = 88172645463325252u;
    for (size_t i = 0; i < sizeof pixels + sizeof labels; i++) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        if (i < sizeof pixels) pixels[i] = (uint8_t)(s >> 40);
        else labels[i - sizeof pixels] = (uint8_t)((s >> 40) % CLASSES);
    }
    const char *text = getenv("CVYI_TEST_STEPS");
    steps = text ? strtoull(text, NULL, 10) : STEPS;
    return steps >= 1 && steps <= MOST_STEPS ? 0 : -1;
}

/* -------------------------------------------------------------------------------- a run's bytes */

struct result {
    double loss[MOST_STEPS];
    size_t n;
    float *param;
    size_t n_param;
};

static void collect(struct result *r, cvy_context *ctx, const cvy_trainer *trainer)
{
    for (int kind = CVY_PARAM_WEIGHT; kind < CVY_PARAM_KINDS; kind++)
        for (size_t i = 0; i < cvy_trainer_params(trainer, (enum cvy_param_kind)kind); i++) {
            cvy_param_info info;
            if (cvy_trainer_param(trainer, (enum cvy_param_kind)kind, i, &info)) die(ctx, "param");
            r->param = realloc(r->param, (r->n_param + info.count) * sizeof(float));
            if (cvy_trainer_get(trainer, (enum cvy_param_kind)kind, info.name,
                                r->param + r->n_param, info.count))
                die(ctx, info.name);
            r->n_param += info.count;
        }
}

/* n steps of `batch` images; the last batch of every three is `tail` smaller. */
static struct result train(const cvy_context_options *options, build_net build, size_t batch,
                           size_t tail, size_t n)
{
    struct result r = { .n = n };
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *trainer;
    if (cvy_context_create(options, &ctx)) die(ctx, "context");
    cvy_tensor logits = build(ctx, &net);
    const cvy_shape image = cvy_tensor_shape(net, cvy_net_tensor(net, 0));
    cvy_trainer_options o = { .batch = batch,
                              .sgd = { .lr = 0.05, .momentum = 0.9, .weight_decay = 1e-4 },
                              .seed = 3,
                              .init.seed = 5 };
    if (cvy_trainer_create(net, logits, &o, &trainer)) die(ctx, "trainer");
    for (size_t s = 0; s < n; s++) {
        cvy_step_result step;
        size_t first = s * batch % (IMAGES - batch + 1);
        cvy_batch b = { .images = pixels + first * image.c * image.h * image.w,
                        .labels8 = labels + first,
                        .dtype = CVY_U8,
                        .n = s % 3 == 2 ? batch - tail : batch };
        if (cvy_trainer_step(trainer, &b, &step)) die(ctx, "step");
        r.loss[s] = step.loss_sum;
    }
    collect(&r, ctx, trainer);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    return r;
}

static void same(const char *what, const struct result *want, struct result got)
{
    assert_int_equal(want->n_param, got.n_param);
    for (size_t s = 0; s < want->n; s++)
        if (memcmp(&want->loss[s], &got.loss[s], sizeof want->loss[s]) != 0)
            fail_msg("%s: loss of step %zu is %.17g, expected %.17g", what, s, got.loss[s],
                     want->loss[s]);
    for (size_t i = 0; i < want->n_param; i++)
        if (memcmp(&want->param[i], &got.param[i], sizeof(float)) != 0)
            fail_msg("%s: number %zu of the parameters is %.9g, expected %.9g", what, i,
                     (double)got.param[i], (double)want->param[i]);
    free(got.param);
}

/* ------------------------------------------------------------------------- the caller's threads */

struct crowd {
    cvy_job job;
    void *arg;
    size_t tasks, slot;
};
enum { CROWD = 3 };

static void *crowd_member(void *p)
{
    struct crowd *c = p;
    for (size_t t = c->slot; t < c->tasks; t += CROWD) c->job(c->arg, c->tasks - 1 - t, c->slot);
    return NULL;
}
static void crowd_for(void *pool, size_t tasks, cvy_job job, void *arg)
{
    (void)pool;
    pthread_t thread[CROWD];
    struct crowd c[CROWD];
    for (size_t i = 0; i < CROWD; i++) {
        c[i] = (struct crowd){ job, arg, tasks, i };
        assert_int_equal(pthread_create(&thread[i], NULL, crowd_member, &c[i]), 0);
    }
    for (size_t i = 0; i < CROWD; i++) pthread_join(thread[i], NULL);
}

/* ---------------------------------------------------------------------------------------- tests */

static void compare_all(build_net build, size_t batch, size_t n)
{
    const size_t threads[] = { 2, 3, 5, 8 };
    char what[64];
    cvy_context_options o = { .threads = 1, .backends = "native" };
    struct result want = train(&o, build, batch, 7, n);
    for (size_t i = 0; i < 4; i++) {
        o.threads = threads[i];
        snprintf(what, sizeof what, "%zu threads", threads[i]);
        same(what, &want, train(&o, build, batch, 7, n));
    }
    o.threads = 2;
    same("again", &want, train(&o, build, batch, 7, n));
    o.no_fusion = true;
    same("no fusion", &want, train(&o, build, batch, 7, n));
    o.no_fusion = false;
    o.threads = CROWD;
    o.parallel_for = crowd_for;
    same("the caller's threads", &want, train(&o, build, batch, 7, n));
    free(want.param);
    /* Transformed convolutions have other sums, but the same everywhere; panels the direct ones,
     * but leave gradients of weights to what is cheapest. */
    const enum cvy_algorithm sums[] = { CVY_ALGORITHM_DIRECT, CVY_ALGORITHM_PANELS,
                                        CVY_ALGORITHM_TRANSFORMED };
    if (n > 4) n = 4;
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
        o = (cvy_context_options){ .threads = 1, .backends = "native", .algorithm = sums[i] };
        want = train(&o, build, batch, 7, n);
        o.threads = 3;
        o.no_fusion = true;
        snprintf(what, sizeof what, "%s, 3 threads, no fusion", cvy_algorithm_name(sums[i]));
        same(what, &want, train(&o, build, batch, 7, n));
        free(want.param);
    }
}

static void lenet_any_threads(void **state)
{
    (void)state;
    compare_all(lenet_bn, 64, steps);
}
static void resnet_any_threads(void **state)
{
    (void)state;
    compare_all(resnet20, 16, steps);
}
static void motley_any_threads(void **state)
{
    (void)state;
    compare_all(motley, 40, steps);
}
static void weighty_any_threads(void **state)
{
    (void)state;
    compare_all(weighty, 40, steps < 6 ? steps : 6);
}

static void dense_any_threads(void **state)
{
    (void)state;
    compare_all(dense, 40, steps < 3 ? steps : 3);
    compare_all(dense, 260, 2);
}

static void separable_any_threads(void **state)
{
    (void)state;
    compare_all(separable, 40, steps < 3 ? steps : 3);
    compare_all(separable, 260, 2);
}

static void activations_any_threads(void **state)
{
    (void)state;
    compare_all(every_activation, 40, steps < 4 ? steps : 4);
}

static void group_norms_any_threads(void **state)
{
    (void)state;
    compare_all(every_group_norm, 40, steps < 3 ? steps : 3);
    compare_all(every_group_norm, 260, 2);
}

static void decoder_any_threads(void **state)
{
    (void)state;
    compare_all(decoder, 40, steps < 3 ? steps : 3);
    compare_all(decoder, 260, 2);
    compare_all(centred, 40, 3);
}

static void whitenings_any_threads(void **state)
{
    (void)state;
    compare_all(every_whitening, 40, steps < 3 ? steps : 3);
    compare_all(every_whitening, 260, 2);
}

static void ranks_any_threads(void **state)
{
    (void)state;
    compare_all(every_rank, 40, steps < 3 ? steps : 3);
    compare_all(every_rank, 260, 2);
}

/* The first table that runs here, from `first` on, against those after it. */
static void compare_isas(build_net build, enum cvy_isa first, size_t n)
{
    cvy_machine machine;
    cvy_machine_describe(&machine);
    cvy_context_options o = { .threads = 2, .backends = "native" };
    struct result want = { .n = 0 };
    for (int isa = (int)first; isa <= CVY_ISA_PAIR; isa++) {
        if (!machine.can_run[isa]) continue;
        o.isa = (enum cvy_isa)isa;
        o.no_fusion = false;
        struct result got = train(&o, build, 16, 5, n);
        if (want.n == 0) {
            want = got;
            continue;
        }
        same(cvy_isa_name(o.isa), &want, got);
        o.no_fusion = true;
        same("and unfused", &want, train(&o, build, 16, 5, n));
    }
    free(want.param);
}

/* The scalar table computes a fused multiply-add in a function call: on images of full size
 * resnet20 only starts on it. */
static void lenet_any_isa(void **state)
{
    (void)state;
    compare_isas(lenet_bn, CVY_ISA_SCALAR, steps);
}
static void weighty_any_isa(void **state)
{
    (void)state;
    compare_isas(weighty, CVY_ISA_SCALAR, steps < 3 ? steps : 3);
}
static void motley_any_isa(void **state)
{
    (void)state;
    compare_isas(motley, CVY_ISA_SCALAR, steps < 6 ? steps : 6);
}
static void dense_any_isa(void **state)
{
    (void)state;
    compare_isas(dense, CVY_ISA_SCALAR, 2);
}
static void separable_any_isa(void **state)
{
    (void)state;
    compare_isas(separable, CVY_ISA_SCALAR, 2);
}
static void activations_any_isa(void **state)
{
    (void)state;
    compare_isas(every_activation, CVY_ISA_SCALAR, steps < 4 ? steps : 4);
}
static void tall_any_threads(void **state)
{
    (void)state;
    compare_all(tall, 40, steps < 3 ? steps : 3);
    compare_all(tall, 260, 2);
}

static void group_norms_any_isa(void **state)
{
    (void)state;
    compare_isas(every_group_norm, CVY_ISA_SCALAR, steps < 4 ? steps : 4);
}
static void decoder_any_isa(void **state)
{
    (void)state;
    compare_isas(decoder, CVY_ISA_SCALAR, steps < 4 ? steps : 4);
    compare_isas(centred, CVY_ISA_SCALAR, 3);
}
static void tall_any_isa(void **state)
{
    (void)state;
    compare_isas(tall, CVY_ISA_SCALAR, steps < 4 ? steps : 4);
}
static void whitenings_any_isa(void **state)
{
    (void)state;
    compare_isas(every_whitening, CVY_ISA_SCALAR, steps < 3 ? steps : 3);
    compare_isas(every_rank, CVY_ISA_SCALAR, steps < 3 ? steps : 3);
}
static void resnet_any_isa(void **state)
{
    (void)state;
    compare_isas(small_resnet20, CVY_ISA_SCALAR, steps);
    compare_isas(resnet20, CVY_ISA_SCALAR, steps < 3 ? steps : 3);
    compare_isas(resnet20, CVY_ISA_AVX2, steps);
}

/* Every size of the last batch: threads do not matter, and unused lanes leave no trace. */
static void any_tail(void **state)
{
    (void)state;
    for (size_t tail = 1; tail < 34; tail++)
        /* one image has no statistics in lenet-bn's linear layers */
        for (int k = tail == 33; k < 2; k++) {
            build_net build = k ? motley : lenet_bn;
            cvy_context_options o = { .threads = 1, .backends = "native" };
            struct result want = train(&o, build, 34, tail, 3);
            o.threads = 3;
            o.no_fusion = true;
            same("tail", &want, train(&o, build, 34, tail, 3));
            free(want.param);
        }
}

/* An image's output does not depend on its neighbours, its place, or the size of the batch. */
static void evaluation_is_per_image(void **state)
{
    (void)state;
    enum { MOST = 33, ROOM = 250 }; /* so much room is sixteen blocks: tasks are cut otherwise */
    static const build_net nets[] = { lenet_bn,   motley,  dense, every_group_norm, every_whitening,
                                      every_rank, decoder, tall,  separable };
    for (size_t k = 0; k < sizeof nets / sizeof *nets; k++) {
        cvy_context *ctx;
        cvy_net *net;
        cvy_trainer *trainer;
        cvy_predictor *many, *single, *roomy;
        float alone[MOST][CLASSES], together[MOST * CLASSES];
        if (cvy_context_create(&(cvy_context_options){ .threads = 2, .backends = "native" }, &ctx))
            die(ctx, "context");
        cvy_tensor y = nets[k](ctx, &net);
        const cvy_shape shape = cvy_tensor_shape(net, cvy_net_tensor(net, 0));
        const size_t image = shape.c * shape.h * shape.w;
        if (cvy_trainer_create(net, y, &(cvy_trainer_options){ .batch = 64, .sgd.lr = 0.1 },
                               &trainer))
            die(ctx, "trainer");
        cvy_batch b = { .images = pixels, .labels8 = labels, .dtype = CVY_U8, .n = 64 };
        if (cvy_predictor_create(net, y, MOST, NULL, trainer, &many))
            die(ctx, "predictor"); /* before the step */
        if (cvy_trainer_step(trainer, &b, NULL)) die(ctx, "step");
        if (cvy_predictor_create(net, y, 1, NULL, trainer, &single)) die(ctx, "predictor");
        b.n = 1;
        for (size_t i = 0; i < MOST; i++) {
            b.images = pixels + i * image;
            if (cvy_predictor_run(single, &b, alone[i])) die(ctx, "run");
        }
        b.images = pixels;
        for (b.n = 1; b.n <= MOST; b.n++) {
            if (cvy_predictor_run(many, &b, together)) die(ctx, "run");
            assert_memory_equal(together, alone, b.n * CLASSES * sizeof(float));
        }
        b.n = MOST;
        if (cvy_predictor_create(net, y, ROOM, NULL, trainer, &roomy)) die(ctx, "predictor");
        if (cvy_predictor_run(roomy, &b, together)) die(ctx, "run");
        assert_memory_equal(together, alone, MOST * CLASSES * sizeof(float));
        cvy_predictor_destroy(&roomy);
        cvy_predictor_destroy(&many);
        cvy_predictor_destroy(&single);
        cvy_trainer_destroy(&trainer);
        cvy_net_destroy(&net);
        cvy_context_destroy(&ctx);
    }
}

/* What is computed in passing, of a net that is only evaluated, has the bits of what is stored. */
static void evaluation_by_panels(void **state)
{
    (void)state;
    static const cvy_context_options options[] = {
        { .threads = 2, .backends = "native", .no_fusion = true },
        { .threads = 2, .backends = "native" },
        { .threads = 2, .backends = "native", .algorithm = CVY_ALGORITHM_PANELS }
    };
    enum { N = 37 };
    float want[N * CLASSES], got[N * CLASSES];
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        cvy_context *ctx;
        cvy_net *net;
        cvy_trainer *trainer;
        cvy_predictor *predictor;
        const cvy_trainer_options o = { .batch = 64, .sgd.lr = 0.1, .init.seed = 5 };
        cvy_batch b = { .images = pixels, .labels8 = labels, .dtype = CVY_U8, .n = 64 };
        if (cvy_context_create(&options[i], &ctx)) die(ctx, "context");
        cvy_tensor y = dense(ctx, &net);
        if (cvy_trainer_create(net, y, &o, &trainer) || cvy_trainer_step(trainer, &b, NULL) ||
            cvy_predictor_create(net, y, N, NULL, trainer, &predictor))
            die(ctx, "evaluation");
        b.n = N;
        if (cvy_predictor_run(predictor, &b, i ? got : want)) die(ctx, "run");
        if (i) assert_memory_equal(got, want, sizeof want);
        cvy_predictor_destroy(&predictor);
        cvy_trainer_destroy(&trainer);
        cvy_net_destroy(&net);
        cvy_context_destroy(&ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lenet_any_threads),
        cmocka_unit_test(resnet_any_threads),
        cmocka_unit_test(motley_any_threads),
        cmocka_unit_test(lenet_any_isa),
        cmocka_unit_test(resnet_any_isa),
        cmocka_unit_test(motley_any_isa),
        cmocka_unit_test(weighty_any_threads),
        cmocka_unit_test(weighty_any_isa),
        cmocka_unit_test(dense_any_threads),
        cmocka_unit_test(separable_any_threads),
        cmocka_unit_test(activations_any_threads),
        cmocka_unit_test(group_norms_any_threads),
        cmocka_unit_test(whitenings_any_threads),
        cmocka_unit_test(ranks_any_threads),
        cmocka_unit_test(whitenings_any_isa),
        cmocka_unit_test(dense_any_isa),
        cmocka_unit_test(separable_any_isa),
        cmocka_unit_test(activations_any_isa),
        cmocka_unit_test(group_norms_any_isa),
        cmocka_unit_test(decoder_any_threads),
        cmocka_unit_test(tall_any_threads),
        cmocka_unit_test(decoder_any_isa),
        cmocka_unit_test(tall_any_isa),
        cmocka_unit_test(any_tail),
        cmocka_unit_test(evaluation_is_per_image),
        cmocka_unit_test(evaluation_by_panels),
    };
    return cmocka_run_group_tests(tests, make_data, NULL);
}
