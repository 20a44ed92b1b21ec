/* The context as the library's parts see it: resolved options, the last message, memory, the thread
 * team. */
#ifndef CVYI_CONTEXT_H
#define CVYI_CONTEXT_H

#include "base/floats.h"
#include "convoy/context.h"

struct cvyi_team;

struct cvy_context {
    cvy_context_options options; /* resolved: threads >= 1, isa not AUTO, allocator set */
    char backends[256];          /* owned copy; options.backends points here */
    char *backend_path;          /* likewise */
    char message[512];
    char threads_why[192]; /* who chose the number of threads */
    /* the host's floating-point state while the library has its own, else NULL */
    struct cvyi_floats *host;
    struct cvyi_team *team;
};

/* cvy_context_create, but for the names of backends: only the registry knows those. */
enum cvy_status cvyi_context_create(const cvy_context_options *options, struct cvy_context **out);
/* Destroys a context that cannot be used; why is then cvy_message(NULL). Returns status. */
enum cvy_status cvyi_context_refuse(struct cvy_context **ctx, enum cvy_status status);

/* Formats the message and returns status: return cvyi_fail(ctx, CVY_E_SHAPE, "%s: …", name). The
 * most recent failure wins. ctx NULL: it is told by cvy_message(NULL). */
enum cvy_status cvyi_fail(struct cvy_context *ctx, enum cvy_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* CVY_E_ARG unless the `reserved` of a caller's struct is zero: what a later version has put there
 * is not done silently otherwise. */
enum cvy_status cvyi_check_reserved(struct cvy_context *ctx, const char *type,
                                    const uint64_t *reserved, size_t bytes);
#define CVYI_CHECK_RESERVED(ctx, type, desc) \
    cvyi_check_reserved(ctx, #type, (desc)->reserved, sizeof(desc)->reserved)
/* One line to the log callback if options.verbose >= level; level 0 are warnings. */
void cvyi_log(struct cvy_context *ctx, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The library's floating-point state (base/floats.h) from here to the end of the block, on every
 * way out: the first line of each public function that computes, compares or converts. ctx may be
 * NULL. Inner ones do nothing. */
struct cvyi_scope {
    struct cvy_context *ctx;
    struct cvyi_floats host;
    bool entered;
};
static inline struct cvyi_scope *cvyi_scope_enter(struct cvyi_scope *scope, struct cvy_context *ctx)
{
    scope->ctx = ctx;
    scope->entered = !ctx || !ctx->host;
    if (scope->entered) scope->host = cvyi_floats_enter();
    if (scope->entered && ctx) ctx->host = &scope->host;
    return scope;
}
static inline void cvyi_scope_leave(struct cvyi_scope *scope)
{
    if (!scope->entered) return;
    if (scope->ctx) scope->ctx->host = NULL;
    cvyi_floats_leave(&scope->host);
}
#define CVYI_OWN_FLOATS(context)                                                  \
    struct cvyi_scope cvyi_own_floats __attribute__((cleanup(cvyi_scope_leave))); \
    (void)cvyi_scope_enter(&cvyi_own_floats, (context))

/* A call of the host's: in its own state, which it may change. New threads inherit it, too. */
#define CVYI_HOST_CALL(context, call)                    \
    do {                                                 \
        struct cvyi_floats *cvyi_host = (context)->host; \
        if (cvyi_host) cvyi_floats_leave(cvyi_host);     \
        (context)->host = NULL;                          \
        call;                                            \
        (context)->host = cvyi_host;                     \
        if (cvyi_host) *cvyi_host = cvyi_floats_enter(); \
    } while (0)

/* Says who chose the number of threads; a phrase that begins with a space is added to what was said
 * before. */
void cvyi_threads_why(struct cvy_context *ctx, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* 64-byte aligned, zeroed memory from the context's allocator; NULL if short (message set). bytes
 * 0: a valid pointer. */
void *cvyi_alloc(struct cvy_context *ctx, size_t bytes);
/* The same with n * size checked for overflow. */
void *cvyi_alloc_array(struct cvy_context *ctx, size_t n, size_t size);
/* Grows an array to at least `need` elements of `size` bytes (doubling; new part zeroed); false:
 * out of memory, untouched. */
bool cvyi_grow(struct cvy_context *ctx, void **array, size_t *capacity, size_t need, size_t size);
char *cvyi_strdup(struct cvy_context *ctx, const char *s);
void cvyi_free(struct cvy_context *ctx, void *p); /* NULL fine */

/* a*b into *out; false on overflow. */
static inline bool cvyi_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* Forwards a failure. */
#define CVYI_TRY(expr)                                         \
    do {                                                       \
        enum cvy_status cvyi_try_status = (expr);              \
        if (cvyi_try_status != CVY_OK) return cvyi_try_status; \
    } while (0)

#endif
