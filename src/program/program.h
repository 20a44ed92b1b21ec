/* A program: a net's ops after backends, layouts, memory and stages were decided, and its executor.
 *
 * `struct cvy_plan` (opaque in convoy/backend.h) is this program: backends fill it through
 * cvy_plan_* while it is being compiled; after that it only runs. Knows ops and the backends'
 * vtable; must not know nets, parameters' meaning, or how anything is computed. */
#ifndef CVYI_PROGRAM_H
#define CVYI_PROGRAM_H

#include "base/team.h"
#include "convoy/train.h"
#include "ops/ops.h"

#define CVYI_MAX_BACKENDS 8

/* ------------------------------------------------------------------------------------- registry */

/* The built-in backend of that name; NULL: none. */
const struct cvy_backend *cvyi_registry_find(const char *name);
/* The backend of module convoy-NAME.so, from the context's backend path, beside the library, or
 * where it was installed. */
enum cvy_status cvyi_module_open(struct cvy_context *ctx, const char *name,
                                 const struct cvy_backend **backend);
/* Calls found(arg, NAME) for every module that can be opened, in the order of the search; a name
 * may come twice. */
void cvyi_module_list(struct cvy_context *ctx, void (*found)(void *arg, const char *name),
                      void *arg);
/* The i-th built-in backend; NULL past the end. */
const struct cvy_backend *cvyi_registry_at(size_t i);
/* Whether its phases that are alone may open regions of their own. */
bool cvyi_registry_has_threads(const struct cvy_backend *backend);
/* Reads an ordered, comma separated list of names into `out`; one that is neither built in nor a
 * module is an error. */
enum cvy_status cvyi_registry_parse(struct cvy_context *ctx, const char *names,
                                    const struct cvy_backend *out[CVYI_MAX_BACKENDS], size_t *n);

/* -------------------------------------------------------------------------------------- program */

struct cvyi_phase {
    struct cvy_phase_desc desc; /* its name is owned */
    int backend;
    size_t tasks;
    size_t first_op, n_ops; /* the piece it was made from */
    size_t stage, strand;
    /* the refresh of packed weights, what gradients undergo: everything before is done, nothing
     * after has begun */
    bool barrier;
    bool updates;  /* weights, and nothing else */
    bool backward; /* behind the loss */
};

/* Phases that run back to back in one task, because they meet in their own cells only. */
struct cvyi_strand {
    size_t tasks, first, n; /* order[first … first + n) */
};
/* Strands that run at once; a barrier follows. */
struct cvyi_stage {
    size_t first, n;
    bool alone;
    size_t first_turn; /* strand[first … first + n) */
};
/* A task of a strand, in the order in which a stage deals them: to every thread its share of every
 * strand, so that it meets the image blocks again that it has had. */
struct cvyi_turn {
    uint32_t strand, task;
};

struct cvyi_refresh {
    int id, backend;
    cvy_refresh_fn fn;
    const void *arg;
    bool always; /* in every run: nobody else keeps this packing fresh */
};

/* A buffer to place: in, bytes (a multiple of 64) and the stages it is alive in; out, its place. */
struct cvyi_slot {
    size_t bytes, first, last, offset;
};

struct cvyi_private {
    struct cvy_value value;
    bool persistent;
};

struct cvyi_value_info {
    bool keep;   /* the user reads it after a run: in the persistent block */
    bool shared; /* bound to another program's buffer */
    bool fixed;  /* the layout is given: */
    enum cvy_layout layout;
    /* planes are not padded: something reads the map as one row of channels */
    bool dense;
    long last_read; /* number of the last op that reads it or an alias; -1 */
};

/* An activation, or a gradient of one, that is kept for reading after a run. */
struct cvyi_tensor {
    int id, fetched;
}; /* fetched: its copy in a plain layout, or itself */

struct cvyi_program_options {
    size_t capacity;
    bool training;
    bool dry_run; /* measure only: no arena, no parameters; it cannot run */
    /* leave value `output` in plan->fetch after a run, as PLAIN float; in training also PLAIN64 */
    bool fetch;
    int output;
    /* leave every activation and gradient of one readable after a run, in plan->tensor */
    bool keep_tensors;
    const int *keep; /* values that are read or written from outside between runs */
    size_t n_keep;
    const struct cvy_plan *share; /* WEIGHT and RUNNING buffers are this program's, by name */
    double clip_norm;  /* the longest that all gradients together may be; 0: no clipping */
    size_t accumulate; /* runs to an update; 0 and 1: every one */
    /* of all that the program takes; 0: none (recompute.c). What becomes of it: buffers of any size
     * share places; values from number `again` on are made a second time, for gradients */
    size_t memory_limit;
    bool packed;
    size_t again;
    const struct cvy_backend *const *backends; /* NULL: the context's */
    size_t n_backends;
};

