/* The program: picks a sub-command, and sees to what all of them need at the ends: usable standard streams, no death by
 * SIGPIPE or SIGXFSZ, and an exit code that says when results could not be written. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct cli_command *const cli_commands[] = {&cli_train, &cli_eval, &cli_predict, &cli_bench, &cli_compare,
                                                  &cli_info, &cli_data, &cli_help, NULL};

/* A closed descriptor 0..2 would be given to the next file we open, and printf would write into a checkpoint. Opened the
 * wrong way round on purpose: writing to it fails and is noticed. */
static void occupy_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd) _exit(CLI_IO);
}

static void check_stdout(void)
{
    bool failed = ferror(stdout);
    if (fflush(stdout) || failed) {
        fprintf(stderr, "convoy: standard output: cannot write: %s\n", strerror(errno));
        _exit(CLI_IO);
    }
}

/* jansson calls a failed allocation a mistake in the text, or fails an assertion. So it never sees one: nothing but the
 * last checkpoint is worth saving when a few bytes cannot be had, and that one is on disk already. */
static void *allocate_json(size_t size)
{
    void *p = malloc(size);
    if (!p) _exit(cli_fail(CLI_NOMEM, "out of memory"));
    return p;
}

int main(int argc, char **argv)
{
    occupy_standard_streams();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    json_set_alloc_funcs(allocate_json, free);
    if (atexit(check_stdout)) return CLI_NOMEM;
    const char *word = argc > 1 ? argv[1] : "help";
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "-?")) word = "help";
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        printf("convoy %s (%s)\n", cvy_version(), __VERSION__);
        return CLI_OK;
    }
    const char *names[16];
    for (size_t i = 0;; i++) {
        names[i] = cli_commands[i] ? cli_commands[i]->name : NULL;
        if (!names[i]) break;
        if (strcmp(word, names[i])) continue;
        char name[32];
        snprintf(name, sizeof name, "convoy %s", names[i]);
        char *alone[2] = {name, NULL};
        if (argc < 2) return cli_commands[i]->run(1, alone);
        argv[1] = name;
        return cli_commands[i]->run(argc - 1, argv + 1);
    }
    const char *nearest = cli_nearest(word, names);
    cli_fail(CLI_USAGE, "unknown command '%.60s'%s%s%s", word, nearest ? "; did you mean " : "", nearest ? nearest : "",
             nearest ? "?" : "");
    fputs("Try 'convoy help'.\n", stderr);
    return CLI_USAGE;
}
