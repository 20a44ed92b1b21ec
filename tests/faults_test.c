/* Readers, checkpoints and the training loop when the machine fails them: every allocation and
 * every call of the system that they make fails in turn, alone and with all that come after, or is
 * interrupted, or does only a part. Either the result is right all the same, or the sentence says
 * the real reason; no file stays open, no old checkpoint is lost. The linker puts the calls below
 * in the place of the real ones (--wrap, in meson.build). Also files that nobody may ship, by a
 * pretence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <convoy/convoy.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <md5.h>
#include <signal.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "data/known.h"
#include "models/models.h"
#include "report/events.h"
#include "report/html.h"
#include "report/results.h"
#include "report/visual_page.h"
#include "train/checkpoint.h"
#include "train/train.h"

/* ------------------------------------------------------------------------------ calls that fail */

/* PARTS: read and write do one byte; END: read says the file ends; ENGINE: the library refuses */
enum { MEMORY = 1, SYSTEM = 2, PARTS = 4, END = 8, ENGINE = 16 };

static struct {
    unsigned kind;
    long in;   /* calls of that kind until one fails; -1: none does */
    bool on;   /* all after it fail, too */
    int error; /* what errno says */
    const char *hit;
} fault = { .in = -1 };

static bool fails(unsigned kind, const char *name)
{
    if (!(fault.kind & kind) || fault.in < 0) return false;
    if (fault.in > 0) {
        fault.in--;
        return false;
    }
    if (!fault.on) fault.in = -1;
    fault.hit = name;
    errno = fault.error;
    return true;
}

#define WRAP(type, name, kind, failed, parameters, arguments)           \
    type __real_##name parameters;                                      \
    type __wrap_##name parameters;                                      \
    type __wrap_##name parameters                                       \
    {                                                                   \
        return fails(kind, #name) ? (failed) : __real_##name arguments; \
    }

WRAP(void *, malloc, MEMORY, NULL, (size_t n), (n))
WRAP(void *, calloc, MEMORY, NULL, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, MEMORY, NULL, (void *p, size_t n), (p, n))
WRAP(char *, strdup, MEMORY, NULL, (const char *s), (s))
WRAP(char *, strndup, MEMORY, NULL, (const char *s, size_t n), (s, n))
WRAP(FILE *, open_memstream, MEMORY, NULL, (char **text, size_t *size), (text, size))
WRAP(int, inflateInit2_, MEMORY, Z_MEM_ERROR,
     (z_streamp z, int bits, const char *version, int size), (z, bits, version, size))
WRAP(int, inflate, MEMORY, Z_MEM_ERROR, (z_streamp z, int flush), (z, flush))
WRAP(json_t *, json_object, MEMORY, NULL, (void), ())
WRAP(json_t *, json_array, MEMORY, NULL, (void), ())
WRAP(json_t *, json_string, MEMORY, NULL, (const char *s), (s))
WRAP(json_t *, json_integer, MEMORY, NULL, (json_int_t i), (i))
WRAP(json_t *, json_real, MEMORY, NULL, (double x), (x))
WRAP(char *, json_dumps, MEMORY, NULL, (const json_t *json, size_t flags), (json, flags))
WRAP(enum cvy_status, cvy_trainer_param, MEMORY, CVY_E_NOMEM,
     (const cvy_trainer *trainer, enum cvy_param_kind kind, size_t i, cvy_param_info *info),
     (trainer, kind, i, info))
WRAP(enum cvy_status, cvy_trainer_get, MEMORY, CVY_E_NOMEM,
     (const cvy_trainer *trainer, enum cvy_param_kind kind, const char *name, float *out, size_t n),
     (trainer, kind, name, out, n))
WRAP(enum cvy_status, cvy_trainer_set, ENGINE, CVY_E_STATE,
     (cvy_trainer * trainer, enum cvy_param_kind kind, const char *name, const float *in, size_t n),
     (trainer, kind, name, in, n))
WRAP(enum cvy_status, cvy_predictor_param, MEMORY, CVY_E_NOMEM,
     (const cvy_predictor *predictor, enum cvy_param_kind kind, size_t i, cvy_param_info *info),
     (predictor, kind, i, info))
WRAP(enum cvy_status, cvy_predictor_set, ENGINE, CVY_E_STATE,
     (cvy_predictor * predictor, enum cvy_param_kind kind, const char *name, const float *in,
      size_t n),
     (predictor, kind, name, in, n))
WRAP(int, fstat64, SYSTEM, -1, (int fd, struct stat *st), (fd, st))
WRAP(int, stat64, SYSTEM, -1, (const char *path, struct stat *st), (path, st))
WRAP(int, fchmod, SYSTEM, -1, (int fd, mode_t mode), (fd, mode))
WRAP(int, mkdir, SYSTEM, -1, (const char *path, mode_t mode), (path, mode))
WRAP(int, rename, SYSTEM, -1, (const char *from, const char *to), (from, to))
WRAP(int, mkostemp64, SYSTEM, -1, (char *name, int flags), (name, flags))
WRAP(int, ftruncate64, SYSTEM, -1, (int fd, off_t n), (fd, n))
WRAP(ssize_t, pread64, SYSTEM, -1, (int fd, void *to, size_t n, off_t at), (fd, to, n, at))
WRAP(ssize_t, pwrite64, SYSTEM, -1, (int fd, const void *from, size_t n, off_t at),
     (fd, from, n, at))
WRAP(int, kill, SYSTEM, -1, (pid_t pid, int signal), (pid, signal))
WRAP(DIR *, opendir, SYSTEM, NULL, (const char *path), (path))

int __real_json_object_set_new(json_t *json, const char *key, json_t *value);
int __wrap_json_object_set_new(json_t *json, const char *key, json_t *value);
int __wrap_json_object_set_new(json_t *json, const char *key, json_t *value)
{
    if (!fails(MEMORY, "json_object_set_new")) return __real_json_object_set_new(json, key, value);
    json_decref(value); /* as the real one does */
    return -1;
}
int __wrap_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **out, const char *format, ...)
{
    va_list args;
    if (fails(MEMORY, "asprintf")) return -1;
    va_start(args, format);
    int n = vasprintf(out, format, args);
    va_end(args);
    return n;
}
int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, mode_t mode);
int __wrap_open64(const char *path, int flags, mode_t mode)
{
    return fails(SYSTEM, "open") ? -1 : __real_open64(path, flags, mode);
}
int __real_close(int fd);
int __real_fcntl64(int fd, int command, void *p);
int __wrap_fcntl64(int fd, int command, void *p);
/* What another process does to the lock's file after we have opened it: nothing, removes it, puts
 * another in its place. */
