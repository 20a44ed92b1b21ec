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
#define ALGORITHM_NAME(NAME, name) [CVY_ALGORITHM_##NAME] = #name,
static const char *const algorithm_names[] = { [CVY_ALGORITHM_AUTO] = "auto",
                                               CVY_ALGORITHMS(ALGORITHM_NAME) };
#define COUNT(names) (sizeof(names) / sizeof *(names))

/* The place of a name in such a list; n: it is none of them. */
static size_t find(const char *const *names, size_t n, const char *name)
{
    size_t i = 0;
    while (i < n && (!name || strcmp(name, names[i]))) i++;
    return i;
}

const char *cvy_isa_name(enum cvy_isa isa)
{
    return (size_t)isa < COUNT(isa_names) ? isa_names[isa] : "unknown";
}

bool cvy_isa_from_name(const char *name, enum cvy_isa *isa)
{
    size_t i = find(isa_names, COUNT(isa_names), name);
    if (i < COUNT(isa_names)) *isa = (enum cvy_isa)i;
    return i < COUNT(isa_names);
}

const char *cvy_algorithm_name(enum cvy_algorithm algorithm)
{
    return (size_t)algorithm < COUNT(algorithm_names) ? algorithm_names[algorithm] : "unknown";
}

bool cvy_algorithm_from_name(const char *name, enum cvy_algorithm *algorithm)
{
    size_t i = find(algorithm_names, COUNT(algorithm_names), name);
    if (i < COUNT(algorithm_names)) *algorithm = (enum cvy_algorithm)i;
    return i < COUNT(algorithm_names);
}
