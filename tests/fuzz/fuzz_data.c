/* Fuzz target: the first byte picks a parser, the rest is the file. */
#include <stdint.h>
#include <stdlib.h>

#include "data/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char error[256];
    uint8_t *images = NULL, *labels = NULL;
    size_t n, dims[3];
    if (!size) return 0;
    static const struct data_cifar *const formats[] = { &data_cifar10, &data_cifar100,
                                                        &data_cifar100_coarse };
    struct data_split split;
    switch (bytes[0] % 5) {
    case 0:
        data_parse_idx_images("f", bytes + 1, size - 1, dims, &images, error, sizeof error);
        break;
    case 1:
        data_parse_idx_labels("f", bytes + 1, size - 1, 10, &n, &labels, error, sizeof error);
        break;
    default:
        data_parse_cifar("f", (struct data_bytes){ bytes + 1, size - 1 }, formats[bytes[0] % 5 - 2],
                         &split, error, sizeof error);
        images = split.images;
        labels = split.labels;
        break;
    }
    free(images);
    free(labels);
    return 0;
}
