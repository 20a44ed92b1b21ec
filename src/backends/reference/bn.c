/* Batch normalisation in double (Ioffe & Szegedy 2015, Algorithm 1): per channel over images and
 * pixels. Statistics by two passes, gradients by the closed form; of the mean or the variance alone
 * as at cvy_bn_statistics. With frozen statistics they are constants. */
#include "reference.h"

#include <math.h>

/* x̂ = (x - mean) scale */
struct channel {
    double mean, scale;
};

/* 0 and 1 are what does not take part; running statistics of it do not exist. */
static struct channel channel_of(const struct cvyi_ref *r, const double *mean, const double *var,
                                 size_t c)
{
    const cvy_batch_norm_desc *d = &r->op.u.bn;
    struct channel ch = { 0, 1 };
    if (d->statistics != CVY_BN_STATISTICS_VARIANCE) ch.mean = mean[c];
    if (d->statistics != CVY_BN_STATISTICS_MEAN) ch.scale = 1.0 / sqrt(var[c] + d->eps);
    return ch;
}

/* Element i of channel c of image n. */
static size_t at(cvy_shape s, size_t n, size_t c, size_t i)
{
    return (n * s.c + c) * s.h * s.w + i;
}

void cvyi_ref_bn_stats(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const cvy_batch_norm_desc *d = &r->op.u.bn;
    cvy_shape s = r->in[CVY_BN_STATS_X].shape;
    const double *x = cvyi_ref_in(r, run, CVY_BN_STATS_X);
    double *running_mean = (double *)cvyi_ref_in(r, run, CVY_BN_STATS_MEAN),
           *running_var = (double *)cvyi_ref_in(r, run, CVY_BN_STATS_VAR);
    double *stats = cvyi_ref_out(r, run, CVY_BN_STATS_STATS);
    size_t pixels = s.h * s.w;
    double m = (double)(run->n * pixels);
    for (size_t c = 0; c < s.c; c++) {
        double mean = 0, var = 0, rest = 0;
        for (size_t n = 0; n < run->n; n++)
            for (size_t i = 0; i < pixels; i++) mean += x[at(s, n, c, i)];
        mean /= m;
        /* The rounding of the mean leaves a small Σ(x - mean); taking it out makes a constant
         * channel exact. */
        for (size_t n = 0; n < run->n; n++)
            for (size_t i = 0; i < pixels; i++) rest += x[at(s, n, c, i)] - mean;
        mean += rest / m;
        for (size_t n = 0; n < run->n; n++)
            for (size_t i = 0; i < pixels; i++) {
                double e = x[at(s, n, c, i)] - mean;
                var += e * e;
            }
        var /= m;
        stats[c] = mean;
        stats[s.c + c] = var;
        if (running_mean) running_mean[c] = cvy_run_bn_mean(run, d, running_mean[c], mean);
        if (running_var) running_var[c] = cvy_run_bn_var(run, d, running_var[c], var, m);
    }
}

_Static_assert((int)CVY_BN_APPLY_X == (int)CVY_BN_INFER_X &&
                   (int)CVY_BN_APPLY_Y == (int)CVY_BN_INFER_Y,
               "normalise() serves both");

static void normalise(const struct cvyi_ref *r, const struct cvy_run *run, const double *mean,
                      const double *var, const double *gamma, const double *beta)
{
    cvy_shape s = r->in[CVY_BN_APPLY_X].shape;
    const double *x = cvyi_ref_in(r, run, CVY_BN_APPLY_X);
    double *y = cvyi_ref_out(r, run, CVY_BN_APPLY_Y);
    for (size_t n = 0; n < run->n; n++)
        for (size_t c = 0; c < s.c; c++) {
            struct channel ch = channel_of(r, mean, var, c);
            for (size_t i = 0; i < s.h * s.w; i++) {
                double xhat = (x[at(s, n, c, i)] - ch.mean) * ch.scale;
                y[at(s, n, c, i)] = (gamma ? gamma[c] : 1.0) * xhat + (beta ? beta[c] : 0.0);
            }
        }
}

void cvyi_ref_bn_apply(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const double *stats = cvyi_ref_in(r, run, CVY_BN_APPLY_STATS);
    normalise(r, run, stats, stats + r->in[CVY_BN_APPLY_X].shape.c,
              cvyi_ref_in(r, run, CVY_BN_APPLY_GAMMA), cvyi_ref_in(r, run, CVY_BN_APPLY_BETA));
}

void cvyi_ref_bn_infer(const struct cvyi_ref *r, const struct cvy_run *run)
{
    normalise(r, run, cvyi_ref_in(r, run, CVY_BN_INFER_MEAN), cvyi_ref_in(r, run, CVY_BN_INFER_VAR),
              cvyi_ref_in(r, run, CVY_BN_INFER_GAMMA), cvyi_ref_in(r, run, CVY_BN_INFER_BETA));
}

