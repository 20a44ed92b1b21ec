/* The pass that multiplies maps by weights (mac.h): for every destination pixel a sum over source
 * channels and those taps that hit the source (borders.c), by the mac kernel, with packed weights
 * (pack.c).
 *
 * Source channels are cut into chunks whose sums start afresh and are then added to y: no chain is
 * longer than CHUNK fused multiply-adds, and a chunk of the source stays in the cache while all
 * tiles of channels read it. How work is cut into tasks has no effect on any sum. */
#include "backends/native/mac.h"

#include <limits.h>
#include <string.h>

#define CHUNK ((size_t)256)
#define BAND_PIXELS ((size_t)128)       /* no band smaller: tiles run along pixels */
#define HELD_BYTES ((size_t)128 * 1024) /* weights that stay in L2 from region to region */

/* A panel: so many bytes of the source, that stay in L2 while all tiles of channels read them, but
 * no fewer pixels than weights are worth reading for, and no more than wait for each other. */
#define PANEL_BYTES ((size_t)384 * 1024)
#define PANEL_LEAST ((size_t)24)
#define PANEL_MOST ((size_t)48)
#define PANEL_SMALL ((size_t)12) /* of a map so small that there would be too few panels */

/* What a group of registers of pixels costs beside its products, in products a step of a chain. */
#define TILE_START ((size_t)2)
#define TILE_CHAINS ((size_t)8) /* a step takes as long as so many */

/* What a float of the source costs, in floating-point operations (measured: docs/benchmarks.md). */
#define COLUMNS ((size_t)8)             /* that a nominal tile multiplies it with */
#define NEAR_BYTES ((size_t)512 * 1024) /* a source that is read as fast wherever it lies */
#define FAR 0.05                        /* a read by a tile, for each product of its chains, … */
#define FAR_TAPS 0.03                   /* … where several taps read it */
#define GATHER 8.0                      /* to lay it into a panel, … */
#define GATHER_TAPS 20.0                /* … for each of several taps */
#define SPARSE 1.2 /* a product by panels where a stride leaves few taps of a chain together */

/* -------------------------------------------------------------------------------------- running */

/* Where a multiplication's pixels lie in a panel, in whole chunks and in the last. */
struct place {
    int32_t *pix[2];
};

struct mac_arg {
    struct native_lanes src, dst;
    size_t src_group, chunk; /* source channels of a group, of a chunk */
    size_t dst_group;
    int packed, bias;
    cvyi_mac_fn *mac;
    size_t w_ic; /* floats per source channel of a packed tile */
    size_t n_tiles;
    const struct native_tile *tiles;
    struct native_cut cut; /* bands of the regions, parts of the tiles */
    struct native_borders borders;
    size_t panel_np;                /* pixels a tile of a panel; 0: the source is read in place */
    const struct place *place;      /* of every multiplication's pixels in its region's panel */
    const int32_t *panel_tap;       /* of the taps there, which lie one behind the other */
    const struct native_norm *norm; /* not NULL: what becomes of the source on the way there */
    struct native_grid wide;        /* dst is a wide map: tasks are its cells, … (unit 0: not) */
    size_t cell_tiles;              /* … of so many tiles, … */
    struct cvyi_mac blocks;         /* … and the pixels of a multiplication all blocks' */
    /* Tasks are chunks of the source, all blocks' (unit 0: not), whose sums wait in `partial`,
     * [chunk] times a map like dst, to be added */
    struct native_grid tall;
    struct native_lanes partial;
    const struct native *native;
};

/* Which part of the source a multiplication reads. Passed on by its address: a copy is read in
 * pieces that are not those it was written in, which waits until the stores of the tile before are
 * out, and those wait for memory. */
struct source {
    size_t block, group, begin, end; /* channels of the group */
};

/* Where the pixels of mac lie in the panel of so many channels. */
static const int32_t *place(const struct mac_arg *a, const struct cvyi_mac *mac, size_t channels)
{
    return a->place[mac - a->borders.mac].pix[channels == a->chunk ? 0 : 1];
}

