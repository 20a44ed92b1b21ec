/* Weight gradients. wgrad sums over pixels with the images kept apart, and folds the lanes once at the end; outer sums
 * over images with output channels in the lanes. Neither knows what the sums are for. */
#include "kernels.h"
#include "repeat.h"
#include "vec.h"

/* ------------------------------------------------------------------------------------------------ wgrad */

#define ACC_I(i, o) vf a##o##_##i = v_zero();
#define ACC(o, ni) RB(ni, ACC_I, o)
#define X_POINTER(i, _) const float *x##i = x[i] + part;

/* The smaller side of the tile is loaded, the other streams past it. */
#define HOLD_DY(o, _) vf d##o = v_load(dyq + o * dy_oc); V_KEEP(d##o);
#define FMA_O(o, i) a##o##_##i = v_fma(d##o, v, a##o##_##i);
#define STREAM_X(i, no) { vf v = v_load(x##i + xq); if (no > 1) V_KEEP(v); RA(no, FMA_O, i) }

#define HOLD_X(i, _) vf v##i = v_load(x##i + xq); V_KEEP(v##i);
#define FMA_I(i, o) a##o##_##i = v_fma(d, v##i, a##o##_##i);
#define STREAM_DY(o, ni) { vf d = v_load(dyq + o * dy_oc); if (ni > 1) V_KEEP(d); RB(ni, FMA_I, o) }

#define STORE_I(i, o, ni) v_store(sum + 16 * (o * ni + i) + part, a##o##_##i);
#define STORE(o, ni) RB(ni, STORE_I, o, ni)

/* sum[o*ni + i][lane], one register of the pixel after the other. */
#define WGRAD(ni, no)                                                                                       \
    static void wgrad_##no##_##ni(const struct cvyi_wgrad *g, const float *dy, const float *const *x, float *sum) \
    {                                                                                                       \
        const ptrdiff_t dy_oc = g->dy_oc, dy_col = g->dy_col, x_col = g->x_col;                             \
        for (int part = 0; part < 16; part += VL) {                                                         \
            RB(ni, X_POINTER, )                                                                             \
            RA(no, ACC, ni)                                                                                 \
            const float *dyr = dy + part;                                                                   \
            ptrdiff_t xr = 0;                                                                               \
            for (size_t r = g->n_rows; r > 0; r--) {                                                        \
                const float *dyq = dyr;                                                                     \
                ptrdiff_t xq = xr;                                                                          \
                for (size_t q = g->n_cols; q > 0; q--) {                                                    \
                    if (no <= ni) {                                                                         \
                        RA(no, HOLD_DY, )                                                                   \
                        RB(ni, STREAM_X, no)                                                                \
                    } else {                                                                                \
                        RB(ni, HOLD_X, )                                                                    \
                        RA(no, STREAM_DY, ni)                                                               \
                    }                                                                                       \
                    dyq += dy_col;                                                                          \
                    xq += x_col;                                                                            \
                    V_BARRIER();                                                                            \
                }                                                                                           \
                dyr += g->dy_row;                                                                           \
                xr += g->x_row;                                                                             \
            }                                                                                               \
            RA(no, STORE, ni)                                                                               \
        }                                                                                                   \
    }

typedef void wgrad_tile(const struct cvyi_wgrad *, const float *, const float *const *, float *);

#define WGRAD_ROW(no, _) DOWN(V_WGRAD_MI, WGRAD, no)
#define WGRAD_NAME(ni, no) wgrad_##no##_##ni,
#define WGRAD_NAMES(no, _) { DOWN(V_WGRAD_MI, WGRAD_NAME, no) },
ROWS(V_WGRAD_MO, WGRAD_ROW, )

/* The next step of a run of `left` by at most `most`: what is left at the end is halved, not cut to a sliver. */
static size_t step_of(size_t left, size_t most)
{
    return left <= most ? left : left < 2 * most ? (left + 1) / 2 : most;
}

