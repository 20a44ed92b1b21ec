/* Schedules of the learning rate: a pure function of where training stands. A kind is a record of
 * schedule.c: its name, its settings, its formula. One text says a schedule in models, runs and on
 * the command line: "KIND" or "KIND:KEY=X,KEY=X,FLAG", lists as 30/60/90, what is not said is as
 * usual. With r the optimiser's rate, e the epoch and s the step, both from 0, n steps an epoch:
 *
 *  constant     r
 *  step         r factor^floor(e / every)      (PyTorch's StepLR)
 *  milestones   r times factor for each of `epochs` that e has reached (MultiStepLR)
 *  exponential  r factor^e (ExponentialLR); every_steps N: r factor^(s / N) (TensorFlow's
 *               exponential_decay)
 *  staircase    r factor^floor(s / every)      (exponential_decay with staircase=True)
 *  cosine       floor + (r - floor) (1 + cos(pi x)) / 2, x = s / (over n), or e / over with
 *               by_epoch (over_steps T: x = s / T, or e n / T); floor from there on. Loshchilov &
 *               Hutter 2017 (arXiv:1608.03983), equation 5 without restarts; CosineAnnealingLR
 *  one_cycle    from r / start up to r in the first share `peak` of the steps and down to r / start
 *               / end in the rest, each half a cosine (linear: straight). Smith & Topin 2018
 *               (arXiv:1708.07120), section 2, in the form of OneCycleLR: the peak is at step
 *               peak T - 1 of T = over n or over_steps, the end at step T - 1
 *  eras         the i-th of `rates` for the i-th of `epochs` epochs, (1 - anneal) times less after
 *               each of them; the last goes on. r takes no part. As the yann toolbox has it.
 *               only_down: an era's rate that is above what it would follow is not taken.
 *               from_best: each era but the first begins with the best parameters so far
 *
 * Any of them: warmup_steps W, or warmup_epochs (W = n times that): while s < W the rate is (s + 1)
 * / W of that. The clock behind is not moved. Goyal et al. 2017 (arXiv:1706.02677), section 2.2.
 *
 * The momentum m of the optimiser, which has one, may follow: from m to momentum_to, straight over
 * momentum_epochs E: m + (momentum_to - m) min(e, E) / E (yann's momentum_params; any kind). One
 * cycle's goes against the rate, from m down to momentum_low where the rate is r, and back, never
 * above m (section 2 of Smith & Topin; OneCycleLR). */
#ifndef TRAIN_SCHEDULE_H
#define TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHEDULE_LIST 16
#define SCHEDULE_KEYS 16
#define SCHEDULE_TEXT 1024

enum schedule_kind {
    SCHEDULE_CONSTANT = 0,
    SCHEDULE_STEP,
    SCHEDULE_MILESTONES,
    SCHEDULE_EXPONENTIAL,
    SCHEDULE_STAIRCASE,
    SCHEDULE_COSINE,
    SCHEDULE_ONE_CYCLE,
    SCHEDULE_ERAS,
    SCHEDULE_KINDS
};

struct schedule_list {
    size_t n;
    double at[SCHEDULE_LIST];
};

/* The settings; each is read by the kinds that have it. Whole numbers are exact in a double. */
struct schedule {
    enum schedule_kind kind;
    double factor, every, every_steps, floor, over, over_steps, start, end, peak, anneal;
    bool by_epoch, linear, only_down, from_best;
    struct schedule_list epochs, rates;
    double warmup_steps, warmup_epochs;
    double momentum_low, momentum_to, momentum_epochs;
};

struct schedule_time {
    uint64_t step, epoch; /* of the step that is to be taken */
    size_t steps_an_epoch;
};

double schedule_rate(const struct schedule *schedule, const struct schedule_time *time, double lr);
/* Whether the epoch begins with the best parameters. */
bool schedule_goes_back(const struct schedule *schedule, uint64_t epoch);
/* As the rate; of optimisers that have one. And whether it changes at all. */
double schedule_momentum(const struct schedule *schedule, const struct schedule_time *time,
                         double momentum);
bool schedule_moves(const struct schedule *schedule, double momentum);

/* What is wrong with a text: a sentence, and the word that is none of `names` (which NULL ends);
 * names is NULL where it is something else. */
struct schedule_fault {
    char text[320], word[64];
    const char *const *names;
};
/* false: nothing but *fault is written. */
bool schedule_parse(const char *text, struct schedule *schedule, struct schedule_fault *fault);
/* The shortest text that is read as this. */
const char *schedule_text(const struct schedule *schedule, char out[SCHEDULE_TEXT]);
/* Schedules that end with the training, and say nothing else, end with this many epochs, or, if it
 * is not 0, steps. */
void schedule_end(struct schedule *schedule, size_t epochs, uint64_t steps);

/* For help: the name of a kind, "cosine", NULL past the last, and its settings as "floor=0, ..." */
const char *schedule_name(int kind);
const char *schedule_settings(int kind, char out[SCHEDULE_TEXT]);

#endif
