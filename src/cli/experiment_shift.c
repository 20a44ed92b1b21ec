/* The variance shift of dropout in front of batch norm (Li et al. 2019, arXiv:1801.05134): what the
 * last batch norm is given in inference, beside the running variance that it divides by. */
#include "cli/experiment.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHIFT_IMAGES = 1000, SHIFT_BATCH = 250 };

/* The last batch norm; false: there is none. */
static bool last_norm(const struct cli_session *s, cvy_node_info *node)
{
    for (size_t i = cvy_net_nodes(s->net); i-- > 0;)
        if (!cvy_net_node(s->net, i, node) && !strcmp(node->type, "batch_norm")) return true;
    return false;
}

/* Sums and sums of squares of every channel over so many images; a batch at a time. */
static enum cvy_status add_up(struct cli_session *s, size_t channels, size_t map, size_t images,
                              double *sum, double *squares)
{
    const size_t size = channels * map, image = s->data->c * s->data->h * s->data->w;
    float *given = calloc(SHIFT_BATCH, size * sizeof *given);
    enum cvy_status status = given ? CVY_OK : CVY_E_NOMEM;
    for (size_t first = 0; first < images && !status; first += SHIFT_BATCH) {
        const size_t n = images - first < SHIFT_BATCH ? images - first : SHIFT_BATCH;
        const cvy_batch batch = { .images = s->data->train.images + first * image,
                                  .dtype = CVY_U8,
                                  .n = n };
        status = cvy_predictor_run(s->probe, &batch, given);
        for (size_t i = 0; i < n * size && !status; i++) {
            const size_t c = i % size / map;
            sum[c] += (double)given[i];
            squares[c] += (double)given[i] * (double)given[i];
        }
    }
    free(given);
    return status;
}

/* The mean over the channels of variance / running variance; NaN if it cannot be had. */
static double ratio(struct cli_session *s, const cvy_node_info *norm)
{
    cvy_node_info from;
    char name[200];
    if (cvy_net_node(s->net, (size_t)norm->inputs[0], &from)) return NAN;
    const size_t c = from.out.c, map = from.out.h * from.out.w;
    const size_t images = s->data->train.n < SHIFT_IMAGES ? s->data->train.n : SHIFT_IMAGES;
    double *sum = calloc(3 * c, sizeof *sum), *squares = sum ? sum + c : NULL, shift = NAN;
    float *running = calloc(c, sizeof *running);
    snprintf(name, sizeof name, "%s.running_var", norm->name);
    if (sum && running && !add_up(s, c, map, images, sum, squares) &&
        !cvy_predictor_get(s->predictor, CVY_PARAM_RUNNING, name, running, c)) {
        const double m = (double)(images * map);
        shift = 0;
        for (size_t i = 0; i < c; i++) {
            const double mean = sum[i] / m, variance = squares[i] / m - mean * mean;
            shift += variance / (double)running[i] / (double)c;
        }
    }
    free(sum);
    free(running);
    return shift;
}

double experiment_shift(const struct experiment_plan *p, const struct experiment_run *run)
{
    char path[PATH_MAX];
    struct cli_session s = { 0 };
    const cvy_context_options engine = { .threads = 1 };
    cvy_node_info norm;
    double shift = NAN;
    snprintf(path, sizeof path, "%s/%s", p->directory, run->name);
    int code = cli_open_context(&s, &engine);
    if (!code) code = cli_open_checkpoint(&s, path, NULL);
    if (!code) code = cli_open_predictor(&s, SHIFT_BATCH);
    if (!code && last_norm(&s, &norm)) code = cli_open_data(&s, p->o->data);
    if (!code && s.data) {
        const cvy_input_desc input = model_input(s.model);
        const cvy_tensor given = cvy_net_tensor(s.net, (size_t)norm.inputs[0]);
        if (!cvy_predictor_create(s.net, given, SHIFT_BATCH, &input, NULL, &s.probe) &&
            !cli_copy_params(s.predictor, s.probe))
            shift = ratio(&s, &norm);
    }
    cli_close(&s);
    return shift;
}
