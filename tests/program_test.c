/* The compiler and executor: memory placement, stages, whole random programs on a toy backend
 * against running their ops one after another, no allocation inside a step, and what happens when
 * any single allocation fails. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "backends/native/native.h"
#include "backends/reference/reference.h"
#include "base/context.h"
#include "convoy/convoy.h"
#include "net/net.h"
#include "program/program.h"

static uint64_t random_state = 1;
static size_t below(size_t n) /* xorshift64* */
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (size_t)((random_state * 2685821657736338717u) >> 33) % n;
}

/* ------------------------------------------------------------------------------ malloc, counted */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

static atomic_size_t mallocs; /* and frees */
#if !defined(SANITIZED) && defined(__GLIBC__)
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
void __libc_free(void *p);
void *memalign(size_t alignment, size_t n);
void *malloc(size_t n)
{
    mallocs++;
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size)
{
    mallocs++;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n)
{
    mallocs++;
    return __libc_realloc(p, n);
}
void *memalign(size_t alignment, size_t n)
{
    mallocs++;
    return __libc_memalign(alignment, n);
}
void *aligned_alloc(size_t alignment, size_t n) { return memalign(alignment, n); }
void free(void *p)
{
    if (p) mallocs++;
    __libc_free(p);
}
#endif

/* --------------------------------------------------------------------------------------- memory */

static void memory_never_overlaps(void **state)
{
    (void)state;
    enum { N = 60 };
    for (int round = 0; round < 500; round++) {
        struct cvyi_slot slot[N];
        size_t order[N], n = 1 + below(N), least = 0;
        for (size_t i = 0; i < n; i++) {
            size_t first = below(30);
            slot[i] = (struct cvyi_slot){ .bytes = 64 * below(6),
                                          .first = first,
                                          .last = first + below(10) };
        }
        size_t bytes = cvyi_memory_place(slot, n, order), end = 0;
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(slot[i].offset % 64, 0);
            if (slot[i].offset + slot[i].bytes > end) end = slot[i].offset + slot[i].bytes;
            for (size_t j = 0; j < i; j++) {
                bool together = slot[i].first <= slot[j].last && slot[j].first <= slot[i].last;
                bool apart = slot[i].offset + slot[i].bytes <= slot[j].offset ||
                             slot[j].offset + slot[j].bytes <= slot[i].offset || !slot[i].bytes ||
                             !slot[j].bytes;
                assert_true(apart || (!together && slot[i].offset == slot[j].offset &&
                                      slot[i].bytes == slot[j].bytes));
            }
        }
        assert_int_equal(bytes, end);
        /* of every size as many as live at once, and no more */
        for (size_t size = 64; size < 64 * 6; size += 64) {
            size_t most = 0;
            for (size_t t = 0; t < 40; t++) {
                size_t live = 0;
                for (size_t i = 0; i < n; i++)
                    live += slot[i].bytes == size && slot[i].first <= t && t <= slot[i].last;
                if (live > most) most = live;
            }
            least += most * size;
        }
        assert_int_equal(bytes, least);
    }
}

/* Of any sizes: nothing that is alive together overlaps, and little is lost. */
static void memory_packs(void **state)
{
    enum { N = 60, STAGES = 40 };
    double packed = 0, alive = 0, placed = 0;
    (void)state;
    for (int round = 0; round < 500; round++) {
        struct cvyi_slot slot[N];
        size_t order[2 * N], n = 1 + below(N), end = 0, most = 0;
        for (size_t i = 0; i < n; i++) {
            size_t first = below(30);
            slot[i] = (struct cvyi_slot){ .bytes = 64 * below(20),
                                          .first = first,
                                          .last = first + below(10) };
        }
        placed += (double)cvyi_memory_place(slot, n, order);
        size_t bytes = cvyi_memory_pack(slot, n, order);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(slot[i].offset % 64, 0);
            if (slot[i].offset + slot[i].bytes > end) end = slot[i].offset + slot[i].bytes;
            for (size_t j = 0; j < i; j++)
                assert_true(slot[i].offset + slot[i].bytes <= slot[j].offset ||
                            slot[j].offset + slot[j].bytes <= slot[i].offset ||
                            slot[i].last < slot[j].first || slot[j].last < slot[i].first ||
                            !slot[i].bytes || !slot[j].bytes);
        }
        assert_int_equal(bytes, end);
        for (size_t t = 0; t < STAGES; t++) {
            size_t live = 0;
            for (size_t i = 0; i < n; i++)
                live += slot[i].first <= t && t <= slot[i].last ? slot[i].bytes : 0;
            if (live > most) most = live;
        }
        assert_true(bytes >= most);
        packed += (double)bytes;
        alive += (double)most;
    }
    assert_true(packed < 1.15 * alive && packed < 0.6 * placed);
}

static void memory_overflow_is_told(void **state)
{
    (void)state;
    struct cvyi_slot slot[2] = { { SIZE_MAX / 64 * 64, 0, 1, 0 }, { 128, 1, 2, 0 } };
    size_t order[4];
    assert_int_equal(cvyi_memory_place(slot, 2, order), SIZE_MAX);
    assert_int_equal(cvyi_memory_pack(slot, 2, order), SIZE_MAX);
}

