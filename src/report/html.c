/* The report of benchmarks: what is said, in which order. One function a section; a section that
 * has no records is left out. The HTML is report.html's. */
#include "report/html.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/page.h"
#include "report/parts.h"
#include "report/stats.h"
#include "report/template.h"
#include "report/text.h"

enum { PHASES = 8 };

/* --------------------------------------------------------------------------------------- tables */

bool page_has(const struct page *p, const char *benchmark)
{
    for (size_t i = 0; i < p->n; i++)
        if (!strcmp(p->entry[i].benchmark, benchmark)) return true;
    return false;
}

/* The next group of a benchmark: entries [*first, return value) of p->entry, which are sorted so
 * that groups are together. */
static size_t next_group(const struct page *p, const char *benchmark, size_t *first)
{
    while (*first < p->n && strcmp(p->entry[*first].benchmark, benchmark)) ++*first;
    size_t end = *first;
    while (end < p->n && !strcmp(p->entry[end].group, p->entry[*first].group)) end++;
    return end;
}

const char *page_time(double seconds, char text[32])
{
    if (isnan(seconds)) return "–";
    if (seconds >= 1) snprintf(text, 32, "%.3g s", seconds);
    else if (seconds >= 1e-3) snprintf(text, 32, "%.3g ms", seconds * 1e3);
    else if (seconds >= 1e-6) snprintf(text, 32, "%.3g µs", seconds * 1e6);
    else snprintf(text, 32, "%.3g ns", seconds * 1e9);
    return text;
}

static void table(struct page *p, const char *const *heads)
{
    template_part(p->out, "table", NULL, "heads", NULL);
    for (; *heads; heads++) template_put(p->out, "table-head", VALUES("text", *heads));
    template_part(p->out, "table", "heads", "rows", NULL);
}

static void table_end(struct page *p) { template_part(p->out, "table", "rows", NULL, NULL); }

static void row(struct page *p) { template_part(p->out, "table-row", NULL, "cells", NULL); }
static void row_end(struct page *p) { template_part(p->out, "table-row", "cells", NULL, NULL); }

static void text_cell(struct page *p, const char *text)
{
    template_put(p->out, "cell-text", VALUES("text", text));
}

/* The value that is sorted by, and what is shown. */
static void number_cell(struct page *p, double v, const char *text)
{
    template_put(
        p->out, "cell-number",
        VALUES("value", FORMAT("%.9g", isfinite(v) ? v : -1), "text", isfinite(v) ? text : "–"));
}

static void cell(struct page *p, double v, int digits)
{
    number_cell(p, v, FORMAT("%.*f", digits, v));
}

static void time_cell(struct page *p, double seconds)
{
    char text[32];
    number_cell(p, seconds, page_time(seconds, text));
}

static void error_cell(struct page *p, const struct entry *e, int columns)
{
    template_put(p->out, "cell-error",
                 VALUES("columns", FORMAT("%d", columns), "error", e->r->error));
}

void page_legend(struct page *p, size_t color, const char *what, const char *more)
{
    template_put(p->out, "legend-item",
                 VALUES("color", FORMAT("%zu", color), "what", what, "more", more));
}

/* A row for each entry of a benchmark: its group, its contestant, then `cells`, as many as there
 * are further heads. */
static void entry_table(struct page *p, const char *benchmark, const char *const *heads,
                        bool threads, void (*cells)(struct page *p, const struct entry *e))
{
    int columns = -2;
    for (const char *const *h = heads; *h; h++) columns++;
    table(p, heads);
    for (size_t i = 0; i < p->n; i++) {
        const struct entry *e = &p->entry[i];
        if (strcmp(e->benchmark, benchmark)) continue;
        row(p);
        text_cell(p, threads ? e->title : e->brief);
        template_put(p->out, "cell-contestant",
                     VALUES("color", FORMAT("%zu", e->color), "who", e->who));
        if (e->r->runs) cells(p, e);
        else error_cell(p, e, columns);
        row_end(p);
    }
    table_end(p);
}

/* ----------------------------------------------------------------------------------------- head */

static void tile(struct page *p, const char *value, const char *what)
{
    template_put(p->out, "tile", VALUES("value", value, "what", what));
}

