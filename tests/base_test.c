/* Contexts, the environment, the machine, and the team: stages in order, every task once, forks,
 * nesting, MXCSR. */
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xmmintrin.h>
#include <cmocka.h>

#include "base/context.h"
#include "base/cpu.h"
#include "base/probit.h"
#include "base/random.h"
#include "base/team.h"
#include "convoy/convoy.h"

#ifdef _OPENMP
#define HAVE_THREADS true
#else
#define HAVE_THREADS false /* meson option openmp: everything runs on the caller */
#endif

static void clean_environment(void)
{
    unsetenv("CVY_THREADS");
    unsetenv("CVY_ISA");
    unsetenv("CVY_ALGORITHM");
    unsetenv("CVY_BACKEND");
    unsetenv("CVY_VERBOSE");
    unsetenv("OMP_NUM_THREADS");
}

static cvy_context *make(size_t threads)
{
    cvy_context *ctx;
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = threads }, &ctx),
                     CVY_OK);
    return ctx;
}

static void serial(void *pool, size_t tasks, cvy_job job, void *arg)
{
    ++*(size_t *)pool;
    for (size_t t = tasks; t-- > 0;) job(arg, t, t % 2);
}

static void *no_memory(void *user, size_t bytes, size_t alignment)
{
    (void)user, (void)bytes, (void)alignment;
    return NULL;
}

static void keep(void *user, void *p) { (void)user, (void)p; }

