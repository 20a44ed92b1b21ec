/* The published data sets: what their files hold, told by hashes, never by where the files lie.
 * Inside src/data only. */
#ifndef CVYD_KNOWN_H
#define CVYD_KNOWN_H

#include "data/parse.h"

/* How files lie in a directory: IDX (train images, train labels, test images, test labels),
 * CIFAR-10 (five batches and the test's), CIFAR-100 (one of each) with fine or coarse labels. */
enum format { FORMAT_IDX = 0, FORMAT_CIFAR10, FORMAT_FINE, FORMAT_COARSE, FORMATS };
enum { IDX_FILES = 4, CIFAR_FILES = 6, CIFAR100_FILES = 2, MOST_FILES = CIFAR_FILES };

/* A published set. Its hashes are of the unpacked files (distributions differ in gzip's header
 * only) where they are known, else of the packed ones as their makers give them out. */
struct known {
    struct data_known shown;
    const char *folder; /* what torchvision, or the archive, calls the directory */
    enum format format;
    size_t c, h, w;
    const char *const *classes;   /* NULL: beside the files */
    const char *hash[MOST_FILES]; /* none: they are not known */
    bool packed;                  /* the hashes are of the .gz files */
};

/* What is known of a file that was read: SHA-256 of an IDX file unpacked and, if it was packed, of
 * the .gz; MD5 of CIFAR-10's. */
struct fingerprint {
    char content[65], packed[65];
};

const struct known *known_at(size_t i); /* NULL after the last */
const struct known *known_find(const char *name);
/* The set that a file belongs to and its place there (0 to 5); NULL: none that is known. */
const struct known *known_file(const struct fingerprint *file, size_t *place);

#endif
