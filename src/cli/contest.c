/* `convoy compare [MODEL] --backends`: the same step on several backends. First the numbers: one
 * step of each, and of the reference, from the same weights on the same images, every tensor
 * compared. Then time: the backends take turns, a few steps each, with the clocks of phases off and
 * on. Ops that some backend computes together are one row of all. */
#include "cli/compare.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/probe.h"
#include "report/contest.h"

/* steps before the next backend takes over; one more warms the caches again */
#define TURN 3
/* seconds: a backend stops measuring after so long, with three steps at least */
#define SLOW 10.0
#define CHECK_FLOPS 4e9 /* of the step on the reference */

struct side {
    char name[64];
    struct cli_session s, check; /* timed; and of the numbers, with its tensors kept */
    size_t first_phase;          /* in `last` and its rows */
    size_t *row;                 /* of every phase; SIZE_MAX: none */
    double *last;                /* seconds of every phase so far */
    double *now;                 /* of every row, in this step */
    double spent;
};

struct contestants {
    const struct contest_options *o;
    /* the last one: the reference of the numbers, if it is not among them */
    struct side side[CONTEST_SIDES + 1];
    size_t n, reference;
    struct contest c;
    uint8_t *images, *labels;
    uint32_t *index;
    size_t n_images, at;
};

static void *need(void *p)
{
    if (!p) exit(cli_fail(CLI_NOMEM, "out of memory"));
    return p;
}

/* -------------------------------------------------------------------------------------- opening */

static int open_side(struct contestants *t, struct side *side, const char *who, bool keep,
                     size_t batch, struct cli_session *s)
{
    const struct contest_options *o = t->o;
    size_t length = strcspn(who, ":");
    bool native = length == strlen("native") && !strncmp(who, "native", length);
    bool reference = length == strlen("reference") && !strncmp(who, "reference", length);
    char backends[128];
    snprintf(side->name, sizeof side->name, "%s", who);
    if (!length || (who[length] && strcmp(who + length, ":unfused")))
        return cli_fail(CLI_USAGE, "--backends: '%.60s': expected BACKEND or BACKEND:unfused", who);
    snprintf(backends, sizeof backends, "%.*s%s%s", (int)length, who,
             native || reference ? "" : ",native", reference ? "" : ",reference");
    const cvy_context_options engine = { .threads = o->threads,
                                         .isa = o->isa,
                                         .backends = backends,
                                         .strict = o->strict,
                                         .no_fusion = who[length] != '\0' };
    int code = cli_open_context(s, &engine);
    if (!code) code = cli_open_model(s, o->model, &o->change);
    if (!code) code = cli_open_net(s);
    if (code) return code;
    const struct model_defaults *d = &s->model->defaults;
    cvy_optimizer_desc optimizer = d->optimizer;
    if (optimizer.lr > 0.01) optimizer.lr = 0.01;
    cvy_param_setting settings[MODEL_SETTINGS];
    const cvy_trainer_options trainer = { .batch = batch,
                                          .seed = 1,
                                          .keep_tensors = keep,
                                          .loss = model_loss(d),
                                          .input = model_input(s->model),
                                          .optimizer = optimizer,
                                          .settings = model_settings(&d->params, settings),
                                          .n_settings = d->params.n,
                                          .init = model_init(d, 1) };
    enum cvy_status status = cvy_trainer_create(s->net, s->logits, &trainer, &s->trainer);
    return status ? cli_fail(cli_code_cvy(status), "%s: %s", side->name, cvy_message(s->ctx))
                  : CLI_OK;
}

static double flops_per_image(const cvy_net *net)
{
    double sum = 0;
    cvy_node_info node;
    for (size_t i = 0; i < cvy_net_nodes(net); i++)
        if (!cvy_net_node(net, i, &node)) sum += node.flops_forward + node.flops_backward;
    return sum;
}