static void wrong_environment_is_an_error(void **state)
{
    (void)state;
    char long_list[300];
    memset(long_list, 'x', sizeof long_list);
    long_list[sizeof long_list - 1] = 0;
    const struct {
        const char *name, *value, *says;
    } cases[] = {
        { "CVY_BACKEND", long_list, "the list of backends must have 1 to " },
        { "CVY_THREADS", "1025", "from 1 to 1024" },
        { "CVY_THREADS", "-1", "from 1 to 1024" },
        { "CVY_VERBOSE", "3", "CVY_VERBOSE is '3', expected a whole number from 0 to 2" },
        { "CVY_THREADS", "0", "whole number" },
        { "CVY_THREADS", "abc", "whole number" },
        { "CVY_THREADS", "2x", "whole number" },
        { "CVY_THREADS", "99999999999999999999", "whole number" },
        { "CVY_THREADS", "", "whole number" },
        { "CVY_ISA", "sse9", "expected auto, scalar" },
        { "CVY_ISA", "", "expected auto" },
        { "CVY_VERBOSE", "loud", "whole number" },
        { "CVY_BACKEND", "", "list of backends" },
        { "CVY_BACKEND", "nativ", "unknown backend \"nativ\": built in are native" },
        { "CVY_BACKEND", "native,,reference", "has an empty name in it" },
        { "CVY_BACKEND", "native,native", "listed twice" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cvy_context *ctx;
        clean_environment();
        setenv(cases[i].name, cases[i].value, 1);
        assert_int_equal(cvy_context_create(NULL, &ctx), CVY_E_ARG);
        assert_null(ctx);
        if (!strstr(cvy_message(NULL), cases[i].says))
            fail_msg("no '%s' in '%s'", cases[i].says, cvy_message(NULL));
    }
    clean_environment();
}

static void environment_fills_defaults_only(void **state)
{
    (void)state;
    cvy_context *ctx;
    setenv("CVY_THREADS", "3", 1);
    setenv("CVY_ISA", "scalar", 1);
    assert_int_equal(cvy_context_create(NULL, &ctx), CVY_OK);
    assert_int_equal(cvy_context_threads(ctx), HAVE_THREADS ? 3 : 1);
    assert_int_equal(cvy_context_isa(ctx), CVY_ISA_SCALAR);
    cvy_context_destroy(&ctx);
    setenv("CVY_ALGORITHM", "fft", 1);
    assert_int_equal(cvy_context_create(NULL, &ctx), CVY_E_ARG);
    assert_non_null(strstr(cvy_message(NULL), "CVY_ALGORITHM is 'fft'"));
    setenv("CVY_ALGORITHM", "panels", 1);
    assert_int_equal(cvy_context_create(NULL, &ctx), CVY_OK);
    cvy_context_destroy(&ctx);
    assert_int_equal(
        cvy_context_create(&(cvy_context_options){ .algorithm = (enum cvy_algorithm)9 }, &ctx),
        CVY_E_ARG);
    ctx = make(2);
    assert_int_equal(cvy_context_threads(ctx), HAVE_THREADS ? 2 : 1);
    cvy_context_destroy(&ctx);
    clean_environment();
    cvy_context_destroy(&ctx);
    cvy_context_destroy(NULL);
}

/* Below CVY_THREADS; the first of a list; what OpenMP would not take either is left alone, and
 * said. */
static void openmps_own_variable_is_obeyed(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        size_t threads;
    } cases[] = {
        { "3", 3 },  { "5,2", 5 }, { " 4 , 2 , 1 ", 4 }, { "99999999999999999999", 1024 },
        { "1", 1 },  { "", 0 },    { "abc", 0 },         { "0", 0 },
        { "-3", 0 }, { "4,", 0 },  { "4,0", 0 },         { "4;2", 0 },
        { ",4", 0 }, { "4x", 0 },
    };
    cvy_machine m;
    cvy_machine_describe(&m);
    const char *own = cvyi_cpu_limits().by_quota ? "the cgroup's quota" : "the affinity mask";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t calls = 0; /* a pool of the host's: its threads are not made */
        const cvy_context_options options = { .parallel_for = serial, .pool = &calls };
        cvy_context *ctx;
        setenv("OMP_NUM_THREADS", cases[i].value, 1);
        assert_int_equal(cvy_context_create(&options, &ctx), CVY_OK);
        assert_int_equal(cvy_context_threads(ctx),
                         cases[i].threads ? cases[i].threads : m.default_threads);
        char ignored[100];
        snprintf(ignored, sizeof ignored, "%s (OMP_NUM_THREADS is no list of numbers above zero)",
                 own);
        assert_string_equal(cvy_context_threads_why(ctx),
                            cases[i].threads ? "OMP_NUM_THREADS" : ignored);
        cvy_context_destroy(&ctx);
        setenv("CVY_THREADS", "2", 1);
        assert_int_equal(cvy_context_create(&options, &ctx), CVY_OK);
        assert_int_equal(cvy_context_threads(ctx), 2);
        assert_string_equal(cvy_context_threads_why(ctx), "CVY_THREADS");
        cvy_context_destroy(&ctx);
        clean_environment();
        assert_int_equal(cvy_context_create(&options, &ctx), CVY_OK);
        assert_int_equal(cvy_context_threads(ctx), m.default_threads);
        assert_string_equal(cvy_context_threads_why(ctx), own);
        cvy_context_destroy(&ctx);
    }
}

struct record {
    unsigned char *ran;
    size_t n_stages, most;
    _Atomic size_t done;
    bool order;
};

static void note(void *arg, size_t stage, size_t task, size_t thread)
{
    struct record *r = arg;
    (void)thread;
    r->ran[stage * r->most + task]++;
    size_t before = 0;
    for (size_t s = 0; s < stage; s++)
        for (size_t t = 0; t < r->most; t++) before += r->ran[s * r->most + t];
    if (before > r->done) r->order = false;
    r->done++;
}

static const struct cvyi_stage_work eights[] = { { 1, 7, NULL }, { 1, 7, NULL } };

static void every_task_runs_once_and_stages_in_order(void **state)
{
    (void)state;
    uint32_t uneven[11];
    const struct cvyi_stage_work work[] = { { 1, 6, NULL }, { 0, 1, NULL }, { 0, 64, uneven },
                                            { 2, 0, NULL }, { 0, 0, NULL }, { 3, 30, NULL },
                                            { 0, 3, NULL } };
    for (size_t threads = 1; threads <= 9; threads += threads < 3 ? 1 : 3) {
        cvy_context *ctx = make(threads);
        for (size_t t = 0; t <= threads; t++) uneven[t] = t == threads ? 64 : (uint32_t)(t * t / 2);
        for (int repeat = 0; repeat < 20; repeat++) {
            unsigned char ran[7 * 64] = { 0 };
            struct record r = { ran, 7, 64, 0, true };
            cvyi_team_run(ctx->team, 7, work, note, &r);
            for (size_t s = 0; s < 7; s++)
                for (size_t t = 0; t < 64; t++)
                    assert_int_equal(ran[s * 64 + t], t < work[s].gates + work[s].tasks);
            assert_true(r.order);
        }
        cvy_context_destroy(&ctx);
    }
}

