/* winograd: the transforms of F(4x4, 3x3), whose points are 0, 3/4, -3/4, 3/2, -3/2 and infinity
 * (kernels.h). Images lie in the lanes, so that they are plain arithmetic on pixels; values +-a
 * share their even and odd parts. Knows tiles, not convolutions. */
#include "kernels.h"
#include "vec.h"

#include <assert.h>

enum { SIDE = 6, OUT = 4, KERNEL = 3 };

#define A 0.75f
#define B 1.5f
#define AA (A * A)
#define BB (B * B)

/* Bt of six values. */
V_FN void to_points(vf r[SIDE], const vf d[SIDE])
{
    const vf a = v_set1(A), b = v_set1(B), aa = v_set1(AA), bb = v_set1(BB), sum = v_set1(AA + BB),
             product = v_set1(AA * BB);
    vf even_a = v_fnma(bb, d[2], d[4]), odd_a = v_fnma(bb, d[1], d[3]);
    vf even_b = v_fnma(aa, d[2], d[4]), odd_b = v_fnma(aa, d[1], d[3]);
    r[0] = v_fma(product, d[0], v_fnma(sum, d[2], d[4]));
    r[1] = v_fma(a, odd_a, even_a);
    r[2] = v_fnma(a, odd_a, even_a);
    r[3] = v_fma(b, odd_b, even_b);
    r[4] = v_fnma(b, odd_b, even_b);
    r[5] = v_fma(product, d[1], v_fnma(sum, d[3], d[5]));
}

/* At of six values: the four results. */
V_FN void to_results(vf r[OUT], const vf m[SIDE])
{
    vf even_a = v_add(m[1], m[2]), odd_a = v_sub(m[1], m[2]);
    vf even_b = v_add(m[3], m[4]), odd_b = v_sub(m[3], m[4]);
    r[0] = v_add(m[0], v_add(even_a, even_b));
    r[1] = v_fma(v_set1(B), odd_b, v_mul(v_set1(A), odd_a));
    r[2] = v_fma(v_set1(BB), even_b, v_mul(v_set1(AA), even_a));
    r[3] = v_fma(v_set1(BB * B), odd_b, v_fma(v_set1(AA * A), odd_a, m[5]));
}

/* A of four values: At's adjoint. */
V_FN void from_results(vf r[SIDE], const vf y[OUT])
{
    vf even_a = v_fma(v_set1(AA), y[2], y[0]), odd_a = v_fma(v_set1(AA), y[3], y[1]);
    vf even_b = v_fma(v_set1(BB), y[2], y[0]), odd_b = v_fma(v_set1(BB), y[3], y[1]);
    r[0] = y[0];
    r[1] = v_fma(v_set1(A), odd_a, even_a);
    r[2] = v_fnma(v_set1(A), odd_a, even_a);
    r[3] = v_fma(v_set1(B), odd_b, even_b);
    r[4] = v_fnma(v_set1(B), odd_b, even_b);
    r[5] = y[3];
}

/* B of six values: to_points' adjoint. */
V_FN void from_points(vf r[SIDE], const vf n[SIDE])
{
    const vf aa = v_set1(AA), bb = v_set1(BB), sum = v_set1(AA + BB), product = v_set1(AA * BB);
    vf even_a = v_add(n[1], n[2]), odd_a = v_mul(v_set1(A), v_sub(n[1], n[2]));
    vf even_b = v_add(n[3], n[4]), odd_b = v_mul(v_set1(B), v_sub(n[3], n[4]));
    r[0] = v_mul(product, n[0]);
    r[1] = v_fnma(bb, odd_a, v_fnma(aa, odd_b, v_mul(product, n[5])));
    r[2] = v_fnma(bb, even_a, v_fnma(aa, even_b, v_mul(v_set1(-(AA + BB)), n[0])));
    r[3] = v_fnma(sum, n[5], v_add(odd_a, odd_b));
    r[4] = v_add(n[0], v_add(even_a, even_b));
    r[5] = n[5];
}

/* Channels are far apart: the hardware does not guess the lines of the next. */
#define AHEAD ((size_t)2)
static ptrdiff_t ahead(size_t n, size_t c, ptrdiff_t x_channel)
{
    return c + AHEAD < n ? (ptrdiff_t)AHEAD * x_channel : 0;
}

/* Six points, side by side in v, of six values. */
V_FN float *points_of(float *v, size_t point, const vf d[SIDE])
{
    vf r[SIDE];
    to_points(r, d);
    _Pragma("GCC unroll 6") for (size_t j = 0; j < SIDE; j++, v += point) v_store(v, r[j]);
    return v;
}

