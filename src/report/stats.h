/* The few statistics that comparing measurements needs. */
#ifndef REPORT_STATS_H
#define REPORT_STATS_H

#include <stddef.h>

/* The median; NaN of nothing. NaNs are passed over. The values are left as they are. */
double stats_median(const double *v, size_t n);
/* The quantile q in [0, 1], linear between neighbours. */
double stats_quantile(const double *v, size_t n, double q);

/* A ratio of medians, b's over a's, with its 95 % interval by bootstrap: both samples are drawn anew, with replacement,
 * 10 000 times, always from the same random numbers. With one value each the interval is the ratio. */
struct stats_ratio { double ratio, lo, hi; };
struct stats_ratio stats_ratio(const double *a, size_t n_a, const double *b, size_t n_b);

/* Mann and Whitney's U test, two-sided: how likely samples of one distribution differ as much in rank as these. Exact,
 * ties included, up to 100 values together; beyond that by the normal approximation. 1 if a sample is empty. */
double stats_mann_whitney(const double *a, size_t n_a, const double *b, size_t n_b);

#endif