/* Between gradients and updates (gradients.c). */
struct cvyi_gradients {
    struct cvy_plan *plan;
    double most;
    size_t every;
    const int *sum; /* by value: where a gradient is added up; -1 */
};
_Static_assert(CVYI_SUM_STATE == CVY_PARAM_SUM - CVY_PARAM_STATE, "params.c finds it by its kind");

struct cvy_plan {
    struct cvy_context *ctx;
    struct cvyi_program_options options; /* its pointers are not kept */
    struct cvyi_list list;
    struct cvyi_value_info *info; /* one per value of the list */
    size_t again_end;             /* values [options.again, again_end) are made again; 0: none */
    size_t cap_info;
    /* values from list.n_values on; never move, backends hold pointers */
    struct cvyi_private **extra;
    size_t n_extra, cap_extra;
    int fetch;
    struct cvyi_tensor *tensor;
    size_t n_tensors;
    struct cvyi_gradients gradients;
    /* of the next run: which one of `accumulate` it is, from 0; whether updates are left out */
    size_t round;
    bool no_update, no_backward; /* of the next run, too: whether all behind the loss is */
    double norm;                 /* of the last run's gradients, before it was clipped */
    size_t first_update; /* number of the first op that belongs to the updates; SIZE_MAX: none */

    const struct cvy_backend *backend[CVYI_MAX_BACKENDS];
    void *state[CVYI_MAX_BACKENDS];
    size_t n_backends, n_open;
    int *assign; /* backend of every op */
    size_t cap_assign;
    /* ops of the piece that starts at that op, as they were assigned */
    int *piece;
    size_t cap_piece;
    int current; /* backend that is asked or planning */
    /* its ops [planned, planned + n_planned); none: nobody is planning */
    size_t planned, n_planned;
    const char *kernel;     /* of the piece that is being planned; NULL */
    enum cvy_status denied; /* a claim of a backend was false */

    struct cvyi_phase *phase;
    size_t n_phases, cap_phases;
    struct cvyi_refresh *refresh;
    size_t n_refresh, cap_refresh;
    void *blocks; /* of cvy_plan_alloc, linked */

    struct cvyi_stage *stage;
    size_t n_stages;
    struct cvyi_stage_work *work; /* by stage */
    struct cvyi_turn *turn;       /* by stage, gates first */
    uint32_t *begin;              /* by stage and thread: cvyi_stage_work's */
    struct cvyi_strand *strand;
    size_t *order;

    void **buf;     /* by value id */
    size_t *offset; /* in the arena; SIZE_MAX: not there */
    /* by value id. bytes 0: it has no place of its own in the arena. home: whose it has */
    struct cvyi_slot *slot;
    size_t *home;
    void *arena, *fixed;
    size_t arena_bytes, fixed_bytes;
    void *scratch;
    size_t scratch_bytes; /* one worker's */
    struct cvy_worker *worker;
    enum cvy_status failed; /* of the run that goes on */
    /* [thread][n_phases rounded up to 8]; NULL unless profiled once */
    uint64_t *nanoseconds;
    bool profiling;
    bool lends; /* phases with threads of their own: cvyi_team_lend */
};

/* Compiles `list`, whose contents it takes over in any case, within options->memory_limit if there
 * is one (CVY_E_NOMEM, and a sentence, if it cannot). On failure *plan is NULL. */
enum cvy_status cvyi_program_compile(struct cvy_context *ctx, struct cvyi_list *list,
                                     const struct cvyi_program_options *options,
                                     struct cvy_plan **plan);
void cvyi_program_destroy(struct cvy_plan **plan);

size_t cvyi_program_values(const struct cvy_plan *plan);
/* The value whose buffer `id` uses. */
int cvyi_program_root(const struct cvy_plan *plan, int id);
/* Bytes from the start of its root's buffer to a value, which may be a view. */
size_t cvyi_program_inside(const struct cvy_plan *plan, int id);
/* Whether two views of one value have no channel in common. */
bool cvyi_program_apart(const struct cvy_plan *plan, int a, int b);
/* Value of that role and name; -1: none. */
int cvyi_program_find(const struct cvy_plan *plan, enum cvy_role role, const char *name);
/* Whether a value's buffer outlives a step. */
bool cvyi_program_persistent(const struct cvy_plan *plan, int id);
/* Gives an external value (and its aliases) an address. */
void cvyi_program_bind(struct cvy_plan *plan, int id, void *address);
/* Uses the caller's memory of arena_bytes instead of the program's own; NULL: its own again. */
void cvyi_program_bind_arena(struct cvy_plan *plan, void *arena);
/* Refreshes what backends keep of parameter `id` (-1: of all). */
CVY_NODISCARD enum cvy_status cvyi_program_refresh(struct cvy_plan *plan, int id);
/* One run; run->buf is set here. Allocates nothing. Fails only if a backend does, with its
 * message. */
