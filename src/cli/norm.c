/* `convoy norm`: what a normalization makes of a real batch. A convolution with first weights turns
 * images into correlated maps; one training step of the layer follows, and both tensors are
 * measured: means and variances of channels and of images, covariance of channels, distance to the
 * uniform and the normal distribution. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/screen.h"
#include "report/text.h"

enum { KEY_BATCH = 'b', KEY_SEED = 's', KEY_CHANNELS = 0x1000, KEY_SET, KEY_JSON };

/* The kinds: the layer as a model file has it. */
static const struct kind {
    const char *name, *layer;
} kinds[] = {
    { "bn", "{\"type\": \"batch_norm\"}" },
    { "ln", "{\"type\": \"layer_norm\"}" },
    { "gn", "{\"type\": \"group_norm\", \"groups\": 4}" },
    { "in", "{\"type\": \"instance_norm\"}" },
    { "dbn", "{\"type\": \"dbn\"}" },
    { "iternorm", "{\"type\": \"iter_norm\"}" },
    { "pit", "{\"type\": \"pit\"}" },
};
enum { KINDS = sizeof kinds / sizeof *kinds };
static const struct cli_alias aliases[] = { { "batch", "bn" },    { "batchnorm", "bn" },
                                            { "layer", "ln" },    { "layernorm", "ln" },
                                            { "group", "gn" },    { "groupnorm", "gn" },
                                            { "instance", "in" }, { "instancenorm", "in" },
                                            { NULL, NULL } };

struct options {
    cvy_context_options engine;
    const struct kind *kind;
    json_t *layer;
    const char *data, *json;
    size_t batch, channels;
    uint64_t seed;
};

static const struct argp_option options[] = {
    CLI_DATA("fashion-mnist"),
    { "batch", KEY_BATCH, "N", 0, "images (default 256)", 0 },
    { "channels", KEY_CHANNELS, "C", 0, "of the convolution (default 16)", 0 },
    { "set", KEY_SET, "KEY=VALUE", 0,
      "a setting of the layer, as a model file has it, e.g. groups=8 or eps=0.001; may be repeated",
      0 },
    { "seed", KEY_SEED, "N", 0, "of the convolution's weights (default 1)", 0 },
    { "json", KEY_JSON, "FILE", CLI_OUTPUT, "write the numbers there, too", 0 },
    { 0 }
};

static void choose(const struct argp_state *state, const char *word, struct options *o)
{
    const char *names[KINDS + 1] = { NULL };
    char list[200], hint[CLI_HINT];
    size_t used = 0;
    for (size_t i = 0; i < KINDS; i++) {
        names[i] = kinds[i].name;
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", kinds[i].name);
        if (word && !strcmp(word, kinds[i].name)) o->kind = &kinds[i];
    }
    if (!word) cli_refuse(state, "expected one of %s", list);
    if (!o->kind)
        cli_refuse(state, "expected one of %s, found '%.60s'%s", list, word,
                   cli_hint(word, "", names, aliases, hint));
}

