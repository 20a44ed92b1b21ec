/* Transformed convolutions, private to the transformed files: tiles of maps, transformed
 * weights. */
#ifndef CVYI_NATIVE_TRANSFORMED_H
#define CVYI_NATIVE_TRANSFORMED_H

#include "backends/native/algorithm.h"

enum { POINTS = 36, TILE_SIDE = 4, TILE_SOURCE = 6, TAPS = 9 }; /* F(4x4, 3x3) */
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
/* How many of the tiles that one of `parts` has sum before they are transformed back, where points
 * are so many floats: if the source is one chunk, and its points stay in L2 to be read again, few
 * enough for a near cache; else all. */
#define HELD_CHANNELS ((size_t)32)
#define HELD_POINTS ((size_t)384 * 1024)
static inline size_t native_held(struct cvy_plan *plan,
                                 const struct native_transformed_weights *weights, size_t parts,
                                 bool one_chunk, size_t points)
{
    const size_t all = ceil_div(weights->n_tiles, parts);
    const bool stay = native_chose(plan, CHOICE_TRANSFORMED_HELD, points <= HELD_POINTS);
    return one_chunk && stay ? native_min(all, ceil_div(HELD_CHANNELS, weights->mo)) : all;
}
/* The first of tiles [begin, end) that is of another group than tile `begin`. */
static inline size_t native_group_end(const struct native_transformed_weights *weights,
                                      size_t begin, size_t end)
{
    size_t t = begin;
    while (t < end && weights->tiles[t].group == weights->tiles[begin].group) t++;
    return t;
}

/* Products at every point: tiles of weights times v, to m, whose first channel is tiles[0]'s. */
struct native_point_products {
    const struct native_transformed_weights *weights;
    const struct native_tile *tiles;
    size_t n_tiles, points;
    const float *v;
    size_t v_point;
    float *m;
    size_t m_point;
};
/* mac: all but n_oc; of source channels from `channel` on. */
static inline void native_multiply_points(const struct native_point_products *p,
                                          const struct cvy_run *run, struct cvyi_mac *mac,
                                          size_t channel)
{
    const struct native_transformed_weights *w = p->weights;
    const float *packed = (const float *)run->buf[w->packed] + channel * mac->w_ic;
    for (size_t k = 0; k < p->points; k++)
        for (size_t t = 0; t < p->n_tiles; t++) {
            mac->n_oc = p->tiles[t].n;
            w->mac(mac, p->v + k * p->v_point, packed + k * w->plane + p->tiles[t].offset, NULL,
                   p->m + k * p->m_point + (p->tiles[t].c0 - p->tiles->c0) * mac->y_oc);
        }
}

/* By rows go kernels of three or five columns: F(4, 3), F(4, 5). */
static inline size_t native_row_points(const struct native_geometry *g)
{
    return g->kernel[1] + TILE_SIDE - 1;
}
/* Which of the kernels of each array. */
static inline size_t native_row_kernel(const struct native_geometry *g)
{
    return g->kernel[1] == 5;
}
/* Kernels of five columns, or of three and not three rows, go by rows (transformed_rows.c). */
static inline bool native_by_rows(const struct native_conv *conv)
{
    return conv->geometry.kernel[0] != 3 || conv->geometry.kernel[1] != 3;
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
