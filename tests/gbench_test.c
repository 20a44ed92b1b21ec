/* The C interface of Google Benchmark: a program with known counters, and what its JSON, CSV and
 * callbacks then say. */
#include "gbench.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static int calls, user_value = 7;
static atomic_int threads_seen;

static void everything(gb_state *state, void *user)
{
    assert_ptr_equal(user, &user_value);
    int64_t n = 0;
    calls++;
    GB_LOOP (state) {
        n++;
        gb_keep(&n);
    }
    assert_int_equal(n, gb_iterations(state));
    assert_int_equal(n, gb_max_iterations(state));
    assert_int_equal(gb_range(state, 0), 3);
    assert_int_equal(gb_range(state, 1), 4);
    gb_set_counter(state, "plain", 12, GB_COUNTER);
    gb_set_counter(state, "inverse", 4, GB_COUNTER_INVERT);
    gb_set_counter(state, "rate", 1, GB_COUNTER_RATE);
    gb_set_counter(state, "invariant", 3, GB_COUNTER_INVARIANT);
    gb_set_counter(state, "invariant rate", 5, GB_COUNTER_INVARIANT_RATE);
    gb_set_counter(state, "average", (double)n * 2, GB_COUNTER_AVG_ITERATIONS);
    gb_set_counter(state, "average rate", (double)n * 2, GB_COUNTER_AVG_ITERATIONS_RATE);
    gb_set_counter_base(state, "base", 2048, GB_COUNTER, GB_BASE_1024);
    gb_set_bytes_processed(state, 100);
    gb_set_items_processed(state, 10);
    gb_set_label(state, "a \"label\"");
}

static void manual(gb_state *state, void *user)
{
    (void)user;
    int64_t i = 0;
    while (gb_keep_running(state)) gb_set_iteration_time(state, (double)++i * 1e-3);
}

static void parallel(gb_state *state, void *user)
{
    (void)user;
    atomic_fetch_or(&threads_seen, 1 << gb_thread_index(state));
    assert_int_equal(gb_threads(state), 2);
    GB_LOOP (state) gb_clobber();
    gb_set_counter(state, "sum", 1, GB_COUNTER);
    gb_set_counter(state, "mean", 8, GB_COUNTER_AVG_THREADS);
}

static void pausing(gb_state *state, void *user)
{
    (void)user;
    GB_LOOP (state) {
        gb_pause(state);
        nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
        gb_resume(state);
    }
}

static void failing(gb_state *state, void *user)
{
    GB_LOOP (state) {
        gb_skip_with_error(state, "no luck");
        if (!user) break;
        return;
    }
    assert_true(gb_error_occurred(state));
}

static void failing_early(gb_state *state, void *user)
{
    (void)user;
    gb_skip_with_error(state, "not even begun");
    GB_LOOP (state) fail();
}

static void squares(gb_state *state, void *user)
{
    (void)user;
    const double n = (double)gb_range(state, 0);
    GB_LOOP (state) gb_set_iteration_time(state, n * n * 1e-9);
    gb_set_complexity_n(state, gb_range(state, 0));
}

static double largest(const double *v, size_t n)
{
    double most = v[0];
    for (size_t i = 1; i < n; i++) most = v[i] > most ? v[i] : most;
    return most;
}

/* Runs what is registered and gives the JSON; keep: the same document goes on. */
static json_t *run_json(const char *filter, size_t *matched)
{
    char *text;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    gb_reporter *reporter = gb_reporter_json(memory);
    *matched = gb_run(filter, &reporter, 1);
    assert_true(gb_reporter_close(reporter));
    fclose(memory);
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    if (!root) print_error("%s\n%s\n", error.text, text);
    assert_non_null(root);
    free(text);
    return root;
}

static json_t *record(json_t *root, const char *name)
{
    size_t i;
    json_t *run, *runs = json_object_get(root, "benchmarks");
    json_array_foreach (runs, i, run)
        if (!strcmp(json_string_value(json_object_get(run, "name")), name)) return run;
    print_error("no record %s\n", name);
    fail();
    return NULL;
}

