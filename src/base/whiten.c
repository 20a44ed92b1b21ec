/* Whitening matrices (whiten.h).
 *
 * ZCA, U diag(lambda)^(-1/2) U' of the eigenvectors U, which Jacobi's rotations find (Golub & Van
 * Loan, Matrix Computations, section 8.5: cyclic by rows). A function f of a symmetric matrix has
 * the gradient U (G o (U' D U)) U', G the divided differences of f at the eigenvalues (Daleckii &
 * Krein 1965); of lambda^(-1/2) they are -1 / (a b (a + b)), a and b the roots of two eigenvalues:
 * nothing is singular where eigenvalues meet.
 *
 * Newton's iteration (Huang et al. 2019, arXiv:1904.03441, algorithm 1): N = S / tr S, P0 = I,
 * P' = (3 P - P^3 N) / 2, the matrix is P / sqrt(tr S). So written it is unstable: where P has
 * arrived, what rounding left that does not commute with N grows by half the ratio of eigenvalues
 * a step. The same numbers come of the pair P and Y = P N, Y0 = N (Higham 2008, Functions of
 * Matrices, section 6.3: bounded for any number of steps),
 *   T = (3 I - P Y) / 2,  P' = T P,  Y' = Y T
 * and backward, with G and H the gradients of P' and Y', of
 *   dT = G P + Y H,  dP = T G - dT Y / 2,  dY = H T - P dT / 2
 * which is as stable: it is the adjoint. */
#include <math.h>
#include <string.h>

#include "base/whiten.h"

/* Sweeps of rotations; convergence is quadratic, ten are many. */
enum { MOST_SWEEPS = 40 };

/* c = a b, or added to c. */
static void multiply(size_t n, const double *a, const double *b, double *c, bool add)
{
    if (!add) memset(c, 0, n * n * sizeof *c);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            const double f = a[i * n + k], *row = b + k * n;
            for (size_t j = 0; j < n; j++) c[i * n + j] += f * row[j];
        }
}

static double inner(size_t n, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < n * n; i++) sum += a[i] * b[i];
    return sum;
}

static double trace(size_t n, const double *a)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i * n + i];
    return sum;
}

static void symmetrise(size_t n, double *a)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++)
            a[i * n + j] = a[j * n + i] = (a[i * n + j] + a[j * n + i]) / 2;
}

/* ------------------------------------------------------------------------------- by eigenvectors
 * State: the covariance, which the rotations make diagonal; eigenvectors, a row each; the roots of
 * eigenvalues. */

/* Rows or columns p and q of a, `step` from number to number. */
static void rotate(double *p, double *q, size_t n, size_t step, double c, double s)
{
    for (size_t k = 0; k < n; k++) {
        double x = p[k * step], y = q[k * step];
        p[k * step] = c * x - s * y;
        q[k * step] = s * x + c * y;
    }
}

static void diagonalise(size_t n, double *a, double *v)
{
    memset(v, 0, n * n * sizeof *v);
    for (size_t i = 0; i < n; i++) v[i * n + i] = 1;
    for (int sweep = 0; sweep < MOST_SWEEPS; sweep++) {
        double all = inner(n, a, a), off = all;
        for (size_t i = 0; i < n; i++) off -= a[i * n + i] * a[i * n + i];
        bool turned = false;
        for (size_t p = 0; p < n; p++)
            for (size_t q = p + 1; q < n; q++) {
                double apq = a[p * n + q];
                /* too small to change a number of the diagonal */
                if (!(fabs(apq) > 0x1p-60 * sqrt(fabs(a[p * n + p] * a[q * n + q])))) continue;
                double theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
                double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1);
                rotate(a + p * n, a + q * n, n, 1, c, t * c);
                rotate(a + p, a + q, n, n, c, t * c);
                rotate(v + p * n, v + q * n, n, 1, c, t * c);
                a[p * n + q] = a[q * n + p] = 0;
                turned = true;
            }
        if (!turned || !(off > 0x1p-120 * all)) return;
    }
}

static void whiten_zca(const struct cvyi_whitener *w, double *state, double *matrix)
{
    size_t n = w->n;
    double *v = state + n * n, *root = v + n * n;
    diagonalise(n, state, v);
    memset(matrix, 0, n * n * sizeof *matrix);
    for (size_t k = 0; k < n; k++) {
        /* a covariance has no negative eigenvalue but by rounding */
        root[k] = sqrt(fmax(state[k * n + k], w->eps));
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                matrix[i * n + j] += v[k * n + i] / root[k] * v[k * n + j];
    }
}

