/* Folders of PNG and JPEG files: what every kind of picture becomes, by hand; resizing against its
 * definition; splits, classes, channels; what is refused, and in which words; every truncation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "data/data.h"

static char error[5000], root[64];

struct buffer {
    size_t size;
    uint8_t bytes[4096];
};

static void put(struct buffer *b, const void *bytes, size_t n)
{
    assert_true(b->size + n <= sizeof b->bytes);
    memcpy(b->bytes + b->size, bytes, n);
    b->size += n;
}

static void put32(struct buffer *b, uint32_t x)
{
    put(b, (uint8_t[]){ (uint8_t)(x >> 24), (uint8_t)(x >> 16), (uint8_t)(x >> 8), (uint8_t)x }, 4);
}

static void chunk(struct buffer *b, const char *type, const void *data, size_t n)
{
    put32(b, (uint32_t)n);
    const size_t from = b->size;
    put(b, type, 4);
    put(b, data, n);
    put32(b, (uint32_t)crc32(0, b->bytes + from, (unsigned)(n + 4)));
}

/* A PNG of these rows, each with its filter in front. */
static void png(struct buffer *b, uint32_t w, uint32_t h, int depth, int colour,
                const void *palette, const uint8_t *rows, size_t n)
{
    uint8_t packed[1024];
    uLongf size = sizeof packed;
    struct buffer head = { 0 };
    b->size = 0;
    put(b, "\x89PNG\r\n\x1a\n", 8);
    put32(&head, w);
    put32(&head, h);
    put(&head, (uint8_t[]){ (uint8_t)depth, (uint8_t)colour, 0, 0, 0 }, 5);
    chunk(b, "IHDR", head.bytes, head.size);
    if (palette) chunk(b, "PLTE", palette, 12);
    assert_int_equal(compress(packed, &size, rows, n), Z_OK);
    chunk(b, "IDAT", packed, size);
    chunk(b, "IEND", "", 0);
}

static enum data_status parse(const void *bytes, size_t size, struct data_picture *p)
{
    /* exactly its size, so that the address sanitizer sees any read beyond it */
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    *error = 0;
    enum data_status status =
        data_parse_picture("p", (struct data_bytes){ copy, size }, NULL, p, error, sizeof error);
    assert_true((status == DATA_OK) == (p->bytes != NULL) && (status == DATA_OK) == !*error);
    free(copy);
    return status;
}

#define EXPECT(b, rows, columns, is_colour, ...)                                   \
    do {                                                                           \
        const uint8_t want[] = { __VA_ARGS__ };                                    \
        struct data_picture p;                                                     \
        if (parse((b)->bytes, (b)->size, &p)) fail_msg("%s", error);               \
        assert_true(p.h == (rows) && p.w == (columns) && p.colour == (is_colour)); \
        assert_true(sizeof want == 3 * p.h * p.w);                                 \
        assert_memory_equal(p.bytes, want, sizeof want);                           \
        free(p.bytes);                                                             \
    } while (0)

#if defined(CONVOY_HAVE_PNG)
static void every_kind_of_png(void **state)
{
    (void)state;
    static const uint8_t palette[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9 };
    struct buffer b;
    png(&b, 2, 2, 8, 0, NULL, (uint8_t[]){ 0, 1, 2, 0, 3, 4 }, 6);
    EXPECT(&b, 2, 2, false, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4);
    png(&b, 2, 1, 8, 2, NULL, (uint8_t[]){ 0, 1, 2, 3, 4, 5, 6 }, 7);
    EXPECT(&b, 1, 2, true, 1, 4, 2, 5, 3, 6);
    png(&b, 2, 1, 1, 0, NULL, (uint8_t[]){ 0, 0x40 }, 2); /* two values: 0 and 255 */
    EXPECT(&b, 1, 2, false, 0, 255, 0, 255, 0, 255);
    png(&b, 3, 1, 2, 3, palette, (uint8_t[]){ 0, 0x2c }, 2); /* entries 0, 2, 3 */
    EXPECT(&b, 1, 3, true, 1, 7, 9, 2, 8, 9, 3, 9, 9);
    /* sixteen bits: 255 of 65535 is 0.99, 257 is 1 */
    png(&b, 2, 1, 16, 0, NULL, (uint8_t[]){ 0, 0, 255, 1, 1 }, 5);
    EXPECT(&b, 1, 2, false, 1, 1, 1, 1, 1, 1);
    /* transparent: the colour that is there all the same */
    png(&b, 1, 1, 8, 6, NULL, (uint8_t[]){ 0, 10, 20, 30, 0 }, 5);
    EXPECT(&b, 1, 1, true, 10, 20, 30);
    png(&b, 1, 1, 8, 4, NULL, (uint8_t[]){ 0, 10, 99 }, 3);
    EXPECT(&b, 1, 1, false, 10, 10, 10);
}

