/* Short names, units, columns. */
#include "report/text.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

bool text_is_setting(const char *part)
{
    static const char *const settings[] = { "real_time",       "manual_time", "process_time",
                                            "iterations:",     "repeats:",    "min_time:",
                                            "min_warmup_time:" };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        const size_t n = strlen(settings[i]);
        if (settings[i][n - 1] == ':' ? !strncmp(part, settings[i], n) : !strcmp(part, settings[i]))
            return true;
    }
    return false;
}

/* "batch:256" is told as "b256". */
static void short_part(const char *part, char *out, size_t size)
{
    static const char *const keys[] = { "batch:", "threads:", "n:" };
    snprintf(out, size, "%s", part);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strncmp(part, keys[i], strlen(keys[i])))
            snprintf(out, size, "%c%s", *part, part + strlen(keys[i]));
}

const char *text_label(const char *name, size_t skip, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (const char *at = name; at && used<size; skip -= skip> 0) {
        const char *end = strchr(at, '/');
        char part[256], told[256];
        snprintf(part, sizeof part, "%.*s", (int)(end ? end - at : (ptrdiff_t)strlen(at)), at);
        at = end ? end + 1 : NULL;
        if (skip || text_is_setting(part)) continue;
        short_part(part, told, sizeof told);
        const int n = snprintf(out + used, size - used, "%s%s", used ? " " : "", told);
        if (n > 0) used += (size_t)n;
    }
    if (!*out) snprintf(out, size, "%s", name);
    return out;
}

static bool begins(char c) { return ((unsigned char)c & 0xc0) != 0x80; }

size_t text_width(const char *text)
{
    size_t n = 0;
    for (; *text; text++) n += begins(*text);
    return n;
}

/* Where column `column` begins. */
static const char *column_at(const char *text, size_t column)
{
    for (; *text; text++)
        if (begins(*text) && !column--) break;
    return text;
}

const char *text_clip(const char *text, size_t width, char *out)
{
    const size_t n = text_width(text), front = (width - 2) / 2;
    if (n <= width || width < 5) {
        const size_t bytes = (size_t)(column_at(text, width) - text);
        memcpy(out, text, bytes);
        out[bytes] = '\0';
        return out;
    }
    const size_t bytes = (size_t)(column_at(text, front) - text);
    memcpy(out, text, bytes);
    strcpy(out + bytes, "..");
    strcpy(out + bytes + 2, column_at(text, n - (width - 2 - front)));
    return out;
}

void text_pad(FILE *out, const char *text, size_t width)
{
    fputs(text, out);
    for (size_t n = text_width(text); n < width; n++) putc(' ', out);
}

void text_wrap(FILE *out, const char *text, size_t used, size_t indent, size_t width)
{
    size_t at = used;
    bool first = true;
    for (text += strspn(text, " \n"); *text; text += strspn(text, " \n")) {
        const size_t bytes = strcspn(text, " \n");
        size_t columns = 0;
        for (size_t i = 0; i < bytes; i++) columns += begins(text[i]);
        if (!first && at + 1 + columns > width) {
            fprintf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (!first) {
            putc(' ', out);
            at++;
        }
        first = false;
        fwrite(text, 1, bytes, out);
        at += columns;
        text += bytes;
    }
    putc('\n', out);
}

/* Three digits, however large: 1.23, 12.3, 123, 1234. */
static void three_digits(double v, const char *unit, char out[32])
{
    const double a = fabs(v);
    int behind = a < 99.95 ? 1 : 0;
    if (a < 9.995) behind = 2;
    snprintf(out, 32, "%.*f%s", behind, v, unit);
}

const char *text_time(double seconds, char out[32])
{
    static const struct {
        double from;
        const char *unit;
    } units[] = { { 0.9995, " s" }, { 0.9995e-3, " ms" }, { 0.9995e-6, " us" }, { 0, " ns" } };
    static const double scale[] = { 1, 1e3, 1e6, 1e9 };
    size_t u = 0;
    if (isnan(seconds)) return strcpy(out, "-");
    while (u < 3 && seconds < units[u].from) u++;
    three_digits(seconds * scale[u], units[u].unit, out);
    return out;
}

const char *text_interval(double lo, double hi, int digits, char out[48])
{
    if (!(hi < 1000 * lo)) snprintf(out, 48, "%17s", isnan(lo) ? "" : "anything");
    else snprintf(out, 48, "%7.*f - %7.*f", digits, lo, digits, hi);
    return out;
}

const char *text_percent(double share, char out[32])
{
    if (isnan(share)) return strcpy(out, "-");
    snprintf(out, 32, fabs(share) < 0.0995 ? "%.1f %%" : "%.0f %%", 100 * share);
    return out;
}

const char *text_value(double v, char out[32])
{
    const double a = fabs(v);
    snprintf(out, 32, v == 0 || (a >= 1e-3 && a < 1e4) ? "%.3f" : "%.4g", v);
    return out;
}

const char *text_count(double v, char out[32])
{
    static const struct {
        double from;
        const char *unit;
    } units[] = { { 1e9, " G" }, { 1e6, " M" }, { 1e4, " k" } };
    double shown = v;
    const char *unit = "";
    for (size_t i = 0; i < 3 && !*unit; i++)
        if (fabs(v) >= units[i].from) {
            shown = v / (i == 2 ? 1e3 : units[i].from);
            unit = units[i].unit;
        }
    const double a = fabs(shown);
    if (a >= 100 || shown == floor(shown)) snprintf(out, 32, "%.0f%s", shown, unit);
    else if (a >= 10) snprintf(out, 32, "%.1f%s", shown, unit);
    else if (a >= 0.1) snprintf(out, 32, "%.2f%s", shown, unit);
    else snprintf(out, 32, "%.1g%s", shown, unit);
    return out;
}

const char *text_short(const char *name, char *out, size_t size)
{
    const char *before = "";
    size_t used = 0;
    while (*name && used < size - 1) {
        size_t same = 0;
        for (size_t i = 0; name[i] && name[i] != ' ' && name[i] == before[i]; i++)
            if (name[i] == '.' && !isdigit((unsigned char)name[i + 1])) same = i + 1;
        const char *next = strstr(name, " + ");
        size_t length = next ? (size_t)(next - name) + 3 : strlen(name);
        used +=
            (size_t)snprintf(out + used, size - used, "%.*s", (int)(length - same), name + same);
        before = name;
        name += length;
    }
    return out;
}
