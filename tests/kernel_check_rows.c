/* Every kernel of kernels.h but mac, wgrad and outer, in every table that runs on this machine.
 *
 * A round draws a shape and inputs, writes down in plain C what the contract says, and runs all
 * tables: the same bits where the contract fixes the order of operations, bounds against double
 * elsewhere and then the same bits as the first table. Buffers lie between guard pages or are
 * misaligned, outputs start as NaN, bytes around them must survive. A third of the rounds has
 * special values, a third of those flushes denormals, as workers do (bits only). A failure says
 * what is needed to repeat it: CVYI_TEST_SEED sets the seed. A kernel of the
 * lists in kernels.h without a test_NAME here does not compile. */
#include "acts.h"
#include "check.h"

#include "backends/native/kernels/kernels.h"
#include "base/cpu.h"
#include "convoy/types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ROUNDS 250
#define U 0x1p-24
#define MAX_BUFS 160
#define MAX_N (16 * 1024)

struct env {
    struct check_rng rng;
    uint64_t seed;
    const char *kernel;
    char shape[160];
    const struct cvyi_kernels *isa[4];
    int n_isa, at;
    struct check_buf buf[MAX_BUFS];
    int n_buf;
    bool specials, flush;
    float *first[8]; /* what the first table gave, for approx() */
};

static _Noreturn void fail_at(struct env *e, const char *what, size_t i, double got, double want)
{
#ifdef __SSE__
    __builtin_ia32_ldmxcsr(0x1f80);
#endif
    printf("%s, %s, %s: %s[%zu] is %.9g (%a), want %.9g (%a); CVYI_TEST_SEED=%#llx\n", e->kernel,
           e->isa[e->at]->isa, e->shape, what, i, got, got, want, want,
           (unsigned long long)e->seed);
    fail();
    abort();
}

/* ---- buffers; they live until the round ends */

static void *raw_of(struct env *e, size_t bytes, size_t unit)
{
    assert_true(e->n_buf < MAX_BUFS);
    size_t shift =
        check_below(&e->rng, 2) ? 0 : unit * (1 + check_below(&e->rng, (uint32_t)(60 / unit)));
    e->buf[e->n_buf] = check_alloc(bytes, check_below(&e->rng, 2), shift);
    return e->buf[e->n_buf++].p;
}

static void *raw(struct env *e, size_t bytes) { return raw_of(e, bytes, 4); }
static double *doubles(struct env *e, size_t n)
{
    return raw_of(e, n * sizeof(double), sizeof(double));
}

static float *out(struct env *e, size_t n) { return raw(e, n * sizeof(float)); }

/* Where denormals are flushed no kernel makes one; whether one that is given is handed on is the
 * compiler's choice. */
static float *in(struct env *e, size_t n)
{
    float *p = out(e, n);
    for (size_t i = 0; i < n; i++) {
        p[i] = check_any(&e->rng, e->specials);
        if (e->flush && (check_bits(p[i]) & 0x7f800000u) == 0) p[i] = 0;
    }
    return p;
}

static float *copy(struct env *e, const float *x, size_t n)
{
    return memcpy(out(e, n), x, n * sizeof *x);
}

static void guards(struct env *e)
{
    for (int i = 0; i < e->n_buf; i++)
        if (!check_intact(&e->buf[i])) fail_at(e, "bytes around buffer", (size_t)i, 0, 0);
}

#define EACH_TABLE(e, k)                                  \
    for (e->at = 0; e->at < e->n_isa; guards(e), e->at++) \
        for (const struct cvyi_kernels *k = e->isa[e->at], *once_ = k; once_; once_ = NULL)

#define SHAPE(...) snprintf(e->shape, sizeof e->shape, __VA_ARGS__)

/* ---- comparisons */

static void equal(struct env *e, const char *what, const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!check_same(got[i], want[i])) fail_at(e, what, i, (double)got[i], (double)want[i]);
}

/* Within |error| <= bound[i] for the first table, the same bits for the others; `slot` tells
 * several outputs apart. */
static void approx(struct env *e, const char *what, const float *got, const double *want,
                   const double *bound, size_t n, int slot)
{
    if (e->at > 0) {
        equal(e, what, got, e->first[slot], n);
        return;
    }
    e->first[slot] = copy(e, got, n);
    for (size_t i = 0; i < n && !e->flush; i++) {
        double g = (double)got[i], w = want[i];
        if (isnan(w) ? isnan(g) : g == w || fabs(g - w) <= bound[i]) continue;
        if (fabs(w) + bound[i] >= 0x1.fffffep127 && isinf(g) && (g > 0) == (w > 0)) continue;
        fail_at(e, what, i, g, w);
    }
}

static size_t pixels(struct env *e)
{
    return 1 + check_below(&e->rng, check_below(&e->rng, 8) ? 40 : 1024);
}

/* ---- activations */

static const char *act_name(int kind)
{
    return kind == CVYI_RELU_X ? "relu_x" : check_acts[kind].name;
}

static double ulp_of(double x)
{
    int ex = 0;
    frexp(x, &ex);
    return ldexp(1, (x == 0 || ex < -125 ? -125 : ex) - 24);
}

static float affine(const struct cvyi_affine *c, float x) { return fmaf(c->a, x - c->m, c->b); }

static struct cvyi_affine any_affine(struct env *e)
{
    return (struct cvyi_affine){ check_normal(&e->rng), check_normal(&e->rng),
                                 check_normal(&e->rng) };
}

static void test_norm(struct env *e)
{
    size_t n = 16 * pixels(e);
    struct cvyi_affine c = any_affine(e);
    SHAPE("n %zu", n);
    float *x = in(e, n), *want = out(e, n);
    for (size_t i = 0; i < n; i++) want[i] = affine(&c, x[i]);
    EACH_TABLE(e, k)
    {
        float *y = out(e, n), *ip = copy(e, x, n);
        k->norm->norm(y, x, n, &c);
        equal(e, "y", y, want, n);
        k->norm->norm(ip, ip, n, &c);
        equal(e, "y in place", ip, want, n);
    }
}

struct act_case {
    int kind;
    size_t n;
    float alpha, *x;
    struct cvyi_affine c;
    double want[MAX_N], bound[MAX_N];
};

static struct act_case *act_case(struct env *e, bool norm)
{
    static struct act_case a;
    a.kind = (int)check_below(&e->rng, CVYI_N_ACTS);
    a.n = 16 * pixels(e);
    a.alpha = check_acts[a.kind].has_alpha ? check_uniform(&e->rng, 0.01f, 1.5f) : 0.5f;
    a.c = any_affine(e);
    SHAPE("%s, n %zu, alpha %a", act_name(a.kind), a.n, (double)a.alpha);
    a.x = in(e, a.n);
    double ulps = check_act_ulps((enum cvy_act_kind)a.kind);
    for (size_t i = 0; i < a.n; i++) {
        double x = (double)(norm ? affine(&a.c, a.x[i]) : a.x[i]);
        a.want[i] = check_acts[a.kind].value(x, (double)a.alpha);
        if (ulps == 0) a.want[i] = (double)(float)a.want[i];
        a.bound[i] = ulps * ulp_of(a.want[i]);
        double tiny = check_act_tiny((enum cvy_act_kind)a.kind, x);
        if (ulps > 0 && fabs(a.want[i]) < tiny) a.bound[i] = tiny;
    }
    return &a;
}

static void test_act(struct env *e)
{
    const struct act_case *a = act_case(e, false);
    EACH_TABLE(e, k)
    {
        float *y = out(e, a->n), *ip = copy(e, a->x, a->n);
        k->act->act[a->kind](y, a->x, a->n, a->alpha);
        approx(e, "y", y, a->want, a->bound, a->n, 0);
        k->act->act[a->kind](ip, ip, a->n, a->alpha);
        equal(e, "y in place", ip, y, a->n);
    }
}

static void test_norm_act(struct env *e)
{
    const struct act_case *a = act_case(e, true);
    EACH_TABLE(e, k)
    {
        float *y = out(e, a->n), *ip = copy(e, a->x, a->n);
        k->act->norm_act[a->kind](y, a->x, a->n, &a->c, a->alpha);
        approx(e, "y", y, a->want, a->bound, a->n, 0);
        k->act->norm_act[a->kind](ip, ip, a->n, &a->c, a->alpha);
        equal(e, "y in place", ip, y, a->n);
        k->norm->norm(ip, a->x, a->n, &a->c);
        k->act->act[a->kind](ip, ip, a->n, a->alpha);
        equal(e, "norm, then act", ip, y, a->n);
    }
}

/* As the contract writes it. False: it only bounds the error. */
static bool grad(int kind, float dy, float s, float alpha, float *g)
{
    switch (kind) {
    case CVY_SIGMOID: *g = dy * (s * (1 - s)); break;
    case CVY_TANH: *g = dy * fmaf(-s, s, 1); break;
    case CVY_RELU: *g = s <= 0 ? 0 : dy; break;
    case CVY_LEAKY_RELU: *g = s <= 0 ? alpha * dy : dy; break;
    case CVY_ELU: *g = s <= 0 ? dy * (s + alpha) : dy; break;
    case CVYI_RELU_X: *g = s < 0 ? 0 : dy; break;
    default: return false;
    }
    if (kind == CVYI_RELU_X && s == 0) *g = alpha * dy;
    return true;
}

/* What the forward pass may have saved. */
static void saved_of(int kind, float *saved, size_t n)
{
    for (size_t i = 0; i < n && kind == CVY_SOFTPLUS; i++) saved[i] = fabsf(saved[i]);
}

/* A block of the sums is over after 64 pixels. */
static void end_block(struct cvyi_sums *t)
{
    for (size_t i = 0; i < 4; i++)
        for (size_t l = 0; l < 16; l++) {
            t->before1[i][l] += t->s1[i][l];
            t->s1[i][l] = 0;
            t->before2[i][l] += t->s2[i][l];
            t->s2[i][l] = 0;
        }
}

/* Four chains a lane: pixel p to chain p % 4. */
static void chains(const float *g, const float *d, size_t n, float s1[16], float s2[16])
{
    struct cvyi_sums t = { 0 };
    for (size_t i = 0; i < n; i++) {
        size_t j = i / 16 % 4, l = i % 16;
        if (i % 1024 == 0) end_block(&t);
        t.s1[j][l] += g[i];
        t.s2[j][l] = fmaf(g[i], d[i], t.s2[j][l]);
    }
    end_block(&t);
    for (size_t l = 0; l < 16; l++) {
        s1[l] = (t.before1[0][l] + t.before1[1][l]) + (t.before1[2][l] + t.before1[3][l]);
        s2[l] = (t.before2[0][l] + t.before2[1][l]) + (t.before2[2][l] + t.before2[3][l]);
    }
}

static void test_act_bwd(struct env *e)
{
    static double want[MAX_N], bound[MAX_N];
    static float gw[MAX_N];
    int kind = (int)check_below(&e->rng, CVYI_N_ACTS + 1);
    size_t n = 16 * pixels(e);
    float alpha = check_uniform(&e->rng, 0.01f, 1.5f);
    SHAPE("%s, n %zu, alpha %a", act_name(kind), n, (double)alpha);
    float *dy = in(e, n), *saved = in(e, n);
    bool exact = true;
    saved_of(kind, saved, n);
    for (size_t i = 0; i < n; i++) {
        exact = grad(kind, dy[i], saved[i], alpha, &gw[i]);
        if (exact) continue;
        double slope = check_acts[kind].through(1, (double)saved[i], (double)alpha);
        if (fabs(slope) < 0x1p-100) dy[i] = 1; /* infinity times what may have been flushed */
        want[i] = check_acts[kind].through((double)dy[i], (double)saved[i], (double)alpha);
        bound[i] = check_act_through_error((enum cvy_act_kind)kind, (double)dy[i], want[i]);
    }
    EACH_TABLE(e, k)
    {
        float *g = out(e, n), *ip = copy(e, dy, n);
        k->act->act_bwd[kind](g, dy, saved, n, alpha);
        if (!exact) {
            approx(e, "g", g, want, bound, n, 0);
            memcpy(gw, e->first[0], n * sizeof *g);
        }
        equal(e, "g", g, gw, n);
        k->act->act_bwd[kind](ip, ip, saved, n, alpha);
        equal(e, "g in place", ip, gw, n);
    }
}

