/* `convoy infer --fuse`: folds batch norms into the layers before them, compares the net with what
 * it was, and writes it. */
#include "cli/train.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_OUTPUT = 'o', KEY_FUSE = 0x1000, KEY_JSON, KEY_BATCH, KEY_TIMES };

struct options {
    cvy_context_options engine;
    struct cli_trained trained;
    const char *data, *output, *json;
    size_t batch, times;
    bool fuse;
};

static const struct argp_option options[] = {
    { "fuse", KEY_FUSE, NULL, 0,
      "fold batch norms into the convolutions and linear layers before them", 0 },
    { "output", KEY_OUTPUT, "PATH", 0,
      "write the folded net: to a file, if it ends in .safetensors, else to a new directory, which "
      "eval and predict take like a run's",
      0 },
    CLI_DATA("what the run was trained on"),
    { "batch", KEY_BATCH, "N", 0, "images at a time (default 256)", 0 },
    { "times", KEY_TIMES, "N", 0, "how often each net is timed, taking turns (default 11)", 0 },
    { "json", KEY_JSON, "FILE", CLI_OUTPUT, "write the results as JSON", 0 },
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
    case KEY_FUSE: o->fuse = true; return 0;
    case KEY_OUTPUT: o->output = arg; return 0;
    case CLI_KEY_DATA: o->data = arg; return 0;
    case KEY_JSON: o->json = arg; return 0;
    case KEY_BATCH: o->batch = cli_integer(state, "batch", arg, 1, 1 << 20); return 0;
    case KEY_TIMES: o->times = cli_integer(state, "times", arg, 1, 10000); return 0;
    case ARGP_KEY_END:
        if (!o->fuse)
            cli_refuse(state, "expected --fuse: as it is a net is used by eval and predict");
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
    .doc =
        "Makes a trained net ready for use: a batch norm behind a convolution or linear layer "
        "that nothing else reads is folded into its weights and bias, W' = W gamma / sqrt(var + "
        "eps), b' = (b - mean) gamma / sqrt(var + eps) + beta. Tells how far the outputs for all "
        "test images differ from what they were, and both nets' accuracy and speed."
        "\vExamples:\n"
        "  convoy infer run --fuse\n"
        "  convoy infer run --fuse --output folded; convoy eval folded\n"
};

/* ---------------------------------------------------------------------------------- the numbers */

struct folding {
    struct cli_session *was;
    struct cli_session is; /* its context and data are the other's */
    struct model_fold *folds;
    size_t n;
};

/* The parameter of that name, the caller's; NULL: none (*count 0), or no memory. */
static double *get_named(const cvy_predictor *p, const char *name, size_t *count)
{
    cvy_param_info info;
    *count = 0;
    for (int kind = CVY_PARAM_WEIGHT; kind <= CVY_PARAM_RUNNING; kind++)
        for (size_t i = 0; i < cvy_predictor_params(p, (enum cvy_param_kind)kind); i++) {
            if (cvy_predictor_param(p, (enum cvy_param_kind)kind, i, &info) ||
                strcmp(info.name, name))
                continue;
            double *values = malloc(info.count * sizeof *values);
            *count = info.count;
            if (values && !cvy_predictor_get64(p, info.kind, name, values, info.count))
                return values;
            free(values);
            return NULL;
        }
    return NULL;
}

static double *get(const cvy_predictor *p, const char *layer, const char *what, size_t *count)
{
    char name[MODEL_NAME_LIMIT + 32];
    snprintf(name, sizeof name, "%s.%s", layer, what);
    return get_named(p, name, count);
}

static enum cvy_status set(cvy_predictor *p, const char *layer, const char *what,
                           const double *values, size_t count)
{
    char name[MODEL_NAME_LIMIT + 32];
    snprintf(name, sizeof name, "%s.%s", layer, what);
    return cvy_predictor_set64(p, CVY_PARAM_WEIGHT, name, values, count);
}

