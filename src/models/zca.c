/* The matrix of "zca": of images that enter as x, (C + eps)^(-1/2), C their covariance; zero-phase
 * component analysis (Bell & Sejnowski, The "independent components" of natural scenes are edge
 * filters, 1997). In a net it is a transposed convolution of one pixel with as many channels as the
 * image has numbers, whose kernel is the image: so backends, checkpoints and predictors need to
 * know nothing of it.
 *
 * The covariance is made of exact sums of bytes. Its eigenvectors: Householder's reflections to a
 * tridiagonal matrix, then QL steps with implicit shifts (Golub & Van Loan, Matrix Computations,
 * sections 8.3.1 to 8.3.5). Loops run along rows, sums in index order, and libm gives only roots:
 * the same bits everywhere. Of 784 numbers it is a second or two, of 3 072 a minute or two, once a
 * run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/fields.h"

#define NAME "zca"
#define NOTHING \
    0x1p-80 /* of the largest number: far less than rounding, whose squares are no zeros */

enum {
    CHUNK = 256, /* images whose products a 32-bit sum holds, and a cache */
    TILE = 8,    /* rows of the matrix that one pass over the eigenvectors makes */
    MOST_STEPS = 64
};

static size_t count(const struct model *model)
{
    return model->input[0] * model->input[1] * model->input[2];
}

cvy_tensor model_zca_layer(const struct model *model, cvy_net *net, cvy_tensor x)
{
    const cvy_conv_transpose2d_desc all = { .out_channels = model->input[0],
                                            .kernel = { model->input[1], model->input[2] },
                                            .no_bias = true };
    return cvy_conv_transpose2d(net, cvy_flatten(net, x), NAME, &all);
}

bool model_zca_freeze(struct model_settings *settings)
{
    return model_settings_add(
        settings, &(struct model_setting){ .match = NAME ".weight", .is = { .frozen = true } });
}

/* ----------------------------------------------------------------------------- the covariance */

static void add_products(size_t d, const int16_t *x, uint64_t *sum)
{
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j <= i; j++) {
            const int16_t *a = x + i * CHUNK, *b = x + j * CHUNK;
            int32_t s = 0;
            for (size_t k = 0; k < CHUNK; k++) s += a[k] * b[k];
            sum[i * d + j] += (uint64_t)s;
        }
}

/* Of n * n times the covariance of bytes each number is whole, and below 2^63. */
static void covariance(const struct model *model, const uint8_t *images, size_t n, int16_t *x,
                       uint64_t *sum, double *c)
{
    const size_t d = count(model), plane = model->input[1] * model->input[2];
    const double scale = model->scale > 0 ? model->scale : 1.0 / 255;
    uint64_t *mean = sum + d * d;
    for (size_t at = 0; at < n; at += CHUNK) {
        for (size_t k = 0; k < CHUNK; k++)
            for (size_t i = 0; i < d; i++) {
                const uint8_t byte = at + k < n ? images[(at + k) * d + i] : 0;
                x[i * CHUNK + k] = byte;
                mean[i] += byte;
            }
        add_products(d, x, sum);
    }
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j <= i; j++) {
            const int64_t whole = (int64_t)(n * sum[i * d + j]) - (int64_t)(mean[i] * mean[j]);
            const double *std = model->normalized ? model->std : NULL;
            double value = (double)whole / (double)n / (double)n * scale * scale;
            if (std) value /= std[i / plane] * std[j / plane];
            c[i * d + j] = c[j * d + i] = value;
        }
}

/* ----------------------------------------------------------------------------- eigenvectors */

/* y += f x */
static void add(size_t n, double f, const double *x, double *y)
{
    for (size_t i = 0; i < n; i++) y[i] += f * x[i];
}

static double inner(size_t n, const double *x, const double *y)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* The reflection I - beta v v' that takes x to (alpha, 0, 0 ...); v in the place of x. 0: what is
 * behind x[0] is 0 already, but for `least`. */
static double reflection(size_t n, double *x, double least, double *alpha)
{
    const double norm = sqrt(inner(n, x, x)), first = x[0];
    *alpha = first;
    if (!(inner(n - 1, x + 1, x + 1) > least * least)) return 0;
    *alpha = first > 0 ? -norm : norm;
    x[0] = first - *alpha;
    return 1 / (norm * (norm + fabs(first)));
}

/* a becomes tridiagonal: its diagonal and what is beside it; row k of a keeps reflection k, of the
 * rows behind k. work: 2 n. */
static void tridiagonalise(size_t n, double *a, double *diagonal, double *beside, double *beta,
                           double *work)
{
    double most = 0;
    for (size_t k = 0; k < n; k++) most = fmax(most, a[k * n + k]);
    for (size_t k = 0; k < n; k++) {
        const size_t m = n - k - 1;
        double *v = a + k * n + k + 1, *w = work;
        diagonal[k] = a[k * n + k];
        beta[k] = beside[k] = 0;
        if (m) beta[k] = reflection(m, v, NOTHING * most, &beside[k]);
        if (!(beta[k] > 0)) continue;
        memset(w, 0, m * sizeof *w);
        for (size_t i = 0; i < m; i++) add(m, beta[k] * v[i], v + (i + 1) * n, w);
        add(m, -beta[k] / 2 * inner(m, w, v), v, w);
        for (size_t i = 0; i < m; i++) {
            double *row = v + (i + 1) * n;
            for (size_t j = 0; j < m; j++) row[j] -= v[i] * w[j] + w[i] * v[j];
        }
    }
}

