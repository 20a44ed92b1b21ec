/* metrics.jsonl of a run: any bytes are points or a sentence. */
#include "report/metrics.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct metrics m;
    char error[300], name[96];
    if (!metrics_parse((const char *)bytes, size, &m, error, sizeof error)) return 0;
    size_t *at = malloc((m.n + 1) * sizeof *at);
    if (at && metrics_points(&m, "train_loss", at) > m.n) abort();
    if (metrics_percentile(&m, "z", true, name) && !metrics_percentile(&m, "z", false, name))
        abort();
    free(at);
    metrics_free(&m);
    return 0;
}
