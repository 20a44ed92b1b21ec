/* Pooling kernels: one row of windows, its gradient, and maxima that remember their place. */
#include <assert.h>

#include "sums_tmpl.h"

/* Columns [q0, q1) have their whole window inside the row; the others are clipped. */
struct span {
    size_t q0, q1;
};

static struct span inner(const struct cvyi_pool *p)
{
    assert(p->kw > p->pl && p->sw > 0 && p->iw > 0);
    size_t q0 = (p->pl + p->sw - 1) / p->sw,
           q1 = p->iw + p->pl >= p->kw ? (p->iw + p->pl - p->kw) / p->sw + 1 : 0;
    q1 = q1 < p->ow ? q1 : p->ow;
    q0 = q0 < q1 ? q0 : q1;
    return (struct span){ q0, q1 };
}

/* The window of column q: input columns [c0, c0 + returned width). */
V_FN size_t window(const struct cvyi_pool *p, size_t q, size_t *c0)
{
    size_t lo = q * p->sw, hi = lo + p->kw - p->pl;
    *c0 = lo = lo > p->pl ? lo - p->pl : 0;
    assert(lo < p->iw);
    return (hi < p->iw ? hi : p->iw) - lo;
}

/* Runs CELL(q, c0, kw, n_rows) for every column; small windows inside the row get constant
 * sizes. */
#define POOL_COLUMNS(CELL)                                     \
    const struct span in = inner(p);                           \
    size_t q = 0, c0, w;                                       \
    for (; q < in.q0; q++) {                                   \
        w = window(p, q, &c0);                                 \
        CELL(q, c0, w, n_rows);                                \
    }                                                          \
    c0 = q * p->sw - p->pl;                                    \
    if (p->kw == 1 && n_rows == 1)                             \
        for (; q < in.q1; q++, c0 += p->sw) CELL(q, c0, 1, 1); \
    else if (p->kw == 2 && n_rows == 2)                        \
        for (; q < in.q1; q++, c0 += p->sw) CELL(q, c0, 2, 2); \
    else if (p->kw == 3 && n_rows == 3)                        \
        for (; q < in.q1; q++, c0 += p->sw) CELL(q, c0, 3, 3); \
    for (; q < p->ow; q++) {                                   \
        w = window(p, q, &c0);                                 \
        CELL(q, c0, w, n_rows);                                \
    }

/* The same without them. */
#define POOL_CELLS(CELL)                     \
    for (size_t q = 0, c0; q < p->ow; q++) { \
        size_t w = window(p, q, &c0);        \
        CELL(q, c0, w, n_rows);              \
    }

/* The window's elements in scan order: row r, column `col` and the offset `o` into the row. Counted
 * and without a pragma: with an end that might wrap around, or "unroll 4" for two rounds, Clang
 * does not unroll at all. */
#define WINDOW(c0, kw, n_rows)            \
    for (size_t r = 0; r < (n_rows); r++) \
        for (size_t col = 0, o = (c0)*16 + l; col < (kw); col++, o += 16)

/* A later equal value does not replace an earlier one, and the first NaN stays. */
V_FN vf max_first(vf m, vf x) { return v_select(vm_or(v_ge(m, x), v_unord(m, m)), m, x); }

V_FN vf window_max(const float *const *rows, size_t c0, size_t kw, size_t n_rows, size_t l)
{
    vf m = v_load(rows[0] + c0 * 16 + l);
    WINDOW(c0, kw, n_rows)
    m = max_first(m, v_load(rows[r] + o));
    return m;
}

static void pool_max(const struct cvyi_pool *p, float *y, const float *const *rows, size_t n_rows)
{
#define CELL(q, c0, kw, nr) \
    for (size_t l = 0; l < 16; l += VL) v_store(y + (q)*16 + l, window_max(rows, c0, kw, nr, l))
    POOL_COLUMNS(CELL)
#undef CELL
}

