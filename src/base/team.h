/* Threads. The only files of the library that know OpenMP are team.c and runtime.c. A team runs
 * stages: independent tasks, then a barrier, in ONE parallel region for a whole step (or one call
 * of the host's parallel-for per stage). */
#ifndef CVYI_TEAM_H
#define CVYI_TEAM_H

#include <stdint.h>

#include "convoy/context.h"

struct cvyi_team;

/* Called in the library's floating-point state (floats.h) on every thread, which has its own again
 * after. */
typedef void (*cvyi_team_fn)(void *arg, size_t stage, size_t task, size_t thread);

/* Of a stage's tasks 0 … gates + tasks - 1 the first `gates` are its gate: small work that the
 * thread that arrives last does, in order, while the others still wait. It costs no barrier of its
 * own. Thread t begins with the others from begin[t] to begin[t + 1] - 1, counted behind the gate;
 * NULL: even shares. */
struct cvyi_stage_work {
    size_t gates, tasks;
    const uint32_t *begin;
};

enum cvy_status cvyi_team_create(struct cvy_context *ctx, struct cvyi_team **team);
void cvyi_team_destroy(struct cvy_context *ctx, struct cvyi_team **team);
/* Runs work[s] of every stage s, stages in order. Tasks of a stage run in any order on any thread:
 * first the same static share as in the last run (locality), then whatever is left. One thread or
 * one task in all: on the caller. */
void cvyi_team_run(struct cvyi_team *team, size_t n_stages, const struct cvyi_stage_work *work,
                   cvyi_team_fn fn, void *arg);
/* The runtime's threads take the library's floating-point state for regions that others open on
 * this thread, as oneDNN does; on: until it is called with false. Costs two regions. */
void cvyi_team_lend(struct cvyi_team *team, bool on);

#endif
