/* Frames, axes and numbers of the pictures. */
#include "report/chart.h"

#include <math.h>

void chart_text(FILE *out, const char *text)
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

const char *chart_number(double v, char text[32])
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
    if (a >= 100 || shown == floor(shown)) snprintf(text, 32, "%.0f%s", shown, unit);
    else if (a >= 10) snprintf(text, 32, "%.1f%s", shown, unit);
    else if (a >= 0.1) snprintf(text, 32, "%.2f%s", shown, unit);
    else snprintf(text, 32, "%.1g%s", shown, unit);
    return text;
}

static double place(const struct chart_axis *a, double v)
{
    return a->base > 0 ? (log(v) - log(a->lo)) / (log(a->hi) - log(a->lo))
                       : (v - a->lo) / (a->hi - a->lo);
}

double chart_x(const struct chart *c, double x)
{
    return c->left + place(&c->x, x) * (c->width - c->left - c->right);
}
double chart_y(const struct chart *c, double y)
{
    return c->height - c->bottom - place(&c->y, y) * (c->height - c->top - c->bottom);
}

/* A step of 1, 2 or 5 times a power of ten that cuts a range into about n. */
static double step(double range, double n)
{
    const double raw = range / n, power = pow(10, floor(log10(raw)));
    if (raw / power <= 1) return power;
    if (raw / power <= 2) return power * 2;
    if (raw / power <= 5) return power * 5;
    return power * 10;
}

static void make_round(struct chart_axis *a)
{
    if (a->base > 0) {
        a->lo = pow(a->base, floor(log(a->lo) / log(a->base) + 1e-9));
        a->hi = pow(a->base, ceil(log(a->hi) / log(a->base) - 1e-9));
        if (!(a->hi > a->lo)) a->hi = a->lo * a->base;
    } else {
        if (!(a->hi > 0)) a->hi = 1;
        const double s = step(a->hi, 5);
        a->lo = 0;
        a->hi = ceil(a->hi / s) * s;
    }
}

static double next_tick(const struct chart_axis *a, double v, bool narrow)
{
    if (a->base <= 0) return v + step(a->hi, narrow ? 4 : 6);
    /* every power, or every second, third, ... */
    const double n = log(a->hi / a->lo) / log(a->base);
    return v * pow(a->base, ceil(n / (narrow ? 6 : 12)));
}

void chart_open(struct chart *c, FILE *out, bool narrow, struct chart_axis x, struct chart_axis y,
                const char *what)
{
    char text[32];
    *c = (struct chart){ .out = out,
                         .width = narrow ? 360 : 980,
                         .height = narrow ? 340 : 400,
                         .left = narrow ? 46 : 56,
                         .right = narrow ? 16 : 18,
                         .top = 26,
                         .bottom = 42,
                         .x = x,
                         .y = y };
    make_round(&c->x);
    make_round(&c->y);
    fprintf(out, "<svg class=\"%s\" viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"",
            narrow ? "narrow" : "wide", c->width, c->height);
    chart_text(out, what);
    fputs("\">", out);
    const double x0 = c->left, x1 = c->width - c->right, y0 = c->top, y1 = c->height - c->bottom;
    for (double v = c->x.lo; v <= c->x.hi * (1 + 1e-9); v = next_tick(&c->x, v, narrow)) {
        const double at = chart_x(c, v);
        fprintf(out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", at,
                at, y0, y1);
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>", at, y1 + 17,
                chart_number(v, text));
    }
    for (double v = c->y.lo; v <= c->y.hi * (1 + 1e-9); v = next_tick(&c->y, v, narrow)) {
        const double at = chart_y(c, v);
        fprintf(out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", x0,
                x1, at, at);
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>", x0 - 7, at + 4,
                chart_number(v, text));
    }
    fprintf(out, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", x0, x1,
            y1, y1);
    fprintf(out, "<text class=\"strong\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", x1, y1 + 35);
    chart_text(out, x.title);
    fputs("</text><text class=\"strong\" x=\"0\" y=\"13\">", out);
    chart_text(out, y.title);
    fputs("</text>", out);
}

void chart_close(struct chart *c) { fputs("</svg>\n", c->out); }