static void tiles(struct page *p)
{
    char value[64], what[400], number[32];
    const struct entry *best = NULL;
    double ratio = 0;
    const struct entry *loser = NULL;
    template_part(p->out, "tiles", NULL, "tiles", NULL);
    for (size_t first = 0, end; (end = next_group(p, "step", &first)) > first; first = end) {
        const struct entry *base = entry_base(&p->entry[first], end - first);
        if (entry_median(base, "examples/s") > (best ? entry_median(best, "examples/s") : 0))
            best = base;
        /* what did not run has no rate: NaN, which is not greater */
        for (size_t i = first; i < end; i++) {
            const double x =
                entry_median(base, "examples/s") / entry_median(&p->entry[i], "examples/s");
            if (&p->entry[i] != base && x > ratio) {
                ratio = x;
                loser = &p->entry[i];
            }
        }
    }
    if (best) {
        const char *model = strchr(best->group, '/');
        snprintf(what, sizeof what, "examples a second");
        if (model)
            snprintf(what, sizeof what, "examples a second, training %.*s at batch %.0f",
                     (int)strcspn(model + 1, "/"), model + 1, entry_part(best, "batch"));
        tile(p, text_count(entry_median(best, "examples/s"), number), what);
        const double share = entry_median(best, "% of peak");
        if (isfinite(share)) {
            snprintf(value, sizeof value, "%.0f %%", share);
            tile(p, value, "of the multiply-add peak, as direct convolutions");
        }
    }
    if (loser) {
        snprintf(value, sizeof value, "%.1f ×", ratio);
        snprintf(what, sizeof what, "as fast as %.60s, the largest lead here", loser->who);
        tile(p, value, what);
    }
    const char *peak = results_fact(p->all, 0, "peak_gflops_all"),
               *trip = results_fact(p->all, 0, "core_round_trip_ns");
    if (peak) {
        const char *isa = results_fact(p->all, 0, "isa"),
                   *threads = results_fact(p->all, 0, "threads");
        snprintf(value, sizeof value, "%.40s", peak);
        snprintf(what, sizeof what, "GFLOP/s, the peak at that time: %.20s thread%s, %.20s",
                 threads ? threads : "all", threads && !strcmp(threads, "1") ? "" : "s",
                 isa ? isa : "");
        tile(p, value, what);
    }
    if (trip && strtod(trip, NULL) > 0) {
        snprintf(value, sizeof value, "%.0f ns", strtod(trip, NULL));
        tile(p, value, "from core to core and back");
    }
    template_part(p->out, "tiles", "tiles", NULL, NULL);
}

static void facts(struct page *p)
{
    const char *cpu = results_fact(p->all, 0, "cpu"), *date = results_fact(p->all, 0, "date"),
               *commit = results_fact(p->all, 0, "commit");
    template_text(p->out, cpu ? cpu : "unknown CPU");
    if (date) {
        template_text(p->out, " · ");
        template_text(p->out, date);
    }
    if (commit) {
        template_text(p->out, " · commit ");
        template_text(p->out, commit);
    }
}

/* ---------------------------------------------------------------------------------------- steps */

static void ratio_note(struct page *p, const struct entry *e, const struct entry *base)
{
    if (e == base) return; /* a base has times where anybody has */
    /* Over times: "base is x times as fast". */
    const struct stats_ratio x =
        stats_ratio(base->r->seconds, base->r->runs, e->r->seconds, e->r->runs, 0);
    template_put(p->out, "bar-ratio",
                 VALUES("who", base->who, "ratio", FORMAT("%.2f", x.ratio), "interval",
                        isfinite(x.lo) ? FORMAT(" (%.2f – %.2f)", x.lo, x.hi) : ""));
}