/* act_bwd, which has its own test, and the sums of what it gives. */
static void test_act_bwd_reduce(struct env *e)
{
    static float d[MAX_N];
    int kind = (int)check_below(&e->rng, CVYI_N_ACTS + 1);
    size_t n = 16 * pixels(e);
    float alpha = check_uniform(&e->rng, 0.01f, 1.5f), m = check_normal(&e->rng), s1[16], s2[16];
    SHAPE("%s, n %zu, alpha %a, m %a", act_name(kind), n, (double)alpha, (double)m);
    float *dy = in(e, n), *saved = in(e, n), *x = in(e, n), *want = out(e, n);
    saved_of(kind, saved, n);
    for (size_t i = 0; i < n; i++) d[i] = x[i] - m;
    e->isa[0]->act->act_bwd[kind](want, dy, saved, n, alpha);
    chains(want, d, n, s1, s2);
    EACH_TABLE(e, k)
    {
        float *g = out(e, n), *ip = copy(e, dy, n), *t1 = out(e, 16), *t2 = out(e, 16);
        k->act->act_bwd_reduce[kind](g, dy, saved, x, n, alpha, m, t1, t2);
        equal(e, "g", g, want, n);
        equal(e, "s1", t1, s1, 16);
        equal(e, "s2", t2, s2, 16);
        k->act->act_bwd_reduce[kind](ip, ip, saved, x, n, alpha, m, t1, t2);
        equal(e, "g in place", ip, want, n);
        equal(e, "s2 in place", t2, s2, 16);
    }
}

/* act_bwd_reduce and bn_dx of its g, from what was saved and, unless that is made again, from what
 * norm_act or norm would have saved. */
