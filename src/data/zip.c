/* ZIP archives as NumPy writes them (NPZ) over memory: members are found through the directory at
 * the archive's end, are stored or deflated, and have to match their checksum. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "data/parse.h"

enum { END_SIZE = 22, ENTRY_SIZE = 46, LOCAL_SIZE = 30, STORED = 0, DEFLATED = 8 };

static size_t two(const uint8_t *p) { return (size_t)p[0] | (size_t)p[1] << 8; }
static size_t four(const uint8_t *p) { return two(p) | two(p + 2) << 16; }

struct zip {
    const char *where;
    struct data_bytes file;
    char *error;
    size_t error_size;
};

static enum data_status bad(const struct zip *z, const char *what)
{
    return data_fail(z->error, z->error_size, DATA_BAD, "%s: %s", z->where, what);
}

/* The record that ends the archive, behind which is a comment of the length that it says; NULL:
 * there is none. */
static const uint8_t *find_end(struct data_bytes f)
{
    for (size_t comment = 0; comment <= 65535 && comment + END_SIZE <= f.size; comment++) {
        const uint8_t *p = f.bytes + f.size - END_SIZE - comment;
        if (memcmp(p, "PK\5\6", 4) == 0 && two(p + 20) == comment) return p;
    }
    return NULL;
}

/* An entry of the directory. */
struct entry {
    const char *name;
    size_t name_size, flags, method, crc, packed, size, at;
};

/* Inflates to exactly its size, from exactly what is packed. */
static enum data_status unpack(const struct zip *z, const struct entry *e, const uint8_t *from,
                               uint8_t *to)
{
    z_stream s = { .next_in = (Bytef *)(uintptr_t)from,
                   .avail_in = (uInt)e->packed,
                   .next_out = to,
                   .avail_out = (uInt)e->size };
    if (inflateInit2(&s, -15) != Z_OK)
        return data_fail(z->error, z->error_size, DATA_NOMEM, "%s: out of memory", z->where);
    int result = inflate(&s, Z_FINISH);
    bool whole = result == Z_STREAM_END && !s.avail_in && !s.avail_out;
    inflateEnd(&s);
    if (result == Z_MEM_ERROR)
        return data_fail(z->error, z->error_size, DATA_NOMEM, "%s: out of memory", z->where);
    if (whole) return DATA_OK;
    return data_fail(z->error, z->error_size, DATA_BAD,
                     "%s: %.*s: what is packed is not the %zu bytes that the directory declares",
                     z->where, (int)e->name_size, e->name, e->size);
}

static enum data_status extract(const struct zip *z, const struct entry *e, uint8_t **out)
{
    const int length = (int)e->name_size;
    if (e->flags & 1)
        return data_fail(z->error, z->error_size, DATA_BAD, "%s: %.*s is encrypted", z->where,
                         length, e->name);
    if (e->method != STORED && e->method != DEFLATED)
        return data_fail(z->error, z->error_size, DATA_BAD,
                         "%s: %.*s: packed by method %zu, expected 0 (stored) or 8 (deflated)",
                         z->where, length, e->name, e->method);
    if (e->packed == UINT32_MAX || e->size == UINT32_MAX || e->at == UINT32_MAX)
        return data_fail(z->error, z->error_size, DATA_BAD,
                         "%s: %.*s: 4 GiB or more: save the arrays as .npy files in a directory",
                         z->where, length, e->name);
    const uint8_t *local = z->file.bytes + e->at;
    if (e->at > z->file.size || z->file.size - e->at < LOCAL_SIZE ||
        memcmp(local, "PK\3\4", 4) != 0)
        return bad(z, "a member is not where the archive's directory says");
    const size_t head = LOCAL_SIZE + two(local + 26) + two(local + 28), left = z->file.size - e->at;
    if (head > left || two(local + 26) != e->name_size ||
        memcmp(local + LOCAL_SIZE, e->name, e->name_size) != 0)
        return bad(z, "a member is not where the archive's directory says");
    if (e->packed > left - head) return bad(z, "a member is longer than the archive");
    if (e->method == STORED ? e->packed != e->size : e->size / 1040 > e->packed)
        return data_fail(z->error, z->error_size, DATA_BAD,
                         "%s: %.*s: %zu bytes cannot hold the %zu that the directory declares",
                         z->where, length, e->name, e->packed, e->size);
    *out = malloc(e->size + 1);
    if (!*out)
        return data_fail(z->error, z->error_size, DATA_NOMEM, "%s: out of memory for %zu bytes",
                         z->where, e->size);
    enum data_status status = DATA_OK;
    if (e->method == STORED) memcpy(*out, local + head, e->size);
    else status = unpack(z, e, local + head, *out);
    if (!status && crc32(0, *out, (uInt)e->size) != e->crc)
        status = data_fail(z->error, z->error_size, DATA_BAD, "%s: %.*s: the checksum is wrong",
                           z->where, length, e->name);
    return status;
}

enum data_status data_zip_member(const char *where, struct data_bytes file, const char *name,
                                 struct data_bytes *out, char *error, size_t error_size)
{
    const struct zip z = { where, file, error, error_size };
    const uint8_t *end = find_end(file);
    *out = (struct data_bytes){ NULL, 0 };
    if (!end) return bad(&z, "not a ZIP archive, or cut off: its directory is not at its end");
    size_t at = four(end + 16), left = four(end + 12);
    if (at == UINT32_MAX || left == UINT32_MAX)
        return bad(&z, "4 GiB or more: save the arrays as .npy files in a directory");
    if (at > (size_t)(end - file.bytes) || left > (size_t)(end - file.bytes) - at)
        return bad(&z, "the archive's directory is not where its end says");
    for (const uint8_t *p = file.bytes + at; left;) {
        if (left < ENTRY_SIZE || memcmp(p, "PK\1\2", 4) != 0)
            return bad(&z, "the archive's directory is damaged");
        const struct entry e = { (const char *)p + ENTRY_SIZE,
                                 two(p + 28),
                                 two(p + 8),
                                 two(p + 10),
                                 four(p + 16),
                                 four(p + 20),
                                 four(p + 24),
                                 four(p + 42) };
        const size_t size = ENTRY_SIZE + e.name_size + two(p + 30) + two(p + 32);
        if (size > left) return bad(&z, "the archive's directory is damaged");
        if (e.name_size == strlen(name) && memcmp(e.name, name, e.name_size) == 0) {
            uint8_t *bytes = NULL;
            enum data_status status = extract(&z, &e, &bytes);
            if (!status) *out = (struct data_bytes){ bytes, e.size };
            else free(bytes);
            return status;
        }
        p += size;
        left -= size;
    }
    return data_fail(error, error_size, DATA_NOT_FOUND, "%s: there is no %s in it", where, name);
}
