/* Numbers from names: what tests against PyTorch and their scripts (tests/golden/make_torch*.py)
 * both make, so that no golden file has to hold weights, images and labels. */
#ifndef CVYI_TESTS_GOLDEN_HASH_H
#define CVYI_TESTS_GOLDEN_HASH_H

#include <stdint.h>

static inline uint64_t hash64(const char *name, uint64_t i)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001B3u;
    h += (i + 1) * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
    h = (h ^ h >> 27) * 0x94D049BB133111EBu;
    return h ^ h >> 31;
}

/* 24 bits in [-1, 1): exact in float */
static inline double signed_at(const char *name, uint64_t i)
{
    return ((double)(hash64(name, i) >> 40) - 0x1p23) * 0x1p-23;
}

/* The largest power of two whose square is at most 4 / fan_in: what weights start within. */
static inline double weight_bound(double fan_in)
{
    double bound = 1;
    while (bound * bound * fan_in > 4) bound /= 2;
    return bound;
}

#endif
