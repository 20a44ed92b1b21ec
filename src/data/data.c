/* Finding and opening data sets: search order, files of each known set, content hashes. */
#include "data/data.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/parse.h"

static const char *const fashion_classes[] = { "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot" };
static const char *const digit_classes[] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9" };
static const char *const cifar_classes[] = { "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck" };

/* Hashes are of the decompressed files: distributions differ in the gzip header only. */
struct known {
    struct data_known shown;
    bool cifar;
    size_t c, h, w;
    const char *const *classes;
    const char *sha256[4]; /* train images, train labels, test images, test labels */
};
static const struct known known[] = {
    { { "fashion-mnist", "70 000 grey 28x28 images of clothing, 10 classes", "apt install dataset-fashion-mnist" }, false, 1, 28, 28, fashion_classes,
      { "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34" } },
    { { "mnist", "70 000 grey 28x28 images of digits, 10 classes", "put the four IDX files into a directory and name it with --data or $CVY_DATA_DIR" },
      false, 1, 28, 28, digit_classes,
      { "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2" } },
    { { "cifar10", "60 000 colour 32x32 images, 10 classes", "put data_batch_1.bin … data_batch_5.bin and test_batch.bin into a directory and name it with --data or $CVY_DATA_DIR" },
      true, 3, 32, 32, cifar_classes, { NULL } },
};
#define N_KNOWN (sizeof known / sizeof *known)
static const char *const idx_files[4] = { "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte" };

size_t data_known_sets(const struct data_known **list)
{
    static struct data_known shown[N_KNOWN];
    for (size_t i = 0; i < N_KNOWN; i++) shown[i] = known[i].shown;
    *list = shown;
    return N_KNOWN;
}

static const struct known *find_known(const char *name)
{
    for (size_t i = 0; i < N_KNOWN; i++)
        if (strcmp(known[i].shown.name, name) == 0) return &known[i];
    return NULL;
}

static bool is_file(const char *dir, const char *file)
{
    char path[4400];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, file);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool holds(const char *dir, const struct known *k)
{
    char gz[64];
    if (k->cifar) return is_file(dir, "data_batch_1.bin");
    snprintf(gz, sizeof gz, "%s.gz", idx_files[0]);
    return is_file(dir, idx_files[0]) || is_file(dir, gz);
}

/* Tries DIR/NAME, then DIR. A bare DIR with IDX files could be either set, so it only counts where it was named for this. */
static bool try_dir(const char *dir, const char *sub, const struct known *k, bool bare, char *path, size_t size)
{
    if (!dir || !*dir) return false;
    snprintf(path, size, "%s%s/%s", dir, sub, k->shown.name);
    if (holds(path, k)) return true;
    snprintf(path, size, "%s%s", dir, sub);
    return bare && holds(path, k);
}

bool data_find(const char *name, char *path, size_t size)
{
    const struct known *k = find_known(name);
    if (!k) return false;
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME"), *dirs = getenv("XDG_DATA_DIRS");
    if (try_dir(getenv("CVY_DATA_DIR"), "", k, true, path, size)) return true;
    if (cache && *cache ? try_dir(cache, "/convoy", k, false, path, size) : try_dir(home, "/.cache/convoy", k, false, path, size)) return true;
    for (const char *d = dirs ? dirs : ""; *d;) {
        size_t n = strcspn(d, ":");
        char dir[4096];
        snprintf(dir, sizeof dir, "%.*s", (int)(n < sizeof dir ? n : sizeof dir - 1), d);
        if (try_dir(dir, "/datasets", k, false, path, size)) return true;
        d += n + (d[n] == ':');
    }
    return try_dir("/usr/share", "/datasets", k, false, path, size);
}

/* A whole regular file, read, not mapped (a file cut off while mapped is a SIGBUS). */
static enum data_status read_file(const char *path, uint8_t **bytes, size_t *size, char *error, size_t error_size)
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
        status = data_fail(error, error_size, DATA_NOMEM, "%s: out of memory for %jd bytes", path, (intmax_t)st.st_size);
    } else {
        while (*size < (size_t)st.st_size) {
            ssize_t got = read(fd, *bytes + *size, (size_t)st.st_size - *size);
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) break;
            *size += (size_t)got;
        }
        if (*size == (size_t)st.st_size)
            status = DATA_OK;
        else
            data_fail(error, error_size, DATA_IO, "%s: only %zu of %jd bytes could be read", path, *size, (intmax_t)st.st_size);
    }
    if (fd >= 0) close(fd);
    if (status != DATA_OK) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

static void idx_path(const char *dir, int file, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", dir, idx_files[file]);
    if (access(path, F_OK) != 0) snprintf(path, size, "%s/%s.gz", dir, idx_files[file]);
}

