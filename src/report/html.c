/* The report: from records to a page. One function a section; a section that has no records is left
 * out. */
#include "report/html.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/chart.h"
#include "report/parts.h"
#include "report/stats.h"
#include "report/text.h"

enum { COLORS = 8, PHASES = 8 };

/* A record's name, taken apart: BENCHMARK/.../CONTESTANT, without what Google Benchmark adds behind
 * it. */
struct entry {
    const struct result *r;
    char *text; /* owned: the name, cut up */
    const char *benchmark, *who;
    char *group;  /* owned: everything before the contestant */
    size_t color; /* of the contestant */
};

struct page {
    FILE *out;
    const struct results *all;
    struct entry *entry;
    size_t n;
};

/* -------------------------------------------------------------------------------------- entries */

static bool read_entry(struct entry *e, const struct result *r)
{
    e->r = r;
    e->text = strdup(r->name);
    if (!e->text) return false;
    char *slash;
    while ((slash = strrchr(e->text, '/')) && text_is_setting(slash + 1)) *slash = '\0';
    e->group = strdup(e->text);
    if (!e->group) return false;
    slash = strrchr(e->group, '/');
    if (slash) *slash = '\0';
    e->who = slash ? e->text + (slash - e->group) + 1 : e->text;
    e->benchmark = e->text;
    e->text[strcspn(e->text, "/")] = '\0';
    return true;
}

static double value_of(const struct entry *e, const char *counter)
{
    return result_median(e->r, counter);
}

/* "batch:256" in the group -> 256; 0 if it is not there. */
static double part_of(const struct entry *e, const char *key)
{
    const size_t n = strlen(key);
    for (const char *at = strchr(e->group, '/'); at; at = strchr(at + 1, '/'))
        if (!strncmp(at + 1, key, n) && at[1 + n] == ':') return strtod(at + 2 + n, NULL);
    return 0;
}

/* The group without benchmark, for people: "lenet-bn · batch 256 · 2 threads". */
static void print_group(FILE *out, const struct entry *e, bool threads)
{
    const char *at = strchr(e->group, '/');
    for (bool first = true; at;) {
        const char *end = strchr(++at, '/');
        const int n = (int)(end ? (size_t)(end - at) : strlen(at));
        char part[256];
        snprintf(part, sizeof part, "%.*s", n, at);
        at = end;
        char *colon = strchr(part, ':');
        if (colon && !strncmp(part, "threads:", 8)) {
            if (!threads) continue;
            if (!first) fputs(" · ", out);
            fprintf(out, "%s thread%s", colon + 1, strcmp(colon + 1, "1") ? "s" : "");
        } else {
            if (!first) fputs(" · ", out);
            if (colon && !strncmp(part, "batch:", 6)) *colon = ' ';
            chart_text(out, part);
        }
        first = false;
    }
}

static bool has(const struct page *p, const char *benchmark)
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

static double counter_quantile(const struct result *r, const char *counter, double q)
{
    for (size_t c = 0; c < r->n_counters; c++)
        if (!strcmp(r->counter[c].name, counter))
            return stats_quantile(r->counter[c].value, r->runs, q);
    return NAN;
}

/* --------------------------------------------------------------------------------------- pieces */

static const char *time_text(double seconds, char text[32])
{
    if (isnan(seconds)) return "–";
    if (seconds >= 1) snprintf(text, 32, "%.3g s", seconds);
    else if (seconds >= 1e-3) snprintf(text, 32, "%.3g ms", seconds * 1e3);
    else if (seconds >= 1e-6) snprintf(text, 32, "%.3g µs", seconds * 1e6);
    else snprintf(text, 32, "%.3g ns", seconds * 1e9);
    return text;
}

static void section(struct page *p, const char *title, const char *about)
{
    fprintf(p->out, "<section><h2>%s</h2>\n<p class=\"about\">%s</p>\n", title, about);
}

static void section_end(struct page *p) { fputs("</section>\n", p->out); }

static void table(struct page *p, const char *const *heads)
{
    fputs("<div class=\"card\"><div class=\"scroll\"><table class=\"sortable\"><thead><tr>",
          p->out);
    for (; *heads; heads++) fprintf(p->out, "<th>%s</th>", *heads);
    fputs("</tr></thead><tbody>\n", p->out);
}

static void table_end(struct page *p) { fputs("</tbody></table></div></div>\n", p->out); }

static void cell(struct page *p, double v, const char *format)
{
    if (!isfinite(v)) {
        fputs("<td data-v=\"-1\">–</td>", p->out);
        return;
    }
    fprintf(p->out, "<td data-v=\"%.9g\">", v);
    fprintf(p->out, format, v);
    fputs("</td>", p->out);
}

