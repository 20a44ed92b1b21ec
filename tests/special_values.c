/* NaN, infinities, -0 and denormals in every operator, its gradient, the loss, the update and the
 * input: what docs/numerics.md, "Special values", says of them, written out by hand and held
 * against the reference, native on every table and, where it is built, oneDNN's module; each fused
 * and not. What a backend is known to do differently is listed in `deviations` below and nowhere
 * else: an entry that is not needed fails the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>

#include "check.h"
#include "acts.h"
#include "convoy/convoy.h"
#include "kinds_met.h"

/* A backend's name is matched as a whole; what it says of a scenario holds for all of it. */
static const struct {
    const char *backend, *scenario;
} deviations[] = {
    { "", "" }, /* none today */
};

enum { N = 19, MAX_ROOMS = 64 }; /* images: a whole block of lanes and three of the next */

struct env {
    cvy_context *ctx;
    const char *backend, *scenario; /* "native avx2", … */
    bool module, failed, told;
    uint64_t hash; /* of the results so far: the same on every table */
    void *room[MAX_ROOMS];
    size_t n_rooms;
};

/* ------------------------------------------------------------------------------------ expecting */

/* Infinite or NaN, whichever the order of operations makes of it. */
#define NOT_FINITE check_float(0x7fc0beefu)

static void complain(struct env *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void complain(struct env *e, const char *format, ...)
{
    char text[256];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (!e->failed && e->told) print_message("  %s, %s: %s\n", e->backend, e->scenario, text);
    e->failed = true; /* the first difference says enough */
}

static bool as_wanted(float got, float want, double relative)
{
    if (check_bits(want) == check_bits(NOT_FINITE)) return !isfinite(got);
    if (isnan(want)) return isnan(got);
    if (isinf(want)) return got == want;
    return fabs((double)got - (double)want) <= relative * fabs((double)want) + (double)FLT_MIN;
}

/* A zero's sign and denormals are not looked at; `relative` is for what the module rounds
 * differently. */
static void expect(struct env *e, const char *what, const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        e->hash = (e->hash ^ (isnan(got[i]) ? 0x7fc00000u : check_bits(got[i]))) * 0x100000001b3u;
        if (!as_wanted(got[i], want[i], e->module ? 1e-4 : 1e-6))
            complain(e, "%s[%zu] is %g, expected %s%g", what, i, (double)got[i],
                     check_bits(want[i]) == check_bits(NOT_FINITE) ? "not finite, as " : "",
                     (double)want[i]);
    }
}

static float *room(struct env *e, size_t n)
{
    assert_true(e->n_rooms < MAX_ROOMS);
    float *p = malloc((n ? n : 1) * sizeof *p);
    assert_non_null(p);
    memset(p, 0xff, n * sizeof *p);
    return e->room[e->n_rooms++] = p;
}

static void release(struct env *e, size_t keep)
{
    while (e->n_rooms > keep) free(e->room[--e->n_rooms]);
}

/* Positive numbers, none of them alike for long. */
static float *ordinary(struct env *e, size_t n)
{
    float *p = room(e, n);
    for (size_t i = 0; i < n; i++) p[i] = 0.5f + (float)(i * 37 % 61) / 64;
    return p;
}

static float *copy(struct env *e, const float *x, size_t n)
{
    return memcpy(room(e, n), x, n * sizeof *x);
}
static void set(float *x, size_t n, float v)
{
    for (size_t i = 0; i < n; i++) x[i] = v;
}
static size_t size_of(cvy_shape s) { return s.n * s.c * s.h * s.w; }

/* Runs the op that was made (or not) and destroys it. */
static void run(struct env *e, enum cvy_status made, cvy_op *op, const cvy_op_args *args)
{
    if (made != CVY_OK || cvy_op_run(op, args) != CVY_OK) complain(e, "%s", cvy_message(e->ctx));
    cvy_op_destroy(&op);
}

static const float specials[] = { NAN, INFINITY, -INFINITY };
static const size_t some_images[] = { 0, 7, 18 };
#define EACH_SPECIAL(v, image)                                      \
    for (size_t k_ = 0; k_ < 9; k_++)                               \
        for (size_t once_ = 1, image = some_images[k_ / 3]; once_;) \
            for (float v = specials[k_ % 3]; once_; once_ = 0)

/* ---------------------------------------------------------------------------------- convolution */

struct geometry {
    size_t ic, oc, h, w, k, stride, pad, dilation;
};
static const struct geometry geometries[] = {
    { 2, 3, 6, 5, 3, 1, 1, 1 },     /* slots */
    { 3, 4, 9, 9, 3, 2, 2, 2 },     /* strides, dilation */
    { 4, 5, 1, 1, 1, 1, 0, 1 },     /* fully connected: sums over images */
    { 5, 130, 1, 1, 1, 1, 0, 1 },   /* wide map */
    { 3, 7, 2, 3, 2, 1, 0, 1 },     /* few outputs */
    { 320, 320, 3, 3, 1, 1, 0, 1 }, /* owned weights */
};
enum { GEOMETRIES = sizeof geometries / sizeof *geometries };

/* Large ones are there for their weights' gradients, with one of the images. */
static bool large(const struct geometry *g) { return g->ic * g->oc > 10000; }

struct conv {
    const struct geometry *g;
    cvy_conv2d_desc d;
    cvy_shape src, dst;
    size_t nx, ny, nw;
    float *x, *w, *b, *dy;
};

static size_t outputs(const struct geometry *g, size_t size)
{
    return (size + 2 * g->pad - (g->k - 1) * g->dilation - 1) / g->stride + 1;
}

/* Output 1's weights and gradients are zero, and so are the weights of input 1: 0 times infinity is
 * NaN. */
static struct conv conv_of(struct env *e, const struct geometry *g)
{
    struct conv c = { .g = g,
                      .src = { N, g->ic, g->h, g->w },
                      .dst = { N, g->oc, outputs(g, g->h), outputs(g, g->w) },
                      .d = { .out_channels = g->oc,
                             .kernel = { g->k, g->k },
                             .stride = { g->stride, g->stride },
                             .pad = { g->pad, g->pad, g->pad, g->pad },
                             .dilation = { g->dilation, g->dilation } } };
    size_t taps = g->k * g->k;
    c.nx = size_of(c.src);
    c.ny = size_of(c.dst);
    c.nw = g->oc * g->ic * taps;
    c.x = ordinary(e, c.nx);
    c.w = ordinary(e, c.nw);
    c.b = ordinary(e, g->oc);
    c.dy = ordinary(e, c.ny);
    for (size_t o = 0; o < g->oc; o++)
        for (size_t i = 0; i < g->ic; i++)
            if (o == 1 || i == 1) set(c.w + (o * g->ic + i) * taps, taps, 0);
    for (size_t n = 0; n < N; n++)
        set(c.dy + (n * g->oc + 1) * c.dst.h * c.dst.w, c.dst.h * c.dst.w, 0);
    return c;
}

static void conv_run(struct env *e, const struct conv *c, enum cvy_pass pass, cvy_op_args args)
{
    cvy_op *op = NULL;
    enum cvy_status made = cvy_op_conv2d(e->ctx, &c->d, c->src, pass, &op);
    run(e, made, op, &args);
}

static float *conv_forward(struct env *e, const struct conv *c)
{
    float *y = room(e, c->ny);
    conv_run(e, c, CVY_FORWARD,
             (cvy_op_args){ .src = c->x, .weights = c->w, .bias = c->b, .dst = y });
    return y;
}

static float *conv_data(struct env *e, const struct conv *c)
{
    float *dx = room(e, c->nx);
    conv_run(e, c, CVY_BACKWARD_DATA,
             (cvy_op_args){ .diff_dst = c->dy, .weights = c->w, .diff_src = dx });
    return dx;
}

static float *conv_weights(struct env *e, const struct conv *c, float **db)
{
    float *dw = room(e, c->nw);
    *db = room(e, c->g->oc);
    conv_run(e, c, CVY_BACKWARD_WEIGHTS,
             (cvy_op_args){ .src = c->x, .diff_dst = c->dy, .diff_weights = dw, .diff_bias = *db });
    return dw;
}

/* Visits every product of the convolution. */
struct product {
    size_t o, i, tap, y, x; /* output channel, input channel, tap, pixels of the maps */
};
typedef void visit_fn(void *arg, struct product p);
static void products(const struct conv *c, visit_fn *visit, void *arg)
{
    const struct geometry *g = c->g;
    for (size_t o = 0; o < g->oc; o++)
        for (size_t i = 0; i < g->ic; i++)
            for (size_t t = 0; t < g->k * g->k; t++)
                for (size_t y = 0; y < c->dst.h * c->dst.w; y++) {
                    size_t row = y / c->dst.w * g->stride + t / g->k * g->dilation;
                    size_t col = y % c->dst.w * g->stride + t % g->k * g->dilation;
                    if (row < g->pad || col < g->pad || row - g->pad >= g->h ||
                        col - g->pad >= g->w)
                        continue;
                    visit(arg,
                          (struct product){ o, i, t, y, (row - g->pad) * g->w + col - g->pad });
                }
}

/* What becomes of v times `by`, summed with finite numbers. */
static float times(float v, float by) { return by == 0 || isnan(v) ? NAN : v; }

/* `place`: where v was put in the operand that `which` names ('x', 'w', 'd' for dy), within image
 * `image`. */
struct expectation {
    const struct conv *c;
    char which;
    size_t place, image;
    float v;
    float *y, *dx, *dw; /* NULL: not of interest */
};

static void spread(void *arg, struct product p)
{
    const struct expectation *x = arg;
    const struct conv *c = x->c;
    size_t ix = p.i * c->g->h * c->g->w + p.x, iy = p.o * c->dst.h * c->dst.w + p.y;
    size_t iw = (p.o * c->g->ic + p.i) * c->g->k * c->g->k + p.tap;
    size_t image_x = c->nx / N, image_y = c->ny / N;
    if (x->which == 'x' && ix == x->place) {
        if (x->y) x->y[x->image * image_y + iy] = times(x->v, c->w[iw]);
        if (x->dw) x->dw[iw] = times(x->v, c->dy[x->image * image_y + iy]);
    }
    if (x->which == 'd' && iy == x->place) {
        float *dx = x->dx ? &x->dx[x->image * image_x + ix] : NULL;
        if (dx) *dx = times(x->v, c->w[iw]);
        if (x->dw) x->dw[iw] = x->v;
    }
    if (x->which == 'w' && iw == x->place)
        for (size_t n = 0; n < N; n++) {
            if (x->y) x->y[n * image_y + iy] = x->v;
            float *dx = x->dx ? &x->dx[n * image_x + ix] : NULL;
            if (dx) *dx = times(x->v, c->dy[n * image_y + iy]);
        }
}

static void conv_input(struct env *e)
{
    for (size_t k = 0; k < GEOMETRIES; k++) {
        struct conv c = conv_of(e, &geometries[k]);
        size_t middle = c.g->h * c.g->w / 2;
        float *clean = large(c.g) ? NULL : conv_forward(e, &c), *clean_db,
              *clean_dw = conv_weights(e, &c, &clean_db);
        EACH_SPECIAL(v, image)
        {
            if (large(c.g) && image != 18) continue;
            size_t rooms = e->n_rooms;
            float *x = &c.x[image * c.nx / N + middle], keep = *x, *db;
            struct expectation want = { &c,     'x',
                                        middle, image,
                                        v,      clean ? copy(e, clean, c.ny) : NULL,
                                        NULL,   copy(e, clean_dw, c.nw) };
            products(&c, spread, &want);
            *x = v;
            if (clean) expect(e, "y", conv_forward(e, &c), want.y, c.ny);
            expect(e, "dw", conv_weights(e, &c, &db), want.dw, c.nw);
            expect(e, "db", db, clean_db, c.g->oc);
            *x = keep;
            release(e, rooms);
        }
        release(e, 0);
    }
}

static void conv_gradient(struct env *e)
{
    for (size_t k = 0; k < GEOMETRIES; k++) {
        struct conv c = conv_of(e, &geometries[k]);
        size_t pixels = c.dst.h * c.dst.w, place = 2 * pixels + pixels / 2;
        float *clean = large(c.g) ? NULL : conv_data(e, &c), *clean_db,
              *clean_dw = conv_weights(e, &c, &clean_db);
        EACH_SPECIAL(v, image)
        {
            if (large(c.g) && image != 18) continue;
            size_t rooms = e->n_rooms;
            float *dy = &c.dy[image * c.ny / N + place], keep = *dy, *db;
            struct expectation want = { &c,
                                        'd',
                                        place,
                                        image,
                                        v,
                                        NULL,
                                        clean ? copy(e, clean, c.nx) : NULL,
                                        copy(e, clean_dw, c.nw) };
            float *want_db = copy(e, clean_db, c.g->oc);
            products(&c, spread, &want);
            want_db[2] = v;
            *dy = v;
            if (clean) expect(e, "dx", conv_data(e, &c), want.dx, c.nx);
            expect(e, "dw", conv_weights(e, &c, &db), want.dw, c.nw);
            expect(e, "db", db, want_db, c.g->oc);
            *dy = keep;
            release(e, rooms);
        }
        release(e, 0);
    }
}

/* The corner tap falls into the padding at the first row and column, where an infinite weight must
 * not count. */
static void conv_weight(struct env *e)
{
    for (size_t k = 0; k < GEOMETRIES && !large(&geometries[k]); k++) {
        struct conv c = conv_of(e, &geometries[k]);
        size_t place = 2 * c.g->ic * c.g->k * c.g->k;
        float *clean = conv_forward(e, &c), *clean_dx = conv_data(e, &c);
        for (size_t s = 0; s < 3; s++) {
            size_t rooms = e->n_rooms;
            float keep = c.w[place], bias = c.b[2], v = specials[s];
            struct expectation want = {
                &c, 'w', place, 0, v, copy(e, clean, c.ny), copy(e, clean_dx, c.nx), NULL
            };
            products(&c, spread, &want);
            c.w[place] = v;
            expect(e, "y", conv_forward(e, &c), want.y, c.ny);
            expect(e, "dx", conv_data(e, &c), want.dx, c.nx);
            c.w[place] = keep;
            c.b[2] = v;
            memcpy(want.y, clean, c.ny * sizeof *clean);
            for (size_t n = 0; n < N; n++)
                set(want.y + n * c.ny / N + 2 * c.dst.h * c.dst.w, c.dst.h * c.dst.w, v);
            expect(e, "y by bias", conv_forward(e, &c), want.y, c.ny);
            c.b[2] = bias;
            release(e, rooms);
        }
        release(e, 0);
    }
}