/* A rate per second, of the largest rate in its group. */
static void bar(struct page *p, const struct entry *e, const struct entry *base, double most)
{
    static const char counter[] = "examples/s";
    const double v = entry_median(e, counter), from = entry_quantile(e, counter, 0),
                 to = entry_quantile(e, counter, 1), share = entry_median(e, "% of peak");
    char rate[32], lo[32], hi[32];
    if (!(v > 0)) {
        template_put(
            p->out, "bar-missing",
            VALUES("who", e->who, "why", e->r->runs ? FORMAT("no %s", counter) : e->r->error));
        return;
    }
    text_count(v, rate);
    template_part(p->out, "bar", NULL, "range",
                  VALUES("who", e->who, "rate", rate, "unit", counter, "runs",
                         FORMAT("%zu", e->r->runs), "from", text_count(from, lo), "to",
                         text_count(to, hi), "color", FORMAT("%zu", e->color), "width",
                         FORMAT("%.2f", 100 * v / most)));
    if (to > from)
        template_put(p->out, "bar-range",
                     VALUES("left", FORMAT("%.2f", 100 * from / most), "width",
                            FORMAT("%.2f", 100 * (to - from) / most)));
    template_part(p->out, "bar", "range", "notes", VALUES("rate", rate, "unit", counter));
    if (isfinite(share)) template_put(p->out, "bar-share", VALUES("share", FORMAT("%.1f", share)));
    ratio_note(p, e, base);
    template_part(p->out, "bar", "notes", NULL, NULL);
}

/* The groups of a benchmark, each with its contestants' rates. */
static void bars(struct page *p, const char *benchmark)
{
    for (size_t first = 0, end; (end = next_group(p, benchmark, &first)) > first; first = end) {
        const struct entry *base = entry_base(&p->entry[first], end - first);
        double most = 0;
        for (size_t i = first; i < end; i++)
            most = fmax(most, entry_quantile(&p->entry[i], "examples/s", 1));
        template_part(p->out, "bars", NULL, "bars", VALUES("group", p->entry[first].title));
        for (size_t i = first; i < end; i++) bar(p, &p->entry[i], base, most);
        template_part(p->out, "bars", "bars", NULL, NULL);
    }
}

static void steps(struct page *p)
{
    bool rivals = false;
    if (!page_has(p, "step")) return;
    for (size_t first = 0, end; (end = next_group(p, "step", &first)) > first; first = end)
        rivals |= end - first > 1;
    template_part(p->out, "steps", NULL, "rivals", NULL);
    if (rivals) template_put(p->out, "steps-rivals", NULL);
    template_part(p->out, "steps", "rivals", "body", NULL);
    bars(p, "step");
    template_part(p->out, "steps", "body", NULL, NULL);
}

static void forum_cells(struct page *p, const struct entry *e)
{
    cell(p, entry_median(e, "loss"), 3);
    cell(p, entry_median(e, "train acc"), 3);
    cell(p, entry_median(e, "test acc"), 3);
    cell(p, entry_median(e, "examples/s"), 0);
}

static void forum(struct page *p)
{
    static const char *const heads[] = { "Training",      "Contestant", "Loss", "Train accuracy",
                                         "Test accuracy", "Examples/s", NULL };
    if (!page_has(p, "forum")) return;
    template_part(p->out, "forum", NULL, "body", NULL);
    bars(p, "forum");
    entry_table(p, "forum", heads, true, forum_cells);
    template_part(p->out, "forum", "body", NULL, NULL);
}

/* --------------------------------------------------------------------------------------- phases */

struct phase {
    const char *name;
    double us;
    size_t order, rank;
};

static int by_time(const void *a, const void *b)
{
    const double x = ((const struct phase *)a)->us, y = ((const struct phase *)b)->us;
    return (x < y) - (x > y);
}

static int by_order(const void *a, const void *b)
{
    const size_t x = ((const struct phase *)a)->order, y = ((const struct phase *)b)->order;
    return (x > y) - (x < y);
}

/* The phases of a step, in order; the longest get a rank below PHASES, which is their colour. */
static struct phase *phases_of(const struct entry *e, size_t *n, double *total)
{
    struct phase *all = malloc((e->r->n_counters + 1) * sizeof *all);
    *n = 0;
    *total = 0;
    for (size_t c = 0; all && c < e->r->n_counters; c++) {
        static const char head[] = "phase ";
        const char *name = e->r->counter[c].name;
        if (strncmp(name, head, strlen(head))) continue;
        char *rest;
        const size_t order = strtoul(name + strlen(head), &rest, 10);
        if (rest[0] != ' ' || !rest[1]) continue;
        const double us = stats_median(e->r->counter[c].value, e->r->runs);
        if (!isfinite(us)) continue;
        all[(*n)++] = (struct phase){ rest + 1, us, order, 0 };
        *total += us;
    }
    if (all) {
        qsort(all, *n, sizeof *all, by_time);
        for (size_t i = 0; i < *n; i++) all[i].rank = i < PHASES ? i : PHASES;
        qsort(all, *n, sizeof *all, by_order);
    }
    return all;
}

