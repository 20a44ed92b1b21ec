/* A program as older headers have it: tests/growth.py compiles it against several versions of them
 * and runs it on the library that was built. It hands over every public struct, between bytes that
 * must stay as they are, and prints what came of it; what it prints is the same for all versions.
 * Only C, the public headers and what has been there from the first version on. */
#include <convoy/convoy.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 256
#define SAME 0xa5
#define CHECKED(type)                                                         \
    struct checked_##type {                                                   \
        unsigned char before[GUARD];                                          \
        type it;                                                              \
        unsigned char after[GUARD];                                           \
    };                                                                        \
    static type *clear_##type(struct checked_##type *c)                       \
    {                                                                         \
        memset(c, SAME, sizeof *c);                                           \
        memset(&c->it, 0, sizeof c->it);                                      \
        return &c->it;                                                        \
    }                                                                         \
    static struct checked_##type a_##type, b_##type;                          \
    static void look_##type(void)                                             \
    {                                                                         \
        for (size_t i = 0; i < GUARD; i++)                                    \
            if (a_##type.before[i] != SAME || a_##type.after[i] != SAME ||    \
                b_##type.before[i] != SAME || b_##type.after[i] != SAME)      \
                fail(#type ": a byte beside the struct was written", CVY_OK); \
    }
#define ALL(X)                   \
    X(cvy_conv2d_desc)           \
    X(cvy_conv_transpose2d_desc) \
    X(cvy_upsample_desc)         \
    X(cvy_mean_subtract_desc)    \
    X(cvy_linear_desc)           \
    X(cvy_batch_norm_desc)       \
    X(cvy_group_norm_desc)       \
    X(cvy_whitening_desc)        \
    X(cvy_rank_desc)             \
    X(cvy_prelu_desc)            \
    X(cvy_act_desc)              \
    X(cvy_pool2d_desc)           \
    X(cvy_dropout_desc)          \
    X(cvy_loss_desc)             \
    X(cvy_optimizer_desc)        \
    X(cvy_context_options)       \
    X(cvy_machine)               \
    X(cvy_phase_info)            \
    X(cvy_op_info)               \
    X(cvy_node_info)             \
    X(cvy_batch)                 \
    X(cvy_trainer_options)       \
    X(cvy_step_result)           \
    X(cvy_input_desc)            \
    X(cvy_param_info)            \
    X(cvy_plan_info)             \
    X(cvy_tensor_info)           \
    X(cvy_op_args)               \
    X(cvy_loss_result)           \
    X(cvy_param_setting)

static cvy_context *ctx;

static void fail(const char *what, enum cvy_status status)
{
    printf("%s: %s, %s\n", what, cvy_status_name(status), cvy_message(ctx));
    exit(1);
}
static void must(enum cvy_status status, const char *what)
{
    if (status) fail(what, status);
}
ALL(CHECKED)

/* One of two of each type, cleared; the last two of a type may be in use at once. */
#define A(type) clear_##type(&a_##type)
#define B(type) clear_##type(&b_##type)
#define CLEAR(type) \
    (void)A(type);  \
    (void)B(type);
#define LOOK(type) look_##type();

enum { IMAGES = 5, CLASSES = 3, CHANNELS = 2, SIDE = 8 };
static float pixels[IMAGES][CHANNELS][SIDE][SIDE];
static const int32_t labels[IMAGES] = { 0, 2, 1, 1, 0 };

static void create(void)
{
    cvy_context_options *o = A(cvy_context_options);
    o->threads = 2;
    o->isa = CVY_ISA_SCALAR;
    must(cvy_context_create(o, &ctx), "context");
    cvy_machine_describe(A(cvy_machine));
    printf("scalar runs: %d\n", a_cvy_machine.it.can_run[CVY_ISA_SCALAR]);
}

static cvy_tensor build(cvy_net *net)
{
    cvy_conv2d_desc *conv = A(cvy_conv2d_desc);
    conv->out_channels = 6;
    conv->kernel[0] = conv->kernel[1] = 3;
    conv->pad[0] = conv->pad[3] = 1;
    cvy_tensor x = cvy_conv2d(net, cvy_input(net, CHANNELS, SIDE, SIDE), "conv", conv);
    cvy_batch_norm_desc *bn = A(cvy_batch_norm_desc);
    bn->momentum = 0.2;
    x = cvy_batch_norm(net, x, "bn", bn);
    cvy_group_norm_desc *gn = A(cvy_group_norm_desc);
    gn->groups = 2;
    x = cvy_group_norm(net, x, "gn", gn);
    cvy_whitening_desc *wh = A(cvy_whitening_desc);
    wh->channels = 2;
    x = cvy_whitening(net, x, "wh", wh);
    x = cvy_prelu(net, x, "prelu", A(cvy_prelu_desc));
    cvy_conv_transpose2d_desc *deconv = A(cvy_conv_transpose2d_desc);
    deconv->out_channels = 6;
    deconv->kernel[0] = deconv->kernel[1] = 2;
    x = cvy_conv_transpose2d(net, x, "deconv", deconv);
    cvy_upsample_desc *up = A(cvy_upsample_desc);
    up->scale[0] = up->scale[1] = 2;
    x = cvy_upsample(net, x, "up", up);
    x = cvy_mean_subtract(net, x, "mean", A(cvy_mean_subtract_desc));
    cvy_pool2d_desc *pool = A(cvy_pool2d_desc);
    pool->kernel[0] = pool->kernel[1] = 2;
    x = cvy_pool2d(net, x, "pool", pool);
    cvy_act_desc *act = A(cvy_act_desc);
    act->kind = CVY_ELU;
    x = cvy_activation(net, x, "elu", act);
    cvy_dropout_desc *dropout = A(cvy_dropout_desc);
    dropout->p = 0.25;
    x = cvy_dropout(net, x, "dropout", dropout);
    cvy_linear_desc *linear = A(cvy_linear_desc);
    linear->out_features = CLASSES;
    x = cvy_linear(net, x, "fc", linear);
    must(cvy_net_status(net), "net");
    for (size_t i = 0; i < cvy_net_nodes(net); i++) {
        cvy_node_info *node = A(cvy_node_info);
        must(cvy_net_node(net, i, node), "node");
        printf("%s %s %zu %zu\n", node->name, node->type, node->parameters, node->n_inputs);
    }
    return x;
}

/* Two floats of every parameter, to the last bit. */
static void print_parameters(const cvy_trainer *trainer)
{
    static float value[4096];
    for (int kind = 0; kind < CVY_PARAM_KINDS; kind++)
        for (size_t i = 0; i < cvy_trainer_params(trainer, (enum cvy_param_kind)kind); i++) {
            cvy_param_info *info = A(cvy_param_info);
            must(cvy_trainer_param(trainer, (enum cvy_param_kind)kind, i, info), "parameter");
            size_t count = 1;
            for (size_t k = 0; k < info->rank; k++) count *= info->dims[k];
            must(cvy_trainer_get(trainer, info->kind, info->name, value, count), "get");
            printf("%d %s %a %a\n", kind, info->name, (double)value[0], (double)value[count - 1]);
        }
}

static void train(cvy_net *net, cvy_tensor logits)
{
    static const double mean[CHANNELS] = { 0.25, 0.5 }, weights[CLASSES] = { 1, 2, 1 };
    cvy_trainer_options *o = A(cvy_trainer_options);
    o->batch = IMAGES;
    cvy_optimizer_usual(CVY_ADAMW, B(cvy_optimizer_desc));
    o->optimizer = b_cvy_optimizer_desc.it;
    cvy_loss_desc *loss = B(cvy_loss_desc);
    loss->label_smoothing = 0.1;
    loss->class_weights = weights;
    o->loss = *loss;
    o->init.weights = CVY_INIT_KAIMING_NORMAL;
    o->input.mean = mean;
    o->keep_tensors = true;
    cvy_trainer *trainer = NULL;
    must(cvy_trainer_create(net, logits, o, &trainer), "trainer");
    for (int step = 0; step < 3; step++) {
        cvy_batch *batch = A(cvy_batch);
        batch->images = pixels;
        batch->labels32 = labels;
        batch->n = IMAGES;
        cvy_step_result *result = A(cvy_step_result);
        must(cvy_trainer_step(trainer, batch, result), "step");
        printf("loss %a of %g, %zu right of %zu\n", result->loss_sum, result->weight,
               result->correct, result->counted);
    }
    print_parameters(trainer);
    cvy_trainer_plan(trainer, A(cvy_plan_info));
    printf("ops %zu, phases %zu\n", a_cvy_plan_info.it.ops, a_cvy_plan_info.it.phases);
    must(cvy_trainer_phase(trainer, 0, A(cvy_phase_info)), "phase");
    must(cvy_trainer_op(trainer, 0, A(cvy_op_info)), "op");
    must(cvy_trainer_tensor(trainer, 0, A(cvy_tensor_info)), "tensor");
    printf("%s %s %s\n", a_cvy_phase_info.it.name, a_cvy_op_info.it.name,
           a_cvy_tensor_info.it.name);
    cvy_predictor *predictor = NULL;
    must(cvy_predictor_create(net, logits, IMAGES, A(cvy_input_desc), trainer, &predictor),
         "predictor");
    float out[IMAGES][CLASSES];
    must(cvy_predictor_run(predictor, &a_cvy_batch.it, out[0]), "prediction");
    cvy_predictor_plan(predictor, B(cvy_plan_info));
    printf("predicts %a\n", (double)out[IMAGES - 1][CLASSES - 1]);
    cvy_predictor_destroy(&predictor);
    cvy_trainer_destroy(&trainer);
}

static void compute(void)
{
    static float weights[4 * CHANNELS], out[IMAGES * 4 * SIDE * SIDE];
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) weights[i] = (float)i - 2.5f;
    cvy_op *op = NULL;
    cvy_conv2d_desc *conv = A(cvy_conv2d_desc);
    conv->out_channels = 4;
    conv->kernel[0] = conv->kernel[1] = 1;
    conv->no_bias = true;
    const cvy_shape shape = { IMAGES, CHANNELS, SIDE, SIDE };
    must(cvy_op_conv2d(ctx, conv, shape, CVY_FORWARD, &op), "operator");
    cvy_op_args *args = A(cvy_op_args);
    args->src = pixels[0][0][0];
    args->weights = weights;
    args->dst = out;
    must(cvy_op_run(op, args), "operator's run");
    must(cvy_op_phase(op, 0, A(cvy_phase_info)), "operator's phase");
    printf("computes %a\n", (double)out[sizeof out / sizeof *out - 1]);
    cvy_op_destroy(&op);
    cvy_loss_result *row = A(cvy_loss_result);
    must(cvy_loss_row(ctx, A(cvy_loss_desc), CLASSES, pixels[0][0][0], 1, NULL, row), "row");
    printf("a row loses %a\n", row->loss);
}

int main(void)
{
    for (size_t i = 0; i < sizeof pixels / sizeof(float); i++)
        pixels[0][0][0][i] = (float)(i * 7919 % 1009) / 1009;
    ALL(CLEAR)
    create();
    cvy_net *net = NULL;
    must(cvy_net_create(ctx, &net), "net");
    train(net, build(net));
    compute();
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    ALL(LOOK)
    return 0;
}
