/* Group normalisation. Images lie in lanes, so a group's statistics never leave their lane: tasks
 * make partial ones of pieces (a channel, or of small maps some channels of a group), a fold joins
 * the pieces of a group, and tasks normalise. Pieces come of the shape of an image alone, so its
 * results depend on nothing else. Backward alike, in batch norm's closed form (bn_backward.c) with
 * dy gamma for g:
 *
 *   xhat = (x - mean) s,  s = 1 / sqrt(var + eps),  M = c / groups * h * w
 *   dx = s (dy gamma - sum dy gamma / M - xhat sum dy gamma xhat / M)
 *
 * Gradients of gamma and beta are summed over images: a channel's in slots of each block, which are
 * folded in their order; an element's by tasks that own elements. All sums are in double but for
 * short ones in the kernels. */
#include <math.h>
#include <string.h>

#include "backends/native/rows.h"

/* Pixels that a piece has at least, as far as a group and PIECE_CHANNELS reach. Maps with fewer
 * have no padding between channels. */
#define PIECE_PIXELS ((size_t)64)
/* A part of a wide map holds so many of them, without a rest. */
#define PIECE_CHANNELS NATIVE_LANES

struct group_norm {
    const struct cvyi_kernels *k;
    struct native_grid grid, sums; /* of maps; of pieces */
    struct native_lanes x, y, dy, dx;
    size_t groups, channels, pixels; /* channels of a group, pixels of one */
    size_t tile, pieces;             /* channels of a piece, pieces of a block */
    bool each;                       /* an element has its own gamma and beta */
    bool gate;                       /* few blocks: a gate folds their pieces */
    size_t blocks;
    double eps;
    size_t row; /* of stats: double [2][row], row = images * groups */
    int gamma, beta, dgamma, dbeta, stats;
    int slots;  /* double [block][pieces][2][16]: mean and M2, or sums of dy gamma (x - m)^(0, 1) */
    int totals; /* double [block][groups][2][16]: those sums of whole groups */
    int params; /* double [block][2][c]: sums of dy xhat and dy */
};

/* --------------------------------------------------------------------------------------- pieces */

/* Channels [c0, c1) of a group. */
struct piece {
    size_t c0, c1, group, slot;
};

/* The piece that begins at channel c of a cell or group that ends at `end`. */
static struct piece piece_at(const struct group_norm *a, size_t c, size_t end)
{
    size_t group = c / a->channels, tile = c / a->tile;
    size_t c1 = native_min(native_min((group + 1) * a->channels, (tile + 1) * a->tile), end);
    return (struct piece){ c, c1, group, tile + group };
}

#define PIECES(p, a, begin, end) \
    for (struct piece p = piece_at(a, begin, end); (p).c0 < (end); (p) = piece_at(a, (p).c1, end))

static double *slot_of(const struct group_norm *a, const struct cvy_run *run, size_t block,
                       size_t slot)
{
    return (double *)run->buf[a->slots] + (block * a->pieces + slot) * 2 * NATIVE_LANES;
}

/* Whole pieces. */
static struct native_cell sums_cell(const struct group_norm *a, size_t task)
{
    if (a->sums.unit) return native_cell(a->sums, a->x.c, task);
    struct native_cell cell = native_cell(a->sums, ceil_div(a->x.c, a->tile), task);
    cell.c0 *= a->tile;
    cell.c1 = native_min(cell.c1 * a->tile, a->x.c);
    return cell;
}

/* Channels from c on that one call of a kernel takes: where maps are of one pixel, a group's. */
static size_t together(const struct group_norm *a, size_t c, size_t end)
{
    return a->pixels == 1 ? native_min((c / a->channels + 1) * a->channels, end) - c : 1;
}

/* Gamma and beta from channel c on, and what stands for one that is absent. */
static struct cvyi_lane_affine affine_at(const struct group_norm *a, const struct cvy_run *run,
                                         size_t c)
{
    static const float one = 1, zero = 0;
    const float *gamma = native_buf(run, a->gamma), *beta = native_buf(run, a->beta);
    size_t first = a->each ? c * a->pixels : c;
    return (struct cvyi_lane_affine){ gamma ? gamma + first : &one, beta ? beta + first : &zero,
                                      gamma && a->each, beta && a->each };
}

/* What a group's statistics are to the images of a block; zeros to idle lanes. mean = m + lost. */
struct lanes {
    struct cvyi_lane_norm f;
    double scale[CVYI_LANES], lost[CVYI_LANES];
};

