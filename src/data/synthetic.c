/* A deterministic, learnable stand-in for real data: each class is a sum of a few waves whose
 * frequencies and phases depend on the class, moved and scaled at random, under noise. For
 * demonstrations, tests and timing; its accuracy means nothing. */
#include <math.h>
#include <stdlib.h>

#include "data/parse.h"

/* SplitMix64 (Steele, Lea & Flood 2014). */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}
static double uniform(uint64_t *state) { return (double)(next(state) >> 11) * 0x1p-53; }

static void draw(const struct data_set *set, unsigned label, uint64_t *state, uint8_t *image)
{
    double shift_y = uniform(state) * 4 - 2, shift_x = uniform(state) * 4 - 2,
           gain = 0.6 + 0.4 * uniform(state);
    for (size_t c = 0; c < set->c; c++) {
        const size_t column = label / 5 + c;
        double fy = 0.15 + 0.07 * (label % 5), fx = 0.15 + 0.09 * (double)column,
               phase = 0.7 * label + 1.3 * (double)c;
        for (size_t y = 0; y < set->h; y++) {
            for (size_t x = 0; x < set->w; x++) {
                double v = sin(fy * ((double)y + shift_y) + phase) *
                           cos(fx * ((double)x + shift_x) - phase);
                *image++ =
                    (uint8_t)(128 + 90 * gain * v + 60 * (uniform(state) - 0.5)); /* 8 to 248 */
            }
        }
    }
}

static bool fill(const struct data_set *set, struct data_split *split, size_t n, uint64_t state)
{
    size_t size = set->c * set->h * set->w;
    split->images = malloc(n * size);
    split->labels = malloc(n);
    if (!split->images || !split->labels) return false;
    split->n = n;
    for (size_t i = 0; i < n; i++) {
        split->labels[i] = (uint8_t)(next(&state) % set->classes);
        draw(set, split->labels[i], &state, split->images + i * size);
    }
    return true;
}

enum data_status data_synthesise(struct data_set *set, uint64_t seed, size_t n_train, size_t n_test)
{
    bool ok = fill(set, &set->train, n_train, seed * 2 + 1) &&
              fill(set, &set->test, n_test, ~(seed * 2 + 1));
    return ok ? DATA_OK : DATA_NOMEM;
}
