/* Rates over batch sizes: a drawing a model, a curve a contestant and number of threads. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/figure.h"
#include "report/page.h"
#include "report/template.h"
#include "report/text.h"

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

/* A series of a figure, with what it points to. */
struct curve {
    char label[96];
    double *number; /* x, y, low, high, one after the other */
    char **tip;
};

static void free_curve(struct curve *c, size_t n)
{
    for (size_t i = 0; c->tip && i < n; i++) free(c->tip[i]);
    free(c->tip);
    free(c->number);
}

/* The points that have a rate, by batch; false: out of memory. */
static bool make_curve(const struct page *p, const struct entry *first, struct curve *c,
                       struct figure_series *s)
{
    const struct entry **at = malloc(p->n * sizeof *at);
    double *number = c->number = malloc(4 * p->n * sizeof *number);
    char text[32];
    c->tip = calloc(p->n, sizeof *c->tip);
    bool good = at && number && c->tip;
    size_t n = 0;
    for (size_t i = 0; i < p->n && good; i++) {
        const struct entry *e = &p->entry[i];
        if (!strcmp(e->benchmark, "scaling") && same_curve(e, first) && page_has_point(e))
            at[n++] = e;
    }
    if (good) qsort(at, n, sizeof *at, by_batch);
    for (size_t i = 0; i < n && good; i++) {
        const double share = entry_median(at[i], "% of peak");
        number[i] = entry_part(at[i], "batch");
        number[n + i] = entry_median(at[i], "examples/s");
        number[2 * n + i] = entry_quantile(at[i], "examples/s", 0);
        number[3 * n + i] = entry_quantile(at[i], "examples/s", 1);
        good = asprintf(&c->tip[i], "%s\n%s: %s examples/s%s", at[i]->title, at[i]->who,
                        text_count(number[n + i], text),
                        isfinite(share) ? FORMAT(", %.1f %% of peak", share) : "") >= 0;
        if (!good) c->tip[i] = NULL;
    }
    free(at);
    const double threads = entry_part(first, "threads");
    snprintf(c->label, sizeof c->label, "%.60s, %.0f thread%s", first->who, threads,
             threads == 1 ? "" : "s");
    *s = (struct figure_series){ .label = c->label,
                                 .n = n,
                                 .x = number,
                                 .y = number + n,
                                 .low = number + 2 * n,
                                 .high = number + 3 * n,
                                 .whiskers = true,
                                 .tip = (const char *const *)c->tip };
    return good;
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

static void scaling_chart(struct page *p, const struct entry *model)
{
    struct curve *curve = calloc(p->n, sizeof *curve);
    struct figure_series *series = calloc(p->n, sizeof *series);
    size_t n = 0, points = 0;
    bool good = curve && series;
    for (size_t i = 0; i < p->n && good; i++) {
        if (!begins_curve(p, i, model)) continue;
        good = make_curve(p, &p->entry[i], &curve[n], &series[n]);
        points += series[n++].n;
    }
    const struct figure f = { .title = "examples a second by batch size",
                              .x = { .label = "batch", .base = 2 },
                              .y = { { .label = "examples/s", .zero = true } },
                              .series = series,
                              .n = n };
    if (good && points) { /* else there is nothing to draw: others() tells what there is */
        const char *part = strchr(model->group, '/') + 1; /* there is one: the batch's */
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(part, "/"), part);
        template_part(p->out, "scaling-card", NULL, "drawing", VALUES("model", name));
        good = figure_in_page(p->out, &f);
        template_part(p->out, "scaling-card", "drawing", NULL, NULL);
    }
    for (size_t i = 0; i < n; i++) free_curve(&curve[i], series[i].n);
    free(curve);
    free(series);
    if (!good) errno = ENOMEM;
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
