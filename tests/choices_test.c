/* Every choice that native makes by a number (NATIVE_CHOICES), met on both sides: the log of a
 * context says which answers were given, and each case's results are compared with the reference's.
 * Operators run on small whole numbers, whose sums are exact in any order, so that a wrong one
 * cannot hide in a bound; nets train three steps.
 *
 * A choice whose answers these cases do not both see fails here by its name: give it a case, or a
 * reason in ELSEWHERE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backends/native/native.h"
#include "check.h"
#include "convoy/convoy.h"
#include "nets.h"

static size_t seen[NATIVE_N_CHOICES][2];

/* Answers that no case of this program can give. */
static const struct {
    enum native_choice choice;
    bool answer;
    const char *why;
} ELSEWHERE[] = {
    { CHOICE_FLAT_TASKS, false,
      "native has no reason to move a parameter: only beside a module that keeps its own "
      "(module_test)" },
    { CHOICE_FLAT_TASKS, true, "likewise" },
};

static void count(void *user, int level, const char *line)
{
    (void)user, (void)level;
    if (strncmp(line, "native: ", 8)) return;
    for (size_t i = 0; i < NATIVE_N_CHOICES; i++) {
        size_t n = strlen(cvyi_native_choices[i]);
        if (strncmp(line + 8, cvyi_native_choices[i], n) || line[8 + n] != ':') continue;
        if (!strcmp(line + 8 + n, ": yes")) seen[i][1]++;
        if (!strcmp(line + 8 + n, ": no")) seen[i][0]++;
    }
}

static cvy_context *context(const char *backend, enum cvy_algorithm algorithm, bool counting)
{
    cvy_context *ctx;
    cvy_context_options o = { .threads = 2,
                              .backends = backend,
                              .algorithm = algorithm,
                              .strict = true,
                              .verbose = counting ? 2 : 0,
                              .log = counting ? count : NULL };
    if (cvy_context_create(&o, &ctx)) die(ctx, backend);
    return ctx;
}

/* --------------------------------------------------------------------------------- convolutions */

struct conv_case {
    const char *what;
    cvy_shape src;
    cvy_conv2d_desc conv;
};

#define SAME3 .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 }
#define SAME5 .kernel = { 5, 5 }, .pad = { 2, 2, 2, 2 }

