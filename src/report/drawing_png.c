/* Drawings as PNG: the canvas that is pixels, by cairo. Built without it, nothing is written. */
#include <math.h>
#include <string.h>

#include "report/drawing.h"

#ifndef CONVOY_HAVE_CAIRO

bool drawing_has_png(void) { return false; }

bool drawing_png(FILE *out, const struct drawing *d, double scale, char *error, size_t error_size)
{
    (void)out;
    (void)d;
    (void)scale;
    snprintf(error, error_size,
             "this convoy was built without cairo and writes no PNG; "
             "a name that ends in .svg or .html is an SVG or a page");
    return false;
}

#else

#include <cairo.h>
#include <stdlib.h>

#define PI 3.14159265358979323846

static void use(struct canvas *c, enum canvas_color color, double alpha)
{
    const unsigned long rgb = strtoul(canvas_shades[color].light + 1, NULL, 16);
    cairo_set_source_rgba(c->cairo, (double)(rgb >> 16) / 255, (double)(rgb >> 8 & 255) / 255,
                          (double)(rgb & 255) / 255, alpha);
}

static void path(struct canvas *c, const struct canvas_point *at, size_t n)
{
    cairo_new_path(c->cairo);
    for (size_t i = 0; i < n; i++) cairo_line_to(c->cairo, at[i].x, at[i].y);
}

static void png_line(struct canvas *c, const struct canvas_pen *pen, const struct canvas_point *at,
                     size_t n)
{
    const double *dash = canvas_dash(pen->dash);
    int dashes = 0;
    while (dash[dashes] > 0) dashes++;
    use(c, pen->color, 1);
    cairo_set_line_width(c->cairo, pen->width);
    cairo_set_line_join(c->cairo, CAIRO_LINE_JOIN_ROUND);
    cairo_set_dash(c->cairo, dash, dashes, 0);
    path(c, at, n);
    cairo_stroke(c->cairo);
}

static void png_area(struct canvas *c, const struct canvas_pen *pen, const struct canvas_point *at,
                     size_t n)
{
    use(c, pen->color, pen->alpha);
    path(c, at, n);
    cairo_close_path(c->cairo);
    cairo_fill(c->cairo);
}

static void png_mark(struct canvas *c, enum canvas_shape shape, enum canvas_color color,
                     struct canvas_point at, double radius, const char *tip)
{
    const double half = radius * 0.8 * 1.41421356;
    (void)tip;
    use(c, color, 0.9);
    if (shape == CANVAS_DIAMOND) {
        path(c,
             (const struct canvas_point[]){ { at.x - half, at.y },
                                            { at.x, at.y - half },
                                            { at.x + half, at.y },
                                            { at.x, at.y + half } },
             4);
    } else {
        cairo_new_path(c->cairo);
        cairo_arc(c->cairo, at.x, at.y, radius, 0, 2 * PI);
    }
    cairo_fill(c->cairo);
}

static void choose_font(struct canvas *c, double size, bool bold)
{
    cairo_select_font_face(c->cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(c->cairo, size);
}

static void png_text(struct canvas *c, const struct canvas_letters *l, struct canvas_point at,
                     const char *text)
{
    cairo_text_extents_t e;
    choose_font(c, l->size, l->bold);
    cairo_text_extents(c->cairo, text, &e);
    double x = 0;
    if (l->anchor == CANVAS_MIDDLE) x -= e.x_advance / 2;
    if (l->anchor == CANVAS_END) x -= e.x_advance;
    cairo_save(c->cairo);
    cairo_translate(c->cairo, at.x, at.y);
    cairo_rotate(c->cairo, l->turn / 180 * PI);
    use(c, l->color, 1);
    cairo_move_to(c->cairo, x, 0);
    cairo_show_text(c->cairo, text);
    if (l->more) {
        choose_font(c, l->size, false);
        use(c, CANVAS_SOFT, 1);
        cairo_rel_move_to(c->cairo, CANVAS_MORE, 0);
        cairo_show_text(c->cairo, l->more);
    }
    cairo_restore(c->cairo);
}

static void png_box(struct canvas *c, const struct canvas_box *box, struct canvas_point from,
                    struct canvas_point to)
{
    const double r = box->round;
    cairo_new_path(c->cairo);
    cairo_arc(c->cairo, from.x + r, from.y + r, r, -PI, -PI / 2);
    cairo_arc(c->cairo, to.x - r, from.y + r, r, -PI / 2, 0);
    cairo_arc(c->cairo, to.x - r, to.y - r, r, 0, PI / 2);
    cairo_arc(c->cairo, from.x + r, to.y - r, r, PI / 2, PI);
    cairo_close_path(c->cairo);
    use(c, box->color, box->alpha);
    cairo_fill_preserve(c->cairo);
    if (box->framed) {
        use(c, CANVAS_AXIS, 1);
        cairo_set_line_width(c->cairo, 1);
        cairo_set_dash(c->cairo, NULL, 0, 0);
        cairo_stroke(c->cairo);
    }
}

static cairo_status_t put(void *out, const unsigned char *bytes, unsigned n)
{
    return fwrite(bytes, 1, n, out) == n ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

bool drawing_has_png(void) { return true; }

bool drawing_png(FILE *out, const struct drawing *d, double scale, char *error, size_t error_size)
{
    const struct canvas_box paper = { .color = CANVAS_PAPER, .alpha = 1 };
    scale = fmin(scale, DRAWING_MOST / fmax(d->size.x, d->size.y));
    cairo_surface_t *surface = cairo_image_surface_create(
        CAIRO_FORMAT_RGB24, (int)(d->size.x * scale + 0.5), (int)(d->size.y * scale + 0.5));
    struct canvas c = { .line = png_line,
                        .area = png_area,
                        .mark = png_mark,
                        .text = png_text,
                        .box = png_box,
                        .cairo = cairo_create(surface) };
    cairo_scale(c.cairo, scale, scale);
    c.box(&c, &paper, (struct canvas_point){ 0, 0 }, d->size);
    const bool drawn = d->draw(&c, d);
    cairo_status_t status = cairo_status(c.cairo);
    if (!drawn) status = CAIRO_STATUS_NO_MEMORY;
    if (!status) status = cairo_surface_write_to_png_stream(surface, put, out);
    if (status) snprintf(error, error_size, "cannot draw: %s", cairo_status_to_string(status));
    cairo_destroy(c.cairo);
    cairo_surface_destroy(surface);
    cairo_debug_reset_static_data();
    return !status;
}

#endif
