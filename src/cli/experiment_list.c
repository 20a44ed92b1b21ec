/* The experiments, one record each: what is varied, and what the numbers say about it. */
#include "cli/experiment.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------- tools */

/* The values to try: the options', or n from lo to hi, each the same factor above the last. */
static size_t logarithmic(const struct experiment_plan *p, double lo, double hi, size_t n,
                          double out[EXPERIMENT_VALUES])
{
    const struct experiment_options *o = p->o;
    for (size_t i = 0; i < o->n_values; i++) out[i] = o->value[i];
    if (o->n_values) return o->n_values;
    for (size_t i = 0; i < n; i++) out[i] = lo * pow(hi / lo, (double)i / (double)(n - 1));
    return n;
}

/* Appends to a sentence. */
static void say(char *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(char *out, const char *format, ...)
{
    const size_t used = strlen(out);
    va_list args;
    va_start(args, format);
    vsnprintf(out + used, EXPERIMENT_SENTENCE - used, format, args);
    va_end(args);
}

/* Of a row that may not be there. */
static double of(const struct experiment_plan *p, const struct experiment_row *row,
                 enum experiment_metric metric)
{
    return row ? experiment_mean(p, row, metric) : NAN;
}

/* ------------------------------------------------------------------------------------- sweep lr */

static int plan_lr(struct experiment_plan *p)
{
    static const char *const usual[] = { "lenet-bn", "lenet" };
    const struct experiment_options *o = p->o;
    const char *const *models = o->n_models ? o->model : usual;
    const size_t n_models = o->n_models ? o->n_models : 2;
    double values[EXPERIMENT_VALUES];
    const size_t n = logarithmic(p, 0.01, 10, o->quick ? 7 : 13, values);
    int code = CLI_OK;
    for (size_t i = 0; i < n && !code; i++) {
        char text[32];
        snprintf(text, sizeof text, "%.3g", values[i]);
        for (size_t m = 0; m < n_models && !code; m++) {
            json_t *model = experiment_model(models[m]);
            const char *name = json_string_value(json_object_get(model, "name"));
            if (model) edit_default(model, "lr", json_real(values[i]));
            code = experiment_add(p, name, text, values[i], model);
        }
    }
    return code;
}

/* The largest value with which a group trains, and whether there is a larger one; NULL: none. */
static const struct experiment_row *largest(const struct experiment_plan *p, const char *group,
                                            bool *end)
{
    const struct experiment_row *found = NULL;
    double most = -INFINITY;
    for (size_t i = 0; i < p->n; i++) {
        const struct experiment_row *row = &p->row[i];
        if (strcmp(row->group, group)) continue;
        most = fmax(most, row->x);
        if (!experiment_fails(p, row) && (!found || row->x > found->x)) found = row;
    }
    *end = found && found->x == most;
    return found;
}

static const struct experiment_row *best(const struct experiment_plan *p, const char *group,
                                         enum experiment_metric metric)
{
    const struct experiment_row *found = NULL;
    for (size_t i = 0; i < p->n; i++) {
        const struct experiment_row *row = &p->row[i];
        if (group && strcmp(row->group, group)) continue;
        if (!isnan(of(p, row, metric)) && !(of(p, found, metric) >= of(p, row, metric)))
            found = row;
    }
    return found;
}

static void conclude_lr(const struct experiment_plan *p, char out[EXPERIMENT_SENTENCE])
{
    double usable[2] = { NAN, NAN };
    for (size_t i = 0; i < p->n && p->row[i].x == p->row[0].x; i++) {
        const char *group = p->row[i].group;
        bool end;
        const struct experiment_row *row = largest(p, group, &end),
                                    *top = best(p, group, METRIC_TRAIN);
        if (!row) {
            say(out, "%s%s trains at no rate", i ? "; " : "", group);
            continue;
        }
        if (i < 2) usable[i] = row->x;
        say(out, "%s%s trains up to a rate of %s%s, best at %s (train acc %.3f)", i ? "; " : "",
            group, row->value, end ? ", the largest tried" : "", top->value,
            of(p, top, METRIC_TRAIN));
    }
    if (usable[0] > usable[1])
        say(out, "; %s stands rates %.3g times as large", p->row[0].group, usable[0] / usable[1]);
    say(out, ".");
}

static const struct experiment lr = { .command = "sweep",
                                      .name = "lr",
                                      .about = "how large the learning rate can be",
                                      .axis = "lr",
                                      .groups = "model",
                                      .metric = { METRIC_LOSS, METRIC_TRAIN, METRIC_TEST, METRICS },
                                      .chance = true,
                                      .takes_models = true,
                                      .takes_values = true,
                                      .least = 1e-12,
                                      .most = 1e12,
                                      .quick_epochs = 2,
                                      .plan = plan_lr,
                                      .conclude = conclude_lr };

/* ---------------------------------------------------------------------------- ablate placement */

/* lenet-bn's batch norms: each stands behind a layer, in front of the activation (and a pool). */
static const struct {
    const char *norm, *layer;
    bool pooled;
} sites[] = { { "bn1", "conv1", true },
              { "bn2", "conv2", true },
              { "bn3", "fc1", false },
              { "bn4", "fc2", false } };
enum { SITES = sizeof sites / sizeof *sites };

/* Other orders of what stands behind the layers: batch norm 0, activation 1, pool 2. */
static const struct {
    const char *value, *pooled, *flat;
} orders[] = { { "activation, norm, pool", "102", "10" },
               { "activation, pool, norm", "120", "10" },
               { "pool, norm, activation", "201", "01" } };
enum { ORDERS = sizeof orders / sizeof *orders };

static int plan_yann(struct experiment_plan *p)
{
    static const char *const names[] = { "yann-bn-before", "yann-bn-after" };
    char path[PATH_MAX];
    int code = CLI_OK;
    if (!p->o->data && !data_find("mnist", path, sizeof path)) {
        cli_fail(0,
                 "note: MNIST was not found (`convoy data` tells how to get it): yann's two nets "
                 "are left out");
        return CLI_OK;
    }
    for (size_t i = 0; i < 2 && !code; i++) {
        json_t *model = experiment_model(names[i]);
        if (model) edit_default(model, "validation", json_real(1.0 / 6)); /* 10 000 of MNIST's */
        code = experiment_add(p, names[i], i ? "activation, dropout, norm" : "norm, pool, maxout",
                              (double)(1 << SITES), model);
    }
    return code;
}

static int plan_placement(struct experiment_plan *p)
{
    int code = CLI_OK;
    for (unsigned set = 0; set < 1u << SITES && !code; set++) {
        char text[2 * SITES + 1] = "";
        json_t *model = experiment_model("lenet-bn");
        for (size_t i = 0; model && i < SITES; i++) {
            const bool there = set >> i & 1;
            snprintf(text + 2 * i, sizeof text - 2 * i, "%c ", there ? (int)('1' + i) : '-');
            if (!there) edit_remove(model, sites[i].norm);
        }
        text[2 * SITES - 1] = '\0';
        if (model) edit_name(model, "lenet-bn-%.7s", text);
        code = experiment_add(p, "lenet-bn", text, set, model);
    }
    for (size_t k = 0; k < ORDERS && !code; k++) {
        json_t *model = experiment_model("lenet-bn");
        for (size_t i = 0; model && i < SITES; i++)
            edit_order(model, sites[i].layer, sites[i].pooled ? orders[k].pooled : orders[k].flat);
        code = experiment_add(p, "lenet-bn", orders[k].value, (1 << SITES) + 1 + (double)k, model);
    }
    return code ? code : plan_yann(p);
}

static void conclude_placement(const struct experiment_plan *p, char out[EXPERIMENT_SENTENCE])
{
    const struct experiment_row *all = experiment_find(p, NULL, "1 2 3 4"),
                                *none = experiment_find(p, NULL, "- - - -"), *one = NULL,
                                *fewer = NULL;
    for (size_t i = 0; i < 1u << SITES; i++) {
        const struct experiment_row *row = &p->row[i];
        const unsigned set = (unsigned)row->x;
        const double acc = of(p, row, METRIC_TRAIN);
        const bool single = set && !(set & (set - 1));
        if (single && !(of(p, one, METRIC_TRAIN) >= acc)) one = row;
        if (row != all && !(of(p, fewer, METRIC_TRAIN) >= acc)) fewer = row;
    }
    say(out,
        "The training accuracy is %.3f with all four batch norms and %.3f without; one alone "
        "reaches %.3f (%s), and %s, the best with fewer than four, %.3f",
        of(p, all, METRIC_TRAIN), of(p, none, METRIC_TRAIN), of(p, one, METRIC_TRAIN), one->value,
        fewer->value, of(p, fewer, METRIC_TRAIN));
    for (size_t k = 0; k < ORDERS; k++)
        say(out, "%s %.3f in the order %s", k ? ", " : "; it is",
            of(p, experiment_find(p, "lenet-bn", orders[k].value), METRIC_TRAIN), orders[k].value);
    say(out, ".");
}

static const struct experiment placement = {
    .command = "ablate",
    .name = "placement",
    .about = "which layers need a batch norm, and where in them",
    .axis = "batch norms",
    .groups = "net",
    .metric = { METRIC_LOSS, METRIC_TRAIN, METRIC_TEST, METRICS },
    .quick_epochs = 1,
    .plan = plan_placement,
    .conclude = conclude_placement
};

/* --------------------------------------------------------------------------------- ablate bias */

static int plan_bias(struct experiment_plan *p)
{
    static const char *const values[] = { "trained", "frozen", "none" };
    int code = CLI_OK;
    for (size_t k = 0; k < 3 && !code; k++) {
        json_t *model = experiment_model("lenet-bn"), *params = json_array();
        for (size_t i = 0; model && i < SITES; i++) {
            if (k == 1)
                json_array_append_new(params, json_pack("{s:s+, s:b}", "match", sites[i].layer,
                                                        ".bias", "frozen", 1));
            if (k == 2)
                json_object_set_new(edit_layer(model, sites[i].layer), "bias", json_false());
        }
        if (model && k == 1) edit_default(model, "params", json_incref(params));
        json_decref(params);
        code = experiment_add(p, "", values[k], (double)k, model);
    }
    return code;
}

static void conclude_bias(const struct experiment_plan *p, char out[EXPERIMENT_SENTENCE])
{
    const struct experiment_row *trained = &p->row[0], *frozen = &p->row[1], *none = &p->row[2];
    double apart = 0;
    for (size_t s = 0; s < p->seeds; s++)
        apart = fmax(
            apart, fabs(trained->run[s].metric[METRIC_LOSS] - frozen->run[s].metric[METRIC_LOSS]));
    say(out,
        "Biases in front of a batch norm do nothing: from the same first weights the losses with "
        "trained and with frozen ones end %.2g apart; without them the net has %.0f parameters "
        "fewer and trains from other first weights to a loss of %.3f, with them to %.3f.",
        apart, trained->parameters - none->parameters, of(p, none, METRIC_LOSS),
        of(p, trained, METRIC_LOSS));
}

static const struct experiment bias = {
    .command = "ablate",
    .name = "bias",
    .about = "whether biases in front of a batch norm do anything",
    .axis = "biases",
    .metric = { METRIC_PARAMETERS, METRIC_LOSS, METRIC_TRAIN, METRIC_TEST, METRICS },
    .quick_epochs = 2,
    .plan = plan_bias,
    .conclude = conclude_bias
};

/* ------------------------------------------------------------------------------- ablate affine */

/* A setting of all batch norms. */
struct setting {
    const char *value, *key;
    bool text; /* is "word", else false or, `on`, true */
    const char *word;
    bool on;
};

static int plan_settings(struct experiment_plan *p, const struct setting *setting, size_t n)
{
    int code = CLI_OK;
    for (size_t k = 0; k < n && !code; k++) {
        json_t *model = experiment_model("lenet-bn");
        for (size_t i = 0; model && setting[k].key && i < SITES; i++)
            json_object_set_new(edit_layer(model, sites[i].norm), setting[k].key,
                                setting[k].word ? json_string(setting[k].word)
                                                : json_boolean(setting[k].on));
        code = experiment_add(p, "", setting[k].value, (double)k, model);
    }
    return code;
}

static int plan_affine(struct experiment_plan *p)
{
    static const struct setting settings[] = {
        { .value = "trained" },
        { .value = "gamma = 1", .key = "gamma" },
        { .value = "beta = 0", .key = "beta" },
        { .value = "gamma = 1, beta = 0", .key = "affine" },
        { .value = "mean 0, variance 1 kept", .key = "frozen", .on = true }
    };
    return plan_settings(p, settings, sizeof settings / sizeof *settings);
}

static void conclude_affine(const struct experiment_plan *p, char out[EXPERIMENT_SENTENCE])
{
    const double all = of(p, &p->row[0], METRIC_TRAIN);
    say(out,
        "Against trained gamma and beta (train acc %.3f), the training accuracy is %+.3f with "
        "gamma 1, %+.3f with beta 0, %+.3f with both; where the statistics are not the batch's but "
        "kept as they start, nothing is normalized: %+.3f.",
        all, of(p, &p->row[1], METRIC_TRAIN) - all, of(p, &p->row[2], METRIC_TRAIN) - all,
        of(p, &p->row[3], METRIC_TRAIN) - all, of(p, &p->row[4], METRIC_TRAIN) - all);
}

static const struct experiment affine = {
    .command = "ablate",
    .name = "affine",
    .about = "what gamma, beta and the batch's statistics are worth",
    .axis = "gamma and beta",
    .metric = { METRIC_PARAMETERS, METRIC_LOSS, METRIC_TRAIN, METRIC_TEST, METRICS },
    .quick_epochs = 2,
    .plan = plan_affine,
    .conclude = conclude_affine
};

static int plan_lite(struct experiment_plan *p)
{
    static const struct setting settings[] = {
        { .value = "mean and variance" },
        { .value = "mean alone", .key = "statistics", .word = "mean" },
        { .value = "variance alone", .key = "statistics", .word = "variance" }
    };
    int code = plan_settings(p, settings, sizeof settings / sizeof *settings);
    json_t *model = code ? NULL : experiment_model("lenet-bn");
    for (size_t i = 0; model && i < SITES; i++) edit_remove(model, sites[i].norm);
    return code ? code : experiment_add(p, "", "no batch norm", 3, model);
}

static void conclude_lite(const struct experiment_plan *p, char out[EXPERIMENT_SENTENCE])
{
    const double whole = of(p, &p->row[0], METRIC_TRAIN), none = of(p, &p->row[3], METRIC_TRAIN);
    say(out, "Of the training accuracy that batch norm gains (%.3f against %.3f without)", whole,
        none);
    for (size_t k = 1; k <= 2; k++) {
        const double acc = of(p, &p->row[k], METRIC_TRAIN);
        say(out, "%s the %s alone gains ", k == 2 ? ";" : "", k == 1 ? "mean" : "variance");
        if (experiment_fails(p, &p->row[k])) say(out, "nothing, and learns nothing");
        else say(out, "%.0f %% (%.3f)", 100 * (acc - none) / (whole - none), acc);
    }
    say(out, ".");
}

static const struct experiment lite = { .command = "ablate",
                                        .name = "lite",
                                        .about = "what the mean is worth, and what the variance",
                                        .axis = "normalized by",
                                        .metric = { METRIC_PARAMETERS, METRIC_LOSS, METRIC_TRAIN,
                                                    METRIC_TEST, METRICS },
                                        .chance = true,
                                        .quick_epochs = 2,
                                        .plan = plan_lite,
                                        .conclude = conclude_lite };

/* ------------------------------------------------------------------------------ ablate dropout */

static json_t *dropout_layer(double p)
{
    return json_pack("{s:s, s:f}", "type", "dropout", "p", p);
}

/* lenet-bn with dropout behind the activations of its linear layers: 'n' a batch norm, 'a' an
 * activation, 'd' dropout. */
static json_t *with_dropout(const char *order)
{
    json_t *model = experiment_model("lenet-bn");
    for (size_t i = 0; model && i < SITES; i++) {
        if (!strchr(order, 'n')) edit_remove(model, sites[i].norm);
        if (sites[i].pooled || !strchr(order, 'd')) continue;
        edit_insert(model, sites[i].layer, strchr(order, 'n') ? 3 : 2, dropout_layer(0.5));
        if (!strcmp(order, "adn")) edit_order(model, sites[i].layer, "120");
    }
    return model;
}

/* As cs231n's small sets: the first n images are trained on, a fiftieth of all, CIFAR-10's last
 * 1 000, validate. Accuracies of the training images are inference's, as its solver's. */
static void few_images(json_t *model, json_int_t n)
{
    edit_default(model, "train_limit", json_integer(n));
    edit_default(model, "validation", json_real(0.02));
    edit_default(model, "test_limit", json_integer(1000));
    edit_default(model, "eval_train", json_integer(n));
}

static int plan_dropout(struct experiment_plan *p)
{
    static const struct {
        const char *value, *order;
    } nets[] = { { "neither", "a" },
                 { "dropout 0.5", "ad" },
                 { "batch norm", "na" },
                 { "norm, activation, dropout", "nad" },
                 { "activation, dropout, norm", "adn" } };
    int code = CLI_OK;
    for (size_t k = 0; k < 5 && !code; k++)
        code = experiment_add(p, "lenet-bn", nets[k].value, (double)k, with_dropout(nets[k].order));
    p->quick_epochs = 0; /* cs231n's FC 500 on 500 images, keep 1 and 0.25, is small enough */
    for (size_t k = 0; k < 2 && !code; k++) {
        json_t *model = experiment_mlp(&(struct experiment_mlp){ .name = "cs231n-dropout",
                                                                 .activation = "relu",
                                                                 .depth = 1,
                                                                 .width = 500,
                                                                 .scale = 1e-2 });
        edit_default(model, "lr", json_real(5e-4));
        edit_default(model, "batch", json_integer(100));
        edit_default(model, "epochs", json_integer(25));
        few_images(model, 500);
        if (k) edit_insert(model, "fc1", 2, dropout_layer(0.75));
        code = experiment_add(p, "cs231n fc 500", k ? "dropout 0.75" : "no dropout", 5 + (double)k,
                              model);
    }
    return code;
}

static void conclude_dropout(const struct experiment_plan *p, char out[EXPERIMENT_SENTENCE])
{
    double acc[5];
    for (size_t k = 0; k < 5; k++) acc[k] = of(p, &p->row[k], METRIC_TEST);
    say(out,
        "On the test images lenet-bn is right on %.3f with neither, %.3f with dropout, %.3f with "
        "batch norm, %.3f with both, and %.3f where batch norm follows dropout: inference's "
        "variances there are %.2f times those of training (with dropout behind it %.2f). cs231n's "
        "net is right on %.3f of the training and %.3f of the test images without dropout, %.3f "
        "and %.3f with it.",
        acc[0], acc[1], acc[2], acc[3], acc[4], of(p, &p->row[4], METRIC_SHIFT),
        of(p, &p->row[3], METRIC_SHIFT), of(p, &p->row[5], METRIC_TRAIN),
        of(p, &p->row[5], METRIC_TEST), of(p, &p->row[6], METRIC_TRAIN),
        of(p, &p->row[6], METRIC_TEST));
}

static const struct experiment dropout = { .command = "ablate",
                                           .name = "dropout",
                                           .about = "dropout, batch norm, both, and in which order",
                                           .axis = "layers",
                                           .groups = "net",
                                           .metric = { METRIC_LOSS, METRIC_TRAIN, METRIC_TEST,
                                                       METRIC_SHIFT, METRICS },
                                           .shifts = true,
                                           .quick_epochs = 2,
                                           .plan = plan_dropout,
                                           .conclude = conclude_dropout };

/* -------------------------------------------------------------------------------- ablate batch */

static const struct {
    const char *group, *type;
    int groups;
} norms[] = { { "none", NULL, 0 },
              { "batch norm", "batch_norm", 0 }, /* with running statistics from 0, biased */
              { "layer norm", "layer_norm", 0 },
              { "group norm", "group_norm", 10 } };
enum { NORMS = sizeof norms / sizeof *norms };

/* cs231n's deep net with a norm of that kind. */
static json_t *normed(size_t kind, size_t depth, size_t width, double scale)
{
    char name[32];
    json_t *norm = norms[kind].type ? json_pack("{s:s}", "type", norms[kind].type) : NULL;
    if (norms[kind].type && !strcmp(norms[kind].type, "batch_norm")) {
        json_object_set_new(norm, "running_var", json_string("biased"));
        json_object_set_new(norm, "zero_init", json_true());
    }
    if (norms[kind].groups) json_object_set_new(norm, "groups", json_integer(norms[kind].groups));
    snprintf(name, sizeof name, "fc-%zux%zu%s%s", depth, width, norm ? "-" : "",
             norm ? norms[kind].type : "");
    const struct experiment_mlp mlp = { .name = name,
                                        .activation = "relu",
                                        .depth = depth,
                                        .width = width,
                                        .norm = norm,
                                        .scale = scale };
    return experiment_mlp(&mlp);
}

static int plan_batch(struct experiment_plan *p)
{
    static const double usual[] = { 5, 10, 50 };
    const size_t n = p->o->n_values ? p->o->n_values : 3;
    const double *values = p->o->n_values ? p->o->value : usual;
    int code = CLI_OK;
    for (size_t i = 0; i < n && !code; i++) {
        char text[32];
        snprintf(text, sizeof text, "%.0f", values[i]);
        for (size_t k = 0; k < NORMS && !code; k++) {
            json_t *model = normed(k, 5, 100, 2e-2);
            edit_default(model, "lr", json_real(pow(10, -3.5)));
            edit_default(model, "batch", json_integer((json_int_t)values[i]));
            few_images(model, 1000);
            code = experiment_add(p, norms[k].group, text, values[i], model);
        }
    }
    return code;
}

static void conclude_batch(const struct experiment_plan *p, char out[EXPERIMENT_SENTENCE])
{
    const char *least = p->row[0].value, *most = p->row[p->n - 1].value;
    say(out, "From batches of %s to %s the training accuracy goes", least, most);
    for (size_t k = 1; k <= NORMS; k++) {
        const char *group = norms[k % NORMS].group;
        say(out, "%s from %.3f to %.3f with %s", k > 1 ? "," : "",
            of(p, experiment_find(p, group, least), METRIC_TRAIN),
            of(p, experiment_find(p, group, most), METRIC_TRAIN),
            strcmp(group, "none") ? group : "no normalization");
    }
    say(out, ".");
}

static const struct experiment batch = { .command = "ablate",
                                         .name = "batch",
                                         .about = "how much norms depend on the size of batches",
                                         .axis = "batch",
                                         .groups = "norm",
                                         .metric = { METRIC_LOSS, METRIC_TRAIN, METRIC_BEST_TRAIN,
                                                     METRIC_BEST_VALID, METRICS },
                                         .takes_values = true,
                                         .whole = true,
                                         .least = 2,
                                         .most = 1 << 20,
                                         .quick_epochs = 3,
                                         .plan = plan_batch,
                                         .conclude = conclude_batch };

/* ---------------------------------------------------------------------------------- sweep init */

static int plan_init(struct experiment_plan *p)
{
    double values[EXPERIMENT_VALUES];
    const size_t n = logarithmic(p, 1e-4, 1, p->o->quick ? 9 : 20, values);
    int code = CLI_OK;
    for (size_t i = 0; i < n && !code; i++) {
        char text[32];
        snprintf(text, sizeof text, "%.2e", values[i]);
        for (size_t k = 0; k < 2 && !code; k++) {
            json_t *model = normed(1 - k, 7, 50, values[i]);
            few_images(model, 1000);
            code = experiment_add(p, norms[1 - k].group, text, values[i], model);
        }
    }
    return code;
}

/* The scales at which a group has at least 3/4 of the best accuracy of all. */
static void say_band(const struct experiment_plan *p, const char *group, char *out)
{
    const double enough = 0.75 * of(p, best(p, NULL, METRIC_BEST_VALID), METRIC_BEST_VALID);
    const struct experiment_row *lo = NULL, *hi = NULL;
    size_t n = 0, good = 0;
    double least = INFINITY, most = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct experiment_row *row = &p->row[i];
        const double acc = of(p, row, METRIC_BEST_VALID);
        if (strcmp(row->group, group)) continue;
        n++;
        least = fmin(least, acc);
        most = fmax(most, acc);
        if (!(acc >= enough)) continue;
        good++;
        if (!lo) lo = row;
        hi = row;
    }
    say(out, "%.3f to %.3f, and good at %zu of %zu scales", least, most, good, n);
    if (lo) say(out, lo == hi ? " (%.3g)" : " (%.3g to %.3g)", lo->x, hi->x);
}

