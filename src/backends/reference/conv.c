/* 2-D convolution in double: forward and both gradients, one loop nest each, straight from the
 * formula in types.h. The three differ in one line. Linear layers are convolutions whose kernel is
 * the whole map. */
#include "reference.h"

/* A run of products of one weight: `pixels` neighbouring outputs from y on, their inputs `step`
 * apart from x on. */
typedef void tap_fn(double *restrict y, double *restrict x, double *restrict w, size_t pixels,
                    size_t step);

static void tap_forward(double *restrict y, double *restrict x, double *restrict w, size_t pixels,
                        size_t step)
{
    for (size_t i = 0; i < pixels; i++) y[i] += *w * x[i * step];
}

static void tap_data(double *restrict y, double *restrict x, double *restrict w, size_t pixels,
                     size_t step)
{
    for (size_t i = 0; i < pixels; i++) x[i * step] += *w * y[i];
}

static void tap_weights(double *restrict y, double *restrict x, double *restrict w, size_t pixels,
                        size_t step)
{
    double sum = 0;
    for (size_t i = 0; i < pixels; i++) sum += y[i] * x[i * step];
    *w += sum;
}

/* Visits every product of the convolution: every image, output channel, input channel, tap, and row
 * of outputs; a row's outputs whose tap lies inside the image are neighbours, so tap() gets them in
 * one run. */
static void walk(const cvy_conv2d_desc *d, size_t n_images, cvy_shape ys, double *y, cvy_shape xs,
                 double *x, double *w, tap_fn *tap)
{
    size_t kh = d->kernel[0], kw = d->kernel[1], groups = d->groups;
    size_t icg = xs.c / groups, ocg = ys.c / groups;
    for (size_t n = 0; n < n_images; n++)
        for (size_t oc = 0; oc < ys.c; oc++)
            for (size_t i = 0; i < icg; i++)
                for (size_t ky = 0; ky < kh; ky++)
                    for (size_t kx = 0; kx < kw; kx++) {
                        size_t ic = oc / ocg * icg + i;
                        size_t wy = d->flip ? kh - 1 - ky : ky, wx = d->flip ? kw - 1 - kx : kx;
                        double *wp = w + ((oc * icg + i) * kh + wy) * kw + wx;
                        /* ix = ox*stride + kx*dilation - pad must be in [0, xs.w): outputs ox0 <=
                         * ox < ox1 */
                        ptrdiff_t sx = (ptrdiff_t)d->stride[1];
                        ptrdiff_t dx = (ptrdiff_t)(kx * d->dilation[1]) - (ptrdiff_t)d->pad[1];
                        ptrdiff_t ox0 = dx < 0 ? (-dx + sx - 1) / sx : 0;
                        ptrdiff_t ox1 =
                            dx < (ptrdiff_t)xs.w ? ((ptrdiff_t)xs.w - dx + sx - 1) / sx : 0;
                        if (ox1 > (ptrdiff_t)ys.w) ox1 = (ptrdiff_t)ys.w;
                        if (ox0 >= ox1) continue;
                        for (size_t oy = 0; oy < ys.h; oy++) {
                            /* in the padded image */
                            size_t iy = oy * d->stride[0] + ky * d->dilation[0];
                            if (iy < d->pad[0] || iy - d->pad[0] >= xs.h) continue;
                            double *yrow = y + ((n * ys.c + oc) * ys.h + oy) * ys.w;
                            double *xrow = x + ((n * xs.c + ic) * xs.h + iy - d->pad[0]) * xs.w;
                            tap(yrow + ox0, xrow + ox0 * sx + dx, wp, (size_t)(ox1 - ox0),
                                (size_t)sx);
                        }
                    }
}

void cvyi_ref_conv2d(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape xs = r->in[CVY_CONV2D_X].shape, ys = r->out[CVY_CONV2D_Y].shape;
    double *y = cvyi_ref_out(r, run, CVY_CONV2D_Y);
    const double *x = cvyi_ref_in(r, run, CVY_CONV2D_X), *w = cvyi_ref_in(r, run, CVY_CONV2D_W),
                 *b = cvyi_ref_in(r, run, CVY_CONV2D_B);
    for (size_t n = 0; n < run->n; n++)
        for (size_t c = 0; c < ys.c; c++)
            for (size_t i = 0; i < ys.h * ys.w; i++)
                y[(n * ys.c + c) * ys.h * ys.w + i] = b ? b[c] : 0.0;
    walk(&r->op.u.conv, run->n, ys, y, xs, (double *)x, (double *)w, tap_forward);
}

void cvyi_ref_conv2d_bwd_data(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape ys = r->in[CVY_CONV2D_BWD_DATA_DY].shape, xs = r->out[CVY_CONV2D_BWD_DATA_DX].shape;
    const double *dy = cvyi_ref_in(r, run, CVY_CONV2D_BWD_DATA_DY),
                 *w = cvyi_ref_in(r, run, CVY_CONV2D_BWD_DATA_W);
    double *dx = cvyi_ref_out(r, run, CVY_CONV2D_BWD_DATA_DX);
    for (size_t i = 0; i < run->n * cvyi_ref_image(xs); i++) dx[i] = 0;
    walk(&r->op.u.conv, run->n, ys, (double *)dy, xs, dx, (double *)w, tap_data);
}

void cvyi_ref_conv2d_bwd_weights(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape xs = r->in[CVY_CONV2D_BWD_WEIGHTS_X].shape,
              ys = r->in[CVY_CONV2D_BWD_WEIGHTS_DY].shape,
              ws = r->out[CVY_CONV2D_BWD_WEIGHTS_DW].shape;
    const double *x = cvyi_ref_in(r, run, CVY_CONV2D_BWD_WEIGHTS_X),
                 *dy = cvyi_ref_in(r, run, CVY_CONV2D_BWD_WEIGHTS_DY);
    double *dw = cvyi_ref_out(r, run, CVY_CONV2D_BWD_WEIGHTS_DW),
           *db = cvyi_ref_out(r, run, CVY_CONV2D_BWD_WEIGHTS_DB);
    for (size_t i = 0; i < ws.n * cvyi_ref_image(ws); i++) dw[i] = 0;
    walk(&r->op.u.conv, run->n, ys, (double *)dy, xs, (double *)x, dw, tap_weights);
    for (size_t c = 0; db && c < ys.c; c++) {
        db[c] = 0;
        for (size_t n = 0; n < run->n; n++)
            for (size_t i = 0; i < ys.h * ys.w; i++) db[c] += dy[(n * ys.c + c) * ys.h * ys.w + i];
    }
}
