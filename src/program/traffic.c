/* What a phase has to move at the least, for reports: the tensors of its ops that it declares to
 * read and to write, each once, as they are defined. How often a phase walks over them, the padding
 * of their layouts and what its backend keeps for itself are its own affair; what a time is held
 * against must not contain them. */
#include "program/program.h"

/* How many of `size` rows (or columns) some window of `windows` covers. */
static size_t covered(size_t size, size_t windows, size_t kernel, size_t stride, size_t dilation,
                      size_t pad)
{
    size_t sum = 0;
    for (size_t i = 0; i < size; i++) {
        bool hit = false;
        for (size_t k = 0; k < kernel && !hit; k++) {
            const size_t at = i + pad, tap = k * dilation;
            hit = at >= tap && (at - tap) % stride == 0 && (at - tap) / stride < windows;
        }
        sum += hit;
    }
    return sum;
}

/* The numbers of value `id` that an op reads. */
static double numbers_read(const struct cvyi_list *list, const struct cvy_op_desc *op, int id)
{
    cvy_shape s = cvyi_shape_of(list, id), y = { 0, 0, 0, 0 };
    if (op->kind == CVY_OP_CONV2D) y = cvyi_shape_of(list, op->out[CVY_CONV2D_Y]);
    if (op->kind == CVY_OP_CONV2D_BWD_WEIGHTS)
        y = cvyi_shape_of(list, op->in[CVY_CONV2D_BWD_WEIGHTS_DY]);
    /* all of them have X first */
    if (y.n && id == op->in[CVY_CONV2D_X]) {
        const cvy_conv2d_desc *c = &op->u.conv;
        s.h = covered(s.h, y.h, c->kernel[0], c->stride[0], c->dilation[0], c->pad[0]);
        s.w = covered(s.w, y.w, c->kernel[1], c->stride[1], c->dilation[1], c->pad[1]);
    }
    if (op->kind == CVY_OP_POOL) {
        const cvy_pool2d_desc *p = &op->u.pool;
        y = cvyi_shape_of(list, op->out[CVY_POOL_Y]);
        s.h = covered(s.h, y.h, p->kernel[0], p->stride[0], 1, p->pad[0]);
        s.w = covered(s.w, y.w, p->kernel[1], p->stride[1], 1, p->pad[1]);
    }
    if (op->kind == CVY_OP_SLICE) s = cvyi_shape_of(list, op->out[CVY_SLICE_Y]);
    return (double)s.n * (double)s.c * (double)s.h * (double)s.w;
}
_Static_assert((int)CVY_CONV2D_X == (int)CVY_CONV2D_BWD_WEIGHTS_X, "numbers_read");

/* Bytes of so many numbers of a value: floats, doubles where they are kept so; of the batch as the
 * caller holds it, bytes. */
static double bytes_of(const struct cvy_value *v, double numbers)
{
    if (v->role == CVY_ROLE_PRIVATE) return 0;
    if (v->role == CVY_ROLE_STATS) return (double)v->bytes;
    if (v->role == CVY_ROLE_INPUT) return numbers;
    return numbers * (double)(v->layout == CVY_LAYOUT_PLAIN64 ? sizeof(double) : sizeof(float));
}

static bool same_value(const struct cvy_plan *plan, int a, int b)
{
    return a >= 0 && cvyi_program_root(plan, a) == cvyi_program_root(plan, b);
}

/* The most that one of the phase's ops reads of value `id`; 0: none reads it. */
static double read_by_ops(const struct cvy_plan *plan, const struct cvyi_phase *phase, int id)
{
    double most = 0;
    for (size_t i = phase->first_op; i < phase->first_op + phase->n_ops; i++) {
        const struct cvy_op_desc *op = &plan->list.op[i];
        for (int k = 0; k < op->n_in; k++) {
            if (!same_value(plan, op->in[k], id)) continue;
            const double n = numbers_read(&plan->list, op, op->in[k]);
            most = n > most ? n : most;
        }
    }
    return most;
}

static bool touches(const struct cvy_plan *plan, const struct cvy_phase_desc *phase, int id,
                    bool *cell)
{
    bool any = false;
    *cell = true;
    for (int a = 0; a < phase->n_access; a++)
        if (same_value(plan, phase->access[a].value, id)) {
            any = true;
            *cell = *cell && cvyi_is_cell(phase->access[a].access);
        }
    return any;
}

