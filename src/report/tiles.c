/* From numbers to pixels, and from pixels to a PNG. */
#include "report/tiles.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef CONVOY_HAVE_CAIRO
#include <cairo.h>
#endif

static const uint32_t opaque = 0xff000000u;

size_t tiles_floor(size_t n)
{
    size_t side = (size_t)sqrt((double)n);
    while (side * side > n) side--;
    while ((side + 1) * (side + 1) <= n) side++;
    return side;
}

size_t tiles_square(size_t n)
{
    const size_t side = tiles_floor(n);
    return side + (side * side < n);
}

void picture_free(struct picture *p)
{
    free(p->pixel);
    *p = (struct picture){ 0 };
}

static enum tiles_status make(struct picture *p, size_t width, size_t height)
{
    *p = (struct picture){ 0 };
    if (width > TILES_MOST || height > TILES_MOST) return TILES_LARGE;
    if (!(p->pixel = calloc(width * height + 1, sizeof *p->pixel))) return TILES_NOMEM;
    p->width = width;
    p->height = height;
    return TILES_OK;
}

static float value(const struct tiles *t, size_t tile, size_t channel, size_t at)
{
    return t->values[tile * t->tile + channel * t->channel + at / t->w * t->row +
                     at % t->w * t->column];
}

struct range {
    float lo, hi;
};

/* Of some channels of some tiles. */
static struct range find_range(const struct tiles *t, size_t tile, size_t tiles, size_t channel,
                               size_t channels)
{
    struct range r = { INFINITY, -INFINITY };
    for (size_t i = tile; i < tile + tiles; i++)
        for (size_t k = channel; k < channel + channels; k++)
            for (size_t at = 0; at < t->h * t->w; at++) {
                const float v = value(t, i, k, at);
                if (!isfinite(v)) continue;
                if (v < r.lo) r.lo = v;
                if (v > r.hi) r.hi = v;
            }
    return r;
}

static uint32_t level(float v, const struct range *r)
{
    if (!isfinite(v) || !(r->hi > r->lo)) return 0;
    /* in double: the difference of two floats may be none */
    const double share = ((double)v - (double)r->lo) / ((double)r->hi - (double)r->lo);
    return (uint32_t)lrint(255 * fmin(fmax(share, 0), 1));
}

/* From white over a light to a deep shade: blue below zero, red above. */
static uint32_t signed_color(float v, float most)
{
    static const double red[3][3] = { { 255, 255, 255 }, { 239, 138, 98 }, { 150, 20, 40 } },
                        blue[3][3] = { { 255, 255, 255 }, { 103, 169, 207 }, { 20, 60, 130 } };
    if (!isfinite(v)) return opaque;
    const double share = most > 0 ? fmin(fabs((double)v) / (double)most, 1) : 0;
    const int from = share >= 0.5;
    const double part = share * 2 - from;
    uint32_t color = opaque;
    for (int k = 0; k < 3; k++) {
        const double(*shade)[3] = v > 0 ? red : blue;
        const double c = shade[from][k] * (1 - part) + shade[from + 1][k] * part;
        color |= (uint32_t)lrint(c) << (16 - 8 * k);
    }
    return color;
}

static void draw_tile(const struct tiles *t, enum tiles_range range, const struct range *all,
                      size_t tile, uint32_t *out, size_t stride)
{
    struct range r[3] = { *all, *all, *all };
    for (size_t k = 0; k < t->c && range == TILES_EACH_CHANNEL; k++)
        r[k] = find_range(t, tile, 1, k, 1);
    for (size_t k = 0; k < t->c && range == TILES_EACH; k++) r[k] = find_range(t, tile, 1, 0, t->c);
    for (size_t at = 0; at < t->h * t->w; at++) {
        uint32_t *pixel = &out[at / t->w * stride + at % t->w];
        if (range == TILES_SIGNED) {
            *pixel = signed_color(value(t, tile, 0, at), fmaxf(all->hi, -all->lo));
            continue;
        }
        *pixel = opaque;
        for (size_t k = 0; k < 3; k++) { /* one channel: grey */
            const size_t channel = t->c == 3 ? k : 0;
            *pixel |= level(value(t, tile, channel, at), &r[channel]) << (16 - 8 * k);
        }
    }
}

enum tiles_status tiles_draw(const struct tiles *t, const struct tiles_style *style,
                             struct picture *out)
{
    const size_t columns = t->n < style->columns ? t->n : style->columns;
    const size_t rows = columns ? (t->n + columns - 1) / columns : 0, space = style->spacing;
    *out = (struct picture){ 0 };
    if (!rows || !t->h || !t->w) return TILES_OK;
    if (columns > TILES_MOST || rows > TILES_MOST || t->w > TILES_MOST || t->h > TILES_MOST)
        return TILES_LARGE; /* products below do not overflow */
    enum tiles_status status =
        make(out, columns * (t->w + space) - space, rows * (t->h + space) - space);
    if (status) return status;
    for (size_t i = 0; i < out->width * out->height; i++) out->pixel[i] = style->gap;
    const bool common = style->range == TILES_ALL || style->range == TILES_SIGNED;
    const struct range all = common ? find_range(t, 0, t->n, 0, t->c) : (struct range){ 0 };
    for (size_t i = 0; i < t->n; i++)
        draw_tile(
            t, style->range, &all, i,
            &out->pixel[i / columns * (t->h + space) * out->width + i % columns * (t->w + space)],
            out->width);
    return TILES_OK;
}

enum tiles_status picture_enlarge(const struct picture *p, size_t scale, struct picture *out)
{
    *out = (struct picture){ 0 };
    if (scale > TILES_MOST) return TILES_LARGE;
    enum tiles_status status = make(out, p->width * scale, p->height * scale);
    for (size_t y = 0; y < out->height; y++)
        for (size_t x = 0; x < out->width; x++)
            out->pixel[y * out->width + x] = p->pixel[y / scale * p->width + x / scale];
    return status;
}

/* ------------------------------------------------------------------------------------------ PNG */

#ifdef CONVOY_HAVE_CAIRO

struct bytes {
    unsigned char *data;
    size_t size, room;
};

static cairo_status_t append(void *closure, const unsigned char *data, unsigned length)
{
    struct bytes *b = closure;
    if (b->size + length > b->room) {
        const size_t room = 2 * (b->size + length);
        unsigned char *grown = realloc(b->data, room);
        if (!grown) return CAIRO_STATUS_NO_MEMORY;
        b->data = grown;
        b->room = room;
    }
    memcpy(b->data + b->size, data, length);
    b->size += length;
    return CAIRO_STATUS_SUCCESS;
}

unsigned char *picture_png(const struct picture *p, size_t *size)
{
    struct bytes b = { 0 };
    cairo_surface_t *surface = cairo_image_surface_create_for_data(
        (unsigned char *)p->pixel, CAIRO_FORMAT_ARGB32, (int)p->width, (int)p->height,
        (int)(p->width * sizeof *p->pixel));
    if (cairo_surface_write_to_png_stream(surface, append, &b)) {
        free(b.data);
        b = (struct bytes){ 0 };
    }
    cairo_surface_destroy(surface);
    *size = b.size;
    return b.data;
}

bool picture_possible(void) { return true; }

#else

unsigned char *picture_png(const struct picture *p, size_t *size)
{
    (void)p;
    *size = 0;
    return NULL;
}

bool picture_possible(void) { return false; }

#endif
