/* Inside src/data only. */
#ifndef CVYD_PARSE_H
#define CVYD_PARSE_H

#include "data/data.h"

/* Formats the sentence, returns status. */
enum data_status data_fail(char *error, size_t size, enum data_status status, const char *format,
                           ...) __attribute__((format(printf, 4, 5)));
/* A learnable set of ten classes: patterns that depend on the class, plus noise; the same bytes for
 * the same seed. */
enum data_status data_synthesise(struct data_set *set, uint64_t seed, size_t n_train,
                                 size_t n_test);

#endif
