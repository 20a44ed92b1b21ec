/* Where every buffer of a program lies. Transient ones share one arena by their lifetimes in
 * stages; those that outlive a step (parameters, their gradients and packings, what users read) lie
 * in a block of their own. Measuring is binding: one placement gives the size and the addresses,
 * and memory is taken later, if at all. Knows stages and sizes, not ops. */
#include "program/program.h"

#include <string.h>
#include <sys/mman.h>

#define HUGE ((size_t)2 << 20)

static bool round_up(size_t *bytes, size_t unit)
{
    if (*bytes > SIZE_MAX - unit) return false;
    *bytes = (*bytes + unit - 1) / unit * unit;
    return true;
}

/* Whether the place at `offset` is free for slot s: none of the n that were placed and lie there
 * lives with it. */
static bool is_free(const struct cvyi_slot *slot, const size_t *order, size_t n, size_t offset,
                    const struct cvyi_slot *s)
{
    for (size_t j = 0; j < n; j++) {
        const struct cvyi_slot *o = &slot[order[j]];
        if (o->bytes && o->offset == offset && o->first <= s->last && s->first <= o->last)
            return false;
    }
    return true;
}

/* Earliest first, into the place of a dead buffer of the same size, else behind all: so a size has
 * as many places as it has buffers alive at once. Of the same size only, because then image block b
 * lies where the other's block b lay, and the core that has b has the lines already
 * (docs/decisions/0009). */
size_t cvyi_memory_place(struct cvyi_slot *slot, size_t n, size_t *order)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = i;
        for (; k > 0 && slot[order[k - 1]].first > slot[i].first; k--) order[k] = order[k - 1];
        order[k] = i;
    }
    for (size_t i = 0; i < n; i++) {
        struct cvyi_slot *s = &slot[order[i]];
        s->offset = total;
        for (size_t j = 0; j < i && s->offset == total; j++) {
            const struct cvyi_slot *o = &slot[order[j]];
            if (o->bytes == s->bytes && is_free(slot, order, i, o->offset, s))
                s->offset = o->offset;
        }
        if (s->offset < total) continue;
        if (s->bytes > SIZE_MAX - total) return SIZE_MAX;
        total += s->bytes;
    }
    return total;
}

/* Largest first, each into the lowest gap among those that live with it, whatever their sizes:
 * within a few percent of what is alive at once. A block of images lies anywhere then, and its core
 * has to fetch it. */
size_t cvyi_memory_pack(struct cvyi_slot *slot, size_t n, size_t *order)
{
    size_t total = 0, *placed = order + n, n_placed = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = i;
        for (; k > 0 && slot[order[k - 1]].bytes < slot[i].bytes; k--) order[k] = order[k - 1];
        order[k] = i;
    }
    for (size_t i = 0; i < n; i++) {
        struct cvyi_slot *s = &slot[order[i]];
        size_t k = n_placed++;
        s->offset = 0;
        for (size_t j = 0; j < k; j++) {
            const struct cvyi_slot *o = &slot[placed[j]];
            if (o->first > s->last || s->first > o->last || o->offset + o->bytes <= s->offset)
                continue;
            if (o->offset >= s->offset && o->offset - s->offset >= s->bytes) break;
            s->offset = o->offset + o->bytes;
        }
        if (s->bytes > SIZE_MAX - s->offset) return SIZE_MAX;
        if (s->offset + s->bytes > total) total = s->offset + s->bytes;
        for (; k > 0 && slot[placed[k - 1]].offset > s->offset; k--) placed[k] = placed[k - 1];
        placed[k] = order[i];
    }
    return total;
}

/* Zeroed. Large blocks lie on huge pages where the system grants them: a step walks all of its
 * arena, and TLB misses are what it would wait for. */
static enum cvy_status block_alloc(struct cvy_context *ctx, size_t bytes, void **block)
{
    if (bytes < HUGE) {
        *block = cvyi_alloc(ctx, bytes);
        return *block ? CVY_OK : CVY_E_NOMEM;
    }
    const cvy_allocator *a = &ctx->options.allocator;
    size_t rounded = bytes;
    *block = NULL;
    if (round_up(&rounded, HUGE)) CVYI_HOST_CALL(ctx, *block = a->alloc(a->user, rounded, HUGE));
    if (!*block)
        return cvyi_fail(ctx, CVY_E_NOMEM,
                         "out of memory: the program needs %zu bytes in one piece", bytes);
    (void)madvise(*block, rounded, MADV_HUGEPAGE); /* a hint; refusal changes nothing */
    memset(*block, 0, rounded);
    return CVY_OK;
}
static enum cvy_status too_large(const struct cvy_plan *plan)
{
    return cvyi_fail(plan->ctx, CVY_E_NOMEM,
                     "the program's memory does not fit into the address space");
}