/* A region of the host's has all its threads: an inner one gets none, and the caller does
 * everything. */
static void works_inside_a_region_of_the_hosts(void **state)
{
    (void)state;
    for (size_t gates = 0; gates <= 3; gates += 3) {
        const struct cvyi_stage_work work[] = { { gates, 30, NULL }, { 2, 8, NULL } };
        cvy_context *ctx = make(3);
        unsigned char ran[2 * 33] = { 0 };
        struct record r = { ran, 2, 33, 0, true };
#ifdef _OPENMP
#pragma omp parallel num_threads(2)
#pragma omp single
#endif
        cvyi_team_run(ctx->team, 2, work, note, &r);
        for (size_t s = 0; s < 2; s++)
            for (size_t t = 0; t < 33; t++)
                assert_int_equal(ran[s * 33 + t], t < work[s].gates + work[s].tasks);
        assert_true(r.order);
        cvy_context_destroy(&ctx);
    }
}

static void flush_to_zero_inside_only(void *arg, size_t stage, size_t task, size_t thread)
{
    (void)stage, (void)task, (void)thread;
    if (!(_mm_getcsr() & 0x8040)) *(bool *)arg = false;
}

static void mxcsr_is_the_callers_after(void **state)
{
    (void)state;
    for (size_t threads = 1; threads <= 3; threads += 2) {
        cvy_context *ctx = make(threads);
        unsigned before = _mm_getcsr();
        bool set = true;
        cvyi_team_run(ctx->team, 2, eights, flush_to_zero_inside_only, &set);
        assert_true(set);
        assert_int_equal(_mm_getcsr(), before);
        cvy_context_destroy(&ctx);
    }
}

