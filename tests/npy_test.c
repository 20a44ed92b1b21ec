/* NumPy's arrays and archives of them: what is read, what is refused and in which words; every
 * truncation and every flipped bit; whole sets as directories and archives. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>

#include "data/data.h"

static char error[512];

struct buffer {
    size_t size;
    uint8_t bytes[8192];
};

static void put(struct buffer *b, const void *bytes, size_t n)
{
    assert_true(b->size + n <= sizeof b->bytes);
    memcpy(b->bytes + b->size, bytes, n);
    b->size += n;
}

static void put_number(struct buffer *b, uint64_t number, size_t n)
{
    for (size_t i = 0; i < n; i++) put(b, &(uint8_t){ (uint8_t)(i < 8 ? number >> 8 * i : 0) }, 1);
}

/* A file with this text as its header, as NumPy pads it. */
static void start(struct buffer *b, uint8_t version, const char *header)
{
    const size_t length = strlen(header), head = version == 1 ? 10 : 12,
                 all = (head + length + 1 + 63) / 64 * 64 - head;
    b->size = 0;
    put(b, "\x93NUMPY", 6);
    put_number(b, version, 2);
    put_number(b, all, head - 8);
    put(b, header, length);
    while (b->size < head + all - 1) put(b, " ", 1);
    put(b, "\n", 1);
}

static void start_array(struct buffer *b, const char *type, const char *shape)
{
    char header[200];
    snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", type,
             shape);
    start(b, 1, header);
}

/* From a block of exactly its size, so that the address sanitizer sees any read beyond it. */
static struct data_bytes exact(const struct buffer *b, size_t size)
{
    uint8_t *bytes = malloc(size ? size : 1);
    memcpy(bytes, b->bytes, size);
    return (struct data_bytes){ bytes, size };
}

static enum data_status images_of(const struct buffer *b, size_t size, bool nhwc,
                                  struct data_images *out)
{
    struct data_bytes file = exact(b, size);
    *error = 0;
    enum data_status status = data_parse_npy_images("f", file, nhwc, out, error, sizeof error);
    assert_int_equal(status == DATA_OK, out->bytes != NULL);
    assert_int_equal(status == DATA_OK, *error == 0);
    free((void *)(uintptr_t)file.bytes);
    return status;
}

static enum data_status labels_of(const struct buffer *b, size_t *n, uint8_t **labels)
{
    struct data_bytes file = exact(b, b->size);
    *error = 0;
    enum data_status status = data_parse_npy_labels("f", file, n, labels, error, sizeof error);
    assert_int_equal(status == DATA_OK, *labels != NULL);
    free((void *)(uintptr_t)file.bytes);
    return status;
}

static void refused(const struct buffer *b, const char *words)
{
    struct data_images out;
    assert_int_equal(images_of(b, b->size, false, &out), DATA_BAD);
    if (!strstr(error, words)) fail_msg("'%s' does not say '%s'", error, words);
}

/* ------------------------------------------------------------------------------------ the tests */

static void images_in_every_form(void **state)
{
    (void)state;
    static const struct {
        const char *shape;
        bool nhwc;
        size_t c, h, w;
    } forms[] = { { "(2, 3, 4)", false, 1, 3, 4 },
                  { "(2, 3, 4)", true, 1, 3, 4 },
                  { "(2, 2, 3, 4)", false, 2, 3, 4 },
                  { "(2, 3, 4, 2)", true, 2, 3, 4 },
                  { "(2, 3, 4, 1)", true, 1, 3, 4 } };
    static const char *const types[] = { "|u1", "<f4", ">f4", "<f4", "<f4" };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            const size_t c = forms[i].c, pixels = forms[i].h * forms[i].w, n = 2 * c * pixels;
            struct buffer b;
            struct data_images out;
            start_array(&b, types[t], forms[i].shape);
            for (size_t k = 0; k < n; k++) {
                float x = (float)(k * 5);
                if (t == 3) x = x / 255; /* as most programs do */
                if (t == 4) x = x * (1.0F / 255);
                uint32_t word;
                memcpy(&word, &x, sizeof word);
                if (t == 2) word = __builtin_bswap32(word);
                if (t) put_number(&b, word, 4);
                else put_number(&b, k * 5, 1);
            }
            if (images_of(&b, b.size, forms[i].nhwc, &out)) fail_msg("%s", error);
            assert_true(out.n == 2 && out.c == c && out.h == forms[i].h && out.w == forms[i].w);
            for (size_t k = 0; k < n; k++) {
                size_t image = k / (c * pixels), channel = k / pixels % c, p = k % pixels,
                       from = forms[i].nhwc ? (image * pixels + p) * c + channel : k;
                assert_int_equal(out.bytes[k], from * 5);
            }
            free(out.bytes);
            for (size_t size = 0; size < b.size; size++)
                assert_int_equal(images_of(&b, size, forms[i].nhwc, &out), DATA_BAD);
            put(&b, "x", 1);
            refused(&b, "are not so many");
        }
}

