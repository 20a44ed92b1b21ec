/* Ops that move numbers: images in, reorders, concatenation, slices, padding with channels of
 * zeros. */
#include <string.h>

#include "backends/onednn/onednn.h"

/* ------------------------------------------------------------------------------------ images in */

#define INGEST_IMAGES ((size_t)8) /* a task */

struct ingest {
    struct onednn *o;
    int x;
    cvy_shape s;
    bool wide;
};

/* Twice: as the compiler's baseline has it, and with wider vectors, where the context permits
 * them. */
#define INGEST(name, attributes)                                                          \
    attributes static void name(float *restrict x, const void *restrict from, bool bytes, \
                                size_t n, float scale, const float *shift)                \
    {                                                                                     \
        for (size_t i = 0; bytes && i < n; i++)                                           \
            x[i] = __builtin_fmaf((float)((const uint8_t *)from)[i], scale, shift[i]);    \
        for (size_t i = 0; !bytes && i < n; i++)                                          \
            x[i] = __builtin_fmaf(((const float *)from)[i], scale, shift[i]);             \
    }
INGEST(gather_narrow, )
#ifdef __x86_64__
INGEST(gather_wide, __attribute__((target("avx2,fma"))))
#else
#define gather_wide gather_narrow
#endif

/* Channel c of an image that is moved, a few at a time. */
static void gather_moved(const struct ingest *a, const struct cvy_run *run,
                         const struct cvy_move *move, size_t c, float *x)
{
    const size_t pixels = a->s.h * a->s.w;
    const bool bytes = run->dtype == CVY_U8;
    const float scale = run->in_scale[c], *shift = run->in_shift + c * pixels;
    float moved[256];
    for (size_t p0 = 0, p1; p0 < pixels; p0 = p1) {
        p1 = p0 + 256 < pixels ? p0 + 256 : pixels;
        cvy_run_pixels(run, move, c, p0, p1, moved);
        (a->wide ? gather_wide : gather_narrow)(x + p0, moved, bytes, p1 - p0, scale, shift + p0);
    }
    cvy_move_blank(move, 0, pixels, x, 1);
}

static void run_ingest(const void *arg, const struct cvy_run *run, size_t task,
                       struct cvy_worker *worker)
{
    const struct ingest *a = arg;
    size_t pixels = a->s.h * a->s.w, image = a->s.c * pixels,
           end = (task + 1) * INGEST_IMAGES < run->n ? (task + 1) * INGEST_IMAGES : run->n;
    (void)worker;
    for (size_t n = task * INGEST_IMAGES; n < end; n++) {
        struct cvy_move move;
        if (cvy_run_moves(run)) cvy_run_move(run, a->s, n, &move);
        for (size_t c = 0; c < a->s.c; c++) {
            size_t at = ((run->index ? (size_t)run->index[n] : n) * a->s.c + c) * pixels;
            float *x = (float *)run->buf[a->x] + (n * a->s.c + c) * pixels;
            const float scale = run->in_scale[c], *shift = run->in_shift + c * pixels;
            bool bytes = run->dtype == CVY_U8;
            const void *from = (const char *)run->images + at * (bytes ? 1 : sizeof(float));
            if (cvy_run_moves(run)) gather_moved(a, run, &move, c, x);
            else (a->wide ? gather_wide : gather_narrow)(x, from, bytes, pixels, scale, shift);
        }
    }
    onednn_look(a->o, a->x, task, (const float *)run->buf[a->x] + task * INGEST_IMAGES * image,
                end > task * INGEST_IMAGES ? (end - task * INGEST_IMAGES) * image : 0);
}

static enum cvy_status plan_ingest(struct onednn *o, struct cvy_plan *plan,
                                   const struct cvy_op_desc *op)
{
    struct ingest *a = onednn_alloc(o, sizeof *a);
    if (!a) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    *a = (struct ingest){ o, onednn_root(plan, op->out[CVY_INGEST_X]),
                          cvy_plan_value(plan, op->out[CVY_INGEST_X])->shape,
                          cvy_plan_isa(plan) != CVY_ISA_SCALAR };
    ONEDNN_CVY(onednn_lay_out(o, plan, op->out[CVY_INGEST_X],
                              onednn_plain(o, onednn_shape(plan, op->out[CVY_INGEST_X])), -1));
    struct cvy_phase_desc phase = { .name = op->name,
                                    .run = run_ingest,
                                    .arg = a,
                                    .parts = (a->s.n + INGEST_IMAGES - 1) / INGEST_IMAGES };
    onednn_access(&phase, a->x, CVY_WRITE_ALL);
    ONEDNN_CVY(onednn_watch(o, plan, a->x, phase.parts));
    return cvy_plan_phase(plan, &phase);
}

