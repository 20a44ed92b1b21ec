/* Reading problems. */
#include "problem.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASS(p) (1u << (p))
#define MAX_SIZE (1ull << 31) /* of one dimension: products of four are checked by the library */

/* Where the reader stands, and what the options said. */
struct reader {
    const char *where;
    size_t line;
    const char *line_start;
    char *error;
    size_t error_size;
    size_t batch; /* of the caller, then of --mb */
    enum problem_kind kind;
    char alg[32];
    unsigned passes;
    double alpha, p;
    struct problem_list *list;
};

static bool fail(const struct reader *r, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool fail(const struct reader *r, const char *at, const char *format, ...)
{
    char what[200];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    int near = (int)strcspn(at, " \t\r\n");
    char found[32];
    if (near) snprintf(found, sizeof found, "'%.*s'", near > 24 ? 24 : near, at);
    else snprintf(found, sizeof found, "the end");
    snprintf(r->error, r->error_size, "%s: line %zu, column %zu: expected %s, found %s", r->where,
             r->line, (size_t)(at - r->line_start) + 1, what, found);
    return false;
}

static bool fail_alg(const struct reader *r, const char *driver, const char *has)
{
    snprintf(r->error, r->error_size, "%s: line %zu: --alg=%s: expected one of --%s's, %s",
             r->where, r->line, r->alg, driver, has);
    return false;
}

static bool keep(struct problem_list *list, const struct problem *p)
{
    if (list->n == list->room) {
        size_t room = list->room ? 2 * list->room : 16;
        struct problem *at = realloc(list->at, room * sizeof *at);
        if (!at) return false;
        list->at = at;
        list->room = room;
    }
    list->at[list->n++] = *p;
    return true;
}

unsigned problem_training_passes(enum problem_kind kind)
{
    switch (kind) {
    case PROBLEM_CONV:
    case PROBLEM_IP:
        return PASS(CVY_FORWARD) | PASS(CVY_BACKWARD_DATA) | PASS(CVY_BACKWARD_WEIGHTS);
    case PROBLEM_SOFTMAX: return PASS(CVY_FORWARD_INFER);
    case PROBLEM_BINARY:
    case PROBLEM_LOSS: return PASS(CVY_FORWARD);
    default: return PASS(CVY_FORWARD) | PASS(CVY_BACKWARD_DATA);
    }
}

static double elements(cvy_shape s)
{
    return (double)s.n * (double)s.c * (double)s.h * (double)s.w;
}

struct problem_work problem_work(const struct problem *p, enum cvy_pass pass)
{
    const bool back = pass == CVY_BACKWARD_DATA;
    const double x = elements(p->src), y = elements(p->dst),
                 window = (double)(p->pool.kernel[0] * p->pool.kernel[1]);
    const size_t ic = p->src.c / (p->conv.groups ? p->conv.groups : 1);
    const double per_weight = (double)ic * (double)p->conv.kernel[0] * (double)p->conv.kernel[1];
    struct problem_work w = { 0, 0 };
    switch (p->kind) {
    case PROBLEM_CONV:
    case PROBLEM_IP:
        w = (struct problem_work){ 2 * y * per_weight, x + y + per_weight * (double)p->dst.c };
        break;
    /* two sums, a square, scale and shift; back: two sums of products, three terms */
    case PROBLEM_BNORM:
        w = (struct problem_work){ x * (pass == CVY_FORWARD_INFER ? 2 : 6), 2 * x };
        if (back) w = (struct problem_work){ 10 * x, 3 * x };
        break;
    case PROBLEM_ELTWISE:
        w = (struct problem_work){ x * (p->act.kind == CVY_RELU ? 1 : 3), x * (back ? 3 : 2) };
        break;
    case PROBLEM_POOL:
        w = (struct problem_work){ y * window,
                                   back && p->pool.kind == CVY_POOL_MAX ? 2 * x + y : x + y };
        break;
    case PROBLEM_SOFTMAX: w = (struct problem_work){ 4 * x, 2 * x }; break;
    case PROBLEM_BINARY: w = (struct problem_work){ x, 3 * x }; break;
    case PROBLEM_CONCAT: w = (struct problem_work){ 0, 2 * y }; break;
    case PROBLEM_DROPOUT: w = (struct problem_work){ x, 2 * x }; break;
    case PROBLEM_LOSS: w = (struct problem_work){ 6 * x, 2 * x }; break;
    }
    w.bytes *= sizeof(float);
    return w;
}

/* ---------------------------------------------------------------------------------------- sizes */

/* clang-format off */
#define KEYS(X)                                                                               \
    X(g)                                                                                      \
    X(mb) X(ic) X(id) X(ih) X(iw) X(oc) X(od) X(oh) X(ow) X(kd) X(kh) X(kw) X(sd) X(sh) X(sw) \
    X(pd) X(ph) X(pw) X(dd)                                                                   \
        X(dh) X(dw)
/* clang-format on */
enum key {
#define X(k) KEY_##k,
    KEYS(X)
#undef X
        N_KEYS
};
static const char *const key_names[] = {
#define X(k) #k,
    KEYS(X)
#undef X
};

struct sizes {
    size_t v[N_KEYS];
    bool set[N_KEYS];
};

static const char *name_of(const struct reader *r, const char *at, const char *end, char *name,
                           size_t size)
{
    if (at < end && *at == '"') {
        const char *close = memchr(at + 1, '"', (size_t)(end - at - 1));
        if (!close) {
            fail(r, at, "a closing quote");
            return NULL;
        }
        snprintf(name, size, "%.*s", (int)(close - at - 1), at + 1);
        return close + 1;
    }
    snprintf(name, size, "%.*s", (int)(end - at), at);
    return end;
}

static bool number(const struct reader *r, const char **at, const char *end, const char *behind,
                   size_t *value)
{
    unsigned long long v = 0;
    const char *first = *at;
    for (; *at < end && isdigit((unsigned char)**at); (*at)++) {
        v = 10 * v + (unsigned)(**at - '0');
        if (v > MAX_SIZE)
            return fail(r, first, "a number up to %llu behind '%s'", MAX_SIZE, behind);
    }
    if (*at == first) return fail(r, first, "a number behind '%s'", behind);
    *value = (size_t)v;
    return true;
}

static bool read_sizes(const struct reader *r, const char *at, const char *end, const char *allowed,
                       struct sizes *s, char *name, size_t name_size)
{
    while (at < end) {
        if (*at == '_') {
            at++;
            continue;
        }
        const char *start = at;
        while (at < end && islower((unsigned char)*at)) at++;
        char word[8] = "";
        if (at - start < 8) snprintf(word, sizeof word, "%.*s", (int)(at - start), start);
        if (*start == 'n') {
            at = name_of(r, start + 1, end, name, name_size);
            if (!at) return false;
            continue;
        }
        size_t k = 0;
        while (k < N_KEYS && strcmp(word, key_names[k])) k++;
        char padded[12];
        snprintf(padded, sizeof padded, " %s ", word);
        for (size_t i = 0; k == N_KEYS && i < N_KEYS; i++)
            if (!strncmp(word, key_names[i], strlen(key_names[i])) && strlen(key_names[i]) > 1)
                return fail(r, start + strlen(key_names[i]), "a number behind '%s'", key_names[i]);
        if (k == N_KEYS || !strstr(allowed, padded))
            return fail(r, start, "one of%sor n\"NAME\" with a number behind it", allowed);
        if (s->set[k]) return fail(r, start, "'%s' only once", word);
        if (!number(r, &at, end, word, &s->v[k])) return false;
        s->set[k] = true;
    }
    return true;
}

/* The keys of the input, output, kernel, stride, padding and dilation along 'h' or 'w'. */
struct axis {
    char dim;
    enum key i, o, k, s, p, d;
};

/* One dimension of a convolution or pooling: fills in what follows from the rest. end: what is
 * padded at the end. */
static bool solve(const struct reader *r, const char *at, struct sizes *sizes,
                  const struct axis *axis, size_t *end)
{
    const bool *set = sizes->set;
    size_t *v = sizes->v;
    const enum key i = axis->i, o = axis->o, k = axis->k, s = axis->s, p = axis->p;
    const char dim = axis->dim;
    if (!set[i]) return fail(r, at, "i%c, the input's size, in the problem", dim);
    if (!set[k]) return fail(r, at, "k%c, the kernel's size, in the problem", dim);
    if (!set[s]) v[s] = 1;
    if (!v[k] || !v[s] || !v[i]) return fail(r, at, "sizes and strides of at least 1");
    const size_t kernel = (v[k] - 1) * (v[axis->d] + 1) + 1;
    if (!set[o]) {
        if (v[i] + 2 * v[p] < kernel)
            return fail(r, at, "a kernel that fits into the padded input");
        v[o] = (v[i] + 2 * v[p] - kernel) / v[s] + 1;
    }
    if (!v[o]) return fail(r, at, "an output of at least 1");
    const size_t needed = (v[o] - 1) * v[s] + kernel; /* input that the outputs look at */
    if (!set[p]) v[p] = needed > v[i] ? (needed - v[i]) / 2 : 0;
    if (!set[p] && v[p] >= kernel)
        return fail(r, at, "an o%c that this input, kernel and stride can give", dim);
    *end = needed > v[i] + v[p] ? needed - v[i] - v[p] : 0;
    if ((v[i] + v[p] + *end - kernel) / v[s] + 1 != v[o])
        return fail(r, at, "o%c %zu by these sizes, not %zu", dim,
                    (v[i] + v[p] + *end - kernel) / v[s] + 1, v[o]);
    return true;
}

/* Square where only one of two is said. */
static void square(struct sizes *s, enum key h, enum key w)
{
    if (s->set[h] && !s->set[w]) {
        s->v[w] = s->v[h];
        s->set[w] = true;
    }
    if (s->set[w] && !s->set[h]) {
        s->v[h] = s->v[w];
        s->set[h] = true;
    }
}

static bool flat(const struct reader *r, const char *at, const struct sizes *s)
{
    static const enum key ones[] = { KEY_id, KEY_od, KEY_kd, KEY_sd }, zeros[] = { KEY_pd, KEY_dd };
    for (size_t i = 0; i < 4; i++)
        if (s->set[ones[i]] && s->v[ones[i]] != 1)
            return fail(r, at, "two dimensions (%s1)", key_names[ones[i]]);
    for (size_t i = 0; i < 2; i++)
        if (s->v[zeros[i]]) return fail(r, at, "two dimensions (%s0)", key_names[zeros[i]]);
    return true;
}

static bool window(const struct reader *r, const char *at, struct sizes *s, size_t end[2])
{
    static const enum key pairs[][2] = {
        { KEY_ih, KEY_iw }, { KEY_oh, KEY_ow }, { KEY_kh, KEY_kw },
        { KEY_sh, KEY_sw }, { KEY_ph, KEY_pw }, { KEY_dh, KEY_dw }
    };
    for (size_t i = 0; i < 6; i++) square(s, pairs[i][0], pairs[i][1]);
    static const struct axis h = { 'h', KEY_ih, KEY_oh, KEY_kh, KEY_sh, KEY_ph, KEY_dh },
                             w = { 'w', KEY_iw, KEY_ow, KEY_kw, KEY_sw, KEY_pw, KEY_dw };
    return solve(r, at, s, &h, &end[0]) && solve(r, at, s, &w, &end[1]);
}

static bool needs(const struct reader *r, const char *at, const struct sizes *s, enum key k,
                  const char *what)
{
    return (s->set[k] && s->v[k]) ||
           fail(r, at, "%s, %s, of at least 1 in the problem", key_names[k], what);
}

/* -------------------------------------------------------------------------------------- drivers */

static bool has_alg(const struct reader *r, const char *const *names, size_t n, size_t *index)
{
    for (*index = 0; *index < n; ++*index)
        if (!strcmp(r->alg, names[*index])) return true;
    return false;
}

static bool read_conv(struct reader *r, const char *at, const char *end, struct problem *p)
{
    struct sizes s = { 0 };
    size_t after[2];
    if (!read_sizes(r, at, end,
                    " g mb ic id ih iw oc od oh ow kd kh kw sd sh sw pd ph pw dd dh dw ", &s,
                    p->name, sizeof p->name) ||
        !flat(r, at, &s) || !needs(r, at, &s, KEY_ic, "the input's channels") ||
        !needs(r, at, &s, KEY_oc, "the output's channels") || !window(r, at, &s, after))
        return false;
    if (*r->alg && strcmp(r->alg, "direct") && strcmp(r->alg, "auto"))
        return fail_alg(r, "conv", "direct");
    if (s.set[KEY_g] && (!s.v[KEY_g] || s.v[KEY_ic] % s.v[KEY_g] || s.v[KEY_oc] % s.v[KEY_g]))
        return fail(r, at, "a g that divides ic and oc");
    p->src = (cvy_shape){ s.set[KEY_mb] ? s.v[KEY_mb] : 2, s.v[KEY_ic], s.v[KEY_ih], s.v[KEY_iw] };
    p->dst = (cvy_shape){ p->src.n, s.v[KEY_oc], s.v[KEY_oh], s.v[KEY_ow] };
    p->conv = (cvy_conv2d_desc){ .out_channels = s.v[KEY_oc],
                                 .kernel = { s.v[KEY_kh], s.v[KEY_kw] },
                                 .stride = { s.v[KEY_sh], s.v[KEY_sw] },
                                 .pad = { s.v[KEY_ph], s.v[KEY_pw], after[0], after[1] },
                                 .dilation = { s.v[KEY_dh] + 1, s.v[KEY_dw] + 1 },
                                 .groups = s.set[KEY_g] ? s.v[KEY_g] : 1 };
    return true;
}

static bool read_ip(struct reader *r, const char *at, const char *end, struct problem *p)
{
    struct sizes s = { 0 };
    if (!read_sizes(r, at, end, " mb ic id ih iw oc ", &s, p->name, sizeof p->name) ||
        !flat(r, at, &s) || !needs(r, at, &s, KEY_ic, "the input's channels") ||
        !needs(r, at, &s, KEY_oc, "the output's channels"))
        return false;
    square(&s, KEY_ih, KEY_iw);
    const size_t h = s.set[KEY_ih] ? s.v[KEY_ih] : 1, w = s.set[KEY_iw] ? s.v[KEY_iw] : 1;
    if (!h || !w) return fail(r, at, "sizes of at least 1");
    p->src = (cvy_shape){ s.set[KEY_mb] ? s.v[KEY_mb] : 2, s.v[KEY_ic], h, w };
    p->dst = (cvy_shape){ p->src.n, s.v[KEY_oc], 1, 1 };
    p->conv = (cvy_conv2d_desc){ .out_channels = s.v[KEY_oc], .kernel = { h, w } };
    return true;
}

static bool read_bnorm(struct reader *r, const char *at, const char *end, struct problem *p)
{
    struct sizes s = { 0 };
    if (!read_sizes(r, at, end, " mb ic id ih iw ", &s, p->name, sizeof p->name) ||
        !flat(r, at, &s) || !needs(r, at, &s, KEY_ic, "the channels"))
        return false;
    square(&s, KEY_ih, KEY_iw);
    p->src = p->dst =
        (cvy_shape){ s.set[KEY_mb] ? s.v[KEY_mb] : 2, s.v[KEY_ic], s.set[KEY_ih] ? s.v[KEY_ih] : 1,
                     s.set[KEY_iw] ? s.v[KEY_iw] : 1 };
    return true;
}

static bool read_pool(struct reader *r, const char *at, const char *end, struct problem *p)
{
    static const char *const algs[] = { "", "max", "avg_np", "avg_p", "avg" };
    struct sizes s = { 0 };
    size_t after[2], alg;
    if (!read_sizes(r, at, end, " mb ic id ih iw od oh ow kd kh kw sd sh sw pd ph pw dd dh dw ", &s,
                    p->name, sizeof p->name) ||
        !flat(r, at, &s) || !needs(r, at, &s, KEY_ic, "the channels") || !window(r, at, &s, after))
        return false;
    if (s.v[KEY_dh] || s.v[KEY_dw]) return fail(r, at, "a pooling window without holes (dh0)");
    if (!has_alg(r, algs, 5, &alg)) return fail_alg(r, "pool", "max, avg_np, avg_p");
    p->src = (cvy_shape){ s.set[KEY_mb] ? s.v[KEY_mb] : 2, s.v[KEY_ic], s.v[KEY_ih], s.v[KEY_iw] };
    p->dst = (cvy_shape){ p->src.n, p->src.c, s.v[KEY_oh], s.v[KEY_ow] };
    p->pool = (cvy_pool2d_desc){ .kind = alg < 2 ? CVY_POOL_MAX : CVY_POOL_AVG,
                                 .kernel = { s.v[KEY_kh], s.v[KEY_kw] },
                                 .stride = { s.v[KEY_sh], s.v[KEY_sw] },
                                 .pad = { s.v[KEY_ph], s.v[KEY_pw], after[0], after[1] },
                                 .exclude_pad = alg == 2 };
    return true;
}

/* AxBxCxD, two to four of them; the rest of at most four are 1. */
static bool read_dims(struct reader *r, const char **at, const char *end, cvy_shape *shape)
{
    size_t d[4] = { 1, 1, 1, 1 }, n = 0;
    do {
        const char *digit = *at;
        if (n == 4) return fail(r, digit, "at most four dimensions");
        if (!number(r, at, end, n ? "x" : "the beginning", &d[n])) return false;
        if (!d[n++]) return fail(r, digit, "dimensions of at least 1");
    } while (*at < end && **at == 'x' && ++*at);
    if (n < 2) return fail(r, *at, "dimensions as AxB or AxBxCxD");
    *shape = (cvy_shape){ d[0], d[1], d[2], d[3] };
    return true;
}

static bool rest_is_name(struct reader *r, const char *at, const char *end, struct problem *p)
{
    while (at < end && *at == '_') at++;
    if (at < end && *at == 'n') at = name_of(r, at + 1, end, p->name, sizeof p->name);
    return at && (at == end || fail(r, at, "nothing but n\"NAME\" behind the dimensions"));
}

static bool read_concat(struct reader *r, const char *at, const char *end, struct problem *p)
{
    do {
        const char *first = at;
        cvy_shape *s = &p->part[p->n_parts];
        if (p->n_parts == PROBLEM_PARTS) return fail(r, at, "at most %d tensors", PROBLEM_PARTS);
        if (!read_dims(r, &at, end, s)) return false;
        if (s->n != p->part[0].n || s->h != p->part[0].h || s->w != p->part[0].w)
            return fail(r, first, "dimensions that differ in the second, the channels, only");
        p->dst = (cvy_shape){ s->n, p->dst.c + s->c, s->h, s->w };
        p->n_parts++;
    } while (at < end && *at == ':' && ++at);
    p->src = p->part[0];
    return rest_is_name(r, at, end, p);
}

static bool read_elementwise(struct reader *r, const char *at, const char *end, struct problem *p)
{
    static const char *const acts[] = { "",     "relu", "logistic",  "sigmoid",
                                        "tanh", "elu",  "soft_relu", "softplus" };
    static const enum cvy_act_kind kinds[] = { CVY_RELU, CVY_RELU, CVY_SIGMOID,  CVY_SIGMOID,
                                               CVY_TANH, CVY_ELU,  CVY_SOFTPLUS, CVY_SOFTPLUS };
    static const char *const pairs[] = { "", "add", "binary_add", "mul", "binary_mul" };
    size_t alg;
    if (!read_dims(r, &at, end, &p->src)) return false;
    p->dst = p->src;
    if (p->kind == PROBLEM_BINARY) {
        cvy_shape other;
        const char *second = at + 1;
        if (at == end || *at != ':')
            return fail(r, at, "a ':' and the second operand's dimensions");
        at++;
        if (!read_dims(r, &at, end, &other)) return false;
        if (memcmp(&other, &p->src, sizeof other))
            return fail(r, second, "operands of the same dimensions");
        if (!has_alg(r, pairs, 5, &alg)) return fail_alg(r, "binary", "add, mul");
        p->multiply = alg >= 3;
    }
    if (p->kind == PROBLEM_ELTWISE) {
        if (!has_alg(r, acts, 8, &alg))
            return fail_alg(r, "eltwise", "relu, logistic, tanh, elu, soft_relu");
        p->act = (cvy_act_desc){ .kind = kinds[alg], .alpha = r->alpha };
        if (p->act.kind == CVY_RELU && r->alpha != 0) p->act.kind = CVY_LEAKY_RELU;
    }
    return rest_is_name(r, at, end, p);
}

static const struct driver {
    const char *name, *primitive; /* benchdnn's option, oneDNN's verbose word */
    bool (*read)(struct reader *r, const char *at, const char *end, struct problem *p);
} drivers[] = {
    [PROBLEM_CONV] = { "conv", "convolution", read_conv },
    [PROBLEM_IP] = { "ip", "inner_product", read_ip },
    [PROBLEM_BNORM] = { "bnorm", "batch_normalization", read_bnorm },
    [PROBLEM_ELTWISE] = { "eltwise", "eltwise", read_elementwise },
    [PROBLEM_POOL] = { "pool", "pooling", read_pool },
    [PROBLEM_SOFTMAX] = { "softmax", "softmax", read_elementwise },
    [PROBLEM_BINARY] = { "binary", "binary", read_elementwise },
    [PROBLEM_CONCAT] = { "concat", NULL, read_concat },
    [PROBLEM_DROPOUT] = { "dropout", NULL, read_elementwise },
    [PROBLEM_LOSS] = { "loss", NULL, read_elementwise },
};
enum { DRIVERS = sizeof drivers / sizeof *drivers };

static bool read_problem(struct reader *r, const char *at, const char *end)
{
    struct problem p = { .kind = r->kind, .p = r->p };
    if (!drivers[r->kind].read(r, at, end, &p)) return false;
    if (r->batch) p.src.n = p.dst.n = r->batch;
    for (size_t i = 0; i < p.n_parts; i++) p.part[i].n = p.src.n;
    if (!p.src.n) return fail(r, at, "a batch (mb) of at least 1");
    if (p.kind == PROBLEM_LOSS && (p.src.h != 1 || p.src.w != 1 || p.src.c < 2))
        return fail(r, at, "images and classes as NxC");
    const unsigned possible =
        problem_training_passes(p.kind) |
        (p.kind == PROBLEM_LOSS || p.kind == PROBLEM_BINARY ? 0 : PASS(CVY_FORWARD_INFER));
    p.passes = r->passes ? r->passes & possible : problem_training_passes(p.kind);
    if (!p.passes) return fail(r, at, "a --dir that %s has", drivers[p.kind].name);
    char alg[40] = "", mb[32] = "";
    if (*r->alg) snprintf(alg, sizeof alg, " --alg=%s", r->alg);
    if (p.kind == PROBLEM_DROPOUT) snprintf(alg, sizeof alg, " --p=%g", p.p);
    if (r->batch) snprintf(mb, sizeof mb, " --mb=%zu", r->batch);
    snprintf(p.text, sizeof p.text, "--%s%s%s %.*s", drivers[p.kind].name, alg, mb, (int)(end - at),
             at);
    return keep(r->list, &p) || fail(r, at, "memory");
}

/* -------------------------------------------------------------------------------------- options */

static bool read_dirs(struct reader *r, const char *at, const char *end)
{
    static const struct {
        const char *name;
        unsigned passes;
    } dirs[] = { { "FWD_D", PASS(CVY_FORWARD) },
                 { "FWD_B", PASS(CVY_FORWARD) },
                 { "FWD_I", PASS(CVY_FORWARD_INFER) },
                 { "BWD_D", PASS(CVY_BACKWARD_DATA) },
                 { "BWD_W", PASS(CVY_BACKWARD_WEIGHTS) },
                 { "BWD_WB", PASS(CVY_BACKWARD_WEIGHTS) },
                 { "BWD_DW", PASS(CVY_BACKWARD_DATA) | PASS(CVY_BACKWARD_WEIGHTS) } };
    r->passes = 0;
    while (at < end) {
        size_t n = strcspn(at, ", \t\r\n"), i = 0;
        while (i < 7 && (strlen(dirs[i].name) != n || strncmp(at, dirs[i].name, n))) i++;
        if (i == 7) return fail(r, at, "FWD_D, FWD_B, FWD_I, BWD_D, BWD_W, BWD_WB or BWD_DW");
        r->passes |= dirs[i].passes;
        at += n;
        if (at < end) at++;
    }
    return true;
}

static bool read_option(struct reader *r, const char *at, const char *end)
{
    static const char *const ignored[] = { "cfg",   "dt",      "sdt",  "ddt",  "tag",
                                           "stag",  "wtag",    "dtag", "mode", "axis",
                                           "flags", "inplace", "reset" };
    const char *name = at + 2, *equals = memchr(name, '=', (size_t)(end - name));
    const size_t length = (size_t)((equals ? equals : end) - name);
    const char *value = equals ? equals + 1 : end;
    char text[40];
    snprintf(text, sizeof text, "%.*s", (int)(end - value), value);
    for (size_t i = 0; i < DRIVERS; i++)
        if (!equals && strlen(drivers[i].name) == length &&
            !strncmp(name, drivers[i].name, length)) {
            r->kind = (enum problem_kind)i;
            r->alg[0] = '\0';
            r->passes = 0;
            r->alpha = 0;
            r->p = 0.5;
            return true;
        }
#define IS(word) (length == strlen(word) && !strncmp(name, word, length))
    if (IS("alg")) {
        size_t n = (size_t)(end - value);
        if (!n || n >= sizeof r->alg) return fail(r, value, "an algorithm's name");
        for (size_t i = 0; i <= n; i++)
            r->alg[i] = i < n ? (char)tolower((unsigned char)value[i]) : '\0';
        return true;
    }
    if (IS("dir")) return read_dirs(r, value, end);
    if (IS("mb")) {
        const char *digits = value;
        size_t mb = 0;
        if (!number(r, &digits, end, "--mb=", &mb)) return false;
        if (!r->batch) r->batch = mb;
        return true;
    }
    if (IS("alpha") || IS("p")) {
        char *stop;
        double v = strtod(text, &stop);
        if (!*text || *stop || (IS("p") && !(v >= 0 && v <= 1)))
            return fail(r, value, "a number%s", IS("p") ? " from 0 to 1" : "");
        *(IS("p") ? &r->p : &r->alpha) = v;
        return true;
    }
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (IS(ignored[i])) {
            bool types = i < 4;
            if (IS("axis") && strcmp(text, "1")) return fail(r, value, "1, the channels,");
            if (types && equals && strcmp(text, "f32"))
                return fail(r, value, "f32, the only data type here,");
            return true;
        }
#undef IS
    return fail(r, at,
                "a driver (--conv, --ip, --bnorm, --eltwise, --pool, --softmax, --binary, "
                "--concat, --dropout, --loss) or --alg, "
                "--dir, --mb, "
                "--alpha, --p");
}

bool problem_read(const char *where, const char *text, size_t batch, struct problem_list *list,
                  char *error, size_t error_size)
{
    struct reader r = { .where = where,
                        .error = error,
                        .error_size = error_size,
                        .batch = batch,
                        .list = list,
                        .p = 0.5 };
    while (*text) {
        r.line++;
        r.line_start = text;
        const char *line_end = text + strcspn(text, "\n");
        while (text < line_end) {
            text += strspn(text, " \t\r");
            if (text >= line_end || *text == '#') break;
            const char *end = text + strcspn(text, " \t\r\n");
            if (!(strncmp(text, "--", 2) ? read_problem(&r, text, end)
                                         : read_option(&r, text, end)))
                return false;
            text = end;
        }
        text = *line_end ? line_end + 1 : line_end;
    }
    return true;
}

/* --------------------------------------------------------------------------------- verbose logs */

enum { MAX_FIELDS = 24 };

/* The part behind "alg:", and so on, of an auxiliary field; "" if it is not there. */
static void tagged(const char *field, const char *tag, char *out, size_t size)
{
    const char *at = strstr(field, tag);
    out[0] = '\0';
    if (at) snprintf(out, size, "%.*s", (int)strcspn(at + strlen(tag), " ,"), at + strlen(tag));
}

/* What oneDNN calls a propagation kind, as benchdnn's --dir; NULL: another one. */
static const char *direction(const char *prop)
{
    if (!strcmp(prop, "forward_inference")) return "FWD_I";
    if (!strcmp(prop, "forward_training")) return "FWD_D";
    if (!strcmp(prop, "backward_weights")) return "BWD_W";
    return strncmp(prop, "backward", 8) ? NULL : "BWD_D";
}

/* One line, cut into fields. 1: a problem was kept; 0: the line is of something else, or known
 * already; -1: no operator has it; -2: error. */
static int read_verbose_line(struct reader *r, char *line)
{
    char *field[MAX_FIELDS], *save = line, alg[64], flags[32], alpha[32], text[300];
    size_t n = 0, exec = 1;
    for (char *f; n < MAX_FIELDS && (f = strsep(&save, ","));) field[n++] = f;
    if (n < 2 || (strcmp(field[0], "onednn_verbose") && strcmp(field[0], "dnnl_verbose"))) return 0;
    while (exec < n && strcmp(field[exec], "exec")) exec++;
    if (exec + 9 >= n + 1) return 0; /* a header, a creation, an information */
    const char *primitive = field[exec + 2], *prop = field[exec + 4], *types = field[exec + 5],
               *aux = field[exec + 7], *sizes = field[exec + 8];
    size_t kind = 0;
    char base[40];
    snprintf(base, sizeof base, "%.*s",
             (int)(strstr(primitive, "_v2") ? strstr(primitive, "_v2") - primitive
                                            : (ptrdiff_t)strlen(primitive)),
             primitive);
    while (kind < DRIVERS && (!drivers[kind].primitive || strcmp(base, drivers[kind].primitive)))
        kind++;
    if (kind == DRIVERS || strcmp(field[exec + 1], "cpu") || strstr(types, "bf16") ||
        strstr(types, "f16:") || strstr(types, "s8") || strstr(types, "u8") || strstr(types, "f64"))
        return -1;
    tagged(aux, "alg:", alg, sizeof alg);
    tagged(aux, "flags:", flags, sizeof flags);
    tagged(aux, "alpha:", alpha, sizeof alpha);
    static const char *const prefixes[] = { "convolution_", "pooling_",       "eltwise_",
                                            "binary_",      "inner_product_", "softmax_" };
    const char *a = alg;
    for (size_t i = 0; i < 6; i++)
        if (!strncmp(a, prefixes[i], strlen(prefixes[i]))) a += strlen(prefixes[i]);
    if (!strcmp(a, "avg_include_padding")) a = "avg_p";
    if (!strcmp(a, "avg_exclude_padding")) a = "avg_np";
    if (kind == PROBLEM_SOFTMAX && *a && strcmp(a, "accurate")) return -1;
    if (kind == PROBLEM_SOFTMAX || kind == PROBLEM_IP) a = "";
    const char *dir = strchr(flags, 'G') ? "FWD_I" : direction(prop);
    if (kind == PROBLEM_BINARY) dir = "FWD_D";
    if (kind == PROBLEM_SOFTMAX && dir) dir = strncmp(dir, "FWD", 3) ? NULL : "FWD_I";
    if (!dir || (kind == PROBLEM_BNORM && strchr(flags, 'G') && strncmp(prop, "forward", 7)))
        return -1;
    int length =
        snprintf(text, sizeof text, "--%s%s%s --dir=%s%s%s %s", drivers[kind].name,
                 *a ? " --alg=" : "", a, dir, *alpha && kind == PROBLEM_ELTWISE ? " --alpha=" : "",
                 kind == PROBLEM_ELTWISE ? alpha : "", sizes);
    if (length < 0 || (size_t)length >= sizeof text) return -1;
    struct problem_list one = { 0 };
    char ignored[256];
    if (!problem_read(r->where, text, r->batch, &one, ignored, sizeof ignored) || one.n != 1) {
        free(one.at);
        return -1; /* an algorithm, broadcast or dimension that no operator has */
    }
    int result = 0;
    for (size_t i = 0; i < r->list->n && !result; i++) {
        struct problem *known = &r->list->at[i];
        if (!strcmp(known->text, one.at[0].text) && known->act.alpha == one.at[0].act.alpha) {
            known->passes |= one.at[0].passes;
            result = 2;
        }
    }
    if (!result) result = keep(r->list, one.at) ? 1 : -2;
    free(one.at);
    return result == 2 ? 0 : result;
}

bool problem_read_verbose(const char *where, const char *text, size_t batch,
                          struct problem_list *list, size_t *skipped, char *error,
                          size_t error_size)
{
    struct reader r = {
        .where = where, .error = error, .error_size = error_size, .batch = batch, .list = list
    };
    while (*text) {
        const size_t n = strcspn(text, "\r\n");
        char *line = strndup(text, n);
        int result = line ? read_verbose_line(&r, line) : -2;
        free(line);
        if (result == -2) {
            snprintf(error, error_size, "%s: out of memory", where);
            return false;
        }
        *skipped += result == -1;
        text += n + (text[n] != '\0');
    }
    return true;
}
