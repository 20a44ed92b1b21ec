/* Cells, names and counts of a confusion matrix. */
#include "report/matrix.h"

#include <math.h>
#include <string.h>

/* Where things are; all in pixels. */
struct frame {
    double cell, letter; /* the side of a cell; the height of letters */
    double left, top;
    double longest; /* of the names */
    bool turned;    /* those of columns */
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
    f.turned = f.longest > f.cell - 4;
    return f;
}

#define AT(x, y) ((struct canvas_point){ x, y })

static double side_of(const struct visual *v, const struct frame *f)
{
    return f->cell * (double)v->classes;
}

static double height_of(const struct visual *v, const struct frame *f)
{
    return f->top + side_of(v, f) + (f->turned ? 0.72 * f->longest : 0) + 2 * f->letter + 22;
}

static void names(struct canvas *c, const struct visual *v, const struct frame *f)
{
    const struct canvas_letters row = { CANVAS_SOFT, f->letter, .anchor = CANVAS_END },
                                column = { CANVAS_SOFT, f->letter,
                                           .anchor = f->turned ? CANVAS_END : CANVAS_MIDDLE,
                                           .turn = f->turned ? -45 : 0 };
    char number[32];
    for (size_t k = 0; k < v->classes; k++) {
        const double at = ((double)k + 0.5) * f->cell;
        const char *name = visual_class(v, k, number);
        c->text(c, &row, AT(f->left - 8, f->top + at + f->letter * 0.36), name);
        c->text(c, &column,
                AT(f->left + at + (f->turned ? f->letter * 0.3 : 0),
                   f->top + side_of(v, f) + f->letter + 3),
                name);
    }
}

/* Of `row` images of class i so many were taken for class j. */
static void cell(struct canvas *c, const struct visual *v, const struct frame *f,
                 const size_t at[2], uint64_t count, uint64_t row)
{
    char is[32], said[32], text[400];
    const double x = f->left + (double)at[1] * f->cell, y = f->top + (double)at[0] * f->cell,
                 share = (double)count / (double)(row ? row : 1);
    struct canvas_box box = { .color = CANVAS_PAPER, .alpha = 1, .framed = true };
    if (count) {
        snprintf(text, sizeof text, "%s, predicted %s\n%llu of %llu, %.1f %%",
                 visual_class(v, at[0], is), visual_class(v, at[1], said),
                 (unsigned long long)count, (unsigned long long)row, 100 * share);
        box = (struct canvas_box){ .color = at[0] == at[1] ? CANVAS_FIRST : CANVAS_FIRST + 1,
                                   .alpha = 0.06 + 0.94 * share,
                                   .framed = true,
                                   .tip = text };
    }
    c->box(c, &box, AT(x, y), AT(x + f->cell, y + f->cell));
    if (!count) return;
    const struct canvas_letters letters = { canvas_letters_on(box.color, box.alpha, NULL),
                                            f->letter, .anchor = CANVAS_MIDDLE };
    snprintf(text, sizeof text, "%llu", (unsigned long long)count);
    c->text(c, &letters, AT(x + f->cell / 2, y + f->cell / 2 + f->letter * 0.36), text);
}

static void cells(struct canvas *c, const struct visual *v, const struct frame *f,
                  const struct visual_matrix *m)
{
    for (size_t i = 0; i < v->classes; i++) {
        uint64_t row = 0;
        for (size_t j = 0; j < v->classes; j++) row += m->count[i * v->classes + j];
        for (size_t j = 0; j < v->classes; j++)
            cell(c, v, f, (size_t[]){ i, j }, m->count[i * v->classes + j], row);
    }
}

static bool draw(struct canvas *c, const struct drawing *d)
{
    const struct visual *v = d->of;
    const struct visual_matrix *m = &v->matrix[d->part];
    const struct frame f = frame_of(v);
    const struct canvas_letters head = { CANVAS_INK, 15, .bold = true, .anchor = CANVAS_MIDDLE },
                                below = { CANVAS_SOFT, 12, .anchor = CANVAS_MIDDLE },
                                beside = { CANVAS_SOFT, 12, .anchor = CANVAS_MIDDLE, .turn = -90 };
    const double middle = f.left + side_of(v, &f) / 2, center = f.top + side_of(v, &f) / 2;
    uint64_t right;
    const uint64_t all = visual_counted(v, m, &right);
    char title[160];
    snprintf(title, sizeof title, "Accuracy: %llu/%llu = %.2f %% (%s)", (unsigned long long)right,
             (unsigned long long)all, 100 * (double)right / (double)(all ? all : 1), m->split);
    c->text(c, &head, AT(middle, 20), title);
    c->text(c, &below, AT(middle, height_of(v, &f) - 8), "predicted class");
    c->text(c, &beside, AT(14, center), "true class");
    names(c, v, &f);
    cells(c, v, &f, m);
    return true;
}

struct drawing matrix_drawing(const struct visual *v, size_t matrix)
{
    const struct frame f = frame_of(v);
    return (struct drawing){ .size = { f.left + side_of(v, &f) + 14, height_of(v, &f) },
                             .title = "confusion matrix",
                             .draw = draw,
                             .of = v,
                             .part = matrix };
}
