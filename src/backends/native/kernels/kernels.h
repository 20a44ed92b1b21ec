/* The kernels' contract: what the native backend may ask of an instruction set.
 *
 * A kernel runs on one thread and does not allocate, print, touch globals or errno, or know about
 * images, nets or OpenMP. Sizes and strides count floats unless they say otherwise. It reads and
 * writes nothing outside its operands; NaN and Inf flow as in the reference; preconditions are
 * asserts. "A pixel" is 16 consecutive floats (lanes), 64-byte aligned in practice but kernels must
 * not require it. Every kernel gives the same bits on every table: the order of operations written
 * here is the contract, fma means one rounding.
 *
 * An entry in its family's list at the end adds a kernel to every table and to the kernel check. */
#ifndef CVYI_KERNELS_H
#define CVYI_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convoy/backend.h"

#define CVYI_LANES 16

/* --------------------------------------------------------------------------------------------- mac
 * y[o][p] = init + sum over i, t (in this order: i outer, t inner; one fma chain per output,
 * starting from 0) of
 *           w[i*w_ic + w_tap[t] + o] * x[x_pix[p] + i*x_ic + x_tap[t] + lane]
 * with o < n_oc <= mo, p < n_pix; result stored to y[y_pix[p] + o*y_oc + lane] as
 *   accumulate ? y + sum : sum + bias[o]        (bias NULL: sum alone)
 * n_taps or n_ic 0 gives bias or 0. The weights are packed [i][tap][mo], columns n_oc..mo-1
 * zero. */
struct cvyi_mac {
    size_t n_pix;
    const int32_t *x_pix, *y_pix; /* offsets of pixels, may be negative for x */
    size_t n_taps;
    const int32_t *x_tap, *w_tap; /* w_tap in floats (tap * mo) */
    size_t n_ic;
    size_t x_ic, w_ic, y_oc;
    size_t n_oc;
    bool accumulate;
};
typedef void cvyi_mac_fn(const struct cvyi_mac *m, const float *x, const float *w,
                         const float *bias, float *y);

/* A register tile of the table: mo output channels x so many registers of pixels, which hold np
 * whole ones (or a part of one). The planner picks one by shape and MUST give the same sums with
 * any: the order above does not depend on the tile. percent: of the FMA peak that it reached on
 * full tiles from L1 with a dozen taps, measured; a hint. */
struct cvyi_mac_tile {
    int mo, np, registers, percent;
    cvyi_mac_fn *fn;
};
/* at most; unused entries have mo = 0. Sorted by preference for large layers */
#define CVYI_MAC_TILES 6

/* ------------------------------------------------------------------------------------------- wgrad
 * dw[o*dw_oc + i*dw_i] (+)= fold over lanes of  sum over rows r, columns q (r outer, q inner, one
 * fma chain per lane from 0)
 *           dy[o*dy_oc + r*dy_row + q*dy_col + lane] * x[i][r*x_row + q*x_col + lane]
 * for o < n_oc, i < n_i; x[i] is a pointer (to the (ic, tap) it stands for). n_rows * n_cols <=
 * 1024. fold: l += l+8, l+4, l+2, l+1 in this order (CVYI fold tree). accumulate: add to what dw
 * holds, else overwrite. */
struct cvyi_wgrad {
    size_t n_oc, n_i, n_rows, n_cols;
    ptrdiff_t dy_oc, dy_row, dy_col, x_row, x_col;
    ptrdiff_t dw_oc;
    bool accumulate;
};
typedef void cvyi_wgrad_fn(const struct cvyi_wgrad *g, const float *dy, const float *const *x,
                           const ptrdiff_t *dw_i, float *dw);

/* outer: weight gradients where images, not pixels, are summed (1x1 maps, fully connected), from a
 * transposed dy. dw[i*dw_i + o] (+)= sum over images m (one fma chain per output from 0) of
 *           dyt[m*dyt_n + o] * x[m/16*x_block + i*x_i + m%16]
 * o < n_oc, n_oc a multiple of 16, i < n_i. n_images <= 1024. Unless ask is NULL, the lines at
 * ask[m/16*x_block + i*ask_i], which a later call reads, are fetched meanwhile. dyt is read
 * in columns of outer_n channels (a multiple of 16), fastest where those are a dyt of their own. */
#define CVYI_OUTER_N 32 /* outer_n at most */
struct cvyi_outer {
    size_t n_oc, n_i, n_images;
    size_t dyt_n, x_block, x_i, dw_i;
    bool accumulate;
    const float *ask;
    size_t ask_i;
};
typedef void cvyi_outer_fn(const struct cvyi_outer *g, const float *dyt, const float *x, float *dw);

