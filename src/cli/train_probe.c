/* `convoy train --probe=LAYER[:UNIT]`: which values of which layer are looked at. */
#include "cli/train.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PROBE_IMAGES = 1000, PROBE_BATCH = 256 };

/* The node of that name; a message tells what may have been meant. */
static int find_layer(const struct cli_session *s, const char *name, size_t *index,
                      cvy_node_info *node)
{
    const char *names[64];
    char hint[CLI_HINT];
    size_t n = 0;
    for (*index = 0; *index < cvy_net_nodes(s->net); ++*index) {
        if (cvy_net_node(s->net, *index, node) || !node->name) continue;
        if (!strcmp(node->name, name)) return CLI_OK;
        if (n < 63) names[n++] = node->name;
    }
    names[n] = NULL;
    return cli_fail(CLI_USAGE, "--probe: %s has no layer '%.60s'%s", s->model->name, name,
                    cli_hint(name, "", names, NULL, hint));
}

int cli_train_probe(struct cli_session *s, struct cli_train_config *c)
{
    char name[TRAIN_PROBE], *end = NULL;
    cvy_node_info node;
    size_t index, unit = 0;
    if (!*c->probe) return CLI_OK;
    strcpy(name, c->probe);
    char *colon = strrchr(name, ':');
    if (colon) *colon = '\0';
    int code = find_layer(s, name, &index, &node);
    if (code) return code;
    const size_t map = node.out.h * node.out.w;
    errno = 0;
    if (colon) unit = strtoull(colon + 1, &end, 10);
    if (colon && (colon[1] < '0' || colon[1] > '9' || *end || errno || unit >= node.out.c))
        return cli_fail(CLI_USAGE, "--probe: expected a unit of %s from 0 to %zu, found '%.20s'",
                        name, node.out.c - 1, colon + 1);
    const cvy_input_desc input = model_input(s->model);
    enum cvy_status status = cvy_predictor_create(s->net, cvy_net_tensor(s->net, index),
                                                  PROBE_BATCH, &input, s->trainer, &s->probe);
    if (status) return cli_fail(cli_code_cvy(status), "--probe: %s", cvy_message(s->ctx));
    const struct data_split *test = &s->data->test;
    c->layer = (struct layer_probe){ .predictor = s->probe,
                                     .images = test->images,
                                     .n = test->n < PROBE_IMAGES ? test->n : PROBE_IMAGES,
                                     .image_size = s->data->c * s->data->h * s->data->w,
                                     .batch = PROBE_BATCH,
                                     .size = node.out.c * map,
                                     .first = unit * map,
                                     .count = colon ? map : node.out.c * map,
                                     .what = c->probe };
    return CLI_OK;
}
