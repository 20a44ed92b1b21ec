#ifndef CONVOY_CONTEXT_H
#define CONVOY_CONTEXT_H
#include "types.h"
#ifdef __cplusplus
extern "C" {
#endif
struct cvy_context;
typedef struct cvy_context cvy_context;
typedef void (*cvy_job)(void *arg, size_t task, size_t slot);
typedef void (*cvy_parallel_for)(void *pool, size_t tasks, cvy_job job, void *arg);
typedef struct cvy_allocator {
    void *(*alloc)(void *user, size_t bytes, size_t alignment);
    void (*free)(void *user, void *p);
    void *user;
    uint64_t reserved[4];
} cvy_allocator;
typedef struct cvy_context_options {
    size_t threads;
    enum cvy_isa isa;
    const char *backends;
    const char *backend_path;
    bool strict;
    bool no_fusion;
    enum cvy_algorithm algorithm;
    int verbose;
    cvy_allocator allocator;
    void (*log)(void *user, int level, const char *line);
    void *log_user;
    cvy_parallel_for parallel_for;
    void *pool;
    uint64_t reserved[32];
} cvy_context_options;
CVY_API CVY_NODISCARD enum cvy_status cvy_context_create(const cvy_context_options *options,
                                                         cvy_context **ctx);
CVY_API void cvy_context_destroy(cvy_context **ctx);
CVY_API const char *cvy_message(const cvy_context *ctx);
CVY_API size_t cvy_context_threads(const cvy_context *ctx);
CVY_API const char *cvy_context_threads_why(const cvy_context *ctx);
CVY_API enum cvy_isa cvy_context_isa(const cvy_context *ctx);
CVY_API const char *cvy_context_backends(const cvy_context *ctx);
CVY_API CVY_NODISCARD enum cvy_status cvy_context_available(cvy_context *ctx, char *names,
                                                            size_t size);
typedef struct cvy_machine {
    char cpu[64];
    enum cvy_isa best_isa;
    bool can_run[16];
    size_t cpus_online, cpus_allowed;
    double cgroup_quota;
    size_t default_threads;
    size_t l1d_bytes, l2_bytes, l3_bytes;
    uint64_t reserved[32];
} cvy_machine;
CVY_API void cvy_machine_describe(cvy_machine *machine);
typedef struct cvy_phase_info {
    const char *name, *backend;
    const char *kernel;
    size_t stage, tasks;
    size_t threads;
    size_t first_op, ops;
    bool reorder;
    double seconds, flops;
    uint64_t reserved[16];
} cvy_phase_info;
enum cvy_part { CVY_PART_FORWARD = 0, CVY_PART_BACKWARD, CVY_PART_UPDATE, CVY_PART_REORDER };
typedef struct cvy_op_info {
    const char *name, *type;
    enum cvy_part part;
    double flops, bytes;
    size_t n_out;
    const char *out[8];
    uint64_t reserved[16];
} cvy_op_info;
#ifdef __cplusplus
}
#endif
#endif
