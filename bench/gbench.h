/* Google Benchmark for C: two files, gbench.h and gbench.cc, that any C project may copy. Works
 * with 1.7.1 and later.
 *
 *     #include "gbench.h"
 *
 *     static void copy(gb_state *state, void *user)
 *     {
 *         size_t n = (size_t)gb_range(state, 0);
 *         char *from = calloc(n, 1), *to = malloc(n);        // set-up: not timed
 *         GB_LOOP(state) {
 *             memcpy(to, from, n);
 *             gb_keep(to);                                   // used: not optimised away
 *         }
 *         gb_set_bytes_processed(state, (int64_t)n * gb_iterations(state));
 *         free(from), free(to);                              // clean-up: not timed
 *     }
 *
 *     int main(int argc, char **argv)
 *     {
 *         gb_initialize(&argc, argv);                        // takes --benchmark_... out of argv
 *         gb_benchmark *b = gb_register("copy", copy, NULL);
 *         gb_add_range(b, 64, 1 << 20);
 *         return gb_run(NULL, NULL, 0) == 0;                 // the filter matched nothing
 *     }
 *
 * Compile gbench.cc as C++11 or later, link with the C++ compiler and -lbenchmark -lpthread.
 *
 * A function runs several times with growing numbers of iterations until a run is long enough, then
 * once for every repetition. What stands before and after its loop is not timed; it takes the place
 * of Setup and Teardown, and in a benchmark of several threads, where all threads run the function,
 * the loop begins with a barrier: thread 0 may prepare what the others use in it. Strings are
 * copied unless it says otherwise. Nothing here is thread safe but the functions of a state, each
 * of which belongs to one thread. Out of memory ends the program, as in Google Benchmark. Not
 * wrapped: fixtures (the user pointer takes their place) and memory managers (their interface
 * changed between releases). */
#ifndef GBENCH_H
#define GBENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gb_benchmark
    gb_benchmark; /* one registered benchmark, with all its arguments; never freed by the caller */
typedef struct gb_state gb_state; /* one run of it, on one thread */
typedef void gb_fn(gb_state *state, void *user);

/* Takes the options that begin with --benchmark_ out of argv and obeys them (--benchmark_filter,
 * _repetitions, _min_time, _enable_random_interleaving ...). An option it does not know stays in
 * argv. May be called more than once. */
void gb_initialize(int *argc, char **argv);
/* True, after one message each on stderr, if anything is left in argv but its first word. */
bool gb_report_unrecognized(int argc, char **argv);
/* What --benchmark_filter says, "" by default. Valid until the next call. */
const char *gb_filter(void);
/* A line for the "context" of every output: the machine, versions, settings. The key must be
 * new. */
void gb_add_context(const char *key, const char *value);

/* ---------------------------------------------------------------------------------- registering */

gb_benchmark *gb_register(const char *name, gb_fn *fn, void *user);
/* Forgets all registered benchmarks; their handles become invalid. */
void gb_clear(void);

/* Arguments: every call adds one run (or several) to the benchmark; gb_range() reads them back. */
void gb_add_arg(gb_benchmark *b, int64_t arg);
void gb_add_args(gb_benchmark *b, const int64_t *args, size_t n);
/* first, powers of 8, last */
void gb_add_range(gb_benchmark *b, int64_t first, int64_t last);
void gb_add_dense_range(gb_benchmark *b, int64_t first, int64_t last, int step);
/* the product of n ranges */
void gb_add_ranges(gb_benchmark *b, const int64_t (*first_last)[2], size_t n);
void gb_add_product(gb_benchmark *b, const int64_t *const *lists, const size_t *lengths, size_t n);
void gb_set_range_multiplier(gb_benchmark *b, int multiplier); /* instead of 8; before a range */
void gb_set_arg_names(gb_benchmark *b, const char *const *names, size_t n);