static double number(json_t *run, const char *key)
{
    json_t *value = json_object_get(run, key);
    if (!json_is_number(value)) print_error("no number %s\n", key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static const char *text_of(json_t *run, const char *key)
{
    return json_string_value(json_object_get(run, key));
}

static void close_to(double got, double want)
{
    if (!(fabs(got - want) <= 1e-6 * fabs(want))) fail_msg("got %.17g, want %.17g", got, want);
}

static void counters_and_names(void **state)
{
    (void)state;
    static const char *const names[] = { "x", "y" };
    size_t matched;
    gb_clear();
    gb_benchmark *b = gb_register("everything", everything, &user_value);
    gb_add_args(b, (const int64_t[]){ 3, 4 }, 2);
    gb_set_arg_names(b, names, 2);
    gb_set_iterations(b, 50);
    gb_set_repetitions(b, 3);
    gb_set_unit(b, GB_MS);
    gb_use_real_time(b);
    gb_measure_process_cpu_time(b);
    assert_true(gb_add_statistic(b, "largest", largest, false));
    calls = 0;
    json_t *root = run_json("", &matched),
           *run = record(root, "everything/x:3/y:4/iterations:50/repeats:3/process_time/real_time");
    assert_int_equal(matched, 1);
    assert_int_equal(calls, 3);
    close_to(number(run, "iterations"), 50);
    close_to(number(run, "repetitions"), 3);
    assert_string_equal(text_of(run, "time_unit"), "ms");
    assert_string_equal(text_of(run, "label"), "a \"label\"");
    assert_string_equal(text_of(run, "run_type"), "iteration");
    const double seconds = number(run, "real_time") * 1e-3 * 50;
    close_to(number(run, "plain"), 12);
    close_to(number(run, "inverse"), 0.25);
    close_to(number(run, "rate"), 1 / seconds);
    close_to(number(run, "invariant"), 150);
    close_to(number(run, "invariant rate"), 250 / seconds);
    close_to(number(run, "average"), 2);
    close_to(number(run, "average rate"), 2 / seconds);
    close_to(number(run, "base"), 2048);
    close_to(number(run, "bytes_per_second"), 100 / seconds);
    close_to(number(run, "items_per_second"), 10 / seconds);
    run = record(root, "everything/x:3/y:4/iterations:50/repeats:3/process_time/real_time_largest");
    assert_string_equal(text_of(run, "aggregate_name"), "largest");
    close_to(number(run, "plain"), 12);
    record(root, "everything/x:3/y:4/iterations:50/repeats:3/process_time/real_time_median");
    json_decref(root);
}

static void times_and_threads(void **state)
{
    (void)state;
    size_t matched;
    gb_clear();
    gb_benchmark *b = gb_register("manual", manual, NULL);
    gb_set_iterations(b, 4);
    gb_use_manual_time(b);
    gb_set_unit(b, GB_US);
    b = gb_register("parallel", parallel, NULL);
    gb_set_iterations(b, 100);
    gb_add_threads(b, 2);
    b = gb_register("pausing", pausing, NULL);
    gb_set_iterations(b, 3);
    gb_use_real_time(b);
    json_t *root = run_json("", &matched), *run = record(root, "manual/iterations:4/manual_time");
    assert_int_equal(matched, 3);
    close_to(number(run, "real_time"), 2500); /* the mean of 1 to 4 ms, in us */
    run = record(root, "parallel/iterations:100/threads:2");
    assert_int_equal(threads_seen, 3);
    close_to(number(run, "threads"), 2);
    close_to(number(run, "sum"), 2);
    close_to(number(run, "mean"), 8);
    run = record(root, "pausing/iterations:3/real_time");
    assert_true(number(run, "real_time") < 10e6); /* ns; each iteration slept 20 ms off the clock */
    json_decref(root);
}

static void arguments(void **state)
{
    (void)state;
    static const int64_t few[] = { 1, 2 }, more[] = { 5, 6, 7 }, *const lists[] = { few, more };
    size_t matched;
    gb_clear();
    gb_benchmark *b = gb_register("range", squares, NULL);
    gb_use_manual_time(b);
    gb_set_iterations(b, 2);
    gb_set_range_multiplier(b, 2);
    gb_add_range(b, 16, 256); /* 16 32 64 128 256 */
    gb_set_complexity(b, GB_O_N_SQUARED);
    b = gb_register("product", squares, NULL);
    gb_use_manual_time(b);
    gb_set_iterations(b, 1);
    gb_add_product(b, lists, (const size_t[]){ 2, 3 }, 2);
    b = gb_register("dense", squares, NULL);
    gb_use_manual_time(b);
    gb_set_iterations(b, 1);
    gb_add_dense_range(b, 10, 30, 10);
    b = gb_register("ranges", squares, NULL);
    gb_use_manual_time(b);
    gb_set_iterations(b, 1);
    gb_add_ranges(b, (const int64_t[][2]){ { 1, 8 }, { 2, 2 } }, 2);
    json_t *root = run_json("", &matched);
    assert_int_equal(matched, 5 + 6 + 3 + 2);
    record(root, "product/2/7/iterations:1/manual_time");
    record(root, "dense/30/iterations:1/manual_time");
    record(root, "ranges/8/2/iterations:1/manual_time");
    json_t *run = record(root, "range/iterations:2/manual_time_BigO");
    assert_string_equal(text_of(run, "big_o"), "N^2");
    close_to(number(run, "real_coefficient"), 1);
    json_decref(root);
    root = run_json("^dense", &matched);
    assert_int_equal(matched, 3);
    assert_int_equal(json_array_size(json_object_get(root, "benchmarks")), 3);
    json_decref(root);
}

static void errors(void **state)
{
    (void)state;
    static int yes;
    size_t matched;
    gb_clear();
    gb_register("failing/break", failing, NULL);
    gb_register("failing/return", failing, &yes);
    gb_register("failing/early", failing_early, NULL);
    json_t *root = run_json("", &matched);
    assert_int_equal(matched, 3);
    assert_string_equal(text_of(record(root, "failing/break"), "error_message"), "no luck");
    assert_string_equal(text_of(record(root, "failing/return"), "error_message"), "no luck");
    assert_string_equal(text_of(record(root, "failing/early"), "error_message"), "not even begun");
    json_decref(root);
    root = run_json("nothing matches this", &matched); /* the document is whole all the same */
    assert_int_equal(matched, 0);
    assert_int_equal(json_array_size(json_object_get(root, "benchmarks")), 0);
    assert_true(json_is_object(json_object_get(root, "context")));
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(root, "context"), "colour")), "green");
    json_decref(root);
}

