/* Model files that are wrong in every way: the sentence says where, what was expected and what was
 * found; and what the overrides of the program change. (That good files build the nets they
 * describe: checkpoint_test, cli_test, choices_test.) */
#include "models/models.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char error[5000];

static enum model_status parse(const char *text, const struct model_options *options,
                               struct model **model)
{
    *error = 0;
    enum model_status status =
        model_parse("m", text, strlen(text), options, model, error, sizeof error);
    if ((status == MODEL_OK) != (*model != NULL))
        fail_msg("%s: status %d, model %p", text, (int)status, (void *)*model);
    return status;
}

/* The text is refused with exactly this sentence, behind the name of the file. */
static void refused(const char *text, const struct model_options *options, const char *told)
{
    struct model *model;
    enum model_status status = parse(text, options, &model);
    if (status != MODEL_BAD)
        fail_msg("%.200s: status %d, expected it to be refused: %s", text, (int)status, told);
    if (strncmp(error, "m: ", 3) || strcmp(error + 3, told))
        fail_msg("%.200s:\nexpected '%s'\nfound '%s'", text, told, error);
}

#define PARAMS                                                                           \
    "defaults: \"params\": expected an array of at most 32 {\"match\": \"conv1.*\", "    \
    "\"frozen\": true, \"trained\": true, \"lr_factor\": 0.1, \"decay_factor\": 0, "     \
    "\"max_norm\": 3, \"init\": \"normal\", \"init_value\": 0.01}, of which only match " \
    "is needed, found "
#define HEAD "{\"name\": \"n\", \"input\": [1, 8, 8], "
#define LAYERS "\"layers\": [{\"type\": \"flatten\"}]}"
#define ONE(layer) HEAD "\"layers\": [" layer "]}"
#define CONV "{\"type\": \"conv2d\", \"name\": \"c\", \"out_channels\": 2, \"kernel\": 3"
#define FC "{\"type\": \"linear\", \"name\": \"fc\", \"out_features\": 2}"
#define POOL "{\"type\": \"pool2d\", \"kernel\": 2"
#define PIT(more) ONE("{\"type\": \"pit\", \"name\": \"g\", " more "}")
#define NAME_OF(NAME, name, ...) ", " #name
#define KINDS                                                                             \
    "one of conv2d, conv_transpose2d, bias, linear, batch_norm, group_norm, layer_norm, " \
    "instance_norm, dbn, iter_norm, pit" CVY_ACTIVATIONS(                                 \
        NAME_OF) ", prelu, pool2d, "                                                      \
                 "maxout, global_avg_pool, upsample, mean_subtract, dropout, "            \
                 "flatten, add, multiply, concat, pad_channels"
#define NAMES "1 to 127 letters, digits, '.', '_' or '-'"
#define LONG "0123456789012345678901234567890123456789012345678901234567890123"
#define SIZES "an integer or [rows, columns], each from 1 to 16777216"
#define PADS "an integer, [rows, columns] or [top, left, bottom, right], each from 0 to 16777216"