/* Whether the phase that touched the value last before number p (step -1), or first behind it
 * (1), does so in the same task. */
static bool is_near(const struct cvy_plan *plan, size_t p, int id, int step)
{
    const struct cvyi_phase *phase = &plan->phase[p];
    bool cell;
    if (!touches(plan, &phase->desc, id, &cell) || !cell) return false;
    for (size_t q = p + (size_t)step; q < plan->n_phases; q += (size_t)step) {
        const struct cvyi_phase *other = &plan->phase[q];
        if (!touches(plan, &other->desc, id, &cell)) continue;
        return cell && other->stage == phase->stage && other->strand == phase->strand;
    }
    return false;
}

static bool is_updated(const struct cvy_plan *plan, const struct cvyi_phase *phase, int id)
{
    for (size_t i = phase->first_op; i < phase->first_op + phase->n_ops; i++)
        for (int k = 0; k < plan->list.op[i].n_in; k++)
            if (cvyi_op_updates(&plan->list.op[i], k) &&
                same_value(plan, plan->list.op[i].in[k], id))
                return true;
    return false;
}

/* Whether a phase's a-th access is one that it declared before, of an alias. */
static bool is_repeated(const struct cvy_plan *plan, const struct cvy_phase_desc *phase, int a)
{
    for (int i = 0; i < a; i++)
        if (cvyi_writes(phase->access[i].access) == cvyi_writes(phase->access[a].access) &&
            same_value(plan, phase->access[i].value, phase->access[a].value))
            return true;
    return false;
}

static bool writes(const struct cvy_plan *plan, const struct cvy_phase_desc *phase, int id)
{
    for (int a = 0; a < phase->n_access; a++)
        if (cvyi_writes(phase->access[a].access) && same_value(plan, phase->access[a].value, id))
            return true;
    return false;
}

static void add(const struct cvy_plan *plan, size_t p, int id, bool write, cvy_phase_info *info)
{
    const struct cvyi_phase *phase = &plan->phase[p];
    const struct cvy_value *v = cvy_plan_value(plan, id);
    const cvy_shape s = v->shape;
    const double all = (double)s.n * (double)s.c * (double)s.h * (double)s.w,
                 read = write ? 0 : read_by_ops(plan, phase, id),
                 bytes = bytes_of(v, read > 0 ? read : all);
    *(write ? &info->bytes_written : &info->bytes_read) += bytes;
    if (is_near(plan, p, id, write ? 1 : -1))
        *(write ? &info->near_written : &info->near_read) += bytes;
}

/* Operands that a phase which multiplies takes from copies of them. */
static void add_copied(const struct cvy_plan *plan, size_t p, cvy_phase_info *info)
{
    const struct cvyi_phase *phase = &plan->phase[p];
    bool cell;
    for (size_t i = phase->first_op; i < phase->first_op + phase->n_ops; i++) {
        const struct cvy_op_desc *op = &plan->list.op[i];
        if (cvyi_op_flops(&plan->list, op) <= 0) continue;
        for (int k = 0; k < op->n_in; k++)
            if (op->in[k] >= 0 && !touches(plan, &phase->desc, op->in[k], &cell))
                add(plan, p, op->in[k], false, info);
    }
}

void cvyi_program_traffic(const struct cvy_plan *plan, size_t p, cvy_phase_info *info)
{
    const struct cvyi_phase *phase = &plan->phase[p];
    const bool multiplies = phase->desc.flops > 0;
    for (int a = 0; a < phase->desc.n_access; a++) {
        const int id = phase->desc.access[a].value;
        const bool write = cvyi_writes(phase->desc.access[a].access);
        if (is_repeated(plan, &phase->desc, a)) continue;
        if (write && is_updated(plan, phase, id)) add(plan, p, id, false, info);
        /* what it reads of its own results is not read from anywhere */
        if (!write && writes(plan, &phase->desc, id)) continue;
        if (!write && multiplies && read_by_ops(plan, phase, id) <= 0) continue; /* a copy */
        add(plan, p, id, write, info);
    }
    if (multiplies) add_copied(plan, p, info);
}
