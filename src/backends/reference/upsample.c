/* Maps of another size in double: every result is made of up to four pixels, and its gradient is
 * handed back to them in the same shares. */
#include "reference.h"

/* The two pixels of an axis that result o lies between, and how much it has of each: nothing of one
 * that is not read. In whole numbers, so that what lies on a pixel does so exactly. */
struct place {
    size_t at[2];
    double share[2];
};

static struct place place_of(const cvy_upsample_desc *d, size_t size, size_t out, size_t o)
{
    if (d->kind == CVY_UPSAMPLE_NEAREST) return (struct place){ { o * size / out }, { 1, 0 } };
    uint64_t twice = (2 * (uint64_t)o + 1) * size, over = 2 * (uint64_t)out;
    uint64_t position = twice > out ? twice - out : 0; /* times 1 / over */
    if (d->align_corners) {
        position = (uint64_t)o * (size - 1);
        over = out > 1 ? out - 1 : 1;
        if (out == 1) position = 0;
    }
    size_t first = (size_t)(position / over), next = first + 1 < size ? first + 1 : first;
    double share = next > first ? (double)(position % over) / (double)over : 0;
    return (struct place){ { first, next }, { 1 - share, share } };
}

/* Every share of every result: y from x, or x's gradient from y's. */
static void walk(const cvy_upsample_desc *d, size_t images, cvy_shape xs, double *x, cvy_shape ys,
                 double *y, bool back)
{
    for (size_t c = 0; c < images * xs.c; c++)
        for (size_t oy = 0; oy < ys.h; oy++)
            for (size_t ox = 0; ox < ys.w; ox++) {
                struct place row = place_of(d, xs.h, ys.h, oy), col = place_of(d, xs.w, ys.w, ox);
                double *result = &y[(c * ys.h + oy) * ys.w + ox];
                if (!back) *result = 0;
                for (int k = 0; k < 4; k++) {
                    double share = row.share[k / 2] * col.share[k % 2];
                    double *pixel = &x[(c * xs.h + row.at[k / 2]) * xs.w + col.at[k % 2]];
                    if (share == 0) continue;
                    if (back) *pixel += share * *result;
                    else *result += share * *pixel;
                }
            }
}

void cvyi_ref_upsample(const struct cvyi_ref *r, const struct cvy_run *run)
{
    walk(&r->op.u.upsample, run->n, r->in[CVY_UPSAMPLE_X].shape,
         (double *)cvyi_ref_in(r, run, CVY_UPSAMPLE_X), r->out[CVY_UPSAMPLE_Y].shape,
         cvyi_ref_out(r, run, CVY_UPSAMPLE_Y), false);
}

void cvyi_ref_upsample_bwd(const struct cvyi_ref *r, const struct cvy_run *run)
{
    cvy_shape xs = r->out[CVY_UPSAMPLE_BWD_DX].shape;
    double *dx = cvyi_ref_out(r, run, CVY_UPSAMPLE_BWD_DX);
    for (size_t i = 0; i < run->n * cvyi_ref_image(xs); i++) dx[i] = 0;
    walk(&r->op.u.upsample, run->n, xs, dx, r->in[CVY_UPSAMPLE_BWD_DY].shape,
         (double *)cvyi_ref_in(r, run, CVY_UPSAMPLE_BWD_DY), true);
}
