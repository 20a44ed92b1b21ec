/* The optimiser and its hyper-parameters as options, and as keys of config.json: made from the
 * library's list, so that there is an option for each of them. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

/* -------------------------------------------------------------------------------------- options */

enum { KEY_OPTIMIZER = 0x3000, KEY_HYPER, ROOM = 64 };

/* Each name once; kinds that share a hyper-parameter share its range and its words. */
static const cvy_hyper_info *hypers[CLI_HYPERS];
static char names[CLI_HYPERS][ROOM], help[CLI_HYPERS][4 * ROOM], kinds[CLI_HYPERS * ROOM];
static size_t n_hypers;
static struct argp_option options[2 + CLI_HYPERS + 1] = { { .doc = "Optimizer:", .group = 6 } };
/* of the hyper-parameters */
static struct argp_option *const hyper_options = options + 2;

/* A hyper-parameter of a kind. */
static void add_hyper(const cvy_hyper_info *h, const char *kind)
{
    for (size_t i = 0; i < n_hypers; i++)
        if (!strcmp(hypers[i]->name, h->name)) {
            if (h->zero_is_usual && h->usual != hypers[i]->usual) /* "... (0.9) (adadelta: 0.95)" */
                snprintf(help[i] + strlen(help[i]), sizeof *help - strlen(help[i]), " (%s: %g)",
                         kind, h->usual);
            return;
        }
    if (n_hypers == CLI_HYPERS) return;
    snprintf(names[n_hypers], ROOM, "%s", h->name);
    for (char *c = names[n_hypers]; *c; c++)
        if (*c == '_') *c = '-';
    if (h->zero_is_usual) snprintf(help[n_hypers], sizeof *help, "%s (%g)", h->help, h->usual);
    else snprintf(help[n_hypers], sizeof *help, "%s", h->help);
    hyper_options[n_hypers] =
        (struct argp_option){ .name = names[n_hypers],
                              .key = strcmp(h->name, "lr") ? KEY_HYPER + (int)n_hypers : 'l',
                              .arg = h->flag ? NULL : "X",
                              .doc = help[n_hypers] };
    hypers[n_hypers++] = h;
}

void cli_optimizer_prepare(void)
{
    const cvy_optimizer_info *info;
    strcpy(kinds, "how weights follow their gradients:");
    for (int k = 0; (info = cvy_optimizer_describe((enum cvy_optimizer_kind)k)); k++) {
        snprintf(kinds + strlen(kinds), sizeof kinds - strlen(kinds), "%s %s", k ? "," : "",
                 info->name);
        for (size_t i = 0; i < info->n_hypers; i++) add_hyper(&info->hyper[i], info->name);
    }
    snprintf(kinds + strlen(kinds), sizeof kinds - strlen(kinds),
             "; one that is not the model's own starts from its usual settings");
    options[1] = (struct argp_option){
        .name = "optimizer", .key = KEY_OPTIMIZER, .arg = "NAME", .doc = kinds
    };
}

