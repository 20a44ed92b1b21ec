/* Drawing a figure: its panels' frames, numbers on the axes, series, and their labels where the
 * lines end, or above where there is no room. */
#include "report/figure.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/figure_parts.h"
#include "report/scale.h"
#include "report/template.h"
#include "report/text.h"

enum { SMALL = 12, LINE = 17, SWATCH = 22 };
/* Of a drawing that stands alone: its edge, and how high its titles are if both have one line. */
enum { EDGE = 20, TITLES = 67, LINE_BYTES = 1023 };
enum { BESIDE_MOST = 14 }; /* labels beside a panel */
#define SLOPE 0.7071       /* of a name at 45 degrees: so much of its width is its height */

/* ----------------------------------------------------------------------------------- the panels */

struct frame {
    double left, right, top, bottom; /* inside the axes */
    struct scale x, y;
    double from;  /* the panel's own left edge */
    bool beside;  /* labels are where lines end, not above */
    double above; /* where the legend's first line is, if they are */
    double title; /* and the y axis' title */
    double drop;  /* how far names below the x axis reach, turned; 0: they are not */
};

static size_t panels(const struct figure *f) { return f->panels ? f->panels : 1; }

static bool in_panel(const struct figure *f, const struct figure_series *s, size_t panel)
{
    return (s->panel < panels(f) ? s->panel : 0) == panel;
}

/* How many series of a panel come before this one and have no colour of their own, either. */
static size_t before(const struct figure *f, const struct figure_series *s)
{
    size_t n = 0;
    for (const struct figure_series *b = f->series; b < s; b++)
        n += !b->color && b->label && in_panel(f, b, s->panel);
    return n;
}

/* Those that no series of the panel has asked for, or all if there are none: one a series, then
 * again with another dash. */
static size_t free_colors(const struct figure *f, size_t panel, int out[FIGURE_COLORS])
{
    size_t n = 0;
    for (int color = 1; color <= FIGURE_COLORS; color++) {
        bool taken = false;
        for (size_t k = 0; k < f->n; k++)
            taken |= f->series[k].color == color && in_panel(f, &f->series[k], panel);
        if (!taken) out[n++] = color - 1;
    }
    if (n) return n;
    for (; n < FIGURE_COLORS; n++) out[n] = (int)n;
    return n;
}

static enum canvas_color color_of(const struct figure *f, const struct figure_series *s)
{
    if (s->color == FIGURE_INK) return CANVAS_INK;
    if (s->color == FIGURE_SOFT) return CANVAS_SOFT;
    if (s->color) return (enum canvas_color)(CANVAS_FIRST + (s->color - 1) % FIGURE_COLORS);
    int free[FIGURE_COLORS];
    const size_t n = free_colors(f, s->panel, free);
    return (enum canvas_color)(CANVAS_FIRST + free[before(f, s) % n]);
}

static enum canvas_dash dash_of(const struct figure *f, const struct figure_series *s)
{
    if (s->style != FIGURE_LINE || s->color)
        return s->style == FIGURE_POINTS ? CANVAS_SOLID : (enum canvas_dash)s->style;
    int free[FIGURE_COLORS];
    return (enum canvas_dash)(before(f, s) / free_colors(f, s->panel, free) % CANVAS_DASHES);
}

static void widen(struct scale *s, double v)
{
    if (!isfinite(v) || (s->base > 0 && v <= 0)) return;
    s->lo = fmin(s->lo, v);
    s->hi = fmax(s->hi, v);
}

