/* Cells, names and counts of a confusion matrix. */
#include "report/matrix.h"

#include <math.h>
#include <string.h>

#include "report/canvas.h"
#include "report/template.h"

/* Where things are; all in pixels. */
struct frame {
    double cell, letter; /* the side of a cell, with its gap; the height of letters */
    double left, top;
    double longest; /* of the names */
};

static struct frame frame_of(const struct visual *v)
{
    struct frame f = { .cell = 41, .letter = 12, .top = 34 };
    char number[32];
    if (v->classes > 12) f = (struct frame){ .cell = 30, .letter = 9.5, .top = 34 };
    if (v->classes > 30) f = (struct frame){ .cell = 17, .letter = 6.5, .top = 34 };
    for (size_t k = 0; k < v->classes; k++)
        f.longest = fmax(f.longest, canvas_width(visual_class(v, k, number), f.letter, false));
    f.left = 34 + f.longest;
    return f;
}

static void names(FILE *out, const struct visual *v, const struct frame *f)
{
    char number[32];
    const double side = f->cell * (double)v->classes;
    for (size_t k = 0; k < v->classes; k++) {
        const double at = ((double)k + 0.5) * f->cell;
        const char *name = visual_class(v, k, number);
        template_put(out, "matrix-row",
                     VALUES("x", FORMAT("%.1f", f->left - 8), "y",
                            FORMAT("%.1f", f->top + at + f->letter * 0.36), "name", name));
        template_put(out, "matrix-column",
                     VALUES("x", FORMAT("%.1f", f->left + at + f->letter * 0.3), "y",
                            FORMAT("%.1f", f->top + side + f->letter + 3), "name", name));
    }
}

/* Of `row` images of class i so many were taken for class j. */
static void cell(FILE *out, const struct visual *v, const struct frame *f, const size_t at[2],
                 uint64_t count, uint64_t row)
{
    char is[32], said[32], tip[400];
    const double x = f->left + (double)at[1] * f->cell, y = f->top + (double)at[0] * f->cell,
                 side = f->cell - (f->cell > 20 ? 2 : 1),
                 share = (double)count / (double)(row ? row : 1);
    const char *left = FORMAT("%.1f", x), *top = FORMAT("%.1f", y), *size = FORMAT("%.1f", side);
    if (!count) {
        template_put(out, "matrix-empty", VALUES("x", left, "y", top, "side", size));
        return;
    }
    snprintf(tip, sizeof tip, "%s, predicted %s\n%llu of %llu, %.1f %%", visual_class(v, at[0], is),
             visual_class(v, at[1], said), (unsigned long long)count, (unsigned long long)row,
             100 * share);
    /* from here on the other ink stands out better, on the lesser of a light and a dark screen */
    const bool right = at[0] == at[1], full = share > 0.68;
    template_put(
        out, "matrix-cell",
        VALUES("tip", tip, "kind", right ? "f-0" : "f-1", "x", left, "y", top, "side", size,
               "color", right ? "#0072b2" : "#d55e00", "share", FORMAT("%.3f", 0.06 + 0.94 * share),
               "ink", full ? "f-paper" : "f-ink", "middle", FORMAT("%.1f", x + side / 2), "below",
               FORMAT("%.1f", y + side / 2 + f->letter * 0.36), "shade",
               full ? "#ffffff" : "#1b2330", "count", FORMAT("%llu", (unsigned long long)count)));
}

static void cells(FILE *out, const struct visual *v, const struct frame *f,
                  const struct visual_matrix *m)
{
    for (size_t i = 0; i < v->classes; i++) {
        uint64_t row = 0;
        for (size_t j = 0; j < v->classes; j++) row += m->count[i * v->classes + j];
        for (size_t j = 0; j < v->classes; j++)
            cell(out, v, f, (size_t[]){ i, j }, m->count[i * v->classes + j], row);
    }
}

void matrix_svg(FILE *out, const struct visual *v, const struct visual_matrix *m)
{
    const struct frame f = frame_of(v);
    const double side = f.cell * (double)v->classes, width = f.left + side + 14,
                 height = f.top + side + 0.72 * f.longest + 2 * f.letter + 22;
    uint64_t right;
    const uint64_t all = visual_counted(v, m, &right);
    char title[160];
    snprintf(title, sizeof title, "Accuracy: %llu/%llu = %.2f%%", (unsigned long long)right,
             (unsigned long long)all, 100 * (double)right / (double)(all ? all : 1));
    template_part(out, "drawing", NULL, "drawing",
                  VALUES("kind", v->classes > 12 ? "" : "few", "width", FORMAT("%.0f", width),
                         "height", FORMAT("%.0f", height), "what", title, "size",
                         FORMAT("%g", f.letter)));
    snprintf(title + strlen(title), sizeof title - strlen(title), " (%s)", m->split);
    template_put(out, "matrix-head",
                 VALUES("middle", FORMAT("%.1f", f.left + side / 2), "title", title, "bottom",
                        FORMAT("%.1f", height - 8), "center", FORMAT("%.1f", f.top + side / 2)));
    names(out, v, &f);
    cells(out, v, &f, m);
    template_part(out, "drawing", "drawing", NULL, NULL);
}
