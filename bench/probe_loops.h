/* Between probe.c and probe_tmpl.c, which is compiled once for each instruction set. */
#ifndef BENCH_PROBE_LOOPS_H
#define BENCH_PROBE_LOOPS_H

#include <stddef.h>

/* Does `rounds` rounds and returns how many floating-point operations that was. */
typedef double probe_fma_fn(size_t rounds, float *sink);
typedef void probe_traffic_fn(const float *x, float *y, size_t n);

#define PROBE_LOOPS(isa)               \
    probe_fma_fn cvyi_probe_fma_##isa; \
    probe_traffic_fn cvyi_probe_read_##isa, cvyi_probe_write_##isa, cvyi_probe_copy_##isa;
PROBE_LOOPS(scalar)
PROBE_LOOPS(avx2)
PROBE_LOOPS(avx512)

#endif
