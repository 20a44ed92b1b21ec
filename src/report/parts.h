/* report.css, report.js and report.html, in the program. */
#ifndef REPORT_PARTS_H
#define REPORT_PARTS_H

#include <stddef.h>

enum { REPORT_STYLE, REPORT_SCRIPT, REPORT_PIECES }; /* in the order of meson.build */

struct report_part {
    const char *name, *text;
    size_t size;
};
extern const struct report_part report_parts[];

#endif
