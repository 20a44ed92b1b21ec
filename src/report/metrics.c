/* Reading metrics.jsonl. Examples and seconds are known at some steps; between them they are in
 * proportion. */
#include "report/metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const metrics_axes[METRICS_AXES + 1] = { "epoch", "step", "examples", "seconds", NULL };

void metrics_free(struct metrics *m)
{
    for (size_t i = 0; i < m->n; i++) json_decref(m->line[i].json);
    free(m->line);
    *m = (struct metrics){ 0 };
}

static double number(const json_t *json, const char *key)
{
    const json_t *value = json_object_get(json, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

double metrics_value(const struct metrics *m, size_t line, const char *key)
{
    return number(m->line[line].json, key);
}

/* An epoch begins again: what was said of it before is not so. */
static void go_back(struct metrics *m, double epoch)
{
    while (m->n && m->line[m->n - 1].x[METRICS_EPOCH] > epoch - 1)
        json_decref(m->line[--m->n].json);
}

/* Takes the object. */
static void add(struct metrics *m, json_t *json)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    if (type && !strcmp(type, "recovery")) go_back(m, number(json, "epoch"));
    if (!type || (strcmp(type, "step") && strcmp(type, "epoch"))) {
        json_decref(json);
        return;
    }
    m->line[m->n++] =
        (struct metrics_line){ { number(json, "epoch"), number(json, "step"),
                                 number(json, "examples"), number(json, "wall_seconds") },
                               json };
}

/* Fills in what is not known of a quantity that is 0 at step 0: between two steps where it is, and
 * at the last of them. */
static void interpolate(struct metrics *m, enum metrics_axis axis)
{
    double step = 0, value = 0;
    size_t first = 0;
    for (size_t i = 0; i < m->n; i++) {
        const double *x = m->line[i].x;
        if (!isfinite(x[axis]) || !isfinite(x[METRICS_STEP])) continue;
        for (; first < i; first++) {
            double *y = m->line[first].x;
            const double share = (y[METRICS_STEP] - step) / (x[METRICS_STEP] - step);
            if (isfinite(share)) y[axis] = value + share * (x[axis] - value);
        }
        first = i + 1;
        step = x[METRICS_STEP];
        value = x[axis];
    }
    for (; first < m->n; first++)
        if (m->line[first].x[METRICS_STEP] == step) m->line[first].x[axis] = value;
}

bool metrics_parse(const char *text, size_t size, struct metrics *out, char *error,
                   size_t error_size)
{
    size_t lines = 1, number_of = 0;
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    *out = (struct metrics){ .line = malloc(lines * sizeof *out->line) };
    if (!out->line) {
        snprintf(error, error_size, "out of memory");
        return false;
    }
    for (const char *at = text, *end = text + size; at < end;) {
        const char *next = memchr(at, '\n', (size_t)(end - at));
        json_error_t e;
        json_t *json = json_loadb(at, (size_t)((next ? next : end) - at), 0, &e);
        number_of++;
        const bool good = json_is_object(json);
        if (good) add(out, json);
        else json_decref(json);
        if (!good && next) {
            snprintf(error, error_size, "line %zu: expected a JSON object, as convoy train writes",
                     number_of);
            metrics_free(out);
            return false;
        }
        at = next ? next + 1 : end;
    }
    interpolate(out, METRICS_EXAMPLES);
    interpolate(out, METRICS_SECONDS);
    return true;
}

size_t metrics_points(const struct metrics *m, const char *key, size_t *at)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (!isfinite(metrics_value(m, i, key))) continue;
        if (n && m->line[at[n - 1]].x[METRICS_STEP] == m->line[i].x[METRICS_STEP]) n--;
        at[n++] = i;
    }
    return n;
}

bool metrics_percentile(const struct metrics *m, const char *key, bool high, char out[96])
{
    const size_t length = strlen(key);
    double best = NAN;
    for (size_t i = 0; i < m->n; i++) {
        const char *name;
        json_t *value;
        json_object_foreach (m->line[i].json, name, value) {
            char *end;
            if (strncmp(name, key, length) || strncmp(name + length, "_p", 2)) continue;
            const double p = strtod(name + length + 2, &end);
            if (*end || end == name + length + 2 || strlen(name) >= 96) continue;
            if (!isnan(best) && (high ? p <= best : p >= best)) continue;
            best = p;
            strcpy(out, name);
        }
    }
    return !isnan(best);
}
