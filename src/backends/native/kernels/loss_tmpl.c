/* Softmax and the losses of sixteen images at a time, channels one after another.
 *
 * Written once over vec.h; each ISA's object exports one table, KFN(loss). Exponentials are
 * relative to the largest logit, so that no finite input overflows. Knows nothing of batches: the
 * mean over images is the caller's. */
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

/* --------------------------------------------------------------------------------------- losses */

/* What all losses need of sixteen rows, a register of lanes at a time. */
struct lanes {
    const float *x, *t; /* t: targets, 16 apart, or NULL */
    float *dx;          /* NULL: not wanted */
    size_t n_c, ld;
    vi label;
    vf weight, scale;
    vm keep;    /* who takes part */
    vf on, off; /* q at the label and elsewhere, without targets */
    vf t_scale; /* q = t * t_scale + off with them */
};

V_FN struct lanes lanes_of(float *dx, const float *x, size_t n_c, size_t ld,
                           const struct cvyi_loss_rows *rows, size_t l)
{
    const float s = rows->smoothing, off = s / (float)n_c;
    struct lanes a = { .x = x + l,
                       .t = rows->target ? rows->target + l : NULL,
                       .dx = dx ? dx + l : NULL,
                       .n_c = n_c,
                       .ld = ld,
                       .label = vi_load(rows->label + l),
                       .weight = v_load(rows->weight + l),
                       .scale = v_load(rows->scale + l),
                       .on = v_set1((1 - s) + off),
                       .off = v_set1(off),
                       .t_scale = v_set1(1 - s) };
    a.keep = v_gt(a.weight, v_zero());
    return a;
}

V_FN vm is_label(const struct lanes *a, size_t c) { return vi_eq(a->label, vi_set1((int32_t)c)); }

V_FN vf wanted(const struct lanes *a, size_t c)
{
    if (!a->t) return v_select(is_label(a, c), a->on, a->off);
    return v_fma(v_load(a->t + c * 16), a->t_scale, a->off);
}

/* Who has the first maximum at the label, and what is there. */
V_FN vm first_at_label(const struct lanes *a, vf *max, vf *at)
{
    vf best = v_load(a->x);
    vm first = is_label(a, 0);
    *at = best;
    for (size_t c = 0; c < a->n_c; c++) {
        vf v = v_load(a->x + c * a->ld);
        vm here = is_label(a, c), more = v_gt(v, best);
        first = vm_or(vm_andnot(more, first), vm_and(more, here));
        best = v_select(more, v, best);
        *at = v_select(here, v, *at);
    }
    *max = best;
    return first;
}

V_FN void put_loss(const struct lanes *a, vf loss, float *to)
{
    v_store(to, v_maskz(a->keep, v_mul(loss, a->weight)));
}

V_FN void put_gradient(const struct lanes *a, size_t c, vf g)
{
    if (a->dx) v_store(a->dx + c * a->ld, v_maskz(a->keep, v_mul(g, a->scale)));
}

V_FN void put_correct(const struct lanes *a, vm first, vf sound, uint8_t *to)
{
    unsigned bits = vm_to_bits(vm_and(a->keep, vm_andnot(v_unord(sound, sound), first)));
    for (unsigned k = 0; k < VL; k++) to[k] = bits >> k & 1;
}

/* Counts who is right where no exponentials tell: NaN in lanes with a NaN or an infinite maximum
 * is unsound. */
V_FN vf count_correct(const struct lanes *a, uint8_t *to)
{
    vf max, at, sound = v_zero();
    vm first = first_at_label(a, &max, &at);
    for (size_t c = 0; c < a->n_c; c++) {
        vf v = v_load(a->x + c * a->ld);
        sound = v_select(v_unord(v, v), v, sound);
    }
    put_correct(a, first, v_add(sound, v_sub(max, max)), to);
    return at;
}

/* The sum over channels of q * (max - x): of halves, whose difference does not overflow. A class
 * of probability 0 takes no part. */
V_FN vd spread_of(const struct lanes *a, vf max, vd *all)
{
    const vf half = v_set1(0.5f);
    vd spread = vd_set1(0);
    *all = vd_set1(0);
    for (size_t c = 0; c < a->n_c; c++) {
        vf q = wanted(a, c), v = v_load(a->x + c * a->ld);
        vf term = v_mul(v_sub(v_mul(half, max), v_mul(half, v)), v_add(q, q));
        spread = vd_add(spread, vd_from(v_select(v_eq(q, v_zero()), v_zero(), term)));
        *all = vd_add(*all, vd_from(q));
    }
    return spread;
}

/* Targets of any numbers: (sum q) * log sum + sum of q * (max - x), dx = (softmax * sum q - q) *
 * scale. Nothing large cancels, here and below. */
V_FN void soft_cross_entropy(const struct lanes *a, float *loss, uint8_t *correct)
{
    vf max, at;
    vd all;
    vm first = first_at_label(a, &max, &at);
    max = channel_max(a->x, a->n_c, a->ld);
    vd spread = spread_of(a, max, &all);
    vf sum = exp_sum(a->dx, a->x, a->n_c, a->ld, max), total = v_from_vd(all);
    put_loss(a, v_from_vd(vd_add(spread, vd_mul(all, vd_from(v_log(sum))))), loss);
    put_correct(a, first, sum, correct);
    for (size_t c = 0; a->dx && c < a->n_c; c++) {
        vf p = v_div(v_load(a->dx + c * a->ld), sum);
        put_gradient(a, c, v_sub(v_mul(p, total), wanted(a, c)));
    }
}

