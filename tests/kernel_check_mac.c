/* mac, wgrad, outer and depthwise of every table that this CPU runs, on random shapes: the bits of
 * the order of operations in kernels.h written with fmaf (hence the same on every table and tile),
 * close to a sum in double, and nothing read or written outside the operands (guard pages; outputs
 * keep their filling elsewhere). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "backends/native/kernels/kernels.h"
#include "base/cpu.h"
#include "check.h"

enum { MAX_PIX = 48, MAX_TAPS = 12, MAX_I = 128 };

/* What the values of a case are. */
enum values { NORMAL, INTEGERS, SPECIAL, N_VALUES };

static struct check_buf buffer(struct check_rng *r, size_t floats)
{
    return check_alloc(floats * sizeof(float), check_below(r, 2), 4 * check_below(r, 16));
}

static struct check_buf filled(struct check_rng *r, size_t floats, enum values v)
{
    struct check_buf b = buffer(r, floats);
    for (size_t i = 0; i < floats; i++)
        ((float *)b.p)[i] =
            v == INTEGERS ? (float)check_below(r, 17) - 8 : check_any(r, v == SPECIAL);
    return b;
}

/* One output: the contract's chain in float, and the same sum in double with the sum of
 * magnitudes. */
struct sum {
    float f;
    double d, abs;
};

static void sum_add(struct sum *s, float a, float b)
{
    s->f = fmaf(a, b, s->f);
    s->d += (double)a * b;
    s->abs += fabs((double)a * b);
}

/* Whether the float chain is as near to the double sum as n roundings allow. */
static bool sum_sane(const struct sum *s, size_t n)
{
    return !isfinite(s->abs) || s->abs > 1e38 ||
           fabs(s->f - s->d) <= ((double)n + 4) * (0x1p-24 * s->abs + 0x1p-149);
}

static size_t between(struct check_rng *r, size_t lo, size_t hi)
{
    return lo + check_below(r, hi - lo + 1);
}

static void shuffle(struct check_rng *r, size_t *a, size_t n)
{
    for (size_t i = 0; i < n; i++) a[i] = i;
    for (size_t i = n; i > 1; i--) {
        size_t j = check_below(r, i), t = a[i - 1];
        a[i - 1] = a[j];
        a[j] = t;
    }
}

/* Where the i-th of n is put in 0 … last: the first and the last at the ends, so that they are
 * touched. */
static size_t end_or_any(struct check_rng *r, size_t i, size_t n, size_t last)
{
    if (i == 0) return 0;
    return i + 1 == n ? last : check_below(r, last + 1);
}

/* ------------------------------------------------------------------------------------------ mac */

