/* Inside src/data only. */
#ifndef CVYD_ARRAYS_H
#define CVYD_ARRAYS_H

#include "data/parse.h"

/* Whether a directory holds arrays. */
bool arrays_there(const char *dir);
/* Reads the four of a directory or of an .npz file into an empty set. nhwc: channels are last. */
enum data_status arrays_open(const char *path, bool nhwc, struct data_set *set, char *error,
                             size_t error_size);

#endif
