/* Statistics against published values and values worked out by hand, how often they call equals
 * different, result files good and bad, comparing them, words and columns, figures to the
 * coordinate, the pieces of pages, and a report that nothing can break. */
#include "report/canvas.h"
#include "report/contest.h"
#include "report/difference.h"
#include "report/figure.h"
#include "report/html.h"
#include "report/metrics.h"
#include "report/parts.h"
#include "report/results.h"
#include "report/scale.h"
#include "report/stats.h"
#include "report/template.h"
#include "report/text.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "check.h"

static void near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-12 + 1e-9 * fabs(want)))
        fail_msg("got %.17g, want %.17g", got, want);
}

static void quantiles(void **state)
{
    (void)state;
    const double v[] = { 5, 1, NAN, 4, 2 };
    near(stats_median(v, 5), 3);
    near(stats_quantile(v, 5, 0), 1);
    near(stats_quantile(v, 5, 1), 5);
    near(stats_quantile(v, 5, 0.25), 1.75);
    assert_true(isnan(stats_median(v, 0)));
    near(v[0], 5); /* left as it was */
}

static void mann_whitney(void **state)
{
    (void)state;
    const double low[] = { 1, 2, 3, 4, 5 }, high[] = { 6, 7, 8, 9, 10 },
                 mixed[] = { 1, 3, 5, 7, 9 }, tie_a[] = { 1, 2 }, tie_b[] = { 2, 3 };
    near(stats_mann_whitney(low, 5, high, 5), 2. / 252);
    near(stats_mann_whitney(high, 5, low, 5), 2. / 252);
    near(stats_mann_whitney(low, 3, high, 3), 2. / 20);
    near(stats_mann_whitney(low, 5, low, 5), 1);
    /* rank sums 3.5 3.5 5 5 6.5 6.5 of six choices */
    near(stats_mann_whitney(tie_a, 2, tie_b, 2), 4. / 6);
    near(stats_mann_whitney(low, 5, NULL, 0), 1);
    assert_true(stats_mann_whitney(low, 5, mixed, 5) > 0.3);
    /* Beyond the exact size: the normal approximation goes on where the exact one ends. */
    double a[60], b[60];
    for (int i = 0; i < 60; i++) {
        a[i] = i;
        b[i] = i + 7.5;
    }
    const double exact = stats_mann_whitney(a, 50, b, 50),
                 normal = stats_mann_whitney(a, 51, b, 51);
    assert_true(exact < 0.05 && exact > 0.001 && fabs(normal / exact - 1) < 0.25);
    /* A hundred are the last that are counted: one below 99 is the lowest or the highest of 100
     * ways. Of 101, the normal distribution says 49.5 / sqrt(100 / 12 * 102). */
    double zero = 0, more[100];
    for (int i = 0; i < 100; i++) more[i] = i + 1;
    near(stats_mann_whitney(&zero, 1, more, 99), 2. / 100);
    near(stats_mann_whitney(&zero, 1, more, 100), erfc(49.5 / sqrt(2 * 100. / 12 * 102)));
}

/* Ties: the share of all choices whose rank sum is at least as far from the middle, counted by hand
 * or by listing. */
static void mann_whitney_ties(void **state)
{
    (void)state;
    const double a[] = { 1, 1, 2 }, b[] = { 1, 2, 2 }, c[] = { 1, 2, 2, 3 }, d[] = { 2, 3, 3, 4 },
                 all[] = { 7, 7, 7 };
    /* Ranks 2 2 2 5 5 5: sums of three of them 6 (1 way), 9 (9), 12 (9), 15 (1); a has 9, the
     * middle is 10.5. */
    near(stats_mann_whitney(a, 3, b, 3), 1);
    const double low[] = { 1, 1, 1 }, high[] = { 2, 2, 2 };
    near(stats_mann_whitney(low, 3, high, 3), 2. / 20); /* 6 or 15 */
    near(stats_mann_whitney(all, 3, all, 3), 1);
    /* c against d, and a last one beyond the exact size: every choice of ranks counted here once
     * more. */
    const double both[] = { 1, 2, 2, 3, 2, 3, 3, 4 };
    int far = 0, ways = 0;
    double rank[8];
    for (int i = 0; i < 8; i++) {
        rank[i] = 0.5;
        for (int k = 0; k < 8; k++) rank[i] += 0.5 * ((both[k] < both[i]) + (both[k] <= both[i]));
    }
    const double seen = fabs(rank[0] + rank[1] + rank[2] + rank[3] - 18);
    for (unsigned set = 0; set < 256; set++) {
        double sum = 0;
        for (int i = 0; i < 8; i++) sum += set >> i & 1 ? rank[i] : 0;
        if (__builtin_popcount(set) != 4) continue;
        ways++;
        far += fabs(sum - 18) >= seen - 1e-9;
    }
    assert_int_equal(ways, 70);
    near(stats_mann_whitney(c, 4, d, 4), far / 70.);
    double many[120];
    for (int i = 0; i < 120; i++) many[i] = i % 2;
    assert_true(stats_mann_whitney(many, 60, many, 60) > 0.99);
    /* The normal approximation with ties: U = 60 * 60 / 2 + 450 for 3 + 1 against 1 + 3 quarters of
     * ones. Tie groups of 60 and 60: variance 300 * (121 - 2 * (60^3 - 60) / (120 * 119)); one half
     * is the continuity. */
    double quarter[60], three[60];
    for (int i = 0; i < 60; i++) {
        quarter[i] = i % 4 == 0;
        three[i] = i % 4 != 0;
    }
    const double variance = 300 * (121 - 2 * (60. * 60 * 60 - 60) / (120. * 119)),
                 z = (900 - 0.5) / sqrt(variance);
    near(stats_mann_whitney(quarter, 60, three, 60), erfc(z / sqrt(2)));
}

/* The table of Student (1908) and Fisher that every textbook has. */
static void student(void **state)
{
    (void)state;
    static const struct {
        double df, share, t;
    } known[] = { { 1, 0.05, 12.7062 },  { 2, 0.05, 4.30265 },  { 3, 0.05, 3.18245 },
                  { 4, 0.05, 2.77645 },  { 10, 0.05, 2.22814 }, { 30, 0.05, 2.04227 },
                  { 1, 0.5, 1.0 },       { 5, 0.01, 4.03214 },  { 20, 0.001, 3.84952 },
                  { 1e7, 0.05, 1.95996 } };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (fabs(stats_student_quantile(known[i].share, known[i].df) / known[i].t - 1) > 1e-5)
            fail_msg("df %g, %g: %g", known[i].df, known[i].share,
                     stats_student_quantile(known[i].share, known[i].df));
        if (fabs(stats_student_p(-known[i].t, known[i].df) / known[i].share - 1) > 1e-4)
            fail_msg("df %g, t %g: %g", known[i].df, known[i].t,
                     stats_student_p(known[i].t, known[i].df));
    }
    near(stats_student_p(1, 1), 0.5);
    near(stats_student_p(3, 2), 1 - 3 / sqrt(11)); /* df 2: 1 - t / sqrt(2 + t^2) */
    near(stats_student_p(0, 7), 1);
}

static void means(void **state)
{
    (void)state;
    const double v[] = { 1, NAN, 4, 16 }, w[] = { 2, 4, 4, 4, 5, 5, 7, 9 };
    near(stats_geometric_mean(v, 4), 4);
    near(stats_geometric_mean(v, 1), 1);
    assert_true(isnan(stats_geometric_mean(v + 1, 1)) && isnan(stats_geometric_mean(v, 0)));
    near(stats_variation(w, 8), sqrt(32. / 7) / 5); /* squares 9 1 1 1 0 0 4 16 */
    assert_true(isnan(stats_variation(w, 1)));
}

static void ratios(void **state)
{
    (void)state;
    const double a[] = { 10, 10, 10 }, b[] = { 11, 11, 11 };
    struct stats_ratio r = stats_ratio(a, 3, b, 3, 0);
    near(r.ratio, 1.1);
    near(r.lo, 1.1);
    near(r.hi, 1.1);
    near(r.p, 0);
    near(stats_ratio(a, 3, a, 3, 0).p, 1);
    /* Means 0 and ln 2 of the logarithms, variances 0.01 and 0.01, three each: Welch's t is ln 2 /
     * sqrt(0.02 / 3) with four degrees of freedom. */
    const double c[] = { exp(-0.1), 1, exp(0.1) }, d[] = { 2 * exp(0.1), 2, 2 * exp(-0.1) };
    const double error = sqrt(0.02 / 3), t = 2.7764451052;
    r = stats_ratio(c, 3, d, 3, 0);
    near(r.ratio, 2);
    assert_true(fabs(r.lo / (2 * exp(-t * error)) - 1) < 1e-9 &&
                fabs(r.hi / (2 * exp(t * error)) - 1) < 1e-9);
    near(r.p, stats_student_p(log(2) / error, 4));
    /* Unequal variances and numbers: 0.04 / 3 and 0.01 / 2, degrees of freedom by Welch and
     * Satterthwaite. */
    const double e[] = { exp(-0.2), 1, exp(0.2) },
                 f[] = { 3 * exp(sqrt(0.005)), 3 * exp(-sqrt(0.005)) };
    const double va = 0.04 / 3, vb = 0.01 / 2,
                 df = (va + vb) * (va + vb) / (va * va / 2 + vb * vb / 1);
    r = stats_ratio(e, 3, f, 2, 0);
    near(r.ratio, 3);
    near(r.p, stats_student_p(log(3) / sqrt(va + vb), df));
    /* What is hidden widens, and needs no degrees of freedom. */
    r = stats_ratio(a, 3, b, 3, 0.1);
    near(r.p, erfc(log(1.1) / sqrt(2 * 0.01) / sqrt(2)));
    assert_true(fabs(r.hi / (1.1 * exp(1.959963985 * sqrt(0.02))) - 1) < 1e-8);
    /* One value says nothing of noise; none says nothing. */
    r = stats_ratio(a, 1, b, 3, 0);
    near(r.ratio, 1.1);
    near(r.p, 1);
    assert_true(isnan(r.lo) && isnan(r.hi) && isnan(stats_ratio(a, 0, b, 3, 0).ratio));
    const double with_nan[] = { NAN, 11, 11, 11 };
    near(stats_ratio(a, 3, with_nan, 4, 0).lo, 1.1);
    /* Pairs: mean ln 2, variance 0.01. */
    const double pairs[] = { log(2) + 0.1, log(2), log(2) - 0.1 };
    r = stats_paired_ratio(pairs, 3, 0, 0);
    near(r.ratio, 2);
    near(r.p, stats_student_p(log(2) / sqrt(0.01 / 3), 2));
    /* Half of a pair is the one before: three times the variance, n / 3 - 1 = 0, at least 1 degree
     * of freedom. */
    near(stats_paired_ratio(pairs, 3, 0, 0.5).p, stats_student_p(log(2) / sqrt(0.01), 1));
    r = stats_paired_ratio(pairs, 3, 0.5, 0);
    near(r.p,
         stats_student_p(log(2) / sqrt(0.01 / 3 + 0.5), 2 * pow((0.01 / 3 + 0.5) / (0.01 / 3), 2)));
    near(stats_paired_ratio(pairs, 1, 0, 0).ratio, 2 * exp(0.1));
    near(stats_paired_ratio(pairs, 1, 0, 0).p, 1);
    assert_true(isnan(stats_paired_ratio(pairs, 0, 0, 0).ratio));
    /* 1 ... 9: squares 60, neighbours 40; 1 -1 1 -1 1 around 0.2: 4.8, and four of 0.8 * -1.2. */
    const double rising[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, zigzag[] = { 1, -1, 1, -1, 1 };
    double sums[2] = { 0, 0 };
    stats_correlate(rising, 9, sums);
    near(sums[0], 60);
    near(sums[1], 40);
    near(stats_correlation(sums, 9), 0.95); /* 2/3 + 11/27 is more */
    near(stats_correlation(sums, 100), 2. / 3 + 11. / 300);
    stats_correlate(zigzag, 5, sums);
    near(sums[0], 64.8);
    near(sums[1], 40 - 4 * 0.8 * 1.2);
    sums[1] = -10;
    near(stats_correlation(sums, 9), 0);
    near(stats_correlation(sums, 1), 0);
}

/* Holm's own example's arithmetic. */
static void many_tests(void **state)
{
    (void)state;
    double p[] = { 0.01, NAN, 0.04, 0.03, 0.005, 0.9 };
    stats_holm(p, 6);
    near(p[4], 0.025);
    near(p[0], 0.04);
    near(p[3], 0.09);
    near(p[2], 0.09); /* 0.08, but not below the one before */
    near(p[5], 0.9);
    assert_true(isnan(p[1]));
    stats_holm(NULL, 0);
}

/* A file with one benchmark of n repetitions of the times given, in ms. */
static char *file_text(const char *name, const char *const *times, size_t n)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    fprintf(f, "{\"context\": {\"date\": \"today\", \"cpu\": \"a <b> & \\\"c\\\" </script>\", "
               "\"num_cpus\": 2}, "
               "\"benchmarks\": [");
    for (size_t i = 0; i < n; i++)
        fprintf(f,
                "%s{\"name\": \"%s\", \"run_name\": \"%s\", \"run_type\": \"iteration\", "
                "\"iterations\": 3, "
                "\"real_time\": %s, \"cpu_time\": %s, "
                "\"time_unit\": \"ms\", \"examples/s\": %s}",
                i ? "," : "", name, name, times[i], times[i], times[i]);
    fprintf(f,
            ",{\"name\": \"%s_mean\", \"run_name\": \"%s\", \"run_type\": \"aggregate\", "
            "\"aggregate_name\": \"mean\", "
            "\"real_time\": 9, \"time_unit\": \"ms\"}]}",
            name, name);
    fclose(f);
    return text;
}