static void conclude_init(const struct experiment_plan *p, char out[EXPERIMENT_SENTENCE])
{
    say(out, "Over the scales of the first weights the best validation accuracy is, with batch "
             "norm, ");
    say_band(p, norms[1].group, out);
    say(out, "; without, ");
    say_band(p, norms[0].group, out);
    say(out, "; good: at least 3/4 of the best of all.");
}

static const struct experiment init = {
    .command = "sweep",
    .name = "init",
    .about = "how much a deep net depends on the scale of its first weights",
    .axis = "scale",
    .groups = "norm",
    .metric = { METRIC_BEST_VALID, METRIC_BEST_TRAIN, METRIC_LAST_LOSS, METRICS },
    .takes_values = true,
    .least = 1e-30,
    .most = 1e30,
    .quick_epochs = 5,
    .plan = plan_init,
    .conclude = conclude_init
};

/* ------------------------------------------------------------------------------------ saturate */

static const struct {
    const char *group, *activation;
    size_t depth;
} hidden[] = { { "3 x 100 sigmoid", "sigmoid", 3 },
               { "10 x 100 sigmoid", "sigmoid", 10 },
               { "10 x 100 tanh", "tanh", 10 } };
enum { HIDDEN = sizeof hidden / sizeof *hidden };

/* Ioffe and Szegedy's net with other hidden layers. */
static json_t *saturating(size_t k, bool norm)
{
    json_t *model = experiment_model("ioffe-mnist-plain"), *layers = json_array();
    json_array_append_new(layers, json_pack("{s:s}", "type", "flatten"));
    for (size_t i = 1; i <= hidden[k].depth; i++) {
        char fc[16], bn[16];
        snprintf(fc, sizeof fc, "fc%zu", i);
        snprintf(bn, sizeof bn, "bn%zu", i);
        json_array_append_new(layers, json_pack("{s:s, s:s, s:i}", "type", "linear", "name", fc,
                                                "out_features", 100));
        if (norm)
            json_array_append_new(layers,
                                  json_pack("{s:s, s:s}", "type", "batch_norm", "name", bn));
        json_array_append_new(layers, json_pack("{s:s}", "type", hidden[k].activation));
    }
    json_array_append_new(
        layers, json_pack("{s:s, s:s, s:i}", "type", "linear", "name", "out", "out_features", 10));
    if (model) json_object_set(model, "layers", layers);
    json_decref(layers);
    return model;
}

