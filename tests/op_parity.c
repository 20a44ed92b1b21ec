/* The native backend against the reference over random operator descriptors, through the operator
 * API, and then the oneDNN module where there is one (with looser bounds and no promise of equal
 * bits: docs/numerics.md): every operator and pass, 1 to 40 images, buffers that are misaligned by
 * whole floats and end at a guard page. Errors are held to bounds that follow from float
 * arithmetic, whole numbers to equality, and two instruction sets to the same bits.
 *
 *   op_parity [--seed S] [--cases N] [--case I]     a failure prints the line that repeats it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>

#include "acts.h"
#include "check.h"
#include "convoy/convoy.h"

#define U 0x1p-24          /* half an ulp of 1 */
#define MAX_MACS 1500000.0 /* of a convolution: what the reference does in about 2 ms */
#define MAX_BUFFERS 64
#define MAX_PARTS 6

enum kind {
    CONV,
    CONV_TRANSPOSE,
    LINEAR,
    BATCH_NORM,
    GROUP_NORM,
    ACT,
    PRELU,
    BIAS,
    POOL,
    DROPOUT,
    ADD,
    MULTIPLY,
    CONCAT,
    PAD,
    UPSAMPLE,
    MEAN_SUBTRACT,
    WHITENING,
    RANK,
    SOFTMAX,
    CROSS_ENTROPY,
    KINDS
};
static const char *const kind_names[KINDS] = { "conv2d",     "conv_transpose2d",
                                               "linear",     "batch_norm",
                                               "group_norm", "activation",
                                               "prelu",      "bias",
                                               "pool2d",     "dropout",
                                               "add",        "multiply",
                                               "concat",     "pad_channels",
                                               "upsample",   "mean_subtract",
                                               "whitening",  "rank",
                                               "softmax",    "softmax_cross_entropy" };
static const char *const pass_names[] = { "forward", "forward_infer", "backward_data",
                                          "backward_weights" };

/* How inputs are filled. */
enum fill { REAL, POSITIVE, WHOLE, SPECIAL };

struct op_case {
    enum kind kind;
    enum cvy_pass pass;
    enum fill fill;
    cvy_shape src, dst;
    cvy_shape part[MAX_PARTS]; /* of a concat */
    size_t n_parts, before, after;
    cvy_conv2d_desc conv;
    cvy_conv_transpose2d_desc deconv; /* and conv has what they share */
    cvy_batch_norm_desc bn;
    cvy_group_norm_desc gn;
    cvy_act_desc act;
    cvy_pool2d_desc pool;
    cvy_dropout_desc dropout;
    cvy_loss_desc loss;
    cvy_upsample_desc upsample;
    cvy_mean_subtract_desc mean;
    cvy_whitening_desc whitening;
    cvy_rank_desc rank;
    double temperature;
};

/* Each table with each algorithm, where all tables can run. */
enum { NATIVE_MOST = CVY_ISA_PAIR * CVY_ALGORITHM_TRANSFORMED };

struct parity {
    cvy_context *reference, *native[NATIVE_MOST];
    enum cvy_isa isa[NATIVE_MOST];
    enum cvy_algorithm algorithm[NATIVE_MOST];
    size_t n_native;
    bool module; /* `native` is one context with oneDNN's module */
    uint64_t seed;
    size_t first, end;
    /* of the running case */
    size_t number;
    struct check_rng r;
    struct op_case c;
    struct check_buf buffer[MAX_BUFFERS];
    size_t n_buffers;
    const char *who;
    bool failed;
    /* summary */
    size_t count[KINDS];
    double worst[KINDS]; /* error / bound */
};

/* -------------------------------------------------------------------------------------- telling */

static size_t elements(cvy_shape s) { return s.n * s.c * s.h * s.w; }

static void describe(const struct op_case *c)
{
    print_message("%s %s, src %zux%zux%zux%zu, fill %d\n", kind_names[c->kind], pass_names[c->pass],
                  c->src.n, c->src.c, c->src.h, c->src.w, (int)c->fill);
    if (c->kind == CONV_TRANSPOSE)
        print_message("  output_pad %zux%zu\n", c->deconv.output_pad[0], c->deconv.output_pad[1]);
    if (c->kind == CONV || c->kind == LINEAR || c->kind == CONV_TRANSPOSE)
        print_message("  out_channels %zu, kernel %zux%zu, stride %zux%zu, pad %zu,%zu,%zu,%zu, "
                      "dilation %zux%zu, groups "
                      "%zu%s%s\n",
                      c->conv.out_channels, c->conv.kernel[0], c->conv.kernel[1], c->conv.stride[0],
                      c->conv.stride[1], c->conv.pad[0], c->conv.pad[1], c->conv.pad[2],
                      c->conv.pad[3], c->conv.dilation[0], c->conv.dilation[1], c->conv.groups,
                      c->conv.no_bias ? ", no bias" : "", c->conv.flip ? ", flip" : "");
    if (c->kind == BATCH_NORM)
        print_message("  eps %g, momentum %g, running_var %d%s%s\n", c->bn.eps, c->bn.momentum,
                      (int)c->bn.running_var, c->bn.no_affine ? ", no affine" : "",
                      c->bn.frozen ? ", frozen" : "");
    if (c->kind == GROUP_NORM)
        print_message("  groups %zu, eps %g%s%s%s\n", c->gn.groups, c->gn.eps,
                      c->gn.no_gamma ? ", no gamma" : "", c->gn.no_beta ? ", no beta" : "",
                      c->gn.elementwise ? ", elementwise" : "");
    if (c->kind == ACT)
        print_message("  kind %d, alpha %g, relu_grad_at_zero %g\n", (int)c->act.kind, c->act.alpha,
                      c->act.relu_grad_at_zero);
    if (c->kind == POOL)
        print_message("  %s, kernel %zux%zu, stride %zux%zu, pad %zu,%zu,%zu,%zu, tie %d%s%s\n",
                      c->pool.kind == CVY_POOL_MAX ? "max" : "average", c->pool.kernel[0],
                      c->pool.kernel[1], c->pool.stride[0], c->pool.stride[1], c->pool.pad[0],
                      c->pool.pad[1], c->pool.pad[2], c->pool.pad[3], (int)c->pool.tie,
                      c->pool.ceil_mode ? ", ceil" : "",
                      c->pool.exclude_pad ? ", exclude_pad" : "");
    if (c->kind == PAD) print_message("  before %zu, after %zu\n", c->before, c->after);
    if (c->kind == DROPOUT)
        print_message("  p %g%s\n", c->dropout.p, c->dropout.unscaled ? ", unscaled" : "");
    if (c->kind == UPSAMPLE)
        print_message("  kind %d, scale %zux%zu, size %zux%zu%s\n", (int)c->upsample.kind,
                      c->upsample.scale[0], c->upsample.scale[1], c->upsample.size[0],
                      c->upsample.size[1], c->upsample.align_corners ? ", corners" : "");
    if (c->kind == MEAN_SUBTRACT) print_message("  over %d\n", (int)c->mean.over);
    if (c->kind == WHITENING)
        print_message(
            "  kind %d, channels %zu, steps %zu, eps %g%s%s%s%s\n", (int)c->whitening.kind,
            c->whitening.channels, c->whitening.steps, c->whitening.eps,
            c->whitening.shared ? ", shared" : "", c->whitening.frozen ? ", frozen" : "",
            c->whitening.no_gamma ? ", no gamma" : "", c->whitening.no_beta ? ", no beta" : "");
    if (c->kind == RANK)
        print_message("  quantiles %zu, momentum %g%s%s\n", c->rank.quantiles, c->rank.momentum,
                      c->rank.normal ? ", normal" : "", c->rank.frozen ? ", frozen" : "");
    if (c->kind == SOFTMAX) print_message("  temperature %g\n", c->temperature);
    if (c->kind == CROSS_ENTROPY)
        print_message("  label_smoothing %g, temperature %g\n", c->loss.label_smoothing,
                      c->loss.temperature);
}

