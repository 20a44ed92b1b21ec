/* The rows of `convoy bench`. A benchmark has its columns; a column knows how wide it is and what
 * stands in it. */
#include "table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/screen.h"
#include "probe.h"
#include "report/stats.h"
#include "report/text.h"

enum figure { SECONDS, EXAMPLES, SHARE, GFLOPS, GBS, REORDER, LOSS, TRAIN, TEST, FIGURES };
static const char *const counters[FIGURES] = {
    [EXAMPLES] = "examples/s", [SHARE] = "% of peak", [GFLOPS] = "GFLOP/s",  [GBS] = "GB/s",
    [REORDER] = "% reorder",   [LOSS] = "loss",       [TRAIN] = "train acc", [TEST] = "test acc"
};

struct row {
    const char *name;
    char *label, *error;    /* owned; error NULL: none */
    size_t n, room;         /* runs */
    double *value[FIGURES]; /* [n]; NaN where a run lacks it */
    bool multiplies;        /* GFLOP/s say more of it than GB/s */
};

struct fact {
    char *key, *value;
};

struct table {
    FILE *out;
    struct row *row;
    size_t n, repetitions;
    const struct layout *layout; /* of the benchmark whose rows are being printed */
    bool several;                /* a group of it has contestants */
    size_t label_width;
    struct fact *fact;
    size_t n_facts;
    struct cli_screen screen;
    size_t now, done; /* the case measured; how many are finished */
    double start;
};

/* -------------------------------------------------------------------------------------- columns */

static double median(const struct row *r, enum figure f) { return stats_median(r->value[f], r->n); }

static void print_right(FILE *out, const char *text, size_t width)
{
    const size_t n = text_width(text);
    fprintf(out, "%*s%s", n < width ? (int)(width - n) : 0, "", text);
}

/* A number and its unit, right; blanks where there is no number. */
static void print_unit(FILE *out, double v, const char *number, const char *unit, size_t width)
{
    char text[64] = "";
    if (isfinite(v)) snprintf(text, sizeof text, "%s%s", number, unit);
    print_right(out, text, width);
}

/* Three digits of it. */
static void print_figure(FILE *out, double v, const char *unit, size_t width)
{
    char number[CLI_NUMBER];
    if (fabs(v) < 99.95) snprintf(number, sizeof number, "%.*f", fabs(v) < 9.995 ? 2 : 1, v);
    else cli_count(v, number);
    print_unit(out, v, number, unit, width);
}

static void print_spread(FILE *out, const struct row *r)
{
    char number[32], text[40] = "";
    const double v = stats_variation(r->value[SECONDS], r->n);
    if (isfinite(v)) snprintf(text, sizeof text, " ± %s", text_percent(v, number));
    text_pad(out, text, 9);
}

static void column_time(const struct table *t, const struct row *r, const struct row *first)
{
    char number[32];
    (void)first;
    print_right(t->out, text_time(median(r, SECONDS), number), 9);
    print_spread(t->out, r);
}

static void column_seconds(const struct table *t, const struct row *r, const struct row *first)
{
    char number[32];
    (void)first;
    print_right(t->out, text_time(median(r, SECONDS), number), 9);
}

static void column_examples(const struct table *t, const struct row *r, const struct row *first)
{
    (void)first;
    print_figure(t->out, median(r, EXAMPLES), " ex/s", 13);
}

static void column_share(const struct table *t, const struct row *r, const struct row *first)
{
    char number[32];
    (void)first;
    print_unit(t->out, median(r, SHARE), text_percent(median(r, SHARE) / 100, number), " of peak",
               15);
}

/* What limits it: the share of the multiply-add peak, or the bytes it moves. */
static void column_rate(const struct table *t, const struct row *r, const struct row *first)
{
    if (r->multiplies) column_share(t, r, first);
    else print_figure(t->out, median(r, GBS), " GB/s", 15);
}

