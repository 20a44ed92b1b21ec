/* Depthwise convolutions: a channel meets its own kernel only, so there is nothing to hold but the
 * pixels of a row (forward, data) or the sums of the kernel (weights), while taps or pixels pass
 * by. Knows rectangles whose pixels have the same taps, not images. */
#include "kernels.h"
#include "repeat.h"
#include "vec.h"

/* The next step through `left` by at most `most`: even steps instead of a sliver at the end. */
static size_t step_of(size_t left, size_t most)
{
    const size_t steps = (left + most - 1) / most;
    return steps ? (left + steps - 1) / steps : 0;
}

/* -------------------------------------------------------------------------------- forward, data */

/* The macros are pieces of PIXELS and use its names; a<p> is the chain of pixel p, np of them and
 * two that nobody stores. */
#define NAME_(p) a##p
#define NAME(p) NAME_(p)
#define AFTER_0 1
#define AFTER_1 2
#define AFTER_2 3
#define AFTER_3 4
#define AFTER_4 5
#define AFTER_5 6
#define AFTER_6 7
#define AFTER_7 8
#define AFTER_8 9
#define AFTER_9 10
#define AFTER_10 11
#define AFTER_11 12
#define AFTER_12 13
#define AFTER_13 14
#define AFTER_14 15
#define AFTER_(p) AFTER_##p
#define AFTER(p) AFTER_(p)

#define P_ZERO(p, _)    \
    vf a##p = v_zero(); \
    (void)a##p;
#define P_LOAD(p, y_col) a##p = v_load(y + p * (y_col));
#define P_BIAS(p, _) a##p = v_add(a##p, b);
#define P_STORE(p, y_col) v_store(y + p * (y_col), a##p);
#define P_ASK(p, y_col) V_ASK(y + y_row + p * (y_col));
#define P_FMA(p, x_col) a##p = v_fma(b, v_load(xt + p * (x_col)), a##p);

/* Three taps of neighbours: each column is loaded once, for the three pixels that read it. A
 * pixel's products are in the order of its taps all the same. */
#define COLUMN(p, _)                                                 \
    {                                                                \
        vf v = v_load(xt + 16 * (p + 2));                            \
        V_KEEP(v);                                                   \
        a##p = v_fma(b2, v, a##p);                                   \
        NAME(AFTER(p)) = v_fma(b1, v, NAME(AFTER(p)));               \
        NAME(AFTER(AFTER(p))) = v_fma(b0, v, NAME(AFTER(AFTER(p)))); \
        V_BARRIER();                                                 \
    }
#define THREE(np)                                                                  \
    {                                                                              \
        vf b0 = v_set1(wt[0]), b1 = v_set1(wt[w_tap]), b2 = v_set1(wt[2 * w_tap]); \
        vf v0 = v_load(xt), v1 = v_load(xt + 16);                                  \
        V_KEEP(b0);                                                                \
        V_KEEP(b1);                                                                \
        V_KEEP(b2);                                                                \
        V_KEEP(v1);                                                                \
        a0 = v_fma(b0, v0, a0);                                                    \
        a0 = v_fma(b1, v1, a0);                                                    \
        a1 = v_fma(b0, v1, a1);                                                    \
        RA(np, COLUMN, )                                                           \
        xt += 48;                                                                  \
        wt += 3 * w_tap;                                                           \
    }

/* np pixels of a row and of so many below it, one register of each. dense: neighbours' taps are
 * neighbours. */
#define PIXELS(np, name, dense, y_col, x_col)                                                    \
    static void name##_##np(const struct cvyi_depthwise *g, const float *x, const float *w,      \
                            const float *bias, float *y, size_t height, bool ask)                \
    {                                                                                            \
        const ptrdiff_t tap_col = (dense) ? 16 : g->tap_col, w_tap = g->w_tap, y_row = g->y_row; \
        for (; height > 0; height--) {                                                           \
            const float *xr = x, *wr = w;                                                        \
            RA(16, P_ZERO, )                                                                     \
            if (g->resume) {                                                                     \
                RA(np, P_LOAD, y_col)                                                            \
            }                                                                                    \
            if (ask) {                                                                           \
                RA(np, P_ASK, y_col)                                                             \
            }                                                                                    \
            for (size_t r = g->n_rows; r > 0; r--) {                                             \
                const float *xt = xr, *wt = wr;                                                  \
                size_t t = g->n_taps;                                                            \
                for (; (dense) && t >= 3; t -= 3) THREE(np)                                      \
                for (; t > 0; t--) {                                                             \
                    vf b = v_set1(*wt);                                                          \
                    V_KEEP(b);                                                                   \
                    RA(np, P_FMA, x_col)                                                         \
                    V_BARRIER();                                                                 \
                    xt += tap_col;                                                               \
                    wt += w_tap;                                                                 \
                }                                                                                \
                xr += g->tap_row;                                                                \
                wr += g->w_row;                                                                  \
            }                                                                                    \
            if (bias) {                                                                          \
                vf b = v_set1(*bias);                                                            \
                RA(np, P_BIAS, )                                                                 \
            }                                                                                    \
            RA(np, P_STORE, y_col)                                                               \
            x += g->x_row;                                                                       \
            y += y_row;                                                                          \
        }                                                                                        \
    }

