/* Whitening: statistics, matrices and gradients of groups of channels. Sums of products over pixels
 * and images are the weight gradient's (wgrad of kernels.h), matrices times pixels a convolution's
 * (mac): both read a group's channels less their means, which a task lays into its scratch, a
 * segment of pixels at a time.
 *
 * A task owns a group's channels in a band of the pixels of a block. Of its values it makes means
 * and the products about them; they are joined by Chan's formula for covariances, in the order of
 * blocks and bands. Matrices are made in double, a thread each (base/whiten.h). What becomes of
 * them is folded into floats: y = A (x - m) + b, and dx = K dy + L (x - m) + c; frozen K dy. */
#include <math.h>
#include <string.h>

#include "backends/native/rows.h"
#include "ops/ops.h"

/* Floats that a task lays side by side: they stay in L2 while matrices run over them. */
#define HELD_FLOATS ((size_t)24 * 1024)
#define MOST_PIXELS ((size_t)256) /* of a segment */
#define CHAIN ((size_t)256)       /* products of a sum; as a convolution's */
#define TRIANGLE_ROWS ((size_t)12)

struct whitening {
    const struct cvyi_kernels *k;
    struct cvyi_whitening w;
    const struct cvyi_mac_tile *tile;
    struct native_lanes x, y, dy;
    double momentum;
    size_t pixels, bands, segment;
    size_t blocks;
    const int32_t *pix;       /* [segment]: where pixels lie */
    const ptrdiff_t *columns; /* [n + 1]: 0, 1, … */
    size_t slot;   /* doubles of a task: mean and products; or sum dy (x - m)' and sum dy */
    size_t packed; /* floats of a matrix, in tiles */
    bool backward; /* y is dx: two matrices, but */
    bool frozen;   /* with constant statistics one, K */
    int slots, stats, sums, running_mean, running_matrix, gamma, beta, dgamma, dbeta;
    int coefficients; /* a group: struct head, A or K and L packed, b or c, m */
};

/* ------------------------------------------------------------------------------------ a segment */

/* What a task owns: pixels [begin, end) of a block's group. */
struct part {
    size_t block, group, images, begin, end;
};

static struct part part_of(const struct whitening *a, const struct cvy_run *run, size_t task)
{
    size_t band = task % a->bands, group = task / a->bands % a->w.groups,
           block = task / a->bands / a->w.groups;
    struct native_range p = native_share(a->pixels, band, a->bands);
    return (struct part){ block, group, native_images(run, block), p.begin, p.end };
}

static const float *at(const struct whitening *a, const struct cvy_run *run,
                       const struct native_lanes *v, const struct part *part, size_t i)
{
    return native_at(run, v, part->block, part->group * a->w.of.n + i) + part->begin * NATIVE_LANES;
}

/* Pixels [p, p + m) of the part's channels less `mean`, side by side; 0 in idle lanes. */
static void centre(const struct whitening *a, const struct cvy_run *run, const struct part *part,
                   size_t p, size_t m, const float *mean, float *to)
{
    for (size_t i = 0; i < a->w.of.n; i++) {
        const float *x = at(a, run, &a->x, part, i) + p * NATIVE_LANES;
        const struct cvyi_bn_dx less = { mean[i], 0, 1, 0 };
        a->k->norm->bn_dx(to + i * m * NATIVE_LANES, x, x, m * NATIVE_LANES, &less,
                          (unsigned)part->images);
    }
}

/* The scratch of a task: the segment, a row of ones, and what wgrad wants. */
struct scratch {
    float *x, *products, *mean;
    const float **row;
};

static struct scratch scratch_of(const struct whitening *a, struct cvy_worker *worker)
{
    size_t n = a->w.of.n;
    struct scratch s = { .x = worker->scratch };
    s.products = s.x + (n + 1) * a->segment * NATIVE_LANES;
    s.row = (const float **)(s.products + ceil_div(n * (n + 1), 2) * 2);
    s.mean = (float *)(s.row + n + 1);
    return s;
}

static size_t scratch_bytes(const struct whitening *a)
{
    size_t n = a->w.of.n, floats = (n + 1) * a->segment * NATIVE_LANES + n * (n + 1) + 2 + n;
    return floats * sizeof(float) + (n + 1) * sizeof(float *);
}

