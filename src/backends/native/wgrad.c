/* Weight and bias gradients of a convolution, by one of four plans, chosen by shape alone:
 *
 * outer  output maps of a few pixels (fully connected and the last layers of deep nets): dy is
 *         transposed once, then sums run over images; tasks own ranges of weights
 * regions  many channels: regions of one map are transposed, then sums run over images and pixels;
 *         tasks own ranges of weights, or of slots as below
 * slots  few weights: every block of images (or band of its rows) sums its own copy of dw, the
 *         copies are folded in order, in double
 * owned  many weights: tasks own ranges of channels and walk over all images; no copies
 *
 * Each map of gradients is one of the four's: `outer` in wgrad_outer.c (wide maps, too), `regions`
 * in wgrad_regions.c, the others in wgrad_pixels.c. */
#include "backends/native/wgrad.h"

#define OUTER_PIXELS ((size_t)8) /* output maps smaller than this are `outer` */
/* from which on tasks may own them: a copy of fewer fits an L2 cache */
#define OWNED_WEIGHTS ((size_t)98304)
/* weights of an owning task at most, if that is not too few: its scratch, in L2 */
#define OWNED_FLOATS ((size_t)40960)
/* weights of a task by slots that stay in L2 from strip to strip */
#define SLOT_FLOATS ((size_t)32768)
#define WGRAD_TASKS ((size_t)64)    /* enough for the threads we expect */
#define BAND_FLOATS ((size_t)65536) /* of x in a block's band: they fit L2 */
#define BAND_PIXELS ((size_t)32)
#define BAND_CHANNELS ((size_t)4)

/* Each range of channels reads all of a block's x again, and each band of rows has a copy of the
 * weights: so a block is cut into bands until its x fits L2, then into ranges of channels, and if
 * these are too few into more bands. */
static struct native_cut slots_cut(const struct native *native, const struct cvy_plan *plan,
                                   const struct native_geometry *g)
{
    size_t floats = g->x.c * g->x.h * g->x.w * NATIVE_LANES, wanted = native_parts(native);
    struct native_work work = {
        .blocks = native->blocks,
        .regions = native_min(ceil_div(g->y.h * g->y.w, BAND_PIXELS), g->y.h),
        .tiles = ceil_div(g->groups * g->oc, BAND_CHANNELS),
        .wanted = wanted,
        .least_bands = native_min(ceil_div(floats, BAND_FLOATS), wanted),
        .most = wanted == 1 ? 1 : ceil_div(WGRAD_TASKS, native->blocks),
    };
    native_chose(plan, CHOICE_SLOT_FIT, floats <= BAND_FLOATS);
    return cvyi_native_cut(&work);
}

static struct native_rectangles owned_cut(const struct native_geometry *g)
{
    size_t most = OWNED_FLOATS / g->taps;
    struct native_rectangles r = { .groups = g->groups,
                                   .o = g->oc,
                                   .i = g->ic,
                                   .i_weight = 1,
                                   .o_least = 4,
                                   .i_least = 2,
                                   .most = most ? most : 1,
                                   .o_step = g->oc,
                                   .i_step = g->ic };
    cvyi_native_rectangles(&r, WGRAD_TASKS);
    return r;
}

/* What goes through caches, in floats: copies of the weights, each cleared, added to (two ways) and
 * folded, once if a task's fit L2 and else for every strip, and both maps once; or no copies, and
 * each map once for every range of the other's channels. */
static bool owning_is_cheaper(const struct native *native, const struct cvy_plan *plan,
                              const struct native_wgrad *a)
{
    const struct native_geometry *g = &a->conv;
    double x = (double)(native->capacity * g->x.c * g->x.h * g->x.w),
           y = (double)(native->capacity * g->y.c * g->y.h * g->y.w);
    size_t strips = ceil_div(g->y.h * g->y.w, SHARED_PIXELS), n = native_n_weights(g);
    bool held = native_chose(plan, CHOICE_SLOT_HELD, n / a->cut.parts <= SLOT_FLOATS);
    double copies =
        (double)(native->blocks * (held || strips < a->cut.bands ? a->cut.bands : strips));
    return x * (double)a->own.o_ranges + y * (double)a->own.i_ranges <=
           4 * copies * (double)n + x + y;
}

static bool is_outer(const struct native_geometry *g)
{
    return g->y.h * g->y.w < OUTER_PIXELS && g->oc >= 4;
}

/* Regions do, whose pixels lie side by side in both maps. */
bool cvyi_native_wgrad_normalises(const struct native_geometry *g)
{
    return !g->tall.unit && !g->wide.unit && !is_outer(g) && cvyi_native_wgrad_by_regions(g) &&
           g->taps == 1 && !g->pad[0] && !g->pad[1] && g->stride[0] * g->stride[1] == 1 &&
           g->x.h == g->y.h && g->x.w == g->y.w;
}

enum cvy_status cvyi_native_wgrad_plan(struct native *native, struct cvy_plan *plan,
                                       const char *name, const struct native_geometry *geometry,
                                       int dw, int db)
{
    struct native_wgrad *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    *a = (struct native_wgrad){
        .native = native, .name = name, .conv = *geometry, .dw = dw, .db = db
    };
    const struct native_geometry *g = &a->conv;
    if (g->tall.unit) return cvyi_native_wgrad_outer(plan, a);
    if (g->wide.unit) return cvyi_native_wgrad_wide(plan, a);
    if (native_chose(plan, CHOICE_OUTER, is_outer(g))) return cvyi_native_wgrad_outer(plan, a);
    if (native_chose(plan, CHOICE_BY_REGIONS, cvyi_native_wgrad_by_regions(g)))
        return cvyi_native_wgrad_regions(plan, a);
    a->cut = slots_cut(native, plan, g);
    a->own = owned_cut(g);
    bool owned = native_chose(plan, CHOICE_OWNABLE, native_n_weights(g) >= OWNED_WEIGHTS) &&
                 owning_is_cheaper(native, plan, a);
    return native_chose(plan, CHOICE_OWNED, owned) ? cvyi_native_wgrad_owned(plan, a)
                                                   : cvyi_native_wgrad_slots(plan, a);
}
