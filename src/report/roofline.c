/* Operators by rate and FLOP per byte, under what the machine can do. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/chart.h"
#include "report/page.h"
#include "report/template.h"

static bool multiplies(const struct entry *e)
{
    return strstr(e->r->label, "--conv") || strstr(e->r->label, "--ip");
}

static void roof_lines(struct page *p, const struct chart *c)
{
    const char *peak_text = results_fact(p->all, 0, "peak_gflops_all");
    static const struct {
        const char *key, *name;
    } slopes[] = { { "l2_read_gbs", "L2" }, { "dram_read_gbs", "DRAM" } };
    const double peak = peak_text ? strtod(peak_text, NULL) : 0;
    if (!(peak > c->y.lo)) return;
    double corner = c->x.hi;
    for (size_t i = 0; i < 2; i++) {
        const char *text = results_fact(p->all, 0, slopes[i].key);
        const double gbs = text ? strtod(text, NULL) : 0;
        if (!(gbs > 0)) continue;
        const double x1 = fmin(peak / gbs, c->x.hi), x0 = fmax(c->x.lo, c->y.lo / gbs);
        if (x0 >= x1) continue;
        corner = fmin(corner, x1);
        const double mark = sqrt(x0 * x1); /* L2 is above its line, memory below */
        template_put(
            p->out, "roof-slope",
            VALUES("x1", FORMAT("%.1f", chart_x(c, x0)), "x2", FORMAT("%.1f", chart_x(c, x1)), "y1",
                   FORMAT("%.1f", chart_y(c, x0 * gbs)), "y2", FORMAT("%.1f", chart_y(c, x1 * gbs)),
                   "x", FORMAT("%.1f", chart_x(c, mark) + (i ? 8 : -8)), "y",
                   FORMAT("%.1f", chart_y(c, mark * gbs) + (i ? 12 : -4)), "anchor",
                   i ? "start" : "end", "memory", slopes[i].name, "rate", FORMAT("%.0f", gbs)));
    }
    template_put(p->out, "roof",
                 VALUES("x1", FORMAT("%.1f", chart_x(c, corner)), "x2",
                        FORMAT("%.1f", chart_x(c, c->x.hi)), "y", FORMAT("%.1f", chart_y(c, peak)),
                        "x", FORMAT("%.1f", chart_x(c, c->x.hi) - 2), "above",
                        FORMAT("%.1f", chart_y(c, peak) - 6), "peak", FORMAT("%.0f", peak)));
}

/* Whether an entry has a place under the roofs: its rate and its FLOP per byte. */
static bool under_roofs(const struct entry *e, double *flop_per_byte, double *gflops)
{
    const double gbs = entry_median(e, "GB/s");
    *gflops = entry_median(e, "GFLOP/s");
    *flop_per_byte = *gflops / gbs;
    return !strcmp(e->benchmark, "ops") && *gflops > 0 && gbs > 0;
}

static void roof_mark(struct page *p, const struct chart *c, const struct entry *e)
{
    double intensity, rate;
    char text[32];
    if (!under_roofs(e, &intensity, &rate)) return;
    const double px = chart_x(c, intensity), py = chart_y(c, rate);
    const char *x = FORMAT("%.1f", px), *y = FORMAT("%.1f", py), *color = FORMAT("%zu", e->color),
               *time = page_time(entry_median(e, ""), text), *gflops = FORMAT("%.3g", rate),
               *gbs = FORMAT("%.3g", entry_median(e, "GB/s"));
    if (multiplies(e))
        template_put(p->out, "roof-circle",
                     VALUES("x", x, "y", y, "color", color, "group", e->title, "who", e->who,
                            "time", time, "gflops", gflops, "gbs", gbs));
    else
        template_put(p->out, "roof-diamond",
                     VALUES("left", FORMAT("%.1f", px - 3.75), "top", FORMAT("%.1f", py - 3.75),
                            "x", x, "y", y, "color", color, "group", e->title, "who", e->who,
                            "time", time, "gflops", gflops, "gbs", gbs));
}

static void roof_legend(struct page *p)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct entry *e = &p->entry[i];
        bool first = !strcmp(e->benchmark, "ops") && e->r->runs;
        for (size_t k = 0; k < i && first; k++)
            first = strcmp(p->entry[k].benchmark, "ops") || strcmp(p->entry[k].who, e->who);
        if (first) page_legend(p, e->color, e->who, "");
    }
}

void page_roofline(struct page *p)
{
    struct chart_axis x = { 1e30, 0, 2, "FLOP per byte that must be moved" },
                      y = { 1e30, 0, 10, "GFLOP/s" };
    const char *peak = results_fact(p->all, 0, "peak_gflops_all");
    for (size_t i = 0; i < p->n; i++) {
        double intensity, rate;
        if (!under_roofs(&p->entry[i], &intensity, &rate)) continue;
        x.lo = fmin(x.lo, intensity);
        x.hi = fmax(x.hi, intensity);
        y.lo = fmin(y.lo, rate);
        y.hi = fmax(y.hi, rate);
    }
    if (!(x.hi > 0)) return;
    if (peak) y.hi = fmax(y.hi, 1.2 * strtod(peak, NULL));
    template_part(p->out, "roofline", NULL, "drawing", NULL);
    for (int narrow = 0; narrow < 2; narrow++) {
        struct chart c;
        chart_open(&c, p->out, narrow, x, y, "roofline");
        roof_lines(p, &c);
        for (size_t i = 0; i < p->n; i++) roof_mark(p, &c, &p->entry[i]);
        chart_close(&c);
    }
    template_part(p->out, "roofline", "drawing", "legend", NULL);
    roof_legend(p);
    template_part(p->out, "roofline", "legend", NULL, NULL);
}
