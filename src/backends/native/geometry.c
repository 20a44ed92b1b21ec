/* What a convolution's op says, resolved: see geometry.h. */
#include "backends/native/geometry.h"

struct native_grid cvyi_native_wide(const struct native *native, const struct cvy_plan *plan,
                                    const struct native_lanes *v)
{
    struct native_lanes root = native_lanes(plan, native_root(plan, v->id));
    struct native_grid grid = native_grid_of(native, v);
    return grid.unit && root.h * root.w == 1 ? grid : (struct native_grid){ 0, 0, 0 };
}

struct native_geometry cvyi_native_geometry(const struct native *native,
                                            const struct cvy_plan *plan,
                                            const cvy_conv2d_desc *desc, int x, int y)
{
    struct native_geometry g = { .x = native_lanes(plan, x),
                                 .y = native_lanes(plan, y),
                                 .groups = desc->groups,
                                 .kernel = { desc->kernel[0], desc->kernel[1] },
                                 .stride = { desc->stride[0], desc->stride[1] },
                                 .pad = { desc->pad[0], desc->pad[1] },
                                 .dilation = { desc->dilation[0], desc->dilation[1] },
                                 .flip = desc->flip };
    bool whole = desc->groups == 1 && g.y.h == 1 && g.y.w == 1 && g.kernel[0] == g.x.h &&
                 g.kernel[1] == g.x.w && !g.pad[0] && !g.pad[1] && g.dilation[0] == 1 &&
                 g.dilation[1] == 1 && !g.flip;
    /* such a map's planes are not padded: program/compile.c */
    if (native_chose(plan, CHOICE_WHOLE, whole)) {
        g.x.c *= g.x.plane;
        g.x.h = g.x.w = g.x.plane = g.kernel[0] = g.kernel[1] = 1;
    }
    g.ic = g.x.c / g.groups;
    g.oc = g.y.c / g.groups;
    g.taps = g.kernel[0] * g.kernel[1];
    if (g.groups == 1) g.wide = cvyi_native_wide(native, plan, &g.y);
    native_chose(plan, CHOICE_WIDE, g.wide.unit);
    return g;
}
