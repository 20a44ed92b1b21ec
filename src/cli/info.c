/* `convoy info`: the machine as the library sees it; `convoy info MODEL`: layers, sizes, memory;
 * with --phases what the compiler made of a training step. No line is longer than CLI_PAGE, but for
 * names that are. */
#include "cli/info.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/screen.h"
#include "report/text.h"

enum { KEY_BATCH = 'b', KEY_LAYERS = 0x1000, KEY_PHASES, KEY_JSON, KEY_MEMORY_LIMIT };
enum { INDENT = 10 };
/* So many layers have a row each; those of larger nets share one with the layer that they
 * follow. */
enum { FEW_LAYERS = 20 };

extern char **environ;

struct options {
    cvy_context_options engine;
    struct model_options change;
    const char *model;
    size_t batch, memory_limit;
    bool layers, phases, json;
};

static const struct argp_option options[] = {
    { "batch", KEY_BATCH, "N", 0, "images in a step, for memory and phases (default: the model's)",
      0 },
    { "layers", KEY_LAYERS, NULL, 0, "a row for every layer, in large models, too", 0 },
    { "phases", KEY_PHASES, NULL, 0, "what the compiler made of a training step, phase by phase",
      0 },
    { "json", KEY_JSON, NULL, 0, "the model, its layers, parameters and memory as JSON", 0 },
    { "memory-limit", KEY_MEMORY_LIMIT, "SIZE", 0,
      "bytes that training may take, or 500M, 1.5G: what is then recomputed, and what that costs "
      "(default: the model's)",
      0 },
    { 0 }
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->engine;
        state->child_inputs[1] = &o->change;
        return 0;
    case KEY_LAYERS: o->layers = true; return 0;
    case KEY_PHASES: o->phases = true; return 0;
    case KEY_JSON: o->json = true; return 0;
    case KEY_MEMORY_LIMIT:
        o->memory_limit = cli_size(state, "memory-limit", arg, (uint64_t)1 << 50);
        return 0;
    case KEY_BATCH: o->batch = cli_integer(state, "batch", arg, 1, 1 << 20); return 0;
    case ARGP_KEY_ARG:
        if (o->model) cli_refuse(state, "expected one model, found '%.60s' too", arg);
        o->model = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->model && (o->batch || o->layers || o->phases || o->json || o->memory_limit ||
                          o->change.input[0] || o->change.classes))
            cli_refuse(state, "--batch, --layers, --phases, --json, --memory-limit, --input and "
                              "--classes are for a model, which is missing: convoy info MODEL");
        if (o->json && (o->layers || o->phases))
            cli_refuse(state, "--json has all layers and no phases: leave out --%s",
                       o->layers ? "layers" : "phases");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = { { &cli_engine_argp, 0, NULL, 9 },
                                              { &cli_shape_argp, 0, NULL, 8 },
                                              { 0 } };
static const struct argp argp = { .options = options,
                                  .parser = parse,
                                  .children = children,
                                  .args_doc = "[MODEL]",
                                  .doc =
                                      "Describes the machine, or a model: its layers with output "
                                      "shapes, parameters and work for one image, and the memory "
                                      "that training takes."
                                      "\vExamples:\n"
                                      "  convoy info\n"
                                      "  convoy info resnet20 -b 64\n"
                                      "  convoy info my.json --layers --phases\n"
                                      "  convoy info resnet18 --input 3x32x32 --json\n" };

/* A blank and a word of a list, on the next line where this one is full; returns the column. */
static size_t word(const char *text, size_t column)
{
    if (column + 1 + strlen(text) > CLI_PAGE) column = (size_t)printf("\n%*s", INDENT - 1, "") - 1;
    return column + (size_t)printf(" %s", text);
}

static void print_cache(const char *name, size_t bytes)
{
    char text[CLI_NUMBER];
    printf("%s %s", name, bytes ? cli_bytes((double)bytes, text) : "unknown");
}

