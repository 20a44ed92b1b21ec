/* Medians, means, Student's t, ranks. */
#include "report/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXACT = 100 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts what is not NaN to the front; how many that are. */
static size_t sorted(double *v, size_t n)
{
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(v[i])) v[m++] = v[i];
    qsort(v, m, sizeof *v, by_value);
    return m;
}

static double quantile_sorted(const double *v, size_t n, double q)
{
    if (!n) return NAN;
    const double at = q * (double)(n - 1);
    const size_t i = (size_t)at;
    return i + 1 < n ? v[i] + (at - (double)i) * (v[i + 1] - v[i]) : v[n - 1];
}

double stats_quantile(const double *v, size_t n, double q)
{
    double *copy = malloc((n ? n : 1) * sizeof *copy);
    if (!copy) return NAN;
    memcpy(copy, v, n * sizeof *v);
    const double result = quantile_sorted(copy, sorted(copy, n), q);
    free(copy);
    return result;
}

double stats_median(const double *v, size_t n) { return stats_quantile(v, n, 0.5); }

double stats_geometric_mean(const double *v, size_t n)
{
    double sum = 0;
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(v[i])) {
            sum += log(v[i]);
            m++;
        }
    return m ? exp(sum / (double)m) : NAN;
}

/* ---------------------------------------------------------------------------------- Student's t */

/* The continued fraction of the incomplete beta function (Abramowitz and Stegun 26.5.8) by Lentz's
 * method. */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double h = d;
    for (int m = 1; m < 1000; m++) {
        const double k = m;
        const double terms[2] = { k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k)),
                                  -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1)) };
        double change = 1;
        for (int i = 0; i < 2; i++) {
            d = 1 + terms[i] * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + terms[i] / c;
            if (fabs(c) < tiny) c = tiny;
            change = c * d;
            h *= change;
        }
        if (fabs(change - 1) < 1e-15) break;
    }
    return h;
}

/* The regularized incomplete beta function. */
static double beta(double a, double b, double x)
{
    if (!(x > 0)) return 0;
    if (!(x < 1)) return 1;
    const double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a
                                     : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double stats_student_p(double t, double df)
{
    if (isinf(t)) return 0;
    return df > 1e6 ? erfc(fabs(t) / sqrt(2)) : beta(df / 2, 0.5, df / (df + t * t));
}

double stats_student_quantile(double share, double df)
{
    double lo = 0, hi = 1;
    while (stats_student_p(hi, df) > share) hi *= 2;
    for (int i = 0; i < 200 && hi - lo > 1e-14 * hi; i++) {
        const double middle = (lo + hi) / 2;
        if (stats_student_p(middle, df) > share) lo = middle;
        else hi = middle;
    }
    return (lo + hi) / 2;
}

/* --------------------------------------------------------------------------------------- ratios */

/* A mean with its variance, and how many degrees of freedom that variance has. */
struct mean {
    double mean, variance, df;
};

static struct mean mean_of(const double *v, size_t n)
{
    double sum = 0, square = 0;
    for (size_t i = 0; i < n; i++) sum += v[i];
    const double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) square += (v[i] - mean) * (v[i] - mean);
    if (n < 2) return (struct mean){ mean, NAN, NAN };
    return (struct mean){ mean, square / (double)(n - 1) / (double)n, (double)(n - 1) };
}

void stats_correlate(const double *v, size_t n, double sums[2])
{
    const double mean = mean_of(v, n).mean;
    for (size_t i = 0; i < n; i++) {
        sums[0] += (v[i] - mean) * (v[i] - mean);
        if (i) sums[1] += (v[i] - mean) * (v[i - 1] - mean);
    }
}

double stats_correlation(const double sums[2], size_t n)
{
    if (n < 2 || !(sums[0] > 0)) return 0;
    const double plain = sums[1] / sums[0],
                 r = plain + (1 + 4 * plain) / (double)n; /* it is too low by about that */
    return fmin(fmax(r, 0), 0.95);
}

double stats_variation(const double *v, size_t n)
{
    double sum = 0, square = 0;
    for (size_t i = 0; i < n; i++) sum += v[i];
    const double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) square += (v[i] - mean) * (v[i] - mean);
    return n < 2 ? NAN : sqrt(square / (double)(n - 1)) / mean;
}

static struct stats_ratio ratio_of(double log_ratio, double variance, double df)
{
    const double error = sqrt(variance), half = error * stats_student_quantile(0.05, df);
    const double p = error > 0 ? stats_student_p(log_ratio / error, df) : log_ratio == 0;
    return (struct stats_ratio){ exp(log_ratio), exp(log_ratio - half), exp(log_ratio + half), p };
}

/* The logarithms of what is not NaN; how many. */
static size_t logarithms(const double *v, size_t n, double *out)
{
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(v[i])) out[m++] = log(v[i]);
    return m;
}