/* A tile's rows, one register a pixel; those outside the map are zeros. Columns outside of begin
 * and end are zero and not read. */
struct source {
    const float *row[SIDE];
    size_t begin, end;
};

/* Points 0 or infinity of the columns, from every other row from the first or second on. */
V_FN float *in_end(float *v, size_t point, const struct source *x, size_t first, bool all)
{
    const float *low = x->row[first], *middle = x->row[first + 2], *high = x->row[first + 4];
    vf d[SIDE];
    _Pragma("GCC unroll 6") for (size_t j = 0; j < SIDE; j++)
    {
        d[j] = v_zero();
        if (all || (j >= x->begin && j < x->end))
            d[j] = v_fma(v_set1(AA * BB), v_load(low + j * 16),
                         v_fnma(v_set1(AA + BB), v_load(middle + j * 16), v_load(high + j * 16)));
    }
    return points_of(v, point, d);
}

/* Points a and -a of the columns, from rows 1 to 4; `other` is b * b. */
V_FN float *in_pair(float *v, size_t point, const struct source *x, float a, float other, bool all)
{
    const float *odd_low = x->row[1], *odd_high = x->row[3];
    const float *even_low = x->row[2], *even_high = x->row[4];
    vf plus[SIDE], minus[SIDE];
    _Pragma("GCC unroll 6") for (size_t j = 0; j < SIDE; j++)
    {
        plus[j] = minus[j] = v_zero();
        if (all || (j >= x->begin && j < x->end)) {
            vf even = v_fnma(v_set1(other), v_load(even_low + j * 16), v_load(even_high + j * 16));
            vf odd = v_fnma(v_set1(other), v_load(odd_low + j * 16), v_load(odd_high + j * 16));
            plus[j] = v_fma(v_set1(a), odd, even);
            minus[j] = v_fnma(v_set1(a), odd, even);
        }
    }
    return points_of(points_of(v, point, plus), point, minus);
}

/* Row by row of the points, so that nothing waits in memory: it is stores that this is long in. */
V_FN void in_tile(float *v, size_t point, const struct source *x, bool all)
{
    v = in_end(v, point, x, 0, all);
    v = in_pair(v, point, x, A, BB, all);
    v = in_pair(v, point, x, B, AA, all);
    in_end(v, point, x, 1, all);
}

/* Out of line: else the compiler computes all addresses of a tile beforehand. */
__attribute__((noinline)) static void in_whole(float *v, size_t point, const struct source *x)
{
    in_tile(v, point, x, true);
}
__attribute__((noinline)) static void in_part(float *v, size_t point, const struct source *x)
{
    in_tile(v, point, x, false);
}

static bool whole(const struct cvyi_winograd *g, size_t side)
{
    return g->rows[0] == 0 && g->rows[1] == side && g->cols[0] == 0 && g->cols[1] == side;
}

static void winograd_in(const struct cvyi_winograd *g, const float *x, float *v)
{
    static const float zeros[SIDE * 16];
    const bool all = g->cols[0] == 0 && g->cols[1] == SIDE;
    for (size_t c = 0; c < g->n; c++, x += g->x_channel, v += g->v_channel) {
        const ptrdiff_t next = ahead(g->n, c, g->x_channel);
        for (size_t part = 0; part < 16; part += VL) {
            struct source tile = { .begin = g->cols[0], .end = g->cols[1] };
            for (size_t i = 0; i < SIDE; i++) {
                tile.row[i] = zeros;
                if (i >= g->rows[0] && i < g->rows[1])
                    tile.row[i] = x + (ptrdiff_t)i * g->x_row + part;
            }
            if (all) in_whole(v + part, g->v_point, &tile);
            else in_part(v + part, g->v_point, &tile);
        }
        if (next == 0) continue;
        for (size_t i = g->rows[0]; i < g->rows[1]; i++)
            for (size_t j = g->cols[0]; j < g->cols[1]; j++)
                V_ASK(x + next + (ptrdiff_t)i * g->x_row + (ptrdiff_t)j * 16);
    }
}