/* ----------------------------------------------------------------------------------- statistics */

static double *slot_of(const struct whitening *a, const struct cvy_run *run, size_t task)
{
    return (double *)run->buf[a->slots] + task * a->slot;
}

/* Products of channels with themselves and those behind them, about their float means. */
static void add_products(const struct whitening *a, const struct scratch *s, size_t m,
                         double *products)
{
    size_t n = a->w.of.n;
    for (size_t i = 0; i < n; i++) s->row[i] = s->x + i * m * NATIVE_LANES;
    for (size_t o = 0; o < n; o += TRIANGLE_ROWS) {
        struct cvyi_wgrad g = { .n_oc = native_min(TRIANGLE_ROWS, n - o),
                                .n_i = n - o,
                                .n_rows = 1,
                                .n_cols = m,
                                .dy_oc = (ptrdiff_t)(m * NATIVE_LANES),
                                .dy_col = (ptrdiff_t)NATIVE_LANES,
                                .x_col = (ptrdiff_t)NATIVE_LANES,
                                .dw_oc = (ptrdiff_t)n };
        a->k->wgrad->wgrad(&g, s->row[o], s->row + o, a->columns + o, s->products + o * n);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = i; j < n; j++) products[i * n + j] += (double)s->products[i * n + j];
}

static void run_moments(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    const struct whitening *a = arg;
    struct part part = part_of(a, run, task);
    if (!part.images) return;
    struct scratch s = scratch_of(a, worker);
    size_t n = a->w.of.n, pixels = part.end - part.begin;
    double *mean = slot_of(a, run, task), *products = mean + n;
    double values = (double)(pixels * part.images);
    for (size_t i = 0; i < n; i++) {
        double m2;
        cvyi_bn_moments(a->k, at(a, run, &a->x, &part, i), pixels, part.images, &mean[i], &m2);
        s.mean[i] = (float)mean[i];
    }
    memset(products, 0, n * n * sizeof *products);
    for (size_t p = 0; p < pixels; p += a->segment) {
        size_t m = native_min(a->segment, pixels - p);
        centre(a, run, &part, p, m, s.mean, s.x);
        add_products(a, &s, m, products);
    }
    for (size_t i = 0; i < n; i++) /* about the means themselves */
        for (size_t j = i; j < n; j++)
            products[i * n + j] -=
                values * (mean[i] - (double)s.mean[i]) * (mean[j] - (double)s.mean[j]);
}

/* Chan's formula: the part takes in its mean and products. */
static void merge(size_t n, double *mean, double *products, double na, const double *slot,
                  double nb)
{
    double w = nb / (na + nb), naw = na * w;
    for (size_t i = 0; i < n; i++) {
        double di = (slot[i] - mean[i]) * naw;
        for (size_t j = i; j < n; j++)
            products[i * n + j] += slot[n + i * n + j] + di * (slot[j] - mean[j]);
    }
    for (size_t i = 0; i < n; i++) mean[i] += (slot[i] - mean[i]) * w;
}

static void run_matrix(const void *arg, const struct cvy_run *run, size_t u,
                       struct cvy_worker *worker)
{
    const struct whitening *a = arg;
    size_t n = a->w.of.n, nn = n * n;
    double *mean = (double *)run->buf[a->stats] + u * a->w.stats, *matrix = mean + n,
           *state = matrix + nn, values = 0, rho = cvy_run_weight(run, a->momentum);
    float *running_mean = native_buf(run, a->running_mean),
          *running = native_buf(run, a->running_matrix);
    (void)worker;
    memset(mean, 0, (n + 2 * nn) * sizeof *mean);
    for (size_t block = 0; block < native_blocks_in_use(run); block++)
        for (size_t k = 0; k < a->w.folds * a->bands; k++) {
            size_t task = (block * a->w.matrices + u) * a->w.folds * a->bands + k;
            struct part part = part_of(a, run, task);
            double nb = (double)((part.end - part.begin) * part.images);
            merge(n, mean, state, values, slot_of(a, run, task), nb);
            values += nb;
        }
    for (size_t i = 0; i < nn; i++) state[i] /= values;
    cvyi_whiten(&a->w.of, state, matrix);
    for (size_t i = 0; running_mean && i < n; i++)
        running_mean[u * n + i] =
            (float)((1 - rho) * (double)running_mean[u * n + i] + rho * mean[i]);
    for (size_t i = 0; running && i < nn; i++)
        running[u * nn + i] = (float)((1 - rho) * (double)running[u * nn + i] + rho * matrix[i]);
}

