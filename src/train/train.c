/* The training loop; see train.h for what a run is and what makes resuming exact. */
#include "train/train.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "train/checkpoint.h"

double train_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static enum train_status engine(const struct train_job *job, enum cvy_status status, char *error,
                                size_t error_size)
{
    enum train_status what = TRAIN_ENGINE;
    if (status == CVY_E_NUMERIC) what = TRAIN_NUMERIC;
    if (status == CVY_E_NOMEM) what = TRAIN_NOMEM;
    return train_fail(error, error_size, what, "%s", cvy_message(job->ctx));
}

static bool stopped(const struct train_job *job) { return job->stop && *job->stop; }

/* Of what took part; 0 where nothing did. */
static double mean(double sum, double weight) { return weight > 0 ? sum / weight : 0; }
static double share(uint64_t part, uint64_t all) { return all ? (double)part / (double)all : 0; }

static size_t batches_of(const struct train_job *job)
{
    return (job->train.n + job->batch - 1) / job->batch;
}

size_t train_epochs(const struct train_job *job)
{
    const size_t batches = batches_of(job);
    return job->steps ? (size_t)((job->steps + batches - 1) / batches) : job->epochs;
}

/* Sums over images, or over batches of what is the batch's mean. */
struct tally {
    double loss, weight, acc;
    uint64_t correct, counted;
};

/* Of `images` images from number first on, and from the beginning again behind the end. */
static enum train_status evaluate(const struct train_job *job, const struct train_split *split,
                                  size_t first, size_t images, struct train_score *score,
                                  char *error, size_t error_size)
{
    float *logits = calloc(job->eval_batch, job->classes * sizeof *logits);
    if (!logits)
        return train_fail(error, error_size, TRAIN_NOMEM, "out of memory for the evaluation");
    struct tally all = { 0 }, means = { 0 };
    enum train_status status = TRAIN_OK;
    for (size_t n; images && !status; images -= n, first = (first + n) % split->n) {
        const struct tally before = all;
        n = split->n - first < job->eval_batch ? split->n - first : job->eval_batch;
        if (n > images) n = images;
        const cvy_batch batch = { .images =
                                      split->images + (split->index ? 0 : first * job->image_size),
                                  .index = split->index ? split->index + first : NULL,
                                  .dtype = CVY_U8,
                                  .n = n };
        enum cvy_status s = cvy_predictor_run(job->predictor, &batch, logits);
        if (s) status = engine(job, s, error, error_size);
        else if (stopped(job)) status = TRAIN_INTERRUPTED;
        for (size_t i = 0; i < n && !status; i++) {
            cvy_loss_result r;
            s = cvy_loss_row(job->ctx, &job->eval_loss, job->classes, logits + i * job->classes,
                             split->labels[split->index ? split->index[first + i] : first + i],
                             NULL, &r);
            if (s) status = engine(job, s, error, error_size);
            if (s || r.weight == 0) continue;
            all.loss += r.weight * r.loss;
            all.weight += r.weight;
            all.counted++;
            all.correct += r.correct;
        }
        if (all.counted == before.counted) continue;
        means.loss += mean(all.loss - before.loss, all.weight - before.weight);
        means.acc += share(all.correct - before.correct, all.counted - before.counted);
        means.weight++;
    }
    free(logits);
    const struct tally *told = job->batch_means ? &means : &all;
    *score = (struct train_score){ .loss = mean(told->loss, told->weight),
                                   .acc = job->batch_means ? mean(means.acc, means.weight)
                                                           : share(all.correct, all.counted),
                                   .correct = all.correct,
                                   .counted = all.counted };
    return status;
}

enum train_status train_evaluate(const struct train_job *job, const struct train_split *split,
                                 struct train_score *score, char *error, size_t error_size)
{
    return evaluate(job, split, 0, split->n, score, error, error_size);
}

/* ---------------------------------------------------------------------------- position <-> text */

/* One list serves both directions. */
#define POSITION_COUNTS(X) \
    X(epoch)               \
    X(batch) X(steps) X(correct) X(counted) X(seen) X(examples) X(metrics_bytes) X(test_epoch)
#define POSITION_REALS(X) \
    X(loss_sum)           \
    X(weight) X(step_seconds) X(wall_seconds) X(loss) X(train_acc) X(test_loss) X(test_acc)

/* Not there in files of an older convoy: 0. */
#define POSITION_LATE_COUNTS(X) \
    X(best_epoch)               \
    X(best_correct) X(recoveries) X(ended) X(cut_steps) X(end_steps)
#define POSITION_LATE_REALS(X) X(valid_loss) X(valid_acc)

/* A loss may be infinite only where training has stopped already; JSON has no word for it. */
static int set_real(json_t *json, const char *key, double x)
{
    return json_object_set_new(json, key, json_real(isfinite(x) ? x : 0));
}

static char *position_text(const struct train_position *p)
{
    json_t *json = json_object();
    int bad = !json;
#define X(field) bad |= json_object_set_new(json, #field, json_integer((json_int_t)p->field));
    POSITION_COUNTS(X)
    POSITION_LATE_COUNTS(X)
#undef X
#define X(field) bad |= set_real(json, #field, p->field);
    POSITION_REALS(X)
    POSITION_LATE_REALS(X)
#undef X
    char *text = bad ? NULL : json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(json);
    return text;
}

