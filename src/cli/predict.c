/* `convoy predict`: the likeliest classes of single images, from binary PGM/PPM, PNG or JPEG files
 * or a data set's test images. */
#include "cli/cli.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_TOP = 'k' };

struct options {
    cvy_context_options engine;
    struct cli_trained trained;
    const char *data;
    size_t top;
    char **images; /* the rest of the arguments */
    size_t n;
};

static const struct argp_option options[] = {
    CLI_DATA("what the run was trained on"),
    { "top", KEY_TOP, "N", 0, "how many classes to print for an image (default 3)", 0 },
    { 0 }
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->trained;
        state->child_inputs[1] = &o->engine;
        return 0;
    case CLI_KEY_DATA: o->data = arg; return 0;
    case KEY_TOP: o->top = cli_integer(state, "top", arg, 1, 1000); return 0;
    case ARGP_KEY_ARGS:
        if (!o->trained.run) return ARGP_ERR_UNKNOWN;
        o->images = state->argv + state->next;
        o->n = (size_t)(state->argc - state->next);
        return 0;
    case ARGP_KEY_END:
        if (!o->trained.run || !o->n)
            cli_refuse(state, "expected a run or weights file, and at least one image");
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
    .args_doc = "RUN|WEIGHTS.safetensors IMAGE...",
    .doc = "Prints the likeliest classes of images. IMAGE is a number, for that test image of the "
           "data set (from 0), or a "
           "binary PGM (grey) or PPM (colour) file of the size that the model takes, or a PNG or "
           "JPEG file, whose size and colours are made so."
           "\vExamples:\n"
           "  convoy predict run 0 1 2\n"
           "  convoy predict run shoe.pgm -k 1\n"
           "  convoy predict run shoe.pgm -d fashion-mnist\n"
};

/* The next number of a PNM header, after blanks and comments; -1 if there is none or it is
 * absurd. */
static long pnm_number(const unsigned char *bytes, size_t size, size_t *at)
{
    while (*at < size && (isspace(bytes[*at]) || bytes[*at] == '#')) {
        if (bytes[*at] == '#')
            while (*at < size && bytes[*at] != '\n') (*at)++;
        else (*at)++;
    }
    long value = -1;
    for (; *at < size && isdigit(bytes[*at]); (*at)++)
        if (value <= 1000000) value = (value < 0 ? 0 : value * 10) + (bytes[*at] - '0');
    return value > 1000000 ? -1 : value;
}

static const char a_png[] = "a PNG", a_jpeg[] = "a JPEG";

/* What a file that is no picture for us is, by its first bytes. */
static const char *kind_of(const unsigned char *bytes, size_t size)
{
    static const struct {
        const char *begin, *name;
    } kinds[] = { { "\x89PNG", a_png },
                  { "\xff\xd8\xff", a_jpeg },
                  { "GIF8", "a GIF" },
                  { "BM", "a BMP" },
                  { "RIFF", "a WebP" },
                  { "P2", "a PGM in text (P2)" },
                  { "P3", "a PPM in text (P3)" },
                  { "P1", "a PBM" },
                  { "P4", "a PBM" } };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (size >= strlen(kinds[i].begin) &&
            !memcmp(bytes, kinds[i].begin, strlen(kinds[i].begin)))
            return kinds[i].name;
    return size ? "something else" : "an empty file";
}

static int read_picture(const char *path, struct data_bytes file, const struct model *model,
                        uint8_t *out)
{
    char error[CLI_ERROR];
    struct data_picture p;
    const size_t c = model->input[0], h = model->input[1], w = model->input[2];
    if (c != 1 && c != 3)
        return cli_fail(CLI_BAD, "%s: the model takes %zu channels, a picture has 1 or 3", path, c);
    enum data_status status = data_parse_picture(path, file, NULL, &p, error, sizeof error);
    if (status) return cli_fail(cli_code_data(status), "%s", error);
    uint8_t *rgb = malloc(3 * h * w);
    bool good = rgb != NULL;
    if (good && p.h == h && p.w == w) memcpy(rgb, p.bytes, 3 * h * w);
    else good = good && data_picture_resize(&p, h, w, rgb);
    if (good && c == 1) data_grey(rgb, h * w, out);
    else if (good) memcpy(out, rgb, 3 * h * w);
    free(rgb);
    free(p.bytes);
    return good ? CLI_OK : cli_fail(CLI_NOMEM, "%s: out of memory", path);
}

