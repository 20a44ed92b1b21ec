/* What this machine is. Instruction sets by CPUID and XCR0 (an operating system may not save the wide registers), caches
 * by CPUID, threads by the affinity mask and the cgroup's CPU quota (OpenMP runtimes ignore the latter). Compiled with
 * baseline flags: it runs before anything was checked. */
#include "base/cpu.h"

#include <cpuid.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_THREADS 1024

static uint64_t read_xcr0(void)
{
    uint32_t lo, hi;
    __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* A level is exactly the flags its objects are compiled with (kernels/meson.build): CPUID bits and XCR0 state. */
bool cvyi_cpu_can_run(enum cvy_isa isa)
{
    if (isa == CVY_ISA_SCALAR) return true;
    unsigned a, b, c, d, b7, unused;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX) || !(c & bit_FMA)) return false;
    if (!__get_cpuid_count(7, 0, &unused, &b7, &c, &d) || !(b7 & bit_AVX2)) return false;
    uint64_t xcr0 = read_xcr0();
    if ((xcr0 & 0x6) != 0x6) return false; /* xmm, ymm */
#ifdef CVYI_HAVE_PAIR
    if (isa == CVY_ISA_PAIR) return true;
#endif
    if (isa == CVY_ISA_AVX2) return true;
    unsigned need = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    return isa == CVY_ISA_AVX512 && (b7 & need) == need && (xcr0 & 0xe6) == 0xe6; /* + opmask, zmm */
}

enum cvy_isa cvyi_cpu_best(void)
{
    if (cvyi_cpu_can_run(CVY_ISA_AVX512)) return CVY_ISA_AVX512;
    return cvyi_cpu_can_run(CVY_ISA_AVX2) ? CVY_ISA_AVX2 : CVY_ISA_SCALAR;
}

static size_t allowed_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set)) return 1; /* more than 1024 CPUs: the caller chooses */
    int n = CPU_COUNT(&set);
    return n > 0 ? (size_t)n : 1;
}

/* CPUs granted by the cgroup's cpu.max ("150000 100000" is 1.5), the smallest on the way to the root; 0: no limit. */
static double quota_of(const char *dir)
{
    char path[4200], text[64];
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", dir);
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    double quota = 0, period = 0;
    if (fgets(text, sizeof text, f) && sscanf(text, "%lf %lf", &quota, &period) == 2 && period > 0 && quota > 0)
        quota /= period;
    else
        quota = 0;
    fclose(f);
    return quota;
}

static double cgroup_quota(void)
{
    char line[4096], *dir = NULL;
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (f) {
        while (fgets(line, sizeof line, f)) {
            if (strncmp(line, "0::", 3) == 0) {
                dir = line + 3;
                dir[strcspn(dir, "\n")] = 0;
                break;
            }
        }
        fclose(f);
    }
    double least = quota_of("");
    while (dir && dir[0] == '/' && dir[1]) {
        double q = quota_of(dir);
        if (q > 0 && (least == 0 || q < least)) least = q;
        *strrchr(dir, '/') = 0;
    }
    return least;
}

static size_t threads_for(size_t allowed, double quota)
{
    size_t n = allowed;
    if (quota > 0 && quota < (double)n) n = (size_t)(quota + 0.999);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
}

size_t cvyi_cpu_default_threads(void) { return threads_for(allowed_cpus(), cgroup_quota()); }

/* Caches from CPUID's deterministic cache parameters (Intel leaf 4, AMD 0x8000001D; same fields). */
static void describe_caches(cvy_machine *m)
{
    unsigned a, b, c, d;
    unsigned leaf = 4;
    if ((unsigned)__get_cpuid_max(0x80000000, NULL) >= 0x8000001Du) leaf = 0x8000001D;
    for (unsigned i = 0; i < 16; i++) {
        if (!__get_cpuid_count(leaf, i, &a, &b, &c, &d) || !(a & 31)) break;
        size_t bytes = (size_t)((b >> 22) + 1) * ((b >> 12 & 1023) + 1) * ((b & 4095) + 1) * ((size_t)c + 1);
        unsigned type = a & 31, level = a >> 5 & 7; /* 1 data, 2 instruction, 3 unified */
        if (level == 1 && type == 1) m->l1d_bytes = bytes;
        if (level == 2 && type == 3) m->l2_bytes = bytes;
        if (level == 3 && type == 3) m->l3_bytes = bytes;
    }
}

void cvy_machine_describe(cvy_machine *m)
{
    memset(m, 0, sizeof *m);
    unsigned regs[12];
    if ((unsigned)__get_cpuid_max(0x80000000, NULL) >= 0x80000004u) {
        for (unsigned i = 0; i < 3; i++)
            __get_cpuid(0x80000002 + i, &regs[4 * i], &regs[4 * i + 1], &regs[4 * i + 2], &regs[4 * i + 3]);
        memcpy(m->cpu, regs, sizeof regs);
        size_t n = strlen(m->cpu);
        while (n && m->cpu[n - 1] == ' ') m->cpu[--n] = 0;
    }
    if (!m->cpu[0]) strcpy(m->cpu, "unknown");
    m->best_isa = cvyi_cpu_best();
    for (int i = CVY_ISA_SCALAR; i <= CVY_ISA_PAIR; i++) m->can_run[i] = cvyi_cpu_can_run((enum cvy_isa)i);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    m->cpus_online = online > 0 ? (size_t)online : 1;
    m->cpus_allowed = allowed_cpus();
    m->cgroup_quota = cgroup_quota();
    m->default_threads = threads_for(m->cpus_allowed, m->cgroup_quota);
    describe_caches(m);
}
