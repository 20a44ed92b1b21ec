/* Whitening in double: covariances by two passes; matrices, and the way back through them, by
 * base/whiten.h. With A = sum dy (x - mean)' and b = sum dy over M values of each channel, W the
 * matrix and D the gradient of the covariance that comes of W's, which is gamma A:
 *   dgamma = rows of W o A, summed;  dbeta = b
 *   dx = W' (gamma dy - gamma b / M) + 2 D (x - mean) / M */
#include "reference.h"

#include <string.h>

#include "ops/ops.h"

static struct cvyi_whitening sizes_of(const struct cvyi_ref *r, cvy_shape s)
{
    return cvyi_whitening_of(&r->op.u.whitening, s);
}

/* Channel i of group g begins there in image `image`. */
static size_t at(const struct cvyi_whitening *w, cvy_shape s, size_t image, size_t g, size_t i)
{
    return (image * s.c + g * w->of.n + i) * s.h * s.w;
}

/* The sum of (a - mean_a)(b - mean_b) of two channels of a group. */
static double product(cvy_shape s, size_t images, const double *a, double mean_a, const double *b,
                      double mean_b)
{
    double sum = 0;
    for (size_t n = 0; n < images; n++)
        for (size_t p = 0; p < s.h * s.w; p++) {
            size_t e = n * s.c * s.h * s.w + p;
            sum += (a[e] - mean_a) * (b[e] - mean_b);
        }
    return sum;
}

void cvyi_ref_whiten_stats(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_WHITEN_STATS_X].shape;
    struct cvyi_whitening w = sizes_of(r, s);
    const double *x = cvyi_ref_in(r, run, CVY_WHITEN_STATS_X);
    double *running_mean = (double *)cvyi_ref_in(r, run, CVY_WHITEN_STATS_MEAN),
           *running = (double *)cvyi_ref_in(r, run, CVY_WHITEN_STATS_MATRIX);
    size_t n = w.of.n, nn = n * n;
    double m = (double)(run->n * s.h * s.w * w.folds),
           rho = cvy_run_weight(run, r->op.u.whitening.momentum);
    for (size_t u = 0; u < w.matrices; u++) {
        double *mean = cvyi_ref_out(r, run, CVY_WHITEN_STATS_STATS) + u * w.stats,
               *matrix = mean + n, *state = matrix + nn;
        memset(mean, 0, w.stats * sizeof *mean);
        for (size_t g = u * w.folds; g < (u + 1) * w.folds; g++)
            for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < run->n; k++)
                    for (size_t p = 0; p < s.h * s.w; p++) mean[i] += x[at(&w, s, k, g, i) + p] / m;
        for (size_t g = u * w.folds; g < (u + 1) * w.folds; g++)
            for (size_t i = 0; i < n; i++)
                for (size_t j = i; j < n; j++)
                    state[i * n + j] += product(s, run->n, x + at(&w, s, 0, g, i), mean[i],
                                                x + at(&w, s, 0, g, j), mean[j]) /
                                        m;
        cvyi_whiten(&w.of, state, matrix);
        for (size_t i = 0; running_mean && i < n; i++)
            running_mean[u * n + i] = (1 - rho) * running_mean[u * n + i] + rho * mean[i];
        for (size_t i = 0; running && i < nn; i++)
            running[u * nn + i] = (1 - rho) * running[u * nn + i] + rho * matrix[i];
    }
}

_Static_assert((int)CVY_WHITEN_APPLY_X == (int)CVY_WHITEN_INFER_X &&
                   (int)CVY_WHITEN_APPLY_Y == (int)CVY_WHITEN_INFER_Y,
               "whiten() serves both");

/* Where a matrix' mean and numbers stand: `step` from one matrix to the next. */
struct matrices {
    const double *mean, *matrix;
    size_t mean_step, step;
};