/* --------------------------------------------------------------------------------------- depthwise
 * A rectangle of a map's pixels, rows j < height, columns q < width, to which the same taps apply,
 * with the kernel of its channel.
 * depthwise     y[j*y_row + q*y_col + lane] = sum over r < n_rows, t < n_taps (r outer; one fma
 *               chain from 0, or with resume from y) of
 *           w[r*w_row + t*w_tap] * x[j*x_row + q*x_col + r*tap_row + t*tap_col + lane],
 *               and bias[0] added behind it (NULL: none)
 * depthwise_dw  its gradient of the weights, whose lanes stay apart and whose fma chains go on:
 *           sum[16 * (r*w_row + t*w_tap) + lane] += over j, q (j outer)
 *               dy[j*y_row + q*y_col + lane] * x[as above] */
struct cvyi_depthwise {
    size_t height, width, n_rows, n_taps;
    ptrdiff_t y_row, y_col, x_row, x_col;
    ptrdiff_t tap_row, tap_col, w_row, w_tap;
    bool resume;
};
typedef void cvyi_depthwise_fn(const struct cvyi_depthwise *g, const float *x, const float *w,
                               const float *bias, float *y);
typedef void cvyi_depthwise_dw_fn(const struct cvyi_depthwise *g, const float *dy, const float *x,
                                  float *sum);

/* ---------------------------------------------------------------------------------------- winograd
 * Transforms of F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308): sixteen results of a 3x3 kernel
 * from 36 products. Along one dimension, with a = 3/4 and b = 3/2 (points 0, a, -a, b, -b and
 * infinity; every coefficient of Bt and At is exact in float):
 *   r = Bt d  e = fnma(b^2, d2, d4), o = fnma(b^2, d1, d3); f, q the same with a^2;
 *             r0 = fma(a^2 b^2, d0, fnma(a^2 + b^2, d2, d4)), r1 = fma(a, o, e),
 *             r2 = fnma(a, o, e), r3 = fma(b, q, f), r4 = fnma(b, q, f),
 *             r5 = fma(a^2 b^2, d1, fnma(a^2 + b^2, d3, d5))
 *   r = At m  e = m1 + m2, o = m1 - m2, f = m3 + m4, q = m3 - m4; r0 = m0 + (e + f),
 *             r1 = fma(b, q, a o), r2 = fma(b^2, f, a^2 e), r3 = fma(b^3, q, fma(a^3, o, m5))
 *   r = A y   e = fma(a^2, y2, y0), o = fma(a^2, y3, y1); f, q the same with b^2; r0 = y0,
 *             r1 = fma(a, o, e), r2 = fnma(a, o, e), r3 = fma(b, q, f), r4 = fnma(b, q, f), r5 = y3
 *   r = G w   with N0 = a^2 b^2, Na = 2 a^2 (a^2 - b^2), Nb = 2 b^2 (b^2 - a^2), in double:
 *             w0/N0, ((1/Na) w0 + (a^2/Na) w2) +- (a/Na) w1, the same with b, w2
 * fnma(x, y, z) is fma(-x, y, z). Columns are transformed first, then rows.
 *  winograd_in       v = Bt x B of one tile of n channels, at point i * 6 + j of the six by six;
 *                    pixels outside rows and cols (begin, end) of the tile are 0 and not read
 *  winograd_out      y = At v A + bias (NULL: none), of the tile's first rows[1] rows, cols[1]
 *                    columns
 *  winograd_grad     v = A y At, y is 0 from row rows[1] and column cols[1] on
 *  winograd_taps     rows of taps, which lie side by side, of kernels `column` floats apart, as
 *                    many as a mac tile has columns: w[tap*w_tap + row*w_row + c] =
 *                    weight[c*column + row*taps + tap]; up to 15 floats behind c are written
 *  winograd_weights  u = G w Gt of n columns, each tap's and each point's side by side; whole
 *                    registers are read and written: up to 15 floats behind n
 *  winograd_dw       dw = Gt u G, likewise */
struct cvyi_winograd {
    size_t n;
    ptrdiff_t x_row, x_channel; /* of the map */
    size_t v_point, v_channel;  /* of the points */
    size_t rows[2], cols[2];
};
typedef void cvyi_winograd_in_fn(const struct cvyi_winograd *g, const float *x, float *v);
typedef void cvyi_winograd_out_fn(const struct cvyi_winograd *g, const float *v, const float *bias,
                                  float *y);
typedef void cvyi_winograd_grad_fn(const struct cvyi_winograd *g, const float *y, float *v);
struct cvyi_winograd_taps {
    size_t rows, taps, columns, column;
    ptrdiff_t w_tap, w_row;
};
typedef void cvyi_winograd_taps_fn(float *w, const struct cvyi_winograd_taps *g,
                                   const float *weight);
typedef void cvyi_winograd_weights_fn(float *u, size_t u_point, const float *w, size_t w_tap,
                                      size_t n);
typedef void cvyi_winograd_dw_fn(float *dw, ptrdiff_t w_tap, const float *u, size_t u_point,
                                 size_t n);