static void conv_groups(struct env *e)
{
    cvy_conv2d_desc d = {
        .out_channels = 4, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 }, .groups = 2
    };
    cvy_shape s = { N, 4, 4, 4 };
    float *x = ordinary(e, size_of(s)), *w = ordinary(e, 72), *b = ordinary(e, 4),
          *y[2] = { room(e, size_of(s)), room(e, size_of(s)) };
    for (int i = 0; i < 2; i++) {
        cvy_op *op = NULL;
        if (i) x[5] = NAN; /* image 0, channel 0, pixel (1, 1) */
        enum cvy_status made = cvy_op_conv2d(e->ctx, &d, s, CVY_FORWARD, &op);
        run(e, made, op, &(cvy_op_args){ .src = x, .weights = w, .bias = b, .dst = y[i] });
    }
    float *want = copy(e, y[0], size_of(s));
    for (size_t o = 0; o < 2; o++)
        for (size_t p = 0; p < 16; p++)
            if (p / 4 <= 2 && p % 4 <= 2) want[o * 16 + p] = NAN;
    expect(e, "y", y[1], want, size_of(s));
}

/* Opposite infinities meet, zeros of either sign, and what is too small. */
static void conv_sums(struct env *e)
{
    static const struct {
        float x[2], w[2], y;
    } rows[] = {
        { { INFINITY, -INFINITY }, { 1, 1 }, NAN },
        { { INFINITY, INFINITY }, { 1, -1 }, NAN },
        { { INFINITY, 1 }, { -1, 1 }, -INFINITY },
        { { -INFINITY, INFINITY }, { -2, 3 }, INFINITY },
        { { FLT_MAX, FLT_MAX }, { 2, 2 }, INFINITY },
        { { -0.0f, -0.0f }, { 1, 1 }, 0 },
        { { -0.0f, 3 }, { INFINITY, 1 }, NAN },
        { { 1e-40f, 2 }, { 1, 1 }, 2 },
        { { 1e-40f, 1e-40f }, { 1, 1 }, 0 },
        { { 1e-30f, 1 }, { 1e-30f, 0 }, 0 },
        { { 1, 1 }, { 1e-41f, -1e-41f }, 0 },
    };
    cvy_conv2d_desc d = { .out_channels = 1, .kernel = { 1, 1 }, .no_bias = true };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        float x[2 * N], y[N], want[N];
        cvy_op *op = NULL;
        for (size_t n = 0; n < N; n++) {
            x[2 * n] = rows[k].x[0];
            x[2 * n + 1] = rows[k].x[1];
            want[n] = rows[k].y;
        }
        enum cvy_status made =
            cvy_op_conv2d(e->ctx, &d, (cvy_shape){ N, 2, 1, 1 }, CVY_FORWARD, &op);
        run(e, made, op, &(cvy_op_args){ .src = x, .weights = rows[k].w, .dst = y });
        expect(e, "y", y, want, N);
    }
}

/* ----------------------------------------------------------------------------------- batch norm */

struct bn {
    cvy_shape s;
    cvy_batch_norm_desc d;
    size_t n, pixels;
    float *x, *dy, *gamma, *beta, *mean, *var;
    float *y, *dx, *dgamma, *dbeta, *got_mean, *got_var, *running_mean, *running_var;
};

static const cvy_shape bn_shapes[] = {
    { N, 3, 4, 3 }, { N, 3, 1, 1 }, { N, 100, 1, 1 }, { N, 3, 33, 32 }
};
enum { BN_SHAPES = sizeof bn_shapes / sizeof *bn_shapes };

static struct bn bn_of(struct env *e, cvy_shape s)
{
    struct bn b = { .s = s, .n = size_of(s), .pixels = s.h * s.w };
    b.x = ordinary(e, b.n);
    b.dy = ordinary(e, b.n);
    b.gamma = ordinary(e, s.c);
    b.beta = ordinary(e, s.c);
    b.mean = ordinary(e, s.c);
    b.var = ordinary(e, s.c);
    for (size_t i = 1; i < b.n; i += 2) b.dy[i] = -b.dy[i];
    b.y = room(e, b.n);
    b.dx = room(e, b.n);
    b.dgamma = room(e, s.c);
    b.dbeta = room(e, s.c);
    b.got_mean = room(e, s.c);
    b.got_var = room(e, s.c);
    b.running_mean = room(e, s.c);
    b.running_var = room(e, s.c);
    return b;
}

static void bn_run(struct env *e, struct bn *b, enum cvy_pass pass)
{
    cvy_op *op = NULL;
    bool backward = pass == CVY_BACKWARD_DATA, infer = pass == CVY_FORWARD_INFER || b->d.frozen;
    cvy_op_args args = { .src = b->x,
                         .weights = b->gamma,
                         .bias = b->beta,
                         .diff_dst = b->dy,
                         .dst = b->y,
                         .diff_src = b->dx,
                         .diff_weights = b->dgamma,
                         .diff_bias = b->dbeta };
    memcpy(b->running_mean, b->mean, b->s.c * sizeof *b->mean);
    memcpy(b->running_var, b->var, b->s.c * sizeof *b->var);
    args.running_mean = b->running_mean;
    args.running_var = b->running_var;
    args.mean = backward ? b->mean : b->got_mean;
    args.var = backward ? b->var : b->got_var;
    enum cvy_status made = cvy_op_batch_norm(e->ctx, &b->d, b->s, pass, &op);
    run(e, made, op, &args);
    (void)infer;
}

/* Channel 1 of a result [n][c][pixels] all v. */
static void set_channel(const struct bn *b, float *x, float v)
{
    for (size_t n = 0; n < b->s.n; n++) set(x + (n * b->s.c + 1) * b->pixels, b->pixels, v);
}
/* An element of channel 1. */
static size_t bn_place(const struct bn *b, size_t image)
{
    return (image * b->s.c + 1) * b->pixels + b->pixels / 2;
}

static void bn_training(struct env *e)
{
    for (size_t k = 0; k < BN_SHAPES; k++) {
        struct bn b = bn_of(e, bn_shapes[k]);
        bn_run(e, &b, CVY_FORWARD);
        float *y = copy(e, b.y, b.n), *mean = copy(e, b.got_mean, b.s.c),
              *var = copy(e, b.got_var, b.s.c);
        float *rm = copy(e, b.running_mean, b.s.c), *rv = copy(e, b.running_var, b.s.c);
        set_channel(&b, y, NAN);
        mean[1] = var[1] = rm[1] = rv[1] = NOT_FINITE;
        EACH_SPECIAL(v, image)
        {
            float *x = &b.x[bn_place(&b, image)], keep = *x;
            *x = v;
            bn_run(e, &b, CVY_FORWARD);
            expect(e, "y", b.y, y, b.n);
            expect(e, "mean", b.got_mean, mean, b.s.c);
            expect(e, "var", b.got_var, var, b.s.c);
            expect(e, "running_mean", b.running_mean, rm, b.s.c);
            expect(e, "running_var", b.running_var, rv, b.s.c);
            *x = keep;
        }
        release(e, 0);
    }
}

/* Special parameters: gamma and beta reach y and nothing else. */
static void bn_parameters(struct env *e)
{
    for (size_t k = 0; k < BN_SHAPES; k++)
        for (int infer = 0; infer < 2; infer++) {
            enum cvy_pass pass = infer ? CVY_FORWARD_INFER : CVY_FORWARD;
            struct bn b = bn_of(e, bn_shapes[k]);
            bn_run(e, &b, pass);
            float *y = copy(e, b.y, b.n), *mean = copy(e, b.got_mean, b.s.c),
                  *var = copy(e, b.got_var, b.s.c);
            for (size_t s = 0; s < 6; s++) {
                float *at = s < 3 ? &b.gamma[1] : &b.beta[1], keep = *at, v = specials[s % 3];
                set_channel(&b, y, s < 3 ? NOT_FINITE : v);
                *at = v;
                bn_run(e, &b, pass);
                expect(e, "y", b.y, y, b.n);
                if (!infer) {
                    expect(e, "mean", b.got_mean, mean, b.s.c);
                    expect(e, "var", b.got_var, var, b.s.c);
                }
                *at = keep;
            }
            release(e, 0);
        }
}

static void bn_constant(struct env *e)
{
    static const float constants[] = { -0.0f, 1e-41f, FLT_MIN, 3 };
    for (size_t k = 0; k < BN_SHAPES; k++)
        for (size_t s = 0; s < sizeof constants / sizeof *constants; s++) {
            struct bn b = bn_of(e, bn_shapes[k]);
            set_channel(&b, b.x, constants[s]);
            bn_run(e, &b, CVY_FORWARD);
            float *y = copy(e, b.y, b.n), *mean = copy(e, b.got_mean, b.s.c),
                  *var = copy(e, b.got_var, b.s.c);
            set_channel(&b, y, b.beta[1]);
            mean[1] = constants[s];
            var[1] = 0;
            expect(e, "y", b.y, y, b.n);
            expect(e, "mean", b.got_mean, mean, b.s.c);
            expect(e, "var", b.got_var, var, b.s.c);
            release(e, 0);
        }
}

static void bn_inference(struct env *e)
{
    for (size_t k = 0; k < BN_SHAPES; k++)
        for (int frozen = 0; frozen < 2; frozen++) {
            struct bn b = bn_of(e, bn_shapes[k]);
            enum cvy_pass pass = frozen ? CVY_FORWARD : CVY_FORWARD_INFER;
            b.d.frozen = frozen;
            bn_run(e, &b, pass);
            float *y = copy(e, b.y, b.n);
            EACH_SPECIAL(v, image)
            { /* only that element */
                size_t place = bn_place(&b, image);
                float keep = b.x[place], finite = y[place];
                b.x[place] = y[place] = v;
                bn_run(e, &b, pass);
                expect(e, "y", b.y, y, b.n);
                b.x[place] = keep;
                y[place] = finite;
            }
            static const struct {
                float mean, var, y;
            } statistics[] = {
                { NAN, 1, NAN },
                { INFINITY, 1, -INFINITY },
                { -INFINITY, 1, INFINITY },
                { 0, NAN, NAN },
                { 0, -1, NAN },
            };
            for (size_t s = 0; s < sizeof statistics / sizeof *statistics; s++) {
                b.mean[1] = statistics[s].mean;
                b.var[1] = statistics[s].var;
                set_channel(&b, y, statistics[s].y);
                bn_run(e, &b, pass);
                expect(e, "y by statistics", b.y, y, b.n);
            }
            b.mean[1] = 0;
            b.var[1] = INFINITY;
            set_channel(&b, y, b.beta[1]);
            bn_run(e, &b, pass);
            expect(e, "y by an infinite variance", b.y, y, b.n);
            release(e, 0);
        }
}

static void bn_gradient(struct env *e)
{
    for (size_t k = 0; k < BN_SHAPES; k++) {
        struct bn b = bn_of(e, bn_shapes[k]);
        bn_run(e, &b, CVY_BACKWARD_DATA);
        float *dx = copy(e, b.dx, b.n), *dgamma = copy(e, b.dgamma, b.s.c),
              *dbeta = copy(e, b.dbeta, b.s.c), finite = dbeta[1];
        EACH_SPECIAL(v, image)
        {
            float *at = &b.dy[bn_place(&b, image)], keep = *at;
            set_channel(&b, dx, isnan(v) ? NAN : NOT_FINITE);
            dgamma[1] = isnan(v) ? NAN : NOT_FINITE;
            dbeta[1] = v;
            *at = v;
            bn_run(e, &b, CVY_BACKWARD_DATA);
            expect(e, "dx", b.dx, dx, b.n);
            expect(e, "dgamma", b.dgamma, dgamma, b.s.c);
            expect(e, "dbeta", b.dbeta, dbeta, b.s.c);
            *at = keep;
            at = &b.x[bn_place(&b, image)];
            keep = *at; /* the statistics are given */
            dbeta[1] = finite;
            *at = v;
            bn_run(e, &b, CVY_BACKWARD_DATA);
            expect(e, "dx by x", b.dx, dx, b.n);
            expect(e, "dgamma by x", b.dgamma, dgamma, b.s.c);
            expect(e, "dbeta by x", b.dbeta, dbeta, b.s.c);
            *at = keep;
        }
        release(e, 0);
    }
}

/* Frozen statistics are constants: dx is dy times a number. */
static void bn_frozen_gradient(struct env *e)
{
    for (size_t k = 0; k < BN_SHAPES; k++) {
        struct bn b = bn_of(e, bn_shapes[k]);
        b.d.frozen = true;
        bn_run(e, &b, CVY_BACKWARD_DATA);
        float *dx = copy(e, b.dx, b.n), *dgamma = copy(e, b.dgamma, b.s.c),
              *dbeta = copy(e, b.dbeta, b.s.c), finite = dbeta[1];
        EACH_SPECIAL(v, image)
        {
            size_t place = bn_place(&b, image);
            float keep = b.dy[place], kept = dx[place];
            dgamma[1] = isnan(v) ? NAN : NOT_FINITE;
            dbeta[1] = dx[place] = b.dy[place] = v;
            bn_run(e, &b, CVY_BACKWARD_DATA);
            expect(e, "dx", b.dx, dx, b.n);
            expect(e, "dgamma", b.dgamma, dgamma, b.s.c);
            expect(e, "dbeta", b.dbeta, dbeta, b.s.c);
            b.dy[place] = keep;
            dx[place] = kept;
            dbeta[1] = finite;
            keep = b.x[place];
            b.x[place] = v;
            bn_run(e, &b, CVY_BACKWARD_DATA);
            expect(e, "dx by x", b.dx, dx, b.n);
            expect(e, "dgamma by x", b.dgamma, dgamma, b.s.c);
            expect(e, "dbeta by x", b.dbeta, dbeta, b.s.c);
            b.x[place] = keep;
        }
        release(e, 0);
    }
}

/* ---------------------------------------------------------------------------------- group norm */

static const struct {
    cvy_shape s;
    size_t groups;
    bool elementwise;
} gn_shapes[] = {
    { { N, 4, 3, 5 }, 2, false },   { { N, 6, 9, 9 }, 1, true }, { { N, 3, 8, 8 }, 3, false },
    { { N, 130, 1, 1 }, 2, false }, { { N, 6, 1, 1 }, 1, true }, { { N, 20, 2, 2 }, 2, true },
};
enum { GN_SHAPES = sizeof gn_shapes / sizeof *gn_shapes };

struct gn {
    cvy_group_norm_desc d;
    cvy_shape s;
    size_t n, image, group, affine; /* elements: of all, an image, a group; of gamma */
    float *x, *dy, *gamma, *beta, *y, *dx, *dgamma, *dbeta, *mean, *var;
};

static struct gn gn_of(struct env *e, size_t k)
{
    struct gn g = { .s = gn_shapes[k].s,
                    .d = { .groups = gn_shapes[k].groups,
                           .elementwise = gn_shapes[k].elementwise } };
    g.n = size_of(g.s);
    g.image = g.n / N;
    g.group = g.image / g.d.groups;
    g.affine = g.d.elementwise ? g.image : g.s.c;
    g.x = ordinary(e, g.n);
    g.dy = ordinary(e, g.n);
    for (size_t i = 1; i < g.n; i += 2) g.dy[i] = -g.dy[i];
    g.gamma = ordinary(e, g.affine);
    g.beta = ordinary(e, g.affine);
    g.y = room(e, g.n);
    g.dx = room(e, g.n);
    g.dgamma = room(e, g.affine);
    g.dbeta = room(e, g.affine);
    g.mean = room(e, N * g.d.groups);
    g.var = room(e, N * g.d.groups);
    return g;
}

