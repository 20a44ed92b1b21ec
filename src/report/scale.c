/* Round numbers on linear and logarithmic scales. */
#include "report/scale.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/text.h"

static const double steps[] = { 1, 2, 5, 10 };
#define SLACK 1e-9 /* of a step: what is a round number but for rounding is one */

static bool has_place(const struct scale *s, double v)
{
    return isfinite(v) && !(s->base > 0 && v <= 0);
}

double scale_place(const struct scale *s, double v)
{
    if (!has_place(s, v)) return NAN;
    const double share =
        s->base > 0 ? log(v / s->lo) / log(s->hi / s->lo) : (v - s->lo) / (s->hi - s->lo);
    return s->from + share * (s->to - s->from);
}

/* 1, 2 or 5 times a power of ten that cuts a range into at most n. */
static double step(double range, size_t n)
{
    const double raw = range / (double)n, power = pow(10, floor(log10(raw)));
    size_t i = 0;
    while (i < 3 && raw > steps[i] * power * (1 + SLACK)) i++;
    return steps[i] * power;
}

/* The next such number below or above a positive one. */
static double round_down(double v)
{
    const double power = pow(10, floor(log10(v) + SLACK));
    size_t i = 2;
    while (i > 0 && steps[i] * power > v * (1 + SLACK)) i--;
    return steps[i] * power;
}
static double round_up(double v)
{
    const double power = pow(10, floor(log10(v) + SLACK));
    size_t i = 0;
    while (i < 3 && steps[i] * power < v * (1 - SLACK)) i++;
    return steps[i] * power;
}

/* So little of a logarithmic scale that powers and their doubles would be too few numbers. */
static bool is_short(const struct scale *s) { return s->base == 10 && s->hi / s->lo < 4; }

static void round_linear(struct scale *s, size_t most)
{
    const double by = step(s->hi - s->lo, most);
    s->lo = floor(s->lo / by + SLACK) * by;
    s->hi = ceil(s->hi / by - SLACK) * by;
}

void scale_round(struct scale *s, size_t most, bool zero)
{
    if (s->base > 0) {
        if (!(s->lo > 0) || !isfinite(s->lo)) s->lo = 1;
        if (!(s->hi >= s->lo) || !isfinite(s->hi)) s->hi = s->lo;
        if (s->hi / s->lo < 1 + SLACK) s->hi = s->lo * s->base;
        const double before = s->lo;
        if (is_short(s)) round_linear(s, most);
        if (is_short(s) && s->lo > 0) return;
        if (s->base == 10) {
            const bool whole = log10(s->hi / before) * 3 > (double)most; /* powers alone are told */
            s->lo = whole ? pow(10, floor(log10(before) + SLACK)) : round_down(before);
            s->hi = round_up(s->hi);
        } else {
            s->lo = pow(s->base, floor(log(before) / log(s->base) + SLACK));
            s->hi = pow(s->base, ceil(log(s->hi) / log(s->base) - SLACK));
        }
        return;
    }
    if (!isfinite(s->lo) || !isfinite(s->hi) || s->hi < s->lo) s->lo = s->hi = 0;
    if (zero && s->lo > 0 && s->lo < s->hi / 3) s->lo = 0;
    if (zero && s->hi < 0 && s->hi > s->lo / 3) s->hi = 0;
    if (s->hi - s->lo <= SLACK * fmax(fabs(s->lo), fabs(s->hi))) { /* one value, in the middle */
        const double around = s->lo == 0 ? 1 : fabs(s->lo) / 2;
        s->lo -= zero && s->lo == 0 ? 0 : around;
        s->hi += around;
    }
    round_linear(s, most);
}

/* ---------------------------------------------------------------------------------------- ticks */

