/* A context: which threads, instruction set and backends to use, and where the last error is told.
 * A context and all that is made with it (nets, trainers, predictors, ops) belong together: one
 * host thread at a time calls with any of them, also to read; it may be another one later. Several
 * contexts may live in a process and run at once.
 *
 * In the host's process. Once loaded, the library and its OpenMP runtime stay until the process
 * ends, whatever dlclose says: idle threads stand in their code. The threads of a context are
 * started when it is made. The first context registers one fork handler (pthread_atfork): before a
 * fork, the forking thread lets go of its OpenMP threads where the runtime is GCC's, which would
 * wait for them in the child for ever; parent and child start theirs anew when they next run
 * something. What other host threads are doing at that moment goes on in the parent and does not
 * exist in the child.
 *
 * Rounding, traps and flushing of the calling thread influence no result, and are, with the
 * exception flags that it has collected, as they were when a call returns. Callbacks are called in
 * the caller's state. */
#ifndef CONVOY_CONTEXT_H
#define CONVOY_CONTEXT_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cvy_context;
typedef struct cvy_context cvy_context;

/* Runs job(arg, task, slot) for every task in [0, tasks), in any order and on any threads, and
 * returns when all are done. `slot` identifies the worker, in [0, threads) of the context; two jobs
 * with the same slot never run at once. Same shape as OpenBLAS's callback. */
typedef void (*cvy_job)(void *arg, size_t task, size_t slot);
typedef void (*cvy_parallel_for)(void *pool, size_t tasks, cvy_job job, void *arg);

/* All memory of the library but what the C library, the OpenMP runtime and modules allocate for
 * themselves; none of it while a step, a prediction or an op runs. `alignment` is a power of two,
 * of which `bytes` need not be a multiple; large blocks are aligned to huge pages, and the system
 * is advised to use such. Contents do not matter. `free` is not called with NULL. */
typedef struct cvy_allocator {
    void *(*alloc)(void *user, size_t bytes, size_t alignment); /* NULL on failure */
    void (*free)(void *user, void *p);
    void *user;
    uint64_t reserved[4];
} cvy_allocator;

/* Every field left at zero takes its default, and those marked [ENV] are then read from the
 * environment. Strings are copied; `user`, `log_user` and `pool` must live as long as the context.
 * Callbacks are called on the thread that called the library, before that call returns (jobs are
 * run where parallel_for runs them), and must not call with the same context. */
typedef struct cvy_context_options {
    /* [CVY_THREADS, then the first number of OMP_NUM_THREADS] 0: CPUs in the affinity mask, capped
     * by the cgroup's quota; at most 1024. Fewer are used where the system, or OMP_THREAD_LIMIT,
     * lets this process start no more: cvy_context_threads_why, and a line to `log` */
    size_t threads;
    /* [CVY_ISA] AUTO: the best that this CPU and OS can run; else it must run here */
    enum cvy_isa isa;
    /* [CVY_BACKEND] ordered, comma separated; NULL: "native,reference". Built in are native and
     * reference; other names are modules, opened here */
    const char *backends;
    /* [CVY_BACKEND_PATH] directories with backends in modules (convoy-NAME.so), ':' between;
     * searched before the library's own directory */
    const char *backend_path;
    /* an op that the first backend declines is an error instead of falling through */
    bool strict;
    bool no_fusion; /* run every op alone; the results are the same bits */
    /* [CVY_ALGORITHM] of convolutions, where it can be used */
    enum cvy_algorithm algorithm;
    /* [CVY_VERBOSE] what `log` is told. 0: warnings; 1: choices at compile; 2: every op of every
     * step */
    int verbose;
    cvy_allocator allocator; /* all zero: aligned_alloc and free */
    /* NULL: nothing is said. The line has no newline and is valid during the call */
    void (*log)(void *user, int level, const char *line);
    void *log_user;
    /* NULL: OpenMP, one parallel region a step; else one call a stage */
    cvy_parallel_for parallel_for;
    void *pool;
    uint64_t reserved[32];
} cvy_context_options;

/* Creates a context (options may be NULL). On failure *ctx is NULL and cvy_message(NULL) says why.
 * Never changes signals, locale or the floating-point environment. */
CVY_API CVY_NODISCARD enum cvy_status cvy_context_create(const cvy_context_options *options,
                                                         cvy_context **ctx);