/* --------------------------------------------------------------------------------- coefficients */

/* Those of a group: matrices packed for mac, what is added, and the float means. */
struct coefficients {
    float *packed[2], *shift, *mean;
};

static size_t packed_floats(const struct whitening *a)
{
    return (a->backward && !a->frozen ? 2 : 1) * a->packed;
}

static size_t group_floats(const struct whitening *a) { return packed_floats(a) + 2 * a->w.of.n; }

static struct coefficients coefficients_of(const struct whitening *a, const struct cvy_run *run,
                                           size_t group)
{
    float *p = (float *)run->buf[a->coefficients] + group * group_floats(a);
    struct coefficients c = { .packed = { p, p + a->packed } };
    c.shift = p + packed_floats(a);
    c.mean = c.shift + a->w.of.n;
    return c;
}

/* Where number (o, i) of a matrix lies in its tiles [i][mo]. */
static size_t place(const struct whitening *a, size_t o, size_t i)
{
    size_t mo = (size_t)a->tile->mo;
    return (o / mo * a->w.of.n + i) * mo + o % mo;
}

/* y = gamma W (x - mean) + beta, of numbers in double or, running ones, in float. */
static void run_fold(const void *arg, const struct cvy_run *run, size_t group,
                     struct cvy_worker *worker)
{
    const struct whitening *a = arg;
    size_t n = a->w.of.n, u = group / a->w.folds;
    struct coefficients c = coefficients_of(a, run, group);
    const double *stats = native_buf(run, a->stats);
    const float *rm = native_buf(run, a->running_mean), *rw = native_buf(run, a->running_matrix);
    const float *gamma = native_buf(run, a->gamma), *beta = native_buf(run, a->beta);
    (void)worker;
    memset(c.packed[0], 0, a->packed * sizeof(float));
    for (size_t i = 0; i < n; i++)
        c.mean[i] = stats ? (float)stats[u * a->w.stats + i] : rm[u * n + i];
    for (size_t o = 0; o < n; o++) {
        double f = (double)native_or(gamma, group * n + o, 1);
        double shift = (double)native_or(beta, group * n + o, 0);
        for (size_t i = 0; i < n; i++) {
            double lost = 0, w;
            if (stats) {
                const double *mean = stats + u * a->w.stats;
                w = mean[n + o * n + i];
                if (isfinite(c.mean[i])) lost = mean[i] - (double)c.mean[i];
            } else w = (double)rw[(u * n + o) * n + i];
            c.packed[0][place(a, o, i)] = (float)(f * w);
            if (lost != 0) shift -= f * w * lost;
        }
        c.shift[o] = (float)shift;
    }
}

/* dx = K dy + L (x - m) + c. */
static void run_fold_backward(const void *arg, const struct cvy_run *run, size_t group,
                              struct cvy_worker *worker)
{
    const struct whitening *a = arg;
    size_t n = a->w.of.n, u = group / a->w.folds, first = u * a->w.folds * n;
    struct coefficients c = coefficients_of(a, run, group);
    const double *mean = (const double *)run->buf[a->stats] + u * a->w.stats, *matrix = mean + n;
    const double *b = run->buf[a->sums], *d = b + a->x.c + u * a->w.sums;
    const float *gamma = native_buf(run, a->gamma);
    double values = (double)(run->n * a->pixels * a->w.folds);
    (void)worker;
    memset(c.packed[0], 0, 2 * a->packed * sizeof(float));
    for (size_t i = 0; i < n; i++) c.mean[i] = (float)mean[i];
    for (size_t o = 0; o < n; o++) {
        double shift = 0;
        for (size_t i = 0; i < n; i++) {
            double f = (double)native_or(gamma, group * n + i, 1);
            c.packed[0][place(a, o, i)] = (float)(matrix[i * n + o] * f);
            c.packed[1][place(a, o, i)] = (float)d[o * n + i];
            shift -= d[o * n + i] * (mean[i] - (double)c.mean[i]);
        }
        for (size_t k = 0; k < a->w.folds * n; k++)
            shift -= matrix[k % n * n + o] * (double)native_or(gamma, first + k, 1) * b[first + k] /
                     values;
        c.shift[o] = (float)shift;
    }
}

