/* What the benchmarks of convoy-bench share. Each benchmark is one file with one function that adds
 * its cases; main.c runs them.
 *
 * A case is a contestant in a group: native against another backend, one instruction set against
 * another. The contestants of a group take turns, in random order, until each has had its
 * repetitions. A case's name is BENCHMARK/.../CONTESTANT; everything before the last slash names
 * the group. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "cli/cli.h"
#include "gbench.h"
#include "probe.h"

struct bench;

/* Who computes: BACKEND[+BACKEND][:ISA][:ALGORITHM][:unfused] as given by --backends. */
struct bench_contestant {
    const char *name;
    char backend[48]; /* several, for what the first of them lacks: with commas between */
    enum cvy_isa isa;
    enum cvy_algorithm algorithm;
    bool no_fusion;
};

struct bench_list {
    const char **text;
    size_t n;
};
struct bench_numbers {
    size_t *value;
    size_t n;
};

struct bench_options {
    struct bench_contestant *contestants;
    size_t n_contestants;
    /* AUTO: the best that runs here; what --isa says for peak */
    enum cvy_isa isa;
    size_t memory_limit;                   /* of steps; 0: none */
    struct bench_numbers threads, batches; /* empty: each benchmark's own default */
    struct bench_list models, shapes, problems, logs;
    struct model_options change; /* of all models */
    unsigned passes;             /* 1 << enum cvy_pass; 0: all */
    size_t epochs;
    const char *data;
    double min_time;
    bool once; /* only see that everything runs */
    bool phases;
};

const struct bench_options *bench_options(const struct bench *b);
/* --threads, or all that the library would use by default. */
struct bench_numbers bench_threads(struct bench *b);
/* The instruction sets that this machine runs and --isa allows (NULL-less list ended by AUTO). pair
 * is not among them. */
const enum cvy_isa *bench_isas(const struct bench *b);

/* Adds a case unless the filter leaves it out. `close` (or NULL) is called with user after the
 * group has run, and when it was left out. ONE_ITERATION: the function measures for as long as it
 * takes by itself, once a repetition, and calls gb_set_iteration_time. turn: cases next to each
 * other with the same one take turns, as contestants do; NULL: only those. */
enum bench_time { BENCH_REAL_TIME, BENCH_ONE_ITERATION };
void bench_add(struct bench *b, const char *name, enum gb_unit unit, enum bench_time time,
               gb_fn *run, const void *turn, void (*close)(void *user), void *user);

/* How one iteration counts; zeros are left out. */
struct bench_work {
    double flops, bytes, examples;
};
/* The figures of a run from its seconds an iteration: "GFLOP/s", "% of peak" (of the FMA peak of
 * isa and threads, measured now unless that was done in the last half second), "peak GFLOP/s",
 * "GB/s", "examples/s". */
void bench_figures(struct bench *b, gb_state *state, double seconds, const struct bench_work *work,
                   enum cvy_isa isa, size_t threads);
/* GFLOP/s of the FMA peak, as bench_figures takes it. */
double bench_peak_now(struct bench *b, enum cvy_isa isa, size_t threads);
/* A cache's size, what is usual where the system does not say; of DRAM what no cache holds. L1 and
 * L2 are a core's own: of so many threads together. */
enum bench_level { BENCH_L1, BENCH_L2, BENCH_L3, BENCH_DRAM, BENCH_LEVELS };
size_t bench_cache_bytes(enum bench_level level);
size_t bench_level_bytes(enum bench_level level, size_t threads);
/* A trainer's clocks of phases after so many steps, each of which takes so many seconds. */
struct bench_profile {
    const cvy_trainer *trainer;
    size_t steps, threads;
    double seconds;
    enum cvy_isa isa;
    const char *title; /* for a table; NULL: counters alone */
};
void bench_phases(struct bench *b, gb_state *state, const struct bench_profile *profile);
/* Ends the run with the sentence. unsupported: that is an answer, not a failure of the program. */
void bench_skip(struct bench *b, gb_state *state, bool unsupported, const char *sentence);
/* A context of one contestant, strict; NULL after bench_skip. */
cvy_context *bench_context(struct bench *b, gb_state *state, const struct bench_contestant *who,
                           size_t threads);
/* A line on stdout after the results of the group, whatever the format of these. */
void bench_note(struct bench *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends the program with "convoy: SENTENCE". */
_Noreturn void bench_die(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Memory or death; free() frees it. 64-byte aligned. */
void *bench_alloc(size_t bytes);
char *bench_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* n floats between -0.5 and 0.5, always the same. */
float *bench_floats(size_t n);

/* The benchmarks. */
void bench_peak(struct bench *b);
void bench_kernels(struct bench *b);
void bench_ops(struct bench *b);
void bench_step(struct bench *b);
void bench_scaling(struct bench *b);
void bench_train(struct bench *b);
void bench_forum(struct bench *b);
void bench_sizes(struct bench *b);
void bench_backward(struct bench *b);

/* The machine, the build and the settings, for the head of every result. */
void bench_facts(const struct bench *b, void (*fact)(const char *key, const char *value));

#endif
