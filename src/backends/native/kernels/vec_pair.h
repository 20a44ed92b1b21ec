/* Sixteen floats as two AVX registers: the AVX-512 table's geometry on AVX2 hardware, for tests.
 * Not for speed: a struct of two registers spills. */
#ifndef CVYI_VEC_PAIR_H
#define CVYI_VEC_PAIR_H

#include <immintrin.h>

#include "tiles16.h"

#define V_ISA pair
#define VL 16
typedef struct {
    __m256 lo, hi;
} vf;
typedef struct {
    __m256i lo, hi;
} vi;
typedef struct {
    __m256 lo, hi;
} vm;

#define V_KEEP(v) __asm__("" : "+x"((v).lo), "+x"((v).hi))

V_FN vf v_zero(void) { return (vf){ _mm256_setzero_ps(), _mm256_setzero_ps() }; }
V_FN vf v_set1(float a) { return (vf){ _mm256_set1_ps(a), _mm256_set1_ps(a) }; }
V_FN vf v_load(const float *p) { return (vf){ _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8) }; }
V_FN void v_store(float *p, vf a)
{
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
V_FN void v_stream(float *p, vf a)
{
    _mm256_stream_ps(p, a.lo);
    _mm256_stream_ps(p + 8, a.hi);
}
V_FN void v_stream_end(void) { _mm_sfence(); }
V_FN vi v_set_iota(void)
{
    return (vi){ _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                 _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15) };
}
V_FN vi v_part(int n)
{
    vi i = v_set_iota();
    return (vi){ _mm256_cmpgt_epi32(_mm256_set1_epi32(n), i.lo),
                 _mm256_cmpgt_epi32(_mm256_set1_epi32(n), i.hi) };
}
V_FN vf v_load_part(const float *p, int n)
{
    vi m = v_part(n);
    return (vf){ _mm256_maskload_ps(p, m.lo), _mm256_maskload_ps(p + 8, m.hi) };
}
V_FN void v_store_part(float *p, vf a, int n)
{
    vi m = v_part(n);
    _mm256_maskstore_ps(p, m.lo, a.lo);
    _mm256_maskstore_ps(p + 8, m.hi, a.hi);
}
V_FN vf v_cvt_u8(const uint8_t *p)
{
    __m128i b = _mm_loadu_si128((const __m128i *)p);
    return (vf){ _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(b)),
                 _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(b, 8))) };
}

/* Integral values below 256. */
V_FN void v_store_u8(uint8_t *p, vf a)
{
    __m256i lo = _mm256_cvttps_epi32(a.lo), hi = _mm256_cvttps_epi32(a.hi);
    __m128i l = _mm_packs_epi32(_mm256_castsi256_si128(lo), _mm256_extracti128_si256(lo, 1));
    __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(hi), _mm256_extracti128_si256(hi, 1));
    _mm_storeu_si128((__m128i *)p, _mm_packus_epi16(l, h));
}

V_FN vf v_add(vf a, vf b) { return (vf){ _mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi) }; }
V_FN vf v_sub(vf a, vf b) { return (vf){ _mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi) }; }
V_FN vf v_mul(vf a, vf b) { return (vf){ _mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi) }; }
V_FN vf v_div(vf a, vf b) { return (vf){ _mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi) }; }
V_FN vf v_fma(vf a, vf b, vf c)
{
    return (vf){ _mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi) };
}
V_FN vf v_fnma(vf a, vf b, vf c)
{
    return (vf){ _mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi) };
}
V_FN vf v_min(vf a, vf b) { return (vf){ _mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi) }; }
V_FN vf v_max(vf a, vf b) { return (vf){ _mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi) }; }
V_FN vf v_abs(vf a)
{
    return (vf){ _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.lo),
                 _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.hi) };
}
V_FN vf v_neg(vf a)
{
    return (vf){ _mm256_xor_ps(_mm256_set1_ps(-0.0f), a.lo),
                 _mm256_xor_ps(_mm256_set1_ps(-0.0f), a.hi) };
}
V_FN vf v_sqrt(vf a) { return (vf){ _mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi) }; }

