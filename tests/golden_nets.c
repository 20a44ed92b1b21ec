/* The built-in resnet18, resnet50, densenet121 and mobilenet-v2 against torchvision's, by
 * tests/golden/torch_nets_*.txt, which make_torch_nets.py made in double: the names and sizes of
 * all parameters and running statistics; and three steps on sixteen images of 3x40x32, their
 * losses, every gradient of the first, and how far every parameter and running statistic has moved
 * behind the last.
 *
 * A tensor is compared by two sums over all its elements, each over the tensor's norm: with weights
 * from a hash (a permutation or a sign changes that), and of squares. The reference, in double,
 * agrees to nine digits. What native may be off is two to three times what it was, and what
 * PyTorch's own float was off its double (the head of each file): losses 8e-7 (4e-7); gradients
 * 7e-3 (3e-3), since of millions of ReLUs a few are so near 0 that rounding opens or closes them;
 * ways 1.1e-2 (1e-2), since a weight of 0.5 has only so many digits for a step of 1e-6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convoy/convoy.h"
#include "golden_hash.h"
#include "models/models.h"

enum { IMAGES = 16, CLASSES = 10, STEPS = 3, TENSORS = 640 };
static const struct model_options small = { .input = { 3, 40, 32 }, .classes = CLASSES };

struct tensor {
    char name[96];
    size_t whole, count; /* for 1000 classes, and here */
    bool running;        /* no parameter: no gradient */
    bool compared;
    double gradient[2], moved[2];
};
struct golden {
    struct tensor tensor[TENSORS];
    size_t n;
    double losses[STEPS];
};

static bool ends(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);
    return n >= e && !strcmp(name + n - e, end);
}

static void read_tensor(struct golden *g, const char *line)
{
    assert_true(g->n < TENSORS);
    struct tensor *t = &g->tensor[g->n++];
    double x[4];
    int n = sscanf(line, "%95s %zu %zu %lf %lf %lf %lf", t->name, &t->whole, &t->count, &x[0],
                   &x[1], &x[2], &x[3]);
    t->running = ends(t->name, ".running_mean") || ends(t->name, ".running_var");
    assert_int_equal(n, t->running ? 5 : 7);
    if (!t->running) memcpy(t->gradient, x, sizeof t->gradient);
    memcpy(t->moved, t->running ? x : x + 2, sizeof t->moved);
}

static struct golden *golden_read(const char *net)
{
    char path[96], line[256];
    struct golden *g = calloc(1, sizeof *g);
    snprintf(path, sizeof path, "tests/golden/torch_nets_%s.txt", net);
    FILE *f = fopen(path, "r");
    if (!f || !g) fail_msg("%s: cannot be opened (tests run in the source root)", path);
    while (fgets(line, sizeof line, f)) {
        double *x = g->losses;
        if (*line == '#') continue;
        if (strncmp(line, "losses ", 7)) read_tensor(g, line);
        else assert_int_equal(sscanf(line, "losses 3 %lf %lf %lf", &x[0], &x[1], &x[2]), STEPS);
    }
    fclose(f);
    assert_true(g->n > 100);
    return g;
}

static struct tensor *find(struct golden *g, const char *name)
{
    for (size_t i = 0; i < g->n; i++)
        if (!strcmp(g->tensor[i].name, name)) return &g->tensor[i];
    fail_msg("torchvision's net has no %s", name);
    return NULL;
}

/* -------------------------------------------------------------------------------------- the net */

struct built {
    cvy_context *ctx;
    struct model *model;
    cvy_net *net;
    cvy_trainer *trainer;
};

