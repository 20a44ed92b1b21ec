/* mac: gathered taps times weights into a register tile of mo output channels x np registers (a
 * pixel is V_PARTS registers). It is convolution, its data gradient and fully connected layers; it
 * knows offsets, not images. */
#include "kernels.h"
#include "repeat.h"
#include "vec.h"

/* The macros are pieces of one function (GROUP) and use its names: m, x, w, bias, y as in
 * kernels.h; r, the first of the np registers of pixels; n_taps, n_oc, y_oc, copied from m; and in
 * a tap xo and wt, where it finds x and w. They make a<o>_<p>, the tile's accumulators: named
 * variables, since a compiler may keep an array in memory. A number in a name stands for an output
 * channel o or a register p of the tile. */
#define ACC_P(p, o) vf a##o##_##p = v_zero();
#define ACC(o, np) RB(np, ACC_P, o)

#define X_POINTER(p, _) \
    const float *x##p = x + m->x_pix[(r + p) / V_PARTS] + (r + p) % V_PARTS * VL;

/* The smaller side of the tile is loaded, the other streams past it. */
#define HOLD_X(p, _)             \
    vf v##p = v_load(x##p + xo); \
    V_KEEP(v##p);
#define FMA_P(p, o) a##o##_##p = v_fma(b, v##p, a##o##_##p);
#define STREAM_W(o, np)        \
    {                          \
        vf b = v_set1(wt[o]);  \
        if (np > 1) V_KEEP(b); \
        RB(np, FMA_P, o)       \
    }

#define HOLD_W(o, _)         \
    vf b##o = v_set1(wt[o]); \
    V_KEEP(b##o);
#define FMA_O(o, p) a##o##_##p = v_fma(b##o, v, a##o##_##p);
#define STREAM_X(p, mo)           \
    {                             \
        vf v = v_load(x##p + xo); \
        if (mo > 1) V_KEEP(v);    \
        RA(mo, FMA_O, p)          \
    }

#define Y_POINTER(p, _) float *y##p = y + m->y_pix[(r + p) / V_PARTS] + (r + p) % V_PARTS * VL;
#define ADD_Y_P(p, o) a##o##_##p = v_add(v_load(y##p + o * y_oc), a##o##_##p);
#define ADD_Y(o, np)       \
    if (o < n_oc) {        \
        RB(np, ADD_Y_P, o) \
    }
#define ADD_BIAS_P(p, o) a##o##_##p = v_add(a##o##_##p, b);
#define ADD_BIAS(o, np)         \
    if (o < n_oc) {             \
        vf b = v_set1(bias[o]); \
        RB(np, ADD_BIAS_P, o)   \
    }
#define STORE_P(p, o) v_store(y##p + o * y_oc, a##o##_##p);
#define STORE(o, np)       \
    if (o < n_oc) {        \
        RB(np, STORE_P, o) \
    }

/* One tap: xo and wt are where it finds x and w. Weights of large layers come from memory, page by
 * page, at each of which a prefetcher begins anew: so they are asked for. The barrier keeps loads
 * beside the FMAs that use them. */
#define TAP(np, mo)          \
    if (np <= mo) {          \
        RB(np, HOLD_X, )     \
        RA(mo, STREAM_W, np) \
    } else {                 \
        RA(mo, HOLD_W, )     \
        RB(np, STREAM_X, mo) \
    }                        \
    V_BARRIER();

/* Registers [r, end), np at a time. */
#define GROUP(np, mo)                                                                     \
    static void mac_##mo##_##np(const struct cvyi_mac *m, const float *x, const float *w, \
                                const float *bias, float *y, size_t r, size_t end)        \
    {                                                                                     \
        const size_t n_taps = m->n_taps, n_oc = m->n_oc, y_oc = m->y_oc;                  \
        for (; r < end; r += np) {                                                        \
            RA(mo, ACC, np)                                                               \
            RB(np, X_POINTER, )                                                           \
            if (n_taps == 1) {                                                            \
                ptrdiff_t xo = m->x_tap[0];                                               \
                const float *wt = w + m->w_tap[0];                                        \
                const size_t x_ic = m->x_ic, w_ic = m->w_ic;                              \
                for (size_t i = m->n_ic; i > 0; i--) {                                    \
                    V_ASK(wt + V_AHEAD);                                                  \
                    TAP(np, mo)                                                           \
                    xo += (ptrdiff_t)x_ic;                                                \
                    wt += w_ic;                                                           \
                }                                                                         \
            } else {                                                                      \
                const float *wi = w;                                                      \
                ptrdiff_t xi = 0;                                                         \
                for (size_t i = m->n_ic; i > 0; i--) {                                    \
                    const int32_t *x_tap = m->x_tap, *w_tap = m->w_tap;                   \
                    for (size_t t = n_taps; t > 0; t--) {                                 \
                        const ptrdiff_t xo = xi + *x_tap++;                               \
                        const float *wt = wi + *w_tap++;                                  \
                        V_ASK(wt + V_AHEAD);                                              \
                        TAP(np, mo)                                                       \
                    }                                                                     \
                    xi += (ptrdiff_t)m->x_ic;                                             \
                    wi += m->w_ic;                                                        \
                }                                                                         \
            }                                                                             \
            RB(np, Y_POINTER, )                                                           \
            if (m->accumulate) {                                                          \
                RA(mo, ADD_Y, np)                                                         \
            } else if (bias) {                                                            \
                RA(mo, ADD_BIAS, np)                                                      \
            }                                                                             \
            RA(mo, STORE, np)                                                             \
        }                                                                                 \
    }

typedef void mac_group(const struct cvyi_mac *, const float *, const float *, const float *,
                       float *, size_t, size_t);

#define NAME(np, mo) mac_##mo##_##np,

/* Full groups first; what is left is halved, so that no group is much narrower than the others. */
#define TILE(mo, np, percent)                                                             \
    DOWN(np, GROUP, mo)                                                                   \
    static void mac_##mo##x##np(const struct cvyi_mac *m, const float *x, const float *w, \
                                const float *bias, float *y)                              \
    {                                                                                     \
        static mac_group *const group[] = { DOWN(np, NAME, mo) };                         \
        const size_t n = m->n_pix * V_PARTS;                                              \
        size_t full = n / np;                                                             \
        if (full > 0 && n % np > 0) full--;                                               \
        size_t r = full * np;                                                             \
        if (full > 0) group[np - 1](m, x, w, bias, y, 0, r);                              \
        while (r < n) {                                                                   \
            const size_t step = n - r > np ? (n - r + 1) / 2 : n - r;                     \
            group[step - 1](m, x, w, bias, y, r, r + step);                               \
            r += step;                                                                    \
        }                                                                                 \
    }

V_MAC_TILES(TILE)

#define ENTRY(mo, np, percent) \
    { mo, np < V_PARTS ? 1 : np / V_PARTS, np, percent, mac_##mo##x##np },
const struct cvyi_mac_kernels KFN(mac) = { { V_MAC_TILES(ENTRY) }, V_PARTS };