static enum { LEAVE, REMOVE, REPLACE } meanwhile;
static const char *in(const char *name);
int __wrap_fcntl64(int fd, int command, void *p)
{
    if (meanwhile != LEAVE) unlink(in(FILES_LOCK));
    if (meanwhile == REPLACE) __real_close(__real_open64(in(FILES_LOCK), O_CREAT | O_WRONLY, 0600));
    meanwhile = LEAVE;
    return fails(SYSTEM, "fcntl") ? -1 : __real_fcntl64(fd, command, p);
}
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    int result = __real_close(fd); /* closed in any case */
    return fails(SYSTEM, "close") ? -1 : result;
}
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    (void)fd; /* disks are slow */
    return fails(SYSTEM, "fsync") ? -1 : 0;
}
ssize_t __real_read(int fd, void *to, size_t n);
ssize_t __wrap_read(int fd, void *to, size_t n);
ssize_t __wrap_read(int fd, void *to, size_t n)
{
    if (fails(SYSTEM, "read")) return -1;
    if (fails(END, "read")) return 0;
    return __real_read(fd, to, n && fails(PARTS, "read") ? 1 : n);
}
ssize_t __real_write(int fd, const void *from, size_t n);
ssize_t __wrap_write(int fd, const void *from, size_t n);
ssize_t __wrap_write(int fd, const void *from, size_t n)
{
    if (fails(SYSTEM, "write")) return -1;
    return __real_write(fd, from, n && fails(PARTS, "write") ? 1 : n);
}

/* Files that are taken for published ones: which set, and their contents' hashes in order. */
static struct {
    const struct known *k;
    char hash[CIFAR_FILES][65];
} pretence;

const struct known *__real_known_file(const struct fingerprint *file, size_t *place);
const struct known *__wrap_known_file(const struct fingerprint *file, size_t *place);
const struct known *__wrap_known_file(const struct fingerprint *file, size_t *place)
{
    for (size_t i = 0; pretence.k && i < CIFAR_FILES; i++) {
        *place = i;
        if (*pretence.hash[i] && !strcmp(pretence.hash[i], file->content)) return pretence.k;
    }
    return __real_known_file(file, place);
}

/* ------------------------------------------------------------------------------------ the sweep */

enum outcome { GOOD, NO_MEMORY, OTHER };
static char root[64], error[5000];

