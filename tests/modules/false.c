/* A backend that says one thing that is not so, for module_test.c, which reads what it is told. It
 * adds, as adder.c does, in a layout of its own, and otherwise leaves everything to others;
 * CVYI_LIE is what it lies about. What must be refused before a program is planned is a variant of
 * its own: -DABI and -DNAME, -DPARAMS, -DTAKE, -DNEW_FUNCTION. */
#include <convoy/backend.h>

#include <stdlib.h>
#include <string.h>

#ifndef ABI
#define ABI CVY_BACKEND_ABI
#endif
#ifndef NAME
#define NAME "false"
#endif
#ifndef PARAMS
#define PARAMS CVY_LAYOUT_PLAIN
#endif
#ifndef TAKE
#define TAKE false_take
#endif

extern const struct cvy_backend cvy_module;
enum cvy_status cvy_plan_of_tomorrow(struct cvy_plan *plan); /* no library has it */

struct sum {
    int a, b, y;
    size_t image;
};

static bool lie(const char *about)
{
    const char *what = getenv("CVYI_LIE");
    return what && !strcmp(what, about);
}

static void run_sum(const void *arg, const struct cvy_run *run, size_t task,
                    struct cvy_worker *worker)
{
    const struct sum *s = arg;
    const float *a = run->buf[s->a], *b = run->buf[s->b];
    float *y = run->buf[s->y];
    (void)task, (void)worker;
    for (size_t i = 0; i < run->n * s->image; i++) y[i] = a[i] + b[i];
}

static void run_copy(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    const struct sum *s = arg;
    (void)task, (void)worker;
    memcpy(run->buf[s->y], run->buf[s->a], run->n * s->image * sizeof(float));
}

static void refresh(const void *arg, const struct cvy_run *run) { (void)arg, (void)run; }

static void access_value(struct cvy_phase_desc *phase, int id, enum cvy_access access)
{
    phase->access[phase->n_access].value = id;
    phase->access[phase->n_access++].access = access;
}

static enum cvy_status false_open(struct cvy_plan *plan, void **state)
{
    *state = NULL;
#ifdef NEW_FUNCTION
    return cvy_plan_of_tomorrow(plan);
#endif
    if (lie("opens")) return CVY_E_BACKEND;
    if (lie("buffer while opening") && cvy_plan_buffer(plan, "early", 64, true) < 0)
        return CVY_E_BACKEND;
    return CVY_OK;
}

static void false_close(void *state) { (void)state; }

int false_take(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n);
int false_take(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    static int asked;
    struct cvy_phase_desc early = { .name = "early", .run = run_sum, .parts = 1 };
    (void)state;
    if (ops[0].kind == CVY_OP_REORDER) return !lie("reorder");
    if (ops[0].kind != CVY_OP_ADD) return 0;
    if (lie("takes more")) return n + 1;
    if (lie("takes less")) return -1;
    if (lie("declines later")) return asked++ == 0;
    if (lie("phase while asked")) (void)cvy_plan_phase(plan, &early);
    return 1;
}