static void make_images(struct contestants *t, const struct cli_session *s)
{
    const size_t *in = s->model->input, image = in[0] * in[1] * in[2],
                 classes = cvy_tensor_shape(s->net, s->logits).c;
    uint32_t state = 1;
    t->n_images = 4 * t->c.batch;
    t->images = need(malloc(t->n_images * image));
    t->labels = need(malloc(t->n_images));
    t->index = need(malloc(t->n_images * sizeof *t->index));
    for (size_t i = 0; i < t->n_images * image; i++)
        t->images[i] = (uint8_t)((state = state * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < t->n_images; i++) {
        state = state * 1664525u + 1013904223u;
        t->labels[i] = (uint8_t)((state >> 8) % (classes < 256 ? classes : 256));
        t->index[i] = (uint32_t)((i * 2654435761u) % t->n_images);
    }
}

static int one_step(struct contestants *t, struct cli_session *s, size_t batch, cvy_step_result *r)
{
    if (t->at + batch > t->n_images) t->at = 0;
    const cvy_batch b = { .images = t->images,
                          .dtype = CVY_U8,
                          .labels8 = t->labels,
                          .index = t->index + t->at,
                          .n = batch };
    enum cvy_status status = cvy_trainer_step(s->trainer, &b, r);
    return status ? cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx)) : CLI_OK;
}

/* -------------------------------------------------------------------------------------- numbers */

static double ulp_of(double x)
{
    int e;
    frexp(fmax(fabs(x), (double)FLT_MIN), &e);
    return ldexp(1, e - FLT_MANT_DIG);
}

static struct contest_distance distance(const char *name, const double *got, const double *want,
                                        size_t count, const size_t dims[4])
{
    struct contest_distance d = { .abs = 0 };
    double largest = 0;
    size_t at = 0;
    snprintf(d.tensor, sizeof d.tensor, "%s", name);
    for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs(want[i]));
    for (size_t i = 0; i < count; i++) {
        double e = fabs(got[i] - want[i]);
        if (isnan(got[i]) != isnan(want[i])) e = INFINITY;
        if (e > d.abs) {
            d.abs = e;
            at = i;
        }
        if (e > 0 && fabs(want[i]) >= 1e-6 * largest) d.rel = fmax(d.rel, e / fabs(want[i]));
    }
    d.ulp = d.abs / ulp_of(want[at]);
    for (int k = 4; k-- > 0;) {
        d.worst[k] = at % dims[k];
        at /= dims[k];
    }
    return d;
}

/* A tensor or parameter gradient of that name, as doubles; NULL: there is none. */
static double *fetch(const struct cli_session *s, const char *name, size_t *count, size_t dims[4])
{
    for (size_t i = 0; i < cvy_trainer_tensors(s->trainer); i++) {
        cvy_tensor_info info;
        if (cvy_trainer_tensor(s->trainer, i, &info) || strcmp(info.name, name)) continue;
        dims[0] = info.shape.n;
        dims[1] = info.shape.c;
        dims[2] = info.shape.h;
        dims[3] = info.shape.w;
        *count = dims[0] * dims[1] * dims[2] * dims[3];
        double *out = need(malloc(*count * sizeof *out));
        if (!cvy_trainer_tensor_get(s->trainer, i, out, *count)) return out;
        free(out);
    }
    return NULL;
}

static double *fetch_param(const struct cli_session *s, enum cvy_param_kind kind, const char *name,
                           size_t *count, size_t dims[4])
{
    for (size_t i = 0; i < cvy_trainer_params(s->trainer, kind); i++) {
        cvy_param_info info;
        if (cvy_trainer_param(s->trainer, kind, i, &info) || strcmp(info.name, name)) continue;
        for (size_t k = 0; k < 4; k++)
            dims[k] = k + info.rank >= 4 ? info.dims[k + info.rank - 4] : 1;
        *count = info.count;
        double *out = need(malloc(*count * sizeof *out));
        if (!cvy_trainer_get64(s->trainer, kind, name, out, *count)) return out;
        free(out);
    }
    return NULL;
}

/* The worst of what the ops of a row write: by the largest difference, among tensors whose size is
 * not negligible beside the row's largest (the gradient of a bias in front of a batch norm is
 * nothing but rounding). */
