/* Lane kernels: sixteen images to pixels of sixteen lanes, and back.
 *
 * Blocks of VL images by VL pixels are transposed in registers. Images, and rows that are written
 * or read across, often lie a multiple of 4 096 bytes apart, and all of them then share one set of
 * a cache: so no more than VL of them are walked at a time, and a cache line that was touched is
 * finished, before the next VL. Written once over vec.h; each ISA's object exports one table,
 * KFN(lanes). Knows nothing of channels, shapes or threads. */
#include "kernels.h"
#include "act_tmpl.h"

#include <assert.h>

#define EACH_VL V_UNROLL for (unsigned k = 0; k < VL; k++)

enum { RUN = 64 }; /* pixels, or columns, that VL rows are walked along: four lines of floats */

enum source { U8, F32, F32_COPY }; /* COPY: without scale and shift */

/* Pixels [p, p + np) of the images l .. l + VL - 1 into dst; np <= VL. */
V_FN void gather_block(enum source kind, float *dst, const void *const *src, size_t p, int np,
                       unsigned l, unsigned n_lanes, vf scale, const float *shift)
{
    vf r[VL], b = v_zero();
    if (kind != F32_COPY) b = np == VL ? v_load(shift + p) : v_load_part(shift + p, np);
    EACH_VL {
        if (l + k >= n_lanes) {
            r[k] = v_zero();
            continue;
        }
        if (kind != U8) {
            const float *x = (const float *)src[l + k] + p;
            r[k] = np == VL ? v_load(x) : v_load_part(x, np);
        } else {
            const uint8_t *x = (const uint8_t *)src[l + k] + p;
            uint8_t t[VL] = { 0 };
            if (np < VL) x = memcpy(t, x, (size_t)np);
            r[k] = v_cvt_u8(x);
        }
        if (kind != F32_COPY) r[k] = v_fma(r[k], scale, b);
    }
    v_transpose(r);
    EACH_VL {
        if (k < (unsigned)np) v_store(dst + (p + (size_t)k) * 16 + l, r[k]);
    }
}

/* Pixels [p, p + RUN) of an image. */
V_FN void ask_run(enum source kind, const void *src, size_t p)
{
    const size_t size = kind == U8 ? 1 : sizeof(float);
    for (size_t i = 0; i < RUN * size; i += 64) V_ASK((const char *)src + p * size + i);
}

V_FN void gather(enum source kind, float *dst, const void *const *src, size_t n, unsigned n_lanes,
                 float scale, const float *shift)
{
    assert(n_lanes >= 1 && n_lanes <= 16);
    vf a = v_set1(scale);
    size_t p = 0;
    if (n_lanes == 16)
        for (size_t end; p + VL <= n; p = end) {
            end = p + RUN <= n ? p + RUN : p + (n - p) / VL * VL;
            for (unsigned l = 0; l < 16; l++) ask_run(kind, src[l], end);
            for (unsigned l = 0; l < 16; l += VL)
                for (size_t q = p; q < end; q += VL) {
                    for (size_t k = 0; l == 0 && k < VL; k++) V_ASK(dst + (q + RUN + k) * 16);
                    gather_block(kind, dst, src, q, VL, l, 16, a, shift);
                }
        }
    for (; p < n; p += VL)
        for (unsigned l = 0; l < 16; l += VL)
            gather_block(kind, dst, src, p, n - p < VL ? (int)(n - p) : VL, l, n_lanes, a, shift);
}

static void ingest_u8(float *dst, const uint8_t *const *src, size_t n, unsigned n_lanes,
                      float scale, const float *shift)
{
    gather(U8, dst, (const void *const *)src, n, n_lanes, scale, shift);
}

static void ingest_f32(float *dst, const float *const *src, size_t n, unsigned n_lanes, float scale,
                       const float *shift)
{
    gather(F32, dst, (const void *const *)src, n, n_lanes, scale, shift);
}

static void to_lanes(float *dst, const float *const *src, size_t n, unsigned n_lanes)
{
    gather(F32_COPY, dst, (const void *const *)src, n, n_lanes, 1, NULL);
}

/* Rows i < ni <= VL of VL floats, `ss` apart, become VL columns; rows from ni on are zero. */
V_FN void load_rows(vf r[VL], const float *src, size_t ss, int ni)
{
    EACH_VL {
        if (k < (unsigned)ni) r[k] = v_load(src + (size_t)k * ss);
        else r[k] = v_zero();
    }
    v_transpose(r);
}

/* Pixels [p, p + np) of images l … l + VL - 1 from src; np <= VL. */
V_FN void scatter_block(float *const *dst, const float *src, size_t p, int np, unsigned l,
                        unsigned n_lanes)
{
    vf r[VL];
    if (np == VL && n_lanes - l >= VL) {
        load_rows(r, src + p * 16 + l, 16, VL);
        EACH_VL
            v_store(dst[l + k] + p, r[k]);
    } else {
        load_rows(r, src + p * 16 + l, 16, np);
        EACH_VL {
            if (l + k < n_lanes) v_store_part(dst[l + k] + p, r[k], np);
        }
    }
}

