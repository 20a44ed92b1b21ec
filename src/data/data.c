/* Opening data sets: reads the files that place.c found, and says what they are by what they hold
 * (known.c). */
#include "data/data.h"

#include <errno.h>
#include <inttypes.h>
#include <md5.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/arrays.h"
#include "data/folder.h"
#include "data/place.h"

/* ------------------------------------------------------------------------------------ IDX files */

static const char *const idx_files[IDX_FILES] = { "train-images-idx3-ubyte",
                                                  "train-labels-idx1-ubyte",
                                                  "t10k-images-idx3-ubyte",
                                                  "t10k-labels-idx1-ubyte" };

static enum data_status load_idx_split(const struct place *place, bool test, struct data_set *set,
                                       struct fingerprint *prints, char *error, size_t error_size)
{
    struct data_split *split = test ? &set->test : &set->train;
    const size_t first = test ? 2 : 0;
    const char *images = place->file[first], *labels = place->file[first + 1];
    uint8_t *bytes;
    size_t size, dims[3], n_labels = 0;
    for (int i = 0; i < 2; i++)
        if (!*place->file[2 * test + i])
            return data_fail(error, error_size, DATA_NOT_FOUND,
                             "%s: there is no %s nor %s.gz beside the other IDX files", place->dir,
                             idx_files[2 * test + i], idx_files[2 * test + i]);
    enum data_status status = place_read(images, &bytes, &size, error, error_size);
    if (status != DATA_OK) return status;
    status = data_parse_idx_images(images, bytes, size, dims, &split->images, error, error_size);
    if (status == DATA_OK) place_print(&prints[first], 3, dims, split->images, bytes, size);
    free(bytes);
    if (status != DATA_OK) return status;
    const size_t h = dims[1], w = dims[2];
    if (test && (h != set->h || w != set->w))
        return data_fail(error, error_size, DATA_BAD,
                         "%s: images are %zux%zu, the training images are %zux%zu", images, h, w,
                         set->h, set->w);
    split->n = dims[0];
    set->h = h;
    set->w = w;
    status =
        place_labels(labels, &n_labels, &split->labels, &prints[2 * test + 1], error, error_size);
    if (status != DATA_OK) return status;
    if (n_labels != split->n)
        return data_fail(error, error_size, DATA_BAD, "%s: %zu labels for %zu images", labels,
                         n_labels, split->n);
    for (size_t i = 0; i < split->n; i++)
        if (split->labels[i] >= set->classes) set->classes = split->labels[i] + 1u;
    return DATA_OK;
}

/* ------------------------------------------------------------------------------- CIFAR's files */

/* Appends one file to a split. */
static enum data_status load_cifar_file(const char *path, const struct data_cifar *format,
                                        struct data_split *split, struct fingerprint *print,
                                        char *error, size_t error_size)
{
    uint8_t *bytes;
    size_t size;
    MD5_CTX md5;
    struct data_split part;
    enum data_status status = place_read(path, &bytes, &size, error, error_size);
    if (status != DATA_OK) return status;
    status = data_parse_cifar(path, (struct data_bytes){ bytes, size }, format, &part, error,
                              error_size);
    MD5Init(&md5);
    MD5Update(&md5, bytes, size);
    MD5End(&md5, print->content);
    free(bytes);
    if (status != DATA_OK) return status;
    uint8_t *all_images = realloc(split->images, (split->n + part.n) * 3072);
    if (all_images) split->images = all_images;
    uint8_t *all_labels = realloc(split->labels, split->n + part.n);
    if (all_labels) split->labels = all_labels;
    if (all_images && all_labels) {
        memcpy(split->images + split->n * 3072, part.images, part.n * 3072);
        memcpy(split->labels + split->n, part.labels, part.n);
        split->n += part.n;
    } else {
        status = data_fail(error, error_size, DATA_NOMEM, "%s: out of memory for %zu images", path,
                           part.n);
    }
    free(part.images);
    free(part.labels);
    return status;
}

/* A file beside the others with the name of a class on each of as many lines as there are classes;
 * other files of that name say nothing. */
