/* oneDNN 2.6 and 3.x behind one interface: memory descriptors that are passed by pointer, and one
 * function a primitive that goes straight to its primitive descriptor (2.x has an operation
 * descriptor in between). Nothing here decides. */
#ifndef CVYI_ONEDNN_COMPAT_H
#define CVYI_ONEDNN_COMPAT_H

#include <oneapi/dnnl/dnnl.h>

#include <stdbool.h>
#include <stdlib.h>

#if DNNL_VERSION_MAJOR == 2 && DNNL_VERSION_MINOR < 6
#error "oneDNN 2.6 or later is needed"
#endif
#define ONEDNN_V2 (DNNL_VERSION_MAJOR == 2)

#define ONEDNN_TRY(expr)                                         \
    do {                                                         \
        dnnl_status_t onednn_status = (expr);                    \
        if (onednn_status != dnnl_success) return onednn_status; \
    } while (0)

/* --------------------------------------------------------------------------- memory descriptors */

#if ONEDNN_V2
typedef const dnnl_memory_desc_t *onednn_md;

static inline dnnl_status_t onednn_md_new(onednn_md *out, dnnl_memory_desc_t **room)
{
    *out = *room = malloc(sizeof **room);
    return *room ? dnnl_success : dnnl_out_of_memory;
}
static inline void onednn_md_free(onednn_md md) { free((void *)md); }
#define ONEDNN_MD_MAKE(out, call)          \
    dnnl_memory_desc_t *room;              \
    ONEDNN_TRY(onednn_md_new(out, &room)); \
    dnnl_status_t made = (call);           \
    if (made != dnnl_success) {            \
        onednn_md_free(*out);              \
        *out = NULL;                       \
    }                                      \
    return made

static inline dnnl_status_t onednn_md_tag(onednn_md *out, int rank, const dnnl_dims_t dims,
                                          dnnl_format_tag_t tag)
{
    ONEDNN_MD_MAKE(out, dnnl_memory_desc_init_by_tag(room, rank, dims, dnnl_f32, tag));
}
static inline dnnl_status_t onednn_md_sub(onednn_md *out, onednn_md of, const dnnl_dims_t dims,
                                          const dnnl_dims_t at)
{
    ONEDNN_MD_MAKE(out, dnnl_memory_desc_init_submemory(room, of, dims, at));
}
static inline dnnl_status_t onednn_md_reshape(onednn_md *out, onednn_md of, int rank,
                                              const dnnl_dims_t dims)
{
    ONEDNN_MD_MAKE(out, dnnl_memory_desc_reshape(room, of, rank, dims));
}
static inline dnnl_status_t onednn_md_copy(onednn_md *out, onednn_md of)
{
    dnnl_memory_desc_t *room;
    ONEDNN_TRY(onednn_md_new(out, &room));
    *room = *of;
    return dnnl_success;
}
static inline int onednn_md_rank(onednn_md md) { return md->ndims; }
static inline const dnnl_dim_t *onednn_md_dims(onednn_md md) { return md->dims; }
#else
typedef const_dnnl_memory_desc_t onednn_md;

static inline void onednn_md_free(onednn_md md)
{
    dnnl_memory_desc_destroy((dnnl_memory_desc_t)md);
}
static inline dnnl_status_t onednn_md_tag(onednn_md *out, int rank, const dnnl_dims_t dims,
                                          dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag((dnnl_memory_desc_t *)out, rank, dims, dnnl_f32, tag);
}
static inline dnnl_status_t onednn_md_sub(onednn_md *out, onednn_md of, const dnnl_dims_t dims,
                                          const dnnl_dims_t at)
{
    return dnnl_memory_desc_create_submemory((dnnl_memory_desc_t *)out, of, dims, at);
}
static inline dnnl_status_t onednn_md_reshape(onednn_md *out, onednn_md of, int rank,
                                              const dnnl_dims_t dims)
{
    return dnnl_memory_desc_reshape((dnnl_memory_desc_t *)out, of, rank, dims);
}
static inline dnnl_status_t onednn_md_copy(onednn_md *out, onednn_md of)
{
    return dnnl_memory_desc_clone((dnnl_memory_desc_t *)out, of);
}
static inline int onednn_md_rank(onednn_md md)
{
    int rank = 0;
    dnnl_memory_desc_query(md, dnnl_query_ndims_s32, &rank);
    return rank;
}
static inline const dnnl_dim_t *onednn_md_dims(onednn_md md)
{
    dnnl_dims_t *dims = NULL;
    dnnl_memory_desc_query(md, dnnl_query_dims, &dims);
    return *dims;
}
#endif

