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

/* What a task goes back to stays in L2, with room for what passes. */
#define STAY_FLOATS ((size_t)384 * 1024)
/* A copy of more is in no cache when the next step reads it. */
#define CACHED_BYTES ((size_t)2 * 1024 * 1024)

/* Transformed weights, packed for 1x1 or kernel-high products at every point: at `plane` floats
 * from point to point tiles of [source channel][row of the kernel][mo]. Either a packed copy, or
 * made by whoever needs them, a tile and a chunk of source channels at a time. */
struct native_transformed_weights {
    int packed;                        /* negative: */
    const struct native_packing *made; /* what a copy would be */
    cvyi_mac_fn *mac;
    size_t mo, n_tiles, plane;
    const struct native_tile *tiles;
};
/* How many of the tiles that one of `parts` has sum before they are transformed back, where points
 * are so many floats: if the source is one chunk, and its points stay in L2 to be read again, few
 * enough for a near cache; else all. */
#define HELD_CHANNELS ((size_t)32)
static inline size_t native_held(struct cvy_plan *plan,
                                 const struct native_transformed_weights *weights, size_t parts,
                                 bool one_chunk, size_t points)
{
    const size_t all = ceil_div(weights->n_tiles, parts);
    const bool stay = native_chose(plan, CHOICE_TRANSFORMED_HELD, points <= STAY_FLOATS);
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
    const float *u; /* tiles[0]'s, from mac's first source channel on */
    const float *v;
    size_t v_point;
    float *m;
    size_t m_point;
};
/* mac: all but n_oc. */
static inline void native_multiply_points(const struct native_point_products *p,
                                          struct cvyi_mac *mac)
{
    const struct native_transformed_weights *w = p->weights;
    for (size_t k = 0; k < p->points; k++)
        for (size_t t = 0; t < p->n_tiles; t++) {
            mac->n_oc = p->tiles[t].n;
            w->mac(mac, p->v + k * p->v_point,
                   p->u + k * w->plane + (p->tiles[t].offset - p->tiles->offset), NULL,
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
/* tiles[0]'s weights, packed, so many floats behind its first. */
static inline const float *native_packed(const struct native_transformed_weights *weights,
                                         const struct cvy_run *run, const struct native_tile *tiles,
                                         size_t floats)
{
    return (const float *)run->buf[weights->packed] + tiles->offset + floats;
}
/* For products of so many pixels; make: source channels that are made at a time, or 0. */
enum cvy_status cvyi_native_transformed_pack(struct native *native, struct cvy_plan *plan,
                                             const struct native_conv *conv, size_t pixels,
                                             size_t make,
                                             struct native_transformed_weights *weights);
/* What was not packed, of one tile and some source channels: u[point][channel][mo], `plane` floats
 * a point. */
void cvyi_native_transformed_make(const struct native_transformed_weights *weights,
                                  const float *weight, const struct native_tile *tile,
                                  struct native_range channels, float *u);

/* By rows: which, and what they cost. */
bool cvyi_native_rows_can(const struct native_conv *conv);
enum cvy_status cvyi_native_transformed_rows(struct native *native, struct cvy_plan *plan,
                                             const struct native_conv *conv);
double cvyi_native_transformed_rows_cost(const struct native_conv *conv);

/* Gradients of weights, of both kinds. */
enum cvy_status cvyi_native_transformed_wgrad(struct native *native, struct cvy_plan *plan,
                                              const struct native_conv *conv);

#endif