V_FN void out_tile(const struct cvyi_winograd *g, const float *v, const float *bias, float *y,
                   ptrdiff_t next, bool whole)
{
    vf half[OUT][SIDE];
    const size_t point = g->v_point, column = SIDE * point;
    const size_t rows = whole ? OUT : g->rows[1], cols = whole ? OUT : g->cols[1];
    const ptrdiff_t x_row = g->x_row;
    for (size_t j = 0; j < SIDE; j++, v += point) {
        vf m[SIDE], r[OUT];
        const float *from = v;
        _Pragma("GCC unroll 6") for (size_t i = 0; i < SIDE; i++, from += column) m[i] =
            v_load(from);
        to_results(r, m);
        _Pragma("GCC unroll 4") for (size_t i = 0; i < OUT; i++) half[i][j] = r[i];
    }
    for (size_t i = 0; i < rows; i++, y += x_row) {
        vf m[SIDE], r[OUT];
        _Pragma("GCC unroll 6") for (size_t j = 0; j < SIDE; j++) m[j] = half[i][j];
        to_results(r, m);
        _Pragma("GCC unroll 4") for (size_t j = 0; j < OUT; j++)
        {
            if (bias) r[j] = v_add(r[j], v_set1(*bias));
            if (whole || j < cols) {
                v_store(y + j * 16, r[j]);
                V_ASK(y + j * 16 + next);
            }
        }
    }
}

static void winograd_out(const struct cvyi_winograd *g, const float *v, const float *bias, float *y)
{
    const bool all = whole(g, OUT);
    for (size_t c = 0; c < g->n; c++, y += g->x_channel, v += g->v_channel) {
        const float *b = bias ? bias + c : NULL;
        for (size_t part = 0; part < 16; part += VL) {
            if (all)
                out_tile(g, v + part, b, y + part, part ? 0 : ahead(g->n, c, g->x_channel), true);
            else out_tile(g, v + part, b, y + part, ahead(g->n, c, g->x_channel), false);
        }
    }
}

V_FN void grad_tile(const struct cvyi_winograd *g, const float *y, float *v, ptrdiff_t next,
                    bool whole)
{
    vf half[SIDE][OUT];
    const size_t point = g->v_point;
    const ptrdiff_t x_row = g->x_row;
    for (size_t j = 0; j < OUT; j++) {
        vf d[OUT], r[SIDE];
        _Pragma("GCC unroll 4") for (size_t i = 0; i < OUT; i++)
        {
            d[i] = v_zero();
            if (whole || (j < g->cols[1] && i < g->rows[1])) {
                const float *pixel = y + (ptrdiff_t)i * x_row + (ptrdiff_t)j * 16;
                d[i] = v_load(pixel);
                if (next) V_ASK(pixel + next);
            }
        }
        from_results(r, d);
        _Pragma("GCC unroll 6") for (size_t i = 0; i < SIDE; i++) half[i][j] = r[i];
    }
    for (size_t i = 0; i < SIDE; i++) {
        vf d[OUT], r[SIDE];
        _Pragma("GCC unroll 4") for (size_t j = 0; j < OUT; j++) d[j] = half[i][j];
        from_results(r, d);
        _Pragma("GCC unroll 6") for (size_t j = 0; j < SIDE; j++, v += point) v_store(v, r[j]);
    }
}

static void winograd_grad(const struct cvyi_winograd *g, const float *y, float *v)
{
    const bool all = whole(g, OUT);
    for (size_t c = 0; c < g->n; c++, y += g->x_channel, v += g->v_channel)
        for (size_t part = 0; part < 16; part += VL) {
            if (all)
                grad_tile(g, y + part, v + part, part ? 0 : ahead(g->n, c, g->x_channel), true);
            else grad_tile(g, y + part, v + part, ahead(g->n, c, g->x_channel), false);
        }
}

/* ------------------------------------------------------------------------------------- weights
 * In double: their roundings would be in every product. */
#define POINT_A (2.0 * (double)AA * ((double)AA - (double)BB)) /* N of +-a, of +-b, of 0 */
#define POINT_B (2.0 * (double)BB * ((double)BB - (double)AA))
#define POINT_0 ((double)AA * (double)BB)

