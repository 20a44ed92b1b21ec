/* `convoy plot`: curves of runs, and of experiments, as a picture or a page. */
#include "cli/plot.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/pictures.h"
#include "report/stats.h"
#include "train/files.h"

enum { LARGEST = 1 << 30 }; /* bytes of a run's metrics */
enum { KEY_OUT = 'o', KEY_X = 'x', KEY_Y = 'y', KEY_LOG_X = 0x1000, KEY_LOG_Y, KEY_TITLE };

static const struct argp_option options[] = {
    { "out", KEY_OUT, "FILE", CLI_OUTPUT,
      "FILE.svg, FILE.png, or FILE.html: a page with the numbers, too (default: curves.svg in the "
      "directory of the only run)",
      0 },
    { "x", KEY_X, "WHAT", 0, "over epoch (default), step, examples or seconds", 0 },
    { "y", KEY_Y, "LIST", 0,
      "what is drawn, with commas between: loss, acc, or keys of metrics.jsonl, e.g. lr (default: "
      "loss,acc)",
      0 },
    { "log-x", KEY_LOG_X, NULL, 0, "a logarithmic x axis", 0 },
    { "log-y", KEY_LOG_Y, NULL, 0, "logarithmic y axes", 0 },
    { "title", KEY_TITLE, "TEXT", 0, "the title (default: model and data set)", 0 },
    { 0 }
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct cli_plot_options *o = state->input;
    switch (key) {
    case KEY_OUT:
        if (!cli_picture_of(arg))
            cli_refuse(state,
                       "--out: expected a name that ends in .svg, .png or .html, found '%.60s'",
                       arg);
        if (cli_picture_of(arg) == CLI_PNG && !drawing_has_png())
            cli_refuse(state,
                       "--out: this convoy was built without cairo and writes no PNG; a name "
                       "that ends in .svg or .html is written without it");
        o->out = arg;
        return 0;
    case KEY_X: {
        const char *word = cli_choice(state, "x", arg, metrics_axes);
        for (int k = 0; k < METRICS_AXES; k++)
            if (word == metrics_axes[k]) o->x = (enum metrics_axis)k;
        o->x_given = true;
        return 0;
    }
    case KEY_Y: o->y = arg; return 0;
    case KEY_LOG_X: o->log_x = true; return 0;
    case KEY_LOG_Y: o->log_y = true; return 0;
    case KEY_TITLE: o->title = arg; return 0;
    case ARGP_KEY_ARG:
        if (o->n == CLI_PLOT_RUNS)
            cli_refuse(state, "expected at most %d runs, found '%.60s' too", CLI_PLOT_RUNS, arg);
        o->run[o->n++] = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        cli_refuse(state, "expected directories of runs, or an experiment's");
        return EINVAL;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "[NAME=]RUN...\nEXPERIMENT",
    .doc =
        "Draws what runs were measured at while they trained. Of one run: loss and accuracy on "
        "the training images (five points an epoch) and accuracy on the test images. Of several: "
        "loss and accuracy side by side, a curve a run; runs that differ only in their seed, or "
        "have the same NAME, are one curve, their median, in a band. Of `convoy sweep` and "
        "`convoy ablate`: accuracy over what was changed."
        "\vA band reaches from the 25th to the 75th percentile, of fewer than five runs from the "
        "least to the largest. A key that has percentiles (KEY_p15, KEY_p50, KEY_p85) is drawn "
        "as the median in the band of the outer ones.\n\n"
        "Examples:\n"
        "  convoy plot run\n"
        "  convoy plot run -o talk.png --title 'Batch normalization'\n"
        "  convoy plot 'with BN=a' 'without=b' -o page.html --x seconds\n"
        "  convoy plot runs/lenet-* -o seeds.svg --y test_acc\n"
        "  convoy plot sweep --y loss,acc --log-x\n"
};

/* ---------------------------------------------------------------------------------- the figure */

void *cli_plot_room(struct cli_plot *p, size_t bytes)
{
    void *memory = calloc(1, bytes + 1), **own = realloc(p->own, (p->n_own + 1) * sizeof *own);
    if (!memory || !own) exit(cli_fail(CLI_NOMEM, "out of memory"));
    p->own = own;
    return p->own[p->n_own++] = memory;
}

char *cli_plot_text(struct cli_plot *p, const char *format, ...)
{
    va_list args;
    char *text;
    va_start(args, format);
    const int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0) exit(cli_fail(CLI_NOMEM, "out of memory"));
    char *own = strcpy(cli_plot_room(p, (size_t)n), text);
    free(text);
    return own;
}

struct figure_series *cli_plot_series(struct cli_plot *p)
{
    struct figure_series *series = realloc(p->series, (p->f.n + 1) * sizeof *series);
    if (!series) exit(cli_fail(CLI_NOMEM, "out of memory"));
    p->f.series = p->series = series;
    series[p->f.n] = (struct figure_series){ 0 };
    return &series[p->f.n++];
}

