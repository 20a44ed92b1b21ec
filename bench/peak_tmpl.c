/* Independent multiply-adds in registers: twelve chains, enough to hide the latency of two FMA units. */
#include "backends/native/kernels/repeat.h"
#include "backends/native/kernels/vec.h"
#include "peak.h"

#define START(k, _) vf a##k = v_set1((float)k);
#define STEP(k, _) a##k = v_fma(a##k, b, c);
#define KEEP(k, _) V_KEEP(a##k);
#define SUM(k, _) s = v_add(s, a##k);

double KFN(peak)(size_t rounds, float *sink)
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
