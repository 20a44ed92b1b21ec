/* Loaded into the program by LD_PRELOAD: of the allocations that the program itself makes, not a
 * library below it, number CVYI_FAIL_AT, from 1, and all behind it fail. How many there were
 * stands in the file CVYI_COUNT names. A library that is not ours may end the process; what we
 * ask for must be told. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uintptr_t from, to; /* where the program is */
static atomic_long calls;
static long at;

static int first_object(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr,
                        end = begin + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
        if (!from || begin < from) from = begin;
        if (end > to) to = end;
    }
    return 1; /* the program is the first */
}

__attribute__((constructor)) static void begin(void)
{
    const char *number = getenv("CVYI_FAIL_AT");
    at = number ? strtol(number, NULL, 10) : 0;
    dl_iterate_phdr(first_object, NULL);
    unsetenv("LD_PRELOAD"); /* of those that it starts */
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("CVYI_COUNT");
    char text[32];
    const int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    const int n = snprintf(text, sizeof text, "%ld", (long)calls);
    if (fd >= 0 && write(fd, text, (size_t)n) != n) _exit(99);
    if (fd >= 0) close(fd);
}

static bool fails(const void *caller)
{
    if ((uintptr_t)caller < from || (uintptr_t)caller >= to) return false;
    const long number = ++calls;
    if (at <= 0 || number < at) return false;
    errno = ENOMEM;
    return true;
}

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t alignment, size_t n);

#define CALLER __builtin_return_address(0)
void *malloc(size_t n) { return fails(CALLER) ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return fails(CALLER) ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return fails(CALLER) ? NULL : __libc_realloc(p, n); }
void *aligned_alloc(size_t alignment, size_t n)
{
    return fails(CALLER) ? NULL : __libc_memalign(alignment, n);
}
int posix_memalign(void **p, size_t alignment, size_t n)
{
    if (fails(CALLER)) return ENOMEM;
    *p = __libc_memalign(alignment, n);
    return *p ? 0 : ENOMEM;
}
