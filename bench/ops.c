/* Every operator and pass through the public operator API, on the caller's NCHW buffers, at the
 * shapes of real nets. The time is the whole call; a backend with a layout of its own reorders what
 * comes in and goes out, and "% reorder" says how much of the call that was. In a net these
 * reorders happen at its ends only: `convoy compare MODEL` shows ops inside a net. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "problem.h"
#include "shapes.h"

struct walk;

struct op {
    struct bench *b;
    const struct bench_contestant *who;
    size_t threads;
    struct problem problem;
    enum cvy_pass pass;
    struct walk *walk; /* NULL: none */
    size_t at;         /* its place in it */
};

static const char *const pass_names[] = { "forward", "infer", "data", "weights" };

/* Buffers are shared by all cases: as large as the largest needs. */
enum role {
    SRC,
    SRC2,
    WEIGHTS,
    BIAS,
    DIFF_DST,
    DST,
    PARTS,
    DIFF_WEIGHTS,
    DIFF_BIAS,
    MEAN,
    VAR,
    ROLES
};

static float *buffer(enum role role, size_t n)
{
    static struct {
        float *p;
        size_t n;
    } all[ROLES];
    if (all[role].n < n) {
        free(all[role].p);
        all[role].p = bench_floats(n);
        all[role].n = n;
        for (size_t i = 0; role == VAR && i < n; i++) all[role].p[i] += 1;
    }
    return all[role].p;
}

static int32_t *labels(size_t n, size_t classes)
{
    static int32_t *all;
    free(all);
    all = bench_alloc(n * sizeof *all);
    for (size_t i = 0; i < n; i++) all[i] = (int32_t)(i % classes);
    return all;
}

static size_t elements(cvy_shape s) { return s.n * s.c * s.h * s.w; }

static enum cvy_status create(const struct op *o, cvy_context *ctx, cvy_op **op)
{
    const struct problem *p = &o->problem;
    switch (p->kind) {
    case PROBLEM_CONV:
    case PROBLEM_IP: return cvy_op_conv2d(ctx, &p->conv, p->src, o->pass, op);
    case PROBLEM_BNORM: return cvy_op_batch_norm(ctx, NULL, p->src, o->pass, op);
    case PROBLEM_ELTWISE: return cvy_op_activation(ctx, &p->act, p->src, o->pass, op);
    case PROBLEM_POOL: return cvy_op_pool2d(ctx, &p->pool, p->src, o->pass, op);
    case PROBLEM_SOFTMAX: return cvy_op_softmax(ctx, p->src, op);
    case PROBLEM_BINARY:
        return p->multiply ? cvy_op_multiply(ctx, p->src, op) : cvy_op_add(ctx, p->src, op);
    case PROBLEM_CONCAT: return cvy_op_concat(ctx, p->part, p->n_parts, o->pass, op);
    case PROBLEM_DROPOUT:
        return cvy_op_dropout(ctx, &(cvy_dropout_desc){ .p = p->p }, p->src, o->pass, op);
    default: return cvy_op_loss(ctx, NULL, p->src, op);
    }
}