V_FN vm v_gt(vf a, vf b)
{
    return (vm){ _mm256_cmp_ps(a.lo, b.lo, _CMP_GT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_GT_OQ) };
}
V_FN vm v_ge(vf a, vf b)
{
    return (vm){ _mm256_cmp_ps(a.lo, b.lo, _CMP_GE_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_GE_OQ) };
}
V_FN vm v_eq(vf a, vf b)
{
    return (vm){ _mm256_cmp_ps(a.lo, b.lo, _CMP_EQ_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_EQ_OQ) };
}
V_FN vm v_unord(vf a, vf b)
{
    return (vm){ _mm256_cmp_ps(a.lo, b.lo, _CMP_UNORD_Q), _mm256_cmp_ps(a.hi, b.hi, _CMP_UNORD_Q) };
}
V_FN vm vm_and(vm a, vm b) { return (vm){ _mm256_and_ps(a.lo, b.lo), _mm256_and_ps(a.hi, b.hi) }; }
V_FN vm vm_or(vm a, vm b) { return (vm){ _mm256_or_ps(a.lo, b.lo), _mm256_or_ps(a.hi, b.hi) }; }
V_FN vm vm_andnot(vm a, vm b)
{
    return (vm){ _mm256_andnot_ps(a.lo, b.lo), _mm256_andnot_ps(a.hi, b.hi) };
}
V_FN vm vm_from_bits(unsigned bits)
{
    __m256i lo = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128), hi = _mm256_slli_epi32(lo, 8);
    __m256i b = _mm256_set1_epi32((int)bits);
    return (vm){ _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(b, lo), lo)),
                 _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(b, hi), hi)) };
}
V_FN unsigned vm_to_bits(vm m)
{
    return (unsigned)_mm256_movemask_ps(m.lo) | (unsigned)_mm256_movemask_ps(m.hi) << 8;
}
V_FN vm v_lane_mask(int first, int n_lanes)
{
    vi m = v_part(n_lanes - first);
    return (vm){ _mm256_castsi256_ps(m.lo), _mm256_castsi256_ps(m.hi) };
}
V_FN vf v_select(vm m, vf a, vf b)
{
    return (vf){ _mm256_blendv_ps(b.lo, a.lo, m.lo), _mm256_blendv_ps(b.hi, a.hi, m.hi) };
}
V_FN vf v_maskz(vm m, vf a) { return (vf){ _mm256_and_ps(m.lo, a.lo), _mm256_and_ps(m.hi, a.hi) }; }

V_FN vf v_add_if(vm m, vf a, vf b) { return v_select(m, v_add(a, b), a); }
V_FN vf v_fma_if(vm m, vf a, vf b, vf c) { return v_select(m, v_fma(a, b, c), c); }

V_FN vi vi_from_u8(const uint8_t *p)
{
    __m128i b = _mm_loadu_si128((const __m128i *)p);
    return (vi){ _mm256_cvtepu8_epi32(b), _mm256_cvtepu8_epi32(_mm_srli_si128(b, 8)) };
}
V_FN vi vi_set1(int32_t a) { return (vi){ _mm256_set1_epi32(a), _mm256_set1_epi32(a) }; }
V_FN vi vi_load(const int32_t *p)
{
    return (vi){ _mm256_loadu_si256((const __m256i *)p),
                 _mm256_loadu_si256((const __m256i *)(p + 8)) };
}
V_FN vi vi_add(vi a, vi b)
{
    return (vi){ _mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi) };
}
V_FN vi vi_sub(vi a, vi b)
{
    return (vi){ _mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi) };
}
V_FN vi vi_and(vi a, vi b)
{
    return (vi){ _mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi) };
}
V_FN vi vi_or(vi a, vi b)
{
    return (vi){ _mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi) };
}
V_FN vi vi_sll23(vi a) { return (vi){ _mm256_slli_epi32(a.lo, 23), _mm256_slli_epi32(a.hi, 23) }; }
V_FN vi vi_srl23(vi a) { return (vi){ _mm256_srli_epi32(a.lo, 23), _mm256_srli_epi32(a.hi, 23) }; }
V_FN vm vi_eq(vi a, vi b)
{
    return (vm){ _mm256_castsi256_ps(_mm256_cmpeq_epi32(a.lo, b.lo)),
                 _mm256_castsi256_ps(_mm256_cmpeq_epi32(a.hi, b.hi)) };
}
V_FN vf v_from_int(vi a) { return (vf){ _mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi) }; }
V_FN vf v_cast_vi(vi a) { return (vf){ _mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi) }; }
V_FN vi vi_cast_v(vf a) { return (vi){ _mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi) }; }

