/* Statistics against values worked out by hand, result files good and bad, comparing them, and a report that nothing
 * can break. */
#include "report/difference.h"
#include "report/html.h"
#include "report/results.h"
#include "report/stats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-12 + 1e-9 * fabs(want))) fail_msg("got %.17g, want %.17g", got, want);
}

static void quantiles(void **state)
{
    (void)state;
    const double v[] = {5, 1, NAN, 4, 2};
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
    const double low[] = {1, 2, 3, 4, 5}, high[] = {6, 7, 8, 9, 10}, mixed[] = {1, 3, 5, 7, 9}, tie_a[] = {1, 2},
                 tie_b[] = {2, 3};
    near(stats_mann_whitney(low, 5, high, 5), 2. / 252);
    near(stats_mann_whitney(high, 5, low, 5), 2. / 252);
    near(stats_mann_whitney(low, 3, high, 3), 2. / 20);
    near(stats_mann_whitney(low, 5, low, 5), 1);
    near(stats_mann_whitney(tie_a, 2, tie_b, 2), 4. / 6); /* rank sums 3.5 3.5 5 5 6.5 6.5 of six choices */
    near(stats_mann_whitney(low, 5, NULL, 0), 1);
    assert_true(stats_mann_whitney(low, 5, mixed, 5) > 0.3);
    /* Beyond the exact size: the normal approximation goes on where the exact one ends. */
    double a[60], b[60];
    for (int i = 0; i < 60; i++) a[i] = i, b[i] = i + 7.5;
    const double exact = stats_mann_whitney(a, 50, b, 50), normal = stats_mann_whitney(a, 51, b, 51);
    assert_true(exact < 0.05 && exact > 0.001 && fabs(normal / exact - 1) < 0.25);
}

static void ratios(void **state)
{
    (void)state;
    const double a[] = {10, 10, 10}, b[] = {11, 11, 11}, c[] = {9, 10, 11, 12, 13, 9, 10, 11, 12, 13},
                 d[] = {18, 20, 22, 24, 26, 18, 20, 22, 24, 26};
    struct stats_ratio r = stats_ratio(a, 3, b, 3);
    near(r.ratio, 1.1), near(r.lo, 1.1), near(r.hi, 1.1);
    r = stats_ratio(c, 10, d, 10);
    near(r.ratio, 2);
    assert_true(r.lo > 1.5 && r.lo < 2 && r.hi > 2 && r.hi < 2.6);
    const struct stats_ratio again = stats_ratio(c, 10, d, 10);
    near(again.lo, r.lo); /* the same numbers every time */
    r = stats_ratio(a, 1, b, 1);
    near(r.lo, 1.1), near(r.hi, 1.1);
}

/* A file with one benchmark of n repetitions of the times given, in ms. */
static char *file_text(const char *name, const char *const *times, size_t n)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    fprintf(f, "{\"context\": {\"date\": \"today\", \"cpu\": \"a <b> & \\\"c\\\" </script>\", \"num_cpus\": 2}, "
               "\"benchmarks\": [");
    for (size_t i = 0; i < n; i++)
        fprintf(f,
                "%s{\"name\": \"%s\", \"run_name\": \"%s\", \"run_type\": \"iteration\", \"iterations\": 3, "
                "\"real_time\": %s, \"cpu_time\": 1, "
                "\"time_unit\": \"ms\", \"examples/s\": %s}",
                i ? "," : "", name, name, times[i], times[i]);
    fprintf(f,
            ",{\"name\": \"%s_mean\", \"run_name\": \"%s\", \"run_type\": \"aggregate\", \"aggregate_name\": \"mean\", "
            "\"real_time\": 9, \"time_unit\": \"ms\"}]}",
            name, name);
    fclose(f);
    return text;
}

static void add(struct results **all, const char *where, const char *name, const char *const *times, size_t n)
{
    char error[300], *text = file_text(name, times, n);
    if (results_parse(where, text, strlen(text), all, error, sizeof error)) fail_msg("%s", error);
    free(text);
}

static const char *const five[] = {"10", "11", "10.5", "10.2", "10.8"}, *const slow[] = {"20", "21", "20.5", "20.2",
                                                                                         "20.8"};

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
}