static void complain(struct parity *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void complain(struct parity *p, const char *format, ...)
{
    if (p->failed) return; /* the first mistake of a case says enough */
    p->failed = true;
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    print_message("%s: %s\n  repeat: op_parity --seed %llu --case %zu\n  ", p->who, text,
                  (unsigned long long)p->seed, p->number);
    describe(&p->c);
}

/* --------------------------------------------------------------------------------------- memory */

/* n floats between guards, filled with NaN. */
static float *room(struct parity *p, size_t n)
{
    assert_true(p->n_buffers < MAX_BUFFERS);
    struct check_buf *b = &p->buffer[p->n_buffers++];
    *b = check_alloc((n ? n : 1) * sizeof(float), check_below(&p->r, 4) != 0,
                     4 * check_below(&p->r, 2) * check_below(&p->r, 16));
    return b->p;
}

static float whole(struct parity *p) { return (float)check_below(&p->r, 9) - 4; }

/* A number as the case wants it. */
static float any(struct parity *p)
{
    if (p->c.fill == WHOLE) return whole(p);
    if (p->c.fill == POSITIVE) return check_uniform(&p->r, 0, 1);
    return check_normal(&p->r);
}

static float *filled(struct parity *p, size_t n)
{
    float *x = room(p, n);
    for (size_t i = 0; i < n; i++) x[i] = any(p);
    if (p->c.fill == SPECIAL && !p->module)
        x[check_below(&p->r, n)] = check_below(&p->r, 2) ? INFINITY : -INFINITY;
    return x;
}

static float *magnitudes(struct parity *p, const float *x, size_t n)
{
    if (!x) return NULL;
    float *y = room(p, n);
    for (size_t i = 0; i < n; i++) y[i] = fabsf(x[i]);
    return y;
}

static float *copy(struct parity *p, const float *x, size_t n)
{
    return x ? memcpy(room(p, n), x, n * sizeof *x) : NULL;
}

/* -------------------------------------------------------------------------------------- running */

static enum cvy_status create(cvy_context *ctx, const struct op_case *c, cvy_op **op)
{
    switch (c->kind) {
    case CONV: return cvy_op_conv2d(ctx, &c->conv, c->src, c->pass, op);
    case LINEAR:
        return cvy_op_linear(
            ctx,
            &(cvy_linear_desc){ .out_features = c->conv.out_channels, .no_bias = c->conv.no_bias },
            c->src, c->pass, op);
    case CONV_TRANSPOSE: return cvy_op_conv_transpose2d(ctx, &c->deconv, c->src, c->pass, op);
    case BIAS: return cvy_op_bias(ctx, c->src, c->pass, op);
    case BATCH_NORM: return cvy_op_batch_norm(ctx, &c->bn, c->src, c->pass, op);
    case GROUP_NORM: return cvy_op_group_norm(ctx, &c->gn, c->src, c->pass, op);
    case PRELU: return cvy_op_prelu(ctx, c->src, c->pass, op);
    case ACT: return cvy_op_activation(ctx, &c->act, c->src, c->pass, op);
    case POOL: return cvy_op_pool2d(ctx, &c->pool, c->src, c->pass, op);
    case DROPOUT: return cvy_op_dropout(ctx, &c->dropout, c->src, c->pass, op);
    case ADD: return cvy_op_add(ctx, c->src, op);
    case MULTIPLY: return cvy_op_multiply(ctx, c->src, op);
    case CONCAT: return cvy_op_concat(ctx, c->part, c->n_parts, c->pass, op);
    case PAD: return cvy_op_pad_channels(ctx, c->before, c->after, c->src, c->pass, op);
    case UPSAMPLE: return cvy_op_upsample(ctx, &c->upsample, c->src, c->pass, op);
    case MEAN_SUBTRACT: return cvy_op_mean_subtract(ctx, &c->mean, c->src, c->pass, op);
    case WHITENING: return cvy_op_whitening(ctx, &c->whitening, c->src, c->pass, op);
    case RANK: return cvy_op_rank(ctx, &c->rank, c->src, c->pass, op);
    case SOFTMAX: return cvy_op_tempered_softmax(ctx, c->temperature, c->src, op);
    case CROSS_ENTROPY: return cvy_op_loss(ctx, &c->loss, c->src, op);
    case KINDS: break;
    }
    return CVY_E_ARG;
}

static bool run(struct parity *p, cvy_context *ctx, const cvy_op_args *args)
{
    cvy_op *op = NULL;
    bool ok = create(ctx, &p->c, &op) == CVY_OK && cvy_op_run(op, args) == CVY_OK;
    if (!ok) complain(p, "%s", cvy_message(ctx));
    cvy_op_destroy(&op);
    return ok;
}

/* ------------------------------------------------------------------------------------ comparing */

/* What oneDNN may be wrong by, in our bounds: its sums are longer chains, its statistics are sums
 * of floats without a pivot, its exponentials and logarithms are exact for 1 only, its loss goes
 * through a logarithm (up to 16.3 with 813 classes; 2.5 times worse with SSE 4.1, which is what the
 * scalar table caps it to, than with AVX2). */
static const struct {
    double factor, absolute;
} module_slack[KINDS] = {
    [CONV] = { 2, 0 },        [LINEAR] = { 2, 0 },    [CONV_TRANSPOSE] = { 2, 0 },
    [BIAS] = { 1, 0 },        [UPSAMPLE] = { 1, 0 },  [MEAN_SUBTRACT] = { 1, 0 },
    [BATCH_NORM] = { 32, 0 }, [ACT] = { 8, 3e-6 },    [PRELU] = { 1, 0 },
    [POOL] = { 1, 0 },        [DROPOUT] = { 1, 0 },   [ADD] = { 1, 0 },
    [MULTIPLY] = { 1, 0 },    [SOFTMAX] = { 8, 0 },   [CROSS_ENTROPY] = { 24, 0 },
    [GROUP_NORM] = { 1, 0 },  [WHITENING] = { 1, 0 }, [RANK] = { 1, 0 },
};

/* got within bound of want; both NaN, or the same infinity, is equal. Denormals may be flushed. */
static void compare(struct parity *p, const char *what, const float *got, const float *want,
                    size_t n, double (*bound)(const void *arg, size_t i), const void *arg)
{
    for (size_t i = 0; i < n && !p->failed; i++) {
        if (check_same(got[i], want[i]) || got[i] == want[i]) continue;
        double error = fabs((double)got[i] - (double)want[i]),
               allowed = bound(arg, i) + (double)FLT_MIN;
        if (p->module)
            allowed = allowed * module_slack[p->c.kind].factor + module_slack[p->c.kind].absolute;
        if (!(error <= allowed))
            complain(p, "%s[%zu] is %.9g, reference %.9g, allowed error %.3g", what, i,
                     (double)got[i], (double)want[i], allowed);
        else if (allowed > 0 && error / allowed > p->worst[p->c.kind])
            p->worst[p->c.kind] = error / allowed;
    }
}

/* factor * u * magnitude + u * |want|: the reference's double was rounded to float as well */
struct scaled {
    const float *magnitude, *want;
    double factor;
};
static double bound_scaled(const void *arg, size_t i)
{
    const struct scaled *s = arg;
    return s->factor * U * fabs((double)s->magnitude[i]) + U * fabs((double)s->want[i]);
}
static double bound_none(const void *arg, size_t i)
{
    (void)arg, (void)i;
    return 0;
}
static void compare_exact(struct parity *p, const char *what, const float *got, const float *want,
                          size_t n)
{
    compare(p, what, got, want, n, bound_none, NULL);
}
static void compare_scaled(struct parity *p, const char *what, const float *got, const float *want,
                           size_t n, const float *magnitude, double factor)
{
    compare(p, what, got, want, n, bound_scaled, &(struct scaled){ magnitude, want, factor });
}
static void compare_bits(struct parity *p, const char *what, const float *a, const float *b,
                         size_t n)
{
    for (size_t i = 0; i < n && !p->failed && !p->module; i++)
        if (!check_same(a[i], b[i]))
            complain(p, "%s[%zu]: %.9g with one instruction set, %.9g with another", what, i,
                     (double)a[i], (double)b[i]);
}

/* Errors of transformed sums, in roundings of the magnitudes below (docs/numerics.md). */
#define TRANSFORMED_FACTOR 24

/* What can be transformed; then every algorithm but DIRECT may choose it. */
static bool transformable(const struct parity *p)
{
    const cvy_conv2d_desc *d = &p->c.conv;
    for (int i = 0; i < 2; i++)
        if (d->stride[i] > 1 || d->dilation[i] > 1) return false;
    if (p->c.kind != CONV && p->c.kind != CONV_TRANSPOSE) return false;
    return d->kernel[1] == 3 || d->kernel[1] == 5;
}

/* Whose sums a convolution by `algorithm` has, if that is certain. Panels have the direct
 * algorithm's, but leave gradients of weights and maps of one pixel to AUTO. */
static enum cvy_algorithm sums_of(const struct parity *p, enum cvy_algorithm algorithm)
{
    bool panels =
        p->c.pass != CVY_BACKWARD_WEIGHTS && p->c.kind == CONV && p->c.src.h * p->c.src.w > 1;
    if (algorithm == CVY_ALGORITHM_PANELS && panels) return CVY_ALGORITHM_DIRECT;
    return algorithm == CVY_ALGORITHM_DEPTHWISE ? CVY_ALGORITHM_AUTO : algorithm;
}

/* Whether two contexts owe each other the same bits. Depthwise has an order of its own for the
 * gradient of weights, which it takes where it is asked for or cheapest; transformed sums are
 * others. */
static bool same_sums(const struct parity *p, size_t i, size_t k)
{
    enum cvy_algorithm a = p->algorithm[i], b = p->algorithm[k];
    bool grouped = p->c.pass == CVY_BACKWARD_WEIGHTS && p->c.conv.groups > 1;
    bool direct = a == CVY_ALGORITHM_DIRECT || b == CVY_ALGORITHM_DIRECT,
         depthwise = a == CVY_ALGORITHM_DEPTHWISE || b == CVY_ALGORITHM_DEPTHWISE;
    if (a == b) return true;
    if (grouped && (direct || depthwise)) return false;
    return !transformable(p) || sums_of(p, a) == sums_of(p, b);
}

/* Runs the case natively: `args` computed by one instruction set, `again` (other output buffers) by
 * another. */
static bool run_native(struct parity *p, const cvy_op_args *args, const cvy_op_args *again)
{
    size_t i = check_below(&p->r, p->n_native), k = check_below(&p->r, p->n_native);
    p->who = p->module ? "onednn" : cvy_isa_name(p->isa[i]);
    if (!run(p, p->native[i], args)) return false;
    return run(p, p->native[k], again);
}

/* --------------------------------------------------------------------------- random descriptors */

static size_t between(struct parity *p, size_t lo, size_t hi)
{
    return lo + check_below(&p->r, hi - lo + 1);
}
static bool maybe(struct parity *p) { return check_below(&p->r, 2); }
static bool seldom(struct parity *p) { return check_below(&p->r, 8) == 0; }

static size_t channels(struct parity *p)
{
    static const size_t interesting[] = { 1,  2,  3,  4,  6,  7,  8,  12,  13,
                                          16, 17, 24, 31, 33, 40, 65, 100, 250 };
    return interesting[check_below(&p->r, seldom(p) ? 18 : 11)];
}

static size_t images(struct parity *p)
{
    return seldom(p) ? between(p, 1, 40)
                     : (size_t[]){ 1, 2, 15, 16, 17, 32, 5, 33 }[check_below(&p->r, 8)];
}

static double conv_macs(const struct op_case *c)
{
    bool turned = c->kind == CONV_TRANSPOSE;
    return (double)elements(turned ? c->src : c->dst) *
           (double)((turned ? c->conv.out_channels : c->src.c) / c->conv.groups *
                    c->conv.kernel[0] * c->conv.kernel[1]);
}

/* The shape of the result; false if the descriptor does not fit. */
static bool conv_fits(struct parity *p)
{
    struct op_case *c = &p->c;
    cvy_op *op;
    if (create(p->reference, c, &op) != CVY_OK) return false;
    c->dst = cvy_op_dst_shape(op);
    cvy_op_destroy(&op);
    if (!c->conv.groups) c->conv.groups = 1;
    while (conv_macs(c) > MAX_MACS && c->src.n > 1) c->src.n = c->dst.n = (c->src.n + 1) / 2;
    return conv_macs(c) <= MAX_MACS;
}

/* A convolution's settings, most of them; from one pixel the kernel is the whole result. */
static bool draw_conv_transpose(struct parity *p)
{
    struct op_case *c = &p->c;
    static const enum cvy_pass passes[] = { CVY_FORWARD, CVY_BACKWARD_DATA, CVY_BACKWARD_WEIGHTS,
                                            CVY_FORWARD_INFER };
    c->pass = passes[check_below(&p->r, seldom(p) ? 4 : 3)];
    c->fill = (enum fill)check_below(&p->r, seldom(p) ? 4 : 3);
    c->src = (cvy_shape){ images(p), channels(p), between(p, 1, 9), between(p, 1, 9) };
    if (seldom(p)) c->src = (cvy_shape){ images(p), between(p, 1, 130), 1, 1 };
    cvy_conv_transpose2d_desc d = { .out_channels = channels(p),
                                    .no_bias = maybe(p),
                                    .flip = seldom(p) };
    for (int i = 0; i < 2; i++) {
        d.kernel[i] = between(p, 1, 5);
        d.stride[i] = between(p, 0, 3);
        d.dilation[i] = seldom(p) ? between(p, 2, 3) : 0;
        size_t most = d.stride[i] > d.dilation[i] ? d.stride[i] : d.dilation[i];
        if (most > 1 && maybe(p)) d.output_pad[i] = between(p, 0, most - 1);
        if (maybe(p)) d.pad[i] = check_below(&p->r, 4);
        d.pad[i + 2] = seldom(p) ? check_below(&p->r, 5) : d.pad[i];
    }
    if (check_below(&p->r, 4) == 0) {
        d.groups = maybe(p) ? c->src.c : between(p, 2, 4);
        if (d.groups != c->src.c) c->src.c = d.groups * between(p, 1, 9);
        d.out_channels = d.groups * between(p, 1, d.groups == c->src.c ? 2 : 9);
    }
    c->deconv = d;
    c->conv = (cvy_conv2d_desc){ .out_channels = d.out_channels,
                                 .kernel = { d.kernel[0], d.kernel[1] },
                                 .stride = { d.stride[0], d.stride[1] },
                                 .pad = { d.pad[0], d.pad[1], d.pad[2], d.pad[3] },
                                 .dilation = { d.dilation[0], d.dilation[1] },
                                 .groups = d.groups,
                                 .no_bias = d.no_bias,
                                 .flip = d.flip };
    return conv_fits(p);
}

static bool draw_conv(struct parity *p)
{
    struct op_case *c = &p->c;
    static const enum cvy_pass passes[] = { CVY_FORWARD, CVY_BACKWARD_DATA, CVY_BACKWARD_WEIGHTS,
                                            CVY_FORWARD_INFER };
    c->pass = passes[check_below(&p->r, seldom(p) ? 4 : 3)];
    c->fill = (enum fill)check_below(&p->r, seldom(p) ? 4 : 3);
    c->src = (cvy_shape){ images(p), channels(p), between(p, 1, 14), between(p, 1, 14) };
    c->conv =
        (cvy_conv2d_desc){ .out_channels = channels(p), .no_bias = maybe(p), .flip = seldom(p) };
    if (c->kind == LINEAR) { /* the whole map, often long */
        c->src = (cvy_shape){ images(p), between(p, 1, 256), seldom(p) ? 4 : 1, seldom(p) ? 5 : 1 };
        c->conv.out_channels = between(p, 1, 130);
        c->conv.flip = false;
        c->conv.kernel[0] = c->src.h;
        c->conv.kernel[1] = c->src.w;
    } else {
        bool square = maybe(p), same = maybe(p);
        /* weights enough to be owned by tasks, on a map small enough to be tried */
        if (seldom(p) && seldom(p)) {
            c->src = (cvy_shape){ between(p, 1, 3), between(p, 96, 130), 3, 3 };
            c->conv.out_channels = between(p, 96, 130);
        }
        for (int i = 0; i < 2; i++) {
            c->conv.kernel[i] = i && square
                                    ? c->conv.kernel[0]
                                    : (size_t[]){ 1, 3, 5, 2, 4, 7, 6, 3 }[check_below(&p->r, 8)];
            c->conv.stride[i] = same ? 1 : between(p, 0, 3);
            c->conv.dilation[i] = seldom(p) ? between(p, 2, 3) : 0;
            c->conv.pad[i] = c->conv.pad[i + 2] =
                same ? c->conv.kernel[i] / 2 : check_below(&p->r, 4);
            /* also windows wholly in the padding */
            if (seldom(p)) c->conv.pad[i + 2] = check_below(&p->r, 9);
            if (seldom(p)) c->conv.pad[i] = check_below(&p->r, 9);
        }
        if (seldom(p)) { /* what is multiplied by panels */
            cvy_conv2d_desc pointwise = { .out_channels = c->conv.out_channels,
                                          .kernel = { 1, 1 },
                                          .no_bias = c->conv.no_bias };
            c->conv = pointwise;
        }
        if (check_below(&p->r, 4) == 0) {
            if (maybe(p)) { /* depthwise */
                c->conv.groups = c->src.c;
                c->conv.out_channels = c->src.c * between(p, 1, 2);
            } else {
                c->conv.groups = between(p, 2, 4);
                c->src.c = c->conv.groups * between(p, 1, 9);
                c->conv.out_channels = c->conv.groups * between(p, 1, 9);
            }
        }
    }
    return conv_fits(p);
}

/* The largest magnitude of a plane, or their sum. */
static double plane_of(const float *x, size_t n, bool sum)
{
    double all = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        all += fabs((double)x[i]);
        most = fmax(most, fabs((double)x[i]));
    }
    return sum ? all : most;
}