/* ----------------------------------------------------------------------------------- a toy backend
 * Ops compute y = mix(x0, x1, …) either element by element in cells of images x channels, or as
 * something global. */

enum { IMAGES = 40, CHANNELS = 6, PIXELS = 3, SIZE = IMAGES * CHANNELS * PIXELS, BLOCKS = 3 };

struct toy {
    struct cvy_op_desc op;
    int n_in, in[4], out;
    size_t parts;
    bool cells, far; /* in[0] from everywhere */
};

/* decides how the op of that name works, whoever runs it */
static size_t toy_hash(const char *name)
{
    size_t h = 5381;
    while (*name) h = h * 33 + (unsigned char)*name++;
    return h;
}

static float mix(float a, float b)
{
    return (a * 0.75f + b * 0.5f) - (float)(int)(a * 0.75f + b * 0.5f);
}

static void toy_element(const struct toy *t, float *const *buf, size_t e)
{
    float y = (float)(toy_hash(t->op.name) % 97) * 0.01f;
    for (int k = 0; k < t->n_in; k++)
        y = mix(y, buf[t->in[k]][t->cells && !(t->far && k == 0) ? e : (e * 7 + 13) % SIZE]);
    buf[t->out][e] = y;
}

static void toy_run(const void *arg, const struct cvy_run *run, size_t task,
                    struct cvy_worker *worker)
{
    const struct toy *t = arg;
    float *const *buf = (float *const *)(void *)run->buf;
    memset(worker->scratch, (int)task, 100);
    if (!t->cells) {
        for (size_t e = SIZE * task / t->parts; e < SIZE * (task + 1) / t->parts; e++)
            toy_element(t, buf, e);
        return;
    }
    size_t block = task / t->parts, part = task % t->parts;
    for (size_t n = block * 16; n < block * 16 + 16 && n < IMAGES; n++)
        for (size_t c = CHANNELS * part / t->parts; c < CHANNELS * (part + 1) / t->parts; c++)
            for (size_t p = 0; p < PIXELS; p++)
                toy_element(t, buf, (n * CHANNELS + c) * PIXELS + p);
}

static struct toy toy_of(const struct cvy_op_desc *op)
{
    size_t h = toy_hash(op->name);
    struct toy t = { .op = *op,
                     .n_in = op->n_in,
                     .cells = h % 3 != 0,
                     .parts = 1 + h / 3 % 3,
                     .far = h / 9 % 4 == 0 };
    for (int k = 0; k < op->n_in; k++) t.in[k] = op->in[k];
    t.out = op->kind == CVY_OP_UPDATE ? op->in[0] : op->out[0]; /* in place */
    if (op->kind == CVY_OP_UPDATE) {
        t.cells = true;
        t.far = false;
    }
    return t;
}

static enum cvy_status toy_open(struct cvy_plan *plan, void **state)
{
    (void)plan;
    *state = NULL;
    return CVY_OK;
}
static void toy_close(void *state) { (void)state; }
static int toy_take(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    (void)state, (void)plan;
    if (strstr(ops[0].name, "odd")) return 0;
    return 1 + (int)(toy_hash(ops[0].name) / 16 % (size_t)n);
}
static enum cvy_status toy_plan(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops,
                                int n, size_t first)
{
    (void)state, (void)first;
    for (int i = 0; i < n; i++) {
        struct toy *t = cvy_plan_alloc(plan, sizeof *t);
        if (!t) return CVY_E_NOMEM;
        *t = toy_of(&ops[i]);
        struct cvy_phase_desc phase = { .name = ops[i].name,
                                        .run = toy_run,
                                        .arg = t,
                                        .blocks = t->cells ? BLOCKS : 0,
                                        .parts = t->parts,
                                        .scratch_bytes = 100,
                                        .alone = !t->cells && toy_hash(ops[i].name) % 5 == 0 };
        for (int k = 0; k < t->n_in; k++) {
            phase.access[phase.n_access].value = t->in[k];
            phase.access[phase.n_access++].access =
                t->cells && !(t->far && k == 0) ? CVY_READ_CELL : CVY_READ_ALL;
        }
        phase.access[phase.n_access].value = t->out;
        phase.access[phase.n_access++].access = t->cells ? CVY_WRITE_CELL : CVY_WRITE_ALL;
        enum cvy_status status = cvy_plan_phase(plan, &phase);
        if (status) return status;
    }
    return CVY_OK;
}
static const struct cvy_backend toy_backend = { CVY_BACKEND_ABI,  "toy",    CVY_LAYOUT_PLAIN,
                                                CVY_LAYOUT_PLAIN, toy_open, toy_close,
                                                toy_take,         toy_plan, false };

/* A random program: activations from earlier ones, weights that are updated in place between
 * reads. */
