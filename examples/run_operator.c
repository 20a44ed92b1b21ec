/* One operator on buffers of one's own: a convolution forward, for hosts that have a graph already.
 *
 * What to see here: an operator is planned once for a shape and run often; buffers are NCHW floats
 * and stay the host's; the workspace may be the host's, too. */
#include <convoy/convoy.h>
#include <stdio.h>
#include <stdlib.h>

enum { IMAGES = 2, ROWS = 4, COLUMNS = 5 };

/* Image i rises by i + 1 from column to column. */
static void fill(float *src)
{
    for (int i = 0; i < IMAGES; i++)
        for (int p = 0; p < ROWS * COLUMNS; p++)
            src[i * ROWS * COLUMNS + p] = (float)((i + 1) * (p % COLUMNS));
}

static void print(const float *dst, cvy_shape shape)
{
    for (size_t i = 0; i < shape.n; i++) {
        printf("image %zu:\n", i);
        for (size_t y = 0; y < shape.h; y++) {
            for (size_t x = 0; x < shape.w; x++) printf(" %4g", *dst++);
            printf("\n");
        }
    }
}

/* A run allocates nothing: op, buffers and workspace can be used again and again. */
static enum cvy_status convolve(cvy_op *op, const float *src, const float *weights)
{
    const cvy_shape out = cvy_op_dst_shape(op);
    /* aligned_alloc wants a multiple of the alignment. */
    const size_t workspace_bytes = (cvy_op_workspace(op) + 63) / 64 * 64;
    float *dst = malloc(out.n * out.c * out.h * out.w * sizeof(float));
    void *workspace = aligned_alloc(64, workspace_bytes ? workspace_bytes : 64);
    enum cvy_status status = CVY_E_NOMEM;
    if (dst && workspace) {
        const cvy_op_args args = {
            .src = src, .weights = weights, .dst = dst, .workspace = workspace
        };
        status = cvy_op_run(op, &args);
    }
    if (!status) {
        printf("%zux%zu from %dx%d, by %s\n", out.h, out.w, ROWS, COLUMNS, cvy_op_backend(op));
        print(dst, out);
    }
    free(workspace);
    free(dst);
    return status;
}

int main(void)
{
    /* Sobel's filter, [oc][ic][kh][kw], tells how steep a picture is from left to right. */
    static const float weights[9] = { -1, 0, 1, -2, 0, 2, -1, 0, 1 };
    static float src[IMAGES * ROWS * COLUMNS];
    const cvy_conv2d_desc desc = {
        .out_channels = 1, .kernel = { 3, 3 }, .stride = { 1, 2 }, .no_bias = true
    };
    const cvy_shape shape = { .n = IMAGES, .c = 1, .h = ROWS, .w = COLUMNS };
    cvy_context *ctx = NULL;
    cvy_op *op = NULL;
    fill(src);

    enum cvy_status status = cvy_context_create(NULL, &ctx);
    if (!status) status = cvy_op_conv2d(ctx, &desc, shape, CVY_FORWARD, &op);
    if (!status) status = convolve(op, src, weights);
    if (status)
        fprintf(stderr, "run_operator: %s: %s\n", cvy_status_name(status), cvy_message(ctx));

    cvy_op_destroy(&op);
    cvy_context_destroy(&ctx);
    return status != CVY_OK;
}
