/* What the files of `convoy visualise` share. */
#ifndef CLI_VISUALISE_H
#define CLI_VISUALISE_H

#include <stdio.h>

#include "cli/pictures.h"
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
    struct cli_trained trained;
    const char *data, *out;
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

/* Failures of all below have been told, too. ROOT/NAME, whose directory is made. */
int cli_visualise_place(char path[4096], const char *root, const char *name);
int cli_visualise_bytes(const char *root, const char *name, const void *bytes, size_t size);
int cli_visualise_open(struct cli_file *f, const char *root, const char *name);
/* As ROOT/NAME.svg and ROOT/NAME.png. */
int cli_visualise_draw(const char *root, const char *name, const struct drawing *d);
int cli_visualise_graph(const char *root, const char *name, const struct visual *v);
/* What drawing came to, as ROOT/NAME.png; frees the picture. scale 0: by its size. */
int cli_visualise_picture(const char *root, const char *name, size_t scale,
                          enum tiles_status status, struct picture *p);
/* visualise_yann.c: everything, as yann's visualizer and resultor have it. */
int cli_visualise_yann(const struct cli_visualise_options *o, const struct visual *v,
                       const char *root);

#endif
