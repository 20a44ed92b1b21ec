/* How far convolutions that are transformed by rows, F(4, 3) and F(4, 5), may be from exact, in all
 * three passes: the bound of docs/numerics.md, with equal, growing and alternating terms, far from
 * zero, with one pixel alone, one that is huge, and random ones; every table has the same bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "check.h"
#include "convoy/convoy.h"
#include "terms.h"

#define U 0x1p-24

struct layer {
    size_t n, ic, oc, h, w, kh, kw, pad;
};
static const struct layer layers[] = {
    { 2, 3, 4, 9, 8, 5, 5, 0 },    { 1, 6, 16, 12, 12, 5, 5, 0 },  { 17, 5, 20, 7, 13, 5, 5, 2 },
    { 2, 60, 9, 8, 10, 5, 5, 2 },  { 3, 16, 17, 10, 11, 3, 5, 1 }, { 1, 20, 20, 4, 40, 1, 5, 2 },
    { 17, 5, 20, 7, 13, 5, 3, 2 }, { 2, 60, 9, 8, 10, 7, 3, 3 },   { 1, 20, 20, 4, 40, 1, 3, 0 },
    { 2, 7, 6, 9, 14, 2, 3, 1 },   { 3, 30, 24, 8, 15, 2, 3, 0 },
};

static float *some(struct check_rng *r, enum pattern p, size_t n)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = term(r, p, i);
    return x;
}

static double most(const float *x, size_t n)
{
    double m = 0;
    for (size_t i = 0; i < n; i++) m = fmax(m, fabs((double)x[i]));
    return m;
}

struct numbers {
    struct layer l;
    size_t oh, ow, nx, ny, nw;
    float *x, *w, *y;
    double *exact, *bound; /* of what comes out; without the number of roundings */
};

/* Factors of the three passes: kappa = max over j of the sum over points of |A| ||G|| ||B||, where
 * A, B, G stand for the rows of that point, the first of them the pass's own: A, B, G. */
static double kappa(const struct layer *l, enum cvy_pass pass)
{
    static const double of_5[] = {
        [CVY_FORWARD] = 98.9, [CVY_BACKWARD_DATA] = 93.7, [CVY_BACKWARD_WEIGHTS] = 87.2
    };
    static const double of_3[] = {
        [CVY_FORWARD] = 27.5, [CVY_BACKWARD_DATA] = 23.1, [CVY_BACKWARD_WEIGHTS] = 33.2
    };
    return (l->kw == 3 ? of_3 : of_5)[pass];
}

static void products(const struct numbers *c, enum cvy_pass pass)
{
    const struct layer *l = &c->l;
    for (size_t k = 0; k < c->nw; k++) {
        const size_t o = k / l->kw / l->kh / l->ic, i = k / l->kw / l->kh % l->ic,
                     ky = k / l->kw % l->kh, kx = k % l->kw, left = l->kw / 2;
        for (size_t p = 0; p < l->n * c->oh * c->ow; p++) {
            const size_t n = p / (c->oh * c->ow), row = p / c->ow % c->oh + ky,
                         col = p % c->ow + kx;
            if (row < l->pad || col < left || row - l->pad >= l->h || col - left >= l->w) continue;
            const size_t x = ((n * l->ic + i) * l->h + row - l->pad) * l->w + col - left,
                         y = (n * l->oc + o) * c->oh * c->ow + p % (c->oh * c->ow);
            if (pass == CVY_FORWARD) c->exact[y] += (double)c->x[x] * (double)c->w[k];
            else if (pass == CVY_BACKWARD_DATA) c->exact[x] += (double)c->y[y] * (double)c->w[k];
            else c->exact[k] += (double)c->x[x] * (double)c->y[y];
        }
    }
}

/* kappa times the sum over channels and rows of a kernel of the largest weight in it and the
 * largest pixel of the channel's map; of weights that over images, rows and tiles. */
static void bounds(const struct numbers *c, enum cvy_pass pass)
{
    const struct layer *l = &c->l;
    const size_t in = l->h * l->w, out = c->oh * c->ow;
    for (size_t n = 0; n < l->n; n++)
        for (size_t o = 0; o < l->oc; o++)
            for (size_t i = 0; i < l->ic; i++) {
                const double x = most(c->x + (n * l->ic + i) * in, in),
                             y = most(c->y + (n * l->oc + o) * out, out),
                             tiles = (double)(c->oh * ((c->ow + 3) / 4));
                double w = 0;
                for (size_t k = 0; k < l->kh; k++)
                    w += most(c->w + ((o * l->ic + i) * l->kh + k) * l->kw, l->kw);
                size_t first = (o * l->ic + i) * l->kh * l->kw, count = l->kh * l->kw;
                double term = kappa(l, pass) * x * y * tiles;
                if (pass == CVY_FORWARD) {
                    first = (n * l->oc + o) * out;
                    count = out;
                    term = kappa(l, pass) * x * w;
                } else if (pass == CVY_BACKWARD_DATA) {
                    first = (n * l->ic + i) * in;
                    count = in;
                    term = kappa(l, pass) * y * w;
                }
                for (size_t p = 0; p < count; p++) c->bound[first + p] += term;
            }
}

