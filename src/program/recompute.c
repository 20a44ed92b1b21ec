/* A program within a memory limit. What does not fit as it is has its buffers packed, whatever
 * their sizes; if that is not enough, results of the forward pass that are cheap to make are not
 * kept for their gradients but made again before them, until the rest fits: at each time the
 * cheapest of those that are alive where most is. Which they are is found in the program that keeps
 * everything, whose stages and buffers the other one shares but for these; what comes of it is
 * measured by compiling. The bits are the same. Knows lists of ops, phases' accesses and places;
 * not what any op computes, nor how (docs/decisions/0011). */
#include "program/compile.h"

/* What is made again is the first output of its op, of whatever kind. */
enum { RESULT };

/* A buffer of the arena, by the root value that has it, in the program that keeps everything. */
struct kept {
    size_t bytes, first, last; /* as its slot; bytes 0: it has none of its own */
    size_t forward;            /* the last stage of the forward pass that touches it */
    size_t needed;             /* the stage before the first gradient that reads it */
    bool read, may;            /* gradients read it; it can be made again for all of them */
    double cost;               /* bytes that this moves */
    bool forgotten;
    size_t from, until; /* then, of what is made again: the first and the last stage of it */
};

struct recompute {
    struct cvy_context *ctx;
    const struct cvyi_list *list;
    size_t loss, n_stages, n_kept;
    struct kept *kept;
    size_t *piece; /* by op: where its piece starts */
    size_t *live;  /* by stage, and one more: bytes alive */
    struct made *made;
};

/* By value of the list. */
struct made {
    int root;          /* whose buffer it has */
    int maker;         /* the op before the loss that makes it; -1 */
    int again;         /* what takes its place behind the loss; -1 */
    bool can;          /* be made again */
    bool asked;        /* by gradients */
    bool wanted;       /* made again, at the moment */
    double read, cost; /* bytes moved to have it behind the loss; and to make it, unwritten */
    size_t need;       /* of what is wanted: the stage */
};

bool cvyi_recompute_is_again(const struct cvy_plan *plan, size_t i)
{
    if (!plan->options.again) return false;
    while (i + 1 < plan->list.n_ops && plan->list.op[i].kind == CVY_OP_REORDER) i++;
    const struct cvy_op_desc *op = &plan->list.op[i];
    return op->n_out && op->out[RESULT] >= (int)plan->options.again &&
           (size_t)op->out[RESULT] < plan->again_end;
}

/* The value of the list whose numbers a reshaped one has. */
static int base_of(const struct cvyi_list *list, int id)
{
    while (list->value[id].alias >= 0) id = list->value[id].alias;
    return id;
}

/* ------------------------------------------------------------------------------------- analysis */

static bool allocate(struct recompute *r, const struct cvy_plan *plan)
{
    r->n_kept = cvyi_program_values(plan);
    r->n_stages = plan->n_stages;
    r->kept = cvyi_alloc_array(r->ctx, r->n_kept, sizeof *r->kept);
    r->piece = cvyi_alloc_array(r->ctx, r->list->n_ops, sizeof *r->piece);
    r->live = cvyi_alloc_array(r->ctx, r->n_stages + 1, sizeof *r->live);
    r->made = cvyi_alloc_array(r->ctx, r->list->n_values, sizeof *r->made);
    return r->kept && r->piece && r->live && r->made;
}

static void release(struct recompute *r)
{
    cvyi_free(r->ctx, r->kept);
    cvyi_free(r->ctx, r->piece);
    cvyi_free(r->ctx, r->live);
    cvyi_free(r->ctx, r->made);
}

/* Places in the arena, and until when the forward pass and from when on gradients touch them. Those
 * that several values have one after the other, and what gradients write, stay as they are. */