typedef void pixels(const struct cvyi_depthwise *, const float *, const float *, const float *,
                    float *, size_t, bool);

/* With three taps and a column: sixteen registers, or more where there are thirty-two. */
#if VL < 16
#define MOST_DENSE 10
#else
#define MOST_DENSE 14
#endif
enum { TURN_ROWS = 8, MOST_PIXELS = 12 };
enum { MOST = MOST_DENSE > MOST_PIXELS ? MOST_DENSE : MOST_PIXELS };
DOWN(MOST_DENSE, PIXELS, dense, 1, 16, 16)
DOWN(12, PIXELS, second, 0, 16, 32)
DOWN(12, PIXELS, any, 0, g->y_col, g->x_col)
#define PIXELS_NAME(np, name) name##_##np,

static void depthwise(const struct cvyi_depthwise *g, const float *x, const float *w,
                      const float *bias, float *y)
{
    static pixels *const tiles[][MOST] = { { DOWN(MOST_DENSE, PIXELS_NAME, dense) },
                                           { DOWN(12, PIXELS_NAME, second) },
                                           { DOWN(12, PIXELS_NAME, any) } };
    const bool dense = g->y_col == 16 && g->x_col == 16 && g->tap_col == 16;
    const size_t step = step_of(g->width, dense ? MOST_DENSE : MOST_PIXELS);
    pixels *const *tile = tiles[2];
    if (dense) tile = tiles[0];
    else if (g->y_col == 16 && g->x_col == 32) tile = tiles[1];
    /* Dense tiles go down a column, whose call then costs little, parts of a pixel in turns before
     * the lines that they share have left L1; others go row by row, as memory is read best. */
    const size_t turn = V_PARTS == 1 ? g->height : TURN_ROWS, down = dense ? turn : 1,
                 across = dense ? step : g->width;
    for (size_t c = 0; c < g->width; c += across)
        for (size_t j = 0, rows; j < g->height; j += rows) {
            rows = g->height - j < down ? g->height - j : down;
            const size_t end = g->width - c < across ? g->width : c + across;
            for (size_t q = c, n; q < end; q += n) {
                n = end - q < step ? end - q : step;
                const float *xs = x + (ptrdiff_t)j * g->x_row + (ptrdiff_t)q * g->x_col;
                float *ys = y + (ptrdiff_t)j * g->y_row + (ptrdiff_t)q * g->y_col;
                for (int part = 0; part < 16; part += VL)
                    tile[n - 1](g, xs + part, w, bias, ys + part, rows, part == 0);
            }
        }
}

/* -------------------------------------------------------------------------------------- weights */

/* Pieces of SUMS, which has the sums of ns taps in a<i> and their sources in x<i>. */
#define S_POINTER(i, _) const float *x##i = x + at[i];
#define S_LOAD(i, _) vf a##i = v_load(sum + to[i]);
#define S_FMA(i, _) a##i = v_fma(d, v_load(x##i + xq), a##i);
#define S_STORE(i, _) v_store(sum + to[i], a##i);

#define SUMS(ns, _)                                                                        \
    static void sums_##ns(const struct cvyi_depthwise *g, const float *dy, const float *x, \
                          const ptrdiff_t *at, float *sum, const ptrdiff_t *to)            \
    {                                                                                      \
        const ptrdiff_t y_col = g->y_col, x_col = g->x_col;                                \
        ptrdiff_t xr = 0;                                                                  \
        RA(ns, S_POINTER, )                                                                \
        RA(ns, S_LOAD, )                                                                   \
        for (size_t j = g->height; j > 0; j--) {                                           \
            const float *dyq = dy;                                                         \
            ptrdiff_t xq = xr;                                                             \
            for (size_t q = g->width; q > 0; q--) {                                        \
                vf d = v_load(dyq);                                                        \
                V_KEEP(d);                                                                 \
                RA(ns, S_FMA, )                                                            \
                dyq += y_col;                                                              \
                xq += x_col;                                                               \
                V_BARRIER();                                                               \
            }                                                                              \
            dy += g->y_row;                                                                \
            xr += g->x_row;                                                                \
        }                                                                                  \
        RA(ns, S_STORE, )                                                                  \
    }

/* Three taps of neighbours in `nr` rows, whose sums are a<row>_<tap>: a column of x is loaded once
 * a row, for the three pixels of dy that it meets, of which d is the last. Each sum has its
 * products in the order of the pixels all the same. */
#define W_POINTER(r, _) const float *x##r = x + at[3 * r];
#define W_LOAD(r, _)                                                               \
    vf a##r##_0 = v_load(sum + to[3 * r]), a##r##_1 = v_load(sum + to[3 * r + 1]), \
       a##r##_2 = v_load(sum + to[3 * r + 2]);
