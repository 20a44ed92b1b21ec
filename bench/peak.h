/* The FMA peak of an instruction set: what the benchmarks divide by. One function per object of bench/peak_tmpl.c. */
#ifndef CVYI_BENCH_PEAK_H
#define CVYI_BENCH_PEAK_H

#include <stddef.h>
#include <time.h>

#include "convoy/types.h"

/* Does `rounds` rounds of FMAs in registers and returns how many floating-point operations that was. */
typedef double peak_fn(size_t rounds, float *sink);
peak_fn cvyi_peak_scalar, cvyi_peak_avx2, cvyi_peak_avx512;

static inline peak_fn *peak_of(int isa)
{
#ifdef __x86_64__
    if (isa == CVY_ISA_AVX2 || isa == CVY_ISA_PAIR)
        return cvyi_peak_avx2;
    if (isa == CVY_ISA_AVX512)
        return cvyi_peak_avx512;
#endif
    return isa == CVY_ISA_SCALAR ? cvyi_peak_scalar : NULL;
}

static inline double peak_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The best of many short runs on the calling thread, in GFLOP/s. */
static inline double peak_gflops(peak_fn *fn)
{
    float sink[16];
    size_t rounds = 100;
    double best = 0, t = 0;
    while (t < 1e-3) {
        rounds *= 2;
        t = peak_now();
        fn(rounds, sink);
        t = peak_now() - t;
    }
    for (int i = 0; i < 200; i++) {
        t = peak_now();
        const double flops = fn(rounds, sink);
        t = peak_now() - t;
        best = flops / t > best ? flops / t : best;
    }
    return best * 1e-9;
}

#endif
