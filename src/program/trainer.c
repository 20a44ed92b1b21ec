/* The trainer: a net compiled for training, stepped batch by batch. Knows the net's compiler and
 * the program; how anything is computed is the backends' affair. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "program/model.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static enum cvy_status check_factor(struct cvy_context *ctx, const cvy_param_setting *s,
                                    const char *name, double factor)
{
    if (factor >= 0 && factor <= 1e6) return CVY_OK;
    return cvyi_fail(ctx, CVY_E_ARG,
                     "the %s of '%.128s' is %g, expected more than 0 and at most 1e6 (0: not said)",
                     name, s->match, factor);
}

static enum cvy_status check_settings(struct cvy_context *ctx, const cvy_trainer_options *o)
{
    if (o->n_settings && !o->settings)
        return cvyi_fail(ctx, CVY_E_ARG, "n_settings is %zu, but settings is NULL", o->n_settings);
    for (size_t i = 0; i < o->n_settings; i++) {
        char pattern[136];
        const cvy_param_setting *s = &o->settings[i];
        CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_param_setting, s));
        if (!s->match) return cvyi_fail(ctx, CVY_E_ARG, "settings[%zu]: match is NULL", i);
        if (s->frozen && s->trained)
            return cvyi_fail(ctx, CVY_E_ARG, "'%.128s' is both frozen and trained", s->match);
        if (s->no_decay && s->decay_factor != 0)
            return cvyi_fail(ctx, CVY_E_ARG, "'%.128s' has both no_decay and a decay_factor",
                             s->match);
        CVYI_TRY(check_factor(ctx, s, "lr_factor", s->lr_factor));
        CVYI_TRY(check_factor(ctx, s, "decay_factor", s->decay_factor));
        if (s->no_max_norm && s->max_norm != 0)
            return cvyi_fail(ctx, CVY_E_ARG, "'%.128s' has both no_max_norm and a max_norm",
                             s->match);
        snprintf(pattern, sizeof pattern, "'%.128s'", s->match);
        CVYI_TRY(cvyi_init_check_one(ctx, s->init, s->init_value, pattern));
        if (!(s->max_norm >= 0 && s->max_norm <= DBL_MAX))
            return cvyi_fail(ctx, CVY_E_ARG,
                             "the max_norm of '%.128s' is %g, expected more than 0 and finite (0: "
                             "not said)",
                             s->match, s->max_norm);
    }
    return CVY_OK;
}

static enum cvy_status check_options(struct cvy_context *ctx, const cvy_trainer_options *o)
{
    if (!o || o->batch < 1)
        return cvyi_fail(ctx, CVY_E_ARG, "the trainer's batch must be at least 1");
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_trainer_options, o));
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_sgd_desc, &o->sgd));
    CVYI_TRY(CVYI_CHECK_RESERVED(ctx, cvy_optimizer_desc, &o->optimizer));
    if (!(o->clip_norm >= 0 && o->clip_norm <= DBL_MAX))
        return cvyi_fail(ctx, CVY_E_ARG, "clip_norm is %g, expected 0 (off) or more, and finite",
                         o->clip_norm);
    if (!(o->max_norm >= 0 && o->max_norm <= DBL_MAX))
        return cvyi_fail(ctx, CVY_E_ARG, "max_norm is %g, expected 0 (off) or more, and finite",
                         o->max_norm);
    return check_settings(ctx, o);
}

/* The optimiser that the options mean. */
static enum cvy_status choose_optimizer(struct cvy_trainer *t)
{
    const cvy_sgd_desc *sgd = &t->options.sgd;
    const cvy_optimizer_desc plain = { .kind = CVY_SGD,
                                       .lr = sgd->lr,
                                       .momentum = sgd->momentum,
                                       .weight_decay = sgd->weight_decay,
                                       .nesterov = sgd->nesterov,
                                       .decay_all = sgd->decay_all };
    bool other = cvyi_optimizer_given(&t->options.optimizer);
    if (other && cvyi_optimizer_given(&plain))
        return cvyi_fail(t->ctx, CVY_E_ARG,
                         "the trainer's options have both sgd and optimizer, expected one of them");
    t->optimizer = other ? t->options.optimizer : plain;
    return cvyi_optimizer_check(t->ctx, &t->optimizer);
}

