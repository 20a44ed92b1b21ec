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

/* The weights of the first layer that has filters, after so many epochs. */
struct visual_history {
    uint64_t epoch;
    float *weights;
};

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
    double momentum;  /* the run's, at its beginning */
    size_t n_history; /* in the order of epochs */
    struct visual_history *history;
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
 *           magnitude of a part of block[0] x block[1] */
enum visual_kind { VISUAL_FILTERS, VISUAL_KERNELS, VISUAL_WEIGHTS };
enum { VISUAL_ROWS = 48, VISUAL_SIDE = 400 };
struct visual_picture {
    enum visual_kind kind;
    size_t rows, columns; /* shown */
    size_t outputs, inputs, block[2];
    float most; /* the largest magnitude, of signed ones */
};
bool visual_has_filters(const struct visual *v, size_t layer);
/* The first that has them; n_layers: none. */
size_t visual_first_filters(const struct visual *v);
/* values NULL: those that the layer has; else as many others. */
enum tiles_status visual_filters(const struct visual *v, size_t layer, float *values,
                                 struct picture *out, struct visual_picture *about);
/* The maps of a layer for a sample, in a square grid with one range; what has no map is a pixel. */
enum tiles_status visual_activation(const struct visual *v, size_t layer, size_t sample,
                                    struct picture *out);
enum tiles_status visual_image(const struct visual *v, size_t sample, struct picture *out);

/* As yann lays tiles out: as many columns as the largest square that they fill has, two pixels
 * between, each tile's range its own; all tiles are shown. */
struct visual_images {
    const float *values; /* [n][c][h][w] */
    size_t n, c, h, w;
};
/* An image of all n for each channel or, with rgb, for every three of them, if there are so
 * many. */
size_t visual_tilings(const struct visual_images *images, bool rgb);
enum tiles_status visual_tiling(const struct visual_images *images, bool rgb, size_t i,
                                struct picture *out);
/* The rows of a matrix, turned: its columns, each as a square of as many of its values as fill
 * one. */
enum tiles_status visual_rows(const float *values, size_t rows, size_t columns, bool turned,
                              struct picture *out);

#endif
