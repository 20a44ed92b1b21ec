/* The vector register `vf` of VL floats, and what may be done with it; the header of the ISA is
 * chosen by the build (-DCVYI_VEC_HEADER), scalar without it. Templates include this one and know
 * of the ISA only VL, V_PARTS (registers in a pixel) and the tile lists.
 *
 * vf register, vi the same as int32, vm one truth value a lane, vd the same lanes as doubles (two
 * or more registers), vh half as many of them, VH, from and to floats in memory. All loads and
 * stores are unaligned but v_stream's, which pass by the caches: whole lines, one behind the
 * other, and v_stream_end behind the last. The same operation gives the same bits in every
 * header: v_min(a, b) is a < b ? a : b and v_max(a, b) is a > b ? a : b (the second operand if
 * one is NaN or both are zero), comparisons are false for NaN. v_add_if(m, a, b) is m ? a + b :
 * a, v_fma_if(m, a, b, c) is m ? a * b + c : c. */
#ifndef CVYI_VEC_H
#define CVYI_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef V_FN
#define V_FN static inline __attribute__((always_inline, unused))
#endif

#ifdef CVYI_VEC_HEADER
#include CVYI_VEC_HEADER
#else
#include "vec_scalar.h"
#endif

#define V_PARTS (16 / VL)

/* KFN(mac): the name cvyi_mac_avx2 and so on, for what an object exports. */
#define V_PASTE3(a, b, c) a##b##_##c
#define V_PASTE(a, b, c) V_PASTE3(a, b, c)
#define KFN(name) V_PASTE(cvyi_, name, V_ISA)

/* Keeps a compiler from moving memory accesses across, so that it loads where the template says and
 * not all at once. */
#define V_BARRIER() __asm__ volatile("" ::: "memory")

/* Asks for the line of a float that will be read or written, wherever that is: what another stage
 * has left in L3 or in memory. Stores wait for their lines one by one, and prefetchers lose a map
 * whose rows are taken in pairs or channel by channel. */
#define V_ASK(p) __builtin_prefetch(p)
#define V_AHEAD ((size_t)512) /* floats, where a row is one run */
/* The same to L2 alone: more at once than L1 waits for, of what is read some time later. */
#define V_ASK_L2(p) __builtin_prefetch(p, 0, 2)

/* dst[j*ds + i] = src[i*ss + j] for i, j < 16. */
V_FN void v_transpose16(float *dst, ptrdiff_t ds, const float *src, ptrdiff_t ss)
{
    for (int i = 0; i < 16; i += VL)
        for (int j = 0; j < 16; j += VL) {
            vf r[VL];
            for (int k = 0; k < VL; k++) r[k] = v_load(src + (i + k) * ss + j);
            v_transpose(r);
            for (int k = 0; k < VL; k++) v_store(dst + (j + k) * ds + i, r[k]);
        }
}

/* Unrolls the loop behind it, of a constant number of rounds. Told a larger number than there are,
 * Clang 14 does not unroll at all, and leaves the loop's vectors on the stack. */
#ifdef __clang__
#define V_UNROLL _Pragma("clang loop unroll(full)")
#else
#define V_UNROLL _Pragma("GCC unroll 16")
#endif

/* The statement behind it for j = 0 … N - 1, unrolled. */
#define V_EACH(N) V_UNROLL for (int j = 0; j < (N); j++)

#endif