static void add(struct results **all, const char *where, const char *name, const char *const *times,
                size_t n)
{
    char error[300], *text = file_text(name, times, n);
    if (results_parse(where, text, strlen(text), all, error, sizeof error)) fail_msg("%s", error);
    free(text);
}

static const char *const five[] = { "10", "11", "10.5", "10.2", "10.8" }, *const slow[] = {
    "20", "21", "20.5", "20.2", "20.8"
};

static void reading(void **state)
{
    (void)state;
    struct results *all = NULL;
    add(&all, "a.json", "step/x/native", five, 5);
    assert_int_equal(all->n, 1); /* the aggregate is none */
    assert_int_equal(all->at[0].runs, 5);
    near(result_median(&all->at[0], ""), 0.0105);
    near(result_median(&all->at[0], "examples/s"), 10.5);
    assert_true(isnan(result_median(&all->at[0], "nothing")));
    assert_string_equal(results_fact(all, 0, "num_cpus"), "2");
    assert_null(results_fact(all, 0, "nothing"));
    results_free(&all);
    /* Google Benchmark's own, where none is said */
    static const struct {
        const char *unit;
        double seconds;
    } units[] = { { ", \"time_unit\": \"ns\"", 3e-9 },
                  { ", \"time_unit\": \"us\"", 3e-6 },
                  { ", \"time_unit\": \"ms\"", 3e-3 },
                  { ", \"time_unit\": \"s\"", 3 },
                  { "", 3e-9 } };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        char text[300], error[300];
        snprintf(
            text, sizeof text,
            "{\"context\": {}, \"benchmarks\": [{\"name\": \"x\", \"run_type\": \"iteration\", "
            "\"real_time\": 3, \"cpu_time\": 6%s}]}",
            units[i].unit);
        if (results_parse("a.json", text, strlen(text), &all, error, sizeof error))
            fail_msg("%s", error);
        near(result_median(&all->at[0], ""), units[i].seconds);
        near(all->at[0].cpu_seconds[0], 2 * units[i].seconds);
        results_free(&all);
    }
}

static void unreadable(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wanted;
    } wrong[] = {
        { "", "x: line 1, column 0: this is not JSON" },
        { "{\"context\": {}", "this is not JSON" },
        { "7", "'[' or '{' expected" },
        { "[]", "x: expected an object with \"context\" and \"benchmarks\", found an array" },
        { "{\"benchmarks\": []}", "x: expected an object \"context\", found nothing" },
        { "{\"context\": [], \"benchmarks\": []}",
          "x: expected an object \"context\", found an array" },
        { "{\"context\": {}}",
          "x: expected an array \"benchmarks\", found nothing: this is no benchmark's result" },
        { "{\"context\": {}, \"benchmarks\": 3}",
          "x: expected an array \"benchmarks\", found an integer" },
        { "{\"context\": {}, \"benchmarks\": [3]}",
          "x: benchmarks[0]: expected an object, found an integer" },
        { "{\"context\": {}, \"benchmarks\": [{}]}", "expected a text \"name\", found nothing" },
        { "{\"context\": {}, \"benchmarks\": [{\"name\": null}]}",
          "x: benchmarks[0]: expected a text \"name\", found null" },
        { "{\"context\": {}, \"benchmarks\": [{\"name\": \"a\", \"real_time\": 1}, {\"name\": "
          "\"b\"}]}",
          "x: benchmarks[1] (b): expected a number \"real_time\", found nothing" },
        { "{\"context\": {}, \"benchmarks\": [{\"name\": \"a\", \"real_time\": 1, \"time_unit\": "
          "5}]}",
          "x: benchmarks[0] (a): expected a \"time_unit\" of ns, us, ms or s, found an integer" },
        { "{\"context\": {}, \"benchmarks\": [{\"name\": \"a\", \"real_time\": \"1\"}]}",
          "x: benchmarks[0] (a): expected a number \"real_time\", found a text" },
        { "{\"context\": {}, \"benchmarks\": [{\"name\": \"a\", \"real_time\": 1, \"time_unit\": "
          "\"h\"}]}",
          "expected a \"time_unit\" of ns, us, ms or s, found \"h\"" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct results *all = NULL;
        char error[300] = "";
        assert_int_equal(
            results_parse("x", wrong[i].text, strlen(wrong[i].text), &all, error, sizeof error),
            RESULTS_BAD);
        if (!strstr(error, wrong[i].wanted))
            fail_msg("got '%s', want '%s'", error, wrong[i].wanted);
        results_free(&all);
    }
    struct results *all = NULL;
    char error[300];
    assert_int_equal(results_read("/nonexistent/file", &all, error, sizeof error), RESULTS_IO);
    assert_non_null(strstr(error, "/nonexistent/file: cannot read: No such file"));
    assert_int_equal(results_read("/", &all, error, sizeof error), RESULTS_IO);
    results_free(&all);
    /* A buffer without room for the reason, or for the name alone. */
    memset(error, '#', sizeof error);
    assert_int_equal(results_parse("name", "[]", 2, &all, error, 8), RESULTS_BAD);
    assert_string_equal(error, "name: e");
    assert_int_equal(results_parse("name", "[]", 2, &all, error, 4), RESULTS_BAD);
    assert_string_equal(error, "nam");
    assert_int_equal(error[8], '#');
    results_free(&all);
}

/* What other writers of the format leave out, put in, or say in another way. */
static void odd_records(void **state)
{
    (void)state;
    static const char text[] =
        "{\"context\": {\"load\": [0.5, 1], \"text\": \"t\", \"build\": null}, \"benchmarks\": ["
        "{\"name\": \"a\", \"run_type\": null, \"run_name\": [], \"real_time\": 2, \"label\": "
        "\"old\", \"x\": 1},"
        "{\"name\": \"a\", \"real_time\": 4.5, \"cpu_time\": 9, \"label\": \"new\", \"y\": 2.5, "
        "\"z\": \"no\", \"threads\": 8},"
        "{\"name\": \"a_mean\", \"run_name\": \"a\", \"run_type\": \"aggregate\", \"real_time\": "
        "100},"
        "{\"name\": \"old\", \"error_occurred\": true, \"error_message\": \"it broke\"},"
        "{\"name\": \"mute\", \"error_occurred\": true, \"error_message\": 5},"
        "{\"name\": \"new\", \"skipped\": true, \"skip_message\": \"no such CPU\"},"
        "{\"name\": \"still\", \"skipped\": true},"
        "{\"name\": \"fine\", \"error_occurred\": false, \"skipped\": null, \"real_time\": 1, "
        "\"time_unit\": \"s\"}]}";
    struct results *all = NULL;
    char error[300];
    if (results_parse("f", text, sizeof text - 1, &all, error, sizeof error)) fail_msg("%s", error);
    assert_int_equal(all->n, 6);
    const struct result *a = &all->at[0];
    assert_string_equal(a->name, "a");
    assert_string_equal(a->label, "new");
    assert_int_equal(a->runs, 2);
    near(a->seconds[0], 2e-9);
    near(a->seconds[1], 4.5e-9);
    assert_true(isnan(a->cpu_seconds[0]));
    near(a->cpu_seconds[1], 9e-9);
    assert_int_equal(a->n_counters, 2);
    near(a->counter[0].value[0], 1);
    assert_true(isnan(a->counter[0].value[1]) && isnan(a->counter[1].value[0]));
    near(a->counter[1].value[1], 2.5);
    static const struct {
        const char *name, *error;
        size_t runs;
    } others[] = { { "old", "it broke", 0 },
                   { "mute", "failed", 0 },
                   { "new", "no such CPU", 0 },
                   { "still", "failed", 0 },
                   { "fine", "", 1 } };
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(all->at[i + 1].name, others[i].name);
        assert_string_equal(all->at[i + 1].error, others[i].error);
        assert_int_equal(all->at[i + 1].runs, others[i].runs);
    }
    assert_string_equal(results_fact(all, 0, "load"), "[0.5,1]");
    assert_string_equal(results_fact(all, 0, "text"), "t");
    assert_string_equal(results_fact(all, 0, "build"), "null");
    assert_null(results_fact(all, 1, "text")); /* there is one file */
    results_free(&all);
    results_free(&all); /* nothing */
}

static char *printed(const struct differences *d, const struct difference_limit *limit, size_t met)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    assert_int_equal(difference_print(f, d, limit), met);
    fclose(f);
    return text;
}

static size_t times(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) n++;
    return n;
}

static void has_text(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("no '%s' in:\n%s", part, text);
}

static void comparing(void **state)
{
    (void)state;
    struct results *all = NULL;
    struct difference_limit limit;
    char error[300], *text;
    add(&all, "old", "a", five, 5);
    add(&all, "new", "a", slow, 5);
    struct differences *d = differences(all, 1, 0.01);
    assert_int_equal(d->n, 1);
    assert_int_equal(d->slower, 1);
    near(d->at[0].ratio.ratio,
         pow(20 * 21 * 20.5 * 20.2 * 20.8 / (10 * 11 * 10.5 * 10.2 * 10.8), 0.2));
    near(d->at[0].old_seconds, pow(10 * 11 * 10.5 * 10.2 * 10.8, 0.2) * 1e-3);
    assert_true(d->at[0].real);
    assert_true(difference_limit("slowdown>5%", &limit, error, sizeof error) &&
                difference_meets(&d->at[0], &limit));
    assert_true(difference_limit(" slowdown > 95.5% ", &limit, error, sizeof error) &&
                !difference_meets(&d->at[0], &limit));
    assert_true(difference_limit("speedup<1.2", &limit, error, sizeof error) &&
                difference_meets(&d->at[0], &limit));
    text = printed(d, &limit, 1);
    assert_int_equal(strncmp(text, "slower: 1.953 times as long (95 % interval", 42), 0);
    has_text(text, "slower, FAILS\n");
    free(text);
    differences_free(&d);
    results_free(&all);
    /* Noise is no slowdown, however large it is. */
    add(&all, "old", "a", five, 1);
    add(&all, "new", "a", slow, 1);
    d = differences(all, 1, 0.01);
    assert_true(difference_limit("slowdown>5%", &limit, error, sizeof error) &&
                !difference_meets(&d->at[0], &limit));
    text = difference_json(d);
    has_text(text, "too few repetitions");
    free(text);
    differences_free(&d);
    results_free(&all);
    static const char *const wrong[] = {
        "",          "slowdown",     "slowdown>",    "slowdown>x",  "slowdown=5%",
        "slower>5%", "slowdown>5%%", "slowdown>-5%", "slowdown>1e9"
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (difference_limit(wrong[i], &limit, error, sizeof error))
            fail_msg("'%s' was accepted", wrong[i]);
}

/* Ranks are asked from four values a side on: of fewer they can say nothing, however far the two
 * sides are apart; of four they must be apart but for none. */
static void few_values(void **state)
{
    (void)state;
    static const char *const clear[2][4] = { { "10", "10.1", "10.2", "10.3" },
                                             { "20", "20.1", "20.2", "20.3" } },
                             *const mixed[2][4] = { { "10", "10", "10", "10.9" },
                                                    { "10.8", "20", "20", "20" } };
    static const struct {
        const char *const (*side)[4];
        size_t n[2];
        bool real;
    } cases[] = { { clear, { 3, 3 }, true },
                  { clear, { 3, 4 }, true },
                  { clear, { 4, 3 }, true },
                  { clear, { 4, 4 }, true },
                  { mixed, { 4, 4 }, false } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct results *all = NULL;
        add(&all, "old", "a", cases[i].side[0], cases[i].n[0]);
        add(&all, "new", "a", cases[i].side[1], cases[i].n[1]);
        struct differences *d = differences(all, 1, 0.01);
        assert_true(d->at[0].ratio.lo > 1);
        if (d->at[0].real != cases[i].real) fail_msg("case %zu: real: %d", i, d->at[0].real);
        differences_free(&d);
        results_free(&all);
    }
}

/* A side whose threads did not get the CPUs is no slower program; with enough processes it does not
 * matter. */
static void disturbed(void **state)
{
    (void)state;
    struct results *all = NULL;
    char error[300];
    static const char text[] =
        "{\"context\": {}, \"benchmarks\": [{\"name\": \"a\", \"real_time\": 1, \"cpu_time\": 2}, "
        "{\"name\": \"a\", \"real_time\": 1.1, \"cpu_time\": 2.2}]}",
                      robbed[] = "{\"context\": {}, \"benchmarks\": [{\"name\": \"a\", "
                                 "\"real_time\": 4, \"cpu_time\": 6}, "
                                 "{\"name\": \"a\", \"real_time\": 4.1, \"cpu_time\": 6.1}]}";
    for (int i = 0; i < 2; i++)
        assert_int_equal(results_parse("x", i ? robbed : text, strlen(i ? robbed : text), &all,
                                       error, sizeof error),
                         RESULTS_OK);
    near(result_cpus(&all->at[0]), 2);
    struct differences *d = differences(all, 1, 0.01);
    assert_true(d->at[0].disturbed && !d->at[0].real && !d->slower && isnan(d->at[0].p));
    char *shown = printed(d, NULL, 0);
    has_text(shown, "disturbed");
    has_text(shown, "1 disturbed: the sides got different shares of the CPUs");
    free(shown);
    differences_free(&d);
    results_free(&all);
}

/* What one side lacks is told, counts for nothing, and ends up in the JSON with its own verdict. */
static void one_side_only(void **state)
{
    (void)state;
    struct results *all = NULL;
    add(&all, "old", "ops/both/native", five, 5);
    add(&all, "new", "ops/both/native", five, 5);
    add(&all, "newer", "ops/added/native", slow, 5);
    add(&all, "newest", "ops/also added/native", slow, 5);
    struct differences *d = differences(all, 1, 0.01);
    assert_int_equal(d->n, 3);
    assert_int_equal(d->common, 1);
    assert_int_equal(d->slower + d->faster, 0);
    assert_null(d->at[1].old);
    assert_true(isnan(d->at[1].p) && isnan(d->at[1].ratio.ratio) && !d->at[1].real);
    near(d->at[1].new_seconds, pow(20 * 21 * 20.5 * 20.2 * 20.8, 0.2) * 1e-3);
    char *text = printed(d, NULL, 0);
    has_text(text, "only in the new results: ops added native, ops also added native\n");
    assert_null(strstr(text, "only in the old"));
    free(text);
    text = difference_json(d);
    has_text(text, "only in the new file");
    free(text);
    differences_free(&d);
    results_free(&all);
    add(&all, "old", "left", five, 5);
    add(&all, "new", "right", five, 5);
    d = differences(all, 1, 0.01);
    assert_int_equal(d->common, 0);
    text = difference_json(d);
    has_text(text, "only in the old file");
    free(text);
    differences_free(&d);
    results_free(&all);
}

/* Several processes a side are compared by their medians, whatever their repetitions do. */
static void processes(void **state)
{
    (void)state;
    static const char *const times[6][3] = { { "1", "9", "1" },     { "1.1", "1.1", "8" },
                                             { "0.9", "0.9", "7" }, { "2", "2", "9" },
                                             { "2.2", "9", "2.2" }, { "1.8", "8", "1.8" } };
    struct results *all = NULL;
    for (int f = 0; f < 6; f++) add(&all, f < 3 ? "old" : "new", "a", times[f], 3);
    struct differences *d = differences(all, 3, 5);
    const double x[] = { 1, 1.1, 0.9 }, y[] = { 2, 2.2, 1.8 };
    near(d->at[0].ratio.ratio, 2);
    near(d->at[0].ratio.p, stats_ratio(x, 3, y, 3, 0).p); /* nothing is guessed */
    near(d->together.ratio, 2);
    assert_true(d->at[0].real && d->slower == 1);
    char *text = printed(d, NULL, 0);
    has_text(text, "old  old and 2 more");
    has_text(text, "3 and 3 processes");
    free(text);
    differences_free(&d);
    d = differences(all, 2, 5); /* two are too few to know */
    assert_false(d->at[0].real);
    differences_free(&d);
    results_free(&all);
}

static struct differences *compared(const char *const *files, size_t n, size_t n_old,
                                    struct results **all)
{
    char error[300], name[8];
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "f%zu", i);
        if (results_parse(name, files[i], strlen(files[i]), all, error, sizeof error))
            fail_msg("%s", error);
    }
    return differences(*all, n_old, 0.001);
}

