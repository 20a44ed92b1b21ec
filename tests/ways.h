/* What tests of trainers share: a call that must succeed, and the ways that must give the same
 * bits. Header only, for cmocka's tests. */
#ifndef CVYI_TESTS_WAYS_H
#define CVYI_TESTS_WAYS_H

#include <stdio.h>
#include <string.h>

#include "convoy/convoy.h"

/* With `ctx` in scope. */
#define OK(call)                                                           \
    do {                                                                   \
        if ((call) != CVY_OK) fail_msg("%s: %s", #call, cvy_message(ctx)); \
    } while (0)

/* The i-th way: every instruction set (some are not here), one to three threads, fused and not;
 * false past the last. Other fields of o stay. */
static inline bool every_way(size_t i, cvy_context_options *o)
{
    enum { THREADS = 3, ISAS = CVY_ISA_PAIR + 1 };
    if (i >= (size_t)ISAS * THREADS * 2) return false;
    o->isa = (enum cvy_isa)(i / (THREADS * 2));
    o->threads = 1 + i / 2 % THREADS;
    o->no_fusion = i % 2;
    return true;
}

/* Those that matter most, where a run takes long. */
static inline bool some_way(size_t i, cvy_context_options *o)
{
    static const struct {
        size_t threads;
        enum cvy_isa isa;
        bool no_fusion;
    } ways[] = { { 2, CVY_ISA_AUTO, false }, { 7, CVY_ISA_AUTO, false },
                 { 2, CVY_ISA_AUTO, true },  { 2, CVY_ISA_SCALAR, false },
                 { 1, CVY_ISA_AVX2, false }, { 2, CVY_ISA_AVX512, false },
                 { 2, CVY_ISA_PAIR, false } };
    if (i >= sizeof ways / sizeof *ways) return false;
    o->threads = ways[i].threads;
    o->isa = ways[i].isa;
    o->no_fusion = ways[i].no_fusion;
    return true;
}

/* The least that a trainer of this net can take, as who asks for less is told. */
static inline size_t least_memory(cvy_context *ctx, cvy_net *net, cvy_tensor logits,
                                  cvy_trainer_options o)
{
    cvy_trainer *trainer;
    size_t least = 0;
    o.memory_limit = 1;
    o.dry_run = true;
    if (cvy_trainer_create(net, logits, &o, &trainer) != CVY_E_NOMEM)
        fail_msg("one byte is enough? %s", cvy_message(ctx));
    const char *said = strstr(cvy_message(ctx), "the net needs ");
    if (!said || sscanf(said, "the net needs %zu in batches of", &least) != 1)
        fail_msg("%s", cvy_message(ctx));
    return least;
}

#endif