static void wrong_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *told;
    } wrong[] = {
        { "[]", "expected a JSON object {\"name\": ..., \"layers\": [...]}" },
        { "{}", "\"name\" is missing: expected 1 to 63 letters, digits, '.', '_' or '-'" },
        { "{\"name\": 5}", "\"name\": expected 1 to 63 letters, digits, '.', '_' or '-', found 5" },
        { "{\"name\": \"\"}",
          "\"name\": expected 1 to 63 letters, digits, '.', '_' or '-', found \"\"" },
        { "{\"name\": \"a/b\"}",
          "\"name\": expected 1 to 63 letters, digits, '.', '_' or '-', found \"a/b\"" },
        { "{\"name\": \"" LONG "\"}", "\"name\": expected 1 to 63 letters, digits, '.', '_' or "
                                      "'-', found \"0123456789012345678901234567890123456789\"" },
        { "{\"name\": \"n\"}",
          "\"input\" is missing: expected [channels, rows, columns], each from 1 to 16777216" },
        { "{\"name\": \"n\", \"input\": 3}",
          "\"input\": expected [channels, rows, columns], each from 1 to 16777216, found 3" },
        { "{\"name\": \"n\", \"input\": [1, 2]}", "\"input\": expected [channels, rows, columns], "
                                                  "each from 1 to 16777216, found an array of 2" },
        { "{\"name\": \"n\", \"input\": [1, 2, 2.5]}",
          "\"input\": expected [channels, rows, columns], each from 1 to 16777216, found an array "
          "of 3" },
        { HEAD "\"description\": 1.5, " LAYERS,
          "\"description\": expected a string of at most 199 bytes, found 1.5" },
        { HEAD "\"data\": true, " LAYERS,
          "\"data\": expected a string of at most 63 bytes, found true" },
        { HEAD "\"data\": \"" LONG "\", " LAYERS,
          "\"data\": expected a string of at most 63 bytes, found "
          "\"0123456789012345678901234567890123456789\"" },
        { HEAD "\"layer\": [], " LAYERS, "unknown key \"layer\"" },
        { "{\"name\": \"n\", \"input\": [1, 8, 8]}",
          "\"layers\" is missing: expected an array of 1 to 100000 layers" },
        { HEAD "\"layers\": {\"a\": 1}}",
          "\"layers\": expected an array of 1 to 100000 layers, found an object of 1" },
        { HEAD "\"layers\": []}",
          "\"layers\": expected an array of 1 to 100000 layers, found an array of 0" },
        /* normalizations */
        { ONE("{\"type\": \"mean_subtract\"}"), "layer 0: a mean_subtract needs \"over\"" },
        { ONE("{\"type\": \"mean_subtract\", \"over\": \"all\"}"),
          "layer 0: \"over\": expected one of \"batch\" \"image\", found \"all\"" },
        { ONE("{\"type\": \"upsample\", \"kind\": \"cubic\", \"scale\": 2}"),
          "layer 0: \"kind\": expected one of \"nearest\" \"bilinear\", found \"cubic\"" },
        { ONE("{\"type\": \"upsample\", \"kind\": \"nearest\", \"scale\": 0}"),
          "layer 0: \"scale\": expected " SIZES ", found 0" },
        { HEAD "\"defaults\": {\"temperature\": 0}, " LAYERS,
          "defaults: \"temperature\": expected a number from 1e-30 to 1e+30, found 0" },
        { ONE("{\"type\": \"group_norm\", \"name\": \"g\"}"),
          "layer 0 ('g'): a group_norm needs \"groups\"" },
        { ONE("{\"type\": \"dbn\", \"name\": \"g\", \"steps\": 3}"),
          "layer 0 ('g'): unknown key \"steps\"" },
        { ONE("{\"type\": \"iter_norm\"}"),
          "layer 0: a iter_norm has parameters and needs a \"name\"" },
        { ONE("{\"type\": \"pit\"}"), "layer 0: a pit has parameters and needs a \"name\"" },
        { PIT("\"form\": \"exact\""), "layer 0 ('g'): \"form\": expected one of \"parametric\" "
                                      "\"empirical\", found \"exact\"" },
        { PIT("\"normal\": 1"), "layer 0 ('g'): \"normal\": expected true or false, found 1" },
        { PIT("\"quantiles\": 1"),
          "layer 0 ('g'): \"quantiles\": expected an integer from 2 to 65536, found 1" },
        { PIT("\"momentum\": 0"),
          "layer 0 ('g'): \"momentum\": expected a number above 0 and at most 1, found 0" },
        { PIT("\"gamma\": false"), "layer 0 ('g'): unknown key \"gamma\"" },
        { ONE("{\"type\": \"layer_norm\", \"name\": \"g\", \"groups\": 1}"),
          "layer 0 ('g'): unknown key \"groups\"" },
        /* normalize */
        { HEAD "\"normalize\": 1, " LAYERS,
          "\"normalize\": expected an object {\"mean\": [...], \"std\": [...]}, found 1" },
        { HEAD "\"normalize\": {\"mean\": [0], \"var\": [1]}, " LAYERS,
          "normalize: unknown key \"var\"" },
        { HEAD "\"normalize\": {\"threshold\": 0}, " LAYERS,
          "normalize: \"threshold\": expected a number above 0 and at most 1, found 0" },
        { HEAD "\"normalize\": {\"threshold\": \"x\"}, " LAYERS,
          "normalize: \"threshold\": expected a number above 0 and at most 1, found \"x\"" },
        { HEAD "\"normalize\": {\"threshold\": 0.5, \"mean\": [0]}, " LAYERS,
          "normalize: \"std\" is missing: expected 1 numbers above 0, one for each input channel "
          "(at most 64)" },
        { HEAD "\"normalize\": {\"mean\": [0]}, " LAYERS,
          "normalize: \"std\" is missing: expected 1 numbers above 0, one for each input channel "
          "(at most 64)" },
        { HEAD "\"normalize\": {\"mean\": [0, 1], \"std\": [1]}, " LAYERS,
          "normalize: \"mean\": expected 1 numbers, one for each input channel (at most 64), found "
          "an array of 2" },
        { HEAD "\"normalize\": {\"mean\": [null], \"std\": [1]}, " LAYERS,
          "normalize: \"mean\": expected 1 numbers, one for each input channel (at most 64), found "
          "null" },
        { HEAD "\"normalize\": {\"mean\": [0.5], \"std\": [0]}, " LAYERS,
          "normalize: \"std\": expected 1 numbers above 0, one for each input channel (at most "
          "64), found 0" },
        { HEAD "\"normalize\": {}, " LAYERS,
          "normalize: \"mean\" is missing: expected 1 numbers, one for each input channel "
          "(at most 64)" },
        { HEAD "\"normalize\": {\"mean_image\": 1}, " LAYERS,
          "normalize: \"mean_image\": expected true or false, found 1" },
        { HEAD "\"normalize\": {\"mean_image\": true, \"mean\": [0], \"std\": [1]}, " LAYERS,
          "normalize: \"mean\" and \"mean_image\": expected one of them" },
        { HEAD "\"normalize\": {\"mean_image\": true, \"std\": [0]}, " LAYERS,
          "normalize: \"std\": expected 1 numbers above 0, one for each input channel (at most "
          "64), found 0" },
        { HEAD "\"normalize\": {\"zero_mean\": true, \"scale\": 1}, " LAYERS,
          "normalize: \"zero_mean\" says all of \"mean\", \"std\", \"mean_image\" and "
          "\"scale\": expected none of them beside it" },
        { "{\"name\": \"n\", \"input\": [65, 1, 1], \"normalize\": {\"zero_mean\": true}, " LAYERS,
          "normalize: \"zero_mean\": expected at most 64 input channels, found 65" },
        { "{\"name\": \"n\", \"input\": [3, 1, 1], \"normalize\": {\"grayscale\": true}, " LAYERS,
          "normalize: \"grayscale\": expected an input of 1 channel, found 3" },
        { HEAD "\"normalize\": {\"zca\": true}, " LAYERS,
          "normalize: \"zca\": expected a number of at least 1e-30 and at most 1e+30, found true" },
        { HEAD "\"normalize\": {\"zca\": 1, \"mean\": [0], \"std\": [1]}, " LAYERS,
          "normalize: \"mean\" and \"zca\": expected one of them" },
        { "{\"name\": \"n\", \"input\": [1, 64, 65], \"normalize\": {\"zca\": 1}, " LAYERS,
          "normalize: \"zca\": expected an input of at most 4096 numbers, found 4160" },
        { HEAD "\"normalize\": {\"scale\": 0}, " LAYERS,
          "normalize: \"scale\": expected a number of at least 1e-30 and at most 1e+30, found 0" },
        /* defaults */
        { HEAD "\"defaults\": [1], " LAYERS,
          "\"defaults\": expected an object, found an array of 1" },
        { HEAD "\"defaults\": {\"optimizer\": \"sdg\"}, " LAYERS,
          "defaults: \"optimizer\": expected one of \"sgd\" \"adam\" \"adamw\" \"rmsprop\" "
          "\"adagrad\" \"adadelta\", found \"sdg\"" },
        { HEAD "\"defaults\": {\"loss\": \"l1\"}, " LAYERS,
          "defaults: \"loss\": expected one of \"cross_entropy\" \"mse\" \"bce\" \"hinge\", "
          "found \"l1\"" },
        { HEAD "\"defaults\": {\"margin\": 0}, " LAYERS,
          "defaults: \"margin\": expected a number above 0 and at most 1e+30, found 0" },
        { HEAD "\"defaults\": {\"class_weights\": [1, -1]}, " LAYERS,
          "defaults: \"class_weights\": expected an array of numbers, 0 or more, one a class, "
          "found an array of 2" },
        { HEAD "\"defaults\": {\"class_weights\": []}, " LAYERS,
          "defaults: \"class_weights\": expected an array of numbers, 0 or more, one a class, "
          "found an array of 0" },
        { HEAD "\"defaults\": {\"margin\": \"a\"}, " LAYERS,
          "defaults: \"margin\": expected a number above 0 and at most 1e+30, found \"a\"" },
        { HEAD "\"defaults\": {\"margin\": 1e31}, " LAYERS,
          "defaults: \"margin\": expected a number above 0 and at most 1e+30, found 1e+31" },
        { HEAD "\"defaults\": {\"label_smoothing\": true}, " LAYERS,
          "defaults: \"label_smoothing\": expected a number from 0 to below 1, found true" },
        { HEAD "\"defaults\": {\"label_smoothing\": -0.5}, " LAYERS,
          "defaults: \"label_smoothing\": expected a number from 0 to below 1, found -0.5" },
        { HEAD "\"defaults\": {\"class_weights\": 3}, " LAYERS,
          "defaults: \"class_weights\": expected an array of numbers, 0 or more, one a class, "
          "found 3" },
        { HEAD "\"defaults\": {\"class_weights\": [\"a\"]}, " LAYERS,
          "defaults: \"class_weights\": expected an array of numbers, 0 or more, one a class, "
          "found an array of 1" },
        { HEAD "\"defaults\": {\"class_weights\": [1e31]}, " LAYERS,
          "defaults: \"class_weights\": expected an array of numbers, 0 or more, one a class, "
          "found an array of 1" },
        { HEAD "\"defaults\": {\"ignore_index\": 4294967296}, " LAYERS,
          "defaults: \"ignore_index\": expected a class's number, found 4294967296" },
        { HEAD "\"defaults\": {\"params\": 3}, " LAYERS, PARAMS "3" },
        { HEAD "\"defaults\": {\"params\": [3]}, " LAYERS, PARAMS "an array of 1" },
        { HEAD "\"defaults\": {\"params\": [{}]}, " LAYERS, PARAMS "an array of 1" },
        { HEAD "\"defaults\": {\"params\": [{\"match\": \"\"}]}, " LAYERS, PARAMS "an array of 1" },
        { HEAD "\"defaults\": {\"params\": [{\"match\": \"a\", \"frozen\": 1}]}, " LAYERS,
          PARAMS "an array of 1" },
        { HEAD "\"defaults\": {\"params\": [{\"match\": \"a\", \"trained\": 0}]}, " LAYERS,
          PARAMS "an array of 1" },
        { HEAD "\"defaults\": {\"params\": [{\"match\": \"a\", \"lr_factor\": 0}]}, " LAYERS,
          PARAMS "an array of 1" },
        { HEAD "\"defaults\": {\"params\": [{\"match\": \"a\", \"lr_factor\": 2e6}]}, " LAYERS,
          PARAMS "an array of 1" },
        { HEAD "\"defaults\": {\"params\": [{\"match\": \"a\", \"lr_factor\": \"b\"}]}, " LAYERS,
          PARAMS "an array of 1" },
        { HEAD "\"defaults\": {\"params\": [{\"match\": \"a\", \"decay_factor\": -1}]}, " LAYERS,
          PARAMS "an array of 1" },
        { HEAD "\"defaults\": {\"params\": [{\"match\": \"a\", \"decay_factor\": \"b\"}]}, " LAYERS,
          PARAMS "an array of 1" },
        { HEAD "\"defaults\": {\"params\": [{\"match\": \"a\", \"max_norm\": -1}]}, " LAYERS,
          PARAMS "an array of 1" },
        { HEAD "\"defaults\": {\"params\": [{\"match\": \"a\", \"max_norm\": \"1\"}]}, " LAYERS,
          PARAMS "an array of 1" },
        { HEAD "\"defaults\": {\"params\": [{\"match\": \"a\", \"rate\": 1}]}, " LAYERS,
          PARAMS "an array of 1" },
        { HEAD "\"defaults\": {\"ignore_index\": 1.5}, " LAYERS,
          "defaults: \"ignore_index\": expected a class's number, found 1.5" },
        { HEAD "\"defaults\": {\"nesterov\": 1}, " LAYERS,
          "defaults: \"nesterov\": expected true or false, found 1" },
        { HEAD "\"defaults\": {\"rate\": 1}, " LAYERS, "defaults: unknown key \"rate\"" },
        { HEAD "\"defaults\": {\"batch\": 0}, " LAYERS,
          "defaults: \"batch\": expected an integer from 1 to 1048576, found 0" },
        { HEAD "\"defaults\": {\"batch\": 1048577}, " LAYERS,
          "defaults: \"batch\": expected an integer from 1 to 1048576, found 1048577" },
        { HEAD "\"defaults\": {\"batch\": 64.0}, " LAYERS,
          "defaults: \"batch\": expected an integer from 1 to 1048576, found 64" },
        { HEAD "\"defaults\": {\"lr\": -0.5}, " LAYERS,
          "defaults: \"lr\": expected a number of at least 0 and at most 1e+30, found -0.5" },
        { HEAD "\"defaults\": {\"lr\": 1e31}, " LAYERS,
          "defaults: \"lr\": expected a number of at least 0 and at most 1e+30, found 1e+31" },
        { HEAD "\"defaults\": {\"lr\": \"fast\"}, " LAYERS,
          "defaults: \"lr\": expected a number of at least 0 and at most 1e+30, found \"fast\"" },
        { HEAD "\"defaults\": {\"momentum\": 1}, " LAYERS,
          "defaults: \"momentum\": expected a number of at least 0 and below 1, found 1" },
        { HEAD "\"defaults\": {\"label_smoothing\": 1}, " LAYERS,
          "defaults: \"label_smoothing\": expected a number from 0 to below 1, found 1" },
        { HEAD "\"defaults\": {\"nesterov\": 1}, " LAYERS,
          "defaults: \"nesterov\": expected true or false, found 1" },
        { HEAD "\"defaults\": {\"init\": \"zero\"}, " LAYERS,
          "defaults: \"init\": expected an object, found \"zero\"" },
        { HEAD "\"defaults\": {\"init\": {\"gamma\": \"zero\"}}, " LAYERS,
          "defaults: unknown key \"gamma\"" },
        { HEAD "\"defaults\": {\"init\": {\"weights\": \"ones\"}}, " LAYERS,
          "defaults: \"weights\": expected one of \"default\" \"xavier_uniform\" "
          "\"kaiming_normal\" "
          "\"torch_default\" \"zero\" \"constant\" \"normal\" \"truncated_normal\" \"orthogonal\" "
          "\"kaiming_normal_fan_out\", "
          "found \"ones\"" },
        { HEAD "\"defaults\": {\"init\": {\"weights_value\": \"1\"}}, " LAYERS,
          "defaults: \"weights_value\": expected a number, found \"1\"" },
        { HEAD "\"defaults\": {\"init\": {\"biases\": 0}}, " LAYERS,
          "defaults: \"biases\": expected one of \"default\" \"xavier_uniform\" \"kaiming_normal\" "
          "\"torch_default\" \"zero\" \"constant\" \"normal\" \"truncated_normal\" \"orthogonal\" "
          "\"kaiming_normal_fan_out\", "
          "found 0" },
#define DROPS(value, found)                                                                   \
    { HEAD "\"defaults\": {\"lr_drop_epochs\": " value "}, " LAYERS,                          \
      "defaults: \"lr_drop_epochs\": expected at most 16 increasing epoch numbers from 1 to " \
      "1048576, found " found }
        DROPS("5", "5"),
        DROPS("[0]", "an array of 1"),
        DROPS("[1, 2.5]", "an array of 2"),
        DROPS("[1048577]", "an array of 1"),
        DROPS("[3, 3]", "an array of 2"),
        DROPS("[\"3\"]", "an array of 1"),
        DROPS("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]", "an array of 17"),
        { HEAD "\"defaults\": {\"sampling\": \"random\"}, " LAYERS,
          "defaults: \"sampling\": expected one of \"shuffled\" \"fixed\" \"buffered\" "
          "\"replacement\", found \"random\"" },
        { HEAD "\"defaults\": {\"schedule\": \"cosinus\"}, " LAYERS,
          "defaults: \"schedule\": expected one of constant, step, milestones, exponential, "
          "staircase, cosine, one_cycle, eras, found 'cosinus'" },
        { HEAD "\"defaults\": {\"schedule\": {}}, " LAYERS,
          "defaults: \"schedule\": expected a text, as \"cosine:floor=0.001\", found an object of "
          "0" },
        { HEAD "\"defaults\": {\"schedule\": \"step\", \"lr_drop_factor\": 1}, " LAYERS,
          "defaults: \"schedule\" and \"lr_drop_factor\": expected one of them" },
        { HEAD "\"defaults\": {\"schedule\": \"step\", \"lr_drop_epochs\": [1]}, " LAYERS,
          "defaults: \"schedule\" and \"lr_drop_epochs\": expected one of them" },
        /* layers */
        { ONE("3"), "layer 0: expected an object {\"type\": ...}" },
        { ONE("{}"), "layer 0: \"type\" is missing: expected " KINDS },
        { ONE("{\"type\": 7}"), "layer 0: \"type\": expected " KINDS ", found 7" },
        { ONE("{\"type\": \"conv\"}"), "layer 0: \"type\": expected " KINDS ", found \"conv\"" },
        { ONE("{\"type\": \"relu\", \"name\": false}"),
          "layer 0: \"name\": expected " NAMES ", found false" },
        { ONE("{\"type\": \"relu\", \"name\": \"" LONG LONG "\"}"),
          "layer 0: \"name\": expected " NAMES
          ", found \"0123456789012345678901234567890123456789\"" },
        { ONE("{\"type\": \"relu\", \"name\": \"input\"}"),
          "layer 0 ('input'): the name is taken already" },
        { ONE("{\"type\": \"relu\", \"name\": \"a\"}, {\"type\": \"tanh\", \"name\": \"a\"}"),
          "layer 1 ('a'): the name is taken already" },
        { ONE("{\"type\": \"linear\", \"out_features\": 3}"),
          "layer 0: a linear has parameters and needs a \"name\"" },
        { ONE("{\"type\": \"linear\", \"name\": \"f\"}"),
          "layer 0 ('f'): a linear needs \"out_features\"" },
        { ONE("{\"type\": \"tanh\", \"alpha\": 1}"), "layer 0: unknown key \"alpha\"" },
        { ONE("{\"type\": \"tanh\", \"inputs\": [\"input\"]}"), "layer 0: unknown key \"inputs\"" },
        { ONE("{\"type\": \"add\", \"input\": \"input\", \"inputs\": [\"input\", \"input\"]}"),
          "layer 0: unknown key \"input\"" },
        { ONE("{\"type\": \"tanh\", \"input\": \"b\"}"),
          "layer 0: \"input\": no earlier layer is named \"b\"" },
        { ONE("{\"type\": \"tanh\", \"name\": \"b\", \"input\": \"b\"}"),
          "layer 0 ('b'): \"input\": no earlier layer is named \"b\"" },
        { ONE("{\"type\": \"tanh\", \"input\": []}"),
          "layer 0: \"input\": expected the name of an earlier layer, or \"input\", found an array "
          "of 0" },
        { ONE("{\"type\": \"tanh\", \"input\": [\"input\"]}"),
          "layer 0: \"input\": expected the name of an earlier layer, or \"input\", found an array "
          "of 1" },
        { ONE("{\"type\": \"add\"}"),
          "layer 0: \"inputs\" is missing: expected an array of 2 to 2 names of earlier layers" },
        { ONE("{\"type\": \"add\", \"inputs\": \"input\"}"),
          "layer 0: \"inputs\": expected an array of 2 to 2 names of earlier layers, found "
          "\"input\"" },
        { ONE("{\"type\": \"add\", \"inputs\": [\"input\"]}"),
          "layer 0: \"inputs\": expected an array of 2 to 2 names of earlier layers, found an "
          "array of 1" },
        { ONE("{\"type\": \"add\", \"inputs\": [\"input\", \"input\", \"input\"]}"),
          "layer 0: \"inputs\": expected an array of 2 to 2 names of earlier layers, found an "
          "array of 3" },
        { ONE("{\"type\": \"concat\", \"inputs\": [\"input\", 0]}"),
          "layer 0: \"inputs\": expected the name of an earlier layer, or \"input\", found 0" },
        { ONE("{\"type\": \"concat\", \"inputs\": [\"input\", \"a\"]}"),
          "layer 0: \"inputs\": no earlier layer is named \"a\"" },
        { ONE(CONV ", \"stride\": 0}"), "layer 0 ('c'): \"stride\": expected " SIZES ", found 0" },
        { ONE(CONV ", \"stride\": [1, 0]}"),
          "layer 0 ('c'): \"stride\": expected " SIZES ", found an array of 2" },
        { ONE(CONV ", \"dilation\": [1, 1, 1, 1]}"),
          "layer 0 ('c'): \"dilation\": expected " SIZES ", found an array of 4" },
        { ONE(CONV ", \"stride\": {}}"),
          "layer 0 ('c'): \"stride\": expected " SIZES ", found an object of 0" },
        { ONE(CONV ", \"pad\": -1}"), "layer 0 ('c'): \"pad\": expected " PADS ", found -1" },
        { ONE(CONV ", \"pad\": [1, 1, 1]}"),
          "layer 0 ('c'): \"pad\": expected " PADS ", found an array of 3" },
        { ONE(CONV ", \"bias\": null}"),
          "layer 0 ('c'): \"bias\": expected true or false, found null" },
        { ONE(CONV ", \"flip\": \"yes\"}"),
          "layer 0 ('c'): \"flip\": expected true or false, found \"yes\"" },
        { ONE(CONV ", \"algorithm\": \"fft\"}"),
          "layer 0 ('c'): \"algorithm\": expected one of \"auto\" \"direct\" \"panels\" "
          "\"depthwise\" \"transformed\", found \"fft\"" },
        { ONE("{\"type\": \"elu\", \"alpha\": 0}"),
          "layer 0: \"alpha\": expected a number above 0 and at most 1e+30, found 0" },
        { ONE("{\"type\": \"relu\", \"grad_at_zero\": 2}"),
          "layer 0: \"grad_at_zero\": expected a number of at least 0 and at most 1, found 2" },
        { ONE(POOL "}"), "layer 0: a pool2d needs \"kind\"" },
        { ONE(POOL ", \"kind\": \"min\"}"),
          "layer 0: \"kind\": expected one of \"max\" \"avg\", found \"min\"" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused(wrong[i].text, NULL, wrong[i].told);
    struct model *model; /* the words are jansson's */
    assert_int_equal(parse("{\n\"name\": \"a\", \"name\": \"b\"}", NULL, &model), MODEL_BAD);
    if (strncmp(error, "m: line 2, column ", 18) || !strstr(error, "duplicate"))
        fail_msg("found '%s'", error);
}

/* A text of n times the same part between a beginning and an end. */
static char *repeated(const char *begin, const char *part, size_t n, const char *end)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    fputs(begin, f);
    for (size_t i = 0; i < n; i++) fprintf(f, "%s%s", i ? ", " : "", part);
    fputs(end, f);
    fclose(f);
    return text;
}