#define W_STORE(r, _)                       \
    v_store(sum + to[3 * r], a##r##_0);     \
    v_store(sum + to[3 * r + 1], a##r##_1); \
    v_store(sum + to[3 * r + 2], a##r##_2);
#define W_FIRST(r, _) a##r##_0 = v_fma(d, v_load(x##r + xr), a##r##_0);
#define W_SECOND(r, _)                     \
    {                                      \
        vf v = v_load(x##r + xr + 16);     \
        V_KEEP(v);                         \
        a##r##_0 = v_fma(d, v, a##r##_0);  \
        a##r##_1 = v_fma(d1, v, a##r##_1); \
    }
#define W_EACH(r, _)                       \
    {                                      \
        vf v = v_load(x##r + xq);          \
        V_KEEP(v);                         \
        a##r##_0 = v_fma(d, v, a##r##_0);  \
        a##r##_1 = v_fma(d1, v, a##r##_1); \
        a##r##_2 = v_fma(d2, v, a##r##_2); \
        V_BARRIER();                       \
    }
#define W_LAST(r, _)                       \
    {                                      \
        vf v = v_load(x##r + xq);          \
        V_KEEP(v);                         \
        a##r##_1 = v_fma(d, v, a##r##_1);  \
        a##r##_2 = v_fma(d1, v, a##r##_2); \
    }
#define W_END(r, _) a##r##_2 = v_fma(d, v_load(x##r + xq + 16), a##r##_2);

#define WINDOW(nr, _)                                                                        \
    static void window_##nr(const struct cvyi_depthwise *g, const float *dy, const float *x, \
                            const ptrdiff_t *at, float *sum, const ptrdiff_t *to)            \
    {                                                                                        \
        ptrdiff_t xr = 0;                                                                    \
        RA(nr, W_POINTER, )                                                                  \
        RA(nr, W_LOAD, )                                                                     \
        for (size_t j = g->height; j > 0; j--) {                                             \
            const float *dyq = dy;                                                           \
            ptrdiff_t xq = xr + 32;                                                          \
            vf d = v_load(dyq), d1 = d, d2;                                                  \
            RA(nr, W_FIRST, )                                                                \
            d = v_load(dyq + 16);                                                            \
            RA(nr, W_SECOND, )                                                               \
            dyq += 32;                                                                       \
            for (size_t q = g->width - 2; q > 0; q--) {                                      \
                d2 = d1;                                                                     \
                d1 = d;                                                                      \
                d = v_load(dyq);                                                             \
                V_KEEP(d);                                                                   \
                RA(nr, W_EACH, )                                                             \
                dyq += 16;                                                                   \
                xq += 16;                                                                    \
            }                                                                                \
            RA(nr, W_LAST, )                                                                 \
            RA(nr, W_END, )                                                                  \
            dy += g->y_row;                                                                  \
            xr += g->x_row;                                                                  \
        }                                                                                    \
        RA(nr, W_STORE, )                                                                    \
    }

typedef void sums(const struct cvyi_depthwise *, const float *, const float *, const ptrdiff_t *,
                  float *, const ptrdiff_t *);

enum { MOST_SUMS = 12, MOST_WINDOWS = 3 };
DOWN(12, SUMS, )
DOWN(3, WINDOW, )
#define SUMS_NAME(ns, _) sums_##ns,
#define WINDOW_NAME(nr, _) window_##nr,

static void depthwise_dw(const struct cvyi_depthwise *g, const float *dy, const float *x,
                         float *sum)
{
    static sums *const tile[] = { DOWN(12, SUMS_NAME, ) };
    static sums *const window[] = { DOWN(3, WINDOW_NAME, ) };
    const bool dense = g->y_col == 16 && g->x_col == 16 && g->tap_col == 16;
    const bool windows = dense && g->n_taps == 3 && g->width > 1;
    const size_t step =
        windows ? 3 * step_of(g->n_rows, MOST_WINDOWS) : step_of(g->n_rows * g->n_taps, MOST_SUMS);
    size_t n = 0;
    ptrdiff_t at[MOST_SUMS], to[MOST_SUMS];
    for (size_t r = 0; r < g->n_rows; r++)
        for (size_t t = 0; t < g->n_taps; t++) {
            at[n] = (ptrdiff_t)r * g->tap_row + (ptrdiff_t)t * g->tap_col;
            to[n++] = 16 * ((ptrdiff_t)r * g->w_row + (ptrdiff_t)t * g->w_tap);
            if (n < step && (r + 1 < g->n_rows || t + 1 < g->n_taps)) continue;
            sums *const sum_up = windows ? window[n / 3 - 1] : tile[n - 1];
            for (int part = 0; part < 16; part += VL)
                sum_up(g, dy + part, x + part, at, sum + part, to);
            n = 0;
        }
}

const struct cvyi_depthwise_kernels KFN(depthwise) = { depthwise, depthwise_dw };