static void find_kept(struct recompute *r, const struct cvy_plan *plan, size_t loss_stage)
{
    for (size_t i = 0; i < r->n_kept; i++) {
        const struct cvyi_slot *slot = &plan->slot[i];
        r->kept[i] = (struct kept){ .bytes = slot->bytes,
                                    .first = slot->first,
                                    .last = slot->last,
                                    .needed = SIZE_MAX,
                                    .may = slot->bytes > 0 };
    }
    for (size_t p = 0; p < plan->n_phases; p++) {
        const struct cvyi_phase *phase = &plan->phase[p];
        for (int a = 0; a < phase->desc.n_access; a++) {
            struct kept *k = &r->kept[cvyi_program_root(plan, phase->desc.access[a].value)];
            if (!phase->backward) {
                if (phase->stage > k->forward) k->forward = phase->stage;
                continue;
            }
            k->read = true;
            if (cvyi_writes(phase->desc.access[a].access)) k->may = false;
            if (phase->stage <= k->needed) k->needed = phase->stage - 1; /* behind the loss's */
        }
    }
    for (size_t i = 0; i < r->n_kept; i++) {
        struct kept *k = &r->kept[i];
        if (plan->home[i] != i) r->kept[plan->home[i]].may = false;
        if (!k->read || k->needed < loss_stage || k->needed <= k->forward + 1) k->may = false;
    }
}

static double bytes_of(const struct recompute *r, int id)
{
    const cvy_shape s = r->list->value[id].shape;
    return (double)sizeof(float) * (double)s.n * (double)s.c * (double)s.h * (double)s.w;
}

/* Whether a value can be read behind the loss as it is. */
static bool stays(const struct recompute *r, int id)
{
    const struct cvy_value *v = &r->list->value[id];
    const struct kept *k = &r->kept[r->made[id].root];
    return v->role != CVY_ROLE_ACTIVATION || v->external || (k->read && !k->forgotten);
}

/* Who makes what before the loss, what of it can be made again, and what that moves. What lies in
 * one buffer goes with it. */
static void find_makers(struct recompute *r)
{
    const struct cvyi_list *list = r->list;
    for (size_t i = 0; i < list->n_values; i++) {
        struct made *m = &r->made[i];
        m->maker = m->again = -1;
        if (list->value[i].role == CVY_ROLE_ACTIVATION && stays(r, (int)i))
            m->read = bytes_of(r, (int)i);
    }
    for (size_t i = 0; i < r->loss; i++) {
        const struct cvy_op_desc *op = &list->op[i];
        struct made *y = op->n_out && op->out[RESULT] >= 0 ? &r->made[op->out[RESULT]] : NULL;
        bool can = cvyi_op_repeats(op);
        for (int k = 0; k < op->n_out; k++)
            if (op->out[k] >= 0) r->made[op->out[k]].maker = (int)i;
        for (int k = 0; y && k < op->n_in; k++) {
            int id = op->in[k] < 0 ? -1 : base_of(list, op->in[k]);
            if (id < 0) continue;
            bool there = stays(r, id) && r->made[id].root != y->root;
            can = can && (there || r->made[id].can);
            y->cost += r->made[id].read;
        }
        if (!y) continue;
        y->can = can;
        if (!stays(r, op->out[RESULT])) y->read = y->cost;
    }
}

/* A buffer can be forgotten if all that lies in it can be made again. */
static void find_costs(struct recompute *r)
{
    const struct cvyi_list *list = r->list;
    for (size_t i = r->loss + 1; i < list->n_ops; i++)
        for (int k = 0; k < list->op[i].n_in; k++)
            if (list->op[i].in[k] >= 0) r->made[base_of(list, list->op[i].in[k])].asked = true;
    for (size_t i = 0; i < list->n_values; i++) {
        const struct made *m = &r->made[i];
        struct kept *k = &r->kept[m->root];
        if (m->maker >= 0 && !m->can) k->may = false;
        if (m->maker >= 0 && m->asked) k->cost += m->cost + bytes_of(r, (int)i);
    }
}

