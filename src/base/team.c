/* Threads: the one place of the library that knows OpenMP. A run is one parallel region; its stages are separated by a
 * barrier of ours that spins briefly, then yields, then sleeps: a pure spin falls to a tenth of the speed when a core
 * is taken away, and OpenMP's own barrier costs a region per stage.
 *
 * Tasks of a stage: thread t first takes its static share [tasks*t/T, tasks*(t+1)/T), the same in every run (so it
 * meets the same data), front to back; then it helps itself to what others have left, from their ends. Each share is
 * one 64-bit word {next, end} changed by compare-and-swap, so no task runs twice. */
#include "base/team.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <xmmintrin.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "base/context.h"

#define FTZ_DAZ 0x8040u
#define SPINS 4000   /* about 50 us of pause */
#define YIELDS 200

struct share {
    _Alignas(128) _Atomic uint64_t range; /* next << 32 | end; adjacent lines are fetched together */
};

struct cvyi_team {
    struct cvy_context *ctx;
    size_t threads;
    _Alignas(128) _Atomic uint32_t arrived;
    _Alignas(128) _Atomic uint32_t phase;
    struct share share[]; /* [2][threads], used in turn */
};

#ifdef _OPENMP
/* A child of fork would wait for libgomp's dead workers for ever: let go of them before. LLVM's runtime starts anew in
 * the child by itself, and asserts there if it had been paused. */
extern int kmp_get_blocktime(void) __attribute__((weak)); /* LLVM's alone */
static void before_fork(void)
{
    if (!kmp_get_blocktime) omp_pause_resource_all(omp_pause_hard);
}

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static void register_fork(void) { pthread_atfork(before_fork, NULL, NULL); }

/* libgomp ends the process when it cannot make a thread, so try first. */
static void *nothing(void *arg) { return arg; }
static size_t threads_possible(size_t want)
{
    pthread_t made[256];
    size_t n = 0, most = want - 1 < 256 ? want - 1 : 256;
    while (n < most && pthread_create(&made[n], NULL, nothing, NULL) == 0) n++;
    size_t got = n;
    while (n) pthread_join(made[--n], NULL);
    return got < most ? got + 1 : want;
}
#endif

enum cvy_status cvyi_team_create(struct cvy_context *ctx, struct cvyi_team **out)
{
    size_t threads = ctx->options.threads;
#ifdef _OPENMP
    if (!ctx->options.parallel_for) {
        size_t limit = (size_t)omp_get_thread_limit();
        if (threads > limit) threads = limit;
        if (threads > 1) threads = threads_possible(threads);
        pthread_once(&fork_once, register_fork);
    }
#else
    if (!ctx->options.parallel_for) threads = 1;
#endif
    if (threads < ctx->options.threads)
        cvyi_log(ctx, 1, "threads: %zu asked for, %zu can be had", ctx->options.threads, threads);
    ctx->options.threads = threads;
    struct cvyi_team *team = cvyi_alloc(ctx, sizeof *team + 2 * threads * sizeof(struct share) + 128);
    if (!team) return CVY_E_NOMEM;
    team->ctx = ctx;
    team->threads = threads;
    *out = team;
    return CVY_OK;
}

void cvyi_team_destroy(struct cvy_context *ctx, struct cvyi_team **team)
{
    cvyi_free(ctx, *team);
    *team = NULL;
}

#ifdef _OPENMP
static void deal(struct cvyi_team *team, size_t stage, size_t tasks)
{
    struct share *share = team->share + (stage & 1) * team->threads;
    for (size_t t = 0; t < team->threads; t++) {
        uint64_t first = tasks * t / team->threads, end = tasks * (t + 1) / team->threads;
        atomic_store_explicit(&share[t].range, first << 32 | end, memory_order_relaxed);
    }
}

static bool take_first(struct share *share, size_t *task)
{
    uint64_t r = atomic_load_explicit(&share->range, memory_order_relaxed);
    do {
        if (r >> 32 >= (r & 0xffffffffu)) return false;
    } while (!atomic_compare_exchange_weak_explicit(&share->range, &r, r + (1ull << 32), memory_order_relaxed,
                                                    memory_order_relaxed));
    *task = r >> 32;
    return true;
}

