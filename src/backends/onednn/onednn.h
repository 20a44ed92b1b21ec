/* The oneDNN module's private header. An op becomes primitives (primitive.c) over values whose
 * layouts oneDNN chose (layout.c); backend.c says which ops are taken, the other files plan them, a
 * group of operators each.
 *
 * Everything is made while planning, for a full batch. A batch size that is met for the first time
 * in a run (the last batch of an epoch) gets primitives of its own then, over the same buffers in
 * the same layouts, and keeps them. */
#ifndef CVYI_ONEDNN_H
#define CVYI_ONEDNN_H

#include "convoy/backend.h"
#include "backends/onednn/compat.h"

struct onednn_prim;
struct onednn_mark;

CVY_API extern const struct cvy_backend cvy_module;

/* One per program. */
struct onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_attr_t attr; /* scratchpads are the program's */
    size_t capacity, threads;
    bool training;
    void *blocks; /* of onednn_alloc */
    struct onednn_md_list *mds;
    struct onednn_prim *prims;
    struct onednn_copy *copies;      /* values and weights in further formats */
    struct onednn_forward *forwards; /* forward primitives that a backward one builds on */
    struct onednn_mark *marks;       /* special.c; by buffer */
    size_t n_marks, n_careful;
    int watched; /* buffer that stands for marks of plain values; -1: none */
};

#define ONEDNN_CVY(expr)                             \
    do {                                             \
        enum cvy_status onednn_cvy = (expr);         \
        if (onednn_cvy != CVY_OK) return onednn_cvy; \
    } while (0)

/* Zeroed, until the program dies; NULL: out of memory. */
void *onednn_alloc(struct onednn *o, size_t bytes);
/* "onednn: WHAT: oneDNN says unimplemented" */
enum cvy_status onednn_failed(struct cvy_plan *plan, const char *what, dnnl_status_t status);

/* threads.c: oneDNN uses as many threads as the calling one may start. enter returns what leave
 * puts back. */
int onednn_threads_enter(size_t threads);
void onednn_threads_leave(int before);

/* ----------------------------------------------------------------------------------- primitives */

#define ONEDNN_ARGS (CVY_MAX_IN + 8)

struct onednn_arg {
    int arg; /* DNNL_ARG_SRC, … */
    int id;  /* the buffer; -1: absent */
    /* of a full batch; `any` until the primitive descriptor is made. NULL: absent */
    onednn_md md;
    bool images; /* its first dimension counts images */
};

/* Executes p where an operand may hold NaN or an infinity. */
typedef bool onednn_care(struct onednn_prim *p, const struct cvy_run *run);
typedef dnnl_status_t onednn_make(const struct onednn_prim *p, struct onednn_with with,
                                  const onednn_md *md, dnnl_primitive_desc_t *pd);

/* An element-wise function, by oneDNN's names. */
struct onednn_act {
    dnnl_alg_kind_t alg;
    float alpha, beta;
};

struct onednn_prim {
    struct onednn *o;
    struct onednn_prim *next;
    const char *name;
    /* from the mds of the arguments that it was given, in their order */
    onednn_make *make;
    union {
        struct onednn_conv conv;
        struct onednn_pool pool;
        struct {
            float eps;
            unsigned flags;
        } bn;
        int sources;           /* of a concat */
        struct onednn_act act; /* softmax too */
    } u;
    dnnl_prop_kind_t prop;
    dnnl_primitive_attr_t attr; /* owned; NULL: the program's */
    struct onednn_prim *hint;   /* the forward primitive of a backward one */
    size_t scratch_bytes;       /* of the full batch */
    int n;
    struct onednn_arg arg[ONEDNN_ARGS];
    struct onednn_variant *variants; /* by batch size, the latest first */
    onednn_care *care;               /* NULL: it keeps the rule by itself */
    onednn_care *bare_care;          /* … without the activation that is fused behind it */
    /* without what is fused behind it, made when first needed; and that */
    struct onednn_prim *bare, *after;
    bool careful;  /* in this step */
    size_t *place; /* of maxima, in careful steps */
};