static const struct conv_case convs[] = {
    { "owned, the least weights", { 3, 8, 3, 3 }, { .out_channels = 1366, SAME3 } },
    { "one row of weights less", { 3, 8, 3, 3 }, { .out_channels = 1365, SAME3 } },
    { "owned, two blocks", { 18, 15, 3, 3 }, { .out_channels = 750, SAME3 } },
    { "owned, stride and flip",
      { 17, 750, 5, 6 },
      { .out_channels = 15, SAME3, .stride = { 2, 2 }, .flip = true } },
    { "owned, dilated groups",
      { 2, 900, 7, 7 },
      { .out_channels = 15,
        .kernel = { 3, 3 },
        .dilation = { 2, 2 },
        .groups = 1,
        .pad = { 1, 2, 3, 0 } } },
    { "owned, more taps than regions take",
      { 1, 32, 20, 20 },
      { .out_channels = 32, .kernel = { 14, 13 } } },
    { "owned, the fewest channels a task",
      { 1, 4, 75, 75 },
      { .out_channels = 5, .kernel = { 73, 73 } } },
    { "owned, little of a slot held", { 1, 1366, 3, 3 }, { .out_channels = 8, SAME3 } },
    { "weights enough, maps too large to be read again",
      { 1, 15, 40, 40 },
      { .out_channels = 730, SAME3 } },
    { "by regions, rows and their remainder, two blocks",
      { 18, 96, 11, 13 },
      { .out_channels = 114, SAME3 } },
    { "by regions, stride and flip",
      { 17, 96, 9, 6 },
      { .out_channels = 114, SAME3, .stride = { 2, 2 }, .flip = true } },
    { "by regions, dilated groups",
      { 2, 200, 7, 7 },
      { .out_channels = 220,
        .kernel = { 3, 3 },
        .dilation = { 2, 2 },
        .groups = 2,
        .pad = { 1, 2, 3, 0 } } },
    { "by regions, parts of rows", { 1, 16, 3, 131 }, { .out_channels = 33, SAME3 } },
    { "by regions, no tap at all",
      { 3, 20, 6, 6 },
      { .out_channels = 40, .kernel = { 2, 2 }, .pad = { 7, 7, 7, 7 }, .stride = { 3, 3 } } },
    { "by regions, sixteen blocks", { 241, 33, 4, 4 }, { .out_channels = 34, SAME3 } },
    { "by regions, one pixel to one",
      { 20, 70, 13, 11 },
      { .out_channels = 35, .kernel = { 1, 1 } } },
    { "by regions, the input transposed",
      { 3, 45, 13, 11 },
      { .out_channels = 70, .kernel = { 1, 1 } } },
    { "by regions, its pixels apart, groups",
      { 19, 80, 13, 12 },
      { .out_channels = 156, .kernel = { 1, 1 }, .stride = { 2, 3 }, .groups = 2 } },
    { "by regions, one tap and a border",
      { 3, 32, 5, 6 },
      { .out_channels = 48, .kernel = { 1, 1 }, .pad = { 1, 0, 0, 2 } } },
    { "by regions, one tap and a border below",
      { 3, 32, 5, 6 },
      { .out_channels = 48, .kernel = { 1, 1 }, .pad = { 0, 0, 1, 1 } } },
    { "one channel too few", { 3, 15, 5, 6 }, { .out_channels = 48, SAME3 } },
    { "the other's too few", { 3, 31, 5, 6 }, { .out_channels = 31, SAME3 } },
    { "interior", { 2, 5, 18, 18 }, { .out_channels = 4, SAME3 } },
    { "interior one pixel less", { 2, 5, 17, 17 }, { .out_channels = 4, SAME3 } },
    { "interior for few channels", { 2, 2, 6, 6 }, { .out_channels = 4, SAME3 } },
    { "strips of one row", { 2, 3, 4, 98 }, { .out_channels = 6, SAME3 } },
    { "rows of the kernel's limit",
      { 2, 3, 1, 1024 },
      { .out_channels = 4, .kernel = { 1, 3 }, .pad = { 0, 1, 0, 1 } } },
    { "one more",
      { 2, 14, 1, 1025 },
      { .out_channels = 4, .kernel = { 1, 3 }, .pad = { 0, 1, 0, 1 } } },
    { "channels of one call", { 2, 48, 4, 4 }, { .out_channels = 7, SAME3 } },
    { "one more", { 2, 49, 4, 4 }, { .out_channels = 7, SAME3 } },
    { "sixteen blocks", { 241, 2, 4, 4 }, { .out_channels = 4, SAME3 } },
    { "fifteen", { 240, 2, 4, 4 }, { .out_channels = 4, SAME3 } },
    { "sixteen blocks, weights that L2 does not hold",
      { 241, 520, 1, 1 },
      { .out_channels = 64, .kernel = { 1, 1 } } },
    { "by images, seven pixels", { 5, 6, 1, 7 }, { .out_channels = 20, .kernel = { 1, 1 } } },
    { "eight pixels", { 5, 6, 2, 4 }, { .out_channels = 20, .kernel = { 1, 1 } } },
    { "by images, a hundred channels and taps", { 19, 100, 2, 2 }, { .out_channels = 40, SAME3 } },
    { "by images, more blocks than the kernel takes",
      { 1030, 5, 2, 2 },
      { .out_channels = 20, SAME3 } },
    { "wide", { 20, 33, 1, 1 }, { .out_channels = 65, .kernel = { 1, 1 } } },
    { "not quite wide", { 20, 33, 1, 1 }, { .out_channels = 64, .kernel = { 1, 1 } } },
    { "wide, the whole map", { 6, 30, 3, 4 }, { .out_channels = 90, .kernel = { 3, 4 } } },
    { "wide, rows of 4 096 bytes",
      { 50, 1024, 1, 1 },
      { .out_channels = 100, .kernel = { 1, 1 } } },
    { "wide, the whole map of 4 KiB a channel",
      { 18, 3, 32, 32 },
      { .out_channels = 100, .kernel = { 32, 32 } } },
    { "the same, not wide", { 18, 2, 64, 64 }, { .out_channels = 10, .kernel = { 64, 64 } } },
    { "wide, ranges of channels", { 3, 2100, 1, 1 }, { .out_channels = 70, .kernel = { 1, 1 } } },
    { "wide, more blocks than the kernel takes",
      { 1030, 12, 1, 1 },
      { .out_channels = 70, .kernel = { 1, 1 } } },
    { "very many inputs", { 37, 1793, 1, 1 }, { .out_channels = 100, .kernel = { 1, 1 } } },
    { "one too few", { 37, 1792, 1, 1 }, { .out_channels = 100, .kernel = { 1, 1 } } },
    { "few outputs of them", { 250, 2100, 1, 1 }, { .out_channels = 3, .kernel = { 1, 1 } } },
    { "most outputs", { 19, 4400, 1, 1 }, { .out_channels = 256, .kernel = { 1, 1 } } },
    { "one too many", { 19, 4400, 1, 1 }, { .out_channels = 257, .kernel = { 1, 1 } } },
    { "very many inputs, more blocks than the kernel takes",
      { 1030, 1800, 1, 1 },
      { .out_channels = 4, .kernel = { 1, 1 } } },
    { "a chain of 256", { 2, 256, 3, 3 }, { .out_channels = 6, .kernel = { 1, 1 } } },
    { "of 257", { 2, 257, 3, 3 }, { .out_channels = 6, .kernel = { 1, 1 } } },
    { "one channel longer than a chain",
      { 1, 2, 20, 20 },
      { .out_channels = 2, .kernel = { 17, 16 }, .pad = { 8, 8, 8, 8 } } },
    { "work for more tasks than the least", { 16, 32, 16, 16 }, { .out_channels = 32, SAME3 } },
    { "for more than the most", { 16, 64, 16, 16 }, { .out_channels = 32, SAME3 } },
    { "weights more than maps", { 1, 300, 5, 5 }, { .out_channels = 310, SAME3 } },
    { "depthwise", { 20, 40, 9, 9 }, { .out_channels = 40, SAME3, .groups = 40 } },
    { "depthwise, two bands of rows",
      { 18, 3, 34, 33 },
      { .out_channels = 3, SAME3, .groups = 3 } },
    { "depthwise, rows longer than a chain",
      { 2, 3, 3, 1025 },
      { .out_channels = 3, SAME3, .groups = 3 } },
    { "depthwise, stride, dilation and flip",
      { 3, 20, 13, 12 },
      { .out_channels = 20,
        .kernel = { 3, 5 },
        .stride = { 2, 3 },
        .dilation = { 2, 1 },
        .pad = { 2, 1, 0, 4 },
        .groups = 20,
        .flip = true } },
    { "depthwise, two of each", { 5, 6, 8, 8 }, { .out_channels = 12, SAME3, .groups = 6 } },
    { "depthwise, four of each", { 5, 6, 8, 8 }, { .out_channels = 24, SAME3, .groups = 6 } },
    { "depthwise, a chain of 256 for data",
      { 2, 2, 12, 12 },
      { .out_channels = 4, .kernel = { 8, 16 }, .pad = { 4, 8, 4, 8 }, .groups = 2 } },
    { "depthwise, more than that",
      { 2, 2, 12, 12 },
      { .out_channels = 4, .kernel = { 8, 17 }, .pad = { 4, 8, 4, 8 }, .groups = 2 } },
    { "depthwise, the whole map",
      { 33, 70, 7, 7 },
      { .out_channels = 70, .kernel = { 7, 7 }, .groups = 70 } },
    { "regions of wide rows", { 1, 64, 2, 600 }, { .out_channels = 3, SAME3 } },
    { "panels", { 3, 70, 46, 45 }, { .out_channels = 80, .kernel = { 1, 1 } } },
    { "not enough columns for panels",
      { 3, 70, 46, 45 },
      { .out_channels = 24, .kernel = { 1, 1 } } },
    { "small panels", { 1, 190, 14, 13 }, { .out_channels = 140, .kernel = { 1, 1 } } },
    { "a source too near for panels",
      { 3, 70, 10, 10 },
      { .out_channels = 140, .kernel = { 1, 1 } } },
    { "panels of groups",
      { 1, 160, 46, 45 },
      { .out_channels = 140, .kernel = { 1, 1 }, .groups = 2 } },
    { "panels, strided",
      { 2, 130, 31, 30 },
      { .out_channels = 90, .kernel = { 1, 1 }, .stride = { 2, 3 } } },
    { "panels, padded",
      { 1, 130, 21, 20 },
      { .out_channels = 90, .kernel = { 1, 1 }, .pad = { 1, 2, 0, 1 } } },
    { "panels, the last chunk shorter",
      { 1, 259, 45, 46 },
      { .out_channels = 80, .kernel = { 1, 1 } } },
    { "panels of several taps",
      { 1, 70, 46, 45 },
      { .out_channels = 80, .kernel = { 3, 3 }, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 } } },
    { "panels of several taps, small",
      { 3, 131, 14, 30 },
      { .out_channels = 140,
        .kernel = { 3, 2 },
        .stride = { 2, 2 },
        .dilation = { 1, 2 },
        .pad = { 3, 0, 1, 2 },
        .flip = true } },
    { "panels of several taps, groups",
      { 1, 160, 46, 45 },
      { .out_channels = 140, .kernel = { 2, 2 }, .stride = { 2, 3 }, .groups = 2 } },
    { "transformed, the channels in two parts", { 2, 24, 9, 10 }, { .out_channels = 260, SAME3 } },
    { "transformed, a chain of 256", { 17, 256, 6, 5 }, { .out_channels = 20, SAME3 } },
    { "transformed, of 257", { 17, 257, 6, 5 }, { .out_channels = 20, SAME3 } },
    { "transformed, tasks own weights", { 1, 256, 8, 8 }, { .out_channels = 256, SAME3 } },
    { "transformed, tasks transform weights of groups, flip",
      { 17, 260, 7, 7 },
      { .out_channels = 266, SAME3, .groups = 2, .flip = true } },
    { "transformed, groups", { 20, 64, 9, 9 }, { .out_channels = 96, SAME3, .groups = 2 } },
    { "transformed, no padding, flip",
      { 3, 40, 14, 7 },
      { .out_channels = 33, .kernel = { 3, 3 }, .flip = true } },
    { "transformed, padding of its own on each side",
      { 18, 40, 7, 10 },
      { .out_channels = 33, .kernel = { 3, 3 }, .pad = { 3, 0, 1, 5 } } },
    { "by rows", { 20, 24, 9, 8 }, { .out_channels = 20, SAME5 } },
    { "by rows, flip, no padding",
      { 3, 30, 9, 13 },
      { .out_channels = 17, .kernel = { 5, 5 }, .flip = true } },
    { "by rows, several bands, a kernel of seven rows",
      { 17, 40, 26, 15 },
      { .out_channels = 36, .kernel = { 7, 5 }, .pad = { 5, 0, 1, 6 } } },
    { "by rows, groups, a chain of 256",
      { 2, 104, 8, 12 },
      { .out_channels = 40, SAME5, .groups = 2 } },
    { "by rows, of 260", { 2, 52, 8, 12 }, { .out_channels = 300, SAME5 } },
    { "by rows, sixteen blocks", { 250, 20, 8, 8 }, { .out_channels = 20, SAME5 } },
    { "by rows of three, two rows, flip",
      { 18, 60, 9, 15 },
      { .out_channels = 70, .kernel = { 2, 3 }, .pad = { 1, 0, 1, 2 }, .flip = true } },
    { "by rows of three, groups",
      { 17, 128, 6, 9 },
      { .out_channels = 160, .kernel = { 1, 3 }, .pad = { 0, 1, 0, 1 }, .groups = 2 } },
    { "by rows, a row and no more", { 2, 24, 1, 40 }, { .out_channels = 24, SAME5 } },
    { "transformed, sixteen blocks", { 241, 32, 8, 8 }, { .out_channels = 32, SAME3 } },
    { "no tap at all",
      { 3, 3, 4, 4 },
      { .out_channels = 5, .kernel = { 2, 2 }, .pad = { 7, 7, 7, 7 }, .stride = { 3, 3 } } },
    { "most rows between the taps",
      { 2, 3, 40, 9 },
      { .out_channels = 5, .kernel = { 3, 2 }, .stride = { 9, 4 }, .dilation = { 6, 1 } } },
};

