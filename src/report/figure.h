/* A figure: curves, bands and points over one x axis, in one panel or two. What it shows is said
 * here once; it is a drawing, or a page with the numbers. */
#ifndef REPORT_FIGURE_H
#define REPORT_FIGURE_H

#include "report/drawing.h"

struct figure_axis {
    const char *label;
    double base;   /* 0: linear; 10 or 2: logarithmic; what is not positive has no place there */
    double lo, hi; /* lo < hi: from and to where; else as the data need it, with round ends */
    bool zero;     /* a linear one begins at zero */
    /* of x, whose values are then 0, 1, …: what stands for them; NULL: numbers */
    const char *const *names;
    size_t n_names;
};

enum figure_style {
    FIGURE_LINE,
    FIGURE_DASHED,
    FIGURE_DASH_DOTTED,
    FIGURE_DOTTED,
    FIGURE_POINTS, /* without a line between them */
    FIGURE_STYLES
};
enum { FIGURE_COLORS = 8, FIGURE_PANELS = 2 };
/* Colours that are no series': for what the others are measured against. */
enum { FIGURE_INK = -1, FIGURE_SOFT = -2 };

/* Points in the order in which a line goes through them. A NaN ends a line, and the next point
 * begins another one. */
struct figure_series {
    const char *label; /* NULL: neither a label nor a column of numbers */
    size_t n;
    const double *x, *y;
    const double *low, *high; /* from where to where it varies, a band; NULL: nothing is known */
    bool whiskers;            /* a vertical line at each point instead of the band */
    bool marked;              /* points on the line, too */
    bool diamonds;            /* points are so shaped */
    enum figure_style style;
    int color; /* 1 … FIGURE_COLORS, FIGURE_INK, FIGURE_SOFT; 0: those that come before choose */
    size_t panel;
    const char *const *tip; /* a page's sentences on each point; NULL: x, and y of every series */
};

/* A text beside a place. */
struct figure_note {
    const char *text;
    double x, y;         /* values */
    double dx, dy;       /* and so many pixels from there, downwards */
    bool strong, before; /* before: it ends there */
    size_t panel;
};

struct figure {
    const char *title, *subtitle; /* NULL: none */
    struct figure_axis x, y[FIGURE_PANELS];
    size_t panels; /* 0: one */
    bool compared; /* all panels have one range of y */
    const struct figure_series *series;
    size_t n;
    const struct figure_note *note;
    size_t notes;
};

/* With its titles, as a file shows it; as long as the figure lives. */
struct drawing figure_drawing(const struct figure *f);

/* A page that needs nothing but itself: figures, each with a table of its numbers. */
struct figure_page {
    const char *title, *about; /* about: a sentence below it; "" */
    const char *command;       /* that made it */
    const struct figure *figure;
    size_t n;
};
bool figure_page(FILE *out, const struct figure_page *p);
/* Two <svg> of one figure, for wide and for narrow screens, in a page that has report.css. */
bool figure_in_page(FILE *out, const struct figure *f);

#endif