/* What the data of a panel need, or the caller wants. x is the same in all panels. */
static void fit(const struct figure *f, size_t panel, struct frame *r, size_t x_most, size_t y_most)
{
    r->x = (struct scale){ .base = f->x.base, .lo = INFINITY, .hi = -INFINITY };
    r->y = (struct scale){ .base = f->y[panel].base, .lo = INFINITY, .hi = -INFINITY };
    for (size_t k = 0; k < f->n; k++) {
        const struct figure_series *s = &f->series[k];
        for (size_t i = 0; i < s->n; i++) {
            widen(&r->x, s->x[i]); /* also of what is left out */
            if (!in_panel(f, s, panel) && !f->compared) continue;
            widen(&r->y, s->y[i]);
            if (s->low) widen(&r->y, s->low[i]);
            if (s->high) widen(&r->y, s->high[i]);
        }
    }
    if (f->y[panel].zero) widen(&r->y, 0);
    const struct scale data = r->x;
    scale_round(&r->x, x_most, true);
    /* curves reach to the right edge; the left one has a number */
    if (!f->x.base && data.hi > data.lo) r->x.hi = data.hi;
    scale_round(&r->y, y_most, true);
    if (f->x.names) r->x = (struct scale){ .lo = -0.5, .hi = fmax((double)f->x.n_names, 1) - 0.5 };
    if (f->x.lo < f->x.hi) r->x = (struct scale){ .base = f->x.base, .lo = f->x.lo, .hi = f->x.hi };
    const struct figure_axis *y = &f->y[panel];
    if (y->lo < y->hi) r->y = (struct scale){ .base = y->base, .lo = y->lo, .hi = y->hi };
}

/* The labels of a panel: how wide the widest is, how many there are, and in how many lines they
 * stand if the panel is so wide. */
static double legend_size(const struct figure *f, size_t panel, double width, size_t *n,
                          size_t *lines)
{
    double widest = 0, at = 0;
    *n = 0;
    *lines = 1;
    for (size_t k = 0; k < f->n; k++) {
        if (!f->series[k].label || !in_panel(f, &f->series[k], panel)) continue;
        const double w = SWATCH + 6 + canvas_width(f->series[k].label, SMALL, false);
        if (at > 0 && at + w > width) {
            ++*lines;
            at = 0;
        }
        at += w + 16;
        widest = fmax(widest, w);
        ++*n;
    }
    return widest;
}

/* Whether labels have room where the lines end. */
static bool fits_beside(double width, double widest, size_t labels)
{
    return labels > 0 && width >= 420 && labels <= BESIDE_MOST && widest <= width * 0.34;
}

/* How many bytes of a text one line takes: up to a blank, if it has one. */
static size_t line_of(const char *text, const struct canvas_letters *letters, double width)
{
    double used = 0;
    size_t i = 0, blank = 0;
    for (; text[i] && i < LINE_BYTES; i++) {
        used += canvas_width((const char[]){ text[i], '\0' }, letters->size, letters->bold);
        if (text[i] == ' ') blank = i;
        if (used > width && blank) return blank;
        if (used > width && i) break;
    }
    while (text[i] && i > 1 && ((unsigned char)text[i] & 0xc0) == 0x80) i--; /* a whole character */
    return i;
}

/* A text in as many lines as it needs, each so much lower. Where the last one is. */
static double paragraph(struct canvas *c, const struct canvas_letters *letters, double width,
                        double y, double lower, const char *text)
{
    while (*text) {
        char line[LINE_BYTES + 1];
        const size_t n = line_of(text, letters, width - 2 * EDGE);
        snprintf(line, sizeof line, "%.*s", (int)n, text);
        y += lower;
        if (c) c->text(c, letters, (struct canvas_point){ EDGE, y }, line);
        text += n + strspn(text + n, " ");
    }
    return y;
}

/* Title and subtitle of a drawing that stands alone, if there is something to draw on: where what
 * is below them begins. */
static double titles(struct canvas *c, const struct figure *f, double width)
{
    const struct canvas_letters title = { CANVAS_INK, 18, .bold = true, .anchor = CANVAS_START },
                                subtitle = { CANVAS_SOFT, 13, .anchor = CANVAS_START };
    double top = 14;
    if (f->title) top = paragraph(c, &title, width, top, 20, f->title);
    if (f->subtitle) top = paragraph(c, &subtitle, width, top, 19, f->subtitle);
    return top > 14 ? top + 14 : top;
}

/* How far names of the x axis reach below it if each has so much room: turned where one of them is
 * wider. */