static size_t elements(cvy_shape s) { return s.n * s.c * s.h * s.w; }

static float *whole(struct check_rng *r, size_t n)
{
    float *x = malloc((n ? n : 1) * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = (float)check_below(r, 5) - 2;
    return x;
}

static void run_conv(cvy_context *ctx, const struct conv_case *c, enum cvy_pass pass,
                     const cvy_op_args *args)
{
    cvy_op *op;
    if (cvy_op_conv2d(ctx, &c->conv, c->src, pass, &op) || cvy_op_run(op, args)) die(ctx, c->what);
    cvy_op_destroy(&op);
}

/* What may be transformed: then sums of whole numbers are whole after rounding. */
static bool transformable(const struct conv_case *c)
{
    const cvy_conv2d_desc *d = &c->conv;
    for (int i = 0; i < 2; i++)
        if (d->stride[i] > 1 || d->dilation[i] > 1) return false;
    return d->kernel[1] == 3 || d->kernel[1] == 5;
}

static void equal(const struct conv_case *c, bool direct, const char *what, const float *got,
                  const float *want, size_t n)
{
    const float room = transformable(c) && !direct ? 0.01f : 0;
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - want[i]) <= room))
            fail_msg("%s: %s[%zu] is %.9g, right is %.9g", c->what, what, i, (double)got[i],
                     (double)want[i]);
}

