/* Reading result files. */
#include "report/results.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/stats.h"

/* What is being read and where its message goes. */
struct reader {
    const char *where;
    char *error;
    size_t error_size;
    struct results *all;
    size_t file;
};

static enum results_status fail(const struct reader *r, enum results_status status,
                                const char *format, ...) __attribute__((format(printf, 3, 4)));
static enum results_status fail(const struct reader *r, enum results_status status,
                                const char *format, ...)
{
    va_list args;
    int n = snprintf(r->error, r->error_size, "%s: ", r->where);
    va_start(args, format);
    if ((size_t)n < r->error_size) vsnprintf(r->error + n, r->error_size - (size_t)n, format, args);
    va_end(args);
    return status;
}

static enum results_status no_memory(const struct reader *r)
{
    return fail(r, RESULTS_NOMEM, "out of memory");
}

/* A pointer to one more element, zeroed, of an array of n; NULL: out of memory. */
#define APPEND(array, n)                                             \
    __extension__({                                                  \
        void *longer_ = realloc(array, ((n) + 1) * sizeof *(array)); \
        if (longer_) {                                               \
            (array) = longer_;                                       \
            memset(&(array)[n], 0, sizeof *(array));                 \
        }                                                            \
        longer_ ? &(array)[(n)++] : NULL;                            \
    })

static bool set_text(char **text, const char *value)
{
    free(*text);
    *text = strdup(value);
    return *text != NULL;
}

static const char *type_name(const json_t *json)
{
    static const char *const names[] = { "an object", "an array", "a text", "an integer",
                                         "a number",  "true",     "false",  "null" };
    return json ? names[json_typeof(json)] : "nothing";
}

static enum results_status read_facts(const struct reader *r, const json_t *context)
{
    struct result_file *file = &r->all->file[r->file];
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)context, key, value) { /* GCOVR_EXCL_BR_LINE */
        struct result_fact *fact = APPEND(file->fact, file->n_facts);
        const char *string = json_string_value(value); /* NULL: it is none */
        char *text =
            string ? NULL
                   : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(8));
        bool good = fact && (string || text) && set_text(&fact->key, key) &&
                    set_text(&fact->value, string ? string : text);
        free(text);
        if (!good) return no_memory(r);
    }
    return RESULTS_OK;
}

static bool known_member(const char *key)
{
    static const char *const known[] = { "family_index", "per_family_instance_index",
                                         "repetitions",  "repetition_index",
                                         "threads",      "iterations",
                                         "real_time",    "cpu_time" };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(key, known[i])) return true;
    return false;
}

static struct result *find(struct results *all, size_t file, const char *name)
{
    for (size_t i = all->n; i-- > 0;)
        if (all->at[i].file == file && !strcmp(all->at[i].name, name)) return &all->at[i];
    return NULL;
}

/* The value of counter `name` in the run being added, the last. */
static bool set_counter(struct result *x, const char *name, double value)
{
    size_t c = 0;
    while (c < x->n_counters && strcmp(x->counter[c].name, name)) c++;
    if (c == x->n_counters) {
        struct result_counter *counter = APPEND(x->counter, x->n_counters);
        if (!counter || !set_text(&counter->name, name) ||
            !(counter->value = malloc(x->runs * sizeof *counter->value)))
            return false;
        for (size_t i = 0; i < x->runs; i++) counter->value[i] = NAN;
    }
    x->counter[c].value[x->runs - 1] = value;
    return true;
}

static bool is_number(const json_t *value) { return json_is_number(value); }
static bool is_true(const json_t *run, const char *key)
{
    return json_object_get(run, key) == json_true();
}

/* How many seconds the run's "time_unit" is. */
static enum results_status read_unit(const struct reader *r, size_t index, const char *id,
                                     const json_t *run, double *seconds)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = { { "ns", 1e-9 }, { "us", 1e-6 }, { "ms", 1e-3 }, { "s", 1 } };
    const json_t *unit = json_object_get(run, "time_unit");
    const char *name = unit ? json_string_value(unit) : units[0].name;
    if (!name)
        return fail(r, RESULTS_BAD,
                    "benchmarks[%zu] (%s): expected a \"time_unit\" of ns, us, ms or s, found %s",
                    index, id, type_name(unit));
    for (size_t u = 0; u < sizeof units / sizeof *units; u++)
        if (!strcmp(name, units[u].name)) {
            *seconds = units[u].seconds;
            return RESULTS_OK;
        }
    return fail(
        r, RESULTS_BAD,
        "benchmarks[%zu] (%s): expected a \"time_unit\" of ns, us, ms or s, found \"%.20s\"", index,
        id, name);
}

