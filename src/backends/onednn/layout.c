/* How values lie, in whatever formats oneDNN's primitives chose, and the reorders between formats.
 * A value keeps the format of the primitive that wrote it; a reader that wants another one gets a
 * copy, made once and shared. */
#include <string.h>

#include "backends/onednn/onednn.h"

struct onednn_md_list {
    struct onednn_md_list *next;
    onednn_md md;
};

/* Value `of` in one more format, in buffer `to`. By value, not by buffer: a buffer may be written
 * again, in place. Copies of weights are persistent and refreshed. */
struct onednn_copy {
    struct onednn_copy *next;
    int of, to;
    bool weight;
    onednn_md md;
    struct onednn_prim *prim;
};

/* ---------------------------------------------------------------------------------- descriptors */

void onednn_free_mds(struct onednn *o)
{
    for (struct onednn_md_list *m = o->mds; m; m = m->next) onednn_md_free(m->md);
}

onednn_md onednn_own(struct onednn *o, onednn_md md)
{
    struct onednn_md_list *entry = md ? onednn_alloc(o, sizeof *entry) : NULL;
    if (!entry) {
        if (md) onednn_md_free(md);
        return NULL;
    }
    *entry = (struct onednn_md_list){ o->mds, md };
    o->mds = entry;
    return md;
}

onednn_md onednn_tagged(struct onednn *o, int rank, const dnnl_dims_t dims, dnnl_format_tag_t tag)
{
    onednn_md md;
    return onednn_md_tag(&md, rank, dims, tag) == dnnl_success ? onednn_own(o, md) : NULL;
}

static onednn_md of_shape(struct onednn *o, cvy_shape s, int rank, dnnl_format_tag_t tag)
{
    return onednn_tagged(
        o, rank,
        (dnnl_dims_t){ (dnnl_dim_t)s.n, (dnnl_dim_t)s.c, (dnnl_dim_t)s.h, (dnnl_dim_t)s.w }, tag);
}

static int rank_of(cvy_shape s) { return s.h * s.w == 1 ? 2 : 4; }

onednn_md onednn_plain4(struct onednn *o, cvy_shape s) { return of_shape(o, s, 4, dnnl_abcd); }
onednn_md onednn_any4(struct onednn *o, cvy_shape s)
{
    return of_shape(o, s, 4, dnnl_format_tag_any);
}
onednn_md onednn_any(struct onednn *o, cvy_shape s)
{
    return of_shape(o, s, rank_of(s), dnnl_format_tag_any);
}
onednn_md onednn_plain(struct onednn *o, cvy_shape s)
{
    return of_shape(o, s, rank_of(s), rank_of(s) == 2 ? dnnl_ab : dnnl_abcd);
}

bool onednn_padded(onednn_md md)
{
    size_t bytes = sizeof(float);
    for (int i = 0; i < onednn_md_rank(md); i++) bytes *= (size_t)onednn_md_dims(md)[i];
    return onednn_md_bytes(md) != bytes;
}

dnnl_format_tag_t onednn_dense_tag(int rank)
{
    switch (rank) {
    case 5: return dnnl_abcde;
    case 4: return dnnl_abcd;
    default: return dnnl_ab;
    }
}

onednn_md onednn_dense(struct onednn *o, onednn_md md)
{
    int rank = onednn_md_rank(md);
    dnnl_dims_t dims;
    memcpy(dims, onednn_md_dims(md), sizeof dims);
    return onednn_tagged(o, rank, dims, onednn_dense_tag(rank));
}

onednn_md onednn_like(struct onednn *o, onednn_md like, cvy_shape s)
{
    static const dnnl_format_tag_t tags[] = { dnnl_abcd, dnnl_acdb, dnnl_aBcd8b, dnnl_aBcd16b };
    if (onednn_md_rank(like) != 4) return onednn_plain(o, s);
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        onednn_md tagged;
        if (onednn_md_tag(&tagged, 4, onednn_md_dims(like), tags[i]) != dnnl_success) continue;
        bool same = onednn_md_equal(tagged, like);
        onednn_md_free(tagged);
        if (same) return of_shape(o, s, 4, tags[i]);
    }
    return onednn_plain4(o, s);
}

