/* SGD with momentum, Nesterov and weight decay in double, as written at struct cvy_sgd_desc; a rate
 * of 0 takes no part. */
#include "reference.h"

void cvyi_ref_sgd(const struct cvyi_ref *r, const struct cvy_run *run)
{
    double *w = (double *)cvyi_ref_in(r, run, 0), *v = (double *)cvyi_ref_in(r, run, 2);
    const double *dw = cvyi_ref_in(r, run, 1);
    double decay = r->op.u.sgd.decay ? run->weight_decay : 0;
    for (size_t i = 0; i < r->in[0].shape.n * cvyi_ref_image(r->in[0].shape); i++) {
        double g = dw[i];
        if (decay != 0) g += decay * w[i];
        if (v) {
            v[i] = run->momentum != 0 ? run->momentum * v[i] + g : g;
            g = run->nesterov ? g + run->momentum * v[i] : v[i];
        }
        w[i] -= run->lr * g;
    }
}
