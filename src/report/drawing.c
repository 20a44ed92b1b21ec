/* Drawings as SVG: files, and elements of pages. */
#include "report/drawing.h"

#include "report/template.h"

bool drawing_svg(FILE *out, const struct drawing *d)
{
    struct canvas c = canvas_svg(out, false);
    const struct canvas_box paper = { .color = CANVAS_PAPER, .alpha = 1 };
    template_part(out, "drawing-file", NULL, "style",
                  VALUES("width", FORMAT("%g", d->size.x), "height", FORMAT("%g", d->size.y),
                         "title", d->title));
    canvas_dark_style(out);
    template_part(out, "drawing-file", "style", "drawing", NULL);
    c.box(&c, &paper, (struct canvas_point){ 0, 0 }, d->size);
    const bool good = d->draw(&c, d);
    template_part(out, "drawing-file", "drawing", NULL, NULL);
    return good;
}

bool drawing_in_page(FILE *out, const struct drawing *d, const char *kind)
{
    struct canvas c = canvas_svg(out, true);
    template_part(out, "drawing", NULL, "drawing",
                  VALUES("kind", kind, "width", FORMAT("%g", d->size.x), "height",
                         FORMAT("%g", d->size.y), "what", d->title));
    const bool good = d->draw(&c, d);
    template_part(out, "drawing", "drawing", NULL, NULL);
    return good;
}
