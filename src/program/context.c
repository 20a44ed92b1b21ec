/* Creating a context: base/context.c resolves options and environment, the registry knows the backends' names. */
#include "base/context.h"
#include "program/program.h"

enum cvy_status cvy_context_create(const cvy_context_options *options, cvy_context **out)
{
    const struct cvy_backend *backend[CVYI_MAX_BACKENDS];
    size_t n;
    CVYI_TRY(cvyi_context_create(options, out));
    struct cvy_context *ctx = *out;
    enum cvy_status status = cvyi_registry_parse(ctx, ctx->backends, backend, &n);
    ctx->usable = status == CVY_OK;
    return status;
}