static void labels_of_every_type(void **state)
{
    (void)state;
    static const char *const types[] = { "|u1", "|i1", "<u2", "<i2", "<u4", "<i4",
                                         "<u8", "<i8", ">i2", ">u4", ">i8" };
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        const size_t item = (size_t)(types[t][2] - '0');
        for (int column = 0; column < 2; column++) {
            struct buffer b;
            size_t n;
            uint8_t *labels;
            start_array(&b, types[t], column ? "(5, 1)" : "(5,)");
            for (uint64_t k = 0; k < 5; k++) {
                uint64_t word = k * 31;
                put_number(&b,
                           types[t][0] == '>' ? __builtin_bswap64(word) >> (64 - 8 * item) : word,
                           item);
            }
            if (labels_of(&b, &n, &labels)) fail_msg("%s", error);
            assert_int_equal(n, 5);
            for (size_t k = 0; k < 5; k++) assert_int_equal(labels[k], k * 31);
            free(labels);
            if (types[t][1] != 'i') continue;
            memset(b.bytes + b.size - 2 * item, 0xff, item); /* -1 in either order */
            assert_int_equal(labels_of(&b, &n, &labels), DATA_BAD);
            assert_string_equal(error, "f: label 3 is -1, expected 0 to 255");
        }
    }
    struct buffer b;
    size_t n;
    uint8_t *labels;
    start_array(&b, "<u2", "(2,)");
    put_number(&b, 256 << 16 | 7, 4);
    assert_int_equal(labels_of(&b, &n, &labels), DATA_BAD);
    assert_string_equal(error, "f: label 1 is 256, expected 0 to 255");
    start_array(&b, "<f4", "(1,)");
    put_number(&b, 0, 4);
    assert_int_equal(labels_of(&b, &n, &labels), DATA_BAD);
    assert_string_equal(error, "f: elements are '<f4', expected labels that are integers");
    start_array(&b, "|u1", "(2, 2)");
    put_number(&b, 0, 4);
    assert_int_equal(labels_of(&b, &n, &labels), DATA_BAD);
    assert_string_equal(error, "f: of shape (2, 2), expected (N,) or (N, 1)");
}

static void what_is_no_array_of_images_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header, *words;
    } headers[] = {
        { "{'descr': '|u1', 'fortran_order': True, 'shape': (1, 2, 2), }", "in Fortran's order" },
        { "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2, 2), }",
          "elements are '<f8', expected uint8 or float32 images" },
        { "{'descr': '|b1', 'fortran_order': False, 'shape': (1, 2, 2), }", "elements are '|b1'" },
        { "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 1, 1), }",
          "elements are '<i4', expected images of uint8 or float32" },
        { "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1, 2, 2), }", "the header" },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }",
          "of shape (4,), expected (N, H, W) or (N, C, H, W)" },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 1, 2, 2), }",
          "at most 4 dimensions" },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (4), }", "the header" },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (1 2, 2), }", "the header" },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 2), 'x': 1}", "the header" },
        { "{'descr': '|u1', 'fortran_order': False, 'fortran_order': False, }", "the header" },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 2)", "the header" },
        { "{'descr': '|u1', 'fortran_order': 0, 'shape': (1, 2, 2), }", "the header" },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (1, -2, 2), }", "the header" },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 2), } x", "the header" },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 1, 1), }",
          "the header" },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4), }",
          "4 bytes of elements, |u1 elements of shape (4294967296, 4294967296, 4) are not so "
          "many" },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, 2), }", "are not so many" },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (), }", "of shape ()" },
        { "", "the header" },
    };
    struct buffer b;
    struct data_images out;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        start(&b, (uint8_t)(1 + i % 3), headers[i].header);
        put(&b, "abcd", 4);
        refused(&b, headers[i].words);
    }
    /* any order, double quotes, no last comma */
    start(&b, 2, "{\"shape\":(1,2,2),\"descr\":\"|u1\",'fortran_order':False}");
    put(&b, "abcd", 4);
    assert_int_equal(images_of(&b, b.size, false, &out), DATA_OK);
    assert_memory_equal(out.bytes, "abcd", 4);
    free(out.bytes);
    b.bytes[6] = 4;
    refused(&b, "version 4.0 of NPY, expected 1.0, 2.0 or 3.0");
    b.bytes[6] = 2;
    b.bytes[1] = 'n';
    refused(&b, "not an NPY file");
    start_array(&b, "|u1", "(0, 2, 2)");
    refused(&b, "of shape (0, 2, 2): nothing is in it");
    static const float wrong[] = { 0.5F, -1, 256, 1e30F, (float)(0.0 / 0.0) };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const float values[] = { 2, 255, wrong[i], 0 };
        start_array(&b, "<f4", "(1, 2, 2)");
        put(&b, values, sizeof values);
        refused(&b, "f: element 2 is ");
        refused(&b, "floats have to be whole numbers from 0 to 255, or all of them such");
    }
    const float between[] = { 0, 1, 0.3F, 0.5F };
    start_array(&b, "<f4", "(1, 2, 2)");
    put(&b, between, sizeof between);
    refused(&b, "f: element 2 is 0.3");
}