static double names_drop(const struct figure *f, double room)
{
    double widest = 0;
    for (size_t i = 0; f->x.names && i < f->x.n_names; i++)
        widest = fmax(widest, canvas_width(f->x.names[i], SMALL, false));
    return widest <= room - 6 ? 0 : widest * SLOPE;
}

static struct canvas_point size_in(const struct figure *f, enum figure_place place)
{
    const double n = (double)panels(f);
    size_t labels, lines, more = 0; /* long lists of labels and names do not make the panel low */
    double drop = 0;
    for (size_t i = 0; i < panels(f); i++) {
        const double width = place == FIGURE_NARROW ? 360 : 820 / n,
                     widest = legend_size(f, i, width, &labels, &lines);
        if (!fits_beside(width, widest, labels) && lines > more + 2) more = lines - 2;
        drop = fmax(drop, names_drop(f, (width - 60) / fmax((double)f->x.n_names, 1)));
    }
    const double height = (double)more * LINE + drop;
    switch (place) {
    case FIGURE_ALONE: {
        const double width = n > 1 ? 1100 : 860, top = titles(NULL, f, width);
        return (struct canvas_point){ width, (n > 1 ? 460 : 500) + fmax(top - TITLES, 0) + height };
    }
    case FIGURE_WIDE: return (struct canvas_point){ 980, 400 + height };
    default: return (struct canvas_point){ 360, (340 + height) * n };
    }
}

static size_t most_x(double width) { return width > 320 ? (size_t)(width / 64) : 5; }
static size_t most_y(double height) { return height > 120 ? (size_t)(height / 48) : 2; }

/* Where the parts of a panel are, in the rectangle that it has. */
static void lay_out(const struct figure *f, size_t panel, struct frame *r)
{
    struct scale_tick tick[SCALE_TICKS];
    size_t labels, lines;
    const double width = r->right - r->left;
    const double widest = legend_size(f, panel, width, &labels, &lines);
    r->from = r->left;
    r->beside = fits_beside(width, widest, labels);
    const double between = width - (r->beside ? widest + 14 : 14) - 40; /* about, on the x axis */
    r->drop = names_drop(f, between / fmax((double)f->x.n_names, 1));
    r->bottom -= 42 + r->drop;
    r->title = r->top + 13;
    if (f->y[panel].label && *f->y[panel].label) r->top += LINE;
    if (labels && !r->beside) {
        r->above = r->top + 11;
        r->top += (double)lines * LINE + 4;
    }
    r->top += 8;
    r->right -= r->beside ? widest + 14 : 14;
    fit(f, panel, r, most_x(r->right - r->left), most_y(r->bottom - r->top));
    r->y.from = r->bottom;
    r->y.to = r->top;
    double numbers = 0;
    const size_t n = scale_ticks(&r->y, most_y(r->bottom - r->top), tick);
    for (size_t i = 0; i < n; i++)
        numbers = fmax(numbers, canvas_width(tick[i].text, SMALL, false));
    r->left += numbers + 12;
    for (size_t i = 0; r->drop > 0 && i < f->x.n_names; i++) { /* none begins left of the panel */
        const double at = ((double)i + 0.5) / (double)f->x.n_names,
                     reach = canvas_width(f->x.names[i], SMALL, false) * SLOPE;
        r->left = fmax(r->left, (r->from + reach - at * r->right) / (1 - at));
    }
    r->x.from = r->left;
    r->x.to = r->right;
}

/* ------------------------------------------------------------------------------- axes and grid */

static void straight(struct canvas *c, enum canvas_color color, double width,
                     struct canvas_point from, struct canvas_point to)
{
    const struct canvas_pen pen = { .color = color, .width = width };
    c->line(c, &pen, (const struct canvas_point[]){ from, to }, 2);
}

#define AT(x, y) ((struct canvas_point){ x, y })