static void check_mac(const struct cvyi_kernels *k, const struct cvyi_mac_tile *tile, uint64_t seed)
{
    struct check_rng r = { seed };
    const size_t mo = (size_t)tile->mo;
    struct cvyi_mac m = {
        .n_pix = check_below(&r, 8) ? between(&r, 1, 12) : between(&r, 0, MAX_PIX),
        .n_taps = check_below(&r, 16) ? between(&r, 1, MAX_TAPS) : 0,
        .n_ic = check_below(&r, 16) ? between(&r, 1, 5) : 0,
        .n_oc = check_below(&r, 2) ? mo : between(&r, 1, mo),
        .accumulate = check_below(&r, 3) == 0,
    };
    enum values values = (enum values)check_below(&r, N_VALUES);
    /* Pixels lie in [lead, plane - span + lead] and taps in [-lead, span - lead), so that all stays
     * in the plane and both ends of it are touched. */
    const size_t span = between(&r, 1, 20), lead = check_below(&r, span),
                 plane = span + check_below(&r, 40);
    const size_t all_taps = m.n_taps + check_below(&r, 3);
    const int32_t shift = (int32_t)check_below(&r, 30) * 16;
    int32_t x_pix[MAX_PIX], y_pix[MAX_PIX], x_tap[MAX_TAPS], w_tap[MAX_TAPS];
    size_t order[2 * MAX_PIX];
    for (size_t p = 0; p < m.n_pix; p++) {
        size_t at = end_or_any(&r, p, m.n_pix, plane - span);
        x_pix[p] = (int32_t)((lead + at) * 16) - shift;
    }
    for (size_t t = 0; t < m.n_taps; t++) {
        size_t at = end_or_any(&r, t, m.n_taps, span - 1);
        x_tap[t] = ((int32_t)at - (int32_t)lead) * 16 + shift;
    }
    shuffle(&r, order, all_taps);
    for (size_t t = 0; t < m.n_taps; t++) w_tap[t] = (int32_t)(order[t] * mo);
    const size_t y_plane = m.n_pix + check_below(&r, MAX_PIX);
    shuffle(&r, order, y_plane);
    for (size_t p = 0; p < m.n_pix; p++) y_pix[p] = (int32_t)(order[p] * 16);
    m.x_pix = x_pix;
    m.y_pix = y_pix;
    m.x_tap = x_tap;
    m.w_tap = w_tap;
    m.x_ic = plane * 16;
    m.w_ic = all_taps * mo;
    m.y_oc = y_plane * 16;

    struct check_buf x = filled(&r, m.n_ic * m.x_ic, values),
                     w = filled(&r, m.n_ic * m.w_ic, values);
    struct check_buf bias = filled(&r, m.n_oc, values), y = buffer(&r, m.n_oc * m.y_oc);
    const bool with_bias = !m.accumulate && check_below(&r, 2);
    float *yp = y.p, *wp = w.p;
    for (size_t i = 0; i < m.n_ic * all_taps; i++)
        for (size_t o = m.n_oc; o < mo; o++) wp[i * mo + o] = 0;
    float *want = malloc((m.n_oc * m.y_oc + 1) * sizeof *want);
    assert_non_null(want);
    memset(want, 0xff, (m.n_oc * m.y_oc + 1) * sizeof *want);
    if (m.accumulate)
        for (size_t i = 0; i < m.n_oc * m.y_oc; i++)
            want[i] = yp[i] = check_any(&r, values == SPECIAL);
    const float *xp = x.p;
    for (size_t o = 0; o < m.n_oc; o++)
        for (size_t p = 0; p < m.n_pix; p++)
            for (ptrdiff_t l = 0; l < 16; l++) {
                struct sum s = { 0 };
                for (size_t i = 0; i < m.n_ic; i++)
                    for (size_t t = 0; t < m.n_taps; t++)
                        sum_add(&s, wp[i * m.w_ic + (size_t)w_tap[t] + o],
                                xp[(ptrdiff_t)(i * m.x_ic) + x_pix[p] + x_tap[t] + l]);
                assert_true(sum_sane(&s, m.n_ic * m.n_taps));
                float *d = want + (size_t)y_pix[p] + o * m.y_oc + l;
                if (m.accumulate) *d += s.f;
                else *d = with_bias ? s.f + ((float *)bias.p)[o] : s.f;
            }
    tile->fn(&m, x.p, w.p, with_bias ? bias.p : NULL, y.p);
    for (size_t i = 0; i < m.n_oc * m.y_oc; i++)
        if (!check_same(yp[i], want[i]))
            fail_msg(
                "mac %dx%d %s seed %llu: pixels %zu taps %zu ic %zu oc %zu accumulate %d bias %d: "
                "o %zu pixel %zu lane %zu: got %.9g want %.9g",
                tile->mo, tile->np, k->isa, (unsigned long long)seed, m.n_pix, m.n_taps, m.n_ic,
                m.n_oc, m.accumulate, with_bias, i / m.y_oc, i % m.y_oc / 16, i % 16, yp[i],
                want[i]);
    assert_true(check_intact(&y));
    free(want);
    check_free(&x);
    check_free(&w);
    check_free(&bias);
    check_free(&y);
}

/* ---------------------------------------------------------------------------------------- wgrad */

/* The contract's fold tree. */
static float fold(float a[16])
{
    for (int n = 8; n > 0; n /= 2)
        for (int l = 0; l < n; l++) a[l] += a[l + n];
    return a[0];
}

