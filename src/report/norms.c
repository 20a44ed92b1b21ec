/* A card for every normalising layer: four strips of bars, one bar a channel, and a table. */
#include "report/norms.h"

#include <math.h>
#include <string.h>

#include "report/template.h"

enum { WIDTH = 240, HEIGHT = 64, TOP = 20, ROWS = 128 };

static const char *const names[VISUAL_PARTS] = { "γ", "β", "running mean", "running variance" };

static bool is_norm(const struct visual_layer *l)
{
    bool any = false;
    for (int p = 0; p < VISUAL_PARTS; p++) any |= l->part[p].values != NULL;
    return any && strstr(l->node.type, "_norm");
}

struct summary {
    double lo, hi, mean;
};

static struct summary summarise(const struct visual_param *p)
{
    struct summary s = { INFINITY, -INFINITY, 0 };
    for (size_t i = 0; i < p->count; i++) {
        s.lo = fmin(s.lo, (double)p->values[i]);
        s.hi = fmax(s.hi, (double)p->values[i]);
        s.mean += (double)p->values[i] / (double)p->count;
    }
    return s;
}

/* Bars from zero, which is always there. */
static void strip(FILE *out, const struct visual_layer *l, int part)
{
    const struct visual_param *p = &l->part[part];
    const struct summary s = summarise(p);
    const double lo = fmin(s.lo, 0), hi = fmax(s.hi, 0), span = hi > lo ? hi - lo : 1,
                 each = (double)WIDTH / (double)p->count, zero = TOP + HEIGHT * hi / span;
    template_part(out, "norm-strip", NULL, "bars",
                  VALUES("layer", l->node.name, "name", names[part], "range",
                         FORMAT("%.3g … %.3g", s.lo, s.hi), "mean", FORMAT("%.3g", s.mean), "width",
                         FORMAT("%.2f", fmin(fmax(each * 0.72, 0.6), 14))));
    for (size_t i = 0; i < p->count; i++)
        template_text(out, FORMAT("M%.1f %.1fV%.1f", each * ((double)i + 0.5), zero,
                                  TOP + HEIGHT * (hi - (double)p->values[i]) / span));
    template_part(out, "norm-strip", "bars", NULL, VALUES("zero", FORMAT("%.1f", zero)));
}

static void number(FILE *out, double v)
{
    template_put(out, "cell-number",
                 VALUES("value", FORMAT("%.9g", v), "text", FORMAT("%#.4g", v)));
}

static void table(FILE *out, const struct visual_layer *l, size_t channels)
{
    const size_t rows = channels < ROWS ? channels : ROWS;
    template_part(out, "norm-table", NULL, "heads",
                  VALUES("rows", FORMAT(rows < channels ? "the first %zu of %zu" : "all %zu", rows,
                                        channels)));
    for (int p = 0; p < VISUAL_PARTS; p++)
        if (l->part[p].values) template_put(out, "table-head", VALUES("text", names[p]));
    template_part(out, "norm-table", "heads", "rows", NULL);
    for (size_t i = 0; i < rows; i++) {
        template_part(out, "table-row", NULL, "cells", NULL);
        template_put(out, "cell-number",
                     VALUES("value", FORMAT("%zu", i), "text", FORMAT("%zu", i)));
        for (int p = 0; p < VISUAL_PARTS; p++)
            if (l->part[p].values) number(out, (double)l->part[p].values[i]);
        template_part(out, "table-row", "cells", NULL, NULL);
    }
    template_part(out, "norm-table", "rows", NULL, NULL);
}

static void card(FILE *out, const struct visual_layer *l)
{
    size_t channels = 0;
    for (int p = 0; p < VISUAL_PARTS; p++)
        if (l->part[p].values) channels = l->part[p].count;
    template_part(out, "norm-card", NULL, "strips",
                  VALUES("layer", l->node.name, "channels", FORMAT("%zu", channels)));
    for (int p = 0; p < VISUAL_PARTS; p++)
        if (l->part[p].values) strip(out, l, p);
    template_part(out, "norm-card", "strips", "table", NULL);
    table(out, l, channels);
    template_part(out, "norm-card", "table", NULL, NULL);
}

void norms_section(FILE *out, const struct visual *v)
{
    size_t n = 0;
    for (size_t i = 0; i < v->n_layers; i++) n += is_norm(&v->layer[i]);
    if (!n) return;
    template_part(out, "norms", NULL, "cards", NULL);
    for (size_t i = 0; i < v->n_layers; i++)
        if (is_norm(&v->layer[i])) card(out, &v->layer[i]);
    template_part(out, "norms", "cards", NULL, NULL);
}
