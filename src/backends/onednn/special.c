/* NaN and infinities (docs/numerics.md). oneDNN's sums, averages and statistics treat them as the
 * rule says; its convolutions may multiply the padding, its activations make numbers of NaN, its
 * maxima begin at -FLT_MAX and pass over NaN. Such primitives have a `care`, which is exact and
 * slow and runs only where a special value may be among the operands.
 *
 * That costs the usual step next to nothing: our own loops, which bring numbers in (images, updated
 * weights, plain values of other backends) or see few of them (statistics), leave a mark at the
 * buffer, and results of a primitive have the marks of its operands. What no mark tells of is a
 * value that overflows inside the program, until the next batch norm. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends/onednn/onednn.h"

/* ---------------------------------------------------------------------------------------- marks */

bool onednn_reach_marks(struct onednn *o, int id)
{
    if (id < 0 || (size_t)id < o->n_marks) return true;
    size_t n = (size_t)id + 64;
    struct onednn_mark *marks = realloc(o->marks, n * sizeof *marks);
    if (!marks) return false;
    memset(marks + o->n_marks, 0, (n - o->n_marks) * sizeof *marks);
    o->marks = marks;
    o->n_marks = n;
    return true;
}

bool onednn_is_special(const struct onednn *o, int id)
{
    if (id < 0 || (size_t)id >= o->n_marks) return false;
    const struct onednn_mark *m = &o->marks[id];
    bool special = m->special;
    for (size_t i = 0; i < m->n; i++) special = special || m->seen[i];
    return special;
}

void onednn_mark(struct onednn *o, int id, bool special)
{
    if (id >= 0 && (size_t)id < o->n_marks) o->marks[id].special = special;
}

bool onednn_has_special(const float *x, size_t n)
{
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return most >= 0x7f800000u;
}

void onednn_look(const struct onednn *o, int id, size_t task, const float *x, size_t n)
{
    if (o->n_careful && task < o->marks[id].n) o->marks[id].seen[task] = onednn_has_special(x, n);
}

enum cvy_status onednn_watch(struct onednn *o, struct cvy_plan *plan, int id, size_t tasks)
{
    unsigned char *seen = onednn_reach_marks(o, id) ? onednn_alloc(o, tasks) : NULL;
    if (!seen)
        return cvy_plan_fail(plan, CVY_E_NOMEM, "%s: out of memory",
                             cvy_plan_value(plan, id)->name);
    o->marks[id].seen = seen;
    o->marks[id].n = tasks;
    return CVY_OK;
}

struct watch {
    struct onednn *o;
    int id;
    size_t n;
};

static void look_task(const struct watch *w, const struct cvy_run *run, size_t task)
{
    size_t at = task * ONEDNN_LOOK, n = w->n - at < ONEDNN_LOOK ? w->n - at : ONEDNN_LOOK;
    onednn_look(w->o, w->id, task, (const float *)run->buf[w->id] + at, n);
}

static void refresh_marks(const void *arg, const struct cvy_run *run)
{
    const struct watch *w = arg;
    for (size_t task = 0; task * ONEDNN_LOOK < w->n; task++) look_task(w, run, task);
}

static void run_watch(const void *arg, const struct cvy_run *run, size_t task,
                      struct cvy_worker *worker)
{
    (void)worker;
    look_task(arg, run, task);
}

static struct watch *new_watch(struct onednn *o, struct cvy_plan *plan, int id)
{
    const cvy_shape s = cvy_plan_value(plan, id)->shape;
    struct watch *w = onednn_alloc(o, sizeof *w);
    if (!w) return NULL;
    *w = (struct watch){ o, id, s.n * s.c * s.h * s.w };
    return onednn_watch(o, plan, id, (w->n + ONEDNN_LOOK - 1) / ONEDNN_LOOK) == CVY_OK ? w : NULL;
}

enum cvy_status onednn_watch_weights(struct onednn *o, struct cvy_plan *plan, int id)
{
    if ((size_t)id < o->n_marks && o->marks[id].n) return CVY_OK;
    struct watch *w = new_watch(o, plan, id);
    return w ? cvy_plan_refresh(plan, id, refresh_marks, w) : CVY_E_NOMEM;
}

