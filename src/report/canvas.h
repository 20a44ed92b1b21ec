/* What is drawn on: the elements of an SVG, or the pixels of a PNG. Places are in pixels from the
 * upper left corner. Colours have a light and a dark value; a page shows its own. */
#ifndef REPORT_CANVAS_H
#define REPORT_CANVAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum canvas_color {
    CANVAS_PAPER,
    CANVAS_INK,
    CANVAS_SOFT,
    CANVAS_AXIS,
    CANVAS_GRID,
    CANVAS_BLACK,    /* on dark screens, too */
    CANVAS_CONTRAST, /* black, there white */
    CANVAS_FIRST,    /* of the eight that tell series apart, also without seeing red or green */
    CANVAS_COLORS = CANVAS_FIRST + 8
};
struct canvas_shade {
    const char *name, *light, *dark; /* "#rrggbb" */
};
extern const struct canvas_shade canvas_shades[CANVAS_COLORS];

enum canvas_dash { CANVAS_SOLID, CANVAS_DASHED, CANVAS_DASH_DOTTED, CANVAS_DOTTED, CANVAS_DASHES };
enum canvas_anchor { CANVAS_START, CANVAS_MIDDLE, CANVAS_END };
enum canvas_shape { CANVAS_DISC, CANVAS_DIAMOND };

struct canvas_point {
    double x, y;
};
struct canvas_pen {
    enum canvas_color color;
    double width;
    enum canvas_dash dash;
    double alpha; /* of an area */
};
struct canvas_letters {
    enum canvas_color color;
    double size;
    bool bold;
    enum canvas_anchor anchor;
    double turn;      /* degrees, clockwise around its place */
    const char *more; /* of a text that starts at its place: soft and not bold behind it; or NULL */
};
/* A rectangle. */
struct canvas_box {
    enum canvas_color color;
    double alpha, round; /* the radius of its corners */
    bool framed;         /* by a thin line in CANVAS_AXIS */
    const char *tip;
};

/* One of the two; `tip` is what a page shows under the pointer, NULL: nothing. */
struct canvas {
    void (*line)(struct canvas *c, const struct canvas_pen *pen, const struct canvas_point *at,
                 size_t n);
    void (*area)(struct canvas *c, const struct canvas_pen *pen, const struct canvas_point *at,
                 size_t n);
    void (*mark)(struct canvas *c, enum canvas_shape shape, enum canvas_color color,
                 struct canvas_point at, double radius, const char *tip);
    void (*text)(struct canvas *c, const struct canvas_letters *letters, struct canvas_point at,
                 const char *text);
    void (*box)(struct canvas *c, const struct canvas_box *box, struct canvas_point from,
                struct canvas_point to);
    /* Where the pointer shows a tip, with a line at `x`; NULL: nobody points here. */
    void (*strip)(struct canvas *c, struct canvas_point from, struct canvas_point to, double x,
                  const char *tip);
    FILE *out;   /* SVG's */
    void *cairo; /* PNG's */
};

/* Into an <svg> that the caller has begun; a page's has strips. */
struct canvas canvas_svg(FILE *out, bool page);
/* What an SVG of its own has to say of a dark screen. */
void canvas_dark_style(FILE *out);
/* How far what is behind a text is from it. */
enum { CANVAS_MORE = 7 };

/* The colour of letters that stands out most, on the lesser of a light and a dark screen, from so
 * much of a colour on paper; contrast, unless NULL: what WCAG calls so, at least 1. */
enum canvas_color canvas_letters_on(enum canvas_color color, double alpha, double *contrast);
/* How wide a text is at most in the fonts that will be there. */
double canvas_width(const char *text, double size, bool bold);
/* Lengths of strokes and gaps for a pen, ended by 0. */
const double *canvas_dash(enum canvas_dash dash);

#endif