/* -------------------------------------------------------------------------------------- reorder */

/* From PLAIN nothing is moved: plain is a format like any other, and the first reader that wants
 * another one reorders. */
static enum cvy_status plan_reorder(struct onednn *o, struct cvy_plan *plan,
                                    const struct cvy_op_desc *op)
{
    const struct cvy_value *to = cvy_plan_value(plan, op->out[CVY_REORDER_Y]);
    if (to->layout == CVY_LAYOUT_OPAQUE) {
        struct onednn_place *place = onednn_alloc(o, sizeof *place);
        if (!place) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
        *place = (struct onednn_place){ onednn_root(plan, op->in[CVY_REORDER_X]),
                                        onednn_plain(o, to->shape), true };
        if (!place->md) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
        ONEDNN_CVY(onednn_watch_plain(o, plan, op->name, place->id));
        return cvy_plan_lay_out(plan, op->out[CVY_REORDER_Y], to->bytes, place);
    }
    struct onednn_place from;
    ONEDNN_CVY(onednn_seen(o, plan, op->in[CVY_REORDER_X], &from));
    onednn_md plain =
        onednn_md_rank(from.md) == 2 ? onednn_plain(o, to->shape) : onednn_plain4(o, to->shape);
    const struct onednn_move move = { from.id, from.md, onednn_root(plan, op->out[CVY_REORDER_Y]),
                                      plain, true };
    return onednn_reorder_phase(o, plan, op->name, &move);
}

/* ------------------------------------------------------------------------------------- channels */

static dnnl_status_t concat(const struct onednn_prim *p, struct onednn_with with,
                            const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    return onednn_concat(pd, with, p->u.sources, md, md[p->u.sources]);
}

static enum cvy_status plan_concat(struct onednn *o, struct cvy_plan *plan,
                                   const struct cvy_op_desc *op)
{
    struct onednn_prim *p = onednn_prim(o, op->name, concat);
    if (!p) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    /* not p->n, which counts the scratchpad as well when a further batch size is made */
    p->u.sources = op->n_in;
    int from[CVY_MAX_IN];
    for (int k = 0; k < op->n_in; k++) {
        struct onednn_place x;
        ONEDNN_CVY(onednn_seen(o, plan, op->in[k], &x));
        from[k] = x.id;
        onednn_give(p, DNNL_ARG_MULTIPLE_SRC + k, x.md, true);
    }
    cvy_shape y = cvy_plan_value(plan, op->out[CVY_CONCAT_Y])->shape;
    onednn_give(p, DNNL_ARG_DST, onednn_like(o, p->arg[0].md, y), true);
    ONEDNN_CVY(onednn_create(p, plan));
    for (int k = 0; k < op->n_in; k++) p->arg[k].id = from[k];
    p->arg[op->n_in].id = onednn_root(plan, op->out[CVY_CONCAT_Y]);
    ONEDNN_CVY(onednn_lay_out(o, plan, op->out[CVY_CONCAT_Y], p->arg[op->n_in].md, -1));
    return onednn_append(p, plan, 0);
}

/* Channels [c0, c0 + c) of what md describes; NULL where they do not begin and end with a block. */
static onednn_md channels(struct onednn *o, onednn_md md, size_t c0, size_t c)
{
    dnnl_dims_t dims, at = { 0, (dnnl_dim_t)c0 };
    onednn_md out;
    memcpy(dims, onednn_md_dims(md), sizeof dims);
    dims[1] = (dnnl_dim_t)c;
    return onednn_md_sub(&out, md, dims, at) == dnnl_success ? onednn_own(o, out) : NULL;
}

