/* The native backend's private header: its state, the grid every phase uses, addresses in the lanes
 * layout, and the interface between backend.c and the families (one file per group of operators).
 *
 * A family is asked with the ops that start at this place of the program; take answers how many it
 * wants (0: none) and plan appends the phases. Nothing here knows nets, threads or instruction
 * sets. */
#ifndef CVYI_NATIVE_H
#define CVYI_NATIVE_H

#include "convoy/backend.h"
#include "backends/native/cut.h"
#include "backends/native/kernels/kernels.h"

#define NATIVE_LANES ((size_t)CVYI_LANES)

struct native_weight; /* pack.c: the packed copies of one weight */

/* What a forward piece leaves for its gradient's: places of maxima (argmax.c), how a value was
 * normalised (forward.c), statistics (bn.c), whatever an algorithm of a convolution wants to find
 * again. Begins the struct of whoever saves it, who gives a kind and the value by which it is
 * found. */
enum native_saved_kind {
    NATIVE_SAVED_ARGMAX,
    NATIVE_SAVED_NORM,
    NATIVE_SAVED_STATS,
    NATIVE_SAVED_MADE
};
struct native_saved {
    struct native_saved *next;
    enum native_saved_kind kind;
    int value;
};

/* One per program, from cvy_plan_alloc. */
struct native {
    const struct cvyi_kernels *kernels;
    size_t capacity, blocks; /* images, ceil(capacity / 16) */
    bool training;
    struct native_weight *weights; /* list, by weight id */
    struct native_saved *saved;
};

static inline void native_save(struct native *native, struct native_saved *saved)
{
    saved->next = native->saved;
    native->saved = saved;
}
/* How a value was normalised and what an activation made of it (act -1: nothing), for whoever wants
 * it again: by x and the buffer of the coefficients. Found by either of the two results. Absent: it
 * was not, whoever reads it does. */
struct native_norm {
    struct native_saved saved;
    int x, affine; /* struct cvyi_affine [c] */
    int act;
    float alpha;
    bool absent;
};

/* NULL: none. */
static inline struct native_saved *native_saved(const struct native *native,
                                                enum native_saved_kind kind, int value)
{
    struct native_saved *s = native->saved;
    while (s && (s->kind != kind || s->value != value)) s = s->next;
    return s;
}

static inline const struct native_norm *native_norm_of(const struct native *native, int value)
{
    return (const struct native_norm *)native_saved(native, NATIVE_SAVED_NORM, value);
}

/* conv.c: whether convolution op, or its gradient of the weights, can read x and normalise it as it
 * goes, where the op reads what becomes of it. */
bool cvyi_native_conv_normalises(struct native *native, const struct cvy_plan *plan,
                                 const struct cvy_op_desc *op, int x);
/* backward.c: whether dx is read by one piece alone, which can make its rows as it goes. */
bool cvyi_backward_makes(const struct cvy_plan *plan, int dx);
/* bn_backward.c: whether dx is what a batch norm that subtracts the batch's mean gives back. A
 * number added to a channel in front of it changes nothing behind it, so dx has no sum. */
bool cvyi_bn_dx_has_no_sum(const struct cvy_plan *plan, int dx);

/* -------------------------------------------------------------------------------------- choices */

/* Every choice that native makes by a number: which plan, and on which side of a threshold a shape
 * is. Each is answered through native_chose, which tells the log, and tests/choices_test.c must
 * have seen both answers from cases whose results it compared with the reference's.
 * tests/choices.py: no constant of native bends a plan without being in such a question. X(name,
 * what yes means) */
