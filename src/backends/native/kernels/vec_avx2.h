/* Eight floats a register (AVX2 and FMA); a pixel is two registers. */
#ifndef CVYI_VEC_AVX2_H
#define CVYI_VEC_AVX2_H

#include <immintrin.h>

#define V_ISA avx2
#define VL 8
typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm; /* all bits of a lane */

/* mo x np of the mac tiles (np counts registers, V_PARTS a pixel) and their percent; mo x mi of
 * wgrad, one for each mo from 1; oc x i of outer. */
#define V_MAC_TILES(T) T(4, 3, 97) T(6, 2, 93) T(3, 4, 96) T(2, 6, 92) T(1, 8, 60)
#define V_WGRAD_TILES(T) T(1, 12) T(2, 6)
#define V_OUTER_O 2
#define V_OUTER_I 6

/* Ties a value to a register: a load used by several FMAs is then not repeated as their memory
 * operand. */
#define V_KEEP(v) __asm__("" : "+x"(v))

V_FN vf v_zero(void) { return _mm256_setzero_ps(); }
V_FN vf v_set1(float a) { return _mm256_set1_ps(a); }
V_FN vf v_load(const float *p) { return _mm256_loadu_ps(p); }
V_FN void v_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
V_FN void v_stream(float *p, vf a) { _mm256_stream_ps(p, a); }
V_FN void v_stream_end(void) { _mm_sfence(); }
V_FN vi v_set_iota(void) { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
V_FN vi v_part(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), v_set_iota()); }
V_FN vf v_load_part(const float *p, int n) { return _mm256_maskload_ps(p, v_part(n)); }
V_FN void v_store_part(float *p, vf a, int n) { _mm256_maskstore_ps(p, v_part(n), a); }
V_FN vf v_cvt_u8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

/* Integral values below 256. */
V_FN void v_store_u8(uint8_t *p, vf a)
{
    __m256i i = _mm256_cvttps_epi32(a);
    __m128i w = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(w, w));
}

V_FN vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
V_FN vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
V_FN vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
V_FN vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
V_FN vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
V_FN vf v_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
V_FN vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
V_FN vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
V_FN vf v_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
V_FN vf v_neg(vf a) { return _mm256_xor_ps(_mm256_set1_ps(-0.0f), a); }
V_FN vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }

V_FN vm v_gt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
V_FN vm v_ge(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
V_FN vm v_eq(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
V_FN vm v_unord(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_UNORD_Q); }
V_FN vm vm_and(vm a, vm b) { return _mm256_and_ps(a, b); }
V_FN vm vm_or(vm a, vm b) { return _mm256_or_ps(a, b); }
V_FN vm vm_andnot(vm a, vm b) { return _mm256_andnot_ps(a, b); }
V_FN vm vm_from_bits(unsigned bits)
{
    __m256i one = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_castsi256_ps(
        _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), one), one));
}
V_FN unsigned vm_to_bits(vm m) { return (unsigned)_mm256_movemask_ps(m); }
V_FN vm v_lane_mask(int first, int n_lanes) { return _mm256_castsi256_ps(v_part(n_lanes - first)); }
V_FN vf v_select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
V_FN vf v_maskz(vm m, vf a) { return _mm256_and_ps(m, a); }

V_FN vf v_add_if(vm m, vf a, vf b) { return v_select(m, v_add(a, b), a); }
V_FN vf v_fma_if(vm m, vf a, vf b, vf c) { return v_select(m, v_fma(a, b, c), c); }

V_FN vi vi_from_u8(const uint8_t *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
V_FN vi vi_set1(int32_t a) { return _mm256_set1_epi32(a); }
V_FN vi vi_load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
V_FN vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
V_FN vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
V_FN vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
V_FN vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
V_FN vi vi_sll23(vi a) { return _mm256_slli_epi32(a, 23); }
V_FN vi vi_srl23(vi a) { return _mm256_srli_epi32(a, 23); }
V_FN vm vi_eq(vi a, vi b) { return _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)); }
V_FN vf v_from_int(vi a) { return _mm256_cvtepi32_ps(a); }
V_FN vf v_cast_vi(vi a) { return _mm256_castsi256_ps(a); }
V_FN vi vi_cast_v(vf a) { return _mm256_castps_si256(a); }

