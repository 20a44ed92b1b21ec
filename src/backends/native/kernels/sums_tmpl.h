/* Sums over pixels, for templates: expects kernels.h and vec.h. */
#ifndef CVYI_SUMS_TMPL_H
#define CVYI_SUMS_TMPL_H

#include "kernels.h"
#include "vec.h"

/* Four chains a lane, pixel p to chain p % 4, so that additions do not wait for each other, begun
 * anew every CVYI_SUM_BLOCK pixels, so that none is long. Two sums of four chains fill half the
 * registers, so one part of the pixel is summed at a time; a few pixels only, that the next part
 * finds them in L1. */
V_FN void sums_fold(const struct cvyi_sums *t, float a[16], float b[16])
{
    for (int l = 0; l < 16; l += VL) {
        vf a01 = v_add(v_load(t->s1[0] + l), v_load(t->s1[1] + l)),
           a23 = v_add(v_load(t->s1[2] + l), v_load(t->s1[3] + l));
        vf b01 = v_add(v_load(t->s2[0] + l), v_load(t->s2[1] + l)),
           b23 = v_add(v_load(t->s2[2] + l), v_load(t->s2[3] + l));
        v_store(a + l, v_add(a01, a23));
        v_store(b + l, v_add(b01, b23));
    }
}

V_FN void add_to(float *p, vf a) { v_store(p, v_add(v_load(p), a)); }

/* For a STEP: asks for what it reads or writes of p a while later, a line once. */
V_FN void sum_ask(const float *p, size_t i, size_t l)
{
    if (l == 0) V_ASK(p + i + V_AHEAD);
}

/* Sums n floats into t. STEP(i, l, a, b) adds the register at float i, which is at lane l of its
 * pixel, to the chains a and b. */
#define SUM_ROW(n, t, STEP)                                                                  \
    for (size_t i0 = 0; i0 < (n); i0 += 16 * CVYI_SUM_BLOCK) {                               \
        size_t i1 = (n)-i0 < 16 * CVYI_SUM_BLOCK ? (n) : i0 + 16 * CVYI_SUM_BLOCK;           \
        for (size_t l = 0; l < 16; l += VL) {                                                \
            vf a0 = v_zero(), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0; \
            size_t i = i0 + l;                                                               \
            for (; i + 48 < i1; i += 64) {                                                   \
                STEP(i, l, a0, b0);                                                          \
                STEP(i + 16, l, a1, b1);                                                     \
                STEP(i + 32, l, a2, b2);                                                     \
                STEP(i + 48, l, a3, b3);                                                     \
            }                                                                                \
            if (i < i1) STEP(i, l, a0, b0);                                                  \
            if (i + 16 < i1) STEP(i + 16, l, a1, b1);                                        \
            if (i + 32 < i1) STEP(i + 32, l, a2, b2);                                        \
            add_to((t)->s1[0] + l, a0);                                                      \
            add_to((t)->s1[1] + l, a1);                                                      \
            add_to((t)->s1[2] + l, a2);                                                      \
            add_to((t)->s1[3] + l, a3);                                                      \
            add_to((t)->s2[0] + l, b0);                                                      \
            add_to((t)->s2[1] + l, b1);                                                      \
            add_to((t)->s2[2] + l, b2);                                                      \
            add_to((t)->s2[3] + l, b3);                                                      \
        }                                                                                    \
    }

#endif