/* A new primitive; then its arguments in make's order, then onednn_create, then buffers and further
 * arguments. */
struct onednn_prim *onednn_prim(struct onednn *o, const char *name, onednn_make *make);
/* Returns the argument's place in p->arg. */
int onednn_give(struct onednn_prim *p, int arg, onednn_md md, bool images);
/* Its primitive descriptor for full batches; from then on every arg.md is what oneDNN chose. */
enum cvy_status onednn_create(struct onednn_prim *p, struct cvy_plan *plan);
/* A further argument, in the layout that the primitive has for it, in buffer id. */
void onednn_bind(struct onednn_prim *p, int arg, int id);
/* … in a private buffer of its own (zero bytes: no argument). *id: the buffer or -1. */
enum cvy_status onednn_bind_private(struct onednn_prim *p, struct cvy_plan *plan, int arg, int *id);
/* What oneDNN calls the implementation: "jit:avx2", "ref:any". */
const char *onednn_kernel(const struct onednn_prim *p);
/* The layout that the primitive has for an argument; NULL: it has none. Lives as long as the
 * program. */
onednn_md onednn_arg_md(struct onednn_prim *p, int arg);
/* A phase, alone, that executes p: its accesses and scratchpad filled in; `phase` may be changed
 * before cvy_plan_phase. */
enum cvy_status onednn_phase(struct onednn_prim *p, struct cvy_plan *plan, double flops,
                             struct cvy_phase_desc *phase);
/* … and appends it. */
enum cvy_status onednn_append(struct onednn_prim *p, struct cvy_plan *plan, double flops);
/* Runs it, from a phase or a refresh; with care where a special value may be. */
bool onednn_execute(struct onednn_prim *p, const struct cvy_run *run);
/* … without. */
bool onednn_run(struct onednn_prim *p, const struct cvy_run *run);
/* p without the activation that is fused behind it, over the same buffers in the same layouts;
 * NULL: out of memory. */
struct onednn_prim *onednn_bare(struct onednn_prim *p);
/* Argument i, of images those of this batch, to plain in C order, or from it. */
bool onednn_convert(struct onednn_prim *p, const struct cvy_run *run, int i, float *plain,
                    bool out);
void onednn_access(struct cvy_phase_desc *phase, int id, enum cvy_access access);
void onednn_free_prims(struct onednn *o);
void onednn_free_mds(struct onednn *o);

/* ------------------------------------------------------------------------------- special values */

#define ONEDNN_LOOK ((size_t)4096) /* numbers that one task looks through */

/* Whether a buffer may hold NaN or infinities: as the primitive that wrote it left it, or what the
 * tasks that filled it saw, a byte each. */
struct onednn_mark {
    bool special;
    size_t n;
    unsigned char *seen;
};
/* there is a mark for buffer id; false: out of memory */
bool onednn_reach_marks(struct onednn *o, int id);
bool onednn_is_special(const struct onednn *o, int id);
void onednn_mark(struct onednn *o, int id, bool special);
bool onednn_has_special(const float *x, size_t n);
/* Buffer id is filled by so many tasks, each of which then looks at what it wrote. */
enum cvy_status onednn_watch(struct onednn *o, struct cvy_plan *plan, int id, size_t tasks);
void onednn_look(const struct onednn *o, int id, size_t task, const float *x, size_t n);
/* A parameter, in tasks of ONEDNN_LOOK; looked through when the user sets it. -1: absent. */
enum cvy_status onednn_watch_parameter(struct onednn *o, struct cvy_plan *plan, int id);
/* … also of weights that the caller of a single operator holds, which are looked through in every
 * run. */
