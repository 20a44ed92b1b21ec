/* The training loop: a run that is stopped, or killed, after any step and gone on with by a new
 * process ends with the same bits and metrics as one that never stopped, whatever of the training's
 * state there is (dropout, momentum, Nesterov, decay, smoothing, small last batches), and with each
 * optimiser, schedule, sampler and augmentation each of the others;
 * evaluation in pieces; what is logged when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <convoy/convoy.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "models/models.h"
#include "train/checkpoint.h"
#include "train/train.h"

enum { TRAIN_N = 52, TEST_N = 37, CLASSES = 5, PIXELS = 64, BATCH = 16, STEPS_AN_EPOCH = 4 };

static const char model_text[] =
    "{\"name\": \"small\", \"input\": [1, 8, 8], \"layers\": ["
    "{\"type\": \"conv2d\", \"name\": \"conv1\", \"out_channels\": 4, \"kernel\": 3},"
    "{\"type\": \"batch_norm\", \"name\": \"bn1\"}, {\"type\": \"relu\"}, {\"type\": \"dropout\", "
    "\"p\": 0.3},"
    "{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 5}]}";

/* The running statistics that there are beside a batch norm's. */
static const char statistics_text[] =
    "{\"name\": \"statistics\", \"input\": [1, 8, 8], \"layers\": ["
    "{\"type\": \"conv2d\", \"name\": \"conv1\", \"out_channels\": 4, \"kernel\": 3},"
    "{\"type\": \"dbn\", \"name\": \"dbn1\", \"channels\": 2, \"eps\": 0.1}, {\"type\": \"relu\"},"
    "{\"type\": \"iter_norm\", \"name\": \"it1\", \"shared\": true, \"channels\": 2},"
    "{\"type\": \"pit\", \"name\": \"pit1\", \"form\": \"empirical\", \"normal\": true},"
    "{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 5}]}";

/* What a run is trained with. */
struct recipe {
    const char *name;
    size_t epochs, eval_every;
    double lr, momentum, weight_decay, smoothing;
    bool nesterov, decay_all;
    const char *schedule;     /* NULL: constant */
    cvy_optimizer_desc other; /* another optimizer than SGD */
    cvy_loss_desc loss;       /* another loss; smoothing and weights by themselves */
    cvy_augment_desc augment;
    size_t valid, patience, recover;
    bool keep_best;
    struct sampling sampling;
    size_t ends; /* epochs that are trained; 0: all */
    size_t steps, eval_steps, eval_images;
    double max_norm;
    bool penalty;
    size_t population, eval_train;
    bool keep_running;
    const char *model; /* NULL: model_text */
};
static const double class_weights[] = { 1, 0.5, 2, 1, 0, 1, 3, 1, 1, 1 };
static const struct recipe recipes[] = {
    { "plain", 2, 1, .lr = 0.2 },
    { "momentum, drops after each epoch", 3, 1, .lr = 0.2, .momentum = 0.9,
      .schedule = "milestones:epochs=1/2" },
    { "Nesterov, decay, smoothing, drops within epochs", 3, 2, .lr = 0.1, .momentum = 0.8,
      .weight_decay = 0.01, .smoothing = 0.1, .nesterov = true, .decay_all = true,
      .schedule = "staircase:every=3,factor=0.7" },
    { "crop, flip and cutout", 3, 1, .lr = 0.2, .momentum = 0.9,
      .augment = { .crop = 2, .flip = true, .cutout = 3 } },
    { "Adam, a cosine behind a warm-up", 3, 1, .lr = 0.01,
      .schedule = "cosine:over=3,floor=1e-5,warmup_steps=6",
      .other = { .kind = CVY_ADAM, .lr = 0.01, .weight_decay = 0.01, .epsilon_hat = true } },
    { "RMSProp, Nesterov, eras", 3, 1, .lr = 0.01,
      .schedule = "eras:rates=0.01/0.003,epochs=2/1,anneal=0.05,momentum_to=0.5,momentum_epochs=2",
      .other = { .kind = CVY_RMSPROP, .lr = 0.01, .momentum = 0.9, .nesterov = true } },
    { "one cycle, momentum against it", 2, 1, .lr = 0.2, .momentum = 0.95,
      .schedule = "one_cycle:over=2" },
    { "exponential by steps", 2, 1, .lr = 0.2, .schedule = "exponential:every_steps=3" },
    { "steps of epochs", 3, 1, .lr = 0.2, .schedule = "step:every=2" },
    { "Adagrad", 2, 1, .lr = 0.01,
      .other = { .kind = CVY_ADAGRAD, .lr = 0.01, .eps_inside = true, .weight_decay = 0.01 } },
    { "Adadelta, momentum", 2, 1, .lr = 0.5,
      .other = { .kind = CVY_ADADELTA, .lr = 0.5, .momentum = 0.5, .eps = 1e-4 } },
    { "AdamW", 2, 1, .lr = 0.01,
      .other = { .kind = CVY_ADAMW, .lr = 0.01, .beta1 = 0.8, .weight_decay = 0.1 },
      .loss = { .kind = CVY_HINGE,
                .margin = 0.5,
                .class_weights = class_weights,
                .ignore = true,
                .ignore_index = 3 } },
    { "a buffer", 2, 1, .lr = 0.2, .sampling = { SAMPLING_BUFFERED, 20 } },
    { "with replacement", 2, 1, .lr = 0.2, .sampling = { SAMPLING_REPLACEMENT } },
    { "in order", 2, 1, .lr = 0.2, .sampling = { SAMPLING_FIXED } },
    { "the best of four epochs", 4, 2, .lr = 2, .momentum = 0.9, .valid = 20, .keep_best = true },
    { "no patience", 9, 1, .lr = 2, .momentum = 0.9, .valid = 20, .keep_best = true, .patience = 1,
      .ends = 3 },
    { "eras from the best", 4, 1, .lr = 1, .momentum = 0.9, .valid = 20,
      .schedule = "eras:rates=2/0.01,epochs=3/1,from_best" },
    { "recovered", 2, 1, .lr = 0.1, .momentum = 0.9, .recover = 40,
      .schedule = "milestones:epochs=1,factor=1e24" },
    { "penalties and norms", 2, 1, .lr = 0.01,
      .other = { .kind = CVY_RMSPROP, .lr = 0.01, .l1 = 0.01, .l2 = 0.01, .momentum = 0.5 },
      .max_norm = 0.5, .penalty = true },
    { "the best weights, the last statistics, training images", 3, 2, .lr = 2, .momentum = 0.9,
      .valid = 20, .keep_best = true, .keep_running = true, .eval_train = 30 },
    { "all training images", 2, 1, .lr = 0.2, .eval_train = 1000, .steps = 5 },
    { "population statistics", 2, 2, .lr = 0.2, .momentum = 0.9, .population = 5,
      .augment = { .flip = true } },
    { "population statistics of the best", 3, 1, .lr = 2, .momentum = 0.9, .population = 4,
      .valid = 20, .keep_best = true, .steps = 10 },
    { "as many steps as end within an epoch", 2, 1, .lr = 0.2, .momentum = 0.9,
      .schedule = "cosine:over_steps=6", .steps = 6 },
    { "as many steps as two epochs have", 2, 1, .lr = 0.2, .steps = 8, .eval_steps = 8 },
    { "fewer steps than an epoch has", 1, 1, .lr = 0.2, .steps = 3, .valid = 20,
      .keep_best = true },
    { "a part of the test images every other step", 3, 2, .lr = 0.2, .momentum = 0.9, .valid = 20,
      .steps = 11, .eval_steps = 2, .eval_images = 17 },
    { "the best at the end of steps", 4, 4, .lr = 2, .momentum = 0.9, .valid = 20, .steps = 14,
      .keep_best = true, .eval_steps = 3 },
    { "recovered with steps", 2, 1, .lr = 0.1, .momentum = 0.9, .recover = 40, .steps = 7,
      .schedule = "milestones:epochs=1,factor=1e24" },
    { "recovered to the best", 3, 1, .lr = 0.1, .momentum = 0.9, .recover = 40, .valid = 20,
      .schedule = "milestones:epochs=2,factor=1e24" },
    { "whitening and quantiles", 3, 1, .lr = 0.1, .momentum = 0.9, .model = statistics_text },
    { "whitening and quantiles of the population", 2, 2, .lr = 0.1, .population = 4,
      .model = statistics_text },
};
#define N_RECIPES (sizeof recipes / sizeof *recipes)

