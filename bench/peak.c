/* Prints the FMA peak of every instruction set that this machine runs, for one thread and for all. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "convoy/context.h"
#include "peak.h"

struct worker { pthread_t thread; pthread_barrier_t *barrier; peak_fn *fn; double gflops; };

static void *work(void *arg)
{
    struct worker *w = arg;
    pthread_barrier_wait(w->barrier);
    w->gflops = peak_gflops(w->fn);
    return NULL;
}

static double all_threads(peak_fn *fn, size_t n)
{
    struct worker *w = calloc(n, sizeof *w);
    pthread_barrier_t barrier;
    if (!w || pthread_barrier_init(&barrier, NULL, (unsigned)n)) {
        fprintf(stderr, "peak: out of memory\n");
        exit(1);
    }
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        w[i].barrier = &barrier, w[i].fn = fn;
        if (pthread_create(&w[i].thread, NULL, work, &w[i])) {
            fprintf(stderr, "peak: cannot start %zu threads\n", n);
            exit(1);
        }
    }
    for (size_t i = 0; i < n; i++) {
        pthread_join(w[i].thread, NULL);
        sum += w[i].gflops;
    }
    pthread_barrier_destroy(&barrier);
    free(w);
    return sum;
}

int main(void)
{
    struct cvy_machine machine;
    cvy_machine_describe(&machine);
    printf("%s\n%-8s %8s %10s\n", machine.cpu, "isa", "threads", "GFLOP/s");
    for (int isa = CVY_ISA_SCALAR; isa <= CVY_ISA_AVX512; isa++) {
        peak_fn *fn = machine.can_run[isa] ? peak_of(isa) : NULL;
        if (!fn)
            continue;
        printf("%-8s %8d %10.1f\n", cvy_isa_name((enum cvy_isa)isa), 1, all_threads(fn, 1));
        if (machine.default_threads > 1)
            printf("%-8s %8zu %10.1f\n", cvy_isa_name((enum cvy_isa)isa), machine.default_threads,
                   all_threads(fn, machine.default_threads));
    }
    return 0;
}