static void read_class_names(const struct place *place, struct data_set *set)
{
    char path[PLACE_PATH + 30], error[256], *text;
    uint8_t *bytes;
    size_t size, used = 0, n = 0;
    static const char *const files[FORMATS] = { "", "batches.meta.txt", "fine_label_names.txt",
                                                "coarse_label_names.txt" };
    snprintf(path, sizeof path, "%s/%s", place->dir, files[place->format]);
    if (place_read(path, &bytes, &size, error, sizeof error) != DATA_OK) return;
    text = (char *)bytes;
    text[size] = 0;
    for (char *line; n < DATA_OWN_NAMES && (line = strsep(&text, "\r\n"));) {
        size_t length = strlen(line);
        if (!length) continue;
        if (used + length >= sizeof set->own_text) break;
        strcpy(set->own_text + used, line);
        set->own_names[n++] = set->own_text + used;
        used += length + 1;
    }
    if (n == set->classes) set->class_names = set->own_names;
    free(bytes);
}

static enum data_status load_cifar(const struct place *place, struct data_set *set,
                                   struct fingerprint *prints, char *error, size_t error_size)
{
    static const struct data_cifar *const formats[FORMATS] = { NULL, &data_cifar10, &data_cifar100,
                                                               &data_cifar100_coarse };
    set->c = 3;
    set->h = set->w = 32;
    set->classes = formats[place->format]->classes;
    set->open_classes = false;
    enum data_status status = DATA_OK;
    for (size_t i = 0; i < place->files && status == DATA_OK; i++)
        status = load_cifar_file(place->file[i], formats[place->format],
                                 i < place->files - 1 ? &set->train : &set->test, &prints[i], error,
                                 error_size);
    return status;
}

/* ----------------------------------------------------------------------------------- what it is */

static void say(struct data_set *set, const char *what, const char *of)
{
    if (!*set->note) snprintf(set->note, sizeof set->note, "%s: %s%s", set->source, what, of);
}

/* Images that are trained on and tested with make every accuracy a lie. `step`: between files with
 * images. */
static void look_for_mixtures(struct data_set *set, const struct fingerprint *prints, size_t files,
                              size_t step)
{
    size_t last = files - step;
    for (size_t i = 0; i < last; i += step) {
        size_t place;
        const struct known *k = known_file(&prints[i], &place);
        if (strcmp(prints[i].content, prints[last].content) == 0)
            say(set,
                step == 1 ? "one of the training files is the test file"
                          : "the training images are the test images",
                "");
        else if (k && place == last)
            say(set, "there are test images among the training images: those of ", k->shown.name);
    }
}

/* Names the set by its files. Every file one of the same published set: that set; all in their
 * places: verified. */
static void identify(const struct place *place, struct data_set *set,
                     const struct fingerprint *prints)
{
    static const char *const formats[FORMATS] = { "idx", "cifar", "cifar100", "cifar100-coarse" };
    const bool idx = place->format == FORMAT_IDX;
    size_t files = place->files, at;
    const struct known *k = known_file(&prints[0], &at);
    bool whole = k != NULL, ordered = true;
    for (size_t i = 0; i < files; i++) {
        whole = whole && known_file(&prints[i], &at) == k;
        ordered &= at == i;
    }
    look_for_mixtures(set, prints, files, idx ? 2 : 1);
    set->verified = whole && ordered;
    if (whole) {
        set->name = k->shown.name;
        set->classes = 10;
        set->open_classes = false;
        set->class_names = k->classes;
        set->remark = idx ? "sha256 ok" : "md5 ok";
        if (!ordered) set->remark = "its published files, but not in their places";
        return;
    }
    snprintf(set->own_name, sizeof set->own_name, "%s:%s", formats[place->format], set->source);
    set->name = set->own_name;
    set->remark = "not known";
    if (!idx) read_class_names(place, set);
}

/* SHA-256 over the hashes of the files, in order: the same for the same content, packed or not,
 * wherever it lies. */
static void digest(const struct place *place, struct data_set *set,
                   const struct fingerprint *prints)
{
    SHA2_CTX ctx;
    SHA256Init(&ctx);
    for (size_t i = 0; i < place->files; i++)
        SHA256Update(&ctx, (const uint8_t *)prints[i].content, strlen(prints[i].content));
    SHA256Update(&ctx, (const uint8_t *)set->prefix,
                 strlen(set->prefix)); /* of two kinds of labels */
    SHA256End(&ctx, set->digest);
}

