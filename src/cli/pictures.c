/* Drawings as files: what every command that draws ends with. */
#include "cli/pictures.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "train/files.h"

enum { SCALE = 2 }; /* pixels of a PNG for one of the SVG's */

int cli_file_open(struct cli_file *f, const char *path)
{
    *f = (struct cli_file){ .bytes = NULL };
    if ((size_t)snprintf(f->path, sizeof f->path, "%s", path) >= sizeof f->path)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", path);
    f->out = open_memstream(&f->bytes, &f->size);
    return f->out ? CLI_OK : cli_fail(CLI_NOMEM, "%s: out of memory", f->path);
}

int cli_file_close(struct cli_file *f, const char *wrong)
{
    char error[CLI_ERROR];
    enum train_status status = TRAIN_OK;
    const bool full = ferror(f->out) | fclose(f->out);
    if (full && !wrong) wrong = "out of memory";
    if (!wrong) status = files_write(f->path, f->bytes, f->size, error, sizeof error);
    free(f->bytes);
    if (wrong) return cli_fail(CLI_NOMEM, "%s: %s", f->path, wrong);
    return status ? cli_fail(cli_code_train(status), "%s", error) : CLI_OK;
}

void cli_file_drop(struct cli_file *f)
{
    fclose(f->out);
    free(f->bytes);
}

enum cli_picture cli_picture_of(const char *path)
{
    static const struct {
        const char *end;
        enum cli_picture picture;
    } ends[] = {
        { ".svg", CLI_SVG }, { ".png", CLI_PNG }, { ".html", CLI_PAGE }, { ".htm", CLI_PAGE }
    };
    const char *end = strrchr(path, '.');
    for (size_t i = 0; end && i < sizeof ends / sizeof *ends; i++)
        if (!strcasecmp(end, ends[i].end)) return ends[i].picture;
    return CLI_NO_PICTURE;
}

static int draw(const char *path, const struct drawing *d)
{
    struct cli_file f;
    char error[CLI_ERROR] = "out of memory";
    int code = cli_file_open(&f, path);
    if (code) return code;
    const bool good = cli_picture_of(path) == CLI_PNG
                          ? drawing_png(f.out, d, SCALE, error, sizeof error)
                          : drawing_svg(f.out, d);
    return cli_file_close(&f, good ? NULL : error);
}

int cli_draw_figures(const char *path, const struct figure_page *p)
{
    struct cli_file f;
    const struct drawing d = figure_drawing(p->figure);
    if (cli_picture_of(path) != CLI_PAGE) return draw(path, &d);
    int code = cli_file_open(&f, path);
    if (code) return code;
    return cli_file_close(&f, figure_page(f.out, p) ? NULL : "out of memory");
}

int cli_draw(const char *stem, const struct drawing *d)
{
    char path[PATH_MAX];
    int code = CLI_OK;
    if ((size_t)snprintf(path, sizeof path, "%s.svg", stem) >= sizeof path)
        return cli_fail(CLI_IO, "%.60s...: the path is too long", stem);
    code = draw(path, d);
    if (code || !drawing_has_png()) return code;
    memcpy(strrchr(path, '.'), ".png", 4);
    return draw(path, d);
}

unsigned char *cli_draw_png(const struct drawing *d, size_t *size)
{
    char *bytes = NULL, error[CLI_ERROR];
    FILE *out = open_memstream(&bytes, size);
    bool good = out && drawing_png(out, d, SCALE, error, sizeof error);
    if (out && (ferror(out) | fclose(out))) good = false;
    if (good) return (unsigned char *)bytes;
    free(bytes);
    return NULL;
}
