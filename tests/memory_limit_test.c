/* Training within a memory limit: the plan keeps it, the bits are those of a plan without one, for
 * every net, backend, table, number of threads, with and without fusion; and who asks for too
 * little is told what is enough. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nets.h"
#include "ways.h"

enum { BATCH = 20, STEPS = 3, MOST_PIXELS = 3 * 32 * 32, IMAGES = 64 };
static uint8_t pixels[IMAGES * MOST_PIXELS], labels[IMAGES];

static int make_data(void **state)
{
    uint64_t s = 88172645463325252u;
    (void)state;
    for (size_t i = 0; i < sizeof pixels + sizeof labels; i++) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        if (i < sizeof pixels) pixels[i] = (uint8_t)(s >> 40);
        else labels[i - sizeof pixels] = (uint8_t)((s >> 40) % NET_CLASSES);
    }
    return 0;
}

static cvy_tensor densenet(cvy_context *ctx, cvy_net **net)
{
    return built_in("densenet121", 32, ctx, net);
}
static cvy_tensor resnet50(cvy_context *ctx, cvy_net **net)
{
    return built_in("resnet50", 32, ctx, net);
}
static cvy_tensor mobilenet(cvy_context *ctx, cvy_net **net)
{
    return built_in("mobilenet-v2", 32, ctx, net);
}

/* Branches that are normalised, activated and concatenated, as inception has them; dropout behind
 * them; two that read the same map; a sum of what is scaled, read twice. */
