/* `convoy visualise`: pictures of a trained net. */
#include "cli/visualise.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "report/graph.h"
#include "report/matrix.h"
#include "report/visual_page.h"
#include "train/train.h"

enum {
    KEY_DATA = 'd',
    KEY_OUT = 'o',
    KEY_SEED = 's',
    KEY_MODEL = 0x1000,
    KEY_SAMPLES,
    KEY_SCALE,
    KEY_CONFUSION
};

static const struct argp_option options[] = {
    { "out", KEY_OUT, "DIR", 0, "where the pictures go (default: RUN/pictures)", 0 },
    { "data", KEY_DATA, "DATA", 0,
      "a data set's name, a directory, or synthetic[:seed=S] (default: what the run was trained "
      "on)",
      0 },
    { "model", KEY_MODEL, "MODEL", 0,
      "the model of weights that do not say it (files that convoy did not write)", 0 },
    { "samples", KEY_SAMPLES, "N", 0,
      "so many random images of the first mini-batch are followed through the net (default 4)", 0 },
    { "seed", KEY_SEED, "N", 0, "of the choice of these images (default 1)", 0 },
    { "confusion", KEY_CONFUSION, "SPLIT", 0,
      "which images are counted: all (default), test, train, validation or none", 0 },
    { "scale", KEY_SCALE, "N", 0,
      "a pixel of a picture becomes N x N in its file (default: as many as make it about 512 "
      "large)",
      0 },
    { 0 }
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    static const char *const splits[] = { "all", "test", "train", "validation", "none", NULL };
    struct cli_visualise_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &o->engine; return 0;
    case KEY_DATA: o->data = arg; return 0;
    case KEY_OUT: o->out = arg; return 0;
    case KEY_MODEL: o->model = arg; return 0;
    case KEY_SAMPLES: o->samples = cli_integer(state, "samples", arg, 0, 10000); return 0;
    case KEY_SEED: o->seed = cli_integer(state, "seed", arg, 0, UINT64_MAX); return 0;
    case KEY_SCALE: o->scale = cli_integer(state, "scale", arg, 1, 64); return 0;
    case KEY_CONFUSION: {
        const char *word = cli_choice(state, "confusion", arg, splits);
        for (int k = 0; splits[k]; k++)
            if (word == splits[k]) o->confusion = (enum cli_confusion)k;
        return 0;
    }
    case ARGP_KEY_ARG:
        if (o->run) cli_refuse(state, "expected one run or file, found '%.60s' too", arg);
        o->run = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        cli_refuse(state, "expected a run's directory or a .safetensors file");
        return EINVAL;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = { { &cli_engine_argp, 0, "Engine:", 9 }, { 0 } };
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
           "  convoy visualise resnet.safetensors --model resnet20 -d cifar10 -o talk\n"
};

/* ---------------------------------------------------------------------------------------- files */

int cli_visualise_bytes(const char *path, const void *bytes, size_t size)
{
    char directory[PATH_MAX], error[CLI_ERROR];
    if ((size_t)snprintf(directory, sizeof directory, "%s", path) >= sizeof directory)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", path);
    *strrchr(directory, '/') = '\0';
    enum train_status status = files_make_directory(directory, error, sizeof error);
    if (!status) status = files_write(path, bytes, size, error, sizeof error);
    return status ? cli_fail(cli_code_train(status), "%s", error) : CLI_OK;
}

int cli_visualise_drawn(enum tiles_status status, const char *name)
{
    if (status == TILES_NOMEM) return cli_fail(CLI_NOMEM, "%s: out of memory", name);
    if (status == TILES_LARGE)
        cli_fail(0, "note: %s: left out, a picture has at most %d pixels on a side", name,
                 TILES_MOST);
    return CLI_OK;
}

int cli_visualise_png(const char *path, const struct picture *p, size_t scale)
{
    const size_t side = p->width > p->height ? p->width : p->height;
    struct picture large;
    if (!scale && side) scale = 512 / side;
    if (!scale) scale = 1;
    enum tiles_status status = picture_enlarge(p, scale, &large);
    if (status || !large.width) return cli_visualise_drawn(status, path);
    size_t size;
    unsigned char *png = picture_png(&large, &size);
    int code =
        png ? cli_visualise_bytes(path, png, size) : cli_fail(CLI_NOMEM, "%s: out of memory", path);
    free(png);
    picture_free(&large);
    return code;
}

/* What is written to a stream in memory, to a file at its end. */
struct text {
    char path[PATH_MAX], *bytes;
    size_t size;
    FILE *out;
};

