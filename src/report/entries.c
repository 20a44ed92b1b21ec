/* Names taken apart, groups, colours. */
#include "report/entries.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/stats.h"
#include "report/text.h"

double entry_median(const struct entry *e, const char *counter)
{
    return result_median(e->r, counter);
}

double entry_quantile(const struct entry *e, const char *counter, double q)
{
    for (size_t c = 0; c < e->r->n_counters; c++)
        if (!strcmp(e->r->counter[c].name, counter))
            return stats_quantile(e->r->counter[c].value, e->r->runs, q);
    return NAN;
}

double entry_part(const struct entry *e, const char *key)
{
    const size_t n = strlen(key);
    for (const char *at = strchr(e->group, '/'); at; at = strchr(at + 1, '/'))
        if (!strncmp(at + 1, key, n) && at[1 + n] == ':') return strtod(at + 2 + n, NULL);
    return 0;
}

const struct entry *entry_base(const struct entry *first, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strncmp(first[i].who, "native", 6) && first[i].r->runs) return &first[i];
    for (size_t i = 0; i < n; i++)
        if (first[i].r->runs) return &first[i];
    return first;
}

/* ----------------------------------------------------------------------------------------names */

/* A part grows by the longer separator at the most. */
static char *title_of(const char *group, bool threads)
{
    static const char separator[] = " · ";
    char *title = calloc(strlen(group) + 1, sizeof separator), *end = title;
    if (!title) return NULL;
    for (const char *at = strchr(group, '/'); at;) {
        const char *part = at + 1, *before = end > title ? separator : "";
        at = strchr(part, '/');
        const int n = at ? (int)(at - part) : (int)strlen(part);
        if (strncmp(part, "threads:", 8) != 0) {
            char *word = end + strlen(before);
            end += sprintf(end, "%s%.*s", before, n, part);
            if (!strncmp(word, "batch:", 6)) word[5] = ' ';
        } else if (threads) {
            const bool one = n == 9 && part[8] == '1';
            end += sprintf(end, "%s%.*s thread%s", before, n - 8, part + 8, one ? "" : "s");
        }
    }
    return title;
}

static bool read_entry(struct entry *e, const struct result *r)
{
    e->r = r;
    e->text = strdup(r->name);
    if (!e->text) return false;
    char *slash;
    while ((slash = strrchr(e->text, '/')) && text_is_setting(slash + 1)) *slash = '\0';
    e->group = strdup(e->text);
    if (!e->group) return false;
    slash = strrchr(e->group, '/');
    if (slash) *slash = '\0';
    e->who = slash ? e->text + (slash - e->group) + 1 : e->text;
    e->benchmark = e->text;
    e->text[strcspn(e->text, "/")] = '\0';
    e->title = title_of(e->group, true);
    e->brief = title_of(e->group, false);
    return e->title && e->brief;
}

/* ---------------------------------------------------------------------------------------groups */

static int by_who(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->who, ((const struct entry *)b)->who);
}

static void base_first(struct entry *first, size_t n)
{
    const size_t base = (size_t)(entry_base(first, n) - first);
    const struct entry e = first[base];
    memmove(&first[1], &first[0], base * sizeof e);
    first[0] = e;
}

/* A colour for each contestant of a benchmark, in order of appearance. */
static void give_colors(struct entry *entry, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t next = 0, k = 0;
        for (; k < i; k++) {
            if (strcmp(entry[k].benchmark, entry[i].benchmark) != 0) continue;
            if (!strcmp(entry[k].who, entry[i].who)) break;
            if (entry[k].color >= next) next = entry[k].color + 1;
        }
        entry[i].color = k < i ? entry[k].color : next;
    }
    for (size_t i = 0; i < n; i++) entry[i].color %= ENTRY_COLORS;
}

struct entry *entries_make(const struct results *all)
{
    struct entry *entry = calloc(all->n + 1, sizeof *entry),
                 *read = calloc(all->n + 1, sizeof *read);
    bool *taken = calloc(all->n + 1, sizeof *taken);
    bool good = entry && taken && read;
    for (size_t i = 0; good && i < all->n; i++) good = read_entry(&read[i], &all->at[i]);
    size_t n = 0;
    for (size_t i = 0; good && i < all->n; i++) {
        const size_t first = n;
        for (size_t k = i; k < all->n; k++)
            if (!taken[k] && !strcmp(read[k].group, read[i].group)) {
                taken[k] = true;
                entry[n++] = read[k];
            }
        if (n == first) continue;
        qsort(&entry[first], n - first, sizeof *entry, by_who);
        base_first(&entry[first], n - first);
    }
    free(taken);
    if (good) {
        give_colors(entry, n);
        free(read);
        return entry;
    }
    free(entry);
    entries_free(read, all->n);
    return NULL;
}

void entries_free(struct entry *entry, size_t n)
{
    for (size_t i = 0; entry && i < n; i++) {
        free(entry[i].text);
        free(entry[i].group);
        free(entry[i].title);
        free(entry[i].brief);
    }
    free(entry);
}
