/* What the parts of the compiler are to each other: plan.c, assign.c, layouts.c, compile.c,
 * recompute.c. */
#ifndef CVYI_COMPILE_H
#define CVYI_COMPILE_H

#include "program/program.h"

#define CVYI_CHAIN 6 /* longest chain that is offered */

/* Kept by name, and what is kept of gradients. */
static inline bool cvyi_is_master(enum cvy_role role)
{
    return role == CVY_ROLE_WEIGHT || role == CVY_ROLE_RUNNING || role == CVY_ROLE_STATE;
}
static inline bool cvyi_is_param(enum cvy_role role)
{
    return cvyi_is_master(role) || role == CVY_ROLE_WEIGHT_GRAD;
}

/* --------------------------------------------------------------------------------------- plan.c */

/* A phase whose claims were checked, or that is the compiler's own. */
enum cvy_status cvyi_plan_append(struct cvy_plan *plan, const struct cvy_phase_desc *phase);
/* What a backend answered with at `what`; a failure has a sentence, its own or one made here. */
enum cvy_status cvyi_plan_told(struct cvy_plan *plan, enum cvy_status status, const char *what);

/* ------------------------------------------------------------------------------------- assign.c */

/* Length of the chain that starts at op `first`; with `assign`, only through ops of the same
 * backend. */
int cvyi_assign_chain(const struct cvy_plan *plan, size_t first, const int *assign);
/* How many of the n ops from number `op` on `backend` takes: *taken. */
enum cvy_status cvyi_assign_ask(struct cvy_plan *plan, int backend, size_t op, int n, int *taken);
/* Fills in plan->assign and plan->piece. */
enum cvy_status cvyi_assign_ops(struct cvy_plan *plan);
/* Who computes the reorders that layouts.c put in. */
enum cvy_status cvyi_assign_reorders(struct cvy_plan *plan);

/* ------------------------------------------------------------------------------------ layouts.c */

/* In the order in which a program is compiled. Before backends are asked: what is known of values,
 * and who reads them last. */
enum cvy_status cvyi_layouts_describe(struct cvy_plan *plan);
void cvyi_layouts_last_reads(struct cvy_plan *plan);
/* A value's layout becomes what `backend` wants. */
void cvyi_layout_set(const struct cvy_plan *plan, struct cvy_value *v, int backend);
/* Planes and bytes of all values, as they lie now. */
enum cvy_status cvyi_layouts_measure(struct cvy_plan *plan);
/* views.c: after everything has its layout, which values are channels of others. */
enum cvy_status cvyi_views_find(struct cvy_plan *plan);
/* After assigning: layouts as writers leave them; *n_head ops of reorders that masters need, then
 * the list with reorders in it; and copies for who reads after a run, of the first n_values. */
void cvyi_layouts_settle(struct cvy_plan *plan);
enum cvy_status cvyi_layouts_reorder(struct cvy_plan *plan, size_t *n_head);
enum cvy_status cvyi_layouts_fetch(struct cvy_plan *plan, size_t n_values);

/* ------------------------------------------------------------------------------------ compile.c */

/* cvyi_program_compile without a limit, up to where memory is taken. */
enum cvy_status cvyi_compile(struct cvy_context *ctx, struct cvyi_list *list,
                             const struct cvyi_program_options *options, struct cvy_plan **plan);
/* All that a program takes. */
size_t cvyi_program_bytes(const struct cvy_plan *plan);

/* ---------------------------------------------------------------------------------- recompute.c */

/* cvyi_compile within options->memory_limit. */
enum cvy_status cvyi_recompute(struct cvy_context *ctx, struct cvyi_list *list,
                               const struct cvyi_program_options *options, struct cvy_plan **plan);
/* Whether op number i of the compiled list makes what an earlier one has made, for gradients; so do
 * reorders in front of it. */
bool cvyi_recompute_is_again(const struct cvy_plan *plan, size_t i);

#endif
