/* Fuzz target: a PNG or JPEG file; what was read is made smaller and larger. */
#include <stdint.h>
#include <stdlib.h>

#include "data/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uint8_t out[3 * 5 * 7];
    char error[512];
    struct data_picture picture;
    const struct data_bytes file = { bytes, size };
    if (!data_parse_picture("f", file, NULL, &picture, error, sizeof error))
        (void)data_picture_resize(&picture, 5, 7, out);
    free(picture.bytes);
    return 0;
}