struct worst {
    double size, difference;
};
static void compare_output(struct contestants *t, struct side *side, const cvy_op_info *op,
                           const char *name, struct worst *worst, struct contest_distance *out)
{
    struct cli_session *reference = &t->side[t->reference].check;
    size_t n = 0, m = 0, dims[4] = { 1, 1, 1, 1 };
    enum cvy_param_kind kind = op->part == CVY_PART_UPDATE ? CVY_PARAM_WEIGHT : CVY_PARAM_GRADIENT;
    double *got = op->part == CVY_PART_UPDATE ? NULL : fetch(&side->check, name, &n, dims),
           *want = NULL, largest = 0;
    if (got) {
        want = fetch(reference, name, &m, dims);
    } else if ((got = fetch_param(&side->check, kind, name, &n, dims))) {
        want = fetch_param(reference, kind, name, &m, dims);
    }
    if (got && want && n == m) {
        struct contest_distance d = distance(name, got, want, n, dims);
        for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(want[i]));
        bool first = worst->size < 0, negligible = largest < 1e-4 * worst->size,
             larger = worst->size < 1e-4 * largest;
        if (first || larger || (!negligible && d.abs / largest > worst->difference)) {
            worst->difference = largest > 0 ? d.abs / largest : d.abs;
            *out = d;
        }
        worst->size = fmax(worst->size, largest);
    }
    free(got);
    free(want);
}

/* ----------------------------------------------------------------------------------------- rows */

/* Union-find over ops by name: what some phase computes together is one row. */
struct op {
    char *name;
    size_t parent;
    enum cvy_part part;
    double flops, bytes;
};
struct ops {
    struct op *op;
    size_t n;
};

static size_t find_op(struct ops *ops, const char *name, enum cvy_part part)
{
    for (size_t i = 0; i < ops->n; i++)
        if (ops->op[i].part == part && !strcmp(ops->op[i].name, name)) return i;
    return SIZE_MAX;
}

static size_t root(const struct ops *ops, size_t i)
{
    while (ops->op[i].parent != i) i = ops->op[i].parent;
    return i;
}

static size_t op_index(struct ops *ops, const cvy_op_info *info)
{
    size_t i = find_op(ops, info->name, info->part);
    if (i != SIZE_MAX) return i;
    ops->op = need(realloc(ops->op, (ops->n + 1) * sizeof *ops->op));
    ops->op[ops->n] =
        (struct op){ need(strdup(info->name)), ops->n, info->part, info->flops, info->bytes };
    return ops->n++;
}

/* Updates are one row: a program has dozens, and nobody asks for them singly. */
static void join_ops(struct ops *ops, const struct cli_session *s)
{
    size_t update = SIZE_MAX;
    for (size_t p = 0; p < cvy_trainer_phases(s->trainer); p++) {
        cvy_phase_info phase;
        if (cvy_trainer_phase(s->trainer, p, &phase)) continue;
        size_t first = SIZE_MAX;
        for (size_t k = 0; k < phase.ops; k++) {
            cvy_op_info info;
            if (cvy_trainer_op(s->trainer, phase.first_op + k, &info) ||
                info.part == CVY_PART_REORDER)
                continue;
            size_t i = op_index(ops, &info);
            if (first == SIZE_MAX) first = i;
            ops->op[root(ops, i)].parent = root(ops, first);
            if (info.part != CVY_PART_UPDATE) continue;
            if (update == SIZE_MAX) update = i;
            ops->op[root(ops, i)].parent = root(ops, update);
        }
    }
}

static size_t add_row(struct contestants *t, const char *name, enum contest_part part)
{
    struct contest *c = &t->c;
    for (size_t r = 0; r < c->n_rows; r++)
        if (c->row[r].part == part && !strcmp(c->row[r].name, name)) return r;
    c->row = need(realloc(c->row, (c->n_rows + 1) * sizeof *c->row));
    c->row[c->n_rows] =
        (struct contest_row){ .name = need(strdup(name)),
                              .part = part,
                              .cell = need(calloc(c->n_sides, sizeof(struct contest_cell))) };
    return c->n_rows++;
}

