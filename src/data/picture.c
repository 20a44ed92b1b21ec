/* Pictures over memory: PNG by libpng, JPEG by libjpeg, to bytes of channels as data sets have
 * them; their size and greys made what is wanted. */
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/parse.h"

#ifdef CONVOY_HAVE_PNG
#include <png.h>
#endif
#ifdef CONVOY_HAVE_JPEG
#include <jpeglib.h>
#endif

enum {
    SIDE_LIMIT = 1 << 15,
    PIXEL_LIMIT = 1 << 26,  /* a small file can say that it is large */
    CHUNK_LIMIT = 16 << 20, /* of PNG, unpacked */
    SCAN_LIMIT = 100        /* of JPEG: each goes over the whole picture */
};

/* A picture that is being read. */
struct reading {
    const char *where;
    struct data_bytes file;
    size_t at; /* how much of it was handed out */
    size_t h, w;
    const size_t *size; /* rows and columns that it must have; NULL: any */
    uint8_t *rgb;       /* [h][w][3] */
    char why[300];      /* "": nothing went wrong */
    enum data_status status;
    jmp_buf jump;
};

/* Room for the pixels, if the picture is of a size that is taken. */
static bool begin(struct reading *r, size_t h, size_t w)
{
    r->h = h;
    r->w = w;
    r->status = DATA_BAD;
    if (h < 1 || w < 1 || h > SIDE_LIMIT || w > SIDE_LIMIT || h * w > PIXEL_LIMIT)
        snprintf(r->why, sizeof r->why,
                 "%zu x %zu pixels, expected at most %d on a side and %d in all", h, w, SIDE_LIMIT,
                 PIXEL_LIMIT);
    else if (r->size && (h != r->size[0] || w != r->size[1]))
        snprintf(r->why, sizeof r->why,
                 "%zu rows of %zu pixels, the pictures before have %zu of %zu: "
                 "folder:size=%zux%zu:DIR makes them all alike",
                 h, w, r->size[0], r->size[1], r->size[0], r->size[1]);
    else if (!(r->rgb = malloc(h * w * 3))) r->status = DATA_NOMEM;
    else r->status = DATA_OK;
    if (r->status == DATA_NOMEM)
        snprintf(r->why, sizeof r->why, "out of memory for %zu x %zu pixels", h, w);
    return r->status == DATA_OK;
}

/* ------------------------------------------------------------------------------------------ PNG */

#ifdef CONVOY_HAVE_PNG
static void png_fail(png_structp png, png_const_charp text)
{
    struct reading *r = png_get_error_ptr(png);
    r->status = DATA_BAD;
    snprintf(r->why, sizeof r->why, "not a good PNG: %.200s", text);
    longjmp(r->jump, 1);
}

/* Of what does not change pixels (a colour profile that is not as it should be). */
static void png_warn(png_structp png, png_const_charp text) { (void)png, (void)text; }

static void png_bytes(png_structp png, png_bytep out, size_t n)
{
    struct reading *r = png_get_io_ptr(png);
    if (r->file.size - r->at < n) png_error(png, "the file ends too early");
    memcpy(out, r->file.bytes + r->at, n);
    r->at += n;
}

/* All kinds as 8-bit RGB: palettes and greys spread, 16 bits rounded, transparency left out. */
static void read_png(struct reading *r)
{
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, r, png_fail, png_warn);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        r->status = DATA_NOMEM;
        strcpy(r->why, "out of memory");
    } else if (!setjmp(r->jump)) {
        png_set_user_limits(png, SIDE_LIMIT, SIDE_LIMIT);
        png_set_chunk_malloc_max(png, CHUNK_LIMIT);
        png_set_read_fn(png, r, png_bytes);
        png_read_info(png, info);
        png_set_expand(png);
        png_set_scale_16(png);
        png_set_strip_alpha(png);
        png_set_gray_to_rgb(png);
        int passes = png_set_interlace_handling(png);
        png_read_update_info(png, info);
        if (begin(r, png_get_image_height(png, info), png_get_image_width(png, info))) {
            for (int pass = 0; pass < passes; pass++)
                for (size_t y = 0; y < r->h; y++) png_read_row(png, r->rgb + y * r->w * 3, NULL);
            png_read_end(png, NULL);
        }
    }
    png_destroy_read_struct(&png, &info, NULL);
}
#endif