static uint8_t train_images[TRAIN_N * PIXELS], train_labels[TRAIN_N], test_images[TEST_N * PIXELS],
    test_labels[TEST_N];
static char error[1024];

static void make_data(void)
{
    uint32_t s = 7;
    for (size_t i = 0; i < sizeof train_images; i++)
        train_images[i] = (uint8_t)((s = s * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < sizeof test_images; i++)
        test_images[i] = (uint8_t)((s = s * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < TRAIN_N; i++) train_labels[i] = (uint8_t)(i * 3 % CLASSES);
    for (size_t i = 0; i < TEST_N; i++) test_labels[i] = (uint8_t)(i * 2 % CLASSES);
    for (size_t i = 0; i < TRAIN_N; i++) /* something to learn */
        for (size_t k = 0; k < 12; k++) train_images[i * PIXELS + 12u * train_labels[i] + k] = 255;
    for (size_t i = 0; i < TEST_N; i++)
        for (size_t k = 0; k < 12; k++) test_images[i * PIXELS + 12u * test_labels[i] + k] = 255;
}

/* All that a process has open for a run; a new one for every part of a run. */
struct process {
    cvy_context *ctx;
    struct model *model;
    cvy_net *net;
    cvy_tensor logits;
    cvy_trainer *trainer;
    cvy_predictor *predictor;
    struct train_job job;
    /* The progress callback's: stop after this many steps; copy what is saved after each. */
    uint64_t stop_at;
    bool keep_copies;
    sig_atomic_t stop;
    size_t epochs_done, evaluated;
};

static void copy_file(const char *from, const char *to)
{
    unsigned char *bytes;
    size_t size;
    assert_int_equal(files_read(from, 1 << 24, &bytes, &size, error, sizeof error), TRAIN_OK);
    FILE *f = fopen(to, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    free(bytes);
}

static void copy_run(const char *from, const char *to)
{
    static const char *const names[] = { TRAIN_CHECKPOINT, TRAIN_METRICS };
    char a[400], b[400];
    mkdir(to, 0777);
    for (size_t i = 0; i < 2; i++) {
        snprintf(a, sizeof a, "%s/%s", from, names[i]);
        snprintf(b, sizeof b, "%s/%s", to, names[i]);
        copy_file(a, b);
    }
}

static void on_progress(void *user, const struct train_progress *progress)
{
    struct process *p = user;
    uint64_t steps = p->job.position.steps;
    assert_true(progress->batch <= progress->batches && progress->batches == STEPS_AN_EPOCH);
    assert_int_equal(progress->epoch, p->job.position.epoch + 1);
    if (progress->evaluating) {
        p->evaluated++;
        return;
    }
    if (steps == p->stop_at) p->stop = 1;
    if (!p->keep_copies) return;
    char to[300];
    snprintf(to, sizeof to, "%s.%llu", p->job.directory, (unsigned long long)steps);
    copy_run(p->job.directory, to);
}

static void on_epoch(void *user, const struct train_epoch *epoch)
{
    struct process *p = user;
    p->epochs_done++;
    assert_int_equal(epoch->epoch, p->job.position.epoch + 1);
    assert_true(epoch->evaluated ==
                (epoch->epoch % p->job.eval_every == 0 || epoch->epoch == epoch->epochs));
    assert_int_equal(epoch->step, p->job.position.steps);
    assert_true(epoch->loss == p->job.position.loss &&
                epoch->train_acc == p->job.position.train_acc);
}

static void open_process(struct process *p, const struct recipe *r, const char *directory)
{
    *p = (struct process){ .stop_at = UINT64_MAX };
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = 1 }, &p->ctx), CVY_OK);
    const char *text = r->model ? r->model : model_text;
    assert_int_equal(model_parse("t", text, strlen(text), NULL, &p->model, error, sizeof error),
                     MODEL_OK);
    assert_int_equal(model_build(p->model, p->ctx, &p->net, &p->logits, error, sizeof error),
                     MODEL_OK);
    cvy_trainer_options options = { .batch = BATCH,
                                    .seed = 5,
                                    .optimizer = r->other,
                                    .loss = r->loss,
                                    .init.seed = 5,
                                    .sgd = { r->lr, r->momentum, r->weight_decay, r->nesterov,
                                             r->decay_all } };
    options.loss.label_smoothing = r->smoothing;
    options.augment = r->augment;
    options.max_norm = r->max_norm;
    if (r->other.kind != CVY_SGD) options.sgd = (cvy_sgd_desc){ .lr = 0 };
    assert_int_equal(cvy_trainer_create(p->net, p->logits, &options, &p->trainer), CVY_OK);
    assert_int_equal(
        cvy_predictor_create(p->net, p->logits, BATCH, NULL, p->trainer, &p->predictor), CVY_OK);
    p->job = (struct train_job){ .ctx = p->ctx,
                                 .trainer = p->trainer,
                                 .predictor = p->predictor,
                                 .eval_loss = r->loss,
                                 .eval_batch = BATCH,
                                 .classes = CLASSES,
                                 .image_size = PIXELS,
                                 .train = { train_images, train_labels, TRAIN_N, NULL },
                                 .test = { test_images, test_labels, TEST_N, NULL },
                                 .epochs = r->epochs,
                                 .batch = BATCH,
                                 .seed = 5,
                                 .lr = r->lr,
                                 .sampling = r->sampling,
                                 .momentum = r->other.kind ? r->other.momentum : r->momentum,
                                 .eval_every = r->eval_every,
                                 .directory = directory,
                                 .model = "{}",
                                 .config = "{}",
                                 .wall_start = train_now(),
                                 .progress = on_progress,
                                 .epoch_done = on_epoch };
    p->job.valid = (struct train_split){ test_images, test_labels, r->valid, NULL };
    p->job.penalty = r->penalty;
    p->job.population = r->population;
    p->job.eval_train = r->eval_train;
    p->job.keep_running = r->keep_running;
    p->job.steps = r->steps;
    p->job.eval_steps = r->eval_steps;
    p->job.eval_images = r->eval_images;
    if (r->steps) p->job.epochs = 0; /* they say nothing then */
    p->job.patience = r->patience;
    p->job.recover = r->recover;
    p->job.keep_best = r->keep_best;
    struct schedule_fault fault;
    assert_true(schedule_parse(r->schedule ? r->schedule : "constant", &p->job.schedule, &fault));
    p->job.user = p;
    p->job.stop = &p->stop;
}