/* Texts below the x axis, whole; turned ones that would touch are left out in turn. */
static void names(struct canvas *c, const struct figure *f, const struct frame *r)
{
    const struct canvas_letters middle = { CANVAS_SOFT, SMALL, .anchor = CANVAS_MIDDLE },
                                turned = { CANVAS_SOFT, SMALL, .anchor = CANVAS_END, .turn = -45 };
    const double room = (r->right - r->left) / (double)f->x.n_names;
    const size_t every = r->drop > 0 && room < SMALL + 2 ? (size_t)ceil((SMALL + 2) / room) : 1;
    for (size_t i = 0; i < f->x.n_names; i += every) {
        const double x = scale_place(&r->x, (double)i);
        straight(c, CANVAS_AXIS, 1, AT(x, r->bottom), AT(x, r->bottom + 5));
        if (r->drop > 0) c->text(c, &turned, AT(x + 4, r->bottom + 14), f->x.names[i]);
        else c->text(c, &middle, AT(x, r->bottom + 18), f->x.names[i]);
    }
}

static void axes(struct canvas *c, const struct figure *f, size_t panel, const struct frame *r)
{
    const struct canvas_letters number = { CANVAS_SOFT, SMALL, .anchor = CANVAS_MIDDLE },
                                beside = { CANVAS_SOFT, SMALL, .anchor = CANVAS_END },
                                title = { CANVAS_INK, SMALL, .bold = true, .anchor = CANVAS_START },
                                below = { CANVAS_INK, SMALL, .bold = true, .anchor = CANVAS_END };
    struct scale_tick tick[SCALE_TICKS];
    size_t n = scale_ticks(&r->y, most_y(r->bottom - r->top), tick);
    for (size_t i = 0; i < n; i++) {
        const double y = scale_place(&r->y, tick[i].at);
        if (tick[i].minor) {
            straight(c, CANVAS_AXIS, 0.75, AT(r->left - 3, y), AT(r->left, y));
            continue;
        }
        straight(c, CANVAS_GRID, 1, AT(r->left, y), AT(r->right, y));
        c->text(c, &beside, AT(r->left - 7, y + 4), tick[i].text);
    }
    if (f->x.names) names(c, f, r);
    n = f->x.names ? 0 : scale_ticks(&r->x, most_x(r->right - r->left), tick);
    for (size_t i = 0; i < n; i++) {
        const double x = scale_place(&r->x, tick[i].at);
        straight(c, CANVAS_AXIS, tick[i].minor ? 0.75 : 1, AT(x, r->bottom),
                 AT(x, r->bottom + (tick[i].minor ? 3 : 5)));
        if (!tick[i].minor) c->text(c, &number, AT(x, r->bottom + 18), tick[i].text);
    }
    straight(c, CANVAS_AXIS, 1, AT(r->left, r->bottom), AT(r->right, r->bottom));
    if (f->x.label) c->text(c, &below, AT(r->right, r->bottom + 36 + r->drop), f->x.label);
    if (f->y[panel].label) c->text(c, &title, AT(r->from, r->title), f->y[panel].label);
}

/* ----------------------------------------------------------------------------------- the series */

/* The part of a line from a to b that is inside the frame; false: none. */
static bool clip(const struct frame *r, struct canvas_point *a, struct canvas_point *b)
{
    const double dx = b->x - a->x, dy = b->y - a->y;
    const double p[] = { -dx, dx, -dy, dy },
                 q[] = { a->x - r->left, r->right - a->x, a->y - r->top, r->bottom - a->y };
    double from = 0, to = 1;
    for (size_t i = 0; i < 4; i++) {
        if (p[i] == 0 && q[i] < -1e-6) return false;
        if (p[i] == 0) continue;
        const double t = q[i] / p[i];
        if (p[i] < 0) from = fmax(from, t);
        else to = fmin(to, t);
    }
    if (from > to) return false;
    *b = AT(a->x + to * dx, a->y + to * dy);
    *a = AT(a->x + from * dx, a->y + from * dy);
    return true;
}

static bool inside(const struct frame *r, struct canvas_point p)
{
    return p.x >= r->left - 0.01 && p.x <= r->right + 0.01 && p.y >= r->top - 0.01 &&
           p.y <= r->bottom + 0.01;
}