/* One more than the most of everything, and the most. */
static void limits(void **state)
{
    (void)state;
    struct model *model;
    char *text = repeated(HEAD "\"layers\": [", "{\"type\": \"flatten\"}", 100001, "]}");
    refused(text, NULL,
            "\"layers\": expected an array of 1 to 100000 layers, found an array of 100001");
    free(text);
    text =
        repeated(HEAD "\"layers\": [{\"type\": \"concat\", \"inputs\": [", "\"input\"", 65, "]}]}");
    refused(text, NULL,
            "layer 0: \"inputs\": expected an array of 2 to 64 names of earlier layers, found an "
            "array of 65");
    free(text);
    text =
        repeated(HEAD "\"layers\": [{\"type\": \"concat\", \"inputs\": [", "\"input\"", 64, "]}]}");
    assert_int_equal(parse(text, NULL, &model), MODEL_OK);
    model_free(&model);
    free(text);
    for (size_t channels = 64; channels <= 65; channels++) {
        char *means = repeated("", "1", channels, ""), *whole;
        assert_true(asprintf(&whole,
                             "{\"name\": \"n\", \"input\": [%zu, 1, 1], \"normalize\": {\"mean\": "
                             "[%s], \"std\": [%s]}, " LAYERS,
                             channels, means, means) > 0);
        if (channels == 64) {
            assert_int_equal(parse(whole, NULL, &model), MODEL_OK);
            assert_true(model->normalized && model->std[63] == 1);
            model_free(&model);
        } else {
            refused(whole, NULL,
                    "normalize: \"mean\": expected 65 numbers, one for each input channel (at most "
                    "64), found an array of 65");
        }
        free(means);
        free(whole);
    }
}