static void column_gflops(const struct table *t, const struct row *r, const struct row *first)
{
    (void)first;
    print_figure(t->out, median(r, GFLOPS), " GFLOP/s", 15);
}

static void column_reorder(const struct table *t, const struct row *r, const struct row *first)
{
    char number[32];
    (void)first;
    print_unit(t->out, median(r, REORDER), text_percent(median(r, REORDER) / 100, number),
               " reorder", 15);
}

/* What the machine does in all: operations, bytes, or the way between cores. */
static void column_peak(const struct table *t, const struct row *r, const struct row *first)
{
    char number[32];
    const enum figure f = isfinite(median(r, GFLOPS)) ? GFLOPS : GBS;
    (void)first;
    if (isfinite(median(r, f)))
        print_figure(t->out, median(r, f), f == GFLOPS ? " GFLOP/s" : "    GB/s", 17);
    else print_right(t->out, text_time(median(r, SECONDS), number), 17);
    print_spread(t->out, r);
}

static void column_learned(const struct table *t, const struct row *r, const struct row *first)
{
    (void)first;
    fprintf(t->out, "   loss %.3f  train %.3f  test %.3f", median(r, LOSS), median(r, TRAIN),
            median(r, TEST));
}

/* How many times as long as the first contestant of the group, with the interval. */
static void column_ratio(const struct table *t, const struct row *r, const struct row *first)
{
    char interval[64] = "";
    if (r == first || !first->n) return;
    const struct stats_ratio x =
        stats_ratio(first->value[SECONDS], first->n, r->value[SECONDS], r->n, 0);
    const double ratio = median(r, SECONDS) / median(first, SECONDS);
    int digits = 2; /* three significant ones */
    if (ratio >= 9.995) digits = ratio < 99.95 ? 1 : 0;
    if (x.hi < 1000 * x.lo)
        snprintf(interval, sizeof interval, " (%.*f - %.*f)", digits, x.lo, digits, x.hi);
    fprintf(t->out, "   %.*f ×%s", digits, ratio, interval);
}

static bool same_but_threads(const char *a, const char *b)
{
    const char *x = strstr(a, "/threads:"), *y = strstr(b, "/threads:");
    if (!x || !y || x - a != y - b || strncmp(a, b, (size_t)(x - a))) return false;
    x = strchr(x + 1, '/');
    y = strchr(y + 1, '/');
    return x && y && !strcmp(x, y);
}

/* How many times as fast as the same on the first number of threads. */
static void column_speedup(const struct table *t, const struct row *r, const struct row *first)
{
    char text[64] = "";
    (void)first;
    for (const struct row *one = t->row; one < r; one++) {
        if (!one->n || !same_but_threads(one->name, r->name)) continue;
        const char *threads = strstr(one->name, "/threads:") + strlen("/threads:");
        snprintf(text, sizeof text, "%.2f × t%.*s",
                 stats_median(one->value[SECONDS], one->n) / median(r, SECONDS),
                 (int)strcspn(threads, "/"), threads);
        break;
    }
    text_pad(t->out, "", 3);
    text_pad(t->out, text, 9);
}

/* In a benchmark with contestants, and in one without. */
enum when { ALWAYS, ALONE, SEVERAL };
struct column {
    void (*print)(const struct table *t, const struct row *r, const struct row *first);
    size_t width;
    enum when when;
};

