/* Ops that move elements: ingest, reorder, concat, slice, pad. */
#include "reference.h"

#include <math.h>
#include <string.h>

/* x = pixel * scale + shift, rounded once to float: that is what every backend starts from. */
void cvyi_ref_ingest(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape s = r->out[CVY_INGEST_X].shape;
    double *x = cvyi_ref_out(r, run, CVY_INGEST_X);
    for (size_t n = 0; n < run->n; n++) {
        struct cvy_move move;
        cvy_run_move(run, s, n, &move);
        for (size_t i = 0; i < cvyi_ref_image(s); i++) {
            size_t c = i / (s.h * s.w), p = i % (s.h * s.w);
            union {
                uint8_t u8;
                float f32;
            } at;
            cvy_run_pixels(run, &move, c, p, p + 1, &at);
            float pixel = fmaf(run->dtype == CVY_U8 ? (float)at.u8 : at.f32, run->in_scale[c],
                               run->in_shift[i]);
            cvy_move_blank(&move, p, p + 1, &pixel, 1);
            x[n * cvyi_ref_image(s) + i] = pixel;
        }
    }
}

/* Where element (n, c, pixel) lies in a value. */
static size_t offset_of(const struct cvyi_ref_value *v, size_t n, size_t c, size_t pixel)
{
    if (v->layout == CVY_LAYOUT_LANES)
        return ((n / 16 * v->shape.c + c) * v->plane + pixel) * 16 + n % 16;
    return (n * v->shape.c + c) * v->shape.h * v->shape.w + pixel;
}

/* Activations: the batch's images, unused lanes of the last block zero. Everything else: all of
 * it. */
void cvyi_ref_reorder(const struct cvyi_ref *r, const struct cvy_run *run)
{
    const struct cvyi_ref_value *from = &r->in[CVY_REORDER_X], *to = &r->out[CVY_REORDER_Y];
    const void *src = cvyi_ref_buf(run, from);
    void *dst = cvyi_ref_buf(run, to);
    bool images = to->role == CVY_ROLE_ACTIVATION || from->role == CVY_ROLE_ACTIVATION;
    size_t n_from = images ? run->n : from->shape.n;
    size_t n_to = to->layout == CVY_LAYOUT_LANES ? (n_from + 15) / 16 * 16 : n_from;
    for (size_t n = 0; n < n_to; n++)
        for (size_t c = 0; c < from->shape.c; c++)
            for (size_t p = 0; p < from->shape.h * from->shape.w; p++) {
                size_t i = offset_of(from, n, c, p), k = offset_of(to, n, c, p);
                double v = 0;
                if (n < n_from)
                    v = from->layout == CVY_LAYOUT_PLAIN64 ? ((const double *)src)[i]
                                                           : (double)((const float *)src)[i];
                if (to->layout == CVY_LAYOUT_PLAIN64) ((double *)dst)[k] = v;
                else ((float *)dst)[k] = (float)v;
            }
}

void cvyi_ref_concat(const struct cvyi_ref *r, const struct cvy_run *run)
{
    double *y = cvyi_ref_out(r, run, CVY_CONCAT_Y);
    for (size_t n = 0; n < run->n; n++)
        for (int k = 0; k < r->op.n_in; k++) {
            size_t size = cvyi_ref_image(r->in[k].shape);
            memcpy(y, cvyi_ref_in(r, run, k) + n * size, size * sizeof *y);
            y += size;
        }
}

void cvyi_ref_slice(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape from = r->in[CVY_SLICE_X].shape, to = r->out[CVY_SLICE_Y].shape;
    size_t size = cvyi_ref_image(to), skip = r->op.u.slice.c0 * from.h * from.w;
    for (size_t n = 0; n < run->n; n++)
        memcpy(cvyi_ref_out(r, run, CVY_SLICE_Y) + n * size,
               cvyi_ref_in(r, run, CVY_SLICE_X) + n * cvyi_ref_image(from) + skip,
               size * sizeof(double));
}

void cvyi_ref_pad(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape from = r->in[CVY_PAD_X].shape, to = r->out[CVY_PAD_Y].shape;
    size_t size = cvyi_ref_image(from), skip = r->op.u.slice.c0 * from.h * from.w;
    for (size_t n = 0; n < run->n; n++) {
        double *y = cvyi_ref_out(r, run, CVY_PAD_Y) + n * cvyi_ref_image(to);
        for (size_t i = 0; i < cvyi_ref_image(to); i++) y[i] = 0;
        memcpy(y + skip, cvyi_ref_in(r, run, CVY_PAD_X) + n * size, size * sizeof *y);
    }
}