/* dx[r][o] += t, in double if `wide`. */
V_FN void give(bool wide, void *const *dx, size_t r, size_t o, vf t)
{
    if (wide) {
        double *p = (double *)dx[r] + o;
        vd_store(p, vd_add(vd_load(p), vd_from(t)));
    } else {
        add_to((float *)dx[r] + o, t);
    }
}

/* `l` is the first lane of the part. Without a NaN maximum no element is unordered; with one
 * nothing is equal. */
V_FN void max_bwd_cell(bool wide, void *const *dx, const float *dy, const float *const *rows,
                       size_t c0, size_t kw, size_t n_rows, int tie, size_t l)
{
    vf m = window_max(rows, c0, kw, n_rows, l), d = v_load(dy + l), count = v_zero();
    vm open = vm_from_bits(0xffff);
    if (tie == 2) {
        WINDOW(c0, kw, n_rows)
        {
            vf x = v_load(rows[r] + o);
            count = v_add(count, v_maskz(vm_or(v_eq(x, m), v_unord(x, x)), v_set1(1)));
        }
        d = v_div(d, count);
    }
    WINDOW(c0, kw, n_rows)
    {
        vf x = v_load(rows[r] + o);
        vm hit = vm_or(v_eq(x, m), v_unord(x, x));
        if (tie == 0) {
            hit = vm_and(hit, open);
            open = vm_andnot(hit, open);
        }
        give(wide, dx, r, o, v_maskz(hit, d));
    }
}

/* The common case by itself: the first maximum of windows without a NaN. Where windows do not
 * overlap (`alone`) each dx is written once, so what it held (zero) need not be read; it is added
 * all the same, or -0 would depend on it. */
V_FN void max_bwd_cell_first(float *const *dx, const float *dy, const float *const *rows, size_t c0,
                             size_t kw, size_t n_rows, bool alone, size_t l)
{
    vf m = v_load(rows[0] + c0 * 16 + l), d = v_load(dy + l);
    vm nan = vm_from_bits(0), open = vm_from_bits(0xffff);
    WINDOW(c0, kw, n_rows)
    {
        vf x = v_load(rows[r] + o);
        nan = vm_or(nan, v_unord(x, x));
        m = v_max(x, m);
    }
    if (__builtin_expect(vm_to_bits(nan) != 0, 0)) {
        max_bwd_cell(false, (void *const *)dx, dy, rows, c0, kw, n_rows, 0, l);
        return;
    }
    WINDOW(c0, kw, n_rows)
    {
        vm hit = vm_and(v_eq(v_load(rows[r] + o), m), open);
        vf g = v_maskz(hit, d);
        open = vm_andnot(hit, open);
        v_store(dx[r] + o, v_add(alone ? v_zero() : v_load(dx[r] + o), g));
    }
}

