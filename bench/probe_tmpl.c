/* The loops of the probes, for one instruction set. */
#include "backends/native/kernels/repeat.h"
#include "backends/native/kernels/vec.h"
#include "probe_loops.h"

#define START(k, _) vf a##k = v_set1((float)k);
#define STEP(k, _) a##k = v_fma(a##k, b, c);
#define KEEP(k, _) V_KEEP(a##k);
#define SUM(k, _) s = v_add(s, a##k);
#define ADD(k, _) a##k = v_add(a##k, v_load(x + i + (size_t)k * VL));

/* Independent multiply-adds in registers: twelve chains, enough to hide the latency of two FMA
 * units. */
double KFN(probe_fma)(size_t rounds, float *sink)
{
    vf b = v_set1(0.999f), c = v_set1(0.001f), s = v_zero();
    RA(12, START, )
    for (size_t i = 0; i < rounds; i++) {
        RA(12, STEP, )
        RA(12, STEP, )
        RA(12, KEEP, )
    }
    RA(12, SUM, )
    v_store(sink, s);
    return (double)rounds * 24 * 2 * VL;
}

/* n floats, a multiple of 128. */
void KFN(probe_read)(const float *x, float *y, size_t n)
{
    vf s = v_zero();
    RA(8, START, )
    for (size_t i = 0; i < n; i += (size_t)8 * VL) {
        RA(8, ADD, )
        RA(8, KEEP, )
    }
    RA(8, SUM, )
    v_store(y, s);
}

void KFN(probe_write)(const float *x, float *y, size_t n)
{
    vf s = v_load(x);
    for (size_t i = 0; i < n; i += VL) v_store(y + i, s);
}

void KFN(probe_copy)(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i += VL) v_store(y + i, v_load(x + i));
}
