/* `convoy info MODEL --json`: the keys are in docs/models.md. */
#include "cli/info.h"

#include <stdio.h>
#include <stdlib.h>

static json_t *size_json(const size_t *size, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(array, json_integer((json_int_t)size[i]));
    return array;
}

static json_t *number(size_t n) { return json_integer((json_int_t)n); }

/* Whole: FLOPs are counted. */
static json_t *count(double n) { return json_integer((json_int_t)n); }

static json_t *layers_json(const struct cli_session *s)
{
    json_t *all = json_array();
    cvy_node_info node, input;
    for (size_t i = 0; !cvy_net_node(s->net, i, &node); i++) {
        const size_t out[] = { node.out.c, node.out.h, node.out.w };
        json_t *inputs = json_array();
        for (size_t k = 0; k < node.n_inputs; k++)
            if (!cvy_net_node(s->net, (size_t)node.inputs[k], &input))
                json_array_append_new(inputs, json_string(input.name));
        json_array_append_new(
            all, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "name", node.name, "type",
                           node.type, "inputs", inputs, "output", size_json(out, 3), "parameters",
                           number(node.parameters), "flops_forward", count(node.flops_forward),
                           "flops_backward", count(node.flops_backward)));
    }
    return all;
}

static json_t *parameters_json(const struct cli_session *s, enum cvy_param_kind kind)
{
    json_t *all = json_array();
    cvy_param_info info;
    for (size_t i = 0; i < cvy_trainer_params(s->trainer, kind); i++)
        if (!cvy_trainer_param(s->trainer, kind, i, &info))
            json_array_append_new(all, json_pack("{s:s, s:o}", "name", info.name, "shape",
                                                 size_json(info.dims, info.rank)));
    return all;
}

static json_t *memory_json(const struct info_memory *m)
{
    json_t *all = json_array();
    for (size_t i = 0; i < m->n; i++)
        json_array_append_new(all,
                              json_pack("{s:o, s:o, s:o, s:o, s:o}", "batch", number(m->batch[i]),
                                        "activations", number(m->plan[i].arena_bytes), "parameters",
                                        number(m->plan[i].parameter_bytes), "scratch",
                                        number(m->plan[i].scratch_bytes), "total",
                                        number(info_all_bytes(&m->plan[i]))));
    return all;
}

static json_t *total_json(const struct cli_session *s)
{
    size_t parameters = 0;
    double forward = 0, backward = 0;
    cvy_node_info node;
    for (size_t i = 0; !cvy_net_node(s->net, i, &node); i++) {
        parameters += node.parameters;
        forward += node.flops_forward;
        backward += node.flops_backward;
    }
    return json_pack("{s:o, s:o, s:o}", "parameters", number(parameters), "flops_forward",
                     count(forward), "flops_backward", count(backward));
}

int info_json(const struct cli_session *s, const struct info_memory *memory)
{
    json_t *all =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "model", json_loads(s->model->json, 0, NULL),
                  "layers", layers_json(s), "weights", parameters_json(s, CVY_PARAM_WEIGHT),
                  "running", parameters_json(s, CVY_PARAM_RUNNING), "total", total_json(s),
                  "memory", memory_json(memory));
    char *text = all ? model_dump(all) : NULL;
    json_decref(all);
    if (!text) return cli_fail(CLI_NOMEM, "out of memory");
    puts(text);
    free(text);
    return CLI_OK;
}