static const struct layout {
    const char *benchmark, *title;
    struct column column[6];
} layouts[] = {
    { "peak", "what the machine can do", { { column_peak, 26, ALWAYS } } },
    { "kernels",
      "each alone, on one thread",
      { { column_time, 18, ALWAYS },
        { column_rate, 15, ALWAYS },
        { column_gflops, 15, ALONE },
        { column_ratio, 24, SEVERAL } } },
    { "ops",
      "operators alone, layout changes in and out included",
      { { column_time, 18, ALWAYS },
        { column_rate, 15, ALWAYS },
        { column_gflops, 15, ALONE },
        { column_reorder, 15, ALWAYS },
        { column_ratio, 22, SEVERAL } } },
    { "sizes",
      "operators over neighbouring sizes",
      { { column_time, 18, ALWAYS },
        { column_rate, 15, ALWAYS },
        { column_gflops, 15, ALONE },
        { column_ratio, 22, SEVERAL } } },
    { "backward",
      "a batch norm's gradient: in stages, in closed form, by the operator",
      { { column_time, 18, ALWAYS }, { column_rate, 15, ALWAYS }, { column_ratio, 22, ALWAYS } } },
    { "step",
      "whole training steps",
      { { column_time, 18, ALWAYS },
        { column_examples, 13, ALWAYS },
        { column_share, 15, ALWAYS },
        { column_ratio, 22, SEVERAL } } },
    { "scaling",
      "training steps over batch sizes and threads",
      { { column_time, 18, ALWAYS },
        { column_examples, 13, ALWAYS },
        { column_share, 15, ALONE },
        { column_speedup, 12, ALWAYS },
        { column_ratio, 22, SEVERAL } } },
    { "forum",
      "trainings by the forum's protocol",
      { { column_examples, 13, ALWAYS },
        { column_seconds, 9, ALWAYS },
        { column_learned, 40, ALWAYS } } },
};

static bool shown(const struct table *t, const struct column *c)
{
    return c->print && (c->when == ALWAYS || (c->when == SEVERAL) == t->several);
}

/* ----------------------------------------------------------------------------------------- rows */

static bool is_of(const struct row *r, const struct layout *l)
{
    const size_t n = strlen(l->benchmark);
    return !strncmp(r->name, l->benchmark, n) && r->name[n] == '/';
}

static size_t group_length(const char *name) { return (size_t)(strrchr(name, '/') - name); }

static bool same_group(const struct row *a, const struct row *b)
{
    const size_t n = group_length(a->name);
    return group_length(b->name) == n && !strncmp(a->name, b->name, n);
}

/* Whether all cases of the benchmark have the same second part: then it is in the title, not in
 * every row. */
static bool one_set(const struct table *t, const struct layout *l)
{
    const struct row *first = NULL;
    for (size_t i = 0; i < t->n; i++) {
        if (!is_of(&t->row[i], l)) continue;
        if (!first) first = &t->row[i];
        const char *a = strchr(first->name, '/'), *b = strchr(t->row[i].name, '/');
        const size_t n = strcspn(a + 1, "/");
        if (strncmp(a, b, n + 1) || b[n + 1] != '/') return false;
    }
    return true;
}

/* Makes the labels of a benchmark, sees how wide they are, and prints its title. */
static void begin(struct table *t, const struct layout *l)
{
    const bool set = !strcmp(l->benchmark, "ops") && one_set(t, l);
    const char *set_name = NULL;
    t->layout = l;
    t->several = false;
    t->label_width = 0;
    for (size_t i = 0; i < t->n; i++) {
        struct row *r = &t->row[i];
        char label[600];
        if (!is_of(r, l)) continue;
        if (set && !set_name) set_name = strchr(r->name, '/') + 1;
        t->several |= i + 1 < t->n && same_group(r, &t->row[i + 1]);
        r->label = strdup(text_label(r->name, set ? 2 : 1, label, sizeof label));
        const size_t width = r->label ? text_width(r->label) : 0;
        t->label_width = width > t->label_width ? width : t->label_width;
    }
    size_t used = 0;
    bool ratio = false;
    for (const struct column *c = l->column; c < l->column + 6; c++) {
        if (!shown(t, c)) continue;
        used += c->width;
        ratio |= c->print == column_ratio;
    }
    if (t->label_width > SCREEN - used) t->label_width = SCREEN - used;
    char title[512], runs[200] = "";
    if (t->repetitions > 1)
        snprintf(runs, sizeof runs, "; medians of %zu, ± their standard deviation", t->repetitions);
    snprintf(title, sizeof title, "%s%s%.*s: %s%s%s", l->benchmark, set_name ? " " : "",
             set_name ? (int)strcspn(set_name, "/") : 0, set_name ? set_name : "", l->title, runs,
             ratio ? "; ×: times as long as the first contestant (95 % interval)" : "");
    putc('\n', t->out);
    text_wrap(t->out, title, 0, 0, 80);
}

