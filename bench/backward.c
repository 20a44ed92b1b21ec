/* The gradient of a batch norm, in the two ways of cs231n's second assignment: stage by stage of
 * its graph, each over all values, and the closed form in two passes; in double and in float, on a
 * matrix [values][channels] and one thread, as NumPy would have it. Beside them the operator, on
 * [n][c][h][w] and all threads. All are given the batch's mean and variance. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static const double eps = 1e-5;

static const struct place {
    const char *name;
    cvy_shape s;
} places[] = { { "100x500", { 100, 500, 1, 1 } },
               { "256x6x24x24", { 256, 6, 24, 24 } },
               { "256x16x8x8", { 256, 16, 8, 8 } },
               { "64x64x32x32", { 64, 64, 32, 32 } } };
enum { PLACES = sizeof places / sizeof *places };

/* Numbers of a place, shared by its cases: m values of each of c channels, and room. */
#define SIDE(T)                                             \
    struct side_##T {                                       \
        T *x, *dy, *dx, *a, *b, *gamma, *mean, *var, *sums; \
    }
SIDE(double);
SIDE(float);
struct numbers {
    size_t m, c;
    struct side_double d; /* dx: staged */
    struct side_float f;
};

enum way { STAGED, CLOSED, OPERATOR };
struct backward {
    struct bench *b;
    const struct place *place;
    const struct bench_contestant *who; /* OPERATOR */
    enum way way;
    bool wide;
    size_t threads;
    double difference; /* of dx, at most; -1: not measured */
    const char *label;
};

#define EACH(i, n) for (size_t i = 0; i < (n); i++)

/* dbeta = sum dy, dgamma = sum dy xhat; dxhat = dy gamma; d(1/s) = sum dxhat xmu, ds = -d(1/s) /
 * s^2, dvar = ds / 2s, dsq = dvar / m; dxmu = dxhat / s + 2 xmu dsq; dmu = -sum dxmu; dx = dxmu +
 * dmu / m. sums: [5][c]. */
