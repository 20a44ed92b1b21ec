/* `convoy compare`: two result files, or several backends on a training step (contest.c). */
#include "cli/compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/difference.h"

enum {
    KEY_JSON = 'o',
    KEY_BATCH = 'b',
    KEY_THREADS = 't',
    KEY_FAIL_IF = 0x1000,
    KEY_NOISE,
    KEY_HTML,
    KEY_BACKENDS,
    KEY_CHECK_BATCH,
    KEY_STEPS,
    KEY_ISA,
    KEY_STRICT
};

struct options {
    const char *file[2];
    size_t files;
    const char *json;
    bool limited;
    double noise; /* a share */
    struct difference_limit limit;
    struct contest_options contest;
    bool asked; /* for something that only a contest has */
};

static const struct argp_option options[] = {
    { NULL, 0, NULL, 0, "Results before and after:", 1 },
    { "fail-if", KEY_FAIL_IF, "CONDITION", 0,
      "end with exit code 6 if a benchmark meets it: 'slowdown>5%' (and more than noise) or "
      "'speedup<1.2'",
      1 },
    { "noise", KEY_NOISE, "PERCENT", 0,
      "what two processes of the same program may differ by, where fewer than three files a side "
      "do not show it (default: 15)",
      1 },
    { NULL, 0, NULL, 0, "Backends:", 2 },
    { "backends", KEY_BACKENDS, "LIST", 0,
      "contestants, each BACKEND[:unfused], where BACKEND is native, reference or a module's name, "
      "e.g. onednn; "
      "the first is what the others are compared with",
      2 },
    { "batch", KEY_BATCH, "N", 0, "images in a step (default: the model's)", 2 },
    { "check-batch", KEY_CHECK_BATCH, "N", 0,
      "images in the step whose numbers are compared (default: what the reference does in "
      "a few seconds)",
      2 },
    { "isa", KEY_ISA, "NAME", 0,
      "instruction set: scalar, avx2 or avx512 (default: the best that runs here)", 2 },
    { "steps", KEY_STEPS, "N", 0,
      "steps that are measured, without and with clocks, of each (default: 30)", 2 },
    { "strict", KEY_STRICT, NULL, 0, "an op that a backend lacks is an error, not left to another",
      2 },
    { "threads", KEY_THREADS, "N", 0, "worker threads (default: as `convoy train`)", 2 },
    { "html", KEY_HTML, "FILE", CLI_OUTPUT, "write a page with the tables, too", 2 },
    { NULL, 0, NULL, 0, "Both:", 3 },
    { "json", KEY_JSON, "FILE", CLI_OUTPUT, "write the comparison as JSON, too", 3 },
    { 0 }
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    char error[CLI_ERROR];
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &o->contest.change; return 0;
    case KEY_FAIL_IF:
        if (!difference_limit(arg, &o->limit, error, sizeof error))
            cli_refuse(state, "--fail-if: %s", error);
        o->limited = true;
        return 0;
    case KEY_NOISE: o->noise = cli_real(state, "noise", arg, 0, 1000) / 100; return 0;
    case KEY_JSON: o->json = o->contest.json = arg; return 0;
    case KEY_BACKENDS: o->contest.backends = arg; return 0;
    case KEY_BATCH: o->contest.batch = cli_integer(state, "batch", arg, 2, 1 << 20); break;
    case KEY_CHECK_BATCH:
        o->contest.check_batch = cli_integer(state, "check-batch", arg, 2, 1 << 20);
        break;
    case KEY_STEPS: o->contest.steps = cli_integer(state, "steps", arg, 1, 100000); break;
    case KEY_THREADS: o->contest.threads = cli_integer(state, "threads", arg, 1, 1024); break;
    case KEY_ISA:
        if (!cvy_isa_from_name(arg, &o->contest.isa))
            cli_refuse(state, "--isa: expected scalar, avx2, avx512 or auto, found '%.60s'", arg);
        break;
    case KEY_STRICT: o->contest.strict = true; break;
    case KEY_HTML: o->contest.html = arg; break;
    case ARGP_KEY_ARG:
        if (o->files == 2) cli_refuse(state, "expected two result files, found '%.60s' too", arg);
        o->file[o->files++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (o->contest.backends) {
            if (o->files > 1)
                cli_refuse(state, "--backends: expected one model, found '%.60s' too", o->file[1]);
            if (o->limited) cli_refuse(state, "--fail-if is for two result files");
            return 0;
        }
        o->asked |= o->contest.change.input[0] || o->contest.change.classes;
        if (o->asked) cli_refuse(state, "these options are for --backends LIST, which is missing");
        if (o->files < 2)
            cli_refuse(state, "expected two result files or --backends, found %s",
                       o->files ? "one file" : "neither");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
    o->asked = true;
    return 0;
}

static const struct argp_child children[] = { { &cli_shape_argp, 0, NULL, 2 }, { 0 } };
static const struct argp argp = {
    .options = options,
    .parser = parse,
    .children = children,
    .args_doc = "OLD.json[,...] NEW.json[,...]\n[MODEL] --backends LIST",
    .doc =
        "Compares results that `convoy bench --json` or any Google Benchmark program wrote. A side "
        "is "
        "one file or, better, the files of several processes with commas between; the ratio of "
        "times has its 95 % interval by Welch's t test of the logarithms. Slower and faster are so "
        "called that among identical programs one comparison in twenty has any such row (Holm).\n"
        "With --backends, compares backends on a training step (of lenet-bn by default), op by op: "
        "time, share, GFLOP/s, GB/s, and how far the numbers are from the reference's. `convoy "
        "--help` lists exit codes."
        "\vExamples:\n"
        "  convoy compare old.json new.json --fail-if 'slowdown>5%'\n"
        "  convoy compare a1.json,a2.json b1.json,b2.json\n"
        "  convoy compare resnet20 --backends native,onednn -b 64 --html page.html\n"
};

static int write_json(const char *path, const struct differences *all)
{
    char *text = difference_json(all);
    int code = text ? cli_write(path, text) : cli_fail(CLI_NOMEM, "out of memory");
    free(text);
    return code;
}

/* A file, or several with commas between. */
static int read_side(const char *list, struct results **all)
{
    static const int codes[] = { CLI_OK, CLI_BAD, CLI_IO, CLI_NOMEM };
    char error[CLI_ERROR], *copy = strdup(list), *rest = copy;
    enum results_status status = copy ? RESULTS_OK : RESULTS_NOMEM;
    snprintf(error, sizeof error, "out of memory");
    if (copy && !access(list, F_OK)) rest = NULL; /* a name with a comma in it */
    if (copy && !rest) status = results_read(list, all, error, sizeof error);
    for (char *path; !status && rest && (path = strsep(&rest, ","));)
        status = results_read(path, all, error, sizeof error);
    free(copy);
    return status ? cli_fail(codes[status], "%s", error) : CLI_OK;
}

static int compare_files(const struct options *o)
{
    struct results *all = NULL;
    struct differences *d = NULL;
    int code = CLI_OK;
    size_t n_old = 0;
    for (size_t i = 0; !code && i < 2; i++) {
        code = read_side(o->file[i], &all);
        if (!i && all) n_old = all->n_files;
    }
    if (!code && !(d = differences(all, n_old, o->noise)))
        code = cli_fail(CLI_NOMEM, "out of memory");
    if (!code && !d->common)
        code = cli_fail(CLI_BAD, "%s and %s have no benchmark in common", o->file[0], o->file[1]);
    if (!code) {
        const size_t met = difference_print(stdout, d, o->limited ? &o->limit : NULL);
        if (o->json) code = write_json(o->json, d);
        if (!code && met)
            code = cli_fail(CLI_LIMIT, "%zu of %zu benchmarks meet the condition of --fail-if", met,
                            d->common);
    }
    differences_free(&d);
    results_free(&all);
    return code;
}

static int run(int argc, char **argv)
{
    struct options o = { .noise = DIFFERENCE_HIDDEN, .contest = { .steps = 30 } };
    cli_parse(&argp, argc, argv, &o);
    if (o.contest.backends) {
        o.contest.model = o.files ? o.file[0] : "lenet-bn";
        return cli_contest(&o.contest);
    }
    return compare_files(&o);
}

const struct cli_command cli_compare = { "compare",
                                         "compare two results, or backends on a training step",
                                         &argp, run };
