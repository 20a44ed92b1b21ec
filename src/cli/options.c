/* The command line: what was probably meant by a word that nobody knows, argp with checks that it
 * does not make, and numbers and words as values. One list of names and one of aliases give every
 * "did you mean". */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORD = 40, OPTIONS = 128 };

/* ---------------------------------------------------------------------------------- suggestions */

/* Lower case, without '-', '_' and blanks: Fashion_MNIST is fashion-mnist. False for words that are
 * too long. */
static bool simplify(const char *word, char out[WORD])
{
    size_t n = 0;
    for (; *word; word++) {
        if (strchr("-_ ", *word)) continue;
        if (n + 1 == WORD) return false;
        out[n++] = (char)tolower((unsigned char)*word);
    }
    out[n] = '\0';
    return n > 0;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Insertions, deletions, substitutions, and neighbours that changed places. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), row[3][WORD], *before = row[0], *last = row[1],
           *now = row[2];
    for (size_t j = 0; j <= m; j++) last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            now[j] = least(last[j - 1] + (a[i - 1] != b[j - 1]), least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
        size_t *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[m];
}

/* The nearest name, or NULL if none is near. */
static const char *nearest_of(const char *word, const char *const *names)
{
    char typed[WORD], name[WORD];
    const char *nearest = NULL, *longer = NULL;
    if (!simplify(word, typed)) return NULL;
    size_t length = strlen(typed), best = length < 3 ? 1 : length / 3 + 1;
    for (size_t i = 0; names[i]; i++) {
        if (!strcmp(word, names[i])) return NULL; /* a known word: something else is wrong */
        if (!simplify(names[i], name)) continue;
        size_t d = distance(typed, name);
        if (d < best) {
            best = d;
            nearest = names[i];
        }
        if (!longer && length >= 3 && !strncmp(typed, name, length)) longer = names[i];
    }
    return longer && best ? longer : nearest;
}

static bool is_sentence(const char *text) { return strchr(text, ' ') != NULL; }

const char *cli_hint(const char *word, const char *before, const char *const *names,
                     const struct cli_alias *aliases, char out[CLI_HINT])
{
    const char *nearest = nearest_of(word, names);
    char typed[WORD];
    bool simple = simplify(word, typed);
    for (; simple && aliases && aliases->word; aliases++) {
        if (strcmp(aliases->word, typed)) continue;
        bool known = is_sentence(aliases->meant);
        for (size_t i = 0; !known && names[i]; i++) known = !strcmp(names[i], aliases->meant);
        if (!known) continue; /* this command has no such option */
        nearest = aliases->meant;
        break;
    }
    if (!nearest) out[0] = '\0';
    else if (is_sentence(nearest)) snprintf(out, CLI_HINT, "; %s", nearest);
    else snprintf(out, CLI_HINT, "; did you mean %s%s?", before, nearest);
    return out;
}

/* What other programs call it, simplified. The first row counts whose option the command has. */
static const char no_gpu[] = "everything is computed on the CPU",
                  adam[] = "did you mean --optimizer=NAME?",
                  betas[] = "did you mean --beta1 and --beta2?",
                  plain_model[] = "the model's name stands alone, without an option",
                  plain_file[] = "the file's name stands alone, without an option",
                  warmup[] = "a schedule has it: --schedule=constant:warmup_epochs=N",
                  verbose[] = "CVY_VERBOSE=1 in the environment tells what is chosen";
