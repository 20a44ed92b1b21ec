/* Between compare.c, which reads the options, and contest.c, which measures. */
#ifndef CLI_COMPARE_H
#define CLI_COMPARE_H

#include "cli/cli.h"

struct contest_options {
    const char *model, *backends; /* "native,onednn:unfused": BACKEND[:unfused], … */
    struct model_options change;
    size_t batch, check_batch; /* 0: the model's; what the reference does in a few seconds */
    size_t steps, threads;
    enum cvy_isa isa;
    bool strict;
    const char *json, *html;
};
/* `convoy compare --backends`; an exit code. */
int cli_contest(const struct contest_options *options);

#endif
