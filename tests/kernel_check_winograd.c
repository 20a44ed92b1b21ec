/* The transforms of every table that this CPU runs, on random tiles: the bits of the order of
 * operations in kernels.h written with fmaf (hence the same on every table), nothing read or
 * written outside the operands (guard pages; outputs keep their filling elsewhere). And what they
 * are for: transformed, multiplied and transformed back, a tile is the convolution, and each
 * gradient is the adjoint of that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "backends/native/kernels/kernels.h"
#include "base/cpu.h"
#include "check.h"

enum { SIDE = 6, OUT = 4, KERNEL = 3, POINTS = 36, MOST = 3 };

static const float a1 = 0.75f, b1 = 1.5f, a2 = 0.5625f, b2 = 2.25f, a3 = 0.421875f, b3 = 3.375f;

static void to_points(float r[SIDE], const float d[SIDE])
{
    float e = fmaf(-b2, d[2], d[4]), o = fmaf(-b2, d[1], d[3]), f = fmaf(-a2, d[2], d[4]),
          q = fmaf(-a2, d[1], d[3]);
    r[0] = fmaf(a2 * b2, d[0], fmaf(-(a2 + b2), d[2], d[4]));
    r[1] = fmaf(a1, o, e);
    r[2] = fmaf(-a1, o, e);
    r[3] = fmaf(b1, q, f);
    r[4] = fmaf(-b1, q, f);
    r[5] = fmaf(a2 * b2, d[1], fmaf(-(a2 + b2), d[3], d[5]));
}
static void to_results(float r[OUT], const float m[SIDE])
{
    float e = m[1] + m[2], o = m[1] - m[2], f = m[3] + m[4], q = m[3] - m[4];
    r[0] = m[0] + (e + f);
    r[1] = fmaf(b1, q, a1 * o);
    r[2] = fmaf(b2, f, a2 * e);
    r[3] = fmaf(b3, q, fmaf(a3, o, m[5]));
}
static void from_results(float r[SIDE], const float y[OUT])
{
    float e = fmaf(a2, y[2], y[0]), o = fmaf(a2, y[3], y[1]), f = fmaf(b2, y[2], y[0]),
          q = fmaf(b2, y[3], y[1]);
    r[0] = y[0];
    r[1] = fmaf(a1, o, e);
    r[2] = fmaf(-a1, o, e);
    r[3] = fmaf(b1, q, f);
    r[4] = fmaf(-b1, q, f);
    r[5] = y[3];
}
static void from_points(float r[SIDE], const float n[SIDE])
{
    float e = n[1] + n[2], f = n[3] + n[4], o = a1 * (n[1] - n[2]), q = b1 * (n[3] - n[4]);
    r[0] = a2 * b2 * n[0];
    r[1] = fmaf(-b2, o, fmaf(-a2, q, a2 * b2 * n[5]));
    r[2] = fmaf(-b2, e, fmaf(-a2, f, -(a2 + b2) * n[0]));
    r[3] = fmaf(-(a2 + b2), n[5], o + q);
    r[4] = n[0] + (e + f);
    r[5] = n[5];
}
static const double n0 = 1.265625, na = 2 * 0.5625 * (0.5625 - 2.25),
                    nb = 2 * 2.25 * (2.25 - 0.5625);
static void weights_to_points(double r[SIDE], const double w[KERNEL])
{
    double e = 1 / na * w[0] + 0.5625 / na * w[2], f = 1 / nb * w[0] + 2.25 / nb * w[2];
    double o = 0.75 / na * w[1], q = 1.5 / nb * w[1];
    r[0] = 1 / n0 * w[0];
    r[1] = e + o;
    r[2] = e - o;
    r[3] = f + q;
    r[4] = f - q;
    r[5] = w[2];
}
static void points_to_weights(double r[KERNEL], const double u[SIDE])
{
    double e = u[1] + u[2], o = u[1] - u[2], f = u[3] + u[4], q = u[3] - u[4];
    r[0] = 1 / n0 * u[0] + (1 / na * e + 1 / nb * f);
    r[1] = 0.75 / na * o + 1.5 / nb * q;
    r[2] = u[5] + (0.5625 / na * e + 2.25 / nb * f);
}

/* [rows][columns] by columns, then by rows; `to` has a transform's size in both directions. */
typedef void transform_f(float *, const float *);
static void both(float *to, size_t to_n, const float *from, size_t from_n, transform_f *transform)
{
    float half[SIDE][SIDE], in[SIDE], out[SIDE];
    for (size_t j = 0; j < from_n; j++) {
        for (size_t i = 0; i < from_n; i++) in[i] = from[i * from_n + j];
        transform(out, in);
        for (size_t i = 0; i < to_n; i++) half[i][j] = out[i];
    }
    for (size_t i = 0; i < to_n; i++) transform(to + i * to_n, half[i]);
}
typedef void transform_d(double *, const double *);
static void both_double(float *to, size_t to_n, const float *from, size_t from_n,
                        transform_d *transform)
{
    double half[SIDE][SIDE], in[SIDE], out[SIDE];
    for (size_t j = 0; j < from_n; j++) {
        for (size_t i = 0; i < from_n; i++) in[i] = (double)from[i * from_n + j];
        transform(out, in);
        for (size_t i = 0; i < to_n; i++) half[i][j] = out[i];
    }
    for (size_t i = 0; i < to_n; i++) {
        transform(out, half[i]);
        for (size_t j = 0; j < to_n; j++) to[i * to_n + j] = (float)out[j];
    }
}

