/* What this machine is: instruction sets by CPUID and XCR0, caches, affinity mask, cgroup quota. */
#ifndef CVYI_CPU_H
#define CVYI_CPU_H

#include "convoy/context.h"

/* Whether CPU and operating system run this level (PAIR needs AVX2). */
bool cvyi_cpu_can_run(enum cvy_isa isa);
enum cvy_isa cvyi_cpu_best(void);
size_t cvyi_cpu_default_threads(void);

#endif
