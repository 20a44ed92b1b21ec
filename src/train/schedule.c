/* The kinds of schedules, one record each, and their text. */
#include "train/schedule.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define PI 3.14159265358979323846

/* EPOCHS: a list of increasing whole numbers; LENGTHS: of any */
enum type { NUMBER, WHOLE, FLAG, NUMBERS, EPOCHS, LENGTHS };

struct key {
    const char *name;
    enum type type;
    size_t offset;
    double least, most, usual;
    bool below; /* less than `most` */
};

#define KEY(member, kind, lo, hi, x)                                                             \
    {                                                                                            \
        .name = #member, .type = kind, .offset = offsetof(struct schedule, member), .least = lo, \
        .most = hi, .usual = x                                                                   \
    }
#define SHARE(member, x)                                                                         \
    {                                                                                            \
        .name = #member, .type = NUMBER, .offset = offsetof(struct schedule, member), .most = 1, \
        .usual = x, .below = true                                                                \
    }
#define MANY ((double)(1 << 30))
#define FACTOR KEY(factor, NUMBER, 0, 1e30, 0.1)
/* of the kinds that end: 0 is the training's own */
#define OVER KEY(over, WHOLE, 0, 1 << 20, 0), KEY(over_steps, WHOLE, 0, MANY, 0)

/* ---------------------------------------------------------------------------------------- kinds */

struct kind {
    const char *name;
    const struct key *keys;
    size_t n_keys;
    double (*rate)(const struct schedule *s, const struct schedule_time *t, double lr);
    /* NULL: it is momentum_to's affair */
    double (*momentum)(const struct schedule *s, const struct schedule_time *t, double momentum);
};

static double constant(const struct schedule *s, const struct schedule_time *t, double lr)
{
    (void)s;
    (void)t;
    return lr;
}

static const struct key step_keys[] = { KEY(every, WHOLE, 1, MANY, 10), FACTOR };
static double by_epochs(const struct schedule *s, const struct schedule_time *t, double lr)
{
    return lr * pow(s->factor, floor((double)t->epoch / s->every));
}

static const struct key staircase_keys[] = { KEY(every, WHOLE, 1, MANY, 1000), FACTOR };
static double by_steps(const struct schedule *s, const struct schedule_time *t, double lr)
{
    return lr * pow(s->factor, floor((double)t->step / s->every));
}

static const struct key milestone_keys[] = { KEY(epochs, EPOCHS, 1, 1 << 20, 0), FACTOR };
static double milestones(const struct schedule *s, const struct schedule_time *t, double lr)
{
    for (size_t i = 0; i < s->epochs.n; i++)
        if ((double)t->epoch >= s->epochs.at[i]) lr *= s->factor;
    return lr;
}

static const struct key exponential_keys[] = { KEY(factor, NUMBER, 0, 1e30, 0.95),
                                               KEY(every_steps, WHOLE, 0, MANY, 0) };
static double exponential(const struct schedule *s, const struct schedule_time *t, double lr)
{
    double x = s->every_steps > 0 ? (double)t->step / s->every_steps : (double)t->epoch;
    return lr * pow(s->factor, x);
}

/* The steps that it goes over. */
static double all_steps(const struct schedule *s, const struct schedule_time *t)
{
    return s->over_steps > 0 ? s->over_steps : s->over * (double)t->steps_an_epoch;
}

/* Half a cosine from a to b. */
static double half_cosine(double a, double b, double x)
{
    return b + (a - b) / 2 * (1 + cos(PI * x));
}

static const struct key cosine_keys[] = { KEY(floor, NUMBER, 0, 1e30, 0), OVER,
                                          KEY(by_epoch, FLAG, 0, 1, 0) };
static double cosine(const struct schedule *s, const struct schedule_time *t, double lr)
{
    double at = s->by_epoch ? (double)t->epoch : (double)t->step,
           all = all_steps(s, t) / (s->by_epoch ? (double)t->steps_an_epoch : 1);
    return at < all ? half_cosine(lr, s->floor, at / all) : s->floor;
}

