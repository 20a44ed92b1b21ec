/* Directories and file names: what is there, in which spelling, and why not. */
#include "data/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum data_status place_read(const char *path, uint8_t **bytes, size_t *size, char *error,
                            size_t error_size)
{
    struct stat st;
    enum data_status status = DATA_IO;
    *bytes = NULL;
    *size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st)) {
        status = data_fail(error, error_size, DATA_IO, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        status = data_fail(error, error_size, DATA_BAD, "%s: not a regular file", path);
    } else if (!(*bytes = malloc((size_t)st.st_size + 1))) {
        status = data_fail(error, error_size, DATA_NOMEM, "%s: out of memory for %jd bytes", path,
                           (intmax_t)st.st_size);
    } else {
        ssize_t got = 1;
        while (*size < (size_t)st.st_size && got > 0) {
            got = read(fd, *bytes + *size, (size_t)st.st_size - *size);
            if (got > 0) *size += (size_t)got;
            if (got < 0 && errno == EINTR) got = 1;
        }
        if (*size == (size_t)st.st_size) status = DATA_OK;
        else
            data_fail(error, error_size, DATA_IO, "%s: only %zu of %jd bytes could be read: %s",
                      path, *size, (intmax_t)st.st_size,
                      got < 0 ? strerror(errno) : "the file became shorter");
    }
    if (fd >= 0) close(fd);
    if (status != DATA_OK) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

bool place_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

void place_print(struct fingerprint *print, unsigned rank, const size_t dims[3],
                 const uint8_t *content, const uint8_t *file, size_t size)
{
    uint8_t head[16] = { 0, 0, 8, (uint8_t)rank };
    size_t bytes = 1;
    for (unsigned i = 0; i < rank; i++) {
        bytes *= dims[i];
        for (int b = 0; b < 4; b++)
            head[4 + 4 * i + (unsigned)b] = (uint8_t)(dims[i] >> (24 - 8 * b));
    }
    SHA2_CTX ctx;
    SHA256Init(&ctx);
    SHA256Update(&ctx, head, 4 + 4 * rank);
    SHA256Update(&ctx, content, bytes);
    SHA256End(&ctx, print->content);
    *print->packed = 0;
    if (file[0] != 0x1f) return; /* it was read already: plain files begin with 0, packed ones so */
    SHA256Init(&ctx);
    SHA256Update(&ctx, file, size);
    SHA256End(&ctx, print->packed);
}

enum data_status place_labels(const char *path, size_t *n, uint8_t **labels,
                              struct fingerprint *print, char *error, size_t error_size)
{
    uint8_t *bytes;
    size_t size;
    *labels = NULL;
    enum data_status status = place_read(path, &bytes, &size, error, error_size);
    if (status == DATA_OK)
        status = data_parse_idx_labels(path, bytes, size, 256, n, labels, error, error_size);
    if (status == DATA_OK) place_print(print, 1, (size_t[]){ *n, 0, 0 }, *labels, bytes, size);
    free(bytes);
    return status;
}

/* --------------------------------------------------------------------------- names of IDX files */

/* [PREFIX-]{train|t10k|test}-{images-idx3|labels-idx1}-ubyte[.gz], also with a dot before idx. */
struct idx_name {
    size_t prefix; /* its length, with the '-' */
    int file;      /* 0 to 3, as in struct place */
    int rank;      /* of two spellings of one file the lower is taken: unpacked, '-', t10k */
};

static bool ends_with(const char *name, size_t *length, const char *end)
{
    size_t n = strlen(end);
    if (*length < n || memcmp(name + *length - n, end, n) != 0) return false;
    *length -= n;
    return true;
}

static bool parse_name(const char *name, struct idx_name *out)
{
    size_t n = strlen(name);
    bool packed = ends_with(name, &n, ".gz"), dot, test, alias = false;
    int labels;
    if (ends_with(name, &n, "idx3-ubyte")) labels = 0;
    else if (ends_with(name, &n, "idx1-ubyte")) labels = 1;
    else return false;
    dot = ends_with(name, &n, ".");
    if (!dot && !ends_with(name, &n, "-")) return false;
    if (!ends_with(name, &n, labels ? "-labels" : "-images")) return false;
    test = ends_with(name, &n, "t10k");
    if (!test) test = alias = ends_with(name, &n, "test");
    if (!test && !ends_with(name, &n, "train")) return false;
    *out = (struct idx_name){ n, 2 * test + labels, 4 * packed + 2 * dot + alias };
    return n == 0 || name[n - 1] == '-';
}

/* The first and the last prefix in alphabetical order; *bare: files without one are there. False:
 * no IDX file at all. */
static bool prefixes(DIR *d, bool *bare, char first[256], char last[256])
{
    struct idx_name name;
    bool any = false, named = false;
    *bare = false;
    *first = *last = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (!parse_name(e->d_name, &name)) continue;
        any = true;
        *bare |= !name.prefix;
        if (!name.prefix) continue;
        char prefix[256];
        snprintf(prefix, sizeof prefix, "%.*s", (int)name.prefix, e->d_name);
        if (!named || strcmp(prefix, first) < 0) strcpy(first, prefix);
        if (!named || strcmp(prefix, last) > 0) strcpy(last, prefix);
        named = true;
    }
    return any;
}

