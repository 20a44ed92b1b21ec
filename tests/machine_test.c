/* What the library reads of other machines: CPUID leaves and XCR0, the cgroup files of hosts and
 * containers, affinity masks of any size.
 *
 * Where the leaves are from: Zen 3 was recorded on such a machine; Hygon, Silvermont, Sandy Bridge
 * and Haswell follow published dumps; Skylake-SP, Sapphire Rapids, Zen 4, Knights Landing and
 * Pentium III are put together from what the manuals say of them, so they test the parser, not
 * those machines. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/cpu.h"

/* ----------------------------------------------------------------------------------------- CPUs */

struct leaf {
    uint32_t leaf, subleaf, a, b, c, d;
};

struct machine {
    const char *name;
    /* leaves above the maximum answer with the last one, as Intel's do; else zeros */
    bool past_the_end;
    uint64_t xcr0;
    struct leaf leaf[24];
    enum cvy_isa best;
    size_t l1d, l2, l3;
    const char *brand;
};

#define INTEL(last)                                    \
    {                                                  \
        0, 0, last, 0x756e6547, 0x6c65746e, 0x49656e69 \
    }
#define AMD(last)                                      \
    {                                                  \
        0, 0, last, 0x68747541, 0x444d4163, 0x69746e65 \
    }
#define HYGON(last)                                    \
    {                                                  \
        0, 0, last, 0x6f677948, 0x656e6975, 0x6e65476e \
    }
#define EXTENDED(last)               \
    {                                \
        0x80000000, 0, last, 0, 0, 0 \
    }
#define KIB(n) ((size_t)(n) << 10)

