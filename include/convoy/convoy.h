/* Convoy: training convolutional nets with batch normalization on the CPU.
 *
 *     cvy_context *ctx = NULL;  cvy_net *net = NULL;  cvy_trainer *trainer = NULL;
 *     enum cvy_status bad = cvy_context_create(NULL, &ctx);
 *     if (!bad) bad = cvy_net_create(ctx, &net);
 *     cvy_tensor x = cvy_input(net, 1, 28, 28);
 *     x = cvy_conv2d(net, x, "conv1", &(cvy_conv2d_desc){ .out_channels = 6, .kernel = {5, 5} });
 *     x = cvy_batch_norm(net, x, "bn1", NULL);
 *     x = cvy_sigmoid(net, x);
 *     x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = {2, 2} });
 *     x = cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = 10 });
 *     cvy_trainer_options options = { .batch = 256, .sgd.lr = 1.0 };
 *     if (!bad) bad = cvy_trainer_create(net, x, &options, &trainer);
 *     while (!bad && next_batch(&batch)) {
 *         cvy_step_result r;
 *         bad = cvy_trainer_step(trainer, &batch, &r);
 *     }
 *     if (bad) puts(cvy_message(ctx));
 *     cvy_trainer_destroy(&trainer);
 *     cvy_net_destroy(&net);
 *     cvy_context_destroy(&ctx);
 *
 * A status other than CVY_OK comes with a sentence in cvy_message(ctx), or in cvy_message(NULL)
 * where there is no context. What makes a handle gives one or, on failure, NULL; what destroys one
 * takes its address, sets it to NULL, and does nothing where it is NULL. What was made last is
 * destroyed first.
 *
 * The library never prints, exits, aborts, changes signal handlers or the locale, and leaves the
 * floating-point environment as it found it. It writes no file and reads none of the user's:
 * creating a context looks at what the system says of the process (its affinity, its control
 * group's files) and opens the modules of the backends that are named. */
#ifndef CONVOY_CONVOY_H
#define CONVOY_CONVOY_H

#include "types.h"
#include "context.h"
#include "net.h"
#include "train.h"
#include "op.h"

#endif
