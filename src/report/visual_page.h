/* The page of a trained net: one HTML file with everything in it. */
#ifndef REPORT_VISUAL_PAGE_H
#define REPORT_VISUAL_PAGE_H

#include <stdio.h>

#include "report/visual.h"

/* False: out of memory. Whether all was written the caller asks the stream. */
bool visual_page(FILE *out, const struct visual *v, const char *command);
/* The same of the graph alone. */
bool visual_graph_page(FILE *out, const struct visual *v, const char *command);

#endif
