/* What a figure is worth without: the machine as it is now, how the program was built, how it was
 * told to run. */
#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "bench.h"
#include "build_facts.h"

extern char **environ;

/* The first line of a file, or the fallback. */
static const char *line_of(const char *path, char *text, size_t size, const char *fallback)
{
    FILE *f = fopen(path, "r");
    if (!f || !fgets(text, (int)size, f)) snprintf(text, size, "%s", fallback);
    if (f) fclose(f);
    text[strcspn(text, "\n")] = '\0';
    return text;
}

/* "0-3,6" */
static void affinity(char *text, size_t size)
{
    cpu_set_t set;
    size_t used = 0;
    text[0] = '\0';
    if (sched_getaffinity(0, sizeof set, &set)) return;
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET(i, &set)) continue;
        size_t last = i;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set)) last++;
        int n = snprintf(text + used, size - used, last > i ? "%s%zu-%zu" : "%s%zu",
                         used ? "," : "", i, last);
        if (n < 0 || (used += (size_t)n) >= size) return;
        i = last;
    }
}

static bool virtual_machine(void)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[8192];
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f))
        found = !strncmp(line, "flags", 5) && strstr(line, " hypervisor");
    if (f) fclose(f);
    return found;
}

/* "KEY=VALUE KEY=VALUE" of the variables that steer threads and the library. */
static char *variables(void)
{
    static const char *const prefixes[] = { "CVY_",    "OMP_",  "GOMP_",  "KMP_",
                                            "ONEDNN_", "DNNL_", "MALLOC_" };
    char *all = bench_text("%s", "");
    for (char **e = environ; *e; e++)
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
            if (!strncmp(*e, prefixes[i], strlen(prefixes[i]))) {
                char *longer = bench_text("%s%s%s", all, *all ? " " : "", *e);
                free(all);
                all = longer;
            }
    for (char *c = all; *c; c++)
        if (!isprint((unsigned char)*c)) *c = '?';
    return all;
}

void bench_facts(const struct bench *b, void (*fact)(const char *key, const char *value))
{
    char text[256];
    cvy_machine m;
    struct utsname os;
    cvy_machine_describe(&m);
    fact("cpu", m.cpu);
    fact("virtual_machine", virtual_machine() ? "yes" : "no");
    snprintf(text, sizeof text, "%zu online, %zu allowed", m.cpus_online, m.cpus_allowed);
    fact("cpus", text);
    affinity(text, sizeof text);
    fact("affinity", text);
    snprintf(text, sizeof text, m.cgroup_quota > 0 ? "%.2f CPUs" : "none", m.cgroup_quota);
    fact("cgroup_quota", text);
    snprintf(text, sizeof text, "L1d %zu KiB, L2 %zu KiB, L3 %zu KiB", m.l1d_bytes >> 10,
             m.l2_bytes >> 10, m.l3_bytes >> 10);
    fact("cache_sizes", text);
    fact("governor", line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", text,
                             sizeof text, "not visible"));
    fact("boost",
         line_of("/sys/devices/system/cpu/cpufreq/boost", text, sizeof text, "not visible"));
    fact("smt_active",
         line_of("/sys/devices/system/cpu/smt/active", text, sizeof text, "not visible"));
    fact("huge_pages",
         line_of("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text, "not visible"));
    if (!uname(&os)) {
        snprintf(text, sizeof text, "%s %s %s", os.sysname, os.release, os.machine);
        fact("system", text);
    }
    char *environment = variables();
    fact("environment", environment);
    free(environment);
    fact("convoy", cvy_version());
    fact("commit", BENCH_COMMIT);
    fact("compiler", BENCH_COMPILER);
    fact("flags", BENCH_FLAGS);
    fact("isa", cvy_isa_name(m.best_isa));
    snprintf(text, sizeof text, "%zu", m.default_threads);
    fact("threads", text);
    /* The peak at the time, in short; the benchmark peak tells more. */
    const double seconds = bench_options(b)->once ? 0.01 : 0.15;
    snprintf(text, sizeof text, "%.4g", probe_fma(m.best_isa, 1, seconds));
    fact("peak_gflops_1", text);
    snprintf(text, sizeof text, "%.4g", probe_fma(m.best_isa, m.default_threads, seconds));
    fact("peak_gflops_all", text);
    snprintf(text, sizeof text, "%.4g",
             probe_bandwidth(m.best_isa, PROBE_READ, (m.l2_bytes ? m.l2_bytes : 512 << 10) / 2,
                             m.default_threads, seconds));
    fact("l2_read_gbs", text);
    snprintf(text, sizeof text, "%.4g",
             probe_bandwidth(m.best_isa, PROBE_READ,
                             4 * (m.l3_bytes ? m.l3_bytes : 8 << 20) / m.default_threads,
                             m.default_threads, seconds));
    fact("dram_read_gbs", text);
    snprintf(text, sizeof text, "%.4g", probe_round_trip(seconds));
    fact("core_round_trip_ns", text);
}