static const struct key one_cycle_keys[] = {
    KEY(start, NUMBER, 1, 1e30, 25), KEY(end, NUMBER, 1, 1e30, 1e4),
    KEY(peak, NUMBER, 0, 1, 0.3),    OVER,
    KEY(linear, FLAG, 0, 1, 0),      SHARE(momentum_low, 0.85)
};

/* How far up the cycle is, from 0 (at its ends) to 1 (at its peak); *down: behind the peak. */
static double one_cycle_height(const struct schedule *s, const struct schedule_time *t, bool *down)
{
    double at = (double)t->step, last = all_steps(s, t) - 1, top = s->peak * (last + 1) - 1;
    if (top < 0) top = 0;
    *down = at > top || top == 0;
    double x = *down ? (at - top) / (last - top) : at / top;
    if (at >= last) x = 1; /* with one step or none there are no slopes */
    double up = s->linear ? x : (1 - cos(PI * x)) / 2;
    return *down ? 1 - up : up;
}

static double one_cycle(const struct schedule *s, const struct schedule_time *t, double lr)
{
    bool down;
    double height = one_cycle_height(s, t, &down), foot = lr / s->start;
    if (down) foot /= s->end;
    return foot + (lr - foot) * height;
}

static double against_one_cycle(const struct schedule *s, const struct schedule_time *t, double m)
{
    bool down;
    double height = one_cycle_height(s, t, &down);
    return s->momentum_low < m ? m + (s->momentum_low - m) * height : m;
}

static const struct key eras_keys[] = { KEY(rates, NUMBERS, 0, 1e30, 0),
                                        KEY(epochs, LENGTHS, 1, 1 << 20, 0), SHARE(anneal, 0),
                                        KEY(only_down, FLAG, 0, 1, 0),
                                        KEY(from_best, FLAG, 0, 1, 0) };
static double eras(const struct schedule *s, const struct schedule_time *t, double lr)
{
    double left = (double)t->epoch;
    lr = s->rates.at[0];
    for (size_t i = 0; i + 1 < s->rates.n && left >= s->epochs.at[i]; i++) {
        double next = s->rates.at[i + 1];
        lr *= pow(1 - s->anneal, s->epochs.at[i]);
        if (!s->only_down || next <= lr) lr = next;
        left -= s->epochs.at[i];
    }
    return lr * pow(1 - s->anneal, left);
}

bool schedule_goes_back(const struct schedule *s, uint64_t epoch)
{
    double start = 0;
    bool starts = false;
    for (size_t i = 0; s->from_best && i + 1 < s->epochs.n; i++)
        starts = starts || (double)epoch == (start += s->epochs.at[i]);
    return starts;
}

static const struct kind kinds[] = {
    [SCHEDULE_CONSTANT] = { "constant", NULL, 0, constant, NULL },
    [SCHEDULE_STEP] = { "step", step_keys, COUNT(step_keys), by_epochs, NULL },
    [SCHEDULE_MILESTONES] = { "milestones", milestone_keys, COUNT(milestone_keys), milestones,
                              NULL },
    [SCHEDULE_EXPONENTIAL] = { "exponential", exponential_keys, COUNT(exponential_keys),
                               exponential, NULL },
    [SCHEDULE_STAIRCASE] = { "staircase", staircase_keys, COUNT(staircase_keys), by_steps, NULL },
    [SCHEDULE_COSINE] = { "cosine", cosine_keys, COUNT(cosine_keys), cosine, NULL },
    [SCHEDULE_ONE_CYCLE] = { "one_cycle", one_cycle_keys, COUNT(one_cycle_keys), one_cycle,
                             against_one_cycle },
    [SCHEDULE_ERAS] = { "eras", eras_keys, COUNT(eras_keys), eras, NULL },
};
_Static_assert(COUNT(kinds) == SCHEDULE_KINDS, "schedules: a record a kind");

