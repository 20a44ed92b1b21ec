/* What people see beside the results: one line that is rewritten in place, and numbers as they are
 * read aloud. No colours anywhere, so NO_COLOR has nothing to switch off; TERM=dumb (or none) gets
 * no line. */
#ifndef CLI_SCREEN_H
#define CLI_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

/* Columns of the terminal that fd is, asked each time because windows change; else $COLUMNS, else
 * 80. At least 1. */
size_t cli_columns(int fd);

/* One line on standard error; zeros are a line that is never shown. */
struct cli_screen {
    bool live;    /* standard error is a terminal that can rewrite a line */
    size_t shown; /* columns of the line that stands there; 0: none */
    double last;  /* when it was written */
    char erase[32];
};
struct cli_screen cli_screen_open(void);
/* Whether it is time to write again (ten times a second are enough). */
bool cli_screen_due(const struct cli_screen *screen);
/* Parts (ended by NULL) with two blanks between, the most important first: those that the width has
 * no room for are left out, from the end. What is left over becomes a bar that shows `done`, a
 * share of 1 (negative: no bar). */
void cli_screen_show(struct cli_screen *screen, double done, const char *const *parts);
/* Nothing of the line is left; whatever is printed next begins where it began. */
void cli_screen_clear(struct cli_screen *screen);
/* What does that, to stand in front of a line and be written with it at once: the terminal may echo
 * a ^C in between. Valid until the next call. */
const char *cli_screen_erase(struct cli_screen *screen);

/* Text of a number in `out`, which is returned: 44.9 k, 4.70 M; 697 KiB, 9.80 MiB; 0.61 s, 12.3 s,
 * 2:05, 1:02:05. */
#define CLI_NUMBER 32
const char *cli_count(double n, char out[CLI_NUMBER]);
const char *cli_bytes(double n, char out[CLI_NUMBER]);
const char *cli_time(double seconds, char out[CLI_NUMBER]);

#define CLI_PAGE 79 /* columns of help, info and data */

#endif
