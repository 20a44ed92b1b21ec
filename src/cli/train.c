/* `convoy train`: settles what to train (options over the model's defaults, or a run to go on
 * with), opens it, makes the run directory, trains, and prints d2l's lines. */
#include "cli/train.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/screen.h"
#include "report/text.h"

/* ----------------------------------------------------------------------------------- the screen */

struct view {
    struct cli_screen screen;
    bool quiet;
    struct cli_train_events *events;
};

static void show_progress(void *user, const struct train_progress *p)
{
    struct view *view = user;
    char epoch[64], batch[64], loss[32], acc[32], eta[64], rate[64], number[CLI_NUMBER];
    if (view->quiet || (!cli_screen_due(&view->screen) && !p->evaluating)) return;
    snprintf(epoch, sizeof epoch, "epoch %zu/%zu", p->epoch, p->epochs);
    if (p->steps)
        snprintf(batch, sizeof batch, "step %llu/%llu", (unsigned long long)p->step,
                 (unsigned long long)p->steps);
    else snprintf(batch, sizeof batch, "batch %zu/%zu", p->batch, p->batches);
    snprintf(loss, sizeof loss, "loss %s", text_value(p->loss, number));
    snprintf(acc, sizeof acc, "acc %.3f", p->acc);
    snprintf(rate, sizeof rate, "%s ex/s", cli_count(p->rate, number));
    if (p->eta < 100) snprintf(eta, sizeof eta, "ETA %.0f s", p->eta);
    else snprintf(eta, sizeof eta, "ETA %s", cli_time(p->eta, number));
    const char *const parts[] = { epoch, p->evaluating ? "evaluating" : batch, loss, acc, eta, rate,
                                  NULL };
    double done = p->batches ? (double)p->batch / (double)p->batches : 1;
    if (p->steps) done = (double)p->step / (double)p->steps;
    cli_screen_show(&view->screen, done, parts);
}

static void print_epoch(void *user, const struct train_epoch *e)
{
    struct view *view = user;
    char rate[CLI_NUMBER], seconds[CLI_NUMBER], acc[CLI_NUMBER] = "-", all[CLI_NUMBER],
                                                valid[CLI_NUMBER] = "", drawn[CLI_NUMBER] = "",
                                                loss[CLI_NUMBER];
    cli_train_events_epoch(view->events, e->step);
    if (view->quiet) return;
    if (e->drawn) snprintf(drawn, sizeof drawn, " (%.3f)", e->drawn_acc);
    if (e->evaluated) snprintf(acc, sizeof acc, "%.3f", e->test_acc);
    if (e->validated) snprintf(valid, sizeof valid, "val acc %.3f  ", e->valid_acc);
    int width = snprintf(all, sizeof all, "%zu", e->epochs); /* one under the other */
    fprintf(stderr, "%sepoch %*zu/%s  loss %s  train acc %.3f%s  %stest acc %-5s  %6s ex/s  %7s\n",
            cli_screen_erase(&view->screen), width, e->epoch, all, text_value(e->loss, loss),
            e->train_acc, drawn, valid, acc, cli_count(e->rate, rate),
            cli_time(e->seconds, seconds));
}

static void print_step(void *user, const struct train_step *s)
{
    struct view *view = user;
    char valid[CLI_NUMBER] = "", all[CLI_NUMBER] = "", loss[CLI_NUMBER], test_loss[CLI_NUMBER];
    if (view->quiet) return;
    if (s->steps) snprintf(all, sizeof all, "/%llu", (unsigned long long)s->steps);
    if (s->validated) snprintf(valid, sizeof valid, "  val acc %.3f", s->valid_acc);
    fprintf(stderr, "%sstep %*llu%s  loss %s  test loss %s  test acc %.3f%s\n",
            cli_screen_erase(&view->screen), (int)strlen(all) - 1, (unsigned long long)s->step, all,
            text_value(s->loss, loss), text_value(s->test_loss, test_loss), s->test_acc, valid);
}

static void print_note(void *user, const char *sentence)
{
    struct view *view = user;
    if (!view->quiet) fprintf(stderr, "%s%s\n", cli_screen_erase(&view->screen), sentence);
}

