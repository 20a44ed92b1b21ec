/* The page of a trained net: what is shown, in which order. The HTML is report.html's. */
#include "report/visual_page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/graph.h"
#include "report/matrix.h"
#include "report/norms.h"
#include "report/parts.h"
#include "report/template.h"
#include "report/text.h"

/* ------------------------------------------------------------------------------------- pictures */

static void base64(FILE *out, const unsigned char *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        const size_t n = size - i < 3 ? size - i : 3;
        uint32_t word = (uint32_t)bytes[i] << 16;
        if (n > 1) word |= (uint32_t)bytes[i + 1] << 8;
        if (n > 2) word |= bytes[i + 2];
        for (size_t k = 0; k < 4; k++) putc(k <= n ? digits[word >> (18 - 6 * k) & 63] : '=', out);
    }
}

static bool picture_data(FILE *out, const struct picture *p)
{
    size_t size;
    unsigned char *png = picture_png(p, &size);
    if (png) base64(out, png, size);
    free(png);
    return png != NULL;
}

/* How many times as large a picture is shown, so that it comes near a number of pixels. */
static size_t enlarged(const struct picture *p, size_t near)
{
    const size_t side = p->width > p->height ? p->width : p->height;
    return side && near > side ? near / side : 1;
}

/* Takes the picture. */
static bool figure(FILE *out, struct picture *p, size_t near, const char *name, const char *about)
{
    const size_t scale = enlarged(p, near);
    template_part(out, "net-figure", NULL, "data",
                  VALUES("class", scale > 1 ? "pixels" : "", "about", about, "width",
                         FORMAT("%zu", scale * p->width), "height",
                         FORMAT("%zu", scale * p->height)));
    const bool good = picture_data(out, p);
    template_part(out, "net-figure", "data", NULL, VALUES("name", name, "more", about));
    picture_free(p);
    return good;
}

/* ------------------------------------------------------------------------------------- sections */

static void describe(const struct visual_picture *about, const struct visual_param *w,
                     char text[200])
{
    char more[80] = ", a row an output";
    if (about->block[0] > 1 || about->block[1] > 1)
        snprintf(more, sizeof more, ", the largest of each %zu × %zu", about->block[0],
                 about->block[1]);
    if (about->kind == VISUAL_FILTERS && w->rank == 4)
        snprintf(text, 200, "%zu filters of %zu × %zu", w->dims[0], w->dims[2], w->dims[3]);
    else if (about->kind == VISUAL_FILTERS)
        snprintf(text, 200, "%zu units, each as it weighs the image", w->dims[0]);
    else if (about->kind == VISUAL_WEIGHTS)
        snprintf(text, 200, "%zu × %zu%s; up to ±%.2g", about->outputs, about->inputs, more,
                 (double)about->most);
    else if (about->rows < about->outputs || about->columns < about->inputs)
        snprintf(text, 200, "%zu × %zu of %zu × %zu kernels, a row a filter; up to ±%.2g",
                 about->rows, about->columns, about->outputs, about->inputs, (double)about->most);
    else
        snprintf(text, 200, "%zu × %zu kernels, a row a filter; up to ±%.2g", about->rows,
                 about->columns, (double)about->most);
}

static bool filters(FILE *out, const struct visual *v)
{
    bool good = true;
    if (visual_first_filters(v) == v->n_layers) return true;
    template_part(out, "net-filters", NULL, "figures", NULL);
    for (size_t i = 0; i < v->n_layers && good; i++) {
        struct picture p;
        struct visual_picture about;
        char text[200];
        if (!visual_has_filters(v, i)) continue;
        enum tiles_status status = visual_filters(v, i, NULL, &p, &about);
        good = status != TILES_NOMEM;
        if (status) continue;
        describe(&about, &v->layer[i].part[VISUAL_WEIGHT], text);
        good = figure(out, &p, 300, v->layer[i].node.name, text);
    }
    template_part(out, "net-filters", "figures", NULL, NULL);
    return good;
}

