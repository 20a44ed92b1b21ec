/* A contest's tables and its JSON. */
#include "report/contest.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/chart.h"
#include "report/parts.h"
#include "report/stats.h"

static const char *const part_names[] = {"forward", "backward", "update", "reorder"};

static double median(const struct contest_cell *cell) { return cell->n ? stats_median(cell->seconds, cell->n) : NAN; }

/* Half the distance of the quartiles, of the median. */
static double spread(const double *v, size_t n)
{
    return (stats_quantile(v, n, 0.75) - stats_quantile(v, n, 0.25)) / 2 / stats_median(v, n);
}

static double total(const struct contest *c, size_t side)
{
    double sum = 0;
    for (size_t r = 0; r < c->n_rows; r++)
        if (c->row[r].cell[side].n) sum += median(&c->row[r].cell[side]);
    return sum;
}

/* ------------------------------------------------------------------------------------------------ tables */

#define NAME_WIDTH 44

/* The name, its middle left out where it is long. */
static const char *short_name(const char *name, char out[NAME_WIDTH + 1])
{
    size_t n = strlen(name), half = NAME_WIDTH / 2 - 1;
    if (n <= NAME_WIDTH) return strcpy(out, name);
    snprintf(out, NAME_WIDTH + 1, "%.*s...%s", (int)half, name, name + n - (NAME_WIDTH - 3 - half));
    return out;
}

static void print_row(FILE *out, const struct contest *c, const struct contest_row *row, size_t side)
{
    const struct contest_cell *cell = &row->cell[side];
    char name[NAME_WIDTH + 1];
    if (!cell->n) return;
    double t = median(cell);
    fprintf(out, "%-*s %9.1f %5.1f %6.1f", NAME_WIDTH, short_name(row->name, name), t * 1e6, spread(cell->seconds, cell->n) * 100,
            t / total(c, side) * 100);
    if (row->flops > 0) fprintf(out, " %8.1f %6.1f", row->flops / t * 1e-9, row->flops / t / c->peak * 100);
    else fprintf(out, " %8s %6s", "", "");
    if (row->bytes > 0) fprintf(out, " %7.1f", row->bytes / t * 1e-9);
    else fprintf(out, " %7s", "");
    const struct contest_distance *d = &cell->distance;
    if (*d->tensor)
        fprintf(out, "  %9.2g %9.2g %9.3g  %s[%zu,%zu,%zu,%zu]", d->abs, d->rel, d->ulp, d->tensor, d->worst[0], d->worst[1],
                d->worst[2], d->worst[3]);
    fputc('\n', out);
}

static void print_side(FILE *out, const struct contest *c, size_t side)
{
    const struct contest_side *s = &c->side[side];
    double plain = stats_median(s->plain, s->n), clocked = stats_median(s->clocked, s->n), sum = total(c, side);
    fprintf(out, "\n%s\n%-*s %9s %5s %6s %8s %6s %7s  %9s %9s %9s  %s\n", s->name, NAME_WIDTH, "", "us", "+-%", "share%", "GFLOP/s",
            "%peak", "GB/s", "max abs", "max rel", "ulp there", "worst at");
    for (int part = CONTEST_FORWARD; part <= CONTEST_REORDER; part++) {
        bool any = false;
        for (size_t r = 0; r < c->n_rows; r++) any |= (int)c->row[r].part == part && c->row[r].cell[side].n;
        if (any) fprintf(out, "-- %s\n", part_names[part]);
        for (size_t r = 0; r < c->n_rows; r++)
            if ((int)c->row[r].part == part) print_row(out, c, &c->row[r], side);
    }
    fprintf(out, "%-*s %9.1f %5s %6.1f\n", NAME_WIDTH, "-- all of these", sum * 1e6, "", 100.0);
    fprintf(out, "%-*s %9.1f   (waiting for each other, starting threads)\n", NAME_WIDTH, "-- the rest of the step",
            (clocked - sum) * 1e6);
    fprintf(out, "%-*s %9.1f %5.1f %17.1f examples/s\n", NAME_WIDTH, "-- a step with clocks", clocked * 1e6,
            spread(s->clocked, s->n) * 100, (double)c->batch / clocked);
    fprintf(out, "%-*s %9.1f %5.1f %17.1f examples/s\n", NAME_WIDTH, "-- a step without", plain * 1e6, spread(s->plain, s->n) * 100,
            (double)c->batch / plain);
}