/* What may be wrong with the phase of a sum. x and y: an operand and the result. */
static void spoil(struct cvy_phase_desc *phase, struct cvy_plan *plan, int x, int y)
{
    int lanes = 0, weight = 0;
    for (int id = 0; cvy_plan_value(plan, id); id++) {
        if (cvy_plan_value(plan, id)->layout == CVY_LAYOUT_LANES) lanes = id;
        if (cvy_plan_value(plan, id)->role == CVY_ROLE_WEIGHT) weight = id;
    }
    if (lie("no tasks")) phase->parts = 0;
    if (lie("no function")) phase->run = NULL;
    if (lie("too many tasks")) phase->parts = (size_t)1 << 33;
    if (lie("tasks overflow")) phase->blocks = phase->parts = (size_t)1 << 40;
    if (lie("gate alone")) {
        phase->gate = phase->alone = true;
        phase->blocks = 0;
    }
    if (lie("gate with blocks")) {
        phase->gate = true;
        phase->blocks = 1;
    }
    if (lie("cell without blocks")) {
        phase->blocks = 0;
        phase->access[0].access = CVY_READ_CELL;
    }
    if (lie("scratch")) phase->scratch_bytes = SIZE_MAX / 2;
    if (lie("flops")) phase->flops = -1;
    if (lie("too many accesses")) phase->n_access = 1000;
    if (lie("unknown value")) access_value(phase, 12345, CVY_READ_ALL);
    if (lie("negative value")) access_value(phase, -1, CVY_READ_ALL);
    if (lie("unknown access")) phase->access[0].access = (enum cvy_access)9;
    if (lie("written twice")) access_value(phase, y, CVY_WRITE_CELL);
    if (lie("reads lanes")) access_value(phase, lanes, CVY_READ_ALL);
    if (lie("writes a weight")) access_value(phase, weight, CVY_WRITE_ALL);
    phase->in_place.from = x;
    phase->in_place.to = y; /* true as it stands, of a sum */
    if (lie("in place of nothing")) phase->in_place.from = -7;
    if (lie("nothing in place")) phase->in_place.to = 54321;
    if (lie("in place by all")) phase->access[0].access = CVY_READ_ALL;
    if (lie("in place of what else is read")) access_value(phase, x, CVY_READ_ALL);
    if (lie("in place by writing all")) phase->access[phase->n_access - 1].access = CVY_WRITE_ALL;
}

static enum cvy_status plan_sum(struct cvy_plan *plan, const struct cvy_op_desc *op, struct sum *s)
{
    size_t n = cvy_plan_capacity(plan), blocks = (n + 15) / 16;
    const size_t bytes = n * s->image * sizeof(float);
    if (lie("silent")) return CVY_E_BACKEND;
    if (lie("no phases")) return CVY_OK;
    if (lie("lays out an operand")) return cvy_plan_lay_out(plan, op->in[CVY_ADD_A], bytes, s);
    if (lie("lays out nothing")) return cvy_plan_lay_out(plan, op->out[CVY_ADD_Y], 0, s);
    if (lie("lays out what is none")) return cvy_plan_lay_out(plan, 999, bytes, s);
    if (lie("refreshes an activation"))
        return cvy_plan_refresh(plan, op->out[CVY_ADD_Y], refresh, s);
    if (lie("a buffer too large") && cvy_plan_buffer(plan, "huge", SIZE_MAX - 100, false) < 0)
        return CVY_E_BACKEND;
    if (!lie("no layout")) {
        enum cvy_status status = cvy_plan_lay_out(
            plan, op->out[CVY_ADD_Y], lie("in place of less") ? bytes + 64 : bytes, NULL);
        if (status) return status;
    }
    struct cvy_phase_desc phase = {
        .name = op->name, .run = run_sum, .arg = s, .blocks = blocks, .parts = 1
    };
    access_value(&phase, s->a, CVY_READ_CELL);
    access_value(&phase, s->b, CVY_READ_CELL);
    access_value(&phase, s->y, CVY_WRITE_CELL);
    spoil(&phase, plan, s->a, s->y);
    return cvy_plan_phase(plan, &phase);
}

static enum cvy_status false_plan(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops,
                                  int n, size_t first)
{
    const struct cvy_op_desc *op = &ops[0];
    const cvy_shape shape = cvy_plan_value(plan, op->out[CVY_ADD_Y])->shape;
    struct sum *s = cvy_plan_alloc(plan, sizeof *s);
    (void)state, (void)n, (void)first;
    if (!s) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    *s = (struct sum){ op->in[CVY_ADD_A], op->in[CVY_ADD_B], op->out[CVY_ADD_Y],
                       shape.c * shape.h * shape.w };
    if (op->kind == CVY_OP_ADD) return plan_sum(plan, op, s);
    struct cvy_phase_desc phase = { .name = op->name, .run = run_copy, .arg = s, .parts = 1 };
    access_value(&phase, s->a, CVY_READ_ALL);
    if (lie("reorder writes nothing")) return CVY_OK;
    access_value(&phase, s->y, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

const struct cvy_backend cvy_module = {
    .abi = ABI,
    .name = NAME,
    .layout = CVY_LAYOUT_OPAQUE,
    .param_layout = PARAMS,
    .open = false_open,
    .close = false_close,
    .take = TAKE,
    .plan = false_plan,
};