/* clang-format off */
#define NATIVE_CHOICES(X)                                                \
    X(BLOCKS, "sixteen blocks of images: tasks enough")                  \
    X(PANELS, "conv2d: by panels")                                       \
    X(SMALL_PANELS, "conv2d: small panels of a small map")               \
    X(DEPTHWISE, "conv2d: channel by channel")                           \
    X(DEPTHWISE_BANDS, "conv2d: a plane in several bands of rows")       \
    X(WIDE, "conv2d: the result is a wide map")                          \
    X(TALL, "conv2d: few outputs of very many inputs")                   \
    X(WHOLE, "conv2d: the kernel is the whole map")                      \
    X(CHUNKS, "conv2d: more products than one chain may have")           \
    X(TAPS, "conv2d: one source channel alone has more")                 \
    X(HELD, "conv2d: the weights of a part stay in L2")                  \
    X(BANDS, "conv2d: several bands of pixels")                          \
    X(PARTS, "conv2d: several parts of the channels")                    \
    X(REGIONS, "conv2d: several regions")                                \
    X(NARROW, "conv2d: regions are cut between columns, too")            \
    X(TRANSPOSED, "conv2d: the data gradient")                               \
    X(TRANSFORMED, "conv2d: transformed")                                \
    X(ROW_BANDS, "conv2d: transformed by rows, several bands of them") \
    X(TRANSFORMED_PARTS, "conv2d: transformed anew for parts of the channels") \
    X(TRANSFORMED_CHUNKS, "conv2d: transformed, sums of several chunks") \
    X(TRANSFORMED_HELD, "conv2d: transformed, the points of a chunk stay in L2") \
    X(TRANSFORMED_MADE, "conv2d: transformed, tasks transform the weights") \
    X(TRANSFORMED_SLOTS, "conv2d.dw: transformed, regions have slots") \
    X(OUTER, "conv2d.dw: by images")                                     \
    X(BY_REGIONS, "conv2d.dw: by regions, one map transposed")           \
    X(ACROSS, "conv2d.dw: the map that is transposed is the input")      \
    X(REGION_COLS, "conv2d.dw: regions are parts of rows")               \
    X(REGION_SLOTS, "conv2d.dw: regions have slots")                     \
    X(OWNED, "conv2d.dw: tasks own weights")                             \
    X(OWNABLE, "conv2d.dw: weights enough to be owned")                  \
    X(SLOT_HELD, "conv2d.dw: what a task has of a slot stays in L2")     \
    X(OWNED_SMALL, "conv2d.dw: an owning task's weights are the fewest") \
    X(INTERIOR, "conv2d.dw: taps share the pixels where all are valid")  \
    X(STRIP_ROWS, "conv2d.dw: several rows a strip")                     \
    X(LONG_ROWS, "conv2d.dw: rows longer than the kernel takes")         \
    X(CALLS, "conv2d.dw: more input channels than a call takes")         \
    X(SLOT_FIT, "conv2d.dw: the source of a block stays in L2")          \
    X(SLOT_BANDS, "conv2d.dw: several bands of rows")                    \
    X(SLOT_PARTS, "conv2d.dw: several ranges of channels")               \
    X(OUTER_BLOCKS, "conv2d.dw: more blocks than the kernel takes")      \
    X(OUTER_RANGES, "conv2d.dw: several ranges of input channels")       \
    X(STREAMED, "update: transformed weights are written past the caches") \
    X(UPDATE_GATE, "update: too few weights for a task")                       \
    X(UPDATE_TASKS, "update: several tasks")                                   \
    X(UPDATE_MOST, "update: more than the most tasks")                         \
    X(UPDATE_CELLS, "update: by the cells of a wide map")                      \
    X(UPDATE_COLUMNS, "update: by columns of the weight")                      \
    X(INGEST_BANDS, "ingest: few cells: bands of pixels")                \
    X(FLAT_TASKS, "reorder: a parameter of several tasks")               \
    X(FEW_ROWS, "pool2d: an average with fewer rows than its window")    \
    X(BN_WIDE, "batch_norm: of a wide map")                              \
    X(BN_SEGMENTS, "batch_norm: more pixels than one sum may have")      \
    X(BN_KNOWN, "batch_norm: some channels have statistics already")     \
    X(PIECES, "group_norm: a partial sum of several channels")           \
    X(PIECES_GATE, "group_norm: few blocks, folded by one thread")       \
    X(WHITEN_SEGMENTS, "whitening: more pixels than a task holds at once") \
    X(WHITEN_CHAINS, "whitening: more channels than one chain may have") \
    X(WHITEN_BANDS, "whitening: several bands of pixels")                \
    X(SEGMENTS, "rows: more pixels than pass from op to op at once")     \
    X(SPLIT_ROWS, "rows: segments end inside rows")                      \
    X(FLAT, "rows: several channels are one run")                        \
    X(ARGMAX, "rows: maxima remember their place")                       \
    X(ARGMAX_SUMS, "rows: and x there")                                    \
    X(VIEWS, "move: channels that lie where they belong")                  \
    X(KEPT, "rows: a result inside a chain is kept")                       \
    X(ANEW, "rows: each reader forms a gradient anew")                     \
    X(RECALLED, "rows: and what its activation has saved")                 \
    X(ABSENT, "rows: convolutions normalise what they read")               \
    X(MADE, "depthwise: the gradient of the data is made where it is read") \
    X(MADE_BANDS, "rows: such a gradient in more than one band")
