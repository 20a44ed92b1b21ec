/* Counter-based random numbers: Random123's Philox4x32-10 keyed by (seed, purpose). The same number for the same
 * (seed, purpose, a, b, c) on every machine and thread. */
#ifndef CVYI_RANDOM_H
#define CVYI_RANDOM_H

#include <stdint.h>
#include <Random123/philox.h>

enum cvyi_purpose { CVYI_RANDOM_INIT = 1, CVYI_RANDOM_DROPOUT = 2 };

/* Four 32-bit words. */
static inline philox4x32_ctr_t cvyi_random(uint64_t seed, uint32_t purpose, uint32_t a, uint32_t b, uint64_t c)
{
    philox4x32_ctr_t ctr = {{a, b, (uint32_t)c, (uint32_t)(c >> 32)}};
    philox4x32_key_t key = {{(uint32_t)seed ^ (purpose * 0x9E3779B9u), (uint32_t)(seed >> 32)}};
    return philox4x32(ctr, key);
}
/* Uniform in [0, 1) with 24 bits. */
static inline float cvyi_uniform(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

/* Dropout's mask: whether element e = (c*H + h)*W + w of image n is kept at `step` in the layer with number `stream`:
 * word n % 4 of the counter (e, n / 4 | stream << 24, step) >= p * 2^32. */
static inline philox4x32_ctr_t cvyi_dropout_words(uint64_t seed, uint64_t step, uint32_t stream, uint32_t e, uint32_t n4)
{
    return cvyi_random(seed, CVYI_RANDOM_DROPOUT, e, n4 | stream << 24, step);
}
/* Words >= this are kept; p in [0, 1]. p = 1 keeps nothing: compare as 64 bit. */
static inline uint64_t cvyi_dropout_threshold(double p) { return (uint64_t)(p * 4294967296.0); }

#endif
