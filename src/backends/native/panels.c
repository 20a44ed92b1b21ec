/* Convolutions as a product over packed panels. The pixels of a region lie `plane` apart from
 * channel to channel, where a stride leaves gaps between them and taps of several rows, and every
 * tile of output channels walks over them again. Laid side by side first, in the task's scratch,
 * each tap's of its own, they are read as one run by all tiles. The sums are those of the direct
 * algorithm, to the bit; gradients of weights have rows to sum over and need no panels. */
#include "backends/native/algorithm.h"

#define PANEL_TAPS ((size_t)256) /* a panel holds no fewer than all of a channel's */

static bool supports(const struct native_conv *conv)
{
    const struct native_geometry *g = &conv->geometry;
    return conv->pass != NATIVE_WEIGHTS && g->taps <= PANEL_TAPS && g->x.h * g->x.w > 1;
}

/* Of a wide map the pixels of all blocks are multiplied together, and no panel is laid; of several
 * taps each would normalise what they share. */
static bool normalises(const struct native_conv *conv)
{
    return !conv->geometry.wide.unit && conv->geometry.taps == 1;
}

static struct native_mac mac_of(const struct native_conv *conv)
{
    struct native_mac mac = native_mac_of(conv);
    mac.panels = true;
    return mac;
}

static double cost(const struct native *native, const struct native_conv *conv)
{
    struct native_mac mac = mac_of(conv);
    return cvyi_native_mac_cost(native, &mac);
}

static enum cvy_status plan(struct native *native, struct cvy_plan *plan,
                            const struct native_conv *conv)
{
    struct native_mac mac = mac_of(conv);
    return cvyi_native_mac_plan(native, plan, &mac);
}

const struct native_algorithm cvyi_native_panels = { supports, normalises, cost, plan };