static size_t open_files(void)
{
    size_t n = 0;
    DIR *d = __real_opendir("/proc/self/fd");
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

static const char *in(const char *name)
{
    static char paths[4][300];
    static unsigned at;
    char *path = paths[at++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

/* Lets call after call of `run` fail, until nothing is left that could. `least`: how many there are
 * at the least. */
static void sweep(enum outcome (*run)(void), unsigned kind, int code, bool on, long least)
{
    for (long k = 0;; k++) {
        size_t before = open_files();
        fault.kind = kind;
        fault.in = k;
        fault.on = on;
        fault.error = code;
        fault.hit = NULL;
        *error = 0;
        enum outcome result = run();
        fault.in = -1;
        bool right = result == GOOD;
        if (kind == MEMORY) right |= result == NO_MEMORY && strstr(error, "memory");
        if (kind == SYSTEM && code != EINTR)
            right |= result == OTHER && strstr(error, strerror(code));
        if (kind == END) right |= result == OTHER;
        if (!right)
            fail_msg("call %ld (%s) fails with %s: result %d, '%s'", k, fault.hit, strerror(code),
                     (int)result, error);
        if (open_files() != before)
            fail_msg("call %ld (%s) fails: a file stays open", k, fault.hit);
        if (fault.hit) continue;
        assert_int_equal(result, GOOD);
        if (k < least) fail_msg("only %ld calls, expected %ld", k, least);
        return;
    }
}

/* Runs with the one call failing of which this is the name; false: there is none. */
static bool fails_at(const char *name, int code, enum outcome (*run)(void), enum outcome *result)
{
    for (long k = 0;; k++) {
        fault.kind = SYSTEM;
        fault.in = k;
        fault.on = false;
        fault.error = code;
        fault.hit = NULL;
        *result = run();
        fault.in = -1;
        if (!fault.hit) return false;
        if (!strcmp(fault.hit, name)) return true;
    }
}

/* -------------------------------------------------------------------------------------- readers */

static void write_file(const char *where, const void *bytes, size_t size)
{
    FILE *f = fopen(where, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static uint8_t value(size_t file, size_t i) { return (uint8_t)(i * 7 + i / 13 + file * 50); }

/* Four IDX files of 3 images of 2x2, the first two packed; their hashes become the pretence's. */
static void write_idx(const char *dir)
{
    static const char *const names[] = { "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                                         "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte" };
    mkdir(in(dir), 0777);
    for (size_t i = 0; i < 4; i++) {
        char name[100];
        uint8_t bytes[64] = { 0, 0, 8, i % 2 ? 1 : 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2 };
        size_t head = i % 2 ? 8 : 16, n = i % 2 ? 3 : 12;
        for (size_t j = 0; j < n; j++) bytes[head + j] = i % 2 ? (uint8_t)(j + i) : value(i, j);
        SHA256Data(bytes, head + n, pretence.hash[i]);
        snprintf(name, sizeof name, "%s/%s", dir, names[i]);
        if (i < 2) {
            gzFile f = gzopen(in(name), "wb");
            assert_non_null(f);
            assert_int_equal(gzwrite(f, bytes, (unsigned)(head + n)), head + n);
            assert_int_equal(gzclose(f), Z_OK);
            FILE *more = fopen(in(name), "ab"); /* an empty member */
            assert_int_equal(fwrite("\x1f\x8b\x08\0\0\0\0\0\0\3\3\0\0\0\0\0\0\0\0\0", 1, 20, more),
                             20);
            fclose(more);
        } else {
            write_file(in(name), bytes, head + n);
        }
    }
}

/* Six files of two images; the same of them. */
static void write_cifar(const char *dir)
{
    mkdir(in(dir), 0777);
    for (size_t i = 0; i < 6; i++) {
        static uint8_t bytes[2 * 3073];
        char name[100];
        for (size_t j = 0; j < sizeof bytes; j++)
            bytes[j] = j % 3073 ? value(i, j) : (uint8_t)(i + j / 3073);
        if (i < 5) snprintf(name, sizeof name, "%s/data_batch_%zu.bin", dir, i + 1);
        else snprintf(name, sizeof name, "%s/test_batch.bin", dir);
        write_file(in(name), bytes, sizeof bytes);
        MD5Data(bytes, sizeof bytes, pretence.hash[i]);
    }
}

static enum outcome outcome(enum data_status status)
{
    if (status == DATA_NOMEM) return NO_MEMORY;
    return status ? OTHER : GOOD;
}

static enum outcome read_idx_as(const char *spec)
{
    struct data_set *d;
    enum data_status status = data_open(spec, NULL, false, &d, error, sizeof error);
    assert_int_equal(status == DATA_OK, d != NULL);
    if (status) return outcome(status);
    assert_true(d->c == 1 && d->h == 2 && d->w == 2 && d->train.n == 3 && d->test.n == 3 &&
                d->classes == 6);
    for (size_t i = 0; i < 12; i++)
        assert_true(d->train.images[i] == value(0, i) && d->test.images[i] == value(2, i));
    for (size_t i = 0; i < 3; i++)
        assert_true(d->train.labels[i] == i + 1 && d->test.labels[i] == i + 3);
    data_close(&d);
    return GOOD;
}
static enum outcome read_idx(void) { return read_idx_as(in("idx")); }
static enum outcome find_idx(void) { return read_idx_as("mnist"); }

static enum outcome read_cifar(void)
{
    struct data_set *d;
    enum data_status status = data_open(in("cifar"), "cifar10", false, &d, error, sizeof error);
    if (status) return outcome(status);
    assert_true(d->c == 3 && d->h == 32 && d->w == 32 && d->train.n == 10 && d->test.n == 2 &&
                d->classes == 10);
    for (size_t i = 0; i < 10 * 3072; i++)
        assert_int_equal(d->train.images[i], value(i / 6144, i % 6144 + 1 + i / 3072 % 2));
    for (size_t i = 0; i < 10; i++) assert_int_equal(d->train.labels[i], i / 2 + i % 2);
    data_close(&d);
    return GOOD;
}

/* A picture a class of each of two; the sizes of the files alone tell them apart. */
static void write_folder(const char *dir)
{
    static const uint8_t grey[] = { 137, 'P', 'N', 'G', 13,  10,  26,  10,  0,  0, 0, 13,
                                    'I', 'H', 'D', 'R', 0,   0,   0,   1,   0,  0, 0, 1,
                                    8,   0,   0,   0,   0,   58,  126, 155, 85, 0, 0, 0,
                                    10,  'I', 'D', 'A', 'T', 120, 156, 99,  96, 0, 0, 0,
                                    2,   0,   1,   72,  175, 164, 113, 0,   0,  0, 0, 'I',
                                    'E', 'N', 'D', 174, 66,  96,  130 };
    static const char *const names[] = { "",         "/a",       "/b",      "/a/1.png",
                                         "/a/2.PNG", "/b/1.png", "/b/2.jpg" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[100];
        snprintf(name, sizeof name, "%s%s", dir, names[i]);
        if (i < 3) mkdir(in(name), 0777);
        else write_file(in(name), grey, sizeof grey);
    }
}

static enum outcome read_folder(void)
{
    struct data_set *d;
    char spec[200];
    snprintf(spec, sizeof spec, "folder:size=3x2,test=0.5:%s", in("folder"));
    enum data_status status = data_open(spec, NULL, false, &d, error, sizeof error);
    if (!status) assert_true(d->train.n == 2 && d->test.n == 2 && d->c == 1 && d->h == 3);
    data_close(&d);
    return outcome(status);
}

static enum outcome make_synthetic(void)
{
    struct data_set *d;
    enum data_status status =
        data_open("synthetic:train=3,test=2", NULL, false, &d, error, sizeof error);
    data_close(&d);
    return outcome(status);
}

static void readers(void **state)
{
    (void)state;
    write_idx("idx");
    write_idx("mnist");
    write_cifar("cifar");
    setenv("CVY_DATA_DIR", root, 1);
    enum outcome (*const runs[])(void) = { read_idx, find_idx, read_cifar };
    for (size_t i = 0; i < 3; i++) {
        for (int on = 0; on < 2; on++) {
            sweep(runs[i], MEMORY, ENOMEM, on, 10);
            sweep(runs[i], SYSTEM, EIO, on, 10);
        }
        sweep(runs[i], PARTS, 0, true, 0);
        sweep(runs[i], END, 0, false, 4);
    }
    for (int on = 0; on < 2; on++) sweep(make_synthetic, MEMORY, ENOMEM, on, 6);
    write_folder("folder");
    for (int on = 0; on < 2; on++) {
        sweep(read_folder, MEMORY, ENOMEM, on, 20);
        sweep(read_folder, SYSTEM, EIO, on, 20);
    }
    enum outcome result;
    assert_true(fails_at("read", EINTR, read_idx, &result));
    assert_int_equal(result, GOOD);
    /* Nothing may be read: not found, and why. */
    fault.kind = SYSTEM;
    fault.in = 0;
    fault.on = true;
    fault.error = EACCES;
    assert_int_equal(find_idx(), OTHER);
    fault.in = -1;
    assert_non_null(strstr(error, "'mnist' was not found"));
    assert_non_null(strstr(error, "mnist: Permission denied"));
}

static void swap(const char *a, const char *b)
{
    assert_int_equal(rename(in(a), in("swapped")), 0);
    assert_int_equal(rename(in(b), in(a)), 0);
    assert_int_equal(rename(in("swapped"), in(b)), 0);
}

/* Small files that are taken for the published ones: named by what they hold, verified only in
 * their places. */
static void published(void **state)
{
    (void)state;
    struct data_set *d;
    setenv("CVY_DATA_DIR", root, 1);
    write_cifar("cifar10");
    assert_int_equal(data_open(in("cifar10"), NULL, false, &d, error, sizeof error), DATA_OK);
    assert_string_equal(d->remark, "not known");
    data_close(&d);
    pretence.k = known_find("cifar10");
    const char *const specs[] = { in("cifar10"), "cifar10" };
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(data_open(specs[i], NULL, true, &d, error, sizeof error), DATA_OK);
        assert_true(d->verified && !d->open_classes && d->classes == 10 && !*d->note);
        assert_string_equal(d->name, "cifar10");
        assert_string_equal(d->remark, "md5 ok");
        assert_string_equal(d->class_names[9], "truck");
        data_close(&d);
    }
    swap("cifar10/data_batch_2.bin", "cifar10/data_batch_4.bin");
    assert_int_equal(data_open("cifar10", NULL, false, &d, error, sizeof error), DATA_OK);
    assert_true(!d->verified && !*d->note);
    assert_string_equal(d->name, "cifar10");
    assert_non_null(strstr(d->remark, "not in their places"));
    data_close(&d);
    assert_int_equal(data_open("cifar10", NULL, true, &d, error, sizeof error), DATA_BAD);
    assert_non_null(strstr(error, "the content is not the published cifar10"));
    assert_int_equal(data_open(in("cifar10"), NULL, true, &d, error, sizeof error), DATA_BAD);
    assert_non_null(strstr(error, "none of the published sets whose hashes are known here"));
    swap("cifar10/data_batch_1.bin", "cifar10/test_batch.bin");
    assert_int_equal(data_open("cifar10", NULL, false, &d, error, sizeof error), DATA_OK);
    assert_non_null(
        strstr(d->note, "there are test images among the training images: those of cifar10"));
    data_close(&d);
    assert_int_equal(data_open("cifar10", NULL, true, &d, error, sizeof error), DATA_BAD);
    assert_non_null(strstr(error, "there are test images"));
    /* One set under another's name is passed over, and told at the latest when it was read. */
    write_idx("kmnist");
    pretence.k = known_find("mnist");
    assert_int_equal(data_open("kmnist", NULL, false, &d, error, sizeof error), DATA_NOT_FOUND);
    assert_non_null(strstr(error, "/kmnist holds mnist)"));
    bool late = false;
    for (long k = 0; k < 40; k++) {
        fault.kind = MEMORY;
        fault.in = k;
        fault.on = false;
        enum data_status status = data_open("kmnist", NULL, false, &d, error, sizeof error);
        fault.in = -1;
        assert_true(status == DATA_NOMEM || status == DATA_NOT_FOUND || status == DATA_BAD);
        late |= status == DATA_BAD && strstr(error, "this is mnist, not kmnist");
    }
    assert_true(late);
    pretence.k = known_find("kmnist");
    assert_int_equal(data_open("kmnist", NULL, true, &d, error, sizeof error), DATA_OK);
    assert_string_equal(d->remark, "sha256 ok");
    data_close(&d);
    pretence.k = NULL;
}

/* ---------------------------------------------------------------------------------- large files */

/* Sizes that 32 bits of zlib's do not hold, in memory that is never touched. */
static void enormous(void **state)
{
    (void)state;
    size_t size = ((size_t)1 << 32) + 4096, dims[3];
    uint8_t *out, head[16] = { 0, 0, 8, 3, 0x40, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1 };
    uint8_t *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED) skip();
    char name[] = "head.gz";
    gzFile f = gzopen(in(name), "wb");
    assert_int_equal(gzwrite(f, head, 16), 16);
    assert_int_equal(gzwrite(f, head, 16), 16); /* the first pixels */
    assert_int_equal(gzclose(f), Z_OK);
    FILE *packed = fopen(in(name), "rb");
    assert_true(fread(bytes, 1, 100, packed) > 16);
    fclose(packed);
    assert_int_equal(data_parse_idx_images("f", bytes, size, dims, &out, error, sizeof error),
                     DATA_BAD);
    assert_non_null(strstr(error, "ends before the 1073741825 bytes"));
    assert_null(out);
    munmap(bytes, size);
}

static const char model_text[] = "{\"name\": \"small\", \"input\": [1, 2, 2], \"layers\": ["
                                 "{\"type\": \"batch_norm\", \"name\": \"bn\"},"
                                 "{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 6}]}";

/* --------------------------------------------------------------------------------------- models */

static enum outcome read_model(void)
{
    struct model *model;
    enum model_status status = model_load(in("m.json"), NULL, &model, error, sizeof error);
    assert_int_equal(status == MODEL_OK, model != NULL);
    if (status == MODEL_NOMEM) return NO_MEMORY;
    if (status) return OTHER;
    assert_true(model->n_layers == 2 && model->input[0] == 1 && model->input[1] == 2 &&
                model->input[2] == 2);
    assert_string_equal(model->name, "small");
    model_free(&model);
    return GOOD;
}

/* With every override that the program offers. */
static enum outcome read_changed_model(void)
{
    struct model *model;
    const struct model_options change = {
        .api = "v1", .bn_var = "biased", .input = { 1, 4, 6 }, .classes = 3
    };
    enum model_status status = model_load(in("changed.json"), &change, &model, error, sizeof error);
    assert_int_equal(status == MODEL_OK, model != NULL);
    if (status == MODEL_NOMEM) return NO_MEMORY;
    if (status) return OTHER;
    assert_true(model->defaults.batch == 7 && strstr(model->json, "\"avg\"") &&
                strstr(model->json, "\"biased\"") && model->input[2] == 6 &&
                strstr(model->json, "\"out_features\": 3"));
    model_free(&model);
    return GOOD;
}

static void models(void **state)
{
    (void)state;
    static const char changed[] = "{\"name\": \"c\", \"input\": [1, 2, 2], \"apis\": {\"v1\": "
                                  "{\"batch\": 7, \"pool\": \"avg\"}}, \"layers\": ["
                                  "{\"type\": \"pool2d\", \"kind\": \"max\", \"kernel\": 2}, "
                                  "{\"type\": \"batch_norm\", \"name\": \"b\"}, "
                                  "{\"type\": \"linear\", \"name\": \"l\", "
                                  "\"out_features\": 2}]}";
    write_file(in("changed.json"), changed, strlen(changed));
    for (int on = 0; on < 2; on++) sweep(read_changed_model, MEMORY, ENOMEM, on, 9);
    write_file(in("m.json"), model_text, strlen(model_text));
    for (int on = 0; on < 2; on++) {
        sweep(read_model, MEMORY, ENOMEM, on, 5);
        sweep(read_model, SYSTEM, EIO, on, 3);
    }
    sweep(read_model, PARTS, 0, true, 1);
    sweep(read_model, END, 0, false, 1);
    enum outcome result;
    assert_true(fails_at("read", EINTR, read_model, &result));
    assert_int_equal(result, GOOD);
}

/* -------------------------------------------------------------------------------------- results */

static const char results_text[] =
    "{\"context\": {\"cpu\": \"c\", \"load\": [1, 2], \"peak_gflops_all\": \"16\", "
    "\"l2_read_gbs\": \"8\"}, \"benchmarks\": ["
    "{\"name\": \"step/n/batch:4/native\", \"label\": \"l\", \"real_time\": 1, \"cpu_time\": 1, "
    "\"examples/s\": 4, \"phase 0 p\": 1},"
    "{\"name\": \"step/n/batch:4/native\", \"label\": \"m\", \"real_time\": 2, \"cpu_time\": 1, "
    "\"examples/s\": 2, \"phase 0 p\": 2},"
    "{\"name\": \"step/n/batch:4/b\", \"error_occurred\": true, \"error_message\": \"broke\"},"
    "{\"name\": \"scaling/n/batch:4/threads:1/native\", \"real_time\": 1, \"examples/s\": 5},"
    "{\"name\": \"ops/o/native\", \"real_time\": 1, \"GFLOP/s\": 5, \"GB/s\": 4}]}";

static enum outcome read_results(void)
{
    struct results *all = NULL;
    enum results_status status = results_read(in("r.json"), &all, error, sizeof error);
    if (!status) {
        assert_true(all->n_files == 1 && all->n == 4 && all->at[0].runs == 2 &&
                    all->at[0].n_counters == 2);
        assert_true(all->at[0].seconds[1] == 2e-9 && all->at[0].counter[0].value[1] == 2);
        assert_string_equal(all->at[0].label, "m");
        assert_string_equal(all->at[1].error, "broke");
        assert_string_equal(results_fact(all, 0, "load"), "[1,2]");
    }
    results_free(&all);
    assert_true(status == RESULTS_OK || status == RESULTS_NOMEM);
    return status ? NO_MEMORY : GOOD;
}

static struct results *good_results;
static char *good_page;

static char *page(void)
{
    char *text = __real_calloc(1, 1 << 18);
    FILE *f = fopen(in("r.html"), "rb");
    assert_non_null(f);
    assert_true(fread(text, 1, (1 << 18) - 1, f) < (1 << 18) - 1);
    fclose(f);
    return text;
}

/* A page that is called written is whole. */
static enum outcome write_page(void)
{
    enum results_status status = html_report(in("r.html"), good_results, error, sizeof error);
    fault.in = -1;
    assert_true(status == RESULTS_OK || status == RESULTS_NOMEM);
    if (status) return NO_MEMORY;
    char *text = page();
    bool same = !strcmp(text, good_page);
    free(text);
    return same ? GOOD : OTHER;
}

static void results(void **state)
{
    (void)state;
    write_file(in("r.json"), results_text, strlen(results_text));
    for (int on = 0; on < 2; on++) sweep(read_results, MEMORY, ENOMEM, on, 60);
    assert_int_equal(results_read(in("r.json"), &good_results, error, sizeof error), RESULTS_OK);
    assert_int_equal(html_report(in("r.html"), good_results, error, sizeof error), RESULTS_OK);
    good_page = page();
    for (int on = 0; on < 2; on++) sweep(write_page, MEMORY, ENOMEM, on, 20);
    free(good_page);
    results_free(&good_results);
}

/* A net of two layers, an image of it, and nothing that allocates by itself. */
static float net_values[64];
static int net_input;
static struct visual_layer net_layers[] = {
    { .node = { .name = "input", .type = "input", .out = { 1, 1, 4, 4 } } },
    { .node = { .name = "conv",
                .type = "conv2d",
                .out = { 1, 2, 3, 3 },
                .n_inputs = 1,
                .inputs = &net_input },
      .part = { { net_values, 4, { 2, 2, 2, 2 }, 16 } },
      .activation = net_values },
    { .node = { .name = "fc",
                .type = "conv2d",
                .out = { 1, 2, 1, 1 },
                .n_inputs = 1,
                .inputs = &net_input },
      .part = { { net_values, 2, { 2, 9 }, 18 } },
      .activation = net_values }
};
static struct visual_sample net_sample;
static uint64_t net_counts[4];
static const struct visual net = { .model = "net",
                                   .data = "data",
                                   .n_layers = 3,
                                   .logits = 2,
                                   .layer = net_layers,
                                   .n_samples = 1,
                                   .sample = &net_sample,
                                   .image = net_values,
                                   .classes = 2,
                                   .n_matrices = 1,
                                   .matrix = { { "test", net_counts } } };

static enum outcome write_net_page(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) {
        snprintf(error, sizeof error, "out of memory");
        return NO_MEMORY;
    }
    bool good = visual_page(out, &net, "convoy visualise");
    good &= !fclose(out);
    fault.in = -1;
    if (!good) snprintf(error, sizeof error, "out of memory");
    bool same = good_page && good && !strcmp(text, good_page);
    if (!good_page) good_page = text;
    else free(text);
    if (!good) return NO_MEMORY;
    return same ? GOOD : OTHER;
}

static void net_page(void **state)
{
    (void)state;
    if (!picture_possible()) skip();
    good_page = NULL;
    write_net_page();
    assert_non_null(strstr(good_page, "</html>"));
    for (int on = 0; on < 2; on++) sweep(write_net_page, MEMORY, ENOMEM, on, 8);
    free(good_page);
}

/* -------------------------------------------------------------------------------------- events */

enum { ROUNDS = 3 };
static off_t event_ends[ROUNDS + 1]; /* what lies in a whole file after so many flushes */

/* The one file in the directory: its path, which is the caller's to free; NULL: there is none. */
static char *events_file(off_t *size)
{
    char *path = NULL;
    struct dirent *entry;
    struct stat st;
    DIR *d = __real_opendir(in("tb"));
    assert_non_null(d);
    while ((entry = readdir(d)))
        if (*entry->d_name != '.') assert_true(asprintf(&path, "%s/%s", in("tb"), entry->d_name));
    closedir(d);
    *size = path && !__real_stat64(path, &st) ? st.st_size : 0;
    return path;
}

static enum outcome write_events(void)
{
    static const float values[3] = { 1, 2, 4 };
    static const unsigned char png[26] = { 0x89, 'P', 'N', 'G', [19] = 2, [23] = 2, [24] = 8, 2 };
    off_t size;
    *error = 0;
    struct events *e = events_open(in("tb"), error, sizeof error);
    for (uint64_t k = 0; e && k < ROUNDS; k++) {
        events_scalar(e, k, "loss/train", 0.5);
        events_histogram(e, k, "conv1/weight", values, 3);
        events_png(e, k, "images/test", png, sizeof png);
        events_flush(e);
        if (!event_ends[ROUNDS]) free(events_file(&event_ends[k + 1]));
    }
    const bool good = e && events_close(e, error, sizeof error);
    fault.in = -1;
    /* what is there are whole events, and all of them if nothing was said */
    char *path = events_file(&size);
    bool whole = false;
    for (size_t k = 0; k <= ROUNDS; k++) whole |= size == event_ends[k];
    if (!whole)
        fail_msg("%jd bytes, which is not where an event ends; '%s'", (intmax_t)size, error);
    if (path) unlink(path);
    free(path);
    if (good) assert_int_equal(size, event_ends[ROUNDS]);
    if (good) return GOOD;
    return strstr(error, "memory") ? NO_MEMORY : OTHER;
}

/* No memory; and a disk that is full behind any byte, which a limit of the process's files is. */
static void event_files(void **state)
{
    (void)state;
    struct rlimit all, few;
    memset(event_ends, 0, sizeof event_ends);
    assert_int_equal(mkdir(in("tb"), 0700), 0);
    assert_int_equal(write_events(), GOOD);
    for (int on = 0; on < 2; on++) sweep(write_events, MEMORY, ENOMEM, on, 20);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    for (off_t limit = 0; limit < event_ends[ROUNDS]; limit += 7) {
        few = (struct rlimit){ (rlim_t)limit, all.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &few), 0);
        const enum outcome result = write_events();
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
        if (result != OTHER || !strstr(error, "cannot write: File too large"))
            fail_msg("a limit of %jd: result %d, '%s'", (intmax_t)limit, (int)result, error);
    }
    signal(SIGXFSZ, before);
}

/* ---------------------------------------------------------------------------------- checkpoints */

/* What is trained. */
static struct {
    cvy_context *ctx;
    struct model *model;
    cvy_net *net;
    cvy_tensor logits;
    cvy_trainer *trainer;
    cvy_predictor *predictor, *alone; /* sharing the trainer's parameters; with its own */
} t;

static int make_trainer(void **state)
{
    (void)state;
    const cvy_trainer_options options = { .batch = 4, .sgd = { .lr = 0.1, .momentum = 0.9 } };
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = 1 }, &t.ctx), CVY_OK);
    assert_int_equal(
        model_parse("t", model_text, strlen(model_text), NULL, &t.model, error, sizeof error),
        MODEL_OK);
    assert_int_equal(model_build(t.model, t.ctx, &t.net, &t.logits, error, sizeof error), MODEL_OK);
    assert_int_equal(cvy_trainer_create(t.net, t.logits, &options, &t.trainer), CVY_OK);
    assert_int_equal(cvy_predictor_create(t.net, t.logits, 4, NULL, t.trainer, &t.predictor),
                     CVY_OK);
    assert_int_equal(cvy_predictor_create(t.net, t.logits, 4, NULL, NULL, &t.alone), CVY_OK);
    return 0;
}

