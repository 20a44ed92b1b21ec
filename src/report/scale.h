/* Axes: where a value lies between two places, round ends of a range, and the numbers beside it. */
#ifndef REPORT_SCALE_H
#define REPORT_SCALE_H

#include <stdbool.h>
#include <stddef.h>

struct scale {
    double base;     /* 0: linear; 2 or 10: logarithmic, with its powers as numbers */
    double lo, hi;   /* values, lo < hi; positive ones on a logarithmic scale */
    double from, to; /* their places */
};

struct scale_tick {
    double at;
    bool minor; /* a mark without a number */
    char text[32];
};
enum { SCALE_TICKS = 96 };

/* Where a value lies; NaN if it has no place: not finite, or not positive on a logarithmic one. */
double scale_place(const struct scale *s, double v);
/* Widens lo and hi to round numbers, such that about `most` ticks lie between them; a range that is
 * none is made one. With `zero`, a linear one begins at zero if its values come near it. */
void scale_round(struct scale *s, size_t most, bool zero);
/* About `most` numbers at most, in ascending order: 1, 2 or 5 times a power of ten; on a
 * logarithmic scale powers of the base. How many there are. */
size_t scale_ticks(const struct scale *s, size_t most, struct scale_tick out[SCALE_TICKS]);

#endif