static void print_vector(const struct cli_session *s, const char *layer, const char *what,
                         const char *call)
{
    char name[256];
    snprintf(name, sizeof name, "%s.%s", layer, what);
    for (size_t i = 0; i < cvy_trainer_params(s->trainer, CVY_PARAM_WEIGHT); i++) {
        cvy_param_info info;
        if (cvy_trainer_param(s->trainer, CVY_PARAM_WEIGHT, i, &info) || strcmp(info.name, name))
            continue;
        float *values = malloc(info.count * sizeof *values);
        if (values && !cvy_trainer_get(s->trainer, CVY_PARAM_WEIGHT, name, values, info.count)) {
            printf("%s of %s: [", call, layer);
            for (size_t k = 0; k < info.count && k < 16; k++)
                printf("%s%.4f", k ? ", " : "", (double)values[k]);
            printf("%s]\n", info.count > 16 ? ", ..." : "");
        }
        free(values);
    }
}

/* gamma and beta of the first batch norm, as d2l's page shows them after training. */
static void print_batch_norm(const struct cli_session *s)
{
    cvy_node_info node;
    for (size_t i = 0; i < cvy_net_nodes(s->net); i++) {
        if (cvy_net_node(s->net, i, &node) || strcmp(node.type, "batch_norm")) continue;
        print_vector(s, node.name, "weight", "gamma");
        print_vector(s, node.name, "bias", "beta");
        return;
    }
}

static void print_result(const struct train_job *job)
{
    const struct train_position *p = &job->position;
    char loss[CLI_NUMBER];
    printf("loss %s, train acc %.3f, test acc %.3f\n", text_value(p->loss, loss), p->train_acc,
           p->test_acc);
    if (job->valid.n)
        printf("validation acc %.3f, best %.3f after epoch %llu%s\n", p->valid_acc,
               (double)p->best_correct / (double)job->valid.n, (unsigned long long)p->best_epoch,
               job->keep_best ? ", whose parameters these are" : "");
    printf("%.1f examples/sec on cpu\n",
           p->step_seconds > 0 ? (double)p->examples / p->step_seconds : 0);
    printf("%.1f examples/sec by the wall clock (%.1f s, with loading and evaluation)\n",
           p->wall_seconds > 0 ? (double)p->examples / p->wall_seconds : 0, p->wall_seconds);
}

/* ---------------------------------------------------------------------------------- the command */

/* Whether batches of training have statistics there: those that are frozen have none. */
static bool has_statistics(const cvy_trainer *trainer, const char *layer)
{
    cvy_op_info op;
    size_t n = strlen(layer);
    for (size_t i = 0; i < cvy_trainer_ops(trainer); i++)
        if (!cvy_trainer_op(trainer, i, &op) && !strcmp(op.type, "batch_norm.stats") &&
            !strncmp(op.name, layer, n) && !strcmp(op.name + n, ".stats"))
            return true;
    return false;
}

/* A batch of one image has one value per channel behind a linear layer: no variance. Better now
 * than an epoch later. (If all batches are so, the trainer itself has refused.) */
static int check_last_batch(const struct cli_session *s, const struct cli_train_config *c)
{
    cvy_node_info node;
    if (c->trained % c->d.batch != 1) return CLI_OK;
    for (size_t i = 0; i < cvy_net_nodes(s->net); i++)
        if (!cvy_net_node(s->net, i, &node) && node.out.h * node.out.w == 1 &&
            has_statistics(s->trainer, node.name))
            return cli_fail(CLI_BAD,
                            "batch norm %s needs at least two images in a batch, but %zu images in "
                            "batches of %zu leave "
                            "one alone: use another --batch",
                            node.name, c->trained, c->d.batch);
    return CLI_OK;
}

/* A run that is resumed goes on with the very same images and labels; then what the run's config
 * says of them. */
static int check_same_data(const struct cli_session *s, const struct cli_train_options *o,
                           struct cli_train_config *c)
{
    char labels[65];
    cli_labels_sum(s->data, labels);
    if (o->resuming &&
        strcmp(*c->digest ? s->data->digest : labels, *c->digest ? c->digest : c->labels))
        return cli_fail(CLI_BAD,
                        "%s: these are not the images and labels that the run was trained on",
                        s->data->source);
    if (o->resuming && !*c->digest)
        cli_fail(0, "note: the run was begun by an older convoy, which kept a hash of the labels "
                    "only: whether the images are "
                    "the same is not known");
    strcpy(c->digest, s->data->digest);
    strcpy(c->labels, labels);
    /* c->data is longer than prefix and PATH_MAX */
    const size_t prefix = strlen(strcpy(c->data, s->data->prefix));
    if (s->data->synthetic || !realpath(s->data->source, c->data + prefix))
        snprintf(c->data + prefix, sizeof c->data - prefix, "%s", s->data->source);
    return cli_utf8(c->data, "the directory of the data");
}

