/* `convoy help`, and the man page: both print what the commands' argp tables and the few tables
 * below say. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "cli/screen.h"
#include "report/text.h"

struct entry {
    const char *term, *text;
};

static const struct entry exit_codes[] = {
    { "0", "all went well" },
    { "1", "wrong use: an unknown command or option, an argument out of range, something this "
           "machine cannot do" },
    { "2", "bad input: a model, data set or checkpoint that is unknown, corrupt or does not fit" },
    { "3", "input or output failed: a file cannot be opened, read or written, or standard output "
           "was lost (without a word where "
           "its reader has gone, as in `| head`)" },
    { "4", "out of memory" },
    { "5", "numbers: a loss or parameter is not finite; the last good checkpoint is kept" },
    { "6", "a comparison went over the limit that --fail-if set" },
    { "129, 130, 143", "ended by SIGHUP, SIGINT (Ctrl-C) or SIGTERM, after the checkpoint was "
                       "saved; a second signal ends at once" },
    { NULL, NULL }
};
static const struct entry environment[] = {
    { "CVY_THREADS", "number of threads, as --threads" },
    { "OMP_NUM_THREADS", "number of threads if CVY_THREADS is not set; of a list (4,2) the first. "
                         "Without both: the CPUs in the affinity "
                         "mask, capped by the cgroup's quota" },
    { "CVY_ISA", "instruction set, as --isa" },
    { "CVY_BACKEND", "backends, as --backend" },
    { "CVY_ALGORITHM", "of convolutions, as --algorithm" },
    { "CVY_BACKEND_PATH", "directories with backends in modules (convoy-NAME.so), ':' between" },
    { "CVY_VERBOSE",
      "1: what was chosen for every operator; 2: every operator of every step; on standard error" },
    { "CVY_DATA_DIR, XDG_CACHE_HOME, XDG_DATA_DIRS",
      "where data sets are looked for: `convoy help data`" },
    { NULL, NULL }
};
static const struct entry files[] = {
    { "RUN/checkpoint.safetensors",
      "weights and running statistics under PyTorch's state_dict names, momentum, and where "
      "training "
      "stood; replaced atomically after every epoch and on interruption" },
    { "RUN/metrics.jsonl", "one JSON line for every fifth of an epoch (\"type\": \"step\") and for "
                           "every epoch (\"epoch\")" },
    { "RUN/params/epoch_E.safetensors",
      "weights and running statistics after E epochs, by train --snapshot-every" },
    { "RUN/pictures/index.html", "what `convoy visualise` drew; beside it each picture" },
    { "DIR/experiment.json, DIR/experiment.csv",
      "what convoy sweep, ablate and saturate found, of each run; the runs' directories are beside "
      "them" },
    { "RUN/config.json, RUN/model.json, RUN/env.json",
      "the settings, the model as it was trained, and the machine" },
    { NULL, NULL }
};
static const char intro[] = "Trains convolutional nets with batch normalization on the CPU.";
static const struct entry examples[] = {
    { "convoy train", "LeNet with batch normalization on Fashion-MNIST" },
    { "convoy train resnet20 -d cifar10 -e 20 -o run",
      "another model and data set, into the directory run" },
    { "convoy train --resume=run -e 40", "go on with it, to 40 epochs" },
    { "convoy infer run --fuse", "batch norms folded into the layers before them" },
    { "convoy eval run", "loss and accuracy on the test images" },
    { "convoy predict run 0 1 photo.ppm", "classes of test images 0 and 1, and of a picture" },
    { "convoy visualise run", "its filters, activations, confusion matrices, as pictures" },
    { "convoy sweep lr --quick",
      "how large the learning rate can be, with and without batch norm" },
    { "convoy plot run other -o curves.html", "their losses and accuracies, as curves" },
    { "convoy info resnet20", "its layers, parameters, work and memory" },
    { "convoy bench step", "examples/s of a training step, and its share of the machine's peak" },
    { NULL, NULL }
};

enum { KEY_MAN = 0x3000 };

struct help_options {
    bool man;
    const char *command;
};

static const struct argp_option options[] = {
    { "man", KEY_MAN, NULL, 0, "print the manual page convoy(1) in roff", 0 }, { 0 }
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct help_options *o = state->input;
    switch (key) {
    case KEY_MAN: o->man = true; return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num)
            cli_refuse(state, "expected at most one command, found '%.60s' too", arg);
        o->command = arg;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = { .options = options,
                                  .parser = parse,
                                  .args_doc = "[COMMAND]",
                                  .doc = "Prints what the program, or one of its commands, can do."
                                         "\vExamples:\n"
                                         "  convoy help train\n"
                                         "  convoy help --man | man -l -\n" };

/* ----------------------------------------------------------------------------------------- text */

