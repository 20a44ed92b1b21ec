/* Checkpoints and the model reader: every flipped bit is found, every malformed header refused,
 * loading is all or nothing, and a save that fails leaves the old file. Failures print the case. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <convoy/convoy.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "models/models.h"
#include "train/checkpoint.h"
#include "train/train.h"

static const char model_text[] =
    "{\"name\": \"small\", \"input\": [1, 8, 8], \"layers\": ["
    "{\"type\": \"conv2d\", \"name\": \"conv1\", \"out_channels\": 2, \"kernel\": 3},"
    "{\"type\": \"batch_norm\", \"name\": \"bn1\"}, {\"type\": \"relu\"},"
    "{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 3}]}";

/* ---- malloc that fails when told to, and counts what lives. The sanitizers bring their own and go
 * without. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#if !defined(SANITIZED) && defined(__GLIBC__)
#define CAN_FAIL 1
static long fail_in = -1; /* allocations until one fails; -1 never */
static bool fail_on;      /* all after it fail, too */
static long alive;

static bool refuse(void)
{
    if (fail_in < 0) return false;
    if (fail_in > 0) {
        fail_in--;
        return false;
    }
    if (!fail_on) fail_in = -1;
    return true;
}
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
void __libc_free(void *p);
void *memalign(size_t alignment, size_t n);
static void *born(void *p)
{
    alive += p != NULL;
    return p;
}
void *malloc(size_t n) { return refuse() ? NULL : born(__libc_malloc(n)); }
void *calloc(size_t n, size_t size) { return refuse() ? NULL : born(__libc_calloc(n, size)); }
void *realloc(void *p, size_t n)
{
    if (refuse()) return NULL;
    void *q = __libc_realloc(p, n);
    alive += !p && q;
    return q;
}
void *memalign(size_t alignment, size_t n)
{
    return refuse() ? NULL : born(__libc_memalign(alignment, n));
}
void *aligned_alloc(size_t alignment, size_t n) { return memalign(alignment, n); }
void free(void *p)
{
    alive -= p != NULL;
    __libc_free(p);
}
#endif

struct fixture {
    char dir[32], path[128], error[512];
    cvy_context *ctx;
    struct model *model;
    cvy_net *net;
    cvy_tensor logits;
    cvy_trainer *trainer;
};

static cvy_trainer *make_trainer(struct fixture *f, uint64_t seed)
{
    cvy_trainer *trainer = NULL;
    const cvy_trainer_options options = { .batch = 16,
                                          .sgd = { .lr = 0.1, .momentum = 0.9 },
                                          .init.seed = seed };
    assert_int_equal(cvy_trainer_create(f->net, f->logits, &options, &trainer), CVY_OK);
    return trainer;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f) return -1;
    *state = f;
    strcpy(f->dir, "/tmp/convoy-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/a.safetensors", f->dir);
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = 1 }, &f->ctx), CVY_OK);
    assert_int_equal(model_parse("test", model_text, strlen(model_text), NULL, &f->model, f->error,
                                 sizeof f->error),
                     MODEL_OK);
    assert_int_equal(model_build(f->model, f->ctx, &f->net, &f->logits, f->error, sizeof f->error),
                     MODEL_OK);
    f->trainer = make_trainer(f, 1);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    cvy_trainer_destroy(&f->trainer);
    cvy_net_destroy(&f->net);
    model_free(&f->model);
    cvy_context_destroy(&f->ctx);
    snprintf(command, sizeof command, "chmod -R u+w %s && rm -r %s", f->dir, f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static enum train_status save_as(struct fixture *f, const char *path)
{
    json_t *metadata = json_pack("{s:s, s:s}", "convoy.model", model_text, "convoy.position", "{}");
    *f->error = 0;
    enum train_status status = checkpoint_save(path, f->trainer, &(struct checkpoint_also){ 0 },
                                               metadata, f->error, sizeof f->error);
    json_decref(metadata);
    return status;
}

static enum train_status load_from(struct fixture *f, const char *path, cvy_trainer *trainer)
{
    struct checkpoint *c;
    *f->error = 0;
    enum train_status status = checkpoint_read(path, &c, f->error, sizeof f->error);
    if (!status) status = checkpoint_load(c, trainer, f->ctx, true, f->error, sizeof f->error);
    checkpoint_free(&c);
    return status;
}

/* All parameters one after the other. */
static size_t snapshot(cvy_trainer *trainer, float *out)
{
    size_t n = 0;
    const enum cvy_param_kind kinds[] = { CVY_PARAM_WEIGHT, CVY_PARAM_RUNNING, CVY_PARAM_MOMENTUM };
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < cvy_trainer_params(trainer, kinds[k]); i++) {
            cvy_param_info info;
            assert_int_equal(cvy_trainer_param(trainer, kinds[k], i, &info), CVY_OK);
            assert_int_equal(cvy_trainer_get(trainer, kinds[k], info.name, out + n, info.count),
                             CVY_OK);
            n += info.count;
        }
    return n;
}

static void write_bytes(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void round_trip(void **state)
{
    struct fixture *f = *state;
    static float a[4096], b[4096];
    cvy_trainer *other = make_trainer(f, 2);
    uint8_t pixels[16 * 64], labels[16];
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 37);
    for (size_t i = 0; i < 16; i++) labels[i] = (uint8_t)(i % 3);
    cvy_step_result r; /* so that momentum and running statistics are not what they started as */
    assert_int_equal(
        cvy_trainer_step(
            f->trainer,
            &(cvy_batch){ .images = pixels, .dtype = CVY_U8, .labels8 = labels, .n = 16 }, &r),
        CVY_OK);
    assert_int_equal(save_as(f, f->path), TRAIN_OK);
    size_t n = snapshot(f->trainer, a);
    assert_int_equal(snapshot(other, b), n);
    assert_memory_not_equal(a, b, n * sizeof *a);
    assert_int_equal(load_from(f, f->path, other), TRAIN_OK);
    snapshot(other, b);
    assert_memory_equal(a, b, n * sizeof *a);
    cvy_trainer_destroy(&other);
    struct checkpoint *c;
    assert_int_equal(checkpoint_read(f->path, &c, f->error, sizeof f->error), TRAIN_OK);
    assert_true(c->file->sealed);
    assert_string_equal(checkpoint_text(c, "convoy.model"), model_text);
    assert_non_null(safetensors_find(c->file, "conv1.weight"));
    assert_non_null(safetensors_find(c->file, "bn1.running_var"));
    assert_non_null(safetensors_find(c->file, "optimizer.momentum.fc.bias"));
    checkpoint_free(&c);
}

static void every_flipped_bit(void **state)
{
    struct fixture *f = *state;
    unsigned char *bytes;
    size_t size;
    struct safetensors *file;
    assert_int_equal(save_as(f, f->path), TRAIN_OK);
    assert_int_equal(files_read(f->path, 1 << 20, &bytes, &size, f->error, sizeof f->error),
                     TRAIN_OK);
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        if (!safetensors_parse("flipped", bytes, size, &file, f->error, sizeof f->error))
            fail_msg("bit %zu of byte %zu of %zu was missed", bit % 8, bit / 8, size);
        assert_null(file);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(safetensors_parse("cut", bytes, cut, &file, f->error, sizeof f->error),
                         TRAIN_BAD);
    assert_int_equal(safetensors_parse("whole", bytes, size, &file, f->error, sizeof f->error),
                     TRAIN_OK);
    safetensors_free(&file);
    free(bytes);
}

