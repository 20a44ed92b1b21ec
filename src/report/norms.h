/* What normalising layers learned: gamma, beta, running mean and variance of every channel, as bars
 * and as numbers. */
#ifndef REPORT_NORMS_H
#define REPORT_NORMS_H

#include <stdio.h>

#include "report/visual.h"

/* The section of a page; nothing if the net has no such layer. */
void norms_section(FILE *out, const struct visual *v);

#endif