enum { TERM_WIDTH = 16 }; /* longer terms have their text below */

static void print_entries(const char *title, const struct entry *e)
{
    printf("\n%s:\n", title);
    for (; e->term; e++) {
        if (strlen(e->term) <= TERM_WIDTH) printf("  %-*s  ", TERM_WIDTH, e->term);
        else printf("  %s\n%*s", e->term, TERM_WIDTH + 4, "");
        text_wrap(stdout, e->text, TERM_WIDTH + 4, TERM_WIDTH + 4, CLI_PAGE);
    }
}

static void print_help(void)
{
    printf("Usage: convoy COMMAND [OPTION...] [ARGUMENT...]\n\n");
    text_wrap(stdout, intro, 0, 0, CLI_PAGE);
    printf("\nCommands:\n");
    for (size_t i = 0; cli_commands[i]; i++)
        printf("  %-9s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    printf("\n`convoy help COMMAND` or `convoy COMMAND --help` tells more, with examples;\n`convoy "
           "--version` tells the version.\n");
    print_entries("Examples", examples);
    print_entries("Files", files);
    print_entries("Environment", environment);
    print_entries("Exit codes", exit_codes);
}

/* ----------------------------------------------------------------------------------------- roff */

static void roff(const char *text)
{
    bool begin = true;
    for (; *text; text++) {
        /* an example: a line of its own, indented */
        if (begin && *text == ' ') fputs(".br\n", stdout);
        if (begin && (*text == '.' || *text == '\'')) fputs("\\&", stdout);
        if (*text == '\\') fputs("\\e", stdout);
        else if (*text == '-') fputs("\\-", stdout);
        else if (*text == '\v') fputs("\n.PP\n", stdout);
        else putchar(*text);
        begin = *text == '\n' || *text == '\v';
    }
}

static void roff_options(const struct argp *a)
{
    for (const struct argp_option *o = a->options; o && (o->name || o->doc); o++) {
        if (!o->name) continue;
        fputs(".TP\n\\fB", stdout);
        if (o->key > 32 && o->key < 127) printf("\\-%c\\fR, \\fB", o->key);
        fputs("\\-\\-", stdout);
        roff(o->name);
        fputs("\\fR", stdout);
        if (o->arg) {
            fputs(o->flags & OPTION_ARG_OPTIONAL ? "[=\\fI" : "=\\fI", stdout);
            roff(o->arg);
            fputs(o->flags & OPTION_ARG_OPTIONAL ? "\\fR]" : "\\fR", stdout);
        }
        putchar('\n');
        roff(o->flags & OPTION_ALIAS ? "the same" : o->doc);
        putchar('\n');
    }
    for (const struct argp_child *c = a->children; c && c->argp; c++) roff_options(c->argp);
}

static void roff_entries(const char *title, const struct entry *e)
{
    printf(".SH %s\n", title);
    for (; e->term; e++) {
        fputs(".TP\n\\fB", stdout);
        roff(e->term);
        fputs("\\fR\n", stdout);
        roff(e->text);
        putchar('\n');
    }
}

static void print_man(void)
{
    printf(".TH CONVOY 1 \"\" \"convoy %s\" \"User Commands\"\n.SH NAME\nconvoy \\- train "
           "convolutional nets on the CPU\n"
           ".SH SYNOPSIS\n\\fBconvoy\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR...] "
           "[\\fIARGUMENT\\fR...]\n.SH DESCRIPTION\n",
           cvy_version());
    roff(intro);
    fputs("\n.SH COMMANDS\n", stdout);
    for (size_t i = 0; cli_commands[i]; i++) {
        const struct cli_command *c = cli_commands[i];
        printf(".SS convoy %s ", c->name);
        roff(c->argp->args_doc ? c->argp->args_doc : "");
        putchar('\n');
        roff(c->argp->doc ? c->argp->doc : c->summary);
        putchar('\n');
        roff_options(c->argp);
    }
    roff_entries("EXAMPLES", examples);
    roff_entries("FILES", files);
    roff_entries("ENVIRONMENT", environment);
    roff_entries("EXIT STATUS", exit_codes);
}

static int run(int argc, char **argv)
{
    struct help_options o = { false, NULL };
    cli_parse(&argp, argc, argv, &o);
    if (o.man) {
        print_man();
        return CLI_OK;
    }
    if (!o.command) {
        print_help();
        return CLI_OK;
    }
    const struct cli_command *command = cli_find_command(o.command);
    if (!command) return CLI_USAGE;
    char name[32];
    snprintf(name, sizeof name, "convoy %s", command->name);
    char option[] = "--help", *words[] = { name, option, NULL };
    return command->run(2, words); /* prints and exits */
}

const struct cli_command cli_help = { "help", "tell what the program or a command can do", &argp,
                                      run };
