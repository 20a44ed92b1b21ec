/* Weight gradients. wgrad sums over pixels with the images kept apart, and folds the lanes once at
 * the end; outer sums over images with output channels in the lanes. Neither knows what the sums
 * are for. */
#include "kernels.h"
#include "repeat.h"
#include "vec.h"

/* ---------------------------------------------------------------------------------------- wgrad */

#define ACC_I(i, o) vf a##o##_##i = v_zero();
#define ACC(o, ni) RB(ni, ACC_I, o)
#define X_POINTER(i, _) const float *x##i = x[i] + part;

/* The smaller side of the tile is loaded, the other streams past it. */
#define HOLD_DY(o, _)                  \
    vf d##o = v_load(dyq + o * dy_oc); \
    V_KEEP(d##o);
#define FMA_O(o, i) a##o##_##i = v_fma(d##o, v, a##o##_##i);
#define STREAM_X(i, no)           \
    {                             \
        vf v = v_load(x##i + xq); \
        if (no > 1) V_KEEP(v);    \
        RA(no, FMA_O, i)          \
    }

#define HOLD_X(i, _)             \
    vf v##i = v_load(x##i + xq); \
    V_KEEP(v##i);
#define FMA_I(i, o) a##o##_##i = v_fma(d, v##i, a##o##_##i);
#define STREAM_DY(o, ni)                \
    {                                   \
        vf d = v_load(dyq + o * dy_oc); \
        if (ni > 1) V_KEEP(d);          \
        RB(ni, FMA_I, o)                \
    }

#define LOAD_I(i, o, ni) a##o##_##i = v_load(sum + 16 * (o * ni + i) + part);
#define LOAD(o, ni) RB(ni, LOAD_I, o, ni)
#define STORE_I(i, o, ni) v_store(sum + 16 * (o * ni + i) + part, a##o##_##i);
#define STORE(o, ni) RB(ni, STORE_I, o, ni)

/* Adds rows [row, row_end) to sum[o*ni + i][lane], one register of the pixel after the other. */
#define WGRAD(ni, no)                                                                            \
    static void wgrad_##no##_##ni(const struct cvyi_wgrad *g, const float *dy,                   \
                                  const float *const *x, float *sum, size_t row, size_t row_end) \
    {                                                                                            \
        const ptrdiff_t dy_oc = g->dy_oc, dy_col = g->dy_col, x_col = g->x_col;                  \
        for (int part = 0; part < 16; part += VL) {                                              \
            RB(ni, X_POINTER, )                                                                  \
            RA(no, ACC, ni)                                                                      \
            if (row > 0) {                                                                       \
                RA(no, LOAD, ni)                                                                 \
            }                                                                                    \
            const float *dyr = dy + (ptrdiff_t)row * g->dy_row + part;                           \
            ptrdiff_t xr = (ptrdiff_t)row * g->x_row;                                            \
            for (size_t r = row; r < row_end; r++) {                                             \
                const float *dyq = dyr;                                                          \
                ptrdiff_t xq = xr;                                                               \
                for (size_t q = g->n_cols; q > 0; q--) {                                         \
                    if (no <= ni) {                                                              \
                        RA(no, HOLD_DY, )                                                        \
                        RB(ni, STREAM_X, no)                                                     \
                    } else {                                                                     \
                        RB(ni, HOLD_X, )                                                         \
                        RA(no, STREAM_DY, ni)                                                    \
                    }                                                                            \
                    dyq += dy_col;                                                               \
                    xq += x_col;                                                                 \
                    V_BARRIER();                                                                 \
                }                                                                                \
                dyr += g->dy_row;                                                                \
                xr += g->x_row;                                                                  \
            }                                                                                    \
            RA(no, STORE, ni)                                                                    \
        }                                                                                        \
    }

typedef void wgrad_tile(const struct cvyi_wgrad *, const float *, const float *const *, float *,
                        size_t, size_t);

#define WGRAD_NAME(ni, no) wgrad_##no##_##ni,
#define WGRAD_TILE(no, mi) \
    DOWN(mi, WGRAD, no)    \
    static wgrad_tile *const wgrad_tiles_##no[] = { DOWN(mi, WGRAD_NAME, no) };
#define WGRAD_ENTRY(no, mi) { mi, wgrad_tiles_##no },
V_WGRAD_TILES(WGRAD_TILE)

/* The next step through `left` by at most `most`: even steps instead of a sliver at the end. */
static size_t step_of(size_t left, size_t most)
{
    const size_t steps = (left + most - 1) / most;
    return steps ? (left + steps - 1) / steps : 0;
}

/* Room for the sums of a tile, whole fours. */
enum { SUMS = 32 };
#define WGRAD_FITS(no, mi) _Static_assert((no) * (mi) <= SUMS, "a tile of wgrad has more sums");
V_WGRAD_TILES(WGRAD_FITS)

/* The lanes of a tile's n sums are folded and put into dw. */
static void put(const struct cvyi_wgrad *g, float *sum, size_t no, size_t ni, const ptrdiff_t *dw_i,
                float *dw)
{
    float fold[SUMS];
    const size_t n = no * ni;
    for (size_t k = n; k % 4 > 0; k++) memset(sum + 16 * k, 0, 16 * sizeof *sum);
    for (size_t k = 0; k < n; k += 4) v_fold4(fold + k, sum + 16 * k);
    for (size_t a = 0, k = 0; a < no; a++, dw += g->dw_oc)
        for (size_t b = 0; b < ni; b++, k++)
            dw[dw_i[b]] = g->accumulate ? dw[dw_i[b]] + fold[k] : fold[k];
}

/* Tiles of output channels, runs of N_RUN tiles of i, and chunks of rows whose dy fits L1 while the
 * run passes over it. Sums wait in memory between chunks: to sum in rows' order is the contract. */
enum { N_RUN = 8, L1_PIXELS = 320 };

static void wgrad(const struct cvyi_wgrad *g, const float *dy, const float *const *x,
                  const ptrdiff_t *dw_i, float *dw)
{
    static const struct {
        size_t mi;
        wgrad_tile *const *tile;
    } by_no[] = { V_WGRAD_TILES(WGRAD_ENTRY) };
    enum { MO = sizeof by_no / sizeof *by_no };
    _Alignas(64) float sum[N_RUN * SUMS * 16];
    for (size_t o = 0, no; o < g->n_oc;
         o += no, dy += (ptrdiff_t)no * g->dy_oc, dw += (ptrdiff_t)no * g->dw_oc) {
        no = step_of(g->n_oc - o, MO);
        const size_t mi = by_no[no - 1].mi, fit = L1_PIXELS / (no * g->n_cols + 1);
        for (size_t i = 0, end; i < g->n_i; i = end) {
            end = g->n_i - i > N_RUN * mi ? i + N_RUN * mi : g->n_i;
            size_t row = 0, to;
            do {
                float *at = sum;
                to = row + step_of(g->n_rows - row, fit ? fit : 1);
                for (size_t k = i, ni; k < end; k += ni, at += SUMS * 16) {
                    ni = step_of(end - k, mi);
                    by_no[no - 1].tile[ni - 1](g, dy, x + k, at, row, to);
                }
                row = to;
            } while (row < g->n_rows);
            float *at = sum;
            for (size_t k = i, ni; k < end; k += ni, at += SUMS * 16) {
                ni = step_of(end - k, mi);
                put(g, at, no, ni, dw_i + k, dw);
            }
        }
    }
}

/* ---------------------------------------------------------------------------------------- outer */

#define O_HOLD(o, _)              \
    vf d##o = v_load(d + o * VL); \
    V_KEEP(d##o);
#define O_FMA(o, i) a##o##_##i = v_fma(d##o, v, a##o##_##i);
/* Every third i has a pointer, so that addresses are pointer + {0, 1, 2} strides. */
#define O_POINTER(i, _) const float *x##i = x + i / 3 * 3 * x_i;
#define O_STREAM(i, no, l)                    \
    {                                         \
        vf v = v_set1(x##i[l + i % 3 * x_i]); \
        if (no > 1) V_KEEP(v);                \
        RA(no, O_FMA, i)                      \
    }
/* Images go in pairs: what a loop does beside its FMAs takes slots from them. Not a single column
 * of d, which waits for its few chains, nor where Clang has sixteen registers: it gives
 * accumulators others in each image of a pair, and stores what it then has too many of. Images one
 * by one read their step anew: from a copy, GCC 12 made a tenth less of a single column. */
#if defined __clang__ && VL < 16
enum { PAIRS = 0 };
#else
enum { PAIRS = 1 };
#endif
#define O_IMAGE(ni, no, l, step) \
    {                            \
        RA(no, O_HOLD, )         \
        RB(ni, O_STREAM, no, l)  \
        d += step;               \
        V_BARRIER();             \
    }
#define O_ASK(i, _) V_ASK_L2(ask + i * ask_i);
#define O_ADD_O(o, i) a##o##_##i = v_add(v_load(dw + i * dw_i + o * VL), a##o##_##i);
#define O_ADD(i, no) RA(no, O_ADD_O, i)
#define O_STORE_O(o, i) v_store(dw + i * dw_i + o * VL, a##o##_##i);
#define O_STORE(i, no) RA(no, O_STORE_O, i)

#define OUTER(ni, no)                                                                         \
    static void outer_##no##_##ni(const struct cvyi_outer *g, const float *d, const float *x, \
                                  const float *ask, float *dw)                                \
    {                                                                                         \
        const size_t x_i = g->x_i, ask_i = g->ask_i, dw_i = g->dw_i, dyt_n = g->dyt_n;        \
        RA(no, ACC, ni)                                                                       \
        for (size_t left = g->n_images, n; left > 0; left -= n) {                             \
            n = left < 16 ? left : 16;                                                        \
            RB(ni, O_POINTER, )                                                               \
            size_t l = 0;                                                                     \
            for (; PAIRS && no > 1 && n == 16 && l < 16; l += 2) {                            \
                O_IMAGE(ni, no, l, dyt_n)                                                     \
                O_IMAGE(ni, no, (l + 1), dyt_n)                                               \
            }                                                                                 \
            for (; l < n; l++) O_IMAGE(ni, no, l, g->dyt_n)                                   \
            x += g->x_block;                                                                  \
            if (ask) {                                                                        \
                RB(ni, O_ASK, )                                                               \
                ask += g->x_block;                                                            \
            }                                                                                 \
        }                                                                                     \
        if (g->accumulate) {                                                                  \
            RB(ni, O_ADD, no)                                                                 \
        }                                                                                     \
        RB(ni, O_STORE, no)                                                                   \
    }

typedef void outer_tile(const struct cvyi_outer *, const float *, const float *, const float *,
                        float *);

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
            const float *ask = g->ask ? g->ask + i * g->ask_i : NULL;
            tile[no - 1][ni - 1](g, dyt + o * VL, x + i * g->x_i, ask, dw + i * g->dw_i + o * VL);
        }
    }
}

enum { OUTER_N = V_OUTER_O * VL < 16 ? 16 : V_OUTER_O * VL };
_Static_assert(OUTER_N <= CVYI_OUTER_N, "a tile of outer has more channels");

const struct cvyi_wgrad_kernels KFN(wgrad) = { wgrad, outer, OUTER_N };
