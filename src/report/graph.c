/* Layers to boxes, boxes to ranks: one rank below the lowest that it reads, side by side where a
 * rank has several. An edge to the next rank goes straight down; one that passes ranks over goes
 * around them on the right, those that overlap in lanes of their own. */
#include "report/graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/canvas.h"
#include "report/template.h"

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

static void draw_box(FILE *out, const struct graph *g, const struct box *box)
{
    static const char *const shades[] = { "#0072b2", "#d55e00", "#9aa3b0" }, *const names[] = {
        "f-0", "f-1", "f-axis"
    };
    char shape[64];
    const size_t kind = kind_of(g->v->layer[box->first].node.type);
    template_put(out, "graph-box",
                 VALUES("x", FORMAT("%.1f", box->x), "y", FORMAT("%.1f", box->y), "width",
                        FORMAT("%.1f", g->width), "height", FORMAT("%.1f", box->height), "kind",
                        names[kind], "shade", shades[kind]));
    for (size_t i = 0; i < box->n; i++) {
        const cvy_node_info *node = &g->v->layer[box->first + i].node;
        template_put(out, "graph-line",
                     VALUES("y", FORMAT("%.1f", box->y + PAD + 9 + LINE * (double)i), "left",
                            FORMAT("%.1f", box->x + PAD + 6), "name", node->name, "type",
                            node->type, "middle", FORMAT("%.1f", box->x + g->shapes), "shape",
                            shape_text(&node->out, shape), "right",
                            FORMAT("%.1f", box->x + g->width - PAD), "parameters",
                            node->parameters ? FORMAT("%zu", node->parameters) : ""));
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

static void draw_edge(FILE *out, const struct graph *g, const struct edge *e)
{
    const struct box *from = &g->box[e->from], *to = &g->box[e->to];
    const double x0 = from->x + g->width / 2, y0 = from->y + from->height,
                 x1 = to->x + g->width / 2, y1 = to->y, half = (y1 - y0) / 2;
    if (!e->lane) {
        template_put(out, "graph-edge",
                     VALUES("kind", "s-soft", "shade", "#5c6675", "x0", FORMAT("%.1f", x0), "y0",
                            FORMAT("%.1f", y0), "xa", FORMAT("%.1f", x0), "ya",
                            FORMAT("%.1f", y0 + half), "xb", FORMAT("%.1f", x1), "yb",
                            FORMAT("%.1f", y1 - half), "x1", FORMAT("%.1f", x1), "y1",
                            FORMAT("%.1f", y1 - 5)));
        template_put(out, "graph-arrow",
                     VALUES("kind", "f-soft", "shade", "#5c6675", "x", FORMAT("%.1f", x1), "y",
                            FORMAT("%.1f", y1), "turn", "0"));
        return;
    }
    const double lane = beside(g, e) + LANE * (double)e->lane, right = from->x + g->width,
                 left = to->x + g->width, top = from->y + from->height - 11, end = to->y + 11;
    template_put(out, "graph-skip",
                 VALUES("right", FORMAT("%.1f", right), "top", FORMAT("%.1f", top), "lane",
                        FORMAT("%.1f", lane), "before", FORMAT("%.1f", lane - 10), "below",
                        FORMAT("%.1f", top + 10), "above", FORMAT("%.1f", end - 10), "end",
                        FORMAT("%.1f", end), "left", FORMAT("%.1f", left + 5)));
    template_put(out, "graph-arrow",
                 VALUES("kind", "f-1", "shade", "#d55e00", "x", FORMAT("%.1f", left), "y",
                        FORMAT("%.1f", end), "turn", "90"));
}

static void draw(FILE *out, const struct graph *g)
{
    const struct box *last = &g->box[0];
    for (size_t b = 0; b < g->n_boxes; b++)
        if (g->box[b].y + g->box[b].height > last->y + last->height) last = &g->box[b];
    double right = 0;
    for (size_t b = 0; b < g->n_boxes; b++)
        if (g->box[b].x + g->width > right) right = g->box[b].x + g->width;
    for (size_t e = 0; e < g->n_edges; e++)
        if (g->edge[e].lane && beside(g, &g->edge[e]) + LANE * (double)g->edge[e].lane > right)
            right = beside(g, &g->edge[e]) + LANE * (double)g->edge[e].lane;
    const double width = right + MARGIN, height = last->y + last->height + MARGIN;
    template_part(out, "drawing", NULL, "drawing",
                  VALUES("kind", "fit", "width", FORMAT("%.0f", width), "height",
                         FORMAT("%.0f", height), "what", FORMAT("the graph of %s", g->v->model),
                         "size", "12"));
    for (size_t e = 0; e < g->n_edges; e++) draw_edge(out, g, &g->edge[e]);
    for (size_t b = 0; b < g->n_boxes; b++) draw_box(out, g, &g->box[b]);
    template_part(out, "drawing", "drawing", NULL, NULL);
}

bool graph_svg(FILE *out, const struct visual *v)
{
    size_t edges = 0;
    for (size_t i = 0; i < v->n_layers; i++) edges += v->layer[i].node.n_inputs;
    struct graph g = { .v = v,
                       .box = calloc(v->n_layers, sizeof *g.box),
                       .box_of = calloc(v->n_layers, sizeof *g.box_of),
                       .edge = calloc(edges + 1, sizeof *g.edge) };
    const bool good = g.box && g.box_of && g.edge;
    if (good) {
        make_boxes(&g);
        make_edges(&g);
        choose_lanes(&g);
        place(&g);
        draw(out, &g);
    }
    free(g.box);
    free(g.box_of);
    free(g.edge);
    return good;
}