static void each_anew(struct env *e, bool sums)
{
    int kind = (int)check_below(&e->rng, CVYI_N_ACTS + 1);
    bool again = check_below(&e->rng, 2), by_input = kind == CVYI_RELU_X;
    size_t n = 16 * pixels(e);
    unsigned n_lanes = check_below(&e->rng, 2) ? 16 : (unsigned)check_below(&e->rng, 17);
    struct check_rng *r = &e->rng;
    struct cvyi_bn_dx c = { check_normal(r), check_normal(r), check_normal(r), check_normal(r) };
    struct cvyi_act_norm a = { any_affine(e), check_uniform(r, 0.01f, 1.5f) };
    float m = check_normal(r);
    SHAPE("%s, n %zu, n_lanes %u, again %d", act_name(kind), n, n_lanes, again);
    float *dy = in(e, n), *x = in(e, n), *saved = in(e, n);
#define BY_INPUT(NAME, name, constant, value, input, ...) \
    if (kind == CVYI_ACT_##NAME) by_input = input;
    CVY_ACTIVATIONS(BY_INPUT)
    EACH_TABLE(e, k)
    {
        float *g = out(e, n), *dx = out(e, n), *want = out(e, n), *ip = copy(e, dy, n);
        float *t1 = out(e, 16), *t2 = out(e, 16), *s1 = out(e, 16), *s2 = out(e, 16);
        saved_of(kind, saved, n);
        if (again && by_input) k->norm->norm(saved, x, n, &a.c);
        else if (again) k->act->norm_act[kind](saved, x, n, &a.c, a.alpha);
        k->act->act_bwd_reduce[kind](g, dy, saved, x, n, a.alpha, m, s1, s2);
        if (sums) {
            k->act->act_reduce[kind](dy, again ? NULL : saved, x, n, &a, m, t1, t2);
            equal(e, "s1", t1, s1, 16);
            equal(e, "s2", t2, s2, 16);
            continue;
        }
        k->norm->bn_dx(want, g, x, n, &c, n_lanes);
        k->act->act_bn_dx[kind](dx, dy, again ? NULL : saved, x, n, &a, &c, n_lanes);
        equal(e, "dx", dx, want, n);
        k->act->act_bn_dx[kind](ip, ip, again ? NULL : saved, x, n, &a, &c, n_lanes);
        equal(e, "dx in place", ip, want, n);
    }
}

static void test_act_reduce(struct env *e) { each_anew(e, true); }
static void test_act_bn_dx(struct env *e) { each_anew(e, false); }

/* ---- batch normalization */

/* What bn_stats makes of n floats. */
static void shifted_sums(const float *x, size_t n, float k[16], float s[16], float q[16])
{
    static float d[MAX_N];
    const float *x1 = x + n / 64 * 16, *x2 = x1 + n / 64 * 16, *x3 = x2 + n / 64 * 16;
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
    for (int l = 0; l < 16; l++) {
        float d1 = x1[l] - x[l], d2 = x2[l] - x[l], d3 = x3[l] - x[l];
        float low = MIN(0.0f, d1), high = MAX(0.0f, d1), low2 = MIN(d2, d3), high2 = MAX(d2, d3);
        float a = MAX(low, low2), b = MIN(high, high2);
        k[l] = fmaf(a + b, 0.5f, x[l]);
    }
#undef MIN
#undef MAX
    for (size_t i = 0; i < n; i++) d[i] = x[i] - k[i % 16];
    chains(d, d, n, s, q);
}

static void test_bn_stats(struct env *e)
{
    size_t n = 16 * pixels(e);
    float k[16], s[16], q[16];
    SHAPE("n %zu", n);
    const float *x = in(e, n);
    shifted_sums(x, n, k, s, q);
    EACH_TABLE(e, t)
    {
        float *k1 = out(e, 16), *s1 = out(e, 16), *q1 = out(e, 16);
        t->norm->bn_stats(x, n, k1, s1, q1);
        equal(e, "k", k1, k, 16);
        equal(e, "s", s1, s, 16);
        equal(e, "q", q1, q, 16);
    }
}

static void test_bn_reduce(struct env *e)
{
    static float d[MAX_N];
    size_t n = 16 * pixels(e);
    float m = check_normal(&e->rng), s1[16], s2[16];
    SHAPE("n %zu, m %a", n, (double)m);
    float *g = in(e, n), *x = in(e, n);
    for (size_t i = 0; i < n; i++) d[i] = x[i] - m;
    chains(g, d, n, s1, s2);
    EACH_TABLE(e, k)
    {
        float *t1 = out(e, 16), *t2 = out(e, 16);
        k->norm->bn_reduce(g, x, n, m, t1, t2);
        equal(e, "s1", t1, s1, 16);
        equal(e, "s2", t2, s2, 16);
    }
}

static void test_bn_dx(struct env *e)
{
    size_t n = 16 * pixels(e);
    unsigned n_lanes = check_below(&e->rng, 2) ? 16 : (unsigned)check_below(&e->rng, 17);
    struct check_rng *r = &e->rng;
    struct cvyi_bn_dx c = { check_normal(r), check_normal(r), check_normal(r), check_normal(r) };
    SHAPE("n %zu, n_lanes %u", n, n_lanes);
    float *g = in(e, n), *x = in(e, n), *want = out(e, n);
    for (size_t i = 0; i < n; i++)
        want[i] = i % 16 < n_lanes ? fmaf(c.a, g[i], fmaf(c.b, x[i] - c.m, c.c)) : 0;
    EACH_TABLE(e, k)
    {
        float *dx = out(e, n), *ip = copy(e, g, n);
        k->norm->bn_dx(dx, g, x, n, &c, n_lanes);
        equal(e, "dx", dx, want, n);
        k->norm->bn_dx(ip, ip, x, n, &c, n_lanes);
        equal(e, "dx in place", ip, want, n);
    }
}

/* ---- element-wise */

/* The sum or the product of two rows. */
static void two_rows(struct env *e, bool product)
{
    size_t n = 16 * pixels(e);
    SHAPE("n %zu", n);
    float *a = in(e, n), *b = in(e, n), *want = out(e, n);
    for (size_t i = 0; i < n; i++) want[i] = product ? a[i] * b[i] : a[i] + b[i];
    EACH_TABLE(e, k)
    {
        cvyi_add_fn *f = product ? k->rows->mul : k->rows->add;
        float *y = out(e, n), *ip = copy(e, a, n);
        f(y, a, b, n);
        equal(e, "y", y, want, n);
        f(ip, ip, b, n);
        equal(e, "y in place of a", ip, want, n);
        memcpy(ip, b, n * sizeof *b);
        f(ip, a, ip, n);
        equal(e, "y in place of b", ip, want, n);
    }
}

static void test_add(struct env *e) { two_rows(e, false); }
static void test_mul(struct env *e) { two_rows(e, true); }

static void test_scale(struct env *e)
{
    size_t n = 16 * pixels(e);
    float a = check_normal(&e->rng);
    SHAPE("n %zu, a %a", n, (double)a);
    float *x = in(e, n), *want = out(e, n);
    for (size_t i = 0; i < n; i++) want[i] = x[i] * a;
    EACH_TABLE(e, k)
    {
        float *y = out(e, n), *ip = copy(e, x, n);
        k->rows->scale(y, x, n, a);
        equal(e, "y", y, want, n);
        k->rows->scale(ip, ip, n, a);
        equal(e, "y in place", ip, want, n);
    }
}

static void test_mask_scale(struct env *e)
{
    size_t n = 16 * pixels(e);
    float a = check_uniform(&e->rng, 1, 2);
    SHAPE("n %zu, a %a", n, (double)a);
    float *x = in(e, n), *want = out(e, n);
    uint16_t *mask = raw(e, n / 16 * sizeof *mask);
    for (size_t i = 0; i < n / 16; i++) mask[i] = (uint16_t)check_u64(&e->rng);
    for (size_t i = 0; i < n; i++) want[i] = mask[i / 16] >> i % 16 & 1 ? x[i] * a : 0;
    EACH_TABLE(e, k)
    {
        float *y = out(e, n), *ip = copy(e, x, n);
        k->rows->mask_scale(y, x, mask, n, a);
        equal(e, "y", y, want, n);
        k->rows->mask_scale(ip, ip, mask, n, a);
        equal(e, "y in place", ip, want, n);
    }
}

/* Rows or pixels of any number of their neighbours, none among them. */
static void test_blend(struct env *e)
{
    enum { RESULTS = 9, MOST = 5, SOURCES = 12 };
    size_t n = 16 * (check_below(&e->rng, 2) ? 1 : 1 + check_below(&e->rng, 20));
    uint32_t *first = raw(e, RESULTS * sizeof *first),
             *start = raw(e, (RESULTS + 1) * sizeof *start);
    float *weight = out(e, RESULTS * MOST), *x = in(e, SOURCES * n), *want = out(e, RESULTS * n);
    size_t i0 = check_below(&e->rng, RESULTS), i1 = i0 + check_below(&e->rng, RESULTS - i0 + 1);
    start[0] = 0;
    for (size_t i = 0; i < RESULTS; i++) {
        size_t count = check_below(&e->rng, MOST + 1);
        first[i] = (uint32_t)check_below(&e->rng, SOURCES - count + 1);
        start[i + 1] = start[i] + (uint32_t)count;
        for (size_t k = 0; k < count; k++) weight[start[i] + k] = check_normal(&e->rng);
    }
    SHAPE("n %zu, results %zu to %zu", n, i0, i1);
    for (size_t i = i0; i < i1; i++)
        for (size_t at = 0; at < n; at++) {
            float sum = 0;
            for (size_t k = start[i]; k < start[i + 1]; k++) {
                float v = x[(first[i] + k - start[i]) * n + at];
                sum = k == start[i] ? weight[k] * v : fmaf(weight[k], v, sum);
            }
            want[(i - i0) * n + at] = sum;
        }
    const struct cvyi_taps taps = { first, start, weight };
    EACH_TABLE(e, k)
    {
        float *y = out(e, (i1 - i0) * n);
        k->rows->blend(y, x, n, &taps, i0, i1);
        equal(e, "y", y, want, (i1 - i0) * n);
    }
}

/* ---- maps of one pixel */

static double four_chains(const double *x, unsigned n)
{
    double s[4] = { 0 };
    for (unsigned l = 0; l < n; l++) s[l & 3] += x[l];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

static void equal_doubles(struct env *e, const char *what, const double *got, const double *want,
                          size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(got[i] == want[i]) && !(isnan(got[i]) && isnan(want[i])))
            fail_at(e, what, i, got[i], want[i]);
}

static void test_each_stats(struct env *e)
{
    size_t n = 1 + check_below(&e->rng, 50);
    unsigned n_lanes = check_below(&e->rng, 2) ? 16 : 1 + (unsigned)check_below(&e->rng, 16);
    const float *x = in(e, n * 16);
    double *mean = doubles(e, n), *m2 = doubles(e, n);
    SHAPE("n %zu lanes %u", n, n_lanes);
    for (size_t i = 0; i < n; i++) {
        double v[16];
        for (unsigned l = 0; l < n_lanes; l++) v[l] = (double)x[i * 16 + l];
        mean[i] = four_chains(v, n_lanes) / n_lanes;
        for (unsigned l = 0; l < n_lanes; l++) v[l] = (v[l] - mean[i]) * (v[l] - mean[i]);
        m2[i] = four_chains(v, n_lanes);
    }
    EACH_TABLE(e, k)
    {
        double *u = doubles(e, n), *v = doubles(e, n);
        k->norm->each_stats(x, n, n_lanes, u, v);
        equal_doubles(e, "mean", u, mean, n);
        equal_doubles(e, "m2", v, m2, n);
    }
}

static void test_each_norm(struct env *e)
{
    size_t n = 1 + check_below(&e->rng, 50);
    const float *x = in(e, n * 16);
    float *c = in(e, n * 3), *want = out(e, n * 16);
    SHAPE("n %zu", n);
    for (size_t i = 0; i < n * 16; i++) {
        const float *a = c + i / 16 * 3;
        want[i] = fmaf(a[1], x[i] - a[0], a[2]);
    }
    EACH_TABLE(e, k)
    {
        bool in_place = check_below(&e->rng, 2);
        float *y = in_place ? copy(e, x, n * 16) : out(e, n * 16);
        k->norm->each_norm(y, in_place ? y : x, n, (const struct cvyi_affine *)c);
        equal(e, "y", y, want, n * 16);
    }
}

static void test_each_reduce(struct env *e)
{
    size_t n = 1 + check_below(&e->rng, 50);
    const float *g = in(e, n * 16), *x = in(e, n * 16);
    double *mean = doubles(e, n), *s1 = doubles(e, n), *s2 = doubles(e, n);
    SHAPE("n %zu", n);
    for (size_t i = 0; i < n; i++) {
        double a[16], b[16];
        mean[i] = (double)check_normal(&e->rng) * (1 + 0x1p-30);
        for (size_t l = 0; l < 16; l++) {
            float product = g[i * 16 + l] * (x[i * 16 + l] - (float)mean[i]);
            a[l] = (double)g[i * 16 + l];
            b[l] = (double)product;
        }
        s1[i] = four_chains(a, 16);
        s2[i] = four_chains(b, 16);
    }
    EACH_TABLE(e, k)
    {
        double *u = doubles(e, n), *v = doubles(e, n);
        k->norm->each_reduce(g, x, n, mean, u, v);
        equal_doubles(e, "s1", u, s1, n);
        equal_doubles(e, "s2", v, s2, n);
    }
}

static void test_each_bn_dx(struct env *e)
{
    size_t n = 1 + check_below(&e->rng, 50);
    unsigned n_lanes = check_below(&e->rng, 2) ? 16 : 1 + (unsigned)check_below(&e->rng, 16);
    const float *g = in(e, n * 16), *x = in(e, n * 16);
    float *c = in(e, n * 4), *want = out(e, n * 16);
    SHAPE("n %zu lanes %u", n, n_lanes);
    for (size_t i = 0; i < n * 16; i++) {
        const float *a = c + i / 16 * 4;
        want[i] = i % 16 < n_lanes ? fmaf(a[1], g[i], fmaf(a[2], x[i] - a[0], a[3])) : 0;
    }
    EACH_TABLE(e, k)
    {
        int place = (int)check_below(&e->rng, 3);
        float *dx; /* a buffer of its own, or in place of g or of x */
        if (place) dx = copy(e, place == 1 ? g : x, n * 16);
        else dx = out(e, n * 16);
        k->norm->each_bn_dx(dx, place == 1 ? dx : g, place == 2 ? dx : x, n,
                            (const struct cvyi_bn_dx *)c, n_lanes);
        equal(e, "dx", dx, want, n * 16);
    }
}

/* ---- statistics of a lane's own */

static void test_lane_stats(struct env *e)
{
    size_t n = 16 * pixels(e);
    const float *x = in(e, n);
    double mean[16] = { 0 }, m2[16] = { 0 };
    SHAPE("n %zu", n);
    for (size_t i = 0; i < n; i += 16 * CVYI_LANE_SUM) {
        size_t floats = n - i < 16 * CVYI_LANE_SUM ? n - i : 16 * CVYI_LANE_SUM, m = floats / 16;
        double inv = 1.0 / (double)m, na = (double)(i / 16), w = (double)m / (na + (double)m);
        float k[16], s[16], q[16];
        shifted_sums(x + i, floats, k, s, q);
        for (size_t l = 0; l < 16; l++) {
            double shift = (double)s[l] * inv, u = (double)k[l] + shift,
                   v = (double)q[l] - (double)s[l] * shift;
            if (v < 0) v = 0;
            if (!isfinite(v)) {
                u = v = 0;
                for (size_t p = 0; p < m; p++) u += (double)x[i + p * 16 + l];
                u /= (double)m;
                for (size_t p = 0; p < m; p++) {
                    double d = (double)x[i + p * 16 + l] - u;
                    v += d * d;
                }
            }
            double d = u - mean[l];
            mean[l] += d * w;
            m2[l] += v + d * d * (na * w);
        }
    }
    EACH_TABLE(e, k)
    {
        double *u = doubles(e, 16), *v = doubles(e, 16);
        k->norm->lane_stats(x, n, u, v);
        equal_doubles(e, "mean", u, mean, 16);
        equal_doubles(e, "m2", v, m2, 16);
    }
}

/* gamma and beta of n pixels, or one for all of them. */
static struct cvyi_lane_affine any_lane_affine(struct env *e, size_t n)
{
    size_t each = check_below(&e->rng, 2), other = check_below(&e->rng, 2);
    return (struct cvyi_lane_affine){ in(e, each ? n : 1), in(e, other ? n : 1), each, other };
}

static void test_lane_norm(struct env *e)
{
    size_t n = pixels(e);
    const float *x = in(e, n * 16);
    struct cvyi_lane_affine a = any_lane_affine(e, n);
    float *c = in(e, 3 * 16), *want = out(e, n * 16);
    SHAPE("n %zu, steps %zu %zu", n, a.gamma_step, a.beta_step);
    for (size_t i = 0; i < n * 16; i++) {
        size_t l = i % 16, p = i / 16;
        float xhat = fmaf(c[16 + l], x[i] - c[l], c[32 + l]);
        want[i] = fmaf(a.gamma[p * a.gamma_step], xhat, a.beta[p * a.beta_step]);
    }
    EACH_TABLE(e, k)
    {
        bool in_place = check_below(&e->rng, 2);
        float *y = in_place ? copy(e, x, n * 16) : out(e, n * 16);
        k->norm->lane_norm(y, in_place ? y : x, n * 16, (const struct cvyi_lane_norm *)c, &a);
        equal(e, "y", y, want, n * 16);
    }
}

static void test_lane_reduce(struct env *e)
{
    static float weighted[MAX_N], d[MAX_N];
    size_t n = pixels(e);
    const float *g = in(e, n * 16), *x = in(e, n * 16), *m = in(e, 16);
    struct cvyi_lane_affine a = any_lane_affine(e, n);
    double begin = (double)check_normal(&e->rng), s1[16], s2[16];
    SHAPE("n %zu, step %zu", n, a.gamma_step);
    for (size_t l = 0; l < 16; l++) s1[l] = s2[l] = begin;
    for (size_t i = 0; i < n * 16; i++) {
        weighted[i] = a.gamma[i / 16 * a.gamma_step] * g[i];
        d[i] = x[i] - m[i % 16];
    }
    for (size_t i = 0; i < n * 16; i += 16 * CVYI_LANE_SUM) {
        float t1[16], t2[16];
        size_t left = n * 16 - i;
        chains(weighted + i, d + i, left < 16 * CVYI_LANE_SUM ? left : 16 * CVYI_LANE_SUM, t1, t2);
        for (size_t l = 0; l < 16; l++) {
            s1[l] += (double)t1[l];
            s2[l] += (double)t2[l];
        }
    }
    EACH_TABLE(e, k)
    {
        double *u = doubles(e, 16), *v = doubles(e, 16);
        for (size_t l = 0; l < 16; l++) u[l] = v[l] = begin;
        k->norm->lane_reduce(g, x, n * 16, m, &a, u, v);
        equal_doubles(e, "s1", u, s1, 16);
        equal_doubles(e, "s2", v, s2, 16);
    }
}

static void test_lane_dx(struct env *e)
{
    size_t n = pixels(e);
    unsigned n_lanes = check_below(&e->rng, 2) ? 16 : (unsigned)check_below(&e->rng, 17);
    const float *g = in(e, n * 16), *x = in(e, n * 16);
    struct cvyi_lane_affine a = any_lane_affine(e, n);
    float *c = in(e, 4 * 16), *want = out(e, n * 16);
    SHAPE("n %zu lanes %u, step %zu", n, n_lanes, a.gamma_step);
    for (size_t i = 0; i < n * 16; i++) {
        size_t l = i % 16;
        float weighted = a.gamma[i / 16 * a.gamma_step] * g[i],
              rest = fmaf(c[32 + l], x[i] - c[l], c[48 + l]);
        want[i] = l < n_lanes ? fmaf(c[16 + l], weighted, rest) : 0;
    }
    EACH_TABLE(e, k)
    {
        int place = (int)check_below(&e->rng, 3);
        float *dx = out(e, n * 16);
        if (place) memcpy(dx, place == 1 ? g : x, n * 16 * sizeof *dx);
        k->norm->lane_dx(dx, place == 1 ? dx : g, place == 2 ? dx : x, n * 16,
                         (const struct cvyi_lane_dx *)c, &a, n_lanes);
        equal(e, "dx", dx, want, n * 16);
    }
}

static void test_lane_columns(struct env *e)
{
    size_t n = 1 + check_below(&e->rng, 50);
    const float *g = in(e, n * 16), *x = in(e, n * 16), *c = in(e, 3 * 16);
    double *s1 = doubles(e, n), *s2 = doubles(e, n), begin = (double)check_normal(&e->rng);
    SHAPE("n %zu", n);
    for (size_t i = 0; i < n; i++) {
        double a[16], b[16];
        for (size_t l = 0; l < 16; l++) {
            float xhat = fmaf(c[16 + l], x[i * 16 + l] - c[l], c[32 + l]);
            a[l] = (double)g[i * 16 + l];
            b[l] = (double)(g[i * 16 + l] * xhat);
        }
        s1[i] = begin + four_chains(a, 16);
        s2[i] = begin + four_chains(b, 16);
    }
    EACH_TABLE(e, k)
    {
        double *u = doubles(e, n), *v = doubles(e, n);
        for (size_t i = 0; i < n; i++) u[i] = v[i] = begin;
        k->norm->lane_columns(g, x, n, (const struct cvyi_lane_norm *)c, u, v);
        equal_doubles(e, "s1", u, s1, n);
        equal_doubles(e, "s2", v, s2, n);
    }
}

/* ---- pooling */

#define MAX_ROWS 5

struct pool_case {
    struct cvyi_pool p;
    size_t n_rows;
    float *x[MAX_ROWS], *dy, *inv;
};

/* One of few values, so that neighbours are often equal. */
static float any_tie(struct env *e)
{
    if (e->specials && !check_below(&e->rng, 9)) return NAN;
    if (e->specials && !check_below(&e->rng, 4)) return -0.0f;
    return (float)check_below(&e->rng, 3);
}

static struct pool_case any_pool(struct env *e)
{
    struct check_rng *r = &e->rng;
    struct pool_case c;
    /* also averages of more than one chain a row */
    c.p.kw = 1 + check_below(r, check_below(r, 6) ? 5 : 40);
    c.p.sw = 1 + check_below(r, 4);
    c.p.pl = check_below(r, c.p.kw);
    c.p.iw = 1 + check_below(r, check_below(r, 3) ? 9 : 40);
    c.p.ow = 1 + check_below(r, (c.p.iw - 1 + c.p.pl) / c.p.sw + 1);
    c.p.apart = c.p.sw >= c.p.kw && check_below(r, 4);
    c.n_rows = 1 + check_below(r, MAX_ROWS);
    bool ties = check_below(r, 2);
    SHAPE("ow %zu iw %zu kw %zu sw %zu pl %zu rows %zu", c.p.ow, c.p.iw, c.p.kw, c.p.sw, c.p.pl,
          c.n_rows);
    for (size_t j = 0; j < c.n_rows; j++) {
        c.x[j] = in(e, c.p.iw * 16);
        for (size_t i = 0; ties && i < c.p.iw * 16; i++) c.x[j][i] = any_tie(e);
    }
    c.dy = in(e, c.p.ow * 16);
    c.inv = out(e, c.p.ow);
    for (size_t i = 0; i < c.p.ow; i++) c.inv[i] = 1 / (float)(1 + check_below(r, 25));
    return c;
}

/* The clipped window of column q. */
static void window(const struct cvyi_pool *p, size_t q, size_t *c0, size_t *c1)
{
    ptrdiff_t lo = (ptrdiff_t)(q * p->sw) - (ptrdiff_t)p->pl, hi = lo + (ptrdiff_t)p->kw;
    *c0 = lo > 0 ? (size_t)lo : 0;
    *c1 = (size_t)hi < p->iw ? (size_t)hi : p->iw;
}

/* The index of the first maximum or NaN of the window in scan order (row * iw + column). */
static size_t max_at(const struct pool_case *c, size_t q, size_t l)
{
    size_t c0, c1, at = SIZE_MAX;
    float best = 0;
    window(&c->p, q, &c0, &c1);
    for (size_t r = 0; r < c->n_rows; r++)
        for (size_t i = c0; i < c1; i++) {
            float v = c->x[r][i * 16 + l];
            if (at == SIZE_MAX || v > best || (isnan(v) && !isnan(best))) {
                best = v;
                at = r * c->p.iw + i;
            }
        }
    return at;
}

static void test_pool_max(struct env *e)
{
    struct pool_case c = any_pool(e);
    float *want = out(e, c.p.ow * 16);
    for (size_t i = 0; i < c.p.ow * 16; i++) {
        size_t at = max_at(&c, i / 16, i % 16);
        want[i] = c.x[at / c.p.iw][at % c.p.iw * 16 + i % 16];
    }
    EACH_TABLE(e, k)
    {
        float *y = out(e, c.p.ow * 16);
        k->pool->pool_max(&c.p, y, (const float *const *)c.x, c.n_rows);
        equal(e, "y", y, want, c.p.ow * 16);
    }
}

static void zeros(struct env *e, const struct pool_case *c, float *dx[MAX_ROWS])
{
    for (size_t r = 0; r < c->n_rows; r++)
        dx[r] = memset(out(e, c->p.iw * 16), 0, c->p.iw * 16 * sizeof(float));
}

static void test_pool_max_bwd(struct env *e)
{
    struct pool_case c = any_pool(e);
    int tie = (int)check_below(&e->rng, 3);
    float *want[MAX_ROWS], *dx[MAX_ROWS];
    SHAPE("ow %zu iw %zu kw %zu sw %zu pl %zu rows %zu tie %d%s", c.p.ow, c.p.iw, c.p.kw, c.p.sw,
          c.p.pl, c.n_rows, tie, c.p.apart ? ", apart" : "");
    zeros(e, &c, want);
    for (size_t i = 0; i < c.p.ow * 16; i++) {
        size_t q = i / 16, l = i % 16, at = max_at(&c, q, l), c0, c1, count = 0;
        float best = c.x[at / c.p.iw][at % c.p.iw * 16 + l];
        window(&c.p, q, &c0, &c1);
        for (int pass = 0; pass < 2; pass++)
            for (size_t r = 0; r < c.n_rows; r++)
                for (size_t j = c0; j < c1; j++) {
                    float v = c.x[r][j * 16 + l];
                    if (!(v == best || (isnan(v) && isnan(best))) ||
                        (tie == 0 && r * c.p.iw + j != at))
                        continue;
                    if (pass == 0) count++;
                    else want[r][j * 16 + l] += tie == 2 ? c.dy[i] / (float)count : c.dy[i];
                }
    }
    EACH_TABLE(e, k)
    {
        zeros(e, &c, dx);
        k->pool->pool_max_bwd(&c.p, dx, c.dy, (const float *const *)c.x, c.n_rows, tie);
        for (size_t r = 0; r < c.n_rows; r++) equal(e, "dx", dx[r], want[r], c.p.iw * 16);
    }
}

/* Windows that tile the row, and what picking needs of them. */
struct argmax_case {
    struct pool_case c;
    size_t n;
    uint8_t *at;
    float *picked, *g;
    size_t first;
};

static void argmax(struct argmax_case *k)
{
    size_t iw = k->c.p.iw, kw = k->c.p.kw;
    for (size_t i = 0; i < k->n; i++) {
        size_t at = max_at(&k->c, i / 16, i % 16), r = at / iw, column = at % iw;
        k->at[i] = (uint8_t)(r * kw + column - i / 16 * kw);
        k->picked[i] = k->c.x[r][column * 16 + i % 16];
    }
}

static struct argmax_case any_argmax(struct env *e)
{
    struct argmax_case k = { .c = any_pool(e) };
    struct cvyi_pool *p = &k.c.p;
    p->kw = check_below(&e->rng, 2) ? 2 : 1 + check_below(&e->rng, 4);
    p->sw = p->kw;
    p->pl = 0;
    p->apart = true;
    p->ow = 1 + check_below(&e->rng, 9);
    /* the last is clipped, or a rest stays */
    p->iw = (p->ow - 1) * p->kw + 1 + check_below(&e->rng, (uint32_t)p->kw + 2);
    k.n = p->ow * 16;
    bool ties = check_below(&e->rng, 2);
    for (size_t r = 0; r < k.c.n_rows; r++) {
        k.c.x[r] = in(e, p->iw * 16);
        for (size_t i = 0; ties && i < p->iw * 16; i++)
            k.c.x[r][i] = (float)check_below(&e->rng, 3);
    }
    k.at = raw(e, k.n);
    k.picked = out(e, k.n);
    k.g = in(e, k.n);
    argmax(&k);
    k.first = check_below(&e->rng, (uint32_t)k.c.n_rows) * p->kw;
    SHAPE("ow %zu iw %zu kw %zu rows %zu first %zu", p->ow, p->iw, p->kw, k.c.n_rows, k.first);
    return k;
}

/* The gradient of pixel i of the row. */
static float spread(const struct argmax_case *k, size_t i)
{
    size_t c = i / 16, q = c / k->c.p.kw, o = q * 16 + i % 16;
    return q < k->c.p.ow && k->at[o] == k->first + c % k->c.p.kw ? k->g[o] : 0;
}

static void test_pool_argmax(struct env *e)
{
    struct argmax_case c = any_argmax(e);
    struct cvyi_affine a = { check_normal(&e->rng), check_normal(&e->rng), check_normal(&e->rng) };
    bool normalised = check_below(&e->rng, 2), beside = check_below(&e->rng, 2);
    float *x[MAX_ROWS], *want = out(e, c.n);
    for (size_t r = 0; r < c.c.n_rows; r++) {
        x[r] = c.c.x[r];
        if (!normalised) continue;
        c.c.x[r] = out(e, c.c.p.iw * 16);
        for (size_t i = 0; i < c.c.p.iw * 16; i++) c.c.x[r][i] = fmaf(a.a, x[r][i] - a.m, a.b);
    }
    argmax(&c);
    for (size_t i = 0; i < c.n; i++) {
        size_t r = c.at[i] / c.c.p.kw, o = (i / 16 * c.c.p.kw + c.at[i] % c.c.p.kw) * 16 + i % 16;
        want[i] = c.c.x[r][o];
        c.picked[i] = x[r][o];
    }
    EACH_TABLE(e, k)
    {
        float *y = out(e, c.n), *picked = out(e, c.n);
        uint8_t *at = raw(e, c.n);
        k->pool->pool_argmax(&c.c.p, y, at, beside ? picked : NULL, (const float *const *)x,
                             normalised ? &a : NULL, c.c.n_rows);
        equal(e, "y", y, want, c.n);
        if (beside) equal(e, "picked", picked, c.picked, c.n);
        for (size_t i = 0; i < c.n; i++)
            if (at[i] != c.at[i]) fail_at(e, "at", i, at[i], c.at[i]);
    }
}

static void test_argmax_bwd(struct env *e)
{
    struct argmax_case c = any_argmax(e);
    size_t n = c.c.p.iw * 16;
    float *want = out(e, n);
    for (size_t i = 0; i < n; i++) want[i] = spread(&c, i);
    EACH_TABLE(e, k)
    {
        float *dx = out(e, n);
        k->pool->argmax_bwd(&c.c.p, dx, c.g, c.at, c.first);
        equal(e, "dx", dx, want, n);
    }
}

static void test_argmax_reduce(struct env *e)
{
    struct argmax_case c = any_argmax(e);
    float m = check_normal(&e->rng);
    size_t start = check_below(&e->rng, 1000), covered = c.c.p.ow * c.c.p.kw;
    struct cvyi_sums begin, want;
    for (size_t i = 0; i < 4; i++)
        for (size_t l = 0; l < 16; l++) {
            begin.s1[i][l] = check_normal(&e->rng);
            begin.s2[i][l] = check_normal(&e->rng);
            begin.before1[i][l] = check_normal(&e->rng);
            begin.before2[i][l] = check_normal(&e->rng);
        }
    want = begin;
    for (size_t i = 0; i < c.c.p.iw * 16; i++) {
        size_t l = i % 16, s = (start + i / 16) & 3;
        size_t q = i / 16 / c.c.p.kw;
        if (l == 0 && i && (start + i / 16) % 64 == 0) end_block(&want);
        if (i / 16 >= covered || c.at[q * 16 + l] != c.first + i / 16 % c.c.p.kw) continue;
        float g = c.g[q * 16 + l], x = c.picked[q * 16 + l];
        want.s1[s][l] += g;
        want.s2[s][l] = fmaf(g, x - m, want.s2[s][l]);
    }
    if ((start + c.c.p.iw) % 64 == 0) end_block(&want);
    EACH_TABLE(e, k)
    {
        struct cvyi_sums sums = begin;
        k->pool->argmax_reduce(&c.c.p, &sums, start, c.g, c.at, c.picked, c.first, m);
        equal(e, "s1 before", sums.before1[0], want.before1[0], 64);
        equal(e, "s2 before", sums.before2[0], want.before2[0], 64);
        equal(e, "s1", sums.s1[0], want.s1[0], 64);
        equal(e, "s2", sums.s2[0], want.s2[0], 64);
    }
}

static void test_argmax_bn_dx(struct env *e)
{
    struct argmax_case c = any_argmax(e);
    unsigned n_lanes = check_below(&e->rng, 2) ? 16 : 1 + (unsigned)check_below(&e->rng, 16);
    struct cvyi_bn_dx a = { check_normal(&e->rng), check_normal(&e->rng), check_normal(&e->rng),
                            check_normal(&e->rng) };
    size_t n = c.c.p.iw * 16;
    float *want = out(e, n);
    for (size_t i = 0; i < n; i++)
        want[i] =
            i % 16 < n_lanes ? fmaf(a.a, spread(&c, i), fmaf(a.b, c.c.x[0][i] - a.m, a.c)) : 0;
    EACH_TABLE(e, k)
    {
        bool in_place = check_below(&e->rng, 2);
        float *dx = in_place ? copy(e, c.c.x[0], n) : out(e, n);
        k->pool->argmax_bn_dx(&c.c.p, dx, in_place ? dx : c.c.x[0], c.g, c.at, c.first, &a,
                              n_lanes);
        equal(e, "dx", dx, want, n);
    }
}

static void test_pool_avg(struct env *e)
{
    struct pool_case c = any_pool(e);
    float *want = out(e, c.p.ow * 16);
    for (size_t i = 0; i < c.p.ow * 16; i++) {
        size_t c0, c1;
        float sum = 0, run = 0;
        double exact = 0, mass = 0, wide = 0;
        window(&c.p, i / 16, &c0, &c1);
        for (size_t r = 0; r < c.n_rows; r++)
            for (size_t j = c0; j < c1; j++) {
                double v = (double)c.x[r][j * 16 + i % 16];
                sum += (float)v;
                run = (j - c0) % 16 ? run + (float)v : 0.0f + (float)v;
                if (j + 1 == c1 || (j + 1 - c0) % 16 == 0) wide += (double)run;
                exact += v;
                mass += fabs(v);
            }
        bool large = c.n_rows * c.p.kw > 16;
        want[i] = large ? (float)(wide * (double)c.inv[i / 16]) : sum * c.inv[i / 16];
        if (!e->specials)
            assert_true(fabs((double)want[i] - exact * (double)c.inv[i / 16]) <=
                        17 * U * mass * (double)c.inv[i / 16]);
    }
    EACH_TABLE(e, k)
    {
        float *y = out(e, c.p.ow * 16);
        k->pool->pool_avg(&c.p, y, (const float *const *)c.x, c.n_rows, c.inv);
        equal(e, "y", y, want, c.p.ow * 16);
    }
}

/* Rows of doubles, and of what they are at the beginning. */
static void wide_rows(struct env *e, const struct pool_case *c, double *const begin[MAX_ROWS],
                      double *dx[MAX_ROWS])
{
    size_t n = c->p.iw * 16;
    for (size_t r = 0; r < c->n_rows; r++) {
        dx[r] = raw_of(e, n * sizeof(double), sizeof(double));
        for (size_t i = 0; i < n; i++)
            dx[r][i] = begin ? begin[r][i] : (double)check_normal(&e->rng) * 1e-9;
    }
}

static void equal_wide(struct env *e, const struct pool_case *c, double *const got[MAX_ROWS],
                       double *const want[MAX_ROWS])
{
    for (size_t r = 0; r < c->n_rows; r++)
        for (size_t i = 0; i < c->p.iw * 16; i++)
            if (got[r][i] != want[r][i] && !(isnan(got[r][i]) && isnan(want[r][i])))
                fail_at(e, "dx", i, got[r][i], want[r][i]);
}

/* What the narrow kernel gives to each pixel of a window, which has its own test, in double. */
static void test_pool_max_bwd_wide(struct env *e)
{
    struct pool_case c = any_pool(e);
    int tie = (int)check_below(&e->rng, 3);
    double *begin[MAX_ROWS], *want[MAX_ROWS], *dx[MAX_ROWS];
    float *one[MAX_ROWS];
    wide_rows(e, &c, NULL, begin);
    wide_rows(e, &c, begin, want);
    for (size_t q = 0; q < c.p.ow; q++) {
        size_t c0, c1;
        window(&c.p, q, &c0, &c1);
        struct cvyi_pool single = { .ow = 1, .iw = c1 - c0, .kw = c1 - c0, .sw = 1 };
        const float *x[MAX_ROWS];
        for (size_t r = 0; r < c.n_rows; r++) {
            x[r] = c.x[r] + c0 * 16;
            one[r] =
                memset(malloc((c1 - c0) * 16 * sizeof(float)), 0, (c1 - c0) * 16 * sizeof(float));
        }
        e->isa[0]->pool->pool_max_bwd(&single, one, c.dy + q * 16, x, c.n_rows, tie);
        for (size_t r = 0; r < c.n_rows; r++) {
            for (size_t i = 0; i < (c1 - c0) * 16; i++) want[r][c0 * 16 + i] += (double)one[r][i];
            free(one[r]);
        }
    }
    EACH_TABLE(e, k)
    {
        wide_rows(e, &c, begin, dx);
        k->pool->pool_max_bwd_wide(&c.p, dx, c.dy, (const float *const *)c.x, c.n_rows, tie);
        equal_wide(e, &c, dx, want);
    }
}

static void test_pool_avg_bwd_wide(struct env *e)
{
    struct pool_case c = any_pool(e);
    double *begin[MAX_ROWS], *want[MAX_ROWS], *dx[MAX_ROWS];
    wide_rows(e, &c, NULL, begin);
    wide_rows(e, &c, begin, want);
    for (size_t i = 0; i < c.p.ow * 16; i++) {
        size_t c0, c1;
        window(&c.p, i / 16, &c0, &c1);
        for (size_t r = 0; r < c.n_rows; r++)
            for (size_t j = c0; j < c1; j++)
                want[r][j * 16 + i % 16] += (double)(c.dy[i] * c.inv[i / 16]);
    }
    EACH_TABLE(e, k)
    {
        wide_rows(e, &c, begin, dx);
        k->pool->pool_avg_bwd_wide(&c.p, dx, c.dy, c.n_rows, c.inv);
        equal_wide(e, &c, dx, want);
    }
}

static void test_narrow(struct env *e)
{
    size_t n = 16 * pixels(e);
    float *want = out(e, n);
    double *x = raw_of(e, n * sizeof *x, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = (double)check_any(&e->rng, e->specials) * (1 + 0x1p-30);
        want[i] = (float)x[i];
    }
    EACH_TABLE(e, k)
    {
        float *y = out(e, n);
        k->rows->narrow(y, x, n);
        equal(e, "y", y, want, n);
    }
}

static void test_pool_avg_bwd(struct env *e)
{
    struct pool_case c = any_pool(e);
    float *want[MAX_ROWS], *dx[MAX_ROWS];
    zeros(e, &c, want);
    for (size_t i = 0; i < c.p.ow * 16; i++) {
        size_t c0, c1;
        window(&c.p, i / 16, &c0, &c1);
        for (size_t r = 0; r < c.n_rows; r++)
            for (size_t j = c0; j < c1; j++) want[r][j * 16 + i % 16] += c.dy[i] * c.inv[i / 16];
    }
    EACH_TABLE(e, k)
    {
        zeros(e, &c, dx);
        k->pool->pool_avg_bwd(&c.p, dx, c.dy, c.n_rows, c.inv);
        for (size_t r = 0; r < c.n_rows; r++) equal(e, "dx", dx[r], want[r], c.p.iw * 16);
    }
}

/* ---- lanes */

static unsigned any_lanes(struct env *e)
{
    return check_below(&e->rng, 2) ? 16 : 1 + (unsigned)check_below(&e->rng, 16);
}

static void test_ingest_u8(struct env *e)
{
    size_t n = 1 + check_below(&e->rng, 100);
    unsigned n_lanes = any_lanes(e);
    const float scale = check_normal(&e->rng), *shift = in(e, n);
    SHAPE("n %zu, n_lanes %u", n, n_lanes);
    const uint8_t *src[16] = { NULL };
    float *want = out(e, n * 16);
    memset(want, 0, n * 16 * sizeof *want);
    for (unsigned l = 0; l < n_lanes; l++) {
        uint8_t *p = raw(e, n);
        for (size_t i = 0; i < n; i++) {
            p[i] = (uint8_t)check_u64(&e->rng);
            want[i * 16 + l] = fmaf(p[i], scale, shift[i]);
        }
        src[l] = p;
    }
    EACH_TABLE(e, k)
    {
        float *dst = out(e, n * 16);
        k->lanes->ingest_u8(dst, src, n, n_lanes, scale, shift);
        equal(e, "dst", dst, want, n * 16);
    }
}

static void test_ingest_f32(struct env *e)
{
    size_t n = 1 + check_below(&e->rng, 100);
    unsigned n_lanes = any_lanes(e);
    const float scale = check_normal(&e->rng), *shift = in(e, n);
    SHAPE("n %zu, n_lanes %u", n, n_lanes);
    const float *src[16] = { NULL };
    float *want = out(e, n * 16);
    memset(want, 0, n * 16 * sizeof *want);
    for (unsigned l = 0; l < n_lanes; l++) {
        src[l] = in(e, n);
        for (size_t i = 0; i < n; i++) want[i * 16 + l] = fmaf(src[l][i], scale, shift[i]);
    }
    EACH_TABLE(e, k)
    {
        float *dst = out(e, n * 16);
        k->lanes->ingest_f32(dst, src, n, n_lanes, scale, shift);
        equal(e, "dst", dst, want, n * 16);
    }
}

static void test_to_lanes(struct env *e)
{
    size_t n = 1 + check_below(&e->rng, 100);
    unsigned n_lanes = any_lanes(e);
    SHAPE("n %zu, n_lanes %u", n, n_lanes);
    const float *src[16] = { NULL };
    float *want = out(e, n * 16);
    memset(want, 0, n * 16 * sizeof *want);
    for (unsigned l = 0; l < n_lanes; l++) {
        src[l] = in(e, n);
        for (size_t i = 0; i < n; i++) want[i * 16 + l] = src[l][i];
    }
    EACH_TABLE(e, k)
    {
        float *dst = out(e, n * 16);
        k->lanes->to_lanes(dst, src, n, n_lanes);
        equal(e, "dst", dst, want, n * 16);
    }
}

static void test_from_lanes(struct env *e)
{
    size_t n = 1 + check_below(&e->rng, 100);
    unsigned n_lanes = any_lanes(e);
    SHAPE("n %zu, n_lanes %u", n, n_lanes);
    float *src = in(e, n * 16), *want = out(e, n), *dst[16] = { NULL };
    EACH_TABLE(e, k)
    {
        for (unsigned l = 0; l < n_lanes; l++) dst[l] = out(e, n);
        k->lanes->from_lanes(dst, src, n, n_lanes);
        for (unsigned l = 0; l < n_lanes; l++) {
            for (size_t i = 0; i < n; i++) want[i] = src[i * 16 + l];
            equal(e, "dst", dst[l], want, n);
        }
    }
}

static void test_transpose(struct env *e)
{
    size_t n = 1 + check_below(&e->rng, 70),
           n_pad = (n + 15) / 16 * 16 + 16 * check_below(&e->rng, 2);
    size_t dst_n = n_pad + 16 * check_below(&e->rng, 3), src_o = 16 * (1 + check_below(&e->rng, 4));
    size_t total = 15 * dst_n + n_pad;
    SHAPE("n %zu, n_pad %zu, dst_n %zu, src_o %zu", n, n_pad, dst_n, src_o);
    float *src = in(e, (n - 1) * src_o + 16), *want = out(e, total);
    for (size_t l = 0; l < 16; l++)
        for (size_t o = 0; o < n_pad; o++) want[l * dst_n + o] = o < n ? src[o * src_o + l] : 0;
    EACH_TABLE(e, k)
    {
        float *dst = out(e, total);
        k->lanes->transpose(dst, dst_n, src, src_o, n, n_pad);
        equal(e, "dst", dst, want, total); /* between the rows: still NaN */
    }
}

/* Kind of activation and coefficients of p, and what they make of a plain panel. */
static void test_panel_norm(struct env *e, struct cvyi_panel *p, const float *x, const float *plain,
                            size_t total)
{
#define PANEL_ACT(NAME, name) CVYI_ACT_##NAME,
    static const int kinds[] = { CVYI_CHEAP_ACTS(PANEL_ACT) };
    struct cvyi_affine affine[20];
    for (size_t c = 0; c < p->n_ic; c++)
        affine[c] = (struct cvyi_affine){ check_normal(&e->rng), check_normal(&e->rng),
                                          check_normal(&e->rng) };
    p->affine = affine;
    p->act = kinds[check_below(&e->rng, sizeof kinds / sizeof *kinds)];
    p->alpha = 0.25f;
    EACH_TABLE(e, k)
    {
        float *want = copy(e, plain, total), *panel = out(e, total);
        for (size_t i = 0; i < p->n_pix; i++)
            for (size_t c = 0; c < p->n_ic; c++) {
                float *at = want + ((i / p->np * p->n_ic + c) * p->n_taps * p->np + i % p->np) * 16;
                for (size_t t = 0; t < p->n_taps; t++, at += p->np * 16)
                    k->act->norm_act[p->act](at, at, 16, &affine[c], p->alpha);
            }
        k->lanes->panel(panel, x, p);
        equal(e, "normalised", panel, want, total);
    }
}

static void test_panel(struct env *e)
{
    int32_t pix[40], tap[12];
    struct cvyi_panel p = { .n_pix = check_below(&e->rng, 41),
                            .np = 1 + check_below(&e->rng, 8),
                            .x_pix = pix,
                            .n_taps = 1 + check_below(&e->rng, 12),
                            .x_tap = tap,
                            .n_ic = 1 + check_below(&e->rng, 20) };
    size_t plane = 1 + check_below(&e->rng, 60), first = check_below(&e->rng, plane),
           width = p.np * 16, tiles = (p.n_pix + p.np - 1) / p.np,
           total = tiles * p.n_ic * p.n_taps * width;
    p.x_ic = 16 * (plane + check_below(&e->rng, 3));
    SHAPE("n_pix %zu, np %zu, n_taps %zu, n_ic %zu, plane %zu", p.n_pix, p.np, p.n_taps, p.n_ic,
          plane);
    /* a pixel may lie before the plane, and its taps in it */
    for (size_t i = 0; i < p.n_pix; i++)
        pix[i] =
            16 * ((int32_t)(i == 0 ? plane - 1 : check_below(&e->rng, plane)) - (int32_t)first);
    for (size_t t = 0; t < p.n_taps; t++)
        tap[t] = 16 * (int32_t)(t == 0 ? first : check_below(&e->rng, first + 1));
    for (size_t i = 0; i < p.n_pix; i++)
        for (size_t t = 0; t < p.n_taps; t++)
            if (pix[i] + tap[t] < 0) tap[t] = 16 * (int32_t)first;
    float *x = in(e, (p.n_ic - 1) * p.x_ic + 16 * plane), *want = out(e, total + 1);
    for (size_t i = 0; i < p.n_pix; i++)
        for (size_t r = 0; r < p.n_ic * p.n_taps; r++)
            memcpy(want + (i / p.np * p.n_ic * p.n_taps + r) * width + i % p.np * 16,
                   x + r / p.n_taps * p.x_ic + pix[i] + tap[r % p.n_taps], 16 * sizeof *x);
    EACH_TABLE(e, k)
    {
        float *panel = out(e, total);
        k->lanes->panel(panel, x, &p);
        equal(e, "panel", panel, want, total); /* beside the last pixels: still NaN */
    }
    test_panel_norm(e, &p, x, want, total);
}

/* ---- loss */

#define MAX_CLASSES 1000
#define MAX_LOGITS (16 * MAX_CLASSES)

struct logits {
    size_t n_c, ld, total;
    float *x;
};

static struct logits any_logits(struct env *e)
{
    static const float spread[] = { 0.01f, 1, 10, 30, 1e4f };
    struct logits g;
    g.n_c = 1 + check_below(&e->rng, check_below(&e->rng, 10) ? 20 : MAX_CLASSES);
    g.ld = g.n_c > 20 ? 16 : 16 * (1 + check_below(&e->rng, 3));
    g.total = (g.n_c - 1) * g.ld + 16;
    g.x = in(e, g.total);
    float s = spread[check_below(&e->rng, 5)];
    for (size_t i = 0; i < g.total && !e->specials; i++) g.x[i] *= s;
    if (check_below(&e->rng, 4) == 0) /* equal maxima */
        for (size_t i = 0; i < g.total; i++) g.x[i] = roundf(g.x[i] / s);
    return g;
}

/* Softmax in double, in rows of 16: p[c*16 + l]. Returns log sum exp(x - max) and max for each
 * lane. */
static void softmax_want(const struct logits *g, double *p, double logsum[16], double max[16])
{
    for (size_t l = 0; l < 16; l++) {
        double m = -HUGE_VAL, sum = 0;
        for (size_t c = 0; c < g->n_c; c++) m = fmax(m, (double)g->x[c * g->ld + l]);
        for (size_t c = 0; c < g->n_c; c++)
            sum += p[c * 16 + l] = exp((double)g->x[c * g->ld + l] - m);
        for (size_t c = 0; c < g->n_c; c++) p[c * 16 + l] /= sum;
        logsum[l] = log(sum);
        max[l] = m;
    }
}

static void pack(const struct logits *g, float *dst, const float *src)
{
    for (size_t c = 0; c < g->n_c; c++) memcpy(dst + c * 16, src + c * g->ld, 16 * sizeof *dst);
}

#define REL 1.2e-6

static void test_softmax(struct env *e)
{
    static double want[MAX_LOGITS], bound[MAX_LOGITS], logsum[16], max[16];
    static float y16[MAX_LOGITS];
    struct logits g = any_logits(e);
    SHAPE("n_c %zu, ld %zu", g.n_c, g.ld);
    softmax_want(&g, want, logsum, max);
    for (size_t i = 0; i < g.n_c * 16; i++) bound[i] = REL * want[i] + 1e-36;
    EACH_TABLE(e, k)
    {
        float *y = out(e, g.total), *ip = copy(e, g.x, g.total);
        k->loss->softmax(y, g.x, g.n_c, g.ld);
        pack(&g, y16, y);
        approx(e, "y", y16, want, bound, g.n_c * 16, 0);
        for (size_t l = 0; l < 16 && !e->flush; l++) {
            double sum = 0;
            for (size_t c = 0; c < g.n_c; c++) sum += (double)y16[c * 16 + l];
            if (fabs(sum - 1) > REL) fail_at(e, "sum of lane", l, sum, 1);
        }
        k->loss->softmax(ip, ip, g.n_c, g.ld);
        pack(&g, y16, ip);
        equal(e, "y in place", y16, e->first[0], g.n_c * 16);
    }
}

/* What sixteen rows of a loss should give: loss and dx[c*16 + l], each with its bound. */
struct loss_want {
    double loss[16], loss_bound[16], dx[MAX_LOGITS], bound[MAX_LOGITS];
    uint8_t correct[16];
};

struct loss_case {
    struct logits g;
    struct cvyi_loss_rows rows;
};

static double x_of(const struct loss_case *k, size_t c, size_t l)
{
    return (double)k->g.x[c * k->g.ld + l];
}

static double q_of(const struct loss_case *k, size_t c, size_t l)
{
    double s = (double)k->rows.smoothing, t = (size_t)k->rows.label[l] == c;
    if (k->rows.target) t = (double)k->rows.target[c * 16 + l];
    return (1 - s) * t + s / (double)k->g.n_c;
}

/* One lane, before weight and scale. */
typedef void loss_lane(const struct loss_case *k, size_t l, struct loss_want *w);

static void want_cross_entropy(const struct loss_case *k, size_t l, struct loss_want *w)
{
    double max = -HUGE_VAL, sum = 0, all = 0, sizes = 0, spread = 0, size = 0;
    bool nan = false;
    for (size_t c = 0; c < k->g.n_c; c++) {
        max = fmax(max, x_of(k, c, l));
        nan |= isnan(x_of(k, c, l));
    }
    for (size_t c = 0; c < k->g.n_c; c++) {
        sum += exp(x_of(k, c, l) - max);
        all += q_of(k, c, l);
    }
    for (size_t c = 0; c < k->g.n_c; c++) {
        double q = q_of(k, c, l), d = max - x_of(k, c, l);
        if (q != 0) spread += q * d;
        size += fabs(q * d);
        sizes += fabs(q);
        double *dx = &w->dx[c * 16 + l], p = exp(-d) / sum;
        *dx = p * all - q;
        w->bound[c * 16 + l] = (REL + 4 * U) * p * sizes + (REL + 4 * U) * p * fabs(all) +
                               6 * U * (p * fabs(all) + fabs(q));
    }
    for (size_t c = 0; c < k->g.n_c; c++)
        w->bound[c * 16 + l] += 4 * U * sizes * exp(x_of(k, c, l) - max) / sum;
    w->loss[l] = nan ? NAN : all * log(sum) + spread;
    w->loss_bound[l] = REL * fabs(w->loss[l]) + (double)k->g.n_c * U * fmax(sizes, 1) +
                       4 * U * (size + sizes * fabs(log(sum)));
}

static void want_mse(const struct loss_case *k, size_t l, struct loss_want *w)
{
    double n = (double)k->g.n_c, loss = 0, bound = 0;
    for (size_t c = 0; c < k->g.n_c; c++) {
        double x = x_of(k, c, l), q = q_of(k, c, l), d = x - q, off = 3 * U * (fabs(x) + fabs(q));
        loss += d * d / n;
        bound += 2 * fabs(d) * off / n + off * off;
        w->dx[c * 16 + l] = 2 * d / n;
        w->bound[c * 16 + l] = 2 * off / n + 3 * U * fabs(2 * d / n);
    }
    w->loss[l] = loss;
    w->loss_bound[l] = bound + 4 * U * loss;
}

static void want_bce(const struct loss_case *k, size_t l, struct loss_want *w)
{
    double n = (double)k->g.n_c, loss = 0, bound = 0;
    for (size_t c = 0; c < k->g.n_c; c++) {
        double x = x_of(k, c, l), q = q_of(k, c, l), e = exp(-fabs(x));
        loss += ((x <= 0 ? 0 : x) - q * x + log1p(e)) / n;
        bound += (4 * U * (fabs(x) + fabs(q * x)) + REL * log1p(e)) / n;
        double sigmoid = x < 0 ? e / (1 + e) : 1 / (1 + e);
        w->dx[c * 16 + l] = (sigmoid - q) / n;
        w->bound[c * 16 + l] = (REL * sigmoid + 6 * U * (sigmoid + fabs(q))) / n;
    }
    w->loss[l] = loss;
    w->loss_bound[l] = bound + 4 * U * fabs(loss);
}

/* In floats as the contract says, since a kink must be on the right side. */
static void want_hinge(const struct loss_case *k, size_t l, struct loss_want *w)
{
    size_t y = (size_t)k->rows.label[l];
    double loss = 0, others = 0;
    for (size_t c = 0; c < k->g.n_c; c++) {
        float m = (k->g.x[c * k->g.ld + l] - k->g.x[y * k->g.ld + l]) + k->rows.margin;
        bool over = c != y && !(m <= 0);
        if (over) {
            loss += (double)m;
            others++;
        }
        w->dx[c * 16 + l] = over;
        w->bound[c * 16 + l] = U;
    }
    w->dx[y * 16 + l] = -others;
    w->bound[y * 16 + l] = 2 * U * others;
    w->loss[l] = loss;
    w->loss_bound[l] = 2 * U * fabs(loss);
}

static loss_lane *const loss_lanes[CVY_LOSS_KINDS] = { [CVY_CROSS_ENTROPY] = want_cross_entropy,
                                                       [CVY_MSE] = want_mse,
                                                       [CVY_BCE] = want_bce,
                                                       [CVY_HINGE] = want_hinge };

static struct loss_case any_loss(struct env *e, bool hinge)
{
    struct loss_case k = { .g = any_logits(e) };
    unsigned n_lanes = any_lanes(e);
    if (!hinge && check_below(&e->rng, 2)) k.rows.smoothing = check_uniform(&e->rng, 0.01f, 0.5f);
    if (hinge) k.rows.margin = check_uniform(&e->rng, 0.1f, 2);
    if (!hinge && check_below(&e->rng, 3) == 0) {
        float *t = out(e, k.g.n_c * 16);
        for (size_t i = 0; i < k.g.n_c * 16; i++)
            t[i] = check_below(&e->rng, 3) ? check_uniform(&e->rng, 0, 1) : 0;
        k.rows.target = t;
    }
    for (size_t l = 0; l < 16; l++) {
        size_t best = 0;
        for (size_t c = 0; c < k.g.n_c; c++)
            if (x_of(&k, c, l) > x_of(&k, best, l)) best = c;
        k.rows.label[l] = (int32_t)(check_below(&e->rng, 2) ? best : check_below(&e->rng, k.g.n_c));
        if (l >= n_lanes || check_below(&e->rng, 8) == 0) continue;
        k.rows.weight[l] = check_below(&e->rng, 2) ? 1 : check_uniform(&e->rng, 0.1f, 3);
        k.rows.scale[l] = k.rows.weight[l] / 64;
    }
    return k;
}

static void want_loss(const struct loss_case *k, loss_lane *lane, struct loss_want *w)
{
    for (size_t l = 0; l < 16; l++) {
        double weight = (double)k->rows.weight[l], scale = (double)k->rows.scale[l];
        size_t best = 0;
        bool sound = true;
        for (size_t c = 0; c < k->g.n_c; c++) {
            sound &= !isnan(x_of(k, c, l));
            if (x_of(k, c, l) > x_of(k, best, l)) best = c;
        }
        lane(k, l, w);
        w->correct[l] =
            weight > 0 && sound && isfinite(x_of(k, best, l)) && (size_t)k->rows.label[l] == best;
        w->loss_bound[l] = w->loss_bound[l] * weight + 2 * U * fabs(w->loss[l] * weight) + 1e-36;
        w->loss[l] *= weight;
        if (weight == 0) w->loss[l] = w->loss_bound[l] = 0;
        for (size_t c = 0; c < k->g.n_c; c++) {
            double *dx = &w->dx[c * 16 + l], *bound = &w->bound[c * 16 + l];
            *bound = *bound * scale + 2 * U * fabs(*dx * scale) + 1e-36;
            *dx *= scale;
            if (weight == 0) *dx = *bound = 0;
        }
    }
}

static void test_loss(struct env *e)
{
    static struct loss_want w;
    static float dx16[MAX_LOGITS];
    enum cvy_loss_kind kind = (enum cvy_loss_kind)check_below(&e->rng, CVY_LOSS_KINDS);
    struct loss_case c = any_loss(e, kind == CVY_HINGE);
    const struct logits g = c.g;
    SHAPE("%s, n_c %zu, ld %zu, smoothing %a, margin %a%s", cvy_loss_name(kind), g.n_c, g.ld,
          (double)c.rows.smoothing, (double)c.rows.margin, c.rows.target ? ", targets" : "");
    want_loss(&c, loss_lanes[kind], &w);
    EACH_TABLE(e, k)
    {
        float *dx = out(e, g.total), *ls = out(e, 16), *ip = copy(e, g.x, g.total);
        uint8_t *correct = raw(e, 16);
        cvyi_loss_fn *loss = k->loss->loss[kind];
        loss(NULL, g.x, g.n_c, g.ld, &c.rows, ls, correct);
        approx(e, "loss", ls, w.loss, w.loss_bound, 16, 0);
        for (size_t l = 0; l < 16; l++)
            if (correct[l] != w.correct[l]) fail_at(e, "correct", l, correct[l], w.correct[l]);
        memset(correct, 0xff, 16);
        loss(dx, g.x, g.n_c, g.ld, &c.rows, ls, correct);
        equal(e, "loss with dx", ls, e->first[0], 16);
        assert_memory_equal(correct, w.correct, 16);
        pack(&g, dx16, dx);
        approx(e, "dx", dx16, w.dx, w.bound, g.n_c * 16, 1);
        loss(ip, ip, g.n_c, g.ld, &c.rows, ls, correct);
        pack(&g, dx16, ip);
        equal(e, "dx in place", dx16, e->first[1], g.n_c * 16);
        assert_memory_equal(correct, w.correct, 16);
    }
}

/* ---- update */

/* The gradient with those of the penalties. */
static float penalised(float g, float w, float decay, float l1)
{
    if (decay != 0) g = fmaf(decay, w, g);
    if (l1 != 0) g += l1 * (float)((w > 0) - (w < 0));
    return g;
}

static void test_sgd(struct env *e)
{
    size_t n = 1 + check_below(&e->rng, 300);
    bool with_v = check_below(&e->rng, 3);
    const float lr = check_uniform(&e->rng, 0, 1),
                mu = with_v && check_below(&e->rng, 3) ? 0.9f : 0,
                wd = check_below(&e->rng, 2) ? 5e-4f : 0, l1 = check_below(&e->rng, 2) ? 3e-3f : 0;
    const bool nesterov = check_below(&e->rng, 2);
    const float coef[CVY_COEFS] = { [CVY_SGD_LR] = lr,
                                    [CVY_SGD_MOMENTUM] = mu,
                                    [CVY_SGD_DECAY] = wd,
                                    [CVY_SGD_L1] = l1,
                                    [CVY_SGD_NESTEROV] = nesterov };
    SHAPE("n %zu, lr %a, mu %a, wd %a, l1 %a%s%s", n, (double)lr, (double)mu, (double)wd,
          (double)l1, nesterov ? ", nesterov" : "", with_v ? "" : ", no v");
    float *w = in(e, n), *dw = in(e, n), *v = in(e, n), *want_w = out(e, n), *want_v = out(e, n);
    w[check_below(&e->rng, n)] = 0;
    for (size_t i = 0; i < n; i++) {
        float g = penalised(dw[i], w[i], wd, l1), t = mu != 0 ? fmaf(mu, v[i], g) : g;
        want_v[i] = t;
        want_w[i] = fmaf(-lr, mu != 0 && nesterov ? fmaf(mu, t, g) : t, w[i]);
        double sign = (w[i] > 0) - (w[i] < 0),
               gd = (double)wd * (double)w[i] + (double)dw[i] + (double)l1 * sign,
               vd = (double)mu * (double)v[i] + gd;
        double step = nesterov && mu != 0 ? (double)mu * vd + gd : vd,
               exact = (double)w[i] - (double)lr * step;
        if (!e->specials)
            assert_true(
                fabs((double)want_w[i] - exact) <=
                2 * ulp_of(2 * fabs((double)dw[i]) + fabs((double)v[i]) + fabs((double)w[i])));
    }
    EACH_TABLE(e, k)
    {
        float *w1 = copy(e, w, n), *v1 = copy(e, v, n);
        k->update->step[CVY_SGD](w1, dw, (float *const[]){ with_v ? v1 : NULL }, n, coef);
        equal(e, "w", w1, want_w, n);
        equal(e, "v", v1, with_v ? want_v : v, n);
    }
}

/* The step that momentum makes of d. */
static float pushed(float d, float *v, float momentum, float nesterov)
{
    *v = fmaf(momentum, *v, d);
    return nesterov != 0 ? fmaf(momentum, *v, d) : *v;
}

static void test_adam(struct env *e, enum cvy_optimizer_kind kind)
{
    size_t n = 1 + check_below(&e->rng, 300);
    float c[CVY_COEFS];
    c[CVY_ADAM_STEP] = check_uniform(&e->rng, 0, 1);
    c[CVY_ADAM_EPS] = check_below(&e->rng, 2) ? 1e-3f : 1e-8f;
    c[CVY_ADAM_BETA1] = check_below(&e->rng, 4) ? check_uniform(&e->rng, 0, 1) : 0;
    c[CVY_ADAM_BETA2] = check_below(&e->rng, 4) ? check_uniform(&e->rng, 0, 1) : 0;
    c[CVY_ADAM_NEW1] = 1 - c[CVY_ADAM_BETA1];
    c[CVY_ADAM_NEW2] = 1 - c[CVY_ADAM_BETA2];
    c[CVY_ADAM_DECAY] = check_below(&e->rng, 2) ? 5e-4f : 0;
    c[CVY_ADAM_SHRINK] = check_below(&e->rng, 2) ? 5e-4f : 0;
    c[CVY_ADAM_MOMENTUM] = check_below(&e->rng, 2) ? 0.75f : 0;
    c[CVY_ADAM_NESTEROV] = (float)check_below(&e->rng, 2);
    c[CVY_ADAM_L1] = check_below(&e->rng, 2) ? 3e-3f : 0;
    const bool moves = c[CVY_ADAM_MOMENTUM] != 0;
    SHAPE("n %zu, l1 %a, step %a, eps %a, beta1 %a, beta2 %a, decay %a, shrink %a, mu %g%s", n,
          (double)c[CVY_ADAM_L1], (double)c[CVY_ADAM_STEP], (double)c[CVY_ADAM_EPS],
          (double)c[CVY_ADAM_BETA1], (double)c[CVY_ADAM_BETA2], (double)c[CVY_ADAM_DECAY],
          (double)c[CVY_ADAM_SHRINK], (double)c[CVY_ADAM_MOMENTUM],
          c[CVY_ADAM_NESTEROV] != 0 ? ", nesterov" : "");
    float *w = in(e, n), *dw = in(e, n), *m = in(e, n), *v = in(e, n), *u = in(e, n);
    float *want_w = out(e, n), *want_m = out(e, n), *want_v = out(e, n), *want_u = out(e, n);
    for (size_t i = 0; i < n; i++) {
        v[i] = fabsf(v[i]);
        float g = penalised(dw[i], w[i], c[CVY_ADAM_DECAY], c[CVY_ADAM_L1]);
        want_m[i] = fmaf(c[CVY_ADAM_BETA1], m[i], c[CVY_ADAM_NEW1] * g);
        want_v[i] = fmaf(c[CVY_ADAM_BETA2], v[i], c[CVY_ADAM_NEW2] * g * g);
        float q = want_m[i] / (sqrtf(want_v[i]) + c[CVY_ADAM_EPS]);
        want_w[i] = fmaf(-c[CVY_ADAM_STEP], q, w[i]);
        if (c[CVY_ADAM_SHRINK] != 0)
            want_w[i] = w[i] - fmaf(c[CVY_ADAM_SHRINK], w[i], c[CVY_ADAM_STEP] * q);
        want_u[i] = u[i];
        if (!moves) continue;
        float d =
            pushed(c[CVY_ADAM_STEP] * q, &want_u[i], c[CVY_ADAM_MOMENTUM], c[CVY_ADAM_NESTEROV]);
        want_w[i] = w[i] - (c[CVY_ADAM_SHRINK] != 0 ? fmaf(c[CVY_ADAM_SHRINK], w[i], d) : d);
    }
    EACH_TABLE(e, k)
    {
        float *w1 = copy(e, w, n), *m1 = copy(e, m, n), *v1 = copy(e, v, n), *u1 = copy(e, u, n);
        k->update->step[kind](w1, dw, (float *const[]){ m1, v1, moves ? u1 : NULL }, n, c);
        equal(e, "w", w1, want_w, n);
        equal(e, "m", m1, want_m, n);
        equal(e, "v", v1, want_v, n);
        equal(e, "momentum", u1, want_u, n);
    }
}

/* RMSProp and Adagrad, Adadelta: the second of two states before momentum is Adadelta's. */
static void test_root(struct env *e, enum cvy_optimizer_kind kind)
{
    const bool delta = kind == CVY_ADADELTA, sums = check_below(&e->rng, 3) == 0;
    size_t n = 1 + check_below(&e->rng, 300);
    float c[CVY_COEFS] = { 0 };
    c[CVY_ROOT_LR] = check_uniform(&e->rng, 0, 1);
    c[CVY_ROOT_EPS] = check_below(&e->rng, 2) ? 1e-3f : 1e-8f;
    c[CVY_ROOT_RHO] = sums ? 1 : check_uniform(&e->rng, 0, 1);
    c[CVY_ROOT_NEW] = sums ? 1 : 1 - c[CVY_ROOT_RHO];
    c[CVY_ROOT_DECAY] = check_below(&e->rng, 2) ? 5e-4f : 0;
    c[CVY_ROOT_INSIDE] = (float)check_below(&e->rng, 2);
    c[CVY_ROOT_MOMENTUM] = check_below(&e->rng, 2) ? 0.75f : 0;
    c[CVY_ROOT_NESTEROV] = (float)check_below(&e->rng, 2);
    c[CVY_ROOT_L1] = check_below(&e->rng, 2) ? 3e-3f : 0;
    const bool moves = c[CVY_ROOT_MOMENTUM] != 0;
    SHAPE("kind %d, n %zu, l1 %a, lr %a, eps %a, rho %a, new %a, decay %a, mu %g%s%s", (int)kind, n,
          (double)c[CVY_ROOT_L1], (double)c[CVY_ROOT_LR], (double)c[CVY_ROOT_EPS],
          (double)c[CVY_ROOT_RHO], (double)c[CVY_ROOT_NEW], (double)c[CVY_ROOT_DECAY],
          (double)c[CVY_ROOT_MOMENTUM], c[CVY_ROOT_NESTEROV] != 0 ? ", nesterov" : "",
          c[CVY_ROOT_INSIDE] != 0 ? ", inside" : "");
    float *w = in(e, n), *dw = in(e, n), *s = in(e, n), *a = in(e, n), *u = in(e, n);
    float *want_w = out(e, n), *want_s = out(e, n), *want_a = out(e, n), *want_u = out(e, n);
    for (size_t i = 0; i < n; i++) {
        s[i] = fabsf(s[i]);
        a[i] = fabsf(a[i]);
        float g = penalised(dw[i], w[i], c[CVY_ROOT_DECAY], c[CVY_ROOT_L1]), d;
        want_s[i] = fmaf(c[CVY_ROOT_RHO], s[i], c[CVY_ROOT_NEW] * g * g);
        want_a[i] = a[i];
        want_u[i] = u[i];
        if (delta) {
            d = sqrtf(a[i] + c[CVY_ROOT_EPS]) / sqrtf(want_s[i] + c[CVY_ROOT_EPS]) * g;
            want_a[i] = fmaf(c[CVY_ROOT_RHO], a[i], c[CVY_ROOT_NEW] * d * d);
        } else if (c[CVY_ROOT_INSIDE] != 0) {
            d = g / sqrtf(want_s[i] + c[CVY_ROOT_EPS]);
        } else {
            d = g / (sqrtf(want_s[i]) + c[CVY_ROOT_EPS]);
        }
        d *= c[CVY_ROOT_LR];
        if (moves) d = pushed(d, &want_u[i], c[CVY_ROOT_MOMENTUM], c[CVY_ROOT_NESTEROV]);
        want_w[i] = w[i] - d;
    }
    EACH_TABLE(e, k)
    {
        float *w1 = copy(e, w, n), *s1 = copy(e, s, n), *a1 = copy(e, a, n), *u1 = copy(e, u, n);
        float *moved = moves ? u1 : NULL;
        k->update->step[kind](w1, dw, (float *const[]){ s1, delta ? a1 : moved, moved }, n, c);
        equal(e, "w", w1, want_w, n);
        equal(e, "s", s1, want_s, n);
        equal(e, "a", a1, want_a, n);
        equal(e, "momentum", u1, want_u, n);
    }
}

static void test_step(struct env *e)
{
    for (int kind = 0; kind < CVY_OPTIMIZER_KINDS; kind++) {
        switch ((enum cvy_optimizer_kind)kind) {
        case CVY_SGD: test_sgd(e); break;
        case CVY_ADAM:
        case CVY_ADAMW: test_adam(e, (enum cvy_optimizer_kind)kind); break;
        case CVY_RMSPROP:
        case CVY_ADAGRAD:
        case CVY_ADADELTA: test_root(e, (enum cvy_optimizer_kind)kind); break;
        default: fail_msg("optimizer %d has no check", kind);
        }
    }
}

static void test_fold(struct env *e)
{
    size_t n = 1 + check_below(&e->rng, 200), slots = 1 + check_below(&e->rng, 9);
    size_t stride = n + check_below(&e->rng, 40);
    SHAPE("n %zu, slots %zu, stride %zu", n, slots, stride);
    float *src = in(e, (slots - 1) * stride + n), *want = out(e, n);
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t s = 0; s < slots; s++) sum += (double)src[s * stride + i];
        want[i] = (float)sum;
    }
    EACH_TABLE(e, k)
    {
        float *dst = out(e, n);
        k->update->fold(dst, src, slots, stride, n);
        equal(e, "dst", dst, want, n);
    }
}

