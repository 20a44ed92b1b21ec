/* The line that is rewritten in place, at every width: the parts that fit, from the first, and in
 * what is left a bar. And numbers as they are read aloud. Real terminals: terminal_test.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/screen.h"

/* What is written to standard error, which is a file meanwhile, for a screen of so many columns. */
static char *shown(size_t columns, double done, const char *const *parts)
{
    static char text[1024];
    char number[24];
    snprintf(number, sizeof number, "%zu", columns);
    setenv("COLUMNS", number, 1);
    FILE *file = tmpfile();
    int kept = dup(STDERR_FILENO);
    assert_true(file && kept >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    struct cli_screen screen = { .live = true };
    cli_screen_show(&screen, done, parts);
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    static const char erase[] = "\r\033[J"; /* what stood there */
    assert_memory_equal(text, erase, sizeof erase - 1);
    return text + sizeof erase - 1;
}

static void parts_fit(void **state)
{
    (void)state;
    const char *const parts[] = { "epoch 2/10", "loss 0.41", "·µ", "123 k ex/s", NULL };
    static const size_t ends[] = { 10, 21, 25, 37 }; /* columns of one part, of two, … */
    static const char *const lines[] = { "epoch 2/10", "epoch 2/10  loss 0.41",
                                         "epoch 2/10  loss 0.41  ·µ",
                                         "epoch 2/10  loss 0.41  ·µ  123 k ex/s" };
    for (size_t columns = 13; columns < 60; columns++) {
        size_t n = 0;
        while (n + 1 < 4 && ends[n + 1] + 3 <= columns) n++;
        assert_string_equal(shown(columns, -1, parts), lines[n]);
    }
    assert_string_equal(shown(12, -1, parts), "epoch 2/1"); /* the first is cut */
    assert_string_equal(shown(3, -1, parts), "e");
    assert_string_equal(shown(0, -1, parts), lines[3]); /* no number: 80 */
}

static void bar_fills(void **state)
{
    (void)state;
    const char *const parts[] = { "ten letter", NULL };
    assert_string_equal(shown(22, 0.5, parts), "ten letter"); /* room for a bar of seven */
    assert_string_equal(shown(23, 0.5, parts), "ten letter  [###...]");
    assert_string_equal(shown(23, 0, parts), "ten letter  [......]");
    assert_string_equal(shown(23, 1, parts), "ten letter  [######]");
    assert_string_equal(shown(23, 7, parts), "ten letter  [######]");
    assert_string_equal(shown(23, 0.49, parts), "ten letter  [##....]");
    assert_string_equal(shown(200, 0.5, parts), "ten letter  [###########...........]");
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        double n;
        const char *count, *bytes, *time;
    } cases[] = {
        { 0, "0", "0 B", "0.00 s" },
        { 7, "7", "7 B", "7.00 s" },
        { 59.96, "60", "60 B", "60.0 s" },
        { 99.94, "100", "100 B", "99.9 s" },
        { 99.96, "100", "100 B", "1:40" },
        { 999, "999", "999 B", "16:39" },
        { 1000, "1.00 k", "1000 B", "16:40" },
        { 3600, "3.60 k", "3.52 KiB", "1:00:00" },
        { 44900, "44.9 k", "43.8 KiB", "12:28:20" },
        { 4.7e6, "4.70 M", "4.48 MiB", NULL },
        { 999.6e3, "1.00 M", "976 KiB", NULL },
        { 2.5e9, "2.50 G", "2.33 GiB", NULL },
    };
    char text[CLI_NUMBER];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(cli_count(cases[i].n, text), cases[i].count);
        assert_string_equal(cli_bytes(cases[i].n, text), cases[i].bytes);
        if (cases[i].time) assert_string_equal(cli_time(cases[i].n, text), cases[i].time);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_fit),
        cmocka_unit_test(bar_fills),
        cmocka_unit_test(numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
