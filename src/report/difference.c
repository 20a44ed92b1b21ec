/* Comparing results. The unit is a process: what repetitions of one process share (addresses, the
 * core it sits on, the neighbours of these minutes) is no property of the program. A side's sample
 * is a median of every process; with a single process its repetitions, and then an allowance stands
 * for what they cannot show. */
#include "report/difference.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/text.h"

/* -------------------------------------------------------------------------------------- samples */

/* What one side says of a benchmark; cpus: of its last process. */
struct sample {
    double *v;
    size_t n, processes;
    double cpus;
};

static const struct result *result_in(const struct results *all, size_t file, const char *name)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->at[i].file == file && !strcmp(all->at[i].name, name)) return &all->at[i];
    return NULL;
}

static size_t first_file(const struct differences *d, size_t side) { return side ? d->n_old : 0; }
static size_t last_file(const struct differences *d, size_t side)
{
    return side ? d->all->n_files : d->n_old;
}

/* v must have room for every process and every repetition. */
static struct sample sample_of(const struct differences *d, size_t side, const char *name,
                               double *v)
{
    struct sample s = { v, 0, 0, NAN };
    const struct result *only = NULL;
    for (size_t f = first_file(d, side); f < last_file(d, side); f++) {
        const struct result *r = result_in(d->all, f, name);
        if (!r || !r->runs) continue;
        only = r;
        v[s.n++] = result_median(r, "");
        s.processes++;
        s.cpus = result_cpus(r);
    }
    if (s.processes != 1) return s;
    memcpy(v, only->seconds, only->runs * sizeof *v);
    s.n = only->runs;
    return s;
}

static bool too_few(const struct sample *x, const struct sample *y)
{
    return x->processes < DIFFERENCE_PROCESSES || y->processes < DIFFERENCE_PROCESSES;
}

static struct stats_ratio ratio_of(const struct differences *d, const struct sample *x,
                                   const struct sample *y)
{
    return stats_ratio(x->v, x->n, y->v, y->n, too_few(x, y) ? d->hidden : 0);
}

/* Another program took CPUs from one side, or one side left them idle: between 0.9 and 1.1 is the
 * same share. */
static bool disturbed(const struct sample *x, const struct sample *y)
{
    return too_few(x, y) && fabs(log(x->cpus / y->cpus)) > log(1.1);
}

/* Whether the ranks say so too, where there are enough values for ranks to say anything. */
static bool ranks_agree(const struct sample *x, const struct sample *y)
{
    return x->n < 4 || y->n < 4 || stats_mann_whitney(x->v, x->n, y->v, y->n) < 0.05;
}

/* --------------------------------------------------------------------------------- all together */

static bool is_judged(const struct difference *x)
{
    return !isnan(x->ratio.ratio) && !x->disturbed;
}

/* The geometric mean over all common benchmarks of every process of a side that has them all; of
 * every repetition where the side is one process. */
static struct sample together(const struct differences *d, size_t side, double *v)
{
    struct sample s = { v, 0, 0, NAN };
    const bool one = last_file(d, side) - first_file(d, side) == 1;
    size_t judged = 0;
    for (size_t i = 0; i < d->n; i++) judged += is_judged(&d->at[i]);
    for (size_t f = first_file(d, side), repetition = 0; judged && f < last_file(d, side);
         one ? repetition++ : f++) {
        double sum = 0;
        for (size_t i = 0; i < d->n; i++) {
            if (!is_judged(&d->at[i])) continue;
            const struct result *r = result_in(d->all, f, d->at[i].old->name);
            if (!r || !r->runs || (one && repetition >= r->runs)) sum = NAN;
            else sum += log(one ? r->seconds[repetition] : result_median(r, ""));
        }
        if (isnan(sum) && one) break;
        if (!isnan(sum)) v[s.n++] = exp(sum / (double)judged);
    }
    s.processes = one ? s.n > 0 : s.n;
    return s;
}

/* ---------------------------------------------------------------------------------- differences */

static bool known(const struct differences *d, const char *name)
{
    for (size_t i = 0; i < d->n; i++)
        if (!strcmp((d->at[i].old ? d->at[i].old : d->at[i].new)->name, name)) return true;
    return false;
}

static const struct result *first_with(const struct differences *d, size_t side, const char *name)
{
    for (size_t f = first_file(d, side); f < last_file(d, side); f++) {
        const struct result *r = result_in(d->all, f, name);
        if (r) return r;
    }
    return NULL;
}

