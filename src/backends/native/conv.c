/* Convolution: geometry, forward pass and data gradient. Both are one computation: for every
 * destination pixel a sum over source channels and those taps that hit the source (classes.c), by
 * the mac kernel, with packed weights (pack.c). Weight gradients are in wgrad.c.
 *
 * Source channels are cut into chunks whose sums start afresh and are then added to y: no chain is
 * longer than CHUNK fused multiply-adds, and a chunk of the source stays in the cache while all
 * tiles of channels read it. How work is cut into tasks has no effect on any sum. */
#include "backends/native/conv.h"

#include <limits.h>

#define CHUNK ((size_t)256)
#define BAND_PIXELS ((size_t)128)       /* no band smaller: tiles run along pixels */
#define HELD_BYTES ((size_t)128 * 1024) /* weights that stay in L2 from region to region */

static size_t min(size_t a, size_t b) { return a < b ? a : b; }

struct native_grid cvyi_native_wide(const struct native *native, const struct cvy_plan *plan,
                                    const struct native_lanes *v)
{
    struct native_lanes root = native_lanes(plan, native_root(plan, v->id));
    struct native_grid grid = native_grid_of(native, v);
    return grid.unit && root.h * root.w == 1 ? grid : (struct native_grid){ 0, 0, 0 };
}

struct native_conv cvyi_native_conv_geometry(const struct native *native,
                                             const struct cvy_plan *plan,
                                             const cvy_conv2d_desc *desc, int x, int y)
{
    struct native_conv c = { .x = native_lanes(plan, x),
                             .y = native_lanes(plan, y),
                             .groups = desc->groups,
                             .kernel = { desc->kernel[0], desc->kernel[1] },
                             .stride = { desc->stride[0], desc->stride[1] },
                             .pad = { desc->pad[0], desc->pad[1] },
                             .dilation = { desc->dilation[0], desc->dilation[1] },
                             .flip = desc->flip };
    bool whole = desc->groups == 1 && c.y.h == 1 && c.y.w == 1 && c.kernel[0] == c.x.h &&
                 c.kernel[1] == c.x.w && !c.pad[0] && !c.pad[1] && c.dilation[0] == 1 &&
                 c.dilation[1] == 1 && !c.flip;
    /* such a map's planes are not padded: program/compile.c */
    if (native_chose(plan, CHOICE_WHOLE, whole)) {
        c.x.c *= c.x.plane;
        c.x.h = c.x.w = c.x.plane = c.kernel[0] = c.kernel[1] = 1;
    }
    c.ic = c.x.c / c.groups;
    c.oc = c.y.c / c.groups;
    c.taps = c.kernel[0] * c.kernel[1];
    if (c.groups == 1) c.wide = cvyi_native_wide(native, plan, &c.y);
    native_chose(plan, CHOICE_WIDE, c.wide.unit);
    return c;
}

/* -------------------------------------------------------------------------------------- running */

struct conv_arg {
    struct native_lanes src, dst;
    size_t src_group, chunk; /* source channels of a group, of a chunk */
    size_t dst_group;
    int packed, bias;
    cvyi_mac_fn *mac;
    size_t w_ic; /* floats per source channel of a packed tile */
    size_t n_tiles;
    const struct native_tile *tiles;
    size_t bands, parts; /* tasks per block: bands of the regions x parts of the tiles */
    struct native_classes classes;
    struct native_grid wide; /* dst is a wide map: tasks are its cells, … (unit 0: not) */
    size_t cell_tiles;       /* … of so many tiles, … */
    struct cvyi_mac blocks;  /* … and the pixels of a multiplication all blocks' */
};

/* Tiles `tiles` of the pixels of mac[0 … n), which start at this block. */
static void run_tiles(const struct conv_arg *a, const struct cvy_run *run, size_t block,
                      struct native_range tiles, const struct cvyi_mac *mac, size_t n)
{
    const float *packed = run->buf[a->packed], *bias = native_buf(run, a->bias);
    size_t x_ic = a->src.plane * NATIVE_LANES, y_oc = a->dst.plane * NATIVE_LANES;
    for (size_t i0 = 0; i0 < a->src_group; i0 += a->chunk) {
        size_t n_ic = a->src_group - i0 < a->chunk ? a->src_group - i0 : a->chunk;
        for (size_t t = tiles.begin; t < tiles.end; t++) {
            const struct native_tile *tile = &a->tiles[t];
            size_t channel = tile->group * a->dst_group + tile->c0;
            const float *x = native_at(run, &a->src, block, tile->group * a->src_group + i0);
            float *y = native_at(run, &a->dst, block, channel);
            for (size_t k = 0; k < n; k++) {
                struct cvyi_mac m = mac[k];
                if (i0 && !m.n_taps) continue;
                m.n_ic = n_ic;
                m.x_ic = x_ic;
                m.w_ic = a->w_ic;
                m.y_oc = y_oc;
                m.n_oc = tile->n;
                m.accumulate = i0 > 0;
                a->mac(&m, x, packed + tile->offset + i0 * a->w_ic,
                       bias && !i0 ? bias + channel : NULL, y);
            }
        }
    }
}

