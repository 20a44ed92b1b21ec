/* Operators by rate and FLOP per byte, under what the machine can do. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/figure.h"
#include "report/page.h"
#include "report/scale.h"
#include "report/template.h"

static bool multiplies(const struct entry *e)
{
    return strstr(e->r->label, "--conv") || strstr(e->r->label, "--ip");
}

/* Whether an entry has a place under the roofs: its rate and its FLOP per byte. */
static bool under_roofs(const struct entry *e, double *flop_per_byte, double *gflops)
{
    const double gbs = entry_median(e, "GB/s");
    *gflops = entry_median(e, "GFLOP/s");
    *flop_per_byte = *gflops / gbs;
    return !strcmp(e->benchmark, "ops") && *gflops > 0 && gbs > 0;
}

/* The picture: what it is made of, and what that points to. */
struct roofline {
    struct figure f;
    struct figure_series *series; /* the roofs, then each contestant's operators */
    struct figure_note note[3];
    char said[3][64];
    double roof[3][4]; /* two x, two y */
    double *number;    /* x, then y of all operators */
    const char **tip;
    struct scale x, y;
};

static void add_line(struct roofline *r, double x0, double x1, double y0, double y1, bool slope)
{
    double *xy = r->roof[r->f.n];
    memcpy(xy, (const double[]){ x0, x1, y0, y1 }, sizeof r->roof[0]);
    r->series[r->f.n++] = (struct figure_series){ .n = 2,
                                                  .x = xy,
                                                  .y = xy + 2,
                                                  .style = slope ? FIGURE_DASHED : FIGURE_LINE,
                                                  .color = slope ? FIGURE_SOFT : FIGURE_INK };
}

static double gbs_of(const struct page *p, const char *key)
{
    const char *text = results_fact(p->all, 0, key);
    return text ? strtod(text, NULL) : 0;
}

static void add_roofs(struct roofline *r, const struct page *p)
{
    static const struct {
        const char *key, *name;
    } slopes[] = { { "l2_read_gbs", "L2" }, { "dram_read_gbs", "DRAM" } };
    const double peak = gbs_of(p, "peak_gflops_all");
    if (!(peak > r->y.lo)) return;
    double corner = r->x.hi;
    for (size_t i = 0; i < 2; i++) {
        const double gbs = gbs_of(p, slopes[i].key);
        if (!(gbs > 0)) continue;
        const double x1 = fmin(peak / gbs, r->x.hi), x0 = fmax(r->x.lo, r->y.lo / gbs);
        if (x0 >= x1) continue;
        corner = fmin(corner, x1);
        add_line(r, x0, x1, x0 * gbs, x1 * gbs, true);
        const double mark = sqrt(x0 * x1); /* L2 is above its line, memory below */
        snprintf(r->said[r->f.notes], sizeof r->said[0], "%s %.0f GB/s", slopes[i].name, gbs);
        r->note[r->f.notes] = (struct figure_note){ .text = r->said[r->f.notes],
                                                    .x = mark,
                                                    .y = mark * gbs,
                                                    .dx = i ? 8 : -8,
                                                    .dy = i ? 12 : -4,
                                                    .before = !i };
        r->f.notes++;
    }
    add_line(r, corner, r->x.hi, peak, peak, false);
    snprintf(r->said[r->f.notes], sizeof r->said[0], "FMA peak %.0f GFLOP/s", peak);
    r->note[r->f.notes] = (struct figure_note){ .text = r->said[r->f.notes],
                                                .x = r->x.hi,
                                                .y = peak,
                                                .dx = -2,
                                                .dy = -6,
                                                .strong = true,
                                                .before = true };
    r->f.notes++;
}

static char *tip_of(const struct entry *e)
{
    char *text, time[32];
    if (asprintf(&text, "%s\n%s: %s, %.3g GFLOP/s, %.3g GB/s", e->title, e->who,
                 page_time(entry_median(e, ""), time), entry_median(e, "GFLOP/s"),
                 entry_median(e, "GB/s")) < 0)
        return NULL;
    return text;
}

/* A contestant's operators, those that multiply or the others, from number *at on: one series, of
 * which the first that has points has the label. False: out of memory. */
static bool add_points(struct roofline *r, const struct page *p, const struct entry *who,
                       bool multiply, size_t *at)
{
    struct figure_series *s = &r->series[r->f.n];
    const bool labelled = r->f.n > 0 && r->series[r->f.n - 1].label == who->who;
    *s = (struct figure_series){ .label = labelled ? NULL : who->who,
                                 .x = r->number + *at,
                                 .y = r->number + p->n + *at,
                                 .diamonds = !multiply,
                                 .style = FIGURE_POINTS,
                                 .color = 1 + (int)who->color,
                                 .tip = r->tip + *at };
    for (size_t i = 0; i < p->n; i++) {
        const struct entry *e = &p->entry[i];
        double x, y;
        if (!under_roofs(e, &x, &y) || strcmp(e->who, who->who) || multiplies(e) != multiply)
            continue;
        r->number[*at] = x;
        r->number[p->n + *at] = y;
        if (!(r->tip[*at] = tip_of(e))) return false;
        ++*at;
        s->n++;
    }
    r->f.n += s->n > 0;
    return true;
}

static bool add_operators(struct roofline *r, const struct page *p)
{
    size_t at = 0;
    for (size_t i = 0; i < p->n; i++) {
        double x, y;
        bool first = under_roofs(&p->entry[i], &x, &y);
        for (size_t k = 0; k < i && first; k++)
            first = !under_roofs(&p->entry[k], &x, &y) || strcmp(p->entry[k].who, p->entry[i].who);
        if (first && (!add_points(r, p, &p->entry[i], true, &at) ||
                      !add_points(r, p, &p->entry[i], false, &at)))
            return false;
    }
    return true;
}

void page_roofline(struct page *p)
{
    struct roofline r = { .x = { .base = 2, .lo = INFINITY }, .y = { .base = 10, .lo = INFINITY } };
    for (size_t i = 0; i < p->n; i++) {
        double intensity, rate;
        if (!under_roofs(&p->entry[i], &intensity, &rate)) continue;
        r.x.lo = fmin(r.x.lo, intensity);
        r.x.hi = fmax(r.x.hi, intensity);
        r.y.lo = fmin(r.y.lo, rate);
        r.y.hi = fmax(r.y.hi, rate);
    }
    if (!(r.x.hi > 0)) return;
    r.y.hi = fmax(r.y.hi, 1.2 * gbs_of(p, "peak_gflops_all"));
    scale_round(&r.x, 8, false);
    scale_round(&r.y, 8, false);
    r.series = calloc(2 * p->n + 3, sizeof *r.series);
    r.number = malloc(2 * p->n * sizeof *r.number);
    r.tip = calloc(p->n, sizeof *r.tip);
    bool good = r.series && r.number && r.tip;
    if (good) {
        r.f =
            (struct figure){ .title = "roofline",
                             .x = { "FLOP per byte that must be moved", 2, r.x.lo, r.x.hi, false },
                             .y = { { "GFLOP/s", 10, r.y.lo, r.y.hi, false } },
                             .series = r.series,
                             .note = r.note };
        add_roofs(&r, p);
        good = add_operators(&r, p);
    }
    if (good) {
        template_part(p->out, "roofline", NULL, "drawing", NULL);
        good = figure_in_page(p->out, &r.f);
        template_part(p->out, "roofline", "drawing", NULL, NULL);
    }
    for (size_t i = 0; r.tip && i < p->n; i++) free((char *)r.tip[i]);
    free(r.tip);
    free(r.number);
    free(r.series);
    if (!good) errno = ENOMEM;
}
