/* Data sets: what is accepted, what is refused and in which words; every truncation and corruption
 * of a small file; small sets in every layout that people have, pixels and labels compared; what a
 * set is called, by what it holds. */
#include <dirent.h>
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

#include "data/known.h"
#include "data/place.h"

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

/* Parsed from a block of exactly its size, so that the address sanitizer sees any read beyond
 * it. */
static enum data_status images(const uint8_t *bytes, size_t size)
{
    size_t dims[3];
    uint8_t *out, *exact = malloc(size ? size : 1);
    memcpy(exact, bytes, size);
    *error = 0;
    enum data_status s =
        data_parse_idx_images("file", exact, size, dims, &out, error, sizeof error);
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
    /* an empty one at the end */
    size_t third = gzip(plain, 0, packed + first + second, sizeof packed - first - second);
    assert_int_equal(images(packed, first + second + third), DATA_OK);
    assert_int_equal(images(packed, first), DATA_BAD); /* whole, but too short */
    assert_non_null(strstr(error, "ends before"));
    for (unsigned i = 0; i < 2; i++) { /* no member begins there */
        packed[first + i] ^= 1;
        assert_int_equal(images(packed, first + second), DATA_BAD);
        packed[first + i] ^= 1;
    }
    packed[first + second] = 0x1f;
    assert_int_equal(images(packed, first + second + 1), DATA_BAD);
    assert_non_null(strstr(error, "1 bytes of garbage"));
    z = gzip(plain, size, packed, sizeof packed);
    memcpy(packed + z, "\x1f\x8b\x09\0", 4); /* another member, which is none */
    assert_int_equal(images(packed, z + 3), DATA_BAD);
    assert_non_null(strstr(error, "cut off before its checksum"));
    assert_int_equal(images(packed, z + 4), DATA_BAD);
    assert_non_null(strstr(error, "unknown compression method"));
    z = gzip(plain, 10, packed, sizeof packed);
    assert_int_equal(images(packed, z), DATA_BAD);
    assert_non_null(strstr(error, "shorter than an IDX header"));
    assert_int_equal(images((const uint8_t[]){ 0x1f, 0 }, 2), DATA_BAD);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    uint8_t plain[200], packed[400];
    size_t size = make_idx(plain, 3, (uint32_t[]){ 2, 5, 6 }, 60),
           z = gzip(plain, size, packed, sizeof packed);
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
    size_t size = make_idx(plain, 3, (uint32_t[]){ 2, 5, 6 }, 60),
           z = gzip(plain, size, packed, sizeof packed);
    size_t passed = 0;
    /* after gzip's header, whose time stamp and flags may vary */
    for (size_t bit = 8 * 10; bit < 8 * z; bit++) {
        size_t dims[3];
        uint8_t *out;
        packed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        /* deflate pads its last byte with bits that mean nothing: then the content must be whole */
        if (data_parse_idx_images("file", packed, z, dims, &out, error, sizeof error) == DATA_OK) {
            assert_true(dims[0] == 2 && dims[1] == 5 && dims[2] == 6);
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
    make_idx(b, 3, (uint32_t[]){ 1u << 16, 1u << 20, 0xffffffff }, 60); /* more than 64 bits */
    assert_int_equal(images(b, 76), DATA_BAD);
    make_idx(b, 3, (uint32_t[]){ 0, 5, 6 }, 60);
    assert_int_equal(images(b, 76), DATA_BAD);
    /* a bomb's header on a small file costs no memory */
    size_t n = make_idx(b, 3, (uint32_t[]){ 60000, 28, 28 }, 60);
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
    assert_int_equal(data_parse_idx_labels("f", b, size, 10, &n, &labels, error, sizeof error),
                     DATA_OK);
    assert_int_equal(n, 20);
    free(labels);
    uint8_t wrong[100];
    size_t wrong_size = make_idx(wrong, 3, (uint32_t[]){ 1, 4, 5 }, 20);
    assert_int_equal(
        data_parse_idx_labels("f", wrong, wrong_size, 10, &n, &labels, error, sizeof error),
        DATA_BAD);
    assert_string_equal(
        error,
        "f: magic number is 00000803, expected 00000801 (IDX, unsigned bytes, rank 1: labels)");
    b[size - 3] = 10;
    assert_int_equal(data_parse_idx_labels("f", b, size, 10, &n, &labels, error, sizeof error),
                     DATA_BAD);
    assert_string_equal(error, "f: label 17 is 10, expected 0 to 9");
    assert_null(labels);
}

static enum data_status records(const uint8_t *bytes, size_t size, const struct data_cifar *format,
                                struct data_split *out)
{
    *error = 0;
    return data_parse_cifar("f", (struct data_bytes){ bytes, size }, format, out, error,
                            sizeof error);
}

static void cifar_records(void **state)
{
    (void)state;
    uint8_t *b = calloc(3, 3074);
    struct data_split s;
    b[0] = 9;
    b[3073] = 3;
    assert_int_equal(records(b, 2 * 3073, &data_cifar10, &s), DATA_OK);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.labels[1], 3);
    free(s.images);
    free(s.labels);
    assert_int_equal(records(b, 2 * 3073 - 1, &data_cifar10, &s), DATA_BAD);
    assert_int_equal(records(b, 0, &data_cifar10, &s), DATA_BAD);
    assert_int_equal(records(b, 3074, &data_cifar10, &s), DATA_BAD);
    assert_string_equal(error, "f: 3074 bytes are not a whole number of 3073-byte CIFAR-10 records "
                               "(CIFAR-100 has 3074)");
    assert_int_equal(records(b, 1, &data_cifar10, &s), DATA_BAD);
    assert_int_equal(records((const uint8_t[]){ 0x1f, 0x8b, 8 }, 3, &data_cifar10, &s), DATA_BAD);
    assert_non_null(strstr(error, "gzip"));
    assert_int_equal(records((const uint8_t[]){ 0x1f, 0, 8 }, 3, &data_cifar10, &s), DATA_BAD);
    assert_null(strstr(error, "gzip"));
    b[3073] = 10;
    assert_int_equal(records(b, 2 * 3073, &data_cifar10, &s), DATA_BAD);
    assert_non_null(strstr(error, "label 1 is 10"));
    assert_true(!s.images && !s.labels);
    free(b);
}

/* Two labels before the pixels, the coarse one first. */
static void cifar100_records(void **state)
{
    (void)state;
    uint8_t *b = calloc(3, 3074);
    struct data_split s;
    for (size_t i = 0; i < 3; i++) {
        b[i * 3074] = (uint8_t)(19 - i);
        b[i * 3074 + 1] = (uint8_t)(99 - i);
        for (size_t k = 0; k < 3072; k++) b[i * 3074 + 2 + k] = (uint8_t)(i * 100 + k % 97);
    }
    for (int coarse = 0; coarse < 2; coarse++) {
        assert_int_equal(
            records(b, (size_t)3 * 3074, coarse ? &data_cifar100_coarse : &data_cifar100, &s),
            DATA_OK);
        assert_int_equal(s.n, 3);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(s.labels[i], (coarse ? 19 : 99) - i);
            assert_memory_equal(s.images + i * 3072, b + i * 3074 + 2, 3072);
        }
        free(s.images);
        free(s.labels);
    }
    for (size_t size = 0; size < (size_t)3 * 3074; size += size < 4 ? 1 : 2999)
        if (size % 3074) assert_int_equal(records(b, size, &data_cifar100, &s), DATA_BAD);
    assert_int_equal(records(b, 2 * 3073, &data_cifar100, &s), DATA_BAD);
    assert_string_equal(error,
                        "f: 6146 bytes are not a whole number of 3074-byte CIFAR-100 records "
                        "(CIFAR-10 has 3073)");
    b[3075] = 100;
    assert_int_equal(records(b, (size_t)3 * 3074, &data_cifar100, &s), DATA_BAD);
    assert_string_equal(error, "f: label 1 is 100, expected 0 to 99");
    assert_int_equal(records(b, (size_t)3 * 3074, &data_cifar100_coarse, &s), DATA_OK);
    free(s.images);
    free(s.labels);
    b[3074] = 20;
    assert_int_equal(records(b, (size_t)3 * 3074, &data_cifar100_coarse, &s), DATA_BAD);
    assert_string_equal(error, "f: label 1 is 20, expected 0 to 19");
    free(b);
}

