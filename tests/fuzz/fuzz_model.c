/* Fuzz target: a model's JSON text, read and, if it is good, built into a net. */
#include <stdint.h>

#include "models/models.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static cvy_context *ctx; /* one for all inputs: making it is slower than any of them */
    char error[512];
    struct model *model;
    cvy_net *net;
    cvy_tensor logits;
    if (!ctx &&
        cvy_context_create(&(cvy_context_options){ .threads = 1, .isa = CVY_ISA_SCALAR }, &ctx))
        return 0;
    if (model_parse("f", (const char *)bytes, size, NULL, &model, error, sizeof error)) return 0;
    if (!model_build(model, ctx, &net, &logits, error, sizeof error)) cvy_net_destroy(&net);
    model_free(&model);
    return 0;
}
