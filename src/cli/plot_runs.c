/* Runs as curves: which of them are one, what is drawn of them, and the numbers. */
#include "cli/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/stats.h"
#include "report/text.h"
#include "train/files.h"
#include "train/train.h"

enum { LARGEST = 1 << 30 }; /* bytes of a run's metrics */

/* ---------------------------------------------------------------------------------------- a run */

struct run {
    const char *path, *label;
    bool named; /* by the user */
    struct metrics m;
    json_t *config;           /* its settings but for the seed, and its model; NULL: not known */
    const char *model, *data; /* names, if that is known */
    size_t group;
};

/* The file as JSON; NULL: it is not there, or it is none. */
static json_t *read_json(const char *directory, const char *name)
{
    char path[PATH_MAX], error[CLI_ERROR];
    unsigned char *bytes;
    size_t size;
    if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path ||
        files_read(path, LARGEST, &bytes, &size, error, sizeof error))
        return NULL;
    json_t *json = json_loadb((const char *)bytes, size, 0, NULL);
    free(bytes);
    return json;
}

static const char *last_part(struct cli_plot *p, const char *path)
{
    char *text = cli_plot_text(p, "%s", path);
    size_t n = strlen(text);
    while (n > 1 && text[n - 1] == '/') text[--n] = '\0';
    const char *slash = strrchr(text, '/');
    return slash && slash[1] ? slash + 1 : text;
}

static void read_config(struct cli_plot *p, struct run *r)
{
    json_t *config = read_json(r->path, "config.json"), *model = read_json(r->path, "model.json");
    const char *data = json_string_value(json_object_get(config, "data")),
               *name = json_string_value(json_object_get(config, "model"));
    if (name && data) {
        r->data = !strncmp(data, "synthetic", 9) ? "synthetic patterns" : last_part(p, data);
        r->model = cli_plot_text(p, "%s", name);
        json_object_del(config, "seed");
        r->config = json_pack("{s:O, s:O?}", "config", config, "model", model);
    }
    json_decref(config);
    json_decref(model);
}

/* RUN, or NAME=RUN if there is nothing that is called so as a whole. */
static int open_run(struct cli_plot *p, struct run *r, const char *word)
{
    struct stat st;
    const char *equals = strchr(word, '=');
    r->path = word;
    if (equals && equals > word && access(word, F_OK)) {
        r->path = equals + 1;
        r->label = cli_plot_text(p, "%.*s", (int)(equals - word), word);
        r->named = true;
    } else r->label = last_part(p, word);
    int code = cli_utf8(r->label, "what the curve is called");
    if (code) return code;
    if (!stat(r->path, &st) && S_ISREG(st.st_mode)) return cli_plot_read(r->path, &r->m);
    code = cli_plot_read(cli_plot_text(p, "%s/" TRAIN_METRICS, r->path), &r->m);
    if (code) return code;
    read_config(p, r);
    return CLI_OK;
}

/* Runs are one curve if they have one name, or one configuration. */
static bool together(const struct run *a, const struct run *b)
{
    if (a->named || b->named) return a->named && b->named && !strcmp(a->label, b->label);
    return a->config && b->config && json_equal(a->config, b->config);
}

static size_t find_groups(struct run *r, size_t n)
{
    size_t groups = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < i && !together(&r[k], &r[i])) k++;
        r[i].group = k < i ? r[k].group : groups++;
    }
    return groups;
}

static size_t members(const struct run *r, size_t n, size_t group)
{
    size_t all = 0;
    for (size_t i = 0; i < n; i++) all += r[i].group == group;
    return all;
}

/* The name of the only run; of several what their names begin with alike. */
static const char *group_label(struct cli_plot *p, const struct run *r, size_t n, size_t group)
{
    const size_t all = members(r, n, group);
    const char *first = NULL;
    size_t same = 0;
    for (size_t i = 0; i < n; i++) {
        if (r[i].group != group) continue;
        if (!first) same = strlen(first = r[i].label);
        size_t k = 0;
        while (k < same && first[k] == r[i].label[k]) k++;
        same = k;
    }
    if (all < 2) return first;
    if (first[same]) {
        static const char *const ends[] = { "seed", "-s", "_s", "run" };
        while (same && strchr("-_. 0123456789", first[same - 1])) same--;
        for (size_t e = 0; e < 4; e++) {
            const size_t length = strlen(ends[e]);
            if (same > length && !strncmp(first + same - length, ends[e], length)) same -= length;
        }
        while (same && strchr("-_. ", first[same - 1])) same--;
    }
    return cli_plot_text(p, "%.*s (%zu runs)", (int)(same ? same : strlen(first)), first, all);
}