static void backward_zca(const struct cvyi_whitener *w, const double *state, double *d,
                         double *work)
{
    size_t n = w->n;
    const double *v = state + n * n, *root = v + n * n;
    double *u = work, *t = u + n * n, *m = t + n * n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) u[i * n + j] = v[j * n + i];
    multiply(n, v, d, t, false);
    multiply(n, t, u, m, false);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) m[i * n + j] /= -root[i] * root[j] * (root[i] + root[j]);
    multiply(n, u, m, t, false);
    multiply(n, t, v, d, false);
}

/* ------------------------------------------------------------------------- by Newton's iteration
 * State: the covariance, N = Y0, then P1, Y1, P2 … of each step, and T. */

/* T = (3 I - P Y) / 2. */
static void factor(size_t n, const double *p, const double *y, double *t)
{
    multiply(n, p, y, t, false);
    for (size_t i = 0; i < n * n; i++) t[i] = (i % (n + 1) == 0 ? 1.5 : 0) - t[i] / 2;
}

static void whiten_newton(const struct cvyi_whitener *w, double *state, double *matrix)
{
    size_t n = w->n, nn = n * n;
    double *y = state + nn, *p = y + nn, *t = state + (2 * w->steps + 1) * nn;
    double tr = trace(n, state);
    for (size_t i = 0; i < nn; i++) y[i] = state[i] / tr;
    for (size_t i = 0; i < nn; i++) p[i] = (i % (n + 1) == 0 ? 1.5 : 0) - y[i] / 2;
    for (size_t k = 1; k < w->steps; k++, p += 2 * nn) {
        /* of P0 = I the factor is P1 */
        multiply(n, p - nn, k == 1 ? p : t, p + nn, false);
        factor(n, p, p + nn, t);
        multiply(n, t, p, p + 2 * nn, false);
    }
    for (size_t i = 0; i < nn; i++) matrix[i] = p[i] / sqrt(tr);
}

static void backward_newton(const struct cvyi_whitener *w, const double *state, double *d,
                            double *work)
{
    size_t n = w->n, nn = n * n;
    const double *norm = state + nn, *p = state + 2 * w->steps * nn;
    double *h = work, *t = h + nn, *dt = t + nn, *dp = dt + nn, *dy = dp + nn;
    double tr = trace(n, state);
    for (size_t i = 0; i < nn; i++) d[i] /= sqrt(tr);
    double d_trace = -inner(n, d, p) / (2 * tr);
    memset(h, 0, nn * sizeof *h);
    for (size_t k = w->steps; k-- > 1;) {
        p -= 2 * nn; /* of the step before; Y lies behind it */
        factor(n, p, p + nn, t);
        multiply(n, d, p, dt, false);
        multiply(n, p + nn, h, dt, true);
        multiply(n, dt, p + nn, dp, false);
        multiply(n, p, dt, dy, false);
        for (size_t i = 0; i < nn; i++) {
            dp[i] /= -2;
            dy[i] /= -2;
        }
        multiply(n, t, d, dp, true);
        multiply(n, h, t, dy, true);
        memcpy(d, dp, nn * sizeof *d);
        memcpy(h, dy, nn * sizeof *h);
    }
    /* P0 = I and Y0 = N: dT = G + N H, T = P1 */
    memcpy(dt, d, nn * sizeof *dt);
    multiply(n, norm, h, dt, true);
    for (size_t i = 0; i < nn; i++) d[i] = -dt[i] / 2;
    multiply(n, h, p, d, true);
    d_trace -= inner(n, d, norm) / tr;
    for (size_t i = 0; i < nn; i++) d[i] = d[i] / tr + (i % (n + 1) == 0 ? d_trace : 0);
}

/* ----------------------------------------------------------------------------------------- both */

size_t cvyi_whiten_state(const struct cvyi_whitener *w)
{
    return w->newton ? (2 * w->steps + 2) * w->n * w->n : 2 * w->n * w->n + w->n;
}

size_t cvyi_whiten_work(const struct cvyi_whitener *w) { return (w->newton ? 5 : 3) * w->n * w->n; }

void cvyi_whiten(const struct cvyi_whitener *w, double *state, double *matrix)
{
    size_t n = w->n;
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        state[i * n + i] += w->eps;
        for (size_t j = i; j < n; j++) {
            state[j * n + i] = state[i * n + j];
            finite = finite && isfinite(state[i * n + j]);
        }
    }
    if (w->newton) whiten_newton(w, state, matrix);
    else whiten_zca(w, state, matrix);
    for (size_t i = 0; !finite && i < n * n; i++) matrix[i] = NAN;
}

void cvyi_whiten_backward(const struct cvyi_whitener *w, const double *state, double *d,
                          double *work)
{
    symmetrise(w->n, d);
    if (w->newton) backward_newton(w, state, d, work);
    else backward_zca(w, state, d, work);
    symmetrise(w->n, d);
}