static void check_wgrad(const struct cvyi_kernels *k, uint64_t seed)
{
    struct check_rng r = { seed };
    struct cvyi_wgrad g = {
        .n_oc = between(&r, 1, 10),
        .n_i = between(&r, 1, 15),
        .n_rows = between(&r, 0, 6),
        .n_cols = between(&r, 1, 9),
        .accumulate = check_below(&r, 2),
    };
    /* Now and then more than a kernel may do in one piece: many i, many rows, one long row. */
    switch (check_below(&r, 24)) {
    case 0:
        g.n_oc = between(&r, 1, 4);
        g.n_i = between(&r, 60, 120);
        break;
    case 1: g.n_rows = between(&r, 30, 100); break;
    case 2:
        g.n_rows = 1;
        g.n_cols = between(&r, 300, 1024);
        break;
    }
    enum values values = (enum values)check_below(&r, N_VALUES);
    g.dy_col = 16 * (ptrdiff_t)between(&r, 1, 2);
    g.dy_row = (ptrdiff_t)g.n_cols * g.dy_col + 16 * (ptrdiff_t)check_below(&r, 3);
    g.x_col = 16 * (ptrdiff_t)between(&r, 1, 3);
    g.x_row = (ptrdiff_t)g.n_cols * g.x_col + 16 * (ptrdiff_t)check_below(&r, 3);
    const size_t rows = g.n_rows ? g.n_rows : 1;
    const size_t dy_extent = (rows - 1) * (size_t)g.dy_row + (g.n_cols - 1) * (size_t)g.dy_col + 16;
    const size_t x_extent = (rows - 1) * (size_t)g.x_row + (g.n_cols - 1) * (size_t)g.x_col + 16;
    g.dy_oc = (ptrdiff_t)(dy_extent + 16 * check_below(&r, 3));
    const size_t spare = 16 * check_below(&r, 40);
    const size_t dw_row = g.n_i + check_below(&r, 8);
    const bool columns = check_below(&r, 2); /* o fastest or i fastest */
    g.dw_oc = columns ? 1 : (ptrdiff_t)dw_row;

    struct check_buf dy = filled(&r, (g.n_oc - 1) * (size_t)g.dy_oc + dy_extent, values);
    struct check_buf x = filled(&r, x_extent + spare, values);
    const float *xi[MAX_I], *dyp = dy.p;
    ptrdiff_t dw_i[MAX_I];
    size_t order[MAX_I];
    shuffle(&r, order, dw_row);
    for (size_t i = 0; i < g.n_i; i++) {
        xi[i] = (float *)x.p + 16 * end_or_any(&r, i, g.n_i, spare / 16);
        dw_i[i] = (ptrdiff_t)(columns ? order[i] * g.n_oc : order[i]);
    }
    const size_t n = g.n_oc * dw_row;
    struct check_buf dw = buffer(&r, n);
    float want[10 * MAX_I], *dwp = dw.p;
    memset(want, 0xff, sizeof want);
    if (g.accumulate)
        for (size_t i = 0; i < n; i++) want[i] = dwp[i] = check_any(&r, values == SPECIAL);
    for (size_t o = 0; o < g.n_oc; o++)
        for (size_t i = 0; i < g.n_i; i++) {
            float lane[16];
            for (size_t l = 0; l < 16; l++) {
                struct sum s = { 0 };
                for (size_t a = 0; a < g.n_rows; a++)
                    for (size_t b = 0; b < g.n_cols; b++)
                        sum_add(&s,
                                dyp[o * (size_t)g.dy_oc + a * (size_t)g.dy_row +
                                    b * (size_t)g.dy_col + l],
                                xi[i][a * (size_t)g.x_row + b * (size_t)g.x_col + l]);
                assert_true(sum_sane(&s, g.n_rows * g.n_cols));
                lane[l] = s.f;
            }
            float *d = want + (ptrdiff_t)o * g.dw_oc + dw_i[i];
            *d = g.accumulate ? *d + fold(lane) : fold(lane);
        }
    k->wgrad->wgrad(&g, dy.p, xi, dw_i, dw.p);
    for (size_t i = 0; i < n; i++)
        if (!check_same(dwp[i], want[i]))
            fail_msg("wgrad %s seed %llu: oc %zu i %zu rows %zu cols %zu accumulate %d: at %zu: "
                     "got %.9g want %.9g",
                     k->isa, (unsigned long long)seed, g.n_oc, g.n_i, g.n_rows, g.n_cols,
                     g.accumulate, i, dwp[i], want[i]);
    assert_true(check_intact(&dw));
    check_free(&dy);
    check_free(&x);
    check_free(&dw);
}

/* ---------------------------------------------------------------------------------------- outer */