/* The longest by name and share, then all others together. */
static void phase_legend(struct page *p, const struct phase *all, size_t n, double total)
{
    double rest = total;
    for (size_t rank = 0; rank < PHASES; rank++)
        for (size_t i = 0; i < n; i++)
            if (all[i].rank == rank) {
                page_legend(p, rank, all[i].name, FORMAT(" %.1f %%", 100 * all[i].us / total));
                rest -= all[i].us;
            }
    if (n > PHASES)
        page_legend(p, PHASES, FORMAT("%zu", n - PHASES),
                    FORMAT(" others %.1f %%", 100 * rest / total));
}

static void phase_stack(struct page *p, const struct entry *e, const struct phase *all, size_t n,
                        double total)
{
    template_part(p->out, "phases-card", NULL, "stack", VALUES("group", e->title, "who", e->who));
    for (size_t i = 0, end; i < n; i = end) { /* neighbours without a colour are one */
        double us = all[i].us;
        for (end = i + 1; end < n && all[i].rank == PHASES && all[end].rank == PHASES; end++)
            us += all[end].us;
        template_put(p->out, "phase",
                     VALUES("color", FORMAT("%zu", all[i].rank), "share",
                            FORMAT("%.4g", us / total * 1000), "name",
                            end > i + 1 ? FORMAT("%zu others", end - i) : all[i].name, "us",
                            FORMAT("%.1f", us), "percent", FORMAT("%.1f", 100 * us / total)));
    }
    template_part(p->out, "phases-card", "stack", "legend", NULL);
    phase_legend(p, all, n, total);
    template_part(p->out, "phases-card", "legend", "rows", VALUES("count", FORMAT("%zu", n)));
    for (size_t i = 0; i < n; i++) {
        const double percent = 100 * all[i].us / total;
        row(p);
        text_cell(p, all[i].name);
        cell(p, all[i].us, 1);
        number_cell(p, percent, FORMAT("%.1f %%", percent));
        row_end(p);
    }
    template_part(p->out, "phases-card", "rows", NULL, NULL);
}

static void phases(struct page *p)
{
    bool any = false;
    for (size_t i = 0; i < p->n; i++) {
        size_t n;
        double total;
        if (strcmp(p->entry[i].benchmark, "step")) continue;
        struct phase *all = phases_of(&p->entry[i], &n, &total);
        if (all && n && total > 0) {
            if (!any) template_part(p->out, "phases", NULL, "body", NULL);
            any = true;
            phase_stack(p, &p->entry[i], all, n, total);
        }
        free(all);
    }
    if (any) template_part(p->out, "phases", "body", NULL, NULL);
}

/* ------------------------------------------------------------------------ operators and kernels */

static void ops_cells(struct page *p, const struct entry *e)
{
    const struct entry *first = e, *last = e;
    while (first > p->entry && !strcmp(first[-1].group, e->group)) first--;
    while (last < p->entry + p->n && !strcmp(last->group, e->group)) last++;
    const struct entry *base = entry_base(first, (size_t)(last - first));
    time_cell(p, entry_median(e, ""));
    cell(p, e == base ? NAN : entry_median(e, "") / entry_median(base, ""), 2);
    cell(p, entry_median(e, "GFLOP/s"), 1);
    cell(p, entry_median(e, "% of peak"), 1);
    cell(p, entry_median(e, "GB/s"), 1);
    cell(p, entry_median(e, "% reorder"), 0);
}

static void ops(struct page *p)
{
    static const char *const heads[] = { "Operator", "Contestant", "Time",
                                         "× first",  "GFLOP/s",    "% of peak",
                                         "GB/s",     "% reorder",  NULL };
    if (!page_has(p, "ops")) return;
    page_roofline(p);
    template_part(p->out, "operators", NULL, "body", NULL);
    entry_table(p, "ops", heads, false, ops_cells);
    template_part(p->out, "operators", "body", NULL, NULL);
}