struct verdict { struct stats_ratio ratio; double p; bool real, few; /* few: p cannot fall below 0.05, whatever they are */ };

/* How many times as long b took as a. */
static struct verdict judge(const double *a, size_t n_a, const double *b, size_t n_b)
{
    struct verdict v = {stats_ratio(a, n_a, b, n_b), stats_mann_whitney(a, n_a, b, n_b), false, n_a < 4 || n_b < 4};
    v.real = v.p < 0.05 && (v.ratio.lo > 1 || v.ratio.hi < 1);
    return v;
}

static void print_verdict(FILE *out, const char *name, const struct contest *c, size_t rival, const struct verdict *v)
{
    char text[NAME_WIDTH + 1];
    double ratio = v->ratio.ratio;
    fprintf(out, "%-*s %6.2f  [%.2f, %.2f]  p %.3f  ", NAME_WIDTH, short_name(name, text), ratio, v->ratio.lo, v->ratio.hi, v->p);
    if (v->few) fprintf(out, "too few steps to tell: at least 4\n");
    else if (!v->real) fprintf(out, "no difference beyond the noise\n");
    else fprintf(out, "%s is %.2f times as fast\n", ratio > 1 ? c->side[0].name : c->side[rival].name, ratio > 1 ? ratio : 1 / ratio);
}

static void print_verdicts(FILE *out, const struct contest *c, size_t rival)
{
    const struct contest_side *a = &c->side[0], *b = &c->side[rival];
    size_t wins[2] = {0, 0}, even = 0;
    fprintf(out, "\nverdict: time of %s / time of %s, 95 %% interval, Mann-Whitney p\n", b->name, a->name);
    for (size_t r = 0; r < c->n_rows; r++) {
        const struct contest_cell *x = &c->row[r].cell[0], *y = &c->row[r].cell[rival];
        if (!x->n || !y->n) continue;
        struct verdict v = judge(x->seconds, x->n, y->seconds, y->n);
        if (!v.real) even++;
        else wins[v.ratio.ratio < 1]++;
        print_verdict(out, c->row[r].name, c, rival, &v);
    }
    struct verdict v = judge(a->plain, a->n, b->plain, b->n);
    print_verdict(out, "the whole step", c, rival, &v);
    fprintf(out, "%s is faster in %zu rows, %s in %zu, neither in %zu\n", a->name, wins[0], b->name, wins[1], even);
}

void contest_print(FILE *out, const struct contest *c)
{
    fprintf(out, "%s, batch %zu, %zu threads, %s on %s; FMA peak %.1f GFLOP/s\n", c->model, c->batch, c->threads, c->isa, c->cpu,
            c->peak * 1e-9);
    fprintf(out, "numbers: one step of %zu images from the same weights, against the reference in double; losses", c->check_batch);
    for (size_t i = 0; i < c->n_sides; i++) fprintf(out, " %s %.9g", c->side[i].name, c->side[i].loss);
    fputc('\n', out);
    for (size_t i = 0; i < c->n_sides; i++) print_side(out, c, i);
    for (size_t i = 1; i < c->n_sides; i++) print_verdicts(out, c, i);
}

/* ------------------------------------------------------------------------------------------------ JSON */

static json_t *numbers(const double *v, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_real(v[i]));
    return list;
}