/* ----------------------------------------------------------------------------------------- JPEG */

#ifdef CONVOY_HAVE_JPEG
struct jpeg {
    struct jpeg_decompress_struct is;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    struct reading *r;
};

static void jpeg_fail(j_common_ptr is)
{
    struct reading *r = ((struct jpeg *)(void *)is)->r;
    char text[JMSG_LENGTH_MAX];
    is->err->format_message(is, text);
    r->status = DATA_BAD;
    snprintf(r->why, sizeof r->why, "not a good JPEG: %.200s", text);
    longjmp(r->jump, 1);
}

/* What libjpeg goes on after, it goes on with grey: a file that ends too early. */
static void jpeg_message(j_common_ptr is, int level)
{
    if (level < 0) jpeg_fail(is);
}

static void jpeg_step(j_common_ptr is)
{
    struct jpeg *j = (struct jpeg *)(void *)is;
    if (j->is.input_scan_number <= SCAN_LIMIT) return;
    j->r->status = DATA_BAD;
    snprintf(j->r->why, sizeof j->r->why, "a JPEG of more than %d scans", SCAN_LIMIT);
    longjmp(j->r->jump, 1);
}

static void read_jpeg(struct reading *r)
{
    struct jpeg j = { .r = r, .progress = { .progress_monitor = jpeg_step } };
    j.is.err = jpeg_std_error(&j.errors);
    j.errors.error_exit = jpeg_fail;
    j.errors.emit_message = jpeg_message;
    if (!setjmp(r->jump)) {
        jpeg_create_decompress(&j.is);
        j.is.progress = &j.progress;
        jpeg_mem_src(&j.is, r->file.bytes, r->file.size);
        jpeg_read_header(&j.is, TRUE);
        j.is.out_color_space = JCS_RGB;
        j.is.dct_method = JDCT_ISLOW;
        if (j.is.jpeg_color_space == JCS_CMYK || j.is.jpeg_color_space == JCS_YCCK) {
            r->status = DATA_BAD;
            strcpy(r->why, "a JPEG of four colours (CMYK), expected grey or three");
        } else if (begin(r, j.is.image_height, j.is.image_width)) {
            jpeg_start_decompress(&j.is);
            while (j.is.output_scanline < j.is.output_height) {
                JSAMPROW row = r->rgb + (size_t)j.is.output_scanline * r->w * 3;
                jpeg_read_scanlines(&j.is, &row, 1);
            }
            jpeg_finish_decompress(&j.is);
        }
    }
    jpeg_destroy_decompress(&j.is);
}
#endif

/* ---------------------------------------------------------------------------------- any of them */

static void without(struct reading *r, const char *kind)
{
    r->status = DATA_BAD;
    snprintf(r->why, sizeof r->why, "a %s, which this convoy was built without", kind);
}
#ifndef CONVOY_HAVE_PNG
static void read_png(struct reading *r) { without(r, "PNG"); }
#endif
#ifndef CONVOY_HAVE_JPEG
static void read_jpeg(struct reading *r) { without(r, "JPEG"); }
#endif

static void read_any(struct reading *r)
{
    const uint8_t *b = r->file.bytes;
    (void)without;
    if (r->file.size >= 8 && !memcmp(b, "\x89PNG\r\n\x1a\n", 8)) {
        read_png(r);
    } else if (r->file.size >= 3 && !memcmp(b, "\xff\xd8\xff", 3)) {
        read_jpeg(r);
    } else {
        r->status = DATA_BAD;
        strcpy(r->why, r->file.size ? "neither a PNG nor a JPEG" : "an empty file");
    }
}

