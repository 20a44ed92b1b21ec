/* Rates over batch sizes: a drawing a model, a curve a contestant and number of threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/chart.h"
#include "report/page.h"
#include "report/template.h"

/* Whether there is a point to draw. */
bool page_has_point(const struct entry *e)
{
    return entry_median(e, "examples/s") > 0 && entry_part(e, "batch") > 0;
}

/* The part of a scaling group between benchmark and batch: the model. */
static bool same_model(const struct entry *a, const struct entry *b)
{
    const char *x = strstr(a->group, "/batch:"), *y = strstr(b->group, "/batch:");
    return x && y && x - a->group == y - b->group &&
           !strncmp(a->group, b->group, (size_t)(x - a->group));
}

static bool same_curve(const struct entry *a, const struct entry *b)
{
    return same_model(a, b) && !strcmp(a->who, b->who) &&
           entry_part(a, "threads") == entry_part(b, "threads");
}

static int by_batch(const void *a, const void *b)
{
    const double x = entry_part(*(const struct entry *const *)a, "batch"),
                 y = entry_part(*(const struct entry *const *)b, "batch");
    return (x > y) - (x < y);
}

static void curve(struct page *p, struct chart *c, const struct entry *first, size_t color)
{
    const struct entry **at = malloc(p->n * sizeof *at);
    size_t n = 0;
    char number[32];
    if (!at) return;
    for (size_t i = 0; i < p->n; i++) {
        const struct entry *e = &p->entry[i];
        if (!strcmp(e->benchmark, "scaling") && same_curve(e, first) && page_has_point(e))
            at[n++] = e;
    }
    qsort(at, n, sizeof *at, by_batch);
    const char *of_color = FORMAT("%zu", color);
    template_part(p->out, "curve", NULL, "points", VALUES("color", of_color));
    for (size_t i = 0; i < n; i++)
        template_text(p->out, FORMAT("%.1f,%.1f ", chart_x(c, entry_part(at[i], "batch")),
                                     chart_y(c, entry_median(at[i], "examples/s"))));
    template_part(p->out, "curve", "points", NULL, NULL);
    for (size_t i = 0; i < n; i++) {
        const double rate = entry_median(at[i], "examples/s"),
                     lo = entry_quantile(at[i], "examples/s", 0),
                     hi = entry_quantile(at[i], "examples/s", 1),
                     share = entry_median(at[i], "% of peak");
        template_put(p->out, "curve-point",
                     VALUES("x", FORMAT("%.1f", chart_x(c, entry_part(at[i], "batch"))), "y",
                            FORMAT("%.1f", chart_y(c, rate)), "slowest",
                            FORMAT("%.1f", chart_y(c, lo)), "fastest",
                            FORMAT("%.1f", chart_y(c, hi)), "color", of_color, "group",
                            at[i]->title, "who", at[i]->who, "rate", chart_number(rate, number),
                            "share", isfinite(share) ? FORMAT(", %.1f %% of peak", share) : ""));
    }
    free(at);
}

/* Whether it is the first entry of a curve of this model. */
static bool begins_curve(const struct page *p, size_t i, const struct entry *model)
{
    const struct entry *e = &p->entry[i];
    bool first = !strcmp(e->benchmark, "scaling") && same_model(e, model);
    for (size_t k = 0; k < i && first; k++)
        first = strcmp(p->entry[k].benchmark, "scaling") || !same_curve(&p->entry[k], e);
    return first;
}

static void scaling_legend(struct page *p, const struct entry *model)
{
    for (size_t i = 0, color = 0; i < p->n; i++) {
        if (!begins_curve(p, i, model)) continue;
        const double threads = entry_part(&p->entry[i], "threads");
        page_legend(p, color++ % ENTRY_COLORS, p->entry[i].who,
                    FORMAT(", %.0f thread%s", threads, threads == 1 ? "" : "s"));
    }
}

static void scaling_chart(struct page *p, const struct entry *model)
{
    struct chart_axis x = { 1e9, 1, 2, "batch" }, y = { 0, 0, 0, "examples/s" };
    for (size_t i = 0; i < p->n; i++) {
        const struct entry *e = &p->entry[i];
        if (strcmp(e->benchmark, "scaling") || !same_model(e, model) || !page_has_point(e))
            continue;
        x.lo = fmin(x.lo, entry_part(e, "batch"));
        x.hi = fmax(x.hi, entry_part(e, "batch"));
        y.hi = fmax(y.hi, entry_quantile(e, "examples/s", 1));
    }
    if (!(y.hi > 0)) return; /* nothing to draw: others() tells what there is */
    const char *part = strchr(model->group, '/') + 1; /* there is one: the batch's */
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(part, "/"), part);
    template_part(p->out, "scaling-card", NULL, "drawing", VALUES("model", name));
    for (int narrow = 0; narrow < 2; narrow++) {
        struct chart c;
        size_t color = 0;
        chart_open(&c, p->out, narrow, x, y, "examples a second by batch size");
        for (size_t i = 0; i < p->n; i++)
            if (begins_curve(p, i, model)) curve(p, &c, &p->entry[i], color++ % ENTRY_COLORS);
        chart_close(&c);
    }
    template_part(p->out, "scaling-card", "drawing", "legend", NULL);
    scaling_legend(p, model);
    template_part(p->out, "scaling-card", "legend", NULL, NULL);
}

void page_scaling(struct page *p)
{
    if (!page_has(p, "scaling")) return;
    template_part(p->out, "scaling", NULL, "body", NULL);
    for (size_t i = 0; i < p->n; i++) {
        bool first = !strcmp(p->entry[i].benchmark, "scaling");
        for (size_t k = 0; k < i && first; k++)
            first =
                strcmp(p->entry[k].benchmark, "scaling") || !same_model(&p->entry[k], &p->entry[i]);
        if (first) scaling_chart(p, &p->entry[i]);
    }
    template_part(p->out, "scaling", "body", NULL, NULL);
}
