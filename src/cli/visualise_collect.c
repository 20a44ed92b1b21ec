/* What `convoy visualise` draws: parameters by name, sample images and what every layer makes of
 * them, which classes are taken for which. */
#include "cli/visualise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/screen.h"
#include "cli/train.h"

enum { BATCH = 256 }; /* of the predictor */

static int engine(const struct cli_session *s, enum cvy_status status)
{
    return cli_fail(cli_code_cvy(status), "%s", cvy_message(s->ctx));
}

static int no_memory(void) { return cli_fail(CLI_NOMEM, "out of memory"); }

/* --------------------------------------------------------------------------- layers, parameters */

/* The layer and the part of it that a parameter is; false: neither is known. */
static bool part_of(struct visual *v, const char *name, struct visual_param **out)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < v->n_layers; i++) {
        const char *layer = v->layer[i].node.name;
        if (strlen(layer) != (size_t)(dot - name) || strncmp(layer, name, strlen(layer))) continue;
        for (int p = 0; p < VISUAL_PARTS; p++) {
            *out = &v->layer[i].part[p];
            if (!strcmp(dot + 1, visual_parts[p])) return true;
        }
    }
    return false;
}

static int collect_params(const struct cli_session *s, struct visual *v)
{
    cvy_param_info info;
    for (int k = CVY_PARAM_WEIGHT; k <= CVY_PARAM_RUNNING; k++) {
        const enum cvy_param_kind kind = (enum cvy_param_kind)k;
        for (size_t i = 0; !cvy_predictor_param(s->predictor, kind, i, &info); i++) {
            struct visual_param *p;
            if (!part_of(v, info.name, &p)) continue;
            *p = (struct visual_param){ .rank = info.rank, .count = info.count };
            memcpy(p->dims, info.dims, sizeof p->dims);
            if (!(p->values = malloc((info.count + 1) * sizeof *p->values))) return no_memory();
            enum cvy_status status =
                cvy_predictor_get(s->predictor, kind, info.name, p->values, info.count);
            if (status) return engine(s, status);
        }
    }
    return CLI_OK;
}

int cli_visualise_layers(const struct cli_session *s, struct visual *v)
{
    const size_t n = cvy_net_nodes(s->net);
    if (!(v->layer = calloc(n, sizeof *v->layer))) return no_memory();
    v->n_layers = n;
    for (size_t i = 0; i < n; i++) {
        enum cvy_status status = cvy_net_node(s->net, i, &v->layer[i].node);
        if (status) return engine(s, status);
        if (cvy_net_tensor(s->net, i) == s->logits) v->logits = i;
    }
    return collect_params(s, v);
}

/* ---------------------------------------------------------------------------------- activations */

/* Random images of the first mini-batch that the run trained on. */
static int choose_samples(const struct cli_session *s, const struct cli_visualise_options *o,
                          const struct cli_train_config *c, struct visual *v)
{
    const size_t size = s->data->c * s->data->h * s->data->w, n = c->trained,
                 batch = c->d.batch < n ? c->d.batch : n;
    const struct sampling order = { c->d.sampling, c->d.sampling_buffer },
                          shuffled = { SAMPLING_SHUFFLED, 1 };
    uint32_t *images = malloc((n + batch) * sizeof *images), *chosen = images + n;
    v->n_samples = o->samples < batch ? o->samples : batch;
    v->sample = calloc(v->n_samples + 1, sizeof *v->sample);
    v->image = calloc(v->n_samples * size + 1, sizeof *v->image);
    if (!images || !v->sample || !v->image) {
        free(images);
        return no_memory();
    }
    sampling_fill(&order, images, n, c->seed, 0);
    sampling_fill(&shuffled, chosen, batch, o->seed, 0);
    for (size_t i = 0; i < v->n_samples; i++) {
        const size_t at = images[chosen[i]];
        v->sample[i] = (struct visual_sample){ at, s->data->train.labels[at] };
        for (size_t k = 0; k < size; k++)
            v->image[i * size + k] = s->data->train.images[at * size + k];
    }
    free(images);
    return CLI_OK;
}

static int collect_activation(const struct cli_session *s, struct visual *v, size_t i,
                              const uint8_t *images)
{
    const cvy_shape shape = v->layer[i].node.out;
    const cvy_input_desc input = model_input(s->model);
    const cvy_batch batch = { .images = images, .dtype = CVY_U8, .n = v->n_samples };
    float *out = malloc((v->n_samples * shape.c * shape.h * shape.w + 1) * sizeof *out);
    if (!out) return no_memory();
    v->layer[i].activation = out;
    cvy_predictor *p = NULL;
    enum cvy_status status =
        cvy_predictor_create(s->net, cvy_net_tensor(s->net, i), v->n_samples, &input, NULL, &p);
    if (!status) status = cli_copy_params(s->predictor, p);
    if (!status) status = cvy_predictor_run(p, &batch, out);
    cvy_predictor_destroy(&p);
    if (status == CVY_E_NOMEM) return no_memory();
    return status ? engine(s, status) : CLI_OK;
}

