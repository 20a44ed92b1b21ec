/* The shape files of bench/shapes, in the program. */
#ifndef BENCH_SHAPES_H
#define BENCH_SHAPES_H

#include <stddef.h>

struct shape_file {
    const char *name, *text;
    size_t size;
};
extern const struct shape_file shape_files[]; /* ended by a NULL name */

#endif