#define K_MAX_BWD(name, tie)                                                       \
    static void name(const struct cvyi_pool *p, float *const *dx, const float *dy, \
                     const float *const *rows, size_t n_rows)                      \
    {                                                                              \
        POOL_COLUMNS(CELL_##tie)                                                   \
    }
#define CELL_TIE(q, c0, kw, nr, tie)    \
    for (size_t l = 0; l < 16; l += VL) \
    max_bwd_cell(false, (void *const *)dx, dy + (q)*16, rows, c0, kw, nr, tie, l)
#define CELL_FIRST(q, c0, kw, nr, alone) \
    for (size_t l = 0; l < 16; l += VL)  \
    max_bwd_cell_first(dx, dy + (q)*16, rows, c0, kw, nr, alone, l)
#define CELL_ALONE(q, c0, kw, nr) CELL_FIRST(q, c0, kw, nr, true)
#define CELL_OVERLAP(q, c0, kw, nr) CELL_FIRST(q, c0, kw, nr, false)
#define CELL_1(q, c0, kw, nr) CELL_TIE(q, c0, kw, nr, 1)
#define CELL_2(q, c0, kw, nr) CELL_TIE(q, c0, kw, nr, 2)
K_MAX_BWD(max_bwd_alone, ALONE)
K_MAX_BWD(max_bwd_overlap, OVERLAP)
K_MAX_BWD(max_bwd_all, 1)
K_MAX_BWD(max_bwd_split, 2)

static void pool_max_bwd(const struct cvyi_pool *p, float *const *dx, const float *dy,
                         const float *const *rows, size_t n_rows, int tie)
{
    assert(tie >= 0 && tie <= 2);
    if (tie == 0) (p->apart ? max_bwd_alone : max_bwd_overlap)(p, dx, dy, rows, n_rows);
    else (tie == 1 ? max_bwd_all : max_bwd_split)(p, dx, dy, rows, n_rows);
}

static void pool_max_bwd_wide(const struct cvyi_pool *p, double *const *dx, const float *dy,
                              const float *const *rows, size_t n_rows, int tie)
{
    assert(tie >= 0 && tie <= 2);
#define CELL(q, c0, kw, nr)             \
    for (size_t l = 0; l < 16; l += VL) \
    max_bwd_cell(true, (void *const *)dx, dy + (q)*16, rows, c0, kw, nr, tie, l)
    POOL_CELLS(CELL)
#undef CELL
}

/* Where windows tile the plane: the maximum, its place and what was normalised there. `careful`:
 * with NaNs. */
V_FN vm argmax_cell(bool careful, float *y, uint8_t *at, float *picked, const float *const *rows,
                    const struct cvyi_affine *c, size_t c0, size_t kw, size_t n_rows, size_t width,
                    size_t l)
{
    vf m = v_zero(), place = v_zero(), beside = v_zero(), sum = v_zero();
    const vf mean = v_set1(c ? c->m : 0), a = v_set1(c ? c->a : 1), b = v_set1(c ? c->b : 0);
    bool first = true;
    WINDOW(c0, kw, n_rows)
    {
        vf x = v_load(rows[r] + o), z = c ? v_fma(a, v_sub(x, mean), b) : x;
        sum = v_add(sum, z);
        vm stays = v_ge(m, z);
        if (careful) stays = vm_or(stays, v_unord(m, m));
        m = first ? z : v_select(stays, m, z);
        place = first ? place : v_select(stays, place, v_set1((float)(int)(r * width + col)));
        beside = first ? x : v_select(stays, beside, x);
        first = false;
    }
    v_store(y + l, m);
    v_store_u8(at + l, place);
    if (picked) v_store(picked + l, beside);
    return v_unord(sum, sum);
}

V_FN void argmax_one(float *y, uint8_t *at, float *picked, const float *const *rows,
                     const struct cvyi_affine *c, size_t q, size_t c0, size_t kw, size_t n_rows,
                     size_t width, size_t l)
{
    float *to = picked ? picked + q * 16 : NULL;
    vm nan = argmax_cell(false, y + q * 16, at + q * 16, to, rows, c, c0, kw, n_rows, width, l);
    if (__builtin_expect(vm_to_bits(nan) != 0, 0))
        argmax_cell(true, y + q * 16, at + q * 16, to, rows, c, c0, kw, n_rows, width, l);
}

/* Asks for what the window below, of columns [c0, c1), reads and writes. */
V_FN void argmax_ask(const struct cvyi_pool *p, const float *y, const float *picked,
                     const float *const *rows, size_t c0, size_t c1, size_t n_rows)
{
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = c0; c < c1; c++) V_ASK(rows[r] + (c + n_rows * p->iw) * 16);
    V_ASK(y + p->ow * 16);
    if (picked) V_ASK(picked + p->ow * 16);
}

V_FN void argmax_row(const struct cvyi_pool *pool, float *y, uint8_t *at, float *picked,
                     const float *const *rows, const struct cvyi_affine *affine, size_t n_rows)
{
    const struct cvyi_pool own = *pool, *p = &own; /* `at` is bytes, and bytes may alias anything */
    const struct cvyi_affine held = affine ? *affine : (struct cvyi_affine){ 0 },
                             *c = affine ? &held : NULL;
#define CELL(q, c0, width, nr)                                                                    \
    do {                                                                                          \
        argmax_ask(p, y + (q)*16, picked ? picked + (q)*16 : NULL, rows, c0, (c0) + (width), nr); \
        for (size_t l = 0; l < 16; l += VL)                                                       \
            argmax_one(y, at, picked, rows, c, q, c0, width, nr, own.kw, l);                      \
    } while (0)
    POOL_COLUMNS(CELL)
#undef CELL
}