/* ------------------------------------------------------------------------------------- the maps */

/* n channels of a map, of which the kernel may touch rows x columns, and their points. */
struct tile {
    struct cvyi_winograd g;
    struct check_buf map, points;
    float *first; /* pixel (0, 0) of the tile: before the map where rows or columns are cut */
};

static size_t between(struct check_rng *r, size_t lo, size_t hi)
{
    return lo + check_below(r, hi - lo + 1);
}

static struct tile tile(struct check_rng *r, bool specials, size_t side, bool from_start)
{
    struct tile t = { .g = { .n = between(r, 1, MOST) } };
    struct cvyi_winograd *g = &t.g;
    for (int d = 0; d < 2; d++) {
        size_t *range = d ? g->cols : g->rows;
        range[1] = check_below(r, 2) ? side : check_below(r, side + 1);
        range[0] = from_start || check_below(r, 2) ? 0 : check_below(r, range[1] + 1);
    }
    const size_t rows = g->rows[1] - g->rows[0], cols = g->cols[1] - g->cols[0],
                 gap = check_below(r, 3);
    g->x_row = (ptrdiff_t)(16 * (cols + gap));
    const size_t channel = rows && cols ? 16 * ((rows - 1) * (cols + gap) + cols) : 16;
    g->x_channel = (ptrdiff_t)(channel + 16 * check_below(r, 3));
    g->v_channel = 16 * between(r, 1, 3);
    g->v_point = g->n * g->v_channel + 16 * check_below(r, 3);
    size_t floats = (size_t)g->x_channel * (g->n - 1) + channel;
    t.map = check_alloc(floats * sizeof(float), check_below(r, 2), 4 * check_below(r, 16));
    for (size_t i = 0; i < floats; i++) ((float *)t.map.p)[i] = check_any(r, specials);
    floats = 35 * g->v_point + (g->n - 1) * g->v_channel + 16;
    t.points = check_alloc(floats * sizeof(float), check_below(r, 2), 4 * check_below(r, 16));
    for (size_t i = 0; i < floats; i++) ((float *)t.points.p)[i] = check_any(r, specials);
    t.first = (float *)t.map.p - (ptrdiff_t)g->rows[0] * g->x_row - (ptrdiff_t)g->cols[0] * 16;
    return t;
}

static bool inside(const struct cvyi_winograd *g, size_t i, size_t j)
{
    return i >= g->rows[0] && i < g->rows[1] && j >= g->cols[0] && j < g->cols[1];
}

static float *pixel(const struct tile *t, size_t c, size_t i, size_t j)
{
    return t->first + (ptrdiff_t)c * t->g.x_channel + (ptrdiff_t)i * t->g.x_row + (ptrdiff_t)j * 16;
}

static float *point(const struct tile *t, size_t c, size_t k)
{
    return (float *)t->points.p + k * t->g.v_point + c * t->g.v_channel;
}

static void close_tile(struct tile *t)
{
    assert_true(check_intact(&t->map) && check_intact(&t->points));
    check_free(&t->map);
    check_free(&t->points);
}

/* What is expected in the whole of a buffer, for what a kernel must leave alone, too. */
static float *copy_of(const struct check_buf *b)
{
    float *copy = malloc(b->bytes);
    assert_non_null(copy);
    memcpy(copy, b->p, b->bytes);
    return copy;
}
static void same(const char *kernel, const struct cvyi_kernels *k, uint64_t seed,
                 const struct check_buf *got, float *want)
{
    for (size_t i = 0; i < got->bytes / sizeof *want; i++)
        if (!check_same(((float *)got->p)[i], want[i]))
            fail_msg("%s %s seed %llu: at %zu: got %.9g want %.9g", kernel, k->isa,
                     (unsigned long long)seed, i, (double)((float *)got->p)[i], (double)want[i]);
    free(want);
}

/* ------------------------------------------------------------------------------- each by itself */

