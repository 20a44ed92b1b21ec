/* Phases declare what they touch, and stages, strands and memory follow from that alone. Here the
 * library's executor is replaced (the linker's --wrap) by one that holds phases to their word, for
 * every net that is trained below:
 *
 *  GUARDED  program order; every buffer lies between guard pages, and while a phase runs, what it
 *           does not declare cannot be touched and what it only reads cannot be written
 *  others   no guard, but the phases' tasks in other orders that the declarations allow, hostile
 *           ones first. Every buffer has a place of its own, so that only a wrong declaration makes
 *           a difference, and the bits must be the same
 *
 * Whether it would notice is tried as well: every declaration is taken back once. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/context.h"
#include "check.h"
#include "nets.h"
#include "program/model.h"

enum { IMAGES = 48, MOST_PIXELS = 3 * 32 * 32, CAUGHT = 99 };
static uint8_t pixels[IMAGES * MOST_PIXELS], labels[IMAGES];

/* -------------------------------------------------------------------------------------- buffers */

enum order {
    ORDER_OFF,
    ORDER_GUARDED,
    ORDER_PROGRAM,
    ORDER_DEEP,
    ORDER_WIDE,
    ORDER_RANDOM,
    ORDER_LATE
};
static const char *const order_names[] = { "off",
                                           "guarded",
                                           "program order",
                                           "depth first, last task first",
                                           "breadth first, last task first",
                                           "any order",
                                           "one task as late as can be" };

struct shadow {
    struct check_buf buf;
    size_t bytes;
}; /* of a root value; bytes 0: none of ours */

/* What the executor is told, and what it keeps of the last run. */
static struct {
    enum order order;
    struct check_rng rng;
    struct cvy_plan *plan;
    struct shadow *shadow;
    size_t phase;                 /* that runs */
    size_t late_phase, late_task; /* ORDER_LATE: the task that everything else overtakes that may */
    bool child;                   /* where a failure is what is looked for */
} now;

static void __attribute__((format(printf, 1, 2))) complain(const char *format, ...)
{
    char text[512];
    va_list args;
    if (now.child) _exit(CAUGHT);
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fail_msg("%s", text);
}