/* Columns pad themselves; the last one's blanks are not worth printing. */
static void print_row(struct table *t, const struct row *r, const struct row *first)
{
    char label[4 * SCREEN + 1], *text = NULL;
    size_t size = 0;
    FILE *out = t->out, *line = open_memstream(&text, &size);
    if (!line) return;
    t->out = line;
    text_pad(line, text_clip(r->label ? r->label : r->name, t->label_width, label), t->label_width);
    for (const struct column *c = t->layout->column; !r->error && c < t->layout->column + 6; c++)
        if (shown(t, c)) c->print(t, r, first);
    t->out = out;
    if (!fclose(line)) {
        while (size && text[size - 1] == ' ' && !r->error) size--;
        fprintf(out, "%.*s%s", (int)size, text, r->error ? "  " : "\n");
        if (r->error) text_wrap(out, r->error, t->label_width + 2, t->label_width + 2, SCREEN);
    }
    free(text);
}

void table_group(struct table *t, size_t first, size_t end)
{
    table_progress_end(t);
    for (size_t l = 0; l < sizeof layouts / sizeof *layouts; l++)
        if (is_of(&t->row[first], &layouts[l]) && t->layout != &layouts[l]) begin(t, &layouts[l]);
    for (size_t i = first; i < end; i++) print_row(t, &t->row[i], &t->row[first]);
    t->done = end;
    fflush(t->out);
}

static struct row *find(struct table *t, const char *name)
{
    struct row *found = NULL;
    for (size_t i = 0; i < t->n; i++) {
        const size_t n = strlen(t->row[i].name);
        if (strncmp(name, t->row[i].name, n) || (name[n] && name[n] != '/')) continue;
        if (!found || n > strlen(found->name)) found = &t->row[i];
    }
    return found;
}

static bool make_room(struct row *r)
{
    if (r->n < r->room) return true;
    const size_t room = r->room ? 2 * r->room : 8;
    for (size_t f = 0; f < FIGURES; f++) {
        double *longer = realloc(r->value[f], room * sizeof *longer);
        if (!longer) return false;
        r->value[f] = longer;
    }
    r->room = room;
    return true;
}

static double seconds_of(const gb_run_report *run)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = { { "ns", 1e-9 }, { "us", 1e-6 }, { "ms", 1e-3 }, { "s", 1 } };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(run->unit, units[i].unit)) return run->real_time * units[i].seconds;
    return NAN;
}

void table_run(void *table, const gb_run_report *run)
{
    struct row *r = run->aggregate ? NULL : find(table, run->name);
    if (!r) return;
    if (run->error) {
        if (!r->error) r->error = strdup(run->error);
        return;
    }
    if (!make_room(r)) return;
    for (size_t f = 0; f < FIGURES; f++) r->value[f][r->n] = NAN;
    r->value[SECONDS][r->n] = seconds_of(run);
    for (size_t i = 0; i < run->n_counters; i++)
        for (size_t f = 1; f < FIGURES; f++)
            if (!strcmp(run->counters[i].name, counters[f]))
                r->value[f][r->n] = run->counters[i].value;
    r->multiplies = isfinite(r->value[SHARE][r->n]) &&
                    (!isfinite(r->value[GBS][r->n]) || strstr(run->label, "--conv") ||
                     strstr(run->label, "--ip"));
    r->n++;
}

/* ------------------------------------------------------------------------------------- the head */

void table_fact(struct table *t, const char *key, const char *value)
{
    struct fact *longer = realloc(t->fact, (t->n_facts + 1) * sizeof *longer);
    if (!longer) return;
    t->fact = longer;
    t->fact[t->n_facts++] = (struct fact){ strdup(key), strdup(value) };
}