static enum cvy_status compile(struct cvy_trainer *t, struct cvy_net *net, cvy_tensor logits)
{
    const cvy_trainer_options *o = &t->options;
    struct cvyi_linear_options linear = { .training = true,
                                          .batch = o->batch,
                                          .loss = o->loss,
                                          .optimizer = t->optimizer,
                                          .fence_updates = o->clip_norm > 0 || o->accumulate > 1,
                                          .max_norm = o->max_norm,
                                          .sums = o->accumulate > 1,
                                          .input_gradient = o->input_gradient,
                                          .settings = o->settings,
                                          .n_settings = o->n_settings,
                                          .groups = &t->groups };
    struct cvyi_linear_result result;
    struct cvyi_list list;
    cvyi_list_init(&list, t->ctx);
    enum cvy_status status = cvyi_net_linearise(net, logits, &linear, &list, &result);
    if (status == CVY_OK) status = list.status;
    if (status == CVY_OK) {
        t->coef = cvyi_alloc_array(t->ctx, t->groups.n, sizeof *t->coef);
        if (!t->coef) status = CVY_E_NOMEM;
    }
    if (status != CVY_OK) {
        cvyi_list_free(&list);
        return status;
    }
    t->loss_value = result.loss;
    status = cvyi_loss_create(t->ctx, &t->loss, &o->loss, list.value[result.output].shape);
    if (status != CVY_OK) {
        cvyi_list_free(&list);
        return status;
    }
    list.op[result.loss_op].u.loss = t->loss.desc;
    const cvy_shape image = list.value[result.input].shape;
    struct cvyi_program_options program = { .capacity = o->batch,
                                            .training = true,
                                            .dry_run = o->dry_run,
                                            .keep_tensors = o->keep_tensors,
                                            .clip_norm = o->clip_norm,
                                            .accumulate = o->accumulate,
                                            .memory_limit = o->memory_limit,
                                            .fetch = result.input_gradient >= 0,
                                            .output = result.input_gradient,
                                            .keep = &t->loss_value,
                                            .n_keep = 1 };
    CVYI_TRY(cvyi_program_compile(t->ctx, &list, &program, &t->program));
    CVYI_TRY(cvyi_params_create(&t->params, t->program, net));
    CVYI_TRY(cvyi_augment_check(t->ctx, o, t->program->list.value[result.input].shape));
    CVYI_TRY(cvyi_input_create(t->ctx, &t->input, &o->input, image));
    return o->dry_run ? CVY_OK : cvyi_params_init(&t->params, net, o);
}

enum cvy_status cvy_trainer_create(cvy_net *net, cvy_tensor logits,
                                   const cvy_trainer_options *options, cvy_trainer **trainer)
{
    if (trainer) *trainer = NULL;
    if (!net || !trainer)
        return cvyi_fail(net ? net->ctx : NULL, CVY_E_ARG, "the trainer needs a net and a place");
    CVYI_OWN_FLOATS(net->ctx);
    CVYI_TRY(check_options(net->ctx, options));
    struct cvy_trainer *t = cvyi_alloc(net->ctx, sizeof *t);
    if (!t) return CVY_E_NOMEM;
    t->ctx = net->ctx;
    t->options = *options;
    enum cvy_status status = cvyi_loss_check(t->ctx, &t->options.loss);
    if (status == CVY_OK) status = choose_optimizer(t);
    if (status == CVY_OK) status = compile(t, net, logits);
    t->options.input = (cvy_input_desc){ 0 };
    t->options.loss.class_weights = NULL;
    t->options.settings = NULL;
    if (status != CVY_OK) cvy_trainer_destroy(&t);
    *trainer = t;
    return status;
}

void cvy_trainer_destroy(cvy_trainer **trainer)
{
    if (!trainer || !*trainer) return;
    struct cvy_trainer *t = *trainer;
    cvyi_free(t->ctx, t->input.scale_u8);
    cvyi_free(t->ctx, t->groups.group);
    cvyi_free(t->ctx, t->coef);
    cvyi_loss_destroy(t->ctx, &t->loss);
    cvyi_params_destroy(&t->params);
    cvyi_program_destroy(&t->program);
    cvyi_free(t->ctx, t);
    *trainer = NULL;
}

/* --------------------------------------------------------------------------------------- a step */