static cvy_op_args arguments(const struct op *o, double *loss)
{
    const struct problem *p = &o->problem;
    const bool conv = p->kind == PROBLEM_CONV || p->kind == PROBLEM_IP;
    const size_t groups = p->conv.groups ? p->conv.groups : 1;
    const size_t filter = p->src.c / groups * p->conv.kernel[0] * p->conv.kernel[1];
    const size_t weights = conv ? p->dst.c * filter : p->src.c;
    const size_t x = elements(p->src), y = elements(p->dst), c = p->dst.c;
    cvy_op_args a = { .src = buffer(SRC, x),
                      .src2 = buffer(SRC2, x),
                      .weights = buffer(WEIGHTS, weights),
                      .bias = buffer(BIAS, c),
                      .diff_dst = buffer(DIFF_DST, y),
                      .dst_in = buffer(SRC2, x > y ? x : y),
                      .dst = buffer(DST, x > y ? x : y),
                      .diff_weights = buffer(DIFF_WEIGHTS, weights),
                      .diff_bias = buffer(DIFF_BIAS, c),
                      .mean = buffer(MEAN, c),
                      .var = buffer(VAR, c),
                      .running_mean = buffer(MEAN, c),
                      .running_var = buffer(VAR, c),
                      .loss = loss,
                      .seed = 1 };
    a.diff_src = a.dst;
    a.src2 = buffer(SRC2, x);
    static float *part[PROBLEM_PARTS]; /* one behind the other */
    for (size_t i = 0, at = 0; i < p->n_parts; at += elements(p->part[i++]))
        part[i] = buffer(PARTS, y) + at;
    a.srcs = (const float *const *)part;
    a.diff_srcs = part;
    if (p->kind == PROBLEM_LOSS) a.labels = labels(p->src.n, p->src.c);
    /* its outputs, not the buffers of the other role */
    if (p->kind == PROBLEM_BNORM && o->pass == CVY_FORWARD) {
        a.mean = buffer(DIFF_WEIGHTS, c);
        a.var = buffer(DIFF_BIAS, c);
        a.running_mean = a.running_var = NULL;
    }
    return a;
}

static void remember(const struct op *o, double seconds, const struct problem_work *work);

/* The share of reorders in some runs of their own, in percent of the time of all phases; -1: one
 * of them failed. */
static double reorders(cvy_op *op, const cvy_op_args *args, size_t runs)
{
    double all = 0, reorder = 0;
    if (cvy_op_profile(op, true)) return -1;
    for (size_t i = 0; i < runs; i++)
        if (cvy_op_run(op, args)) return -1;
    for (size_t i = 0; i < cvy_op_phases(op); i++) {
        cvy_phase_info info;
        if (cvy_op_phase(op, i, &info)) continue;
        all += info.seconds;
        if (strstr(info.name, "reorder")) reorder += info.seconds;
    }
    if (cvy_op_profile(op, false)) return -1;
    return all > 0 ? 100 * reorder / all : 0;
}

static void run(gb_state *state, void *user)
{
    const struct op *o = user;
    cvy_context *ctx = bench_context(o->b, state, o->who, o->threads);
    cvy_op *op = NULL;
    double loss, t;
    if (!ctx) return;
    enum cvy_status status = create(o, ctx, &op);
    const cvy_op_args args = arguments(o, &loss);
    if (!status) status = cvy_op_run(op, &args);
    if (!status) {
        t = bench_now();
        GB_LOOP (state) {
            if ((status = cvy_op_run(op, &args))) break;
        }
        t = (bench_now() - t) / (double)gb_iterations(state);
    }
    if (status) {
        bench_skip(o->b, state, status == CVY_E_UNSUPPORTED, cvy_message(ctx));
    } else {
        const struct problem_work must = problem_work(&o->problem, o->pass);
        const struct bench_work work = { must.flops, must.bytes, 0 };
        const enum cvy_isa isa = cvy_context_isa(ctx);
        bench_figures(o->b, state, t, &work, isa, o->threads);
        if (o->walk) remember(o, t, &must);
        double share = reorders(op, &args, bench_options(o->b)->once ? 1 : (size_t)(0.01 / t) + 1);
        if (share < 0) bench_skip(o->b, state, false, cvy_message(ctx));
        else gb_set_counter(state, "% reorder", share, GB_COUNTER);
        char *label =
            bench_text("%s %s %s", cvy_op_backend(op), cvy_isa_name(isa), o->problem.text);
        gb_set_label(state, label);
        free(label);
    }
    cvy_op_destroy(&op);
    cvy_context_destroy(&ctx);
}

/* ---------------------------------------------------------------------------------------- cases */