/* ------------------------------------------------------------------------------------- a curve */

struct point {
    double step, x, y, low, high;
};

static int by_step(const void *a, const void *b)
{
    const struct point *p = a, *q = b;
    return (p->step > q->step) - (p->step < q->step);
}

/* The points of a run; `band`: with the percentiles around them. */
static size_t points_of(const struct run *r, const char *key, enum metrics_axis axis,
                        struct point *out, bool *band)
{
    char middle[96], low[96], high[96];
    size_t *at = malloc((r->m.n + 1) * sizeof *at);
    if (!at) exit(cli_fail(CLI_NOMEM, "out of memory"));
    size_t n = metrics_points(&r->m, key, at);
    snprintf(middle, sizeof middle, "%s", key);
    *band = !n && metrics_percentile(&r->m, key, false, low) &&
            metrics_percentile(&r->m, key, true, high);
    if (*band) {
        snprintf(middle, sizeof middle, "%.90s_p50", key);
        n = metrics_points(&r->m, middle, at);
    }
    for (size_t i = 0; i < n; i++)
        out[i] = (struct point){ r->m.line[at[i]].x[METRICS_STEP], r->m.line[at[i]].x[axis],
                                 metrics_value(&r->m, at[i], middle),
                                 *band ? metrics_value(&r->m, at[i], low) : NAN,
                                 *band ? metrics_value(&r->m, at[i], high) : NAN };
    free(at);
    return n;
}

/* Points of several runs at one step become one. */
static struct point merge(const struct point *p, size_t n, bool band, double *room)
{
    struct point all = p[0];
    double *y = room, *x = room + n;
    for (size_t i = 0; i < n; i++) {
        y[i] = p[i].y;
        x[i] = p[i].x;
    }
    all.x = stats_median(x, n);
    cli_plot_spread(y, n, &all.y, &all.low, &all.high);
    if (!band) return all;
    for (size_t i = 0; i < n; i++) {
        y[i] = p[i].low;
        x[i] = p[i].high;
    }
    all.low = stats_median(y, n);
    all.high = stats_median(x, n);
    return all;
}

/* A group's curve, if it has that key. */
static struct figure_series *add_curve(struct cli_plot *p, const struct run *r, size_t n,
                                       size_t group, const char *key, enum metrics_axis axis)
{
    size_t lines = 0, all = 0, kept = 0;
    bool band = false;
    for (size_t i = 0; i < n; i++) lines += r[i].group == group ? r[i].m.n : 0;
    struct point *at = cli_plot_room(p, lines * sizeof *at);
    for (size_t i = 0; i < n; i++)
        if (r[i].group == group) all += points_of(&r[i], key, axis, at + all, &band);
    if (!all) return NULL;
    qsort(at, all, sizeof *at, by_step);
    double *room = cli_plot_room(p, (2 * all + 4 * all) * sizeof *room), *number = room + 2 * all;
    const bool several = members(r, n, group) > 1;
    for (size_t i = 0, end; i < all; i = end) {
        for (end = i + 1; end < all && at[end].step == at[i].step;) end++;
        const struct point one = several ? merge(at + i, end - i, band, room) : at[i];
        number[kept] = one.x;
        number[all + kept] = one.y;
        number[2 * all + kept] = one.low;
        number[3 * all + kept++] = one.high;
    }
    struct figure_series *s = cli_plot_series(p);
    *s = (struct figure_series){ .n = kept,
                                 .x = number,
                                 .y = number + all,
                                 .low = several || band ? number + 2 * all : NULL,
                                 .high = several || band ? number + 3 * all : NULL };
    return s;
}

/* ------------------------------------------------------------------------------- what is drawn */

/* The book's lines, in colours that everybody can tell apart. */
static const struct {
    const char *key;
    enum figure_style style;
    int color;
} looks[] = { { "train_loss", FIGURE_LINE, 1 },       { "train_acc", FIGURE_DASHED, 4 },
              { "valid_loss", FIGURE_DOTTED, 5 },     { "valid_acc", FIGURE_DOTTED, 2 },
              { "test_loss", FIGURE_DASH_DOTTED, 6 }, { "test_acc", FIGURE_DASH_DOTTED, 3 } };