typedef struct {
    __m256d lo, hi;
} vd;
V_FN vd vd_load(const double *p) { return (vd){ _mm256_loadu_pd(p), _mm256_loadu_pd(p + 4) }; }
V_FN vd vd_set1(double a) { return (vd){ _mm256_set1_pd(a), _mm256_set1_pd(a) }; }
V_FN vd vd_from(vf a)
{
    return (vd){ _mm256_cvtps_pd(_mm256_castps256_ps128(a)),
                 _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)) };
}
V_FN vf v_from_vd(vd a) { return _mm256_set_m128(_mm256_cvtpd_ps(a.hi), _mm256_cvtpd_ps(a.lo)); }
V_FN vd vd_add(vd a, vd b) { return (vd){ _mm256_add_pd(a.lo, b.lo), _mm256_add_pd(a.hi, b.hi) }; }
V_FN vd vd_sub(vd a, vd b) { return (vd){ _mm256_sub_pd(a.lo, b.lo), _mm256_sub_pd(a.hi, b.hi) }; }
V_FN vd vd_mul(vd a, vd b) { return (vd){ _mm256_mul_pd(a.lo, b.lo), _mm256_mul_pd(a.hi, b.hi) }; }
V_FN vd vd_div(vd a, vd b) { return (vd){ _mm256_div_pd(a.lo, b.lo), _mm256_div_pd(a.hi, b.hi) }; }
V_FN void vd_store(double *p, vd a)
{
    _mm256_storeu_pd(p, a.lo);
    _mm256_storeu_pd(p + 4, a.hi);
}

/* Half of a register's lanes, as doubles. */
#define VH 4
typedef __m256d vh;
V_FN vh vh_set1(double a) { return _mm256_set1_pd(a); }
V_FN vh vh_load(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
V_FN void vh_store(float *p, vh a) { _mm_storeu_ps(p, _mm256_cvtpd_ps(a)); }
V_FN vh vh_add(vh a, vh b) { return _mm256_add_pd(a, b); }
V_FN vh vh_sub(vh a, vh b) { return _mm256_sub_pd(a, b); }
V_FN vh vh_mul(vh a, vh b) { return _mm256_mul_pd(a, b); }

/* Transposes a block of VL registers in place. */
V_FN void v_transpose(vf r[VL])
{
    vf a0 = _mm256_unpacklo_ps(r[0], r[1]), a1 = _mm256_unpackhi_ps(r[0], r[1]);
    vf a2 = _mm256_unpacklo_ps(r[2], r[3]), a3 = _mm256_unpackhi_ps(r[2], r[3]);
    vf a4 = _mm256_unpacklo_ps(r[4], r[5]), a5 = _mm256_unpackhi_ps(r[4], r[5]);
    vf a6 = _mm256_unpacklo_ps(r[6], r[7]), a7 = _mm256_unpackhi_ps(r[6], r[7]);
    vf b0 = _mm256_shuffle_ps(a0, a2, 0x44), b1 = _mm256_shuffle_ps(a0, a2, 0xee);
    vf b2 = _mm256_shuffle_ps(a1, a3, 0x44), b3 = _mm256_shuffle_ps(a1, a3, 0xee);
    vf b4 = _mm256_shuffle_ps(a4, a6, 0x44), b5 = _mm256_shuffle_ps(a4, a6, 0xee);
    vf b6 = _mm256_shuffle_ps(a5, a7, 0x44), b7 = _mm256_shuffle_ps(a5, a7, 0xee);
    r[0] = _mm256_permute2f128_ps(b0, b4, 0x20);
    r[1] = _mm256_permute2f128_ps(b1, b5, 0x20);
    r[2] = _mm256_permute2f128_ps(b2, b6, 0x20);
    r[3] = _mm256_permute2f128_ps(b3, b7, 0x20);
    r[4] = _mm256_permute2f128_ps(b0, b4, 0x31);
    r[5] = _mm256_permute2f128_ps(b1, b5, 0x31);
    r[6] = _mm256_permute2f128_ps(b2, b6, 0x31);
    r[7] = _mm256_permute2f128_ps(b3, b7, 0x31);
}

/* The first two steps of the fold tree: l += l+8, l += l+4. */
V_FN __m128 v_fold_to4(vf lo, vf hi)
{
    vf s = _mm256_add_ps(lo, hi);
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

/* The sum of the sixteen lanes of a pixel by the fold tree: l += l+8, l+4, l+2, l+1. */
V_FN float fold16(const vf parts[2])
{
    __m128 s = v_fold_to4(parts[0], parts[1]);
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* dst[k] = fold of the pixel src[16*k ..], k < 4 */
V_FN void v_fold4(float *dst, const float *src)
{
    __m128 a = v_fold_to4(v_load(src), v_load(src + 8)),
           b = v_fold_to4(v_load(src + 16), v_load(src + 24));
    __m128 c = v_fold_to4(v_load(src + 32), v_load(src + 40)),
           d = v_fold_to4(v_load(src + 48), v_load(src + 56));
    __m128 ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    __m128 cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    _mm_storeu_ps(dst, _mm_add_ps(_mm_shuffle_ps(ab, cd, 0x88), _mm_shuffle_ps(ab, cd, 0xdd)));
}

#endif
