/* Max pooling that remembers where its maxima were, so that neither the plane that it pools is kept
 * for the gradient nor the unpooled gradient made (see rows.h). Activations come after it
 * (src/net/linearise.c), so what it pools is a batch norm's result, or a convolution's. Decided in
 * the forward pass by looking at who reads the plane later. */
#include <string.h>

#include "backends/native/rows.h"

/* ------------------------------------------------------------------------------------- deciding */

/* Windows side by side, from the first pixel on; one place in a byte. Of equal maxima the first: no
 * other tie rule has a single place. Sums are cut at whole rows only if rows are short. */
static bool tiles(const struct native_pool *p)
{
    return p->max && p->tie == CVY_TIE_FIRST && p->row.sw == p->row.kw && p->sh == p->kh &&
           p->row.pl == 0 && p->pt == 0 && p->kh * p->row.kw <= 256 && p->row.iw <= NATIVE_SEGMENT;
}

/* Whether nobody reads the plane but one piece of gradients that can do without; *sums: whether it
 * sums for x. */
static bool one_reader(const struct cvy_plan *plan, int pooled, int x, size_t last, bool *sums)
{
    const struct cvy_op_desc *ops;
    int n, readers = 0, root = native_root(plan, pooled);
    if (cvy_plan_needed_after(plan, pooled, SIZE_MAX / 2)) return false; /* the user reads it */
    for (size_t i = last + 1; (ops = cvy_plan_chain(plan, i, &n)); i++) {
        bool reads = false;
        for (int k = 0; k < ops->n_in; k++)
            reads |= ops->in[k] >= 0 && native_root(plan, ops->in[k]) == root;
        if (!reads) continue;
        struct native_backward b = cvyi_backward_parse(ops, n);
        if (readers++ || b.pool != ops || b.add || b.act || b.pool->in[CVY_POOL_BWD_X] != pooled)
            return false;
        if (b.reduce &&
            (b.reduce->in[CVY_BN_BWD_REDUCE_X] != x ||
             cvy_plan_needed_after(plan, b.pool->out[CVY_POOL_BWD_DX], i + (size_t)b.n - 1)))
            return false;
        *sums = b.reduce;
    }
    return readers == 1;
}

enum cvy_status cvyi_argmax_plan(struct native *native, struct cvy_plan *plan,
                                 const struct cvy_op_desc *pool, int x, size_t last,
                                 struct native_argmax **out)
{
    const struct cvy_value *v = cvy_plan_value(plan, pool->out[CVY_POOL_Y]);
    cvy_shape shape = v->shape;
    struct native_pool window;
    bool sums = false;
    *out = NULL;
    NATIVE_TRY(cvyi_pool_make(plan, &pool->u.pool,
                              cvy_plan_value(plan, pool->in[CVY_POOL_X])->shape, shape, &window));
    if (!native->training || !tiles(&window) ||
        !one_reader(plan, pool->in[CVY_POOL_X], x, last, &sums))
        return CVY_OK;
    struct native_argmax *argmax = cvy_plan_alloc(plan, sizeof *argmax);
    if (!argmax) return CVY_E_NOMEM;
    /* of y, which was measured: no overflow */
    size_t vectors = native->blocks * shape.c * shape.h * shape.w;
    *argmax = (struct native_argmax){
        .saved = { .kind = NATIVE_SAVED_ARGMAX, .value = pool->in[CVY_POOL_X] },
        .window = window,
        .x = { -1, shape.c, shape.h, shape.w, shape.h * shape.w, 0 },
        .at = cvy_plan_buffer(plan, pool->name, vectors * NATIVE_LANES, false)
    };
    if (sums)
        argmax->x.id =
            cvy_plan_buffer(plan, pool->name, vectors * NATIVE_LANES * sizeof(float), false);
    if (argmax->at < 0 || (sums && argmax->x.id < 0)) return CVY_E_NOMEM;
    native_save(native, &argmax->saved);
    *out = argmax;
    return CVY_OK;
}

const struct native_argmax *cvyi_argmax_of(const struct native *native, int pooled)
{
    return (const struct native_argmax *)native_saved(native, NATIVE_SAVED_ARGMAX, pooled);
}

/* -------------------------------------------------------------------------------------- running */

uint8_t *cvyi_argmax_at(const struct native_argmax *argmax, const struct cvy_run *run, size_t block,
                        size_t c)
{
    return (uint8_t *)run->buf[argmax->at] +
           (block * argmax->x.c + c) * argmax->x.plane * NATIVE_LANES;
}

static float joined(const float (*before)[CVYI_LANES], const float (*s)[CVYI_LANES], size_t l)
{
    float t[4];
    for (size_t i = 0; i < 4; i++) t[i] = before[i][l] + s[i][l];
    return (t[0] + t[1]) + (t[2] + t[3]);
}

static void fold_chains(const struct cvyi_sums *t, double s1[CVYI_LANES], double s2[CVYI_LANES])
{
    for (size_t l = 0; l < NATIVE_LANES; l++) {
        s1[l] += (double)joined(t->before1, t->s1, l);
        s2[l] += (double)joined(t->before2, t->s2, l);
    }
}

void cvyi_argmax_sums(const struct native_argmax *argmax, const struct cvyi_kernels *k,
                      const uint8_t *at, const float *x, const float *g, float m,
                      double s1[CVYI_LANES], double s2[CVYI_LANES])
{
    const struct native_pool *p = &argmax->window;
    size_t row = p->row.ow * NATIVE_LANES, cut = native_segment(p->row.iw) / p->row.iw;
    struct cvyi_sums t = { 0 };
    for (size_t r = 0; r < p->ih && r < p->oh * p->kh; r++) {
        if (r > 0 && r % cut == 0) {
            fold_chains(&t, s1, s2);
            t = (struct cvyi_sums){ 0 };
        }
        size_t o = r / p->kh * row;
        k->pool->argmax_reduce(&p->row, &t, r % cut * p->row.iw, g + o, at + o, x + o,
                               r % p->kh * p->row.kw, m);
    }
    fold_chains(&t, s1, s2);
}

/* The windows of input row r: none below the last. */
static struct cvyi_pool windows(const struct native_pool *p, size_t r)
{
    struct cvyi_pool row = p->row;
    if (r >= p->oh * p->kh) row.ow = 0;
    return row;
}

void cvyi_argmax_bn_dx(const struct native_argmax *argmax, const struct cvyi_kernels *k,
                       const uint8_t *at, float *dx, const float *x, const float *g,
                       const struct cvyi_bn_dx *coefficients, unsigned n_lanes)
{
    const struct native_pool *p = &argmax->window;
    for (size_t r = 0; r < p->ih; r++) {
        struct cvyi_pool row = windows(p, r);
        size_t i = r * p->row.iw * NATIVE_LANES,
               o = row.ow ? r / p->kh * p->row.ow * NATIVE_LANES : 0;
        k->pool->argmax_bn_dx(&row, dx + i, x + i, g + o, at + o, r % p->kh * p->row.kw,
                              coefficients, n_lanes);
    }
}

void cvyi_argmax_bwd(const struct native_argmax *argmax, const struct cvyi_kernels *k,
                     const uint8_t *at, float *dx, const float *g)
{
    const struct native_pool *p = &argmax->window;
    for (size_t r = 0; r < p->ih; r++) {
        struct cvyi_pool row = windows(p, r);
        size_t o = row.ow ? r / p->kh * p->row.ow * NATIVE_LANES : 0;
        k->pool->argmax_bwd(&row, dx + r * p->row.iw * NATIVE_LANES, g + o, at + o,
                            r % p->kh * p->row.kw);
    }
}
