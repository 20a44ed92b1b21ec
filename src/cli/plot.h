/* What the files of `convoy plot` share: a figure that grows, of runs or of an experiment. */
#ifndef CLI_PLOT_H
#define CLI_PLOT_H

#include "cli/cli.h"
#include "report/figure.h"
#include "report/metrics.h"

enum { CLI_PLOT_RUNS = 64, CLI_PLOT_KEYS = 8 };

struct cli_plot_options {
    const char *run[CLI_PLOT_RUNS]; /* RUN or NAME=RUN */
    size_t n;
    const char *out, *title, *y;
    enum metrics_axis x;
    bool x_given, log_x, log_y;
};

/* A figure with all that it points to. */
struct cli_plot {
    struct figure f;
    struct figure_series *series; /* f.series */
    void **own;
    size_t n_own;
    char out[4200]; /* the file, if the options do not say it */
    double limit;   /* losses above that are left out; 0: none was */
};
/* Zeroed memory that the plot owns; the process ends where there is none. */
void *cli_plot_room(struct cli_plot *p, size_t bytes);
char *cli_plot_text(struct cli_plot *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* One more, zeroed, until the next one is added. */
struct figure_series *cli_plot_series(struct cli_plot *p);

void cli_plot_close(struct cli_plot *p);

/* A run's metrics.jsonl. A failure has been told. */
int cli_plot_read(const char *path, struct metrics *m);
/* Values at one x, and what a series has there: the median, and from the 25th to the 75th
 * percentile, of fewer than five values from the least to the largest. */
void cli_plot_spread(const double *values, size_t n, double *y, double *low, double *high);
const char *cli_plot_spread_text(size_t n); /* in words; "" of one value */
/* What an experiment's points are, of so many seeds, and what is left out; "": nothing to say. */
const char *cli_plot_about(struct cli_plot *p, size_t seeds);
/* Losses far above that of a net that knows nothing would hide all others: such a point is NaN, a
 * band ends there, and p->limit says so. */
void cli_plot_losses(struct cli_plot *p, double chance, double *y, double *low, double *high);
/* An experiment's: what it is about, as a sentence begins. */
const char *cli_plot_title(struct cli_plot *p, const char *about);
/* "train loss", "learning rate" */
const char *cli_plot_name(struct cli_plot *p, const char *key);
/* The words of --y, of which there are at most `most`; a failure has been told. */
int cli_plot_keys(struct cli_plot *p, const char *list, const char **key, size_t most, size_t *n);

/* Each returns an exit code after a message. */
int cli_plot_runs(struct cli_plot *p, const struct cli_plot_options *o);
/* The path of its JSON, if that is one; an experiment stands alone. */
bool cli_plot_is_experiment(const char *path, char json[4200]);
/* Adds to a panel the curves of a key over an experiment's values, a group each: how many. most
 * grows to how many runs a point has. */
size_t cli_plot_values(struct cli_plot *p, const json_t *rows, const char *key, size_t panel,
                       size_t *most);
int cli_plot_experiment(struct cli_plot *p, const struct cli_plot_options *o, const char *json);

#endif