/* dx = K dy. */
static void run_fold_frozen(const void *arg, const struct cvy_run *run, size_t group,
                            struct cvy_worker *worker)
{
    const struct whitening *a = arg;
    size_t n = a->w.of.n;
    struct coefficients c = coefficients_of(a, run, group);
    const float *w = (const float *)run->buf[a->running_matrix] + group / a->w.folds * n * n;
    const float *gamma = native_buf(run, a->gamma);
    (void)worker;
    memset(c.packed[0], 0, group_floats(a) * sizeof(float));
    for (size_t o = 0; o < n; o++)
        for (size_t i = 0; i < n; i++)
            c.packed[0][place(a, o, i)] = w[i * n + o] * native_or(gamma, group * n + i, 1);
}

/* --------------------------------------------------------------------------- matrix times pixel */

/* y (+)= a packed matrix times x, whose channels lie `step` floats apart, for m pixels. */
static void multiply(const struct whitening *a, const float *packed, const float *x, size_t step,
                     size_t m, const float *bias, float *y)
{
    static const int32_t zero = 0;
    size_t n = a->w.of.n, mo = (size_t)a->tile->mo, y_oc = a->y.plane * NATIVE_LANES;
    for (size_t o = 0; o < n; o += mo)
        for (size_t i = 0; i < n; i += CHAIN) {
            struct cvyi_mac mac = { .n_pix = m,
                                    .x_pix = a->pix,
                                    .y_pix = a->pix,
                                    .n_taps = 1,
                                    .x_tap = &zero,
                                    .w_tap = &zero,
                                    .n_ic = native_min(CHAIN, n - i),
                                    .x_ic = step,
                                    .w_ic = mo,
                                    .y_oc = y_oc,
                                    .n_oc = native_min(mo, n - o),
                                    .accumulate = i > 0 || !bias };
            a->tile->fn(&mac, x + i * step, packed + o * n + i * mo,
                        i > 0 || !bias ? NULL : bias + o, y + o * y_oc);
        }
}

/* Lanes without an image hold zero in gradients. */
static void clear_idle(const struct whitening *a, float *y, size_t m, size_t images)
{
    for (size_t i = 0; images < NATIVE_LANES && i < a->w.of.n; i++)
        for (size_t p = 0; p < m; p++)
            memset(y + (i * a->y.plane + p) * NATIVE_LANES + images, 0,
                   (NATIVE_LANES - images) * sizeof *y);
}

static void run_apply(const void *arg, const struct cvy_run *run, size_t task,
                      struct cvy_worker *worker)
{
    const struct whitening *a = arg;
    struct part part = part_of(a, run, task);
    if (!part.images) return;
    struct scratch s = scratch_of(a, worker);
    struct coefficients c = coefficients_of(a, run, part.group);
    size_t pixels = part.end - part.begin, plane = a->dy.plane * NATIVE_LANES;
    for (size_t p = 0; p < pixels; p += a->segment) {
        size_t m = native_min(a->segment, pixels - p);
        float *y = (float *)at(a, run, &a->y, &part, 0) + p * NATIVE_LANES;
        if (!a->frozen) centre(a, run, &part, p, m, c.mean, s.x);
        if (a->backward) {
            const float *dy = at(a, run, &a->dy, &part, 0) + p * NATIVE_LANES;
            multiply(a, c.packed[0], dy, plane, m, c.shift, y);
            if (!a->frozen) multiply(a, c.packed[1], s.x, m * NATIVE_LANES, m, NULL, y);
            clear_idle(a, y, m, part.images);
        } else multiply(a, c.packed[0], s.x, m * NATIVE_LANES, m, c.shift, y);
    }
}

/* ------------------------------------------------------------------------------ gradient's sums */