#define STAGES(name, T, root)                                                              \
    static void name(size_t m, size_t c, const struct side_##T *s, T *dx)                  \
    {                                                                                      \
        const T *x = s->x, *dy = s->dy, *gamma = s->gamma, *mean = s->mean, *var = s->var; \
        T *sums = s->sums, *xmu = s->a, *dxhat = s->b;                                     \
        T *dbeta = sums, *dgamma = sums + c, *is = sums + 2 * c, *dsq = sums + 3 * c,      \
          *dmu = sums + 4 * c;                                                             \
        memset(sums, 0, 5 * c * sizeof *sums);                                             \
        EACH(k, c) is[k] = 1 / root(var[k] + (T)eps);                                      \
        EACH(i, m) EACH(k, c) xmu[i * c + k] = x[i * c + k] - mean[k];                     \
        EACH(i, m) EACH(k, c) dbeta[k] += dy[i * c + k];                                   \
        EACH(i, m) EACH(k, c) dgamma[k] += dy[i * c + k] * (xmu[i * c + k] * is[k]);       \
        EACH(i, m) EACH(k, c) dxhat[i * c + k] = dy[i * c + k] * gamma[k];                 \
        EACH(i, m) EACH(k, c) dsq[k] += dxhat[i * c + k] * xmu[i * c + k];                 \
        EACH(k, c) dsq[k] = (T)-0.5 * dsq[k] * is[k] * is[k] * is[k] / (T)m;               \
        EACH(i, m) EACH(k, c) dx[i * c + k] = dxhat[i * c + k] * is[k];                    \
        EACH(i, m) EACH(k, c) dx[i * c + k] += 2 * xmu[i * c + k] * dsq[k];                \
        EACH(i, m) EACH(k, c) dmu[k] -= dx[i * c + k];                                     \
        EACH(i, m) EACH(k, c) dx[i * c + k] += dmu[k] / (T)m;                              \
    }

/* dx = gamma / (m s) (m dy - sum dy - (x - mean) / s^2 sum dy (x - mean)). */
#define CLOSED_FORM(name, T, root)                                                              \
    static void name(size_t m, size_t c, const struct side_##T *s, T *dx)                       \
    {                                                                                           \
        const T *x = s->x, *dy = s->dy, *gamma = s->gamma, *mean = s->mean, *var = s->var;      \
        T *sums = s->sums;                                                                      \
        T *dbeta = sums, *dgamma = sums + c, *scale = sums + 2 * c, *slope = sums + 3 * c;      \
        memset(sums, 0, 4 * c * sizeof *sums);                                                  \
        EACH(i, m) EACH(k, c)                                                                   \
        {                                                                                       \
            dbeta[k] += dy[i * c + k];                                                          \
            dgamma[k] += dy[i * c + k] * (x[i * c + k] - mean[k]);                              \
        }                                                                                       \
        EACH(k, c)                                                                              \
        {                                                                                       \
            T is = 1 / root(var[k] + (T)eps);                                                   \
            slope[k] = is * is * dgamma[k] / (T)m;                                              \
            scale[k] = gamma[k] * is;                                                           \
            dgamma[k] *= is;                                                                    \
        }                                                                                       \
        EACH(i, m)                                                                              \
        EACH(k, c)                                                                              \
        dx[i * c + k] =                                                                         \
            scale[k] * (dy[i * c + k] - dbeta[k] / (T)m - (x[i * c + k] - mean[k]) * slope[k]); \
    }
STAGES(staged_double, double, sqrt)
STAGES(staged_float, float, sqrtf)
CLOSED_FORM(closed_double, double, sqrt)
CLOSED_FORM(closed_float, float, sqrtf)

/* [m][c] and [n][c][h w] are two orders of the same; both of floats. */
static void turn(const struct numbers *n, const cvy_shape *s, const float *from, float *to,
                 bool to_maps)
{
    const size_t pixels = s->h * s->w;
    EACH(i, n->m) EACH(k, n->c)
    {
        const size_t map = (i / pixels * n->c + k) * pixels + i % pixels, row = i * n->c + k;
        if (to_maps) to[map] = from[row];
        else to[row] = from[map];
    }
}

/* Values of 5 z + 12, as cs231n draws them, with z uniform and of variance 1. */
static void fill(struct numbers *n)
{
    const size_t all = n->m * n->c;
    float *u = bench_floats(2 * all + n->c);
    EACH(i, all)
    {
        n->d.x[i] = n->f.x[i] = 12 + 5 * 3.4641016f * u[i];
        n->d.dy[i] = n->f.dy[i] = 3.4641016f * u[all + i];
    }
    EACH(k, n->c)
    {
        n->d.gamma[k] = n->f.gamma[k] = 1 + u[2 * all + k];
        n->d.mean[k] = n->d.var[k] = 0;
    }
    EACH(i, n->m) EACH(k, n->c) n->d.mean[k] += n->d.x[i * n->c + k] / (double)n->m;
    EACH(i, n->m)
    EACH(k, n->c)
    n->d.var[k] += (n->d.x[i * n->c + k] - n->d.mean[k]) * (n->d.x[i * n->c + k] - n->d.mean[k]) /
                   (double)n->m;
    EACH(k, n->c)
    {
        n->f.mean[k] = (float)n->d.mean[k];
        n->f.var[k] = (float)n->d.var[k];
    }
    free(u);
}

/* Those of a place, kept until another one is asked for: cases of a place follow each other. */
static struct numbers *numbers_of(const struct place *p)
{
    static struct numbers n;
    static const struct place *of;
    static double *memory;
    static float *floats;
    if (of == p) return &n;
    of = p;
    free(memory);
    free(floats);
    n.m = p->s.n * p->s.h * p->s.w;
    n.c = p->s.c;
    const size_t all = n.m * n.c, room = 5 * all + 8 * n.c;
    double *d = memory = bench_alloc(room * sizeof *d);
    float *f = floats = bench_alloc(room * sizeof *f);
    double **const wide[] = { &n.d.x,     &n.d.dy,   &n.d.dx,  &n.d.a,   &n.d.b,
                              &n.d.gamma, &n.d.mean, &n.d.var, &n.d.sums };
    float **const narrow[] = { &n.f.x,     &n.f.dy,   &n.f.dx,  &n.f.a,   &n.f.b,
                               &n.f.gamma, &n.f.mean, &n.f.var, &n.f.sums };
    EACH(i, 9)
    {
        const size_t at = i < 5 ? i * all : 5 * all + (i - 5) * n.c;
        *wide[i] = d + at;
        *narrow[i] = f + at;
    }
    fill(&n);
    return &n;
}

static void compute(const struct backward *a, const struct numbers *n, double *dx)
{
    if (a->way == STAGED && a->wide) staged_double(n->m, n->c, &n->d, dx);
    else if (a->way == STAGED) staged_float(n->m, n->c, &n->f, n->f.dx);
    else if (a->wide) closed_double(n->m, n->c, &n->d, dx);
    else closed_float(n->m, n->c, &n->f, n->f.dx);
}

/* Of what was computed last from the staged form in double. */
static void look(struct backward *a, const struct numbers *n, const double *dx)
{
    staged_double(n->m, n->c, &n->d, n->d.dx);
    a->difference = 0;
    EACH(i, n->m * n->c)
    a->difference = fmax(a->difference, fabs((a->wide ? dx[i] : (double)n->f.dx[i]) - n->d.dx[i]));
}

static void report(struct backward *a, gb_state *state, const struct numbers *n, double seconds,
                   enum cvy_isa isa)
{
    const struct bench_work work = { .bytes = 3.0 * (double)(n->m * n->c) *
                                              (a->wide ? sizeof(double) : sizeof(float)) };
    bench_figures(a->b, state, seconds, &work, isa, a->threads);
    gb_set_counter(state, "max difference", a->difference, GB_COUNTER);
    gb_set_label(state, a->label);
}

static void run_formula(gb_state *state, void *user)
{
    struct backward *a = user;
    const struct numbers *n = numbers_of(a->place);
    double *dx = a->wide ? bench_alloc(n->m * n->c * sizeof *dx) : NULL;
    compute(a, n, dx);
    double t = bench_now();
    GB_LOOP (state) compute(a, n, dx);
    t = (bench_now() - t) / (double)gb_iterations(state);
    look(a, n, dx);
    report(a, state, n, t, CVY_ISA_SCALAR);
    free(dx);
}

static void run_operator(gb_state *state, void *user)
{
    struct backward *a = user;
    const struct numbers *n = numbers_of(a->place);
    const cvy_shape s = a->place->s;
    cvy_context *ctx = bench_context(a->b, state, a->who, a->threads);
    cvy_op *op = NULL;
    if (!ctx) return;
    turn(n, &s, n->f.x, n->f.a, true);
    turn(n, &s, n->f.dy, n->f.b, true);
    float *dx = bench_alloc(n->m * n->c * sizeof *dx);
    const cvy_batch_norm_desc desc = { .eps = eps };
    const cvy_op_args args = { .src = n->f.a,
                               .diff_dst = n->f.b,
                               .weights = n->f.gamma,
                               .mean = n->f.mean,
                               .var = n->f.var,
                               .diff_src = dx,
                               .diff_weights = n->f.sums,
                               .diff_bias = n->f.sums + n->c };
    enum cvy_status status = cvy_op_batch_norm(ctx, &desc, s, CVY_BACKWARD_DATA, &op);
    if (!status) status = cvy_op_run(op, &args);
    double t = bench_now();
    GB_LOOP (state) {
        if (status || (status = cvy_op_run(op, &args))) break;
    }
    t = (bench_now() - t) / (double)gb_iterations(state);
    if (status) {
        bench_skip(a->b, state, status == CVY_E_UNSUPPORTED, cvy_message(ctx));
    } else {
        turn(n, &s, dx, n->f.dx, false);
        look(a, n, NULL);
        report(a, state, n, t, cvy_context_isa(ctx));
    }
    free(dx);
    cvy_op_destroy(&op);
    cvy_context_destroy(&ctx);
}

static void close_case(void *user)
{
    struct backward *a = user;
    if (a->difference >= 0)
        bench_note(a->b, "%s, %s, %s: differs from the stages in double by at most %.2g",
                   a->place->name, a->wide ? "double" : "float", a->label, a->difference);
    free(a);
}

static void add(struct bench *b, const struct backward *what)
{
    struct backward *a = bench_alloc(sizeof *a);
    *a = *what;
    a->b = b;
    a->difference = -1;
    char *name =
        bench_text("backward/%s/%s/%s", a->place->name, a->wide ? "double" : "float", a->label);
    bench_add(b, name, GB_US, BENCH_REAL_TIME, a->way == OPERATOR ? run_operator : run_formula,
              NULL, close_case, a);
    free(name);
}

void bench_backward(struct bench *b)
{
    const struct bench_options *o = bench_options(b);
    const struct bench_numbers threads = bench_threads(b);
    EACH(p, PLACES)
    {
        for (int wide = 1; wide >= 0; wide--) {
            struct backward a = { .place = &places[p], .wide = wide, .threads = 1 };
            a.label = "staged";
            add(b, &a);
            a.way = CLOSED;
            a.label = "closed";
            add(b, &a);
        }
        EACH(k, o->n_contestants) EACH(t, threads.n)
        {
            const struct backward a = {
                .place = &places[p],
                .way = OPERATOR,
                .who = &o->contestants[k],
                .threads = threads.value[t],
                .label = bench_text("%s threads:%zu", o->contestants[k].name, threads.value[t])
            };
            add(b, &a);
        }
    }
}