static void close_process(struct process *p)
{
    cvy_predictor_destroy(&p->predictor);
    cvy_trainer_destroy(&p->trainer);
    cvy_net_destroy(&p->net);
    model_free(&p->model);
    cvy_context_destroy(&p->ctx);
}

static struct checkpoint *read_run(const char *directory)
{
    char path[300];
    struct checkpoint *c;
    snprintf(path, sizeof path, "%s/" TRAIN_CHECKPOINT, directory);
    if (checkpoint_read(path, &c, error, sizeof error)) fail_msg("%s", error);
    return c;
}

static void restore(struct process *p)
{
    struct checkpoint *c = read_run(p->job.directory);
    if (train_restore(&p->job, c, error, sizeof error)) fail_msg("%s", error);
    checkpoint_free(&c);
}

/* A line of metrics without what depends on time; NULL at the end. */
static json_t *metrics_line(FILE *f)
{
    char line[1000];
    if (!fgets(line, sizeof line, f)) return NULL;
    json_t *json = json_loads(line, 0, NULL);
    assert_non_null(json);
    json_object_del(json, "step_seconds");
    json_object_del(json, "wall_seconds");
    return json;
}

static FILE *open_metrics(const char *directory)
{
    char path[300];
    snprintf(path, sizeof path, "%s/" TRAIN_METRICS, directory);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    return f;
}

/* Tensors bit for bit, metrics, and the position without its times. */
static void same_run(const char *a, const char *b, const char *what)
{
    struct checkpoint *x = read_run(a), *y = read_run(b);
    assert_int_equal(x->file->n, y->file->n);
    for (size_t i = 0; i < x->file->n; i++) {
        const struct safetensor *s = &x->file->tensors[i], *t = &y->file->tensors[i];
        if (strcmp(s->name, t->name) || s->bytes != t->bytes || memcmp(s->data, t->data, s->bytes))
            fail_msg("%s: tensor %s differs", what, s->name);
    }
    json_t *p = json_loads(checkpoint_text(x, "convoy.position"), 0, NULL),
           *q = json_loads(checkpoint_text(y, "convoy.position"), 0, NULL);
    static const char *const times[] = { "step_seconds", "wall_seconds", "metrics_bytes" };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(json_object_del(p, times[i]), 0);
        json_object_del(q, times[i]);
    }
    if (!json_equal(p, q))
        fail_msg("%s: position %s, expected %s", what, checkpoint_text(y, "convoy.position"),
                 checkpoint_text(x, "convoy.position"));
    json_decref(p);
    json_decref(q);
    checkpoint_free(&x);
    checkpoint_free(&y);
    FILE *f = open_metrics(a), *g = open_metrics(b);
    for (bool more = true; more;) {
        p = metrics_line(f);
        q = metrics_line(g);
        more = p != NULL;
        if (!p != !q || (p && !json_equal(p, q))) fail_msg("%s: metrics differ", what);
        json_decref(p);
        json_decref(q);
    }
    fclose(f);
    fclose(g);
}

/* ------------------------------------------------------------------------------------ the tests */

static char old_directory[4096], directory[64];

static int setup(void **state)
{
    (void)state;
    make_data();
    strcpy(directory, "/tmp/convoy-resume-XXXXXX");
    return !getcwd(old_directory, sizeof old_directory) || !mkdtemp(directory) || chdir(directory);
}

static int teardown(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", directory);
    return chdir(old_directory) || system(command);
}

static void run_whole(const struct recipe *r, const char *name)
{
    struct process p;
    mkdir(name, 0777);
    open_process(&p, r, name);
    if (train_run(&p.job, error, sizeof error)) fail_msg("%s", error);
    assert_int_equal(p.epochs_done, r->ends ? r->ends : r->epochs);
    close_process(&p);
}

/* A run that is stopped after step k and gone on with is the whole one. */
static void stopped_at(const struct recipe *r, size_t k, const char *whole, const char *part)
{
    char what[160];
    struct process p;
    snprintf(what, sizeof what, "%s, stopped after step %zu", r->name, k);
    mkdir(part, 0777);
    open_process(&p, r, part);
    p.stop_at = k;
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_INTERRUPTED);
    assert_int_equal(p.job.position.steps, k);
    close_process(&p);
    open_process(&p, r, part);
    restore(&p);
    /* nothing is saved that will be recovered from */
    assert_true(p.job.position.steps == k || (r->recover && p.job.position.steps < k));
    if (train_run(&p.job, error, sizeof error)) fail_msg("%s: %s", what, error);
    close_process(&p);
    same_run(whole, part, what);
}

static void stopped_at_any_step(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_RECIPES; i++) {
        const struct recipe *r = &recipes[i];
        size_t epochs = r->ends ? r->ends : r->epochs,
               steps = r->steps ? r->steps : epochs * STEPS_AN_EPOCH;
        char whole[32], part[32];
        snprintf(whole, sizeof whole, "w%zu", i);
        run_whole(r, whole);
        for (size_t k = 1; k <= steps; k++) {
            snprintf(part, sizeof part, "s%zu-%zu", i, k);
            stopped_at(r, k, whole, part);
        }
    }
}

/* Every optimiser, schedule, sampler and augmentation with each of the others' kinds, two epochs
 * that are stopped somewhere. */
