/* The table of published data sets. Hashes: MNIST and Fashion-MNIST computed from the files;
 * Kuzushiji-MNIST's .gz files and CIFAR-10's binary files as several projects that download them
 * list them. */
#include "data/known.h"

#include <string.h>

static const char *const fashion_classes[] = { "t-shirt", "trouser",   "pullover", "dress",
                                               "coat",    "sandal",    "shirt",    "sneaker",
                                               "bag",     "ankle boot" };
static const char *const digit_classes[] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9" };
static const char *const kuzushiji_classes[] = { "o",  "ki", "su", "tsu", "na",
                                                 "ha", "ma", "ya", "re",  "wo" };
static const char *const cifar_classes[] = { "airplane", "automobile", "bird",  "cat",  "deer",
                                             "dog",      "frog",       "horse", "ship", "truck" };
static const char four_files[] =
    "put the four IDX files into a directory and name it with --data or $CVY_DATA_DIR";

static const char cifar100_files[] =
    "unpack cifar-100-binary.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html) and name the "
    "directory with --data or $CVY_DATA_DIR";

static const struct known known[] = {
    { { "fashion-mnist", "70 000 grey 28x28 images of clothing, 10 classes",
        "apt install dataset-fashion-mnist" },
      "FashionMNIST",
      FORMAT_IDX,
      1,
      28,
      28,
      fashion_classes,
      { "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34" },
      false },
    { { "mnist", "70 000 grey 28x28 images of digits, 10 classes", four_files },
      "MNIST",
      FORMAT_IDX,
      1,
      28,
      28,
      digit_classes,
      { "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2" },
      false },
    { { "kmnist", "70 000 grey 28x28 images of cursive Japanese letters, 10 classes", four_files },
      "KMNIST",
      FORMAT_IDX,
      1,
      28,
      28,
      kuzushiji_classes,
      { "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c" },
      true },
    { { "cifar10", "60 000 colour 32x32 images, 10 classes",
        "unpack cifar-10-binary.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html) and name the "
        "directory with --data or $CVY_DATA_DIR" },
      "cifar-10-batches-bin",
      FORMAT_CIFAR10,
      3,
      32,
      32,
      cifar_classes,
      { "5dd7e06a14cb22eb9f671a540d1b7c25", "5ea93a67294ea407fff1d09f752e9692",
        "942cd6a4bcdd0dd3c604fbe906cb4421", "ae636b3ba5c66a11e91e8cb52e771fcb",
        "53f37980c15c3d472c316c40844f3f0d", "803d5f7f4d78ea53de84dbe85f74fb6d" },
      false },
    { { "cifar100", "60 000 colour 32x32 images, 100 classes", cifar100_files },
      "cifar-100-binary",
      FORMAT_FINE,
      3,
      32,
      32,
      NULL,
      { NULL },
      false },
    { { "cifar100-coarse", "the same images in 20 classes", cifar100_files },
      "cifar-100-binary",
      FORMAT_COARSE,
      3,
      32,
      32,
      NULL,
      { NULL },
      false },
};
#define N_KNOWN (sizeof known / sizeof *known)

const struct known *known_at(size_t i) { return i < N_KNOWN ? &known[i] : NULL; }

size_t data_known_sets(const struct data_known **list)
{
    static struct data_known shown[N_KNOWN];
    for (size_t i = 0; i < N_KNOWN; i++) shown[i] = known[i].shown;
    *list = shown;
    return N_KNOWN;
}

const struct known *known_find(const char *name)
{
    for (size_t i = 0; i < N_KNOWN; i++)
        if (strcmp(known[i].shown.name, name) == 0) return &known[i];
    return NULL;
}

const struct known *known_file(const struct fingerprint *file, size_t *place)
{
    for (size_t i = 0; i < N_KNOWN; i++) {
        const char *hash = known[i].packed ? file->packed : file->content;
        for (size_t k = 0; k < MOST_FILES && known[i].hash[k]; k++) {
            *place = k;
            if (strcmp(hash, known[i].hash[k]) == 0) return &known[i];
        }
    }
    return NULL;
}
