/* The sum of two maps. */
#include "reference.h"

void cvyi_ref_add(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const double *a = cvyi_ref_in(r, run, CVY_ADD_A), *b = cvyi_ref_in(r, run, CVY_ADD_B);
    double *y = cvyi_ref_out(r, run, CVY_ADD_Y);
    for (size_t i = 0; i < run->n * cvyi_ref_image(r->out[CVY_ADD_Y].shape); i++)
        y[i] = a[i] + b[i];
}