/* Destroys and NULLs; NULL and *ctx == NULL are fine. Nets, trainers, predictors and ops must be
 * gone before. */
CVY_API void cvy_context_destroy(cvy_context **ctx);
/* The last error of this context in one sentence ("" if none); what succeeds leaves it alone or
 * clears it. Valid until the next call with the context or what was made with it. NULL: the last
 * error of the calling thread that no context could tell (one could not be created, or a handle was
 * NULL); valid until the next. */
CVY_API const char *cvy_message(const cvy_context *ctx);

/* What was chosen. Strings live as long as the context. */
CVY_API size_t cvy_context_threads(const cvy_context *ctx);
/* Who chose that number, as a phrase: "asked for", "CVY_THREADS", "the cgroup's quota"; and why
 * there are fewer: "asked for (8, but the system lets this process start no more)". */
CVY_API const char *cvy_context_threads_why(const cvy_context *ctx);
CVY_API enum cvy_isa cvy_context_isa(const cvy_context *ctx);
CVY_API const char *cvy_context_backends(const cvy_context *ctx);
/* What could be chosen with this context's backend_path, comma separated, as a string into
 * names[size]: the built-in backends, then modules, which are opened (for good) to see whether they
 * can be. CVY_E_ARG if it does not fit. */
CVY_API CVY_NODISCARD enum cvy_status cvy_context_available(cvy_context *ctx, char *names,
                                                            size_t size);

/* The machine as the library sees it. */
typedef struct cvy_machine {
    char cpu[64]; /* brand string */
    enum cvy_isa best_isa;
    bool can_run[16];                 /* indexed by enum cvy_isa */
    size_t cpus_online, cpus_allowed; /* affinity mask */
    double cgroup_quota; /* CPUs granted by the cgroups, version 1 and 2; 0: no limit */
    size_t default_threads;
    size_t l1d_bytes, l2_bytes, l3_bytes; /* 0: unknown */
    uint64_t reserved[32];
} cvy_machine;
CVY_API void cvy_machine_describe(cvy_machine *machine);

/* One phase of a compiled program: the stage it runs in, its ops ("conv1 + bn1.stats"), its
 * backend, task count, and the seconds it took since profiling was last switched on, summed over
 * threads (0 if it never was). In this and the next, strings live as long as what was compiled. */
typedef struct cvy_phase_info {
    const char *name, *backend;
    const char *kernel; /* what computes it, if the backend says so: "jit:avx2"; else "" */
    size_t stage, tasks;
    /* among how many the tasks are dealt: seconds / threads passed on the clock, waiting left
     * out */
    size_t threads;
    size_t first_op, ops;  /* the ops of the program that it is part of; none: the compiler's own */
    bool reorder;          /* only changes a layout */
    double seconds, flops; /* flops per run at the full batch */
    /* What it has to move at the least, at the full batch: tensors of its ops that it reads, and
     * that it writes, each once, without padding; pixels that no window covers left out. Private
     * buffers of its backend (packed weights, partial sums) do not count; the operands of which a
     * phase that multiplies reads copies do. near: that part of it which another phase of the same
     * task has just written or read, or does next, so that it need not leave the core's cache */
    double bytes_read, bytes_written, near_read, near_written;
    uint64_t reserved[12];
} cvy_phase_info;

/* One op of a compiled program, in program order. flops and bytes at the full batch; bytes: of its
 * operands and results as floats, each once, whatever the layout and the fusions. */
/* RECOMPUTE: a forward op once more, for gradients (cvy_trainer_options.memory_limit). */
enum cvy_part {
    CVY_PART_FORWARD = 0,
    CVY_PART_BACKWARD,
    CVY_PART_UPDATE,
    CVY_PART_REORDER,
    CVY_PART_RECOMPUTE
};
typedef struct cvy_op_info {
    const char *name, *type; /* "conv1.dx", "conv2d.dx" */
    enum cvy_part part;
    double flops, bytes;
    size_t n_out;
    const char *out[8]; /* what it writes, by name; updates: the weight */
    /* Of a convolution and its gradients, else zeros: its weights {oc, ic/groups, kh, kw}, and
     * whether the kernel is as large as the map, as a linear layer's is */
    cvy_shape kernel;
    size_t groups, stride[2];
    bool whole_map;
    uint64_t reserved[8];
} cvy_op_info;

#ifdef __cplusplus
}
#endif
#endif