#define TIME(name, time) "{\"name\": \"" name "\", \"real_time\": " #time "}"
#define FIVE(name, a, b, c, d, e) \
    TIME(name, a) "," TIME(name, b) "," TIME(name, c) "," TIME(name, d) "," TIME(name, e)
#define FAILED(name, why) \
    "{\"name\": \"" name "\", \"error_occurred\": true, \"error_message\": \"" why "\"}"
#define FACTS(cpu, commit)                                                        \
    "{\"context\": {\"cpu\": \"" cpu "\", \"date\": \"D\", \"commit\": \"" commit \
    "\", \"peak_gflops_all\": \"190\"}, \"benchmarks\": ["
#define LONG_NAME \
    "ops/a name of more than fifty letters, which is more than a screen has room for/native"

/* Rows that did not run on a side, rows that are faster, too few, or in the noise, and files of
 * different machines. */
static void comparing_what_broke(void **state)
{
    (void)state;
    struct results *all = NULL;
    struct difference_limit limit;
    char error[300];
    /* clang-format off */
    const char *const files[] = {
        FACTS("one", "12") FIVE("ops/quick/native", 20, 21, 22, 23, 24) ","
        FIVE("ops/same/native", 10, 11, 12, 13, 14) ","
        FAILED("ops/old/native", "old broke") ","
        TIME("ops/new/native", 1) ","
        FAILED("ops/both/native", "") ","
        TIME("ops/few/native", 1) ","
        FIVE(LONG_NAME, 10, 11, 12, 13, 14) ","
        TIME("ops/left", 1) "]}",
        FACTS("two", "34") FIVE("ops/quick/native", 2, 2.1, 2.2, 2.3, 2.4) ","
        FIVE("ops/same/native", 10.1, 11, 12, 13, 14) ","
        TIME("ops/old/native", 1) ","
        FAILED("ops/new/native", "new broke") ","
        FAILED("ops/both/native", "") ","
        TIME("ops/few/native", 1) ","
        FIVE(LONG_NAME, 10, 11, 12, 13, 14) ","
        TIME("ops/the first of those that are only here/native", 1) ","
        TIME("ops/the second of those that are only here/native", 1) ","
        TIME("ops/the third of those that are only here/native", 1) "]}"};
    /* clang-format on */
    struct differences *d = compared(files, 2, 1, &all);
    assert_int_equal(d->common, 4);
    assert_int_equal(d->faster, 1);
    assert_int_equal(d->slower, 0);
    near(d->at[0].ratio.ratio, 0.1);
    assert_true(difference_limit("speedup<1.2", &limit, error, sizeof error));
    for (size_t i = 0; i < d->n; i++) /* what cannot be compared meets no condition */
        assert_int_equal(difference_meets(&d->at[i], &limit), i == 1 || i == 5 || i == 6);
    char *text = printed(d, &limit, 3);
    static const char *const parts[] = {
        "slower: 0 of 4 benchmarks, faster: 1, no difference beyond the noise: 3\n",
        "old  f0, D, commit 12, FMA peak 190 GFLOP/s\n",
        "new  f1, D, commit 34, FMA peak 190 GFLOP/s\n",
        "note cpu differs: 'one' and 'two'\n",
        "  faster\n",
        "  FAILS\n",
        "  too few, FAILS\n",
        "old broke\n",
        "new broke\n",
        "no times\n",
        "..",
        "only in the old results: ops left\n",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) has_text(text, parts[i]);
    has_text(text, "only in the new results: ops the first of those that are only here native,\n   "
                   " ops the second of those that are only here native,\n"
                   "    ops the third of those that are only here native\n");
    free(text);
    assert_true(difference_limit("slowdown>5%", &limit, error, sizeof error));
    text = printed(d, &limit, 0);
    assert_null(strstr(text, "FAILS"));
    free(text);
    text = difference_json(d);
    has_text(text, "\"verdict\": \"faster\"");
    has_text(text, "\"verdict\": \"no times\"");
    free(text);
    differences_free(&d);
    results_free(&all);
}

/* Five processes against one; one of the five lacks a row, in another it broke: what is left
 * decides. Nothing at all is no crash. */
static void comparing_uneven_sides(void **state)
{
    (void)state;
    struct results *all = NULL;
    /* clang-format off */
    const char *const files[] = {
        "{\"context\": {}, \"benchmarks\": [" TIME("a", 10) "," TIME("b", 1) "]}",
        "{\"context\": {}, \"benchmarks\": [" TIME("a", 11) "," TIME("b", 1) "]}",
        "{\"context\": {}, \"benchmarks\": [" TIME("b", 1) "]}",
        "{\"context\": {}, \"benchmarks\": [" FAILED("a", "x") "," TIME("b", 1) "]}",
        "{\"context\": {}, \"benchmarks\": [" TIME("a", 12) "," TIME("b", 1) "]}",
        "{\"context\": {}, \"benchmarks\": [" TIME("a", 22) "," TIME("b", 1) "]}"};
    /* clang-format on */
    struct differences *d = compared(files, 6, 5, &all);
    assert_int_equal(d->common, 2);
    near(d->at[0].old_seconds, pow(10 * 11 * 12., 1 / 3.) * 1e-9);
    near(d->at[0].ratio.ratio, 22 / pow(10 * 11 * 12., 1 / 3.));
    /* of the three processes that have both */
    near(d->together.ratio, sqrt(22) / pow(10 * 11 * 12., 1 / 6.));
    char *text = printed(d, NULL, 0);
    has_text(text, "old  f0 and 4 more\n");
    has_text(text, "Fewer than");
    free(text);
    differences_free(&d);
    results_free(&all);
    static const char *const nothing[] = { "{\"context\": {}, \"benchmarks\": []}",
                                           "{\"context\": {}, \"benchmarks\": []}" };
    d = compared(nothing, 2, 1, &all);
    assert_int_equal(d->n, 0);
    text = printed(d, NULL, 0);
    has_text(text, "nothing to compare");
    free(text);
    differences_free(&d);
    results_free(&all);
}

/* --------------------------------------------------------------------------------------- equals */