struct stats_ratio stats_ratio(const double *a, size_t n_a, const double *b, size_t n_b,
                               double hidden)
{
    struct stats_ratio none = { NAN, NAN, NAN, 1 };
    double *logs = malloc((n_a + n_b + 1) * sizeof *logs);
    if (!logs) return none;
    n_a = logarithms(a, n_a, logs);
    n_b = logarithms(b, n_b, logs + n_a);
    if (n_a && n_b) {
        const struct mean x = mean_of(logs, n_a), y = mean_of(logs + n_a, n_b);
        if (n_a < 2 || n_b < 2) {
            none.ratio = exp(y.mean - x.mean);
            /* Welch and Satterthwaite; the hidden part is known, not estimated: it has no share in
             * the
             * divisor */
        } else {
            const double variance = x.variance + y.variance + 2 * hidden * hidden;
            const double spent = x.variance * x.variance / x.df + y.variance * y.variance / y.df;
            none = ratio_of(y.mean - x.mean, variance,
                            spent > 0 ? variance * variance / spent : INFINITY);
        }
    }
    free(logs);
    return none;
}

struct stats_ratio stats_paired_ratio(const double *log_ratio, size_t n, double hidden,
                                      double correlation)
{
    if (n < 2) return (struct stats_ratio){ n ? exp(log_ratio[0]) : NAN, NAN, NAN, 1 };
    const struct mean d = mean_of(log_ratio, n);
    const double grown = (1 + correlation) / (1 - correlation), df = (double)n / grown - 1;
    const double own = d.variance * grown, variance = own + 2 * hidden * hidden;
    return ratio_of(d.mean, variance, own > 0 ? fmax(df, 1) * pow(variance / own, 2) : INFINITY);
}

/* ----------------------------------------------------------------------------------- many tests */

struct test {
    double p;
    size_t at;
};

static int by_p(const void *a, const void *b)
{
    return by_value(&((const struct test *)a)->p, &((const struct test *)b)->p);
}

void stats_holm(double *p, size_t n)
{
    struct test *order = malloc((n + 1) * sizeof *order);
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (order && !isnan(p[i])) order[m++] = (struct test){ p[i], i };
        if (!order && !isnan(p[i])) p[i] = fmin(1, p[i] * (double)n); /* Bonferroni: never below */
    }
    if (order) qsort(order, m, sizeof *order, by_p);
    double least = 0;
    for (size_t i = 0; i < m; i++) {
        least = fmax(least, fmin(1, order[i].p * (double)(m - i)));
        p[order[i].at] = least;
    }
    free(order);
}

/* --------------------------------------------------------------------------------- Mann-Whitney */

struct ranked {
    double value;
    unsigned rank2;
}; /* twice the mean rank: a whole number even in ties */

static int by_ranked(const void *a, const void *b)
{
    return by_value(&((const struct ranked *)a)->value, &((const struct ranked *)b)->value);
}

static void rank(struct ranked *all, size_t n)
{
    qsort(all, n, sizeof *all, by_ranked);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && all[end].value == all[i].value;) end++;
        for (size_t k = i; k < end; k++) all[k].rank2 = (unsigned)(i + 1 + end);
    }
}

/* The share of all ways to choose n_a of the ranks whose sum is at least as far from the mean as
 * `sum`. */
static double exact(const struct ranked *all, size_t n, size_t n_a, unsigned sum)
{
    const size_t sums = n * (n + 1) + 1;
    double *ways = calloc((n_a + 1) * sums, sizeof *ways), far = 0, total = 0;
    if (!ways) return NAN;
    ways[0] = 1;
    for (size_t i = 0; i < n; i++)
        for (size_t k = (i < n_a ? i + 1 : n_a); k > 0; k--)
            for (size_t s = sums; s-- > all[i].rank2;)
                ways[k * sums + s] += ways[(k - 1) * sums + s - all[i].rank2];
    const double mean = (double)n_a * (double)(n + 1);
    for (size_t s = 0; s < sums; s++) {
        total += ways[n_a * sums + s];
        if (fabs((double)s - mean) >= fabs((double)sum - mean)) far += ways[n_a * sums + s];
    }
    free(ways);
    return far / total;
}

double stats_mann_whitney(const double *a, size_t n_a, const double *b, size_t n_b)
{
    const size_t n = n_a + n_b;
    if (!n_a || !n_b) return 1;
    struct ranked *all = malloc(n * sizeof *all);
    unsigned sum = 0;
    double ties = 0, p;
    if (!all) return NAN;
    for (size_t i = 0; i < n; i++) all[i].value = i < n_a ? a[i] : b[i - n_a];
    rank(all, n);
    for (size_t i = 0; i < n_a; i++)
        for (size_t k = 0; k < n; k++)
            if (all[k].value == a[i]) {
                sum += all[k].rank2;
                break;
            }
    if (n <= EXACT) {
        p = exact(all, n, n_a, sum);
    } else {
        for (size_t i = 0, end; i < n; i = end) {
            for (end = i + 1; end < n && all[end].value == all[i].value;) end++;
            const double t = (double)(end - i);
            ties += t * t * t - t;
        }
        const double m = (double)n, x = (double)n_a, y = (double)n_b;
        const double variance = x * y / 12 * (m + 1 - ties / (m * (m - 1)));
        const double distance = fmax(fabs((double)sum / 2 - x * (m + 1) / 2) - 0.5, 0);
        p = variance > 0 ? erfc(distance / sqrt(2 * variance)) : 1;
    }
    free(all);
    return p;
}
