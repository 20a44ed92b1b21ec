/* A contest's tables and its JSON. */
#include "report/contest.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/parts.h"
#include "report/stats.h"
#include "report/template.h"
#include "report/text.h"

static const char *const part_names[] = { "forward", "backward", "update", "reorder" };

static double median(const struct contest_cell *cell)
{
    return cell->n ? stats_median(cell->seconds, cell->n) : NAN;
}

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

/* ------------------------------------------------------------------------------------- verdicts */

/* What two copies of the same code in one process differ by: where their memory happens to lie. */
#define HIDDEN 0.01

/* Every comparison of a contest: log(rival / first) of each turn. */
struct pairs {
    size_t n;
    double *log_ratio;
    struct contest_verdict *verdict;
};

/* Turns that both had: a side that is too slow stops early. NULL log_ratio: out of memory. */
static struct pairs pairs_of(const struct contest *c, const double *a, size_t n_a, const double *b,
                             size_t n_b, struct contest_verdict *verdict)
{
    const size_t turns = (n_a < n_b ? n_a : n_b) / c->turn;
    struct pairs p = { turns, malloc((turns + 1) * sizeof(double)), verdict };
    for (size_t i = 0; p.log_ratio && i < turns; i++)
        p.log_ratio[i] =
            log(stats_median(b + i * c->turn, c->turn) / stats_median(a + i * c->turn, c->turn));
    return p;
}

bool contest_judge(struct contest *c)
{
    const size_t most = (c->n_rows + 1) * c->n_sides;
    struct pairs *all = malloc((most + 1) * sizeof *all);
    double *p = malloc((most + 1) * sizeof *p), sums[2] = { 0, 0 };
    bool good = all && p;
    size_t n = 0, longest = 0;
    for (size_t i = 1; good && i < c->n_sides; i++) {
        struct contest_side *a = &c->side[0], *b = &c->side[i];
        all[n++] = pairs_of(c, a->plain, a->n, b->plain, b->n, &b->verdict);
        for (size_t r = 0; r < c->n_rows; r++) {
            struct contest_cell *x = &c->row[r].cell[0], *y = &c->row[r].cell[i];
            all[n++] = pairs_of(c, x->seconds, x->n, y->seconds, y->n, &y->verdict);
        }
    }
    for (size_t k = 0; k < n; k++) {
        good &= all[k].log_ratio != NULL;
        longest = all[k].n > longest ? all[k].n : longest;
    }
    for (size_t k = 0; good && k < n; k++) stats_correlate(all[k].log_ratio, all[k].n, sums);
    for (size_t k = 0; good && k < n; k++) {
        all[k].verdict->ratio = stats_paired_ratio(all[k].log_ratio, all[k].n, HIDDEN,
                                                   stats_correlation(sums, longest));
        p[k] = all[k].n ? all[k].verdict->ratio.p : NAN;
    }
    if (good) stats_holm(p, n);
    for (size_t k = 0; k < n; k++) {
        all[k].verdict->p = good ? p[k] : NAN;
        all[k].verdict->real = good && p[k] < 0.05;
        free(all[k].log_ratio);
    }
    free(all);
    free(p);
    return good;
}

static const char *word(const struct contest_verdict *v)
{
    if (v->real) return v->ratio.ratio > 1 ? "slower" : "faster";
    return isnan(v->ratio.lo) && !isnan(v->ratio.ratio) ? "too few" : "";
}

/* --------------------------------------------------------------------------------------- tables */

enum { NAME_WIDTH = 37 };

static void print_name(FILE *out, const char *name)
{
    char clipped[4 * NAME_WIDTH + 1];
    text_pad(out, text_clip(name, NAME_WIDTH, clipped), NAME_WIDTH);
}

static void print_microseconds(FILE *out, double seconds)
{
    fprintf(out, " %*.*f", 9, seconds < 0.1 ? 1 : 0, seconds * 1e6);
}