static void random_list(struct cvyi_list *list, size_t n_ops, int keep[4])
{
    const cvy_shape shape = { IMAGES, CHANNELS, PIXELS, 1 };
    int value[128], weight[3], n = 0;
    for (int w = 0; w < 3; w++) weight[w] = cvyi_list_value(list, CVY_ROLE_WEIGHT, shape, "w%d", w);
    for (size_t i = 0; i < n_ops; i++) {
        bool update = n && below(5) == 0;
        struct cvy_op_desc *op =
            cvyi_list_op(list, update ? CVY_OP_UPDATE : CVY_OP_CONCAT, "op%zu", below(100000));
        if (update) {
            op->in[CVY_UPDATE_W] = weight[below(3)];
            op->in[CVY_UPDATE_DW] = value[below((size_t)n)];
            continue;
        }
        for (size_t k = below(4); n && k > 0; k--)
            cvyi_op_append(op, value[(size_t)n - 1 - below(n < 8 ? (size_t)n : 8)]);
        if (below(4) == 0 || !op->n_in) cvyi_op_append(op, weight[below(3)]);
        value[n] = cvyi_list_value(list, CVY_ROLE_ACTIVATION, shape, "v%d", n);
        op->out[CVY_CONCAT_Y] = value[n++];
    }
    for (int k = 0; k < 4; k++) keep[k] = n ? value[below((size_t)n)] : weight[0];
}

/* Every task has one turn; gates come first. */
static void check_turns(const struct cvy_plan *plan, size_t s)
{
    const struct cvyi_stage *stage = &plan->stage[s];
    size_t n = plan->work[s].gates + plan->work[s].tasks, threads = plan->ctx->options.threads;
    for (size_t i = 0; i < n; i++) {
        struct cvyi_turn turn = plan->turn[stage->first_turn + i];
        assert_true(turn.strand >= stage->first && turn.strand < stage->first + stage->n);
        assert_true(turn.task < plan->strand[turn.strand].tasks);
        bool gate = plan->phase[plan->order[plan->strand[turn.strand].first]].desc.gate;
        assert_int_equal(gate, i < plan->work[s].gates);
        for (size_t j = 0; j < i; j++) {
            struct cvyi_turn other = plan->turn[stage->first_turn + j];
            assert_false(other.strand == turn.strand && other.task == turn.task);
        }
    }
    if (!stage->alone) assert_int_equal(plan->work[s].begin[0], 0);
    if (!stage->alone) assert_int_equal(plan->work[s].begin[threads], plan->work[s].tasks);
}

/* Every pair of phases that conflicts is ordered: by stages, or inside one strand of one grid. */
static void check_order(const struct cvy_plan *plan, bool no_fusion)
{
    size_t seen = 0;
    for (size_t s = 0; s < plan->n_stages; s++) {
        size_t tasks = 0;
        for (size_t k = plan->stage[s].first; k < plan->stage[s].first + plan->stage[s].n; k++) {
            tasks += plan->strand[k].tasks;
            if (no_fusion) assert_int_equal(plan->strand[k].n, 1);
            for (size_t i = 0; i < plan->strand[k].n; i++, seen++) {
                const struct cvyi_phase *p = &plan->phase[plan->order[plan->strand[k].first + i]];
                assert_int_equal(p->stage, s);
                assert_int_equal(p->tasks, plan->strand[k].tasks);
                if (p->desc.alone) assert_true(plan->stage[s].alone);
                if (p->desc.gate)
                    assert_true(tasks <= plan->work[s].gates && plan->strand[k].n == 1);
                if (i)
                    assert_true(plan->order[plan->strand[k].first + i] >
                                plan->order[plan->strand[k].first + i - 1]);
            }
        }
        assert_int_equal(plan->work[s].gates + plan->work[s].tasks, tasks);
        check_turns(plan, s);
    }
    assert_int_equal(seen, plan->n_phases);
    for (size_t q = 0; q < plan->n_phases; q++)
        for (size_t p = q + 1; p < plan->n_phases; p++)
            for (int a = 0; a < plan->phase[q].desc.n_access; a++)
                for (int b = 0; b < plan->phase[p].desc.n_access; b++) {
                    const struct cvyi_phase *Q = &plan->phase[q], *P = &plan->phase[p];
                    enum cvy_access x = Q->desc.access[a].access, y = P->desc.access[b].access;
                    bool write = x == CVY_WRITE_ALL || y == CVY_WRITE_ALL || x == CVY_WRITE_CELL ||
                                 y == CVY_WRITE_CELL;
                    bool cell = (x == CVY_READ_CELL || x == CVY_WRITE_CELL) &&
                                (y == CVY_READ_CELL || y == CVY_WRITE_CELL);
                    if (!write || Q->desc.access[a].value != P->desc.access[b].value ||
                        Q->stage < P->stage)
                        continue;
                    if (Q->stage == P->stage && Q->desc.gate && !P->desc.gate) continue;
                    /* one thread, in order */
                    if (Q->stage == P->stage && Q->desc.gate && P->desc.gate) continue;
                    assert_true(cell && Q->stage == P->stage && Q->strand == P->strand);
                    assert_true(Q->desc.blocks == P->desc.blocks && Q->desc.parts == P->desc.parts);
                }
}