static const struct machine machines[] = {
    { "Skylake-SP, Xeon Gold 6154",
      true,
      0x2ff,
      { INTEL(0x16),
        { 1, 0, 0x00050654, 0x00100800, 0x7ffefbff, 0xbfebfbff },
        { 4, 0, 0x1c004121, 0x01c0003f, 0x3f, 0 },
        { 4, 1, 0x1c004122, 0x01c0003f, 0x3f, 0 },
        { 4, 2, 0x1c004143, 0x03c0003f, 0x3ff, 0 },
        { 4, 3, 0x7c07c163, 0x0280003f, 0x8fff, 4 },
        { 7, 0, 0, 0xd39ffffb, 0x8, 0x9c000000 },
        EXTENDED(0x80000008),
        { 0x80000006, 0, 0, 0, 0x01006040, 0 } },
      CVY_ISA_AVX512,
      KIB(32),
      KIB(1024),
      KIB(25344),
      "unknown" },
    { "Sapphire Rapids under a hypervisor that answers up to AMD's leaf, with zeros",
      false,
      0x600e7,
      { INTEL(0x20),
        { 1, 0, 0x000806f8, 0x00020800, 0xfffab203, 0x1f8bfbff },
        { 4, 0, 0x04004121, 0x02c0003f, 0x3f, 0 },
        { 4, 1, 0x04004122, 0x01c0003f, 0x3f, 0 },
        { 4, 2, 0x04004143, 0x03c0003f, 0x7ff, 0 },
        { 4, 3, 0x04004163, 0x0380003f, 0x1bfff, 4 },
        { 7, 0, 2, 0xf1bf2ffb, 0x1b415f7e, 0xffd14410 },
        EXTENDED(0x8000001f),
        { 0x80000002, 0, 0x65746e49, 0x2952286c, 0x6f655820, 0x2952286e },
        { 0x80000003, 0, 0x616c5020, 0x756e6974, 0x3438206d, 0x20433038 },
        { 0x80000004, 0, 0x20202020, 0x20202020, 0x20202020, 0x00202020 } },
      CVY_ISA_AVX512,
      KIB(48),
      KIB(2048),
      KIB(107520),
      "Intel(R) Xeon(R) Platinum 8480C" },
    { "Haswell",
      true,
      0x7,
      { INTEL(0xd),
        { 1, 0, 0x000306c3, 0x00100800, 0x7ffafbff, 0xbfebfbff },
        { 4, 0, 0x1c004121, 0x01c0003f, 0x3f, 0 },
        { 4, 1, 0x1c004122, 0x01c0003f, 0x3f, 0 },
        { 4, 2, 0x1c004143, 0x01c0003f, 0x1ff, 0 },
        { 4, 3, 0x1c03c163, 0x02c0003f, 0x1fff, 6 },
        { 7, 0, 0, 0x000027ab, 0, 0 },
        EXTENDED(0x80000008),
        { 0x80000002, 0, 0x65746e49, 0x2952286c, 0x726f4320, 0x4d542865 },
        { 0x80000003, 0, 0x37692029, 0x3737342d, 0x43204b30, 0x40205550 },
        { 0x80000004, 0, 0x352e3320, 0x7a484730, 0, 0 } },
      CVY_ISA_AVX2,
      KIB(32),
      KIB(256),
      KIB(6144),
      "Intel(R) Core(TM) i7-4770K CPU @ 3.50GHz" },
    { "Sandy Bridge: AVX, but neither FMA nor AVX2",
      true,
      0x7,
      { INTEL(0xd),
        { 1, 0, 0x000206a6, 0x00100800, 0x1f9ae3bf, 0xbfebfbff },
        { 4, 0, 0x1c004121, 0x01c0003f, 0x3f, 0 },
        { 4, 1, 0x1c004122, 0x01c0003f, 0x3f, 0 },
        { 4, 2, 0x1c004143, 0x01c0003f, 0x1ff, 0 },
        { 4, 3, 0x1c03c163, 0x02c0003f, 0x1fff, 6 },
        EXTENDED(0x80000008) },
      CVY_ISA_SCALAR,
      KIB(32),
      KIB(256),
      KIB(6144),
      "unknown" },
    { "Silvermont: no AVX, a brand that begins with spaces",
      true,
      0,
      { INTEL(0xb),
        { 1, 0, 0x00030673, 0x00100800, 0x41d8e3bf, 0xbfebfbff },
        { 4, 0, 0x1c000121, 0x0140003f, 0x3f, 1 },
        { 4, 1, 0x1c000122, 0x01c0003f, 0x3f, 1 },
        { 4, 2, 0x1c00c143, 0x03c0003f, 0x3ff, 1 },
        { 7, 0, 0, 0x00002282, 0, 0 },
        EXTENDED(0x80000008),
        { 0x80000002, 0, 0x20202020, 0x6e492020, 0x286c6574, 0x43202952 },
        { 0x80000003, 0, 0x72656c65, 0x52286e6f, 0x50432029, 0x4a202055 },
        { 0x80000004, 0, 0x30303931, 0x20402020, 0x39392e31, 0x007a4847 },
        { 0x80000006, 0, 0, 0, 0x04008040, 0 } },
      CVY_ISA_SCALAR,
      KIB(24),
      KIB(1024),
      0,
      "Intel(R) Celeron(R) CPU  J1900  @ 1.99GHz" },
    { "Pentium III: ends at leaf 2 and answers the rest with it, has no extended leaves",
      true,
      0,
      { INTEL(2),
        { 1, 0, 0x00000686, 0x00000002, 0, 0x0383f9ff },
        { 2, 0, 0x03020101, 0, 0, 0x0c040882 } },
      CVY_ISA_SCALAR,
      0,
      0,
      0,
      "unknown" },
    { "Zen 3, EPYC under KVM",
      false,
      0x207,
      { AMD(0x10),
        { 1, 0, 0x00a00f11, 0x01020800, 0xfffa3203, 0x178bfbff },
        { 7, 0, 0, 0x219c07ab, 0x0040069c, 0x88000010 },
        EXTENDED(0x80000022),
        { 0x80000002, 0, 0x20444d41, 0x43595045, 0, 0 },
        { 0x80000005, 0, 0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140 },
        { 0x80000006, 0, 0x48002200, 0x68004200, 0x02006140, 0x08009140 },
        { 0x8000001d, 0, 0x121, 0x01c0003f, 0x3f, 0 },
        { 0x8000001d, 1, 0x122, 0x01c0003f, 0x3f, 0 },
        { 0x8000001d, 2, 0x143, 0x01c0003f, 0x3ff, 2 },
        { 0x8000001d, 3, 0x4163, 0x03c0003f, 0x7fff, 1 } },
      CVY_ISA_AVX2,
      KIB(32),
      KIB(512),
      KIB(32768),
      "AMD EPYC" },
    { "Zen 3 under a hypervisor that hides its list of caches: the old leaves",
      false,
      0x7,
      { AMD(0x10),
        { 1, 0, 0x00a00f11, 0x01020800, 0xfffa3203, 0x178bfbff },
        { 7, 0, 0, 0x219c07ab, 0x0040069c, 0x88000010 },
        EXTENDED(0x80000022),
        { 0x80000005, 0, 0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140 },
        { 0x80000006, 0, 0x48002200, 0x68004200, 0x02006140, 0x01009140 } },
      CVY_ISA_AVX2,
      KIB(32),
      KIB(512),
      KIB(32768),
      "unknown" },
    { "Zen 4",
      false,
      0x2e7,
      { AMD(0x10),
        { 1, 0, 0x00a60f12, 0x00100800, 0x7ef8320b, 0x178bfbff },
        { 7, 0, 1, 0xf1bf97a9, 0x00405fce, 0x10000010 },
        EXTENDED(0x80000028),
        { 0x8000001d, 0, 0x4121, 0x01c0003f, 0x3f, 0 },
        { 0x8000001d, 1, 0x4122, 0x01c0003f, 0x3f, 0 },
        { 0x8000001d, 2, 0x4143, 0x01c0003f, 0x7ff, 2 },
        { 0x8000001d, 3, 0x1c163, 0x03c0003f, 0x7fff, 1 } },
      CVY_ISA_AVX512,
      KIB(32),
      KIB(1024),
      KIB(32768),
      "unknown" },
    { "Zen 4 as QEMU shows it to a guest of an Intel model: leaf 4 only",
      false,
      0xe7,
      { AMD(0x1f),
        { 1, 0, 0x00a60f12, 0x00100800, 0xfffa3203, 0x178bfbff },
        { 4, 0, 0x04000121, 0x01c0003f, 0x3f, 1 },
        { 4, 1, 0x04000122, 0x01c0003f, 0x3f, 1 },
        { 4, 2, 0x04000143, 0x01c0003f, 0x7ff, 1 },
        { 4, 3, 0x04000163, 0x03c0003f, 0x3fff, 6 },
        { 7, 0, 0, 0xf1bf97a9, 0x00405fce, 0x10000010 },
        EXTENDED(0x80000008) },
      CVY_ISA_AVX512,
      KIB(32),
      KIB(1024),
      KIB(16384),
      "unknown" },
    { "Hygon Dhyana",
      false,
      0x7,
      { HYGON(0xd),
        { 1, 0, 0x00900f02, 0x00100800, 0x74d83209, 0x178bfbff },
        { 7, 0, 0, 0x209c01a9, 0, 0 },
        EXTENDED(0x8000001f),
        { 0x80000001, 0, 0x00900f02, 0x60000000, 0x35c233ff, 0x2fd3fbff },
        { 0x8000001d, 0, 0x4121, 0x01c0003f, 0x3f, 0 },
        { 0x8000001d, 1, 0x4122, 0x00c0003f, 0xff, 0 },
        { 0x8000001d, 2, 0x4143, 0x01c0003f, 0x3ff, 2 },
        { 0x8000001d, 3, 0x1c163, 0x03c0003f, 0x1fff, 1 } },
      /* this one's table has FMA hidden */
      CVY_ISA_SCALAR,
      KIB(32),
      KIB(512),
      KIB(8192),
      "unknown" },
    { "AVX-512 in CPUID, but the operating system saves no opmask and zmm registers",
      true,
      0x7,
      { INTEL(0x16),
        { 1, 0, 0x00050654, 0x00100800, 0x7ffefbff, 0xbfebfbff },
        { 7, 0, 0, 0xd39ffffb, 8, 0x9c000000 } },
      CVY_ISA_AVX2,
      0,
      0,
      0,
      "unknown" },
    { "AVX in CPUID, but the operating system saves no ymm registers",
      true,
      0x3,
      { INTEL(0x16),
        { 1, 0, 0x00050654, 0x00100800, 0x7ffefbff, 0xbfebfbff },
        { 7, 0, 0, 0xd39ffffb, 8, 0x9c000000 } },
      CVY_ISA_SCALAR,
      0,
      0,
      0,
      "unknown" },
    { "AVX in CPUID, but the operating system does not use XSAVE: XGETBV would fault",
      true,
      UINT64_MAX,
      { INTEL(0x16),
        { 1, 0, 0x00050654, 0x00100800, 0x77fefbff, 0xbfebfbff },
        { 7, 0, 0, 0xd39ffffb, 8, 0x9c000000 } },
      CVY_ISA_SCALAR,
      0,
      0,
      0,
      "unknown" },
    { "AVX2 shown above a maximum that hides it (limit CPUID maxval)",
      true,
      0xe7,
      { INTEL(3),
        { 1, 0, 0x00050654, 0x00100800, 0x7ffefbff, 0xbfebfbff },
        { 3, 0, 0, 0xffffffff, 0, 0 },
        { 7, 0, 0, 0xd39ffffb, 8, 0x9c000000 },
        { 4, 0, 0x1c004121, 0x01c0003f, 0x3f, 0 } },
      CVY_ISA_SCALAR,
      0,
      0,
      0,
      "unknown" },
    { "AVX-512 without its byte and word instructions (Knights Landing)",
      true,
      0xe7,
      { INTEL(0xd),
        { 1, 0, 0x00050671, 0x00ff0800, 0x7ff8f3bf, 0xbfebfbff },
        { 7, 0, 0, 0x1c0d23ab, 1, 0 },
        { 4, 0, 0x1c000121, 0x01c0003f, 0x3f, 0 },
        { 4, 1, 0x1c000122, 0x01c0003f, 0x3f, 0 },
        { 4, 2, 0x1c004143, 0x03c0003f, 0x3ff, 0 } },
      CVY_ISA_AVX2,
      KIB(32),
      KIB(1024),
      0,
      "unknown" },
    { "garbage: caches of one byte, of 2^52 bytes, with lines of 7 bytes, and a brand that cannot "
      "be printed",
      false,
      7,
      { INTEL(0x16),
        { 4, 0, 0x21, 0, 0, 0 },
        { 4, 1, 0x43, 0xffffffff, 0xffffffff, 0 },
        { 4, 2, 0x63, 0x03c00006, 0x7fff, 0 },
        EXTENDED(0x80000004),
        { 0x80000002, 0, 0x07070707, 0xffffffff, 0x1b5b1b5b, 0x20202020 } },
      CVY_ISA_SCALAR,
      0,
      0,
      0,
      "unknown" },
    { "a list without an end: sixteen are read; a unified first level, others of data only",
      false,
      0,
      { INTEL(4),
        { 4, 0, 0x23, 0x01c0003f, 0x3f, 0 },
        { 4, 1, 0x41, 0x01c0003f, 0x3ff, 0 },
        { 4, 2, 0x61, 0x01c0003f, 0x3ff, 0 },
        { 4, 3, 0x22, 0x01c0003f, 0x3f, 0 },
        { 4, 4, 0x22, 0x01c0003f, 0x3f, 0 },
        { 4, 5, 0x22, 0x01c0003f, 0x3f, 0 },
        { 4, 6, 0x22, 0x01c0003f, 0x3f, 0 },
        { 4, 7, 0x22, 0x01c0003f, 0x3f, 0 },
        { 4, 8, 0x22, 0x01c0003f, 0x3f, 0 },
        { 4, 9, 0x22, 0x01c0003f, 0x3f, 0 },
        { 4, 10, 0x22, 0x01c0003f, 0x3f, 0 },
        { 4, 11, 0x22, 0x01c0003f, 0x3f, 0 },
        { 4, 12, 0x22, 0x01c0003f, 0x3f, 0 },
        { 4, 13, 0x22, 0x01c0003f, 0x3f, 0 },
        { 4, 14, 0x22, 0x01c0003f, 0x3f, 0 },
        { 4, 15, 0x22, 0x01c0003f, 0x3f, 0 },
        { 4, 16, 0x43, 0x01c0003f, 0x3ff, 0 } },
      CVY_ISA_SCALAR,
      KIB(32),
      0,
      0,
      "unknown" },
    { "only a second level",
      false,
      0,
      { INTEL(4), { 4, 0, 0x43, 0x01c0003f, 0x3ff, 0 } },
      CVY_ISA_SCALAR,
      0,
      KIB(512),
      0,
      "unknown" },
    { "only a third level",
      false,
      0,
      { INTEL(4), { 4, 0, 0x63, 0x03c0003f, 0x7fff, 0 } },
      CVY_ISA_SCALAR,
      0,
      0,
      KIB(32768),
      "unknown" },
    { "garbage: lines of 2048 and 48 bytes, 65 partitions, 2^48 bytes, an end of the extended "
      "leaves that is none",
      false,
      0,
      { INTEL(4),
        { 4, 0, 0x21, 0x01c007ff, 0x3f, 0 },
        { 4, 1, 0x43, 0x01c0002f, 0x3ff, 0 },
        { 4, 2, 0x63, 0x01c4003f, 0x3ff, 0 },
        { 4, 3, 0x63, 0xffc0003f, 0xffffffff, 0 },
        EXTENDED(0xffffffff),
        { 0x80000002, 0, 0x20444d41, 0, 0, 0 } },
      CVY_ISA_SCALAR,
      0,
      0,
      0,
      "unknown" },
    { "AMD's, whose extended leaves end with the brand, which has a DEL in it",
      false,
      0,
      { AMD(1),
        EXTENDED(0x80000004),
        { 0x80000002, 0, 0x7f444d41, 0x43595045, 0, 0 },
        { 0x80000005, 0, 0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140 } },
      CVY_ISA_SCALAR,
      0,
      0,
      0,
      "unknown" },
    { "nothing at all", false, 0, { { 0, 0, 0, 0, 0, 0 } }, CVY_ISA_SCALAR, 0, 0, 0, "unknown" },
};