static int free_trainer(void **state)
{
    (void)state;
    cvy_predictor_destroy(&t.alone);
    cvy_predictor_destroy(&t.predictor);
    cvy_trainer_destroy(&t.trainer);
    cvy_net_destroy(&t.net);
    model_free(&t.model);
    cvy_context_destroy(&t.ctx);
    return 0;
}

static enum outcome of(enum train_status status)
{
    if (status == TRAIN_NOMEM) return NO_MEMORY;
    return status ? OTHER : GOOD;
}

static double mean_image[4] = { 1, 2, 3, 4 };
static const struct checkpoint_mean kept_mean = { mean_image, { 1, 2, 2 } };

static enum outcome load(void)
{
    struct checkpoint *c;
    enum train_status status = checkpoint_read(in("a.safetensors"), &c, error, sizeof error);
    assert_int_equal(status == TRAIN_OK, c != NULL);
    if (!status) assert_string_equal(checkpoint_text(c, "convoy.model"), "{}");
    if (!status) status = checkpoint_mean(c, &kept_mean, error, sizeof error);
    if (!status) status = checkpoint_load(c, t.trainer, t.ctx, true, error, sizeof error);
    checkpoint_free(&c);
    return of(status);
}

static enum outcome load_alone(void)
{
    struct checkpoint *c;
    enum train_status status = checkpoint_read(in("a.safetensors"), &c, error, sizeof error);
    if (!status) status = checkpoint_mean(c, &kept_mean, error, sizeof error);
    if (!status) status = checkpoint_load_predictor(c, t.alone, t.ctx, error, sizeof error);
    checkpoint_free(&c);
    return of(status);
}

