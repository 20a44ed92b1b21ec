/* `convoy compare`: two result files. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/difference.h"

enum { KEY_FAIL_IF = 0x1000, KEY_JSON };

struct options {
    const char *file[2];
    size_t files;
    const char *json;
    bool limited;
    struct difference_limit limit;
};

static const struct argp_option options[] = {
    {"fail-if", KEY_FAIL_IF, "CONDITION", 0,
     "end with exit code 6 if a benchmark meets it: 'slowdown>5%' (and more than noise) or 'speedup<1.2'", 0},
    {"json", KEY_JSON, "FILE", 0, "write the comparison as JSON, too", 0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    char error[CLI_ERROR];
    switch (key) {
    case KEY_FAIL_IF:
        if (!difference_limit(arg, &o->limit, error, sizeof error)) argp_error(state, "--fail-if: %s", error);
        o->limited = true;
        return 0;
    case KEY_JSON: o->json = arg; return 0;
    case ARGP_KEY_ARG:
        if (o->files == 2) argp_error(state, "expected two result files, found '%.60s' too", arg);
        o->file[o->files++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (o->files < 2) argp_error(state, "expected two result files, found %s", o->files ? "one" : "none");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {.options = options,
                                 .parser = parse,
                                 .args_doc = "OLD.json NEW.json",
                                 .doc = "Compares two results that `convoy bench --json` or any Google Benchmark "
                                        "program wrote: the ratio of the median times, its 95 % "
                                        "interval by bootstrap, and Mann and Whitney's p. A difference counts as real "
                                        "if p is below 0.05 and the interval leaves out 1."};

static int write_json(const char *path, const struct results *all, const struct difference *list)
{
    char *text = difference_json(all, list);
    FILE *f = text ? fopen(path, "w") : NULL;
    bool good = f && fprintf(f, "%s\n", text) > 0;
    if (f) good &= !fclose(f);
    free(text);
    if (!text) return cli_fail(CLI_NOMEM, "out of memory");
    return good ? CLI_OK : cli_fail(CLI_IO, "%s: cannot write: %s", path, strerror(errno));
}

static int compare_files(const struct options *o)
{
    static const int codes[] = {CLI_OK, CLI_BAD, CLI_IO, CLI_NOMEM};
    struct results *all = NULL;
    struct difference *list = NULL;
    char error[CLI_ERROR];
    enum results_status status = RESULTS_OK;
    for (size_t i = 0; !status && i < 2; i++) status = results_read(o->file[i], &all, error, sizeof error);
    int code = status ? cli_fail(codes[status], "%s", error) : CLI_OK;
    if (!code && !(list = differences(all))) code = cli_fail(CLI_NOMEM, "out of memory");
    size_t common = 0;
    for (const struct difference *d = list; d && (d->old || d->new); d++) common += d->old && d->new;
    if (!code && !common) code = cli_fail(CLI_BAD, "%s and %s have no benchmark in common", o->file[0], o->file[1]);
    if (!code) {
        const size_t met = difference_print(stdout, all, list, o->limited ? &o->limit : NULL);
        if (o->json) code = write_json(o->json, all, list);
        if (!code && met)
            code = cli_fail(CLI_LIMIT, "%zu of %zu benchmarks meet the condition of --fail-if", met, common);
    }
    free(list);
    results_free(&all);
    return code;
}

static int run(int argc, char **argv)
{
    struct options o = {.files = 0};
    cli_parse(&argp, argc, argv, &o);
    return compare_files(&o);
}

const struct cli_command cli_compare = {"compare", "compare two results", &argp, run};
