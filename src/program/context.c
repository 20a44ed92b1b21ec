/* Creating a context: base/context.c resolves options and environment, the registry knows the
 * backends' names. */
#include "base/context.h"
#include "program/program.h"

#include <string.h>

enum cvy_status cvy_context_create(const cvy_context_options *options, cvy_context **out)
{
    const struct cvy_backend *backend[CVYI_MAX_BACKENDS];
    size_t n;
    CVYI_TRY(cvyi_context_create(options, out));
    enum cvy_status status = cvyi_registry_parse(*out, (*out)->backends, backend, &n);
    return status == CVY_OK ? CVY_OK : cvyi_context_refuse(out, status);
}

struct names {
    char *text;
    size_t size, length;
};

/* Appends a name that is not there yet; what does not fit is only counted. */
static void append(void *arg, const char *name)
{
    struct names *n = arg;
    size_t length = strlen(name);
    for (const char *p = n->text; n->length < n->size && *p; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == length && !strncmp(p, name, length)) return;
    size_t at = n->length + (n->length > 0);
    if (at + length < n->size) {
        if (n->length) n->text[n->length] = ',';
        strcpy(n->text + at, name);
    }
    n->length = at + length;
}

enum cvy_status cvy_context_available(cvy_context *ctx, char *names, size_t size)
{
    if (!ctx || !names || !size) return CVY_E_ARG;
    struct names n = { names, size, 0 };
    char message[sizeof ctx->message];
    memcpy(message, ctx->message, sizeof message);
    *names = 0;
    for (size_t i = 0; cvyi_registry_at(i); i++) append(&n, cvyi_registry_at(i)->name);
    cvyi_module_list(ctx, append, &n);
    memcpy(ctx->message, message, sizeof message); /* what cannot be opened is no error here */
    if (n.length < size) return CVY_OK;
    return cvyi_fail(ctx, CVY_E_ARG, "the names of all backends take %zu bytes, %zu are given",
                     n.length + 1, size);
}