static enum outcome save(void)
{
    long left = fault.in;
    fault.in = -1;
    json_t *metadata = json_pack("{s:s}", "convoy.model", "{}");
    fault.in = left;
    const struct checkpoint_also also = { .mean = kept_mean };
    enum train_status status =
        checkpoint_save(in("a.safetensors"), t.trainer, &also, metadata, error, sizeof error);
    json_decref(metadata);
    left = fault.in;
    fault.in = -1;
    char kept[sizeof error];
    memcpy(kept, error, sizeof error);
    assert_int_equal(load(), GOOD); /* the new one or the old one */
    memcpy(error, kept, sizeof error);
    fault.in = left;
    return of(status);
}

static size_t files_in(const char *dir)
{
    size_t n = 0;
    DIR *d = __real_opendir(dir);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void checkpoints(void **state)
{
    (void)state;
    assert_int_equal(save(), GOOD);
    for (int on = 0; on < 2; on++) {
        sweep(save, MEMORY, ENOMEM, on, 20);
        sweep(save, SYSTEM, EIO, on, 8);
        sweep(load, MEMORY, ENOMEM, on, 10);
        sweep(load, SYSTEM, EIO, on, 3);
        sweep(load_alone, MEMORY, ENOMEM, on, 10);
    }
    sweep(save, SYSTEM, ENOSPC, false, 8);
    sweep(save, PARTS, 0, true, 1);
    sweep(load, PARTS, 0, true, 1);
    sweep(load, END, 0, false, 1);
    assert_int_equal(files_in(root), 1);
    fault.kind = ENGINE;
    fault.in = 0;
    fault.on = false;
    assert_int_equal(load(), OTHER);
    assert_non_null(strstr(error, "a.safetensors: "));
    /* A directory that may be written but not read cannot be flushed, some file systems flush
     * nothing, signals come: no failures. */
    static const struct {
        const char *name;
        int code;
        enum outcome (*run)(void);
    } harmless[] = { { "write", EINTR, save },     { "read", EINTR, load },
                     { "open", EACCES, save },     { "fchmod", EPERM, save },
                     { "fsync", EINVAL, save },    { "fsync", ENOSYS, save },
                     { "fsync", EOPNOTSUPP, save } };
    enum outcome result;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        assert_true(fails_at(harmless[i].name, harmless[i].code, harmless[i].run, &result));
        if (result != GOOD)
            fail_msg("%s with %s: '%s'", harmless[i].name, strerror(harmless[i].code), error);
    }
    /* What a process left of which nobody may know whether it lives: it stays. */
    const char *left = in("a.safetensors.tmp-4194309-abcdef");
    write_file(left, "x", 1);
    assert_true(fails_at("kill", EPERM, save, &result));
    assert_int_equal(result, GOOD);
    assert_int_equal(files_in(root), 2);
    assert_int_equal(save(), GOOD);
    assert_int_equal(files_in(root), 1);
    /* A name without a directory. */
    int here = open(".", O_RDONLY | O_DIRECTORY);
    assert_int_equal(chdir(root), 0);
    assert_int_equal(files_write("plain", "abc", 3, error, sizeof error), TRAIN_OK);
    assert_int_equal(files_in(root), 2);
    assert_int_equal(fchdir(here), 0);
    close(here);
}