static void time_cell(struct page *p, double seconds)
{
    char text[32];
    fprintf(p->out, "<td data-v=\"%.9g\">%s</td>", isnan(seconds) ? -1 : seconds,
            time_text(seconds, text));
}

static void who_cell(struct page *p, const struct entry *e)
{
    fprintf(p->out, "<td><span class=\"key\" style=\"--c:var(--c%zu)\"></span>", e->color);
    chart_text(p->out, e->who);
    fputs("</td>", p->out);
}

static void error_cell(struct page *p, const struct entry *e, int columns)
{
    fprintf(p->out, "<td class=\"bad\" colspan=\"%d\">", columns);
    chart_text(p->out, e->r->error);
    fputs("</td>", p->out);
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
        fputs("<tr><td>", p->out);
        print_group(p->out, e, threads);
        fputs("</td>", p->out);
        who_cell(p, e);
        if (e->r->runs) cells(p, e);
        else error_cell(p, e, columns);
        fputs("</tr>\n", p->out);
    }
    table_end(p);
}

/* Who others are measured against: the first contestant whose name begins with "native", or else
 * the first. */
static const struct entry *base_of(const struct entry *first, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strncmp(first[i].who, "native", 6) && first[i].r->runs) return &first[i];
    for (size_t i = 0; i < n; i++)
        if (first[i].r->runs) return &first[i];
    return first;
}

/* ----------------------------------------------------------------------------------------- head */

static void tile(struct page *p, const char *value, const char *what)
{
    fputs("<div class=\"tile\"><b>", p->out);
    chart_text(p->out, value);
    fputs("</b><span>", p->out);
    chart_text(p->out, what);
    fputs("</span></div>\n", p->out);
}

static void tiles(struct page *p)
{
    char value[64], what[400], number[32];
    const struct entry *best = NULL;
    double ratio = 0;
    const struct entry *loser = NULL;
    fputs("<div class=\"tiles\">\n", p->out);
    for (size_t first = 0, end; (end = next_group(p, "step", &first)) > first; first = end) {
        const struct entry *base = base_of(&p->entry[first], end - first);
        if (value_of(base, "examples/s") > (best ? value_of(best, "examples/s") : 0)) best = base;
        /* what did not run has no rate: NaN, which is not greater */
        for (size_t i = first; i < end; i++) {
            const double x = value_of(base, "examples/s") / value_of(&p->entry[i], "examples/s");
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
                     (int)strcspn(model + 1, "/"), model + 1, part_of(best, "batch"));
        tile(p, chart_number(value_of(best, "examples/s"), number), what);
        const double share = value_of(best, "% of peak");
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
        snprintf(what, sizeof what, "GFLOP/s, the peak at that time: %.20s threads, %.20s",
                 threads ? threads : "all", isa ? isa : "");
        tile(p, value, what);
    }
    if (trip && strtod(trip, NULL) > 0) {
        snprintf(value, sizeof value, "%.0f ns", strtod(trip, NULL));
        tile(p, value, "from core to core and back");
    }
    fputs("</div>\n", p->out);
}

static void head(struct page *p)
{
    const char *cpu = results_fact(p->all, 0, "cpu"), *date = results_fact(p->all, 0, "date"),
               *commit = results_fact(p->all, 0, "commit");
    fprintf(p->out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
            "name=\"viewport\" "
            "content=\"width=device-width, "
            "initial-scale=1\">\n<title>Convoy "
            "benchmarks</title>\n<style>\n%s</style>\n</head>\n<body>\n<header><div><h1>Convoy "
            "benchmarks</h1>\n<p>",
            report_parts[0].text);
    chart_text(p->out, cpu ? cpu : "unknown CPU");
    if (date) {
        fputs(" · ", p->out);
        chart_text(p->out, date);
    }
    if (commit) {
        fputs(" · commit ", p->out);
        chart_text(p->out, commit);
    }
    fputs("</p></div><button id=\"theme\" type=\"button\">Light / dark</button></header>\n<main>\n",
          p->out);
}

/* ---------------------------------------------------------------------------------------- steps */

static void ratio_note(struct page *p, const struct entry *e, const struct entry *base)
{
    if (e == base) return; /* a base has times where anybody has */
    /* Over times: "base is x times as fast". */
    const struct stats_ratio x =
        stats_ratio(base->r->seconds, base->r->runs, e->r->seconds, e->r->runs, 0);
    fputs("<small>", p->out);
    chart_text(p->out, base->who);
    fprintf(p->out, " is %.2f × as fast", x.ratio);
    if (isfinite(x.lo)) fprintf(p->out, " (%.2f – %.2f)", x.lo, x.hi);
    fputs("</small>", p->out);
}