enum cvy_status onednn_watch_parameter(struct onednn *o, struct cvy_plan *plan, int id)
{
    return id < 0 || cvy_plan_value(plan, id)->external ? CVY_OK
                                                        : onednn_watch_weights(o, plan, id);
}

enum cvy_status onednn_watch_plain(struct onednn *o, struct cvy_plan *plan, const char *name,
                                   int id)
{
    struct watch *w = new_watch(o, plan, id);
    if (!w || (o->watched < 0 && (o->watched = cvy_plan_buffer(plan, name, 64, false)) < 0))
        return CVY_E_NOMEM;
    struct cvy_phase_desc phase = {
        .name = name, .run = run_watch, .arg = w, .parts = o->marks[id].n, .reorder = true
    };
    onednn_access(&phase, id, CVY_READ_ALL);
    /* marks are no buffer: whoever heeds them reads this one */
    onednn_access(&phase, o->watched, CVY_WRITE_ALL);
    return cvy_plan_phase(plan, &phase);
}

/* ----------------------------------------------------------------------------------------- care */

void onednn_be_careful(struct onednn_prim *p, onednn_care *care)
{
    if (!p->care) p->o->n_careful++;
    p->bare_care = p->care;
    p->care = care;
}

static bool short_of_memory(const struct onednn_prim *p, const struct cvy_run *run)
{
    cvy_run_fail(run, CVY_E_NOMEM, "%s: out of memory", p->name);
    return false;
}

static float *operand(const struct onednn_prim *p, const struct cvy_run *run, int i)
{
    return run->buf[p->arg[i].id];
}
static size_t numbers(const struct onednn_prim *p, int i)
{
    return onednn_md_bytes(p->arg[i].md) / sizeof(float);
}

/* Operand i in C order, of images those of this batch, which the caller frees; NULL: failed. */
static float *unpacked(struct onednn_prim *p, const struct cvy_run *run, int i, bool read)
{
    const dnnl_dim_t *dims = onednn_md_dims(p->arg[i].md);
    size_t bytes = sizeof(float);
    for (int k = 0; k < onednn_md_rank(p->arg[i].md); k++)
        bytes *= k || !p->arg[i].images ? (size_t)dims[k] : run->n;
    float *plain = malloc(bytes);
    if (!plain) short_of_memory(p, run);
    else if (read && !onednn_convert(p, run, i, plain, true)) {
        free(plain);
        plain = NULL;
    }
    return plain;
}

/* Puts it back. */
static bool pack(struct onednn_prim *p, const struct cvy_run *run, int i, float *plain)
{
    bool ok = plain && onednn_convert(p, run, i, plain, false);
    free(plain);
    return ok;
}

/* What an activation makes of x times a gate at an infinity; others come there by themselves. */
static bool has_limit(const struct onednn_prim *p, float x, float *limit)
{
    *limit = x;
    switch (p->u.act.alg) {
    case dnnl_eltwise_hardswish: *limit = x < 0 ? 0 : x; return isinf(x);
    case dnnl_eltwise_gelu_erf:
    case dnnl_eltwise_gelu_tanh:
    case dnnl_eltwise_swish:
    case dnnl_eltwise_mish: *limit = x < 0 ? NAN : x; return isinf(x);
    default: return false;
    }
}

/* An activation of NaN is NaN; and its limits. Operands 0 and 1 may be one buffer. */
bool onednn_care_act(struct onednn_prim *p, const struct cvy_run *run)
{
    size_t n = numbers(p, 0);
    const float *x = operand(p, run, 0);
    float *special = malloc(n * sizeof *special); /* 0: not */
    if (!special) return short_of_memory(p, run);
    for (size_t i = 0; i < n; i++) special[i] = isfinite(x[i]) ? 0 : x[i];
    bool ok = onednn_run(p, run);
    float *y = operand(p, run, 1), limit;
    for (size_t i = 0; i < n; i++) {
        if (isnan(special[i])) y[i] = NAN;
        else if (special[i] != 0 && has_limit(p, special[i], &limit)) y[i] = limit;
    }
    free(special);
    return ok;
}

