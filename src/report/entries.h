/* Records by name: BENCHMARK/.../CONTESTANT, taken apart and put together in groups. */
#ifndef REPORT_ENTRIES_H
#define REPORT_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>

#include "report/results.h"

enum { ENTRY_COLORS = 8 };

struct entry {
    const struct result *r;
    char *text; /* owned: the name, cut up, without what Google Benchmark adds behind it */
    const char *benchmark, *who;
    char *group; /* owned: everything before the contestant */
    /* owned: the group without benchmark, for people: "lenet-bn · batch 256 · 2 threads"; and
     * without threads */
    char *title, *brief;
    size_t color; /* of the contestant */
};

/* All of them, groups together in the order in which they first appear: contestants of a group may
 * come from several files. Inside a group by name (they finish in random order), the one that
 * others are measured against first. NULL: out of memory. */
struct entry *entries_make(const struct results *all);
void entries_free(struct entry *entry, size_t n);

/* Who others are measured against: the first contestant whose name begins with "native", or else
 * the first; of those that ran. */
const struct entry *entry_base(const struct entry *first, size_t n);
/* "batch:256" in the group -> 256; 0 if it is not there. */
double entry_part(const struct entry *e, const char *key);
/* Of a counter over the repetitions; NaN if none has it. Of the time: "" (the median only). */
double entry_median(const struct entry *e, const char *counter);
double entry_quantile(const struct entry *e, const char *counter, double q);

#endif