static void bars(struct page *p, const struct entry *first, size_t n, const char *counter,
                 const char *unit)
{
    const struct entry *base = base_of(first, n);
    double most = 0;
    char number[32], lo[32], hi[32];
    for (size_t i = 0; i < n; i++) {
        const double top = counter_quantile(first[i].r, counter, 1);
        if (top > most) most = top;
    }
    fputs("<div class=\"card\"><h3>", p->out);
    print_group(p->out, first, true);
    fputs("</h3>\n", p->out);
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = &first[i];
        const double v = value_of(e, counter), from = counter_quantile(e->r, counter, 0),
                     to = counter_quantile(e->r, counter, 1);
        fputs("<div class=\"row\"><div class=\"name\">", p->out);
        chart_text(p->out, e->who);
        fputs("</div>", p->out);
        if (!(v > 0)) {
            fputs("<div class=\"track\"></div><div class=\"value bad\"><small>", p->out);
            if (e->r->runs) fprintf(p->out, "no %s", unit);
            else chart_text(p->out, e->r->error);
            fputs("</small></div></div>\n", p->out);
            continue;
        }
        fprintf(p->out,
                "<div class=\"track\" tabindex=\"0\" data-tip=\"%s %s, median of %zu\nfrom %s to "
                "%s\"><div "
                "class=\"fill\" style=\"--c:var(--c%zu);width:%.2f%%\"></div>",
                chart_number(v, number), unit, e->r->runs, chart_number(from, lo),
                chart_number(to, hi), e->color, 100 * v / most);
        if (to > from)
            fprintf(p->out, "<div class=\"range\" style=\"left:%.2f%%;width:%.2f%%\"></div>",
                    100 * from / most, 100 * (to - from) / most);
        fprintf(p->out, "</div><div class=\"value\">%s %s", chart_number(v, number), unit);
        const double share = value_of(e, "% of peak");
        if (isfinite(share)) fprintf(p->out, "<small>%.1f %% of peak</small>", share);
        ratio_note(p, e, base);
        fputs("</div></div>\n", p->out);
    }
    fputs("</div>\n", p->out);
}

static void steps(struct page *p)
{
    if (!has(p, "step")) return;
    section(p, "Training steps",
            "Forward, loss, backward and update of one batch. Bars are medians, whiskers the "
            "slowest and fastest "
            "repetition; contestants "
            "took turns. In brackets: the 95&nbsp;% interval of the ratio.");
    for (size_t first = 0, end; (end = next_group(p, "step", &first)) > first; first = end)
        bars(p, &p->entry[first], end - first, "examples/s", "examples/s");
    section_end(p);
}

static void forum_cells(struct page *p, const struct entry *e)
{
    cell(p, value_of(e, "loss"), "%.3f");
    cell(p, value_of(e, "train acc"), "%.3f");
    cell(p, value_of(e, "test acc"), "%.3f");
    cell(p, value_of(e, "examples/s"), "%.0f");
}

static void forum(struct page *p)
{
    if (!has(p, "forum")) return;
    section(p, "Training, by the forum's protocol",
            "Whole trainings on real images; the rate counts the steps, as the book does, not "
            "loading and evaluation.");
    for (size_t first = 0, end; (end = next_group(p, "forum", &first)) > first; first = end)
        bars(p, &p->entry[first], end - first, "examples/s", "examples/s");
    static const char *const heads[] = { "Training",      "Contestant", "Loss", "Train accuracy",
                                         "Test accuracy", "Examples/s", NULL };
    entry_table(p, "forum", heads, true, forum_cells);
    section_end(p);
}

/* -------------------------------------------------------------------------------------- scaling */

/* Whether there is a point to draw. */
static bool has_point(const struct entry *e)
{
    return value_of(e, "examples/s") > 0 && part_of(e, "batch") > 0;
}

/* The part of a scaling group between benchmark and batch: the model. */
static bool same_model(const struct entry *a, const struct entry *b)
{
    const char *x = strstr(a->group, "/batch:"), *y = strstr(b->group, "/batch:");
    return x && y && x - a->group == y - b->group &&
           !strncmp(a->group, b->group, (size_t)(x - a->group));
}

static bool same_curve(const struct entry *a, const struct entry *b)
{
    return same_model(a, b) && !strcmp(a->who, b->who) &&
           part_of(a, "threads") == part_of(b, "threads");
}

