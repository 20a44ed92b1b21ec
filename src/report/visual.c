/* Which tiles make the pictures of a net's filters, maps and images. */
#include "report/visual.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const visual_parts[VISUAL_PARTS] = { "weight", "bias", "running_mean", "running_var" };

void visual_free(struct visual *v)
{
    for (size_t i = 0; i < v->n_layers; i++) {
        for (int p = 0; p < VISUAL_PARTS; p++) free(v->layer[i].part[p].values);
        free(v->layer[i].activation);
    }
    for (size_t i = 0; i < v->n_matrices; i++) free(v->matrix[i].count);
    free(v->layer);
    for (size_t i = 0; i < v->n_history; i++) free(v->history[i].weights);
    free(v->history);
    free(v->sample);
    free(v->image);
    *v = (struct visual){ 0 };
}

const char *visual_class(const struct visual *v, size_t k, char text[32])
{
    if (v->class_names) return v->class_names[k];
    snprintf(text, 32, "%zu", k);
    return text;
}

uint64_t visual_counted(const struct visual *v, const struct visual_matrix *m, uint64_t *right)
{
    uint64_t all = 0;
    *right = 0;
    for (size_t i = 0; i < v->classes; i++)
        for (size_t j = 0; j < v->classes; j++) {
            all += m->count[i * v->classes + j];
            if (i == j) *right += m->count[i * v->classes + j];
        }
    return all;
}

/* ------------------------------------------------------------------------------------- filters */

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static const struct visual_param *weights(const struct visual *v, size_t layer)
{
    const struct visual_param *w = &v->layer[layer].part[VISUAL_WEIGHT];
    return w->values && (w->rank == 4 || w->rank == 2) ? w : NULL;
}

bool visual_has_filters(const struct visual *v, size_t layer) { return weights(v, layer) != NULL; }

size_t visual_first_filters(const struct visual *v)
{
    size_t i = 0;
    while (i < v->n_layers && !weights(v, i)) i++;
    return i;
}

/* What a fully connected layer reads, if that is the image or its rows one behind the other. */
static bool reads_image(const struct visual *v, size_t layer)
{
    const cvy_node_info *node = &v->layer[layer].node;
    for (; layer && node->n_inputs == 1; node = &v->layer[layer].node) {
        layer = (size_t)node->inputs[0];
        if (strcmp(v->layer[layer].node.type, "flatten")) break;
    }
    return !layer;
}

static enum tiles_status draw_filters(const struct visual_param *w, const size_t shape[3],
                                      struct picture *out)
{
    const size_t map = shape[1] * shape[2];
    const struct tiles tiles = { .values = w->values,
                                 .n = w->dims[0],
                                 .c = shape[0],
                                 .h = shape[1],
                                 .w = shape[2],
                                 .tile = shape[0] * map,
                                 .channel = map,
                                 .row = shape[2],
                                 .column = 1 };
    const struct tiles_style style = { tiles_square(tiles.n), 1, TILES_EACH, 0 };
    return tiles_draw(&tiles, &style, out);
}

/* The corner of all kernels that there is room for, closely packed. */
static enum tiles_status draw_kernels(const struct visual_param *w, struct visual_picture *about,
                                      struct picture *out)
{
    const size_t map = w->dims[2] * w->dims[3], n = about->rows * about->columns;
    float *corner = malloc(n * map * sizeof *corner);
    if (!corner) return TILES_NOMEM;
    for (size_t i = 0; i < about->rows; i++)
        memcpy(&corner[i * about->columns * map], &w->values[i * about->inputs * map],
               about->columns * map * sizeof *corner);
    for (size_t i = 0; i < n * map; i++) about->most = fmaxf(about->most, fabsf(corner[i]));
    const struct tiles tiles = { .values = corner,
                                 .n = n,
                                 .c = 1,
                                 .h = w->dims[2],
                                 .w = w->dims[3],
                                 .tile = map,
                                 .row = w->dims[3],
                                 .column = 1 };
    const struct tiles_style style = { about->columns, 1, TILES_SIGNED, 0xffb8bfc9 };
    enum tiles_status status = tiles_draw(&tiles, &style, out);
    free(corner);
    return status;
}

static enum tiles_status draw_matrix(const struct visual_param *w, struct visual_picture *about,
                                     struct picture *out)
{
    float *small = calloc(about->rows * about->columns, sizeof *small);
    if (!small) return TILES_NOMEM;
    for (size_t i = 0; i < w->count; i++) {
        float *at = &small[i / about->inputs / about->block[0] * about->columns +
                           i % about->inputs / about->block[1]];
        if (fabsf(w->values[i]) > fabsf(*at)) *at = w->values[i];
    }
    for (size_t i = 0; i < about->rows * about->columns; i++)
        about->most = fmaxf(about->most, fabsf(small[i]));
    const struct tiles tiles = { .values = small,
                                 .n = 1,
                                 .c = 1,
                                 .h = about->rows,
                                 .w = about->columns,
                                 .row = about->columns,
                                 .column = 1 };
    const struct tiles_style style = { 1, 0, TILES_SIGNED, 0 };
    enum tiles_status status = tiles_draw(&tiles, &style, out);
    free(small);
    return status;
}