/* ------------------------------------------------------------------------------------- archives */

static size_t deflated(const struct buffer *from, uint8_t *to, size_t room)
{
    z_stream z = { 0 };
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)from->bytes;
    z.avail_in = (uInt)from->size;
    z.next_out = to;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t size = z.total_out;
    deflateEnd(&z);
    return size;
}

static const char *const names[] = { "x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy" };

/* What a local header and the directory say alike. */
static void put_entry(struct buffer *b, bool pack, const struct buffer *m, size_t packed,
                      const char *name)
{
    put_number(b, 20, 2);
    put_number(b, 0, 2);
    put_number(b, pack ? 8 : 0, 2);
    put_number(b, 0, 4);
    put_number(b, crc32(0, m->bytes, (uInt)m->size), 4);
    put_number(b, packed, 4);
    put_number(b, m->size, 4);
    put_number(b, strlen(name), 2);
    put_number(b, 0, 2);
}

static void make_zip(struct buffer *b, const struct buffer *members, size_t n, bool pack)
{
    struct buffer directory = { .size = 0 };
    static uint8_t packed[8192];
    b->size = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t at = b->size,
                     size = pack ? deflated(&members[i], packed, sizeof packed) : members[i].size;
        put(b, "PK\3\4", 4);
        put_entry(b, pack, &members[i], size, names[i]);
        put(b, names[i], strlen(names[i]));
        put(b, pack ? packed : members[i].bytes, size);
        put(&directory, "PK\1\2\24\3", 6);
        put_entry(&directory, pack, &members[i], size, names[i]);
        put_number(&directory, 0, 10);
        put_number(&directory, at, 4);
        put(&directory, names[i], strlen(names[i]));
    }
    const size_t at = b->size;
    put(b, directory.bytes, directory.size);
    put(b, "PK\5\6\0\0\0\0", 8);
    put_number(b, n, 2);
    put_number(b, n, 2);
    put_number(b, directory.size, 4);
    put_number(b, at, 4);
    put_number(b, 0, 2);
}

static enum data_status member(const struct buffer *b, size_t size, const char *name,
                               struct data_bytes *out)
{
    struct data_bytes file = exact(b, size);
    *error = 0;
    enum data_status status = data_zip_member("f", file, name, out, error, sizeof error);
    assert_int_equal(status == DATA_OK, out->bytes != NULL);
    assert_int_equal(status == DATA_OK, *error == 0);
    free((void *)(uintptr_t)file.bytes);
    return status;
}

/* Two members of 40 and 600 bytes. */
static void make_members(struct buffer *m)
{
    for (size_t i = 0; i < 2; i++) {
        m[i].size = i ? 600 : 40;
        for (size_t k = 0; k < m[i].size; k++) m[i].bytes[k] = (uint8_t)(k / 7 * 3 + i);
    }
}