static bool is_point(struct canvas_point p) { return isfinite(p.x) && isfinite(p.y); }

/* Of points in one column of pixels only the first, the lowest, the highest and the last are seen:
 * n becomes at most four a column. */
static size_t thin(struct canvas_point *p, size_t n)
{
    size_t kept = 0;
    for (size_t first = 0, end; first < n; first = end) {
        size_t low = first, high = first;
        for (end = first + 1; end < n && floor(p[end].x) == floor(p[first].x); end++) {
            if (p[end].y < p[low].y) low = end;
            if (p[end].y > p[high].y) high = end;
        }
        const size_t order[] = { first, low < high ? low : high, low < high ? high : low, end - 1 };
        for (size_t k = 0; k < 4; k++)
            if (!k || order[k] > order[k - 1]) p[kept++] = p[order[k]];
    }
    return kept;
}

/* Lines through points without a gap, as far as they are inside. A single one is a dot. */
static void stroke(struct canvas *c, const struct frame *r, const struct canvas_pen *pen,
                   struct canvas_point *p, size_t n)
{
    if (n == 1 && inside(r, *p)) c->mark(c, CANVAS_DISC, pen->color, *p, 3, NULL);
    n = thin(p, n);
    for (size_t i = 0; i + 1 < n;) {
        struct canvas_point a = p[i], b = p[i + 1];
        size_t end = i + 1;
        if (inside(r, a)) {
            while (end < n && inside(r, p[end])) end++;
            if (end - i > 1) c->line(c, pen, p + i, end - i);
            i = end - 1;
            if (end == n) return;
            a = p[i];
            b = p[end];
        }
        if (clip(r, &a, &b)) c->line(c, pen, (const struct canvas_point[]){ a, b }, 2);
        i++;
    }
}

static double within(double v, double lo, double hi) { return fmin(fmax(v, lo), hi); }

/* The area between low and high, of n points that all have both. */
static void band(struct canvas *c, const struct frame *r, enum canvas_color color,
                 struct canvas_point *p, size_t n)
{
    const struct canvas_pen pen = { .color = color, .alpha = 0.2 };
    for (size_t i = 0; i < 2 * n; i++) {
        p[i].x = within(p[i].x, r->left, r->right);
        p[i].y = within(p[i].y, r->top, r->bottom);
    }
    if (n > 1) c->area(c, &pen, p, 2 * n);
}

static void bands(struct canvas *c, const struct frame *r, const struct figure_series *s,
                  enum canvas_color color, struct canvas_point *p)
{
    size_t n = 0;
    for (size_t i = 0; i <= s->n; i++) {
        const bool there =
            i < s->n && is_point(AT(scale_place(&r->x, s->x[i]), scale_place(&r->y, s->low[i]))) &&
            isfinite(scale_place(&r->y, s->high[i]));
        if (there) {
            n++;
            continue;
        }
        for (size_t k = 0; k < n; k++) { /* forth along the high ones, back along the low */
            const size_t at = i - n + k;
            p[k] = AT(scale_place(&r->x, s->x[at]), scale_place(&r->y, s->high[at]));
            p[2 * n - 1 - k] = AT(p[k].x, scale_place(&r->y, s->low[at]));
        }
        band(c, r, color, p, n);
        n = 0;
    }
}

static void marks(struct canvas *c, const struct frame *r, const struct figure_series *s,
                  enum canvas_color color)
{
    const bool alone = s->style == FIGURE_POINTS;
    for (size_t i = 0; i < s->n; i++) {
        const struct canvas_point p = { scale_place(&r->x, s->x[i]), scale_place(&r->y, s->y[i]) };
        if (!is_point(p) || !inside(r, p)) continue;
        if (s->whiskers && s->low) {
            const double low = scale_place(&r->y, s->low[i]), high = scale_place(&r->y, s->high[i]);
            if (isfinite(low) && isfinite(high))
                straight(c, color, 1.25, AT(p.x, within(low, r->top, r->bottom)),
                         AT(p.x, within(high, r->top, r->bottom)));
        }
        c->mark(c, s->diamonds ? CANVAS_DIAMOND : CANVAS_DISC, color, p, alone ? 4.5 : 3.5,
                s->tip ? s->tip[i] : NULL);
    }
}