static void conv_run(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct conv_arg *a = arg;
    (void)worker;
    if (a->wide.unit) {
        size_t end = (task + 1) * a->cell_tiles;
        struct native_range tiles = { task * a->cell_tiles, end < a->n_tiles ? end : a->n_tiles };
        struct cvyi_mac m = a->blocks;
        m.n_pix = native_blocks_in_use(run);
        run_tiles(a, run, 0, tiles, &m, 1);
        return;
    }
    size_t part = task % a->parts, band = task / a->parts % a->bands,
           block = task / a->parts / a->bands;
    if (block >= native_blocks_in_use(run)) return;
    struct native_range tiles = { a->n_tiles * part / a->parts,
                                  a->n_tiles * (part + 1) / a->parts };
    size_t n = a->classes.n_regions;
    for (size_t r = n * band / a->bands; r < n * (band + 1) / a->bands; r++) {
        size_t first = a->classes.first[r];
        run_tiles(a, run, block, tiles, a->classes.mac + first, a->classes.first[r + 1] - first);
    }
}

/* ------------------------------------------------------------------------------------- planning */

/* The tile with the least work, counting what is computed and thrown away at the ends and how well
 * the tile does. Any tile gives the same sums. */
static const struct cvyi_mac_tile *choose_tile(const struct cvyi_mac_kernels *kernels,
                                               size_t channels, size_t pixels)
{
    const struct cvyi_mac_tile *best = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < CVYI_MAC_TILES && kernels->tile[i].mo; i++) {
        const struct cvyi_mac_tile *tile = &kernels->tile[i];
        size_t mo = (size_t)tile->mo, np = (size_t)tile->np;
        size_t tiles = ceil_div(channels, mo) * ceil_div(pixels, np);
        size_t cost = tiles * mo * np * 10000 / (size_t)tile->percent;
        if (cost < least) {
            least = cost;
            best = tile;
        }
    }
    return best;
}

/* The tiles of all destination channels, group by group, none of them in two cells of a wide
 * map. */
static struct native_tile *build_tiles(struct cvy_plan *plan, const struct conv_arg *a,
                                       size_t groups, size_t mo, size_t *n_tiles)
{
    size_t unit = a->wide.unit ? a->wide.unit : a->dst_group, units = ceil_div(a->dst_group, unit),
           n = 0;
    struct native_tile *tiles =
        cvy_plan_alloc(plan, groups * units * ceil_div(unit, mo) * sizeof *tiles);
    for (size_t u = 0; tiles && u < groups * units; u++) {
        size_t begin = u % units * unit,
               end = begin + unit < a->dst_group ? begin + unit : a->dst_group;
        for (size_t c0 = begin; c0 < end; c0 += mo, n++)
            tiles[n] = (struct native_tile){ u / units, c0, end - c0 < mo ? end - c0 : mo,
                                             n * a->src_group * a->w_ic };
    }
    *n_tiles = n;
    return tiles;
}

/* One pixel of every block, as pixels of one multiplication. */
static bool build_blocks(struct native *native, struct cvy_plan *plan, struct conv_arg *a)
{
    int32_t *x = cvy_plan_alloc(plan, 2 * native->blocks * sizeof *x), *y = x + native->blocks;
    if (!x) return false;
    a->blocks = a->classes.mac[0];
    for (size_t b = 0; b < native->blocks; b++) {
        x[b] = (int32_t)(b * a->src.c * a->src.plane * NATIVE_LANES) + a->blocks.x_pix[0];
        y[b] = (int32_t)(b * a->dst.c * NATIVE_LANES);
    }
    a->blocks.x_pix = x, a->blocks.y_pix = y;
    return true;
}

/* Bands of pixels x parts of the tiles for `wanted` tasks of a block: of the cuts with most tasks
 * up to that the one that streams least, of equals the one with most bands. Every part streams the
 * source of its groups; every band streams all weights, and where a part's do not stay in L2, every
 * region does. */
static void cut(struct conv_arg *a, const struct native_conv *c, size_t wanted, size_t regions)
{
    double weights = (double)(a->n_tiles * a->src_group * a->w_ic), least = 0;
    double source = (double)(a->src.c * a->src.h * a->src.w * NATIVE_LANES);
    size_t pixels = a->dst.h * a->dst.w, tasks = 0;
    for (size_t bands = 1; bands <= wanted && (bands - 1) * BAND_PIXELS < pixels; bands++) {
        size_t parts = min(ceil_div(wanted, bands), a->n_tiles), n = min(bands * parts, wanted);
        bool held = weights * sizeof(float) <= (double)(HELD_BYTES * parts);
        double cost = weights * (double)(held || bands > regions ? bands : regions) +
                      source * (double)ceil_div(parts, c->groups);
        if (n < tasks || (n == tasks && cost > least)) continue;
        a->bands = bands, a->parts = parts, tasks = n, least = cost;
    }
}

