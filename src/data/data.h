/* Data sets in memory: bytes of images and labels. Knows files and formats, not nets. Everything read is checked against
 * what the format says before memory is taken; a data set is read-only after opening and may be shared by threads. */
#ifndef CVYD_DATA_H
#define CVYD_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum data_status { DATA_OK = 0, DATA_NOT_FOUND, DATA_BAD, DATA_IO, DATA_NOMEM };

struct data_split {
    size_t n;
    uint8_t *images;  /* [n][c][h][w] */
    uint8_t *labels;  /* [n], each < classes */
};
struct data_set {
    const char *name;      /* "fashion-mnist", "mnist", "cifar10", "synthetic" */
    char source[4096];     /* directory, or "synthetic:seed=1" */
    size_t c, h, w, classes;
    const char *const *class_names; /* [classes] */
    struct data_split train, test;
    bool verified;         /* the content has the published SHA-256 (idx sets only) */
    bool synthetic;
};

/* spec: a known name, a directory that holds one of the known sets, or "synthetic[:seed=S,train=N,test=N]". A name is searched in
 * $CVY_DATA_DIR, $XDG_CACHE_HOME/convoy (or ~/.cache/convoy), datasets/NAME in $XDG_DATA_DIRS, /usr/share/datasets/NAME, each as DIR/NAME
 * and DIR. like: the set a directory or "synthetic" should look like ("fashion-mnist" or "cifar10"; NULL: whatever is found,
 * fashion-mnist). verify: also compare SHA-256 of the decompressed content with the published one and fail if it differs
 * (otherwise only set->verified tells). On failure *set is NULL and error holds one sentence. */
enum data_status data_open(const char *spec, const char *like, bool verify, struct data_set **set, char *error, size_t error_size);
void data_close(struct data_set **set);

/* The known sets, for `convoy data list`. */
struct data_known { const char *name, *summary, *hint; /* how to get it */ };
size_t data_known_sets(const struct data_known **list);
/* Where a known set lies, without reading it; false: not found. */
bool data_find(const char *name, char *path, size_t path_size);

/* Parsers over memory (for files, fuzzers and tests). `bytes` is the file's content, plain or gzip (told by magic). */
enum data_status data_parse_idx_images(const char *where, const uint8_t *bytes, size_t size, size_t *n, size_t *h, size_t *w,
                                       uint8_t **images, char *error, size_t error_size);
enum data_status data_parse_idx_labels(const char *where, const uint8_t *bytes, size_t size, size_t classes, size_t *n,
                                       uint8_t **labels, char *error, size_t error_size);
enum data_status data_parse_cifar10(const char *where, const uint8_t *bytes, size_t size, size_t *n, uint8_t **images,
                                    uint8_t **labels, char *error, size_t error_size);

#endif