/* The images' whitening, which is made once. */
static int whiten(const struct cli_session *s, const struct cli_train_config *c)
{
    char error[CLI_ERROR];
    enum model_status status =
        model_set_zca(s->model, s->data->train.images, c->valid, s->trainer, error, sizeof error);
    return status ? cli_fail(cli_code_model(status), "%s", error) : CLI_OK;
}

static int open_all(struct cli_session *s, const struct cli_train_options *o,
                    struct cli_train_config *c)
{
    int code;
    if (o->resuming) {
        if ((code = cli_open_checkpoint(s, o->resume, NULL))) return code;
        c->d = s->model->defaults;
        if ((code = cli_train_config_restore(c, s))) return code;
    } else {
        if ((code = cli_open_model(s, o->model ? o->model : "lenet-bn", &o->change))) return code;
        c->d = s->model->defaults;
        c->seed = c->eval_every = 1;
    }
    if ((code = cli_train_config_apply(c, o))) return code;
    const char *data = o->data;
    if (!data && o->resuming) data = c->data;
    if ((code = cli_open_context(s, &o->engine)) || (code = cli_open_net(s)) ||
        (code = cli_loss_check(&c->d, cvy_tensor_shape(s->net, s->logits).c)) ||
        (code = cli_open_data(s, data)) || (code = cli_train_config_split(c, s->data->train.n)))
        return code;
    if (s->model->mean_image && !o->resuming)
        model_set_mean(s->model, s->data->train.images, c->valid);
    cvy_param_setting settings[MODEL_SETTINGS];
    const cvy_trainer_options trainer = model_trainer(s->model, &c->d, c->seed, settings);
    const cvy_input_desc input = model_input(s->model);
    enum cvy_status status = cvy_trainer_create(s->net, s->logits, &trainer, &s->trainer);
    if (!status)
        status = cvy_predictor_create(s->net, s->logits, c->d.eval_batch, &input, s->trainer,
                                      &s->predictor);
    if (status)
        return cli_fail(cli_code_cvy(status), "%s: %s%s", s->model->where, cvy_message(s->ctx),
                        status == CVY_E_NOMEM
                            ? " (`convoy info MODEL --batch N` tells what a smaller batch takes)"
                            : "");
    code = check_last_batch(s, c);
    if (!code && s->model->zca > 0 && !o->resuming) code = whiten(s, c);
    if (!code) code = cli_train_probe(s, c);
    return code ? code : check_same_data(s, o, c);
}

static void print_head(const struct cli_session *s, const struct train_job *job)
{
    cvy_machine m;
    cvy_machine_describe(&m);
    const struct data_set *d = s->data;
    bool own = strchr(d->name, ':') != NULL; /* such a name has the directory in it */
    printf("data: %s (", d->name);
    if (!own) printf("%s%s", d->source, d->synthetic ? ": " : ", ");
    printf("%s) %zu train / ", d->remark, job->train.n);
    if (job->valid.n) printf("%zu validation / ", job->valid.n);
    printf("%zu test\n", job->test.n);
    printf("cpu: %s, %s, %zu threads, backends %s\n", m.cpu, cvy_isa_name(cvy_context_isa(s->ctx)),
           cvy_context_threads(s->ctx), cvy_context_backends(s->ctx));
    printf("training on cpu\n");
    fflush(stdout);
}

static void tell_if_done(const struct train_job *job)
{
    const struct train_position *p = &job->position;
    const char *what = job->steps ? "steps" : "epochs";
    const uint64_t all = job->steps ? job->steps : job->epochs,
                   done = job->steps ? p->steps : p->epoch;
    if (done == all)
        fprintf(stderr, "all %llu %s are trained already; --%s=%llu would go on\n",
                (unsigned long long)all, what, what, 2 * (unsigned long long)all);
}

/* How it went, and the exit code. */
static int tell_end(const struct cli_session *s, const struct train_job *job,
                    enum train_status status, const char *out, const char *error)
{
    const struct train_position *p = &job->position;
    if (status == TRAIN_INTERRUPTED) {
        cli_fail(0,
                 "interrupted in epoch %llu after batch %llu; saved; go on with: convoy train "
                 "--resume=%s",
                 (unsigned long long)p->epoch + 1, (unsigned long long)p->batch, out);
        return 128 + (int)cli_stop_signal;
    }
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    print_result(job);
    print_batch_norm(s);
    printf("run: %s\n", out);
    return CLI_OK;
}

