/* Systems that give few threads, played by a pthread_create of our own: libgomp ends the process
 * where it is refused one, so a context may only ask for what can be had. Each case is a process of
 * its own, as a runtime keeps its threads. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/context.h"
#include "base/team.h"
#include "convoy/convoy.h"

static size_t stack; /* asked for by the first thread since this was 0 */
/* other threads there are, and may be; ever made */
static _Atomic int alive, room = INT32_MAX, made;

struct start {
    void *(*fn)(void *);
    void *arg;
};

static void *run_and_count(void *arg)
{
    struct start s = *(struct start *)arg;
    free(arg);
    void *result = s.fn(s.arg);
    alive--;
    return result;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    if (++alive > room) {
        alive--;
        return EAGAIN;
    }
    if (!stack && attr) pthread_attr_getstacksize(attr, &stack);
    struct start *s = malloc(sizeof *s);
    *s = (struct start){ fn, arg };
    made++;
    return real(thread, attr, run_and_count, s);
}

static char log_line[256];

static void keep_line(void *user, int level, const char *line)
{
    (void)user;
    if (level == 0) snprintf(log_line, sizeof log_line, "%s", line);
}

static void count(void *arg, size_t stage, size_t task, size_t thread)
{
    (void)stage, (void)task;
    _Atomic int *counts = arg;
    counts[0]++;
    if ((size_t)counts[1] < thread + 1) counts[1] = (int)thread + 1;
}

static const struct cvyi_stage_work work[] = { { 1, 64, NULL }, { 2, 64, NULL }, { 0, 1, NULL } };

/* Exits with what is wrong, by line; a lack of threads that libgomp sees exits with 1. */
#define NEED(condition)                              \
    do {                                             \
        if (!(condition)) _exit(__LINE__ % 250 + 2); \
    } while (0)

static void run_once(cvy_context *ctx)
{
    _Atomic int counts[2] = { 0, 0 };
    cvyi_team_run(ctx->team, 3, work, count, (void *)counts);
    NEED(counts[0] == 132);
    NEED((size_t)counts[1] <= ctx->options.threads);
}

static void use_with(size_t others)
{
    cvy_context *ctx;
    char expected[64];
    room = (int)others;
    NEED(cvy_context_create(&(cvy_context_options){ .threads = 8, .log = keep_line }, &ctx) ==
         CVY_OK);
    size_t threads = cvy_context_threads(ctx);
    NEED(threads == (others < 7 ? others + 1 : 8));
    snprintf(expected, sizeof expected, "threads: %zu instead of 8", threads);
    NEED((strstr(log_line, expected) != NULL) == (others < 7));
    NEED((strstr(cvy_context_threads_why(ctx), "asked for (8, but") != NULL) == (others < 7));
    int before = made;
    for (int i = 0; i < 5; i++) run_once(ctx);
    NEED(made == before); /* they were there when the context was */
    cvy_context_destroy(&ctx);
}

/* fn(arg) in a child that ends well: by exit(), which a build that counts branches needs. */
static void in_a_child(void (*fn)(size_t), size_t arg)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(30);
        alive = 0;
        fn(arg);
        exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void as_many_threads_as_can_be_had(void **state)
{
    (void)state;
    for (size_t others = 0; others <= 8; others++) in_a_child(use_with, others);
}

/* The context was made while there was room; afterwards there is less, in a child and on another
 * thread. */
static cvy_context *context;

static void in_a_poorer_child(size_t others)
{
    room = INT32_MAX;
    NEED(cvy_context_create(&(cvy_context_options){ .threads = 6 }, &context) == CVY_OK);
    NEED(cvy_context_threads(context) == 6);
    run_once(context);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        alive = 0;
        room = (int)others;
        run_once(context);
        run_once(context);
        exit(0);
    }
    int status;
    NEED(waitpid(child, &status, 0) == child && status == 0);
    run_once(context);
}