/* Of a part: sum dy (x - m)', a row each, and sum dy behind it. */
static void run_sums(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct whitening *a = arg;
    struct part part = part_of(a, run, task);
    if (!part.images) return;
    struct scratch s = scratch_of(a, worker);
    size_t n = a->w.of.n, pixels = part.end - part.begin;
    size_t u = part.group / a->w.folds;
    double *slot = slot_of(a, run, task);
    for (size_t i = 0; i < n; i++)
        s.mean[i] = a->frozen ? ((const float *)run->buf[a->running_mean])[u * n + i]
                              : (float)((const double *)run->buf[a->stats])[u * a->w.stats + i];
    memset(slot, 0, n * (n + 1) * sizeof *slot);
    for (size_t p = 0; p < pixels; p += a->segment) {
        size_t m = native_min(a->segment, pixels - p);
        struct cvyi_wgrad g = { .n_oc = n,
                                .n_i = n + 1,
                                .n_rows = 1,
                                .n_cols = m,
                                .dy_oc = (ptrdiff_t)(a->dy.plane * NATIVE_LANES),
                                .dy_col = (ptrdiff_t)NATIVE_LANES,
                                .x_col = (ptrdiff_t)NATIVE_LANES,
                                .dw_oc = (ptrdiff_t)(n + 1) };
        centre(a, run, &part, p, m, s.mean, s.x);
        for (size_t i = 0; i <= n; i++) s.row[i] = s.x + i * m * NATIVE_LANES;
        for (size_t i = 0; i < m * NATIVE_LANES; i++) s.x[n * m * NATIVE_LANES + i] = 1;
        a->k->wgrad->wgrad(&g, at(a, run, &a->dy, &part, 0) + p * NATIVE_LANES, s.row, a->columns,
                           s.products);
        for (size_t i = 0; i < n * (n + 1); i++) slot[i] += (double)s.products[i];
    }
}

/* Of channel c the sums of all blocks and bands into row[n + 1]. */
static void fold_row(const struct whitening *a, const struct cvy_run *run, size_t c, double *row)
{
    size_t n = a->w.of.n;
    memset(row, 0, (n + 1) * sizeof *row);
    for (size_t block = 0; block < native_blocks_in_use(run); block++)
        for (size_t band = 0; band < a->bands; band++) {
            size_t task = (block * a->w.groups + c / n) * a->bands + band;
            const double *slot = slot_of(a, run, task) + c % n * (n + 1);
            for (size_t j = 0; j <= n; j++) row[j] += slot[j];
        }
}

static void run_gradient(const void *arg, const struct cvy_run *run, size_t u,
                         struct cvy_worker *worker)
{
    const struct whitening *a = arg;
    size_t n = a->w.of.n, nn = n * n;
    const double *mean = (const double *)run->buf[a->stats] + u * a->w.stats, *matrix = mean + n;
    double *b = run->buf[a->sums], *d = b + a->x.c + u * a->w.sums, *row = worker->scratch;
    const float *gamma = native_buf(run, a->gamma);
    float *dgamma = native_buf(run, a->dgamma), *dbeta = native_buf(run, a->dbeta);
    double share = 2 / (double)(run->n * a->pixels * a->w.folds);
    memset(d, 0, nn * sizeof *d);
    for (size_t c = u * a->w.folds * n; c < (u + 1) * a->w.folds * n; c++) {
        double f = (double)native_or(gamma, c, 1), gain = 0;
        fold_row(a, run, c, row);
        b[c] = row[n];
        for (size_t j = 0; j < n; j++) {
            double product = row[j] - (mean[j] - (double)(float)mean[j]) * b[c];
            gain += matrix[c % n * n + j] * product;
            d[c % n * n + j] += f * product;
        }
        if (dgamma) dgamma[c] = (float)gain;
        if (dbeta) dbeta[c] = (float)b[c];
    }
    cvyi_whiten_backward(&a->w.of, matrix + nn, d, d + nn);
    for (size_t i = 0; i < nn; i++) d[i] *= share;
}