/* clang-format on */

#define NATIVE_CHOICE_NAME(name, meaning) CHOICE_##name,
enum native_choice { NATIVE_CHOICES(NATIVE_CHOICE_NAME) NATIVE_N_CHOICES };
extern const char *const cvyi_native_choices[NATIVE_N_CHOICES]; /* what yes means */

/* Answers `yes`. */
static inline bool native_chose(const struct cvy_plan *plan, enum native_choice choice, bool yes)
{
    cvy_plan_log(plan, 2, "native: %s: %s", cvyi_native_choices[choice], yes ? "yes" : "no");
    return yes;
}

/* ------------------------------------------------------------------------------------- families */

struct native_family {
    /* NULL: one op at a time, always */
    int (*take)(struct native *native, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n);
    enum cvy_status (*plan)(struct native *native, struct cvy_plan *plan,
                            const struct cvy_op_desc *ops, int n, size_t first);
};

extern const struct cvy_backend cvyi_native_backend;

/* One a kind of op, cvyi_native_KEY; who plans several kinds stands under the name of each. */
#define NATIVE_DECLARE(KIND, key, ...) extern const struct native_family cvyi_native_##key;
CVY_OPS(NATIVE_DECLARE, CVY_LIST_NONE, CVY_LIST_NONE)
#define NATIVE_FAMILY(key, take, plan) const struct native_family cvyi_native_##key = { take, plan }

/* ----------------------------------------------------------------------------------------- grid */

/* The grid of a phase whose result has `channels` channels of `pixels` pixels: task = block * parts
 * + part, a part being `unit` channels (0: as even as can be). From the shape alone, never from the
 * thread count.
 * Wide maps, of one pixel and many channels (fully connected), are cut by channels only and a task
 * has all images: their statistics, folding them, their weights' gradient and its update then stay
 * in one task, and weights, which are more than the maps there, stay with one core. */
struct native_grid {
    size_t blocks, parts, unit;
};

#define NATIVE_WIDE ((size_t)5) /* parts; with fewer, threads would wait for the longest */
/* Floats of a cell, at most if a channel has not more: what a phase of a strand writes, the next
 * finds in L2. */
#define NATIVE_CELL ((size_t)512 * 1024 / sizeof(float))

/* Tasks wanted of a block: sixteen blocks are tasks enough, and then a task owns all of its
 * block. */
static inline size_t native_parts(const struct native *native)
{
    return ceil_div(NATIVE_TASKS, native->blocks);
}

static inline struct native_grid native_grid(const struct native *native, size_t channels,
                                             size_t pixels)
{
    /* weight gradients have channels in the lanes */
    size_t vectors = ceil_div(channels, NATIVE_LANES);
    if (pixels == 1 && vectors >= NATIVE_WIDE) {
        size_t unit = ceil_div(vectors, NATIVE_TASKS) * NATIVE_LANES;
        return (struct native_grid){ 1, ceil_div(channels, unit), unit };
    }
    struct native_work work = { .blocks = native->blocks,
                                .tiles = channels,
                                .wanted = native_parts(native) };
    size_t cells = ceil_div(channels * pixels * NATIVE_LANES, NATIVE_CELL);
    if (work.wanted > 1 && cells > work.wanted) work.wanted = cells;
    struct native_cut cut = cvyi_native_cut(&work);
    return (struct native_grid){ cut.blocks, cut.parts, 0 };
}

/* What task `task` of such a grid owns: channels [c0, c1) of blocks [block, end). */
struct native_cell {
    size_t block, end, c0, c1;
};

