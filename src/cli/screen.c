/* A terminal's width, a line that is rewritten in place, and numbers as text. */
#include "cli/screen.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "report/text.h"
#include "train/train.h"

enum { DEFAULT_COLUMNS = 80, LINE = 512, BAR_LEAST = 8, BAR_MOST = 24 };

size_t cli_columns(int fd)
{
    struct winsize size;
    if (!ioctl(fd, TIOCGWINSZ, &size) && size.ws_col) return size.ws_col;
    const char *text = getenv("COLUMNS");
    unsigned long columns = text ? strtoul(text, NULL, 10) : 0;
    return columns > 0 && columns < 10000 ? columns : DEFAULT_COLUMNS;
}

/* ------------------------------------------------------------------------------------- the line */

struct cli_screen cli_screen_open(void)
{
    const char *term = getenv("TERM");
    return (struct cli_screen){ .live = isatty(STDERR_FILENO) == 1 && term && *term &&
                                        strcmp(term, "dumb") };
}

bool cli_screen_due(const struct cli_screen *screen)
{
    return screen->live && train_now() - screen->last >= 0.1;
}

const char *cli_screen_erase(struct cli_screen *screen)
{
    if (!screen->live) return "";
    /* A window that became narrower has wrapped the line: it begins some rows above. Where there is
     * none, a ^C may stand. */
    size_t rows = screen->shown ? (screen->shown - 1) / cli_columns(STDERR_FILENO) : 0;
    if (rows) snprintf(screen->erase, sizeof screen->erase, "\033[%zuA\r\033[J", rows);
    else strcpy(screen->erase, "\r\033[J");
    screen->shown = 0;
    return screen->erase;
}

void cli_screen_clear(struct cli_screen *screen)
{
    fputs(cli_screen_erase(screen), stderr);
    fflush(stderr);
}

/* Cuts text after that many columns. */
static void cut(char *text, size_t columns)
{
    for (; *text; text++) {
        if (((unsigned char)*text & 0xc0) == 0x80) continue;
        if (!columns) break;
        columns--;
    }
    *text = '\0';
}

static void append_bar(char *line, size_t room, double done)
{
    size_t width = room < BAR_MOST ? room : BAR_MOST,
           full = (size_t)((double)(width - 2) * fmin(fmax(done, 0), 1));
    char *p = line + strlen(line);
    *p++ = '[';
    for (size_t i = 0; i < width - 2; i++) *p++ = i < full ? '#' : '.';
    *p++ = ']';
    *p = '\0';
}

void cli_screen_show(struct cli_screen *screen, double done, const char *const *parts)
{
    char line[LINE] = "";
    size_t used = 0;
    if (!screen->live) return;
    cli_screen_clear(screen);
    size_t columns = cli_columns(STDERR_FILENO);
    size_t room = columns > 4 ? columns - 3 : 1; /* ^C is echoed behind it, too */
    if (room > LINE / 2) room = LINE / 2;
    for (size_t i = 0; parts[i]; i++) {
        size_t more = text_width(parts[i]) + (i ? 2 : 0);
        if (i && used + more > room) break;
        size_t at = strlen(line);
        snprintf(line + at, sizeof line - at, "%s%s", i ? "  " : "", parts[i]);
        used += more;
    }
    if (done >= 0 && used + 2 + BAR_LEAST <= room && strlen(line) + 2 + BAR_MOST < sizeof line) {
        strcat(line, "  ");
        append_bar(line, room - used - 2, done);
    }
    cut(line, room);
    fputs(line, stderr);
    fflush(stderr);
    screen->shown = text_width(line);
    screen->last = train_now();
}

/* -------------------------------------------------------------------------------------- numbers */

/* Three digits and a unit of a series whose units are `step` apart; the first stands for 1 and
 * shows whole numbers. */
static const char *scaled(double n, double step, const char *const *units, char out[CLI_NUMBER])
{
    int unit = 0;
    /* 999.5 would be shown as 1e+03 */
    while (fabs(n) >= (step < 1024 ? 999.5 : 1023.5) && units[unit + 1]) {
        n /= step;
        unit++;
    }
    int digits = fabs(n) >= 9.995 ? 1 : 2;
    if (!unit || fabs(n) >= 99.95) digits = 0;
    snprintf(out, CLI_NUMBER, "%.*f%s%s", digits, n, *units[unit] ? " " : "", units[unit]);
    return out;
}

const char *cli_count(double n, char out[CLI_NUMBER])
{
    static const char *const units[] = { "", "k", "M", "G", "T", "P", NULL };
    return scaled(n, 1000, units, out);
}

const char *cli_bytes(double n, char out[CLI_NUMBER])
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", NULL };
    return scaled(n, 1024, units, out);
}

const char *cli_time(double seconds, char out[CLI_NUMBER])
{
    if (seconds < 99.95) {
        snprintf(out, CLI_NUMBER, "%.*f s", seconds < 9.995 ? 2 : 1, seconds);
        return out;
    }
    unsigned long all = seconds < 1e9 ? (unsigned long)(seconds + 0.5) : 1000000000ul;
    if (all < 3600) snprintf(out, CLI_NUMBER, "%lu:%02lu", all / 60, all % 60);
    else snprintf(out, CLI_NUMBER, "%lu:%02lu:%02lu", all / 3600, all / 60 % 60, all % 60);
    return out;
}
