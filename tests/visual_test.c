/* Pictures of nets to the pixel: tiles by hand, weights that are known, maps, an enlarged picture
 * and its PNG, the numbers of a confusion matrix, the places of a graph, bars of norms, and a page
 * that nothing is missing from. */
#include "report/graph.h"
#include "report/matrix.h"
#include "report/norms.h"
#include "report/tiles.h"
#include "report/visual.h"
#include "report/visual_page.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint32_t at(const struct picture *p, size_t x, size_t y)
{
    return p->pixel[y * p->width + x];
}

static uint32_t grey(uint32_t level) { return 0xff000000u | level << 16 | level << 8 | level; }

static void grids(void **state)
{
    (void)state;
    const size_t n[] = { 0, 1, 2, 4, 5, 9, 10, 32, 143, 144, 145 },
                 square[] = { 0, 1, 2, 2, 3, 3, 4, 6, 12, 12, 13 },
                 side[] = { 0, 1, 1, 2, 2, 3, 3, 5, 11, 12, 12 };
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        assert_int_equal(tiles_square(n[i]), square[i]);
        assert_int_equal(tiles_floor(n[i]), side[i]);
    }
}

/* Three tiles of 1 x 2 in two columns, one pixel between. */
static void tiles_by_hand(void **state)
{
    (void)state;
    const float values[] = { 0, 1, -3, 1, 7, 7 };
    const struct tiles t = {
        .values = values, .n = 3, .c = 1, .h = 1, .w = 2, .tile = 2, .row = 2, .column = 1
    };
    struct tiles_style style = { 2, 1, TILES_EACH, 0 };
    struct picture p;
    assert_int_equal(tiles_draw(&t, &style, &p), TILES_OK);
    const uint32_t each[3][5] = { { grey(0), grey(255), 0, grey(0), grey(255) },
                                  { 0 },
                                  { grey(0), grey(0), 0, 0, 0 } };
    assert_true(p.width == 5 && p.height == 3);
    assert_memory_equal(p.pixel, each, sizeof each);
    picture_free(&p);
    style.range = TILES_ALL; /* -3 to 7 */
    assert_int_equal(tiles_draw(&t, &style, &p), TILES_OK);
    assert_int_equal(at(&p, 0, 0), grey(76)); /* 255 * 0.3 = 76.5, to even */
    assert_int_equal(at(&p, 1, 0), grey(102));
    assert_int_equal(at(&p, 3, 0), grey(0));
    assert_int_equal(at(&p, 1, 2), grey(255));
    assert_int_equal(at(&p, 2, 0), 0);
    picture_free(&p);
    style.range = TILES_SIGNED;
    style.gap = 0xff123456u;
    assert_int_equal(tiles_draw(&t, &style, &p), TILES_OK);
    assert_int_equal(at(&p, 0, 0), grey(255));   /* 0 */
    assert_int_equal(at(&p, 0, 2), 0xff961428u); /* 7, the largest */
    const uint32_t blue = at(&p, 3, 0), red = at(&p, 1, 0);
    assert_true((blue & 255) > (blue >> 16 & 255) && (red & 255) < (red >> 16 & 255));
    assert_int_equal(at(&p, 2, 1), 0xff123456u);
    picture_free(&p);
}

static void tiles_in_colour(void **state)
{
    (void)state;
    /* pixel 0: (0, 5, 2), pixel 1: (10, 5, 4) */
    const float values[] = { 0, 10, 5, 5, 2, 4 };
    const struct tiles t = {
        .values = values, .n = 1, .c = 3, .h = 1, .w = 2, .channel = 2, .row = 2, .column = 1
    };
    struct tiles_style style = { 1, 2, TILES_EACH, 0 };
    struct picture p;
    assert_int_equal(tiles_draw(&t, &style, &p), TILES_OK);
    assert_int_equal(at(&p, 0, 0), 0xff008033u); /* 0, 127.5 to even, 51 */
    assert_int_equal(at(&p, 1, 0), 0xffff8066u);
    picture_free(&p);
    style.range = TILES_EACH_CHANNEL;
    assert_int_equal(tiles_draw(&t, &style, &p), TILES_OK);
    assert_int_equal(at(&p, 0, 0), 0xff000000u); /* a channel of one value is black */
    assert_int_equal(at(&p, 1, 0), 0xffff00ffu);
    picture_free(&p);
}