struct seen {
    int runs, aggregates;
    double plain;
    bool hidden;
};

static void count(void *user, const gb_run_report *run)
{
    struct seen *seen = user;
    if (run->aggregate) seen->aggregates++;
    else seen->runs++;
    for (size_t i = 0; i < run->n_counters; i++) {
        if (!run->aggregate && !strcmp(run->counters[i].name, "plain"))
            seen->plain = run->counters[i].value;
        if (!strcmp(run->counters[i].name, "base")) seen->hidden = true;
    }
}

static void several_runs_one_document(void **state)
{
    (void)state;
    char *text, *csv;
    size_t size, csv_size;
    struct seen seen = { 0 };
    FILE *memory = open_memstream(&text, &size), *lines = open_memstream(&csv, &csv_size);
    gb_reporter *reporters[] = { gb_reporter_json(memory), gb_reporter_csv(lines),
                                 gb_reporter_custom(count, &seen) };
    gb_reporter_hide(reporters[2], "ba");
    for (int i = 0; i < 2; i++) {
        gb_clear();
        gb_benchmark *b =
            gb_register(i ? "second, with a comma" : "first", everything, &user_value);
        gb_add_args(b, (const int64_t[]){ 3, 4 }, 2);
        gb_set_iterations(b, 5);
        gb_set_repetitions(b, 2);
        assert_int_equal(gb_run("", reporters, 3), 1);
    }
    for (int i = 0; i < 3; i++) assert_true(gb_reporter_close(reporters[i]));
    fclose(memory);
    fclose(lines);
    assert_int_equal(seen.runs, 4);
    assert_true(seen.aggregates >= 6);
    close_to(seen.plain, 12);
    assert_false(seen.hidden);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    close_to(number(record(root, "first/3/4/iterations:5/repeats:2"), "family_index"), 0);
    close_to(
        number(record(root, "second, with a comma/3/4/iterations:5/repeats:2"), "family_index"), 1);
    assert_non_null(strstr(csv, "name,run_type,repetition,figure,value\n"));
    assert_non_null(strstr(
        csv, "\"second, with a comma/3/4/iterations:5/repeats:2\",iteration,1,\"plain\",\"12\"\n"));
    assert_null(strstr(strstr(csv, "name,") + 5, "name,run_type")); /* one head */
    json_decref(root);
    free(text);
    free(csv);
}

static void lost_output(void **state)
{
    (void)state;
    FILE *full = fopen("/dev/full", "w");
    if (!full) skip();
    gb_reporter *reporter = gb_reporter_json(full);
    gb_clear();
    gb_set_iterations(gb_register("manual", manual, NULL), 1);
    gb_run("", &reporter, 1);
    assert_false(gb_reporter_close(reporter));
    fclose(full);
}

int main(void)
{
    char program[] = "gbench_test", option[] = "--benchmark_min_time=0.01",
         unknown[] = "--benchmark_unknown=1", *words[] = { program, option, unknown, NULL };
    int n = 3;
    gb_initialize(&n, words);
    if (n != 2 || strcmp(words[1], unknown)) {
        fprintf(stderr, "gb_initialize took the wrong words\n");
        return 1;
    }
    gb_add_context("colour", "green");
    const struct CMUnitTest tests[] = { cmocka_unit_test(counters_and_names),
                                        cmocka_unit_test(times_and_threads),
                                        cmocka_unit_test(arguments),
                                        cmocka_unit_test(errors),
                                        cmocka_unit_test(several_runs_one_document),
                                        cmocka_unit_test(lost_output) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
