/* What the programs and plugins of process_test.py do with the library: trains a small net for
 * three steps and hashes its weights. Built into a plugin (shared object), or into a program that
 * also has regions of an OpenMP of its own. */
#include <convoy/convoy.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "use.h"

static void tell(void *user, int level, const char *line)
{
    (void)user, (void)level;
    fprintf(stderr, "log: %s\n", line);
}

static int train(cvy_context *ctx, cvy_net *net, uint64_t *hash)
{
    enum { BATCH = 48, PIXELS = 12 * 12 };
    static unsigned char images[BATCH * PIXELS], labels[BATCH];
    cvy_trainer *trainer = NULL;
    for (size_t i = 0; i < sizeof images; i++) images[i] = (unsigned char)(i * i % 251);
    for (size_t i = 0; i < BATCH; i++) labels[i] = (unsigned char)(i % 3);
    cvy_tensor x = cvy_input(net, 1, 12, 12);
    x = cvy_conv2d(net, x, "conv", &(cvy_conv2d_desc){ .out_channels = 6, .kernel = { 3, 3 } });
    x = cvy_batch_norm(net, x, "bn", NULL);
    x = cvy_linear(net, cvy_sigmoid(net, x), "fc", &(cvy_linear_desc){ .out_features = 3 });
    enum cvy_status status = cvy_trainer_create(
        net, x, &(cvy_trainer_options){ .batch = BATCH, .sgd.lr = 0.1 }, &trainer);
    for (int step = 0; step < 3 && !status; step++)
        status = cvy_trainer_step(
            trainer,
            &(cvy_batch){ .images = images, .dtype = CVY_U8, .labels8 = labels, .n = BATCH }, NULL);
    float w[3 * 600];
    if (!status)
        status = cvy_trainer_get(trainer, CVY_PARAM_WEIGHT, "fc.weight", w, sizeof w / sizeof *w);
    *hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof w && !status; i++)
        *hash = (*hash ^ ((unsigned char *)w)[i]) * 1099511628211u;
    if (status) fprintf(stderr, "use: %s\n", cvy_message(ctx));
    cvy_trainer_destroy(&trainer);
    return status != CVY_OK;
}

int use(size_t threads, size_t *had, uint64_t *hash)
{
    cvy_context *ctx = NULL;
    cvy_net *net = NULL;
    int failed = cvy_context_create(&(cvy_context_options){ .threads = threads, .log = tell },
                                    &ctx) != CVY_OK;
    if (!failed) failed = cvy_net_create(ctx, &net) != CVY_OK || train(ctx, net, hash);
    *had = cvy_context_threads(ctx);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    return failed;
}