static enum cvy_status analyse(struct recompute *r, const struct cvy_plan *plan)
{
    size_t loss_stage = 0;
    if (!allocate(r, plan)) return CVY_E_NOMEM;
    for (size_t p = 0; p < plan->n_phases; p++) {
        const struct cvyi_phase *phase = &plan->phase[p];
        if (phase->n_ops && plan->list.op[phase->first_op].kind == CVY_OP_LOSS)
            loss_stage = phase->stage;
    }
    for (size_t i = 0; i < r->list->n_values; i++)
        r->made[i].root = cvyi_program_root(plan, (int)i);
    for (size_t i = 0; i < r->list->n_ops;) {
        size_t n = (size_t)plan->piece[i];
        for (size_t k = 0; k < n; k++) r->piece[i + k] = i;
        i += n;
    }
    find_kept(r, plan, loss_stage);
    find_makers(r);
    find_costs(r);
    return CVY_OK;
}

/* ------------------------------------------------------------------------------------- choosing */

/* So many bytes more in stages [first, end), or fewer. As differences, until they are summed. */
static void alive(struct recompute *r, size_t first, size_t end, size_t bytes)
{
    if (first >= end) return;
    r->live[first] += bytes;
    r->live[end] -= bytes; /* sizes wrap around and back */
}

/* Value id is read where something is made again, in `stage`: it is made there, too, or lives until
 * then. */
static void reach(struct recompute *r, int id, size_t stage)
{
    struct made *m = &r->made[id];
    struct kept *k = &r->kept[m->root];
    if (r->list->value[id].role != CVY_ROLE_ACTIVATION) return;
    if (stage > k->until) k->until = stage;
    if (stage < k->from) k->from = stage;
    if (stays(r, id)) return;
    if (!m->wanted || stage < m->need) m->need = stage;
    m->wanted = true;
}

/* What making again changes in a buffer's life. */
static void relive(struct recompute *r, const struct kept *k)
{
    if (k->from == SIZE_MAX) return;
    if (!k->read) alive(r, k->from, k->until + 1, k->bytes); /* for a moment */
    else if (!k->forgotten) alive(r, k->last + 1, k->until + 1, k->bytes);
    else alive(r, k->forward + 1, k->from, -k->bytes);
}

/* Bytes alive in every stage, with what is forgotten; answers where they are most. */
static size_t measure(struct recompute *r)
{
    const struct cvyi_list *list = r->list;
    size_t most = 0;
    for (size_t t = 0; t <= r->n_stages; t++) r->live[t] = 0;
    for (size_t i = 0; i < list->n_values; i++) r->made[i].wanted = false;
    for (size_t i = 0; i < r->n_kept; i++) {
        struct kept *k = &r->kept[i];
        k->from = SIZE_MAX;
        k->until = 0;
        alive(r, k->first, k->last + 1, k->bytes);
    }
    for (size_t i = 0; i < list->n_values; i++) {
        const struct kept *k = &r->kept[r->made[i].root];
        if (k->forgotten && r->made[i].asked) reach(r, (int)i, k->needed);
    }
    for (size_t i = r->loss; i-- > 0;) {
        const struct cvy_op_desc *op = &list->op[i];
        if (!op->n_out || op->out[RESULT] < 0 || !r->made[op->out[RESULT]].wanted) continue;
        for (int k = 0; k < op->n_in; k++)
            if (op->in[k] >= 0) reach(r, base_of(list, op->in[k]), r->made[op->out[RESULT]].need);
    }
    for (size_t i = 0; i < r->n_kept; i++) relive(r, &r->kept[i]);
    for (size_t t = 0; t < r->n_stages; t++) {
        if (t > 0) r->live[t] += r->live[t - 1];
        if (r->live[t] > r->live[most]) most = t;
    }
    return most;
}

/* Forgets one more: what frees most, for what it costs, where most is alive. False: nothing
 * does. */