/* The mean of images, pixel by pixel, as floats hold it. */
static void mean_images(void **state)
{
    (void)state;
    enum { PIXELS = 64, IMAGES = 3 };
    uint8_t images[IMAGES][PIXELS];
    struct model *model;
    if (parse(HEAD "\"normalize\": {\"mean_image\": true, \"scale\": 1, \"std\": [2]}, " LAYERS,
              NULL, &model))
        fail_msg("%s", error);
    cvy_input_desc input = model_input(model);
    assert_true(model->input[1] * model->input[2] == PIXELS && input.mean_image && !input.mean);
    assert_true(input.scale == 1 && input.std[0] == 2 && input.mean_image[PIXELS - 1] == 0);
    for (int i = 0; i < IMAGES; i++)
        for (int p = 0; p < PIXELS; p++) images[i][p] = (uint8_t)(p % 2 ? 255 - i : p + i);
    model_set_mean(model, images[0], IMAGES);
    for (int p = 0; p < PIXELS; p++)
        assert_true(input.mean_image[p] == (double)(p % 2 ? 254 : p + 1));
    images[0][0] = 1;
    model_set_mean(model, images[0], IMAGES);
    assert_true(input.mean_image[0] == (double)(float)(4 / 3.0));
    model_free(&model);
    if (parse(HEAD "\"normalize\": {\"mean_image\": true}, " LAYERS, NULL, &model))
        fail_msg("%s", error);
    model_set_mean(model, images[0], IMAGES);
    input = model_input(model);
    assert_true(input.mean_image[1] == (double)(float)(254 / 255.0) && !input.std);
    model_free(&model);
    if (parse(HEAD "\"normalize\": {\"mean_image\": false}, " LAYERS, NULL, &model))
        fail_msg("%s", error);
    assert_null(model_input(model).mean_image);
    model_free(&model);
    if (parse(HEAD "\"normalize\": {\"zero_mean\": true, \"grayscale\": true}, " LAYERS, NULL,
              &model))
        fail_msg("%s", error);
    input = model_input(model);
    assert_true(input.mean[0] == 0.5 && input.std[0] == 0.5 && input.scale == 0);
    assert_true(model->grayscale);
    model_free(&model);
}