static void points_of(const struct cvyi_kernels *k, uint64_t seed, bool grad)
{
    struct check_rng r = { seed };
    struct tile t = tile(&r, check_below(&r, 3) == 0, grad ? OUT : SIDE, grad);
    const size_t side = grad ? OUT : SIDE;
    float *want = copy_of(&t.points);
    for (size_t c = 0; c < t.g.n; c++)
        for (size_t l = 0; l < 16; l++) {
            float x[POINTS], v[POINTS];
            for (size_t i = 0; i < side; i++)
                for (size_t j = 0; j < side; j++)
                    x[i * side + j] = inside(&t.g, i, j) ? pixel(&t, c, i, j)[l] : 0;
            both(v, SIDE, x, side, grad ? from_results : to_points);
            for (size_t p = 0; p < POINTS; p++)
                want[point(&t, c, p) + l - (float *)t.points.p] = v[p];
        }
    if (grad) k->winograd->grad(&t.g, t.first, t.points.p);
    else k->winograd->in(&t.g, t.first, t.points.p);
    same(grad ? "winograd_grad" : "winograd_in", k, seed, &t.points, want);
    close_tile(&t);
}
static void check_in(const struct cvyi_kernels *k, uint64_t seed) { points_of(k, seed, false); }
static void check_grad(const struct cvyi_kernels *k, uint64_t seed) { points_of(k, seed, true); }

static void check_out(const struct cvyi_kernels *k, uint64_t seed)
{
    struct check_rng r = { seed };
    struct tile t = tile(&r, check_below(&r, 3) == 0, OUT, true);
    float bias[MOST], *want = copy_of(&t.map);
    const bool with_bias = check_below(&r, 2);
    for (size_t c = 0; c < MOST; c++) bias[c] = check_normal(&r);
    for (size_t c = 0; c < t.g.n; c++)
        for (size_t l = 0; l < 16; l++) {
            float v[POINTS], y[OUT * OUT];
            for (size_t p = 0; p < POINTS; p++) v[p] = point(&t, c, p)[l];
            both(y, OUT, v, SIDE, to_results);
            for (size_t i = 0; i < t.g.rows[1]; i++)
                for (size_t j = 0; j < t.g.cols[1]; j++) {
                    float result = y[i * OUT + j];
                    if (with_bias) result += bias[c];
                    want[pixel(&t, c, i, j) + l - (float *)t.map.p] = result;
                }
        }
    k->winograd->out(&t.g, t.points.p, with_bias ? bias : NULL, t.first);
    same("winograd_out", k, seed, &t.map, want);
    close_tile(&t);
}

/* Columns of weights, taps or points `apart`, as many as whole registers of any table take. */
static struct check_buf columns(struct check_rng *r, size_t rows, size_t apart, size_t n)
{
    const size_t floats = (rows - 1) * apart + (n + 15) / 16 * 16;
    struct check_buf b =
        check_alloc(floats * sizeof(float), check_below(r, 2), 4 * check_below(r, 16));
    for (size_t i = 0; i < floats; i++) ((float *)b.p)[i] = check_normal(r);
    return b;
}

static void weights_or_dw(const struct cvyi_kernels *k, uint64_t seed, bool dw)
{
    struct check_rng r = { seed };
    const size_t n = between(&r, 1, 40), w_tap = (n + 15) / 16 * 16 + check_below(&r, 5),
                 u_point = (n + 15) / 16 * 16 + check_below(&r, 5);
    struct check_buf w = columns(&r, 9, w_tap, n), u = columns(&r, POINTS, u_point, n);
    float from[POINTS], to[POINTS], *want = malloc(POINTS * n * sizeof *want);
    const bool turned = dw && check_below(&r, 2);
    assert_non_null(want);
    for (size_t c = 0; c < n; c++) {
        for (size_t i = 0; i < (dw ? POINTS : 9); i++)
            from[i] = dw ? ((float *)u.p)[i * u_point + c] : ((float *)w.p)[i * w_tap + c];
        if (dw) both_double(to, KERNEL, from, SIDE, points_to_weights);
        else both_double(to, SIDE, from, KERNEL, weights_to_points);
        memcpy(want + c * POINTS, to, sizeof to);
    }
    if (turned) k->winograd->dw((float *)w.p + 8 * w_tap, -(ptrdiff_t)w_tap, u.p, u_point, n);
    else if (dw) k->winograd->dw(w.p, (ptrdiff_t)w_tap, u.p, u_point, n);
    else k->winograd->weights(u.p, u_point, w.p, w_tap, n);
    for (size_t c = 0; c < n; c++)
        for (size_t i = 0; i < (dw ? 9 : POINTS); i++) {
            size_t at = turned ? 8 - i : i;
            float got = dw ? ((float *)w.p)[at * w_tap + c] : ((float *)u.p)[i * u_point + c];
            if (!check_same(got, want[c * POINTS + i]))
                fail_msg("winograd_%s %s seed %llu: column %zu of %zu, %zu: got %.9g want %.9g",
                         dw ? "dw" : "weights", k->isa, (unsigned long long)seed, c, n, i,
                         (double)got, (double)want[c * POINTS + i]);
        }
    free(want);
    assert_true(check_intact(&w) && check_intact(&u));
    check_free(&w);
    check_free(&u);
}
static void check_weights(const struct cvyi_kernels *k, uint64_t seed)
{
    weights_or_dw(k, seed, false);
}
static void check_dw(const struct cvyi_kernels *k, uint64_t seed) { weights_or_dw(k, seed, true); }