static void works_in_the_child_of_a_fork(void **state)
{
    (void)state;
    cvy_context *ctx = make(3);
    bool set = true;
    cvyi_team_run(ctx->team, 2, eights, flush_to_zero_inside_only, &set);
    pid_t child = fork();
    if (child == 0) {
        alarm(20); /* a deadlock ends here */
        cvyi_team_run(ctx->team, 2, eights, flush_to_zero_inside_only, &set);
        _exit(set ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    cvyi_team_run(ctx->team, 2, eights, flush_to_zero_inside_only, &set);
    cvy_context_destroy(&ctx);
}

static void the_hosts_pool_is_used(void **state)
{
    (void)state;
    cvy_context *ctx;
    size_t calls = 0;
    unsigned char ran[2 * 8] = { 0 };
    struct record r = { ran, 2, 8, 0, true };
    assert_int_equal(
        cvy_context_create(
            &(cvy_context_options){ .threads = 2, .parallel_for = serial, .pool = &calls }, &ctx),
        CVY_OK);
    cvyi_team_run(ctx->team, 2, eights, note, &r);
    assert_int_equal(calls, 2);
    assert_true(r.order);
    cvy_context_destroy(&ctx);
}

/* One function of the two is no allocator; more bytes than there can be are none. */
static void memory_that_cannot_be_had(void **state)
{
    (void)state;
    cvy_context *ctx;
    const struct {
        cvy_allocator allocator;
    } halves[] = { { { .alloc = no_memory } }, { { .free = keep } } };
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(
            cvy_context_create(
                &(cvy_context_options){ .threads = 1, .allocator = halves[i].allocator }, &ctx),
            CVY_E_ARG);
        assert_string_equal(cvy_message(ctx),
                            "allocator: alloc and free must both be given or both be NULL");
        cvy_context_destroy(&ctx);
    }
    assert_int_equal(
        cvy_context_create(
            &(cvy_context_options){ .threads = 1, .allocator = { no_memory, keep, NULL } }, &ctx),
        CVY_E_NOMEM);
    assert_null(ctx);
    ctx = make(1);
    assert_null(cvyi_alloc(ctx, SIZE_MAX));
    assert_string_equal(cvy_message(ctx),
                        "out of memory: 18446744073709551615 bytes could not be allocated");
    assert_null(cvyi_alloc_array(ctx, SIZE_MAX / 4, 5));
    assert_null(cvyi_alloc(ctx, SIZE_MAX / 2)); /* which the system is asked for */
    void *nothing = cvyi_alloc(ctx, 0), *some = cvyi_alloc_array(ctx, 3, 5);
    assert_true(nothing && some && (uintptr_t)nothing % 64 == 0 && (uintptr_t)some % 64 == 0);
    cvyi_free(ctx, nothing);
    cvyi_free(ctx, some);
    cvyi_free(ctx, NULL);
    cvy_context_destroy(&ctx);
}

static void no_context_has_answers_too(void **state)
{
    (void)state;
    assert_int_equal(cvy_context_threads(NULL), 0);
    assert_string_equal(cvy_context_threads_why(NULL), "");
    assert_int_equal(cvy_context_isa(NULL), CVY_ISA_AUTO);
    assert_string_equal(cvy_context_backends(NULL), "");
}

static void every_code_has_a_name(void **state)
{
    (void)state;
    static const char *const names[] = { "ok",          "argument", "shape",   "out of memory",
                                         "unsupported", "backend",  "numeric", "state" };
    static const enum cvy_status codes[] = { CVY_OK,        CVY_E_ARG,         CVY_E_SHAPE,
                                             CVY_E_NOMEM,   CVY_E_UNSUPPORTED, CVY_E_BACKEND,
                                             CVY_E_NUMERIC, CVY_E_STATE };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        assert_string_equal(cvy_status_name(codes[i]), names[i]);
    assert_string_equal(cvy_status_name((enum cvy_status)99), "unknown");
    assert_string_equal(cvy_isa_name((enum cvy_isa)99), "unknown");
    enum cvy_isa isa = CVY_ISA_AVX2;
    assert_false(cvy_isa_from_name(NULL, &isa));
    assert_false(cvy_isa_from_name("sse9", &isa));
    assert_int_equal(isa, CVY_ISA_AVX2);
    assert_string_equal(cvy_algorithm_name((enum cvy_algorithm)99), "unknown");
    enum cvy_algorithm algorithm = CVY_ALGORITHM_PANELS;
    assert_false(cvy_algorithm_from_name(NULL, &algorithm));
    assert_false(cvy_algorithm_from_name("winding", &algorithm));
    assert_int_equal(algorithm, CVY_ALGORITHM_PANELS);
    for (int i = 0; strcmp(cvy_algorithm_name((enum cvy_algorithm)i), "unknown"); i++) {
        assert_true(cvy_algorithm_from_name(cvy_algorithm_name((enum cvy_algorithm)i), &algorithm));
        assert_int_equal(algorithm, i);
    }
}

static void the_machine_is_described(void **state)
{
    (void)state;
    cvy_machine m;
    cvy_machine_describe(&m);
    assert_true(m.can_run[CVY_ISA_SCALAR]);
    assert_true(m.can_run[m.best_isa]);
    assert_true(m.default_threads >= 1 && m.default_threads <= m.cpus_allowed);
    assert_true(strlen(m.cpu) > 0);
    for (int i = CVY_ISA_AUTO; i <= CVY_ISA_PAIR; i++) {
        enum cvy_isa isa;
        assert_true(cvy_isa_from_name(cvy_isa_name((enum cvy_isa)i), &isa));
        assert_int_equal(isa, i);
    }
}

static void isa_that_cannot_run_is_refused(void **state)
{
    (void)state;
    for (int i = CVY_ISA_SCALAR; i <= CVY_ISA_PAIR; i++) {
        cvy_context *ctx;
        enum cvy_status s = cvy_context_create(
            &(cvy_context_options){ .isa = (enum cvy_isa)i, .threads = 1 }, &ctx);
        assert_int_equal(s, cvyi_cpu_can_run((enum cvy_isa)i) ? CVY_OK : CVY_E_UNSUPPORTED);
        cvy_context_destroy(&ctx);
    }
}

static void *message_of_new_thread(void *unused)
{
    (void)unused;
    return strdup(cvy_message(NULL));
}

/* A context that cannot be made is none, and the thread that wanted it is told why. */
static void refused_contexts(void **state)
{
    (void)state;
    static const struct {
        cvy_context_options options;
        enum cvy_status status;
        const char *message;
    } cases[] = {
        { { .isa = (enum cvy_isa)77 }, CVY_E_ARG, "isa 77 is not one of enum cvy_isa" },
        { { .threads = 5000 }, CVY_E_ARG, "threads is 5000, expected 1 to 1024 (0: default)" },
        { { .backends = "" }, CVY_E_ARG, "the list of backends must have 1 to 255 characters" },
        { { .backends = "native,,native" },
          CVY_E_ARG,
          "the list of backends \"native,,native\" has an empty name in it" },
        { { .allocator.alloc = no_memory },
          CVY_E_ARG,
          "allocator: alloc and free must both be given or both be NULL" },
        { { .allocator = { no_memory, keep, NULL } }, CVY_E_NOMEM, "out of memory: " },
    };
    char *other;
    pthread_t thread;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cvy_context *ctx = (cvy_context *)&thread; /* anything but NULL */
        assert_int_equal(cvy_context_create(&cases[i].options, &ctx), cases[i].status);
        assert_null(ctx);
        if (strncmp(cvy_message(NULL), cases[i].message, strlen(cases[i].message)))
            fail_msg("case %zu: \"%s\"", i, cvy_message(NULL));
        cvy_context_destroy(&ctx);
    }
    assert_int_equal(cvy_context_create(NULL, NULL), CVY_E_ARG);
    assert_string_equal(cvy_message(NULL), "a context needs a place");
    assert_int_equal(pthread_create(&thread, NULL, message_of_new_thread, NULL), 0);
    assert_int_equal(pthread_join(thread, (void **)&other), 0);
    assert_string_equal(other, "no context"); /* nothing failed there */
    free(other);
}

