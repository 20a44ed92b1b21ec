/* What a trained net looks like: its layers and parameters, what they make of sample images, and
 * which classes it takes for which. Collected by the program, drawn by pictures.c and page.c. */
#ifndef REPORT_VISUAL_H
#define REPORT_VISUAL_H

#include <convoy/convoy.h>

#include "report/tiles.h"

/* A parameter by its last name; values NULL: the layer has none. */
struct visual_param {
    float *values;
    size_t rank, dims[4], count;
};

enum visual_part { VISUAL_WEIGHT, VISUAL_BIAS, VISUAL_MEAN, VISUAL_VAR, VISUAL_PARTS };
extern const char *const visual_parts[VISUAL_PARTS]; /* "weight", "bias", "running_mean" … */

/* A node of the net, in building order; the first is the image. */
struct visual_layer {
    cvy_node_info node;
    struct visual_param part[VISUAL_PARTS];
    float *activation; /* [samples][c][h][w]; NULL: not computed */
};

struct visual_sample {
    size_t index; /* of the training images */
    int label;
};

/* How often images of a class (rows) were taken for one (columns). */
struct visual_matrix {
    const char *split; /* "test" */
    uint64_t *count;   /* [classes][classes] */
};
enum { VISUAL_MATRICES = 3 };

struct visual {
    const char *model, *data; /* names; data NULL: there was none */
    char weights[4200];       /* where they come from */
    uint64_t epoch;           /* trained; UINT64_MAX: not known */
    size_t n_layers;
    struct visual_layer *layer;
    size_t logits; /* the layer that gives them */
    size_t n_samples;
    struct visual_sample *sample;
    float *image; /* [samples][c][h][w], 0 to 255 */
    size_t classes;
    const char *const *class_names; /* NULL: they have numbers */
    size_t n_matrices;
    struct visual_matrix matrix[VISUAL_MATRICES];
    char missing[4600]; /* a sentence on what could not be drawn; "": nothing */
};
void visual_free(struct visual *v);

/* "shirt", or "7" in text. */
const char *visual_class(const struct visual *v, size_t k, char text[32]);
/* Of all that the matrix counts, and of those the ones on its diagonal. */
uint64_t visual_counted(const struct visual *v, const struct visual_matrix *m, uint64_t *right);

/* A layer's weights as a picture, of one of three kinds:
 *  filters of one or three channels, and units that read the image itself, as cs231n lays them out:
 *           a square grid, one pixel between, each one's range its own
 *  kernels  of other filters: a row a filter, a column a channel, signed; the first VISUAL_ROWS of
 *           each
 *  weights  of other fully connected layers: a row an output, a column an input, signed; where
 *           there are more than VISUAL_SIDE on a side, each pixel is the value of the largest
 *           magnitude of a square of `block` */
enum visual_kind { VISUAL_FILTERS, VISUAL_KERNELS, VISUAL_WEIGHTS };
enum { VISUAL_ROWS = 48, VISUAL_SIDE = 400 };
struct visual_picture {
    enum visual_kind kind;
    size_t rows, columns; /* shown */
    size_t outputs, inputs, block;
    float most; /* the largest magnitude, of signed ones */
};
bool visual_has_filters(const struct visual *v, size_t layer);
enum tiles_status visual_filters(const struct visual *v, size_t layer, struct picture *out,
                                 struct visual_picture *about);
/* The maps of a layer for a sample, in a square grid with one range; what has no map is a pixel. */
enum tiles_status visual_activation(const struct visual *v, size_t layer, size_t sample,
                                    struct picture *out);
enum tiles_status visual_image(const struct visual *v, size_t sample, struct picture *out);

#endif