static const cvy_optimizer_desc optimizers[] = {
    { .kind = CVY_SGD },
    { .kind = CVY_SGD, .momentum = 0.8, .nesterov = true },
    { .kind = CVY_ADAM, .lr = 0.01 },
    { .kind = CVY_ADAMW, .lr = 0.01, .weight_decay = 0.1 },
    { .kind = CVY_RMSPROP, .lr = 0.01, .momentum = 0.9, .nesterov = true },
    { .kind = CVY_ADAGRAD, .lr = 0.01 },
    { .kind = CVY_ADADELTA, .lr = 0.5, .momentum = 0.5, .eps = 1e-4 },
};
static const char *const schedules[] = { "constant",
                                         "step:every=1",
                                         "milestones:epochs=1",
                                         "exponential:every_steps=3",
                                         "staircase:every=3,factor=0.7",
                                         "cosine:over=2,warmup_steps=3",
                                         "one_cycle:over=2",
                                         "eras:rates=0.01/0.003,epochs=1/1,anneal=0.05" };
static const struct sampling samplings[] = { { SAMPLING_SHUFFLED, 0 },
                                             { SAMPLING_BUFFERED, 20 },
                                             { SAMPLING_REPLACEMENT, 0 },
                                             { SAMPLING_FIXED, 0 } };
static const cvy_augment_desc augments[] = { { 0 },
                                             { .crop = 2 },
                                             { .flip = true },
                                             { .cutout = 3 },
                                             { .crop = 1, .flip = true, .cutout = 2 } };
#define COUNT(list) (sizeof(list) / sizeof *(list))
_Static_assert(COUNT(schedules) == SCHEDULE_KINDS, "a schedule that is not gone on with");
_Static_assert(COUNT(optimizers) == CVY_OPTIMIZER_KINDS + 1, "an optimiser that is not");
_Static_assert(COUNT(samplings) == SAMPLING_KINDS, "a sampler that is not");

static void every_pair(void **state)
{
    enum { O = COUNT(optimizers), S = COUNT(schedules), M = COUNT(samplings), A = COUNT(augments) };
    static bool met[6][8][8];
    const size_t n[4] = { O, S, M, A };
    (void)state;
    for (size_t row = 0; row < (size_t)O * S; row++) {
        /* over the rows, with each optimiser and each schedule, all of the others */
        const size_t o = row / S, s = row % S, at[4] = { o, s, (o + s) % M, (s + row / 2) % A };
        const cvy_optimizer_desc *d = &optimizers[o];
        char name[120], whole[32], part[32];
        snprintf(name, sizeof name, "optimiser %zu, %.60s, sampler %zu, augmentation %zu", o,
                 schedules[s], at[2], at[3]);
        const struct recipe r = { .name = name,
                                  .epochs = 2,
                                  .eval_every = 2,
                                  .lr = d->kind ? d->lr : 0.1,
                                  .momentum = d->momentum,
                                  .nesterov = d->nesterov,
                                  .schedule = schedules[s],
                                  .other = d->kind ? *d : (cvy_optimizer_desc){ .kind = CVY_SGD },
                                  .sampling = samplings[at[2]],
                                  .augment = augments[at[3]] };
        snprintf(whole, sizeof whole, "p%zu", row);
        snprintf(part, sizeof part, "q%zu", row);
        run_whole(&r, whole);
        stopped_at(&r, 1 + row % (2 * STEPS_AN_EPOCH - 1), whole, part);
        for (size_t i = 0, pair = 0; i < 4; i++)
            for (size_t k = i + 1; k < 4; k++) met[pair++][at[i]][at[k]] = true;
    }
    for (size_t i = 0, pair = 0; i < 4; i++)
        for (size_t k = i + 1; k < 4; k++, pair++)
            for (size_t e = 0; e < n[i] * n[k]; e++)
                if (!met[pair][e / n[k]][e % n[k]])
                    fail_msg("kinds %zu and %zu: %zu with %zu was not tried", i, k, e / n[k],
                             e % n[k]);
}

/* A run that saves after every step is killed after each of them: what lay on the disk then is gone
 * on with, after lines of metrics that the checkpoint does not know of. */
static void killed_at_any_step(void **state)
{
    (void)state;
    const struct recipe *r = &recipes[2];
    struct process p;
    run_whole(r, "w");
    mkdir("k", 0777);
    open_process(&p, r, "k");
    p.keep_copies = true;
    p.job.save_every = 1;
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_OK);
    close_process(&p);
    same_run("w", "k", "saved after every step");
    for (size_t k = 1; k <= r->epochs * STEPS_AN_EPOCH; k++) {
        char copy[32], what[64];
        snprintf(copy, sizeof copy, "k.%zu", k);
        snprintf(what, sizeof what, "killed after step %zu", k);
        if (k % 2) {
            char path[300];
            snprintf(path, sizeof path, "%s/" TRAIN_METRICS, copy);
            FILE *f = fopen(path, "a");
            fputs("{\"type\":\"step\",\"half a li", f);
            fclose(f);
        }
        open_process(&p, r, copy);
        restore(&p);
        assert_int_equal(p.job.position.steps, k);
        if (train_run(&p.job, error, sizeof error)) fail_msg("%s: %s", what, error);
        close_process(&p);
        same_run("w", copy, what);
    }
}

/* The state matters: a run of other dropout, rate, or momentum is another run. */
static void what_resuming_could_lose(void **state)
{
    (void)state;
    const struct recipe *r = &recipes[2];
    struct process p;
    run_whole(r, "w");
    for (int lost = 0; lost < 3; lost++) {
        char name[16];
        snprintf(name, sizeof name, "l%d", lost);
        mkdir(name, 0777);
        open_process(&p, r, name);
        p.stop_at = 6;
        assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_INTERRUPTED);
        close_process(&p);
        open_process(&p, r, name);
        restore(&p);
        if (lost == 0) cvy_trainer_set_steps(p.trainer, 0); /* dropout's masks begin again */
        if (lost == 1) p.job.schedule.kind = SCHEDULE_CONSTANT;
        if (lost == 2) p.job.seed = 6; /* the order of the images */
        assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_OK);
        close_process(&p);
        struct checkpoint *x = read_run("w"), *y = read_run(name);
        const struct safetensor *s = safetensors_find(x->file, "fc.weight"),
                                *t = safetensors_find(y->file, "fc.weight");
        assert_memory_not_equal(s->data, t->data, s->bytes);
        checkpoint_free(&x);
        checkpoint_free(&y);
    }
}

/* Mean loss and right answers of images one by one, in double. */
static void by_hand(struct process *p, size_t n, double *loss, uint64_t *correct)
{
    *loss = 0;
    *correct = 0;
    for (size_t i = 0; i < n; i++) {
        float logits[CLASSES];
        const cvy_batch one = { .images = test_images + i * PIXELS, .dtype = CVY_U8, .n = 1 };
        assert_int_equal(cvy_predictor_run(p->predictor, &one, logits), CVY_OK);
        long double sum = 0;
        size_t best = 0;
        for (size_t k = 0; k < CLASSES; k++) {
            sum += expl((long double)logits[k]);
            if (logits[k] > logits[best]) best = k;
        }
        *loss += (double)(logl(sum) - (long double)logits[test_labels[i]]) / (double)n;
        *correct += best == test_labels[i];
    }
}

