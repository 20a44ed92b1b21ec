/* Contexts: resolving options and environment, messages, memory. */
#include "base/context.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/team.h"

#define ALIGNMENT 64
#define MAX_THREADS 1024

/* What went wrong last in this thread where there was no context to tell it. */
static _Thread_local char orphan[sizeof((struct cvy_context *)0)->message] = "no context";

enum cvy_status cvyi_fail(struct cvy_context *ctx, enum cvy_status status, const char *format, ...)
{
    char text[sizeof orphan]; /* the arguments may point into ctx->message */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(ctx ? ctx->message : orphan, text, sizeof text);
    return status;
}

enum cvy_status cvyi_check_reserved(struct cvy_context *ctx, const char *type,
                                    const uint64_t *reserved, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof *reserved; i++)
        if (reserved[i])
            return cvyi_fail(ctx, CVY_E_ARG,
                             "%s: reserved[%zu] is not zero: the struct was not cleared, or the "
                             "program uses what this version (%s) of the library has not",
                             type, i, CVY_VERSION_STRING);
    return CVY_OK;
}

void cvyi_log(struct cvy_context *ctx, int level, const char *format, ...)
{
    if (!ctx->options.log || ctx->options.verbose < level) return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    CVYI_HOST_CALL(ctx, ctx->options.log(ctx->options.log_user, level, line));
}

void cvyi_threads_why(struct cvy_context *ctx, const char *format, ...)
{
    size_t at = *format == ' ' ? strlen(ctx->threads_why) : 0;
    va_list args;
    va_start(args, format);
    vsnprintf(ctx->threads_why + at, sizeof ctx->threads_why - at, format, args);
    va_end(args);
}

static void *default_alloc(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    size_t rounded = (bytes + alignment - 1) / alignment * alignment; /* C11 wants a multiple */
    return rounded < bytes ? NULL : aligned_alloc(alignment, rounded);
}

static void default_free(void *user, void *p)
{
    (void)user;
    free(p);
}

void *cvyi_alloc(struct cvy_context *ctx, size_t bytes)
{
    const cvy_allocator *a = &ctx->options.allocator;
    void *p = NULL;
    if (bytes <= SIZE_MAX / 2)
        CVYI_HOST_CALL(ctx, p = a->alloc(a->user, bytes ? bytes : ALIGNMENT, ALIGNMENT));
    if (p) memset(p, 0, bytes ? bytes : ALIGNMENT);
    else cvyi_fail(ctx, CVY_E_NOMEM, "out of memory: %zu bytes could not be allocated", bytes);
    return p;
}

void *cvyi_alloc_array(struct cvy_context *ctx, size_t n, size_t size)
{
    size_t bytes;
    return cvyi_alloc(ctx, cvyi_mul(n, size, &bytes) ? bytes : SIZE_MAX);
}

bool cvyi_grow(struct cvy_context *ctx, void **array, size_t *capacity, size_t need, size_t size)
{
    if (need <= *capacity) return true;
    size_t n = *capacity ? *capacity * 2 : 16;
    if (n < need) n = need;
    void *grown = cvyi_alloc_array(ctx, n, size);
    if (!grown) return false;
    if (*capacity) memcpy(grown, *array, *capacity * size);
    cvyi_free(ctx, *array);
    *array = grown;
    *capacity = n;
    return true;
}

char *cvyi_strdup(struct cvy_context *ctx, const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = cvyi_alloc(ctx, n);
    if (copy) memcpy(copy, s, n);
    return copy;
}

void cvyi_free(struct cvy_context *ctx, void *p)
{
    if (p) CVYI_HOST_CALL(ctx, ctx->options.allocator.free(ctx->options.allocator.user, p));
}

/* The environment fills fields left at their default. A value that is unknown is an error, never
 * ignored. */
static enum cvy_status read_number(struct cvy_context *ctx, const char *name, long least, long most,
                                   long *value)
{
    const char *text = getenv(name);
    if (!text) return CVY_OK;
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < least || v > most)
        return cvyi_fail(ctx, CVY_E_ARG, "%s is '%.40s', expected a whole number from %ld to %ld",
                         name, text, least, most);
    *value = v;
    return CVY_OK;
}

