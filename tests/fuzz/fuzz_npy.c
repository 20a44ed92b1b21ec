/* Fuzz target: the first byte picks what the rest is: an array of images, one of labels, or an
 * archive with both. */
#include <stdint.h>
#include <stdlib.h>

#include "data/data.h"

static void images(struct data_bytes file, bool nhwc)
{
    char error[256];
    struct data_images out;
    data_parse_npy_images("f", file, nhwc, &out, error, sizeof error);
    free(out.bytes);
}

static void labels(struct data_bytes file)
{
    char error[256];
    uint8_t *out;
    size_t n;
    data_parse_npy_labels("f", file, &n, &out, error, sizeof error);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (!size) return 0;
    const struct data_bytes file = { bytes + 1, size - 1 };
    if (bytes[0] % 4 < 2) images(file, bytes[0] % 4);
    if (bytes[0] % 4 == 2) labels(file);
    if (bytes[0] % 4 < 3) return 0;
    static const char *const names[] = { "x_train.npy", "y_train.npy" };
    for (int i = 0; i < 2; i++) {
        char error[256];
        struct data_bytes member;
        if (data_zip_member("f", file, names[i], &member, error, sizeof error)) continue;
        if (i) labels(member);
        else images(member, false);
        free((void *)(uintptr_t)member.bytes);
    }
    return 0;
}
