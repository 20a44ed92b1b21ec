/* Trains a small net on images that it makes itself, tries it on new ones, and reads a parameter.
 *
 * What to see here: a net is built call by call and its mistakes are told once, when it is
 * compiled; a batch is borrowed where it lies; a predictor shares the trainer's parameters; every
 * way out destroys what was made. */
#include <convoy/convoy.h>
#include <stdio.h>

enum { SIDE = 12, PIXELS = SIDE * SIDE, CLASSES = 2, CHANNELS = 8, BATCH = 64, STEPS = 60 };

/* A generator of one's own, so that the data are the same everywhere. */
static unsigned next_random(unsigned limit)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (state >> 16) % limit;
}

/* Grey images with noise and one bright bar: it stands in class 0 and lies in class 1. */
static void make_images(uint8_t *images, uint8_t *labels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t *image = images + i * PIXELS;
        unsigned label = next_random(CLASSES), place = next_random(SIDE);
        for (unsigned p = 0; p < PIXELS; p++) {
            unsigned along = label == 0 ? p % SIDE : p / SIDE;
            image[p] = (uint8_t)(next_random(100) + (along == place ? 100 : 0));
        }
        labels[i] = (uint8_t)label;
    }
}

/* Layers in order; x is the handle of the last one's output. The first mistake sticks: later calls
 * do nothing. */
static cvy_tensor build(cvy_net *net)
{
    cvy_tensor x = cvy_input(net, 1, SIDE, SIDE);
    const cvy_conv2d_desc conv = { .out_channels = CHANNELS,
                                   .kernel = { 3, 3 },
                                   .pad = { 1, 1, 1, 1 } };
    x = cvy_conv2d(net, x, "conv1", &conv);
    x = cvy_batch_norm(net, x, "bn1", NULL); /* NULL: the documented defaults */
    x = cvy_relu(net, x);
    x = cvy_global_avg_pool(net, x, NULL);
    return cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = CLASSES });
}

static enum cvy_status train(cvy_trainer *trainer)
{
    static uint8_t images[BATCH * PIXELS], labels[BATCH];
    const cvy_batch batch = { .images = images, .dtype = CVY_U8, .labels8 = labels, .n = BATCH };
    for (int step = 1; step <= STEPS; step++) {
        make_images(images, labels, BATCH);
        cvy_step_result r; /* before the update of this step */
        enum cvy_status status = cvy_trainer_step(trainer, &batch, &r);
        if (status) return status;
        if (step == 1 || step % 20 == 0)
            printf("step %2d: loss %.4f, %zu of %zu right\n", step, r.loss_sum / (double)r.n,
                   r.correct, r.n);
    }
    return CVY_OK;
}

/* A predictor answers with the output of a tensor of the net: here the logits, whose largest is the
 * answer. */
static enum cvy_status try_new_images(cvy_predictor *predictor)
{
    static uint8_t images[BATCH * PIXELS], labels[BATCH];
    static float logits[BATCH][CLASSES];
    make_images(images, labels, BATCH);
    const cvy_batch batch = { .images = images, .dtype = CVY_U8, .n = BATCH };
    enum cvy_status status = cvy_predictor_run(predictor, &batch, &logits[0][0]);
    if (status) return status;
    int right = 0;
    for (int i = 0; i < BATCH; i++) right += (logits[i][1] > logits[i][0]) == labels[i];
    printf("new images: %d of %d right\n", right, BATCH);
    return CVY_OK;
}

/* Names are PyTorch's: LAYER.weight is the gamma of a batch norm. */
static enum cvy_status show_gamma(const cvy_trainer *trainer)
{
    float gamma[CHANNELS];
    enum cvy_status status =
        cvy_trainer_get(trainer, CVY_PARAM_WEIGHT, "bn1.weight", gamma, CHANNELS);
    if (status) return status;
    printf("gamma of bn1:");
    for (int c = 0; c < CHANNELS; c++) printf(" %.2f", gamma[c]);
    printf("\n");
    return CVY_OK;
}

int main(void)
{
    cvy_context *ctx = NULL;
    cvy_net *net = NULL;
    cvy_trainer *trainer = NULL;
    cvy_predictor *predictor = NULL;
    const cvy_trainer_options options = { .batch = BATCH, .sgd = { .lr = 0.3, .momentum = 0.9 } };
    cvy_tensor logits;

    enum cvy_status status = cvy_context_create(NULL, &ctx);
    if (status) goto done;
    status = cvy_net_create(ctx, &net);
    if (status) goto done;
    logits = build(net);
    /* Tells the first mistake of build(), too. */
    status = cvy_trainer_create(net, logits, &options, &trainer);
    if (status) goto done;
    status = train(trainer);
    if (status) goto done;
    status = cvy_predictor_create(net, logits, BATCH, NULL, trainer, &predictor);
    if (status) goto done;
    status = try_new_images(predictor);
    if (status) goto done;
    status = show_gamma(trainer);

done:
    if (status) fprintf(stderr, "train_net: %s\n", cvy_message(ctx));
    cvy_predictor_destroy(&predictor); /* what was made last goes first; NULL is fine */
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    cvy_context_destroy(&ctx);
    return status != CVY_OK;
}
