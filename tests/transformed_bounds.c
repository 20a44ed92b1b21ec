/* How far transformed convolutions may be from exact, in all three passes: the bound of
 * docs/numerics.md, looked for where it is worst: equal, growing and alternating terms, far from
 * zero, one pixel that is huge or the only one, terms aimed at one point of the transform, and what
 * a climb from these finds. Every table has the same bits. Beside it what random terms give,
 * transformed and direct. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "check.h"
#include "convoy/convoy.h"
#include "terms.h"

#define U 0x1p-24

/* ------------------------------------------------------------------------------- the transforms */

enum { SIDE = 6, OUT = 4, KERNEL = 3, POINTS = SIDE * SIDE };

/* Absolute values of A, B and G (kernels.h), made from the points. */
static double a_abs[SIDE * OUT], b_abs[SIDE * SIDE], g_abs[SIDE * KERNEL], b_sign[SIDE * SIDE],
    g_sign[SIDE * KERNEL];

/* The coefficients of the product of (x - value) over all of five values but `out`. */
static void polynomial(const double value[5], int out, double c[SIDE])
{
    int degree = 0;
    for (int i = 0; i < SIDE; i++) c[i] = i == 0;
    for (int l = 0; l < 5; l++) {
        if (l == out) continue;
        degree++;
        for (int i = degree; i >= 0; i--) c[i] = (i ? c[i - 1] : 0) - value[l] * c[i];
    }
}

static void make_transforms(void)
{
    static const double value[5] = { 0, 0.75, -0.75, 1.5, -1.5 };
    for (int k = 0; k < SIDE; k++) {
        double row[SIDE], n = 1;
        polynomial(value, k, row); /* infinity: of all */
        for (int l = 0; l < 5; l++)
            if (k < 5 && l != k) n *= value[k] - value[l];
        for (int i = 0; i < SIDE; i++) {
            b_abs[k * SIDE + i] = fabs(row[i]);
            b_sign[k * SIDE + i] = (row[i] > 0) - (row[i] < 0);
        }
        for (int j = 0; j < OUT; j++)
            a_abs[k * OUT + j] = k < 5 ? fabs(pow(value[k], j)) : j == OUT - 1;
        for (int j = 0; j < KERNEL; j++) {
            double g = k < 5 ? pow(value[k], j) / n : j == KERNEL - 1;
            g_abs[k * KERNEL + j] = fabs(g);
            g_sign[k * KERNEL + j] = (g > 0) - (g < 0);
        }
    }
}

/* P in Pt, of `in` n x n and P six by n. */
static void to_points(double out[POINTS], const double *p, int n, const double *in)
{
    for (int k = 0; k < SIDE; k++)
        for (int l = 0; l < SIDE; l++) {
            double sum = 0;
            for (int i = 0; i < n; i++)
                for (int j = 0; j < n; j++) sum += p[k * n + i] * p[l * n + j] * in[i * n + j];
            out[k * SIDE + l] = sum;
        }
}

/* Pt in P. */
static void from_points(double *out, const double *p, int n, const double in[POINTS])
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int k = 0; k < SIDE; k++)
                for (int l = 0; l < SIDE; l++)
                    sum += p[k * n + i] * p[l * n + j] * in[k * SIDE + l];
            out[i * n + j] = sum;
        }
}

/* --------------------------------------------------------------------------------- convolutions */

struct map {
    size_t n, c, h, w;
    float *v;
};

struct layer {
    size_t n, ic, oc, side, pad;
};

/* A pass of a layer: what goes in, what came out of each context, what is exact. */
struct conv {
    struct layer layer;
    enum cvy_pass pass;
    struct map x, y;
    float *w;
    float *in[2], *out;           /* of x, w and y */
    size_t n_in[2], n_out;        /* their sizes */
    double *sum, *magnitude, *at; /* exactly; the sum of |terms|; the bound's, without its n */
};

static void *room(size_t n, size_t size)
{
    void *p = calloc(n, size);
    assert_non_null(p);
    return p;
}