/* In double, and once more rounded. */
static enum cvy_status fold_one(const struct folding *g, const struct model_fold *f)
{
    const cvy_predictor *from = g->was->predictor;
    size_t n, channels, none, gammas, betas;
    double *w = get(from, f->layer, "weight", &n), *b = get(from, f->layer, "bias", &none),
           *mean = get(from, f->norm, "running_mean", &channels),
           *var = get(from, f->norm, "running_var", &channels),
           *gamma = get(from, f->norm, "weight", &gammas),
           *beta = get(from, f->norm, "bias", &betas), *bias = malloc(channels * sizeof *bias);
    enum cvy_status status =
        w && mean && var && bias && !b == !none && !gamma == !gammas && !beta == !betas
            ? CVY_OK
            : CVY_E_NOMEM;
    for (size_t c = 0; c < channels && !status; c++) {
        const double a = (gamma ? gamma[c] : 1) / sqrt(var[c] + f->eps);
        bias[c] = ((b ? b[c] : 0) - mean[c]) * a + (beta ? beta[c] : 0);
        for (size_t i = n / channels * c; i < n / channels * (c + 1); i++) w[i] *= a;
    }
    if (!status) status = set(g->is.predictor, f->layer, "weight", w, n);
    if (!status) status = set(g->is.predictor, f->layer, "bias", bias, channels);
    free(w);
    free(b);
    free(mean);
    free(var);
    free(gamma);
    free(beta);
    free(bias);
    return status;
}

static int fail_engine(const struct folding *g, enum cvy_status status)
{
    if (!status) return CLI_OK;
    return cli_fail(cli_code_cvy(status), "%s: %s", g->was->model->where,
                    status == CVY_E_NOMEM ? "out of memory" : cvy_message(g->was->ctx));
}

/* All that both nets have. A bias that was not there is set by folding. */
static enum cvy_status copy_all(const struct folding *g)
{
    cvy_predictor *to = g->is.predictor;
    enum cvy_status status = CVY_OK;
    for (int kind = CVY_PARAM_WEIGHT; kind <= CVY_PARAM_RUNNING; kind++)
        for (size_t i = 0; i < cvy_predictor_params(to, (enum cvy_param_kind)kind) && !status;
             i++) {
            cvy_param_info info;
            size_t count = 0;
            double *values = NULL;
            status = cvy_predictor_param(to, (enum cvy_param_kind)kind, i, &info);
            if (!status) values = get_named(g->was->predictor, info.name, &count);
            if (!status && count && !values) status = CVY_E_NOMEM;
            if (!status && values)
                status = cvy_predictor_set64(to, info.kind, info.name, values, count);
            free(values);
        }
    return status;
}

static int fold(struct folding *g, size_t batch)
{
    char error[CLI_ERROR];
    enum model_status made =
        model_fold(g->was->model, &g->folds, &g->n, &g->is.model, error, sizeof error);
    if (made) return cli_fail(cli_code_model(made), "%s", error);
    g->is.ctx = g->was->ctx;
    g->is.data = g->was->data;
    int code = cli_open_net(&g->is);
    if (code) return code;
    const cvy_input_desc input = model_input(g->is.model);
    enum cvy_status status =
        cvy_predictor_create(g->is.net, g->is.logits, batch, &input, NULL, &g->is.predictor);
    if (!status) status = copy_all(g);
    for (size_t i = 0; i < g->n && !status; i++)
        if (!g->folds[i].why_not) status = fold_one(g, &g->folds[i]);
    return fail_engine(g, status);
}

/* ------------------------------------------------------------------------------------ comparing */

struct comparison {
    double difference, largest; /* of logits */
    size_t equal, right[2], n;
    double seconds[2]; /* an image, median */
};

static size_t best_of(const float *logits, size_t classes)
{
    size_t best = 0;
    for (size_t k = 1; k < classes; k++)
        if (logits[k] > logits[best]) best = k;
    return best;
}

