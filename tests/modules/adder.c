/* The smallest backend that is one: a module that computes sums, in plain layout, one task for
 * every thousand elements, and leaves everything else to others. docs/adding-a-backend.md goes
 * through it. With -DABI or -DNAME it is one that must be refused; with -DNO_SYMBOL it is a shared
 * object of another kind. */
#include <convoy/backend.h>

#ifndef ABI
#define ABI CVY_BACKEND_ABI
#endif
#ifndef NAME
#define NAME "adder"
#endif
#define CHUNK ((size_t)1000)

struct sum {
    int a, b, y;
    size_t image;
}; /* values; elements of an image */

static void run_sum(const void *arg, const struct cvy_run *run, size_t task,
                    struct cvy_worker *worker)
{
    const struct sum *s = arg;
    const float *a = run->buf[s->a], *b = run->buf[s->b];
    float *y = run->buf[s->y];
    size_t end = run->n * s->image;
    if (end > (task + 1) * CHUNK) end = (task + 1) * CHUNK;
    (void)worker;
    for (size_t i = task * CHUNK; i < end; i++) y[i] = a[i] + b[i];
}

static enum cvy_status adder_open(struct cvy_plan *plan, void **state)
{
    *state = NULL;
    cvy_plan_log(plan, 1, "adder: at your service");
    return CVY_OK;
}

static void adder_close(void *state) { (void)state; }

static int adder_take(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    (void)state, (void)plan, (void)n;
    return ops[0].kind == CVY_OP_ADD;
}

static enum cvy_status adder_plan(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops,
                                  int n, size_t first)
{
    const cvy_shape shape = cvy_plan_value(plan, ops[0].out[CVY_ADD_Y])->shape;
    struct sum *s = cvy_plan_alloc(plan, sizeof *s);
    (void)state, (void)n, (void)first;
    if (!s) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", ops[0].name);
    *s = (struct sum){ ops[0].in[CVY_ADD_A], ops[0].in[CVY_ADD_B], ops[0].out[CVY_ADD_Y],
                       shape.c * shape.h * shape.w };
    struct cvy_phase_desc phase = { .name = ops[0].name,
                                    .run = run_sum,
                                    .arg = s,
                                    .parts = (shape.n * s->image + CHUNK - 1) / CHUNK };
    phase.access[phase.n_access].value = s->a;
    phase.access[phase.n_access++].access = CVY_READ_ALL;
    phase.access[phase.n_access].value = s->b;
    phase.access[phase.n_access++].access = CVY_READ_ALL;
    phase.access[phase.n_access].value = s->y;
    phase.access[phase.n_access++].access = CVY_WRITE_ALL;
    return cvy_plan_phase(plan, &phase);
}

#ifdef NO_SYMBOL
#define cvy_module cvy_something_else
#endif
extern const struct cvy_backend cvy_module;
const struct cvy_backend cvy_module = {
    .abi = ABI,
    .name = NAME,
    .layout = CVY_LAYOUT_PLAIN,
    .param_layout = CVY_LAYOUT_PLAIN,
    .open = adder_open,
    .close = adder_close,
    .take = adder_take,
    .plan = adder_plan,
};
