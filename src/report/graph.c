/* Layers to boxes, boxes to ranks: one rank below the lowest that it reads, side by side where a
 * rank has several. An edge to the next rank goes straight down; one that passes ranks over goes
 * around them on the right, those that overlap in lanes of their own. */
#include "report/graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 19, PAD = 9, GAP = 30, BESIDE = 36, LANE = 16, MARGIN = 14, LETTERS = 12 };

/* Consecutive layers. */
struct box {
    size_t first, n, rank, slot;
    double x, y, height;
};

struct edge {
    size_t from, to; /* boxes */
    size_t lane;     /* 0: none; from 1 */
};

struct graph {
    const struct visual *v;
    size_t n_boxes, n_edges;
    struct box *box;
    size_t *box_of; /* a layer's */
    struct edge *edge;
    double width;         /* of a box */
    double names, shapes; /* of the columns in it */
};

static size_t readers(const struct visual *v, size_t layer)
{
    size_t n = 0;
    for (size_t i = 0; i < v->n_layers; i++)
        for (size_t k = 0; k < v->layer[i].node.n_inputs; k++)
            n += (size_t)v->layer[i].node.inputs[k] == layer;
    return n;
}

static bool joins(const struct visual *v, size_t i)
{
    const cvy_node_info *node = &v->layer[i].node;
    const char *norm = strstr(node->type, "_norm");
    return i > 1 && node->n_inputs == 1 && (size_t)node->inputs[0] == i - 1 &&
           (!node->parameters || norm || !strcmp(node->type, "prelu")) && readers(v, i - 1) == 1;
}

static void make_boxes(struct graph *g)
{
    for (size_t i = 0; i < g->v->n_layers; i++) {
        if (!joins(g->v, i)) g->box[g->n_boxes++] = (struct box){ .first = i };
        g->box_of[i] = g->n_boxes - 1;
        g->box[g->n_boxes - 1].n++;
    }
}

static void make_edges(struct graph *g)
{
    for (size_t b = 0; b < g->n_boxes; b++) {
        const cvy_node_info *node = &g->v->layer[g->box[b].first].node;
        for (size_t k = 0; k < node->n_inputs; k++) {
            const size_t from = g->box_of[node->inputs[k]];
            if (g->box[from].rank + 1 > g->box[b].rank) g->box[b].rank = g->box[from].rank + 1;
            g->edge[g->n_edges++] = (struct edge){ .from = from, .to = b };
        }
        for (size_t other = 0; other < b; other++)
            if (g->box[other].rank == g->box[b].rank) g->box[b].slot++;
    }
}

/* The first lane in which nobody stands between the two ranks. */
static void choose_lanes(struct graph *g)
{
    for (size_t e = 0; e < g->n_edges; e++) {
        struct edge *edge = &g->edge[e];
        const size_t top = g->box[edge->from].rank, end = g->box[edge->to].rank;
        if (end == top + 1) continue;
        bool taken = true;
        while (taken) {
            taken = false;
            edge->lane++;
            for (size_t o = 0; o < e; o++)
                taken |= g->edge[o].lane == edge->lane && g->box[g->edge[o].from].rank < end &&
                         g->box[g->edge[o].to].rank > top;
        }
    }
}

static const char *shape_text(const cvy_shape *s, char text[64])
{
    if (s->h * s->w > 1) snprintf(text, 64, "%zu×%zu×%zu", s->c, s->h, s->w);
    else snprintf(text, 64, "%zu", s->c);
    return text;
}