static const struct cli_alias option_aliases[] = { { "batchsize", "batch" },
                                                   { "bs", "batch" },
                                                   { "minibatch", "batch" },
                                                   { "trainbatchsize", "batch" },
                                                   { "learningrate", "lr" },
                                                   { "rate", "lr" },
                                                   { "baselr", "lr" },
                                                   { "wd", "weight-decay" },
                                                   { "l2", "weight-decay" },
                                                   { "decay", "weight-decay" },
                                                   { "numepochs", "epochs" },
                                                   { "nepochs", "epochs" },
                                                   { "maxepochs", "epochs" },
                                                   { "passes", "epochs" },
                                                   { "output", "out" },
                                                   { "outdir", "out" },
                                                   { "outputdir", "out" },
                                                   { "savedir", "out" },
                                                   { "logdir", "out" },
                                                   { "dir", "out" },
                                                   { "run", "out" },
                                                   { "output", "json" },
                                                   { "out", "json" },
                                                   { "dataset", "data" },
                                                   { "datadir", "data" },
                                                   { "datapath", "data" },
                                                   { "dataroot", "data" },
                                                   { "input", "data" },
                                                   { "checkpoint", "resume" },
                                                   { "continue", "resume" },
                                                   { "restore", "resume" },
                                                   { "load", "resume" },
                                                   { "weights", "resume" },
                                                   { "checkpoint", plain_file },
                                                   { "load", plain_file },
                                                   { "weights", plain_file },
                                                   { "workers", "threads" },
                                                   { "numworkers", "threads" },
                                                   { "jobs", "threads" },
                                                   { "cores", "threads" },
                                                   { "cpus", "threads" },
                                                   { "nthreads", "threads" },
                                                   { "numthreads", "threads" },
                                                   { "randomseed", "seed" },
                                                   { "manualseed", "seed" },
                                                   { "pooling", "pool" },
                                                   { "topk", "top" },
                                                   { "silent", "quiet" },
                                                   { "engine", "backend" },
                                                   { "engine", "backends" },
                                                   { "repeat", "repetitions" },
                                                   { "runs", "repetitions" },
                                                   { "repeat", "steps" },
                                                   { "arch", "model" },
                                                   { "net", "model" },
                                                   { "network", "model" },
                                                   { "model", plain_model },
                                                   { "arch", plain_model },
                                                   { "net", plain_model },
                                                   { "network", plain_model },
                                                   { "gpu", no_gpu },
                                                   { "gpus", no_gpu },
                                                   { "cuda", no_gpu },
                                                   { "nocuda", no_gpu },
                                                   { "device", no_gpu },
                                                   { "mps", no_gpu },
                                                   { "optimiser", "optimizer" },
                                                   { "optim", "optimizer" },
                                                   { "adam", adam },
                                                   { "adamw", adam },
                                                   { "sgd", adam },
                                                   { "epsilon", "eps" },
                                                   { "adamepsilon", "eps" },
                                                   { "betas", betas },
                                                   { "scheduler", "schedule" },
                                                   { "lrscheduler", "schedule" },
                                                   { "lrschedule", "schedule" },
                                                   { "warmup", warmup },
                                                   { "warmupepochs", warmup },
                                                   { "valsplit", "validation" },
                                                   { "validationsplit", "validation" },
                                                   { "val", "validation" },
                                                   { "earlystopping", "patience" },
                                                   { "earlystop", "patience" },
                                                   { "savebest", "keep-best" },
                                                   { "best", "keep-best" },
                                                   { "hflip", "flip" },
                                                   { "horizontalflip", "flip" },
                                                   { "randomcrop", "crop" },
                                                   { "shuffle", "sampling" },
                                                   { "noshuffle", "sampling" },
                                                   { "sampler", "sampling" },
                                                   { "verbose", verbose },
                                                   { "debug", verbose },
                                                   { NULL, NULL } };

/* ----------------------------------------------------------------------------- the command line */

struct line {
    const char *program; /* "convoy train" */
    size_t n;
    const struct argp_option *option[OPTIONS]; /* with a name each; the last ones are argp's own */
    const char *name[OPTIONS + 1];             /* of the same, ended by NULL */
};

static const struct argp_option own_options[] = { { .name = "help", .key = '?' },
                                                  { .name = "usage" },
                                                  { .name = "version", .key = 'V' } };

static void add_options(struct line *line, const struct argp *argp)
{
    for (const struct argp_option *o = argp->options; o && (o->name || o->doc); o++) {
        if (!o->name || line->n == OPTIONS) continue;
        line->name[line->n] = o->name;
        line->option[line->n++] = o;
    }
    for (const struct argp_child *c = argp->children; c && c->argp; c++) add_options(line, c->argp);
}

static void __attribute__((noreturn)) tell(const char *program, const char *format, va_list args)
{
    fprintf(stderr, "%s: ", program);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\nTry '%s --help'.\n", program);
    exit(CLI_USAGE);
}

void cli_refuse(const struct argp_state *state, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell(state->name, format, args);
}

static void __attribute__((format(printf, 2, 3), noreturn))
refuse(const struct line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell(line->program, format, args);
}

/* Of an argument (option NULL) or an option's value, which goes by `name`. */
static void check_value(const struct line *line, const struct argp_option *option, const char *name,
                        const char *value)
{
    /* An empty value is a shell variable that was never set, and never what was meant. */
    if (!*value && option) refuse(line, "%s: expected %s, found nothing", name, option->arg);
    if (!*value) refuse(line, "an argument is empty");
    if (*value == '~' && access(value, F_OK)) /* ~ or ~/x or ~name/x */
        refuse(line,
               "%s%s'%.200s': the shell expands ~ only at the beginning of a word without quotes; "
               "write $HOME instead",
               name, *name ? ": " : "", value);
    if (option && (option->flags & CLI_OUTPUT)) {
        int code = cli_writable(value);
        if (code) exit(code);
    }
}

static bool takes_value(const struct argp_option *o)
{
    return o->arg && !(o->flags & OPTION_ARG_OPTIONAL);
}