static void synthetic_is_the_same_every_time(void **state)
{
    (void)state;
    struct data_set *a, *b;
    assert_int_equal(
        data_open("synthetic:seed=4,train=50,test=7", "cifar10", false, &a, error, sizeof error),
        DATA_OK);
    assert_int_equal(
        data_open("synthetic:test=7,seed=4,train=50", "cifar10", false, &b, error, sizeof error),
        DATA_OK);
    assert_true(a->synthetic && a->c == 3 && a->train.n == 50 && a->test.n == 7);
    assert_memory_equal(a->train.images, b->train.images, 50 * 3072);
    assert_memory_equal(a->train.labels, b->train.labels, 50);
    assert_string_equal(
        a->digest,
        "d004ea2f4069a935b1c34fbdd7b64d7c72c53a58b55188659bc852540dec260a"); /* in every version */
    data_close(&a);
    data_close(&b);
    static const char *const bad[] = { "synthetic:",
                                       "synthetic:seed",
                                       "synthetic:seed=",
                                       "synthetic:seed=-1",
                                       "synthetic:train=0",
                                       "synthetic:seed=1,",
                                       "synthetic:colour=1",
                                       "synthetic:test=0",
                                       "synthetic:seed=x",
                                       "synthetic:seed1",
                                       "synthetic:train=10000001",
                                       "synthetic:test=10000001",
                                       "synthetic:seed=/",
                                       "synthetic:seed=:",
                                       "syntheticx",
                                       "synthetic:seed=99999999999999999999999" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(data_open(bad[i], NULL, false, &a, error, sizeof error), DATA_BAD);
        assert_null(a);
    }
    assert_int_equal(
        data_open("synthetic:train=1,test=1", "no-such-set", false, &a, error, sizeof error),
        DATA_OK);
    assert_true(a->c == 1 && a->h == 28 && a->w == 28 && a->classes == 10);
    assert_string_equal(a->class_names[0], "t-shirt");
    data_close(&a);
    data_close(&a); /* nothing */
    data_close(NULL);
    assert_int_equal(data_open("synthetic", NULL, true, &a, error, sizeof error), DATA_OK);
    assert_string_equal(a->source, "synthetic:seed=1,train=10000,test=2000");
    assert_true(a->train.n == 10000 && a->test.n == 2000);
    assert_memory_not_equal(a->train.images, a->test.images, 784);
    data_close(&a);
}