/* With batch_means the result is the mean of what each batch gives by itself. */
static void means_of_batches(struct process *p, const struct train_split *split)
{
    double loss = 0, acc = 0;
    size_t batches = 0;
    struct train_score score;
    for (size_t first = 0; first < split->n; first += p->job.eval_batch, batches++) {
        const size_t left = split->n - first;
        const struct train_split part = { split->images + first * PIXELS, split->labels + first,
                                          left < p->job.eval_batch ? left : p->job.eval_batch,
                                          NULL };
        assert_int_equal(train_evaluate(&p->job, &part, &score, error, sizeof error), TRAIN_OK);
        loss += score.loss;
        acc += score.acc;
    }
    p->job.batch_means = true;
    assert_int_equal(train_evaluate(&p->job, split, &score, error, sizeof error), TRAIN_OK);
    p->job.batch_means = false;
    assert_int_equal(score.counted, split->n);
    if (!(fabs(score.loss - loss / (double)batches) < 1e-9) ||
        !(fabs(score.acc - acc / (double)batches) < 1e-12))
        fail_msg("%zu images by %zu: loss %.9f, acc %.9f, expected %.9f, %.9f", split->n,
                 p->job.eval_batch, score.loss, score.acc, loss / (double)batches,
                 acc / (double)batches);
}

static void evaluation_in_pieces(void **state)
{
    (void)state;
    struct process p;
    mkdir("e", 0777);
    open_process(&p, &recipes[0], "e");
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_OK);
    static const size_t sizes[] = { 1, 5, 15, 16, 17, 31, 32, 33, TEST_N };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t batch = 1; batch <= BATCH; batch += batch < 7 ? 3 : 9) {
            const struct train_split split = { test_images, test_labels, sizes[i], NULL };
            struct train_score score;
            double want;
            uint64_t right;
            p.job.eval_batch = batch;
            p.stop = 0;
            assert_int_equal(train_evaluate(&p.job, &split, &score, error, sizeof error), TRAIN_OK);
            by_hand(&p, sizes[i], &want, &right);
            assert_int_equal(score.correct, right);
            assert_int_equal(score.counted, sizes[i]);
            assert_true(score.acc == (double)right / (double)sizes[i]);
            if (!(fabs(score.loss - want) < 1e-6))
                fail_msg("%zu images by %zu: loss %.9f, expected %.9f", sizes[i], batch, score.loss,
                         want);
            means_of_batches(&p, &split);
        }
    }
    /* The last evaluation of the run is of the weights it ended with. */
    struct train_score score;
    assert_int_equal(train_evaluate(&p.job, &p.job.test, &score, error, sizeof error), TRAIN_OK);
    assert_true(score.loss == p.job.position.test_loss && score.acc == p.job.position.test_acc &&
                p.job.position.test_epoch == 2);
    assert_true(score.correct > TEST_N / 4); /* it is not all wrong, nor untrained */
    p.stop = 1;
    assert_int_equal(train_evaluate(&p.job, &p.job.test, &score, error, sizeof error),
                     TRAIN_INTERRUPTED);
    const struct train_split none = { test_images, test_labels, 0, NULL };
    assert_int_equal(train_evaluate(&p.job, &none, &score, error, sizeof error), TRAIN_OK);
    assert_true(score.loss == 0 && score.acc == 0 && score.counted == 0);
    close_process(&p);
}

static uint64_t position_of(const char *name, const char *key);
static size_t best_line(const char *name, size_t images, double *right);
static bool same_tensor(const char *a, const char *name, const char *b, const char *other);

static double number(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);
    if (!json_is_number(value)) fail_msg("'%s' is missing", key);
    return json_number_value(value);
}

/* Every line against what the settings say must be in it. */
static void metrics_of_a_run(void **state)
{
    (void)state;
    struct recipe r = recipes[1];
    r.epochs = 7;
    r.eval_every = 3;
    struct process p;
    mkdir("m", 0777);
    open_process(&p, &r, "m");
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_OK);
    assert_int_equal(p.evaluated, 3); /* epochs 3, 6 and the last */
    FILE *f = open_metrics("m");
    char text[1000];
    double before = 0, wall = 0;
    size_t step = 0, epoch = 1;
    while (fgets(text, sizeof text, f)) {
        json_t *line = json_loads(text, 0, NULL);
        bool is_step = !strcmp(json_string_value(json_object_get(line, "type")), "step");
        if (is_step) { /* four steps an epoch: each is logged */
            step++;
            double images =
                step % STEPS_AN_EPOCH ? (double)(step % STEPS_AN_EPOCH * BATCH) : TRAIN_N;
            assert_true(number(line, "step") == (double)step);
            assert_true(fabs(number(line, "epoch") - (double)step / STEPS_AN_EPOCH) < 1e-9);
            assert_true(number(line, "examples") ==
                        (double)((step - 1) / STEPS_AN_EPOCH * TRAIN_N) + images);
            double right = number(line, "train_acc") * images;
            assert_true(fabs(right - round(right)) < 1e-6 && right >= 0 && right <= images);
            if (step % STEPS_AN_EPOCH == 1) /* the mean of one step is the step's */
                assert_true(fabs(number(line, "train_loss") - number(line, "batch_loss")) < 1e-7);
        } else {
            bool evaluated = epoch == 3 || epoch == 6 || epoch == 7;
            double lr = r.lr * (epoch > 1 ? 0.1 : 1) * (epoch > 2 ? 0.1 : 1);
            assert_true(number(line, "epoch") == (double)epoch &&
                        number(line, "step") == (double)step && step == epoch * STEPS_AN_EPOCH);
            if (!(fabs(number(line, "lr") - lr) < 1e-9))
                fail_msg("epoch %zu: rate %g, expected %g", epoch, number(line, "lr"), lr);
            assert_true((json_object_get(line, "test_acc") != NULL) == evaluated &&
                        (json_object_get(line, "test_loss") != NULL) == evaluated);
            assert_true(number(line, "step_seconds") > before &&
                        number(line, "wall_seconds") > wall);
            assert_true(number(line, "wall_seconds") >= number(line, "step_seconds"));
            before = number(line, "step_seconds");
            wall = number(line, "wall_seconds");
            epoch++;
        }
        json_decref(line);
    }
    fclose(f);
    assert_true(step == 7 * STEPS_AN_EPOCH && epoch == 8);
    assert_true(fabs(p.job.position.step_seconds - before) <= 1e-8 * before + 1e-9 &&
                p.job.position.examples == 7 * TRAIN_N);
    close_process(&p);
}

