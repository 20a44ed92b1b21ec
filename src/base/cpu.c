/* What CPUID says of this machine. Instruction sets by CPUID and XCR0 (an operating system may not
 * save the wide registers), caches by the vendor's leaf. Hypervisors hide leaves, zero them or
 * answer past the end with something else: a leaf is read only below the maximum that its range
 * reports, and believed only if it makes sense. Compiled with baseline flags: it runs before
 * anything was checked. */
#include "base/cpu.h"

#include "base/context.h"

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_THREADS 1024

#define AMD_CACHES 0x8000001Du
#define INTEL_CACHES 4u

static struct cvyi_cpuid read_cpuid(const void *arg, uint32_t leaf, uint32_t subleaf)
{
    struct cvyi_cpuid r;
    (void)arg;
    __cpuid_count(leaf, subleaf, r.a, r.b, r.c, r.d);
    return r;
}

static uint64_t read_xcr0(const void *arg)
{
    uint32_t lo, hi;
    (void)arg;
    __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static const struct cvyi_cpu this_cpu = { read_cpuid, read_xcr0, NULL };

/* False where the CPU has no such leaf: past the end of a range, Intel's answer is another leaf. */
static bool leaf_at(const struct cvyi_cpu *cpu, uint32_t leaf, uint32_t subleaf,
                    struct cvyi_cpuid *out)
{
    uint32_t base = leaf & 0x80000000u, last = cpu->cpuid(cpu->arg, base, 0).a;
    /* a range that is not there reports nonsense as its end */
    if (leaf > last || (last ^ leaf) >> 16) return false;
    *out = cpu->cpuid(cpu->arg, leaf, subleaf);
    return true;
}

/* ----------------------------------------------------------------------------- instruction sets */

/* A level is exactly the flags its objects are compiled with (kernels/meson.build) and what these
 * imply. */
bool cvyi_cpuid_can_run(const struct cvyi_cpu *cpu, enum cvy_isa isa)
{
    const uint32_t avx = bit_SSE3 | bit_SSSE3 | bit_SSE4_1 | bit_SSE4_2 | bit_POPCNT | bit_XSAVE |
                         bit_OSXSAVE | bit_AVX | bit_FMA;
    const uint32_t avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    struct cvyi_cpuid one, seven;
    if (isa == CVY_ISA_SCALAR) return true;
    if (!leaf_at(cpu, 1, 0, &one) || (one.c & avx) != avx) return false;
    if (!leaf_at(cpu, 7, 0, &seven) || !(seven.b & bit_AVX2)) return false;
    uint64_t xcr0 = cpu->xcr0(cpu->arg);
    if ((xcr0 & 0x6) != 0x6) return false; /* xmm, ymm */
#ifdef CVYI_HAVE_PAIR
    if (isa == CVY_ISA_PAIR) return true;
#endif
    if (isa == CVY_ISA_AVX2) return true;
    return isa == CVY_ISA_AVX512 && (seven.b & avx512) == avx512 &&
           (xcr0 & 0xe6) == 0xe6; /* + opmask, zmm */
}

bool cvyi_cpu_can_run(enum cvy_isa isa) { return cvyi_cpuid_can_run(&this_cpu, isa); }

enum cvy_isa cvyi_cpu_best(void)
{
    if (cvyi_cpu_can_run(CVY_ISA_AVX512)) return CVY_ISA_AVX512;
    return cvyi_cpu_can_run(CVY_ISA_AVX2) ? CVY_ISA_AVX2 : CVY_ISA_SCALAR;
}

/* --------------------------------------------------------------------------------------- caches */

static bool is_amd(const struct cvyi_cpu *cpu)
{
    char vendor[12];
    struct cvyi_cpuid r = cpu->cpuid(cpu->arg, 0, 0);
    memcpy(vendor, &r.b, 4);
    memcpy(vendor + 4, &r.d, 4);
    memcpy(vendor + 8, &r.c, 4);
    return !memcmp(vendor, "AuthenticAMD", 12) || !memcmp(vendor, "HygonGenuine", 12);
}

/* From 1 KiB to 16 GiB; anything else is no cache of a CPU. */
static size_t plausible(uint64_t bytes)
{
    return bytes >= 1u << 10 && bytes <= (uint64_t)1 << 34 ? (size_t)bytes : 0;
}

/* Deterministic cache parameters: the same fields in Intel's leaf and in AMD's. */
static struct cvyi_caches caches_by_list(const struct cvyi_cpu *cpu, uint32_t leaf)
{
    struct cvyi_caches caches = { 0, 0, 0 };
    struct cvyi_cpuid r;
    for (uint32_t i = 0; i < 16 && leaf_at(cpu, leaf, i, &r) && (r.a & 31); i++) {
        uint64_t ways = (r.b >> 22) + 1, partitions = (r.b >> 12 & 1023) + 1,
                 line = (r.b & 4095) + 1;
        unsigned type = r.a & 31, level = r.a >> 5 & 7; /* 1 data, 2 instruction, 3 unified */
        bool sane = line >= 16 && line <= 1024 && !(line & (line - 1)) && partitions <= 64;
        size_t bytes = sane ? plausible(ways * partitions * line * ((uint64_t)r.c + 1)) : 0;
        if (level == 1 && (type == 1 || type == 3)) caches.l1d = bytes;
        if (level == 2 && type == 3) caches.l2 = bytes;
        if (level == 3 && type == 3) caches.l3 = bytes;
    }
    return caches;
}

/* AMD's old leaves; of 0x80000006 Intel fills in the size of L2. */
static struct cvyi_caches caches_by_size(const struct cvyi_cpu *cpu)
{
    struct cvyi_caches caches = { 0, 0, 0 };
    struct cvyi_cpuid r;
    if (is_amd(cpu) && leaf_at(cpu, 0x80000005u, 0, &r))
        caches.l1d = plausible((uint64_t)(r.c >> 24) << 10);
    if (leaf_at(cpu, 0x80000006u, 0, &r)) {
        caches.l2 = plausible((uint64_t)(r.c >> 16) << 10);
        if (is_amd(cpu)) caches.l3 = plausible((uint64_t)(r.d >> 18) << 19);
    }
    return caches;
}

static void fill_gaps(struct cvyi_caches *known, struct cvyi_caches more)
{
    if (!known->l1d) known->l1d = more.l1d;
    if (!known->l2) known->l2 = more.l2;
    if (!known->l3) known->l3 = more.l3;
}

/* A CPU without a level of cache is not told from one that hides it; a level that only a worse
 * source knows is taken. */
struct cvyi_caches cvyi_cpuid_caches(const struct cvyi_cpu *cpu)
{
    bool amd = is_amd(cpu);
    struct cvyi_caches caches = caches_by_list(cpu, amd ? AMD_CACHES : INTEL_CACHES);
    if (!caches.l1d && !caches.l2 && !caches.l3)
        caches = caches_by_list(cpu, amd ? INTEL_CACHES : AMD_CACHES);
    fill_gaps(&caches, caches_by_size(cpu));
    return caches;
}

void cvyi_cpuid_name(const struct cvyi_cpu *cpu, char name[64])
{
    char text[49] = "";
    struct cvyi_cpuid r;
    for (uint32_t i = 0; i < 3 && leaf_at(cpu, 0x80000002u + i, 0, &r); i++)
        memcpy(text + (size_t)16 * i, &r, 16);
    const char *first = text + strspn(text, " ");
    size_t n = strlen(first);
    while (n && first[n - 1] == ' ') n--;
    for (size_t i = 0; i < n; i++)
        if (first[i] < ' ' || first[i] > '~') n = 0;
    memset(name, 0, 64);
    memcpy(name, n ? first : "unknown", n ? n : strlen("unknown"));
}

/* ----------------------------------------------------------------------------------------- CPUs */

size_t cvyi_affinity_count(int (*get)(size_t bytes, cpu_set_t *set))
{
    /* the kernel refuses a set smaller than its own */
    for (size_t cpus = 1024; cpus <= (size_t)1 << 20; cpus *= 2) {
        size_t bytes = CPU_ALLOC_SIZE(cpus);
        cpu_set_t *set = calloc(1, bytes);
        if (!set) break;
        int n = get(bytes, set) ? 0 : CPU_COUNT_S(bytes, set);
        free(set);
        if (n > 0) return (size_t)n;
    }
    return 1;
}

static int own_affinity(size_t bytes, cpu_set_t *set) { return sched_getaffinity(0, bytes, set); }

struct cvyi_cpu_limits cvyi_limits_of(size_t allowed, double quota)
{
    struct cvyi_cpu_limits limits = { .allowed = allowed, .quota = quota };
    limits.by_quota = quota > 0 && quota < (double)allowed;
    limits.threads = limits.by_quota ? (size_t)(quota + 0.999) : allowed;
    if (limits.threads < 1) limits.threads = 1;
    if (limits.threads > MAX_THREADS) limits.threads = MAX_THREADS;
    return limits;
}

static FILE *open_file(void *arg, const char *path)
{
    (void)arg;
    return fopen(path, "re");
}

struct cvyi_cpu_limits cvyi_cpu_limits(void)
{
    return cvyi_limits_of(cvyi_affinity_count(own_affinity), cvyi_cgroup_quota(open_file, NULL));
}

void cvy_machine_describe(cvy_machine *m)
{
    CVYI_OWN_FLOATS(NULL);
    memset(m, 0, sizeof *m);
    cvyi_cpuid_name(&this_cpu, m->cpu);
    m->best_isa = cvyi_cpu_best();
    for (int i = CVY_ISA_SCALAR; i <= CVY_ISA_PAIR; i++)
        m->can_run[i] = cvyi_cpu_can_run((enum cvy_isa)i);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    m->cpus_online = online > 0 ? (size_t)online : 1;
    struct cvyi_cpu_limits limits = cvyi_cpu_limits();
    m->cpus_allowed = limits.allowed;
    m->cgroup_quota = limits.quota;
    m->default_threads = limits.threads;
    struct cvyi_caches caches = cvyi_cpuid_caches(&this_cpu);
    m->l1d_bytes = caches.l1d;
    m->l2_bytes = caches.l2;
    m->l3_bytes = caches.l3;
}
