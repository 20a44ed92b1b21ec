/* Convolution: geometry, forward pass and data gradient. Both are one computation: for every destination pixel a sum
 * over source channels and those taps that hit the source (classes.c), by the mac kernel, with packed weights (pack.c).
 * Weight gradients are in wgrad.c.
 *
 * Source channels are cut into chunks whose sums start afresh and are then added to y: no chain is longer than CHUNK
 * fused multiply-adds, and a chunk of the source stays in the cache while all tiles of channels read it. How work is cut
 * into tasks has no effect on any sum. */
#include "backends/native/conv.h"

#include <limits.h>

#define CHUNK ((size_t)256)

struct native_conv cvyi_native_conv_geometry(const struct cvy_plan *plan, const cvy_conv2d_desc *desc, int x, int y)
{
    struct native_conv c = { .x = native_lanes(plan, x), .y = native_lanes(plan, y), .groups = desc->groups,
                             .kernel = { desc->kernel[0], desc->kernel[1] },
                             .stride = { desc->stride[0], desc->stride[1] },
                             .pad = { desc->pad[0], desc->pad[1] },
                             .dilation = { desc->dilation[0], desc->dilation[1] }, .flip = desc->flip };
    bool whole = desc->groups == 1 && c.y.h == 1 && c.y.w == 1 && c.kernel[0] == c.x.h && c.kernel[1] == c.x.w &&
                 !c.pad[0] && !c.pad[1] && c.dilation[0] == 1 && c.dilation[1] == 1 && !c.flip &&
                 c.x.plane == c.x.h * c.x.w;
    if (whole) {
        c.x.c *= c.x.plane;
        c.x.h = c.x.w = c.x.plane = c.kernel[0] = c.kernel[1] = 1;
    }
    c.ic = c.x.c / c.groups;
    c.oc = c.y.c / c.groups;
    c.taps = c.kernel[0] * c.kernel[1];
    return c;
}

/* ------------------------------------------------------------------------------------------------ running */

struct conv_arg {
    struct native_lanes src, dst;
    size_t src_group, chunk;      /* source channels of a group, of a chunk */
    size_t dst_group;
    int packed, bias;
    cvyi_mac_fn *mac;
    size_t w_ic;                  /* floats per source channel of a packed tile */
    size_t n_tiles;
    const struct native_tile *tiles;
    size_t parts, bands;          /* tasks per block: parts of the tiles x bands of the regions */
    struct native_classes classes;
};

static void run_region(const struct conv_arg *a, const struct cvy_run *run, size_t block, size_t part, size_t region)
{
    const float *packed = run->buf[a->packed], *bias = native_buf(run, a->bias);
    size_t x_ic = a->src.plane * NATIVE_LANES, y_oc = a->dst.plane * NATIVE_LANES;
    for (size_t i0 = 0; i0 < a->src_group; i0 += a->chunk) {
        size_t n_ic = a->src_group - i0 < a->chunk ? a->src_group - i0 : a->chunk;
        for (size_t t = a->n_tiles * part / a->parts; t < a->n_tiles * (part + 1) / a->parts; t++) {
            const struct native_tile *tile = &a->tiles[t];
            size_t channel = tile->group * a->dst_group + tile->c0;
            const float *x = native_at(run, &a->src, block, tile->group * a->src_group + i0);
            float *y = native_at(run, &a->dst, block, channel);
            for (size_t k = a->classes.first[region]; k < a->classes.first[region + 1]; k++) {
                struct cvyi_mac m = a->classes.mac[k];
                if (i0 && !m.n_taps) continue;
                m.n_ic = n_ic;
                m.x_ic = x_ic;
                m.w_ic = a->w_ic;
                m.y_oc = y_oc;
                m.n_oc = tile->n;
                m.accumulate = i0 > 0;
                a->mac(&m, x, packed + tile->offset + i0 * a->w_ic, bias && !i0 ? bias + channel : NULL, y);
            }
        }
    }
}

static void conv_run(const void *arg, const struct cvy_run *run, size_t task, struct cvy_worker *worker)
{
    const struct conv_arg *a = arg;
    (void)worker;
    size_t band = task % a->bands, part = task / a->bands % a->parts, block = task / a->bands / a->parts;
    if (block >= native_blocks_in_use(run)) return;
    size_t n = a->classes.n_regions;
    for (size_t r = n * band / a->bands; r < n * (band + 1) / a->bands; r++) run_region(a, run, block, part, r);
}

/* ------------------------------------------------------------------------------------------------ planning */

/* The tile with the least work, counting what is computed and thrown away at the ends and how well the tile does. Any
 * tile gives the same sums. */
