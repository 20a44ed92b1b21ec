/* Whole training steps: examples per second and the share of the machine's FMA peak, measured in the same run, alternating.
 *
 * usage: step [--batch N] [--threads N] [--isa NAME] [--seconds S] [--rounds N] [--phases]
 *
 * The net is lenet-bn (1.517 MFLOP of direct convolution and matrix arithmetic per example and step: forward, both gradients; the first
 * layer has no data gradient). Per round: the FMA peak of all threads, then as many steps as fit into the time. Prints the median
 * of the rounds; quote medians of several processes. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convoy/convoy.h"
#include "peak.h"

#define MFLOP 1.51704

static cvy_tensor build(cvy_net *net)
{
    cvy_tensor x = cvy_input(net, 1, 28, 28);
    x = cvy_conv2d(net, x, "conv1", &(cvy_conv2d_desc){ .out_channels = 6, .kernel = { 5, 5 } });
    x = cvy_sigmoid(net, cvy_batch_norm(net, x, "bn1", NULL));
    x = cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 } });
    x = cvy_conv2d(net, x, "conv2", &(cvy_conv2d_desc){ .out_channels = 16, .kernel = { 5, 5 } });
    x = cvy_sigmoid(net, cvy_batch_norm(net, x, "bn2", NULL));
    x = cvy_flatten(net, cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 } }));
    x = cvy_linear(net, x, "fc1", &(cvy_linear_desc){ .out_features = 120 });
    x = cvy_sigmoid(net, cvy_batch_norm(net, x, "bn3", NULL));
    x = cvy_linear(net, x, "fc2", &(cvy_linear_desc){ .out_features = 84 });
    x = cvy_sigmoid(net, cvy_batch_norm(net, x, "bn4", NULL));
    return cvy_linear(net, x, "fc3", &(cvy_linear_desc){ .out_features = 10 });
}

static void *peak_thread(void *arg)
{
    double *gflops = arg;
    *gflops = peak_gflops(peak_of((int)*gflops));
    return NULL;
}

/* All threads at once, each in its own registers; the sum. */
static double peak_of_all(enum cvy_isa isa, size_t threads)
{
    pthread_t made[64];
    double part[64], sum = 0;
    if (threads > 64) threads = 64;
    for (size_t t = 0; t < threads; t++) part[t] = isa;
    for (size_t t = 1; t < threads; t++)
        if (pthread_create(&made[t], NULL, peak_thread, &part[t])) exit(4);
    peak_thread(&part[0]);
    for (size_t t = 1; t < threads; t++) pthread_join(made[t], NULL);
    for (size_t t = 0; t < threads; t++) sum += part[t];
    return sum;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double number(int argc, char **argv, const char *name, double fallback)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0) return atof(argv[i + 1]);
    return fallback;
}

int main(int argc, char **argv)
{
    size_t batch = (size_t)number(argc, argv, "--batch", 256), rounds = (size_t)number(argc, argv, "--rounds", 5);
    double seconds = number(argc, argv, "--seconds", 1);
    cvy_context_options options = { .threads = (size_t)number(argc, argv, "--threads", 0), .strict = true };
    bool phases = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--isa") == 0 && i + 1 < argc && !cvy_isa_from_name(argv[i + 1], &options.isa)) return fprintf(stderr, "step: unknown instruction set %s\n", argv[i + 1]), 1;
        phases |= strcmp(argv[i], "--phases") == 0;
    }
    if (!rounds || rounds > 100 || !batch) return fprintf(stderr, "step: rounds 1 to 100, batch at least 1\n"), 1;
    options.backends = "native";
    cvy_context *ctx;
    cvy_net *net;
    cvy_trainer *trainer;
    if (cvy_context_create(&options, &ctx) || cvy_net_create(ctx, &net) ||
        cvy_trainer_create(net, build(net), &(cvy_trainer_options){ .batch = batch, .sgd.lr = 0.1 }, &trainer)) {
        fprintf(stderr, "step: %s\n", cvy_message(ctx));
        return 1;
    }
    size_t n_images = 60000; /* as many as the real set: gathering goes through memory */
    uint8_t *images = malloc(n_images * 784), *labels = malloc(n_images);
    uint32_t *index = malloc(batch * sizeof *index), state = 1;
    if (!images || !labels || !index) return fprintf(stderr, "step: out of memory\n"), 4;
    for (size_t i = 0; i < n_images * 784; i++) images[i] = (uint8_t)((state = state * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < n_images; i++) labels[i] = (uint8_t)(i % 10);
    cvy_batch b = { .images = images, .dtype = CVY_U8, .labels8 = labels, .index = index, .n = batch };
    double rate[100], share[100], peak[100];
    for (size_t round = 0; round <= rounds; round++) { /* the first warms up */
        double gflops = peak_of_all(cvy_context_isa(ctx), cvy_context_threads(ctx)), spent = 0;
        size_t examples = 0;
        while (spent < seconds) {
            cvy_step_result r;
            for (size_t i = 0; i < batch; i++) index[i] = (state = state * 1664525u + 1013904223u) % (uint32_t)n_images;
            if (cvy_trainer_step(trainer, &b, &r)) return fprintf(stderr, "step: %s\n", cvy_message(ctx)), 1;
            spent += r.seconds;
            examples += r.n;
        }
        if (!round) continue;
        rate[round - 1] = (double)examples / spent;
        peak[round - 1] = gflops;
        share[round - 1] = rate[round - 1] * MFLOP * 1e-3 / gflops;
    }
    qsort(rate, rounds, sizeof *rate, by_value);
    qsort(share, rounds, sizeof *share, by_value);
    qsort(peak, rounds, sizeof *peak, by_value);
    printf("lenet-bn batch %zu threads %zu isa %s: %.0f examples/s (%.0f … %.0f), %.1f GFLOP/s, FMA peak %.1f, %.1f %% of peak (%.1f … %.1f)\n", batch,
           cvy_context_threads(ctx), cvy_isa_name(cvy_context_isa(ctx)), rate[rounds / 2], rate[0], rate[rounds - 1], rate[rounds / 2] * MFLOP * 1e-3,
           peak[rounds / 2], 100 * share[rounds / 2], 100 * share[0], 100 * share[rounds - 1]);
    if (phases) {
        size_t steps = 200;
        double total = 0;
        cvy_phase_info p;
        cvy_trainer_profile(trainer, true);
        for (size_t i = 0; i < steps; i++) {
            cvy_step_result r;
            if (cvy_trainer_step(trainer, &b, &r)) return 1;
        }
        for (size_t i = 0; i < cvy_trainer_phases(trainer); i++)
            if (cvy_trainer_phase(trainer, i, &p) == CVY_OK) total += p.seconds;
        for (size_t i = 0; i < cvy_trainer_phases(trainer); i++) {
            if (cvy_trainer_phase(trainer, i, &p)) continue;
            double us = p.seconds / (double)steps * 1e6;
            printf("  stage %2zu  %-40.40s %4zu tasks %9.1f us %5.1f %%", p.stage, p.name, p.tasks, us, 100 * p.seconds / total);
            if (p.flops > 0) printf("  %6.1f GFLOP/s per thread", p.flops / us * 1e-3);
            printf("\n");
        }
        printf("  all phases, summed over threads: %.1f us a step\n", total / (double)steps * 1e6);
    }
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    free(images);
    free(labels);
    free(index);
    return 0;
}