static void places_that_hold_nothing(void **state)
{
    (void)state;
    struct data_set *set;
    char dir[] = "/tmp/convoy-data-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(data_open("no-such-set", NULL, false, &set, error, sizeof error),
                     DATA_NOT_FOUND);
    assert_non_null(strstr(error, "fashion-mnist, mnist, kmnist, cifar10"));
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

/* ----------------------------------------------------------------------------------- whole sets */

static char root[64], path[512];

static const char *in(const char *a, const char *b)
{
    snprintf(path, sizeof path, "%s/%s%s%s", root, a, *b ? "/" : "", b);
    return path;
}

/* Makes an empty directory for a test, and lets nothing be found elsewhere. */
static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/convoy-data-XXXXXX");
    assert_non_null(mkdtemp(root));
    setenv("HOME", root, 1);
    unsetenv("CVY_DATA_DIR");
    unsetenv("XDG_CACHE_HOME");
    setenv("XDG_DATA_DIRS", "", 1);
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "chmod -R u+rwx %s && rm -r %s", root, root);
    return system(command);
}

static void make_dirs(const char *below)
{
    char dir[512];
    snprintf(dir, sizeof dir, "%s/%s", root, below);
    for (char *p = dir + strlen(root) + 1; *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        mkdir(dir, 0777);
        *p = '/';
    }
    mkdir(dir, 0777);
}