/* The same numbers under other dimensions; NULL: not in this format. */
static onednn_md reshaped(struct onednn *o, onednn_md md, int rank, const dnnl_dim_t *dims)
{
    onednn_md out;
    if (rank == onednn_md_rank(md) &&
        !memcmp(dims, onednn_md_dims(md), (size_t)rank * sizeof *dims))
        return md;
    dnnl_dims_t copy;
    memcpy(copy, dims, (size_t)rank * sizeof *dims);
    return onednn_md_reshape(&out, md, rank, copy) == dnnl_success ? onednn_own(o, out) : NULL;
}

/* --------------------------------------------------------------------------------------- values */

int onednn_root(const struct cvy_plan *plan, int id)
{
    while (cvy_plan_value(plan, id)->alias >= 0) id = cvy_plan_value(plan, id)->alias;
    return id;
}

cvy_shape onednn_shape(const struct cvy_plan *plan, int id)
{
    int root = onednn_root(plan, id);
    cvy_shape best = cvy_plan_value(plan, root)->shape;
    const struct cvy_value *v;
    for (int i = 0; (v = cvy_plan_value(plan, i)); i++)
        if (v->alias >= 0 && onednn_root(plan, i) == root &&
            v->shape.h * v->shape.w > best.h * best.w)
            best = v->shape;
    return best;
}

struct onednn_place onednn_at(struct onednn *o, const struct cvy_plan *plan, int id)
{
    int root = onednn_root(plan, id);
    const struct cvy_value *v = cvy_plan_value(plan, root);
    if (v->layout == CVY_LAYOUT_OPAQUE && v->opaque) return *(const struct onednn_place *)v->opaque;
    return (struct onednn_place){ root, onednn_plain(o, onednn_shape(plan, root)),
                                  v->layout != CVY_LAYOUT_OPAQUE };
}

enum cvy_status onednn_lay_out(struct onednn *o, struct cvy_plan *plan, int id, onednn_md md,
                               int buffer)
{
    int root = onednn_root(plan, id);
    struct onednn_place *place = onednn_alloc(o, sizeof *place);
    const dnnl_dim_t *dims = md ? onednn_md_dims(md) : NULL;
    /* 1 x 1 maps have rank 2 wherever the format permits */
    if (md && onednn_md_rank(md) == 4 && dims[2] * dims[3] == 1) {
        onednn_md flat = reshaped(o, md, 2, dims);
        if (flat) md = flat;
    }
    if (!place || !md)
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory",
                             cvy_plan_value(plan, id)->name);
    *place = (struct onednn_place){ buffer < 0 ? root : buffer, md, false };
    return cvy_plan_lay_out(plan, root, onednn_md_bytes(md), place);
}

int onednn_reuse(struct onednn *o, const struct cvy_plan *plan, int id, size_t last)
{
    struct onednn_place place = onednn_at(o, plan, id);
    return place.borrowed || cvy_plan_needed_after(plan, id, last) ? -1 : place.id;
}

/* ------------------------------------------------------------------------------------- reorders */

static dnnl_status_t make_reorder(const struct onednn_prim *p, struct onednn_with with,
                                  const onednn_md *md, dnnl_primitive_desc_t *pd)
{
    (void)p;
    return onednn_reorder(pd, with, md[0], md[1]);
}