static bool history(FILE *out, const struct visual *v)
{
    bool good = true;
    const size_t layer = visual_first_filters(v);
    if (!v->n_history) return true;
    template_part(out, "net-history", NULL, "figures", VALUES("layer", v->layer[layer].node.name));
    for (size_t i = 0; i < v->n_history && good; i++) {
        const struct visual_history *h = &v->history[i];
        struct picture p;
        struct visual_picture about;
        enum tiles_status status = visual_filters(v, layer, h->weights, &p, &about);
        good = status != TILES_NOMEM;
        if (!status)
            good = figure(out, &p, 150, FORMAT("%llu", (unsigned long long)h->epoch),
                          h->epoch == 1 ? "epoch" : "epochs");
    }
    template_part(out, "net-history", "figures", NULL, NULL);
    return good;
}

/* What it is taken for: the three likeliest classes. */
static void answers(FILE *out, const struct visual *v, size_t sample)
{
    const float *logits = v->layer[v->logits].activation + sample * v->classes;
    double sum = 0, largest = -INFINITY;
    for (size_t k = 0; k < v->classes; k++) largest = fmax(largest, (double)logits[k]);
    for (size_t k = 0; k < v->classes; k++) sum += exp((double)logits[k] - largest);
    size_t taken[3] = { SIZE_MAX, SIZE_MAX, SIZE_MAX };
    for (size_t n = 0; n < 3 && n < v->classes; n++) {
        size_t best = SIZE_MAX;
        for (size_t k = 0; k < v->classes; k++)
            if (k != taken[0] && k != taken[1] && (best == SIZE_MAX || logits[k] > logits[best]))
                best = k;
        taken[n] = best;
        char number[32];
        const double share = exp((double)logits[best] - largest) / sum;
        const char *word = "";
        if (!n) word = (int)best == v->sample[sample].label ? "faster" : "slower";
        template_put(out, "net-answer",
                     VALUES("word", word, "class", visual_class(v, best, number), "percent",
                            FORMAT("%.1f", 100 * share)));
    }
}

static bool maps(FILE *out, const struct visual *v, size_t sample)
{
    bool good = true;
    for (size_t i = 1; i < v->n_layers && good; i++) {
        const struct visual_layer *l = &v->layer[i];
        struct picture p;
        if (!l->activation || !strcmp(l->node.type, "flatten")) continue; /* the same once more */
        enum tiles_status status = visual_activation(v, i, sample, &p);
        good = status != TILES_NOMEM;
        const cvy_shape s = l->node.out;
        const char *about =
            s.h * s.w > 1 ? FORMAT("%zu × %zu × %zu", s.c, s.h, s.w) : FORMAT("%zu", s.c);
        if (!status) good = figure(out, &p, s.h * s.w > 1 ? 180 : 110, l->node.name, about);
    }
    return good;
}

static bool sample_image(FILE *out, const struct visual *v, size_t i)
{
    struct picture p;
    enum tiles_status status = visual_image(v, i, &p);
    if (status) return status != TILES_NOMEM;
    const size_t scale = enlarged(&p, 84);
    template_part(out, "net-image", NULL, "data",
                  VALUES("what", FORMAT("training image %zu", v->sample[i].index), "width",
                         FORMAT("%zu", scale * p.width), "height",
                         FORMAT("%zu", scale * p.height)));
    const bool good = picture_data(out, &p);
    template_part(out, "net-image", "data", NULL, NULL);
    picture_free(&p);
    return good;
}

static bool activations(FILE *out, const struct visual *v)
{
    bool good = true;
    char number[32];
    if (!v->n_samples) return true;
    template_part(out, "net-activations", NULL, "samples", NULL);
    for (size_t i = 0; i < v->n_samples && good; i++) {
        template_part(out, "net-sample", NULL, "image", VALUES("open", i ? "" : "open"));
        good = sample_image(out, v, i);
        template_part(out, "net-sample", "image", "answers",
                      VALUES("label", visual_class(v, (size_t)v->sample[i].label, number)));
        answers(out, v, i);
        template_part(out, "net-sample", "answers", "maps", NULL);
        good = good && maps(out, v, i);
        template_part(out, "net-sample", "maps", NULL, NULL);
    }
    template_part(out, "net-activations", "samples", NULL, NULL);
    return good;
}