static void *run_here(void *arg)
{
    run_once(context);
    run_once(context);
    return arg;
}

static void on_another_thread(size_t others)
{
    pthread_t thread;
    room = INT32_MAX;
    NEED(cvy_context_create(&(cvy_context_options){ .threads = 4 }, &context) == CVY_OK);
    room = alive + 1 + (int)others;
    NEED(pthread_create(&thread, NULL, run_here, NULL) == 0 && pthread_join(thread, NULL) == 0);
    run_once(context);
}

static void fewer_are_used_where_fewer_can_be_had_again(void **state)
{
    (void)state;
    for (size_t others = 0; others <= 6; others += 2) {
        in_a_child(in_a_poorer_child, others);
        in_a_child(on_another_thread, others);
    }
}

static void switch_between(size_t rounds)
{
    cvy_context *small, *large;
    NEED(cvy_context_create(&(cvy_context_options){ .threads = 2 }, &small) == CVY_OK);
    NEED(cvy_context_create(&(cvy_context_options){ .threads = 5 }, &large) == CVY_OK);
    for (size_t i = 0; i < rounds; i++) {
        run_once(small);
        run_once(large);
    }
    cvy_context_destroy(&small);
    cvy_context_destroy(&large);
}

static void contexts_of_different_sizes_take_turns(void **state)
{
    (void)state;
    in_a_child(switch_between, 50);
}

/* What the runtime would ask for is asked for when it is tried whether there is room. */
static const struct {
    const char *name, *text;
    size_t bytes;
} stacks[] = {
    /* 0: the system's */
    { "OMP_STACKSIZE", "2M", 2 << 20 },
    { "OMP_STACKSIZE", "3m", 3 << 20 },
    { "OMP_STACKSIZE", "700K", 700 << 10 },
    { "OMP_STACKSIZE", "900", 900 << 10 },
    { "OMP_STACKSIZE", "1048576B", 1 << 20 },
    { "OMP_STACKSIZE", "2097152b", 2 << 20 },
    { "OMP_STACKSIZE", "1G", 1 << 30 },
    { "OMP_STACKSIZE", "1g", 1 << 30 },
    { "GOMP_STACKSIZE", "2M", 2 << 20 },
    { "OMP_STACKSIZE", "1B", 0 },
    { "OMP_STACKSIZE", "99999999999G", 0 },
    { "OMP_STACKSIZE", "", 0 },
    { "OMP_STACK", "2M", 0 },
};

static void try_stack(size_t i)
{
    cvy_context *ctx;
    pthread_attr_t attr;
    size_t wanted = stacks[i].bytes;
    NEED(!pthread_attr_init(&attr) && (wanted || !pthread_attr_getstacksize(&attr, &wanted)));
    setenv(stacks[i].name, stacks[i].text, 1);
    stack = 0;
    NEED(cvy_context_create(&(cvy_context_options){ .threads = 2 }, &ctx) == CVY_OK);
    NEED(stack == wanted);
    run_once(ctx);
    cvy_context_destroy(&ctx);
}

static void stacks_are_the_runtimes(void **state)
{
#ifdef __clang__ /* LLVM's runtime ends the process where a size makes no sense */
    skip();
#endif
    (void)state;
    for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++) in_a_child(try_stack, i);
}

int main(void)
{
#ifndef _OPENMP
    return 77; /* meson: skipped; such a build has no threads */
#endif
    unsetenv("OMP_NUM_THREADS");
    unsetenv("OMP_THREAD_LIMIT");
    unsetenv("CVY_THREADS");
    unsetenv("OMP_STACKSIZE");
    unsetenv("GOMP_STACKSIZE");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_threads_as_can_be_had),
        cmocka_unit_test(fewer_are_used_where_fewer_can_be_had_again),
        cmocka_unit_test(contexts_of_different_sizes_take_turns),
        cmocka_unit_test(stacks_are_the_runtimes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