static void pngs_that_are_not_good(void **state)
{
    (void)state;
    struct buffer b, c;
    struct data_picture p;
    png(&b, 2, 2, 8, 0, NULL, (uint8_t[]){ 0, 1, 2, 0, 3, 4 }, 6);
    for (size_t n = 0; n < b.size; n++) assert_int_equal(parse(b.bytes, n, &p), DATA_BAD);
    for (size_t i = 0; i < b.size * 8;
         i++) { /* nothing but this: it ends, and reads nothing else */
        c = b;
        c.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        (void)parse(c.bytes, c.size, &p);
        free(p.bytes);
    }
    png(&b, 32768, 32768, 8, 2, NULL, (uint8_t[]){ 0 }, 1); /* three gigabytes, it says */
    assert_int_equal(parse(b.bytes, b.size, &p), DATA_BAD);
    assert_non_null(strstr(error, "p: 32768 x 32768 pixels, expected at most"));
    png(&b, 40000, 1, 8, 2, NULL, (uint8_t[]){ 0 }, 1);
    assert_int_equal(parse(b.bytes, b.size, &p), DATA_BAD);
    assert_int_equal(parse("GIF89a", 6, &p), DATA_BAD);
    assert_string_equal(error, "p: neither a PNG nor a JPEG");
    assert_int_equal(parse("", 0, &p), DATA_BAD);
    assert_string_equal(error, "p: an empty file");
}
#endif