/* What model_set_zca makes of n images: [d][d], the caller's. */
static float *whitened(const char *text, const uint8_t *images, size_t n, size_t d)
{
    cvy_context *ctx;
    cvy_net *net;
    cvy_tensor logits;
    cvy_trainer *trainer;
    struct model *model;
    cvy_param_setting settings[MODEL_SETTINGS];
    float *matrix = malloc(d * d * sizeof *matrix);
    if (parse(text, NULL, &model)) fail_msg("%s", error);
    assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = 1 }, &ctx), CVY_OK);
    if (model_build(model, ctx, &net, &logits, error, sizeof error)) fail_msg("%s", error);
    const cvy_trainer_options o = model_trainer(model, &model->defaults, 1, settings);
    if (cvy_trainer_create(net, logits, &o, &trainer)) fail_msg("%s", cvy_message(ctx));
    model_set_mean(model, images, n);
    assert_int_equal(
        model_set_zca(model, images, MODEL_ZCA_IMAGES + 1, trainer, error, sizeof error),
        MODEL_BAD);
    assert_string_equal(error, "m: \"zca\": expected at most 8388608 images to train on, found "
                               "8388609");
    assert_int_equal(model_set_zca(model, images, n, trainer, error, sizeof error), MODEL_OK);
    assert_int_equal(cvy_trainer_get(trainer, CVY_PARAM_WEIGHT, "zca.weight", matrix, d * d),
                     CVY_OK);
    float gradient; /* it is not trained */
    assert_int_not_equal(
        cvy_trainer_get(trainer, CVY_PARAM_GRADIENT, "zca.weight", &gradient, d * d), CVY_OK);
    cvy_trainer_destroy(&trainer);
    cvy_net_destroy(&net);
    model_free(&model);
    cvy_context_destroy(&ctx);
    return matrix;
}

/* What a pit is made of, by its keys. */
static void pit_forms(void **state)
{
    (void)state;
    static const struct {
        const char *keys, *last; /* the last layer */
        size_t layers, quantiles;
    } forms[] = {
        { "", "activation", 3, 0 },
        { ", \"form\": \"parametric\", \"normal\": true", "batch_norm", 2, 0 },
        { ", \"form\": \"empirical\"", "rank", 3, 128 },
        { ", \"form\": \"empirical\", \"quantiles\": 9, \"normal\": true", "rank", 3, 9 },
        { ", \"form\": \"empirical\", \"quantiles\": 2, \"frozen\": true", "rank", 3, 2 },
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char text[400];
        struct model *model;
        cvy_context *ctx;
        cvy_net *net;
        cvy_tensor out;
        cvy_predictor *predictor;
        cvy_node_info node;
        snprintf(
            text, sizeof text,
            "{\"name\": \"n\", \"input\": [3, 4, 4], \"layers\": [{\"type\": \"pit\", \"name\": "
            "\"g\", \"momentum\": 0.2%s}]}",
            forms[i].keys);
        if (parse(text, NULL, &model)) fail_msg("%s", error);
        assert_int_equal(cvy_context_create(&(cvy_context_options){ .threads = 1 }, &ctx), CVY_OK);
        if (model_build(model, ctx, &net, &out, error, sizeof error)) fail_msg("%s", error);
        assert_int_equal(cvy_net_nodes(net), forms[i].layers);
        assert_int_equal(cvy_net_node(net, forms[i].layers - 1, &node), CVY_OK);
        assert_string_equal(node.type, forms[i].last);
        assert_int_equal(cvy_predictor_create(net, out, 2, NULL, NULL, &predictor), CVY_OK);
        float quantiles[3 * 128];
        const enum cvy_status found =
            cvy_predictor_get(predictor, CVY_PARAM_RUNNING, "g.rank.running_quantiles", quantiles,
                              3 * forms[i].quantiles);
        assert_int_equal(found == CVY_OK, forms[i].quantiles > 0);
        /* those of a normal distribution */
        for (size_t c = 0; c < 3 && forms[i].quantiles; c++)
            for (size_t k = 0, n = forms[i].quantiles; k < n; k++)
                assert_true(fabs(0.5 * erfc(-(double)quantiles[c * n + k] / sqrt(2)) -
                                 ((double)k + 0.5) / (double)n) < 1e-6);
        cvy_predictor_destroy(&predictor);
        cvy_net_destroy(&net);
        model_free(&model);
        cvy_context_destroy(&ctx);
    }
}

/* The matrix of "zca" against NumPy's: u diag((l + eps) ** -0.5) u' of numpy.linalg.eigh of the
 * covariance of 5 images of 8 numbers, which has rank 4. */
static void whitening_numbers(void **state)
{
    (void)state;
    static const double numpy[2][8] = {
        { 5.5265701, -0.6766606, -2.1523076, -2.6833611, 1.6062272, 0.2697117, 0.3062550,
          -0.4499799 },
        { 0.3062550, -0.0897705, -0.6156644, -0.6953258, -1.0461478, 1.8462416, 7.1429565,
          -0.1951339 },
    };
    uint8_t images[5][8];
    for (int i = 0; i < 5; i++)
        for (int p = 0; p < 8; p++) images[i][p] = (uint8_t)(37 * i * i + 101 * p + 17 * i * p * p);
    float *m = whitened("{\"name\": \"n\", \"input\": [2, 2, 2], \"normalize\": {\"zca\": 0.01, "
                        "\"mean_image\": true, \"std\": [0.5, 2]}, \"layers\": [{\"type\": "
                        "\"linear\", \"name\": \"f\", \"out_features\": 2}]}",
                        images[0], 5, 8);
    for (int j = 0; j < 8; j++)
        if (fabs((double)m[j] - numpy[0][j]) > 1e-6 || fabs((double)m[48 + j] - numpy[1][j]) > 1e-6)
            fail_msg("column %d: %.7f and %.7f, NumPy has %.7f and %.7f", j, (double)m[j],
                     (double)m[48 + j], numpy[0][j], numpy[1][j]);
    free(m);
}

/* matrix (covariance + eps) matrix is the identity: of more images than a sum takes at once, among
 * whose pixels some are alike and some never change. */
static void whitening_whitens(void **state)
{
    (void)state;
    enum { D = 64, IMAGES = 300 };
    static uint8_t images[IMAGES][D];
    static double covariance[D][D], half[D][D];
    double mean[D] = { 0 }, worst = 0;
    uint32_t r = 1;
    for (int i = 0; i < IMAGES; i++)
        for (int p = 0; p < D; p++) {
            r = r * 1664525u + 1013904223u;
            images[i][p] = p % 8 == 7 ? 200 : (uint8_t)(r >> 24);
            if (p % 8 == 5) images[i][p] = images[i][p - 1];
            mean[p] += images[i][p] / 255.0 / IMAGES;
        }
    for (int i = 0; i < IMAGES; i++)
        for (int p = 0; p < D * D; p++)
            covariance[p / D][p % D] += (images[i][p / D] / 255.0 - mean[p / D]) *
                                        (images[i][p % D] / 255.0 - mean[p % D]) / IMAGES;
    for (int p = 0; p < D; p++) covariance[p][p] += 1e-3;
    float *m = whitened(HEAD "\"normalize\": {\"zca\": 1e-3}, \"layers\": [{\"type\": \"linear\", "
                             "\"name\": \"f\", \"out_features\": 2}]}",
                        images[0], IMAGES, D);
    for (int p = 0; p < D * D; p++)
        for (int k = 0; k < D; k++)
            half[p / D][p % D] += (double)m[p / D * D + k] * covariance[k][p % D];
    for (int p = 0; p < D * D; p++) {
        double sum = p % (D + 1) == 0 ? -1 : 0;
        for (int k = 0; k < D; k++) sum += half[p / D][k] * (double)m[k * D + p % D];
        worst = fmax(worst, fabs(sum));
        assert_true(m[p] == m[p % D * D + p / D]);
    }
    if (worst > 1e-5) fail_msg("%g from the identity", worst);
    assert_true(fabs((double)m[7 * D + 7] - 1 / sqrt(1e-3)) < 1e-4 && fabs((double)m[7]) < 1e-6);
    free(m);
}

