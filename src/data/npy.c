/* NPY, NumPy's format of an array, over memory: a small header in Python's syntax and the elements.
 * Images of bytes, or of floats that are bytes, and integer labels. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/parse.h"

enum { TYPE_SIZE = 16, SHAPE_TEXT = 120 };

/* An array where it lies; messages go to error. */
struct npy {
    const char *where;
    char *error;
    size_t error_size;
    size_t rank, dims[4], count;
    char type[TYPE_SIZE]; /* "<f4" */
    bool fortran;
    size_t item; /* bytes of an element */
    const uint8_t *data;
};

static enum data_status bad(const struct npy *a, const char *what)
{
    return data_fail(a->error, a->error_size, DATA_BAD, "%s: %s", a->where, what);
}

static const char *shape(const struct npy *a, char text[SHAPE_TEXT])
{
    size_t used = 0;
    for (size_t i = 0; i < a->rank; i++)
        used +=
            (size_t)snprintf(text + used, SHAPE_TEXT - used, "%s%zu", i ? ", " : "(", a->dims[i]);
    snprintf(text + used, SHAPE_TEXT - used, a->rank == 1 ? ",)" : ")");
    return a->rank ? text : "()";
}

/* ----------------------------------------------------------------------------------- the header */

/* What is left of the header's text. */
struct text {
    const char *p, *end;
};

static void skip_spaces(struct text *t)
{
    while (t->p < t->end && *t->p == ' ') t->p++;
}

/* These characters, with spaces before them. */
static bool take(struct text *t, const char *word)
{
    size_t n = strlen(word);
    skip_spaces(t);
    if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0) return false;
    t->p += n;
    return true;
}

/* 'text' or "text", shorter than size. */
static bool take_string(struct text *t, char *out, size_t size)
{
    const char *quote = take(t, "'") ? "'" : "\"";
    if (*quote == '"' && !take(t, quote)) return false;
    size_t n = 0;
    while (t->p < t->end && *t->p != *quote && n + 1 < size) out[n++] = *t->p++;
    out[n] = 0;
    return t->p < t->end && *t->p++ == *quote;
}

static bool take_number(struct text *t, size_t *out)
{
    bool any = false;
    skip_spaces(t);
    for (*out = 0; t->p < t->end && *t->p >= '0' && *t->p <= '9'; any = true)
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, (size_t)(*t->p++ - '0'), out))
            return false;
    return any;
}

/* "(3, 4)", "(3,)", "()". */
static bool take_shape(struct text *t, struct npy *a)
{
    bool comma = false;
    if (!take(t, "(")) return false;
    for (a->rank = 0; !take(t, ")"); comma = take(t, ",")) {
        if (a->rank == 4 || (a->rank && !comma)) return false;
        if (!take_number(t, &a->dims[a->rank])) return false;
        a->rank++;
    }
    return a->rank != 1 || comma;
}

/* Each of the three keys once, in any order. */
static bool take_header(struct text *t, struct npy *a)
{
    static const char *const keys[] = { "descr", "fortran_order", "shape" };
    bool seen[3] = { false };
    if (!take(t, "{")) return false;
    for (int n = 0; n < 3; n++) {
        char key[16];
        size_t k = 0;
        if (!take_string(t, key, sizeof key) || !take(t, ":")) return false;
        while (k < 3 && strcmp(key, keys[k])) k++;
        if (k == 3 || seen[k]) return false;
        seen[k] = true;
        if (k == 0 && !take_string(t, a->type, sizeof a->type)) return false;
        if (k == 1) a->fortran = take(t, "True");
        if (k == 1 && !a->fortran && !take(t, "False")) return false;
        if (k == 2 && !take_shape(t, a)) return false;
        if (!take(t, ",") && n < 2) return false;
    }
    if (!take(t, "}")) return false;
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\n')) t->p++;
    return t->p == t->end;
}