static int text_open(struct text *t, const char *root, const char *name)
{
    *t = (struct text){ .bytes = NULL };
    if ((size_t)snprintf(t->path, sizeof t->path, "%s/%s", root, name) >= sizeof t->path)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", root);
    t->out = open_memstream(&t->bytes, &t->size);
    return t->out ? CLI_OK : cli_fail(CLI_NOMEM, "%s: out of memory", t->path);
}

static int text_close(struct text *t, bool good)
{
    good &= !ferror(t->out);
    good &= !fclose(t->out);
    int code = good ? cli_visualise_bytes(t->path, t->bytes, t->size)
                    : cli_fail(CLI_NOMEM, "%s: out of memory", t->path);
    free(t->bytes);
    return code;
}

/* ------------------------------------------------------------------------------- one directory */

static int put_picture(const struct cli_visualise_options *o, const char *root, const char *name,
                       enum tiles_status status, struct picture *p)
{
    char path[PATH_MAX];
    int code = cli_visualise_drawn(status, name);
    if (!code && p->width &&
        (size_t)snprintf(path, sizeof path, "%s/%s.png", root, name) >= PATH_MAX)
        code = cli_fail(CLI_IO, "%.60s...: the path is too long", root);
    if (!code && p->width) code = cli_visualise_png(path, p, o->scale);
    picture_free(p);
    return code;
}

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
        code = put_picture(o, root, name, visual_filters(v, i, &p, &about), &p);
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
            code = put_picture(o, root, name, status, &p);
        }
    return code;
}

static int put_matrices(const struct visual *v, const char *root)
{
    int code = CLI_OK;
    for (size_t i = 0; i < v->n_matrices && !code; i++) {
        struct text t;
        char name[64];
        snprintf(name, sizeof name, "confusion/%s.svg", v->matrix[i].split);
        if ((code = text_open(&t, root, name))) break;
        matrix_svg(t.out, v, &v->matrix[i]);
        code = text_close(&t, true);
    }
    return code;
}

static int put_graph(const struct visual *v, const char *root)
{
    struct text t;
    int code = text_open(&t, root, "graph.svg");
    if (code) return code;
    bool good = graph_svg(t.out, v);
    return text_close(&t, good);
}

static int put_page(const struct visual *v, const char *root)
{
    struct text t;
    int code = text_open(&t, root, "index.html");
    if (code) return code;
    bool good = visual_page(t.out, v, "convoy visualise");
    return text_close(&t, good);
}

/* The page last: where it is, all is. */
static int put_all(const struct cli_visualise_options *o, const struct visual *v, const char *root)
{
    int code = put_graph(v, root);
    if (!code) code = put_filters(o, v, root);
    if (!code) code = put_activations(o, v, root);
    if (!code) code = put_matrices(v, root);
    if (!code) code = put_page(v, root);
    if (!code) printf("%s/index.html\n", root);
    return code;
}

/* ---------------------------------------------------------------------------------- the command */

/* --out, or RUN/pictures. */
static int find_root(const struct cli_visualise_options *o, char root[PATH_MAX])
{
    struct stat st;
    const bool run = !stat(o->run, &st) && S_ISDIR(st.st_mode);
    if (!o->out && !run)
        return cli_fail(CLI_USAGE, "%s is no run's directory: say with --out where the pictures go",
                        o->run);
    const char *end = o->out ? "" : "/pictures", *place = o->out ? o->out : o->run;
    if (snprintf(root, PATH_MAX, "%s%s", place, end) >= PATH_MAX)
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

static int run(int argc, char **argv)
{
    struct cli_visualise_options o = { .samples = 4, .seed = 1, .epoch = UINT64_MAX };
    struct cli_session s = { 0 };
    struct visual v = { 0 };
    char root[PATH_MAX];
    cli_parse(&argp, argc, argv, &o);
    if (!picture_possible())
        return cli_fail(CLI_USAGE, "this convoy was built without cairo, which pictures need: "
                                   "build it with -Dpictures=enabled");
    int code = cli_open_context(&s, &o.engine);
    if (!code) code = cli_open_checkpoint(&s, o.run, o.model);
    if (!code) code = find_root(&o, root);
    if (!code) code = cli_open_predictor(&s, 256);
    if (!code) code = open_data(&s, &o, &v);
    if (!code) code = cli_visualise_collect(&s, &o, &v);
    if (!code) code = put_all(&o, &v, root);
    visual_free(&v);
    cli_close(&s);
    return code;
}

const struct cli_command cli_visualise = { "visualise", "pictures of a trained net", &argp, run };