static void place(struct graph *g)
{
    char text[64];
    double names = 0, shapes = 0, numbers = 0;
    size_t rank = 0;
    for (size_t i = 0; i < g->v->n_layers; i++) {
        const cvy_node_info *node = &g->v->layer[i].node;
        names = fmax(names, canvas_width(node->name, LETTERS, true) +
                                canvas_width(node->type, LETTERS, false));
        shapes = fmax(shapes, canvas_width(shape_text(&node->out, text), LETTERS, false));
        snprintf(text, sizeof text, "%zu", node->parameters);
        numbers = fmax(numbers, canvas_width(text, LETTERS, false));
    }
    g->names = PAD + 6 + names + 7;
    g->shapes = g->names + shapes + 16;
    g->width = g->shapes + numbers + 20 + PAD;
    double y = MARGIN;
    for (;; rank++) { /* each rank is as high as its highest box */
        double height = 0;
        for (size_t b = 0; b < g->n_boxes; b++) {
            struct box *box = &g->box[b];
            if (box->rank != rank) continue;
            *box = (struct box){ box->first,
                                 box->n,
                                 rank,
                                 box->slot,
                                 MARGIN + (double)box->slot * (g->width + BESIDE),
                                 y,
                                 PAD * 2 - 5 + LINE * (double)box->n };
            if (box->height > height) height = box->height;
        }
        if (height <= 0) break;
        y += height + GAP;
    }
}

/* ------------------------------------------------------------------------------------- drawing */

/* What a box does, by colour: multiplies, joins, or anything else. */
static size_t kind_of(const char *type)
{
    static const char *const joining[] = { "add", "multiply", "concat", NULL };
    if (!strcmp(type, "conv2d") || !strcmp(type, "linear")) return 0;
    for (size_t i = 0; joining[i]; i++)
        if (!strcmp(type, joining[i])) return 1;
    return 2;
}

#define AT(x, y) ((struct canvas_point){ x, y })

static void draw_box(struct canvas *c, const struct graph *g, const struct box *box)
{
    static const enum canvas_color colors[] = { CANVAS_FIRST, CANVAS_FIRST + 1, CANVAS_AXIS };
    const struct canvas_letters number = { CANVAS_SOFT, LETTERS, .anchor = CANVAS_END };
    const struct canvas_box frame = { .color = CANVAS_PAPER,
                                      .alpha = 1,
                                      .round = 7,
                                      .framed = true },
                            bar = { .color = colors[kind_of(g->v->layer[box->first].node.type)],
                                    .alpha = 1,
                                    .round = 2 };
    const double end = box->y + box->height;
    c->box(c, &frame, AT(box->x, box->y), AT(box->x + g->width, end));
    c->box(c, &bar, AT(box->x + 4, box->y + 5), AT(box->x + 8, end - 5));
    for (size_t i = 0; i < box->n; i++) {
        const cvy_node_info *node = &g->v->layer[box->first + i].node;
        const struct canvas_letters name = { CANVAS_INK, LETTERS, .bold = true,
                                             .more = node->type };
        const double y = box->y + PAD + 9 + LINE * (double)i;
        char text[64];
        c->text(c, &name, AT(box->x + PAD + 6, y), node->name);
        c->text(c, &number, AT(box->x + g->shapes, y), shape_text(&node->out, text));
        snprintf(text, sizeof text, "%zu", node->parameters);
        if (node->parameters) c->text(c, &number, AT(box->x + g->width - PAD, y), text);
    }
}

/* The right end of all that an edge passes. */
static double beside(const struct graph *g, const struct edge *e)
{
    double x = 0;
    for (size_t b = 0; b < g->n_boxes; b++)
        if (g->box[b].rank >= g->box[e->from].rank && g->box[b].rank <= g->box[e->to].rank &&
            g->box[b].x + g->width > x)
            x = g->box[b].x + g->width;
    return x + 8;
}

/* The tip of an edge, which points downwards, or to the left. */
static void draw_arrow(struct canvas *c, enum canvas_color color, struct canvas_point tip,
                       bool to_left)
{
    const struct canvas_pen pen = { .color = color, .alpha = 1 };
    struct canvas_point p[] = { tip, AT(tip.x - 4, tip.y - 8), AT(tip.x + 4, tip.y - 8) };
    if (to_left) {
        p[1] = AT(tip.x + 8, tip.y - 4);
        p[2] = AT(tip.x + 8, tip.y + 4);
    }
    c->area(c, &pen, p, 3);
}

