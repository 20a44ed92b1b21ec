/* Element-wise kernels over rows of pixels. A register covers a part of a pixel (V_PARTS of them),
 * so all lanes of a column are treated alike. */
#include <assert.h>

#include "kernels.h"
#include "vec.h"

static void add(float *y, const float *a, const float *b, size_t n)
{
    assert(n % 16 == 0);
    for (size_t i = 0; i < n; i += VL) v_store(y + i, v_add(v_load(a + i), v_load(b + i)));
}

static void mul(float *y, const float *a, const float *b, size_t n)
{
    assert(n % 16 == 0);
    for (size_t i = 0; i < n; i += VL) v_store(y + i, v_mul(v_load(a + i), v_load(b + i)));
}

static void scale(float *y, const float *x, size_t n, float a)
{
    assert(n % 16 == 0);
    vf av = v_set1(a);
    for (size_t i = 0; i < n; i += VL) v_store(y + i, v_mul(v_load(x + i), av));
}

static void mask_scale(float *y, const float *x, const uint16_t *mask, size_t n, float a)
{
    assert(n % 16 == 0);
    vf av = v_set1(a);
    for (size_t i = 0; i < n; i += 16)
        V_EACH (V_PARTS) {
            size_t o = i + (size_t)j * VL;
            v_store(y + o, v_maskz(vm_from_bits((unsigned)mask[i / 16] >> j * VL),
                                   v_mul(v_load(x + o), av)));
        }
}

static void narrow(float *y, const double *x, size_t n)
{
    assert(n % 16 == 0);
    for (size_t i = 0; i < n; i += VL) v_store(y + i, v_from_vd(vd_load(x + i)));
}

static void blend(float *y, const float *x, size_t n, const struct cvyi_taps *taps, size_t i0,
                  size_t i1)
{
    assert(n % 16 == 0);
    for (size_t i = i0; i < i1; i++, y += n) {
        const float *w = taps->weight + taps->start[i], *from = x + taps->first[i] * n;
        const size_t count = taps->start[i + 1] - taps->start[i];
        for (size_t e = 0; e < n; e += VL) {
            vf sum = count ? v_mul(v_set1(w[0]), v_load(from + e)) : v_zero();
            for (size_t k = 1; k < count; k++)
                sum = v_fma(v_set1(w[k]), v_load(from + k * n + e), sum);
            v_store(y + e, sum);
        }
    }
}

extern const struct cvyi_rows_kernels KFN(rows);
const struct cvyi_rows_kernels KFN(rows) = {
    .add = add,
    .mul = mul,
    .scale = scale,
    .mask_scale = mask_scale,
    .narrow = narrow,
    .blend = blend,
};