enum cvy_status onednn_reordering(struct onednn *o, struct cvy_plan *plan, const char *name,
                                  const struct onednn_move *move, struct onednn_prim **prim,
                                  struct cvy_phase_desc *phase)
{
    struct onednn_prim *p = onednn_prim(o, name, make_reorder);
    if (!p || !move->from_md || !move->to_md)
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", name);
    onednn_give(p, DNNL_ARG_FROM, move->from_md, move->images);
    onednn_give(p, DNNL_ARG_TO, move->to_md, move->images);
    /* Packings are refreshed between steps too, when the arena's buffers mean nothing: the
     * library's own scratchpad. */
    if (!move->images && dnnl_primitive_attr_create(&p->attr) != dnnl_success)
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", name);
    ONEDNN_CVY(onednn_create(p, plan));
    p->arg[0].id = move->from;
    p->arg[1].id = move->to;
    *prim = p;
    ONEDNN_CVY(onednn_phase(p, plan, 0, phase));
    phase->reorder = true;
    return CVY_OK;
}

enum cvy_status onednn_reorder_phase(struct onednn *o, struct cvy_plan *plan, const char *name,
                                     const struct onednn_move *move)
{
    struct cvy_phase_desc phase;
    struct onednn_prim *p;
    ONEDNN_CVY(onednn_reordering(o, plan, name, move, &p, &phase));
    return cvy_plan_phase(plan, &phase);
}

static struct onednn_copy *find_copy(struct onednn *o, int of, onednn_md md)
{
    struct onednn_copy *c = o->copies;
    while (c && (c->of != of || !onednn_md_equal(c->md, md))) c = c->next;
    return c;
}

const char *onednn_reorder_name(struct onednn *o, const char *name)
{
    char *out = onednn_alloc(o, strlen(name) + sizeof ".reorder");
    return out ? strcat(strcpy(out, name), ".reorder") : name;
}

const char *onednn_joined_name(struct onednn *o, const struct cvy_op_desc *ops, int n)
{
    size_t bytes = 1;
    for (int k = 0; k < n; k++) bytes += strlen(ops[k].name) + 3;
    char *name = onednn_alloc(o, bytes);
    for (int k = 0; name && k < n; k++) strcat(strcat(name, k ? " + " : ""), ops[k].name);
    return name ? name : ops[0].name;
}

static struct onednn_copy *new_copy(struct onednn *o, struct cvy_plan *plan, int of, onednn_md md,
                                    const char *name, bool weight)
{
    struct onednn_copy *c = onednn_alloc(o, sizeof *c);
    if (!c) return NULL;
    *c = (struct onednn_copy){
        o->copies, of, cvy_plan_buffer(plan, name, onednn_md_bytes(md), weight), weight, md, NULL
    };
    if (c->to < 0) return NULL;
    return o->copies = c;
}

/* The numbers at `place`, seen as `md` sees them in the same order, in format `want`. */
static enum cvy_status read_at(struct onednn *o, struct cvy_plan *plan, int id, int from,
                               onednn_md md, onednn_md want, int *buffer)
{
    *buffer = from;
    if (md && want && onednn_md_equal(md, want)) return CVY_OK;
    int root = onednn_root(plan, id);
    struct onednn_copy *c = want ? find_copy(o, root, want) : NULL;
    const char *name = onednn_reorder_name(o, cvy_plan_value(plan, id)->name);
    if (!c) {
        if (!md || !want || !(c = new_copy(o, plan, root, want, name, false)))
            return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", name);
        const struct onednn_move move = { from, md, c->to, want, true };
        ONEDNN_CVY(onednn_reorder_phase(o, plan, name, &move));
    }
    *buffer = c->to;
    return CVY_OK;
}

bool onednn_has_copy(struct onednn *o, const struct cvy_plan *plan, int id, onednn_md md)
{
    return find_copy(o, onednn_root(plan, id), md) != NULL;
}