static bool forget(struct recompute *r)
{
    size_t peak = measure(r), most = r->live[peak];
    struct kept *best = NULL;
    double gain = 0;
    for (size_t i = 0; i < r->n_kept; i++) {
        struct kept *k = &r->kept[i];
        if (!k->may || k->forgotten || k->first > peak || k->last < peak) continue;
        k->forgotten = true;
        size_t now = r->live[measure(r)];
        double freed = (double)most - (double)r->live[peak];
        if (now <= most && freed / k->cost > gain) {
            gain = freed / k->cost;
            best = k;
        }
        k->forgotten = false;
    }
    if (best) best->forgotten = true;
    return best;
}

/* --------------------------------------------------------------------------------- the new list */

/* The value that takes the place of `id` behind the loss; itself, where it stays. */
static int substitute(struct recompute *r, struct cvyi_list *to, int id)
{
    const struct cvy_value *v = &r->list->value[id];
    int base = base_of(r->list, id);
    if (r->made[base].again < 0) return id;
    if (r->made[id].again < 0)
        r->made[id].again = cvyi_list_reshape(to, r->made[base].again, v->shape, v->name, ".again");
    return r->made[id].again;
}

/* Marks what has to be made again before value id can be: *first is the first op of it. */
static void want(struct recompute *r, int id, size_t *first)
{
    const struct cvyi_list *list = r->list;
    for (size_t i = 0; i < list->n_values; i++) r->made[i].wanted = (int)i == id;
    for (size_t i = (size_t)r->made[id].maker + 1; i-- > 0;) {
        const struct cvy_op_desc *op = &list->op[i];
        const struct made *y = op->n_out && op->out[RESULT] >= 0 ? &r->made[op->out[RESULT]] : NULL;
        if (!y || !y->wanted || y->again >= 0) continue;
        *first = i;
        for (int k = 0; k < op->n_in; k++) {
            int in = op->in[k] < 0 ? -1 : base_of(list, op->in[k]);
            if (in >= 0 && !stays(r, in)) r->made[in].wanted = true;
        }
    }
}

/* Appends what makes value id again, in the order in which it was made. */
static void make(struct recompute *r, struct cvyi_list *to, int id)
{
    size_t first = SIZE_MAX, last = (size_t)r->made[id].maker;
    want(r, id, &first);
    for (size_t i = first; i <= last && !to->status; i++) {
        struct cvy_op_desc op = r->list->op[i];
        struct made *y = op.n_out && op.out[RESULT] >= 0 ? &r->made[op.out[RESULT]] : NULL;
        if (!y || !y->wanted || y->again >= 0) continue;
        const struct cvy_value *v = &r->list->value[op.out[RESULT]];
        for (int k = 0; k < op.n_in; k++)
            if (op.in[k] >= 0) op.in[k] = substitute(r, to, op.in[k]);
        for (int k = 1; k < op.n_out; k++) op.out[k] = -1;
        op.out[RESULT] = y->again =
            cvyi_list_value(to, CVY_ROLE_ACTIVATION, v->shape, "%s.again", v->name);
        (void)cvyi_list_copy_op(to, &op, ".again");
    }
}

static bool is_forgotten(const struct recompute *r, int id)
{
    int base = id < 0 ? -1 : base_of(r->list, id);
    return base >= 0 && r->kept[r->made[base].root].forgotten && r->made[base].maker >= 0;
}

/* What the piece that starts at op i reads, and is forgotten. */
static void make_for(struct recompute *r, struct cvyi_list *to, size_t i)
{
    for (size_t j = i; j < r->list->n_ops && r->piece[j] == i; j++) {
        const struct cvy_op_desc *op = &r->list->op[j];
        for (int k = 0; k < op->n_in && !to->status; k++) {
            int base = is_forgotten(r, op->in[k]) ? base_of(r->list, op->in[k]) : -1;
            if (base >= 0 && r->made[base].again < 0) make(r, to, base);
        }
    }
}

