/* Drawing with SVG: a frame with axes, and places in it. */
#ifndef REPORT_CHART_H
#define REPORT_CHART_H

#include <stdbool.h>
#include <stdio.h>

struct chart_axis {
    double lo, hi; /* of the data; made round by chart_open */
    double base;   /* 2 or 10: logarithmic; 0: linear, from zero */
    const char *title;
};

struct chart {
    FILE *out;
    double width, height, left, right, top, bottom;
    struct chart_axis x, y;
};

/* Begins an <svg> for wide or narrow screens, with grid, labels and titles. The page shows one of
 * the two. */
void chart_open(struct chart *c, FILE *out, bool narrow, struct chart_axis x, struct chart_axis y,
                const char *what);
void chart_close(struct chart *c);
double chart_x(const struct chart *c, double x);
double chart_y(const struct chart *c, double y);

/* "61.2 k" */
const char *chart_number(double v, char text[32]);

#endif