static void judge(struct differences *d, double *room[2], double *p)
{
    for (size_t i = 0; i < d->n; i++) {
        struct difference *x = &d->at[i];
        const char *name = (x->old ? x->old : x->new)->name;
        const struct sample s[2] = { sample_of(d, 0, name, room[0]),
                                     sample_of(d, 1, name, room[1]) };
        x->ratio = (struct stats_ratio){ NAN, NAN, NAN, NAN };
        x->old_seconds = stats_geometric_mean(s[0].v, s[0].n);
        x->new_seconds = stats_geometric_mean(s[1].v, s[1].n);
        if (s[0].n && s[1].n) {
            d->common++;
            x->ratio = ratio_of(d, &s[0], &s[1]);
            x->real = ranks_agree(&s[0], &s[1]);
            x->disturbed = disturbed(&s[0], &s[1]);
        }
        p[i] = x->disturbed ? NAN : x->ratio.p;
    }
    stats_holm(p, d->n);
    for (size_t i = 0; i < d->n; i++) {
        struct difference *x = &d->at[i];
        x->p = p[i];
        x->real &= x->p < 0.05;
        if (x->real && x->ratio.ratio > 1) d->slower++;
        else if (x->real) d->faster++;
    }
    const struct sample a = together(d, 0, room[0]), b = together(d, 1, room[1]);
    d->together = ratio_of(d, &a, &b);
}

struct differences *differences(const struct results *all, size_t n_old, double hidden)
{
    struct differences *d = calloc(1, sizeof *d);
    size_t runs = all->n_files + 1;
    for (size_t i = 0; i < all->n; i++) runs = all->at[i].runs > runs ? all->at[i].runs : runs;
    double *room[2] = { malloc(runs * sizeof(double)), malloc(runs * sizeof(double)) },
           *p = malloc((all->n + 1) * sizeof *p);
    if (d) d->at = calloc(all->n + 1, sizeof *d->at);
    bool good = d && d->at && room[0] && room[1] && p;
    if (good) {
        d->all = all;
        d->n_old = n_old;
        d->hidden = hidden;
        d->together = (struct stats_ratio){ NAN, NAN, NAN, NAN };
        for (size_t i = 0; i < all->n; i++) {
            const char *name = all->at[i].name;
            if (known(d, name)) continue;
            d->at[d->n++] =
                (struct difference){ .old = first_with(d, 0, name), .new = first_with(d, 1, name) };
        }
        judge(d, room, p);
    }
    free(room[0]);
    free(room[1]);
    free(p);
    if (!good) differences_free(&d);
    return d;
}

void differences_free(struct differences **d)
{
    if (*d) free((*d)->at);
    free(*d);
    *d = NULL;
}

bool difference_limit(const char *text, struct difference_limit *limit, char *error,
                      size_t error_size)
{
    static const char *const words[] = { "slowdown", "speedup" };
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
                *limit =
                    (struct difference_limit){ w == 1, below, percent ? 1 + value / 100 : value };
                return true;
            }
        }
    }
    snprintf(
        error, error_size,
        "expected a condition like 'slowdown>5%%', 'slowdown>1.05' or 'speedup<1.2', found '%.60s'",
        text);
    return false;
}

bool difference_meets(const struct difference *d, const struct difference_limit *limit)
{
    if (isnan(d->ratio.ratio)) return false;
    const double value = limit->speedup ? 1 / d->ratio.ratio : d->ratio.ratio;
    /* "Slower by more than" needs proof that it is slower at all; "not faster by at least" does
     * not. */
    if (!limit->below) return value > limit->value && d->real;
    return value < limit->value;
}

/* --------------------------------------------------------------------------------------- output */

static const char *name_of(const struct difference *d) { return (d->old ? d->old : d->new)->name; }

static const char *verdict(const struct difference *d)
{
    if (!d->old) return "only in the new file";
    if (!d->new) return "only in the old file";
    if (isnan(d->ratio.ratio) && *d->new->error) return d->new->error;
    if (isnan(d->ratio.ratio)) return *d->old->error ? d->old->error : "no times";
    if (d->disturbed) return "disturbed";
    if (d->real) return d->ratio.ratio > 1 ? "slower" : "faster";
    return isnan(d->ratio.lo) ? "too few repetitions" : "noise";
}

static void print_interval(FILE *out, const struct stats_ratio *r)
{
    if (isnan(r->ratio)) fputs("nothing to compare", out);
    else if (isnan(r->lo)) fprintf(out, "%.3f times as long", r->ratio);
    else fprintf(out, "%.3f times as long (95 %% interval %.3f - %.3f)", r->ratio, r->lo, r->hi);
}