/* Along a row of tiles, four results at a time: F(4, 3), three taps from six products, and F(4, 5),
 * five from eight, the first and the second kernel of each array. F(4, 3) is that above in one
 * dimension, Q = a^2 b^2, S = a^2 + b^2, and
 *   r = B n   e, f as in At; o = a (n1 - n2), q = b (n3 - n4): r0 = Q n0,
 *             r1 = fnma(b^2, o, fnma(a^2, q, Q n5)), r2 = fnma(b^2, e, fnma(a^2, f, -S n0)),
 *             r3 = fnma(S, n5, o + q), r4 = n0 + (e + f), r5 = n5
 * F(4, 5) has a = 1/2, 1 and c = 7/4 (points 0, a, -a, 1, -1, c, -c and infinity; the coefficients
 * of Bt and At are exact).
 * q(p, s; x, y, z) = fma(p, x, fnma(s, y, z)); S = a^2 + 1 + c^2, P = a^2 + c^2 + a^2 c^2,
 * Q = a^2 c^2:
 *   r = Bt d  e = q(c^2, 1 + c^2; d2, d4, d6), o = q(c^2, 1 + c^2; d1, d3, d5): r1 = fma(a, o, e),
 *             r2 = fnma(a, o, e); with (Q, a^2 + c^2): r3 = e + o, r4 = e - o; with (a^2, a^2 + 1):
 *             r5 = fma(c, o, e), r6 = fnma(c, o, e); r0 = fnma(Q, d0, q(P, S; d2, d4, d6)),
 *             r7 = fnma(Q, d1, q(P, S; d3, d5, d7))
 *   r = At m  e = m1 + m2, o = m1 - m2, f, q of m3 and m4, g, p of m5 and m6:
 *             r0 = (m0 + e) + (f + g), r1 = fma(c, p, fma(a, o, q)),
 *             r2 = fma(c^2, g, fma(a^2, e, f)), r3 = fma(c^3, p, fma(a^3, o, q + m7))
 *   r = A y   with b^2 in a^2, 1 (y2 + y0 and y3 + y1) and c^2: e = fma(b^2, y2, y0),
 *             o = fma(b^2, y3, y1), e and o as above (1: e + o, e - o); r0 = y0, r7 = y3
 *   r = B n   e, f, g as in At; o = a (n1 - n2), q = n3 - n4, p = c (n5 - n6): r0 = -Q n0,
 *             r1 = fnma(Q, n7, fma(c^2, o, fma(Q, q, a^2 p))),
 *             r2 = fma(P, n0, fma(c^2, e, fma(Q, f, a^2 g))),
 *             r3 = fnma(1 + c^2, o, fnma(a^2 + c^2, q, fnma(a^2 + 1, p, P n7))),
 *             r4 = fnma(1 + c^2, e, fnma(a^2 + c^2, f, fnma(a^2 + 1, g, -S n0))),
 *             r5 = fnma(S, n7, o + (q + p)), r6 = n0 + (e + (f + g)), r7 = n7
 *   r = G w   with N = product of (b - the other points), in double; Gt is its transpose
 *  row_in       v = Bt x of tiles of n channels, tile t from column first + 4t on; columns outside
 *               0 … width - 1 are 0 and not read
 *  row_out      y = At v + bias, tile t at column 4t; only columns below width are written
 *  row_grad     v = A y, columns as those
 *  row_data     x = sums of B v, columns as row_in's; a column that two tiles give is the earlier
 *               one's (0 in front of the first) + the later one's
 *  row_weights  u = G w, row_dw  dw = Gt u: as winograd_weights, winograd_dw */
#define CVYI_ROW_TAPS 2
struct cvyi_winograd_row {
    size_t n, tiles;
    ptrdiff_t first, width;
    ptrdiff_t x_channel;
    size_t v_point, v_tile, v_channel;
};
typedef void cvyi_winograd_row_in_fn(const struct cvyi_winograd_row *g, const float *x, float *v);
typedef void cvyi_winograd_row_out_fn(const struct cvyi_winograd_row *g, const float *v,
                                      const float *bias, float *y);
typedef void cvyi_winograd_row_data_fn(const struct cvyi_winograd_row *g, const float *v, float *x);

/* -------------------------------------------------------------------------------------------- rows
 * n counts floats, a multiple of 16. In place (y == x, dx == dy) is allowed where noted (ip). */

/* Sums over pixels are cut into blocks of CVYI_SUM_BLOCK pixels. A block runs in four chains per
 * lane, each from 0: pixel p goes to chain p % 4. At its end each chain is added to that of the
 * blocks before, from 0 as well, and the result is (chain 0 + chain 1) + (chain 2 + chain 3). Also
 * of chains that stay empty.
 * Per lane l: s[l] = sum of d = x - k, q[l] = sum fma(d, d, q), with a pivot near the mean (the
 * first pixel alone costs a digit where it is background, a mean of a few where one of them is far
 * off): of the differences d = 0, x[P] - x[0], x[2P] - x[0], x[3P] - x[0] the two in the middle, a
 * = max(min(0, d1), min(d2, d3)) and b = min(max(0, d1), max(d2, d3)), k[l] = fma(a + b, 1/2,
 * x[0]), where x[p] is pixel p and P = n / 64. Exact for a constant. 0 < n <= 16*1024. */