/* Looks into exactly this directory. */
static enum data_status look_idx(const char *dir, struct place *place, char *error,
                                 size_t error_size)
{
    DIR *d = opendir(dir);
    if (!d && (errno == ENOENT || errno == ENOTDIR))
        return data_fail(error, error_size, DATA_NOT_FOUND, "%s: %s", dir, strerror(errno));
    if (!d) return data_fail(error, error_size, DATA_IO, "%s: %s", dir, strerror(errno));
    bool bare;
    char first[256], last[256];
    int best[IDX_FILES] = { 8, 8, 8, 8 };
    enum data_status status = DATA_OK;
    if (!prefixes(d, &bare, first, last))
        status = data_fail(error, error_size, DATA_NOT_FOUND, "%s: no IDX files", dir);
    else if (!bare && strcmp(first, last) != 0)
        status = data_fail(
            error, error_size, DATA_BAD,
            "%s: holds several data sets (%s..., %s...): put the four files of one into a "
            "directory of their own",
            dir, first, last);
    if (bare) *first = 0;
    rewinddir(d);
    memset(place, 0, sizeof *place);
    place->files = IDX_FILES;
    snprintf(place->dir, sizeof place->dir, "%s", dir);
    for (struct dirent *e; status == DATA_OK && (e = readdir(d));) {
        struct idx_name name;
        if (!parse_name(e->d_name, &name) || name.prefix != strlen(first) ||
            name.rank >= best[name.file])
            continue;
        best[name.file] = name.rank;
        snprintf(place->file[name.file], sizeof place->file[0], "%.4096s/%s", dir, e->d_name);
    }
    closedir(d);
    return status;
}

/* The files of a format whose names are fixed; the first tells whether it is there. */
static enum data_status look_named(const char *dir, const char *const *names, struct place *place,
                                   char *error, size_t error_size)
{
    struct stat st;
    memset(place, 0, sizeof *place);
    snprintf(place->dir, sizeof place->dir, "%s", dir);
    for (; names[place->files]; place->files++)
        snprintf(place->file[place->files], sizeof place->file[0], "%.4096s/%s", dir,
                 names[place->files]);
    if (stat(place->file[0], &st) == 0) return DATA_OK;
    return data_fail(error, error_size,
                     errno == ENOENT || errno == ENOTDIR ? DATA_NOT_FOUND : DATA_IO, "%s: %s",
                     place->file[0], strerror(errno));
}

enum data_status place_look(const char *dir, enum format format, struct place *place, char *error,
                            size_t error_size)
{
    static const char *const cifar10[] = { "data_batch_1.bin",
                                           "data_batch_2.bin",
                                           "data_batch_3.bin",
                                           "data_batch_4.bin",
                                           "data_batch_5.bin",
                                           "test_batch.bin",
                                           NULL },
                             *const cifar100[] = { "train.bin", "test.bin", NULL };
    static const char *const folders[FORMATS] = { "raw", "cifar-10-batches-bin", "cifar-100-binary",
                                                  "cifar-100-binary" };
    const char *const *names = format == FORMAT_CIFAR10 ? cifar10 : cifar100;
    char below[PLACE_PATH];
    enum data_status status = DATA_NOT_FOUND;
    snprintf(below, sizeof below, "%.4096s/%s", dir, folders[format]);
    for (size_t i = 0; i < 2 && status == DATA_NOT_FOUND; i++) {
        const char *where = i ? below : dir;
        status = format == FORMAT_IDX ? look_idx(where, place, error, error_size)
                                      : look_named(where, names, place, error, error_size);
    }
    place->format = format;
    return status;
}

static bool has(const char *dir, const char *name)
{
    char path[PLACE_PATH];
    struct stat st;
    snprintf(path, sizeof path, "%.4096s/%s", dir, name);
    return stat(path, &st) == 0;
}

/* What people have instead of a data set's files, and what to do about it. */
static bool unread(const char *dir, char *why, size_t size)
{
    static const char binary[] = "cifar-10-binary.tar.gz "
                                 "(https://www.cs.toronto.edu/~kriz/cifar.html)";
    bool pickles = has(dir, "data_batch_1") || has(dir, "cifar-10-batches-py/data_batch_1"),
         packed = has(dir, "cifar-10-binary.tar.gz");
    if (pickles)
        snprintf(
            why, size,
            "%.4096s: holds CIFAR-10 as Python pickles, which are programs and are not read here: "
            "take the binary version, %s, or convert them as docs/files.md says",
            dir, binary);
    else if (packed)
        snprintf(why, size, "%.4096s: holds cifar-10-binary.tar.gz: unpack it there (tar xf)", dir);
    else if (has(dir, "cifar-10-python.tar.gz"))
        snprintf(why, size, "%.4096s: holds cifar-10-python.tar.gz: take the binary version, %s",
                 dir, binary);
    else return false;
    return true;
}

