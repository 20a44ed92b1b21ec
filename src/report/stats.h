/* The few statistics that comparing measurements needs. */
#ifndef REPORT_STATS_H
#define REPORT_STATS_H

#include <stddef.h>

/* The median; NaN of nothing. NaNs are passed over. The values are left as they are. */
double stats_median(const double *v, size_t n);
/* The quantile q in [0, 1], linear between neighbours. */
double stats_quantile(const double *v, size_t n, double q);

/* exp of the mean logarithm; NaN of nothing. NaNs are passed over. */
double stats_geometric_mean(const double *v, size_t n);
/* The standard deviation (of n - 1) over the mean; NaN below two values. */
double stats_variation(const double *v, size_t n);

/* Student's t with df degrees of freedom (INFINITY: the normal distribution): how likely a |t| at
 * least as large is, and the t that a given share of |t| exceeds. */
double stats_student_p(double t, double df);
double stats_student_quantile(double share, double df);

/* How many times as long b took as a: the ratio of the geometric means, its 95 % interval, and how
 * likely so large a difference is between equals. `n`: how many independent values say so; below
 * two on each side nothing can be said of noise, lo and hi are NaN, p is 1. */
struct stats_ratio {
    double ratio, lo, hi, p;
};
/* Welch's t test of the logarithms: two samples whose values are independent of each other.
 * `hidden` is the standard deviation (of a logarithm, 0.05 is 5 %) of what all values of one sample
 * share and therefore cannot show: for repetitions of one process, what another process would have
 * had. */
struct stats_ratio stats_ratio(const double *a, size_t n_a, const double *b, size_t n_b,
                               double hidden);
/* Student's t test of log(b / a) of n pairs taken one right after the other, so that slow drifts
 * cancel. correlation: of a pair with the one before, for which the interval grows. */
struct stats_ratio stats_paired_ratio(const double *log_ratio, size_t n, double hidden,
                                      double correlation);
/* How much values resemble those before them. Short series tell little: their sums are added over
 * many (sums zero to begin with), and then the correlation is that of all, from 0 to 0.95; n: the
 * length of a series. */
void stats_correlate(const double *v, size_t n, double sums[2]);
double stats_correlation(const double sums[2], size_t n);

/* Holm's step-down adjustment, in place: calling those below 0.05 different is wrong anywhere among
 * all n of them in one comparison of twenty at most. NaNs are no tests and stay. */
void stats_holm(double *p, size_t n);

/* Mann and Whitney's U test, two-sided: how likely samples of one distribution differ as much in
 * rank as these. Exact, ties included, up to 100 values together; beyond that by the normal
 * approximation. 1 if a sample is empty. */
double stats_mann_whitney(const double *a, size_t n_a, const double *b, size_t n_b);

#endif
