/* Which images an epoch trains on, in which order: a function of (seed, epoch) alone, so that a run
 * goes on where it stood. A kind is a record of sampling.c. Drawn numbers below b are the high half
 * of b * (words 0 and 1, the first being the low one, of Philox4x32-10 with counter (i, epoch low,
 * epoch high, tag) and key seed); the bias of that multiplication is below 2^-32 for 2^32 images.
 *
 *  shuffled     Fisher-Yates from the end: element i swapped with element j <= i, drawn below i +
 *               1; tag "ORDE" = 0x4544524f
 *  fixed        as the data set has them
 *  buffered     the i-th is drawn from a buffer that holds `buffer` of those not taken yet, the
 *               first ones, and what was taken makes room for the next (TensorFlow's
 *               Dataset.shuffle, each epoch anew): element i swapped with one of i to i + buffer -
 *               1; tag "BUFF"
 *  replacement  each drawn from all, so that some are missing and others come twice; tag "REPL" */
#ifndef TRAIN_SAMPLING_H
#define TRAIN_SAMPLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sampling_kind {
    SAMPLING_SHUFFLED = 0,
    SAMPLING_FIXED,
    SAMPLING_BUFFERED,
    SAMPLING_REPLACEMENT,
    SAMPLING_KINDS
};

struct sampling {
    enum sampling_kind kind;
    size_t buffer; /* of BUFFERED: images, at least 1 */
};

/* The n places of an epoch, each the number of an image below n. */
void sampling_fill(const struct sampling *sampling, uint32_t *order, size_t n, uint64_t seed,
                   uint64_t epoch);

/* "shuffled"; NULL past the last. And back (false: unknown name, *kind untouched). */
const char *sampling_name(int kind);
bool sampling_from_name(const char *name, enum sampling_kind *kind);

#endif
