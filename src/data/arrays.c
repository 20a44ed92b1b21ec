/* Sets of four NumPy arrays: x_train, y_train, x_test and y_test, as .npy files of a directory or
 * in one .npz file. */
#include "data/arrays.h"

#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/place.h"

static const char *const names[] = { "x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy" };

struct source {
    const char *path;
    bool nhwc;
    struct data_bytes archive; /* NULL: path is a directory */
    struct data_set *set;
    SHA2_CTX digest;
    char content[2][65]; /* hashes of the two splits' images */
    char *error;
    size_t error_size;
};

static enum data_status take_images(struct source *s, const char *where, struct data_bytes file,
                                    bool test)
{
    struct data_set *set = s->set;
    struct data_images i;
    SHA2_CTX ctx;
    enum data_status status =
        data_parse_npy_images(where, file, s->nhwc, &i, s->error, s->error_size);
    if (status) return status;
    struct data_split *split = test ? &set->test : &set->train;
    split->n = i.n;
    split->images = i.bytes;
    SHA256Init(&ctx);
    SHA256Update(&ctx, i.bytes, i.n * i.c * i.h * i.w);
    SHA256End(&ctx, s->content[test]);
    if (test && (i.c != set->c || i.h != set->h || i.w != set->w))
        return data_fail(s->error, s->error_size, DATA_BAD,
                         "%s: images are %zux%zux%zu, the training images are %zux%zux%zu", where,
                         i.c, i.h, i.w, set->c, set->h, set->w);
    set->c = i.c;
    set->h = i.h;
    set->w = i.w;
    return DATA_OK;
}

static enum data_status take_labels(struct source *s, const char *where, struct data_bytes file,
                                    bool test)
{
    struct data_split *split = test ? &s->set->test : &s->set->train;
    size_t n;
    enum data_status status =
        data_parse_npy_labels(where, file, &n, &split->labels, s->error, s->error_size);
    if (status) return status;
    if (n != split->n)
        return data_fail(s->error, s->error_size, DATA_BAD, "%s: %zu labels for %zu images", where,
                         n, split->n);
    for (size_t i = 0; i < n; i++)
        if (split->labels[i] >= s->set->classes) s->set->classes = split->labels[i] + 1u;
    return DATA_OK;
}

static enum data_status take_array(struct source *s, size_t i)
{
    char where[PLACE_PATH];
    struct data_bytes file = { NULL, 0 };
    uint8_t *bytes = NULL;
    enum data_status status;
    snprintf(where, sizeof where, s->archive.bytes ? "%.4096s: %s" : "%.4096s/%s", s->path,
             names[i]);
    if (s->archive.bytes) {
        status = data_zip_member(s->path, s->archive, names[i], &file, s->error, s->error_size);
    } else {
        status = place_read(where, &bytes, &file.size, s->error, s->error_size);
        file.bytes = bytes;
    }
    if (!status) SHA256Update(&s->digest, file.bytes, file.size);
    if (!status) status = (i % 2 ? take_labels : take_images)(s, where, file, i >= 2);
    free((void *)(uintptr_t)file.bytes);
    return status;
}

bool arrays_there(const char *dir)
{
    char path[PLACE_PATH];
    snprintf(path, sizeof path, "%.4096s/%s", dir, names[0]);
    return place_is_file(path);
}

enum data_status arrays_open(const char *path, bool nhwc, struct data_set *set, char *error,
                             size_t error_size)
{
    struct source s = {
        .path = path, .nhwc = nhwc, .set = set, .error = error, .error_size = error_size
    };
    uint8_t *archive = NULL;
    enum data_status status = DATA_OK;
    snprintf(set->source, sizeof set->source, "%.*s", (int)sizeof set->source - 1, path);
    set->prefix = nhwc ? "nhwc:" : "";
    set->classes = 2;
    set->open_classes = true;
    if (place_is_file(path)) {
        status = place_read(path, &archive, &s.archive.size, error, error_size);
        s.archive.bytes = archive;
    }
    SHA256Init(&s.digest);
    for (size_t i = 0; i < 4 && !status; i++) status = take_array(&s, i);
    free(archive);
    if (status) return status;
    SHA256Update(&s.digest, (const uint8_t *)set->prefix, strlen(set->prefix));
    SHA256End(&s.digest, set->digest);
    snprintf(set->own_name, sizeof set->own_name, "npy:%s", set->source);
    set->name = set->own_name;
    set->remark = "not known";
    if (strcmp(s.content[0], s.content[1]) == 0)
        snprintf(set->note, sizeof set->note, "%s: the training images are the test images",
                 set->source);
    return DATA_OK;
}
