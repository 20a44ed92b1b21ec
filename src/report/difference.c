/* Comparing result files. */
#include "report/difference.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct difference *differences(const struct results *all)
{
    struct difference *list = calloc(all->n + 1, sizeof *list), *d = list;
    for (size_t pass = 0; list && pass < 2; pass++)
        for (size_t i = 0; i < all->n; i++) {
            if (all->at[i].file != pass) continue;
            const struct result *here = &all->at[i], *there = NULL;
            for (size_t k = 0; k < all->n && !there; k++)
                if (all->at[k].file == 1 - pass && !strcmp(all->at[k].name, here->name)) there = &all->at[k];
            if (pass && there) continue;
            *d = (struct difference){
                .old = pass ? NULL : here, .new = pass ? here : there, .p = NAN, .ratio = {NAN, NAN, NAN}};
            if (there && here->runs && there->runs) {
                d->ratio = stats_ratio(here->seconds, here->runs, there->seconds, there->runs);
                d->p = stats_mann_whitney(here->seconds, here->runs, there->seconds, there->runs);
                d->real = d->p < 0.05 && (d->ratio.lo > 1 || d->ratio.hi < 1);
            }
            d++;
        }
    return list;
}

bool difference_limit(const char *text, struct difference_limit *limit, char *error, size_t error_size)
{
    static const char *const words[] = {"slowdown", "speedup"};
    const char *at = text + strspn(text, " ");
    size_t w = 0;
    while (w < 2 && strncmp(at, words[w], strlen(words[w]))) w++;
    if (w < 2) {
        at += strlen(words[w]);
        at += strspn(at, " ");
        if (*at == '<' || *at == '>') {
            char *end;
            const bool below = *at == '<';
            double value = strtod(at + 1, &end);
            const bool number = end > at + 1, percent = *end == '%';
            end += percent;
            end += strspn(end, " ");
            if (number && !*end && value >= 0 && value < 1e9) {
                *limit = (struct difference_limit){w == 1, below, percent ? 1 + value / 100 : value};
                return true;
            }
        }
    }
    snprintf(error, error_size,
             "expected a condition like 'slowdown>5%%', 'slowdown>1.05' or 'speedup<1.2', found '%.60s'", text);
    return false;
}

bool difference_meets(const struct difference *d, const struct difference_limit *limit)
{
    if (isnan(d->ratio.ratio)) return false;
    const double value = limit->speedup ? 1 / d->ratio.ratio : d->ratio.ratio;
    /* "Slower by more than" needs proof that it is slower at all; "not faster by at least" does not. */
    if (!limit->below) return value > limit->value && d->real;
    return value < limit->value;
}

/* ------------------------------------------------------------------------------------------------ output */

static void print_time(FILE *out, double seconds)
{
    static const struct { double from; const char *unit; } units[] = {{1, "s "}, {1e-3, "ms"}, {1e-6, "us"}, {0, "ns"}};
    size_t u = 0;
    if (isnan(seconds)) {
        fprintf(out, "%12s", "-");
        return;
    }
    while (seconds < units[u].from) u++;
    fprintf(out, "%9.4g %s", seconds / (u < 3 ? units[u].from : 1e-9), units[u].unit);
}

static double time_of(const struct result *r) { return r && r->runs ? result_median(r, "") : NAN; }

static const char *verdict(const struct difference *d)
{
    if (!d->old) return "only in the new file";
    if (!d->new) return "only in the old file";
    if (isnan(d->p)) return *d->new->error ? d->new->error : *d->old->error ? d->old->error : "no times";
    if (d->real) return d->ratio.ratio > 1 ? "slower" : "faster";
    return d->old->runs + d->new->runs < 8 ? "too few repetitions" : "noise";
}