/* With constant statistics there is only that of gamma and beta. */
static void run_affine_gradient(const void *arg, const struct cvy_run *run, size_t group,
                                struct cvy_worker *worker)
{
    const struct whitening *a = arg;
    size_t n = a->w.of.n;
    const float *w = (const float *)run->buf[a->running_matrix] + group / a->w.folds * n * n;
    float *dgamma = native_buf(run, a->dgamma), *dbeta = native_buf(run, a->dbeta);
    double *row = worker->scratch;
    for (size_t c = group * n; c < (group + 1) * n; c++) {
        double gain = 0;
        fold_row(a, run, c, row);
        for (size_t j = 0; j < n; j++) gain += (double)w[c % n * n + j] * row[j];
        if (dgamma) dgamma[c] = (float)gain;
        if (dbeta) dbeta[c] = (float)row[n];
    }
}

/* ------------------------------------------------------------------------------------- planning */

static struct whitening *new_whitening(struct native *native, struct cvy_plan *plan,
                                       const struct cvy_op_desc *op, int x)
{
    struct whitening *a = cvy_plan_alloc(plan, sizeof *a);
    if (!a) return NULL;
    *a = (struct whitening){ .k = native->kernels,
                             .w = cvyi_whitening_of(&op->u.whitening,
                                                    cvy_plan_value(plan, x)->shape),
                             .x = native_lanes(plan, x),
                             .momentum = op->u.whitening.momentum,
                             .blocks = native->blocks,
                             .slots = -1,
                             .stats = -1,
                             .sums = -1,
                             .running_mean = -1,
                             .running_matrix = -1,
                             .gamma = -1,
                             .beta = -1,
                             .dgamma = -1,
                             .dbeta = -1,
                             .coefficients = -1 };
    size_t n = a->w.of.n, most = native_min(MOST_PIXELS, HELD_FLOATS / NATIVE_LANES / n + 1);
    a->pixels = a->x.h * a->x.w;
    a->segment = native_chose(plan, CHOICE_WHITEN_SEGMENTS, a->pixels > most) ? most : a->pixels;
    a->bands = native_min(ceil_div(NATIVE_TASKS, a->blocks * a->w.groups),
                          ceil_div(a->pixels, a->segment));
    native_chose(plan, CHOICE_WHITEN_BANDS, a->bands > 1);
    native_chose(plan, CHOICE_WHITEN_CHAINS, n > CHAIN);
    a->tile = cvyi_native_mac_tile(native->kernels->mac, n, a->segment);
    a->packed = ceil_div(n, (size_t)a->tile->mo) * (size_t)a->tile->mo * n;
    int32_t *pix = cvy_plan_alloc(plan, a->segment * sizeof *pix);
    ptrdiff_t *columns = cvy_plan_alloc(plan, (n + 1) * sizeof *columns);
    if (!pix || !columns) return NULL;
    for (size_t p = 0; p < a->segment; p++) pix[p] = (int32_t)(p * NATIVE_LANES);
    for (size_t i = 0; i <= n; i++) columns[i] = (ptrdiff_t)i;
    a->pix = pix;
    a->columns = columns;
    return a;
}

static struct cvy_phase_desc phase_of(const struct whitening *a, const char *name, size_t tasks,
                                      cvy_phase_fn run)
{
    return (struct cvy_phase_desc){ .name = name, .run = run, .arg = a, .parts = tasks };
}

static struct cvy_phase_desc parts_phase(const struct whitening *a, const char *name,
                                         cvy_phase_fn run)
{
    struct cvy_phase_desc phase = phase_of(a, name, a->blocks * a->w.groups * a->bands, run);
    phase.scratch_bytes = scratch_bytes(a);
    native_access(&phase, a->x.id, CVY_READ_ALL);
    native_access(&phase, a->dy.id, CVY_READ_ALL);
    return phase;
}

static int new_slots(struct whitening *a, struct cvy_plan *plan, const char *name)
{
    a->slot = a->w.of.n * (a->w.of.n + 1);
    size_t tasks = a->blocks * a->w.groups * a->bands;
    return a->slots = cvy_plan_buffer(plan, name, tasks * a->slot * sizeof(double), false);
}