static void set(const struct argp_state *state, const char *arg, struct options *o)
{
    char key[64];
    const char *equals = strchr(arg, '=');
    if (!equals || equals == arg || (size_t)(equals - arg) >= sizeof key)
        cli_refuse(state, "--set: expected KEY=VALUE, found '%.60s'", arg);
    snprintf(key, sizeof key, "%.*s", (int)(equals - arg), arg);
    json_t *value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
    json_object_set_new(o->layer, key, value ? value : json_string(equals + 1));
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &o->engine; return 0;
    case CLI_KEY_DATA: o->data = arg; return 0;
    case KEY_BATCH: o->batch = cli_integer(state, "batch", arg, 2, 1 << 16); return 0;
    case KEY_CHANNELS: o->channels = cli_integer(state, "channels", arg, 2, 256); return 0;
    case KEY_SET: set(state, arg, o); return 0;
    case KEY_SEED: o->seed = cli_integer(state, "seed", arg, 0, UINT64_MAX); return 0;
    case KEY_JSON: o->json = arg; return 0;
    case ARGP_KEY_ARG:
        if (o->kind) cli_refuse(state, "expected one kind, found '%.60s' too", arg);
        choose(state, arg, o);
        return 0;
    case ARGP_KEY_NO_ARGS: choose(state, NULL, o); return EINVAL;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = { { &cli_engine_argp, 0, NULL, 9 }, { 0 } };
static const struct argp argp = {
    .options = options,
    .parser = parse,
    .children = children,
    .args_doc = "bn|ln|gn|in|dbn|iternorm|pit",
    .doc = "Measures what a normalization makes of a batch: the maps of a 5x5 convolution with "
           "first weights, before it and behind it in training. bn: batch, ln: layer, gn: group, "
           "in: instance normalization; dbn, iternorm: whitening, exact and by iterations; pit: "
           "probability integral transform."
           "\vThe covariance is that of the channels, over all images and places. A distance to a "
           "distribution is Kolmogorov and Smirnov's, the largest difference of the distribution "
           "functions.\n\nExamples:\n"
           "  convoy norm bn\n"
           "  convoy norm gn --set groups=8 --channels 32 -d cifar10\n"
};

/* ------------------------------------------------------------------------------------- numbers */

/* Key, words, and the number of a tensor. */
#define NUMBERS(X)                                                                \
    X(MEAN, "channel_mean_largest", "channels: largest mean")                     \
    X(VAR_LEAST, "channel_variance_least", "channels: least variance")            \
    X(VAR_MOST, "channel_variance_most", "channels: largest variance")            \
    X(OFF, "covariance_off_diagonal", "covariance: largest off the diagonal")     \
    X(CORRELATION, "correlation_largest", "correlation of two channels: largest") \
    X(IDENTITY, "covariance_from_identity", "covariance: furthest from identity") \
    X(IMAGE_MEAN, "image_mean_largest", "images: largest mean")                   \
    X(IMAGE_VAR_LEAST, "image_variance_least", "images: least variance")          \
    X(IMAGE_VAR_MOST, "image_variance_most", "images: largest variance")          \
    X(UNIFORM, "ks_uniform", "distance to U(0,1), of the worst channel")          \
    X(NORMAL, "ks_normal", "distance to N(0,1), of the worst channel")
#define NUMBER(NAME, ...) NUMBER_##NAME,
enum { NUMBERS(NUMBER) N_NUMBERS };
#define NUMBER_INFO(NAME, key, words) { key, words },
static const struct {
    const char *key, *words;
} numbers[] = { NUMBERS(NUMBER_INFO) };

struct tensor {
    size_t n, c, m; /* images, channels, places in a map */
    double *x;      /* [c][n][m]: channel by channel */
};

static const double *channel(const struct tensor *t, size_t c) { return t->x + c * t->n * t->m; }

static double spread(double x, double *least, double *most)
{
    *least = fmin(*least, x);
    *most = fmax(*most, x);
    return x;
}

/* Biased, over all images and places: means [c], then covariances [c][c]. */
static void covariance(const struct tensor *t, double *mean, double *cov)
{
    const size_t m = t->n * t->m;
    for (size_t a = 0; a < t->c; a++) {
        mean[a] = 0;
        for (size_t i = 0; i < m; i++) mean[a] += channel(t, a)[i];
        mean[a] /= (double)m;
    }
    for (size_t a = 0; a < t->c; a++)
        for (size_t b = 0; b <= a; b++) {
            const double *x = channel(t, a), *y = channel(t, b);
            double sum = 0;
            for (size_t i = 0; i < m; i++) sum += (x[i] - mean[a]) * (y[i] - mean[b]);
            cov[a * t->c + b] = cov[b * t->c + a] = sum / (double)m;
        }
}

static void channel_numbers(const struct tensor *t, const double *mean, const double *cov,
                            double out[N_NUMBERS])
{
    out[NUMBER_VAR_LEAST] = INFINITY;
    for (size_t a = 0; a < t->c; a++) {
        const double var = spread(cov[a * t->c + a], &out[NUMBER_VAR_LEAST], &out[NUMBER_VAR_MOST]);
        out[NUMBER_MEAN] = fmax(out[NUMBER_MEAN], fabs(mean[a]));
        out[NUMBER_IDENTITY] = fmax(out[NUMBER_IDENTITY], fabs(var - 1));
        for (size_t b = 0; b < a; b++) {
            const double c = fabs(cov[a * t->c + b]), of = sqrt(var * cov[b * t->c + b]);
            out[NUMBER_OFF] = fmax(out[NUMBER_OFF], c);
            if (of > 0) out[NUMBER_CORRELATION] = fmax(out[NUMBER_CORRELATION], c / of);
        }
    }
    out[NUMBER_IDENTITY] = fmax(out[NUMBER_IDENTITY], out[NUMBER_OFF]);
}

static void image_numbers(const struct tensor *t, double out[N_NUMBERS])
{
    const size_t size = t->c * t->m;
    out[NUMBER_IMAGE_VAR_LEAST] = INFINITY;
    for (size_t i = 0; i < t->n; i++) {
        double mean = 0, var = 0;
        for (size_t k = 0; k < size; k++)
            mean += channel(t, k / t->m)[i * t->m + k % t->m] / (double)size;
        for (size_t k = 0; k < size; k++)
            var += pow(channel(t, k / t->m)[i * t->m + k % t->m] - mean, 2) / (double)size;
        spread(var, &out[NUMBER_IMAGE_VAR_LEAST], &out[NUMBER_IMAGE_VAR_MOST]);
        out[NUMBER_IMAGE_MEAN] = fmax(out[NUMBER_IMAGE_MEAN], fabs(mean));
    }
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double uniform(double x) { return fmin(fmax(x, 0), 1); }
static double normal(double x) { return 0.5 * erfc(-x / sqrt(2)); }

/* Of m sorted values: the largest difference of the distribution functions, before and behind each
 * jump of the empirical one. */
static double distance(const double *sorted, size_t m, double (*f)(double))
{
    double largest = 0;
    for (size_t i = 0; i < m; i++) {
        const double p = f(sorted[i]);
        largest = fmax(largest, fmax(p - (double)i / (double)m, (double)(i + 1) / (double)m - p));
    }
    return largest;
}

static bool measure(const struct tensor *t, double out[N_NUMBERS])
{
    const size_t m = t->n * t->m;
    double *sorted = malloc(m * sizeof *sorted), *mean = malloc(t->c * sizeof *mean),
           *cov = malloc(t->c * t->c * sizeof *cov);
    const bool good = sorted && mean && cov;
    for (size_t k = 0; k < N_NUMBERS; k++) out[k] = 0;
    if (good) {
        covariance(t, mean, cov);
        channel_numbers(t, mean, cov, out);
        image_numbers(t, out);
    }
    for (size_t a = 0; good && a < t->c; a++) {
        memcpy(sorted, channel(t, a), m * sizeof *sorted);
        qsort(sorted, m, sizeof *sorted, compare);
        out[NUMBER_UNIFORM] = fmax(out[NUMBER_UNIFORM], distance(sorted, m, uniform));
        out[NUMBER_NORMAL] = fmax(out[NUMBER_NORMAL], distance(sorted, m, normal));
    }
    free(sorted);
    free(mean);
    free(cov);
    return good;
}

/* ------------------------------------------------------------------------------------- the step */

/* What is told as a fact has to hold to this. */
#define CLOSE 0.02

static json_t *model_of(const struct options *o, const struct data_set *d)
{
    json_t *norm = json_deep_copy(o->layer);
    json_object_set_new(norm, "name", json_string("norm"));
    return json_pack("{s:s, s:[I, I, I], s:s, s:[{s:s, s:s, s:I, s:i}, o, {s:s}, {s:s, s:s, s:I}]}",
                     "name", "norm", "input", (json_int_t)d->c, (json_int_t)d->h, (json_int_t)d->w,
                     "data", d->name, "layers", "type", "conv2d", "name", "conv", "out_channels",
                     (json_int_t)o->channels, "kernel", 5, norm, "type", "flatten", "type",
                     "linear", "name", "fc", "out_features", (json_int_t)d->classes);
}

static int open_all(struct cli_session *s, const struct options *o)
{
    char error[CLI_ERROR];
    enum data_status opened = data_open(o->data, NULL, false, &s->data, error, sizeof error);
    if (opened) return cli_fail_data(opened, o->data, error);
    json_t *json = model_of(o, s->data);
    char *text = model_dump(json);
    json_decref(json);
    enum model_status parsed =
        model_parse("convoy norm", text, strlen(text), NULL, &s->model, error, sizeof error);
    free(text);
    if (parsed) return cli_fail(cli_code_model(parsed), "%s", error);
    int code = cli_open_context(s, &o->engine);
    if (!code) code = cli_open_net(s);
    if (code) return code;
    if (s->data->train.n < o->batch)
        return cli_fail(CLI_USAGE, "--batch: expected at most %zu, the images of %s, found %zu",
                        s->data->train.n, s->data->name, o->batch);
    const cvy_trainer_options trainer = { .batch = o->batch,
                                          .seed = o->seed,
                                          .keep_tensors = true,
                                          .input = model_input(s->model),
                                          .optimizer = s->model->defaults.optimizer,
                                          .init = model_init(&s->model->defaults, o->seed) };
    enum cvy_status status = cvy_trainer_create(s->net, s->logits, &trainer, &s->trainer);
    return status ? cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx)) : CLI_OK;
}

