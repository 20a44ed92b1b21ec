/* A convolution's geometry: shapes, strides, borders (which taps of a pixel hit the source) and
 * regions of pixels that fit a cache. Knows no weights' values, no kernels' code and no op: the
 * maps may be values of the program or private buffers of native.
 *
 * Who knows whom:  conv.c (ops, choice) -> algorithms (direct.c, panels.c, depthwise.c) ->
 * passes (mac.c, wgrad.c) -> geometry.c, borders.c, cut.c. */
#ifndef CVYI_NATIVE_GEOMETRY_H
#define CVYI_NATIVE_GEOMETRY_H

#include "backends/native/native.h"

/* A convolution whose defaults are resolved: x (its input) and y (its output) as the forward pass
 * names them; in passes of gradients they are the maps that lie like them (dx, dy). */
struct native_geometry {
    struct native_lanes x, y;
    size_t groups, ic, oc;                            /* ic, oc: per group */
    size_t kernel[2], stride[2], pad[2], dilation[2]; /* pad: top, left */
    size_t taps;
    bool flip;
    /* of y if that is a wide map, by whose cells weights are used and updated; else unit 0 */
    struct native_grid wide;
    /* Few outputs of very many inputs (fully connected): by which input channels weights are
     * multiplied, and updated; else unit 0 */
    struct native_grid tall;
    /* Not NULL: the convolution's input is not there, but x from which this makes it */
    const struct native_norm *norm;
};

/* The geometry of desc between values x and y. A kernel that covers the whole map is turned into a
 * 1x1 kernel over c*h*w channels where memory allows it, so that a fully connected layer has one
 * pixel and one tap. */
struct native_geometry cvyi_native_geometry(const struct native *native,
                                            const struct cvy_plan *plan,
                                            const cvy_conv2d_desc *desc, int x, int y);

/* The grid of a wide map whose cells a convolution can go by; unit 0: it is none, or flatten made
 * it and its cells are those of the map before. */
struct native_grid cvyi_native_wide(const struct native *native, const struct cvy_plan *plan,
                                    const struct native_lanes *v);

/* Row (dim 0) or column (dim 1) of x that tap k of output position p reads; negative or >= size:
 * padding. */
static inline ptrdiff_t native_source(const struct native_geometry *g, int dim, size_t p, size_t k)
{
    return (ptrdiff_t)(p * g->stride[dim] + k * g->dilation[dim]) - (ptrdiff_t)g->pad[dim];
}

/* Place of tap (ky, kx) of the cross-correlation in the weight. */
static inline size_t native_tap(const struct native_geometry *g, size_t ky, size_t kx)
{
    size_t tap = ky * g->kernel[1] + kx;
    return g->flip ? g->taps - 1 - tap : tap;
}

static inline size_t native_n_weights(const struct native_geometry *g)
{
    return g->groups * g->oc * g->ic * g->taps;
}

/* Multiply-adds times two of one pass over an image, as for a convolution without borders. */
static inline double native_products(const struct native_geometry *g)
{
    return 2.0 * (double)(g->y.h * g->y.w) * (double)native_n_weights(g);
}

/* The same of a run at full capacity. */
static inline double native_conv_flops(const struct native *native, const struct native_geometry *g)
{
    return (double)native->capacity * native_products(g);
}

/* ------------------------------------------------------------------------------------ borders.c */

/* One dimension of a destination. Tap first + j * tap_step of position p reads source + j *
 * source_step, j < count. Positions with equal first and count have one border in common (the whole
 * set inside the map is one of them): runs of every `period`-th position. Numbers of borders ascend
 * with the positions that they begin at. */
struct native_position {
    size_t border, source;
};
struct native_border {
    size_t first, count;
};
struct native_axis {
    size_t n, n_source, n_taps, n_borders, period, tap_step;
    ptrdiff_t source_step;
    struct native_position *at;
    struct native_border *border;
    size_t most; /* taps of a border */
};
/* false: out of memory */
bool cvyi_native_axis(struct cvy_plan *plan, const struct native_geometry *g, bool transposed,
                      int dim, struct native_axis *axis);

/* All pixels of a destination, cut into regions that fit the cache, in each of them grouped by
 * their set of taps: mac[first[r] … first[r + 1]) of region r. Whoever runs them fills in n_ic,
 * n_oc and accumulate. */
struct native_borders {
    size_t n_regions;
    size_t *first;
    struct cvyi_mac *mac;
};

/* Of the forward pass (destination y) or, transposed, of the data gradient (destination x), for
 * weights packed mo wide. chunk: source channels that are read together, 0: regions may have any
 * size; regions: at least so many if the map is not too small for it. */
enum cvy_status cvyi_native_borders(struct cvy_plan *plan, const struct native_geometry *g,
                                    bool transposed, size_t mo, size_t chunk, size_t regions,
                                    struct native_borders *borders);

/* Regions of at most so many pixels, in which borders do not meet again: those of more are cut, as
 * even as threes of them can be (tiles of every table come out whole, or nearly), the smaller ones
 * put together. */
enum cvy_status cvyi_native_borders_split(struct cvy_plan *plan, struct native_borders *borders,
                                          size_t pixels);

/* How many regions a chunk of the source is at least cut into. */
size_t cvyi_native_regions(const struct native_lanes *source, size_t chunk);

#endif