/* Of all kinds. */
static const struct key common_keys[] = { KEY(warmup_steps, WHOLE, 0, MANY, 0),
                                          KEY(warmup_epochs, WHOLE, 0, 1 << 20, 0),
                                          SHARE(momentum_to, 0),
                                          KEY(momentum_epochs, WHOLE, 0, 1 << 20, 0) };

double schedule_rate(const struct schedule *s, const struct schedule_time *t, double lr)
{
    double rate = kinds[s->kind].rate(s, t, lr), at = (double)t->step,
           warm = s->warmup_steps + s->warmup_epochs * (double)t->steps_an_epoch;
    return at < warm ? rate * ((at + 1) / warm) : rate;
}

double schedule_momentum(const struct schedule *s, const struct schedule_time *t, double m)
{
    if (kinds[s->kind].momentum) return kinds[s->kind].momentum(s, t, m);
    if (s->momentum_epochs == 0) return m;
    double share = fmin((double)t->epoch, s->momentum_epochs) / s->momentum_epochs;
    return m + (s->momentum_to - m) * share;
}

bool schedule_moves(const struct schedule *s, double m)
{
    return kinds[s->kind].momentum ? m > s->momentum_low : s->momentum_epochs > 0;
}

/* The i-th key, the kind's own first; NULL past the last. */
static const struct key *key_at(enum schedule_kind kind, size_t i)
{
    size_t own = kinds[kind].n_keys;
    if (i < own) return &kinds[kind].keys[i];
    return i < own + COUNT(common_keys) ? &common_keys[i - own] : NULL;
}

static void *place(struct schedule *s, const struct key *key) { return (char *)s + key->offset; }
static const void *look(const struct schedule *s, const struct key *key)
{
    return (const char *)s + key->offset;
}
static bool is_list(const struct key *key) { return key->type >= NUMBERS; }

void schedule_end(struct schedule *s, size_t epochs, uint64_t steps)
{
    const struct key *key;
    bool open = s->over == 0 && s->over_steps == 0;
    for (size_t i = 0; (key = key_at(s->kind, i)); i++) {
        if (!open || key->offset != offsetof(struct schedule, over)) continue;
        if (steps) s->over_steps = (double)steps;
        else s->over = (double)epochs;
    }
}

/* --------------------------------------------------------------------------------- from a text */

/* The sentence, and the word of it that may have been meant otherwise. */
__attribute__((format(printf, 4, 5))) static bool fails(struct schedule_fault *fault,
                                                        const char *const *names, const char *word,
                                                        const char *format, ...)
{
    va_list args;
    *fault = (struct schedule_fault){ .names = names };
    snprintf(fault->word, sizeof fault->word, "%s", word);
    va_start(args, format);
    vsnprintf(fault->text, sizeof fault->text, format, args);
    va_end(args);
    return false;
}

/* "a whole number from 1 to 1048576" */
static const char *expected(const struct key *key, char out[200])
{
    bool whole = key->type == WHOLE || key->type == EPOCHS || key->type == LENGTHS;
    char range[64];
    if (key->most >= 1e30) snprintf(range, sizeof range, "%g or more", key->least);
    else if (key->below)
        snprintf(range, sizeof range, "from %g to below %g", key->least, key->most);
    else snprintf(range, sizeof range, "from %.10g to %.10g", key->least, key->most);
    const char *order = key->type == EPOCHS ? "increasing " : "", *kind = whole ? "whole " : "";
    if (is_list(key))
        snprintf(out, 200, "at most %d %s%snumbers %s, as 1/2/3", SCHEDULE_LIST, order, kind,
                 range);
    else snprintf(out, 200, "a %snumber %s", kind, range);
    return out;
}