#define CVYI_SUM_BLOCK ((size_t)64)
typedef void cvyi_bn_stats_fn(const float *x, size_t n, float k[16], float s[16], float q[16]);

/* The activation's function, applied after z = bn ? fma(a, x - m, b) : x. */
struct cvyi_affine {
    float m, a, b;
};
typedef void cvyi_act_fn(float *y, const float *x, size_t n, float alpha); /* ip */
typedef void cvyi_norm_act_fn(float *y, const float *x, size_t n, const struct cvyi_affine *c,
                              float alpha);                                                 /* ip */
typedef void cvyi_norm_fn(float *y, const float *x, size_t n, const struct cvyi_affine *c); /* ip */
/* g = dy * act'(); from the output y (relu_x: from the input; alpha = gradient at zero).
 * sigmoid: dy * (y * (1 - y)); tanh: dy * (1 - y*y) as fnma; relu: y <= 0 ? 0 : dy; leaky: y <= 0 ?
 * alpha*dy : dy; elu: y <= 0 ? dy * (y + alpha) : dy; softplus: dy * (1 - exp(-y)) for y >= 0;
 * relu6, hardtanh: at a limit or beyond ? 0 : dy; relu_x: x <= 0 ? (x == 0 ? alpha*dy : 0) : dy.
 * Told by x, as the list in types.h says: gelu, gelu_tanh, silu, mish: dy * (gate + x * gate') in
 * the order that act_tmpl.h has; normal_cdf: dy * (exp(-x^2/2) / sqrt(2 pi)); hardswish: x <= -3 ?
 * 0 : x >= 3 ? dy : dy * fma(x, 1/3, 1/2). A NaN in the saved value gives NaN for the smooth ones,
 * else dy. */
typedef void cvyi_act_bwd_fn(float *g, const float *dy, const float *saved, size_t n,
                             float alpha); /* ip g == dy */
/* Per lane, in four chains as bn_stats: s1 += g, s2 = fma(g, x - m, s2). n <= 16*1024. */
typedef void cvyi_bn_reduce_fn(const float *g, const float *x, size_t n, float m, float s1[16],
                               float s2[16]);
/* act_bwd and bn_reduce in one pass, the same bits as one after the other; g is stored. */
typedef void cvyi_act_bwd_reduce_fn(float *g, const float *dy, const float *saved, const float *x,
                                    size_t n, float alpha, float m, float s1[16], float s2[16]);
/* dx = fma(a, g, fma(b, x - m, c)); lanes >= n_lanes of every pixel are set to zero (n_lanes = 16:
 * none). */
struct cvyi_bn_dx {
    float m, a, b, c;
};
/* ip dx == g, dx == x */
typedef void cvyi_bn_dx_fn(float *dx, const float *g, const float *x, size_t n,
                           const struct cvyi_bn_dx *c, unsigned n_lanes);
/* Behind a normalisation and its activation g = act_bwd(dy, saved) need not be stored: each of its
 * two readers forms it anew, with the same bits. saved NULL: so is what it would have found there,
 * z = fma(c.a, x - c.m, c.b), or act(z) of those that are told by the output.
 *  act_reduce  bn_reduce(g, x)
 *  act_bn_dx   bn_dx(g, x); ip dx == dy, dx == x */
struct cvyi_act_norm {
    struct cvyi_affine c;
    float alpha;
};
typedef void cvyi_act_reduce_fn(const float *dy, const float *saved, const float *x, size_t n,
                                const struct cvyi_act_norm *a, float m, float s1[16], float s2[16]);
typedef void cvyi_act_bn_dx_fn(float *dx, const float *dy, const float *saved, const float *x,
                               size_t n, const struct cvyi_act_norm *a, const struct cvyi_bn_dx *c,
                               unsigned n_lanes);
/* For maps of one pixel (fully connected): n pixels in a run, each a channel with numbers
 * of its own. Sums over lanes in double, lane l in chain l % 4, joined as (0+1)+(2+3).
 *  each_stats   mean[i] and m2[i] = sum of (x - mean)^2 over the lanes below n_lanes
 *  each_norm    y = fma(a, x - m, b) with c[i]; ip
 *  each_reduce  s1[i] = sum of g, s2[i] = sum of g * (x - (float)mean[i]), the product rounded to
 *               float; all lanes
 *  each_bn_dx   bn_dx with c[i]; ip dx == g, dx == x */
typedef void cvyi_each_stats_fn(const float *x, size_t n, unsigned n_lanes, double *mean,
                                double *m2);