/* G of three values, Gt of six. */
V_FN void weights_to_points(vh r[SIDE], const vh w[KERNEL])
{
    vh even_a = vh_add(vh_mul(vh_set1(1 / POINT_A), w[0]), vh_mul(vh_set1(AA / POINT_A), w[2]));
    vh even_b = vh_add(vh_mul(vh_set1(1 / POINT_B), w[0]), vh_mul(vh_set1(BB / POINT_B), w[2]));
    vh odd_a = vh_mul(vh_set1(A / POINT_A), w[1]), odd_b = vh_mul(vh_set1(B / POINT_B), w[1]);
    r[0] = vh_mul(vh_set1(1 / POINT_0), w[0]);
    r[1] = vh_add(even_a, odd_a);
    r[2] = vh_sub(even_a, odd_a);
    r[3] = vh_add(even_b, odd_b);
    r[4] = vh_sub(even_b, odd_b);
    r[5] = w[2];
}
V_FN void points_to_weights(vh r[KERNEL], const vh u[SIDE])
{
    vh even_a = vh_add(u[1], u[2]), odd_a = vh_sub(u[1], u[2]);
    vh even_b = vh_add(u[3], u[4]), odd_b = vh_sub(u[3], u[4]);
    r[0] = vh_add(vh_mul(vh_set1(1 / POINT_0), u[0]), vh_add(vh_mul(vh_set1(1 / POINT_A), even_a),
                                                             vh_mul(vh_set1(1 / POINT_B), even_b)));
    r[1] = vh_add(vh_mul(vh_set1(A / POINT_A), odd_a), vh_mul(vh_set1(B / POINT_B), odd_b));
    r[2] = vh_add(
        u[5], vh_add(vh_mul(vh_set1(AA / POINT_A), even_a), vh_mul(vh_set1(BB / POINT_B), even_b)));
}

/* A block of registers at a time: what it writes behind the columns is the next row's, which comes
 * later. */
static void winograd_taps(float *w, const struct cvyi_winograd_taps *g, const float *weight)
{
    assert(g->columns <= VL || VL == 1);
    const size_t n = g->rows * g->taps;
    for (size_t c = 0; c < g->columns; c += VL, w += VL, weight += VL * g->column) {
        float *to = w, *row = w;
        for (size_t k = 0, tap = 0; k < n; k += VL) {
            vf r[VL];
            V_UNROLL for (size_t i = 0; i < VL; i++)
            {
                r[i] = v_zero();
                if (c + i >= g->columns) continue;
                const float *from = weight + i * g->column + k;
                r[i] = n - k < VL ? v_load_part(from, (int)(n - k)) : v_load(from);
            }
            v_transpose(r);
            V_UNROLL for (size_t i = 0; i < VL; i++)
            {
                if (k + i >= n) break;
                v_store(to, r[i]);
                to += g->w_tap;
                if (++tap < g->taps) continue;
                tap = 0;
                to = row += g->w_row;
            }
        }
    }
}

/* Row by row of the points: so few registers are needed that none wait in memory. */
V_FN float *weights_row(float *u, size_t u_point, const vh w[KERNEL])
{
    vh r[SIDE];
    weights_to_points(r, w);
    _Pragma("GCC unroll 6") for (size_t j = 0; j < SIDE; j++, u += u_point) vh_store(u, r[j]);
    return u;
}

V_FN float *weights_pair(float *u, size_t u_point, const float *w, size_t w_tap, double a, double n)
{
    vh plus[KERNEL], minus[KERNEL];
    _Pragma("GCC unroll 3") for (size_t j = 0; j < KERNEL; j++, w += w_tap)
    {
        vh even = vh_add(vh_mul(vh_set1(1 / n), vh_load(w)),
                         vh_mul(vh_set1(a * a / n), vh_load(w + 2 * KERNEL * w_tap)));
        vh odd = vh_mul(vh_set1(a / n), vh_load(w + KERNEL * w_tap));
        plus[j] = vh_add(even, odd);
        minus[j] = vh_sub(even, odd);
    }
    return weights_row(weights_row(u, u_point, plus), u_point, minus);
}

static void winograd_weights(float *u, size_t u_point, const float *w, size_t w_tap, size_t n)
{
    for (size_t c = 0; c < n; c += VH, u += VH, w += VH) {
        float *to = u;
        vh row[KERNEL];
        for (size_t j = 0; j < KERNEL; j++)
            row[j] = vh_mul(vh_set1(1 / POINT_0), vh_load(w + j * w_tap));
        to = weights_row(to, u_point, row);
        to = weights_pair(to, u_point, w, w_tap, A, POINT_A);
        to = weights_pair(to, u_point, w, w_tap, B, POINT_B);
        for (size_t j = 0; j < KERNEL; j++) row[j] = vh_load(w + (2 * KERNEL + j) * w_tap);
        weights_row(to, u_point, row);
    }
}