/* Settings. Times in seconds. Some become a part of the benchmark's name, as "/repeats:5". */
enum gb_unit { GB_NS, GB_US, GB_MS, GB_S };
void gb_set_unit(gb_benchmark *b, enum gb_unit unit);
void gb_set_min_time(gb_benchmark *b, double seconds);
void gb_set_warm_up(gb_benchmark *b, double seconds);
/* exactly, no searching */
void gb_set_iterations(gb_benchmark *b, int64_t iterations);
void gb_set_repetitions(gb_benchmark *b, int repetitions);
/* false: only on the display */
void gb_report_aggregates_only(gb_benchmark *b, bool everywhere);

/* Which clock decides: by default the CPU time of the main thread. */
/* the wall clock: right if the code has threads of its own, or sleeps */
void gb_use_real_time(gb_benchmark *b);
void gb_use_manual_time(gb_benchmark *b); /* what gb_set_iteration_time says */
/* CPU time means that of all threads of the process */
void gb_measure_process_cpu_time(gb_benchmark *b);

/* Threads that run the function at the same time; each call adds runs. */
void gb_add_threads(gb_benchmark *b, int threads);
/* powers of 2 and last */
void gb_add_thread_range(gb_benchmark *b, int first, int last);
void gb_add_dense_thread_range(gb_benchmark *b, int first, int last, int stride);
void gb_add_thread_per_cpu(gb_benchmark *b);

/* Fits time = c * f(n) over the runs of one benchmark, n from gb_set_complexity_n. */
enum gb_complexity {
    GB_O_NONE,
    GB_O_1,
    GB_O_N,
    GB_O_N_SQUARED,
    GB_O_N_CUBED,
    GB_O_LOG_N,
    GB_O_N_LOG_N,
    GB_O_AUTO
};
void gb_set_complexity(gb_benchmark *b, enum gb_complexity complexity);
void gb_set_complexity_fn(gb_benchmark *b, double (*f)(int64_t n));

/* One more statistic over the repetitions, besides mean, median, stddev and cv. At most
 * GB_MAX_STATISTICS different functions in a program; false if there is no room. percentage: the
 * result is a ratio, not a time. */
#define GB_MAX_STATISTICS 16
typedef double gb_statistic_fn(const double *values, size_t n);
bool gb_add_statistic(gb_benchmark *b, const char *name, gb_statistic_fn *fn, bool percentage);

/* --------------------------------------------------------------------------------- inside a run */

/* The timed loop. Costs a decrement an iteration. Leave it by break only after
 * gb_skip_with_error. */
#define GB_LOOP(state) \
    for (int64_t gb_left_ = gb_loop_begin(state); gb_left_ > 0 || gb_loop_end(state); gb_left_--)
int64_t gb_loop_begin(gb_state *state); /* GB_LOOP's own */
bool gb_loop_end(gb_state *state);
/* The same for loops that have their own shape: while (gb_keep_running(state)), or n iterations at
 * a time. */
bool gb_keep_running(gb_state *state);
bool gb_keep_running_batch(gb_state *state, int64_t n);

/* Stops and restarts the clock of this thread inside the loop. Some 100 ns a pair: not for short
 * iterations. */
void gb_pause(gb_state *state);
void gb_resume(gb_state *state);
/* With gb_use_manual_time: what this iteration took. Once in every iteration. */
void gb_set_iteration_time(gb_state *state, double seconds);
/* Ends this run without a result; the others go on. Afterwards leave the loop or return. */
void gb_skip_with_error(gb_state *state, const char *message);
bool gb_error_occurred(const gb_state *state);

int64_t gb_range(const gb_state *state, size_t index); /* argument number index */
/* done so far: after the loop, all of them */
int64_t gb_iterations(const gb_state *state);
int64_t gb_max_iterations(const gb_state *state); /* that this run will do */
int gb_thread_index(const gb_state *state);
int gb_threads(const gb_state *state);

void gb_set_label(gb_state *state, const char *label);
void gb_set_complexity_n(gb_state *state, int64_t n);
void gb_set_bytes_processed(gb_state *state, int64_t bytes); /* by all iterations of this thread */
void gb_set_items_processed(gb_state *state, int64_t items);

/* A counter of one's own. How the value becomes the figure that is shown: flags may be combined;
 * values of threads are added before. A rate divides by the time, _ITERATIONS divides by the
 * iterations, _INVARIANT multiplies by them. */
