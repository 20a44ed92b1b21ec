/* Folders of pictures: a directory a class, in train/ and test/ (or val/), or all together and then
 * split. */
#include "data/folder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "data/place.h"

enum { CLASSES = 256 };

/* Names of a directory's entries, sorted by their bytes. */
struct names {
    char **name;
    size_t n, room;
};

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->n; i++) free(names->name[i]);
    free(names->name);
    *names = (struct names){ 0 };
}

struct folder {
    const char *dir;
    struct data_set *set;
    struct folder_options o;
    bool whole;          /* no train/: split here */
    size_t most[2];      /* images that there is room for, of each split */
    bool colour, sized;  /* the first picture was read */
    size_t size[2];      /* rows, columns of all */
    size_t left_out;     /* files that are no pictures by their names */
    char first_out[300]; /* the first of them */
    SHA2_CTX digest;
    char *error;
    size_t error_size;
};

static enum data_status no_memory(const struct folder *f)
{
    return data_fail(f->error, f->error_size, DATA_NOMEM, "%.3000s: out of memory", f->dir);
}

/* Whether it is a directory; what is not there is none. */
static enum data_status look(const struct folder *f, const char *path, bool *dir)
{
    struct stat st;
    *dir = false;
    if (!stat(path, &st)) *dir = S_ISDIR(st.st_mode);
    else if (errno != ENOENT && errno != ENOTDIR)
        return data_fail(f->error, f->error_size, DATA_IO, "%.3000s: %s", path, strerror(errno));
    return DATA_OK;
}

