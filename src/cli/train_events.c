/* What `convoy train --tensorboard` tells TensorBoard: all numbers of metrics.jsonl as they come,
 * and after every epoch what parameters are, as histograms, and pictures. */
#include "cli/train.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/visualise.h"
#include "report/events.h"
#include "report/graph.h"
#include "report/matrix.h"

enum { SAMPLES = 16, SIDE = 256 };

struct cli_train_events {
    struct events *file;
    struct cli_session *s;
    const struct train_split *test;
    char metrics[PATH_MAX];
    long offset;     /* what is told of it */
    double momentum; /* where lines do not say it */
    double examples, seconds, examples_before, seconds_before;
};

/* What lines are about: TensorBoard groups tags by what stands before the '/'. */
static const struct {
    const char *key, *tag;
} tags[] = { { "train_loss", "loss/train" },
             { "batch_loss", "loss/batch" },
             { "valid_loss", "loss/validation" },
             { "test_loss", "loss/test" },
             { "train_acc", "accuracy/train" },
             { "valid_acc", "accuracy/validation" },
             { "test_acc", "accuracy/test" },
             { "lr", "optimizer/learning rate" },
             { "momentum", "optimizer/momentum" },
             { "wall_seconds", "speed/wall seconds" },
             { "step_seconds", "speed/step seconds" },
             { "examples", NULL }, /* the axes, or told as a rate */
             { "step", NULL },
             { "epoch", "epoch" } };

static void tell_line(struct cli_train_events *e, const json_t *line)
{
    static const char *const said[] = { "train_loss", "train_acc", "lr", "epoch" };
    const char *key, *type = json_string_value(json_object_get(line, "type"));
    json_t *value;
    const json_t *step = json_object_get(line, "step");
    if (!type || !json_is_integer(step)) return;
    const uint64_t at = (uint64_t)json_integer_value(step);
    json_object_foreach ((json_t *)line, key, value) {
        const char *tag = key;
        for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
            if (!strcmp(key, tags[i].key)) tag = tags[i].tag;
        /* an epoch's line repeats what its last step's has said */
        bool again = false;
        for (size_t i = 0; i < 4 && !strcmp(type, "epoch"); i++) again |= !strcmp(key, said[i]);
        if (json_is_number(value) && tag && !again)
            events_scalar(e->file, at, tag, json_number_value(value));
    }
    const json_t *examples = json_object_get(line, "examples"),
                 *seconds = json_object_get(line, "step_seconds");
    if (examples) e->examples = json_number_value(examples);
    if (strcmp(type, "epoch") || !seconds) return;
    e->seconds = json_number_value(seconds);
    if (e->seconds > e->seconds_before && e->examples > e->examples_before)
        events_scalar(e->file, at, "speed/examples per second",
                      (e->examples - e->examples_before) / (e->seconds - e->seconds_before));
    e->examples_before = e->examples;
    e->seconds_before = e->seconds;
    if (e->momentum > 0 && !json_object_get(line, "momentum"))
        events_scalar(e->file, at, "optimizer/momentum", e->momentum);
}

/* The lines that are new; one that is no JSON ends them. */
static void tell_metrics(struct cli_train_events *e)
{
    char *line = NULL;
    size_t room = 0;
    FILE *f = fopen(e->metrics, "r");
    if (f && !fseek(f, e->offset, SEEK_SET))
        for (ssize_t n; (n = getline(&line, &room, f)) > 0 && line[n - 1] == '\n';) {
            json_t *json = json_loadb(line, (size_t)n, 0, NULL);
            if (json) tell_line(e, json);
            json_decref(json);
            e->offset += n;
        }
    free(line);
    if (f) fclose(f);
}

/* ------------------------------------------------------------------------ parameters, pictures */

/* "conv1.weight" is a histogram in the group "conv1". */
static void tell_parameters(struct cli_train_events *e, uint64_t step)
{
    cvy_param_info info;
    for (int k = CVY_PARAM_WEIGHT; k <= CVY_PARAM_RUNNING; k++) {
        const enum cvy_param_kind kind = (enum cvy_param_kind)k;
        for (size_t i = 0; !cvy_trainer_param(e->s->trainer, kind, i, &info); i++) {
            char tag[300];
            float *values = malloc((info.count + 1) * sizeof *values);
            snprintf(tag, sizeof tag, "%s", info.name);
            char *dot = strrchr(tag, '.');
            if (dot) *dot = '/';
            if (values && !cvy_trainer_get(e->s->trainer, kind, info.name, values, info.count))
                events_histogram(e->file, step, tag, values, info.count);
            free(values);
        }
    }
}

/* Takes the PNG; NULL: there is none. */
static void tell_png(struct cli_train_events *e, uint64_t step, const char *tag, unsigned char *png,
                     size_t size)
{
    if (png) events_png(e->file, step, tag, png, size);
    free(png);
}