static struct conv conv_of(const struct layer *l, enum cvy_pass pass)
{
    const size_t out = l->side + 2 * l->pad - 2;
    struct conv c = { .layer = *l, .pass = pass };
    const size_t nx = l->n * l->ic * l->side * l->side, ny = l->n * l->oc * out * out,
                 nw = l->oc * l->ic * 9;
    c.x = (struct map){ l->n, l->ic, l->side, l->side, room(nx, sizeof(float)) };
    c.y = (struct map){ l->n, l->oc, out, out, room(ny, sizeof(float)) };
    c.w = room(nw, sizeof(float));
    c.in[0] = pass == CVY_BACKWARD_DATA ? c.y.v : c.x.v;
    c.n_in[0] = pass == CVY_BACKWARD_DATA ? ny : nx;
    c.in[1] = pass == CVY_BACKWARD_WEIGHTS ? c.y.v : c.w;
    c.n_in[1] = pass == CVY_BACKWARD_WEIGHTS ? ny : nw;
    c.out = c.y.v;
    c.n_out = ny;
    if (pass == CVY_BACKWARD_DATA) {
        c.out = c.x.v;
        c.n_out = nx;
    } else if (pass == CVY_BACKWARD_WEIGHTS) {
        c.out = c.w;
        c.n_out = nw;
    }
    c.sum = room(c.n_out, sizeof(double));
    c.magnitude = room(c.n_out, sizeof(double));
    c.at = room(c.n_out, sizeof(double));
    return c;
}