static void gn_run(struct env *e, struct gn *g, enum cvy_pass pass)
{
    cvy_op *op = NULL;
    enum cvy_status made = cvy_op_group_norm(e->ctx, &g->d, g->s, pass, &op);
    run(e, made, op,
        &(cvy_op_args){ .src = g->x,
                        .weights = g->gamma,
                        .bias = g->beta,
                        .dst = g->y,
                        .mean = g->mean,
                        .var = g->var,
                        .diff_dst = g->dy,
                        .diff_src = g->dx,
                        .diff_weights = g->dgamma,
                        .diff_bias = g->dbeta });
}

/* The place of an image's special element, and that of its gamma. */
static size_t gn_place(const struct gn *g, size_t image) { return image * g->image + g->image / 2; }
static size_t gn_affine(const struct gn *g) { return g->image / 2 / (g->image / g->affine); }

/* A special element makes its group of its image NaN, and nothing else; gamma and beta reach what
 * they stand for. What is the same everywhere is beta. */
static void gn_forward(struct env *e)
{
    for (size_t k = 0; k < GN_SHAPES; k++) {
        struct gn g = gn_of(e, k);
        for (int infer = 0; infer < 2; infer++) {
            enum cvy_pass pass = infer ? CVY_FORWARD_INFER : CVY_FORWARD;
            gn_run(e, &g, pass);
            EACH_SPECIAL(v, image)
            {
                size_t rooms = e->n_rooms, at = gn_place(&g, image), first = at / g.group * g.group;
                float *y = copy(e, g.y, g.n), keep = g.x[at];
                set(y + first, g.group, NAN);
                g.x[at] = v;
                gn_run(e, &g, pass);
                expect(e, "y", g.y, y, g.n);
                g.x[at] = keep;
                if (!infer && (isfinite(g.mean[at / g.group]) || isfinite(g.var[at / g.group])))
                    complain(e, "mean or variance is finite");
                gn_run(e, &g, pass);
                memcpy(y, g.y, g.n * sizeof *y);
                for (size_t i = 0; i < g.n; i++)
                    if (i % g.image / (g.image / g.affine) == gn_affine(&g)) y[i] = v;
                float *beta = &g.beta[gn_affine(&g)];
                keep = *beta;
                *beta = v;
                gn_run(e, &g, pass);
                expect(e, "y by beta", g.y, y, g.n);
                *beta = keep;
                gn_run(e, &g, pass);
                release(e, rooms);
            }
            size_t rooms = e->n_rooms;
            float *y = copy(e, g.y, g.n), *x = copy(e, g.x, g.n);
            set(g.x + g.group, g.group, 3);
            for (size_t i = g.group; i < 2 * g.group; i++)
                y[i] = g.beta[i % g.image / (g.image / g.affine)];
            gn_run(e, &g, pass);
            expect(e, "y of a constant", g.y, y, g.n);
            memcpy(g.x, x, g.n * sizeof *x);
            release(e, rooms);
        }
        release(e, 0);
    }
}

static void gn_gradient(struct env *e)
{
    for (size_t k = 0; k < GN_SHAPES; k++) {
        struct gn g = gn_of(e, k);
        gn_run(e, &g, CVY_FORWARD);
        gn_run(e, &g, CVY_BACKWARD_DATA);
        float *dx = copy(e, g.dx, g.n), *dgamma = copy(e, g.dgamma, g.affine),
              *dbeta = copy(e, g.dbeta, g.affine), finite = dbeta[gn_affine(&g)];
        EACH_SPECIAL(v, image)
        {
            size_t rooms = e->n_rooms, at = gn_place(&g, image), first = at / g.group * g.group;
            float *want = copy(e, dx, g.n), keep = g.dy[at];
            set(want + first, g.group, isnan(v) ? NAN : NOT_FINITE);
            dgamma[gn_affine(&g)] = isnan(v) ? NAN : NOT_FINITE;
            dbeta[gn_affine(&g)] = v;
            g.dy[at] = v;
            gn_run(e, &g, CVY_BACKWARD_DATA);
            expect(e, "dx", g.dx, want, g.n);
            expect(e, "dgamma", g.dgamma, dgamma, g.affine);
            expect(e, "dbeta", g.dbeta, dbeta, g.affine);
            g.dy[at] = keep;
            keep = g.x[at]; /* the statistics are given */
            dbeta[gn_affine(&g)] = finite;
            g.x[at] = v;
            gn_run(e, &g, CVY_BACKWARD_DATA);
            expect(e, "dx by x", g.dx, want, g.n);
            expect(e, "dgamma by x", g.dgamma, dgamma, g.affine);
            expect(e, "dbeta by x", g.dbeta, dbeta, g.affine);
            g.x[at] = keep;
            release(e, rooms);
        }
        release(e, 0);
    }
}

/* -------------------------------------------------------------------------- whitening and ranks */

/* Two groups of two channels: a special value makes its group not finite, forward and backward,
 * or by running statistics its group's pixel of its image. */
static void whitening(struct env *e)
{
    const cvy_shape s = { N, 4, 3, 2 };
    const size_t n = size_of(s), pixels = 6;
    float *x = ordinary(e, n), *dy = ordinary(e, n), *gamma = ordinary(e, 4), *y = room(e, n),
          *dgamma = room(e, 4), *dbeta = room(e, 4), mean[4] = { 0 },
          matrix[8] = { 1, 0.5f, 0.5f, 1, 2, 1, 1, 2 };
    for (int kind = 0; kind < 2; kind++)
        for (int pass = 0; pass < 3; pass++)
            for (int frozen = 0; frozen < 2; frozen++) {
                const cvy_whitening_desc d = { .kind = (enum cvy_whitening_kind)kind,
                                               .channels = 2,
                                               .eps = 0.1,
                                               .no_beta = true,
                                               .frozen = frozen };
                bool backward = pass == CVY_BACKWARD_DATA,
                     local = frozen || pass == CVY_FORWARD_INFER;
                size_t rooms = e->n_rooms;
                float *clean = NULL, *put = backward ? dy : x;
                EACH_SPECIAL(v, image)
                {
                    for (int poisoned = clean != NULL; poisoned < 2; poisoned++) {
                        size_t place = (image * 4 + 2) * pixels + 1;
                        float keep = put[place], rm[4], rw[8];
                        cvy_op *op = NULL;
                        memcpy(rm, mean, sizeof rm);
                        memcpy(rw, matrix, sizeof rw);
                        cvy_op_args args = {
                            .src = x, .weights = gamma, .running_mean = rm, .running_matrix = rw
                        };
                        args.diff_dst = dy;
                        if (backward) args.diff_src = y;
                        else args.dst = y;
                        args.diff_weights = dgamma;
                        args.diff_bias = dbeta;
                        if (poisoned) put[place] = v;
                        enum cvy_status made =
                            cvy_op_whitening(e->ctx, &d, s, (enum cvy_pass)pass, &op);
                        run(e, made, op, &args);
                        put[place] = keep;
                        if (!poisoned) clean = copy(e, y, n);
                    }
                    size_t inner = e->n_rooms;
                    float *want = copy(e, clean, n);
                    for (size_t i = 0; i < n; i++)
                        if (i / pixels % 4 >= 2 &&
                            (!local || (i / (4 * pixels) == image && i % pixels == 1)))
                            want[i] = isnan(v) || !local ? NAN : NOT_FINITE;
                    for (size_t i = 0; i < n; i++) /* whichever it is */
                        if (isnan(want[i]) && !local && !isfinite(y[i])) y[i] = NAN;
                    expect(e, backward ? "dx" : "y", y, want, n);
                    release(e, inner);
                }
                release(e, rooms);
            }
}

/* A NaN has no rank, and makes its channel and its quantiles NaN; infinities are the first and the
 * last. By quantiles a NaN is its own affair, and what lies beyond them is like the last. */
static void rank(struct env *e)
{
    const cvy_shape s = { N, 2, 1, 1 };
    const cvy_rank_desc d = { .quantiles = 2, .momentum = 1 };
    float x[2 * N], y[2 * N], want[2 * N], q[4];
    cvy_op *op = NULL;
    for (size_t k = 0; k < 3; k++) {
        for (size_t i = 0; i < N; i++) {
            x[2 * i] = x[2 * i + 1] = (float)i - 9;
            want[2 * i] = want[2 * i + 1] = ((float)i + 0.5f) / N;
        }
        x[20] = 1e-40f; /* image 10: above image 9's 0 but for flushing */
        x[18] = -0.0f;
        want[18] = want[20] = 10.0f / N;
        x[1] = specials[k];
        for (size_t i = 0; i < N; i++) {
            if (isnan(x[1])) want[2 * i + 1] = NAN;
            else if (x[1] > 0) want[2 * i + 1] = ((float)(i ? i - 1 : N - 1) + 0.5f) / N;
        }
        enum cvy_status made = cvy_op_rank(e->ctx, &d, s, CVY_FORWARD, &op);
        memset(q, 0, sizeof q);
        run(e, made, op, &(cvy_op_args){ .src = x, .dst = y, .running_quantiles = q });
        expect(e, "y", y, want, 2 * N);
        static const float quantiles[3][2] = { { NAN, NAN }, { -3.75f, 5.75f }, { -4.75f, 4.75f } };
        expect(e, "quantiles", q + 2, quantiles[k], 2);
        const float table[] = { -1, 1, NAN, 3 };
        for (size_t i = 0; i < N; i++) {
            x[2 * i] = specials[(i + k) % 3];
            want[2 * i] = x[2 * i] > 0 ? 0.75f : 0.25f;
            if (isnan(x[2 * i])) want[2 * i] = NAN;
            want[2 * i + 1] = NAN;
        }
        memcpy(q, table, sizeof q);
        made = cvy_op_rank(e->ctx, &d, s, CVY_FORWARD_INFER, &op);
        run(e, made, op, &(cvy_op_args){ .src = x, .dst = y, .running_quantiles = q });
        expect(e, "y by quantiles", y, want, 2 * N);
    }
}

/* ---------------------------------------------------------------- transposed convolution, bias */

enum { DECONV_IN = 2, DECONV_OUT = 3 };
struct deconv {
    cvy_conv_transpose2d_desc d;
    cvy_shape src, dst;
    size_t nx, ny, nw;
    float *x, *w, *b, *dy;
};

/* Windows side by side; windows that overlap and are cut off, with a row and a column more that
 * only the bias reaches; from one pixel. Output 1's and input 1's weights are zero, as those of
 * conv_of. */
static const cvy_conv_transpose2d_desc deconvs[] = {
    { .out_channels = DECONV_OUT, .kernel = { 2, 2 }, .stride = { 2, 2 } },
    { .out_channels = DECONV_OUT,
      .kernel = { 3, 3 },
      .stride = { 4, 4 },
      .pad = { 1, 1, 1, 1 },
      .output_pad = { 3, 3 } },
    { .out_channels = DECONV_OUT, .kernel = { 4, 4 } },
};
static const size_t deconv_sides[] = { 3, 3, 1 };

static struct deconv deconv_of(struct env *e, size_t k)
{
    const cvy_conv_transpose2d_desc *d = &deconvs[k];
    size_t side = deconv_sides[k], stride = d->stride[0] ? d->stride[0] : 1,
           out = (side - 1) * stride + d->kernel[0] + d->output_pad[0] - 2 * d->pad[0];
    size_t taps = d->kernel[0] * d->kernel[1];
    struct deconv c = { .d = *d,
                        .src = { N, DECONV_IN, side, side },
                        .dst = { N, DECONV_OUT, out, out },
                        .nw = DECONV_IN * DECONV_OUT * taps };
    c.nx = size_of(c.src);
    c.ny = size_of(c.dst);
    c.x = ordinary(e, c.nx);
    c.w = ordinary(e, c.nw);
    c.b = ordinary(e, DECONV_OUT);
    c.dy = ordinary(e, c.ny);
    for (size_t t = 0; t < c.nw; t++)
        if (t / taps % DECONV_OUT == 1 || t / taps / DECONV_OUT == 1) c.w[t] = 0;
    return c;
}

static float *deconv_pass(struct env *e, const struct deconv *c, enum cvy_pass pass, float *db)
{
    cvy_op *op = NULL;
    enum cvy_status made = cvy_op_conv_transpose2d(e->ctx, &c->d, c->src, pass, &op);
    size_t n = c->ny;
    if (pass == CVY_BACKWARD_DATA) n = c->nx;
    if (pass == CVY_BACKWARD_WEIGHTS) n = c->nw;
    float *out = room(e, n);
    run(e, made, op,
        &(cvy_op_args){ .src = c->x,
                        .weights = c->w,
                        .bias = c->b,
                        .diff_dst = c->dy,
                        .dst = out,
                        .diff_src = out,
                        .diff_weights = out,
                        .diff_bias = db });
    return out;
}

/* What a special number does at each product x[i] w[t] -> y[o], by where it is. */
struct deconv_want {
    char which; /* 'x', 'w', 'd' of dy */
    size_t place;
    float v, *y, *dx, *dw;
};
static void deconv_spread(const struct deconv *c, const struct deconv_want *want)
{
    size_t kernel = c->d.kernel[0], stride = c->d.stride[0] ? c->d.stride[0] : 1, side = c->src.h,
           out = c->dst.h, taps = kernel * kernel;
    for (size_t i = 0; i < c->nx; i++)
        for (size_t t = 0; t < DECONV_OUT * taps; t++) {
            size_t channel = i / (side * side) % DECONV_IN, o = t / taps,
                   image = i / (side * side * DECONV_IN);
            size_t y = i / side % side * stride + t % taps / kernel,
                   x = i % side * stride + t % kernel;
            if (y < c->d.pad[0] || x < c->d.pad[0]) continue;
            y -= c->d.pad[0];
            x -= c->d.pad[0];
            if (y >= out || x >= out) continue;
            size_t at = ((image * DECONV_OUT + o) * out + y) * out + x,
                   w = channel * DECONV_OUT * taps + t;
            if (want->which == 'x' && i == want->place) {
                want->y[at] = times(want->v, c->w[w]);
                want->dw[w] = times(want->v, c->dy[at]);
            }
            if (want->which == 'd' && at == want->place) {
                want->dx[i] = times(want->v, c->w[w]);
                want->dw[w] = times(want->v, c->x[i]);
            }
            if (want->which == 'w' && w == want->place) {
                want->y[at] = times(want->v, c->x[i]);
                want->dx[i] = times(want->v, c->dy[at]);
            }
        }
}