static bool get_count(const json_t *json, const char *key, uint64_t *out)
{
    const json_t *value = json_object_get(json, key);
    *out = (uint64_t)json_integer_value(value);
    return json_is_integer(value) && json_integer_value(value) >= 0;
}

static bool get_real(const json_t *json, const char *key, double *out)
{
    const json_t *value = json_object_get(json, key);
    *out = json_number_value(value);
    return json_is_number(value);
}

static bool position_parse(const char *text, struct train_position *p)
{
    json_t *json = json_loads(text ? text : "", JSON_REJECT_DUPLICATES, NULL);
    *p = (struct train_position){ 0 };
    bool good = true; /* nothing is in NULL */
    json_t *seen = json_object_get(json, "seen");
    if (seen && !json_object_get(json, "counted")) { /* written before losses had weights */
        good &= !json_object_set(json, "counted", seen);
        good &= !json_object_set_new(json, "weight", json_real((double)json_integer_value(seen)));
    }
#define X(field) good &= get_count(json, #field, &p->field);
    POSITION_COUNTS(X)
#undef X
#define X(field) good &= get_real(json, #field, &p->field);
    POSITION_REALS(X)
#undef X
#define X(field) good &= !json_object_get(json, #field) || get_count(json, #field, &p->field);
    POSITION_LATE_COUNTS(X)
#undef X
#define X(field) good &= !json_object_get(json, #field) || get_real(json, #field, &p->field);
    POSITION_LATE_REALS(X)
#undef X
    /* written before a run could end within an epoch */
    if (!json_object_get(json, "end_steps") && p->ended && p->ended == p->epoch && !p->batch)
        p->end_steps = p->steps;
    json_decref(json);
    return good;
}

/* ------------------------------------------------------------------------------------ the files */

struct run {
    struct train_job *job;
    int metrics; /* file descriptor of metrics.jsonl, -1 without a directory */
    uint32_t *order;
    size_t batches, epochs;
    /* whether the last test was with the parameters as they are; whether the best ones are these */
    bool tested, best;
    struct train_score drawn; /* training images, of the last evaluation */
    double wall_base;         /* wall_seconds when this process began */
    /* train_now() at the first step of this process, with the examples then */
    double step_start;
    uint64_t examples_start;
    uint64_t epoch;                         /* that this process is at */
    double epoch_start, epoch_step_seconds; /* the same for this epoch, with step_seconds then */
    uint64_t epoch_examples;
    bool saved; /* a checkpoint of this run exists; of how many steps */
    uint64_t saved_steps;
    char *error;
    size_t error_size;
};

static enum train_status run_path(const struct train_job *job, const char *name, char *out,
                                  char *error, size_t error_size)
{
    if (snprintf(out, PATH_MAX, "%s/%s", job->directory, name) >= PATH_MAX)
        return train_fail(error, error_size, TRAIN_IO, "%.60s...: the path is too long",
                          job->directory);
    return TRAIN_OK;
}

static enum train_status open_metrics(struct run *run)
{
    char path[PATH_MAX];
    run->metrics = -1;
    if (!run->job->directory) return TRAIN_OK;
    enum train_status status = run_path(run->job, TRAIN_METRICS, path, run->error, run->error_size);
    if (status) return status;
    run->metrics = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    /* Lines after the checkpoint belong to steps that will be taken again. */
    struct stat st;
    if (run->metrics < 0 || fstat(run->metrics, &st) ||
        ((uint64_t)st.st_size > run->job->position.metrics_bytes &&
         ftruncate(run->metrics, (off_t)run->job->position.metrics_bytes)))
        return train_fail(run->error, run->error_size, TRAIN_IO,
                          "%s: cannot open for appending: %s", path, strerror(errno));
    return TRAIN_OK;
}

