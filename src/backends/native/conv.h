/* What the convolution's files share: a convolution's geometry, the pixels of a mac grouped by
 * their taps. Private to conv.c, classes.c and wgrad.c. */
#ifndef CVYI_NATIVE_CONV_H
#define CVYI_NATIVE_CONV_H

#include "backends/native/native.h"

struct native_range {
    size_t begin, end;
};

/* A convolution whose defaults are resolved: x (its input) and y (its output) as the forward pass
 * names them. */
struct native_conv {
    struct native_lanes x, y;
    size_t groups, ic, oc;                            /* ic, oc: per group */
    size_t kernel[2], stride[2], pad[2], dilation[2]; /* pad: top, left */
    size_t taps;
    bool flip;
    /* of y if that is a wide map, by whose cells weights are used and updated; else unit 0 */
    struct native_grid wide;
};

/* The geometry of desc between values x and y. A kernel that covers the whole map is turned into a
 * 1x1 kernel over c*h*w channels where memory allows it, so that a fully connected layer has one
 * pixel and one tap. */
struct native_conv cvyi_native_conv_geometry(const struct native *native,
                                             const struct cvy_plan *plan,
                                             const cvy_conv2d_desc *desc, int x, int y);

/* The grid of a wide map whose cells a convolution can go by; unit 0: it is none, or flatten made
 * it and its cells are those of the map before. */
struct native_grid cvyi_native_wide(const struct native *native, const struct cvy_plan *plan,
                                    const struct native_lanes *v);

/* Row (dim 0) or column (dim 1) of x that tap k of output position p reads; negative or >= size:
 * padding. */
static inline ptrdiff_t native_conv_source(const struct native_conv *c, int dim, size_t p, size_t k)
{
    return (ptrdiff_t)(p * c->stride[dim] + k * c->dilation[dim]) - (ptrdiff_t)c->pad[dim];
}

/* Place of tap (ky, kx) of the cross-correlation in the weight. */
static inline size_t native_conv_tap(const struct native_conv *c, size_t ky, size_t kx)
{
    size_t tap = ky * c->kernel[1] + kx;
    return c->flip ? c->taps - 1 - tap : tap;
}

/* Multiply-adds times two of one pass at full capacity, as for a convolution without borders. */
static inline double native_conv_flops(const struct native *native, const struct native_conv *c)
{
    return 2.0 * (double)native->capacity * (double)(c->y.h * c->y.w) *
           (double)(c->groups * c->oc) * (double)(c->ic * c->taps);
}

/* All pixels of a destination, cut into regions that fit the cache, in each of them grouped by
 * their set of taps (edge classes): mac[first[r] … first[r + 1]) of region r. Whoever runs them
 * fills in n_ic, n_oc and accumulate. */
struct native_classes {
    size_t n_regions;
    size_t *first;
    struct cvyi_mac *mac;
};

/* Of the forward pass (destination y) or, with mirror, of the data gradient (destination x), for
 * weights packed mo wide. chunk: source channels that are read together; regions: at least so many
 * if the map is not too small for it. */
enum cvy_status cvyi_native_classes(struct cvy_plan *plan, const struct native_conv *c, bool mirror,
                                    size_t mo, size_t chunk, size_t regions,
                                    struct native_classes *classes);

/* How many regions a chunk of the source is at least cut into. */
size_t cvyi_native_regions(const struct native_lanes *source, size_t chunk);

/* wgrad.c */
enum cvy_status cvyi_native_wgrad_plan(struct native *native, struct cvy_plan *plan,
                                       const struct cvy_op_desc *op);

#endif
