/* Checkpoints: between the named parameters of a trainer or predictor and a safetensors file. */
#include "train/checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_PREFIX "optimizer."
#define SUM_PREFIX "accumulated."
#define BEST_PREFIX "best."
#define MEAN "input.mean"
#define FILE_LIMIT ((size_t)1 << 40)

/* Whose parameters: one of the two. A predictor has no states. */
struct holder {
    const cvy_context *ctx;
    cvy_trainer *trainer;
    cvy_predictor *predictor;
};

static size_t count_params(const struct holder *h, enum cvy_param_kind kind)
{
    return h->trainer ? cvy_trainer_params(h->trainer, kind)
                      : cvy_predictor_params(h->predictor, kind);
}
static enum cvy_status param_at(const struct holder *h, enum cvy_param_kind kind, size_t index,
                                cvy_param_info *info)
{
    return h->trainer ? cvy_trainer_param(h->trainer, kind, index, info)
                      : cvy_predictor_param(h->predictor, kind, index, info);
}
static enum cvy_status set_param(const struct holder *h, const cvy_param_info *info,
                                 const float *values)
{
    return h->trainer
               ? cvy_trainer_set(h->trainer, info->kind, info->name, values, info->count)
               : cvy_predictor_set(h->predictor, info->kind, info->name, values, info->count);
}

static enum cvy_status get_param(const struct holder *h, const cvy_param_info *info, float *values)
{
    return h->trainer
               ? cvy_trainer_get(h->trainer, info->kind, info->name, values, info->count)
               : cvy_predictor_get(h->predictor, info->kind, info->name, values, info->count);
}

/* What a file holds: weights, running statistics, the optimiser's states, sums of gradients. */
enum { MODEL_KINDS = 2, MOST_KINDS = MODEL_KINDS + CVY_OPTIMIZER_STATES + 1 };
static size_t list_kinds(const cvy_trainer *trainer, enum cvy_param_kind kind[MOST_KINDS])
{
    size_t n = MODEL_KINDS;
    kind[0] = CVY_PARAM_WEIGHT;
    kind[1] = CVY_PARAM_RUNNING;
    for (size_t i = 0; trainer && cvy_trainer_state(trainer, i); i++)
        kind[n++] = (enum cvy_param_kind)(CVY_PARAM_STATE + i);
    if (trainer && cvy_trainer_params(trainer, CVY_PARAM_SUM)) kind[n++] = CVY_PARAM_SUM;
    return n;
}

/* "optimizer.momentum.conv1.weight", "accumulated.conv1.weight", or the name itself. The caller
 * frees it. */
static char *file_name(const cvy_trainer *trainer, const cvy_param_info *info)
{
    char *name = NULL;
    int length;
    if (info->kind < CVY_PARAM_STATE) length = asprintf(&name, "%s", info->name);
    else if (info->kind == CVY_PARAM_SUM) length = asprintf(&name, SUM_PREFIX "%s", info->name);
    else
        length = asprintf(&name, STATE_PREFIX "%s.%s",
                          cvy_trainer_state(trainer, (size_t)(info->kind - CVY_PARAM_STATE)),
                          info->name);
    return length < 0 ? NULL : name;
}

/* Whether a tensor's name is one of a state, of any optimiser, or of a sum. */
static bool is_state(const char *name)
{
    const cvy_optimizer_info *info;
    if (!strncmp(name, SUM_PREFIX, strlen(SUM_PREFIX))) return true;
    if (strncmp(name, STATE_PREFIX, strlen(STATE_PREFIX))) return false;
    name += strlen(STATE_PREFIX);
    for (int kind = 0; (info = cvy_optimizer_describe((enum cvy_optimizer_kind)kind)); kind++)
        for (size_t i = 0; i < info->n_states; i++) {
            size_t length = strlen(info->state[i]);
            if (!strncmp(name, info->state[i], length) && name[length] == '.') return true;
        }
    return false;
}

/* torch.save writes a zip archive, older versions a bare pickle. (Both could be the length of a
 * safetensors header.) */
static bool is_torch(const unsigned char *bytes, size_t size)
{
    return size > 8 && bytes[8] != '{' &&
           (!memcmp(bytes, "PK\3\4", 4) ||
            (bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5 && bytes[2] != 0));
}

