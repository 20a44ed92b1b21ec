/* The pass that multiplies maps by weights: a forward convolution, its data gradient, a fully
 * connected layer, and whatever an algorithm turns into one of these. */
#ifndef CVYI_NATIVE_MAC_H
#define CVYI_NATIVE_MAC_H

#include "backends/native/geometry.h"

struct native_mac {
    const char *name;
    const struct native_geometry *geometry;
    bool transposed;      /* from y to x: the data gradient */
    int weight, bias;     /* bias -1: none */
    native_pack_fn *pack; /* from the weight to tiles of [k][mo], k = source channels x taps */
    /* What the taps of a tile's pixels read of the channels that are multiplied together is first
     * laid side by side, in the task's scratch. */
    bool panels;
};
/* What it takes, for an image: floating-point operations, and time at the source as operations. A
 * nominal tile and nominal caches: it must not depend on the machine. */
double cvyi_native_mac_cost(const struct native *native, const struct native_mac *mac);
enum cvy_status cvyi_native_mac_plan(struct native *native, struct cvy_plan *plan,
                                     const struct native_mac *mac);

#endif