/* What no picture can be of, and what is no number. */
static void odd_tiles(void **state)
{
    (void)state;
    const float values[] = { NAN, 1, 2, INFINITY };
    struct tiles t = { .values = values, .n = 1, .c = 1, .h = 2, .w = 2, .row = 2, .column = 1 };
    struct tiles_style style = { 1, 1, TILES_EACH, 0 };
    struct picture p;
    assert_int_equal(tiles_draw(&t, &style, &p), TILES_OK);
    assert_true(at(&p, 0, 0) == grey(0) && at(&p, 1, 0) == grey(0) && at(&p, 0, 1) == grey(255) &&
                at(&p, 1, 1) == grey(0));
    picture_free(&p);
    style.range = TILES_SIGNED;
    assert_int_equal(tiles_draw(&t, &style, &p), TILES_OK);
    assert_true(at(&p, 0, 0) == grey(0) && at(&p, 0, 1) == 0xff961428u);
    picture_free(&p);
    t.n = 0;
    assert_int_equal(tiles_draw(&t, &style, &p), TILES_OK);
    assert_true(!p.width && !p.height);
    t.n = 1;
    t.row = t.column = 0;
    t.w = TILES_MOST + 1;
    assert_int_equal(tiles_draw(&t, &style, &p), TILES_LARGE);
    assert_null(p.pixel);
    t.w = 2;
    t.n = TILES_MOST;
    style.columns = 1;
    assert_int_equal(tiles_draw(&t, &style, &p), TILES_LARGE);
}