/* The list with what is forgotten made again, before the first piece of gradients that reads it: so
 * what was fused stays so. */
static enum cvy_status rewrite(struct recompute *r, struct cvyi_list *to)
{
    const struct cvyi_list *list = r->list;
    CVYI_TRY(cvyi_list_copy_values(list, to));
    for (size_t i = 0; i < list->n_values && r->made; i++) r->made[i].again = -1;
    for (size_t i = 0; i < list->n_ops && !to->status; i++) {
        struct cvy_op_desc op = list->op[i];
        if (r->made && i > r->loss) {
            make_for(r, to, i);
            for (int k = 0; k < op.n_in && !to->status; k++)
                if (is_forgotten(r, op.in[k])) op.in[k] = substitute(r, to, op.in[k]);
        }
        (void)cvyi_list_copy_op(to, &op, "");
    }
    return to->status;
}

/* ------------------------------------------------------------------------------------ compiling */

static enum cvy_status attempt(struct recompute *r, const struct cvyi_program_options *options,
                               struct cvy_plan **plan)
{
    struct cvyi_list list;
    enum cvy_status status = rewrite(r, &list);
    if (status == CVY_OK) return cvyi_compile(r->ctx, &list, options, plan);
    cvyi_list_free(&list);
    return status;
}

/* Forgets until the rest fits. What is measured has gaps and packings that the estimate does not
 * know, so its goal sinks by what was too much. */
static enum cvy_status shrink(struct recompute *r, struct cvyi_program_options options,
                              struct cvy_plan **plan)
{
    size_t limit = options.memory_limit, least = cvyi_program_bytes(*plan),
           fixed = least - (*plan)->arena_bytes, goal = limit > fixed ? limit - fixed : 0;
    options.packed = true;
    options.again = r->list->n_values;
    for (bool more = true; more;) {
        bool one = false;
        do {
            more = forget(r);
            one = one || more;
        } while (more && r->live[measure(r)] > goal);
        if (!one) break;
        cvyi_program_destroy(plan);
        CVYI_TRY(attempt(r, &options, plan));
        size_t bytes = cvyi_program_bytes(*plan), over = bytes > limit ? bytes - limit : 0;
        if (!over) return CVY_OK;
        if (bytes < least) least = bytes;
        goal = goal > over ? goal - over : 0;
    }
    return cvyi_fail(r->ctx, CVY_E_NOMEM,
                     "the memory limit is %zu bytes, and the net needs %zu in batches of %zu, with "
                     "what can be recomputed recomputed",
                     limit, least, options.capacity);
}

static enum cvy_status compile(struct recompute *r, const struct cvyi_program_options *options,
                               struct cvy_plan **plan)
{
    CVYI_TRY(attempt(r, options, plan)); /* nothing is forgotten yet */
    if (cvyi_program_bytes(*plan) <= options->memory_limit) return CVY_OK;
    (*plan)->options.packed = true;
    cvyi_memory_free(*plan);
    CVYI_TRY(cvyi_memory_build(*plan));
    if (cvyi_program_bytes(*plan) <= options->memory_limit) return CVY_OK;
    CVYI_TRY(analyse(r, *plan));
    return shrink(r, *options, plan);
}

enum cvy_status cvyi_recompute(struct cvy_context *ctx, struct cvyi_list *list,
                               const struct cvyi_program_options *options, struct cvy_plan **plan)
{
    struct recompute r = { .ctx = ctx, .list = list };
    enum cvy_status status = list->status;
    *plan = NULL;
    while (r.loss < list->n_ops && list->op[r.loss].kind != CVY_OP_LOSS) r.loss++;
    if (status == CVY_OK) status = compile(&r, options, plan);
    release(&r);
    cvyi_list_free(list);
    if (status != CVY_OK) cvyi_program_destroy(plan);
    return status;
}