static void random_programs(void **state)
{
    (void)state;
    static float own[256][SIZE];
    const struct cvy_backend *backends[] = { &toy_backend };
    for (int round = 0; round < 120; round++) {
        bool no_fusion = round % 4 == 3;
        cvy_context *ctx;
        assert_int_equal(
            cvy_context_create(
                &(cvy_context_options){ .threads = 1 + (size_t)round % 3, .no_fusion = no_fusion },
                &ctx),
            CVY_OK);
        struct cvyi_list list, copy;
        uint64_t seed = random_state;
        int keep[4];
        size_t n_ops = 1 + below(60);
        cvyi_list_init(&list, ctx);
        random_list(&list, n_ops, keep);
        random_state = seed;
        cvyi_list_init(&copy, ctx);
        random_list(&copy, 1 + below(60), keep);

        struct cvy_plan *plan;
        struct cvyi_program_options options = { .capacity = IMAGES,
                                                .training = true,
                                                .packed = round % 2,
                                                .keep = keep,
                                                .n_keep = 4,
                                                .backends = backends,
                                                .n_backends = 1 };
        enum cvy_status status = cvyi_program_compile(ctx, &list, &options, &plan);
        if (status) fail_msg("%s", cvy_message(ctx));
        check_order(plan, no_fusion);

        float *buf[256];
        for (size_t i = 0; i < copy.n_values; i++) buf[i] = memset(own[i], 0, sizeof own[i]);
        for (size_t step = 0; step < 3; step++) {
            struct cvy_run run = { .n = IMAGES, .step = step };
            assert_int_equal(cvyi_program_run(plan, &run), CVY_OK);
            for (size_t i = 0; i < copy.n_ops; i++) {
                struct toy t = toy_of(&copy.op[i]);
                for (size_t e = 0; e < SIZE; e++) toy_element(&t, buf, e);
            }
        }
        for (int w = 0; w < 3; w++) assert_memory_equal(plan->buf[w], own[w], sizeof own[w]);
        for (int k = 0; k < 4; k++)
            assert_memory_equal(plan->buf[keep[k]], own[keep[k]], sizeof own[0]);
        cvyi_list_free(&copy);
        cvyi_program_destroy(&plan);
        assert_null(plan);
        cvy_context_destroy(&ctx);
    }
}

/* A part of v's channels is not the same part of flattened v's. */
static void aliases_meet_at_barriers(void **state)
{
    (void)state;
    const struct cvy_backend *backends[] = { &toy_backend };
    char name[32];
    cvy_context *ctx;
    assert_int_equal(cvy_context_create(NULL, &ctx), CVY_OK);
    for (size_t parts = 1; parts <= 3; parts++) {
        struct cvy_op_desc probe = { .name = name, .n_out = 1 };
        struct toy t;
        do {
            snprintf(name, sizeof name, "op%zu", below(100000));
            t = toy_of(&probe);
        } while (!t.cells || t.far || t.parts != parts);
        struct cvyi_list list;
        struct cvy_plan *plan;
        cvyi_list_init(&list, ctx);
        int w = cvyi_list_value(&list, CVY_ROLE_WEIGHT, (cvy_shape){ IMAGES, CHANNELS, PIXELS, 1 },
                                "w");
        int v = cvyi_list_value(&list, CVY_ROLE_ACTIVATION,
                                (cvy_shape){ IMAGES, CHANNELS, PIXELS, 1 }, "v");
        int flat = cvyi_list_value(&list, CVY_ROLE_ACTIVATION,
                                   (cvy_shape){ IMAGES, CHANNELS * PIXELS, 1, 1 }, "flat");
        int y = cvyi_list_value(&list, CVY_ROLE_ACTIVATION,
                                (cvy_shape){ IMAGES, CHANNELS * PIXELS, 1, 1 }, "y");
        list.value[flat].alias = v;
        struct cvy_op_desc *op = cvyi_list_op(&list, CVY_OP_ACT, "%s", name);
        op->in[CVY_ACT_X] = w;
        op->out[CVY_ACT_Y] = v;
        op = cvyi_list_op(&list, CVY_OP_ACT, "%s", name);
        op->in[CVY_ACT_X] = flat;
        op->out[CVY_ACT_Y] = y;
        struct cvyi_program_options options = {
            .capacity = IMAGES, .keep = &y, .n_keep = 1, .backends = backends, .n_backends = 1
        };
        assert_int_equal(cvyi_program_compile(ctx, &list, &options, &plan), CVY_OK);
        assert_int_equal(plan->n_stages, parts == 1 ? 1 : 2);
        cvyi_program_destroy(&plan);
    }
    cvy_context_destroy(&ctx);
}

