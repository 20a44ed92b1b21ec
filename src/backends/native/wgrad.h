/* The pass that multiplies two maps: gradients of a convolution's weights and biases, and whatever
 * an algorithm turns into one of these. */
#ifndef CVYI_NATIVE_WGRAD_H
#define CVYI_NATIVE_WGRAD_H

#include "backends/native/geometry.h"

/* Of maps that lie like x and y (gradient): dw, as the weight lies, and db (-1: none). */
enum cvy_status cvyi_native_wgrad_plan(struct native *native, struct cvy_plan *plan,
                                       const char *name, const struct native_geometry *geometry,
                                       int dw, int db);

/* Whether the plan for this geometry can normalise x as it goes. */
bool cvyi_native_wgrad_normalises(const struct native_geometry *geometry);

/* ------------------------------------------------------------------ private to the wgrad files */

/* pixels of a kernel call whose taps read the same rows: they and dy fit L1 */
#define SHARED_PIXELS ((size_t)192)
/* input channels of a call: whole tiles of every table, and few enough rows of them for L1 */
#define CALL_CHANNELS ((size_t)12)
#define ROW_LIMIT ((size_t)1024) /* the kernel's */

/* A box of output pixels and the taps (ky * kernel width + kx) that are valid in all of it. */
struct native_box {
    struct native_range rows, cols;
    size_t n_taps;
    const size_t *tap;
};

struct native_wgrad {
    const struct native *native;
    const char *name;
    struct native_geometry conv;
    int dw, db;
    /* slots, owned */
    struct native_box *box;
    size_t n_box;
    const ptrdiff_t *tap_x; /* by tap: from the source of the kernel's corner, in floats */
    size_t strip;           /* rows that are finished before the next are begun */
    struct native_cut cut;  /* slots: bands of rows, parts of the output channels */
    int slots;
    size_t slot; /* floats of a slot: dw, db */
    size_t fold_tasks;
    /* owned, outer, regions: output x input channels of a task */
    struct native_rectangles own;
    /* outer */
    int dyt;
    size_t dyt_group, dyt_n; /* padded channels of a group, of all */
    /* regions */
    bool across;                                    /* x is transposed, not dy */
    size_t map[2];                                  /* rows and columns of y, as regions see it */
    size_t row_parts, col_parts;                    /* regions of the map */
    const struct native_range *tap_rows, *tap_cols; /* of y, by row and column of the kernel */
};

/* What an owning task (owned, outer) owns: channels o x i of a group; answers the group. */
static inline size_t native_own(const struct native_wgrad *a, size_t task, struct native_range *o,
                                struct native_range *i)
{
    const struct native_rectangles *r = &a->own;
    size_t oi = task / r->i_ranges % r->o_ranges, ii = task % r->i_ranges;
    *o = native_piece(r->o, oi, r->o_step);
    *i = native_piece(r->i, ii, r->i_step);
    return task / r->i_ranges / r->o_ranges;
}

/* wgrad_boxes.c: fills in box, n_box, tap_x and strip. */
bool cvyi_native_wgrad_boxes(struct cvy_plan *plan, struct native_wgrad *a);
/* Output rows (dim 0) or columns (1) for which tap k lies inside the map. */
struct native_range cvyi_native_tap_range(const struct native_geometry *c, int dim, size_t k);

/* wgrad_pixels.c: adds the sums of dy over pixels of a block to n channels' shares of db. (Unused
 * lanes of a gradient hold zero.) */
void cvyi_native_wgrad_bias(const struct native_wgrad *a, const struct cvy_run *run, size_t block,
                            size_t channel, size_t n, struct native_range pixels, double *db);
/* The buffer of a->cut's slots; the phase that folds them. */
enum cvy_status cvyi_native_wgrad_slot_buffer(struct cvy_plan *plan, struct native_wgrad *a);
enum cvy_status cvyi_native_wgrad_fold(struct cvy_plan *plan, struct native_wgrad *a);
/* wgrad_outer.c: sums[q][n_oc] to row k of dw at q, k < rows, q < n. */
void cvyi_native_wgrad_store(const struct native_wgrad *a, float *dw, size_t row, const float *sums,
                             size_t n_oc, size_t rows, size_t n);
/* wgrad_regions.c: whether it is for such a shape. */
bool cvyi_native_wgrad_by_regions(const struct native_geometry *g);

/* The plans of wgrad.c's list; `slots` by a->cut, `owned` by a->own. `wide`: outer for the cells
 * of a wide y. */
enum cvy_status cvyi_native_wgrad_regions(struct cvy_plan *plan, struct native_wgrad *a);
enum cvy_status cvyi_native_wgrad_slots(struct cvy_plan *plan, struct native_wgrad *a);
enum cvy_status cvyi_native_wgrad_owned(struct cvy_plan *plan, struct native_wgrad *a);
enum cvy_status cvyi_native_wgrad_outer(struct cvy_plan *plan, struct native_wgrad *a);
enum cvy_status cvyi_native_wgrad_wide(struct cvy_plan *plan, struct native_wgrad *a);

#endif