/* A normal number times sigma. */
static double noise(struct check_rng *rng, double sigma)
{
    const double u = ((double)(check_u64(rng) >> 11) + 0.5) * 0x1p-53,
                 v = (double)(check_u64(rng) >> 11) * 0x1p-53;
    return sigma * sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

enum { ROWS = 20, REPETITIONS = 5, COMPARISONS = 200 };

/* A process of the program that all are: each benchmark's time has a part of its own to the
 * process, a part that all benchmarks of it share, and repetitions that resemble the one before;
 * now and then one is interrupted. */
static void add_process(struct results **all, struct check_rng *rng, double between, double factor)
{
    char *text, error[300];
    size_t size;
    FILE *f = open_memstream(&text, &size);
    const double shared = noise(rng, between * 0.7);
    fputs("{\"context\": {}, \"benchmarks\": [", f);
    for (int row = 0; row < ROWS; row++) {
        const double level = shared + noise(rng, between * 0.7);
        double last = noise(rng, 0.03);
        for (int i = 0; i < REPETITIONS; i++) {
            last = 0.6 * last + noise(rng, 0.8 * 0.03);
            const double time = (row + 1) * exp(level + last + (check_below(rng, 20) ? 0 : 0.2)) *
                                (row ? 1 : factor);
            fprintf(f, "%s{\"name\": \"row%d\", \"real_time\": %.9g, \"time_unit\": \"ms\"}",
                    row || i ? "," : "", row, time);
        }
    }
    fputs("]}", f);
    fclose(f);
    if (results_parse("x", text, size, all, error, sizeof error)) fail_msg("%s", error);
    free(text);
}

/* In how many of the comparisons some row is called slower or faster; *first: how often the first
 * one is. */
static size_t called(size_t files, double between, double factor, size_t *first)
{
    struct check_rng rng = { check_seed() };
    size_t n = 0;
    *first = 0;
    for (int k = 0; k < COMPARISONS; k++) {
        struct results *all = NULL;
        for (size_t f = 0; f < 2 * files; f++)
            add_process(&all, &rng, between, f < files ? 1 : factor);
        struct differences *d = differences(all, files, DIFFERENCE_HIDDEN);
        n += d->slower + d->faster > 0;
        *first += d->at[0].real;
        differences_free(&d);
        results_free(&all);
    }
    return n;
}

/* "One comparison in twenty": 10 of 200; 19 are three standard deviations more. A rule that takes
 * repetitions of a process for independent calls something in 200 of 200. */
static void equals_are_equal(void **state)
{
    (void)state;
    size_t first, n;
    if ((n = called(1, 0.12, 1, &first)) > 19) fail_msg("one process a side: %zu", n);
    if ((n = called(2, 0.12, 1, &first)) > 19) fail_msg("two processes a side: %zu", n);
    if ((n = called(3, 0.4, 1, &first)) > 19) fail_msg("three processes a side: %zu", n);
    if ((n = called(6, 0.4, 1, &first)) > 19) fail_msg("six processes a side: %zu", n);
    /* And what differs is found: a quarter on a quiet machine, the double on a loud one. */
    called(6, 0.02, 1.25, &first);
    if (first < 190) fail_msg("a quarter: %zu", first);
    called(1, 0.02, 2.5, &first);
    if (first < 190) fail_msg("one process, two and a half: %zu", first);
}

enum { CONTEST_ROWS = 45, TURN = 3, TURNS = 10 };

/* Steps of one side: they drift together with the other's, and resemble the one before. Between two
 * turns of a side lie thirteen steps that are not among them: its own with the clocks on and its
 * first, and the other's. */
static void steps(struct check_rng *rng, const double *drift, double factor, double *out)
{
    double last = noise(rng, 0.05);
    for (int i = 0; i < TURN * TURNS; i++) {
        for (int skipped = 0; skipped < (i % TURN ? 0 : 13); skipped++)
            last = 0.7 * last + noise(rng, 0.05);
        last = 0.7 * last + noise(rng, 0.05);
        out[i] = factor * exp(drift[i / TURN] + last + (check_below(rng, 15) ? 0 : 0.3));
    }
}

/* In how many contests of a side with itself (or, in its first row, with one that takes factor
 * times as long). */
static size_t contests(double factor, size_t *first)
{
    struct check_rng rng = { check_seed() };
    static double time[2][CONTEST_ROWS + 1][TURN * TURNS];
    size_t n = 0;
    *first = 0;
    for (int k = 0; k < COMPARISONS; k++) {
        struct contest_cell cell[CONTEST_ROWS][2] = { { { 0 } } };
        struct contest_row row[CONTEST_ROWS] = { { 0 } };
        struct contest_side side[2] = { { .name = "a", .n = TURN * TURNS },
                                        { .name = "b", .n = TURN * TURNS } };
        struct contest c = {
            .turn = TURN, .n_sides = 2, .n_rows = CONTEST_ROWS, .side = side, .row = row
        };
        double drift[TURNS] = { 0 };
        for (int i = 1; i < TURNS; i++) drift[i] = drift[i - 1] + noise(&rng, 0.1);
        for (int r = 0; r <= CONTEST_ROWS; r++)
            for (int s = 0; s < 2; s++) {
                steps(&rng, drift, s && !r ? factor : 1, time[s][r]);
                if (r == CONTEST_ROWS) side[s].plain = time[s][r];
                else cell[r][s] = (struct contest_cell){ .n = TURN * TURNS, .seconds = time[s][r] };
            }
        for (int r = 0; r < CONTEST_ROWS; r++) row[r].cell = cell[r];
        assert_true(contest_judge(&c));
        size_t real = side[1].verdict.real;
        for (int r = 0; r < CONTEST_ROWS; r++) real += cell[r][1].verdict.real;
        n += real > 0;
        *first += cell[0][1].verdict.real;
    }
    return n;
}

static void equal_contestants(void **state)
{
    (void)state;
    size_t first, n = contests(1, &first);
    if (n > 19) fail_msg("%zu of %d contests of a side with itself", n, COMPARISONS);
    contests(1.5, &first);
    if (first < 190) fail_msg("one and a half: %zu", first);
}

/* ---------------------------------------------------------------------------------------- words */

/* On a page intervals have the ratio's digits, and one that says nothing has none. */
static void page_intervals(struct contest *c)
{
    char *text;
    size_t size;
    c->side[1].verdict.ratio = (struct stats_ratio){ .ratio = 765.4, .lo = 226.4, .hi = 2589.1 };
    c->row[0].cell[1].verdict.ratio =
        (struct stats_ratio){ .ratio = 255.2, .lo = 0.01, .hi = 2e11 };
    FILE *f = open_memstream(&text, &size);
    assert_true(contest_html(f, c));
    fclose(f);
    has_text(text, "<td>765</td><td class=\"wide\">226 – 2589</td>");
    has_text(text, ">255</td><td class=\"wide\">anything</td>");
    free(text);
}

/* Two contestants of eight steps whose numbers are chosen: what every line says can be worked out
 * by hand. Medians in microseconds: a step 1000 and 500, with clocks 1100 and 600; the rows
 * below. */
static void contest_by_hand(void **state)
{
    (void)state;
    enum { N = 8, N_ROWS = 4 };
    static const double vary[N] = { 0.99, 1, 1, 1, 1, 1, 1, 1.01 };
    static const struct {
        const char *name;
        enum contest_part part;
        double flops, bytes, us[2];
    } rows[N_ROWS] = { { "conv", CONTEST_FORWARD, 2e6, 4e5, { 100, 200 } },
                       { "relu", CONTEST_FORWARD, 0, 8e5, { 50, 50 } },
                       { "sgd", CONTEST_UPDATE, 1e5, 0, { 20, 10 } },
                       { "turn", CONTEST_REORDER, 0, 0, { 0, 40 } } };
    double seconds[N_ROWS][2][N], plain[2][N], clocked[2][N];
    struct contest_cell cell[N_ROWS][2] = { { { 0 } } };
    struct contest_row row[N_ROWS] = { { 0 } };
    struct contest_side side[2] = { { .name = "one", .n = N, .loss = 2.5 },
                                    { .name = "two", .n = N, .loss = 2.25 } };
    char names[N_ROWS][8];
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < N; i++) {
            plain[s][i] = (s ? 500e-6 : 1000e-6) * vary[i];
            clocked[s][i] = (s ? 600e-6 : 1100e-6) * vary[i];
        }
        side[s].plain = plain[s];
        side[s].clocked = clocked[s];
    }
    for (size_t r = 0; r < N_ROWS; r++) {
        row[r] = (struct contest_row){ strcpy(names[r], rows[r].name), rows[r].part, rows[r].flops,
                                       rows[r].bytes, cell[r] };
        for (size_t s = 0; s < 2; s++) {
            for (size_t i = 0; i < N; i++) seconds[r][s][i] = rows[r].us[s] * 1e-6 * vary[i];
            if (rows[r].us[s] > 0)
                cell[r][s] = (struct contest_cell){ .n = N, .seconds = seconds[r][s] };
        }
    }
    cell[0][1].distance = (struct contest_distance){
        .tensor = "conv.out", .abs = 1.5e-6, .rel = 2.5e-5, .ulp = 3, .worst = { 1, 2, 3, 4 }
    };
    strcpy(cell[0][0].kernels, "direct; why");
    strcpy(cell[2][0].kernels, "direct");
    struct contest c = { .model = "m",
                         .cpu = "cpu",
                         .isa = "avx2",
                         .version = "1",
                         .batch = 4,
                         .threads = 2,
                         .check_batch = 3,
                         .turn = 1,
                         .peak = 100e9,
                         .n_sides = 2,
                         .n_rows = N_ROWS,
                         .side = side,
                         .row = row };
    assert_true(contest_judge(&c));
    near(side[1].verdict.ratio.ratio, 0.5);
    near(cell[0][1].verdict.ratio.ratio, 2);
    near(cell[1][1].verdict.ratio.ratio, 1);
    assert_true(side[1].verdict.real && cell[0][1].verdict.real && !cell[1][1].verdict.real &&
                cell[2][1].verdict.real);
    assert_false(cell[3][1].verdict.real);
    assert_true(isnan(cell[3][1].verdict.ratio.ratio));
    /* 2e6 operations in 100 us are 20 GFLOP/s of 100, 4e5 bytes 4 GB/s, 100 of 170 us 58.8 %. */
    static const char *const lines[] = {
        "two against one: faster\n    a step takes 0.50 times as long (95 % interval 0.",
        "    of 3 rows slower: 1, faster: 1, no difference beyond the noise: 1\n\nm, batch 4, 2 "
        "threads, avx2 on cpu; ",
        "FMA peak 100.0 GFLOP/s; medians of 8 steps.\n",
        "Numbers: one step of 3 images",
        "one 2.5\ntwo 2.25\n",
        "\n-- forward\nconv                                      100.0     200.0    2.00    1.",
        " slower\nrelu ",
        "\nrelu                                       50.0      50.0    1.00    0.",
        "\n-- update\nsgd                                        20.0      10.0    0.50    0.",
        "faster\n-- the whole step                        1000.0     500.0    0.50    0.",
        "faster\n\none   ",
        "\n-- forward\nconv                                      100.0   0.0   58.8     20.0   "
        "20.0    4.0\n"
        "relu                                       50.0   0.0   29.4                   16.0\n"
        "-- update\nsgd                                        20.0   0.0   11.8      5.0    5.0\n"
        "-- all of these                           170.0\n-- waiting, starting threads             "
        " 930.0\n"
        "-- a step with clocks                    1100.0  3636.4 examples/s\n-- a step without     "
        "                   1000.0  4000.0 examples/s\ndirect: conv, sgd\n\n",
        "\n-- forward\nconv                                      200.0   0.0   66.7     10.0   "
        "10.0    2.0  1.5e-06 2.5e-05\n"
        "relu                                       50.0   0.0   16.7                   16.0\n"
        "-- update\nsgd                                        10.0   0.0    3.3     10.0   10.0\n"
        "-- reorder\nturn                                       40.0   0.0   13.3\n-- all of these "
        "                          300.0\n"
        "-- waiting, starting threads              300.0\n-- a step with clocks                    "
        " 600.0  6666.7 examples/s\n"
        "-- a step without                         500.0  8000.0 examples/s\n"
    };
    static const char *const page[] = {
        "<b>4000</b>", "one, examples/s (&#177;0.0 %)", "<b>8000</b>",
        "<td>the whole step</td><td data-tip=\"&#177;0.0 %\">1000.0</td>",
        "data-tip=\"&#177;0.0 %\">500.0</td><td class=\"faster\">0.50</td>",
        "<td>conv</td><td data-tip=\"&#177;0.0 %\">100.0</td><td class=\"wide\" "
        "data-tip=\"&#177;0.0 %\">200.0</td><td class=\"slower\">2.00</td>",
        "<td>relu</td><td data-tip=\"&#177;0.0 %\">50.0</td><td class=\"wide\" "
        "data-tip=\"&#177;0.0 %\">50.0</td><td>1.00</td>",
        "<tr class=\"wide\"><td>turn</td><td></td><td class=\"wide\" data-tip=\"&#177;0.0 "
        "%\">40.0</td><td></td><td class=\"wide\"></td></tr>",
        "<th>time</th><th><span class=\"key\" style=\"--c:var(--c0)\"></span>% peak</th>"
        "<th>GB/s</th><th><span class=\"key\" style=\"--c:var(--c1)\"></span>% peak</th>"
        "<th>GB/s</th><th>max diff</th>", /* the first is what is measured against */
        /* bars of 100 and 200 us among 10 to 200: the logarithms of 20 and 40, of 40 */
        "<td>conv</td><td class=\"bars\"><div class=\"fill\" "
        "style=\"--c:var(--c0);width:81.2%\"></div><div class=\"fill\" "
        "style=\"--c:var(--c1);width:100.0%\">"
        "</div></td><td data-tip=\"direct; why\">20.0</td><td>4.0</td><td "
        "data-tip=\"\">10.0</td><td>2.0</td><td "
        "data-tip=\"conv.out[1,2,3,4]: 3 ulp\nat most 2.5e-05 relative\">1.5e-06</td>",
        "<td>relu</td><td class=\"bars\"><div class=\"fill\" "
        "style=\"--c:var(--c0);width:62.4%\"></div><div class=\"fill\" "
        "style=\"--c:var(--c1);width:62.4%\">"
        "</div></td><td data-tip=\"\"></td><td>16.0</td><td data-tip=\"\"></td>"
        "<td>16.0</td><td></td>",
        "<td>sgd</td><td class=\"bars\"><div class=\"fill\" "
        "style=\"--c:var(--c0);width:37.6%\"></div><div class=\"fill\" "
        "style=\"--c:var(--c1);width:18.8%\">"
        "</div></td><td data-tip=\"direct\">5.0</td><td></td><td data-tip=\"\">10.0</td>"
        "<td></td><td></td>"
    };
    static const char *const values[] = { "\"examples_per_second\": 4000.0",
                                          "\"examples_per_second_clocked\": 3636.36364",
                                          "\"rows_seconds\": 0.00017",
                                          "\"loss\": 2.25",
                                          "\"examples_per_second\": 8000.0",
                                          "\"rows_seconds\": 0.0003",
                                          "\"share\": 0.588235294",
                                          "\"flops_per_second\": 2e10",
                                          "\"of_peak\": 0.2",
                                          "\"bytes_per_second\": 4e9",
                                          "\"share\": 0.666666667",
                                          "\"max_abs\": 1.5e-6",
                                          "\"max_rel\": 2.5e-5",
                                          "\"ulp\": 3.0",
                                          "\"real\": true",
                                          "\"real\": false",
                                          "\"ratio\": 2.0",
                                          "\"ratio\": 0.5" };
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    contest_print(f, &c);
    fclose(f);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) has_text(text, lines[i]);
    free(text);
    f = open_memstream(&text, &size);
    assert_true(contest_html(f, &c));
    fclose(f);
    for (size_t i = 0; i < sizeof page / sizeof *page; i++) has_text(text, page[i]);
    free(text);
    text = contest_json(&c);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) has_text(text, values[i]);
    free(text);

    /* A few steps that differ by chance and by more: apart, but not for sure among several rows. */
    static const double few[] = { 0.3, 0.5, 0.8, 0.45 };
    for (size_t i = 0; i < 4; i++) plain[1][i] = few[i] * plain[0][i];
    side[1].n = 4;
    assert_true(contest_judge(&c));
    assert_true(side[1].verdict.ratio.hi < 1 && !side[1].verdict.real);
    f = open_memstream(&text, &size);
    contest_print(f, &c);
    fclose(f);
    has_text(text, "two against one: too few steps to be sure\n    a step takes 0.4");
    free(text);
    page_intervals(&c);
}