static cvy_tensor branches(cvy_context *ctx, cvy_net **made)
{
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = cvy_input(net, 3, 16, 16), part[3];
    static const char *const conv[] = { "a", "b", "c" }, *const norm[] = { "an", "bn", "cn" };
    for (size_t i = 0; i < 3; i++) {
        part[i] = cvy_batch_norm(net, conv3(net, x, conv[i], 20, 1), norm[i], NULL);
        part[i] = i == 2 ? cvy_sigmoid(net, part[i]) : cvy_relu(net, part[i]);
    }
    x = cvy_concat(net, part, 3, NULL);
    x = cvy_dropout(net, x, NULL, &(cvy_dropout_desc){ .p = 0.3 });
    cvy_tensor y = cvy_batch_norm(net, conv3(net, x, "d", 60, 1), "dn", NULL);
    x = cvy_relu(net, cvy_add(net, x, y, NULL));
    y = cvy_multiply(net, x, cvy_sigmoid(net, y), NULL);
    x = cvy_add(net, conv3(net, y, "e", 60, 1), x, NULL);
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 } });
    x = cvy_relu(net, cvy_batch_norm(net, x, "en", NULL));
    x = cvy_relu(net, cvy_batch_norm(net, conv3(net, x, "f", 24, 1), "fn", NULL));
    x = cvy_dropout(net, cvy_flatten(net, x), NULL, &(cvy_dropout_desc){ .p = 0.2 });
    return cvy_linear(net, x, "g", &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* Sums, which can be made again, whose normalised form is never stored: the 1x1 convolutions behind
 * them make it as they read. */
static cvy_tensor passing(cvy_context *ctx, cvy_net **made)
{
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = conv3(net, cvy_input(net, 1, 28, 28), "in", 44, 2), y;
    static const char *const name[][4] = { { "a", "an", "ab", "a1" }, { "b", "bn", "bb", "b1" } };
    for (size_t i = 0; i < 2; i++) {
        x = cvy_relu(net, cvy_batch_norm(net, x, name[i][1], NULL));
        y = cvy_add(net, x, conv3(net, x, name[i][0], i ? 80 : 44, 1), NULL);
        y = cvy_relu(net, cvy_batch_norm(net, y, name[i][2], NULL));
        x = conv1(net, y, name[i][3], i ? 44 : 80);
    }
    return cvy_linear(net, cvy_flatten(net, cvy_global_avg_pool(net, x, NULL)), "fc",
                      &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* -------------------------------------------------------------------------------- a run's bytes */

struct result {
    double loss[STEPS];
    float *param;
    size_t n, recomputed, bytes;
    bool packed;
};

static void collect(struct result *r, cvy_context *ctx, const cvy_trainer *t)
{
    for (int kind = CVY_PARAM_WEIGHT; kind < CVY_PARAM_KINDS; kind++)
        for (size_t i = 0; i < cvy_trainer_params(t, (enum cvy_param_kind)kind); i++) {
            cvy_param_info info;
            OK(cvy_trainer_param(t, (enum cvy_param_kind)kind, i, &info));
            r->param = realloc(r->param, (r->n + info.count) * sizeof(float));
            OK(cvy_trainer_get(t, info.kind, info.name, r->param + r->n, info.count));
            r->n += info.count;
        }
}

static size_t plan_bytes(const cvy_context *ctx, const cvy_plan_info *p)
{
    return p->arena_bytes + p->parameter_bytes + p->scratch_bytes * cvy_context_threads(ctx);
}

static void describe(struct result *r, const cvy_context *ctx, const cvy_trainer *t)
{
    cvy_plan_info plan;
    cvy_trainer_plan(t, &plan);
    r->bytes = plan_bytes(ctx, &plan);
    r->recomputed = plan.recomputed;
    r->packed = plan.packed;
}

/* How much of what it takes without a limit is allowed, between the least and that: 0 the least,
 * NONE: no limit. */
enum { NONE = -1, LEAST = 0, PARTS = 4 };

static struct result train(const cvy_context_options *options, build_net build,
                           cvy_trainer_options o, int share)
{
    struct result r = { .n = 0 };
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    if (cvy_context_create(options, &ctx)) die(NULL, "context");
    cvy_tensor logits = build(ctx, &net);
    const cvy_shape image = cvy_tensor_shape(net, cvy_net_tensor(net, 0));
    if (share != NONE) {
        cvy_trainer_options dry = o;
        dry.dry_run = true;
        OK(cvy_trainer_create(net, logits, &dry, &t));
        describe(&r, ctx, t);
        assert_true(!r.recomputed && !r.packed);
        cvy_trainer_destroy(&t);
        size_t least = least_memory(ctx, net, logits, o);
        assert_true(least <= r.bytes);
        o.memory_limit = least + (r.bytes - least) / PARTS * (size_t)share;
    }
    OK(cvy_trainer_create(net, logits, &o, &t));
    describe(&r, ctx, t);
    if (share != NONE) assert_true(r.bytes <= o.memory_limit);
    for (size_t s = 0; s < STEPS; s++) {
        cvy_step_result step;
        size_t n = s == 1 ? BATCH - 7 : BATCH;
        cvy_batch b = { .images = pixels + s * image.c * image.h * image.w,
                        .labels8 = labels + s,
                        .dtype = CVY_U8,
                        .n = n };
        OK(cvy_trainer_step(t, &b, &step));
        r.loss[s] = step.loss_sum;
    }
    collect(&r, ctx, t);
    cvy_trainer_destroy(&t);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    return r;
}

static const cvy_trainer_options usual = {
    .batch = BATCH, .sgd = { .lr = 0.05, .momentum = 0.9 }, .seed = 3, .init.seed = 5
};

static void same(const char *what, const struct result *want, const struct result *got)
{
    assert_int_equal(want->n, got->n);
    for (size_t s = 0; s < STEPS; s++)
        if (memcmp(&want->loss[s], &got->loss[s], sizeof want->loss[s]) != 0)
            fail_msg("%s: loss of step %zu is %.17g, expected %.17g", what, s, got->loss[s],
                     want->loss[s]);
    for (size_t i = 0; i < want->n; i++)
        if (memcmp(&want->param[i], &got->param[i], sizeof(float)) != 0)
            fail_msg("%s: number %zu of the parameters is %.9g, expected %.9g", what, i,
                     (double)got->param[i], (double)want->param[i]);
}

/* ---------------------------------------------------------------------------------------- tests */

static const struct {
    const char *name;
    build_net build;
    bool saves; /* where most is alive there are maps that can be made again */
} nets[] = { { "lenet-bn", lenet_bn, true },
             { "resnet20", small_resnet20, true },
             { "motley", motley, true },
             { "branches", branches, true },
             { "dense", dense, true },
             { "separable", separable, true },
             { "passing", passing, true },
             { "activations", every_activation, false },
             { "group norms", every_group_norm, false },
             { "whitenings", every_whitening, false },
             { "ranks", every_rank, false },
             { "decoder", decoder, false },
             { "tall", tall, false } };
enum { NETS = sizeof nets / sizeof *nets };

/* From the least to nearly all: the smaller, the more is made again. */
static void limits_are_kept(void **state)
{
    (void)state;
    for (size_t k = 0; k < NETS; k++) {
        const cvy_context_options o = { .threads = 2, .backends = "native" };
        struct result want = train(&o, nets[k].build, usual, NONE);
        size_t before = SIZE_MAX;
        for (int share = LEAST; share <= PARTS; share += 2) {
            struct result got = train(&o, nets[k].build, usual, share);
            char what[64];
            snprintf(what, sizeof what, "%s at %d of %d", nets[k].name, share, PARTS);
            same(what, &want, &got);
            assert_true(got.recomputed <= before);
            before = got.recomputed;
            if (share == LEAST)
                print_message("  %s: %zu ops again, %.2f of the memory\n", nets[k].name,
                              got.recomputed, (double)got.bytes / (double)want.bytes);
            if (share == LEAST && nets[k].saves && !got.recomputed)
                fail_msg("%s: %zu ops again, %zu bytes instead of %zu", what, got.recomputed,
                         got.bytes, want.bytes);
            if (share == LEAST) assert_true(got.packed && got.bytes < want.bytes);
            free(got.param);
        }
        assert_int_equal(before, 0);
        free(want.param);
    }
}

static void same_bits_in_every_way(void **state)
{
    static const build_net some[] = { small_resnet20, motley, branches };
    (void)state;
    for (size_t k = 0; k < sizeof some / sizeof *some; k++) {
        cvy_context_options o = { .threads = 1, .backends = "native" };
        struct result want = train(&o, some[k], usual, NONE);
        cvy_machine machine;
        cvy_machine_describe(&machine);
        for (size_t i = 0; some_way(i, &o); i++) {
            if (o.isa != CVY_ISA_AUTO && !machine.can_run[o.isa]) continue;
            struct result got = train(&o, some[k], usual, LEAST);
            same(cvy_isa_name(o.isa), &want, &got);
            assert_true(got.recomputed > 0);
            free(got.param);
        }
        free(want.param);
    }
}

/* By itself, and with others for what it does not take. */
static void same_bits_on_every_backend(void **state)
{
    static const char *const lists[] = { "reference", "native,reference", "onednn,native",
                                         "onednn,reference" };
    static const build_net some[] = { lenet_bn, motley, branches, every_group_norm };
    (void)state;
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        const cvy_context_options o = { .threads = 2, .backends = lists[l] };
        cvy_context *ctx;
        enum cvy_status status = cvy_context_create(&o, &ctx);
        if (status && strstr(cvy_message(NULL), "there is no convoy-onednn.so")) continue;
        if (status) fail_msg("%s", cvy_message(NULL));
        cvy_context_destroy(&ctx);
        for (size_t k = 0; k < sizeof some / sizeof *some; k++) {
            struct result want = train(&o, some[k], usual, NONE),
                          got = train(&o, some[k], usual, LEAST);
            same(lists[l], &want, &got);
            assert_true(got.bytes < want.bytes);
            free(want.param);
            free(got.param);
        }
    }
}

/* Large nets at the least that they take, and what that costs. */
static void large_nets_save_most(void **state)
{
    static const struct {
        const char *name;
        build_net build;
        double most; /* of the arena */
    } large[] = { { "resnet50", resnet50, 0.6 },
                  { "densenet121", densenet, 0.4 },
                  { "mobilenet-v2", mobilenet, 0.65 } };
    (void)state;
    for (size_t k = 0; k < sizeof large / sizeof *large; k++) {
        cvy_context *ctx;
        cvy_net *net;
        cvy_trainer *t;
        cvy_plan_info plan[2];
        double moved = 0, all = 0;
        assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = 2 }, &ctx), CVY_OK);
        cvy_tensor y = large[k].build(ctx, &net);
        cvy_trainer_options o = { .batch = 16, .sgd.lr = 0.1, .dry_run = true };
        OK(cvy_trainer_create(net, y, &o, &t));
        cvy_trainer_plan(t, &plan[0]);
        cvy_trainer_destroy(&t);
        o.memory_limit = least_memory(ctx, net, y, o);
        OK(cvy_trainer_create(net, y, &o, &t));
        cvy_trainer_plan(t, &plan[1]);
        for (size_t i = 0; i < cvy_trainer_phases(t); i++) {
            cvy_phase_info phase;
            cvy_op_info op = { .part = CVY_PART_FORWARD };
            OK(cvy_trainer_phase(t, i, &phase));
            if (phase.ops) OK(cvy_trainer_op(t, phase.first_op, &op));
            all += phase.bytes_read + phase.bytes_written;
            if (op.part == CVY_PART_RECOMPUTE) moved += phase.bytes_read + phase.bytes_written;
        }
        print_message("  %s: %.2f of the arena, %zu ops again, %.1f %% more moved\n", large[k].name,
                      (double)plan[1].arena_bytes / (double)plan[0].arena_bytes, plan[1].recomputed,
                      100 * moved / (all - moved));
        assert_true((double)plan[1].arena_bytes < large[k].most * (double)plan[0].arena_bytes);
        assert_true(moved > 0 && moved < 0.25 * all);
        assert_int_equal(plan[0].parameter_bytes, plan[1].parameter_bytes);
        cvy_trainer_destroy(&t);
        cvy_net_destroy(&net);
        cvy_context_destroy(&ctx);
    }
}