static void wgrad(const struct cvyi_wgrad *g, const float *dy, const float *const *x, const ptrdiff_t *dw_i, float *dw)
{
    static wgrad_tile *const tile[][V_WGRAD_MI] = { ROWS(V_WGRAD_MO, WGRAD_NAMES, ) };
    enum { N = V_WGRAD_MO * V_WGRAD_MI, N4 = (N + 3) / 4 * 4 };
    _Alignas(64) float sum[N4 * 16];
    float fold[N4];
    for (size_t i = 0, ni; i < g->n_i; i += ni) {
        ni = step_of(g->n_i - i, V_WGRAD_MI);
        for (size_t o = 0, no; o < g->n_oc; o += no) {
            no = step_of(g->n_oc - o, V_WGRAD_MO);
            const size_t n = no * ni, n4 = (n + 3) / 4 * 4;
            tile[no - 1][ni - 1](g, dy + (ptrdiff_t)o * g->dy_oc, x + i, sum);
            memset(sum + 16 * n, 0, (n4 - n) * 16 * sizeof *sum);
            for (size_t k = 0; k < n4; k += 4)
                v_fold4(fold + k, sum + 16 * k);
            for (size_t a = 0; a < no; a++)
                for (size_t b = 0; b < ni; b++) {
                    float *d = dw + (ptrdiff_t)(o + a) * g->dw_oc + dw_i[i + b];
                    *d = g->accumulate ? *d + fold[a * ni + b] : fold[a * ni + b];
                }
        }
    }
}

/* ------------------------------------------------------------------------------------------------ outer */

#define O_HOLD(o, _) vf d##o = v_load(d + o * VL); V_KEEP(d##o);
#define O_FMA(o, i) a##o##_##i = v_fma(d##o, v, a##o##_##i);
/* Every third i has a pointer, so that addresses are pointer + {0, 1, 2} strides. */
#define O_POINTER(i, _) const float *x##i = x + i / 3 * 3 * x_i;
#define O_STREAM(i, no) { vf v = v_set1(x##i[l + i % 3 * x_i]); if (no > 1) V_KEEP(v); RA(no, O_FMA, i) }
#define O_ADD_O(o, i) a##o##_##i = v_add(v_load(dw + i * dw_i + o * VL), a##o##_##i);
#define O_ADD(i, no) RA(no, O_ADD_O, i)
#define O_STORE_O(o, i) v_store(dw + i * dw_i + o * VL, a##o##_##i);
#define O_STORE(i, no) RA(no, O_STORE_O, i)

#define OUTER(ni, no)                                                                                       \
    static void outer_##no##_##ni(const struct cvyi_outer *g, const float *d, const float *x, float *dw)    \
    {                                                                                                       \
        const size_t x_i = g->x_i, dw_i = g->dw_i;                                                          \
        RA(no, ACC, ni)                                                                                     \
        for (size_t b = g->n_blocks; b > 0; b--) {                                                          \
            RB(ni, O_POINTER, )                                                                             \
            for (size_t l = 0; l < 16; l++) {                                                               \
                RA(no, O_HOLD, )                                                                            \
                RB(ni, O_STREAM, no)                                                                        \
                d += g->dyt_n;                                                                              \
                V_BARRIER();                                                                                \
            }                                                                                               \
            x += g->x_block;                                                                                \
        }                                                                                                   \
        if (g->accumulate) {                                                                                \
            RB(ni, O_ADD, no)                                                                               \
        }                                                                                                   \
        RB(ni, O_STORE, no)                                                                                 \
    }

typedef void outer_tile(const struct cvyi_outer *, const float *, const float *, float *);

#define OUTER_ROW(no, _) DOWN(V_OUTER_I, OUTER, no)
#define OUTER_NAME(ni, no) outer_##no##_##ni,
#define OUTER_NAMES(no, _) { DOWN(V_OUTER_I, OUTER_NAME, no) },
ROWS(V_OUTER_O, OUTER_ROW, )

static void outer(const struct cvyi_outer *g, const float *dyt, const float *x, float *dw)
{
    static outer_tile *const tile[][V_OUTER_I] = { ROWS(V_OUTER_O, OUTER_NAMES, ) };
    const size_t n_o = g->n_oc / VL;
    for (size_t o = 0, no; o < n_o; o += no) {
        no = step_of(n_o - o, V_OUTER_O);
        for (size_t i = 0, ni; i < g->n_i; i += ni) {
            ni = step_of(g->n_i - i, V_OUTER_I);
            tile[no - 1][ni - 1](g, dyt + o * VL, x + i * g->x_i, dw + i * g->dw_i + o * VL);
        }
    }
}

const struct cvyi_wgrad_kernels KFN(wgrad) = { wgrad, outer, V_WGRAD_MO, V_WGRAD_MI };
