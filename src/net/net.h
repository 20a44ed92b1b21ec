/* The graph a user builds, and its linearisation: forward ops, loss, gradients in reverse mode,
 * updates. */
#ifndef CVYI_NET_H
#define CVYI_NET_H

#include "ops/ops.h"

struct cvy_net {
    struct cvy_context *ctx;
    struct cvyi_node *node;
    size_t n_nodes, cap_nodes;
    enum cvy_status status; /* the first mistake; message holds its sentence */
    char message[512];
};

/* The node that input i of `node` is computed from: in[i], but a linear layer reads what was
 * flattened for it, so that its kernel is the whole map. */
int cvyi_net_source(const struct cvy_net *net, const struct cvyi_node *node, size_t i);

struct cvyi_linear_options {
    /* with loss, gradients and updates; else forward only, inference rules */
    bool training;
    size_t batch;
    cvy_loss_desc loss;
    cvy_optimizer_desc optimizer; /* checked, its defaults resolved */
};
/* What the trainer needs to find in the list. */
struct cvyi_linear_result {
    int input;                /* value that INGEST writes */
    int output;               /* logits or the predictor's output */
    int loss;                 /* STATS value: {Σ loss, correct}; -1 in inference */
    size_t first_backward_op; /* ops before it are forward and loss */
};
/* Appends the whole program of `output` to an initialised list. Only nodes that `output` depends on
 * take part. Each parameter appears once as a value (roles WEIGHT, RUNNING), its gradient as
 * WEIGHT_GRAD with the same name, its optimiser's states as STATE with the same name.
 * Frozen or unused ones get no gradient. Where a value feeds several ops its gradients meet in ADD
 * ops, in node order. Linear layers: weight shape {out, c, h, w} of the (unflattened) input. */
enum cvy_status cvyi_net_linearise(struct cvy_net *net, cvy_tensor output,
                                   const struct cvyi_linear_options *options,
                                   struct cvyi_list *list, struct cvyi_linear_result *result);

#endif