/* Σ dy and Σ dy·x̂ of channel c */
static void reduce(const struct cvy_run *run, cvy_shape s, const double *x, const double *dy,
                   struct channel ch, size_t c, double *sum_dy, double *sum_dy_xhat)
{
    *sum_dy = *sum_dy_xhat = 0;
    for (size_t n = 0; n < run->n; n++)
        for (size_t i = 0; i < s.h * s.w; i++) {
            double g = dy[at(s, n, c, i)];
            *sum_dy += g;
            *sum_dy_xhat += g * ((x[at(s, n, c, i)] - ch.mean) * ch.scale);
        }
}

void cvyi_ref_bn_bwd_reduce(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_BN_BWD_REDUCE_X].shape;
    const double *stats = cvyi_ref_in(r, run, CVY_BN_BWD_REDUCE_STATS);
    double *sums = cvyi_ref_out(r, run, CVY_BN_BWD_REDUCE_SUMS),
           *dgamma = cvyi_ref_out(r, run, CVY_BN_BWD_REDUCE_DGAMMA),
           *dbeta = cvyi_ref_out(r, run, CVY_BN_BWD_REDUCE_DBETA);
    for (size_t c = 0; c < s.c; c++) {
        struct channel ch = channel_of(r, stats, stats + s.c, c);
        reduce(run, s, cvyi_ref_in(r, run, CVY_BN_BWD_REDUCE_X),
               cvyi_ref_in(r, run, CVY_BN_BWD_REDUCE_DY), ch, c, &sums[c], &sums[s.c + c]);
        if (dbeta) dbeta[c] = sums[c];
        if (dgamma) dgamma[c] = sums[s.c + c];
    }
}

void cvyi_ref_bn_bwd_data(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_BN_BWD_DATA_X].shape;
    const double *x = cvyi_ref_in(r, run, CVY_BN_BWD_DATA_X),
                 *dy = cvyi_ref_in(r, run, CVY_BN_BWD_DATA_DY),
                 *stats = cvyi_ref_in(r, run, CVY_BN_BWD_DATA_STATS);
    const double *sums = cvyi_ref_in(r, run, CVY_BN_BWD_DATA_SUMS),
                 *gamma = cvyi_ref_in(r, run, CVY_BN_BWD_DATA_GAMMA);
    double *dx = cvyi_ref_out(r, run, CVY_BN_BWD_DATA_DX), m = (double)(run->n * s.h * s.w);
    for (size_t n = 0; n < run->n; n++)
        for (size_t c = 0; c < s.c; c++) {
            struct channel ch = channel_of(r, stats, stats + s.c, c);
            double by_mean = 0, by_var = 0; /* what comes back through them */
            if (r->op.u.bn.statistics != CVY_BN_STATISTICS_VARIANCE) by_mean = sums[c] / m;
            if (r->op.u.bn.statistics != CVY_BN_STATISTICS_MEAN) by_var = sums[s.c + c] / m;
            for (size_t i = 0; i < s.h * s.w; i++) {
                double centred = (x[at(s, n, c, i)] - stats[c]) * ch.scale;
                dx[at(s, n, c, i)] = (gamma ? gamma[c] : 1.0) * ch.scale *
                                     (dy[at(s, n, c, i)] - by_mean - centred * by_var);
            }
        }
}

void cvyi_ref_bn_infer_bwd(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_BN_INFER_BWD_X].shape;
    const double *x = cvyi_ref_in(r, run, CVY_BN_INFER_BWD_X),
                 *dy = cvyi_ref_in(r, run, CVY_BN_INFER_BWD_DY),
                 *gamma = cvyi_ref_in(r, run, CVY_BN_INFER_BWD_GAMMA);
    double *dx = cvyi_ref_out(r, run, CVY_BN_INFER_BWD_DX),
           *dgamma = cvyi_ref_out(r, run, CVY_BN_INFER_BWD_DGAMMA),
           *dbeta = cvyi_ref_out(r, run, CVY_BN_INFER_BWD_DBETA);
    for (size_t c = 0; c < s.c; c++) {
        struct channel ch = channel_of(r, cvyi_ref_in(r, run, CVY_BN_INFER_BWD_MEAN),
                                       cvyi_ref_in(r, run, CVY_BN_INFER_BWD_VAR), c);
        double sum_dy, sum_dy_xhat;
        reduce(run, s, x, dy, ch, c, &sum_dy, &sum_dy_xhat);
        if (dgamma) dgamma[c] = sum_dy_xhat;
        if (dbeta) dbeta[c] = sum_dy;
        for (size_t n = 0; dx && n < run->n; n++)
            for (size_t i = 0; i < s.h * s.w; i++)
                dx[at(s, n, c, i)] = (gamma ? gamma[c] : 1.0) * ch.scale * dy[at(s, n, c, i)];
    }
}