static bool is_picture(const char *name)
{
    static const char *const ends[] = { ".png", ".jpg", ".jpeg" };
    const size_t n = strlen(name);
    for (size_t i = 0; i < 3; i++)
        if (n > strlen(ends[i]) && !strcasecmp(name + n - strlen(ends[i]), ends[i])) return true;
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum data_status add_name(const struct folder *f, struct names *names, const char *name)
{
    if (names->n == names->room) {
        size_t room = names->room ? 2 * names->room : 64;
        char **more = realloc(names->name, room * sizeof *more);
        if (!more) return no_memory(f);
        names->name = more;
        names->room = room;
    }
    if (!(names->name[names->n] = strdup(name))) return no_memory(f);
    names->n++;
    return DATA_OK;
}

/* The directories in `path`, or its pictures; hidden ones are passed over. */
static enum data_status list(struct folder *f, const char *path, bool dirs, struct names *names)
{
    char below[PLACE_PATH];
    enum data_status status = DATA_OK;
    DIR *d = opendir(path);
    if (!d)
        return data_fail(f->error, f->error_size, DATA_IO, "%.3000s: %s", path, strerror(errno));
    for (struct dirent *e; !status && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        snprintf(below, sizeof below, "%.4000s/%s", path, e->d_name);
        bool dir;
        if ((status = look(f, below, &dir))) break;
        if (dirs ? dir : is_picture(e->d_name) && !dir) {
            status = add_name(f, names, e->d_name);
        } else if (!f->left_out++) {
            snprintf(f->first_out, sizeof f->first_out, "%.290s", e->d_name);
        }
    }
    closedir(d);
    if (names->n) qsort(names->name, names->n, sizeof *names->name, by_name);
    return status;
}

/* -------------------------------------------------------------------------------------- options */

/* A number from 1 on behind `key`; moves *text past it. */
static bool read_count(const char **text, const char *key, size_t most, size_t *value)
{
    const size_t length = strlen(key);
    if (strncmp(*text, key, length) || !isdigit((unsigned char)(*text)[length])) return false;
    char *end;
    const unsigned long n = strtoul(*text + length, &end, 10);
    if (n < 1 || n > most) return false;
    *text = end;
    *value = n;
    return true;
}

/* The same for a share between 0 and 1. */
static bool read_share(const char **text, const char *key, double *value)
{
    const size_t length = strlen(key);
    if (strncmp(*text, key, length) || !strchr("0.", (*text)[length])) return false;
    char *end;
    *value = strtod(*text + length, &end);
    *text = end;
    return *value > 0 && *value < 1;
}

/* "size=32x32,channels=1,test=0.2" */
static bool read_options(const char *text, const char *end, struct folder_options *o)
{
    while (text < end) {
        if (read_count(&text, "size=", 99999, &o->h)) {
            if (!read_count(&text, "x", 99999, &o->w)) return false;
        } else if (read_count(&text, "channels=", 3, &o->channels)) {
            if (o->channels == 2) return false;
        } else if (!read_share(&text, "test=", &o->test)) {
            return false;
        }
        if (text < end && (*text++ != ',' || text == end)) return false;
    }
    return text == end;
}

enum data_status folder_options(const char *spec, struct folder_options *o, const char **dir,
                                char *error, size_t error_size)
{
    static const char *const keys[] = { "size=", "channels=", "test=" };
    const char *text = spec + strlen(FOLDER_PREFIX), *end = NULL;
    *o = (struct folder_options){ 0 };
    *dir = text;
    for (size_t i = 0; i < 3; i++)
        if (!strncmp(text, keys[i], strlen(keys[i]))) end = strchr(text, ':');
    if (!end) return DATA_OK;
    *dir = end + 1;
    if (read_options(text, end, o)) return DATA_OK;
    return data_fail(error, error_size, DATA_BAD,
                     "data '%.300s': expected folder:[size=ROWSxCOLUMNS][,channels=1|3]"
                     "[,test=SHARE]:DIR, the share between 0 and 1",
                     spec);
}

/* -------------------------------------------------------------------------------------- reading */

/* Room for so many images of a split. */
static enum data_status make_room(struct folder *f, bool test, size_t more)
{
    struct data_split *s = test ? &f->set->test : &f->set->train;
    size_t bytes, n = s->n + more;
    if (n <= f->most[test]) return DATA_OK;
    n = n < 2 * f->most[test] ? 2 * f->most[test] : n;
    if (__builtin_mul_overflow(n, 3 * f->size[0] * f->size[1], &bytes)) return no_memory(f);
    uint8_t *images = realloc(s->images, bytes);
    if (images) s->images = images;
    uint8_t *labels = realloc(s->labels, n);
    if (labels) s->labels = labels;
    if (!images || !labels) return no_memory(f);
    f->most[test] = n;
    return DATA_OK;
}

static enum data_status read_picture(struct folder *f, const char *path, bool test, size_t class)
{
    struct data_bytes file;
    struct data_picture p = { 0 };
    uint8_t *bytes;
    enum data_status status = place_read(path, &bytes, &file.size, f->error, f->error_size);
    if (status) return status;
    file.bytes = bytes;
    const size_t *size = f->sized && !f->o.h ? f->size : NULL;
    status = data_parse_picture(path, file, size, &p, f->error, f->error_size);
    if (!status && !f->sized) {
        f->size[0] = f->o.h ? f->o.h : p.h;
        f->size[1] = f->o.h ? f->o.w : p.w;
        f->sized = true;
    }
    if (!status) status = make_room(f, test, 1);
    if (!status) {
        struct data_split *s = test ? &f->set->test : &f->set->train;
        const size_t count = 3 * f->size[0] * f->size[1];
        const uint8_t label = (uint8_t) class;
        uint8_t *out = s->images + s->n * count;
        s->labels[s->n++] = label;
        f->colour |= p.colour;
        if (p.h == f->size[0] && p.w == f->size[1]) memcpy(out, p.bytes, count);
        else if (!data_picture_resize(&p, f->size[0], f->size[1], out)) status = no_memory(f);
        SHA256Update(&f->digest, (const uint8_t *)&(uint64_t){ file.size }, sizeof(uint64_t));
        SHA256Update(&f->digest, file.bytes, file.size);
        SHA256Update(&f->digest, (uint8_t[]){ label, test }, 2);
    }
    free(p.bytes);
    free(bytes);
    return status;
}

/* Of n pictures of a class, in order, those that are for testing are spread evenly. */
static bool for_testing(const struct folder *f, size_t i)
{
    const double share = f->o.test > 0 ? f->o.test : FOLDER_TEST;
    return (size_t)((double)(i + 1) * share) > (size_t)((double)i * share);
}

static enum data_status read_class(struct folder *f, const char *path, bool test, size_t class)
{
    char file[PLACE_PATH];
    struct names files = { 0 };
    enum data_status status = list(f, path, false, &files);
    if (!status && !files.n)
        status = data_fail(f->error, f->error_size, DATA_BAD,
                           "%.3000s: no pictures (.png, .jpg, .jpeg) of this class", path);
    for (size_t i = 0; i < files.n && !status; i++) {
        snprintf(file, sizeof file, "%.4000s/%s", path, files.name[i]);
        status = read_picture(f, file, f->whole ? for_testing(f, i) : test, class);
    }
    names_free(&files);
    return status;
}

/* The class of that name; CLASSES: there is none. */
static size_t find_class(const struct data_set *set, const char *name)
{
    for (size_t i = 0; i < set->classes; i++)
        if (!strcmp(set->own_names[i], name)) return i;
    return CLASSES;
}

static enum data_status name_classes(struct folder *f, const char *path, const struct names *dirs)
{
    struct data_set *set = f->set;
    size_t used = 0;
    if (dirs->n < 2 || dirs->n > CLASSES)
        return data_fail(f->error, f->error_size, DATA_BAD,
                         "%.3000s: expected 2 to %d directories, each of a class, found %zu", path,
                         CLASSES, dirs->n);
    for (size_t i = 0; i < dirs->n; i++) {
        const size_t length = strlen(dirs->name[i]) + 1;
        if (used + length > sizeof set->own_text)
            return data_fail(f->error, f->error_size, DATA_BAD,
                             "%.3000s: the classes' names are longer than %zu bytes together", path,
                             sizeof set->own_text);
        memcpy(set->own_text + used, dirs->name[i], length);
        set->own_names[i] = set->own_text + used;
        used += length;
    }
    SHA256Update(&f->digest, (const uint8_t *)set->own_text, used);
    set->classes = dirs->n;
    set->class_names = set->own_names;
    return DATA_OK;
}

static enum data_status read_split(struct folder *f, const char *path, bool test)
{
    char below[PLACE_PATH];
    struct names dirs = { 0 };
    enum data_status status = list(f, path, true, &dirs);
    if (!status && !test) status = name_classes(f, path, &dirs);
    for (size_t i = 0; i < dirs.n && !status; i++) {
        size_t class = find_class(f->set, dirs.name[i]);
        snprintf(below, sizeof below, "%.4000s/%s", path, dirs.name[i]);
        if (class == CLASSES)
            status =
                data_fail(f->error, f->error_size, DATA_BAD,
                          "%.3000s: there is no such class among the training pictures", below);
        else status = read_class(f, below, test, class);
    }
    names_free(&dirs);
    return status;
}

static enum data_status finish(struct folder *f)
{
    struct data_set *set = f->set;
    if (!set->train.n || !set->test.n)
        return data_fail(f->error, f->error_size, DATA_BAD,
                         "%.3000s: %zu pictures to train on and %zu to test with, expected some of "
                         "both",
                         f->dir, set->train.n, set->test.n);
    set->h = f->size[0];
    set->w = f->size[1];
    set->c = 3;
    if (f->o.channels ? f->o.channels == 1 : !f->colour) data_make_grey(set);
    SHA256Update(&f->digest, (const uint8_t *)set->prefix, strlen(set->prefix));
    SHA256End(&f->digest, set->digest);
    snprintf(set->own_name, sizeof set->own_name, "folder:%s", set->source);
    set->name = set->own_name;
    set->remark = "not known";
    if (f->left_out)
        snprintf(set->note, sizeof set->note,
                 "%.3000s: %zu entries that are no pictures by their names are left out (%s)",
                 f->dir, f->left_out, f->first_out);
    return DATA_OK;
}

bool folder_there(const char *dir)
{
    struct folder f = { .dir = dir, .error = (char[300]){ 0 }, .error_size = 300 };
    char path[PLACE_PATH];
    struct names dirs = { 0 };
    bool found = false;
    bool train;
    snprintf(path, sizeof path, "%.4000s/train", dir);
    if (look(&f, path, &train)) return false;
    if (!train) snprintf(path, sizeof path, "%.4000s", dir);
    const bool listed = !list(&f, path, true, &dirs);
    for (size_t i = 0; i < dirs.n && listed && !found; i++) {
        char below[PLACE_PATH];
        struct names files = { 0 };
        snprintf(below, sizeof below, "%.4000s/%s", path, dirs.name[i]);
        found = !list(&f, below, false, &files) && files.n;
        names_free(&files);
    }
    names_free(&dirs);
    return found;
}

enum data_status folder_open(const char *dir, const struct folder_options *o, const char *prefix,
                             struct data_set *set, char *error, size_t error_size)
{
    struct folder f = { .dir = dir, .set = set, .o = *o, .error = error, .error_size = error_size };
    char train[PLACE_PATH], test[PLACE_PATH];
    snprintf(train, sizeof train, "%.4000s/train", dir);
    snprintf(test, sizeof test, "%.4000s/test", dir);
    bool has_train, has_test;
    enum data_status status = look(&f, train, &has_train);
    if (!status) status = look(&f, test, &has_test);
    if (!status && !has_test) {
        snprintf(test, sizeof test, "%.4000s/val", dir);
        status = look(&f, test, &has_test);
    }
    if (status) return status;
    f.whole = !has_train;
    snprintf(set->source, sizeof set->source, "%.*s", (int)sizeof set->source - 1, dir);
    snprintf(set->own_prefix, sizeof set->own_prefix, "%s", prefix);
    set->prefix = set->own_prefix;
    if (!has_train && has_test)
        return data_fail(error, error_size, DATA_BAD, "%.3000s: there is no train/ beside it",
                         test);
    if (has_train && !has_test)
        return data_fail(error, error_size, DATA_BAD,
                         "%.3000s: there is a train/ but no test/ or val/ beside it", dir);
    if (has_train && o->test > 0)
        return data_fail(error, error_size, DATA_BAD,
                         "%.3000s: a share for testing is for directories without train/", dir);
    SHA256Init(&f.digest);
    status = read_split(&f, has_train ? train : dir, false);
    if (!status && has_train) status = read_split(&f, test, true);
    return status ? status : finish(&f);
}