static size_t round64(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* A buffer's whole pages, without the guards around them. */
static void *pages(const struct shadow *s) { return s->buf.map + (size_t)sysconf(_SC_PAGESIZE); }
static size_t pages_bytes(const struct shadow *s)
{
    return s->buf.map_bytes - 2 * (size_t)sysconf(_SC_PAGESIZE);
}

static void protect(const struct shadow *s, int how)
{
    if (s->bytes && mprotect(pages(s), pages_bytes(s), how))
        complain("mprotect: %s", strerror(errno));
}

static void free_shadows(void)
{
    for (size_t i = 0; now.shadow && i < cvyi_program_values(now.plan); i++)
        check_free(&now.shadow[i].buf);
    free(now.shadow);
    now.shadow = NULL;
}

/* A place of its own for every buffer, the last byte before a guard page; what outlives steps is
 * copied there. */
static void make_shadows(struct cvy_plan *plan, void **table)
{
    size_t n = cvyi_program_values(plan);
    free_shadows();
    now.plan = plan;
    now.shadow = calloc(n, sizeof *now.shadow);
    for (size_t i = 0; i < n; i++) {
        const struct cvy_value *v = cvy_plan_value(plan, (int)i);
        if (cvyi_program_root(plan, (int)i) != (int)i || !plan->buf[i] || !v->bytes) continue;
        struct shadow *s = &now.shadow[i];
        s->bytes = v->bytes;
        s->buf = check_alloc(round64(v->bytes), true, 0);
        if (cvyi_program_persistent(plan, (int)i)) memcpy(s->buf.p, plan->buf[i], v->bytes);
    }
    for (size_t i = 0; i < n; i++) {
        const struct shadow *s = &now.shadow[cvyi_program_root(plan, (int)i)];
        table[i] = s->bytes ? (char *)s->buf.p + cvyi_program_inside(plan, (int)i) : plan->buf[i];
    }
}

/* What outlives the step goes back; bytes between a buffer's end and the guard must be as they
 * were. */
static void return_shadows(struct cvy_plan *plan)
{
    for (size_t i = 0; i < cvyi_program_values(plan); i++) {
        const struct shadow *s = &now.shadow[i];
        if (!s->bytes) continue;
        const unsigned char *p = s->buf.p;
        for (size_t k = s->bytes; k < round64(s->bytes) && !cvyi_program_persistent(plan, (int)i);
             k++)
            if (p[k] != 0xff)
                complain("%s is written behind its end", cvy_plan_value(plan, (int)i)->name);
        if (cvyi_program_persistent(plan, (int)i)) memcpy(plan->buf[i], s->buf.p, s->bytes);
    }
}

/* ------------------------------------------------------------------------------------ executing */

static void run_task(struct cvy_plan *plan, const struct cvy_run *run, size_t p, size_t task)
{
    memset(plan->worker[0].scratch, 0xff, plan->scratch_bytes);
    plan->phase[p].desc.run(plan->phase[p].desc.arg, run, task, &plan->worker[0]);
}

/* Only what phase p declares can be touched while it runs. The refresh of packings may touch
 * anything. */
static void run_guarded(struct cvy_plan *plan, const struct cvy_run *run, size_t p)
{
    const struct cvyi_phase *phase = &plan->phase[p];
    now.phase = p;
    for (int pass = 0; pass < 2; pass++)
        for (int a = 0; a < phase->desc.n_access; a++) {
            const struct shadow *s =
                &now.shadow[cvyi_program_root(plan, phase->desc.access[a].value)];
            enum cvy_access access = phase->desc.access[a].access;
            bool write = access == CVY_WRITE_CELL || access == CVY_WRITE_ALL;
            if (write == (pass == 1)) protect(s, write ? PROT_READ | PROT_WRITE : PROT_READ);
        }
    for (size_t i = 0; phase->barrier && i < cvyi_program_values(plan); i++)
        protect(&now.shadow[i], PROT_READ | PROT_WRITE);
    for (size_t task = 0; task < phase->tasks; task++) run_task(plan, run, p, task);
    for (int a = 0; a < phase->desc.n_access; a++)
        protect(&now.shadow[cvyi_program_root(plan, phase->desc.access[a].value)], PROT_NONE);
    for (size_t i = 0; phase->barrier && i < cvyi_program_values(plan); i++)
        protect(&now.shadow[i], PROT_NONE);
}

static void caught(int signal, siginfo_t *info, void *context)
{
    (void)context;
    const char *at = info->si_addr;
    for (size_t i = 0; now.shadow && i < cvyi_program_values(now.plan); i++) {
        const struct shadow *s = &now.shadow[i];
        if (!s->bytes || at < (char *)s->buf.map || at >= (char *)s->buf.map + s->buf.map_bytes)
            continue;
        ptrdiff_t place = at - (char *)s->buf.p;
        fprintf(stderr,
                "phase %s touches byte %td of %s (%zu bytes) in a way that it does not declare\n",
                now.plan->phase[now.phase].desc.name, place, cvy_plan_value(now.plan, (int)i)->name,
                s->bytes);
        _exit(CAUGHT);
    }
    fprintf(stderr, "signal %d at %p, outside all buffers\n", signal, (void *)at);
    _exit(1);
}

/* How two phases conflict: not, through the cells of equal grids, or as wholes. As the contract in
 * backend.h says it, written once more. */
enum conflict { CONFLICT_NONE, CONFLICT_CELLS, CONFLICT_WHOLE };

static bool is_write(enum cvy_access a) { return a == CVY_WRITE_CELL || a == CVY_WRITE_ALL; }
static bool is_cell(enum cvy_access a) { return a == CVY_WRITE_CELL || a == CVY_READ_CELL; }

static enum conflict conflict(const struct cvy_plan *plan, const struct cvyi_phase *a,
                              const struct cvyi_phase *b)
{
    bool grid = a->desc.blocks && a->desc.blocks == b->desc.blocks &&
                a->desc.parts == b->desc.parts && !a->desc.alone && !b->desc.alone;
    enum conflict worst = CONFLICT_NONE;
    if (a->barrier || b->barrier) return CONFLICT_WHOLE;
    for (int i = 0; i < a->desc.n_access; i++)
        for (int j = 0; j < b->desc.n_access; j++) {
            int x = a->desc.access[i].value, y = b->desc.access[j].value;
            enum cvy_access how_a = a->desc.access[i].access, how_b = b->desc.access[j].access;
            if (cvyi_program_root(plan, x) != cvyi_program_root(plan, y) ||
                (!is_write(how_a) && !is_write(how_b)))
                continue;
            bool same = x == y || a->desc.parts == 1 ||
                        cvy_plan_value(plan, x)->shape.c == cvy_plan_value(plan, y)->shape.c;
            bool cells = grid && same && is_cell(how_a) && is_cell(how_b);
            if (!cells) return CONFLICT_WHOLE;
            worst = CONFLICT_CELLS;
        }
    return worst;
}

/* The tasks of a program, and which of them are done. */
struct tasks {
    struct cvy_plan *plan;
    enum conflict *conflict; /* [earlier][later] */
    bool **done;
    size_t *n_done; /* by phase */
};

static bool is_ready(const struct tasks *t, size_t p, size_t task)
{
    const struct cvyi_phase *phase = &t->plan->phase[p];
    if (t->done[p][task]) return false;
    if ((phase->desc.alone || phase->desc.gate) && t->n_done[p] != task)
        return false; /* its tasks in order */
    for (size_t q = 0; q < p; q++) {
        enum conflict c = t->conflict[q * t->plan->n_phases + p];
        if (c == CONFLICT_WHOLE && t->n_done[q] < t->plan->phase[q].tasks) return false;
        if (c == CONFLICT_CELLS && !t->done[q][task]) return false;
    }
    return true;
}

static bool is_late(size_t p, size_t task)
{
    return now.order == ORDER_LATE && p == now.late_phase && task == now.late_task;
}

/* The next task in the order that was asked for: from the last phase or from the first, the last
 * task that is ready. */
static void choose(const struct tasks *t, size_t *phase, size_t *task)
{
    size_t n = t->plan->n_phases;
    size_t start = now.order == ORDER_RANDOM ? check_below(&now.rng, n) : 0;
    for (size_t i = 0; i < n; i++) {
        size_t p = now.order == ORDER_DEEP ? n - 1 - i : (start + i) % n,
               tasks = t->plan->phase[p].tasks;
        if (t->n_done[p] == tasks) continue;
        size_t first = now.order == ORDER_RANDOM ? check_below(&now.rng, tasks) : 0;
        for (size_t k = 0; k < tasks; k++) {
            *phase = p;
            *task = tasks - 1 - (first + k) % tasks;
            if (!is_late(p, *task) && is_ready(t, p, *task)) return;
        }
    }
    *phase = now.late_phase;
    *task = now.late_task;
    if (now.order != ORDER_LATE || !is_ready(t, *phase, *task)) complain("no task is ready");
}

static void run_in_order(struct cvy_plan *plan, const struct cvy_run *run)
{
    size_t n = plan->n_phases, left = 0;
    struct tasks t = { plan, calloc(n * n, sizeof *t.conflict), calloc(n, sizeof *t.done),
                       calloc(n, sizeof *t.n_done) };
    for (size_t p = 0; p < n; p++) {
        left += plan->phase[p].tasks;
        t.done[p] = calloc(plan->phase[p].tasks, sizeof **t.done);
        for (size_t q = 0; q < p; q++)
            t.conflict[q * n + p] = conflict(plan, &plan->phase[q], &plan->phase[p]);
    }
    for (; left > 0; left--) {
        size_t p = 0, task = 0;
        choose(&t, &p, &task);
        run_task(plan, run, p, task);
        t.done[p][task] = true;
        t.n_done[p]++;
    }
    for (size_t p = 0; p < n; p++) free(t.done[p]);
    free(t.done);
    free(t.n_done);
    free(t.conflict);
}

enum cvy_status __real_cvyi_program_run(struct cvy_plan *plan, struct cvy_run *run);
enum cvy_status __wrap_cvyi_program_run(struct cvy_plan *plan, struct cvy_run *run);
enum cvy_status __wrap_cvyi_program_run(struct cvy_plan *plan, struct cvy_run *run)
{
    if (now.order == ORDER_OFF) return __real_cvyi_program_run(plan, run);
    void **table = calloc(cvyi_program_values(plan), sizeof *table);
    make_shadows(plan, table);
    run->buf = table;
    run->plan = plan;
    plan->failed = CVY_OK;
    if (now.order == ORDER_GUARDED) {
        for (size_t i = 0; i < cvyi_program_values(plan); i++) protect(&now.shadow[i], PROT_NONE);
        for (size_t p = 0; p < plan->n_phases; p++) run_guarded(plan, run, p);
        for (size_t i = 0; i < cvyi_program_values(plan); i++)
            protect(&now.shadow[i], PROT_READ | PROT_WRITE);
    } else if (now.order == ORDER_PROGRAM) {
        for (size_t p = 0; p < plan->n_phases; p++)
            for (size_t task = 0; task < plan->phase[p].tasks; task++) run_task(plan, run, p, task);
    } else {
        run_in_order(plan, run);
    }
    return_shadows(plan);
    run->buf = plan->buf;
    free(table);
    return plan->failed;
}

/* ------------------------------------------------------------------------------------- training */

static int make_data(void **state)
{
    (void)state;
    struct check_rng rng = { check_seed() };
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)check_below(&rng, 256);
    for (size_t i = 0; i < IMAGES; i++) labels[i] = (uint8_t)check_below(&rng, NET_CLASSES);
    now.rng = rng;
    return 0;
}