/* To the next rank: two bends, as long as each other. */
static void draw_down(struct canvas *c, struct canvas_point from, struct canvas_point to)
{
    enum { POINTS = 17 };
    const struct canvas_pen pen = { .color = CANVAS_SOFT, .width = 1.5 };
    const double half = (to.y - from.y) / 2;
    struct canvas_point p[POINTS] = { from, AT(to.x, to.y - 5) };
    const size_t n = from.x == to.x ? 2 : POINTS;
    for (size_t i = 0; n == POINTS && i < n; i++) { /* Bezier's cubic */
        const double t = (double)i / (POINTS - 1), s = 1 - t;
        const double a = s * s * s, b = 3 * s * s * t, d = 3 * s * t * t, e = t * t * t;
        p[i] = AT((a + b) * from.x + (d + e) * to.x,
                  a * from.y + b * (from.y + half) + d * (to.y - half) + e * (to.y - 5));
    }
    c->line(c, &pen, p, n);
    draw_arrow(c, CANVAS_SOFT, to, false);
}

/* Around the ranks between, on the right, with round corners. */
static void draw_around(struct canvas *c, struct canvas_point from, struct canvas_point to,
                        double lane)
{
    enum { CORNER = 9, ROUND = 10 };
    const struct canvas_pen pen = { .color = CANVAS_FIRST + 1, .width = 1.75 };
    struct canvas_point p[2 * CORNER + 2] = { from };
    p[2 * CORNER + 1] = AT(to.x + 5, to.y);
    for (size_t i = 0; i < CORNER; i++) { /* a quarter of a circle each */
        const double turn = 1.5707963267948966 * (double)i / (CORNER - 1);
        p[1 + i] = AT(lane - ROUND * (1 - sin(turn)), from.y + ROUND * (1 - cos(turn)));
        p[2 * CORNER - i] = AT(p[1 + i].x, to.y - ROUND * (1 - cos(turn)));
    }
    c->line(c, &pen, p, 2 * CORNER + 2);
    draw_arrow(c, CANVAS_FIRST + 1, to, true);
}

static void draw_edge(struct canvas *c, const struct graph *g, const struct edge *e)
{
    const struct box *from = &g->box[e->from], *to = &g->box[e->to];
    const double bottom = from->y + from->height;
    if (e->lane)
        draw_around(c, AT(from->x + g->width, bottom - 11), AT(to->x + g->width, to->y + 11),
                    beside(g, e) + LANE * (double)e->lane);
    else draw_down(c, AT(from->x + g->width / 2, bottom), AT(to->x + g->width / 2, to->y));
}

static bool draw(struct canvas *c, const struct drawing *d)
{
    const struct graph *g = d->of;
    for (size_t e = 0; e < g->n_edges; e++) draw_edge(c, g, &g->edge[e]);
    for (size_t b = 0; b < g->n_boxes; b++) draw_box(c, g, &g->box[b]);
    return true;
}

struct drawing graph_drawing(const struct graph *g)
{
    double right = 0, bottom = 0;
    for (size_t b = 0; b < g->n_boxes; b++) {
        right = fmax(right, g->box[b].x + g->width);
        bottom = fmax(bottom, g->box[b].y + g->box[b].height);
    }
    for (size_t e = 0; e < g->n_edges; e++)
        if (g->edge[e].lane)
            right = fmax(right, beside(g, &g->edge[e]) + LANE * (double)g->edge[e].lane);
    return (struct drawing){
        .size = { right + MARGIN, bottom + MARGIN }, .title = g->v->model, .draw = draw, .of = g
    };
}

struct graph *graph_make(const struct visual *v)
{
    size_t edges = 0;
    for (size_t i = 0; i < v->n_layers; i++) edges += v->layer[i].node.n_inputs;
    struct graph *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    *g = (struct graph){ .v = v,
                         .box = calloc(v->n_layers, sizeof *g->box),
                         .box_of = calloc(v->n_layers, sizeof *g->box_of),
                         .edge = calloc(edges + 1, sizeof *g->edge) };
    if (!g->box || !g->box_of || !g->edge) {
        graph_free(g);
        return NULL;
    }
    make_boxes(g);
    make_edges(g);
    choose_lanes(g);
    place(g);
    return g;
}

void graph_free(struct graph *g)
{
    if (!g) return;
    free(g->box);
    free(g->box_of);
    free(g->edge);
    free(g);
}