static enum data_status load(const struct place *place, struct data_set *set, char *error,
                             size_t error_size)
{
    struct fingerprint prints[MOST_FILES] = { { "", "" } };
    const bool idx = place->format == FORMAT_IDX;
    snprintf(set->source, sizeof set->source, "%.*s", (int)sizeof set->source - 1, place->dir);
    set->prefix = place->format == FORMAT_COARSE ? "cifar100-coarse:" : "";
    set->c = 1;
    set->classes = 2;
    set->open_classes = true;
    enum data_status status = idx ? load_idx_split(place, false, set, prints, error, error_size)
                                  : load_cifar(place, set, prints, error, error_size);
    if (status == DATA_OK && idx)
        status = load_idx_split(place, true, set, prints, error, error_size);
    if (status != DATA_OK) return status;
    identify(place, set, prints);
    digest(place, set, prints);
    return DATA_OK;
}

/* -------------------------------------------------------------------------------------- opening */

static enum data_status open_synthetic(const char *spec, struct data_set *set, char *error,
                                       size_t error_size)
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
    set->prefix = "";
    set->remark = "NOT real images, accuracies mean nothing";
    snprintf(set->source, sizeof set->source,
             "synthetic:seed=%" PRIu64 ",train=%" PRIu64 ",test=%" PRIu64, seed, n_train, n_test);
    if (data_synthesise(set, seed, n_train, n_test) != DATA_OK)
        return data_fail(error, error_size, DATA_NOMEM, "synthetic data: out of memory");
    SHA2_CTX ctx;
    SHA256Init(&ctx);
    const struct data_split *splits[] = { &set->train, &set->test };
    for (size_t i = 0; i < 2; i++) {
        SHA256Update(&ctx, splits[i]->images, splits[i]->n * set->c * set->h * set->w);
        SHA256Update(&ctx, splits[i]->labels, splits[i]->n);
    }
    SHA256End(&ctx, set->digest);
    return DATA_OK;
bad:
    return data_fail(
        error, error_size, DATA_BAD,
        "data '%s': expected synthetic[:seed=S,train=N,test=N] with N from 1 to 10000000", spec);
}

/* A set that was asked for by its name. */
static enum data_status open_known(const struct known *k, struct place *place, struct data_set *set,
                                   char *error, size_t error_size)
{
    enum data_status status = place_search(k, place, error, error_size);
    if (status == DATA_OK) status = load(place, set, error, error_size);
    if (status != DATA_OK || strcmp(set->name, k->shown.name) == 0) return status;
    if (set->name != set->own_name)
        return data_fail(error, error_size, DATA_BAD, "%s: this is %s, not %s", set->source,
                         set->name, k->shown.name);
    if (!k->hash[0])
        say(set, "hashes are published of the archive only: these files may or may not hold ",
            k->shown.name);
    else if (k->packed)
        say(set,
            "only the hashes of the published .gz files are known, these files may or may not "
            "hold ",
            k->shown.name);
    else say(set, "these are not the published files of ", k->shown.name);
    return DATA_OK;
}

/* Opens what lies in dir, in the format that the model expects if several are there. format: that
 * one only; FORMATS: any. */
static enum data_status open_dir(const char *dir, const char *like, enum format format,
                                 struct place *place, struct data_set *set, char *error,
                                 size_t error_size)
{
    const struct known *k = like ? known_find(like) : NULL;
    enum format any[] = { k ? k->format : FORMAT_IDX, FORMAT_IDX, FORMAT_CIFAR10, FORMAT_FINE };
    enum data_status status = DATA_NOT_FOUND;
    if (format < FORMATS) status = place_look(dir, format, place, error, error_size);
    for (size_t i = 0; i < 4 && format == FORMATS && status == DATA_NOT_FOUND; i++)
        status = place_look(dir, any[i], place, error, error_size);
    if (status == DATA_NOT_FOUND && format == FORMATS && arrays_there(dir))
        return arrays_open(dir, false, set, error, error_size);
    if (status == DATA_NOT_FOUND && format == FORMATS && folder_there(dir))
        return folder_open(dir, &(struct folder_options){ 0 }, FOLDER_PREFIX, set, error,
                           error_size);
    if (status == DATA_NOT_FOUND) return place_nothing(dir, error, error_size);
    return status == DATA_OK ? load(place, set, error, error_size) : status;
}

static bool ends_npz(const char *path)
{
    size_t n = strlen(path);
    return n > 4 && strcmp(path + n - 4, ".npz") == 0;
}