typedef void cvyi_each_norm_fn(float *y, const float *x, size_t n, const struct cvyi_affine *c);
typedef void cvyi_each_reduce_fn(const float *g, const float *x, size_t n, const double *mean,
                                 double *s1, double *s2);
typedef void cvyi_each_bn_dx_fn(float *dx, const float *g, const float *x, size_t n,
                                const struct cvyi_bn_dx *c, unsigned n_lanes);
/* Statistics of an image (group norm): each lane has numbers of its own, and its sums stay in it.
 * n floats, any number of pixels; pixel p has gamma[p * gamma_step] and beta[p * beta_step], steps
 * of 0 or 1. Sums run over CVYI_LANE_SUM pixels in float, in four chains as bn_stats, then in
 * double.
 *  lane_stats   mean and m2 = sum of (x - mean)^2: of each such part, with k, s and q of bn_stats,
 *               mean = k + s/m and m2 = max(q - s (s/m), 0) in double, of lanes where that is not
 *               finite one chain in double each; joined in their order by Chan's formula, w = nb /
 *               (na + nb), d = mb - mean, mean += d w, m2 += m2b + d d (na w)
 *  lane_norm    y = fma(gamma, fma(s, x - m, r), beta); ip
 *  lane_reduce  with g' = gamma g: s1 += sum of g', s2 += sum of g' (x - m), as fma
 *  lane_dx      dx = fma(a, gamma g, fma(b, x - m, c)), 0 in lanes >= n_lanes; ip dx == g, dx == x
 *  lane_columns of n pixels: s1[p] += sum of g, s2[p] += sum of g fma(s, x - m, r), the product
 *               rounded to float; over lanes in double as each_reduce */
#define CVYI_LANE_SUM ((size_t)256)
struct cvyi_lane_norm {
    float m[CVYI_LANES], s[CVYI_LANES], r[CVYI_LANES];
};
struct cvyi_lane_dx {
    float m[CVYI_LANES], a[CVYI_LANES], b[CVYI_LANES], c[CVYI_LANES];
};
struct cvyi_lane_affine {
    const float *gamma, *beta;
    size_t gamma_step, beta_step;
};
typedef void cvyi_lane_stats_fn(const float *x, size_t n, double mean[16], double m2[16]);
typedef void cvyi_lane_norm_fn(float *y, const float *x, size_t n, const struct cvyi_lane_norm *c,
                               const struct cvyi_lane_affine *affine);
typedef void cvyi_lane_reduce_fn(const float *g, const float *x, size_t n, const float m[16],
                                 const struct cvyi_lane_affine *affine, double s1[16],
                                 double s2[16]);
typedef void cvyi_lane_dx_fn(float *dx, const float *g, const float *x, size_t n,
                             const struct cvyi_lane_dx *c, const struct cvyi_lane_affine *affine,
                             unsigned n_lanes);
typedef void cvyi_lane_columns_fn(const float *g, const float *x, size_t n,
                                  const struct cvyi_lane_norm *c, double *s1, double *s2);
typedef void cvyi_add_fn(float *y, const float *a, const float *b, size_t n); /* ip */
typedef void cvyi_mul_fn(float *y, const float *a, const float *b, size_t n); /* ip */
typedef void cvyi_scale_fn(float *y, const float *x, size_t n, float a);      /* ip */
/* y = bit i of mask set ? x * a : 0, bit l of mask[p] for lane l of pixel p */
typedef void cvyi_mask_scale_fn(float *y, const float *x, const uint16_t *mask, size_t n,
                                float a); /* ip */

/* Results i, i0 <= i < i1, of pixels or whole rows of n floats: y[(i - i0)*n + e] = sum over k,
 * start[i] <= k < start[i + 1], of weight[k] * x[(first[i] + k - start[i])*n + e]: the first
 * product alone, the others as fma in their order; without any 0. */
struct cvyi_taps {
    const uint32_t *first, *start;
    const float *weight;
};
typedef void cvyi_blend_fn(float *y, const float *x, size_t n, const struct cvyi_taps *taps,
                           size_t i0, size_t i1);

/* Pooling, one output row. rows[r], r < n_rows: the input rows of the window that lie inside
 * (n_rows >= 1). Column q covers input columns [q*sw - pl, q*sw - pl + kw) clipped to [0, iw). */
struct cvyi_pool {
    size_t ow, iw, kw, sw, pl;
    bool apart; /* no two windows overlap, in rows or columns */
};
/* First maximum in scan order wins, NaN wins over everything (the first NaN). */
typedef void cvyi_pool_max_fn(const struct cvyi_pool *p, float *y, const float *const *rows,
                              size_t n_rows);
/* dx of the window's first maximum += dy; tie 1: of all maxima; tie 2: dy / count to all. x as in
 * forward. The caller zeroed dx. */
typedef void cvyi_pool_max_bwd_fn(const struct cvyi_pool *p, float *const *dx, const float *dy,
                                  const float *const *rows, size_t n_rows, int tie);