static void print_verdict(FILE *out, const struct contest *c, size_t rival)
{
    const struct contest_verdict *v = &c->side[rival].verdict;
    size_t wins[2] = { 0, 0 }, both = 0;
    for (size_t r = 0; r < c->n_rows; r++) {
        const struct contest_verdict *x = &c->row[r].cell[rival].verdict;
        both += isnan(x->ratio.ratio) ? 0 : 1;
        if (x->real) wins[x->ratio.ratio < 1]++;
    }
    const char *told = word(v);
    const bool apart = v->ratio.lo > 1 || v->ratio.hi < 1; /* one in twenty is that by chance */
    if (!*told) told = apart ? "too few steps to be sure" : "no difference beyond the noise";
    if (!strcmp(told, "too few")) told = "too few steps to tell, at least 6";
    fprintf(out, "%s against %s: %s\n    a step takes %.2f times as long", c->side[rival].name,
            c->side[0].name, told, v->ratio.ratio);
    if (isnan(v->ratio.lo)) {
        fputs("\n", out);
        return;
    }
    fprintf(out, " (95 %% interval %.2f - %.2f)\n", v->ratio.lo, v->ratio.hi);
    fprintf(out, "    of %zu rows slower: %zu, faster: %zu, no difference beyond the noise: %zu\n",
            both, wins[0], wins[1], both - wins[0] - wins[1]);
}

static void print_pair(FILE *out, const char *name, double a, double b,
                       const struct contest_verdict *v)
{
    const int digits = v->ratio.ratio < 100 ? 2 : 0;
    char interval[48];
    print_name(out, name);
    print_microseconds(out, a);
    print_microseconds(out, b);
    fprintf(out, " %7.*f", digits, v->ratio.ratio);
    fprintf(out, " %s", text_interval(v->ratio.lo, v->ratio.hi, digits, interval));
    fprintf(out, *word(v) ? "  %s\n" : "%s\n", word(v));
}

static void print_pairs(FILE *out, const struct contest *c, size_t rival)
{
    const struct contest_side *a = &c->side[0], *b = &c->side[rival];
    char left[37], right[37];
    putc('\n', out);
    print_name(out, "microseconds");
    fprintf(out, " %9s %9s %7s  %16s\n", text_clip(a->name, 9, left), text_clip(b->name, 9, right),
            "times", "95 % interval");
    for (int part = CONTEST_FORWARD; part <= CONTEST_REORDER; part++) {
        bool any = false;
        for (size_t r = 0; r < c->n_rows; r++) {
            const struct contest_row *row = &c->row[r];
            if ((int)row->part != part || isnan(row->cell[rival].verdict.ratio.ratio)) continue;
            if (!any) fprintf(out, "-- %s\n", part_names[part]);
            any = true;
            print_pair(out, row->name, median(&row->cell[0]), median(&row->cell[rival]),
                       &row->cell[rival].verdict);
        }
    }
    print_pair(out, "-- the whole step", stats_median(a->plain, a->n), stats_median(b->plain, b->n),
               &b->verdict);
}

static void print_row(FILE *out, const struct contest *c, const struct contest_row *row,
                      size_t side)
{
    const struct contest_cell *cell = &row->cell[side];
    if (!cell->n) return;
    const double t = median(cell);
    print_name(out, row->name);
    print_microseconds(out, t);
    const double quartiles = spread(cell->seconds, cell->n) * 100;
    fprintf(out, quartiles < 999.95 ? " %5.1f" : "  >999", quartiles);
    fprintf(out, " %6.1f", t / total(c, side) * 100);
    if (row->flops > 0)
        fprintf(out, " %8.1f %6.1f", row->flops / t * 1e-9, row->flops / t / c->peak * 100);
    else if (row->bytes > 0 || *cell->distance.tensor) fprintf(out, " %8s %6s", "", "");
    if (row->bytes > 0) fprintf(out, " %6.1f", row->bytes / t * 1e-9);
    else if (*cell->distance.tensor) fprintf(out, " %6s", "");
    if (*cell->distance.tensor)
        fprintf(out, " %8.1e %7.1e", cell->distance.abs, cell->distance.rel);
    putc('\n', out);
}

static void print_total(FILE *out, const char *name, double seconds, double examples)
{
    print_name(out, name);
    print_microseconds(out, seconds);
    if (examples > 0) fprintf(out, "  %.1f examples/s", examples / seconds);
    putc('\n', out);
}

/* The first clause of what computed it: what speaks against another is left to `info`. */
static size_t clause(const struct contest_cell *cell) { return strcspn(cell->kernels, ";,"); }

static bool same_clause(const struct contest_cell *a, const struct contest_cell *b)
{
    return clause(a) == clause(b) && !strncmp(a->kernels, b->kernels, clause(a));
}