static void lanes_of(const struct group_norm *a, const struct cvy_run *run, size_t block,
                     size_t group, struct lanes *out)
{
    const double *mean = (const double *)run->buf[a->stats] + block * NATIVE_LANES * a->groups;
    const double *var = mean + a->row;
    size_t images = native_images(run, block);
    memset(out, 0, sizeof *out);
    for (size_t l = 0, i = group; l < images; l++, i += a->groups) {
        out->scale[l] = 1 / sqrt(var[i] + a->eps);
        out->f.m[l] = (float)mean[i];
        out->lost[l] = mean[i] - (double)out->f.m[l];
        out->f.s[l] = (float)out->scale[l];
        out->f.r[l] = (float)(-out->lost[l] * out->scale[l]);
    }
}

/* -------------------------------------------------------------------------------------- forward */

static void run_stats(const void *arg, const struct cvy_run *run, size_t task,
                      struct cvy_worker *worker)
{
    const struct group_norm *a = arg;
    struct native_cell cell = sums_cell(a, task);
    (void)worker;
    NATIVE_BLOCKS (cell, run) PIECES(p, a, cell.c0, cell.c1)
        {
            double *slot = slot_of(a, run, cell.block, p.slot);
            a->k->norm->lane_stats(native_at(run, &a->x, cell.block, p.c0),
                                   (p.c1 - p.c0) * a->pixels * NATIVE_LANES, slot,
                                   slot + NATIVE_LANES);
        }
}

/* Chan's formula: na elements take in a slot of nb. */
static void merge(double mean[CVYI_LANES], double m2[CVYI_LANES], double na, const double *slot,
                  double nb)
{
    double w = nb / (na + nb), naw = na * w;
    for (size_t l = 0; l < NATIVE_LANES; l++) {
        double d = slot[l] - mean[l];
        mean[l] += d * w;
        m2[l] += slot[NATIVE_LANES + l] + d * d * naw;
    }
}

static void fold_stats(const struct group_norm *a, const struct cvy_run *run, size_t block,
                       size_t group)
{
    double mean[CVYI_LANES] = { 0 }, m2[CVYI_LANES] = { 0 }, n = 0;
    PIECES(p, a, group * a->channels, (group + 1) * a->channels)
    {
        double nb = (double)((p.c1 - p.c0) * a->pixels);
        merge(mean, m2, n, slot_of(a, run, block, p.slot), nb);
        n += nb;
    }
    double *stats = (double *)run->buf[a->stats] + block * NATIVE_LANES * a->groups;
    for (size_t l = 0, i = group; l < native_images(run, block); l++, i += a->groups) {
        stats[i] = mean[l];
        stats[a->row + i] = m2[l] / n;
    }
}

static void run_norm(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct group_norm *a = arg;
    struct native_cell cell = native_cell(a->grid, a->x.c, task);
    (void)worker;
    NATIVE_BLOCKS (cell, run) {
        struct lanes lanes;
        size_t group = SIZE_MAX;
        for (size_t c = cell.c0, n; c < cell.c1; c += n) {
            struct cvyi_lane_affine affine = affine_at(a, run, c);
            n = together(a, c, cell.c1);
            if (group != c / a->channels) lanes_of(a, run, cell.block, c / a->channels, &lanes);
            group = c / a->channels;
            a->k->norm->lane_norm(native_at(run, &a->y, cell.block, c),
                                  native_at(run, &a->x, cell.block, c),
                                  n * a->pixels * NATIVE_LANES, &lanes.f, &affine);
        }
    }
}

/* ------------------------------------------------------------------------------------- backward */

/* Sums of dy and of dy (x - m) of a channel, as they stand in the gradients of beta and gamma. */
static void channel_sums(const struct group_norm *a, const struct cvy_run *run, size_t block,
                         size_t c, const struct lanes *lanes, const double *s1, const double *s2)
{
    double *slot = (double *)run->buf[a->params] + block * 2 * a->x.c + c, dgamma = 0, dbeta = 0;
    for (size_t l = 0; l < native_images(run, block); l++) {
        dgamma += (s2[l] - lanes->lost[l] * s1[l]) * lanes->scale[l];
        dbeta += s1[l];
    }
    slot[0] = dgamma;
    slot[a->x.c] = dbeta;
}