static void whiten(const struct cvyi_ref *r, const struct cvy_run *run, const struct matrices *of,
                   const double *gamma, const double *beta)
{
    cvy_shape s = r->in[CVY_WHITEN_APPLY_X].shape;
    struct cvyi_whitening w = sizes_of(r, s);
    const double *x = cvyi_ref_in(r, run, CVY_WHITEN_APPLY_X);
    double *y = cvyi_ref_out(r, run, CVY_WHITEN_APPLY_Y);
    for (size_t k = 0; k < run->n; k++)
        for (size_t c = 0; c < s.c; c++)
            for (size_t p = 0; p < s.h * s.w; p++) {
                size_t g = c / w.of.n, u = g / w.folds;
                const double *mean = of->mean + u * of->mean_step,
                             *row = of->matrix + u * of->step + c % w.of.n * w.of.n;
                double xhat = 0;
                for (size_t j = 0; j < w.of.n; j++)
                    xhat += row[j] * (x[at(&w, s, k, g, j) + p] - mean[j]);
                y[at(&w, s, k, 0, c) + p] =
                    (gamma ? gamma[c] : 1.0) * xhat + (beta ? beta[c] : 0.0);
            }
}

void cvyi_ref_whiten_apply(const struct cvyi_ref *r, const struct cvy_run *run)
{
    struct cvyi_whitening w = sizes_of(r, r->in[CVY_WHITEN_APPLY_X].shape);
    const double *mean = cvyi_ref_in(r, run, CVY_WHITEN_APPLY_STATS);
    const struct matrices of = { mean, mean + w.of.n, w.stats, w.stats };
    whiten(r, run, &of, cvyi_ref_in(r, run, CVY_WHITEN_APPLY_GAMMA),
           cvyi_ref_in(r, run, CVY_WHITEN_APPLY_BETA));
}

void cvyi_ref_whiten_infer(const struct cvyi_ref *r, const struct cvy_run *run)
{
    struct cvyi_whitening w = sizes_of(r, r->in[CVY_WHITEN_INFER_X].shape);
    const struct matrices of = { cvyi_ref_in(r, run, CVY_WHITEN_INFER_MEAN),
                                 cvyi_ref_in(r, run, CVY_WHITEN_INFER_MATRIX), w.of.n,
                                 w.of.n * w.of.n };
    whiten(r, run, &of, cvyi_ref_in(r, run, CVY_WHITEN_INFER_GAMMA),
           cvyi_ref_in(r, run, CVY_WHITEN_INFER_BETA));
}

void cvyi_ref_whiten_bwd_reduce(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_WHITEN_BWD_REDUCE_X].shape;
    struct cvyi_whitening w = sizes_of(r, s);
    const double *x = cvyi_ref_in(r, run, CVY_WHITEN_BWD_REDUCE_X),
                 *dy = cvyi_ref_in(r, run, CVY_WHITEN_BWD_REDUCE_DY),
                 *stats = cvyi_ref_in(r, run, CVY_WHITEN_BWD_REDUCE_STATS),
                 *gamma = cvyi_ref_in(r, run, CVY_WHITEN_BWD_REDUCE_GAMMA);
    double *sums = cvyi_ref_out(r, run, CVY_WHITEN_BWD_REDUCE_SUMS),
           *dgamma = cvyi_ref_out(r, run, CVY_WHITEN_BWD_REDUCE_DGAMMA),
           *dbeta = cvyi_ref_out(r, run, CVY_WHITEN_BWD_REDUCE_DBETA), *b = sums;
    size_t n = w.of.n, nn = n * n;
    double m = (double)(run->n * s.h * s.w * w.folds);
    sums += s.c;
    for (size_t u = 0; u < w.matrices; u++, stats += w.stats, sums += w.sums) {
        const double *mean = stats, *matrix = mean + n, *state = matrix + nn;
        memset(sums, 0, nn * sizeof *sums);
        for (size_t c = u * w.folds * n; c < (u + 1) * w.folds * n; c++) {
            size_t g = c / n, i = c % n;
            const double *from = dy + at(&w, s, 0, 0, c);
            double f = gamma ? gamma[c] : 1.0, gain = 0;
            b[c] = 0;
            for (size_t k = 0; k < run->n; k++)
                for (size_t p = 0; p < s.h * s.w; p++) b[c] += from[k * s.c * s.h * s.w + p];
            for (size_t j = 0; j < n; j++) {
                double a = product(s, run->n, from, 0, x + at(&w, s, 0, g, j), mean[j]);
                gain += matrix[i * n + j] * a;
                sums[i * n + j] += f * a;
            }
            if (dgamma) dgamma[c] = gain;
            if (dbeta) dbeta[c] = b[c];
        }
        cvyi_whiten_backward(&w.of, state, sums, sums + nn);
        for (size_t i = 0; i < nn; i++) sums[i] *= 2 / m;
    }
}

