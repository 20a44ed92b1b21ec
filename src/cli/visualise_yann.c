/* `convoy visualise --layout=yann`: the directories and text files of yann's visualizer and
 * resultor. */
#include "cli/visualise.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "report/matrix.h"
#include "report/visual_page.h"
#include "train/train.h"

/* Where the next picture goes, and how. */
struct place {
    const struct cli_visualise_options *o;
    const char *root;
    char directory[700];
};

static int put(const struct place *at, const char *name, enum tiles_status status,
               struct picture *p)
{
    char file[800];
    snprintf(file, sizeof file, "%s/%s", at->directory, name);
    return cli_visualise_picture(at->root, file, at->o->scale ? at->o->scale : 1, status, p);
}

/* An image for every channel, or for three of them, with a tile for every one of n. */
static int put_channels(const struct place *at, const struct visual_images *images)
{
    int code = CLI_OK;
    for (size_t i = 0; i < visual_tilings(images, at->o->rgb) && !code; i++) {
        struct picture p;
        char name[40];
        snprintf(name, sizeof name, "image_%zu", i);
        enum tiles_status status = visual_tiling(images, at->o->rgb, i, &p);
        code = put(at, name, status, &p);
    }
    return code;
}

/* A matrix as yann has it, [in][out] of weights and [images][units] of activities, and turned. */
static int put_rows(const struct place *at, const float *values, size_t rows, size_t columns,
                    bool turned)
{
    struct picture p;
    enum tiles_status status = visual_rows(values, rows, columns, turned, &p);
    int code = put(at, "straight/image_0", status, &p);
    if (code) return code;
    status = visual_rows(values, rows, columns, !turned, &p);
    return put(at, "transposed/image_0", status, &p);
}

static int put_data(struct place *at, const struct visual *v)
{
    const cvy_shape s = v->layer[0].node.out;
    const struct visual_images images = { v->image, v->n_samples, s.c, s.h, s.w };
    snprintf(at->directory, sizeof at->directory, "visualizer/data");
    return v->n_samples ? put_channels(at, &images) : CLI_OK;
}

static int put_filters(struct place *at, const struct visual *v, const char *epoch)
{
    int code = CLI_OK;
    for (size_t i = 0; i < v->n_layers && !code; i++) {
        const struct visual_param *w = &v->layer[i].part[VISUAL_WEIGHT];
        if (!visual_has_filters(v, i)) continue;
        snprintf(at->directory, sizeof at->directory, "visualizer/filters/%s/layer_%s", epoch,
                 v->layer[i].node.name);
        const struct visual_images filters = { w->values, w->dims[0], w->dims[1], w->dims[2],
                                               w->dims[3] };
        code = w->rank == 4 ? put_channels(at, &filters)
                            : put_rows(at, w->values, w->dims[0], w->dims[1], true);
    }
    return code;
}

static int put_activities(struct place *at, const struct visual *v, const char *epoch)
{
    int code = CLI_OK;
    for (size_t i = 1; i < v->n_layers && !code; i++) {
        const struct visual_layer *l = &v->layer[i];
        const cvy_shape s = l->node.out;
        if (!l->activation) continue;
        snprintf(at->directory, sizeof at->directory, "visualizer/activities/%s/layer_%s", epoch,
                 l->node.name);
        const struct visual_images maps = { l->activation, v->n_samples, s.c, s.h, s.w };
        code = s.h * s.w > 1 ? put_channels(at, &maps)
                             : put_rows(at, l->activation, v->n_samples, s.c, false);
    }
    return code;
}

static int put_confusion(const char *root, const struct visual *v, const char *epoch)
{
    int code = CLI_OK;
    for (size_t i = 0; i < v->n_matrices && !code; i++) {
        const struct drawing d = matrix_drawing(v, i);
        const char *split = v->matrix[i].split;
        char name[200];
        snprintf(name, sizeof name, "resultor/confusion/%s/%s_confusion", epoch,
                 strcmp(split, "validation") ? split : "valid");
        code = cli_visualise_draw(root, name, &d);
    }
    return code;
}

static int put_graphs(const char *root, const struct visual *v)
{
    struct cli_file f;
    int code = cli_visualise_graph(root, "visualizer/computational_graphs/static/net", v);
    if (!code)
        code = cli_visualise_open(&f, root, "visualizer/computational_graphs/dynamic/net.html");
    if (code) return code;
    bool good = visual_graph_page(f.out, v, "convoy visualise --layout=yann");
    return cli_file_close(&f, good ? NULL : "out of memory");
}

/* --------------------------------------------------------------------------------- the resultor */

enum { COSTS, RATES, MOMENTA, ERRORS, RESULTS, TEXTS };
static const char *const text_names[TEXTS] = { "costs", "learning_rate", "momentum", "errors",
                                               "results" };