static void conv_free(struct conv *c)
{
    void *all[] = { c->x.v, c->y.v, c->w, c->sum, c->magnitude, c->at };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void run(cvy_context *ctx, const struct conv *c)
{
    const struct layer *l = &c->layer;
    cvy_conv2d_desc d = { .out_channels = l->oc,
                          .kernel = { 3, 3 },
                          .pad = { l->pad, l->pad, l->pad, l->pad },
                          .no_bias = true };
    cvy_op_args args = { .src = c->x.v, .weights = c->w, .dst = c->y.v };
    if (c->pass == CVY_BACKWARD_DATA)
        args = (cvy_op_args){ .weights = c->w, .diff_dst = c->y.v, .diff_src = c->x.v };
    if (c->pass == CVY_BACKWARD_WEIGHTS)
        args = (cvy_op_args){ .src = c->x.v, .diff_dst = c->y.v, .diff_weights = c->w };
    cvy_op *op;
    if (cvy_op_conv2d(ctx, &d, (cvy_shape){ l->n, l->ic, l->side, l->side }, c->pass, &op) ||
        cvy_op_run(op, &args))
        fail_msg("%s", cvy_message(ctx));
    cvy_op_destroy(&op);
}

static size_t place(const struct map *m, size_t n, size_t c, size_t row, size_t col)
{
    return ((n * m->c + c) * m->h + row) * m->w + col;
}

/* One product: of x, w and y the two that go in. */
static void add(const struct conv *c, size_t x, size_t w, size_t y)
{
    double t = (double)c->x.v[x] * (double)c->w[w];
    size_t to = y;
    if (c->pass == CVY_BACKWARD_DATA) {
        t = (double)c->y.v[y] * (double)c->w[w];
        to = x;
    } else if (c->pass == CVY_BACKWARD_WEIGHTS) {
        t = (double)c->x.v[x] * (double)c->y.v[y];
        to = w;
    }
    c->sum[to] += t;
    c->magnitude[to] += fabs(t);
}

/* Reads what goes in, so it has to come before the run. */
static void exactly(const struct conv *c)
{
    const struct layer *l = &c->layer;
    memset(c->sum, 0, c->n_out * sizeof *c->sum);
    memset(c->magnitude, 0, c->n_out * sizeof *c->magnitude);
    for (size_t k = 0; k < l->oc * l->ic * 9; k++) {
        const size_t o = k / 9 / l->ic, i = k / 9 % l->ic, ky = k % 9 / 3, kx = k % 3;
        for (size_t p = 0; p < l->n * c->y.h * c->y.w; p++) {
            const size_t n = p / (c->y.h * c->y.w), row = p / c->y.w % c->y.h, col = p % c->y.w;
            if (row + ky < l->pad || row + ky - l->pad >= l->side || col + kx < l->pad ||
                col + kx - l->pad >= l->side)
                continue;
            add(c, place(&c->x, n, i, row + ky - l->pad, col + kx - l->pad), k,
                place(&c->y, n, o, row, col));
        }
    }
}

/* ------------------------------------------------------------------------------------ the bound */

/* |values| of a map's n x n pixels from (row, col) on, 0 outside. */
static void cut_out(const struct map *m, size_t channel, ptrdiff_t row, ptrdiff_t col, int n,
                    double *to)
{
    for (int i = 0; i < n * n; i++) {
        const ptrdiff_t y = row + i / n, x = col + i % n;
        const bool inside = y >= 0 && x >= 0 && y < (ptrdiff_t)m->h && x < (ptrdiff_t)m->w;
        to[i] = inside ? fabs((double)m->v[(channel * m->h + (size_t)y) * m->w + (size_t)x]) : 0;
    }
}

/* |G| |w| |Gt| of every kernel, turned round where the data gradient turns it. */
static double *kernels_at_points(const struct conv *c)
{
    const size_t n = c->layer.oc * c->layer.ic;
    double *u = room(n * POINTS, sizeof *u), w[9];
    for (size_t k = 0; k < n; k++) {
        for (size_t t = 0; t < 9; t++)
            w[t] = fabs((double)c->w[k * 9 + (c->pass == CVY_BACKWARD_DATA ? 8 - t : t)]);
        to_points(u + k * POINTS, g_abs, KERNEL, w);
    }
    return u;
}

static void bound_of_map(const struct conv *c)
{
    const bool data = c->pass == CVY_BACKWARD_DATA;
    const struct map *src = data ? &c->y : &c->x, *dst = data ? &c->x : &c->y;
    const ptrdiff_t pad = (ptrdiff_t)(data ? 2 - c->layer.pad : c->layer.pad);
    double *u = kernels_at_points(c), *v = room(src->c * POINTS, sizeof *v), d[POINTS],
           r[OUT * OUT];
    for (size_t t = 0; t < dst->n * dst->h * dst->w; t++) {
        const size_t n = t / (dst->h * dst->w), row = t / dst->w % dst->h, col = t % dst->w;
        if (row % OUT || col % OUT) continue;
        for (size_t i = 0; i < src->c; i++) {
            cut_out(src, n * src->c + i, (ptrdiff_t)row - pad, (ptrdiff_t)col - pad, SIDE, d);
            to_points(v + i * POINTS, b_abs, SIDE, d);
        }
        for (size_t o = 0; o < dst->c; o++) {
            memset(d, 0, sizeof d);
            for (size_t i = 0; i < src->c; i++)
                for (size_t k = 0; k < POINTS; k++)
                    d[k] += u[(data ? i * dst->c + o : o * src->c + i) * POINTS + k] *
                            v[i * POINTS + k];
            from_points(r, a_abs, OUT, d);
            for (size_t p = 0; p < OUT * OUT; p++)
                if (row + p / OUT < dst->h && col + p % OUT < dst->w)
                    c->at[place(dst, n, o, row + p / OUT, col + p % OUT)] = r[p];
        }
    }
    free(u);
    free(v);
}

static void bound_of_weights(const struct conv *c)
{
    const struct layer *l = &c->layer;
    double *u = room(l->oc * l->ic * POINTS, sizeof *u), in[POINTS], v[POINTS],
           *d = room(l->oc * POINTS, sizeof *d);
    for (size_t t = 0; t < l->n * c->y.h * c->y.w; t++) {
        const size_t n = t / (c->y.h * c->y.w), row = t / c->y.w % c->y.h, col = t % c->y.w;
        if (row % OUT || col % OUT) continue;
        for (size_t o = 0; o < l->oc; o++) {
            cut_out(&c->y, n * l->oc + o, (ptrdiff_t)row, (ptrdiff_t)col, OUT, in);
            to_points(d + o * POINTS, a_abs, OUT, in);
        }
        for (size_t i = 0; i < l->ic; i++) {
            cut_out(&c->x, n * l->ic + i, (ptrdiff_t)row - (ptrdiff_t)l->pad,
                    (ptrdiff_t)col - (ptrdiff_t)l->pad, SIDE, in);
            to_points(v, b_abs, SIDE, in);
            for (size_t o = 0; o < l->oc; o++)
                for (size_t k = 0; k < POINTS; k++)
                    u[(o * l->ic + i) * POINTS + k] += d[o * POINTS + k] * v[k];
        }
    }
    for (size_t k = 0; k < l->oc * l->ic; k++)
        from_points(c->at + k * 9, g_abs, KERNEL, u + k * POINTS);
    free(u);
    free(d);
}

/* Roundings that a term goes through. */
static double roundings(const struct conv *c)
{
    const struct layer *l = &c->layer;
    if (c->pass == CVY_BACKWARD_WEIGHTS) {
        const double tiles = ceil((double)c->y.h / OUT) * ceil((double)c->y.w / OUT),
                     blocks = ceil((double)l->n / 16);
        return fmax(16 * fmin(tiles, 4) + ceil(tiles / 4) * blocks,
                    16 * fmin(tiles, 2) + ceil(tiles / 2) * blocks) +
               9;
    }
    const double k = (double)(c->pass == CVY_FORWARD ? l->ic : l->oc);
    return fmin(k, 256) + ceil(k / 256) + 10;
}

/* ------------------------------------------------------------------------------------ searching */

#define AIMED TERM_PATTERNS /* one more, made by aim() */
enum { PATTERNS = TERM_PATTERNS + 1 };
static const char *const pattern_names[PATTERNS] = { "mixed",     "positive",    "equal",
                                                     "growing",   "alternating", "far from 0",
                                                     "one pixel", "a huge one",  "aimed" };

static float mixed(struct check_rng *r, enum pattern p, size_t i)
{
    return p == RANDOM ? check_uniform(r, -1, 1) : term(r, p, i);
}

/* Every kernel and every tile of a map of one to the point (k, l), with signs that add up there. */
static void aim(const struct conv *c, int k, int l, float value)
{
    const size_t side = c->pass == CVY_BACKWARD_DATA ? c->y.w : c->x.w;
    for (size_t i = 0; i < c->n_in[0]; i++) {
        const int row = (int)(i / side % side) % SIDE, col = (int)(i % side) % SIDE;
        c->in[0][i] = value * (float)(b_sign[k * SIDE + row] * b_sign[l * SIDE + col]);
    }
    for (size_t i = 0; i < c->n_in[1]; i++) {
        const int ky = (int)(i % 9) / 3, kx = (int)(i % 3);
        c->in[1][i] = c->pass == CVY_BACKWARD_WEIGHTS
                          ? value
                          : (float)(g_sign[k * KERNEL + ky] * g_sign[l * KERNEL + kx]);
    }
}

/* What was found of a pass. */
struct worst {
    double share, of_terms; /* of the bound; max |error| / sum |terms| */
    enum pattern where;
};

/* The largest share of the bound that the errors of one run are. */
static double share(cvy_context *const *ctx, size_t n_ctx, const struct conv *c, struct worst *w,
                    enum pattern p)
{
    float *first = room(c->n_out, sizeof *first);
    const double n = roundings(c);
    double most = 0;
    exactly(c);
    if (c->pass == CVY_BACKWARD_WEIGHTS) bound_of_weights(c);
    else bound_of_map(c);
    for (size_t t = 0; t < n_ctx; t++) {
        run(ctx[t], c);
        if (!t) memcpy(first, c->out, c->n_out * sizeof *first);
        else if (memcmp(first, c->out, c->n_out * sizeof *first))
            fail_msg("table %zu has other bits", t);
    }
    for (size_t i = 0; i < c->n_out; i++) {
        const double error = fabs((double)first[i] - c->sum[i]);
        if (!(error <= n * U * c->at[i]))
            fail_msg("pass %d, %zu to %zu channels, %s: result %zu is %.9g, exactly %.9g, promised "
                     "within %.3g",
                     (int)c->pass, c->layer.ic, c->layer.oc, pattern_names[p], i, (double)first[i],
                     c->sum[i], n * U * c->at[i]);
        if (c->at[i] > 0) most = fmax(most, error / (n * U * c->at[i]));
        if (c->magnitude[i] > 0) w->of_terms = fmax(w->of_terms, error / c->magnitude[i]);
    }
    free(first);
    if (most > w->share) {
        w->share = most;
        w->where = p;
    }
    return most;
}

/* Changes some of what goes in, and keeps what makes it worse. */
static void climb(cvy_context *const *ctx, const struct conv *c, struct worst *w, enum pattern p,
                  struct check_rng *r)
{
    double best = share(ctx, 1, c, w, p);
    for (int round = 0; round < 60; round++) {
        const size_t k = check_below(r, 2), n = c->n_in[k], from = check_below(r, n),
                     to = from + check_below(r, n - from) + 1;
        float *kept = room(n, sizeof *kept);
        const float scale = check_uniform(r, 0.8f, 1.25f);
        memcpy(kept, c->in[k], n * sizeof *kept);
        for (size_t i = from; i < to; i++) c->in[k][i] *= scale;
        const double now = share(ctx, 1, c, w, p);
        if (now > best) best = now;
        else memcpy(c->in[k], kept, n * sizeof *kept);
        free(kept);
    }
}

static void search(cvy_context *const *ctx, size_t n_ctx, const struct conv *c, struct worst *w,
                   struct check_rng *r)
{
    const bool small = c->n_in[0] * c->layer.oc < 4000;
    for (int p = 0; p < PATTERNS * PATTERNS; p++) {
        const enum pattern a = (enum pattern)(p / PATTERNS), b = (enum pattern)(p % PATTERNS);
        if (a == AIMED || b == AIMED || (!small && a != b && b != EQUAL && b != RANDOM)) continue;
        for (size_t i = 0; i < c->n_in[0]; i++) c->in[0][i] = mixed(r, a, i);
        for (size_t i = 0; i < c->n_in[1]; i++) c->in[1][i] = mixed(r, b, i);
        share(ctx, n_ctx, c, w, a);
        if (small && a == b) climb(ctx, c, w, a, r);
    }
    for (int k = 0; k < POINTS; k += small ? 1 : 7) {
        aim(c, k / SIDE, k % SIDE, 0.528964996f);
        share(ctx, n_ctx, c, w, AIMED);
        if (small) climb(ctx, c, w, AIMED, r);
    }
}

/* The root of the mean square of errors, of that of results; random terms about `mean`. */
static double rms(cvy_context *ctx, const struct conv *c, float mean)
{
    struct check_rng r = { check_seed() };
    double error = 0, result = 0;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < c->n_in[k]; i++) c->in[k][i] = (k ? 0 : mean) + check_normal(&r);
    exactly(c);
    run(ctx, c);
    for (size_t i = 0; i < c->n_out; i++) {
        error += ((double)c->out[i] - c->sum[i]) * ((double)c->out[i] - c->sum[i]);
        result += c->sum[i] * c->sum[i];
    }
    return sqrt(error / result);
}