/* "10⁻⁵", "2·10⁻⁵" */
static void power_text(double v, char text[32])
{
    static const char *const digits[] = { "⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹" };
    char decimal[16];
    const int exponent = (int)floor(log10(v) + SLACK), times = (int)lround(v / pow(10, exponent));
    *text = '\0';
    if (times != 1) snprintf(text, 32, "%d·", times % 10);
    strcat(text, "10");
    if (exponent < 0) strcat(text, "⁻");
    snprintf(decimal, sizeof decimal, "%u", (unsigned)(exponent < 0 ? -exponent : exponent) % 1000);
    for (const char *c = decimal; *c; c++) strcat(text, digits[*c - '0']);
}

/* All of a linear scale have the same unit and digits. */
static void linear_text(double v, double by, double most, char text[32])
{
    static const struct {
        double from, is;
        const char *unit;
    } units[] = { { 1e9, 1e9, " G" }, { 1e6, 1e6, " M" }, { 1e4, 1e3, " k" }, { 0, 1, "" } };
    size_t u = 0;
    while (most < units[u].from) u++;
    if (fabs(v) < by * 1e-6) v = 0;
    const double digits = ceil(-log10(by / units[u].is) - SLACK), shown = fabs(v) / units[u].is;
    const char *sign = v < 0 ? "−" : "", *unit = v == 0 ? "" : units[u].unit;
    if (v == 0 && most < 1e-3) strcpy(text, "0");
    else if (most >= 1e13 || most < 1e-3) snprintf(text, 32, "%s%.3g", sign, fabs(v));
    else snprintf(text, 32, "%s%.*f%s", sign, digits > 0 ? (int)digits : 0, shown, unit);
}

static size_t linear_ticks(const struct scale *s, size_t most, struct scale_tick *out)
{
    const double by = step(s->hi - s->lo, most), end = fmax(fabs(s->lo), fabs(s->hi));
    size_t n = 0;
    const double first = ceil(s->lo / by - SLACK);
    for (double k = 0; n < SCALE_TICKS && (first + k) * by <= s->hi + by * SLACK; k++) {
        out[n] = (struct scale_tick){ .at = (first + k) * by };
        linear_text(out[n].at, by, end, out[n].text);
        n++;
    }
    return n;
}

/* All of an axis are powers where one of them needs to be. */
static void log_text(const struct scale *s, double v, char text[32])
{
    if (s->base == 10 && (s->lo < 0.9e-3 || s->hi > 0.9e5)) power_text(v, text);
    else if (v < 1e4 || s->base == 10) snprintf(text, 32, "%.5g", v);
    else text_count(v, text);
}

static size_t log_ticks(const struct scale *s, size_t most, struct scale_tick *out)
{
    const double lo = log(s->lo) / log(s->base), hi = log(s->hi) / log(s->base),
                 first = ceil(lo - SLACK), powers = floor(hi + SLACK) - first + 1,
                 every = fmax(1, ceil(powers / (double)most));
    const bool between = s->base == 10 && every == 1 && powers <= 7, /* 2 … 9 are marked */
        numbers = between && (powers < 2 || powers * 3 <= (double)most + 2); /* and 2 and 5 told */
    size_t n = 0;
    for (double p = floor(lo + SLACK); p <= hi + SLACK; p++)
        for (int k = 1; k <= (between ? 9 : 1) && n < SCALE_TICKS; k++) {
            const double v = k * pow(s->base, p);
            if (v < s->lo * (1 - SLACK) || v > s->hi * (1 + SLACK) || fmod(p - first, every) != 0)
                continue;
            const bool told = k == 1 || (numbers && (k == 2 || k == 5));
            out[n] = (struct scale_tick){ .at = v, .minor = !told };
            if (told) log_text(s, v, out[n].text);
            n++;
        }
    return n;
}

size_t scale_ticks(const struct scale *s, size_t most, struct scale_tick out[SCALE_TICKS])
{
    if (most < 1) most = 1;
    return s->base > 0 && !is_short(s) ? log_ticks(s, most, out) : linear_ticks(s, most, out);
}
