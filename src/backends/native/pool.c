/* Pooling: the geometry of windows. Which rows a window sees is decided here; the rows themselves
 * run in forward.c and backward.c, where pooling may be part of a chain. */
#include "backends/native/rows.h"

/* Pixels counted along one axis by the window that starts at `start - pad`: those inside, or those
 * inside the padded image (a window that overhangs the padding, ceil mode, does not count the
 * overhang). */
static size_t counted(size_t start, size_t kernel, size_t pad_begin, size_t size, size_t pad_end,
                      bool inside)
{
    size_t begin = start, end = start + kernel, limit = pad_begin + size + pad_end;
    if (inside) {
        if (begin < pad_begin) begin = pad_begin;
        limit = pad_begin + size;
    }
    if (end > limit) end = limit;
    return end > begin ? end - begin : 1;
}

static size_t counted_rows(const struct native_pool *p, size_t oy)
{
    return counted(oy * p->sh, p->kh, p->pt, p->ih, p->pb, p->exclude_pad);
}

/* Windows that may share a pixel, along one axis. */
static size_t sharing(size_t kernel, size_t stride, size_t windows)
{
    size_t n = ceil_div(kernel, stride);
    return n < windows ? n : windows;
}

enum cvy_status cvyi_pool_make(struct cvy_plan *plan, const cvy_pool2d_desc *desc, cvy_shape in,
                               cvy_shape out, struct native_pool *pool)
{
    size_t sh = desc->stride[0] ? desc->stride[0] : desc->kernel[0];
    size_t sw = desc->stride[1] ? desc->stride[1] : desc->kernel[1];
    *pool = (struct native_pool){
        .row = { .ow = out.w,
                 .iw = in.w,
                 .kw = desc->kernel[1],
                 .sw = sw,
                 .pl = desc->pad[1],
                 .apart = sw >= desc->kernel[1] && sh >= desc->kernel[0] },
        .ih = in.h,
        .oh = out.h,
        .kh = desc->kernel[0],
        .sh = sh,
        .pt = desc->pad[0],
        .pb = desc->pad[2],
        .held = desc->kernel[0] < in.h ? desc->kernel[0] : in.h,
        .crowded = sharing(desc->kernel[0], sh, out.h) * sharing(desc->kernel[1], sw, out.w) >
                   CVYI_POOL_CHAIN,
        .max = desc->kind == CVY_POOL_MAX,
        .exclude_pad = desc->exclude_pad,
        .tie = (int)desc->tie,
    };
    if (pool->max) return CVY_OK;
    /* A line of divisors for every number of rows, or for every row of the result where those are
     * fewer. */
    pool->inv_by_row = native_chose(plan, CHOICE_FEW_ROWS, pool->oh < pool->kh);
    size_t lines = pool->inv_by_row ? pool->oh : pool->kh;
    float *inv = cvy_plan_alloc(plan, lines * out.w * sizeof *inv);
    if (!inv) return CVY_E_NOMEM;
    for (size_t k = 0; k < lines; k++) {
        size_t r = pool->inv_by_row ? counted_rows(pool, k) : k + 1;
        for (size_t q = 0; q < out.w; q++) {
            size_t columns = counted(q * sw, desc->kernel[1], desc->pad[1], in.w, desc->pad[3],
                                     desc->exclude_pad);
            inv[k * out.w + q] = (float)(1.0 / ((double)r * (double)columns));
        }
    }
    pool->inv = inv;
    return CVY_OK;
}

const float *cvyi_pool_inv(const struct native_pool *p, size_t oy)
{
    return p->inv + (p->inv_by_row ? oy : counted_rows(p, oy) - 1) * p->row.ow;
}
