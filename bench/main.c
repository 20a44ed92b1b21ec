/* convoy-bench, which `convoy bench` runs: options, the list of cases, and running them group by
 * group so that contestants take turns. Results go to the table (table.c), to JSON in Google
 * Benchmark's layout, to CSV, to an HTML report. */
#include <errno.h>
#include <regex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "report/html.h"
#include "table.h"

struct bench_case {
    char *name;
    struct bench *bench;
    size_t group; /* length of the name up to the contestant */
    enum gb_unit unit;
    enum bench_time time;
    gb_fn *run;
    const void *turn;
    void (*close)(void *user);
    void *user;
};

struct bench {
    struct bench_options o;
    struct bench_case *cases;
    size_t n, room;
    enum cvy_isa isas[8];
    struct bench_numbers threads;
    regex_t filter;
    bool filtered, negated;
    char *notes;
    size_t failures;
    struct table *table;
    /* measured in the last half second */
    struct {
        enum cvy_isa isa;
        size_t threads;
        double at, gflops;
    } peak[16];
};

/* --------------------------------------------------------------------------------- small things */

void bench_die(int code, const char *format, ...)
{
    char text[CLI_ERROR];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    exit(cli_fail(code, "%s", text));
}

void *bench_alloc(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    if (!p) bench_die(CLI_NOMEM, "out of memory for %zu bytes", bytes);
    return p;
}

char *bench_text(const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0) bench_die(CLI_NOMEM, "out of memory");
    return text;
}