/* All that mac[0 … n) read, as register tiles take it. */
static void gather(const struct mac_arg *a, const struct cvy_run *run, const struct source *s,
                   const struct cvyi_mac *mac, size_t n, float *panel)
{
    struct cvyi_panel p = { .np = a->panel_np,
                            .n_ic = s->end - s->begin,
                            .x_ic = a->src.plane * NATIVE_LANES };
    if (a->norm) {
        p.affine = (const struct cvyi_affine *)run->buf[a->norm->affine] + s->group * a->src_group +
                   s->begin;
        p.act = a->norm->act;
        p.alpha = a->norm->alpha;
    }
    const float *x = native_at(run, &a->src, s->block, s->group * a->src_group + s->begin);
    for (size_t k = 0; k < n; k++) {
        if (!mac[k].n_taps) continue;
        p.n_pix = mac[k].n_pix;
        p.x_pix = mac[k].x_pix;
        p.n_taps = mac[k].n_taps;
        p.x_tap = mac[k].x_tap;
        a->native->kernels->lanes->panel(panel + *place(a, &mac[k], p.n_ic), x, &p);
    }
}

/* The pixels of mac if they have neither taps nor a bias: in runs as long as there are. */
static void clear(const struct cvyi_mac *mac, float *y)
{
    for (size_t o = 0; o < mac->n_oc; o++, y += mac->y_oc)
        for (size_t p = 0, n; p < mac->n_pix; p += n) {
            const int32_t *pix = mac->y_pix + p;
            for (n = 1; p + n < mac->n_pix && pix[n] == pix[n - 1] + CVYI_LANES;) n++;
            memset(y + *pix, 0, n * NATIVE_LANES * sizeof *y);
        }
}

/* One chunk of the source by tile `tile`, for the pixels of mac. */
static void run_tile(const struct mac_arg *a, const struct cvy_run *run, const struct source *s,
                     const struct native_tile *tile, const struct cvyi_mac *mac, const float *panel)
{
    const float *packed = run->buf[a->packed], *bias = native_buf(run, a->bias);
    size_t channel = tile->group * a->dst_group + tile->c0;
    struct cvyi_mac m = *mac;
    const float *x = panel;
    if (s->begin && !m.n_taps) return;
    m.n_ic = s->end - s->begin;
    m.x_ic = a->src.plane * NATIVE_LANES;
    if (panel) {
        m.x_pix = place(a, mac, m.n_ic);
        m.x_tap = a->panel_tap;
        m.x_ic = m.n_taps * a->panel_np * NATIVE_LANES;
    } else x = native_at(run, &a->src, s->block, s->group * a->src_group + s->begin);
    m.w_ic = a->w_ic;
    m.y_oc = a->dst.plane * NATIVE_LANES;
    m.n_oc = tile->n;
    m.accumulate = s->begin > 0 && !a->tall.unit;
    float *y = native_at(run, &a->dst, s->block, channel);
    if (a->tall.unit)
        y = native_at(run, &a->partial, s->begin / a->chunk * a->native->blocks, channel);
    if (!m.n_taps && !bias) clear(&m, y);
    else
        a->mac(&m, x, packed + tile->offset + s->begin * a->w_ic,
               bias && !s->begin ? bias + channel : NULL, y);
}

/* Tiles `tiles` of the pixels of mac[0 … n), which start at this block. */
static void run_tiles(const struct mac_arg *a, const struct cvy_run *run, size_t block,
                      struct native_range tiles, const struct cvyi_mac *mac, size_t n, float *panel)
{
    for (size_t i = 0; i < a->src_group; i += a->chunk) {
        struct source s = { block, SIZE_MAX, i, native_min(i + a->chunk, a->src_group) };
        for (size_t t = tiles.begin; t < tiles.end; t++) {
            if (panel && a->tiles[t].group != s.group) {
                s.group = a->tiles[t].group;
                gather(a, run, &s, mac, n, panel);
            }
            s.group = a->tiles[t].group;
            for (size_t k = 0; k < n; k++) run_tile(a, run, &s, &a->tiles[t], &mac[k], panel);
        }
    }
}

static void tall_run(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct mac_arg *a = arg;
    struct native_range chunk = native_piece(a->src_group, task, a->chunk);
    struct source s = { 0, 0, chunk.begin, chunk.end };
    struct cvyi_mac m = a->blocks;
    (void)worker;
    m.n_pix = native_blocks_in_use(run);
    for (size_t t = 0; t < a->n_tiles; t++) run_tile(a, run, &s, &a->tiles[t], &m, NULL);
}