/* The magnitudes that errors of transformed sums go by: every product of a tile's pixels with the
 * kernel's taps has its part in each of them, so that of a source channel counts its largest pixel,
 * and of a kernel all taps. `rows` are the maps of the weight's rows, columns those of its columns;
 * of a gradient of weights NULL where the result is. */
struct transformed_case {
    const float *rows, *columns, *weights;                        /* one is NULL: the result */
    size_t n, groups, n_rows, n_columns, row_plane, column_plane; /* rows, columns: of a group */
    size_t taps;
};
static float *transformed_magnitudes(struct parity *p, const struct transformed_case *t)
{
    const size_t rows = t->groups * t->n_rows, columns = t->groups * t->n_columns;
    size_t results = t->n * (t->rows ? columns * t->column_plane : rows * t->row_plane);
    if (!t->weights) results = rows * t->n_columns * t->taps;
    float *m = room(p, results);
    if (!t->weights) {
        for (size_t o = 0; o < rows; o++)
            for (size_t i = 0; i < t->n_columns; i++) {
                double sum = 0;
                size_t column = o / t->n_rows * t->n_columns + i;
                for (size_t b = 0; b < t->n; b++)
                    sum += plane_of(t->rows + (b * rows + o) * t->row_plane, t->row_plane, true) *
                           plane_of(t->columns + (b * columns + column) * t->column_plane,
                                    t->column_plane, false);
                for (size_t k = 0; k < t->taps; k++)
                    m[(o * t->n_columns + i) * t->taps + k] = (float)sum;
            }
        return m;
    }
    const bool to_rows = !t->rows;
    const size_t dst = to_rows ? rows : columns, src_group = to_rows ? t->n_columns : t->n_rows,
                 dst_group = to_rows ? t->n_rows : t->n_columns,
                 dst_plane = to_rows ? t->row_plane : t->column_plane,
                 src_plane = to_rows ? t->column_plane : t->row_plane;
    const float *src = to_rows ? t->columns : t->rows;
    for (size_t b = 0; b < t->n; b++)
        for (size_t c = 0; c < dst; c++) {
            double sum = 0;
            for (size_t i = 0; i < src_group; i++) {
                size_t from = c / dst_group * src_group + i, row = to_rows ? c : from,
                       column = to_rows ? i : c % dst_group;
                sum +=
                    plane_of(src + (b * t->groups * src_group + from) * src_plane, src_plane,
                             false) *
                    plane_of(t->weights + (row * t->n_columns + column) * t->taps, t->taps, true);
            }
            for (size_t i = 0; i < dst_plane; i++) m[(b * dst + c) * dst_plane + i] = (float)sum;
        }
    return m;
}

/* Those of the case, whose weights' rows are output channels, of a transposed convolution input
 * channels. */
static float *magnitudes_transformed(struct parity *p, const cvy_op_args *args)
{
    const struct op_case *c = &p->c;
    const bool turned = c->kind == CONV_TRANSPOSE;
    struct transformed_case t = { .rows = turned ? args->src : args->diff_dst,
                                  .columns = turned ? args->diff_dst : args->src,
                                  .weights = args->weights,
                                  .n = c->src.n,
                                  .taps = c->conv.kernel[0] * c->conv.kernel[1],
                                  .groups = c->conv.groups,
                                  .n_rows = (turned ? c->src.c : c->dst.c) / c->conv.groups,
                                  .n_columns = (turned ? c->dst.c : c->src.c) / c->conv.groups,
                                  .row_plane = turned ? c->src.h * c->src.w : c->dst.h * c->dst.w,
                                  .column_plane =
                                      turned ? c->dst.h * c->dst.w : c->src.h * c->src.w };
    return transformed_magnitudes(p, &t);
}

/* Values that are not finite spread over a tile, but never get lost. */
static void compare_transformed(struct parity *p, const cvy_op_args *args, const float *got,
                                const float *want, size_t n)
{
    if (p->c.fill != SPECIAL) {
        compare_scaled(p, "result", got, want, n, magnitudes_transformed(p, args),
                       TRANSFORMED_FACTOR);
        return;
    }
    for (size_t i = 0; i < n && !p->failed; i++)
        if (!isfinite(want[i]) && isfinite(got[i]))
            complain(p, "result[%zu] is %.9g, reference %.9g", i, (double)got[i], (double)want[i]);
}

static void case_conv(struct parity *p)
{
    const struct op_case *c = &p->c;
    const cvy_conv2d_desc *d = &c->conv;
    size_t nx = elements(c->src), ny = elements(c->dst), oc = d->out_channels;
    size_t taps = d->kernel[0] * d->kernel[1], nw = oc * (c->src.c / d->groups) * taps;
    bool forward = c->pass == CVY_FORWARD || c->pass == CVY_FORWARD_INFER;
    float *x = c->pass != CVY_BACKWARD_DATA ? filled(p, nx) : NULL;
    float *w = c->pass != CVY_BACKWARD_WEIGHTS ? filled(p, nw) : NULL;
    float *dy = !forward ? filled(p, ny) : NULL, *b = forward && !d->no_bias ? filled(p, oc) : NULL;
    cvy_op_args args = { .src = x, .weights = w, .bias = b, .diff_dst = dy };
    cvy_op_args abs = { .src = magnitudes(p, x, nx),
                        .weights = magnitudes(p, w, nw),
                        .bias = magnitudes(p, b, oc),
                        .diff_dst = magnitudes(p, dy, ny) };
    size_t n = ny, k = nw / oc + 1; /* results; terms of each */
    if (c->pass == CVY_BACKWARD_DATA) {
        n = nx;
        k = oc / d->groups * taps;
    } else if (c->pass == CVY_BACKWARD_WEIGHTS) {
        n = nw;
        k = c->kind == CONV_TRANSPOSE && nx / c->src.c > ny / oc ? nx / c->src.c : ny / oc;
    }
    /* Random terms: the typical figure of docs/numerics.md. A case of few terms may have one sign
     * by chance. */
    double chain = fmin((double)k, c->pass == CVY_BACKWARD_WEIGHTS ? 1024 : 256),
           walk = sqrt(c->fill == POSITIVE ? chain : fmin(chain, 16));
    double factor = c->fill == WHOLE ? 0 : 4 + sqrt((double)k) / 16 + walk;
    float *out[4], *db[4]; /* reference, its magnitudes, native, native again */
    size_t first = 0;
    for (int i = 0; i < 4; i++) {
        cvy_op_args a = i == 1 ? abs : args;
        out[i] = room(p, n);
        db[i] = c->pass == CVY_BACKWARD_WEIGHTS && !d->no_bias ? room(p, oc) : NULL;
        if (forward) a.dst = out[i];
        else if (c->pass == CVY_BACKWARD_DATA) a.diff_src = out[i];
        else {
            a.diff_weights = out[i];
            a.diff_bias = db[i];
        }
        size_t isa;
        do isa = check_below(&p->r, p->n_native);
        while (i == 3 && !same_sums(p, first, isa));
        first = isa;
        p->who = p->module ? "onednn" : cvy_isa_name(p->isa[isa]);
        if (i < 2) p->who = "reference";
        if (!run(p, i < 2 ? p->reference : p->native[isa], &a)) return;
        if (i == 2) {
            bool transformed = !p->module && transformable(p) &&
                               sums_of(p, p->algorithm[isa]) != CVY_ALGORITHM_DIRECT;
            if (transformed) compare_transformed(p, &args, out[2], out[0], n);
            else compare_scaled(p, "result", out[2], out[0], n, out[1], factor);
            if (db[2]) compare_scaled(p, "diff_bias", db[2], db[0], oc, db[1], factor);
        }
    }
    compare_bits(p, "result", out[2], out[3], n);
    if (db[2]) compare_bits(p, "diff_bias", db[2], db[3], oc);
}

