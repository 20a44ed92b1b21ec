/* Times mac, wgrad and outer at the shapes of real layers, every tile of every table, in GFLOP/s and in percent of the
 * FMA peak measured in the same minute. One thread. Options: an instruction set's name, then a part of a case's name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/native/kernels/kernels.h"
#include "base/cpu.h"
#include "peak.h"

/* A convolution of one block of sixteen images: ih x iw inputs (already padded), stride 1. A linear layer is a 1x1
 * convolution whose pixels are blocks. */
struct layer { const char *name; size_t ic, oc, k, ih, iw; };

static const struct layer layers[] = {
    { "conv1 1-6 5x5 28", 1, 6, 5, 28, 28 },
    { "conv2 6-16 5x5 12", 6, 16, 5, 12, 12 },
    { "conv2 dx 16-6 5x5 12", 16, 6, 5, 12, 12 },
    { "fc 256-120 x16", 256, 120, 1, 16, 1 },
    { "fc 120-84 x16", 120, 84, 1, 16, 1 },
    { "fc 84-10 x16", 84, 10, 1, 16, 1 },
    { "fc 256-120 x1", 256, 120, 1, 1, 1 },
    { "16-16 3x3 32", 16, 16, 3, 34, 34 },
    { "64-64 3x3 14", 64, 64, 3, 16, 16 },
    { "64-64 3x3 56", 64, 64, 3, 58, 58 },
    { "64-64 1x1 28", 64, 64, 1, 28, 28 },
    { "depthwise 3x3 28", 1, 1, 3, 30, 30 },
};

static float *filled(size_t n)
{
    float *p = aligned_alloc(64, (n * sizeof *p + 63) / 64 * 64);
    if (!p) {
        fprintf(stderr, "kernels: out of memory\n");
        exit(1);
    }
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(i * 2654435761u % 1021) / 1021 - 0.5f;
    return p;
}

struct job { void (*run)(struct job *); const struct cvyi_kernels *k; const struct layer *l; int tile;
             float *x, *w, *y, *dyt; int32_t *pix, *tap; const float **xp; ptrdiff_t *dw_i; };

static size_t oh(const struct layer *l) { return l->ih - l->k + 1; }
static size_t ow(const struct layer *l) { return l->iw - l->k + 1; }

static void run_mac(struct job *j)
{
    const struct layer *l = j->l;
    const struct cvyi_mac_tile *t = &j->k->mac->tile[j->tile];
    const size_t mo = (size_t)t->mo, n_pix = oh(l) * ow(l), n_taps = l->k * l->k;
    struct cvyi_mac m = {
        .n_pix = n_pix, .x_pix = j->pix, .y_pix = j->pix + n_pix, .n_taps = n_taps, .x_tap = j->tap,
        .w_tap = j->tap + n_taps, .n_ic = l->ic, .x_ic = l->ih * l->iw * 16, .w_ic = n_taps * mo,
        .y_oc = n_pix * 16,
    };
    for (size_t o = 0; o < l->oc; o += mo) {
        m.n_oc = l->oc - o < mo ? l->oc - o : mo;
        t->fn(&m, j->x, j->w + o / mo * l->ic * m.w_ic, NULL, j->y + o * m.y_oc);
    }
}

/* Rows in chunks of at most 1024 pixels, and few enough that a chunk's operands stay in L2. */
static void run_wgrad(struct job *j)
{
    const struct layer *l = j->l;
    const size_t fit = 6000 / (ow(l) * (l->ic + l->oc)) + 1, n_taps = l->k * l->k;
    size_t rows = 1024 / ow(l);
    rows = rows < fit ? rows : fit;
    for (size_t r = 0; r < oh(l); r += rows) {
        struct cvyi_wgrad g = {
            .n_oc = l->oc, .n_i = l->ic * n_taps, .n_rows = oh(l) - r < rows ? oh(l) - r : rows, .n_cols = ow(l),
            .dy_oc = (ptrdiff_t)(oh(l) * ow(l) * 16), .dy_row = (ptrdiff_t)ow(l) * 16, .dy_col = 16,
            .x_row = (ptrdiff_t)l->iw * 16, .x_col = 16, .dw_oc = (ptrdiff_t)(l->ic * n_taps), .accumulate = r > 0,
        };
        for (size_t i = 0; i < g.n_i; i++)
            j->xp[i] = j->x + i / n_taps * l->ih * l->iw * 16 + (size_t)j->tap[i % n_taps] + r * l->iw * 16;
        j->k->wgrad->wgrad(&g, j->y + r * ow(l) * 16, j->xp, j->dw_i, j->w);
    }
}