/* Windows that tile the plane (sw == kw, pl == 0; the last may be clipped), for gradients that
 * never unpool. `at`: the place r*kw + column of a window's maximum inside it, below 256. Pooled
 * rows, q < ow.
 * pool_argmax: y as pool_max of z = c ? fma(a, x - m, b) : x, and at; unless NULL picked[q] = x
 * where z is largest. */
typedef void cvyi_pool_argmax_fn(const struct cvyi_pool *p, float *y, uint8_t *at, float *picked,
                                 const float *const *rows, const struct cvyi_affine *c,
                                 size_t n_rows);
/* The pooled gradient g means for one input row, the one of places first … first + kw - 1:
 *           spread[q*kw + j] = at[q] == first + j ? g[q] : 0,  0 in columns that no window covers
 * argmax_bwd     dx = spread argmax_reduce  goes on with the sums of bn_reduce (spread, x with
 * picked[q] in its columns), whose
 *               pixel number `start` the row's first is; where spread is 0 nothing changes, so the
 *               bits are those of bn_reduce
 * argmax_bn_dx   bn_dx(spread, x); ip dx == x */
typedef void cvyi_argmax_bwd_fn(const struct cvyi_pool *p, float *dx, const float *g,
                                const uint8_t *at, size_t first);
struct cvyi_sums {                                        /* by chain */
    float s1[4][CVYI_LANES], s2[4][CVYI_LANES];           /* of the block that is not over */
    float before1[4][CVYI_LANES], before2[4][CVYI_LANES]; /* of the blocks before it */
};
typedef void cvyi_argmax_reduce_fn(const struct cvyi_pool *p, struct cvyi_sums *sums, size_t start,
                                   const float *g, const uint8_t *at, const float *picked,
                                   size_t first, float m);
typedef void cvyi_argmax_bn_dx_fn(const struct cvyi_pool *p, float *dx, const float *x,
                                  const float *g, const uint8_t *at, size_t first,
                                  const struct cvyi_bn_dx *c, unsigned n_lanes);
/* y = sum * inv[q]: in scan order where n_rows * kw is at most CVYI_POOL_CHAIN; larger windows by
 * chains from 0 over so many pixels of a row at most, which are added in double in scan order,
 * times inv[q] in double. dx += dy * inv[q] */
#define CVYI_POOL_CHAIN ((size_t)16)
typedef void cvyi_pool_avg_fn(const struct cvyi_pool *p, float *y, const float *const *rows,
                              size_t n_rows, const float *inv);
typedef void cvyi_pool_avg_bwd_fn(const struct cvyi_pool *p, float *const *dx, const float *dy,
                                  size_t n_rows, const float *inv);
/* The same gradients where many windows share a pixel: dx in double; each share is a float as
 * above. y = (float)x. */
typedef void cvyi_pool_max_bwd_wide_fn(const struct cvyi_pool *p, double *const *dx,
                                       const float *dy, const float *const *rows, size_t n_rows,
                                       int tie);
typedef void cvyi_pool_avg_bwd_wide_fn(const struct cvyi_pool *p, double *const *dx,
                                       const float *dy, size_t n_rows, const float *inv);
typedef void cvyi_narrow_fn(float *y, const double *x, size_t n);

/* ------------------------------------------------------------------------------------------- lanes
 * Sixteen images to pixels and back; only the first n_lanes images exist, other lanes become 0. */
/* dst[p*16 + l] = fma(src[l][p], scale, shift[p]), p < n */
typedef void cvyi_ingest_u8_fn(float *dst, const uint8_t *const *src, size_t n, unsigned n_lanes,
                               float scale, const float *shift);
typedef void cvyi_ingest_f32_fn(float *dst, const float *const *src, size_t n, unsigned n_lanes,
                                float scale, const float *shift);
typedef void cvyi_to_lanes_fn(float *dst, const float *const *src, size_t n,
                              unsigned n_lanes); /* exact copy */
typedef void cvyi_from_lanes_fn(float *const *dst, const float *src, size_t n,
                                unsigned n_lanes); /* dst[l][p] */
/* dst[l*dst_n + o] = src[o*src_o + l] for o < n, zero for n <= o < n_pad (a multiple of 16) */
typedef void cvyi_transpose_fn(float *dst, size_t dst_n, const float *src, size_t src_o, size_t n,
                               size_t n_pad);
/* What the taps of pixels read, side by side, in tiles of np pixels, as a mac tile reads a run:
 * panel[(((p / np * n_ic + i) * n_taps + t) * np + p % np) * 16 + lane]
 *     = x[x_pix[p] + i * x_ic + x_tap[t] + lane]
 * The rest of the last tile, if it is not full, is left as it is. Unless affine is NULL what is
 * laid is norm_act of it, with affine[i], act and alpha; act is one of CVYI_CHEAP_ACTS. */