CVY_NODISCARD enum cvy_status cvyi_program_run(struct cvy_plan *plan, struct cvy_run *run);
/* Starts (and clears) or stops the clocks of phases. Fails only for memory, and then changes
 * nothing. */
CVY_NODISCARD enum cvy_status cvyi_program_profile(struct cvy_plan *plan, bool on);
/* A thread's clocks start on a cache line of their own. */
static inline size_t cvyi_clock_stride(const struct cvy_plan *plan)
{
    return (plan->n_phases + 7) / 8 * 8;
}

/* What outsiders are told (inspect.c). */
enum cvy_status cvyi_program_phase(const struct cvy_plan *plan, size_t index, cvy_phase_info *info);
/* Adds what the phase has to move at the least (traffic.c). */
void cvyi_program_traffic(const struct cvy_plan *plan, size_t phase, cvy_phase_info *info);
enum cvy_part cvyi_program_part(const struct cvy_plan *plan, size_t op);
enum cvy_status cvyi_program_op(const struct cvy_plan *plan, size_t index, cvy_op_info *info);
enum cvy_status cvyi_program_tensor(const struct cvy_plan *plan, size_t index,
                                    cvy_tensor_info *info);
enum cvy_status cvyi_program_tensor_get(const struct cvy_plan *plan, size_t index, double *out,
                                        size_t count);

/* ------------------------------------------------------------------------------------ its parts */

static inline bool cvyi_writes(enum cvy_access a)
{
    return a == CVY_WRITE_CELL || a == CVY_WRITE_ALL;
}
static inline bool cvyi_is_cell(enum cvy_access a)
{
    return a == CVY_READ_CELL || a == CVY_WRITE_CELL;
}

/* What backends claim, checked (claims.c); a false one is CVY_E_BACKEND and a sentence. */
enum cvy_status cvyi_claims_backend(struct cvy_context *ctx, const struct cvy_backend *backend);
/* Whether a backend may read and write what lies as v does: PLAIN, or a layout that it works in.
 * Those that are built in know all but others' OPAQUE ones. */
bool cvyi_claims_knows(const struct cvy_backend *backend, const struct cvy_value *v);
enum cvy_status cvyi_claims_buffer(struct cvy_plan *plan, const char *name, size_t bytes);
enum cvy_status cvyi_claims_lay_out(struct cvy_plan *plan, int id, size_t bytes);
enum cvy_status cvyi_claims_refresh(struct cvy_plan *plan, int id, cvy_refresh_fn fn);
enum cvy_status cvyi_claims_phase(struct cvy_plan *plan, const struct cvy_phase_desc *phase);
/* Of the piece that is being planned, once its phases, from number `first` on, are there. */
enum cvy_status cvyi_claims_piece(struct cvy_plan *plan, size_t first);

/* Fills in plan->gradients; then the phase between gradients and updates, a barrier, with that as
 * its arg. */
enum cvy_status cvyi_gradients_build(struct cvy_plan *plan);
void cvyi_gradients_run(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker);
/* What an optimiser's penalties on weights add to the loss; by the groups of their updates. */
double cvyi_penalty(const struct cvy_plan *plan, const cvy_optimizer_desc *desc,
                    const struct cvyi_group *groups);
/* Cuts the phases into stages and strands. */
enum cvy_status cvyi_stages_build(struct cvy_plan *plan);
/* Places every buffer; then, unless dry_run, takes the memory. */
enum cvy_status cvyi_memory_build(struct cvy_plan *plan);
enum cvy_status cvyi_memory_allocate(struct cvy_plan *plan);
void cvyi_memory_free(struct cvy_plan *plan);
/* Places n slots; two overlap only if they are of one size, in one place, and never alive in the
 * same stage. `order` is room for n numbers. Returns the bytes of the arena, SIZE_MAX on
 * overflow. */
size_t cvyi_memory_place(struct cvyi_slot *slot, size_t n, size_t *order);
/* The same in less memory: whatever is never alive in the same stage may overlap. Room for 2 n. */
size_t cvyi_memory_pack(struct cvyi_slot *slot, size_t n, size_t *order);

#endif