/* Whether row r is the first whose kernel is its own. */
static bool first_of_kernel(const struct contest *c, size_t side, size_t r)
{
    const struct contest_cell *cell = &c->row[r].cell[side];
    for (size_t k = 0; k < r; k++)
        if (c->row[k].cell[side].n && same_clause(cell, &c->row[k].cell[side])) return false;
    return cell->n && *cell->kernels;
}

/* A line for each kernel: "transformed: conv2, conv2.dx". */
static void print_kernels(FILE *out, const struct contest *c, size_t side)
{
    for (size_t r = 0; r < c->n_rows; r++) {
        const struct contest_cell *cell = &c->row[r].cell[side];
        char *line = NULL;
        size_t n;
        if (!first_of_kernel(c, side, r)) continue;
        FILE *text = open_memstream(&line, &n);
        if (!text) return;
        fprintf(text, "%.*s:", (int)clause(cell), cell->kernels);
        for (size_t k = r; k < c->n_rows; k++)
            if (c->row[k].cell[side].n && same_clause(cell, &c->row[k].cell[side]))
                fprintf(text, "%s %s", k == r ? "" : ",", c->row[k].name);
        if (!fclose(text)) text_wrap(out, line, 0, 2, SCREEN);
        free(line);
    }
}

static void print_side(FILE *out, const struct contest *c, size_t side)
{
    const struct contest_side *s = &c->side[side];
    const double plain = stats_median(s->plain, s->n), clocked = stats_median(s->clocked, s->n),
                 sum = total(c, side);
    putc('\n', out);
    print_name(out, s->name);
    fprintf(out, " %9s %5s %6s %8s %6s %6s %8s %7s\n", "us", "+-%", "share%", "GFLOP/s", "%peak",
            "GB/s", "max abs", "max rel");
    for (int part = CONTEST_FORWARD; part <= CONTEST_REORDER; part++) {
        bool any = false;
        for (size_t r = 0; r < c->n_rows; r++)
            any |= (int)c->row[r].part == part && c->row[r].cell[side].n;
        if (any) fprintf(out, "-- %s\n", part_names[part]);
        for (size_t r = 0; r < c->n_rows; r++)
            if ((int)c->row[r].part == part) print_row(out, c, &c->row[r], side);
    }
    print_total(out, "-- all of these", sum, 0);
    print_total(out, "-- waiting, starting threads", clocked - sum, 0);
    print_total(out, "-- a step with clocks", clocked, (double)c->batch);
    print_total(out, "-- a step without", plain, (double)c->batch);
    print_kernels(out, c, side);
}

void contest_print(FILE *out, const struct contest *c)
{
    char line[1024], one[64];
    for (size_t i = 1; i < c->n_sides; i++) print_verdict(out, c, i);
    if (c->n_sides > 1) putc('\n', out);
    snprintf(line, sizeof line,
             "%s, batch %zu, %zu thread%s, %s on %s; FMA peak %.1f GFLOP/s; medians of %zu steps.",
             c->model, c->batch, c->threads, c->threads == 1 ? "" : "s", c->isa, c->cpu,
             c->peak * 1e-9, c->side[0].n);
    text_wrap(out, line, 0, 0, SCREEN);
    if (c->n_sides > 1)
        text_wrap(out,
                  "Among identical programs one comparison in twenty has any row called slower or "
                  "faster.",
                  0, 0, SCREEN);
    snprintf(line, sizeof line,
             "Numbers: one step of %zu images from the same weights, against the reference in "
             "double; losses",
             c->check_batch);
    for (size_t i = 0; i < c->n_sides; i++) {
        snprintf(one, sizeof one, " %.32s %.9g", c->side[i].name, c->side[i].loss);
        if (strlen(line) + strlen(one) < sizeof line) strcat(line, one);
    }
    text_wrap(out, line, 0, 0, SCREEN);
    for (size_t i = 1; i < c->n_sides; i++) print_pairs(out, c, i);
    for (size_t i = 0; i < c->n_sides; i++) print_side(out, c, i);
}

