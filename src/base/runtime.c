/* The OpenMP runtime's temper. GCC's and LLVM's end the process if a thread cannot be made, so as
 * many are made first as will be asked for. GCC's waits for ever for dead workers in a child of
 * fork. Both run code in their idle threads, which must not be unloaded. */
#include "base/runtime.h"

#ifdef _OPENMP

#include <dlfcn.h>
#include <errno.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* -------------------------------------------------------------------------------- which runtime */

#ifdef __clang__
extern void __kmpc_fork_call(void *, int, void (*)(int *, int *, ...), ...);
#define REGION_ENTRY __kmpc_fork_call
#else
extern void GOMP_parallel(void (*)(void *), void *, unsigned, unsigned);
#define REGION_ENTRY GOMP_parallel
#endif

static bool llvm; /* LLVM's or Intel's runtime, else GCC's */
static int (*pause_all)(omp_pause_resource_t) = omp_pause_resource_all;

/* The process may hold several runtimes, and LLVM's also offers GCC's entries: ours is where our
 * regions' entry was bound. */
static void find_runtime(void)
{
    Dl_info entry, kmp;
    if (!dladdr((void *)(size_t)&REGION_ENTRY, &entry)) return;
    /* NULL: linked into the program */
    void *object = dlopen(entry.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
    void *fork_call = dlsym(object ? object : RTLD_DEFAULT, "__kmpc_fork_call");
    llvm = fork_call && dladdr(fork_call, &kmp) && kmp.dli_fbase == entry.dli_fbase;
    void *symbol = object ? dlsym(object, "omp_pause_resource_all") : NULL;
    if (symbol) *(void **)&pause_all = symbol;
}

static void keep_own_code(void) /* also where the static library is part of somebody's plugin */
{
    Dl_info own;
    if (dladdr((void *)(size_t)&cvyi_runtime_open, &own))
        (void)dlopen(own.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

/* ---------------------------------------------------------------------------------------- forks */

/* one thread at a time finds out how many can be had */
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;
static _Atomic unsigned forks;

/* A child would wait for GCC's dead workers for ever: let go of this thread's before. LLVM's
 * runtime starts anew in the child by itself, and asserts there if it had been paused. */
static void before_fork(void)
{
    pthread_mutex_lock(&starting);
    atomic_fetch_add(&forks, 1);
    if (!llvm) pause_all(omp_pause_hard);
}

static void after_fork(void) { pthread_mutex_unlock(&starting); }

static void open_once(void)
{
    find_runtime();
    keep_own_code();
    pthread_atfork(before_fork, after_fork, after_fork);
}

void cvyi_runtime_open(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_once);
}

/* -------------------------------------------------------------------------------------- threads */

struct trial {
    pthread_t thread;
    pthread_mutex_t *hold;
    pid_t id;
};

static void *stand_by(void *arg)
{
    struct trial *t = arg;
    t->id = (pid_t)syscall(SYS_gettid);
    pthread_mutex_lock(t->hold);
    pthread_mutex_unlock(t->hold);
    return NULL;
}

/* A joined thread still counts against the limits until the kernel has forgotten it, some
 * microseconds later. */
static void wait_for_end(pid_t id)
{
    for (int i = 0; i < 10000 && (syscall(SYS_tgkill, getpid(), id, 0) == 0 || errno != ESRCH); i++)
        sched_yield();
}

/* The size of stack that the runtime will ask for: OMP_STACKSIZE, a number and B, K (the default),
 * M or G. */
static void set_stack(pthread_attr_t *attr)
{
    const char *text = getenv("OMP_STACKSIZE");
    if (!text) text = getenv("GOMP_STACKSIZE");
    if (!text) return;
    char *unit;
    unsigned long long n = strtoull(text, &unit, 10);
    unsigned shift = 10;
    if (*unit == 'B' || *unit == 'b') shift = 0;
    if (*unit == 'M' || *unit == 'm') shift = 20;
    if (*unit == 'G' || *unit == 'g') shift = 30;
    if (n <= (1ull << 40) >> shift)
        (void)pthread_attr_setstacksize(attr, (size_t)n << shift); /* refused: too small */
}

/* How many of `want` threads can exist at once. */
static size_t startable(size_t want)
{
    pthread_mutex_t hold = PTHREAD_MUTEX_INITIALIZER;
    struct trial *trial = malloc(want * sizeof *trial);
    pthread_attr_t attr;
    size_t n = 0;
    if (!trial || pthread_attr_init(&attr)) {
        free(trial);
        return 0;
    }
    set_stack(&attr);
    pthread_mutex_lock(&hold);
    for (; n < want; n++) {
        trial[n].hold = &hold;
        if (pthread_create(&trial[n].thread, &attr, stand_by, &trial[n])) break;
    }
    pthread_mutex_unlock(&hold);
    for (size_t i = 0; i < n; i++) pthread_join(trial[i].thread, NULL);
    for (size_t i = 0; i < n; i++) wait_for_end(trial[i].id);
    pthread_attr_destroy(&attr);
    free(trial);
    return n;
}

static void start(size_t threads)
{
#pragma omp parallel num_threads((int)threads)
    __asm__ volatile(""); /* not to be left out */
}

/* What this thread's regions were last given. GCC's runtime keeps a pool a thread, and lets go of
 * those that a smaller region does not use. */
static _Thread_local struct {
    size_t want, got;
    unsigned forks;
} reserved;

size_t cvyi_runtime_reserve(size_t want)
{
    unsigned now = atomic_load_explicit(&forks, memory_order_relaxed);
    if (want < 2) return 1;
    if (reserved.want == want && reserved.forks == now) return reserved.got;
    /* an inner region starts nobody */
    if (omp_get_active_level() >= omp_get_max_active_levels()) return want;
    size_t running = reserved.forks == now && reserved.got ? reserved.got : 1, got = want;
    if (want > running) {
        size_t limit = (size_t)omp_get_thread_limit();
        pthread_mutex_lock(&starting);
        if (want < limit) limit = want;
        got = running;
        for (size_t more; got < limit && (more = startable(limit - got)) > 0;) {
            got += more;
            /* some may have been there already, the host's: then there is room for more */
            start(got);
        }
        pthread_mutex_unlock(&starting);
    }
    reserved.want = want;
    reserved.got = got;
    reserved.forks = now;
    return got;
}

#else

void cvyi_runtime_open(void) {}
size_t cvyi_runtime_reserve(size_t want) { return want ? 1 : 0; }

#endif