static int read_pnm(const char *path, struct data_bytes file, const struct model *model,
                    uint8_t *out)
{
    const unsigned char *bytes = file.bytes;
    size_t size = file.size, at = 2, c = model->input[0], h = model->input[1], w = model->input[2];
    int code = CLI_OK;
    size_t channels = 0;
    if (size > 2 && !memcmp(bytes, "P5", 2)) channels = 1;
    if (size > 2 && !memcmp(bytes, "P6", 2)) channels = 3;
    if (!channels) {
        code = cli_fail(CLI_BAD,
                        "%s: expected a binary PGM (P5) or PPM (P6), a PNG or a JPEG file, found "
                        "%s; ImageMagick "
                        "makes one: convert %s "
                        "-resize %zux%zu! %s",
                        path, kind_of(bytes, size), path, w, h, c == 1 ? "x.pgm" : "x.ppm");
    } else {
        long width = pnm_number(bytes, size, &at), height = pnm_number(bytes, size, &at),
             top = pnm_number(bytes, size, &at);
        at++; /* one blank */
        if (width != (long)w || height != (long)h || channels != c)
            code = cli_fail(CLI_BAD,
                            "%s: the model takes %zu channels of %zu rows and %zu columns, the "
                            "image has %zu of %ld and %ld; "
                            "ImageMagick fits it: convert %s -resize %zux%zu! %s",
                            path, c, h, w, channels, height, width, path, w, h,
                            c == 1 ? "x.pgm" : "x.ppm");
        else if (top != 255)
            code = cli_fail(CLI_BAD, "%s: expected 255 as the largest value, found %ld", path, top);
        else if (at > size || size - at != c * h * w)
            code = cli_fail(CLI_BAD, "%s: expected %zu bytes of pixels, found %zu", path, c * h * w,
                            at > size ? 0 : size - at);
    }
    for (size_t i = 0; !code && i < h * w; i++) /* interleaved in the file, planes here */
        for (size_t k = 0; k < c; k++) out[k * h * w + i] = bytes[at + i * c + k];
    return code;
}

static int read_image(const char *path, const struct model *model, uint8_t *out)
{
    unsigned char *bytes;
    char error[CLI_ERROR];
    size_t size;
    enum train_status status =
        files_read(path, (size_t)1 << 26, &bytes, &size, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    const char *kind = kind_of(bytes, size);
    const bool picture = !strcmp(kind, a_png) || !strcmp(kind, a_jpeg);
    int code =
        (picture ? read_picture : read_pnm)(path, (struct data_bytes){ bytes, size }, model, out);
    if (!code) model_prepare(model, out, 1);
    free(bytes);
    return code;
}

/* Of an image's outputs, as the softmax of their loss sees them. */
static void print_top(const struct cli_session *s, const char *what, float *logits, size_t top,
                      int label, double t)
{
    size_t classes = cvy_tensor_shape(s->net, s->logits).c;
    double sum = 0, largest = (double)logits[0];
    for (size_t k = 1; k < classes; k++) largest = fmax(largest, (double)logits[k]);
    for (size_t k = 0; k < classes; k++) sum += exp(((double)logits[k] - largest) / t);
    printf("%s:", what);
    for (size_t i = 0; i < top && i < classes; i++) {
        size_t best = 0;
        for (size_t k = 1; k < classes; k++)
            if (logits[k] > logits[best]) best = k;
        const char *name = s->data && s->data->class_names ? s->data->class_names[best] : NULL;
        if (name) printf("%s %s", i ? "," : "", name);
        else printf("%s class %zu", i ? "," : "", best);
        printf(" %.3f", exp(((double)logits[best] - largest) / t) / sum);
        logits[best] = -INFINITY;
    }
    if (label >= 0 && s->data->class_names) printf("  (is %s)", s->data->class_names[label]);
    else if (label >= 0) printf("  (is class %d)", label);
    putchar('\n');
}

static bool is_number(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text);
}

static int predict(struct cli_session *s, const struct options *o)
{
    size_t size = s->model->input[0] * s->model->input[1] * s->model->input[2];
    size_t classes = cvy_tensor_shape(s->net, s->logits).c;
    struct model_defaults defaults;
    int code = cli_settle(s, &defaults);
    double t = defaults.loss.temperature != 0 ? defaults.loss.temperature : 1;
    uint8_t *image = malloc(size);
    float *logits = calloc(classes, sizeof *logits);
    if (!code && !(image && logits)) code = cli_fail(CLI_NOMEM, "out of memory");
    for (size_t i = 0; i < o->n && !code; i++) {
        const char *what = o->images[i];
        int label = -1;
        if (is_number(what)) {
            unsigned long long index = strtoull(what, NULL, 10);
            if (index >= s->data->test.n)
                code = cli_fail(CLI_BAD, "image %s: %s has test images 0 to %zu", what,
                                s->data->name, s->data->test.n - 1);
            if (code) break;
            memcpy(image, s->data->test.images + index * size, size);
            label = s->data->test.labels[index];
        } else {
            code = read_image(what, s->model, image);
        }
        const cvy_batch batch = { .images = image, .dtype = CVY_U8, .n = 1 };
        enum cvy_status status = code ? CVY_OK : cvy_predictor_run(s->predictor, &batch, logits);
        if (status) code = cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx));
        if (!code) print_top(s, what, logits, o->top, label, t);
    }
    free(image);
    free(logits);
    return code;
}

static int run(int argc, char **argv)
{
    struct options o = { .top = 3, .trained.more = true };
    struct cli_session s = { 0 };
    cli_parse(&argp, argc, argv, &o);
    int code = cli_open_context(&s, &o.engine);
    if (!code) code = cli_open_checkpoint(&s, o.trained.run, o.trained.model);
    if (!code) code = cli_open_predictor(&s, 1);
    bool needed = o.data != NULL; /* files can do without the data set */
    for (size_t i = 0; i < o.n; i++) needed |= is_number(o.images[i]);
    if (!code && needed) code = cli_open_run_data(&s, o.data);
    if (!code) code = predict(&s, &o);
    cli_close(&s);
    return code;
}

const struct cli_command cli_predict = { "predict", "classes of single images", &argp, run };
