/* The direct algorithm: every product that the definition has, maps read where they lie. */
#include "backends/native/algorithm.h"
#include "backends/native/wgrad.h"

static bool supports(const struct native_conv *conv)
{
    (void)conv;
    return true;
}

static bool normalises(const struct native_conv *conv)
{
    return conv->pass == NATIVE_WEIGHTS && cvyi_native_wgrad_normalises(&conv->geometry);
}

static double cost(const struct native *native, const struct native_conv *conv)
{
    if (conv->pass == NATIVE_WEIGHTS) return native_products(&conv->geometry);
    struct native_mac mac = native_mac_of(conv);
    return cvyi_native_mac_cost(native, &mac);
}

static enum cvy_status plan(struct native *native, struct cvy_plan *plan,
                            const struct native_conv *conv)
{
    if (conv->pass == NATIVE_WEIGHTS)
        return cvyi_native_wgrad_plan(native, plan, conv->name, &conv->geometry, conv->weight,
                                      conv->bias);
    struct native_mac mac = native_mac_of(conv);
    return cvyi_native_mac_plan(native, plan, &mac);
}

const struct native_algorithm cvyi_native_direct = { supports, normalises, cost, plan };