/* Of a piece whose channels have one gamma each; elsewhere the kernel weighs each pixel. */
static void sums_by_channel(const struct group_norm *a, const struct cvy_run *run, size_t block,
                            struct piece p, const struct lanes *lanes)
{
    static const float one = 1;
    const struct cvyi_lane_affine none = { &one, NULL, 0, 0 };
    double *sum = slot_of(a, run, block, p.slot);
    for (size_t c = p.c0; c < p.c1; c++) {
        double s1[CVYI_LANES] = { 0 }, s2[CVYI_LANES] = { 0 };
        double gamma = (double)*affine_at(a, run, c).gamma;
        a->k->norm->lane_reduce(native_at(run, &a->dy, block, c), native_at(run, &a->x, block, c),
                                a->pixels * NATIVE_LANES, lanes->f.m, &none, s1, s2);
        for (size_t l = 0; l < NATIVE_LANES; l++) {
            sum[l] += gamma * s1[l];
            sum[NATIVE_LANES + l] += gamma * s2[l];
        }
        if (a->params >= 0) channel_sums(a, run, block, c, lanes, s1, s2);
    }
}

static void sums_by_element(const struct group_norm *a, const struct cvy_run *run, size_t block,
                            struct piece p, const struct lanes *lanes)
{
    double *sum = slot_of(a, run, block, p.slot);
    for (size_t c = p.c0, n; c < p.c1; c += n) {
        struct cvyi_lane_affine affine = affine_at(a, run, c);
        n = together(a, c, p.c1);
        a->k->norm->lane_reduce(native_at(run, &a->dy, block, c), native_at(run, &a->x, block, c),
                                n * a->pixels * NATIVE_LANES, lanes->f.m, &affine, sum,
                                sum + NATIVE_LANES);
    }
}

static void run_sums(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct group_norm *a = arg;
    struct native_cell cell = sums_cell(a, task);
    (void)worker;
    NATIVE_BLOCKS (cell, run) {
        struct lanes lanes;
        size_t group = SIZE_MAX;
        PIECES(p, a, cell.c0, cell.c1)
        {
            if (group != p.group) lanes_of(a, run, cell.block, p.group, &lanes);
            group = p.group;
            memset(slot_of(a, run, cell.block, p.slot), 0, 2 * NATIVE_LANES * sizeof(double));
            if (a->each) sums_by_element(a, run, cell.block, p, &lanes);
            else sums_by_channel(a, run, cell.block, p, &lanes);
        }
    }
}

static double *total_of(const struct group_norm *a, const struct cvy_run *run, size_t block,
                        size_t group)
{
    return (double *)run->buf[a->totals] + (block * a->groups + group) * 2 * NATIVE_LANES;
}

static void fold_sums(const struct group_norm *a, const struct cvy_run *run, size_t block,
                      size_t group)
{
    double *total = total_of(a, run, block, group);
    memset(total, 0, 2 * NATIVE_LANES * sizeof *total);
    PIECES(p, a, group * a->channels, (group + 1) * a->channels)
    {
        const double *slot = slot_of(a, run, block, p.slot);
        for (size_t l = 0; l < 2 * NATIVE_LANES; l++) total[l] += slot[l];
    }
}

/* dx = a gamma g + b (x - m) + c, gathered from the formula above. */
static void dx_of(const struct group_norm *a, const double *total, const struct lanes *lanes,
                  struct cvyi_lane_dx *dx)
{
    double share = 1 / (double)(a->channels * a->pixels);
    memcpy(dx->m, lanes->f.m, sizeof dx->m);
    for (size_t l = 0; l < NATIVE_LANES; l++) {
        double s = lanes->scale[l], lost = lanes->lost[l], g = total[l],
               gx = (total[NATIVE_LANES + l] - lost * g) * s, b = -s * s * gx * share;
        dx->a[l] = (float)s;
        dx->b[l] = (float)b;
        dx->c[l] = (float)(-s * g * share - b * lost);
    }
}

static void run_dx(const void *arg, const struct cvy_run *run, size_t task,
                   struct cvy_worker *worker)
{
    const struct group_norm *a = arg;
    struct native_cell cell = native_cell(a->grid, a->x.c, task);
    (void)worker;
    NATIVE_BLOCKS (cell, run) {
        struct cvyi_lane_dx dx;
        size_t group = SIZE_MAX;
        for (size_t c = cell.c0, n; c < cell.c1; c += n) {
            struct cvyi_lane_affine affine = affine_at(a, run, c);
            n = together(a, c, cell.c1);
            if (group != c / a->channels) {
                struct lanes lanes;
                group = c / a->channels;
                lanes_of(a, run, cell.block, group, &lanes);
                dx_of(a, total_of(a, run, cell.block, group), &lanes, &dx);
            }
            a->k->norm->lane_dx(native_at(run, &a->dx, cell.block, c),
                                native_at(run, &a->dy, cell.block, c),
                                native_at(run, &a->x, cell.block, c), n * a->pixels * NATIVE_LANES,
                                &dx, &affine, (unsigned)native_images(run, cell.block));
        }
    }
}

