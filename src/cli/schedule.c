/* The schedule of the learning rate as an option: its help comes from the kinds. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

enum { KEY_SCHEDULE = 0x3400 };

static char help[2048];
static struct argp_option options[3] = { { .doc = "Schedule:", .group = 8 } };

void cli_schedule_prepare(void)
{
    const char *name;
    char settings[SCHEDULE_TEXT];
    strcpy(help, "how the rate goes on:");
    for (int k = 0; (name = schedule_name(k)); k++) {
        schedule_settings(k, settings);
        snprintf(help + strlen(help), sizeof help - strlen(help), "%s %s%s%s%s", k ? ";" : "", name,
                 *settings ? " (" : "", settings, *settings ? ")" : "");
    }
    strcat(help, "; with warmup_steps or warmup_epochs each begins small. As in "
                 "cosine:floor=0.001,warmup_epochs=1. over=0 is the training's epochs");
    options[1] = (struct argp_option){
        .name = "schedule", .key = KEY_SCHEDULE, .arg = "KIND[:KEY=X,...]", .doc = help
    };
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct cli_schedule *o = state->input;
    struct schedule_fault fault;
    char hint[CLI_HINT] = "";
    if (key != KEY_SCHEDULE) return ARGP_ERR_UNKNOWN;
    o->given = schedule_parse(arg, &o->is, &fault);
    if (o->given) return 0;
    if (fault.names) cli_hint(fault.word, "", fault.names, NULL, hint);
    cli_refuse(state, "--schedule: %s%s", fault.text, hint);
}
const struct argp cli_schedule_argp = { .options = options, .parser = parse };
