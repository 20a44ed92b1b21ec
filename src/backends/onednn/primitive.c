/* Primitives: made once for every batch size, executed with the buffers of the run. Knows oneDNN's
 * objects and their lifetimes, no operator. */
#include <stdlib.h>
#include <string.h>

#include "backends/onednn/onednn.h"

/* A primitive for one batch size. The primitive itself and its memory objects are made when it is
 * first needed: a forward one may only be there as a hint. */
struct onednn_variant {
    struct onednn_variant *next;
    size_t images;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive; /* there: so is all that ready() makes */
    int n;
    dnnl_exec_arg_t exec[ONEDNN_ARGS];
    int id[ONEDNN_ARGS];
    void *handle[ONEDNN_ARGS]; /* what the memory objects point to now */
    /* where this batch size needs more than the full batch; owned */
    void *scratch;
};

static const char *status_name(dnnl_status_t status)
{
    switch (status) {
    case dnnl_success: return "success";
    case dnnl_out_of_memory: return "out of memory";
    case dnnl_invalid_arguments: return "invalid arguments";
    case dnnl_unimplemented: return "unimplemented";
    case dnnl_runtime_error: return "runtime error";
    default: return "failure";
    }
}

enum cvy_status onednn_failed(struct cvy_plan *plan, const char *what, dnnl_status_t status)
{
    return cvy_plan_fail(plan, status == dnnl_out_of_memory ? CVY_E_NOMEM : CVY_E_BACKEND,
                         "onednn: %s: oneDNN says: %s", what, status_name(status));
}

struct onednn_prim *onednn_prim(struct onednn *o, const char *name, onednn_make *make)
{
    struct onednn_prim *p = onednn_alloc(o, sizeof *p);
    if (!p) return NULL;
    p->o = o;
    p->name = name;
    p->make = make;
    p->next = o->prims;
    o->prims = p;
    return p;
}

int onednn_give(struct onednn_prim *p, int arg, onednn_md md, bool images)
{
    p->arg[p->n] = (struct onednn_arg){ arg, -1, md, images };
    return p->n++;
}

/* ------------------------------------------------------------------------------------- variants */

static bool has_images(const struct onednn_prim *p)
{
    for (int i = 0; i < p->n; i++)
        if (p->arg[i].images) return true;
    return false;
}

/* The first `images` images of what md describes. */
static dnnl_status_t shorten(onednn_md md, size_t images, onednn_md *out)
{
    dnnl_dims_t dims, at = { 0 };
    memcpy(dims, onednn_md_dims(md), sizeof dims);
    dims[0] = (dnnl_dim_t)images;
    return onednn_md_sub(out, md, dims, at);
}

static dnnl_status_t describe(struct onednn_prim *p, size_t images, dnnl_primitive_desc_t hint,
                              dnnl_primitive_desc_t *pd)
{
    onednn_md md[ONEDNN_ARGS], made[ONEDNN_ARGS];
    dnnl_status_t status = dnnl_success;
    int n = 0;
    for (int i = 0; i < p->n && status == dnnl_success; i++) {
        md[i] = p->arg[i].md;
        if (!md[i] || !p->arg[i].images || images == p->o->capacity) continue;
        status = shorten(md[i], images, &made[n]);
        if (status == dnnl_success) md[i] = made[n++];
    }
    struct onednn_with with = { p->o->engine, p->attr ? p->attr : p->o->attr, hint };
    if (status == dnnl_success) status = p->make(p, with, md, pd);
    while (n > 0) onednn_md_free(made[--n]);
    return status;
}

static dnnl_status_t variant(struct onednn_prim *p, size_t images, struct onednn_variant **out)
{
    struct onednn_variant *hint = NULL, *v;
    if (!has_images(p)) images = p->o->capacity;
    for (v = p->variants; v; v = v->next)
        if (v->images == images) {
            *out = v;
            return dnnl_success;
        }
    if (p->hint) ONEDNN_TRY(variant(p->hint, images, &hint));
    v = calloc(1, sizeof *v);
    if (!v) return dnnl_out_of_memory;
    v->images = images;
    dnnl_status_t status = describe(p, images, hint ? hint->pd : NULL, &v->pd);
    if (status != dnnl_success) {
        free(v);
        return status;
    }
    v->next = p->variants;
    *out = p->variants = v;
    return dnnl_success;
}

static onednn_md exec_md(const struct onednn_variant *v, int arg)
{
    return dnnl_primitive_desc_query_md(v->pd, dnnl_query_exec_arg_md, arg);
}