static inline bool onednn_md_equal(onednn_md a, onednn_md b)
{
    return dnnl_memory_desc_equal(a, b);
}
static inline size_t onednn_md_bytes(onednn_md md) { return dnnl_memory_desc_get_size(md); }

/* ------------------------------------------------------------------------ primitive descriptors */

/* What every creation takes besides its own. */
struct onednn_with {
    dnnl_engine_t engine;
    const_dnnl_primitive_attr_t attr;
    const_dnnl_primitive_desc_t hint; /* the forward one; NULL */
};

struct onednn_conv {
    dnnl_dims_t stride, dilation, pad_l, pad_r;
}; /* dilation 0: dense */
struct onednn_pool {
    dnnl_alg_kind_t alg;
    dnnl_dims_t stride, kernel, pad_l, pad_r;
};

#if ONEDNN_V2
#define ONEDNN_CREATE(type, init)                                                        \
    do {                                                                                 \
        type desc;                                                                       \
        ONEDNN_TRY(init);                                                                \
        return dnnl_primitive_desc_create(pd, &desc, with.attr, with.engine, with.hint); \
    } while (0)
#define ONEDNN_EITHER(type, v2, v3) ONEDNN_CREATE(type, v2)
#else
#define ONEDNN_EITHER(type, v2, v3) return v3
#endif

static inline dnnl_status_t onednn_conv_fwd(dnnl_primitive_desc_t *pd, struct onednn_with with,
                                            dnnl_prop_kind_t prop, const struct onednn_conv *c,
                                            onednn_md src, onednn_md weights, onednn_md bias,
                                            onednn_md dst)
{
    ONEDNN_EITHER(dnnl_convolution_desc_t,
                  dnnl_dilated_convolution_forward_desc_init(&desc, prop, dnnl_convolution_direct,
                                                             src, weights, bias, dst, c->stride,
                                                             c->dilation, c->pad_l, c->pad_r),
                  dnnl_convolution_forward_primitive_desc_create(
                      pd, with.engine, prop, dnnl_convolution_direct, src, weights, bias, dst,
                      c->stride, c->dilation, c->pad_l, c->pad_r, with.attr));
}

static inline dnnl_status_t onednn_conv_bwd_data(dnnl_primitive_desc_t *pd, struct onednn_with with,
                                                 const struct onednn_conv *c, onednn_md diff_src,
                                                 onednn_md weights, onednn_md diff_dst)
{
    ONEDNN_EITHER(dnnl_convolution_desc_t,
                  dnnl_dilated_convolution_backward_data_desc_init(
                      &desc, dnnl_convolution_direct, diff_src, weights, diff_dst, c->stride,
                      c->dilation, c->pad_l, c->pad_r),
                  dnnl_convolution_backward_data_primitive_desc_create(
                      pd, with.engine, dnnl_convolution_direct, diff_src, weights, diff_dst,
                      c->stride, c->dilation, c->pad_l, c->pad_r, with.hint, with.attr));
}

static inline dnnl_status_t onednn_conv_bwd_weights(dnnl_primitive_desc_t *pd,
                                                    struct onednn_with with,
                                                    const struct onednn_conv *c, onednn_md src,
                                                    onednn_md diff_weights, onednn_md diff_bias,
                                                    onednn_md diff_dst)
{
    ONEDNN_EITHER(dnnl_convolution_desc_t,
                  dnnl_dilated_convolution_backward_weights_desc_init(
                      &desc, dnnl_convolution_direct, src, diff_weights, diff_bias, diff_dst,
                      c->stride, c->dilation, c->pad_l, c->pad_r),
                  dnnl_convolution_backward_weights_primitive_desc_create(
                      pd, with.engine, dnnl_convolution_direct, src, diff_weights, diff_bias,
                      diff_dst, c->stride, c->dilation, c->pad_l, c->pad_r, with.hint, with.attr));
}

