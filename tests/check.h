/* Helpers of the kernel and numerics tests: guarded buffers, a generator, distances between floats.
 *
 * Header only, so that a test program is one file. It knows nothing of kernels or nets. A failure
 * is printed by the caller with everything needed to repeat it (the seed is CVYI_TEST_SEED in the
 * environment, or the default). */
#ifndef CVYI_TESTS_CHECK_H
#define CVYI_TESTS_CHECK_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- random numbers: splitmix64, enough for tests, the same on every machine */
struct check_rng {
    uint64_t s;
};

static inline uint64_t check_u64(struct check_rng *r)
{
    uint64_t z = (r->s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static inline size_t check_below(struct check_rng *r, size_t n)
{
    return (size_t)(check_u64(r) % n);
}
static inline float check_uniform(struct check_rng *r, float lo, float hi)
{
    return lo + (hi - lo) * (float)(check_u64(r) >> 40) * 0x1p-24f;
}
/* About normal: a sum of four uniforms with variance 1. */
static inline float check_normal(struct check_rng *r)
{
    float s = 0;
    for (int i = 0; i < 4; i++) s += check_uniform(r, -1, 1);
    return s * 0.8660254f;
}
static inline uint64_t check_seed(void)
{
    const char *s = getenv("CVYI_TEST_SEED");
    return s ? strtoull(s, NULL, 0) : 20240229u;
}
/* Of so many random cases, half where a build is slow: others make them all. */
static inline size_t check_cases(size_t all)
{
    return getenv("CVYI_TEST_STEPS") ? (all + 1) / 2 : all;
}

/* ---- floats as bits */
static inline uint32_t check_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
static inline float check_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}
/* Equal bits; every NaN is the same NaN (which operand's payload survives is the compiler's
 * choice). */
static inline bool check_same(float a, float b)
{
    return check_bits(a) == check_bits(b) || (a != a && b != b);
}
/* The error of x against want, in units of the last place of want as a float (denormals share
 * FLT_MIN's ulp). Both NaN, or both the same infinity: 0. One of them not finite, or a value beyond
 * FLT_MAX that is not infinite: huge. */
static inline double check_ulp(float x, double want)
{
    if (isnan(want) || isnan(x)) return isnan(want) && isnan(x) ? 0 : HUGE_VAL;
    if (isinf(x) || fabs(want) >= 0x1.ffffffp127)
        return isinf(x) && fabs(want) >= 0x1.fffffep127 && (x > 0) == (want > 0) ? 0 : HUGE_VAL;
    int e = 0;
    frexp(want, &e);
    if (want == 0 || e < -125) e = -125;
    return fabs((double)x - want) / ldexp(1, e - 24);
}
/* Any kind of float: mostly ordinary values, now and then special ones. */
static inline float check_any(struct check_rng *r, bool specials)
{
    static const float list[] = { 0.0f,      -0.0f,  1e-40f,          -1e-40f,          0x1p-126f,
                                  1e30f,     -1e30f, 0x1.fffffep127f, -0x1.fffffep127f, INFINITY,
                                  -INFINITY, NAN,    88.5f,           -88.5f,           104.0f,
                                  -104.0f };
    if (specials && check_below(r, 8) == 0) return list[check_below(r, sizeof list / sizeof *list)];
    return check_normal(r) * (check_below(r, 4) ? 1.0f : 8.0f);
}

/* ---- guarded buffers: `bytes` usable bytes between two pages that fault. With `end` the buffer's
 * last byte touches the guard behind it, else its first touches the guard before it; `shift` bytes
 * (a multiple of the element size) move it off that guard, to misalign it. */
struct check_buf {
    unsigned char *map;
    size_t map_bytes;
    void *p;
    size_t bytes;
};

static inline struct check_buf check_alloc(size_t bytes, bool end, size_t shift)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = (bytes + shift + page - 1) / page * page;
    inner = inner ? inner : page;
    struct check_buf b = { NULL, inner + 2 * page, NULL, bytes };
    void *m = mmap(NULL, b.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED || mprotect((char *)m + page, inner, PROT_READ | PROT_WRITE)) {
        perror("check_alloc");
        abort();
    }
    b.map = m;
    b.p = b.map + page + (end ? inner - bytes - shift : shift);
    memset(b.map + page, 0xff, inner); /* NaN, as floats */
    return b;
}
/* True if the bytes of the map around the buffer still hold the filling. */
static inline bool check_intact(const struct check_buf *b)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const unsigned char *lo = b->map + page, *hi = b->map + b->map_bytes - page, *p = b->p;
    for (; lo < p; lo++)
        if (*lo != 0xff) return false;
    for (p += b->bytes; p < hi; p++)
        if (*p != 0xff) return false;
    return true;
}
static inline void check_free(struct check_buf *b)
{
    if (b->map) munmap(b->map, b->map_bytes);
    b->map = NULL;
}

#endif
