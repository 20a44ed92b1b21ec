/* Figures in pages: each for wide and for narrow screens, with a table of its numbers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/figure_parts.h"
#include "report/parts.h"
#include "report/template.h"

enum { ROWS = 1000 }; /* of a table; of more than that every second, third, … */

bool figure_in_page(FILE *out, const struct figure *f)
{
    const struct drawing wide = figure_placed(f, FIGURE_WIDE),
                         narrow = figure_placed(f, FIGURE_NARROW);
    return drawing_in_page(out, &wide, "wide") && drawing_in_page(out, &narrow, "narrow");
}

static void cell(FILE *out, double v, const char *text)
{
    template_put(out, "cell-number",
                 VALUES("value", FORMAT("%.9g", isfinite(v) ? v : -1), "text", text));
}

static bool numbers(FILE *out, const struct figure *f)
{
    size_t n;
    char text[96];
    double *x = figure_rows(f, &n);
    if (!x) return false;
    const size_t every = (n + ROWS - 1) / ROWS;
    template_part(out, "figure-numbers", NULL, "heads",
                  VALUES("which", every > 1 ? FORMAT(", one row in %zu", every) : ""));
    template_put(out, "table-head", VALUES("text", f->x.label ? f->x.label : ""));
    for (size_t k = 0; k < f->n; k++) {
        const struct figure_series *s = &f->series[k];
        const char *y = s->panel < FIGURE_PANELS ? f->y[s->panel].label : NULL;
        if (!s->label) continue;
        if (f->panels < 2 || !y || !strcmp(y, s->label)) y = NULL; /* nothing to tell apart */
        template_put(out, "table-head",
                     VALUES("text", y ? FORMAT("%s · %s", y, s->label) : s->label));
    }
    template_part(out, "figure-numbers", "heads", "rows", NULL);
    for (size_t i = 0; i < n; i++) {
        if (i % every && i + 1 < n) continue;
        template_part(out, "table-row", NULL, "cells", NULL);
        cell(out, x[i], figure_x(f, x[i], text));
        for (size_t k = 0; k < f->n; k++) {
            const struct figure_series *s = &f->series[k];
            if (!s->label) continue;
            const size_t at = figure_at(s, x[i]);
            cell(out, at < s->n ? s->y[at] : NAN, at < s->n ? figure_value(s, at, text) : "");
        }
        template_part(out, "table-row", "cells", NULL, NULL);
    }
    template_part(out, "figure-numbers", "rows", NULL, NULL);
    free(x);
    return true;
}

bool figure_page(FILE *out, const struct figure_page *p)
{
    bool good = true;
    template_part(out, "page", NULL, "style", VALUES("title", p->title));
    fputs(report_parts[REPORT_STYLE].text, out);
    template_part(out, "page", "style", "heading", NULL);
    template_text(out, p->title);
    template_part(out, "page", "heading", "facts", NULL);
    template_text(out, p->about);
    template_part(out, "page", "facts", "sections", NULL);
    for (size_t i = 0; i < p->n && good; i++) {
        const struct figure *f = &p->figure[i];
        const bool said = !f->title || !strcmp(f->title, p->title); /* as the page's own title */
        template_part(
            out, "figure-card", NULL, "drawing",
            VALUES("title", said ? "" : f->title, "subtitle", f->subtitle ? f->subtitle : ""));
        good = figure_in_page(out, f);
        template_part(out, "figure-card", "drawing", "numbers", NULL);
        good = good && numbers(out, f);
        template_part(out, "figure-card", "numbers", NULL, NULL);
    }
    template_part(out, "page", "sections", "data", VALUES("command", p->command, "remark", ""));
    template_part(out, "page", "data", "script", NULL);
    fputs(report_parts[REPORT_SCRIPT].text, out);
    template_part(out, "page", "script", NULL, NULL);
    return good;
}