/* Statistics are of the shape and type that whoever made them says, not two doubles a channel. */
static void statistics_have_their_own_shape(void **state)
{
    (void)state;
    struct cvy_context *ctx;
    const struct cvy_backend *backends[] = { &toy_backend };
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = 1 }, &ctx), CVY_OK);
    struct cvyi_list list;
    struct cvy_plan *plan;
    cvyi_list_init(&list, ctx);
    const cvy_shape odd = { 3, 5, 2, 1 };
    int x = cvyi_list_value(&list, CVY_ROLE_WEIGHT, odd, "x"),
        wide = cvyi_list_double(&list, cvyi_list_value(&list, CVY_ROLE_STATS, odd, "wide")),
        narrow = cvyi_list_value(&list, CVY_ROLE_STATS, odd, "narrow");
    struct cvy_op_desc *op = cvyi_list_op(&list, CVY_OP_ACT, "wide");
    op->in[CVY_ACT_X] = x;
    op->out[CVY_ACT_Y] = wide;
    op = cvyi_list_op(&list, CVY_OP_ACT, "narrow");
    op->in[CVY_ACT_X] = wide;
    op->out[CVY_ACT_Y] = narrow;
    struct cvyi_program_options options = {
        .capacity = IMAGES, .keep = &narrow, .n_keep = 1, .backends = backends, .n_backends = 1
    };
    assert_int_equal(cvyi_program_compile(ctx, &list, &options, &plan), CVY_OK);
    assert_int_equal(cvy_plan_value(plan, wide)->bytes, 3 * 5 * 2 * sizeof(double));
    assert_int_equal(cvy_plan_value(plan, narrow)->bytes, 3 * 5 * 2 * sizeof(float));
    cvyi_program_destroy(&plan);
    cvy_context_destroy(&ctx);
}

static void one_op(struct cvyi_list *list, struct cvy_context *ctx, const char *name)
{
    cvyi_list_init(list, ctx);
    int x =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, (cvy_shape){ IMAGES, CHANNELS, PIXELS, 1 }, "x");
    int y =
        cvyi_list_value(list, CVY_ROLE_ACTIVATION, (cvy_shape){ IMAGES, CHANNELS, PIXELS, 1 }, "y");
    struct cvy_op_desc *op = cvyi_list_op(list, CVY_OP_ACT, "%s", name);
    op->in[CVY_ACT_X] = x;
    op->out[CVY_ACT_Y] = y;
}

static void refusals(void **state)
{
    (void)state;
    const struct cvy_backend *backends[] = { &toy_backend };
    struct cvy_backend old = toy_backend;
    old.abi = 99;
    const struct cvy_backend *olds[] = { &old };
    cvy_context *ctx;
    assert_int_equal(
        cvy_context_create(&(cvy_context_options){ .backends = "reference,gpu" }, &ctx), CVY_E_ARG);
    assert_non_null(strstr(cvy_message(ctx), "unknown backend \"gpu\""));
    assert_non_null(strstr(cvy_message(ctx), "native, reference"));
    cvy_context_destroy(&ctx);
    assert_int_equal(cvy_context_create(NULL, &ctx), CVY_OK);
    struct cvyi_list list;
    struct cvy_plan *plan;
    struct cvyi_program_options options = { .capacity = IMAGES,
                                            .backends = backends,
                                            .n_backends = 1 };
    one_op(&list, ctx, "odd one");
    assert_int_equal(cvyi_program_compile(ctx, &list, &options, &plan), CVY_E_UNSUPPORTED);
    assert_non_null(strstr(cvy_message(ctx), "odd one"));
    assert_null(plan);
    one_op(&list, ctx, "reads what nobody wrote");
    assert_int_equal(cvyi_program_compile(ctx, &list, &options, &plan), CVY_E_BACKEND);
    assert_non_null(strstr(cvy_message(ctx), "reads x, which nothing has written"));
    options.backends = olds;
    one_op(&list, ctx, "any");
    assert_int_equal(cvyi_program_compile(ctx, &list, &options, &plan), CVY_E_BACKEND);
    cvy_context_destroy(&ctx);
}

/* --------------------------------------------------------------------------------------- clocks
 * Two phases after each other, each told its own time: both threads work 5 ms in the first at the
 * same time, and the second does nothing. */

static atomic_int arrived;