enum train_status checkpoint_read(const char *path, struct checkpoint **out, char *error,
                                  size_t error_size)
{
    size_t size = 0;
    struct checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    enum train_status status = TRAIN_OK;
    *out = NULL;
    if (!checkpoint || !(checkpoint->where = strdup(path)))
        status = train_fail(error, error_size, TRAIN_NOMEM, "%s: out of memory", path);
    if (!status)
        status = files_read(path, FILE_LIMIT, &checkpoint->bytes, &size, error, error_size);
    if (!status && is_torch(checkpoint->bytes, size))
        status = train_fail(error, error_size, TRAIN_BAD,
                            "%s: expected a safetensors file, found one of torch.save, which is a "
                            "pickle, that is a program, and is "
                            "not run here; with PyTorch and its package safetensors: python3 -c "
                            "'import sys, torch; from "
                            "safetensors.torch import save_file; save_file({k: v.clone() for k, v "
                            "in torch.load(sys.argv[1], "
                            "map_location=\"cpu\", weights_only=True).items()}, sys.argv[2])' %s "
                            "weights.safetensors",
                            path, path);
    if (!status)
        status =
            safetensors_parse(path, checkpoint->bytes, size, &checkpoint->file, error, error_size);
    if (!status) {
        const char *format = checkpoint_text(checkpoint, "convoy.format");
        if (format && strcmp(format, CHECKPOINT_FORMAT))
            status = train_fail(
                error, error_size, TRAIN_BAD,
                "%s: expected checkpoint format " CHECKPOINT_FORMAT
                ", found %.20s: it needs another version of convoy (it was written by %.20s)",
                path, format,
                checkpoint_text(checkpoint, "convoy.version")
                    ? checkpoint_text(checkpoint, "convoy.version")
                    : "an unknown one");
    }
    if (status) checkpoint_free(&checkpoint);
    *out = checkpoint;
    return status;
}

void checkpoint_free(struct checkpoint **checkpoint)
{
    if (!*checkpoint) return;
    safetensors_free(&(*checkpoint)->file);
    free((*checkpoint)->bytes);
    free((*checkpoint)->where);
    free(*checkpoint);
    *checkpoint = NULL;
}

const char *checkpoint_text(const struct checkpoint *checkpoint, const char *key)
{
    return json_string_value(json_object_get(checkpoint->file->metadata, key));
}

/* `out` has room for 22 characters a dimension. */
static void show_shape(char *out, size_t size, size_t rank, const uint64_t *dims)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (size_t i = 0; i < rank; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%llu", i ? ", " : "",
                                 (unsigned long long)dims[i]);
    snprintf(out + used, size - used, "]");
}

/* What PyTorch's DataParallel and torch.compile put in front of the names of what they wrap, at any
 * depth. */
static const char *const wrappers[] = { "module.", "_orig_mod." };

static size_t wrapper_length(const char *name)
{
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
        if (!strncmp(name, wrappers[i], strlen(wrappers[i]))) return strlen(wrappers[i]);
    return 0;
}

/* Whether `wrapped` is `name` with wrappers in front of some of its parts. */
static bool unwraps_to(const char *wrapped, const char *name)
{
    for (bool start = true; *wrapped || *name; start = *wrapped++ == '.', name++) {
        for (size_t length;
             start && (length = wrapper_length(wrapped)) && strncmp(name, wrapped, length);)
            wrapped += length;
        if (*wrapped != *name) return false;
    }
    return true;
}

/* The tensor of that name, else one that a wrapper's saving has given a longer name. */
static const struct safetensor *find(const struct checkpoint *checkpoint, const char *name)
{
    const struct safetensor *t = safetensors_find(checkpoint->file, name);
    for (size_t i = 0; !t && i < checkpoint->file->n; i++)
        if (unwraps_to(checkpoint->file->tensors[i].name, name)) t = &checkpoint->file->tensors[i];
    return t;
}