/* ---------------------------------------------------------------------------------------- rows */

enum { ROW = 8, TAPS = 5 };
static const float ra = 0.5f, rc = 1.75f, raa = 0.25f, rcc = 3.0625f;
static const float row_sum = 0.25f + 1 + 3.0625f, row_pairs = 0.25f + 3.0625f + 0.765625f,
                   row_all = 0.765625f;

static float quadratic(float p, float s, float x, float y, float z)
{
    return fmaf(p, x, fmaf(-s, y, z));
}

static void five_in(float r[ROW], const float d[ROW])
{
    float e = quadratic(rcc, 1 + rcc, d[2], d[4], d[6]),
          o = quadratic(rcc, 1 + rcc, d[1], d[3], d[5]);
    r[1] = fmaf(ra, o, e);
    r[2] = fmaf(-ra, o, e);
    e = quadratic(row_all, raa + rcc, d[2], d[4], d[6]);
    o = quadratic(row_all, raa + rcc, d[1], d[3], d[5]);
    r[3] = e + o;
    r[4] = e - o;
    e = quadratic(raa, raa + 1, d[2], d[4], d[6]);
    o = quadratic(raa, raa + 1, d[1], d[3], d[5]);
    r[5] = fmaf(rc, o, e);
    r[6] = fmaf(-rc, o, e);
    r[0] = fmaf(-row_all, d[0], quadratic(row_pairs, row_sum, d[2], d[4], d[6]));
    r[7] = fmaf(-row_all, d[1], quadratic(row_pairs, row_sum, d[3], d[5], d[7]));
}
static void five_out(float r[OUT], const float m[ROW])
{
    float e = m[1] + m[2], o = m[1] - m[2], f = m[3] + m[4], q = m[3] - m[4], g = m[5] + m[6],
          p = m[5] - m[6];
    r[0] = (m[0] + e) + (f + g);
    r[1] = fmaf(rc, p, fmaf(ra, o, q));
    r[2] = fmaf(rcc, g, fmaf(raa, e, f));
    r[3] = fmaf(rcc * rc, p, fmaf(raa * ra, o, q + m[7]));
}
static void five_grad(float r[ROW], const float y[OUT])
{
    const float b[3] = { ra, 1, rc }, bb[3] = { raa, 1, rcc };
    r[0] = y[0];
    r[7] = y[3];
    for (size_t k = 0; k < 3; k++) {
        float e = fmaf(bb[k], y[2], y[0]), o = fmaf(bb[k], y[3], y[1]);
        r[1 + 2 * k] = fmaf(b[k], o, e);
        r[2 + 2 * k] = fmaf(-b[k], o, e);
    }
}
static void five_data(float r[ROW], const float n[ROW])
{
    float e = n[1] + n[2], f = n[3] + n[4], g = n[5] + n[6], o = ra * (n[1] - n[2]),
          q = n[3] - n[4], p = rc * (n[5] - n[6]);
    r[0] = -row_all * n[0];
    r[1] = fmaf(-row_all, n[7], fmaf(rcc, o, fmaf(row_all, q, raa * p)));
    r[2] = fmaf(row_pairs, n[0], fmaf(rcc, e, fmaf(row_all, f, raa * g)));
    r[3] = fmaf(-(1 + rcc), o, fmaf(-(raa + rcc), q, fmaf(-(raa + 1), p, row_pairs * n[7])));
    r[4] = fmaf(-(1 + rcc), e, fmaf(-(raa + rcc), f, fmaf(-(raa + 1), g, -row_sum * n[0])));
    r[5] = fmaf(-row_sum, n[7], o + (q + p));
    r[6] = n[0] + (e + (f + g));
    r[7] = n[7];
}