/* A header, as many zero bytes of data, and a part of the sentence that must come. */
static const struct {
    const char *header;
    size_t data;
    const char *message;
} bad_headers[] = {
    { "", 0, "begin with '{'" },
    { "[]", 0, "begin with '{'" },
    { " {}", 0, "begin with '{'" },
    { "{", 0, "header, byte" },
    { "{}x", 0, "end of file expected" },
    { "{} {}", 0, "end of file expected" },
    { "{\"a\":\"\xff\"}", 0, "unable to decode" },
    { "{\"a\\u0000\":1}", 0, "header, byte" },
    { "{}", 1, "expected the file to end" },
    { "{\"a\":1}", 0, "expected exactly" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "expected exactly" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
      "expected exactly" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "expected exactly" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.0]}}", 4, "expected exactly" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4e0]}}", 4, "expected exactly" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[\"0\",4]}}", 4,
      "expected exactly" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":4}}", 4, "expected exactly" },
    { "{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "expected exactly" },
    { "{\"a\":{\"type\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "expected exactly" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "expected exactly" },
    { "{\"a\":{\"dtype\":\"F32\",\"shapes\":[1],\"data_offsets\":[0,4]}}", 4, "expected exactly" },
    { "{\"a\":{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype" },
    { "{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "at least 0" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "at least 0" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[01],\"data_offsets\":[0,4]}}", 4, "header, byte" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,18446744073709551614],\"data_offsets\":[0,4]}}", 4,
      "header, byte" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4,9223372036854775807],\"data_offsets\":[0,4]}}", 4,
      "overflows" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
      "dimensions" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "do not lie" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "do not lie" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 4, "do not lie" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,3]}}", 4, "by its shape" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
      "a hole or an overlap" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\","
      "\"shape\":[1],"
      "\"data_offsets\":[8,12]}}",
      12, "a hole or an overlap" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\","
      "\"shape\":[2],"
      "\"data_offsets\":[4,12]}}",
      12, "a hole or an overlap" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5,
      "expected the file to end" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"a\":{\"dtype\":\"U8\","
      "\"shape\":[0],"
      "\"data_offsets\":[0,0]}}",
      0, "duplicate" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"\\u0061\":{\"dtype\":"
      "\"U8\",\"shape\":[0],"
      "\"data_offsets\":[0,0]}}",
      0, "duplicate" },
    { "{\"__metadata__\":1}", 0, "not an object" },
    { "{\"__metadata__\":{\"a\":1}}", 0, "not a string" },
    { "{\"__metadata__\":{\"convoy.model\":\"{}\"}}", 0, "checksum is missing" },
    { "{\"__metadata__\":{\"convoy.sha256\":\"00\"}}", 0, "checksum is missing" },
    { "{\"__metadata__\":{\"convoy.sha256\":"
      "\"0000000000000000000000000000000000000000000000000000000000000000\"}}",
      0, "checksum is missing" },
    { "{\"__metadata__\":{\"convoy.sha256\": "
      "\"\\u0030000000000000000000000000000000000000000000000000000000000000000\"}}",
      0, "checksum is missing" },
    { "{\"__metadata__\":{\"convoy.sha256\": "
      "\"0000000000000000000000000000000000000000000000000000000000000000\"}}",
      0, "expected SHA-256" }
};

static enum train_status parse_made(uint64_t length, const char *header, size_t used, size_t data,
                                    char *error, size_t error_size)
{
    unsigned char *bytes = calloc(1, 8 + used + data + 1);
    struct safetensors *file;
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, used);
    enum train_status status =
        safetensors_parse("made", bytes, 8 + used + data, &file, error, error_size);
    safetensors_free(&file);
    free(bytes);
    return status;
}

static void malformed_headers(void **state)
{
    char *error = ((struct fixture *)*state)->error;
    for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++) {
        const char *h = bad_headers[i].header;
        if (parse_made(strlen(h), h, strlen(h), bad_headers[i].data, error, 512) != TRAIN_BAD ||
            !strstr(error, bad_headers[i].message))
            fail_msg("header %s: expected a message with '%s', found '%s'", h,
                     bad_headers[i].message, error);
    }
    assert_int_equal(parse_made(3, "{}", 2, 0, error, 512), TRAIN_BAD);
    assert_non_null(strstr(error, "truncated"));
    assert_int_equal(parse_made(UINT64_MAX, "{}", 2, 0, error, 512), TRAIN_BAD);
    assert_int_equal(parse_made(SAFETENSORS_HEADER_LIMIT + 1u, "{}", 2, 0, error, 512), TRAIN_BAD);
    /* A million brackets must not use up the stack. */
    char *deep = malloc(1000006);
    memcpy(deep, "{\"a\":", 5);
    memset(deep + 5, '[', 1000000);
    assert_int_equal(parse_made(1000005, deep, 1000005, 0, error, 512), TRAIN_BAD);
    free(deep);
    /* Odd but right: no tensors, no elements, no dimensions, a foreign file without our
     * checksum. */
    static const char odd[] =
        "{\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},\"__metadata__\":{"
        "\"format\":\"pt\"},"
        "\"e\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[4,4]}}   ";
    assert_int_equal(parse_made(2, "{}", 2, 0, error, 512), TRAIN_OK);
    assert_int_equal(parse_made(strlen(odd), odd, strlen(odd), 4, error, 512), TRAIN_OK);
    /* Tensors without elements may lie where others begin, in any order of the header. */
    static const char first[] =
        "{\"e\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"f\":{\"dtype\":\"U8\","
        "\"shape\":[0],"
        "\"data_offsets\":[0,0]},\"s\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}";
    static const char last[] = "{\"s\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                               "\"e\":{\"dtype\":\"U8\",\"shape\":[0],"
                               "\"data_offsets\":[0,0]}}";
    assert_int_equal(parse_made(strlen(first), first, strlen(first), 2, error, 512), TRAIN_OK);
    static const char backwards[] =
        "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]},\"a\":{\"dtype\":\"U8\","
        "\"shape\":[1],"
        "\"data_offsets\":[0,1]},\"c\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}";
    assert_int_equal(parse_made(strlen(backwards), backwards, strlen(backwards), 5, error, 512),
                     TRAIN_OK);
    assert_int_equal(parse_made(strlen(last), last, strlen(last), 2, error, 512), TRAIN_OK);
}

