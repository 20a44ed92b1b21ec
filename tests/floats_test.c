/* The host's floating-point state: whatever rounding, traps and denormals it has, on whichever of
 * its threads, a whole life of the library gives the same bits, and leaves the state, collected
 * flags included, as it was after every call. Each case is a process of its own, forked before any
 * thread was made: a runtime's threads inherit the state of their maker. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xmmintrin.h>
#include <cmocka.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "base/context.h"
#include "base/floats.h"
#include "base/team.h"
#include "convoy/convoy.h"

/* --------------------------------------------------------------------------------------- states */

struct state {
    uint32_t mxcsr;
    uint16_t control;
};

static struct state current(void)
{
    struct state s = { _mm_getcsr(), 0 };
    __asm__ volatile("fnstcw %0" : "=m"(s.control));
    return s;
}

static void assume(struct state s)
{
    __asm__ volatile("fldcw %0" : : "m"(s.control));
    _mm_setcsr(s.mxcsr);
}

static const struct state usual = { 0x1f80, 0x037f };
static const struct {
    const char *name;
    struct state state;
} states[] = {
    { "as a process starts", { 0x1f80, 0x037f } },
    { "rounds down", { 0x3f80, 0x037f } },
    { "rounds up", { 0x5f80, 0x037f } },
    { "rounds to zero", { 0x7f80, 0x037f } },
    { "traps invalid operations", { 0x1f00, 0x037f } },
    { "traps denormal operands", { 0x1e80, 0x037f } },
    { "traps divisions by zero", { 0x1d80, 0x037f } },
    { "traps overflow", { 0x1b80, 0x037f } },
    { "traps underflow", { 0x1780, 0x037f } },
    { "traps inexact results", { 0x0f80, 0x037f } },
    { "traps everything", { 0x0000, 0x037f } },
    { "flushes results to zero", { 0x9f80, 0x037f } },
    { "takes denormals for zero", { 0x1fc0, 0x037f } },
    { "has collected every flag", { 0x1fbf, 0x037f } },
    { "has collected flags that it traps now, rounds down", { 0x203f, 0x037f } },
    { "x87 rounds up with 24 bits", { 0x1f80, 0x087f } },
    { "x87 traps everything", { 0x1f80, 0x0340 } },
    { "everything at once", { 0x6015, 0x0c40 } },
};
enum { N_STATES = sizeof states / sizeof *states };

static _Thread_local struct state expected; /* of this thread, the host's */

static bool as_expected(void)
{
    struct state now = current();
    return now.mxcsr == expected.mxcsr && now.control == expected.control;
}