static void write_file(const char *where, const void *bytes, size_t size)
{
    FILE *f = fopen(where, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* What the pixels and labels of the small sets are: different in every set, split, image and
 * place. */
static uint8_t pixel(unsigned set, unsigned split, size_t i)
{
    return (uint8_t)(i * 7 + i / 251 + set * 31 + split * 101);
}
static uint8_t label(unsigned set, unsigned split, size_t i)
{
    return (uint8_t)((i * 3 + set + split) % 10);
}

enum { TRAIN = 5, TEST = 3, H = 4, W = 6 };

static void write_idx(const char *dir, const char *name, bool packed, unsigned set, unsigned split,
                      bool labels)
{
    uint8_t plain[400], zipped[800];
    uint32_t n = split ? TEST : TRAIN;
    size_t head = make_idx(plain, labels ? 1 : 3, (uint32_t[]){ n, H, W }, 0),
           content = labels ? n : n * H * W;
    for (size_t i = 0; i < content; i++)
        plain[head + i] = labels ? label(set, split, i) : pixel(set, split, i);
    if (packed)
        write_file(in(dir, name), zipped, gzip(plain, head + content, zipped, sizeof zipped));
    else write_file(in(dir, name), plain, head + content);
}

/* names: train images, train labels, test images, test labels; those that end in .gz are packed. */
static void write_set(const char *dir, const char *const names[4], unsigned set)
{
    make_dirs(dir);
    for (unsigned i = 0; i < 4; i++)
        write_idx(dir, names[i], strstr(names[i], ".gz") != NULL, set, i / 2, i % 2);
}

static const char *const plain_names[4] = { "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                            "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte" };

static struct data_set *opened(const char *spec, const char *like)
{
    struct data_set *set;
    if (data_open(spec, like, false, &set, error, sizeof error) != DATA_OK)
        fail_msg("%s: %s", spec, error);
    return set;
}

static void check_split(const struct data_split *split, size_t n, size_t pixels, unsigned set,
                        unsigned which)
{
    assert_int_equal(split->n, n);
    for (size_t i = 0; i < n * pixels; i++)
        assert_int_equal(split->images[i], pixel(set, which, i));
    for (size_t i = 0; i < n; i++) assert_int_equal(split->labels[i], label(set, which, i));
}

/* Opens and compares every pixel and label with those of small set number `set`. */
static void check_set(const char *spec, unsigned set)
{
    struct data_set *d = opened(spec, NULL);
    assert_true(d->c == 1 && d->h == H && d->w == W && d->open_classes && !d->verified &&
                !d->synthetic);
    check_split(&d->train, TRAIN, H * W, set, 0);
    check_split(&d->test, TEST, H * W, set, 1);
    size_t most = 0;
    for (size_t i = 0; i < TRAIN; i++) most = label(set, 0, i) > most ? label(set, 0, i) : most;
    for (size_t i = 0; i < TEST; i++) most = label(set, 1, i) > most ? label(set, 1, i) : most;
    assert_int_equal(d->classes, most + 1);
    assert_int_equal(strncmp(d->name, "idx:", 4), 0);
    assert_string_equal(d->name + 4, d->source);
    assert_string_equal(d->remark, "not known");
    assert_null(d->class_names);
    data_close(&d);
}

static void idx_layouts(void **state)
{
    (void)state;
    static const char *const spellings[][4] = {
        { "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
          "t10k-labels-idx1-ubyte" },
        { "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz",
          "t10k-labels-idx1-ubyte.gz" },
        { "train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte",
          "t10k-labels.idx1-ubyte" },
        { "train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte", "test-images-idx3-ubyte",
          "test-labels.idx1-ubyte.gz" },
        { "emnist-digits-train-images-idx3-ubyte", "emnist-digits-train-labels-idx1-ubyte",
          "emnist-digits-test-images-idx3-ubyte.gz", "emnist-digits-test-labels-idx1-ubyte" }
    };
    char dir[64], spec[600];
    for (unsigned i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        snprintf(dir, sizeof dir, "s%u", i);
        write_set(dir, spellings[i], i);
        check_set(in(dir, ""), i);
        snprintf(spec, sizeof spec, "idx:%s", in(dir, ""));
        check_set(spec, i);
    }
    write_set("torch/raw", plain_names, 9);
    check_set(in("torch", ""), 9);
    check_set(in("torch", "raw"), 9);
    /* Files with no prefix come before those with one, unpacked before packed, other files are
     * nothing. */
    write_set("s4", plain_names, 11);
    check_set(in("s4", ""), 11);
    write_set("s0", spellings[1], 12);
    check_set(in("s0", ""), 0);
    static const char *const others[] = { "train-images-idx3-ubyte.bak",
                                          "xtrain-images-idx3-ubyte",
                                          "train-images-idx1-ubyte",
                                          "train-labels-idx3-ubyte",
                                          "train-imagesidx3-ubyte",
                                          "images-idx3-ubyte",
                                          "idx3-ubyte",
                                          "valid-images-idx3-ubyte",
                                          ".gz" };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        write_file(in("s2", others[i]), "x", 1);
    check_set(in("s2", ""), 2);
    /* The digest is of the content, and of all of it. */
    struct data_set *a = opened(in("s0", ""), NULL), *b;
    write_set("again", spellings[1], 0);
    b = opened(in("again", ""), NULL);
    assert_string_equal(a->digest, b->digest);
    data_close(&b);
    for (unsigned i = 0; i < 4; i++) {
        write_set("again", spellings[1], 0);
        write_idx("again", spellings[1][i], true, 1, i / 2, i % 2); /* one file of the next set */
        b = opened(in("again", ""), NULL);
        assert_string_not_equal(a->digest, b->digest);
        data_close(&b);
    }
    data_close(&a);
}

static void refused_as(const char *spec, enum data_status want, const char *part)
{
    struct data_set *set;
    enum data_status status = data_open(spec, NULL, false, &set, error, sizeof error);
    if (status != want || !strstr(error, part))
        fail_msg("%s: expected %d and '%s', found %d: '%s'", spec, (int)want, part, (int)status,
                 error);
    assert_null(set);
}

static void sets_that_do_not_fit(void **state)
{
    (void)state;
    uint8_t b[400];
    for (unsigned i = 0; i < 4; i++) { /* each of the four is needed */
        write_set("d", plain_names, 1);
        unlink(in("d", plain_names[i]));
        char part[64];
        snprintf(part, sizeof part, "there is no %s nor", plain_names[i]);
        refused_as(in("d", ""), DATA_NOT_FOUND, part);
        write_file(in("d", plain_names[i]), "short", 5);
        refused_as(in("d", ""), DATA_BAD, plain_names[i]);
    }
    write_set("d", plain_names, 1);
    write_file(in("d", plain_names[3]), b, make_idx(b, 1, (uint32_t[]){ TEST + 1 }, TEST + 1));
    refused_as(in("d", ""), DATA_BAD, "4 labels for 3 images");
    write_set("d", plain_names, 1);
    write_file(in("d", plain_names[2]), b,
               make_idx(b, 3, (uint32_t[]){ TEST, W, H }, TEST * H * W));
    refused_as(in("d", ""), DATA_BAD, "images are 6x4, the training images are 4x6");
    write_file(in("d", plain_names[2]), b,
               make_idx(b, 3, (uint32_t[]){ TEST, H, W + 1 }, TEST * H * (W + 1)));
    refused_as(in("d", ""), DATA_BAD, "images are 4x7");
    static const char *const prefixed[4] = { "a-train-images-idx3-ubyte",
                                             "b-train-labels-idx1-ubyte",
                                             "c-t10k-images-idx3-ubyte",
                                             "b-t10k-labels-idx1-ubyte" };
    write_set("several", prefixed, 1);
    refused_as(in("several", ""), DATA_BAD, "several data sets (a-..., c-...)");
    /* No files, but what one can help with. */
    make_dirs("none");
    refused_as(in("none", ""), DATA_NOT_FOUND, "neither IDX files");
    refused_as(in("absent", ""), DATA_NOT_FOUND, "neither a known set");
    write_file(in("none", "raw"), "", 0); /* files where directories are looked for */
    write_file(in("none", "cifar-10-batches-bin"), "", 0);
    refused_as(in("none", ""), DATA_NOT_FOUND, "neither IDX files");
    write_set("own/mnist", plain_names, 1);
    unlink(in("own/mnist", plain_names[3]));
    setenv("CVY_DATA_DIR", in("own", ""), 1);
    refused_as("mnist", DATA_NOT_FOUND, "there is no t10k-labels-idx1-ubyte nor");
    write_file(in("none", "cifar-10-python.tar.gz"), "", 0);
    refused_as(in("none", ""), DATA_NOT_FOUND, "take the binary version");
    write_file(in("none", "cifar-10-binary.tar.gz"), "", 0);
    refused_as(in("none", ""), DATA_NOT_FOUND, "unpack it there");
    make_dirs("none/cifar-10-batches-py");
    write_file(in("none", "cifar-10-batches-py/data_batch_1"), "", 0);
    refused_as(in("none", ""), DATA_NOT_FOUND, "Python pickles");
    write_file(in("py", ""), "", 0);
    refused_as(in("py", ""), DATA_NOT_FOUND, "expected a directory or an .npz file");
    unlink(in("py", ""));
    make_dirs("py");
    write_file(in("py", "data_batch_1"), "", 0);
    refused_as(in("py", ""), DATA_NOT_FOUND, "Python pickles");
    setenv("CVY_DATA_DIR", in("py", ""), 1);
    refused_as("cifar10", DATA_NOT_FOUND, "Python pickles");
    setenv("CVY_DATA_DIR", in("own", ""), 1);
    /* Special files, and what may not be read, say so. */
    write_set("d", plain_names, 1);
    unlink(in("d", plain_names[0]));
    assert_int_equal(mkfifo(in("d", plain_names[0]), 0600), 0);
    refused_as(in("d", ""), DATA_BAD, "not a regular file");
    unlink(in("d", plain_names[0]));
    assert_int_equal(symlink("nowhere", in("d", plain_names[0])), 0);
    refused_as(in("d", ""), DATA_IO, "No such file");
    char longest[5000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    refused_as(longest, DATA_IO, "too long");
    assert_int_equal(symlink("loop", in("loop", "")), 0);
    refused_as(in("loop", "x"), DATA_IO, "symbolic links");
    write_set("closed", plain_names, 1);
    assert_int_equal(chmod(in("closed", ""), 0), 0);
    uid_t user = geteuid();
    if (!user) assert_int_equal(seteuid(65534), 0); /* the superuser may read everything */
    refused_as(in("closed", ""), DATA_IO, "Permission denied");
    refused_as(in("closed", "x"), DATA_IO, "Permission denied");
    setenv("CVY_DATA_DIR", in("closed", ""), 1);
    refused_as("mnist", DATA_NOT_FOUND, "Permission denied");
    refused_as("cifar10", DATA_NOT_FOUND, "Permission denied");
    assert_int_equal(seteuid(user), 0);
}

static void put_cifar(const char *dir, const char *name, unsigned file, size_t n)
{
    uint8_t *b = malloc(n * 3073);
    for (size_t i = 0; i < n; i++) {
        b[i * 3073] = label(file, file == 6, i);
        for (size_t k = 0; k < 3072; k++)
            b[i * 3073 + 1 + k] = pixel(file, file == 6, i * 3072 + k);
    }
    write_file(in(dir, name), b, n * 3073);
    free(b);
}

static void write_cifar(const char *dir)
{
    char name[32];
    make_dirs(dir);
    for (unsigned i = 1; i <= 5; i++) {
        snprintf(name, sizeof name, "data_batch_%u.bin", i);
        put_cifar(dir, name, i, i + 1); /* 2 to 6 images */
    }
    put_cifar(dir, "test_batch.bin", 6, 4);
}

static void cifar_layouts(void **state)
{
    (void)state;
    static const char *const places[] = { "c", "c2/cifar-10-batches-bin" };
    char spec[600];
    for (size_t i = 0; i < 2; i++) {
        write_cifar(places[i]);
        snprintf(spec, sizeof spec, "%s%s", i ? "cifar:" : "", in(i ? "c2" : "c", ""));
        struct data_set *d = opened(spec, NULL);
        assert_true(d->c == 3 && d->h == 32 && d->w == 32 && d->classes == 10 && !d->open_classes &&
                    !d->verified);
        assert_int_equal(strncmp(d->name, "cifar:/", 7), 0);
        assert_null(d->class_names);
        assert_int_equal(d->train.n, 2 + 3 + 4 + 5 + 6);
        size_t at = 0;
        for (unsigned file = 1; file <= 5; file++) { /* all batches, in order */
            const struct data_split part = { file + 1, d->train.images + at * 3072,
                                             d->train.labels + at };
            check_split(&part, file + 1, 3072, file, 0);
            at += file + 1;
        }
        check_split(&d->test, 4, 3072, 6, 1);
        data_close(&d);
    }
    char name[32];
    for (unsigned i = 1; i <= 6; i++) { /* all six are needed */
        if (i < 6) snprintf(name, sizeof name, "data_batch_%u.bin", i);
        else strcpy(name, "test_batch.bin");
        unlink(in("c", name));
        refused_as(in("c", ""), i == 1 ? DATA_NOT_FOUND : DATA_IO, i == 1 ? "neither" : name);
        put_cifar("c", name, i, i < 6 ? i + 1 : 4);
    }
}

/* The archive's own list of classes. */
static void cifar_classes(void **state)
{
    (void)state;
    write_cifar("c");
    write_file(in("c", "batches.meta.txt"), "a\nb\nc\r\nd\ne\nf\ng\nh\ni\nj\n\n", 22);
    struct data_set *d = opened(in("c", ""), NULL);
    assert_string_equal(d->class_names[2], "c");
    assert_string_equal(d->class_names[9], "j");
    data_close(&d);
    write_file(in("c", "batches.meta.txt"), "a\nb\n", 4);
    d = opened(in("c", ""), NULL);
    assert_null(d->class_names);
    data_close(&d);
    char large[400];
    memset(large, 'x', sizeof large);
    write_file(in("c", "batches.meta.txt"), large, sizeof large);
    d = opened(in("c", ""), NULL);
    assert_null(d->class_names);
    data_close(&d);
}

/* One test file among the training files. */
static void cifar_test_file_among_the_others(void **state)
{
    (void)state;
    write_cifar("c");
    struct data_set *d = opened(in("c", ""), NULL);
    assert_string_equal(d->note, "");
    data_close(&d);
    for (unsigned copy = 1; copy <= 5; copy++) { /* whichever it is */
        char batch[32];
        snprintf(batch, sizeof batch, "data_batch_%u.bin", copy);
        put_cifar("c", batch, 6, 4);
        d = opened(in("c", ""), NULL);
        assert_non_null(strstr(d->note, "one of the training files is the test file"));
        data_close(&d);
        put_cifar("c", batch, copy, copy + 1);
    }
    put_cifar("c", "data_batch_4.bin", 6, 4);
    put_cifar("c", "data_batch_5.bin", 6, 4);
    d = opened(in("c", ""), NULL);
    assert_non_null(strstr(d->note, "one of the training files is the test file"));
    data_close(&d);
    make_dirs("own");
    assert_int_equal(symlink("../c", in("own", "cifar10")), 0);
    setenv("CVY_DATA_DIR", in("own", ""), 1);
    d = opened("cifar10", NULL); /* the worst of what is to be said */
    assert_non_null(strstr(d->note, "one of the training files is the test file"));
    data_close(&d);
}

static void write_cifar100(const char *dir)
{
    make_dirs(dir);
    for (size_t test = 0; test < 2; test++) {
        const size_t n = test ? 3 : 5;
        uint8_t *b = malloc(n * 3074);
        for (size_t i = 0; i < n; i++) {
            b[i * 3074] = (uint8_t)(i + 10 * test);
            b[i * 3074 + 1] = (uint8_t)(90 + i + test);
            for (size_t k = 0; k < 3072; k++)
                b[i * 3074 + 2 + k] = pixel(9, (unsigned)test, i * 3072 + k);
        }
        write_file(in(dir, test ? "test.bin" : "train.bin"), b, n * 3074);
        free(b);
    }
}

/* Under its names, by its directory, in either place; a name that is asked for is not vouched
 * for. */
static void cifar100_layouts(void **state)
{
    (void)state;
    char spec[600], digest[65] = "";
    write_cifar100("own/cifar-100-binary");
    setenv("CVY_DATA_DIR", in("own", ""), 1);
    const char *const specs[] = { "cifar100", "cifar100-coarse", "",
                                  "cifar100:", "cifar100-coarse:" };
    for (size_t i = 0; i < 5; i++) {
        const bool coarse = strstr(specs[i], "coarse") != NULL, named = i < 2;
        const char *dir = in(i == 3 ? "own/cifar-100-binary" : "own", "");
        snprintf(spec, sizeof spec, "%s%s", specs[i], named ? "" : dir);
        struct data_set *d = opened(spec, NULL);
        assert_true(d->c == 3 && d->h == 32 && d->w == 32 && !d->open_classes && !d->verified);
        assert_int_equal(d->classes, coarse ? 20 : 100);
        assert_int_equal(d->train.n, 5);
        assert_int_equal(d->test.n, 3);
        for (size_t k = 0; k < 5; k++) assert_int_equal(d->train.labels[k], coarse ? k : 90 + k);
        assert_int_equal(d->test.labels[2], coarse ? 12 : 93);
        assert_int_equal(d->test.images[3072 * 2 + 7], pixel(9, 1, 3072 * 2 + 7));
        assert_string_equal(d->prefix, coarse ? "cifar100-coarse:" : "");
        assert_int_equal(
            strncmp(d->name, coarse ? "cifar100-coarse:/" : "cifar100:/", coarse ? 17 : 10), 0);
        assert_int_equal(named, strstr(d->note, "of the archive only") != NULL);
        if (i < 2) assert_string_not_equal(d->digest, digest); /* other labels, another set */
        if (i < 2) strcpy(digest, d->digest);
        data_close(&d);
    }
    write_file(in("own/cifar-100-binary", "coarse_label_names.txt"),
               "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\no\np\nq\nr\ns\nt\n", 40);
    struct data_set *d = opened("cifar100-coarse", NULL);
    assert_string_equal(d->class_names[19], "t");
    data_close(&d);
    d = opened("cifar100", NULL);
    assert_null(d->class_names);
    data_close(&d);
    unlink(in("own/cifar-100-binary", "test.bin"));
    refused_as("cifar100", DATA_IO, "test.bin");
    unlink(in("own/cifar-100-binary", "train.bin"));
    refused_as("cifar100", DATA_NOT_FOUND, "cifar-100-binary.tar.gz");
}

/* Both formats in one directory: what the model expects. */
static void cifar_beside_idx(void **state)
{
    (void)state;
    char spec[600];
    write_cifar("c");
    write_cifar("c2/cifar-10-batches-bin");
    write_set("c", plain_names, 1);
    struct data_set *d = opened(in("c", ""), "cifar10");
    assert_int_equal(d->c, 3);
    data_close(&d);
    d = opened(in("c", ""), "fashion-mnist");
    assert_int_equal(d->c, 1);
    data_close(&d);
    d = opened(in("c", ""), NULL);
    assert_int_equal(d->c, 1);
    data_close(&d);
    snprintf(spec, sizeof spec, "cifar:%s", in("c", ""));
    d = opened(spec, "fashion-mnist");
    assert_int_equal(d->c, 3);
    data_close(&d);
    d = opened(in("c2", ""), "fashion-mnist"); /* only the other is there */
    assert_int_equal(d->c, 3);
    data_close(&d);
    snprintf(spec, sizeof spec, "idx:%s", in("c2", ""));
    refused_as(spec, DATA_NOT_FOUND, "neither IDX files");
}

/* The same name in every place that is searched: the first is taken, then the next when that is
 * gone. */
static void search_order(void **state)
{
    (void)state;
    static const char *const order[] = { "own/mnist",
                                         "own/MNIST/raw",
                                         "own",
                                         "cache/convoy/mnist",
                                         "cache/convoy/MNIST/raw",
                                         "share1/datasets/mnist",
                                         "share2/datasets/mnist/raw" };
    char dirs[300], found[4400];
    for (unsigned i = 0; i < sizeof order / sizeof *order; i++) write_set(order[i], plain_names, i);
    write_set(".cache/convoy/mnist", plain_names, 20);
    setenv("CVY_DATA_DIR", in("own", ""), 1);
    setenv("XDG_CACHE_HOME", in("cache", ""), 1);
    snprintf(dirs, sizeof dirs, ":%s/share1:%s/share2", root, root);
    setenv("XDG_DATA_DIRS", dirs, 1);
    for (unsigned i = 0; i < sizeof order / sizeof *order; i++) {
        check_set("mnist", i);
        assert_true(data_find("mnist", found, sizeof found));
        assert_string_equal(found, in(order[i], ""));
        for (unsigned k = 0; k < 4; k++) unlink(in(order[i], plain_names[k]));
    }
    assert_false(data_find("mnist", found, sizeof found));
    assert_false(data_find("no-such-set", found, sizeof found));
    setenv("XDG_CACHE_HOME", "", 1); /* then it is ~/.cache */
    check_set("mnist", 20);
    unsetenv("XDG_CACHE_HOME");
    check_set("mnist", 20);
    unsetenv("HOME");
    assert_false(data_find("mnist", found, sizeof found));
    setenv("HOME", "", 1);
    assert_false(data_find("mnist", found, sizeof found));
    char many[9000];
    memset(many, 'x', sizeof many);
    snprintf(many + 4500, sizeof many - 4500, ":%s/share3", root);
    setenv("XDG_DATA_DIRS", many, 1); /* one that is too long is passed over */
    assert_false(data_find("mnist", found, sizeof found));
    write_set("share3/datasets/mnist", plain_names, 3);
    check_set("mnist", 3);
    unsetenv("XDG_DATA_DIRS");
    unsetenv("CVY_DATA_DIR");
    assert_false(data_find("mnist", found, sizeof found));
    setenv("CVY_DATA_DIR", "", 1);
    assert_false(data_find("mnist", found, sizeof found));
    /* CIFAR-10 under its own name and under the archive's. */
    write_cifar("own/cifar-10-batches-bin");
    setenv("CVY_DATA_DIR", in("own", ""), 1);
    assert_true(data_find("cifar10", found, sizeof found));
    assert_string_equal(found, in("own", "cifar-10-batches-bin"));
    write_cifar("own/cifar10/cifar-10-batches-bin");
    struct data_set *d = opened("cifar10", NULL);
    assert_string_equal(d->source, in("own", "cifar10/cifar-10-batches-bin"));
    assert_non_null(strstr(d->note, "not the published files of cifar10"));
    assert_int_equal(strncmp(d->name, "cifar:", 6), 0);
    data_close(&d);
    assert_int_equal(data_open("cifar10", NULL, true, &d, error, sizeof error), DATA_BAD);
    assert_non_null(strstr(error, "not the published files of cifar10"));
    assert_int_equal(data_open(in("own", "cifar10"), NULL, true, &d, error, sizeof error),
                     DATA_BAD);
    assert_non_null(strstr(error, "none of the published sets"));
    write_set("own/kmnist", plain_names, 1);
    d = opened("kmnist", NULL);
    assert_non_null(strstr(d->note, "may or may not hold kmnist"));
    data_close(&d);
}

/* The table of published hashes: whole, without doubles, and each leads to its set and place. */
static void published_hashes(void **state)
{
    (void)state;
    static const size_t files[FORMATS] = { IDX_FILES, CIFAR_FILES }; /* of others none is known */
    size_t sets = 0;
    const struct known *k;
    for (; (k = known_at(sets)); sets++) {
        assert_ptr_equal(known_find(k->shown.name), k);
        if (!files[k->format]) assert_null(k->hash[0]);
        for (size_t i = 0; i < files[k->format]; i++) {
            struct fingerprint print = { "", "" };
            size_t place = 99;
            assert_int_equal(strlen(k->hash[i]), k->format == FORMAT_CIFAR10 ? 32 : 64);
            assert_int_equal(strspn(k->hash[i], "0123456789abcdef"), strlen(k->hash[i]));
            strcpy(k->packed ? print.packed : print.content, k->hash[i]);
            assert_ptr_equal(known_file(&print, &place), k);
            assert_int_equal(place, i);
            /* the hash of a packed file is none of an unpacked one */
            memset(&print, 0, sizeof print);
            strcpy(k->packed ? print.content : print.packed, k->hash[i]);
            assert_null(known_file(&print, &place));
        }
    }
    const struct data_known *shown;
    assert_int_equal(data_known_sets(&shown), sets);
    for (size_t i = 0; i < sets; i++) assert_string_equal(shown[i].name, known_at(i)->shown.name);
    assert_null(known_find("MNIST"));
}

static void link_file(const char *from, const char *dir, const char *name)
{
    char target[512];
    snprintf(target, sizeof target, "/usr/share/datasets/fashion-mnist/%s.gz", from);
    assert_int_equal(symlink(target, in(dir, name)), 0);
}

/* The real files, where the distribution's package is: named by what they hold, wherever they
 * lie. */
static void real_files(void **state)
{
    (void)state;
    struct data_set *d;
    if (access("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz", R_OK)) {
        print_message(
            "left out: the real Fashion-MNIST: not here (Debian: dataset-fashion-mnist)\n");
        skip();
    }
    make_dirs("mnist"); /* a directory's name is nothing */
    for (unsigned i = 0; i < 4; i++)
        link_file(plain_names[i], "mnist", i ? plain_names[i] : "train-images.idx3-ubyte.gz");
    assert_int_equal(data_open(in("mnist", ""), NULL, true, &d, error, sizeof error), DATA_OK);
    assert_string_equal(d->name, "fashion-mnist");
    assert_true(d->verified && d->train.n == 60000 && d->test.n == 10000 && d->classes == 10 &&
                !d->open_classes);
    assert_string_equal(d->class_names[9], "ankle boot");
    assert_string_equal(d->remark, "sha256 ok");
    assert_string_equal(d->note, "");
    data_close(&d);
    setenv("CVY_DATA_DIR", root, 1);
    refused_as("mnist", DATA_NOT_FOUND, "/mnist holds fashion-mnist");
    /* Somebody else's test labels beside them: the images tell all the same. */
    unlink(in("mnist", plain_names[3]));
    write_idx("mnist", "t10k-labels-idx1-ubyte", false, 1, 1, true);
    refused_as("mnist", DATA_BAD, "3 labels for 10000 images");
    uint8_t *labels = calloc(1, 10008);
    make_idx(labels, 1, (uint32_t[]){ 10000 }, 10000);
    write_file(in("mnist", plain_names[3]), labels, 10008);
    free(labels);
    d = opened(in("mnist", ""), NULL);
    assert_int_equal(strncmp(d->name, "idx:", 4), 0);
    assert_null(d->class_names);
    data_close(&d);
    /* The test files as training files. */
    make_dirs("twice");
    for (unsigned i = 0; i < 4; i++) link_file(plain_names[2 + i % 2], "twice", plain_names[i]);
    d = opened(in("twice", ""), NULL);
    assert_string_equal(d->name, "fashion-mnist");
    assert_true(!d->verified && d->class_names &&
                strstr(d->note, "the training images are the test images"));
    assert_non_null(strstr(d->remark, "not in their places"));
    data_close(&d);
    assert_int_equal(data_open(in("twice", ""), NULL, true, &d, error, sizeof error), DATA_BAD);
    make_dirs("swapped");
    for (unsigned i = 0; i < 4; i++) link_file(plain_names[2 + i % 2], "swapped", plain_names[i]);
    unlink(in("swapped", plain_names[2]));
    unlink(in("swapped", plain_names[3]));
    uint8_t *tiny = calloc(1, 16 + 784);
    write_file(in("swapped", plain_names[2]), tiny,
               make_idx(tiny, 3, (uint32_t[]){ 1, 28, 28 }, 784));
    write_file(in("swapped", plain_names[3]), tiny, make_idx(tiny, 1, (uint32_t[]){ 1 }, 1));
    free(tiny);
    d = opened(in("swapped", ""), NULL);
    assert_non_null(
        strstr(d->note, "test images among the training images: those of fashion-mnist"));
    data_close(&d);
}

#define WITH_ROOT(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idx_plain_and_gzip),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_bit_of_a_gzip_stream_is_seen),
        cmocka_unit_test(headers_that_lie),
        cmocka_unit_test(labels_in_range),
        cmocka_unit_test(cifar_records),
        cmocka_unit_test(cifar100_records),
        cmocka_unit_test(synthetic_is_the_same_every_time),
        cmocka_unit_test(places_that_hold_nothing),
        cmocka_unit_test(published_hashes),
        WITH_ROOT(idx_layouts),
        WITH_ROOT(sets_that_do_not_fit),
        WITH_ROOT(cifar_layouts),
        WITH_ROOT(cifar_classes),
        WITH_ROOT(cifar100_layouts),
        WITH_ROOT(cifar_test_file_among_the_others),
        WITH_ROOT(cifar_beside_idx),
        WITH_ROOT(search_order),
        WITH_ROOT(real_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
