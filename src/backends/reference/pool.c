/* Pooling in double. A window is cut to the image; the average's divisor counts the window cut to
 * the padded image (so a ceil-mode window that runs past the padding counts what is there), or with
 * exclude_pad to the image. */
#include "reference.h"

#include <math.h>

/* Rows and columns of the image under output (oy, ox), and the average's divisor. */
struct window {
    size_t y0, y1, x0, x1;
    double count;
};

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* Along one axis: pixels [*a, *b) of the image; returns the window's extent within the padded
 * image. */
static size_t clip(size_t o, size_t kernel, size_t stride, size_t pad0, size_t pad1, size_t size,
                   size_t *a, size_t *b)
{
    /* in the padded image */
    size_t start = o * stride, end = min_size(start + kernel, pad0 + size + pad1);
    *a = start > pad0 ? start - pad0 : 0;
    *b = end > pad0 ? min_size(end - pad0, size) : 0;
    return end - start;
}

static struct window window_at(const cvy_pool2d_desc *d, cvy_shape s, size_t oy, size_t ox)
{
    struct window v;
    size_t rows = clip(oy, d->kernel[0], d->stride[0], d->pad[0], d->pad[2], s.h, &v.y0, &v.y1);
    size_t columns = clip(ox, d->kernel[1], d->stride[1], d->pad[1], d->pad[3], s.w, &v.x0, &v.x1);
    v.count = d->exclude_pad ? (double)((v.y1 - v.y0) * (v.x1 - v.x0)) : (double)(rows * columns);
    return v;
}

/* The first maximum in scan order; the first NaN beats every number. */
static size_t max_at(const double *x, size_t width, const struct window *v)
{
    size_t best = v->y0 * width + v->x0;
    for (size_t y = v->y0; y < v->y1; y++)
        for (size_t i = y * width + v->x0; i < y * width + v->x1; i++)
            if (!isnan(x[best]) && (x[i] > x[best] || isnan(x[i]))) best = i;
    return best;
}

static double average(const double *x, size_t width, const struct window *v)
{
    double sum = 0;
    for (size_t y = v->y0; y < v->y1; y++)
        for (size_t i = y * width + v->x0; i < y * width + v->x1; i++) sum += x[i];
    return sum / v->count;
}

void cvyi_ref_pool(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const cvy_pool2d_desc *d = &r->op.u.pool;
    cvy_shape xs = r->in[CVY_POOL_X].shape, ys = r->out[CVY_POOL_Y].shape;
    for (size_t p = 0; p < run->n * xs.c; p++) {
        const double *x = cvyi_ref_in(r, run, CVY_POOL_X) + p * xs.h * xs.w;
        double *y = cvyi_ref_out(r, run, CVY_POOL_Y) + p * ys.h * ys.w;
        for (size_t oy = 0; oy < ys.h; oy++)
            for (size_t ox = 0; ox < ys.w; ox++) {
                struct window v = window_at(d, xs, oy, ox);
                y[oy * ys.w + ox] =
                    d->kind == CVY_POOL_MAX ? x[max_at(x, xs.w, &v)] : average(x, xs.w, &v);
            }
    }
}

/* Whether x is as large as the maximum: NaN is the largest value, and equal to itself. */
static bool is_max(double x, double max) { return x == max || (isnan(x) && isnan(max)); }

/* Hands g to the maxima of the window by the tie rule. */
static void unpool_max(const cvy_pool2d_desc *d, const double *x, double *dx, size_t width,
                       const struct window *v, double g)
{
    size_t best = max_at(x, width, v), equal = 0;
    if (d->tie == CVY_TIE_FIRST) {
        dx[best] += g;
        return;
    }
    for (size_t y = v->y0; y < v->y1; y++)
        for (size_t i = y * width + v->x0; i < y * width + v->x1; i++)
            equal += is_max(x[i], x[best]);
    for (size_t y = v->y0; y < v->y1; y++)
        for (size_t i = y * width + v->x0; i < y * width + v->x1; i++)
            if (is_max(x[i], x[best])) dx[i] += d->tie == CVY_TIE_SPLIT ? g / (double)equal : g;
}

void cvyi_ref_pool_bwd(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const cvy_pool2d_desc *d = &r->op.u.pool;
    cvy_shape ys = r->in[CVY_POOL_BWD_DY].shape, xs = r->out[CVY_POOL_BWD_DX].shape;
    const double *x = cvyi_ref_in(r, run, CVY_POOL_BWD_X);
    for (size_t p = 0; p < run->n * xs.c; p++) {
        const double *dy = cvyi_ref_in(r, run, CVY_POOL_BWD_DY) + p * ys.h * ys.w;
        double *dx = cvyi_ref_out(r, run, CVY_POOL_BWD_DX) + p * xs.h * xs.w;
        for (size_t i = 0; i < xs.h * xs.w; i++) dx[i] = 0;
        for (size_t oy = 0; oy < ys.h; oy++)
            for (size_t ox = 0; ox < ys.w; ox++) {
                struct window v = window_at(d, xs, oy, ox);
                double g = dy[oy * ys.w + ox];
                if (d->kind == CVY_POOL_MAX) {
                    unpool_max(d, x + p * xs.h * xs.w, dx, xs.w, &v, g);
                    continue;
                }
                for (size_t iy = v.y0; iy < v.y1; iy++)
                    for (size_t ix = v.x0; ix < v.x1; ix++) dx[iy * xs.w + ix] += g / v.count;
            }
    }
}