/* What is evaluated before a step is what a run that is stopped there has: the images from 14 on,
 * around. */
static void evaluations_between(void **state)
{
    (void)state;
    struct recipe r = { "steps", 3, 1, .lr = 0.2, .steps = 10, .eval_steps = 2, .eval_images = 14 };
    run_whole(&r, "e");
    FILE *f = open_metrics("e");
    size_t evaluated = 0;
    for (json_t *line; (line = metrics_line(f)); json_decref(line)) {
        const size_t step = (size_t)number(line, "step"), turn = (step - 1) / 2;
        if (strcmp(json_string_value(json_object_get(line, "type")), "step")) continue;
        assert_true((json_object_get(line, "test_loss") != NULL) == (step % 2 == 1));
        if (step % 2 == 0) continue;
        evaluated++;
        struct process p;
        struct recipe before = r;
        before.steps = step - 1;
        before.eval_steps = 0;
        open_process(&p, &before, NULL);
        if (step > 1) assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_OK);
        double loss = 0;
        uint64_t right = 0;
        for (size_t i = 0; i < 14; i++) {
            const size_t at = (14 * turn + i) % TEST_N;
            struct train_score one;
            const struct train_split split = { test_images + at * PIXELS, test_labels + at, 1,
                                               NULL };
            assert_int_equal(train_evaluate(&p.job, &split, &one, error, sizeof error), TRAIN_OK);
            loss += one.loss;
            right += one.correct;
        }
        assert_true(fabs(number(line, "test_loss") - loss / 14) < 1e-7);
        assert_true(fabs(number(line, "test_acc") - (double)right / 14) < 1e-8);
        close_process(&p);
    }
    fclose(f);
    assert_int_equal(evaluated, 5);
}

/* The statistics at a run's end are those of batches in the order of the epochs to come, three full
 * ones each; its weights are the plain run's, its test accuracy is of what it ends with. */
static void population_statistics(void **state)
{
    (void)state;
    struct recipe r = { "population", 2, 2, .lr = 0.2, .momentum = 0.9 };
    struct process p;
    uint32_t order[TRAIN_N];
    static float want[64], got[64];
    run_whole(&r, "plain");
    mkdir("means", 0777);
    mkdir("by_hand", 0777);
    open_process(&p, &r, "by_hand");
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_OK);
    for (size_t k = 0; k < 5; k++) {
        if (k % 3 == 0) sampling_fill(&r.sampling, order, TRAIN_N, 5, 2 + k / 3);
        const cvy_batch batch = { .images = train_images,
                                  .labels8 = train_labels,
                                  .dtype = CVY_U8,
                                  .index = order + k % 3 * BATCH,
                                  .n = BATCH };
        assert_int_equal(cvy_trainer_population(p.trainer, &batch, k), CVY_OK);
    }
    assert_int_equal(cvy_trainer_get(p.trainer, CVY_PARAM_RUNNING, "bn1.running_var", want, 4),
                     CVY_OK);
    close_process(&p);
    r.population = 5;
    open_process(&p, &r, "means");
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_OK);
    assert_int_equal(cvy_trainer_get(p.trainer, CVY_PARAM_RUNNING, "bn1.running_var", got, 4),
                     CVY_OK);
    assert_memory_equal(want, got, 4 * sizeof *got);
    struct train_score score;
    assert_int_equal(train_evaluate(&p.job, &p.job.test, &score, error, sizeof error), TRAIN_OK);
    assert_true(score.loss == p.job.position.test_loss);
    close_process(&p);
    assert_true(same_tensor("plain", "conv1.weight", "means", "conv1.weight"));
    assert_false(same_tensor("plain", "bn1.running_var", "means", "bn1.running_var"));
    FILE *f = open_metrics("means");
    json_t *line, *last = NULL;
    for (; (line = metrics_line(f)); last = line) json_decref(last);
    fclose(f);
    assert_string_equal(json_string_value(json_object_get(last, "type")), "end");
    assert_true(number(last, "population") == 5 && !json_object_get(last, "valid_acc"));
    assert_true(fabs(number(last, "test_acc") - score.acc) < 1e-8);
    json_decref(last);
}

/* Training images after each epoch: what they are is a matter of seed and epoch. And the best
 * weights beside the last running statistics. */
static void as_the_solver_reports(void **state)
{
    (void)state;
    struct recipe r = {
        "drawn", 6, 6, .lr = 2, .momentum = 0.9, .valid = 30, .keep_best = true, .eval_train = 20
    };
    uint32_t order[TRAIN_N];
    double right;
    const struct sampling all = { SAMPLING_REPLACEMENT, 1 };
    run_whole(&r, "both");
    r.keep_running = true;
    run_whole(&r, "weights");
    assert_true(best_line("both", r.valid, &right) < 6);
    assert_true(same_tensor("both", "conv1.weight", "weights", "conv1.weight"));
    assert_true(same_tensor("both", "bn1.running_mean", "weights", "best.bn1.running_mean"));
    assert_false(same_tensor("both", "bn1.running_mean", "weights", "bn1.running_mean"));
    r.keep_best = r.keep_running = false;
    run_whole(&r, "last");
    assert_true(same_tensor("last", "bn1.running_mean", "weights", "bn1.running_mean"));
    FILE *f = open_metrics("last");
    json_t *line;
    for (uint64_t epoch = 0; (line = metrics_line(f)); json_decref(line)) {
        struct process p;
        struct train_score score;
        if (strcmp(json_string_value(json_object_get(line, "type")), "epoch")) continue;
        struct recipe part = r;
        part.epochs = ++epoch;
        part.eval_train = 0;
        open_process(&p, &part, NULL);
        assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_OK);
        sampling_fill(&all, order, TRAIN_N, ~(uint64_t)5, epoch - 1);
        const struct train_split some = { train_images, train_labels, 20, order };
        assert_int_equal(train_evaluate(&p.job, &some, &score, error, sizeof error), TRAIN_OK);
        assert_true(fabs(number(line, "eval_train_loss") - score.loss) < 1e-7 * score.loss + 1e-8);
        assert_true(fabs(number(line, "eval_train_acc") - score.acc) < 1e-8);
        close_process(&p);
    }
    fclose(f);
}

