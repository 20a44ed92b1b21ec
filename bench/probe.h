/* What this machine can do right now: the figures that results are divided by. Each takes about
 * `seconds`. */
#ifndef BENCH_PROBE_H
#define BENCH_PROBE_H

#include <stddef.h>
#include <time.h>

#include "convoy/types.h"

static inline double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Multiply-adds in registers, GFLOP/s. Every thread's best window of half a millisecond, added. */
double probe_fma(enum cvy_isa isa, size_t threads, double seconds);

/* GB/s of all threads, each on `bytes` of its own. COPY counts what is read and what is written
 * (not what a cache reads in order to write). Every thread's best window of a millisecond or a
 * pass, whichever is longer, added. */
enum probe_traffic { PROBE_READ, PROBE_WRITE, PROBE_COPY };
double probe_bandwidth(enum cvy_isa isa, enum probe_traffic traffic, size_t bytes, size_t threads,
                       double seconds);

/* Nanoseconds for a cache line to go from one core to another and back: the median. It tells
 * whether two virtual CPUs are near each other at the moment. 0: this process may use one CPU
 * only. */
double probe_round_trip(double seconds);

#endif