/* What is behind all lines, and then the lines; p has room for twice the points of any series. */
static void draw_series(struct canvas *c, const struct figure *f, const struct frame *r,
                        const struct figure_series *s, struct canvas_point *p)
{
    const enum canvas_color color = color_of(f, s);
    const struct canvas_pen pen = { .color = color,
                                    .width = s->label ? 2.25 : 1.5,
                                    .dash = dash_of(f, s) };
    size_t n = 0;
    for (size_t i = 0; i <= s->n && s->style != FIGURE_POINTS; i++) {
        p[n] =
            i < s->n ? AT(scale_place(&r->x, s->x[i]), scale_place(&r->y, s->y[i])) : AT(NAN, NAN);
        if (is_point(p[n])) {
            n++;
            continue;
        }
        if (n) stroke(c, r, &pen, p, n);
        n = 0;
    }
    if (s->marked || s->whiskers || s->style == FIGURE_POINTS) marks(c, r, s, color);
}

/* ----------------------------------------------------------------------------------- the labels */

static void swatch(struct canvas *c, const struct figure *f, const struct figure_series *s,
                   double x, double y)
{
    const struct canvas_pen pen = { .color = color_of(f, s), .width = 2.25, .dash = dash_of(f, s) };
    const struct canvas_letters letters = { CANVAS_INK, SMALL, .anchor = CANVAS_START };
    if (s->style == FIGURE_POINTS)
        c->mark(c, s->diamonds ? CANVAS_DIAMOND : CANVAS_DISC, pen.color, AT(x + SWATCH / 2., y),
                4.5, NULL);
    else c->line(c, &pen, (const struct canvas_point[]){ { x, y }, { x + SWATCH, y } }, 2);
    c->text(c, &letters, AT(x + SWATCH + 6, y + 4), s->label);
}

struct place {
    const struct figure_series *s;
    double y;
};

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->y != y->y) return x->y < y->y ? -1 : 1;
    return (x->s > y->s) - (x->s < y->s);
}

/* Where a series ends, as far right as it goes; NaN: it has no point. */
static double end_of(const struct frame *r, const struct figure_series *s)
{
    double x = -INFINITY, y = NAN;
    for (size_t i = 0; i < s->n; i++) {
        const struct canvas_point p = { scale_place(&r->x, s->x[i]), scale_place(&r->y, s->y[i]) };
        if (!is_point(p) || p.x < x) continue;
        x = p.x;
        y = p.y;
    }
    return isnan(y) ? NAN : within(y, r->top, r->bottom);
}

/* Beside the lines' ends, but never one over the other. What is not drawn has no end. */
static void labels_beside(struct canvas *c, const struct figure *f, size_t panel,
                          const struct frame *r)
{
    struct place at[BESIDE_MOST];
    size_t n = 0;
    for (size_t k = 0; k < f->n && n < BESIDE_MOST; k++) {
        const double end = end_of(r, &f->series[k]);
        if (f->series[k].label && in_panel(f, &f->series[k], panel) && !isnan(end))
            at[n++] = (struct place){ &f->series[k], end };
    }
    qsort(at, n, sizeof *at, by_place);
    for (size_t i = 1; i < n; i++) at[i].y = fmax(at[i].y, at[i - 1].y + LINE);
    if (n) at[n - 1].y = fmin(at[n - 1].y, r->bottom);
    for (size_t i = n; i-- > 1;) at[i - 1].y = fmin(at[i - 1].y, at[i].y - LINE);
    for (size_t i = 0; i < n; i++) swatch(c, f, at[i].s, r->right + 8, at[i].y);
}

