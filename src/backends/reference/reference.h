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

cvyi_ref_fn cvyi_ref_ingest, cvyi_ref_reorder; /* elementwise.c */
cvyi_ref_fn cvyi_ref_conv2d, cvyi_ref_conv2d_bwd_data, cvyi_ref_conv2d_bwd_weights; /* conv.c */
cvyi_ref_fn cvyi_ref_bn_stats, cvyi_ref_bn_apply, cvyi_ref_bn_infer,
    cvyi_ref_bn_bwd_reduce; /* bn.c */
cvyi_ref_fn cvyi_ref_bn_bwd_data, cvyi_ref_bn_infer_bwd;
cvyi_ref_fn cvyi_ref_act, cvyi_ref_act_bwd, cvyi_ref_prelu, cvyi_ref_prelu_bwd; /* act.c */
cvyi_ref_fn cvyi_ref_pool, cvyi_ref_pool_bwd;                                   /* pool.c */
cvyi_ref_fn cvyi_ref_add, cvyi_ref_concat, cvyi_ref_slice, cvyi_ref_pad,
    cvyi_ref_dropout;                        /* elementwise.c */
cvyi_ref_fn cvyi_ref_softmax, cvyi_ref_loss; /* loss.c */
cvyi_ref_fn cvyi_ref_update;                 /* update.c */

#endif
