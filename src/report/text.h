/* Words and numbers for people, on a screen of SCREEN columns: short names of benchmarks, times,
 * counts, paragraphs. */
#ifndef REPORT_TEXT_H
#define REPORT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { SCREEN = 100 };

/* Whether a part of a benchmark's name is one of those that Google Benchmark adds ("real_time",
 * "iterations:5"). */
bool text_is_setting(const char *part);
/* "step/lenet-bn/batch:256/threads:2/native/real_time" becomes "lenet-bn b256 t2 native": without
 * its first `skip` parts and without settings. A name that is not made of such parts stays as it
 * is. */
const char *text_label(const char *name, size_t skip, char *out, size_t size);
/* How many columns a text takes: bytes of UTF-8 that begin a character. */
size_t text_width(const char *text);
/* The name of ops that are computed together, "layer1.0.bn2 + layer1.0.add", in which no part
 * repeats what the one before it begins with, up to a '.': layer1.0.bn2 + add. */
const char *text_short(const char *name, char *out, size_t size);
/* At most `width` columns: the middle is left out. out holds 4 * width + 1 bytes. */
const char *text_clip(const char *text, size_t width, char *out);
/* The text, and blanks up to `width` columns. */
void text_pad(FILE *out, const char *text, size_t width);
/* A paragraph, cut between words at `width` columns, and a line's end. `used` columns of its first
 * line are there already; its other lines begin with `indent` blanks. */
void text_wrap(FILE *out, const char *text, size_t used, size_t indent, size_t width);

/* "2.08 ms": three digits and a unit, s, ms, us or ns. NaN: "-". */
const char *text_time(double seconds, char out[32]);
/* An interval of ratios in 17 columns at least: "  1.10 -   1.22"; blanks if there is none, or if
 * it says nothing. */
const char *text_interval(double lo, double hi, int digits, char out[48]);
/* "0.4 %" or "12 %", of a share of one. */
const char *text_percent(double share, char out[32]);
/* A loss: "0.246"; with four digits where three decimals say too little or too much. */
const char *text_value(double v, char out[32]);
/* "61.2 k" */
const char *text_count(double v, char out[32]);

#endif