/* An 8x8 block. */
V_FN void v_transpose8(__m256 r[8])
{
    __m256 a0 = _mm256_unpacklo_ps(r[0], r[1]), a1 = _mm256_unpackhi_ps(r[0], r[1]);
    __m256 a2 = _mm256_unpacklo_ps(r[2], r[3]), a3 = _mm256_unpackhi_ps(r[2], r[3]);
    __m256 a4 = _mm256_unpacklo_ps(r[4], r[5]), a5 = _mm256_unpackhi_ps(r[4], r[5]);
    __m256 a6 = _mm256_unpacklo_ps(r[6], r[7]), a7 = _mm256_unpackhi_ps(r[6], r[7]);
    __m256 b0 = _mm256_shuffle_ps(a0, a2, 0x44), b1 = _mm256_shuffle_ps(a0, a2, 0xee);
    __m256 b2 = _mm256_shuffle_ps(a1, a3, 0x44), b3 = _mm256_shuffle_ps(a1, a3, 0xee);
    __m256 b4 = _mm256_shuffle_ps(a4, a6, 0x44), b5 = _mm256_shuffle_ps(a4, a6, 0xee);
    __m256 b6 = _mm256_shuffle_ps(a5, a7, 0x44), b7 = _mm256_shuffle_ps(a5, a7, 0xee);
    r[0] = _mm256_permute2f128_ps(b0, b4, 0x20);
    r[1] = _mm256_permute2f128_ps(b1, b5, 0x20);
    r[2] = _mm256_permute2f128_ps(b2, b6, 0x20);
    r[3] = _mm256_permute2f128_ps(b3, b7, 0x20);
    r[4] = _mm256_permute2f128_ps(b0, b4, 0x31);
    r[5] = _mm256_permute2f128_ps(b1, b5, 0x31);
    r[6] = _mm256_permute2f128_ps(b2, b6, 0x31);
    r[7] = _mm256_permute2f128_ps(b3, b7, 0x31);
}