enum cvy_status cvy_trainer_step(cvy_trainer *t, const cvy_batch *batch, cvy_step_result *result)
{
    if (!t) return CVY_E_ARG;
    CVYI_OWN_FLOATS(t->ctx);
    double start = now();
    size_t counted;
    struct cvy_run run = { .coef = (const double(*)[CVY_COEFS])t->coef,
                           .seed = t->options.seed,
                           .step = t->steps,
                           .augment = t->options.augment };
    if (t->options.dry_run)
        return cvyi_fail(t->ctx, CVY_E_STATE, "this trainer was created for a dry run");
    CVYI_TRY(cvyi_batch_bind(t->ctx, &t->input, batch, t->options.batch, &run));
    CVYI_TRY(cvyi_loss_bind(t->ctx, &t->loss, batch, &run, &counted));
    CVYI_TRY(cvyi_batch_norms_check(t->program, batch->n));
    size_t every = t->options.accumulate > 1 ? t->options.accumulate : 1;
    t->program->round = t->steps % every;
    t->program->no_update = t->program->round + 1 < every;
    cvyi_optimizer_coefficients(&t->optimizer, t->steps / every, t->groups.group, t->groups.n,
                                t->coef);
    CVYI_TRY(cvyi_program_run(t->program, &run));
    t->steps++;
    t->version++;
    const double *loss = t->program->buf[t->loss_value];
    if (result)
        *result = (cvy_step_result){ .loss_sum = loss[0],
                                     .weight = run.loss_weight,
                                     .correct = (size_t)loss[1],
                                     .counted = counted,
                                     .n = batch->n,
                                     .seconds = now() - start };
    if (!isfinite(loss[0]))
        return cvyi_fail(t->ctx, CVY_E_NUMERIC, "loss is %s after step %llu",
                         isnan(loss[0]) ? "nan" : "inf", (unsigned long long)t->steps);
    return CVY_OK;
}

enum cvy_status cvy_trainer_population(cvy_trainer *t, const cvy_batch *batch, uint64_t index)
{
    if (!t) return CVY_E_ARG;
    CVYI_OWN_FLOATS(t->ctx);
    size_t counted;
    struct cvy_run run = { .seed = t->options.seed,
                           .step = t->steps + index,
                           .population = index + 1,
                           .augment = t->options.augment };
    if (t->options.dry_run)
        return cvyi_fail(t->ctx, CVY_E_STATE, "this trainer was created for a dry run");
    CVYI_TRY(cvyi_batch_bind(t->ctx, &t->input, batch, t->options.batch, &run));
    CVYI_TRY(cvyi_loss_bind(t->ctx, &t->loss, batch, &run, &counted));
    CVYI_TRY(cvyi_batch_norms_check(t->program, batch->n));
    t->program->no_backward = true;
    enum cvy_status status = cvyi_program_run(t->program, &run);
    t->program->no_backward = false;
    t->version++;
    return status;
}

static enum cvy_status set_hyper(struct cvy_trainer *t, const char *name, double value)
{
    const struct cvyi_optimizer *optimizer = cvyi_optimizer(t->optimizer.kind);
    const cvy_hyper_info *h = cvy_hyper_find(&optimizer->info, name ? name : "");
    cvy_optimizer_desc desc = t->optimizer;
    if (!h || h->flag)
        return cvyi_fail(t->ctx, CVY_E_ARG, "%s has no number '%.60s'", optimizer->info.name,
                         name ? name : "");
    cvy_hyper_set(h, &desc, value);
    CVYI_TRY(cvyi_optimizer_check(t->ctx, &desc));
    if (optimizer->states(&desc) != optimizer->states(&t->optimizer))
        return cvyi_fail(
            t->ctx, CVY_E_STATE, "%s was %g when the trainer was created: it cannot become %g",
            name, *(const double *)(const void *)((const char *)&t->optimizer + h->offset), value);
    memcpy((char *)&t->optimizer + h->offset, (const char *)&desc + h->offset, sizeof value);
    return CVY_OK;
}
enum cvy_status cvy_trainer_set_hyper(cvy_trainer *t, const char *name, double value)
{
    if (!t) return CVY_E_ARG;
    CVYI_OWN_FLOATS(t->ctx);
    return set_hyper(t, name, value);
}
enum cvy_status cvy_trainer_set_lr(cvy_trainer *t, double lr)
{
    if (!t) return CVY_E_ARG;
    CVYI_OWN_FLOATS(t->ctx);
    return set_hyper(t, "lr", lr);
}
const char *cvy_trainer_state(const cvy_trainer *t, size_t index)
{
    if (!t) return NULL;
    CVYI_OWN_FLOATS(t->ctx);
    const struct cvyi_optimizer *optimizer = cvyi_optimizer(t->optimizer.kind);
    return index < optimizer->states(&t->optimizer) ? optimizer->info.state[index] : NULL;
}
double cvy_trainer_penalty(const cvy_trainer *t)
{
    if (!t || t->options.dry_run) return 0;
    CVYI_OWN_FLOATS(t->ctx);
    return cvyi_penalty(t->program, &t->optimizer, t->groups.group);
}
double cvy_trainer_gradient_norm(const cvy_trainer *t) { return t ? t->program->norm : 0; }
uint64_t cvy_trainer_steps(const cvy_trainer *t) { return t ? t->steps : 0; }
void cvy_trainer_set_steps(cvy_trainer *t, uint64_t steps)
{
    if (t) t->steps = steps;
}