enum cvy_status onednn_watch_weights(struct onednn *o, struct cvy_plan *plan, int id);
/* A plain value, by a phase. */
enum cvy_status onednn_watch_plain(struct onednn *o, struct cvy_plan *plan, const char *name,
                                   int id);

void onednn_be_careful(struct onednn_prim *p, onednn_care *care);
onednn_care onednn_care_act, onednn_care_fused, onednn_care_relu_bwd, onednn_care_clip_bwd,
    onednn_care_max, onednn_care_max_bwd, onednn_care_softmax, onednn_care_padding,
    onednn_care_padding_weights;
/* log sum exp of n logits, NaN where it has none. */
double onednn_log_sum(const float *x, size_t n, size_t stride);

/* -------------------------------------------------------------------------------------- layouts */

/* Where a value lies and how. borrowed: the buffer is somebody else's, never written in place. */
struct onednn_place {
    int id;
    onednn_md md;
    bool borrowed;
};

/* Descriptors that live as long as the program; NULL: out of memory or no such layout. Maps of 1 x
 * 1 have rank 2. */
onednn_md onednn_own(struct onednn *o, onednn_md md);
onednn_md onednn_tagged(struct onednn *o, int rank, const dnnl_dims_t dims, dnnl_format_tag_t tag);
onednn_md onednn_plain(struct onednn *o, cvy_shape shape);
onednn_md onednn_any(struct onednn *o, cvy_shape shape);
onednn_md onednn_plain4(struct onednn *o, cvy_shape shape); /* rank 4 in any case */
onednn_md onednn_any4(struct onednn *o, cvy_shape shape);
/* Whether it has room for more numbers than there are: channels padded to a block. */
bool onednn_padded(onednn_md md);
/* The numbers of `md` in C order, without padding. */
onednn_md onednn_dense(struct onednn *o, onednn_md md);
dnnl_format_tag_t onednn_dense_tag(int rank); /* row by row */
/* `md` with the format of `like`, for `shape`. */
onednn_md onednn_like(struct onednn *o, onednn_md like, cvy_shape shape);

int onednn_root(const struct cvy_plan *plan, int id);
/* The shape with the largest maps among a buffer's names (flatten): what oneDNN sees of it where it
 * may choose. */
cvy_shape onednn_shape(const struct cvy_plan *plan, int id);
/* Where value id lies, as its writer left it. md NULL: out of memory. */
struct onednn_place onednn_at(struct onednn *o, const struct cvy_plan *plan, int id);
/* Value id in layout `want`, reordered if it must be: *buffer. */
enum cvy_status onednn_read(struct onednn *o, struct cvy_plan *plan, int id, onednn_md want,
                            int *buffer);
/* Whether value id has been reordered to md before. */
bool onednn_has_copy(struct onednn *o, const struct cvy_plan *plan, int id, onednn_md md);
/* How value id lies, seen in its own shape (an alias's may differ from the buffer's), and the
 * buffer. */
enum cvy_status onednn_seen(struct onednn *o, struct cvy_plan *plan, int id,
                            struct onednn_place *place);
/* Value id, which is written next, lies so. buffer: where, if not in its own (in place). */
enum cvy_status onednn_lay_out(struct onednn *o, struct cvy_plan *plan, int id, onednn_md md,
                               int buffer);
/* The buffer of `id` if an op numbered `last` is the last that needs it and may therefore overwrite
 * it; else -1. */
int onednn_reuse(struct onednn *o, const struct cvy_plan *plan, int id, size_t last);
/* Weight id as `want`, in the program's own buffer or in a packing that is refreshed with it. */
enum cvy_status onednn_weights(struct onednn *o, struct cvy_plan *plan, int id, onednn_md want,
                               int *buffer);