static void check_conv(cvy_context *native, bool direct, cvy_context *reference,
                       const struct conv_case *c)
{
    struct check_rng r = { check_seed() };
    cvy_op *op;
    if (cvy_op_conv2d(reference, &c->conv, c->src, CVY_FORWARD, &op)) die(reference, c->what);
    cvy_shape dst = cvy_op_dst_shape(op);
    cvy_op_destroy(&op);
    size_t groups = c->conv.groups ? c->conv.groups : 1, oc = c->conv.out_channels,
           nx = elements(c->src), ny = elements(dst);
    size_t nw = oc * (c->src.c / groups) * c->conv.kernel[0] * c->conv.kernel[1];
    float *x = whole(&r, nx), *w = whole(&r, nw), *b = whole(&r, oc), *dy = whole(&r, ny);
    float *y[2], *dx[2], *dw[2], *db[2];
    size_t rows = seen[CHOICE_WHOLE][1];
    for (int i = 0; i < 2; i++) {
        cvy_context *ctx = i ? reference : native;
        y[i] = whole(&r, ny);
        dx[i] = whole(&r, nx);
        dw[i] = whole(&r, nw);
        db[i] = whole(&r, oc);
        run_conv(ctx, c, CVY_FORWARD,
                 &(cvy_op_args){ .src = x, .weights = w, .bias = b, .dst = y[i] });
        run_conv(ctx, c, CVY_BACKWARD_DATA,
                 &(cvy_op_args){ .diff_dst = dy, .weights = w, .diff_src = dx[i] });
        run_conv(
            ctx, c, CVY_BACKWARD_WEIGHTS,
            &(cvy_op_args){ .src = x, .diff_dst = dy, .diff_weights = dw[i], .diff_bias = db[i] });
    }
    /* Pixel by pixel such a layer is right, too, but its data gradient takes ten times as long. */
    if (groups == 1 && c->src.h * c->src.w > 1 && dst.h * dst.w == 1 &&
        c->conv.kernel[0] == c->src.h && c->conv.kernel[1] == c->src.w)
        if (seen[CHOICE_WHOLE][1] - rows != 3)
            fail_msg("%s: %zu of 3 passes as one row", c->what, seen[CHOICE_WHOLE][1] - rows);
    equal(c, direct, "result", y[0], y[1], ny);
    equal(c, direct, "data gradient", dx[0], dx[1], nx);
    equal(c, direct, "weight gradient", dw[0], dw[1], nw);
    equal(c, direct, "bias gradient", db[0], db[1], oc);
    for (int i = 0; i < 2; i++) {
        free(y[i]);
        free(dx[i]);
        free(dw[i]);
        free(db[i]);
    }
    free(x);
    free(w);
    free(b);
    free(dy);
}

