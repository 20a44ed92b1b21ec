/* Ranks as they are defined: by counting what is smaller and what is equal. NaN has no rank: with
 * one its channel is NaN, and so are the quantiles. */
#include "reference.h"

#include <math.h>

/* Phi(x) = u, by bisection. */
static double probit(double u)
{
    double low = -40, high = 40;
    for (int i = 0; i < 80; i++) {
        double x = (low + high) / 2;
        if (erfc(-x * sqrt(0.5)) / 2 < u) low = x;
        else high = x;
    }
    return (low + high) / 2;
}

/* Element i of a channel's values, over images and pixels. */
static size_t at(cvy_shape s, size_t c, size_t i)
{
    size_t pixels = s.h * s.w;
    return (i / pixels * s.c + c) * pixels + i % pixels;
}

static void sort(double *v, cvy_shape s, size_t c, size_t m)
{
    size_t gap = 1;
    while (gap < m / 3) gap = 3 * gap + 1;
    for (; gap > 0; gap /= 3)
        for (size_t i = gap; i < m; i++) {
            double x = v[at(s, c, i)];
            size_t k = i;
            for (; k >= gap && v[at(s, c, k - gap)] > x; k -= gap)
                v[at(s, c, k)] = v[at(s, c, k - gap)];
            v[at(s, c, k)] = x;
        }
}

/* The quantile for (k + 1/2) / K of m numbers in order. */
static double quantile(const double *v, cvy_shape s, size_t c, size_t m, size_t k, size_t quantiles)
{
    double place = ((double)k + 0.5) * (double)m / (double)quantiles - 0.5;
    if (!(place > 0)) return v[at(s, c, 0)];
    if (place >= (double)(m - 1)) return v[at(s, c, m - 1)];
    size_t i = (size_t)place;
    double below = v[at(s, c, i)], above = v[at(s, c, i + 1)], f = place - (double)i;
    return f == 0 || below == above ? below : below + f * (above - below);
}

void cvyi_ref_rank(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_RANK_X].shape;
    const double *x = cvyi_ref_in(r, run, CVY_RANK_X);
    double *y = cvyi_ref_out(r, run, CVY_RANK_Y),
           *table = (double *)cvyi_ref_in(r, run, CVY_RANK_QUANTILES);
    size_t m = run->n * s.h * s.w, quantiles = r->op.u.rank.quantiles;
    double rho = cvy_run_weight(run, r->op.u.rank.momentum);
    for (size_t c = 0; c < s.c; c++) {
        bool none = false;
        for (size_t i = 0; i < m; i++) {
            y[at(s, c, i)] = x[at(s, c, i)];
            none = none || isnan(x[at(s, c, i)]);
        }
        sort(y, s, c, m);
        for (size_t k = 0; table && k < quantiles; k++) {
            double *q = &table[c * quantiles + k];
            *q = (1 - rho) * *q + rho * (none ? NAN : quantile(y, s, c, m, k, quantiles));
        }
        for (size_t i = 0; i < m; i++) {
            size_t less = 0, equal = 0;
            for (size_t j = 0; j < m; j++) {
                less += x[at(s, c, j)] < x[at(s, c, i)];
                equal += x[at(s, c, j)] == x[at(s, c, i)];
            }
            /* ranks less + 1 ... less + equal */
            double u = none ? NAN : ((double)less + (double)equal / 2) / (double)m;
            y[at(s, c, i)] = r->op.u.rank.normal && !none ? probit(u) : u;
        }
    }
}

void cvyi_ref_rank_infer(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_RANK_INFER_X].shape;
    const double *x = cvyi_ref_in(r, run, CVY_RANK_INFER_X),
                 *tables = cvyi_ref_in(r, run, CVY_RANK_INFER_QUANTILES);
    double *y = cvyi_ref_out(r, run, CVY_RANK_INFER_Y);
    size_t quantiles = r->op.u.rank.quantiles;
    for (size_t c = 0; c < s.c; c++)
        for (size_t i = 0; i < run->n * s.h * s.w; i++) {
            const double *q = tables + c * quantiles;
            double v = x[at(s, c, i)], u;
            size_t less = 0, equal = 0;
            bool none = isnan(v);
            for (size_t k = 0; k < quantiles; k++) {
                less += q[k] < v;
                equal += q[k] == v;
                none = none || isnan(q[k]);
            }
            if (none) u = NAN;
            else if (equal) u = (double)less + (double)equal / 2;
            else if (less == 0) u = 0.5;
            else if (less == quantiles) u = (double)less - 0.5;
            else u = (double)less - 0.5 + (v - q[less - 1]) / (q[less] - q[less - 1]);
            u /= (double)quantiles;
            y[at(s, c, i)] = r->op.u.rank.normal && !isnan(u) ? probit(u) : u;
        }
}
