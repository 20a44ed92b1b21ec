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
    switch (bytes[0] % 3) {
    case 0:
        data_parse_idx_images("f", bytes + 1, size - 1, dims, &images, error, sizeof error);
        break;
    case 1:
        data_parse_idx_labels("f", bytes + 1, size - 1, 10, &n, &labels, error, sizeof error);
        break;
    default:
        data_parse_cifar10("f", bytes + 1, size - 1, &n, &images, &labels, error, sizeof error);
        break;
    }
    free(images);
    free(labels);
    return 0;
}
