/* Pictures of tiles: filters, maps, images, one beside the other, and their PNG. Numbers become
 * grey or, three channels together, red, green and blue; signed ones red where they are positive
 * and blue where they are negative. Between tiles and behind the last one a picture is transparent,
 * and black to whom does not know that. */
#ifndef REPORT_TILES_H
#define REPORT_TILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct picture {
    size_t width, height;
    uint32_t *pixel; /* 0xffRRGGBB by rows, 0 where nothing is */
};
void picture_free(struct picture *p);

enum tiles_status {
    TILES_OK = 0,
    TILES_NOMEM,
    TILES_LARGE /* more than TILES_MOST pixels on a side */
};
enum { TILES_MOST = 32000 };

enum tiles_range {
    TILES_EACH,         /* each tile's least value is 0, its largest 255 */
    TILES_EACH_CHANNEL, /* each channel's of each tile */
    TILES_ALL,          /* the least and the largest of all tiles */
    TILES_SIGNED        /* of one channel: white is 0, full colour the largest magnitude of all */
};

/* n tiles of c x h x w values. The values of tile i, channel k, row y, column x stand at i * tile +
 * k * channel + y * row + x * column. c: 1 or 3 */
struct tiles {
    const float *values;
    size_t n, c, h, w;
    size_t tile, channel, row, column;
};
struct tiles_style {
    size_t columns, spacing; /* tiles in a row; pixels between tiles */
    enum tiles_range range;
    uint32_t gap; /* the colour between tiles; 0: none */
};
/* The least number of columns whose square holds n tiles, and the largest whose square they
 * fill. */
size_t tiles_square(size_t n);
size_t tiles_floor(size_t n);
/* On failure the picture is empty. A range of one value is black; values that are not finite are,
 * too, and take no part in the range. */
enum tiles_status tiles_draw(const struct tiles *tiles, const struct tiles_style *style,
                             struct picture *out);
/* Each pixel becomes `scale` x `scale`. */
enum tiles_status picture_enlarge(const struct picture *p, size_t scale, struct picture *out);

/* A PNG in memory that the caller frees; NULL: out of memory. */
unsigned char *picture_png(const struct picture *p, size_t *size);
/* Whether this program can do that: it was built with cairo. */
bool picture_possible(void);

#endif