/* ------------------------------------------------------------------------------------ the tests */

static cvy_context *context(enum cvy_isa isa, enum cvy_algorithm algorithm)
{
    cvy_context *ctx;
    if (cvy_context_create(&(cvy_context_options){ .backends = "native",
                                                   .strict = true,
                                                   .threads = 1,
                                                   .isa = isa,
                                                   .algorithm = algorithm },
                           &ctx))
        fail_msg("%s", cvy_message(ctx));
    return ctx;
}

static void bounds_hold(void **state)
{
    (void)state;
    static const struct layer layers[] = { { 1, 1, 1, 6, 0 },    { 1, 3, 2, 7, 1 },
                                           { 3, 16, 16, 10, 1 }, { 1, 64, 64, 8, 1 },
                                           { 1, 300, 5, 6, 0 },  { 1, 5, 600, 6, 2 },
                                           { 40, 2, 3, 13, 1 } };
    static const enum cvy_pass passes[] = { CVY_FORWARD, CVY_BACKWARD_DATA, CVY_BACKWARD_WEIGHTS };
    static const char *const names[] = { "forward", "data", "weights" };
    cvy_context *ctx[CVY_ISA_PAIR + 1], *direct = context(CVY_ISA_AUTO, CVY_ALGORITHM_DIRECT);
    cvy_machine machine;
    struct check_rng r = { check_seed() };
    size_t n_ctx = 0;
    cvy_machine_describe(&machine);
    make_transforms();
    for (int isa = CVY_ISA_PAIR; isa >= CVY_ISA_SCALAR; isa--)
        if (machine.can_run[isa])
            ctx[n_ctx++] = context((enum cvy_isa)isa, CVY_ALGORITHM_TRANSFORMED);
    for (int p = 0; p < 3; p++)
        for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
            struct conv c = conv_of(&layers[i], passes[p]);
            struct worst w = { 0 };
            search(ctx, n_ctx, &c, &w, &r);
            double found[2] = { rms(ctx[0], &c, 0), rms(ctx[0], &c, 3) },
                   plain[2] = { rms(direct, &c, 0), rms(direct, &c, 3) };
            print_message("%-7s %2zu x %3zu to %3zu channels of %2zux%-2zu: worst %.3f of the "
                          "bound (%s), %.1e of the terms; rms %.1e, direct %.1e; mean 3: %.1e, "
                          "%.1e\n",
                          names[p], c.layer.n, c.layer.ic, c.layer.oc, c.layer.side, c.layer.side,
                          w.share, pattern_names[w.where], w.of_terms, found[0], plain[0], found[1],
                          plain[1]);
            if (!(found[0] <= 2e-6)) fail_msg("rms %.3g", found[0]);
            conv_free(&c);
        }
    for (size_t i = 0; i < n_ctx; i++) cvy_context_destroy(&ctx[i]);
    cvy_context_destroy(&direct);
}