/* A run of six steps that is made one of eleven is that one. */
static void more_steps(void **state)
{
    (void)state;
    struct recipe r = { "steps", 3, 1, .lr = 0.2, .momentum = 0.9, .steps = 11 };
    run_whole(&r, "eleven");
    struct process p;
    mkdir("six", 0777);
    for (r.steps = 6; r.steps <= 11; r.steps += r.steps == 6 ? 1 : 4) {
        open_process(&p, &r, "six");
        if (r.steps > 6) restore(&p);
        if (train_run(&p.job, error, sizeof error)) fail_msg("%s", error);
        assert_int_equal(p.job.position.steps, r.steps);
        assert_true(p.job.position.cut_steps == r.steps);
        close_process(&p);
    }
    assert_true(same_tensor("six", "conv1.weight", "eleven", "conv1.weight"));
    assert_true(same_tensor("six", "bn1.running_var", "eleven", "bn1.running_var"));
    assert_int_equal(position_of("six", "seen"), position_of("eleven", "seen"));
    size_t lines = 0;
    FILE *f = open_metrics("six");
    for (json_t *line; (line = metrics_line(f)); json_decref(line)) {
        if (strcmp(json_string_value(json_object_get(line, "type")), "epoch")) continue;
        static const double epochs[] = { 1, 1.5, 1.75, 2, 2.75 };
        assert_true(lines < 5 && number(line, "epoch") == epochs[lines]);
        lines++;
    }
    fclose(f);
    assert_int_equal(lines, 5);
    /* done: nothing is added */
    const uint64_t bytes = position_of("six", "metrics_bytes");
    r.steps = 11;
    open_process(&p, &r, "six");
    restore(&p);
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_OK);
    close_process(&p);
    assert_int_equal(position_of("six", "metrics_bytes"), bytes);
    r.steps = 10;
    open_process(&p, &r, "six");
    struct checkpoint *c = read_run("six");
    assert_int_equal(train_restore(&p.job, c, error, sizeof error), TRAIN_BAD);
    assert_non_null(strstr(error, "11 steps are trained already, more than --steps=10"));
    checkpoint_free(&c);
    close_process(&p);
}

static uint64_t position_of(const char *name, const char *key)
{
    struct checkpoint *c = read_run(name);
    json_t *json = json_loads(checkpoint_text(c, "convoy.position"), 0, NULL);
    json_int_t value = json_integer_value(json_object_get(json, key));
    json_decref(json);
    checkpoint_free(&c);
    return (uint64_t)value;
}

/* Whether a tensor of one run's checkpoint is one of another's, bit for bit. */
static bool same_tensor(const char *a, const char *name, const char *b, const char *other)
{
    struct checkpoint *x = read_run(a), *y = read_run(b);
    const struct safetensor *s = safetensors_find(x->file, name),
                            *t = safetensors_find(y->file, other);
    assert_true(s && t && s->bytes == t->bytes);
    bool same = !memcmp(s->data, t->data, s->bytes);
    checkpoint_free(&x);
    checkpoint_free(&y);
    return same;
}

/* The best epoch by its line in the metrics, and how many were right there. */
static size_t best_line(const char *name, size_t images, double *right)
{
    FILE *f = open_metrics(name);
    size_t best = 0, epoch = 0;
    *right = 0;
    for (json_t *line; (line = metrics_line(f)); json_decref(line)) {
        if (strcmp(json_string_value(json_object_get(line, "type")), "epoch")) continue;
        double now = round(number(line, "valid_acc") * (double)images);
        epoch++;
        if (best && now <= *right) continue;
        best = epoch;
        *right = now;
    }
    fclose(f);
    return best;
}

/* The best epoch is the one that the metrics tell, the run ends with its parameters, and as many
 * validation images are right with them; and without patience soon. */
static void ends_with_the_best(void **state)
{
    (void)state;
    struct recipe r = { "best", 6, 6, .lr = 2, .momentum = 0.9, .valid = 30, .keep_best = true };
    struct process p;
    struct train_score score;
    double right;
    mkdir("b", 0777);
    open_process(&p, &r, "b");
    if (train_run(&p.job, error, sizeof error)) fail_msg("%s", error);
    assert_int_equal(train_evaluate(&p.job, &p.job.valid, &score, error, sizeof error), TRAIN_OK);
    uint64_t best = p.job.position.best_epoch;
    assert_int_equal(best, best_line("b", r.valid, &right));
    assert_true(best < 6 && (double)score.correct == right); /* else the last would do */
    assert_int_equal(train_evaluate(&p.job, &p.job.test, &score, error, sizeof error), TRAIN_OK);
    assert_true(score.loss == p.job.position.test_loss && p.job.position.test_epoch == best);
    close_process(&p);
    assert_true(same_tensor("b", "bn1.running_var", "b", "best.bn1.running_var"));
    r.epochs = (size_t)best; /* the parameters are those that a run of that many epochs has */
    r.keep_best = false;
    run_whole(&r, "until");
    assert_true(same_tensor("b", "conv1.weight", "until", "conv1.weight"));
    assert_true(same_tensor("b", "bn1.running_mean", "until", "bn1.running_mean"));
    r.epochs = 6;
    r.keep_best = true;
    for (r.patience = 1; r.patience < 4; r.patience++) {
        char name[16];
        snprintf(name, sizeof name, "p%zu", r.patience);
        mkdir(name, 0777);
        open_process(&p, &r, name);
        if (train_run(&p.job, error, sizeof error)) fail_msg("%s", error);
        assert_true(p.job.position.epoch == 6 ||
                    p.job.position.epoch == p.job.position.best_epoch + r.patience);
        assert_int_equal(p.job.position.best_epoch, best_line(name, r.valid, &right));
        close_process(&p);
    }
}

/* An era of rate 0 behind one that ended worse than it was: its weights are the best, the running
 * statistics and the optimizer's states go on. */
static void eras_from_the_best(void **state)
{
    (void)state;
    struct recipe r = { "eras",
                        7,
                        7,
                        .lr = 1,
                        .momentum = 0.9,
                        .valid = 30,
                        .schedule = "eras:rates=2/0,epochs=6/1,from_best" };
    double right;
    run_whole(&r, "back");
    r.schedule = "eras:rates=2/0,epochs=6/1";
    r.keep_best = true; /* taken at the end, where the last era has been */
    r.epochs = 6;
    run_whole(&r, "six");
    assert_true(best_line("six", r.valid, &right) < 6);
    assert_true(same_tensor("back", "conv1.weight", "six", "best.conv1.weight"));
    assert_false(same_tensor("back", "bn1.running_mean", "six", "best.bn1.running_mean"));
}

/* A run that recovers k times in its first epoch is the run with the rate that it comes to. */
static void recovering(void **state)
{
    (void)state;
    struct recipe r = { "recovered", 1, 1, .lr = 1e22, .momentum = 0.9, .recover = 40 };
    struct process p;
    run_whole(&r, "r");
    uint64_t times = position_of("r", "recoveries");
    assert_in_range(times, 1, 39);
    assert_int_equal(position_of("r", "steps"), STEPS_AN_EPOCH);
    assert_int_equal(position_of("r", "examples"), TRAIN_N);
    r.lr = 1e22 * pow(0.1, (double)times);
    r.recover = 0;
    run_whole(&r, "straight");
    assert_true(same_tensor("r", "conv1.weight", "straight", "conv1.weight"));
    assert_true(same_tensor("r", "bn1.running_var", "straight", "bn1.running_var"));
    assert_true(same_tensor("r", "optimizer.momentum.fc.weight", "straight",
                            "optimizer.momentum.fc.weight"));
    r.lr = 1e22;
    r.recover = (size_t)times - 1; /* not often enough */
    mkdir("ends", 0777);
    open_process(&p, &r, "ends");
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_NUMERIC);
    close_process(&p);
}