static int machine(const struct cli_session *s)
{
    cvy_machine m;
    cvy_machine_describe(&m);
    printf("convoy    %s (%s)\n", cvy_version(), CLI_COMPILER);
    printf("cpu       %s\n", m.cpu);
    printf("isa       %s chosen; this machine runs:", cvy_isa_name(cvy_context_isa(s->ctx)));
    for (int i = CVY_ISA_SCALAR; i <= CVY_ISA_PAIR; i++)
        if (m.can_run[i])
            printf(" %s%s", cvy_isa_name((enum cvy_isa)i),
                   i == CVY_ISA_PAIR ? " (tests only)" : "");
    printf("\ncaches    ");
    print_cache("L1d", m.l1d_bytes);
    print_cache(", L2", m.l2_bytes);
    print_cache(", L3", m.l3_bytes);
    char available[256], text[512], quota[64] = "no cgroup quota";
    if (m.cgroup_quota > 0) snprintf(quota, sizeof quota, "cgroup quota %.2f", m.cgroup_quota);
    snprintf(text, sizeof text, "%zu: %s; %zu CPUs online, %zu in the affinity mask, %s",
             cvy_context_threads(s->ctx), cvy_context_threads_why(s->ctx), m.cpus_online,
             m.cpus_allowed, quota);
    printf("\nthreads   ");
    text_wrap(stdout, text, INDENT, INDENT, CLI_PAGE);
    enum cvy_status status = cvy_context_available(s->ctx, available, sizeof available);
    if (status) return cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx));
    printf("backends  %s chosen; available: %s\n", cvy_context_backends(s->ctx), available);
    for (char **e = environ; *e; e++)
        if (!strncmp(*e, "OMP_", 4) || !strncmp(*e, "GOMP_", 5) || !strncmp(*e, "KMP_", 4) ||
            !strncmp(*e, "CVY_", 4))
            printf("env       %s\n", *e);
    const char *name;
    size_t column = (size_t)printf("models   ");
    for (size_t i = 0; model_builtin_at(i, &name); i++) column = word(name, column);
    const struct data_known *known;
    size_t n = data_known_sets(&known);
    column = (size_t)printf("\ndata     ") - 1;
    for (size_t i = 0; i < n; i++) column = word(known[i].name, column);
    putchar('\n');
    return CLI_OK;
}

/* --------------------------------------------------------------------------------------- layers */

/* A row of the table: a layer and those that only pass on what it gives: its norm, activation,
 * pool. */
struct row {
    char name[512];
    cvy_shape out;
    size_t parameters;
    double forward, backward;
};

/* The number of layers that read the one whose output is `value`. */
static size_t readers(const struct cli_session *s, int number)
{
    size_t n = 0;
    cvy_node_info node;
    for (size_t i = 0; i < cvy_net_nodes(s->net); i++)
        for (size_t k = 0; !cvy_net_node(s->net, i, &node) && k < node.n_inputs; k++)
            n += node.inputs[k] == number;
    return n;
}

/* Whether node i goes on in the row of the node before it. */
static bool joins(const struct cli_session *s, size_t i, const cvy_node_info *node)
{
    if (i < 2 || (node->parameters && strcmp(node->type, "batch_norm"))) return false;
    for (size_t k = 0; k < node->n_inputs; k++)
        if (node->inputs[k] == (int)i - 1) return readers(s, node->inputs[k]) == 1;
    return false;
}

enum { NAME_WIDTH = 39 };

/* One row of the table; a name that is too long is cut, and there are no blanks at the end. */
static void print_cells(const char *name, const char *const cells[4])
{
    static const int width[4] = { 12, 10, 9, 9 };
    char line[256];
    bool cut = strlen(name) > NAME_WIDTH;
    int n = snprintf(line, sizeof line, "%-*.*s%s", NAME_WIDTH, cut ? NAME_WIDTH - 3 : NAME_WIDTH,
                     name, "");
    if (cut) memcpy(line + NAME_WIDTH - 3, "...", 3);
    for (int i = 0; i < 4; i++)
        n += snprintf(line + n, sizeof line - (size_t)n, "%*s", width[i], cells[i]);
    while (n > 0 && line[n - 1] == ' ') n--;
    printf("%.*s\n", n, line);
}