/* Saves tensors of which one is wrong; the trainer must refuse and stay as it was. */
static void refused(struct fixture *f, const struct safetensor *tensors, size_t n,
                    const char *message)
{
    static float before[4096], after[4096];
    unsigned char *bytes;
    size_t size, count = snapshot(f->trainer, before);
    json_t *metadata = json_object();
    assert_int_equal(
        safetensors_build(tensors, n, metadata, &bytes, &size, f->error, sizeof f->error),
        TRAIN_OK);
    json_decref(metadata);
    write_bytes(f->path, bytes, size);
    free(bytes);
    assert_int_equal(load_from(f, f->path, f->trainer), TRAIN_BAD);
    if (!strstr(f->error, message)) fail_msg("expected '%s', found '%s'", message, f->error);
    snapshot(f->trainer, after);
    assert_memory_equal(before, after, count * sizeof *before);
}

static void all_or_nothing(void **state)
{
    struct fixture *f = *state;
    unsigned char *bytes;
    size_t size;
    struct safetensors *file;
    assert_int_equal(save_as(f, f->path), TRAIN_OK);
    assert_int_equal(files_read(f->path, 1 << 20, &bytes, &size, f->error, sizeof f->error),
                     TRAIN_OK);
    assert_int_equal(safetensors_parse("saved", bytes, size, &file, f->error, sizeof f->error),
                     TRAIN_OK);
    size_t n = file->n;
    struct safetensor *t = calloc(n + 1, sizeof *t);
    for (size_t i = 0; i < n; i++) {
        memcpy(t, file->tensors, n * sizeof *t);
        t[i] = t[n - 1];
        refused(f, t, n - 1, "the file has none"); /* without tensor i */
        memcpy(t, file->tensors, n * sizeof *t);
        t[i].dims[t[i].rank++] = 1;
        refused(f, t, n, "expected F32 [");
        memcpy(t, file->tensors, n * sizeof *t);
        t[i].dtype = "I32";
        refused(f, t, n, "found I32");
        memcpy(t, file->tensors, n * sizeof *t);
        float *values = malloc(t[i].bytes);
        memcpy(values, t[i].data, t[i].bytes);
        values[t[i].bytes / 4 - 1] = NAN;
        t[i].data = (unsigned char *)values;
        refused(f, t, n, "is nan");
        values[t[i].bytes / 4 - 1] = -1;
        if (!strcmp(t[i].name, "bn1.running_var")) refused(f, t, n, "is -1");
        free(values);
    }
    memcpy(t, file->tensors, n * sizeof *t);
    t[n] = t[0];
    t[n].name = "something.else";
    refused(f, t, n + 1, "the model has none");
    free(t);
    safetensors_free(&file);
    free(bytes);
}

static void later_format(void **state)
{
    struct fixture *f = *state;
    unsigned char *bytes;
    size_t size;
    struct checkpoint *c;
    json_t *metadata = json_pack("{s:s, s:s}", "convoy.format", "2", "convoy.version", "9.9");
    assert_int_equal(safetensors_build(NULL, 0, metadata, &bytes, &size, f->error, sizeof f->error),
                     TRAIN_OK);
    json_decref(metadata);
    write_bytes(f->path, bytes, size);
    free(bytes);
    assert_int_equal(checkpoint_read(f->path, &c, f->error, sizeof f->error), TRAIN_BAD);
    assert_non_null(strstr(f->error, "another version"));
    assert_non_null(strstr(f->error, "written by 9.9"));
    assert_null(c);
    metadata = json_pack("{s:s}", "convoy.format", "2");
    assert_int_equal(safetensors_build(NULL, 0, metadata, &bytes, &size, f->error, sizeof f->error),
                     TRAIN_OK);
    json_decref(metadata);
    write_bytes(f->path, bytes, size);
    free(bytes);
    assert_int_equal(checkpoint_read(f->path, &c, f->error, sizeof f->error), TRAIN_BAD);
    assert_non_null(strstr(f->error, "written by an unknown one"));
}

/* What torch.save writes gets a sentence of its own; what only begins like it is read, and then
 * refused, as safetensors. */
static void torch_files(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *bytes;
        size_t size;
        bool torch;
    } files[] = { { "PK\3\4........", 12, true },   { "\x80\2\x8a.....x", 9, true },
                  { "\x80\5\x8a.....x", 9, true },  { "PK\3\4", 4, false },
                  { "PK\3\4....", 8, false },       { "PK\3\4....{", 9, false },
                  { "\x80\1\x8a.....x", 9, false }, { "\x80\6\x8a.....x", 9, false },
                  { "\x80\2\0.....x", 9, false },   { "\x81\2\x8a.....x", 9, false } };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct checkpoint *c;
        write_bytes(f->path, files[i].bytes, files[i].size);
        assert_int_equal(checkpoint_read(f->path, &c, f->error, sizeof f->error), TRAIN_BAD);
        if (!strstr(f->error, "torch.save") == files[i].torch)
            fail_msg("file %zu: %s", i, f->error);
    }
}

/* Loads a file of these tensors, weights and running statistics only. */
static enum train_status load_tensors(struct fixture *f, const struct safetensor *tensors, size_t n,
                                      cvy_trainer *trainer, bool *wrapped)
{
    unsigned char *bytes;
    size_t size;
    struct checkpoint *c;
    json_t *metadata = json_object();
    assert_int_equal(
        safetensors_build(tensors, n, metadata, &bytes, &size, f->error, sizeof f->error),
        TRAIN_OK);
    json_decref(metadata);
    write_bytes(f->path, bytes, size);
    free(bytes);
    assert_int_equal(checkpoint_read(f->path, &c, f->error, sizeof f->error), TRAIN_OK);
    if (!n) assert_null(safetensors_find(c->file, "a"));
    enum train_status status =
        checkpoint_load(c, trainer, f->ctx, false, f->error, sizeof f->error);
    *wrapped = c->wrapped;
    checkpoint_free(&c);
    return status;
}

/* Weights from elsewhere: names that wrappers made longer, PyTorch's counter, an optimizer's state
 * that is not wanted. */
