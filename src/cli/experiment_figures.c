/* Pictures of an experiment: each number of the table over the values, where these are numbers;
 * what became of each row over the epochs, where they are words; both as files and in a page. */
#include "cli/experiment.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/pictures.h"
#include "cli/plot.h"
#include "train/train.h"

struct album {
    const struct experiment_plan *p;
    const char *title;
    char command[160];
    struct cli_plot plot[8]; /* a figure each */
    char name[8][64];        /* of files */
    size_t n;
};

static double *numbers(struct cli_plot *plot, size_t n)
{
    return cli_plot_room(plot, n * sizeof(double));
}

static struct cli_plot *add_figure(struct album *a, const char *name)
{
    struct cli_plot *plot = &a->plot[a->n];
    snprintf(a->name[a->n++], sizeof a->name[0], "%s", name);
    plot->f.title = a->title;
    plot->f.subtitle = a->command;
    return plot;
}

static void tell_about(const struct album *a, struct cli_plot *plot, size_t seeds)
{
    const char *about = cli_plot_about(plot, seeds);
    if (*about) plot->f.subtitle = cli_plot_text(plot, "%s: %s", a->command, about);
}

/* --------------------------------------------------------------------------------- over values */

static void over_values(struct album *a, enum experiment_metric metric, const json_t *rows)
{
    struct cli_plot *plot = add_figure(a, experiment_key(metric));
    size_t most = 0;
    cli_plot_values(plot, rows, experiment_key(metric), 0, &most);
    plot->f.x.label = cli_plot_name(plot, a->p->e->axis);
    tell_about(a, plot, most);
}

/* ---------------------------------------------------------------------------------- over epochs */

/* What was measured in a run; nothing where it has no file. */
static struct metrics metrics_of(const struct album *a, const struct experiment_run *run)
{
    struct metrics m = { 0 };
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s/" TRAIN_METRICS, a->p->directory, run->name);
    if (!access(path, R_OK)) cli_plot_read(path, &m);
    return m;
}

/* What an epoch's line says under a key, of so many epochs; NaN where one has none. */
static void add_run(const struct album *a, const struct experiment_run *run, const char *key,
                    double *x, double *y, size_t epochs)
{
    struct metrics m = metrics_of(a, run);
    size_t n = 0;
    for (size_t i = 0; i < m.n && n < epochs; i++) {
        if (strcmp(json_string_value(json_object_get(m.line[i].json, "type")), "epoch")) continue;
        x[n] = m.line[i].x[METRICS_EPOCH];
        y[n++] = metrics_value(&m, i, key);
    }
    for (; n < epochs; n++) y[n] = NAN;
    metrics_free(&m);
}

/* A row's curve: what its seeds have at each epoch. */
static void add_row(const struct album *a, struct cli_plot *plot, const struct experiment_row *row,
                    const char *key)
{
    const size_t seeds = a->p->seeds, n = row->run[0].epochs;
    double *x = numbers(plot, (4 + seeds) * n), *y = x + n, *low = y + n, *high = low + n,
           *of = high + n, *value = numbers(plot, seeds);
    for (size_t r = 0; r < seeds; r++) add_run(a, &row->run[r], key, x, of + r * n, n);
    for (size_t e = 0; e < n; e++) {
        size_t all = 0;
        for (size_t r = 0; r < seeds; r++) {
            const double v = of[r * n + e];
            if (isfinite(v)) value[all++] = v;
        }
        cli_plot_spread(value, all, &y[e], &low[e], &high[e]);
        if (strstr(key, "loss")) cli_plot_losses(plot, row->chance, &y[e], &low[e], &high[e]);
        if (!(x[e] > 0)) x[e] = NAN; /* no run has come so far */
    }
    *cli_plot_series(plot) = (struct figure_series){ .label = row->value,
                                                     .n = n,
                                                     .x = x,
                                                     .y = y,
                                                     .low = seeds > 1 ? low : NULL,
                                                     .high = seeds > 1 ? high : NULL };
}

static void over_epochs(struct album *a, const char *name, size_t first, size_t n)
{
    static const char *const keys[] = { "train_loss", "test_acc" };
    struct cli_plot *plot = add_figure(a, name);
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < n; i++) {
            add_row(a, plot, &a->p->row[first + i], keys[k]);
            struct figure_series *s = &plot->series[plot->f.n - 1];
            s->style = (enum figure_style)(i / FIGURE_COLORS % FIGURE_POINTS);
            s->color = (int)(i % FIGURE_COLORS) + 1;
            s->panel = k;
        }
    plot->f.panels = 2;
    plot->f.x = (struct figure_axis){ .label = "epoch" };
    plot->f.y[0] = (struct figure_axis){ .label = "train loss" };
    plot->f.y[1] = (struct figure_axis){ .label = "test acc" };
    tell_about(a, plot, a->p->seeds);
}

