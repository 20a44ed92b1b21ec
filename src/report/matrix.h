/* A confusion matrix as an SVG, for a page or as a file. */
#ifndef REPORT_MATRIX_H
#define REPORT_MATRIX_H

#include <stdio.h>

#include "report/visual.h"

void matrix_svg(FILE *out, const struct visual *v, const struct visual_matrix *m);

#endif