static inline struct native_cell native_cell(struct native_grid grid, size_t channels, size_t task)
{
    size_t part = task % grid.parts, block = task / grid.parts;
    if (grid.unit) {
        size_t c0 = part * grid.unit, c1 = c0 + grid.unit;
        return (struct native_cell){ 0, SIZE_MAX, c0, c1 < channels ? c1 : channels };
    }
    struct native_range c = native_share(channels, part, grid.parts);
    return (struct native_cell){ block, block + 1, c.begin, c.end };
}

/* Blocks that hold images in this run; tasks of the others return at once. */
static inline size_t native_blocks_in_use(const struct cvy_run *run)
{
    return (run->n + NATIVE_LANES - 1) / NATIVE_LANES;
}

/* Images in block b: 16, fewer in the last, 0 beyond. */
static inline size_t native_images(const struct cvy_run *run, size_t block)
{
    size_t begin = block * NATIVE_LANES;
    if (run->n <= begin) return 0;
    return run->n - begin < NATIVE_LANES ? run->n - begin : NATIVE_LANES;
}

/* Walks through the blocks of a cell that hold images. */
#define NATIVE_BLOCKS(cell, run) \
    for (; (cell).block < (cell).end && native_images(run, (cell).block); (cell).block++)

/* ------------------------------------------------------------------------------------ addresses */

/* A value in the lanes layout, as phases remember it. id < 0: absent. */
struct native_lanes {
    int id;
    size_t c, h, w, plane;
    size_t rest; /* channels between its last of a block and its first of the next: of a view */
};

static inline struct native_lanes native_lanes(const struct cvy_plan *plan, int id)
{
    if (id < 0) return (struct native_lanes){ -1, 0, 0, 0, 0, 0 };
    const struct cvy_value *v = cvy_plan_value(plan, id);
    size_t rest = v->view.c ? v->view.c - v->shape.c : 0;
    return (struct native_lanes){ id, v->shape.c, v->shape.h, v->shape.w, v->plane, rest };
}

/* The value whose memory it is (flatten shares its input's). */
static inline int native_root(const struct cvy_plan *plan, int id)
{
    while (id >= 0 && cvy_plan_value(plan, id)->alias >= 0) id = cvy_plan_value(plan, id)->alias;
    return id;
}

/* Whether an op reads the buffer of value id. */
static inline bool native_reads(const struct cvy_plan *plan, const struct cvy_op_desc *op, int id)
{
    for (int k = 0; k < op->n_in; k++)
        if (op->in[k] >= 0 && native_root(plan, op->in[k]) == native_root(plan, id)) return true;
    return false;
}

/* First float of channel c of block b. */
static inline float *native_at(const struct cvy_run *run, const struct native_lanes *v,
                               size_t block, size_t c)
{
    return (float *)run->buf[v->id] + (block * (v->c + v->rest) + c) * v->plane * NATIVE_LANES;
}

static inline float *native_at_or_null(const struct cvy_run *run, const struct native_lanes *v,
                                       size_t block, size_t c)
{
    return v->id < 0 ? NULL : native_at(run, v, block, c);
}

/* Absent, or without padding between channels. */
static inline bool native_dense(const struct native_lanes *v)
{
    return v->id < 0 || v->plane == v->h * v->w;
}

/* A parameter or other plain buffer; NULL if absent. */
static inline void *native_buf(const struct cvy_run *run, int id)
{
    return id < 0 ? NULL : run->buf[id];
}

/* Adds an access to a phase; absent values are ignored. */
static inline void native_access(struct cvy_phase_desc *phase, int id, enum cvy_access access)
{
    if (id < 0) return;
    phase->access[phase->n_access].value = id;
    phase->access[phase->n_access++].access = access;
}

static inline struct native_grid native_grid_of(const struct native *native,
                                                const struct native_lanes *v)
{
    return native_grid(native, v->c, v->h * v->w);
}

/* How tasks of a grid read and write buffers with a number for each channel: of a wide map, those
 * of their own channels. */
static inline enum cvy_access native_read(struct native_grid grid)
{
    return grid.unit ? CVY_READ_CELL : CVY_READ_ALL;
}
static inline enum cvy_access native_write(struct native_grid grid)
{
    return grid.unit ? CVY_WRITE_CELL : CVY_WRITE_ALL;
}