/* The chunks' sums are added in their order, in double. */
static void add_run(const void *arg, const struct cvy_run *run, size_t task,
                    struct cvy_worker *worker)
{
    const struct mac_arg *a = arg;
    (void)worker;
    struct native_cell cell = { task, task + 1, 0, a->dst.c };
    if (a->wide.unit) cell = native_cell(a->wide, a->dst.c, task);
    NATIVE_BLOCKS (cell, run)
        a->native->kernels->update->fold(native_at(run, &a->dst, cell.block, cell.c0),
                                         native_at(run, &a->partial, cell.block, cell.c0),
                                         a->tall.parts, a->native->blocks * a->dst.c * NATIVE_LANES,
                                         (cell.c1 - cell.c0) * NATIVE_LANES);
}

static void mac_run(const void *arg, const struct cvy_run *run, size_t task,
                    struct cvy_worker *worker)
{
    const struct mac_arg *a = arg;
    if (a->wide.unit) {
        struct native_range tiles = native_piece(a->n_tiles, task, a->cell_tiles);
        struct cvyi_mac m = a->blocks;
        m.n_pix = native_blocks_in_use(run);
        run_tiles(a, run, 0, tiles, &m, 1, NULL);
        return;
    }
    struct native_task t = native_task(a->cut, task);
    if (t.block >= native_blocks_in_use(run)) return;
    struct native_range tiles = native_share(a->n_tiles, t.part, a->cut.parts),
                        regions = native_share(a->borders.n_regions, t.band, a->cut.bands);
    float *panel = a->panel_np ? worker->scratch : NULL;
    for (size_t r = regions.begin; r < regions.end; r++) {
        size_t first = a->borders.first[r];
        run_tiles(a, run, t.block, tiles, a->borders.mac + first, a->borders.first[r + 1] - first,
                  panel);
    }
}

/* ------------------------------------------------------------------------------------- planning */

/* What the kernel takes for n registers of pixels by a tile, as it cuts them: into groups, the last
 * ones narrower. A group has its start, and its chains take their time. */
static size_t group_cost(size_t mo, size_t registers)
{
    return TILE_START + (mo * registers < TILE_CHAINS ? TILE_CHAINS : mo * registers);
}
static size_t tile_cost(const struct cvyi_mac_tile *tile, size_t n)
{
    const size_t mo = (size_t)tile->mo, np = (size_t)tile->registers;
    size_t full = n / np;
    if (full > 0 && n % np > 0) full--;
    size_t cost = full * group_cost(mo, np);
    for (size_t left = n - full * np, step; left > 0; left -= step) {
        step = left > np ? (left + 1) / 2 : left;
        cost += group_cost(mo, step);
    }
    return cost;
}

const struct cvyi_mac_tile *cvyi_native_mac_tile(const struct cvyi_mac_kernels *kernels,
                                                 size_t channels, size_t pixels)
{
    const struct cvyi_mac_tile *best = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < CVYI_MAC_TILES && kernels->tile[i].mo; i++) {
        const struct cvyi_mac_tile *tile = &kernels->tile[i];
        size_t tiles = ceil_div(channels, (size_t)tile->mo);
        size_t cost =
            tiles * tile_cost(tile, pixels * kernels->parts) * 10000 / (size_t)tile->percent;
        if (cost < least) {
            least = cost;
            best = tile;
        }
    }
    return best;
}

/* The tiles of all destination channels, group by group, none of them in two cells of a wide
 * map. */
