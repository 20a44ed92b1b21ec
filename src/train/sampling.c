/* The kinds of samplers, one record each. */
#include "train/sampling.h"

#include <Random123/philox.h>
#include <string.h>

/* What is drawn in an epoch. */
struct draws {
    philox4x32_key_t key;
    uint64_t epoch;
    uint32_t tag;
};

static size_t draw(const struct draws *d, size_t i, size_t below)
{
    philox4x32_ctr_t ctr = { { (uint32_t)i, (uint32_t)d->epoch, (uint32_t)(d->epoch >> 32),
                               d->tag } };
    ctr = philox4x32(ctr, d->key);
    uint64_t word = ctr.v[0] | (uint64_t)ctr.v[1] << 32;
    return (size_t)(__extension__(unsigned __int128) word * below >> 64);
}

static void swap(uint32_t *order, size_t i, size_t j)
{
    uint32_t t = order[i];
    order[i] = order[j];
    order[j] = t;
}

/* Each makes of the order of the data set its own. */
static void shuffled(const struct draws *d, uint32_t *order, size_t n, size_t buffer)
{
    (void)buffer;
    for (size_t i = n; i-- > 1;) swap(order, i, draw(d, i, i + 1));
}

static void fixed(const struct draws *d, uint32_t *order, size_t n, size_t buffer)
{
    (void)d;
    (void)order;
    (void)n;
    (void)buffer;
}

static void buffered(const struct draws *d, uint32_t *order, size_t n, size_t buffer)
{
    for (size_t i = 0; i < n; i++) swap(order, i, i + draw(d, i, n - i < buffer ? n - i : buffer));
}

static void replacement(const struct draws *d, uint32_t *order, size_t n, size_t buffer)
{
    (void)buffer;
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)draw(d, i, n);
}

static const struct {
    const char *name;
    void (*fill)(const struct draws *d, uint32_t *order, size_t n, size_t buffer);
    uint32_t tag;
} kinds[] = {
    [SAMPLING_SHUFFLED] = { "shuffled", shuffled, 0x4544524f },
    [SAMPLING_FIXED] = { "fixed", fixed, 0 },
    [SAMPLING_BUFFERED] = { "buffered", buffered, 0x46465542 },
    [SAMPLING_REPLACEMENT] = { "replacement", replacement, 0x4c504552 },
};
_Static_assert(sizeof kinds / sizeof *kinds == SAMPLING_KINDS, "samplers: a record a kind");

void sampling_fill(const struct sampling *s, uint32_t *order, size_t n, uint64_t seed,
                   uint64_t epoch)
{
    const struct draws d = { { { (uint32_t)seed, (uint32_t)(seed >> 32) } },
                             epoch,
                             kinds[s->kind].tag };
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    kinds[s->kind].fill(&d, order, n, s->buffer);
}

const char *sampling_name(int kind)
{
    return kind >= 0 && kind < SAMPLING_KINDS ? kinds[kind].name : NULL;
}

bool sampling_from_name(const char *name, enum sampling_kind *kind)
{
    for (int k = 0; name && k < SAMPLING_KINDS; k++)
        if (!strcmp(name, kinds[k].name)) {
            *kind = (enum sampling_kind)k;
            return true;
        }
    return false;
}