static int by_batch(const void *a, const void *b)
{
    const double x = part_of(*(const struct entry *const *)a, "batch"),
                 y = part_of(*(const struct entry *const *)b, "batch");
    return (x > y) - (x < y);
}

static void curve(struct page *p, struct chart *c, const struct entry *first, size_t color)
{
    const struct entry **at = malloc(p->n * sizeof *at);
    size_t n = 0;
    char number[32];
    if (!at) return;
    for (size_t i = 0; i < p->n; i++) {
        const struct entry *e = &p->entry[i];
        if (!strcmp(e->benchmark, "scaling") && same_curve(e, first) && has_point(e)) at[n++] = e;
    }
    qsort(at, n, sizeof *at, by_batch);
    fprintf(p->out,
            "<polyline fill=\"none\" stroke=\"var(--c%zu)\" stroke-width=\"2.25\" "
            "stroke-linejoin=\"round\" points=\"",
            color);
    for (size_t i = 0; i < n; i++)
        fprintf(p->out, "%.1f,%.1f ", chart_x(c, part_of(at[i], "batch")),
                chart_y(c, value_of(at[i], "examples/s")));
    fputs("\"/>", p->out);
    for (size_t i = 0; i < n; i++) {
        const double x = chart_x(c, part_of(at[i], "batch")), share = value_of(at[i], "% of peak");
        fprintf(p->out,
                "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"var(--c%zu)\" "
                "stroke-width=\"1.25\"/>",
                x, x, chart_y(c, counter_quantile(at[i]->r, "examples/s", 0)),
                chart_y(c, counter_quantile(at[i]->r, "examples/s", 1)), color);
        fprintf(p->out,
                "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\" fill=\"var(--c%zu)\" tabindex=\"0\" "
                "data-tip=\"",
                x, chart_y(c, value_of(at[i], "examples/s")), color);
        print_group(p->out, at[i], true);
        fputs("\n", p->out);
        chart_text(p->out, at[i]->who);
        fprintf(p->out, ": %s examples/s", chart_number(value_of(at[i], "examples/s"), number));
        if (isfinite(share)) fprintf(p->out, ", %.1f %% of peak", share);
        fputs("\"/>", p->out);
    }
    free(at);
}

static void scaling_chart(struct page *p, const struct entry *model)
{
    struct chart_axis x = { 1e9, 1, 2, "batch" }, y = { 0, 0, 0, "examples/s" };
    for (size_t i = 0; i < p->n; i++) {
        const struct entry *e = &p->entry[i];
        if (strcmp(e->benchmark, "scaling") || !same_model(e, model) || !has_point(e)) continue;
        x.lo = fmin(x.lo, part_of(e, "batch"));
        x.hi = fmax(x.hi, part_of(e, "batch"));
        y.hi = fmax(y.hi, counter_quantile(e->r, "examples/s", 1));
    }
    if (!(y.hi > 0)) return; /* nothing to draw: others() tells what there is */
    fputs("<div class=\"card\"><h3>", p->out);
    const char *part = strchr(model->group, '/') + 1; /* there is one: the batch's */
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(part, "/"), part);
    chart_text(p->out, name);
    fputs("</h3>", p->out);
    for (int narrow = 0; narrow < 2; narrow++) {
        struct chart c;
        size_t color = 0;
        chart_open(&c, p->out, narrow, x, y, "examples a second by batch size");
        for (size_t i = 0; i < p->n; i++) {
            const struct entry *e = &p->entry[i];
            bool first = !strcmp(e->benchmark, "scaling") && same_model(e, model);
            for (size_t k = 0; k < i && first; k++)
                first = strcmp(p->entry[k].benchmark, "scaling") || !same_curve(&p->entry[k], e);
            if (first) curve(p, &c, e, color++ % COLORS);
        }
        chart_close(&c);
    }
    fputs("<ul class=\"legend\">", p->out);
    for (size_t i = 0, color = 0; i < p->n; i++) {
        const struct entry *e = &p->entry[i];
        bool first = !strcmp(e->benchmark, "scaling") && same_model(e, model);
        for (size_t k = 0; k < i && first; k++)
            first = strcmp(p->entry[k].benchmark, "scaling") || !same_curve(&p->entry[k], e);
        if (!first) continue;
        fprintf(p->out, "<li><span class=\"key\" style=\"--c:var(--c%zu)\"></span>",
                color++ % COLORS);
        chart_text(p->out, e->who);
        fprintf(p->out, ", %.0f thread%s</li>", part_of(e, "threads"),
                part_of(e, "threads") == 1 ? "" : "s");
    }
    fputs("</ul></div>\n", p->out);
}

