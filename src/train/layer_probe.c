/* Percentiles of a layer's output over a fixed set of images. */
#include "train/layer_probe.h"

#include <math.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Of n sorted values. */
static double percentile(const float *sorted, size_t n, double p)
{
    const double at = p / 100 * (double)(n - 1), below = floor(at);
    const size_t i = (size_t)below;
    const double next = i + 1 < n ? (double)sorted[i + 1] : (double)sorted[i];
    return (double)sorted[i] + (at - below) * (next - (double)sorted[i]);
}

static void summarise(float *values, size_t n, struct layer_values *out)
{
    static const double points[] = { 15, 50, 85 };
    *out = (struct layer_values){ .mean = 0 };
    for (size_t i = 0; i < n; i++) out->mean += (double)values[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        out->variance += pow((double)values[i] - out->mean, 2) / (double)n;
    qsort(values, n, sizeof *values, compare);
    for (size_t k = 0; k < 3; k++) out->percentile[k] = percentile(values, n, points[k]);
}

enum train_status layer_probe_take(const struct layer_probe *probe, const cvy_context *ctx,
                                   struct layer_values *out, char *error, size_t error_size)
{
    float *given = calloc(probe->batch, probe->size * sizeof *given),
          *values = calloc(probe->n, probe->count * sizeof *values);
    enum train_status status = TRAIN_OK;
    if (!given || !values)
        status = train_fail(error, error_size, TRAIN_NOMEM, "out of memory for the probe");
    for (size_t first = 0; first < probe->n && !status; first += probe->batch) {
        const size_t left = probe->n - first, n = left < probe->batch ? left : probe->batch;
        const cvy_batch batch = { .images = probe->images + first * probe->image_size,
                                  .dtype = CVY_U8,
                                  .n = n };
        if (cvy_predictor_run(probe->predictor, &batch, given))
            status = train_fail(error, error_size, TRAIN_ENGINE, "%s", cvy_message(ctx));
        for (size_t i = 0; i < n * probe->count && !status; i++)
            values[first * probe->count + i] =
                given[i / probe->count * probe->size + probe->first + i % probe->count];
    }
    if (!status) summarise(values, probe->n * probe->count, out);
    free(given);
    free(values);
    return status;
}
