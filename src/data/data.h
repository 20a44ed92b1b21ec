/* Data sets in memory: bytes of images and labels. Knows files and formats, not nets. Everything
 * read is checked against what the format says before memory is taken; a data set is read-only
 * after opening and may be shared by threads. */
#ifndef CVYD_DATA_H
#define CVYD_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum data_status { DATA_OK = 0, DATA_NOT_FOUND, DATA_BAD, DATA_IO, DATA_NOMEM };

struct data_split {
    size_t n;
    uint8_t *images; /* [n][c][h][w] */
    uint8_t *labels; /* [n], each < classes */
};
#define DATA_OWN_NAMES 256
struct data_set {
    /* "fashion-mnist", "mnist", "kmnist", "cifar10": by what the files hold; "synthetic"; of any
     * other files "idx:DIR", "cifar:DIR", "cifar100:DIR", "cifar100-coarse:DIR", "npy:PATH",
     * "folder:DIR" */
    const char *name;
    char source[4096]; /* the directory where the files lie, or "synthetic:seed=1" */
    const char
        *prefix; /* "" or what has to stand before the directory to have the same set again */
    size_t c, h, w, classes;
    /* nobody says how many classes there are: `classes` is the least that the labels need */
    bool open_classes;
    const char *const *class_names; /* [classes]; NULL: not known */
    struct data_split train, test;
    bool verified; /* every file is the published one, in its place */
    bool synthetic;
    const char *remark; /* a few words on where the content comes from */
    /* a sentence on what is wrong with it all the same ("": nothing), e.g. test images to train
     * on */
    char note[4400];
    /* changes with every byte of images and labels: SHA-256 over the files' hashes, in hex */
    char digest[65];
    char own_name[4120], own_prefix[100]; /* what name, prefix and class_names may point to */
    char own_text[65536];
    const char *own_names[DATA_OWN_NAMES];
};

/* spec: a known name; a directory with IDX files (in it or in its raw/) or with CIFAR-10's binary
 * files (in it or in its cifar-10-batches-bin/) or CIFAR-100's (cifar-100-binary/), also as
 * idx:DIR, cifar:DIR, cifar100:DIR and, with the 20 coarse labels, cifar100-coarse:DIR; a directory
 * or an .npz file with the NumPy arrays x_train, y_train, x_test and y_test, also as npy:PATH and,
 * if channels are last, nhwc:PATH; a directory with PNG and JPEG files in a directory a class,
 * itself or in its train/ and test/ or val/, also as
 * folder:[size=ROWSxCOLUMNS][,channels=1|3][,test=SHARE]:DIR; or
 * "synthetic[:seed=S,train=N,test=N]". A name is searched in $CVY_DATA_DIR, $XDG_CACHE_HOME/convoy
 * (or ~/.cache/convoy), datasets in $XDG_DATA_DIRS, /usr/share/datasets, each as DIR/NAME and under
 * the name that torchvision or the archive gives it; $CVY_DATA_DIR may also be the directory
 * itself. A name that turns out to be another known set is an error. IDX files may be packed with
 * gzip, spelled with a dot before "idx", and have a prefix that all four share. like: the set a
 * directory with both formats or "synthetic" should look like ("fashion-mnist" or "cifar10"; NULL:
 * IDX, fashion-mnist). verify: fail if the content is not a published one (otherwise only
 * set->verified tells). On failure *set is NULL and error holds one sentence. */
enum data_status data_open(const char *spec, const char *like, bool verify, struct data_set **set,
                           char *error, size_t error_size);
void data_close(struct data_set **set);

/* The known sets, for `convoy data list`. */
struct data_known {
    const char *name, *summary, *hint; /* how to get it */
};
size_t data_known_sets(const struct data_known **list);
/* Where a known set lies, without reading it; false: not found. */
bool data_find(const char *name, char *path, size_t path_size);

/* Parsers over memory (for files, fuzzers and tests). `bytes` is the file's content, plain or gzip
 * (told by magic). dims: images, rows, columns. */
enum data_status data_parse_idx_images(const char *where, const uint8_t *bytes, size_t size,
                                       size_t dims[3], uint8_t **images, char *error,
                                       size_t error_size);
enum data_status data_parse_idx_labels(const char *where, const uint8_t *bytes, size_t size,
                                       size_t classes, size_t *n, uint8_t **labels, char *error,
                                       size_t error_size);
struct data_bytes {
    const uint8_t *bytes;
    size_t size;
};
/* CIFAR's records: so many bytes of labels, of which one is taken, and 3 072 pixels. */
struct data_cifar {
    const char *name, *otherwise; /* for messages: the format, and that it is perhaps another one */
    size_t labels, label, classes;
};
extern const struct data_cifar data_cifar10, data_cifar100, data_cifar100_coarse;
enum data_status data_parse_cifar(const char *where, struct data_bytes file,
                                  const struct data_cifar *format, struct data_split *out,
                                  char *error, size_t error_size);
/* NumPy's arrays: images [n][h][w] or, with channels, [n][c][h][w] or [n][h][w][c] (nhwc), as
 * [n][c][h][w]; bytes, or floats that are all whole numbers from 0 to 255 or such numbers / 255.
 * Labels [n] or [n][1], integers from 0 to 255. */
struct data_images {
    size_t n, c, h, w;
    uint8_t *bytes;
};
enum data_status data_parse_npy_images(const char *where, struct data_bytes file, bool nhwc,
                                       struct data_images *out, char *error, size_t error_size);
enum data_status data_parse_npy_labels(const char *where, struct data_bytes file, size_t *n,
                                       uint8_t **labels, char *error, size_t error_size);
/* A PNG or JPEG file as three channels, [3][h][w]; grey ones three times the same. size: the rows
 * and columns that it must have; NULL: any up to 32 768, 67 108 864 pixels. */
struct data_picture {
    size_t h, w;
    bool colour; /* not all pixels are grey */
    uint8_t *bytes;
};
enum data_status data_parse_picture(const char *where, struct data_bytes file, const size_t *size,
                                    struct data_picture *out, char *error, size_t error_size);
/* The picture with other rows and columns, [3][h][w]: each pixel a mean of old ones under a
 * triangle (linear between pixels, over all that it covers where it is coarser). False: out of
 * memory. */
bool data_picture_resize(const struct data_picture *picture, size_t h, size_t w, uint8_t *out);
/* From [3][pixels] to [pixels], which may lie at the same place: 0.2989 red + 0.5870 green + 0.1140
 * blue, rounded. */
void data_grey(const uint8_t *rgb, size_t pixels, uint8_t *grey);
/* Likewise all images of a set of three channels, which then has one. */
void data_make_grey(struct data_set *set);
/* A member of a ZIP archive, unpacked: the caller's. DATA_NOT_FOUND: there is none of that name. */
enum data_status data_zip_member(const char *where, struct data_bytes file, const char *name,
                                 struct data_bytes *out, char *error, size_t error_size);

#endif