#ifdef CONVOY_HAVE_JPEG
static size_t corpus(const char *name, uint8_t *out, size_t room)
{
    char path[200];
    snprintf(path, sizeof path, "tests/fuzz/corpus/picture/%s", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(out, 1, room, f);
    fclose(f);
    return n;
}

/* They were made of red 20x + 5y, green 40 more, blue 80 more (modulo 256). */
static void jpegs(void **state)
{
    (void)state;
    static const char *const names[] = { "rgb.jpg", "prog.jpg", "grey.jpg" };
    uint8_t bytes[1024];
    struct data_picture p;
    for (size_t k = 0; k < 3; k++) {
        size_t n = corpus(names[k], bytes, sizeof bytes);
        if (parse(bytes, n, &p)) fail_msg("%s", error);
        assert_true(p.h == 6 && p.w == 8 && p.colour == (k < 2));
        for (size_t i = 0; i < 3 * 48; i++) {
            int c = (int)(i / 48), y = (int)(i % 48 / 8), x = (int)(i % 8),
                want = 20 * x + 5 * y + (k < 2 ? 40 * c : 0);
            if (abs(p.bytes[i] - want) > 12)
                fail_msg("%s: %zu: %d, expected about %d", names[k], i, p.bytes[i], want);
        }
        free(p.bytes);
        /* without its last marker it is whole, but for libjpeg's word; before that it is not */
        for (size_t m = 0; m < n; m++) assert_int_equal(parse(bytes, m, &p), DATA_BAD);
    }
    size_t n = corpus("cmyk.jpg", bytes, sizeof bytes);
    assert_int_equal(parse(bytes, n, &p), DATA_BAD);
    assert_non_null(strstr(error, "four colours (CMYK)"));
}
#endif

/* Weights of the triangle by its definition, in one dimension; halves are means of four. */
static void resizing(void **state)
{
    (void)state;
    uint8_t in[3 * 4] = { 0, 100, 200, 40, 0, 100, 200, 40, 0, 0, 0, 8 }, out[3 * 8];
    struct data_picture p = { .h = 1, .w = 4, .bytes = in };
    assert_true(data_picture_resize(&p, 1, 4, out));
    assert_memory_equal(in, out, sizeof in);
    /* two for four: pixels 0, 1, 2 at .75, .75, .25 (of 1.75), and their mirror image */
    assert_true(data_picture_resize(&p, 1, 2, out));
    assert_int_equal(out[0], (int)((0.75 * 100 + 0.25 * 200) / 1.75 + 0.5));
    assert_int_equal(out[1], (int)((0.75 * 200 + 0.75 * 40 + 0.25 * 100) / 1.75 + 0.5));
    assert_int_equal(out[5], (int)(0.75 * 8 / 1.75 + 0.5));
    /* eight for four: a quarter and three quarters; the edges are kept */
    assert_true(data_picture_resize(&p, 1, 8, out));
    const uint8_t wide[8] = { 0, 25, 75, 125, 175, 160, 80, 40 };
    assert_memory_equal(out, wide, sizeof wide);
    p = (struct data_picture){ .h = 4, .w = 1, .bytes = in };
    assert_true(data_picture_resize(&p, 8, 1, out));
    assert_memory_equal(out, wide, sizeof wide);
    uint8_t grey[2];
    data_grey((uint8_t[]){ 255, 10, 255, 20, 255, 30 }, 2, grey);
    assert_true(grey[0] == 255 && grey[1] == 18); /* 2.989 + 11.74 + 3.42 */
}

#ifdef CONVOY_HAVE_PNG
/* -------------------------------------------------------------------------------------- folders */

static char *in(const char *name)
{
    static char path[2][200];
    static int k;
    k = !k;
    snprintf(path[k], sizeof path[k], "%s/%s", root, name);
    return path[k];
}

static void write_as(const char *name, const void *bytes, size_t n)
{
    char *path = in(name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = 0;
        mkdir(path, 0777);
    }
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void write_grey(const char *name, uint32_t w, uint8_t value)
{
    struct buffer b;
    uint8_t row[20] = { 0 };
    memset(row + 1, value, sizeof row - 1);
    png(&b, w, 1, 8, 0, NULL, row, w + 1);
    write_as(name, b.bytes, b.size);
}

static enum data_status open_as(const char *options, const char *dir, struct data_set **set)
{
    char spec[300];
    snprintf(spec, sizeof spec, "%s%s", options, in(dir));
    return data_open(spec, NULL, false, set, error, sizeof error);
}

static void refused(const char *options, const char *dir, const char *words)
{
    struct data_set *set;
    assert_int_equal(open_as(options, dir, &set), DATA_BAD);
    assert_null(set);
    if (!strstr(error, words)) fail_msg("'%s' does not say '%s'", error, words);
}

static void folders(void **state)
{
    (void)state;
    struct data_set *set, *again;
    write_grey("a/train/dog/2.png", 2, 20);
    write_grey("a/train/dog/10.PNG", 2, 10);
    write_grey("a/train/cat/x.png", 2, 30);
    write_grey("a/val/dog/1.png", 2, 40);
    write_as("a/train/.hidden", "", 0);
    for (int k = 0; k < 2; k++) {
        if (open_as(k ? "folder:" : "", "a", &set)) fail_msg("%s", error);
        assert_true(set->c == 1 && set->h == 1 && set->w == 2 && set->classes == 2);
        assert_true(set->train.n == 3 && set->test.n == 1 && !set->open_classes && !*set->note);
        assert_string_equal(set->class_names[0], "cat");
        assert_string_equal(set->class_names[1], "dog");
        assert_memory_equal(set->train.labels, ((uint8_t[]){ 0, 1, 1 }), 3);
        assert_memory_equal(set->train.images, ((uint8_t[]){ 30, 30, 10, 10, 20, 20 }), 6);
        assert_true(set->test.labels[0] == 1 && set->test.images[0] == 40);
        assert_string_equal(set->prefix, "folder:");
        data_close(&set);
    }
    if (open_as("folder:size=3x5,channels=3:", "a", &set)) fail_msg("%s", error);
    assert_true(set->c == 3 && set->h == 3 && set->w == 5 && set->train.images[44] == 30);
    assert_string_equal(set->prefix, "folder:size=3x5,channels=3:");
    data_close(&set);
    /* any byte, and any label, changes the digest */
    if (open_as("", "a", &set)) fail_msg("%s", error);
    write_grey("a/val/dog/1.png", 2, 41);
    if (open_as("", "a", &again)) fail_msg("%s", error);
    assert_string_not_equal(set->digest, again->digest);
    data_close(&again);
    data_close(&set);
    write_as("a/train/dog/notes.txt", "x", 1);
    if (open_as("", "a", &set)) fail_msg("%s", error);
    assert_non_null(strstr(set->note, "1 entries that are no pictures by their names"));
    data_close(&set);
    refused("folder:test=0.5:", "a", "a share for testing is for directories without train/");
    write_grey("a/val/bird/1.png", 2, 40);
    refused("", "a", "a/val/bird: there is no such class among the training pictures");
}

/* Without train/ every fifth of a class, or what is asked for. */
static void splits(void **state)
{
    (void)state;
    struct data_set *set;
    for (int i = 0; i < 10; i++) {
        char name[40];
        snprintf(name, sizeof name, "b/%s/%d.png", i < 5 ? "one" : "two", i);
        write_grey(name, 1, (uint8_t)i);
    }
    if (open_as("", "b", &set)) fail_msg("%s", error);
    assert_true(set->train.n == 8 && set->test.n == 2 && set->test.images[0] == 4 &&
                set->test.images[1] == 9 && set->test.labels[1] == 1);
    data_close(&set);
    if (open_as("folder:test=0.4:", "b", &set)) fail_msg("%s", error);
    assert_true(set->train.n == 6 && set->test.n == 4);
    data_close(&set);
    refused("folder:test=0.01:", "b", "10 pictures to train on and 0 to test with");
    refused("folder:test=1:", "b", "expected folder:[size=ROWSxCOLUMNS]");
    refused("folder:size=0x2:", "b", "expected folder:");
    refused("folder:channels=2:", "b", "expected folder:");
    refused("folder:channels=1,:", "b", "expected folder:");
    write_grey("b/two/x.png", 2, 1);
    refused("", "b", "b/two/x.png: 1 rows of 2 pixels, the pictures before have 1 of 1");
    if (open_as("folder:size=1x1:", "b", &set)) fail_msg("%s", error);
    data_close(&set);
    write_as("b/two/y.png", "GIF8", 4);
    refused("folder:size=1x1:", "b", "b/two/y.png: neither a PNG nor a JPEG");
    write_grey("c/train/one/1.png", 1, 1);
    refused("folder:", "c", "there is a train/ but no test/ or val/ beside it");
    write_grey("c/test/one/1.png", 1, 1);
    refused("folder:", "c", "expected 2 to 256 directories, each of a class, found 1");
    write_as("c/train/two/none.txt", "", 0);
    refused("folder:", "c", "c/train/two: no pictures (.png, .jpg, .jpeg) of this class");
    write_grey("d/test/one/1.png", 1, 1);
    refused("folder:", "d", "d/test: there is no train/ beside it");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef CONVOY_HAVE_PNG
        cmocka_unit_test(every_kind_of_png),
        cmocka_unit_test(pngs_that_are_not_good),
        cmocka_unit_test(folders),
        cmocka_unit_test(splits),
#endif
#ifdef CONVOY_HAVE_JPEG
        cmocka_unit_test(jpegs),
#endif
        cmocka_unit_test(resizing),
    };
    strcpy(root, "/tmp/convoy-pictures-XXXXXX");
    if (!mkdtemp(root)) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command) || failed;
}
