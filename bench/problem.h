/* Problems: one operator with its sizes, in the notation of oneDNN's benchdnn.
 *
 * A line holds options and problems. Options stay in force until a driver option or the end of the
 * text:
 *     --conv --ip --bnorm --eltwise --pool --softmax --binary --concat --dropout --loss
 *                  the driver; benchdnn lacks the last two
 *     --alg=A      pool: max, avg_np, avg_p; eltwise: relu, logistic, tanh, elu, soft_relu; binary:
 *                  add
 *     --dir=D,D    FWD_D, FWD_B (training), FWD_I (inference), BWD_D, BWD_W, BWD_WB, BWD_DW;
 *                  default: all of training
 *     --alpha=X    leaky ReLU's slope, ELU's alpha     --p=X   dropout's probability
 *     --mb=N       replaces every problem's mb
 *     --cfg=f32 --dt=f32 --tag=...
 *                  and the like are accepted: everything is float, and layouts the backend's
 * A problem is letters and numbers, '_' anywhere; what is missing follows from the rest, as in
 * benchdnn:
 *     conv     gXmbX_icXihXiwX_ocXohXowX_khXkwX_shXswX_phXpwX_dhXdwX_n"NAME"
 *     pool     the same without g and oc
 *     ip       mbX_icXihXiwX_ocX_n"NAME"
 *     bnorm    mbX_icXihXiwX_n"NAME"
 *     others   AxBxCxD_n"NAME" (binary: AxBxCxD:AxBxCxD; concat: AxBxCxD:AxExCxD... along the
 *              channels)
 * dh0 is a dense kernel. ph, pw pad the beginning; what the end needs follows from oh, ow. '#'
 * begins a comment. */
#ifndef BENCH_PROBLEM_H
#define BENCH_PROBLEM_H

#include <convoy/convoy.h>

enum { PROBLEM_PARTS = 16 };

enum problem_kind {
    PROBLEM_CONV,
    PROBLEM_IP,
    PROBLEM_BNORM,
    PROBLEM_ELTWISE,
    PROBLEM_POOL,
    PROBLEM_SOFTMAX,
    PROBLEM_BINARY,
    PROBLEM_CONCAT,
    PROBLEM_DROPOUT,
    PROBLEM_LOSS
};

struct problem {
    enum problem_kind kind;
    char name[64];   /* n"NAME", or "" */
    char text[200];  /* as it could be given to benchdnn: "--conv mb256ic1ih28oc6oh24kh5" */
    unsigned passes; /* 1 << enum cvy_pass */
    cvy_shape src, dst;
    cvy_shape part[PROBLEM_PARTS]; /* concat: of n_parts tensors */
    size_t n_parts;
    cvy_conv2d_desc conv; /* also ip: the kernel is the whole map */
    cvy_pool2d_desc pool;
    cvy_act_desc act;
    double p;      /* dropout */
    bool multiply; /* binary: else it adds */
};

struct problem_list {
    struct problem *at;
    size_t n, room;
};

/* Reads a text of lines. batch: 0, or what replaces every mb. False: error says in one sentence
 * what is wrong and where (`where`, line and column). The list keeps what was read before;
 * free(list->at). */
bool problem_read(const char *where, const char *text, size_t batch, struct problem_list *list,
                  char *error, size_t error_size);
/* Reads the log that ONEDNN_VERBOSE=1 writes (2.x and 3.x), each different problem once. skipped
 * (in/out): lines of primitives or data types that have no operator here. Other lines are passed
 * over. */
bool problem_read_verbose(const char *where, const char *text, size_t batch,
                          struct problem_list *list, size_t *skipped, char *error,
                          size_t error_size);
/* What a pass has to do: operations by the formula (exp and division count as one), bytes that must
 * be read or written at least once. A convolution and each of its gradients: 2 N OC OH OW (IC /
 * groups) KH KW. */
struct problem_work {
    double flops, bytes;
};
struct problem_work problem_work(const struct problem *p, enum cvy_pass pass);
/* The passes that training needs. */
unsigned problem_training_passes(enum problem_kind kind);

#endif
