/* Trains the tutorial's net (docs/tutorial.md) on images and labels in MNIST's format, unpacked.
 *
 * usage: train_idx IMAGES LABELS [N]     the first N images, all of them without N
 *
 * What to see here: bytes are trained on where they lie, in an order given by an index; the library
 * scales them to 0 … 1. */
#include <convoy/convoy.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 128, EPOCHS = 3, CLASSES = 10 };

struct data {
    uint8_t *images, *labels; /* images[n][rows][columns], labels[n] */
    uint32_t *order;
    size_t n, rows, columns;
};

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* An IDX file of bytes: 0, 0, 8, the number of dimensions, each of them in four bytes, the data.
 * NULL, with a sentence, if this is none of `dims` dimensions. */
static uint8_t *read_idx(const char *path, int dims, size_t *size)
{
    uint8_t head[16], *data = NULL;
    size_t bytes = 1, head_bytes = 4 + 4 * (size_t)dims;
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return NULL;
    }
    if (fread(head, 1, head_bytes, f) == head_bytes &&
        big_endian(head) == 0x800u + (unsigned)dims) {
        for (int i = 0; i < dims; i++) {
            size[i] = big_endian(head + 4 + 4 * i);
            bytes *= size[i] <= 1u << 20 ? size[i] : 0; /* so that no product overflows */
        }
        if (bytes) data = malloc(bytes);
        if (data && fread(data, 1, bytes, f) != bytes) {
            free(data);
            data = NULL;
        }
    }
    if (!data) fprintf(stderr, "%s: not an IDX file of bytes in %d dimensions\n", path, dims);
    fclose(f);
    return data;
}

static bool read_data(struct data *data, const char *images, const char *labels)
{
    size_t size[3], n_labels;
    data->images = read_idx(images, 3, size);
    if (!data->images) return false;
    data->labels = read_idx(labels, 1, &n_labels);
    if (!data->labels) return false;
    if (n_labels != size[0]) {
        fprintf(stderr, "%zu images but %zu labels\n", size[0], n_labels);
        return false;
    }
    *data = (struct data){ .images = data->images,
                           .labels = data->labels,
                           .n = size[0],
                           .rows = size[1],
                           .columns = size[2] };
    data->order = malloc(data->n * sizeof *data->order);
    if (!data->order) return false;
    for (size_t i = 0; i < data->n; i++) data->order[i] = (uint32_t)i;
    return true;
}

/* Fisher and Yates. */
static void shuffle(uint32_t *order, size_t n)
{
    static uint64_t state = 1;
    for (size_t i = n; i > 1; i--) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t j = (size_t)((state >> 33) % i);
        uint32_t t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
}

/* One convolution with all that follows it, half as large afterwards. */
static cvy_tensor block(cvy_net *net, cvy_tensor x, const char *conv, const char *norm,
                        size_t channels)
{
    const cvy_conv2d_desc desc = {
        .out_channels = channels, .kernel = { 3, 3 }, .pad = { 1, 1, 1, 1 }, .no_bias = true
    };
    x = cvy_conv2d(net, x, conv, &desc);
    x = cvy_batch_norm(net, x, norm, NULL);
    x = cvy_relu(net, x);
    return cvy_pool2d(net, x, NULL, &(cvy_pool2d_desc){ .kernel = { 2, 2 } });
}

static cvy_tensor build(cvy_net *net, size_t rows, size_t columns)
{
    cvy_tensor x = cvy_input(net, 1, rows, columns);
    x = block(net, x, "conv1", "bn1", 8);
    x = block(net, x, "conv2", "bn2", 16);
    return cvy_linear(net, x, "fc", &(cvy_linear_desc){ .out_features = CLASSES });
}

static enum cvy_status train_epoch(cvy_trainer *trainer, const struct data *data, int epoch)
{
    double loss = 0;
    size_t correct = 0;
    shuffle(data->order, data->n);
    for (size_t i = 0; i < data->n; i += BATCH) {
        const size_t left = data->n - i;
        const cvy_batch batch = { .images = data->images,
                                  .dtype = CVY_U8,
                                  .labels8 = data->labels,
                                  .index = data->order + i,
                                  .n = left < BATCH ? left : BATCH };
        cvy_step_result r;
        enum cvy_status status = cvy_trainer_step(trainer, &batch, &r);
        if (status) return status;
        loss += r.loss_sum;
        correct += r.correct;
    }
    printf("epoch %d: loss %.3f, train acc %.3f\n", epoch, loss / (double)data->n,
           (double)correct / (double)data->n);
    return CVY_OK;
}

static enum cvy_status train(cvy_context *ctx, const struct data *data)
{
    const cvy_trainer_options options = { .batch = BATCH, .sgd = { .lr = 0.05, .momentum = 0.9 } };
    cvy_net *net = NULL;
    cvy_trainer *trainer = NULL;
    enum cvy_status status = cvy_net_create(ctx, &net);
    if (!status)
        status = cvy_trainer_create(net, build(net, data->rows, data->columns), &options, &trainer);
    for (int epoch = 1; !status && epoch <= EPOCHS; epoch++)
        status = train_epoch(trainer, data, epoch);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    return status;
}

int main(int argc, char **argv)
{
    struct data data = { 0 };
    cvy_context *ctx = NULL;
    int failed = 1;
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: train_idx IMAGES LABELS [N]\n");
        return 1;
    }
    if (read_data(&data, argv[1], argv[2])) {
        const size_t n = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
        if (n && n < data.n) data.n = n;
        enum cvy_status status = cvy_context_create(NULL, &ctx);
        if (!status) status = train(ctx, &data);
        if (status) fprintf(stderr, "train_idx: %s\n", cvy_message(ctx));
        failed = status != CVY_OK;
    }
    cvy_context_destroy(&ctx);
    free(data.order);
    free(data.labels);
    free(data.images);
    return failed;
}