enum { LOOKS = sizeof looks / sizeof *looks };

static bool has_key(const struct run *r, const char *key)
{
    char name[96];
    for (size_t i = 0; i < r->m.n; i++)
        if (isfinite(metrics_value(&r->m, i, key))) return true;
    return metrics_percentile(&r->m, key, false, name);
}

static bool any_has(const struct run *r, size_t n, const char *key)
{
    bool found = false;
    for (size_t i = 0; i < n && !found; i++) found = has_key(&r[i], key);
    return found;
}

/* Of a word that stands for several keys those that are there, else the word itself. */
static size_t keys_of(const struct run *r, size_t n, const char *word, const char *out[LOOKS])
{
    const bool loss = !strcmp(word, "loss"), acc = !strcmp(word, "acc");
    size_t found = 0;
    for (size_t i = 0; (loss || acc) && i < LOOKS; i++)
        if (!strcmp(strchr(looks[i].key, '_') + 1, word) && any_has(r, n, looks[i].key))
            out[found++] = looks[i].key;
    if (!loss && !acc) out[found++] = word;
    return found;
}

/* That nobody has: what there is instead. */
static int missing(const struct run *r, const char *key)
{
    char list[600] = "";
    const struct {
        const char *type;
    } types[] = { { "step" }, { "epoch" } };
    for (size_t t = 0; t < 2; t++)
        for (size_t i = 0; i < r->m.n; i++) {
            const char *name, *type = json_string_value(json_object_get(r->m.line[i].json, "type"));
            json_t *value;
            if (strcmp(type, types[t].type)) continue;
            json_object_foreach (r->m.line[i].json, name, value) {
                const size_t used = strlen(list);
                char quoted[110];
                snprintf(quoted, sizeof quoted, " %.100s,", name);
                if (json_is_number(value) && !strstr(list, quoted) && used + 120 < sizeof list)
                    strcat(list, quoted);
            }
        }
    if (!*list) return cli_fail(CLI_BAD, "%s: nothing was measured there yet", r->path);
    list[strlen(list) - 1] = '\0';
    return cli_fail(CLI_USAGE,
                    "--y: expected loss, acc or a key of metrics.jsonl, which has%s; found '%.60s'",
                    list, key);
}

/* One configuration: all that was measured in one panel. */
static int draw_one(struct cli_plot *p, const struct cli_plot_options *o, const struct run *r,
                    size_t n)
{
    const char *word[CLI_PLOT_KEYS], *key[LOOKS];
    size_t words, accuracies = 0, losses = 0;
    int code = cli_plot_keys(p, o->y ? o->y : "train_loss,acc", word, CLI_PLOT_KEYS, &words);
    for (size_t w = 0; w < words && !code; w++) {
        const size_t keys = keys_of(r, n, word[w], key);
        const size_t before = p->f.n;
        for (size_t k = 0; k < keys; k++) {
            struct figure_series *s = add_curve(p, r, n, 0, key[k], o->x);
            if (!s) continue;
            s->label = cli_plot_name(p, key[k]);
            for (size_t i = 0; i < LOOKS; i++)
                if (!strcmp(looks[i].key, key[k])) {
                    s->style = looks[i].style;
                    s->color = looks[i].color;
                }
            accuracies += strstr(key[k], "_acc") != NULL;
            losses += strstr(key[k], "loss") != NULL;
        }
        if (p->f.n == before) code = missing(r, word[w]);
    }
    if (p->f.n && accuracies == p->f.n) p->f.y[0].label = "accuracy";
    else if (p->f.n && losses == p->f.n) p->f.y[0].label = "loss";
    else if (p->f.n == 1) p->f.y[0].label = p->series[0].label;
    return code;
}

