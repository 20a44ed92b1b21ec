/* The linear list of values and ops: growth and ownership. Knows nothing of what the ops mean. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ops/ops.h"

#define BLOCK 16 /* every layout rounds images up to this at most */

void cvyi_list_init(struct cvyi_list *list, struct cvy_context *ctx)
{
    *list = (struct cvyi_list){ .ctx = ctx };
}

void cvyi_list_free(struct cvyi_list *list)
{
    for (size_t i = 0; i < list->n_values; i++) cvyi_free(list->ctx, (char *)list->value[i].name);
    for (size_t i = 0; i < list->n_ops; i++) cvyi_free(list->ctx, (char *)list->op[i].name);
    cvyi_free(list->ctx, list->value);
    cvyi_free(list->ctx, list->op);
    *list = (struct cvyi_list){ .ctx = list->ctx };
}

enum cvy_status cvyi_list_copy_values(const struct cvyi_list *from, struct cvyi_list *to)
{
    cvyi_list_init(to, from->ctx);
    for (size_t i = 0; i < from->n_values; i++) {
        const struct cvy_value *v = &from->value[i];
        int made = cvyi_list_value(to, v->role, v->shape, "%s", v->name);
        if (made < 0) break;
        const char *name = to->value[made].name;
        to->value[made] = *v;
        to->value[made].name = name;
    }
    return to->status;
}

struct cvy_op_desc *cvyi_list_copy_op(struct cvyi_list *to, const struct cvy_op_desc *op,
                                      const char *suffix)
{
    const struct cvy_op_desc from = *op; /* the array may move */
    struct cvy_op_desc *made = cvyi_list_op(to, from.kind, "%s%s", from.name, suffix);
    const char *name = made->name;
    *made = from;
    made->name = name;
    return made;
}

static char *format_name(struct cvy_context *ctx, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *name = cvyi_alloc(ctx, length < 0 ? 1 : (size_t)length + 1);
    if (name && length > 0) vsnprintf(name, (size_t)length + 1, format, again);
    va_end(again);
    return name;
}

/* In double, for whole blocks of images, and with room for padded planes. */
static bool addressable(cvy_shape s)
{
    size_t n;
    return !__builtin_add_overflow(s.n, BLOCK - 1, &n) && cvyi_mul(n, s.c, &n) &&
           cvyi_mul(n, s.h, &n) && cvyi_mul(n, s.w, &n) && cvyi_mul(n, 4 * sizeof(double), &n);
}

int cvyi_list_value(struct cvyi_list *list, enum cvy_role role, cvy_shape shape, const char *format,
                    ...)
{
    if (list->status != CVY_OK) return -1;
    va_list args;
    va_start(args, format);
    char *name = format_name(list->ctx, format, args);
    va_end(args);
    void *grown = list->value;
    if (!name ||
        !cvyi_grow(list->ctx, &grown, &list->cap_values, list->n_values + 1, sizeof *list->value)) {
        list->status = CVY_E_NOMEM;
        cvyi_free(list->ctx, name);
        return -1;
    }
    list->value = grown;
    if (!addressable(shape)) {
        list->status = cvyi_fail(list->ctx, CVY_E_SHAPE,
                                 "'%s': %zu x %zu x %zu x %zu elements are more than this machine "
                                 "can address",
                                 name, shape.n, shape.c, shape.h, shape.w);
        cvyi_free(list->ctx, name);
        return -1;
    }
    list->value[list->n_values] =
        (struct cvy_value){ .name = name, .role = role, .shape = shape, .alias = -1 };
    return (int)list->n_values++;
}

/* An alias always names the value that has the buffer, never another alias. */
int cvyi_list_reshape(struct cvyi_list *list, int id, cvy_shape shape, const char *name,
                      const char *suffix)
{
    int made = cvyi_list_value(list, CVY_ROLE_ACTIVATION, shape, "%s%s", name, suffix);
    if (made >= 0)
        list->value[made].alias = list->value[id].alias >= 0 ? list->value[id].alias : id;
    return made;
}

int cvyi_list_double(struct cvyi_list *list, int id)
{
    if (id >= 0) list->value[id].layout = CVY_LAYOUT_PLAIN64;
    return id;
}

/* Without operands, but for their number. */
static struct cvy_op_desc blank(enum cvy_op_kind kind, const char *name)
{
    const struct cvyi_op_kind *known = cvyi_op_kind(kind);
    struct cvy_op_desc op = { .kind = kind, .name = name, .n_out = known->n_out };
    for (int k = 0; k < known->n_in; k++) op.n_in += !(known->in[k].use & CVY_MANY);
    for (int k = 0; k < op.n_in; k++) op.in[k] = -1;
    for (int k = 0; k < op.n_out; k++) op.out[k] = -1;
    return op;
}

struct cvy_op_desc *cvyi_list_op(struct cvyi_list *list, enum cvy_op_kind kind, const char *format,
                                 ...)
{
    list->scratch = blank(kind, "");
    if (list->status != CVY_OK) return &list->scratch;
    va_list args;
    va_start(args, format);
    char *name = format_name(list->ctx, format, args);
    va_end(args);
    void *grown = list->op;
    if (!name || !cvyi_grow(list->ctx, &grown, &list->cap_ops, list->n_ops + 1, sizeof *list->op)) {
        list->status = CVY_E_NOMEM;
        cvyi_free(list->ctx, name);
        return &list->scratch;
    }
    list->op = grown;
    struct cvy_op_desc *op = &list->op[list->n_ops++];
    *op = blank(kind, name);
    return op;
}

void cvyi_op_append(struct cvy_op_desc *op, int id)
{
    if (op->n_in < CVY_MAX_IN) op->in[op->n_in++] = id;
}

void cvyi_list_drop_ops(struct cvyi_list *list, size_t first, size_t n)
{
    if (!n) return; /* nor may there be a list */
    for (size_t i = first; i < first + n; i++) cvyi_free(list->ctx, (char *)list->op[i].name);
    list->n_ops -= n;
    memmove(&list->op[first], &list->op[first + n], (list->n_ops - first) * sizeof *list->op);
}

void cvyi_list_rename(struct cvyi_list *list, int id, const char *name)
{
    if (list->status != CVY_OK) return;
    char *made = cvyi_strdup(list->ctx, name);
    if (!made) list->status = CVY_E_NOMEM;
    if (!made) return;
    cvyi_free(list->ctx, (char *)list->value[id].name);
    list->value[id].name = made;
}