/* The IDX header is part of the published hash, so it is rebuilt in front of the content. */
static bool hash_matches(const char *want, unsigned rank, const size_t dims[3], const uint8_t *bytes, size_t size)
{
    uint8_t head[16] = { 0, 0, 8, (uint8_t)rank };
    for (unsigned i = 0; i < rank; i++)
        for (int b = 0; b < 4; b++) head[4 + 4 * i + (unsigned)b] = (uint8_t)(dims[i] >> (24 - 8 * b));
    SHA2_CTX ctx;
    char hex[SHA256_DIGEST_STRING_LENGTH];
    SHA256Init(&ctx);
    SHA256Update(&ctx, head, 4 + 4 * rank);
    SHA256Update(&ctx, bytes, size);
    SHA256End(&ctx, hex);
    return strcmp(hex, want) == 0;
}

static enum data_status load_idx_split(const char *dir, const struct known *k, bool test, struct data_set *set, struct data_split *split,
                                       char *error, size_t error_size)
{
    char path[4400];
    uint8_t *bytes;
    size_t size, h = 0, w = 0, n_labels = 0;
    idx_path(dir, test ? 2 : 0, path, sizeof path);
    enum data_status status = read_file(path, &bytes, &size, error, error_size);
    if (status != DATA_OK) return status;
    status = data_parse_idx_images(path, bytes, size, &split->n, &h, &w, &split->images, error, error_size);
    free(bytes);
    if (status != DATA_OK) return status;
    if (h != k->h || w != k->w)
        return data_fail(error, error_size, DATA_BAD, "%s: images are %zux%zu, expected %zux%zu", path, h, w, k->h, k->w);
    set->verified &= hash_matches(k->sha256[test ? 2 : 0], 3, (size_t[]){ split->n, h, w }, split->images, split->n * h * w);
    idx_path(dir, test ? 3 : 1, path, sizeof path);
    status = read_file(path, &bytes, &size, error, error_size);
    if (status != DATA_OK) return status;
    status = data_parse_idx_labels(path, bytes, size, set->classes, &n_labels, &split->labels, error, error_size);
    free(bytes);
    if (status != DATA_OK) return status;
    if (n_labels != split->n)
        return data_fail(error, error_size, DATA_BAD, "%s: %zu labels for %zu images", path, n_labels, split->n);
    set->verified &= hash_matches(k->sha256[test ? 3 : 1], 1, (size_t[]){ n_labels, 0, 0 }, split->labels, n_labels);
    return DATA_OK;
}

/* Appends one CIFAR file to a split. */
static enum data_status load_cifar_file(const char *path, struct data_split *split, char *error, size_t error_size)
{
    uint8_t *bytes, *images, *labels;
    size_t size, n;
    enum data_status status = read_file(path, &bytes, &size, error, error_size);
    if (status != DATA_OK) return status;
    status = data_parse_cifar10(path, bytes, size, &n, &images, &labels, error, error_size);
    free(bytes);
    if (status != DATA_OK) return status;
    uint8_t *all_images = realloc(split->images, (split->n + n) * 3072);
    if (all_images) split->images = all_images;
    uint8_t *all_labels = realloc(split->labels, split->n + n);
    if (all_labels) split->labels = all_labels;
    if (all_images && all_labels) {
        memcpy(split->images + split->n * 3072, images, n * 3072);
        memcpy(split->labels + split->n, labels, n);
        split->n += n;
    } else {
        status = data_fail(error, error_size, DATA_NOMEM, "%s: out of memory for %zu images", path, n);
    }
    free(images);
    free(labels);
    return status;
}

static void forget(struct data_split *split)
{
    free(split->images);
    free(split->labels);
    *split = (struct data_split){ 0 };
}

static void take_shape(struct data_set *set, const struct known *k)
{
    set->name = k->shown.name;
    set->c = k->c, set->h = k->h, set->w = k->w;
    set->classes = 10;
    set->class_names = k->classes;
}

static enum data_status load(const char *dir, const struct known *k, struct data_set *set, char *error, size_t error_size)
{
    char path[4400];
    forget(&set->train);
    forget(&set->test);
    take_shape(set, k);
    set->verified = !k->cifar;
    if (!k->cifar) {
        enum data_status status = load_idx_split(dir, k, false, set, &set->train, error, error_size);
        return status == DATA_OK ? load_idx_split(dir, k, true, set, &set->test, error, error_size) : status;
    }
    for (int i = 1; i <= 5; i++) {
        snprintf(path, sizeof path, "%s/data_batch_%d.bin", dir, i);
        enum data_status status = load_cifar_file(path, &set->train, error, error_size);
        if (status != DATA_OK) return status;
    }
    snprintf(path, sizeof path, "%s/test_batch.bin", dir);
    return load_cifar_file(path, &set->test, error, error_size);
}