#define NEED(condition)                                                      \
    do {                                                                     \
        if (!(condition)) {                                                  \
            assume(usual);                                                   \
            fprintf(stderr, "floats_test.c:%d: %s\n", __LINE__, #condition); \
            _exit(1);                                                        \
        }                                                                    \
    } while (0)

/* A call of the library, with what it should answer; then the state is the host's. */
#define CALL(call, status)           \
    do {                             \
        enum cvy_status s_ = (call); \
        NEED(as_expected());         \
        NEED(s_ == (status));        \
    } while (0)
#define VOID(call)           \
    do {                     \
        call;                \
        NEED(as_expected()); \
    } while (0)

/* --------------------------------------------------------------------------- a host's callbacks */

static void log_line(void *user, int level, const char *line)
{
    (void)user, (void)level, (void)line;
    NEED(as_expected());
}

static bool large_block; /* one that is aligned to a huge page was asked for */
static void *host_alloc(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    NEED(as_expected());
    large_block |= alignment > 64;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void host_free(void *user, void *p)
{
    (void)user;
    NEED(as_expected());
    free(p);
}

struct pool_job {
    size_t tasks, slot;
    cvy_job job;
    void *arg;
};

static void *pool_thread(void *arg) /* has a state of its own, and keeps it */
{
    const struct pool_job *j = arg;
    expected = (struct state){ 0x6f81, 0x0b7f };
    assume(expected);
    for (size_t t = j->slot; t < j->tasks; t += 2) VOID(j->job(j->arg, t, j->slot));
    return NULL;
}

static void host_pool(void *pool, size_t tasks, cvy_job job, void *arg)
{
    pthread_t thread;
    struct pool_job jobs[2] = { { tasks, 0, job, arg }, { tasks, 1, job, arg } };
    (void)pool;
    NEED(as_expected());
    NEED(pthread_create(&thread, NULL, pool_thread, &jobs[1]) == 0);
    for (size_t t = 0; t < tasks; t += 2) VOID(job(arg, t, 0));
    NEED(pthread_join(thread, NULL) == 0);
}

/* --------------------------------------------------------------------------------------- a life */

struct setup {
    size_t threads;
    const char *backends;
    bool hosted;
    enum cvy_isa isa;
};

static void mix(uint64_t *hash, const void *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *hash = (*hash ^ ((const unsigned char *)data)[i]) * 1099511628211u;
}

enum { BATCH = 20, SIDE = 8, CLASSES = 3 };

static cvy_tensor build(cvy_net *net)
{
    cvy_tensor x;
    VOID(x = cvy_input(net, 1, SIDE, SIDE));
    VOID(x = cvy_conv2d(
             net, x, "conv",
             &(cvy_conv2d_desc){ .out_channels = 5, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 } }));
    VOID(x = cvy_batch_norm(net, x, "bn", &(cvy_batch_norm_desc){ .eps = 1e-3, .momentum = 0.3 }));
    VOID(x = cvy_sigmoid(net, x));
    VOID(x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 } }));
    VOID(x = cvy_conv2d(net, x, "c2", &(cvy_conv2d_desc){ .out_channels = 4, .kernel = { 2, 2 } }));
    VOID(x = cvy_activation(net, x, NULL, &(cvy_act_desc){ .kind = CVY_ELU, .alpha = 0.7 }));
    VOID(x = cvy_pool2d(net, x, NULL,
                        &(cvy_pool2d_desc){ .kind = CVY_POOL_AVG, .kernel = { 3, 3 } }));
    VOID(x = cvy_dropout(net, x, NULL, &(cvy_dropout_desc){ .p = 0.3 }));
    VOID(x = cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = CLASSES }));
    return x;
}

static void walk(cvy_net *net, cvy_trainer *t, uint64_t *hash)
{
    for (size_t i = 0; i < cvy_net_nodes(net); i++) {
        cvy_node_info node;
        CALL(cvy_net_node(net, i, &node), CVY_OK);
        mix(hash, &node.flops_forward, sizeof node.flops_forward);
    }
    CALL(cvy_trainer_profile(t, true), CVY_OK);
    for (size_t i = 0; i < cvy_trainer_ops(t); i++) {
        cvy_op_info op;
        CALL(cvy_trainer_op(t, i, &op), CVY_OK);
        mix(hash, &op.flops, sizeof op.flops);
    }
    for (size_t i = 0; i < cvy_trainer_phases(t); i++) {
        cvy_phase_info phase;
        CALL(cvy_trainer_phase(t, i, &phase), CVY_OK);
        mix(hash, &phase.flops, sizeof phase.flops);
    }
    double kept[CLASSES];
    for (size_t i = 0; i < cvy_trainer_tensors(t); i++) {
        CALL(cvy_trainer_tensor_get(t, i, kept, CLASSES), CVY_OK);
        mix(hash, kept, sizeof kept);
    }
    cvy_plan_info plan;
    VOID(cvy_trainer_plan(t, &plan));
    mix(hash, &plan.arena_bytes, sizeof plan.arena_bytes);
}

static void parameters(cvy_trainer *t, uint64_t *hash)
{
    for (enum cvy_param_kind kind = CVY_PARAM_WEIGHT; kind < CVY_PARAM_KINDS; kind++)
        for (size_t i = 0; i < cvy_trainer_params(t, kind); i++) {
            float f[256];
            double d[256];
            cvy_param_info info;
            CALL(cvy_trainer_param(t, kind, i, &info), CVY_OK);
            NEED(info.count <= 256);
            CALL(cvy_trainer_get(t, kind, info.name, f, info.count), CVY_OK);
            CALL(cvy_trainer_get64(t, kind, info.name, d, info.count), CVY_OK);
            mix(hash, f, info.count * sizeof *f);
            mix(hash, d, info.count * sizeof *d);
            CALL(cvy_trainer_set(t, kind, info.name, f, info.count), CVY_OK);
            CALL(cvy_trainer_set64(t, kind, info.name, d, info.count), CVY_OK);
        }
}

