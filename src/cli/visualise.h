/* What the files of `convoy visualise` share. */
#ifndef CLI_VISUALISE_H
#define CLI_VISUALISE_H

#include <stdio.h>

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
    size_t samples, scale; /* SIZE_MAX, 0: as the layout has it */
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

/* Failures of all below have been told, too. Writes a file whose directory is made. */
int cli_visualise_bytes(const char *path, const void *bytes, size_t size);
/* What drawing came to, as ROOT/NAME.png; frees the picture. scale 0: by its size. */
int cli_visualise_picture(const char *root, const char *name, size_t scale,
                          enum tiles_status status, struct picture *p);
/* ROOT/NAME, written to in memory; a file once it is closed, or nothing. */
struct cli_visualise_text {
    char path[4096], *bytes;
    size_t size;
    FILE *out;
};
int cli_visualise_open(struct cli_visualise_text *t, const char *root, const char *name);
int cli_visualise_close(struct cli_visualise_text *t, bool good);
void cli_visualise_drop(struct cli_visualise_text *t);

/* visualise_yann.c: everything, as yann's visualizer and resultor have it. */
int cli_visualise_yann(const struct cli_visualise_options *o, const struct visual *v,
                       const char *root);

#endif