/* Whether the file has what a parameter needs; *t is its tensor. */
static enum train_status match(const struct checkpoint *checkpoint, const cvy_param_info *info,
                               const char *name, const struct safetensor **t, char *error,
                               size_t error_size)
{
    *t = find(checkpoint, name);
    if (!*t)
        return train_fail(error, error_size, TRAIN_BAD,
                          "%s: the model needs a tensor '%s', the file has none", checkpoint->where,
                          name);
    uint64_t dims[4];
    bool same = info->rank == (*t)->rank;
    for (size_t i = 0; i < info->rank; i++) {
        dims[i] = info->dims[i];
        same = same && dims[i] == (*t)->dims[i];
    }
    if (!same || strcmp((*t)->dtype, "F32")) {
        char want[100], found[200];
        show_shape(want, sizeof want, info->rank, dims);
        show_shape(found, sizeof found, (*t)->rank, (*t)->dims);
        return train_fail(error, error_size, TRAIN_BAD,
                          "%s: tensor '%s': expected F32 %s, found %s %s", checkpoint->where, name,
                          want, (*t)->dtype, found);
    }
    size_t length = strlen(info->name);
    bool variance = length > 12 && !strcmp(info->name + length - 12, ".running_var");
    for (size_t i = 0; i < info->count; i++) {
        float value;
        memcpy(&value, (*t)->data + i * sizeof value, sizeof value);
        if (!isfinite(value) || (variance && value < 0))
            return train_fail(error, error_size, TRAIN_BAD, "%s: tensor '%s': element %zu is %g",
                              checkpoint->where, name, i, (double)value);
    }
    return TRAIN_OK;
}

/* A second value of a tensor of the file. */
static bool is_best(const struct checkpoint *checkpoint, const char *name)
{
    const size_t length = strlen(BEST_PREFIX);
    return !strncmp(name, BEST_PREFIX, length) && safetensors_find(checkpoint->file, name + length);
}

enum train_status checkpoint_best(const struct checkpoint *checkpoint, const cvy_trainer *trainer,
                                  float *out, char *error, size_t error_size)
{
    enum train_status status = TRAIN_OK;
    for (int kind = CVY_PARAM_WEIGHT; kind <= CVY_PARAM_RUNNING; kind++)
        for (size_t i = 0; i < cvy_trainer_params(trainer, (enum cvy_param_kind)kind); i++) {
            cvy_param_info info;
            const struct safetensor *t;
            char *name = NULL;
            if (cvy_trainer_param(trainer, (enum cvy_param_kind)kind, i, &info) ||
                asprintf(&name, BEST_PREFIX "%s", info.name) < 0)
                return train_fail(error, error_size, TRAIN_NOMEM, "out of memory");
            status = match(checkpoint, &info, name, &t, error, error_size);
            free(name);
            if (status) return status;
            memcpy(out, t->data, info.count * sizeof *out);
            out += info.count;
        }
    return status;
}

enum train_status checkpoint_mean(struct checkpoint *checkpoint, const struct checkpoint_mean *mean,
                                  char *error, size_t error_size)
{
    const struct safetensor *t;
    const size_t *s = mean->shape;
    const cvy_param_info info = {
        .name = MEAN, .rank = 3, .dims = { s[0], s[1], s[2] }, .count = s[0] * s[1] * s[2]
    };
    enum train_status status = match(checkpoint, &info, MEAN, &t, error, error_size);
    if (status) return status;
    for (size_t i = 0; i < info.count; i++) {
        float value;
        memcpy(&value, t->data + i * sizeof value, sizeof value);
        mean->pixels[i] = (double)value;
    }
    checkpoint->mean = true;
    return TRAIN_OK;
}

/* Tensors that nobody asked for are a mistake, except states when only weights are wanted and
 * PyTorch's counter. */
static enum train_status check_rest(const struct checkpoint *checkpoint, const json_t *used,
                                    bool states, char *error, size_t error_size)
{
    static const char counter[] = ".num_batches_tracked";
    for (size_t i = 0; i < checkpoint->file->n; i++) {
        const char *name = checkpoint->file->tensors[i].name;
        size_t length = strlen(name), tail = sizeof counter - 1;
        if (json_object_get(used, name) ||
            (length > tail && !strcmp(name + length - tail, counter)) ||
            (!states && is_state(name)) || is_best(checkpoint, name) ||
            (checkpoint->mean && !strcmp(name, MEAN)))
            continue;
        return train_fail(error, error_size, TRAIN_BAD,
                          "%s: the file has a tensor '%.80s', the model has none",
                          checkpoint->where, name);
    }
    return TRAIN_OK;
}

/* What is needed of the file, while it is looked through. */
struct need {
    enum cvy_param_kind kind[MOST_KINDS];
    size_t n_kinds;
    json_t *used;   /* names of the file's tensors that have a use */
    size_t largest; /* of the parameters */
    float *values;  /* room for it, once all is there: then they are set */
};

static enum train_status short_of_memory(const struct checkpoint *checkpoint, char *error,
                                         size_t error_size)
{
    return train_fail(error, error_size, TRAIN_NOMEM, "%s: out of memory", checkpoint->where);
}

