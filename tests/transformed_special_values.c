/* Transformed convolutions of all passes and forms and what is not finite or very large: whatever
 * the definition says is not finite is not; no other image, gradients of no other channel's
 * weights, and nothing far from the pixel, has other bits for it; and up to where docs/numerics.md
 * says that nothing overflows, numbers that are 2^k times as large have results that are, bit by
 * bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "check.h"
#include "convoy/convoy.h"

enum { N = 2, IC = 4, OC = 5, SIDE = 11, TILE = 4, PIXELS = SIDE * SIDE };

/* Kernels and their padding, which keeps the size. */
static const size_t kernels[][2] = { { 3, 3 }, { 5, 5 }, { 1, 3 }, { 5, 3 }, { 1, 5 } };
enum { KERNELS = sizeof kernels / sizeof *kernels, MOST_TAPS = 25 };

struct numbers {
    const size_t *kernel;
    float x[N * IC * PIXELS], y[N * OC * PIXELS], w[OC * IC * MOST_TAPS];
};

/* The operand that a pass writes; n_out: its size. */
static float *out_of(struct numbers *c, enum cvy_pass pass, size_t *n_out)
{
    *n_out = sizeof c->y / sizeof(float);
    if (pass == CVY_FORWARD) return c->y;
    *n_out = sizeof c->x / sizeof(float);
    if (pass == CVY_BACKWARD_DATA) return c->x;
    *n_out = OC * IC * c->kernel[0] * c->kernel[1];
    return c->w;
}

static void run(cvy_context *ctx, struct numbers *c, enum cvy_pass pass)
{
    const cvy_conv2d_desc d = { .out_channels = OC,
                                .kernel = { c->kernel[0], c->kernel[1] },
                                .pad = { c->kernel[0] / 2, c->kernel[1] / 2, c->kernel[0] / 2,
                                         c->kernel[1] / 2 },
                                .no_bias = true };
    cvy_op_args args = { .src = c->x, .weights = c->w, .dst = c->y };
    if (pass == CVY_BACKWARD_DATA)
        args = (cvy_op_args){ .weights = c->w, .diff_dst = c->y, .diff_src = c->x };
    if (pass == CVY_BACKWARD_WEIGHTS)
        args = (cvy_op_args){ .src = c->x, .diff_dst = c->y, .diff_weights = c->w };
    cvy_op *op;
    if (cvy_op_conv2d(ctx, &d, (cvy_shape){ N, IC, SIDE, SIDE }, pass, &op) ||
        cvy_op_run(op, &args))
        fail_msg("%s", cvy_message(ctx));
    cvy_op_destroy(&op);
}

static void fill(struct numbers *c, struct check_rng *r)
{
    for (size_t i = 0; i < sizeof c->x / sizeof *c->x; i++) c->x[i] = check_normal(r);
    for (size_t i = 0; i < sizeof c->y / sizeof *c->y; i++) c->y[i] = check_normal(r);
    for (size_t i = 0; i < sizeof c->w / sizeof *c->w; i++) c->w[i] = check_normal(r);
}

static cvy_context *context(void)
{
    cvy_context *ctx;
    if (cvy_context_create(&(cvy_context_options){ .backends = "native",
                                                   .strict = true,
                                                   .threads = 1,
                                                   .algorithm = CVY_ALGORITHM_TRANSFORMED },
                           &ctx))
        fail_msg("%s", cvy_message(ctx));
    return ctx;
}

/* A pixel of one channel of the second image, in x or in y. */
struct planted {
    size_t channel;
    ptrdiff_t row, col;
};

enum expected { THE_SAME, ANY, NOT_FINITE };

/* Of a map: (row, col) of the result against the pixel, the kernel's reach being `reach`; tiles are
 * of four, and what belongs to one reaches beyond it by as much again. */
static enum expected of_map(const struct numbers *c, const struct planted *p, bool data, size_t i)
{
    const ptrdiff_t row = (ptrdiff_t)(i / SIDE % SIDE), col = (ptrdiff_t)(i % SIDE);
    ptrdiff_t dy = row - p->row, dx = col - p->col;
    if (i / PIXELS / (data ? IC : OC) != 1) return THE_SAME;
    if (dy < 0) dy = -dy;
    if (dx < 0) dx = -dx;
    const ptrdiff_t reach[2] = { (ptrdiff_t)(c->kernel[0] / 2), (ptrdiff_t)(c->kernel[1] / 2) };
    if (dy <= reach[0] && dx <= reach[1]) return NOT_FINITE;
    if (dy >= TILE + 2 * reach[0] || dx >= TILE + 2 * reach[1]) return THE_SAME;
    return ANY;
}