static struct cvyi_cpuid recorded(const void *arg, uint32_t leaf, uint32_t subleaf)
{
    const struct machine *m = arg;
    uint32_t base = leaf & 0x80000000u, last = 0; /* no range of that kind */
    for (size_t i = 0; i < 24 && !last; i++)
        if (m->leaf[i].leaf == base) last = m->leaf[i].a;
    /* the last basic one, for either range */
    if (m->past_the_end && leaf > last) leaf = m->leaf[0].a;
    for (size_t i = 0; i < 24; i++) {
        const struct leaf *l = &m->leaf[i];
        if (l->leaf == leaf && l->subleaf == subleaf)
            return (struct cvyi_cpuid){ l->a, l->b, l->c, l->d };
    }
    return (struct cvyi_cpuid){ 0, 0, 0, 0 };
}

static uint64_t recorded_xcr0(const void *arg)
{
    const struct machine *m = arg;
    if (m->xcr0 == UINT64_MAX) fail_msg("%s: XGETBV", m->name);
    return m->xcr0;
}

static void cpus_are_what_their_leaves_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        const struct machine *m = &machines[i];
        const struct cvyi_cpu cpu = { recorded, recorded_xcr0, m };
        char brand[64];
        printf("    %s\n", m->name);
        for (int isa = CVY_ISA_SCALAR; isa <= CVY_ISA_AVX512; isa++)
            assert_int_equal(cvyi_cpuid_can_run(&cpu, (enum cvy_isa)isa), isa <= (int)m->best);
        struct cvyi_caches caches = cvyi_cpuid_caches(&cpu);
        assert_int_equal(caches.l1d, m->l1d);
        assert_int_equal(caches.l2, m->l2);
        assert_int_equal(caches.l3, m->l3);
        cvyi_cpuid_name(&cpu, brand);
        assert_string_equal(brand, m->brand);
    }
}