/* JSON has no infinity and no NaN. */
static json_t *real_or_null(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static json_t *cell_json(const struct contest *c, const struct contest_row *row, size_t side)
{
    const struct contest_cell *cell = &row->cell[side];
    const struct contest_distance *d = &cell->distance;
    double t = median(cell);
    json_t *j = json_pack("{s:s, s:f, s:f, s:o, s:s}", "backend", c->side[side].name, "seconds", t, "share", t / total(c, side), "samples",
                          numbers(cell->seconds, cell->n), "kernels", cell->kernels);
    if (row->flops > 0) json_object_set_new(j, "flops_per_second", json_real(row->flops / t));
    if (row->flops > 0) json_object_set_new(j, "of_peak", json_real(row->flops / t / c->peak));
    if (row->bytes > 0) json_object_set_new(j, "bytes_per_second", json_real(row->bytes / t));
    if (*d->tensor)
        json_object_set_new(j, "distance",
                            json_pack("{s:s, s:o, s:o, s:o, s:[i,i,i,i]}", "tensor", d->tensor, "max_abs", real_or_null(d->abs), "max_rel",
                                      real_or_null(d->rel), "ulp", real_or_null(d->ulp), "at", (int)d->worst[0], (int)d->worst[1],
                                      (int)d->worst[2], (int)d->worst[3]));
    return j;
}

static json_t *row_json(const struct contest *c, const struct contest_row *row)
{
    json_t *cells = json_array(), *verdicts = json_array();
    for (size_t i = 0; i < c->n_sides; i++)
        if (row->cell[i].n) json_array_append_new(cells, cell_json(c, row, i));
    for (size_t i = 1; i < c->n_sides; i++) {
        const struct contest_cell *a = &row->cell[0], *b = &row->cell[i];
        if (!a->n || !b->n) continue;
        struct verdict v = judge(a->seconds, a->n, b->seconds, b->n);
        json_array_append_new(verdicts, json_pack("{s:s, s:s, s:f, s:[f,f], s:f, s:b}", "of", c->side[0].name, "against", c->side[i].name,
                                                  "ratio", v.ratio.ratio, "interval", v.ratio.lo, v.ratio.hi, "p", v.p, "real", v.real));
    }
    return json_pack("{s:s, s:s, s:f, s:f, s:o, s:o}", "name", row->name, "part", part_names[row->part], "flops", row->flops, "bytes",
                     row->bytes, "backends", cells, "verdicts", verdicts);
}

char *contest_json(const struct contest *c)
{
    json_t *sides = json_array(), *rows = json_array();
    for (size_t i = 0; i < c->n_sides; i++) {
        const struct contest_side *s = &c->side[i];
        double plain = stats_median(s->plain, s->n), clocked = stats_median(s->clocked, s->n);
        json_array_append_new(sides, json_pack("{s:s, s:o, s:f, s:f, s:f, s:o, s:o}", "name", s->name, "loss", real_or_null(s->loss),
                                               "examples_per_second", (double)c->batch / plain, "examples_per_second_clocked",
                                               (double)c->batch / clocked, "rows_seconds", total(c, i), "step_samples",
                                               numbers(s->plain, s->n), "clocked_samples", numbers(s->clocked, s->n)));
    }
    for (size_t r = 0; r < c->n_rows; r++) json_array_append_new(rows, row_json(c, &c->row[r]));
    json_t *all = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:f, s:o, s:o}", "convoy", c->version, "model", c->model, "cpu", c->cpu,
                            "isa", c->isa, "batch", (int)c->batch, "threads", (int)c->threads, "check_batch", (int)c->check_batch,
                            "fma_peak", c->peak, "backends", sides, "rows", rows);
    char *text = all ? json_dumps(all, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(all);
    return text;
}

/* ------------------------------------------------------------------------------------------------ HTML */

static void html_key(FILE *out, size_t side) { fprintf(out, "<span class=\"key\" style=\"--c:var(--c%zu)\"></span>", side % 8); }

