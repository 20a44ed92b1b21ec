/* --input and --classes: a model for images and classes other than its own. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { KEY_INPUT = 0x3500, KEY_CLASSES, LARGEST = 1 << 16 };

static const struct argp_option options[] = {
    { .doc = "The model's size:", .group = 5 },
    { "input", KEY_INPUT, "CxHxW", 0,
      "channels, rows and columns of the images that the model takes, e.g. 3x32x32 (default: the "
      "model's own)",
      0 },
    { "classes", KEY_CLASSES, "N", 0,
      "classes that the model tells apart, the outputs of its last layer (default: the model's "
      "own)",
      0 },
    { 0 }
};

static void parse_input(const struct argp_state *state, const char *text, size_t size[3])
{
    const char *at = text;
    for (int i = 0; i < 3; i++) {
        char *end;
        const unsigned long value = *at >= '0' && *at <= '9' ? strtoul(at, &end, 10) : 0;
        if (value < 1 || value > LARGEST || *end != (i < 2 ? 'x' : '\0'))
            cli_refuse(state, "--input: expected CxHxW, each from 1 to %d, found '%.60s'", LARGEST,
                       text);
        size[i] = value;
        at = end + 1;
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct model_options *o = state->input;
    switch (key) {
    case KEY_INPUT: parse_input(state, arg, o->input); return 0;
    case KEY_CLASSES: o->classes = cli_integer(state, "classes", arg, 2, LARGEST); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}
const struct argp cli_shape_argp = { .options = options, .parser = parse };