static void check_outer(const struct cvyi_kernels *k, uint64_t seed)
{
    struct check_rng r = { seed };
    struct cvyi_outer g = {
        .n_oc = 16 * between(&r, 1, 4),
        .n_i = between(&r, 1, 29),
        .n_images = between(&r, 0, 64),
        .accumulate = check_below(&r, 2),
    };
    enum values values = (enum values)check_below(&r, N_VALUES);
    g.dyt_n = g.n_oc + 16 * check_below(&r, 2);
    g.x_i = 16 * between(&r, 1, 3);
    g.x_block = g.n_i * g.x_i + 16 * check_below(&r, 3);
    g.dw_i = g.n_oc + check_below(&r, 20);
    g.ask_i = g.x_i;
    const bool asks = check_below(&r, 2);
    const size_t blocks = g.n_images ? (g.n_images + 15) / 16 : 1,
                 n = (g.n_i - 1) * g.dw_i + g.n_oc;
    struct check_buf dyt = filled(&r, (blocks * 16 - 1) * g.dyt_n + g.n_oc, values);
    struct check_buf x = filled(&r, (blocks - 1) * g.x_block + (g.n_i - 1) * g.x_i + 16, values);
    struct check_buf dw = buffer(&r, n);
    float *want = malloc(n * sizeof *want), *dwp = dw.p, *dp = dyt.p, *xp = x.p;
    assert_non_null(want);
    memset(want, 0xff, n * sizeof *want);
    if (g.accumulate)
        for (size_t i = 0; i < n; i++) want[i] = dwp[i] = check_any(&r, values == SPECIAL);
    for (size_t i = 0; i < g.n_i; i++)
        for (size_t o = 0; o < g.n_oc; o++) {
            struct sum s = { 0 };
            for (size_t m = 0; m < g.n_images; m++)
                sum_add(&s, dp[m * g.dyt_n + o], xp[m / 16 * g.x_block + i * g.x_i + m % 16]);
            assert_true(sum_sane(&s, g.n_images));
            float *d = want + i * g.dw_i + o;
            *d = g.accumulate ? *d + s.f : s.f;
        }
    g.ask = asks ? x.p : NULL;
    k->wgrad->outer(&g, dyt.p, x.p, dw.p);
    for (size_t i = 0; i < n; i++)
        if (!check_same(dwp[i], want[i]))
            fail_msg("outer %s seed %llu: oc %zu i %zu images %zu accumulate %d: i %zu o %zu: got "
                     "%.9g want %.9g",
                     k->isa, (unsigned long long)seed, g.n_oc, g.n_i, g.n_images, g.accumulate,
                     i / g.dw_i, i % g.dw_i, dwp[i], want[i]);
    assert_true(check_intact(&dw));
    free(want);
    check_free(&dyt);
    check_free(&x);
    check_free(&dw);
}

/* ------------------------------------------------------------------------------------ depthwise */

/* A rectangle, its maps and its kernel, each in a buffer that is just large enough. */
struct depthwise_case {
    struct cvyi_depthwise g;
    enum values values;
    size_t n_x, n_y, n_w; /* floats; the kernel's places, … */
    size_t w0;            /* … its first */
};

/* By how much an index of n steps moves either way from its first place. */
static void reach(ptrdiff_t step, size_t n, ptrdiff_t *low, ptrdiff_t *high)
{
    ptrdiff_t end = step * (ptrdiff_t)(n ? n - 1 : 0);
    if (end < 0) *low += end;
    else *high += end;
}

static struct depthwise_case depthwise_case(struct check_rng *r)
{
    struct cvyi_depthwise g = { .height = between(r, 1, check_below(r, 4) ? 4 : 20),
                                .width = between(r, 1, 40) };
    bool dense = check_below(r, 2);
    g.n_rows = check_below(r, 12) ? between(r, 1, 5) : 0;
    g.n_taps = check_below(r, 12) ? between(r, 1, 8) : 0;
    g.x_col = 16 * (ptrdiff_t)(dense ? 1 : between(r, 1, 3));
    g.tap_col = 16 * (ptrdiff_t)(dense ? 1 : between(r, 1, 3));
    g.y_col = 16 * (ptrdiff_t)(check_below(r, 4) ? 1 : between(r, 1, 3));
    g.y_row = (ptrdiff_t)g.width * g.y_col + 16 * (ptrdiff_t)check_below(r, 3);
    g.x_row = 16 * (ptrdiff_t)check_below(r, 90);
    g.tap_row = 16 * (ptrdiff_t)check_below(r, 90);
    g.w_tap = (ptrdiff_t)between(r, 1, 2) * (check_below(r, 2) ? 1 : -1);
    g.w_row =
        ((ptrdiff_t)g.n_taps * 2 + (ptrdiff_t)between(r, 1, 3)) * (check_below(r, 2) ? 1 : -1);
    g.resume = check_below(r, 3) == 0;
    ptrdiff_t x[2] = { 0, 16 }, y[2] = { 0, 16 }, w[2] = { 0, 1 };
    reach(g.x_row, g.height, &x[0], &x[1]);
    reach(g.x_col, g.width, &x[0], &x[1]);
    reach(g.tap_row, g.n_rows, &x[0], &x[1]);
    reach(g.tap_col, g.n_taps, &x[0], &x[1]);
    reach(g.y_row, g.height, &y[0], &y[1]);
    reach(g.y_col, g.width, &y[0], &y[1]);
    reach(g.w_row, g.n_rows, &w[0], &w[1]);
    reach(g.w_tap, g.n_taps, &w[0], &w[1]);
    return (struct depthwise_case){ .g = g,
                                    .values = (enum values)check_below(r, N_VALUES),
                                    .n_x = (size_t)x[1],
                                    .n_y = (size_t)y[1],
                                    .n_w = (size_t)(w[1] - w[0]),
                                    .w0 = (size_t)-w[0] };
}