struct session {
    cvy_context *ctx;
    cvy_net *net;
    cvy_tensor logits;
    cvy_trainer *trainer;
    cvy_predictor *predictor;
};

static struct session begin(const cvy_context_options *options, build_net build)
{
    struct session s = { .logits = CVY_NO_TENSOR };
    cvy_trainer_options o = { .batch = IMAGES,
                              .seed = 3,
                              .init.seed = 5,
                              .sgd = { .lr = 0.05, .momentum = 0.9, .weight_decay = 1e-4 } };
    /* cmocka has its own before a test */
    struct sigaction action = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO };
    if (sigaction(SIGSEGV, &action, NULL) || sigaction(SIGBUS, &action, NULL))
        complain("sigaction: %s", strerror(errno));
    now.order = ORDER_OFF;
    if (cvy_context_create(options, &s.ctx)) complain("%s", cvy_message(s.ctx));
    s.logits = build(s.ctx, &s.net);
    if (cvy_trainer_create(s.net, s.logits, &o, &s.trainer)) complain("%s", cvy_message(s.ctx));
    if (cvy_predictor_create(s.net, s.logits, IMAGES, NULL, s.trainer, &s.predictor))
        complain("%s", cvy_message(s.ctx));
    return s;
}

static void end(struct session *s)
{
    free_shadows(); /* they are asked of the program */
    cvy_predictor_destroy(&s->predictor);
    cvy_trainer_destroy(&s->trainer);
    cvy_net_destroy(&s->net);
    cvy_context_destroy(&s->ctx);
}

