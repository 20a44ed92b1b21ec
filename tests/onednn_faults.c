/* oneDNN's calls fail one after the other under the module, out of memory and unimplemented: what
 * comes of it is the number of a run without a fault, or a status and a sentence that names onednn;
 * the next try on the same context, and the same trainer's next step, find nothing half made.
 *
 * The definitions below take the place of libdnnl's, with the arguments that 2.6 and 3.x share. Not
 * among them: descriptors of operators (2.6's *_desc_init, 3.x's creations, one a primitive),
 * concat's, and appending to post-ops. */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "nets.h"

enum { OUT_OF_MEMORY = 1, UNIMPLEMENTED = 3, POINTS = 24, IMAGES = 3, PIXELS = 28 * 28 };
static const double TOLERANCE = 3e-5; /* chain_test.c's */

static long calls, fail_at; /* fail_at 0: none */
static int fault;

static void *real(const char *name)
{
    void *lib = dlopen("libdnnl.so.2", RTLD_LAZY | RTLD_NOLOAD);
    if (!lib) lib = dlopen("libdnnl.so.3", RTLD_LAZY | RTLD_NOLOAD);
    void *f = lib ? dlsym(lib, name) : NULL;
    if (lib) dlclose(lib);
    return f;
}

#define FAIL_IN_TURN(name, params, args)          \
    int name params;                              \
    int name params                               \
    {                                             \
        static int(*call) params;                 \
        if (++calls == fail_at) return fault;     \
        if (!call) *(void **)&call = real(#name); \
        return call args;                         \
    }
FAIL_IN_TURN(dnnl_engine_create, (void *a, int b, size_t c), (a, b, c))
FAIL_IN_TURN(dnnl_stream_create, (void *a, void *b, unsigned c), (a, b, c))
FAIL_IN_TURN(dnnl_primitive_attr_create, (void *a), (a))
FAIL_IN_TURN(dnnl_primitive_attr_set_scratchpad_mode, (void *a, int b), (a, b))
FAIL_IN_TURN(dnnl_primitive_attr_set_post_ops, (void *a, const void *b), (a, b))
FAIL_IN_TURN(dnnl_post_ops_create, (void *a), (a))
FAIL_IN_TURN(dnnl_primitive_desc_create,
             (void *a, const void *b, const void *c, void *d, const void *e), (a, b, c, d, e))
FAIL_IN_TURN(dnnl_reorder_primitive_desc_create,
             (void *a, const void *b, void *c, const void *d, void *e, const void *f),
             (a, b, c, d, e, f))
FAIL_IN_TURN(dnnl_memory_desc_reshape, (void *a, const void *b, int c, const void *d), (a, b, c, d))
FAIL_IN_TURN(dnnl_memory_desc_init_submemory,
             (void *a, const void *b, const void *c, const void *d), (a, b, c, d))
FAIL_IN_TURN(dnnl_memory_desc_create_submemory,
             (void *a, const void *b, const void *c, const void *d), (a, b, c, d))
FAIL_IN_TURN(dnnl_primitive_create, (void *a, const void *b), (a, b))
FAIL_IN_TURN(dnnl_memory_create, (void *a, const void *b, void *c, void *d), (a, b, c, d))
FAIL_IN_TURN(dnnl_memory_set_data_handle, (void *a, void *b), (a, b))
FAIL_IN_TURN(dnnl_primitive_execute, (const void *a, void *b, int c, const void *d), (a, b, c, d))

static float images[IMAGES * PIXELS];
static const uint8_t labels[IMAGES] = { 1, 7, 4 };

static enum cvy_status step(cvy_trainer *t, size_t n, double *loss)
{
    cvy_step_result r = { 0 };
    cvy_batch b = { .images = images, .dtype = CVY_F32, .labels8 = labels, .n = n };
    enum cvy_status status = cvy_trainer_step(t, &b, &r);
    *loss = r.loss_sum;
    return status;
}

/* A trainer, a whole batch and one image. After a step that failed, one more on the same trainer
 * without a fault. */
static enum cvy_status train(cvy_context *ctx, cvy_net *net, cvy_tensor logits, double *loss)
{
    cvy_trainer *t = NULL;
    cvy_trainer_options o = { .batch = IMAGES, .sgd = { .lr = 0.02, .momentum = 0.5 } };
    double more = 0;
    *loss = 0;
    enum cvy_status status = cvy_trainer_create(net, logits, &o, &t);
    bool made = status == CVY_OK;
    if (made) status = step(t, IMAGES, loss);
    if (status == CVY_OK) status = step(t, 1, &more);
    *loss += more;
    if (status != CVY_OK) {
        if (!strstr(cvy_message(ctx), "onednn"))
            fail_msg("call %ld, fault %d: it says: %s", fail_at, fault, cvy_message(ctx));
        fail_at = 0;
        if (made && step(t, 1, &more)) fail_msg("the step after a fault: %s", cvy_message(ctx));
    }
    cvy_trainer_destroy(&t);
    return status;
}

static void every_call_may_fail(void **state)
{
    (void)state;
    cvy_context *ctx = NULL;
    cvy_net *net = NULL;
    double want, got;
    if (cvy_context_create(&(cvy_context_options){ .threads = 1, .backends = "onednn,native" },
                           &ctx) != CVY_OK) {
        if (!strstr(cvy_message(ctx), "convoy-onednn.so in")) fail_msg("%s", cvy_message(ctx));
        cvy_context_destroy(&ctx);
        print_message("left out: the oneDNN module: not built (Debian: libdnnl-dev)\n");
        return;
    }
    for (size_t i = 0; i < IMAGES * PIXELS; i++) images[i] = (float)sin((double)i);
    cvy_tensor logits = motley(ctx, &net);
    calls = fail_at = 0;
    if (train(ctx, net, logits, &want)) fail_msg("without a fault: %s", cvy_message(ctx));
    long total = calls, failures = 0;
    assert_true(total > 100);
    for (int f = 0; f < 2; f++)
        for (long k = 0; k < POINTS; k++) {
            fault = f ? UNIMPLEMENTED : OUT_OF_MEMORY;
            calls = 0;
            fail_at = k < 6 ? k + 1 : total - (k - 6) * (total / POINTS) - f;
            if (train(ctx, net, logits, &got)) failures++;
            else assert_true(fabs(got - want) / (1 + fabs(want)) <= TOLERANCE);
            fail_at = 0;
        }
    assert_true(failures > 0);
    if (train(ctx, net, logits, &got)) fail_msg("afterwards: %s", cvy_message(ctx));
    assert_true(fabs(got - want) / (1 + fabs(want)) <= TOLERANCE);
    print_message("%ld calls, %ld of %d faults ended in a status\n", total, failures, 2 * POINTS);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_call_may_fail) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