static ptrdiff_t depthwise_x(const struct cvyi_depthwise *g, size_t j, size_t q, size_t r, size_t t)
{
    return (ptrdiff_t)j * g->x_row + (ptrdiff_t)q * g->x_col + (ptrdiff_t)r * g->tap_row +
           (ptrdiff_t)t * g->tap_col;
}

static void check_depthwise(const struct cvyi_kernels *k, uint64_t seed)
{
    struct check_rng r = { seed };
    struct depthwise_case c = depthwise_case(&r);
    const struct cvyi_depthwise *g = &c.g;
    struct check_buf x = filled(&r, c.n_x, c.values), w = filled(&r, c.n_w, c.values);
    struct check_buf bias = filled(&r, 1, c.values), y = buffer(&r, c.n_y);
    const bool with_bias = check_below(&r, 2);
    float *xp = x.p, *wp = (float *)w.p + c.w0, *yp = y.p, *want = malloc(c.n_y * sizeof *want);
    assert_non_null(want);
    memset(want, 0xff, c.n_y * sizeof *want);
    for (size_t i = 0; g->resume && i < c.n_y; i++)
        want[i] = yp[i] = check_any(&r, c.values == SPECIAL);
    for (size_t j = 0; j < g->height; j++)
        for (size_t q = 0; q < g->width; q++)
            for (size_t l = 0; l < 16; l++) {
                float *d = want + j * (size_t)g->y_row + q * (size_t)g->y_col + l;
                struct sum s = { 0 };
                if (g->resume) s = (struct sum){ *d, *d, fabs(*d) };
                for (size_t a = 0; a < g->n_rows; a++)
                    for (size_t b = 0; b < g->n_taps; b++)
                        sum_add(&s, wp[(ptrdiff_t)a * g->w_row + (ptrdiff_t)b * g->w_tap],
                                xp[depthwise_x(g, j, q, a, b) + (ptrdiff_t)l]);
                assert_true(sum_sane(&s, g->n_rows * g->n_taps));
                *d = with_bias ? s.f + ((float *)bias.p)[0] : s.f;
            }
    k->depthwise->depthwise(g, x.p, wp, with_bias ? bias.p : NULL, y.p);
    for (size_t i = 0; i < c.n_y; i++)
        if (!check_same(yp[i], want[i]))
            fail_msg("depthwise %s seed %llu: %zux%zu, %zux%zu taps, resume %d, bias %d: at %zu: "
                     "got %.9g want %.9g",
                     k->isa, (unsigned long long)seed, g->height, g->width, g->n_rows, g->n_taps,
                     g->resume, with_bias, i, yp[i], want[i]);
    assert_true(check_intact(&y));
    free(want);
    check_free(&x);
    check_free(&w);
    check_free(&bias);
    check_free(&y);
}