static void same(const char *got, const char *want)
{
    if (strcmp(got, want)) fail_msg("got '%s', want '%s'", got, want);
}

static void units(void **state)
{
    (void)state;
    char text[32];
    static const struct {
        double seconds;
        const char *text;
    } times[] = { { 2.084e-3, "2.08 ms" }, { 0, "0.00 ns" },        { 1, "1.00 s" },
                  { 0.9996, "1.00 s" },    { 0.9994, "999 ms" },    { 123.4, "123 s" },
                  { 1e-9, "1.00 ns" },     { 45.67e-6, "45.7 us" }, { 9.996e-6, "10.0 us" },
                  { 1e-3, "1.00 ms" },     { 9.994e-6, "9.99 us" }, { 99.94e-9, "99.9 ns" },
                  { 99.96e-9, "100 ns" },  { 12345, "12345 s" },    { NAN, "-" } };
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        same(text_time(times[i].seconds, text), times[i].text);
    static const struct {
        double share;
        const char *text;
    } shares[] = { { 0.004, "0.4 %" }, { 0.52, "52 %" }, { 0.0994, "9.9 %" }, { 0.0996, "10 %" },
                   { 1.5, "150 %" },   { 0, "0.0 %" },   { NAN, "-" } };
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        same(text_percent(shares[i].share, text), shares[i].text);
    char interval[48];
    same(text_interval(1.101, 1.224, 2, interval), "   1.10 -    1.22");
    same(text_interval(NAN, NAN, 2, interval), "                 ");
    same(text_interval(0.001, 1.001, 2, interval), "         anything");
    static const struct {
        double v;
        const char *text;
    } counts[] = {
        { 61234, "61.2 k" }, { 123456, "123 k" }, { 9999, "9999" }, { 1e4, "10 k" },
        { 2.5e6, "2.50 M" }, { 3e9, "3 G" },      { 0.25, "0.25" }, { 0.05, "0.05" },
        { 12.34, "12.3" },   { 256, "256" },      { 0, "0" },       { -61234, "-61.2 k" }
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        same(text_count(counts[i].v, text), counts[i].text);
    static const struct {
        double v;
        const char *text;
    } losses[] = { { 0.2464, "0.246" },  { 0, "0.000" },
                   { 9999, "9999.000" }, { 2.9520183e20, "2.952e+20" },
                   { 1e4, "1e+04" },     { 0.00012345, "0.0001234" },
                   { -0.5, "-0.500" },   { NAN, "nan" } };
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++)
        same(text_value(losses[i].v, text), losses[i].text);
}

static void labels(void **state)
{
    (void)state;
    char text[100], clipped[100];
    same(text_label("step/lenet-bn/batch:256/threads:2/native/process_time/real_time", 1, text,
                    sizeof text),
         "lenet-bn b256 t2 native");
    same(text_label("step/lenet-bn/batch:256/threads:2/native", 0, text, sizeof text),
         "step lenet-bn b256 t2 native");
    same(text_label("kernels/bn dx/n:1024/avx2/iterations:3/repeats:2/min_time:0.1", 1, text,
                    sizeof text),
         "bn dx n1024 avx2");
    same(text_label("alone", 1, text, sizeof text), "alone");
    same(text_label("BM_sort/32/manual_time", 0, text, sizeof text), "BM_sort 32");
    assert_true(text_is_setting("process_time") && text_is_setting("repeats:5") &&
                !text_is_setting("repeats") && !text_is_setting("real_time2"));
    assert_int_equal(text_width("a ± b"), 5);
    same(text_clip("abcdefghij", 10, clipped), "abcdefghij");
    same(text_clip("abcdefghijk", 10, clipped), "abcd..hijk");
    same(text_clip("±±±±±±±±", 7, clipped), "±±..±±±");
    same(text_clip("abcdef", 3, clipped), "abc");
    char *out;
    size_t size;
    FILE *f = open_memstream(&out, &size);
    text_pad(f, "±", 3);
    text_wrap(f, "one two  three\nfour", 3, 3, 10);
    fclose(f);
    same(out, "±  one two\n   three\n   four\n");
    free(out);
}

/* --------------------------------------------------------------------------------------- scales */

/* The numbers beside an axis that the data need, with commas between; '|' stands for a mark without
 * one. */
static const char *numbers(double base, double lo, double hi, size_t most, char text[300])
{
    struct scale s = { .base = base, .lo = lo, .hi = hi };
    struct scale_tick tick[SCALE_TICKS];
    scale_round(&s, most, true);
    const size_t n = scale_ticks(&s, most, tick);
    *text = '\0';
    for (size_t i = 0; i < n; i++) {
        assert_true(!i || tick[i].at > tick[i - 1].at);
        assert_true(tick[i].at >= s.lo - 1e-9 * fabs(s.lo) && tick[i].at <= s.hi * (1 + 1e-9));
        if (i && !tick[i].minor && !tick[i - 1].minor) strcat(text, ",");
        strcat(text, tick[i].minor ? "|" : tick[i].text);
    }
    return text;
}

static void scales(void **state)
{
    (void)state;
    static const struct {
        double base, lo, hi;
        size_t most;
        const char *numbers;
    } cases[] = {
        { 0, 0.2, 10, 10, "0,1,2,3,4,5,6,7,8,9,10" },
        { 0, 0.61, 0.93, 7, "0.60,0.65,0.70,0.75,0.80,0.85,0.90,0.95" },
        { 0, 0.25, 0.91, 5, "0.0,0.2,0.4,0.6,0.8,1.0" },
        { 0, -3, 8, 6, "−4,−2,0,2,4,6,8" },
        { 0, 0, 19999, 4, "0,5 k,10 k,15 k,20 k" },
        { 0, 0, 2.5e6, 3, "0,1 M,2 M,3 M" },
        { 0, 0, 4e-5, 4, "0,1e-05,2e-05,3e-05,4e-05" },
        { 0, 5, 5, 4, "2,4,6,8" },     /* one value, in the middle */
        { 0, 0, 0, 4, "0.0,0.5,1.0" }, /* or none */
        { 0, INFINITY, -INFINITY, 4, "0.0,0.5,1.0" },
        { 2, 3, 900, 12, "2,4,8,16,32,64,128,256,512,1024" },
        { 2, 64, 64, 8, "64,128" },
        { 2, 1, 65536, 9, "1,4,16,64,256,1024,4096,16.4 k,65.5 k" },
        { 10, 0.01, 10, 4, "0.01||||||||0.1||||||||1||||||||10" },
        { 10, 0.02, 0.6, 8, "0.02||0.05||||0.1,0.2||0.5||||1" },
        { 10, 0.3, 40, 12, "0.2||0.5||||1,2||5||||10,20||50" },
        { 10, 1e-9, 1e6, 6, "10⁻⁹,10⁻⁶,10⁻³,10⁰,10³,10⁶" }, /* one notation an axis */
        { 10, 1e-4, 0.01, 12, "10⁻⁴,2·10⁻⁴||5·10⁻⁴||||10⁻³,2·10⁻³||5·10⁻³||||10⁻²" },
        { 10, 3, 2e4, 12, "2||5||||10,20||50||||100,200||500||||1000,2000||5000||||10000,20000" },
        { 10, 0.3, 4000, 6,
          "0.1||||||||1||||||||10||||||||100||||||||1000||||" }, /* begins with one */
        { 10, 10, 10, 5, "10,20||50||||100" },
        { 10, 0.31, 0.34, 4, "0.31,0.32,0.33,0.34" }, /* of a short one round numbers */
        { 10, -1, -2, 4, "1,2||5||||10" },            /* nothing has a place */
    };
    char text[300];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        same(numbers(cases[i].base, cases[i].lo, cases[i].hi, cases[i].most, text),
             cases[i].numbers);
    const struct scale linear = { 0, -1, 3, 100, 300 }, upright = { 10, 0.01, 100, 400, 0 };
    near(scale_place(&linear, 0), 150);
    near(scale_place(&linear, 4), 350);
    near(scale_place(&upright, 0.01), 400);
    near(scale_place(&upright, 1), 200);
    near(scale_place(&upright, 10), 100);
    assert_true(isnan(scale_place(&upright, 0)) && isnan(scale_place(&upright, -1)));
    assert_true(isnan(scale_place(&linear, NAN)) && isnan(scale_place(&linear, INFINITY)));
}

/* Whatever the range, there are numbers, not too many, and they cover it. */
static void scales_of_anything(void **state)
{
    (void)state;
    struct check_rng rng = { check_seed() };
    struct scale_tick tick[SCALE_TICKS];
    for (int i = 0; i < 20000; i++) {
        static const double bases[] = { 0, 2, 10 };
        const double a = pow(10, noise(&rng, 3)), b = a * (1 + fabs(noise(&rng, 1)) + 1e-6),
                     turn = check_below(&rng, 3) ? 1 : -1;
        struct scale s = { .base = bases[check_below(&rng, 3)] };
        s.lo = s.base > 0 || turn > 0 ? a : -b;
        s.hi = s.base > 0 || turn > 0 ? b : a;
        const struct scale before = s;
        const size_t most = 2 + check_below(&rng, 12);
        scale_round(&s, most, check_below(&rng, 2));
        const size_t n = scale_ticks(&s, most, tick);
        size_t told = 0;
        for (size_t k = 0; k < n; k++) {
            told += !tick[k].minor;
            assert_true(tick[k].minor == !*tick[k].text && strlen(tick[k].text) < 24);
        }
        if (!(s.lo <= before.lo * (1 + 1e-9 * turn) + 1e-12 && s.hi >= before.hi * (1 - 1e-9)) ||
            !(s.hi > s.lo) || told < 1 || told > most + 2)
            fail_msg("base %g, %.17g to %.17g: %.17g to %.17g, %zu numbers of %zu", s.base,
                     before.lo, before.hi, s.lo, s.hi, told, most);
    }
}

/* -------------------------------------------------------------------------------------- figures */

/* The number behind name=" in an element. */
static double attribute(const char *element, const char *name)
{
    char wanted[20];
    snprintf(wanted, sizeof wanted, " %s=\"", name);
    const char *found = strstr(element, wanted), *end = strchr(element, '>');
    if (!found || !end || found > end) fail_msg("no %s in %.80s", name, element);
    return found ? atof(found + strlen(wanted)) : 0;
}

static char *svg_of(const struct figure *f)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    const struct drawing d = figure_drawing(f);
    assert_true(drawing_svg(out, &d));
    fclose(out);
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    return text;
}

/* The place of a number of the x axis ("x"), which is in the middle of its text, or of the y axis
 * ("y"), whose text ends there. */
static double number_at(const char *svg, const char *number, const char *name)
{
    char wanted[60];
    snprintf(wanted, sizeof wanted, "text-anchor=\"%s\">%s</text>", *name == 'x' ? "middle" : "end",
             number);
    const char *at = strstr(svg, wanted);
    if (!at) fail_msg("no number %s", number);
    while (at && *at != '<') at--;
    return attribute(at, name) - (*name == 'y' ? 4 : 0);
}

static size_t points_in(const char *element, double *x, double *y, size_t most)
{
    const char *at = strstr(element, "points=\"");
    size_t n = 0;
    assert_non_null(at);
    at += strlen("points=\"");
    for (char *end; n < most && *at != '"'; at = end + (*end == ' ')) {
        x[n] = strtod(at, &end);
        assert_true(*end == ',');
        y[n++] = strtod(end + 1, &end);
    }
    return n;
}

/* Points are where the numbers on the axes say; a NaN is a gap; what has no number is no point. */
static void figures(void **state)
{
    (void)state;
    static const double x[] = { 0.01, 0.1, 1, 10, 100, 1000, -1 }, y[] = { 1, 2, 3, NAN, 5, 6, 7 },
                        low[] = { 0, 1, 2, 3, 4, 5, 6 }, high[] = { 2, 3, 4, 5, 6, 7, 8 };
    const struct figure_series s[] = {
        { .label = "a <b>", .n = 7, .x = x, .y = y, .low = low, .high = high },
        { .label = "single", .n = 1, .x = x + 2, .y = y + 4 },
        { .label = "dots", .n = 7, .x = x, .y = high, .style = FIGURE_POINTS },
        { .n = 2, .x = x, .y = high, .color = FIGURE_INK } /* without a label */
    };
    const struct figure f = { .title = "title & so on",
                              .x = { .label = "rate", .base = 10 },
                              .y = { { .label = "loss" } },
                              .series = s,
                              .n = 4 };
    char *text = svg_of(&f);
    const double x_of_1 = number_at(text, "1", "x"), x_of_100 = number_at(text, "100", "x"),
                 y_of_0 = number_at(text, "0", "y"), y_of_8 = number_at(text, "8", "y");
    double px[8], py[8];
    const char *line = strstr(text, "<polyline class=\"s-0\"");
    assert_non_null(line);
    assert_int_equal(points_in(line, px, py, 8), 3); /* up to the gap; the other two are a line */
    for (size_t i = 0; i < 3; i++) {
        assert_true(fabs(px[i] - (x_of_1 + (x_of_100 - x_of_1) / 2 * ((double)i - 2))) < 0.11);
        assert_true(fabs(py[i] - (y_of_0 + (y_of_8 - y_of_0) * y[i] / 8)) < 0.11);
    }
    const char *rest = strstr(text, "<line class=\"s-0\"");
    assert_true(rest && fabs(attribute(rest, "x1") - x_of_100) < 0.11);
    assert_int_equal(times(text, "<circle  class=\"f-1\""), 1); /* one point is a dot */
    assert_int_equal(times(text, "<circle  class=\"f-2\""), 7); /* six, and beside the label */
    assert_int_equal(times(text, "<polygon class=\"f-0\""), 1);
    assert_int_equal(points_in(strstr(text, "<polygon class=\"f-0\""), px, py, 8), 8);
    static const char *const said[] = { ">a &lt;b&gt;</text>",
                                        ">title &amp; so on</text>",
                                        ">rate</text>",
                                        ">loss</text>",
                                        ">single</text>",
                                        "prefers-color-scheme: dark",
                                        ".s-0 { stroke: #56b0ea; }" };
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) has_text(text, said[i]);
    assert_null(strstr(text, "no values"));
    free(text);
}