enum gb_counter_flags {
    GB_COUNTER = 0,
    GB_COUNTER_RATE = 1,
    GB_COUNTER_AVG_THREADS = 2,
    GB_COUNTER_AVG_THREADS_RATE = GB_COUNTER_RATE | GB_COUNTER_AVG_THREADS,
    GB_COUNTER_INVARIANT = 4, /* the value is one iteration's */
    GB_COUNTER_INVARIANT_RATE = GB_COUNTER_RATE | GB_COUNTER_INVARIANT,
    GB_COUNTER_AVG_ITERATIONS = 8,
    GB_COUNTER_AVG_ITERATIONS_RATE = GB_COUNTER_RATE | GB_COUNTER_AVG_ITERATIONS,
    GB_COUNTER_INVERT = 1 << 30 /* the reciprocal in the end */
};
/* what a k is, where figures are abbreviated */
enum gb_counter_base { GB_BASE_1000, GB_BASE_1024 };
void gb_set_counter(gb_state *state, const char *name, double value, unsigned flags);
void gb_set_counter_base(gb_state *state, const char *name, double value, unsigned flags,
                         enum gb_counter_base base);

/* The value, or what p points to, counts as used; after gb_clobber all memory counts as changed. */
#define gb_keep_value(value) __asm__ volatile("" : : "r,m"(value) : "memory")
static inline void gb_keep(const void *p) { __asm__ volatile("" : : "g"(p) : "memory"); }
static inline void gb_clobber(void) { __asm__ volatile("" : : : "memory"); }

/* -------------------------------------------------------------------------------------- running */

/* Who is told the results. A reporter may be used by several gb_run calls, one after another, and
 * writes one document: its head before the first results, its end when it is closed. The streams
 * stay the caller's. */
typedef struct gb_reporter gb_reporter;

/* tabular: counters in columns */
enum gb_console_options { GB_PLAIN = 0, GB_COLOR = 1, GB_TABULAR = 2 };
gb_reporter *gb_reporter_console(FILE *out, FILE *err, unsigned options);
gb_reporter *gb_reporter_json(FILE *out); /* Google Benchmark's JSON */
gb_reporter *
/* a line for each run and each of its figures: name, run type, repetition, figure, value */
gb_reporter_csv(FILE *out);

/* One run, or an aggregate of several, for a reporter of one's own. Valid during the call. */
typedef struct gb_counter_report {
    const char *name;
    double value;
} gb_counter_report;
typedef struct gb_run_report {
    const char *name;          /* with arguments and settings; for an aggregate also its name */
    const char *label, *error; /* error NULL: none */
    const char *aggregate;     /* "mean" ...; NULL: a run */
    const char *unit;          /* of the times: "ns" ... */
    int64_t iterations, threads, repetition, repetitions;
    double real_time, cpu_time; /* of one iteration */
    size_t n_counters;
    const gb_counter_report *counters;
} gb_run_report;
typedef void gb_report_fn(void *user, const gb_run_report *run);
gb_reporter *gb_reporter_custom(gb_report_fn *fn, void *user);

/* Keeps counters whose name begins with prefix from this reporter: for figures that are meant for
 * programs. */
void gb_reporter_hide(gb_reporter *reporter, const char *prefix);
/* Makes the console's column of names this wide, for several gb_run calls whose names differ in
 * length. */
void gb_reporter_set_width(gb_reporter *reporter, size_t width);
/* Ends the document and frees the reporter. False: a stream could not be written. A JSON document
 * is whole even if nothing ran. */
bool gb_reporter_close(gb_reporter *reporter);

/* Runs the registered benchmarks whose name matches the regular expression (NULL:
 * --benchmark_filter, "": all) and tells the reporters; with none, the display and file that the
 * --benchmark_... options name. Returns how many benchmarks matched; 0 also says so on stderr. With
 * --benchmark_list_tests it prints names on stdout instead. */
size_t gb_run(const char *filter, gb_reporter *const *reporters, size_t n);

#ifdef __cplusplus
}
#endif
#endif