static inline dnnl_status_t onednn_linear_fwd(dnnl_primitive_desc_t *pd, struct onednn_with with,
                                              dnnl_prop_kind_t prop, onednn_md src,
                                              onednn_md weights, onednn_md bias, onednn_md dst)
{
    ONEDNN_EITHER(dnnl_inner_product_desc_t,
                  dnnl_inner_product_forward_desc_init(&desc, prop, src, weights, bias, dst),
                  dnnl_inner_product_forward_primitive_desc_create(pd, with.engine, prop, src,
                                                                   weights, bias, dst, with.attr));
}

static inline dnnl_status_t onednn_linear_bwd_data(dnnl_primitive_desc_t *pd,
                                                   struct onednn_with with, onednn_md diff_src,
                                                   onednn_md weights, onednn_md diff_dst)
{
    ONEDNN_EITHER(dnnl_inner_product_desc_t,
                  dnnl_inner_product_backward_data_desc_init(&desc, diff_src, weights, diff_dst),
                  dnnl_inner_product_backward_data_primitive_desc_create(
                      pd, with.engine, diff_src, weights, diff_dst, with.hint, with.attr));
}

static inline dnnl_status_t onednn_linear_bwd_weights(dnnl_primitive_desc_t *pd,
                                                      struct onednn_with with, onednn_md src,
                                                      onednn_md diff_weights, onednn_md diff_bias,
                                                      onednn_md diff_dst)
{
    ONEDNN_EITHER(
        dnnl_inner_product_desc_t,
        dnnl_inner_product_backward_weights_desc_init(&desc, src, diff_weights, diff_bias,
                                                      diff_dst),
        dnnl_inner_product_backward_weights_primitive_desc_create(
            pd, with.engine, src, diff_weights, diff_bias, diff_dst, with.hint, with.attr));
}

static inline dnnl_status_t onednn_bn_fwd(dnnl_primitive_desc_t *pd, struct onednn_with with,
                                          dnnl_prop_kind_t prop, onednn_md data, float eps,
                                          unsigned flags)
{
    ONEDNN_EITHER(dnnl_batch_normalization_desc_t,
                  dnnl_batch_normalization_forward_desc_init(&desc, prop, data, eps, flags),
                  dnnl_batch_normalization_forward_primitive_desc_create(
                      pd, with.engine, prop, data, data, eps, flags, with.attr));
}

static inline dnnl_status_t onednn_bn_bwd(dnnl_primitive_desc_t *pd, struct onednn_with with,
                                          dnnl_prop_kind_t prop, onednn_md diff, onednn_md data,
                                          float eps, unsigned flags)
{
    ONEDNN_EITHER(dnnl_batch_normalization_desc_t,
                  dnnl_batch_normalization_backward_desc_init(&desc, prop, diff, data, eps, flags),
                  dnnl_batch_normalization_backward_primitive_desc_create(
                      pd, with.engine, prop, diff, diff, data, eps, flags, with.hint, with.attr));
}

static inline dnnl_status_t onednn_eltwise_fwd(dnnl_primitive_desc_t *pd, struct onednn_with with,
                                               dnnl_prop_kind_t prop, dnnl_alg_kind_t alg,
                                               onednn_md data, float alpha, float beta)
{
    ONEDNN_EITHER(dnnl_eltwise_desc_t,
                  dnnl_eltwise_forward_desc_init(&desc, prop, alg, data, alpha, beta),
                  dnnl_eltwise_forward_primitive_desc_create(pd, with.engine, prop, alg, data, data,
                                                             alpha, beta, with.attr));
}

static inline dnnl_status_t onednn_eltwise_bwd(dnnl_primitive_desc_t *pd, struct onednn_with with,
                                               dnnl_alg_kind_t alg, onednn_md diff, onednn_md data,
                                               float alpha, float beta)
{
    ONEDNN_EITHER(dnnl_eltwise_desc_t,
                  dnnl_eltwise_backward_desc_init(&desc, alg, diff, data, alpha, beta),
                  dnnl_eltwise_backward_primitive_desc_create(
                      pd, with.engine, alg, diff, diff, data, alpha, beta, with.hint, with.attr));
}

