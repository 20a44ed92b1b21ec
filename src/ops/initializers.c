/* The initialisers: one record each, how a parameter starts. Every element is a function of seed,
 * stream and its own number, but where a matrix is made as a whole. Adding one:
 * docs/adding-an-operator.md. */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "ops/ops.h"

static philox4x64_ctr_t random_of(const struct cvyi_start *s, size_t e, uint64_t attempt)
{
    return cvyi_random(s->seed, CVYI_RANDOM_INIT, s->stream, e, attempt, 0);
}

static double uniform(const struct cvyi_start *s, size_t e) /* in [-1, 1) */
{
    return 2.0 * (double)cvyi_uniform(random_of(s, e, 0).v[0]) - 1.0;
}

/* Box and Muller 1958; (0, 1] under the logarithm. */
static double gauss(const struct cvyi_start *s, size_t e, uint64_t attempt)
{
    const double two_pi = 6.283185307179586;
    philox4x64_ctr_t r = random_of(s, e, attempt);
    return sqrt(-2 * log(((double)(r.v[0] >> 32) + 1) * 0x1p-32)) *
           cos(two_pi * ((double)(r.v[1] >> 32) * 0x1p-32));
}

static double xavier_uniform(const struct cvyi_start *s, size_t e)
{
    return uniform(s, e) * sqrt(6.0 / (s->fan_in + s->fan_out));
}
static double kaiming_normal(const struct cvyi_start *s, size_t e)
{
    return gauss(s, e, 0) * sqrt(2.0 / s->fan_in);
}
static double kaiming_normal_fan_out(const struct cvyi_start *s, size_t e)
{
    return gauss(s, e, 0) * sqrt(2.0 / s->fan_out);
}
static double torch_default(const struct cvyi_start *s, size_t e)
{
    return uniform(s, e) / sqrt(s->fan_in);
}
static double zero(const struct cvyi_start *s, size_t e)
{
    (void)s, (void)e;
    return 0;
}
static double constant(const struct cvyi_start *s, size_t e)
{
    (void)e;
    return s->value;
}
static double normal(const struct cvyi_start *s, size_t e) { return gauss(s, e, 0) * s->value; }

/* One of twenty is drawn again. */
static double truncated_normal(const struct cvyi_start *s, size_t e)
{
    double g = gauss(s, e, 0);
    for (uint64_t attempt = 1; fabs(g) > 2; attempt++) g = gauss(s, e, attempt);
    return g * s->value;
}

/* Row i less its parts along the rows before it, and of length 1. Twice: what rounding leaves after
 * one pass is as large as the parts that were taken out. */
static void orthonormalise(double *a, size_t i, size_t cols)
{
    double *row = a + i * cols;
    for (int pass = 0; pass < 2; pass++)
        for (size_t k = 0; k < i; k++) {
            const double *other = a + k * cols;
            double dot = 0;
            for (size_t c = 0; c < cols; c++) dot += row[c] * other[c];
            for (size_t c = 0; c < cols; c++) row[c] -= dot * other[c];
        }
    double norm = 0;
    for (size_t c = 0; c < cols; c++) norm += row[c] * row[c];
    for (size_t c = 0; c < cols; c++) row[c] /= sqrt(norm);
}

/* The orthogonal factor of a matrix of normal numbers, with the signs that make it unique, which
 * Gram and Schmidt's have. Of rows if there are fewer of them than columns, else of columns. */
static void orthogonal(const struct cvyi_start *s, double *a)
{
    const bool wide = s->rows <= s->cols;
    const size_t n = wide ? s->rows : s->cols, length = wide ? s->cols : s->rows;
    for (size_t e = 0; e < n * length; e++) a[e] = gauss(s, e, 0);
    for (size_t i = 0; i < n; i++) orthonormalise(a, i, length);
    for (size_t e = 0; e < n * length; e++) a[e] *= s->value;
}