/* First and last stage of every buffer; a transient one must be written before it is read. */
static enum cvy_status lifetimes(struct cvy_plan *plan, struct cvyi_slot *slot, bool *used)
{
    /* program order, so the first access seen is the first in time */
    for (size_t p = 0; p < plan->n_phases; p++) {
        const struct cvyi_phase *phase = &plan->phase[p];
        bool *written = used + cvyi_program_values(plan);
        for (int pass = 0; pass < 2; pass++)
            for (int a = 0; a < phase->desc.n_access; a++) {
                int id = cvyi_program_root(plan, phase->desc.access[a].value);
                enum cvy_access access = phase->desc.access[a].access;
                bool write = cvyi_writes(access);
                const struct cvy_value *v = cvy_plan_value(plan, id);
                if (v->role == CVY_ROLE_INPUT || v->external) continue;
                /* what a phase both writes and reads, it writes first */
                if (write == (pass == 0)) {
                    if (write) written[id] = true;
                    else if (!written[id] && !cvyi_program_persistent(plan, id))
                        return cvyi_fail(plan->ctx, CVY_E_BACKEND,
                                         "phase %s of backend %s reads %s, which nothing has"
                                         " written",
                                         phase->desc.name, plan->backend[phase->backend]->name,
                                         v->name);
                }
                if (!used[id] || phase->stage < slot[id].first) slot[id].first = phase->stage;
                if (!used[id] || phase->stage > slot[id].last) slot[id].last = phase->stage;
                used[id] = true;
            }
    }
    return CVY_OK;
}

/* Whether phase p may write value `to` where `from` lies: transient, of one size, and nobody else
 * touches `from` at the same time or later, or `to` earlier. A phase of the same strand comes
 * before or after p in every task. */
static bool may_share(const struct cvy_plan *plan, size_t p, int from, int to)
{
    const struct cvy_value *a = cvy_plan_value(plan, from), *b = cvy_plan_value(plan, to);
    if (a->external || b->external || a->role == CVY_ROLE_INPUT || a->bytes != b->bytes ||
        a->plane != b->plane || cvyi_program_persistent(plan, from) ||
        cvyi_program_persistent(plan, to))
        return false;
    const struct cvyi_phase *phase = &plan->phase[p];
    for (size_t q = 0; q < plan->n_phases; q++) {
        const struct cvyi_phase *other = &plan->phase[q];
        if (q == p) continue;
        for (int i = 0; i < other->desc.n_access; i++) {
            int id = cvyi_program_root(plan, other->desc.access[i].value);
            bool together = other->stage == phase->stage && other->strand == phase->strand;
            if (id == from && !(other->stage < phase->stage || (together && q < p))) return false;
            if (id == to && !(other->stage > phase->stage || (together && q > p))) return false;
        }
    }
    return true;
}

/* Values that lie in another's place: home[to] = from, and from's slot lives as long as both. */
static void share_places(struct cvy_plan *plan)
{
    struct cvyi_slot *slot = plan->slot;
    size_t *home = plan->home;
    for (size_t i = 0; i < cvyi_program_values(plan); i++) home[i] = i;
    for (size_t p = 0; p < plan->n_phases; p++) {
        const struct cvy_phase_desc *phase = &plan->phase[p].desc;
        if (phase->in_place.from == phase->in_place.to) continue;
        int from = cvyi_program_root(plan, phase->in_place.from),
            to = cvyi_program_root(plan, phase->in_place.to);
        if (!may_share(plan, p, from, to)) continue;
        size_t root = home[from];
        home[to] = root;
        if (slot[to].last > slot[root].last) slot[root].last = slot[to].last;
    }
}

static enum cvy_status place(struct cvy_plan *plan, struct cvyi_slot *dense, size_t *work,
                             const bool *used)
{
    size_t n = cvyi_program_values(plan), m = 0;
    size_t *member = work, *order = work + n;
    share_places(plan);
    plan->fixed_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const struct cvy_value *v = cvy_plan_value(plan, (int)i);
        struct cvyi_slot *slot = &plan->slot[i];
        plan->offset[i] = slot->offset = SIZE_MAX;
        if (v->alias >= 0 || v->external || v->role == CVY_ROLE_INPUT) continue;
        if (i < plan->list.n_values && plan->info[i].shared) continue;
        size_t bytes = v->bytes;
        if (!round_up(&bytes, 64)) return too_large(plan);
        if (cvyi_program_persistent(plan, (int)i)) {
            slot->offset = plan->fixed_bytes;
            if (bytes > SIZE_MAX - plan->fixed_bytes) return too_large(plan);
            plan->fixed_bytes += bytes;
        } else if (used[i] && plan->home[i] == i) {
            slot->bytes = bytes;
            dense[m] = (struct cvyi_slot){ bytes, slot->first, slot->last, 0 };
            member[m++] = i;
        }
    }
    plan->arena_bytes = plan->options.packed ? cvyi_memory_pack(dense, m, order)
                                             : cvyi_memory_place(dense, m, order);
    if (plan->arena_bytes == SIZE_MAX) return too_large(plan);
    for (size_t i = 0; i < m; i++) plan->offset[member[i]] = dense[i].offset;
    for (size_t i = 0; i < n; i++)
        if (plan->home[i] != i) plan->offset[i] = plan->offset[plan->home[i]];
    return CVY_OK;
}

