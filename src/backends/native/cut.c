/* How the work of a phase is cut into tasks: see cut.h. */
#include "backends/native/cut.h"

#include <stdbool.h>

static size_t max(size_t a, size_t b) { return a > b ? a : b; }

struct native_cut cvyi_native_cut(const struct native_work *work)
{
    struct native_cut cut = { work->blocks, 1, 1 };
    size_t wanted = max(work->wanted, 1), tiles = max(work->tiles, 1), tasks = 0;
    size_t regions = native_min(max(work->regions, 1), max(wanted, work->least_bands));
    double least = 0;
    for (size_t bands = native_min(max(work->least_bands, 1), regions); bands <= regions; bands++) {
        size_t parts = native_min(ceil_div(wanted, bands), tiles),
               n = native_min(bands * parts, wanted);
        double cost = work->streams ? work->streams(work->arg, bands, parts) : (double)bands;
        if (n < tasks || (n == tasks && cost > least)) continue;
        cut.bands = bands;
        cut.parts = parts;
        tasks = n;
        least = cost;
    }
    if (work->most > work->wanted) cut.parts = native_min(ceil_div(work->most, cut.bands), tiles);
    return cut;
}

size_t cvyi_native_rectangles(struct native_rectangles *r, size_t wanted)
{
    for (;;) {
        r->o_step = native_min(r->o_step, ceil_div(r->o, r->o_least) * r->o_least);
        r->i_step = native_min(r->i_step, r->i);
        r->o_ranges = ceil_div(r->o, r->o_step);
        r->i_ranges = ceil_div(r->i, r->i_step);
        size_t n = r->groups * r->o_ranges * r->i_ranges;
        bool fits = !r->most || r->o_step * r->i_step <= r->most;
        bool o = r->o_step > r->o_least, i = r->i_step > r->i_least;
        if ((n >= wanted && fits) || (!o && !i)) return n;
        if (i && (!o || r->i_step * r->i_weight >= r->o_step))
            r->i_step = ceil_div(r->i_step / 2, r->i_least) * r->i_least;
        else r->o_step = ceil_div(r->o_step / r->o_least, 2) * r->o_least;
    }
}
