/* The floating-point state that everything is computed in, whatever the host's is: round to
 * nearest, denormals are zero (operands and results), no exception traps. Who enters it keeps the
 * host's, and puts it back: rounding, masks and the flags that the host has collected. The x87 unit
 * is not used here, but by others' `long double`: its control word is looked at, and its state
 * changed only where the host's differs from what the ABI starts with. */
#ifndef CVYI_FLOATS_H
#define CVYI_FLOATS_H

#include <stdint.h>
#include <xmmintrin.h>

#define CVYI_MXCSR 0x9fc0u       /* nearest, all masked, FTZ and DAZ, no flags */
#define CVYI_X87_CONTROL 0x037fu /* nearest, all masked, 64 bits of precision */
#define CVYI_X87_FIELDS 0x0f3fu  /* of the control word: masks, precision, rounding */

struct cvyi_floats {
    uint32_t mxcsr;
    uint16_t control;
    uint32_t x87[7]; /* environment, if the control word had to be changed */
};

static inline int cvyi_floats_x87_differs(uint16_t control)
{
    return (control & CVYI_X87_FIELDS) != (CVYI_X87_CONTROL & CVYI_X87_FIELDS);
}

static inline struct cvyi_floats cvyi_floats_enter(void)
{
    struct cvyi_floats host;
    const uint16_t control = CVYI_X87_CONTROL;
    host.mxcsr = _mm_getcsr();
    __asm__ volatile("fnstcw %0" : "=m"(host.control) : : "memory");
    /* fnstenv masks everything: a pending exception is not raised here */
    if (cvyi_floats_x87_differs(host.control))
        __asm__ volatile("fnstenv %0\n\tfldcw %1" : "=m"(host.x87) : "m"(control) : "memory");
    _mm_setcsr(CVYI_MXCSR);
    /* what is computed from memory stays behind here, and ends before leave */
    __asm__ volatile("" : : : "memory");
    return host;
}

static inline void cvyi_floats_leave(const struct cvyi_floats *host)
{
    __asm__ volatile("" : : : "memory");
    _mm_setcsr(host->mxcsr);
    if (cvyi_floats_x87_differs(host->control))
        __asm__ volatile("fldenv %0" : : "m"(host->x87) : "memory");
}

#endif