/* ----------------------------------------------------------------------------------- the search */

struct search {
    const struct known *k;
    struct place *place;
    char trouble[PLACE_PATH + 300]; /* the first place where something was, but not that */
};

/* The known set whose test labels lie here, if it is another one than k. Labels are small, so that
 * looking costs nothing. */
static const struct known *another(const struct place *place, const struct known *k)
{
    struct fingerprint print = { "", "" };
    char error[256];
    size_t n, at;
    uint8_t *labels;
    if (place->format != FORMAT_IDX || !*place->file[3] ||
        place_labels(place->file[3], &n, &labels, &print, error, sizeof error) != DATA_OK)
        return NULL;
    free(labels);
    const struct known *found = known_file(&print, &at);
    return found == k ? NULL : found;
}

static bool try_dir(struct search *s, const char *root, const char *sub)
{
    char dir[PLACE_PATH], error[PLACE_PATH + 200];
    snprintf(dir, sizeof dir, "%.4000s%s%s", root, *sub ? "/" : "", sub);
    enum data_status status = place_look(dir, s->k->format, s->place, error, sizeof error);
    if (status == DATA_NOT_FOUND) {
        if (s->k->format == FORMAT_CIFAR10 && !*s->trouble)
            unread(dir, s->trouble, sizeof s->trouble);
        return false;
    }
    const struct known *other = status == DATA_OK ? another(s->place, s->k) : NULL;
    if (status == DATA_OK && !other) return true;
    if (!*s->trouble && other)
        snprintf(s->trouble, sizeof s->trouble, "%s holds %s", s->place->dir, other->shown.name);
    else if (!*s->trouble) snprintf(s->trouble, sizeof s->trouble, "%s", error);
    return false;
}

/* Tries ROOT/NAME, and the directory's name in torchvision or the archive. */
static bool try_root(struct search *s, const char *root)
{
    return try_dir(s, root, s->k->shown.name) || try_dir(s, root, s->k->folder);
}

static bool try_all(struct search *s)
{
    const char *own = getenv("CVY_DATA_DIR"), *cache = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME"), *dirs = getenv("XDG_DATA_DIRS");
    char root[4096];
    if (own && *own && (try_root(s, own) || try_dir(s, own, ""))) return true;
    if (cache && *cache) snprintf(root, sizeof root, "%.4000s/convoy", cache);
    else snprintf(root, sizeof root, "%.4000s/.cache/convoy", home ? home : "");
    if (((cache && *cache) || (home && *home)) && try_root(s, root)) return true;
    for (const char *d = dirs ? dirs : ""; *d;) {
        size_t n = strcspn(d, ":");
        if (n && n < 4000) {
            snprintf(root, sizeof root, "%.*s/datasets", (int)n, d);
            if (try_root(s, root)) return true;
        }
        d += n + (d[n] == ':');
    }
    return try_root(s, "/usr/share/datasets");
}

enum data_status place_search(const struct known *k, struct place *place, char *error,
                              size_t error_size)
{
    struct search s = { k, place, "" };
    if (try_all(&s)) return DATA_OK;
    return data_fail(error, error_size, DATA_NOT_FOUND,
                     "data set '%s' was not found on this machine%s%s%s: %s", k->shown.name,
                     *s.trouble ? " (" : "", s.trouble, *s.trouble ? ")" : "", k->shown.hint);
}

bool data_find(const char *name, char *path, size_t size)
{
    const struct known *k = known_find(name);
    struct place *place = k ? malloc(sizeof *place) : NULL;
    char error[PLACE_PATH];
    bool found = place && place_search(k, place, error, sizeof error) == DATA_OK;
    if (found) snprintf(path, size, "%s", place->dir);
    free(place);
    return found;
}

enum data_status place_nothing(const char *dir, char *error, size_t error_size)
{
    if (unread(dir, error, error_size)) return DATA_NOT_FOUND;
    return data_fail(error, error_size, DATA_NOT_FOUND,
                     "%s: holds neither IDX files (train-images-idx3-ubyte[.gz] ...) nor CIFAR "
                     "files (data_batch_1.bin ... or train.bin, test.bin) nor arrays (x_train.npy, "
                     "y_train.npy, x_test.npy, y_test.npy) nor PNG or JPEG files in a directory a "
                     "class",
                     dir);
}