static void scaling(struct page *p)
{
    if (!has(p, "scaling")) return;
    section(p, "Scaling",
            "Training steps over batch sizes and numbers of threads. Vertical lines run from the "
            "slowest to the "
            "fastest repetition.");
    for (size_t i = 0; i < p->n; i++) {
        bool first = !strcmp(p->entry[i].benchmark, "scaling");
        for (size_t k = 0; k < i && first; k++)
            first =
                strcmp(p->entry[k].benchmark, "scaling") || !same_model(&p->entry[k], &p->entry[i]);
        if (first) scaling_chart(p, &p->entry[i]);
    }
    section_end(p);
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

static void phase_stack(struct page *p, const struct entry *e, const struct phase *all, size_t n,
                        double total)
{
    fputs("<div class=\"card\"><h3>", p->out);
    print_group(p->out, e, true);
    fputs(" · ", p->out);
    chart_text(p->out, e->who);
    fputs("</h3><div class=\"stack\">", p->out);
    for (size_t i = 0; i < n; i++) {
        fprintf(p->out, "<div style=\"--c:var(--c%zu);flex:%.4g 0 0\" data-tip=\"", all[i].rank,
                all[i].us / total * 1000);
        chart_text(p->out, all[i].name);
        fprintf(p->out, "\n%.1f µs, %.1f %%\"></div>", all[i].us, 100 * all[i].us / total);
    }
    fputs("</div><ul class=\"legend\">", p->out);
    double rest = total;
    for (size_t rank = 0; rank < PHASES; rank++)
        for (size_t i = 0; i < n; i++)
            if (all[i].rank == rank) {
                fprintf(p->out, "<li><span class=\"key\" style=\"--c:var(--c%zu)\"></span>", rank);
                chart_text(p->out, all[i].name);
                fprintf(p->out, " %.1f %%</li>", 100 * all[i].us / total);
                rest -= all[i].us;
            }
    if (n > PHASES)
        fprintf(p->out,
                "<li><span class=\"key\" style=\"--c:var(--c%d)\"></span>%zu others %.1f %%</li>",
                PHASES, n - PHASES, 100 * rest / total);
    fprintf(p->out,
            "</ul><details><summary>all %zu phases</summary><div class=\"scroll\"><table "
            "class=\"sortable\"><thead><tr><th>Phase</th><th>µs a step</th>"
            "<th>Share</th></tr></thead><tbody>\n",
            n);
    for (size_t i = 0; i < n; i++) {
        fputs("<tr><td>", p->out);
        chart_text(p->out, all[i].name);
        fputs("</td>", p->out);
        cell(p, all[i].us, "%.1f");
        cell(p, 100 * all[i].us / total, "%.1f %%");
        fputs("</tr>\n", p->out);
    }
    fputs("</tbody></table></div></details></div>\n", p->out);
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
            if (!any)
                section(
                    p, "Where a step's time goes",
                    "The phases of the compiled program from the batch's arrival (left) to the "
                    "last update "
                    "(right), time "
                    "summed over threads. A phase is one operator, or several that were fused.");
            any = true;
            phase_stack(p, &p->entry[i], all, n, total);
        }
        free(all);
    }
    if (any) section_end(p);
}

/* ------------------------------------------------------------------------------------ roofline and
 * operators */

static bool multiplies(const struct entry *e)
{
    return strstr(e->r->label, "--conv") || strstr(e->r->label, "--ip");
}