static void convolutions(void **state)
{
    (void)state;
    cvy_context *native = context("native", CVY_ALGORITHM_AUTO, true),
                *reference = context("reference", CVY_ALGORITHM_AUTO, false),
                *direct = context("native", CVY_ALGORITHM_DIRECT, true);
    for (size_t i = 0; i < sizeof convs / sizeof *convs; i++) {
        check_conv(native, false, reference, &convs[i]);
        if (transformable(&convs[i])) check_conv(direct, true, reference, &convs[i]);
    }
    cvy_context_destroy(&native);
    cvy_context_destroy(&direct);
    cvy_context_destroy(&reference);
}

/* ----------------------------------------------------------------------------------------- nets */

/* Rows of 300 pixels; chains that keep a result for another reader; a pooling whose plane is read
 * again; a sigmoid, whose result is read and not made again. */
static cvy_tensor long_rows(cvy_context *ctx, cvy_net **made)
{
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = cvy_input(net, 1, 4, 300), y;
    x = cvy_batch_norm(net, conv3(net, x, "a", 4, 1), "a.bn", NULL);
    y = cvy_relu(net, x);
    x = cvy_relu(net, cvy_add(net, x, conv3(net, y, "b", 4, 1), NULL));
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 4 } });
    x = cvy_sigmoid(net, cvy_batch_norm(net, conv3(net, x, "c", 8, 2), "c.bn", NULL));
    x = conv3(net, x, "d", 4, 1);
    return cvy_linear(net, cvy_flatten(net, cvy_global_avg_pool(net, x, NULL)), "fc",
                      &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* A batch norm over planes of 1 600 pixels, then max-pooling that remembers its places. */
static cvy_tensor large_planes(cvy_context *ctx, cvy_net **made)
{
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = cvy_input(net, 1, 40, 40);
    x = cvy_batch_norm(net, conv3(net, x, "a", 3, 1), "a.bn", NULL);
    x = cvy_sigmoid(net, cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 4, 4 } }));
    x = cvy_pool2d(net, conv3(net, x, "b", 4, 1), NULL, &(cvy_pool2d_desc){ .kernel = { 5, 5 } });
    return cvy_linear(net, cvy_flatten(net, x), "fc",
                      &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* Concatenations of concatenations, as in a DenseNet, of what another has already, of one value
 * twice, and of what is flattened, too. */
static cvy_tensor side_by_side(cvy_context *ctx, cvy_net **made)
{
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = conv3(net, cvy_input(net, 1, 6, 6), "in", 3, 1), y;
    for (int i = 0; i < 3; i++) {
        char name[8] = { 'a', (char)('0' + i), 0, 'n', (char)('0' + i) };
        y = cvy_relu(net, cvy_batch_norm(net, x, name + 3, NULL));
        x = cvy_concat(net, (cvy_tensor[]){ x, conv3(net, y, name, 2 + (size_t)i, 1) }, 2, NULL);
    }
    y = cvy_concat(net, (cvy_tensor[]){ y, conv3(net, x, "b", 2, 1), y }, 3, NULL);
    x = cvy_concat(net, (cvy_tensor[]){ cvy_relu(net, x), y }, 2, NULL);
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 3, 3 } });
    x = cvy_concat(net, (cvy_tensor[]){ x, conv3(net, x, "c", 3, 1) }, 2, NULL);
    return cvy_linear(net, cvy_flatten(net, x), "fc",
                      &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

struct trained {
    double loss[3];
    float *param;
    size_t n;
};

static struct trained train(cvy_context *ctx, build_net build, size_t batch)
{
    static uint8_t pixels[300 * 1200], labels[300];
    struct check_rng r = { check_seed() };
    struct trained t = { .n = 0 };
    cvy_net *net;
    cvy_trainer *trainer;
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)check_below(&r, 256);
    for (size_t i = 0; i < sizeof labels; i++) labels[i] = (uint8_t)check_below(&r, NET_CLASSES);
    cvy_tensor logits = build(ctx, &net);
    cvy_trainer_options o = {
        .batch = batch,
        .sgd = { .lr = 0.02, .momentum = 0.9, .weight_decay = 1e-3, .nesterov = true },
        .init.seed = 5,
        .seed = 3
    };
    if (cvy_trainer_create(net, logits, &o, &trainer)) die(ctx, "trainer");
    for (size_t s = 0; s < 3; s++) {
        cvy_step_result step;
        cvy_batch b = {
            .images = pixels, .labels8 = labels, .dtype = CVY_U8, .n = s == 1 ? batch - 3 : batch
        };
        if (cvy_trainer_step(trainer, &b, &step)) die(ctx, "step");
        t.loss[s] = step.loss_sum / (double)step.n;
    }
    for (int kind = CVY_PARAM_WEIGHT; kind < CVY_PARAM_KINDS; kind++)
        for (size_t i = 0; i < cvy_trainer_params(trainer, (enum cvy_param_kind)kind); i++) {
            cvy_param_info info;
            if (cvy_trainer_param(trainer, (enum cvy_param_kind)kind, i, &info)) die(ctx, "param");
            t.param = realloc(t.param, (t.n + info.count) * sizeof *t.param);
            if (cvy_trainer_get(trainer, (enum cvy_param_kind)kind, info.name, t.param + t.n,
                                info.count))
                die(ctx, info.name);
            t.n += info.count;
        }
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    return t;
}

