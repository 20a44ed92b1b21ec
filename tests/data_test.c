/* Data sets: what is accepted, what is refused and in which words; every truncation and corruption of a small file. */
#include <stdarg.h>
#include <setjmp.h>
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

/* An IDX file in memory: header of the given dims, then n_bytes of content. */
static size_t make_idx(uint8_t *to, unsigned rank, const uint32_t *dims, size_t n_bytes)
{
    size_t at = 0;
    uint8_t head[4] = { 0, 0, 8, (uint8_t)rank };
    memcpy(to, head, 4);
    at = 4;
    for (unsigned i = 0; i < rank; i++)
        for (int b = 3; b >= 0; b--) to[at++] = (uint8_t)(dims[i] >> (8 * b));
    for (size_t i = 0; i < n_bytes; i++) to[at++] = (uint8_t)(i % 10);
    return at;
}

static size_t gzip(const uint8_t *from, size_t n, uint8_t *to, size_t room)
{
    z_stream z = { 0 };
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)from;
    z.avail_in = (uInt)n;
    z.next_out = to;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t size = z.total_out;
    deflateEnd(&z);
    return size;
}

/* Parsed from a block of exactly its size, so that the address sanitizer sees any read beyond it. */
static enum data_status images(const uint8_t *bytes, size_t size)
{
    size_t n, h, w;
    uint8_t *out, *exact = malloc(size ? size : 1);
    memcpy(exact, bytes, size);
    *error = 0;
    enum data_status s = data_parse_idx_images("file", exact, size, &n, &h, &w, &out, error, sizeof error);
    assert_int_equal(s == DATA_OK, out != NULL);
    assert_int_equal(s == DATA_OK, *error == 0);
    free(out);
    free(exact);
    return s;
}

static void idx_plain_and_gzip(void **state)
{
    (void)state;
    uint8_t plain[200], packed[400];
    size_t size = make_idx(plain, 3, (uint32_t[]){ 2, 5, 6 }, 60);
    assert_int_equal(images(plain, size), DATA_OK);
    size_t z = gzip(plain, size, packed, sizeof packed);
    assert_int_equal(images(packed, z), DATA_OK);
    /* concatenated members are one stream */
    size_t first = gzip(plain, 30, packed, sizeof packed);
    size_t second = gzip(plain + 30, size - 30, packed + first, sizeof packed - first);
    assert_int_equal(images(packed, first + second), DATA_OK);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    uint8_t plain[200], packed[400];
    size_t size = make_idx(plain, 3, (uint32_t[]){ 2, 5, 6 }, 60), z = gzip(plain, size, packed, sizeof packed);
    for (size_t n = 0; n < size; n++) assert_int_equal(images(plain, n), DATA_BAD);
    for (size_t n = 0; n < z; n++) assert_int_equal(images(packed, n), DATA_BAD);
    plain[size] = 1;
    assert_int_equal(images(plain, size + 1), DATA_BAD);
    packed[z] = 1;
    assert_int_equal(images(packed, z + 1), DATA_BAD);
    assert_non_null(strstr(error, "garbage"));
}