static struct native_tile *build_tiles(struct cvy_plan *plan, const struct mac_arg *a,
                                       size_t groups, size_t mo, size_t *n_tiles)
{
    size_t unit = a->wide.unit && !a->tall.unit ? a->wide.unit : a->dst_group,
           units = ceil_div(a->dst_group, unit), n = 0;
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
static bool build_blocks(struct native *native, struct cvy_plan *plan, struct mac_arg *a)
{
    int32_t *x = cvy_plan_alloc(plan, 2 * native->blocks * sizeof *x), *y = x + native->blocks;
    if (!x) return false;
    a->blocks = a->borders.mac[0];
    for (size_t b = 0; b < native->blocks; b++) {
        x[b] = (int32_t)(b * a->src.c * a->src.plane * NATIVE_LANES) + a->blocks.x_pix[0];
        y[b] = (int32_t)(b * a->dst.c * NATIVE_LANES);
    }
    a->blocks.x_pix = x;
    a->blocks.y_pix = y;
    return true;
}

/* How many pixels a panel of so many channels has. */
static size_t panel_pixels(const struct native *native, const struct native_lanes *dst,
                           size_t channels)
{
    size_t n = PANEL_BYTES / (channels * NATIVE_LANES * sizeof(float));
    if (n > PANEL_MOST) n = PANEL_MOST;
    if (n < PANEL_LEAST) n = PANEL_LEAST;
    return ceil_div(dst->h * dst->w, n) < native_parts(native) ? PANEL_SMALL : n;
}

/* What a block streams if its work is cut so: every part reads the source of its groups; every band
 * all weights, and where a part's do not stay in L2, every region does. */
struct streams {
    const struct mac_arg *mac;
    size_t groups, regions;
};
static double streams(const void *arg, size_t bands, size_t parts)
{
    const struct streams *s = arg;
    const struct mac_arg *a = s->mac;
    double weights = (double)(a->n_tiles * a->src_group * a->w_ic);
    double source = (double)(a->src.c * a->src.h * a->src.w * NATIVE_LANES);
    bool held = weights * sizeof(float) <= (double)(HELD_BYTES * parts);
    return weights * (double)(held || bands > s->regions ? bands : s->regions) +
           source * (double)ceil_div(parts, s->groups);
}

static struct native_cut cut(const struct native *native, const struct mac_arg *a, size_t groups)
{
    struct streams s = { a, groups, cvyi_native_regions(&a->src, a->chunk) };
    if (a->panel_np) s.regions = a->borders.n_regions;
    struct native_work work = { .blocks = native->blocks,
                                .regions = a->panel_np ? s.regions
                                                       : ceil_div(a->dst.h * a->dst.w, BAND_PIXELS),
                                .tiles = a->n_tiles,
                                .wanted = native_parts(native),
                                .streams = streams,
                                .arg = &s };
    return cvyi_native_cut(&work);
}

/* Maps and how much of the source is multiplied at a time. */
static void open_arg(const struct native *native, struct cvy_plan *plan,
                     const struct native_mac *mac, struct mac_arg *a)
{
    const struct native_geometry *g = mac->geometry;
    bool transposed = native_chose(plan, CHOICE_TRANSPOSED, mac->transposed);
    a->src = transposed ? g->y : g->x;
    a->dst = transposed ? g->x : g->y;
    a->src_group = transposed ? g->oc : g->ic;
    a->dst_group = transposed ? g->ic : g->oc;
    a->bias = mac->bias;
    a->norm = g->norm;
    size_t reach = native->blocks * (a->src.c * a->src.plane + a->dst.c * a->dst.plane);
    if (g->groups == 1 && reach <= INT_MAX / NATIVE_LANES)
        a->wide = cvyi_native_wide(native, plan, &a->dst);
    size_t chunks = ceil_div(a->src_group * g->taps, CHUNK);
    native_chose(plan, CHOICE_CHUNKS, chunks > 1);
    if (native_chose(plan, CHOICE_TAPS, g->taps > CHUNK) || chunks > a->src_group)
        chunks = a->src_group;
    a->chunk = ceil_div(a->src_group, chunks);
    a->native = native;
    if (!transposed) a->tall = g->tall;
    if (a->tall.unit) a->chunk = a->tall.unit;
}

/* The tiles of all channels, and the weights in their order. */
static enum cvy_status pack_tiles(struct native *native, struct cvy_plan *plan,
                                  const struct native_mac *mac, struct mac_arg *a)
{
    const struct native_geometry *g = mac->geometry;
    size_t channels = a->tall.unit ? a->dst_group : a->wide.unit, pixels = native->blocks;
    if (!a->wide.unit && !a->tall.unit) {
        channels = a->dst_group;
        pixels = a->dst.h * a->dst.w / (mac->transposed ? g->stride[0] * g->stride[1] : 1);
        if (!pixels) pixels = 1;
    }
    const struct cvyi_mac_tile *tile = cvyi_native_mac_tile(native->kernels->mac, channels, pixels);
    if (mac->panels) a->panel_np = (size_t)tile->np;
    a->mac = tile->fn;
    a->w_ic = g->taps * (size_t)tile->mo;
    a->tiles = build_tiles(plan, a, g->groups, (size_t)tile->mo, &a->n_tiles);
    if (!a->tiles) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    a->cell_tiles = ceil_div(a->wide.unit, (size_t)tile->mo);
    struct native_packing packing = { .fill = mac->pack,
                                      .mo = tile->mo,
                                      .groups = g->groups,
                                      .oc = g->oc,
                                      .ic = g->ic,
                                      .taps = g->taps,
                                      .k = a->src_group * g->taps,
                                      .n_tiles = a->n_tiles,
                                      .tiles = a->tiles,
                                      .unit = g->wide.unit,
                                      .columns = g->tall.unit };
    const char *name = mac->transposed ? "packed.transposed" : "packed";
    NATIVE_TRY(cvyi_native_pack(native, plan, name, mac->weight, &packing));
    a->packed = packing.buffer;
    return CVY_OK;
}

/* Which pixels are multiplied together, and in which task. */
static enum cvy_status find_pixels(struct native *native, struct cvy_plan *plan,
                                   const struct native_mac *mac, struct mac_arg *a)
{
    const struct native_geometry *g = mac->geometry;
    size_t mo = a->w_ic / g->taps;
    if (mac->panels) {
        NATIVE_TRY(cvyi_native_borders(plan, g, mac->transposed, mo, 0, 1, &a->borders));
        size_t most = 1;
        for (size_t k = 0; k < a->borders.first[a->borders.n_regions]; k++)
            if (a->borders.mac[k].n_taps > most) most = a->borders.mac[k].n_taps;
        size_t pixels = panel_pixels(native, &a->dst, a->chunk * most);
        native_chose(plan, CHOICE_SMALL_PANELS, pixels == PANEL_SMALL);
        NATIVE_TRY(cvyi_native_borders_split(plan, &a->borders, pixels));
    }
    if (a->tall.unit) a->cut = (struct native_cut){ 1, 1, a->tall.parts };
    else if (a->wide.unit) a->cut = (struct native_cut){ 1, 1, a->wide.parts };
    else a->cut = cut(native, a, g->groups);
    if (!mac->panels)
        NATIVE_TRY(
            cvyi_native_borders(plan, g, mac->transposed, mo, a->chunk, a->cut.bands, &a->borders));
    a->cut.bands = native_min(a->cut.bands, a->borders.n_regions);
    native_chose(plan, CHOICE_BANDS, a->cut.bands > 1);
    native_chose(plan, CHOICE_PARTS, a->cut.parts > 1);
    native_chose(plan, CHOICE_HELD,
                 a->n_tiles * a->src_group * a->w_ic * sizeof(float) <= HELD_BYTES * a->cut.parts);
    if ((a->wide.unit || a->tall.unit) && !build_blocks(native, plan, a))
        return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    return CVY_OK;
}

/* Where the pixels of panels lie; answers the floats of the largest panel, 0: out of memory. */
static size_t place_panels(struct cvy_plan *plan, const struct native_mac *mac, struct mac_arg *a)
{
    const struct native_borders *b = &a->borders;
    size_t most = 0, np = a->panel_np, taps = mac->geometry->taps, n = b->first[b->n_regions];
    struct place *places = cvy_plan_alloc(plan, n * sizeof *places);
    int32_t *tap = cvy_plan_alloc(plan, taps * sizeof *tap);
    int32_t *pix = cvy_plan_alloc(plan, 2 * a->dst.h * a->dst.w * sizeof *pix);
    if (!places || !tap || !pix) return 0;
    for (size_t t = 0; t < taps; t++) tap[t] = (int32_t)(t * np * NATIVE_LANES);
    for (int last = 0; last < 2; last++)
        for (size_t r = 0; r < b->n_regions; r++) {
            size_t at = 0;
            for (size_t k = b->first[r]; k < b->first[r + 1]; k++) {
                size_t channels = last ? a->src_group % a->chunk : a->chunk,
                       rows = channels * b->mac[k].n_taps, n_pix = b->mac[k].n_pix;
                places[k].pix[last] = pix;
                for (size_t p = 0; p < n_pix; p++)
                    *pix++ = (int32_t)(at + (p / np * np * rows + p % np) * NATIVE_LANES);
                at += ceil_div(n_pix, np) * np * rows * NATIVE_LANES;
            }
            if (at > most) most = at;
        }
    a->place = places;
    a->panel_tap = tap;
    return most ? most : 1;
}

/* Channels lie a plane apart, and the more of them a tile reads in turn the less of that can be
 * foreseen; panels are laid once by every task that shares their pixels. What a tap has read in
 * place others find near, so it counts once; in a panel it lies once for each. */
double cvyi_native_mac_cost(const struct native *native, const struct native_mac *mac)
{
    const struct native_geometry *g = mac->geometry;
    const struct native_lanes *src = mac->transposed ? &g->y : &g->x,
                              *dst = mac->transposed ? &g->x : &g->y;
    size_t dst_group = dst->c / g->groups, tiles = dst_group / COLUMNS,
           chain = native_min(src->c / g->groups * g->taps, CHUNK);
    double products = native_products(g), source = (double)(src->c * src->h * src->w),
           reads = products / 2 / (double)dst_group;
    if (mac->panels) {
        size_t panels = ceil_div(dst->h * dst->w, panel_pixels(native, dst, chain));
        bool sparse = mac->transposed && g->taps > 1 && g->stride[0] * g->stride[1] > 1;
        return (sparse ? SPARSE : 1) * products +
               (g->taps > 1 ? GATHER_TAPS : GATHER) * reads *
                   (double)ceil_div(native_parts(native), panels);
    }
    if (source * (double)(NATIVE_LANES * sizeof(float)) <= (double)NEAR_BYTES) return products;
    if (reads > source) reads = source;
    return products + (g->taps > 1 ? FAR_TAPS : FAR) * reads * (double)(tiles * chain);
}

static enum cvy_status plan_tall(struct cvy_plan *plan, const struct native_mac *mac,
                                 struct mac_arg *a)
{
    const struct native *native = a->native;
    size_t bytes = a->tall.parts * native->blocks * a->dst.c * NATIVE_LANES * sizeof(float);
    a->partial = (struct native_lanes){
        cvy_plan_buffer(plan, "partial", bytes, false), a->dst.c, 1, 1, 1, 0
    };
    if (a->partial.id < 0) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    struct cvy_phase_desc phase = { .name = mac->name,
                                    .run = tall_run,
                                    .arg = a,
                                    .blocks = a->tall.blocks,
                                    .parts = a->tall.parts,
                                    .flops = native_conv_flops(native, mac->geometry) };
    native_access(&phase, a->src.id, CVY_READ_ALL);
    native_access(&phase, a->packed, CVY_READ_ALL);
    native_access(&phase, a->bias, CVY_READ_ALL);
    native_access(&phase, a->partial.id, CVY_WRITE_ALL);
    NATIVE_TRY(cvy_plan_phase(plan, &phase));
    struct native_grid grid = { native->blocks, 1, 0 };
    if (a->wide.unit) grid = a->wide;
    bool cells = a->wide.unit || native_parts(native) == 1;
    struct cvy_phase_desc add = { .name = mac->name,
                                  .run = add_run,
                                  .arg = a,
                                  .blocks = cells ? grid.blocks : 0,
                                  .parts = cells ? grid.parts : native->blocks };
    native_access(&add, a->partial.id, CVY_READ_ALL);
    native_access(&add, a->dst.id, cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &add);
}

enum cvy_status cvyi_native_mac_plan(struct native *native, struct cvy_plan *plan,
                                     const struct native_mac *mac)
{
    struct mac_arg *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    open_arg(native, plan, mac, a);
    NATIVE_TRY(pack_tiles(native, plan, mac, a));
    NATIVE_TRY(find_pixels(native, plan, mac, a));

    if (a->tall.unit) return plan_tall(plan, mac, a);
    /* Sixteen blocks are tasks enough, and then a task owns all of its block. */
    bool wide = a->wide.unit, cells = !wide && native_parts(native) == 1;
    struct cvy_phase_desc phase = { .name = mac->name,
                                    .run = mac_run,
                                    .arg = a,
                                    .blocks = wide || cells ? a->cut.blocks : 0,
                                    .parts = wide || cells ? a->cut.parts : native_tasks(a->cut),
                                    .flops = native_conv_flops(native, mac->geometry) };
    if (mac->panels) {
        phase.scratch_bytes = place_panels(plan, mac, a) * sizeof(float);
        if (!phase.scratch_bytes) return cvy_plan_fail(plan, CVY_E_NOMEM, "native: out of memory");
    }
    native_access(&phase, a->src.id, cells ? CVY_READ_CELL : CVY_READ_ALL);
    native_access(&phase, a->norm ? a->norm->affine : -1, CVY_READ_ALL);
    native_access(&phase, a->packed, CVY_READ_ALL);
    native_access(&phase, a->bias, CVY_READ_ALL);
    native_access(&phase, a->dst.id, wide || cells ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}