static void winograd_dw(float *dw, ptrdiff_t w_tap, const float *u, size_t u_point, size_t n)
{
    for (size_t c = 0; c < n; c += VH) {
        vh half[KERNEL][SIDE];
        _Pragma("GCC unroll 6") for (size_t j = 0; j < SIDE; j++)
        {
            vh in[SIDE], r[KERNEL];
            _Pragma("GCC unroll 6") for (size_t i = 0; i < SIDE; i++) in[i] =
                vh_load(u + (i * SIDE + j) * u_point + c);
            points_to_weights(r, in);
            _Pragma("GCC unroll 3") for (size_t i = 0; i < KERNEL; i++) half[i][j] = r[i];
        }
        _Pragma("GCC unroll 3") for (size_t i = 0; i < KERNEL; i++)
        {
            vh r[KERNEL];
            points_to_weights(r, half[i]);
            _Pragma("GCC unroll 3") for (size_t j = 0; j < KERNEL; j++)
                vh_store(dw + (ptrdiff_t)(i * KERNEL + j) * w_tap + c, r[j]);
        }
    }
}

/* --------------------------------------------------------------------------------- F(4, 5)
 * Points 0, +-a, +-1, +-c and infinity: a pair's polynomials share their even and odd parts. */
enum { ROW = 8, TAPS = 5 };

#define RA 0.5f
#define RC 1.75f
#define RAA (RA * RA)
#define RCC (RC * RC)
/* sums and products of two of the squares, without the one that is named; of all three */
#define SUM_A (1 + RCC)
#define SUM_1 (RAA + RCC)
#define SUM_C (RAA + 1)
#define SUM (RAA + 1 + RCC)
#define PAIRS (RAA + RCC + RAA * RCC)
#define ALL (RAA * RCC)

/* d2 * product - d1 * sum + d0, of every other value from the one behind d0 on */
V_FN vf part(float product, float sum, vf low, vf middle, vf high)
{
    return v_fma(v_set1(product), low, v_fnma(v_set1(sum), middle, high));
}

V_FN void five_to_points(vf r[ROW], const vf d[ROW])
{
    const vf a = v_set1(RA), c = v_set1(RC);
    vf even = part(RCC, SUM_A, d[2], d[4], d[6]), odd = part(RCC, SUM_A, d[1], d[3], d[5]);
    r[1] = v_fma(a, odd, even);
    r[2] = v_fnma(a, odd, even);
    even = part(ALL, SUM_1, d[2], d[4], d[6]);
    odd = part(ALL, SUM_1, d[1], d[3], d[5]);
    r[3] = v_add(even, odd);
    r[4] = v_sub(even, odd);
    even = part(RAA, SUM_C, d[2], d[4], d[6]);
    odd = part(RAA, SUM_C, d[1], d[3], d[5]);
    r[5] = v_fma(c, odd, even);
    r[6] = v_fnma(c, odd, even);
    r[0] = v_fnma(v_set1(ALL), d[0], part(PAIRS, SUM, d[2], d[4], d[6]));
    r[7] = v_fnma(v_set1(ALL), d[1], part(PAIRS, SUM, d[3], d[5], d[7]));
}

V_FN void five_to_results(vf r[OUT], const vf m[ROW])
{
    vf even_a = v_add(m[1], m[2]), odd_a = v_sub(m[1], m[2]);
    vf even_1 = v_add(m[3], m[4]), odd_1 = v_sub(m[3], m[4]);
    vf even_c = v_add(m[5], m[6]), odd_c = v_sub(m[5], m[6]);
    r[0] = v_add(v_add(m[0], even_a), v_add(even_1, even_c));
    r[1] = v_fma(v_set1(RC), odd_c, v_fma(v_set1(RA), odd_a, odd_1));
    r[2] = v_fma(v_set1(RCC), even_c, v_fma(v_set1(RAA), even_a, even_1));
    r[3] = v_fma(v_set1(RCC * RC), odd_c, v_fma(v_set1(RAA * RA), odd_a, v_add(odd_1, m[7])));
}

V_FN void five_from_results(vf r[ROW], const vf y[OUT])
{
    vf even = v_fma(v_set1(RAA), y[2], y[0]), odd = v_fma(v_set1(RAA), y[3], y[1]);
    r[0] = y[0];
    r[1] = v_fma(v_set1(RA), odd, even);
    r[2] = v_fnma(v_set1(RA), odd, even);
    even = v_add(y[2], y[0]);
    odd = v_add(y[3], y[1]);
    r[3] = v_add(even, odd);
    r[4] = v_sub(even, odd);
    even = v_fma(v_set1(RCC), y[2], y[0]);
    odd = v_fma(v_set1(RCC), y[3], y[1]);
    r[5] = v_fma(v_set1(RC), odd, even);
    r[6] = v_fnma(v_set1(RC), odd, even);
    r[7] = y[3];
}