/* ----------------------------------------------------------------------------------- parameters */

size_t cvy_trainer_params(const cvy_trainer *t, enum cvy_param_kind kind)
{
    return t && (unsigned)kind < CVY_PARAM_KINDS ? t->params.n[kind] : 0;
}
enum cvy_status cvy_trainer_param(const cvy_trainer *t, enum cvy_param_kind kind, size_t index,
                                  cvy_param_info *info)
{
    return t ? cvyi_params_info(&t->params, kind, index, info) : CVY_E_ARG;
}
enum cvy_status cvy_trainer_get(const cvy_trainer *t, enum cvy_param_kind kind, const char *name,
                                float *out, size_t count)
{
    if (!t) return CVY_E_ARG;
    CVYI_OWN_FLOATS(t->ctx);
    return cvyi_params_get(&t->params, kind, name, out, NULL, count);
}
enum cvy_status cvy_trainer_get64(const cvy_trainer *t, enum cvy_param_kind kind, const char *name,
                                  double *out, size_t count)
{
    if (!t) return CVY_E_ARG;
    CVYI_OWN_FLOATS(t->ctx);
    return cvyi_params_get(&t->params, kind, name, NULL, out, count);
}
enum cvy_status cvy_trainer_set(cvy_trainer *t, enum cvy_param_kind kind, const char *name,
                                const float *in, size_t count)
{
    if (!t) return CVY_E_ARG;
    CVYI_OWN_FLOATS(t->ctx);
    t->version++;
    return cvyi_params_set(&t->params, kind, name, in, NULL, count);
}
enum cvy_status cvy_trainer_set64(cvy_trainer *t, enum cvy_param_kind kind, const char *name,
                                  const double *in, size_t count)
{
    if (!t) return CVY_E_ARG;
    CVYI_OWN_FLOATS(t->ctx);
    t->version++;
    return cvyi_params_set(&t->params, kind, name, NULL, in, count);
}

/* -------------------------------------------------------------------------------------- reports */

void cvy_trainer_plan(const cvy_trainer *t, cvy_plan_info *info)
{
    if (t && info) cvyi_plan_describe(t->program, info);
}
size_t cvy_trainer_phases(const cvy_trainer *t) { return t ? t->program->n_phases : 0; }

enum cvy_status cvy_trainer_phase(const cvy_trainer *t, size_t index, cvy_phase_info *info)
{
    if (!t) return CVY_E_ARG;
    CVYI_OWN_FLOATS(t->ctx);
    return cvyi_program_phase(t->program, index, info);
}

enum cvy_status cvy_trainer_profile(cvy_trainer *t, bool on)
{
    return t ? cvyi_program_profile(t->program, on) : CVY_E_ARG;
}

size_t cvy_trainer_ops(const cvy_trainer *t) { return t ? t->program->list.n_ops : 0; }

enum cvy_status cvy_trainer_op(const cvy_trainer *t, size_t index, cvy_op_info *info)
{
    if (!t) return CVY_E_ARG;
    CVYI_OWN_FLOATS(t->ctx);
    return cvyi_program_op(t->program, index, info);
}

size_t cvy_trainer_tensors(const cvy_trainer *t) { return t ? t->program->n_tensors : 0; }

enum cvy_status cvy_trainer_tensor(const cvy_trainer *t, size_t index, cvy_tensor_info *info)
{
    return t ? cvyi_program_tensor(t->program, index, info) : CVY_E_ARG;
}

enum cvy_status cvy_trainer_tensor_get(const cvy_trainer *t, size_t index, double *out,
                                       size_t count)
{
    if (!t) return CVY_E_ARG;
    CVYI_OWN_FLOATS(t->ctx);
    return cvyi_program_tensor_get(t->program, index, out, count);
}