/* Which batch norms go into the layer before them, who reads whom then, and why others stay. */
static void folding(void **state)
{
    (void)state;
    struct model *model, *folded;
    struct model_fold *folds;
    size_t n;
#define BN(name, more) "{\"type\": \"batch_norm\", \"name\": \"" name "\"" more "},"
#define SUM(a, b) "{\"type\": \"add\", \"inputs\": [\"" a "\", \"" b "\"]}"
#define POINT(name) \
    "{\"type\": \"conv2d\", \"name\": \"" name "\", \"out_channels\": 2, \"kernel\": 1},"
#define F "{\"type\": \"linear\", \"name\": \"f\", \"out_features\": 3},"
    /* clang-format off */
    static const char text[] =
        HEAD "\"layers\": ["
        BN("first", "")
        CONV ", \"bias\": false},"
        BN("b1", ", \"eps\": 0.5")
        POINT("d")
        "{\"type\": \"relu\"},"
        BN("late", ", \"input\": \"d\"")
        SUM("b1", "late") ","
        BN("b2", "")
        POINT("e")
        BN("own", ", \"batch_statistics\": true")
        F
        BN("f1", "")
        BN("f2", ", \"input\": \"f\"")
        SUM("f1", "f2") "]}";
    /* clang-format on */
    static const struct {
        const char *norm, *layer, *why;
        double eps;
    } want[] = { { "first", NULL, "it reads the image", 1e-5 },
                 { "b1", "c", NULL, 0.5 },
                 { "late", NULL, "others read the layer before it, too", 1e-5 },
                 { "b2", NULL, "no convolution or linear layer is before it", 1e-5 },
                 { "own", NULL, "it normalises by the statistics of the batch", 1e-5 },
                 { "f1", NULL, "others read the layer before it, too", 1e-5 },
                 { "f2", NULL, "others read the layer before it, too", 1e-5 } };
    if (parse(text, NULL, &model)) fail_msg("%s", error);
    assert_int_equal(model_fold(model, &folds, &n, &folded, error, sizeof error), MODEL_OK);
    assert_int_equal(n, sizeof want / sizeof *want);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(folds[i].norm, want[i].norm);
        assert_true(folds[i].eps == want[i].eps);
        if (want[i].why) assert_string_equal(folds[i].why_not, want[i].why);
        else assert_null(folds[i].why_not);
        if (!want[i].why) assert_string_equal(folds[i].layer, want[i].layer);
    }
    json_t *json = json_loads(folded->json, 0, NULL), *layers = json_object_get(json, "layers");
    assert_int_equal(json_array_size(layers), 13);
    assert_null(json_object_get(json_array_get(layers, 1), "bias"));
    const json_t *inputs = json_object_get(json_array_get(layers, 5), "inputs");
    assert_string_equal(json_string_value(json_array_get(inputs, 0)), "c");
    assert_string_equal(json_string_value(json_array_get(inputs, 1)), "late");
    json_decref(json);
    free(folds);
    model_free(&folded);
    model_free(&model);
}

/* What is read comes out as it was, to the last bit; drops up to the sixteenth. */
static void values(void **state)
{
    (void)state;
    struct model *model, *again;
    static const char text[] =
        HEAD "\"description\": \"d\", \"data\": \"mnist\", \"normalize\": {\"std\": [2], \"mean\": "
             "[0.30000000000000004]},"
             "\"defaults\": {\"batch\": 3, \"lr\": 0.1, \"momentum\": 0.5, \"nesterov\": true, "
             "\"decay_all\": false, \"lr_drop_epochs\":"
             "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 1048576], \"init\": "
             "{\"weights\": \"kaiming_normal\", \"biases\": \"zero\"}}," LAYERS;
    if (parse(text, NULL, &model)) fail_msg("%s", error);
    assert_true(model->mean[0] == 0.30000000000000004 && model->std[0] == 2 && model->normalized);
    assert_true(model_input(model).mean == model->mean && model_input(model).std == model->std);
    const struct model_defaults *d = &model->defaults;
    assert_true(d->batch == 3 && d->epochs == 10 && d->optimizer.lr == 0.1 &&
                d->optimizer.momentum == 0.5 && d->optimizer.nesterov && !d->optimizer.decay_all);
    assert_true(d->schedule.kind == SCHEDULE_MILESTONES && d->schedule.factor == 0.1);
    const struct schedule_list *drops = &d->schedule.epochs;
    assert_true(drops->n == 16 && drops->at[0] == 1 && drops->at[15] == 1048576);
    assert_true(d->init.weights == CVY_INIT_KAIMING_NORMAL && d->init.biases == CVY_INIT_ZERO);
    assert_non_null(strstr(model->json, "0.30000000000000004")); /* 15 digits would not do */
    if (parse(model->json, NULL, &again)) fail_msg("%s", error);
    assert_true(again->mean[0] == model->mean[0]);
    assert_string_equal(again->json, model->json);
    model_free(&again);
    model_free(&model);
    if (parse(HEAD "\"defaults\": {\"lr\": 0.1}, " LAYERS, NULL, &model)) fail_msg("%s", error);
    assert_non_null(strstr(model->json, "\"lr\": 0.1\n")); /* and where they do, they read well */
    assert_true(!model_input(model).mean && !model_input(model).std);
    model_free(&model);
    if (parse(HEAD "\"defaults\": {\"schedule\": \"cosine:floor=0.5\"}, " LAYERS, NULL, &model))
        fail_msg("%s", error);
    assert_true(model->defaults.schedule.kind == SCHEDULE_COSINE &&
                model->defaults.schedule.floor == 0.5);
    model_free(&model);
}

#define POOLS                                                                                \
    "\"layers\": [{\"type\": \"pool2d\", \"kind\": \"max\", \"kernel\": 1}, {\"type\": "     \
    "\"pool2d\", \"kind\": \"max\", \"kernel\": [1, 1]},"                                    \
    "{\"type\": \"pool2d\", \"kind\": \"max\", \"kernel\": [1, 2]}, {\"type\": \"pool2d\", " \
    "\"kind\": \"max\", \"kernel\": [2, 1]},"                                                \
    "{\"type\": \"pool2d\", \"kind\": \"max\", \"kernel\": 2}, {\"type\": \"batch_norm\", "  \
    "\"name\": \"b\"}]}"

/* The kinds of the pools of a model's JSON: "mmaaa". */
static void pool_kinds(const char *text, char out[8])
{
    json_t *root = json_loads(text, 0, NULL), *layer;
    size_t i, n = 0;
    json_array_foreach (json_object_get(root, "layers"), i, layer) {
        const char *kind = json_string_value(json_object_get(layer, "kind"));
        if (kind && n < 7) out[n++] = *kind;
    }
    out[n] = 0;
    json_decref(root);
}