static void look(struct comparison *c, float *const logits[2], size_t classes, size_t label)
{
    size_t best[2];
    for (int k = 0; k < 2; k++) {
        best[k] = best_of(logits[k], classes);
        c->right[k] += best[k] == label;
    }
    c->equal += best[0] == best[1];
    c->n++;
    for (size_t i = 0; i < classes; i++) {
        c->difference = fmax(c->difference, fabs((double)logits[0][i] - (double)logits[1][i]));
        c->largest = fmax(c->largest, fabs((double)logits[0][i]));
    }
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The first batch, in turns. */
static enum cvy_status time_both(struct comparison *c, cvy_predictor *const p[2],
                                 const cvy_batch *batch, float *out, double *seconds, size_t times)
{
    enum cvy_status status = CVY_OK;
    for (size_t i = 0; i < 2 * (times + 1) && !status; i++) {
        double start = train_now();
        status = cvy_predictor_run(p[i % 2], batch, out);
        if (i >= 2) seconds[i % 2 * times + i / 2 - 1] = train_now() - start;
    }
    for (int k = 0; k < 2; k++) {
        double *s = seconds + (size_t)k * times;
        qsort(s, times, sizeof *s, by_size);
        c->seconds[k] = (s[(times - 1) / 2] + s[times / 2]) / 2 / (double)batch->n;
    }
    return status;
}

static int compare(const struct folding *g, const struct options *o, struct comparison *c)
{
    const struct data_split *test = &g->was->data->test;
    const size_t classes = cvy_tensor_shape(g->was->net, g->was->logits).c,
                 size = g->was->data->c * g->was->data->h * g->was->data->w;
    cvy_predictor *const p[2] = { g->was->predictor, g->is.predictor };
    float *out[2] = { malloc(o->batch * classes * sizeof(float)),
                      malloc(o->batch * classes * sizeof(float)) };
    double *seconds = malloc(2 * o->times * sizeof *seconds);
    enum cvy_status status = out[0] && out[1] && seconds ? CVY_OK : CVY_E_NOMEM;
    cvy_batch batch = { .images = test->images, .dtype = CVY_U8 };
    for (size_t at = 0; at < test->n && !status; at += batch.n) {
        batch.images = test->images + at * size;
        batch.n = test->n - at < o->batch ? test->n - at : o->batch;
        for (int k = 0; k < 2 && !status; k++) status = cvy_predictor_run(p[k], &batch, out[k]);
        for (size_t i = 0; i < batch.n && !status; i++)
            look(c, (float *const[]){ out[0] + i * classes, out[1] + i * classes }, classes,
                 test->labels[at + i]);
    }
    batch.images = test->images;
    batch.n = test->n < o->batch ? test->n : o->batch;
    if (!status) status = time_both(c, p, &batch, out[0], seconds, o->times);
    free(out[0]);
    free(out[1]);
    free(seconds);
    return fail_engine(g, status);
}

/* -------------------------------------------------------------------------------------- telling */

static void print(const struct folding *g, const struct comparison *c, size_t times)
{
    static const char *const names[2] = { "as trained", "folded" };
    for (size_t i = 0; i < g->n; i++) {
        const struct model_fold *f = &g->folds[i];
        if (f->why_not) printf("%-20s stays: %s\n", f->norm, f->why_not);
        else printf("%-20s into %s\n", f->norm, f->layer);
    }
    printf("largest difference of outputs %.3g (%.2g of the largest)\n", c->difference,
           c->largest > 0 ? c->difference / c->largest : 0);
    printf("equal predictions %zu of %zu\n", c->equal, c->n);
    for (int k = 0; k < 2; k++)
        printf("%-12s acc %.4f  %9.3f us an image  %12.1f examples/sec\n", names[k],
               (double)c->right[k] / (double)c->n, 1e6 * c->seconds[k], 1 / c->seconds[k]);
    printf("speed-up %.2f (median of %zu, in turns)\n", c->seconds[0] / c->seconds[1], times);
}

static int write_json(const char *path, const struct folding *g, const struct comparison *c)
{
    json_t *layers = json_array();
    for (size_t i = 0; i < g->n; i++) {
        const struct model_fold *f = &g->folds[i];
        json_array_append_new(layers, json_pack("{s:s, s:s*, s:s*}", "norm", f->norm, "into",
                                                f->why_not ? NULL : f->layer, "stays", f->why_not));
    }
    json_t *json = json_pack(
        "{s:s, s:o, s:f, s:f, s:I, s:I, s:[f,f], s:[f,f], s:f}", "model", g->was->model->name,
        "batch_norms", layers, "difference", c->difference, "largest_output", c->largest, "images",
        (json_int_t)c->n, "equal_predictions", (json_int_t)c->equal, "accuracy",
        (double)c->right[0] / (double)c->n, (double)c->right[1] / (double)c->n, "seconds_an_image",
        c->seconds[0], c->seconds[1], "speed_up", c->seconds[0] / c->seconds[1]);
    char *text = model_dump(json);
    int code = text ? cli_write(path, text) : cli_fail(CLI_NOMEM, "out of memory");
    free(text);
    json_decref(json);
    return code;
}

/* A file, or a directory with the same and the model. */
static int write_net(const struct folding *g, const char *output)
{
    const size_t length = strlen(output);
    const bool file = length > 12 && !strcmp(output + length - 12, ".safetensors");
    const char *config = checkpoint_text(g->was->checkpoint, "convoy.config");
    char path[PATH_MAX], error[CLI_ERROR];
    bool taken = false;
    enum train_status status = TRAIN_OK;
    if ((size_t)snprintf(path, sizeof path, "%s%s", output, file ? "" : "/" TRAIN_CHECKPOINT) >=
        sizeof path)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", output);
    json_t *metadata =
        json_pack("{s:s, s:s*}", "convoy.model", g->is.model->json, "convoy.config", config);
    const struct checkpoint_also also = { .mean = cli_mean(g->is.model) };
    if (!file) status = files_new_directory(output, &taken, error, sizeof error);
    const bool made = !file && !status;
    if (!status)
        status =
            checkpoint_save_predictor(path, g->is.predictor, &also, metadata, error, sizeof error);
    json_decref(metadata);
    int code = status ? cli_fail(cli_code_train(status), "%s", error) : CLI_OK;
    if (!code && !file) code = cli_train_write_text(output, "model.json", g->is.model->json);
    if (code && made) { /* a directory without its model is no run */
        unlink(path);
        rmdir(output);
    }
    if (!code) printf("written: %s\n", output);
    return code;
}

static int run(int argc, char **argv)
{
    struct options o = { .batch = 256, .times = 11 };
    struct cli_session s = { 0 };
    struct folding g = { .was = &s };
    struct comparison c = { 0 };
    cli_parse(&argp, argc, argv, &o);
    int code = cli_open_context(&s, &o.engine);
    if (!code) code = cli_open_checkpoint(&s, o.trained.run, o.trained.model);
    if (!code) code = cli_open_predictor(&s, o.batch);
    if (!code) code = cli_open_run_data(&s, o.data);
    if (!code) code = fold(&g, o.batch);
    if (!code) code = compare(&g, &o, &c);
    if (!code) print(&g, &c, o.times);
    if (!code && o.json) code = write_json(o.json, &g, &c);
    if (!code && o.output) code = write_net(&g, o.output);
    free(g.folds);
    g.is.ctx = NULL;
    g.is.data = NULL;
    cli_close(&g.is);
    cli_close(&s);
    return code;
}

const struct cli_command cli_infer = { "infer", "fold batch norms into a trained net", &argp, run };