/* ----------------------------------------------------------------------------------------- JSON */

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
    json_t *j = json_pack("{s:s, s:f, s:f, s:o, s:s}", "backend", c->side[side].name, "seconds", t,
                          "share", t / total(c, side), "samples", numbers(cell->seconds, cell->n),
                          "kernels", cell->kernels);
    if (row->flops > 0) json_object_set_new(j, "flops_per_second", json_real(row->flops / t));
    if (row->flops > 0) json_object_set_new(j, "of_peak", json_real(row->flops / t / c->peak));
    if (row->bytes > 0) json_object_set_new(j, "bytes_per_second", json_real(row->bytes / t));
    if (*d->tensor)
        json_object_set_new(j, "distance",
                            json_pack("{s:s, s:o, s:o, s:o, s:[i,i,i,i]}", "tensor", d->tensor,
                                      "max_abs", real_or_null(d->abs), "max_rel",
                                      real_or_null(d->rel), "ulp", real_or_null(d->ulp), "at",
                                      (int)d->worst[0], (int)d->worst[1], (int)d->worst[2],
                                      (int)d->worst[3]));
    return j;
}

static json_t *verdict_json(const struct contest *c, size_t side, const struct contest_verdict *v)
{
    return json_pack("{s:s, s:s, s:o, s:[o,o], s:o, s:o, s:b}", "of", c->side[0].name, "against",
                     c->side[side].name, "ratio", real_or_null(v->ratio.ratio), "interval",
                     real_or_null(v->ratio.lo), real_or_null(v->ratio.hi), "p",
                     real_or_null(v->ratio.p), "p_adjusted", real_or_null(v->p), "real", v->real);
}

static json_t *row_json(const struct contest *c, const struct contest_row *row)
{
    json_t *cells = json_array(), *verdicts = json_array();
    for (size_t i = 0; i < c->n_sides; i++)
        if (row->cell[i].n) json_array_append_new(cells, cell_json(c, row, i));
    for (size_t i = 1; i < c->n_sides; i++) {
        const struct contest_cell *a = &row->cell[0], *b = &row->cell[i];
        if (!a->n || !b->n) continue;
        json_array_append_new(verdicts, verdict_json(c, i, &b->verdict));
    }
    return json_pack("{s:s, s:s, s:f, s:f, s:o, s:o}", "name", row->name, "part",
                     part_names[row->part], "flops", row->flops, "bytes", row->bytes, "backends",
                     cells, "verdicts", verdicts);
}

char *contest_json(const struct contest *c)
{
    json_t *sides = json_array(), *rows = json_array();
    for (size_t i = 0; i < c->n_sides; i++) {
        const struct contest_side *s = &c->side[i];
        double plain = stats_median(s->plain, s->n), clocked = stats_median(s->clocked, s->n);
        json_array_append_new(
            sides, json_pack("{s:s, s:o, s:f, s:f, s:f, s:o, s:o}", "name", s->name, "loss",
                             real_or_null(s->loss), "examples_per_second", (double)c->batch / plain,
                             "examples_per_second_clocked", (double)c->batch / clocked,
                             "rows_seconds", total(c, i), "step_samples", numbers(s->plain, s->n),
                             "clocked_samples", numbers(s->clocked, s->n)));
    }
    for (size_t r = 0; r < c->n_rows; r++) json_array_append_new(rows, row_json(c, &c->row[r]));
    json_t *all = json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:f, s:o, s:o}", "convoy", c->version, "model",
        c->model, "cpu", c->cpu, "isa", c->isa, "batch", (int)c->batch, "threads", (int)c->threads,
        "check_batch", (int)c->check_batch, "fma_peak", c->peak, "backends", sides, "rows", rows);
    json_t *verdicts = json_array();
    for (size_t i = 1; i < c->n_sides; i++)
        json_array_append_new(verdicts, verdict_json(c, i, &c->side[i].verdict));
    json_object_set_new(all, "verdicts", verdicts);
    char *text = all ? json_dumps(all, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(all);
    return text;
}

/* ----------------------------------------------------------------------------------------- HTML */

/* A row, or the whole step: each side's times, and how they compare with the first's. */
struct times {
    size_t n[CONTEST_SIDES];
    const double *seconds[CONTEST_SIDES];
    const struct contest_verdict *verdict[CONTEST_SIDES];
};

static void html_ratio(FILE *out, const struct contest_verdict *verdict)
{
    const struct stats_ratio *x = &verdict->ratio;
    if (isnan(x->ratio)) {
        template_put(out, "no-ratio", NULL);
        return;
    }
    const int digits = x->ratio < 100 ? 2 : 0;
    const char *ratio = FORMAT("%.*f", digits, x->ratio);
    char interval[64] = "";
    if (x->hi < 1000 * x->lo)
        snprintf(interval, sizeof interval, "%.*f – %.*f", digits, x->lo, digits, x->hi);
    else if (!isnan(x->lo)) strcpy(interval, "anything"); /* as text_interval says it */
    if (verdict->real)
        template_put(out, "ratio-real",
                     VALUES("word", word(verdict), "ratio", ratio, "interval", interval));
    else template_put(out, "ratio", VALUES("ratio", ratio, "interval", interval));
}