static const struct cvyi_mac_tile *choose_tile(const struct cvyi_mac_kernels *kernels, size_t channels, size_t pixels)
{
    const struct cvyi_mac_tile *best = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < CVYI_MAC_TILES && kernels->tile[i].mo; i++) {
        const struct cvyi_mac_tile *tile = &kernels->tile[i];
        size_t mo = (size_t)tile->mo, np = (size_t)tile->np;
        size_t tiles = (channels + mo - 1) / mo * ((pixels + np - 1) / np);
        size_t cost = tiles * mo * np * 10000 / (size_t)tile->percent;
        if (cost < least) {
            least = cost;
            best = tile;
        }
    }
    return best;
}

/* The tiles of all destination channels, group by group. */
static struct native_tile *build_tiles(struct cvy_plan *plan, const struct conv_arg *a, size_t groups, size_t mo,
                                       size_t *n_tiles)
{
    size_t per_group = (a->dst_group + mo - 1) / mo, n = *n_tiles = groups * per_group;
    struct native_tile *tiles = cvy_plan_alloc(plan, n * sizeof *tiles);
    for (size_t i = 0; tiles && i < n; i++) {
        size_t c0 = i % per_group * mo, left = a->dst_group - c0;
        tiles[i] = (struct native_tile){ i / per_group, c0, left < mo ? left : mo, i * a->src_group * a->w_ic };
    }
    return tiles;
}

static enum cvy_status plan_mac(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *op, bool mirror)
{
    struct native_conv c = cvyi_native_conv_geometry(plan, &op->u.conv, mirror ? op->out[0] : op->in[0],
                                       mirror ? op->in[0] : op->out[0]);
    struct conv_arg *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    a->src = mirror ? c.y : c.x;
    a->dst = mirror ? c.x : c.y;
    a->src_group = mirror ? c.oc : c.ic;
    a->dst_group = mirror ? c.ic : c.oc;
    a->bias = mirror ? -1 : native_in(op, 2);
    size_t chunks = (a->src_group * c.taps + CHUNK - 1) / CHUNK;
    if (chunks > a->src_group) chunks = a->src_group;
    a->chunk = (a->src_group + chunks - 1) / chunks;

    size_t pixels = a->dst.h * a->dst.w / (mirror ? c.stride[0] * c.stride[1] : 1);
    const struct cvyi_mac_tile *tile = choose_tile(native->kernels->mac, a->dst_group, pixels ? pixels : 1);
    size_t mo = (size_t)tile->mo;
    a->mac = tile->fn;
    a->w_ic = c.taps * mo;
    struct native_packing packing = { .mirror = mirror, .mo = tile->mo, .groups = c.groups, .oc = c.oc, .ic = c.ic,
                                      .taps = c.taps };
    a->tiles = build_tiles(plan, a, c.groups, mo, &packing.n_tiles);
    if (!a->tiles) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    a->n_tiles = packing.n_tiles;

    /* Sixteen blocks are tasks enough, and then a task owns all of its block; below, by tiles, then by pixels. */
    size_t wanted = native_grid(native, NATIVE_TASKS).parts;
    a->parts = a->n_tiles < wanted ? a->n_tiles : wanted;
    size_t bands = (wanted + a->parts - 1) / a->parts;
    NATIVE_TRY(cvyi_native_classes(plan, &c, mirror, mo, a->chunk, bands, &a->classes));
    a->bands = bands < a->classes.n_regions ? bands : a->classes.n_regions;
    packing.tiles = a->tiles;
    NATIVE_TRY(cvyi_native_pack(native, plan, op->in[1], &packing));
    a->packed = packing.buffer;

    bool cells = wanted == 1;
    struct cvy_phase_desc phase = { .name = op->name, .run = conv_run, .arg = a, .blocks = cells ? native->blocks : 0,
                                    .parts = cells ? 1 : native->blocks * a->parts * a->bands,
                                    .flops = native_conv_flops(native, &c) };
    native_access(&phase, a->src.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, a->packed, CVY_READ_ALL);
    native_access(&phase, a->bias, CVY_READ_ALL);
    native_access(&phase, a->dst.id, cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

/* Offsets inside a channel, and of taps in a packed tile, are 32 bits. */
static int conv_take(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    (void)native, (void)n;
    int last = ops->kind == CVY_OP_CONV2D_BWD_WEIGHTS ? ops->in[1] : ops->out[0];
    const struct cvy_value *v[2] = { cvy_plan_value(plan, ops->in[0]), cvy_plan_value(plan, last) };
    for (int i = 0; i < 2; i++)
        if (v[i]->plane > INT_MAX / 4 / NATIVE_LANES || v[i]->shape.h * v[i]->shape.w > v[i]->plane) return 0;
    return ops->u.conv.kernel[0] * ops->u.conv.kernel[1] > INT_MAX / 64 ? 0 : 1;
}

static enum cvy_status conv_plan(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n,
                                 size_t first)
{
    (void)n, (void)first;
    if (ops->kind == CVY_OP_CONV2D_BWD_WEIGHTS) return cvyi_native_wgrad_plan(native, plan, ops);
    return plan_mac(native, plan, ops, ops->kind == CVY_OP_CONV2D_BWD_DATA);
}

const struct native_family cvyi_native_conv = { conv_take, conv_plan };
