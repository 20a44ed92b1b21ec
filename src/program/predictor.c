/* The predictor: a net compiled for inference, with parameters of its own or a trainer's by
 * reference. */
#include <string.h>

#include "program/model.h"

struct cvy_predictor {
    struct cvy_context *ctx;
    struct cvy_plan *program;
    struct cvyi_params params;
    struct cvyi_input input;
    const struct cvy_trainer *trainer; /* NULL: not shared */
    uint64_t version;                  /* of the trainer's weights when packings were made */
    size_t batch, count;               /* images, numbers per image of the output */
};

static enum cvy_status compile(struct cvy_predictor *p, struct cvy_net *net, cvy_tensor output,
                               const cvy_input_desc *input)
{
    struct cvyi_linear_options linear = { .training = false, .batch = p->batch };
    struct cvyi_linear_result result;
    struct cvyi_list list;
    cvyi_list_init(&list, p->ctx);
    enum cvy_status status = cvyi_net_linearise(net, output, &linear, &list, &result);
    if (status == CVY_OK) status = list.status;
    if (status != CVY_OK) {
        cvyi_list_free(&list);
        return status;
    }
    cvy_shape s = list.value[result.output].shape;
    p->count = s.c * s.h * s.w;
    const cvy_shape image = list.value[result.input].shape;
    struct cvyi_program_options program = { .capacity = p->batch,
                                            .fetch = true,
                                            .output = result.output,
                                            .share = p->trainer ? p->trainer->program : NULL };
    CVYI_TRY(cvyi_program_compile(p->ctx, &list, &program, &p->program));
    CVYI_TRY(cvyi_params_create(&p->params, p->program, net));
    if (!input && p->trainer) CVYI_TRY(cvyi_input_copy(p->ctx, &p->input, &p->trainer->input));
    else
        CVYI_TRY(
            cvyi_input_create(p->ctx, &p->input, input ? input : &(cvy_input_desc){ 0 }, image));
    if (!p->trainer) return cvyi_params_init(&p->params, net, &(cvy_trainer_options){ 0 });
    p->version = p->trainer->version;
    return cvyi_program_refresh(p->program, -1);
}

enum cvy_status cvy_predictor_create(cvy_net *net, cvy_tensor output, size_t batch,
                                     const cvy_input_desc *input, cvy_trainer *trainer,
                                     cvy_predictor **predictor)
{
    if (predictor) *predictor = NULL;
    if (!net || !predictor)
        return cvyi_fail(net ? net->ctx : NULL, CVY_E_ARG, "the predictor needs a net and a place");
    CVYI_OWN_FLOATS(net->ctx);
    if (batch < 1)
        return cvyi_fail(net->ctx, CVY_E_ARG, "the predictor's batch must be at least 1");
    if (trainer && trainer->options.dry_run)
        return cvyi_fail(net->ctx, CVY_E_STATE, "a dry-run trainer has no parameters to share");
    struct cvy_predictor *p = cvyi_alloc(net->ctx, sizeof *p);
    if (!p) return CVY_E_NOMEM;
    p->ctx = net->ctx;
    p->batch = batch;
    p->trainer = trainer;
    enum cvy_status status = compile(p, net, output, input);
    if (status != CVY_OK) cvy_predictor_destroy(&p);
    *predictor = p;
    return status;
}

void cvy_predictor_destroy(cvy_predictor **predictor)
{
    if (!predictor || !*predictor) return;
    struct cvy_predictor *p = *predictor;
    cvyi_free(p->ctx, p->input.scale_u8);
    cvyi_params_destroy(&p->params);
    cvyi_program_destroy(&p->program);
    cvyi_free(p->ctx, p);
    *predictor = NULL;
}

enum cvy_status cvy_predictor_run(cvy_predictor *p, const cvy_batch *batch, float *out)
{
    if (!p) return CVY_E_ARG;
    CVYI_OWN_FLOATS(p->ctx);
    struct cvy_run run = { .n = 0 };
    if (!out) return cvyi_fail(p->ctx, CVY_E_ARG, "the predictor needs an array for its output");
    CVYI_TRY(cvyi_batch_bind(p->ctx, &p->input, batch, p->batch, &run));
    CVYI_TRY(cvyi_batch_norms_check(p->program, batch->n));
    run.labels8 = NULL;
    run.labels32 = NULL;
    if (p->trainer && p->version != p->trainer->version) {
        CVYI_TRY(cvyi_program_refresh(p->program, -1));
        p->version = p->trainer->version;
    }
    CVYI_TRY(cvyi_program_run(p->program, &run));
    memcpy(out, p->program->buf[p->program->fetch], batch->n * p->count * sizeof *out);
    return CVY_OK;
}

/* ----------------------------------------------------------------------------------- parameters */

size_t cvy_predictor_params(const cvy_predictor *p, enum cvy_param_kind kind)
{
    return p && (unsigned)kind < CVY_PARAM_KINDS ? p->params.n[kind] : 0;
}
enum cvy_status cvy_predictor_param(const cvy_predictor *p, enum cvy_param_kind kind, size_t index,
                                    cvy_param_info *info)
{
    return p ? cvyi_params_info(&p->params, kind, index, info) : CVY_E_ARG;
}
enum cvy_status cvy_predictor_get(const cvy_predictor *p, enum cvy_param_kind kind,
                                  const char *name, float *out, size_t count)
{
    if (!p) return CVY_E_ARG;
    CVYI_OWN_FLOATS(p->ctx);
    return cvyi_params_get(&p->params, kind, name, out, NULL, count);
}
enum cvy_status cvy_predictor_get64(const cvy_predictor *p, enum cvy_param_kind kind,
                                    const char *name, double *out, size_t count)
{
    if (!p) return CVY_E_ARG;
    CVYI_OWN_FLOATS(p->ctx);
    return cvyi_params_get(&p->params, kind, name, NULL, out, count);
}

static enum cvy_status set(cvy_predictor *p, enum cvy_param_kind kind, const char *name,
                           const float *f, const double *d, size_t count)
{
    if (p->trainer)
        return cvyi_fail(p->ctx, CVY_E_STATE, "%s belongs to the trainer: set it there",
                         name ? name : "it");
    return cvyi_params_set(&p->params, kind, name, f, d, count);
}
enum cvy_status cvy_predictor_set(cvy_predictor *p, enum cvy_param_kind kind, const char *name,
                                  const float *in, size_t count)
{
    if (!p) return CVY_E_ARG;
    CVYI_OWN_FLOATS(p->ctx);
    return set(p, kind, name, in, NULL, count);
}
enum cvy_status cvy_predictor_set64(cvy_predictor *p, enum cvy_param_kind kind, const char *name,
                                    const double *in, size_t count)
{
    if (!p) return CVY_E_ARG;
    CVYI_OWN_FLOATS(p->ctx);
    return set(p, kind, name, NULL, in, count);
}

void cvy_predictor_plan(const cvy_predictor *p, cvy_plan_info *info)
{
    if (p && info) cvyi_plan_describe(p->program, info);
}