/* A case of a problem, and who computes it. */
static void add_case(struct bench *b, const char *set, const char *what, const struct op *op,
                     void (*close)(void *user))
{
    struct op *user = bench_alloc(sizeof *user);
    *user = *op;
    char *size = bench_options(b)->batches.n ? bench_text("/batch:%zu", op->problem.src.n)
                                             : bench_text("%s", "");
    char *name = bench_text("%s/%s%s/%s/threads:%zu/%s", set, what, size, pass_names[op->pass],
                            op->threads, op->who->name);
    for (char *c = name; *c; c++)
        if (*c == ' ') *c = '_';
    bench_add(b, name, GB_US, BENCH_REAL_TIME, run, op->walk, close, user);
    free(name);
    free(size);
}

static bool wanted(const struct bench_options *o, const struct problem *p, unsigned pass)
{
    return p->passes >> pass & 1 && (!o->passes || o->passes >> pass & 1);
}

static void add(struct bench *b, const char *set, const struct problem_list *list)
{
    const struct bench_options *o = bench_options(b);
    const struct bench_numbers threads = bench_threads(b);
    char *name = bench_text("ops/%s", set);
    for (size_t i = 0; i < list->n; i++)
        for (unsigned pass = 0; pass < 4; pass++)
            for (size_t t = 0; t < threads.n && wanted(o, &list->at[i], pass); t++)
                for (size_t k = 0; k < o->n_contestants; k++) {
                    struct op op = { .b = b,
                                     .who = &o->contestants[k],
                                     .threads = threads.value[t],
                                     .problem = list->at[i],
                                     .pass = (enum cvy_pass)pass };
                    add_case(b, name, *op.problem.name ? op.problem.name : op.problem.text + 2, &op,
                             free);
                }
    free(name);
}

static char *read_text(const char *path)
{
    char *text = NULL;
    size_t size = 0, n;
    FILE *f = fopen(path, "r"), *memory = f ? open_memstream(&text, &size) : NULL;
    char block[4096];
    if (!f) bench_die(CLI_IO, "%s: cannot read: %s", path, strerror(errno));
    if (!memory) bench_die(CLI_NOMEM, "out of memory");
    while ((n = fread(block, 1, sizeof block, f)) > 0) fwrite(block, 1, n, memory);
    if (ferror(f)) bench_die(CLI_IO, "%s: cannot read: %s", path, strerror(errno));
    fclose(f);
    if (fclose(memory)) bench_die(CLI_NOMEM, "out of memory");
    return text;
}

/* A built-in shape file by its name, or a path. */
static void add_shapes(struct bench *b, const char *which, size_t batch)
{
    char error[CLI_ERROR];
    struct problem_list list = { 0 };
    const char *names[32] = { 0 }, *text = NULL;
    for (size_t i = 0; i < 31 && shape_files[i].name; i++) {
        names[i] = shape_files[i].name;
        if (!strcmp(which, names[i])) text = shape_files[i].text;
    }
    char *file = NULL;
    const char *set = strrchr(which, '/') ? strrchr(which, '/') + 1 : which;
    if (!text) {
        if (!strchr(which, '/') && !strchr(which, '.')) {
            char hint[CLI_HINT];
            bench_die(
                CLI_USAGE,
                "--shapes: there is no shape file '%.60s' (a path has a '/' or a '.' in it)%s",
                which, cli_hint(which, "", names, NULL, hint));
        }
        text = file = read_text(which);
    }
    if (!problem_read(which, text, batch, &list, error, sizeof error))
        bench_die(CLI_BAD, "%s", error);
    if (!list.n) bench_die(CLI_BAD, "%s: holds no problem", which);
    add(b, set, &list);
    free(list.at);
    free(file);
}

