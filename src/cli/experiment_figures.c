/* Pictures of an experiment: each number of the table over the values, where these are numbers;
 * what became of each row over the epochs, where they are words; both as files and in a page. */
#include "cli/experiment.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/pictures.h"
#include "train/train.h"

/* Everything that a figure points to; freed together. */
struct album {
    const struct experiment_plan *p;
    char title[160], command[160];
    struct figure figure[8];
    char name[8][64]; /* of files */
    size_t n;
    void *owned[512];
    size_t n_owned;
};

static double *numbers(struct album *a, size_t n)
{
    double *x = calloc(n + 1, sizeof *x);
    if (!x || a->n_owned == sizeof a->owned / sizeof *a->owned)
        exit(cli_fail(CLI_NOMEM, "out of memory"));
    return a->owned[a->n_owned++] = x;
}

static struct figure_series *series(struct album *a, size_t n)
{
    struct figure_series *s = calloc(n + 1, sizeof *s);
    if (!s || a->n_owned == sizeof a->owned / sizeof *a->owned)
        exit(cli_fail(CLI_NOMEM, "out of memory"));
    return a->owned[a->n_owned++] = s;
}

static struct figure *add_figure(struct album *a, const char *name)
{
    struct figure *f = &a->figure[a->n];
    snprintf(a->name[a->n++], sizeof a->name[0], "%s", name);
    *f = (struct figure){ .title = a->title, .subtitle = a->command };
    return f;
}

/* --------------------------------------------------------------------------------- over values */

/* A loss far above that of a net that knows nothing would hide all others. */
static double shown(const struct experiment_row *row, enum experiment_metric metric, double y)
{
    const bool loss = metric == METRIC_LOSS || metric == METRIC_LAST_LOSS;
    return loss && y > 1.5 * row->chance ? NAN : y;
}

/* Row `first` and those of the same group. */
static void fill_group(struct album *a, size_t first, enum experiment_metric metric,
                       struct figure_series *s)
{
    const struct experiment_plan *p = a->p;
    double *x = numbers(a, p->n), *y = numbers(a, p->n), *low = numbers(a, p->n),
           *high = numbers(a, p->n);
    for (size_t i = first; i < p->n; i++) {
        const struct experiment_row *row = &p->row[i];
        if (strcmp(row->group, p->row[first].group)) continue;
        const double sd = experiment_deviation(p, row, metric);
        x[s->n] = row->x;
        y[s->n] = shown(row, metric, experiment_mean(p, row, metric));
        low[s->n] = y[s->n] - sd;
        high[s->n] = y[s->n] + sd;
        s->n++;
    }
    s->label = p->row[first].group;
    s->x = x;
    s->y = y;
    s->low = p->seeds > 1 ? low : NULL;
    s->high = p->seeds > 1 ? high : NULL;
    s->marked = true;
}

static void over_values(struct album *a, enum experiment_metric metric)
{
    const struct experiment_plan *p = a->p;
    struct figure *f = add_figure(a, experiment_key(metric));
    struct figure_series *s = series(a, p->n);
    for (size_t i = 0; i < p->n && p->row[i].x == p->row[0].x; i++)
        fill_group(a, i, metric, &s[f->n++]);
    f->series = s;
    f->x = (struct figure_axis){ .label = p->e->axis, .base = 10 };
    f->y[0] = (struct figure_axis){ .label = experiment_heading(metric) };
}

/* ---------------------------------------------------------------------------------- over epochs */

/* What an epoch's line says under a key, the mean of the seeds; NaN where one has none. */
struct curve {
    double *x, *y;
    size_t n;
};

static void read_curve(const struct album *a, const struct experiment_run *run, const char *key,
                       struct curve *c)
{
    char path[PATH_MAX], *line = NULL;
    size_t room = 0, n = 0;
    snprintf(path, sizeof path, "%s/%s/" TRAIN_METRICS, a->p->directory, run->name);
    FILE *f = fopen(path, "r");
    while (f && getline(&line, &room, f) > 0 && n < c->n) {
        json_t *json = json_loads(line, 0, NULL);
        const char *type = json_string_value(json_object_get(json, "type"));
        const json_t *value = json_object_get(json, key);
        if (type && !strcmp(type, "epoch")) {
            c->x[n] = json_number_value(json_object_get(json, "epoch"));
            c->y[n] += json_is_number(value) ? json_number_value(value) / (double)a->p->seeds : NAN;
            n++;
        }
        json_decref(json);
    }
    if (f) fclose(f);
    free(line);
    for (size_t i = n; i < c->n; i++) c->y[i] = NAN;
}

static void over_epochs(struct album *a, const char *name, size_t first, size_t n)
{
    static const char *const keys[] = { "train_loss", "test_acc" };
    const struct experiment_plan *p = a->p;
    struct figure *f = add_figure(a, name);
    struct figure_series *s = series(a, 2 * n);
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < n; i++) {
            const struct experiment_row *row = &p->row[first + i];
            struct curve c = { .n = row->run[0].epochs };
            c.x = numbers(a, c.n);
            c.y = numbers(a, c.n);
            for (size_t r = 0; r < p->seeds; r++) read_curve(a, &row->run[r], keys[k], &c);
            for (size_t e = 0; !k && e < c.n; e++) c.y[e] = shown(row, METRIC_LOSS, c.y[e]);
            s[f->n++] = (struct figure_series){ .label = row->value,
                                                .n = c.n,
                                                .x = c.x,
                                                .y = c.y,
                                                .style = (enum figure_style)(i / FIGURE_COLORS %
                                                                             FIGURE_POINTS),
                                                .color = (int)(i % FIGURE_COLORS) + 1,
                                                .panel = k };
        }
    f->series = s;
    f->panels = 2;
    f->x = (struct figure_axis){ .label = "epoch" };
    f->y[0] = (struct figure_axis){ .label = "train loss" };
    f->y[1] = (struct figure_axis){ .label = "test acc" };
}

