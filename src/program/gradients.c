/* What comes between the last gradient and the first update: gradients of several steps are summed,
 * and all of them as one vector are made as short as allowed. Their layouts are the plain ones of
 * parameters, whoever made them, so this is one piece of code for all backends; and one thread, one
 * order, so it is the same numbers everywhere. Knows values, not what they are gradients of. And
 * the penalty, the part of the loss that no op computes: its gradient is UPDATE's affair. */
#include "program/program.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 1024 };

static size_t elements(const struct cvy_value *v)
{
    return v->shape.n * v->shape.c * v->shape.h * v->shape.w;
}

static double read_at(const struct cvy_value *v, const void *buffer, size_t i)
{
    return v->layout == CVY_LAYOUT_PLAIN64 ? ((const double *)buffer)[i]
                                           : (double)((const float *)buffer)[i];
}
static void write_at(const struct cvy_value *v, void *buffer, size_t i, double x)
{
    if (v->layout == CVY_LAYOUT_PLAIN64) ((double *)buffer)[i] = x;
    else ((float *)buffer)[i] = (float)x;
}

static bool is_gradient(const struct cvy_value *v)
{
    return v->role == CVY_ROLE_WEIGHT_GRAD && v->state != CVYI_NOBODYS;
}

/* Four chains in double, which meet in one order: the square of a float is exact. */
static double squares_of(const struct cvy_value *v, const void *buffer, size_t first, size_t end)
{
    double s[4] = { 0, 0, 0, 0 };
    size_t i = first;
    for (; i + 4 <= end; i += 4)
        for (size_t k = 0; k < 4; k++)
            s[k] += read_at(v, buffer, i + k) * read_at(v, buffer, i + k);
    for (; i < end; i++) s[0] += read_at(v, buffer, i) * read_at(v, buffer, i);
    return (s[0] + s[1]) + (s[2] + s[3]);
}

static double squares(const struct cvy_value *v, const void *buffer)
{
    double sum = 0;
    for (size_t n = elements(v), i = 0; i < n; i += BLOCK)
        sum += squares_of(v, buffer, i, n - i < BLOCK ? n : i + BLOCK);
    return sum;
}

static void scale(const struct cvy_value *v, void *buffer, double factor)
{
    for (size_t n = elements(v), i = 0; i < n; i++)
        write_at(v, buffer, i, read_at(v, buffer, i) * factor);
}

static void clip(struct cvy_plan *plan, double most)
{
    const struct cvyi_list *list = &plan->list;
    double sum = 0;
    for (size_t i = 0; i < list->n_values; i++)
        if (is_gradient(&list->value[i])) sum += squares(&list->value[i], plan->buf[i]);
    double norm = sqrt(sum), factor = most / (norm + 1e-6);
    plan->norm = norm;
    if (factor >= 1) return; /* not if the norm is NaN: then all are */
    for (size_t i = 0; i < list->n_values; i++)
        if (is_gradient(&list->value[i])) scale(&list->value[i], plan->buf[i], factor);
}

/* The sum of a gradient so far, in its own precision; in the last step of a round the gradient is
 * their mean. */
static void add_up(struct cvy_plan *plan, int gradient, int sum, size_t every)
{
    const struct cvy_value *g = &plan->list.value[gradient], *s = &plan->list.value[sum];
    void *from = plan->buf[gradient], *to = plan->buf[sum];
    size_t n = elements(g);
    bool first = plan->round == 0, last = plan->round + 1 == every;
    for (size_t i = 0; i < n; i++)
        write_at(s, to, i, (first ? 0 : read_at(s, to, i)) + read_at(g, from, i));
    for (size_t i = 0; i < n && last; i++) write_at(g, from, i, read_at(s, to, i) / (double)every);
}

enum cvy_status cvyi_gradients_build(struct cvy_plan *plan)
{
    const struct cvyi_program_options *o = &plan->options;
    const struct cvyi_list *list = &plan->list;
    int *sum = cvy_plan_alloc(plan, list->n_values * sizeof *sum);
    if (!sum) return CVY_E_NOMEM;
    for (size_t i = 0; i < list->n_values; i++) {
        sum[i] = -1;
        const bool summed = o->accumulate > 1 && is_gradient(&list->value[i]);
        for (size_t k = 0; summed && k < list->n_values; k++)
            if (list->value[k].role == CVY_ROLE_STATE && list->value[k].state == CVYI_SUM_STATE &&
                !strcmp(list->value[k].name, list->value[i].name))
                sum[i] = (int)k;
    }
    plan->gradients = (struct cvyi_gradients){ plan, o->clip_norm, o->accumulate, sum };
    return CVY_OK;
}

void cvyi_gradients_run(const void *arg, const struct cvy_run *run, size_t task,
                        struct cvy_worker *worker)
{
    const struct cvyi_gradients *g = arg;
    struct cvy_plan *plan = g->plan;
    (void)run, (void)task, (void)worker;
    for (size_t i = 0; i < plan->list.n_values; i++)
        if (g->sum[i] >= 0) add_up(plan, (int)i, g->sum[i], g->every);
    if (g->most > 0 && !plan->no_update) clip(plan, g->most);
}

static double magnitudes(const struct cvy_value *v, const void *buffer)
{
    double sum = 0;
    for (size_t n = elements(v), i = 0; i < n; i += BLOCK) {
        double part = 0;
        for (size_t k = i; k < n && k < i + BLOCK; k++) part += fabs(read_at(v, buffer, k));
        sum += part;
    }
    return sum;
}

double cvyi_penalty(const struct cvy_plan *plan, const cvy_optimizer_desc *desc,
                    const struct cvyi_group *groups)
{
    const double l2 = desc->l2 + (desc->kind == CVY_ADAMW ? 0 : desc->weight_decay / 2);
    double sum = 0;
    for (size_t i = 0; i < plan->list.n_ops; i++) {
        const struct cvy_op_desc *op = &plan->list.op[i];
        if (op->kind != CVY_OP_UPDATE) continue;
        const double factor = groups[op->u.update.group].decay;
        const int id = op->in[CVY_UPDATE_W];
        const struct cvy_value *w = &plan->list.value[id];
        if (factor != 0 && l2 != 0) sum += factor * l2 * squares(w, plan->buf[id]);
        if (factor != 0 && desc->l1 != 0) sum += factor * desc->l1 * magnitudes(w, plan->buf[id]);
    }
    return sum;
}