/* Roundings that a term goes through. */
static double roundings(const struct numbers *c, enum cvy_pass pass)
{
    if (pass == CVY_BACKWARD_WEIGHTS) {
        const double tiles = (double)((c->ow + 3) / 4),
                     regions = ceil((double)c->oh / floor(32 / tiles)),
                     blocks = ceil((double)c->l.n / 16);
        return 512 + regions * blocks + 8;
    }
    const double k = (double)((pass == CVY_FORWARD ? c->l.ic : c->l.oc) * c->l.kh);
    return fmin(k, 256) + ceil(k / 256) + 10;
}

/* The largest share of the bound. */
static double run(cvy_context *const *ctx, size_t n_ctx, const struct numbers *c,
                  enum cvy_pass pass)
{
    const struct layer *l = &c->l;
    size_t n = pass == CVY_FORWARD ? c->ny : c->nw;
    if (pass == CVY_BACKWARD_DATA) n = c->nx;
    float *got[2] = { malloc(n * sizeof(float)), malloc(n * sizeof(float)) };
    double worst = 0;
    cvy_conv2d_desc d = { .out_channels = l->oc,
                          .kernel = { l->kh, l->kw },
                          .pad = { l->pad, l->kw / 2, l->pad, l->kw / 2 },
                          .no_bias = true };
    assert_true(got[0] && got[1]);
    memset(c->exact, 0, n * sizeof *c->exact);
    memset(c->bound, 0, n * sizeof *c->bound);
    products(c, pass);
    bounds(c, pass);
    for (size_t t = 0; t < n_ctx; t++) {
        float *to = got[t > 0];
        cvy_op_args args = { .src = c->x, .weights = c->w, .dst = to };
        if (pass == CVY_BACKWARD_DATA)
            args = (cvy_op_args){ .weights = c->w, .diff_dst = c->y, .diff_src = to };
        if (pass == CVY_BACKWARD_WEIGHTS)
            args = (cvy_op_args){ .src = c->x, .diff_dst = c->y, .diff_weights = to };
        cvy_op *op;
        if (cvy_op_conv2d(ctx[t], &d, (cvy_shape){ l->n, l->ic, l->h, l->w }, pass, &op) ||
            cvy_op_run(op, &args))
            fail_msg("%s", cvy_message(ctx[t]));
        cvy_op_destroy(&op);
        if (t && memcmp(got[0], got[1], n * sizeof(float))) fail_msg("table %zu: other bits", t);
    }
    for (size_t i = 0; i < n; i++) {
        const double error = fabs((double)got[0][i] - c->exact[i]),
                     bound = roundings(c, pass) * U * c->bound[i];
        if (!(error <= bound))
            fail_msg("pass %d, %zu to %zu channels: result %zu is %.9g, exactly %.9g, promised "
                     "within %.3g",
                     (int)pass, l->ic, l->oc, i, (double)got[0][i], c->exact[i], bound);
        if (bound > 0) worst = fmax(worst, error / bound);
    }
    free(got[0]);
    free(got[1]);
    return worst;
}

static void bounds_hold(void **state)
{
    (void)state;
    static const enum cvy_pass passes[] = { CVY_FORWARD, CVY_BACKWARD_DATA, CVY_BACKWARD_WEIGHTS };
    cvy_context *ctx[4];
    cvy_machine machine;
    size_t n_ctx = 0;
    cvy_machine_describe(&machine);
    for (int isa = CVY_ISA_SCALAR; isa <= CVY_ISA_PAIR; isa++) {
        if (!machine.can_run[isa]) continue;
        cvy_context_options o = { .threads = 1,
                                  .isa = (enum cvy_isa)isa,
                                  .backends = "native",
                                  .algorithm = CVY_ALGORITHM_TRANSFORMED };
        assert_int_equal(cvy_context_create(&o, &ctx[n_ctx++]), CVY_OK);
    }
    struct check_rng r = { check_seed() };
    double worst[3] = { 0 };
    for (size_t k = 0; k < sizeof layers / sizeof *layers; k++)
        for (int a = 0; a < TERM_PATTERNS; a++)
            for (int b = 0; b < TERM_PATTERNS; b++) {
                struct numbers c = { .l = layers[k] };
                const struct layer *l = &c.l;
                if (a != b && b != RANDOM && b != EQUAL) continue;
                c.oh = l->h + 2 * l->pad - l->kh + 1;
                c.ow = l->w;
                c.nx = l->n * l->ic * l->h * l->w;
                c.ny = l->n * l->oc * c.oh * c.ow;
                c.nw = l->oc * l->ic * l->kh * l->kw;
                c.x = some(&r, (enum pattern)a, c.nx);
                c.w = some(&r, (enum pattern)b, c.nw);
                c.y = some(&r, (enum pattern)b, c.ny);
                c.exact = malloc((c.nx + c.ny + c.nw) * sizeof *c.exact);
                c.bound = malloc((c.nx + c.ny + c.nw) * sizeof *c.bound);
                assert_true(c.exact && c.bound);
                for (size_t p = 0; p < 3; p++)
                    worst[p] = fmax(worst[p], run(ctx, n_ctx, &c, passes[p]));
                free(c.x);
                free(c.w);
                free(c.y);
                free(c.exact);
                free(c.bound);
            }
    print_message("largest share of the bound: forward %.3f, data %.3f, weights %.3f\n", worst[0],
                  worst[1], worst[2]);
    for (size_t t = 0; t < n_ctx; t++) cvy_context_destroy(&ctx[t]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(bounds_hold) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