static void add_all(struct bench *b, size_t batch)
{
    static const char *const standard[] = { "lenet" };
    const struct bench_options *o = bench_options(b);
    char error[CLI_ERROR];
    struct problem_list list = { 0 };
    for (size_t i = 0; i < o->problems.n; i++)
        if (!problem_read("--prb", o->problems.text[i], batch, &list, error, sizeof error))
            bench_die(CLI_USAGE, "%s", error);
    if (o->problems.n && !list.n)
        bench_die(CLI_USAGE,
                  "--prb: expected a problem like '--conv ic6ih14oc16kh5', found options alone");
    add(b, "prb", &list);
    list.n = 0;
    for (size_t i = 0; i < o->logs.n; i++) {
        size_t skipped = 0, before = list.n;
        char *text = read_text(o->logs.text[i]);
        if (!problem_read_verbose(o->logs.text[i], text, batch, &list, &skipped, error,
                                  sizeof error))
            bench_die(CLI_NOMEM, "%s", error);
        free(text);
        if (list.n == before)
            bench_die(CLI_BAD,
                      "%s: holds no problem that can be run (%zu lines of other primitives or data "
                      "types); make it with "
                      "ONEDNN_VERBOSE=1",
                      o->logs.text[i], skipped);
        if (skipped)
            fprintf(stderr,
                    "convoy: %s: %zu lines are of primitives or data types that have no operator "
                    "here\n",
                    o->logs.text[i], skipped);
    }
    add(b, "log", &list);
    free(list.at);
    const struct bench_list *shapes = &o->shapes;
    if (!shapes->n && (o->problems.n || o->logs.n)) return;
    for (size_t i = 0; i < (shapes->n ? shapes->n : 1); i++)
        add_shapes(b, shapes->n ? shapes->text[i] : standard[0], batch);
}

void bench_ops(struct bench *b)
{
    const struct bench_options *o = bench_options(b);
    for (size_t i = 0; i < (o->batches.n ? o->batches.n : 1); i++)
        add_all(b, o->batches.n ? o->batches.value[i] : 0);
}

/* --------------------------------------------------------------------------- neighbouring sizes */

/* One operator and pass of one contestant over sizes that lie next to each other, some of them
 * powers of two: what lies a multiple of 4 096 bytes apart shares one set of a cache. */
enum { WALK_SIZES = 5 };
static const double slow = 1.3; /* times as long an element as the neighbours */

struct walk {
    const char *what;
    enum cvy_pass pass;
    const char *who;
    size_t size[WALK_SIZES], closed;
    /* seconds an operation, or a byte; the least of all repetitions, 0: not measured */
    double cost[WALK_SIZES];
};

static void remember(const struct op *o, double seconds, const struct problem_work *work)
{
    const double cost = seconds / (work->flops > 0 ? work->flops : work->bytes);
    double *least = &o->walk->cost[o->at];
    if (*least == 0 || cost < *least) *least = cost;
}

/* How much longer an element takes than the mean of its neighbours'; 0: unknown. */
static double against_neighbours(const struct walk *w, size_t i)
{
    double sum = 0;
    size_t n = 0;
    for (size_t k = i ? i - 1 : 1; k <= i + 1 && k < WALK_SIZES; k += 2) {
        if (w->cost[k] == 0) return 0;
        sum += w->cost[k];
        n++;
    }
    return w->cost[i] * (double)n / sum;
}

static void leave_walk(void *user)
{
    struct op *o = user;
    struct walk *w = o->walk;
    if (++w->closed == WALK_SIZES) {
        for (size_t i = 0; i < WALK_SIZES && !bench_options(o->b)->once; i++) {
            const double ratio = against_neighbours(w, i);
            if (ratio > slow)
                bench_note(
                    o->b,
                    "uneven: %s, %s, %s: %zu takes %.2f times as long an element as its neighbours",
                    w->what, pass_names[w->pass], w->who, w->size[i], ratio);
        }
        free(w);
    }
    free(o);
}

/* The text with the size in the place of every N. */
static char *of_size(const char *format, size_t n)
{
    char *text = bench_text("%s", format), *all = bench_text("%s", "");
    for (char *rest = text, *word; (word = strsep(&rest, "N"));) {
        char *longer = rest ? bench_text("%s%s%zu", all, word, n) : bench_text("%s%s", all, word);
        free(all);
        all = longer;
    }
    free(text);
    return all;
}