/* The two numbers of docs/numerics.md: what a largest value may be multiplied by, of both
 * dimensions. */
static void largest_factors(void **state)
{
    (void)state;
    double a[SIDE] = { 0 }, b[SIDE] = { 0 }, g[SIDE] = { 0 }, forward = 0, weights = 0;
    make_transforms();
    for (int k = 0; k < SIDE; k++) {
        for (int i = 0; i < SIDE; i++) b[k] += b_abs[k * SIDE + i];
        for (int i = 0; i < OUT; i++) a[k] += a_abs[k * OUT + i];
        for (int i = 0; i < KERNEL; i++) g[k] += g_abs[k * KERNEL + i];
    }
    for (int j = 0; j < OUT; j++) {
        double of_result = 0, of_tap = 0;
        for (int k = 0; k < SIDE; k++) {
            of_result += a_abs[k * OUT + j] * g[k] * b[k];
            if (j < KERNEL) of_tap += g_abs[k * KERNEL + j] * a[k] * b[k];
        }
        forward = fmax(forward, of_result * of_result);
        weights = fmax(weights, of_tap * of_tap);
    }
    print_message("forward and data %.1f, weights %.1f\n", forward, weights);
    assert_true(forward > 751 && forward < 752 && weights > 1095 && weights < 1096);
}

