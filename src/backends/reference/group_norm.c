/* Group normalisation in double (Wu & He 2018, equations 1 to 7): per image and group of channels,
 * over their pixels. Statistics by two passes, gradients by batch norm's closed form (Ioffe &
 * Szegedy 2015), with dy gamma for the gradient of the normalised. */
#include "reference.h"

#include <math.h>

/* A group of an image: its elements are [first, first + size) of all, and begin at element `affine`
 * of gamma and beta, each of which stands for `share` elements. */
struct group {
    size_t first, size, affine, share;
    double mean, var;
};

/* Group number i of all images. */
static struct group group_of(const struct cvyi_ref *r, cvy_shape s, size_t i)
{
    const cvy_group_norm_desc *d = &r->op.u.gn;
    struct group g = { .size = cvyi_ref_image(s) / d->groups };
    g.first = i * g.size;
    g.share = d->elementwise ? 1 : s.h * s.w;
    g.affine = i % d->groups * g.size / g.share;
    return g;
}

static void moments(struct group *g, const double *x)
{
    double m = (double)g->size, rest = 0;
    x += g->first;
    g->mean = g->var = 0;
    for (size_t i = 0; i < g->size; i++) g->mean += x[i];
    g->mean /= m;
    /* what the rounding of the mean leaves: a constant group is exact */
    for (size_t i = 0; i < g->size; i++) rest += x[i] - g->mean;
    g->mean += rest / m;
    for (size_t i = 0; i < g->size; i++) g->var += (x[i] - g->mean) * (x[i] - g->mean);
    g->var /= m;
}

void cvyi_ref_group_norm(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_GROUP_NORM_X].shape;
    const double *x = cvyi_ref_in(r, run, CVY_GROUP_NORM_X),
                 *gamma = cvyi_ref_in(r, run, CVY_GROUP_NORM_GAMMA),
                 *beta = cvyi_ref_in(r, run, CVY_GROUP_NORM_BETA);
    double *y = cvyi_ref_out(r, run, CVY_GROUP_NORM_Y),
           *stats = cvyi_ref_out(r, run, CVY_GROUP_NORM_STATS);
    size_t groups = r->op.u.gn.groups;
    for (size_t k = 0; k < run->n * groups; k++) {
        struct group g = group_of(r, s, k);
        moments(&g, x);
        double scale = 1.0 / sqrt(g.var + r->op.u.gn.eps);
        for (size_t i = 0; i < g.size; i++) {
            size_t a = g.affine + i / g.share;
            double xhat = (x[g.first + i] - g.mean) * scale;
            y[g.first + i] = (gamma ? gamma[a] : 1.0) * xhat + (beta ? beta[a] : 0.0);
        }
        if (stats) {
            stats[k] = g.mean;
            stats[s.n * groups + k] = g.var;
        }
    }
}

void cvyi_ref_group_norm_bwd(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_GROUP_NORM_BWD_X].shape;
    const double *x = cvyi_ref_in(r, run, CVY_GROUP_NORM_BWD_X),
                 *dy = cvyi_ref_in(r, run, CVY_GROUP_NORM_BWD_DY),
                 *stats = cvyi_ref_in(r, run, CVY_GROUP_NORM_BWD_STATS),
                 *gamma = cvyi_ref_in(r, run, CVY_GROUP_NORM_BWD_GAMMA);
    double *dx = cvyi_ref_out(r, run, CVY_GROUP_NORM_BWD_DX),
           *dgamma = cvyi_ref_out(r, run, CVY_GROUP_NORM_BWD_DGAMMA),
           *dbeta = cvyi_ref_out(r, run, CVY_GROUP_NORM_BWD_DBETA);
    size_t groups = r->op.u.gn.groups, affine = r->op.u.gn.elementwise ? cvyi_ref_image(s) : s.c;
    for (size_t a = 0; a < affine; a++) {
        if (dgamma) dgamma[a] = 0;
        if (dbeta) dbeta[a] = 0;
    }
    for (size_t k = 0; k < run->n * groups; k++) {
        struct group g = group_of(r, s, k);
        double mean = stats[k], scale = 1.0 / sqrt(stats[s.n * groups + k] + r->op.u.gn.eps);
        double sum = 0, sum_xhat = 0, m = (double)g.size;
        for (size_t i = 0; i < g.size; i++) {
            size_t a = g.affine + i / g.share;
            double xhat = (x[g.first + i] - mean) * scale, d = dy[g.first + i];
            if (dgamma) dgamma[a] += d * xhat;
            if (dbeta) dbeta[a] += d;
            d *= gamma ? gamma[a] : 1.0;
            sum += d;
            sum_xhat += d * xhat;
        }
        for (size_t i = 0; i < g.size; i++) {
            double xhat = (x[g.first + i] - mean) * scale,
                   d = dy[g.first + i] * (gamma ? gamma[g.affine + i / g.share] : 1.0);
            dx[g.first + i] = scale * (d - sum / m - xhat * (sum_xhat / m));
        }
    }
}
