/* The page of benchmarks: what html.c and its drawings, curves.c and roofline.c, share. */
#ifndef REPORT_PAGE_H
#define REPORT_PAGE_H

#include <stdbool.h>
#include <stdio.h>

#include "report/entries.h"

struct page {
    FILE *out;
    const struct results *all;
    struct entry *entry;
    size_t n;
};

bool page_has(const struct page *p, const char *benchmark);
/* "2.08 ms"; NaN: a dash. */
const char *page_time(double seconds, char text[32]);
/* A contestant's or phase's colour and what it stands for, in two parts. */
void page_legend(struct page *p, size_t color, const char *what, const char *more);

/* The section of rates over batch sizes, of the benchmark "scaling"; and whether a record of it has
 * a point to draw. */
void page_scaling(struct page *p);
bool page_has_point(const struct entry *e);
/* The section of operators under the machine's roofs; nothing if none has a place there. */
void page_roofline(struct page *p);

#endif
