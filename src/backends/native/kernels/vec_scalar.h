/* One float a register, for machines without AVX2 and as the reference of the others. */
#ifndef CVYI_VEC_SCALAR_H
#define CVYI_VEC_SCALAR_H

#include <math.h>
#include <stdbool.h>

#define V_ISA scalar
#define VL 1
typedef float vf;
typedef int32_t vi;
typedef bool vm;

/* mo x np of the mac tiles (np counts registers, V_PARTS a pixel) and their percent; mo x mi of
 * wgrad, one for each mo from 1; oc x i of outer. */
#define V_MAC_TILES(T) T(6, 2, 99) T(12, 1, 99) T(1, 8, 99)
#define V_WGRAD_TILES(T) T(1, 12) T(2, 6)
#define V_OUTER_O 2
#define V_OUTER_I 4

/* Ties a value to a register: a load used by several FMAs is then not repeated as their memory
 * operand. */
#define V_KEEP(v) ((void)(v))

V_FN vf v_zero(void) { return 0; }
V_FN vf v_set1(float a) { return a; }
V_FN vf v_load(const float *p) { return *p; }
V_FN void v_store(float *p, vf a) { *p = a; }
V_FN void v_stream(float *p, vf a) { *p = a; }
V_FN void v_stream_end(void) {}
V_FN vf v_load_part(const float *p, int n) { return n > 0 ? *p : 0; }
V_FN void v_store_part(float *p, vf a, int n)
{
    if (n > 0) *p = a;
}
V_FN vf v_cvt_u8(const uint8_t *p) { return *p; }

V_FN void v_store_u8(uint8_t *p, vf a) { *p = (uint8_t)a; } /* integral values below 256 */

V_FN vf v_add(vf a, vf b) { return a + b; }
V_FN vf v_sub(vf a, vf b) { return a - b; }
V_FN vf v_mul(vf a, vf b) { return a * b; }
V_FN vf v_div(vf a, vf b) { return a / b; }
V_FN vf v_fma(vf a, vf b, vf c) { return fmaf(a, b, c); }
V_FN vf v_fnma(vf a, vf b, vf c) { return fmaf(-a, b, c); }
V_FN vf v_min(vf a, vf b) { return a < b ? a : b; }
V_FN vf v_max(vf a, vf b) { return a > b ? a : b; }
V_FN vf v_abs(vf a) { return fabsf(a); }
V_FN vf v_neg(vf a) { return -a; }
V_FN vf v_sqrt(vf a) { return sqrtf(a); }

V_FN vm v_gt(vf a, vf b) { return a > b; }
V_FN vm v_ge(vf a, vf b) { return a >= b; }
V_FN vm v_eq(vf a, vf b) { return a == b; }
V_FN vm v_unord(vf a, vf b) { return a != a || b != b; }
V_FN vm vm_and(vm a, vm b) { return a & b; }
V_FN vm vm_or(vm a, vm b) { return a | b; }
V_FN vm vm_andnot(vm a, vm b) { return !a & b; }
V_FN vm vm_from_bits(unsigned bits) { return bits & 1; }
V_FN unsigned vm_to_bits(vm m) { return m; }
V_FN vm v_lane_mask(int first, int n_lanes) { return first < n_lanes; }
V_FN vf v_select(vm m, vf a, vf b) { return m ? a : b; }
V_FN vf v_maskz(vm m, vf a) { return m ? a : 0; }

V_FN vf v_add_if(vm m, vf a, vf b) { return v_select(m, v_add(a, b), a); }
V_FN vf v_fma_if(vm m, vf a, vf b, vf c) { return v_select(m, v_fma(a, b, c), c); }

V_FN vi vi_from_u8(const uint8_t *p) { return *p; }
V_FN vi vi_set1(int32_t a) { return a; }
V_FN vi v_set_iota(void) { return 0; }
V_FN vi vi_load(const int32_t *p) { return *p; }
V_FN vi vi_add(vi a, vi b) { return (int32_t)((uint32_t)a + (uint32_t)b); }
V_FN vi vi_sub(vi a, vi b) { return (int32_t)((uint32_t)a - (uint32_t)b); }
V_FN vi vi_and(vi a, vi b) { return a & b; }
V_FN vi vi_or(vi a, vi b) { return a | b; }
V_FN vi vi_sll23(vi a) { return (int32_t)((uint32_t)a << 23); }
V_FN vi vi_srl23(vi a) { return (int32_t)((uint32_t)a >> 23); }
V_FN vm vi_eq(vi a, vi b) { return a == b; }
V_FN vf v_from_int(vi a) { return (float)a; }
V_FN vf v_cast_vi(vi a)
{
    vf r;
    memcpy(&r, &a, sizeof r);
    return r;
}
V_FN vi vi_cast_v(vf a)
{
    vi r;
    memcpy(&r, &a, sizeof r);
    return r;
}

typedef double vd;
V_FN vd vd_load(const double *p) { return *p; }
V_FN vd vd_set1(double a) { return a; }
V_FN vd vd_from(vf a) { return a; }
V_FN vf v_from_vd(vd a) { return (float)a; }
V_FN vd vd_add(vd a, vd b) { return a + b; }
V_FN vd vd_sub(vd a, vd b) { return a - b; }
V_FN vd vd_mul(vd a, vd b) { return a * b; }
V_FN vd vd_div(vd a, vd b) { return a / b; }
V_FN void vd_store(double *p, vd a) { *p = a; }

/* Half of a register's lanes, as doubles: here its one. */
#define VH 1
typedef double vh;
V_FN vh vh_set1(double a) { return a; }
V_FN vh vh_load(const float *p) { return *p; }
V_FN void vh_store(float *p, vh a) { *p = (float)a; }
V_FN vh vh_add(vh a, vh b) { return a + b; }
V_FN vh vh_sub(vh a, vh b) { return a - b; }
V_FN vh vh_mul(vh a, vh b) { return a * b; }

/* Transposes a block of VL registers in place. */
V_FN void v_transpose(vf r[VL]) { (void)r; }

/* The sum of the sixteen lanes of a pixel by the fold tree: l += l+8, l+4, l+2, l+1. */
V_FN float fold16(const vf parts[16])
{
    float a[8];
    for (int l = 0; l < 8; l++) a[l] = parts[l] + parts[l + 8];
    for (int l = 0; l < 4; l++) a[l] += a[l + 4];
    return (a[0] + a[2]) + (a[1] + a[3]);
}

/* dst[k] = fold of the pixel src[16*k ..], k < 4 */
V_FN void v_fold4(float *dst, const float *src)
{
    for (int k = 0; k < 4; k++) dst[k] = fold16(src + (ptrdiff_t)16 * k);
}

#endif