/* The option whose name, or the only one whose name's beginning, these `length` letters are. */
static const struct argp_option *find_long(const struct line *line, const char *typed,
                                           size_t length)
{
    const struct argp_option *found = NULL;
    char name[WORD + 24], hint[CLI_HINT], all[400] = "";
    size_t n = 0, end = 0;
    for (size_t k = 0; length && k < line->n; k++) {
        if (strncmp(line->name[k], typed, length)) continue;
        found = line->option[k];
        if (!line->name[k][length]) return found;
        if (end < sizeof all)
            end += (size_t)snprintf(all + end, sizeof all - end, "%s--%s", n ? ", " : "",
                                    line->name[k]);
        n++;
    }
    snprintf(name, sizeof name, "%.*s", (int)least(length, 60), typed);
    if (n > 1) refuse(line, "ambiguous option --%s; expected one of %s", name, all);
    if (!found)
        refuse(line, "unknown option --%s%s", name,
               cli_hint(name, "--", line->name, option_aliases, hint));
    return found;
}

/* --NAME[=VALUE], where NAME may be the beginning of one: it is completed, since argp has names of
 * its own that it would find ambiguous. True if the next word is its value. */
static bool check_long(const struct line *line, char **word, const char *next)
{
    size_t length = strcspn(*word + 2, "=");
    const struct argp_option *option = find_long(line, *word + 2, length);
    const char *value = (*word)[2 + length] ? *word + 3 + length : NULL;
    char name[WORD + 24];
    snprintf(name, sizeof name, "--%s", option->name);
    if (value && !option->arg) refuse(line, "%s: expected no value, found '%.60s'", name, value);
    if (value) check_value(line, option, name, value);
    bool takes = takes_value(option) && !value;
    if (takes && !next) refuse(line, "%s: expected %s, found nothing", name, option->arg);
    if (takes) check_value(line, option, name, next);
    if (option->name[length] &&
        asprintf(word, "%s%s%s", name, value ? "=" : "", value ? value : "") < 0)
        exit(cli_fail(CLI_NOMEM, "out of memory"));
    return takes;
}

/* -abcVALUE; true if the next word is the last one's value. */
static bool check_short(const struct line *line, const char *word, const char *next)
{
    size_t length = strcspn(word + 1, "=");
    for (size_t k = 0; length > 1 && k < line->n; k++)
        if (strlen(line->name[k]) == length && !strncmp(word + 1, line->name[k], length))
            refuse(line, "unknown option -%s; did you mean --%s?", line->name[k], word + 1);
    for (const char *c = word + 1; *c; c++) {
        const struct argp_option *option = NULL;
        for (size_t k = 0; k < line->n; k++)
            if (line->option[k]->key == *c) option = line->option[k];
        if (!option) refuse(line, "unknown option -%c", *c);
        const char name[] = { '-', *c, '\0' };
        if (option->arg && c[1]) check_value(line, option, name, c + 1);
        bool takes = takes_value(option) && !c[1];
        if (takes && !next) refuse(line, "%s: expected %s, found nothing", name, option->arg);
        if (takes) check_value(line, option, name, next);
        if (option->arg) return takes;
    }
    return false;
}

static char command_line[4096];

/* Words that a shell would not take as they are stand between quotes. */
static void keep_command_line(int argc, char **argv)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-+./:=,@%";
    FILE *out = fmemopen(command_line, sizeof command_line, "w");
    for (int i = 0; i < argc && out; i++) {
        const bool quoted = i && (!*argv[i] || argv[i][strspn(argv[i], plain)]);
        fprintf(out, i ? " %s" : "%s", quoted ? "'" : "");
        for (const char *c = argv[i]; *c; c++) fputs(*c == '\'' ? "'\\''" : (char[]){ *c, 0 }, out);
        if (quoted) putc('\'', out);
    }
    if (out) fclose(out);
    command_line[sizeof command_line - 1] = '\0';
}

const char *cli_command_line(void) { return command_line; }

void cli_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    static char version[64], help[] = "--help";
    struct line line = { .program = argv[0] };
    keep_command_line(argc, argv);
    add_options(&line, argp);
    for (size_t i = 0; i < 3 && line.n < OPTIONS; i++) {
        line.name[line.n] = own_options[i].name;
        line.option[line.n++] = &own_options[i];
    }
    bool only_words = false;
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (!only_words && !strcmp(argv[i], "-h")) argv[i] = help;
        if (only_words || argv[i][0] != '-' || !argv[i][1]) check_value(&line, NULL, "", argv[i]);
        else if (!strcmp(argv[i], "--")) only_words = true;
        else if (argv[i][1] == '-') i += check_long(&line, &argv[i], next);
        else i += check_short(&line, argv[i], next);
    }
    snprintf(version, sizeof version, "convoy %s (%s)", cvy_version(), CLI_COMPILER);
    argp_program_version = version;
    argp_err_exit_status = CLI_USAGE;
    /* A note on long and short options that says what everybody knows. */
    setenv("ARGP_HELP_FMT", "no-dup-args-note", 0);
    int error = argp_parse(argp, argc, argv, 0, NULL, input);
    if (error) exit(cli_fail(error == ENOMEM ? CLI_NOMEM : CLI_USAGE, "%s", strerror(error)));
}

