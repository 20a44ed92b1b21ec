/* Samplers: what each may and must give, that it depends on seed and epoch, how evenly it draws. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "train/sampling.h"

static const struct sampling plain = { SAMPLING_SHUFFLED, 0 };

static void shuffle(void **state)
{
    (void)state;
    static uint32_t a[5000], b[5000];
    static bool seen[5000];
    for (size_t n = 1; n <= 5000; n = n * 3 + 1) {
        memset(seen, 0, sizeof seen);
        sampling_fill(&plain, a, n, 7, 3);
        for (size_t i = 0; i < n; i++) {
            assert_true(a[i] < n && !seen[a[i]]);
            seen[a[i]] = true;
        }
        sampling_fill(&plain, b, n, 7, 3);
        assert_memory_equal(a, b, n * sizeof *a);
        if (n < 10) continue;
        sampling_fill(&plain, b, n, 7, 4);
        assert_memory_not_equal(a, b, n * sizeof *a);
        sampling_fill(&plain, b, n, 8, 3);
        assert_memory_not_equal(a, b, n * sizeof *a);
    }
    /* Each of the 24 orders of four about equally often: chi squared with 23 degrees, p = 1e-6 at
     * 66.4. */
    unsigned counts[256] = { 0 };
    for (uint64_t e = 0; e < 24000; e++) {
        sampling_fill(&plain, a, 4, 1, e);
        counts[a[0] | a[1] << 2 | a[2] << 4 | a[3] << 6]++;
    }
    double chi = 0;
    size_t orders = 0;
    for (size_t i = 0; i < 256; i++)
        if (counts[i]) {
            chi += ((double)counts[i] - 1000) * ((double)counts[i] - 1000) / 1000;
            orders++;
        }
    assert_int_equal(orders, 24);
    assert_true(chi < 66.4);
}

/* What the words beside the kind say, worked out by another program: runs go on with it. */
static void shuffled_as_before(void **state)
{
    (void)state;
    uint32_t got[10];
    static const uint32_t want[10] = { 1, 9, 0, 4, 2, 8, 5, 7, 3, 6 };
    sampling_fill(&plain, got, 10, 7, 3);
    assert_memory_equal(got, want, sizeof want);
}

static void fixed(void **state)
{
    (void)state;
    const struct sampling s = { SAMPLING_FIXED, 0 };
    uint32_t order[300];
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        memset(order, 9, sizeof order);
        sampling_fill(&s, order, 300, epoch, epoch);
        for (uint32_t i = 0; i < 300; i++) assert_int_equal(order[i], i);
    }
}

/* Place i of a buffer of b comes from the first i + b images; each image comes once; a buffer of
 * one is the data set's order; the first is each of the buffer equally often. */
static void buffered(void **state)
{
    (void)state;
    static uint32_t order[1000], again[1000];
    static const size_t buffers[] = { 1, 2, 10, 999, 1000, 100000 };
    for (size_t k = 0; k < sizeof buffers / sizeof *buffers; k++) {
        const struct sampling s = { SAMPLING_BUFFERED, buffers[k] };
        for (uint64_t epoch = 0; epoch < 5; epoch++) {
            bool seen[1000] = { false };
            size_t moved = 0;
            sampling_fill(&s, order, 1000, 3, epoch);
            for (size_t i = 0; i < 1000; i++) {
                assert_true(order[i] < 1000 && order[i] < i + buffers[k] && !seen[order[i]]);
                seen[order[i]] = true;
                moved += order[i] != i;
            }
            assert_true(buffers[k] == 1 ? moved == 0 : moved > 300);
            sampling_fill(&s, again, 1000, 3, epoch);
            assert_memory_equal(order, again, sizeof order);
            sampling_fill(&s, again, 1000, 3, epoch + 1);
            assert_true(buffers[k] == 1 || memcmp(order, again, sizeof order));
        }
    }
    const struct sampling ten = { SAMPLING_BUFFERED, 10 };
    unsigned first[10] = { 0 };
    double chi = 0;
    for (uint64_t e = 0; e < 10000; e++) {
        sampling_fill(&ten, order, 50, 1, e);
        first[order[0]]++;
    }
    for (size_t i = 0; i < 10; i++)
        chi += ((double)first[i] - 1000) * ((double)first[i] - 1000) / 1000;
    assert_true(chi < 46); /* 9 degrees, p = 6e-7 */
}

/* 1000 draws of 1000: an image is missing with probability 1/e; all are drawn equally often. */
static void replacement(void **state)
{
    (void)state;
    const struct sampling s = { SAMPLING_REPLACEMENT, 0 };
    static uint32_t order[1000], again[1000];
    static unsigned times[1000];
    size_t missing = 0;
    double chi = 0;
    for (uint64_t e = 0; e < 100; e++) {
        bool seen[1000] = { false };
        sampling_fill(&s, order, 1000, 5, e);
        for (size_t i = 0; i < 1000; i++) {
            assert_true(order[i] < 1000);
            seen[order[i]] = true;
            times[order[i]]++;
        }
        for (size_t i = 0; i < 1000; i++) missing += !seen[i];
    }
    assert_in_range(missing, 36000, 37600); /* 100 000 / e = 36 788, sigma 99 */
    for (size_t i = 0; i < 1000; i++)
        chi += ((double)times[i] - 100) * ((double)times[i] - 100) / 100;
    assert_true(chi > 780 && chi < 1230); /* 999 degrees, five sigma */
    sampling_fill(&s, again, 1000, 5, 99);
    assert_memory_equal(order, again, sizeof order);
    sampling_fill(&s, again, 1000, 6, 99);
    assert_memory_not_equal(order, again, sizeof order);
}

static void names(void **state)
{
    (void)state;
    enum sampling_kind kind = SAMPLING_FIXED;
    int n = 0;
    for (; sampling_name(n); n++) {
        assert_true(sampling_from_name(sampling_name(n), &kind));
        assert_int_equal(kind, n);
    }
    assert_int_equal(n, SAMPLING_KINDS);
    assert_false(sampling_from_name("Fixed", &kind) || sampling_from_name(NULL, &kind));
    assert_int_equal(kind, SAMPLING_REPLACEMENT);
    assert_null(sampling_name(-1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shuffle),  cmocka_unit_test(shuffled_as_before), cmocka_unit_test(fixed),
        cmocka_unit_test(buffered), cmocka_unit_test(replacement),        cmocka_unit_test(names)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
