/* Softmax and cross-entropy of sixteen images at a time, channels one after another.
 *
 * Written once over vec.h; each ISA's object exports one table, KFN(loss). Everything is relative
 * to the largest logit, so that no finite input overflows. Knows nothing of batches: the mean over
 * images is the caller's. */
#include "kernels.h"
#include "math_tmpl.h"

#include <assert.h>

#define V_FOR_CHANNELS for (size_t c = 0; c < n_c; c++)

/* A NaN may be lost here; its exponential brings it back into the sum. */
V_FN vf channel_max(const float *x, size_t n_c, size_t ld)
{
    vf m = v_load(x);
    V_FOR_CHANNELS m = v_max(v_load(x + c * ld), m);
    return m;
}

/* e = exp(x - m). The difference is rounded by up to 4e-6 where it is large; what was lost is
 * brought back to first order (but not where it may be Inf - Inf: there e is 0). */
V_FN void exp_diff(int N, vf *e, const vf *x, vf m)
{
    vf lost[V_MAX_N];
    V_EACH (N) {
        vf d = v_sub(m, x[j]), b = v_sub(d, m);
        vf t = v_sub(v_sub(m, v_sub(d, b)), v_add(x[j], b));
        lost[j] = v_maskz(v_ge(v_set1(88), d), t);
        e[j] = d;
    }
    v_exp_neg(N, e, e);
    V_EACH (N) e[j] = v_fnma(lost[j], e[j], e[j]);
}

/* sum += t, carrying what the rounding lost (Kahan): a thousand classes cost no accuracy. */
V_FN void add_carry(vf *sum, vf *carry, vf t)
{
    vf y = v_sub(t, *carry), s = v_add(*sum, y);
    *carry = v_sub(v_sub(s, *sum), y);
    *sum = s;
}

/* e[c] = exp(x[c] - m); the sum in channel order. The exponentials of four channels are in flight
 * together. */
V_FN vf exp_sum(float *e, const float *x, size_t n_c, size_t ld, vf m)
{
    vf sum = v_zero(), carry = v_zero();
    size_t c = 0;
    for (; c + 4 <= n_c; c += 4) {
        vf t[4];
        V_EACH (4) t[j] = v_load(x + (c + (size_t)j) * ld);
        exp_diff(4, t, t, m);
        V_EACH (4) add_carry(&sum, &carry, t[j]);
        if (e)
            V_EACH (4) v_store(e + (c + (size_t)j) * ld, t[j]);
    }
    for (; c < n_c; c++) {
        vf t[1] = { v_load(x + c * ld) };
        exp_diff(1, t, t, m);
        add_carry(&sum, &carry, t[0]);
        if (e) v_store(e + c * ld, t[0]);
    }
    return sum;
}

static void softmax(float *y, const float *x, size_t n_c, size_t ld)
{
    assert(n_c > 0 && ld >= 16);
    for (size_t l = 0; l < 16; l += VL) {
        vf sum = exp_sum(y + l, x + l, n_c, ld, channel_max(x + l, n_c, ld));
        V_FOR_CHANNELS v_store(y + c * ld + l, v_div(v_load(y + c * ld + l), sum));
    }
}

static void cross_entropy(float *dx, const float *x, size_t n_c, size_t ld, const int32_t label[16],
                          unsigned n_lanes, float smoothing, float scale, float loss[16],
                          uint8_t correct[16])
{
    assert(n_c > 0 && ld >= 16 && n_lanes <= 16);
    float s = smoothing, off = s / (float)n_c;
    vf half = v_set1(0.5f); /* differences of halves do not overflow */
    for (size_t l = 0; l < 16; l += VL) {
        vi lab = vi_load(label + l);
        vm keep = v_lane_mask((int)l, (int)n_lanes);
        vf max = channel_max(x + l, n_c, ld), best = v_load(x + l), at = best;
        vd spread = vd_set1(0);
        vm first = vi_eq(lab, vi_set1(0)); /* the label is the first maximum so far */
        V_FOR_CHANNELS
        {
            vf v = v_load(x + c * ld + l);
            vm here = vi_eq(lab, vi_set1((int32_t)c)), more = v_gt(v, best);
            first = vm_or(vm_andnot(more, first), vm_and(more, here));
            best = v_select(more, v, best);
            at = v_select(here, v, at);
            if (s != 0)
                spread = vd_add(spread, vd_from(v_mul(v_sub(v_mul(half, max), v_mul(half, v)),
                                                      v_set1(2 * off))));
        }
        vf sum = exp_sum(dx ? dx + l : NULL, x + l, n_c, ld, max);
        vf t = v_fma(v_set1(2 * (1 - s)), v_sub(v_mul(half, max), v_mul(half, at)), v_log(sum));
        t = s != 0 ? v_add(t, v_from_vd(spread)) : t;
        v_store(loss + l, v_maskz(keep, t));
        /* a NaN has no place among the maxima */
        unsigned bits = vm_to_bits(vm_and(keep, vm_andnot(v_unord(sum, sum), first)));
        for (unsigned k = 0; k < VL; k++) correct[l + k] = bits >> k & 1;
        if (!dx) continue;
        vf on = v_set1((1 - s) + off), rest = v_set1(off), sc = v_set1(scale);
        V_FOR_CHANNELS
        {
            float *d = dx + c * ld + l;
            vf q = v_select(vi_eq(lab, vi_set1((int32_t)c)), on, rest);
            v_store(d, v_maskz(keep, v_mul(v_sub(v_div(v_load(d), sum), q), sc)));
        }
    }
}

extern const struct cvyi_loss_kernels KFN(loss);
const struct cvyi_loss_kernels KFN(loss) = { .softmax = softmax, .cross_entropy = cross_entropy };
