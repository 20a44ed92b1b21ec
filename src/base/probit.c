/* Wichura 1988, The Percentage Points of the Normal Distribution (Applied Statistics 37, algorithm
 * AS 241), PPND16: one rational function in the middle, two of sqrt(-log p) in the tails. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/probit.h"

/* p = 2^k m with m in [sqrt(1/2), sqrt 2), log m = 2 artanh((m - 1) / (m + 1)), by its series. */
static double logarithm(double p)
{
    uint64_t bits;
    const bool tiny = p < 0x1p-1022;
    if (tiny) p *= 0x1p54;
    memcpy(&bits, &p, sizeof bits);
    int k = (int)(bits >> 52) - 1023 - (tiny ? 54 : 0);
    bits = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m >= 0x1.6a09e667f3bcdp0) {
        m /= 2;
        k++;
    }
    double s = (m - 1) / (m + 1), sum = 0;
    for (int i = 25; i > 0; i -= 2) sum = sum * s * s + 1.0 / i;
    return 2 * s * sum + k * 0x1.62e42fefa39efp-1;
}

/* top[0] + top[1] x + ..., over 1 + bottom[0] x + ... */
static double rational(double x, const double top[8], const double bottom[7])
{
    double above = top[7], below = bottom[6];
    for (int i = 6; i >= 0; i--) above = above * x + top[i];
    for (int i = 5; i >= 0; i--) below = below * x + bottom[i];
    return above / (below * x + 1);
}

double cvyi_probit(double p)
{
    static const double a[] = { 3.3871328727963665, 133.14166789178438, 1971.5909503065513,
                                13731.69376550946,  45921.95393154987,  67265.7709270087,
                                33430.57558358813,  2509.0809287301227 };
    static const double b[] = { 42.31333070160091,  687.1870074920579, 5394.196021424751,
                                21213.794301586597, 39307.89580009271, 28729.085735721943,
                                5226.495278852854 };
    static const double c[] = { 1.4234371107496835,   4.630337846156546,    5.769497221460691,
                                3.6478483247632045,   1.2704582524523684,   0.2417807251774506,
                                0.022723844989269184, 0.0007745450142783414 };
    static const double d[] = { 2.053191626637759,     1.6763848301838038,   0.6897673349851,
                                0.14810397642748008,   0.015198666563616457, 0.0005475938084995345,
                                1.0507500716444169e-09 };
    static const double e[] = { 6.657904643501103,      5.463784911164114,
                                1.7848265399172913,     0.29656057182850487,
                                0.026532189526576124,   0.0012426609473880784,
                                2.7115555687434876e-05, 2.0103343992922881e-07 };
    static const double f[] = { 0.599832206555888,      0.1369298809227358,
                                0.014875361290850615,   0.0007868691311456133,
                                1.8463183175100548e-05, 1.421511758316446e-07,
                                2.0442631033899397e-15 };
    double q = p - 0.5;
    if (!(p > 0 && p < 1)) return p == 0 || p == 1 ? q * INFINITY : NAN;
    if (fabs(q) <= 0.425) return q * rational(0.180625 - q * q, a, b);
    double r = sqrt(-logarithm(q < 0 ? p : 1 - p));
    double x = r <= 5 ? rational(r - 1.6, c, d) : rational(r - 5, e, f);
    return q < 0 ? -x : x;
}
