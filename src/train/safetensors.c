/* Reading and writing safetensors. The checksum covers the whole file, header and length included,
 * with the checksum's own 64 digits taken as zeros; so any single changed bit of a file is
 * found. */
#include "train/safetensors.h"

#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors data is little-endian and used as it lies"
#endif

#define SUM_DIGITS 64
#define SUM_TEXT "\"" SAFETENSORS_SUM_KEY "\": \""

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = { { "F32", 4 }, { "F64", 8 }, { "F16", 2 },  { "BF16", 2 },    { "I64", 8 },
               { "I32", 4 }, { "I16", 2 }, { "I8", 1 },   { "U64", 8 },     { "U32", 4 },
               { "U16", 2 }, { "U8", 1 },  { "BOOL", 1 }, { "F8_E5M2", 1 }, { "F8_E4M3", 1 } };

#define BAD(...) train_fail(error, error_size, TRAIN_BAD, __VA_ARGS__)

/* SHA-256 in hex of a file whose digits at `digits` count as '0' (digits must lie inside the
 * file). */
static void checksum(const unsigned char *bytes, size_t size, const unsigned char *digits,
                     char out[SUM_DIGITS + 1])
{
    static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";
    _Static_assert(sizeof zeros == SUM_DIGITS + 1, "as many zeros as digits");
    SHA2_CTX ctx;
    size_t before = (size_t)(digits - bytes);
    SHA256Init(&ctx);
    SHA256Update(&ctx, bytes, before);
    SHA256Update(&ctx, (const uint8_t *)zeros, SUM_DIGITS);
    SHA256Update(&ctx, digits + SUM_DIGITS, size - before - SUM_DIGITS);
    SHA256End(&ctx, out);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct safetensor *)a)->name, ((const struct safetensor *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const struct safetensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static enum train_status parse_tensor(const char *where, const char *name, const json_t *json,
                                      const unsigned char *data, size_t data_size,
                                      struct safetensor *t, char *error, size_t error_size)
{
    const json_t *dtype = json_object_get(json, "dtype"), *shape = json_object_get(json, "shape"),
                 *offsets = json_object_get(json, "data_offsets");
    if (json_typeof(json) != JSON_OBJECT || json_object_size(json) != 3 || !json_is_string(dtype) ||
        !json_is_array(shape) || json_array_size(offsets) != 2 ||
        json_typeof(json_array_get(offsets, 0)) != JSON_INTEGER ||
        json_typeof(json_array_get(offsets, 1)) != JSON_INTEGER)
        return BAD(
            "%s: tensor '%.80s': expected exactly a dtype, a shape and two integer data_offsets",
            where, name);
    size_t unit = 0;
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(dtypes[i].name, json_string_value(dtype))) unit = dtypes[i].bytes;
    if (!unit)
        return BAD("%s: tensor '%.80s': unknown dtype \"%.20s\"", where, name,
                   json_string_value(dtype));
    if (json_array_size(shape) > SAFETENSORS_RANK)
        return BAD("%s: tensor '%.80s': expected at most %d dimensions, found %zu", where, name,
                   SAFETENSORS_RANK, json_array_size(shape));
    *t = (struct safetensor){ .name = name,
                              .dtype = json_string_value(dtype),
                              .rank = json_array_size(shape) };
    uint64_t bytes = unit;
    for (size_t i = 0; i < t->rank; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (json_typeof(dim) != JSON_INTEGER || json_integer_value(dim) < 0)
            return BAD("%s: tensor '%.80s': dimension %zu is not an integer of at least 0", where,
                       name, i);
        t->dims[i] = (uint64_t)json_integer_value(dim);
        if (__builtin_mul_overflow(bytes, t->dims[i], &bytes))
            return BAD("%s: tensor '%.80s': the shape overflows 64 bits", where, name);
    }
    json_int_t begin = json_integer_value(json_array_get(offsets, 0)),
               end = json_integer_value(json_array_get(offsets, 1));
    if (begin < 0 || end < begin || (uint64_t)end > data_size)
        return BAD(
            "%s: tensor '%.80s': data_offsets [%lld, %lld] do not lie in the %zu bytes of data",
            where, name, (long long)begin, (long long)end, data_size);
    if ((uint64_t)(end - begin) != bytes)
        return BAD("%s: tensor '%.80s': expected %llu bytes by its shape and dtype, found %lld",
                   where, name, (unsigned long long)bytes, (long long)(end - begin));
    t->data = data + begin;
    t->bytes = (size_t)bytes;
    return TRAIN_OK;
}

/* Our files must have the right checksum; others may have none. */
static enum train_status check_seal(const char *where, const unsigned char *bytes, size_t size,
                                    size_t header_size, struct safetensors *file, char *error,
                                    size_t error_size)
{
    const char *key;
    json_t *value;
    bool ours = false;
    json_object_foreach ((json_t *)file->metadata, key, value) { /* GCOVR_EXCL_BR_LINE */
        if (json_typeof(value) != JSON_STRING)
            return BAD("%s: __metadata__: \"%.80s\" is not a string", where, key);
        ours |= !strncmp(key, "convoy.", 7);
    }
    if (!ours) return TRAIN_OK;
    const char *sum = json_string_value(json_object_get(file->metadata, SAFETENSORS_SUM_KEY));
    const unsigned char *digits = memmem(bytes + 8, header_size, SUM_TEXT, strlen(SUM_TEXT));
    if (!sum || strlen(sum) != SUM_DIGITS || !digits ||
        memcmp(digits + strlen(SUM_TEXT), sum, SUM_DIGITS))
        return BAD("%s: the file is corrupt: its checksum is missing", where);
    char want[SUM_DIGITS + 1];
    checksum(bytes, size, digits + strlen(SUM_TEXT), want);
    if (strcmp(want, sum))
        return BAD("%s: the file is corrupt: expected SHA-256 %.16s..., found %.16s...", where, sum,
                   want);
    file->sealed = true;
    return TRAIN_OK;
}

static enum train_status parse_header(const char *where, const unsigned char *bytes, size_t size,
                                      size_t header_size, struct safetensors *file, char *error,
                                      size_t error_size)
{
    const unsigned char *data = bytes + 8 + header_size;
    size_t data_size = size - 8 - header_size;
    file->tensors = calloc(json_object_size(file->header) + 1, sizeof *file->tensors);
    if (!file->tensors)
        return train_fail(error, error_size, TRAIN_NOMEM, "%s: out of memory", where);
    const char *name;
    json_t *value;
    enum train_status status;
    json_object_foreach (file->header, name, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        if (!strcmp(name, "__metadata__")) {
            if (json_typeof(value) != JSON_OBJECT)
                return BAD("%s: __metadata__ is not an object", where);
            file->metadata = value;
            continue;
        }
        status = parse_tensor(where, name, value, data, data_size, &file->tensors[file->n], error,
                              error_size);
        if (status) return status;
        file->n++;
    }
    qsort(file->tensors, file->n, sizeof *file->tensors, by_place);
    const unsigned char *end = data;
    for (size_t i = 0; i < file->n; i++) {
        if (file->tensors[i].data != end)
            return BAD("%s: tensor '%.80s': expected its data at offset %zu, found %zu (a hole or "
                       "an overlap)",
                       where, file->tensors[i].name, (size_t)(end - data),
                       (size_t)(file->tensors[i].data - data));
        end += file->tensors[i].bytes;
    }
    if (end != data + data_size)
        return BAD("%s: expected the file to end at byte %zu with its last tensor, found %zu bytes",
                   where, (size_t)(end - bytes), size);
    qsort(file->tensors, file->n, sizeof *file->tensors, by_name);
    return check_seal(where, bytes, size, header_size, file, error, error_size);
}

enum train_status safetensors_parse(const char *where, const unsigned char *bytes, size_t size,
                                    struct safetensors **out, char *error, size_t error_size)
{
    *out = NULL;
    uint64_t header_size = 0;
    if (size < 8)
        return BAD("%s: expected a safetensors file of at least 8 bytes, found %zu", where, size);
    memcpy(&header_size, bytes, 8);
    if (header_size > SAFETENSORS_HEADER_LIMIT)
        return BAD("%s: expected a header of at most %u bytes, found %llu: not a safetensors file?",
                   where, SAFETENSORS_HEADER_LIMIT, (unsigned long long)header_size);
    if (header_size > size - 8)
        return BAD("%s: expected a header of %llu bytes, but the file has only %zu: truncated?",
                   where, (unsigned long long)header_size, size);
    if (!header_size || bytes[8] != '{')
        return BAD("%s: expected the header to begin with '{' at byte 8", where);
    json_error_t at;
    struct safetensors *file = calloc(1, sizeof *file);
    if (file)
        file->header =
            json_loadb((const char *)bytes + 8, (size_t)header_size, JSON_REJECT_DUPLICATES, &at);
    enum train_status status;
    if (!file) status = train_fail(error, error_size, TRAIN_NOMEM, "%s: out of memory", where);
    else if (!file->header)
        status = BAD("%s: header, byte %d: %s", where, at.position + 8, at.text);
    else status = parse_header(where, bytes, size, (size_t)header_size, file, error, error_size);
    if (status) safetensors_free(&file);
    *out = file;
    return status;
}

void safetensors_free(struct safetensors **file)
{
    if (!*file) return;
    json_decref((*file)->header);
    free((*file)->tensors);
    free(*file);
    *file = NULL;
}

const struct safetensor *safetensors_find(const struct safetensors *file, const char *name)
{
    const struct safetensor key = { .name = name };
    return file->n ? bsearch(&key, file->tensors, file->n, sizeof key, by_name) : NULL;
}

static json_t *describe(const struct safetensor *t, size_t begin)
{
    json_t *shape = json_array();
    int bad = !shape;
    for (size_t i = 0; i < t->rank; i++)
        bad |= json_array_append_new(shape, json_integer((json_int_t)t->dims[i]));
    if (!bad)
        return json_pack("{s:s, s:o, s:[I, I]}", "dtype", t->dtype, "shape", shape, "data_offsets",
                         (json_int_t)begin, (json_int_t)begin + (json_int_t)t->bytes);
    json_decref(shape);
    return NULL;
}

enum train_status safetensors_build(const struct safetensor *tensors, size_t n, json_t *metadata,
                                    unsigned char **bytes, size_t *size, char *error,
                                    size_t error_size)
{
    char zeros[SUM_DIGITS + 1];
    memset(zeros, '0', SUM_DIGITS);
    zeros[SUM_DIGITS] = 0;
    *bytes = NULL;
    json_t *header = json_object();
    int bad = !header || json_object_set_new(metadata, SAFETENSORS_SUM_KEY, json_string(zeros)) ||
              json_object_set(header, "__metadata__", metadata);
    size_t data_size = 0;
    for (size_t i = 0; i < n && !bad; i++) {
        bad = json_object_set_new(header, tensors[i].name, describe(&tensors[i], data_size));
        data_size += tensors[i].bytes;
    }
    char *text = bad ? NULL : json_dumps(header, 0);
    json_decref(header);
    size_t used = text ? strlen(text) : 0, padded = (used + 7) / 8 * 8;
    *size = 8 + padded + data_size;
    *bytes = text ? malloc(*size) : NULL;
    if (!*bytes) {
        free(text);
        return train_fail(error, error_size, TRAIN_NOMEM,
                          "out of memory for a checkpoint of %zu bytes", *size);
    }
    uint64_t header_size = padded;
    memcpy(*bytes, &header_size, 8);
    memcpy(*bytes + 8, text, used);
    memset(*bytes + 8 + used, ' ', padded - used);
    free(text);
    unsigned char *at = *bytes + 8 + padded;
    for (size_t i = 0; i < n; at += tensors[i++].bytes)
        if (tensors[i].bytes) memcpy(at, tensors[i].data, tensors[i].bytes);
    /* The metadata comes first in the header, so the first match is the key and not a string inside
     * another value: there the quotes would be escaped. */
    unsigned char *digits = memmem(*bytes + 8, padded, SUM_TEXT, strlen(SUM_TEXT));
    char sum[SUM_DIGITS + 1];
    checksum(*bytes, *size, digits + strlen(SUM_TEXT), sum);
    memcpy(digits + strlen(SUM_TEXT), sum, SUM_DIGITS);
    return TRAIN_OK;
}
