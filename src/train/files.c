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

enum train_status train_fail(char *error, size_t error_size, enum train_status status,
                             const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, error_size, format, args);
    va_end(args);
    return status;
}

#define IO(what) \
    train_fail(error, error_size, TRAIN_IO, "%s: cannot %s: %s", path, what, strerror(errno))

enum train_status files_read(const char *path, size_t limit, unsigned char **bytes, size_t *size,
                             char *error, size_t error_size)
{
    *bytes = NULL;
    *size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* NONBLOCK: a FIFO must not hang us */
    if (fd < 0) return IO("open");
    struct stat st;
    enum train_status status = TRAIN_OK;
    if (fstat(fd, &st)) status = IO("read");
    else if (!S_ISREG(st.st_mode))
        status = train_fail(error, error_size, TRAIN_IO, "%s: expected a file, found %s", path,
                            S_ISDIR(st.st_mode) ? "a directory" : "a special file");
    else if ((uintmax_t)st.st_size > limit)
        status =
            train_fail(error, error_size, TRAIN_BAD, "%s: expected at most %zu bytes, found %jd",
                       path, limit, (intmax_t)st.st_size);
    else if (!(*bytes = malloc((size_t)st.st_size + 1)))
        status = train_fail(error, error_size, TRAIN_NOMEM, "%s: out of memory for %jd bytes", path,
                            (intmax_t)st.st_size);
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

/* Removes BASE.tmp-PID-XXXXXX whose process is gone: what a kill in the middle of a save left
 * behind. */
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

int files_sync(int fd)
{
    /* Never retried: the kernel may have dropped the pages. These three: the file system has no
     * such thing. */
    return fsync(fd) && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP ? -1 : 0;
}

/* Of a path shorter than PATH_MAX. */
static void directory_of(const char *path, char out[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    if (slash) snprintf(out, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    else strcpy(out, ".");
}

/* A name is safe when the directory that holds it is. -1: errno says why not. */
static int sync_directory_of(const char *path)
{
    char directory[PATH_MAX];
    directory_of(path, directory);
    int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* one that may be written but not read cannot be opened to be flushed */
    if (dir < 0) return errno == EACCES ? 0 : -1;
    int result = files_sync(dir), error = errno;
    close(dir);
    errno = error;
    return result;
}

enum train_status files_write(const char *path, const void *bytes, size_t size, char *error,
                              size_t error_size)
{
    char directory[PATH_MAX], temporary[PATH_MAX + 64];
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    if (strlen(path) >= sizeof directory) {
        errno = ENAMETOOLONG;
        return IO("write");
    }
    directory_of(path, directory);
    remove_stale(directory, base);
    snprintf(temporary, sizeof temporary, "%s.tmp-%ld-XXXXXX", path, (long)getpid());
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) return IO("create a temporary file beside it");
    mode_t mask = umask(0);
    umask(mask);
    enum train_status status = TRAIN_OK;
    /* some network file systems have no modes; the content is what counts */
    (void)!fchmod(fd, 0666 & ~mask);
    if (write_all(fd, bytes, size)) status = IO("write");
    else if (files_sync(fd)) status = IO("write (fsync)");
    if (close(fd) && !status) status = IO("write (close)");
    if (!status && rename(temporary, path)) status = IO("rename the new file to it");
    if (status) {
        unlink(temporary);
        return status;
    }
    return sync_directory_of(path) ? IO("fsync its directory") : TRAIN_OK;
}

/* mkdir, and the name made safe. */
static int make_one(const char *path)
{
    return mkdir(path, 0777) || sync_directory_of(path) ? -1 : 0;
}

enum train_status files_new_directory(const char *path, bool *taken, char *error, size_t error_size)
{
    *taken = false;
    if (!make_one(path)) return TRAIN_OK;
    *taken = errno == EEXIST;
    return IO("create the directory");
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
        bool made = !mkdir(part, 0777);
        if (made && !sync_directory_of(part)) continue;
        int why = errno;
        if (!made && why == EEXIST && i < n) continue;
        bool there = !made && !stat(part, &st);
        if (there && S_ISDIR(st.st_mode)) continue; /* also where the parent is read-only */
        if (there) errno = ENOTDIR;
        else if (why != EEXIST) errno = why; /* not stat's */
        return IO("create the directory");
    }
    return TRAIN_OK;
}

#define LOCK_HOST 200

static void own_host(char host[LOCK_HOST])
{
    memset(host, 0, LOCK_HOST);
    (void)!gethostname(host, LOCK_HOST - 1);
}

/* Who has the lock: "process 123 on host", or what can be said. Between taking the lock and writing
 * its name a process leaves the last one's there: so a name of nobody is read again for a tenth of
 * a second. */
static void holder(int fd, char *out, size_t size)
{
    static const char head[] = "process ", middle[] = " on ";
    char text[LOCK_HOST + 100], ours[LOCK_HOST];
    own_host(ours);
    for (int i = 0; i < 20; i++) {
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = 0;
        text[strcspn(text, "\n")] = 0;
        char *host = text;
        const long pid =
            strncmp(text, head, strlen(head)) ? 0 : strtol(text + strlen(head), &host, 10);
        if (pid > 0 && !strncmp(host, middle, strlen(middle)) &&
            (strcmp(host + strlen(middle), ours) || !kill((pid_t)pid, 0) || errno != ESRCH)) {
            snprintf(out, size, "%s", text);
            return;
        }
        usleep(5000);
    }
    snprintf(out, size, "another process");
}

enum train_status files_lock(const char *directory, struct files_lock *lock, char *error,
                             size_t error_size)
{
    const char *path = lock->path;
    enum train_status status;
    struct stat ours, there;
    if (snprintf(lock->path, sizeof lock->path, "%s/" FILES_LOCK, directory) >=
        (int)sizeof lock->path)
        return train_fail(error, error_size, TRAIN_IO, "%.60s...: the path is too long", directory);
    for (;;) {
        /* One lock for each opening of the file: it ends with the process, however that ends. */
        struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        lock->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (lock->fd < 0) return IO("open");
        lock->held = !fcntl(lock->fd, F_OFD_SETLK, &all);
        if (!lock->held && (errno == EAGAIN || errno == EACCES)) {
            char who[LOCK_HOST + 100];
            holder(lock->fd, who, sizeof who);
            close(lock->fd);
            lock->fd = -1;
            return train_fail(error, error_size, TRAIN_IO, "%s is in use: %s trains there",
                              directory, who);
        }
        /* The one who held it may have removed the file between our opening and our locking. */
        bool gone = stat(path, &there) != 0;
        if (fstat(lock->fd, &ours) || (gone && errno != ENOENT)) {
            status = IO("look at");
            close(lock->fd);
            lock->fd = -1;
            return status;
        }
        /* a file of another device cannot be put there by a test */
        bool same = !gone && ours.st_ino == there.st_ino && /* GCOVR_EXCL_BR_LINE */
                    ours.st_dev == there.st_dev;            /* GCOVR_EXCL_BR_LINE */
        if (same) break;
        close(lock->fd);
    }
    char host[LOCK_HOST], text[LOCK_HOST + 100];
    own_host(host);
    int n = snprintf(text, sizeof text, "process %ld on %s\n", (long)getpid(), host);
    /* a disk may be full: the lock holds all the same */
    if (!ftruncate(lock->fd, 0)) (void)!pwrite(lock->fd, text, (size_t)n, 0);
    return TRAIN_OK;
}

void files_unlock(struct files_lock *lock)
{
    if (lock->fd < 0) return;
    unlink(lock->path);
    close(lock->fd);
    lock->fd = -1;
}
