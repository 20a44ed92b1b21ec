/* Something that is drawn, as a file of its own or in a page, on whatever canvas it is. */
#ifndef REPORT_DRAWING_H
#define REPORT_DRAWING_H

#include "report/canvas.h"

struct drawing {
    struct canvas_point size;                                /* in pixels of a page */
    const char *title;                                       /* for who cannot see it */
    bool (*draw)(struct canvas *c, const struct drawing *d); /* false: out of memory */
    const void *of;                                          /* what is drawn, */
    size_t part; /* and which part of it, or in which form */
};

/* An image file; dark screens show it dark. False: out of memory. */
bool drawing_svg(FILE *out, const struct drawing *d);
/* Whether this program can write PNG: it was built with cairo. */
bool drawing_has_png(void);
/* At `scale` pixels for one of the SVG's, fewer where a side would have more than DRAWING_MOST.
 * False: error says what is missing or went wrong, in words that go behind "FILE: ". */
enum { DRAWING_MOST = 16384 };
bool drawing_png(FILE *out, const struct drawing *d, double scale, char *error, size_t error_size);
/* An <svg> in a page that has report.css, of a class there. False: out of memory. */
bool drawing_in_page(FILE *out, const struct drawing *d, const char *kind);

#endif