static dnnl_status_t add_memory(struct onednn_prim *p, struct onednn_variant *v, int arg, int id,
                                void *handle)
{
    onednn_md md = exec_md(v, arg);
    /* its bytes say nothing: 0 for a part of something larger */
    if (!md || !onednn_md_rank(md)) return dnnl_success;
    v->exec[v->n].arg = arg;
    ONEDNN_TRY(dnnl_memory_create(&v->exec[v->n].memory, md, p->o->engine, handle));
    v->handle[v->n] = handle;
    v->id[v->n++] = id;
    return dnnl_success;
}

static dnnl_status_t make_ready(struct onednn_prim *p, struct onednn_variant *v)
{
    ONEDNN_TRY(dnnl_primitive_create(&v->primitive, v->pd));
    for (int i = 0; i < p->n; i++)
        if (p->arg[i].id >= 0 && p->arg[i].arg != DNNL_ARG_SCRATCHPAD)
            ONEDNN_TRY(add_memory(p, v, p->arg[i].arg, p->arg[i].id, DNNL_MEMORY_NONE));
    onednn_md scratch = exec_md(v, DNNL_ARG_SCRATCHPAD);
    size_t bytes = scratch ? onednn_md_bytes(scratch) : 0;
    if (bytes > p->scratch_bytes) {
        v->scratch = aligned_alloc(64, (bytes + 63) / 64 * 64);
        return v->scratch ? add_memory(p, v, DNNL_ARG_SCRATCHPAD, -1, v->scratch)
                          : dnnl_out_of_memory;
    }
    for (int i = 0; i < p->n; i++)
        if (p->arg[i].arg == DNNL_ARG_SCRATCHPAD)
            return add_memory(p, v, DNNL_ARG_SCRATCHPAD, p->arg[i].id, DNNL_MEMORY_NONE);
    return dnnl_success;
}

/* Leaves nothing half made. */
static void unready(struct onednn_variant *v)
{
    while (v->n > 0) dnnl_memory_destroy(v->exec[--v->n].memory);
    if (v->primitive) dnnl_primitive_destroy(v->primitive);
    v->primitive = NULL;
    free(v->scratch);
    v->scratch = NULL;
}

/* The primitive and its memory objects: all of them, or none after a failure, so that the next run
 * makes them again. */
static dnnl_status_t ready(struct onednn_prim *p, struct onednn_variant *v)
{
    if (v->primitive) return dnnl_success;
    dnnl_status_t status = make_ready(p, v);
    if (status != dnnl_success) unready(v);
    return status;
}

void onednn_free_prims(struct onednn *o)
{
    for (struct onednn_prim *p = o->prims; p; p = p->next) {
        while (p->variants) {
            struct onednn_variant *v = p->variants;
            p->variants = v->next;
            unready(v);
            dnnl_primitive_desc_destroy(v->pd);
            free(v);
        }
        if (p->attr) dnnl_primitive_attr_destroy(p->attr);
    }
}

/* ------------------------------------------------------------------------------------- planning */

enum cvy_status onednn_create(struct onednn_prim *p, struct cvy_plan *plan)
{
    struct onednn_variant *v;
    int before = onednn_threads_enter(p->o->threads);
    dnnl_status_t status = variant(p, p->o->capacity, &v);
    onednn_threads_leave(before);
    if (status != dnnl_success) return onednn_failed(plan, p->name, status);
    for (int i = 0; i < p->n; i++) {
        if (!p->arg[i].md) continue;
        onednn_md md = exec_md(v, p->arg[i].arg), copy;
        if (onednn_md_copy(&copy, md) != dnnl_success || !(p->arg[i].md = onednn_own(p->o, copy)))
            return cvy_plan_fail(plan, CVY_E_NOMEM, "onednn: %s: out of memory", p->name);
    }
    return CVY_OK;
}

onednn_md onednn_arg_md(struct onednn_prim *p, int arg)
{
    onednn_md md = exec_md(p->variants, arg);
    return md && onednn_md_bytes(md) ? md : NULL;
}

const char *onednn_kernel(const struct onednn_prim *p)
{
    const char *kernel = NULL;
    (void)dnnl_primitive_desc_query(p->variants->pd, dnnl_query_impl_info_str, 0, &kernel);
    return kernel ? kernel : "";
}