static void check_net(cvy_context *native, cvy_context *reference, const char *what,
                      build_net build, size_t batch)
{
    struct trained a = train(native, build, batch), b = train(reference, build, batch);
    for (size_t s = 0; s < 3; s++)
        if (!(fabs(a.loss[s] - b.loss[s]) <= 1e-5 * (1 + fabs(b.loss[s]))))
            fail_msg("%s: loss of step %zu is %.9g, right is %.9g", what, s, a.loss[s], b.loss[s]);
    assert_int_equal(a.n, b.n);
    for (size_t i = 0; i < a.n; i++)
        if (!(fabs((double)a.param[i] - (double)b.param[i]) <=
              2e-5 * (1 + fabs((double)b.param[i]))))
            fail_msg("%s: number %zu of the parameters is %.9g, right is %.9g", what, i,
                     (double)a.param[i], (double)b.param[i]);
    free(a.param);
    free(b.param);
}

/* Ranks that rounding does not turn around, so that every backend has the same: in training of the
 * images' bytes, with many ties, and by quantiles, of maps and of features, wide and not. */
static cvy_tensor steady_ranks(cvy_context *ctx, cvy_net **made)
{
    const cvy_rank_desc even = { .quantiles = 9 }, frozen = { .frozen = true },
                        normal = { .frozen = true, .normal = true };
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = cvy_rank(net, cvy_input(net, 1, 28, 28), "images", &even);
    x = cvy_batch_norm(net, conv3(net, x, "a", 20, 2), "a.bn", NULL);
    x = cvy_rank(net, x, "a.rank", &frozen);
    x = cvy_linear(net, x, "narrow", &(cvy_linear_desc){ .out_features = 30 });
    x = cvy_rank(net, cvy_batch_norm(net, x, "narrow.bn", NULL), "narrow.rank", &normal);
    x = cvy_linear(net, x, "wide", &(cvy_linear_desc){ .out_features = 250 });
    x = cvy_rank(net, cvy_batch_norm(net, x, "wide.bn", NULL), "wide.rank", &frozen);
    return cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

static void nets(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        build_net build;
        size_t batch;
    } list[] = {
        { "lenet-bn", lenet_bn, 20 },
        { "lenet-bn, nine blocks", lenet_bn, 130 },
        { "motley", motley, 37 },
        { "long rows", long_rows, 5 },
        { "side by side", side_by_side, 21 },
        { "side by side, many blocks", side_by_side, 250 },
        { "dense", dense, 24 },
        { "separable", separable, 20 },
        { "tall", tall, 37 },
        { "large planes", large_planes, 18 },
        { "whitenings", every_whitening, 20 },
        { "ranks", steady_ranks, 20 },
        { "group norms", every_group_norm, 20 },
        { "group norms, sixteen blocks", every_group_norm, 250 },
        { "weighty", weighty, 20 },
        { "decoder", decoder, 20 },
        { "centred", centred, 20 },
    };
    cvy_context *native = context("native", CVY_ALGORITHM_AUTO, true),
                *reference = context("reference", CVY_ALGORITHM_AUTO, false);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        check_net(native, reference, list[i].what, list[i].build, list[i].batch);
    cvy_context_destroy(&native);
    cvy_context_destroy(&reference);
}

/* ------------------------------------------------------------------------------------- the lint */

static void both_sides_were_met(void **state)
{
    (void)state;
    size_t missing = 0;
    for (int i = 0; i < NATIVE_N_CHOICES; i++)
        for (int answer = 0; answer < 2; answer++) {
            const char *why = NULL;
            for (size_t k = 0; k < sizeof ELSEWHERE / sizeof *ELSEWHERE; k++)
                if (ELSEWHERE[k].choice == (enum native_choice)i && ELSEWHERE[k].answer == answer)
                    why = ELSEWHERE[k].why;
            if (!seen[i][answer] != !why) continue;
            missing++;
            print_message(why ? "\"%s\": %s: was seen after all; take it out of ELSEWHERE\n"
                              : "\"%s\": %s: no case was\n",
                          cvyi_native_choices[i], answer ? "yes" : "no");
        }
    assert_int_equal(missing, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(convolutions), cmocka_unit_test(nets),
                                        cmocka_unit_test(both_sides_were_met) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