static void roof_lines(struct page *p, const struct chart *c)
{
    const char *peak_text = results_fact(p->all, 0, "peak_gflops_all");
    static const struct {
        const char *key, *name;
    } slopes[] = { { "l2_read_gbs", "L2" }, { "dram_read_gbs", "DRAM" } };
    const double peak = peak_text ? strtod(peak_text, NULL) : 0;
    if (!(peak > c->y.lo)) return;
    double corner = c->x.hi;
    for (size_t i = 0; i < 2; i++) {
        const char *text = results_fact(p->all, 0, slopes[i].key);
        const double gbs = text ? strtod(text, NULL) : 0;
        if (!(gbs > 0)) continue;
        const double x1 = fmin(peak / gbs, c->x.hi), x0 = fmax(c->x.lo, c->y.lo / gbs);
        if (x0 >= x1) continue;
        corner = fmin(corner, x1);
        fprintf(p->out, "<line class=\"slope\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                chart_x(c, x0), chart_x(c, x1), chart_y(c, x0 * gbs), chart_y(c, x1 * gbs));
        const double mark = sqrt(x0 * x1); /* L2 is above its line, memory below */
        fprintf(p->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s %.0f GB/s</text>",
                chart_x(c, mark) + (i ? 8 : -8), chart_y(c, mark * gbs) + (i ? 12 : -4),
                i ? "start" : "end", slopes[i].name, gbs);
    }
    fprintf(p->out, "<line class=\"roof\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
            chart_x(c, corner), chart_x(c, c->x.hi), chart_y(c, peak), chart_y(c, peak));
    fprintf(p->out,
            "<text class=\"strong\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">FMA peak %.0f "
            "GFLOP/s</text>",
            chart_x(c, c->x.hi) - 2, chart_y(c, peak) - 6, peak);
}

static void roofline(struct page *p)
{
    struct chart_axis x = { 1e30, 0, 2, "FLOP per byte that must be moved" },
                      y = { 1e30, 0, 10, "GFLOP/s" };
    const char *peak = results_fact(p->all, 0, "peak_gflops_all");
    for (size_t i = 0; i < p->n; i++) {
        const double g = value_of(&p->entry[i], "GFLOP/s"), b = value_of(&p->entry[i], "GB/s");
        if (strcmp(p->entry[i].benchmark, "ops") || !(g > 0) || !(b > 0)) continue;
        x.lo = fmin(x.lo, g / b);
        x.hi = fmax(x.hi, g / b);
        y.lo = fmin(y.lo, g);
        y.hi = fmax(y.hi, g);
    }
    if (!(x.hi > 0)) return;
    if (peak) y.hi = fmax(y.hi, 1.2 * strtod(peak, NULL));
    section(p, "Roofline",
            "Every operator and pass by how much arithmetic it has for each byte that it must "
            "move. The lines are what "
            "this machine can do: multiply-adds, "
            "and reading from L2 and from memory. Circles multiply (convolution, linear), diamonds "
            "go through the data "
            "once. Operators run alone here, on the caller's "
            "own layout: reorders are part of their time.");
    fputs("<div class=\"card\">", p->out);
    for (int narrow = 0; narrow < 2; narrow++) {
        struct chart c;
        chart_open(&c, p->out, narrow, x, y, "roofline");
        roof_lines(p, &c);
        for (size_t i = 0; i < p->n; i++) {
            const struct entry *e = &p->entry[i];
            const double g = value_of(e, "GFLOP/s"), b = value_of(e, "GB/s");
            char text[32];
            if (strcmp(e->benchmark, "ops") || !(g > 0) || !(b > 0)) continue;
            const double px = chart_x(&c, g / b), py = chart_y(&c, g);
            if (multiplies(e)) fprintf(p->out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\"", px, py);
            else
                fprintf(p->out,
                        "<rect x=\"%.1f\" y=\"%.1f\" width=\"7.5\" height=\"7.5\" "
                        "transform=\"rotate(45 %.1f %.1f)\"",
                        px - 3.75, py - 3.75, px, py);
            fprintf(p->out, " fill=\"var(--c%zu)\" fill-opacity=\"0.8\" tabindex=\"0\" data-tip=\"",
                    e->color);
            print_group(p->out, e, true);
            fputs("\n", p->out);
            chart_text(p->out, e->who);
            fprintf(p->out, ": %s, %.3g GFLOP/s, %.3g GB/s\"/>", time_text(value_of(e, ""), text),
                    g, b);
        }
        chart_close(&c);
    }
    fputs("<ul class=\"legend\">", p->out);
    for (size_t i = 0; i < p->n; i++) {
        const struct entry *e = &p->entry[i];
        bool first = !strcmp(e->benchmark, "ops") && e->r->runs;
        for (size_t k = 0; k < i && first; k++)
            first = strcmp(p->entry[k].benchmark, "ops") || strcmp(p->entry[k].who, e->who);
        if (!first) continue;
        fprintf(p->out, "<li><span class=\"key\" style=\"--c:var(--c%zu)\"></span>", e->color);
        chart_text(p->out, e->who);
        fputs("</li>", p->out);
    }
    fputs("</ul></div>\n", p->out);
    section_end(p);
}

static void ops_cells(struct page *p, const struct entry *e)
{
    const struct entry *first = e, *last = e;
    while (first > p->entry && !strcmp(first[-1].group, e->group)) first--;
    while (last < p->entry + p->n && !strcmp(last->group, e->group)) last++;
    const struct entry *base = base_of(first, (size_t)(last - first));
    time_cell(p, value_of(e, ""));
    cell(p, e == base ? NAN : value_of(e, "") / value_of(base, ""), "%.2f");
    cell(p, value_of(e, "GFLOP/s"), "%.1f");
    cell(p, value_of(e, "% of peak"), "%.1f");
    cell(p, value_of(e, "GB/s"), "%.1f");
    cell(p, value_of(e, "% reorder"), "%.0f");
}

static void ops(struct page *p)
{
    static const char *const heads[] = { "Operator", "Contestant", "Time",
                                         "× first",  "GFLOP/s",    "% of peak",
                                         "GB/s",     "% reorder",  NULL };
    if (!has(p, "ops")) return;
    roofline(p);
    section(p, "Operators",
            "Medians. \"× first\" is how many times as fast as this contestant the group's first "
            "one is; a click on a "
            "heading sorts.");
    entry_table(p, "ops", heads, false, ops_cells);
    section_end(p);
}

static void kernels_cells(struct page *p, const struct entry *e)
{
    time_cell(p, value_of(e, ""));
    cell(p, value_of(e, "GFLOP/s"), "%.1f");
    cell(p, value_of(e, "% of peak"), "%.1f");
    cell(p, value_of(e, "GB/s"), "%.1f");
}

static void kernels(struct page *p)
{
    static const char *const heads[] = { "Kernel",    "Table", "Time", "GFLOP/s",
                                         "% of peak", "GB/s",  NULL };
    if (!has(p, "kernels")) return;
    section(p, "Kernels",
            "One thread. The multiply kernels by register tile (output channels × registers of "
            "pixels) at the shapes "
            "of real layers, the others on 1 024 and "
            "16 384 floats an operand.");
    entry_table(p, "kernels", heads, true, kernels_cells);
    section_end(p);
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
        pictured &= strcmp(p->entry[i].benchmark, "scaling") || has_point(&p->entry[i]);
        if (pictured) continue;
        if (!any) {
            section(p, "Other benchmarks", "Medians.");
            table(p, heads);
        }
        any = true;
        const struct result *r = p->entry[i].r;
        fputs("<tr><td>", p->out);
        chart_text(p->out, r->name);
        fputs("</td>", p->out);
        if (!r->runs) error_cell(p, &p->entry[i], 4);
        else {
            time_cell(p, result_median(r, ""));
            time_cell(p, stats_quantile(r->seconds, r->runs, 0));
            time_cell(p, stats_quantile(r->seconds, r->runs, 1));
            cell(p, (double)r->runs, "%.0f");
        }
        fputs("</tr>\n", p->out);
    }
    if (any) {
        table_end(p);
        section_end(p);
    }
}

