/* What the files of figures share: the drawing is one, whatever it is drawn on. */
#ifndef REPORT_FIGURE_PARTS_H
#define REPORT_FIGURE_PARTS_H

#include "report/figure.h"

/* By itself, or in a page's column for wide or for narrow screens. */
enum figure_place { FIGURE_ALONE, FIGURE_WIDE, FIGURE_NARROW };
struct drawing figure_placed(const struct figure *f, enum figure_place place);

/* All different x of the series that have labels, ascending; the caller's. NULL: out of memory. */
double *figure_rows(const struct figure *f, size_t *n);
/* The point of a series at exactly x: its index, or n if there is none. */
size_t figure_at(const struct figure_series *s, double x);
/* "0.8532", "12.4 k", at most 31 bytes; with a band "0.85 (0.83 to 0.87)". */
const char *figure_value(const struct figure_series *s, size_t i, char text[96]);
const char *figure_x(const struct figure *f, double x, char text[32]); /* or its name */
const char *figure_number(double v, char text[32]);

#endif
