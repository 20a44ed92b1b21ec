/* Encoding of events: four messages are less than a library for them. */
#include "report/events.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct events {
    FILE *out;
    char path[PATH_MAX];
    int error;          /* the first errno; 0: none */
    off_t given, whole; /* bytes: all so far, and those of whole events that lie in the file */
    uint32_t crc[256];
};

/* A message that grows; no memory leaves `bytes` NULL. */
struct message {
    unsigned char *bytes;
    size_t n, room;
};

static void put(struct message *m, const void *bytes, size_t n)
{
    if (m->n + n > m->room) {
        const size_t room = 2 * (m->n + n) + 64;
        unsigned char *grown = m->room && !m->bytes ? NULL : realloc(m->bytes, room);
        if (!grown) free(m->bytes);
        m->bytes = grown;
        m->room = room;
    }
    if (m->bytes) memcpy(m->bytes + m->n, bytes, n);
    m->n += n;
}

/* ----------------------------------------------------------------------------- protocol buffers */

enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void put_varint(struct message *m, uint64_t v)
{
    unsigned char bytes[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) bytes[n++] = (unsigned char)(v | 0x80);
    bytes[n++] = (unsigned char)v;
    put(m, bytes, n);
}

static void put_tag(struct message *m, unsigned field, enum wire wire)
{
    put_varint(m, field << 3 | (unsigned)wire);
}

static void put_count(struct message *m, unsigned field, uint64_t v)
{
    put_tag(m, field, VARINT);
    put_varint(m, v);
}

/* Little endian, as the machine is. */
static void put_double(struct message *m, unsigned field, double v)
{
    put_tag(m, field, FIXED64);
    put(m, &v, sizeof v);
}

static void put_bytes(struct message *m, unsigned field, const void *bytes, size_t n)
{
    put_tag(m, field, BYTES);
    put_varint(m, n);
    put(m, bytes, n);
}

/* Ends the inner message. */
static void put_message(struct message *m, unsigned field, struct message *inner)
{
    if (!inner->n || inner->bytes)
        put_bytes(m, field, inner->bytes ? (void *)inner->bytes : "", inner->n);
    else { /* no memory for the part is none for the whole */ free(m->bytes);
        *m = (struct message){ .n = 1, .room = SIZE_MAX };
    }
    free(inner->bytes);
}

/* -------------------------------------------------------------------------------------- records */

static void make_table(uint32_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        table[i] = crc;
    }
}

/* CRC32C, turned and moved so that a checksum of data with checksums in it is none of their own. */
static uint32_t checksum(const struct events *e, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) crc = crc >> 8 ^ e->crc[(crc ^ at[i]) & 255];
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static void write_bytes(struct events *e, const void *bytes, size_t n)
{
    if (!e->error && fwrite(bytes, 1, n, e->out) != n) e->error = errno ? errno : EIO;
    e->given += (off_t)n;
}

/* Ends the event, which has its kind already. */
static void write_event(struct events *e, struct message *m)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    put_double(m, 1, (double)t.tv_sec + 1e-9 * (double)t.tv_nsec);
    if (!m->bytes && !e->error) e->error = ENOMEM;
    if (m->bytes) {
        const uint64_t length = m->n;
        const uint32_t of_length = checksum(e, &length, sizeof length),
                       of_data = checksum(e, m->bytes, m->n);
        write_bytes(e, &length, sizeof length);
        write_bytes(e, &of_length, sizeof of_length);
        write_bytes(e, m->bytes, m->n);
        write_bytes(e, &of_data, sizeof of_data);
    }
    free(m->bytes);
}

/* An Event of one Summary.Value, which the caller has begun with what it is. */
static void write_value(struct events *e, uint64_t step, const char *tag, struct message *value)
{
    struct message summary = { 0 }, event = { 0 };
    put_bytes(value, 1, tag, strlen(tag));
    put_message(&summary, 1, value);
    put_count(&event, 2, step);
    put_message(&event, 5, &summary);
    write_event(e, &event);
}

/* ------------------------------------------------------------------------------------- events */

