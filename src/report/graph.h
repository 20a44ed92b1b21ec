/* A net's graph: a box for every layer with those that only pass on what it gives (its norm,
 * activation, pool), from top to bottom, with every edge between them. */
#ifndef REPORT_GRAPH_H
#define REPORT_GRAPH_H

#include "report/drawing.h"
#include "report/visual.h"

/* As long as v lives. NULL: out of memory. */
struct graph *graph_make(const struct visual *v);
void graph_free(struct graph *g);
/* As long as the graph lives. */
struct drawing graph_drawing(const struct graph *g);

#endif