void cvyi_ref_whiten_bwd_data(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_WHITEN_BWD_DATA_X].shape;
    struct cvyi_whitening w = sizes_of(r, s);
    const double *x = cvyi_ref_in(r, run, CVY_WHITEN_BWD_DATA_X),
                 *dy = cvyi_ref_in(r, run, CVY_WHITEN_BWD_DATA_DY),
                 *stats = cvyi_ref_in(r, run, CVY_WHITEN_BWD_DATA_STATS),
                 *b = cvyi_ref_in(r, run, CVY_WHITEN_BWD_DATA_SUMS),
                 *gamma = cvyi_ref_in(r, run, CVY_WHITEN_BWD_DATA_GAMMA);
    double *dx = cvyi_ref_out(r, run, CVY_WHITEN_BWD_DATA_DX);
    size_t n = w.of.n;
    double m = (double)(run->n * s.h * s.w * w.folds);
    for (size_t c = 0; c < s.c; c++) {
        size_t g = c / n, u = g / w.folds, j = c % n;
        const double *mean = stats + u * w.stats, *matrix = mean + n, *d = b + s.c + u * w.sums;
        double shift = 0;
        for (size_t k = u * w.folds * n; k < (u + 1) * w.folds * n; k++)
            shift += matrix[k % n * n + j] * (gamma ? gamma[k] : 1.0) * b[k] / m;
        for (size_t k = 0; k < run->n; k++)
            for (size_t p = 0; p < s.h * s.w; p++) {
                double sum = -shift;
                for (size_t i = 0; i < n; i++) {
                    size_t e = at(&w, s, k, g, i) + p;
                    sum += matrix[i * n + j] * (gamma ? gamma[g * n + i] : 1.0) * dy[e] +
                           d[i * n + j] * (x[e] - mean[i]);
                }
                dx[at(&w, s, k, 0, c) + p] = sum;
            }
    }
}

/* With constant statistics: dx = W' gamma dy. */
void cvyi_ref_whiten_infer_bwd(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_WHITEN_INFER_BWD_X].shape;
    struct cvyi_whitening w = sizes_of(r, s);
    const double *x = cvyi_ref_in(r, run, CVY_WHITEN_INFER_BWD_X),
                 *dy = cvyi_ref_in(r, run, CVY_WHITEN_INFER_BWD_DY),
                 *means = cvyi_ref_in(r, run, CVY_WHITEN_INFER_BWD_MEAN),
                 *matrices = cvyi_ref_in(r, run, CVY_WHITEN_INFER_BWD_MATRIX),
                 *gamma = cvyi_ref_in(r, run, CVY_WHITEN_INFER_BWD_GAMMA);
    double *dx = cvyi_ref_out(r, run, CVY_WHITEN_INFER_BWD_DX),
           *dgamma = cvyi_ref_out(r, run, CVY_WHITEN_INFER_BWD_DGAMMA),
           *dbeta = cvyi_ref_out(r, run, CVY_WHITEN_INFER_BWD_DBETA);
    size_t n = w.of.n;
    for (size_t c = 0; c < s.c; c++) {
        size_t g = c / n, u = g / w.folds;
        const double *mean = means + u * n, *matrix = matrices + u * n * n;
        double gain = 0, sum = 0;
        for (size_t k = 0; k < run->n; k++)
            for (size_t p = 0; p < s.h * s.w; p++) {
                double xhat = 0, through = 0, g_y = dy[at(&w, s, k, 0, c) + p];
                for (size_t i = 0; i < n; i++) {
                    size_t e = at(&w, s, k, g, i) + p;
                    xhat += matrix[c % n * n + i] * (x[e] - mean[i]);
                    through += matrix[i * n + c % n] * (gamma ? gamma[g * n + i] : 1.0) * dy[e];
                }
                dx[at(&w, s, k, 0, c) + p] = through;
                gain += g_y * xhat;
                sum += g_y;
            }
        if (dgamma) dgamma[c] = gain;
        if (dbeta) dbeta[c] = sum;
    }
}
