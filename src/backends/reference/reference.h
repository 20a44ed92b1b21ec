/* The reference backend: what every operator computes, in plain loops over double [n][c][h][w]
 * arrays, one task an op. It is the oracle of the tests, so the only goal is that a reader sees at
 * once that it is right. It must not know the native backend, its layouts (but for REORDER) or its
 * kernels. */
#ifndef CVYI_REFERENCE_H
#define CVYI_REFERENCE_H

#include "convoy/backend.h"

extern const struct cvy_backend cvyi_reference_backend;

/* What is known of an operand while running; id < 0: absent. */
struct cvyi_ref_value {
    int id;
    enum cvy_role role;
    enum cvy_layout layout;
    cvy_shape shape;
    size_t plane;
};

/* One planned op, the argument of its phase. `in` has op.n_in members. */
struct cvyi_ref {
    struct cvy_op_desc op;
    struct cvyi_ref_value out[CVY_MAX_OUT];
    struct cvyi_ref_value in[];
};

static inline void *cvyi_ref_buf(const struct cvy_run *run, const struct cvyi_ref_value *v)
{
    return v->id < 0 ? NULL : run->buf[v->id];
}
/* Operand k, NULL if absent. */
static inline const double *cvyi_ref_in(const struct cvyi_ref *r, const struct cvy_run *run, int k)
{
    return k < r->op.n_in ? cvyi_ref_buf(run, &r->in[k]) : NULL;
}
static inline double *cvyi_ref_out(const struct cvyi_ref *r, const struct cvy_run *run, int k)
{
    return k < r->op.n_out ? cvyi_ref_buf(run, &r->out[k]) : NULL;
}
/* Elements of one image. */
static inline size_t cvyi_ref_image(cvy_shape s) { return s.c * s.h * s.w; }

typedef void cvyi_ref_fn(const struct cvyi_ref *r, const struct cvy_run *run);

/* One a kind of op, in the file that its name says. */
#define CVYI_DECLARE_REF(KIND, key, ...) cvyi_ref_fn cvyi_ref_##key;
CVY_OPS(CVYI_DECLARE_REF, CVY_LIST_NONE, CVY_LIST_NONE)

#endif
