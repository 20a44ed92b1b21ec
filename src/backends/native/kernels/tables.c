/* The tables of this build, joined from what the objects of each instruction set export. Baseline
 * code: it runs on every CPU and does not ask which one this is. */
#include "kernels.h"

#include "convoy/types.h"

#define DECLARE(isa)                                                        \
    extern const struct cvyi_mac_kernels cvyi_mac_##isa;                    \
    extern const struct cvyi_wgrad_kernels cvyi_wgrad_##isa;                \
    extern const struct cvyi_depthwise_kernels cvyi_depthwise_##isa;        \
    extern const struct cvyi_winograd_kernels cvyi_winograd_##isa;          \
    extern const struct cvyi_act_kernels cvyi_act_##isa;                    \
    extern const struct cvyi_norm_kernels cvyi_norm_##isa;                  \
    extern const struct cvyi_pool_kernels cvyi_pool_##isa;                  \
    extern const struct cvyi_rows_kernels cvyi_rows_##isa;                  \
    extern const struct cvyi_lanes_kernels cvyi_lanes_##isa;                \
    extern const struct cvyi_loss_kernels cvyi_loss_##isa;                  \
    extern const struct cvyi_update_kernels cvyi_update_##isa;              \
    static const struct cvyi_kernels table_##isa = { #isa,                  \
                                                     &cvyi_mac_##isa,       \
                                                     &cvyi_wgrad_##isa,     \
                                                     &cvyi_depthwise_##isa, \
                                                     &cvyi_winograd_##isa,  \
                                                     &cvyi_act_##isa,       \
                                                     &cvyi_norm_##isa,      \
                                                     &cvyi_pool_##isa,      \
                                                     &cvyi_rows_##isa,      \
                                                     &cvyi_lanes_##isa,     \
                                                     &cvyi_loss_##isa,      \
                                                     &cvyi_update_##isa };

DECLARE(scalar)
#ifdef __x86_64__
DECLARE(avx2)
DECLARE(avx512)
#ifdef CVYI_HAVE_PAIR
DECLARE(pair)
#endif
#endif

const struct cvyi_kernels *cvyi_kernels_for(int isa)
{
    switch (isa) {
    case CVY_ISA_SCALAR: return &table_scalar;
#ifdef __x86_64__
    case CVY_ISA_AVX2: return &table_avx2;
    case CVY_ISA_AVX512: return &table_avx512;
#ifdef CVYI_HAVE_PAIR
    case CVY_ISA_PAIR: return &table_pair;
#endif
#endif
    default: return NULL;
    }
}
