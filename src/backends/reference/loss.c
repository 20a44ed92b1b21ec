/* Softmax over channels and the softmax cross-entropy in double, shifted by the row's maximum so
 * that no finite logit overflows. */
#include "reference.h"

#include <math.h>

/* max and log Σ exp(x - max) of k numbers `step` apart */
static void log_sum_exp(const double *x, size_t k, size_t step, double *max, double *log_sum)
{
    double sum = 0;
    *max = x[0];
    for (size_t i = 1; i < k; i++)
        if (x[i * step] > *max) *max = x[i * step];
    for (size_t i = 0; i < k; i++) sum += exp(x[i * step] - *max);
    *log_sum = log(sum);
}

void cvyi_ref_softmax(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[0].shape;
    size_t pixels = s.h * s.w;
    for (size_t n = 0; n < run->n; n++)
        for (size_t p = 0; p < pixels; p++) {
            const double *x = cvyi_ref_in(r, run, 0) + n * s.c * pixels + p;
            double *y = cvyi_ref_out(r, run, 0) + n * s.c * pixels + p, max, log_sum;
            log_sum_exp(x, s.c, pixels, &max, &log_sum);
            for (size_t c = 0; c < s.c; c++) y[c * pixels] = exp(x[c * pixels] - max - log_sum);
        }
}

void cvyi_ref_loss(const struct cvyi_ref *r, const struct cvy_run *run)
{
    size_t classes = cvyi_ref_image(r->in[0].shape);
    double s = r->op.u.loss.label_smoothing;
    double *stats = cvyi_ref_out(r, run, 0), *gradient = cvyi_ref_out(r, run, 1);
    stats[0] = stats[1] = 0;
    for (size_t n = 0; n < run->n; n++) {
        const double *x = cvyi_ref_in(r, run, 0) + n * classes;
        size_t at = run->index ? run->index[n] : n, argmax = 0;
        size_t label = run->labels8 ? run->labels8[at] : (size_t)run->labels32[at];
        double max, log_sum, loss = 0;
        log_sum_exp(x, classes, 1, &max, &log_sum);
        for (size_t k = 0; k < classes; k++) {
            double log_p = x[k] - max - log_sum;
            double q = (k == label ? 1 - s : 0.0) + s / (double)classes;
            if (q != 0) loss -= q * log_p; /* 0 * -inf is no loss */
            if (gradient) gradient[n * classes + k] = (exp(log_p) - q) / (double)run->n;
            if (x[k] > x[argmax]) argmax = k;
        }
        stats[0] += loss;
        stats[1] += argmax == label && !isnan(log_sum); /* a NaN has no place among the maxima */
    }
}
