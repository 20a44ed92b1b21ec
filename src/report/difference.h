/* Two result files of the same benchmarks: what became faster or slower, and whether that is more than noise. */
#ifndef REPORT_DIFFERENCE_H
#define REPORT_DIFFERENCE_H

#include <stdio.h>

#include "report/results.h"
#include "report/stats.h"

struct difference {
    const struct result *old, *new; /* one is NULL if the other file lacks the benchmark */
    struct stats_ratio ratio;       /* of the times, new over old: above 1 is slower */
    double p;                       /* Mann-Whitney; NaN without both */
    bool real;                      /* p below 0.05 and the interval does not hold 1 */
};

/* Everything in files 0 and 1 of all, in the order of file 0, then what only file 1 has; ended by one with both NULL.
 * NULL: out of memory. free() frees it. */
struct difference *differences(const struct results *all);

/* "slowdown>5%" or "speedup<1.2" ...: a condition on the ratio. False: error says in one sentence what was expected. */
struct difference_limit { bool speedup, below; double value; };
bool difference_limit(const char *text, struct difference_limit *limit, char *error, size_t error_size);
/* Whether a difference that is more than noise meets the condition. */
bool difference_meets(const struct difference *d, const struct difference_limit *limit);

/* The table, for a terminal. limit may be NULL. Returns how many meet it. */
size_t difference_print(FILE *out, const struct results *all, const struct difference *list,
                        const struct difference_limit *limit);
/* The same as JSON, indented; NULL: out of memory. */
char *difference_json(const struct results *all, const struct difference *list);

#endif