/* No series, none with a place, a range of the caller's that lines leave. */
static void figures_of_little(void **state)
{
    (void)state;
    static const double x[] = { 0, 1, 2, 3 }, y[] = { 0, 10, 0, 10 },
                        none[] = { NAN, NAN, NAN, -1 };
    struct figure f = { .title = "t", .y = { { .base = 10 }, { .base = 10 } }, .panels = 2 };
    char *text = svg_of(&f);
    assert_int_equal(times(text, ">no values</text>"), 2);
    free(text);
    struct figure_series s[] = { { .label = "none", .n = 4, .x = x, .y = none, .panel = 1 },
                                 { .label = "not", .x = x, .y = y, .panel = 1 } };
    f.series = s;
    f.n = 2;
    text = svg_of(&f);
    assert_int_equal(times(text, ">no values</text>"), 2);
    free(text);
    s[0] = (struct figure_series){ .label = "zig", .n = 4, .x = x, .y = y };
    f = (struct figure){
        .x = { .lo = 0, .hi = 2.5 }, .y = { { .lo = 0, .hi = 5 } }, .series = s, .n = 1
    };
    text = svg_of(&f);
    const double top = number_at(text, "5", "y"), bottom = number_at(text, "0", "y");
    size_t pieces = 0;
    for (const char *at = text; (at = strstr(at, "<line class=\"s-0\"")); at++, pieces++)
        assert_true(attribute(at, "y1") >= top - 0.11 && attribute(at, "y2") <= bottom + 0.11 &&
                    attribute(at, "y2") >= top - 0.11);
    assert_int_equal(pieces, 4); /* three that are cut off, and beside the label */
    free(text);
}

/* Many points: what is drawn is no more than pixels, the highest and lowest of all among them. */
static void figures_of_many(void **state)
{
    (void)state;
    enum { N = 100000 };
    double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    for (size_t i = 0; i < N; i++) {
        x[i] = (double)i;
        y[i] = i == 54321 ? 9 : 1 + (double)(i % 7) / 7;
    }
    const struct figure_series s = { .label = "all", .n = N, .x = x, .y = y };
    const struct figure f = { .series = &s, .n = 1, .x = { .label = "step" } };
    char *text = svg_of(&f);
    assert_true(strlen(text) < 60000);
    double *px = malloc(N * sizeof *px), *py = malloc(N * sizeof *py), highest = 1e9;
    const size_t n = points_in(strstr(text, "<polyline class=\"s-0\""), px, py, N);
    for (size_t i = 0; i < n; i++) highest = fmin(highest, py[i]);
    const double y0 = number_at(text, "0", "y"), y10 = number_at(text, "10", "y");
    assert_true(n > 1000 && fabs(highest - (y0 + (y10 - y0) * 0.9)) < 0.2);
    free(px);
    free(py);
    free(text);
    free(x);
    free(y);
}

/* A page of them: for both screens, with the numbers and without anything from elsewhere. */
static void figures_in_pages(void **state)
{
    (void)state;
    static const double x[] = { 1, 2, 3 }, y[] = { 0.5, 0.25, 0.125 }, x2[] = { 3, 4 },
                        y2[] = { 1, NAN }, low[] = { 0.5, 0 }, high[] = { 1.5, 0 };
    const struct figure_series s[] = {
        { .label = "<one>", .n = 3, .x = x, .y = y },
        { .label = "two", .n = 2, .x = x2, .y = y2, .low = low, .high = high }
    };
    const struct figure f[] = { { .title = "a<b", .x = { .label = "epoch" }, .series = s, .n = 2 },
                                { .title = "empty" } };
    const struct figure_page p = { "all", "about & about", "convoy plot", f, 2 };
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_true(figure_page(out, &p));
    fclose(out);
    assert_int_equal(times(text, "<svg class=\"wide\""), 2);
    assert_int_equal(times(text, "<svg class=\"narrow\""), 2);
    assert_int_equal(times(text, "data-tip=\"epoch 3\n&lt;one&gt;: 0.125\ntwo: 1 (0.5 to 1.5)\""),
                     2);
    has_text(text, "<td data-v=\"0.125\">0.125</td><td data-v=\"1\">1 (0.5 to 1.5)</td>");
    has_text(text, "<td data-v=\"4\">4</td><td data-v=\"-1\"></td><td data-v=\"-1\">–</td>");
    has_text(text, "about &amp; about");
    has_text(text, "<h3>a&lt;b</h3>");
    free(text);
    /* the title of the only figure is the page's */
    const struct figure_page alone = { "a<b", "", "convoy plot", f, 1 };
    out = open_memstream(&text, &size);
    assert_true(figure_page(out, &alone));
    fclose(out);
    has_text(text, "<h1>a&lt;b</h1>");
    has_text(text, "<h3></h3>");
    assert_null(strstr(text, "http"));
    assert_null(strstr(text, "src="));
    free(text);
}

static void figures_as_png(void **state)
{
    (void)state;
    static const double x[] = { 1, 2, 3 }, y[] = { 0.5, 0.25, 0.125 };
    const struct figure_series s[] = {
        { .label = "a", .n = 3, .x = x, .y = y },
        { .label = "b", .n = 3, .x = y, .y = x, .diamonds = true, .style = FIGURE_POINTS }
    };
    const struct figure f = { .title = "t", .series = s, .n = 2 };
    char error[200] = "", *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    const struct drawing d = figure_drawing(&f);
    const bool good = drawing_png(out, &d, 2, error, sizeof error);
    fclose(out);
    assert_int_equal(good, drawing_has_png());
    if (good) {
        assert_memory_equal(text, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x06\xb8\0\0\x03\xe8", 24);
        assert_memory_equal(text + size - 8, "IEND\xae\x42\x60\x82", 8);
        out = fopen("/dev/full", "w");
        setbuf(out, NULL);
        assert_false(drawing_png(out, &d, 1, error, sizeof error));
        same(error, "cannot draw: error while writing to output stream");
        fclose(out);
    } else has_text(error, "built without cairo");
    free(text);
}

/* Letters on any share of the colours of a confusion matrix can be read, on light screens and on
 * dark ones: WCAG's 4.5. */
static void contrasts(void **state)
{
    (void)state;
    double contrast;
    for (int wrong = 0; wrong < 2; wrong++)
        for (int share = 0; share <= 1000; share++) {
            const enum canvas_color color = (enum canvas_color)(CANVAS_FIRST + wrong),
                                    ink = canvas_letters_on(color, share / 1000., &contrast);
            if (contrast < 4.5)
                fail_msg("colour %d, %d per mille: %s has a contrast of %.2f", wrong, share,
                         canvas_shades[ink].name, contrast);
        }
    /* by hand: black on white, and white on #182029, are 21 and 16.4 */
    assert_int_equal(canvas_letters_on(CANVAS_PAPER, 1, &contrast), CANVAS_CONTRAST);
    assert_true(fabs(contrast - 16.4) < 0.1);
}

/* report.css has the same colours as files have. */
static void palette(void **state)
{
    (void)state;
    static const char *const names[CANVAS_COLORS] = { "card",  "ink",      "soft", "axis", "grid",
                                                      "black", "contrast", "c0",   "c1",   "c2",
                                                      "c3",    "c4",       "c5",   "c6",   "c7" };
    char text[64];
    const char *style = report_parts[REPORT_STYLE].text;
    for (size_t i = 0; i < CANVAS_COLORS; i++) {
        snprintf(text, sizeof text, "--%s: %s;", names[i], canvas_shades[i].light);
        const bool both = !strcmp(canvas_shades[i].light, canvas_shades[i].dark);
        assert_int_equal(times(style, text), both ? 3 : 1);
        snprintf(text, sizeof text, "--%s: %s;", names[i], canvas_shades[i].dark);
        assert_int_equal(times(style, text), both ? 3 : 2);
        snprintf(text, sizeof text, ".s-%s { stroke: var(--%s); } .f-%s { fill: var(--%s); }",
                 canvas_shades[i].name, names[i], canvas_shades[i].name, names[i]);
        has_text(style, text);
    }
}

/* A run that went back once: what was said of the epoch before is not drawn, seconds and examples
 * are in proportion to steps, and a line that is being written is none yet. */
static void metrics(void **state)
{
    (void)state;
    static const char text[] =
        "{\"type\":\"step\",\"step\":5,\"epoch\":0.5,\"examples\":50,\"train_loss\":2}\n"
        "{\"type\":\"step\",\"step\":10,\"epoch\":1.0,\"examples\":100,\"train_loss\":1.5}\n"
        "{\"type\":\"epoch\",\"step\":10,\"epoch\":1,\"wall_seconds\":4,\"train_loss\":1.5,\"test_"
        "acc\":1}\n"
        "{\"type\":\"step\",\"step\":15,\"epoch\":1.5,\"examples\":150,\"train_loss\":9}\n"
        "{\"type\":\"recovery\",\"epoch\":2,\"from_epoch\":1,\"recoveries\":1}\n"
        "{\"type\":\"step\",\"step\":15,\"epoch\":1.5,\"examples\":150,\"train_loss\":1.25,"
        "\"z_p15\":1,\"z_p50\":2,\"z_p85\":3,\"z_pile\":4,\"zz_p99\":5}\n"
        "{\"type\":\"epoch\",\"step\":20,\"epoch\":2,\"wall_seconds\":6,\"train_loss\":null}\n"
        "{\"type\":\"end\",\"epoch\":2,\"test_acc\":0}\n"
        "{\"type\":\"step\",\"st";
    struct metrics m;
    char error[200], name[96];
    size_t at[20];
    assert_true(metrics_parse(text, sizeof text - 1, &m, error, sizeof error));
    assert_int_equal(m.n, 5);
    assert_int_equal(metrics_points(&m, "train_loss", at), 3); /* one a step */
    static const double seconds[] = { 2, 4, 5 }, losses[] = { 2, 1.5, 1.25 };
    for (size_t i = 0; i < 3; i++) {
        near(m.line[at[i]].x[METRICS_SECONDS], seconds[i]);
        near(metrics_value(&m, at[i], "train_loss"), losses[i]);
        near(m.line[at[i]].x[METRICS_EXAMPLES], 50 * (double)(i + 1));
    }
    assert_int_equal(metrics_points(&m, "test_acc", at), 1);
    assert_int_equal(metrics_points(&m, "z", at), 0);
    assert_true(metrics_percentile(&m, "z", false, name));
    same(name, "z_p15");
    assert_true(metrics_percentile(&m, "z", true, name));
    same(name, "z_p85");
    assert_false(metrics_percentile(&m, "train_loss", true, name));
    metrics_free(&m);
    assert_false(metrics_parse("{}\n{\n{}", 7, &m, error, sizeof error));
    same(error, "line 2: expected a JSON object, as convoy train writes");
    assert_true(metrics_parse("", 0, &m, error, sizeof error));
    assert_int_equal(m.n, 0);
    metrics_free(&m);
}

/* ------------------------------------------------------------------------------ pieces of pages */

/* What template_part writes. */
static char *part_text(const char *piece, const char *from, const char *to,
                       const char *const *values)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    template_part(f, piece, from, to, values);
    fclose(f);
    return text;
}

static void wrong(const char *piece, const char *from, const char *to, const char *const *values,
                  const char *wanted)
{
    const char *found = template_wrong(piece, from, to, values);
    if (!found || strcmp(found, wanted))
        fail_msg("%s: %s, expected %s", piece, found ? found : "nothing wrong", wanted);
}

/* A part of a piece whose text begins at `at`: its holes are all filled, with what would break out
 * of any of them; each is missed when it is not, and what has no hole is noticed. */