/* Microseconds, then how many times as long as the first. Where there is little room, only that. */
static void html_times(FILE *out, const struct contest *c, const double *const *v, const size_t *n)
{
    for (size_t i = 0; i < c->n_sides; i++) {
        if (!n[i]) {
            fputs(i ? "<td class=\"wide\"></td><td></td><td class=\"wide\"></td>" : "<td></td>", out);
            continue;
        }
        fprintf(out, "<td%s data-tip=\"&#177;%.1f %%\">%.1f</td>", i ? " class=\"wide\"" : "", spread(v[i], n[i]) * 100,
                stats_median(v[i], n[i]) * 1e6);
        if (i && n[0]) {
            struct verdict x = judge(v[0], n[0], v[i], n[i]);
            const char *class = !x.real ? "" : x.ratio.ratio > 1 ? " class=\"slower\"" : " class=\"faster\"";
            fprintf(out, "<td%s>%.*f</td><td class=\"wide\">%.2f – %.2f</td>", class, x.ratio.ratio < 100 ? 2 : 0, x.ratio.ratio,
                    x.ratio.lo, x.ratio.hi);
        } else if (i) {
            fputs("<td></td><td class=\"wide\"></td>", out);
        }
    }
    fputs("</tr>\n", out);
}

static void html_verdicts(FILE *out, const struct contest *c)
{
    const double *v[CONTEST_SIDES];
    size_t n[CONTEST_SIDES];
    fputs("<h2>Verdict</h2><p class=\"about\">Median microseconds on each backend; × is how many times as long as on ", out);
    chart_text(out, c->side[0].name);
    fputs(", with its 95&nbsp;% interval. In colour: beyond the noise (Mann and Whitney's p below 0.05, and the interval leaves out 1)."
          "</p><div class=\"card\"><div class=\"scroll\"><table><thead><tr><th>op</th>", out);
    for (size_t i = 0; i < c->n_sides; i++) {
        fputs(i ? "<th class=\"wide\">" : "<th>", out);
        html_key(out, i);
        chart_text(out, c->side[i].name);
        fputs(" &#181;s</th>", out);
        if (!i) continue;
        fputs("<th>", out);
        html_key(out, i);
        fputs("×</th><th class=\"wide\">interval</th>", out);
    }
    fputs("</tr></thead><tbody>\n<tr class=\"total\"><td>the whole step</td>", out);
    for (size_t i = 0; i < c->n_sides; i++) v[i] = c->side[i].plain, n[i] = c->side[i].n;
    html_times(out, c, v, n);
    for (size_t r = 0; r < c->n_rows; r++) {
        const char *wide = c->row[r].cell[0].n ? "" : "wide"; /* nothing to compare with: left out where there is little room */
        if (!r || c->row[r].part != c->row[r - 1].part)
            fprintf(out, "<tr class=\"part %s\"><td colspan=\"%zu\">%s</td></tr>\n", wide, 3 * c->n_sides - 1, part_names[c->row[r].part]);
        fprintf(out, "<tr class=\"%s\"><td>", wide);
        chart_text(out, c->row[r].name);
        fputs("</td>", out);
        for (size_t i = 0; i < c->n_sides; i++) v[i] = c->row[r].cell[i].seconds, n[i] = c->row[r].cell[i].n;
        html_times(out, c, v, n);
    }
    fputs("</tbody></table></div></div>\n", out);
}