static const struct {
    const char *name;
    double (*element)(const struct cvyi_start *s, size_t e);
    void (*matrix)(const struct cvyi_start *s, double *a);
    bool valued;  /* a value of its own */
    double usual; /* what 0 means for it */
} initializers[] = {
    [CVY_INIT_DEFAULT] = { .name = "default" }, /* never asked for */
    [CVY_INIT_XAVIER_UNIFORM] = { "xavier_uniform", xavier_uniform, NULL, false, 0 },
    [CVY_INIT_KAIMING_NORMAL] = { "kaiming_normal", kaiming_normal, NULL, false, 0 },
    [CVY_INIT_TORCH_DEFAULT] = { "torch_default", torch_default, NULL, false, 0 },
    [CVY_INIT_ZERO] = { "zero", zero, NULL, false, 0 },
    [CVY_INIT_CONSTANT] = { "constant", constant, NULL, true, 0 },
    [CVY_INIT_NORMAL] = { "normal", normal, NULL, true, 1 },
    [CVY_INIT_TRUNCATED_NORMAL] = { "truncated_normal", truncated_normal, NULL, true, 1 },
    [CVY_INIT_ORTHOGONAL] = { "orthogonal", NULL, orthogonal, true, 1 },
    [CVY_INIT_KAIMING_NORMAL_FAN_OUT] = { "kaiming_normal_fan_out", kaiming_normal_fan_out, NULL,
                                          false, 0 },
};
_Static_assert(sizeof initializers / sizeof *initializers == CVY_INITS,
               "initialisers: a record a kind");

const char *cvy_init_name(enum cvy_init init)
{
    return (unsigned)init < CVY_INITS ? initializers[init].name : NULL;
}

bool cvy_init_from_name(const char *name, enum cvy_init *init)
{
    for (int k = 0; name && k < CVY_INITS; k++) {
        if (strcmp(initializers[k].name, name)) continue;
        *init = (enum cvy_init)k;
        return true;
    }
    return false;
}

enum cvy_status cvyi_init_check_one(struct cvy_context *ctx, enum cvy_init init, double value,
                                    const char *of)
{
    if ((unsigned)init >= CVY_INITS)
        return cvyi_fail(ctx, CVY_E_ARG, "initialisation %d of %s is not one of enum cvy_init",
                         (int)init, of);
    if (value != 0 && !initializers[init].valued)
        return cvyi_fail(ctx, CVY_E_ARG, "the initialisation of %s, %s, has no value", of,
                         initializers[init].name);
    if (!isfinite(value) || (value < 0 && init != CVY_INIT_CONSTANT))
        return cvyi_fail(ctx, CVY_E_ARG, "the value of the initialisation of %s is %g, expected %s",
                         of, value, init == CVY_INIT_CONSTANT ? "a number" : "0 or more");
    return CVY_OK;
}

enum cvy_status cvyi_init_check(struct cvy_context *ctx, const cvy_init_desc *desc)
{
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_init_desc, desc));
    CVYI_TRY(cvyi_init_check_one(ctx, desc->weights, desc->weights_value, "weights"));
    CVYI_TRY(cvyi_init_check_one(ctx, desc->biases, desc->biases_value, "biases"));
    if (initializers[desc->biases].matrix)
        return cvyi_fail(ctx, CVY_E_ARG, "biases are no matrix: they cannot start as %s",
                         initializers[desc->biases].name);
    return CVY_OK;
}

enum cvy_status cvyi_init_check_kind(struct cvy_context *ctx, enum cvy_init init,
                                     const char *parameter, bool matrix, bool fan)
{
    if (initializers[init].matrix && !matrix)
        return cvyi_fail(ctx, CVY_E_ARG, "%s is no matrix: it cannot start as %s", parameter,
                         initializers[init].name);
    if (!fan && !initializers[init].valued && init != CVY_INIT_ZERO)
        return cvyi_fail(ctx, CVY_E_ARG,
                         "%s is no weight or bias of a convolution or linear layer: it cannot "
                         "start as %s, which goes by what an output sums over",
                         parameter, initializers[init].name);
    return CVY_OK;
}

enum cvy_status cvyi_start_open(struct cvy_context *ctx, struct cvyi_start *s)
{
    if (s->value == 0) s->value = initializers[s->init].usual;
    s->matrix = NULL;
    if (!initializers[s->init].matrix) return CVY_OK;
    s->matrix = cvyi_alloc_array(ctx, s->rows, s->cols * sizeof *s->matrix);
    if (!s->matrix) return CVY_E_NOMEM;
    initializers[s->init].matrix(s, s->matrix);
    return CVY_OK;
}

double cvyi_start_element(const struct cvyi_start *s, size_t e)
{
    if (!s->matrix) return initializers[s->init].element(s, e);
    if (s->rows <= s->cols) return s->matrix[e];
    return s->matrix[e % s->cols * s->rows + e / s->cols]; /* it lies column by column */
}

void cvyi_start_close(struct cvy_context *ctx, struct cvyi_start *s)
{
    cvyi_free(ctx, s->matrix);
    s->matrix = NULL;
}