static bool graph(FILE *out, const struct visual *v)
{
    struct graph *g = graph_make(v);
    if (!g) return false;
    const struct drawing drawing = graph_drawing(g);
    template_part(out, "net-graph", NULL, "drawing", NULL);
    const bool good = drawing_in_page(out, &drawing, "drawing");
    template_part(out, "net-graph", "drawing", NULL, NULL);
    graph_free(g);
    return good;
}

static bool confusion(FILE *out, const struct visual *v)
{
    bool good = true;
    if (!v->n_matrices) return true;
    template_part(out, "net-confusion", NULL, "matrices", NULL);
    for (size_t i = 0; i < v->n_matrices; i++) {
        template_part(out, "net-matrix", NULL, "drawing", NULL);
        const struct drawing drawing = matrix_drawing(v, i);
        good &= drawing_in_page(out, &drawing, v->classes > 12 ? "drawing" : "drawing few");
        template_part(out, "net-matrix", "drawing", NULL, NULL);
    }
    template_part(out, "net-confusion", "matrices", NULL, NULL);
    return good;
}

/* ----------------------------------------------------------------------------------------- page */

static void tile(FILE *out, const char *value, const char *what)
{
    template_put(out, "tile", VALUES("value", value, "what", what));
}

static void tiles(FILE *out, const struct visual *v)
{
    char text[64], number[32];
    size_t parameters = 0;
    for (size_t i = 0; i < v->n_layers; i++) parameters += v->layer[i].node.parameters;
    template_part(out, "tiles", NULL, "tiles", NULL);
    for (size_t i = 0; i < v->n_matrices; i++) {
        uint64_t right;
        const uint64_t all = visual_counted(v, &v->matrix[i], &right);
        snprintf(text, sizeof text, "of %llu %s images are right", (unsigned long long)all,
                 v->matrix[i].split);
        tile(out, FORMAT("%.2f %%", 100 * (double)right / (double)(all ? all : 1)), text);
    }
    if (v->epoch != UINT64_MAX)
        tile(out, FORMAT("%llu", (unsigned long long)v->epoch), "epochs trained");
    tile(out, text_count((double)parameters, number), "parameters");
    template_part(out, "tiles", "tiles", NULL, NULL);
}

static void page_begin(FILE *out, const struct visual *v)
{
    char epoch[64] = "";
    template_part(out, "page", NULL, "style",
                  VALUES("title", FORMAT("%s: a trained net", v->model)));
    fputs(report_parts[REPORT_STYLE].text, out);
    template_part(out, "page", "style", "heading", NULL);
    template_text(out, v->model);
    template_part(out, "page", "heading", "facts", NULL);
    if (v->epoch != UINT64_MAX)
        snprintf(epoch, sizeof epoch, "%safter %llu epoch%s", v->data ? ", " : "",
                 (unsigned long long)v->epoch, v->epoch == 1 ? "" : "s");
    template_put(out, "net-facts", VALUES("data", v->data ? v->data : "", "epoch", epoch));
    template_part(out, "page", "facts", "sections", NULL);
}

static void page_end(FILE *out, const char *command)
{
    template_part(out, "page", "sections", "data", VALUES("command", command, "remark", ""));
    template_part(out, "page", "data", "script", NULL);
    fputs(report_parts[REPORT_SCRIPT].text, out);
    template_part(out, "page", "script", NULL, NULL);
}

bool visual_page(FILE *out, const struct visual *v, const char *command)
{
    page_begin(out, v);
    tiles(out, v);
    if (*v->missing) template_put(out, "net-missing", VALUES("what", v->missing));
    const bool good = graph(out, v) && confusion(out, v) && activations(out, v) &&
                      filters(out, v) && history(out, v);
    norms_section(out, v);
    page_end(out, command);
    return good;
}

bool visual_graph_page(FILE *out, const struct visual *v, const char *command)
{
    page_begin(out, v);
    const bool good = graph(out, v);
    page_end(out, command);
    return good;
}
