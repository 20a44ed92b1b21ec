/* The program: picks a sub-command, and sees to what all of them need at the ends: usable standard
 * streams, no death by SIGPIPE or SIGXFSZ, and an exit code that says when results could not be
 * written. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct cli_command *const cli_commands[] = {
    &cli_train, &cli_eval,   &cli_predict,  &cli_infer, &cli_visualise, &cli_plot,
    &cli_sweep, &cli_ablate, &cli_saturate, &cli_norm,  &cli_bench,     &cli_compare,
    &cli_info,  &cli_data,   &cli_help,     NULL
};

/* A closed descriptor 0..2 would be given to the next file we open, and printf would write into a
 * checkpoint. Opened the wrong way round on purpose: writing to it fails and is noticed. */
static void occupy_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            _exit(CLI_IO);
}

/* jansson calls a failed allocation a mistake in the text, or fails an assertion. So it never sees
 * one: nothing but the last checkpoint is worth saving when a few bytes cannot be had, and that one
 * is on disk already. */
static void *allocate_json(size_t size)
{
    void *p = malloc(size);
    if (!p) _exit(cli_fail(CLI_NOMEM, "out of memory"));
    return p;
}

/* ------------------------------------------------------------------------------------- commands */

/* What others call it. */
static const struct cli_alias aliases[] = { { "version", "did you mean convoy --version?" },
                                            { "fit", "train" },
                                            { "run", "train" },
                                            { "learn", "train" },
                                            { "resume", "did you mean convoy train --resume=RUN?" },
                                            { "continue",
                                              "did you mean convoy train --resume=RUN?" },
                                            { "evaluate", "eval" },
                                            { "evaluation", "eval" },
                                            { "test", "eval" },
                                            { "validate", "eval" },
                                            { "inference", "predict" },
                                            { "fuse", "infer" },
                                            { "fold", "infer" },
                                            { "classify", "predict" },
                                            { "visualize", "visualise" },
                                            { "draw", "visualise" },
                                            { "curves", "plot" },
                                            { "curve", "plot" },
                                            { "graph", "plot" },
                                            { "chart", "plot" },
                                            { "pictures", "visualise" },
                                            { "filters", "visualise" },
                                            { "confusion", "visualise" },
                                            { "tune", "sweep" },
                                            { "search", "sweep" },
                                            { "experiment", "did you mean convoy sweep or convoy "
                                                            "ablate?" },
                                            { "ablation", "ablate" },
                                            { "benchmark", "bench" },
                                            { "perf", "bench" },
                                            { "diff", "compare" },
                                            { "models", "info" },
                                            { "list", "info" },
                                            { "summary", "info" },
                                            { "show", "info" },
                                            { "describe", "info" },
                                            { "device", "info" },
                                            { "datasets", "data" },
                                            { "dataset", "data" },
                                            { "download", "data" },
                                            { "man", "did you mean convoy help --man?" },
                                            { NULL, NULL } };

const struct cli_command *cli_find_command(const char *word)
{
    const char *names[32], *model;
    char hint[CLI_HINT];
    size_t n = 0;
    for (; cli_commands[n]; n++) {
        names[n] = cli_commands[n]->name;
        if (!strcmp(word, names[n])) return cli_commands[n];
    }
    names[n] = NULL;
    cli_hint(word, "", names, aliases, hint);
    for (size_t i = 0; model_builtin_at(i, &model); i++)
        if (!strcmp(word, model))
            snprintf(hint, sizeof hint, "; it is a model: did you mean convoy train %s?", model);
    cli_fail(CLI_USAGE, "unknown command '%.60s'%s", word, hint);
    fputs("Try 'convoy help'.\n", stderr);
    return NULL;
}

/* Options before the command: which line would have been right. */
static int options_first(int argc, char **argv)
{
    int at = 1;
    for (bool found = false; at < argc && !found; at += !found)
        for (size_t i = 0; cli_commands[i] && !found; i++)
            found = !strcmp(argv[at], cli_commands[i]->name);
    fflush(stdout);
    if (at == argc) {
        const char *word = argv[1] + strspn(argv[1], "-");
        bool command = false;
        for (size_t i = 0; cli_commands[i]; i++) command |= !strcmp(word, cli_commands[i]->name);
        cli_fail(CLI_USAGE, "expected a command, found the option '%.60s'%s%s%s", argv[1],
                 command ? "; did you mean convoy " : "", command ? word : "", command ? "?" : "");
        fputs("Try 'convoy help'.\n", stderr);
        return CLI_USAGE;
    }
    fprintf(stderr, "convoy: options stand behind the command: convoy %s", argv[at]);
    for (int i = 1; i < argc; i++)
        if (i != at) fprintf(stderr, " %s", argv[i]);
    fputc('\n', stderr);
    return CLI_USAGE;
}

int main(int argc, char **argv)
{
    occupy_standard_streams();
    signal(SIGXFSZ, SIG_IGN);
    json_set_alloc_funcs(allocate_json, free);
    cli_optimizer_prepare();
    cli_schedule_prepare();
    if (cli_watch_stdout()) return CLI_NOMEM;
    const char *word = argc > 1 ? argv[1] : "help";
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "-?")) word = "help";
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        printf("convoy %s (%s)\n", cvy_version(), CLI_COMPILER);
        return CLI_OK;
    }
    if (*word == '-') return options_first(argc, argv);
    const struct cli_command *command = cli_find_command(word);
    if (!command) return CLI_USAGE;
    char name[32];
    snprintf(name, sizeof name, "convoy %s", command->name);
    char *alone[2] = { name, NULL };
    if (argc < 2) return command->run(1, alone);
    argv[1] = name;
    return command->run(argc - 1, argv + 1);
}
