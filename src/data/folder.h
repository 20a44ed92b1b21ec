/* Inside src/data only. */
#ifndef CVYD_FOLDER_H
#define CVYD_FOLDER_H

#include "data/parse.h"

#define FOLDER_PREFIX "folder:"
#define FOLDER_TEST 0.2 /* the share of pictures for testing, where no directory says it */

struct folder_options {
    size_t h, w, channels; /* 0: the pictures' own */
    double test;           /* 0: FOLDER_TEST */
};
/* Reads the options of "folder:[OPTIONS:]DIR"; *dir is the rest of it. */
enum data_status folder_options(const char *spec, struct folder_options *o, const char **dir,
                                char *error, size_t error_size);
/* Whether a directory holds directories with pictures, itself or in its train/. */
bool folder_there(const char *dir);
/* Reads all into an empty set; prefix: what stands before DIR. */
enum data_status folder_open(const char *dir, const struct folder_options *o, const char *prefix,
                             struct data_set *set, char *error, size_t error_size);

#endif