static enum outcome make_directories(void)
{
    bool taken;
    enum train_status status = files_make_directory(in("a/b/c"), error, sizeof error);
    if (!status) status = files_new_directory(in("a/b/c/d"), &taken, error, sizeof error);
    rmdir(in("a/b/c/d"));
    rmdir(in("a/b/c"));
    rmdir(in("a/b"));
    rmdir(in("a"));
    return of(status);
}

static enum outcome lock(void)
{
    struct files_lock l;
    enum train_status status = files_lock(root, &l, error, sizeof error);
    if (!status) files_unlock(&l);
    return of(status);
}

static void failing_directories_and_locks(void **state)
{
    (void)state;
    struct files_lock a, b;
    for (int on = 0; on < 2; on++) {
        sweep(make_directories, SYSTEM, EIO, on, 8);
        sweep(lock, SYSTEM, EIO, on, 5);
    }
    assert_int_equal(files_in(root), 0);
    for (int i = 0; i < 2; i++) { /* a lock on a file that is not there any more is none */
        meanwhile = i ? REPLACE : REMOVE;
        assert_int_equal(files_lock(root, &a, error, sizeof error), TRAIN_OK);
        assert_true(meanwhile == LEAVE && a.held);
        assert_int_equal(files_lock(root, &b, error, sizeof error), TRAIN_IO);
        files_unlock(&a);
    }
    /* A file system without locks; one without a name in the file. */
    fault.kind = SYSTEM;
    fault.in = 1;
    fault.on = false;
    fault.error = ENOLCK;
    assert_int_equal(files_lock(root, &a, error, sizeof error), TRAIN_OK);
    assert_string_equal(fault.hit, "fcntl");
    assert_false(a.held);
    files_unlock(&a);
    files_unlock(&a); /* nothing */
    enum outcome result;
    assert_true(fails_at("fcntl", EACCES, lock, &result)); /* how some systems refuse a lock */
    assert_non_null(strstr(error, "is in use: "));
    unlink(in(FILES_LOCK));
}