/* Channels in front of images. False: out of memory. */
static bool turn(struct tensor *t)
{
    double *x = malloc(t->n * t->c * t->m * sizeof *x);
    for (size_t i = 0; x && i < t->n * t->c; i++)
        memcpy(x + (i % t->c * t->n + i / t->c) * t->m, t->x + i * t->m, t->m * sizeof *x);
    free(t->x);
    t->x = x;
    return x != NULL;
}

/* The kept tensor of that name; x is the caller's. */
static int fetch(const struct cli_session *s, const char *name, struct tensor *t)
{
    cvy_tensor_info info;
    for (size_t i = 0; i < cvy_trainer_tensors(s->trainer); i++) {
        if (cvy_trainer_tensor(s->trainer, i, &info) || strcmp(info.name, name)) continue;
        *t = (struct tensor){ info.shape.n, info.shape.c, info.shape.h * info.shape.w, NULL };
        const size_t count = t->n * t->c * t->m;
        if (!(t->x = malloc(count * sizeof *t->x))) return cli_fail(CLI_NOMEM, "out of memory");
        enum cvy_status status = cvy_trainer_tensor_get(s->trainer, i, t->x, count);
        if (status) return cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx));
        return turn(t) ? CLI_OK : cli_fail(CLI_NOMEM, "out of memory");
    }
    return cli_fail(CLI_BAD, "no tensor is named %s", name);
}