/* Takes the picture. */
static void tell_picture(struct cli_train_events *e, uint64_t step, const char *tag,
                         struct picture *p)
{
    const size_t side = p->width > p->height ? p->width : p->height;
    struct picture large = { 0 };
    size_t size = 0;
    unsigned char *png = NULL;
    if (side && !picture_enlarge(p, side < SIDE ? SIDE / side : 1, &large))
        png = picture_png(&large, &size);
    tell_png(e, step, tag, png, size);
    picture_free(&large);
    picture_free(p);
}

static void tell_drawing(struct cli_train_events *e, uint64_t step, const char *tag,
                         const struct drawing *d)
{
    size_t size = 0;
    unsigned char *png = cli_draw_png(d, &size);
    tell_png(e, step, tag, png, size);
}

static void tell_samples(struct cli_train_events *e, uint64_t step)
{
    const struct data_set *d = e->s->data;
    const size_t map = d->h * d->w, size = d->c * map,
                 n = e->test->n < SAMPLES ? e->test->n : SAMPLES;
    float *values = malloc((n * size + 1) * sizeof *values);
    struct picture p;
    if (values && n && (d->c == 1 || d->c == 3)) {
        for (size_t i = 0; i < n * size; i++) values[i] = e->test->images[i];
        const struct tiles tiles = { values, n, d->c, d->h, d->w, size, map, d->w, 1 };
        const struct tiles_style style = { tiles_square(n), 1, TILES_ALL, 0 };
        if (!tiles_draw(&tiles, &style, &p)) tell_picture(e, step, "images/test", &p);
    }
    free(values);
}

/* The net, once. */
static void tell_graph(struct cli_train_events *e, uint64_t step)
{
    struct visual v = { .classes = e->s->data->classes, .model = e->s->model->name };
    struct graph *g = cli_visualise_layers(e->s, &v) ? NULL : graph_make(&v);
    if (g) {
        const struct drawing d = graph_drawing(g);
        tell_drawing(e, step, "net/graph", &d);
    }
    graph_free(g);
    visual_free(&v);
}

static void tell_pictures(struct cli_train_events *e, uint64_t step)
{
    struct visual v = { .classes = e->s->data->classes, .class_names = e->s->data->class_names };
    struct visual_picture about;
    struct picture p;
    if (!picture_possible()) return;
    if (!cli_visualise_layers(e->s, &v)) {
        size_t layer = 0;
        while (layer < v.n_layers && !visual_has_filters(&v, layer)) layer++;
        char tag[300];
        if (layer < v.n_layers && !visual_filters(&v, layer, NULL, &p, &about)) {
            snprintf(tag, sizeof tag, "filters/%s", v.layer[layer].node.name);
            tell_picture(e, step, tag, &p);
        }
        if (e->test->n && !cli_visualise_matrix(e->s, &v, "test", e->test)) {
            const struct drawing d = matrix_drawing(&v, 0);
            tell_drawing(e, step, "confusion/test", &d);
        }
    }
    visual_free(&v);
}

/* ------------------------------------------------------------------------------------ to train */

int cli_train_events_open(struct cli_train_events **out, const char *directory,
                          struct cli_session *s, const struct train_job *job)
{
    char error[CLI_ERROR];
    *out = NULL;
    if (!directory) return CLI_OK;
    enum train_status status = files_make_directory(directory, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    struct cli_train_events *e = calloc(1, sizeof *e);
    if (!e) return cli_fail(CLI_NOMEM, "out of memory");
    e->s = s;
    e->test = &job->test;
    e->offset = (long)job->position.metrics_bytes;
    e->momentum = job->momentum;
    e->examples = e->examples_before = (double)job->position.examples;
    e->seconds = e->seconds_before = job->position.step_seconds;
    snprintf(e->metrics, sizeof e->metrics, "%s/" TRAIN_METRICS, job->directory);
    e->file = events_open(directory, error, sizeof error);
    if (!e->file) {
        free(e);
        return cli_fail(CLI_IO, "%s", error);
    }
    if (picture_possible()) tell_samples(e, job->position.steps);
    if (picture_possible()) tell_graph(e, job->position.steps);
    tell_parameters(e, job->position.steps);
    events_flush(e->file);
    *out = e;
    return CLI_OK;
}

void cli_train_events_epoch(struct cli_train_events *e, uint64_t step)
{
    if (!e) return;
    tell_metrics(e);
    tell_parameters(e, step);
    tell_pictures(e, step);
    events_flush(e->file);
}

int cli_train_events_close(struct cli_train_events *e)
{
    char error[CLI_ERROR];
    if (!e) return CLI_OK;
    tell_metrics(e);
    const bool good = events_close(e->file, error, sizeof error);
    free(e);
    return good ? CLI_OK : cli_fail(CLI_IO, "%s", error);
}