static void check_depthwise_dw(const struct cvyi_kernels *k, uint64_t seed)
{
    struct check_rng r = { seed };
    struct depthwise_case c = depthwise_case(&r);
    const struct cvyi_depthwise *g = &c.g;
    struct check_buf x = filled(&r, c.n_x, c.values), dy = filled(&r, c.n_y, c.values);
    struct check_buf sum = buffer(&r, 16 * c.n_w);
    float *sp = sum.p, *want = malloc(16 * c.n_w * sizeof *want), *xp = x.p, *dp = dy.p;
    assert_non_null(want);
    for (size_t i = 0; i < 16 * c.n_w; i++) want[i] = sp[i] = check_any(&r, c.values == SPECIAL);
    for (size_t a = 0; a < g->n_rows; a++)
        for (size_t b = 0; b < g->n_taps; b++)
            for (size_t l = 0; l < 16; l++) {
                float *d =
                    want + 16 * c.w0 + l + 16 * ((ptrdiff_t)a * g->w_row + (ptrdiff_t)b * g->w_tap);
                struct sum s = { *d, *d, fabs(*d) };
                for (size_t j = 0; j < g->height; j++)
                    for (size_t q = 0; q < g->width; q++)
                        sum_add(&s, dp[j * (size_t)g->y_row + q * (size_t)g->y_col + l],
                                xp[depthwise_x(g, j, q, a, b) + (ptrdiff_t)l]);
                assert_true(sum_sane(&s, g->height * g->width));
                *d = s.f;
            }
    k->depthwise->depthwise_dw(g, dy.p, x.p, sp + 16 * c.w0);
    for (size_t i = 0; i < 16 * c.n_w; i++)
        if (!check_same(sp[i], want[i]))
            fail_msg("depthwise_dw %s seed %llu: %zux%zu, %zux%zu taps: at %zu: got %.9g want %.9g",
                     k->isa, (unsigned long long)seed, g->height, g->width, g->n_rows, g->n_taps, i,
                     sp[i], want[i]);
    assert_true(check_intact(&sum));
    free(want);
    check_free(&x);
    check_free(&dy);
    check_free(&sum);
}

/* ---------------------------------------------------------------------------------------------  */

static const struct cvyi_kernels *table(int isa)
{
    return cvyi_cpu_can_run((enum cvy_isa)isa) ? cvyi_kernels_for(isa) : NULL;
}

static void mac_matches(void **state)
{
    (void)state;
    for (int isa = CVY_ISA_SCALAR; isa <= CVY_ISA_PAIR; isa++) {
        const struct cvyi_kernels *k = table(isa);
        for (int t = 0; k && t < CVYI_MAC_TILES && k->mac->tile[t].mo; t++)
            for (uint64_t i = 0; i < 250; i++) check_mac(k, &k->mac->tile[t], check_seed() + i);
    }
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
CVYI_WGRAD_KERNELS(MATCHES)
CVYI_DEPTHWISE_KERNELS(MATCHES)

/* Families are structs of pointers. */
static bool filled_in(const void *pointers, size_t bytes)
{
    static const unsigned char null[sizeof(void (*)(void))];
    for (size_t i = 0; i < bytes; i += sizeof null)
        if (memcmp((const char *)pointers + i, null, sizeof null) == 0) return false;
    return true;
}

/* One pixel-channel of depthwise layers, single pixels of fully connected ones and large layers:
 * every table has them. */
static void tables_are_complete(void **state)
{
    (void)state;
    for (int isa = CVY_ISA_SCALAR; isa <= CVY_ISA_PAIR; isa++) {
        const struct cvyi_kernels *k = cvyi_kernels_for(isa);
        bool single = false, large = false;
        for (int t = 0; k && t < CVYI_MAC_TILES && k->mac->tile[t].mo; t++) {
            single |= k->mac->tile[t].mo == 1;
            large |= k->mac->tile[t].mo >= 4;
            assert_true(k->mac->tile[t].np >= 1 && k->mac->tile[t].fn);
        }
        if (!k) continue;
        assert_true(single && large);
        assert_true(filled_in(k->wgrad, sizeof *k->wgrad));
        assert_true(filled_in(k->depthwise, sizeof *k->depthwise));
        assert_true(filled_in(k->winograd, sizeof *k->winograd));
        assert_true(filled_in(k->act, sizeof *k->act) && filled_in(k->norm, sizeof *k->norm));
        assert_true(filled_in(k->pool, sizeof *k->pool) && filled_in(k->rows, sizeof *k->rows));
        assert_true(filled_in(k->lanes, sizeof *k->lanes));
        assert_true(filled_in(k->loss, sizeof *k->loss) && filled_in(k->update, sizeof *k->update));
    }
    assert_non_null(cvyi_kernels_for(CVY_ISA_SCALAR));
    assert_null(cvyi_kernels_for(CVY_ISA_AUTO));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name, type, count) cmocka_unit_test(name##_matches),
        cmocka_unit_test(tables_are_complete), cmocka_unit_test(mac_matches),
        CVYI_WGRAD_KERNELS(CASE) CVYI_DEPTHWISE_KERNELS(CASE)
    };
    printf("seed %llu (CVYI_TEST_SEED)\n", (unsigned long long)check_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