static void foreign_weights(void **state)
{
    static const char text[] =
        "{\"name\": \"m\", \"input\": [1, 1, 2], \"layers\": ["
        "{\"type\": \"linear\", \"name\": \"module\", \"out_features\": 2, \"bias\": false},"
        "{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 2, \"bias\": false}]}";
    struct fixture *f = *state;
    const float a[4] = { 1, 2, 3, 4 }, b[4] = { 5, 6, 7, 8 };
    float out[4];
    bool wrapped;
    struct model *model;
    cvy_net *net;
    cvy_tensor logits;
    cvy_trainer *trainer;
    assert_int_equal(model_parse("t", text, strlen(text), NULL, &model, f->error, sizeof f->error),
                     MODEL_OK);
    assert_int_equal(model_build(model, f->ctx, &net, &logits, f->error, sizeof f->error),
                     MODEL_OK);
    assert_int_equal(cvy_trainer_create(net, logits,
                                        &(cvy_trainer_options){ .batch = 2, .sgd = { .lr = 0.1 } },
                                        &trainer),
                     CVY_OK);
    static const struct {
        const char *a, *b, *more;
        const char *message;
        bool wrapped;
    } cases[] = {
        { "module.weight", "fc.weight", NULL, NULL, false },
        { "module.module.weight", "module.fc.weight", NULL, NULL, true },
        { "_orig_mod.module.module.weight", "_orig_mod.module.fc.weight", NULL, NULL, true },
        { "module.weight", "fc._orig_mod.weight", NULL, NULL, true },
        { "module.weight", "fc.weight", "bn.num_batches_tracked", NULL, false },
        { "module.weight", "fc.weight", "optimizer.momentum.fc.weight", NULL, false },
        { "module.weight", "fc.weight", ".num_batches_tracked",
          "the file has a tensor '.num_batches_tracked'", false },
        { "module.weight", "fc.weight", "x", "the file has a tensor 'x'", false },
        { "module.weight", "fc.weight", "bn.num_batches_trackee", "the file has a tensor 'bn.num",
          false },
        { "module.weight", "fc.weigh", NULL, "needs a tensor 'fc.weight'", false },
        { "module.weight", "fc.weights", NULL, "needs a tensor 'fc.weight'", false },
        { "module.weight", "xmodule.fc.weight", NULL, "needs a tensor 'fc.weight'", false },
        { "fc.module.weight", "fc.weight", NULL, "needs a tensor 'module.weight'", false }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct safetensor t[3];
        for (size_t k = 0; k < 3; k++)
            t[k] = (struct safetensor){ .dtype = "F32",
                                        .rank = 2,
                                        .dims = { 2, 2 },
                                        .bytes = 16,
                                        .data = (const unsigned char *)(k ? b : a) };
        t[0].name = cases[i].a;
        t[1].name = cases[i].b;
        t[2].name = cases[i].more;
        enum train_status status = load_tensors(f, t, cases[i].more ? 3 : 2, trainer, &wrapped);
        if (cases[i].message) {
            if (status != TRAIN_BAD || !strstr(f->error, cases[i].message))
                fail_msg("case %zu: '%s'", i, f->error);
            continue;
        }
        if (status || wrapped != cases[i].wrapped)
            fail_msg("case %zu: %d '%s'", i, (int)status, f->error);
        assert_int_equal(cvy_trainer_get(trainer, CVY_PARAM_WEIGHT, "module.weight", out, 4),
                         CVY_OK);
        assert_memory_equal(out, a, sizeof out);
        assert_int_equal(cvy_trainer_get(trainer, CVY_PARAM_WEIGHT, "fc.weight", out, 4), CVY_OK);
        assert_memory_equal(out, b, sizeof out);
    }
    for (size_t i = 0; i < 2; i++) { /* as many values, but another shape */
        struct safetensor t[2] = {
            { "module.weight", "F32", 2, { 2, 2 }, (const unsigned char *)a, 16 },
            { "fc.weight", "F32", 2, { 2, 2 }, (const unsigned char *)b, 16 }
        };
        t[i].dims[0] = 1;
        t[i].dims[1] = 4;
        assert_int_equal(load_tensors(f, t, 2, trainer, &wrapped), TRAIN_BAD);
        assert_non_null(strstr(f->error, "expected F32 [2, 2], found F32 [1, 4]"));
    }
    assert_int_equal(load_tensors(f, NULL, 0, trainer, &wrapped), TRAIN_BAD);
    const struct safetensor empty = { .name = "e", .dtype = "U8", .rank = 1 };
    assert_int_equal(load_tensors(f, &empty, 1, trainer, &wrapped), TRAIN_BAD);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    model_free(&model);
}

static size_t count_files(const char *dir)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void failing_saves(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX + 100];
    struct rlimit old, small;
    struct stat st;
    assert_int_equal(save_as(f, f->path), TRAIN_OK);
    assert_int_equal(stat(f->path, &st), 0);

    snprintf(path, sizeof path, "%s/missing/a.safetensors", f->dir);
    assert_int_equal(save_as(f, path), TRAIN_IO);
    assert_non_null(strstr(f->error, "No such file"));
    snprintf(path, sizeof path, "%s/a.safetensors/b", f->dir);
    assert_int_equal(save_as(f, path), TRAIN_IO);
    snprintf(path, sizeof path, "%s/%0300d", f->dir, 1);
    assert_int_equal(save_as(f, path), TRAIN_IO);
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = 0;
    assert_int_equal(save_as(f, path), TRAIN_IO);

    /* The target is a directory. */
    snprintf(path, sizeof path, "%s/directory", f->dir);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(save_as(f, path), TRAIN_IO);
    assert_int_equal(count_files(f->dir), 2);

    /* Every size at which a file may not grow further. */
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    for (rlim_t limit = 0; limit < (rlim_t)st.st_size; limit += 97) {
        small = old;
        small.rlim_cur = limit;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        enum train_status status = save_as(f, f->path);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(status, TRAIN_IO);
        assert_non_null(strstr(f->error, "File too large"));
        assert_int_equal(load_from(f, f->path, f->trainer), TRAIN_OK);
        assert_int_equal(count_files(f->dir), 2);
    }

    /* A read-only directory; the superuser may write there all the same. */
    assert_int_equal(chmod(f->dir, 0555), 0);
    uid_t user = geteuid();
    if (!user) assert_int_equal(seteuid(65534), 0);
    assert_int_equal(save_as(f, f->path), TRAIN_IO);
    assert_non_null(strstr(f->error, "Permission denied"));
    assert_int_equal(seteuid(user), 0);
    assert_int_equal(chmod(f->dir, 0755), 0);
    assert_int_equal(load_from(f, f->path, f->trainer), TRAIN_OK);

    /* What a killed process left is removed; what a living one writes is not. */
    /* above the largest process number */
    snprintf(path, sizeof path, "%s.tmp-%d-abcdef", f->path, 4194304 + 5);
    write_bytes(path, "x", 1);
    snprintf(path, sizeof path, "%s.tmp-1-abcdef", f->path);
    write_bytes(path, "x", 1);
    assert_int_equal(save_as(f, f->path), TRAIN_OK);
    assert_int_equal(count_files(f->dir), 3);
    assert_int_equal(access(path, F_OK), 0);
    static const char *const others[] = { ".tmp-x-abcdef", ".tmp--7-abcdef", ".tmp-0-abcdef",
                                          ".tmp-4194309_abcdef", ".tmq-4194309-abcdef" };
    /* names that nobody here gave, and our own */
    for (size_t i = 0; i < sizeof others / sizeof *others + 1; i++) {
        char other[200];
        if (i) snprintf(other, sizeof other, "%s%s", f->path, others[i - 1]);
        else snprintf(other, sizeof other, "%s.tmp-%ld-abcdef", f->path, (long)getpid());
        write_bytes(other, "x", 1);
        assert_int_equal(save_as(f, f->path), TRAIN_OK);
        assert_int_equal(access(other, F_OK), 0);
        assert_int_equal(unlink(other), 0);
    }
    assert_int_equal(save_as(f, "/dev"), TRAIN_IO); /* in the root directory */

    /* A link is replaced, its target untouched. */
    char link[128];
    snprintf(link, sizeof link, "%s/link", f->dir);
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(save_as(f, link), TRAIN_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 1);
}