/* Where a ReLU is off nothing comes back, not even NaN. Operands dx, y, dy. */
bool onednn_care_relu_bwd(struct onednn_prim *p, const struct cvy_run *run)
{
    if (!onednn_run(p, run)) return false;
    float *dx = operand(p, run, 0);
    const float *y = operand(p, run, 1);
    for (size_t i = 0; i < numbers(p, 0); i++)
        if (y[i] <= 0) dx[i] = 0;
    return true;
}

/* Where a limit holds nothing comes back, where x was NaN dy. Operands dx, y, dy, of which the
 * first may be the last. */
bool onednn_care_clip_bwd(struct onednn_prim *p, const struct cvy_run *run)
{
    const float *y = operand(p, run, 1), *dy = operand(p, run, 2);
    float *dx = operand(p, run, 0);
    const struct onednn_act *e = &p->u.act;
    for (size_t i = 0; i < numbers(p, 0); i++)
        dx[i] = y[i] <= e->alpha || y[i] >= e->beta ? 0 : dy[i];
    return true;
}

/* A primitive with an activation behind it: first one without, then the activation. */
bool onednn_care_fused(struct onednn_prim *p, const struct cvy_run *run)
{
    struct onednn_prim *bare = onednn_bare(p);
    if (!bare) return short_of_memory(p, run);
    for (int i = 0; i < p->n; i++) /* a batch norm leaves its ReLU's mask for the backward pass */
        if (p->arg[i].arg == DNNL_ARG_WORKSPACE && p->arg[i].id >= 0 && !onednn_run(p, run))
            return false;
    bool ok = p->bare_care ? p->bare_care(bare, run) : onednn_run(bare, run);
    return ok && onednn_care_act(p->after, run);
}

/* -------------------------------------------------------------------------------------- padding */

/* Many of oneDNN's convolutions, and gradients of weights, copy patches with the padding in them as
 * zeros: times an infinity that is NaN. Arguments of both: x, w, bias, y. */
struct padded {
    struct onednn_conv c;
    size_t n, groups, ic, oc, kh, kw, h, w, oh, ow;
}; /* ic, oc: of a group */

static struct padded padded_of(const struct onednn_prim *p, const struct cvy_run *run)
{
    const dnnl_dim_t *x = onednn_md_dims(p->arg[0].md), *w = onednn_md_dims(p->arg[1].md),
                     *y = onednn_md_dims(p->arg[3].md);
    int rank = onednn_md_rank(p->arg[1].md);
    size_t groups = rank == 5 ? (size_t)w[0] : 1;
    return (struct padded){ p->u.conv,
                            run->n,
                            groups,
                            (size_t)x[1] / groups,
                            (size_t)y[1] / groups,
                            (size_t)w[rank - 2],
                            (size_t)w[rank - 1],
                            (size_t)x[2],
                            (size_t)x[3],
                            (size_t)y[2],
                            (size_t)y[3] };
}

/* Which of `size` pixels tap k of output pixel o reads along one dimension; SIZE_MAX: padding. */
static size_t read_by(const struct onednn_conv *c, int i, size_t o, size_t k, size_t size)
{
    dnnl_dim_t at =
        (dnnl_dim_t)o * c->stride[i] - c->pad_l[i] + (dnnl_dim_t)k * (c->dilation[i] + 1);
    return at < 0 || (size_t)at >= size ? SIZE_MAX : (size_t)at;
}

/* Of output pixel `pixel` with the weights w [ic][kh][kw] and the channels x of its group. */
static double sum_of_taps(const struct padded *s, const float *x, const float *w, size_t pixel)
{
    double sum = 0;
    for (size_t k = 0; k < s->ic * s->kh * s->kw; k++) {
        size_t y = read_by(&s->c, 0, pixel / s->ow, k / s->kw % s->kh, s->h);
        size_t column = read_by(&s->c, 1, pixel % s->ow, k % s->kw, s->w);
        if (y == SIZE_MAX || column == SIZE_MAX) continue;
        sum += (double)x[(k / s->kw / s->kh * s->h + y) * s->w + column] * (double)w[k];
    }
    return sum;
}

