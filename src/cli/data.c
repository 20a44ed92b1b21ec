/* `convoy data`: which data sets there are, where they lie, and whether their content is the
 * published one. */
#include "cli/cli.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli/screen.h"
#include "report/text.h"

struct options {
    const char *action, *name;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        if (state->arg_num > 1) cli_refuse(state, "too many arguments: '%.60s'", arg);
        *(state->arg_num ? &o->name : &o->action) = arg;
        return 0;
    case ARGP_KEY_END: {
        static const char *const actions[] = { "list", "path", "verify", NULL };
        static const struct cli_alias aliases[] = {
            { "download",
              "nothing is ever downloaded: `convoy data list` tells where each set is to be had" },
            { "check", "verify" },
            { "find", "path" },
            { "where", "path" },
            { "show", "list" },
            { NULL, NULL }
        };
        if (!o->action) cli_refuse(state, "expected list, path or verify");
        char hint[CLI_HINT];
        for (int i = 0; actions[i]; i++) {
            if (strcmp(o->action, actions[i])) continue;
            if (!!i != !!o->name)
                cli_refuse(state,
                           i ? "%s: expected the name of a data set: see `convoy data list`"
                             : "%s takes no argument",
                           o->action);
            return 0;
        }
        cli_refuse(state, "expected list, path or verify, found '%.60s'%s", o->action,
                   cli_hint(o->action, "", actions, aliases, hint));
        return EINVAL;
    }
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .parser = parse,
    .args_doc = "list\npath NAME\nverify NAME|DIR",
    .doc = "Tells about data sets. list: the known ones and where they lie; path: the directory of "
           "one; verify: reads it and "
           "compares its hashes with the published ones."
           "\vA set is looked for in $CVY_DATA_DIR, $XDG_CACHE_HOME/convoy (~/.cache/convoy), "
           "datasets in $XDG_DATA_DIRS, and "
           "/usr/share/datasets, in a directory with its name or that of torchvision or of the "
           "archive. A set is what its files "
           "hold, told by their hashes; other files in these formats are idx:DIR, cifar:DIR, "
           "cifar100:DIR, cifar100-coarse:DIR, npy:PATH or nhwc:PATH; PNG and JPEG files in a "
           "directory a class are folder:DIR, with options folder:size=ROWSxCOLUMNS,channels=1|3,"
           "test=SHARE:DIR. "
           "Nothing is ever downloaded.\n\n"
           "Examples:\n"
           "  convoy data list\n"
           "  convoy data path fashion-mnist\n"
           "  convoy data verify ~/data/mnist\n"
};

enum { INDENT = 16 };

static int list(void)
{
    const struct data_known *known;
    size_t n = data_known_sets(&known);
    for (size_t i = 0; i < n; i++) {
        char path[PATH_MAX];
        bool found = data_find(known[i].name, path, sizeof path);
        printf("%-15s %s\n%-15s %s", known[i].name, known[i].summary, "",
               found ? "found in " : "not found: ");
        if (found) printf("%s\n", path);
        else text_wrap(stdout, known[i].hint, INDENT + strlen("not found: "), INDENT, CLI_PAGE);
    }
    return CLI_OK;
}

static int path(const char *name)
{
    const struct data_known *known;
    size_t n = data_known_sets(&known);
    char where[PATH_MAX], text[200];
    for (size_t i = 0; i < n; i++) {
        if (strcmp(name, known[i].name)) continue;
        if (!data_find(name, where, sizeof where))
            return cli_fail(CLI_BAD, "%s: not found: %s", name, known[i].hint);
        printf("%s\n", where);
        return CLI_OK;
    }
    if (!strncmp(name, "synthetic", 9))
        return cli_fail(CLI_BAD, "%.60s: it lies nowhere: it is made when it is needed", name);
    snprintf(text, sizeof text, "unknown data set '%.60s'", name);
    return cli_fail_data(DATA_NOT_FOUND, name, text);
}

static int verify(const char *name)
{
    struct data_set *d;
    char error[CLI_ERROR];
    enum data_status status = data_open(name, NULL, true, &d, error, sizeof error);
    if (status) return cli_fail_data(status, name, error);
    printf("%s (%s): %zu train / %zu test images of %zux%zux%zu, %zu classes, %s\n", d->name,
           d->source, d->train.n, d->test.n, d->c, d->h, d->w, d->classes,
           d->synthetic ? "synthetic" : d->remark);
    data_close(&d);
    return CLI_OK;
}

static int run(int argc, char **argv)
{
    struct options o = { NULL, NULL };
    cli_parse(&argp, argc, argv, &o);
    if (!strcmp(o.action, "list")) return list();
    if (!strcmp(o.action, "path")) return path(o.name);
    return verify(o.name);
}

const struct cli_command cli_data = { "data", "list, find and verify data sets", &argp, run };