/* ---------------------------------------------------------------------------------- the machine */

static void peaks(struct page *p)
{
    static const char *const heads[] = { "What", "With", "GFLOP/s", "GB/s", "Time", NULL };
    if (!has(p, "peak")) return;
    table(p, heads);
    for (size_t i = 0; i < p->n; i++) {
        const struct entry *e = &p->entry[i];
        if (strcmp(e->benchmark, "peak")) continue;
        fputs("<tr><td>", p->out);
        print_group(p->out, e, true);
        fputs("</td><td>", p->out);
        chart_text(p->out, e->who);
        fputs("</td>", p->out);
        if (!e->r->runs) error_cell(p, e, 3);
        else {
            cell(p, value_of(e, "GFLOP/s"), "%.1f");
            cell(p, value_of(e, "GB/s"), "%.1f");
            time_cell(p, strstr(e->group, "round") ? value_of(e, "") : NAN);
        }
        fputs("</tr>\n", p->out);
    }
    table_end(p);
}

static void machine(struct page *p)
{
    section(p, "The machine", "What the figures were taken on, and what it could do at that time.");
    peaks(p);
    for (size_t f = 0; f < p->all->n_files; f++) {
        fputs("<div class=\"card\"><h3>", p->out);
        chart_text(p->out, p->all->file[f].path);
        fputs("</h3><table class=\"facts\"><tbody>\n", p->out);
        for (size_t i = 0; i < p->all->file[f].n_facts; i++) {
            const struct result_fact *fact = &p->all->file[f].fact[i];
            if (!*fact->value) continue;
            fputs("<tr><td>", p->out);
            for (const char *c = fact->key; *c; c++) {
                const char one[2] = { *c == '_' ? ' ' : *c, '\0' };
                chart_text(p->out, one);
            }
            fputs("</td><td>", p->out);
            chart_text(p->out, fact->value);
            fputs("</td></tr>\n", p->out);
        }
        fprintf(p->out,
                "</tbody></table><p class=\"note\"><button type=\"button\" "
                "data-save=\"results-%zu\">Save these "
                "results as JSON</button></p></div>\n",
                f);
    }
    section_end(p);
}