static void add_walk(struct bench *b, const char *what, const char *format, size_t middle,
                     size_t step)
{
    const struct bench_options *o = bench_options(b);
    const struct bench_numbers threads = bench_threads(b);
    struct problem_list list = { 0 };
    char error[CLI_ERROR];
    size_t size[WALK_SIZES];
    for (size_t i = 0; i < WALK_SIZES; i++) {
        size[i] = middle + i * step - WALK_SIZES / 2 * step;
        char *problem = of_size(format, size[i]);
        if (!problem_read("sizes", problem, o->batches.n ? o->batches.value[0] : 0, &list, error,
                          sizeof error))
            bench_die(CLI_USAGE, "%s", error);
        free(problem);
    }
    for (unsigned pass = 0; pass < 4; pass++)
        for (size_t t = 0; t < threads.n && wanted(o, &list.at[0], pass); t++)
            for (size_t k = 0; k < o->n_contestants; k++) {
                struct walk *walk = bench_alloc(sizeof *walk);
                *walk = (struct walk){ .what = what,
                                       .pass = (enum cvy_pass)pass,
                                       .who = o->contestants[k].name };
                memcpy(walk->size, size, sizeof size);
                for (size_t i = 0; i < WALK_SIZES; i++) {
                    struct op op = { .b = b,
                                     .who = &o->contestants[k],
                                     .threads = threads.value[t],
                                     .walk = walk,
                                     .at = i,
                                     .problem = list.at[i],
                                     .pass = (enum cvy_pass)pass };
                    char *name = of_size(what, size[i]);
                    add_case(b, "sizes", name, &op, leave_walk);
                    free(name);
                }
            }
    free(list.at);
}

void bench_sizes(struct bench *b)
{
    static const struct {
        const char *what, *problem;
    } of_inputs[] = {
        {"fully connected N -> 100", "--ip mb50icNoc100"},
        {"fully connected 100 -> N", "--ip mb50ic100ocN"},
        {"batch norm of N channels", "--bnorm mb64icN"},
    }, of_maps[] = {
        {"3x3 convolution of N x N", "--conv mb16ic16ihNoc16ohNkh3ph1"},
        {"1x1 convolution of N x N", "--conv mb16ic32ihNoc32kh1"},
        {"fully connected on N x N", "--ip mb50ic3ihNoc100"},
        {"batch norm of N x N", "--bnorm mb16ic16ihN"},
        {"max pooling of N x N", "--pool --alg=max mb16ic16ihNohNkh3sh1ph1"},
        {"ReLU of N x N", "--eltwise --alg=relu 16x16xNxN"},
        {"concat of N x N", "--concat 16x16xNxN:16x16xNxN"},
    }, of_channels[] = {
        {"1x1 convolution N -> 64", "--conv mb16icNih14oc64kh1"},
        {"1x1 convolution 64 -> N", "--conv mb16ic64ih14ocNkh1"},
        {"3x3 convolution N -> 64", "--conv mb16icNih14oc64oh14kh3ph1"},
    };
    for (size_t middle = 1024; middle <= 4096; middle += 1024)
        for (size_t i = 0; i < sizeof of_inputs / sizeof *of_inputs; i++)
            add_walk(b, of_inputs[i].what, of_inputs[i].problem, middle, 32);
    for (size_t middle = 16; middle <= 64; middle *= 2)
        for (size_t i = 0; i < sizeof of_maps / sizeof *of_maps; i++)
            add_walk(b, of_maps[i].what, of_maps[i].problem, middle, 2);
    for (size_t middle = 64; middle <= 256; middle *= 2)
        for (size_t i = 0; i < sizeof of_channels / sizeof *of_channels; i++)
            add_walk(b, of_channels[i].what, of_channels[i].problem, middle, 8);
}