static void pool_argmax(const struct cvyi_pool *p, float *y, uint8_t *at, float *picked,
                        const float *const *rows, const struct cvyi_affine *c, size_t n_rows)
{
    assert(p->sw == p->kw && p->pl == 0 && n_rows * p->kw <= 256);
    if (c && picked) argmax_row(p, y, at, picked, rows, c, n_rows);
    else if (c) argmax_row(p, y, at, NULL, rows, c, n_rows);
    else if (picked) argmax_row(p, y, at, picked, rows, NULL, n_rows);
    else argmax_row(p, y, at, NULL, rows, NULL, n_rows);
}

/* What the gradient of window q is at its place number `place`. */
V_FN vf spread(const float *g, const uint8_t *at, size_t q, vi place, size_t l)
{
    return v_maskz(vi_eq(vi_from_u8(at + q * 16 + l), place), v_load(g + q * 16 + l));
}

/* Runs CELL(c, s): column c of the row has the gradient s. */
#define SPREAD_ROW(CELL)                                                                   \
    for (size_t l = 0; l < 16; l += VL) {                                                  \
        size_t c = 0;                                                                      \
        if (p->kw == 2) {                                                                  \
            const vi left = vi_set1((int)first), right = vi_set1((int)first + 1);          \
            for (size_t q = 0; q < p->ow && c + 1 < p->iw; q++, c += 2) {                  \
                vi place = vi_from_u8(at + q * 16 + l);                                    \
                vf d = v_load(g + q * 16 + l);                                             \
                CELL(c, v_maskz(vi_eq(place, left), d));                                   \
                CELL(c + 1, v_maskz(vi_eq(place, right), d));                              \
            }                                                                              \
        }                                                                                  \
        for (; c < p->iw; c++) {                                                           \
            size_t q = c / p->kw;                                                          \
            CELL(c, q < p->ow ? spread(g, at, q, vi_set1((int)(first + c - q * p->kw)), l) \
                              : v_zero());                                                 \
        }                                                                                  \
    }

static void argmax_bwd(const struct cvyi_pool *p, float *dx, const float *g, const uint8_t *at,
                       size_t first)
{
#define CELL(c, s) v_store(dx + (c)*16 + l, s)
    SPREAD_ROW(CELL)
#undef CELL
}

static void argmax_bn_dx(const struct cvyi_pool *p, float *dx, const float *x, const float *g,
                         const uint8_t *at, size_t first, const struct cvyi_bn_dx *k,
                         unsigned n_lanes)
{
    assert(n_lanes <= 16);
    const vf m = v_set1(k->m), a = v_set1(k->a), b = v_set1(k->b), cc = v_set1(k->c);
    for (size_t c = 0; c < p->iw; c++) {
        V_ASK(x + (c + p->iw) * 16); /* the next row */
        V_ASK(dx + (c + p->iw) * 16);
    }
#define CELL(c, s)                                                      \
    v_store(dx + (c)*16 + l, v_maskz(v_lane_mask((int)l, (int)n_lanes), \
                                     v_fma(a, s, v_fma(b, v_sub(v_load(x + (c)*16 + l), m), cc))))
    SPREAD_ROW(CELL)
#undef CELL
}

/* Adds pixel number `pixel` of the segment, which window q has `place` in, to its chain. */
V_FN void argmax_pixel(struct cvyi_sums *t, size_t pixel, const float *g, const uint8_t *at,
                       const float *picked, size_t q, vi place, vf mean, size_t l)
{
    float *sa = t->s1[pixel & 3] + l, *sb = t->s2[pixel & 3] + l;
    vm hit = vi_eq(vi_from_u8(at + q * 16 + l), place);
    vf d = v_load(g + q * 16 + l);
    v_store(sa, v_add_if(hit, v_load(sa), d));
    v_store(sb, v_fma_if(hit, d, v_sub(v_load(picked + q * 16 + l), mean), v_load(sb)));
}