void onednn_bind(struct onednn_prim *p, int arg, int id)
{
    if (id < 0) return;
    int i = 0;
    while (i < p->n && p->arg[i].arg != arg) i++;
    if (i == p->n) onednn_give(p, arg, NULL, false);
    p->arg[i].id = id;
}

enum cvy_status onednn_bind_private(struct onednn_prim *p, struct cvy_plan *plan, int arg, int *id)
{
    onednn_md md = onednn_arg_md(p, arg);
    *id = -1;
    if (!md) return CVY_OK;
    *id = cvy_plan_buffer(plan, p->name, onednn_md_bytes(md), false);
    if (*id < 0) return CVY_E_NOMEM;
    onednn_bind(p, arg, *id);
    return CVY_OK;
}

void onednn_access(struct cvy_phase_desc *phase, int id, enum cvy_access access)
{
    if (id < 0 || phase->n_access >= (int)(sizeof phase->access / sizeof phase->access[0])) return;
    phase->access[phase->n_access].value = id;
    phase->access[phase->n_access++].access = access;
}

static bool is_written(const struct onednn_prim *p, int arg)
{
    bool statistics = arg == DNNL_ARG_MEAN || arg == DNNL_ARG_VARIANCE;
    bool backward = p->prop == dnnl_backward || p->prop == dnnl_backward_data ||
                    p->prop == dnnl_backward_weights;
    if (arg == DNNL_ARG_SCRATCHPAD) return true;
    if (arg == DNNL_ARG_WORKSPACE) return !backward;
    if (statistics) return !backward && !(p->u.bn.flags & dnnl_use_global_stats);
    if (arg == DNNL_ARG_DIFF_DST || (arg == DNNL_ARG_DST && backward)) return false;
    return arg == DNNL_ARG_DST || arg == DNNL_ARG_DIFF_SRC || arg == DNNL_ARG_DIFF_WEIGHTS ||
           arg == DNNL_ARG_DIFF_BIAS || arg == DNNL_ARG_DIFF_SCALE || arg == DNNL_ARG_DIFF_SHIFT;
}

static void run_prim(const void *arg, const struct cvy_run *run, size_t task,
                     struct cvy_worker *worker)
{
    (void)task, (void)worker;
    (void)onednn_execute((struct onednn_prim *)arg, run);
}

enum cvy_status onednn_phase(struct onednn_prim *p, struct cvy_plan *plan, double flops,
                             struct cvy_phase_desc *phase)
{
    onednn_md scratch = onednn_arg_md(p, DNNL_ARG_SCRATCHPAD);
    if (scratch) {
        int id;
        p->scratch_bytes = onednn_md_bytes(scratch);
        ONEDNN_CVY(onednn_bind_private(p, plan, DNNL_ARG_SCRATCHPAD, &id));
    }
    int before = onednn_threads_enter(p->o->threads);
    dnnl_status_t status = ready(p, p->variants);
    onednn_threads_leave(before);
    if (status != dnnl_success) return onednn_failed(plan, p->name, status);
    const char *kernel = onednn_kernel(p);
    *phase = (struct cvy_phase_desc){ .name = p->name,
                                      .run = run_prim,
                                      .arg = p,
                                      .parts = 1,
                                      .alone = true,
                                      .flops = flops,
                                      .kernel = kernel };
    for (int i = 0; i < p->n; i++) {
        onednn_access(phase, p->arg[i].id,
                      is_written(p, p->arg[i].arg) ? CVY_WRITE_ALL : CVY_READ_ALL);
        if (!onednn_reach_marks(p->o, p->arg[i].id))
            return cvy_plan_fail(plan, CVY_E_NOMEM, "onednn: %s: out of memory", p->name);
    }
    onednn_access(phase, p->o->watched, CVY_READ_ALL);
    cvy_plan_log(plan, 1, "%s: %s", p->name, kernel);
    return CVY_OK;
}

enum cvy_status onednn_append(struct onednn_prim *p, struct cvy_plan *plan, double flops)
{
    struct cvy_phase_desc phase;
    ONEDNN_CVY(onednn_phase(p, plan, flops, &phase));
    return cvy_plan_phase(plan, &phase);
}

/* -------------------------------------------------------------------------------------- running */

static bool failed(const struct onednn_prim *p, const struct cvy_run *run, dnnl_status_t status)
{
    if (status != dnnl_success)
        cvy_run_fail(run, status == dnnl_out_of_memory ? CVY_E_NOMEM : CVY_E_BACKEND,
                     "onednn: %s: oneDNN says: %s", p->name, status_name(status));
    return status != dnnl_success;
}