static void deconv(struct env *e)
{
    for (size_t k = 0; k < sizeof deconvs / sizeof *deconvs; k++) {
        struct deconv c = deconv_of(e, k);
        float clean_db[DECONV_OUT], db[DECONV_OUT],
            *y = deconv_pass(e, &c, CVY_FORWARD, NULL),
            *dx = deconv_pass(e, &c, CVY_BACKWARD_DATA, NULL),
            *dw = deconv_pass(e, &c, CVY_BACKWARD_WEIGHTS, clean_db);
        for (size_t p = 0; p < 3; p++) EACH_SPECIAL(v, image)
            {
                const char which = "xwd"[p];
                float *const operand[] = { c.x, c.w, c.dy };
                const size_t n[] = { c.nx / N, 0, c.ny / N },
                             middle[] = { c.nx / N / 4, 0, 2 * c.dst.h * c.dst.w };
                size_t rooms = e->n_rooms, place = image * n[p] + middle[p];
                struct deconv_want want = {
                    which, place, v, copy(e, y, c.ny), copy(e, dx, c.nx), copy(e, dw, c.nw)
                };
                float *at = &operand[p][place], keep = *at, want_db[DECONV_OUT];
                memcpy(want_db, clean_db, sizeof want_db);
                if (which == 'd') want_db[2] = v;
                deconv_spread(&c, &want);
                *at = v;
                expect(e, "y", deconv_pass(e, &c, CVY_FORWARD, NULL), want.y, c.ny);
                expect(e, "dx", deconv_pass(e, &c, CVY_BACKWARD_DATA, NULL), want.dx, c.nx);
                expect(e, "dw", deconv_pass(e, &c, CVY_BACKWARD_WEIGHTS, db), want.dw, c.nw);
                expect(e, "db", db, want_db, DECONV_OUT);
                *at = keep;
                release(e, rooms);
            }
        for (size_t s = 0; s < 3; s++) { /* the bias reaches all of its map, and nothing else */
            size_t rooms = e->n_rooms, map = c.dst.h * c.dst.w;
            float keep = c.b[2], *want = copy(e, y, c.ny);
            for (size_t n = 0; n < N; n++) set(want + (n * DECONV_OUT + 2) * map, map, specials[s]);
            c.b[2] = specials[s];
            expect(e, "y by bias", deconv_pass(e, &c, CVY_FORWARD, NULL), want, c.ny);
            c.b[2] = keep;
            release(e, rooms);
        }
        release(e, 0);
    }
}

/* Also of wide maps: a special pixel stays where it is, a special bias is its channel's; what is
 * summed of a gradient is its channel's, too. */
static void bias(struct env *e)
{
    static const cvy_shape shapes[] = { { N, 3, 4, 5 }, { N, 3, 1, 1 }, { N, 250, 1, 1 } };
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const cvy_shape s = shapes[k];
        size_t n = size_of(s), pixels = s.h * s.w;
        float *x = ordinary(e, n), *b = ordinary(e, s.c), *y = room(e, n), *db = room(e, s.c),
              *want = room(e, n), *sums = room(e, s.c), *clean = NULL;
        EACH_SPECIAL(v, image)
        for (int at_bias = 0; at_bias < 2; at_bias++) {
            size_t place = (image * s.c + 1) * pixels + pixels / 2;
            float *at = at_bias ? &b[1] : &x[place], keep = *at;
            for (size_t i = 0; i < n; i++) want[i] = x[i] + b[i / pixels % s.c];
            for (size_t i = 0; i < n; i++)
                if (at_bias ? i / pixels % s.c == 1 : i == place) want[i] = v;
            cvy_op *op = NULL;
            enum cvy_status made = cvy_op_bias(e->ctx, s, CVY_BACKWARD_WEIGHTS, &op);
            run(e, made, op, &(cvy_op_args){ .diff_dst = x, .diff_bias = db });
            if (!clean) clean = copy(e, db, s.c);
            *at = v;
            made = cvy_op_bias(e->ctx, s, CVY_FORWARD, &op);
            run(e, made, op, &(cvy_op_args){ .src = x, .bias = b, .dst = y });
            expect(e, "y", y, want, n);
            memcpy(sums, clean, s.c * sizeof *sums);
            if (!at_bias) sums[1] = v;
            made = cvy_op_bias(e->ctx, s, CVY_BACKWARD_WEIGHTS, &op);
            run(e, made, op, &(cvy_op_args){ .diff_dst = x, .diff_bias = db });
            expect(e, "db", db, sums, s.c);
            *at = keep;
        }
        release(e, 0);
    }
}

/* -------------------------------------------------------------------------- other sizes, means */

/* Weights of the result's pixel o of the source's pixels along an axis of three that becomes
 * `out`. */
static void upsample_weights(const cvy_upsample_desc *d, size_t out, size_t o, double weight[3])
{
    double at = d->align_corners ? (double)o * 2 / (double)(out - 1)
                                 : ((double)o + 0.5) * 3 / (double)out - 0.5;
    weight[0] = weight[1] = weight[2] = 0;
    if (d->kind == CVY_UPSAMPLE_NEAREST) {
        weight[o * 3 / out] = 1;
        return;
    }
    if (at < 0) at = 0;
    if (at > 2) at = 2;
    for (int i = 0; i < 3; i++) {
        double far = fabs(at - i);
        if (far < 1 - 1e-9) weight[i] = 1 - far; /* what rounding makes of 1 is none */
    }
}

/* A special pixel reaches those that are made of it; one whose share is 0 takes no part. And back:
 * a pixel has the gradients of those that it has a share in. */
static void upsample(struct env *e)
{
    static const cvy_upsample_desc descs[] = {
        { .scale = { 2, 3 } },
        { .size = { 2, 4 } },
        { .kind = CVY_UPSAMPLE_BILINEAR, .scale = { 2, 2 } },
        { .kind = CVY_UPSAMPLE_BILINEAR, .size = { 5, 4 }, .align_corners = true },
    };
    const cvy_shape s = { N, 2, 3, 3 };
    const size_t n = size_of(s);
    for (size_t k = 0; k < sizeof descs / sizeof *descs; k++) {
        const cvy_upsample_desc *d = &descs[k];
        size_t h = d->size[0] ? d->size[0] : 3 * d->scale[0],
               w = d->size[1] ? d->size[1] : 3 * d->scale[1], out = N * 2 * h * w;
        float *x = ordinary(e, n), *dy = ordinary(e, out), *y[2] = { room(e, out), room(e, out) },
              *dx[2] = { room(e, n), room(e, n) };
        EACH_SPECIAL(v, image)
        {
            size_t from = (image * 2 + 1) * 9 + 4, to = (image * 2 + 1) * h * w + w + 1;
            double rows[3], columns[3];
            for (int poisoned = 0; poisoned < 2; poisoned++) {
                float keep[2] = { x[from], dy[to] };
                cvy_op *op = NULL;
                if (poisoned) x[from] = dy[to] = v;
                enum cvy_status made = cvy_op_upsample(e->ctx, d, s, CVY_FORWARD, &op);
                run(e, made, op, &(cvy_op_args){ .src = x, .dst = y[poisoned] });
                made = cvy_op_upsample(e->ctx, d, s, CVY_BACKWARD_DATA, &op);
                run(e, made, op, &(cvy_op_args){ .diff_dst = dy, .diff_src = dx[poisoned] });
                x[from] = keep[0];
                dy[to] = keep[1];
            }
            for (size_t i = 0; i < h * w; i++) {
                upsample_weights(d, h, i / w, rows);
                upsample_weights(d, w, i % w, columns);
                if (rows[1] * columns[1] > 0) y[0][(image * 2 + 1) * h * w + i] = v;
            }
            upsample_weights(d, h, 1, rows);
            upsample_weights(d, w, 1, columns);
            for (size_t i = 0; i < 9; i++)
                if (rows[i / 3] * columns[i % 3] > 0) dx[0][(image * 2 + 1) * 9 + i] = v;
            expect(e, "y", y[1], y[0], out);
            expect(e, "dx", dx[1], dx[0], n);
        }
        release(e, 0);
    }
}

/* A special pixel makes all that its mean is subtracted from NaN or infinite, and nothing else; its
 * gradient is the same. */
static void mean_subtract(struct env *e)
{
    static const cvy_shape shapes[] = { { N, 3, 3, 4 }, { N, 250, 1, 1 } };
    for (size_t k = 0; k < 4; k++) {
        const cvy_shape s = shapes[k / 2];
        const cvy_mean_subtract_desc d = { .over = k % 2 ? CVY_MEAN_OF_IMAGE : CVY_MEAN_OF_BATCH };
        size_t n = size_of(s), image_size = n / N;
        float *x = ordinary(e, n), *y[2] = { room(e, n), room(e, n) };
        for (int pass = 0; pass < 2; pass++) EACH_SPECIAL(v, image)
            {
                for (int poisoned = 0; poisoned < 2; poisoned++) {
                    float *at = &x[image * image_size + 5], keep = *at;
                    cvy_op *op = NULL;
                    if (poisoned) *at = v;
                    enum cvy_status made = cvy_op_mean_subtract(
                        e->ctx, &d, s, pass ? CVY_BACKWARD_DATA : CVY_FORWARD, &op);
                    cvy_op_args args = { .src = x, .dst = y[poisoned] };
                    if (pass) args = (cvy_op_args){ .diff_dst = x, .diff_src = y[poisoned] };
                    run(e, made, op, &args);
                    *at = keep;
                }
                for (size_t i = 0; i < n; i++)
                    if (d.over == CVY_MEAN_OF_BATCH || i / image_size == image)
                        y[0][i] = isnan(v) ? NAN : NOT_FINITE;
                expect(e, pass ? "dx" : "y", y[1], y[0], n);
            }
        release(e, 0);
    }
}

/* ---------------------------------------------------------------------------------- activations */

enum { VALUES = 8 };
static const float act_x[VALUES] = { NAN,   INFINITY, -INFINITY, 0.0f,
                                     -0.0f, 1e-40f,   FLT_MAX,   -FLT_MAX };
static const struct {
    cvy_act_desc d;
    float y[VALUES];
} acts[] = {
    { { .kind = CVY_SIGMOID }, { NAN, 1, 0, 0.5f, 0.5f, 0.5f, 1, 0 } },
    { { .kind = CVY_TANH }, { NAN, 1, -1, 0, 0, 0, 1, -1 } },
    { { .kind = CVY_RELU }, { NAN, INFINITY, 0, 0, 0, 0, FLT_MAX, 0 } },
    { { .kind = CVY_LEAKY_RELU, .alpha = 0.25 },
      { NAN, INFINITY, -INFINITY, 0, 0, 0, FLT_MAX, -0.25f * FLT_MAX } },
    { { .kind = CVY_ELU, .alpha = 0.5 }, { NAN, INFINITY, -0.5f, 0, 0, 0, FLT_MAX, -0.5f } },
    { { .kind = CVY_SOFTPLUS },
      { NAN, INFINITY, 0, 0.69314718f, 0.69314718f, 0.69314718f, FLT_MAX, 0 } },
    { { .kind = CVY_GELU }, { NAN, INFINITY, NAN, 0, 0, 0, FLT_MAX, 0 } },
    { { .kind = CVY_GELU_TANH }, { NAN, INFINITY, NAN, 0, 0, 0, FLT_MAX, 0 } },
    { { .kind = CVY_SILU }, { NAN, INFINITY, NAN, 0, 0, 0, FLT_MAX, 0 } },
    { { .kind = CVY_MISH }, { NAN, INFINITY, NAN, 0, 0, 0, FLT_MAX, 0 } },
    { { .kind = CVY_HARDSWISH }, { NAN, INFINITY, 0, 0, 0, 0, FLT_MAX, 0 } },
    { { .kind = CVY_RELU6 }, { NAN, 6, 0, 0, 0, 0, 6, 0 } },
    { { .kind = CVY_HARDTANH, .alpha = 0.25 }, { NAN, 0.25f, -0.25f, 0, 0, 0, 0.25f, -0.25f } },
    { { .kind = CVY_NORMAL_CDF }, { NAN, 1, 0, 0.5f, 0.5f, 0.5f, 1, 0 } },
};
enum { ACTS = sizeof acts / sizeof *acts };
_Static_assert((int)ACTS == (int)CHECK_ACTS, "a row for every kind");

static const cvy_shape act_shape = { N, 3, 3, 3 };

static void activations(struct env *e)
{
    size_t n = size_of(act_shape);
    float *x = room(e, n), *y = room(e, n), *want = room(e, n);
    for (size_t k = 0; k < ACTS; k++) {
        cvy_op *op = NULL;
        for (size_t i = 0; i < n; i++) {
            x[i] = act_x[i % VALUES];
            want[i] = acts[k].y[i % VALUES];
        }
        enum cvy_status made = cvy_op_activation(e->ctx, &acts[k].d, act_shape, CVY_FORWARD, &op);
        run(e, made, op, &(cvy_op_args){ .src = x, .dst = y });
        char what[16];
        snprintf(what, sizeof what, "act %zu y", k);
        /* oneDNN 3.2 with AVX-512 halves what it has doubled (docs/numerics.md) */
        for (size_t i = 0; i < n && e->module && acts[k].d.kind == CVY_GELU; i++)
            if (x[i] == FLT_MAX && isinf(y[i])) y[i] = want[i];
        expect(e, what, y, want, n);
    }
}

/* What the gradient is taken at: x, and the y that goes with it. */
struct act_row {
    float x, y, dy, dx;
};
static void act_gradient(struct env *e, const cvy_act_desc *d, const struct act_row *row,
                         size_t rows)
{
    size_t n = size_of(act_shape);
    float *x = room(e, n), *y = room(e, n), *dy = room(e, n), *dx = room(e, n), *want = room(e, n);
    cvy_op *op = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct act_row *r = &row[i % rows];
        x[i] = r->x;
        y[i] = r->y;
        dy[i] = r->dy;
        want[i] = r->dx;
    }
    enum cvy_status made = cvy_op_activation(e->ctx, d, act_shape, CVY_BACKWARD_DATA, &op);
    run(e, made, op, &(cvy_op_args){ .src = x, .dst_in = y, .diff_dst = dy, .diff_src = dx });
    expect(e, "dx", dx, want, n);
}
#define ACT_GRADIENT(e, desc, ...)                                                \
    act_gradient(e, &(cvy_act_desc)desc, (const struct act_row[]){ __VA_ARGS__ }, \
                 sizeof(const struct act_row[]){ __VA_ARGS__ } / sizeof(struct act_row))
#define DESC(...)   \
    {               \
        __VA_ARGS__ \
    }