static enum data_status open_folder(const char *spec, struct data_set *set, char *error,
                                    size_t error_size)
{
    struct folder_options o;
    const char *dir;
    char prefix[sizeof set->own_prefix];
    enum data_status status = folder_options(spec, &o, &dir, error, error_size);
    if (status) return status;
    if ((size_t)snprintf(prefix, sizeof prefix, "%.*s", (int)(dir - spec), spec) >= sizeof prefix)
        return data_fail(error, error_size, DATA_BAD, "data '%.300s': the options are too long",
                         spec);
    return folder_open(dir, &o, prefix, set, error, error_size);
}

/* A directory or archive, perhaps with the format in front. */
static enum data_status open_path(const char *spec, const char *like, struct place *place,
                                  struct data_set *set, char *error, size_t error_size)
{
    static const char *const prefixes[FORMATS] = { "idx:", "cifar:", "cifar100:",
                                                   "cifar100-coarse:" };
    enum format format = FORMATS;
    if (!strncmp(spec, FOLDER_PREFIX, strlen(FOLDER_PREFIX)))
        return open_folder(spec, set, error, error_size);
    for (size_t i = 0; i < FORMATS; i++)
        if (strncmp(spec, prefixes[i], strlen(prefixes[i])) == 0) format = (enum format)i;
    const bool npy = strncmp(spec, "npy:", 4) == 0, nhwc = strncmp(spec, "nhwc:", 5) == 0;
    const char *dir = format == FORMATS && !npy && !nhwc ? spec : strchr(spec, ':') + 1;
    struct stat st;
    bool there = stat(dir, &st) == 0;
    if (there && (npy || nhwc || (format == FORMATS && !S_ISDIR(st.st_mode) && ends_npz(dir))))
        return arrays_open(dir, nhwc, set, error, error_size);
    if (there && S_ISDIR(st.st_mode))
        return open_dir(dir, like, format, place, set, error, error_size);
    if (there)
        return data_fail(error, error_size, DATA_NOT_FOUND,
                         "data '%s': expected a directory or an .npz file, found another file: "
                         "name the directory it "
                         "lies in",
                         dir);
    if (errno == ENOENT)
        return data_fail(error, error_size, DATA_NOT_FOUND,
                         "data '%s': neither a known set (fashion-mnist, mnist, kmnist, cifar10, "
                         "cifar100, cifar100-coarse, synthetic) nor a directory or .npz file",
                         spec);
    return data_fail(error, error_size, DATA_IO, "data '%.300s': %s", spec, strerror(errno));
}

static enum data_status check_verified(const struct data_set *set, const struct known *k,
                                       char *error, size_t error_size)
{
    if (set->verified || set->synthetic) return DATA_OK;
    if (*set->note) return data_fail(error, error_size, DATA_BAD, "%s", set->note);
    return data_fail(error, error_size, DATA_BAD,
                     k ? "%s: the content is not the published %s"
                       : "%s: the content is none of the published sets%s",
                     set->source, k ? k->shown.name : " whose hashes are known here");
}

enum data_status data_open(const char *spec, const char *like, bool verify, struct data_set **out,
                           char *error, size_t error_size)
{
    enum data_status status;
    *out = NULL;
    struct data_set *set = calloc(1, sizeof *set);
    struct place *place = malloc(sizeof *place);
    const struct known *k = known_find(spec);
    if (!set || !place) {
        status = data_fail(error, error_size, DATA_NOMEM, "out of memory");
    } else if (strncmp(spec, "synthetic", 9) == 0) {
        const struct known *shape = known_find(like ? like : "fashion-mnist");
        if (!shape) shape = known_at(0);
        set->name = "synthetic";
        set->c = shape->c;
        set->h = shape->h;
        set->w = shape->w;
        set->classes = shape->format == FORMAT_FINE ? 100 : 10;
        if (shape->format == FORMAT_COARSE) set->classes = 20;
        set->class_names = shape->classes;
        status = open_synthetic(spec, set, error, error_size);
    } else if (k) {
        status = open_known(k, place, set, error, error_size);
    } else {
        status = open_path(spec, like, place, set, error, error_size);
    }
    if (status == DATA_OK && verify) status = check_verified(set, k, error, error_size);
    free(place);
    if (status == DATA_OK) *out = set;
    else data_close(&set);
    return status;
}

static void forget(struct data_split *split)
{
    free(split->images);
    free(split->labels);
}

void data_close(struct data_set **set)
{
    if (!set || !*set) return;
    forget(&(*set)->train);
    forget(&(*set)->test);
    free(*set);
    *set = NULL;
}
