/* What `convoy bench` shows: a head of the machine, one row a case with the contestants of a group
 * under each other, and while it measures, how far it is (on stderr, if that is a terminal). Rows
 * are at most 100 columns wide. */
#ifndef BENCH_TABLE_H
#define BENCH_TABLE_H

#include <stdio.h>

#include "gbench.h"

struct table;

/* A table of the cases whose names these are, in the order in which they run; names stay the
 * caller's. repetitions: of every case, for the titles. NULL: out of memory. */
struct table *table_open(FILE *out, const char *const *names, size_t n, size_t repetitions);
void table_close(struct table *t);

/* A fact of bench_facts, kept for the head; then the head. */
void table_fact(struct table *t, const char *key, const char *value);
void table_head(struct table *t);

/* For gb_reporter_custom: keeps a run. */
void table_run(void *table, const gb_run_report *run);
/* Prints the rows of cases [first, end), a group, once all of their runs are in. */
void table_group(struct table *t, size_t first, size_t end);

/* Case `at` is measured now; and nothing is any more: something else may be printed. */
void table_progress(struct table *t, size_t at);
void table_progress_end(struct table *t);

#endif