/* B: five_to_points' adjoint. */
V_FN void five_from_points(vf r[ROW], const vf n[ROW])
{
    vf even_a = v_add(n[1], n[2]), odd_a = v_mul(v_set1(RA), v_sub(n[1], n[2]));
    vf even_1 = v_add(n[3], n[4]), odd_1 = v_sub(n[3], n[4]);
    vf even_c = v_add(n[5], n[6]), odd_c = v_mul(v_set1(RC), v_sub(n[5], n[6]));
    r[0] = v_mul(v_set1(-ALL), n[0]);
    r[1] = v_fnma(v_set1(ALL), n[7],
                  v_fma(v_set1(RCC), odd_a, v_fma(v_set1(ALL), odd_1, v_mul(v_set1(RAA), odd_c))));
    r[2] =
        v_fma(v_set1(PAIRS), n[0],
              v_fma(v_set1(RCC), even_a, v_fma(v_set1(ALL), even_1, v_mul(v_set1(RAA), even_c))));
    r[3] = v_fnma(
        v_set1(SUM_A), odd_a,
        v_fnma(v_set1(SUM_1), odd_1, v_fnma(v_set1(SUM_C), odd_c, v_mul(v_set1(PAIRS), n[7]))));
    r[4] = v_fnma(
        v_set1(SUM_A), even_a,
        v_fnma(v_set1(SUM_1), even_1, v_fnma(v_set1(SUM_C), even_c, v_mul(v_set1(-SUM), n[0]))));
    r[5] = v_fnma(v_set1(SUM), n[7], v_add(odd_a, v_add(odd_1, odd_c)));
    r[6] = v_add(n[0], v_add(even_a, v_add(even_1, even_c)));
    r[7] = n[7];
}

#define ROW_0 (-(double)ALL) /* N of 0, of +-a, +-1, +-c */
#define ROW_A (2.0 * (double)RAA * ((double)RAA - 1) * ((double)RAA - (double)RCC))
#define ROW_1 (2.0 * (1 - (double)RAA) * (1 - (double)RCC))
#define ROW_C (2.0 * (double)RCC * ((double)RCC - 1) * ((double)RCC - (double)RAA))

V_FN void five_pair(vh r[2], const vh w[TAPS], double a, double n)
{
    vh even =
        vh_add(vh_mul(vh_set1(1 / n), w[0]),
               vh_add(vh_mul(vh_set1(a * a / n), w[2]), vh_mul(vh_set1(a * a * a * a / n), w[4])));
    vh odd = vh_add(vh_mul(vh_set1(a / n), w[1]), vh_mul(vh_set1(a * a * a / n), w[3]));
    r[0] = vh_add(even, odd);
    r[1] = vh_sub(even, odd);
}

/* G of five values. */
V_FN void five_weights_to_points(vh r[ROW], const vh w[TAPS])
{
    r[0] = vh_mul(vh_set1(1 / ROW_0), w[0]);
    five_pair(r + 1, w, RA, ROW_A);
    five_pair(r + 3, w, 1, ROW_1);
    five_pair(r + 5, w, RC, ROW_C);
    r[7] = w[4];
}

/* Row i of Gt: u0/N0 where i is 0, then the pairs' a^i/N times their sum or, i odd, difference. */
V_FN void five_points_to_weights(vh r[TAPS], const vh u[ROW])
{
    static const double point[3] = { RA, 1, RC }, norm[3] = { ROW_A, ROW_1, ROW_C };
    double power[3] = { 1 / norm[0], 1 / norm[1], 1 / norm[2] };
    vh pair[2][3];
    for (size_t k = 0; k < 3; k++) {
        pair[0][k] = vh_add(u[1 + 2 * k], u[2 + 2 * k]);
        pair[1][k] = vh_sub(u[1 + 2 * k], u[2 + 2 * k]);
    }
    for (size_t i = 0; i < TAPS; i++) {
        r[i] = vh_set1(0);
        if (i == 0) r[i] = vh_mul(vh_set1(1 / ROW_0), u[0]);
        if (i == TAPS - 1) r[i] = u[7];
        for (size_t k = 0; k < 3; k++) {
            r[i] = vh_add(r[i], vh_mul(vh_set1(power[k]), pair[i % 2][k]));
            power[k] *= point[k];
        }
    }
}

/* ---------------------------------------------------------------------------------------- rows
 * Along rows, of three taps (six points) or of five (eight). `taps` is a constant everywhere. */
V_FN size_t points_of_taps(size_t taps) { return taps + OUT - 1; }