/* Two windows of two columns at a time, from column c on and before `end`; answers the column it
 * came to. Chain i of a register is chain (pixel + i) % 4 of the sums: the row's first pixel need
 * not be its segment's. */
V_FN size_t argmax_pairs(struct cvyi_sums *t, size_t start, size_t c, size_t end, const float *g,
                         const uint8_t *at, const float *picked, size_t first, vf mean, size_t l)
{
#define STEP(o, place, a, b)                                        \
    do {                                                            \
        vm hit_ = vi_eq(vi_from_u8(at + o), place);                 \
        vf g_ = v_load(g + o);                                      \
        a = v_add_if(hit_, a, g_);                                  \
        b = v_fma_if(hit_, g_, v_sub(v_load(picked + o), mean), b); \
    } while (0)
    const vi left = vi_set1((int)first), right = vi_set1((int)first + 1);
    float *pa[4], *pb[4];
    for (size_t i = 0; i < 4; i++) {
        pa[i] = t->s1[(start + c + i) & 3] + l;
        pb[i] = t->s2[(start + c + i) & 3] + l;
    }
    vf a0 = v_load(pa[0]), a1 = v_load(pa[1]), a2 = v_load(pa[2]), a3 = v_load(pa[3]);
    vf b0 = v_load(pb[0]), b1 = v_load(pb[1]), b2 = v_load(pb[2]), b3 = v_load(pb[3]);
    for (size_t o = c * 8 + l, stop = o + (end - c) / 4 * 32; o < stop; o += 32) {
        STEP(o, left, a0, b0);
        STEP(o, right, a1, b1);
        STEP(o + 16, left, a2, b2);
        STEP(o + 16, right, a3, b3);
    }
    v_store(pa[0], a0);
    v_store(pa[1], a1);
    v_store(pa[2], a2);
    v_store(pa[3], a3);
    v_store(pb[0], b0);
    v_store(pb[1], b1);
    v_store(pb[2], b2);
    v_store(pb[3], b3);
#undef STEP
    return c + (end - c) / 4 * 4;
}

/* A block is over: its chains go to the sums of those before. */
V_FN void end_block(struct cvyi_sums *t, size_t l)
{
    for (size_t i = 0; i < 4; i++) {
        add_to(t->before1[i] + l, v_load(t->s1[i] + l));
        v_store(t->s1[i] + l, v_zero());
        add_to(t->before2[i] + l, v_load(t->s2[i] + l));
        v_store(t->s2[i] + l, v_zero());
    }
}

static void argmax_reduce(const struct cvyi_pool *p, struct cvyi_sums *t, size_t start,
                          const float *g, const uint8_t *at, const float *picked, size_t first,
                          float m)
{
    const vf mean = v_set1(m);
    const size_t covered = p->ow * p->kw < p->iw ? p->ow * p->kw : p->iw;
    for (size_t l = 0; l < 16; l += VL)
        for (size_t c = 0; c < p->iw;) {
            size_t left = CVYI_SUM_BLOCK - (start + c) % CVYI_SUM_BLOCK,
                   end = p->iw - c < left ? p->iw : c + left;
            size_t stop = end < covered ? end : covered;
            if (p->kw == 2 && c % 2 == 0 && c + 4 <= stop)
                c = argmax_pairs(t, start, c, stop, g, at, picked, first, mean, l);
            for (; c < stop; c++)
                argmax_pixel(t, start + c, g, at, picked, c / p->kw,
                             vi_set1((int)(first + c % p->kw)), mean, l);
            c = end;
            if ((start + c) % CVYI_SUM_BLOCK == 0) end_block(t, l);
        }
}

V_FN vf window_sum(const float *const *rows, size_t c0, size_t kw, size_t n_rows, size_t l)
{
    vf s = v_zero();
    WINDOW(c0, kw, n_rows)
    s = v_add(s, v_load(rows[r] + o));
    return s;
}

