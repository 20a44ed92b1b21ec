/* What the files of `convoy visualise` share. */
#ifndef CLI_VISUALISE_H
#define CLI_VISUALISE_H

#include "cli/cli.h"
#include "report/visual.h"

/* Which matrices are counted. */
enum cli_confusion {
    CONFUSION_ALL,
    CONFUSION_TEST,
    CONFUSION_TRAIN,
    CONFUSION_VALIDATION,
    CONFUSION_NONE
};

struct cli_visualise_options {
    cvy_context_options engine;
    const char *run, *data, *model, *out;
    bool yann, every, rgb; /* every: all epochs whose parameters were kept */
    uint64_t epoch;        /* UINT64_MAX: the checkpoint's */
    size_t samples, scale; /* scale 0: by the picture's size */
    uint64_t seed;
    enum cli_confusion confusion;
};

/* visualise_collect.c: all that is drawn of the open predictor; data may be missing. v begins as
 * zeros, its strings live as long as the session. A failure has been told: its exit code. */
struct train_split;
int cli_visualise_layers(const struct cli_session *s, struct visual *v);
int cli_visualise_matrix(const struct cli_session *s, struct visual *v, const char *split,
                         const struct train_split *images);
int cli_visualise_collect(struct cli_session *s, const struct cli_visualise_options *o,
                          struct visual *v);

/* Writes a file, whose directory is made, or a picture as PNG. */
int cli_visualise_bytes(const char *path, const void *bytes, size_t size);
int cli_visualise_png(const char *path, const struct picture *p, size_t scale);
/* What the status of a picture of that name means. */
int cli_visualise_drawn(enum tiles_status status, const char *name);

#endif