/* Everything that a full step and one of a few images leave behind: losses, parameters, then what
 * is predicted. */
static float *run_all(struct session *s, enum order order, size_t *n)
{
    float *out = calloc(1, sizeof *out);
    *n = 0;
    now.order = order;
    for (size_t k = 0; k < 2; k++) {
        cvy_step_result r;
        cvy_batch batch = {
            .images = pixels, .labels8 = labels, .dtype = CVY_U8, .n = k ? 19 : IMAGES
        };
        if (cvy_trainer_step(s->trainer, &batch, &r)) complain("%s", cvy_message(s->ctx));
        out = realloc(out, (*n + 1) * sizeof *out);
        out[(*n)++] = (float)r.loss_sum;
    }
    for (int kind = CVY_PARAM_WEIGHT; kind < CVY_PARAM_KINDS; kind++)
        for (size_t i = 0; i < cvy_trainer_params(s->trainer, (enum cvy_param_kind)kind); i++) {
            cvy_param_info info;
            if (cvy_trainer_param(s->trainer, (enum cvy_param_kind)kind, i, &info))
                complain("%s", cvy_message(s->ctx));
            out = realloc(out, (*n + info.count) * sizeof *out);
            if (cvy_trainer_get(s->trainer, (enum cvy_param_kind)kind, info.name, out + *n,
                                info.count))
                complain("%s", cvy_message(s->ctx));
            *n += info.count;
        }
    now.order = s->predictor ? order : ORDER_OFF;
    if (!s->predictor) return out;
    out = realloc(out, (*n + IMAGES * NET_CLASSES) * sizeof *out);
    cvy_batch batch = { .images = pixels, .dtype = CVY_U8, .n = IMAGES };
    if (cvy_predictor_run(s->predictor, &batch, out + *n)) complain("%s", cvy_message(s->ctx));
    *n += IMAGES * NET_CLASSES;
    now.order = ORDER_OFF;
    return out;
}