static void print_head(FILE *out, const struct results *all)
{
    /* What should be the same for a comparison to mean anything, and what one wants to know. */
    static const char *const same[] = {"cpu", "affinity", "governor", "compiler", "flags", "host_name", "environment"};
    static const char *const names[] = {"old", "new"};
    for (size_t f = 0; f < 2; f++) {
        const char *commit = results_fact(all, f, "commit"), *date = results_fact(all, f, "date"),
                   *peak = results_fact(all, f, "peak_gflops_all");
        fprintf(out, "%s  %s", names[f], all->file[f].path);
        if (date) fprintf(out, ", %s", date);
        if (commit) fprintf(out, ", commit %s", commit);
        if (peak) fprintf(out, ", FMA peak %s GFLOP/s", peak);
        fputc('\n', out);
    }
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        const char *a = results_fact(all, 0, same[i]), *b = results_fact(all, 1, same[i]);
        if (a && b && strcmp(a, b)) fprintf(out, "note: %s differs: '%s' and '%s'\n", same[i], a, b);
    }
}

size_t difference_print(FILE *out, const struct results *all, const struct difference *list,
                        const struct difference_limit *limit)
{
    int width = 9;
    size_t met = 0, n = 0;
    double logs = 0;
    for (const struct difference *d = list; d->old || d->new; d++) {
        const int length = (int)strlen((d->old ? d->old : d->new)->name);
        width = length > width ? length : width;
    }
    print_head(out, all);
    fprintf(out, "\n%-*s %12s %12s %7s   %-15s %8s  %s\n", width, "benchmark", "old", "new", "new/old", "95 % interval",
            "p", "verdict");
    for (const struct difference *d = list; d->old || d->new; d++) {
        const bool fails = limit && difference_meets(d, limit);
        fprintf(out, "%-*s ", width, (d->old ? d->old : d->new)->name);
        print_time(out, time_of(d->old));
        fputc(' ', out);
        print_time(out, time_of(d->new));
        if (isnan(d->ratio.ratio)) fprintf(out, " %7s   %-15s %8s", "-", "-", "-");
        else fprintf(out, " %7.3f   %6.3f - %6.3f %8.4f", d->ratio.ratio, d->ratio.lo, d->ratio.hi, d->p);
        fprintf(out, "  %s%s\n", verdict(d), fails ? ", FAILS" : "");
        met += fails;
        if (!isnan(d->ratio.ratio) && d->ratio.ratio > 0) logs += log(d->ratio.ratio), n++;
    }
    if (n)
        fprintf(out, "\n%-*s %12s %12s %7.3f   over %zu benchmarks\n", width, "geometric mean", "", "",
                exp(logs / (double)n), n);
    return met;
}

/* A path in JSON, which holds no text but UTF-8: in any other every byte above ASCII becomes '?'. */
static json_t *path_json(const char *path)
{
    json_t *json = json_string(path);
    char *ascii = json ? NULL : strdup(path);
    for (char *p = ascii; p && *p; p++)
        if ((unsigned char)*p >= 0x80) *p = '?';
    if (ascii) json = json_string(ascii);
    free(ascii);
    return json;
}

char *difference_json(const struct results *all, const struct difference *list)
{
    json_t *rows = json_array();
    for (const struct difference *d = list; d->old || d->new; d++) {
        json_t *row = json_pack("{s:s, s:s}", "name", (d->old ? d->old : d->new)->name, "verdict", verdict(d));
        const struct { const char *name; double value;
        } numbers[] = {{"old_seconds", time_of(d->old)}, {"new_seconds", time_of(d->new)}, {"ratio", d->ratio.ratio},
                       {"ratio_low", d->ratio.lo},       {"ratio_high", d->ratio.hi},      {"p", d->p}};
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
            if (isfinite(numbers[i].value)) json_object_set_new(row, numbers[i].name, json_real(numbers[i].value));
        json_array_append_new(rows, row);
    }
    json_t *root =
        json_pack("{s:o, s:o, s:o}", "old", path_json(all->file[0].path), "new", path_json(all->file[1].path), "differences", rows);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(8));
    json_decref(root);
    return text;
}