static enum cvy_status resolve_isa(struct cvy_context *ctx)
{
    cvy_context_options *o = &ctx->options;
    const char *text = getenv("CVY_ISA");
    if ((unsigned)o->isa > CVY_ISA_PAIR)
        return cvyi_fail(ctx, CVY_E_ARG, "isa %d is not one of enum cvy_isa", (int)o->isa);
    if (o->isa == CVY_ISA_AUTO && text && !cvy_isa_from_name(text, &o->isa))
        return cvyi_fail(ctx, CVY_E_ARG,
                         "CVY_ISA is '%.40s', expected auto, scalar, avx2 or avx512", text);
    if (o->isa == CVY_ISA_AUTO) o->isa = cvyi_cpu_best();
#ifndef CVYI_HAVE_PAIR
    if (o->isa == CVY_ISA_PAIR)
        return cvyi_fail(
            ctx, CVY_E_UNSUPPORTED,
            "instruction set pair is for tests; this build has none (meson option pair)");
#endif
    if (!cvyi_cpu_can_run(o->isa))
        return cvyi_fail(ctx, CVY_E_UNSUPPORTED,
                         "instruction set %s was asked for, but this machine runs %s at most",
                         cvy_isa_name(o->isa), cvy_isa_name(cvyi_cpu_best()));
    return CVY_OK;
}

#define WORD(NAME, name) ", " #name /* ", direct, panels" */
static enum cvy_status resolve_algorithm(struct cvy_context *ctx)
{
    cvy_context_options *o = &ctx->options;
    const char *text = getenv("CVY_ALGORITHM");
    if (!strcmp(cvy_algorithm_name(o->algorithm), "unknown"))
        return cvyi_fail(ctx, CVY_E_ARG, "algorithm %d is not one of enum cvy_algorithm",
                         (int)o->algorithm);
    if (o->algorithm == CVY_ALGORITHM_AUTO && text && !cvy_algorithm_from_name(text, &o->algorithm))
        return cvyi_fail(ctx, CVY_E_ARG,
                         "CVY_ALGORITHM is '%.40s', expected one of auto" CVY_ALGORITHMS(WORD),
                         text);
    return CVY_OK;
}

/* The first number of OMP_NUM_THREADS ("4", "4,2" for nested regions), at most MAX_THREADS; 0: not
 * set, or not a list of numbers above zero, which is another library's mistake to report. */
static size_t openmp_threads(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    unsigned long first = 0;
    while (text) {
        char *end;
        text += strspn(text, " \t");
        if (*text < '0' || *text > '9') return 0;
        unsigned long n = strtoul(text, &end, 10);
        if (n == 0) return 0;
        if (!first) first = n;
        end += strspn(end, " \t");
        if (*end && *end != ',') return 0;
        text = *end ? end + 1 : NULL;
    }
    return first < MAX_THREADS ? first : MAX_THREADS;
}

/* How many threads, by whom: the options, CVY_THREADS, OMP_NUM_THREADS, what the machine allows. */
static enum cvy_status resolve_threads(struct cvy_context *ctx)
{
    cvy_context_options *o = &ctx->options;
    long threads = 0;
    if (o->threads > MAX_THREADS)
        return cvyi_fail(ctx, CVY_E_ARG, "threads is %zu, expected 1 to %d (0: default)",
                         o->threads, MAX_THREADS);
    cvyi_threads_why(ctx, "asked for");
    if (o->threads) return CVY_OK;
    CVYI_TRY(read_number(ctx, "CVY_THREADS", 1, MAX_THREADS, &threads));
    cvyi_threads_why(ctx, "CVY_THREADS");
    if (!threads) {
        threads = (long)openmp_threads();
        cvyi_threads_why(ctx, "OMP_NUM_THREADS");
    }
    if (!threads) {
        struct cvyi_cpu_limits limits = cvyi_cpu_limits();
        const char *ignored = getenv("OMP_NUM_THREADS");
        threads = (long)limits.threads;
        cvyi_threads_why(ctx, limits.by_quota ? "the cgroup's quota" : "the affinity mask");
        if (ignored) {
            cvyi_threads_why(ctx, " (OMP_NUM_THREADS is no list of numbers above zero)");
            cvyi_log(
                ctx, 1,
                "threads: OMP_NUM_THREADS is '%.40s', no list of numbers above zero, and ignored",
                ignored);
        }
    }
    o->threads = (size_t)threads;
    return CVY_OK;
}

