/* Pieces of report.html: found by their comments, walked through once, holes filled on the way. */
#include "report/template.h"

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "report/parts.h"

const char *template_format(char text[96], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(text, 96, format, args);
    va_end(args);
    return text;
}

void template_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '&') fputs("&amp;", out);
        else if (c == '<') fputs("&lt;", out);
        else if (c == '>') fputs("&gt;", out);
        else if (c == '"') fputs("&quot;", out);
        else if (c == '\'') fputs("&#39;", out);
        else if (c >= ' ' || c == '\n' || c == '\t') putc(c, out);
    }
}

static const char *find(const char *piece)
{
    static const char mark[] = "<!-- piece: ";
    const size_t n = strlen(piece);
    for (const char *at = report_parts[REPORT_PIECES].text; (at = strstr(at, mark));) {
        at += sizeof mark - 1;
        if (!strncmp(at, piece, n) && at[n] == ' ') return strstr(at, "-->") + 3;
    }
    return NULL;
}

static bool is(const char *name, size_t n, const char *wanted)
{
    return wanted && !strncmp(name, wanted, n) && !wanted[n];
}

/* Which of the values has this name; their number if none has. */
static size_t value_of(const char *name, size_t n, const char *const *values)
{
    size_t i = 0;
    while (values && values[2 * i] && !is(name, n, values[2 * i])) i++;
    return i;
}

/* Writes a part (out NULL: only looks) and says what was wrong with it. */
static const char *fill(FILE *out, const char *piece, const char *from, const char *to,
                        const char *const *values)
{
    const char *at = find(piece);
    if (!at) return "no such piece";
    bool inside = !from, ended = false;
    bool joint = true; /* behind a tag, a place, a line's end: where a break is no blank */
    unsigned long long used = 0;
    while (!ended && *at && strncmp(at, "<!-- ", 5)) {
        if (*at == '{') {
            const bool place = at[1] == '=';
            const char *name = at + 1 + place;
            const size_t n = strcspn(name, "}"), i = value_of(name, n, values);
            at = name + n + 1;
            joint = place;
            if (place && inside && !is(name, n, to)) return "a place that is passed over";
            if (place) {
                ended = inside;
                inside |= is(name, n, from);
            } else if (inside) {
                if (!values || !values[2 * i]) return "a hole without a value";
                if (out) template_text(out, values[2 * i + 1]);
                used |= 1ull << i;
            }
        } else if (*at == '\n') {
            at += strspn(at, " \n");
            const bool blank = !joint && *at && *at != '<' && strncmp(at, "{=", 2) != 0;
            if (blank && inside && out) putc(' ', out);
        } else {
            const bool end = at[0] == '\\' && at[1] == 'n';
            if (inside && out) putc(end ? '\n' : *at, out);
            joint = end || *at == '>';
            at += end ? 2 : 1;
        }
    }
    if (!inside || (to && !ended)) return "no such place";
    for (size_t i = 0; values && values[2 * i]; i++)
        if (!(used >> i & 1)) return "a value without a hole";
    return NULL;
}

const char *template_wrong(const char *piece, const char *from, const char *to,
                           const char *const *values)
{
    return fill(NULL, piece, from, to, values);
}

void template_part(FILE *out, const char *piece, const char *from, const char *to,
                   const char *const *values)
{
    const char *wrong = fill(out, piece, from, to, values);
    assert(!wrong);
    (void)wrong;
}

void template_put(FILE *out, const char *piece, const char *const *values)
{
    template_part(out, piece, NULL, NULL, values);
}