enum cvy_status cvyi_memory_allocate(struct cvy_plan *plan)
{
    struct cvy_context *ctx = plan->ctx;
    size_t n = cvyi_program_values(plan), threads = ctx->options.threads, scratch;
    if (!cvyi_mul(plan->scratch_bytes, threads, &scratch)) return too_large(plan);
    if (plan->options.dry_run) return CVY_OK;
    CVYI_TRY(block_alloc(ctx, plan->fixed_bytes, &plan->fixed));
    CVYI_TRY(block_alloc(ctx, plan->arena_bytes, &plan->arena));
    CVYI_TRY(block_alloc(ctx, scratch, &plan->scratch));
    for (size_t i = 0; i < threads; i++)
        plan->worker[i] = (struct cvy_worker){ i, (char *)plan->scratch + i * plan->scratch_bytes };
    for (size_t i = 0; i < n; i++)
        if (plan->slot[i].offset != SIZE_MAX)
            plan->buf[i] = (char *)plan->fixed + plan->slot[i].offset;
    for (size_t i = 0; plan->options.share && i < plan->list.n_values; i++)
        if (plan->info[i].shared) {
            const struct cvy_value *v = &plan->list.value[i];
            plan->buf[i] =
                plan->options.share->buf[cvyi_program_find(plan->options.share, v->role, v->name)];
        }
    cvyi_program_bind_arena(plan, NULL);
    return CVY_OK;
}

void cvyi_program_bind_arena(struct cvy_plan *plan, void *arena)
{
    size_t n = cvyi_program_values(plan);
    char *base = arena ? arena : plan->arena;
    for (size_t i = 0; i < n; i++)
        if (plan->offset[i] != SIZE_MAX) plan->buf[i] = base + plan->offset[i];
    for (size_t i = 0; i < n; i++) {
        char *root = plan->buf[cvyi_program_root(plan, (int)i)];
        plan->buf[i] = root ? root + cvyi_program_inside(plan, (int)i) : NULL;
    }
}

void cvyi_program_bind(struct cvy_plan *plan, int id, void *address)
{
    for (size_t i = 0; i < plan->list.n_values; i++)
        if (cvyi_program_root(plan, (int)i) == id) plan->buf[i] = address;
}

enum cvy_status cvyi_memory_build(struct cvy_plan *plan)
{
    struct cvy_context *ctx = plan->ctx;
    size_t n = cvyi_program_values(plan);
    plan->scratch_bytes = 0;
    for (size_t i = 0; i < plan->n_phases; i++)
        if (plan->phase[i].desc.scratch_bytes > plan->scratch_bytes)
            plan->scratch_bytes = plan->phase[i].desc.scratch_bytes;
    if (!round_up(&plan->scratch_bytes, 64)) return too_large(plan);
    plan->buf = cvyi_alloc_array(ctx, n, sizeof *plan->buf);
    plan->offset = cvyi_alloc_array(ctx, n, sizeof *plan->offset);
    plan->slot = cvyi_alloc_array(ctx, n, sizeof *plan->slot);
    plan->home = cvyi_alloc_array(ctx, n, sizeof *plan->home);
    plan->worker = cvyi_alloc_array(ctx, ctx->options.threads, sizeof *plan->worker);
    struct cvyi_slot *dense = cvyi_alloc_array(ctx, n, sizeof *dense);
    size_t *work = cvyi_alloc_array(ctx, n, 3 * sizeof *work);
    bool *used = cvyi_alloc_array(ctx, n, 2 * sizeof *used);
    enum cvy_status status = CVY_E_NOMEM;
    if (plan->buf && plan->offset && plan->slot && plan->home && plan->worker && dense && work &&
        used) {
        status = lifetimes(plan, plan->slot, used);
        if (status == CVY_OK) status = place(plan, dense, work, used);
    }
    cvyi_free(ctx, dense);
    cvyi_free(ctx, work);
    cvyi_free(ctx, used);
    return status;
}

void cvyi_memory_free(struct cvy_plan *plan)
{
    struct cvy_context *ctx = plan->ctx;
    cvyi_free(ctx, plan->fixed);
    cvyi_free(ctx, plan->arena);
    cvyi_free(ctx, plan->scratch);
    cvyi_free(ctx, plan->worker);
    cvyi_free(ctx, plan->buf);
    cvyi_free(ctx, plan->offset);
    cvyi_free(ctx, plan->slot);
    cvyi_free(ctx, plan->home);
}