/* Rows in program order; a row's name is its ops'. */
static size_t *make_rows(struct contestants *t, struct ops *ops)
{
    size_t *row = need(malloc((ops->n + 1) * sizeof *row));
    for (size_t i = 0; i < ops->n; i++) row[i] = SIZE_MAX;
    for (size_t i = 0; i < ops->n; i++) {
        size_t group = root(ops, i);
        if (row[group] != SIZE_MAX) continue;
        char name[1024] = "";
        double flops = 0, bytes = 0;
        for (size_t k = i; k < ops->n; k++) {
            if (root(ops, k) != group) continue;
            if (ops->op[k].part != CVY_PART_UPDATE)
                snprintf(name + strlen(name), sizeof name - strlen(name), "%s%s",
                         *name ? " + " : "", ops->op[k].name);
            flops += ops->op[k].flops;
            bytes += ops->op[k].bytes;
        }
        size_t r = add_row(t, *name ? name : "update of all parameters",
                           (enum contest_part)ops->op[i].part);
        t->c.row[r].flops = flops;
        t->c.row[r].bytes = bytes;
        row[group] = r;
    }
    for (size_t i = 0; i < ops->n; i++) row[i] = row[root(ops, i)];
    return row;
}

static void note_kernel(struct contest_cell *cell, const char *kernel)
{
    size_t used = strlen(cell->kernels);
    if (!*kernel || strstr(cell->kernels, kernel)) return;
    snprintf(cell->kernels + used, sizeof cell->kernels - used, "%s%s", used ? ", " : "", kernel);
}

static void map_phases(struct contestants *t, size_t i, struct ops *ops, const size_t *rows)
{
    struct side *side = &t->side[i];
    size_t n = cvy_trainer_phases(side->s.trainer);
    side->row = need(malloc((n + 1) * sizeof *side->row));
    side->last = need(calloc(n + 1, sizeof *side->last));
    for (size_t p = 0; p < n; p++) {
        cvy_phase_info phase;
        side->row[p] = SIZE_MAX;
        if (cvy_trainer_phase(side->s.trainer, p, &phase)) continue;
        if (phase.reorder || !phase.ops) {
            side->row[p] = add_row(t, phase.name, CONTEST_REORDER);
        } else {
            cvy_op_info info;
            if (!cvy_trainer_op(side->s.trainer, phase.first_op, &info))
                side->row[p] = rows[find_op(ops, info.name, info.part)];
        }
        note_kernel(&t->c.row[side->row[p]].cell[i], phase.kernel);
    }
}

/* Distances of every row, from the ops of the program. */
static void compare_rows(struct contestants *t, struct ops *ops, const size_t *rows)
{
    struct worst *worst = need(malloc((t->c.n_rows + 1) * sizeof *worst));
    for (size_t i = 0; i < t->n; i++) {
        struct side *side = &t->side[i];
        for (size_t r = 0; r < t->c.n_rows; r++) worst[r] = (struct worst){ -1, -1 };
        for (size_t k = 0; i != t->reference && k < cvy_trainer_ops(side->check.trainer); k++) {
            cvy_op_info info;
            if (cvy_trainer_op(side->check.trainer, k, &info) || info.part == CVY_PART_REORDER)
                continue;
            size_t op = find_op(ops, info.name, info.part);
            for (size_t out = 0; op != SIZE_MAX && out < info.n_out; out++)
                compare_output(t, side, &info, info.out[out], &worst[rows[op]],
                               &t->c.row[rows[op]].cell[i].distance);
        }
    }
    free(worst);
}

/* ----------------------------------------------------------------------------------------- time */

static void append(double **list, size_t n, double v)
{
    *list = need(realloc(*list, (n + 1) * sizeof **list));
    (*list)[n] = v;
}