/* A mark may come from images that this batch does not have. */
static bool are_special(const struct padded *s, const float *x, const float *other, size_t n)
{
    return onednn_has_special(x, s->n * s->groups * s->ic * s->h * s->w) ||
           onednn_has_special(other, n);
}

bool onednn_care_padding(struct onednn_prim *p, const struct cvy_run *run)
{
    const struct padded s = padded_of(p, run);
    size_t channels = s.groups * s.oc, out = s.oh * s.ow, weights = s.ic * s.kh * s.kw;
    const float *bias = p->arg[2].md ? operand(p, run, 2) : NULL;
    if (!onednn_run(p, run)) return false;
    float *x = unpacked(p, run, 0, true), *w = x ? unpacked(p, run, 1, true) : NULL;
    if (w && !are_special(&s, x, w, channels * weights)) {
        free(x);
        free(w);
        return true;
    }
    float *y = w ? unpacked(p, run, 3, false) : NULL;
    for (size_t i = 0; y && i < s.n * channels * out; i++) {
        size_t c = i / out % channels, from = (i / out / channels * s.groups + c / s.oc) * s.ic;
        y[i] = (float)(sum_of_taps(&s, x + from * s.h * s.w, w + c * weights, i % out) +
                       (bias ? (double)bias[c] : 0));
    }
    free(x);
    free(w);
    return pack(p, run, 3, y);
}

/* Of a weight: tap `tap` of the pixels x of its source channel, with the gradients dy of its output
 * channel. */
static double sum_of_pixels(const struct padded *s, const float *x, const float *dy, size_t tap)
{
    double sum = 0;
    size_t out = s->oh * s->ow, x_image = s->groups * s->ic * s->h * s->w,
           dy_image = s->groups * s->oc * out;
    for (size_t i = 0; i < s->n * out; i++) {
        size_t y = read_by(&s->c, 0, i % out / s->ow, tap / s->kw, s->h);
        size_t column = read_by(&s->c, 1, i % s->ow, tap % s->kw, s->w);
        if (y == SIZE_MAX || column == SIZE_MAX) continue;
        sum += (double)x[i / out * x_image + y * s->w + column] *
               (double)dy[i / out * dy_image + i % out];
    }
    return sum;
}

bool onednn_care_padding_weights(struct onednn_prim *p, const struct cvy_run *run)
{
    const struct padded s = padded_of(p, run);
    size_t taps = s.kh * s.kw, out = s.oh * s.ow;
    if (!onednn_run(p, run)) return false; /* for the bias's gradient, too, which has no padding */
    float *x = unpacked(p, run, 0, true), *dy = x ? unpacked(p, run, 3, true) : NULL;
    if (dy && !are_special(&s, x, dy, s.n * s.groups * s.oc * out)) {
        free(x);
        free(dy);
        return true;
    }
    float *dw = dy ? unpacked(p, run, 1, false) : NULL;
    for (size_t i = 0; dw && i < s.groups * s.oc * s.ic * taps; i++) {
        size_t c = i / taps / s.ic, from = c / s.oc * s.ic + i / taps % s.ic;
        dw[i] = (float)sum_of_pixels(&s, x + from * s.h * s.w, dy + c * out, i % taps);
    }
    free(x);
    free(dy);
    return pack(p, run, 1, dw);
}

/* --------------------------------------------------------------------------------------- maxima */

/* The window of output pixel o along one dimension. */
static size_t begin(const struct onednn_pool *p, int i, size_t o)
{
    dnnl_dim_t at = (dnnl_dim_t)o * p->stride[i] - p->pad_l[i];
    return at < 0 ? 0 : (size_t)at;
}
static size_t end(const struct onednn_pool *p, int i, size_t o, size_t size)
{
    dnnl_dim_t at = (dnnl_dim_t)o * p->stride[i] - p->pad_l[i] + p->kernel[i];
    if (at < 0) return 0;
    return (size_t)at < size ? (size_t)at : size;
}