/* A decimal number in the key's range at *text, which is moved behind it. */
static bool number(const struct key *key, const char **text, double *out)
{
    char *end;
    if (strcspn(*text, "0123456789.") > 0) return false; /* no blank, sign, name or hexadecimal */
    if ((*text)[0] == '0' && ((*text)[1] | 32) == 'x') return false;
    *out = strtod(*text, &end);
    if (end == *text) return false;
    *text = end;
    bool whole = key->type != NUMBER && key->type != NUMBERS;
    return *out >= key->least && (key->below ? *out < key->most : *out <= key->most) &&
           (!whole || *out == floor(*out));
}

static bool value(const struct key *key, const char *text, struct schedule *s)
{
    if (!is_list(key)) return number(key, &text, place(s, key)) && !*text;
    struct schedule_list *list = place(s, key);
    double last = 0;
    for (list->n = 0; list->n < SCHEDULE_LIST; text++) {
        double *at = &list->at[list->n++];
        if (!number(key, &text, at) || (key->type == EPOCHS && *at <= last)) return false;
        last = *at;
        if (!*text) return true;
        if (*text != '/') return false;
    }
    return false;
}

static const char *const *key_names(enum schedule_kind kind)
{
    static const char *names[SCHEDULE_KINDS][SCHEDULE_KEYS + 1];
    const struct key *key;
    for (size_t i = 0; (key = key_at(kind, i)); i++) names[kind][i] = key->name;
    return names[kind];
}

/* "a, b, c" */
static const char *join(const char *const *names, char out[240])
{
    *out = 0;
    for (size_t i = 0; names[i]; i++)
        snprintf(out + strlen(out), 240 - strlen(out), "%s%s", i ? ", " : "", names[i]);
    return out;
}

/* One KEY=X or FLAG; ends word behind the key. */
static bool setting(char *word, struct schedule *s, bool *seen, struct schedule_fault *fault)
{
    const char *const *names = key_names(s->kind);
    char list[240], text[200], *x = strchr(word, '=');
    size_t at = 0;
    if (x) *x++ = 0;
    while (names[at] && strcmp(names[at], word)) at++;
    if (!names[at])
        return fails(fault, names, word, "%s has the settings %s, found '%.60s'",
                     kinds[s->kind].name, join(names, list), word);
    const struct key *key = key_at(s->kind, at);
    if (seen[at]) return fails(fault, NULL, word, "%s is said twice", word);
    seen[at] = true;
    if (key->type == FLAG && x) return fails(fault, NULL, x, "%s has no value", word);
    if (key->type == FLAG) {
        *(bool *)place(s, key) = true;
        return true;
    }
    if (x && value(key, x, s)) return true;
    return fails(fault, NULL, "", "%s: expected %s, found '%.60s'", word, expected(key, text),
                 x ? x : "");
}

/* What a kind's settings must be together. */
static bool together(const struct schedule *s, struct schedule_fault *fault)
{
    const struct key *key;
    for (size_t i = 0; (key = key_at(s->kind, i)); i++)
        if (is_list(key) && !((const struct schedule_list *)look(s, key))->n)
            return fails(fault, NULL, "", "%s needs %s=1/2/3", kinds[s->kind].name, key->name);
    if (s->kind == SCHEDULE_ERAS && s->rates.n != s->epochs.n)
        return fails(fault, NULL, "", "eras needs as many rates as epochs, found %zu and %zu",
                     s->rates.n, s->epochs.n);
    if ((s->momentum_to > 0) != (s->momentum_epochs > 0))
        return fails(fault, NULL, "", "momentum_to and momentum_epochs: one needs the other");
    if (s->momentum_to > 0 && kinds[s->kind].momentum)
        return fails(fault, NULL, "", "%s moves the momentum itself, expected no momentum_to",
                     kinds[s->kind].name);
    if (s->over > 0 && s->over_steps > 0)
        return fails(fault, NULL, "", "expected one of over and over_steps, found both");
    if (s->warmup_steps > 0 && s->warmup_epochs > 0)
        return fails(fault, NULL, "", "expected one of warmup_steps and warmup_epochs, found both");
    return true;
}

