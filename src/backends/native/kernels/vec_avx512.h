/* Sixteen floats a register (AVX-512 F, BW, DQ, VL); a pixel is one register. */
#ifndef CVYI_VEC_AVX512_H
#define CVYI_VEC_AVX512_H

#include <immintrin.h>

#include "tiles16.h"

#define V_ISA avx512
#define VL 16
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

/* Ties a value to a register: a load used by several FMAs is then not repeated as their memory
 * operand. */
#define V_KEEP(v) __asm__("" : "+v"(v))

V_FN vf v_zero(void) { return _mm512_setzero_ps(); }
V_FN vf v_set1(float a) { return _mm512_set1_ps(a); }
V_FN vf v_load(const float *p) { return _mm512_loadu_ps(p); }
V_FN void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
V_FN void v_stream(float *p, vf a) { _mm512_stream_ps(p, a); }
V_FN void v_stream_end(void) { _mm_sfence(); }
V_FN vi v_set_iota(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
V_FN vm v_part(int n) { return _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(n), v_set_iota()); }
V_FN vf v_load_part(const float *p, int n) { return _mm512_maskz_loadu_ps(v_part(n), p); }
V_FN void v_store_part(float *p, vf a, int n) { _mm512_mask_storeu_ps(p, v_part(n), a); }
V_FN vf v_cvt_u8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

/* Integral values below 256. */
V_FN void v_store_u8(uint8_t *p, vf a)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a)));
}

V_FN vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
V_FN vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
V_FN vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
V_FN vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
V_FN vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
V_FN vf v_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
V_FN vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
V_FN vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
V_FN vf v_abs(vf a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
V_FN vf v_neg(vf a) { return _mm512_xor_ps(_mm512_set1_ps(-0.0f), a); }
V_FN vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }

V_FN vf v_add_if(vm m, vf a, vf b) { return _mm512_mask_add_ps(a, m, a, b); }
V_FN vf v_fma_if(vm m, vf a, vf b, vf c) { return _mm512_mask3_fmadd_ps(a, b, c, m); }

V_FN vm v_gt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
V_FN vm v_ge(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
V_FN vm v_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
V_FN vm v_unord(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q); }
V_FN vm vm_and(vm a, vm b) { return _kand_mask16(a, b); }
V_FN vm vm_or(vm a, vm b) { return _kor_mask16(a, b); }
V_FN vm vm_andnot(vm a, vm b) { return _kandn_mask16(a, b); }
V_FN vm vm_from_bits(unsigned bits) { return _cvtu32_mask16(bits); }
V_FN unsigned vm_to_bits(vm m) { return _cvtmask16_u32(m); }
V_FN vm v_lane_mask(int first, int n_lanes) { return v_part(n_lanes - first); }
V_FN vf v_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
V_FN vf v_maskz(vm m, vf a) { return _mm512_maskz_mov_ps(m, a); }

V_FN vi vi_from_u8(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}
V_FN vi vi_set1(int32_t a) { return _mm512_set1_epi32(a); }
V_FN vi vi_load(const int32_t *p) { return _mm512_loadu_si512(p); }
V_FN vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
V_FN vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
V_FN vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
V_FN vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
V_FN vi vi_sll23(vi a) { return _mm512_slli_epi32(a, 23); }
V_FN vi vi_srl23(vi a) { return _mm512_srli_epi32(a, 23); }
V_FN vm vi_eq(vi a, vi b) { return _mm512_cmpeq_epi32_mask(a, b); }
V_FN vf v_from_int(vi a) { return _mm512_cvtepi32_ps(a); }
V_FN vf v_cast_vi(vi a) { return _mm512_castsi512_ps(a); }
V_FN vi vi_cast_v(vf a) { return _mm512_castps_si512(a); }

typedef struct {
    __m512d lo, hi;
} vd;
V_FN vd vd_load(const double *p) { return (vd){ _mm512_loadu_pd(p), _mm512_loadu_pd(p + 8) }; }
V_FN vd vd_set1(double a) { return (vd){ _mm512_set1_pd(a), _mm512_set1_pd(a) }; }
V_FN vd vd_from(vf a)
{
    return (vd){ _mm512_cvtps_pd(_mm512_castps512_ps256(a)),
                 _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)) };
}
V_FN vf v_from_vd(vd a)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(a.lo)), _mm512_cvtpd_ps(a.hi),
                              1);
}
V_FN vd vd_add(vd a, vd b) { return (vd){ _mm512_add_pd(a.lo, b.lo), _mm512_add_pd(a.hi, b.hi) }; }
V_FN vd vd_sub(vd a, vd b) { return (vd){ _mm512_sub_pd(a.lo, b.lo), _mm512_sub_pd(a.hi, b.hi) }; }
V_FN vd vd_mul(vd a, vd b) { return (vd){ _mm512_mul_pd(a.lo, b.lo), _mm512_mul_pd(a.hi, b.hi) }; }
V_FN vd vd_div(vd a, vd b) { return (vd){ _mm512_div_pd(a.lo, b.lo), _mm512_div_pd(a.hi, b.hi) }; }
V_FN void vd_store(double *p, vd a)
{
    _mm512_storeu_pd(p, a.lo);
    _mm512_storeu_pd(p + 8, a.hi);
}

/* Half of a register's lanes, as doubles. */
#define VH 8
typedef __m512d vh;
V_FN vh vh_set1(double a) { return _mm512_set1_pd(a); }
V_FN vh vh_load(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
V_FN void vh_store(float *p, vh a) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(a)); }
V_FN vh vh_add(vh a, vh b) { return _mm512_add_pd(a, b); }
V_FN vh vh_sub(vh a, vh b) { return _mm512_sub_pd(a, b); }
V_FN vh vh_mul(vh a, vh b) { return _mm512_mul_pd(a, b); }

/* Transposes a block of VL registers in place: 4x4 inside the 128-bit quarters, then the quarters
 * as a 4x4. */
V_FN void v_transpose(vf r[VL])
{
    vf t[16];
#pragma GCC unroll 4
    for (int k = 0; k < 16; k += 4) {
        vf a0 = _mm512_unpacklo_ps(r[k], r[k + 1]), a1 = _mm512_unpackhi_ps(r[k], r[k + 1]);
        vf a2 = _mm512_unpacklo_ps(r[k + 2], r[k + 3]), a3 = _mm512_unpackhi_ps(r[k + 2], r[k + 3]);
        t[k] = _mm512_shuffle_ps(a0, a2, 0x44);
        t[k + 1] = _mm512_shuffle_ps(a0, a2, 0xee);
        t[k + 2] = _mm512_shuffle_ps(a1, a3, 0x44);
        t[k + 3] = _mm512_shuffle_ps(a1, a3, 0xee);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vf b0 = _mm512_shuffle_f32x4(t[j], t[j + 4], 0x44),
           b1 = _mm512_shuffle_f32x4(t[j], t[j + 4], 0xee);
        vf b2 = _mm512_shuffle_f32x4(t[j + 8], t[j + 12], 0x44),
           b3 = _mm512_shuffle_f32x4(t[j + 8], t[j + 12], 0xee);
        r[j] = _mm512_shuffle_f32x4(b0, b2, 0x88);
        r[j + 4] = _mm512_shuffle_f32x4(b0, b2, 0xdd);
        r[j + 8] = _mm512_shuffle_f32x4(b1, b3, 0x88);
        r[j + 12] = _mm512_shuffle_f32x4(b1, b3, 0xdd);
    }
}

/* The first two steps of the fold tree: l += l+8, l += l+4. */
V_FN __m128 v_fold_to4(vf a)
{
    __m256 s = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
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