static inline dnnl_status_t onednn_pool_fwd(dnnl_primitive_desc_t *pd, struct onednn_with with,
                                            dnnl_prop_kind_t prop, const struct onednn_pool *p,
                                            onednn_md src, onednn_md dst)
{
    static const dnnl_dims_t dense = { 0 };
    (void)dense;
    ONEDNN_EITHER(dnnl_pooling_desc_t,
                  dnnl_pooling_forward_desc_init(&desc, prop, p->alg, src, dst, p->stride,
                                                 p->kernel, p->pad_l, p->pad_r),
                  dnnl_pooling_forward_primitive_desc_create(pd, with.engine, prop, p->alg, src,
                                                             dst, p->stride, p->kernel, dense,
                                                             p->pad_l, p->pad_r, with.attr));
}

static inline dnnl_status_t onednn_pool_bwd(dnnl_primitive_desc_t *pd, struct onednn_with with,
                                            const struct onednn_pool *p, onednn_md diff_src,
                                            onednn_md diff_dst)
{
    static const dnnl_dims_t dense = { 0 };
    (void)dense;
    ONEDNN_EITHER(dnnl_pooling_desc_t,
                  dnnl_pooling_backward_desc_init(&desc, p->alg, diff_src, diff_dst, p->stride,
                                                  p->kernel, p->pad_l, p->pad_r),
                  dnnl_pooling_backward_primitive_desc_create(
                      pd, with.engine, p->alg, diff_src, diff_dst, p->stride, p->kernel, dense,
                      p->pad_l, p->pad_r, with.hint, with.attr));
}

/* alg: dnnl_softmax_accurate or dnnl_softmax_log, over dimension 1 */
static inline dnnl_status_t onednn_softmax_fwd(dnnl_primitive_desc_t *pd, struct onednn_with with,
                                               dnnl_prop_kind_t prop, dnnl_alg_kind_t alg,
                                               onednn_md src, onednn_md dst)
{
    ONEDNN_EITHER(dnnl_softmax_v2_desc_t,
                  dnnl_softmax_v2_forward_desc_init(&desc, prop, alg, src, dst, 1),
                  dnnl_softmax_forward_primitive_desc_create(pd, with.engine, prop, alg, src, dst,
                                                             1, with.attr));
}

static inline dnnl_status_t onednn_softmax_bwd(dnnl_primitive_desc_t *pd, struct onednn_with with,
                                               dnnl_alg_kind_t alg, onednn_md diff_src,
                                               onednn_md diff_dst, onednn_md dst)
{
    ONEDNN_EITHER(dnnl_softmax_v2_desc_t,
                  dnnl_softmax_v2_backward_desc_init(&desc, alg, diff_src, diff_dst, dst, 1),
                  dnnl_softmax_backward_primitive_desc_create(
                      pd, with.engine, alg, diff_src, diff_dst, dst, 1, with.hint, with.attr));
}

static inline dnnl_status_t onednn_add(dnnl_primitive_desc_t *pd, struct onednn_with with,
                                       onednn_md a, onednn_md b, onednn_md dst)
{
    ONEDNN_EITHER(
        dnnl_binary_desc_t, dnnl_binary_desc_init(&desc, dnnl_binary_add, a, b, dst),
        dnnl_binary_primitive_desc_create(pd, with.engine, dnnl_binary_add, a, b, dst, with.attr));
}

static inline dnnl_status_t onednn_concat(dnnl_primitive_desc_t *pd, struct onednn_with with, int n,
                                          const onednn_md *src, onednn_md dst)
{
#if ONEDNN_V2
    dnnl_memory_desc_t *list = malloc((size_t)n * sizeof *list);
    if (!list) return dnnl_out_of_memory;
    for (int i = 0; i < n; i++) list[i] = *src[i];
    dnnl_status_t status =
        dnnl_concat_primitive_desc_create(pd, dst, n, 1, list, with.attr, with.engine);
    free(list);
    return status;
#else
    return dnnl_concat_primitive_desc_create(pd, with.engine, dst, n, 1, src, with.attr);
#endif
}

static inline dnnl_status_t onednn_reorder(dnnl_primitive_desc_t *pd, struct onednn_with with,
                                           onednn_md src, onednn_md dst)
{
    return dnnl_reorder_primitive_desc_create(pd, src, with.engine, dst, with.engine, with.attr);
}

static inline dnnl_status_t onednn_append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg,
                                                  float alpha, float beta)
{
#if ONEDNN_V2
    return dnnl_post_ops_append_eltwise(ops, 1.0f, alg, alpha, beta);
#else
    return dnnl_post_ops_append_eltwise(ops, alg, alpha, beta);
#endif
}

#endif
