/* `convoy eval`: loss and accuracy of a checkpoint on a data set. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/train.h"

enum { KEY_SPLIT = 0x1000 };

struct options {
    cvy_context_options engine;
    struct cli_trained trained;
    const char *data, *split;
};

static const struct argp_option options[] = { CLI_DATA("what the run was trained on"),
                                              { "split", KEY_SPLIT, "SPLIT", 0,
                                                "test or train: which images (default test)", 0 },
                                              { 0 } };

static error_t parse(int key, char *arg, struct argp_state *state)
{
    static const char *const splits[] = { "test", "train", NULL };
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->trained;
        state->child_inputs[1] = &o->engine;
        return 0;
    case CLI_KEY_DATA: o->data = arg; return 0;
    case KEY_SPLIT: o->split = cli_choice(state, "split", arg, splits); return 0;
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
    .doc = "Evaluates trained weights: mean loss, and the share of images whose largest output is "
           "their class."
           "\vExamples:\n"
           "  convoy eval run\n"
           "  convoy eval run --split train\n"
           "  convoy eval resnet.safetensors --model resnet20 -d cifar10\n"
};

static int evaluate(struct cli_session *s, const struct model_defaults *d, const char *split)
{
    char error[CLI_ERROR];
    struct model_defaults defaults = *d;
    struct train_score score;
    int code = cli_loss_check(&defaults, cvy_tensor_shape(s->net, s->logits).c);
    if (code) return code;
    bool train = !strcmp(split, "train");
    const struct data_split *data = train ? &s->data->train : &s->data->test;
    const struct train_split images = { data->images, data->labels, data->n, NULL };
    const struct train_job job = { .ctx = s->ctx,
                                   .predictor = s->predictor,
                                   .eval_loss = model_eval_loss(&defaults),
                                   .eval_batch = defaults.eval_batch,
                                   .batch_means = defaults.batch_means,
                                   .classes = s->data->classes,
                                   .image_size = s->data->c * s->data->h * s->data->w };
    double start = train_now();
    enum train_status status = train_evaluate(&job, &images, &score, error, sizeof error);
    if (status) return cli_fail(cli_code_train(status), "%s", error);
    printf("%s loss %.4f, %s acc %.4f (%llu of %llu%s)\n", split, score.loss, split, score.acc,
           (unsigned long long)score.correct, (unsigned long long)score.counted,
           s->data->synthetic ? ", synthetic" : "");
    printf("%.1f examples/sec on cpu\n", (double)data->n / (train_now() - start));
    return CLI_OK;
}

static int run(int argc, char **argv)
{
    struct options o = { .split = "test" };
    struct cli_session s = { 0 };
    struct model_defaults defaults;
    cli_parse(&argp, argc, argv, &o);
    int code = cli_open_context(&s, &o.engine);
    if (!code) code = cli_open_checkpoint(&s, o.trained.run, o.trained.model);
    if (!code) code = cli_settle(&s, &defaults);
    if (!code) code = cli_open_predictor(&s, defaults.eval_batch);
    if (!code) code = cli_open_run_data(&s, o.data);
    if (!code) code = evaluate(&s, &defaults, o.split);
    cli_close(&s);
    return code;
}

const struct cli_command cli_eval = { "eval", "loss and accuracy of trained weights", &argp, run };