static void html_detail(FILE *out, const struct contest *c, const struct contest_row *row, double longest)
{
    fputs("<tr><td>", out);
    chart_text(out, row->name);
    fputs("</td><td class=\"bars\">", out);
    for (size_t i = 0; i < c->n_sides; i++)
        if (row->cell[i].n)
            fprintf(out, "<div class=\"fill\" style=\"--c:var(--c%zu);width:%.1f%%\"></div>", i % 8,
                    median(&row->cell[i]) / longest * 100);
    fputs("</td>", out);
    for (size_t i = 0; i < c->n_sides; i++) {
        const struct contest_cell *cell = &row->cell[i];
        const struct contest_distance *d = &cell->distance;
        double t = median(cell);
        fputs("<td>", out);
        if (cell->n && row->flops > 0) fprintf(out, "%.1f", row->flops / t / c->peak * 100);
        fputs("</td><td>", out);
        if (cell->n && row->bytes > 0) fprintf(out, "%.1f", row->bytes / t * 1e-9);
        if (cell->n && *d->tensor) {
            fputs("</td><td data-tip=\"", out);
            chart_text(out, d->tensor);
            fprintf(out, "[%zu,%zu,%zu,%zu]: %.3g ulp\nat most %.2g relative\">%.1e</td>", d->worst[0], d->worst[1], d->worst[2],
                    d->worst[3], d->ulp, d->rel, d->abs);
        } else {
            fputs("</td><td></td>", out);
        }
    }
    fputs("</tr>\n", out);
}

static void html_details(FILE *out, const struct contest *c)
{
    double longest = 0;
    for (size_t r = 0; r < c->n_rows; r++)
        for (size_t i = 0; i < c->n_sides; i++) longest = fmax(longest, c->row[r].cell[i].n ? median(&c->row[r].cell[i]) : 0);
    fputs("<h2>Speed and numbers</h2><p class=\"about\">Share of the FMA peak, GB/s of operands and results, and the largest absolute "
          "difference from the reference in double, after one step from the same weights; its place is behind the figure.</p>"
          "<div class=\"card\"><div class=\"scroll\"><table><thead><tr><th>op</th><th></th>", out);
    for (size_t i = 0; i < c->n_sides; i++) {
        fputs("<th>", out);
        html_key(out, i);
        fputs("% peak</th><th>GB/s</th><th>max abs</th>", out);
    }
    fputs("</tr></thead><tbody>\n", out);
    for (size_t r = 0; r < c->n_rows; r++) html_detail(out, c, &c->row[r], longest);
    fputs("</tbody></table></div></div>\n", out);
}

bool contest_html(FILE *out, const struct contest *c)
{
    fprintf(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, "
            "initial-scale=1\"><title>Convoy: backends compared</title>\n<style>\n%s</style></head><body>\n<header><div><h1>", report_parts[0].text);
    chart_text(out, c->model);
    fputs(" on ", out);
    for (size_t i = 0; i < c->n_sides; i++) {
        if (i) fputs(i + 1 < c->n_sides ? ", " : " and ", out);
        chart_text(out, c->side[i].name);
    }
    fprintf(out, "</h1>\n<p>Batch %zu, %zu threads, %s on ", c->batch, c->threads, c->isa);
    chart_text(out, c->cpu);
    fprintf(out, "; FMA peak %.1f GFLOP/s. Numbers from one step of %zu images.</p></div><button id=\"theme\" type=\"button\">"
            "Light / dark</button></header>\n<main>\n<div class=\"tiles\">", c->peak * 1e-9, c->check_batch);
    for (size_t i = 0; i < c->n_sides; i++) {
        char number[32];
        fprintf(out, "<div class=\"tile\"><b>%s</b><span>", chart_number((double)c->batch / stats_median(c->side[i].plain, c->side[i].n), number));
        html_key(out, i);
        chart_text(out, c->side[i].name);
        fprintf(out, ", examples/s (&#177;%.1f %%)</span></div>", spread(c->side[i].plain, c->side[i].n) * 100);
    }
    fputs("</div>\n", out);
    html_verdicts(out, c);
    html_details(out, c);
    fprintf(out, "<footer>Made by <code>convoy compare --html</code>.</footer>\n</main>\n<div id=\"tip\" role=\"tooltip\"></div>\n"
            "<script>\n%s</script>\n</body></html>\n", report_parts[1].text);
    return !ferror(out);
}