static enum cvy_status plan_slice(struct onednn *o, struct cvy_plan *plan,
                                  const struct cvy_op_desc *op)
{
    struct onednn_place dy;
    cvy_shape s = cvy_plan_value(plan, op->out[CVY_SLICE_Y])->shape;
    ONEDNN_CVY(onednn_seen(o, plan, op->in[CVY_SLICE_X], &dy));
    onednn_md part = channels(o, dy.md, op->u.slice.c0, s.c);
    if (!part) {
        cvy_shape whole = cvy_plan_value(plan, op->in[CVY_SLICE_X])->shape;
        dy.md = onednn_plain(o, whole);
        ONEDNN_CVY(onednn_read(o, plan, op->in[CVY_SLICE_X], dy.md, &dy.id));
        part = channels(o, dy.md, op->u.slice.c0, s.c);
    }
    onednn_md dx = onednn_like(o, dy.md, s);
    ONEDNN_CVY(onednn_lay_out(o, plan, op->out[CVY_SLICE_Y], dx, -1));
    const struct onednn_move move = { dy.id, part, onednn_root(plan, op->out[CVY_SLICE_Y]), dx,
                                      true };
    return onednn_reorder_phase(o, plan, op->name, &move);
}

struct pad {
    struct onednn_prim *prim;
    int y;
    size_t bytes;
};

static void run_pad(const void *arg, const struct cvy_run *run, size_t task,
                    struct cvy_worker *worker)
{
    const struct pad *a = arg;
    (void)task, (void)worker;
    memset(run->buf[a->y], 0, a->bytes);
    (void)onednn_execute(a->prim, run);
}

static enum cvy_status plan_pad(struct onednn *o, struct cvy_plan *plan,
                                const struct cvy_op_desc *op)
{
    struct onednn_place x;
    cvy_shape s = cvy_plan_value(plan, op->out[CVY_PAD_Y])->shape,
              xs = cvy_plan_value(plan, op->in[CVY_PAD_X])->shape;
    ONEDNN_CVY(onednn_seen(o, plan, op->in[CVY_PAD_X], &x));
    onednn_md y = onednn_like(o, x.md, s), part = y ? channels(o, y, op->u.slice.c0, xs.c) : NULL;
    if (y && !part) part = channels(o, y = onednn_plain(o, s), op->u.slice.c0, xs.c);
    struct pad *a = onednn_alloc(o, sizeof *a);
    struct cvy_phase_desc phase;
    if (!a || !y) return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", op->name);
    *a = (struct pad){ NULL, onednn_root(plan, op->out[CVY_PAD_Y]), onednn_md_bytes(y) };
    ONEDNN_CVY(onednn_lay_out(o, plan, op->out[CVY_PAD_Y], y, -1));
    const struct onednn_move move = { x.id, x.md, a->y, part, true };
    ONEDNN_CVY(onednn_reordering(o, plan, op->name, &move, &a->prim, &phase));
    phase.run = run_pad;
    phase.arg = a;
    phase.reorder = false;
    return cvy_plan_phase(plan, &phase);
}

/* ---------------------------------------------------------------------------------------- entry */

int onednn_move_take(const struct onednn *o, const struct cvy_plan *plan,
                     const struct cvy_op_desc *ops, int n)
{
    (void)o, (void)n;
    if (ops[0].kind != CVY_OP_REORDER) return 1;
    const struct cvy_value *from = cvy_plan_value(plan, ops[0].in[CVY_REORDER_X]),
                           *to = cvy_plan_value(plan, ops[0].out[CVY_REORDER_Y]);
    if (from->role != CVY_ROLE_ACTIVATION || to->role != CVY_ROLE_ACTIVATION) return 0;
    return (from->owner == &cvy_module && to->layout == CVY_LAYOUT_PLAIN) ||
           (to->owner == &cvy_module && from->layout == CVY_LAYOUT_PLAIN);
}

enum cvy_status onednn_move_plan(struct onednn *o, struct cvy_plan *plan,
                                 const struct cvy_op_desc *ops, int *n, size_t first)
{
    (void)n, (void)first;
    switch (ops[0].kind) {
    case CVY_OP_INGEST: return plan_ingest(o, plan, &ops[0]);
    case CVY_OP_REORDER: return plan_reorder(o, plan, &ops[0]);
    case CVY_OP_CONCAT: return plan_concat(o, plan, &ops[0]);
    case CVY_OP_SLICE: return plan_slice(o, plan, &ops[0]);
    default: return plan_pad(o, plan, &ops[0]);
    }
}