/* What is not finite reaches every result that the definition says, none of another tile, and no
 * other image. */
static void not_finite(void **state)
{
    (void)state;
    static const float bad[] = { INFINITY, -INFINITY, NAN };
    const struct layer l = { 3, 4, 5, 11, 1 };
    struct conv c = conv_of(&l, CVY_FORWARD);
    struct check_rng r = { check_seed() };
    cvy_context *ctx = context(CVY_ISA_AUTO, CVY_ALGORITHM_TRANSFORMED);
    float *without = room(c.n_out, sizeof *without);
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < c.n_in[k]; i++) c.in[k][i] = check_normal(&r);
    run(ctx, &c);
    memcpy(without, c.out, c.n_out * sizeof *without);
    for (size_t pixel = 0; pixel < 3 * l.side * l.side; pixel++) {
        const ptrdiff_t y = (ptrdiff_t)(pixel / l.side % l.side), x = (ptrdiff_t)(pixel % l.side);
        const size_t at = place(&c.x, 1, 2, (size_t)y, (size_t)x);
        const float kept = c.x.v[at];
        c.x.v[at] = bad[pixel / (l.side * l.side)];
        run(ctx, &c);
        c.x.v[at] = kept;
        for (size_t i = 0; i < c.n_out; i++) {
            const ptrdiff_t row = (ptrdiff_t)(i / c.y.w % c.y.h), col = (ptrdiff_t)(i % c.y.w),
                            dy = y + 1 - row / OUT * OUT, dx = x + 1 - col / OUT * OUT;
            const bool image = i / (c.y.c * c.y.h * c.y.w) == 1,
                       read = image && y + 1 - row >= 0 && y + 1 - row < 3 && x + 1 - col >= 0 &&
                              x + 1 - col < 3,
                       tile = image && dy >= 0 && dy < SIDE && dx >= 0 && dx < SIDE;
            if (read ? isfinite(c.out[i]) : !tile && check_bits(c.out[i]) != check_bits(without[i]))
                fail_msg("%g in pixel (%td, %td): result %zu is %g", (double)bad[pixel / 121], y, x,
                         i, (double)c.out[i]);
        }
    }
    free(without);
    conv_free(&c);
    cvy_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(largest_factors),
                                        cmocka_unit_test(bounds_hold),
                                        cmocka_unit_test(not_finite) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
