/* Drawings as files, and files that are wholes. Each int is an exit code after a message. */
#ifndef CLI_PICTURES_H
#define CLI_PICTURES_H

#include "cli/cli.h"
#include "report/figure.h"

/* A file that is written to in memory: closed it is there, else nothing is. */
struct cli_file {
    char path[4096], *bytes;
    size_t size;
    FILE *out;
};
int cli_file_open(struct cli_file *f, const char *path);
/* wrong: in words why what was written is not to be kept; NULL: it is. */
int cli_file_close(struct cli_file *f, const char *wrong);
void cli_file_drop(struct cli_file *f);

/* What a file shall be, by the end of its name. */
enum cli_picture { CLI_NO_PICTURE, CLI_SVG, CLI_PNG, CLI_PAGE };
enum cli_picture cli_picture_of(const char *path);
/* A page of figures, or, of one, the drawing. */
int cli_draw_figures(const char *path, const struct figure_page *p);
/* STEM.svg and, if this program can, STEM.png. */
int cli_draw(const char *stem, const struct drawing *d);
/* As PNG, in memory that the caller frees; NULL: not possible, and nothing has been told. */
unsigned char *cli_draw_png(const struct drawing *d, size_t *size);

#endif
