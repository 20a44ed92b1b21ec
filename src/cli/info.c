/* `convoy info`: the machine as the library sees it; `convoy info MODEL`: layers, sizes, memory, phases. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BATCH = 'b' };

extern char **environ;

struct options {
    cvy_context_options engine;
    const char *model;
    size_t batch;
};

static const struct argp_option options[] = {
    {"batch", KEY_BATCH, "N", 0, "batch for memory and phases (default: the model's)", 0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &o->engine; return 0;
    case KEY_BATCH: o->batch = cli_integer(state, "batch", arg, 1, 1 << 20); return 0;
    case ARGP_KEY_ARG:
        if (o->model) argp_error(state, "expected one model, found '%.60s' too", arg);
        o->model = arg;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&cli_engine_argp, 0, "Engine:", 9}, {0}};
static const struct argp argp = {
    .options = options, .parser = parse, .children = children, .args_doc = "[MODEL]",
    .doc = "Describes the machine, or a model: its layers with output shapes, parameters and work for one image, and what the "
           "compiler makes of a training step."};

static const char *bytes_text(double bytes, char out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    while (bytes >= 1024 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, 32, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return out;
}

static void print_cache(const char *name, size_t bytes)
{
    char text[32];
    printf("%s %s", name, bytes ? bytes_text((double)bytes, text) : "unknown");
}

static int machine(const struct cli_session *s)
{
    cvy_machine m;
    cvy_machine_describe(&m);
    printf("convoy    %s (%s)\n", cvy_version(), __VERSION__);
    printf("cpu       %s\n", m.cpu);
    printf("isa       %s chosen; this machine runs:", cvy_isa_name(cvy_context_isa(s->ctx)));
    for (int i = CVY_ISA_SCALAR; i <= CVY_ISA_PAIR; i++)
        if (m.can_run[i]) printf(" %s%s", cvy_isa_name((enum cvy_isa)i), i == CVY_ISA_PAIR ? " (tests only)" : "");
    printf("\ncaches    ");
    print_cache("L1d", m.l1d_bytes);
    print_cache(", L2", m.l2_bytes);
    print_cache(", L3", m.l3_bytes);
    printf("\nthreads   %zu: %s; %zu CPUs online, %zu in the affinity mask, ", cvy_context_threads(s->ctx),
           cvy_context_threads_why(s->ctx), m.cpus_online, m.cpus_allowed);
    if (m.cgroup_quota > 0) printf("cgroup quota %.2f\n", m.cgroup_quota);
    else printf("no cgroup quota\n");
    char available[256];
    enum cvy_status status = cvy_context_available(s->ctx, available, sizeof available);
    if (status) return cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx));
    printf("backends  %s chosen; available: %s\n", cvy_context_backends(s->ctx), available);
    for (char **e = environ; *e; e++)
        if (!strncmp(*e, "OMP_", 4) || !strncmp(*e, "GOMP_", 5) || !strncmp(*e, "KMP_", 4) || !strncmp(*e, "CVY_", 4))
            printf("env       %s\n", *e);
    printf("models   ");
    const char *name;
    for (size_t i = 0; model_builtin_at(i, &name); i++) printf(" %s", name);
    const struct data_known *known;
    size_t n = data_known_sets(&known);
    printf("\ndata     ");
    for (size_t i = 0; i < n; i++) printf(" %s", known[i].name);
    putchar('\n');
    return CLI_OK;
}

static int layers(const struct cli_session *s)
{
    double forward = 0, backward = 0;
    size_t parameters = 0;
    printf("%-24s %-16s %16s %12s %14s %14s\n", "layer", "type", "output", "parameters", "forward FLOP", "backward FLOP");
    for (size_t i = 0; i < cvy_net_nodes(s->net); i++) {
        cvy_node_info n;
        char shape[64];
        enum cvy_status status = cvy_net_node(s->net, i, &n);
        if (status) return cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx));
        snprintf(shape, sizeof shape, "%zux%zux%zu", n.out.c, n.out.h, n.out.w);
        printf("%-24s %-16s %16s %12zu %14.0f %14.0f\n", n.name, n.type, shape, n.parameters, n.flops_forward,
               n.flops_backward);
        forward += n.flops_forward;
        backward += n.flops_backward;
        parameters += n.parameters;
    }
    printf("%-24s %-16s %16s %12zu %14.0f %14.0f\n\n", "total", "", "", parameters, forward, backward);
    return CLI_OK;
}

static int plan(struct cli_session *s, size_t batch)
{
    const struct model_defaults *d = &s->model->defaults;
    const cvy_trainer_options trainer = {.batch = batch, .input = model_input(s->model), .dry_run = true,
                                         .sgd = {d->lr, d->momentum, d->weight_decay, d->nesterov, d->decay_all}};
    enum cvy_status status = cvy_trainer_create(s->net, s->logits, &trainer, &s->trainer);
    if (status) return cli_fail(cli_code_cvy(status), "%s: %s", s->model->where, cvy_message(s->ctx));
    cvy_plan_info p;
    char arena[32], weights[32], scratch[32];
    cvy_trainer_plan(s->trainer, &p);
    printf("training at batch %zu: %zu ops in %zu phases and %zu stages, %zu tensors\n", batch, p.ops, p.phases, p.stages,
           p.tensors);
    printf("memory: %s activations and gradients, %s parameters, %s scratch\n\n", bytes_text((double)p.arena_bytes, arena),
           bytes_text((double)p.parameter_bytes, weights), bytes_text((double)p.scratch_bytes, scratch));
    printf("%5s  %-48s %-10s %7s %14s  %s\n", "stage", "phase", "backend", "tasks", "MFLOP a step", "kernel");
    for (size_t i = 0; i < cvy_trainer_phases(s->trainer); i++) {
        cvy_phase_info phase;
        if ((status = cvy_trainer_phase(s->trainer, i, &phase)))
            return cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx));
        printf("%5zu  %-48s %-10s %7zu %14.3f%s%s\n", phase.stage, phase.name, phase.backend, phase.tasks, phase.flops / 1e6,
               *phase.kernel ? "  " : "", phase.kernel);
    }
    return CLI_OK;
}

static int run(int argc, char **argv)
{
    struct options o = {.model = NULL};
    struct cli_session s = {0};
    cli_parse(&argp, argc, argv, &o);
    int code = cli_open_context(&s, &o.engine);
    if (!code && !o.model) {
        code = machine(&s);
    } else if (!code && !(code = cli_open_model(&s, o.model, NULL)) && !(code = cli_open_net(&s))) {
        const struct model *m = s.model;
        printf("%s: %s\ninput %zux%zux%zu, data %s, defaults: batch %zu, %zu epochs, lr %g, momentum %g, weight decay %g\n\n",
               m->name, *m->description ? m->description : "(no description)", m->input[0], m->input[1], m->input[2],
               *m->data ? m->data : "(none)", m->defaults.batch, m->defaults.epochs, m->defaults.lr, m->defaults.momentum,
               m->defaults.weight_decay);
        code = layers(&s);
        if (!code) code = plan(&s, o.batch ? o.batch : m->defaults.batch);
    }
    cli_close(&s);
    return code;
}

const struct cli_command cli_info = {"info", "describe the machine or a model", &argp, run};
