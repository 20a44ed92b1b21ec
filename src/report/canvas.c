/* Colours, widths, and drawing with SVG's elements, which are pieces of report.html. */
#include "report/canvas.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/template.h"

/* Okabe and Ito's colours in an order in which neighbours differ most, yellow last and darker, so
 * that a line of it can be seen on white; for dark screens lighter ones of the same hues. */
const struct canvas_shade canvas_shades[CANVAS_COLORS] = {
    { "paper", "#ffffff", "#182029" },    { "ink", "#1b2330", "#e7ebf1" },
    { "soft", "#5c6675", "#9aa6b6" },     { "axis", "#9aa3b0", "#566270" },
    { "grid", "#e9ecf1", "#2a343f" },     { "black", "#000000", "#000000" },
    { "contrast", "#000000", "#ffffff" }, { "0", "#0072b2", "#56b0ea" },
    { "1", "#d55e00", "#f58b45" },        { "2", "#009e73", "#35c79b" },
    { "3", "#cc79a7", "#e79cc6" },        { "4", "#e69f00", "#f2bd4a" },
    { "5", "#56b4e9", "#9bd5f7" },        { "6", "#4d4d4d", "#c3c9d2" },
    { "7", "#b0a000", "#f0e442" },
};

/* The relative luminance of so much of a colour on paper, sRGB's. */
static double luminance(const char *color, const char *paper, double alpha)
{
    static const double weights[] = { 0.0722, 0.7152, 0.2126 }; /* blue, green, red */
    const unsigned long over = strtoul(color + 1, NULL, 16), under = strtoul(paper + 1, NULL, 16);
    double sum = 0;
    for (size_t k = 0; k < 3; k++) {
        const double v =
            (alpha * (double)(over >> 8 * k & 255) + (1 - alpha) * (double)(under >> 8 * k & 255)) /
            255;
        sum += weights[k] * (v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4));
    }
    return sum;
}

static double contrast_of(double a, double b) { return (fmax(a, b) + 0.05) / (fmin(a, b) + 0.05); }

enum canvas_color canvas_letters_on(enum canvas_color color, double alpha, double *contrast)
{
    static const enum canvas_color inks[] = { CANVAS_CONTRAST, CANVAS_PAPER, CANVAS_BLACK };
    const struct canvas_shade *on = &canvas_shades[color], *paper = &canvas_shades[CANVAS_PAPER];
    enum canvas_color best = inks[0];
    double most = 0;
    for (size_t i = 0; i < sizeof inks / sizeof *inks; i++) {
        const struct canvas_shade *ink = &canvas_shades[inks[i]];
        const double least = fmin(contrast_of(luminance(ink->light, ink->light, 1),
                                              luminance(on->light, paper->light, alpha)),
                                  contrast_of(luminance(ink->dark, ink->dark, 1),
                                              luminance(on->dark, paper->dark, alpha)));
        if (least <= most) continue;
        best = inks[i];
        most = least;
    }
    if (contrast) *contrast = most;
    return best;
}

double canvas_width(const char *text, double size, bool bold)
{
    /* Of an em, of the widest font that is common, DejaVu Sans: letters by how wide they are. */
    static const struct {
        const char *letters;
        double width;
    } kinds[] = { { "ijl|'!.,:;I ", 0.34 },
                  { "frt()[]/-", 0.42 },
                  { "mwMW@%", 0.95 },
                  { "ABCDEFGHJKLNOPQRSTUVXYZ&", 0.72 } };
    double width = 0;
    for (; *text; text++) {
        if (((unsigned char)*text & 0xc0) == 0x80) continue; /* inside a character */
        double letter = 0.63;
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            if (strchr(kinds[k].letters, *text)) letter = kinds[k].width;
        width += letter;
    }
    return width * size * (bold ? 1.1 : 1);
}

const double *canvas_dash(enum canvas_dash dash)
{
    static const double lengths[CANVAS_DASHES][5] = {
        { 0 }, { 7, 4, 0 }, { 8, 3.5, 1.5, 3.5, 0 }, { 1.5, 3.5, 0 }
    };
    return lengths[dash];
}

void canvas_dark_style(FILE *out)
{
    fputs("@media (prefers-color-scheme: dark) {\n", out);
    for (size_t i = 0; i < CANVAS_COLORS; i++)
        fprintf(out, "  .s-%s { stroke: %s; } .f-%s { fill: %s; }\n", canvas_shades[i].name,
                canvas_shades[i].dark, canvas_shades[i].name, canvas_shades[i].dark);
    fputs("}\n", out);
}

static void points(FILE *out, const struct canvas_point *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        template_text(out, FORMAT("%s%.1f,%.1f", i ? " " : "", at[i].x, at[i].y));
}