/* Columns `column` on of a row, 0 outside of it. */
V_FN void load_columns(vf *d, size_t n, const struct cvyi_winograd_row *g, const float *x,
                       ptrdiff_t column)
{
    if (column >= 0 && column + (ptrdiff_t)n <= g->width) {
        _Pragma("GCC unroll 8") for (size_t j = 0; j < n; j++) d[j] =
            v_load(x + (column + (ptrdiff_t)j) * 16);
        return;
    }
    _Pragma("GCC unroll 8") for (size_t j = 0; j < n; j++)
    {
        ptrdiff_t at = column + (ptrdiff_t)j;
        d[j] = v_zero();
        if (at >= 0 && at < g->width) d[j] = v_load(x + at * 16);
    }
}
V_FN void store_columns(const vf *r, size_t n, const struct cvyi_winograd_row *g, float *y,
                        ptrdiff_t column)
{
    _Pragma("GCC unroll 4") for (size_t j = 0; j < n; j++)
    {
        ptrdiff_t at = column + (ptrdiff_t)j;
        if (at >= 0 && at < g->width) v_store(y + at * 16, r[j]);
    }
}

/* Asks for what a tile reads or writes of the channel after next, as tiles of F(4x4, 3x3) do. */
V_FN void ask_columns(const struct cvyi_winograd_row *g, size_t c, const float *x, ptrdiff_t column)
{
    const ptrdiff_t next = ahead(g->n, c, g->x_channel);
    if (next == 0) return;
    for (ptrdiff_t at = column < 0 ? 0 : column; at < column + OUT && at < g->width; at++)
        V_ASK(x + next + at * 16);
}

V_FN void row_in(const struct cvyi_winograd_row *geometry, const float *x, float *v, size_t taps)
{
    const struct cvyi_winograd_row copy = *geometry, *g = &copy; /* a store may be to anything */
    const size_t points = points_of_taps(taps);
    for (size_t c = 0; c < g->n; c++, x += g->x_channel, v += g->v_channel)
        for (size_t t = 0; t < g->tiles; t++) {
            ask_columns(g, c, x, g->first + (ptrdiff_t)(OUT * t));
            for (size_t lane = 0; lane < 16; lane += VL) {
                vf d[ROW], r[ROW];
                load_columns(d, points, g, x + lane, g->first + (ptrdiff_t)(OUT * t));
                if (taps == TAPS) five_to_points(r, d);
                else to_points(r, d);
                _Pragma("GCC unroll 8") for (size_t k = 0; k < points; k++)
                    v_store(v + k * g->v_point + t * g->v_tile + lane, r[k]);
            }
        }
}

V_FN void row_grad(const struct cvyi_winograd_row *geometry, const float *y, float *v, size_t taps)
{
    const struct cvyi_winograd_row copy = *geometry, *g = &copy; /* a store may be to anything */
    const size_t points = points_of_taps(taps);
    for (size_t c = 0; c < g->n; c++, y += g->x_channel, v += g->v_channel)
        for (size_t t = 0; t < g->tiles; t++) {
            ask_columns(g, c, y, (ptrdiff_t)(OUT * t));
            for (size_t lane = 0; lane < 16; lane += VL) {
                vf d[OUT], r[ROW];
                load_columns(d, OUT, g, y + lane, (ptrdiff_t)(OUT * t));
                if (taps == TAPS) five_from_results(r, d);
                else from_results(r, d);
                _Pragma("GCC unroll 8") for (size_t k = 0; k < points; k++)
                    v_store(v + k * g->v_point + t * g->v_tile + lane, r[k]);
            }
        }
}

V_FN void row_out(const struct cvyi_winograd_row *geometry, const float *v, const float *bias,
                  float *y, size_t taps)
{
    const struct cvyi_winograd_row copy = *geometry, *g = &copy; /* a store may be to anything */
    const size_t points = points_of_taps(taps);
    for (size_t c = 0; c < g->n; c++, y += g->x_channel, v += g->v_channel)
        for (size_t t = 0; t < g->tiles; t++) {
            ask_columns(g, c, y, (ptrdiff_t)(OUT * t));
            for (size_t lane = 0; lane < 16; lane += VL) {
                vf m[ROW], r[OUT];
                _Pragma("GCC unroll 8") for (size_t k = 0; k < points; k++) m[k] =
                    v_load(v + k * g->v_point + t * g->v_tile + lane);
                if (taps == TAPS) five_to_results(r, m);
                else to_results(r, m);
                _Pragma("GCC unroll 4") for (size_t j = 0; j < OUT; j++) if (bias) r[j] =
                    v_add(r[j], v_set1(bias[c]));
                store_columns(r, OUT, g, y + lane, (ptrdiff_t)(OUT * t));
            }
        }
}