static const char *walk_part(const char *piece, const char *from, const char *at)
{
    enum { MOST = 16 };
    static const char odd[] = "<i>&\"'{", escaped[] = "&lt;i&gt;&amp;&quot;&#39;{";
    char name[MOST + 1][32], to[32] = "";
    const char *values[2 * MOST + 3] = { NULL };
    size_t holes = 0, n = 0;
    while (*at && strncmp(at, "<!-- ", 5) && !*to) {
        if (*at++ != '{') continue;
        const size_t length = strcspn(at, "}");
        char *hole = *at == '=' ? to : name[n];
        assert_true(n < MOST && length < sizeof to);
        snprintf(hole, sizeof to, "%.*s", (int)(length - (*at == '=')), at + (*at == '='));
        at += length + 1;
        holes += !*to;
        size_t k = 0;
        while (k < n && strcmp(name[k], hole)) k++;
        if (*to || k < n) continue;
        values[2 * n] = hole;
        values[2 * n++ + 1] = odd;
    }
    const char *end = *to ? to : NULL;
    assert_null(template_wrong(piece, from, end, values));
    char *text = part_text(piece, from, end, values);
    assert_int_equal(times(text, escaped), holes);
    assert_int_equal(times(text, odd), 0);
    assert_int_equal(times(text, "{"), holes);
    free(text);
    values[2 * n] = "none such";
    values[2 * n + 1] = "";
    wrong(piece, from, end, values, "a value without a hole");
    values[2 * n] = NULL;
    for (size_t k = 0; k < n; k++) {
        const char *kept = values[2 * k];
        values[2 * k] = "none such";
        wrong(piece, from, end, values, "a hole without a value");
        values[2 * k] = kept;
    }
    wrong(piece, from, "none such", values, end ? "a place that is passed over" : "no such place");
    if (end) walk_part(piece, to, at);
    return at;
}

static void pieces(void **state)
{
    (void)state;
    static const char mark[] = "<!-- piece: ";
    size_t n = 0;
    for (const char *at = report_parts[REPORT_PIECES].text; (at = strstr(at, mark)); n++) {
        char piece[32];
        at += sizeof mark - 1;
        snprintf(piece, sizeof piece, "%.*s", (int)strcspn(at, " "), at);
        walk_part(piece, NULL, strstr(at, "-->") + 3);
        wrong(piece, "none such", NULL, NULL, "no such place");
    }
    assert_true(n > 50);
    wrong("none such", NULL, NULL, NULL, "no such piece");
    wrong("bar-rang", NULL, NULL, NULL, "no such piece");
    wrong("", NULL, NULL, NULL, "no such piece");
    wrong("tiles", NULL, NULL, NULL, "a place that is passed over");
}

/* Line ends: nothing beside a tag or a place, a blank between words and attributes, and \n. */
static void piece_lines(void **state)
{
    (void)state;
    static const struct {
        const char *piece, *from, *to, *wanted;
    } lines[] = {
        { "table", NULL, "heads",
          "<div class=\"card\"><div class=\"scroll\"><table class=\"sortable\"><thead><tr>" },
        { "table", "heads", "rows", "</tr></thead><tbody>\n" },
        { "table", "rows", NULL, "</tbody></table></div></div>\n" },
        { "scaling", NULL, "body",
          "<section><h2>Scaling</h2>\n<p class=\"about\">Training steps over batch sizes and "
          "numbers "
          "of threads. Vertical lines run from the slowest to the fastest repetition.</p>\n" },
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char *text = part_text(lines[i].piece, lines[i].from, lines[i].to, NULL);
        assert_string_equal(text, lines[i].wanted);
        free(text);
    }
    char *text = part_text("cell-text", NULL, NULL, VALUES("text", "\001a\tb\n\033c"));
    assert_string_equal(text, "<td>a\tb\nc</td>"); /* control characters are left out */
    free(text);
}

/* The page of these results. */
static char *page_of_results(const struct results *all)
{
    char error[300], path[] = "/tmp/convoy-report-XXXXXX";
    close(mkstemp(path));
    if (html_report(path, all, error, sizeof error)) fail_msg("%s", error);
    FILE *f = fopen(path, "r");
    static char text[1 << 20];
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    unlink(path);
    return text;
}

/* A page whose points can be computed: batches 16, 64, 256 at 1000, 2000 and 4000 examples/s. */
static void page_positions(void **state)
{
    (void)state;
    /* also the time, in ms */
    static const char *const rates[3][1] = { { "1000" }, { "2000" }, { "4000" } };
    struct results *all = NULL;
    char name[64];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "scaling/net/batch:%d/threads:1/native",
                 16 << 2 * ((i + 1) % 3)); /* in any order */
        add(&all, "a.json", name, rates[(i + 1) % 3], 1);
        static const char *const backends[3] = { "c", "b", "native" };
        snprintf(name, sizeof name, "step/net/batch:%d/threads:1/%s", 16, backends[i]);
        add(&all, "a.json", name, rates[i], 1);
    }
    char *text = page_of_results(all);
    results_free(&all);
    const char *svg = text;
    for (int narrow = 0; narrow < 2; narrow++, svg++) {
        double x[4], y[4];
        svg = strstr(svg, narrow ? "<svg class=\"narrow\"" : "<svg class=\"wide\"");
        assert_non_null(svg);
        const double left = number_at(svg, "16", "x"), right = number_at(svg, "256", "x"),
                     low = number_at(svg, "0", "y"), high = number_at(svg, "4000", "y");
        assert_int_equal(points_in(strstr(svg, "<polyline"), x, y, 4), 3);
        for (int i = 0; i < 3; i++) {
            assert_true(fabs(x[i] - (left + (right - left) * i / 2)) < 0.11);
            assert_true(fabs(y[i] - (low + (high - low) * (1 << i) / 4)) < 0.11);
        }
        const char *disc = strstr(svg, "<circle");
        assert_true(disc && attribute(disc, "cx") == x[0] && attribute(disc, "cy") == y[0]);
    }
    has_text(text, "data-tip=\"net · batch 64 · 1 thread\nnative: 2000 examples/s\" ");
    has_text(text, "width:100.00%\"></div></div><div class=\"value\">4000 examples/s");
    has_text(text, "width:50.00%\"></div></div><div class=\"value\">2000 examples/s");
    has_text(text, "width:25.00%\"></div></div><div class=\"value\">1000 examples/s");
    has_text(text, "<b>4000</b><span>examples a second, training net at batch 16");
}

/* The line of a colour that is drawn next, from and to where. */
static const char *line_in(const char *svg, const char *color, double at[4])
{
    char wanted[40];
    snprintf(wanted, sizeof wanted, "<line class=\"s-%s\"", color);
    svg = strstr(svg, wanted);
    static const char *const names[] = { "x1", "y1", "x2", "y2" };
    for (size_t i = 0; i < 4 && svg; i++) at[i] = attribute(svg, names[i]);
    return svg ? svg + 1 : NULL;
}

/* Log axes: 1 to 8 FLOP a byte, 2 to 20 GFLOP/s. Peak 16 GFLOP/s; memory 2 GB/s meets it at 8, L2
 * 8 GB/s at 2 FLOP a byte. */
static void roofs_are_right(const char *text)
{
    const char *svg = strstr(text, "<svg class=\"wide\"");
    assert_non_null(svg);
    const double x1 = number_at(svg, "1", "x"), x8 = number_at(svg, "8", "x"),
                 y2 = number_at(svg, "2", "y"), y20 = number_at(svg, "20", "y");
#define X(v) (x1 + (x8 - x1) * log2(v) / 3)
#define Y(v) (y2 + (y20 - y2) * log10((v) / 2.0))
    const double wanted[3][4] = { { X(1), Y(8), X(2), Y(16) },
                                  { X(1), Y(2), X(8), Y(16) },
                                  { X(2), Y(16), X(8), Y(16) } };
    double got[4];
    for (size_t i = 0; i < 3; i++) {
        svg = line_in(svg, i < 2 ? "soft" : "ink", got);
        assert_non_null(svg);
        for (size_t k = 0; k < 4; k++)
            if (fabs(got[k] - wanted[i][k]) > 0.11)
                fail_msg("line %zu: %zu is %g, not %g", i, k, got[k], wanted[i][k]);
    }
    const char *disc = strstr(svg, "<circle tabindex"), *diamond = strstr(svg, "<rect tabindex");
    assert_true(disc && diamond);
    assert_true(fabs(attribute(disc, "cx") - X(8)) < 0.11 &&
                fabs(attribute(disc, "cy") - Y(8)) < 0.11);
    assert_true(fabs(attribute(diamond, "x") + attribute(diamond, "width") / 2 - X(1)) < 0.21);
#undef X
#undef Y
}

/* The roofline, operators, phases and peaks of a small file. */
static void page_sections(void **state)
{
    (void)state;
    static const char file[] =
        "{\"context\": {\"peak_gflops_all\": \"16\", \"l2_read_gbs\": \"8\", \"dram_read_gbs\": "
        "\"2\", \"empty\": \"\", \"core_round_trip_ns\": \"0\", \"library_build_type\": \"debug\", "
        "\"smt_active\": \"0\", \"caches\": [{\"level\": 1}], \"load_avg\": [1.5, 2]}, "
        "\"benchmarks\": ["
        "{\"name\": \"ops/o/dir:fwd/threads:1/native\", \"run_type\": \"iteration\", "
        "\"real_time\": 1, \"time_unit\": \"ms\", \"label\": \"--conv x\","
        " \"GFLOP/s\": 8, \"GB/s\": 1, \"% of peak\": 50},"
        "{\"name\": \"ops/o/dir:fwd/threads:1/b\", \"run_type\": \"iteration\", \"real_time\": 4, "
        "\"time_unit\": \"ms\", \"GFLOP/s\": 2, \"GB/s\": 2},"
        "{\"name\": \"step/net/batch:16/threads:1/native\", \"run_type\": \"iteration\", "
        "\"real_time\": 1, \"time_unit\": \"ms\","
        " \"phase 001 late\": 30, \"phase 000 early\": 90},"
        "{\"name\": \"peak/fma/threads:1/avx2\", \"run_type\": \"iteration\", \"real_time\": 1, "
        "\"time_unit\": \"ms\", \"GFLOP/s\": 16.5}]}";
    struct results *all = NULL;
    char error[300];
    if (results_parse("a.json", file, sizeof file - 1, &all, error, sizeof error))
        fail_msg("%s", error);
    char *text = page_of_results(all);
    results_free(&all);
    static const char *const parts[] = {
        "FMA peak 16 GFLOP/s",
        "text-anchor=\"end\">L2 8 GB/s</text>",
        "text-anchor=\"start\">DRAM 2 GB/s</text>",
        "native: 1 ms, 8 GFLOP/s, 1 GB/s",
        "<td data-v=\"0.004\">4 ms</td><td data-v=\"4\">4.00</td><td data-v=\"2\">2.0</td><td "
        "data-v=\"-1\">–</td><td data-v=\"2\">2.0</td>",
        "flex:750 0 0\" data-tip=\"early\n90.0 µs, 75.0 %\"></div><div",
        "flex:250 0 0\" data-tip=\"late\n30.0 µs, 25.0 %",
        "<div class=\"card\"><h3>a.json</h3>",
        "<tr><td>multiply-adds, all threads</td><td>16 GFLOP/s</td></tr>",
        "<tr><td>load average</td><td>1.5, 2</td></tr>",
        "<tr><td>smt active</td><td>0</td></tr>",
        "data-save=\"results-0\"",
        "all 2 phases",
        "<tr><td>fma · 1 thread</td><td>avx2</td><td data-v=\"16.5\">16.5</td><td "
        "data-v=\"-1\">–</td><td data-v=\"-1\">–</td></tr>"
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) has_text(text, parts[i]);
    static const char *const no_facts[] = { "<td>empty</td>", "core to core", "debug", "level",
                                            "Contestants took turns" };
    char *raw = strstr(text, "<script type=\"application/json\"");
    assert_non_null(raw);
    *raw = '\0';
    for (size_t i = 0; i < sizeof no_facts / sizeof *no_facts; i++)
        if (strstr(text, no_facts[i])) fail_msg("the page tells '%s'", no_facts[i]);
    roofs_are_right(text);
}

/* The page of a file's text. */
static char *page_of(const char *file)
{
    struct results *all = NULL;
    char error[300];
    if (results_parse("a.json", file, strlen(file), &all, error, sizeof error))
        fail_msg("%s", error);
    char *text = page_of_results(all);
    results_free(&all);
    /* after it the file's own text */
    char *raw = strstr(text, "<script type=\"application/json\"");
    assert_non_null(raw);
    *raw = '\0';
    return text;
}

#define RUN(name, more) "{\"name\": \"" name "\", \"time_unit\": \"ms\", \"real_time\": " more "}"
#define BROKEN(name) \
    "{\"name\": \"" name "\", \"error_occurred\": true, \"error_message\": \"<broke>\"}"

/* A step's phases are to scale: those without a colour are one piece where they are neighbours. */
static void page_phases(void **state)
{
    (void)state;
    char *text = page_of("{\"context\": {}, \"benchmarks\": [" RUN(
        "step/net/batch:1/threads:1/a",
        "1, \"phase 00 a\": 100, \"phase 01 b\": 100, \"phase 02 c\": 1, \"phase 03 d\": 2, "
        "\"phase 04 e\": 100, \"phase 05 f\": 100, \"phase 06 g\": 100, \"phase 07 h\": 5, "
        "\"phase 08 i\": 100, \"phase 09 j\": 100, \"phase 10 k\": 92") "]}");
    has_text(text, "flex:3.75 0 0\" data-tip=\"2 others\n3.0 µs, 0.4 %\"></div>");
    has_text(text, "flex:6.25 0 0\" data-tip=\"h\n5.0 µs, 0.6 %\"></div>");
    assert_int_equal(times(text, " 0 0\" data-tip="), 10);
    has_text(text, "<td>c</td><td data-v=\"1\">1.0</td>");
}