static double number_at(const json_t *line, const char *key, double otherwise)
{
    const json_t *value = json_object_get(line, key);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

/* A line in each of the files for an epoch. */
static void tell_epoch(FILE *const out[TEXTS], const json_t *line, double momentum)
{
    static const char *const accuracies[][2] = { { "train_acc", "training" },
                                                 { "valid_acc", "validation" },
                                                 { "test_acc", "testing" } };
    const double cost = number_at(line, "train_loss", 0),
                 right = number_at(line, "valid_acc", number_at(line, "test_acc", -1));
    fprintf(out[COSTS], "%.9g\n", cost);
    fprintf(out[RATES], "%.9g\n", number_at(line, "lr", 0));
    fprintf(out[MOMENTA], "%.9g\n", number_at(line, "momentum", momentum));
    if (right >= 0) fprintf(out[ERRORS], "%.6g\n", 100 * (1 - right));
    fprintf(out[RESULTS], "epoch %.0f: cost %.6g", number_at(line, "epoch", 0), cost);
    for (size_t k = 0; k < 3; k++)
        if (json_object_get(line, accuracies[k][0]))
            fprintf(out[RESULTS], ", %s accuracy %.2f %%", accuracies[k][1],
                    100 * number_at(line, accuracies[k][0], 0));
    fputc('\n', out[RESULTS]);
}

static int tell_epochs(const char *path, char *metrics, size_t size, FILE *const out[TEXTS],
                       double momentum)
{
    char *end = metrics + size;
    for (size_t n = 1; metrics < end; n++) {
        char *next = memchr(metrics, '\n', (size_t)(end - metrics));
        if (!next) next = end;
        json_t *line = json_loadb(metrics, (size_t)(next - metrics), 0, NULL);
        const char *type = json_string_value(json_object_get(line, "type"));
        if (type && !strcmp(type, "epoch")) tell_epoch(out, line, momentum);
        json_decref(line);
        if (!type)
            return cli_fail(CLI_BAD, "%s: line %zu is not what convoy train writes", path, n);
        metrics = next + 1;
    }
    return CLI_OK;
}

/* All five, or none. */
static int put_texts(const char *run, const char *root, const struct visual *v)
{
    char path[PATH_MAX], error[CLI_ERROR];
    unsigned char *metrics = NULL;
    size_t size = 0, opened = 0;
    struct cli_file text[TEXTS];
    FILE *out[TEXTS];
    struct stat st;
    if ((size_t)snprintf(path, sizeof path, "%s/" TRAIN_METRICS, run) >= sizeof path ||
        stat(path, &st))
        return CLI_OK; /* weights from elsewhere have none */
    enum train_status status =
        files_read(path, (size_t)1 << 30, &metrics, &size, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    int code = CLI_OK;
    for (; opened < TEXTS && !code; opened += !code) {
        char name[64];
        snprintf(name, sizeof name, "resultor/%s.txt", text_names[opened]);
        code = cli_visualise_open(&text[opened], root, name);
        out[opened] = code ? NULL : text[opened].out;
    }
    if (!code) code = tell_epochs(path, (char *)metrics, size, out, v->momentum);
    for (size_t i = 0; i < opened; i++) {
        if (code) cli_file_drop(&text[i]);
        else code = cli_file_close(&text[i], NULL);
    }
    free(metrics);
    return code;
}

/* The parameters that were drawn, as they lie in their file. */
static int put_params(const char *root, const struct visual *v, const char *epoch)
{
    char name[200], error[CLI_ERROR];
    unsigned char *bytes;
    size_t size;
    snprintf(name, sizeof name, "resultor/params/%s.safetensors", epoch);
    enum train_status status =
        files_read(v->weights, (size_t)1 << 40, &bytes, &size, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    int code = cli_visualise_bytes(root, name, bytes, size);
    free(bytes);
    return code;
}

int cli_visualise_yann(const struct cli_visualise_options *o, const struct visual *v,
                       const char *root)
{
    struct place at = { o, root, "" };
    char epoch[40] = "epoch_fin"; /* nobody says which */
    if (v->epoch != UINT64_MAX)
        snprintf(epoch, sizeof epoch, "epoch_%llu", (unsigned long long)v->epoch);
    int code = put_graphs(root, v);
    if (!code) code = put_data(&at, v);
    if (!code) code = put_filters(&at, v, epoch);
    if (!code) code = put_activities(&at, v, epoch);
    if (!code) code = put_confusion(root, v, epoch);
    if (!code) code = put_params(root, v, epoch);
    if (!code) code = put_texts(o->trained.run, root, v);
    if (!code) printf("%s/visualizer %s/resultor %s\n", root, root, epoch);
    return code;
}
