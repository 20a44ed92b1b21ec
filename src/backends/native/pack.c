/* Packed copies of weights, in the order in which the mac kernels read them, and who has to
 * refresh them: the caller after changing weights by name, the update in every step. Knows no
 * convolution. */
#include "backends/native/native.h"

struct native_weight {
    struct native_weight *next;
    int weight;
    struct native_packing packing;
};

static void refresh(const void *arg, const struct cvy_run *run)
{
    const struct native_weight *w = arg;
    const struct native_packing *p = &w->packing;
    p->fill(p, run->buf[w->weight], run->buf[p->buffer],
            (struct native_range){ 0, p->groups * p->oc },
            (struct native_range){ 0, p->ic * p->taps });
}

enum cvy_status cvyi_native_pack(struct native *native, struct cvy_plan *plan, const char *name,
                                 int weight, struct native_packing *packing)
{
    size_t bytes = packing->n_tiles * packing->k * (size_t)packing->mo * sizeof(float);
    packing->buffer = cvy_plan_buffer(plan, name, bytes, true);
    if (packing->buffer < 0) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    struct native_weight *w = cvy_plan_alloc(plan, sizeof *w), **end = &native->weights;
    if (!w) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    w->weight = weight;
    w->packing = *packing;
    while (*end) end = &(*end)->next;
    *end = w;
    return cvy_plan_refresh(plan, weight, refresh, w);
}

size_t cvyi_native_packings(const struct native *native, int weight)
{
    size_t n = 0;
    for (const struct native_weight *w = native->weights; w; w = w->next) n += w->weight == weight;
    return n;
}

const struct native_packing *cvyi_native_packing(const struct native *native, int weight, size_t i)
{
    for (const struct native_weight *w = native->weights; w; w = w->next)
        if (w->weight == weight && i-- == 0) return &w->packing;
    return NULL;
}

/* The first tile whose columns do not all lie before column c (counted over all groups of
 * `per_group`). */
static size_t first_tile(const struct native_packing *p, size_t per_group, size_t c)
{
    size_t lo = 0, hi = p->n_tiles;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const struct native_tile *t = &p->tiles[mid];
        if (t->group * per_group + t->c0 + t->n <= c) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* dst[r*dst_row + c] = src[r*src_row + c*src_col], r < rows, c < n */
static inline __attribute__((always_inline)) void copy_columns(float *restrict dst, size_t dst_row,
                                                               const float *restrict src,
                                                               size_t src_row, size_t src_col,
                                                               size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < n; c++) dst[r * dst_row + c] = src[r * src_row + c * src_col];
}

/* This runs in every step: the widths of whole tiles are unrolled, and who calls knows which of
 * src_row and src_col is 1. */
static inline __attribute__((always_inline)) void copy(float *dst, size_t dst_row, const float *src,
                                                       size_t src_row, size_t src_col, size_t rows,
                                                       size_t n)
{
    switch (n) {
    case 4: copy_columns(dst, dst_row, src, src_row, src_col, rows, 4); break;
    case 6: copy_columns(dst, dst_row, src, src_row, src_col, rows, 6); break;
    case 8: copy_columns(dst, dst_row, src, src_row, src_col, rows, 8); break;
    case 12: copy_columns(dst, dst_row, src, src_row, src_col, rows, 12); break;
    case 16: copy_columns(dst, dst_row, src, src_row, src_col, rows, 16); break;
    default: copy_columns(dst, dst_row, src, src_row, src_col, rows, n);
    }
}

void cvyi_native_pack_forward(const struct native_packing *p, const float *weight, float *packed,
                              struct native_range o, struct native_range k)
{
    size_t row = p->ic * p->taps, mo = (size_t)p->mo;
    for (size_t i = first_tile(p, p->oc, o.begin); i < p->n_tiles; i++) {
        const struct native_tile *t = &p->tiles[i];
        size_t first = t->group * p->oc + t->c0;
        struct native_range c = native_meet(o, (struct native_range){ first, first + t->n });
        if (first >= o.end) break;
        copy(packed + t->offset + k.begin * mo + (c.begin - first), mo,
             weight + c.begin * row + k.begin, 1, row, k.end - k.begin, c.end - c.begin);
    }
}

/* One tap: row o0 on of the columns that the tile and k share. */
static void pack_columns(const struct native_packing *p, const struct native_tile *t,
                         const float *weight, float *packed, struct native_range o,
                         struct native_range k)
{
    size_t mo = (size_t)p->mo, row = p->ic, first = o.begin % p->oc;
    struct native_range c = native_meet(k, (struct native_range){ t->c0, t->c0 + t->n });
    if (c.begin >= c.end) return;
    copy(packed + t->offset + first * mo + (c.begin - t->c0), mo, weight + o.begin * row + c.begin,
         row, 1, o.end - o.begin, c.end - c.begin);
}

void cvyi_native_pack_transposed(const struct native_packing *p, const float *weight, float *packed,
                                 struct native_range o, struct native_range k)
{
    size_t row = p->ic * p->taps, mo = (size_t)p->mo;
    while (o.begin < o.end) {
        size_t group = o.begin / p->oc;
        struct native_range rows = { o.begin, native_min((group + 1) * p->oc, o.end) };
        for (size_t i = first_tile(p, p->ic, group * p->ic);
             i < p->n_tiles && p->tiles[i].group == group; i++) {
            const struct native_tile *t = &p->tiles[i];
            if (p->taps == 1) {
                pack_columns(p, t, weight, packed, rows, k);
                continue;
            }
            const float *src = weight + rows.begin * row + t->c0 * p->taps;
            float *dst = packed + t->offset + (rows.begin - group * p->oc) * p->taps * mo;
            for (size_t r = rows.begin; r < rows.end; r++, src += row, dst += p->taps * mo)
                copy(dst, mo, src, 1, p->taps, p->taps, t->n);
        }
        o.begin = rows.end;
    }
}