/* ------------------------------------------------------------------------------- random numbers */

static void philox_is_the_published_one(void **state)
{
    (void)state;
    /* Random123, kat_vectors */
    philox4x64_ctr_t r = cvyi_random(0, (enum cvyi_purpose)0, 0, 0, 0, 0);
    assert_true(r.v[0] == 0x16554d9eca36314cu && r.v[1] == 0xdb20fe9d672d0fdcu);
    assert_true(r.v[2] == 0xd7e772cee186176bu && r.v[3] == 0x7e68b68aec7ba23bu);
}

struct place {
    uint64_t seed, step, e, n8;
    uint32_t stream;
};

static void words_at(struct place p, uint32_t word[8])
{
    cvyi_dropout_words(p.seed, p.step, p.stream, p.e, p.n8, word);
}

/* Every bit of every coordinate counts: the places that differ from one another in one or two bits
 * share no words. */
static void every_bit_chooses_other_random_numbers(void **state)
{
    (void)state;
    enum { BITS = 4 * 64 + 32 };
    static uint32_t seen[1 + BITS][8];
    const struct place base = { 11, 5, 300, 7, 3 };
    words_at(base, seen[0]);
    for (unsigned i = 0; i < BITS; i++) {
        struct place p = base;
        uint64_t bit = (uint64_t)1 << i % 64;
        if (i < 64) p.seed ^= bit;
        else if (i < 128) p.step ^= bit;
        else if (i < 192) p.e ^= bit;
        else if (i < 256) p.n8 ^= bit;
        else p.stream ^= (uint32_t)bit;
        words_at(p, seen[1 + i]);
        for (unsigned k = 0; k <= i; k++)
            assert_memory_not_equal(seen[k], seen[1 + i], sizeof *seen);
    }
    philox4x64_ctr_t init = cvyi_random(11, CVYI_RANDOM_INIT, 3, 300, 7, 5),
                     drop = cvyi_random(11, CVYI_RANDOM_DROPOUT, 3, 300, 7, 5);
    assert_memory_not_equal(&init, &drop, sizeof init);
}