enum tiles_status visual_filters(const struct visual *v, size_t layer, float *values,
                                 struct picture *out, struct visual_picture *about)
{
    struct visual_param own = *weights(v, layer);
    const struct visual_param *w = &own;
    if (values) own.values = values;
    const cvy_shape image = v->layer[0].node.out;
    const size_t filter[3] = { w->dims[1], w->dims[2], w->dims[3] },
                 whole[3] = { image.c, image.h, image.w };
    *about = (struct visual_picture){ .kind = VISUAL_FILTERS,
                                      .rows = w->dims[0],
                                      .columns = w->dims[1],
                                      .outputs = w->dims[0],
                                      .inputs = w->dims[1],
                                      .block = { 1, 1 } };
    const bool seen = image.c == 1 || image.c == 3;
    if (w->rank == 2 && reads_image(v, layer) && seen) return draw_filters(w, whole, out);
    if (w->rank == 4 && (w->dims[1] == 1 || w->dims[1] == 3)) return draw_filters(w, filter, out);
    if (w->rank == 4) {
        about->kind = VISUAL_KERNELS;
        about->rows = least(w->dims[0], VISUAL_ROWS);
        about->columns = least(w->dims[1], VISUAL_ROWS);
        return draw_kernels(w, about, out);
    }
    about->kind = VISUAL_WEIGHTS;
    for (size_t k = 0; k < 2; k++) about->block[k] = (w->dims[k] + VISUAL_SIDE - 1) / VISUAL_SIDE;
    about->rows = (w->dims[0] + about->block[0] - 1) / about->block[0];
    about->columns = (w->dims[1] + about->block[1] - 1) / about->block[1];
    return draw_matrix(w, about, out);
}

/* ----------------------------------------------------------------------------------------- maps */

enum tiles_status visual_activation(const struct visual *v, size_t layer, size_t sample,
                                    struct picture *out)
{
    const cvy_shape s = v->layer[layer].node.out;
    const size_t map = s.h * s.w;
    const struct tiles tiles = { .values = v->layer[layer].activation + sample * s.c * map,
                                 .n = s.c,
                                 .c = 1,
                                 .h = s.h,
                                 .w = s.w,
                                 .tile = map,
                                 .row = s.w,
                                 .column = 1 };
    const struct tiles_style style = { tiles_square(s.c), map > 1, TILES_ALL, 0 };
    return tiles_draw(&tiles, &style, out);
}

enum tiles_status visual_image(const struct visual *v, size_t sample, struct picture *out)
{
    const cvy_shape s = v->layer[0].node.out;
    const size_t map = s.h * s.w;
    const struct tiles tiles = { .values = v->image + sample * s.c * map,
                                 .n = 1,
                                 .c = s.c == 3 ? 3 : 1,
                                 .h = s.h,
                                 .w = s.w,
                                 .channel = map,
                                 .row = s.w,
                                 .column = 1 };
    const struct tiles_style style = { 1, 0, TILES_EACH, 0 };
    return tiles_draw(&tiles, &style, out);
}

/* --------------------------------------------------------------------------------- yann's tiles */

static enum tiles_status draw_floor(const struct tiles *tiles, struct picture *out)
{
    const struct tiles_style style = { tiles_floor(tiles->n), 2, TILES_EACH_CHANNEL, 0 };
    return tiles_draw(tiles, &style, out);
}

static bool in_colour(const struct visual_images *images, bool rgb) { return rgb && images->c > 2; }

size_t visual_tilings(const struct visual_images *images, bool rgb)
{
    return in_colour(images, rgb) ? images->c / 3 : images->c;
}

enum tiles_status visual_tiling(const struct visual_images *images, bool rgb, size_t i,
                                struct picture *out)
{
    const size_t map = images->h * images->w, channels = in_colour(images, rgb) ? 3 : 1;
    const struct tiles tiles = { .values = images->values + i * channels * map,
                                 .n = images->n,
                                 .c = channels,
                                 .h = images->h,
                                 .w = images->w,
                                 .tile = images->c * map,
                                 .channel = map,
                                 .row = images->w,
                                 .column = 1 };
    return draw_floor(&tiles, out);
}

enum tiles_status visual_rows(const float *values, size_t rows, size_t columns, bool turned,
                              struct picture *out)
{
    const size_t side = tiles_floor(turned ? rows : columns), step = turned ? columns : 1;
    const struct tiles tiles = { .values = values,
                                 .n = turned ? columns : rows,
                                 .c = 1,
                                 .h = side,
                                 .w = side,
                                 .tile = turned ? 1 : columns,
                                 .row = side * step,
                                 .column = step };
    return draw_floor(&tiles, out);
}
