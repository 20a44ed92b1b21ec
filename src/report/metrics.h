/* A run's metrics.jsonl as points: what it says at which step. */
#ifndef REPORT_METRICS_H
#define REPORT_METRICS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* What curves are drawn over. Seconds are those of the clock, between epochs in proportion to the
 * steps. */
enum metrics_axis { METRICS_EPOCH, METRICS_STEP, METRICS_EXAMPLES, METRICS_SECONDS, METRICS_AXES };
extern const char *const metrics_axes[METRICS_AXES + 1]; /* "epoch", "step" …, NULL */

struct metrics_line {
    double x[METRICS_AXES]; /* NaN: not known */
    json_t *json;
};
/* By steps; what was begun again after a recovery counts as it was then. */
struct metrics {
    struct metrics_line *line;
    size_t n;
};

/* The text of the file; a last line that is being written is left out. False: error says why. */
bool metrics_parse(const char *text, size_t size, struct metrics *out, char *error,
                   size_t error_size);
void metrics_free(struct metrics *m);
/* The lines that have a number of that name, one a step, the last one: their places in `at`, which
 * holds m->n. How many there are. */
size_t metrics_points(const struct metrics *m, const char *key, size_t *at);
double metrics_value(const struct metrics *m, size_t line, const char *key); /* NaN: none */
/* Of a quantity whose percentiles are known (KEY_p15, KEY_p50, KEY_p85): the lowest, or the
 * highest, as a key; false: there are none. */
bool metrics_percentile(const struct metrics *m, const char *key, bool high, char out[96]);

#endif
