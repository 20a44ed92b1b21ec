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
    char title[160], command[160];
    struct figure figure[8];
    char name[8][64]; /* of files */
    size_t n;
    struct cli_plot plot[8]; /* what those over values point to */
    struct cli_plot room;    /* what the others do */
};

static double *numbers(struct album *a, size_t n)
{
    return cli_plot_room(&a->room, n * sizeof(double));
}

static struct figure_series *series(struct album *a, size_t n)
{
    return cli_plot_room(&a->room, n * sizeof(struct figure_series));
}

static struct figure *add_figure(struct album *a, const char *name)
{
    struct figure *f = &a->figure[a->n];
    snprintf(a->name[a->n++], sizeof a->name[0], "%s", name);
    *f = (struct figure){ .title = a->title, .subtitle = a->command };
    return f;
}

/* --------------------------------------------------------------------------------- over values */

static void over_values(struct album *a, enum experiment_metric metric, const json_t *rows)
{
    struct cli_plot *plot = &a->plot[a->n];
    struct figure *f = add_figure(a, experiment_key(metric));
    size_t most = 0;
    plot->f = *f;
    cli_plot_values(plot, rows, experiment_key(metric), 0, &most);
    *f = plot->f;
    f->x.label = a->p->e->axis;
    if (most > 1)
        f->subtitle = cli_plot_text(plot, "%s: medians of %zu seeds, bands %s", a->command, most,
                                    cli_plot_spread_text(most));
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

/* What an epoch's line says under a key, the mean of the seeds; NaN where one has none. */
struct curve {
    double *x, *y;
    size_t n;
};

static void add_run(const struct album *a, const struct experiment_run *run, const char *key,
                    struct curve *c)
{
    struct metrics m = metrics_of(a, run);
    size_t n = 0;
    for (size_t i = 0; i < m.n && n < c->n; i++) {
        if (strcmp(json_string_value(json_object_get(m.line[i].json, "type")), "epoch")) continue;
        c->x[n] = m.line[i].x[METRICS_EPOCH];
        c->y[n++] += metrics_value(&m, i, key) / (double)a->p->seeds;
    }
    for (size_t i = n; i < c->n; i++) c->y[i] = NAN;
    metrics_free(&m);
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
            for (size_t r = 0; r < p->seeds; r++) add_run(a, &row->run[r], keys[k], &c);
            for (size_t e = 0; !k && e < c.n; e++) c.y[e] = cli_plot_loss(c.y[e], row->chance);
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

/* Over the steps that were evaluated; `probe`: the key is the probe's, else the line's. */
static struct figure_series watched(struct album *a, const struct experiment_row *row, bool probe,
                                    const char *key)
{
    struct metrics m = metrics_of(a, row->run);
    double *x = numbers(a, m.n), *y = numbers(a, m.n);
    size_t n = 0;
    for (size_t i = 0; i < m.n; i++) {
        const json_t *line = m.line[i].json, *all = json_object_get(line, "probe"),
                     *value = json_object_get(probe ? all : line, key);
        if (!all || !json_is_number(value) || !isfinite(m.line[i].x[METRICS_STEP])) continue;
        x[n] = m.line[i].x[METRICS_STEP];
        y[n++] = json_number_value(value);
    }
    metrics_free(&m);
    return (struct figure_series){ .n = n, .x = x, .y = y };
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
    json_t *rows = experiment_rows(p);
    for (const enum experiment_metric *m = p->e->metric; p->e->takes_values && *m != METRICS; m++)
        over_values(&a, *m, rows);
    json_decref(rows);
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
    for (size_t i = 0; i < a.n; i++) cli_plot_close(&a.plot[i]);
    cli_plot_close(&a.room);
    return code;
}
