/* Which backends there are. Knows their names and their vtables, nothing of what they do. */
#include "program/program.h"

#include <string.h>

#include "backends/native/native.h"
#include "backends/reference/reference.h"

#ifdef CVYI_HAVE_ONEDNN /* linked in instead of opened */
extern const struct cvy_backend cvyi_onednn_backend;
#endif

static const struct cvy_backend *const builtin[] = {
    &cvyi_native_backend,
    &cvyi_reference_backend,
#ifdef CVYI_HAVE_ONEDNN
    &cvyi_onednn_backend,
#endif
};
enum { N_BUILTIN = sizeof builtin / sizeof *builtin };

const struct cvy_backend *cvyi_registry_at(size_t i) { return i < N_BUILTIN ? builtin[i] : NULL; }

const struct cvy_backend *cvyi_registry_find(const char *name)
{
    for (size_t i = 0; i < N_BUILTIN; i++)
        if (strcmp(builtin[i]->name, name) == 0) return builtin[i];
    return NULL;
}

bool cvyi_registry_has_threads(const struct cvy_backend *backend)
{
    return backend != &cvyi_native_backend && backend != &cvyi_reference_backend;
}

static enum cvy_status bad_name(struct cvy_context *ctx, const char *name, size_t length)
{
    return cvyi_fail(
        ctx, CVY_E_ARG,
        "unknown backend \"%.*s\"; built in are native, reference, others are modules with names"
        " like onednn",
        (int)length, name);
}

enum cvy_status cvyi_registry_parse(struct cvy_context *ctx, const char *names,
                                    const struct cvy_backend *out[CVYI_MAX_BACKENDS], size_t *n)
{
    *n = 0;
    for (const char *p = names;; p++) {
        size_t length = strcspn(p, ",");
        char name[32] = "";
        if (length == 0)
            return cvyi_fail(ctx, CVY_E_ARG, "the list of backends \"%s\" has an empty name in it",
                             names);
        if (length >= sizeof name) return bad_name(ctx, p, length);
        memcpy(name, p, length);
        if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != length)
            return bad_name(ctx, p, length);
        const struct cvy_backend *backend = cvyi_registry_find(name);
        if (!backend) CVYI_TRY(cvyi_module_open(ctx, name, &backend));
        for (size_t i = 0; i < *n; i++)
            if (out[i] == backend)
                return cvyi_fail(ctx, CVY_E_ARG, "backend \"%s\" is listed twice", name);
        if (*n == CVYI_MAX_BACKENDS)
            return cvyi_fail(ctx, CVY_E_ARG, "more than %d backends", CVYI_MAX_BACKENDS);
        out[(*n)++] = backend;
        p += length;
        if (!*p) return CVY_OK;
    }
}
