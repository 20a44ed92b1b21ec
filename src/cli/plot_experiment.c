/* An experiment as curves: a metric of its runs over what was changed, a curve a group. Rows are
 * those of experiment.json, for what the experiment draws itself, too. */
#include "cli/plot.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "report/text.h"
#include "train/files.h"

#define EXPERIMENT_FILE "experiment.json"
enum { LARGEST = 1 << 28 };

bool cli_plot_is_experiment(const char *path, char json[4200])
{
    struct stat st;
    const size_t n = strlen(path);
    if (n > 5 && n < 4200 && !strcmp(path + n - 5, ".json")) {
        strcpy(json, path);
        return true;
    }
    return snprintf(json, 4200, "%s/" EXPERIMENT_FILE, path) < 4200 && !stat(json, &st);
}

static const char *text_of(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));
    return text ? text : "";
}

static double number_of(const json_t *json, const char *key)
{
    const json_t *value = json_object_get(json, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Where a row stands: its value, or, where values are words, the place of that word. */
static double place_of(const struct figure *f, const json_t *row)
{
    if (!f->x.names) return number_of(row, "x");
    size_t i = 0;
    while (i < f->x.n_names && strcmp(f->x.names[i], text_of(row, "value"))) i++;
    return (double)i;
}

/* If values are no numbers, all of them in the order of the rows. */
static void find_names(struct cli_plot *p, const json_t *rows)
{
    const char **name = cli_plot_room(p, json_array_size(rows) * sizeof *name);
    bool words = false;
    size_t i, n = 0;
    json_t *row;
    json_array_foreach (rows, i, row) {
        const char *value = text_of(row, "value");
        char *end;
        const double x = strtod(value, &end);
        words |= *end || end == value || fabs(x - number_of(row, "x")) > 0.01 * fabs(x);
        size_t k = 0;
        while (k < n && strcmp(name[k], value)) k++;
        if (k == n) name[n++] = cli_plot_text(p, "%s", value);
    }
    if (!words) return;
    p->f.x.names = name;
    p->f.x.n_names = n;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The curve of a group, if it has values; most grows to how many runs a point has. */
static bool add_group(struct cli_plot *p, const json_t *rows, const char *group, const char *key,
                      size_t *most)
{
    const size_t room = json_array_size(rows);
    double *x = cli_plot_room(p, 5 * room * sizeof *x), *y = x + room, *low = y + room,
           *high = low + room, *value = high + room;
    size_t n = 0, kept = 0, i, values = 0;
    json_t *row;
    json_array_foreach (rows, i, row)
        if (!strcmp(text_of(row, "group"), group) && json_is_true(json_object_get(row, "finished")))
            x[n++] = place_of(&p->f, row);
    qsort(x, n, sizeof *x, ascending);
    for (size_t k = 0; k < n; k++) {
        if (k && x[k] == x[k - 1]) continue;
        size_t all = 0;
        double chance = NAN; /* the same of all seeds */
        json_array_foreach (rows, i, row) {
            if (strcmp(text_of(row, "group"), group) || place_of(&p->f, row) != x[k]) continue;
            const double v = number_of(row, key);
            chance = number_of(row, "chance");
            if (isfinite(v)) value[all++] = v;
        }
        const double at = x[k];
        cli_plot_spread(value, all, &y[kept], &low[kept], &high[kept]);
        if (strstr(key, "loss")) cli_plot_losses(p, chance, &y[kept], &low[kept], &high[kept]);
        values += isfinite(y[kept]);
        x[kept++] = at;
        *most = all > *most ? all : *most;
    }
    if (!values) return false;
    *cli_plot_series(p) = (struct figure_series){ .label = *group ? cli_plot_text(p, "%s", group)
                                                                  : cli_plot_name(p, key),
                                                  .n = kept,
                                                  .x = x,
                                                  .y = y,
                                                  .low = *most > 1 ? low : NULL,
                                                  .high = *most > 1 ? high : NULL,
                                                  .marked = true };
    if (p->f.x.names) { /* words have no order: nothing is between them */
        p->series[p->f.n - 1].style = FIGURE_POINTS;
        p->series[p->f.n - 1].whiskers = true;
    }
    return true;
}

/* "loss" and "acc" are what they are of a run: of accuracies the first that is there. */
static const char *key_of(const json_t *rows, const char *word)
{
    static const char *const accuracies[] = { "test_acc", "valid_acc", "train_acc" };
    if (!strcmp(word, "loss")) return "train_loss";
    if (strcmp(word, "acc")) return word;
    for (size_t k = 0; k < 3; k++) {
        size_t i;
        json_t *row;
        json_array_foreach (rows, i, row)
            if (isfinite(number_of(row, accuracies[k]))) return accuracies[k];
    }
    return accuracies[0];
}

/* Values whose largest is ten times the least are rates or sizes: each is several times the one
 * before. */
static bool spans_a_decade(const struct figure *f)
{
    double lo = INFINITY, hi = 0;
    for (size_t k = 0; k < f->n; k++)
        for (size_t i = 0; i < f->series[k].n; i++) {
            lo = fmin(lo, f->series[k].x[i]);
            hi = fmax(hi, f->series[k].x[i]);
        }
    return !f->x.names && lo > 0 && hi >= 9.99 * lo;
}

const char *cli_plot_title(struct cli_plot *p, const char *about)
{
    char *title = cli_plot_text(p, "%s", about);
    *title = (char)toupper((unsigned char)*title);
    return title;
}

static bool has_group(const json_t *rows, const char *group)
{
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row)
        if (!strcmp(text_of(row, "group"), group)) return true;
    return false;
}

size_t cli_plot_values(struct cli_plot *p, const json_t *rows, const char *key, size_t panel,
                       size_t *most)
{
    size_t i, k;
    const size_t before = p->f.n;
    /* with a norm and without: the same colours in all experiments that have both */
    const bool norms = has_group(rows, "batch norm") && has_group(rows, "none");
    size_t color = norms ? 2 : 0;
    json_t *row, *other;
    if (!before) find_names(p, rows);
    json_array_foreach (rows, i, row) {
        bool first = true;
        json_array_foreach (rows, k, other)
            if (k < i && !strcmp(text_of(row, "group"), text_of(other, "group"))) first = false;
        if (!first) continue;
        const char *group = text_of(row, "group");
        size_t own = color; /* also where another one has no values in this panel */
        if (norms && !strcmp(group, "batch norm")) own = 0;
        else if (norms && !strcmp(group, "none")) own = 1;
        else color++;
        if (!add_group(p, rows, group, key, most)) continue;
        p->series[p->f.n - 1].panel = panel;
        p->series[p->f.n - 1].color = 1 + (int)(own % FIGURE_COLORS);
    }
    p->f.y[panel].label = cli_plot_name(p, key);
    if (spans_a_decade(&p->f)) p->f.x.base = 10;
    return p->f.n - before;
}

static int draw(struct cli_plot *p, const struct cli_plot_options *o, const json_t *all,
                const char *path)
{
    const json_t *rows = json_object_get(all, "rows");
    const char *word[FIGURE_PANELS];
    size_t most = 0;
    /* its name is that of a file */
    if (!json_is_array(rows) || !*text_of(all, "experiment") ||
        strchr(text_of(all, "experiment"), '/'))
        return cli_fail(CLI_BAD, "%s: expected what convoy sweep or convoy ablate writes", path);
    if (o->x_given)
        return cli_fail(CLI_USAGE, "--x is for runs; an experiment is drawn over what it changes");
    int code = cli_plot_keys(p, o->y ? o->y : "acc", word, FIGURE_PANELS, &p->f.panels);
    for (size_t i = 0; i < p->f.panels && !code; i++) {
        const char *key = key_of(rows, word[i]);
        if (!cli_plot_values(p, rows, key, i, &most))
            code = cli_fail(CLI_BAD, "none of the experiment's finished runs has '%.60s'", key);
    }
    const char *about = text_of(all, "about");
    p->f.title = cli_plot_title(p, *about ? about : text_of(all, "experiment"));
    p->f.x.label = cli_plot_name(p, text_of(all, "axis"));
    p->f.subtitle = cli_plot_about(p, most);
    const char *slash = strrchr(path, '/');
    snprintf(p->out, sizeof p->out, "%.*s%.60s.svg", slash ? (int)(slash + 1 - path) : 0, path,
             text_of(all, "experiment"));
    return code;
}

int cli_plot_experiment(struct cli_plot *p, const struct cli_plot_options *o, const char *path)
{
    char error[CLI_ERROR];
    unsigned char *bytes;
    size_t size;
    json_error_t e;
    enum train_status status = files_read(path, LARGEST, &bytes, &size, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    json_t *all = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES, &e);
    free(bytes);
    int code =
        all ? draw(p, o, all, path) : cli_fail(CLI_BAD, "%s: line %d: %s", path, e.line, e.text);
    json_decref(all);
    return code;
}
