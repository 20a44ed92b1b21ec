/* Between info.c, which describes a model to people, and info_json.c, which does to programs. */
#ifndef CLI_INFO_H
#define CLI_INFO_H

#include "cli/cli.h"

/* What training takes in batches of the size asked for and, where that saves something, of smaller
 * ones. */
struct info_memory {
    size_t n, batch[3];
    cvy_plan_info plan[3];
};
static inline size_t info_all_bytes(const cvy_plan_info *p)
{
    return p->arena_bytes + p->parameter_bytes + p->scratch_bytes;
}

/* The model as one JSON object on standard output: its file as it was read, its layers and
 * parameters, and the memory. s has a net and a trainer. */
int info_json(const struct cli_session *s, const struct info_memory *memory);

#endif