static void relu_gradient(struct env *e)
{
    ACT_GRADIENT(e, DESC(.kind = CVY_RELU), { INFINITY, INFINITY, 3, 3 }, { -INFINITY, 0, 3, 0 },
                 { -0.0f, 0, 3, 0 }, { NAN, NAN, 3, 3 }, { 2, 2, NAN, NAN },
                 { 2, 2, -INFINITY, -INFINITY });
}
/* Where a ReLU is off nothing is passed on, not even what cannot be multiplied by 0. */
static void relu_gradient_off(struct env *e)
{
    ACT_GRADIENT(e, DESC(.kind = CVY_RELU), { -1, 0, NAN, 0 }, { -1, 0, INFINITY, 0 },
                 { 0, 0, -INFINITY, 0 }, { NAN, NAN, INFINITY, INFINITY });
}
static void relu_gradient_at_zero(struct env *e)
{
    ACT_GRADIENT(e, DESC(.kind = CVY_RELU, .relu_grad_at_zero = 0.5), { 0, 0, 3, 1.5f },
                 { -0.0f, 0, 3, 1.5f }, { 0, 0, INFINITY, INFINITY }, { -1, 0, INFINITY, 0 },
                 { -1, 0, NAN, 0 }, { NAN, NAN, 3, 3 }, { INFINITY, INFINITY, 3, 3 });
}
static void leaky_gradient(struct env *e)
{
    ACT_GRADIENT(e, DESC(.kind = CVY_LEAKY_RELU, .alpha = 0.25), { INFINITY, INFINITY, 4, 4 },
                 { -INFINITY, -INFINITY, 4, 1 }, { NAN, NAN, 4, 4 }, { -0.0f, -0.0f, 4, 1 },
                 { -1, -0.25f, INFINITY, INFINITY }, { 1, 1, NAN, NAN });
}
static void elu_gradient(struct env *e)
{
    ACT_GRADIENT(e, DESC(.kind = CVY_ELU, .alpha = 0.5), { INFINITY, INFINITY, 4, 4 },
                 { -INFINITY, -0.5f, 4, 0 }, { NAN, NAN, 4, 4 }, { 0, 0, 4, 2 },
                 { -INFINITY, -0.5f, INFINITY, NAN }, { 1, 1, NAN, NAN });
}
/* A NaN is positive, but its channel's slope has no gradient; what is positive takes no part in
 * it. */
static void prelu(struct env *e)
{
    const cvy_shape s = { N, 3, 1, 2 };
    size_t n = size_of(s);
    float *x = room(e, n), *dy = room(e, n), *y = room(e, n), *dx = room(e, n), *want = room(e, n),
          *slope = room(e, 3), *dslope = room(e, 3), *sums = room(e, 3);
    cvy_op *op = NULL;
    for (size_t i = 0; i < n; i++) x[i] = dy[i] = want[i] = 1;
    slope[0] = slope[1] = slope[2] = 0.25f;
    x[0] = want[0] = -INFINITY;
    x[2] = want[2] = NAN;
    x[4] = want[4] = INFINITY;
    enum cvy_status made = cvy_op_prelu(e->ctx, s, CVY_FORWARD, &op);
    run(e, made, op, &(cvy_op_args){ .src = x, .weights = slope, .dst = y });
    expect(e, "y", y, want, n);
    for (size_t i = 0; i < n; i++) want[i] = 1;
    want[0] = 0.25f;
    dy[10] = want[10] = -INFINITY;
    sums[0] = -INFINITY;
    sums[1] = NAN;
    sums[2] = 0;
    made = cvy_op_prelu(e->ctx, s, CVY_BACKWARD_DATA, &op);
    run(e, made, op,
        &(cvy_op_args){
            .src = x, .weights = slope, .diff_dst = dy, .diff_src = dx, .diff_weights = dslope });
    expect(e, "dx", dx, want, n);
    expect(e, "dslope", dslope, sums, 3);
}

static void smooth_gradients(struct env *e)
{
    ACT_GRADIENT(e, DESC(.kind = CVY_SIGMOID), { INFINITY, 1, 4, 0 }, { -INFINITY, 0, 4, 0 },
                 { NAN, NAN, 4, NAN }, { INFINITY, 1, INFINITY, NAN },
                 { 0, 0.5f, -INFINITY, -INFINITY }, { 0, 0.5f, NAN, NAN });
    ACT_GRADIENT(e, DESC(.kind = CVY_TANH), { INFINITY, 1, 4, 0 }, { -INFINITY, -1, 4, 0 },
                 { NAN, NAN, 4, NAN }, { -INFINITY, -1, INFINITY, NAN },
                 { 0, 0, -INFINITY, -INFINITY }, { 0, 0, NAN, NAN });
    ACT_GRADIENT(e, DESC(.kind = CVY_SOFTPLUS), { INFINITY, INFINITY, 4, 4 },
                 { -INFINITY, 0, 4, 0 }, { NAN, NAN, 4, NAN }, { -INFINITY, 0, INFINITY, NAN },
                 { INFINITY, INFINITY, -INFINITY, -INFINITY }, { 1, 1.3132617f, NAN, NAN });
    ACT_GRADIENT(e, DESC(.kind = CVY_GELU), { INFINITY, INFINITY, 4, NAN },
                 { -INFINITY, NAN, 4, NAN }, { NAN, NAN, 4, NAN }, { FLT_MAX, FLT_MAX, 4, 4 },
                 { -FLT_MAX, 0, 4, 0 }, { 0, 0, 4, 2 }, { -FLT_MAX, 0, INFINITY, NAN },
                 { 0, 0, -INFINITY, -INFINITY }, { 0, 0, NAN, NAN });
    ACT_GRADIENT(e, DESC(.kind = CVY_NORMAL_CDF), { INFINITY, 1, 4, 0 }, { -INFINITY, 0, 4, 0 },
                 { NAN, NAN, 4, NAN }, { FLT_MAX, 1, 4, 0 }, { -FLT_MAX, 0, INFINITY, NAN },
                 { 0, 0.5f, -INFINITY, -INFINITY }, { 0, 0.5f, NAN, NAN });
    ACT_GRADIENT(e, DESC(.kind = CVY_GELU_TANH), { INFINITY, INFINITY, 4, NAN },
                 { -INFINITY, NAN, 4, NAN }, { NAN, NAN, 4, NAN }, { FLT_MAX, FLT_MAX, 4, 4 },
                 { -FLT_MAX, 0, 4, 0 }, { 0, 0, 4, 2 }, { -FLT_MAX, 0, INFINITY, NAN },
                 { 0, 0, -INFINITY, -INFINITY }, { 0, 0, NAN, NAN });
    ACT_GRADIENT(e, DESC(.kind = CVY_SILU), { INFINITY, INFINITY, 4, NAN },
                 { -INFINITY, NAN, 4, NAN }, { NAN, NAN, 4, NAN }, { FLT_MAX, FLT_MAX, 4, 4 },
                 { -FLT_MAX, 0, 4, 0 }, { 0, 0, 4, 2 }, { -FLT_MAX, 0, INFINITY, NAN },
                 { 0, 0, -INFINITY, -INFINITY }, { 0, 0, NAN, NAN });
    ACT_GRADIENT(e, DESC(.kind = CVY_MISH), { INFINITY, INFINITY, 4, NAN },
                 { -INFINITY, NAN, 4, NAN }, { NAN, NAN, 4, NAN }, { FLT_MAX, FLT_MAX, 4, 4 },
                 { -FLT_MAX, 0, 4, 0 }, { 0, 0, 4, 2.4f }, { -FLT_MAX, 0, INFINITY, NAN },
                 { 0, 0, -INFINITY, -INFINITY }, { 0, 0, NAN, NAN });
    ACT_GRADIENT(e, DESC(.kind = CVY_HARDSWISH), { INFINITY, INFINITY, 4, 4 },
                 { -INFINITY, 0, 4, 0 }, { NAN, NAN, 4, 4 }, { -3, 0, INFINITY, 0 },
                 { -4, 0, NAN, 0 }, { 3, 3, 4, 4 }, { 0, 0, 4, 2 });
    ACT_GRADIENT(e, DESC(.kind = CVY_RELU6), { INFINITY, 6, 4, 0 }, { -INFINITY, 0, 4, 0 },
                 { NAN, NAN, 4, 4 }, { 0, 0, INFINITY, 0 }, { 7, 6, NAN, 0 }, { 5, 5, NAN, NAN });
    ACT_GRADIENT(e, DESC(.kind = CVY_HARDTANH, .alpha = 0.25), { INFINITY, 0.25f, 4, 0 },
                 { -INFINITY, -0.25f, 4, 0 }, { NAN, NAN, 4, 4 }, { 1, 0.25f, INFINITY, 0 },
                 { -1, -0.25f, NAN, 0 }, { 0, 0, NAN, NAN });
}

/* -------------------------------------------------------------------------------------- pooling */

/* A window of four pixels, its maximum, and the shares of its gradient by tie rule, in the order of
 * enum cvy_pool_tie. */
#define I INFINITY
static const struct max_row {
    float x[4], y, share[3][4];
} max_rows[] = {
    { { 1, NAN, 3, 4 }, NAN, { { 0, 1, 0, 0 }, { 0, 1, 0, 0 }, { 0, 1, 0, 0 } } },
    { { NAN, 1, NAN, I }, NAN, { { 1, 0, 0, 0 }, { 1, 0, 1, 0 }, { 0.5f, 0, 0.5f, 0 } } },
    { { I, NAN, NAN, NAN },
      NAN,
      { { 0, 1, 0, 0 }, { 0, 1, 1, 1 }, { 0, 1 / 3.0f, 1 / 3.0f, 1 / 3.0f } } },
    { { NAN, NAN, NAN, NAN },
      NAN,
      { { 1, 0, 0, 0 }, { 1, 1, 1, 1 }, { 0.25f, 0.25f, 0.25f, 0.25f } } },
    { { -I, -I, -I, -I }, -I, { { 1, 0, 0, 0 }, { 1, 1, 1, 1 }, { 0.25f, 0.25f, 0.25f, 0.25f } } },
    { { -I, -I, -FLT_MAX, -I }, -FLT_MAX, { { 0, 0, 1, 0 }, { 0, 0, 1, 0 }, { 0, 0, 1, 0 } } },
    { { -I, 2, -I, 1 }, 2, { { 0, 1, 0, 0 }, { 0, 1, 0, 0 }, { 0, 1, 0, 0 } } },
    { { 1, I, 1, I }, I, { { 0, 1, 0, 0 }, { 0, 1, 0, 1 }, { 0, 0.5f, 0, 0.5f } } },
    { { FLT_MAX, 1, I, 0 }, I, { { 0, 0, 1, 0 }, { 0, 0, 1, 0 }, { 0, 0, 1, 0 } } },
    { { -0.0f, 0, -0.0f, -1 },
      0,
      { { 1, 0, 0, 0 }, { 1, 1, 1, 0 }, { 1 / 3.0f, 1 / 3.0f, 1 / 3.0f, 0 } } },
    { { 0, -0.0f, -1, -1 }, 0, { { 1, 0, 0, 0 }, { 1, 1, 0, 0 }, { 0.5f, 0.5f, 0, 0 } } },
    { { -1, -2, 0, -I }, 0, { { 0, 0, 1, 0 }, { 0, 0, 1, 0 }, { 0, 0, 1, 0 } } },
    { { -2, -1, NAN, -I }, NAN, { { 0, 0, 1, 0 }, { 0, 0, 1, 0 }, { 0, 0, 1, 0 } } },
};
#undef I
enum { MAX_ROWS = sizeof max_rows / sizeof *max_rows };

/* The same four pixels as a map, in the corner of a padded window, side by side in one row, and as
 * four windows of a map. */
static const struct {
    cvy_pool2d_desc d;
    size_t h, w, windows;
} max_maps[] = {
    { { .kernel = { 2, 2 } }, 2, 2, 1 },
    { { .kernel = { 3, 3 }, .stride = { 2, 2 }, .pad = { 1, 1, 0, 0 } }, 2, 2, 1 },
    { { .kernel = { 3, 3 }, .stride = { 3, 3 }, .pad = { 0, 0, 1, 1 } }, 2, 2, 1 },
    { { .kernel = { 3, 3 }, .stride = { 3, 3 }, .pad = { 0, 0, 2, 2 }, .ceil_mode = true },
      2,
      2,
      1 },
    { { .kernel = { 1, 4 } }, 1, 4, 1 },
    { { .kernel = { 2, 2 } }, 4, 4, 4 },
    { { .kernel = { 2, 2 } }, 5, 5, 4 }, /* a row and a column belong to no window */
};
enum { MAX_MAPS = sizeof max_maps / sizeof *max_maps };

/* Where pixel k of window q lies in the map. */
static size_t max_place(size_t map, size_t q, size_t k)
{
    if (max_maps[map].h == 1) return k;
    return (q / 2 * 2 + k / 2) * max_maps[map].w + q % 2 * 2 + k % 2;
}

static void fill_max(size_t map, float *x, float *y)
{
    size_t pixels = max_maps[map].h * max_maps[map].w, windows = max_maps[map].windows;
    set(x, N * pixels, 7);
    for (size_t n = 0; n < N; n++)
        for (size_t q = 0; q < windows; q++) {
            const struct max_row *r = &max_rows[(n + q) % MAX_ROWS];
            for (size_t k = 0; k < 4; k++) x[n * pixels + max_place(map, q, k)] = r->x[k];
            y[n * windows + q] = r->y;
        }
}

static void max_pool(struct env *e)
{
    for (size_t map = 0; map < MAX_MAPS; map++) {
        float x[N * 25], y[N * 4], want[N * 4];
        cvy_op *op = NULL;
        cvy_shape s = { N, 1, max_maps[map].h, max_maps[map].w };
        fill_max(map, x, want);
        enum cvy_status made = cvy_op_pool2d(e->ctx, &max_maps[map].d, s, CVY_FORWARD, &op);
        run(e, made, op, &(cvy_op_args){ .src = x, .dst = y });
        expect(e, "y", y, want, N * max_maps[map].windows);
    }
}

/* dy 6, or a special one: who has no share gets 0. */
static void max_gradient(struct env *e, enum cvy_pool_tie tie, float g)
{
    for (size_t map = 0; map < MAX_MAPS; map++) {
        float x[N * 25], y[N * 4], dy[N * 4], dx[N * 25], want[N * 25];
        size_t pixels = max_maps[map].h * max_maps[map].w, windows = max_maps[map].windows;
        cvy_pool2d_desc d = max_maps[map].d;
        cvy_op *op = NULL;
        d.tie = tie;
        fill_max(map, x, y);
        set(dy, N * windows, g);
        set(want, N * pixels, 0);
        for (size_t i = 0; i < N * windows; i++)
            for (size_t k = 0; k < 4; k++) {
                float share = max_rows[(i / windows + i % windows) % MAX_ROWS].share[tie][k];
                if (share != 0)
                    want[i / windows * pixels + max_place(map, i % windows, k)] = g * share;
            }
        enum cvy_status made =
            cvy_op_pool2d(e->ctx, &d, (cvy_shape){ N, 1, max_maps[map].h, max_maps[map].w },
                          CVY_BACKWARD_DATA, &op);
        run(e, made, op, &(cvy_op_args){ .src = x, .diff_dst = dy, .diff_src = dx });
        expect(e, "dx", dx, want, N * pixels);
    }
}
static void max_first(struct env *e) { max_gradient(e, CVY_TIE_FIRST, 6); }
static void max_all(struct env *e) { max_gradient(e, CVY_TIE_ALL, 6); }
static void max_split(struct env *e) { max_gradient(e, CVY_TIE_SPLIT, 6); }
static void max_special_dy(struct env *e)
{
    for (size_t s = 0; s < 3; s++)
        for (int tie = 0; tie < 3; tie++) max_gradient(e, (enum cvy_pool_tie)tie, specials[s]);
}

/* Overlapping windows of 3x3 over a row: each special value is seen by those that cover it; the
 * padding by none. */