/* Writes what the holder of a lock says of itself. */
static void write_holder(const struct files_lock *l, const char *text)
{
    assert_int_equal(ftruncate(l->fd, 0), 0);
    assert_int_equal(pwrite(l->fd, text, strlen(text), 0), strlen(text));
}

static void who_holds_a_lock(void **state)
{
    (void)state;
    struct files_lock a, b;
    char host[200] = "", text[300];
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    static const struct {
        const char *text, *who;
    } names[] = { { "", "another process trains there" },
                  { "process", "another process trains" },
                  { "process 4194309 on %s\n", "another process trains" },
                  { "process 1 on %s\n", "process 1 on " },
                  { "process 4194309 on elsewhere\n", "process 4194309 on elsewhere trains" } };
    assert_int_equal(files_lock(root, &a, error, sizeof error), TRAIN_OK);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(text, sizeof text, names[i].text, host); /* NOLINT: formats from the table above */
        write_holder(&a, text);
        assert_int_equal(files_lock(root, &b, error, sizeof error), TRAIN_IO);
        if (!strstr(error, names[i].who))
            fail_msg("'%s': expected '%s', found '%s'", text, names[i].who, error);
        assert_int_equal(b.fd, -1);
    }
    char far[250] = "process 7 on "; /* the longest name that a host may have, and another's */
    memset(far + strlen(far), 'h', 190);
    write_holder(&a, far);
    assert_int_equal(files_lock(root, &b, error, sizeof error), TRAIN_IO);
    assert_non_null(strstr(error, far));
    assert_non_null(strstr(error, "hhh trains there"));
    files_unlock(&a);
    /* Who may not ask whether a process lives takes its word. */
    assert_int_equal(files_lock(root, &a, error, sizeof error), TRAIN_OK);
    snprintf(text, sizeof text, "process 4194309 on %s\n", host);
    write_holder(&a, text);
    /* after open, fcntl and pread */
    fault.kind = SYSTEM;
    fault.in = 3;
    fault.on = false;
    fault.error = EPERM;
    assert_int_equal(files_lock(root, &b, error, sizeof error), TRAIN_IO);
    assert_string_equal(fault.hit, "kill");
    assert_non_null(strstr(error, "process 4194309 on "));
    files_unlock(&a);
    unlink(in(FILES_LOCK));
}