/* Gradients of a channel's gamma and beta: of all blocks, in their order. */
static void run_params(const void *arg, const struct cvy_run *run, size_t task,
                       struct cvy_worker *worker)
{
    const struct group_norm *a = arg;
    float *dgamma = native_buf(run, a->dgamma), *dbeta = native_buf(run, a->dbeta);
    (void)task, (void)worker;
    for (size_t c = 0; c < a->x.c; c++) {
        const double *slot = (const double *)run->buf[a->params] + c;
        double gamma = 0, beta = 0;
        for (size_t b = 0; b < native_blocks_in_use(run); b++, slot += 2 * a->x.c) {
            gamma += slot[0];
            beta += slot[a->x.c];
        }
        if (dgamma) dgamma[c] = (float)gamma;
        if (dbeta) dbeta[c] = (float)beta;
    }
}

/* Elements of an image, in order c, h, w, that a task owns. */
static struct native_range elements_of(const struct group_norm *a, size_t task)
{
    size_t n = a->x.c * a->pixels;
    if (!a->grid.unit) return native_share(n, task, native_min(n, NATIVE_TASKS));
    struct native_cell cell = native_cell(a->grid, a->x.c, task);
    return (struct native_range){ cell.c0, cell.c1 };
}

/* Gradients of elements' gammas and betas, which all images add to. */
static void run_elements(const void *arg, const struct cvy_run *run, size_t task,
                         struct cvy_worker *worker)
{
    const struct group_norm *a = arg;
    struct native_range own = elements_of(a, task);
    size_t size = own.end - own.begin;
    double *beta = worker->scratch, *gamma = beta + size;
    float *dgamma = native_buf(run, a->dgamma), *dbeta = native_buf(run, a->dbeta);
    memset(beta, 0, 2 * size * sizeof *beta);
    for (size_t b = 0; b < native_blocks_in_use(run); b++) {
        struct lanes lanes;
        size_t group = SIZE_MAX;
        for (size_t e = own.begin, n; e < own.end; e += n) {
            size_t c = e / a->pixels, p = e % a->pixels,
                   end = (c + together(a, c, a->x.c)) * a->pixels;
            n = native_min(end, own.end) - e;
            if (group != c / a->channels) lanes_of(a, run, b, c / a->channels, &lanes);
            group = c / a->channels;
            a->k->norm->lane_columns(native_at(run, &a->dy, b, c) + p * NATIVE_LANES,
                                     native_at(run, &a->x, b, c) + p * NATIVE_LANES, n, &lanes.f,
                                     beta + (e - own.begin), gamma + (e - own.begin));
        }
    }
    for (size_t i = 0; i < size; i++) {
        if (dgamma) dgamma[own.begin + i] = (float)gamma[i];
        if (dbeta) dbeta[own.begin + i] = (float)beta[i];
    }
}

/* --------------------------------------------------------------------------------------- phases */

/* A block whose pieces are all there, or, in a gate, all of them. */
static void run_fold(const struct group_norm *a, const struct cvy_run *run, size_t task, bool gate,
                     void (*fold)(const struct group_norm *a, const struct cvy_run *run,
                                  size_t block, size_t group))
{
    size_t b = gate ? 0 : task, end = gate ? native_blocks_in_use(run) : task + 1;
    for (; b < end && native_images(run, b); b++)
        for (size_t g = 0; g < a->groups; g++) fold(a, run, b, g);
}

static void run_fold_stats(const void *arg, const struct cvy_run *run, size_t task,
                           struct cvy_worker *worker)
{
    const struct group_norm *a = arg;
    (void)worker;
    run_fold(a, run, task, a->gate, fold_stats);
}

static void run_fold_sums(const void *arg, const struct cvy_run *run, size_t task,
                          struct cvy_worker *worker)
{
    const struct group_norm *a = arg;
    (void)worker;
    run_fold(a, run, task, a->gate, fold_sums);
}

/* How tasks of a grid read or write what belongs to a block as a whole. */
static enum cvy_access of_block(struct native_grid grid, bool write)
{
    bool own = !grid.unit && grid.parts == 1;
    if (write) return own ? CVY_WRITE_CELL : CVY_WRITE_ALL;
    return own ? CVY_READ_CELL : CVY_READ_ALL;
}