static enum cvy_status plan_stats(struct native *native, struct cvy_plan *plan,
                                  const struct cvy_op_desc *op, int n, size_t first)
{
    (void)n, (void)first;
    struct whitening *a = new_whitening(native, plan, op, op->in[CVY_WHITEN_STATS_X]);
    if (!a || new_slots(a, plan, op->name) < 0) return CVY_E_NOMEM;
    a->dy.id = -1;
    a->stats = op->out[CVY_WHITEN_STATS_STATS];
    a->running_mean = op->in[CVY_WHITEN_STATS_MEAN];
    a->running_matrix = op->in[CVY_WHITEN_STATS_MATRIX];
    struct cvy_phase_desc phase = parts_phase(a, op->name, run_moments);
    native_access(&phase, a->slots, CVY_WRITE_ALL);
    NATIVE_TRY(cvy_plan_phase(plan, &phase));
    phase = phase_of(a, op->name, a->w.matrices, run_matrix);
    phase.gate = a->w.matrices == 1;
    native_access(&phase, a->slots, CVY_READ_ALL);
    native_access(&phase, a->stats, CVY_WRITE_ALL);
    for (int i = 0; i < 2; i++) {
        int id = i ? a->running_matrix : a->running_mean;
        native_access(&phase, id, CVY_READ_ALL);
        native_access(&phase, id, CVY_WRITE_ALL);
    }
    return cvy_plan_phase(plan, &phase);
}