/* Bytes of an element of the types that are read: unsigned bytes, integers, float32. 0: another. */
static size_t item_size(const char *type)
{
    static const char *const types[] = { "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4" };
    if (!*type || !strchr("<>|=", *type)) return 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(type + 1, types[i])) return (size_t)(type[2] - '0');
    return 0;
}

static enum data_status open_npy(struct npy *a, struct data_bytes file)
{
    const uint8_t *b = file.bytes;
    char text[SHAPE_TEXT];
    if (file.size < 10 || memcmp(b, "\x93NUMPY", 6) != 0)
        return bad(a, "not an NPY file: expected \\x93NUMPY at its beginning");
    if (b[6] < 1 || b[6] > 3 || b[7])
        return data_fail(a->error, a->error_size, DATA_BAD,
                         "%s: version %u.%u of NPY, expected 1.0, 2.0 or 3.0", a->where, b[6],
                         b[7]);
    size_t begin = b[6] == 1 ? 10 : 12, length = (size_t)b[8] | (size_t)b[9] << 8;
    if (begin == 12 && file.size >= 12) length |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    if (file.size < begin || length > file.size - begin) return bad(a, "cut off in the header");
    struct text t = { (const char *)b + begin, (const char *)b + begin + length };
    if (!take_header(&t, a))
        return data_fail(a->error, a->error_size, DATA_BAD,
                         "%s: the header is not {'descr': TYPE, 'fortran_order': False, 'shape': "
                         "(N, ...)} of at most 4 dimensions, from byte %zu on",
                         a->where, (size_t)(t.p - (const char *)b));
    if (a->fortran) return bad(a, "in Fortran's order: save it as numpy.ascontiguousarray(x)");
    a->item = item_size(a->type);
    if (!a->item)
        return data_fail(a->error, a->error_size, DATA_BAD,
                         "%s: elements are '%s', expected uint8 or float32 images, integer labels",
                         a->where, a->type);
    a->data = b + begin + length;
    size_t left = file.size - begin - length, bytes = a->item;
    bool large = false;
    for (size_t i = 0; i < a->rank; i++) large |= __builtin_mul_overflow(bytes, a->dims[i], &bytes);
    a->count = bytes / a->item;
    if (large || bytes != left)
        return data_fail(a->error, a->error_size, DATA_BAD,
                         "%s: %zu bytes of elements, %s elements of shape %s are not so many",
                         a->where, left, a->type, shape(a, text));
    if (!a->rank || !bytes)
        return data_fail(a->error, a->error_size, DATA_BAD, "%s: of shape %s: nothing is in it",
                         a->where, shape(a, text));
    return DATA_OK;
}

/* --------------------------------------------------------------------------------- the elements */

/* Element i as 64 bits, its sign extended. */
static uint64_t element(const struct npy *a, size_t i)
{
    const uint8_t *p = a->data + i * a->item;
    uint64_t word = 0;
    for (size_t k = 0; k < a->item; k++)
        word |= (uint64_t)p[a->type[0] == '>' ? a->item - 1 - k : k] << 8 * k;
    if (a->type[1] == 'i' && a->item < 8 && word >> (8 * a->item - 1))
        word |= ~(uint64_t)0 << 8 * a->item;
    return word;
}

static float real(const struct npy *a, size_t i)
{
    uint32_t word = (uint32_t)element(a, i);
    float x;
    memcpy(&x, &word, sizeof x);
    return x;
}

/* Bytes as they are. Floats that are all whole numbers from 0 to 255, or, if none is above 1, such
 * numbers / 255. */
static enum data_status take_bytes(const struct npy *a, uint8_t *out)
{
    const bool bytes = a->type[1] == 'u' && a->item == 1;
    float scale = 255;
    if (bytes) memcpy(out, a->data, a->count);
    for (size_t i = 0; !bytes && i < a->count; i++)
        if (real(a, i) > 1) scale = 1;
    for (size_t i = 0; !bytes && i < a->count; i++) {
        float x = real(a, i) * scale, whole = rintf(x);
        if (!(whole >= 0 && whole <= 255 && fabsf(x - whole) <= (scale > 1 ? 1e-4F : 0)))
            return data_fail(a->error, a->error_size, DATA_BAD,
                             "%s: element %zu is %.9g: floats have to be whole numbers from 0 to "
                             "255, or all of them such numbers / 255",
                             a->where, i, (double)real(a, i));
        out[i] = (uint8_t)whole;
    }
    return DATA_OK;
}