/* F(4, 3) and F(4, 5): taps, points, and the transforms in one dimension. */
static const struct form {
    size_t taps, points;
    transform_f *in, *out, *grad, *data;
    double at[7]; /* but infinity */
} forms[CVYI_ROW_TAPS] = {
    { 3, SIDE, to_points, to_results, from_results, from_points, { 0, 0.75, -0.75, 1.5, -1.5 } },
    { TAPS, ROW, five_in, five_out, five_grad, five_data, { 0, 0.5, -0.5, 1, -1, 1.75, -1.75 } },
};

/* Tiles of a row, and the points that belong to them; pixel (c, column) of the map. */
struct row {
    size_t kernel; /* of each array */
    const struct form *form;
    struct cvyi_winograd_row g;
    struct check_buf map, points;
};
static struct row row(struct check_rng *r, bool shifted)
{
    struct row t = { .kernel = check_below(r, CVYI_ROW_TAPS),
                     .g = { .n = between(r, 1, MOST), .tiles = between(r, 1, 4) } };
    t.form = &forms[t.kernel];
    const size_t more = t.form->taps - 1;
    struct cvyi_winograd_row *g = &t.g;
    /* columns of a result: as many tiles as it needs */
    size_t width = OUT * (g->tiles - 1) + between(r, 1, OUT), left = check_below(r, more),
           right = check_below(r, more);
    if (shifted) {
        g->first = -(ptrdiff_t)left;
        width = width + more > left + right ? width + more - left - right : 1;
    }
    g->width = (ptrdiff_t)width;
    g->x_channel = (ptrdiff_t)(16 * (width + check_below(r, 3)));
    g->v_channel = 16 * between(r, 1, 3);
    g->v_tile = g->n * g->v_channel + 16 * check_below(r, 3);
    g->v_point = g->tiles * g->v_tile + 16 * check_below(r, 3);
    const bool specials = check_below(r, 3) == 0;
    struct check_buf *buffers[2] = { &t.map, &t.points };
    size_t floats[2] = { (size_t)g->x_channel * (g->n - 1) + 16 * width,
                         (t.form->points - 1) * g->v_point + (g->tiles - 1) * g->v_tile +
                             (g->n - 1) * g->v_channel + 16 };
    for (int b = 0; b < 2; b++) {
        *buffers[b] =
            check_alloc(floats[b] * sizeof(float), check_below(r, 2), 4 * check_below(r, 16));
        for (size_t i = 0; i < floats[b]; i++) ((float *)buffers[b]->p)[i] = check_any(r, specials);
    }
    return t;
}
static float *column_at(const struct row *t, size_t c, ptrdiff_t column)
{
    return (float *)t->map.p + (ptrdiff_t)c * t->g.x_channel + column * 16;
}
static float *row_point(const struct row *t, size_t c, size_t tile, size_t k)
{
    return (float *)t->points.p + k * t->g.v_point + tile * t->g.v_tile + c * t->g.v_channel;
}
static void close_row(struct row *t)
{
    assert_true(check_intact(&t->map) && check_intact(&t->points));
    check_free(&t->map);
    check_free(&t->points);
}

static void row_points(const struct cvyi_kernels *k, uint64_t seed, bool grad)
{
    struct check_rng r = { seed };
    struct row t = row(&r, !grad);
    float *want = copy_of(&t.points);
    for (size_t c = 0; c < t.g.n; c++)
        for (size_t tile = 0; tile < t.g.tiles; tile++)
            for (size_t l = 0; l < 16; l++) {
                float d[ROW], v[ROW];
                for (ptrdiff_t j = 0; j < (ptrdiff_t)(grad ? OUT : t.form->points); j++) {
                    ptrdiff_t at = (grad ? 0 : t.g.first) + OUT * (ptrdiff_t)tile + j;
                    d[j] = at >= 0 && at < t.g.width ? column_at(&t, c, at)[l] : 0;
                }
                (grad ? t.form->grad : t.form->in)(v, d);
                for (size_t p = 0; p < t.form->points; p++)
                    want[row_point(&t, c, tile, p) + l - (float *)t.points.p] = v[p];
            }
    if (grad) k->winograd->row_grad[t.kernel](&t.g, t.map.p, t.points.p);
    else k->winograd->row_in[t.kernel](&t.g, t.map.p, t.points.p);
    same(grad ? "winograd_row_grad" : "winograd_row_in", k, seed, &t.points, want);
    close_row(&t);
}
static void check_row_in(const struct cvyi_kernels *k, uint64_t seed)
{
    row_points(k, seed, false);
}
static void check_row_grad(const struct cvyi_kernels *k, uint64_t seed)
{
    row_points(k, seed, true);
}

