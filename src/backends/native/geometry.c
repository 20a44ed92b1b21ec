/* What a convolution's op says, resolved: see geometry.h. */
#include "backends/native/geometry.h"

#define TALL_CHANNELS ((size_t)256) /* inputs of a task: their weights and sums stay in L2 */
#define TALL_OUTPUTS ((size_t)256)

struct native_grid cvyi_native_wide(const struct native *native, const struct cvy_plan *plan,
                                    const struct native_lanes *v)
{
    struct native_lanes root = native_lanes(plan, native_root(plan, v->id));
    struct native_grid grid = native_grid_of(native, v);
    return grid.unit && root.h * root.w == 1 ? grid : (struct native_grid){ 0, 0, 0 };
}

/* The side of the weight that gives more tasks is the one that is cut: by few outputs threads would
 * wait for the longest, and every task reads all of x; by inputs all of a small y. */
static struct native_grid tall(const struct native_geometry *g)
{
    size_t parts = ceil_div(g->ic, TALL_CHANNELS),
           wide = g->wide.unit ? g->wide.parts : ceil_div(g->oc, NATIVE_LANES);
    if (g->oc > TALL_OUTPUTS || parts < NATIVE_TASKS / 2 || parts <= wide)
        return (struct native_grid){ 0, 0, 0 };
    return (struct native_grid){ 1, parts, TALL_CHANNELS };
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
    if (whole) g.tall = tall(&g);
    native_chose(plan, CHOICE_TALL, g.tall.unit);
    return g;
}