/* What every row took since the clocks were read last. */
static void read_clocks(struct contestants *t, size_t i, bool keep)
{
    struct side *side = &t->side[i];
    for (size_t r = 0; r < t->c.n_rows; r++) side->now[r] = NAN;
    for (size_t p = 0; p < cvy_trainer_phases(side->s.trainer); p++) {
        cvy_phase_info phase;
        if (cvy_trainer_phase(side->s.trainer, p, &phase) || side->row[p] == SIZE_MAX) continue;
        double *now = &side->now[side->row[p]],
               took = (phase.seconds - side->last[p]) / (double)phase.threads;
        side->last[p] = phase.seconds;
        *now = isnan(*now) ? took : *now + took;
    }
    for (size_t r = 0; keep && r < t->c.n_rows; r++) {
        struct contest_cell *cell = &t->c.row[r].cell[i];
        if (!isnan(side->now[r])) append(&cell->seconds, cell->n++, side->now[r]);
    }
}

static int turn(struct contestants *t, size_t i)
{
    struct side *side = &t->side[i];
    struct contest_side *out = &t->c.side[i];
    if (out->n >= t->o->steps || (side->spent > SLOW && out->n >= 3)) return CLI_OK;
    for (int clocked = 0; clocked < 2; clocked++) {
        enum cvy_status status = cvy_trainer_profile(side->s.trainer, clocked);
        if (status) return cli_fail(cli_code_cvy(status), "%s", cvy_message(side->s.ctx));
        for (size_t p = 0; clocked && p < cvy_trainer_phases(side->s.trainer); p++)
            side->last[p] = 0;
        for (int k = -1; k < TURN; k++) {
            cvy_step_result r;
            int code = one_step(t, &side->s, t->c.batch, &r);
            if (code) return code;
            side->spent += r.seconds;
            if (clocked) read_clocks(t, i, k >= 0);
            if (k >= 0)
                append(clocked ? &out->clocked : &out->plain, out->n + (size_t)k, r.seconds);
        }
    }
    out->n += TURN;
    enum cvy_status status = cvy_trainer_profile(side->s.trainer, false);
    return status ? cli_fail(cli_code_cvy(status), "%s", cvy_message(side->s.ctx)) : CLI_OK;
}

/* ------------------------------------------------------------------------------------ all of it */

static int write_json(const char *path, const struct contest *c)
{
    char *text = need(contest_json(c));
    int code = cli_write(path, text);
    free(text);
    return code;
}

static int write_html(const char *path, const struct contest *c)
{
    FILE *f = fopen(path, "w");
    bool good = f && contest_html(f, c);
    if (f) good &= !fclose(f);
    return good ? CLI_OK : cli_fail(CLI_IO, "%s: cannot write: %s", path, strerror(errno));
}

static int open_all(struct contestants *t)
{
    const struct contest_options *o = t->o;
    char list[512], *rest = list, *who;
    if ((size_t)snprintf(list, sizeof list, "%s", o->backends) >= sizeof list)
        return cli_fail(CLI_USAGE, "--backends: too long");
    t->reference = SIZE_MAX;
    while ((who = strsep(&rest, ","))) {
        if (t->n == CONTEST_SIDES)
            return cli_fail(CLI_USAGE, "--backends: at most %d", CONTEST_SIDES);
        if (!strcmp(who, "reference")) t->reference = t->n;
        struct side *side = &t->side[t->n];
        if (!t->n) { /* the model says what was left open */
            int code = cli_open_model(&side->check, o->model, &o->change);
            if (code) return code;
            t->c.batch = o->batch ? o->batch : side->check.model->defaults.batch;
            model_free(&side->check.model);
        }
        for (size_t i = 0; i < t->n; i++)
            if (!strcmp(t->side[i].name, who))
                return cli_fail(CLI_USAGE, "--backends: '%.60s' is there twice", who);
        int code = open_side(t, side, who, false, t->c.batch, &side->s);
        t->n++;
        if (code) return code;
        if (t->n > 1) continue;
        double fit = CHECK_FLOPS / flops_per_image(side->s.net);
        t->c.check_batch = fit < (double)t->c.batch ? (size_t)fit : t->c.batch;
        if (fit < 2) t->c.check_batch = 2;
        if (o->check_batch) t->c.check_batch = o->check_batch;
        if (t->c.check_batch > t->c.batch) t->c.check_batch = t->c.batch;
    }
    size_t checked = t->n;
    if (t->reference == SIZE_MAX) {
        t->reference = checked++;
        strcpy(t->side[t->reference].name, "reference");
    }
    for (size_t i = 0; i < checked; i++) {
        char name[64];
        strcpy(name, t->side[i].name);
        int code = open_side(t, &t->side[i], name, true, t->c.check_batch, &t->side[i].check);
        if (code) return code;
    }
    make_images(t, &t->side[0].s);
    t->c.n_sides = t->n;
    t->c.side = need(calloc(t->n, sizeof *t->c.side));
    for (size_t i = 0; i < t->n; i++) t->c.side[i].name = t->side[i].name;
    for (size_t i = 0; i < checked; i++) {
        cvy_step_result r;
        t->at = 0;
        int code = one_step(t, &t->side[i].check, t->c.check_batch, &r);
        if (code) return code;
        if (i < t->n) t->c.side[i].loss = r.loss_sum / (double)r.n;
    }
    return CLI_OK;
}

