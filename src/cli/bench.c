/* `convoy bench`: hands over to convoy-bench, a program of its own because it is linked with a C++
 * library. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Everything behind "bench" is convoy-bench's; --help too. */
static const struct argp argp = { .args_doc = "[BENCHMARK...] [OPTION...]",
                                  .doc =
                                      "Measures the machine, the kernels, operators and training "
                                      "steps: peak, kernels, ops, step, scaling, forum, "
                                      "backward, conv, train, sizes. "
                                      "Runs convoy-bench, "
                                      "which is looked for beside this program and then in PATH; "
                                      "`convoy bench --help` tells its options." };

/* Beside convoy-bench there are no modules in a build directory: they are beside this program. */
static void add_modules(const char *dir)
{
    const char *list = getenv("CVY_BACKEND_PATH");
    char with[2 * PATH_MAX];
    int n = snprintf(with, sizeof with, "%s%s%s", list ? list : "", list && *list ? ":" : "", dir);
    if (n > 0 && (size_t)n < sizeof with) setenv("CVY_BACKEND_PATH", with, 1);
}

static int run(int argc, char **argv)
{
    (void)argc;
    /* installed; in a build directory */
    static const char *const places[] = { "convoy-bench", "../bench/convoy-bench" };
    char self[PATH_MAX], path[2 * PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    fflush(stdout);
    if (n > 0) {
        self[n] = '\0';
        char *slash = strrchr(self, '/');
        if (slash) *slash = '\0';
        for (size_t i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "%s/%s", self, places[i]);
            if (i == 1) add_modules(self);
            execv(path, argv);
            if (errno != ENOENT)
                return cli_fail(CLI_IO, "%s: cannot run: %s", path, strerror(errno));
        }
    }
    execvp("convoy-bench", argv);
    if (errno != ENOENT)
        return cli_fail(CLI_IO, "convoy-bench in PATH: cannot run: %s", strerror(errno));
    return cli_fail(CLI_USAGE, "convoy-bench was not found beside this program nor in PATH: it is "
                               "built where Google Benchmark is installed "
                               "(Debian's libbenchmark-dev)");
}

const struct cli_command cli_bench = { "bench", "measure the machine, kernels, operators, steps",
                                       &argp, run };