static void check_row_out(const struct cvyi_kernels *k, uint64_t seed)
{
    struct check_rng r = { seed };
    struct row t = row(&r, false);
    float bias[MOST], *want = copy_of(&t.map);
    const bool with_bias = check_below(&r, 2);
    for (size_t c = 0; c < MOST; c++) bias[c] = check_normal(&r);
    for (size_t c = 0; c < t.g.n; c++)
        for (size_t tile = 0; tile < t.g.tiles; tile++)
            for (size_t l = 0; l < 16; l++) {
                float m[ROW], y[OUT];
                for (size_t p = 0; p < t.form->points; p++) m[p] = row_point(&t, c, tile, p)[l];
                t.form->out(y, m);
                for (ptrdiff_t j = 0; j < OUT; j++) {
                    ptrdiff_t at = OUT * (ptrdiff_t)tile + j;
                    float result = with_bias ? y[j] + bias[c] : y[j];
                    if (at < t.g.width) want[column_at(&t, c, at) + l - (float *)t.map.p] = result;
                }
            }
    k->winograd->row_out[t.kernel](&t.g, t.points.p, with_bias ? bias : NULL, t.map.p);
    same("winograd_row_out", k, seed, &t.map, want);
    close_row(&t);
}

static void check_row_data(const struct cvyi_kernels *k, uint64_t seed)
{
    struct check_rng r = { seed };
    struct row t = row(&r, true);
    float *want = copy_of(&t.map);
    for (size_t c = 0; c < t.g.n; c++)
        for (size_t l = 0; l < 16; l++) {
            float carry[OUT] = { 0 };
            const ptrdiff_t more = (ptrdiff_t)t.form->taps - 1;
            for (size_t tile = 0; tile <= t.g.tiles; tile++) {
                float n[ROW] = { 0 }, x[ROW] = { 0 };
                for (size_t p = 0; p < t.form->points && tile < t.g.tiles; p++)
                    n[p] = row_point(&t, c, tile, p)[l];
                if (tile < t.g.tiles) t.form->data(x, n);
                for (ptrdiff_t j = 0; j < OUT; j++) {
                    ptrdiff_t at = t.g.first + OUT * (ptrdiff_t)tile + j;
                    float result = j < more ? carry[j] : x[j];
                    if (j < more && tile < t.g.tiles) result += x[j];
                    carry[j] = j < more ? x[j + OUT] : 0;
                    if (at >= 0 && at < t.g.width && (j < more || tile < t.g.tiles))
                        want[column_at(&t, c, at) + l - (float *)t.map.p] = result;
                }
            }
        }
    k->winograd->row_data[t.kernel](&t.g, t.points.p, t.map.p);
    same("winograd_row_data", k, seed, &t.map, want);
    close_row(&t);
}

/* Within the last places: which order the constants are formed in is the compiler's. */
static void row_weights_or_dw(const struct cvyi_kernels *k, uint64_t seed, bool dw)
{
    struct check_rng r = { seed };
    const size_t kernel = check_below(&r, CVYI_ROW_TAPS), taps = forms[kernel].taps,
                 points = forms[kernel].points, last = points - 1;
    const double *at = forms[kernel].at;
    const size_t n = between(&r, 1, 40), w_tap = (n + 15) / 16 * 16 + check_below(&r, 5),
                 u_point = (n + 15) / 16 * 16 + check_below(&r, 5);
    struct check_buf w = columns(&r, taps, w_tap, n), u = columns(&r, points, u_point, n);
    double g[ROW][TAPS] = { { 0 } };
    for (size_t p = 0; p < last; p++) {
        double norm = 1;
        for (size_t q = 0; q < last; q++)
            if (q != p) norm *= at[p] - at[q];
        for (size_t i = 0; i < taps; i++) g[p][i] = pow(at[p], (double)i) / norm;
    }
    g[last][taps - 1] = 1;
    double want[ROW][48] = { { 0 } }, size[ROW][48] = { { 0 } };
    for (size_t c = 0; c < n; c++)
        for (size_t p = 0; p < points; p++)
            for (size_t i = 0; i < taps; i++) {
                double from = dw ? (double)((float *)u.p)[p * u_point + c]
                                 : (double)((float *)w.p)[i * w_tap + c];
                want[dw ? i : p][c] += g[p][i] * from;
                size[dw ? i : p][c] += fabs(g[p][i] * from);
            }
    if (dw) k->winograd->row_dw[kernel](w.p, (ptrdiff_t)w_tap, u.p, u_point, n);
    else k->winograd->row_weights[kernel](u.p, u_point, w.p, w_tap, n);
    for (size_t c = 0; c < n; c++)
        for (size_t i = 0; i < (dw ? taps : points); i++) {
            float got = dw ? ((float *)w.p)[i * w_tap + c] : ((float *)u.p)[i * u_point + c];
            if (fabs((double)got - want[i][c]) > 0x1p-24 * fabs(want[i][c]) + 1e-14 * size[i][c])
                fail_msg("winograd_row_%s %s seed %llu: column %zu, %zu: got %.9g want %.9g",
                         dw ? "dw" : "weights", k->isa, (unsigned long long)seed, c, i, (double)got,
                         want[i][c]);
        }
    assert_true(check_intact(&w) && check_intact(&u));
    check_free(&w);
    check_free(&u);
}
static void check_row_weights(const struct cvyi_kernels *k, uint64_t seed)
{
    row_weights_or_dw(k, seed, false);
}
static void check_row_dw(const struct cvyi_kernels *k, uint64_t seed)
{
    row_weights_or_dw(k, seed, true);
}