/* The benchmark of that name in this file, added if it is its first run; NULL: out of memory. */
static struct result *find_or_add(const struct reader *r, const char *id)
{
    struct result *x = find(r->all, r->file, id);
    if (x) return x;
    x = APPEND(r->all->at, r->all->n);
    if (!x || !set_text(&x->name, id) || !set_text(&x->label, "") || !set_text(&x->error, ""))
        return NULL;
    x->file = r->file;
    return x;
}

/* Makes room for one more number; false: out of memory. */
static bool lengthen(double **numbers, size_t n)
{
    double *longer = realloc(*numbers, (n + 1) * sizeof *longer);
    if (longer) *numbers = longer;
    return longer != NULL;
}

/* One more repetition, with all numbers that it has; false: out of memory. */
static bool add_repetition(struct result *x, const json_t *run, double unit)
{
    const json_t *time = json_object_get(run, "real_time"), *cpu = json_object_get(run, "cpu_time");
    if (!lengthen(&x->seconds, x->runs) || !lengthen(&x->cpu_seconds, x->runs)) return false;
    x->seconds[x->runs] = json_number_value(time) * unit;
    x->cpu_seconds[x->runs] = is_number(cpu) ? json_number_value(cpu) * unit : NAN;
    for (size_t c = 0; c < x->n_counters; c++) {
        if (!lengthen(&x->counter[c].value, x->runs)) return false;
        x->counter[c].value[x->runs] = NAN;
    }
    x->runs++;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)run, key, value) { /* GCOVR_EXCL_BR_LINE: a key has a value */
        if (is_number(value) && !known_member(key) &&
            !set_counter(x, key, json_number_value(value)))
            return false;
    }
    return true;
}

static enum results_status read_run(const struct reader *r, size_t index, const json_t *run)
{
    if (json_typeof(run) != JSON_OBJECT)
        return fail(r, RESULTS_BAD, "benchmarks[%zu]: expected an object, found %s", index,
                    type_name(run));
    const char *name = json_string_value(json_object_get(run, "name")),
               *type = json_string_value(json_object_get(run, "run_type")),
               /* each NULL if it is no text */
                   *id = json_string_value(json_object_get(run, "run_name"));
    if (!name)
        return fail(r, RESULTS_BAD, "benchmarks[%zu]: expected a text \"name\", found %s", index,
                    type_name(json_object_get(run, "name")));
    if (type && strcmp(type, "iteration")) return RESULTS_OK;
    if (!id) id = name;
    struct result *x = find_or_add(r, id);
    if (!x) return no_memory(r);
    const char *label = json_string_value(json_object_get(run, "label")),
               *message = json_string_value(json_object_get(run, "error_message"));
    if (!message) message = json_string_value(json_object_get(run, "skip_message"));
    if (label && !set_text(&x->label, label)) return no_memory(r);
    if (message || is_true(run, "error_occurred") || is_true(run, "skipped"))
        return set_text(&x->error, message ? message : "failed") ? RESULTS_OK : no_memory(r);
    const json_t *time = json_object_get(run, "real_time");
    if (!is_number(time))
        return fail(r, RESULTS_BAD,
                    "benchmarks[%zu] (%s): expected a number \"real_time\", found %s", index, id,
                    type_name(time));
    double unit = 0;
    enum results_status status = read_unit(r, index, id, run, &unit);
    if (status) return status;
    return add_repetition(x, run, unit) ? RESULTS_OK : no_memory(r);
}