/* -------------------------------------------------------------------------- what a probe told */

/* Over the steps that were evaluated; `probe`: the key is the probe's, else the line's. */
static struct figure_series *watch(const struct album *a, struct cli_plot *plot,
                                   const struct experiment_row *row, bool probe, const char *key)
{
    struct metrics m = metrics_of(a, row->run);
    double *x = numbers(plot, m.n), *y = numbers(plot, m.n);
    size_t n = 0;
    for (size_t i = 0; i < m.n; i++) {
        const json_t *line = m.line[i].json, *all = json_object_get(line, "probe"),
                     *value = json_object_get(probe ? all : line, key);
        if (!all || !json_is_number(value) || !isfinite(m.line[i].x[METRICS_STEP])) continue;
        x[n] = m.line[i].x[METRICS_STEP];
        y[n++] = json_number_value(value);
    }
    metrics_free(&m);
    struct figure_series *s = cli_plot_series(plot);
    *s = (struct figure_series){ .n = n, .x = x, .y = y };
    return s;
}

/* As figure 1 of the paper: the accuracy, and the percentiles of two nets, of the first seed. */
static void over_steps(struct album *a, size_t first)
{
    static const char *const keys[] = { "p15", "p50", "p85" }, *const names[] = {
        "15th percentile", "median", "85th percentile"
    };
    const struct experiment_row *row = &a->p->row[first];
    char name[32];
    snprintf(name, sizeof name, "accuracy-%zu", first / 2 + 1);
    struct cli_plot *plot = add_figure(a, name);
    for (size_t k = 0; k < 2; k++) watch(a, plot, &row[k], false, "test_acc")->label = row[k].value;
    plot->f.title = row->group;
    plot->f.x.label = "step";
    plot->f.y[0].label = "test acc";
    snprintf(name, sizeof name, "percentiles-%zu", first / 2 + 1);
    plot = add_figure(a, name);
    for (size_t k = 0; k < 6; k++) {
        struct figure_series *s = watch(a, plot, &row[k / 3], true, keys[k % 3]);
        s->label = names[k % 3];
        s->panel = k / 3;
        s->color = (int)(k / 3) + 1;
        s->style = k % 3 == 1 ? FIGURE_LINE : FIGURE_DASHED;
    }
    plot->f.title = row->group;
    plot->f.subtitle = "what one unit of the last hidden layer is given";
    plot->f.panels = 2;
    plot->f.compared = true;
    plot->f.x.label = "step";
    for (size_t k = 0; k < 2; k++)
        plot->f.y[k].label = cli_plot_text(plot, "%s: the unit's input", row[k].value);
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
    struct album a = { .p = p, .title = cli_plot_title(&a.plot[0], p->e->about) };
    int code = CLI_OK;
    snprintf(a.command, sizeof a.command, "convoy %s %s%s", p->e->command, p->e->name,
             p->o->quick ? " --quick" : "");
    json_t *rows = experiment_rows(p);
    for (const enum experiment_metric *m = p->e->metric; p->e->takes_values && *m != METRICS; m++)
        over_values(&a, *m, rows);
    json_decref(rows);
    for (size_t i = 0; p->e->watches && i + 1 < p->n; i += 2) over_steps(&a, i);
    if (!p->e->takes_values && !p->e->watches) over_all_epochs(&a);
    char path[PATH_MAX];
    struct figure figure[sizeof a.plot / sizeof *a.plot];
    for (size_t i = 0; i < a.n; i++) {
        figure[i] = a.plot[i].f;
        const struct drawing d = figure_drawing(&figure[i]);
        snprintf(path, sizeof path, "%s/%s", p->directory, a.name[i]);
        if (!code) code = cli_draw(path, &d);
    }
    const struct figure_page page = { .title = a.title,
                                      .about = sentence,
                                      .command = cli_command_line(),
                                      .figure = figure,
                                      .n = a.n };
    snprintf(path, sizeof path, "%s/experiment.html", p->directory);
    if (!code) code = cli_draw_figures(path, &page);
    for (size_t i = 0; i < a.n; i++) cli_plot_close(&a.plot[i]);
    return code;
}