static void same(const char *what, const float *want, const float *got, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!check_same(want[i], got[i]))
            complain("%s: number %zu is %.9g, expected %.9g", what, i, (double)got[i],
                     (double)want[i]);
}

/* Every order once, and `late` times a task that everything else overtakes. */
static void hold_to_word(const cvy_context_options *options, build_net build, size_t late)
{
    float *want = NULL;
    for (int order = ORDER_OFF; order < (int)ORDER_LATE + (int)late; order++) {
        struct session s = begin(options, build);
        enum order how = order < ORDER_LATE ? (enum order)order : ORDER_LATE;
        size_t n = 0;
        now.late_phase = check_below(&now.rng, s.trainer->program->n_phases);
        now.late_task = check_below(&now.rng, s.trainer->program->phase[now.late_phase].tasks);
        /* other phases than those */
        cvy_predictor_destroy(how == ORDER_LATE ? &s.predictor : &(cvy_predictor *){ NULL });
        float *got = run_all(&s, how, &n);
        if (want) same(order_names[how], want, got, n);
        if (want) free(got);
        else want = got;
        end(&s);
    }
    free(want);
}

/* Weights of 100 000 and more: gradients that tasks own. */
static cvy_tensor broad(cvy_context *ctx, cvy_net **made)
{
    cvy_net *net;
    if (cvy_net_create(ctx, &net)) die(ctx, "net");
    *made = net;
    cvy_tensor x = cvy_input(net, 3, 12, 12);
    x = cvy_relu(net, cvy_batch_norm(net, conv3(net, x, "a", 24, 1), "a.bn", NULL));
    x = cvy_pool2d(
        net, x, NULL,
        &(cvy_pool2d_desc){ .kernel = { 3, 3 }, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 } });
    x = cvy_sigmoid(net, cvy_linear(net, x, "b", &(cvy_linear_desc){ .out_features = 130 }));
    x = cvy_batch_norm(net, cvy_linear(net, x, "c", &(cvy_linear_desc){ .out_features = 800 }),
                       "c.bn", NULL);
    return cvy_linear(net, cvy_relu(net, x), "fc",
                      &(cvy_linear_desc){ .out_features = NET_CLASSES });
}

/* resnet20 last: many phases of few kinds, and left out where each declaration costs a process. */
static const build_net nets[] = { lenet_bn,         motley,          broad,      small_resnet20,
                                  every_group_norm, every_whitening, every_rank, decoder,
                                  centred,          separable };
enum { N_FORKED = 3, N_NETS = sizeof nets / sizeof *nets, LATE = 10 };

static void native_keeps_its_word(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NETS; i++)
        for (int unfused = 0; unfused < 2; unfused++)
            hold_to_word(
                &(cvy_context_options){ .threads = 2, .backends = "native", .no_fusion = unfused },
                nets[i], LATE);
}

static void mixtures_keep_their_word(void **state)
{
    (void)state;
    hold_to_word(&(cvy_context_options){ .threads = 2, .backends = "reference" }, small_resnet20,
                 1);
    cvy_context *ctx = NULL;
    bool onednn =
        cvy_context_create(&(cvy_context_options){ .backends = "onednn" }, &ctx) == CVY_OK;
    cvy_context_destroy(&ctx);
    if (!onednn) print_message("left out: the oneDNN module: not built (Debian: libdnnl-dev)\n");
    for (size_t i = 0; onednn && i < N_NETS; i++)
        hold_to_word(&(cvy_context_options){ .threads = 1, .backends = "onednn,native,reference" },
                     nets[i], 1);
}

/* ----------------------------------------------------------------------------- would it notice? */

/* How a child ends that trains a step in this order. */
static int end_of_child(struct session *s, enum order order, const float *want)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        now.child = true;
        if (!freopen("/dev/null", "w", stderr)) _exit(1);
        size_t n = 0;
        const float *got = run_all(s, order, &n);
        for (size_t i = 0; want && i < n; i++)
            if (!check_same(want[i], got[i])) _exit(CAUGHT);
        _exit(0);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    return WEXITSTATUS(how);
}