/* Without any one of the bits that a level's code needs the level is not chosen. */
static void every_bit_that_a_level_needs_is_asked_for(void **state)
{
    (void)state;
    static const struct {
        uint32_t leaf, bit;
        bool in_b;
        enum cvy_isa best;
    } bits[] = {
        { 1, 0, false, CVY_ISA_SCALAR },  { 1, 9, false, CVY_ISA_SCALAR },
        { 1, 12, false, CVY_ISA_SCALAR }, { 1, 19, false, CVY_ISA_SCALAR },
        { 1, 20, false, CVY_ISA_SCALAR }, { 1, 23, false, CVY_ISA_SCALAR },
        { 1, 26, false, CVY_ISA_SCALAR }, { 1, 27, false, CVY_ISA_SCALAR },
        { 1, 28, false, CVY_ISA_SCALAR }, { 7, 5, true, CVY_ISA_SCALAR },
        { 7, 16, true, CVY_ISA_AVX2 },    { 7, 17, true, CVY_ISA_AVX2 },
        { 7, 30, true, CVY_ISA_AVX2 },    { 7, 31, true, CVY_ISA_AVX2 },
    };
    static const struct {
        uint32_t bit;
        enum cvy_isa best;
    } saved[] = {
        { 1, CVY_ISA_SCALAR }, { 2, CVY_ISA_SCALAR }, { 5, CVY_ISA_AVX2 },
        { 6, CVY_ISA_AVX2 },   { 7, CVY_ISA_AVX2 },
    };
    for (size_t i = 0; i < sizeof bits / sizeof *bits + sizeof saved / sizeof *saved; i++) {
        struct machine m = machines[0];
        const struct cvyi_cpu cpu = { recorded, recorded_xcr0, &m };
        size_t k = i - sizeof bits / sizeof *bits;
        enum cvy_isa best = i < sizeof bits / sizeof *bits ? bits[i].best : saved[k].best;
        assert_true(cvyi_cpuid_can_run(&cpu, CVY_ISA_AVX512));
        for (size_t l = 0; i < sizeof bits / sizeof *bits && l < 24; l++) {
            uint32_t *word = bits[i].in_b ? &m.leaf[l].b : &m.leaf[l].c;
            if (m.leaf[l].leaf == bits[i].leaf) *word &= ~(1u << bits[i].bit);
        }
        if (i >= sizeof bits / sizeof *bits) m.xcr0 &= ~(1ull << saved[k].bit);
        for (int isa = CVY_ISA_SCALAR; isa <= CVY_ISA_AVX512; isa++)
            assert_int_equal(cvyi_cpuid_can_run(&cpu, (enum cvy_isa)isa), isa <= (int)best);
    }
}