static const char *fact(const struct table *t, const char *key)
{
    for (size_t i = 0; i < t->n_facts; i++)
        if (t->fact[i].key && t->fact[i].value && !strcmp(t->fact[i].key, key))
            return t->fact[i].value;
    return "?";
}

static bool seen(const char *value)
{
    return *value && strcmp(value, "?") && strcmp(value, "not visible");
}

void table_head(struct table *t)
{
    char line[1024], number[32];
    const bool virtual = !strcmp(fact(t, "virtual_machine"), "yes");
    const char *quota = fact(t, "cgroup_quota"), *governor = fact(t, "governor"),
               *environment = fact(t, "environment");
    snprintf(line, sizeof line,
             "%s%s, CPUs: %s%s%s; %s, FMA peak %s GFLOP/s on one thread, %s on %s", fact(t, "cpu"),
             virtual ? " (virtual)" : "", fact(t, "cpus"), strcmp(quota, "none") ? ", quota " : "",
             strcmp(quota, "none") ? quota : "", fact(t, "isa"), fact(t, "peak_gflops_1"),
             fact(t, "peak_gflops_all"), fact(t, "threads"));
    text_wrap(t->out, line, 0, 0, 80);
    snprintf(line, sizeof line,
             "L2 %s GB/s, DRAM %s GB/s, core to core and back %s%s%s; convoy %s, commit %s, %s",
             fact(t, "l2_read_gbs"), fact(t, "dram_read_gbs"),
             text_time(strtod(fact(t, "core_round_trip_ns"), NULL) * 1e-9, number),
             seen(governor) ? ", governor " : "", seen(governor) ? governor : "", fact(t, "convoy"),
             fact(t, "commit"), fact(t, "compiler"));
    text_wrap(t->out, line, 0, 0, 80);
    /* The module path is `convoy bench`'s own. */
    if (seen(environment) &&
        (strncmp(environment, "CVY_BACKEND_PATH=", 17) || strchr(environment, ' ')))
        text_wrap(t->out, environment, 0, 0, 80);
    fflush(t->out);
}

/* ------------------------------------------------------------------------------------- progress */

void table_progress(struct table *t, size_t at)
{
    char count[64], label[300], left[64] = "", number[CLI_NUMBER];
    const double now = bench_now();
    if (!(t->start > 0)) t->start = now;
    if (t->screen.shown && (at == t->now || !cli_screen_due(&t->screen))) return;
    t->now = at;
    if (t->done) { /* cases take much the same time each */
        const double each = (now - t->start) / (double)t->done;
        snprintf(left, sizeof left, "%s left", cli_time(each * (double)(t->n - t->done), number));
    }
    snprintf(count, sizeof count, "%zu of %zu", at + 1, t->n);
    const char *const parts[] = { count, text_label(t->row[at].name, 0, label, sizeof label),
                                  *left ? left : NULL, NULL };
    cli_screen_show(&t->screen, (double)t->done / (double)t->n, parts);
}

void table_progress_end(struct table *t) { cli_screen_clear(&t->screen); }

/* ----------------------------------------------------------------------------------------- life */

struct table *table_open(FILE *out, const char *const *names, size_t n, size_t repetitions)
{
    struct table *t = calloc(1, sizeof *t);
    if (!t || !(t->row = calloc(n + 1, sizeof *t->row))) {
        free(t);
        return NULL;
    }
    t->out = out;
    t->n = n;
    t->repetitions = repetitions;
    t->screen = cli_screen_open();
    for (size_t i = 0; i < n; i++) t->row[i].name = names[i];
    return t;
}

void table_close(struct table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->row[i].label);
        free(t->row[i].error);
        for (size_t f = 0; f < FIGURES; f++) free(t->row[i].value[f]);
    }
    for (size_t i = 0; i < t->n_facts; i++) {
        free(t->fact[i].key);
        free(t->fact[i].value);
    }
    free(t->fact);
    free(t->row);
    free(t);
}