static void overrides(void **state)
{
    (void)state;
    struct model *model;
    char kinds[8];
    static const struct {
        const char *text;
        struct model_options options;
        const char *kinds;
        size_t batch;
    } good[] = {
        { HEAD POOLS, { .api = NULL }, "mmmmm", 64 },
        { HEAD POOLS, { .pool = "avg" }, "mmaaa", 64 }, /* of one pixel the greatest is the mean */
        { HEAD "\"apis\": {\"a\": {\"batch\": 7, \"pool\": \"avg\"}}, " POOLS,
          { .api = "a" },
          "mmaaa",
          7 },
        { HEAD "\"apis\": {\"a\": {\"batch\": 7, \"pool\": \"avg\"}}, " POOLS,
          { .api = "a", .pool = "max" },
          "mmmmm",
          7 },
        { HEAD "\"apis\": {\"a\": {\"batch\": 7}}, \"defaults\": {\"batch\": 5}, " POOLS,
          { .api = "a" },
          "mmmmm",
          7 },
        { HEAD "\"apis\": {\"a\": {\"batch\": 7}}, \"defaults\": {\"batch\": 5}, " POOLS,
          { .api = NULL },
          "mmmmm",
          5 },
        /* layers of its own, in whatever order */
        { HEAD
          "\"apis\": {\"a\": {\"pool\": \"avg\", \"layers\": [{\"type\": \"pool2d\", \"kind\": "
          "\"max\", \"kernel\": 2}], \"batch\": 7}}, " POOLS,
          { .api = "a" },
          "a",
          7 },
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (parse(good[i].text, &good[i].options, &model)) fail_msg("%zu: %s", i, error);
        pool_kinds(model->json, kinds);
        assert_string_equal(kinds, good[i].kinds);
        assert_int_equal(model->defaults.batch, good[i].batch);
        model_free(&model);
    }
    if (parse(HEAD POOLS, &(struct model_options){ .bn_var = "biased" }, &model))
        fail_msg("%s", error);
    assert_non_null(strstr(model->json, "\"running_var\": \"biased\""));
    model_free(&model);
    const struct model_options shape = { .input = { 1, 5, 7 }, .classes = 12 };
    if (parse(ONE(FC), &shape, &model)) fail_msg("%s", error);
    assert_true(model->input[0] == 1 && model->input[1] == 5 && model->input[2] == 7);
    assert_non_null(strstr(model->json, "\"out_features\": 12"));
    model_free(&model);
    static const struct {
        const char *text;
        struct model_options options;
        const char *told;
    } bad[] = {
        { HEAD LAYERS, { .pool = "min" }, "pool: expected \"max\" or \"avg\", found \"min\"" },
        { HEAD LAYERS, { .pool = "max" }, "pool=max changes nothing: the model has no such layer" },
        { HEAD LAYERS,
          { .bn_var = "biased" },
          "bn-var=biased changes nothing: the model has no such layer" },
        { ONE("3, {\"type\": 4}, {}"),
          { .pool = "max" },
          "pool=max changes nothing: the model has no such layer" },
        { HEAD LAYERS, { .api = "a" }, "api=a: the model has no such entry in \"apis\"" },
        { HEAD "\"apis\": {\"b\": {}}, " LAYERS,
          { .api = "a" },
          "api=a: the model has no such entry in \"apis\"" },
        { HEAD "\"apis\": {\"a\": 1}, " LAYERS,
          { .api = "a" },
          "api=a: the model has no such entry in \"apis\"" },
        { HEAD "\"normalize\": {\"mean\": [0.5], \"std\": [1]}, " LAYERS,
          { .input = { 3, 8, 8 } },
          "input=3x8x8: the model normalizes images of 1 channels" },
        { HEAD LAYERS,
          { .classes = 10 },
          "classes=10: expected \"linear\" as the type of the model's last layer, found "
          "\"flatten\"" },
        { HEAD "\"layers\": 3}",
          { .classes = 10 },
          "classes=10: expected \"linear\" as the type of the model's last layer, found \"\"" },
        { HEAD "\"apis\": [1], " LAYERS,
          { .api = NULL },
          "\"apis\": expected an object, found an array of 1" },
        { HEAD "\"apis\": {\"a\": {\"pool\": 1}}, " LAYERS,
          { .api = "a" },
          "\"pool\": expected \"max\" or \"avg\", found 1" },
        { HEAD "\"apis\": {\"a\": {\"lr\": 1}}, \"defaults\": 5, " LAYERS,
          { .api = "a" },
          "\"defaults\": expected an object, found 5" },
        { HEAD "\"apis\": {\"a\": {\"layers\": 1}}, " LAYERS,
          { .api = "a" },
          "\"layers\": expected an array of 1 to 100000 layers, found 1" },
        { HEAD "\"apis\": {\"a\": {\"rate\": 1}}, " LAYERS,
          { .api = "a" },
          "defaults: unknown key \"rate\"" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i].text, &bad[i].options, bad[i].told);
}

