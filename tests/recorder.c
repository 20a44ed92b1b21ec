/* Put under a program with LD_PRELOAD: writes down every call that changes files, in order, and
 * lets chosen calls fail.
 *   CVYI_RECORD   the file to write to, a line a call: "NAME RESULT ERRNO ARGUMENTS..."; without it
 *                 nothing is written
 *   CVYI_FAIL     "NAME:ERRNO[:PART]": that call fails with that number, where the path of its file
 *                 contains PART
 * What an fd belongs to is known from /proc/self/fd. The C library's names with 64 are what the
 * program really calls. */
#undef _FILE_OFFSET_BITS /* both names of each call are defined here */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NEXT(name) __extension__((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int out = -1;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CVYI_RECORD");
    long fd =
        path ? syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)
             : -1;
    if (fd >= 0) out = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 700);
}

__attribute__((format(printf, 3, 4))) static void note(const char *name, long result,
                                                       const char *format, ...)
{
    char line[3 * PATH_MAX];
    int error = errno,
        used = snprintf(line, sizeof line, "%s %ld %d ", name, result, result < 0 ? error : 0);
    va_list args;
    va_start(args, format);
    used += vsnprintf(line + used, sizeof line - (size_t)used - 1, format, args);
    va_end(args);
    line[used++] = '\n';
    if (out >= 0) (void)!syscall(SYS_write, out, line, used);
    errno = error;
}

static const char *file_of(int fd, char path[PATH_MAX])
{
    char link[64];
    int error = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = 0;
    errno = error;
    return path;
}

/* Whether this call is to fail; errno is set. */
static bool fails(const char *name, const char *path)
{
    const char *wish = getenv("CVYI_FAIL");
    size_t n = strlen(name);
    if (!wish || strncmp(wish, name, n) || wish[n] != ':') return false;
    char *end;
    long number = strtol(wish + n + 1, &end, 10);
    if (*end == ':' && !strstr(path, end + 1)) return false;
    errno = (int)number;
    return true;
}

static int open_any(const char *name, const char *path, int flags, mode_t mode)
{
    int fd = fails("open", path) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    char where[PATH_MAX] = "";
    if (flags & (O_WRONLY | O_RDWR | O_CREAT | O_DIRECTORY))
        note(name, fd, "%d %o %s", flags, (unsigned)mode, fd < 0 ? path : file_of(fd, where));
    return fd;
}

#define MODE(flags)                                                     \
    mode_t mode = 0;                                                    \
    va_list args;                                                       \
    va_start(args, flags);                                              \
    if ((flags) & (O_CREAT | __O_TMPFILE)) mode = va_arg(args, mode_t); \
    va_end(args);

int open(const char *path, int flags, ...)
{
    MODE(flags)
    return open_any("open", path, flags, mode);
}
int open64(const char *path, int flags, ...)
{
    MODE(flags)
    return open_any("open", path, flags, mode);
}

static int temporary(char *pattern, int flags)
{
    int fd = fails("mkostemp", pattern) ? -1 : NEXT(mkostemp)(pattern, flags);
    note("mkostemp", fd, "%d %s", flags, pattern);
    return fd;
}
int mkostemp(char *pattern, int flags) { return temporary(pattern, flags); }
int mkostemp64(char *pattern, int flags) { return temporary(pattern, flags); }

ssize_t write(int fd, const void *bytes, size_t size)
{
    char path[PATH_MAX];
    file_of(fd, path);
    ssize_t n = fails("write", path) ? -1 : syscall(SYS_write, fd, bytes, size);
    note("write", n, "%d %s", fd, path);
    return n;
}

int ftruncate(int fd, off_t length)
{
    char path[PATH_MAX];
    int r = (int)syscall(SYS_ftruncate, fd, length);
    note("ftruncate", r, "%d %s", fd, file_of(fd, path));
    return r;
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

static int flush(const char *name, long number, int fd)
{
    char path[PATH_MAX];
    file_of(fd, path);
    int r = fails("fsync", path) ? -1 : (int)syscall(number, fd);
    note(name, r, "%d %s", fd, path);
    return r;
}
int fsync(int fd) { return flush("fsync", SYS_fsync, fd); }
int fdatasync(int fd) { return flush("fdatasync", SYS_fdatasync, fd); }

int close(int fd)
{
    char path[PATH_MAX];
    file_of(fd, path);
    int r = (int)syscall(SYS_close, fd);
    if (fails("close", path)) r = -1;
    if (*path == '/') note("close", r, "%d %s", fd, path);
    return r;
}

int fchmod(int fd, mode_t mode)
{
    char path[PATH_MAX];
    file_of(fd, path);
    int r = fails("fchmod", path) ? -1 : (int)syscall(SYS_fchmod, fd, mode);
    note("fchmod", r, "%d %o %s", fd, (unsigned)mode, path);
    return r;
}

int rename(const char *from, const char *to)
{
    int r = fails("rename", to) ? -1 : (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    note("rename", r, "%s\t%s", from, to);
    return r;
}

int unlink(const char *path)
{
    int r = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    note("unlink", r, "%s", path);
    return r;
}

int mkdir(const char *path, mode_t mode)
{
    int r = fails("mkdir", path) ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    note("mkdir", r, "%o %s", (unsigned)mode, path);
    return r;
}

mode_t umask(mode_t mode)
{
    mode_t old = (mode_t)syscall(SYS_umask, mode);
    note("umask", (long)old, "%o", (unsigned)mode);
    return old;
}

static int control(int fd, int command, void *arg)
{
    char path[PATH_MAX];
    bool lock = command == F_OFD_SETLK;
    int r =
        lock && fails("lock", file_of(fd, path)) ? -1 : (int)syscall(SYS_fcntl, fd, command, arg);
    if (lock) note("lock", r, "%d %s", fd, file_of(fd, path));
    return r;
}
int fcntl(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *arg = va_arg(args, void *);
    va_end(args);
    return control(fd, command, arg);
}
int fcntl64(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *arg = va_arg(args, void *);
    va_end(args);
    return control(fd, command, arg);
}