static enum train_status look_at(struct checkpoint *checkpoint, const cvy_param_info *info,
                                 const char *name, struct need *need, char *error,
                                 size_t error_size)
{
    const struct safetensor *t;
    enum train_status status = match(checkpoint, info, name, &t, error, error_size);
    if (status) return status;
    if (strcmp(t->name, name)) checkpoint->wrapped = true;
    if (info->count > need->largest) need->largest = info->count;
    return json_object_set_new(need->used, t->name, json_true())
               ? short_of_memory(checkpoint, error, error_size)
               : TRAIN_OK;
}

/* Looks at what each parameter needs, or sets it. */
static enum train_status each_param(struct checkpoint *checkpoint, const struct holder *holder,
                                    struct need *need, char *error, size_t error_size)
{
    enum train_status status = TRAIN_OK;
    for (size_t k = 0; k < need->n_kinds; k++)
        for (size_t i = 0; i < count_params(holder, need->kind[k]) && !status; i++) {
            cvy_param_info info;
            char *name = param_at(holder, need->kind[k], i, &info)
                             ? NULL
                             : file_name(holder->trainer, &info);
            if (!name) return short_of_memory(checkpoint, error, error_size);
            if (!need->values) {
                status = look_at(checkpoint, &info, name, need, error, error_size);
            } else { /* aligned on the way in */
                memcpy(need->values, find(checkpoint, name)->data, info.count * sizeof(float));
                if (set_param(holder, &info, need->values))
                    status = train_fail(error, error_size, TRAIN_ENGINE, "%s: %s",
                                        checkpoint->where, cvy_message(holder->ctx));
            }
            free(name);
        }
    return status;
}

/* First looks at everything, then sets everything. */
static enum train_status load(struct checkpoint *checkpoint, const struct holder *holder,
                              bool states, char *error, size_t error_size)
{
    struct need need = { .kind = { CVY_PARAM_WEIGHT, CVY_PARAM_RUNNING },
                         .n_kinds = MODEL_KINDS,
                         .used = json_object(),
                         .largest = 1 };
    if (states) need.n_kinds = list_kinds(holder->trainer, need.kind);
    enum train_status status =
        need.used ? TRAIN_OK : short_of_memory(checkpoint, error, error_size);
    if (!status) status = each_param(checkpoint, holder, &need, error, error_size);
    if (!status) status = check_rest(checkpoint, need.used, states, error, error_size);
    if (!status && !(need.values = malloc(need.largest * sizeof *need.values)))
        status = short_of_memory(checkpoint, error, error_size);
    if (!status) status = each_param(checkpoint, holder, &need, error, error_size);
    free(need.values);
    json_decref(need.used);
    return status;
}

enum train_status checkpoint_load(struct checkpoint *checkpoint, cvy_trainer *trainer,
                                  cvy_context *ctx, bool states, char *error, size_t error_size)
{
    const struct holder holder = { .ctx = ctx, .trainer = trainer };
    return load(checkpoint, &holder, states, error, error_size);
}

enum train_status checkpoint_load_predictor(struct checkpoint *checkpoint, cvy_predictor *predictor,
                                            cvy_context *ctx, char *error, size_t error_size)
{
    const struct holder holder = { .ctx = ctx, .predictor = predictor };
    return load(checkpoint, &holder, false, error, error_size);
}

/* The tensors of a file that is being made. */
struct making {
    const struct holder *holder;
    struct safetensor *tensor;
    char **names;
    float **values;
    size_t n; /* what was made of the last one, too, is freed */
    const char *path;
};

/* Adds a parameter, from best if that is not NULL. */
static enum train_status add(struct making *m, enum cvy_param_kind kind, size_t index,
                             const float **best, char *error, size_t error_size)
{
    cvy_param_info info;
    const size_t at = m->n++;
    char **name = &m->names[at];
    bool bad = param_at(m->holder, kind, index, &info) ||
               !(m->values[at] = malloc(info.count * sizeof **m->values));
    if (!bad && best && asprintf(name, BEST_PREFIX "%s", info.name) < 0) *name = NULL;
    if (!bad && !best) *name = file_name(m->holder->trainer, &info);
    float *values = m->values[at];
    bad = bad || !*name;
    if (!bad && best) {
        memcpy(values, *best, info.count * sizeof *values);
        *best += info.count;
    }
    if (bad || (!best && get_param(m->holder, &info, values)))
        return train_fail(error, error_size, TRAIN_NOMEM, "%s: out of memory", m->path);
    for (size_t j = 0; j < info.count; j++)
        if (!isfinite(values[j]))
            return train_fail(error, error_size, TRAIN_NUMERIC,
                              "parameter %s is not finite (element %zu is %g)", *name, j,
                              (double)values[j]);
    struct safetensor *t = &m->tensor[at];
    *t = (struct safetensor){ .name = *name,
                              .dtype = "F32",
                              .rank = info.rank,
                              .data = (const unsigned char *)values,
                              .bytes = info.count * sizeof *values };
    for (size_t d = 0; d < info.rank; d++) t->dims[d] = info.dims[d];
    return TRAIN_OK;
}