/* -------------------------------------------------------------------------------------- cgroups */

struct file {
    const char *path, *text;
};
struct host {
    const char *name;
    struct file file[12];
    double quota;
};

#define CGROUP "/proc/self/cgroup"
#define MOUNTS "/proc/self/mountinfo"
#define V2                                                                                    \
    "29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 " \
    "rw,nsdelegate\n"
#define V1 \
    "33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:13 - cgroup cgroup rw,cpu,cpuacct\n"
#define V1_SET "34 25 0:30 / /sys/fs/cgroup/cpuset rw,nosuid shared:14 - cgroup cgroup rw,cpuset\n"
#define UNIFIED "30 25 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw\n"
#define OTHERS                                                                                  \
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n24 22 0:22 / /proc rw - proc proc " \
    "rw\n"

static const struct host hosts[] = {
    { "no files at all", { { NULL, NULL } }, 0 },
    { "a laptop: version 2, no limit on the way",
      { { CGROUP, "0::/user.slice/user-1000.slice/session-2.scope\n" },
        { MOUNTS, OTHERS V2 },
        { "/sys/fs/cgroup/user.slice/cpu.max", "max 100000\n" } },
      0 },
    { "version 2, one and a half CPUs for a service",
      { { CGROUP, "0::/system.slice/train.service\n" },
        { MOUNTS, OTHERS V2 },
        { "/sys/fs/cgroup/system.slice/train.service/cpu.max", "150000 100000\n" } },
      1.5 },
    { "version 2, the slice above has less than the service",
      { { CGROUP, "0::/a.slice/b.slice/c.service\n" },
        { MOUNTS, OTHERS V2 },
        { "/sys/fs/cgroup/a.slice/b.slice/c.service/cpu.max", "800000 100000\n" },
        { "/sys/fs/cgroup/a.slice/b.slice/cpu.max", "max 100000\n" },
        { "/sys/fs/cgroup/a.slice/cpu.max", "50000 25000\n" } },
      2 },
    { "version 2, the slice above has more than the service",
      { { CGROUP, "1::/no\n0::/a.slice/b.service\n" },
        { MOUNTS, OTHERS V2 },
        { "/sys/fs/cgroup/a.slice/b.service/cpu.max", "100000 100000\n" },
        { "/sys/fs/cgroup/a.slice/cpu.max", "500000 100000\n" },
        { "/sys/fs/cgroup/no/cpu.max", "50000 100000\n" } },
      1 },
    { "version 2, mounted three times, from three places: the smallest",
      { { CGROUP, "0::/box\n" },
        { MOUNTS, V2 "41 22 0:26 / /two rw - cgroup2 cgroup2 rw\n42 22 0:26 / /three rw - cgroup2 "
                     "cgroup2 rw\n" },
        { "/sys/fs/cgroup/box/cpu.max", "300000 100000\n" },
        { "/two/box/cpu.max", "200000 100000\n" },
        { "/three/box/cpu.max", "400000 100000\n" } },
      2 },
    { "version 2, only mounted from groups that are others: the smallest of them is all that is "
      "known",
      { { CGROUP, "0::/box\n" },
        { MOUNTS, "41 22 0:26 /other /one rw - cgroup2 cgroup2 rw\n42 22 0:26 /another /two rw - "
                  "cgroup2 cgroup2 rw\n" },
        { "/one/cpu.max", "300000 100000\n" },
        { "/two/cpu.max", "500000 100000\n" } },
      3 },
    { "version 2, mounted under a name with a backslash that is written as it is",
      { { CGROUP, "0::/\n" },
        { MOUNTS, "41 22 0:26 / /my\\9 rw - cgroup2 cgroup2 rw\n" },
        { "/my\\9/cpu.max", "300000 100000\n" } },
      3 },
    { "version 2, a container in a namespace of its own",
      { { CGROUP, "0::/\n" },
        { MOUNTS, OTHERS "641 640 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n" },
        { "/sys/fs/cgroup/cpu.max", "400000 100000\n" } },
      4 },
    { "version 2, mounted elsewhere, under a name with a space and a backslash",
      { { CGROUP, "0::/x y\n" },
        { MOUNTS, OTHERS "41 22 0:26 / /my\\040groups\\134v2 rw - cgroup2 cgroup2 rw\n" },
        { "/my groups\\v2/x y/cpu.max", "300000 100000\n" } },
      3 },
    { "version 2, mounted at the root of a small container",
      { { CGROUP, "0::/job\n" },
        { MOUNTS, "41 22 0:26 / / rw - cgroup2 cgroup2 rw\n" },
        { "/job/cpu.max", "max 100000\n" },
        { "/cpu.max", "300000 100000\n" } },
      3 },
    { "version 2, the name of a group with a colon",
      { { CGROUP, "0::/a:b:c\n" },
        { MOUNTS, V2 },
        { "/sys/fs/cgroup/a:b:c/cpu.max", "200000 100000\n" } },
      2 },
    { "version 2, moved out of the namespace's root: only what is mounted is known",
      { { CGROUP, "0::/../other\n" },
        { MOUNTS, V2 },
        { "/sys/fs/cgroup/cpu.max", "250000 100000\n" },
        { "/sys/fs/cgroup/../other/cpu.max", "100000 100000\n" } },
      2.5 },
    { "version 1, quota of the own group",
      { { CGROUP, "5:cpuset:/\n4:cpu,cpuacct:/user.slice\n1:name=systemd:/user.slice\n" },
        { MOUNTS, OTHERS V1_SET V1 },
        { "/sys/fs/cgroup/cpu,cpuacct/user.slice/cpu.cfs_quota_us", "250000\n" },
        { "/sys/fs/cgroup/cpu,cpuacct/user.slice/cpu.cfs_period_us", "100000\n" } },
      2.5 },
    { "version 1, controllers in the other order, a nested group, the limit above it",
      { { CGROUP, "11:cpuacct,cpu:/jobs/7/step\n" },
        { MOUNTS,
          OTHERS "33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpuacct,cpu\n" },
        { "/sys/fs/cgroup/cpu,cpuacct/jobs/7/step/cpu.cfs_quota_us", "-1\n" },
        { "/sys/fs/cgroup/cpu,cpuacct/jobs/7/step/cpu.cfs_period_us", "100000\n" },
        { "/sys/fs/cgroup/cpu,cpuacct/jobs/7/cpu.cfs_quota_us", "30000\n" },
        { "/sys/fs/cgroup/cpu,cpuacct/jobs/7/cpu.cfs_period_us", "10000\n" } },
      3 },
    { "version 1, no limit",
      { { CGROUP, "4:cpu,cpuacct:/\n" },
        { MOUNTS, V1 },
        { "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n" },
        { "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n" } },
      0 },
    { "version 1, Docker without a namespace: the group by its outer name, mounted from there",
      { { CGROUP, "4:cpu,cpuacct:/docker/8f6a\n1:name=systemd:/docker/8f6a\n" },
        { MOUNTS, OTHERS "980 975 0:29 /docker/8f6a /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup "
                         "rw,cpu,cpuacct\n" },
        { "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n" },
        { "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n" } },
      0.5 },
    { "version 1, a group inside of what is mounted, and a group beside it with a longer name",
      { { CGROUP, "4:cpu:/docker/8f6a/inner\n" },
        { MOUNTS, "979 975 0:29 /docker/8f6a/inn /mnt/other ro - cgroup cgroup rw,cpu\n"
                  "980 975 0:29 /docker/8f6a /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n" },
        { "/mnt/other/cpu.cfs_quota_us", "10000\n" },
        { "/mnt/other/cpu.cfs_period_us", "100000\n" },
        { "/sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "700000\n" },
        { "/sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n" } },
      7 },
    { "hybrid: version 2 names the group too, but version 1 has the CPUs",
      { { CGROUP, "9:name=systemd:/\n4:memory:/\n1:cpu:/box\n0::/box\n" },
        { MOUNTS, OTHERS V1_SET V1 UNIFIED },
        { "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "125000\n" },
        { "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "50000\n" } },
      2.5 },
    { "both have a limit: the smaller",
      { { CGROUP, "1:cpu:/box\n0::/box\n" },
        { MOUNTS, V1 UNIFIED },
        { "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "500000\n" },
        { "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n" },
        { "/sys/fs/cgroup/unified/box/cpu.max", "200000 100000\n" } },
      2 },
    { "both have a limit: the smaller, the other way round; mounts without options and a "
      "controller of three letters",
      { { CGROUP, "2:pid,rdma:/pid\n1:cpu:/box\n0::/box\n" },
        { MOUNTS, "7 6 0:1 / /none rw - cgroup cgroup\n" V1 UNIFIED },
        { "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "150000\n" },
        { "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n" },
        { "/sys/fs/cgroup/unified/box/cpu.max", "200000 100000\n" } },
      1.5 },
    { "only the hierarchy of processors counts, not one that is called so",
      { { CGROUP, "4:cpuset,cpuacct:/box\n3:name=cpu:/box\n" },
        { MOUNTS, V1 V1_SET },
        { "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "100000\n" },
        { "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n" } },
      0 },
    { "garbage: no number",
      { { CGROUP, "0::/\n" }, { MOUNTS, V2 }, { "/sys/fs/cgroup/cpu.max", "lots of\n" } },
      0 },
    { "garbage: a number too few",
      { { CGROUP, "0::/\n" }, { MOUNTS, V2 }, { "/sys/fs/cgroup/cpu.max", "100000\n" } },
      0 },
    { "garbage: text behind the number",
      { { CGROUP, "0::/\n" }, { MOUNTS, V2 }, { "/sys/fs/cgroup/cpu.max", "100000us 100000\n" } },
      0 },
    { "garbage: zeros",
      { { CGROUP, "0::/\n" }, { MOUNTS, V2 }, { "/sys/fs/cgroup/cpu.max", "0 0\n" } },
      0 },
    { "garbage: a period of zero",
      { { CGROUP, "0::/\n" }, { MOUNTS, V2 }, { "/sys/fs/cgroup/cpu.max", "100000 0\n" } },
      0 },
    { "garbage: below zero",
      { { CGROUP, "0::/\n" }, { MOUNTS, V2 }, { "/sys/fs/cgroup/cpu.max", "-5 -10\n" } },
      0 },
    { "garbage: more digits than there are numbers",
      { { CGROUP, "0::/\n" },
        { MOUNTS, V2 },
        { "/sys/fs/cgroup/cpu.max", "99999999999999999999999 1\n" } },
      0 },
    { "garbage: an empty file",
      { { CGROUP, "0::/\n" }, { MOUNTS, V2 }, { "/sys/fs/cgroup/cpu.max", "\n" } },
      0 },
    { "garbage: no line at all",
      { { CGROUP, "0::/\n" }, { MOUNTS, V2 }, { "/sys/fs/cgroup/cpu.max", "" } },
      0 },
    { "garbage: version 1 without a period",
      { { CGROUP, "1:cpu:/\n" },
        { MOUNTS, V1 },
        { "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n" } },
      0 },
    { "garbage: lines that are none",
      { { CGROUP, "\n:\n::\n0:\n0::\nnonsense\n0::relative\n" },
        { MOUNTS, "\n - \n1 2 - cgroup2\n - cgroup2 x y\n" V2 },
        { "/sys/fs/cgroup/cpu.max", "100000 100000\n" } },
      0 },
    { "garbage: mounts that are none, before the one",
      { { CGROUP, "0::/\n" },
        { MOUNTS, "\n - \n1 2 - cgroup2\n - cgroup2 x y\n7 - cgroup\n" V2 },
        { "/sys/fs/cgroup/cpu.max", "100000 100000\n" } },
      1 },
};

static FILE *open_recorded(void *arg, const char *path)
{
    const struct host *h = arg;
    for (size_t i = 0; i < 12 && h->file[i].path; i++)
        if (!strcmp(h->file[i].path, path))
            return fmemopen((void *)(uintptr_t)h->file[i].text, strlen(h->file[i].text), "r");
    return NULL;
}

static void quotas_are_what_the_files_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        printf("    %s\n", hosts[i].name);
        double quota = cvyi_cgroup_quota(open_recorded, (void *)(uintptr_t)&hosts[i]);
        assert_true(quota == hosts[i].quota);
    }
}

/* A group whose name does not fit a path is no limit, and no crash. */
static void long_names_are_survived(void **state)
{
    (void)state;
    for (size_t length = 4000; length < 4300; length += 7) {
        char *cgroup = malloc(length + 8);
        memset(cgroup, 'x', length);
        memcpy(cgroup, "0::/", 4);
        strcpy(cgroup + length, "\n");
        struct host h = { "long", { { CGROUP, cgroup }, { MOUNTS, V2 } }, 0 };
        assert_true(cvyi_cgroup_quota(open_recorded, &h) == 0);
        free(cgroup);
    }
}

/* -------------------------------------------------------------------------------------- threads */

static size_t kernel_cpus, set_cpus; /* that the kernel has room for; that are set */

static int get_affinity(size_t bytes, cpu_set_t *set)
{
    if (bytes * 8 < kernel_cpus) {
        errno = EINVAL;
        return -1;
    }
    for (size_t i = 0; i < set_cpus; i++) CPU_SET_S(i * (kernel_cpus / set_cpus), bytes, set);
    return 0;
}

static void affinity_masks_may_be_large(void **state)
{
    (void)state;
    static const size_t counts[][2] = {
        { 64, 1 }, { 1024, 1024 }, { 1088, 1025 }, { 8192, 2048 }, { 1 << 20, 4096 }
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        kernel_cpus = counts[i][0];
        set_cpus = counts[i][1];
        assert_int_equal(cvyi_affinity_count(get_affinity), set_cpus);
    }
    kernel_cpus = (size_t)1 << 30; /* it never succeeds */
    assert_int_equal(cvyi_affinity_count(get_affinity), 1);
}

static void threads_are_the_smaller_limit(void **state)
{
    (void)state;
    static const struct {
        size_t allowed;
        double quota;
        size_t threads;
        bool by_quota;
    } cases[] = {
        { 8, 0, 8, false },         { 8, 4, 4, true },     { 8, 1.5, 2, true },
        { 8, 0.1, 1, true },        { 2, 64, 2, false },   { 8, 8, 8, false },
        { 1, 0, 1, false },         { 0, 0, 1, false },    { 4096, 0, 1024, false },
        { 4096, 2048, 1024, true }, { 16, 3.01, 4, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cvyi_cpu_limits limits = cvyi_limits_of(cases[i].allowed, cases[i].quota);
        assert_int_equal(limits.threads, cases[i].threads);
        assert_int_equal(limits.by_quota, cases[i].by_quota);
        assert_int_equal(limits.allowed, cases[i].allowed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpus_are_what_their_leaves_say),
        cmocka_unit_test(every_bit_that_a_level_needs_is_asked_for),
        cmocka_unit_test(quotas_are_what_the_files_say),
        cmocka_unit_test(long_names_are_survived),
        cmocka_unit_test(affinity_masks_may_be_large),
        cmocka_unit_test(threads_are_the_smaller_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