/* How a task of the pieces' grid reads maps: other phases' cells end where it does. */
static enum cvy_access of_maps(const struct group_norm *a)
{
    return a->tile == 1 || a->sums.unit || a->sums.parts == 1 ? CVY_READ_CELL : CVY_READ_ALL;
}

static struct cvy_phase_desc phase_of(const struct group_norm *a, const char *name,
                                      struct native_grid grid, cvy_phase_fn run)
{
    return (struct cvy_phase_desc){
        .name = name, .run = run, .arg = a, .blocks = grid.blocks, .parts = grid.parts
    };
}

/* Joins the pieces of groups: `to` comes of the slots. */
static enum cvy_status plan_fold(struct cvy_plan *plan, const char *name, struct group_norm *a,
                                 cvy_phase_fn run, int to)
{
    struct native_grid grid = { a->gate ? 0 : a->blocks, 1, 0 };
    struct cvy_phase_desc phase = phase_of(a, name, grid, run);
    phase.gate = a->gate;
    native_access(&phase, a->slots, a->gate ? CVY_READ_ALL : CVY_READ_CELL);
    native_access(&phase, to, a->gate ? CVY_WRITE_ALL : CVY_WRITE_CELL);
    return cvy_plan_phase(plan, &phase);
}

static enum cvy_status plan_forward(struct cvy_plan *plan, const struct cvy_op_desc *op,
                                    struct group_norm *a)
{
    a->gamma = op->in[CVY_GROUP_NORM_GAMMA];
    a->beta = op->in[CVY_GROUP_NORM_BETA];
    a->y = native_lanes(plan, op->out[CVY_GROUP_NORM_Y]);
    a->stats = op->out[CVY_GROUP_NORM_STATS];
    if (a->stats < 0)
        a->stats = cvy_plan_buffer(plan, op->name, 2 * a->row * sizeof(double), false);
    if (a->stats < 0) return CVY_E_NOMEM;

    struct cvy_phase_desc stats = phase_of(a, op->name, a->sums, run_stats);
    native_access(&stats, a->x.id, of_maps(a));
    native_access(&stats, a->slots, CVY_WRITE_CELL);
    NATIVE_TRY(cvy_plan_phase(plan, &stats));
    NATIVE_TRY(plan_fold(plan, op->name, a, run_fold_stats, a->stats));

    struct cvy_phase_desc norm = phase_of(a, op->name, a->grid, run_norm);
    native_access(&norm, a->x.id, CVY_READ_CELL);
    native_access(&norm, a->stats, of_block(a->grid, false));
    native_access(&norm, a->gamma, native_read(a->grid));
    native_access(&norm, a->beta, native_read(a->grid));
    native_access(&norm, a->y.id, CVY_WRITE_CELL);
    native_in_place(&norm, &a->x, &a->y);
    return cvy_plan_phase(plan, &norm);
}

/* The gradients of gamma and beta. */
static enum cvy_status plan_params(struct cvy_plan *plan, const char *name, struct group_norm *a)
{
    size_t n = a->x.c * a->pixels;
    struct native_grid grid = { 0, 1, 0 };
    if (a->each)
        grid = a->grid.unit ? a->grid : (struct native_grid){ 0, native_min(n, NATIVE_TASKS), 0 };
    struct cvy_phase_desc phase = phase_of(a, name, grid, a->each ? run_elements : run_params);
    phase.gate = !a->each;
    if (a->each) {
        size_t most = a->grid.unit ? a->grid.unit : ceil_div(n, NATIVE_TASKS);
        phase.scratch_bytes = 2 * most * sizeof(double);
        native_access(&phase, a->x.id, native_read(grid));
        native_access(&phase, a->dy.id, native_read(grid));
        native_access(&phase, a->stats, CVY_READ_ALL);
    } else native_access(&phase, a->params, CVY_READ_ALL);
    native_access(&phase, a->dgamma, native_write(grid));
    native_access(&phase, a->dbeta, native_write(grid));
    return cvy_plan_phase(plan, &phase);
}

