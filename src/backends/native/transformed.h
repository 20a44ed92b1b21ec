/* Transformed convolutions, private to the transformed files: tiles of maps, transformed
 * weights. */
#ifndef CVYI_NATIVE_TRANSFORMED_H
#define CVYI_NATIVE_TRANSFORMED_H

#include "backends/native/algorithm.h"

enum { POINTS = 36, TILE_SIDE = 4, TILE_SOURCE = 6, TAPS = 9 }; /* F(4x4, 3x3) */
enum { ROW_POINTS = 8, ROW_TAPS = 5 };                          /* F(4, 5) */
#define ROW_REGION ((size_t)32) /* tiles of a region in a gradient of weights, by rows */

/* A tile: 4x4 pixels of the one map (fewer at its end) and the 6x6 of the other that they belong
 * to, of which rows and cols (begin, end) lie inside. Offsets in floats inside a channel, that of
 * the 6x6 may lie before it. */
struct native_place {
    ptrdiff_t at;
    size_t to;
    unsigned char rows[2], cols[2], height, width;
};

/* The tiles of `dst` whose pixel (0, 0) has its source in row -pad[0], column -pad[1] of `src`,
 * row by row. NULL: out of memory. */
struct native_place *cvyi_native_places(struct cvy_plan *plan, const struct native_lanes *dst,
                                        const struct native_lanes *src, const ptrdiff_t pad[2]);
static inline size_t native_places(const struct native_lanes *dst)
{
    return ceil_div(dst->h, TILE_SIDE) * ceil_div(dst->w, TILE_SIDE);
}

/* Floats of n channels of so many tiles at one point: planes of points apart by an odd number of
 * lines, so that they do not meet in one set of a cache. */
static inline size_t native_point(size_t n, size_t tiles)
{
    return ((n * tiles) | 1) * NATIVE_LANES;
}

/* Transformed weights, packed for 1x1 or kernel-high products at every point: at `plane` floats
 * from point to point tiles of [source channel][row of the kernel][mo]. */
struct native_transformed_weights {
    int packed;
    cvyi_mac_fn *mac;
    size_t mo, n_tiles, plane;
    const struct native_tile *tiles;
};
/* Kernels that are five wide go by rows (transformed_rows.c). */
static inline bool native_by_rows(const struct native_conv *conv)
{
    return conv->geometry.kernel[1] == ROW_TAPS;
}
/* For products of so many pixels. */
enum cvy_status cvyi_native_transformed_pack(struct native *native, struct cvy_plan *plan,
                                             const struct native_conv *conv, size_t pixels,
                                             struct native_transformed_weights *weights);

/* By rows: which, and what they cost. */
bool cvyi_native_rows_can(const struct native_conv *conv);
enum cvy_status cvyi_native_transformed_rows(struct native *native, struct cvy_plan *plan,
                                             const struct native_conv *conv);
double cvyi_native_transformed_rows_cost(const struct native_conv *conv);

/* Gradients of weights, of both kinds. */
enum cvy_status cvyi_native_transformed_wgrad(struct native *native, struct cvy_plan *plan,
                                              const struct native_conv *conv);

#endif
