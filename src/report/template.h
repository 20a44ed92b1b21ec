/* Writes the pieces of report.html, which says how it is to be read. */
#ifndef REPORT_TEMPLATE_H
#define REPORT_TEMPLATE_H

#include <stdio.h>

/* What fills the holes of a piece: their names, each with its text. */
#define VALUES(...) ((const char *const[]){ __VA_ARGS__, NULL })
/* A text made as printf does, of less than 96 bytes, that lives as long as the block around it. */
#define FORMAT(...) template_format((char[96]){ 0 }, __VA_ARGS__)
const char *template_format(char text[96], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A whole piece; it has no places. values may be NULL: no holes. */
void template_put(FILE *out, const char *piece, const char *const *values);
/* The part of a piece between two of its places, so that the caller can write other pieces there.
 * NULL: from the beginning; to the end. */
void template_part(FILE *out, const char *piece, const char *from, const char *to,
                   const char *const *values);
/* Text that may hold anything, escaped for elements and attributes. */
void template_text(FILE *out, const char *text);

/* What is wrong with such a part: no such piece or place, a hole without a value, a value without a
 * hole; NULL: nothing. The functions above assert that nothing is. */
const char *template_wrong(const char *piece, const char *from, const char *to,
                           const char *const *values);

#endif