static void usual(enum schedule_kind kind, struct schedule *s)
{
    const struct key *key;
    *s = (struct schedule){ .kind = kind };
    for (size_t i = 0; (key = key_at(kind, i)); i++)
        if (key->type == NUMBER || key->type == WHOLE) *(double *)place(s, key) = key->usual;
}

bool schedule_parse(const char *text, struct schedule *schedule, struct schedule_fault *fault)
{
    static const char *names[SCHEDULE_KINDS + 1];
    char copy[SCHEDULE_TEXT], list[240], *rest;
    bool seen[SCHEDULE_KEYS] = { false };
    struct schedule s;
    int kind = 0;
    if (strlen(text) >= sizeof copy)
        return fails(fault, NULL, "", "expected at most %d characters, found %zu",
                     SCHEDULE_TEXT - 1, strlen(text));
    strcpy(copy, text);
    char *word = strchr(copy, ':');
    if (word) *word++ = 0;
    for (int k = 0; k < SCHEDULE_KINDS; k++) names[k] = kinds[k].name;
    while (names[kind] && strcmp(names[kind], copy)) kind++;
    if (!names[kind])
        return fails(fault, names, copy, "expected one of %s, found '%.60s'", join(names, list),
                     copy);
    usual((enum schedule_kind)kind, &s);
    for (; word; word = rest) {
        rest = strchr(word, ',');
        if (rest) *rest++ = 0;
        if (!setting(word, &s, seen, fault)) return false;
    }
    if (!together(&s, fault)) return false;
    *schedule = s;
    return true;
}

/* ----------------------------------------------------------------------------------- to a text */

/* In as few digits as come back as the number. */
static void append(char out[SCHEDULE_TEXT], const char *before, double x)
{
    char digits[40];
    for (int n = 6; n <= 17; n++) {
        snprintf(digits, sizeof digits, "%.*g", n, x);
        if (strtod(digits, NULL) == x) break;
    }
    snprintf(out + strlen(out), SCHEDULE_TEXT - strlen(out), "%s%s", before, digits);
}

static void write(const struct key *key, const void *from, char out[SCHEDULE_TEXT])
{
    char before[64];
    snprintf(before, sizeof before, "%s=", key->name);
    if (!is_list(key)) {
        append(out, before, *(const double *)from);
        return;
    }
    const struct schedule_list *list = from;
    for (size_t i = 0; i < list->n; i++) append(out, i ? "/" : before, list->at[i]);
}

const char *schedule_text(const struct schedule *s, char out[SCHEDULE_TEXT])
{
    const struct key *key;
    char between = ':';
    strcpy(out, kinds[s->kind].name);
    for (size_t i = 0; (key = key_at(s->kind, i)); i++) {
        const void *from = look(s, key);
        bool flag = key->type == FLAG;
        if (flag ? !*(const bool *)from : !is_list(key) && *(const double *)from == key->usual)
            continue;
        snprintf(out + strlen(out), SCHEDULE_TEXT - strlen(out), "%c%s", between,
                 flag ? key->name : "");
        if (!flag) write(key, from, out);
        between = ',';
    }
    return out;
}

const char *schedule_name(int kind)
{
    return kind >= 0 && kind < SCHEDULE_KINDS ? kinds[kind].name : NULL;
}

const char *schedule_settings(int kind, char out[SCHEDULE_TEXT])
{
    *out = 0;
    for (size_t i = 0; i < kinds[kind].n_keys; i++) {
        const struct key *key = &kinds[kind].keys[i];
        if (i) strcat(out, ", ");
        if (key->type == FLAG) strcat(out, key->name);
        else if (is_list(key)) strcat(strcat(out, key->name), "=1/2/3");
        else {
            char before[64];
            snprintf(before, sizeof before, "%s=", key->name);
            append(out, before, key->usual);
        }
    }
    return out;
}