static error_t parse_kind(struct cli_optimizer *o, const char *arg, struct argp_state *state)
{
    const char *words[CVY_OPTIMIZER_KINDS + 1] = { NULL };
    for (int k = 0; k < CVY_OPTIMIZER_KINDS; k++)
        words[k] = cvy_optimizer_describe((enum cvy_optimizer_kind)k)->name;
    const char *word = cli_choice(state, o->given = "optimizer", arg, words);
    o->chosen = cvy_optimizer_from_name(word, &o->kind);
    return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct cli_optimizer *o = state->input;
    if (key == KEY_OPTIMIZER) return parse_kind(o, arg, state);
    for (size_t i = 0; i < n_hypers; i++) {
        const cvy_hyper_info *h = hypers[i];
        if (hyper_options[i].key != key) continue;
        o->given = names[i];
        o->has[i] = true;
        o->value[i] = h->flag ? 1 : cli_real(state, names[i], arg, h->least, h->most);
        if (h->below && o->value[i] >= h->most)
            cli_refuse(state, "--%s: expected a number from %g to below %g, found '%.60s'",
                       names[i], h->least, h->most, arg);
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}
const struct argp cli_optimizer_argp = { .options = options, .parser = parse };

static const char *option_of(const char *name)
{
    for (size_t i = 0; i < n_hypers; i++)
        if (!strcmp(hypers[i]->name, name)) return names[i];
    return name;
}

int cli_optimizer_apply(const struct cli_optimizer *o, cvy_optimizer_desc *desc)
{
    if (o->chosen && o->kind != desc->kind) cvy_optimizer_usual(o->kind, desc);
    const cvy_optimizer_info *info = cvy_optimizer_describe(desc->kind);
    for (size_t i = 0; i < n_hypers; i++) {
        const cvy_hyper_info *h = cvy_hyper_find(info, hypers[i]->name);
        if (!o->has[i]) continue;
        if (!h) return cli_fail(CLI_USAGE, "--%s: %s has no such setting", names[i], info->name);
        cvy_hyper_set(h, desc, o->value[i]);
    }
    for (size_t i = 0; i < info->n_hypers; i++) {
        const cvy_hyper_info *h = &info->hyper[i];
        if (h->needs && cvy_hyper_get(h, desc) != 0 &&
            cvy_hyper_get(cvy_hyper_find(info, h->needs), desc) == 0)
            return cli_fail(CLI_USAGE, "--%s needs --%s", option_of(h->name), option_of(h->needs));
    }
    return CLI_OK;
}

/* ------------------------------------------------------------------------------- in other forms */

const char *cli_optimizer_text(const cvy_optimizer_desc *desc, char *out, size_t size)
{
    const cvy_optimizer_info *info = cvy_optimizer_describe(desc->kind);
    snprintf(out, size, "%s", info->name);
    for (size_t i = 0; i < info->n_hypers; i++) {
        const cvy_hyper_info *h = &info->hyper[i];
        double value = cvy_hyper_get(h, desc);
        if (value == 0 && h->usual == 0 && !h->zero_is_usual) continue; /* it is off */
        size_t used = strlen(out);
        snprintf(out + used, size - used, "%s %s", i ? "," : ":", h->name);
        for (char *c = out + used; *c; c++)
            if (*c == '_') *c = ' ';
        used = strlen(out);
        if (!h->flag) snprintf(out + used, size - used, " %g", value);
    }
    return out;
}

void cli_optimizer_save(const cvy_optimizer_desc *desc, json_t *json)
{
    const cvy_optimizer_info *info = cvy_optimizer_describe(desc->kind);
    json_object_set_new(json, "optimizer", json_string(info->name));
    for (size_t i = 0; i < info->n_hypers; i++) {
        const cvy_hyper_info *h = &info->hyper[i];
        double value = cvy_hyper_get(h, desc);
        json_object_set_new(json, h->name, h->flag ? json_boolean(value != 0) : json_real(value));
    }
}

bool cli_optimizer_restore(cvy_optimizer_desc *desc, const json_t *json)
{
    const json_t *name = json_object_get(json, "optimizer");
    enum cvy_optimizer_kind kind = CVY_SGD;
    if (name && !cvy_optimizer_from_name(json_string_value(name), &kind)) return false;
    const cvy_optimizer_info *info = cvy_optimizer_describe(kind);
    *desc = (cvy_optimizer_desc){ .kind = kind };
    for (size_t i = 0; i < info->n_hypers; i++) {
        const cvy_hyper_info *h = &info->hyper[i];
        const json_t *found = json_object_get(json, h->name);
        double value = h->flag ? json_is_true(found) : json_number_value(found);
        bool typed = h->flag ? json_is_boolean(found) : json_is_number(found);
        /* what is off unless said may have come later than the run */
        if (!found && h->usual == 0 && !h->zero_is_usual) continue;
        if (!typed || !cvy_hyper_accepts(h, value)) return false;
        cvy_hyper_set(h, desc, value);
    }
    return true;
}