#define GOOD(call) assert_int_equal(call, TRAIN_OK)
/* The mean image comes back as it was; it does not go unasked for, nor missing, nor in another
 * shape. */
static void mean_images(void **state)
{
    struct fixture *f = *state;
    double pixels[6] = { 0.5, -1, 3, 0.25, 7, 1e-9 }, got[6] = { 0 };
    pixels[5] = (double)(float)pixels[5];
    const struct checkpoint_also also = { .mean = { pixels, { 1, 2, 3 } } };
    const struct checkpoint_mean same = { got, { 1, 2, 3 } }, other = { got, { 1, 3, 2 } };
    struct checkpoint *c;
    json_t *metadata = json_object();
    GOOD(checkpoint_save(f->path, f->trainer, &also, metadata, f->error, sizeof f->error));
    json_decref(metadata);
    assert_int_equal(load_from(f, f->path, f->trainer), TRAIN_BAD);
    assert_non_null(strstr(f->error, "the file has a tensor 'input.mean', the model has none"));
    GOOD(checkpoint_read(f->path, &c, f->error, sizeof f->error));
    assert_int_equal(checkpoint_mean(c, &other, f->error, sizeof f->error), TRAIN_BAD);
    assert_non_null(strstr(f->error, "'input.mean': expected F32 [1, 3, 2], found F32 [1, 2, 3]"));
    GOOD(checkpoint_mean(c, &same, f->error, sizeof f->error));
    assert_memory_equal(got, pixels, sizeof got);
    GOOD(checkpoint_load(c, f->trainer, f->ctx, true, f->error, sizeof f->error));
    checkpoint_free(&c);
    GOOD(save_as(f, f->path));
    GOOD(checkpoint_read(f->path, &c, f->error, sizeof f->error));
    assert_int_equal(checkpoint_mean(c, &same, f->error, sizeof f->error), TRAIN_BAD);
    assert_non_null(strstr(f->error, "the model needs a tensor 'input.mean', the file has none"));
    checkpoint_free(&c);
}

static void not_finite_is_not_saved(void **state)
{
    struct fixture *f = *state;
    float bias[3] = { 0, INFINITY, 0 };
    assert_int_equal(save_as(f, f->path), TRAIN_OK);
    assert_int_equal(cvy_trainer_set(f->trainer, CVY_PARAM_WEIGHT, "fc.bias", bias, 3), CVY_OK);
    assert_int_equal(save_as(f, f->path), TRAIN_NUMERIC);
    assert_non_null(strstr(f->error, "fc.bias"));
    assert_int_equal(load_from(f, f->path, f->trainer), TRAIN_OK);
    assert_int_equal(cvy_trainer_set(f->trainer, CVY_PARAM_WEIGHT, "conv1.bias", bias, 2),
                     CVY_OK); /* not the last */
    assert_int_equal(save_as(f, f->path), TRAIN_NUMERIC);
    assert_non_null(strstr(f->error, "conv1.bias is not finite (element 1 is inf)"));
    assert_int_equal(load_from(f, f->path, f->trainer), TRAIN_OK);
}