/* -------------------------------------------------------------------------- what a probe told */

/* Over the steps that were evaluated; `probe` names a key of the probe's, else the line's. */
static void read_steps(const struct album *a, const struct experiment_run *run, bool probe,
                       const char *key, struct curve *c)
{
    char path[PATH_MAX], *line = NULL;
    size_t room = 0, most = c->n;
    snprintf(path, sizeof path, "%s/%s/" TRAIN_METRICS, a->p->directory, run->name);
    FILE *f = fopen(path, "r");
    c->n = 0;
    while (f && getline(&line, &room, f) > 0 && c->n < most) {
        json_t *json = json_loads(line, 0, NULL);
        const json_t *all = json_object_get(json, "probe"), *step = json_object_get(json, "step");
        const json_t *value = json_object_get(probe ? all : json, key);
        if (all && json_is_number(value) && json_is_number(step)) {
            c->x[c->n] = json_number_value(step);
            c->y[c->n++] = json_number_value(value);
        }
        json_decref(json);
    }
    if (f) fclose(f);
    free(line);
}

enum { STEPS = 2000 };
static struct figure_series watched(struct album *a, const struct experiment_row *row, bool probe,
                                    const char *key)
{
    struct curve c = { numbers(a, STEPS), numbers(a, STEPS), STEPS };
    read_steps(a, row->run, probe, key, &c);
    return (struct figure_series){ .n = c.n, .x = c.x, .y = c.y };
}

/* As figure 1 of the paper: the accuracy, and the percentiles of two nets, of the first seed. */
static void over_steps(struct album *a, size_t first)
{
    static const char *const keys[] = { "p15", "p50", "p85" };
    const struct experiment_plan *p = a->p;
    char name[32];
    snprintf(name, sizeof name, "accuracy-%zu", first / 2 + 1);
    struct figure *f = add_figure(a, name);
    struct figure_series *s = series(a, 2), *t = series(a, 6);
    for (size_t k = 0; k < 2; k++) {
        s[k] = watched(a, &p->row[first + k], false, "test_acc");
        s[k].label = p->row[first + k].value;
    }
    *f = (struct figure){ .title = p->row[first].group,
                          .subtitle = a->command,
                          .series = s,
                          .n = 2,
                          .x = { .label = "step" },
                          .y = { { .label = "test acc" } } };
    snprintf(name, sizeof name, "percentiles-%zu", first / 2 + 1);
    f = add_figure(a, name);
    for (size_t k = 0; k < 6; k++) {
        t[k] = watched(a, &p->row[first + k / 3], true, keys[k % 3]);
        t[k].label = keys[k % 3];
        t[k].panel = k / 3;
        t[k].color = (int)(k / 3) + 1;
        t[k].style = k % 3 == 1 ? FIGURE_LINE : FIGURE_DASHED;
    }
    *f = (struct figure){ .title = p->row[first].group,
                          .subtitle = "what one unit of the last hidden layer is given",
                          .panels = 2,
                          .series = t,
                          .n = 6,
                          .x = { .label = "step" },
                          .y = { { .label = p->row[first].value },
                                 { .label = p->row[first + 1].value } } };
}

/* A figure a group of neighbours, of at most two times as many rows as there are colours. */
static void over_all_epochs(struct album *a)
{
    const struct experiment_plan *p = a->p;
    for (size_t i = 0, n; i < p->n && a->n < 7; i += n) {
        char name[64];
        for (n = 1; i + n < p->n && n < 2 * FIGURE_COLORS; n++)
            if (strcmp(p->row[i + n].group, p->row[i].group)) break;
        if (i || n < p->n) snprintf(name, sizeof name, "curves-%zu", a->n + 1);
        else strcpy(name, "curves");
        over_epochs(a, name, i, n);
    }
}

/* ---------------------------------------------------------------------------------------- files */

int experiment_draw(const struct experiment_plan *p, const char *sentence)
{
    struct album a = { .p = p };
    int code = CLI_OK;
    snprintf(a.title, sizeof a.title, "%s", p->e->about);
    snprintf(a.command, sizeof a.command, "convoy %s %s%s", p->e->command, p->e->name,
             p->o->quick ? " --quick" : "");
    for (const enum experiment_metric *m = p->e->metric; p->e->takes_values && *m != METRICS; m++)
        over_values(&a, *m);
    for (size_t i = 0; p->e->watches && i + 1 < p->n; i += 2) over_steps(&a, i);
    if (!p->e->takes_values && !p->e->watches) over_all_epochs(&a);
    char path[PATH_MAX];
    for (size_t i = 0; i < a.n && !code; i++) {
        const struct drawing d = figure_drawing(&a.figure[i]);
        snprintf(path, sizeof path, "%s/%s", p->directory, a.name[i]);
        code = cli_draw(path, &d);
    }
    const struct figure_page page = {
        .title = a.title, .about = sentence, .command = a.command, .figure = a.figure, .n = a.n
    };
    snprintf(path, sizeof path, "%s/experiment.html", p->directory);
    if (!code) code = cli_draw_figures(path, &page);
    for (size_t i = 0; i < a.n_owned; i++) free(a.owned[i]);
    return code;
}