static void members_of_an_archive(void **state)
{
    (void)state;
    static struct buffer m[2], b;
    struct data_bytes out;
    make_members(m);
    for (int pack = 0; pack < 2; pack++) {
        make_zip(&b, m, 2, pack);
        for (size_t i = 0; i < 2; i++) {
            if (member(&b, b.size, names[i], &out)) fail_msg("%s", error);
            assert_int_equal(out.size, m[i].size);
            assert_memory_equal(out.bytes, m[i].bytes, out.size);
            free((void *)(uintptr_t)out.bytes);
        }
        assert_int_equal(member(&b, b.size, "x_test.npy", &out), DATA_NOT_FOUND);
        assert_string_equal(error, "f: there is no x_test.npy in it");
        for (size_t size = 0; size < b.size; size++)
            assert_int_equal(member(&b, size, names[1], &out), DATA_BAD);
        /* a flipped bit is refused, or in what nobody asks for: never other bytes */
        for (size_t bit = 0; bit < 8 * b.size; bit++) {
            b.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (member(&b, b.size, names[1], &out) == DATA_OK) {
                assert_int_equal(out.size, m[1].size);
                assert_memory_equal(out.bytes, m[1].bytes, out.size);
                free((void *)(uintptr_t)out.bytes);
            }
            b.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

static void what_is_wrong_with_an_archive(void **state)
{
    (void)state;
    static struct buffer m[2], b;
    struct data_bytes out;
    make_members(m);
    /* places in the directory's first entry, which is the second's but for what comes before */
    static const struct {
        size_t at, size;
        uint64_t value;
        const char *words;
    } wrong[] = { { 8, 2, 1, "f: x_train.npy is encrypted" },
                  { 10, 2, 12, "f: x_train.npy: packed by method 12, expected 0 (stored) or 8" },
                  { 16, 4, 1, "f: x_train.npy: the checksum is wrong" },
                  { 20, 4, UINT32_MAX, "4 GiB or more" },
                  { 24, 4, UINT32_MAX - 1,
                    "cannot hold the 4294967294 that the directory declares" },
                  { 24, 4, 41, "what is packed is not the 41 bytes" },
                  { 24, 4, 39, "what is packed is not the 39 bytes" },
                  { 42, 4, 1, "a member is not where the archive's directory says" },
                  { 42, 4, 1u << 30, "a member is not where the archive's directory says" },
                  { 20, 4, 1u << 20, "a member is longer than the archive" },
                  { 28, 2, 60000, "the archive's directory is damaged" },
                  { 0, 4, 0, "the archive's directory is damaged" } };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        make_zip(&b, m, 1, true);
        const uint8_t *end = b.bytes + b.size - 22;
        const size_t directory = (size_t)end[16] | (size_t)end[17] << 8;
        for (size_t k = 0; k < wrong[i].size; k++)
            b.bytes[directory + wrong[i].at + k] = (uint8_t)(wrong[i].value >> 8 * k);
        assert_int_equal(member(&b, b.size, names[0], &out), DATA_BAD);
        if (!strstr(error, wrong[i].words)) fail_msg("'%s' is not '%s'", error, wrong[i].words);
    }
    b.size = 0;
    assert_int_equal(member(&b, 0, names[0], &out), DATA_BAD);
    assert_non_null(strstr(error, "not a ZIP archive, or cut off"));
}

/* ----------------------------------------------------------------------------------- whole sets */

static char root[64];

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/convoy-npy-XXXXXX");
    return !mkdtemp(root);
}

static int remove_root(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static const char *in(const char *name)
{
    static char path[4][128];
    static size_t turn;
    char *to = path[turn++ % 4];
    snprintf(to, sizeof path[0], "%.60s/%.60s", root, name);
    return to;
}

static void write_file(const char *path, const struct buffer *b)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b->bytes, 1, b->size, f), b->size);
    assert_int_equal(fclose(f), 0);
}

/* Three images to train and two to test, of 2 channels, 3 rows and 4 columns. */
static void make_arrays(struct buffer m[4], bool nhwc)
{
    for (size_t test = 0; test < 2; test++) {
        const size_t n = test ? 2 : 3;
        char shape[40];
        snprintf(shape, sizeof shape, nhwc ? "(%zu, 3, 4, 2)" : "(%zu, 2, 3, 4)", n);
        start_array(&m[2 * test], "|u1", shape);
        for (size_t k = 0; k < n * 24; k++) put_number(&m[2 * test], k + 100 * test, 1);
        snprintf(shape, sizeof shape, "(%zu,)", n);
        start_array(&m[2 * test + 1], "<i8", shape);
        for (size_t k = 0; k < n; k++) put_number(&m[2 * test + 1], 2 * k + test, 8);
    }
}

static void open_fails(const char *spec, enum data_status status, const char *words)
{
    struct data_set *d;
    enum data_status got = data_open(spec, NULL, false, &d, error, sizeof error);
    if (got != status || !strstr(error, words))
        fail_msg("%s: %d and '%s', expected %d and '%s'", spec, (int)got, error, (int)status,
                 words);
}