static enum cvy_status resolve(struct cvy_context *ctx)
{
    cvy_context_options *o = &ctx->options;
    long verbose = o->verbose;
    if (!verbose) CVYI_TRY(read_number(ctx, "CVY_VERBOSE", 0, 2, &verbose));
    o->verbose = (int)verbose;
    CVYI_TRY(resolve_threads(ctx));
    CVYI_TRY(resolve_isa(ctx));
    CVYI_TRY(resolve_algorithm(ctx));
    const char *list = o->backends ? o->backends : getenv("CVY_BACKEND");
    if (!list) list = "native,reference";
    if (!*list || strlen(list) >= sizeof ctx->backends)
        return cvyi_fail(ctx, CVY_E_ARG, "the list of backends must have 1 to %zu characters",
                         sizeof ctx->backends - 1);
    strcpy(ctx->backends, list);
    o->backends = ctx->backends;
    const char *path = o->backend_path ? o->backend_path : getenv("CVY_BACKEND_PATH");
    o->backend_path = ctx->backend_path = cvyi_strdup(ctx, path ? path : "");
    return ctx->backend_path ? CVY_OK : CVY_E_NOMEM;
}

enum cvy_status cvyi_context_create(const cvy_context_options *options, cvy_context **out)
{
    cvy_allocator allocator = { .alloc = default_alloc, .free = default_free };
    if (!out) return cvyi_fail(NULL, CVY_E_ARG, "a context needs a place");
    *out = NULL;
    if (options) {
        CVYI_TRY(CVYI_CHECK_RESERVED(NULL, cvy_context_options, options));
        CVYI_TRY(CVYI_CHECK_RESERVED(NULL, cvy_allocator, &options->allocator));
    }
    if (options && !options->allocator.alloc != !options->allocator.free)
        return cvyi_fail(NULL, CVY_E_ARG,
                         "allocator: alloc and free must both be given or both be NULL");
    if (options && options->allocator.alloc) allocator = options->allocator;
    struct cvy_context *ctx = allocator.alloc(allocator.user, sizeof *ctx, ALIGNMENT);
    if (!ctx)
        return cvyi_fail(NULL, CVY_E_NOMEM, "out of memory: %zu bytes could not be allocated",
                         sizeof *ctx);
    memset(ctx, 0, sizeof *ctx);
    if (options) ctx->options = *options;
    ctx->options.allocator = allocator;
    enum cvy_status status;
    {
        CVYI_OWN_FLOATS(ctx);
        status = resolve(ctx);
        if (status == CVY_OK) status = cvyi_team_create(ctx, &ctx->team);
    }
    if (status != CVY_OK) return cvyi_context_refuse(&ctx, status);
    *out = ctx;
    return CVY_OK;
}

enum cvy_status cvyi_context_refuse(cvy_context **ctx, enum cvy_status status)
{
    (void)cvyi_fail(NULL, status, "%s", (*ctx)->message);
    cvy_context_destroy(ctx);
    return status;
}

void cvy_context_destroy(cvy_context **ctx)
{
    if (!ctx || !*ctx) return;
    cvyi_team_destroy(*ctx, &(*ctx)->team);
    cvyi_free(*ctx, (*ctx)->backend_path);
    cvy_allocator a = (*ctx)->options.allocator;
    a.free(a.user, *ctx);
    *ctx = NULL;
}

const char *cvy_message(const cvy_context *ctx) { return ctx ? ctx->message : orphan; }
size_t cvy_context_threads(const cvy_context *ctx) { return ctx ? ctx->options.threads : 0; }
const char *cvy_context_threads_why(const cvy_context *ctx) { return ctx ? ctx->threads_why : ""; }
enum cvy_isa cvy_context_isa(const cvy_context *ctx)
{
    return ctx ? ctx->options.isa : CVY_ISA_AUTO;
}
const char *cvy_context_backends(const cvy_context *ctx) { return ctx ? ctx->backends : ""; }