static void labels_above(struct canvas *c, const struct figure *f, size_t panel,
                         const struct frame *r, double right)
{
    double x = r->from, y = r->above;
    for (size_t k = 0; k < f->n; k++) {
        const struct figure_series *s = &f->series[k];
        if (!s->label || !in_panel(f, s, panel)) continue;
        const double w = SWATCH + 6 + canvas_width(s->label, SMALL, false);
        if (x > r->from && x + w > right) {
            x = r->from;
            y += LINE;
        }
        swatch(c, f, s, x, y);
        x += w + 16;
    }
}

/* ---------------------------------------------------------------------------- what a page tells */

const char *figure_number(double v, char text[32])
{
    if (!isfinite(v)) snprintf(text, 32, "–");
    else if (v == floor(v) && fabs(v) < 1e9) snprintf(text, 32, "%.0f", v);
    else snprintf(text, 32, "%.4g", v);
    return text;
}

const char *figure_value(const struct figure_series *s, size_t i, char text[96])
{
    char v[32], low[32], high[32];
    figure_number(s->y[i], v);
    if (!s->low || !isfinite(s->y[i]) || !isfinite(s->low[i]) || !isfinite(s->high[i]))
        snprintf(text, 96, "%s", v);
    else
        snprintf(text, 96, "%s (%s to %s)", v, figure_number(s->low[i], low),
                 figure_number(s->high[i], high));
    return text;
}

