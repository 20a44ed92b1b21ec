/* The vectorised functions against double libm, in ulp of the correctly rounded result: at most 2,
 * or what acts.h grants an activation.
 *
 * Every table gives the same bits (kernel_check_rows proves it), so the widest that runs here
 * stands for all; exp and log, which no table exports alone, are compiled into this file one float
 * at a time. By default every 1021st of the 2^32 floats and the neighbourhoods of special ones,
 * about a second a function; --all is every float, minutes a function, and `math_check --all tanh`
 * one of them. The only exception: a result below FLT_MIN (of products of x: below x times it)
 * may be 0 (or another value as close), since workers flush denormals. */
#include "acts.h"
#include "check.h"

#include "backends/native/kernels/kernels.h"
#include "backends/native/kernels/math_tmpl.h"
#include "base/cpu.h"
#include "convoy/types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define CHUNK 4096 /* a multiple of 16 */

struct function {
    const char *name;
    double (*want)(double x, double alpha);
    double limit;        /* ulp */
    int act;             /* the kernel's index, or -1 */
    float (*got)(float); /* else this */
};

static bool all;
static const char *only;

static double want_exp(double x, double alpha)
{
    (void)alpha;
    return exp(-fabs(x));
}
static double want_log(double x, double alpha)
{
    (void)alpha;
    return log(x);
}

static float got_exp_neg(float x)
{
    vf v = v_abs(x), e;
    v_exp_neg(1, &e, &v);
    return e;
}
static float got_log(float x) { return v_log(x); }

static const struct function functions[] = {
    { "exp", want_exp, 2, -1, got_exp_neg },
    { "log", want_log, 2, -1, got_log },
};

static const struct cvyi_act_kernels *acts_of_this_cpu(void)
{
    const struct cvyi_kernels *k = cvyi_kernels_for((int)cvyi_cpu_best());
    assert_non_null(k);
    return k->act;
}

struct worst {
    double ulp;
    float x, got;
    uint64_t n;
};

static void compare(const struct function *f, const struct cvyi_act_kernels *acts, const float *x,
                    size_t n, struct worst *w)
{
    static float y[CHUNK];
    if (f->act >= 0) acts->act[f->act](y, x, (n + 15) / 16 * 16, 1);
    else
        for (size_t i = 0; i < n; i++) y[i] = f->got(x[i]);
    for (size_t i = 0; i < n; i++) {
        double want = f->want((double)x[i], 1), ulp = check_ulp(y[i], want);
        double tiny =
            f->act >= 0 ? check_act_tiny((enum cvy_act_kind)f->act, (double)x[i]) : 0x1p-126;
        if (fabs(want) < tiny && fabs((double)y[i] - want) <= tiny) ulp = 0;
        if (!(ulp <= w->ulp)) *w = (struct worst){ ulp, x[i], y[i], w->n };
    }
    w->n += n;
}

static void check_function(const struct function *f)
{
    static const float near[] = { 0.0f,   -0.0f,       0x1p-126f,   0.34657f, 0.5f,   0.69315f,
                                  1.0f,   0.70710678f, 1.41421356f, 2.0f,     9.0f,   16.6f,
                                  17.3f,  43.66f,      44.0f,       87.3365f, 87.68f, 88.0f,
                                  88.03f, 88.7228f,    103.97f,     INFINITY };
    static float x[CHUNK];
    const struct cvyi_act_kernels *acts = acts_of_this_cpu();
    struct worst w = { -1, 0, 0, 0 };
    if (only && strcmp(only, f->name)) return;
    uint64_t step = all ? 1 : 1021;
    for (uint64_t u = 0; u < (uint64_t)1 << 32;) {
        size_t n = 0;
        for (; n < CHUNK; n++, u += step)
            x[n] = check_float((uint32_t)u); /* the last chunk wraps around */
        compare(f, acts, x, n, &w);
    }
    for (size_t k = 0; !all && k < 2 * sizeof near / sizeof *near; k++) {
        uint32_t mid = check_bits(near[k / 2]) ^ (uint32_t)(k & 1) << 31;
        for (uint32_t i = 0; i < CHUNK; i++) x[i] = check_float(mid + i - CHUNK / 2);
        compare(f, acts, x, CHUNK, &w);
    }
    printf("%-9s %11llu floats, at most %.4f ulp, at %a: got %a, want %a\n", f->name,
           (unsigned long long)w.n, w.ulp, (double)w.x, (double)w.got, f->want((double)w.x, 1));
    if (!(w.ulp <= f->limit)) fail_msg("%s is wrong by more than %g ulp", f->name, f->limit);
}

/* With alpha 1. What is rounded once is half an ulp off. */
static void activations_are_within_their_bounds(void **state)
{
    (void)state;
    for (int k = 0; k < CHECK_ACTS; k++)
        check_function(&(struct function){ .name = check_acts[k].name,
                                           .want = check_acts[k].value,
                                           .limit = fmax(check_act_ulps((enum cvy_act_kind)k), 0.5),
                                           .act = k });
}

static void exp_and_log_are_within_two_ulp(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) check_function(&functions[k]);
}

/* What no distance shows: signs of zeros, and that saturation ends exactly at the limit. */
static void limits_are_exact(void **state)
{
    (void)state;
    const struct cvyi_act_kernels *acts = acts_of_this_cpu();
    float x[16] = { 0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e30f, -1e30f, 90, -90, 20, -20 }, y[16],
          z[16];
    acts->act[CVY_SIGMOID](y, x, 16, 0);
    const float sigmoid[] = { 0.5f, 0.5f, 1, 0, NAN, 1, 0, 1, 0 };
    for (int i = 0; i < 9; i++) assert_true(check_same(y[i], sigmoid[i]));
    acts->act[CVY_TANH](y, x, 16, 0);
    const float tanhs[] = { 0.0f, -0.0f, 1, -1, NAN, 1, -1, 1, -1, 1, -1 };
    for (int i = 0; i < 11; i++) assert_true(check_same(y[i], tanhs[i]));
    struct check_rng r = { check_seed() };
    for (int k = 0; k < 10000; k++) {
        for (int i = 0; i < 16; i++) x[i] = check_float((uint32_t)check_u64(&r));
        acts->act[CVY_TANH](y, x, 16, 0);
        for (int i = 0; i < 16; i++) x[i] = -x[i];
        acts->act[CVY_TANH](z, x, 16, 0);
        for (int i = 0; i < 16; i++) assert_true(check_same(y[i], -z[i]));
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--all")) all = true;
        else only = argv[i];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_are_within_their_bounds),
        cmocka_unit_test(exp_and_log_are_within_two_ulp),
        cmocka_unit_test(limits_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