/* log sum + (1 - s) * (max - x_y) + s * mean(max - x), dx = (softmax - q) * scale */
V_FN void hard_cross_entropy(const struct lanes *a, float s, float *loss, uint8_t *correct)
{
    const vf half = v_set1(0.5f); /* differences of halves do not overflow */
    vf best, at, max = channel_max(a->x, a->n_c, a->ld);
    vm first = first_at_label(a, &best, &at);
    vd spread = vd_set1(0);
    for (size_t c = 0; s != 0 && c < a->n_c; c++)
        spread = vd_add(
            spread, vd_from(v_mul(v_sub(v_mul(half, max), v_mul(half, v_load(a->x + c * a->ld))),
                                  v_add(a->off, a->off))));
    vf sum = exp_sum(a->dx, a->x, a->n_c, a->ld, max);
    vf t = v_fma(v_set1(2 * (1 - s)), v_sub(v_mul(half, max), v_mul(half, at)), v_log(sum));
    put_loss(a, s != 0 ? v_add(t, v_from_vd(spread)) : t, loss);
    put_correct(a, first, sum, correct);
    for (size_t c = 0; a->dx && c < a->n_c; c++)
        put_gradient(a, c, v_sub(v_div(v_load(a->dx + c * a->ld), sum), wanted(a, c)));
}

#define LOSS(name)                                                                           \
    static void name(float *dx, const float *x, size_t n_c, size_t ld,                       \
                     const struct cvyi_loss_rows *rows, float loss[16], uint8_t correct[16]) \
    {                                                                                        \
        assert(n_c > 0 && ld >= 16);                                                         \
        for (size_t l = 0; l < 16; l += VL) {                                                \
            struct lanes a = lanes_of(dx, x, n_c, ld, rows, l);                              \
            name##_lanes(&a, rows, loss + l, correct + l);                                   \
        }                                                                                    \
    }

V_FN void cross_entropy_lanes(const struct lanes *a, const struct cvyi_loss_rows *rows, float *loss,
                              uint8_t *correct)
{
    if (a->t) soft_cross_entropy(a, loss, correct);
    else hard_cross_entropy(a, rows->smoothing, loss, correct);
}
LOSS(cross_entropy)

/* sum of (x - q)^2 / n_c, dx = ((x - q) * (2 / n_c)) * scale */
V_FN void mse_lanes(const struct lanes *a, const struct cvyi_loss_rows *rows, float *loss,
                    uint8_t *correct)
{
    const vf each = v_set1(2 / (float)a->n_c);
    vd sum = vd_set1(0);
    (void)rows;
    count_correct(a, correct);
    for (size_t c = 0; c < a->n_c; c++) {
        vf d = v_sub(v_load(a->x + c * a->ld), wanted(a, c));
        sum = vd_add(sum, vd_mul(vd_from(d), vd_from(d)));
        put_gradient(a, c, v_mul(d, each));
    }
    put_loss(a, v_from_vd(vd_div(sum, vd_set1((double)a->n_c))), loss);
}
LOSS(mse)

/* sum of fma(-q, x, max(x, 0)) + softplus(-|x|), / n_c; dx = ((sigmoid(x) - q) * (1 / n_c)) *
 * scale */
V_FN void bce_lanes(const struct lanes *a, const struct cvyi_loss_rows *rows, float *loss,
                    uint8_t *correct)
{
    const vf each = v_set1(1 / (float)a->n_c);
    vd sum = vd_set1(0);
    (void)rows;
    count_correct(a, correct);
    for (size_t c = 0; c < a->n_c; c++) {
        vf v[1] = { v_load(a->x + c * a->ld) }, y[1], q = wanted(a, c);
        vf part = v_fnma(q, v[0], v_max(v[0], v_zero()));
        v_sigmoid(1, y, v);
        put_gradient(a, c, v_mul(v_sub(y[0], q), each));
        v[0] = v_neg(v_abs(v[0]));
        v_softplus(1, y, v);
        sum = vd_add(sum, vd_add(vd_from(part), vd_from(y[0])));
    }
    put_loss(a, v_from_vd(vd_div(sum, vd_set1((double)a->n_c))), loss);
}
LOSS(bce)

/* m = (x - x_y) + margin: sum of m where it is not <= 0, y left out; dx = scale there, and (0 -
 * their number) * scale at y */
V_FN void hinge_lanes(const struct lanes *a, const struct cvyi_loss_rows *rows, float *loss,
                      uint8_t *correct)
{
    const vf one = v_set1(1);
    vd sum = vd_set1(0);
    vf others = v_zero(), y = count_correct(a, correct);
    for (size_t c = 0; c < a->n_c; c++) {
        vf m = v_add(v_sub(v_load(a->x + c * a->ld), y), v_set1(rows->margin));
        vm out = vm_or(is_label(a, c), v_ge(v_zero(), m)); /* not if m is NaN */
        sum = vd_add(sum, vd_from(v_select(out, v_zero(), m)));
        vf g = v_select(out, v_zero(), one);
        others = v_add(others, g);
        put_gradient(a, c, g);
    }
    for (size_t c = 0; a->dx && c < a->n_c; c++) {
        vf g = v_maskz(a->keep, v_mul(v_sub(v_zero(), others), a->scale));
        float *d = a->dx + c * a->ld;
        v_store(d, v_select(is_label(a, c), g, v_load(d)));
    }
    put_loss(a, v_from_vd(sum), loss);
}
LOSS(hinge)

extern const struct cvyi_loss_kernels KFN(loss);
const struct cvyi_loss_kernels KFN(loss) = {
    .softmax = softmax,
    .loss = { [CVY_CROSS_ENTROPY] = cross_entropy,
              [CVY_MSE] = mse,
              [CVY_BCE] = bce,
              [CVY_HINGE] = hinge },
};