const char *figure_x(const struct figure *f, double x, char text[32])
{
    if (f->x.names && x >= 0 && x < (double)f->x.n_names) return f->x.names[(size_t)x];
    return figure_number(x, text);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double *figure_rows(const struct figure *f, size_t *n)
{
    size_t all = 0;
    *n = 0;
    for (size_t k = 0; k < f->n; k++) all += f->series[k].n;
    double *x = malloc((all + 1) * sizeof *x);
    if (!x) return NULL;
    size_t found = 0;
    for (size_t k = 0; k < f->n; k++)
        for (size_t i = 0; f->series[k].label && i < f->series[k].n; i++)
            if (isfinite(f->series[k].x[i])) x[found++] = f->series[k].x[i];
    qsort(x, found, sizeof *x, ascending);
    for (size_t i = 0; i < found; i++)
        if (!*n || x[i] != x[*n - 1]) x[(*n)++] = x[i];
    return x;
}

size_t figure_at(const struct figure_series *s, double x)
{
    size_t i = 0;
    while (i < s->n && s->x[i] != x) i++;
    return i;
}

static bool has_tips(const struct figure *f)
{
    for (size_t k = 0; k < f->n; k++)
        if (f->series[k].tip) return true;
    return false;
}

/* "epoch 3", then a line for each series that has a value there. NULL: out of memory. */
static char *tip_at(const struct figure *f, size_t panel, double x)
{
    char *text = NULL, number[32], value[96];
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    fprintf(out, "%s %s", f->x.label ? f->x.label : "", figure_x(f, x, number));
    for (size_t k = 0; k < f->n; k++) {
        const struct figure_series *s = &f->series[k];
        const size_t i = s->label && in_panel(f, s, panel) ? figure_at(s, x) : s->n;
        if (i < s->n) fprintf(out, "\n%s: %s", s->label, figure_value(s, i, value));
    }
    fclose(out);
    return text;
}

/* A strip around each x, as far as the middle to the next; not more than one each two pixels. */
static bool strips(struct canvas *c, const struct figure *f, size_t panel, const struct frame *r)
{
    size_t n, kept = 0;
    double *x = figure_rows(f, &n);
    if (!x) return false;
    for (size_t i = 0; i < n; i++) {
        const double p = scale_place(&r->x, x[i]);
        if (!isfinite(p) || p < r->left - 0.5 || p > r->right + 0.5) continue;
        if (kept && p - scale_place(&r->x, x[kept - 1]) < 2) continue;
        x[kept++] = x[i];
    }
    bool good = true;
    for (size_t i = 0; i < kept && good; i++) {
        const double p = scale_place(&r->x, x[i]);
        const double from = i ? (scale_place(&r->x, x[i - 1]) + p) / 2 : r->left,
                     to = i + 1 < kept ? (p + scale_place(&r->x, x[i + 1])) / 2 : r->right;
        char *tip = tip_at(f, panel, x[i]);
        good = tip != NULL;
        if (tip) c->strip(c, AT(from, r->top), AT(to, r->bottom), p, tip);
        free(tip);
    }
    free(x);
    return good;
}

/* ------------------------------------------------------------------------------------ all of it */

static bool empty(const struct figure *f, size_t panel, const struct frame *r)
{
    for (size_t k = 0; k < f->n; k++)
        for (size_t i = 0; in_panel(f, &f->series[k], panel) && i < f->series[k].n; i++)
            if (is_point(AT(scale_place(&r->x, f->series[k].x[i]),
                            scale_place(&r->y, f->series[k].y[i]))))
                return false;
    return true;
}

static void notes(struct canvas *c, const struct figure *f, size_t panel, const struct frame *r)
{
    for (size_t i = 0; i < f->notes; i++) {
        const struct figure_note *n = &f->note[i];
        const struct canvas_letters letters = { n->strong ? CANVAS_INK : CANVAS_SOFT, SMALL,
                                                .bold = n->strong,
                                                .anchor = n->before ? CANVAS_END : CANVAS_START };
        const struct canvas_point p = { scale_place(&r->x, n->x) + n->dx,
                                        scale_place(&r->y, n->y) + n->dy };
        if (n->panel == panel && is_point(p)) c->text(c, &letters, p, n->text);
    }
}

static bool draw_panel(struct canvas *c, const struct figure *f, size_t panel, struct frame r)
{
    const struct canvas_letters nothing = { CANVAS_SOFT, 14, .anchor = CANVAS_MIDDLE };
    const double right = r.right;
    size_t most = 0;
    for (size_t k = 0; k < f->n; k++) most = f->series[k].n > most ? f->series[k].n : most;
    struct canvas_point *p = malloc((2 * most + 1) * sizeof *p);
    if (!p) return false;
    lay_out(f, panel, &r);
    axes(c, f, panel, &r);
    for (size_t k = 0; k < f->n; k++)
        if (f->series[k].low && !f->series[k].whiskers && in_panel(f, &f->series[k], panel))
            bands(c, &r, &f->series[k], color_of(f, &f->series[k]), p);
    for (size_t k = 0; k < f->n; k++)
        if (in_panel(f, &f->series[k], panel)) draw_series(c, f, &r, &f->series[k], p);
    free(p);
    if (empty(f, panel, &r))
        c->text(c, &nothing, AT((r.left + r.right) / 2, (r.top + r.bottom) / 2), "no values");
    notes(c, f, panel, &r);
    if (r.beside) labels_beside(c, f, panel, &r);
    else labels_above(c, f, panel, &r, right);
    return !c->strip || has_tips(f) || strips(c, f, panel, &r);
}

static bool draw(struct canvas *c, const struct drawing *d)
{
    const struct figure *f = d->of;
    const enum figure_place place = (enum figure_place)d->part;
    const struct canvas_point size = d->size;
    const bool alone = place == FIGURE_ALONE, stacked = place == FIGURE_NARROW;
    const double edge = alone ? EDGE : 0, top = alone ? titles(c, f, size.x) : 0;
    const double n = (double)panels(f), gap = stacked ? 0 : 28,
                 width = stacked ? size.x : (size.x - 2 * edge - gap * (n - 1)) / n,
                 height = stacked ? size.y / n : size.y - top - edge / 2;
    for (size_t i = 0; i < panels(f); i++) {
        const double k = (double)i, left = stacked ? 0 : edge + k * (width + gap),
                     from = stacked ? k * height : top;
        const struct frame r = {
            .left = left, .right = left + width, .top = from, .bottom = from + height
        };
        if (!draw_panel(c, f, i, r)) return false;
    }
    return true;
}

struct drawing figure_placed(const struct figure *f, enum figure_place place)
{
    return (struct drawing){ size_in(f, place), f->title ? f->title : "figure", draw, f, place };
}

struct drawing figure_drawing(const struct figure *f) { return figure_placed(f, FIGURE_ALONE); }