enum data_status data_parse_picture(const char *where, struct data_bytes file, const size_t *size,
                                    struct data_picture *out, char *error, size_t error_size)
{
    struct reading r = { .where = where, .file = file, .size = size };
    *out = (struct data_picture){ 0 };
    read_any(&r);
    if (!r.status && !(out->bytes = malloc(r.h * r.w * 3))) {
        r.status = DATA_NOMEM;
        strcpy(r.why, "out of memory");
    }
    if (!r.status) {
        out->h = r.h;
        out->w = r.w;
        for (size_t i = 0; i < r.h * r.w; i++) {
            const uint8_t *p = r.rgb + 3 * i;
            for (size_t c = 0; c < 3; c++) out->bytes[c * r.h * r.w + i] = p[c];
            out->colour |= p[0] != p[1] || p[0] != p[2];
        }
    }
    free(r.rgb);
    return r.status ? data_fail(error, error_size, r.status, "%s: %s", where, r.why) : DATA_OK;
}

/* The triangle over old pixels [*first, *first + n) that new pixel o of `to` is the mean of:
 * weights that sum up to 1. It is two pixels wide, of what it leads to where that is coarser. */
static size_t triangle(size_t o, size_t from, size_t to, size_t *first, double *weight)
{
    const double ratio = (double)from / (double)to, half = ratio > 1 ? ratio : 1,
                 middle = ((double)o + 0.5) * ratio, low = floor(middle - half);
    double sum = 0;
    size_t n = 0;
    *first = low > 0 ? (size_t)low : 0;
    for (size_t i = *first; i < from && (double)i + 0.5 < middle + half; i++) {
        double w = 1 - fabs((double)i + 0.5 - middle) / half;
        sum += weight[n++] = w > 0 ? w : 0;
    }
    for (size_t i = 0; i < n; i++) weight[i] /= sum;
    return n;
}

/* `rows` rows of `from` pixels to columns: out[x][row], so that twice makes both. */
static void squeeze(const double *in, size_t rows, size_t from, size_t to, double *out,
                    double *weight)
{
    for (size_t x = 0; x < to; x++) {
        size_t first, n = triangle(x, from, to, &first, weight);
        for (size_t y = 0; y < rows; y++) {
            double sum = 0;
            for (size_t i = 0; i < n; i++) sum += weight[i] * in[y * from + first + i];
            out[x * rows + y] = sum;
        }
    }
}

bool data_picture_resize(const struct data_picture *p, size_t h, size_t w, uint8_t *out)
{
    const size_t old = p->h * p->w, longest = p->h > p->w ? p->h : p->w;
    double *a = malloc(old * sizeof *a), *b = malloc(p->h * w * sizeof *b),
           *c = malloc(h * w * sizeof *c), *weight = malloc(longest * sizeof *weight);
    const bool good = a && b && c && weight;
    for (size_t k = 0; good && k < 3; k++) {
        for (size_t i = 0; i < old; i++) a[i] = p->bytes[k * old + i];
        squeeze(a, p->h, p->w, w, b, weight);
        squeeze(b, w, p->h, h, c, weight);
        for (size_t i = 0; i < h * w; i++) out[k * h * w + i] = (uint8_t)lrint(c[i]);
    }
    free(a);
    free(b);
    free(c);
    free(weight);
    return good;
}

void data_grey(const uint8_t *rgb, size_t pixels, uint8_t *grey)
{
    for (size_t i = 0; i < pixels; i++)
        grey[i] = (uint8_t)lrint(0.2989 * rgb[i] + 0.5870 * rgb[pixels + i] +
                                 0.1140 * rgb[2 * pixels + i]);
}

void data_make_grey(struct data_set *set)
{
    struct data_split *const splits[] = { &set->train, &set->test };
    const size_t pixels = set->h * set->w;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < splits[k]->n; i++)
            data_grey(splits[k]->images + i * 3 * pixels, pixels, splits[k]->images + i * pixels);
    set->c = 1;
}
