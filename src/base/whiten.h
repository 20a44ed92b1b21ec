/* Small symmetric matrices in double: from a covariance to what whitens, and back through it. The
 * same bits everywhere: sums run in index order, and no libm but sqrt. Memory is the caller's. */
#ifndef CVYI_WHITEN_H
#define CVYI_WHITEN_H

#include <stdbool.h>
#include <stddef.h>

struct cvyi_whitener {
    bool newton;  /* by Newton's iteration, else by eigenvectors */
    size_t n;     /* rows of its matrices, [n][n] */
    size_t steps; /* of the iteration */
    double eps;   /* on the covariance's diagonal */
};
/* Doubles that the state of one takes, and what the way back works in. */
size_t cvyi_whiten_state(const struct cvyi_whitener *w);
size_t cvyi_whiten_work(const struct cvyi_whitener *w);
/* The state begins with the covariance, of which the lower triangle need not be there. Makes of it
 * the whitening matrix, (covariance + eps)^(-1/2) or what comes near it, and the rest of the state.
 * NaN throughout if a covariance is not finite. */
void cvyi_whiten(const struct cvyi_whitener *w, double *state, double *matrix);
/* d: from the gradient of the matrix to that of the covariance, which is symmetric. */
void cvyi_whiten_backward(const struct cvyi_whitener *w, const double *state, double *d,
                          double *work);

#endif