static void build(struct built *b, const char *net, const char *backend, bool whole)
{
    char error[1024];
    cvy_tensor logits;
    assert_int_equal(
        cvy_context_create(&(cvy_context_options){ .backends = backend, .strict = true }, &b->ctx),
        CVY_OK);
    if (model_load(net, whole ? NULL : &small, &b->model, error, sizeof error) ||
        model_build(b->model, b->ctx, &b->net, &logits, error, sizeof error))
        fail_msg("%s", error);
    const cvy_trainer_options options = {
        .batch = IMAGES, .sgd = { .lr = 1e-4, .momentum = 0.9 }, .seed = 11, .dry_run = whole
    };
    if (cvy_trainer_create(b->net, logits, &options, &b->trainer))
        fail_msg("%s: %s", net, cvy_message(b->ctx));
}

static void destroy(struct built *b)
{
    cvy_trainer_destroy(&b->trainer);
    cvy_net_destroy(&b->net);
    model_free(&b->model);
    cvy_context_destroy(&b->ctx);
}

/* What is done for every tensor of a kind; how many there are. */
typedef void tensor_fn(struct built *b, struct tensor *t, const cvy_param_info *info,
                       double allowed);
static size_t all(struct built *b, struct golden *g, enum cvy_param_kind kind, tensor_fn *each,
                  double allowed)
{
    cvy_param_info info;
    size_t n = cvy_trainer_params(b->trainer, kind);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(cvy_trainer_param(b->trainer, kind, i, &info), CVY_OK);
        each(b, find(g, info.name), &info, allowed);
    }
    return n;
}

static double *get(const struct built *b, const struct tensor *t, enum cvy_param_kind kind)
{
    double *x = malloc(t->count * sizeof *x);
    assert_non_null(x);
    if (cvy_trainer_get64(b->trainer, kind, t->name, x, t->count))
        fail_msg("%s", cvy_message(b->ctx));
    return x;
}

/* What element i starts as. */
static double start_value(const cvy_param_info *info, size_t i)
{
    const double u = signed_at(info->name, i);
    if (info->rank == 1) return 0.5 + u / 8;
    return u * weight_bound((double)(info->count / info->dims[0]));
}

static void start(struct built *b, struct tensor *t, const cvy_param_info *info, double allowed)
{
    (void)allowed;
    double *x = malloc(t->count * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < t->count; i++) x[i] = start_value(info, i);
    if (cvy_trainer_set64(b->trainer, info->kind, t->name, x, t->count))
        fail_msg("%s", cvy_message(b->ctx));
    free(x);
}

/* Where the tensor was before the first step; gradients were nowhere. */
static double first(const struct tensor *t, const cvy_param_info *info, size_t i)
{
    if (info->kind == CVY_PARAM_GRADIENT) return 0;
    if (t->running) return ends(t->name, "var");
    return start_value(info, i);
}

static void compare(struct built *b, struct tensor *t, const cvy_param_info *info, double allowed)
{
    const bool gradient = info->kind == CVY_PARAM_GRADIENT;
    const double *want = gradient ? t->gradient : t->moved, norm = fmax(want[1], 1e-4);
    double *x = get(b, t, info->kind), sum = 0, squares = 0;
    for (size_t i = 0; i < t->count; i++) {
        const double d = x[i] - first(t, info, i);
        sum += d * signed_at("checksum", i);
        squares += d * d;
    }
    free(x);
    const double got[2] = { sum, sqrt(squares) };
    for (int i = 0; i < 2; i++)
        if (!(fabs(got[i] - want[i]) <= allowed * norm))
            fail_msg("%s of %s: %s %.10g, PyTorch's %.10g: %.2g of the norm, allowed %.2g",
                     gradient ? "gradient" : "way", t->name, i ? "norm" : "weighted sum", got[i],
                     want[i], fabs(got[i] - want[i]) / norm, allowed);
    t->compared = true;
}

/* What may be off, relatively. */
struct tolerance {
    double loss, gradient, moved;
};

