/* The sum, the product and the mixture of two maps; a number a channel added to one. */
#include "base/random.h"
#include "reference.h"

void cvyi_ref_add(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const double *a = cvyi_ref_in(r, run, CVY_ADD_A), *b = cvyi_ref_in(r, run, CVY_ADD_B);
    double *y = cvyi_ref_out(r, run, CVY_ADD_Y);
    for (size_t i = 0; i < run->n * cvyi_ref_image(r->out[CVY_ADD_Y].shape); i++)
        y[i] = a[i] + b[i];
}

void cvyi_ref_mul(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const double *a = cvyi_ref_in(r, run, CVY_MUL_A), *b = cvyi_ref_in(r, run, CVY_MUL_B);
    double *y = cvyi_ref_out(r, run, CVY_MUL_Y);
    for (size_t i = 0; i < run->n * cvyi_ref_image(r->out[CVY_MUL_Y].shape); i++)
        y[i] = a[i] * b[i];
}

/* How much of the first map element e of image n takes. */
static double share(const struct cvyi_ref *r, const struct cvy_run *run, size_t n, size_t e)
{
    float drawn[8];
    if (r->op.u.mix.infer) return 0.5;
    cvyi_mix_shares(run->seed, run->step, r->op.u.mix.stream, e, n / 8, drawn);
    return (double)drawn[n % 8];
}

void cvyi_ref_mix(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const double *a = cvyi_ref_in(r, run, CVY_MIX_A), *b = cvyi_ref_in(r, run, CVY_MIX_B);
    double *y = cvyi_ref_out(r, run, CVY_MIX_Y);
    size_t size = cvyi_ref_image(r->out[CVY_MIX_Y].shape);
    for (size_t i = 0; i < run->n * size; i++) {
        double s = share(r, run, i / size, i % size);
        y[i] = s * a[i] + (1 - s) * b[i];
    }
}

void cvyi_ref_mix_bwd(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const double *dy = cvyi_ref_in(r, run, CVY_MIX_BWD_DY);
    double *da = cvyi_ref_out(r, run, CVY_MIX_BWD_DA), *db = cvyi_ref_out(r, run, CVY_MIX_BWD_DB);
    size_t size = cvyi_ref_image(r->in[CVY_MIX_BWD_DY].shape);
    for (size_t i = 0; i < run->n * size; i++) {
        double s = share(r, run, i / size, i % size);
        da[i] = s * dy[i];
        db[i] = (1 - s) * dy[i];
    }
}

void cvyi_ref_bias(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_BIAS_X].shape;
    const double *x = cvyi_ref_in(r, run, CVY_BIAS_X), *b = cvyi_ref_in(r, run, CVY_BIAS_B);
    double *y = cvyi_ref_out(r, run, CVY_BIAS_Y);
    for (size_t i = 0; i < run->n * cvyi_ref_image(s); i++) y[i] = x[i] + b[i / (s.h * s.w) % s.c];
}

void cvyi_ref_bias_bwd(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_BIAS_BWD_DY].shape;
    const double *dy = cvyi_ref_in(r, run, CVY_BIAS_BWD_DY);
    double *db = cvyi_ref_out(r, run, CVY_BIAS_BWD_DB);
    for (size_t c = 0; c < s.c; c++) db[c] = 0;
    for (size_t i = 0; i < run->n * cvyi_ref_image(s); i++) db[i / (s.h * s.w) % s.c] += dy[i];
}