static void kernels_cells(struct page *p, const struct entry *e)
{
    time_cell(p, entry_median(e, ""));
    cell(p, entry_median(e, "GFLOP/s"), 1);
    cell(p, entry_median(e, "% of peak"), 1);
    cell(p, entry_median(e, "GB/s"), 1);
}

static void kernels(struct page *p)
{
    static const char *const heads[] = { "Kernel",    "Table", "Time", "GFLOP/s",
                                         "% of peak", "GB/s",  NULL };
    if (!page_has(p, "kernels")) return;
    template_part(p->out, "kernels", NULL, "body", NULL);
    entry_table(p, "kernels", heads, true, kernels_cells);
    template_part(p->out, "kernels", "body", NULL, NULL);
}

static void others(struct page *p)
{
    static const char *const known[] = { "step", "scaling", "ops", "kernels", "peak", "forum" },
                             *const heads[] = { "Benchmark", "Time",        "Lowest",
                                                "Highest",   "Repetitions", NULL };
    bool any = false;
    for (size_t i = 0; i < p->n; i++) {
        bool pictured = false;
        for (size_t k = 0; k < 6; k++) pictured |= !strcmp(p->entry[i].benchmark, known[k]);
        pictured &= strcmp(p->entry[i].benchmark, "scaling") || page_has_point(&p->entry[i]);
        if (pictured) continue;
        if (!any) {
            template_part(p->out, "others", NULL, "body", NULL);
            table(p, heads);
        }
        any = true;
        const struct result *r = p->entry[i].r;
        row(p);
        text_cell(p, r->name);
        if (!r->runs) error_cell(p, &p->entry[i], 4);
        else {
            time_cell(p, result_median(r, ""));
            time_cell(p, stats_quantile(r->seconds, r->runs, 0));
            time_cell(p, stats_quantile(r->seconds, r->runs, 1));
            cell(p, (double)r->runs, 0);
        }
        row_end(p);
    }
    if (any) {
        table_end(p);
        template_part(p->out, "others", "body", NULL, NULL);
    }
}

/* ---------------------------------------------------------------------------------- the machine */

static void peaks(struct page *p)
{
    static const char *const heads[] = { "What", "With", "GFLOP/s", "GB/s", "Time", NULL };
    if (!page_has(p, "peak")) return;
    table(p, heads);
    for (size_t i = 0; i < p->n; i++) {
        const struct entry *e = &p->entry[i];
        if (strcmp(e->benchmark, "peak")) continue;
        row(p);
        text_cell(p, e->title);
        text_cell(p, e->who);
        if (!e->r->runs) error_cell(p, e, 3);
        else {
            cell(p, entry_median(e, "GFLOP/s"), 1);
            cell(p, entry_median(e, "GB/s"), 1);
            time_cell(p, strstr(e->group, "round") ? entry_median(e, "") : NAN);
        }
        row_end(p);
    }
    table_end(p);
}

/* Facts whose keys are no words, or whose values have a unit. NULL: not told, since another one
 * says it better, or since it is not about this program. */
static const struct {
    const char *key, *name, *unit;
} told[] = { { "caches", NULL, NULL },
             { "num_cpus", NULL, NULL },
             { "library_build_type", NULL, NULL }, /* Google Benchmark's own */
             { "mhz_per_cpu", "clock", " MHz" },
             { "load_avg", "load average", "" },
             { "isa", "instruction set", "" },
             { "peak_gflops_1", "multiply-adds, one thread", " GFLOP/s" },
             { "peak_gflops_all", "multiply-adds, all threads", " GFLOP/s" },
             { "l2_read_gbs", "reading from L2", " GB/s" },
             { "dram_read_gbs", "reading from memory", " GB/s" },
             { "core_round_trip_ns", "from core to core and back", " ns" } };