static double clock_of(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void slow_run(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    (void)run, (void)task, (void)worker;
    if (arg) return;
    double start = clock_of();
    for (arrived++; arrived < 2 && clock_of() - start < 10;) continue; /* the other thread's task */
    for (start = clock_of(); clock_of() - start < 0.005;) continue;
}

static enum cvy_status slow_plan(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops,
                                 int n, size_t first)
{
    (void)state, (void)first;
    for (int i = 0; i < n; i++) {
        struct cvy_phase_desc phase = { .name = ops[i].name,
                                        .run = slow_run,
                                        .arg = strcmp(ops[i].name, "slow") ? (void *)1 : NULL,
                                        .parts = 2,
                                        .access = { { ops[i].in[0], CVY_READ_ALL },
                                                    { ops[i].out[0], CVY_WRITE_ALL } },
                                        .n_access = 2 };
        enum cvy_status status = cvy_plan_phase(plan, &phase);
        if (status) return status;
    }
    return CVY_OK;
}

static void every_phase_has_its_clock(void **state)
{
    (void)state;
    struct cvy_backend slow = toy_backend;
    slow.plan = slow_plan;
    const struct cvy_backend *backends[] = { &slow };
    struct cvyi_program_options options = { .capacity = IMAGES,
                                            .backends = backends,
                                            .n_backends = 1 };
    const cvy_shape shape = { IMAGES, CHANNELS, PIXELS, 1 };
    cvy_context *ctx;
    struct cvyi_list list;
    struct cvy_plan *plan;
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = 2 }, &ctx), CVY_OK);
    cvyi_list_init(&list, ctx);
    const char *name[] = { "slow", "quick" };
    int value = cvyi_list_value(&list, CVY_ROLE_WEIGHT, shape, "x");
    for (int i = 0; i < 2; i++) {
        struct cvy_op_desc *op = cvyi_list_op(&list, CVY_OP_ACT, "%s", name[i]);
        op->in[CVY_ACT_X] = value;
        value = cvyi_list_value(&list, CVY_ROLE_ACTIVATION, shape, "y%d", i);
        op->out[CVY_ACT_Y] = value;
    }
    assert_int_equal(cvyi_program_compile(ctx, &list, &options, &plan), CVY_OK);
    assert_int_equal(plan->n_phases, 2);
    assert_int_equal(cvyi_program_profile(plan, true), CVY_OK);
    arrived = 0;
    assert_int_equal(cvyi_program_run(plan, &(struct cvy_run){ .n = IMAGES }), CVY_OK);
    for (size_t p = 0; p < 2; p++) {
        cvy_phase_info info;
        assert_int_equal(cvyi_program_phase(plan, p, &info), CVY_OK);
        bool is_slow = !strcmp(info.name, "slow");
        if (is_slow ? info.seconds < 0.01 : info.seconds >= 0.005)
            fail_msg("%s took %g s", info.name, info.seconds);
    }
    cvyi_program_destroy(&plan);
    cvy_context_destroy(&ctx);
}

/* ----------------------------------------------------------------------------------- whole nets */

static cvy_tensor small_net(cvy_net *net)
{
    cvy_tensor x = cvy_input(net, 1, 8, 8), a, b;
    x = cvy_conv2d(
        net, x, "conv1",
        &(cvy_conv2d_desc){ .out_channels = 4, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 } });
    a = cvy_relu(net, cvy_batch_norm(net, x, "bn1", NULL));
    b = cvy_conv2d(
        net, a, "conv2",
        &(cvy_conv2d_desc){ .out_channels = 4, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 } });
    x = cvy_add(net, a, cvy_dropout(net, b, NULL, &(cvy_dropout_desc){ .p = 0.25 }), NULL);
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 } });
    return cvy_linear(net, cvy_flatten(net, x), "fc", &(cvy_linear_desc){ .out_features = 10 });
}

static uint8_t pixels[64 * 64], labels[64];
static void make_data(void)
{
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)below(256);
    for (size_t i = 0; i < sizeof labels; i++) labels[i] = (uint8_t)below(10);
}
static const cvy_batch batch20 = { .images = pixels, .labels8 = labels, .dtype = CVY_U8, .n = 20 };

/* native, but it declines some kinds of ops: the reference takes those, and reorders go between. */
static unsigned long declined_kinds;
static int choosy_take(void *state, struct cvy_plan *plan, const struct cvy_op_desc *ops, int n)
{
    int m = 0;
    while (m < n && !(declined_kinds >> ops[m].kind & 1)) m++;
    return m ? cvyi_native_backend.take(state, plan, ops, m) : 0;
}

static size_t parameter_count(const struct cvy_value *v)
{
    bool is = v->role == CVY_ROLE_WEIGHT || v->role == CVY_ROLE_RUNNING;
    return is ? v->shape.n * v->shape.c * v->shape.h * v->shape.w : 0;
}

static void put(const struct cvy_plan *plan, size_t id, size_t e, double x)
{
    if (plan->list.value[id].layout == CVY_LAYOUT_PLAIN64) ((double *)plan->buf[id])[e] = x;
    else ((float *)plan->buf[id])[e] = (float)x;
}
static double get(const struct cvy_plan *plan, size_t id, size_t e)
{
    bool wide = plan->list.value[id].layout == CVY_LAYOUT_PLAIN64;
    return wide ? ((const double *)plan->buf[id])[e] : (double)((const float *)plan->buf[id])[e];
}

/* Three steps of small_net with these kinds declined; parameters into w, their number is the
 * answer. */