int cli_plot_read(const char *path, struct metrics *m)
{
    char error[CLI_ERROR];
    unsigned char *bytes;
    size_t size;
    enum train_status status = files_read(path, LARGEST, &bytes, &size, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    const bool good = metrics_parse((const char *)bytes, size, m, error, sizeof error);
    free(bytes);
    return good ? CLI_OK : cli_fail(CLI_BAD, "%s: %s", path, error);
}

void cli_plot_close(struct cli_plot *p)
{
    for (size_t i = 0; i < p->n_own; i++) free(p->own[i]);
    free(p->own);
    free(p->series);
}

enum { QUARTILES = 5 };

void cli_plot_spread(const double *values, size_t n, double *y, double *low, double *high)
{
    *y = stats_median(values, n);
    *low = stats_quantile(values, n, n < QUARTILES ? 0 : 0.25);
    *high = stats_quantile(values, n, n < QUARTILES ? 1 : 0.75);
}

const char *cli_plot_spread_text(size_t n)
{
    if (n < 2) return "";
    return n < QUARTILES ? "from the least to the largest" : "from the 25th to the 75th percentile";
}

const char *cli_plot_about(struct cli_plot *p, size_t seeds)
{
    const char *text = "";
    if (seeds > 1)
        text = cli_plot_text(p, "medians of %zu seeds, %s %s", seeds,
                             p->f.x.names ? "lines" : "bands", cli_plot_spread_text(seeds));
    if (p->limit > 0)
        text = cli_plot_text(p, "%s%slosses above %.3g are left out", text, *text ? "; " : "",
                             p->limit);
    return text;
}

void cli_plot_losses(struct cli_plot *p, double chance, double *y, double *low, double *high)
{
    const double limit = 1.5 * chance;
    if (!(*high > limit)) return;
    p->limit = fmax(p->limit, limit);
    if (*y > limit) *y = *low = NAN;
    *high = *y <= limit ? limit : NAN;
}

const char *cli_plot_name(struct cli_plot *p, const char *key)
{
    static const char valid[] = "valid_";
    if (!strcmp(key, "lr")) return "learning rate";
    const char *at = strstr(key, valid);
    char *name = cli_plot_text(p, "%s", key);
    if (at) name = cli_plot_text(p, "%.*svalidation_%s", (int)(at - key), key, at + strlen(valid));
    for (char *c = name; *c; c++)
        if (*c == '_') *c = ' ';
    return name;
}

int cli_plot_keys(struct cli_plot *p, const char *list, const char **key, size_t most, size_t *n)
{
    char *rest = cli_plot_text(p, "%s", list);
    *n = 0;
    for (const char *word; (word = strsep(&rest, ","));) {
        if (!*word || *n == most)
            return cli_fail(CLI_USAGE,
                            "--y: expected 1 to %zu words with commas between, found '%.60s'", most,
                            list);
        key[(*n)++] = word;
    }
    return CLI_OK;
}

/* ------------------------------------------------------------------------------------ the file */

static int put(const struct cli_plot *p, const char *path)
{
    const struct figure_page page = {
        .title = p->f.title, .about = "", .command = cli_command_line(), .figure = &p->f, .n = 1
    };
    int code = cli_draw_figures(path, &page);
    if (!code) printf("picture: %s\n", path);
    return code;
}

/* What would have no place on a logarithmic axis is told once. */
static void tell_left_out(const struct figure *f)
{
    size_t n = 0;
    for (size_t k = 0; k < f->n; k++)
        for (size_t i = 0; i < f->series[k].n; i++)
            n += (f->x.base > 0 && f->series[k].x[i] <= 0) ||
                 (f->y[f->series[k].panel].base > 0 && f->series[k].y[i] <= 0);
    if (n)
        cli_fail(0, "note: %zu points are not positive and have no place on a logarithmic axis", n);
}

static int run(int argc, char **argv)
{
    struct cli_plot_options o = { 0 };
    struct cli_plot p = { 0 };
    char json[4200];
    cli_parse(&argp, argc, argv, &o);
    int code = CLI_OK;
    json_t *title = json_string(o.title ? o.title : "");
    if (!title) code = cli_fail(CLI_USAGE, "--title: expected UTF-8");
    json_decref(title);
    if (!code && o.n == 1 && cli_plot_is_experiment(o.run[0], json))
        code = cli_plot_experiment(&p, &o, json);
    else if (!code) code = cli_plot_runs(&p, &o);
    if (!code && !o.out && !*p.out)
        code = cli_fail(CLI_USAGE, "several runs: expected --out FILE, where the picture goes");
    if (!code) {
        if (o.title) p.f.title = o.title;
        if (o.log_x) p.f.x.base = 10;
        for (size_t i = 0; o.log_y && i < FIGURE_PANELS; i++) p.f.y[i].base = 10;
        tell_left_out(&p.f);
        code = put(&p, o.out ? o.out : p.out);
    }
    cli_plot_close(&p);
    return code;
}

const struct cli_command cli_plot = { "plot", "curves of runs, as a picture or a page", &argp,
                                      run };
