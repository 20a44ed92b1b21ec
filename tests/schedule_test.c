/* Schedules: rates worked out by hand, and PyTorch's (tests/golden/torch_schedules.txt); every
 * setting to its text and back; the sentence for every mistake; texts of chance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/schedule.h"

static struct schedule of(const char *text)
{
    struct schedule s;
    struct schedule_fault fault;
    if (!schedule_parse(text, &s, &fault)) fail_msg("%s: %s", text, fault.text);
    return s;
}

/* Epoch e of ten steps an epoch, `in` steps into it. */
static double rate(const struct schedule *s, uint64_t e, uint64_t in, double lr)
{
    return schedule_rate(s, &(struct schedule_time){ 10 * e + in, e, 10 }, lr);
}

static void by_hand(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double lr;
        uint64_t epoch, in;
        double want;
    } cases[] = {
        { "constant", 0.25, 7, 3, 0.25 },
        { "step:every=2,factor=0.5", 1, 1, 9, 1 },
        { "step:every=2,factor=0.5", 1, 2, 0, 0.5 },
        { "step:every=2,factor=0.5", 1, 5, 0, 0.25 },
        { "milestones:epochs=1/3", 1, 0, 9, 1 },
        { "milestones:epochs=1/3", 1, 1, 0, 0.1 },
        { "milestones:epochs=1/3", 1, 3, 0, 0.01 },
        { "exponential:factor=0.5", 8, 3, 9, 1 },
        { "exponential:factor=0.25,every_steps=20", 8, 1, 0, 4 },
        /* the TensorFlow book's: 1e-3 * 0.9^floor(step / 1000) */
        { "staircase:factor=0.9", 1e-3, 99, 9, 1e-3 },
        { "staircase:factor=0.9", 1e-3, 100, 0, 0.9e-3 },
        { "staircase:factor=0.9", 1e-3, 250, 0, 0.81e-3 },
        { "cosine:over=4", 2, 0, 0, 2 },
        { "cosine:over=4,floor=1", 2, 2, 0, 1.5 },
        { "cosine:over=4,floor=1", 2, 4, 0, 1 },
        { "cosine:over=4,floor=1", 2, 9, 0, 1 }, /* a run that became longer stays there */
        { "cosine:over=4,by_epoch", 2, 2, 9, 1 },
        /* 100 steps, the peak at step 0.3 * 100 - 1, the end at step 99 */
        { "one_cycle:over=10", 1, 0, 0, 0.04 },
        { "one_cycle:over=10", 1, 2, 9, 1 },
        { "one_cycle:over=10", 1, 9, 9, 0.04e-4 },
        { "one_cycle:over=10", 1, 30, 0, 0.04e-4 },
        { "one_cycle:over=10,peak=0.21,linear,start=2,end=1", 1, 1, 0, 0.75 },
        { "one_cycle:over_steps=100,peak=0.21,linear,start=2,end=1", 1, 1, 0, 0.75 },
        { "cosine:over_steps=25", 1, 2, 5, 0 },
        /* (1 + cos(0.4 pi)) / 2 */
        { "cosine:over_steps=25", 1, 1, 0, 0.65450849718747373 },
        { "cosine:over_steps=25,by_epoch", 1, 1, 9, 0.65450849718747373 },
        /* no way up, and no way down */
        { "one_cycle:over=10,peak=0", 1, 0, 0, 1 },
        { "one_cycle:over=10,peak=1", 1, 9, 8, 0.9997 },
        /* yann's A2: 0.001 for four epochs, 0.0001 for four, annealed by 0.05 */
        { "eras:rates=0.001/0.0001,epochs=4/4,anneal=0.05", 9, 0, 0, 0.001 },
        { "eras:rates=0.001/0.0001,epochs=4/4,anneal=0.05", 9, 3, 9, 0.001 * 0.95 * 0.95 * 0.95 },
        { "eras:rates=0.001/0.0001,epochs=4/4,anneal=0.05", 9, 4, 0, 0.0001 },
        { "eras:rates=0.001/0.0001,epochs=4/4,anneal=0.05", 9, 9, 0,
          0.0001 * 0.95 * 0.95 * 0.95 * 0.95 * 0.95 },
        /* A1 as executed: the larger rate of the second era is refused, annealing goes on */
        { "eras:rates=1/10,epochs=2/2,anneal=0.5,only_down", 9, 3, 0, 0.125 },
        { "eras:rates=1/10,epochs=2/2,anneal=0.5", 9, 3, 0, 5 },
        { "eras:rates=1/0.25,epochs=2/2,anneal=0.5,only_down", 9, 2, 0, 0.25 },
        { "constant:warmup_steps=4", 1, 0, 0, 0.25 },
        { "constant:warmup_steps=4", 1, 0, 3, 1 },
        { "constant:warmup_steps=4", 1, 0, 4, 1 },
        { "milestones:epochs=1,warmup_epochs=2", 1, 1, 0, 0.1 * 11 / 20 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct schedule s = of(cases[i].text);
        double got = rate(&s, cases[i].epoch, cases[i].in, cases[i].lr), want = cases[i].want;
        if (!(fabs(got - want) <= (want == 0.9997 ? 1e-3 : 1e-14) * want))
            fail_msg("%s, epoch %d, step %d: %.17g, expected %.17g", cases[i].text,
                     (int)cases[i].epoch, (int)cases[i].in, got, want);
    }
}