/* A large window: chains of CVYI_POOL_CHAIN pixels of a row, added up in double. */
V_FN vf window_mean(const float *const *rows, size_t c0, size_t kw, size_t n_rows, float inv,
                    size_t l)
{
    vd sum = vd_set1(0);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = 0; c < kw; c += CVYI_POOL_CHAIN) {
            const float *x = rows[r] + (c0 + c) * 16 + l;
            vf s = v_zero();
            for (size_t i = 0, n = kw - c < CVYI_POOL_CHAIN ? kw - c : CVYI_POOL_CHAIN; i < n; i++)
                s = v_add(s, v_load(x + i * 16));
            sum = vd_add(sum, vd_from(s));
        }
    return v_from_vd(vd_mul(sum, vd_set1((double)inv)));
}

static void avg_large(const struct cvyi_pool *p, float *y, const float *const *rows, size_t n_rows,
                      const float *inv)
{
#define CELL(q, c0, kw, nr)             \
    for (size_t l = 0; l < 16; l += VL) \
    v_store(y + (q)*16 + l, window_mean(rows, c0, kw, nr, inv[q], l))
    POOL_CELLS(CELL)
#undef CELL
}

static void avg_small(const struct cvyi_pool *p, float *y, const float *const *rows, size_t n_rows,
                      const float *inv)
{
#define CELL(q, c0, kw, nr)             \
    for (size_t l = 0; l < 16; l += VL) \
    v_store(y + (q)*16 + l, v_mul(window_sum(rows, c0, kw, nr, l), v_set1(inv[q])))
    POOL_COLUMNS(CELL)
#undef CELL
}

static void pool_avg(const struct cvyi_pool *p, float *y, const float *const *rows, size_t n_rows,
                     const float *inv)
{
    (n_rows * p->kw > CVYI_POOL_CHAIN ? avg_large : avg_small)(p, y, rows, n_rows, inv);
}

V_FN void avg_bwd_cell(bool wide, void *const *dx, vf d, size_t c0, size_t kw, size_t n_rows,
                       size_t l)
{
    WINDOW(c0, kw, n_rows)
    give(wide, dx, r, o, d);
}

static void pool_avg_bwd(const struct cvyi_pool *p, float *const *dx, const float *dy,
                         size_t n_rows, const float *inv)
{
#define CELL(q, c0, kw, nr)                                                                        \
    for (size_t l = 0; l < 16; l += VL)                                                            \
    avg_bwd_cell(false, (void *const *)dx, v_mul(v_load(dy + (q)*16 + l), v_set1(inv[q])), c0, kw, \
                 nr, l)
    POOL_COLUMNS(CELL)
#undef CELL
}

static void pool_avg_bwd_wide(const struct cvyi_pool *p, double *const *dx, const float *dy,
                              size_t n_rows, const float *inv)
{
#define CELL(q, c0, kw, nr)                                                                       \
    for (size_t l = 0; l < 16; l += VL)                                                           \
    avg_bwd_cell(true, (void *const *)dx, v_mul(v_load(dy + (q)*16 + l), v_set1(inv[q])), c0, kw, \
                 nr, l)
    POOL_CELLS(CELL)
#undef CELL
}

/* ------------------------------------------------------------------------------------ the table */

extern const struct cvyi_pool_kernels KFN(pool);
const struct cvyi_pool_kernels KFN(pool) = {
    .pool_max = pool_max,
    .pool_max_bwd = pool_max_bwd,
    .pool_argmax = pool_argmax,
    .argmax_bwd = argmax_bwd,
    .argmax_reduce = argmax_reduce,
    .argmax_bn_dx = argmax_bn_dx,
    .pool_avg = pool_avg,
    .pool_avg_bwd = pool_avg_bwd,
    .pool_max_bwd_wide = pool_max_bwd_wide,
    .pool_avg_bwd_wide = pool_avg_bwd_wide,
};