/* Places that no run can have stood at. */
static void positions_that_lie(void **state)
{
    (void)state;
    struct process p;
    mkdir("p", 0777);
    open_process(&p, &recipes[0], "p");
    p.stop_at = 6; /* batch 2 of epoch 1 */
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_INTERRUPTED);
    close_process(&p);
    static const struct {
        const char *key;
        double value;
    } wrong[] = { { "batch", 5 },        { "batch", 1 },        { "batch", -1 },
                  { "seen", 31 },        { "seen", 53 },        { "epoch", -1 },
                  { "epoch", 0.5 },      { "steps", -3 },       { "loss_sum", NAN },
                  { "counted", 1000 },   { "test_epoch", NAN }, { "best_epoch", 2 },
                  { "best_correct", 1 }, { "recoveries", 1 },   { "ended", -1 } };
    static const char *const keys[] = { "epoch",     "batch",        "steps",         "correct",
                                        "seen",      "examples",     "metrics_bytes", "test_epoch",
                                        "loss_sum",  "step_seconds", "wall_seconds",  "loss",
                                        "train_acc", "test_loss",    "test_acc",      "counted",
                                        "weight" };
    /* not in an older convoy's */
    static const char *const late[] = { "best_epoch", "best_correct", "recoveries", "ended",
                                        "valid_loss", "valid_acc",    "cut_steps",  "end_steps" };
    const size_t n_wrong = sizeof wrong / sizeof *wrong, n_keys = sizeof keys / sizeof *keys;
    struct checkpoint *c = read_run("p");
    json_t *good = json_loads(checkpoint_text(c, "convoy.position"), 0, NULL);
    assert_int_equal(json_object_size(good), n_keys + sizeof late / sizeof *late);
    for (size_t i = 0; i < sizeof late / sizeof *late; i++) json_object_del(good, late[i]);
    for (size_t i = 0; i <= n_wrong + 2 * n_keys; i++) {
        json_t *position = json_deep_copy(good), *metadata = json_object();
        if (i > n_wrong) { /* each left out, each a string */
            const char *key = keys[(i - n_wrong - 1) / 2];
            bool older = !strcmp(key, "counted"); /* may be left out: as many as were seen */
            if (i % 2 || older) json_object_set_new(position, key, json_string("1"));
            else json_object_del(position, key);
        } else if (i < n_wrong) {
            const char *key = wrong[i].key;
            double v = wrong[i].value;
            if (isnan(v)) json_object_del(position, key);
            else
                json_object_set_new(position, key,
                                    v == floor(v) ? json_integer((json_int_t)v) : json_real(v));
        }
        char *text = json_dumps(position, 0);
        json_object_set_new(metadata, "convoy.position",
                            json_string(i != n_wrong ? text : "no JSON"));
        free(text);
        unsigned char *bytes;
        size_t size;
        assert_int_equal(safetensors_build(c->file->tensors, c->file->n, metadata, &bytes, &size,
                                           error, sizeof error),
                         TRAIN_OK);
        assert_int_equal(files_write("p/wrong.safetensors", bytes, size, error, sizeof error),
                         TRAIN_OK);
        free(bytes);
        json_decref(position);
        json_decref(metadata);
        struct checkpoint *bad;
        assert_int_equal(checkpoint_read("p/wrong.safetensors", &bad, error, sizeof error),
                         TRAIN_OK);
        open_process(&p, &recipes[0], "p");
        assert_int_equal(train_restore(&p.job, bad, error, sizeof error), TRAIN_BAD);
        assert_non_null(strstr(error, "cannot be resumed"));
        assert_int_equal(p.job.position.steps, 0);
        close_process(&p);
        checkpoint_free(&bad);
    }
    json_decref(good);
    open_process(&p, &recipes[0], "p");
    p.job.epochs = 1;
    assert_int_equal(train_restore(&p.job, c, error, sizeof error), TRAIN_OK);
    p.job.epochs = 0;
    assert_int_equal(train_restore(&p.job, c, error, sizeof error), TRAIN_BAD);
    assert_non_null(strstr(error, "1 epochs are trained already"));
    close_process(&p);
    checkpoint_free(&c);
}

/* A run without a directory writes nothing; one without images, or with a place that cannot be, is
 * refused. */
static void runs_that_write_nothing(void **state)
{
    (void)state;
    struct process p;
    static char far[5000];
    memset(far, 'x', sizeof far - 1);
    open_process(&p, &recipes[0], NULL);
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_OK);
    assert_int_equal(p.job.position.epoch, 2);
    assert_true(p.job.position.wall_seconds > 0);
    p.job.position = (struct train_position){ 0 };
    p.job.train.n = 0;
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_BAD);
    assert_non_null(strstr(error, "found 0"));
    p.job.train.n = TRAIN_N;
    p.job.directory = far;
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_IO);
    assert_non_null(strstr(error, "too long"));
    p.job.directory = "absent";
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_IO);
    assert_non_null(strstr(error, "No such file"));
    /* Labels that the engine refuses, in a step and only then. */
    p.job.directory = NULL;
    uint8_t bad[TRAIN_N] = { CLASSES };
    p.job.train.labels = bad;
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_ENGINE);
    assert_non_null(strstr(error, "label"));
    p.job.train.labels = train_labels;
    p.job.eval_batch = BATCH + 1; /* more than the predictor was made for */
    p.job.position = (struct train_position){ 0 };
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_ENGINE);
    p.job.lr = -1;
    p.job.position = (struct train_position){ 0 };
    assert_int_equal(train_run(&p.job, error, sizeof error), TRAIN_ENGINE);
    DIR *d = opendir(".");
    size_t n = 0;
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    assert_int_equal(n, 0);
    close_process(&p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = { TEST(stopped_at_any_step),  TEST(every_pair),
                                        TEST(killed_at_any_step),   TEST(what_resuming_could_lose),
                                        TEST(evaluation_in_pieces), TEST(metrics_of_a_run),
                                        TEST(positions_that_lie),   TEST(runs_that_write_nothing),
                                        TEST(ends_with_the_best),   TEST(eras_from_the_best),
                                        TEST(recovering),           TEST(evaluations_between),
                                        TEST(more_steps),           TEST(population_statistics),
                                        TEST(as_the_solver_reports) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