/* Adds an access by cells of `grid`; of everything if that is not how the value itself is cut. */
static inline void native_cell_access(struct cvy_phase_desc *phase, const struct native *native,
                                      const struct native_lanes *v, struct native_grid grid,
                                      bool write)
{
    bool same = v->id >= 0 && native_grid_of(native, v).unit == grid.unit;
    if (write) native_access(phase, v->id, same ? CVY_WRITE_CELL : CVY_WRITE_ALL);
    else native_access(phase, v->id, same ? CVY_READ_CELL : CVY_READ_ALL);
}

/* `to` may be written over `from`, where both lie alike: planes of a flattened map are not padded,
 * others may be. */
static inline void native_in_place(struct cvy_phase_desc *phase, const struct native_lanes *from,
                                   const struct native_lanes *to)
{
    if (from->c != to->c || from->plane != to->plane || from->rest || to->rest) return;
    phase->in_place.from = from->id;
    phase->in_place.to = to->id;
}

/* A gradient that is not there: who reads it makes rows of it, as often as he needs them. */
struct native_made {
    struct native_saved saved;
    const void *arg;
    /* Rows of a block's channel, one behind the other, to `to`. */
    void (*rows)(const void *arg, const struct cvy_run *run, size_t block, size_t c,
                 struct native_range rows, float *to);
    double flops; /* of all of it */
    /* Declares what making them reads. */
    void (*reads)(const struct native *native, const void *arg, struct cvy_phase_desc *phase);
};
static inline const struct native_made *native_made_of(const struct native *native, int value)
{
    return (const struct native_made *)native_saved(native, NATIVE_SAVED_MADE, value);
}

#define NATIVE_TRY(expr)                                   \
    do {                                                   \
        enum cvy_status native_status = (expr);            \
        if (native_status != CVY_OK) return native_status; \
    } while (0)

/* ------------------------------------------------------------------------------- packed weights */

/* A packed copy of a weight as the mac kernels read it: tiles of up to mo output columns, each
 * [k][tap][mo] with zero in the columns past n. */
struct native_tile {
    size_t group, c0, n; /* columns [c0, c0 + n) within the group */
    size_t offset;       /* of its first float in the buffer */
};
struct native_packing;
/* Rows o of the weight (over all groups) to their places, of each the columns k of ic * taps: all,
 * or where there is one tap a part. Every element of a weight goes to places of the copy that no
 * other does, so that tasks may refresh ranges. */
typedef void native_pack_fn(const struct native_packing *packing, const float *weight,
                            float *packed, struct native_range o, struct native_range k);
struct native_packing {
    native_pack_fn *fill;
    int mo;
    size_t groups, oc, ic, taps; /* of the weight [groups * oc][ic][taps] */
    size_t k;                    /* products of a column: of a tile's [k][mo], taps included */
    size_t n_tiles;
    const struct native_tile *tiles;
    /* rows that are updated together, as the wide map that they make is cut; 0: any */
    size_t unit;
    size_t columns;  /* that are updated together (geometry.h, tall); 0: all */
    const void *arg; /* the fill's own; lives as long as the program */
    int buffer;      /* value id, persistent */
};
/* Columns are output channels, k runs over input channels and taps; or, for the data gradient,
 * columns are input channels, k runs over output channels and taps. */
native_pack_fn cvyi_native_pack_forward, cvyi_native_pack_transposed;

/* Makes the buffer of a packing (all fields but .buffer filled; lives as long as the program),
 * registers its refresh and remembers it for the update of the weight. */
enum cvy_status cvyi_native_pack(struct native *native, struct cvy_plan *plan, const char *name,
                                 int weight, struct native_packing *packing);
/* Number of packings of a weight so far, the i-th of them. */
size_t cvyi_native_packings(const struct native *native, int weight);
const struct native_packing *cvyi_native_packing(const struct native *native, int weight, size_t i);

/* Asks for n lines, `step` floats apart: channels lie pages apart, which no prefetcher foresees. */
static inline void native_ask(const float *line, size_t n, size_t step)
{
    for (size_t i = 0; i < n; i++) __builtin_prefetch(line + i * step);
}

/* mac.c: the tile with the least work, counting what is computed and thrown away at the ends and
 * how well the tile does. Any tile gives the same sums. */
const struct cvyi_mac_tile *cvyi_native_mac_tile(const struct cvyi_mac_kernels *kernels,
                                                 size_t channels, size_t pixels);

#endif