static void unreadable_files(void **state)
{
    struct fixture *f = *state;
    struct checkpoint *c;
    char path[128];
    assert_int_equal(checkpoint_read(f->dir, &c, f->error, sizeof f->error), TRAIN_IO);
    assert_non_null(strstr(f->error, "a directory"));
    assert_int_equal(checkpoint_read(f->path, &c, f->error, sizeof f->error), TRAIN_IO);
    snprintf(path, sizeof path, "%s/fifo", f->dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(checkpoint_read(path, &c, f->error, sizeof f->error), TRAIN_IO);
    assert_int_equal(checkpoint_read("/dev/null", &c, f->error, sizeof f->error), TRAIN_IO);
    unsigned char *bytes;
    size_t size;
    write_bytes(f->path, "four", 4);
    assert_int_equal(files_read(f->path, 3, &bytes, &size, f->error, sizeof f->error), TRAIN_BAD);
    assert_non_null(strstr(f->error, "expected at most 3 bytes, found 4"));
    assert_null(bytes);
    assert_int_equal(files_read(f->path, 4, &bytes, &size, f->error, sizeof f->error), TRAIN_OK);
    assert_int_equal(size, 4);
    assert_memory_equal(bytes, "four", 4);
    free(bytes);
    write_bytes(f->path, "", 0);
    assert_int_equal(checkpoint_read(f->path, &c, f->error, sizeof f->error), TRAIN_BAD);
}

/* What is wrong with a model, and a part of the sentence that must come. $ stands for the layers of
 * a good one. */
#define HEAD "{\"name\": \"m\", \"input\": [1, 8, 8], "
#define LAYERS(text) HEAD "\"layers\": [" text "]}"
#define FC "{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 3}"
static const struct {
    const char *text, *message;
} bad_models[] = {
    { "", "line 1" },
    { "{\n\"name\": \"m\",\n,}", "line 3" },
    { "[]", "expected a JSON object" },
    { "{\"name\": \"m\", \"name\": \"n\"}", "duplicate" },
    { HEAD "\"layers\": [" FC "]} x", "end of file expected" },
    { HEAD "\"extra\": 1, \"layers\": [" FC "]}", "unknown key \"extra\"" },
    { "{\"input\": [1, 8, 8], \"layers\": [" FC "]}", "\"name\"" },
    { "{\"name\": \"a/b\", \"input\": [1, 8, 8], \"layers\": [" FC "]}", "\"name\"" },
    { "{\"name\": \"m\", \"input\": [1, 8], \"layers\": [" FC "]}", "\"input\"" },
    { "{\"name\": \"m\", \"input\": [1, 8, 0], \"layers\": [" FC "]}", "\"input\"" },
    { "{\"name\": \"m\", \"input\": [1, 8, 8.5], \"layers\": [" FC "]}", "\"input\"" },
    { "{\"name\": \"m\", \"input\": [1, 8, 8]}", "\"layers\"" },
    { LAYERS(""), "\"layers\"" },
    { LAYERS("1"), "layer 0: expected an object" },
    { LAYERS("{}"), "layer 0: \"type\" is missing" },
    { LAYERS("{\"type\": \"conv3d\"}"), "found \"conv3d\"" },
    { LAYERS("{\"type\": 3}"), "\"type\": expected one of" },
    { LAYERS("{\"type\": \"linear\", \"out_features\": 3}"), "needs a \"name\"" },
    { LAYERS("{\"type\": \"linear\", \"name\": \"fc\"}"),
      "layer 0 ('fc'): a linear needs \"out_features\"" },
    { LAYERS("{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 0}"), "found 0" },
    { LAYERS("{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": -3}"), "found -3" },
    { LAYERS("{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": \"3\"}"), "found \"3\"" },
    { LAYERS("{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 3, \"bias\": 1}"),
      "expected true or false, found 1" },
    { LAYERS("{\"type\": \"linear\", \"name\": \"f c\", \"out_features\": 3}"), "\"name\"" },
    { LAYERS(FC ", " FC), "layer 1 ('fc'): the name is taken" },
    { LAYERS("{\"type\": \"linear\", \"name\": \"input\", \"out_features\": 3}"), "taken" },
    { LAYERS("{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 3, \"units\": 2}"),
      "unknown key \"units\"" },
    { LAYERS("{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 3, \"input\": \"x\"}"),
      "no earlier layer is named \"x\"" },
    { LAYERS("{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 3, \"input\": \"fc\"}"),
      "no earlier layer" },
    { LAYERS("{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 1, \"kernel\": [3, 3, 3]}"),
      "found an array of 3" },
    { LAYERS("{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 1, \"kernel\": 3, "
             "\"stride\": 0}"),
      "\"stride\"" },
    { LAYERS("{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 1, \"kernel\": 3, \"pad\": "
             "[1, 2, 3]}"),
      "\"pad\"" },
    { LAYERS("{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 1, \"kernel\": 9}"),
      "layer 0 (conv2d c)" },
    { LAYERS("{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 3, \"kernel\": 3, "
             "\"groups\": 2}"),
      "layer 0 (conv2d c)" },
    { LAYERS("{\"type\": \"pool2d\", \"kernel\": 2}"), "needs \"kind\"" },
    { LAYERS("{\"type\": \"pool2d\", \"kind\": \"min\", \"kernel\": 2}"),
      "one of \"max\" \"avg\"" },
    { LAYERS("{\"type\": \"batch_norm\", \"name\": \"b\", \"eps\": 0}"), "above 0" },
    { LAYERS("{\"type\": \"batch_norm\", \"name\": \"b\", \"momentum\": 1.5}"), "found 1.5" },
    { LAYERS("{\"type\": \"batch_norm\", \"name\": \"b\", \"momentum\": 1e999}"), "line 1" },
    { LAYERS("{\"type\": \"dropout\", \"p\": 2}"), "found 2" },
    { LAYERS("{\"type\": \"add\"}"), "\"inputs\" is missing" },
    { LAYERS("{\"type\": \"add\", \"inputs\": [\"input\"]}"), "found an array of 1" },
    { LAYERS("{\"type\": \"add\", \"inputs\": [\"input\", 1]}"), "found 1" },
    { LAYERS("{\"type\": \"relu\", \"inputs\": [\"input\"]}"), "unknown key \"inputs\"" },
    { LAYERS("{\"type\": \"relu\", \"input\": [\"input\"]}"), "\"input\": expected the name" },
    { LAYERS("{\"type\": \"flatten\", \"name\": \"f\"}, {\"type\": \"add\", \"inputs\": [\"f\", "
             "\"input\"]}"),
      "layer 1 (add)" },
    { HEAD "\"defaults\": 1, \"layers\": [" FC "]}", "\"defaults\"" },
    { HEAD "\"defaults\": {\"lr\": -1}, \"layers\": [" FC "]}", "defaults: \"lr\"" },
    { HEAD "\"defaults\": {\"batch\": 0}, \"layers\": [" FC "]}", "defaults: \"batch\"" },
    { HEAD "\"defaults\": {\"momentum\": 1}, \"layers\": [" FC "]}", "below 1, found 1" },
    { HEAD "\"defaults\": {\"rate\": 1}, \"layers\": [" FC "]}", "unknown key \"rate\"" },
    { HEAD "\"defaults\": {\"init\": {\"weights\": \"ones\"}}, \"layers\": [" FC "]}",
      "found \"ones\"" },
    { HEAD "\"defaults\": {\"lr_drop_epochs\": [5, 5]}, \"layers\": [" FC "]}", "lr_drop_epochs" },
    { HEAD "\"normalize\": {\"mean\": [0, 0], \"std\": [1]}, \"layers\": [" FC "]}",
      "\"mean\": expected 1 numbers" },
    { HEAD "\"normalize\": {\"mean\": [0], \"std\": [0]}, \"layers\": [" FC "]}", "\"std\"" },
    { HEAD "\"normalize\": {\"mean\": [0]}, \"layers\": [" FC "]}", "\"std\"" }
};

static void malformed_models(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof bad_models / sizeof *bad_models; i++) {
        struct model *model;
        cvy_net *net = NULL;
        cvy_tensor logits;
        const char *text = bad_models[i].text;
        enum model_status status =
            model_parse("t", text, strlen(text), NULL, &model, f->error, sizeof f->error);
        if (!status) status = model_build(model, f->ctx, &net, &logits, f->error, sizeof f->error);
        if (status != MODEL_BAD || !strstr(f->error, bad_models[i].message))
            fail_msg("model %s: expected a message with '%s', found status %d, '%s'", text,
                     bad_models[i].message, (int)status, f->error);
        assert_null(net);
        model_free(&model);
    }
}

/* Every number of a model at both of its bounds and beyond them. $ stands for the number. */
static const struct {
    const char *text;
    double lo, hi;
    bool over, whole;
} bounds[] = {
#define LIMIT 16777216
    { LAYERS("{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": $}"), 1, LIMIT,
      .whole = true },
    { LAYERS("{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": $, \"kernel\": 1}"), 1,
      LIMIT, .whole = true },
    { LAYERS("{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 1, \"kernel\": $}"), 1,
      LIMIT, .whole = true },
    { LAYERS("{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 1, \"kernel\": [1, $]}"), 1,
      LIMIT, .whole = true },
    { LAYERS("{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 1, \"kernel\": 1, "
             "\"stride\": [$, 1]}"),
      1, LIMIT, .whole = true },
    { LAYERS("{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 1, \"kernel\": 1, \"pad\": "
             "[0, 0, 0, $]}"),
      0, LIMIT, .whole = true },
    { LAYERS("{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 1, \"kernel\": 1, "
             "\"dilation\": $}"),
      1, LIMIT, .whole = true },
    { LAYERS("{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 1, \"kernel\": 1, "
             "\"groups\": $}"),
      1, LIMIT, .whole = true },
    { LAYERS("{\"type\": \"pool2d\", \"kind\": \"max\", \"kernel\": $}"), 1, LIMIT, .whole = true },
    { LAYERS("{\"type\": \"pool2d\", \"kind\": \"avg\", \"kernel\": 1, \"stride\": $}"), 1, LIMIT,
      .whole = true },
    { LAYERS("{\"type\": \"pool2d\", \"kind\": \"avg\", \"kernel\": 1, \"pad\": [$, 0]}"), 0, LIMIT,
      .whole = true },
    { LAYERS("{\"type\": \"pad_channels\", \"before\": $, \"after\": 0}"), 0, LIMIT,
      .whole = true },
    { LAYERS("{\"type\": \"pad_channels\", \"before\": 0, \"after\": $}"), 0, LIMIT,
      .whole = true },
    { LAYERS("{\"type\": \"batch_norm\", \"name\": \"b\", \"eps\": $}"), 0, 1e30, .over = true },
    { LAYERS("{\"type\": \"batch_norm\", \"name\": \"b\", \"momentum\": $}"), 0, 1, .over = true },
    { LAYERS("{\"type\": \"relu\", \"grad_at_zero\": $}"), 0, 1, .over = false },
    { LAYERS("{\"type\": \"leaky_relu\", \"alpha\": $}"), 0, 1e30, .over = true },
    { LAYERS("{\"type\": \"elu\", \"alpha\": $}"), 0, 1e30, .over = true },
    { LAYERS("{\"type\": \"dropout\", \"p\": $}"), 0, 1, .over = false },
#define DEFAULTS(text) HEAD "\"defaults\": {" text "}, \"layers\": [" FC "]}"
    { DEFAULTS("\"batch\": $"), 1, 1048576, .whole = true },
    { DEFAULTS("\"epochs\": $"), 1, 1048576, .whole = true },
    { DEFAULTS("\"lr\": $"), 0, 1e30, .over = false },
    { DEFAULTS("\"weight_decay\": $"), 0, 1e30, .over = false },
    { DEFAULTS("\"clip_norm\": $"), 0, 1e30, .over = false },
    { DEFAULTS("\"accumulate\": $"), 1, 1048576, .whole = true },
    { DEFAULTS("\"crop\": $"), 0, 65536, .whole = true },
    { DEFAULTS("\"cutout\": $"), 0, 65536, .whole = true },
    { DEFAULTS("\"lr_drop_factor\": $"), 0, 1e30, .over = false }
};

static bool parses(struct fixture *f, const char *text, double number, bool whole)
{
    char with[400];
    struct model *model;
    const char *at = strchr(text, '$');
    snprintf(with, sizeof with, whole ? "%.*s%.0f%s" : "%.*s%.17g%s", (int)(at - text), text,
             number, at + 1);
    enum model_status status =
        model_parse("t", with, strlen(with), NULL, &model, f->error, sizeof f->error);
    model_free(&model);
    assert_true(status == MODEL_OK || status == MODEL_BAD);
    return status == MODEL_OK;
}

static void bounds_of_numbers(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        const char *text = bounds[i].text;
        double lo = bounds[i].lo, hi = bounds[i].hi;
        bool whole = bounds[i].whole;
        if (!parses(f, text, hi, whole)) fail_msg("%s: %g: %s", text, hi, f->error);
        if (parses(f, text, whole ? hi + 1 : hi * 1.0001, whole))
            fail_msg("%s: above %g", text, hi);
        if (parses(f, text, lo, whole) == bounds[i].over)
            fail_msg("%s: %g: %s", text, lo, f->error);
        if (bounds[i].over && !parses(f, text, 1e-9, whole))
            fail_msg("%s: %g: %s", text, 1e-9, f->error);
        if (parses(f, text, whole ? lo - 1 : lo - 1e-9, whole)) fail_msg("%s: below %g", text, lo);
    }
}

