/* An algorithm of convolution: which geometries it can do, what it costs there, and how it turns
 * each of the three passes of a layer into phases, from the passes of mac.h and wgrad.h and
 * whatever it adds to them. conv.c asks and chooses; an algorithm is a file, and a name in
 * CVY_ALGORITHMS. */
#ifndef CVYI_NATIVE_ALGORITHM_H
#define CVYI_NATIVE_ALGORITHM_H

#include "backends/native/mac.h"

enum native_pass { NATIVE_FORWARD, NATIVE_DATA, NATIVE_WEIGHTS, NATIVE_PASSES };

/* A pass to plan. The maps are the geometry's: x and y, or in gradients what lies like them. */
struct native_conv {
    const char *name;
    enum native_pass pass;
    struct native_geometry geometry;
    int weight, bias; /* in NATIVE_WEIGHTS their gradients; bias -1: none */
};

/* A forward pass or a data gradient as the pass of mac.h that it is. */
static inline struct native_mac native_mac_of(const struct native_conv *conv)
{
    bool transposed = conv->pass == NATIVE_DATA;
    return (struct native_mac){ .name = conv->name,
                                .geometry = &conv->geometry,
                                .transposed = transposed,
                                .weight = conv->weight,
                                .bias = conv->bias,
                                .pack = transposed ? cvyi_native_pack_transposed
                                                   : cvyi_native_pack_forward };
}

struct native_algorithm {
    bool (*supports)(const struct native_conv *conv);
    /* Whether it makes its source, in a pass that has one, of what comes before a batch norm; NULL:
     * never. */
    bool (*normalises)(const struct native_conv *conv);
    /* Floating-point operations of a pass over an image, and what takes as long; from shapes alone.
     * The least wins, of equals the first in the list. */
    double (*cost)(const struct native *native, const struct native_conv *conv);
    enum cvy_status (*plan)(struct native *native, struct cvy_plan *plan,
                            const struct native_conv *conv);
};

/* One for each of types.h's list. */
#define NATIVE_ALGORITHM(NAME, name) extern const struct native_algorithm cvyi_native_##name;
CVY_ALGORITHMS(NATIVE_ALGORITHM)

#endif