/* Microseconds, then how many times as long as the first. Where there is little room, only that. */
static void html_times(FILE *out, const struct contest *c, const struct times *t)
{
    for (size_t i = 0; i < c->n_sides; i++) {
        if (!t->n[i]) {
            if (i) template_put(out, "no-time", NULL);
            else template_put(out, "no-time-first", NULL);
            continue;
        }
        const char *varies = FORMAT("%.1f", spread(t->seconds[i], t->n[i]) * 100),
                   *us = FORMAT("%.1f", stats_median(t->seconds[i], t->n[i]) * 1e6);
        if (i) {
            template_put(out, "time", VALUES("spread", varies, "us", us));
            html_ratio(out, t->verdict[i]);
        } else {
            template_put(out, "time-first", VALUES("spread", varies, "us", us));
        }
    }
}

static void html_verdict_heads(FILE *out, const struct contest *c)
{
    for (size_t i = 0; i < c->n_sides; i++)
        if (i)
            template_put(out, "verdict-head",
                         VALUES("color", FORMAT("%zu", i % 8), "who", c->side[i].name));
        else
            template_put(out, "verdict-head-first",
                         VALUES("color", FORMAT("%zu", i % 8), "who", c->side[i].name));
}

static void html_verdicts(FILE *out, const struct contest *c)
{
    struct times t;
    template_part(out, "verdicts", NULL, "heads", VALUES("first", c->side[0].name));
    html_verdict_heads(out, c);
    template_part(out, "verdicts", "heads", "total", NULL);
    for (size_t i = 0; i < c->n_sides; i++) {
        t.seconds[i] = c->side[i].plain;
        t.n[i] = c->side[i].n;
        t.verdict[i] = &c->side[i].verdict;
    }
    html_times(out, c, &t);
    template_part(out, "verdicts", "total", "rows", NULL);
    for (size_t r = 0; r < c->n_rows; r++) {
        const struct contest_row *row = &c->row[r];
        /* nothing to compare with: left out where there is little room */
        const char *wide = row->cell[0].n ? "" : "wide";
        if (!r || row->part != row[-1].part)
            template_put(out, "verdict-part",
                         VALUES("wide", wide, "columns", FORMAT("%zu", 3 * c->n_sides - 1), "part",
                                part_names[row->part]));
        template_part(out, "verdict-row", NULL, "times", VALUES("wide", wide, "op", row->name));
        for (size_t i = 0; i < c->n_sides; i++) {
            t.seconds[i] = row->cell[i].seconds;
            t.n[i] = row->cell[i].n;
            t.verdict[i] = &row->cell[i].verdict;
        }
        html_times(out, c, &t);
        template_part(out, "verdict-row", "times", NULL, NULL);
    }
    template_part(out, "verdicts", "rows", NULL, NULL);
}

/* Whether a side is measured against the reference; that one itself is not. */
static bool is_apart(const struct contest *c, size_t side)
{
    for (size_t r = 0; r < c->n_rows; r++)
        if (*c->row[r].cell[side].distance.tensor) return true;
    return false;
}

/* One decimal, but two digits of what would be none; "": nothing to tell. */
static const char *figure(double v, char text[32])
{
    *text = '\0';
    if (v > 0) snprintf(text, 32, v < 0.95 ? "%.2g" : "%.1f", v);
    return text;
}

static void html_numbers_cells(FILE *out, const struct contest *c, const struct contest_row *row,
                               size_t side)
{
    const struct contest_cell *cell = &row->cell[side];
    const struct contest_distance *d = &cell->distance;
    const double t = median(cell); /* NaN: it has none */
    char peak[32], gbs[32];
    template_put(out, "numbers-cells",
                 VALUES("kernels", cell->kernels, "peak",
                        figure(row->flops / t / c->peak * 100, peak), "gbs",
                        figure(row->bytes / t * 1e-9, gbs)));
    if (cell->n && *d->tensor)
        template_put(out, "numbers-apart",
                     VALUES("tensor", d->tensor, "n", FORMAT("%zu", d->worst[0]), "c",
                            FORMAT("%zu", d->worst[1]), "h", FORMAT("%zu", d->worst[2]), "w",
                            FORMAT("%zu", d->worst[3]), "ulp", FORMAT("%.3g", d->ulp), "rel",
                            FORMAT("%.2g", d->rel), "abs", FORMAT("%.1e", d->abs)));
    else if (is_apart(c, side)) template_put(out, "numbers-not-apart", NULL);
}

