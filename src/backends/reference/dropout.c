/* Dropout and its gradient. */
#include "reference.h"

#include "base/random.h"

/* Forward and gradient: both multiply by the same mask and factor. */
static void drop(const struct cvyi_ref *r, const struct cvy_run *run, cvy_shape s, const double *x,
                 double *y)
{
    double p = r->op.u.dropout.desc.p;
    bool infer = r->op.u.dropout.infer, unscaled = r->op.u.dropout.desc.unscaled;
    size_t size = cvyi_ref_image(s);
    uint64_t threshold = cvyi_dropout_threshold(p);
    for (size_t n = 0; n < run->n; n++)
        for (size_t e = 0; e < size; e++) {
            double factor = 1;
            if (infer) {
                if (unscaled) factor = 1 - p;
            } else {
                uint32_t word[8];
                cvyi_dropout_words(run->seed, run->step, r->op.u.dropout.stream, e, n / 8, word);
                if (word[n % 8] < threshold) {
                    y[n * size + e] = 0; /* not x * 0: what is dropped leaves no NaN behind */
                    continue;
                }
                if (!unscaled) factor = 1 / (1 - p);
            }
            y[n * size + e] = factor * x[n * size + e];
        }
}

void cvyi_ref_dropout(const struct cvyi_ref *r, const struct cvy_run *run)
{
    drop(r, run, r->in[CVY_DROPOUT_X].shape, cvyi_ref_in(r, run, CVY_DROPOUT_X),
         cvyi_ref_out(r, run, CVY_DROPOUT_Y));
}

void cvyi_ref_dropout_bwd(const struct cvyi_ref *r, const struct cvy_run *run)
{
    drop(r, run, r->in[CVY_DROPOUT_BWD_DY].shape, cvyi_ref_in(r, run, CVY_DROPOUT_BWD_DY),
         cvyi_ref_out(r, run, CVY_DROPOUT_BWD_DX));
}