struct events *events_open(const char *directory, char *error, size_t error_size)
{
    static const char version[] = "brain.Event:2";
    char host[65] = "";
    struct message event = { 0 };
    struct events *e = calloc(1, sizeof *e);
    if (!e) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    make_table(e->crc);
    if (gethostname(host, sizeof host - 1) || !*host) strcpy(host, "localhost");
    /* "x": a file that another process of that second has is not this one's */
    if (snprintf(e->path, sizeof e->path, "%s/events.out.tfevents.%lld.%s.%ld", directory,
                 (long long)time(NULL), host, (long)getpid()) >= (int)sizeof e->path)
        errno = ENAMETOOLONG;
    else e->out = fopen(e->path, "wx");
    if (!e->out) {
        snprintf(error, error_size, "%s: cannot write: %s", e->path, strerror(errno));
        free(e);
        return NULL;
    }
    put_bytes(&event, 3, version, sizeof version - 1);
    write_event(e, &event);
    return e;
}

void events_scalar(struct events *e, uint64_t step, const char *tag, double value)
{
    struct message m = { 0 };
    const float v = (float)value;
    put_tag(&m, 2, FIXED32);
    put(&m, &v, sizeof v);
    write_value(e, step, tag, &m);
}

enum { BUCKETS = 64 };

void events_histogram(struct events *e, uint64_t step, const char *tag, const float *values,
                      size_t n)
{
    double low = INFINITY, high = -INFINITY, sum = 0, squares = 0, limit[BUCKETS],
           count[BUCKETS] = { 0 }, all = 0;
    for (size_t i = 0; i < n; i++) {
        const double v = (double)values[i];
        if (!isfinite(v)) continue;
        low = fmin(low, v);
        high = fmax(high, v);
        sum += v;
        squares += v * v;
        all++;
    }
    if (all == 0) return;
    const size_t buckets = high > low ? BUCKETS : 1;
    for (size_t b = 0; b < buckets; b++)
        limit[b] = b + 1 == buckets ? high : low + (high - low) * (double)(b + 1) / BUCKETS;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) continue;
        size_t b = buckets > 1 ? (size_t)(((double)values[i] - low) / (high - low) * BUCKETS) : 0;
        count[b < buckets ? b : buckets - 1]++;
    }
    struct message histogram = { 0 }, value = { 0 };
    put_double(&histogram, 1, low);
    put_double(&histogram, 2, high);
    put_double(&histogram, 3, all);
    put_double(&histogram, 4, sum);
    put_double(&histogram, 5, squares);
    put_bytes(&histogram, 6, limit, buckets * sizeof *limit);
    put_bytes(&histogram, 7, count, buckets * sizeof *count);
    put_message(&value, 5, &histogram);
    write_value(e, step, tag, &value);
}

/* A number of a PNG's head. */
static uint64_t number_at(const unsigned char *png, size_t at)
{
    uint64_t n = 0;
    for (size_t i = 0; i < 4; i++) n = n << 8 | png[at + i];
    return n;
}

void events_png(struct events *e, uint64_t step, const char *tag, const unsigned char *png,
                size_t size)
{
    enum { WIDTH = 16, HEIGHT = 20, KIND = 25, RGB = 3, RGBA = 4, WITH_ALPHA = 6 };
    struct message image = { 0 }, value = { 0 };
    put_count(&image, 1, number_at(png, HEIGHT));
    put_count(&image, 2, number_at(png, WIDTH));
    put_count(&image, 3, png[KIND] == WITH_ALPHA ? RGBA : RGB);
    put_bytes(&image, 4, png, size);
    put_message(&value, 4, &image);
    write_value(e, step, tag, &value);
}

void events_flush(struct events *e)
{
    if (fflush(e->out) && !e->error) e->error = errno;
    if (!e->error) e->whole = e->given;
}

bool events_close(struct events *e, char *error, size_t error_size)
{
    if (!e) return true;
    if (fclose(e->out) && !e->error) e->error = errno;
    const bool good = !e->error;
    /* what was written of an event before the disk was full; it has been told that it is wrong */
    if (!good && truncate(e->path, e->whole)) unlink(e->path);
    if (!good) snprintf(error, error_size, "%s: cannot write: %s", e->path, strerror(e->error));
    free(e);
    return good;
}