bool onednn_run(struct onednn_prim *p, const struct cvy_run *run)
{
    struct onednn_variant *v;
    int before = onednn_threads_enter(p->o->threads);
    dnnl_status_t status = variant(p, run->n, &v);
    if (status == dnnl_success) status = ready(p, v);
    for (int i = 0; status == dnnl_success && i < v->n; i++) {
        void *handle = v->id[i] < 0 ? v->handle[i] : run->buf[v->id[i]];
        if (handle == v->handle[i]) continue;
        status = dnnl_memory_set_data_handle(v->exec[i].memory, handle);
        if (status == dnnl_success) v->handle[i] = handle;
    }
    if (status == dnnl_success)
        status = dnnl_primitive_execute(v->primitive, p->o->stream, v->n, v->exec);
    onednn_threads_leave(before);
    return !failed(p, run, status);
}

bool onednn_execute(struct onednn_prim *p, const struct cvy_run *run)
{
    bool special = false;
    for (int i = 0; i < p->n; i++)
        special =
            special || (!is_written(p, p->arg[i].arg) && onednn_is_special(p->o, p->arg[i].id));
    p->careful = special && p->care;
    bool ok = p->careful ? p->care(p, run) : onednn_run(p, run);
    for (int i = 0; i < p->n; i++)
        if (is_written(p, p->arg[i].arg)) onednn_mark(p->o, p->arg[i].id, special);
    return ok;
}

/* ------------------------------------------------------------------------------------ with care */

struct onednn_prim *onednn_bare(struct onednn_prim *p)
{
    if (p->bare) return p->bare;
    struct onednn_prim *bare = onednn_prim(p->o, p->name, p->make);
    if (!bare) return NULL;
    bare->u = p->u;
    bare->prop = p->prop;
    bare->hint = p->hint;
    if (p->make == onednn_bn_fwd_make) bare->u.bn.flags &= ~(unsigned)dnnl_fuse_norm_relu;
    for (int i = 0; i < p->n; i++)
        if (p->arg[i].arg != DNNL_ARG_SCRATCHPAD && p->arg[i].arg != DNNL_ARG_WORKSPACE)
            bare->arg[bare->n++] = p->arg[i];
    return p->bare = bare;
}

static dnnl_status_t convert(struct onednn_prim *p, const struct cvy_run *run, int i, float *plain,
                             bool out)
{
    onednn_md md = NULL, dense = NULL;
    dnnl_dims_t dims;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_exec_arg_t arg[2] = { { out ? DNNL_ARG_FROM : DNNL_ARG_TO, NULL },
                               { out ? DNNL_ARG_TO : DNNL_ARG_FROM, NULL } };
    int rank = onednn_md_rank(p->arg[i].md);
    memcpy(dims, onednn_md_dims(p->arg[i].md), sizeof dims);
    if (p->arg[i].images) dims[0] = (dnnl_dim_t)run->n;
    dnnl_status_t status = shorten(p->arg[i].md, (size_t)dims[0], &md);
    if (status == dnnl_success) status = onednn_md_tag(&dense, rank, dims, onednn_dense_tag(rank));
    struct onednn_with with = { p->o->engine, NULL, NULL };
    if (status == dnnl_success)
        status = onednn_reorder(&pd, with, out ? md : dense, out ? dense : md);
    if (status == dnnl_success) status = dnnl_primitive_create(&primitive, pd);
    if (status == dnnl_success)
        status = dnnl_memory_create(&arg[0].memory, md, p->o->engine, run->buf[p->arg[i].id]);
    if (status == dnnl_success)
        status = dnnl_memory_create(&arg[1].memory, dense, p->o->engine, plain);
    if (status == dnnl_success) status = dnnl_primitive_execute(primitive, p->o->stream, 2, arg);
    for (int k = 0; k < 2; k++)
        if (arg[k].memory) dnnl_memory_destroy(arg[k].memory);
    if (primitive) dnnl_primitive_destroy(primitive);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (dense) onednn_md_free(dense);
    if (md) onednn_md_free(md);
    return status;
}

bool onednn_convert(struct onednn_prim *p, const struct cvy_run *run, int i, float *plain, bool out)
{
    int before = onednn_threads_enter(p->o->threads);
    dnnl_status_t status = convert(p, run, i, plain, out);
    onednn_threads_leave(before);
    return !failed(p, run, status);
}