/* Sizes worked out by hand: what one builds from a layer's numbers, in their order. */
static void shapes_by_hand(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *layers;
        struct {
            size_t c, h, w;
        } want;
        size_t parameters;
    } cases[] = {
        /* rows (9 + 1 + 2 - 3) / 2 + 1 = 5, columns (10 + 0 + 1 - (2 * 3 + 1)) / 1 + 1 = 5; 6 * (4
         * / 2) * 3 * 4 + 6 */
        { "{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 6, \"kernel\": [3, 4], "
          "\"stride\": [2, 1], \"pad\": [1, 0, 2, 1],"
          " \"dilation\": [1, 2], \"groups\": 2}",
          { 6, 5, 5 },
          150 },
        /* rows (9 + 2 - 3) / 2 + 1 = 5, columns (10 + 4 - 3) / 2 + 1 = 6; no bias */
        { "{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 2, \"kernel\": 3, \"stride\": "
          "2, \"pad\": [1, 2], \"bias\": false}",
          { 2, 5, 6 },
          72 },
        { "{\"type\": \"pool2d\", \"kind\": \"max\", \"kernel\": [2, 3], \"stride\": [2, 3]}",
          { 4, 4, 3 },
          0 },
        { "{\"type\": \"pool2d\", \"kind\": \"max\", \"kernel\": [2, 3], \"stride\": [2, 3], "
          "\"ceil_mode\": true}",
          { 4, 5, 4 },
          0 },
        /* the stride is the kernel's */
        { "{\"type\": \"pool2d\", \"kind\": \"avg\", \"kernel\": 3}", { 4, 3, 3 }, 0 },
        { "{\"type\": \"global_avg_pool\"}", { 4, 1, 1 }, 0 },
        { "{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 7}",
          { 7, 1, 1 },
          7 * 360 + 7 },
        { "{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 7, \"bias\": false}",
          { 7, 1, 1 },
          7 * 360 },
        { "{\"type\": \"batch_norm\", \"name\": \"b\"}", { 4, 9, 10 }, 8 },
        { "{\"type\": \"batch_norm\", \"name\": \"b\", \"affine\": false}", { 4, 9, 10 }, 0 },
        { "{\"type\": \"pad_channels\", \"before\": 2, \"after\": 3}", { 9, 9, 10 }, 0 },
        { "{\"type\": \"concat\", \"inputs\": [\"input\", \"input\", \"input\"]}",
          { 12, 9, 10 },
          0 },
        { "{\"type\": \"add\", \"inputs\": [\"input\", \"input\"]}", { 4, 9, 10 }, 0 },
        { "{\"type\": \"flatten\"}", { 360, 1, 1 }, 0 }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[400];
        struct model *model;
        cvy_net *net;
        cvy_tensor out;
        size_t parameters = 0;
        snprintf(text, sizeof text, "{\"name\": \"m\", \"input\": [4, 9, 10], \"layers\": [%s]}",
                 cases[i].layers);
        if (model_parse("t", text, strlen(text), NULL, &model, f->error, sizeof f->error))
            fail_msg("%s: %s", text, f->error);
        if (model_build(model, f->ctx, &net, &out, f->error, sizeof f->error))
            fail_msg("%s: %s", text, f->error);
        cvy_shape got = cvy_tensor_shape(net, out);
        for (size_t k = 0; k < cvy_net_nodes(net); k++) {
            cvy_node_info info;
            assert_int_equal(cvy_net_node(net, k, &info), CVY_OK);
            parameters += info.parameters;
        }
        if (got.c != cases[i].want.c || got.h != cases[i].want.h || got.w != cases[i].want.w ||
            parameters != cases[i].parameters)
            fail_msg("%s: found %zux%zux%zu, %zu parameters", cases[i].layers, got.c, got.h, got.w,
                     parameters);
        cvy_net_destroy(&net);
        model_free(&model);
    }
}

