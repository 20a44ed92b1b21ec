/* Results of the same benchmarks before and after a change: what became faster or slower, and
 * whether that is more than noise. Each side is one result file or several, each of a process of
 * its own. */
#ifndef REPORT_DIFFERENCE_H
#define REPORT_DIFFERENCE_H

#include <stdio.h>

#include "report/results.h"
#include "report/stats.h"

/* A benchmark. */
struct difference {
    const struct result *old, *new; /* the first that has it; NULL if the side lacks it */
    /* geometric means over processes, or repetitions of the one there is */
    double old_seconds, new_seconds;
    /* of the times, new over old: above 1 is slower; p is this benchmark's alone */
    struct stats_ratio ratio;
    double p;       /* adjusted for their number; NaN without both */
    bool real;      /* p below 0.05, and the ranks agree */
    bool disturbed; /* one side got less of the CPUs: not judged */
};

struct differences {
    const struct results *all;
    /* files 0 ... n_old - 1 of all are the old side, the others the new one */
    size_t n_old;
    /* what processes of one program differ by (see stats_ratio) where a side has too few */
    double hidden;
    /* in the order of the old side, then what only the new one has */
    size_t n;
    struct difference *at;
    size_t common, slower, faster;
    struct stats_ratio together; /* of the geometric means over the benchmarks that both have */
};

/* What processes of one program differ by where they cannot show it: the standard deviation over 13
 * processes each of `step` and `ops` on a virtual machine that others used too was 12 and 15 %
 * where they had their CPUs to themselves. */
#define DIFFERENCE_HIDDEN 0.15
/* From so many processes a side on, they say it themselves. */
enum { DIFFERENCE_PROCESSES = 3 };

/* NULL: out of memory. */
struct differences *differences(const struct results *all, size_t n_old, double hidden);
void differences_free(struct differences **d);

/* "slowdown>5%" or "speedup<1.2" ...: a condition on the ratio. False: error says in one sentence
 * what was expected. */
struct difference_limit {
    bool speedup, below;
    double value;
};
bool difference_limit(const char *text, struct difference_limit *limit, char *error,
                      size_t error_size);
/* Whether a difference that is more than noise meets the condition. */
bool difference_meets(const struct difference *d, const struct difference_limit *limit);

/* The verdict and the table, for a screen of 100 columns. limit may be NULL. Returns how many meet
 * it. */
size_t difference_print(FILE *out, const struct differences *all,
                        const struct difference_limit *limit);
/* The same as JSON, indented; NULL: out of memory. */
char *difference_json(const struct differences *all);

#endif