static void momentum(void **state)
{
    (void)state;
    /* yann's momentum_params = (0.65, 0.97, 30), and what moves it not */
    const struct schedule s = of("constant:momentum_to=0.97,momentum_epochs=30"), none = of("step"),
                          cycle = of("one_cycle:over=2");
    static const struct {
        uint64_t epoch;
        double want;
    } cases[] = { { 0, 0.65 }, { 1, 0.65 + 0.32 / 30 }, { 15, 0.81 }, { 30, 0.97 }, { 99, 0.97 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct schedule_time t = { 4, cases[i].epoch, 10 };
        double got = schedule_momentum(&s, &t, 0.65);
        if (!(fabs(got - cases[i].want) < 1e-15))
            fail_msg("epoch %d: %.17g, expected %.17g", (int)cases[i].epoch, got, cases[i].want);
        assert_true(schedule_momentum(&none, &t, 0.65) == 0.65);
        assert_true(schedule_momentum(&cycle, &t, 0.85) == 0.85);
        assert_true(schedule_momentum(&cycle, &t, 0) == 0);
    }
    assert_true(schedule_moves(&s, 0.65) && !schedule_moves(&none, 0.65));
    assert_true(schedule_moves(&cycle, 0.9) && !schedule_moves(&cycle, 0.85));
}

static void as_pytorch(void **state)
{
    (void)state;
    FILE *f = fopen("tests/golden/torch_schedules.txt", "r");
    static char line[4096];
    size_t lines = 0;
    assert_non_null(f);
    for (; fgets(line, sizeof line, f); lines++) {
        char *text = strtok(line, " "), *what = strtok(NULL, " ");
        uint64_t steps = strtoull(strtok(NULL, " "), NULL, 10), step = 0;
        double base = strtod(strtok(NULL, " "), NULL);
        const struct schedule s = of(text);
        for (char *word; (word = strtok(NULL, " \n")); step++) {
            const struct schedule_time time = { step, step / steps, (size_t)steps };
            double want = strtod(word, NULL), got = *what == 'l'
                                                        ? schedule_rate(&s, &time, base)
                                                        : schedule_momentum(&s, &time, base);
            /* PyTorch's are made one from the other */
            if (!(fabs(got - want) <= 1e-12 * base))
                fail_msg("%s, step %d: %.17g, expected %.17g", text, (int)step, got, want);
        }
        assert_int_equal(step, 8 * steps);
    }
    assert_int_equal(lines, 15);
    fclose(f);
}

static void there_and_back(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "constant",
        "step:every=7",
        "milestones:epochs=1/2/1048576,factor=0.30000000000000004",
        "exponential:factor=0,every_steps=1",
        "staircase:every=1073741824,factor=1e+30",
        "cosine:floor=0.1,over_steps=3,by_epoch",
        "one_cycle:peak=1,linear,momentum_low=0.5,warmup_steps=5",
        "eras:rates=0.1/1e-05,epochs=20/20,anneal=0.05,only_down,warmup_epochs=2"
    };
    char text[SCHEDULE_TEXT];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct schedule s = of(texts[i]);
        assert_string_equal(schedule_text(&s, text), texts[i]);
        assert_int_equal(s.kind, i);
        assert_int_equal(strncmp(texts[i], schedule_name((int)i), strlen(schedule_name((int)i))),
                         0);
    }
    assert_null(schedule_name(SCHEDULE_KINDS));
    assert_null(schedule_name(-1));
    const struct schedule s = of("cosine:by_epoch,over=3");
    assert_string_equal(schedule_text(&s, text), "cosine:over=3,by_epoch");
    struct schedule open = of("cosine"), said = of("one_cycle:over=3"), none = of("step");
    schedule_end(&open, 12, 0);
    schedule_end(&said, 12, 0);
    schedule_end(&none, 12, 0);
    assert_true(open.over == 12 && said.over == 3 && none.over == 0);
    open = of("cosine");
    schedule_end(&open, 12, 77);
    schedule_end(&open, 12, 99); /* it is said */
    schedule_end(&said, 12, 77);
    assert_true(open.over == 0 && open.over_steps == 77 && said.over == 3 && said.over_steps == 0);
}

