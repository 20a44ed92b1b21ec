/* RUN or WEIGHTS.safetensors, and the model of weights that do not say theirs: what the commands
 * that use a trained net are given. */
#include <errno.h>

#include "cli/cli.h"

enum { KEY_MODEL = 0x3600 };

static const struct argp_option options[] = {
    { "model", KEY_MODEL, "MODEL", 0,
      "the model of weights that do not say it (files that convoy did not write)", 0 },
    { 0 }
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct cli_trained *o = state->input;
    switch (key) {
    case KEY_MODEL: o->model = arg; return 0;
    case ARGP_KEY_ARG:
        if (o->run) cli_refuse(state, "expected one run or file, found '%.60s' too", arg);
        o->run = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        if (o->more) return 0;
        cli_refuse(state, "expected a run's directory or a .safetensors file");
        return EINVAL;
    default: return ARGP_ERR_UNKNOWN;
    }
}
const struct argp cli_trained_argp = { .options = options, .parser = parse };
