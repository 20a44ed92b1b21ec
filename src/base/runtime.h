/* The OpenMP runtime, whose guest this library is beside the host: it must outlive the library's
 * unloading, forks, and limits on the number of threads, at which it would end the process. Used by
 * team.c alone. */
#ifndef CVYI_RUNTIME_H
#define CVYI_RUNTIME_H

#include <stddef.h>

/* Once a process: keeps the runtime's code and our own in memory for good, and takes care of
 * forks. */
void cvyi_runtime_open(void);
/* How many threads, itself included, the next region of this thread can have: `want`, or what the
 * system lets the process start, at least 1. They run when it returns, so that nobody takes their
 * place; costs nothing where they run already. */
size_t cvyi_runtime_reserve(size_t want);

#endif
