/* The mean of the batch or of each image, subtracted. */
#include "reference.h"

static void subtract(const double *x, double *y, size_t n)
{
    double mean = 0;
    for (size_t i = 0; i < n; i++) mean += x[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) y[i] = x[i] - mean;
}

void cvyi_ref_mean_subtract(const struct cvyi_ref *r, const struct cvy_run *run)
{
    size_t image = cvyi_ref_image(r->in[CVY_MEAN_SUBTRACT_X].shape);
    const double *x = cvyi_ref_in(r, run, CVY_MEAN_SUBTRACT_X);
    double *y = cvyi_ref_out(r, run, CVY_MEAN_SUBTRACT_Y);
    if (r->op.u.mean.over == CVY_MEAN_OF_BATCH) subtract(x, y, run->n * image);
    else
        for (size_t n = 0; n < run->n; n++) subtract(x + n * image, y + n * image, image);
}