static void draw_shape(struct parity *p, size_t max_hw)
{
    p->c.src = (cvy_shape){ images(p), channels(p), between(p, 1, max_hw), between(p, 1, max_hw) };
}

static bool draw_bn(struct parity *p)
{
    static const double eps[] = { 0, 1e-12, 1e-3, 1 }, momentum[] = { 0, 1, 0.3 };
    struct op_case *c = &p->c;
    draw_shape(p, 12);
    if (maybe(p)) c->src.h = c->src.w = 1;
    c->dst = c->src;
    c->pass = (enum cvy_pass)check_below(&p->r, 3);
    c->bn = (cvy_batch_norm_desc){ .eps = eps[check_below(&p->r, 4)],
                                   .momentum = momentum[check_below(&p->r, 3)],
                                   .running_var = (enum cvy_bn_var)maybe(p),
                                   .statistics =
                                       (enum cvy_bn_statistics)(maybe(p) ? between(p, 0, 2) : 0),
                                   .no_affine = seldom(p),
                                   .no_gamma = seldom(p),
                                   .no_beta = seldom(p),
                                   .frozen = seldom(p) };
    bool infer = c->pass == CVY_FORWARD_INFER || c->bn.frozen;
    return infer || c->src.n * c->src.h * c->src.w > 1;
}

/* What the bounds of a batch norm need, by channel, in double from the reference's results. */
struct bn_facts {
    const struct op_case *c;
    const float *x, *y, *dy, *gamma, *beta;
    double mean[256], sigma[256], rms[256], sum_dy[256], sum_dy_xhat[256], norm_dx[256];
    double centre[256], divisor[256]; /* mean and sigma, 0 and 1 of what takes no part */
};

static double bn_gamma(const struct bn_facts *f, size_t c)
{
    return f->gamma ? fabs((double)f->gamma[c]) : 1;
}

/* The output in training. */
static double bound_bn_y(const void *arg, size_t i)
{
    const struct bn_facts *f = arg;
    size_t c = i / (f->c->src.h * f->c->src.w) % f->c->src.c;
    double xhat = ((double)f->x[i] - f->centre[c]) / f->divisor[c],
           beta = f->beta ? fabs((double)f->beta[c]) : 0;
    return bn_gamma(f, c) *
               (4e-7 * fmax(1, fabs(xhat)) + 2 * U * fabs(f->centre[c]) / f->divisor[c]) +
           2 * U * (beta + fabs((double)f->y[i]));
}
/* With running statistics: y = a x + b, or the same as a (x - mean) + beta; either may cancel where
 * the other does not. */
static double bound_bn_infer(const void *arg, size_t i)
{
    const struct bn_facts *f = arg;
    size_t c = i / (f->c->src.h * f->c->src.w) % f->c->src.c;
    double a = bn_gamma(f, c) / f->divisor[c], beta = f->beta ? (double)f->beta[c] : 0;
    double b = beta - (f->gamma ? (double)f->gamma[c] : 1) / f->divisor[c] * f->centre[c];
    double terms = fabs(a * (double)f->x[i]) + fabs(b),
           shifted = fabs(a * ((double)f->x[i] - f->centre[c])) + fabs(beta);
    return 4 * U * fmax(terms, shifted) + U * fabs((double)f->y[i]);
}
static double bound_mean(const void *arg, size_t c)
{
    const struct bn_facts *f = arg;
    return 3 * U * fmax(fabs(f->mean[c]), f->rms[c]);
}
static double bound_var(const void *arg, size_t c)
{
    const struct bn_facts *f = arg;
    return 1.1e-6 * f->sigma[c] * f->sigma[c];
}
static double bound_dgamma(const void *arg, size_t c)
{
    return 1.1e-6 * ((const struct bn_facts *)arg)->sum_dy_xhat[c];
}
static double bound_dbeta(const void *arg, size_t c)
{
    return 1.1e-6 * ((const struct bn_facts *)arg)->sum_dy[c];
}
/* Each element's share of the three terms that dx is made of, which may cancel. */
static double bound_dx(const void *arg, size_t i)
{
    const struct bn_facts *f = arg;
    size_t pixels = f->c->src.h * f->c->src.w, c = i / pixels % f->c->src.c;
    double m = (double)(f->c->src.n * pixels),
           xhat = fabs((double)f->x[i] - f->mean[c]) / f->divisor[c];
    double terms = fabs((double)f->dy[i]);
    if (!f->c->bn.frozen && f->c->bn.statistics != CVY_BN_STATISTICS_VARIANCE)
        terms += f->sum_dy[c] / m;
    if (!f->c->bn.frozen && f->c->bn.statistics != CVY_BN_STATISTICS_MEAN)
        terms += xhat * f->sum_dy_xhat[c] / m;
    return bn_gamma(f, c) / f->divisor[c] * 6e-7 * terms + 1e-7 * f->norm_dx[c];
}

static void bn_learn(struct bn_facts *f, const double *mean, const double *var, double eps)
{
    const cvy_shape s = f->c->src;
    for (size_t c = 0; c < s.c; c++) {
        double m = (double)(s.n * s.h * s.w);
        f->mean[c] = mean[c];
        f->sigma[c] = sqrt(var[c] + eps);
        bool centres = f->c->bn.statistics != CVY_BN_STATISTICS_VARIANCE;
        f->centre[c] = centres ? mean[c] : 0;
        f->divisor[c] = f->c->bn.statistics != CVY_BN_STATISTICS_MEAN ? f->sigma[c] : 1;
        f->rms[c] = f->sum_dy[c] = f->sum_dy_xhat[c] = f->norm_dx[c] = 0;
        for (size_t n = 0; n < s.n; n++)
            for (size_t p = 0; p < s.h * s.w; p++) {
                size_t i = (n * s.c + c) * s.h * s.w + p;
                f->rms[c] += (double)f->x[i] * (double)f->x[i];
                if (!f->dy) continue;
                f->sum_dy[c] += fabs((double)f->dy[i]);
                /* what is not centred is summed about the mean, which is put back */
                double x = fabs((double)f->x[i] - mean[c]) + (centres ? 0 : fabs(mean[c]));
                f->sum_dy_xhat[c] += fabs((double)f->dy[i]) * x / f->divisor[c];
            }
        f->rms[c] = sqrt(f->rms[c] / m);
        f->norm_dx[c] = f->dy ? f->sum_dy[c] / m * bn_gamma(f, c) / f->divisor[c] : 0;
    }
}

/* Mean and biased variance of every channel, in double. */
static void exact_stats(const float *x, cvy_shape s, double *mean, double *var)
{
    double m = (double)(s.n * s.h * s.w);
    for (size_t c = 0; c < s.c; c++) {
        double sum = 0, squares = 0;
        for (size_t n = 0; n < s.n; n++)
            for (size_t p = 0; p < s.h * s.w; p++) sum += (double)x[(n * s.c + c) * s.h * s.w + p];
        mean[c] = sum / m;
        for (size_t n = 0; n < s.n; n++)
            for (size_t p = 0; p < s.h * s.w; p++) {
                double e = (double)x[(n * s.c + c) * s.h * s.w + p] - mean[c];
                squares += e * e;
            }
        var[c] = squares / m;
    }
}

static void case_bn(struct parity *p)
{
    static const float ratios[] = { 0, 0, 1, 30, 1000 };
    const struct op_case *c = &p->c;
    size_t nx = elements(c->src), ch = c->src.c, plane = c->src.h * c->src.w;
    bool backward = c->pass == CVY_BACKWARD_DATA,
         infer = c->pass == CVY_FORWARD_INFER || c->bn.frozen;
    float *x = filled(p, nx), *gamma = NULL, *beta = NULL, *dy = NULL;
    for (size_t k = 0; k < ch; k++) { /* every channel its own size and place */
        float scale = check_uniform(&p->r, 0.1f, 3), shift = scale * ratios[check_below(&p->r, 5)];
        for (size_t i = 0; i < nx; i++)
            if (i / plane % ch == k) x[i] = x[i] * scale + shift;
    }
    if (!c->bn.no_affine && !c->bn.no_gamma) gamma = filled(p, ch);
    if (!c->bn.no_affine && !c->bn.no_beta) beta = filled(p, ch);
    if (backward) dy = filled(p, nx);

    static struct bn_facts f; /* large; written anew in every case */
    f = (struct bn_facts){ .c = c, .x = x, .dy = dy, .gamma = gamma, .beta = beta };
    double mean[256], var[256], eps = c->bn.eps ? c->bn.eps : 1e-5;
    exact_stats(x, c->src, mean, var);
    float *running_mean = room(p, ch), *running_var = room(p, ch);
    for (size_t k = 0; k < ch; k++) { /* given statistics: near the true ones, as floats */
        running_mean[k] = (float)mean[k] + (infer ? 0.1f * check_normal(&p->r) : 0);
        running_var[k] =
            (float)var[k] * (infer ? check_uniform(&p->r, 0.5f, 2) : 1) + (infer ? 0.01f : 0);
        if (!infer && !backward) continue;
        mean[k] = (double)running_mean[k];
        var[k] = (double)running_var[k];
    }

    float *out[3], *dgamma[3], *dbeta[3], *got_mean[3], *got_var[3], *rm[3], *rv[3];
    cvy_op_args args[3];
    for (int i = 0; i < 3; i++) {
        out[i] = room(p, nx);
        dgamma[i] = room(p, ch);
        dbeta[i] = room(p, ch);
        rm[i] = copy(p, running_mean, ch);
        rv[i] = copy(p, running_var, ch);
        got_mean[i] = backward ? copy(p, running_mean, ch) : room(p, ch);
        got_var[i] = backward ? copy(p, running_var, ch) : room(p, ch);
        args[i] = (cvy_op_args){ .src = x,
                                 .weights = gamma,
                                 .bias = beta,
                                 .diff_dst = dy,
                                 .mean = got_mean[i],
                                 .var = got_var[i],
                                 .running_mean = rm[i],
                                 .running_var = rv[i] };
        if (!backward) args[i].dst = out[i];
        else {
            args[i].diff_src = out[i];
            args[i].diff_weights = dgamma[i];
            args[i].diff_bias = dbeta[i];
        }
    }
    p->who = "reference";
    if (!run(p, p->reference, &args[0]) || !run_native(p, &args[1], &args[2])) return;
    bn_learn(&f, mean, var, eps);
    f.y = out[0];
    if (backward) {
        compare(p, "diff_src", out[1], out[0], nx, bound_dx, &f);
        if (gamma) compare(p, "diff_weights", dgamma[1], dgamma[0], ch, bound_dgamma, &f);
        if (gamma) compare(p, "diff_bias", dbeta[1], dbeta[0], ch, bound_dbeta, &f);
        if (gamma) compare_bits(p, "diff_weights", dgamma[1], dgamma[2], ch);
        if (gamma) compare_bits(p, "diff_bias", dbeta[1], dbeta[2], ch);
    } else if (infer) {
        compare(p, "dst", out[1], out[0], nx, bound_bn_infer, &f);
    } else {
        compare(p, "dst", out[1], out[0], nx, bound_bn_y, &f);
        compare(p, "mean", got_mean[1], got_mean[0], ch, bound_mean, &f);
        compare(p, "var", got_var[1], got_var[0], ch, bound_var, &f);
        compare(p, "running_mean", rm[1], rm[0], ch, bound_mean, &f);
        compare_scaled(p, "running_var", rv[1], rv[0], ch, rv[0], 20);
        compare_bits(p, "mean", got_mean[1], got_mean[2], ch);
        compare_bits(p, "var", got_var[1], got_var[2], ch);
        compare_bits(p, "running_mean", rm[1], rm[2], ch);
        compare_bits(p, "running_var", rv[1], rv[2], ch);
    }
    compare_bits(p, "result", out[1], out[2], nx);
}

