/* Counter-based random numbers: Random123's Philox4x64-10. Seed, purpose and stream are the key,
 * the rest the counter, so every number asked for is at a place of its own, the same on every
 * machine and for any number of threads. */
#ifndef CVYI_RANDOM_H
#define CVYI_RANDOM_H

#include <stdint.h>
#include <Random123/philox.h>

enum cvyi_purpose {
    CVYI_RANDOM_INIT = 1,
    CVYI_RANDOM_DROPOUT = 2,
    CVYI_RANDOM_MIX = 3,
    CVYI_RANDOM_AUGMENT = 4
};

/* Four 64-bit words. */
static inline philox4x64_ctr_t cvyi_random(uint64_t seed, enum cvyi_purpose purpose,
                                           uint32_t stream, uint64_t a, uint64_t b, uint64_t c)
{
    philox4x64_ctr_t ctr = { { a, b, c, 0 } };
    philox4x64_key_t key = { { seed, (uint64_t)purpose << 32 | stream } };
    return philox4x64(ctr, key);
}
/* Uniform in [0, 1) with 24 bits. */
static inline float cvyi_uniform(uint64_t word) { return (float)(word >> 40) * 0x1p-24f; }

/* One of 0 … n-1 from 32 bits; its bias is n / 2^32 at most. */
static inline size_t cvyi_below(uint32_t word, size_t n)
{
    return (size_t)((uint64_t)word * n >> 32);
}

/* 32 bits for each of the images 8*n8 ... 8*n8 + 7, at element e = (c*H + h)*W + w and `step` in
 * the layer with number `stream`. */
static inline void cvyi_words(uint64_t seed, enum cvyi_purpose purpose, uint32_t stream, uint64_t e,
                              uint64_t n8, uint64_t step, uint32_t word[8])
{
    philox4x64_ctr_t r = cvyi_random(seed, purpose, stream, e, n8, step);
    for (int i = 0; i < 8; i++) word[i] = (uint32_t)(r.v[i / 2] >> 32 * (i % 2));
}

/* Dropout's masks: image 8*n8 + i is kept where word[i] >= cvyi_dropout_threshold. */
static inline void cvyi_dropout_words(uint64_t seed, uint64_t step, uint32_t stream, uint64_t e,
                                      uint64_t n8, uint32_t word[8])
{
    cvyi_words(seed, CVYI_RANDOM_DROPOUT, stream, e, n8, step, word);
}
/* p * 2^32, p in [0, 1]; 64 bits, for p = 1 keeps nothing. */
static inline uint64_t cvyi_dropout_threshold(double p) { return (uint64_t)(p * 4294967296.0); }

/* A mixture's shares, uniform in [0, 1) with 24 bits, of images 8*n8 ... */
static inline void cvyi_mix_shares(uint64_t seed, uint64_t step, uint32_t stream, uint64_t e,
                                   uint64_t n8, float share[8])
{
    uint32_t word[8];
    cvyi_words(seed, CVYI_RANDOM_MIX, stream, e, n8, step, word);
    for (int i = 0; i < 8; i++) share[i] = (float)(word[i] >> 8) * 0x1p-24f;
}

#endif