/* The job from where it stands, or where the run that is resumed does. */
static int run_job(struct cli_session *s, const struct cli_train_options *o, struct view *view,
                   struct train_job *job)
{
    char error[CLI_ERROR];
    enum train_status status = TRAIN_OK;
    if (o->resuming) status = train_restore(job, s->checkpoint, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    int code = cli_train_events_open(&view->events, o->tensorboard, s, job);
    if (code) return code;
    cli_catch_signals();
    print_head(s, job);
    if (o->resuming && !o->quiet) tell_if_done(job);
    status = train_run(job, error, sizeof error);
    cli_screen_clear(&view->screen);
    code = cli_train_events_close(view->events);
    const int end = tell_end(s, job, status, job->directory, error);
    return end ? end : code;
}

/* Trains what is open in directory `out`. */
static int train(struct cli_session *s, const struct cli_train_options *o,
                 const struct cli_train_config *c, const char *out, const char *config,
                 double start)
{
    struct view view = { .screen = cli_screen_open(), .quiet = o->quiet };
    const struct data_split *all = &s->data->train, *test = &s->data->test;
    const size_t limit = c->d.test_limit;
    const size_t size = s->data->c * s->data->h * s->data->w;
    struct train_job job = {
        .ctx = s->ctx,
        .trainer = s->trainer,
        .predictor = s->predictor,
        .eval_loss = model_eval_loss(&c->d),
        .eval_batch = c->d.eval_batch,
        .batch_means = c->d.batch_means,
        .classes = s->data->classes,
        .image_size = size,
        .mean = cli_mean(s->model),
        .train = { all->images, all->labels, c->trained, NULL },
        .valid = { all->images + c->valid * size, all->labels + c->valid, all->n - c->valid, NULL },
        .test = { test->images, test->labels, limit && limit < test->n ? limit : test->n, NULL },
        .epochs = c->d.epochs,
        .steps = c->d.steps,
        .batch = c->d.batch,
        .seed = c->seed,
        .sampling = { c->d.sampling, c->d.sampling_buffer },
        .lr = c->d.optimizer.lr,
        .momentum = c->d.optimizer.momentum,
        .schedule = c->d.schedule,
        .eval_every = c->eval_every,
        .save_every = c->save_every,
        .snapshot_every = c->snapshot_every,
        .eval_steps = c->d.eval_steps,
        .eval_images = c->d.eval_images,
        .patience = c->d.patience,
        .keep_best = c->d.keep_best,
        .keep_running = c->d.keep_running,
        .eval_train = c->d.eval_train,
        .probe = c->layer,
        .recover = c->d.recover,
        .population = c->d.population,
        .penalty = c->d.report_penalty,
        .directory = out,
        .model = s->model->json,
        .config = config,
        .wall_start = start,
        .stop = &cli_stop_signal,
        .progress = show_progress,
        .epoch_done = print_epoch,
        .step_done = print_step,
        .note = print_note,
        .user = &view
    };
    return run_job(s, o, &view, &job);
}

static int run(int argc, char **argv)
{
    double start = train_now();
    struct cli_train_options o = { 0 };
    struct cli_train_config c = { .seed = 1 };
    struct cli_session s = { 0 };
    struct files_lock lock = { .fd = -1 };
    char directory[PATH_MAX];
    cli_parse(&cli_train_argp, argc, argv, &o);
    int code = o.resuming ? cli_train_find_run(&o, directory, &lock) : CLI_OK;
    if (!code) code = open_all(&s, &o, &c);
    json_t *config = code ? NULL : cli_train_config_json(&c, &s);
    char *text = config ? model_dump(config) : NULL;
    json_decref(config);
    char *env = code ? NULL : cli_train_env_text(s.ctx);
    const char *out = o.resuming ? o.resume : o.out;
    if (!code && (!text || !env)) code = cli_fail(CLI_NOMEM, "out of memory");
    /* Nothing is created before all that can be wrong has been looked at. */
    if (!code && !out &&
        !(code = cli_train_default_directory(directory, sizeof directory, s.model->name)))
        out = directory;
    if (!code && !o.resuming) code = cli_train_directory(out, &lock);
    if (!code) code = cli_train_write_text(out, "config.json", text);
    if (!code) code = cli_train_write_text(out, "model.json", s.model->json);
    if (!code) code = cli_train_write_text(out, "env.json", env);
    if (!code) code = train(&s, &o, &c, out, text, start);
    free(text);
    free(env);
    cli_close(&s);
    files_unlock(&lock);
    return code;
}

const struct cli_command cli_train = { "train", "train a model, or go on with a run",
                                       &cli_train_argp, run };