static bool draw_gn(struct parity *p)
{
    static const double eps[] = { 0, 1e-12, 1e-3, 1 };
    struct op_case *c = &p->c;
    draw_shape(p, 12);
    if (check_below(&p->r, 3) == 0) c->src.h = c->src.w = 1;
    size_t group = between(p, 1, 9), groups = c->src.c < group ? 1 : c->src.c / group;
    if (seldom(p)) groups = 1;
    c->src.c = c->src.c / groups * groups;
    c->dst = c->src;
    c->pass = (enum cvy_pass)check_below(&p->r, 3);
    c->gn = (cvy_group_norm_desc){ .groups = groups,
                                   .eps = eps[check_below(&p->r, 4)],
                                   .no_affine = seldom(p),
                                   .no_gamma = seldom(p),
                                   .no_beta = seldom(p),
                                   .elementwise = maybe(p) };
    return c->src.c / groups * c->src.h * c->src.w > 1;
}

/* Bounds of a group norm, in units of U: each result's terms times the roundings that they go
 * through, as those of batch norm above. */
struct gn_bounds {
    float *y, *dx, *mean, *var, *dgamma, *dbeta;
};

static void gn_learn(struct parity *p, struct gn_bounds *b, const float *x, const float *dy,
                     const float *gamma, const float *beta)
{
    const struct op_case *c = &p->c;
    double eps = c->gn.eps ? c->gn.eps : 1e-5;
    size_t image = c->src.c * c->src.h * c->src.w, group = image / c->gn.groups,
           share = c->gn.elementwise ? 1 : c->src.h * c->src.w, n = c->src.n * image,
           affine = image / share, groups = c->src.n * c->gn.groups;
    *b = (struct gn_bounds){ room(p, n),      room(p, n),      room(p, groups),
                             room(p, groups), room(p, affine), room(p, affine) };
    for (size_t a = 0; a < affine; a++) b->dgamma[a] = b->dbeta[a] = 0;
    for (size_t k = 0; k < groups; k++) {
        double m = (double)group, mean = 0, square = 0, var = 0, sum = 0, sum_xhat = 0;
        for (size_t i = k * group; i < (k + 1) * group; i++) {
            mean += (double)x[i] / m;
            square += (double)x[i] * (double)x[i] / m;
        }
        for (size_t i = k * group; i < (k + 1) * group; i++)
            var += ((double)x[i] - mean) * ((double)x[i] - mean) / m;
        double sigma = sqrt(var + eps);
        b->mean[k] = (float)(3 * fmax(fabs(mean), sqrt(square)));
        b->var[k] = (float)(18.5 * sigma * sigma);
        for (int pass = 0; pass < 2; pass++)
            for (size_t i = k * group; i < (k + 1) * group; i++) {
                size_t a = i % image / share;
                double xhat = fabs((double)x[i] - mean) / sigma,
                       g = gamma ? fabs((double)gamma[a]) : 1, d = dy ? fabs((double)dy[i]) : 0;
                if (pass == 0) {
                    sum += g * d / m;
                    sum_xhat += g * d * xhat / m;
                    b->dgamma[a] += (float)(18.5 * d * (xhat + fabs(mean) / sigma * 0x1p-20));
                    b->dbeta[a] += (float)(18.5 * d);
                } else {
                    b->dx[i] = (float)((10 * (g * d + sum + xhat * sum_xhat) + 1.7 * sum) / sigma);
                    b->y[i] = (float)(g * (6.7 * fmax(1, xhat) + 2 * fabs(mean) / sigma) +
                                      2 * g * xhat + 4 * (beta ? fabs((double)beta[a]) : 0));
                }
            }
    }
}

static void case_gn(struct parity *p)
{
    static const float ratios[] = { 0, 0, 1, 30, 1000 };
    const struct op_case *c = &p->c;
    size_t image = c->src.c * c->src.h * c->src.w, n = c->src.n * image,
           groups = c->src.n * c->gn.groups, plane = c->src.h * c->src.w,
           affine = c->gn.elementwise ? image : c->src.c;
    bool backward = c->pass == CVY_BACKWARD_DATA;
    float *x = filled(p, n), *gamma = NULL, *beta = NULL, *dy = NULL, *mean[3], *var[3];
    for (size_t k = 0; k < groups; k++) { /* every group its own size and place */
        float scale = check_uniform(&p->r, 0.1f, 3), shift = scale * ratios[check_below(&p->r, 5)];
        for (size_t i = k * (n / groups); i < (k + 1) * (n / groups); i++)
            x[i] = x[i] * scale + shift;
    }
    if (!c->gn.no_affine && !c->gn.no_gamma) gamma = filled(p, affine);
    if (!c->gn.no_affine && !c->gn.no_beta) beta = filled(p, affine);
    if (backward) dy = filled(p, n);
    double *exact = malloc(2 * groups * sizeof *exact);
    assert_non_null(exact);
    exact_stats(x, (cvy_shape){ 1, groups, n / groups / plane, plane }, exact, exact + groups);
    float *out[3], *dgamma[3], *dbeta[3];
    cvy_op_args args[3];
    for (int i = 0; i < 3; i++) {
        out[i] = room(p, n);
        dgamma[i] = room(p, affine);
        dbeta[i] = room(p, affine);
        mean[i] = room(p, groups);
        var[i] = room(p, groups);
        for (size_t k = 0; backward && k < groups; k++) {
            mean[i][k] = (float)exact[k];
            var[i][k] = (float)exact[groups + k];
        }
        args[i] = (cvy_op_args){
            .src = x, .weights = gamma, .bias = beta, .diff_dst = dy, .mean = mean[i], .var = var[i]
        };
        if (!backward) {
            args[i].dst = out[i];
            continue;
        }
        args[i].diff_src = out[i];
        args[i].diff_weights = dgamma[i];
        args[i].diff_bias = dbeta[i];
    }
    free(exact);
    p->who = "reference";
    if (!run(p, p->reference, &args[0]) || !run_native(p, &args[1], &args[2])) return;
    struct gn_bounds b;
    gn_learn(p, &b, x, dy, gamma, beta);
    compare_scaled(p, backward ? "diff_src" : "dst", out[1], out[0], n, backward ? b.dx : b.y, 1);
    compare_bits(p, "result", out[1], out[2], n);
    if (backward && gamma) {
        compare_scaled(p, "diff_weights", dgamma[1], dgamma[0], affine, b.dgamma, 1);
        compare_bits(p, "diff_weights", dgamma[1], dgamma[2], affine);
    }
    if (backward && beta) {
        compare_scaled(p, "diff_bias", dbeta[1], dbeta[0], affine, b.dbeta, 1);
        compare_bits(p, "diff_bias", dbeta[1], dbeta[2], affine);
    }
    if (c->pass != CVY_FORWARD) return;
    compare_scaled(p, "mean", mean[1], mean[0], groups, b.mean, 1);
    compare_scaled(p, "var", var[1], var[0], groups, b.var, 1);
    compare_bits(p, "mean", mean[1], mean[2], groups);
    compare_bits(p, "var", var[1], var[2], groups);
}

/* ----------------------------------------------------------------------------------------- rows */

static bool draw_act(struct parity *p)
{
    struct op_case *c = &p->c;
    draw_shape(p, 9);
    c->dst = c->src;
    c->pass = (enum cvy_pass)check_below(&p->r, 3);
    c->act.kind = (enum cvy_act_kind)check_below(&p->r, CHECK_ACTS);
    c->act.alpha = maybe(p) ? 0 : (double)check_uniform(&p->r, 0.01f, 1.5f);
    c->act.relu_grad_at_zero = maybe(p) ? 0.5 : 0;
    return true;
}

/* as scaled, with room where what x is multiplied by was flushed */
struct act_values {
    struct scaled scaled;
    enum cvy_act_kind kind;
    const float *x;
};
static double bound_act(const void *arg, size_t i)
{
    const struct act_values *a = arg;
    double flushed = check_act_tiny(a->kind, (double)a->x[i]);
    return bound_scaled(&a->scaled, i) + (fabs((double)a->scaled.want[i]) < flushed ? flushed : 0);
}

static void case_act(struct parity *p)
{
    struct op_case *c = &p->c;
    size_t n = elements(c->src);
    bool backward = c->pass == CVY_BACKWARD_DATA;
    float *x = room(p, n), *y[4], *dy = backward ? room(p, n) : NULL, *dx[3];
    for (size_t i = 0; i < n; i++) {
        x[i] = check_any(&p->r, !backward && !p->module);
        if (backward) dy[i] = check_normal(&p->r);
        if (backward && c->act.kind == CVY_RELU && seldom(p)) x[i] = 0;
    }
    for (int i = 0; i < 3; i++) {
        y[i] = room(p, n);
        dx[i] = room(p, n);
    }
    c->pass = backward ? CVY_FORWARD : c->pass;
    p->who = "reference";
    if (!run(p, p->reference, &(cvy_op_args){ .src = x, .dst = y[0] })) return;
    double ulps = fmax(4, 2 * check_act_ulps(c->act.kind)) *
                  fmax(1, c->act.alpha); /* in u, halves of an ulp */
    if (!backward) {
        if (!run_native(p, &(cvy_op_args){ .src = x, .dst = y[1] },
                        &(cvy_op_args){ .src = x, .dst = y[2] }))
            return;
        compare(p, "dst", y[1], y[0], n, bound_act,
                &(struct act_values){ { y[0], y[0], ulps }, c->act.kind, x });
        compare_bits(p, "dst", y[1], y[2], n);
        return;
    }
    c->pass = CVY_BACKWARD_DATA;
    cvy_op_args args[3];
    for (int i = 0; i < 3; i++)
        args[i] = (cvy_op_args){ .src = x, .dst_in = y[0], .diff_dst = dy, .diff_src = dx[i] };
    if (!run(p, p->reference, &args[0]) || !run_native(p, &args[1], &args[2])) return;
    compare_scaled(p, "diff_src", dx[1], dx[0], n, dy,
                   (check_acts[c->act.kind].by_x ? 9 : 4) * fmax(1, c->act.alpha));
    compare_bits(p, "diff_src", dx[1], dx[2], n);
}

