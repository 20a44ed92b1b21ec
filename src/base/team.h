/* Threads. The only file of the library that knows OpenMP is team.c. A team runs stages: independent tasks, then a
 * barrier, in ONE parallel region for a whole step (or one call of the host's parallel-for per stage). */
#ifndef CVYI_TEAM_H
#define CVYI_TEAM_H

#include "convoy/context.h"

struct cvyi_team;

/* On every worker FTZ and DAZ are set for the call and the caller's MXCSR is restored after. */
typedef void (*cvyi_team_fn)(void *arg, size_t stage, size_t task, size_t thread);

enum cvy_status cvyi_team_create(struct cvy_context *ctx, struct cvyi_team **team);
void cvyi_team_destroy(struct cvy_context *ctx, struct cvyi_team **team);
/* Runs tasks[s] tasks of every stage s, stages in order. Tasks of a stage run in any order on any thread: first the same
 * static share as in the last run (locality), then whatever is left. One thread or one task in all: on the caller. */
void cvyi_team_run(struct cvyi_team *team, size_t n_stages, const size_t *tasks, cvyi_team_fn fn, void *arg);

#endif