/* The last of what a tile gives belongs to the columns of the next. */
V_FN void row_data(const struct cvyi_winograd_row *geometry, const float *v, float *x, size_t taps)
{
    const struct cvyi_winograd_row copy = *geometry, *g = &copy; /* a store may be to anything */
    const size_t points = points_of_taps(taps), more = points - OUT;
    for (size_t c = 0; c < g->n; c++, x += g->x_channel, v += g->v_channel)
        for (size_t lane = 0; lane < 16; lane += VL) {
            vf carry[OUT];
            for (size_t j = 0; j < more; j++) carry[j] = v_zero();
            for (size_t t = 0; t < g->tiles; t++) {
                if (lane == 0) ask_columns(g, c, x, g->first + (ptrdiff_t)(OUT * t));
                vf n[ROW], r[ROW];
                _Pragma("GCC unroll 8") for (size_t k = 0; k < points; k++) n[k] =
                    v_load(v + k * g->v_point + t * g->v_tile + lane);
                if (taps == TAPS) five_from_points(r, n);
                else from_points(r, n);
                _Pragma("GCC unroll 4") for (size_t j = 0; j < more; j++)
                {
                    r[j] = v_add(carry[j], r[j]);
                    carry[j] = r[j + OUT];
                }
                store_columns(r, OUT, g, x + lane, g->first + (ptrdiff_t)(OUT * t));
            }
            store_columns(carry, more, g, x + lane, g->first + (ptrdiff_t)(OUT * g->tiles));
        }
}

V_FN void row_weights(float *u, size_t u_point, const float *w, size_t w_tap, size_t n, size_t taps)
{
    for (size_t c = 0; c < n; c += VH) {
        vh in[TAPS], r[ROW];
        for (size_t i = 0; i < taps; i++) in[i] = vh_load(w + i * w_tap + c);
        if (taps == TAPS) five_weights_to_points(r, in);
        else weights_to_points(r, in);
        for (size_t k = 0; k < points_of_taps(taps); k++) vh_store(u + k * u_point + c, r[k]);
    }
}

V_FN void row_dw(float *dw, ptrdiff_t w_tap, const float *u, size_t u_point, size_t n, size_t taps)
{
    for (size_t c = 0; c < n; c += VH) {
        vh in[ROW], r[TAPS];
        for (size_t k = 0; k < points_of_taps(taps); k++) in[k] = vh_load(u + k * u_point + c);
        if (taps == TAPS) five_points_to_weights(r, in);
        else points_to_weights(r, in);
        for (size_t i = 0; i < taps; i++) vh_store(dw + (ptrdiff_t)i * w_tap + c, r[i]);
    }
}

#define ROW_KERNELS(taps)                                                                    \
    static void row_in_##taps(const struct cvyi_winograd_row *g, const float *x, float *v)   \
    {                                                                                        \
        row_in(g, x, v, taps);                                                               \
    }                                                                                        \
    static void row_out_##taps(const struct cvyi_winograd_row *g, const float *v,            \
                               const float *bias, float *y)                                  \
    {                                                                                        \
        row_out(g, v, bias, y, taps);                                                        \
    }                                                                                        \
    static void row_grad_##taps(const struct cvyi_winograd_row *g, const float *y, float *v) \
    {                                                                                        \
        row_grad(g, y, v, taps);                                                             \
    }                                                                                        \
    static void row_data_##taps(const struct cvyi_winograd_row *g, const float *v, float *x) \
    {                                                                                        \
        row_data(g, v, x, taps);                                                             \
    }                                                                                        \
    static void row_weights_##taps(float *u, size_t u_point, const float *w, size_t w_tap,   \
                                   size_t n)                                                 \
    {                                                                                        \
        row_weights(u, u_point, w, w_tap, n, taps);                                          \
    }                                                                                        \
    static void row_dw_##taps(float *dw, ptrdiff_t w_tap, const float *u, size_t u_point,    \
                              size_t n)                                                      \
    {                                                                                        \
        row_dw(dw, w_tap, u, u_point, n, taps);                                              \
    }
ROW_KERNELS(3)
ROW_KERNELS(5)

const struct cvyi_winograd_kernels KFN(winograd) = {
    winograd_in,
    winograd_out,
    winograd_grad,
    winograd_taps,
    winograd_weights,
    winograd_dw,
    { row_in_3, row_in_5 },
    { row_out_3, row_out_5 },
    { row_grad_3, row_grad_5 },
    { row_data_3, row_data_5 },
    { row_weights_3, row_weights_5 },
    { row_dw_3, row_dw_5 },
};