static void unreadable(void **state)
{
    (void)state;
    static const struct { const char *text, *wanted;
    } wrong[] = {
        {"", "x: line 1, column 0: this is not JSON"},
        {"{\"context\": {}", "this is not JSON"},
        {"[]", "x: expected an object with \"context\" and \"benchmarks\", found an array"},
        {"{\"benchmarks\": []}", "x: expected an object \"context\", found nothing"},
        {"{\"context\": {}, \"benchmarks\": 3}", "x: expected an array \"benchmarks\", found an integer"},
        {"{\"context\": {}, \"benchmarks\": [3]}", "x: benchmarks[0]: expected an object, found an integer"},
        {"{\"context\": {}, \"benchmarks\": [{}]}", "expected a text \"name\", found nothing"},
        {"{\"context\": {}, \"benchmarks\": [{\"name\": \"a\", \"real_time\": \"1\"}]}",
         "x: benchmarks[0] (a): expected a number \"real_time\", found a text"},
        {"{\"context\": {}, \"benchmarks\": [{\"name\": \"a\", \"real_time\": 1, \"time_unit\": \"h\"}]}",
         "expected a \"time_unit\" of ns, us, ms or s, found \"h\""},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct results *all = NULL;
        char error[300] = "";
        assert_int_equal(results_parse("x", wrong[i].text, strlen(wrong[i].text), &all, error, sizeof error),
                         RESULTS_BAD);
        if (!strstr(error, wrong[i].wanted)) fail_msg("got '%s', want '%s'", error, wrong[i].wanted);
        results_free(&all);
    }
    struct results *all = NULL;
    char error[300];
    assert_int_equal(results_read("/nonexistent/file", &all, error, sizeof error), RESULTS_IO);
    assert_non_null(strstr(error, "/nonexistent/file: cannot read: No such file"));
    assert_int_equal(results_read("/", &all, error, sizeof error), RESULTS_IO);
    results_free(&all);
}

static void comparing(void **state)
{
    (void)state;
    struct results *all = NULL;
    struct difference_limit limit;
    char error[300], *text;
    size_t size;
    add(&all, "old", "a", five, 5);
    add(&all, "new", "a", slow, 5);
    struct difference *list = differences(all);
    near(list[0].ratio.ratio, 20.5 / 10.5);
    near(list[0].p, 2. / 252);
    assert_true(list[0].real);
    assert_null(list[1].old);
    assert_null(list[1].new);
    assert_true(difference_limit("slowdown>5%", &limit, error, sizeof error) && difference_meets(&list[0], &limit));
    assert_true(difference_limit(" slowdown > 95.3% ", &limit, error, sizeof error) &&
                !difference_meets(&list[0], &limit));
    assert_true(difference_limit("speedup<1.2", &limit, error, sizeof error) && difference_meets(&list[0], &limit));
    FILE *f = open_memstream(&text, &size);
    assert_int_equal(difference_print(f, all, list, &limit), 1);
    fclose(f);
    assert_non_null(strstr(text, "slower, FAILS"));
    free(text);
    free(list);
    results_free(&all);
    /* Noise is no slowdown, however large it is; and what only one file has is said. */
    add(&all, "old", "a", five, 2);
    add(&all, "new", "a", slow, 2);
    add(&all, "old", "only here", five, 5);
    list = differences(all);
    assert_true(difference_limit("slowdown>5%", &limit, error, sizeof error) && !difference_meets(&list[0], &limit));
    text = difference_json(all, list);
    assert_non_null(strstr(text, "too few repetitions"));
    free(text);
    free(list);
    results_free(&all);
    static const char *const wrong[] = {"",          "slowdown",     "slowdown>",   "slowdown>x", "slowdown=5%",
                                        "slower>5%", "slowdown>5%%", "slowdown>-5%"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (difference_limit(wrong[i], &limit, error, sizeof error)) fail_msg("'%s' was accepted", wrong[i]);
}

/* Names and facts may hold anything. */
static void report(void **state)
{
    (void)state;
    struct results *all = NULL;
    char error[300], path[] = "/tmp/convoy-report-XXXXXX";
    close(mkstemp(path));
    add(&all, "<i>file</i>.json", "step/<script>alert(1)</script>/batch:256/threads:2/native", five, 5);
    add(&all, "b.json", "step/<script>alert(1)</script>/batch:256/threads:2/it's \\\\\\\" & \\\\", slow, 5);
    add(&all, "c.json", "something else", slow, 1);
    if (html_report(path, all, error, sizeof error)) fail_msg("%s", error);
    FILE *f = fopen(path, "r");
    static char text[1 << 20];
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    assert_non_null(strstr(text, "&lt;script&gt;alert(1)"));
    assert_null(strstr(text, "<script>alert"));
    assert_null(strstr(text, "<i>file"));
    assert_non_null(strstr(text, "\\u003c/script>"));
    assert_non_null(strstr(text, "1.95 ×")); /* by the times, 20.5 / 10.5 */
    assert_null(strstr(text, "http:"));
    assert_null(strstr(text, "https:"));
    unlink(path);
    assert_int_equal(html_report("/nonexistent/report.html", all, error, sizeof error), RESULTS_IO);
    assert_non_null(strstr(error, "cannot write"));
    results_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(quantiles),  cmocka_unit_test(mann_whitney),
                                       cmocka_unit_test(ratios),     cmocka_unit_test(reading),
                                       cmocka_unit_test(unreadable), cmocka_unit_test(comparing),
                                       cmocka_unit_test(report)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