static int contest(struct contestants *t)
{
    struct ops ops = { NULL, 0 };
    struct contest *c = &t->c;
    cvy_machine machine;
    int code = open_all(t);
    if (code) return code;
    cvy_machine_describe(&machine);
    c->model = t->side[0].s.model->name;
    c->cpu = machine.cpu;
    c->version = cvy_version();
    c->isa = cvy_isa_name(cvy_context_isa(t->side[0].s.ctx));
    c->threads = cvy_context_threads(t->side[0].s.ctx);
    for (size_t i = 0; i < t->n; i++) join_ops(&ops, &t->side[i].s);
    size_t *rows = make_rows(t, &ops);
    for (size_t i = 0; i < t->n; i++) map_phases(t, i, &ops, rows);
    compare_rows(t, &ops, rows);
    for (size_t i = 0; i < t->n; i++)
        t->side[i].now = need(malloc((c->n_rows + 1) * sizeof(double)));
    c->peak = probe_fma(cvy_context_isa(t->side[0].s.ctx), c->threads, 0.1) * 1e9;
    for (size_t k = 0; !code && k < t->o->steps; k += TURN) /* nobody is always the first */
        for (size_t i = 0; !code && i < t->n; i++) code = turn(t, (i + k / TURN) % t->n);
    c->turn = TURN;
    if (!code && !contest_judge(c)) code = cli_fail(CLI_NOMEM, "out of memory");
    if (!code) contest_print(stdout, c);
    if (!code && t->o->json) code = write_json(t->o->json, c);
    if (!code && t->o->html) code = write_html(t->o->html, c);
    for (size_t i = 0; i < ops.n; i++) free(ops.op[i].name);
    free(ops.op);
    free(rows);
    return code;
}

int cli_contest(const struct contest_options *options)
{
    struct contestants *t = need(calloc(1, sizeof *t));
    t->o = options;
    int code = contest(t);
    for (size_t i = 0; i <= CONTEST_SIDES; i++) {
        cli_close(&t->side[i].s);
        cli_close(&t->side[i].check);
        free(t->side[i].row);
        free(t->side[i].last);
        free(t->side[i].now);
    }
    for (size_t r = 0; r < t->c.n_rows; r++) {
        for (size_t i = 0; i < t->c.n_sides; i++) free(t->c.row[r].cell[i].seconds);
        free(t->c.row[r].cell);
        free(t->c.row[r].name);
    }
    for (size_t i = 0; i < t->c.n_sides; i++) {
        free(t->c.side[i].plain);
        free(t->c.side[i].clocked);
    }
    free(t->c.row);
    free(t->c.side);
    free(t->images);
    free(t->labels);
    free(t->index);
    free(t);
    return code;
}