/* Several: a panel for each of the keys, at most two, and a curve a configuration. */
static int draw_several(struct cli_plot *p, const struct cli_plot_options *o, const struct run *r,
                        size_t groups)
{
    const char *word[FIGURE_PANELS], *key[LOOKS];
    const size_t n = o->n;
    int code = cli_plot_keys(p, o->y ? o->y : "loss,acc", word, FIGURE_PANELS, &p->f.panels);
    for (size_t w = 0; w < p->f.panels && !code; w++) {
        const size_t keys = keys_of(r, n, word[w], key), before = p->f.n;
        if (!keys) return missing(r, word[w]);
        /* of accuracies the last, the test images'; of losses the training images' */
        const char *one = strcmp(word[w], "acc") ? key[0] : key[keys - 1];
        p->f.y[w].label = cli_plot_name(p, one);
        for (size_t g = 0; g < groups; g++) {
            struct figure_series *s = add_curve(p, r, n, g, one, o->x);
            if (!s) continue;
            s->label = group_label(p, r, n, g);
            s->panel = w;
            s->color = 1 + (int)(g % FIGURE_COLORS);
            s->style = (enum figure_style)(g / FIGURE_COLORS % FIGURE_POINTS);
        }
        if (p->f.n == before) code = missing(r, word[w]);
    }
    return code;
}

/* "loss 0.248, train acc 0.909, test acc 0.873 after 10 epochs": the last of each. */
static const char *last_values(struct cli_plot *p, const struct run *r)
{
    static const struct {
        const char *key, *name;
    } said[] = { { "train_loss", "loss" },
                 { "train_acc", "train acc" },
                 { "valid_acc", "validation acc" },
                 { "test_acc", "test acc" } };
    const char *text = "";
    const double epochs = r->m.n ? r->m.line[r->m.n - 1].x[METRICS_EPOCH] : NAN;
    for (size_t k = 0; k < sizeof said / sizeof *said; k++)
        for (size_t i = r->m.n; i-- > 0;) {
            char value[32];
            if (!json_object_get(r->m.line[i].json, said[k].key)) continue; /* null is there */
            const double v = metrics_value(&r->m, i, said[k].key);
            const double epoch = r->m.line[i].x[METRICS_EPOCH];
            text = cli_plot_text(p, "%s%s%s %s", text, *text ? ", " : "", said[k].name,
                                 isfinite(v) ? text_value(v, value) : "not finite");
            if (epoch < epochs) text = cli_plot_text(p, "%s (epoch %.4g)", text, epoch);
            break;
        }
    if (!*text || !isfinite(epochs)) return text;
    return cli_plot_text(p, "%s after %.4g epoch%s", text, epochs, epochs == 1 ? "" : "s");
}

static void describe(struct cli_plot *p, const struct cli_plot_options *o, const struct run *r,
                     size_t groups)
{
    size_t most = 0;
    bool models = r[0].model != NULL, data = r[0].data != NULL;
    for (size_t g = 0; g < groups; g++) {
        const size_t all = members(r, o->n, g);
        most = all > most ? all : most;
    }
    for (size_t i = 1; i < o->n; i++) {
        models = models && r[i].model && !strcmp(r[i].model, r[0].model);
        data = data && r[i].data && !strcmp(r[i].data, r[0].data);
    }
    const char *what = models ? r[0].model : "Training";
    if (data) p->f.title = cli_plot_text(p, "%s on %s", what, r[0].data);
    else p->f.title = o->n == 1 ? r[0].label : what;
    if (most > 1)
        p->f.subtitle = cli_plot_text(p, "medians%s, bands %s",
                                      groups > 1 ? "" : cli_plot_text(p, " of %zu runs", most),
                                      cli_plot_spread_text(most));
    else if (o->n == 1 && !o->y) p->f.subtitle = last_values(p, r);
    p->f.x.label = metrics_axes[o->x];
    const size_t n = strlen(r[0].path);
    if (o->n == 1 && !strstr(r[0].path, ".jsonl") && n < sizeof p->out - 16)
        snprintf(p->out, sizeof p->out, "%s/curves.svg", r[0].path);
}

int cli_plot_runs(struct cli_plot *p, const struct cli_plot_options *o)
{
    struct run *r = cli_plot_room(p, o->n * sizeof *r);
    int code = CLI_OK;
    for (size_t i = 0; i < o->n && !code; i++) code = open_run(p, &r[i], o->run[i]);
    if (!code) {
        const size_t groups = find_groups(r, o->n);
        code = groups == 1 ? draw_one(p, o, r, o->n) : draw_several(p, o, r, groups);
        if (!code) describe(p, o, r, groups);
    }
    for (size_t i = 0; i < o->n; i++) {
        metrics_free(&r[i].m);
        json_decref(r[i].config);
    }
    return code;
}