/* Gradients that are summed and clipped, images that are moved, statistics of the population, the
 * gradient of the input. */
static void other_options_go_on(void **state)
{
    (void)state;
    const cvy_context_options o = { .threads = 2 };
    cvy_trainer_options many = usual;
    many.sgd = (cvy_sgd_desc){ .lr = 0 };
    many.optimizer = (cvy_optimizer_desc){ .kind = CVY_ADAM, .lr = 0.01, .weight_decay = 1e-3 };
    many.clip_norm = 0.5;
    many.accumulate = 2;
    many.input_gradient = true;
    many.augment = (cvy_augment_desc){ .crop = 2, .flip = true };
    struct result want = train(&o, branches, many, NONE), got = train(&o, branches, many, LEAST);
    same("many options", &want, &got);
    assert_true(got.recomputed > 0 && got.bytes < want.bytes);
    free(want.param);
    free(got.param);

    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t[2];
    float mean[2][20];
    assert_int_equal(cvy_context_create(&o, &ctx), CVY_OK);
    cvy_tensor y = branches(ctx, &net);
    for (size_t k = 0; k < 2; k++) {
        cvy_trainer_options p = usual;
        if (k) p.memory_limit = least_memory(ctx, net, y, usual);
        OK(cvy_trainer_create(net, y, &p, &t[k]));
        OK(cvy_trainer_population(
            t[k], &(cvy_batch){ .images = pixels, .labels8 = labels, .dtype = CVY_U8, .n = BATCH },
            0));
        OK(cvy_trainer_get(t[k], CVY_PARAM_RUNNING, "an.running_mean", mean[k], 20));
        cvy_trainer_destroy(&t[k]);
    }
    assert_memory_equal(mean[0], mean[1], sizeof mean[0]);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

static void too_little_is_told(void **state)
{
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *t;
    char text[200];
    (void)state;
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = 2 }, &ctx), CVY_OK);
    cvy_tensor y = small_resnet20(ctx, &net);
    cvy_trainer_options o = usual;
    size_t least = least_memory(ctx, net, y, o);
    o.memory_limit = least;
    OK(cvy_trainer_create(net, y, &o, &t));
    cvy_trainer_destroy(&t);
    o.memory_limit = least - 1;
    assert_int_equal(cvy_trainer_create(net, y, &o, &t), CVY_E_NOMEM);
    assert_null(t);
    snprintf(text, sizeof text,
             "the memory limit is %zu bytes, and the net needs %zu in batches of 20, with what can "
             "be recomputed recomputed",
             least - 1, least);
    assert_string_equal(cvy_message(ctx), text);
    /* what users read after a step stays where it is */
    o.keep_tensors = true;
    o.memory_limit = least;
    assert_int_equal(cvy_trainer_create(net, y, &o, &t), CVY_E_NOMEM);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(same_bits_in_every_way),
        cmocka_unit_test(same_bits_on_every_backend),
        cmocka_unit_test(large_nets_save_most),
        cmocka_unit_test(other_options_go_on),
        cmocka_unit_test(too_little_is_told),
    };
    return cmocka_run_group_tests(tests, make_data, NULL);
}
