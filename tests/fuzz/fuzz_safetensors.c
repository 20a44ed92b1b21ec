/* Fuzz target: a safetensors file; every byte of every accepted tensor is read. */
#include <stdint.h>

#include "train/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char error[512];
    struct safetensors *file;
    if (safetensors_parse("f", bytes, size, &file, error, sizeof error)) return 0;
    for (size_t i = 0; i < file->n; i++)
        for (size_t k = 0; k < file->tensors[i].bytes; k++)
            (void)((const volatile unsigned char *)file->tensors[i].data)[k];
    safetensors_free(&file);
    return 0;
}
