/* Images of a training step that are moved, mirrored and cut out: what is drawn for each, and its
 * pixels. The draws are a function of (seed, epoch, image), so it does not matter who asks, or
 * when. */
#include <string.h>

#include "base/random.h"
#include "program/program.h"

/* The part of [0, n) that a side of `size` around `middle` covers. */
static void cut(size_t middle, size_t size, size_t n, size_t *from, size_t *to)
{
    size_t before = size / 2, after = size - before;
    *from = middle > before ? middle - before : 0;
    *to = middle + after < n ? middle + after : n;
}

void cvy_run_move(const struct cvy_run *run, cvy_shape s, size_t i, struct cvy_move *move)
{
    const cvy_augment_desc *a = &run->augment;
    *move = (struct cvy_move){ .image = run->index ? (size_t)run->index[i] : i, .s = s };
    const philox4x64_ctr_t r =
        cvyi_random(run->seed, CVYI_RANDOM_AUGMENT, 0, run->epoch, move->image, 0);
    const size_t places = 2 * a->crop + 1;
    move->dy = (ptrdiff_t)cvyi_below((uint32_t)r.v[0], places) - (ptrdiff_t)a->crop;
    move->dx = (ptrdiff_t)cvyi_below((uint32_t)(r.v[0] >> 32), places) - (ptrdiff_t)a->crop;
    move->flip = a->flip && r.v[1] >> 63;
    if (!a->cutout) return;
    cut(cvyi_below((uint32_t)r.v[2], s.h), a->cutout, s.h, &move->y0, &move->y1);
    cut(cvyi_below((uint32_t)(r.v[2] >> 32), s.w), a->cutout, s.w, &move->x0, &move->x1);
}

/* Columns x0 ... x1 of an output row from a row of w pixels; NULL: all zeros. Inside [in, end) the
 * row has what is asked for. */
#define ROW(name, type)                                                                       \
    static void name(const struct cvy_move *move, const type *row, size_t x0, size_t x1,      \
                     type *out)                                                               \
    {                                                                                         \
        const ptrdiff_t w = (ptrdiff_t)move->s.w, from = (ptrdiff_t)x0, to = (ptrdiff_t)x1,   \
                        first = move->flip ? move->dx : -move->dx; /* x that shows an edge */ \
        ptrdiff_t in = first > from ? first : from, end = first + w < to ? first + w : to;    \
        if (!row || in >= end) in = end = to;                                                 \
        memset(out, 0, (size_t)(in - from) * sizeof *out);                                    \
        if (!move->flip && in < end)                                                          \
            memcpy(out + (in - from), row + in + move->dx, (size_t)(end - in) * sizeof *out); \
        for (ptrdiff_t x = in; move->flip && x < end; x++)                                    \
            out[x - from] = row[w - 1 - x + move->dx];                                        \
        memset(out + (end - from), 0, (size_t)(to - end) * sizeof *out);                      \
    }
ROW(row_u8, uint8_t)
ROW(row_f32, float)

void cvy_run_pixels(const struct cvy_run *run, const struct cvy_move *move, size_t c, size_t p0,
                    size_t p1, void *out)
{
    const size_t h = move->s.h, w = move->s.w, plane = (move->image * move->s.c + c) * h * w;
    for (size_t p = p0, next; p < p1; p = next) {
        const size_t y = p / w, x0 = p - y * w, end = (y + 1) * w;
        next = end < p1 ? end : p1;
        const size_t from = y + (size_t)move->dy, at = plane + from * w, x1 = x0 + (next - p);
        const bool there = from < h; /* what is above is very large */
        if (run->dtype == CVY_U8)
            row_u8(move, there ? (const uint8_t *)run->images + at : NULL, x0, x1,
                   (uint8_t *)out + (p - p0));
        else
            row_f32(move, there ? (const float *)run->images + at : NULL, x0, x1,
                    (float *)out + (p - p0));
    }
}

void cvy_move_blank(const struct cvy_move *move, size_t p0, size_t p1, float *x, size_t stride)
{
    for (size_t y = move->y0; y < move->y1; y++) {
        size_t from = y * move->s.w + move->x0, to = y * move->s.w + move->x1;
        if (from < p0) from = p0;
        if (to > p1) to = p1;
        for (size_t p = from; p < to; p++) x[(p - p0) * stride] = 0;
    }
}