static int look(const struct cli_session *s, const char *name, double out[N_NUMBERS])
{
    struct tensor t = { .x = NULL };
    int code = fetch(s, name, &t);
    if (!code && !measure(&t, out)) code = cli_fail(CLI_NOMEM, "out of memory");
    free(t.x);
    return code;
}

/* The layer's output is what flatten reads: some layers are more than one node. */
static const char *output_name(const struct cli_session *s)
{
    cvy_node_info node, from;
    for (size_t i = 0; i < cvy_net_nodes(s->net); i++)
        if (!cvy_net_node(s->net, i, &node) && !strcmp(node.type, "flatten") &&
            !cvy_net_node(s->net, (size_t)node.inputs[0], &from))
            return from.name;
    return "norm";
}

/* What the numbers say, in a sentence. */
static void conclude(const struct options *o, const double n[N_NUMBERS], char *out, size_t size)
{
    const double channels = fmax(n[NUMBER_MEAN],
                                 fmax(fabs(n[NUMBER_VAR_LEAST] - 1), fabs(n[NUMBER_VAR_MOST] - 1))),
                 images = fmax(n[NUMBER_IMAGE_MEAN], fmax(fabs(n[NUMBER_IMAGE_VAR_LEAST] - 1),
                                                          fabs(n[NUMBER_IMAGE_VAR_MOST] - 1)));
    const char *kind = o->kind->name;
    if (n[NUMBER_UNIFORM] < CLOSE)
        snprintf(out, size, "%s: every channel is uniform on (0,1), %.2g from it at most.", kind,
                 n[NUMBER_UNIFORM]);
    else if (n[NUMBER_UNIFORM] < n[NUMBER_NORMAL] / 2)
        snprintf(out, size,
                 "%s: every channel is spread over (0,1), %.2f from uniform at most; channels stay "
                 "correlated, up to %.2f.",
                 kind, n[NUMBER_UNIFORM], n[NUMBER_CORRELATION]);
    else if (n[NUMBER_IDENTITY] < CLOSE)
        snprintf(out, size,
                 "%s: the channels' covariance is the identity, %.2g from it at most: no two "
                 "channels are correlated.",
                 kind, n[NUMBER_IDENTITY]);
    else if (channels < CLOSE)
        snprintf(out, size,
                 "%s: every channel has mean 0 and variance 1, %.2g from it at most; channels stay "
                 "correlated, up to %.2f.",
                 kind, channels, n[NUMBER_CORRELATION]);
    else if (images < CLOSE)
        snprintf(out, size,
                 "%s: every image has mean 0 and variance 1, %.2g from it at most; channels do not "
                 "(variances from %.2g to %.2g), and stay correlated, up to %.2f.",
                 kind, images, n[NUMBER_VAR_LEAST], n[NUMBER_VAR_MOST], n[NUMBER_CORRELATION]);
    else
        snprintf(out, size,
                 "%s: channels have means up to %.2g and variances from %.2g to %.2g, and are "
                 "correlated up to %.2f.",
                 kind, n[NUMBER_MEAN], n[NUMBER_VAR_LEAST], n[NUMBER_VAR_MOST],
                 n[NUMBER_CORRELATION]);
}