/* q: the product of the reflections, transposed. */
static void reflect(size_t n, const double *a, const double *beta, double *q, double *work)
{
    memset(q, 0, n * n * sizeof *q);
    for (size_t k = n; k--;) {
        const size_t m = n - k - 1;
        const double *v = a + k * n + k + 1;
        double *part = q + (k + 1) * n + k + 1;
        q[k * n + k] = 1;
        memset(work, 0, m * sizeof *work);
        if (!(beta[k] > 0)) continue;
        for (size_t i = 0; i < m; i++) add(m, beta[k] * v[i], part + i * n, work);
        for (size_t i = 0; i < m; i++) add(m, -v[i], work, part + i * n);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) {
            const double value = q[i * n + j];
            q[i * n + j] = q[j * n + i];
            q[j * n + i] = value;
        }
}

/* One QL step of rows first ... last, which are tied to no others. */
static void step(size_t n, double *d, double *e, double *q, size_t first, size_t last)
{
    const double g0 = (d[first + 1] - d[first]) / (2 * e[first]), root = sqrt(g0 * g0 + 1);
    double s = 1, c = 1, p = 0;
    double g = d[last] - d[first] + e[first] / (g0 + (g0 < 0 ? -root : root));
    for (size_t i = last; i-- > first;) {
        const double f = s * e[i], b = c * e[i], r = sqrt(f * f + g * g);
        e[i + 1] = r;
        if (!(r > 0)) { /* it falls apart here */
            d[i + 1] -= p;
            e[last] = 0;
            return;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        const double t = (d[i] - g) * s + 2 * c * b;
        p = s * t;
        d[i + 1] = g + p;
        g = c * t - b;
        double *lower = q + i * n, *upper = lower + n;
        for (size_t k = 0; k < n; k++) {
            const double x = lower[k], y = upper[k];
            upper[k] = s * x + c * y;
            lower[k] = c * x - s * y;
        }
    }
    d[first] -= p;
    e[first] = g;
    e[last] = 0;
}

/* d becomes the eigenvalues, row k of q the eigenvector of d[k]. */
static void diagonalise(size_t n, double *d, double *e, double *q)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs(d[i]) + fabs(e[i]));
    for (size_t first = 0; first < n; first++)
        for (int k = 0; k < MOST_STEPS; k++) {
            size_t last = first;
            /* what is beside them is too small to change them, or anything */
            while (last + 1 < n &&
                   fabs(e[last]) >
                       fmax(0x1p-53 * (fabs(d[last]) + fabs(d[last + 1])), NOTHING * most))
                last++;
            if (last == first) break;
            step(n, d, e, q, first, last);
        }
}

/* Rows i ... i + TILE - 1 of the matrix, and the columns that are the same numbers. */
static void multiply(size_t n, const double *factor, const double *q, size_t i, double *rows,
                     float *matrix)
{
    const size_t m = n - i < TILE ? n - i : TILE;
    memset(rows, 0, m * n * sizeof *rows);
    for (size_t k = 0; k < n; k++)
        for (size_t r = 0; r < m; r++)
            add(i + r + 1, q[k * n + i + r] * factor[k], q + k * n, rows + r * n);
    for (size_t r = 0; r < m; r++)
        for (size_t j = 0; j <= i + r; j++)
            matrix[(i + r) * n + j] = matrix[j * n + i + r] = (float)rows[r * n + j];
}

/* ---------------------------------------------------------------------------------------- all */

enum model_status model_set_zca(const struct model *model, const uint8_t *images, size_t n,
                                cvy_trainer *trainer, char *error, size_t error_size)
{
    const struct model_reader r = { model->where, "", error, error_size };
    const size_t d = count(model);
    if (n > MODEL_ZCA_IMAGES)
        return model_fail(&r, MODEL_BAD,
                          "\"zca\": expected at most %d images to train on, found "
                          "%zu",
                          MODEL_ZCA_IMAGES, n);
    int16_t *x = malloc(d * CHUNK * sizeof *x);
    uint64_t *sum = calloc(d * d + d, sizeof *sum);
    double *c = malloc(d * d * sizeof *c), *q = malloc(d * d * sizeof *q),
           *work = malloc(d * (TILE + 3) * sizeof *work);
    float *matrix = malloc(d * d * sizeof *matrix);
    enum cvy_status set = CVY_E_NOMEM;
    if (x && sum && c && q && work && matrix) {
        double *value = work, *beside = value + d, *beta = beside + d, *rows = beta + d;
        covariance(model, images, n, x, sum, c);
        tridiagonalise(d, c, value, beside, beta, rows);
        reflect(d, c, beta, q, rows);
        diagonalise(d, value, beside, q);
        /* a covariance has no negative eigenvalue but by rounding */
        for (size_t k = 0; k < d; k++) value[k] = 1 / sqrt(fmax(value[k], 0) + model->zca);
        for (size_t i = 0; i < d; i += TILE) multiply(d, value, q, i, rows, matrix);
        set = cvy_trainer_set(trainer, CVY_PARAM_WEIGHT, NAME ".weight", matrix, d * d);
    }
    free(x);
    free(sum);
    free(c);
    free(q);
    free(work);
    free(matrix);
    return set ? model_fail(&r, MODEL_NOMEM, "out of memory") : MODEL_OK;
}
