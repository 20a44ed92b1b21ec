/* Several backends on the same training step: what every op took on each, how far its numbers are
 * from the reference, and who is faster where. Knows records, not nets. */
#ifndef REPORT_CONTEST_H
#define REPORT_CONTEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "report/stats.h"

/* The distance of a tensor from the reference's. Relative: to the reference's value, where that is
 * not below a millionth of the tensor's largest. worst: where the absolute difference is largest,
 * [n][c][h][w]; ulp: that difference in units in the last place of the reference's value there. */
struct contest_distance {
    char tensor[96]; /* "" : not compared */
    double abs, rel, ulp;
    size_t worst[4];
};

/* How many times as long as on the first side; p is adjusted for the number of rows and sides. */
struct contest_verdict {
    struct stats_ratio ratio;
    double p;
    bool real;
};

/* A row on one backend. */
struct contest_cell {
    size_t n; /* measurements; 0: it has no such row */
    double *seconds;
    struct contest_distance distance;
    char kernels[256]; /* what computed it, if the backend says */
    struct contest_verdict verdict;
};

enum contest_part { CONTEST_FORWARD, CONTEST_BACKWARD, CONTEST_UPDATE, CONTEST_REORDER };

/* Ops that some backend computes in one piece, and that can therefore be compared only together; or
 * a reorder. */
struct contest_row {
    char *name;
    enum contest_part part;
    double flops, bytes;       /* a step; bytes of operands and results, unfused */
    struct contest_cell *cell; /* [sides] */
};

enum { CONTEST_SIDES = 8 };

struct contest_side {
    const char *name; /* "native" */
    size_t n;
    double *plain, *clocked; /* [n] seconds of a step without and with the clocks of phases */
    double loss;             /* of the step that the distances are from */
    struct contest_verdict verdict; /* of the steps without clocks */
};

struct contest {
    const char *model, *cpu, *isa, *version;
    size_t batch, threads, check_batch;
    /* so many measurements of a side follow each other, then it is the next one's turn */
    size_t turn;
    double peak; /* FMA, all threads, FLOP/s */
    size_t n_sides, n_rows;
    struct contest_side *side;
    struct contest_row *row;
};

/* Fills in the verdicts, which everything below tells. Sides are compared turn by turn: what lies
 * in a turn is not independent. False: out of memory. */
bool contest_judge(struct contest *c);
/* The verdicts and tables, for a screen of 100 columns. */
void contest_print(FILE *out, const struct contest *c);
/* Everything, samples included, as indented JSON; NULL: out of memory. */
char *contest_json(const struct contest *c);
/* One page with everything in it; false: writing failed (errno). */
bool contest_html(FILE *out, const struct contest *c);

#endif