/* Of weights: all of the channel's; whether x or dy has the pixel. */
static enum expected of_weights(const struct numbers *c, const struct planted *p, bool in_x,
                                size_t i)
{
    const size_t taps = c->kernel[0] * c->kernel[1], ic = i / taps % IC, oc = i / taps / IC;
    if ((in_x ? ic : oc) != p->channel) return THE_SAME;
    const ptrdiff_t ky = (ptrdiff_t)(i % taps / c->kernel[1]) - (ptrdiff_t)(c->kernel[0] / 2),
                    kx = (ptrdiff_t)(i % taps % c->kernel[1]) - (ptrdiff_t)(c->kernel[1] / 2);
    /* the other map's pixel that this tap multiplies it by */
    const ptrdiff_t row = in_x ? p->row - ky : p->row + ky, col = in_x ? p->col - kx : p->col + kx;
    return row >= 0 && row < SIDE && col >= 0 && col < SIDE ? NOT_FINITE : ANY;
}

static void plant(cvy_context *ctx, struct numbers *c, enum cvy_pass pass, bool in_x,
                  struct planted p, float bad)
{
    size_t n;
    float *out = out_of(c, pass, &n), *without = malloc(n * sizeof *without);
    float *at = in_x ? c->x + (IC + p.channel) * PIXELS : c->y + (OC + p.channel) * PIXELS;
    at += p.row * SIDE + p.col;
    const float kept = *at;
    assert_non_null(without);
    run(ctx, c, pass);
    memcpy(without, out, n * sizeof *without);
    *at = bad;
    run(ctx, c, pass);
    *at = kept;
    for (size_t i = 0; i < n; i++) {
        enum expected e = pass == CVY_BACKWARD_WEIGHTS
                              ? of_weights(c, &p, in_x, i)
                              : of_map(c, &p, pass == CVY_BACKWARD_DATA, i);
        if (e == NOT_FINITE ? isfinite(out[i])
                            : e == THE_SAME && check_bits(out[i]) != check_bits(without[i]))
            fail_msg("kernel %zux%zu, pass %d, %g in channel %zu, pixel (%td, %td) of %s: result "
                     "%zu is %g, without it %g",
                     c->kernel[0], c->kernel[1], (int)pass, (double)bad, p.channel, p.row, p.col,
                     in_x ? "x" : "dy", i, (double)out[i], (double)without[i]);
    }
    free(without);
}

static void not_finite(void **state)
{
    (void)state;
    static const float bad[] = { INFINITY, -INFINITY, NAN };
    static struct numbers c;
    struct check_rng r = { check_seed() };
    cvy_context *ctx = context();
    for (size_t k = 0; k < KERNELS; k++) {
        c.kernel = kernels[k];
        for (size_t pixel = 0; pixel < PIXELS; pixel += 1 + check_below(&r, 3)) {
            struct planted p = { check_below(&r, IC), (ptrdiff_t)(pixel / SIDE),
                                 (ptrdiff_t)(pixel % SIDE) };
            const float value = bad[check_below(&r, 3)];
            fill(&c, &r);
            plant(ctx, &c, CVY_FORWARD, true, p, value);
            fill(&c, &r);
            plant(ctx, &c, CVY_BACKWARD_DATA, false, p, value);
            fill(&c, &r);
            plant(ctx, &c, CVY_BACKWARD_WEIGHTS, true, p, value);
            plant(ctx, &c, CVY_BACKWARD_WEIGHTS, false, p, value);
        }
    }
    cvy_context_destroy(&ctx);
}

static void scale(float *x, size_t n, int power)
{
    for (size_t i = 0; i < n; i++) x[i] = ldexpf(x[i], power);
}

/* Numbers below 2^3 times 2^power: forward and data sum up to 752 * 20 * 25 of their products by
 * weights below 2^3, less than 2^(19 + 6 + power); nothing overflows below FLT_MAX / 1000, which is
 * more than 2^117. */
static void large(void **state)
{
    (void)state;
    static const enum cvy_pass passes[] = { CVY_FORWARD, CVY_BACKWARD_DATA, CVY_BACKWARD_WEIGHTS };
    static struct numbers c, as_is;
    struct check_rng r = { check_seed() };
    cvy_context *ctx = context();
    for (size_t k = 0; k < KERNELS; k++)
        for (size_t pass_at = 0; pass_at < 3; pass_at++)
            for (int power = 1; power <= 89; power += 44) {
                const enum cvy_pass pass = passes[pass_at];
                size_t n;
                c.kernel = kernels[k];
                fill(&c, &r);
                as_is = c;
                if (pass == CVY_FORWARD || pass == CVY_BACKWARD_WEIGHTS)
                    scale(c.x, sizeof c.x / sizeof *c.x, power);
                else scale(c.y, sizeof c.y / sizeof *c.y, power);
                run(ctx, &c, pass);
                run(ctx, &as_is, pass);
                const float *out = out_of(&c, pass, &n), *want = out_of(&as_is, pass, &n);
                for (size_t i = 0; i < n; i++)
                    if (check_bits(out[i]) != check_bits(ldexpf(want[i], power)))
                        fail_msg("kernel %zux%zu, pass %d, times 2^%d: result %zu is %g, not %g",
                                 c.kernel[0], c.kernel[1], (int)pass, power, i, (double)out[i],
                                 (double)ldexpf(want[i], power));
            }
    cvy_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(not_finite), cmocka_unit_test(large) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