/* Behind a row's columns anything may stand: the next row, or up to 15 floats. */
static void check_taps(const struct cvyi_kernels *k, uint64_t seed)
{
    struct check_rng r = { seed };
    size_t most = 0;
    for (size_t i = 0; i < CVYI_MAC_TILES; i++)
        if ((size_t)k->mac->tile[i].mo > most) most = (size_t)k->mac->tile[i].mo;
    struct cvyi_winograd_taps g = { .rows = between(&r, 1, 6),
                                    .taps = between(&r, 3, 9),
                                    .columns = between(&r, 1, most) };
    const size_t row = g.columns + check_below(&r, 3), tap = g.rows * row + 16, n = g.rows * g.taps;
    const bool turned = check_below(&r, 2), specials = check_below(&r, 3) == 0;
    g.column = n + check_below(&r, 4);
    g.w_row = (ptrdiff_t)row;
    g.w_tap = turned ? -(ptrdiff_t)tap : (ptrdiff_t)tap;
    struct check_buf weight = check_alloc(((g.columns - 1) * g.column + n) * sizeof(float),
                                          check_below(&r, 2), 4 * check_below(&r, 16)),
                     w = check_alloc(g.taps * tap * sizeof(float), check_below(&r, 2), 0);
    float *from = weight.p, *to = w.p;
    for (size_t i = 0; i < weight.bytes / sizeof *from; i++) from[i] = check_any(&r, specials);
    k->winograd->taps(turned ? to + (g.taps - 1) * tap : to, &g, from);
    for (size_t t = 0; t < g.taps; t++)
        for (size_t i = 0; i < n / g.taps; i++)
            for (size_t c = 0; c < g.columns; c++)
                assert_true(check_same(to[(turned ? g.taps - 1 - t : t) * tap + i * row + c],
                                       from[c * g.column + i * g.taps + t]));
    assert_true(check_intact(&weight) && check_intact(&w));
    check_free(&weight);
    check_free(&w);
}

/* ------------------------------------------------------------------------------------- together */

/* One tile of one channel, lane 0: y = At (G w Gt . Bt x B) A is the correlation; and with
 * D = A dy At, <dy, y(x, w)> = <D . V, U>, whose gradient is dw. */
static void check_algebra(const struct cvyi_kernels *k, uint64_t seed)
{
    struct check_rng r = { seed };
    float x[SIDE * SIDE * 16] = { 0 }, dy[OUT * OUT * 16] = { 0 }, y[OUT * OUT * 16],
                          v[POINTS * 16], d[POINTS * 16], w[9 * 16] = { 0 }, u[POINTS * 16],
                          du[POINTS * 16], dw[9 * 16];
    for (size_t i = 0; i < SIDE * SIDE; i++) x[i * 16] = check_normal(&r);
    for (size_t i = 0; i < OUT * OUT; i++) dy[i * 16] = check_normal(&r);
    for (size_t i = 0; i < 9; i++) w[i * 16] = check_normal(&r);
    struct cvyi_winograd g = {
        .n = 1, .x_row = SIDE * 16, .v_point = 16, .rows = { 0, SIDE }, .cols = { 0, SIDE }
    };
    k->winograd->in(&g, x, v);
    k->winograd->weights(u, 16, w, 16, 1);
    g = (struct cvyi_winograd){
        .n = 1, .x_row = OUT * 16, .v_point = 16, .rows = { 0, OUT }, .cols = { 0, OUT }
    };
    k->winograd->grad(&g, dy, d);
    for (size_t p = 0; p < POINTS; p++) {
        du[p * 16] = d[p * 16] * v[p * 16];
        v[p * 16] *= u[p * 16];
    }
    for (size_t p = 0; p < POINTS; p++)
        for (size_t l = 1; l < 16; l++) v[p * 16 + l] = du[p * 16 + l] = 0;
    k->winograd->out(&g, v, NULL, y);
    k->winograd->dw(dw, 16, du, 16, 1);
    for (size_t i = 0; i < OUT; i++)
        for (size_t j = 0; j < OUT; j++) {
            double want = 0;
            for (size_t a = 0; a < KERNEL; a++)
                for (size_t b = 0; b < KERNEL; b++)
                    want +=
                        (double)w[(a * KERNEL + b) * 16] * (double)x[((i + a) * SIDE + j + b) * 16];
            assert_true(fabs(want - (double)y[(i * OUT + j) * 16]) < 2e-5);
        }
    for (size_t a = 0; a < KERNEL; a++)
        for (size_t b = 0; b < KERNEL; b++) {
            double want = 0;
            for (size_t i = 0; i < OUT; i++)
                for (size_t j = 0; j < OUT; j++)
                    want +=
                        (double)dy[(i * OUT + j) * 16] * (double)x[((i + a) * SIDE + j + b) * 16];
            assert_true(fabs(want - (double)dw[(a * KERNEL + b) * 16]) < 4e-5);
        }
}

