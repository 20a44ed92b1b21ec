/* `convoy visualise`: pictures of a trained net. */
#include "cli/visualise.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/graph.h"
#include "report/matrix.h"
#include "report/visual_page.h"
#include "train/train.h"

enum {
    KEY_OUT = 'o',
    KEY_SEED = 's',
    KEY_SAMPLES = 0x1000,
    KEY_SCALE,
    KEY_CONFUSION,
    KEY_EPOCH,
    KEY_LAYOUT,
    KEY_RGB
};

static const struct argp_option options[] = {
    { "out", KEY_OUT, "DIR", 0, "where the pictures go (default: RUN/pictures or RUN/yann)", 0 },
    { "epoch", KEY_EPOCH, "E", 0,
      "the weights after E epochs, or after each epoch of which they were kept (all), by `convoy "
      "train --snapshot-every`",
      0 },
    { "layout", KEY_LAYOUT, "KIND", 0,
      "page (default), or yann: directories and text files as yann's visualizer and resultor "
      "write them",
      0 },
    { "rgb-filters", KEY_RGB, NULL, 0,
      "of yann's layout: every three channels become one image in colour", 0 },
    CLI_DATA("what the run was trained on"),
    { "samples", KEY_SAMPLES, "N", 0,
      "so many random images of the first mini-batch are followed through the net (default 4, in "
      "yann's layout 16)",
      0 },
    { "seed", KEY_SEED, "N", 0, "of the choice of these images (default 1)", 0 },
    { "confusion", KEY_CONFUSION, "SPLIT", 0,
      "which images are counted: all (default), test, train, validation or none", 0 },
    { "scale", KEY_SCALE, "N", 0,
      "a pixel of a picture becomes N x N in its file (default: as many as make it about 512 "
      "large, in yann's layout 1)",
      0 },
    { 0 }
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    static const char *const splits[] = { "all", "test", "train", "validation", "none", NULL },
                             *const layouts[] = { "page", "yann", NULL };
    struct cli_visualise_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->trained;
        state->child_inputs[1] = &o->engine;
        return 0;
    case CLI_KEY_DATA: o->data = arg; return 0;
    case KEY_OUT: o->out = arg; return 0;
    case KEY_SAMPLES: o->samples = cli_integer(state, "samples", arg, 0, 10000); return 0;
    case KEY_SEED: o->seed = cli_integer(state, "seed", arg, 0, UINT64_MAX); return 0;
    case KEY_SCALE: o->scale = cli_integer(state, "scale", arg, 1, 64); return 0;
    case KEY_CONFUSION: {
        const char *word = cli_choice(state, "confusion", arg, splits);
        for (int k = 0; splits[k]; k++)
            if (word == splits[k]) o->confusion = (enum cli_confusion)k;
        return 0;
    }
    case KEY_EPOCH:
        o->every = !strcmp(arg, "all");
        if (!o->every) o->epoch = cli_integer(state, "epoch", arg, 0, UINT64_MAX - 1);
        return 0;
    case KEY_LAYOUT: o->yann = !strcmp(cli_choice(state, "layout", arg, layouts), "yann"); return 0;
    case KEY_RGB: o->rgb = true; return 0;
    case ARGP_KEY_END:
        if (o->rgb && !o->yann) cli_refuse(state, "--rgb-filters is of --layout=yann");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = { { &cli_trained_argp, 0, NULL, 0 },
                                              { &cli_engine_argp, 0, NULL, 9 },
                                              { 0 } };
static const struct argp argp = {
    .options = options,
    .parser = parse,
    .children = children,
    .args_doc = "RUN|WEIGHTS.safetensors",
    .doc = "Draws a trained net: its graph, its filters, what every layer makes of sample images, "
           "which classes it takes for which, what its batch norms learned; as files, and all on "
           "one page, index.html, that needs no other file."
           "\vWithout the data set what can be drawn without it is drawn.\n\n"
           "Examples:\n"
           "  convoy visualise run\n"
           "  convoy visualise run -o talk --samples 12 --scale 8\n"
           "  convoy visualise run --layout yann --epoch all\n"
           "  convoy visualise resnet.safetensors --model resnet20 -d cifar10 -o talk\n"
};

/* ---------------------------------------------------------------------------------------- files */

int cli_visualise_place(char path[PATH_MAX], const char *root, const char *name)
{
    char directory[PATH_MAX], error[CLI_ERROR];
    if (snprintf(path, PATH_MAX, "%s/%s", root, name) >= PATH_MAX)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", root);
    snprintf(directory, sizeof directory, "%s", path);
    *strrchr(directory, '/') = '\0';
    enum train_status status = files_make_directory(directory, error, sizeof error);
    return status ? cli_fail(cli_code_train(status), "%s", error) : CLI_OK;
}

int cli_visualise_bytes(const char *root, const char *name, const void *bytes, size_t size)
{
    char path[PATH_MAX], error[CLI_ERROR];
    int code = cli_visualise_place(path, root, name);
    if (code) return code;
    enum train_status status = files_write(path, bytes, size, error, sizeof error);
    return status ? cli_fail(cli_code_train(status), "%s", error) : CLI_OK;
}

static int drawn(enum tiles_status status, const char *name)
{
    if (status == TILES_NOMEM) return cli_fail(CLI_NOMEM, "%s: out of memory", name);
    if (status == TILES_LARGE)
        cli_fail(0, "note: %s: left out, a picture has at most %d pixels on a side", name,
                 TILES_MOST);
    return CLI_OK;
}

static int put_png(const char *root, const char *name, const struct picture *p, size_t scale)
{
    const size_t side = p->width > p->height ? p->width : p->height;
    struct picture large;
    if (!scale && side) scale = 512 / side;
    if (!scale) scale = 1;
    enum tiles_status status = picture_enlarge(p, scale, &large);
    if (status) return drawn(status, name);
    size_t size;
    unsigned char *png = picture_png(&large, &size);
    int code = png ? cli_visualise_bytes(root, name, png, size)
                   : cli_fail(CLI_NOMEM, "%s: out of memory", name);
    free(png);
    picture_free(&large);
    return code;
}

int cli_visualise_picture(const char *root, const char *name, size_t scale,
                          enum tiles_status status, struct picture *p)
{
    char file[1000];
    int code = drawn(status, name);
    snprintf(file, sizeof file, "%s.png", name);
    if (!code && p->width && p->height) code = put_png(root, file, p, scale);
    picture_free(p);
    return code;
}

int cli_visualise_draw(const char *root, const char *name, const struct drawing *d)
{
    char stem[PATH_MAX];
    int code = cli_visualise_place(stem, root, name);
    return code ? code : cli_draw(stem, d);
}

int cli_visualise_graph(const char *root, const char *name, const struct visual *v)
{
    struct graph *g = graph_make(v);
    if (!g) return cli_fail(CLI_NOMEM, "%s: out of memory", name);
    const struct drawing d = graph_drawing(g);
    int code = cli_visualise_draw(root, name, &d);
    graph_free(g);
    return code;
}

int cli_visualise_open(struct cli_file *f, const char *root, const char *name)
{
    char path[PATH_MAX];
    int code = cli_visualise_place(path, root, name);
    return code ? code : cli_file_open(f, path);
}

/* -------------------------------------------------------------------------------- one directory */

static int put_filters(const struct cli_visualise_options *o, const struct visual *v,
                       const char *root)
{
    int code = CLI_OK;
    for (size_t i = 0; i < v->n_layers && !code; i++) {
        struct picture p;
        struct visual_picture about;
        char name[300];
        if (!visual_has_filters(v, i)) continue;
        snprintf(name, sizeof name, "filters/%s", v->layer[i].node.name);
        code =
            cli_visualise_picture(root, name, o->scale, visual_filters(v, i, NULL, &p, &about), &p);
    }
    return code;
}

static int put_activations(const struct cli_visualise_options *o, const struct visual *v,
                           const char *root)
{
    int code = CLI_OK;
    for (size_t k = 0; k < v->n_samples && !code; k++)
        for (size_t i = 0; i < v->n_layers && !code; i++) {
            struct picture p;
            char name[300];
            if (i && !v->layer[i].activation) continue;
            snprintf(name, sizeof name, "activations/image_%zu/%02zu-%s", k, i,
                     v->layer[i].node.name);
            enum tiles_status status = i ? visual_activation(v, i, k, &p) : visual_image(v, k, &p);
            code = cli_visualise_picture(root, name, o->scale, status, &p);
        }
    return code;
}

static int put_matrices(const struct visual *v, const char *root)
{
    int code = CLI_OK;
    for (size_t i = 0; i < v->n_matrices && !code; i++) {
        const struct drawing d = matrix_drawing(v, i);
        char name[64];
        snprintf(name, sizeof name, "confusion/%s", v->matrix[i].split);
        code = cli_visualise_draw(root, name, &d);
    }
    return code;
}

static int put_page(const struct visual *v, const char *root)
{
    struct cli_file f;
    int code = cli_visualise_open(&f, root, "index.html");
    if (code) return code;
    bool good = visual_page(f.out, v, "convoy visualise");
    return cli_file_close(&f, good ? NULL : "out of memory");
}

/* The page last: where it is, all is. */
static int put_all(const struct cli_visualise_options *o, const struct visual *v, const char *root)
{
    int code = cli_visualise_graph(root, "graph", v);
    if (!code) code = put_filters(o, v, root);
    if (!code) code = put_activations(o, v, root);
    if (!code) code = put_matrices(v, root);
    if (!code) code = put_page(v, root);
    if (!code) printf("%s/index.html\n", root);
    return code;
}

/* ---------------------------------------------------------------------------------- the command */

static bool is_directory(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

/* --out, or a directory in the run's. */
static int find_root(const struct cli_visualise_options *o, char root[PATH_MAX])
{
    const char *end = o->yann ? "/yann" : "/pictures", *place = o->out ? o->out : o->trained.run;
    if (!o->out && !is_directory(o->trained.run) && !access(o->trained.run, F_OK))
        return cli_fail(CLI_USAGE, "%s is no run's directory: say with --out where the pictures go",
                        o->trained.run);
    if (snprintf(root, PATH_MAX, "%s%s", place, o->out ? "" : end) >= PATH_MAX)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", place);
    return CLI_OK;
}

/* The data set, or a note on what is missing without it; one that was asked for must be there. */
static int open_data(struct cli_session *s, const struct cli_visualise_options *o, struct visual *v)
{
    int code = cli_open_run_data(s, o->data);
    if (!code || o->data || code == CLI_NOMEM) return code;
    data_close(&s->data);
    static const char what[] = "without the data set there are neither activations nor a confusion "
                               "matrix: say with --data where it is";
    cli_fail(0, "note: %s", what);
    snprintf(v->missing, sizeof v->missing, "%s", what);
    return CLI_OK;
}

/* ---------------------------------------------------------------------------------- the epochs */

struct epochs {
    uint64_t *at;
    size_t n;
};

static int by_number(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* "epoch_E.safetensors", and E. */
static bool epoch_of(const char *name, uint64_t *epoch)
{
    static const char before[] = "epoch_", behind[] = ".safetensors";
    if (strncmp(name, before, sizeof before - 1)) return false;
    const char *digits = name + sizeof before - 1;
    char *end;
    errno = 0;
    *epoch = strtoull(digits, &end, 10);
    return isdigit((unsigned char)*digits) && !errno && !strcmp(end, behind);
}

/* Those whose parameters the run has kept. */
static int find_epochs(const char *run, struct epochs *e)
{
    char path[PATH_MAX];
    struct dirent **names = NULL;
    if ((size_t)snprintf(path, sizeof path, "%s/" TRAIN_PARAMS, run) >= sizeof path)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", run);
    const int n = scandir(path, &names, NULL, NULL);
    if (n > 0) e->at = calloc((size_t)n, sizeof *e->at);
    for (int i = 0; i < n; i++) {
        if (e->at && epoch_of(names[i]->d_name, &e->at[e->n])) e->n++;
        free(names[i]);
    }
    free(names);
    if (n > 0 && !e->at) return cli_fail(CLI_NOMEM, "out of memory");
    if (e->n) qsort(e->at, e->n, sizeof *e->at, by_number);
    return CLI_OK;
}

/* The first filters at each of the kept epochs, at most at so many of them. */
enum { HISTORY = 12 };

static int read_weights(const char *run, const char *layer, struct visual_history *h, size_t count)
{
    char path[PATH_MAX], name[300], error[CLI_ERROR];
    struct checkpoint *file;
    if (snprintf(path, sizeof path, "%s/" TRAIN_PARAMS "/epoch_%llu.safetensors", run,
                 (unsigned long long)h->epoch) >= PATH_MAX)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", run);
    enum train_status status = checkpoint_read(path, &file, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    snprintf(name, sizeof name, "%s.weight", layer);
    const struct safetensor *t = safetensors_find(file->file, name);
    int code = CLI_OK;
    if (!t || strcmp(t->dtype, "F32") || t->bytes != count * sizeof(float))
        code = cli_fail(CLI_BAD, "%s: its tensor '%s' is not that of the run", path, name);
    else if (!(h->weights = malloc(t->bytes + 1))) code = cli_fail(CLI_NOMEM, "out of memory");
    else memcpy(h->weights, t->data, t->bytes);
    checkpoint_free(&file);
    return code;
}

static int collect_history(const char *run, struct visual *v)
{
    const size_t layer = visual_first_filters(v);
    struct epochs kept = { 0 };
    int code = layer < v->n_layers ? find_epochs(run, &kept) : CLI_OK;
    const size_t n = kept.n < HISTORY ? kept.n : HISTORY;
    if (n > 1 && !(v->history = calloc(n, sizeof *v->history)))
        code = cli_fail(CLI_NOMEM, "out of memory");
    for (size_t i = 0; n > 1 && i < n && !code; i++) {
        struct visual_history *h = &v->history[v->n_history++];
        h->epoch = kept.at[i * (kept.n - 1) / (n - 1)];
        code = read_weights(run, v->layer[layer].node.name, h,
                            v->layer[layer].part[VISUAL_WEIGHT].count);
    }
    free(kept.at);
    return code;
}

/* What lies in one file, or in a run's checkpoint. */
static int draw(const struct cli_visualise_options *o, const char *weights, const char *root)
{
    struct cli_session s = { 0 };
    struct visual v = { 0 };
    int code = cli_open_context(&s, &o->engine);
    if (!code) code = cli_open_checkpoint(&s, weights, o->trained.model);
    if (!code) code = cli_open_predictor(&s, 256);
    if (!code) code = open_data(&s, o, &v);
    if (!code) code = cli_visualise_collect(&s, o, &v);
    if (!code && !o->yann && weights == o->trained.run) code = collect_history(o->trained.run, &v);
    if (!code) code = o->yann ? cli_visualise_yann(o, &v, root) : put_all(o, &v, root);
    visual_free(&v);
    cli_close(&s);
    return code;
}

/* Of an epoch that is not there. */
static int no_epoch(const struct cli_visualise_options *o, const struct epochs *e)
{
    char list[200] = "";
    for (size_t i = 0, used = 0; i < e->n && used < sizeof list - 30; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%llu", i ? ", " : "",
                                 (unsigned long long)e->at[i]);
    if (!e->n)
        return cli_fail(CLI_USAGE,
                        "%s has kept the weights of no epoch: convoy train --snapshot-every=1 "
                        "keeps those of each",
                        o->trained.run);
    return cli_fail(CLI_USAGE, "%s has not kept the weights after %llu epochs, but after %s",
                    o->trained.run, (unsigned long long)o->epoch, list);
}

static int draw_epoch(const struct cli_visualise_options *o, uint64_t epoch, const char *root)
{
    char weights[PATH_MAX], place[PATH_MAX];
    const unsigned long long number = epoch;
    if (snprintf(weights, sizeof weights, "%s/" TRAIN_PARAMS "/epoch_%llu.safetensors",
                 o->trained.run, number) >= PATH_MAX ||
        snprintf(place, sizeof place, "%s/epoch_%llu", root, number) >= PATH_MAX)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", root);
    return draw(o, weights, o->yann ? root : place); /* yann's has directories of epochs */
}

static int draw_epochs(const struct cli_visualise_options *o, const char *root)
{
    struct epochs kept = { 0 };
    int code = find_epochs(o->trained.run, &kept);
    bool any = false;
    for (size_t i = 0; i < kept.n && !code; i++) {
        if (!o->every && kept.at[i] != o->epoch) continue;
        any = true;
        code = draw_epoch(o, kept.at[i], root);
    }
    if (!code && !any) code = no_epoch(o, &kept);
    free(kept.at);
    return code;
}

static int run(int argc, char **argv)
{
    struct cli_visualise_options o = { .samples = SIZE_MAX, .seed = 1, .epoch = UINT64_MAX };
    char root[PATH_MAX];
    cli_parse(&argp, argc, argv, &o);
    if (!picture_possible())
        return cli_fail(CLI_USAGE, "this convoy was built without cairo, which pictures need: "
                                   "build it with -Dpictures=enabled");
    if (o.samples == SIZE_MAX) o.samples = o.yann ? 16 : 4;
    int code = find_root(&o, root);
    if (code) return code;
    return o.every || o.epoch != UINT64_MAX ? draw_epochs(&o, root) : draw(&o, o.trained.run, root);
}

const struct cli_command cli_visualise = { "visualise", "pictures of a trained net", &argp, run };
