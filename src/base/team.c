/* Threads: with runtime.c the one place of the library that knows OpenMP. A run is one parallel
 * region; its stages are separated by a barrier of ours that spins briefly, then yields, then
 * sleeps: a pure spin falls to a tenth of the speed when a core is taken away
 * (docs/decisions/0008), and OpenMP's own barrier costs a region per stage.
 *
 * Tasks of a stage: thread t first takes its static share, the same in every run (so it meets the
 * same data), front to back; then it helps itself to what others have left, from their ends. Each
 * share is one 64-bit word {next, end} changed by compare-and-swap, so no task runs twice. */
#include "base/team.h"

#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "base/context.h"
#include "base/runtime.h"

/* about 40 us of pause: longer than a stage is uneven, unless a core was taken away */
#define SPINS 1000
#define YIELDS 10

struct share {
    /* next << 32 | end; adjacent lines are fetched together */
    _Alignas(128) _Atomic uint64_t range;
    /* the thread's own state, while it is lent to others' regions */
    struct cvyi_floats lent;
};

struct cvyi_team {
    struct cvy_context *ctx;
    size_t threads;
    _Alignas(128) _Atomic uint32_t arrived;
    _Alignas(128) _Atomic uint32_t phase; /* threads that sleep do so on this word */
    _Atomic uint32_t asleep;
    size_t stage;         /* that the gate opened to; written before `phase` */
    bool lent;            /* cvyi_team_lend */
    struct share share[]; /* by thread */
};

/* Says why there are fewer threads than were chosen. */
static void tell_fewer(struct cvy_context *ctx, size_t threads)
{
    size_t wanted = ctx->options.threads;
#ifdef _OPENMP
    bool limited = (size_t)omp_get_thread_limit() <= threads;
    const char *why =
        limited ? "OMP_THREAD_LIMIT is lower" : "the system lets this process start no more";
#else
    const char *why = "this build has no threads";
#endif
    cvyi_log(ctx, 0, "threads: %zu instead of %zu: %s", threads, wanted, why);
    cvyi_threads_why(ctx, " (%zu, but %s)", wanted, why);
}