static void test_fold_lanes(struct env *e)
{
    size_t n = 1 + check_below(&e->rng, 40);
    SHAPE("n %zu", n);
    float *src = in(e, n * 16), *want = out(e, n);
    for (size_t i = 0; i < n; i++) {
        float t[16];
        memcpy(t, src + i * 16, sizeof t);
        for (int half = 8; half; half /= 2)
            for (int l = 0; l < half; l++) t[l] += t[l + half];
        want[i] = t[0];
    }
    EACH_TABLE(e, k)
    {
        float *dst = out(e, n);
        k->update->fold_lanes(dst, src, n);
        equal(e, "dst", dst, want, n);
    }
}

/* Any alignment on both sides, and nothing outside of the rows. */
static void test_stream(struct env *e)
{
    size_t n = check_below(&e->rng, 90), rows = 1 + check_below(&e->rng, 5),
           src_row = n + check_below(&e->rng, 20), dst_row = n + check_below(&e->rng, 40),
           first = check_below(&e->rng, 20);
    size_t all = first + (rows - 1) * dst_row + n + 1;
    SHAPE("rows %zu, n %zu, from %zu, apart %zu and %zu", rows, n, first, dst_row, src_row);
    float *src = in(e, rows * src_row + 1), *want = out(e, all);
    for (size_t r = 0; r < rows; r++)
        memcpy(want + first + r * dst_row, src + r * src_row, n * sizeof *want);
    EACH_TABLE(e, k)
    {
        float *dst = out(e, all);
        k->update->stream(dst + first, dst_row, src, src_row, rows, n);
        equal(e, "dst", dst, want, all);
    }
}