static int write_json(const struct options *o, const struct cli_session *s,
                      double both[2][N_NUMBERS], const char *sentence)
{
    json_t *json =
        json_pack("{s:s, s:s, s:O, s:s, s:I, s:I, s:s}", "convoy", cvy_version(), "kind",
                  o->kind->name, "layer", o->layer, "data", s->data->name, "batch",
                  (json_int_t)o->batch, "channels", (json_int_t)o->channels, "found", sentence);
    for (size_t side = 0; side < 2; side++) {
        json_t *object = json_object();
        for (size_t k = 0; k < N_NUMBERS; k++)
            json_object_set_new(object, numbers[k].key,
                                isfinite(both[side][k]) ? json_real(both[side][k]) : json_null());
        json_object_set_new(json, side ? "behind" : "before", object);
    }
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(json);
    int code = text ? cli_write(o->json, text) : cli_fail(CLI_NOMEM, "out of memory");
    free(text);
    return code;
}

static int carry_out(struct cli_session *s, const struct options *o)
{
    double both[2][N_NUMBERS];
    char sentence[400];
    cvy_step_result result;
    const cvy_batch batch = { .images = s->data->train.images,
                              .dtype = CVY_U8,
                              .labels8 = s->data->train.labels,
                              .n = o->batch };
    enum cvy_status status = cvy_trainer_step(s->trainer, &batch, &result);
    if (status) return cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx));
    int code = look(s, "conv", both[0]);
    if (!code) code = look(s, output_name(s), both[1]);
    if (code) return code;
    printf("%s of %zu images of %s, %zu channels\n\n", o->kind->name, o->batch, s->data->name,
           o->channels);
    printf("%-38s %10s %10s\n", "", "before", "behind");
    for (size_t k = 0; k < N_NUMBERS; k++)
        printf("%-38s %10.3g %10.3g\n", numbers[k].words, both[0][k], both[1][k]);
    conclude(o, both[1], sentence, sizeof sentence);
    const size_t columns = cli_columns(STDOUT_FILENO);
    putchar('\n');
    text_wrap(stdout, sentence, 0, 0, columns < SCREEN ? columns - 1 : SCREEN);
    return o->json ? write_json(o, s, both, sentence) : CLI_OK;
}

static int run(int argc, char **argv)
{
    struct options o = { .data = "fashion-mnist", .batch = 256, .channels = 16, .seed = 1 };
    struct cli_session s = { 0 };
    json_t *settings = o.layer = json_object();
    cli_parse(&argp, argc, argv, &o);
    o.layer = json_loads(o.kind->layer, 0, NULL);
    json_object_update(o.layer, settings);
    int code = open_all(&s, &o);
    if (!code) code = carry_out(&s, &o);
    json_decref(settings);
    json_decref(o.layer);
    cli_close(&s);
    return code;
}

const struct cli_command cli_norm = { "norm", "measure what a normalization makes of a batch",
                                      &argp, run };