/* One model's layers as JSON text, without blanks. */
static char *layers_of(const char *text)
{
    struct model *model;
    if (parse(text, NULL, &model)) fail_msg("%s\n%s", text, error);
    json_t *root = json_loads(model->json, 0, NULL);
    assert_null(json_object_get(root, "blocks"));
    char *layers = json_dumps(json_object_get(root, "layers"), JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    model_free(&model);
    return layers;
}

#define BLOCKS(blocks, layers) HEAD "\"blocks\": {" blocks "}, \"layers\": [" layers "]}"
#define SELF "\"a\": [{\"block\": \"a\"}, {\"type\": \"relu\"}]"
#define ACT "{\"type\": \"relu\"}"
#define STEM "{\"type\": \"relu\", \"name\": \"stem\"}"
#define POOL0 "{\"type\": \"pool2d\", \"kind\": \"max\", \"kernel\": [2, 1]}"
#define TWICE(in, name) \
    "{\"type\": \"add\", \"inputs\": [\"" in "\", \"" in "\"], \"name\": \"" name "\"}"
#define DOUBLE "\"d\": [{\"type\": \"add\", \"inputs\": [\"input\", \"input\"]}]"

/* A model with blocks is the one that has their layers. */
static void blocks(void **state)
{
    (void)state;
    static const struct {
        const char *with, *without;
    } same[] = {
        /* settings, in arrays too, and several in a row */
        { BLOCKS("\"b\": [{\"type\": \"$act\"}, {\"type\": \"pool2d\", \"kind\": \"max\", "
                 "\"kernel\": [\"$k\", 1]}]",
                 "{\"block\": \"b\", \"act\": \"tanh\", \"k\": 2, \"repeat\": 2}"),
          ONE("{\"type\": \"tanh\"}, " POOL0 ", {\"type\": \"tanh\"}, " POOL0) },
        /* the last layer bears the name, and "input" is what is before each, the image at first */
        { BLOCKS(DOUBLE, "{\"block\": \"d\", \"name\": \"x\", \"repeat\": 3}"),
          ONE(TWICE("input", "x.0") "," TWICE("x.0", "x.1") "," TWICE("x.1", "x.2")) },
        { BLOCKS(DOUBLE, STEM ", {\"block\": \"d\", \"name\": \"x#y\", \"repeat\": 2, "
                              "\"first\": 7}, {\"type\": \"relu\", \"input\": \"x7y\"}"),
          ONE(STEM "," TWICE("stem", "x7y") "," TWICE("x7y", "x8y") ", {\"type\": \"relu\", "
                                                                    "\"input\": \"x7y\"}") },
        /* an input of the use goes to the first layer, of a block in the block as well; a use is
         * found by its name where the last layer has one of its own */
        { BLOCKS("\"in\": [{\"type\": \"relu\", \"name\": \"r\"}], \"out\": [{\"block\": "
                 "\"in\", \"name\": \"i\"}, {\"type\": \"add\", \"name\": \"s\", \"inputs\": "
                 "[\"i\", \"input\"]}]",
                 STEM "," ACT ", {\"block\": \"out\", \"name\": \"o\", \"input\": \"stem\"}, "
                      "{\"type\": \"relu\", \"input\": \"o\"}"),
          ONE(STEM "," ACT ", {\"type\": \"relu\", \"name\": \"o.i.r\", \"input\": \"stem\"}, "
                   "{\"type\": \"add\", \"name\": \"o.s\", \"inputs\": [\"o.i.r\", "
                   "\"stem\"]}, {\"type\": \"relu\", \"input\": \"o.s\"}") },
        /* without a name the layers are as if they stood there */
        { BLOCKS("\"b\": [" STEM "], \"c\": [{\"block\": \"b\"}, {\"type\": \"add\", "
                 "\"inputs\": [\"stem\", \"input\"]}]",
                 "{\"block\": \"c\", \"name\": \"n\"}"),
          ONE("{\"type\": \"relu\", \"name\": \"n.stem\"}, {\"type\": \"add\", \"name\": \"n\", "
              "\"inputs\": [\"n.stem\", \"input\"]}") },
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char *with = layers_of(same[i].with), *without = layers_of(same[i].without);
        assert_string_equal(with, without);
        free(with);
        free(without);
    }
    struct model *model; /* of an api, too */
    const struct model_options api = { .api = "a" };
    if (parse(HEAD "\"blocks\": {" DOUBLE "}, \"apis\": {\"a\": {\"layers\": [{\"block\": "
                   "\"d\", \"repeat\": 1, \"name\": \"x\"}]}}, " LAYERS,
              &api, &model))
        fail_msg("%s", error);
    assert_non_null(strstr(model->json, "\"x.0\""));
    assert_null(strstr(model->json, "block"));
    model_free(&model);
}

static void wrong_blocks(void **state)
{
    (void)state;
    static const struct {
        const char *text, *told;
    } wrong[] = {
        { HEAD "\"blocks\": [], " LAYERS,
          "\"blocks\": expected an object {NAME: [layers]}, found an array of 0" },
        { BLOCKS("\"b\": []", ACT), "block \"b\": expected an array of one layer or more" },
        { BLOCKS("\"b\": {}", ACT), "block \"b\": expected an array of one layer or more" },
        { BLOCKS("\"b\": [" ACT "]", ACT), "block \"b\" is used nowhere" },
        { ONE(ACT ", {\"block\": \"b\"}"),
          "layer 1: \"block\": expected the name of one of the model's \"blocks\", found \"b\"" },
        { BLOCKS("\"b\": [" ACT "]", "{\"block\": 5}"),
          "layer 0: \"block\": expected the name of one of the model's \"blocks\", found 5" },
        { BLOCKS("\"b\": [" ACT ", 5]", "{\"block\": \"b\"}"),
          "block \"b\", layer 1: expected an object {\"type\": ...}" },
        { BLOCKS("\"b\": [" ACT "]", "{\"block\": \"b\", \"out\": 5}"),
          "layer 0: unknown key \"out\"" },
        { BLOCKS("\"b\": [{\"type\": \"$a\"}]", "{\"block\": \"b\"}"),
          "block \"b\", layer 0: \"$a\": the block is used without a \"a\"" },
        { BLOCKS("\"b\": [" ACT "]", "{\"block\": \"b\", \"repeat\": 0}"),
          "layer 0: \"repeat\": expected an integer from 1 to 100000, found 0" },
        { BLOCKS("\"b\": [" ACT "]", "{\"block\": \"b\", \"repeat\": 2, \"first\": -1}"),
          "layer 0: \"first\": expected an integer from 0 to 100000, found -1" },
        { BLOCKS("\"b\": [" ACT "]", "{\"block\": \"b\", \"first\": 1}"),
          "layer 0: \"first\" numbers what \"repeat\" makes, which is missing" },
        { BLOCKS("\"b\": [" ACT "]", "{\"block\": \"b\", \"name\": 1}"),
          "layer 0: \"name\": expected a name, found 1" },
        { BLOCKS("\"b\": [" ACT "]", "{\"block\": \"b\", \"input\": [\"input\"]}"),
          "layer 0: \"input\": expected the name of an earlier layer, or \"input\", found an array "
          "of 1" },
        { BLOCKS("\"b\": [" ACT "]", "{\"block\": \"b\", \"input\": \"x\"}"),
          "layer 0: \"input\": no earlier layer is named \"x\"" },
        { BLOCKS("\"b\": [{\"type\": \"relu\", \"input\": \"stem\"}]",
                 STEM ", {\"block\": \"b\", \"name\": \"x\"}"),
          "block \"b\", layer 0: \"input\": no earlier layer of the block is named \"stem\"" },
        { BLOCKS(DOUBLE, ACT ", {\"block\": \"d\"}"),
          "block \"d\", layer 0: \"inputs\": the layer before the block has no name by which its "
          "\"input\" could be read" },
        { BLOCKS("\"b\": [" STEM "]", "{\"block\": \"b\", \"name\": \"x\"}, {\"block\": "
                                      "\"b\", \"name\": \"x\"}"),
          "layer 1 ('x.stem'): the name is taken already" },
        { BLOCKS("\"b\": [" STEM "]", STEM ", {\"block\": \"b\", \"name\": \"stem\"}"),
          "layer 1: the name \"stem\" is taken already" },
        { BLOCKS("\"b\": [" STEM "]", "{\"block\": \"b\", \"repeat\": 2}"),
          "layer 1 ('stem'): the name is taken already" },
        { BLOCKS("\"b\": [" STEM "]", "{\"block\": \"b\", \"name\": \"x#\"}"),
          "layer 0: \"name\": expected " NAMES ", found \"x#.stem\"" },
        { BLOCKS("\"b\": [" STEM "]",
                 "{\"block\": \"b\", \"name\": \"" LONG "01234567890123456789012345678901234567890"
                 "123456789012345678\"}"),
          "block \"b\", layer 0: \"name\": expected at most 127 letters, with those of the blocks "
          "around it, found 128" },
        { BLOCKS(SELF, "{\"block\": \"a\"}"),
          "block \"a\", layer 0: blocks are used in blocks more than 8 deep" },
        { BLOCKS("\"b\": [" ACT ", " ACT "]", "{\"block\": \"b\", \"repeat\": 100000}"),
          "block \"b\", layer 0: expected at most 100000 layers with those of blocks" },
        { BLOCKS("\"b\": [" ACT "], \"c\": [{\"block\": \"b\", \"repeat\": 100000}]",
                 "{\"block\": \"c\", \"repeat\": 100000}"),
          "block \"b\", layer 0: expected at most 100000 layers with those of blocks" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused(wrong[i].text, NULL, wrong[i].told);
}

/* What a path may lead to besides a model. */
static void files(void **state)
{
    (void)state;
    struct model *model;
    char dir[] = "/tmp/convoy-models-XXXXXX", path[64], told[200];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/m.json", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(model_load(path, NULL, &model, error, sizeof error), MODEL_IO);
    snprintf(told, sizeof told, "%s: expected a file, found a special file", path);
    assert_string_equal(error, told);
    assert_int_equal(unlink(path), 0);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(ftruncate(fd, (16 << 20) + 1), 0);
    close(fd);
    assert_int_equal(model_load(path, NULL, &model, error, sizeof error), MODEL_BAD);
    snprintf(told, sizeof told, "%s: expected at most 16 MiB of JSON, found 16777217 bytes", path);
    assert_string_equal(error, told);
    assert_null(model);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* The names are told; a buffer that has no room for them keeps its end. */
static void unknown_names(void **state)
{
    (void)state;
    struct model *model;
    char small[32];
    assert_int_equal(model_load("nothing", NULL, &model, error, sizeof error), MODEL_UNKNOWN);
    assert_null(model);
    const char *name;
    size_t n = 0;
    for (; model_builtin_at(n, &name); n++)
        if (!strstr(error, name)) fail_msg("no %s in '%s'", name, error);
    assert_true(n >= 5);
    memset(small, 'x', sizeof small);
    assert_int_equal(model_load("nothing", NULL, &model, small, 30), MODEL_UNKNOWN);
    assert_string_equal(small, "unknown model 'nothing': expe");
    assert_true(small[30] == 'x' && small[31] == 'x');
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(wrong_files),
                                        cmocka_unit_test(limits),
                                        cmocka_unit_test(values),
                                        cmocka_unit_test(mean_images),
                                        cmocka_unit_test(pit_forms),
                                        cmocka_unit_test(whitening_numbers),
                                        cmocka_unit_test(whitening_whitens),
                                        cmocka_unit_test(folding),
                                        cmocka_unit_test(overrides),
                                        cmocka_unit_test(blocks),
                                        cmocka_unit_test(wrong_blocks),
                                        cmocka_unit_test(files),
                                        cmocka_unit_test(unknown_names) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
