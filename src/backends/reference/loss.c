/* Softmax over channels in double, shifted by the row's maximum so that no finite logit overflows,
 * and the losses, row by row as src/ops/losses.c says. */
#include "ops/ops.h"
#include "reference.h"

#include <math.h>

/* max and log Σ exp((x - max) / t) of k numbers `step` apart */
static void log_sum_exp(const double *x, size_t k, size_t step, double t, double *max,
                        double *log_sum)
{
    double sum = 0;
    *max = x[0];
    for (size_t i = 1; i < k; i++)
        if (x[i * step] > *max) *max = x[i * step];
    for (size_t i = 0; i < k; i++) sum += exp((x[i * step] - *max) / t);
    *log_sum = log(sum);
}

void cvyi_ref_softmax(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_SOFTMAX_X].shape;
    size_t pixels = s.h * s.w;
    double t = r->op.u.softmax.temperature;
    for (size_t n = 0; n < run->n; n++)
        for (size_t p = 0; p < pixels; p++) {
            const double *x = cvyi_ref_in(r, run, CVY_SOFTMAX_X) + n * s.c * pixels + p;
            double *y = cvyi_ref_out(r, run, CVY_SOFTMAX_Y) + n * s.c * pixels + p, max, log_sum;
            log_sum_exp(x, s.c, pixels, t, &max, &log_sum);
            for (size_t c = 0; c < s.c; c++)
                y[c * pixels] = exp((x[c * pixels] - max) / t - log_sum);
        }
}

void cvyi_ref_loss(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->in[CVY_LOSS_X].shape;
    const cvy_loss_desc *d = &r->op.u.loss;
    size_t pixels = s.h * s.w, image = s.c * pixels;
    double *stats = cvyi_ref_out(r, run, CVY_LOSS_STATS),
           *gradient = cvyi_ref_out(r, run, CVY_LOSS_DX);
    struct cvyi_loss_row row = { .desc = d, .classes = s.c, .step = pixels };
    stats[0] = stats[1] = 0;
    for (size_t i = 0; i < run->n * pixels; i++) {
        size_t n = i / pixels, p = i % pixels, at = run->index ? run->index[n] : n;
        double *dx = gradient ? gradient + n * image + p : NULL, w = 1;
        row.x = cvyi_ref_in(r, run, CVY_LOSS_X) + n * image + p;
        if (d->soft_targets) {
            row.target = run->targets + at * image + p;
            row.label = cvyi_loss_target(row.target, s.c, pixels);
        } else {
            size_t j = at * pixels + p;
            long label = run->labels8 ? (long)run->labels8[j] : (long)run->labels32[j];
            w = cvyi_loss_weight(d, label);
            row.label = (size_t)label;
        }
        if (w > 0) {
            stats[0] += w * cvyi_loss_row(&row, dx);
            stats[1] += cvyi_loss_correct(&row);
        }
        for (size_t k = 0; dx && k < s.c; k++)
            dx[k * pixels] = w > 0 ? dx[k * pixels] * w / run->loss_weight : 0;
    }
}
