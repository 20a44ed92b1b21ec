/* IDX (MNIST's format) and CIFAR's binary formats over memory, plain or gzip. Sizes are checked
 * against the bytes that are there before anything is allocated; a decompression bomb costs at most
 * the declared size plus one byte. */
#include "data/parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum data_status data_fail(char *error, size_t size, enum data_status status, const char *format,
                           ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, size, format, args);
    va_end(args);
    return status;
}

/* A source of bytes: memory itself, or inflate over it. */
struct source {
    const uint8_t *bytes;
    size_t size;
    bool gzip, ended, starved; /* starved: zlib has no memory */
    z_stream z;
};

static bool begins_gzip(const uint8_t *bytes, size_t size)
{
    return size >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

static bool source_open(struct source *s, const uint8_t *bytes, size_t size)
{
    *s = (struct source){ .bytes = bytes, .size = size, .gzip = begins_gzip(bytes, size) };
    if (!s->gzip) return true;
    s->z.next_in = (Bytef *)(uintptr_t)bytes;
    s->z.avail_in = size > UINT32_MAX ? UINT32_MAX : (uInt)size;
    return inflateInit2(&s->z, 15 + 16) == Z_OK;
}

static void source_close(struct source *s)
{
    inflateEnd(&s->z); /* nothing, if it is memory itself */
}

/* Concatenated members are one stream. */
static void source_member_ends(struct source *s)
{
    s->ended = !begins_gzip(s->z.next_in, s->z.avail_in);
    if (!s->ended) inflateReset(&s->z);
}

/* What to say when inflate fails: zlib explains corrupt data, not a want of memory. */
static const char *source_trouble(struct source *s, int result)
{
    s->starved = result == Z_MEM_ERROR;
    return s->starved ? "out of memory" : s->z.msg;
}

/* Reads exactly n bytes: 1 ok, 0 the stream ends before, -1 corrupt or out of memory. */
static int source_read(struct source *s, uint8_t *to, size_t n, const char **why)
{
    if (!s->gzip) {
        if (n > s->size) return 0;
        memcpy(to, s->bytes, n);
        s->bytes += n;
        s->size -= n;
        return 1;
    }
    while (n) {
        if (s->ended) return 0;
        s->z.next_out = to;
        s->z.avail_out = n > 1u << 30 ? 1u << 30 : (uInt)n;
        size_t asked = s->z.avail_out;
        int r = inflate(&s->z, Z_NO_FLUSH);
        size_t got = asked - s->z.avail_out;
        to += got;
        n -= got;
        if (r == Z_STREAM_END) {
            source_member_ends(s);
        } else if (r == Z_BUF_ERROR) {
            return 0;
        } else if (r != Z_OK) {
            *why = source_trouble(s, r);
            return -1;
        }
    }
    return 1;
}

/* After the declared bytes nothing may follow; a gzip stream's checksum must hold. */
static enum data_status source_finish(struct source *s, const char *where, char *error,
                                      size_t error_size)
{
    uint8_t extra;
    if (!s->gzip) {
        if (s->size)
            return data_fail(error, error_size, DATA_BAD, "%s: %zu bytes follow the declared data",
                             where, s->size);
        return DATA_OK;
    }
    while (!s->ended) {
        s->z.next_out = &extra;
        s->z.avail_out = 1;
        int r = inflate(&s->z, Z_NO_FLUSH);
        if (s->z.avail_out == 0)
            return data_fail(error, error_size, DATA_BAD, "%s: more data than its header declares",
                             where);
        if (r == Z_STREAM_END) {
            source_member_ends(s);
        } else if (r == Z_BUF_ERROR) {
            return data_fail(error, error_size, DATA_BAD,
                             "%s: the gzip stream is cut off before its checksum", where);
        } else if (r != Z_OK) {
            const char *why = source_trouble(s, r);
            return data_fail(error, error_size, s->starved ? DATA_NOMEM : DATA_BAD, "%s: %s", where,
                             why);
        }
    }
    if (s->z.avail_in)
        return data_fail(error, error_size, DATA_BAD,
                         "%s: %u bytes of garbage follow the gzip stream", where, s->z.avail_in);
    return DATA_OK;
}

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* An IDX file of unsigned bytes, while it is read. */
struct idx {
    struct source source;
    unsigned rank;
    size_t total; /* bytes that its header declares */
    const char *where;
    char *error;
    size_t error_size;
};

static enum data_status read_head(struct idx *f, size_t dims[3])
{
    uint8_t head[16];
    const char *why = "";
    int r = source_read(&f->source, head, 4 + 4 * f->rank, &why);
    if (r <= 0)
        return data_fail(f->error, f->error_size, f->source.starved ? DATA_NOMEM : DATA_BAD,
                         r < 0 ? "%s: %s" : "%s: shorter than an IDX header%s", f->where, why);
    if (head[0] || head[1] || head[2] != 8 || head[3] != f->rank)
        return data_fail(f->error, f->error_size, DATA_BAD,
                         "%s: magic number is %02x%02x%02x%02x, expected 000008%02x (IDX, "
                         "unsigned bytes, rank %u: %s)",
                         f->where, head[0], head[1], head[2], head[3], f->rank, f->rank,
                         f->rank == 3 ? "images" : "labels");
    f->total = 1;
    for (unsigned i = 0; i < f->rank; i++) {
        dims[i] = big_endian(head + 4 + (size_t)4 * i);
        if (!dims[i] || __builtin_mul_overflow(f->total, dims[i], &f->total) ||
            f->total > (size_t)1 << 36)
            return data_fail(f->error, f->error_size, DATA_BAD,
                             "%s: dimension %u is %zu, sizes do not make sense", f->where, i,
                             dims[i]);
    }
    return DATA_OK;
}

/* All that the header declares, and nothing behind it, of a file of `size` bytes. */
static enum data_status read_content(struct idx *f, size_t size, uint8_t **out)
{
    const char *why = "";
    /* Deflate shrinks by at most 1032:1, so the file bounds what it can hold. */
    size_t most = f->source.size;
    if (f->source.gzip) most = size * 1040; /* addresses have 48 bits: no overflow */
    if (f->total > most)
        return data_fail(f->error, f->error_size, DATA_BAD,
                         "%s: the header declares %zu bytes, the file holds at most %zu", f->where,
                         f->total, most);
    *out = malloc(f->total);
    if (!*out)
        return data_fail(f->error, f->error_size, DATA_NOMEM, "%s: out of memory for %zu bytes",
                         f->where, f->total);
    int r = source_read(&f->source, *out, f->total, &why);
    if (r > 0) return source_finish(&f->source, f->where, f->error, f->error_size);
    return data_fail(f->error, f->error_size, f->source.starved ? DATA_NOMEM : DATA_BAD,
                     r < 0 ? "%s: %s" : "%s: ends before the %s%zu bytes that its header declares",
                     f->where, why, f->total);
}

/* Reads dims[rank] and the content. */
static enum data_status parse_idx(struct idx *f, const uint8_t *bytes, size_t size, size_t dims[3],
                                  uint8_t **out)
{
    *out = NULL;
    if (!source_open(&f->source, bytes, size))
        return data_fail(f->error, f->error_size, DATA_NOMEM, "%s: out of memory", f->where);
    enum data_status status = read_head(f, dims);
    if (!status) status = read_content(f, size, out);
    if (status) {
        free(*out);
        *out = NULL;
    }
    source_close(&f->source);
    return status;
}

enum data_status data_parse_idx_images(const char *where, const uint8_t *bytes, size_t size,
                                       size_t dims[3], uint8_t **images, char *error,
                                       size_t error_size)
{
    dims[0] = dims[1] = dims[2] = 0;
    struct idx f = { .rank = 3, .where = where, .error = error, .error_size = error_size };
    return parse_idx(&f, bytes, size, dims, images);
}

static enum data_status check_labels(const char *where, const uint8_t *labels, size_t n,
                                     size_t stride, size_t classes, char *error, size_t error_size)
{
    for (size_t i = 0; i < n; i++) {
        if (labels[i * stride] >= classes)
            return data_fail(error, error_size, DATA_BAD, "%s: label %zu is %u, expected 0 to %zu",
                             where, i, labels[i * stride], classes - 1);
    }
    return DATA_OK;
}

enum data_status data_parse_idx_labels(const char *where, const uint8_t *bytes, size_t size,
                                       size_t classes, size_t *n, uint8_t **labels, char *error,
                                       size_t error_size)
{
    size_t dims[3] = { 0 };
    struct idx f = { .rank = 1, .where = where, .error = error, .error_size = error_size };
    enum data_status status = parse_idx(&f, bytes, size, dims, labels);
    *n = dims[0];
    if (status == DATA_OK) status = check_labels(where, *labels, *n, 1, classes, error, error_size);
    if (status != DATA_OK) {
        free(*labels);
        *labels = NULL;
    }
    return status;
}

#define CIFAR_PIXELS 3072

const struct data_cifar data_cifar10 = { "CIFAR-10", " (CIFAR-100 has 3074)", 1, 0, 10 },
                        data_cifar100 = { "CIFAR-100", " (CIFAR-10 has 3073)", 2, 1, 100 },
                        data_cifar100_coarse = { "CIFAR-100", " (CIFAR-10 has 3073)", 2, 0, 20 };

enum data_status data_parse_cifar(const char *where, struct data_bytes file,
                                  const struct data_cifar *format, struct data_split *out,
                                  char *error, size_t error_size)
{
    const size_t record = format->labels + CIFAR_PIXELS, n = file.size / record;
    const size_t other = CIFAR_PIXELS + 3 - format->labels;
    *out = (struct data_split){ .n = n };
    if (begins_gzip(file.bytes, file.size))
        return data_fail(error, error_size, DATA_BAD,
                         "%s: this is a gzip file; unpack the binary archive first", where);
    if (!file.size || file.size % record)
        return data_fail(error, error_size, DATA_BAD,
                         "%s: %zu bytes are not a whole number of %zu-byte %s records%s", where,
                         file.size, record, format->name,
                         file.size && file.size % other == 0 ? format->otherwise : "");
    enum data_status status = check_labels(where, file.bytes + format->label, n, record,
                                           format->classes, error, error_size);
    if (status != DATA_OK) return status;
    out->images = malloc(n * CIFAR_PIXELS);
    out->labels = malloc(n);
    if (!out->images || !out->labels) {
        free(out->images);
        free(out->labels);
        *out = (struct data_split){ .n = n };
        return data_fail(error, error_size, DATA_NOMEM, "%s: out of memory for %zu images", where,
                         n);
    }
    for (size_t i = 0; i < n; i++) {
        const uint8_t *from = file.bytes + i * record;
        out->labels[i] = from[format->label];
        memcpy(out->images + i * CIFAR_PIXELS, from + format->labels, CIFAR_PIXELS);
    }
    return DATA_OK;
}