/* One that is there, a file in its place, a file on the way, a link to nothing. */
static void directories(void **state)
{
    (void)state;
    struct files_lock a;
    write_file(in("file"), "x", 1);
    assert_int_equal(symlink("nowhere", in("link")), 0);
    assert_int_equal(files_make_directory(in("new/er"), error, sizeof error), TRAIN_OK);
    assert_int_equal(files_make_directory(in("new/er"), error, sizeof error), TRAIN_OK);
    assert_int_equal(files_make_directory(in("new//er/"), error, sizeof error), TRAIN_OK);
    assert_int_equal(files_make_directory(in("file"), error, sizeof error), TRAIN_IO);
    assert_non_null(strstr(error, "Not a directory"));
    assert_int_equal(files_make_directory(in("file/a"), error, sizeof error), TRAIN_IO);
    assert_non_null(strstr(error, "Not a directory"));
    assert_int_equal(files_make_directory(in("link"), error, sizeof error), TRAIN_IO);
    assert_non_null(strstr(error, "No such file"));
    char longest[PATH_MAX + 10];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(files_lock(longest, &a, error, sizeof error), TRAIN_IO);
    assert_int_equal(files_make_directory(longest, error, sizeof error), TRAIN_IO);
    assert_non_null(strstr(error, "File name too long"));
}

/* ------------------------------------------------------------------------------------- training */

static enum outcome train(void)
{
    static const uint8_t images[10 * 4] = { 1, 2, 3, 4, 50, 60, 70, 80, 9 },
                                     labels[10] = { 0, 1, 2, 3, 4, 5 };
    struct train_job job = { .ctx = t.ctx,
                             .trainer = t.trainer,
                             .predictor = t.predictor,
                             .eval_batch = 4,
                             .classes = 6,
                             .image_size = 4,
                             .train = { images, labels, 10, NULL },
                             .test = { images, labels, 6, NULL },
                             .epochs = 2,
                             .batch = 4,
                             .lr = 0.01,
                             .eval_every = 1,
                             .snapshot_every = 1,
                             .directory = root,
                             .model = "{}",
                             .config = "{}",
                             .wall_start = train_now() };
    unlink(in(TRAIN_METRICS));
    return of(train_run(&job, error, sizeof error));
}

static void training(void **state)
{
    (void)state;
    for (int on = 0; on < 2; on++) {
        sweep(train, MEMORY, ENOMEM, on, 50);
        sweep(train, SYSTEM, EIO, on, 20);
    }
    sweep(train, PARTS, 0, true, 1);
    assert_int_equal(files_in(root), 3); /* params is a directory */
}

static int make_root(void **state)
{
    strcpy(root, "/tmp/convoy-faults-XXXXXX");
    assert_non_null(mkdtemp(root));
    return make_trainer(state);
}

static int remove_root(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    return free_trainer(state) || system(command);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)
int main(void)
{
    const struct CMUnitTest tests[] = { TEST(readers),          TEST(published),
                                        TEST(enormous),         TEST(models),
                                        TEST(results),          TEST(net_page),
                                        TEST(checkpoints),      TEST(failing_directories_and_locks),
                                        TEST(who_holds_a_lock), TEST(directories),
                                        TEST(training),         TEST(event_files) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