struct cvyi_panel {
    size_t n_pix, np;
    const int32_t *x_pix;
    size_t n_taps;
    const int32_t *x_tap;
    size_t n_ic, x_ic;
    const struct cvyi_affine *affine;
    int act;
    float alpha;
};
/* Made from the input in no time. X(NAME, name) */
#define CVYI_CHEAP_ACTS(X) \
    X(RELU, relu) X(LEAKY_RELU, leaky_relu) X(RELU6, relu6) X(HARDTANH, hardtanh)
typedef void cvyi_panel_fn(float *panel, const float *x, const struct cvyi_panel *p);

/* --------------------------------------------------------------------------------- loss, update */

/* Softmax over n_c channels of one pixel column: y[c*ld + l] = exp(x - max) / sum (the sum in
 * channel order, compensated). ip */
typedef void cvyi_softmax_fn(float *y, const float *x, size_t n_c, size_t ld);
/* Sixteen rows of a loss, one a lane: a pixel of sixteen images. q = (1-s)*t + s/n_c. */
struct cvyi_loss_rows {
    int32_t label[16];   /* y; with targets where the first of their maxima is */
    float weight[16];    /* w; 0: the lane takes no part */
    float scale[16];     /* of the gradient: w / sum w */
    const float *target; /* t[c*16 + l]; NULL: 1 at the label, 0 elsewhere */
    float smoothing;     /* s */
    float margin;
};
/* loss[l] = w * l as at cvy_loss_desc, correct[l] (0/1: the first maximum is at the label, none is
 * NaN and not all infinite), and, if dx is not NULL, dx[c*ld + l] = its gradient * scale; all zero
 * in lanes that take no part. Sums over channels in channel order and in double, that of
 * exponentials compensated. What each kind does stands in loss_tmpl.c. ip */
typedef void cvyi_loss_fn(float *dx, const float *x, size_t n_c, size_t ld,
                          const struct cvyi_loss_rows *rows, float loss[16], uint8_t correct[16]);

/* An optimiser's step: its states, NULL where it has none, and its coefficients by the names of
 * backend.h, as floats. Any n. What each does stands in update_tmpl.c. */
typedef void cvyi_update_fn(float *w, const float *dw, float *const *state, size_t n,
                            const float *coef);
/* dst[i] = (float)(sum over s in order, in double, of src[s*stride + i]). Any n. */
typedef void cvyi_fold_fn(float *dst, const float *src, size_t n_slots, size_t stride, size_t n);
/* dst[i] = sum over lanes (fold tree) of src[i*16 + l], n results */
typedef void cvyi_fold_lanes_fn(float *dst, const float *src, size_t n);
/* dst[r*dst_row + i] = src[r*src_row + i], r < rows, i < n, past the caches: for what is so much
 * that nobody finds it there. Any n. */
typedef void cvyi_stream_fn(float *dst, size_t dst_row, const float *src, size_t src_row,
                            size_t rows, size_t n);

/* ------------------------------------------------------------------------------------------- table
 * X(name, type, count): a pointer to cvyi_TYPE_fn, or an array of them. One family of kernels is
 * one template and one const struct per ISA; its members are made from these lists, and
 * tests/kernel_check_*.c does not compile without a check for each of them. Activation kernels come
 * per kind, in the order of CVY_ACTIVATIONS (+ relu_x for act_bwd). */
#define CVYI_ACT_INDEX(NAME, ...) CVYI_ACT_##NAME,
enum {
    CVY_ACTIVATIONS(CVYI_ACT_INDEX) CVYI_N_ACTS,
    CVYI_RELU_X = CVYI_N_ACTS /* index of relu_x in the backward arrays */
};

#define CVYI_WGRAD_KERNELS(X) X(wgrad, wgrad, ) X(outer, outer, )
#define CVYI_DEPTHWISE_KERNELS(X) X(depthwise, depthwise, ) X(depthwise_dw, depthwise_dw, )
/* clang-format off */
#define CVYI_WINOGRAD_KERNELS(X)                                         \
    X(in, winograd_in, ) X(out, winograd_out, ) X(grad, winograd_grad, ) \
    X(taps, winograd_taps, ) X(weights, winograd_weights, )              \
    X(dw, winograd_dw, )                                                 \
    X(row_in, winograd_row_in, [CVYI_ROW_TAPS])                          \
    X(row_out, winograd_row_out, [CVYI_ROW_TAPS])                        \
    X(row_grad, winograd_row_in, [CVYI_ROW_TAPS])                        \
    X(row_data, winograd_row_data, [CVYI_ROW_TAPS])                      \
    X(row_weights, winograd_weights, [CVYI_ROW_TAPS])                    \
    X(row_dw, winograd_dw, [CVYI_ROW_TAPS])