enum results_status results_parse(const char *where, const char *text, size_t size,
                                  struct results **all, char *error, size_t error_size)
{
    struct reader r = { .where = where, .error = error, .error_size = error_size };
    json_error_t at;
    if (!*all && !(*all = calloc(1, sizeof **all))) return no_memory(&r);
    r.all = *all;
    json_t *root = json_loadb(text, size, 0, &at);
    if (!root)
        return fail(&r, RESULTS_BAD, "line %d, column %d: this is not JSON: %s", at.line, at.column,
                    at.text);
    const json_t *context = json_object_get(root, "context"),
                 *runs = json_object_get(root, "benchmarks");
    enum results_status status = RESULTS_OK;
    if (json_typeof(root) != JSON_OBJECT)
        status = fail(&r, RESULTS_BAD,
                      "expected an object with \"context\" and \"benchmarks\", found %s",
                      type_name(root));
    else if (!json_is_object(context))
        status = fail(&r, RESULTS_BAD,
                      "expected an object \"context\", found %s: this is no benchmark's result",
                      type_name(context));
    else if (!json_is_array(runs))
        status = fail(&r, RESULTS_BAD,
                      "expected an array \"benchmarks\", found %s: this is no benchmark's result",
                      type_name(runs));
    if (!status) {
        r.file = r.all->n_files;
        struct result_file *file = APPEND(r.all->file, r.all->n_files);
        if (!file || !set_text(&file->path, where) || !(file->text = strndup(text, size)))
            status = no_memory(&r);
    }
    if (!status) status = read_facts(&r, context);
    for (size_t i = 0; !status && i < json_array_size(runs); i++)
        status = read_run(&r, i, json_array_get(runs, i));
    json_decref(root);
    return status;
}

enum results_status results_read(const char *path, struct results **all, char *error,
                                 size_t error_size)
{
    const struct reader r = { .where = path, .error = error, .error_size = error_size };
    char *text = NULL, block[8192];
    size_t size = 0, n;
    FILE *f = fopen(path, "rb"), *memory = f ? open_memstream(&text, &size) : NULL;
    enum results_status status = RESULTS_OK;
    if (!f) status = fail(&r, RESULTS_IO, "cannot read: %s", strerror(errno));
    else if (!memory) status = no_memory(&r);
    while (!status && (n = fread(block, 1, sizeof block, f)) > 0)
        if (fwrite(block, 1, n, memory) != n) status = no_memory(&r);
    if (!status && ferror(f)) status = fail(&r, RESULTS_IO, "cannot read: %s", strerror(errno));
    if (f) fclose(f);
    if (memory && fclose(memory) && !status) status = no_memory(&r);
    if (!status) status = results_parse(path, text, size, all, error, error_size);
    free(text);
    return status;
}

void results_free(struct results **all)
{
    struct results *a = *all;
    if (!a) return;
    for (size_t i = 0; i < a->n_files; i++) {
        for (size_t k = 0; k < a->file[i].n_facts; k++) {
            free(a->file[i].fact[k].key);
            free(a->file[i].fact[k].value);
        }
        free(a->file[i].fact);
        free(a->file[i].path);
        free(a->file[i].text);
    }
    for (size_t i = 0; i < a->n; i++) {
        for (size_t k = 0; k < a->at[i].n_counters; k++) {
            free(a->at[i].counter[k].name);
            free(a->at[i].counter[k].value);
        }
        free(a->at[i].counter);
        free(a->at[i].name);
        free(a->at[i].label);
        free(a->at[i].error);
        free(a->at[i].seconds);
        free(a->at[i].cpu_seconds);
    }
    free(a->file);
    free(a->at);
    free(a);
    *all = NULL;
}

const char *results_fact(const struct results *all, size_t file, const char *key)
{
    for (size_t i = 0; file < all->n_files && i < all->file[file].n_facts; i++)
        if (!strcmp(all->file[file].fact[i].key, key)) return all->file[file].fact[i].value;
    return NULL;
}

double result_median(const struct result *r, const char *counter)
{
    if (!*counter) return stats_median(r->seconds, r->runs);
    for (size_t c = 0; c < r->n_counters; c++)
        if (!strcmp(r->counter[c].name, counter)) return stats_median(r->counter[c].value, r->runs);
    return NAN;
}

double result_cpus(const struct result *r)
{
    double *share = malloc((r->runs + 1) * sizeof *share);
    if (!share) return NAN;
    for (size_t i = 0; i < r->runs; i++) share[i] = r->cpu_seconds[i] / r->seconds[i];
    const double result = stats_median(share, r->runs);
    free(share);
    return result;
}