static size_t train_mixed(unsigned long declined, double *w)
{
    struct cvy_backend choosy = cvyi_native_backend;
    const struct cvy_backend *backends[] = { &choosy, &cvyi_reference_backend };
    choosy.take = choosy_take;
    declined_kinds = declined;
    cvy_context *ctx;
    cvy_net *net;
    struct cvyi_list list;
    struct cvyi_linear_result result;
    struct cvy_plan *plan;
    const struct cvyi_linear_options linear = { .training = true,
                                                .batch = 20,
                                                .optimizer = { .lr = 0.1, .momentum = 0.9 },
                                                .loss.temperature = 1 };
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = 2 }, &ctx), CVY_OK);
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvyi_list_init(&list, ctx);
    assert_int_equal(cvyi_net_linearise(net, small_net(net), &linear, &list, &result), CVY_OK);
    struct cvyi_program_options options = { .capacity = 20,
                                            .training = true,
                                            .keep = &result.loss,
                                            .n_keep = 1,
                                            .backends = backends,
                                            .n_backends = 2 };
    if (cvyi_program_compile(ctx, &list, &options, &plan)) fail_msg("%s", cvy_message(ctx));
    size_t n = 0;
    for (size_t i = 0; i < plan->list.n_values; i++)
        for (size_t e = 0; e < parameter_count(&plan->list.value[i]); e++, n++)
            put(plan, i, e,
                plan->list.value[i].role == CVY_ROLE_RUNNING
                    ? 1
                    : (double)(n * 37 % 101) / 128 - 0.375);
    assert_int_equal(cvyi_program_refresh(plan, -1), CVY_OK);
    const float scale = 1 / 255.0f;
    static const float shift[sizeof pixels];
    for (uint64_t step = 0; step < 3; step++) {
        double coef[CVYI_GROUPS][CVY_COEFS];
        cvyi_optimizer_coefficients(&linear.optimizer, step, cvyi_groups, CVYI_GROUPS, coef);
        struct cvy_run run = { .n = 20,
                               .images = pixels,
                               .dtype = CVY_U8,
                               .labels8 = labels,
                               .loss_weight = 20,
                               .in_scale = &scale,
                               .in_shift = shift,
                               .coef = (const double(*)[CVY_COEFS])coef,
                               .step = step };
        assert_int_equal(cvyi_program_run(plan, &run), CVY_OK);
    }
    n = 0;
    for (size_t i = 0; i < plan->list.n_values; i++)
        for (size_t e = 0; e < parameter_count(&plan->list.value[i]); e++) w[n++] = get(plan, i, e);
    cvyi_program_destroy(&plan);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    return n;
}

static void any_mix_of_backends(void **state)
{
    (void)state;
    static double want[4096], got[4096];
    make_data();
    size_t n = train_mixed(0, want);
    for (int k = -1; k < CVY_OP_KINDS + 10; k++) {
        unsigned long declined = ~0ul; /* all kinds, each alone, then any of them */
        if (k >= CVY_OP_KINDS) declined = below((size_t)1 << CVY_OP_KINDS);
        else if (k >= 0) declined = 1ul << k;
        assert_int_equal(train_mixed(declined, got), n);
        for (size_t i = 0; i < n; i++)
            if (!(fabs(got[i] - want[i]) <= 1e-5))
                fail_msg("kinds %lx declined: parameter %zu is %.9g, native alone %.9g", declined,
                         i, got[i], want[i]);
    }
}

static void step_allocates_nothing(void **state)
{
    (void)state;
    make_data();
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *trainer;
    cvy_predictor *predictor;
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = 2 }, &ctx), CVY_OK);
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor y = small_net(net);
    cvy_trainer_options options = { .batch = 20, .sgd = { .lr = 0.1, .momentum = 0.9 } };
    assert_int_equal(cvy_trainer_create(net, y, &options, &trainer), CVY_OK);
    assert_int_equal(cvy_predictor_create(net, y, 20, NULL, trainer, &predictor), CVY_OK);
    float out[200];
    size_t before = 0;
    for (int step = 0; step < 12; step++) {
        /* the OpenMP runtime makes its threads in the first region */
        if (step == 2) before = mallocs;
        assert_int_equal(cvy_trainer_step(trainer, &batch20, NULL), CVY_OK);
        assert_int_equal(cvy_predictor_run(predictor, &batch20, out), CVY_OK);
    }
    assert_int_equal(mallocs, before);
    cvy_predictor_destroy(&predictor);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

/* An allocator whose k-th call fails. */
struct faulty {
    size_t calls, fail_at;
    long live;
};
static void *faulty_alloc(void *user, size_t bytes, size_t alignment)
{
    struct faulty *f = user;
    if (++f->calls == f->fail_at) return NULL;
    f->live++;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}
static void faulty_free(void *user, void *p)
{
    ((struct faulty *)user)->live -= p != NULL;
    free(p);
}

static enum cvy_status whole_life(struct faulty *f)
{
    cvy_context *ctx = NULL;
    cvy_net *net = NULL;
    cvy_trainer *trainer = NULL;
    cvy_predictor *predictor = NULL;
    cvy_op *op = NULL;
    float out[200];
    cvy_context_options options = { .threads = 2, .allocator = { faulty_alloc, faulty_free, f } };
    enum cvy_status status = cvy_context_create(&options, &ctx);
    if (!status && !(status = cvy_net_create(ctx, &net))) {
        cvy_tensor y = small_net(net);
        status = cvy_trainer_create(net, y, &(cvy_trainer_options){ .batch = 20, .sgd.lr = 0.1 },
                                    &trainer);
        assert_true(!status == !!trainer);
        if (!status) status = cvy_trainer_step(trainer, &batch20, NULL);
        if (!status) {
            status = cvy_predictor_create(net, y, 20, NULL, trainer, &predictor);
            assert_true(!status == !!predictor);
        }
        if (!status) status = cvy_predictor_run(predictor, &batch20, out);
        if (!status) {
            status = cvy_op_pool2d(ctx, &(cvy_pool2d_desc){ .kernel = { 2, 2 } },
                                   (cvy_shape){ 2, 3, 4, 4 }, CVY_FORWARD, &op);
            assert_true(!status == !!op);
        }
        if (status) assert_true(strstr(cvy_message(ctx), "memory"));
    }
    cvy_op_destroy(&op);
    cvy_predictor_destroy(&predictor);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    return status;
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    make_data();
    struct faulty f = { 0, 0, 0 };
    assert_int_equal(whole_life(&f), CVY_OK);
    assert_int_equal(f.live, 0);
    size_t total = f.calls;
    for (size_t k = 1; k <= total; k++) {
        f = (struct faulty){ 0, k, 0 };
        assert_int_equal(whole_life(&f), CVY_E_NOMEM);
        assert_int_equal(f.live, 0);
    }
}