/* The same of a row of one tile: its gradients are adjoints, <dy, y> = <dx, x>, <dw, w>. */
static void check_row_algebra(const struct cvyi_kernels *k, uint64_t seed)
{
    struct check_rng r = { seed };
    const size_t kernel = check_below(&r, CVYI_ROW_TAPS), taps = forms[kernel].taps,
                 points = forms[kernel].points;
    float x[ROW * 16] = { 0 }, dx[ROW * 16], dy[OUT * 16] = { 0 }, y[OUT * 16], v[ROW * 16],
                  d[ROW * 16], n[ROW * 16], m[ROW * 16], w[TAPS * 16] = { 0 }, u[ROW * 16],
                  dw[TAPS * 16];
    for (size_t i = 0; i < points; i++) x[i * 16] = check_normal(&r);
    for (size_t i = 0; i < OUT; i++) dy[i * 16] = check_normal(&r);
    for (size_t i = 0; i < taps; i++) w[i * 16] = check_normal(&r);
    struct cvyi_winograd_row in = { .n = 1, .tiles = 1, .width = (ptrdiff_t)points, .v_point = 16 },
                             out = { .n = 1, .tiles = 1, .width = OUT, .v_point = 16 };
    k->winograd->row_in[kernel](&in, x, v);
    k->winograd->row_weights[kernel](u, 16, w, 16, 1);
    k->winograd->row_grad[kernel](&out, dy, d);
    for (size_t p = 0; p < points; p++)
        for (size_t l = 0; l < 16; l++) {
            size_t i = p * 16 + l;
            m[i] = l ? 0 : v[i] * u[i];
            n[i] = l ? 0 : d[i] * u[i];
            v[i] = l ? 0 : v[i] * d[i];
        }
    k->winograd->row_out[kernel](&out, m, NULL, y);
    k->winograd->row_data[kernel](&in, n, dx);
    k->winograd->row_dw[kernel](dw, 16, v, 16, 1);
    double by_y = 0, by_x = 0, by_w = 0;
    for (size_t i = 0; i < OUT; i++) {
        double want = 0;
        for (size_t j = 0; j < taps; j++) want += (double)w[j * 16] * (double)x[(i + j) * 16];
        assert_true(fabs(want - (double)y[i * 16]) < 3e-5);
        by_y += want * (double)dy[i * 16];
    }
    for (size_t i = 0; i < points; i++) by_x += (double)dx[i * 16] * (double)x[i * 16];
    for (size_t i = 0; i < taps; i++) by_w += (double)dw[i * 16] * (double)w[i * 16];
    assert_true(fabs(by_y - by_x) < 1e-4 && fabs(by_y - by_w) < 1e-4);
}

static const struct cvyi_kernels *table(int isa)
{
    return cvyi_cpu_can_run((enum cvy_isa)isa) ? cvyi_kernels_for(isa) : NULL;
}

/* A kernel of the list without a check_NAME here does not compile. */
#define MATCHES(name, type, count)                                 \
    static void name##_matches(void **state)                       \
    {                                                              \
        (void)state;                                               \
        for (int isa = CVY_ISA_SCALAR; isa <= CVY_ISA_PAIR; isa++) \
            for (uint64_t i = 0; table(isa) && i < 500; i++)       \
                check_##name(table(isa), check_seed() + i);        \
    }
CVYI_WINOGRAD_KERNELS(MATCHES)
MATCHES(algebra, , )
MATCHES(row_algebra, , )

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name, type, count) cmocka_unit_test(name##_matches),
        CVYI_WINOGRAD_KERNELS(CASE) CASE(algebra, , ) CASE(row_algebra, , )
    };
    printf("seed %llu (CVYI_TEST_SEED)\n", (unsigned long long)check_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