static enum train_status add_all(struct making *m, const enum cvy_param_kind *kind, size_t n_kinds,
                                 const float *best, char *error, size_t error_size)
{
    enum train_status status = TRAIN_OK;
    for (size_t k = 0; k < n_kinds; k++)
        for (size_t i = 0; i < count_params(m->holder, kind[k]) && !status; i++)
            status = add(m, kind[k], i, best ? &best : NULL, error, error_size);
    return status;
}

static enum train_status add_mean(struct making *m, const struct checkpoint_mean *mean, char *error,
                                  size_t error_size)
{
    const size_t at = m->n++, *s = mean->shape, count = s[0] * s[1] * s[2];
    float *values = m->values[at] = malloc(count * sizeof *values);
    m->names[at] = strdup(MEAN);
    if (!values || !m->names[at])
        return train_fail(error, error_size, TRAIN_NOMEM, "%s: out of memory", m->path);
    for (size_t i = 0; i < count; i++) values[i] = (float)mean->pixels[i];
    m->tensor[at] = (struct safetensor){ .name = m->names[at],
                                         .dtype = "F32",
                                         .rank = 3,
                                         .dims = { s[0], s[1], s[2] },
                                         .data = (const unsigned char *)values,
                                         .bytes = count * sizeof *values };
    return TRAIN_OK;
}

static enum train_status save(const char *path, const struct holder *holder,
                              const struct checkpoint_also *also, json_t *metadata, char *error,
                              size_t error_size)
{
    enum cvy_param_kind kind[MOST_KINDS];
    size_t n = 0, n_kinds = list_kinds(holder->trainer, kind);
    if (also->weights_only) n_kinds = MODEL_KINDS;
    for (size_t k = 0; k < n_kinds; k++) n += 2 * count_params(holder, kind[k]);
    struct making m = { .holder = holder,
                        .tensor = calloc(n + 2, sizeof *m.tensor),
                        .names = calloc(n + 2, sizeof *m.names),
                        .values = calloc(n + 2, sizeof *m.values),
                        .path = path };
    enum train_status status =
        m.tensor && m.names && m.values
            ? TRAIN_OK
            : train_fail(error, error_size, TRAIN_NOMEM, "%s: out of memory", path);
    if (!status) status = add_all(&m, kind, n_kinds, NULL, error, error_size);
    if (!status && also->best)
        status = add_all(&m, kind, MODEL_KINDS, also->best, error, error_size);
    if (!status && also->mean.pixels) status = add_mean(&m, &also->mean, error, error_size);
    unsigned char *bytes = NULL;
    size_t size = 0;
    if (!status &&
        (json_object_set_new(metadata, "convoy.format", json_string(CHECKPOINT_FORMAT)) ||
         json_object_set_new(metadata, "convoy.version", json_string(cvy_version()))))
        status = train_fail(error, error_size, TRAIN_NOMEM, "%s: out of memory", path);
    if (!status)
        status = safetensors_build(m.tensor, m.n, metadata, &bytes, &size, error, error_size);
    if (!status) status = files_write(path, bytes, size, error, error_size);
    free(bytes);
    for (size_t i = 0; i < m.n; i++) {
        free(m.names[i]);
        free(m.values[i]);
    }
    free(m.tensor);
    free(m.names);
    free(m.values);
    return status;
}

enum train_status checkpoint_save(const char *path, const cvy_trainer *trainer,
                                  const struct checkpoint_also *also, json_t *metadata, char *error,
                                  size_t error_size)
{
    /* of which nothing is set */
    const struct holder holder = { .trainer = (cvy_trainer *)(uintptr_t)trainer };
    return save(path, &holder, also, metadata, error, error_size);
}

enum train_status checkpoint_save_predictor(const char *path, cvy_predictor *predictor,
                                            const struct checkpoint_also *also, json_t *metadata,
                                            char *error, size_t error_size)
{
    const struct holder holder = { .predictor = predictor };
    return save(path, &holder, also, metadata, error, error_size);
}