static void file_facts(struct page *p, const struct result_file *file)
{
    for (size_t i = 0; i < file->n_facts; i++) {
        const struct result_fact *fact = &file->fact[i];
        const char *name = fact->key, *unit = "";
        for (size_t k = 0; k < sizeof told / sizeof *told; k++)
            if (!strcmp(told[k].key, fact->key)) {
                name = told[k].name;
                unit = told[k].unit;
            }
        if (!name || !*fact->value || (*unit && !strcmp(fact->value, "0"))) continue; /* unknown */
        template_part(p->out, "fact", NULL, "key", NULL);
        for (const char *c = name; *c; c++)
            template_text(p->out, (const char[]){ *c == '_' ? ' ' : *c, '\0' });
        template_part(p->out, "fact", "key", "value", NULL);
        const bool list = *fact->value == '['; /* of numbers: without JSON's brackets */
        for (const char *c = fact->value; *c; c++) {
            if (list && strchr("[]", *c)) continue;
            template_text(p->out, (const char[]){ *c, list && *c == ',' ? ' ' : '\0', '\0' });
        }
        template_part(p->out, "fact", "value", NULL, VALUES("unit", unit));
    }
}

static void machine(struct page *p)
{
    template_part(p->out, "machine", NULL, "body", NULL);
    peaks(p);
    for (size_t f = 0; f < p->all->n_files; f++) {
        template_part(p->out, "file", NULL, "facts", VALUES("path", p->all->file[f].path));
        file_facts(p, &p->all->file[f]);
        template_part(p->out, "file", "facts", NULL, VALUES("number", FORMAT("%zu", f)));
    }
    template_part(p->out, "machine", "body", NULL, NULL);
}

/* Inside <script>: '<' is written as JSON's escape, so nothing in a result can end the element. It
 * occurs in JSON's texts only, and blanks that do not are left out. */
static void raw(struct page *p)
{
    for (size_t f = 0; f < p->all->n_files; f++) {
        bool text = false, escaped = false;
        template_part(p->out, "data", NULL, "json", VALUES("number", FORMAT("%zu", f)));
        for (const char *c = p->all->file[f].text; *c; c++) {
            if (*c == '"' && !escaped) text = !text;
            escaped = text && *c == '\\' && !escaped;
            if (*c == '<') fputs("\\u003c", p->out);
            else if (text || !strchr(" \t\r\n", *c)) putc(*c, p->out);
        }
        template_part(p->out, "data", "json", NULL, NULL);
    }
}

/* ------------------------------------------------------------------------------------- the page */

static void write_page(struct page *p)
{
    template_part(p->out, "page", NULL, "style", VALUES("title", "Convoy benchmarks"));
    fputs(report_parts[REPORT_STYLE].text, p->out);
    template_part(p->out, "page", "style", "heading", NULL);
    template_text(p->out, "Convoy benchmarks");
    template_part(p->out, "page", "heading", "facts", NULL);
    facts(p);
    template_part(p->out, "page", "facts", "sections", NULL);
    tiles(p);
    steps(p);
    forum(p);
    page_scaling(p);
    phases(p);
    ops(p);
    kernels(p);
    others(p);
    machine(p);
    template_part(p->out, "page", "sections", "data",
                  VALUES("command", "convoy bench --html", "remark",
                         " Medians; quote figures over several processes."));
    raw(p);
    template_part(p->out, "page", "data", "script", NULL);
    fputs(report_parts[REPORT_SCRIPT].text, p->out);
    template_part(p->out, "page", "script", NULL, NULL);
}

enum results_status html_report(const char *path, const struct results *all, char *error,
                                size_t error_size)
{
    struct page p = { .all = all, .entry = entries_make(all), .n = all->n };
    if (!p.entry) {
        snprintf(error, error_size, "%s: out of memory", path);
        return RESULTS_NOMEM;
    }
    enum results_status status = RESULTS_OK;
    p.out = fopen(path, "w");
    const int opened = errno;
    errno = 0;
    if (p.out) write_page(&p);
    /* Medians and curves that had no memory are missing; whoever asked for it has left that in
     * errno. */
    if (errno == ENOMEM) {
        snprintf(error, error_size, "%s: out of memory", path);
        status = RESULTS_NOMEM;
    }
    const bool failed = p.out && ferror(p.out);
    if (!p.out || fclose(p.out) || failed) {
        snprintf(error, error_size, "%s: cannot write: %s", path, strerror(p.out ? errno : opened));
        status = RESULTS_IO;
    }
    entries_free(p.entry, p.n);
    return status;
}