/* `place` in rank and dims, by way of a plain copy where the format does not permit it. */
static enum cvy_status view(struct onednn *o, struct cvy_plan *plan, int id, int rank,
                            const dnnl_dim_t *dims, struct onednn_place *place)
{
    if (!place->md)
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory",
                             cvy_plan_value(plan, id)->name);
    onednn_md md = reshaped(o, place->md, rank, dims);
    if (!md) {
        onednn_md plain = onednn_dense(o, place->md);
        ONEDNN_CVY(read_at(o, plan, id, place->id, place->md, plain, &place->id));
        place->borrowed = true;
        if (!(md = reshaped(o, plain, rank, dims)))
            return cvy_plan_fail(plan, CVY_E_BACKEND, "onednn: %s: the layout cannot be reshaped",
                                 cvy_plan_value(plan, id)->name);
    }
    place->md = md;
    return CVY_OK;
}

enum cvy_status onednn_read(struct onednn *o, struct cvy_plan *plan, int id, onednn_md want,
                            int *buffer)
{
    struct onednn_place place = onednn_at(o, plan, id);
    if (!want)
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory",
                             cvy_plan_value(plan, id)->name);
    ONEDNN_CVY(view(o, plan, id, onednn_md_rank(want), onednn_md_dims(want), &place));
    return read_at(o, plan, id, place.id, place.md, want, buffer);
}

enum cvy_status onednn_seen(struct onednn *o, struct cvy_plan *plan, int id,
                            struct onednn_place *place)
{
    cvy_shape s = cvy_plan_value(plan, id)->shape;
    const dnnl_dim_t dims[4] = { (dnnl_dim_t)s.n, (dnnl_dim_t)s.c, (dnnl_dim_t)s.h,
                                 (dnnl_dim_t)s.w };
    *place = onednn_at(o, plan, id);
    if (place->md && onednn_md_rank(place->md) == 4 &&
        !memcmp(dims, onednn_md_dims(place->md), sizeof dims))
        return CVY_OK;
    return view(o, plan, id, rank_of(s), dims, place);
}

/* -------------------------------------------------------------------------------------- weights */

static void refresh(const void *arg, const struct cvy_run *run)
{
    const struct onednn_copy *c = arg;
    (void)onednn_execute(c->prim, run);
}

enum cvy_status onednn_weights(struct onednn *o, struct cvy_plan *plan, int id, onednn_md want,
                               int *buffer)
{
    onednn_md plain = onednn_dense(o, want);
    const char *name = onednn_reorder_name(o, cvy_plan_value(plan, id)->name);
    *buffer = id;
    ONEDNN_CVY(onednn_watch_parameter(o, plan, id)); /* before it is packed: copies have its mark */
    if (plain && onednn_md_equal(plain, want)) return CVY_OK;
    struct onednn_copy *c = find_copy(o, id, want);
    if (!c) {
        struct cvy_phase_desc unused;
        if (!plain || !(c = new_copy(o, plan, id, want, name, true)))
            return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory", name);
        const struct onednn_move move = { id, plain, c->to, want, false };
        ONEDNN_CVY(onednn_reordering(o, plan, name, &move, &c->prim, &unused));
        ONEDNN_CVY(cvy_plan_refresh(plan, id, refresh, c));
    }
    *buffer = c->to;
    return CVY_OK;
}

enum cvy_status onednn_repack(struct onednn *o, struct cvy_plan *plan, int id)
{
    for (struct onednn_copy *c = o->copies; c; c = c->next)
        if (c->weight && c->of == id) {
            struct cvy_phase_desc phase;
            ONEDNN_CVY(onednn_phase(c->prim, plan, 0, &phase));
            phase.reorder = true;
            ONEDNN_CVY(cvy_plan_phase(plan, &phase));
        }
    return CVY_OK;
}

struct onednn_forward *onednn_remember(struct onednn *o, enum cvy_op_kind kind,
                                       struct onednn_prim *prim)
{
    struct onednn_forward *f = onednn_alloc(o, sizeof *f);
    if (!f) return NULL;
    *f = (struct onednn_forward){
        .next = o->forwards, .kind = kind, .x = -1, .y = -1, .prim = prim, .workspace = -1
    };
    return o->forwards = f;
}