static void enlarged(void **state)
{
    (void)state;
    uint32_t pixel[] = { grey(1), grey(2), 0, grey(4), grey(5), grey(6) };
    const struct picture p = { 3, 2, pixel };
    struct picture large;
    assert_int_equal(picture_enlarge(&p, 4, &large), TILES_OK);
    assert_true(large.width == 12 && large.height == 8);
    for (size_t y = 0; y < 8; y++)
        for (size_t x = 0; x < 12; x++) assert_int_equal(at(&large, x, y), at(&p, x / 4, y / 4));
    picture_free(&large);
    assert_int_equal(picture_enlarge(&p, TILES_MOST, &large), TILES_LARGE);
    assert_int_equal(picture_enlarge(&p, SIZE_MAX / 2, &large), TILES_LARGE);
    size_t size;
    unsigned char *png = picture_png(&p, &size);
    if (!picture_possible()) {
        assert_null(png);
        skip();
    }
    assert_true(size > 33 && !memcmp(png, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\3\0\0\0\2", 24));
    free(png);
}

/* ------------------------------------------------------------------------------ a net by hand */

enum { LAYERS = 5 };
static const int before[LAYERS] = { 0, 0, 1, 2, 3 };

/* Image 3 x 2 x 2, conv1 of two filters, conv2 of two kernels each, flatten, fc of three. */
static struct visual make_net(void)
{
    static const char *const names[] = { "input", "conv1", "conv2", "flat", "fc" },
                             *const types[] = { "input", "conv2d", "conv2d", "flatten", "conv2d" };
    static const cvy_shape shapes[] = {
        { 1, 3, 2, 2 }, { 1, 2, 2, 2 }, { 1, 2, 2, 2 }, { 1, 8, 1, 1 }, { 1, 3, 1, 1 }
    };
    static const size_t dims[LAYERS][5] = {
        { 0 }, { 4, 2, 3, 1, 2 }, { 4, 2, 2, 1, 1 }, { 0 }, { 2, 3, 8 }
    };
    struct visual v = { .model = "by <hand>",
                        .data = "data",
                        .epoch = 3,
                        .n_layers = LAYERS,
                        .logits = LAYERS - 1,
                        .n_samples = 1,
                        .classes = 3,
                        .n_matrices = 1 };
    v.layer = calloc(LAYERS, sizeof *v.layer);
    for (size_t i = 0; i < LAYERS; i++) {
        struct visual_layer *l = &v.layer[i];
        l->node = (cvy_node_info){ .name = names[i],
                                   .type = types[i],
                                   .out = shapes[i],
                                   .n_inputs = i > 0,
                                   .inputs = &before[i] };
        struct visual_param *w = &l->part[VISUAL_WEIGHT];
        *w = (struct visual_param){ .rank = dims[i][0], .count = 1 };
        for (size_t k = 0; k < w->rank; k++) w->count *= w->dims[k] = dims[i][k + 1];
        l->node.parameters = w->rank ? w->count : 0;
        if (w->rank) w->values = calloc(w->count, sizeof *w->values);
        for (size_t k = 0; k < w->count && w->values; k++) w->values[k] = (float)k - 5;
        const size_t n = shapes[i].c * shapes[i].h * shapes[i].w;
        if (i) l->activation = calloc(n, sizeof *l->activation);
        for (size_t k = 0; k < n && i; k++) l->activation[k] = (float)k;
    }
    v.sample = calloc(1, sizeof *v.sample);
    v.sample[0] = (struct visual_sample){ 7, 2 };
    v.image = calloc(12, sizeof *v.image);
    for (size_t k = 0; k < 12; k++) v.image[k] = (float)(k == 5) * 255;
    v.matrix[0] = (struct visual_matrix){ "test", calloc(9, sizeof(uint64_t)) };
    for (uint64_t k = 0; k < 9; k++) v.matrix[0].count[k] = k == 1 ? 0 : 10 * k;
    return v;
}

static void filters(void **state)
{
    (void)state;
    struct visual v = make_net();
    struct picture p;
    struct visual_picture about;
    assert_false(visual_has_filters(&v, 0) || visual_has_filters(&v, 3));
    assert_true(visual_has_filters(&v, 1) && visual_has_filters(&v, 4));
    /* two filters [3][1][2], values -5 … 0 and 1 … 6, in two columns: 5 x 1 */
    assert_int_equal(visual_filters(&v, 1, NULL, &p, &about), TILES_OK);
    assert_true(about.kind == VISUAL_FILTERS && p.width == 5 && p.height == 1);
    assert_int_equal(at(&p, 0, 0), 0xff0066ccu);
    assert_int_equal(at(&p, 1, 0), 0xff3399ffu);
    assert_int_equal(at(&p, 2, 0), 0);
    assert_int_equal(at(&p, 4, 0), 0xff3399ffu);
    picture_free(&p);
    float others[12] = { 1, 0 };
    assert_int_equal(visual_filters(&v, 1, others, &p, &about), TILES_OK);
    assert_true(at(&p, 0, 0) == 0xffff0000u && at(&p, 3, 0) == grey(0));
    picture_free(&p);
    assert_int_equal(visual_filters(&v, 2, NULL, &p, &about), TILES_OK);
    assert_true(about.kind == VISUAL_KERNELS && about.most == 5 && p.width == 3 && p.height == 3);
    assert_int_equal(at(&p, 0, 0), 0xff143c82u); /* -5 */
    picture_free(&p);
    assert_int_equal(visual_filters(&v, 4, NULL, &p, &about), TILES_OK);
    assert_true(about.kind == VISUAL_WEIGHTS && about.most == 18 && about.block[0] == 1 &&
                about.block[1] == 1);
    assert_true(p.width == 8 && p.height == 3);
    assert_int_equal(at(&p, 5, 0), grey(255)); /* 0 */
    assert_int_equal(at(&p, 7, 2), 0xff961428u);
    picture_free(&p);
    visual_free(&v);
}

/* A unit that reads the image is a filter of its shape; many weights share a pixel. */
static void units_and_blocks(void **state)
{
    (void)state;
    struct visual v = make_net();
    struct picture p;
    struct visual_picture about;
    struct visual_param *w = &v.layer[4].part[VISUAL_WEIGHT];
    static const int image = 0;
    w->dims[0] = 2; /* of 24 values two times 12 */
    w->dims[1] = 12;
    v.layer[3].node.inputs = &image;
    assert_int_equal(visual_filters(&v, 4, NULL, &p, &about), TILES_OK);
    assert_true(about.kind == VISUAL_FILTERS && p.width == 5 && p.height == 2);
    assert_int_equal(at(&p, 0, 0), 0xff005db9u); /* 0, 4, 8 of 11 */
    assert_int_equal(at(&p, 1, 1), 0xff46a2ffu);
    picture_free(&p);
    free(w->values);
    *w = (struct visual_param){ calloc(2000, sizeof(float)), 2, { 2, 1000 }, 2000 };
    v.layer[3].node.inputs = &before[3];
    w->values[1000 + 998] = -2;
    w->values[1000 + 999] = 1;
    assert_int_equal(visual_filters(&v, 4, NULL, &p, &about), TILES_OK);
    assert_true(about.block[1] == 3 && p.width == 334 && p.height == 2 && about.most == 2);
    assert_int_equal(at(&p, 332, 1), 0xff143c82u);
    assert_int_equal(at(&p, 332, 0), grey(255));
    picture_free(&p);
    visual_free(&v);
}

static void maps(void **state)
{
    (void)state;
    struct visual v = make_net();
    struct picture p;
    assert_int_equal(visual_activation(&v, 1, 0, &p), TILES_OK); /* 0 … 7 in two maps */
    assert_true(p.width == 5 && p.height == 2);
    assert_int_equal(at(&p, 0, 0), grey(0));
    assert_int_equal(at(&p, 4, 1), grey(255));
    assert_int_equal(at(&p, 1, 1), grey(109));
    picture_free(&p);
    assert_int_equal(visual_activation(&v, 4, 0, &p), TILES_OK); /* three numbers, no gaps */
    assert_true(p.width == 2 && p.height == 2);
    assert_int_equal(at(&p, 1, 0), grey(128));
    assert_int_equal(at(&p, 1, 1), 0);
    picture_free(&p);
    assert_int_equal(visual_image(&v, 0, &p), TILES_OK);
    assert_int_equal(at(&p, 1, 0), 0xff00ff00u);
    picture_free(&p);
    visual_free(&v);
}

/* Two images of four channels, 1 x 2; and a matrix by its rows and its columns. */
static void floors(void **state)
{
    (void)state;
    float values[16];
    for (size_t k = 0; k < 16; k++) values[k] = (float)(k * k % 7);
    const struct visual_images images = { values, 2, 4, 1, 2 };
    struct picture p;
    assert_true(visual_tilings(&images, false) == 4 && visual_tilings(&images, true) == 1);
    assert_true(visual_tilings(&(struct visual_images){ values, 1, 2, 1, 2 }, true) == 2);
    assert_int_equal(visual_tiling(&images, false, 1, &p),
                     TILES_OK); /* 4, 2 and 2, 2 (k = 10, 11) */
    assert_true(p.width == 2 && p.height == 4);
    assert_int_equal(at(&p, 0, 0), grey(255));
    assert_int_equal(at(&p, 1, 0), grey(0));
    assert_int_equal(at(&p, 0, 1), 0);
    assert_int_equal(at(&p, 0, 3), grey(0));
    picture_free(&p);
    assert_int_equal(visual_tiling(&images, true, 0, &p), TILES_OK); /* 0 1, 4 2, 2 4 */
    assert_int_equal(at(&p, 0, 0), 0xff00ff00u);
    assert_int_equal(at(&p, 1, 0), 0xffff00ffu);
    picture_free(&p);
    assert_int_equal(visual_rows(values, 3, 5, false, &p), TILES_OK); /* three tiles of 2 x 2 */
    assert_true(p.width == 2 && p.height == 3 * 4 - 2);
    assert_int_equal(at(&p, 0, 4), grey(255)); /* the second row: 4 1 0 1 */
    assert_int_equal(at(&p, 1, 4), grey(64));
    assert_int_equal(at(&p, 0, 5), grey(0));
    picture_free(&p);
    assert_int_equal(visual_rows(values, 3, 5, true, &p), TILES_OK); /* five of 1 x 1 */
    assert_true(p.width == 4 && p.height == 7);
    picture_free(&p);
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (; (text = strstr(text, what)); text++) n++;
    return n;
}

/* The caller's. */
static char *svg_of(const struct drawing *d)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_true(drawing_svg(out, d));
    assert_int_equal(fclose(out), 0);
    return text;
}

static void matrix(void **state)
{
    (void)state;
    struct visual v = make_net();
    const struct drawing d = matrix_drawing(&v, 0);
    char *text = svg_of(&d);
    /* 0 . 20 / 30 40 50 / 60 70 80: the diagonal is 0 + 40 + 80 of 350 */
    assert_non_null(strstr(text, "Accuracy: 120/350 = 34.29 % (test)"));
    assert_non_null(strstr(text, "2, predicted 0\n60 of 210, 28.6 %"));
    /* nothing was counted there: the paper */
    assert_int_equal(count(text, "class=\"f-paper s-axis\""), 2);
    assert_int_equal(count(text, "class=\"f-0 s-axis\""), 2);
    assert_int_equal(count(text, "class=\"f-1 s-axis\""), 5);
    assert_non_null(strstr(text, "fill-opacity=\"0.373\"")); /* 0.06 + 0.94 * 40 / 120 */
    assert_int_equal(count(text, ">80</text>"), 1);
    assert_int_equal(count(text, "rotate(-45 "), 0); /* short names are not turned */
    assert_non_null(strstr(text, "prefers-color-scheme: dark"));
    free(text);
    static const char *const names[] = { "an ankle boot", "a bag", "a coat" };
    v.class_names = names;
    const struct drawing long_names = matrix_drawing(&v, 0);
    assert_true(long_names.size.y > d.size.y);
    text = svg_of(&long_names);
    assert_int_equal(count(text, "rotate(-45 "), v.classes);
    free(text);
    v.class_names = NULL;
    visual_free(&v);
}

static char *graph_of(const struct visual *v)
{
    struct graph *g = graph_make(v);
    assert_non_null(g);
    const struct drawing d = graph_drawing(g);
    char *text = svg_of(&d);
    graph_free(g);
    return text;
}

/* Which boxes there are, and how edges go: straight down, to the side, around. */
static void graphs(void **state)
{
    (void)state;
    struct visual v = make_net();
    static const int both[] = { 1, 2 }, first[] = { 1 };
    char *text = graph_of(&v);
    /* flat joins conv2, which is the only thing that it reads */
    assert_int_equal(count(text, "class=\"f-paper s-axis\""), 4);
    assert_int_equal(count(text, "stroke-width=\"1.5\""), 3);
    assert_int_equal(count(text, "stroke-width=\"1.75\""), 0);
    assert_non_null(strstr(text, "2×2×2"));
    free(text);
    /* conv1 to conv2, and both to flat, an add now: conv1 to the add goes around conv2 */
    v.layer[3].node.inputs = both;
    v.layer[3].node.n_inputs = 2;
    v.layer[3].node.type = "add";
    text = graph_of(&v);
    assert_int_equal(count(text, "class=\"f-paper s-axis\""), 5);
    assert_int_equal(count(text, "stroke-width=\"1.5\""), 4);
    assert_int_equal(count(text, "stroke-width=\"1.75\""), 1);
    free(text);
    /* fc reads conv1, too: it stands beside conv2 */
    v.layer[4].node.inputs = first;
    text = graph_of(&v);
    assert_int_equal(count(text, "stroke-width=\"1.75\""), 1);
    assert_int_equal(count(text, "rx=\"7\""), 5);
    const char *box = strstr(text, "class=\"f-paper s-axis\"");
    double x[5], y[5];
    for (size_t i = 0; i < 5; i++, box = strstr(box + 1, "class=\"f-paper s-axis\""))
        assert_int_equal(sscanf(strstr(box, " x="), " x=\"%lf\" y=\"%lf\"", &x[i], &y[i]), 2);
    assert_true(y[4] == y[2] && x[4] > x[2] && x[3] == x[2] && y[3] > y[2] && y[1] > y[0]);
    /* and the edge to it bends, from below conv1 to the arrow above fc */
    const char *bend = strstr(text, "<polyline"); /* around, and then this one */
    assert_int_equal(count(text, "<polyline"), 2);
    bend = strstr(strstr(bend + 1, "<polyline"), "points=");
    double from[2], to[2];
    assert_int_equal(sscanf(bend, "points=\"%lf,%lf", &from[0], &from[1]), 2);
    for (const char *end = strchr(bend + 8, '"'); bend < end; bend = strpbrk(bend + 1, " \""))
        sscanf(bend, " %lf,%lf", &to[0], &to[1]);
    assert_true(fabs(to[0] - from[0] - (x[4] - x[1])) < 0.11 && fabs(to[1] - (y[4] - 5)) < 0.11);
    assert_true(from[1] > y[1] && from[1] < to[1]);
    free(text);
    visual_free(&v);
}

static void norms(void **state)
{
    (void)state;
    struct visual v = make_net();
    v.layer[3].node.type = "batch_norm";
    v.layer[3].part[VISUAL_BIAS] = (struct visual_param){ calloc(4, sizeof(float)), 1, { 4 }, 4 };
    for (size_t k = 0; k < 4; k++) v.layer[3].part[VISUAL_BIAS].values[k] = (float)k - 1;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    norms_section(out, &v);
    assert_int_equal(fclose(out), 0);
    /* -1 to 2 over 64 pixels from 20 on: zero at 62.7, the last bar up to 20 */
    assert_non_null(strstr(text, "M30.0 62.7V84.0M90.0 62.7V62.7M150.0 62.7V41.3M210.0 62.7V20.0"));
    assert_int_equal(count(text, "<svg"), 1);
    assert_non_null(strstr(text, "β of flat\n-1 … 2, mean 0.5"));
    assert_int_equal(count(text, "<tr>"), 1 + 4);
    free(text);
    out = open_memstream(&text, &size);
    v.layer[3].node.type = "prelu"; /* nothing is normalised there */
    norms_section(out, &v);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "");
    free(text);
    visual_free(&v);
}