static void every_flipped_bit_of_a_gzip_stream_is_seen(void **state)
{
    (void)state;
    uint8_t plain[200], packed[400];
    size_t size = make_idx(plain, 3, (uint32_t[]){ 2, 5, 6 }, 60), z = gzip(plain, size, packed, sizeof packed);
    size_t passed = 0;
    for (size_t bit = 8 * 10; bit < 8 * z; bit++) { /* after gzip's header, whose time stamp and flags may vary */
        size_t n, h, w;
        uint8_t *out;
        packed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        /* deflate pads its last byte with bits that mean nothing: then the content must be whole */
        if (data_parse_idx_images("file", packed, z, &n, &h, &w, &out, error, sizeof error) == DATA_OK) {
            assert_true(n == 2 && h == 5 && w == 6);
            assert_memory_equal(out, plain + 16, 60);
            passed++;
        }
        free(out);
        packed[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(passed < 8);
}

static void headers_that_lie(void **state)
{
    (void)state;
    uint8_t b[400], packed[400];
    make_idx(b, 3, (uint32_t[]){ 0xffffffff, 0xffffffff, 0xffffffff }, 60);
    assert_int_equal(images(b, 76), DATA_BAD);
    make_idx(b, 3, (uint32_t[]){ 0, 5, 6 }, 60);
    assert_int_equal(images(b, 76), DATA_BAD);
    size_t n = make_idx(b, 3, (uint32_t[]){ 60000, 28, 28 }, 60); /* a bomb's header on a small file costs no memory */
    assert_int_equal(images(b, n), DATA_BAD);
    assert_non_null(strstr(error, "declares"));
    assert_int_equal(images(packed, gzip(b, n, packed, sizeof packed)), DATA_BAD);
    n = make_idx(b, 1, (uint32_t[]){ 60 }, 60);
    assert_int_equal(images(b, n), DATA_BAD); /* labels given as images */
    assert_non_null(strstr(error, "magic"));
    n = make_idx(b, 3, (uint32_t[]){ 1, 5, 6 }, 60); /* more content than declared, zipped */
    assert_int_equal(images(packed, gzip(b, n, packed, sizeof packed)), DATA_BAD);
    assert_non_null(strstr(error, "more data"));
}

static void labels_in_range(void **state)
{
    (void)state;
    uint8_t b[100], *labels;
    size_t n, size = make_idx(b, 1, (uint32_t[]){ 20 }, 20);
    assert_int_equal(data_parse_idx_labels("f", b, size, 10, &n, &labels, error, sizeof error), DATA_OK);
    assert_int_equal(n, 20);
    free(labels);
    b[size - 3] = 10;
    assert_int_equal(data_parse_idx_labels("f", b, size, 10, &n, &labels, error, sizeof error), DATA_BAD);
    assert_string_equal(error, "f: label 17 is 10, expected 0 to 9");
    assert_null(labels);
}

static void cifar_records(void **state)
{
    (void)state;
    uint8_t *b = calloc(3, 3074), *img, *labels;
    size_t n;
    b[0] = 9, b[3073] = 3;
    assert_int_equal(data_parse_cifar10("f", b, 2 * 3073, &n, &img, &labels, error, sizeof error), DATA_OK);
    assert_int_equal(n, 2);
    assert_int_equal(labels[1], 3);
    free(img);
    free(labels);
    assert_int_equal(data_parse_cifar10("f", b, 2 * 3073 - 1, &n, &img, &labels, error, sizeof error), DATA_BAD);
    assert_int_equal(data_parse_cifar10("f", b, 0, &n, &img, &labels, error, sizeof error), DATA_BAD);
    assert_int_equal(data_parse_cifar10("f", b, 3074, &n, &img, &labels, error, sizeof error), DATA_BAD);
    assert_non_null(strstr(error, "CIFAR-100"));
    b[3073] = 10;
    assert_int_equal(data_parse_cifar10("f", b, 2 * 3073, &n, &img, &labels, error, sizeof error), DATA_BAD);
    assert_non_null(strstr(error, "label 1 is 10"));
    free(b);
}

static void synthetic_is_the_same_every_time(void **state)
{
    (void)state;
    struct data_set *a, *b;
    assert_int_equal(data_open("synthetic:seed=4,train=50,test=7", "cifar10", false, &a, error, sizeof error), DATA_OK);
    assert_int_equal(data_open("synthetic:test=7,seed=4,train=50", "cifar10", false, &b, error, sizeof error), DATA_OK);
    assert_true(a->synthetic && a->c == 3 && a->train.n == 50 && a->test.n == 7);
    assert_memory_equal(a->train.images, b->train.images, 50 * 3072);
    assert_memory_equal(a->train.labels, b->train.labels, 50);
    data_close(&a);
    data_close(&b);
    static const char *const bad[] = { "synthetic:", "synthetic:seed", "synthetic:seed=", "synthetic:seed=-1", "synthetic:train=0",
                                       "synthetic:seed=1,", "synthetic:colour=1", "syntheticx", "synthetic:seed=99999999999999999999999" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(data_open(bad[i], NULL, false, &a, error, sizeof error), DATA_BAD);
        assert_null(a);
    }
}

static void places_that_hold_nothing(void **state)
{
    (void)state;
    struct data_set *set;
    char dir[] = "/tmp/convoy-data-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(data_open("no-such-set", NULL, false, &set, error, sizeof error), DATA_NOT_FOUND);
    assert_non_null(strstr(error, "fashion-mnist, mnist, cifar10"));
    assert_int_equal(data_open(dir, NULL, false, &set, error, sizeof error), DATA_NOT_FOUND);
    snprintf(path, sizeof path, "%s/data_batch_1.bin", dir);
    FILE *f = fopen(path, "w");
    fputs("short", f);
    fclose(f);
    assert_int_equal(data_open(dir, NULL, false, &set, error, sizeof error), DATA_BAD);
    assert_non_null(strstr(error, "data_batch_1.bin"));
    unlink(path);
    rmdir(dir);
    setenv("CVY_DATA_DIR", "/nonexistent", 1);
    setenv("XDG_CACHE_HOME", "/nonexistent", 1);
    setenv("XDG_DATA_DIRS", "/nonexistent:", 1);
    assert_int_equal(data_open("cifar10", NULL, false, &set, error, sizeof error), DATA_NOT_FOUND);
    assert_non_null(strstr(error, "CVY_DATA_DIR"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idx_plain_and_gzip), cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_bit_of_a_gzip_stream_is_seen), cmocka_unit_test(headers_that_lie),
        cmocka_unit_test(labels_in_range), cmocka_unit_test(cifar_records), cmocka_unit_test(synthetic_is_the_same_every_time),
        cmocka_unit_test(places_that_hold_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
