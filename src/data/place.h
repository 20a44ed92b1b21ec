/* Where the files of a data set lie: the spellings and directories that people have. Inside
 * src/data only. */
#ifndef CVYD_PLACE_H
#define CVYD_PLACE_H

#include "data/known.h"

#define PLACE_PATH 4400

struct place {
    enum format format;
    size_t files;
    char dir[PLACE_PATH];
    char file[MOST_FILES][PLACE_PATH]; /* an IDX file that is missing: "" */
};

/* A whole regular file, read, not mapped (a file cut off while mapped is a SIGBUS). */
enum data_status place_read(const char *path, uint8_t **bytes, size_t *size, char *error,
                            size_t error_size);
/* Whether that is a file, and no directory. */
bool place_is_file(const char *path);
/* What lies in dir, or in dir/raw (IDX), dir/cifar-10-batches-bin (CIFAR-10) or
 * dir/cifar-100-binary (CIFAR-100). DATA_NOT_FOUND: nothing of that format. */
enum data_status place_look(const char *dir, enum format format, struct place *place, char *error,
                            size_t error_size);
/* Searches for a set by its name (data.h says where). A place that holds another known set is
 * passed over; such a place, and one that cannot be looked at, is told of if nothing is found. */
enum data_status place_search(const struct known *k, struct place *place, char *error,
                              size_t error_size);
/* Says what a directory without data files holds instead, as far as one can help with it. */
enum data_status place_nothing(const char *dir, char *error, size_t error_size);
/* Reads and parses an IDX file of labels, any bytes; with its fingerprint. */
enum data_status place_labels(const char *path, size_t *n, uint8_t **labels,
                              struct fingerprint *print, char *error, size_t error_size);
/* The fingerprint of an IDX file from its parts: the header is part of the published hash, so it is
 * made once more. */
void place_print(struct fingerprint *print, unsigned rank, const size_t dims[3],
                 const uint8_t *content, const uint8_t *file, size_t size);

#endif