static void max_overlap(struct env *e)
{
    enum { W = 9 };
    static const float row[W] = { -INFINITY, -INFINITY, 1, 2, NAN, 2, INFINITY, -1, -INFINITY };
    static const float y[W] = { -INFINITY, 1, 2, NAN, NAN, NAN, INFINITY, INFINITY, -1 };
    static const float want[W] = { 1, 0, 1, 1, 3, 0, 2, 1, 0 };
    cvy_pool2d_desc d = { .kernel = { 1, 3 }, .stride = { 1, 1 }, .pad = { 0, 1, 0, 1 } };
    float x[N * W], got[N * W], dy[N * W], wants[N * W], wants_dx[N * W];
    for (size_t n = 0; n < N; n++)
        for (size_t i = 0; i < W; i++) {
            x[n * W + i] = row[i];
            wants[n * W + i] = y[i];
            wants_dx[n * W + i] = want[i];
        }
    cvy_op *op = NULL;
    enum cvy_status made = cvy_op_pool2d(e->ctx, &d, (cvy_shape){ N, 1, 1, W }, CVY_FORWARD, &op);
    run(e, made, op, &(cvy_op_args){ .src = x, .dst = got });
    expect(e, "y", got, wants, N * W);
    set(dy, N * W, 1);
    made = cvy_op_pool2d(e->ctx, &d, (cvy_shape){ N, 1, 1, W }, CVY_BACKWARD_DATA, &op);
    run(e, made, op, &(cvy_op_args){ .src = x, .diff_dst = dy, .diff_src = got });
    expect(e, "dx", got, wants_dx, N * W);
}

static void average_pool(struct env *e)
{
    static const struct {
        float x[4], y;
    } rows[] = {
        { { 1, NAN, 3, 4 }, NAN },
        { { INFINITY, 1, 1, 1 }, INFINITY },
        { { -INFINITY, 1, 1, 1 }, -INFINITY },
        { { INFINITY, -INFINITY, 1, 1 }, NAN },
        { { -0.0f, -0.0f, 0, 0 }, 0 },
        { { 1e-40f, 1e-40f, 1e-40f, 1e-40f }, 0 },
    };
    static const cvy_pool2d_desc descs[] = {
        { .kind = CVY_POOL_AVG, .kernel = { 2, 2 } },
        { .kind = CVY_POOL_AVG,
          .kernel = { 3, 3 },
          .stride = { 3, 3 },
          .pad = { 1, 1, 0, 0 },
          .exclude_pad = true },
        { .kind = CVY_POOL_AVG, .kernel = { 3, 3 }, .stride = { 3, 3 }, .pad = { 0, 0, 1, 1 } },
    };
    float x[4 * N], y[N], want[N], dx[4 * N], want_dx[4 * N], dy[N];
    for (size_t k = 0; k < 3; k++) {
        cvy_op *op = NULL;
        for (size_t n = 0; n < N; n++) {
            want[n] = rows[n % 6].y;
            dy[n] = specials[n % 3];
            for (size_t i = 0; i < 4; i++) {
                x[4 * n + i] = rows[n % 6].x[i];
                want_dx[4 * n + i] = dy[n];
            }
        }
        enum cvy_status made =
            cvy_op_pool2d(e->ctx, &descs[k], (cvy_shape){ N, 1, 2, 2 }, CVY_FORWARD, &op);
        run(e, made, op, &(cvy_op_args){ .src = x, .dst = y });
        expect(e, "y", y, want, N);
        made = cvy_op_pool2d(e->ctx, &descs[k], (cvy_shape){ N, 1, 2, 2 }, CVY_BACKWARD_DATA, &op);
        run(e, made, op, &(cvy_op_args){ .src = x, .diff_dst = dy, .diff_src = dx });
        expect(e, "dx", dx, want_dx, 4 * N);
    }
}

/* ---------------------------------------------------------------------------- joining, dropping */

/* The numbers of two operands in turn, and what comes of them. */
static void two_maps(struct env *e, bool product, const float a[8], const float b[8],
                     const float y[8])
{
    size_t n = size_of(act_shape);
    float *x1 = room(e, n), *x2 = room(e, n), *got = room(e, n), *want = room(e, n);
    cvy_op *op = NULL;
    for (size_t i = 0; i < n; i++) {
        x1[i] = a[i % 8];
        x2[i] = b[i % 8];
        want[i] = y[i % 8];
    }
    enum cvy_status made =
        product ? cvy_op_multiply(e->ctx, act_shape, &op) : cvy_op_add(e->ctx, act_shape, &op);
    run(e, made, op, &(cvy_op_args){ .src = x1, .src2 = x2, .dst = got });
    expect(e, "y", got, want, n);
}

static void adding(struct env *e)
{
    static const float a[] = { NAN, INFINITY, INFINITY, -INFINITY, -0.0f, 1e-40f, FLT_MAX, 1 };
    static const float b[] = { 1, 1, -INFINITY, -INFINITY, 0.0f, 1e-40f, FLT_MAX, NAN };
    static const float y[] = { NAN, INFINITY, NAN, -INFINITY, 0, 0, INFINITY, NAN };
    two_maps(e, false, a, b, y);
}

static void multiplying(struct env *e)
{
    static const float a[] = { NAN, INFINITY, 0, -INFINITY, -0.0f, 1e-40f, FLT_MAX, 1e-30f };
    static const float b[] = { 0, -1, INFINITY, -INFINITY, 2, 2, 2, 1e-10f };
    static const float y[] = { NAN, -INFINITY, NAN, INFINITY, -0.0f, 0, INFINITY, 0 };
    two_maps(e, true, a, b, y);
}

/* Copies keep everything but denormals, also a zero's sign; the gradient takes them apart again. */
static void concatenating(struct env *e)
{
    static const float v[] = { NAN, INFINITY, -INFINITY, -0.0f, FLT_MAX, 0, 1e-40f };
    cvy_shape part[2] = { { N, 2, 3, 1 }, { N, 3, 3, 1 } };
    float *x[2], *dx[2], *y = room(e, N * 15);
    for (int k = 0; k < 2; k++) {
        x[k] = room(e, size_of(part[k]));
        dx[k] = room(e, size_of(part[k]));
        for (size_t i = 0; i < size_of(part[k]); i++) x[k][i] = v[(i + (size_t)k) % 7];
    }
    cvy_op *op = NULL;
    enum cvy_status made = cvy_op_concat(e->ctx, part, 2, CVY_FORWARD, &op);
    run(e, made, op, &(cvy_op_args){ .srcs = (const float *const *)x, .dst = y });
    made = cvy_op_concat(e->ctx, part, 2, CVY_BACKWARD_DATA, &op);
    run(e, made, op, &(cvy_op_args){ .diff_dst = y, .diff_srcs = dx });
    for (size_t n = 0; n < N; n++) {
        expect(e, "first", y + n * 15, x[0] + n * 6, 6);
        expect(e, "second", y + n * 15 + 6, x[1] + n * 9, 9);
    }
    for (int k = 0; k < 2; k++) {
        expect(e, "gradient", dx[k], x[k], size_of(part[k]));
        for (size_t i = 0; i < size_of(part[k]); i++)
            if (x[k][i] == 0 && signbit(x[k][i]) != signbit(dx[k][i]))
                complain(e, "a zero lost its sign");
    }
}

/* Likewise; what is beside them is +0. */
static void padding(struct env *e)
{
    static const float v[] = { NAN, INFINITY, -INFINITY, -0.0f, FLT_MAX, 0, 1e-40f };
    cvy_shape s = { N, 2, 3, 1 };
    size_t n = size_of(s);
    float *x = room(e, n), *dx = room(e, n), *y = room(e, N * 15);
    for (size_t i = 0; i < n; i++) x[i] = v[i % 7];
    cvy_op *op = NULL;
    enum cvy_status made = cvy_op_pad_channels(e->ctx, 1, 2, s, CVY_FORWARD, &op);
    run(e, made, op, &(cvy_op_args){ .src = x, .dst = y });
    made = cvy_op_pad_channels(e->ctx, 1, 2, s, CVY_BACKWARD_DATA, &op);
    run(e, made, op, &(cvy_op_args){ .diff_dst = y, .diff_src = dx });
    for (size_t i = 0; i < N; i++) {
        expect(e, "y", y + i * 15 + 3, x + i * 6, 6);
        for (size_t k = 0; k < 15; k++)
            if ((k < 3 || k >= 9) && (y[i * 15 + k] != 0 || signbit(y[i * 15 + k])))
                complain(e, "what is beside is not +0");
    }
    expect(e, "gradient", dx, x, n);
    for (size_t i = 0; i < n; i++)
        if (x[i] == 0 && signbit(x[i]) != signbit(dx[i])) complain(e, "a zero lost its sign");
}

static void dropping(struct env *e)
{
    size_t n = size_of(act_shape);
    for (size_t k = 0; k < 4; k++)
        for (int pass = 0; pass < 3; pass++) {
            cvy_dropout_desc d = { .p = k == 3 ? 1 : 0.5, .unscaled = k == 2 };
            float *x = room(e, n), *y = room(e, n), *want = room(e, n);
            for (int poisoned = 0; poisoned < 2; poisoned++) {
                cvy_op *op = NULL;
                for (size_t i = 0; i < n; i++) x[i] = poisoned ? specials[i % 3] : 1;
                for (size_t i = 0; poisoned && i < n; i++)
                    want[i] = y[i] == 0 ? 0 : x[i]; /* dropped or kept */
                enum cvy_status made =
                    cvy_op_dropout(e->ctx, &d, act_shape, (enum cvy_pass)pass, &op);
                cvy_op_args args = { .src = x, .diff_dst = x, .seed = 5, .step = 2 };
                if (pass == CVY_BACKWARD_DATA) args.diff_src = y;
                else args.dst = y;
                run(e, made, op, &args);
            }
            expect(e, "y", y, want, n);
            release(e, 0);
        }
}

/* ----------------------------------------------------------------------------- softmax and loss */

/* Rows of three logits; loss of label 0 without smoothing, with smoothing, and whether label 0 is
 * right. */
#define I INFINITY
static const struct row {
    float x[3], p[3];
    double loss, smoothed;
    bool right;
} rows[] = {
    { { 1, NAN, 0 }, { NAN, NAN, NAN }, NAN, NAN, false },
    { { NAN, 1, 0 }, { NAN, NAN, NAN }, NAN, NAN, false },
    { { NAN, NAN, NAN }, { NAN, NAN, NAN }, NAN, NAN, false },
    { { I, 1, 0 }, { NAN, NAN, NAN }, NAN, NAN, false },
    { { 1, I, 0 }, { NAN, NAN, NAN }, NAN, NAN, false },
    { { -I, -I, -I }, { NAN, NAN, NAN }, NAN, NAN, false },
    { { I, -I, 0 }, { NAN, NAN, NAN }, NAN, NAN, false },
    { { 0, -I, 0 }, { 0.5f, 0, 0.5f }, 0.69314718, I, true },
    { { 0, -I, -I }, { 1, 0, 0 }, 0, I, true },
    { { -I, 0, 0 }, { 0, 0.5f, 0.5f }, I, I, false },
    { { FLT_MAX, 0, -FLT_MAX }, { 1, 0, 0 }, 0, I, true },
    { { -0.0f, 0, 0 }, { 1 / 3.0f, 1 / 3.0f, 1 / 3.0f }, 1.0986123, 1.0986123, true },
    { { 1e-40f, 0, -1e-40f }, { 1 / 3.0f, 1 / 3.0f, 1 / 3.0f }, 1.0986123, 1.0986123, true },
};
#undef I
enum { ROWS = sizeof rows / sizeof *rows };

static void tempered(struct env *e, double temperature)
{
    for (size_t pixels = 1; pixels < 6; pixels += 4) {
        size_t n = N * 3 * pixels;
        float *x = room(e, n), *y = room(e, n), *want = room(e, n);
        cvy_op *op = NULL;
        for (size_t i = 0; i < N * pixels; i++)
            for (size_t c = 0; c < 3; c++) {
                size_t at = (i / pixels * 3 + c) * pixels + i % pixels;
                x[at] = rows[i % ROWS].x[c];
                want[at] = rows[i % ROWS].p[c];
            }
        const cvy_shape s = { N, 3, 1, pixels };
        enum cvy_status made = temperature == 1
                                   ? cvy_op_softmax(e->ctx, s, &op)
                                   : cvy_op_tempered_softmax(e->ctx, temperature, s, &op);
        run(e, made, op, &(cvy_op_args){ .src = x, .dst = y });
        expect(e, "p", y, want, n);
    }
}

/* The rows' finite numbers are all alike or far apart: what a temperature leaves of the distance
 * makes no difference. */
static void softmax(struct env *e)
{
    tempered(e, 1);
    tempered(e, 4);
}

static bool loss_as_wanted(double got, double want)
{
    if (isnan(want)) return isnan(got);
    return isinf(want) ? got > 1e37 : fabs(got - want) <= 1e-5;
}

/* Image 7 has the row; the gradient of the others does not see it. */
static void losses(struct env *e)
{
    for (size_t k = 0; k < ROWS; k++)
        for (int smooth = 0; smooth < 2; smooth++) {
            cvy_loss_desc d = { .label_smoothing = smooth ? 0.3 : 0 };
            double s = d.label_smoothing, loss[2], want = smooth ? rows[k].smoothed : rows[k].loss;
            float x[N * 3], dx[2][N * 3];
            int32_t labels[N] = { 0 };
            for (size_t i = 0; i < N * 3; i++) x[i] = (float)(i % 5);
            set(x + 21, 3, 0);
            for (int poisoned = 0; poisoned < 2; poisoned++) {
                cvy_op *op = NULL;
                enum cvy_status made = cvy_op_loss(e->ctx, &d, (cvy_shape){ N, 3, 1, 1 }, &op);
                if (poisoned) memcpy(x + 21, rows[k].x, sizeof rows[k].x);
                run(e, made, op,
                    &(cvy_op_args){ .src = x,
                                    .labels = labels,
                                    .loss = &loss[poisoned],
                                    .diff_src = dx[poisoned] });
            }
            for (size_t c = 0; c < 3; c++)
                dx[0][21 + c] = (float)(((double)rows[k].p[c] - (c == 0 ? 1 - s : 0) - s / 3) / N);
            /* about 1e-8 where p and q cancel, 1e-7 in oneDNN 2.6 */
            for (size_t i = 0; i < N * 3; i++) {
                if (isfinite(dx[0][i]) && fabsf(dx[0][i] - dx[1][i]) < (e->module ? 2e-7f : 2e-8f))
                    dx[1][i] = dx[0][i];
            }
            expect(e, "gradient", dx[1], dx[0], N * 3);
            if (!loss_as_wanted(loss[1] * N - (loss[0] * N - 1.09861228866811), want))
                complain(e, "row %zu: the loss is %g, expected %g more than without", k,
                         loss[1] * N, want);
        }
}

/* ----------------------------------------------------------------------------------------- nets */

static cvy_net *net_of(struct env *e)
{
    cvy_net *net = NULL;
    assert_int_equal(cvy_net_create(e->ctx, &net), CVY_OK);
    return net;
}