static void masks_keep_what_they_should(void **state)
{
    (void)state;
    static const double ps[] = { 0, 0.1, 0.5, 0.9, 1 };
    for (size_t k = 0; k < sizeof ps / sizeof *ps; k++) {
        double kept = 0, n = 8 * 20000;
        for (uint64_t e = 0; e < 20000; e++) {
            uint32_t word[8];
            cvyi_dropout_words(1, 0, 0, e, 0, word);
            for (int i = 0; i < 8; i++) kept += word[i] >= cvyi_dropout_threshold(ps[k]);
        }
        double error = kept - n * (1 - ps[k]);
        /* four standard deviations; exact for 0 and 1 */
        assert_true(error * error <= 16 * n * ps[k] * (1 - ps[k]));
    }
}

/* By mpmath 1.3 with 400 digits, sqrt(2) erfinv(2 p - 1), rounded to double: where its three forms
 * meet, both tails as far as doubles go, and the least that is not 0. */
static void probits_are_right(void **state)
{
    (void)state;
    static const struct {
        double p, x;
    } known[] = {
        { 0x0.0000000000001p-1022, -0x1.33bd3f27fcd03p+5 },
        { 0x1.0000000000000p-1022, -0x1.2c27b05bf1a0bp+5 },
        { 0x1.56e1fc2f8f359p-997, -0x1.286074064c26ep+5 },
        { 0x1.87e92154ef7acp-665, -0x1.e34a1d1f58ae2p+4 },
        { 0x1.bff2ee48e0530p-333, -0x1.546010d755221p+4 },
        { 0x1.dee7a4ad4b81fp-167, -0x1.dddde6ad81776p+3 },
        { 0x1.4484bfeebc2a0p-100, -0x1.6ed94a4dacdc8p+3 },
        { 0x1.0000000000000p-53, -0x1.06b48528cea52p+3 },
        { 0x1.203af9ee75616p-50, -0x1.fc3f007789669p+2 },
        { 0x1.19799812dea11p-40, -0x1.c234fba57a32ap+2 },
        { 0x1.5fd7fe1796495p-37, -0x1.ad2f7bbec4805p+2 },
        { 0x1.e8a37a45fc32ep-37, -0x1.aa1b1c13ee526p+2 },
        { 0x1.ec94ca210599ep-37, -0x1.aa07c04a264fbp+2 },
        { 0x1.5798ee2308c3ap-27, -0x1.672b074435e3dp+2 },
        { 0x1.0c6f7a0b5ed8dp-20, -0x1.30381a9799f7ep+2 },
        { 0x1.a36e2eb1c432dp-14, -0x1.dc08bb712893bp+1 },
        { 0x1.0624dd2f1a9fcp-10, -0x1.8b8cbb7204471p+1 },
        { 0x1.47ae147ae147bp-7, -0x1.29c5c4630ff0fp+1 },
        { 0x1.47ae147ae147bp-6, -0x1.06e13e8aadfdcp+1 },
        { 0x1.999999999999ap-5, -0x1.a515209676abdp+0 },
        { 0x1.2f1a9fbe76c8bp-4, -0x1.72567aa9caedap+0 },
        { 0x1.3333333333333p-4, -0x1.7085226d3e524p+0 },
        { 0x1.339c0ebedfa44p-4, -0x1.7056dc6686c9bp+0 },
        { 0x1.999999999999ap-4, -0x1.4813c36e26d32p+0 },
        { 0x1.999999999999ap-3, -0x1.aee8fa73a1333p-1 },
        { 0x1.0000000000000p-2, -0x1.5956b87528a49p-1 },
        { 0x1.3333333333333p-2, -0x1.0c7e39582c5fbp-1 },
        { 0x1.999999999999ap-2, -0x1.036d6c4a04b59p-2 },
        { 0x1.ccccccccccccdp-2, -0x1.015abc78e92d0p-3 },
        { 0x1.f5c28f5c28f5cp-2, -0x1.9aba9f4786911p-6 },
        { 0x1.fef9db22d0e56p-2, -0x1.488c93793e58ep-9 },
        { 0x1.fffff94a03595p-2, -0x1.0d25ac61904eep-22 },
        { 0x1.fffffffffffffp-2, -0x1.40d931ff62706p-53 },
        { 0x1.0000000000000p-1, 0x0.0p+0 },
        { 0x1.0000000000001p-1, 0x1.40d931ff62706p-52 },
        { 0x1.051eb851eb852p-1, 0x1.9aba9f4786911p-6 },
        { 0x1.3333333333333p-1, 0x1.036d6c4a04b59p-2 },
        { 0x1.8000000000000p-1, 0x1.5956b87528a49p-1 },
        { 0x1.ccccccccccccdp-1, 0x1.4813c36e26d33p+0 },
        { 0x1.d99999999999ap-1, 0x1.7085226d3e525p+0 },
        { 0x1.da1cac083126fp-1, 0x1.72567aa9caedbp+0 },
        { 0x1.fae147ae147aep-1, 0x1.29c5c4630ff0ep+1 },
        { 0x1.ff7ced916872bp-1, 0x1.8b8cbb7204470p+1 },
        { 0x1.ffffde7210be9p-1, 0x1.30381a97985efp+2 },
        { 0x1.fffffff768fa1p-1, 0x1.7fdc11f93a210p+2 },
        { 0x1.fffffffffdcd1p-1, 0x1.c2350895b2ea4p+2 },
        { 0x1.ffffffffffffep-1, 0x1.04074bdbf8864p+3 },
        { 0x1.fffffffffffffp-1, 0x1.06b48528cea52p+3 },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const double p = known[i].p, x = known[i].x, got = cvyi_probit(p);
        if (!(fabs(got - x) <= 1e-15 * fabs(x)))
            fail_msg("%a: %.17g instead of %.17g, %g of it", p, got, x, got / x - 1);
    }
    double before = -INFINITY;
    for (int i = 0; i < 1 << 20; i++) { /* one after the other, and the other tail the same */
        const double p = (i + 0.5) / (1 << 20), x = cvyi_probit(p);
        if (!(x > before) || cvyi_probit(1 - p) != -x)
            fail_msg("%a: %.17g after %.17g", p, x, before);
        before = x;
    }
    assert_true(cvyi_probit(0) == -INFINITY && cvyi_probit(1) == INFINITY);
    assert_true(isnan(cvyi_probit(NAN)) && isnan(cvyi_probit(-0x1p-1074)) &&
                isnan(cvyi_probit(0x1.0000000000001p0)) && isnan(cvyi_probit(INFINITY)));
}

int main(void)
{
    clean_environment();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_environment_is_an_error),
        cmocka_unit_test(environment_fills_defaults_only),
        cmocka_unit_test(openmps_own_variable_is_obeyed),
        cmocka_unit_test(every_task_runs_once_and_stages_in_order),
        cmocka_unit_test(works_inside_a_region_of_the_hosts),
        cmocka_unit_test(mxcsr_is_the_callers_after),
        cmocka_unit_test(works_in_the_child_of_a_fork),
        cmocka_unit_test(the_hosts_pool_is_used),
        cmocka_unit_test(memory_that_cannot_be_had),
        cmocka_unit_test(no_context_has_answers_too),
        cmocka_unit_test(every_code_has_a_name),
        cmocka_unit_test(the_machine_is_described),
        cmocka_unit_test(isa_that_cannot_run_is_refused),
        cmocka_unit_test(refused_contexts),
        cmocka_unit_test(philox_is_the_published_one),
        cmocka_unit_test(every_bit_chooses_other_random_numbers),
        cmocka_unit_test(masks_keep_what_they_should),
        cmocka_unit_test(probits_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
