/* A report of results: one HTML file with everything in it (style, script, pictures as SVG, the raw
 * results), nothing from the network. */
#ifndef REPORT_HTML_H
#define REPORT_HTML_H

#include "report/results.h"

/* Writes it to path. Names of the form BENCHMARK/.../CONTESTANT get pictures (step, scaling, ops,
 * kernels, peak, forum); any other benchmark a row in a table. On failure error holds one
 * sentence. */
enum results_status html_report(const char *path, const struct results *all, char *error,
                                size_t error_size);

#endif
