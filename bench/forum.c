/* The protocol of the d2l.ai forum: train on real images and print the book's two lines. The time
 * is the sum of the steps, as the book counts it; loading and evaluation are left out. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "train/train.h"

struct forum {
    struct bench *b;
    const struct bench_contestant *who;
    const char *file;
    size_t threads, runs;
};

static size_t batch_of(const struct forum *p, const struct cli_session *s)
{
    const struct bench_options *o = bench_options(p->b);
    return o->batches.n ? o->batches.value[0] : s->model->defaults.batch;
}

static size_t epochs_of(const struct bench_options *o, const struct model_defaults *d)
{
    if (o->epochs) return o->epochs;
    return o->once ? 1 : d->epochs;
}

static bool open_forum(struct forum *p, struct cli_session *s, gb_state *state)
{
    char error[CLI_ERROR];
    if (!(s->ctx = bench_context(p->b, state, p->who, p->threads))) return false;
    const struct model_options *change = &bench_options(p->b)->change;
    bool good = !model_load(p->file, change, &s->model, error, sizeof error) &&
                !model_build(s->model, s->ctx, &s->net, &s->logits, error, sizeof error);
    const char *like = good && *s->model->data ? s->model->data : NULL,
               *data = bench_options(p->b)->data;
    if (!data) data = like ? like : "synthetic";
    good = good && !data_open(data, like, false, &s->data, error, sizeof error);
    if (!good) {
        bench_skip(p->b, state, false, error);
        return false;
    }
    const struct model_defaults *d = &s->model->defaults;
    const cvy_input_desc input = model_input(s->model);
    cvy_param_setting settings[MODEL_SETTINGS];
    if (s->model->mean_image) model_set_mean(s->model, s->data->train.images, s->data->train.n);
    cvy_trainer_options options = model_trainer(s->model, d, p->runs + 1, settings);
    options.batch = batch_of(p, s);
    enum cvy_status status = cvy_trainer_create(s->net, s->logits, &options, &s->trainer);
    if (!status)
        status = cvy_predictor_create(s->net, s->logits, 256, &input, s->trainer, &s->predictor);
    if (status) bench_skip(p->b, state, status == CVY_E_UNSUPPORTED, cvy_message(s->ctx));
    return !status;
}

/* One training; false: the run was ended with a message. */
static bool train(struct forum *p, struct cli_session *s, gb_state *state,
                  struct train_position *result)
{
    const struct bench_options *o = bench_options(p->b);
    const struct model_defaults *d = &s->model->defaults;
    char error[CLI_ERROR];
    struct train_job job = {
        .ctx = s->ctx,
        .trainer = s->trainer,
        .predictor = s->predictor,
        .eval_loss = model_eval_loss(d),
        .eval_batch = 256,
        .classes = s->data->classes,
        .image_size = s->data->c * s->data->h * s->data->w,
        .train = { s->data->train.images, s->data->train.labels, s->data->train.n, NULL },
        .test = { s->data->test.images, s->data->test.labels, s->data->test.n, NULL },
        .epochs = epochs_of(o, d),
        .steps = o->epochs || o->once ? 0 : d->steps,
        .batch = batch_of(p, s),
        .seed = p->runs + 1,
        .sampling = { d->sampling, d->sampling_buffer },
        .lr = d->optimizer.lr,
        .momentum = d->optimizer.momentum,
        .schedule = d->schedule,
        .eval_every = 1,
        .wall_start = train_now()
    };
    if (train_run(&job, error, sizeof error)) {
        bench_skip(p->b, state, false, error);
        return false;
    }
    *result = job.position;
    bench_note(p->b, "%s, %s, %zu threads, batch %zu, seed %zu, %s:", s->model->name, p->who->name,
               p->threads, job.batch, p->runs + 1, s->data->name);
    bench_note(p->b, "loss %.3f, train acc %.3f, test acc %.3f", result->loss, result->train_acc,
               result->test_acc);
    bench_note(p->b, "%.1f examples/sec on cpu", (double)result->examples / result->step_seconds);
    return true;
}

static void run(gb_state *state, void *user)
{
    struct forum *p = user;
    struct train_position result = { 0 };
    GB_LOOP (state) {
        struct cli_session s = { 0 };
        const bool good = open_forum(p, &s, state) && train(p, &s, state, &result);
        cli_close(&s);
        if (!good) break;
        gb_set_iteration_time(state, result.step_seconds);
        p->runs++;
    }
    if (gb_error_occurred(state)) return;
    gb_set_counter(state, "examples/s", (double)result.examples / result.step_seconds, GB_COUNTER);
    gb_set_counter(state, "loss", result.loss, GB_COUNTER);
    gb_set_counter(state, "train acc", result.train_acc, GB_COUNTER);
    gb_set_counter(state, "test acc", result.test_acc, GB_COUNTER);
}

void bench_forum(struct bench *b)
{
    static const char *const standard[] = { "lenet-bn" };
    const struct bench_options *o = bench_options(b);
    const struct bench_numbers threads = bench_threads(b);
    for (size_t i = 0; i < (o->models.n ? o->models.n : 1); i++) {
        struct cli_session s = { 0 };
        const char *file = o->models.n ? o->models.text[i] : standard[0];
        int code = cli_open_model(&s, file, &o->change);
        if (code) exit(code);
        for (size_t t = 0; t < threads.n; t++)
            for (size_t k = 0; k < o->n_contestants; k++) {
                struct forum *p = bench_alloc(sizeof *p);
                *p = (struct forum){
                    .b = b, .who = &o->contestants[k], .file = file, .threads = threads.value[t]
                };
                char *name =
                    bench_text("forum/%s/threads:%zu/%s", s.model->name, p->threads, p->who->name);
                bench_add(b, name, GB_S, BENCH_ONE_ITERATION, run, NULL, free, p);
                free(name);
            }
        cli_close(&s);
    }
}
