/* Whole training steps on random images: gathering, forward, loss, backward, update. The share of
 * the FMA peak counts the convolutions and linear layers as they are defined, forward and both
 * gradients (the first layer has one), whatever algorithm computes them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

struct step {
    struct bench *b;
    const struct bench_contestant *who;
    const char *benchmark, *file;
    size_t batch, threads;
    struct cli_session s; /* opened by the first run */
    uint8_t *images, *labels;
    uint32_t *order; /* of the images; batches are taken from it one after another */
    size_t n_images, at;
    struct bench_work work; /* of one step */
    bool opened, noted;
};

static void finish(void *user)
{
    struct step *p = user;
    cli_close(&p->s);
    free(p->images);
    free(p->labels);
    free(p->order);
    free(p);
}

static double direct_flops(const cvy_net *net)
{
    double sum = 0;
    cvy_node_info node;
    for (size_t i = 0; i < cvy_net_nodes(net); i++)
        if (!cvy_net_node(net, i, &node) &&
            (!strcmp(node.type, "conv2d") || !strcmp(node.type, "linear")))
            sum += node.flops_forward + node.flops_backward;
    return sum;
}

/* Images in memory as a data set of the usual size would be: gathering a batch goes through the
 * caches. */
static void make_images(struct step *p)
{
    const size_t *in = p->s.model->input, image = in[0] * in[1] * in[2],
                 classes = cvy_tensor_shape(p->s.net, p->s.logits).c;
    uint32_t state = 1;
    p->n_images = (64u << 20) / image < 50000 ? (64u << 20) / image : 50000;
    if (p->n_images < 2 * p->batch) p->n_images = 2 * p->batch;
    p->images = bench_alloc(p->n_images * image);
    p->labels = bench_alloc(p->n_images);
    p->order = bench_alloc(p->n_images * sizeof *p->order);
    for (size_t i = 0; i < p->n_images * image; i++)
        p->images[i] = (uint8_t)((state = state * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < p->n_images; i++) {
        p->labels[i] = (uint8_t)(i % classes);
        p->order[i] = (uint32_t)i;
    }
    for (size_t i = p->n_images; i-- > 1;) {
        size_t j = (state = state * 1664525u + 1013904223u) % (i + 1);
        uint32_t t = p->order[i];
        p->order[i] = p->order[j];
        p->order[j] = t;
    }
}

static bool open_step(struct step *p, gb_state *state)
{
    char error[CLI_ERROR];
    if (p->opened) return true;
    cli_close(&p->s);
    if (!(p->s.ctx = bench_context(p->b, state, p->who, p->threads))) return false;
    if (model_load(p->file, &bench_options(p->b)->change, &p->s.model, error, sizeof error) ||
        model_build(p->s.model, p->s.ctx, &p->s.net, &p->s.logits, error, sizeof error)) {
        bench_skip(p->b, state, false, error);
        return false;
    }
    const struct model_defaults *d = &p->s.model->defaults;
    cvy_optimizer_desc optimizer = d->optimizer;
    if (optimizer.lr > 0.01) optimizer.lr = 0.01;
    cvy_param_setting settings[MODEL_SETTINGS];
    const cvy_trainer_options options = { .batch = p->batch,
                                          .seed = 1,
                                          .loss = model_loss(d),
                                          .input = model_input(p->s.model),
                                          .optimizer = optimizer,
                                          .memory_limit = bench_options(p->b)->memory_limit,
                                          .settings = model_settings(&d->params, settings),
                                          .n_settings = d->params.n,
                                          .init = model_init(d, 1) };
    enum cvy_status status = cvy_trainer_create(p->s.net, p->s.logits, &options, &p->s.trainer);
    if (status) {
        bench_skip(p->b, state, status == CVY_E_UNSUPPORTED, cvy_message(p->s.ctx));
        return false;
    }
    make_images(p);
    p->work = (struct bench_work){ .flops = direct_flops(p->s.net) * (double)p->batch,
                                   .examples = (double)p->batch };
    p->opened = true;
    return true;
}

static bool one_step(struct step *p)
{
    if (p->at + p->batch > p->n_images) p->at = 0;
    const cvy_batch batch = { .images = p->images,
                              .dtype = CVY_U8,
                              .labels8 = p->labels,
                              .index = p->order + p->at,
                              .n = p->batch };
    cvy_step_result r;
    p->at += p->batch;
    return cvy_trainer_step(p->s.trainer, &batch, &r) == CVY_OK;
}

/* What the phases of a step take, as counters "phase NN NAME" in microseconds, summed over threads.
 * In steps of their own: reading the clocks costs a little. */
static void add_phases(struct step *p, gb_state *state, double seconds)
{
    const size_t phases = cvy_trainer_phases(p->s.trainer);
    size_t steps = bench_options(p->b)->once ? 1 : (size_t)(0.1 / seconds) + 1;
    bool good = cvy_trainer_profile(p->s.trainer, true) == CVY_OK;
    for (size_t i = 0; good && i < steps; i++) good = one_step(p);
    if (!good) bench_skip(p->b, state, false, cvy_message(p->s.ctx));
    for (size_t i = 0; good && i < phases; i++) {
        cvy_phase_info info;
        if (cvy_trainer_phase(p->s.trainer, i, &info)) continue;
        char *name = bench_text("phase %03zu %s", i, info.name);
        gb_set_counter(state, name, info.seconds / (double)steps * 1e6, GB_COUNTER);
        free(name);
    }
    if (bench_options(p->b)->phases && good) {
        char *title = bench_text("%s, batch %zu, %zu threads, %s", p->s.model->name, p->batch,
                                 p->threads, p->who->name);
        bench_phases(p->b, state,
                     &(struct bench_profile){ .trainer = p->s.trainer,
                                              .steps = steps,
                                              .threads = p->threads,
                                              .seconds = seconds,
                                              .isa = cvy_context_isa(p->s.ctx),
                                              .title = p->noted ? NULL : title });
        p->noted = true;
        free(title);
    }
    if (cvy_trainer_profile(p->s.trainer, false))
        bench_skip(p->b, state, false, cvy_message(p->s.ctx));
}

static void run(gb_state *state, void *user)
{
    struct step *p = user;
    if (!open_step(p, state)) return;
    bool good = one_step(p) && one_step(p);
    double t = 0;
    if (good) {
        t = bench_now();
        GB_LOOP (state) {
            if (!(good = one_step(p))) break;
        }
        t = (bench_now() - t) / (double)gb_iterations(state);
    }
    if (!good) {
        bench_skip(p->b, state, false, cvy_message(p->s.ctx));
        return;
    }
    const enum cvy_isa isa = cvy_context_isa(p->s.ctx);
    bench_figures(p->b, state, t, &p->work, isa, p->threads);
    char *label = bench_text("%s %s", cvy_context_backends(p->s.ctx), cvy_isa_name(isa));
    gb_set_label(state, label);
    free(label);
    /* Only of measurements that count, not of the search for the number of iterations. */
    const struct bench_options *o = bench_options(p->b);
    if (!strcmp(p->benchmark, "step") &&
        (o->once || t * (double)gb_iterations(state) > 0.7 * o->min_time))
        add_phases(p, state, t);
}

/* What a model is called in the names of cases: with its images where they are not its own. */
static char *called(const struct bench *b, const struct model *m)
{
    if (!bench_options(b)->change.input[0]) return bench_text("%s", m->name);
    return bench_text("%s:%zux%zux%zu", m->name, m->input[0], m->input[1], m->input[2]);
}

static void add(struct bench *b, const char *benchmark, const struct bench_numbers *batches,
                const struct bench_list *models, const struct bench_numbers *threads)
{
    static const char *const standard[] = { "lenet-bn" };
    const struct bench_options *o = bench_options(b);
    const size_t n_models = models->n ? models->n : 1;
    for (size_t i = 0; i < n_models; i++) {
        struct cli_session s = { 0 };
        const char *file = models->n ? models->text[i] : standard[0];
        int code = cli_open_model(&s, file, &o->change);
        if (code) exit(code);
        char *model = called(b, s.model);
        for (size_t n = 0; n < (batches->n ? batches->n : 1); n++)
            for (size_t t = 0; t < threads->n; t++)
                for (size_t k = 0; k < o->n_contestants; k++) {
                    struct step *p = calloc(1, sizeof *p);
                    if (!p) bench_die(CLI_NOMEM, "out of memory");
                    p->b = b;
                    p->who = &o->contestants[k];
                    p->benchmark = benchmark;
                    p->file = file;
                    p->batch = batches->n ? batches->value[n] : s.model->defaults.batch;
                    p->threads = threads->value[t];
                    char *name = bench_text("%s/%s/batch:%zu/threads:%zu/%s", benchmark, model,
                                            p->batch, p->threads, p->who->name);
                    bench_add(b, name, GB_MS, BENCH_REAL_TIME, run, NULL, finish, p);
                    free(name);
                }
        free(model);
        cli_close(&s);
    }
}

void bench_step(struct bench *b)
{
    const struct bench_numbers threads = bench_threads(b);
    add(b, "step", &bench_options(b)->batches, &bench_options(b)->models, &threads);
}

/* --threads, or 1, 2, 4 ... to what the library would use. */
static struct bench_numbers all_threads(struct bench *b)
{
    static size_t counts[32];
    const struct bench_numbers given = bench_threads(b);
    if (bench_options(b)->threads.n) return given;
    struct bench_numbers threads = { counts, 0 };
    for (size_t t = 1; t < given.value[0]; t *= 2) counts[threads.n++] = t;
    counts[threads.n++] = given.value[0];
    return threads;
}

void bench_scaling(struct bench *b)
{
    static size_t sizes[] = { 16, 32, 64, 128, 256, 512, 1024 };
    const struct bench_options *o = bench_options(b);
    const struct bench_numbers all = { sizes, sizeof sizes / sizeof *sizes },
                               threads = all_threads(b);
    add(b, "scaling", o->batches.n ? &o->batches : &all, &o->models, &threads);
}

/* A step of a net of large images takes a scalar table minutes: those are asked for by name. */
static bool small(const char *name)
{
    struct model *m;
    char error[1024];
    if (model_load(name, NULL, &m, error, sizeof error)) return true; /* the case itself will say */
    bool is = m->input[1] * m->input[2] <= (size_t)64 * 64;
    model_free(&m);
    return is;
}

void bench_train(struct bench *b)
{
    const struct bench_options *o = bench_options(b);
    const struct bench_numbers threads = all_threads(b);
    static const char *names[64];
    struct bench_list nets = { names, 0 };
    const char *name;
    for (size_t i = 0; nets.n < sizeof names / sizeof *names && model_builtin_at(i, &name); i++)
        if (small(name)) names[nets.n++] = name;
    add(b, "step", &o->batches, o->models.n ? &o->models : &nets, &threads);
}
