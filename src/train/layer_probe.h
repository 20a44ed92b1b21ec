/* What a layer gives for images that are always the same: percentiles over them, as Ioffe & Szegedy
 * 2015 (arXiv:1502.03167) draw them in figure 1 for the input of a sigmoid. */
#ifndef TRAIN_LAYER_PROBE_H
#define TRAIN_LAYER_PROBE_H

#include <convoy/convoy.h>

#include "train/files.h"

struct layer_probe {
    cvy_predictor *predictor; /* gives the layer's output; NULL: nothing is asked */
    const uint8_t *images;
    size_t n, image_size, batch; /* images, bytes of one, images a call */
    size_t size;                 /* values that the predictor gives of an image */
    size_t first, count;         /* those of them that count: a unit's */
    const char *what;            /* "bn3:17" */
};

struct layer_values {
    double percentile[3]; /* 15, 50, 85: linear between neighbours, as NumPy has it */
    double mean, variance;
};

enum train_status layer_probe_take(const struct layer_probe *probe, const cvy_context *ctx,
                                   struct layer_values *out, char *error, size_t error_size);

#endif
