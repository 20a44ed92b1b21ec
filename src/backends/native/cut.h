/* How the work of a phase is cut into tasks, for every family. Blocks of images outermost, in each
 * block bands of the map (its regions, one after the other), in each band parts of the tiles of
 * channels: what a band reads stays in the cache while its tiles take turns. From shapes alone,
 * never from the number of threads. */
#ifndef CVYI_NATIVE_CUT_H
#define CVYI_NATIVE_CUT_H

#include <stddef.h>

#define NATIVE_TASKS ((size_t)16) /* enough for the threads we expect, few enough to cost nothing */

static inline size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
static inline size_t native_min(size_t a, size_t b) { return a < b ? a : b; }

/* [begin, end) */
struct native_range {
    size_t begin, end;
};

/* Share number i of n things that are dealt to so many. */
static inline struct native_range native_share(size_t n, size_t i, size_t shares)
{
    return (struct native_range){ n * i / shares, n * (i + 1) / shares };
}

/* Piece number i of n things that are cut every `step`; the last may be shorter. */
static inline struct native_range native_piece(size_t n, size_t i, size_t step)
{
    return (struct native_range){ i * step, native_min((i + 1) * step, n) };
}

static inline struct native_range native_meet(struct native_range a, struct native_range b)
{
    return (struct native_range){ a.begin > b.begin ? a.begin : b.begin,
                                  a.end < b.end ? a.end : b.end };
}

/* What there is to cut. */
struct native_work {
    size_t blocks, regions, tiles; /* at most so many of each; blocks are not put together */
    size_t wanted;                 /* tasks of a block, if there is so much to cut */
    size_t least_bands;            /* what fewer read would not fit the cache; 0: any */
    size_t most;                   /* parts are cut on up to so many tasks of a block; 0: wanted */
    /* What the caches have to bring if a block is cut so, in floats: of the cuts with as many tasks
     * as are wanted (or can be had) the one that streams least is taken, of equals the one with
     * most bands. NULL: the one with fewest bands is. */
    double (*streams)(const void *arg, size_t bands, size_t parts);
    const void *arg;
};
struct native_cut {
    size_t blocks, bands, parts;
};
struct native_cut cvyi_native_cut(const struct native_work *work);

/* Which task of a cut. */
struct native_task {
    size_t block, band, part;
};
static inline struct native_task native_task(struct native_cut cut, size_t task)
{
    return (struct native_task){ task / cut.parts / cut.bands, task / cut.parts % cut.bands,
                                 task % cut.parts };
}
static inline size_t native_tasks(struct native_cut cut)
{
    return cut.blocks * cut.bands * cut.parts;
}

/* A product [o][i] in every group, cut into rectangles of o_step x i_step. */
struct native_rectangles {
    size_t groups, o, i;
    size_t i_weight;         /* how much longer an i is than an o, when the longer side is halved */
    size_t o_least, i_least; /* sides are multiples of these (or whole), and no shorter */
    size_t most;             /* o_step * i_step at most; 0: any */
    size_t o_step, i_step;   /* in: at most; out: the sides */
    size_t o_ranges, i_ranges;
};
/* Halves the longer side until there are `wanted` rectangles of at most `most`, or no side can be
 * halved; answers how many there are. */
size_t cvyi_native_rectangles(struct native_rectangles *r, size_t wanted);

#endif