static const unsigned char *pixels(void)
{
    static unsigned char images[BATCH * SIDE * SIDE];
    for (size_t i = 0; i < sizeof images; i++) images[i] = (unsigned char)(i * i % 251);
    return images;
}

static void train(cvy_context *ctx, uint64_t *hash)
{
    cvy_net *net;
    cvy_trainer *t;
    cvy_predictor *p;
    unsigned char labels[BATCH];
    static const union {
        uint64_t bits;
        double value;
    } nan = { 0x7ff4000000000000 }; /* signals */
    for (size_t i = 0; i < BATCH; i++) labels[i] = (unsigned char)(i % CLASSES);
    CALL(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor logits = build(net);
    cvy_trainer_options o = { .batch = BATCH,
                              .keep_tensors = true,
                              .seed = 3,
                              .loss.label_smoothing = 0.1,
                              .input = { 0.01, (const double[]){ 0.4 }, (const double[]){ 0.3 } } };
    memcpy(&o.sgd.lr, &nan, sizeof nan);
    CALL(cvy_trainer_create(net, logits, &o, &t), CVY_E_ARG);
    o.sgd = (cvy_sgd_desc){ .lr = 0.1, .momentum = 0.9, .weight_decay = 1e-3, .nesterov = true };
    CALL(cvy_trainer_create(net, logits, &o, &t), CVY_OK);
    CALL(cvy_predictor_create(net, logits, BATCH, NULL, t, &p), CVY_OK);
    cvy_batch batch = { .images = pixels(), .dtype = CVY_U8, .labels8 = labels, .n = BATCH };
    for (int step = 0; step < 3; step++) {
        cvy_step_result r;
        batch.n = step == 1 ? 7 : BATCH;
        CALL(cvy_trainer_step(t, &batch, &r), CVY_OK);
        mix(hash, &r.loss_sum, sizeof r.loss_sum);
        CALL(cvy_trainer_set_lr(t, 0.3), CVY_OK);
    }
    parameters(t, hash);
    float out[BATCH * CLASSES];
    batch.labels8 = NULL;
    CALL(cvy_predictor_run(p, &batch, out), CVY_OK);
    mix(hash, out, sizeof out);
    walk(net, t, hash);
    batch.labels8 = labels;
    CALL(cvy_trainer_set_lr(t, 1e30), CVY_OK); /* it diverges: inf, then NaN */
    enum cvy_status status = CVY_OK;
    for (int step = 0; step < 30 && status == CVY_OK; step++) {
        status = cvy_trainer_step(t, &batch, NULL);
        NEED(as_expected());
    }
    NEED(status == CVY_E_NUMERIC);
    labels[3] = CLASSES;
    CALL(cvy_trainer_step(t, &batch, NULL), CVY_E_ARG);
    VOID(cvy_predictor_destroy(&p));
    VOID(cvy_trainer_destroy(&t));
    VOID(cvy_net_destroy(&net));
}

static void single_operators(cvy_context *ctx, uint64_t *hash)
{
    const cvy_shape src = { 17, 3, 5, 5 };
    enum { N = 17 * 3 * 25 };
    /* from 1 to 2, and a few denormals */
    static _Thread_local union {
        uint32_t bits[N];
        float value[N];
    } x;
    static _Thread_local float y[2 * N], w[4 * 3 * 9], three[3];
    cvy_op *op;
    for (uint32_t i = 0; i < N; i++) x.bits[i] = i % 50 ? 0x3f800000u + i * 7919u % 0x7fffffu : i;
    memcpy(w, x.value + 1, sizeof w);
    memcpy(three, x.value + 1, sizeof three);
    memset(y, 0, sizeof y);
    CALL(cvy_op_conv2d(ctx,
                       &(cvy_conv2d_desc){ .out_channels = 4, .kernel = { 3, 3 }, .no_bias = true },
                       src, CVY_FORWARD, &op),
         CVY_OK);
    CALL(cvy_op_run(op, &(cvy_op_args){ .src = x.value, .weights = w, .dst = y }), CVY_OK);
    mix(hash, y, sizeof y);
    cvy_phase_info phase;
    CALL(cvy_op_phase(op, 0, &phase), CVY_OK);
    VOID(cvy_op_destroy(&op));
    CALL(cvy_op_batch_norm(ctx, NULL, src, CVY_FORWARD, &op), CVY_OK);
    CALL(cvy_op_run(op, &(cvy_op_args){ .src = x.value,
                                        .weights = three,
                                        .bias = three,
                                        .dst = y,
                                        .mean = w,
                                        .var = w + 3 }),
         CVY_OK);
    mix(hash, y, sizeof y);
    mix(hash, w, 6 * sizeof *w);
    VOID(cvy_op_destroy(&op));
    CALL(cvy_op_activation(ctx, &(cvy_act_desc){ .kind = CVY_TANH }, src, CVY_FORWARD, &op),
         CVY_OK);
    CALL(cvy_op_run(op, &(cvy_op_args){ .src = x.value, .dst = y }), CVY_OK);
    mix(hash, y, sizeof y);
    VOID(cvy_op_destroy(&op));
    CALL(cvy_op_dropout(ctx, &(cvy_dropout_desc){ .p = 0.3 }, src, CVY_FORWARD, &op), CVY_OK);
    CALL(cvy_op_run(op, &(cvy_op_args){ .src = x.value, .dst = y, .seed = 5 }), CVY_OK);
    mix(hash, y, sizeof y);
    VOID(cvy_op_destroy(&op));
    CALL(cvy_op_pool2d(ctx, &(cvy_pool2d_desc){ .kind = CVY_POOL_AVG, .kernel = { 2, 2 } }, src,
                       CVY_FORWARD, &op),
         CVY_OK);
    CALL(cvy_op_run(op, &(cvy_op_args){ .src = x.value, .dst = y }), CVY_OK);
    mix(hash, y, sizeof y);
    VOID(cvy_op_destroy(&op));
    CALL(cvy_op_add(ctx, src, &op), CVY_OK);
    cvy_op_destroy(&op);
    CALL(cvy_op_multiply(ctx, src, &op), CVY_OK);
    CALL(cvy_op_run(op, &(cvy_op_args){ .src = x.value, .src2 = x.value, .dst = y }), CVY_OK);
    mix(hash, y, sizeof y);
    VOID(cvy_op_destroy(&op));
    int32_t labels[17] = { 0 };
    double loss;
    CALL(cvy_op_loss(ctx, &(cvy_loss_desc){ 0.1 }, (cvy_shape){ 17, 75, 1, 1 }, &op), CVY_OK);
    CALL(cvy_op_run(
             op, &(cvy_op_args){ .src = x.value, .labels = labels, .diff_src = y, .loss = &loss }),
         CVY_OK);
    mix(hash, &loss, sizeof loss);
    VOID(cvy_op_destroy(&op));
    CALL(cvy_op_dropout(ctx, &(cvy_dropout_desc){ .p = 3 }, src, CVY_FORWARD, &op), CVY_E_ARG);
}

/* Parameters that lie on huge pages. */
static void large_weights(cvy_context *ctx)
{
    cvy_net *net;
    cvy_predictor *p;
    CALL(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor x = cvy_input(net, 1, 16, 64);
    x = cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = 1024 });
    CALL(cvy_predictor_create(net, x, 1, NULL, NULL, &p), CVY_OK);
    NEED(large_block);
    VOID(cvy_predictor_destroy(&p));
    VOID(cvy_net_destroy(&net));
}