static bool draw_prelu(struct parity *p)
{
    draw_shape(p, 15);
    p->c.dst = p->c.src;
    p->c.pass = (enum cvy_pass)check_below(&p->r, 3);
    return true;
}

/* The slopes' gradient is summed as that of a gamma, whose n is one more for x - m. */
static void case_prelu(struct parity *p)
{
    const struct op_case *c = &p->c;
    size_t n = elements(c->src), ch = c->src.c, plane = c->src.h * c->src.w;
    bool backward = c->pass == CVY_BACKWARD_DATA;
    float *x = filled(p, n), *slope = filled(p, ch), *dy = backward ? filled(p, n) : NULL,
          *sums = room(p, ch), *out[3], *dslope[3];
    cvy_op_args args[3];
    for (int i = 0; i < 3; i++) {
        out[i] = room(p, n);
        dslope[i] = room(p, ch);
        args[i] = (cvy_op_args){ .src = x, .weights = slope, .diff_dst = dy };
        if (backward) {
            args[i].diff_src = out[i];
            args[i].diff_weights = dslope[i];
        } else args[i].dst = out[i];
    }
    p->who = "reference";
    if (!run(p, p->reference, &args[0]) || !run_native(p, &args[1], &args[2])) return;
    compare_scaled(p, backward ? "diff_src" : "dst", out[1], out[0], n, out[0], 2);
    compare_bits(p, "result", out[1], out[2], n);
    if (!backward) return;
    for (size_t k = 0; k < ch; k++) sums[k] = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] < 0) sums[i / plane % ch] += fabsf(dy[i] * x[i]);
    compare_scaled(p, "diff_weights", dslope[1], dslope[0], ch, sums, 22);
    compare_bits(p, "diff_weights", dslope[1], dslope[2], ch);
}

static bool draw_bias(struct parity *p)
{
    draw_shape(p, seldom(p) ? 30 : 9);
    if (maybe(p)) p->c.src = (cvy_shape){ images(p), between(p, 1, 130), 1, 1 };
    p->c.dst = p->c.src;
    p->c.pass = maybe(p) ? CVY_FORWARD : CVY_BACKWARD_WEIGHTS;
    p->c.fill = (enum fill)check_below(&p->r, 3);
    return true;
}

/* The sum is rounded once, as the reference's; its gradient is summed as that of a beta. */
static void case_bias(struct parity *p)
{
    const struct op_case *c = &p->c;
    size_t n = elements(c->src), ch = c->src.c, plane = c->src.h * c->src.w;
    bool backward = c->pass == CVY_BACKWARD_WEIGHTS;
    float *x = filled(p, n), *bias = filled(p, ch), *sums = room(p, ch), *out[3];
    cvy_op_args args[3];
    for (int i = 0; i < 3; i++) {
        out[i] = room(p, backward ? ch : n);
        args[i] = backward ? (cvy_op_args){ .diff_dst = x, .diff_bias = out[i] }
                           : (cvy_op_args){ .src = x, .bias = bias, .dst = out[i] };
    }
    p->who = "reference";
    if (!run(p, p->reference, &args[0]) || !run_native(p, &args[1], &args[2])) return;
    for (size_t k = 0; k < ch; k++) sums[k] = 0;
    for (size_t i = 0; i < n; i++) sums[i / plane % ch] += fabsf(x[i]);
    if (!backward) compare_exact(p, "dst", out[1], out[0], n);
    else compare_scaled(p, "diff_bias", out[1], out[0], ch, sums, c->fill == WHOLE ? 0 : 18.5);
    compare_bits(p, "result", out[1], out[2], backward ? ch : n);
}

static bool draw_pool(struct parity *p)
{
    struct op_case *c = &p->c;
    draw_shape(p, 15);
    c->pass = (enum cvy_pass)check_below(&p->r, 3);
    c->fill = maybe(p) ? WHOLE : REAL; /* whole numbers tie */
    c->pool = (cvy_pool2d_desc){ .kind = (enum cvy_pool_kind)maybe(p),
                                 .ceil_mode = maybe(p),
                                 .exclude_pad = maybe(p),
                                 .tie = (enum cvy_pool_tie)check_below(&p->r, 3) };
    bool square = maybe(p), global = seldom(p);
    for (int i = 0; i < 2; i++) {
        if (i && square) c->pool.kernel[1] = c->pool.kernel[0];
        else c->pool.kernel[i] = between(p, 1, maybe(p) ? 3 : 7);
        if (global) c->pool.kernel[i] = i ? c->src.w : c->src.h;
        c->pool.stride[i] = global ? 0 : between(p, 0, 4);
        if (maybe(p) && !global) c->pool.pad[i] = check_below(&p->r, c->pool.kernel[i]);
        if (maybe(p) && !global) c->pool.pad[i + 2] = check_below(&p->r, c->pool.kernel[i]);
    }
    cvy_op *op;
    if (cvy_op_pool2d(p->reference, &c->pool, c->src, c->pass, &op) != CVY_OK) return false;
    c->dst = cvy_op_dst_shape(op);
    cvy_op_destroy(&op);
    return true;
}

static void case_pool(struct parity *p)
{
    const struct op_case *c = &p->c;
    size_t nx = elements(c->src), ny = elements(c->dst);
    bool backward = c->pass == CVY_BACKWARD_DATA, max = c->pool.kind == CVY_POOL_MAX;
    float *x = filled(p, nx), *dy = backward ? filled(p, ny) : NULL;
    if (max && !backward && !p->module && seldom(p))
        for (size_t i = 0; i < nx; i++)
            if (seldom(p)) x[i] = (float[]){ NAN, -INFINITY, 1e-40f, -0.0f }[check_below(&p->r, 4)];
    size_t n = backward ? nx : ny;
    float *out[4]; /* reference, its magnitudes, native twice */
    cvy_op_args args[4];
    for (int i = 0; i < 4; i++) {
        out[i] = room(p, n);
        args[i] = (cvy_op_args){ .src = x, .diff_dst = dy };
        /* x decides who gets it */
        if (i == 1 && backward) args[i].diff_dst = magnitudes(p, dy, ny);
        else if (i == 1) args[i].src = magnitudes(p, x, nx);
        if (backward) args[i].diff_src = out[i];
        else args[i].dst = out[i];
    }
    p->who = "reference";
    if (!run(p, p->reference, &args[0]) || !run(p, p->reference, &args[1]) ||
        !run_native(p, &args[2], &args[3]))
        return;
    double window = (double)(c->pool.kernel[0] * c->pool.kernel[1]);
    if (max && !backward) compare_exact(p, "dst", out[2], out[0], n);
    else
        compare_scaled(p, backward ? "diff_src" : "dst", out[2], out[0], n, out[1],
                       4 + window / 16);
    compare_bits(p, "result", out[2], out[3], n);
}

static bool draw_upsample(struct parity *p)
{
    struct op_case *c = &p->c;
    bool scaled = maybe(p);
    draw_shape(p, 8);
    if (seldom(p)) c->src.c = between(p, 1, 130);
    c->pass = (enum cvy_pass)check_below(&p->r, 3);
    c->fill = (enum fill)check_below(&p->r, 4);
    c->upsample.kind = (enum cvy_upsample_kind)maybe(p);
    c->upsample.align_corners = c->upsample.kind == CVY_UPSAMPLE_BILINEAR && maybe(p);
    c->dst = c->src;
    for (int i = 0; i < 2; i++) {
        size_t *to = i ? &c->dst.w : &c->dst.h;
        if (scaled) *to *= c->upsample.scale[i] = between(p, 1, 4);
        else *to = c->upsample.size[i] = between(p, 1, seldom(p) ? 40 : 14);
    }
    return true;
}

/* Weights are rounded, and so are the products of two: of rows and of columns. */
static void case_upsample(struct parity *p)
{
    const struct op_case *c = &p->c;
    bool backward = c->pass == CVY_BACKWARD_DATA;
    size_t nx = elements(c->src), ny = elements(c->dst), n = backward ? nx : ny;
    float *x = filled(p, nx + ny - n), *size = magnitudes(p, x, nx + ny - n), *out[4];
    cvy_op_args args[4]; /* reference, its magnitudes, native twice */
    for (int i = 0; i < 4; i++) {
        const float *from = i == 1 ? size : x;
        out[i] = room(p, n);
        args[i] = backward ? (cvy_op_args){ .diff_dst = from, .diff_src = out[i] }
                           : (cvy_op_args){ .src = from, .dst = out[i] };
    }
    p->who = "reference";
    if (!run(p, p->reference, &args[0]) || !run(p, p->reference, &args[1]) ||
        !run_native(p, &args[2], &args[3]))
        return;
    bool nearest = c->upsample.kind == CVY_UPSAMPLE_NEAREST;
    if (nearest && !backward) compare_exact(p, "dst", out[2], out[0], n);
    else compare_scaled(p, "result", out[2], out[0], n, out[1], nearest ? 8 : 10);
    compare_bits(p, "result", out[2], out[3], n);
}

static bool draw_mean_subtract(struct parity *p)
{
    draw_shape(p, seldom(p) ? 30 : 9);
    if (seldom(p)) p->c.src = (cvy_shape){ images(p), between(p, 1, 130), 1, 1 };
    p->c.dst = p->c.src;
    p->c.pass = (enum cvy_pass)check_below(&p->r, 3);
    p->c.fill = (enum fill)check_below(&p->r, 3);
    p->c.mean.over = (enum cvy_mean_over)maybe(p);
    return true;
}

static void case_mean_subtract(struct parity *p)
{
    const struct op_case *c = &p->c;
    bool backward = c->pass == CVY_BACKWARD_DATA;
    size_t n = elements(c->src), group = c->mean.over == CVY_MEAN_OF_IMAGE ? n / c->src.n : n;
    float *x = filled(p, n), *size = room(p, n), *out[3];
    cvy_op_args args[3];
    for (int i = 0; i < 3; i++) {
        out[i] = room(p, n);
        args[i] = backward ? (cvy_op_args){ .diff_dst = x, .diff_src = out[i] }
                           : (cvy_op_args){ .src = x, .dst = out[i] };
    }
    for (size_t k = 0; k < n; k += group) { /* what the mean is a sum of */
        double sum = 0;
        for (size_t i = k; i < k + group; i++) sum += fabs((double)x[i]);
        for (size_t i = k; i < k + group; i++) size[i] = fabsf(x[i]) + (float)(sum / (double)group);
    }
    p->who = "reference";
    if (!run(p, p->reference, &args[0]) || !run_native(p, &args[1], &args[2])) return;
    compare_scaled(p, "result", out[1], out[0], n, size, 18);
    compare_bits(p, "result", out[1], out[2], n);
}

static bool draw_dropout(struct parity *p)
{
    static const double ps[] = { 0, 0.1, 0.5, 0.9, 1 };
    draw_shape(p, 9);
    p->c.dst = p->c.src;
    p->c.pass = (enum cvy_pass)check_below(&p->r, 3);
    p->c.dropout = (cvy_dropout_desc){ .p = ps[check_below(&p->r, 5)], .unscaled = maybe(p) };
    return true;
}