static void svg_line(struct canvas *c, const struct canvas_pen *pen, const struct canvas_point *at,
                     size_t n)
{
    const struct canvas_shade *shade = &canvas_shades[pen->color];
    const double *dash = canvas_dash(pen->dash);
    char dashes[64] = "none";
    for (size_t used = 0, i = 0; dash[i] > 0; i++)
        used +=
            (size_t)snprintf(dashes + used, sizeof dashes - used, "%s%g", i ? " " : "", dash[i]);
    if (n == 2) {
        template_put(c->out, "svg-line",
                     VALUES("color", shade->name, "shade", shade->light, "x1",
                            FORMAT("%.1f", at[0].x), "y1", FORMAT("%.1f", at[0].y), "x2",
                            FORMAT("%.1f", at[1].x), "y2", FORMAT("%.1f", at[1].y), "width",
                            FORMAT("%g", pen->width), "dash", dashes));
        return;
    }
    template_part(c->out, "svg-lines", NULL, "points",
                  VALUES("color", shade->name, "shade", shade->light, "width",
                         FORMAT("%g", pen->width), "dash", dashes));
    points(c->out, at, n);
    template_part(c->out, "svg-lines", "points", NULL, NULL);
}

static void svg_area(struct canvas *c, const struct canvas_pen *pen, const struct canvas_point *at,
                     size_t n)
{
    const struct canvas_shade *shade = &canvas_shades[pen->color];
    template_part(
        c->out, "svg-area", NULL, "points",
        VALUES("color", shade->name, "shade", shade->light, "alpha", FORMAT("%g", pen->alpha)));
    points(c->out, at, n);
    template_part(c->out, "svg-area", "points", NULL, NULL);
}

static void svg_tip(const struct canvas *c, const char *tip)
{
    if (tip) template_put(c->out, "svg-tip", VALUES("tip", tip));
}

static void svg_mark(struct canvas *c, enum canvas_shape shape, enum canvas_color color,
                     struct canvas_point at, double radius, const char *tip)
{
    const struct canvas_shade *shade = &canvas_shades[color];
    const char *x = FORMAT("%.1f", at.x), *y = FORMAT("%.1f", at.y);
    const double half = radius * 0.8;
    if (shape == CANVAS_DIAMOND) {
        template_part(c->out, "svg-diamond", NULL, "tip", NULL);
        svg_tip(c, tip);
        template_part(c->out, "svg-diamond", "tip", NULL,
                      VALUES("color", shade->name, "shade", shade->light, "left",
                             FORMAT("%.1f", at.x - half), "top", FORMAT("%.1f", at.y - half),
                             "size", FORMAT("%.1f", 2 * half), "x", x, "y", y));
    } else {
        template_part(c->out, "svg-disc", NULL, "tip", NULL);
        svg_tip(c, tip);
        template_part(c->out, "svg-disc", "tip", NULL,
                      VALUES("color", shade->name, "shade", shade->light, "x", x, "y", y, "radius",
                             FORMAT("%g", radius)));
    }
}

static void svg_text(struct canvas *c, const struct canvas_letters *l, struct canvas_point at,
                     const char *text)
{
    static const char *const anchors[] = { "start", "middle", "end" };
    const struct canvas_shade *shade = &canvas_shades[l->color],
                              *soft = &canvas_shades[CANVAS_SOFT];
    const char *x = FORMAT("%.1f", at.x), *y = FORMAT("%.1f", at.y);
    template_part(c->out, "svg-text", NULL, "turn", NULL);
    if (l->turn != 0)
        template_put(c->out, "svg-turn", VALUES("degrees", FORMAT("%g", l->turn), "x", x, "y", y));
    template_part(c->out, "svg-text", "turn", "more",
                  VALUES("color", shade->name, "shade", shade->light, "x", x, "y", y, "size",
                         FORMAT("%g", l->size), "weight", l->bold ? "600" : "400", "anchor",
                         anchors[l->anchor], "text", text));
    if (l->more)
        template_put(c->out, "svg-more",
                     VALUES("color", soft->name, "shade", soft->light, "gap",
                            FORMAT("%d", CANVAS_MORE), "text", l->more));
    template_part(c->out, "svg-text", "more", NULL, NULL);
}

static void svg_box(struct canvas *c, const struct canvas_box *box, struct canvas_point from,
                    struct canvas_point to)
{
    const struct canvas_shade *shade = &canvas_shades[box->color],
                              *line = &canvas_shades[CANVAS_AXIS];
    template_part(c->out, "svg-box", NULL, "tip", NULL);
    svg_tip(c, box->tip);
    template_part(c->out, "svg-box", "tip", NULL,
                  VALUES("color", shade->name, "shade", shade->light, "alpha",
                         FORMAT("%.3g", box->alpha), "x", FORMAT("%.1f", from.x), "y",
                         FORMAT("%.1f", from.y), "width", FORMAT("%.1f", to.x - from.x), "height",
                         FORMAT("%.1f", to.y - from.y), "round", FORMAT("%g", box->round), "line",
                         box->framed ? line->name : "none", "stroke",
                         box->framed ? line->light : "none"));
}

static void svg_strip(struct canvas *c, struct canvas_point from, struct canvas_point to, double x,
                      const char *tip)
{
    template_put(c->out, "svg-strip",
                 VALUES("left", FORMAT("%.1f", from.x), "top", FORMAT("%.1f", from.y), "width",
                        FORMAT("%.1f", to.x - from.x), "height", FORMAT("%.1f", to.y - from.y),
                        "bottom", FORMAT("%.1f", to.y), "x", FORMAT("%.1f", x), "tip", tip));
}

struct canvas canvas_svg(FILE *out, bool page)
{
    return (struct canvas){ .line = svg_line,
                            .area = svg_area,
                            .mark = svg_mark,
                            .text = svg_text,
                            .box = svg_box,
                            .strip = page ? svg_strip : NULL,
                            .out = out };
}