static void print_verdict(FILE *out, const struct differences *all)
{
    size_t even = 0;
    for (size_t i = 0; i < all->n; i++) even += is_judged(&all->at[i]) && !all->at[i].real;
    if (all->common == 1) {
        const char *word = "no difference beyond the noise";
        for (const struct difference *d = all->at; d < all->at + all->n; d++)
            if (!isnan(d->ratio.ratio) && strcmp(verdict(d), "noise")) word = verdict(d);
        fprintf(out, "%s: ", word);
    } else {
        fprintf(out,
                "slower: %zu of %zu benchmarks, faster: %zu, no difference beyond the noise: "
                "%zu\nall together: ",
                all->slower, all->common, all->faster, even);
    }
    print_interval(out, &all->together);
    fputs("\n\n", out);
}

/* "old a.json and 4 more, today, commit 123, FMA peak 190 GFLOP/s" */
static void print_side(FILE *out, const struct differences *d, size_t side)
{
    const size_t f = first_file(d, side), more = last_file(d, side) - f - 1;
    const char *commit = results_fact(d->all, f, "commit"), *date = results_fact(d->all, f, "date"),
               *peak = results_fact(d->all, f, "peak_gflops_all");
    char line[2048], others[40] = "";
    if (more) snprintf(others, sizeof others, " and %zu more", more);
    snprintf(line, sizeof line, "%s%s%s%s%s%s%s%s%s", d->all->file[f].path, others,
             date ? ", " : "", date ? date : "", commit ? ", commit " : "", commit ? commit : "",
             peak ? ", FMA peak " : "", peak ? peak : "", peak ? " GFLOP/s" : "");
    fputs(side ? "new  " : "old  ", out);
    text_wrap(out, line, 5, 5, SCREEN);
}

static void print_head(FILE *out, const struct differences *d)
{
    /* What should be the same for a comparison to mean anything. */
    static const char *const same[] = { "cpu",   "affinity",  "governor",   "compiler",
                                        "flags", "host_name", "environment" };
    print_side(out, d, 0);
    print_side(out, d, 1);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        const char *a = results_fact(d->all, 0, same[i]),
                   *b = results_fact(d->all, d->n_old, same[i]);
        if (!a || !b || !strcmp(a, b)) continue;
        char line[1024];
        snprintf(line, sizeof line, "%s differs: '%s' and '%s'", same[i], a, b);
        fputs("note ", out);
        text_wrap(out, line, 5, 5, SCREEN);
    }
    const size_t files[2] = { d->n_old, d->all->n_files - d->n_old };
    char line[512];
    const bool enough = files[0] >= DIFFERENCE_PROCESSES && files[1] >= DIFFERENCE_PROCESSES;
    if (enough)
        snprintf(line, sizeof line, "%zu and %zu processes, compared by their medians.", files[0],
                 files[1]);
    else
        snprintf(line, sizeof line,
                 "Fewer than %d processes a side do not show what another process of the same "
                 "program takes: %.3g %% are "
                 "allowed for that (--noise). With more files, OLD1,OLD2,OLD3 NEW1,NEW2,NEW3, "
                 "nothing is guessed.",
                 DIFFERENCE_PROCESSES, 100 * d->hidden);
    text_wrap(out, line, 0, 0, SCREEN);
    size_t disturbed = 0;
    for (size_t i = 0; i < d->n; i++) disturbed += d->at[i].disturbed;
    if (disturbed) {
        snprintf(line, sizeof line,
                 "%zu disturbed: the sides got different shares of the CPUs, something else was "
                 "running; "
                 "not judged.",
                 disturbed);
        text_wrap(out, line, 0, 0, SCREEN);
    }
    text_wrap(
        out,
        "Among identical programs one comparison in twenty has any row called slower or faster.", 0,
        0, SCREEN);
}

/* Names in rows leave out what they all begin with. */
static size_t common_parts(const struct differences *all)
{
    if (!all->n) return 0;
    const size_t n = strcspn(name_of(all->at), "/");
    for (size_t i = 0; i < all->n; i++)
        if (strncmp(name_of(&all->at[i]), name_of(all->at), n + 1) || !name_of(all->at)[n])
            return 0;
    return 1;
}

enum { NUMBERS = 65 }; /* columns behind the name */

static void print_row(FILE *out, const struct difference *d, size_t width, bool fails)
{
    char a[32], b[32], interval[48];
    if (isnan(d->ratio.ratio)) {
        fputs("  ", out);
        text_wrap(out, verdict(d), width + 2, width + 2, SCREEN);
        return;
    }
    fprintf(out, " %10s %10s %9.3f", text_time(d->old_seconds, a), text_time(d->new_seconds, b),
            d->ratio.ratio);
    fprintf(out, " %s", text_interval(d->ratio.lo, d->ratio.hi, 3, interval));
    const char *word = verdict(d);
    if (!strcmp(word, "noise")) word = "";
    if (!strcmp(word, "too few repetitions")) word = "too few";
    if (fails) fprintf(out, "  %s%sFAILS", word, *word ? ", " : "");
    else if (*word) fprintf(out, "  %s", word);
    putc('\n', out);
}