/* Inside <script>: '<' is written as JSON's escape, so nothing in a result can end the element. It
 * occurs in JSON's texts only, and blanks that do not are left out. */
static void raw(struct page *p)
{
    for (size_t f = 0; f < p->all->n_files; f++) {
        bool text = false, escaped = false;
        fprintf(p->out, "<script type=\"application/json\" id=\"results-%zu\">", f);
        for (const char *c = p->all->file[f].text; *c; c++) {
            if (*c == '"' && !escaped) text = !text;
            escaped = text && *c == '\\' && !escaped;
            if (*c == '<') fputs("\\u003c", p->out);
            else if (text || !strchr(" \t\r\n", *c)) putc(*c, p->out);
        }
        fputs("</script>\n", p->out);
    }
}

/* ------------------------------------------------------------------------------------- the page */

static int by_who(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->who, ((const struct entry *)b)->who);
}

/* Groups together, in the order in which they first appear: contestants of a group may come from
 * several files. Inside a group by name (they finish in random order), the one that others are
 * measured against first. */
static bool make_entries(struct page *p)
{
    p->entry = calloc(p->all->n + 1, sizeof *p->entry);
    bool *taken = calloc(p->all->n + 1, sizeof *taken);
    struct entry *read = calloc(p->all->n + 1, sizeof *read);
    bool good = p->entry && taken && read;
    for (size_t i = 0; good && i < p->all->n; i++) good = read_entry(&read[i], &p->all->at[i]);
    for (size_t i = 0; good && i < p->all->n; i++) {
        const size_t first = p->n;
        for (size_t k = i; k < p->all->n; k++)
            if (!taken[k] && !strcmp(read[k].group, read[i].group)) {
                taken[k] = true;
                p->entry[p->n++] = read[k];
            }
        if (p->n == first) continue;
        qsort(&p->entry[first], p->n - first, sizeof *p->entry, by_who);
        const size_t base = (size_t)(base_of(&p->entry[first], p->n - first) - p->entry);
        const struct entry e = p->entry[base];
        memmove(&p->entry[first + 1], &p->entry[first], (base - first) * sizeof e);
        p->entry[first] = e;
    }
    size_t next = 0;
    for (size_t i = 0; good && i < p->n; i++) {
        size_t k = 0;
        while (k < i && (strcmp(p->entry[k].who, p->entry[i].who) ||
                         strcmp(p->entry[k].benchmark, p->entry[i].benchmark)))
            k++;
        if (k < i) p->entry[i].color = p->entry[k].color;
        else {
            /* A colour for each contestant of a benchmark, in order of appearance. */
            next = 0;
            for (size_t j = 0; j < i; j++)
                if (!strcmp(p->entry[j].benchmark, p->entry[i].benchmark) &&
                    p->entry[j].color >= next)
                    next = p->entry[j].color + 1;
            p->entry[i].color = next;
        }
    }
    for (size_t i = 0; i < p->n; i++) p->entry[i].color %= COLORS;
    if (!good && read)
        for (size_t i = 0; i < p->all->n; i++) {
            free(read[i].text);
            free(read[i].group);
        }
    if (!good) p->n = 0;
    free(taken);
    free(read);
    return good;
}

enum results_status html_report(const char *path, const struct results *all, char *error,
                                size_t error_size)
{
    struct page p = { .all = all };
    if (!make_entries(&p)) {
        free(p.entry);
        snprintf(error, error_size, "%s: out of memory", path);
        return RESULTS_NOMEM;
    }
    enum results_status status = RESULTS_OK;
    p.out = fopen(path, "w");
    const int opened = errno;
    errno = 0;
    if (p.out) {
        head(&p);
        tiles(&p);
        steps(&p);
        forum(&p);
        scaling(&p);
        phases(&p);
        ops(&p);
        kernels(&p);
        others(&p);
        machine(&p);
        fputs(
            "<footer>Made by <code>convoy bench --html</code>. Medians; quote figures over several "
            "processes.</footer>\n</main>\n<div id=\"tip\" role=\"tooltip\"></div>\n",
            p.out);
        raw(&p);
        fprintf(p.out, "<script>\n%s</script>\n</body>\n</html>\n", report_parts[1].text);
    }
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
    for (size_t i = 0; i < p.n; i++) {
        free(p.entry[i].text);
        free(p.entry[i].group);
    }
    free(p.entry);
    return status;
}