static enum cvy_status plan_backward(struct native *native, struct cvy_plan *plan,
                                     const struct cvy_op_desc *op, struct group_norm *a)
{
    a->gamma = op->in[CVY_GROUP_NORM_BWD_GAMMA];
    a->stats = op->in[CVY_GROUP_NORM_BWD_STATS];
    a->dy = native_lanes(plan, op->in[CVY_GROUP_NORM_BWD_DY]);
    a->dx = native_lanes(plan, op->out[CVY_GROUP_NORM_BWD_DX]);
    a->dgamma = op->out[CVY_GROUP_NORM_BWD_DGAMMA];
    a->dbeta = op->out[CVY_GROUP_NORM_BWD_DBETA];
    bool trained = a->dgamma >= 0 || a->dbeta >= 0;
    size_t group = 2 * NATIVE_LANES * sizeof(double);
    a->totals = cvy_plan_buffer(plan, op->name, native->blocks * a->groups * group, false);
    if (a->totals < 0) return CVY_E_NOMEM;
    if (trained && !a->each) {
        size_t channels = 2 * a->x.c * sizeof(double);
        a->params = cvy_plan_buffer(plan, op->name, native->blocks * channels, false);
        if (a->params < 0) return CVY_E_NOMEM;
    }
    if (trained && a->each) NATIVE_TRY(plan_params(plan, op->name, a));

    struct cvy_phase_desc sums = phase_of(a, op->name, a->sums, run_sums);
    native_access(&sums, a->x.id, of_maps(a));
    native_access(&sums, a->dy.id, of_maps(a));
    native_access(&sums, a->stats, of_block(a->sums, false));
    native_access(&sums, a->gamma, native_read(a->sums));
    native_access(&sums, a->slots, CVY_WRITE_CELL);
    native_access(&sums, a->params, CVY_WRITE_CELL);
    NATIVE_TRY(cvy_plan_phase(plan, &sums));
    NATIVE_TRY(plan_fold(plan, op->name, a, run_fold_sums, a->totals));

    struct cvy_phase_desc dx = phase_of(a, op->name, a->grid, run_dx);
    native_access(&dx, a->x.id, CVY_READ_CELL);
    native_access(&dx, a->dy.id, CVY_READ_CELL);
    native_access(&dx, a->stats, of_block(a->grid, false));
    native_access(&dx, a->totals, of_block(a->grid, false));
    native_access(&dx, a->gamma, native_read(a->grid));
    native_access(&dx, a->dx.id, CVY_WRITE_CELL);
    native_in_place(&dx, &a->dy, &a->dx);
    NATIVE_TRY(cvy_plan_phase(plan, &dx));
    return trained && !a->each ? plan_params(plan, op->name, a) : CVY_OK;
}

static enum cvy_status plan(struct native *native, struct cvy_plan *plan,
                            const struct cvy_op_desc *op, int n, size_t first)
{
    (void)n, (void)first;
    struct group_norm *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return CVY_E_NOMEM;
    const cvy_group_norm_desc *d = &op->u.gn;
    *a = (struct group_norm){
        .k = native->kernels,
        .x = native_lanes(plan, op->in[CVY_GROUP_NORM_X]),
        .blocks = native->blocks,
        .groups = d->groups,
        .eps = d->eps,
        .row = native->capacity * d->groups,
        .tile = 1,
        .gamma = -1,
        .beta = -1,
        .dgamma = -1,
        .dbeta = -1,
        .params = -1,
    };
    a->channels = a->x.c / d->groups;
    a->pixels = a->x.h * a->x.w;
    a->each = d->elementwise || a->pixels == 1;
    a->grid = a->sums = native_grid_of(native, &a->x);
    if (native_chose(plan, CHOICE_PIECES, a->pixels < PIECE_PIXELS))
        a->tile = native_min(PIECE_CHANNELS, ceil_div(PIECE_PIXELS, a->pixels));
    size_t tiles = ceil_div(a->x.c, a->tile);
    if (!a->grid.unit) a->sums = native_grid(native, tiles, a->pixels);
    a->pieces = tiles + d->groups;
    a->gate = native_chose(plan, CHOICE_PIECES_GATE,
                           (a->sums.unit || a->sums.parts > 1) && native->blocks < NATIVE_TASKS);
    size_t block = a->pieces * 2 * NATIVE_LANES * sizeof(double);
    a->slots = cvy_plan_buffer(plan, op->name, native->blocks * block, false);
    if (a->slots < 0) return CVY_E_NOMEM;
    return op->kind == CVY_OP_GROUP_NORM ? plan_forward(plan, op, a)
                                         : plan_backward(native, plan, op, a);
}

NATIVE_FAMILY(group_norm, NULL, plan);
NATIVE_FAMILY(group_norm_bwd, NULL, plan);
