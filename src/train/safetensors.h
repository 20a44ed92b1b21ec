/* The safetensors format: 8 bytes of header length (little-endian), a JSON header, the tensors'
 * bytes. Strict: every rule of the format is checked, and a file of ours carries a SHA-256 over all
 * of itself. Knows bytes and names only. Format: https://huggingface.co/docs/safetensors */
#ifndef TRAIN_SAFETENSORS_H
#define TRAIN_SAFETENSORS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "train/files.h"

#define SAFETENSORS_RANK 8
#define SAFETENSORS_HEADER_LIMIT 100000000u
#define SAFETENSORS_SUM_KEY "convoy.sha256" /* metadata of files that safetensors_build made */

struct safetensor {
    const char *name, *dtype; /* "F32", ... */
    size_t rank;
    uint64_t dims[SAFETENSORS_RANK];
    const unsigned char *data; /* not necessarily aligned */
    size_t bytes;
};

struct safetensors {
    json_t *header;
    const json_t *metadata; /* object of strings, or NULL */
    bool sealed;            /* the file has our checksum, and it is right */
    size_t n;
    struct safetensor *tensors; /* sorted by name */
};

/* Parses and checks a file that lies in memory; the result points into it. `where` names it in
 * messages. */
enum train_status safetensors_parse(const char *where, const unsigned char *bytes, size_t size,
                                    struct safetensors **out, char *error, size_t error_size);
void safetensors_free(struct safetensors **file);
const struct safetensor *safetensors_find(const struct safetensors *file, const char *name);

/* Makes a file in memory (the caller frees it) from tensors and metadata (an object of strings; the
 * checksum is added to it). */
enum train_status safetensors_build(const struct safetensor *tensors, size_t n, json_t *metadata,
                                    unsigned char **bytes, size_t *size, char *error,
                                    size_t error_size);

#endif