/* A net whose logits are its biases: weights zero, images one. */
static cvy_trainer *biased(struct env *e, cvy_net *net, const float *bias, cvy_sgd_desc sgd)
{
    static const float zeros[3];
    cvy_trainer *t = NULL;
    cvy_tensor y =
        cvy_linear(net, cvy_input(net, 1, 1, 1), "fc", &(cvy_linear_desc){ .out_features = 3 });
    cvy_trainer_options o = { .batch = N, .sgd = sgd };
    if (cvy_trainer_create(net, y, &o, &t) != CVY_OK ||
        cvy_trainer_set(t, CVY_PARAM_WEIGHT, "fc.weight", zeros, 3) != CVY_OK ||
        cvy_trainer_set(t, CVY_PARAM_WEIGHT, "fc.bias", bias, 3) != CVY_OK)
        complain(e, "%s", cvy_message(e->ctx));
    return t;
}

static enum cvy_status step(cvy_trainer *t, cvy_step_result *r)
{
    static const float ones[N] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    static const uint8_t labels[N];
    cvy_batch b = { .images = ones, .dtype = CVY_F32, .labels8 = labels, .n = N };
    return cvy_trainer_step(t, &b, r);
}

/* An image whose loss is NaN is not right, wherever its NaN is; a loss that is not finite is
 * told. */
static void counting(struct env *e)
{
    for (size_t k = 0; k < ROWS; k++) {
        cvy_net *net = net_of(e);
        cvy_trainer *t = biased(e, net, rows[k].x, (cvy_sgd_desc){ .lr = 0 });
        cvy_step_result r = { 0 };
        enum cvy_status status = t ? step(t, &r) : CVY_OK;
        if (status != (isfinite(rows[k].loss) ? CVY_OK : CVY_E_NUMERIC))
            complain(e, "row %zu: status %d", k, (int)status);
        if (!loss_as_wanted(r.loss_sum / N, rows[k].loss))
            complain(e, "row %zu: loss %g", k, r.loss_sum / N);
        if (r.correct != (rows[k].right ? N : 0))
            complain(e, "row %zu: %zu are right", k, r.correct);
        cvy_trainer_destroy(&t);
        cvy_net_destroy(&net);
    }
}

/* Logits { 0, -inf, 0 }: the gradients are -0.5, 0 and 0.5. */
static void updating(struct env *e)
{
    static const struct {
        cvy_sgd_desc sgd;
        float momentum[3], want[3];
    } steps[] = {
        { { .lr = 1 }, { 0 }, { 0.5f, -INFINITY, -0.5f } },
        { { .lr = 0 }, { 0 }, { 0, -INFINITY, 0 } },
        { { .lr = 1, .weight_decay = 0.5, .decay_all = true },
          { 0 },
          { 0.5f, NAN, -0.5f } }, /* -inf + inf */
        { { .lr = 1, .momentum = 0.5 }, { NAN, 1, 0 }, { NAN, -INFINITY, -0.5f } },
        { { .lr = 1, .momentum = 0.5 }, { INFINITY, 0, 1e-40f }, { -INFINITY, -INFINITY, -0.5f } },
        { { .lr = 0, .momentum = 0.5 },
          { INFINITY, 0, 0 },
          { NAN, -INFINITY, 0 } }, /* 0 times inf */
        { { .lr = 1, .momentum = 0.5, .nesterov = true },
          { -INFINITY, 0, NAN },
          { INFINITY, -INFINITY, NAN } },
    };
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
        static const float bias[3] = { 0, -INFINITY, 0 };
        cvy_net *net = net_of(e);
        cvy_trainer *t = biased(e, net, bias, steps[k].sgd);
        float got[3] = { 0 };
        if (t && steps[k].sgd.momentum != 0 &&
            cvy_trainer_set(t, CVY_PARAM_MOMENTUM, "fc.bias", steps[k].momentum, 3) != CVY_OK)
            complain(e, "%s", cvy_message(e->ctx));
        if (t && (step(t, NULL) != CVY_OK ||
                  cvy_trainer_get(t, CVY_PARAM_WEIGHT, "fc.bias", got, 3) != CVY_OK))
            complain(e, "%s", cvy_message(e->ctx));
        expect(e, "bias", got, steps[k].want, 3);
        cvy_trainer_destroy(&t);
        cvy_net_destroy(&net);
    }
}

/* Pixels are scaled, then padded with channels of zeros. */
static void reading(struct env *e)
{
    static const float pixels[] = { NAN, INFINITY, -INFINITY, -0.0f, 1e-40f, 2, FLT_MAX },
                       scaled[] = { NAN, INFINITY, -INFINITY, -2, -2, 2, FLT_MAX * 2 };
    static const double mean[] = { 1 }, std[] = { 0.5 };
    float x[N * 4], y[N * 12], want[N * 12] = { 0 };
    for (size_t i = 0; i < N * 4; i++) {
        x[i] = pixels[i % 7];
        want[i / 4 * 12 + 4 + i % 4] = scaled[i % 7];
    }
    cvy_net *net = net_of(e);
    cvy_tensor t = cvy_pad_channels(net, cvy_input(net, 1, 2, 2), 1, 1, NULL);
    cvy_predictor *p = NULL;
    cvy_input_desc in = { .mean = mean, .std = std };
    cvy_batch b = { .images = x, .dtype = CVY_F32, .n = N };
    if (cvy_predictor_create(net, t, N, &in, NULL, &p) != CVY_OK ||
        cvy_predictor_run(p, &b, y) != CVY_OK)
        complain(e, "%s", cvy_message(e->ctx));
    else expect(e, "x", y, want, N * 12);
    cvy_predictor_destroy(&p);
    cvy_net_destroy(&net);
}

enum { CLASSES = 3, PIXELS = 36 };

/* conv, batch norm, activation, pooling, twice; a branch that is added; fully connected. */
static cvy_tensor whole_net(cvy_net *net, size_t variant)
{
    const cvy_pool2d_desc pools[] = {
        { .kernel = { 2, 2 } },
        { .kind = CVY_POOL_AVG, .kernel = { 3, 3 }, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 } },
        { .kernel = { 3, 3 }, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 }, .tie = CVY_TIE_SPLIT }
    };
    const cvy_act_desc act = acts[variant % ACTS].d;
    cvy_tensor x = cvy_input(net, 1, 6, 6);
    x = cvy_conv2d(
        net, x, "conv1",
        &(cvy_conv2d_desc){ .out_channels = 4, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 } });
    x = cvy_activation(net, cvy_batch_norm(net, x, "bn1", NULL), NULL, &act);
    cvy_tensor y = cvy_pool2d(net, x, NULL, &pools[variant % 3]);
    x = cvy_conv2d(net, y, "conv2", &(cvy_conv2d_desc){ .out_channels = 4, .kernel = { 1, 1 } });
    x = cvy_add(net, cvy_batch_norm(net, x, "bn2", NULL), y, NULL);
    x = cvy_activation(net, x, NULL, &act);
    x = cvy_concat(net, (cvy_tensor[]){ x, y }, 2, NULL);
    return cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = CLASSES });
}

/* In inference an image's NaN stays its own; infinities too, whatever becomes of them. */
static void predicting(struct env *e)
{
    for (size_t variant = 0; variant < ACTS; variant++) {
        cvy_net *net = net_of(e);
        cvy_tensor t = whole_net(net, variant);
        cvy_trainer *trainer = NULL;
        cvy_predictor *p = NULL;
        float *x = ordinary(e, N * PIXELS), y[N * CLASSES], want[N * CLASSES];
        cvy_batch b = { .images = x, .dtype = CVY_F32, .n = N };
        if (cvy_trainer_create(net, t, &(cvy_trainer_options){ .batch = N, .init.seed = 3 },
                               &trainer) != CVY_OK ||
            cvy_predictor_create(net, t, N, NULL, trainer, &p) != CVY_OK ||
            cvy_predictor_run(p, &b, want) != CVY_OK)
            complain(e, "%s", cvy_message(e->ctx));
        for (size_t i = 0; i < N * CLASSES; i++)
            if (!isfinite(want[i]))
                complain(e, "variant %zu: not finite without special values", variant);
        EACH_SPECIAL(v, image)
        {
            float *at = &x[image * PIXELS + 14], keep = *at, expected[N * CLASSES];
            memcpy(expected, want, sizeof want);
            *at = v;
            if (p && cvy_predictor_run(p, &b, y) != CVY_OK) complain(e, "%s", cvy_message(e->ctx));
            for (size_t c = 0; c < CLASSES; c++)
                expected[image * CLASSES + c] = isnan(v) ? NAN : y[image * CLASSES + c];
            expect(e, "y", y, expected, N * CLASSES);
            *at = keep;
        }
        cvy_predictor_destroy(&p);
        cvy_trainer_destroy(&trainer);
        cvy_net_destroy(&net);
        release(e, 0);
    }
}

/* In training a NaN in one image makes the loss NaN, and every parameter before a batch norm. */
static void training(struct env *e)
{
    static const uint8_t labels[N];
    for (size_t variant = 0; variant < ACTS; variant++) {
        cvy_net *net = net_of(e);
        cvy_trainer *t = NULL;
        float *x = ordinary(e, N * PIXELS), dw[36], want[36];
        cvy_batch b = { .images = x, .dtype = CVY_F32, .labels8 = labels, .n = N };
        cvy_step_result r = { 0 };
        x[18 * PIXELS + 14] = NAN;
        set(want, 36, NAN);
        cvy_trainer_options o = { .batch = N, .sgd.lr = 0.1, .init.seed = 3 };
        if (cvy_trainer_create(net, whole_net(net, variant), &o, &t) != CVY_OK)
            complain(e, "%s", cvy_message(e->ctx));
        else if (cvy_trainer_step(t, &b, &r) != CVY_E_NUMERIC || !isnan(r.loss_sum) ||
                 r.correct != 0)
            complain(e, "variant %zu: loss %g, %zu correct: %s", variant, r.loss_sum, r.correct,
                     cvy_message(e->ctx));
        if (t && cvy_trainer_get(t, CVY_PARAM_GRADIENT, "fc.bias", dw, CLASSES) == CVY_OK)
            expect(e, "db", dw, want, CLASSES);
        if (t && cvy_trainer_get(t, CVY_PARAM_GRADIENT, "conv1.weight", dw, 36) == CVY_OK)
            expect(e, "dw", dw, want, 36);
        cvy_trainer_destroy(&t);
        cvy_net_destroy(&net);
        release(e, 0);
    }
}

/* Infinite pixels that the activation maps to 0 or 1: the loss is finite, and so are gradients that
 * do not read them. */
static void saturating(struct env *e)
{
    static const float ones[4] = { 1, 1, 1, 1 }, zeros[4];
    static const uint8_t labels[N];
    for (int relu = 0; relu < 2; relu++)
        for (int tie = 0; tie < 3; tie++) {
            cvy_net *net = net_of(e);
            cvy_trainer *t = NULL;
            cvy_tensor y = cvy_conv2d(net, cvy_input(net, 1, 2, 2), "conv",
                                      &(cvy_conv2d_desc){ .out_channels = 1, .kernel = { 1, 1 } });
            y = cvy_activation(net, y, NULL,
                               &(cvy_act_desc){ .kind = relu ? CVY_RELU : CVY_SIGMOID });
            y = cvy_pool2d(net, y, NULL,
                           &(cvy_pool2d_desc){ .kernel = { 2, 2 }, .tie = (enum cvy_pool_tie)tie });
            y = cvy_linear(net, y, "fc", &(cvy_linear_desc){ .out_features = 2 });
            float x[N * 4], got[2];
            set(x, N * 4, -INFINITY);
            cvy_batch b = { .images = x, .dtype = CVY_F32, .labels8 = labels, .n = N };
            cvy_step_result r = { 0 };
            if (cvy_trainer_create(net, y, &(cvy_trainer_options){ .batch = N }, &t) != CVY_OK ||
                cvy_trainer_set(t, CVY_PARAM_WEIGHT, "conv.weight", ones, 1) != CVY_OK ||
                cvy_trainer_set(t, CVY_PARAM_WEIGHT, "conv.bias", zeros, 1) != CVY_OK ||
                cvy_trainer_set(t, CVY_PARAM_WEIGHT, "fc.weight", ones, 2) != CVY_OK ||
                cvy_trainer_set(t, CVY_PARAM_WEIGHT, "fc.bias", zeros, 2) != CVY_OK ||
                cvy_trainer_step(t, &b, &r) != CVY_OK)
                complain(e, "%s", cvy_message(e->ctx));
            if (!loss_as_wanted(r.loss_sum / N, 0.69314718)) complain(e, "loss %g", r.loss_sum / N);
            if (t && cvy_trainer_get(t, CVY_PARAM_GRADIENT, "fc.weight", got, 2) == CVY_OK)
                expect(e, "fc.weight", got, (const float[]){ 0, 0 }, 2);
            if (t && cvy_trainer_get(t, CVY_PARAM_GRADIENT, "fc.bias", got, 2) == CVY_OK)
                expect(e, "fc.bias", got, (const float[]){ -0.5f, 0.5f }, 2);
            if (t && cvy_trainer_get(t, CVY_PARAM_GRADIENT, "conv.bias", got, 1) == CVY_OK)
                expect(e, "conv.bias", got, (const float[]){ 0 }, 1);
            if (t && cvy_trainer_get(t, CVY_PARAM_GRADIENT, "conv.weight", got, 1) == CVY_OK)
                expect(e, "conv.weight", got, (const float[]){ NAN }, 1); /* 0 times -inf */
            cvy_trainer_destroy(&t);
            cvy_net_destroy(&net);
        }
}

/* Two units of three channels each are the logits, all weights are 1; one channel of unit 1 is
 * special in one image. Its unit alone has it; with NaN or +inf among the logits the loss and the
 * gradients of all who had a share in the row are NaN, with -inf that channel's alone (0 times
 * -inf). */
struct maxout {
    cvy_net *net;
    cvy_predictor *p;
    cvy_trainer *t;
    cvy_batch b;
};
static const float six_ones[6] = { 1, 1, 1, 1, 1, 1 };

static struct maxout maxout_of(struct env *e, enum cvy_maxout_kind kind, const float *pixels)
{
    static const uint8_t labels[N];
    const cvy_conv2d_desc one_each = {
        .out_channels = 6, .groups = 6, .kernel = { 1, 1 }, .no_bias = true
    };
    struct maxout m = { .net = net_of(e) };
    cvy_tensor x = cvy_conv2d(m.net, cvy_input(m.net, 6, 1, 1), "conv", &one_each);
    x = cvy_maxout(m.net, x, NULL, &(cvy_maxout_desc){ .size = 3, .kind = kind });
    x = cvy_flatten(m.net, x);
    m.b = (cvy_batch){ .images = pixels, .dtype = CVY_F32, .labels8 = labels, .n = N };
    if (cvy_predictor_create(m.net, x, N, NULL, NULL, &m.p) != CVY_OK ||
        cvy_predictor_set(m.p, CVY_PARAM_WEIGHT, "conv.weight", six_ones, 6) != CVY_OK ||
        cvy_trainer_create(m.net, x, &(cvy_trainer_options){ .batch = N }, &m.t) != CVY_OK)
        fail_msg("%s", cvy_message(e->ctx));
    return m;
}