static void case_dropout(struct parity *p)
{
    size_t n = elements(p->c.src);
    bool backward = p->c.pass == CVY_BACKWARD_DATA;
    float *x = filled(p, n), *out[3];
    cvy_op_args args[3];
    uint64_t seed = check_u64(&p->r), step = check_below(&p->r, 3) * 0x100000001u;
    for (size_t i = 0; i < n; i++)
        if (x[i] == 0) x[i] = 1;
    for (int i = 0; i < 3; i++) {
        out[i] = room(p, n);
        args[i] = (cvy_op_args){ .src = x, .diff_dst = x, .seed = seed, .step = step };
        if (backward) args[i].diff_src = out[i];
        else args[i].dst = out[i];
    }
    p->who = "reference";
    if (!run(p, p->reference, &args[0]) || !run_native(p, &args[1], &args[2])) return;
    for (size_t i = 0; i < n; i++)
        if ((out[0][i] == 0) != (out[1][i] == 0))
            complain(p, "element %zu is dropped by one backend only", i);
    compare_scaled(p, "result", out[1], out[0], n, out[0], 4);
    compare_bits(p, "result", out[1], out[2], n);
}

static bool draw_rows(struct parity *p)
{
    draw_shape(p, p->c.kind == SOFTMAX ? 4 : 9);
    p->c.dst = p->c.src;
    p->c.pass = CVY_FORWARD;
    p->c.temperature = (double[]){ 0, 1, 4, 0.3 }[check_below(&p->r, 4)];
    return true;
}

static void case_two(struct parity *p)
{
    size_t n = elements(p->c.src);
    float *a = filled(p, n), *b = seldom(p) ? a : filled(p, n), *y[3];
    for (int i = 0; i < 3; i++) y[i] = room(p, n);
    p->who = "reference";
    if (!run(p, p->reference, &(cvy_op_args){ .src = a, .src2 = b, .dst = y[0] })) return;
    if (!run_native(p, &(cvy_op_args){ .src = a, .src2 = b, .dst = y[1] },
                    &(cvy_op_args){ .src = a, .src2 = b, .dst = y[2] }))
        return;
    compare_exact(p, "dst", y[1], y[0], n);
    compare_bits(p, "dst", y[1], y[2], n);
}

static bool draw_concat(struct parity *p)
{
    struct op_case *c = &p->c;
    draw_shape(p, 9);
    c->dst = c->src;
    c->dst.c = 0;
    c->n_parts = between(p, 1, MAX_PARTS);
    c->pass = (enum cvy_pass)check_below(&p->r, 3);
    for (size_t i = 0; i < c->n_parts; i++) {
        c->part[i] = c->src;
        if (i) c->part[i].c = between(p, 1, 20);
        c->dst.c += c->part[i].c;
    }
    return true;
}

static void case_concat(struct parity *p)
{
    const struct op_case *c = &p->c;
    const bool backward = c->pass == CVY_BACKWARD_DATA;
    const float *x[MAX_PARTS];
    float *dx[3][MAX_PARTS];
    cvy_op_args args[3];
    for (size_t k = 0; k < c->n_parts && !backward; k++) x[k] = filled(p, elements(c->part[k]));
    const float *dy = backward ? filled(p, elements(c->dst)) : NULL;
    for (int i = 0; i < 3; i++) {
        for (size_t k = 0; k < c->n_parts && backward; k++)
            dx[i][k] = room(p, elements(c->part[k]));
        args[i] = backward ? (cvy_op_args){ .diff_dst = dy, .diff_srcs = dx[i] }
                           : (cvy_op_args){ .srcs = x, .dst = room(p, elements(c->dst)) };
    }
    p->who = "reference";
    if (!run(p, p->reference, &args[0]) || !run_native(p, &args[1], &args[2])) return;
    if (!backward) {
        compare_exact(p, "dst", args[1].dst, args[0].dst, elements(c->dst));
        compare_bits(p, "dst", args[1].dst, args[2].dst, elements(c->dst));
    }
    for (size_t k = 0; k < c->n_parts && backward; k++) {
        compare_exact(p, "diff_srcs", dx[1][k], dx[0][k], elements(c->part[k]));
        compare_bits(p, "diff_srcs", dx[1][k], dx[2][k], elements(c->part[k]));
    }
}

static bool draw_pad(struct parity *p)
{
    struct op_case *c = &p->c;
    draw_shape(p, 9);
    c->before = seldom(p) ? 0 : between(p, 0, 20);
    c->after = between(p, 0, 20);
    c->dst = c->src;
    c->dst.c += c->before + c->after;
    c->pass = (enum cvy_pass)check_below(&p->r, 3);
    return true;
}

static void case_pad(struct parity *p)
{
    const struct op_case *c = &p->c;
    bool backward = c->pass == CVY_BACKWARD_DATA;
    size_t n = elements(backward ? c->src : c->dst);
    float *x = filled(p, elements(backward ? c->dst : c->src)), *out[3];
    cvy_op_args args[3];
    for (int i = 0; i < 3; i++) {
        out[i] = room(p, n);
        args[i] = backward ? (cvy_op_args){ .diff_dst = x, .diff_src = out[i] }
                           : (cvy_op_args){ .src = x, .dst = out[i] };
    }
    p->who = "reference";
    if (!run(p, p->reference, &args[0]) || !run_native(p, &args[1], &args[2])) return;
    compare_exact(p, "result", out[1], out[0], n);
    compare_bits(p, "result", out[1], out[2], n);
}

/* Relative 1.2e-6 down to 1e-30; of outputs that were multiplied (y and what the products' rounding
 * comes to), more. */
struct softmax_bound {
    const float *y;
    double more;
};
static double bound_softmax(const void *arg, size_t i)
{
    const struct softmax_bound *b = arg;
    return (1.2e-6 + b->more) * (double)b->y[i] + 1e-36;
}

static void case_softmax(struct parity *p)
{
    const cvy_shape s = p->c.src;
    size_t n = elements(s);
    float *x = filled(p, n), scale = (float[]){ 1, 1, 10, 1e30f }[check_below(&p->r, 4)], *y[3];
    for (size_t i = 0; i < n; i++) x[i] *= scale;
    for (int i = 0; i < 3; i++) y[i] = room(p, n);
    p->who = "reference";
    if (!run(p, p->reference, &(cvy_op_args){ .src = x, .dst = y[0] })) return;
    if (!run_native(p, &(cvy_op_args){ .src = x, .dst = y[1] },
                    &(cvy_op_args){ .src = x, .dst = y[2] }))
        return;
    double t = p->c.temperature, largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)x[i]));
    struct softmax_bound bound = { y[0], t == 0 || t == 1 ? 0 : 6 * U * largest / t };
    if (bound.more < 1) compare(p, "dst", y[1], y[0], n, bound_softmax, &bound);
    compare_bits(p, "dst", y[1], y[2], n);
    for (size_t i = 0; i < s.n * s.h * s.w && !p->failed; i++) {
        double sum = 0;
        for (size_t c = 0; c < s.c; c++)
            sum += (double)y[1][(i / (s.h * s.w) * s.c + c) * s.h * s.w + i % (s.h * s.w)];
        if (!(fabs(sum - 1) <= 1e-6))
            complain(p, "the probabilities of pixel %zu sum to %.9g", i, sum);
    }
}

static bool draw_loss(struct parity *p)
{
    static const double smoothing[] = { 0, 0.1, 0.9 };
    p->c.src = p->c.dst =
        (cvy_shape){ images(p), seldom(p) ? between(p, 1, 1000) : between(p, 1, 20), 1, 1 };
    p->c.pass = CVY_FORWARD;
    p->c.loss.label_smoothing = smoothing[check_below(&p->r, 3)];
    p->c.loss.temperature = (double[]){ 0, 0, 2, 0.7 }[check_below(&p->r, 4)];
    return true;
}

/* A probability of 1 leaves a rounding of 1/n in the gradient. */
static double bound_gradient(const void *arg, size_t i)
{
    (void)i;
    return 1.2e-6 / *(const double *)arg;
}

static void case_loss(struct parity *p)
{
    size_t n = elements(p->c.src);
    float *x = filled(p, n), scale = (float[]){ 1, 5, 30 }[check_below(&p->r, 3)], *dx[3];
    int32_t labels[40];
    /* outputs that were multiplied are rounded */
    double loss[3], images_n = (double)p->c.src.n, t = p->c.loss.temperature;
    if (t != 0) images_n /= (1 + (double)scale / t) / t;
    cvy_op_args args[3];
    for (size_t i = 0; i < n; i++) x[i] *= scale;
    for (size_t i = 0; i < p->c.src.n; i++) labels[i] = (int32_t)check_below(&p->r, p->c.src.c);
    for (int i = 0; i < 3; i++) {
        dx[i] = room(p, n);
        args[i] = (cvy_op_args){ .src = x, .labels = labels, .loss = &loss[i], .diff_src = dx[i] };
    }
    p->who = "reference";
    if (!run(p, p->reference, &args[0]) || !run_native(p, &args[1], &args[2])) return;
    if (!(fabs(loss[1] - loss[0]) <= 1.2e-6 * fmax(1, (double)(scale * 4) / (t != 0 ? t : 1))))
        complain(p, "loss is %.17g, reference %.17g", loss[1], loss[0]);
    if (loss[1] != loss[2] && !p->module)
        complain(p, "loss: %.17g with one instruction set, %.17g with another", loss[1], loss[2]);
    compare(p, "diff_src", dx[1], dx[0], n, bound_gradient, &images_n);
    compare_bits(p, "diff_src", dx[1], dx[2], n);
}

/* ----------------------------------------------------------------------------- whitening, ranks */

/* Covariances that are far from singular, for those are not compared: what rounding makes of them
 * is magnified. */
static bool draw_whitening(struct parity *p)
{
    struct op_case *c = &p->c;
    draw_shape(p, 8);
    if (seldom(p)) c->src.h = c->src.w = 1;
    c->src.c = between(p, 1, seldom(p) ? 40 : 12);
    c->dst = c->src;
    c->pass = (enum cvy_pass)check_below(&p->r, 3);
    size_t channels = between(p, 1, c->src.c);
    while (c->src.c % channels) channels--;
    c->whitening = (cvy_whitening_desc){ .kind = (enum cvy_whitening_kind)maybe(p),
                                         .channels = channels,
                                         .eps = 1,
                                         .momentum = maybe(p) ? 0 : 0.5,
                                         .shared = maybe(p),
                                         .frozen = seldom(p),
                                         .no_gamma = seldom(p),
                                         .no_beta = seldom(p) };
    if (c->whitening.kind == CVY_WHITENING_NEWTON) c->whitening.steps = between(p, 0, 6);
    return c->src.n * c->src.h * c->src.w > 1;
}

/* Within `factor` of the largest of the reference's. */
static void compare_all(struct parity *p, const char *what, const float *got, const float *want,
                        size_t n, double factor)
{
    float *size = room(p, n), most = 0;
    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(want[i]));
    for (size_t i = 0; i < n; i++) size[i] = 1 + most;
    compare_scaled(p, what, got, want, n, size, factor);
}