/* Appends one JSON line. */
static enum train_status log_line(struct run *run, json_t *json)
{
    if (run->metrics < 0) {
        json_decref(json);
        return TRAIN_OK;
    }
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL,
         *line = NULL;
    json_decref(json);
    int length = text ? asprintf(&line, "%s\n", text) : -1;
    free(text);
    if (length < 0) return train_fail(run->error, run->error_size, TRAIN_NOMEM, "out of memory");
    enum train_status status = TRAIN_OK;
    for (int done = 0; done < length && !status;) {
        ssize_t put = write(run->metrics, line + done, (size_t)(length - done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0)
            status = train_fail(run->error, run->error_size, TRAIN_IO,
                                "%s/" TRAIN_METRICS ": cannot write: %s", run->job->directory,
                                strerror(errno));
        else done += (int)put;
    }
    free(line);
    off_t end = lseek(run->metrics, 0, SEEK_END);
    if (end > 0) run->job->position.metrics_bytes = (uint64_t)end;
    return status;
}

static const char *what_is_kept(const struct run *run)
{
    if (!run->saved) return "no checkpoint was written";
    return run->saved_steps ? "the last good checkpoint is kept"
                            : "only the first weights are saved";
}

/* In the step that the position is at, or in what it left behind. */
static enum train_status not_finite(const struct run *run, bool in_step, const char *what)
{
    const struct train_position *p = &run->job->position;
    char text[400]; /* `what` may lie where the message goes */
    snprintf(text, sizeof text, "%s", what);
    return train_fail(
        run->error, run->error_size, TRAIN_NUMERIC,
        in_step ? "epoch %llu, batch %llu: %s; training stopped, %s (a smaller --lr may help)"
                : "after %llu epochs and %llu batches: %s; training stopped, %s (a smaller --lr "
                  "may help)",
        (unsigned long long)p->epoch + in_step, (unsigned long long)p->batch + in_step, text,
        what_is_kept(run));
}

/* ------------------------------------------------------------------------- the best parameters */

static bool wants_best(const struct train_job *job)
{
    return job->keep_best || job->recover || job->schedule.from_best;
}

/* Copies weights, and with `running` the statistics behind them, into the best ones or out. */
static enum cvy_status move_best(const struct train_job *job, bool running, bool out)
{
    float *at = job->best;
    enum cvy_status s = CVY_OK;
    for (int k = CVY_PARAM_WEIGHT; k <= (running ? CVY_PARAM_RUNNING : CVY_PARAM_WEIGHT); k++) {
        const enum cvy_param_kind kind = (enum cvy_param_kind)k;
        for (size_t i = 0; i < cvy_trainer_params(job->trainer, kind) && !s; i++) {
            cvy_param_info info;
            s = cvy_trainer_param(job->trainer, kind, i, &info);
            if (!s && out) s = cvy_trainer_set(job->trainer, kind, info.name, at, info.count);
            else if (!s) s = cvy_trainer_get(job->trainer, kind, info.name, at, info.count);
            at += s ? 0 : info.count;
        }
    }
    return s;
}

static size_t best_count(const struct train_job *job)
{
    size_t n = 0;
    cvy_param_info info;
    for (int k = CVY_PARAM_WEIGHT; k <= CVY_PARAM_RUNNING; k++)
        for (size_t i = 0; !cvy_trainer_param(job->trainer, (enum cvy_param_kind)k, i, &info); i++)
            n += info.count;
    return n;
}

/* Room for them, with those that the trainer has. */
static enum train_status best_open(struct train_job *job, char *error, size_t error_size)
{
    if (!wants_best(job) || job->best) return TRAIN_OK;
    if (!(job->best = malloc((best_count(job) + 1) * sizeof *job->best)))
        return train_fail(error, error_size, TRAIN_NOMEM, "out of memory for the best parameters");
    enum cvy_status s = move_best(job, true, false);
    return s ? engine(job, s, error, error_size) : TRAIN_OK;
}

/* The best are those of now, which must be finite. */
static enum train_status best_take(struct run *run)
{
    const struct train_job *job = run->job;
    run->best = true;
    if (!job->best) return TRAIN_OK;
    const size_t n = best_count(job);
    float *before = malloc((n + 1) * sizeof *before);
    if (!before)
        return train_fail(run->error, run->error_size, TRAIN_NOMEM,
                          "out of memory for the best parameters");
    memcpy(before, job->best, n * sizeof *before);
    enum cvy_status s = move_best(job, true, false);
    bool finite = true;
    for (size_t i = 0; i < n && finite; i++) finite = isfinite(job->best[i]);
    if (s || !finite) memcpy(job->best, before, n * sizeof *before);
    free(before);
    if (s) return engine(job, s, run->error, run->error_size);
    return finite ? TRAIN_OK : not_finite(run, false, "a parameter is not finite");
}

/* After an epoch: whether it is the best so far. */
static enum train_status best_judge(struct run *run, const struct train_score *valid)
{
    struct train_position *p = &run->job->position;
    const bool better = !run->job->valid.n || !p->best_epoch || valid->correct > p->best_correct;
    enum train_status status = better ? best_take(run) : TRAIN_OK;
    if (status || !better) return status;
    p->best_epoch = p->epoch + 1;
    p->best_correct = valid->correct;
    return TRAIN_OK;
}

static bool out_of_patience(const struct train_job *job)
{
    const struct train_position *p = &job->position;
    return job->patience && job->valid.n && p->epoch - p->best_epoch >= job->patience;
}

static void note(const struct train_job *job, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void note(const struct train_job *job, const char *format, ...)
{
    char text[500];
    va_list args;
    if (!job->note) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    job->note(job->user, text);
}

/* A file of the run, with its settings and where it stands. */
static enum train_status write_params(struct run *run, const char *name,
                                      const struct checkpoint_also *also)
{
    struct train_job *job = run->job;
    char path[PATH_MAX];
    enum train_status status = run_path(job, name, path, run->error, run->error_size);
    if (status) return status;
    char *position = position_text(&job->position);
    json_t *metadata = json_pack("{s:s, s:s, s:s}", "convoy.position", position ? position : "",
                                 "convoy.model", job->model, "convoy.config", job->config);
    if (!position || !metadata)
        status = train_fail(run->error, run->error_size, TRAIN_NOMEM, "%s: out of memory", path);
    if (!status)
        status = checkpoint_save(path, job->trainer, also, metadata, run->error, run->error_size);
    if (status == TRAIN_NUMERIC) status = not_finite(run, false, run->error);
    json_decref(metadata);
    free(position);
    return status;
}

static enum train_status save(struct run *run)
{
    struct train_job *job = run->job;
    job->position.wall_seconds = run->wall_base + train_now() - job->wall_start;
    if (!job->directory) return TRAIN_OK;
    if (files_sync(run->metrics)) /* the checkpoint tells its length */
        return train_fail(run->error, run->error_size, TRAIN_IO,
                          "%s/" TRAIN_METRICS ": cannot write: %s", job->directory,
                          strerror(errno));
    const struct checkpoint_also also = { .best = job->best, .mean = job->mean };
    enum train_status status = write_params(run, TRAIN_CHECKPOINT, &also);
    if (status) return status;
    run->saved = true;
    run->saved_steps = job->position.steps;
    return TRAIN_OK;
}

/* Between epochs, before the checkpoint says that the last one is over: whoever is killed in
 * between writes the same once more. */
static enum train_status snapshot(struct run *run)
{
    struct train_job *job = run->job;
    const uint64_t epoch = job->position.epoch;
    const struct checkpoint_also also = { .mean = job->mean, .weights_only = true };
    char name[64], directory[PATH_MAX];
    if (!job->directory || !job->snapshot_every || epoch % job->snapshot_every) return TRAIN_OK;
    enum train_status status = run_path(job, TRAIN_PARAMS, directory, run->error, run->error_size);
    if (!status) status = files_make_directory(directory, run->error, run->error_size);
    snprintf(name, sizeof name, TRAIN_PARAMS "/epoch_%llu.safetensors", (unsigned long long)epoch);
    return status ? status : write_params(run, name, &also);
}

enum train_status train_restore(struct train_job *job, struct checkpoint *checkpoint, char *error,
                                size_t error_size)
{
    struct train_position p;
    size_t batches = batches_of(job);
    if (!position_parse(checkpoint_text(checkpoint, "convoy.position"), &p) || p.batch > batches ||
        p.seen > job->train.n || p.counted > p.seen ||
        p.seen != (p.batch < batches ? p.batch * job->batch : job->train.n))
        return train_fail(error, error_size, TRAIN_BAD,
                          "%s: it does not say where training stood: it cannot be resumed",
                          checkpoint->where);
    /* a run that ended within this epoch has judged it */
    const uint64_t judged = p.epoch + (p.cut_steps > p.epoch * batches);
    if (p.best_epoch > judged || p.best_correct > job->valid.n || p.recoveries > job->recover)
        return train_fail(error, error_size, TRAIN_BAD,
                          "%s: its best epoch cannot be: it cannot be resumed", checkpoint->where);
    if (job->steps && p.steps > job->steps)
        return train_fail(error, error_size, TRAIN_BAD,
                          "%s: %llu steps are trained already, more than --steps=%llu",
                          checkpoint->where, (unsigned long long)p.steps,
                          (unsigned long long)job->steps);
    if (!job->steps && p.epoch > job->epochs)
        return train_fail(error, error_size, TRAIN_BAD,
                          "%s: %llu epochs are trained already, more than --epochs=%zu",
                          checkpoint->where, (unsigned long long)p.epoch, job->epochs);
    enum train_status status =
        checkpoint_load(checkpoint, job->trainer, job->ctx, true, error, error_size);
    if (status) return status;
    if (wants_best(job) && !(status = best_open(job, error, error_size)))
        status = checkpoint_best(checkpoint, job->trainer, job->best, error, error_size);
    if (status) {
        free(job->best);
        job->best = NULL;
        return status;
    }
    cvy_trainer_set_steps(job->trainer, p.steps);
    job->position = p;
    return TRAIN_OK;
}

/* ------------------------------------------------------------------------------------- the loop */

/* Examples a second of the time inside steps, as d2l counts, since this process began the epoch or
 * went on with it. */
static double epoch_rate(const struct run *run)
{
    const struct train_position *p = &run->job->position;
    double seconds = p->step_seconds - run->epoch_step_seconds;
    return seconds > 0 ? (double)(p->examples - run->epoch_examples) / seconds : 0;
}

/* Images in all steps of the run. */
static double all_examples(const struct run *run)
{
    const struct train_job *job = run->job;
    const double n = (double)job->train.n;
    if (!job->steps) return n * (double)job->epochs;
    const uint64_t whole = job->steps / run->batches, rest = job->steps % run->batches;
    return n * (double)whole + (double)rest * (double)job->batch;
}

static void report(const struct run *run, bool evaluating)
{
    const struct train_job *job = run->job;
    const struct train_position *p = &job->position;
    if (!job->progress) return;
    double seconds = train_now() - run->step_start, left = all_examples(run) - (double)p->examples;
    double rate = seconds > 0 ? (double)(p->examples - run->examples_start) / seconds : 0;
    const struct train_progress progress = { .epoch = (size_t)p->epoch + 1,
                                             .epochs = run->epochs,
                                             .step = p->steps,
                                             .steps = job->steps,
                                             .batch = (size_t)p->batch,
                                             .batches = run->batches,
                                             .evaluating = evaluating,
                                             .loss = mean(p->loss_sum, p->weight),
                                             .acc = share(p->correct, p->counted),
                                             .rate = epoch_rate(run),
                                             .eta = rate > 0 ? left / rate : 0 };
    job->progress(job->user, &progress);
}

/* The position still says that the epoch's end is to be done. */
static void report_epoch(const struct run *run, bool evaluated)
{
    const struct train_job *job = run->job;
    const struct train_position *p = &job->position;
    const struct train_epoch epoch = { .epoch = (size_t)p->epoch + 1,
                                       .epochs = run->epochs,
                                       .step = p->steps,
                                       .evaluated = evaluated,
                                       .loss = p->loss,
                                       .train_acc = p->train_acc,
                                       .test_loss = p->test_loss,
                                       .test_acc = p->test_acc,
                                       .validated = job->valid.n > 0,
                                       .valid_acc = p->valid_acc,
                                       .drawn = job->eval_train > 0,
                                       .drawn_acc = run->drawn.acc,
                                       .rate = epoch_rate(run),
                                       .seconds = train_now() - run->epoch_start };
    if (job->epoch_done) job->epoch_done(job->user, &epoch);
}

/* Of a step (from 0) of this epoch. */
static double rate_of(const struct run *run, uint64_t step)
{
    const struct schedule_time time = { step, run->job->position.epoch, run->batches };
    return schedule_rate(&run->job->schedule, &time, run->job->lr) *
           pow(0.1, (double)run->job->position.recoveries);
}
static double momentum_of(const struct run *run, uint64_t step)
{
    const struct schedule_time time = { step, run->job->position.epoch, run->batches };
    return schedule_momentum(&run->job->schedule, &time, run->job->momentum);
}
static bool moves(const struct run *run)
{
    return schedule_moves(&run->job->schedule, run->job->momentum);
}

/* What is evaluated before a step. */
struct before {
    bool due;
    struct train_score test, valid;
    struct layer_values probe;
};

/* The next part of a split, whose turn follows from the number of steps. */
static enum train_status evaluate_part(const struct run *run, const struct train_split *split,
                                       struct train_score *score)
{
    const struct train_job *job = run->job;
    const uint64_t turn = job->position.steps / job->eval_steps;
    const size_t n = job->eval_images && job->eval_images < split->n ? job->eval_images : split->n;
    const size_t first = n < split->n ? (size_t)(turn % split->n * n % split->n) : 0;
    return evaluate(job, split, first, n, score, run->error, run->error_size);
}

static enum train_status ask_probe(const struct run *run, struct layer_values *values)
{
    const struct train_job *job = run->job;
    if (!job->probe.predictor) return TRAIN_OK;
    return layer_probe_take(&job->probe, job->ctx, values, run->error, run->error_size);
}

/* Numbers that are none are left out: JSON has no word for them. */
static void set_probe(json_t *line, const struct train_job *job, const struct layer_values *v)
{
    if (!line || !job->probe.predictor) return;
    json_t *json = json_pack("{s:s}", "layer", job->probe.what);
    const struct {
        const char *key;
        double value;
    } numbers[] = { { "p15", v->percentile[0] },
                    { "p50", v->percentile[1] },
                    { "p85", v->percentile[2] },
                    { "mean", v->mean },
                    { "variance", v->variance } };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (isfinite(numbers[i].value))
            json_object_set_new(json, numbers[i].key, json_real(numbers[i].value));
    json_object_set_new(line, "probe", json);
}

static enum train_status evaluate_before(const struct run *run, struct before *before)
{
    const struct train_job *job = run->job;
    enum train_status status = TRAIN_OK;
    *before =
        (struct before){ .due = job->eval_steps && job->position.steps % job->eval_steps == 0 };
    if (!before->due) return TRAIN_OK;
    report(run, true);
    if (job->valid.n) status = evaluate_part(run, &job->valid, &before->valid);
    if (!status) status = evaluate_part(run, &job->test, &before->test);
    return status ? status : ask_probe(run, &before->probe);
}

static void set_score(json_t *line, const char *split, const struct train_score *score)
{
    char key[32];
    snprintf(key, sizeof key, "%s_loss", split);
    if (isfinite(score->loss)) json_object_set_new(line, key, json_real(score->loss));
    snprintf(key, sizeof key, "%s_acc", split);
    json_object_set_new(line, key, json_real(score->acc));
}

/* The line of a step, if it has one: five points an epoch, as d2l's curve, the epoch's and the
 * run's end, and what was evaluated. */
static enum train_status log_step(struct run *run, const struct before *before,
                                  const cvy_step_result *result, double lr)
{
    const struct train_job *job = run->job;
    const struct train_position *p = &job->position;
    const size_t every = run->batches / 5 ? run->batches / 5 : 1;
    const double loss = mean(result->loss_sum, result->weight);
    if (before->due && job->step_done)
        job->step_done(job->user, &(struct train_step){ .step = p->steps,
                                                        .steps = job->steps,
                                                        .validated = job->valid.n > 0,
                                                        .loss = loss,
                                                        .test_loss = before->test.loss,
                                                        .test_acc = before->test.acc,
                                                        .valid_acc = before->valid.acc });
    if (!before->due && p->batch % every && p->batch != run->batches && p->steps != job->steps)
        return TRAIN_OK;
    json_t *line = json_pack(
        "{s:s, s:I, s:f, s:I, s:f, s:f, s:f, s:f}", "type", "step", "step", (json_int_t)p->steps,
        "epoch", (double)p->epoch + (double)p->batch / (double)run->batches, "examples",
        (json_int_t)p->examples, "train_loss", mean(p->loss_sum, p->weight), "train_acc",
        share(p->correct, p->counted), "batch_loss", loss, "lr", lr);
    if (line && before->due && job->valid.n) set_score(line, "valid", &before->valid);
    if (line && before->due) set_score(line, "test", &before->test);
    if (before->due) set_probe(line, job, &before->probe);
    return log_line(run, line);
}

static enum train_status step(struct run *run)
{
    struct train_job *job = run->job;
    struct train_position *p = &job->position;
    size_t first = (size_t)p->batch * job->batch;
    const cvy_batch batch = { .images = job->train.images,
                              .dtype = CVY_U8,
                              .labels8 = job->train.labels,
                              .index = run->order + first,
                              .epoch = p->epoch,
                              .n = job->train.n - first < job->batch ? job->train.n - first
                                                                     : job->batch };
    cvy_step_result result;
    struct before before;
    enum train_status status = evaluate_before(run, &before);
    if (status) return status;
    const double lr = rate_of(run, p->steps);
    enum cvy_status s = cvy_trainer_set_lr(job->trainer, lr);
    if (!s && moves(run))
        s = cvy_trainer_set_hyper(job->trainer, "momentum", momentum_of(run, p->steps));
    const double penalty = job->penalty ? cvy_trainer_penalty(job->trainer) : 0;
    if (!s) s = cvy_trainer_step(job->trainer, &batch, &result);
    if (s && s != CVY_E_NUMERIC) return engine(job, s, run->error, run->error_size);
    if (s) return not_finite(run, true, cvy_message(job->ctx));
    if (!isfinite(result.loss_sum)) return not_finite(run, true, "the loss is not finite");
    result.loss_sum += penalty * result.weight;
    run->tested = run->best = false;
    p->batch++;
    p->steps++;
    p->loss_sum += job->batch_means ? mean(result.loss_sum, result.weight) : result.loss_sum;
    p->weight += job->batch_means ? result.weight > 0 : result.weight;
    p->correct += result.correct;
    p->counted += result.counted;
    p->seen += result.n;
    p->examples += result.n;
    p->step_seconds += result.seconds;
    return log_step(run, &before, &result, lr);
}

/* The line of an epoch. */
static enum train_status log_epoch(struct run *run, bool evaluated)
{
    struct train_job *job = run->job;
    struct train_position *p = &job->position;
    double wall = run->wall_base + train_now() - job->wall_start;
    /* 2, or of a run whose steps end within the second 1.25 */
    const double part = (double)p->epoch + (double)p->batch / (double)run->batches;
    json_t *epoch =
        p->batch == run->batches ? json_integer((json_int_t)p->epoch + 1) : json_real(part);
    json_t *line = json_pack("{s:s, s:o, s:I, s:f, s:f, s:f, s:f, s:f}", "type", "epoch", "epoch",
                             epoch, "step", (json_int_t)p->steps, "lr", rate_of(run, p->steps - 1),
                             "train_loss", p->loss, "train_acc", p->train_acc, "step_seconds",
                             p->step_seconds, "wall_seconds", wall);
    if (line && moves(run))
        json_object_set_new(line, "momentum", json_real(momentum_of(run, p->steps - 1)));
    if (line && job->valid.n && isfinite(p->valid_loss))
        json_object_set_new(line, "valid_loss", json_real(p->valid_loss));
    if (line && job->valid.n) {
        json_object_set_new(line, "valid_acc", json_real(p->valid_acc));
        json_object_set_new(line, "best_epoch", json_integer((json_int_t)p->best_epoch));
    }
    if (line && job->eval_train) set_score(line, "eval_train", &run->drawn);
    if (line && evaluated && isfinite(p->test_loss))
        json_object_set_new(line, "test_loss", json_real(p->test_loss));
    if (line && evaluated) json_object_set_new(line, "test_acc", json_real(p->test_acc));
    if (evaluated) {
        struct layer_values values;
        enum train_status status = ask_probe(run, &values);
        if (status) {
            json_decref(line);
            return status;
        }
        set_probe(line, job, &values);
    }
    return log_line(run, line);
}

static enum train_status test(struct run *run, uint64_t epochs)
{
    struct train_position *p = &run->job->position;
    struct train_score score;
    enum train_status status =
        train_evaluate(run->job, &run->job->test, &score, run->error, run->error_size);
    if (status) return status;
    p->test_loss = score.loss;
    p->test_acc = score.acc;
    p->test_epoch = epochs;
    run->tested = true;
    return TRAIN_OK;
}

/* Evaluates training images. The epoch is over: its order is not needed any more. */
static enum train_status draw(struct run *run)
{
    const struct train_job *job = run->job;
    const struct sampling with_replacement = { SAMPLING_REPLACEMENT, 1 };
    struct train_split some = job->train;
    if (job->eval_train < some.n) {
        sampling_fill(&with_replacement, run->order, some.n, ~job->seed, job->position.epoch);
        some.n = job->eval_train;
        some.index = run->order;
    }
    return train_evaluate(job, &some, &run->drawn, run->error, run->error_size);
}

/* How it is behind an epoch, or behind the run's last step within one. */
static enum train_status judge(struct run *run)
{
    struct train_job *job = run->job;
    struct train_position *p = &job->position;
    struct train_score score = { 0 };
    enum train_status status = TRAIN_OK;
    bool evaluate = (p->epoch + 1) % job->eval_every == 0 || p->epoch + 1 == run->epochs;
    /* interrupted: the position still says that the epoch's end is to be done */
    if (evaluate || job->valid.n || job->eval_train) report(run, true);
    if (job->valid.n)
        status = train_evaluate(job, &job->valid, &score, run->error, run->error_size);
    if (!status && job->eval_train) status = draw(run);
    if (!status && evaluate) status = test(run, p->epoch + 1);
    if (status) return status;
    p->valid_loss = score.loss;
    p->valid_acc = score.acc;
    if ((status = best_judge(run, &score))) return status;
    p->loss = mean(p->loss_sum, p->weight);
    p->train_acc = share(p->correct, p->counted);
    if ((status = log_epoch(run, evaluate))) return status;
    report_epoch(run, evaluate);
    return TRAIN_OK;
}

/* The run's last step was within an epoch: a longer run goes on there. */
static enum train_status end_within(struct run *run)
{
    enum train_status status = judge(run);
    if (status) return status;
    run->job->position.cut_steps = run->job->position.steps;
    return save(run);
}

static enum train_status end_epoch(struct run *run)
{
    struct train_position *p = &run->job->position;
    enum train_status status = judge(run);
    if (status) return status;
    p->epoch++;
    p->batch = p->seen = p->counted = p->correct = 0;
    p->loss_sum = p->weight = 0;
    status = snapshot(run);
    return status ? status : save(run);
}

/* The weights of the best epoch are those of the era that begins. */
static enum train_status go_back(struct run *run)
{
    const struct train_job *job = run->job;
    if (job->position.batch || !schedule_goes_back(&job->schedule, job->position.epoch))
        return TRAIN_OK;
    enum cvy_status s = move_best(job, false, true);
    return s ? engine(job, s, run->error, run->error_size) : TRAIN_OK;
}

static bool may_recover(const struct train_job *job)
{
    return job->position.recoveries < job->recover;
}

/* Within an epoch. What will be recovered from is not saved: the checkpoint before it leads to the
 * same. */
static enum train_status save_between(struct run *run)
{
    enum train_status status = save(run);
    if (status != TRAIN_NUMERIC || !may_recover(run->job)) return status;
    note(run->job, "a parameter is not finite: the checkpoint before stays");
    return TRAIN_OK;
}

/* All states and sums of the optimizer at zero. */
static enum cvy_status clear_states(const struct train_job *job)
{
    enum cvy_status s = CVY_OK;
    for (int k = CVY_PARAM_STATE; k <= CVY_PARAM_SUM && !s; k++)
        for (size_t i = 0; i < cvy_trainer_params(job->trainer, (enum cvy_param_kind)k) && !s;
             i++) {
            cvy_param_info info;
            float *zeros = NULL;
            s = cvy_trainer_param(job->trainer, (enum cvy_param_kind)k, i, &info);
            if (!s && !(zeros = calloc(info.count, sizeof *zeros))) s = CVY_E_NOMEM;
            if (!s) s = cvy_trainer_set(job->trainer, info.kind, info.name, zeros, info.count);
            free(zeros);
        }
    return s;
}

/* The epoch that ended in what is not finite begins again; the steps before it stay counted, its
 * own do not. */
static enum train_status recover(struct run *run)
{
    struct train_job *job = run->job;
    struct train_position *p = &job->position;
    enum cvy_status s = move_best(job, true, true);
    if (!s) s = clear_states(job);
    if (s) return engine(job, s, run->error, run->error_size);
    p->epoch = run->epoch;
    if (p->best_epoch > p->epoch) p->best_epoch = p->epoch; /* its states were not finite */
    p->batch = p->seen = p->counted = p->correct = 0;
    p->loss_sum = p->weight = 0;
    p->steps = p->epoch * run->batches;
    p->examples = p->epoch * job->train.n;
    p->recoveries++;
    cvy_trainer_set_steps(job->trainer, p->steps);
    run->step_start = train_now();
    run->examples_start = p->examples;
    note(job,
         "epoch %llu: not finite; again from the parameters of epoch %llu, at a tenth of the rate",
         (unsigned long long)p->epoch + 1, (unsigned long long)p->best_epoch);
    enum train_status status =
        log_line(run, json_pack("{s:s, s:I, s:I, s:I}", "type", "recovery", "epoch",
                                (json_int_t)p->epoch + 1, "from_epoch", (json_int_t)p->best_epoch,
                                "recoveries", (json_int_t)p->recoveries));
    return status ? status : save(run);
}

/* Whether the run has all its steps, of those that count them. */
static bool has_all_steps(const struct train_job *job)
{
    return job->steps && job->position.steps >= job->steps;
}

/* Whether there is an epoch to begin or to go on with, be it only to judge what is done of it. */
static bool goes_on(const struct run *run)
{
    const struct train_job *job = run->job;
    const struct train_position *p = &job->position;
    if (has_all_steps(job)) return p->batch && p->cut_steps != p->steps;
    return p->epoch < run->epochs && !out_of_patience(job);
}

/* Ioffe & Szegedy's Algorithm 2: the running statistics of inference. */
static enum train_status population(struct run *run)
{
    const struct train_job *job = run->job;
    const struct train_position *p = &job->position;
    size_t n = job->train.n < job->batch ? job->train.n : job->batch, whole = job->train.n / n;
    if (job->population) run->tested = false;
    for (size_t k = 0; k < job->population; k++) {
        const uint64_t epoch = p->epoch + (p->batch > 0) + k / whole;
        if (stopped(job)) return TRAIN_INTERRUPTED;
        if (k % whole == 0)
            sampling_fill(&job->sampling, run->order, job->train.n, job->seed, epoch);
        const cvy_batch batch = { .images = job->train.images,
                                  .dtype = CVY_U8,
                                  .labels8 = job->train.labels,
                                  .index = run->order + k % whole * n,
                                  .epoch = epoch,
                                  .n = n };
        enum cvy_status s = cvy_trainer_population(job->trainer, &batch, k);
        if (s) return engine(job, s, run->error, run->error_size);
    }
    return TRAIN_OK;
}

/* What is to be done once, behind the last step. */
static enum train_status finish(struct run *run)
{
    struct train_job *job = run->job;
    struct train_position *p = &job->position;
    if (p->epoch < run->epochs && !has_all_steps(job))
        note(job, "stopped after epoch %llu: none of the last %zu had a better validation accuracy",
             (unsigned long long)p->epoch, job->patience);
    if (p->end_steps == p->steps || (!job->valid.n && !job->population)) return TRAIN_OK;
    const bool other = job->keep_best && !run->best;
    enum cvy_status s = other ? move_best(job, !job->keep_running, true) : CVY_OK;
    if (s) return engine(job, s, run->error, run->error_size);
    enum train_status status = population(run);
    uint64_t epochs = job->keep_best ? p->best_epoch : p->epoch + (p->batch > 0);
    struct train_score valid = { .acc = job->keep_best ? share(p->best_correct, job->valid.n)
                                                       : p->valid_acc };
    if (!status && job->population && job->valid.n)
        status = train_evaluate(job, &job->valid, &valid, run->error, run->error_size);
    if (!status && (other || !run->tested)) status = test(run, epochs);
    if (status) return status;
    if (job->population) p->valid_loss = valid.loss;
    if (job->population) p->valid_acc = valid.acc;
    p->ended = p->epoch;
    p->end_steps = p->steps;
    json_t *line = json_pack("{s:s, s:I, s:f}", "type", "end", "epoch", (json_int_t)epochs,
                             "test_acc", p->test_acc);
    if (line && job->valid.n) json_object_set_new(line, "valid_acc", json_real(valid.acc));
    if (line && job->population)
        json_object_set_new(line, "population", json_integer((json_int_t)job->population));
    status = log_line(run, line);
    return status ? status : save(run);
}

static enum train_status train_epoch(struct run *run)
{
    struct train_job *job = run->job;
    struct train_position *p = &job->position;
    run->epoch_start = train_now();
    run->epoch = p->epoch;
    enum train_status status = go_back(run);
    if (status) return status;
    run->epoch_step_seconds = p->step_seconds;
    run->epoch_examples = p->examples;
    sampling_fill(&job->sampling, run->order, job->train.n, job->seed, p->epoch);
    while (p->batch < run->batches && !has_all_steps(job)) {
        if (stopped(job)) return TRAIN_INTERRUPTED;
        status = step(run);
        if (!status && job->save_every && p->steps % job->save_every == 0)
            status = save_between(run);
        if (status) return status;
        report(run, false);
    }
    if (stopped(job)) return TRAIN_INTERRUPTED;
    return p->batch < run->batches ? end_within(run) : end_epoch(run);
}

enum train_status train_run(struct train_job *job, char *error, size_t error_size)
{
    struct run run = { .job = job,
                       .metrics = -1,
                       .batches = batches_of(job),
                       .wall_base = job->position.wall_seconds,
                       .step_start = train_now(),
                       .examples_start = job->position.examples,
                       .saved = job->position.steps > 0,
                       .saved_steps = job->position.steps,
                       .error = error,
                       .error_size = error_size };
    if (job->train.n > UINT32_MAX || !job->train.n)
        return train_fail(error, error_size, TRAIN_BAD,
                          "expected 1 to 4294967295 training images, found %zu", job->train.n);
    run.epochs = train_epochs(job);
    enum train_status status = open_metrics(&run);
    if (!status && !(run.order = malloc(job->train.n * sizeof *run.order)))
        status = train_fail(error, error_size, TRAIN_NOMEM,
                            "out of memory for the order of %zu images", job->train.n);
    /* a run that is killed from here on can be resumed */
    if (!status) status = best_open(job, error, error_size);
    if (!status && !job->position.steps) status = snapshot(&run);
    if (!status && !job->position.steps) status = save(&run);
    while (!status && goes_on(&run)) {
        status = train_epoch(&run);
        if (status == TRAIN_NUMERIC && may_recover(job)) status = recover(&run);
    }
    if (!status) status = finish(&run);
    if (status == TRAIN_INTERRUPTED) {
        enum train_status saved = save_between(&run);
        if (saved) status = saved;
    }
    job->position.wall_seconds = run.wall_base + train_now() - job->wall_start;
    if (run.metrics >= 0 && close(run.metrics) && !status)
        status = train_fail(error, error_size, TRAIN_IO, "%s/" TRAIN_METRICS ": cannot write: %s",
                            job->directory, strerror(errno));
    free(run.order);
    free(job->best);
    job->best = NULL;
    return status;
}