#define CVYI_ACT_KERNELS(X)                                          \
    X(act, act, [CVYI_N_ACTS]) X(norm_act, norm_act, [CVYI_N_ACTS])  \
    X(act_bwd, act_bwd, [CVYI_N_ACTS + 1])                           \
    X(act_bwd_reduce, act_bwd_reduce, [CVYI_N_ACTS + 1])             \
    X(act_reduce, act_reduce, [CVYI_N_ACTS + 1])                     \
    X(act_bn_dx, act_bn_dx, [CVYI_N_ACTS + 1])
#define CVYI_NORM_KERNELS(X)                                                      \
    X(bn_stats, bn_stats, ) X(norm, norm, ) X(bn_reduce, bn_reduce, )             \
    X(bn_dx, bn_dx, ) X(each_stats, each_stats, ) X(each_norm, each_norm, )       \
    X(each_reduce, each_reduce, ) X(each_bn_dx, each_bn_dx, )                     \
    X(lane_stats, lane_stats, ) X(lane_norm, lane_norm, )                         \
    X(lane_reduce, lane_reduce, ) X(lane_dx, lane_dx, ) X(lane_columns, lane_columns, )
#define CVYI_POOL_KERNELS(X)                                                                   \
    X(pool_max, pool_max, ) X(pool_max_bwd, pool_max_bwd, ) X(pool_argmax, pool_argmax, )      \
    X(argmax_bwd, argmax_bwd, ) X(argmax_reduce, argmax_reduce, )                              \
    X(argmax_bn_dx, argmax_bn_dx, ) X(pool_avg, pool_avg, ) X(pool_avg_bwd, pool_avg_bwd, )    \
    X(pool_max_bwd_wide, pool_max_bwd_wide, ) X(pool_avg_bwd_wide, pool_avg_bwd_wide, )
#define CVYI_ROWS_KERNELS(X) \
    X(add, add, ) X(mul, mul, ) X(scale, scale, ) X(mask_scale, mask_scale, ) X(narrow, narrow, ) \
    X(blend, blend, )
#define CVYI_LANES_KERNELS(X)                                                     \
    X(ingest_u8, ingest_u8, ) X(ingest_f32, ingest_f32, ) X(to_lanes, to_lanes, ) \
    X(from_lanes, from_lanes, )                                                   \
    X(transpose, transpose, ) X(panel, panel, )
/* clang-format on */
#define CVYI_LOSS_KERNELS(X) X(softmax, softmax, ) X(loss, loss, [CVY_LOSS_KINDS])
#define CVYI_UPDATE_KERNELS(X)             \
    X(step, update, [CVY_OPTIMIZER_KINDS]) \
    X(fold, fold, ) X(fold_lanes, fold_lanes, ) X(stream, stream, )

#define CVYI_MEMBER(name, type, count) cvyi_##type##_fn *name count;
struct cvyi_mac_kernels {
    struct cvyi_mac_tile tile[CVYI_MAC_TILES];
    size_t parts; /* registers of a pixel */
};
struct cvyi_wgrad_kernels {
    CVYI_WGRAD_KERNELS(CVYI_MEMBER)
    size_t outer_n;
};
struct cvyi_depthwise_kernels {
    CVYI_DEPTHWISE_KERNELS(CVYI_MEMBER)
};
struct cvyi_winograd_kernels {
    CVYI_WINOGRAD_KERNELS(CVYI_MEMBER)
};
struct cvyi_act_kernels {
    CVYI_ACT_KERNELS(CVYI_MEMBER)
};
struct cvyi_norm_kernels {
    CVYI_NORM_KERNELS(CVYI_MEMBER)
};
struct cvyi_pool_kernels {
    CVYI_POOL_KERNELS(CVYI_MEMBER)
};
struct cvyi_rows_kernels {
    CVYI_ROWS_KERNELS(CVYI_MEMBER)
};
struct cvyi_lanes_kernels {
    CVYI_LANES_KERNELS(CVYI_MEMBER)
};
struct cvyi_loss_kernels {
    CVYI_LOSS_KERNELS(CVYI_MEMBER)
};
struct cvyi_update_kernels {
    CVYI_UPDATE_KERNELS(CVYI_MEMBER)
};

/* Each ISA's objects export one of each of these structs and nothing else: cvyi_mac_avx2,
 * cvyi_wgrad_avx2, … */
struct cvyi_kernels {
    const char *isa;
    const struct cvyi_mac_kernels *mac;
    const struct cvyi_wgrad_kernels *wgrad;
    const struct cvyi_depthwise_kernels *depthwise;
    const struct cvyi_winograd_kernels *winograd;
    const struct cvyi_act_kernels *act;
    const struct cvyi_norm_kernels *norm;
    const struct cvyi_pool_kernels *pool;
    const struct cvyi_rows_kernels *rows;
    const struct cvyi_lanes_kernels *lanes;
    const struct cvyi_loss_kernels *loss;
    const struct cvyi_update_kernels *update;
};

/* The table of an ISA (enum cvy_isa, not AUTO), or NULL if it is not in this build. Does not ask
 * the CPU. */
const struct cvyi_kernels *cvyi_kernels_for(int isa);

#endif