static void steps_refuse_bad_batches(void **state)
{
    (void)state;
    make_data();
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *trainer;
    assert_int_equal(cvy_context_create(NULL, &ctx), CVY_OK);
    assert_int_equal(cvy_net_create(ctx, &net), CVY_OK);
    cvy_tensor y = small_net(net);
    y = cvy_linear(net, cvy_batch_norm(net, y, "bn2", NULL), "fc2",
                   &(cvy_linear_desc){ .out_features = 10 });
    assert_int_equal(
        cvy_trainer_create(net, y, &(cvy_trainer_options){ .batch = 20, .sgd.lr = 0.1 }, &trainer),
        CVY_OK);
    float before[40], after[40];
    assert_int_equal(cvy_trainer_get(trainer, CVY_PARAM_WEIGHT, "conv1.weight", before, 36),
                     CVY_OK);

    cvy_batch b = batch20;
    b.n = 21;
    assert_int_equal(cvy_trainer_step(trainer, &b, NULL), CVY_E_ARG);
    b.n = 0;
    assert_int_equal(cvy_trainer_step(trainer, &b, NULL), CVY_E_ARG);
    b.n = 1;
    assert_int_equal(cvy_trainer_step(trainer, &b, NULL), CVY_E_SHAPE);
    assert_non_null(strstr(cvy_message(ctx), "bn2:"));
    b = batch20;
    labels[17] = 10;
    assert_int_equal(cvy_trainer_step(trainer, &b, NULL), CVY_E_ARG);
    assert_non_null(strstr(cvy_message(ctx), "position 17"));
    labels[17] = 3;
    b.labels8 = NULL;
    assert_int_equal(cvy_trainer_step(trainer, &b, NULL), CVY_E_ARG);
    b = batch20;
    b.images = NULL;
    assert_int_equal(cvy_trainer_step(trainer, &b, NULL), CVY_E_ARG);
    assert_int_equal(cvy_trainer_get(trainer, CVY_PARAM_WEIGHT, "conv1.weight", after, 36), CVY_OK);
    assert_memory_equal(before, after, 36 * sizeof(float));
    assert_int_equal(cvy_trainer_steps(trainer), 0);
    assert_int_equal(cvy_trainer_get(trainer, CVY_PARAM_WEIGHT, "conv1.weight", after, 35),
                     CVY_E_SHAPE);
    assert_int_equal(cvy_trainer_get(trainer, CVY_PARAM_WEIGHT, "conv9.weight", after, 36),
                     CVY_E_ARG);

    after[0] = (float)NAN;
    assert_int_equal(cvy_trainer_set(trainer, CVY_PARAM_WEIGHT, "fc2.bias", after, 10), CVY_OK);
    assert_int_equal(cvy_trainer_step(trainer, &batch20, NULL), CVY_E_NUMERIC);
    assert_string_equal(cvy_message(ctx), "loss is nan after step 1");
    cvy_trainer_destroy(&trainer);

    cvy_plan_info plan;
    assert_int_equal(cvy_trainer_create(
                         net, y, &(cvy_trainer_options){ .batch = 20, .dry_run = true }, &trainer),
                     CVY_OK);
    cvy_trainer_plan(trainer, &plan);
    assert_true(plan.arena_bytes > 0 && plan.parameter_bytes > 0 && plan.stages > 0 &&
                plan.stages <= plan.phases);
    assert_int_equal(cvy_trainer_step(trainer, &batch20, NULL), CVY_E_STATE);
    assert_int_equal(cvy_trainer_get(trainer, CVY_PARAM_WEIGHT, "conv1.weight", after, 36),
                     CVY_E_STATE);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_never_overlaps),
        cmocka_unit_test(memory_packs),
        cmocka_unit_test(memory_overflow_is_told),
        cmocka_unit_test(random_programs),
        cmocka_unit_test(refusals),
        cmocka_unit_test(aliases_meet_at_barriers),
        cmocka_unit_test(statistics_have_their_own_shape),
        cmocka_unit_test(every_phase_has_its_clock),
        cmocka_unit_test(any_mix_of_backends),
        cmocka_unit_test(step_allocates_nothing),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(steps_refuse_bad_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