static void sets(void **state)
{
    (void)state;
    static struct buffer m[4], b;
    static const char *const prefixes[] = { "", "npy:", "nhwc:" };
    char spec[200], digest[3][65];
    mkdir(in("d"), 0777);
    make_arrays(m, false);
    make_zip(&b, m, 4, true);
    write_file(in("a.npz"), &b);
    for (size_t i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "d/%s", names[i]);
        write_file(in(path), &m[i]);
    }
    for (int nhwc = 0; nhwc < 2; nhwc++)
        for (size_t i = 0; i < 6; i++) {
            struct data_set *d;
            if (nhwc != (i % 3 == 2)) continue;
            snprintf(spec, sizeof spec, "%s%s", prefixes[i % 3], in(i < 3 ? "d" : "a.npz"));
            if (data_open(spec, NULL, false, &d, error, sizeof error)) fail_msg("%s", error);
            assert_true(d->train.n == 3 && d->test.n == 2 && d->open_classes && d->classes == 5);
            if (nhwc) assert_true(d->c == 4 && d->h == 2 && d->w == 3);
            else assert_true(d->c == 2 && d->h == 3 && d->w == 4);
            assert_int_equal(d->train.images[25], nhwc ? 24 + 4 : 25);
            assert_int_equal(d->test.labels[1], 3);
            assert_string_equal(d->prefix, nhwc ? "nhwc:" : "");
            assert_int_equal(strncmp(d->name, "npy:/", 5), 0);
            assert_true(!d->verified && !*d->note);
            strcpy(digest[i % 3], d->digest);
            data_close(&d);
        }
    assert_string_equal(digest[0], digest[1]);     /* the same arrays, wherever they lie */
    assert_string_not_equal(digest[0], digest[2]); /* other images */
    snprintf(spec, sizeof spec, "%s", in("a.npz"));
    struct data_set *d;
    assert_int_equal(data_open(spec, NULL, true, &d, error, sizeof error), DATA_BAD);
    assert_non_null(strstr(error, "none of the published sets"));
}

static void sets_that_do_not_fit(void **state)
{
    (void)state;
    static struct buffer m[4], b;
    make_arrays(m, false);
    make_zip(&b, m, 3, false);
    write_file(in("a.npz"), &b);
    open_fails(in("a.npz"), DATA_NOT_FOUND, "a.npz: there is no y_test.npy in it");
    start_array(&m[3], "|u1", "(3,)");
    put(&m[3], "\0\1\2", 3);
    make_zip(&b, m, 4, false);
    write_file(in("a.npz"), &b);
    open_fails(in("a.npz"), DATA_BAD, "a.npz: y_test.npy: 3 labels for 2 images");
    start_array(&m[2], "|u1", "(3, 2, 4, 3)");
    for (size_t k = 0; k < 72; k++) put_number(&m[2], k, 1);
    make_zip(&b, m, 4, false);
    write_file(in("a.npz"), &b);
    open_fails(in("a.npz"), DATA_BAD,
               "a.npz: x_test.npy: images are 2x4x3, the training images are 2x3x4");
    m[2] = m[0]; /* the training images once more */
    make_zip(&b, m, 4, false);
    write_file(in("a.npz"), &b);
    struct data_set *d;
    if (data_open(in("a.npz"), NULL, false, &d, error, sizeof error)) fail_msg("%s", error);
    assert_non_null(strstr(d->note, "the training images are the test images"));
    data_close(&d);
    mkdir(in("d"), 0777);
    write_file(in("d/x_train.npy"), &m[0]);
    open_fails(in("d"), DATA_IO, "y_train.npy");
    write_file(in("d/x_train.npy"), &m[1]);
    open_fails(in("d"), DATA_BAD, "d/x_train.npy: elements are '<i8', expected images of uint8");
    b.size = 10;
    write_file(in("a.npz"), &b);
    open_fails(in("a.npz"), DATA_BAD, "a.npz: not a ZIP archive, or cut off");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_in_every_form),
        cmocka_unit_test(labels_of_every_type),
        cmocka_unit_test(what_is_no_array_of_images_is_refused),
        cmocka_unit_test(members_of_an_archive),
        cmocka_unit_test(what_is_wrong_with_an_archive),
        cmocka_unit_test_setup_teardown(sets, make_root, remove_root),
        cmocka_unit_test_setup_teardown(sets_that_do_not_fit, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