/* [n][h][w][c] to [n][c][h][w]. */
static void channels_first(const uint8_t *from, const struct data_images *s, uint8_t *to)
{
    for (size_t i = 0; i < s->n; i++)
        for (size_t c = 0; c < s->c; c++)
            for (size_t p = 0; p < s->h * s->w; p++) *to++ = from[(i * s->h * s->w + p) * s->c + c];
}

enum data_status data_parse_npy_images(const char *where, struct data_bytes file, bool nhwc,
                                       struct data_images *out, char *error, size_t error_size)
{
    struct npy a = { .where = where, .error = error, .error_size = error_size };
    char text[SHAPE_TEXT];
    *out = (struct data_images){ .n = 0 };
    enum data_status status = open_npy(&a, file);
    if (status) return status;
    if (strcmp(a.type + 1, "u1") && strcmp(a.type + 1, "f4"))
        return data_fail(error, error_size, DATA_BAD,
                         "%s: elements are '%s', expected images of uint8 or float32", where,
                         a.type);
    if (a.rank < 3)
        return data_fail(error, error_size, DATA_BAD, "%s: of shape %s, expected (N, H, W) or %s",
                         where, shape(&a, text), nhwc ? "(N, H, W, C)" : "(N, C, H, W)");
    const size_t *d = a.dims;
    *out = (struct data_images){ d[0], 1, d[1], d[2], malloc(a.count) };
    if (a.rank == 4 && nhwc) out->c = d[3];
    if (a.rank == 4 && !nhwc) *out = (struct data_images){ d[0], d[1], d[2], d[3], out->bytes };
    uint8_t *last = nhwc && out->c > 1 ? malloc(a.count) : NULL;
    if (!out->bytes || (nhwc && out->c > 1 && !last))
        status = data_fail(error, error_size, DATA_NOMEM, "%s: out of memory for %zu bytes", where,
                           a.count);
    if (!status) status = take_bytes(&a, last ? last : out->bytes);
    if (!status && last) channels_first(last, out, out->bytes);
    free(last);
    if (status) {
        free(out->bytes);
        out->bytes = NULL;
    }
    return status;
}

enum data_status data_parse_npy_labels(const char *where, struct data_bytes file, size_t *n,
                                       uint8_t **labels, char *error, size_t error_size)
{
    struct npy a = { .where = where, .error = error, .error_size = error_size };
    char text[SHAPE_TEXT];
    *labels = NULL;
    *n = 0;
    enum data_status status = open_npy(&a, file);
    if (status) return status;
    if (a.type[1] == 'f')
        return data_fail(error, error_size, DATA_BAD,
                         "%s: elements are '%s', expected labels that are integers", where, a.type);
    if (a.rank > 2 || (a.rank == 2 && a.dims[1] != 1))
        return data_fail(error, error_size, DATA_BAD, "%s: of shape %s, expected (N,) or (N, 1)",
                         where, shape(&a, text));
    for (size_t i = 0; i < a.count; i++)
        if (element(&a, i) > 255)
            return data_fail(error, error_size, DATA_BAD,
                             a.type[1] == 'u' ? "%s: label %zu is %" PRIu64 ", expected 0 to 255"
                                              : "%s: label %zu is %" PRId64 ", expected 0 to 255",
                             where, i, element(&a, i));
    *labels = malloc(a.count);
    if (!*labels)
        return data_fail(error, error_size, DATA_NOMEM, "%s: out of memory for %zu labels", where,
                         a.count);
    *n = a.count;
    for (size_t i = 0; i < a.count; i++) (*labels)[i] = (uint8_t)element(&a, i);
    return DATA_OK;
}