static void print_row(const struct row *row)
{
    char shape[64], parameters[CLI_NUMBER] = "", forward[CLI_NUMBER] = "",
                    backward[CLI_NUMBER] = "";
    snprintf(shape, sizeof shape, "%zux%zux%zu", row->out.c, row->out.h, row->out.w);
    if (row->parameters) cli_count((double)row->parameters, parameters);
    if (row->forward > 0) cli_count(row->forward, forward);
    if (row->backward > 0) cli_count(row->backward, backward);
    print_cells(row->name, (const char *const[]){ shape, parameters, forward, backward });
}

/* " + NAME", without the part up to its last '.' that the row's name has, too. */
static void append_name(struct row *row, const char *name)
{
    const char *dot = strrchr(name, '.');
    size_t prefix = dot ? (size_t)(dot - name) + 1 : 0, length = strlen(row->name);
    if (prefix && strncmp(row->name, name, prefix)) prefix = 0;
    if (prefix && isdigit((unsigned char)name[prefix]))
        prefix--; /* features.0 + .1: no number of anything */
    snprintf(row->name + length, sizeof row->name - length, " + %s", name + prefix);
}

static int layers(const struct cli_session *s, bool each)
{
    struct row row = { .parameters = 0 }, total = { .parameters = 0 };
    size_t n = cvy_net_nodes(s->net);
    each |= n <= FEW_LAYERS;
    print_cells("layer", (const char *const[]){ "output", "params", "FLOP fwd", "FLOP bwd" });
    for (size_t i = 0; i < n; i++) {
        cvy_node_info node;
        enum cvy_status status = cvy_net_node(s->net, i, &node);
        if (status) return cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx));
        if (i && !each && joins(s, i, &node)) {
            append_name(&row, node.name);
        } else {
            if (i) print_row(&row);
            row = (struct row){ .parameters = 0 };
            if (each) snprintf(row.name, sizeof row.name, "%-24s %s", node.name, node.type);
            else snprintf(row.name, sizeof row.name, "%s", node.name);
        }
        row.out = node.out;
        row.parameters += node.parameters;
        row.forward += node.flops_forward;
        row.backward += node.flops_backward;
        total.parameters += node.parameters;
        total.forward += node.flops_forward;
        total.backward += node.flops_backward;
    }
    char parameters[CLI_NUMBER], forward[CLI_NUMBER], backward[CLI_NUMBER];
    if (n) print_row(&row);
    snprintf(parameters, sizeof parameters, "%zu", total.parameters);
    print_cells("total of one image",
                (const char *const[]){ "", parameters, cli_count(total.forward, forward),
                                       cli_count(total.backward, backward) });
    return CLI_OK;
}

/* --------------------------------------------------------------------------------------- memory */

/* What the compiler makes of a step of `batch` images; takes none of the memory. */
static enum cvy_status compile(const struct cli_session *s, size_t batch, size_t memory_limit,
                               cvy_trainer **trainer, cvy_plan_info *plan)
{
    const struct model_defaults *d = &s->model->defaults;
    const cvy_trainer_options trainer_options = { .batch = batch,
                                                  .input = model_input(s->model),
                                                  .dry_run = true,
                                                  .memory_limit = memory_limit,
                                                  .optimizer = d->optimizer };
    enum cvy_status status = cvy_trainer_create(s->net, s->logits, &trainer_options, trainer);
    if (!status) cvy_trainer_plan(*trainer, plan);
    return status;
}

static void print_memory_row(const char *name, const struct info_memory *m,
                             size_t (*bytes)(const cvy_plan_info *plan))
{
    char text[CLI_NUMBER];
    printf("%-*s", NAME_WIDTH, name);
    for (size_t i = 0; i < m->n; i++) printf("%12s", cli_bytes((double)bytes(&m->plan[i]), text));
    putchar('\n');
}

static size_t arena(const cvy_plan_info *p) { return p->arena_bytes; }
static size_t parameters(const cvy_plan_info *p) { return p->parameter_bytes; }
static size_t scratch(const cvy_plan_info *p) { return p->scratch_bytes; }