static uint64_t life(const struct setup *setup)
{
    uint64_t hash = 14695981039346656037u;
    cvy_context *ctx;
    cvy_machine machine;
    cvy_context_options o = { .threads = setup->threads,
                              .backends = setup->backends,
                              .isa = setup->isa,
                              .verbose = 2,
                              .log = log_line,
                              .allocator = { host_alloc, host_free, NULL } };
    if (setup->hosted) o.parallel_for = host_pool;
    VOID(cvy_machine_describe(&machine));
    CALL(cvy_context_create(&o, &ctx), CVY_OK);
    train(ctx, &hash);
    single_operators(ctx, &hash);
    large_weights(ctx);
    VOID(cvy_context_destroy(&ctx));
    return hash;
}

/* ------------------------------------------------------------------------------------ processes */

struct report {
    uint64_t hash[8];
};

/* fn(arg, &report) in a new process. */
static struct report in_a_process(void (*fn)(const void *, struct report *), const void *arg)
{
    int ends[2], status;
    struct report report;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        memset(&report, 0, sizeof report);
        expected = current();
        fn(arg, &report);
        assume(usual);
        _exit(write(ends[1], &report, sizeof report) != sizeof report);
    }
    close(ends[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) fail_msg("ended by signal %d (SIGFPE is 8)", WTERMSIG(status));
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], &report, sizeof report), sizeof report);
    close(ends[0]);
    return report;
}