static enum data_status open_synthetic(const char *spec, struct data_set *set, char *error, size_t error_size)
{
    uint64_t seed = 1, n_train = 10000, n_test = 2000;
    const char *p = spec + strlen("synthetic");
    for (bool first = true; *p; first = false) {
        char key[8], *end;
        if (*p != (first ? ':' : ',') || sscanf(p + 1, "%7[a-z]=", key) != 1) goto bad;
        p = strchr(p + 1, '=');
        if (!p || p[1] < '0' || p[1] > '9') goto bad;
        errno = 0;
        uint64_t value = strtoull(p + 1, &end, 10);
        if (errno) goto bad;
        if (strcmp(key, "seed") == 0) seed = value;
        else if (strcmp(key, "train") == 0 && value >= 1 && value <= 10000000) n_train = value;
        else if (strcmp(key, "test") == 0 && value >= 1 && value <= 10000000) n_test = value;
        else goto bad;
        p = end;
    }
    set->synthetic = true;
    snprintf(set->source, sizeof set->source, "synthetic:seed=%" PRIu64 ",train=%" PRIu64 ",test=%" PRIu64, seed, n_train, n_test);
    if (data_synthesise(set, seed, n_train, n_test) != DATA_OK)
        return data_fail(error, error_size, DATA_NOMEM, "synthetic data: out of memory");
    return DATA_OK;
bad:
    return data_fail(error, error_size, DATA_BAD, "data '%s': expected synthetic[:seed=S,train=N,test=N]", spec);
}

/* Opens what lies in dir. MNIST and Fashion-MNIST have the same files and shapes; only the content tells them apart:
 * the first whose hash matches wins, else the one it should look like. */
static enum data_status load_dir(const char *dir, const char *like, struct data_set *set, char *error, size_t error_size)
{
    const struct known *order[N_KNOWN + 1] = { like ? find_known(like) : NULL }, *fallback = NULL;
    for (size_t i = 0; i < N_KNOWN; i++) order[i + 1] = &known[i];
    for (size_t i = 0; i <= N_KNOWN; i++) {
        const struct known *k = order[i];
        if (!k || !holds(dir, k)) continue;
        enum data_status status = load(dir, k, set, error, error_size);
        if (status != DATA_OK || set->verified || k->cifar) return status;
        if (!fallback) fallback = k;
    }
    if (fallback) return load(dir, fallback, set, error, error_size);
    return data_fail(error, error_size, DATA_NOT_FOUND,
                     "%s: holds neither IDX files (%s[.gz] …) nor CIFAR-10 files (data_batch_1.bin …)", dir, idx_files[0]);
}

enum data_status data_open(const char *spec, const char *like, bool verify, struct data_set **out, char *error, size_t error_size)
{
    enum data_status status;
    *out = NULL;
    struct data_set *set = calloc(1, sizeof *set);
    if (!set) return data_fail(error, error_size, DATA_NOMEM, "out of memory");
    const struct known *k = find_known(spec);
    struct stat st;
    if (strncmp(spec, "synthetic", 9) == 0) {
        const struct known *shape = find_known(like ? like : "fashion-mnist");
        take_shape(set, shape ? shape : &known[0]);
        set->name = "synthetic";
        status = open_synthetic(spec, set, error, error_size);
    } else if (k) {
        if (data_find(spec, set->source, sizeof set->source))
            status = load(set->source, k, set, error, error_size);
        else
            status = data_fail(error, error_size, DATA_NOT_FOUND, "data set '%s' was not found on this machine: %s", spec, k->shown.hint);
    } else if (stat(spec, &st) == 0 && S_ISDIR(st.st_mode)) {
        snprintf(set->source, sizeof set->source, "%s", spec);
        status = load_dir(spec, like, set, error, error_size);
    } else {
        status = data_fail(error, error_size, DATA_NOT_FOUND,
                           "data '%s': neither a known set (fashion-mnist, mnist, cifar10, synthetic) nor a directory", spec);
    }
    if (status == DATA_OK && verify && !set->verified && !set->synthetic)
        status = data_fail(error, error_size, DATA_BAD,
                           set->c == 3 ? "%s: no content hash is published for %s" : "%s: the content is not the published %s (SHA-256 differs)",
                           set->source, set->name);
    if (status == DATA_OK)
        *out = set;
    else
        data_close(&set);
    return status;
}

void data_close(struct data_set **set)
{
    if (!set || !*set) return;
    forget(&(*set)->train);
    forget(&(*set)->test);
    free(*set);
    *set = NULL;
}
