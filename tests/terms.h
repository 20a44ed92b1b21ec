/* Terms of sums that are hard to round, for tests that look for the worst error. */
#ifndef TESTS_TERMS_H
#define TESTS_TERMS_H

#include "check.h"

enum pattern { RANDOM, POSITIVE, EQUAL, GROWING, ALTERNATING, FAR, ONLY, SPIKE, TERM_PATTERNS };

/* Number i of a map; RANDOM: normal. */
static inline float term(struct check_rng *r, enum pattern p, size_t i)
{
    switch (p) {
    case POSITIVE: return check_uniform(r, 0, 1);
    case EQUAL: return 0.528964996f;
    case GROWING: return (float)(i + 1) * 1.1f;
    case ALTERNATING: return i % 2 ? -0.7f : 0.7000003f;
    case FAR: return 1000 + check_uniform(r, -1, 1);
    case ONLY: return i % 36 == 14 ? 0.528964996f : 0;
    case SPIKE: return i % 36 == 14 ? 300.3f : check_uniform(r, -1, 1);
    default: return check_normal(r);
    }
}

#endif
