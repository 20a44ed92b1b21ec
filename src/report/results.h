/* Result files: Google Benchmark's JSON, whoever wrote it. Knows records, not nets. */
#ifndef REPORT_RESULTS_H
#define REPORT_RESULTS_H

#include <stdbool.h>
#include <stddef.h>

enum results_status { RESULTS_OK = 0, RESULTS_BAD, RESULTS_IO, RESULTS_NOMEM };

/* All repetitions of one benchmark. */
struct result_counter {
    char *name;
    double *value;
}; /* [runs]; NaN where a run lacks it */
struct result {
    char *name;          /* with arguments and settings, as Google Benchmark writes it */
    char *label, *error; /* of the last repetition that has one; "" else */
    size_t file;         /* which file it came from */
    size_t runs;
    double *seconds;     /* [runs] an iteration, by the clock that decides; sorted by repetition */
    double *cpu_seconds; /* [runs] of CPU time in it; NaN: not said */
    size_t n_counters;
    struct result_counter *counter;
};

/* a line of the file's "context"; values that are no texts as JSON */
struct result_fact {
    char *key, *value;
};
struct result_file {
    char *path;
    char *text; /* as it was */
    size_t n_facts;
    struct result_fact *fact;
};

struct results {
    size_t n_files, n;
    struct result_file *file;
    struct result *at;
};

/* Reads one more file into *all (NULL: makes it). Aggregates are passed over: they follow from the
 * runs. On failure error holds one sentence and *all what was read before. */
enum results_status results_read(const char *path, struct results **all, char *error,
                                 size_t error_size);
/* The same from a text in memory; `where` names it. */
enum results_status results_parse(const char *where, const char *text, size_t size,
                                  struct results **all, char *error, size_t error_size);
void results_free(struct results **all);

/* A fact of a file, or NULL. */
const char *results_fact(const struct results *all, size_t file, const char *key);
/* Median over the repetitions of CPU seconds a second: what its threads got of the CPUs. NaN if it
 * was not measured. */
double result_cpus(const struct result *r);
/* Median of a counter over the repetitions; NaN if none has it. Of the time: "". */
double result_median(const struct result *r, const char *counter);

#endif