/* The first maximum of a window; NaN is the largest. SIZE_MAX: the window is empty. */
static size_t maximum(const struct onednn_pool *p, const float *x, size_t h, size_t w, size_t oy,
                      size_t ox)
{
    size_t best = SIZE_MAX;
    for (size_t y = begin(p, 0, oy); y < end(p, 0, oy, h); y++)
        for (size_t k = begin(p, 1, ox); k < end(p, 1, ox, w); k++)
            if (best == SIZE_MAX || x[y * w + k] > x[best] ||
                (isnan(x[y * w + k]) && !isnan(x[best])))
                best = y * w + k;
    return best;
}

/* Operands x and y. Remembers the places. */
bool onednn_care_max(struct onednn_prim *p, const struct cvy_run *run)
{
    const dnnl_dim_t *xd = onednn_md_dims(p->arg[0].md), *yd = onednn_md_dims(p->arg[1].md);
    size_t maps = run->n * (size_t)xd[1], h = (size_t)xd[2], w = (size_t)xd[3], oh = (size_t)yd[2],
           ow = (size_t)yd[3];
    if (!p->place && !(p->place = onednn_alloc(p->o, p->o->capacity * (size_t)yd[1] * oh * ow *
                                                         sizeof *p->place)))
        return short_of_memory(p, run);
    float *x = unpacked(p, run, 0, true), *y = x ? unpacked(p, run, 1, false) : NULL;
    for (size_t m = 0; y && m < maps; m++)
        for (size_t o = 0; o < oh * ow; o++) {
            size_t at = maximum(&p->u.pool, x + m * h * w, h, w, o / ow, o % ow);
            p->place[m * oh * ow + o] = at;
            y[m * oh * ow + o] = at == SIZE_MAX ? 0 : x[m * h * w + at];
        }
    free(x);
    return pack(p, run, 1, y);
}

/* Operands dx and dy; by the places that the forward primitive remembered, if it had to. */
bool onednn_care_max_bwd(struct onednn_prim *p, const struct cvy_run *run)
{
    if (!p->hint->careful) return onednn_run(p, run);
    const dnnl_dim_t *xd = onednn_md_dims(p->arg[0].md), *yd = onednn_md_dims(p->arg[1].md);
    size_t maps = run->n * (size_t)xd[1], in = (size_t)(xd[2] * xd[3]),
           out = (size_t)(yd[2] * yd[3]);
    float *dy = unpacked(p, run, 1, true), *dx = dy ? unpacked(p, run, 0, false) : NULL;
    if (dx) memset(dx, 0, maps * in * sizeof *dx);
    for (size_t i = 0; dx && i < maps * out; i++)
        if (p->hint->place[i] != SIZE_MAX) dx[i / out * in + p->hint->place[i]] += dy[i];
    free(dy);
    return pack(p, run, 0, dx);
}

/* -------------------------------------------------------------------------------------- softmax */

double onednn_log_sum(const float *x, size_t n, size_t stride)
{
    double most = -INFINITY, sum = 0;
    for (size_t k = 0; k < n; k++) {
        if (isnan(x[k * stride])) return NAN;
        most = fmax(most, (double)x[k * stride]);
    }
    if (isinf(most)) return NAN;
    for (size_t k = 0; k < n; k++) sum += exp((double)x[k * stride] - most);
    return most + log(sum);
}

/* Operands x and y. */
bool onednn_care_softmax(struct onednn_prim *p, const struct cvy_run *run)
{
    const dnnl_dim_t *dims = onednn_md_dims(p->arg[0].md);
    size_t classes = (size_t)dims[1],
           pixels = onednn_md_rank(p->arg[0].md) == 4 ? (size_t)(dims[2] * dims[3]) : 1;
    float *x = unpacked(p, run, 0, true), *y = x ? unpacked(p, run, 1, false) : NULL;
    for (size_t i = 0; y && i < run->n * pixels; i++) {
        size_t at = i / pixels * classes * pixels + i % pixels;
        double sum = onednn_log_sum(x + at, classes, pixels);
        for (size_t c = 0; c < classes; c++)
            y[at + c * pixels] = (float)exp((double)x[at + c * pixels] - sum);
    }
    free(x);
    return pack(p, run, 1, y);
}
