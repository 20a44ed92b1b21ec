/* What this machine is: instruction sets and caches by CPUID, CPUs by affinity mask and cgroup
 * quota. Each is a function of what it reads, handed in, so that tests can show it other
 * machines. */
#ifndef CVYI_CPU_H
#define CVYI_CPU_H

#include <sched.h>
#include <stdio.h>

#include "convoy/context.h"

/* Whether CPU and operating system run this level (PAIR needs AVX2). */
bool cvyi_cpu_can_run(enum cvy_isa isa);
enum cvy_isa cvyi_cpu_best(void);

/* Threads to use where nobody said how many, and which of the two limits that is. */
struct cvyi_cpu_limits {
    size_t allowed; /* CPUs in the affinity mask */
    double quota;   /* CPUs granted by the cgroup; 0: no limit */
    size_t threads;
    bool by_quota;
};
struct cvyi_cpu_limits cvyi_cpu_limits(void);

/* --------------------------------------------------------------------- the parsers behind these */

struct cvyi_cpuid {
    uint32_t a, b, c, d;
};

/* A CPU: its CPUID leaves and its XCR0, which is asked only where CPUID says that XGETBV may be
 * used. */
struct cvyi_cpu {
    struct cvyi_cpuid (*cpuid)(const void *arg, uint32_t leaf, uint32_t subleaf);
    uint64_t (*xcr0)(const void *arg);
    const void *arg;
};

bool cvyi_cpuid_can_run(const struct cvyi_cpu *cpu, enum cvy_isa isa);
/* The brand string without spaces at its ends; "unknown" if there is none that can be printed. */
void cvyi_cpuid_name(const struct cvyi_cpu *cpu, char name[64]);
struct cvyi_caches {
    size_t l1d, l2, l3;
}; /* bytes; 0: unknown */
struct cvyi_caches cvyi_cpuid_caches(const struct cvyi_cpu *cpu);

/* CPUs in a mask of any size. `get` is sched_getaffinity of this thread: non-zero as long as the
 * set is too small. 1 if it never succeeds. */
size_t cvyi_affinity_count(int (*get)(size_t bytes, cpu_set_t *set));

/* CPUs granted by the cgroups, version 1 and 2, that /proc/self/cgroup names; 0: no limit. `open`
 * is fopen(path, "re"). */
double cvyi_cgroup_quota(FILE *(*open)(void *arg, const char *path), void *arg);

struct cvyi_cpu_limits cvyi_limits_of(size_t allowed, double quota);

#endif