float *bench_floats(size_t n)
{
    float *p = bench_alloc(n * sizeof *p);
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++)
        p[i] = (float)((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-24f - 0.5f;
    return p;
}

const struct bench_options *bench_options(const struct bench *b) { return &b->o; }
const enum cvy_isa *bench_isas(const struct bench *b) { return b->isas; }
struct bench_numbers bench_threads(struct bench *b) { return b->threads; }

/* ---------------------------------------------------------------------------------------- cases */

void bench_add(struct bench *b, const char *name, enum gb_unit unit, enum bench_time time,
               gb_fn *run, const void *turn, void (*close)(void *user), void *user)
{
    if (b->filtered && (regexec(&b->filter, name, 0, NULL, 0) == 0) == b->negated) {
        if (close) close(user);
        return;
    }
    if (b->n == b->room) {
        b->room = b->room ? 2 * b->room : 64;
        b->cases = realloc(b->cases, b->room * sizeof *b->cases);
        if (!b->cases) bench_die(CLI_NOMEM, "out of memory");
    }
    const char *slash = strrchr(name, '/');
    b->cases[b->n++] = (struct bench_case){ bench_text("%s", name),
                                            b,
                                            slash ? (size_t)(slash - name) : strlen(name),
                                            unit,
                                            time,
                                            run,
                                            turn,
                                            close,
                                            user };
}

static bool same_group(const struct bench_case *a, const struct bench_case *b)
{
    if (a->turn && a->turn == b->turn) return true;
    return a->group == b->group && !strncmp(a->name, b->name, a->group);
}

/* --------------------------------------------------------------------------------- inside a run */

double bench_peak_now(struct bench *b, enum cvy_isa isa, size_t threads)
{
    size_t i = 0, n = sizeof b->peak / sizeof *b->peak;
    while (i + 1 < n && b->peak[i].threads &&
           (b->peak[i].isa != isa || b->peak[i].threads != threads))
        i++;
    if (b->peak[i].threads != threads || b->peak[i].isa != isa ||
        bench_now() - b->peak[i].at > 0.5) {
        b->peak[i].gflops = probe_fma(isa, threads, b->o.once ? 0 : 0.03);
        b->peak[i].isa = isa;
        b->peak[i].threads = threads;
        b->peak[i].at = bench_now();
    }
    return b->peak[i].gflops;
}

void bench_figures(struct bench *b, gb_state *state, double seconds, const struct bench_work *work,
                   enum cvy_isa isa, size_t threads)
{
    if (gb_error_occurred(state) || !(seconds > 0)) return;
    const double gflops = work->flops / seconds * 1e-9;
    if (work->examples > 0)
        gb_set_counter(state, "examples/s", work->examples / seconds, GB_COUNTER);
    if (work->bytes > 0) gb_set_counter(state, "GB/s", work->bytes / seconds * 1e-9, GB_COUNTER);
    if (work->flops > 0) {
        const double peak = bench_peak_now(b, isa, threads);
        gb_set_counter(state, "GFLOP/s", gflops, GB_COUNTER);
        gb_set_counter(state, "% of peak", 100 * gflops / peak, GB_COUNTER);
        gb_set_counter(state, "peak GFLOP/s", peak, GB_COUNTER);
    }
}

void bench_skip(struct bench *b, gb_state *state, bool unsupported, const char *sentence)
{
    if (!unsupported) b->failures++;
    gb_skip_with_error(state, sentence);
}

cvy_context *bench_context(struct bench *b, gb_state *state, const struct bench_contestant *who,
                           size_t threads)
{
    cvy_context *ctx;
    const cvy_context_options options = { .threads = threads,
                                          .isa = who->isa,
                                          .backends = who->backend,
                                          .strict = !strchr(who->backend, ','),
                                          .no_fusion = who->no_fusion,
                                          .algorithm = who->algorithm };
    enum cvy_status status = cvy_context_create(&options, &ctx);
    if (!status) return ctx;
    bench_skip(b, state, false, cvy_message(NULL));
    return NULL;
}

void bench_note(struct bench *b, const char *format, ...)
{
    char *line, *all;
    va_list args;
    va_start(args, format);
    if (vasprintf(&line, format, args) < 0) bench_die(CLI_NOMEM, "out of memory");
    va_end(args);
    all = bench_text("%s%s\n", b->notes ? b->notes : "", line);
    free(b->notes);
    free(line);
    b->notes = all;
}

/* -------------------------------------------------------------------------------------- options */

struct command {
    struct bench b;
    bool chosen[16];
    const char *filter, *json, *csv, *html, *backends, *isas;
    struct bench_list results;
    size_t repetitions;
    bool list, verbose;
};

/* A benchmark; or another's cases under a name of their own, which says what is not said: lists of
 * contestants (but those that cannot be had here), of shapes, and, of its own cases, a filter. */
static const struct {
    const char *name, *summary;
    void (*add)(struct bench *b);
    const char *backends, *shapes, *filter;
} benchmarks[] = {
    { "peak", "the machine: multiply-adds, bandwidths, core to core", .add = bench_peak },
    { "kernels", "every kernel of every instruction set", .add = bench_kernels },
    { "ops", "every operator and pass at the shapes of real nets", .add = bench_ops },
    { "step", "whole training steps", .add = bench_step },
    { "scaling", "training steps over threads and batch sizes", .add = bench_scaling },
    { "forum", "train, and print the lines that the book's forum compares", .add = bench_forum },
    { "backward", "a batch norm's gradient: by stages, in closed form, by the operator",
      .add = bench_backward },
    { "conv", "every convolution of the nets: native, oneDNN, plain loops", .add = bench_ops,
      .backends = "native,onednn,reference", .shapes = "cs231n,lenet,resnet20,vgg11,tfbook,yann",
      .filter = "/[^/]*conv[^/]*/" },
    { "train", "a training step of every small built-in net, over threads and instruction sets",
      .add = bench_train, .backends = "native,native:avx2,native:scalar,onednn" },
    { "sizes", "operators over neighbouring sizes, and which of these are slow",
      .add = bench_sizes },
};
enum { BENCHMARKS = sizeof benchmarks / sizeof *benchmarks };

enum {
    KEY_THREADS = 't',
    KEY_BATCH = 'b',
    KEY_JSON = 'o',
    KEY_FILTER = 0x1000,
    KEY_LIST,
    KEY_BACKENDS,
    KEY_ISA,
    KEY_MODELS,
    KEY_SHAPES,
    KEY_PRB,
    KEY_LOG,
    KEY_PASS,
    KEY_REPETITIONS,
    KEY_MIN_TIME,
    KEY_ONCE,
    KEY_PHASES,
    KEY_VERBOSE,
    KEY_EPOCHS,
    KEY_MEMORY_LIMIT,
    KEY_DATA,
    KEY_CSV,
    KEY_HTML,
    KEY_RESULTS
};

static const struct argp_option options[] = {
    { NULL, 0, NULL, 0, "What is measured:", 1 },
    { "filter", KEY_FILTER, "REGEX", 0,
      "only cases whose name matches (a '-' in front: does not match)", 1 },
    { "list", KEY_LIST, NULL, 0, "print the cases' names and stop", 1 },
    { "backends", KEY_BACKENDS, "LIST", 0,
      "contestants, each BACKEND[+BACKEND][:ISA][:ALGORITHM][:unfused], where BACKEND is native, "
      "reference or a module's name, e.g. onednn; a second one does what the first lacks, which "
      "is an error otherwise; they take turns (default: native)",
      1 },
    { "isa", KEY_ISA, "LIST", 0,
      "instruction sets for peak and kernels; one alone is also the contestants' (default: all "
      "that run here)",
      1 },
    { "threads", KEY_THREADS, "LIST", 0,
      "numbers of threads (default: as many as the library would use; scaling: 1, 2, 4 ... to "
      "that)",
      1 },
    { "batch", KEY_BATCH, "LIST", 0,
      "batch sizes (default: the model's or the shape's own; scaling: 16, 32 ... 1024)", 1 },
    { "memory-limit", KEY_MEMORY_LIMIT, "SIZE", 0,
      "for steps: bytes that the plan may take, or 500M, 1.5G (default: no limit)", 1 },
    { "models", KEY_MODELS, "LIST", 0,
      "built-in models or JSON files for step, scaling and forum (default: lenet-bn)", 1 },
    { "shapes", KEY_SHAPES, "LIST", 0,
      "shape files for ops: lenet, resnet18, resnet20, resnet50, mobilenet-v2, vgg11, densenet121, "
      "cs231n, tfbook, yann or a path (default: lenet)",
      1 },
    { "prb", KEY_PRB, "PROBLEM", 0,
      "one problem for ops in benchdnn's notation, e.g. '--conv mb256ic6ih14oc16oh10kh5'; may be "
      "repeated",
      1 },
    { "from-verbose", KEY_LOG, "LOG", 0,
      "the problems in an ONEDNN_VERBOSE log, for ops; may be repeated", 1 },
    { "pass", KEY_PASS, "LIST", 0,
      "for ops: forward, infer, data, weights (default: those of training)", 1 },
    { "epochs", KEY_EPOCHS, "N", 0, "for forum (default: the model's)", 1 },
    { "data", KEY_DATA, "NAME", 0, "for forum: a data set (default: the model's), or synthetic",
      1 },
    { NULL, 0, NULL, 0, "How:", 2 },
    { "repetitions", KEY_REPETITIONS, "N", 0,
      "measurements of each contestant (default: 5; forum: 1)", 2 },
    { "min-time", KEY_MIN_TIME, "SECONDS", 0, "length of a measurement (default: 0.2; sizes: 0.05)",
      2 },
    { "once", KEY_ONCE, NULL, 0,
      "one iteration of everything: shows that it runs, measures nothing", 2 },
    { NULL, 0, NULL, 0, "Output:", 3 },
    { "phases", KEY_PHASES, NULL, 0,
      "step: also what each phase takes, and could take at the least", 3 },
    { "verbose", KEY_VERBOSE, NULL, 0,
      "all facts of the machine and every run's raw row, as Google Benchmark prints them", 3 },
    { "json", KEY_JSON, "FILE", CLI_OUTPUT,
      "results in Google Benchmark's JSON, for `convoy compare`", 3 },
    { "csv", KEY_CSV, "FILE", CLI_OUTPUT, "results as lines of name, run, figure, value", 3 },
    { "html", KEY_HTML, "FILE", CLI_OUTPUT, "a report: one file, nothing loaded from the network",
      3 },
    { "results", KEY_RESULTS, "FILE", 0,
      "earlier results (JSON) to show in the report as well; may be repeated. With no BENCHMARK "
      "nothing is run",
      3 },
    { 0 }
};

static void keep(struct bench_list *list, const char *text)
{
    list->text = realloc(list->text, (list->n + 1) * sizeof *list->text);
    if (!list->text) bench_die(CLI_NOMEM, "out of memory");
    list->text[list->n++] = text;
}

/* The words between commas; the text is cut up. */
static void keep_words(struct argp_state *state, const char *option, struct bench_list *list,
                       char *text)
{
    for (char *word = strtok(text, ","); word; word = strtok(NULL, ",")) keep(list, word);
    if (!list->n) cli_refuse(state, "--%s: expected at least one name", option);
}

static void keep_numbers(struct argp_state *state, const char *option, struct bench_numbers *list,
                         char *text, uint64_t hi)
{
    struct bench_list words = { 0 };
    keep_words(state, option, &words, text);
    list->value = bench_alloc(words.n * sizeof *list->value);
    for (list->n = 0; list->n < words.n; list->n++)
        list->value[list->n] = cli_integer(state, option, words.text[list->n], 1, hi);
    free(words.text);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    static const char *const passes[] = { "forward", "infer", "data", "weights",
                                          NULL }; /* as enum cvy_pass */
    struct command *c = state->input;
    struct bench_options *o = &c->b.o;
    struct bench_list words = { 0 };
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &o->change; return 0;
    case KEY_FILTER: c->filter = arg; return 0;
    case KEY_LIST: c->list = true; return 0;
    case KEY_BACKENDS: c->backends = arg; return 0;
    case KEY_ISA: c->isas = arg; return 0;
    case KEY_THREADS: keep_numbers(state, "threads", &o->threads, arg, 1024); return 0;
    case KEY_BATCH: keep_numbers(state, "batch", &o->batches, arg, 1 << 20); return 0;
    case KEY_MODELS: keep_words(state, "models", &o->models, arg); return 0;
    case KEY_SHAPES: keep_words(state, "shapes", &o->shapes, arg); return 0;
    case KEY_PRB: keep(&o->problems, arg); return 0;
    case KEY_LOG: keep(&o->logs, arg); return 0;
    case KEY_PASS:
        keep_words(state, "pass", &words, arg);
        for (size_t i = 0; i < words.n; i++) {
            const char *word = cli_choice(state, "pass", words.text[i], passes);
            for (unsigned p = 0; passes[p]; p++)
                if (word == passes[p]) o->passes |= 1u << p;
        }
        free(words.text);
        return 0;
    case KEY_MEMORY_LIMIT:
        o->memory_limit = cli_size(state, "memory-limit", arg, (uint64_t)1 << 50);
        return 0;
    case KEY_EPOCHS: o->epochs = cli_integer(state, "epochs", arg, 1, 1 << 20); return 0;
    case KEY_DATA: o->data = arg; return 0;
    case KEY_REPETITIONS:
        c->repetitions = cli_integer(state, "repetitions", arg, 1, 1000);
        return 0;
    case KEY_MIN_TIME: o->min_time = cli_real(state, "min-time", arg, 0, 3600); return 0;
    case KEY_ONCE: o->once = true; return 0;
    case KEY_PHASES: o->phases = true; return 0;
    case KEY_VERBOSE: c->verbose = true; return 0;
    case KEY_JSON: c->json = arg; return 0;
    case KEY_CSV: c->csv = arg; return 0;
    case KEY_HTML: c->html = arg; return 0;
    case KEY_RESULTS: keep(&c->results, arg); return 0;
    case ARGP_KEY_ARG:
        for (size_t i = 0; i < BENCHMARKS; i++)
            if (!strcmp(arg, benchmarks[i].name)) {
                c->chosen[i] = true;
                return 0;
            }
        const char *names[BENCHMARKS + 1] = { 0 };
        for (size_t i = 0; i < BENCHMARKS; i++) names[i] = benchmarks[i].name;
        char hint[CLI_HINT];
        cli_refuse(state,
                   "there is no benchmark '%.60s'; expected peak, kernels, ops, step, scaling, "
                   "forum, backward, conv, train or sizes%s",
                   arg, cli_hint(arg, "", names, NULL, hint));
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = { { &cli_shape_argp, 0, "", 1 }, { 0 } };
static const struct argp argp = {
    .options = options,
    .parser = parse,
    .children = children,
    .args_doc = "[BENCHMARK...]",
    .doc =
        "Measures the machine, the kernels, operators and training steps. Without a BENCHMARK: "
        "peak and step."
        "\vBENCHMARK is peak (multiply-adds, bandwidths, core to core), kernels (every kernel "
        "of every instruction "
        "set), ops (every operator and pass at the shapes of real nets), step (whole training "
        "steps), scaling "
        "(steps over threads and batch sizes), forum (training by the protocol of the d2l.ai "
        "forum), backward (a batch norm's gradient by stages, in closed form and by the operator), "
        "conv (every convolution of the nets, beside oneDNN and plain loops), train (a step of "
        "every "
        "small built-in net over threads and instruction sets) "
        "or sizes (operators "
        "over neighbouring sizes; names those that take 1.3 times as long an element as their "
        "neighbours). Contestants "
        "take turns in one process; quote medians, and of several processes: `convoy compare "
        "OLD.json NEW.json` "
        "tells whether a difference is more than noise. `convoy --help` lists exit codes.\n\n"
        "Examples:\n"
        "  convoy bench step --models lenet-bn,resnet20\n"
        "  convoy bench step --backends native,onednn -b 16,256 -t 1,2\n"
        "  convoy bench ops --shapes resnet20 -o new.json\n"
        "  convoy bench step peak --html report.html\n"
};

/* BACKEND[+BACKEND][:ISA][:ALGORITHM][:unfused]; false: what is wrong with it. */
static bool read_contestant(const char *word, enum cvy_isa isa, struct bench_contestant *who,
                            char *error, size_t size)
{
    *who = (struct bench_contestant){ .name = word, .isa = isa };
    size_t length = strcspn(word, ":");
    if (!length || length >= sizeof who->backend) {
        snprintf(error, size,
                 "expected BACKEND[+BACKEND][:ISA][:ALGORITHM][:unfused], found '%.60s'", word);
        return false;
    }
    memcpy(who->backend, word, length);
    for (char *plus = who->backend; (plus = strchr(plus, '+'));) *plus = ',';
    for (const char *part = word + length; *part;) {
        char name[16];
        size_t n = strcspn(++part, ":");
        snprintf(name, sizeof name, "%.*s", n < 15 ? (int)n : 15, part);
        if (!strcmp(name, "unfused")) {
            who->no_fusion = true;
        } else if (!cvy_isa_from_name(name, &who->isa) &&
                   !cvy_algorithm_from_name(name, &who->algorithm)) {
            snprintf(error, size,
                     "'%.60s': expected an instruction set, an algorithm or 'unfused' behind the "
                     "colon, found '%s'",
                     word, name);
            return false;
        }
        part += n;
    }
    return true;
}

/* Whether it can be had here. */
static enum cvy_status open_contestant(const struct bench_contestant *who, cvy_context **ctx)
{
    return cvy_context_create(
        &(cvy_context_options){ .threads = 1, .isa = who->isa, .backends = who->backend }, ctx);
}

/* A list of them. Names are checked by the context that is made of them. */
static void read_contestants(struct command *c)
{
    struct bench_options *o = &c->b.o;
    char *text = bench_text("%s", c->backends ? c->backends : "native"), error[CLI_ERROR];
    for (char *end, *word = strtok_r(text, ",", &end); word; word = strtok_r(NULL, ",", &end)) {
        o->contestants = realloc(o->contestants, (o->n_contestants + 1) * sizeof *o->contestants);
        if (!o->contestants) bench_die(CLI_NOMEM, "out of memory");
        struct bench_contestant *who = &o->contestants[o->n_contestants++];
        if (!read_contestant(word, o->isa, who, error, sizeof error))
            bench_die(CLI_USAGE, "--backends: %s", error);
    }
    if (!o->n_contestants) bench_die(CLI_USAGE, "--backends: expected at least one name");
    /* One that cannot be had is a mistake in the command, not in a measurement. */
    for (size_t i = 0; i < o->n_contestants; i++) {
        cvy_context *ctx;
        const struct bench_contestant *who = &o->contestants[i];
        enum cvy_status status = open_contestant(who, &ctx);
        if (status) bench_die(cli_code_cvy(status), "--backends: %s", cvy_message(NULL));
        cvy_context_destroy(&ctx);
    }
}

static void read_isas(struct command *c)
{
    cvy_machine m;
    size_t n = 0;
    cvy_machine_describe(&m);
    if (!c->isas)
        for (int isa = CVY_ISA_SCALAR; isa <= CVY_ISA_AVX512; isa++)
            if (m.can_run[isa]) c->b.isas[n++] = (enum cvy_isa)isa;
    char *text = c->isas ? bench_text("%s", c->isas) : NULL;
    for (char *end, *word = text ? strtok_r(text, ",", &end) : NULL; word;
         word = strtok_r(NULL, ",", &end)) {
        enum cvy_isa isa;
        if (!cvy_isa_from_name(word, &isa))
            bench_die(CLI_USAGE, "--isa: expected scalar, avx2 or avx512, found '%.60s'", word);
        if (isa == CVY_ISA_AUTO) isa = m.best_isa;
        if (!m.can_run[isa]) bench_die(CLI_USAGE, "--isa: this machine cannot run %s", word);
        if (n < 7) c->b.isas[n++] = isa;
    }
    if (!n) bench_die(CLI_USAGE, "--isa: expected at least one name");
    free(text);
    c->b.isas[n] = CVY_ISA_AUTO;
    c->b.o.isa = c->isas && n == 1 ? c->b.isas[0] : CVY_ISA_AUTO;
}

/* Of the cases that are added next; NULL: all. */
static void use_filter(struct bench *b, const char *filter)
{
    if (b->filtered) regfree(&b->filter);
    b->filtered = filter != NULL;
    if (!filter) return;
    b->negated = *filter == '-';
    int error = regcomp(&b->filter, filter + b->negated, REG_EXTENDED | REG_NOSUB);
    if (!error) return;
    char text[200];
    regerror(error, &b->filter, text, sizeof text);
    bench_die(CLI_USAGE, "--filter: '%.60s' is not a regular expression: %s", filter, text);
}

/* -------------------------------------------------------------------------------------- running */

static FILE *open_output(const char *path)
{
    FILE *f = fopen(path, "w");
    if (!f) bench_die(CLI_IO, "%s: cannot write: %s", path, strerror(errno));
    return f;
}

/* Google Benchmark reads its settings from words, and moves them about. */
static void set_up(const struct command *c)
{
    static char name[] = "convoy-bench", order[] = "--benchmark_enable_random_interleaving=true";
    const bool once = c->b.o.once;
    char repetitions[64], min_time[64], *words[] = { name, repetitions, min_time, order, NULL };
    int n = 4;
    snprintf(repetitions, sizeof repetitions, "--benchmark_repetitions=%zu",
             once ? 1 : c->repetitions);
    snprintf(min_time, sizeof min_time, "--benchmark_min_time=%g", once ? 1e-9 : c->b.o.min_time);
    gb_initialize(&n, words);
    if (gb_report_unrecognized(n, words))
        bench_die(CLI_USAGE, "Google Benchmark does not know an option that it had in 1.7.1");
}

/* Every run of a case goes through here. */
static void run_case(gb_state *state, void *user)
{
    const struct bench_case *c = user;
    if (c->bench->table) table_progress(c->bench->table, (size_t)(c - c->bench->cases));
    c->run(state, c->user);
}

static void run_all(struct command *c, gb_reporter **reporters, size_t n_reporters)
{
    struct bench *b = &c->b;
    for (size_t first = 0, end; first < b->n; first = end) {
        for (end = first + 1; end < b->n && same_group(&b->cases[first], &b->cases[end]);) end++;
        gb_clear();
        for (size_t i = first; i < end; i++) {
            gb_benchmark *g = gb_register(b->cases[i].name, run_case, &b->cases[i]);
            gb_set_unit(g, b->cases[i].unit);
            gb_measure_process_cpu_time(g); /* the work is done by threads of the library */
            if (b->cases[i].time == BENCH_REAL_TIME) gb_use_real_time(g);
            else {
                gb_use_manual_time(g);
                gb_set_iterations(g, 1);
            }
        }
        gb_run("", reporters, n_reporters);
        if (b->table) table_group(b->table, first, end);
        for (size_t i = first; i < end; i++)
            if (b->cases[i].close) b->cases[i].close(b->cases[i].user);
        if (b->notes) {
            fputs(b->notes, stdout);
            fflush(stdout);
            free(b->notes);
            b->notes = NULL;
        }
    }
    gb_clear();
}

static void write_report(const struct command *c, const char *json, size_t size)
{
    char error[CLI_ERROR];
    struct results *all = NULL;
    enum results_status status = RESULTS_OK;
    if (json) status = results_parse("these results", json, size, &all, error, sizeof error);
    for (size_t i = 0; !status && i < c->results.n; i++)
        status = results_read(c->results.text[i], &all, error, sizeof error);
    if (!status) status = html_report(c->html, all, error, sizeof error);
    results_free(&all);
    static const int codes[] = { CLI_OK, CLI_BAD, CLI_IO, CLI_NOMEM };
    if (status) bench_die(codes[status], "%s", error);
}

/* The head of every result, and what the table shows of it. */
static struct table *head;
static void keep_fact(const char *key, const char *value)
{
    gb_add_context(key, value);
    if (head) table_fact(head, key, value);
}

static void open_table(struct command *c)
{
    struct bench *b = &c->b;
    if (c->verbose) return;
    const char **names = bench_alloc(b->n * sizeof *names);
    for (size_t i = 0; i < b->n; i++) names[i] = b->cases[i].name;
    b->table = table_open(stdout, names, b->n, b->o.once ? 1 : c->repetitions);
    if (!b->table) bench_die(CLI_NOMEM, "out of memory");
    head = b->table;
    free(names);
}

/* As many as the library uses unless it is told otherwise, CVY_THREADS and OMP_NUM_THREADS
 * included. */
static size_t default_threads(void)
{
    cvy_context *ctx;
    if (cvy_context_create(NULL, &ctx)) bench_die(CLI_BAD, "%s", cvy_message(NULL));
    size_t threads = cvy_context_threads(ctx);
    cvy_context_destroy(&ctx);
    return threads;
}

/* Google Benchmark's own display. */
static gb_reporter *raw_rows(const struct bench *b)
{
    size_t width = 0;
    const bool color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    gb_reporter *r =
        gb_reporter_console(stdout, stderr, GB_TABULAR | (color ? GB_COLOR : GB_PLAIN));
    for (size_t i = 0; i < b->n; i++)
        width = strlen(b->cases[i].name) > width ? strlen(b->cases[i].name) : width;
    gb_reporter_set_width(r, width + sizeof "/iterations:1/process_time/manual_time_stddev");
    static const char *const hidden[] = { "phase ", "phases ", "floor ", "group " };
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) gb_reporter_hide(r, hidden[i]);
    return r;
}

static bool chosen(const struct command *c, void (*add)(struct bench *b))
{
    for (size_t i = 0; i < BENCHMARKS; i++)
        if (c->chosen[i] && benchmarks[i].add == add) return true;
    return false;
}

/* Those of a list of contestants that run here, in a text of its own. */
static const char *had_here(const char *list)
{
    char *text = bench_text("%s", list), *all = bench_text("%s", "");
    for (char *end, *word = strtok_r(text, ",", &end); word; word = strtok_r(NULL, ",", &end)) {
        struct bench_contestant who;
        cvy_context *ctx;
        char error[CLI_ERROR];
        if (!read_contestant(word, CVY_ISA_AUTO, &who, error, sizeof error)) continue;
        if (open_contestant(&who, &ctx)) continue;
        cvy_context_destroy(&ctx);
        char *longer = bench_text("%s%s%s", all, *all ? "," : "", word);
        free(all);
        all = longer;
    }
    free(text);
    return all;
}

/* What benchmark i says where the command does not. */
static void preset(struct command *c, size_t i)
{
    struct bench_options *o = &c->b.o;
    if (benchmarks[i].backends && !c->backends) c->backends = had_here(benchmarks[i].backends);
    if (!benchmarks[i].shapes || o->shapes.n || o->problems.n || o->logs.n) return;
    char *text = bench_text("%s", benchmarks[i].shapes); /* the list keeps its words */
    for (char *end, *word = strtok_r(text, ",", &end); word; word = strtok_r(NULL, ",", &end))
        keep(&o->shapes, word);
}

/* What was not said; false if there is nothing to measure, only results to show. */
static bool settle(struct command *c)
{
    struct bench *b = &c->b;
    bool any = false;
    for (size_t i = 0; i < BENCHMARKS; i++) any |= c->chosen[i];
    if (!any && !c->results.n) c->chosen[0] = c->chosen[3] = any = true;
    if (c->results.n && !c->html)
        bench_die(CLI_USAGE, "--results needs --html, the report to show them in");
    if (!c->repetitions) c->repetitions = chosen(c, bench_forum) ? 1 : 5;
    if (b->o.min_time < 0)
        b->o.min_time = chosen(c, bench_sizes) ? 0.05 : 0.2; /* hundreds of sizes */
    for (size_t i = 0; i < BENCHMARKS; i++)
        if (c->chosen[i]) preset(c, i);
    return any;
}

/* The cases of the chosen benchmarks that the filter lets pass. */
static void collect_cases(struct command *c)
{
    struct bench *b = &c->b;
    for (size_t i = 0; i < BENCHMARKS; i++) {
        if (!c->chosen[i]) continue;
        use_filter(b, c->filter ? c->filter : benchmarks[i].filter);
        benchmarks[i].add(b);
    }
    if (!b->n)
        bench_die(CLI_USAGE,
                  c->filter ? "--filter: no case's name matches '%s'; --list shows them"
                            : "there is nothing to run%s",
                  c->filter ? c->filter : "");
}

/* Runs all cases; shows and writes what came of them. */
static void measure(struct command *c)
{
    const struct bench *b = &c->b;
    char *text = NULL;
    size_t size = 0, n = 0;
    gb_reporter *reporters[3];
    FILE *memory = open_memstream(&text, &size);
    if (!memory) bench_die(CLI_NOMEM, "out of memory");
    FILE *csv = c->csv ? open_output(c->csv) : NULL, *json = c->json ? open_output(c->json) : NULL;
    reporters[n++] = b->table ? gb_reporter_custom(table_run, b->table) : raw_rows(b);
    reporters[n++] = gb_reporter_json(memory);
    if (csv) reporters[n++] = gb_reporter_csv(csv);
    run_all(c, reporters, n);
    bool good = true;
    while (n > 0) good &= gb_reporter_close(reporters[--n]);
    if (fclose(memory)) bench_die(CLI_NOMEM, "out of memory");
    if (json) {
        good &= fwrite(text, 1, size, json) == size;
        good &= !fclose(json);
    }
    if (csv) good &= !fclose(csv);
    if (!good) bench_die(CLI_IO, "results could not be written: %s", strerror(errno));
    if (c->html) write_report(c, text, size);
    free(text);
}

int main(int argc, char **argv)
{
    static struct command c = { .b.o.min_time = -1 };
    static char name[] = "convoy bench";
    struct bench *b = &c.b;
    if (cli_watch_stdout()) return CLI_NOMEM;
    argv[0] = name;
    cli_parse(&argp, argc, argv, &c);
    /* nobody to measure for: `| head` has seen enough */
    if (!c.json && !c.csv && !c.html) signal(SIGPIPE, SIG_DFL);
    if (!settle(&c)) {
        write_report(&c, NULL, 0);
        return CLI_OK;
    }
    read_isas(&c);
    use_filter(&c.b, c.filter); /* what is wrong with it is said first */
    read_contestants(&c);
    size_t threads = default_threads();
    b->threads = b->o.threads;
    if (!b->threads.n) b->threads = (struct bench_numbers){ .value = &threads, .n = 1 };
    collect_cases(&c);
    if (c.list) {
        for (size_t i = 0; i < b->n; i++) puts(b->cases[i].name);
        return CLI_OK;
    }
    set_up(&c);
    open_table(&c);
    bench_facts(b, keep_fact);
    if (b->table) table_head(b->table);
    measure(&c);
    if (b->table) table_close(b->table);
    return b->failures ? cli_fail(CLI_BAD, "%zu runs failed; see above", b->failures) : CLI_OK;
}
