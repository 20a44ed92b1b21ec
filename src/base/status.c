/* Names of status codes and instruction sets. */
#include <string.h>

#include "convoy/types.h"

const char *cvy_version(void) { return CVY_VERSION_STRING; }

const char *cvy_status_name(enum cvy_status status)
{
    static const char *const names[] = {
        [CVY_OK] = "ok",
        [CVY_E_ARG] = "argument",
        [CVY_E_SHAPE] = "shape",
        [CVY_E_NOMEM] = "out of memory",
        [CVY_E_UNSUPPORTED] = "unsupported",
        [CVY_E_BACKEND] = "backend",
        [CVY_E_NUMERIC] = "numeric",
        [CVY_E_STATE] = "state",
    };
    return (size_t)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

static const char *const isa_names[] = {
    [CVY_ISA_AUTO] = "auto",     [CVY_ISA_SCALAR] = "scalar", [CVY_ISA_AVX2] = "avx2",
    [CVY_ISA_AVX512] = "avx512", [CVY_ISA_PAIR] = "pair",
};
#define N_ISAS (sizeof isa_names / sizeof *isa_names)

const char *cvy_isa_name(enum cvy_isa isa)
{
    return (size_t)isa < N_ISAS ? isa_names[isa] : "unknown";
}

bool cvy_isa_from_name(const char *name, enum cvy_isa *isa)
{
    for (size_t i = 0; name && i < N_ISAS; i++) {
        if (strcmp(name, isa_names[i]) == 0) {
            *isa = (enum cvy_isa)i;
            return true;
        }
    }
    return false;
}