typedef struct {
    __m256d q[4];
} vd;
V_FN vd vd_set1(double a)
{
    __m256d v = _mm256_set1_pd(a);
    return (vd){ { v, v, v, v } };
}
V_FN vd vd_load(const double *p)
{
    return (vd){ { _mm256_loadu_pd(p), _mm256_loadu_pd(p + 4), _mm256_loadu_pd(p + 8),
                   _mm256_loadu_pd(p + 12) } };
}
V_FN vd vd_from(vf a)
{
    return (vd){ { _mm256_cvtps_pd(_mm256_castps256_ps128(a.lo)),
                   _mm256_cvtps_pd(_mm256_extractf128_ps(a.lo, 1)),
                   _mm256_cvtps_pd(_mm256_castps256_ps128(a.hi)),
                   _mm256_cvtps_pd(_mm256_extractf128_ps(a.hi, 1)) } };
}
V_FN vf v_from_vd(vd a)
{
    return (vf){ _mm256_set_m128(_mm256_cvtpd_ps(a.q[1]), _mm256_cvtpd_ps(a.q[0])),
                 _mm256_set_m128(_mm256_cvtpd_ps(a.q[3]), _mm256_cvtpd_ps(a.q[2])) };
}
V_FN vd vd_add(vd a, vd b)
{
    for (int i = 0; i < 4; i++) a.q[i] = _mm256_add_pd(a.q[i], b.q[i]);
    return a;
}
V_FN vd vd_sub(vd a, vd b)
{
    for (int i = 0; i < 4; i++) a.q[i] = _mm256_sub_pd(a.q[i], b.q[i]);
    return a;
}
V_FN vd vd_mul(vd a, vd b)
{
    for (int i = 0; i < 4; i++) a.q[i] = _mm256_mul_pd(a.q[i], b.q[i]);
    return a;
}
V_FN vd vd_div(vd a, vd b)
{
    for (int i = 0; i < 4; i++) a.q[i] = _mm256_div_pd(a.q[i], b.q[i]);
    return a;
}
V_FN void vd_store(double *p, vd a)
{
    for (int i = 0; i < 4; i++) _mm256_storeu_pd(p + 4 * i, a.q[i]);
}

/* Half of a register's lanes, as doubles. */
#define VH 8
typedef struct {
    __m256d lo, hi;
} vh;
V_FN vh vh_set1(double a) { return (vh){ _mm256_set1_pd(a), _mm256_set1_pd(a) }; }
V_FN vh vh_load(const float *p)
{
    return (vh){ _mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4)) };
}
V_FN void vh_store(float *p, vh a)
{
    _mm_storeu_ps(p, _mm256_cvtpd_ps(a.lo));
    _mm_storeu_ps(p + 4, _mm256_cvtpd_ps(a.hi));
}
V_FN vh vh_add(vh a, vh b) { return (vh){ _mm256_add_pd(a.lo, b.lo), _mm256_add_pd(a.hi, b.hi) }; }
V_FN vh vh_sub(vh a, vh b) { return (vh){ _mm256_sub_pd(a.lo, b.lo), _mm256_sub_pd(a.hi, b.hi) }; }
V_FN vh vh_mul(vh a, vh b) { return (vh){ _mm256_mul_pd(a.lo, b.lo), _mm256_mul_pd(a.hi, b.hi) }; }

/* Transposes a block of VL registers in place. */
V_FN void v_transpose(vf r[VL])
{
    __m256 a[8], b[8], c[8], d[8];
    for (int k = 0; k < 8; k++) {
        a[k] = r[k].lo;
        b[k] = r[k].hi;
        c[k] = r[k + 8].lo;
        d[k] = r[k + 8].hi;
    }
    v_transpose8(a);
    v_transpose8(b);
    v_transpose8(c);
    v_transpose8(d);
    for (int k = 0; k < 8; k++) {
        r[k] = (vf){ a[k], c[k] };
        r[k + 8] = (vf){ b[k], d[k] };
    }
}

/* The first two steps of the fold tree: l += l+8, l += l+4. */
V_FN __m128 v_fold_to4(vf a)
{
    __m256 s = _mm256_add_ps(a.lo, a.hi);
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

/* The sum of the sixteen lanes of a pixel by the fold tree: l += l+8, l+4, l+2, l+1. */
V_FN float fold16(const vf parts[1])
{
    __m128 s = v_fold_to4(parts[0]);
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* dst[k] = fold of the pixel src[16*k ..], k < 4 */
V_FN void v_fold4(float *dst, const float *src)
{
    __m128 a = v_fold_to4(v_load(src)), b = v_fold_to4(v_load(src + 16));
    __m128 c = v_fold_to4(v_load(src + 32)), d = v_fold_to4(v_load(src + 48));
    __m128 ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    __m128 cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    _mm_storeu_ps(dst, _mm_add_ps(_mm_shuffle_ps(ab, cd, 0x88), _mm_shuffle_ps(ab, cd, 0xdd)));
}

#endif