static void maxout_gradient(struct env *e, const struct maxout *m, enum cvy_maxout_kind kind,
                            float v, const float row[6])
{
    cvy_step_result r = { 0 };
    float dw[6];
    size_t first = row[0] >= row[1] ? 0 : 1;
    if (row[2] > row[first]) first = 2;
    if (cvy_trainer_set(m->t, CVY_PARAM_WEIGHT, "conv.weight", six_ones, 6) != CVY_OK ||
        cvy_trainer_step(m->t, &m->b, &r) != (v < 0 ? CVY_OK : CVY_E_NUMERIC) ||
        cvy_trainer_get(m->t, CVY_PARAM_GRADIENT, "conv.weight", dw, 6) != CVY_OK)
        complain(e, "%s", cvy_message(e->ctx));
    if (isfinite(r.loss_sum) != (v < 0)) complain(e, "kind %d: loss %g", (int)kind, r.loss_sum);
    for (size_t i = 0; i < 6; i++) {
        bool share = i == 4 || (!(v < 0) && (kind != CVY_MAXOUT_MAX || i == first));
        if (isnan(dw[i]) != share)
            complain(e, "kind %d, %g: dw[%zu] is %g", (int)kind, (double)v, i, (double)dw[i]);
    }
}

static void maxouts(struct env *e)
{
    for (int kind = 0; kind < 3; kind++) {
        float *pixels = ordinary(e, (size_t)N * 6), y[N * 2], clean[N * 2], want[N * 2];
        struct maxout m = maxout_of(e, (enum cvy_maxout_kind)kind, pixels);
        if (cvy_predictor_run(m.p, &m.b, clean) != CVY_OK) complain(e, "%s", cvy_message(e->ctx));
        EACH_SPECIAL(v, image)
        {
            float *at = &pixels[image * 6 + 4], keep = *at, second = fmaxf(at[-1], at[1]);
            memcpy(want, clean, sizeof want);
            want[image * 2 + 1] = v < 0 && kind == CVY_MAXOUT_MAX ? second : v;
            *at = v;
            if (cvy_predictor_run(m.p, &m.b, y) != CVY_OK) complain(e, "%s", cvy_message(e->ctx));
            expect(e, "y", y, want, (size_t)N * 2);
            maxout_gradient(e, &m, (enum cvy_maxout_kind)kind, v, at - 4);
            *at = keep;
        }
        cvy_predictor_destroy(&m.p);
        cvy_trainer_destroy(&m.t);
        cvy_net_destroy(&m.net);
        release(e, 0);
    }
}

/* ---------------------------------------------------------------------------------- all of them */

static const struct {
    const char *name;
    void (*run)(struct env *e);
} scenarios[] = {
    { "convolution: a special pixel", conv_input },
    { "convolution: a special gradient", conv_gradient },
    { "convolution: a special weight or bias", conv_weight },
    { "convolution: groups", conv_groups },
    { "convolution: sums of special products", conv_sums },
    { "batch norm: training", bn_training },
    { "batch norm: gamma and beta", bn_parameters },
    { "batch norm: constant channels", bn_constant },
    { "batch norm: inference and frozen", bn_inference },
    { "batch norm: gradient", bn_gradient },
    { "batch norm: gradient of frozen", bn_frozen_gradient },
    { "activations", activations },
    { "gradient of ReLU", relu_gradient },
    { "gradient of ReLU where it is off", relu_gradient_off },
    { "gradient of ReLU with a derivative at 0", relu_gradient_at_zero },
    { "gradient of leaky ReLU", leaky_gradient },
    { "group norm", gn_forward },
    { "group norm: gradient", gn_gradient },
    { "whitening", whitening },
    { "rank", rank },
    { "transposed convolution", deconv },
    { "bias", bias },
    { "upsample", upsample },
    { "mean subtracted", mean_subtract },
    { "PReLU", prelu },
    { "gradient of ELU", elu_gradient },
    { "gradients of sigmoid, tanh, softplus", smooth_gradients },
    { "max pool", max_pool },
    { "max pool: gradient to the first", max_first },
    { "max pool: gradient to all", max_all },
    { "max pool: gradient shared", max_split },
    { "max pool: special gradients", max_special_dy },
    { "max pool: overlapping windows", max_overlap },
    { "average pool", average_pool },
    { "add", adding },
    { "multiply", multiplying },
    { "concat and slice", concatenating },
    { "pad and slice", padding },
    { "dropout", dropping },
    { "softmax", softmax },
    { "loss", losses },
    { "loss: counting", counting },
    { "update", updating },
    { "ingest and pad", reading },
    { "nets: prediction", predicting },
    { "nets: training", training },
    { "nets: saturated infinities", saturating },
    { "nets: maxout", maxouts },
};
enum { SCENARIOS = sizeof scenarios / sizeof *scenarios };

static bool may_deviate(const char *backend, const char *scenario)
{
    for (size_t i = 0; i < sizeof deviations / sizeof *deviations; i++)
        if (!strcmp(deviations[i].backend, backend) && !strcmp(deviations[i].scenario, scenario))
            return true;
    return false;
}

/* All scenarios on one backend, fused and not; the number of those that went otherwise than they
 * should. */
static size_t all_scenarios(const char *name, const cvy_context_options *options,
                            uint64_t hashes[SCENARIOS])
{
    size_t wrong = 0;
    for (size_t k = 0; k < SCENARIOS; k++) {
        bool allowed = may_deviate(name, scenarios[k].name);
        struct env e = { .backend = name,
                         .scenario = scenarios[k].name,
                         .module = !strncmp(options->backends, "onednn", 6),
                         .told = !allowed };
        for (int alone = 0; alone < 2; alone++) {
            cvy_context_options o = *options;
            o.no_fusion = alone;
            assert_int_equal(cvy_context_create(&o, &e.ctx), CVY_OK);
            scenarios[k].run(&e);
            release(&e, 0);
            cvy_context_destroy(&e.ctx);
        }
        if (allowed && !e.failed)
            print_message("  %s, %s: keeps the rule, the list says it does not\n", name,
                          e.scenario);
        wrong += e.failed != allowed;
        if (hashes[k] && hashes[k] != e.hash) {
            print_message("  %s, %s: other bits than on the first table\n", name, e.scenario);
            wrong++;
        }
        hashes[k] = e.hash;
    }
    return wrong;
}

static void reference_keeps_the_rule(void **state)
{
    (void)state;
    uint64_t hashes[SCENARIOS] = { 0 };
    assert_int_equal(all_scenarios("reference",
                                   &(cvy_context_options){ .threads = 1, .backends = "reference" },
                                   hashes),
                     0);
}

static void native_keeps_the_rule_on_every_table(void **state)
{
    (void)state;
    uint64_t hashes[SCENARIOS] = { 0 };
    cvy_machine machine;
    size_t wrong = 0;
    cvy_machine_describe(&machine);
    for (int isa = CVY_ISA_SCALAR; isa <= CVY_ISA_PAIR; isa++) {
        char name[32];
        if (!machine.can_run[isa]) continue;
        snprintf(name, sizeof name, "native %s", cvy_isa_name((enum cvy_isa)isa));
        cvy_context_options o = {
            .threads = 1, .isa = (enum cvy_isa)isa, .backends = "native", .strict = true
        };
        wrong += all_scenarios(name, &o, hashes);
    }
    assert_int_equal(wrong, 0);
}

static void skip_without_module(void)
{
    cvy_context *ctx;
    enum cvy_status status =
        cvy_context_create(&(cvy_context_options){ .threads = 1, .backends = "onednn" }, &ctx);
    /* this build has none */
    bool absent = status != CVY_OK && strstr(cvy_message(ctx), "convoy-onednn.so in");
    cvy_context_destroy(&ctx);
    if (absent) {
        print_message("left out: the oneDNN module: not built (Debian: libdnnl-dev)\n");
        skip();
    }
    assert_int_equal(status, CVY_OK);
}

/* What the scenarios above are made of: everything that the library has. */
static void no_kind_is_left_out(void **state)
{
    (void)state;
    assert_int_equal(kinds_missing(), 0);
}

static void module_keeps_the_rule(void **state)
{
    (void)state;
    uint64_t hashes[SCENARIOS] = { 0 };
    cvy_context_options o = { .threads = 1, .backends = "onednn,native" };
    skip_without_module();
    assert_int_equal(all_scenarios("onednn", &o, hashes), 0);
}

/* -------------------------------------------------------------------------------------- padding */

/* A random convolution of whole numbers, all above zero, one operand of each pass with one infinity
 * in it: so a result is NaN only if somebody multiplied it by the padding. */
struct padded {
    cvy_conv2d_desc d;
    cvy_shape x;
    size_t n_x, n_w;
};

static struct padded any_padded(struct check_rng *r)
{
    static const size_t groups[] = { 1, 1, 2, 3, 5 };
    size_t g = groups[check_below(r, 5)], ic = g * (1 + check_below(r, 20)),
           oc = g * (1 + check_below(r, 20));
    struct padded p = { .x = { 1 + check_below(r, 3), ic, 4 + check_below(r, 8),
                               4 + check_below(r, 8) } };
    if (check_below(r, 6) == 0) g = oc = ic; /* depthwise */
    p.d = (cvy_conv2d_desc){ .out_channels = oc, .groups = g, .no_bias = true };
    for (int i = 0; i < 2; i++) {
        p.d.kernel[i] = 1 + check_below(r, 5);
        p.d.stride[i] = 1 + check_below(r, 2);
        p.d.dilation[i] = 1 + check_below(r, 2);
    }
    for (int i = 0; i < 4; i++) p.d.pad[i] = check_below(r, 3);
    p.n_x = p.x.n * ic * p.x.h * p.x.w;
    p.n_w = oc * ic / g * p.d.kernel[0] * p.d.kernel[1];
    return p;
}

static float *some_numbers(struct check_rng *r, size_t n, bool infinite)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = 1 + (float)check_below(r, 9);
    if (infinite) x[check_below(r, n)] = INFINITY;
    return x;
}

static size_t nan_from_padding(cvy_context *ctx, struct check_rng *r, const struct padded *p,
                               enum cvy_pass pass)
{
    cvy_op *op;
    /* the kernel is larger than the map */
    if (cvy_op_conv2d(ctx, &p->d, p->x, pass, &op)) return 0;
    cvy_shape y = cvy_op_dst_shape(op);
    size_t n_y = y.n * y.c * y.h * y.w, n = n_y, nans = 0;
    if (pass == CVY_BACKWARD_DATA) n = p->n_x;
    if (pass == CVY_BACKWARD_WEIGHTS) n = p->n_w;
    float *x = some_numbers(r, p->n_x, false),
          *w = some_numbers(r, p->n_w, pass != CVY_BACKWARD_WEIGHTS);
    float *dy = some_numbers(r, n_y, pass == CVY_BACKWARD_WEIGHTS),
          *out = some_numbers(r, n, false);
    cvy_op_args args = {
        .src = x, .weights = w, .diff_dst = dy, .dst = out, .diff_src = out, .diff_weights = out
    };
    if (cvy_op_run(op, &args)) fail_msg("%s", cvy_message(ctx));
    for (size_t i = 0; i < n; i++) nans += isnan(out[i]) ? 1 : 0;
    free(x);
    free(w);
    free(dy);
    free(out);
    cvy_op_destroy(&op);
    return nans;
}

static void never_multiplied(const char *backends)
{
    static const char *const names[] = {
        [CVY_FORWARD] = "forward", [CVY_BACKWARD_DATA] = "data", [CVY_BACKWARD_WEIGHTS] = "weights"
    };
    struct check_rng r = { check_seed() };
    cvy_context *ctx;
    /* transformed, a value that is not finite spreads over its tile, and a weight over all */
    cvy_context_options o = { .threads = 1,
                              .backends = backends,
                              .algorithm = CVY_ALGORITHM_DIRECT };
    if (cvy_context_create(&o, &ctx)) fail_msg("%s", cvy_message(ctx));
    for (int i = 0; i < 200; i++) {
        const struct padded p = any_padded(&r);
        for (enum cvy_pass pass = CVY_FORWARD; pass <= CVY_BACKWARD_WEIGHTS; pass++) {
            size_t n = pass == CVY_FORWARD_INFER ? 0 : nan_from_padding(ctx, &r, &p, pass);
            if (n)
                fail_msg("%s, %s, case %d: %zu NaN of %zu -> %zu, %zu groups, kernel %zu x %zu",
                         backends, names[pass], i, n, p.x.c, p.d.out_channels, p.d.groups,
                         p.d.kernel[0], p.d.kernel[1]);
        }
    }
    cvy_context_destroy(&ctx);
}

/* 2 -> 3 channels, 3 x 3, one weight in a corner infinite, with a tanh that a module may fuse: the
 * pixel in the corner does not read that weight. */
static void never_multiplied_in_a_net(const char *backends)
{
    cvy_context *ctx;
    cvy_net *net;
    cvy_predictor *p;
    float w[3 * 2 * 9], x[5 * 2 * 16], y[5 * 3 * 16];
    for (size_t i = 0; i < sizeof w / sizeof *w; i++) w[i] = i % 9 ? 0.01f : INFINITY;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = 1;
    if (cvy_context_create(&(cvy_context_options){ .threads = 1, .backends = backends }, &ctx))
        fail_msg("%s", cvy_message(ctx));
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    const cvy_conv2d_desc d = {
        .out_channels = 3, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 }, .no_bias = true
    };
    cvy_tensor t = cvy_conv2d(net, cvy_input(net, 2, 4, 4), "c", &d);
    t = cvy_activation(net, t, NULL, &(cvy_act_desc){ .kind = CVY_TANH });
    if (cvy_predictor_create(net, t, 7, NULL, NULL, &p)) fail_msg("%s", cvy_message(ctx));
    assert_int_equal(cvy_predictor_set(p, CVY_PARAM_WEIGHT, "c.weight", w, sizeof w / sizeof *w),
                     CVY_OK);
    assert_int_equal(cvy_predictor_run(p, &(cvy_batch){ .images = x, .dtype = CVY_F32, .n = 5 }, y),
                     CVY_OK);
    for (size_t i = 0; i < sizeof y / sizeof *y; i++) {
        bool edge = i % 16 < 4 || i % 4 == 0; /* the first row and column: no tap 0 */
        if (edge ? !(y[i] > 0 && y[i] < 0.2f) : y[i] != 1)
            fail_msg("%s: y[%zu] is %g", backends, i, (double)y[i]);
    }
    cvy_predictor_destroy(&p);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

static void padding_is_never_multiplied(void **state)
{
    (void)state;
    static const char *const backends[] = { "reference", "native", "onednn,native" };
    for (int i = 0; i < 3; i++) {
        if (i == 2) skip_without_module();
        never_multiplied(backends[i]);
        never_multiplied_in_a_net(backends[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_keeps_the_rule),
        cmocka_unit_test(native_keeps_the_rule_on_every_table),
        cmocka_unit_test(no_kind_is_left_out),
        cmocka_unit_test(module_keeps_the_rule),
        cmocka_unit_test(padding_is_never_multiplied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