static void mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *sentence, *word;
    } cases[] = {
        { "",
          "expected one of constant, step, milestones, exponential, staircase, cosine, "
          "one_cycle, eras, found ''",
          "" },
        { "cosinus", "eras, found 'cosinus'", "cosinus" },
        { "cosine:flor=1",
          "cosine has the settings floor, over, over_steps, by_epoch, warmup_steps, "
          "warmup_epochs, momentum_to, momentum_epochs, found 'flor'",
          "flor" },
        { "cosine:", "found ''", "" },
        { "cosine:over=3,over_steps=9", "expected one of over and over_steps, found both", NULL },
        { "cosine:over=3,", "found ''", "" },
        { "constant:factor=1",
          "constant has the settings warmup_steps, warmup_epochs, momentum_to, "
          "momentum_epochs, found "
          "'factor'",
          "factor" },
        { "step:every=0", "every: expected a whole number from 1 to 1073741824, found '0'", NULL },
        { "step:every=1.5", "found '1.5'", NULL },
        { "step:every", "every: expected a whole number from 1 to 1073741824, found ''", NULL },
        { "step:factor=-1", "factor: expected a number 0 or more, found '-1'", NULL },
        { "step:factor=nan", "found 'nan'", NULL },
        { "step:factor=0x10", "found '0x10'", NULL },
        { "step:factor=1e31", "found '1e31'", NULL },
        { "step:factor= 1", "found ' 1'", NULL },
        { "step:factor=1 ", "found '1 '", NULL },
        { "step:factor=1,factor=1", "factor is said twice", NULL },
        { "cosine:by_epoch=1", "by_epoch has no value", NULL },
        { "milestones", "milestones needs epochs=1/2/3", NULL },
        { "milestones:epochs=3/3",
          "epochs: expected at most 16 increasing whole numbers from 1 to 1048576, as 1/2/3, found "
          "'3/3'",
          NULL },
        { "milestones:epochs=1/", "found '1/'", NULL },
        { "milestones:epochs=1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", "at most 16", NULL },
        { "eras:rates=1/2,epochs=1", "eras needs as many rates as epochs, found 2 and 1", NULL },
        { "eras:rates=1,epochs=1,anneal=1", "anneal: expected a number from 0 to below 1", NULL },
        { "step:warmup_steps=1,warmup_epochs=1", "one of warmup_steps and warmup_epochs", NULL },
        { "step:momentum_to=0.5", "momentum_to and momentum_epochs: one needs the other", NULL },
        { "step:momentum_epochs=5", "momentum_to and momentum_epochs: one needs the other", NULL },
        { "one_cycle:momentum_to=0.5,momentum_epochs=1",
          "one_cycle moves the momentum itself, expected no momentum_to", NULL },
    };
    struct schedule_fault fault;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct schedule s = { .factor = 77 };
        assert_false(schedule_parse(cases[i].text, &s, &fault));
        if (!strstr(fault.text, cases[i].sentence))
            fail_msg("'%s': %s, expected %s", cases[i].text, fault.text, cases[i].sentence);
        assert_true(s.factor == 77);
        assert_true(!fault.names == !cases[i].word);
        if (cases[i].word) assert_string_equal(fault.word, cases[i].word);
    }
    char far[SCHEDULE_TEXT + 1];
    memset(far, 'x', SCHEDULE_TEXT);
    far[SCHEDULE_TEXT] = 0;
    struct schedule s;
    assert_false(schedule_parse(far, &s, &fault));
    assert_non_null(strstr(fault.text, "at most 1023 characters, found 1024"));
    assert_false(schedule_parse(far + 1, &s, &fault)); /* the longest name, cut in the sentence */
}

