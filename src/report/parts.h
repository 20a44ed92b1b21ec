/* report.css and report.js, in the program. */
#ifndef REPORT_PARTS_H
#define REPORT_PARTS_H

#include <stddef.h>

struct report_part {
    const char *name, *text;
    size_t size;
};
extern const struct report_part report_parts[]; /* in the order of meson.build: style, script */

#endif