/* Coefficients by groups, then what uses them. */
static enum cvy_status plan_apply(struct cvy_plan *plan, const char *name, struct whitening *a,
                                  cvy_phase_fn fold)
{
    size_t floats = a->w.groups * group_floats(a);
    a->coefficients = cvy_plan_buffer(plan, name, floats * sizeof(float), false);
    if (a->coefficients < 0) return CVY_E_NOMEM;
    struct cvy_phase_desc phase = phase_of(a, name, a->w.groups, fold);
    phase.gate = a->w.groups == 1;
    const int read[] = { a->stats, a->sums, a->running_mean, a->running_matrix, a->gamma, a->beta };
    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        native_access(&phase, read[i], CVY_READ_ALL);
    native_access(&phase, a->coefficients, CVY_WRITE_ALL);
    NATIVE_TRY(cvy_plan_phase(plan, &phase));
    phase = parts_phase(a, name, run_apply);
    native_access(&phase, a->coefficients, CVY_READ_ALL);
    native_access(&phase, a->y.id, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

static enum cvy_status plan_forward(struct native *native, struct cvy_plan *plan,
                                    const struct cvy_op_desc *op, int n, size_t first)
{
    (void)n, (void)first;
    bool infer = op->kind == CVY_OP_WHITEN_INFER;
    struct whitening *a = new_whitening(native, plan, op, op->in[CVY_WHITEN_APPLY_X]);
    if (!a) return CVY_E_NOMEM;
    a->dy.id = -1;
    a->y = native_lanes(plan, op->out[CVY_WHITEN_APPLY_Y]);
    if (infer) {
        a->running_mean = op->in[CVY_WHITEN_INFER_MEAN];
        a->running_matrix = op->in[CVY_WHITEN_INFER_MATRIX];
    } else a->stats = op->in[CVY_WHITEN_APPLY_STATS];
    a->gamma = op->in[infer ? (int)CVY_WHITEN_INFER_GAMMA : (int)CVY_WHITEN_APPLY_GAMMA];
    a->beta = op->in[infer ? (int)CVY_WHITEN_INFER_BETA : (int)CVY_WHITEN_APPLY_BETA];
    return plan_apply(plan, op->name, a, run_fold);
}
_Static_assert((int)CVY_WHITEN_APPLY_X == (int)CVY_WHITEN_INFER_X &&
                   (int)CVY_WHITEN_APPLY_Y == (int)CVY_WHITEN_INFER_Y,
               "plan_forward() serves both");

/* The parts' sums, and behind them what `fold` makes of those, `folds` of them. */
static enum cvy_status plan_sums(struct cvy_plan *plan, const char *name, struct whitening *a,
                                 cvy_phase_fn fold, size_t folds)
{
    if (new_slots(a, plan, name) < 0) return CVY_E_NOMEM;
    const int read[] = { a->stats, a->running_mean, a->running_matrix, a->gamma };
    const int written[] = { a->sums, a->dgamma, a->dbeta };
    struct cvy_phase_desc phase = parts_phase(a, name, run_sums);
    native_access(&phase, a->stats, CVY_READ_ALL);
    native_access(&phase, a->running_mean, CVY_READ_ALL);
    native_access(&phase, a->slots, CVY_WRITE_ALL);
    NATIVE_TRY(cvy_plan_phase(plan, &phase));
    phase = phase_of(a, name, folds, fold);
    phase.gate = folds == 1;
    phase.scratch_bytes = (a->w.of.n + 1) * sizeof(double);
    native_access(&phase, a->slots, CVY_READ_ALL);
    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        native_access(&phase, read[i], CVY_READ_ALL);
    for (size_t i = 0; i < sizeof written / sizeof *written; i++)
        native_access(&phase, written[i], CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

static enum cvy_status plan_reduce(struct native *native, struct cvy_plan *plan,
                                   const struct cvy_op_desc *op, int n, size_t first)
{
    (void)n, (void)first;
    struct whitening *a = new_whitening(native, plan, op, op->in[CVY_WHITEN_BWD_REDUCE_X]);
    if (!a) return CVY_E_NOMEM;
    a->dy = native_lanes(plan, op->in[CVY_WHITEN_BWD_REDUCE_DY]);
    a->stats = op->in[CVY_WHITEN_BWD_REDUCE_STATS];
    a->gamma = op->in[CVY_WHITEN_BWD_REDUCE_GAMMA];
    a->sums = op->out[CVY_WHITEN_BWD_REDUCE_SUMS];
    a->dgamma = op->out[CVY_WHITEN_BWD_REDUCE_DGAMMA];
    a->dbeta = op->out[CVY_WHITEN_BWD_REDUCE_DBETA];
    return plan_sums(plan, op->name, a, run_gradient, a->w.matrices);
}

static enum cvy_status plan_frozen(struct native *native, struct cvy_plan *plan,
                                   const struct cvy_op_desc *op, int n, size_t first)
{
    (void)n, (void)first;
    struct whitening *a = new_whitening(native, plan, op, op->in[CVY_WHITEN_INFER_BWD_X]);
    if (!a) return CVY_E_NOMEM;
    a->backward = a->frozen = true;
    a->dy = native_lanes(plan, op->in[CVY_WHITEN_INFER_BWD_DY]);
    a->y = native_lanes(plan, op->out[CVY_WHITEN_INFER_BWD_DX]);
    a->running_mean = op->in[CVY_WHITEN_INFER_BWD_MEAN];
    a->running_matrix = op->in[CVY_WHITEN_INFER_BWD_MATRIX];
    a->gamma = op->in[CVY_WHITEN_INFER_BWD_GAMMA];
    a->dgamma = op->out[CVY_WHITEN_INFER_BWD_DGAMMA];
    a->dbeta = op->out[CVY_WHITEN_INFER_BWD_DBETA];
    if (a->dgamma >= 0 || a->dbeta >= 0)
        NATIVE_TRY(plan_sums(plan, op->name, a, run_affine_gradient, a->w.groups));
    return plan_apply(plan, op->name, a, run_fold_frozen);
}

static enum cvy_status plan_data(struct native *native, struct cvy_plan *plan,
                                 const struct cvy_op_desc *op, int n, size_t first)
{
    (void)n, (void)first;
    struct whitening *a = new_whitening(native, plan, op, op->in[CVY_WHITEN_BWD_DATA_X]);
    if (!a) return CVY_E_NOMEM;
    a->backward = true;
    a->dy = native_lanes(plan, op->in[CVY_WHITEN_BWD_DATA_DY]);
    a->y = native_lanes(plan, op->out[CVY_WHITEN_BWD_DATA_DX]);
    a->stats = op->in[CVY_WHITEN_BWD_DATA_STATS];
    a->sums = op->in[CVY_WHITEN_BWD_DATA_SUMS];
    a->gamma = op->in[CVY_WHITEN_BWD_DATA_GAMMA];
    return plan_apply(plan, op->name, a, run_fold_backward);
}

NATIVE_FAMILY(whiten_stats, NULL, plan_stats);
NATIVE_FAMILY(whiten_apply, NULL, plan_forward);
NATIVE_FAMILY(whiten_infer, NULL, plan_forward);
NATIVE_FAMILY(whiten_bwd_reduce, NULL, plan_reduce);
NATIVE_FAMILY(whiten_bwd_data, NULL, plan_data);
NATIVE_FAMILY(whiten_infer_bwd, NULL, plan_frozen);