/* Trained again in the same step: " conv1, conv2 ...", and bytes moved for it. */
static int recomputed(const struct cli_session *s, size_t batch, const cvy_plan_info *limited)
{
    cvy_plan_info plan;
    cvy_trainer *trainer = NULL;
    enum cvy_status status = compile(s, batch, 0, &trainer, &plan);
    cvy_trainer_destroy(&trainer);
    if (status) return cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx));
    char text[2048], bytes[2][CLI_NUMBER];
    double moved = 0, all = 0;
    size_t used = (size_t)snprintf(text, sizeof text, "recomputed for gradients:"), n = 0;
    for (size_t i = 0; i < cvy_trainer_phases(s->trainer); i++) {
        cvy_phase_info phase;
        cvy_op_info op = { .part = CVY_PART_FORWARD };
        status = cvy_trainer_phase(s->trainer, i, &phase);
        if (!status && phase.ops) status = cvy_trainer_op(s->trainer, phase.first_op, &op);
        if (status) return cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx));
        double of_phase = phase.bytes_read + phase.bytes_written;
        all += of_phase;
        if (op.part == CVY_PART_RECOMPUTE) moved += of_phase;
    }
    for (size_t i = 0; i < cvy_trainer_ops(s->trainer); i++) {
        cvy_op_info op;
        if (cvy_trainer_op(s->trainer, i, &op) || op.part != CVY_PART_RECOMPUTE) continue;
        int length = (int)strlen(op.name) - (int)strlen(".again");
        if (used < sizeof text)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s %.*s", n ? "," : "",
                                     length, op.name);
        n++;
    }
    printf("\nWithout the limit activations and their gradients would take %s.",
           cli_bytes((double)plan.arena_bytes, bytes[0]));
    printf(limited->packed ? " Buffers are packed.\n" : "\n");
    if (!n) return CLI_OK;
    text_wrap(stdout, text, 0, 2, CLI_PAGE);
    putchar('\n');
    printf("That moves %s a step, %.1f %% of what the others do.\n", cli_bytes(moved, bytes[0]),
           100 * moved / (all - moved));
    return CLI_OK;
}

/* Of the batch asked for, and what smaller ones would save: of sixteen images and of the fewest
 * that the net takes. A limit is that of the batch asked for, which is alone then. */
static int find_memory(struct cli_session *s, size_t batch, size_t memory_limit,
                       struct info_memory *m)
{
    static const size_t smaller[] = { 16, 1, 2 };
    *m = (struct info_memory){ .n = 1, .batch = { batch } };
    enum cvy_status status = compile(s, batch, memory_limit, &s->trainer, &m->plan[0]);
    if (status)
        return cli_fail(cli_code_cvy(status), "%s: %s", s->model->where, cvy_message(s->ctx));
    for (size_t i = 0; i < 3 && !memory_limit; i++) {
        cvy_trainer *trainer = NULL;
        bool needed = smaller[i] < batch &&
                      (m->n < 2 || m->batch[m->n - 1] != 1); /* a batch norm may refuse one image */
        if (needed) status = compile(s, smaller[i], 0, &trainer, &m->plan[m->n]);
        if (needed && !status) m->batch[m->n++] = smaller[i];
        cvy_trainer_destroy(&trainer);
        if (status == CVY_E_NOMEM)
            return cli_fail(CLI_NOMEM, "%s: %s", s->model->where, cvy_message(s->ctx));
    }
    return CLI_OK;
}

static void print_memory(const struct info_memory *m)
{
    char title[64];
    printf("\n%-*s", NAME_WIDTH, "memory: training in batches of");
    for (size_t i = 0; i < m->n; i++) {
        snprintf(title, sizeof title, "%zu", m->batch[i]);
        printf("%12s", title);
    }
    putchar('\n');
    print_memory_row("activations and their gradients", m, arena);
    print_memory_row("parameters: gradients, packed copies", m, parameters);
    print_memory_row("scratch of the threads", m, scratch);
    print_memory_row("total", m, info_all_bytes);
    if (m->n > 1 && m->batch[m->n - 2] <= 16 &&
        m->plan[m->n - 2].arena_bytes == m->plan[m->n - 1].arena_bytes)
        printf("Images are stored sixteen side by side: below 16 a smaller batch saves nothing.\n");
}

/* --------------------------------------------------------------------------------------- phases */

