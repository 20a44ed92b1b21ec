/* Whole files in and out, atomically. Knows the file system only. */
#include "train/files.h"

#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum train_status train_fail(char *error, size_t error_size, enum train_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, error_size, format, args);
    va_end(args);
    return status;
}

#define IO(what) train_fail(error, error_size, TRAIN_IO, "%s: cannot %s: %s", path, what, strerror(errno))

enum train_status files_read(const char *path, size_t limit, unsigned char **bytes, size_t *size,
                             char *error, size_t error_size)
{
    *bytes = NULL;
    *size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* NONBLOCK: a FIFO must not hang us */
    if (fd < 0) return IO("open");
    struct stat st;
    enum train_status status = TRAIN_OK;
    if (fstat(fd, &st))
        status = IO("read");
    else if (!S_ISREG(st.st_mode))
        status = train_fail(error, error_size, TRAIN_IO, "%s: expected a file, found %s", path,
                            S_ISDIR(st.st_mode) ? "a directory" : "a special file");
    else if ((uintmax_t)st.st_size > limit)
        status = train_fail(error, error_size, TRAIN_BAD, "%s: expected at most %zu bytes, found %jd", path, limit,
                            (intmax_t)st.st_size);
    else if (!(*bytes = malloc((size_t)st.st_size + 1)))
        status = train_fail(error, error_size, TRAIN_NOMEM, "%s: out of memory for %jd bytes", path, (intmax_t)st.st_size);
    while (!status && *size < (size_t)st.st_size) {
        ssize_t got = read(fd, *bytes + *size, (size_t)st.st_size - *size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = IO("read");
        if (got <= 0) break;
        *size += (size_t)got;
    }
    close(fd);
    if (status) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

/* Removes BASE.tmp-PID-XXXXXX whose process is gone: what a kill in the middle of a save left behind. */
static void remove_stale(const char *directory, const char *base)
{
    DIR *d = opendir(directory);
    if (!d) return;
    size_t n = strlen(base);
    for (struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, base, n) || strncmp(e->d_name + n, ".tmp-", 5)) continue;
        char *end;
        long pid = strtol(e->d_name + n + 5, &end, 10);
        if (*end == '-' && pid > 0 && pid != getpid() && kill((pid_t)pid, 0) && errno == ESRCH)
            unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
}

static int write_all(int fd, const char *bytes, size_t size)
{
    while (size) {
        ssize_t put = write(fd, bytes, size < SSIZE_MAX ? size : SSIZE_MAX);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return -1;
        bytes += put;
        size -= (size_t)put;
    }
    return 0;
}

enum train_status files_write(const char *path, const void *bytes, size_t size, char *error, size_t error_size)
{
    char directory[PATH_MAX], temporary[PATH_MAX + 64];
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    if (strlen(path) >= sizeof directory) {
        errno = ENAMETOOLONG;
        return IO("write");
    }
    if (slash)
        snprintf(directory, sizeof directory, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    else
        strcpy(directory, ".");
    remove_stale(directory, base);
    snprintf(temporary, sizeof temporary, "%s.tmp-%ld-XXXXXX", path, (long)getpid());
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) return IO("create a temporary file beside it");
    mode_t mask = umask(0);
    umask(mask);
    enum train_status status = TRAIN_OK;
    if (fchmod(fd, 0666 & ~mask) || write_all(fd, bytes, size)) status = IO("write");
    else if (fsync(fd)) status = IO("write (fsync)"); /* never retried: the kernel may have dropped the pages */
    if (close(fd) && !status) status = IO("write (close)");
    if (!status && rename(temporary, path)) status = IO("rename the new file to it");
    if (status) {
        unlink(temporary);
        return status;
    }
    int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return IO("open its directory");
    if (fsync(dir) && errno != EINVAL) status = IO("fsync its directory"); /* EINVAL: the file system has no such thing */
    close(dir);
    return status;
}

enum train_status files_make_directory(const char *path, char *error, size_t error_size)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof part) errno = ENAMETOOLONG;
    if (n >= sizeof part) return IO("create");
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i]) continue;
        memcpy(part, path, i);
        part[i] = 0;
        struct stat st;
        if (!mkdir(part, 0777)) continue;
        if (errno == EEXIST && i == n && (stat(part, &st) || !S_ISDIR(st.st_mode))) errno = ENOTDIR;
        else if (errno == EEXIST) continue;
        else if (i < n && !stat(part, &st)) continue; /* e.g. a read-only parent that is there */
        return IO("create the directory");
    }
    return TRAIN_OK;
}