/* Bars are of the logarithm: among times of which one is a thousand times another, both are seen.
 * They begin at half of the shortest. */
static void html_numbers_row(FILE *out, const struct contest *c, const struct contest_row *row,
                             double shortest, double longest)
{
    template_part(out, "numbers-row", NULL, "bars", VALUES("op", row->name));
    for (size_t i = 0; i < c->n_sides; i++)
        if (row->cell[i].n)
            template_put(out, "numbers-bar",
                         VALUES("color", FORMAT("%zu", i % 8), "width",
                                FORMAT("%.1f", log(2 * median(&row->cell[i]) / shortest) /
                                                   log(2 * longest / shortest) * 100)));
    template_part(out, "numbers-row", "bars", "cells", NULL);
    for (size_t i = 0; i < c->n_sides; i++) html_numbers_cells(out, c, row, i);
    template_part(out, "numbers-row", "cells", NULL, NULL);
}

static void html_numbers(FILE *out, const struct contest *c)
{
    double shortest = INFINITY, longest = 0;
    for (size_t r = 0; r < c->n_rows; r++)
        for (size_t i = 0; i < c->n_sides; i++) { /* NaN is neither */
            shortest = fmin(shortest, median(&c->row[r].cell[i]));
            longest = fmax(longest, median(&c->row[r].cell[i]));
        }
    template_part(out, "numbers", NULL, "heads", NULL);
    for (size_t i = 0; i < c->n_sides; i++) {
        template_put(out, "numbers-head", VALUES("color", FORMAT("%zu", i % 8)));
        if (is_apart(c, i)) template_put(out, "numbers-head-apart", NULL);
    }
    template_part(out, "numbers", "heads", "rows", NULL);
    for (size_t r = 0; r < c->n_rows; r++) html_numbers_row(out, c, &c->row[r], shortest, longest);
    template_part(out, "numbers", "rows", NULL, NULL);
}

static void html_heading(FILE *out, const struct contest *c)
{
    template_text(out, c->model);
    template_text(out, " on ");
    for (size_t i = 0; i < c->n_sides; i++) {
        if (i) template_text(out, i + 1 < c->n_sides ? ", " : " and ");
        template_text(out, c->side[i].name);
    }
}

static void html_tiles(FILE *out, const struct contest *c)
{
    char number[32];
    template_part(out, "tiles", NULL, "tiles", NULL);
    for (size_t i = 0; i < c->n_sides; i++) {
        const struct contest_side *s = &c->side[i];
        const double rate = (double)c->batch / stats_median(s->plain, s->n);
        template_put(out, "contest-tile",
                     VALUES("rate", text_count(rate, number), "color", FORMAT("%zu", i % 8), "who",
                            s->name, "spread", FORMAT("%.1f", spread(s->plain, s->n) * 100)));
    }
    template_part(out, "tiles", "tiles", NULL, NULL);
}

bool contest_html(FILE *out, const struct contest *c)
{
    template_part(out, "page", NULL, "style", VALUES("title", "Convoy: backends compared"));
    fputs(report_parts[REPORT_STYLE].text, out);
    template_part(out, "page", "style", "heading", NULL);
    html_heading(out, c);
    template_part(out, "page", "heading", "facts", NULL);
    template_put(out, "contest-facts",
                 VALUES("batch", FORMAT("%zu", c->batch), "threads",
                        FORMAT("%zu thread%s", c->threads, c->threads == 1 ? "" : "s"), "isa",
                        c->isa, "cpu", c->cpu, "peak", FORMAT("%.1f", c->peak * 1e-9), "images",
                        FORMAT("%zu", c->check_batch)));
    template_part(out, "page", "facts", "sections", NULL);
    html_tiles(out, c);
    html_verdicts(out, c);
    html_numbers(out, c);
    template_part(out, "page", "sections", "data",
                  VALUES("command", "convoy compare --html", "remark", ""));
    template_part(out, "page", "data", "script", NULL);
    fputs(report_parts[REPORT_SCRIPT].text, out);
    template_part(out, "page", "script", NULL, NULL);
    return !ferror(out);
}