static int phases(const struct cli_session *s, size_t batch)
{
    cvy_plan_info p;
    char flops[CLI_NUMBER];
    cvy_trainer_plan(s->trainer, &p);
    printf("\na training step at batch %zu: %zu ops in %zu phases and %zu stages, %zu tensors\n\n",
           batch, p.ops, p.phases, p.stages, p.tensors);
    printf("%5s  %-42s %-10s %6s %8s  %s\n", "stage", "phase", "backend", "tasks", "FLOP",
           "kernel");
    for (size_t i = 0; i < cvy_trainer_phases(s->trainer); i++) {
        cvy_phase_info phase;
        enum cvy_status status = cvy_trainer_phase(s->trainer, i, &phase);
        if (status) return cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx));
        char name[256];
        printf("%5zu  %-42s %-10s %6zu", phase.stage, text_short(phase.name, name, sizeof name),
               phase.backend, phase.tasks);
        if (phase.flops > 0 || *phase.kernel)
            printf(" %8s", phase.flops > 0 ? cli_count(phase.flops, flops) : "");
        printf("%s%s\n", *phase.kernel ? "  " : "", phase.kernel);
    }
    return CLI_OK;
}

/* The schedule's text with blanks where a line may end, "" for a constant one. */
static void readable(const struct schedule *schedule, char out[2 * SCHEDULE_TEXT])
{
    char text[SCHEDULE_TEXT];
    schedule_text(schedule, text);
    if (!strcmp(text, "constant")) *text = '\0';
    for (const char *from = text; *from; from++) {
        *out++ = *from;
        if (*from == ':' || *from == ',') *out++ = ' ';
    }
    *out = '\0';
}

static int describe(struct cli_session *s, const struct options *o)
{
    const struct model *m = s->model;
    const struct model_defaults *d = &m->defaults;
    const size_t batch = o->batch ? o->batch : d->batch;
    const size_t limit = o->memory_limit ? o->memory_limit : d->memory_limit;
    struct info_memory memory;
    if (o->json) {
        int found = find_memory(s, batch, limit, &memory);
        return found ? found : info_json(s, &memory);
    }
    char text[2 * SCHEDULE_TEXT + 512], optimizer[200], schedule[2 * SCHEDULE_TEXT], length[40];
    readable(&d->schedule, schedule);
    if (d->steps) snprintf(length, sizeof length, "%zu steps", d->steps);
    else snprintf(length, sizeof length, "%zu epochs", d->epochs);
    snprintf(text, sizeof text, "%s: %s", m->name,
             *m->description ? m->description : "(no description)");
    text_wrap(stdout, text, 0, 2, CLI_PAGE);
    snprintf(
        text, sizeof text, "input %zux%zux%zu, data %s; defaults: batch %zu, %s, loss %s, %s%s%s",
        m->input[0], m->input[1], m->input[2], *m->data ? m->data : "(none)", d->batch, length,
        cvy_loss_name(d->loss.kind), cli_optimizer_text(&d->optimizer, optimizer, sizeof optimizer),
        *schedule ? ", schedule " : "", schedule);
    text_wrap(stdout, text, 0, 2, CLI_PAGE);
    putchar('\n');
    int code = layers(s, o->layers);
    if (!code) code = find_memory(s, batch, limit, &memory);
    if (!code) print_memory(&memory);
    if (!code && limit) code = recomputed(s, batch, &memory.plan[0]);
    if (!code && o->phases) return phases(s, batch);
    if (!code && !o->layers && cvy_net_nodes(s->net) > FEW_LAYERS)
        printf("--layers: a row for each of its %zu layers. ", cvy_net_nodes(s->net));
    if (!code) printf("--phases: how a step is computed.\n");
    return code;
}

static int run(int argc, char **argv)
{
    struct options o = { .model = NULL };
    struct cli_session s = { 0 };
    cli_parse(&argp, argc, argv, &o);
    int code = cli_open_context(&s, &o.engine);
    if (!code && !o.model) {
        code = machine(&s);
    } else if (!code && !(code = cli_open_model(&s, o.model, &o.change)) &&
               !(code = cli_open_net(&s))) {
        code = describe(&s, &o);
    }
    cli_close(&s);
    return code;
}

const struct cli_command cli_info = { "info", "describe the machine or a model", &argp, run };