/* ---- the loop over rounds */

static struct env *env;

static int set_up(void **state)
{
    (void)state;
    env = calloc(1, sizeof *env);
    if (!env) return -1;
    for (int isa = CVY_ISA_SCALAR; isa <= CVY_ISA_PAIR; isa++)
        if (cvyi_kernels_for(isa) && cvyi_cpu_can_run((enum cvy_isa)isa))
            env->isa[env->n_isa++] = cvyi_kernels_for(isa);
    printf("tables:");
    for (int i = 0; i < env->n_isa; i++) printf(" %s", env->isa[i]->isa);
    printf("\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(env);
    return 0;
}

static void rounds(const char *kernel, void (*test)(struct env *))
{
    for (int i = 0; i < (getenv("CVYI_TEST_SEED") ? 1 : ROUNDS); i++) {
        env->seed = check_seed() + (uint64_t)(getenv("CVYI_TEST_SEED") ? 0 : i);
        env->rng.s = env->seed;
        env->kernel = kernel;
        env->specials = check_below(&env->rng, 3) == 0;
        env->flush = env->specials && check_below(&env->rng, 3) == 0;
#ifdef __SSE__
        if (env->flush) __builtin_ia32_ldmxcsr(0x1f80 | 0x8040);
#endif
        test(env);
#ifdef __SSE__
        __builtin_ia32_ldmxcsr(0x1f80);
#endif
        while (env->n_buf) check_free(&env->buf[--env->n_buf]);
    }
}

#define KERNELS(X)       \
    CVYI_ACT_KERNELS(X)  \
    CVYI_NORM_KERNELS(X) \
    CVYI_POOL_KERNELS(X) \
    CVYI_ROWS_KERNELS(X) CVYI_LANES_KERNELS(X) CVYI_LOSS_KERNELS(X) CVYI_UPDATE_KERNELS(X)
#define RUN(name, type, count)       \
    static void run_##name(void **s) \
    {                                \
        (void)s;                     \
        rounds(#name, test_##name);  \
    }
KERNELS(RUN)

/* One window of rows that are all the same: 4200 x 4200 ones and 224 x 224 tenths. */
static void large_averages_are_exact(void **state)
{
    (void)state;
    static float x[4200 * 16];
    static const float *rows[4200];
    static const struct {
        size_t side;
        float value;
    } maps[] = { { 4200, 1 }, { 224, 0.1f }, { 5, 0.1f }, { 17, 3 } };
    for (size_t k = 0; k < 4200; k++) rows[k] = x;
    for (size_t m = 0; m < sizeof maps / sizeof *maps; m++)
        for (int t = 0; t < env->n_isa; t++) {
            size_t side = maps[m].side;
            struct cvyi_pool p = { .ow = 1, .iw = side, .kw = side, .sw = side, .apart = true };
            float y[16], inv = (float)(1 / ((double)side * (double)side));
            for (size_t i = 0; i < side * 16; i++) x[i] = maps[m].value;
            env->isa[t]->pool->pool_avg(&p, y, rows, side, &inv);
            for (size_t l = 0; l < 16; l++)
                if (fabs((double)y[l] - (double)maps[m].value) > 4 * U * (double)maps[m].value)
                    fail_msg("%s: the average of %g over %zu x %zu is %.9g", env->isa[t]->isa,
                             (double)maps[m].value, side, side, (double)y[l]);
        }
}

/* Mean and variance as batch normalization makes them of the sums: shifted, lanes merged in
 * double. */
static void statistics_are_accurate(void **state)
{
    (void)state;
    static float x[MAX_N];
    static const size_t sizes[] = { 2, 3, 7, 32, 1000 };
    struct check_rng r = { check_seed() };
    for (size_t a = 0; a < 5; a++)
        for (double ratio = 0; ratio <= 1e6; ratio = ratio ? ratio * 10 : 1)
            for (int constant = 0; constant < 2; constant++)
                for (int t = 0; t < env->n_isa; t++) {
                    size_t n = sizes[a];
                    double mean = 0, m2 = 0, true_mean = 0, true_m2 = 0;
                    float k[16], s[16], q[16];
                    for (size_t i = 0; i < n * 16; i++)
                        true_mean +=
                            (double)(x[i] = (float)ratio + (constant ? 0 : check_normal(&r)));
                    true_mean /= (double)n * 16;
                    for (size_t i = 0; i < n * 16; i++)
                        true_m2 += ((double)x[i] - true_mean) * ((double)x[i] - true_mean);
                    env->isa[t]->norm->bn_stats(x, n * 16, k, s, q);
                    for (int l = 0; l < 16; l++) {
                        double d = (double)k[l] + (double)s[l] / (double)n - mean;
                        mean += d / (l + 1);
                        m2 += (double)q[l] - (double)s[l] * (double)s[l] / (double)n +
                              d * d * (double)n * l / (l + 1);
                    }
                    double mean_error = fabs(mean - true_mean) / (U * fmax(fabs(true_mean), 1));
                    if (!(mean_error <= 2 && m2 >= 0 && fabs(m2 - true_m2) <= 1e-6 * true_m2))
                        fail_msg(
                            "%s: %zu pixels, mean %g: error of the mean %.2f u, m2 %.9g, want %.9g",
                            env->isa[t]->isa, n, ratio, mean_error, m2, true_m2);
                }
}

int main(void)
{
#define CASE(name, type, count) cmocka_unit_test(run_##name),
    const struct CMUnitTest tests[] = {
        KERNELS(CASE) cmocka_unit_test(statistics_are_accurate),
        cmocka_unit_test(large_averages_are_exact),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