static void run(const char *net, const char *backend, int steps, const struct tolerance *allowed)
{
    struct golden *g = golden_read(net);
    struct built b = { 0 };
    float *images[2];
    int32_t labels[2][IMAGES];
    cvy_batch batch[2];
    const size_t size = IMAGES * small.input[0] * small.input[1] * small.input[2];
    build(&b, net, backend, false);
    all(&b, g, CVY_PARAM_WEIGHT, start, 0);
    for (int k = 0; k < 2; k++) {
        assert_non_null(images[k] = malloc(size * sizeof *images[k]));
        for (size_t i = 0; i < size; i++)
            images[k][i] = (float)signed_at(k ? "images1" : "images0", i);
        for (size_t i = 0; i < IMAGES; i++)
            labels[k][i] = (int32_t)(hash64(k ? "labels1" : "labels0", i) % CLASSES);
        batch[k] = (cvy_batch){
            .images = images[k], .dtype = CVY_F32, .labels32 = labels[k], .n = IMAGES
        };
    }
    for (int step = 0; step < steps; step++) {
        cvy_step_result r;
        if (cvy_trainer_step(b.trainer, &batch[step % 2], &r)) fail_msg("%s", cvy_message(b.ctx));
        const double got = r.loss_sum / (double)r.n, want = g->losses[step];
        if (!(fabs(got - want) <= allowed->loss * want))
            fail_msg("%s, step %d: loss %.10g, PyTorch's %.10g, allowed %.2g of it", net, step, got,
                     want, allowed->loss);
        if (!step) all(&b, g, CVY_PARAM_GRADIENT, compare, allowed->gradient);
    }
    if (steps == STEPS) {
        all(&b, g, CVY_PARAM_WEIGHT, compare, allowed->moved);
        all(&b, g, CVY_PARAM_RUNNING, compare, allowed->moved);
    }
    for (size_t i = 0; i < g->n; i++)
        if (!g->tensor[i].compared && (steps == STEPS || !g->tensor[i].running))
            fail_msg("%s has no %s", net, g->tensor[i].name);
    for (int k = 0; k < 2; k++) free(images[k]);
    destroy(&b);
    free(g);
}

/* --------------------------------------------------------------------------------------- tests */

static const struct {
    const char *name;
    size_t parameters;
} nets[] = { { "resnet18", 11689512 },
             { "resnet50", 25557032 },
             { "densenet121", 7978856 },
             { "mobilenet-v2", 3504872 } };
enum { NETS = sizeof nets / sizeof *nets };

static void same_size(struct built *b, struct tensor *t, const cvy_param_info *info, double allowed)
{
    (void)b, (void)allowed;
    assert_int_equal(t->running, info->kind == CVY_PARAM_RUNNING);
    if (info->count != t->whole)
        fail_msg("%s has %zu elements, torchvision's %zu", t->name, info->count, t->whole);
    t->compared = true;
}

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < NETS; i++) {
        struct golden *g = golden_read(nets[i].name);
        struct built b = { 0 };
        size_t parameters = 0;
        build(&b, nets[i].name, "native", true);
        all(&b, g, CVY_PARAM_WEIGHT, same_size, 0);
        all(&b, g, CVY_PARAM_RUNNING, same_size, 0);
        for (size_t k = 0; k < g->n; k++) {
            if (!g->tensor[k].compared) fail_msg("%s has no %s", nets[i].name, g->tensor[k].name);
            if (!g->tensor[k].running) parameters += g->tensor[k].whole;
        }
        assert_int_equal(parameters, nets[i].parameters);
        destroy(&b);
        free(g);
    }
}

static void test_native(void **state)
{
    (void)state;
    static const struct tolerance single = { 2e-6, 2e-2, 3e-2 };
    for (size_t i = 0; i < NETS; i++) run(nets[i].name, "native", STEPS, &single);
}

/* Plain loops in double take seconds a step: one, of the two smallest. */
static void test_reference(void **state)
{
    (void)state;
    static const struct tolerance exact = { 1e-9, 1e-9, 1e-9 };
    run("resnet18", "reference", 1, &exact);
    run("mobilenet-v2", "reference", 1, &exact);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_names), cmocka_unit_test(test_native),
                                        cmocka_unit_test(test_reference) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
