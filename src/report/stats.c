/* Medians, bootstrap, ranks. */
#include "report/stats.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { RESAMPLES = 10000, EXACT = 100 };

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

/* Steele, Lea and Flood 2014: SplitMix64. */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double resampled_median(const double *v, size_t n, double *draw, uint64_t *state)
{
    for (size_t i = 0; i < n; i++) draw[i] = v[(size_t)((next(state) >> 32) * n >> 32)];
    qsort(draw, n, sizeof *draw, by_value);
    return quantile_sorted(draw, n, 0.5);
}

struct stats_ratio stats_ratio(const double *a, size_t n_a, const double *b, size_t n_b)
{
    const double ratio = stats_median(b, n_b) / stats_median(a, n_a);
    struct stats_ratio result = {ratio, ratio, ratio};
    double *draw = malloc((n_a > n_b ? n_a : n_b) * sizeof *draw + sizeof *draw),
           *all = malloc(RESAMPLES * sizeof *all);
    uint64_t state = 1;
    if (draw && all && n_a && n_b && n_a + n_b > 2) {
        for (size_t i = 0; i < RESAMPLES; i++) {
            const double below = resampled_median(a, n_a, draw, &state);
            all[i] = resampled_median(b, n_b, draw, &state) / below;
        }
        const size_t n = sorted(all, RESAMPLES);
        result.lo = quantile_sorted(all, n, 0.025);
        result.hi = quantile_sorted(all, n, 0.975);
    }
    free(draw);
    free(all);
    return result;
}

/* ------------------------------------------------------------------------------------------------ Mann-Whitney */

struct ranked { double value; unsigned rank2; }; /* twice the mean rank: a whole number even in ties */

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

/* The share of all ways to choose n_a of the ranks whose sum is at least as far from the mean as `sum`. */
static double exact(const struct ranked *all, size_t n, size_t n_a, unsigned sum)
{
    const size_t sums = n * (n + 1) + 1;
    double *ways = calloc((n_a + 1) * sums, sizeof *ways), far = 0, total = 0;
    if (!ways) return NAN;
    ways[0] = 1;
    for (size_t i = 0; i < n; i++)
        for (size_t k = (i < n_a ? i + 1 : n_a); k > 0; k--)
            for (size_t s = sums; s-- > all[i].rank2;) ways[k * sums + s] += ways[(k - 1) * sums + s - all[i].rank2];
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
        const double distance = fabs((double)sum / 2 - x * (m + 1) / 2) - 0.5;
        p = variance > 0 ? erfc((distance > 0 ? distance : 0) / sqrt(2 * variance)) : 1;
    }
    free(all);
    return p;
}