/* What has a section of its own, with something to draw there, is not among the others. */
static void page_others(void **state)
{
    (void)state;
    static const char *const own[] = { "step/net/batch:16/threads:1/native",
                                       "scaling/net/batch:16/threads:1/native",
                                       "ops/o/dir:fwd/threads:1/native", "kernels/mac/avx2/mo:4",
                                       "peak/fma/threads:1/avx2" };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        char file[512];
        snprintf(file, sizeof file,
                 "{\"context\": {}, \"benchmarks\": [{\"name\": \"%s\", \"time_unit\": \"ms\", "
                 "\"real_time\": 3, "
                 "\"examples/s\": 9, \"GFLOP/s\": 2}]}",
                 own[i]);
        char *text = page_of(file);
        if (strstr(text, "Other benchmarks")) fail_msg("%s is among the others", own[i]);
    }
    char *text = page_of("{\"context\": {}, \"benchmarks\": [" RUN("sizes/o/x", "3") "]}");
    has_text(text, "Other benchmarks");
    has_text(text, "sizes/o/x");
}

/* Curves have colours of their own, contestants of a point side by side, and their names. */
static void page_curves(void **state)
{
    (void)state;
#define POINT(batch, threads, who) \
    RUN("scaling/net/batch:" batch "/threads:" threads "/" who, "1, \"examples/s\": 7")
    /* clang-format off */
    const char *text = page_of("{\"context\": {}, \"benchmarks\": ["
        POINT("16", "1", "native") "," POINT("32", "1", "native") ","
        POINT("16", "2", "native") "," POINT("16", "1", "other") ","
        POINT("32", "1", "other") "]}");
    /* clang-format on */
    static const struct {
        const char *color, *label;
    } curves[] = { { "0", "native, 1 thread" },
                   { "1", "other, 1 thread" },
                   { "2", "native, 2 threads" } };
    for (size_t i = 0; i < 3; i++) {
        char said[60];
        snprintf(said, sizeof said, ">%s</text>", curves[i].label);
        const char *label = strstr(text, said);
        assert_non_null(label);
        while (*label != '\n') label--; /* the line before the text shows its colour */
        for (label--; *label != '\n';) label--;
        snprintf(said, sizeof said, "\n<line class=\"s-%s\"", curves[i].color);
        if (strncmp(label, said, strlen(said))) fail_msg("%.60s is not %s", label, said);
    }
}

/* What did not run says why, in every section, and nothing is measured against it; a rate that is
 * not there is no number. */
static void page_gaps(void **state)
{
    (void)state;
    /* clang-format off */
    const char *text = page_of(
        "{\"context\": {\"peak_gflops_all\": \"1\", \"core_round_trip_ns\": \"0\", "
        "\"l2_read_gbs\": \"0\"}, "
        "\"benchmarks\": ["
        RUN("step/early/batch:8/other", "1") "," /* comes first and has no rate */
        BROKEN("step/net/batch:16/threads:1/native") ","
        RUN("step/net/batch:16/threads:1/b", "2, \"examples/s\": 500") ","
        RUN("step/net/batch:16/threads:1/c", "2500, \"examples/s\": 250, \"phase x\": 3, "
            "\"phase 1\": 2, \"phase 2 zero\": 0") ","
        BROKEN("scaling/<i>/batch:1/native") ","
        RUN("scaling/<i>/batch:2/native", "1, \"examples/s\": 7") ","
        RUN("scaling/none/native", "1, \"examples/s\": 7") ","
        RUN("scaling/zero/batch:0/native", "1, \"examples/s\": 7") ","
        RUN("scaling/mute/batch:4/native", "1") ","
        BROKEN("ops/o/native") ","
        RUN("ops/o/b", "3, \"GFLOP/s\": 2") ","
        RUN("ops/o/c", "6, \"GB/s\": 2") ","
        BROKEN("peak/p/avx2") ","
        BROKEN("kernels/k/avx2") ","
        RUN("kernels/k/scalar", "1, \"GFLOP/s\": 3.25, \"% of peak\": 50, \"GB/s\": 1.5") ","
        RUN("forum/lenet/batch:64/native", "1, \"examples/s\": 12000, \"loss\": 0.5, "
            "\"train acc\": 0.875, \"test acc\": 0.75") ","
        BROKEN("forum/lenet/batch:64/b") ","
        BROKEN("else/e") ","
        RUN("alone", "1") "]}");
    /* clang-format on */
    static const char *const parts[] = {
        "<b>500</b><span>examples a second, training net at batch 16",
        "<b>2.0 ×</b><span>as fast as c, the largest lead here",
        "<b>1</b><span>GFLOP/s, the peak at that time: all threads, ",
        "<div class=\"name\">other</div><div class=\"track\"></div><div class=\"value "
        "bad\"><small>no examples/s</small></div></div>",
        "<div class=\"name\">native</div><div class=\"track\"></div><div class=\"value "
        "bad\"><small>&lt;broke&gt;</small></div></div>",
        "width:100.00%\"></div></div><div class=\"value\">500 examples/s</div>",
        "width:50.00%\"></div></div><div class=\"value\">250 examples/s<small>b is 1250.00 × as "
        "fast</small></div>",
        "<h3>&lt;i&gt;</h3>",
        "<td>scaling/none/native</td><td data-v=\"0.001\">1 ms</td>",
        "<td>scaling/zero/batch:0/native</td><td data-v=\"0.001\">1 ms</td>",
        "<td>scaling/mute/batch:4/native</td><td data-v=\"0.001\">1 ms</td>",
        "<td>scaling/&lt;i&gt;/batch:1/native</td><td class=\"bad\" "
        "colspan=\"4\">&lt;broke&gt;</td>",
        "<td>o</td><td><span class=\"key\" style=\"--c:var(--c2)\"></span>native</td><td "
        "class=\"bad\" colspan=\"6\">&lt;broke&gt;</td>",
        "b</td><td data-v=\"0.003\">3 ms</td><td data-v=\"-1\">–</td><td data-v=\"2\">2.0</td><td "
        "data-v=\"-1\">–</td><td data-v=\"-1\">–</td>",
        "c</td><td data-v=\"0.006\">6 ms</td><td data-v=\"2\">2.00</td><td data-v=\"-1\">–</td><td "
        "data-v=\"-1\">–</td><td data-v=\"2\">2.0</td>",
        "<td>p</td><td>avx2</td><td class=\"bad\" colspan=\"3\">&lt;broke&gt;</td>",
        "<td class=\"bad\" colspan=\"4\">&lt;broke&gt;</td>",
        "scalar</td><td data-v=\"0.001\">1 ms</td><td data-v=\"3.25\">3.2</td><td "
        "data-v=\"50\">50.0</td><td data-v=\"1.5\">1.5</td>",
        "native</td><td data-v=\"0.5\">0.500</td><td data-v=\"0.875\">0.875</td><td "
        "data-v=\"0.75\">0.750</td><td data-v=\"12000\">12000</td>",
        "b</td><td class=\"bad\" colspan=\"4\">&lt;broke&gt;</td>",
        "<td>else/e</td><td class=\"bad\" colspan=\"4\">&lt;broke&gt;</td>",
        "<td>alone</td><td data-v=\"0.001\">1 ms</td>"
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) has_text(text, parts[i]);
    static const char *const absent[] = { "nan",
                                          "inf",
                                          "<i>",
                                          "Roofline",
                                          "from core to core",
                                          "Where a step's time goes",
                                          "<h3>none",
                                          "<h3>mute",
                                          "<h3>zero" };
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        if (strstr(text, absent[i]))
            fail_msg("'%s' in:\n%.400s", absent[i], strstr(text, absent[i]));
    assert_int_equal(times(text, "<svg"), 2); /* the one point, wide and narrow */
}

/* Nothing at all, and a step whose name says nothing of it. */
static void page_of_little(void **state)
{
    (void)state;
    const char *text = page_of("{\"context\": {}, \"benchmarks\": []}");
    has_text(text, "<p>unknown CPU</p>");
    has_text(text, "<div class=\"tiles\">\n</div>");
    assert_int_equal(times(text, "<section>"), 1); /* the machine */
    text = page_of(
        "{\"context\": {\"date\": \"D\", \"commit\": \"C\", \"core_round_trip_ns\": \"85.4\"}, "
        "\"benchmarks\": [" RUN("step/native", "1, \"examples/s\": 5, \"% of peak\": 12") "]}");
    has_text(text, "<p>unknown CPU · D · commit C</p>");
    has_text(text, "<b>5</b><span>examples a second</span>");
    has_text(text, "<b>12 %</b><span>of the multiply-add peak");
    has_text(text, "<b>85 ns</b><span>from core to core and back");
}

/* The roof where memory's line would start right of the picture, and without the machine's
 * figures. */
static void page_roofs(void **state)
{
    (void)state;
#define OP                                                                             \
    "\"benchmarks\": [" RUN("ops/o/native", "1, \"GFLOP/s\": 2, \"GB/s\": 1") "," RUN( \
        "ops/q/native", "1, \"GFLOP/s\": 8, \"GB/s\": 1") "]}"
    const char *text = page_of("{\"context\": {}, " OP);
    has_text(text, "Roofline");
    assert_true(!strstr(text, "FMA peak") && !strstr(text, " GB/s</text>"));
    /* below all that was measured: it is no peak */
    text = page_of("{\"context\": {\"peak_gflops_all\": \"0.5\"}, " OP);
    assert_null(strstr(text, "FMA peak"));
    text = page_of("{\"context\": {\"peak_gflops_all\": \"16\", \"l2_read_gbs\": \"1000\", "
                   "\"dram_read_gbs\": \"none\"}, " OP);
    assert_int_equal(times(text, ">FMA peak 16 GFLOP/s</text>"), 2);
    /* L2's ends at 0.016 FLOP a byte, left of 2 */
    assert_null(strstr(text, " GB/s</text>"));
}

/* Names and facts may hold anything. */
static void report(void **state)
{
    (void)state;
    struct results *all = NULL;
    char error[300];
    add(&all, "<i>file</i>.json", "step/<script>alert(1)</script>/batch:256/threads:2/native", five,
        5);
    add(&all, "b.json", "step/<script>alert(1)</script>/batch:256/threads:2/it's \\\\\\\" & \\\\",
        slow, 5);
    add(&all, "c.json", "something else", slow, 1);
    const char *text = page_of_results(all);
    assert_non_null(strstr(text, "&lt;script&gt;alert(1)"));
    assert_null(strstr(text, "<script>alert"));
    assert_null(strstr(text, "<i>file"));
    assert_non_null(strstr(text, "\\u003c/script>"));
    assert_non_null(strstr(text, "1.95 ×")); /* by the times, 20.5 / 10.5 */
    assert_null(strstr(text, "http:"));
    assert_null(strstr(text, "https:"));
    assert_int_equal(html_report("/dev/full", all, error, sizeof error), RESULTS_IO);
    assert_string_equal(error, "/dev/full: cannot write: No space left on device");
    assert_int_equal(html_report("/nonexistent/report.html", all, error, sizeof error), RESULTS_IO);
    assert_non_null(strstr(error, "cannot write"));
    results_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(quantiles),
                                        cmocka_unit_test(mann_whitney),
                                        cmocka_unit_test(mann_whitney_ties),
                                        cmocka_unit_test(student),
                                        cmocka_unit_test(means),
                                        cmocka_unit_test(ratios),
                                        cmocka_unit_test(many_tests),
                                        cmocka_unit_test(reading),
                                        cmocka_unit_test(unreadable),
                                        cmocka_unit_test(odd_records),
                                        cmocka_unit_test(comparing),
                                        cmocka_unit_test(few_values),
                                        cmocka_unit_test(disturbed),
                                        cmocka_unit_test(one_side_only),
                                        cmocka_unit_test(comparing_what_broke),
                                        cmocka_unit_test(comparing_uneven_sides),
                                        cmocka_unit_test(processes),
                                        cmocka_unit_test(equals_are_equal),
                                        cmocka_unit_test(equal_contestants),
                                        cmocka_unit_test(contest_by_hand),
                                        cmocka_unit_test(units),
                                        cmocka_unit_test(labels),
                                        cmocka_unit_test(scales),
                                        cmocka_unit_test(scales_of_anything),
                                        cmocka_unit_test(figures),
                                        cmocka_unit_test(figures_of_little),
                                        cmocka_unit_test(figures_of_many),
                                        cmocka_unit_test(figures_in_pages),
                                        cmocka_unit_test(figures_as_png),
                                        cmocka_unit_test(palette),
                                        cmocka_unit_test(contrasts),
                                        cmocka_unit_test(metrics),
                                        cmocka_unit_test(pieces),
                                        cmocka_unit_test(piece_lines),
                                        cmocka_unit_test(page_positions),
                                        cmocka_unit_test(page_sections),
                                        cmocka_unit_test(page_others),
                                        cmocka_unit_test(page_phases),
                                        cmocka_unit_test(page_curves),
                                        cmocka_unit_test(page_gaps),
                                        cmocka_unit_test(page_of_little),
                                        cmocka_unit_test(page_roofs),
                                        cmocka_unit_test(report) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