struct life {
    struct setup setup;
    struct state state;
};

static void workers_are_the_hosts(size_t threads)
{
#ifdef _OPENMP
    struct state seen[8];
    size_t n = 0;
#pragma omp parallel num_threads((int)threads)
    {
        seen[omp_get_thread_num()] = current();
#pragma omp single
        n = (size_t)omp_get_num_threads();
    }
    for (size_t t = 0; t < n; t++)
        NEED(seen[t].mxcsr == expected.mxcsr && seen[t].control == expected.control);
#else
    (void)threads;
#endif
}

static void live(const void *arg, struct report *report)
{
    const struct life *l = arg;
    expected = l->state;
    assume(expected);
    report->hash[0] = life(&l->setup);
    if (!l->setup.hosted) workers_are_the_hosts(l->setup.threads);
    NEED(as_expected());
}

/* Of every `stride`-th state, and the last, which is all of them together. */
static void same_bits(const struct setup *setup, size_t stride)
{
    uint64_t first = 0;
    for (size_t i = 0; i < N_STATES;
         i = i + stride < N_STATES || i == N_STATES - 1 ? i + stride : N_STATES - 1) {
        printf("    %s\n", states[i].name);
        fflush(stdout);
        struct report r = in_a_process(live, &(struct life){ *setup, states[i].state });
        if (i == 0) first = r.hash[0];
        assert_true(r.hash[0] == first);
    }
}

static void on_one_thread(void **state)
{
    (void)state;
    same_bits(&(struct setup){ .threads = 1 }, 1);
}

static void on_three_threads(void **state)
{
    (void)state;
    same_bits(&(struct setup){ .threads = 3 }, 1);
}

static void on_the_hosts_pool(void **state)
{
    (void)state;
    same_bits(&(struct setup){ .threads = 2, .hosted = true }, 2);
}

static void on_the_scalar_table(void **state)
{
    (void)state;
    same_bits(&(struct setup){ .threads = 2, .isa = CVY_ISA_SCALAR }, 4);
}

static void on_the_reference(void **state)
{
    (void)state;
    same_bits(&(struct setup){ .threads = 2, .backends = "reference" }, 2);
}

static void look_for_onednn(const void *arg, struct report *report)
{
    cvy_context *ctx;
    (void)arg;
    report->hash[0] =
        cvy_context_create(&(cvy_context_options){ .threads = 1, .backends = "onednn" }, &ctx) ==
        CVY_OK;
}

static void on_onednn(void **state)
{
    (void)state;
    if (!in_a_process(look_for_onednn, NULL).hash[0]) {
        printf("    left out: there is no module for oneDNN\n");
        return;
    }
    same_bits(&(struct setup){ .threads = 3, .backends = "onednn,native" }, 3);
    same_bits(&(struct setup){ .threads = 2, .backends = "onednn,native", .hosted = true }, 9);
}

/* --------------------------------------------------------------------------------------- inside */

static void look(void *arg, size_t stage, size_t task, size_t thread)
{
    struct state now = current();
    (void)stage, (void)task, (void)thread;
    if ((now.mxcsr & ~0x3fu) != CVYI_MXCSR || now.control != CVYI_X87_CONTROL)
        *(_Atomic bool *)arg = false;
}