static void case_whitening(struct parity *p)
{
    const struct op_case *c = &p->c;
    const cvy_whitening_desc *d = &c->whitening;
    bool backward = c->pass == CVY_BACKWARD_DATA, infer = d->frozen || c->pass == CVY_FORWARD_INFER;
    size_t n = elements(c->src), ch = c->src.c, matrices = d->shared ? 1 : ch / d->channels,
           means = matrices * d->channels, all = means * d->channels;
    float *x = filled(p, n), *gamma = d->no_gamma ? NULL : filled(p, ch),
          *beta = d->no_beta ? NULL : filled(p, ch), *mean = filled(p, means),
          *matrix = filled(p, all), *dy = filled(p, n), *out[3], *dw[3], *db[3], *rm[3], *rw[3];
    cvy_op_args args[3];
    for (int i = 0; i < 3; i++) {
        out[i] = room(p, n);
        dw[i] = room(p, ch);
        db[i] = room(p, ch);
        rm[i] = copy(p, mean, means);
        rw[i] = copy(p, matrix, all);
        args[i] = (cvy_op_args){ .src = x, .weights = gamma, .bias = beta };
        args[i].running_mean = rm[i];
        args[i].running_matrix = rw[i];
        if (backward) {
            args[i].diff_dst = dy;
            args[i].diff_src = out[i];
            args[i].diff_weights = dw[i];
            args[i].diff_bias = db[i];
        } else args[i].dst = out[i];
    }
    p->who = "reference";
    if (!run(p, p->reference, &args[0]) || !run_native(p, &args[1], &args[2])) return;
    double factor = 64 + 8 * (double)d->channels;
    compare_all(p, backward ? "diff_src" : "dst", out[1], out[0], n, factor);
    compare_bits(p, "result", out[1], out[2], n);
    if (backward && gamma) {
        compare_all(p, "diff_weights", dw[1], dw[0], ch, factor);
        compare_bits(p, "diff_weights", dw[1], dw[2], ch);
    }
    if (backward && beta) compare_all(p, "diff_bias", db[1], db[0], ch, factor);
    if (backward || infer) {
        compare_exact(p, "running_mean", rm[1], mean, means);
        compare_exact(p, "running_matrix", rw[1], matrix, all);
        return;
    }
    compare_all(p, "running_mean", rm[1], rm[0], means, factor);
    compare_all(p, "running_matrix", rw[1], rw[0], all, factor);
    compare_bits(p, "running_matrix", rw[1], rw[2], all);
}

static bool draw_rank(struct parity *p)
{
    struct op_case *c = &p->c;
    draw_shape(p, 8);
    if (maybe(p)) c->src.h = c->src.w = 1;
    c->dst = c->src;
    c->rank = (cvy_rank_desc){ .quantiles = maybe(p) ? 0 : between(p, 2, 50),
                               .momentum = maybe(p) ? 0 : 0.5,
                               .normal = maybe(p),
                               .frozen = seldom(p) };
    c->pass = (enum cvy_pass)check_below(&p->r, c->rank.normal ? 2 : 3);
    c->fill = (enum fill)check_below(&p->r, c->pass == CVY_BACKWARD_DATA ? 3 : 4);
    return true;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* What is equal in one is equal in the other, so only the last rounding differs, and Phi^-1. */
static void case_rank(struct parity *p)
{
    const struct op_case *c = &p->c;
    size_t n = elements(c->src), k = c->rank.quantiles ? c->rank.quantiles : 128,
           all = c->src.c * k;
    bool backward = c->pass == CVY_BACKWARD_DATA;
    float *x = filled(p, n), *dy = filled(p, n), *table = filled(p, all), *out[3], *q[3];
    cvy_op_args args[3];
    for (size_t i = 0; i < c->src.c; i++) qsort(table + i * k, k, sizeof *table, ascending);
    for (int i = 0; i < 3; i++) {
        out[i] = room(p, n);
        q[i] = copy(p, table, all);
        args[i] = (cvy_op_args){ .src = x, .running_quantiles = q[i] };
        if (backward) args[i].diff_dst = dy;
        if (backward) args[i].diff_src = out[i];
        else args[i].dst = out[i];
    }
    p->who = "reference";
    if (!run(p, p->reference, &args[0]) || !run_native(p, &args[1], &args[2])) return;
    float *most = magnitudes(p, backward ? dy : out[0], n);
    for (size_t i = 0; i < n && c->rank.normal; i++) most[i] += 1e-3f;
    compare_scaled(p, "result", out[1], out[0], n, most, backward || c->rank.normal ? 10 : 2);
    compare_bits(p, "result", out[1], out[2], n);
    float *size = magnitudes(p, table, all);
    for (size_t i = 0; i < all; i++) size[i] += fabsf(q[0][i]) + 1;
    compare_scaled(p, "running_quantiles", q[1], q[0], all, size, 2);
    compare_bits(p, "running_quantiles", q[1], q[2], all);
}

/* ------------------------------------------------------------------------------------ all cases */

static void run_case(struct parity *p, size_t number)
{
    static const struct {
        bool (*draw)(struct parity *p);
        void (*run)(struct parity *p);
        int weight;
    } kinds[KINDS] = {
        [CONV] = { draw_conv, case_conv, 10 },
        [CONV_TRANSPOSE] = { draw_conv_transpose, case_conv, 4 },
        [BIAS] = { draw_bias, case_bias, 1 },
        [LINEAR] = { draw_conv, case_conv, 3 },
        [BATCH_NORM] = { draw_bn, case_bn, 4 },
        [ACT] = { draw_act, case_act, 2 },
        [PRELU] = { draw_prelu, case_prelu, 1 },
        [POOL] = { draw_pool, case_pool, 4 },
        [DROPOUT] = { draw_dropout, case_dropout, 1 },
        [ADD] = { draw_rows, case_two, 1 },
        [MULTIPLY] = { draw_rows, case_two, 1 },
        [CONCAT] = { draw_concat, case_concat, 2 },
        [SOFTMAX] = { draw_rows, case_softmax, 1 },
        [CROSS_ENTROPY] = { draw_loss, case_loss, 1 },
        [PAD] = { draw_pad, case_pad, 1 },
        [UPSAMPLE] = { draw_upsample, case_upsample, 3 },
        [MEAN_SUBTRACT] = { draw_mean_subtract, case_mean_subtract, 1 },
        [GROUP_NORM] = { draw_gn, case_gn, 3 },
        [WHITENING] = { draw_whitening, case_whitening, 2 },
        [RANK] = { draw_rank, case_rank, 2 },
    };
    int lot = 0;
    p->number = number;
    p->r = (struct check_rng){ p->seed * 0x9e3779b97f4a7c15u + number };
    for (int k = 0; k < KINDS; k++) lot += kinds[k].weight;
    lot = (int)check_below(&p->r, (size_t)lot);
    int kind = 0;
    while (lot >= kinds[kind].weight) lot -= kinds[kind++].weight;
    do p->c = (struct op_case){ .kind = (enum kind)kind };
    while (!kinds[kind].draw(p));
    p->failed = false;
    p->n_buffers = 0;
    kinds[kind].run(p);
    p->count[kind]++;
    for (size_t i = 0; i < p->n_buffers; i++) {
        if (!check_intact(&p->buffer[i]))
            complain(p, "something was written beside a buffer of %zu bytes", p->buffer[i].bytes);
        check_free(&p->buffer[i]);
    }
}

/* Runs the cases, then destroys the contexts. */
static void all_cases(struct parity *p)
{
    print_message("seed %llu, %zu cases, %zu instruction sets\n", (unsigned long long)p->seed,
                  p->end - p->first, p->n_native);
    size_t failures = 0;
    memset(p->count, 0, sizeof p->count);
    memset(p->worst, 0, sizeof p->worst);
    for (size_t i = p->first; i < p->end && failures < 10; i++) {
        run_case(p, i);
        failures += p->failed;
    }
    for (int k = 0; k < KINDS; k++)
        if (p->count[k])
            print_message("  %-22s %5zu cases, largest error %.2f of the bound\n", kind_names[k],
                          p->count[k], p->worst[k]);
    while (p->n_native) cvy_context_destroy(&p->native[--p->n_native]);
    cvy_context_destroy(&p->reference);
    assert_int_equal(failures, 0);
}

static void test_module(void **state)
{
    struct parity *p = *state;
    cvy_context_options o = { .threads = 2, .backends = "onednn,native" };
    enum cvy_status status = cvy_context_create(&o, &p->native[0]);
    /* this build has none */
    if (status != CVY_OK && strstr(cvy_message(p->native[0]), "convoy-onednn.so in")) {
        cvy_context_destroy(&p->native[0]);
        print_message("left out: the oneDNN module: not built (Debian: libdnnl-dev)\n");
        skip();
    }
    assert_int_equal(status, CVY_OK);
    assert_int_equal(
        cvy_context_create(&(cvy_context_options){ .threads = 1, .backends = "reference" },
                           &p->reference),
        CVY_OK);
    p->n_native = 1;
    p->module = true;
    all_cases(p);
}

static void test_parity(void **state)
{
    struct parity *p = *state;
    cvy_machine machine;
    p->module = false;
    cvy_machine_describe(&machine);
    assert_int_equal(
        cvy_context_create(&(cvy_context_options){ .threads = 1, .backends = "reference" },
                           &p->reference),
        CVY_OK);
    for (int isa = CVY_ISA_SCALAR; isa <= CVY_ISA_PAIR; isa++) {
        if (!machine.can_run[isa]) continue;
        for (int algorithm = CVY_ALGORITHM_DIRECT; algorithm <= CVY_ALGORITHM_TRANSFORMED;
             algorithm++) {
            cvy_context_options o = { .threads = 2,
                                      .isa = (enum cvy_isa)isa,
                                      .backends = "native",
                                      .algorithm = (enum cvy_algorithm)algorithm,
                                      .strict = true };
            assert_in_range(p->n_native, 0, NATIVE_MOST - 1);
            p->isa[p->n_native] = o.isa;
            p->algorithm[p->n_native] = o.algorithm;
            assert_int_equal(cvy_context_create(&o, &p->native[p->n_native++]), CVY_OK);
        }
    }
    all_cases(p);
}

int main(int argc, char **argv)
{
    static struct parity p;
    p.seed = check_seed();
    p.end = check_cases(2400);
    for (int i = 1; i + 1 < argc; i += 2) {
        unsigned long long v = strtoull(argv[i + 1], NULL, 0);
        if (!strcmp(argv[i], "--seed")) p.seed = v;
        else if (!strcmp(argv[i], "--cases")) p.end = v;
        else if (!strcmp(argv[i], "--case")) {
            p.first = v;
            p.end = v + 1;
        } else {
            fprintf(stderr, "usage: %s [--seed S] [--cases N] [--case I]\n", argv[0]);
            return 2;
        }
    }
    const struct CMUnitTest tests[] = { cmocka_unit_test_prestate(test_parity, &p),
                                        cmocka_unit_test_prestate(test_module, &p) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