static void run_outer(struct job *j)
{
    const struct layer *l = j->l;
    struct cvyi_outer g = {
        .n_oc = (l->oc + 15) / 16 * 16, .n_i = l->ic, .n_blocks = l->ih, .x_block = l->ic * 16, .x_i = 16,
    };
    g.dyt_n = g.dw_i = g.n_oc;
    j->k->wgrad->outer(&g, j->dyt, j->x, j->w);
}

/* Seconds of one run: the best of many windows short enough that some of them are not interrupted. */
static double time_of(struct job *j)
{
    double best = 1e30, t = peak_now();
    j->run(j);
    t = peak_now() - t;
    const int n = t > 1e-3 ? 1 : (int)(1e-3 / t);
    for (int i = 0; i < 40; i++) {
        t = peak_now();
        for (int k = 0; k < n; k++)
            j->run(j);
        t = (peak_now() - t) / n;
        best = t < best ? t : best;
    }
    return best;
}

static void bench(const struct cvyi_kernels *k, const struct layer *l, double peak)
{
    const size_t n_taps = l->k * l->k, n_pix = oh(l) * ow(l), oc = (l->oc + 15) / 16 * 16;
    const double flops = 2.0 * 16 * (double)(n_pix * n_taps * l->ic * l->oc);
    struct job j = {
        .k = k, .l = l, .x = filled(l->ic * l->ih * l->iw * 16), .w = filled((l->oc + 16) * l->ic * n_taps + 16),
        .y = filled(oc * n_pix * 16), .dyt = filled(oc * l->ih * 16), .pix = malloc(2 * n_pix * sizeof *j.pix),
        .tap = malloc(2 * n_taps * sizeof *j.tap), .xp = malloc(l->ic * n_taps * sizeof *j.xp),
        .dw_i = malloc(l->ic * n_taps * sizeof *j.dw_i),
    };
    if (!j.pix || !j.tap || !j.xp || !j.dw_i)
        exit(1);
    printf("%-8s %-22s", k->isa, l->name);
    for (size_t p = 0; p < n_pix; p++) {
        j.pix[p] = (int32_t)((p / ow(l) * l->iw + p % ow(l)) * 16);
        j.pix[n_pix + p] = (int32_t)(p * 16);
    }
    for (size_t i = 0; i < l->ic * n_taps; i++)
        j.dw_i[i] = (ptrdiff_t)i;
    j.run = run_mac;
    for (size_t t = 0; t < n_taps; t++)
        j.tap[t] = (int32_t)((t / l->k * l->iw + t % l->k) * 16);
    for (; j.tile < CVYI_MAC_TILES && k->mac->tile[j.tile].mo; j.tile++) {
        for (size_t t = 0; t < n_taps; t++)
            j.tap[n_taps + t] = (int32_t)t * k->mac->tile[j.tile].mo;
        const double g = flops / time_of(&j) * 1e-9;
        printf("  %2dx%d %5.1f %3.0f%%", k->mac->tile[j.tile].mo, k->mac->tile[j.tile].np, g, 100 * g / peak);
        fflush(stdout);
    }
    j.run = run_wgrad;
    double g = flops / time_of(&j) * 1e-9;
    printf("  | wgrad %5.1f %3.0f%%", g, 100 * g / peak);
    if (l->k == 1) {
        j.run = run_outer;
        g = 2.0 * 16 * (double)(l->ih * l->ic * oc) / time_of(&j) * 1e-9;
        printf("  | outer %5.1f %3.0f%%", g, 100 * g / peak);
    }
    printf("\n");
    free(j.x), free(j.w), free(j.y), free(j.dyt), free(j.pix), free(j.tap), free(j.xp), free(j.dw_i);
}

int main(int argc, char **argv)
{
    for (int isa = CVY_ISA_SCALAR; isa <= CVY_ISA_PAIR; isa++) {
        const struct cvyi_kernels *k = cvyi_cpu_can_run((enum cvy_isa)isa) ? cvyi_kernels_for(isa) : NULL;
        if (!k || (argc > 1 ? strcmp(argv[1], k->isa) != 0 : isa == CVY_ISA_SCALAR || isa == CVY_ISA_PAIR))
            continue;
        const double peak = peak_gflops(peak_of(isa));
        printf("%s: peak %.1f GFLOP/s\n", k->isa, peak);
        for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
            if (argc < 3 || strstr(layers[i].name, argv[2]))
                bench(k, &layers[i], peak);
    }
    return 0;
}