static bool take_last(struct share *share, size_t *task)
{
    uint64_t r = atomic_load_explicit(&share->range, memory_order_relaxed);
    do {
        if (r >> 32 >= (r & 0xffffffffu)) return false;
    } while (!atomic_compare_exchange_weak_explicit(&share->range, &r, r - 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    *task = (r & 0xffffffffu) - 1;
    return true;
}

/* The last to arrive deals the next stage's tasks and opens the gate. */
static void wait_for_all(struct cvyi_team *team, size_t next_stage, size_t next_tasks)
{
    uint32_t phase = atomic_load_explicit(&team->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) + 1 == team->threads) {
        deal(team, next_stage, next_tasks);
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&team->phase, phase + 1, memory_order_release);
        return;
    }
    for (unsigned i = 0; atomic_load_explicit(&team->phase, memory_order_acquire) == phase; i++) {
        if (i < SPINS)
            _mm_pause();
        else if (i < SPINS + YIELDS)
            sched_yield();
        else
            nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
    }
}

static void work(struct cvyi_team *team, size_t thread, size_t n_stages, const size_t *tasks, cvyi_team_fn fn, void *arg)
{
    for (size_t s = 0; s < n_stages; s++) {
        struct share *share = team->share + (s & 1) * team->threads;
        size_t task;
        while (take_first(&share[thread], &task)) fn(arg, s, task, thread);
        for (size_t k = 1; k < team->threads; k++) {
            struct share *other = &share[(thread + k) % team->threads];
            while (take_last(other, &task)) fn(arg, s, task, thread);
        }
        if (s + 1 < n_stages) wait_for_all(team, s + 1, tasks[s + 1]);
    }
}
#endif

struct hosted {
    cvyi_team_fn fn;
    void *arg;
    size_t stage;
};

static void hosted_job(void *arg, size_t task, size_t slot)
{
    const struct hosted *h = arg;
    unsigned saved = _mm_getcsr();
    _mm_setcsr(saved | FTZ_DAZ);
    h->fn(h->arg, h->stage, task, slot);
    _mm_setcsr(saved);
}

void cvyi_team_run(struct cvyi_team *team, size_t n_stages, const size_t *tasks, cvyi_team_fn fn, void *arg)
{
    const cvy_context_options *o = &team->ctx->options;
    if (o->parallel_for) {
        for (size_t s = 0; s < n_stages; s++)
            o->parallel_for(o->pool, tasks[s], hosted_job, &(struct hosted){ fn, arg, s });
        return;
    }
    unsigned saved = _mm_getcsr();
    size_t all = 0;
    for (size_t s = 0; s < n_stages; s++) all += tasks[s];
    if (team->threads == 1 || all <= 1) {
        _mm_setcsr(saved | FTZ_DAZ);
        for (size_t s = 0; s < n_stages; s++)
            for (size_t t = 0; t < tasks[s]; t++) fn(arg, s, t, 0);
        _mm_setcsr(saved);
        return;
    }
#ifdef _OPENMP
    deal(team, 0, tasks[0]);
    bool whole = true; /* an enclosing region of the caller's may leave us fewer threads than we asked for */
#pragma omp parallel num_threads((int)team->threads)
    {
        if ((size_t)omp_get_num_threads() == team->threads) {
            unsigned own = _mm_getcsr();
            _mm_setcsr(saved | FTZ_DAZ);
            work(team, (size_t)omp_get_thread_num(), n_stages, tasks, fn, arg);
            _mm_setcsr(own);
        } else {
#pragma omp single
            whole = false;
        }
    }
    if (!whole) {
        _mm_setcsr(saved | FTZ_DAZ);
        for (size_t s = 0; s < n_stages; s++)
            for (size_t t = 0; t < tasks[s]; t++) fn(arg, s, t, 0);
        _mm_setcsr(saved);
    }
#endif
}