static enum cvy_status plan_mac(struct native *native, struct cvy_plan *plan,
                                const struct cvy_op_desc *op, bool mirror)
{
    struct native_conv c =
        cvyi_native_conv_geometry(native, plan, &op->u.conv, mirror ? op->out[0] : op->in[0],
                                  mirror ? op->in[0] : op->out[0]);
    struct conv_arg *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    a->src = mirror ? c.y : c.x;
    a->dst = mirror ? c.x : c.y;
    a->src_group = mirror ? c.oc : c.ic;
    a->dst_group = mirror ? c.ic : c.oc;
    a->bias = mirror ? -1 : native_in(op, 2);
    size_t reach = native->blocks * (a->src.c * a->src.plane + a->dst.c * a->dst.plane);
    if (c.groups == 1 && reach <= INT_MAX / NATIVE_LANES)
        a->wide = cvyi_native_wide(native, plan, &a->dst);
    bool wide = a->wide.unit;
    size_t chunks = ceil_div(a->src_group * c.taps, CHUNK);
    native_chose(plan, CHOICE_MIRROR, mirror);
    native_chose(plan, CHOICE_CHUNKS, chunks > 1);
    if (native_chose(plan, CHOICE_TAPS, c.taps > CHUNK) || chunks > a->src_group)
        chunks = a->src_group;
    a->chunk = ceil_div(a->src_group, chunks);

    size_t pixels = a->dst.h * a->dst.w / (mirror ? c.stride[0] * c.stride[1] : 1);
    const struct cvyi_mac_tile *tile =
        wide ? choose_tile(native->kernels->mac, a->wide.unit, native->blocks)
             : choose_tile(native->kernels->mac, a->dst_group, pixels ? pixels : 1);
    size_t mo = (size_t)tile->mo;
    a->mac = tile->fn;
    a->w_ic = c.taps * mo;
    struct native_packing packing = { .mirror = mirror,
                                      .mo = tile->mo,
                                      .groups = c.groups,
                                      .oc = c.oc,
                                      .ic = c.ic,
                                      .taps = c.taps,
                                      .unit = c.wide.unit };
    a->tiles = build_tiles(plan, a, c.groups, mo, &packing.n_tiles);
    if (!a->tiles) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    a->n_tiles = packing.n_tiles;
    a->cell_tiles = ceil_div(a->wide.unit, mo);

    /* Sixteen blocks are tasks enough, and then a task owns all of its block. */
    bool cells = !wide && native_parts(native) == 1;
    if (wide) a->bands = 1, a->parts = a->wide.parts;
    else cut(a, &c, native_parts(native), cvyi_native_regions(&a->src, a->chunk));
    NATIVE_TRY(cvyi_native_classes(plan, &c, mirror, mo, a->chunk, a->bands, &a->classes));
    a->bands = min(a->bands, a->classes.n_regions);
    native_chose(plan, CHOICE_BANDS, a->bands > 1);
    native_chose(plan, CHOICE_PARTS, a->parts > 1);
    native_chose(plan, CHOICE_HELD,
                 a->n_tiles * a->src_group * a->w_ic * sizeof(float) <= HELD_BYTES * a->parts);
    if (wide && !build_blocks(native, plan, a))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    packing.tiles = a->tiles;
    NATIVE_TRY(cvyi_native_pack(native, plan, op->in[1], &packing));
    a->packed = packing.buffer;

    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = conv_run,
                                    .arg = a,
                                    .blocks = wide    ? a->wide.blocks
                                              : cells ? native->blocks
                                                      : 0,
                                    .parts = wide || cells ? a->parts
                                                           : native->blocks * a->parts * a->bands,
                                    .flops = native_conv_flops(native, &c) };
    native_access(&phase, a->src.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, a->packed, CVY_READ_ALL);
    native_access(&phase, a->bias, CVY_READ_ALL);
    native_access(&phase, a->dst.id, wide || cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

/* Offsets inside a channel, and of taps in a packed tile, are 32 bits. */
static int conv_take(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops,
                     int n)
{
    (void)native, (void)n;
    int last = ops->kind == CVY_OP_CONV2D_BWD_WEIGHTS ? ops->in[1] : ops->out[0];
    const struct cvy_value *v[2] = { cvy_plan_value(plan, ops->in[0]), cvy_plan_value(plan, last) };
    for (int i = 0; i < 2; i++)
        if (v[i]->plane > INT_MAX / 4 / NATIVE_LANES || v[i]->shape.h * v[i]->shape.w > v[i]->plane)
            return 0;
    return ops->u.conv.kernel[0] * ops->u.conv.kernel[1] > INT_MAX / 64 ? 0 : 1;
}

static enum cvy_status conv_plan(struct native *native, struct cvy_plan *plan,
                                 const struct cvy_op_desc *ops, int n, size_t first)
{
    (void)n, (void)first;
    if (ops->kind == CVY_OP_CONV2D_BWD_WEIGHTS) return cvyi_native_wgrad_plan(native, plan, ops);
    return plan_mac(native, plan, ops, ops->kind == CVY_OP_CONV2D_BWD_DATA);
}

const struct native_family cvyi_native_conv = { conv_take, conv_plan };
