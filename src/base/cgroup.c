/* The CPU quota of the cgroups that this process is in, which OpenMP runtimes do not know: a
 * container of half a CPU on a machine of 64 would be given 64 threads. /proc/self/cgroup names the
 * group, /proc/self/mountinfo where its hierarchy is mounted and from which group on; both versions
 * may be there at once. The smallest limit on the way up holds. */
#include "base/cpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct files {
    FILE *(*open)(void *arg, const char *path);
    void *arg;
};

/* The first line of DIR/NAME, without its end. */
static bool first_line(const struct files *files, const char *dir, const char *name, char *text,
                       int size)
{
    char path[4200]; /* a directory has at most 4095 bytes */
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = files->open(files->arg, path);
    if (!f) return false;
    bool read = fgets(text, size, f) != NULL;
    fclose(f);
    if (read) text[strcspn(text, "\n")] = 0;
    return read;
}

/* A whole number above zero that ends at `end` or at the end of the text; else 0: "max", "-1",
 * garbage, too many digits. */
static uint64_t positive(const char *text, char end)
{
    char *stop;
    if (*text < '0' || *text > '9') return 0;
    errno = 0;
    uint64_t value = strtoull(text, &stop, 10);
    return errno || (*stop && *stop != end) ? 0 : value;
}

static double ratio(uint64_t quota, uint64_t period)
{
    return quota && period ? (double)quota / (double)period : 0;
}

/* "150000 100000", "max 100000" */
static double quota_v2(const struct files *files, const char *dir)
{
    char text[64];
    if (!first_line(files, dir, "cpu.max", text, sizeof text)) return 0;
    const char *space = strchr(text, ' ');
    return space ? ratio(positive(text, ' '), positive(space + 1, 0)) : 0;
}

static double quota_v1(const struct files *files, const char *dir) /* -1: no limit */
{
    char quota[64], period[64];
    if (!first_line(files, dir, "cpu.cfs_quota_us", quota, sizeof quota)) return 0;
    if (!first_line(files, dir, "cpu.cfs_period_us", period, sizeof period)) return 0;
    return ratio(positive(quota, 0), positive(period, 0));
}

/* The smallest limit of mount/path and the groups above it, as far as they are mounted. Shortens
 * path. */
static double least_quota(const struct files *files, bool v2, const char *mount, char *path)
{
    double least = 0;
    for (;;) {
        char dir[4096];
        double q = 0;
        if ((size_t)snprintf(dir, sizeof dir, "%s%s", mount, path) < sizeof dir)
            q = v2 ? quota_v2(files, dir) : quota_v1(files, dir);
        if (q > 0 && (least == 0 || q < least)) least = q;
        char *slash = strrchr(path, '/');
        if (!slash) return least;
        *slash = 0;
    }
}

static bool has_word(const char *list, const char *word) /* of "cpu,cpuacct" */
{
    size_t n = strlen(word);
    for (; *list; list += strcspn(list, ","), list += *list == ',')
        if (strcspn(list, ",") == n && !strncmp(list, word, n)) return true;
    return false;
}

/* The group of this process in the version's hierarchy ("0::/a/b", "4:cpu,cpuacct:/a/b"),
 * allocated; NULL: in none. */
static char *group_of(const struct files *files, bool v2)
{
    char *line = NULL, *group = NULL;
    size_t room = 0;
    FILE *f = files->open(files->arg, "/proc/self/cgroup");
    if (!f) return NULL;
    while (!group && getline(&line, &room, f) > 0) {
        char *controllers = strchr(line, ':'),
             *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path || path[1] != '/') continue;
        *path++ = 0;
        path[strcspn(path, "\n")] = 0;
        *controllers++ = 0;
        if (v2 ? !*controllers && !strcmp(line, "0") : has_word(controllers, "cpu"))
            group = strdup(path);
    }
    free(line);
    fclose(f);
    return group;
}

/* mountinfo writes space, tab, newline and backslash as three octal digits. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; to++) {
        bool octal = from[0] == '\\' && strspn(from + 1, "01234567") >= 3;
        *to = octal ? (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0')) : *from;
        from += octal ? 4 : 1;
    }
    *to = 0;
}

struct mount {
    char *root, *point;
};

/* Takes a line of mountinfo apart: "32 31 0:29 ROOT POINT rw - cgroup cgroup rw,cpu". False: not of
 * this hierarchy. */
static bool parse_mount(char *line, bool v2, struct mount *mount)
{
    char *field[6], *save, *tail = strstr(line, " - ");
    if (!tail) return false;
    *tail = 0;
    char *type = strtok_r(tail + 3, " \n", &save);
    strtok_r(NULL, " \n", &save); /* the source */
    const char *options = strtok_r(NULL, " \n", &save);
    if (!type || strcmp(type, v2 ? "cgroup2" : "cgroup") ||
        (!v2 && (!options || !has_word(options, "cpu"))))
        return false;
    for (int i = 0; i < 5; i++)
        if (!(field[i] = strtok_r(i ? NULL : line, " ", &save))) return false;
    *mount = (struct mount){ field[3], field[4] };
    unescape(mount->root);
    unescape(mount->point);
    if (!strcmp(mount->point, "/")) *mount->point = 0;
    return true;
}

/* What of the group's path lies below the mount's root; NULL: it is not in there. A container sees
 * its own group as "/" of a namespace, or under the name that it has outside, with exactly that
 * group mounted. */
static const char *below(const char *group, const char *root)
{
    size_t n = strcmp(root, "/") ? strlen(root) : 0;
    if (strstr(group, "/..") || strncmp(group, root, n)) return NULL;
    return group[n] == '/' || !group[n] ? group + n : NULL;
}

static double quota_in(const struct files *files, bool v2)
{
    char *group = group_of(files, v2), *line = NULL;
    FILE *f = group ? files->open(files->arg, "/proc/self/mountinfo") : NULL;
    double least = 0, elsewhere = 0;
    bool found = false;
    for (size_t room = 0; f && getline(&line, &room, f) > 0;) {
        struct mount mount;
        char path[4096];
        if (!parse_mount(line, v2, &mount)) continue;
        const char *rest = below(group, mount.root);
        size_t length = (size_t)snprintf(path, sizeof path, "%s", rest ? rest : "");
        if (length >= sizeof path) continue;
        if (length && path[length - 1] == '/') path[length - 1] = 0;
        double q = least_quota(files, v2, mount.point, path);
        double *least_of = rest ? &least : &elsewhere;
        if (q > 0 && (*least_of == 0 || q < *least_of)) *least_of = q;
        found |= rest != NULL;
    }
    if (f) fclose(f);
    free(line);
    free(group);
    /* what is mounted is all that can be known of a group outside */
    return found ? least : elsewhere;
}

double cvyi_cgroup_quota(FILE *(*open)(void *arg, const char *path), void *arg)
{
    const struct files files = { open, arg };
    double v1 = quota_in(&files, false), v2 = quota_in(&files, true);
    if (v1 > 0 && v2 > 0) return v1 < v2 ? v1 : v2;
    return v1 > 0 ? v1 : v2;
}