static void from_lanes(float *const *dst, const float *src, size_t n, unsigned n_lanes)
{
    assert(n_lanes <= 16);
    for (size_t p = 0, end; p < n; p = end) {
        end = n - p < RUN ? n : p + RUN;
        for (unsigned l = 0; l < n_lanes; l += VL)
            for (size_t q = p; q < end; q += VL)
                scatter_block(dst, src, q, end - q < VL ? (int)(end - q) : VL, l, n_lanes);
    }
}

/* Columns [o, o + VL) for lanes l … l + VL - 1. */
V_FN void transpose_block(float *dst, size_t dst_n, const float *src, size_t src_o, size_t n,
                          size_t o, size_t l)
{
    vf r[VL];
    if (o + VL <= n) load_rows(r, src + o * src_o + l, src_o, VL);
    else load_rows(r, src + o * src_o + l, src_o, o < n ? (int)(n - o) : 0);
    EACH_VL
        v_store(dst + (l + (size_t)k) * dst_n + o, r[k]);
}

static void transpose(float *dst, size_t dst_n, const float *src, size_t src_o, size_t n,
                      size_t n_pad)
{
    assert(n_pad % 16 == 0 && n <= n_pad && n_pad <= dst_n);
    for (size_t o = 0, end; o < n_pad; o = end) {
        end = n_pad - o < RUN ? n_pad : o + RUN;
        for (size_t l = 0; l < 16; l += VL)
            for (size_t q = o; q < end; q += VL) transpose_block(dst, dst_n, src, src_o, n, q, l);
    }
}

/* What becomes of a register on the way into a panel. */
enum { PANEL_COPY = -1 };
V_FN vf panel_value(int act, vf v, vf m, vf a, vf b, vf alpha)
{
    if (act != PANEL_COPY) v = v_fma(a, v_sub(v, m), b);
#define K_PANEL(NAME, name) \
    case CVYI_ACT_##NAME: value_##name(1, &v, alpha); break;
    switch (act) {
        CVYI_CHEAP_ACTS(K_PANEL)
    default: break;
    }
    return v;
}

/* Channel by channel and tap by tap, so that as much as there is of a row of pixels is read at a
 * time. Channels lie pages apart, which no prefetcher foresees: a few ahead are asked for. */
enum { PANEL_AHEAD = 4 };
V_FN void lay_panel(int act, float *panel, const float *x, const struct cvyi_panel *p)
{
    const size_t np = p->np, n_pix = p->n_pix, tile = p->n_ic * p->n_taps * np * 16;
    const vf alpha = v_set1(p->alpha);
    for (size_t i = 0; i < p->n_ic; i++, x += p->x_ic) {
        const struct cvyi_affine c = act == PANEL_COPY ? (struct cvyi_affine){ 0 } : p->affine[i];
        const vf m = v_set1(c.m), a = v_set1(c.a), b = v_set1(c.b);
        const ptrdiff_t ahead = i + PANEL_AHEAD < p->n_ic ? PANEL_AHEAD * (ptrdiff_t)p->x_ic : 0;
        for (size_t t = 0; t < p->n_taps; t++, panel += np * 16) {
            const float *from = x + p->x_tap[t];
            float *to = panel;
            for (size_t first = 0; first < n_pix; first += np, to += tile) {
                const size_t n = n_pix - first < np ? n_pix - first : np;
                for (size_t q = 0; q < n; q++) {
                    const float *pixel = from + p->x_pix[first + q];
                    V_ASK(pixel + ahead);
                    for (size_t l = 0; l < 16; l += VL)
                        v_store(to + q * 16 + l,
                                panel_value(act, v_load(pixel + l), m, a, b, alpha));
                }
            }
        }
    }
}

static void panel(float *panel, const float *x, const struct cvyi_panel *p)
{
#define K_LAY(NAME, name) \
    case CVYI_ACT_##NAME: lay_panel(CVYI_ACT_##NAME, panel, x, p); return;
    if (!p->affine) {
        lay_panel(PANEL_COPY, panel, x, p);
        return;
    }
    switch (p->act) {
        CVYI_CHEAP_ACTS(K_LAY)
    default: assert(!"an activation of panels");
    }
}

extern const struct cvyi_lanes_kernels KFN(lanes);
const struct cvyi_lanes_kernels KFN(lanes) = {
    .ingest_u8 = ingest_u8,
    .ingest_f32 = ingest_f32,
    .to_lanes = to_lanes,
    .from_lanes = from_lanes,
    .transpose = transpose,
    .panel = panel,
};