static void run_and_look(cvy_context *ctx)
{
    static const struct cvyi_stage_work work[] = { { 1, 40, NULL },
                                                   { 2, 40, NULL },
                                                   { 0, 1, NULL } };
    _Atomic bool fixed = true;
    cvyi_team_run(ctx->team, 3, work, look, (void *)&fixed);
    NEED(fixed);
    NEED(as_expected());
}

static void inside(const void *arg, struct report *report)
{
    (void)report;
    expected = *(const struct state *)arg;
    assume(expected);
    for (size_t threads = 1; threads <= 3; threads++) {
        cvy_context *ctx;
        CALL(cvy_context_create(&(cvy_context_options){ .threads = threads }, &ctx), CVY_OK);
        run_and_look(ctx);
#ifdef _OPENMP
        _Atomic bool lent = true;
        VOID(cvyi_team_lend(ctx->team, true));
#pragma omp parallel num_threads((int)threads)
        if (omp_get_thread_num()) look((void *)&lent, 0, 0, 0);
        VOID(cvyi_team_lend(ctx->team, false));
        NEED(lent);
#endif
        workers_are_the_hosts(threads);
        cvy_context_destroy(&ctx);
        cvy_context_options hosted = { .threads = 2, .parallel_for = host_pool };
        CALL(cvy_context_create(&hosted, &ctx), CVY_OK);
        run_and_look(ctx);
        cvy_context_destroy(&ctx);
    }
}

static void every_task_has_the_librarys_state(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_STATES; i++) in_a_process(inside, &states[i].state);
}

/* ----------------------------------------------------------------------------------- many hosts */

static void *live_on_a_thread(void *arg)
{
    struct {
        struct life life;
        uint64_t hash;
    } *l = arg;
    expected = l->life.state;
    assume(expected);
    l->hash = life(&l->life.setup);
    return NULL;
}

static void beside_each_other(const void *arg, struct report *report)
{
    struct {
        struct life life;
        uint64_t hash;
    } lives[6];
    pthread_t thread[6];
    (void)arg;
    for (size_t i = 0; i < 6; i++) {
        lives[i].life = (struct life){ { .threads = 1 + i % 3 }, states[i * 3 % N_STATES].state };
        NEED(pthread_create(&thread[i], NULL, live_on_a_thread, &lives[i]) == 0);
    }
    for (size_t i = 0; i < 6; i++) {
        NEED(pthread_join(thread[i], NULL) == 0);
        report->hash[i] = lives[i].hash;
    }
}

/* Called from within a region of the host's: the inner regions have one thread, or are granted
 * theirs. */
static void in_a_region(const void *arg, struct report *report)
{
#ifdef _OPENMP
    omp_set_max_active_levels(*(const int *)arg);
#pragma omp parallel num_threads(3)
    {
        size_t t = (size_t)omp_get_thread_num();
        struct state own = current();
        expected = states[1 + t * 4].state;
        assume(expected);
        report->hash[t] = life(&(struct setup){ .threads = 3 });
        NEED(as_expected());
        assume(own);
    }
#else
    (void)arg, (void)report;
#endif
}

static void many_contexts_at_once(void **state)
{
    (void)state;
    uint64_t alone = in_a_process(live, &(struct life){ { .threads = 1 }, usual }).hash[0];
    struct report r = in_a_process(beside_each_other, NULL);
    for (size_t i = 0; i < 6; i++) assert_true(r.hash[i] == alone);
    for (int levels = 1; levels <= 2; levels++) {
        r = in_a_process(in_a_region, &levels);
#ifdef _OPENMP
        for (size_t i = 0; i < 3; i++) assert_true(r.hash[i] == alone);
#endif
    }
}

int main(void)
{
    unsetenv("OMP_NUM_THREADS");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_one_thread),
        cmocka_unit_test(on_three_threads),
        cmocka_unit_test(on_the_hosts_pool),
        cmocka_unit_test(on_the_scalar_table),
        cmocka_unit_test(on_the_reference),
        cmocka_unit_test(on_onednn),
        cmocka_unit_test(every_task_has_the_librarys_state),
        cmocka_unit_test(many_contexts_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
