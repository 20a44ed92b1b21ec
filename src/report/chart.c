/* Frames, axes and numbers of the pictures. */
#include "report/chart.h"

#include <math.h>

#include "report/template.h"

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
    template_part(out, "chart", NULL, "drawing",
                  VALUES("screen", narrow ? "narrow" : "wide", "width", FORMAT("%g", c->width),
                         "height", FORMAT("%g", c->height), "what", what));
    const char *left = FORMAT("%.1f", c->left), *right = FORMAT("%.1f", c->width - c->right),
               *top = FORMAT("%.1f", c->top), *bottom = FORMAT("%.1f", c->height - c->bottom);
    for (double v = c->x.lo; v <= c->x.hi * (1 + 1e-9); v = next_tick(&c->x, v, narrow))
        template_put(out, "chart-x",
                     VALUES("x", FORMAT("%.1f", chart_x(c, v)), "top", top, "bottom", bottom,
                            "below", FORMAT("%.1f", c->height - c->bottom + 17), "number",
                            chart_number(v, text)));
    for (double v = c->y.lo; v <= c->y.hi * (1 + 1e-9); v = next_tick(&c->y, v, narrow))
        template_put(out, "chart-y",
                     VALUES("y", FORMAT("%.1f", chart_y(c, v)), "left", left, "right", right,
                            "beside", FORMAT("%.1f", c->left - 7), "middle",
                            FORMAT("%.1f", chart_y(c, v) + 4), "number", chart_number(v, text)));
    template_put(out, "chart-axes",
                 VALUES("left", left, "right", right, "bottom", bottom, "below",
                        FORMAT("%.1f", c->height - c->bottom + 35), "x-title", x.title, "y-title",
                        y.title));
}

void chart_close(struct chart *c) { template_part(c->out, "chart", "drawing", NULL, NULL); }