static void print_missing(FILE *out, const struct differences *all, size_t side)
{
    size_t n = 0, used = 0;
    for (size_t i = 0; i < all->n; i++) {
        const struct difference *d = &all->at[i];
        if (side ? d->old != NULL : d->new != NULL) continue;
        char label[300];
        text_label(name_of(d), 0, label, sizeof label);
        if (!n++)
            used = (size_t)fprintf(out, "\nonly in the %s results: ", side ? "new" : "old") - 1;
        else used += (size_t)fprintf(out, ",");
        if (n > 1 && used + 1 + text_width(label) > SCREEN)
            used = (size_t)fprintf(out, "\n    ") - 1;
        else if (n > 1) used += (size_t)fprintf(out, " ");
        fputs(label, out);
        used += text_width(label);
    }
    if (n) putc('\n', out);
}

size_t difference_print(FILE *out, const struct differences *all,
                        const struct difference_limit *limit)
{
    const size_t skip = common_parts(all);
    size_t width = 9, met = 0;
    char label[600], clipped[4 * SCREEN + 1];
    for (size_t i = 0; i < all->n; i++) {
        const size_t n = text_width(text_label(name_of(&all->at[i]), skip, label, sizeof label));
        if (all->at[i].old && all->at[i].new &&n > width) width = n;
    }
    if (width > SCREEN - NUMBERS) width = SCREEN - NUMBERS;
    print_verdict(out, all);
    print_head(out, all);
    putc('\n', out);
    char first[300];
    snprintf(first, sizeof first, "%.*s", skip ? (int)strcspn(name_of(all->at), "/") : 9,
             skip ? name_of(all->at) : "benchmark");
    text_pad(out, text_clip(first, width, clipped), width);
    fprintf(out, " %10s %10s %9s  %16s\n", "old", "new", "new/old", "95 % interval");
    for (size_t i = 0; i < all->n; i++) {
        const struct difference *d = &all->at[i];
        const bool fails = limit && difference_meets(d, limit);
        met += fails;
        if (!d->old || !d->new) continue;
        text_pad(out, text_clip(text_label(name_of(d), skip, label, sizeof label), width, clipped),
                 width);
        print_row(out, d, width, fails);
    }
    print_missing(out, all, 0);
    print_missing(out, all, 1);
    return met;
}

/* JSON holds no text but UTF-8: in any other every byte above ASCII becomes '?'. Changes the
 * text. */
static json_t *text_json(char *text)
{
    json_t *json = json_string(text);
    for (char *p = text; !json && *p; p++)
        if ((unsigned char)*p >= 0x80) *p = '?';
    return json ? json : json_string(text);
}

/* The paths of a side, with commas. */
static json_t *paths(const struct differences *d, size_t side)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return NULL;
    for (size_t i = first_file(d, side); i < last_file(d, side); i++)
        fprintf(f, "%s%s", i > first_file(d, side) ? "," : "", d->all->file[i].path);
    json_t *path = fclose(f) ? NULL : text_json(text);
    free(text);
    return path;
}

static void set_real(json_t *object, const char *name, double value)
{
    if (isfinite(value)) json_object_set_new(object, name, json_real(value));
}

char *difference_json(const struct differences *all)
{
    json_t *rows = json_array();
    for (const struct difference *d = all->at; d < all->at + all->n; d++) {
        json_t *row = json_pack("{s:s, s:s}", "name", name_of(d), "verdict", verdict(d));
        set_real(row, "old_seconds", d->old_seconds);
        set_real(row, "new_seconds", d->new_seconds);
        set_real(row, "ratio", d->ratio.ratio);
        set_real(row, "ratio_low", d->ratio.lo);
        set_real(row, "ratio_high", d->ratio.hi);
        set_real(row, "p", d->ratio.p);
        set_real(row, "p_adjusted", d->p);
        json_array_append_new(rows, row);
    }
    json_t *root = json_pack("{s:o, s:o, s:i, s:i, s:i, s:o}", "old", paths(all, 0), "new",
                             paths(all, 1), "common", (int)all->common, "slower", (int)all->slower,
                             "faster", (int)all->faster, "differences", rows);
    set_real(root, "ratio", all->together.ratio);
    set_real(root, "ratio_low", all->together.lo);
    set_real(root, "ratio_high", all->together.hi);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(8));
    json_decref(root);
    return text;
}