static int plan_saturate(struct experiment_plan *p)
{
    const json_int_t often = p->o->quick ? 100 : 500;
    int code = CLI_OK;
    for (size_t k = 0; k < 2 * HIDDEN && !code; k++) {
        const bool norm = k % 2 == 0;
        json_t *model = saturating(k / 2, norm);
        if (!model) return CLI_BAD;
        edit_name(model, "%s-%zux100%s", hidden[k / 2].activation, hidden[k / 2].depth,
                  norm ? "-bn" : "");
        edit_default(model, "eval_steps", json_integer(often));
        code =
            experiment_add(p, hidden[k / 2].group, norm ? "batch norm" : "none", (double)k, model);
        if (!code)
            snprintf(p->row[p->n - 1].probe, sizeof p->row->probe, "%s%zu:0", norm ? "bn" : "fc",
                     hidden[k / 2].depth);
    }
    return code;
}

static void conclude_saturate(const struct experiment_plan *p, char out[EXPERIMENT_SENTENCE])
{
    for (size_t k = 0; k < HIDDEN; k++)
        say(out, "%s %s: test acc %.3f with batch norm, %.3f without", k ? ";" : "",
            hidden[k].group, of(p, &p->row[2 * k], METRIC_TEST),
            of(p, &p->row[2 * k + 1], METRIC_TEST));
    say(out,
        ". The median of what one unit of the last hidden layer of %s is given moves over "
        "%.2f with batch norm, over %.2f without.",
        hidden[0].group, of(p, &p->row[0], METRIC_MOVED), of(p, &p->row[1], METRIC_MOVED));
}

static const struct experiment saturate = {
    .command = "saturate",
    .name = "",
    .about = "saturating activations, and what they are given",
    .axis = "norm",
    .groups = "hidden layers",
    .metric = { METRIC_LOSS, METRIC_TEST, METRIC_P15, METRIC_P50, METRIC_P85, METRIC_MOVED,
                METRICS },
    .watches = true,
    .quick_epochs = 3,
    .plan = plan_saturate,
    .conclude = conclude_saturate
};

const struct experiment *const experiments[] = { &lr,   &init,    &placement, &bias,     &affine,
                                                 &lite, &dropout, &batch,     &saturate, NULL };