/* Texts put together from what texts are made of: those that are taken mean what their own text
 * means, and give no rate that is less than nothing. */
static void of_chance(void **state)
{
    (void)state;
    static const char *const words[] = { "constant",
                                         "step",
                                         "milestones",
                                         "exponential",
                                         "staircase",
                                         "cosine",
                                         "one_cycle",
                                         "eras",
                                         ":",
                                         ",",
                                         "=",
                                         "/",
                                         "every",
                                         "factor",
                                         "epochs",
                                         "every_steps",
                                         "floor",
                                         "over",
                                         "by_epoch",
                                         "start",
                                         "end",
                                         "peak",
                                         "linear",
                                         "rates",
                                         "anneal",
                                         "only_down",
                                         "warmup_steps",
                                         "warmup_epochs",
                                         "0",
                                         "1",
                                         "2",
                                         "0.5",
                                         "9",
                                         "1e9",
                                         "1e-300",
                                         "x" };
    uint32_t seed = 3;
    size_t taken = 0;
    for (int i = 0; i < 300000; i++) {
        char text[400] = "", again[SCHEDULE_TEXT], twice[SCHEDULE_TEXT];
        struct schedule s;
        struct schedule_fault fault;
        int n = 0;
        for (uint32_t more = 1; more && n < 20; n++) {
            seed = seed * 1664525u + 1013904223u;
            uint32_t pick = seed >> 8;
            const size_t all = sizeof words / sizeof *words;
            /* mostly as the grammar has it */
            static const size_t from[] = { 0, 8, 12, 10, 28, 9, 12, 10, 28 },
                                many[] = { 8, 1, 16, 1, 7, 1, 16, 1, 7 };
            size_t at = (pick & 15) && n < 9 ? from[n] + pick / 16 % many[n] : pick / 16 % all;
            strcat(text, words[at]);
            more = (seed >> 4 & 3) || n < 4;
        }
        if (!schedule_parse(text, &s, &fault)) {
            assert_true(*fault.text);
            continue;
        }
        taken++;
        schedule_text(&s, again);
        const struct schedule t = of(again);
        assert_string_equal(schedule_text(&t, twice), again);
        for (uint64_t e = 0; e < 4; e++) {
            double a = rate(&s, e, e * 3, 0.1), b = rate(&t, e, e * 3, 0.1);
            if (!(a >= 0) || a != b) fail_msg("%s: %g, %g", text, a, b);
        }
    }
    assert_true(taken > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),        cmocka_unit_test(momentum), cmocka_unit_test(as_pytorch),
        cmocka_unit_test(there_and_back), cmocka_unit_test(mistakes), cmocka_unit_test(of_chance)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