/* -------------------------------------------------------------------------------------- numbers */

uint64_t cli_integer(const struct argp_state *state, const char *option, const char *text,
                     uint64_t lo, uint64_t hi)
{
    size_t length = strlen(text);
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (!length || strspn(text, "0123456789") != length || errno || value < lo || value > hi)
        cli_refuse(state, "--%s: expected an integer from %llu to %llu, found '%.60s'", option,
                   (unsigned long long)lo, (unsigned long long)hi, text);
    return value;
}

uint64_t cli_size(const struct argp_state *state, const char *option, const char *text, uint64_t hi)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end) : NULL;
    for (const char *u = units; unit && u <= unit; u++) value *= 1024;
    bool good = end > text && strspn(text, ".0123456789") == (size_t)(end - text) && !errno &&
                (!*end || (unit && !end[1]));
    if (!good || !(value <= (double)hi))
        cli_refuse(state,
                   "--%s: expected bytes, or a number and K, M, G or T, as 1.5G, found '%.60s'",
                   option, text);
    return (uint64_t)value;
}

double cli_real(const struct argp_state *state, const char *option, const char *text, double lo,
                double hi)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    /* Only decimal notation: no hex, no nan, no inf, no blanks. */
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text) || *end ||
        (errno && value != 0) || !(value >= lo) || !(value <= hi))
        cli_refuse(state, "--%s: expected a number from %g to %g, found '%.60s'", option, lo, hi,
                   text);
    return value;
}

const char *cli_choice(const struct argp_state *state, const char *option, const char *text,
                       const char *const *words)
{
    char list[200] = "";
    for (size_t i = 0, used = 0; words[i]; i++) {
        if (!strcmp(text, words[i])) return words[i];
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", words[i]);
    }
    char hint[CLI_HINT];
    cli_refuse(state, "--%s: expected one of %s, found '%.60s'%s", option, list, text,
               cli_hint(text, "", words, NULL, hint));
}

/* --------------------------------------------------------------------------------------- engine */

/* "auto, direct, ...", as its list has them */
#define BEHIND(NAME, name) ", " #name
#define QUOTED(NAME, name) #name,

enum { KEY_THREADS = 't', KEY_ISA = 0x2000, KEY_BACKEND, KEY_NO_FUSION, KEY_ALGORITHM };

static const struct argp_option engine_options[] = {
    { .doc = "Engine:", .group = 9 },
    { "threads", KEY_THREADS, "N", 0,
      "worker threads (default: the CPUs this process may use, capped by its cgroup's quota)", 0 },
    { "isa", KEY_ISA, "NAME", 0,
      "instruction set: scalar, avx2 or avx512 (default: the best that runs here)", 0 },
    { "backend", KEY_BACKEND, "LIST", 0,
      "backends in order of preference, e.g. native,reference (the default)", 0 },
    { "no-fusion", KEY_NO_FUSION, NULL, 0,
      "run every operator alone; the results are the same bits", 0 },
    { "algorithm", KEY_ALGORITHM, "NAME", 0,
      "of convolutions, where it can be used: auto" CVY_ALGORITHMS(
          BEHIND) " (default: auto, the cheapest)",
      0 },
    { "conv", KEY_ALGORITHM, "NAME", OPTION_ALIAS, NULL, 0 },
    { 0 }
};

static error_t parse_engine(int key, char *arg, struct argp_state *state)
{
    static const char *const algorithms[] = { "auto", CVY_ALGORITHMS(QUOTED) NULL };
    cvy_context_options *options = state->input;
    switch (key) {
    case KEY_THREADS: options->threads = cli_integer(state, "threads", arg, 1, 1024); return 0;
    case KEY_ISA:
        if (!cvy_isa_from_name(arg, &options->isa))
            cli_refuse(state, "--isa: expected scalar, avx2, avx512 or auto, found '%.60s'", arg);
        return 0;
    case KEY_BACKEND: options->backends = arg; return 0;
    case KEY_NO_FUSION: options->no_fusion = true; return 0;
    case KEY_ALGORITHM:
        (void)cvy_algorithm_from_name(cli_choice(state, "algorithm", arg, algorithms),
                                      &options->algorithm);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}
const struct argp cli_engine_argp = { .options = engine_options, .parser = parse_engine };
