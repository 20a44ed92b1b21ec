/* A confusion matrix: a row for every class, of how its images were taken. */
#ifndef REPORT_MATRIX_H
#define REPORT_MATRIX_H

#include "report/drawing.h"
#include "report/visual.h"

/* As long as v lives. */
struct drawing matrix_drawing(const struct visual *v, size_t matrix);

#endif