enum cvy_status cvyi_team_create(struct cvy_context *ctx, struct cvyi_team **out)
{
    size_t threads = ctx->options.threads;
    cvyi_runtime_open();
    if (!ctx->options.parallel_for) CVYI_HOST_CALL(ctx, threads = cvyi_runtime_reserve(threads));
    if (threads < ctx->options.threads) tell_fewer(ctx, threads);
    ctx->options.threads = threads;
    struct cvyi_team *team = cvyi_alloc(ctx, sizeof *team + threads * sizeof(struct share) + 128);
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

/* threads: that take part, those of the team or, where some could not be had again (after a fork),
 * fewer. */
struct job {
    size_t n_stages;
    const struct cvyi_stage_work *work;
    cvyi_team_fn fn;
    void *arg;
    size_t threads;
};

/* Does what one thread can do from `stage` on: its gate, and a stage of a single task, which is not
 * worth a barrier, with what follows. Answers the stage at which the others are needed, n_stages at
 * the end. */
static size_t pass_gate(const struct job *job, size_t stage, size_t thread)
{
    for (; stage < job->n_stages; stage++) {
        struct cvyi_stage_work w = job->work[stage];
        bool small = w.tasks <= 1;
        for (size_t t = 0; t < (small ? w.gates + w.tasks : w.gates); t++)
            job->fn(job->arg, stage, t, thread);
        if (!small) break;
    }
    return stage;
}

#ifdef _OPENMP
static void deal(struct cvyi_team *team, const struct job *job, size_t stage)
{
    const struct cvyi_stage_work w = job->work[stage];
    struct share *share = team->share;
    const uint32_t *begin = job->threads == team->threads ? w.begin : NULL;
    for (size_t t = 0; t < job->threads; t++) {
        uint64_t first = w.gates + (begin ? begin[t] : w.tasks * t / job->threads);
        uint64_t end = w.gates + (begin ? begin[t + 1] : w.tasks * (t + 1) / job->threads);
        atomic_store_explicit(&share[t].range, first << 32 | end, memory_order_relaxed);
    }
}

/* The next task of a thread's own share, the last of another's. */
static bool take(struct share *share, bool own, size_t *task)
{
    uint64_t r = atomic_load_explicit(&share->range, memory_order_relaxed), left;
    do {
        if (r >> 32 >= (r & 0xffffffffu)) return false;
        left = own ? r + (1ull << 32) : r - 1;
    } while (!atomic_compare_exchange_weak_explicit(&share->range, &r, left, memory_order_relaxed,
                                                    memory_order_relaxed));
    *task = own ? r >> 32 : left & 0xffffffffu;
    return true;
}

static void sleep_while(_Atomic uint32_t *word, uint32_t value)
{
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake_all(_Atomic uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* The last to arrive does the next stage's gate, deals its tasks and lets everybody go. Who sleeps
 * really sleeps, till it is woken: the scheduler moves a thread that waits for its core to one that
 * is idle, but not for a short nap. */
static void wait_for_all(struct cvyi_team *team, const struct job *job, size_t next, size_t thread)
{
    uint32_t phase = atomic_load_explicit(&team->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) + 1 == job->threads) {
        team->stage = next = pass_gate(job, next, thread);
        if (next < job->n_stages) deal(team, job, next);
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_store(&team->phase, phase + 1);
        if (atomic_load(&team->asleep)) wake_all(&team->phase);
        return;
    }
    for (unsigned i = 0; atomic_load_explicit(&team->phase, memory_order_acquire) == phase; i++) {
        if (i < SPINS) {
            _mm_pause();
        } else if (i < SPINS + YIELDS) {
            sched_yield();
        } else {
            atomic_fetch_add(&team->asleep, 1);
            sleep_while(&team->phase, phase); /* at once if it has changed meanwhile */
            atomic_fetch_sub(&team->asleep, 1);
        }
    }
}

static void work(struct cvyi_team *team, const struct job *job, size_t thread)
{
    for (size_t s = team->stage; s < job->n_stages; s = team->stage) {
        for (size_t k = 0, task; k < job->threads; k++) {
            struct share *share = &team->share[(thread + k) % job->threads];
            while (take(share, k == 0, &task)) job->fn(job->arg, s, task, thread);
        }
        /* also behind the last: OpenMP's own barrier would spin long */
        wait_for_all(team, job, s + 1, thread);
    }
}
#endif

static void alone(const struct job *job, size_t first)
{
    for (size_t s = first; s < job->n_stages; s++)
        for (size_t t = 0; t < job->work[s].gates + job->work[s].tasks; t++)
            job->fn(job->arg, s, t, 0);
}

struct hosted {
    const struct job *job;
    size_t stage;
};

static void hosted_job(void *arg, size_t task, size_t slot)
{
    const struct hosted *h = arg;
    const struct cvyi_floats own = cvyi_floats_enter();
    h->job->fn(h->job->arg, h->stage, h->job->work[h->stage].gates + task, slot);
    cvyi_floats_leave(&own);
}

static void run_hosted(struct cvy_context *ctx, const struct job *job)
{
    const cvy_context_options *o = &ctx->options;
    for (size_t s = 0; s < job->n_stages; s++) {
        s = pass_gate(job, s, 0);
        if (s < job->n_stages)
            CVYI_HOST_CALL(ctx, o->parallel_for(o->pool, job->work[s].tasks, hosted_job,
                                                &(struct hosted){ job, s }));
    }
}

#ifdef _OPENMP
/* False: an enclosing region of the host's left us fewer threads than we asked for; nothing has
 * been done. While the team is lent its threads stay in the library's state: others' regions may
 * have been smaller, and the runtime then starts threads anew, here in the host's state. */
static bool run_region(struct cvyi_team *team, const struct job *job)
{
    bool whole = true;
#pragma omp parallel num_threads((int)job->threads)
    {
        if ((size_t)omp_get_num_threads() == job->threads) {
            const struct cvyi_floats own = cvyi_floats_enter();
            work(team, job, (size_t)omp_get_thread_num());
            if (!team->lent || !omp_get_thread_num()) cvyi_floats_leave(&own);
        } else {
#pragma omp single
            whole = false;
        }
    }
    return whole;
}

static void lend(struct cvyi_team *team, bool on)
{
#pragma omp parallel num_threads((int)team->threads)
    {
        struct cvyi_floats *own = &team->share[omp_get_thread_num()].lent;
        if (omp_get_thread_num() && on) *own = cvyi_floats_enter();
        else if (omp_get_thread_num()) cvyi_floats_leave(own);
    }
}
#endif

void cvyi_team_run(struct cvyi_team *team, size_t n_stages, const struct cvyi_stage_work *stages,
                   cvyi_team_fn fn, void *arg)
{
    struct cvy_context *ctx = team->ctx;
    struct job job = { n_stages, stages, fn, arg, team->threads };
    CVYI_OWN_FLOATS(ctx);
    if (ctx->options.parallel_for) {
        run_hosted(ctx, &job);
        return;
    }
    CVYI_HOST_CALL(ctx, job.threads = cvyi_runtime_reserve(team->threads));
    size_t first = job.threads == 1 ? 0 : pass_gate(&job, 0, 0);
    if (job.threads == 1) alone(&job, 0);
#ifdef _OPENMP
    if (job.threads == 1 || first == n_stages) return;
    team->stage = first;
    deal(team, &job, first);
    bool whole;
    CVYI_HOST_CALL(ctx, whole = run_region(team, &job));
    if (!whole) { /* its gate is passed */
        for (size_t t = 0; t < stages[first].tasks; t++) fn(arg, first, stages[first].gates + t, 0);
        alone(&job, first + 1);
    }
#endif
}

void cvyi_team_lend(struct cvyi_team *team, bool on)
{
#ifdef _OPENMP
    if (team->threads == 1) return;
    CVYI_HOST_CALL(team->ctx, (void)cvyi_runtime_reserve(team->threads)); /* starts none later */
    CVYI_HOST_CALL(team->ctx, lend(team, on));
    team->lent = on;
#else
    (void)team, (void)on;
#endif
}
