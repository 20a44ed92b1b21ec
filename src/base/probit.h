/* The inverse of the normal distribution function. */
#ifndef CVYI_PROBIT_H
#define CVYI_PROBIT_H

/* x with Phi(x) = p, to about 1e-15 of x; -inf and inf of 0 and 1, else NaN. The same bits
 * everywhere: no libm but sqrt. */
double cvyi_probit(double p);

#endif