static void pages(void **state)
{
    (void)state;
    if (!picture_possible()) skip();
    struct visual v = make_net();
    snprintf(v.missing, sizeof v.missing, "nothing & all");
    v.history = calloc(1, sizeof *v.history);
    v.history[v.n_history++] = (struct visual_history){ 1, calloc(12, sizeof(float)) };
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_true(visual_page(out, &v, "convoy visualise"));
    assert_int_equal(fclose(out), 0);
    assert_int_equal(count(text, "src=\"data:image/png;base64,iVBOR"), 3 + 1 + 3 + 1);
    assert_int_equal(count(text, "src="), 8);
    assert_non_null(strstr(text, "by &lt;hand&gt;"));
    assert_non_null(strstr(text, "nothing &amp; all"));
    assert_non_null(strstr(text, "34.29 %"));
    assert_non_null(strstr(text, "<h2>conv1, epoch by epoch</h2>"));
    assert_non_null(strstr(text, "data, after 3 epochs"));
    assert_null(strstr(text, "<by"));
    free(text);
    visual_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(grids),
                                        cmocka_unit_test(tiles_by_hand),
                                        cmocka_unit_test(odd_tiles),
                                        cmocka_unit_test(tiles_in_colour),
                                        cmocka_unit_test(enlarged),
                                        cmocka_unit_test(filters),
                                        cmocka_unit_test(maps),
                                        cmocka_unit_test(floors),
                                        cmocka_unit_test(units_and_blocks),
                                        cmocka_unit_test(matrix),
                                        cmocka_unit_test(graphs),
                                        cmocka_unit_test(norms),
                                        cmocka_unit_test(pages) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