static void builtin_models(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *name;
        size_t parameters;
    } want[] = { { "lenet-bn", 44878 },          { "lenet", 61706 },
                 { "resnet20", 269722 },         { "resnet20-b", 272474 },
                 { "vgg11-bn", 9231114 },        { "yann-lenet5", 3149580 },
                 { "resnet18", 11689512 },       { "resnet50", 25557032 },
                 { "densenet121", 7978856 },     { "mobilenet-v2", 3504872 },
                 { "yann-bn-before", 3164430 },  { "yann-bn-after", 3164290 },
                 { "tfbook", 233450 },           { "ioffe-mnist", 100310 },
                 { "ioffe-mnist-plain", 99710 }, { "cs231n-c1", 349710 },
                 { "cs231n-c7", 825046 },        { "cs231n-c8", 4106246 },
                 { "cs231n-c9", 1541510 } };
    const char *name;
    size_t n = 0;
    for (; model_builtin_at(n, &name); n++) {
        struct model *model, *again;
        cvy_net *net;
        cvy_tensor logits;
        assert_int_equal(model_load(name, NULL, &model, f->error, sizeof f->error), MODEL_OK);
        assert_int_equal(model_build(model, f->ctx, &net, &logits, f->error, sizeof f->error),
                         MODEL_OK);
        assert_int_equal(cvy_tensor_shape(net, logits).c, model->input[1] == 224 ? 1000 : 10);
        size_t parameters = 0;
        for (size_t i = 0; i < cvy_net_nodes(net); i++) {
            cvy_node_info info;
            assert_int_equal(cvy_net_node(net, i, &info), CVY_OK);
            parameters += info.parameters;
        }
        size_t known = 0;
        while (known < sizeof want / sizeof *want && strcmp(want[known].name, name)) known++;
        if (known == sizeof want / sizeof *want) fail_msg("%s: how many parameters?", name);
        assert_int_equal(parameters, want[known].parameters);
        /* What a run writes as model.json reads as the same model. */
        assert_int_equal(model_parse("again", model->json, strlen(model->json), NULL, &again,
                                     f->error, sizeof f->error),
                         MODEL_OK);
        assert_string_equal(again->json, model->json);
        assert_memory_equal(&again->defaults, &model->defaults, sizeof model->defaults);
        model_free(&again);
        cvy_net_destroy(&net);
        model_free(&model);
    }
    assert_int_equal(n, sizeof want / sizeof *want);
    struct model *v1;
    assert_int_equal(model_load("lenet-bn", &(struct model_options){ .api = "v1" }, &v1, f->error,
                                sizeof f->error),
                     MODEL_OK);
    assert_int_equal(v1->defaults.batch, 128);
    assert_non_null(strstr(v1->json, "\"avg\""));
    assert_null(strstr(v1->json, "\"kind\": \"max\""));
    model_free(&v1);
    assert_int_equal(model_load("lenet-bn", &(struct model_options){ .api = "v7" }, &v1, f->error,
                                sizeof f->error),
                     MODEL_BAD);
    assert_int_equal(model_load("lenet", &(struct model_options){ .bn_var = "biased" }, &v1,
                                f->error, sizeof f->error),
                     MODEL_BAD);
    assert_int_equal(model_load("lenet", &(struct model_options){ .pool = "min" }, &v1, f->error,
                                sizeof f->error),
                     MODEL_BAD);
    assert_int_equal(model_load("lenet-b", NULL, &v1, f->error, sizeof f->error), MODEL_UNKNOWN);
    assert_non_null(strstr(f->error, "lenet-bn"));
    for (size_t i = 0; model_builtin_at(i, &name); i++) assert_non_null(strstr(f->error, name));
    assert_int_equal(model_load("missing/m.json", NULL, &v1, f->error, sizeof f->error), MODEL_IO);
    assert_int_equal(model_load("/", NULL, &v1, f->error, sizeof f->error), MODEL_IO);
}

#ifdef CAN_FAIL
/* Model from text, net, trainer, save, load: what the program does, with the status of the first
 * thing that fails. */
static bool workflow(struct fixture *f, bool *ended_well)
{
    struct model *model = NULL;
    cvy_net *net = NULL;
    cvy_tensor logits;
    cvy_trainer *trainer = NULL;
    struct checkpoint *c = NULL;
    char path[160];
    snprintf(path, sizeof path, "%s.work", f->path);
    bool nomem = true;
    enum train_status t = TRAIN_OK;
    enum model_status m =
        model_parse("t", model_text, strlen(model_text), NULL, &model, f->error, sizeof f->error);
    if (!m) m = model_build(model, f->ctx, &net, &logits, f->error, sizeof f->error);
    enum cvy_status s = CVY_OK;
    const cvy_trainer_options options = { .batch = 16, .sgd = { .lr = 0.1, .momentum = 0.9 } };
    if (!m) s = cvy_trainer_create(net, logits, &options, &trainer);
    json_t *metadata = !m && !s ? json_pack("{s:s}", "convoy.model", model_text) : NULL;
    if (!m && !s && metadata) {
        t = checkpoint_save(path, trainer, &(struct checkpoint_also){ 0 }, metadata, f->error,
                            sizeof f->error);
        if (!t) t = checkpoint_read(path, &c, f->error, sizeof f->error);
        if (!t) t = checkpoint_load(c, trainer, f->ctx, true, f->error, sizeof f->error);
    }
    *ended_well = !m && !s && !t && metadata;
    if (m) nomem = m == MODEL_NOMEM;
    else if (s) nomem = s == CVY_E_NOMEM;
    else if (t) nomem = t == TRAIN_NOMEM;
    json_decref(metadata);
    checkpoint_free(&c);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    model_free(&model);
    return nomem;
}

/* jansson 2.14 may answer its own lack of memory with an assertion, so its allocations are left out
 * of the sweep (and cli/main.c spares it in the same way). */
static void *sure_malloc(size_t n) { return born(__libc_malloc(n)); }

static void failing_allocations(void **state)
{
    struct fixture *f = *state;
    bool well;
    const char *preload = getenv("LD_PRELOAD");
    /* valgrind puts its malloc in the place of the one above */
    if (preload && strstr(preload, "vgpreload")) skip();
    json_set_alloc_funcs(sure_malloc, free);
    workflow(f, &well); /* what is kept by libc for good is taken now */
    assert_true(well);
    for (int all = 0; all < 2; all++) {
        for (long k = 0;; k++) {
            long before = alive;
            fail_on = all;
            fail_in = k;
            bool nomem = workflow(f, &well);
            bool reached = all ? fail_in == 0 : fail_in < 0;
            fail_in = -1;
            if (!reached) {
                print_message("%ld allocations of the library and the program failed in turn\n", k);
                assert_true(well && k > 50); /* everything was tried */
                break;
            }
            if (!nomem && !well)
                fail_msg("allocation %ld: '%s' does not say that memory is short", k, f->error);
            if (alive != before)
                fail_msg("allocation %ld: %ld blocks leak ('%s')", k, alive - before, f->error);
        }
    }
    assert_int_equal(count_files(f->dir), 1);
}
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(round_trip),          TEST(every_flipped_bit), TEST(malformed_headers),
        TEST(all_or_nothing),      TEST(later_format),      TEST(torch_files),
        TEST(foreign_weights),     TEST(failing_saves),     TEST(not_finite_is_not_saved),
        TEST(unreadable_files),    TEST(malformed_models),
#ifdef CAN_FAIL
        TEST(failing_allocations),
#endif
        TEST(mean_images),         TEST(bounds_of_numbers), TEST(shapes_by_hand),
        TEST(builtin_models)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
