/* The graph a user builds, and its linearisation: forward ops, loss, gradients in reverse mode,
 * updates. */
#ifndef CVYI_NET_H
#define CVYI_NET_H

#include "convoy/train.h"
#include "ops/ops.h"

struct cvy_net {
    struct cvy_context *ctx;
    struct cvyi_node *node;
    size_t n_nodes, cap_nodes;
    /* by the hash of their names, a node's number + 1, 0: none; a power of two of them, at least
     * half of which are free */
    uint32_t *named;
    size_t n_named;
    size_t generated;       /* names up to this number may be taken */
    unsigned tag;           /* of its handles */
    enum cvy_status status; /* the first mistake; message holds its sentence */
    char message[512];
};

/* A handle is a node's number with the tag of its net, which no other net of the process has (of
 * the next CVYI_NET_TAGS). */
enum { CVYI_NODE_BITS = 18, CVYI_NET_TAGS = (1 << (31 - CVYI_NODE_BITS)) - 1 };
/* The number of a handle's node; -1: it is none of this net. */
int cvyi_net_number(const struct cvy_net *net, cvy_tensor x);
/* Whether it may be one of another net. */
static inline bool cvyi_net_foreign(const struct cvy_net *net, cvy_tensor x)
{
    unsigned tag = (unsigned)x >> CVYI_NODE_BITS;
    return x >= 0 && tag > 0 && tag != net->tag;
}
/* The node that input i of `node` is computed from: in[i], but a linear layer reads what was
 * flattened for it, so that its kernel is the whole map. */
int cvyi_net_source(const struct cvy_net *net, const struct cvyi_node *node, size_t i);

/* The groups of weights that a list has. */
struct cvyi_group_list {
    struct cvyi_group *group; /* by u.update.group */
    size_t n, cap;
};

struct cvyi_linear_options {
    /* with loss, gradients and updates; else forward only, inference rules */
    bool training;
    size_t batch;
    cvy_loss_desc loss;
    cvy_optimizer_desc optimizer;      /* checked, its defaults resolved */
    bool fence_updates;                /* something comes between gradients and updates */
    bool input_gradient;               /* differentiate down to the input */
    double max_norm;                   /* of linear layers' weights */
    bool sums;                         /* gradients have sums: one more STATE of each weight */
    const cvy_param_setting *settings; /* checked, but for what they match */
    size_t n_settings;
    struct cvyi_group_list *groups; /* empty; NULL: there are no settings */
};
/* What the trainer needs to find in the list. */
struct cvyi_linear_result {
    int input;                /* value that INGEST writes */
    int output;               /* logits or the predictor's output */
    int loss;                 /* STATS value: {Σ loss, correct}; -1 in inference */
    size_t loss_op;           /* in training */
    int input_gradient;       /* value; -1: not asked for, or nothing depends on it */
    size_t first_backward_op; /* ops before it are forward and loss */
};
/* Appends the whole program of `output` to an initialised list. Only nodes that `output` depends on
 * take part. Each parameter appears once as a value (roles WEIGHT, RUNNING), its gradient as
 * WEIGHT_GRAD with the same name, its optimiser's states as STATE with the same name.
 * Frozen or unused ones get no gradient, but for a gradient that an op makes beside a wanted one:
 * that is nobody's, its state is CVYI_NOBODYS. Where a value feeds several ops its gradients meet
 * in ADD ops, in node order. Linear layers: weight shape {out, c, h, w} of the (unflattened)
 * input. */
enum cvy_status cvyi_net_linearise(struct cvy_net *net, cvy_tensor output,
                                   const struct cvyi_linear_options *options,
                                   struct cvyi_list *list, struct cvyi_linear_result *result);

#endif