/* A declaration that is taken back is missed, each of them: none is more than a phase needs. */
static void missing_declarations_are_noticed(void **state)
{
    (void)state;
    /* a slow build's share */
    size_t seen_of = 0, tried = 0, noticed = 0, stride = getenv("CVYI_TEST_STEPS") ? 23 : 1;
    for (size_t k = 0; k < N_FORKED; k++) {
        struct session s =
            begin(&(cvy_context_options){ .threads = 1, .backends = "native" }, nets[k]);
        struct cvy_plan *plan = s.trainer->program;
        for (size_t p = 0; p < plan->n_phases; p++) {
            struct cvy_phase_desc *phase = &plan->phase[p].desc, whole = *phase;
            for (int a = 0; a < whole.n_access; a++) {
                if (cvy_plan_value(plan, whole.access[a].value)->role == CVY_ROLE_INPUT ||
                    seen_of++ % stride)
                    continue;
                phase->access[a] = phase->access[--phase->n_access];
                bool seen = end_of_child(&s, ORDER_GUARDED, NULL) == CAUGHT;
                if (!seen)
                    print_message("%s declares %s without need\n", phase->name,
                                  cvy_plan_value(plan, whole.access[a].value)->name);
                *phase = whole;
                tried++;
                noticed += seen;
            }
        }
        end(&s);
    }
    print_message("%zu of %zu declarations were missed\n", noticed, tried);
    assert_true(tried > 20);
    assert_int_equal(noticed, tried);
}

/* The earlier phase that writes what phase p reads as a whole, by the cells of p's own grid; p:
 * none. */
static size_t writer_by_cells(const struct cvy_plan *plan, size_t p, int value)
{
    const struct cvy_phase_desc *phase = &plan->phase[p].desc;
    for (size_t q = 0; q < p; q++) {
        const struct cvy_phase_desc *other = &plan->phase[q].desc;
        for (int b = 0; b < other->n_access; b++)
            if (other->access[b].value == value && other->access[b].access == CVY_WRITE_CELL &&
                other->blocks == phase->blocks && other->parts == phase->parts)
                return q;
    }
    return p;
}

/* Whether some order shows that phase p reads more than its cells of what phase q writes. */
static bool late_task_is_seen(struct session *s, size_t q, const float *want)
{
    bool seen = false;
    now.late_phase = q;
    for (now.late_task = 0; now.late_task < s->trainer->program->phase[q].tasks && !seen;
         now.late_task++)
        seen = end_of_child(s, ORDER_LATE, want) == CAUGHT;
    return seen;
}

/* Who says that he reads his own cell, but reads others' as well, is found by a task that comes
 * late. */
static void wrong_cells_are_noticed(void **state)
{
    (void)state;
    size_t tried = 0, noticed = 0;
    for (size_t k = 0; k < N_NETS; k++) {
        struct session s =
            begin(&(cvy_context_options){ .threads = 1, .backends = "native" }, nets[k]);
        struct cvy_plan *plan = s.trainer->program;
        for (size_t p = 0; p < plan->n_phases; p++)
            for (int a = 0; a < plan->phase[p].desc.n_access; a++) {
                struct cvy_phase_desc *phase = &plan->phase[p].desc;
                size_t n = 0, q = writer_by_cells(plan, p, phase->access[a].value);
                if (phase->access[a].access != CVY_READ_ALL || !phase->blocks || phase->parts < 2 ||
                    q == p)
                    continue;
                struct session whole =
                    begin(&(cvy_context_options){ .threads = 1, .backends = "native" }, nets[k]);
                float *want = run_all(&whole, ORDER_PROGRAM, &n);
                end(&whole);
                phase->access[a].access = CVY_READ_CELL;
                bool seen = late_task_is_seen(&s, q, want);
                phase->access[a].access = CVY_READ_ALL;
                if (!seen)
                    print_message("%s reads %s cell by cell\n", phase->name,
                                  cvy_plan_value(plan, phase->access[a].value)->name);
                free(want);
                tried++;
                noticed += seen;
            }
        end(&s);
    }
    print_message("%zu of %zu wrong cells were noticed\n", noticed, tried);
    assert_true(tried > 0);
    assert_int_equal(noticed, tried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(native_keeps_its_word),
        cmocka_unit_test(mixtures_keep_their_word),
        cmocka_unit_test(missing_declarations_are_noticed),
        cmocka_unit_test(wrong_cells_are_noticed),
    };
    return cmocka_run_group_tests(tests, make_data, NULL);
}
