/* A net's graph as an SVG: a box for every layer with those that only pass on what it gives (its
 * norm, activation, pool), from top to bottom, with every edge between them. */
#ifndef REPORT_GRAPH_H
#define REPORT_GRAPH_H

#include <stdio.h>

#include "report/visual.h"

/* False: out of memory. */
bool graph_svg(FILE *out, const struct visual *v);

#endif
