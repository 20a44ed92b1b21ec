/* Pooling against PyTorch: sizes and refusals of a few hundred small geometries, values and
 * gradients (tests/golden/torch_pools.txt, which make_torch_pools.py made), on the reference,
 * native and, where it is built, oneDNN's module. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convoy/convoy.h"

enum { N = 3, MOST = 64 }; /* the same image N times */

/* As in the script. */
static float value(size_t i, size_t of, size_t n)
{
    return (float)((i * 7919 + of * 104729) % n) - (float)(n / 2);
}

static void fill(float *x, size_t size, size_t of, size_t n)
{
    for (size_t i = 0; i < N * size; i++) x[i] = value(i % size, of, n);
}

static void read_numbers(FILE *f, double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) assert_int_equal(fscanf(f, "%lf", &x[i]), 1);
}

static void compare(const char *what, size_t number, const float *got, const double *want,
                    size_t size)
{
    for (size_t i = 0; i < N * size; i++)
        if (!(fabs((double)got[i] - want[i % size]) <= 2e-6 * (1 + fabs(want[i % size]))))
            fail_msg("pool %zu: %s[%zu] is %.9g, PyTorch's %.9g", number, what, i, (double)got[i],
                     want[i % size]);
}

static void one_pool(cvy_context *ctx, FILE *f, size_t number, cvy_shape s,
                     const cvy_pool2d_desc *d, size_t oh, size_t ow)
{
    double y[MOST], dx[MOST];
    float x[N * MOST], dy[N * MOST], got[N * MOST];
    cvy_op *op;
    enum cvy_status status = cvy_op_pool2d(ctx, d, s, CVY_FORWARD, &op);
    if (!oh) {
        if (status != CVY_E_SHAPE)
            fail_msg("pool %zu: PyTorch refuses it, status %d", number, (int)status);
        cvy_op_destroy(&op);
        return;
    }
    if (status != CVY_OK) fail_msg("pool %zu: %s", number, cvy_message(ctx));
    cvy_shape o = cvy_op_dst_shape(op);
    if (o.h != oh || o.w != ow)
        fail_msg("pool %zu: %zu x %zu, PyTorch's %zu x %zu", number, o.h, o.w, oh, ow);
    read_numbers(f, y, oh * ow);
    read_numbers(f, dx, s.h * s.w);
    fill(x, s.h * s.w, number, 11);
    fill(dy, oh * ow, number, 9);
    assert_int_equal(cvy_op_run(op, &(cvy_op_args){ .src = x, .dst = got }), CVY_OK);
    compare("y", number, got, y, oh * ow);
    cvy_op_destroy(&op);
    assert_int_equal(cvy_op_pool2d(ctx, d, s, CVY_BACKWARD_DATA, &op), CVY_OK);
    assert_int_equal(cvy_op_run(op, &(cvy_op_args){ .src = x, .diff_dst = dy, .diff_src = got }),
                     CVY_OK);
    compare("dx", number, got, dx, s.h * s.w);
    cvy_op_destroy(&op);
}

static void all_pools(const char *backends)
{
    cvy_context *ctx;
    enum cvy_status status =
        cvy_context_create(&(cvy_context_options){ .threads = 1, .backends = backends }, &ctx);
    /* this build has none */
    if (status != CVY_OK && strstr(cvy_message(ctx), "convoy-onednn.so in")) {
        cvy_context_destroy(&ctx);
        skip();
    }
    assert_int_equal(status, CVY_OK);
    FILE *f = fopen("tests/golden/torch_pools.txt", "r");
    char line[128], kind[8];
    size_t number = 0, v[12], refused = 0;
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    while (fscanf(f, "%7s", kind) == 1) {
        for (size_t i = 0; i < 12; i++) assert_int_equal(fscanf(f, "%zu", &v[i]), 1);
        cvy_pool2d_desc d = { .kind = strcmp(kind, "max") ? CVY_POOL_AVG : CVY_POOL_MAX,
                              .kernel = { v[2], v[3] },
                              .stride = { v[4], v[5] },
                              .pad = { v[6], v[7], v[6], v[7] },
                              .ceil_mode = v[8],
                              .exclude_pad = v[9] };
        assert_true(v[0] * v[1] <= MOST && v[10] * v[11] <= MOST);
        one_pool(ctx, f, number++, (cvy_shape){ N, 1, v[0], v[1] }, &d, v[10], v[11]);
        refused += !v[10];
    }
    assert_true(number >= 300 && refused > 0 && refused < number / 2);
    fclose(f);
    cvy_context_destroy(&ctx);
}

static void reference(void **state)
{
    (void)state;
    all_pools("reference");
}
static void native(void **state)
{
    (void)state;
    all_pools("native");
}
static void module(void **state)
{
    (void)state;
    all_pools("onednn,native");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(reference), cmocka_unit_test(native),
                                        cmocka_unit_test(module) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