/* After an update of weight id: a phase for each of its packings. */
enum cvy_status onednn_repack(struct onednn *o, struct cvy_plan *plan, int id);
/* "NAME.reorder"; "conv1 + bn1 + relu1" */
const char *onednn_reorder_name(struct onednn *o, const char *name);
const char *onednn_joined_name(struct onednn *o, const struct cvy_op_desc *ops, int n);
/* Numbers from one buffer and layout to another; images: as many as a run has, else all. */
struct onednn_move {
    int from;
    onednn_md from_md;
    int to;
    onednn_md to_md;
    bool images;
};
/* A phase that moves numbers; onednn_reordering only describes it. */
enum cvy_status onednn_reordering(struct onednn *o, struct cvy_plan *plan, const char *name,
                                  const struct onednn_move *move, struct onednn_prim **prim,
                                  struct cvy_phase_desc *phase);
enum cvy_status onednn_reorder_phase(struct onednn *o, struct cvy_plan *plan, const char *name,
                                     const struct onednn_move *move);

/* A forward op that was planned, for its gradient. */
struct onednn_forward {
    struct onednn_forward *next;
    enum cvy_op_kind kind;
    int x, y; /* values; y: behind a fused ReLU, else -1 */
    struct onednn_prim *prim;
    int workspace; /* buffer, -1: none */
};
struct onednn_forward *onednn_remember(struct onednn *o, enum cvy_op_kind kind,
                                       struct onednn_prim *prim);

/* ------------------------------------------------------------------------------------ operators */

onednn_make onednn_bn_fwd_make;
typedef int onednn_take(const struct onednn *o, const struct cvy_plan *plan,
                        const struct cvy_op_desc *ops, int n);
/* Plans a chain that its own take answered with *n; *n becomes how many ops of it were planned:
 * fewer where somebody else wants a result that a fusion would skip. The rest is offered to take
 * again, nobody hands it on (onednn_plan_ops). */
typedef enum cvy_status onednn_plan(struct onednn *o, struct cvy_plan *plan,
                                    const struct cvy_op_desc *ops, int *n, size_t first);
/* Plans n ops by whichever families take them. */
enum cvy_status onednn_plan_ops(struct onednn *o, struct cvy_plan *plan,
                                const struct cvy_op_desc *ops, int n, size_t first);

onednn_take onednn_conv_take, onednn_bn_take, onednn_act_take, onednn_add_take, onednn_pool_take,
    onednn_move_take, onednn_loss_take, onednn_update_take;
/* conv.c: CONV2D*, as convolution or inner product, with a frozen batch norm and an activation */
onednn_plan onednn_conv_plan;
onednn_plan onednn_bn_plan;     /* bn.c: BN_*, with ReLU */
onednn_plan onednn_act_plan;    /* act.c: ACT, ACT_BWD */
onednn_plan onednn_add_plan;    /* add.c: ADD, with an activation behind it */
onednn_plan onednn_pool_plan;   /* pool.c */
onednn_plan onednn_move_plan;   /* move.c: INGEST, REORDER, CONCAT, SLICE, PAD */
onednn_plan onednn_loss_plan;   /* loss.c: SOFTMAX, LOSS */
onednn_plan onednn_update_plan; /* update.c */

/* How the next convolution behind op number `first` that reads value id wants it; NULL: none
 * does. */
onednn_md onednn_conv_wants(struct onednn *o, struct cvy_plan *plan, int id, size_t first);
/* The eltwise that computes an activation, from its result in the backward pass; false: there is
 * none. */
bool onednn_eltwise(const cvy_act_desc *act, bool backward, struct onednn_act *e);
/* p ends with the activation `op`, that is an attribute of it, so before onednn_create; then what
 * care is taken, when the buffer of its result, argument dst of p, is known. False: out of
 * memory. */
bool onednn_fuse(struct onednn_prim *p, const struct cvy_op_desc *op);
bool onednn_fused(struct onednn_prim *p, const struct cvy_op_desc *op, int dst);
/* Is ops[k] an activation of what ops[k-1] writes, and has oneDNN got it? */
bool onednn_activates(const struct cvy_op_desc *ops, int n, int k);

#endif