/* Of the layers that the logits depend on: others are no part of what was trained. */
static int collect_activations(const struct cli_session *s, struct visual *v)
{
    const size_t n = v->n_samples * s->data->c * s->data->h * s->data->w;
    if (!v->n_samples) return CLI_OK;
    uint8_t *images = malloc(n + 1);
    if (!images) return no_memory();
    for (size_t i = 0; i < n; i++) images[i] = (uint8_t)v->image[i];
    bool *part = calloc(v->n_layers, sizeof *part);
    int code = part ? CLI_OK : no_memory();
    for (size_t i = v->n_layers; !code && i-- > 0;) { /* readers stand behind what they read */
        part[i] |= i == v->logits;
        for (size_t k = 0; part[i] && k < v->layer[i].node.n_inputs; k++)
            part[v->layer[i].node.inputs[k]] = true;
        if (i && part[i]) code = collect_activation(s, v, i, images);
    }
    free(part);
    free(images);
    return code;
}

/* ------------------------------------------------------------------------------------- matrices */

static int count_batch(const struct cli_session *s, struct visual *v, uint64_t *count,
                       const uint8_t *images, const uint8_t *labels, size_t n, float *logits)
{
    const cvy_batch batch = { .images = images, .dtype = CVY_U8, .n = n };
    enum cvy_status status = cvy_predictor_run(s->predictor, &batch, logits);
    if (status) return engine(s, status);
    for (size_t i = 0; i < n; i++) {
        const float *row = logits + i * v->classes;
        size_t best = 0;
        for (size_t k = 1; k < v->classes; k++)
            if (row[k] > row[best]) best = k;
        count[labels[i] * v->classes + best]++;
    }
    return CLI_OK;
}

int cli_visualise_matrix(const struct cli_session *s, struct visual *v, const char *split,
                         const struct train_split *images)
{
    const size_t size = s->data->c * s->data->h * s->data->w;
    struct cli_screen screen = cli_screen_open();
    struct visual_matrix *m = &v->matrix[v->n_matrices];
    *m = (struct visual_matrix){ split, calloc(v->classes * v->classes, sizeof *m->count) };
    float *logits = calloc(BATCH, v->classes * sizeof *logits);
    int code = m->count && logits ? CLI_OK : no_memory();
    v->n_matrices += m->count != NULL;
    for (size_t first = 0; first < images->n && !code; first += BATCH) {
        const size_t n = images->n - first < BATCH ? images->n - first : BATCH;
        const char *const parts[] = { "counting", split, NULL };
        if (cli_screen_due(&screen))
            cli_screen_show(&screen, (double)first / (double)images->n, parts);
        code = count_batch(s, v, m->count, images->images + first * size, images->labels + first, n,
                           logits);
    }
    cli_screen_clear(&screen);
    free(logits);
    return code;
}

static int collect_matrices(const struct cli_session *s, const struct cli_visualise_options *o,
                            const struct cli_train_config *c, struct visual *v)
{
    const struct data_split *train = &s->data->train, *test = &s->data->test;
    const size_t size = s->data->c * s->data->h * s->data->w;
    const struct train_split splits[VISUAL_MATRICES] = {
        { test->images, test->labels, test->n, NULL },
        { train->images, train->labels, c->trained, NULL },
        { train->images + c->valid * size, train->labels + c->valid, train->n - c->valid, NULL }
    };
    static const char *const names[] = { "test", "train", "validation" };
    static const enum cli_confusion wanted[] = { CONFUSION_TEST, CONFUSION_TRAIN,
                                                 CONFUSION_VALIDATION };
    int code = CLI_OK;
    for (size_t i = 0; i < VISUAL_MATRICES && !code; i++)
        if (splits[i].n && (o->confusion == CONFUSION_ALL || o->confusion == wanted[i]))
            code = cli_visualise_matrix(s, v, names[i], &splits[i]);
    if (!code && o->confusion == CONFUSION_VALIDATION && !v->n_matrices)
        code = cli_fail(CLI_USAGE, "--confusion=validation: the run has no validation images");
    return code;
}

/* ------------------------------------------------------------------------------------------ all */

/* The settings of the run, if the file is of one; else the model's. */
static int settings(const struct cli_session *s, struct cli_train_config *c)
{
    c->d = s->model->defaults;
    c->seed = 1;
    if (checkpoint_text(s->checkpoint, "convoy.config")) {
        int code = cli_train_config_restore(c, s);
        if (code) return code;
    } else {
        c->d.validation = 0;
    }
    return s->data ? cli_train_config_split(c, s->data->train.n) : CLI_OK;
}

static uint64_t epochs_of(const struct checkpoint *checkpoint)
{
    const char *text = checkpoint_text(checkpoint, "convoy.position");
    json_t *json = json_loads(text ? text : "", 0, NULL);
    const json_t *epoch = json_object_get(json, "epoch");
    const uint64_t n = json_is_integer(epoch) ? (uint64_t)json_integer_value(epoch) : UINT64_MAX;
    json_decref(json);
    return n;
}

int cli_visualise_collect(struct cli_session *s, const struct cli_visualise_options *o,
                          struct visual *v)
{
    struct cli_train_config c = { 0 };
    v->model = s->model->name;
    v->classes = cvy_tensor_shape(s->net, s->logits).c;
    v->epoch = epochs_of(s->checkpoint);
    snprintf(v->weights, sizeof v->weights, "%s", s->checkpoint->where);
    int code = settings(s, &c);
    v->momentum = c.d.optimizer.momentum;
    if (!code) code = cli_visualise_layers(s, v);
    if (code || !s->data) return code;
    v->data = s->data->name;
    v->class_names = s->data->class_names;
    code = choose_samples(s, o, &c, v);
    if (!code) code = collect_activations(s, v);
    return code ? code : collect_matrices(s, o, &c, v);
}
